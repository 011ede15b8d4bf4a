//! A first try needs neither root nor hugepages: drivers that touch nothing of the system run as anybody.

use std::time::Duration;

use skiff_tests::{Lab, Netns, Skiff, eventually};

#[test]
fn nobody_runs_a_router_over_null_ports() {
    // Only the namespace is made by root, so that the metrics port is free; the router has no privilege left.
    let netns = Netns::new("nobody");
    // net_null receives frames of zeros without end: not IPv4, so each is dropped and accounted for.
    let config = format!(
        r#"{}
[interface.p0]
device = "vdev:net_null"
addresses = ["10.0.0.1/24"]
[interface.p1]
device = "vdev:net_null"
addresses = ["10.0.1.1/24"]
"#,
        Lab::system()
    );
    let skiff = Skiff::start_unprivileged(&netns, &config);

    let status = std::fs::read_to_string(format!("/proc/{}/status", skiff.pid())).expect("it runs");
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).expect("every process has it");
        line.split_whitespace().nth(1).map(str::to_owned)
    };
    assert_eq!(field("Uid:").as_deref(), Some("65534"));
    assert_eq!(field("CapEff:").as_deref(), Some("0000000000000000"));

    let received = || skiff.metrics().sum("skiff_port_receive_packets_total", &[("port", "p0")]);
    let before = received();
    eventually("counters grow", Duration::from_secs(5), || received() > before + 1_000_000);
    assert_eq!(skiff.json("ip -j addr").as_array().map(|list| list.len() >= 2), Some(true));
    skiff.stop_cleanly();
}

#[test]
fn nobody_forwards_from_a_capture_to_null() {
    // The frames of net_null are zeros, which no router forwards; a played capture has real headers.
    let netns = Netns::new("nobody");
    let said = Skiff::run_unprivileged(&netns, "demo --no-hosts --seconds 1").ok();
    let last = said.lines().find(|line| line.starts_with("skiff: stopped: ")).expect("a closing balance");
    let tx =
        last.split_whitespace().skip_while(|word| *word != "tx").nth(1).and_then(|n| n.parse::<u64>().ok());
    assert!(
        tx.is_some_and(|tx| tx > 100_000) && last.ends_with("dropped 0 + delivered 0 + held 0; pools full"),
        "{said}"
    );
}
