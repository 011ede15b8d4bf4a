//! Datagrams for the router that come in fragments.
//!
//! The port is a TAP whose kernel end is the host: DPDK's af_packet driver has the kernel reassemble what it
//! receives (PACKET_FANOUT_FLAG_DEFRAG), so that the router never sees a fragment.

use std::time::Duration;

use skiff_tests::{Lab, Netns, RawSocket, Skiff, eventually, need_root, ping, udp_frame};

const HOST_ADDR: &str = "10.9.0.2";
const ROUTER_ADDR: &str = "10.9.0.1";
const ROUTER_MAC: [u8; 6] = [2, 0, 0, 0, 9, 1];

#[test]
fn large_pings_are_answered() {
    let (host, skiff) = start("");
    ping(&host, &format!("-q -c 20 -i 0.01 -W 5 -s 4000 {ROUTER_ADDR}")).expect_all(20);
    ping(&host, &format!("-q -c 5 -i 0.05 -W 5 -s 60000 {ROUTER_ADDR}")).expect_all(5);
    // The longest there is.
    ping(&host, &format!("-q -c 3 -i 0.05 -W 5 -s 65507 {ROUTER_ADDR}")).expect_all(3);

    let metrics = skiff.metrics();
    assert_eq!(metrics.sum("skiff_ip_reasm_oks_total", &[]), 28, "{}", metrics.text);
    assert_eq!(metrics.sum("skiff_ip_frag_oks_total", &[]), 28);
    assert_eq!(metrics.drops(), Default::default());
    skiff.stop_cleanly();
}

/// What waits for fragments is accounted for, ends in time, and holds nothing back when the router stops.
#[test]
fn half_datagrams_wait_and_expire() {
    let (host, skiff) = start("[sysctl]\n\"net.ipv4.ipfrag_time\" = 3\n");
    let (from, to) = (host.mac("lan"), ROUTER_MAC);
    let (src, dst) = (octets(HOST_ADDR), octets(ROUTER_ADDR));
    let socket = RawSocket::open(&host, "lan");
    let send_halves = |count: u16| {
        for id in 0..count {
            socket.send(&first_half(udp_frame(to, from, src, dst, 90), id));
        }
    };

    send_halves(10);
    let gauges = || {
        let metrics = skiff.metrics();
        let gauge = |name| metrics.sum(name, &[]);
        (gauge("skiff_frag_queues"), gauge("skiff_frag_hold_packets"), gauge("skiff_frag_mem_bytes"))
    };
    eventually("ten wait", Duration::from_secs(2), || matches!(gauges(), (10, 10, 20_000..)));
    assert_eq!(skiff.metrics().ledger().imbalance(), 0);
    eventually("they expire, one error each", Duration::from_secs(10), || gauges() == (0, 0, 0));
    assert_eq!(skiff.metrics().drops().get("frag_reasm_timeout"), Some(&10));
    assert_eq!(skiff.metrics().sum("skiff_ip_reasm_timeout_total", &[]), 10);

    send_halves(5);
    eventually("five wait", Duration::from_secs(2), || gauges().0 == 5);
    skiff.stop_cleanly();
}

/// A router with one port, and the host at its other end.
fn start(more: &str) -> (Netns, Skiff) {
    need_root();
    let host = Netns::new("host");
    let port = format!(
        "[interface.lan]\ndevice = \"vdev:net_tap0,iface=lan,mac=02:00:00:00:09:01\"\naddresses = [\"{ROUTER_ADDR}/24\"]\n"
    );
    let skiff = Skiff::start(&host, &format!("{}{port}{more}", Lab::system()));
    host.run("ip link set lan address 02:00:00:00:09:02 up");
    host.address("lan", &format!("{HOST_ADDR}/24"));
    // The new address took the link down; the router notices when it is back.
    let settled = || ping(&host, &format!("-q -c 5 -i 0.05 -W 1 {ROUTER_ADDR}")).received == 5;
    eventually("the link is up", Duration::from_secs(10), settled);
    (host, skiff)
}

fn octets(address: &str) -> [u8; 4] {
    address.parse::<std::net::Ipv4Addr>().expect("an address").octets()
}

/// Makes a datagram the first fragment of a longer one with this identification. The changed words are taken out of
/// the checksum (RFC 1624).
fn first_half(mut frame: Vec<u8>, id: u16) -> Vec<u8> {
    const MORE: u16 = 0x2000;
    let word = |frame: &[u8], at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
    let mut sum = u32::from(!word(&frame, 24));
    for (at, new) in [(18, id), (20, MORE)] {
        sum += u32::from(!word(&frame, at)) + u32::from(new);
        frame[at..at + 2].copy_from_slice(&new.to_be_bytes());
    }
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    frame[24..26].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    frame
}
