//! Queueing disciplines between real hosts: what TCP meets in RED, what a first class waits, what changes lose.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use skiff_tests::{A_ADDR, B_ADDR, Lab, Load, LoadFlow, Skiff, eventually, iperf3, ping};

const EXAMPLE: &str = include_str!("../../configs/shaping.toml");

/// What `tc -s -j qdisc show` says of the discipline with this handle.
#[track_caller]
fn qdisc(skiff: &Skiff, handle: &str) -> Value {
    let rows = skiff.json("tc -s -j qdisc show dev wan");
    let found = rows.as_array().expect("rows").iter().find(|row| row["handle"] == handle).cloned();
    found.unwrap_or_else(|| panic!("no discipline {handle}: {rows}"))
}

/// What ping says of each answer, milliseconds, the shortest first.
fn round_trips(text: &str) -> Vec<f64> {
    let times = text.lines().filter_map(|line| line.split_once("time=")?.1.split(' ').next()?.parse().ok());
    let mut times: Vec<f64> = times.collect();
    times.sort_by(f64::total_cmp);
    times
}

fn number(row: &Value, name: &str) -> u64 {
    row[name].as_u64().unwrap_or_else(|| panic!("no number {name}: {row}"))
}

#[test]
fn the_example_divides_the_line() {
    let lab = Lab::new();
    let skiff = Skiff::start(&lab.router, EXAMPLE);
    let flows = [(10_000, 4.0), (443, 60.0), (10_001, 60.0)].map(|(port, mbit)| LoadFlow::new(port, mbit));
    // Calls are known by their DSCP.
    lab.a.run("nft add table ip calls");
    lab.a.run("nft add chain ip calls out { type filter hook output priority 0 ; }");
    lab.a.run("nft add rule ip calls out udp dport 10000 ip dscp set ef");
    let load = Load::start(&lab.a, &lab.b, B_ADDR, &flows);
    std::thread::sleep(Duration::from_secs(2));
    let rates = load.rates(Duration::from_secs(3));
    let pings = ping(&lab.a, &format!("-c 1000 -i 0.002 -W 2 {B_ADDR}"));
    load.stop();
    println!("calls {:.2}, web {:.2}, rest {:.2} Mbit/s", rates[0], rates[1], rates[2]);
    // Both ways through the router and two hosts; one way in the first class.
    let times = round_trips(&pings.text);
    let at = |share: f64| times[(share * (times.len() - 1) as f64) as usize];
    println!("{} pings: p50 {} ms, p99 {} ms, the longest {} ms", times.len(), at(0.5), at(0.99), at(1.0));
    pings.expect_all(1000);
    assert!((rates[0] - 4.0).abs() < 0.1, "calls come whole: {rates:?}");
    assert!((rates.iter().sum::<f64>() - 50.0).abs() < 1.5, "the line is full: {rates:?}");
    // 30 and 15 are theirs. The rest is shared by quanta of 37,500 and 18,750 bytes.
    assert!((rates[1] / rates[2] - 2.0).abs() < 0.15, "two to one: {rates:?}");
    assert_eq!(number(&qdisc(&skiff, "10:"), "drops"), 0);
    for handle in ["20:", "30:"] {
        let red = qdisc(&skiff, handle);
        assert_eq!(number(&red, "drops"), number(&red, "early") + number(&red, "pdrop"), "{red}");
        assert!(number(&red, "early") > 0, "{red}");
    }
    eventually("queues to empty", Duration::from_secs(5), || number(&qdisc(&skiff, "1:"), "qlen") == 0);
    skiff.stop_cleanly();
}

#[test]
fn red_marks_tcp_that_knows_ecn_and_drops_none_of_it() {
    let lab = Lab::new();
    let skiff = lab.start("");
    for line in [
        "qdisc add dev wan root handle 1: htb default 10",
        "class add dev wan parent 1: classid 1:10 htb rate 40mbit",
        "qdisc add dev wan parent 1:10 handle 10: red limit 1mb min 60kb max 180kb avpkt 1500 burst 50 bandwidth 40mbit probability 0.1 ecn",
    ] {
        skiff.ctl(&format!("tc {line}"));
    }
    for host in [&lab.a, &lab.b] {
        host.run("sysctl -qw net.ipv4.tcp_ecn=1");
    }
    let (sums, report) = std::thread::scope(|scope| {
        let run = scope.spawn(|| iperf3(&lab.a, &lab.b, B_ADDR, "-t 8 -P 4"));
        std::thread::sleep(Duration::from_secs(3));
        let mut sums = Vec::new();
        for _ in 0..40 {
            std::thread::sleep(Duration::from_millis(100));
            sums.push(skiff.metrics().sum("skiff_red_avg_bytes", &[("qdisc", "10:")]));
        }
        (sums, run.join().expect("iperf3"))
    });
    let red = qdisc(&skiff, "10:");
    let (marked, early, pdrop) = (number(&red, "marked"), number(&red, "early"), number(&red, "pdrop"));
    let within = sums.iter().filter(|average| (60 << 10..=180 << 10).contains(*average)).count();
    println!(
        "{} Mbit/s; marked {marked}, early {early}, pdrop {pdrop}; the average was between the thresholds at {within} of {} looks, {:?}",
        report.bytes as f64 * 8e-6 / 8.0,
        sums.len(),
        sums
    );
    assert!(marked > 0, "{red}");
    // The first packet of a connection and what is sent again know no ECN (RFC 3168): those alone may be dropped.
    assert!((early + pdrop) * 200 <= marked, "{red}");
    assert_eq!(number(&red, "drops"), early + pdrop, "{red}");
    assert_eq!(number(&red, "overlimits"), marked + early, "{red}");
    assert!(within * 10 >= sums.len() * 8, "the average stays between min and max: {sums:?}");
    skiff.stop_cleanly();
}

#[test]
fn prio_serves_the_first_band_first() {
    let lab = Lab::new();
    let skiff = lab.start("");
    for line in [
        "qdisc add dev wan root handle 1: tbf rate 30mbit burst 20kb limit 200kb",
        "qdisc add dev wan parent 1:1 handle 2: prio bands 3",
        "filter add dev wan parent 2: protocol ip prio 1 u32 match ip dport 5001 0xffff flowid 2:1",
        "filter add dev wan parent 2: protocol ip prio 1 u32 match ip dport 5002 0xffff flowid 2:2",
        "filter add dev wan parent 2: protocol ip prio 1 u32 match ip dport 5003 0xffff flowid 2:3",
    ] {
        skiff.ctl(&format!("tc {line}"));
    }
    let flows: Vec<LoadFlow> = (5001..=5003).map(|port| LoadFlow::new(port, 40.0)).collect();
    let load = Load::start(&lab.a, &lab.b, B_ADDR, &flows);
    std::thread::sleep(Duration::from_secs(1));
    let rates = load.rates(Duration::from_secs(2));
    load.stop();
    println!("{rates:?}");
    let all: f64 = rates.iter().sum();
    assert!((all - 30.0).abs() < 1.0, "{rates:?}");
    assert!(rates[0] > 0.95 * all && rates[1] + rates[2] < 0.05 * all, "{rates:?}");
    skiff.stop_cleanly();
}

#[test]
fn a_file_applied_again_leaves_queues_alone_and_another_replaces_them() {
    let lab = Lab::new();
    let skiff = Skiff::start(&lab.router, EXAMPLE);
    ping(&lab.a, &format!("-q -c 20 -i 0.005 -W 2 {B_ADDR}")).expect_all(20);
    let before = number(&qdisc(&skiff, "1:"), "packets");
    assert!(before >= 20);
    let applied = |n| {
        eventually("the file", Duration::from_secs(5), || {
            skiff.stdout().lines().filter(|line| line.starts_with("skiff: applied")).count() == n
        });
    };
    assert!(skiff.ctl("ip link show wan").contains(" qdisc htb "));
    skiff.signal(Signal::SIGHUP);
    applied(1);
    assert_eq!(number(&qdisc(&skiff, "1:"), "packets"), before);
    let other =
        EXAMPLE.replace("root handle 1: htb default 30 r2q 100", "root handle 1: htb default 20 r2q 100");
    std::fs::write(skiff.config_path(), other).expect("our own file");
    skiff.signal(Signal::SIGHUP);
    applied(2);
    assert_eq!(number(&qdisc(&skiff, "1:"), "packets"), 0);
    assert!(skiff.ctl("tc qdisc show dev wan").contains("default 0x20"));
    // Without the section the port is as it was at first.
    let plain = &EXAMPLE[..EXAMPLE.find("[traffic-control]").expect("the section")];
    std::fs::write(skiff.config_path(), plain).expect("our own file");
    skiff.signal(Signal::SIGHUP);
    applied(3);
    assert_eq!(skiff.ctl("tc qdisc show dev wan"), "qdisc noqueue 0: root refcnt 2 \n");
    ping(&lab.b, &format!("-q -c 20 -i 0.005 -W 2 {A_ADDR}")).expect_all(20);
    skiff.stop_cleanly();
}
