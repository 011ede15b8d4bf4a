//! The lab itself, with testpmd as a plain wire in the router's place. If this fails, the machine or a peer is
//! at fault, not the router.

use skiff_tests::{Netns, RawSocket, Testpmd, iperf3, ping, transfer, udp_frame, veth};

/// Two hosts of one network, their cables plugged into a third namespace as `p0` and `p1`.
fn hosts() -> (Netns, Netns, Netns) {
    let (a, b, wire) = (Netns::new("a"), Netns::new("b"), Netns::new("wire"));
    for (host, port, address) in [(&a, "p0", "10.9.0.1/24"), (&b, "p1", "10.9.0.2/24")] {
        veth((host, "eth0"), (&wire, port));
        wire.hide_from_kernel(port);
        host.address("eth0", address);
    }
    (a, b, wire)
}

fn af_packet(ports: [&str; 2]) -> [String; 2] {
    [0, 1].map(|i| format!("net_af_packet{i},iface={}", ports[i]))
}

#[test]
fn packet_sockets_carry_pings_and_tcp() {
    let (a, b, wire) = hosts();
    let [p0, p1] = af_packet(["p0", "p1"]);
    let mut testpmd = Testpmd::start(&wire, &[&p0, &p1], "--forward-mode=io --auto-start");

    ping(&a, "-q -c 200 -i 0.002 -W 5 10.9.0.2").expect_all(200);
    transfer(&a, &b, "10.9.0.2", 8 << 20);
    transfer(&b, &a, "10.9.0.1", 8 << 20);
    assert!(iperf3(&a, &b, "10.9.0.2", "-t 1").bytes > 0);
    assert!(testpmd.stats(0).rx_packets > 200);
}

#[test]
fn a_raw_frame_arrives_once() {
    let (a, b, wire) = hosts();
    let [p0, p1] = af_packet(["p0", "p1"]);
    let _testpmd = Testpmd::start(&wire, &[&p0, &p1], "--forward-mode=io --auto-start");
    ping(&a, "-q -c 1 -W 5 10.9.0.2").expect_all(1);
    // From here on, only what the test sends itself.
    b.hide_from_kernel("eth0");

    let before = b.iface_stat("eth0", "rx_packets");
    let frame = udp_frame(b.mac("eth0"), a.mac("eth0"), [10, 9, 0, 1], [10, 9, 0, 2], 60);
    let socket = RawSocket::open(&a, "eth0");
    (0..100).for_each(|_| socket.send(&frame));
    let arrived = || b.iface_stat("eth0", "rx_packets") - before;
    skiff_tests::eventually("a hundred frames", std::time::Duration::from_secs(5), || arrived() >= 100);
    assert_eq!(arrived(), 100);
}

#[test]
fn the_hidden_kernel_stays_silent() {
    let (a, _b, wire) = hosts();
    wire.run("ip addr add 10.9.0.254/24 dev p0");
    ping(&a, "-q -c 2 -i 0.2 -W 1 10.9.0.254").expect_none();
}
