//! Whatever comes off the wire: no crash, nothing unaccounted for, and the next packet is forwarded as ever.

use std::time::Duration;

use skiff_tests::{A_ADDR, B_ADDR, LAN_ADDR, Lab, RawSocket, Rng, eventually, ping, random_frame};

const FRAMES: usize = 100_000;

#[test]
fn a_hundred_thousand_random_frames_do_no_harm() {
    let lab = Lab::new();
    let mut skiff = lab.start("");
    ping(&lab.a, &format!("-q -c 3 -i 0.01 -W 5 {B_ADDR}")).expect_all(3);
    let (a_mac, lan_mac) = (lab.a.mac("eth0"), lab.router.mac("lan"));
    let (src, dst) = ([10, 0, 0, 2], [10, 0, 1, 2]);

    let socket = RawSocket::open(&lab.a, "eth0");
    // A fixed seed: what fails once fails again. SKIFF_SEED=N tries others.
    let seed = std::env::var("SKIFF_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let mut rng = Rng::new(seed);
    for i in 0..FRAMES {
        socket.send(&random_frame(&mut rng, lan_mac, a_mac, src, dst));
        if i % 256 == 0 {
            // The point is what is in the frames, not how many rings overflow.
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    assert!(skiff.is_running(), "seed {seed}");

    let at_rest = || skiff.metrics().ledger().imbalance() == 0;
    eventually("every frame accounted for", Duration::from_secs(15), at_rest);
    let metrics = skiff.metrics();
    let ledger = metrics.ledger();
    assert!(ledger.rx > FRAMES as u64 / 2, "{ledger:?}");
    // Each layer had its share.
    for reason in ["otherhost", "unhandled_proto", "ip_inhdr", "ip_csum", "pkt_too_small", "ip_noproto"] {
        assert!(metrics.drops().contains_key(reason), "no {reason}: {:?}", metrics.drops());
    }

    for to in [B_ADDR, LAN_ADDR] {
        ping(&lab.a, &format!("-q -c 100 -i 0.002 -W 5 {to}")).expect_all(100);
    }
    ping(&lab.b, &format!("-q -c 100 -i 0.002 -W 5 {A_ADDR}")).expect_all(100);
    skiff.stop_cleanly();
}
