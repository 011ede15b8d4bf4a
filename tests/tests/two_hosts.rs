//! Two hosts on two networks, and skiff between them: what every router has to do.

use std::time::Duration;

use skiff_tests::{A_ADDR, B_ADDR, LAN_ADDR, Lab, WAN_ADDR, eventually, iperf3, ping, traceroute, transfer};

#[test]
fn a_thousand_pings_and_none_lost() {
    let lab = Lab::new();
    let skiff = lab.start("");

    ping(&lab.a, &format!("-q -c 1000 -i 0.002 -W 5 {B_ADDR}")).expect_all(1000);

    // Nothing was dropped on the way, and what came in is what went out.
    let metrics = skiff.metrics();
    let forwarded = metrics.sum("skiff_node_packets_total", &[("node", "ip_forward")]);
    assert_eq!(forwarded, 2000, "{}", metrics.text);
    assert_eq!(metrics.drops(), Default::default());
    skiff.stop_cleanly();
}

#[test]
fn tcp_in_both_directions_arrives_byte_for_byte() {
    let lab = Lab::new();
    let skiff = lab.start("");

    transfer(&lab.a, &lab.b, B_ADDR, 64 << 20);
    transfer(&lab.b, &lab.a, A_ADDR, 64 << 20);

    let forward = iperf3(&lab.a, &lab.b, B_ADDR, "-t 2");
    let reverse = iperf3(&lab.a, &lab.b, B_ADDR, "-t 2 -R");
    println!("forward {forward:?}, reverse {reverse:?}");
    assert!(forward.bytes > 0 && reverse.bytes > 0);
    skiff.stop_cleanly();
}

#[test]
fn the_router_answers_for_itself() {
    let lab = Lab::new();
    let skiff = lab.start("");

    ping(&lab.a, &format!("-q -c 50 -i 0.01 -W 5 {LAN_ADDR}")).expect_all(50);
    // Its other address too: a router has one IP layer, not one for each port.
    ping(&lab.a, &format!("-q -c 50 -i 0.01 -W 5 {WAN_ADDR}")).expect_all(50);
    // The largest that fits, and with options.
    ping(&lab.a, &format!("-q -c 3 -i 0.01 -W 5 -M do -s 1472 {LAN_ADDR}")).expect_all(3);
    let route = ping(&lab.a, &format!("-c 1 -W 1 -R {B_ADDR}"));
    route.expect_all(1);
    assert!(route.text.contains(WAN_ADDR), "record route holds the address of the way out: {}", route.text);
    skiff.stop_cleanly();
}

#[test]
fn traceroute_shows_the_router() {
    let lab = Lab::new();
    let skiff = lab.start("");

    assert_eq!(traceroute(&lab.a, B_ADDR), [LAN_ADDR, B_ADDR]);
    assert_eq!(traceroute(&lab.b, A_ADDR), [WAN_ADDR, A_ADDR]);

    let expired = ping(&lab.a, &format!("-c 1 -W 1 -t 1 {B_ADDR}"));
    assert!(expired.text.contains(&format!("From {LAN_ADDR}")), "{}", expired.text);
    assert!(expired.text.contains("Time to live exceeded"), "{}", expired.text);
    skiff.stop_cleanly();
}

#[test]
fn a_smaller_mtu_on_the_way_is_reported_or_fragmented_for() {
    let lab = Lab::new();
    let skiff = lab.start("");
    ping(&lab.a, &format!("-q -c 3 -i 0.01 -W 5 -M do -s 1472 {B_ADDR}")).expect_all(3);

    // A cable has one MTU: B's end shrinks with the router's.
    skiff.ctl("ip link set wan mtu 1400");
    lab.b.run("ip link set eth0 mtu 1400");

    let too_big = ping(&lab.a, &format!("-c 1 -W 1 -M do -s 1472 {B_ADDR}"));
    too_big.expect_none();
    assert!(too_big.text.contains(&format!("From {LAN_ADDR}")), "{}", too_big.text);
    assert!(too_big.text.contains("Frag needed and DF set (mtu = 1400)"), "{}", too_big.text);
    ping(&lab.a, &format!("-q -c 3 -i 0.01 -W 5 -M do -s 1372 {B_ADDR}")).expect_all(3);
    // Who does not forbid it gets fragments.
    lab.a.run("ip route flush cache");
    ping(&lab.a, &format!("-q -c 3 -i 0.01 -W 5 -M dont -s 1472 {B_ADDR}")).expect_all(3);
    skiff.stop_cleanly();
}

#[test]
fn what_cannot_be_reached_is_said_so() {
    let lab = Lab::new();
    let skiff = lab.start(
        r#"
[[route]]
to = "192.0.2.0/24"
type = "blackhole"
[[route]]
to = "198.51.100.0/24"
type = "prohibit"
"#,
    );

    let no_route = ping(&lab.a, "-c 1 -W 1 203.0.113.1");
    assert!(no_route.text.contains("Destination Net Unreachable"), "{}", no_route.text);
    let prohibited = ping(&lab.a, "-c 1 -W 1 198.51.100.1");
    assert!(prohibited.text.contains("Packet filtered"), "{}", prohibited.text);
    let silent = ping(&lab.a, "-c 1 -W 1 192.0.2.1");
    silent.expect_none();
    assert!(!silent.text.contains("From"), "{}", silent.text);
    // Nobody has this address: three ARP requests, then host unreachable.
    let nobody = ping(&lab.a, "-c 1 -W 5 10.0.1.77");
    assert!(nobody.text.contains("Destination Host Unreachable"), "{}", nobody.text);
    skiff.stop_cleanly();
}

#[test]
fn every_packet_is_accounted_for() {
    let lab = Lab::new();
    let skiff = lab.start("");
    ping(&lab.a, &format!("-q -c 200 -i 0.002 -W 5 {B_ADDR}")).expect_all(200);
    ping(&lab.a, &format!("-q -c 20 -i 0.002 -W 5 {LAN_ADDR}")).expect_all(20);
    ping(&lab.a, "-q -c 5 -i 0.2 -W 1 203.0.113.1").expect_none();
    ping(&lab.a, "-q -c 2 -i 0.2 -W 1 10.0.1.77").expect_none();

    // At rest nothing is on its way; what waits for 10.0.1.77 is counted as held until that fails.
    let at_rest = || skiff.metrics().ledger().imbalance() == 0;
    eventually("rx + created = tx + dropped + delivered + held", Duration::from_secs(5), at_rest);
    let ledger = skiff.metrics().ledger();
    assert!(
        ledger.rx >= 427 && ledger.created > 0 && ledger.delivered > 0 && ledger.dropped > 0,
        "{ledger:?}"
    );

    // The closing balance says the same, and that no buffer was lost.
    let closing = skiff.stop_cleanly();
    assert!(closing.rx >= ledger.rx && closing.dropped >= ledger.dropped, "{closing:?}");
}
