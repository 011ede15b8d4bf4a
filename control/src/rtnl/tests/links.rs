//! VLANs and bonds: what is refused, and who follows whom.

use super::*;

fn refused(why: &str) -> Result<Effects, Refusal> {
    Err(Refusal::Invalid(why.to_owned()))
}

impl Bench {
    fn dev(&self, name: &str) -> &Link {
        self.rtnl.link_by_name(name).unwrap_or_else(|| panic!("no {name}"))
    }

    /// Name, flags and state as `ip link` prints them.
    fn state(&self, name: &str) -> String {
        let rows = self.rtnl.link_rows(&LinkFilter::default()).unwrap();
        let filter = LinkFilter { dev: Some(name.to_owned()), ..LinkFilter::default() };
        let text = ip::show_links(&rows, &filter, &ip::Options::default()).unwrap();
        let flags = text.split('<').nth(1).and_then(|rest| rest.split('>').next()).unwrap_or("?");
        let word = |key: &str| text.split(&format!(" {key} ")).nth(1).and_then(|rest| rest.split(' ').next());
        let known = ["BROADCAST", "MULTICAST"];
        let words: Vec<&str> =
            flags.split(',').filter(|flag| !known.contains(flag)).chain(word("state")).collect();
        words.join(" ")
    }

    fn all(&mut self, commands: &[&str]) {
        for command in commands {
            self.run(command).unwrap_or_else(|refusal| panic!("{command}: {refusal}"));
        }
    }
}

#[test]
fn a_vlan_is_made_once_on_a_device_that_carries_it() {
    let mut bench = Bench::new();
    bench.all(&[
        "link add link r0 name r0.10 type vlan id 10",
        "link add link r0 r0.s type vlan id 10 protocol 802.1ad",
    ]);
    for (command, why) in [
        ("link add link r0 name r0.10 type vlan id 11", "File exists"),
        ("link add link r0 name again type vlan id 10", "8021q: VLAN device already exists."),
        ("link add link r0 name x type vlan id 4095", "8021q: Invalid VLAN id."),
        ("link add link r0 name x type vlan protocol 802.1q", "8021q: VLAN id not specified."),
        ("link add name x type vlan id 1", "8021q: link not specified."),
        ("link add link lo name x type vlan id 1", "8021q: VLANs not supported on device."),
        ("link add link r9 name x type vlan id 1", "Cannot find device \"r9\""),
        ("link add link r0 name x mtu 1501 type vlan id 1", "Invalid argument"),
        ("link add link r0 name x address 01:00:00:00:00:01 type vlan id 1", "Invalid link address."),
        ("link add link r0 name x master r1 type vlan id 1", "Operation not supported"),
        ("link set r0 type vlan gvrp on", "Operation not supported"),
        ("link set r0.10 type bond_slave prio 1", "Operation not supported"),
        ("link del r0", "Operation not supported"),
        ("link del x", "Cannot find device \"x\""),
    ] {
        assert_eq!(bench.run(command).unwrap_err().to_string(), why, "{command}");
    }
    assert_eq!(bench.rtnl.links().count(), 5, "what was refused left nothing");
    bench.all(&[
        "link del r0.10",
        "link add link r0 name again type vlan id 10",
        "link add link r0 type vlan id 1",
    ]);
    assert_eq!(bench.dev("vlan0").vlan().unwrap().vid, 1);
}

#[test]
fn eight_devices_lie_one_on_the_other_at_most() {
    let mut bench = Bench::new();
    let mut below = "r0".to_owned();
    for depth in 2..=8 {
        let name = format!("v{depth}");
        bench.run(&format!("link add link {below} name {name} type vlan id 1")).unwrap();
        below = name;
    }
    assert_eq!(bench.run("link add link v8 name v9 type vlan id 1"), refused("Too many links"));
    // A bond below counts as much.
    bench.all(&[
        "link add bond0 type bond",
        "link set r1 master bond0",
        "link add link bond0 name w3 type vlan id 1",
    ]);
    for depth in 4..=8 {
        bench.run(&format!("link add link w{} name w{depth} type vlan id 1", depth - 1)).unwrap();
    }
    assert_eq!(bench.run("link add link w8 name w9 type vlan id 1"), refused("Too many links"));
    bench.all(&["link set r1 nomaster", "link add link w8 name w9 type vlan id 1"]);
    assert_eq!(bench.run("link set r1 master bond0"), refused("Too many links"));
}

#[test]
fn vlans_follow_their_device_down_and_up() {
    let mut bench = Bench::new();
    bench.all(&[
        "link add link r0 name va type vlan id 1",
        "link add link r0 name vb type vlan id 2",
        "link add link r0 name loose type vlan id 3 loose_binding on",
        "link add link va name va.1 type vlan id 1",
        "address add 10.0.0.1/24 dev va.1",
    ]);
    assert_eq!(bench.state("va"), "M-DOWN LOWERLAYERDOWN");
    assert_eq!(bench.run("link set va up"), refused("Network is down"));
    bench.run("link set loose up").unwrap();
    assert_eq!(bench.state("loose"), "NO-CARRIER UP M-DOWN LOWERLAYERDOWN");
    bench.run("link set r0 up").unwrap();
    assert_eq!(bench.state("va"), "DOWN", "it never was up");
    assert_eq!(bench.state("loose"), "UP LOWER_UP UP");
    bench.all(&["link set va up", "link set va.1 up"]);
    assert_eq!(bench.state("va.1"), "UP LOWER_UP UP");
    assert!(bench.at("10.0.0.0/24").is_some());
    // Down with the device, and back with it.
    let effects = bench.run("link set r0 down").unwrap();
    assert_eq!(effects.driver, [DriverOp::SetUp(R0, false)], "only the port has a driver");
    assert_eq!(
        (bench.state("va"), bench.state("va.1")),
        ("M-DOWN LOWERLAYERDOWN".into(), "M-DOWN LOWERLAYERDOWN".into())
    );
    assert_eq!(bench.state("loose"), "NO-CARRIER UP M-DOWN LOWERLAYERDOWN");
    assert!(bench.at("10.0.0.0/24").is_none());
    bench.run("link set r0 up").unwrap();
    assert_eq!(
        (bench.state("va"), bench.state("va.1"), bench.state("vb")),
        ("UP LOWER_UP UP".into(), "UP LOWER_UP UP".into(), "DOWN".into())
    );
    assert!(bench.at("10.0.0.0/24").is_some());
    // One that was set down meanwhile stays down.
    bench.all(&["link set r0 down", "link set va down", "link set r0 up"]);
    assert_eq!((bench.state("va"), bench.state("va.1")), ("DOWN".into(), "M-DOWN LOWERLAYERDOWN".into()));
    bench.run("link set va up").unwrap();
    assert_eq!(bench.state("va.1"), "UP LOWER_UP UP");
    // The carrier goes through to the top.
    let effects = bench.rtnl.set_carrier(R0, false);
    assert_eq!(effects.carrier_lost.len(), 4);
    assert_eq!(bench.state("va.1"), "NO-CARRIER UP LOWERLAYERDOWN");
    bench.rtnl.set_carrier(R0, true);
    assert_eq!(bench.state("va.1"), "UP LOWER_UP UP");
    // And all of them go with it.
    let effects = bench.rtnl.remove_link(R0);
    bench.apply(&effects);
    assert_eq!(bench.rtnl.links().map(Link::name).collect::<Vec<_>>(), ["lo", "r1"]);
    assert_eq!(effects.devices.len(), 5);
    assert!(bench.fib.keys().all(|prefix| prefix.addr().is_loopback()));
}

#[test]
fn no_vlan_is_larger_than_its_device() {
    let mut bench = Bench::new();
    bench.all(&[
        "link add link r0 name va type vlan id 1",
        "link add link r0 name vb mtu 1300 type vlan id 2",
        "link add link va name va.1 type vlan id 1",
    ]);
    assert_eq!(bench.run("link set va mtu 1501"), refused("Numerical result out of range"));
    assert_eq!(bench.run("link set va mtu 65536"), refused("mtu greater than device maximum."));
    let effects = bench.run("link set r0 mtu 1400").unwrap();
    assert_eq!(effects.driver, [DriverOp::SetMtu(R0, 1400)]);
    assert_eq!(["va", "vb", "va.1"].map(|name| bench.dev(name).mtu()), [1400, 1300, 1400]);
    bench.run("link set r0 mtu 1600").unwrap();
    assert_eq!(
        ["va", "vb", "va.1"].map(|name| bench.dev(name).mtu()),
        [1400, 1300, 1400],
        "none grows by itself"
    );
    bench.run("link set va mtu 1600").unwrap();
}

#[test]
fn a_vlan_has_the_address_of_its_device_until_it_is_given_one() {
    let mac = |last| MacAddr([2, 0, 0, 0, 0, last]);
    let mut bench = Bench::new();
    bench.all(&[
        "link set r0 up",
        "link add link r0 name va up type vlan id 1",
        "link add link r0 name vb type vlan id 2",
        "link add link r0 name own address 02:00:00:00:00:09 type vlan id 3",
        "address add 10.0.0.1/24 dev va",
    ]);
    let effects = bench.run("link set r0 address 02:00:00:00:00:05").unwrap();
    assert_eq!(effects.announce, [(bench.dev("va").ifindex(), ip4("10.0.0.1"))]);
    assert_eq!(["va", "vb", "own"].map(|name| bench.dev(name).mac()), [mac(5), mac(1), mac(9)]);
    bench.run("link set vb up").unwrap();
    assert_eq!(bench.dev("vb").mac(), mac(5), "one that was down catches up");
    bench.all(&["link set va address 02:00:00:00:00:05", "link set r0 address 02:00:00:00:00:06"]);
    assert_eq!(bench.dev("va").mac(), mac(5), "set by hand, if to the same");
}

#[test]
fn who_wants_every_frame_is_counted_from_the_top_down() {
    let mut bench = Bench::new();
    bench.all(&[
        "link set r0 up",
        "link add link r0 name va up type vlan id 1",
        "link add link va name vb up type vlan id 1",
    ]);
    assert_eq!(bench.run("link set vb promisc on").unwrap().driver, []);
    assert_eq!(["vb", "va", "r0"].map(|name| bench.dev(name).promiscuity), [1, 1, 1]);
    assert!(bench.state("vb").contains("PROMISC") && !bench.state("r0").contains("PROMISC"));
    assert_eq!(bench.run("link set r0 promisc on").unwrap().driver, [DriverOp::SetPromisc(R0, true)]);
    assert_eq!(bench.run("link set r0 promisc off").unwrap().driver, [], "it is wanted from above");
    bench.run("link set va down").unwrap();
    assert_eq!(["vb", "va", "r0"].map(|name| bench.dev(name).promiscuity), [1, 0, 0]);
}

#[test]
fn members_take_after_their_bond() {
    let mut bench = Bench::new();
    bench.all(&["link add bond0 mtu 1400 type bond", "link set r1 address 02:00:00:00:00:02"]);
    assert_eq!((bench.dev("bond0").mac(), bench.state("bond0").as_str()), (BOND_MAC, "MASTER DOWN"));
    bench.run("link set r0 up").unwrap();
    for (command, why) in [
        ("link set r0 master bond0", "Device can not be enslaved while up."),
        ("link set bond0 master bond0", "Cannot enslave bond to itself."),
        ("link set r1 master r0", "Operation not supported"),
        ("link set r1 master x", "argument \"x\" is wrong: Device does not exist"),
    ] {
        assert_eq!(bench.run(command).unwrap_err().to_string(), why, "{command}");
    }
    bench.run("link set r0 down").unwrap();
    let effects = bench.run("link set r0 master bond0").unwrap();
    let (one, two) = (MacAddr([2, 0, 0, 0, 0, 1]), MacAddr([2, 0, 0, 0, 0, 2]));
    assert_eq!(effects.driver, [DriverOp::SetMtu(R0, 1400), DriverOp::SetUp(R0, true)]);
    assert_eq!(bench.dev("bond0").mac(), one, "the first member's");
    let effects = bench.run("link set r1 master bond0").unwrap();
    assert_eq!(
        effects.driver,
        [DriverOp::SetMtu(R1, 1400), DriverOp::SetMac(R1, one), DriverOp::SetUp(R1, true)]
    );
    assert_eq!((bench.dev("r1").mac(), bench.dev("r1").member().unwrap().perm_mac), (one, two));
    assert_eq!(bench.state("r1"), "SLAVE UP LOWER_UP UP");
    assert_eq!(bench.dev("bond0").bond().unwrap().members, [R0, R1]);
    bench.run("link set bond0 mtu 1450 address 02:00:00:00:00:0b").unwrap();
    assert_eq!((bench.dev("r0").mtu(), bench.dev("r1").mac()), (1450, MacAddr([2, 0, 0, 0, 0, 0xb])));
    assert_eq!(bench.run("link set bond0 mtu 9001"), refused("mtu greater than device maximum."));
    // Whoever leaves gets back what it had.
    let effects = bench.run("link set r1 nomaster").unwrap();
    assert_eq!(
        effects.driver,
        [DriverOp::SetUp(R1, false), DriverOp::SetMac(R1, two), DriverOp::SetMtu(R1, 1500)]
    );
    assert_eq!(bench.state("r1"), "DOWN");
    bench.run("link del bond0").unwrap();
    assert_eq!(
        (bench.dev("r0").mac(), bench.dev("r0").mtu(), bench.state("r0").as_str()),
        (one, 1500, "DOWN")
    );
}

#[test]
fn a_member_may_go_straight_to_another_bond() {
    let mut bench = Bench::new();
    bench.all(&[
        "link add b1 type bond",
        "link add b2 type bond",
        "link set r0 master b1",
        "link set r0 master b1",
    ]);
    let mac = bench.dev("b1").mac();
    bench.run("link set r0 master b2").unwrap();
    assert_eq!(bench.dev("b2").bond().unwrap().members, [R0]);
    assert_ne!(bench.dev("b1").mac(), mac, "without members it has an address of its own again");
    assert_eq!(bench.dev("b2").mac(), mac);
    assert!(bench.dev("b1").mac().is_valid_unicast());
}

/// Every device stands on one that is there, with one number one name, and no VLAN is up, has a carrier or is larger
/// where its device is not.
fn check(bench: &Bench) {
    let rtnl = &bench.rtnl;
    for link in rtnl.links() {
        assert_eq!(rtnl.find(link.name()), Ok(link.ifindex()));
        if let Some(vlan) = link.vlan() {
            let below = rtnl.link(vlan.real_dev).expect("the device below");
            assert!(rtnl.links.vlans_on(vlan.real_dev).contains(&link.ifindex()));
            assert_eq!(rtnl.links.by_tag(vlan.real_dev, vlan.proto, vlan.vid), Some(link.ifindex()));
            assert!(link.init.mtu <= below.init.mtu, "{} on {}", link.name(), below.name());
            assert_eq!(link.has_carrier(), below.is_running());
            assert!(below.is_up() || !link.is_up() || vlan.is_loose());
            assert!(!(link.is_up() && link.resume));
            assert!(rtnl.links.depth(link.ifindex()) <= bond::MAX_NESTING);
            assert!(!(link.is_up() && link.borrowed_mac) || link.mac() == below.mac());
        }
        if let Some(bond) = link.bond() {
            for member in &bond.members {
                assert_eq!(rtnl.link(*member).and_then(Link::member).map(|m| m.master), Some(link.ifindex()));
            }
        }
        if let Some(member) = link.member() {
            let bond = rtnl.link(member.master).and_then(Link::bond).expect("a bond");
            assert_eq!(bond.members.iter().filter(|dev| **dev == link.ifindex()).count(), 1);
        }
        assert_eq!(link.promiscuity, rtnl.promiscuity(link), "{}", link.name());
    }
}

/// A hundred thousand commands by chance leave the model whole.
#[test]
fn no_sequence_of_commands_breaks_the_model() {
    const DEVS: [&str; 10] = ["r0", "r1", "va", "vb", "vc", "vd", "b0", "b1", "lo", "nope"];
    let mut state = 1_u64;
    let mut bench = Bench::new();
    let mut done = 0;
    for round in 0..100_000 {
        let mut pick = |n: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % n
        };
        let (dev, other) = (DEVS[pick(10)], DEVS[pick(10)]);
        let command = match pick(16) {
            0..=2 => format!(
                "link add link {dev} name {} type vlan id {} protocol {} loose_binding {}",
                DEVS[2 + pick(4)],
                pick(3),
                ["802.1q", "802.1ad"][pick(2)],
                ["on", "off", "off"][pick(3)]
            ),
            3 => format!("link add {} type bond", DEVS[6 + pick(2)]),
            4 => format!("link del {dev}"),
            5..=7 => format!("link set {dev} up"),
            8 => format!("link set {dev} down"),
            9 | 10 => format!("link set {dev} master {other}"),
            11 => format!("link set {dev} nomaster"),
            12 => format!("link set {dev} mtu {}", [68, 1000, 1500, 9000][pick(4)]),
            13 => format!("link set {dev} address 02:00:00:00:00:{:02x}", pick(4)),
            14 => format!("address add 10.{}.0.1/24 dev {dev}", pick(4)),
            _ => {
                let carrier = pick(2) == 0;
                let effects = bench.rtnl.set_carrier([R0, R1][pick(2)], carrier);
                bench.apply(&effects);
                continue;
            }
        };
        done += usize::from(bench.run(&command).is_ok());
        check(&bench);
        if round % 64 == 0 {
            assert_eq!(bench.fib, bench.rebuilt(), "after {command}");
        }
    }
    assert!(done > 20_000, "only {done} commands were carried out");
}
