use super::*;

mod good_files;
mod multicast;
mod properties;
mod uppers;

/// Two ports, to stand above the snippet under test: `lan0` 10.0.0.1/24 and `wan0` 10.0.1.1/24, seven lines.
const PORTS: &str = "\
[interface.lan0]
device = \"vdev:net_null0\"
addresses = [\"10.0.0.1/24\"]
[interface.wan0]
device = \"vdev:net_null1\"
addresses = [\"10.0.1.1/24\"]
# line 7
";

/// The mistakes of a text, as they are printed.
fn mistakes(text: &str) -> Vec<String> {
    match parse("r", text) {
        Ok(_) => Vec::new(),
        Err(found) => found.iter().map(ToString::to_string).collect(),
    }
}

/// Checks a table of texts, each with exactly the mistakes it must yield.
fn assert_mistakes(above: &str, table: &[(&str, &[&str])]) {
    for (text, expected) in table {
        assert_eq!(mistakes(&format!("{above}{text}")), *expected, "in:\n{text}");
    }
}

fn good(text: &str) -> Config {
    parse("r", text).unwrap_or_else(|found| panic!("{found:#?}\nin:\n{text}"))
}

#[test]
fn syntax_errors_have_their_place() {
    assert_mistakes(
        "",
        &[
            ("[system]\nlcores = auto\n", &["r:2:10: string values must be quoted, expected literal string"]),
            ("[interface.a]\nmtu = 1\n[interface.a]\n", &["r:3:12: duplicate key \"a\""]),
            (
                "a = 'x\nb = 2\na = 3",
                &["r:1:7: invalid literal string, expected `'`", "r:3:1: duplicate key \"a\""],
            ),
        ],
    );
}

#[test]
fn unknown_keys_are_found_on_every_level() {
    assert_mistakes(
        "",
        &[
            ("[sytem]\n", &["r:1:2: unknown key \"sytem\", did you mean \"system\"?"]),
            ("[system]\n  memroy = \"1G\"", &["r:2:3: unknown key \"memroy\", did you mean \"memory\"?"]),
            ("colour = 1", &["r:1:1: unknown key \"colour\""]),
            ("[metrics]\nlisten = '127.0.0.1:1'\nport = 1", &["r:3:1: unknown key \"port\""]),
            (
                "[interface.a]\ndevice = 'vdev:net_null0'\nadresses = ['10.0.0.1/24']",
                &["r:3:1: unknown key \"adresses\", did you mean \"addresses\"?"],
            ),
            (
                "[interface.a]\nvlan = { parent = 'b', id = 1, protokol = '802.1q' }\n[interface.b]\ndevice='netdev:b'",
                &["r:2:32: unknown key \"protokol\", did you mean \"protocol\"?"],
            ),
        ],
    );
    assert_mistakes(
        PORTS,
        &[
            (
                "[[route]]\nto = 'default'\nvai = '10.0.0.2'\ndev = 'lan0'",
                &["r:10:1: unknown key \"vai\", did you mean \"via\"?"],
            ),
            (
                "[[route]]\nto = 'default'\nnexthops = [{ via = '10.0.0.2', wieght = 2 }]",
                &["r:10:33: unknown key \"wieght\", did you mean \"weight\"?"],
            ),
        ],
    );
}

#[test]
fn wrong_types_and_ranges() {
    assert_mistakes(
        "",
        &[
            ("system = 1", &["r:1:10: \"system\" must be a table, not an integer"]),
            ("interface = []", &["r:1:13: \"interface\" must be a table of interfaces, not a list"]),
            ("[route]\nto = 'default'", &["r:1:1: [route] is a list: write [[route]]"]),
            ("route = ['x']", &["r:1:10: \"route\" must be a table, not a string"]),
            ("[system]\nlcores = 1", &["r:2:10: \"lcores\" must be a string, not an integer"]),
            (
                "[system]\nlcores = '3-1'",
                &["r:2:10: \"3-1\": the range 3-1 runs backwards, did you mean \"1-3\"?"],
            ),
            (
                "[system]\nlcores = '1,x'",
                &["r:2:10: \"1,x\" is not a list of CPUs, as in \"1\", \"2-5,8\" or \"auto\""],
            ),
            ("[system]\nlcores = '1-2'\nmain-lcore = 2", &["r:3:14: CPU 2 is already one of \"lcores\""]),
            (
                "[system]\nmemory = 'lots'",
                &["r:2:10: \"lots\" is not an amount of memory, as in \"256M\" or \"1G\""],
            ),
            ("[system]\nmbufs = 3.5", &["r:2:9: \"mbufs\" must be an integer, not a float"]),
            (
                "[system]\nhugepages = 'requier'",
                &[
                    "r:2:13: \"hugepages\" must be \"prefer\", \"require\" or \"off\", not \"requier\", did you mean \"require\"?",
                ],
            ),
            ("[system]\nidle = 'lazy'", &["r:2:8: \"idle\" must be \"adaptive\" or \"poll\", not \"lazy\""]),
            (
                "[metrics]\nlisten = ':9477'",
                &["r:2:10: \":9477\" is not an address and port, as in \"127.0.0.1:9477\""],
            ),
            ("[api]\nsocket = 'skiff.sock'", &["r:2:10: \"skiff.sock\" is not an absolute path"]),
            ("[interface]\nlan0 = 1", &["r:2:8: \"lan0\" must be a table, not an integer"]),
            ("[interface.lan0]", &["r:1:1: interface \"lan0\" has no device"]),
        ],
    );
    assert_mistakes(
        "[interface.a]\ndevice = 'vdev:net_null0'\n",
        &[
            ("mtu = 67", &["r:3:7: \"mtu\" must be between 68 and 9600, not 67"]),
            ("mtu = '1500'", &["r:3:7: \"mtu\" must be an integer, not a string"]),
            ("mtu = 99999999999999999999", &["r:3:7: \"mtu\" is too large a number"]),
            ("rx-queues = 0", &["r:3:13: \"rx-queues\" must be between 1 and 128, not 0"]),
            ("tx-desc = 0x8000", &["r:3:11: \"tx-desc\" must be between 32 and 16384, not 32768"]),
            ("enabled = 'yes'", &["r:3:11: \"enabled\" must be true or false, not a string"]),
            ("addresses = '10.0.0.1/24'", &["r:3:13: \"addresses\" must be a list of strings, not a string"]),
            ("addresses = [1]", &["r:3:14: \"addresses\" must be a string, not an integer"]),
            (
                "addresses = ['10.0.0.1']",
                &["r:3:14: \"10.0.0.1\" has no prefix length, as in \"10.0.0.1/24\""],
            ),
            (
                "addresses = ['10.0.0.1/33']",
                &["r:3:14: \"10.0.0.1/33\": the prefix length must be between 0 and 32"],
            ),
            (
                "addresses = ['10.0.0.1/255.255.255.0']",
                &[
                    "r:3:14: \"10.0.0.1/255.255.255.0\" has a netmask, a prefix length is wanted, as in \"/24\"",
                ],
            ),
            ("addresses = ['10.0.0.256/24']", &["r:3:14: \"10.0.0.256/24\" is not an IPv4 prefix"]),
            ("addresses = ['fd00::1/64']", &["r:3:14: \"fd00::1/64\" is IPv6, which is not supported yet"]),
            (
                "addresses = ['10.0.0.0/24']",
                &[
                    "r:3:14: \"10.0.0.0/24\" is the address of the subnet itself, did you mean \"10.0.0.1/24\"?",
                ],
            ),
            (
                "addresses = ['10.0.0.255/24']",
                &["r:3:14: \"10.0.0.255/24\" is the broadcast address of its subnet"],
            ),
            (
                "mac = '02:00:00:00:01'",
                &[
                    "r:3:7: \"02:00:00:00:01\" is not a MAC address, six hex bytes are wanted, as in \"02:00:00:00:00:01\"",
                ],
            ),
            (
                "mac = '01:00:5e:00:00:01'",
                &[
                    "r:3:7: \"01:00:5e:00:00:01\" is not the address of one station (zero, or the group bit set)",
                ],
            ),
            ("vlan = { parent = 'b', id = 3 }", &["r:3:1: interface \"a\" has both device and vlan"]),
        ],
    );
}

#[test]
fn routes_and_neighbours() {
    assert_mistakes(
        PORTS,
        &[
            ("[[route]]\nvia = '10.0.0.2'", &["r:8:1: \"to\" is missing"]),
            ("[[route]]\nto = 'default'", &["r:8:1: the route has neither via, dev nor nexthops"]),
            (
                "[[route]]\nto = '10.9.1.0/16'\nvia = '10.0.0.2'",
                &["r:9:6: \"10.9.1.0/16\" has host bits set, did you mean \"10.9.0.0/16\"?"],
            ),
            (
                "[[route]]\nto = 'default'\nvia = '10.0.0.2/24'",
                &[
                    "r:10:7: \"10.0.0.2/24\" is not an IPv4 address, an address without a prefix length is wanted here",
                ],
            ),
            (
                "[[route]]\nto = 'default'\nvia = '10.7.0.1'",
                &["r:10:7: gateway 10.7.0.1 is on no connected subnet"],
            ),
            (
                "[[route]]\nto = 'default'\nvia = '10.0.0.2'\ndev = 'wan0'",
                &["r:10:7: gateway 10.0.0.2 is on no subnet of \"wan0\""],
            ),
            (
                "[[route]]\nto = 'default'\nvia = '10.0.0.1'",
                &["r:10:7: gateway 10.0.0.1 is this router's own address"],
            ),
            (
                "[[route]]\nto = '10.9.0.0/16'\ndev = 'wan1'",
                &["r:10:7: there is no interface \"wan1\", did you mean \"wan0\"?"],
            ),
            (
                "[[route]]\nto = 'default'\nvia = '10.0.0.2'\nnexthops = [{ dev = 'lan0' }]",
                &["r:10:1: the route has both \"via\" and \"nexthops\""],
            ),
            ("[[route]]\nto = 'default'\nnexthops = []", &["r:10:1: \"nexthops\" is empty"]),
            (
                "[[route]]\nto = 'default'\nnexthops = [{}]",
                &["r:10:13: the next hop has neither via nor dev"],
            ),
            (
                "[[route]]\nto = 'default'\nnexthops = [{ dev = 'lan0', weight = 257 }]",
                &["r:10:38: \"weight\" must be between 1 and 256, not 257"],
            ),
            (
                "[[route]]\nto = 'default'\ntype = 'blackhole'\nvia = '10.0.0.2'",
                &["r:11:1: a blackhole route has no \"via\""],
            ),
            (
                "[[route]]\nto = 'default'\ntype = 'blackhol'",
                &[
                    "r:10:8: \"type\" must be \"unicast\", \"blackhole\", \"unreachable\", \"prohibit\" or \"throw\", \
                   not \"blackhol\", did you mean \"blackhole\"?",
                ],
            ),
            (
                "[[route]]\nto = '10.9.0.0/16'\ndev = 'lan0'\n[[route]]\nto = '10.9.0.0/16'\ndev = 'wan0'",
                &["r:12:6: a route to 10.9.0.0/16 is already on line 9, both with metric 0"],
            ),
            (
                "[[route]]\nto = 'default'\nvia = '10.0.0.2'\nsrc = '10.0.0.9'",
                &["r:11:7: 10.0.0.9 is not an address of this router"],
            ),
            ("[[neighbour]]\naddress = '10.0.0.2'\ndev = 'lan9'", &["r:8:1: \"mac\" is missing"]),
            (
                "[[neighbour]]\naddress = '10.0.0.2'\nmac = '02:00:00:00:00:02'\ndev = 'lan'",
                &["r:11:7: there is no interface \"lan\", did you mean \"lan0\"?"],
            ),
            (
                "[[neighbour]]\naddress = '10.0.0.1'\nmac = '02:00:00:00:00:02'\ndev = 'lan0'",
                &["r:9:11: 10.0.0.1 is this router's own address"],
            ),
        ],
    );
}

#[test]
fn what_is_held_once() {
    assert_mistakes(
        PORTS,
        &[
            (
                "[interface.a]\ndevice = 'vdev:net_null0'",
                &["r:9:10: device \"vdev:net_null0\" is already used by \"lan0\""],
            ),
            (
                "[interface.a]\ndevice = 'vdev:net_tap0'\naddresses = ['10.0.1.1/30']",
                &["r:10:14: 10.0.1.1 is already an address of \"wan0\" (line 6)"],
            ),
            (
                "[interface.a]\ndevice = 'netdev:eth1'\n[interface.b]\ndevice = 'vdev:net_af_packet,iface=eth1'",
                &["r:11:10: kernel interface \"eth1\" is already used by \"a\""],
            ),
            (
                "[interface.a]\ndevice = 'pci:00:04.0'\n[interface.b]\ndevice = 'pci:0000:00:04.0,x=1'",
                &["r:11:10: device \"pci:0000:00:04.0\" is already used by \"a\""],
            ),
            (
                "[interface.a]\ndevice = 'netdev:eth1'\nmtu = 1961\n[interface.b]\ndevice = 'netdev:eth2'\nmtu = 1960",
                &["r:10:7: \"mtu\" 1961 is more than the 1960 an AF_PACKET socket takes"],
            ),
            (
                "[interface.a]\ndevice = 'netdev:eth1'\ntx-queues = 2",
                &["r:10:13: a netdev has queue pairs: \"tx-queues\" cannot exceed \"rx-queues\", 1 here"],
            ),
        ],
    );
}

#[test]
fn sysctl_names_and_values() {
    assert_mistakes(
        PORTS,
        &[
            (
                "[sysctl]\n'net.ipv4.ip_foward' = 1",
                &["r:9:1: unknown sysctl \"net.ipv4.ip_foward\", did you mean \"net.ipv4.ip_forward\"?"],
            ),
            (
                "[sysctl]\n'net.ipv4.conf.lan0.rpfilter' = 1",
                &[
                    "r:9:1: unknown sysctl \"net.ipv4.conf.lan0.rpfilter\", did you mean \"net.ipv4.conf.lan0.rp_filter\"?",
                ],
            ),
            (
                "[sysctl]\nip_forward = 1",
                &["r:9:1: unknown sysctl \"ip_forward\", did you mean \"net.ipv4.ip_forward\"?"],
            ),
            (
                "[sysctl]\n'net.ipv4.neigh.all.ucast_solicit' = 1",
                &["r:9:1: unknown sysctl \"net.ipv4.neigh.all.ucast_solicit\", \
                   did you mean \"net.ipv4.neigh.default.ucast_solicit\"?"],
            ),
            ("[sysctl]\n'kernel.panic' = 1", &["r:9:1: unknown sysctl \"kernel.panic\""]),
            (
                "[sysctl]\n'net.ipv4.conf.lan1.rp_filter' = 1",
                &["r:9:1: there is no interface \"lan1\", did you mean \"lan0\"?"],
            ),
            (
                "[sysctl]\n'net.ipv4.conf.all.rp_filter' = 3",
                &["r:9:33: \"net.ipv4.conf.all.rp_filter\" must be between 0 and 2, not 3"],
            ),
            (
                "[sysctl]\nnet.ipv4.ip_forward = 'on'",
                &["r:9:23: \"net.ipv4.ip_forward\" must be an integer, not a string"],
            ),
            (
                "[sysctl]\n'net.ipv4.conf.all.accept_redirects' = 1",
                &["r:9:1: \"net.ipv4.conf.all.accept_redirects\" is not supported yet"],
            ),
            (
                "[sysctl]\nnet.ipv4.ip_forward = 1\n'net/ipv4/ip_forward' = 0",
                &["r:10:1: \"net/ipv4/ip_forward\" is already set on line 9"],
            ),
            (
                "[sysctl]\n'net.ipv4.neigh.lan0.gc_thresh1' = 1",
                &["r:9:1: unknown sysctl \"net.ipv4.neigh.lan0.gc_thresh1\", \
                   did you mean \"net.ipv4.neigh.default.gc_thresh1\"?"],
            ),
        ],
    );
}

#[test]
fn what_is_not_built_yet_is_refused_by_name() {
    assert_mistakes(
        PORTS,
        &[
            (
                "[interface.bond0]\nbond = { mode = '802.3ad', members = ['p2'], lacp-rate = 'fast' }\nrx-desc = 64",
                &["r:9:39: there is no interface \"p2\"", "r:10:1: \"rx-desc\" is for ports, not for a bond"],
            ),
            (
                "[interface.v]\nvlan = { parent = 'lan9', id = 4095, egress-qos-map = '1:8' }",
                &[
                    "r:9:32: \"id\" must be between 1 and 4094, not 4095",
                    "r:9:55: \"1:8\": FROM:TO is wanted, FROM at most 4294967295 and TO at most 7",
                ],
            ),
            (
                "[traffic-control]\ncommands = '''\nqdisc add dev wan0 root htb\n\n# no\n  qdsic add\n\
                 class add dev wan9 htb\nqdisc show\n'''",
                &[
                    "r:13:3: tc: Object \"qdsic\" is unknown, try \"tc help\"",
                    "r:14:1: tc: Cannot find device \"wan9\"",
                    "r:15:1: tc: changes nothing",
                ],
            ),
            (
                "[traffic-control]\ncommands = '''\nqdisc add dev wan0 root handle 1: htb\n\
                 class add dev wan0 parent 2: classid 2:1 htb rate 10%\nqdisc add dev wan0 root handle 1: htb\n'''",
                &["r:11:1: tc: No such file or directory"],
            ),
            (
                "[traffic-control]\ncommands = \"qdisc add dev wan0 root\\tsfq\"",
                &["r:9:12: tc: Specified qdisc kind is unknown"],
            ),
            (
                "[netfilter]\nrules = '''\n*filter\n:FORWARD ACCEPT [0:0]\nFORWARD -j DROP\n'''",
                &[
                    "r:10:1: table \"filter\" has no COMMIT",
                    "r:12:1: \"FORWARD -j DROP\" is neither a chain, a rule nor COMMIT",
                ],
            ),
            (
                "[netfilter]\nsets = \"create a hash:ip\"\nrules = '''\n*filter\n -A INPUT -p tcp --dpotr 22\n\
                 -A INPUT -m set --match-set b src\nCOMMIT\n*nat\nCOMMIT\n'''",
                &[
                    "r:12:2: unknown option \"--dpotr\" of match \"tcp\", did you mean \"--dport\"?",
                    "r:13:1: there is no set \"b\"",
                    "r:15:1: table \"nat\" needs address translation, which is not supported yet",
                ],
            ),
            (
                "[netfilter]\nsets = '''\ncreate a hash:ip\nadd a 10.0.0.256\n'''\nrule = ''",
                &[
                    "r:11:1: \"10.0.0.256\" is no IPv4 address or network",
                    "r:13:1: unknown key \"rule\", did you mean \"rules\"?",
                ],
            ),
        ],
    );
}

#[test]
fn five_mistakes_are_five_lines() {
    let text = "\
[system]
memory = 256
[interface.lan0]
device = \"vdev:net_null0\"
adresses = [\"10.0.0.1/24\"]
mtu = 20000
[[route]]
to = \"10.9.0.1/16\"
dev = \"lan0\"
[sysctl]
\"net.ipv4.conf.lan1.rp_filter\" = 0
";
    assert_eq!(
        mistakes(text),
        [
            "r:2:10: \"memory\" must be a string, not an integer",
            "r:5:1: unknown key \"adresses\", did you mean \"addresses\"?",
            "r:6:7: \"mtu\" must be between 68 and 9600, not 20000",
            "r:8:6: \"10.9.0.1/16\" has host bits set, did you mean \"10.9.0.0/16\"?",
            "r:11:1: there is no interface \"lan1\", did you mean \"lan0\"?",
        ]
    );
}
