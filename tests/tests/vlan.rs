//! VLANs on the wire: hosts behind a switch that tags what they send, and frames made by hand.

use std::collections::HashMap;
use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use skiff_tests::{
    AccessPort, Api, Lab, Netns, Skiff, Tag, Trunk, eventually, ping, tagged, udp_frame, untagged, veth,
};

const C: u16 = 0x8100;
const S: u16 = 0x88a8;
/// Whoever sends frames made by hand.
const HOST_MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];
/// How long an answer may take, and how long none is waited for.
const SOON: Duration = Duration::from_secs(5);
const NEVER: Duration = Duration::from_millis(300);

/// How the router's ports meet the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wire {
    /// A pair of kernel interfaces, the router on a packet socket.
    Veth,
    /// A TAP device of the router's.
    Tap,
}

/// A router with ports p0 and p1, and what is at the other ends of their wires.
struct Stage {
    // Before the namespaces, which are gone when these are.
    skiff: Skiff,
    switch: Netns,
    router: Netns,
}

impl Stage {
    /// Starts the router with `uppers`. Wires carry packets of up to `mtu` bytes, tags included.
    fn start(wire: Wire, mtu: usize, uppers: &str) -> Stage {
        let (router, switch) = (Netns::new("router"), Netns::new("switch"));
        let device = |port: &str| match wire {
            Wire::Veth => format!("netdev:{port}"),
            Wire::Tap => format!("vdev:net_tap{0},iface=t{0}", &port[1..]),
        };
        if wire == Wire::Veth {
            for (port, end) in [("p0", "t0"), ("p1", "t1")] {
                veth((&router, port), (&switch, end));
                router.run(&format!("ip link set {port} mtu {mtu}"));
                router.hide_from_kernel(port);
            }
        }
        let ports = format!(
            "[interface.p0]\ndevice = \"{}\"\n[interface.p1]\ndevice = \"{}\"\n",
            device("p0"),
            device("p1")
        );
        let skiff = Skiff::start(&router, &format!("{}{ports}{uppers}", Lab::system()));
        let stage = Stage { skiff, switch, router };
        for end in ["t0", "t1"] {
            stage.far_end().run(&format!("ip link set {end} mtu {mtu} up"));
        }
        eventually("both links", SOON, || stage.skiff.ctl("ip -br link").matches("NO-CARRIER").count() == 0);
        stage
    }

    /// Where the other ends are: a TAP device that leaves its namespace looks to its driver as if it were down.
    fn far_end(&self) -> &Netns {
        if self.switch.try_run("ip link show t0").code == 0 { &self.switch } else { &self.router }
    }

    fn trunk(&self, port: usize) -> Trunk {
        Trunk::open(self.far_end(), &format!("t{port}"))
    }

    /// Plugs a host with this address into a switch port of a VLAN of a trunk. Its router is the first of its network.
    fn host(&self, name: &str, trunk: usize, tags: &[Tag], address: &str) -> (AccessPort, Netns) {
        let host = Netns::new(name);
        let port = format!("port-{name}");
        veth((&host, "eth0"), (&self.switch, &port));
        self.switch.run(&format!("ip link set {port} up"));
        host.address("eth0", address);
        let (network, _) = address.rsplit_once('.').expect("an address");
        host.run(&format!("ip route add default via {network}.1"));
        (AccessPort::start(self.trunk(trunk), &self.switch, &port, tags), host)
    }

    /// The hardware address of a device of the router.
    fn mac(&self, dev: &str) -> [u8; 6] {
        let link = &self.skiff.json(&format!("ip -j link show {dev}"))[0];
        let text = link["address"].as_str().expect("a MAC");
        let mut bytes = text.split(':').map(|byte| u8::from_str_radix(byte, 16).expect("a MAC"));
        std::array::from_fn(|_| bytes.next().expect("six bytes"))
    }

    /// What `ip -s link` counts of a device: packets and bytes received, then sent.
    fn counted(&self, dev: &str) -> [u64; 4] {
        let link = &self.skiff.json(&format!("ip -s -j link show {dev}"))[0]["stats64"];
        [("rx", "packets"), ("rx", "bytes"), ("tx", "packets"), ("tx", "bytes")]
            .map(|(way, what)| link[way][what].as_u64().unwrap_or_else(|| panic!("{dev}: {link}")))
    }

    /// The same as the metrics page has it.
    fn metered(&self, dev: &str) -> [u64; 4] {
        let metrics = self.skiff.metrics();
        ["receive_packets", "receive_bytes", "transmit_packets", "transmit_bytes"]
            .map(|what| metrics.sum(&format!("skiff_interface_{what}_total"), &[("interface", dev)]))
    }

    fn counter(&self, name: &str, dev: &str) -> u64 {
        self.skiff.metrics().sum(name, &[("interface", dev)])
    }
}

/// p0.42 (10.0.42.1/24) and p1.43 (10.0.43.1/24).
const ROUTED: &str = "[interface.\"p0.42\"]\nvlan = { parent = \"p0\", id = 42 }\naddresses = [\"10.0.42.1/24\"]\n\
                      [interface.\"p1.43\"]\nvlan = { parent = \"p1\", id = 43 }\naddresses = [\"10.0.43.1/24\"]\n";
/// A datagram from VLAN 42 to VLAN 43 of `len` bytes with its Ethernet header, not to be fragmented.
fn routed_frame(stage: &Stage, len: usize) -> Vec<u8> {
    udp_frame(stage.mac("p0.42"), HOST_MAC, [10, 0, 42, 2], [10, 0, 43, 2], len)
}

fn is_ip(frame: &[u8]) -> bool {
    untagged(frame).1[12..14] == [8, 0]
}

/// An echo request, behind the Ethernet header as a datagram is.
fn echo_frame(dst_mac: [u8; 6], src: [u8; 4], dst: [u8; 4]) -> Vec<u8> {
    let mut frame = udp_frame(dst_mac, HOST_MAC, src, dst, 60);
    frame[23] = 1;
    // The checksum of an echo request of zeros (RFC 1071), and that of the header with another protocol.
    frame[34..].fill(0);
    frame[34..38].copy_from_slice(&[8, 0, 0xf7, 0xff]);
    let sum = u16::from_be_bytes([frame[24], frame[25]]);
    frame[24..26].copy_from_slice(&(sum + 16).to_be_bytes());
    frame
}

fn hosts_ping(wire: Wire) {
    let stage = Stage::start(wire, 1500, ROUTED);
    let (port_a, a) = stage.host("a", 0, &[(C, 42)], "10.0.42.2/24");
    let (port_b, b) = stage.host("b", 1, &[(C, 43)], "10.0.43.2/24");
    ping(&a, "-q -c 1 -W 5 10.0.42.1").expect_all(1);
    ping(&b, "-q -c 100 -i 0.01 -W 2 10.0.43.1").expect_all(100);
    // The switch takes nothing for B that has another tag than 43.
    ping(&a, "-q -c 200 -i 0.01 -W 2 10.0.43.2").expect_all(200);
    ping(&a, "-q -c 20 -i 0.01 -s 1472 -M do -W 2 10.0.43.2").expect_all(20);
    // Errors come by the VLAN.
    let far = ping(&a, "-c 1 -t 1 -W 2 10.0.43.2");
    assert!(
        far.text.contains("From 10.0.42.1") && far.text.contains("Time to live exceeded"),
        "{}",
        far.text
    );
    let nowhere = ping(&a, "-c 1 -W 2 192.0.2.1");
    assert!(
        nowhere.text.contains("From 10.0.42.1") && nowhere.text.contains("Net Unreachable"),
        "{}",
        nowhere.text
    );
    let neighbours = stage.skiff.ctl("ip neigh");
    assert!(neighbours.contains("10.0.42.2 dev p0.42 lladdr"), "{neighbours}");
    drop((port_a, port_b));
    stage.skiff.stop_cleanly();
}

#[test]
fn hosts_of_two_vlans_ping_each_other_over_packet_sockets() {
    hosts_ping(Wire::Veth);
}

#[test]
fn hosts_of_two_vlans_ping_each_other_over_taps() {
    hosts_ping(Wire::Tap);
}

fn strange_tags(wire: Wire) {
    let stage = Stage::start(wire, 1500, ROUTED);
    stage.skiff.ctl("ip addr add 10.0.0.1/24 dev p0");
    stage.skiff.ctl("ip neigh add 10.0.0.2 lladdr 02:00:00:00:00:09 dev p0");
    let trunk = stage.trunk(0);
    let echo = echo_frame(stage.mac("p0"), [10, 0, 0, 2], [10, 0, 0, 1]);
    let answered = |frame: &[u8], limit| {
        trunk.find(limit, is_ip).map(|answer| {
            assert_eq!(answer[..6], frame[6..12]);
            untagged(&answer).0
        })
    };
    trunk.send(&echo);
    assert_eq!(answered(&echo, SOON), Some(vec![]));

    // Another VLAN's frame is another station's, whatever its address.
    let other = || stage.counter("skiff_interface_receive_otherhost_total", "p0");
    let before = other();
    trunk.send(&tagged(&echo, &[(C, 99)]));
    assert_eq!(answered(&echo, NEVER), None);
    assert_eq!((other() - before, stage.counter("skiff_vlan_unknown_total", "p0")), (1, 1));
    let in_vlan = echo_frame(stage.mac("p0.42"), [10, 0, 42, 2], [10, 0, 42, 1]);
    trunk.send(&tagged(&in_vlan, &[(C, 99)]));
    assert_eq!(answered(&in_vlan, NEVER), None);

    // Priority 5 and no VLAN.
    trunk.send(&tagged(&echo, &[(C, 5 << 13)]));
    assert_eq!(answered(&echo, SOON), Some(vec![]));
    stage.skiff.stop_cleanly();
}

#[test]
fn unknown_vlans_are_others_and_priority_tags_nobodys_over_packet_sockets() {
    strange_tags(Wire::Veth);
}

#[test]
fn unknown_vlans_are_others_and_priority_tags_nobodys_over_taps() {
    strange_tags(Wire::Tap);
}

#[test]
fn arp_is_answered_in_its_vlan() {
    let stage = Stage::start(Wire::Veth, 1500, ROUTED);
    let (trunk, mac) = (stage.trunk(0), stage.mac("p0.42"));
    let mut request = [&[0xff; 6], &HOST_MAC[..], &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &HOST_MAC].concat();
    request.extend([10, 0, 42, 2, 0, 0, 0, 0, 0, 0, 10, 0, 42, 1]);
    trunk.send(&tagged(&request, &[(C, 42)]));
    let is_arp_reply = |frame: &[u8]| untagged(frame).1[12..22] == [8, 6, 0, 1, 8, 0, 6, 4, 0, 2];
    let reply = trunk.find(SOON, is_arp_reply).expect("a reply");
    let (tags, reply) = untagged(&reply);
    assert_eq!(tags, [(C, 42)]);
    assert_eq!((&reply[..6], &reply[6..12], &reply[22..28]), (&HOST_MAC[..], &mac[..], &mac[..]));
    // In another VLAN nobody has the address.
    trunk.send(&tagged(&request, &[(C, 43)]));
    assert_eq!(trunk.find(NEVER, is_arp_reply), None);
    stage.skiff.stop_cleanly();
}

/// Both tags of every frame, whether the driver leaves the outer one in the data (a TAP's) or not (a packet socket's).
fn stacked_tags(wire: Wire) {
    let uppers = ["p0", "p1"].map(|port| {
        let net = if port == "p0" { 42 } else { 43 };
        format!(
            "[interface.\"{port}.s\"]\nvlan = {{ parent = \"{port}\", id = 100, protocol = \"802.1ad\" }}\n\
             [interface.\"{port}.c\"]\nvlan = {{ parent = \"{port}.s\", id = 10 }}\naddresses = [\"10.0.{net}.1/24\"]\n"
        )
    });
    // The kernel makes room for a customer's tag beyond the MTU of its interfaces, not for a provider's.
    let stage = Stage::start(wire, 1508, &uppers.concat());
    let tags = [(S, 100), (C, 10)];
    let (port_a, a) = stage.host("a", 0, &tags, "10.0.42.2/24");
    let (port_b, b) = stage.host("b", 1, &tags, "10.0.43.2/24");
    ping(&a, "-q -c 50 -i 0.01 -W 5 10.0.43.2").expect_all(50);
    // Frames of 1522 bytes.
    ping(&b, "-q -c 50 -i 0.01 -s 1472 -M do -W 5 10.0.42.2").expect_all(50);
    assert_eq!(stage.counted("p1.c")[2], stage.counted("p1.s")[2]);
    drop((port_a, port_b));
    stage.skiff.stop_cleanly();
}

#[test]
fn provider_tags_stand_around_customer_tags_over_taps() {
    stacked_tags(Wire::Tap);
}

#[test]
fn provider_tags_stand_around_customer_tags_over_packet_sockets() {
    stacked_tags(Wire::Veth);
}

#[test]
fn the_tag_is_not_part_of_the_mtu() {
    let stage = Stage::start(Wire::Veth, 1600, ROUTED);
    stage.skiff.ctl("ip neigh add 10.0.43.2 lladdr 02:00:00:00:00:09 dev p1.43");
    stage.skiff.ctl("ip neigh add 10.0.42.2 lladdr 02:00:00:00:00:09 dev p0.42");
    let (left, right) = (stage.trunk(0), stage.trunk(1));
    left.send(&tagged(&routed_frame(&stage, 1514), &[(C, 42)]));
    let passed = right.find(SOON, is_ip).expect("1500 bytes pass");
    assert_eq!((passed.len(), untagged(&passed).0), (1518, vec![(C, 43)]));

    left.send(&tagged(&routed_frame(&stage, 1515), &[(C, 42)]));
    let (tags, error) = untagged(&left.find(SOON, is_ip).expect("an error"));
    assert_eq!(tags, [(C, 42)]);
    assert_eq!(
        (&error[26..30], &error[34..36], &error[40..42]),
        (&[10, 0, 42, 1][..], &[3, 4][..], &[5, 220][..])
    );
    assert_eq!(right.find(NEVER, is_ip), None);
    stage.skiff.stop_cleanly();
}

#[test]
fn vlans_go_down_and_up_with_what_they_lie_on_and_are_deleted_with_it() {
    let loose = "[interface.\"p0.7\"]\nvlan = { parent = \"p0\", id = 7, loose-binding = true }\n\
                 [interface.\"p0.8\"]\nvlan = { parent = \"p0\", id = 8 }\n";
    let stage = Stage::start(Wire::Veth, 1500, &format!("{ROUTED}{loose}"));
    let (port_a, a) = stage.host("a", 0, &[(C, 42)], "10.0.42.2/24");
    let skiff = &stage.skiff;
    let state = |dev: &str| {
        let link = &skiff.json(&format!("ip -j link show {dev}"))[0];
        let up = link["flags"].as_array().is_some_and(|flags| flags.iter().any(|flag| flag == "UP"));
        format!("{up} {}", link["operstate"].as_str().unwrap_or_default())
    };
    let states = || ["p0.42", "p0.42.9", "p0.7"].map(state);
    skiff.ctl("ip link add link p0.42 name p0.42.9 type vlan id 9");
    // What was down before stays down.
    assert_eq!(states(), ["true UP", "false DOWN", "true UP"]);
    ping(&a, "-q -c 1 -W 5 10.0.42.1").expect_all(1);

    skiff.ctl("ip link set p0 down");
    let down = states();
    assert!(down[..2].iter().all(|state| state.starts_with("false")), "{down:?}");
    assert!(down[2].starts_with("true"), "bound loosely: {down:?}");
    ping(&a, "-q -c 1 -W 1 10.0.42.1").expect_none();
    assert!(!skiff.ctl("ip route").contains("10.0.42.0/24"));
    skiff.ctl("ip link set p0 up");
    assert_eq!(states(), ["true UP", "false DOWN", "true UP"]);
    ping(&a, "-q -c 3 -i 0.1 -W 5 10.0.42.1").expect_all(3);

    skiff.ctl("ip link del p0.42");
    assert!(!skiff.ctl("ip -br link").contains("p0.42"));
    ping(&a, "-q -c 1 -W 1 10.0.42.1").expect_none();

    // The other end is unplugged: no carrier, and VLANs stay up in name.
    drop(port_a);
    stage.switch.run("ip link set t0 down");
    eventually("no carrier", SOON, || state("p0.8") == "true LOWERLAYERDOWN");
    stage.switch.run("ip link set t0 up");
    eventually("the carrier", SOON, || state("p0.8") == "true UP");
    stage.skiff.stop_cleanly();
}

#[test]
fn forwarding_takes_the_priority_from_the_tos_or_leaves_it() {
    let maps = ROUTED
        .replace("id = 42", "id = 42, ingress-qos-map = \"3:3\"")
        .replace("id = 43", "id = 43, egress-qos-map = \"0:1 3:5 6:7\"");
    let file = |on: u8| format!("{maps}[sysctl]\n\"net.ipv4.ip_forward_update_priority\" = {on}\n");
    let stage = Stage::start(Wire::Veth, 1500, &file(1));
    stage.skiff.ctl("ip neigh add 10.0.43.2 lladdr 02:00:00:00:00:09 dev p1.43");
    let (left, right) = (stage.trunk(0), stage.trunk(1));
    let routed = routed_frame(&stage, 60);
    let sent_with = |pcp: u16, tos: u8| {
        let mut frame = routed.clone();
        frame[15] = tos;
        let sum = u16::from_be_bytes([frame[24], frame[25]]);
        frame[24..26].copy_from_slice(&(sum - u16::from(tos)).to_be_bytes());
        left.send(&tagged(&frame, &[(C, pcp << 13 | 42)]));
        let tags = untagged(&right.find(SOON, is_ip).expect("it is routed")).0;
        assert_eq!((tags.len(), tags[0].0, tags[0].1 & 0x1fff), (1, C, 43));
        tags[0].1 >> 13
    };
    assert_eq!([sent_with(3, 0), sent_with(0, 0x10), sent_with(3, 0x10)], [1, 7, 7]);

    let applied = || stage.skiff.stdout().contains("skiff: applied");
    let old = fs::read_to_string(stage.skiff.config_path()).expect("our own file");
    fs::write(stage.skiff.config_path(), old.replace("priority\" = 1", "priority\" = 0"))
        .expect("our own file");
    stage.skiff.signal(Signal::SIGHUP);
    eventually("the new file", SOON, applied);
    stage.skiff.ctl("ip neigh replace 10.0.43.2 lladdr 02:00:00:00:00:09 dev p1.43");
    assert_eq!([sent_with(3, 0), sent_with(0, 0x10), sent_with(3, 0x10)], [5, 1, 5]);
    stage.skiff.stop_cleanly();
}

#[test]
fn each_device_counts_its_frames_without_its_own_tag() {
    let stage = Stage::start(Wire::Veth, 1500, ROUTED);
    stage.skiff.ctl("ip neigh add 10.0.43.2 lladdr 02:00:00:00:00:09 dev p1.43");
    let (left, right) = (stage.trunk(0), stage.trunk(1));
    let devices = ["p0", "p0.42", "p1", "p1.43"];
    let before = devices.map(|dev| stage.counted(dev));
    for _ in 0..100 {
        left.send(&tagged(&routed_frame(&stage, 500), &[(C, 42)]));
        right.find(SOON, is_ip).expect("it is routed");
    }
    let grown = |i: usize, now: [u64; 4]| [0, 1, 2, 3].map(|at| now[at] - before[i][at]);
    let grown = devices.map(|dev| {
        assert_eq!(stage.counted(dev), stage.metered(dev), "{dev}");
        grown(devices.iter().position(|d| *d == dev).unwrap_or(0), stage.counted(dev))
    });
    assert_eq!(grown[1], [100, 50_000, 0, 0]);
    assert_eq!(grown[2], [0, 0, 100, 50_400]);
    assert_eq!(grown[3], [0, 0, 100, 50_000]);
    // The packet socket's driver has the kernel take the tag out and counts what it gives.
    assert_eq!((grown[0][0], grown[0][2]), (100, 0));
    assert_eq!(grown[0][1], 50_400);
    stage.skiff.stop_cleanly();
}

/// Every identifier there is: by its file, then half of them again by command.
#[test]
fn four_thousand_vlans_and_no_others_are_received() {
    let began = Instant::now();
    let vlan = |vid: u16| format!("[interface.\"p0.{vid}\"]\nvlan = {{ parent = \"p0\", id = {vid} }}\n");
    let stage = Stage::start(Wire::Veth, 1500, &(1..=4094).map(vlan).collect::<String>());
    let by_file = began.elapsed();
    let trunk = stage.trunk(0);
    let frame = udp_frame(stage.mac("p0"), HOST_MAC, [10, 0, 42, 2], [10, 0, 43, 2], 60);
    // A frame in each VLAN; what a VLAN has and what the port has of unknown ones.
    let received = || -> (Vec<u64>, u64) {
        let unknown = stage.counter("skiff_vlan_unknown_total", "p0");
        let seen = || stage.counted("p0")[0];
        let before = seen();
        // No more at a time than the ring of a packet socket holds.
        for first in (0..4096u16).step_by(128) {
            (first..first + 128).for_each(|vid| trunk.send(&tagged(&frame, &[(C, vid)])));
            eventually("all of them", SOON, || seen() == before + u64::from(first) + 128);
        }
        let links = stage.skiff.json("ip -s -j link");
        let links = links.as_array().expect("a list").iter();
        let counted: HashMap<&str, u64> = links
            .filter_map(|link| Some((link["ifname"].as_str()?, link["stats64"]["rx"]["packets"].as_u64()?)))
            .collect();
        let each = (1..=4094).map(|vid| counted.get(&*format!("p0.{vid}")).copied().unwrap_or(0)).collect();
        (each, stage.counter("skiff_vlan_unknown_total", "p0") - unknown)
    };
    let (each, unknown) = received();
    assert!(each.iter().all(|packets| *packets == 1));
    // The reserved one.
    assert_eq!(unknown, 1);

    let mut api = Api::connect(&stage.skiff.socket());
    let began = Instant::now();
    (1..=4094).step_by(2).for_each(|vid| drop(api.run("ip", &format!("link del p0.{vid}")).ok()));
    let deleted = began.elapsed();
    let (each, unknown) = received();
    assert!(each.iter().zip(1..).all(|(packets, vid)| *packets == if vid % 2 == 0 { 2 } else { 0 }));
    assert_eq!(unknown, 1 + 2047);

    let began = Instant::now();
    for vid in (1..=4094).step_by(2) {
        api.run("ip", &format!("link add link p0 name p0.{vid} type vlan id {vid}")).ok();
        api.run("ip", &format!("link set p0.{vid} up")).ok();
    }
    let added = began.elapsed();
    let (each, unknown) = received();
    assert!(each.iter().zip(1..).all(|(packets, vid)| *packets == if vid % 2 == 0 { 3 } else { 1 }));
    assert_eq!(unknown, 1);
    println!("4094 VLANs by file: {by_file:.1?}; 2047 deleted: {deleted:.1?}, added and up: {added:.1?}");
    stage.skiff.stop_cleanly();
}

/// Priorities of the tags received decide which queue a packet waits in, and are written into the tags sent.
#[test]
fn the_priority_in_the_tag_chooses_the_band() {
    let uppers = ROUTED
        .replace("id = 42 }", "id = 42, ingress-qos-map = \"1:1\" }")
        .replace("id = 43 }", "id = 43, egress-qos-map = \"0:1 1:5\" }");
    // Forwarding would set the priority by the type of service.
    let stage = Stage::start(
        Wire::Veth,
        1500,
        &format!(
            "{uppers}[sysctl]\n\"net.ipv4.ip_forward_update_priority\" = 0\n[[neighbour]]\naddress = \"10.0.43.2\"\nmac = \"02:00:00:00:00:08\"\ndev = \"p1.43\"\n"
        ),
    );
    for line in [
        "qdisc add dev p1.43 root handle 1: tbf rate 6mbit burst 4kb limit 2mb",
        "qdisc add dev p1.43 parent 1:1 handle 2: prio bands 2 priomap 1 0 1 1 1 1 1 1 1 1 1 1 1 1 1 1",
    ] {
        stage.skiff.ctl(&format!("tc {line}"));
    }
    let (input, output) = (stage.trunk(0), stage.trunk(1));
    let mut frame = routed_frame(&stage, 1400);
    for i in 0..400 {
        for pcp in [0u16, 1] {
            frame[34] = pcp as u8;
            input.send(&tagged(&frame, &[(C, pcp << 13 | 42)]));
        }
        if i % 20 == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    let mut sent = [0; 2];
    while sent[0] + sent[1] < 300 {
        let frame = output.find(SOON, is_ip).expect("a frame");
        let (tags, inner) = untagged(&frame);
        let pcp = usize::from(inner[34]);
        assert_eq!(tags, [(C, [1, 5][pcp] << 13 | 43)]);
        sent[pcp] += 1;
    }
    println!("of the first 300: {sent:?}");
    assert!(sent[1] > 285, "{sent:?}");
    stage.skiff.stop_cleanly();
}
