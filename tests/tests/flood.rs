//! More than the router can take: packets may be lost where a ring is full, and nowhere else.

use std::time::{Duration, Instant};

use skiff_tests::{Lab, RawSocket, eventually, udp_frame};

const FRAMES: u64 = 2_000_000;

#[test]
fn overload_is_lost_at_full_rings_only_and_every_loss_is_counted() {
    let lab = Lab::new();
    let (a_mac, b_mac, lan_mac) = (lab.a.mac("eth0"), lab.b.mac("eth0"), lab.router.mac("lan"));
    // B only counts; its address is known beforehand.
    lab.b.hide_from_kernel("eth0");
    let mac = b_mac.map(|byte| format!("{byte:02x}")).join(":");
    let neighbour = format!("[[neighbour]]\naddress = \"10.0.1.2\"\nmac = \"{mac}\"\ndev = \"wan\"\n");
    let skiff = lab.start(&neighbour);
    let before = skiff.metrics();
    let arrived_before = lab.b.iface_stat("eth0", "rx_packets");

    let frame = udp_frame(lan_mac, a_mac, [10, 0, 0, 2], [10, 0, 1, 2], 60);
    let socket = RawSocket::open(&lab.a, "eth0");
    (0..FRAMES).for_each(|_| socket.send(&frame));

    // A worker that another process keeps from its CPU stands still too, but not for half a second.
    let (mut last, mut since) = (u64::MAX, Instant::now());
    eventually("the rings to run empty", Duration::from_secs(20), || {
        let now = skiff.metrics().ledger().rx;
        if now != last {
            (last, since) = (now, Instant::now());
        }
        since.elapsed() > Duration::from_millis(500)
    });
    let after = skiff.metrics();
    let grown =
        |name: &str, port: &str| after.sum(name, &[("port", port)]) - before.sum(name, &[("port", port)]);
    // What drivers gave and took. A packet socket driver counts what it took but could not pass on as errors.
    let received = grown("skiff_queue_receive_packets_total", "lan");
    let missed = grown("skiff_port_receive_missed_total", "lan");
    let sent = grown("skiff_queue_transmit_packets_total", "wan");
    let arrived = lab.b.iface_stat("eth0", "rx_packets") - arrived_before;
    println!("offered {FRAMES}, received {received}, missed {missed}, sent {sent}, arrived {arrived}");

    // DPDK 22.11's packet socket driver does not count what its ring had no room for; later ones do.
    assert!(received <= FRAMES && (missed == 0 || received + missed == FRAMES));
    assert_eq!(after.drops().keys().filter(|reason| *reason != "tx_full").count(), 0, "{:?}", after.drops());
    assert_eq!(received, sent + after.drops().get("tx_full").copied().unwrap_or(0));
    assert_eq!(after.ledger().imbalance(), 0, "{:?}", after.ledger());
    assert!(arrived <= sent && sent > 0);
    skiff.stop_cleanly();
}
