//! Multicast between three networks: static routes, and hosts that join through the IGMP proxy.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use skiff_tests::{Lab, Netns, Skiff, eventually, veth};

const PORT: u16 = 5001;

/// A host on each of three links of a router; `hosts[0]` is 10.1.0.2, and so on.
struct Links {
    router: Netns,
    hosts: Vec<Netns>,
}

impl Links {
    fn new() -> Links {
        let router = Netns::new("router");
        let hosts = (1..=3).map(|n| {
            let host = Netns::new(&format!("h{n}"));
            veth((&host, "eth0"), (&router, &format!("rp{n}")));
            host.address("eth0", &format!("10.{n}.0.2/24"));
            host.run("ip route add 224.0.0.0/4 dev eth0");
            host
        });
        let hosts = hosts.collect();
        (1..=3).for_each(|n| router.hide_from_kernel(&format!("rp{n}")));
        Links { router, hosts }
    }

    fn start(&self, more: &str) -> Skiff {
        let port =
            |n| format!("[interface.rp{n}]\ndevice = \"netdev:rp{n}\"\naddresses = [\"10.{n}.0.1/24\"]\n");
        let ports: String = (1..=3).map(port).collect();
        Skiff::start(&self.router, &format!("{}{ports}{more}", Lab::system()))
    }

    /// A socket on host `n` that has joined `group`.
    fn join(&self, n: usize, group: Ipv4Addr) -> UdpSocket {
        self.hosts[n - 1].enter(|| {
            let socket = UdpSocket::bind(("0.0.0.0", PORT)).expect("a free port");
            socket.join_multicast_v4(&group, &Ipv4Addr::new(10, n as u8, 0, 2)).expect("a group to join");
            socket
        })
    }

    /// Sends `count` packets from host `n`.
    fn send(&self, n: usize, group: Ipv4Addr, count: usize) {
        self.hosts[n - 1].enter(|| {
            let socket = UdpSocket::bind((Ipv4Addr::new(10, n as u8, 0, 2), 0)).expect("our own address");
            socket.set_multicast_ttl_v4(16).expect("a TTL");
            for _ in 0..count {
                socket.send_to(b"a packet for a group", (group, PORT)).expect("room to send");
            }
        });
    }
}

/// Asserts that exactly `want` packets arrive: waits long for those, and a moment for one too many.
#[track_caller]
fn assert_received(socket: &UdpSocket, want: usize) {
    let more = |patience| {
        socket.set_read_timeout(Some(patience)).expect("a timeout");
        socket.recv(&mut [0; 64]).is_ok()
    };
    let got = (0..want).take_while(|_| more(Duration::from_secs(10))).count();
    assert_eq!(got, want);
    assert!(!more(Duration::from_millis(300)), "more than {want} packets");
}

#[test]
fn a_static_route_copies_to_every_way_out() {
    let links = Links::new();
    let skiff = links.start("");
    let group = Ipv4Addr::new(239, 1, 2, 3);
    let listeners = [links.join(2, group), links.join(3, group)];

    skiff.ctl("ip mroute add 239.1.2.3 from 10.1.0.2 iif rp1 oif rp2 oif rp3");
    links.send(1, group, 5);
    listeners.iter().for_each(|socket| assert_received(socket, 5));
    let shown = skiff.ctl("ip -s mroute");
    let mut lines = shown.lines();
    let entry = "(10.1.0.2,239.1.2.3)             Iif: rp1        Oifs: rp2 rp3  State: resolved";
    assert_eq!(lines.next(), Some(entry), "{shown}");
    assert!(lines.next().is_some_and(|line| line.starts_with("  5 packets, 240 bytes, Age ")), "{shown}");

    // The same source and group by another interface.
    skiff.ctl("ip mroute del 239.1.2.3 from 10.1.0.2");
    skiff.ctl("ip mroute add 239.1.2.3 from 10.1.0.2 iif rp2 oif rp1 oif rp3");
    links.send(1, group, 5);
    let counted = || skiff.ctl("ip -s mroute").contains("5 arrived on wrong iif.");
    eventually("the router has seen them", Duration::from_secs(10), counted);
    listeners.iter().for_each(|socket| assert_received(socket, 0));

    skiff.ctl("ip mroute del 239.1.2.3 from 10.1.0.2");
    links.send(1, group, 5);
    listeners.iter().for_each(|socket| assert_received(socket, 0));
    assert_eq!(skiff.ctl("ip mroute"), "");
    skiff.stop_cleanly();
}

#[test]
fn what_hosts_join_arrives_through_the_proxy_until_they_leave() {
    let links = Links::new();
    let skiff = links.start("[igmp-proxy]\nupstream = \"rp1\"\ndownstream = [\"rp2\", \"rp3\"]\n");
    let group = Ipv4Addr::new(239, 7, 7, 7);
    let listener = links.join(2, group);
    let joined = || skiff.metrics().sum("skiff_igmp_groups", &[("interface", "rp2")]) == 1;
    eventually("the querier knows the member", Duration::from_secs(10), joined);

    // Four would wait for their route: one asks for it.
    for count in [1, 5] {
        links.send(1, group, count);
        assert_received(&listener, count);
    }
    let entry = "(10.1.0.2,239.7.7.7)             Iif: rp1        Oifs: rp2  State: resolved\n";
    assert_eq!(skiff.ctl("ip mroute"), entry);

    // What a host below sends goes up, whether or not anybody joined.
    let above = links.join(1, Ipv4Addr::new(239, 8, 8, 8));
    for count in [1, 5] {
        links.send(3, Ipv4Addr::new(239, 8, 8, 8), count);
        assert_received(&above, count);
    }

    links.hosts[1]
        .enter(|| listener.leave_multicast_v4(&group, &Ipv4Addr::new(10, 2, 0, 2)))
        .expect("a member");
    let gone = || skiff.ctl("ip mroute").contains("(10.1.0.2,239.7.7.7)             Iif: rp1         State");
    eventually("nobody answers two queries", Duration::from_secs(20), gone);
    let sent = || skiff.metrics().sum("skiff_interface_transmit_packets_total", &[("interface", "rp2")]);
    let before = sent();
    links.send(1, group, 5);
    eventually("the packets came in", Duration::from_secs(10), || {
        skiff.ctl("ip -s mroute show 239.7.7.7").contains("  11 packets")
    });
    assert_eq!(sent(), before, "nothing more by rp2");
    skiff.stop_cleanly();
}

#[test]
fn the_file_sets_routes_and_a_new_file_takes_them_away() {
    let links = Links::new();
    let route =
        "[[mroute]]\ngroup = \"239.5.5.5\"\niif = \"rp1\"\noifs = [\"rp2\", { dev = \"rp3\", ttl = 8 }]\n";
    let skiff = links.start(route);
    let shown = skiff.ctl("ip mroute");
    assert!(shown.contains("(0.0.0.0,239.5.5.5)"), "{shown}");
    assert!(shown.contains("Oifs: rp1 rp2 rp3(ttl 8)"), "{shown}");

    let file = skiff.config_path();
    let without = std::fs::read_to_string(&file).expect("the file we wrote").replace(route, "");
    std::fs::write(&file, without).expect("our own file");
    skiff.signal(nix::sys::signal::Signal::SIGHUP);
    eventually("the route is gone", Duration::from_secs(10), || skiff.ctl("ip mroute").is_empty());
    skiff.stop_cleanly();
}
