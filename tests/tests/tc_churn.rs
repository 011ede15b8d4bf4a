//! Queueing disciplines, classes and filters change at random under traffic, and not a packet is unaccounted for.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use skiff_tests::{Api, Lab, Netns, Rng, Skiff, TempDir, eventually, pcap, udp_frame};

/// How long, unless `$SKIFF_SECONDS` says.
const SECONDS: u64 = 8;
/// What DPDK gives its capture ports.
const MAC: [u8; 6] = [2, b'p', b'c', b'a', b'p', 0];
/// Where packets leave: two ports, and a VLAN on the second.
const DEVICES: [&str; 3] = ["out0", "out1", "v1"];

/// Frames for networks behind each way out, of several ports, lengths and kinds of service.
fn traffic() -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for i in 0..480u16 {
        let to = [172, 16, (i % 3) as u8, i as u8];
        let mut frame = udp_frame(
            MAC,
            [2, 0, 0, 0, 0, 9],
            [10, 9, 0, (i % 7) as u8 + 2],
            to,
            60 + 90 * usize::from(i % 16),
        );
        frame[36..38].copy_from_slice(&(5000 + i % 40).to_be_bytes());
        frames.push(frame);
    }
    frames
}

fn pick<'a>(rng: &mut Rng, from: &[&'a str]) -> &'a str {
    from[rng.below(from.len())]
}

fn rate(rng: &mut Rng) -> String {
    pick(rng, &["8kbit", "1mbit", "20mbit", "500mbit", "3gbit", "40gbit"]).to_owned()
}

/// A kind and its parameters.
fn qdisc(rng: &mut Rng) -> String {
    match rng.below(9) {
        0 | 1 => format!("htb default {} r2q {}", pick(rng, &["0", "10", "20"]), 1 + rng.below(20)),
        2 => "prio".to_owned(),
        3 => format!("tbf rate {} burst {}kb limit {}kb", rate(rng), 2 + rng.below(20), 1 + rng.below(300)),
        4 => format!(
            "red limit {}kb min 10kb max 30kb avpkt 700 burst 30 bandwidth 100mbit {}",
            40 + rng.below(200),
            pick(rng, &["", "ecn", "ecn harddrop", "adaptive", "ecn nodrop"])
        ),
        5 => format!("pfifo limit {}", rng.below(500)),
        6 => format!("bfifo limit {}kb", 1 + rng.below(300)),
        7 => format!("pfifo_head_drop limit {}", 1 + rng.below(500)),
        _ => "pfifo_fast".to_owned(),
    }
}

/// One command. Many are refused, since nothing here knows what there is.
fn change(rng: &mut Rng) -> String {
    let dev = pick(rng, &DEVICES);
    let major = 1 + rng.below(4);
    let class = |rng: &mut Rng| format!("{major:x}:{:x}", [1, 2, 3, 16, 17, 32, 33][rng.below(7)]);
    let verb = |rng: &mut Rng| pick(rng, &["add", "add", "replace", "change"]);
    match rng.below(20) {
        0 | 1 => format!("qdisc {} dev {dev} root handle {major}: {}", verb(rng), qdisc(rng)),
        2..=4 => {
            let below = 1 + rng.below(6);
            format!("qdisc {} dev {dev} parent {} handle {below}: {}", verb(rng), class(rng), qdisc(rng))
        }
        5 => format!("qdisc del dev {dev} root"),
        6 => format!("qdisc del dev {dev} parent {}", class(rng)),
        7..=11 => {
            let parent = if rng.one_in(2) { format!("{major}:") } else { class(rng) };
            format!(
                "class {} dev {dev} parent {parent} classid {} htb rate {} ceil {} prio {}",
                verb(rng),
                class(rng),
                rate(rng),
                rate(rng),
                rng.below(8)
            )
        }
        12 => format!("class del dev {dev} classid {}", class(rng)),
        13 => format!("qdisc {} dev {dev} clsact", pick(rng, &["add", "del"])),
        14..=17 => {
            let parent = match rng.below(4) {
                0 => "egress".to_owned(),
                1 => class(rng),
                _ => format!("parent {major}:"),
            };
            let parent = if parent.contains(':') && !parent.starts_with("parent") {
                format!("parent {parent}")
            } else {
                parent
            };
            let kind = match rng.below(4) {
                0 => format!("u32 match ip dport {} 0xffff", 5000 + rng.below(40)),
                1 => format!("flower ip_proto udp dst_port {}", 5000 + rng.below(40)),
                2 => "matchall".to_owned(),
                _ => format!("u32 match u32 {} 0xff at 16", rng.below(256)),
            };
            let what = match rng.below(6) {
                0 => "action drop".to_owned(),
                1 => format!("action police rate {} burst 20k conform-exceed drop", rate(rng)),
                2 => format!("action mirred egress redirect dev {}", pick(rng, &DEVICES)),
                3 => format!("action mirred egress mirror dev {}", pick(rng, &DEVICES)),
                _ => format!("flowid {}", class(rng)),
            };
            format!("filter add dev {dev} {parent} protocol ip prio {} {kind} {what}", 1 + rng.below(4))
        }
        18 => format!("filter del dev {dev} parent {major}: prio {}", 1 + rng.below(4)),
        _ => format!("filter del dev {dev} {}", pick(rng, &["egress", "parent 1:", "parent 2:"])),
    }
}

#[test]
fn random_changes_of_trees_lose_no_packet() {
    let seconds = std::env::var("SKIFF_SECONDS").map_or(SECONDS, |text| text.parse().expect("a number"));
    let (netns, dir) = (Netns::new("tcchurn"), TempDir::new());
    let capture = dir.file("traffic.pcap");
    fs::write(&capture, pcap(&traffic())).expect("our own file");
    let mut config = Lab::system();
    config += &format!(
        "[interface.in0]\ndevice = \"vdev:net_pcap0,rx_pcap={capture},infinite_rx=1\"\naddresses = [\"10.9.0.1/24\"]\n"
    );
    for n in 0..2 {
        config += &format!(
            "[interface.out{n}]\ndevice = \"vdev:net_null{n},no-rx=1\"\naddresses = [\"10.{n}.0.1/24\"]\n"
        );
    }
    config += "[interface.v1]\nvlan = { parent = \"out1\", id = 7 }\naddresses = [\"10.2.0.1/24\"]\n";
    for (n, dev) in DEVICES.iter().enumerate() {
        config += &format!("[[route]]\nto = \"172.16.{n}.0/24\"\nvia = \"10.{n}.0.2\"\n");
        config += &format!(
            "[[neighbour]]\naddress = \"10.{n}.0.2\"\nmac = \"02:bb:00:00:00:0{n}\"\ndev = \"{dev}\"\n"
        );
    }
    let skiff = Skiff::start(&netns, &config);
    let mut api = Api::connect(&skiff.socket());
    let seed = std::env::var("SKIFF_SEED").map_or(1, |text| text.parse().expect("a number"));
    let mut rng = Rng::new(seed);
    let (began, mut done, mut all, mut refused) = (Instant::now(), 0, 0, BTreeMap::<String, u32>::new());
    while began.elapsed() < Duration::from_secs(seconds) {
        let line = change(&mut rng);
        let outcome = api.run("tc", &line);
        all += 1;
        match outcome.code {
            0 => done += 1,
            1 | 2 => *refused.entry(outcome.err.lines().next().unwrap_or_default().into()).or_default() += 1,
            code => panic!("{line}: {code}: {}", outcome.err),
        }
        if all % 50 == 0 {
            for show in
                ["qdisc show", "class show dev out0", "filter show dev out1", "filter show dev v1 egress"]
            {
                let outcome = api.run("tc", &format!("-s {show}"));
                assert_eq!(outcome.code, 0, "{show}: {}", outcome.err);
            }
            // Let some packets see it.
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    println!("{all} changes in {:.1?}, {done} taken; refused: {refused:#?}", began.elapsed());
    assert!(done > all / 10, "nearly all were refused");

    // Everything goes, and every queue is empty.
    for dev in DEVICES {
        api.run("tc", &format!("qdisc del dev {dev} root"));
        api.run("tc", &format!("qdisc del dev {dev} clsact"));
        assert_eq!(api.run("tc", &format!("qdisc show dev {dev}")).ok(), "qdisc noqueue 0: root refcnt 2 \n");
    }
    let before = skiff.metrics().ledger().tx;
    eventually("packets go still", Duration::from_secs(5), || skiff.metrics().ledger().tx > before);
    let drops = skiff.ctl("drops");
    let ledger = skiff.stop_cleanly();
    println!("{ledger:?}\n{drops}");
    assert!(ledger.tx > 0);
}
