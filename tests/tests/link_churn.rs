//! Links, addresses and options of a router change at random while it forwards, and not a packet is unaccounted for.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use skiff_tests::{Api, Lab, Netns, Rng, Skiff, Tag, TempDir, eventually, pcap, tagged, udp_frame};

/// Changes, unless `$SKIFF_CHANGES` says how many.
const CHANGES: usize = 5_000;
/// The first two bring traffic, the others take the hardware address of a bond.
const PORTS: [&str; 4] = ["p0", "p1", "p2", "p3"];
/// What DPDK gives its capture ports.
const MACS: [[u8; 6]; 2] = [[2, b'p', b'c', b'a', b'p', 0], [2, b'p', b'c', b'a', b'p', 1]];
const UPPERS: [&str; 12] = ["v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "b0", "b1", "b2", "b3"];
const MODES: [&str; 7] =
    ["balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb"];
const OPTIONS: [&str; 16] = [
    "xmit_hash_policy layer3+4",
    "xmit_hash_policy vlan+srcmac",
    "miimon 100",
    "miimon 0",
    "arp_interval 100 arp_ip_target 10.1.0.2",
    "arp_interval 0",
    "lacp_rate fast",
    "lacp_active off",
    "all_slaves_active 1",
    "packets_per_slave 0",
    "min_links 1",
    "fail_over_mac follow",
    "primary p1",
    "active_slave p2",
    "clear_active_slave",
    "tlb_dynamic_lb 0",
];

/// Frames for the router, in and out of its VLANs, to it and through it.
fn traffic() -> Vec<Vec<u8>> {
    let tags: [&[Tag]; 7] = [
        &[],
        &[(0x8100, 1)],
        &[(0x8100, 2)],
        &[(0x8100, 5 << 13)],
        &[(0x8100, 3), (0x8100, 1)],
        &[(0x88a8, 1), (0x8100, 2)],
        &[(0x8100, 99)],
    ];
    let mut frames = Vec::new();
    for tags in tags {
        for host in 0..16 {
            for to in [[10, host % 8, 0, 1], [10, host % 8, 0, 2], [172, 16, host, 1]] {
                let source = [10, host, 0, 9];
                frames.push(tagged(
                    &udp_frame(MACS[usize::from(host % 2)], [2, 0, 0, 0, 0, 9], source, to, 64),
                    tags,
                ));
            }
        }
        let arp = [&[0xff; 6], &[2, 0, 0, 0, 0, 9][..], &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 9]];
        let arp = [&arp.concat()[..], &[10, 1, 0, 2, 0, 0, 0, 0, 0, 0, 10, 1, 0, 1], &[0; 18]].concat();
        frames.push(tagged(&arp, tags));
        let mut lacp = vec![0; 124];
        lacp[..16].copy_from_slice(&[1, 0x80, 0xc2, 0, 0, 2, 2, 0, 0, 0, 0, 9, 0x88, 9, 1, 1]);
        frames.push(tagged(&lacp, tags));
    }
    frames
}

/// One command. Many are refused, since nothing here knows what there is.
fn change(rng: &mut Rng) -> String {
    let pick = |rng: &mut Rng, from: &[&str]| from[rng.below(from.len())].to_owned();
    let upper = |rng: &mut Rng| pick(rng, &UPPERS);
    let vlan = |rng: &mut Rng| pick(rng, &UPPERS[..8]);
    let bond = |rng: &mut Rng| pick(rng, &UPPERS[8..]);
    let any = |rng: &mut Rng| if rng.one_in(3) { pick(rng, &PORTS) } else { pick(rng, &UPPERS) };
    let (dev, net) = (any(rng), rng.below(8));
    match rng.below(28) {
        0..=4 => {
            let proto = pick(rng, &["802.1q", "802.1q", "802.1ad"]);
            let more = pick(rng, &["", "", "reorder_hdr off", "loose_binding on", "egress-qos-map 0:1 6:7"]);
            format!(
                "link add link {dev} name {} type vlan protocol {proto} id {} {more}",
                vlan(rng),
                1 + rng.below(3)
            )
        }
        5 => format!(
            "link add {} type bond mode {} {}",
            bond(rng),
            pick(rng, &MODES),
            pick(rng, &["", "miimon 100"])
        ),
        6 | 24..=26 => format!("link del {}", upper(rng)),
        7..=9 => format!("link set {dev} up"),
        10 => format!("link set {} down", upper(rng)),
        27 => format!("link set {} up", pick(rng, &PORTS)),
        11 => {
            // A member has to be down.
            let port = pick(rng, &PORTS);
            format!("link set {port} {} master {}", pick(rng, &["", "down"]), bond(rng))
        }
        12 => format!("link set {dev} master {}", bond(rng)),
        13 => format!("link set {dev} nomaster"),
        14 => format!("link set {dev} mtu {}", [68, 576, 1280, 1400, 1496, 1500, 1504, 9000][net]),
        15 => format!("link set {} type bond {}", bond(rng), pick(rng, &OPTIONS)),
        16 => format!("link set {} type bond mode {}", bond(rng), pick(rng, &MODES)),
        17 => format!(
            "link set {} type vlan {}",
            vlan(rng),
            pick(
                rng,
                &[
                    "ingress-qos-map 5:6",
                    "egress-qos-map 6:5 2:1",
                    "reorder_hdr on",
                    "reorder_hdr off",
                    "gvrp on",
                ]
            )
        ),
        18 => format!("link set {} name {}", upper(rng), upper(rng)),
        19 => format!("link set {dev} address 02:70:63:61:70:0{}", rng.below(2)),
        20 => format!("link set {dev} promisc {}", pick(rng, &["on", "off"])),
        21 => format!("addr {} 10.{net}.0.1/24 dev {dev}", pick(rng, &["add", "add", "del"])),
        22 => format!("neigh replace 10.{net}.0.2 lladdr 02:00:00:00:00:09 dev {dev}"),
        _ => format!("route replace 172.16.{}.0/24 via 10.{net}.0.2", rng.below(16)),
    }
}

#[test]
fn random_changes_of_links_lose_no_packet() {
    let changes = std::env::var("SKIFF_CHANGES").map_or(CHANGES, |text| text.parse().expect("a number"));
    let (netns, dir) = (Netns::new("churn"), TempDir::new());
    let capture = dir.file("traffic.pcap");
    fs::write(&capture, pcap(&traffic())).expect("our own file");
    let ports = (0..4).map(|n| {
        let capture = format!("net_pcap{n},rx_pcap={capture},infinite_rx=1");
        let device = if n < 2 { capture } else { format!("net_null{n}") };
        format!("[interface.p{n}]\ndevice = \"vdev:{device}\"\n")
    });
    let skiff = Skiff::start(&netns, &format!("{}{}", Lab::system(), ports.collect::<String>()));
    let mut api = Api::connect(&skiff.socket());

    let seed = std::env::var("SKIFF_SEED").map_or(1, |text| text.parse().expect("a number"));
    let mut rng = Rng::new(seed);
    let (began, mut done, mut refused) = (Instant::now(), 0, BTreeMap::<String, u32>::new());
    for turn in 0..changes {
        let line = change(&mut rng);
        let outcome = api.run("ip", &line);
        match outcome.code {
            0 => done += 1,
            1 => {
                *refused
                    .entry(outcome.err.rsplit(": ").next().unwrap_or_default().trim().into())
                    .or_default() += 1
            }
            _ => panic!("change {turn}: {line}: {}", outcome.err),
        }
    }
    println!("{changes} changes in {:.1?}, {done} taken; refused: {refused:#?}", began.elapsed());
    assert!(done > changes / 4, "most were refused");

    // What is left stands, is shown, and goes.
    assert!(skiff.metrics().ledger().rx > 0);
    for name in UPPERS {
        api.run("ip", &format!("link del {name}"));
    }
    let shown = skiff.ctl("ip -br link");
    assert_eq!(shown.lines().count(), 1 + PORTS.len(), "{shown}");
    for port in PORTS {
        api.run("ip", &format!("link set {port} up")).ok();
    }
    let before = skiff.metrics().ledger().rx;
    eventually("packets come still", Duration::from_secs(5), || skiff.metrics().ledger().rx > before);
    let drops = skiff.ctl("drops");
    let ledger = skiff.stop_cleanly();
    println!("{ledger:?}\n{drops}");
    assert!(ledger.tx > 0 && ledger.delivered > 0);
}
