//! A real Prometheus server over a running router, and the rules and the dashboard made for it.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use skiff_tests::{B_ADDR, Lab, Load, LoadFlow, METRICS_ADDR, Prometheus, TempDir, run};

const ALERTS: &str = "configs/prometheus/rules/skiff-alerts.yml";
const NODE_EXPORTER: &str = "configs/prometheus/rules/skiff-node-exporter.yml";
const DASHBOARD: &str = "configs/grafana/skiff.json";

/// A file of the project.
fn file(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name).display().to_string()
}

#[test]
fn promtool_finds_nothing_in_the_rules_and_each_alert_fires_when_it_should() {
    let promtool = |args: &[&str]| run(Command::new("promtool").args(args)).ok();
    promtool(&["check", "config", &file("configs/prometheus/prometheus.yml")]);
    promtool(&["check", "rules", &file(ALERTS), &file(NODE_EXPORTER)]);
    promtool(&["test", "rules", &file("tests/prometheus/skiff-alerts.yml")]);
}

/// Everything that has metrics of its own: VLAN, bond, tree, rules, sets, a driver that tells how full its rings are.
fn everything(dir: &TempDir) -> String {
    let config = Lab::config().replace("[metrics]\n", "[metrics]\nstage-timing = true\nxstats = true\n");
    config
        + &format!(
            r#"
[interface."lan.100"]
vlan = {{ parent = "lan", id = 100 }}
addresses = ["10.3.0.1/24"]
[interface.p2]
device = "vdev:net_null0,no-rx=1"
[interface.p3]
device = "vdev:net_null1,no-rx=1"
[interface.bond0]
bond = {{ mode = "802.3ad", members = ["p2", "p3"], miimon = 100, lacp-rate = "fast" }}
addresses = ["10.5.0.1/24"]
[interface.spare]
device = "vdev:net_vhost0,iface={vhost}"

[traffic-control]
commands = '''
qdisc add dev wan root handle 1: htb default 20
class add dev wan parent 1: classid 1:1 htb rate 50mbit
class add dev wan parent 1:1 classid 1:10 htb rate 1mbit ceil 50mbit
class add dev wan parent 1:1 classid 1:20 htb rate 10mbit ceil 50mbit
qdisc add dev wan parent 1:10 handle 10: red limit 400kb min 30kb max 90kb avpkt 1000 burst 55 probability 0.02 ecn
filter add dev wan parent 1: protocol ip prio 1 u32 match ip dport 5001 0xffff flowid 1:10
'''
[netfilter]
rules = '''
*filter
:FORWARD ACCEPT [0:0]
-A FORWARD -p udp -m udp --dport 5007 -m comment --comment unwanted -j DROP
COMMIT
'''
"#,
            vhost = dir.file("vhost")
        )
}

/// What the panels of the dashboard ask, its variables filled in.
fn dashboard_queries() -> Vec<(String, String)> {
    let text = std::fs::read_to_string(file(DASHBOARD)).expect("the dashboard is in the project");
    let dashboard: Value = serde_json::from_str(&text).expect("the dashboard is JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let mut queries = Vec::new();
    for panel in panels {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expr = target["expr"].as_str().expect("an expression");
            let filled =
                [("$instance", ".*"), ("$port", ".*"), ("$__rate_interval", "10s"), ("$__range", "1m")]
                    .iter()
                    .fold(expr.to_owned(), |expr, (name, value)| expr.replace(name, value));
            queries.push((panel["title"].to_string(), filled));
        }
    }
    queries
}

#[test]
fn every_panel_has_data_every_rule_is_evaluated_and_no_alert_but_the_true_ones_is_raised() {
    let (lab, dir) = (Lab::new(), TempDir::new());
    let skiff = skiff_tests::Skiff::start(&lab.router, &everything(&dir));
    skiff.ctl("ipset create blocked hash:ip");
    skiff.ctl("ipset add blocked 192.0.2.1");
    let flows = [LoadFlow::new(5001, 5.0), LoadFlow::new(5002, 5.0), LoadFlow::new(5007, 1.0)];
    let load = Load::start(&lab.a, &lab.b, B_ADDR, &flows);
    let server = Prometheus::start(&lab.router, METRICS_ADDR, &[file(ALERTS), file(NODE_EXPORTER)]);
    let scrapes = || server.query("min(count_over_time(up[1m]))").map(|rows| number(&rows)).unwrap_or(0.0);
    skiff_tests::eventually("a dozen scrapes", Duration::from_secs(60), || scrapes() >= 12.0);
    skiff.ctl("ip route add 192.0.2.0/24 via 10.0.1.2");
    skiff_tests::eventually("some more", Duration::from_secs(60), || scrapes() >= 15.0);

    let queries = dashboard_queries();
    assert!(queries.len() > 60, "{} queries", queries.len());
    let empty: Vec<_> = queries
        .iter()
        .filter_map(|(panel, expr)| match server.query(expr) {
            Ok(rows) if !rows.is_empty() => None,
            Ok(_) => Some(format!("{panel}: no data: {expr}")),
            Err(why) => Some(format!("{panel}: {why}: {expr}")),
        })
        .collect();
    assert!(empty.is_empty(), "{}", empty.join("\n"));

    let rules = server.rules();
    assert_eq!(rules.len(), 16 + 24);
    let sick: Vec<_> = rules.iter().filter(|rule| rule["health"] != "ok").collect();
    assert!(sick.is_empty(), "{sick:?}");
    // The names dashboards for Linux routers ask for, with the router's numbers.
    for name in ["node_network_receive_bytes_total{device=\"lan\"}", "node_qdisc_bytes_total{device=\"wan\"}"]
    {
        assert!(number(&server.query(name).expect(name)) > 100_000.0, "{name}");
    }
    for name in [
        "node_network_up{device=\"wan\"} == 1",
        "node_bonding_slaves{master=\"bond0\"} == 2",
        "node_qdisc_backlog{device=\"wan\", kind=\"htb\"}",
        "node_arp_entries{device=\"lan\"} > 0",
    ] {
        assert!(!server.query(name).expect(name).is_empty(), "{name}");
    }
    // Nobody answers the bond's LACP, and the spare port has no link: that is what is wrong here, and nothing else.
    let raised = server.query("count by (alertname) (ALERTS)").expect("alerts");
    let names: Vec<&str> = raised.iter().filter_map(|row| row["metric"]["alertname"].as_str()).collect();
    let expected = ["SkiffBondDegraded", "SkiffPortDown"];
    assert!(names.iter().all(|name| expected.contains(name)), "{names:?}");
    assert!(names.contains(&"SkiffPortDown"), "{names:?}");
    load.stop();
    drop(server);
    skiff.stop_cleanly();
}

/// The value of the first row.
fn number(rows: &[Value]) -> f64 {
    let value = rows.first().and_then(|row| row["value"][1].as_str());
    value.and_then(|value| value.parse().ok()).unwrap_or(0.0)
}
