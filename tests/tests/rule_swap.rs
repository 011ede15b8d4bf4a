//! Rule sets swapped under traffic: no packet meets some rules of one set and some of the other.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use skiff_tests::{Lab, RawSocket, TempDir, eventually, udp_frame};

const SWAPS: usize = 100;
/// Pause between packets: slow enough for the rings of a packet socket, fast enough that every swap meets some.
const GAP: Duration = Duration::from_micros(200);

/// A set that marks every packet with `mark` and lets nothing else through.
fn set(mark: u32) -> String {
    format!(
        "*mangle\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -j MARK --set-mark {mark}\nCOMMIT\n\
         *filter\n:FORWARD DROP [0:0]\n-A FORWARD -m mark --mark {mark} -j ACCEPT\nCOMMIT\n"
    )
}

#[test]
fn no_packet_meets_half_of_each_set() {
    let lab = Lab::new();
    let (a_mac, b_mac, lan_mac) = (lab.a.mac("eth0"), lab.b.mac("eth0"), lab.router.mac("lan"));
    lab.b.hide_from_kernel("eth0");
    let mac = b_mac.map(|byte| format!("{byte:02x}")).join(":");
    let skiff =
        lab.start(&format!("[[neighbour]]\naddress = \"10.0.1.2\"\nmac = \"{mac}\"\ndev = \"wan\"\n"));
    let dir = TempDir::new();
    let files = [1, 2].map(|mark| {
        let path = dir.path().join(format!("{mark}.rules"));
        std::fs::write(&path, set(mark)).expect("our own file");
        path.display().to_string()
    });
    let (sender, receiver) = (RawSocket::open(&lab.a, "eth0"), RawSocket::open(&lab.b, "eth0"));
    let numbered = |n: u32| {
        let mut frame = udp_frame(lan_mac, a_mac, [10, 0, 0, 2], [10, 0, 1, 2], 60);
        frame[42..46].copy_from_slice(&n.to_be_bytes());
        frame
    };
    let number_of = |frame: &[u8]| {
        let ours = frame.get(30..34) == Some(&[10, 0, 1, 2]) && frame.get(36..38) == Some(&[0, 9]);
        frame.get(42..46).filter(|_| ours).and_then(|b| b.first_chunk()).map(|b| u32::from_be_bytes(*b))
    };
    skiff.ctl(&format!("iptables-restore {}", files[0]));

    let done = AtomicBool::new(false);
    let sent = thread::scope(|scope| {
        let sending = scope.spawn(|| {
            let mut n = 0;
            while !done.load(Ordering::Relaxed) {
                sender.send(&numbered(n));
                n += 1;
                thread::sleep(GAP);
            }
            n
        });
        for swap in 1..=SWAPS {
            skiff.ctl(&format!("iptables-restore {}", files[swap % 2]));
        }
        done.store(true, Ordering::Relaxed);
        sending.join().expect("the sender ends")
    });

    let mut missing: BTreeSet<u32> = (0..sent).collect();
    let arrived = || {
        while let Some(frame) = receiver.receive() {
            number_of(&frame).map(|n| missing.remove(&n));
        }
        missing.is_empty()
    };
    eventually(&format!("all of {sent} packets"), Duration::from_secs(10), arrived);
    let drops = skiff.metrics().drops();
    assert!(!drops.contains_key("netfilter_drop"), "{drops:?}");
    assert!(sent as usize > SWAPS, "{sent} packets");

    // Half of each is what would have shown.
    std::fs::write(&files[0], set(1).replace("--mark 1", "--mark 2")).expect("our own file");
    skiff.ctl(&format!("iptables-restore {}", files[0]));
    sender.send(&numbered(sent));
    eventually("a drop", Duration::from_secs(10), || {
        skiff.metrics().drops().get("netfilter_drop") == Some(&1)
    });
    let policy = [("chain", "FORWARD"), ("policy", "DROP")];
    assert_eq!(skiff.metrics().sum("skiff_chain_policy_packets_total", &policy), 1);
    let marked = [("chain", "mangle PREROUTING"), ("rule", "1")];
    assert_eq!(skiff.metrics().sum("skiff_rule_packets_total", &marked), 1);
    skiff.stop_cleanly();
}
