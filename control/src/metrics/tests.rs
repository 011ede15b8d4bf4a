use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

use proptest::prelude::*;

use super::*;
use crate::facts::{InterfaceNeighbours, PoolFacts};
use crate::testing;

fn page_of(shared: Arc<Shared>, facts: Facts, limit: usize) -> String {
    Exporter::new(shared, move || facts.clone(), limit).unwrap().page().unwrap()
}

fn busy_page() -> String {
    page_of(testing::busy(), testing::facts(), MAX_SERIES_PER_FAMILY)
}

/// The samples of a page: name with labels, and value.
fn samples(page: &str) -> Vec<(&str, f64)> {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| line.rsplit_once(' ').map(|(series, value)| (series, value.parse().unwrap())).unwrap())
        .collect()
}

fn sum(page: &str, family: &str) -> f64 {
    let of_family = |series: &str| series.split('{').next() == Some(family);
    samples(page).into_iter().filter(|(series, _)| of_family(series)).map(|(_, value)| value).sum()
}

#[test]
fn known_counters_become_exactly_these_lines() {
    let page = busy_page();
    let expected = r#"
# HELP skiff_build_info Build information; value is always 1.
# TYPE skiff_build_info gauge
skiff_build_info{version="0.1.0",revision="abc",rustc="1.95.0",dpdk="22.11"} 1
skiff_start_time_seconds 1700000000
skiff_config_last_apply_timestamp_seconds 1700000001.5
skiff_config_last_apply_success 0
skiff_config_applies_total{result="applied"} 2
skiff_config_applies_total{result="refused"} 1
skiff_config_applies_total{result="rolled_back"} 0
skiff_config_generation 7
skiff_feature_enabled{feature="hugepages"} 1
# TYPE skiff_port_receive_packets_total counter
skiff_port_info{port="lan0",driver="net_e1000_igb",device="0000:00:00.0",mac="02:00:00:00:00:00",numa_node=""} 1
skiff_port_up{port="lan0"} 1
skiff_port_up{port="wan0"} 0
skiff_port_admin_up{port="wan0"} 1
skiff_port_speed_bytes{port="lan0"} 125000000
skiff_port_receive_packets_total{port="lan0"} 110
skiff_port_receive_missed_total{port="lan0"} 12
skiff_queue_receive_packets_total{port="lan0",queue="0",lcore="0"} 100
skiff_queue_receive_packets_total{port="lan0",queue="1",lcore="1"} 10
skiff_queue_receive_packets_total{port="wan0",queue="0",lcore="0"} 0
skiff_queue_receive_descriptors{port="lan0",queue="1"} 512
skiff_queue_receive_descriptors_used{port="lan0",queue="0"} 5
skiff_queue_transmit_packets_total{port="wan0",queue="0",lcore="0"} 90
skiff_queue_transmit_full_total{port="wan0",queue="0",lcore="0"} 0
skiff_interface_info{interface="lan0",kind="port",parent="",vlan=""} 1
skiff_interface_info{interface="lo",kind="loopback",parent="",vlan=""} 1
skiff_interface_receive_packets_total{interface="lan0"} 110
skiff_interface_receive_bytes_total{interface="lan0"} 6400
skiff_interface_transmit_packets_total{interface="wan0"} 90
skiff_lcore_info{lcore="0",cpu="4",numa_node="0",role="worker"} 1
skiff_lcore_info{lcore="1",cpu="",numa_node="",role="worker"} 1
skiff_lcore_cycles_total{lcore="0",state="busy"} 50000
skiff_lcore_cycles_total{lcore="0",state="sleep"} 20000
skiff_lcore_tsc_hertz{lcore="1"} 1000000
skiff_lcore_polls_total{lcore="0"} 40
skiff_lcore_empty_polls_total{lcore="0"} 34
skiff_lcore_packets_total{lcore="0"} 100
skiff_lcore_interrupt_wakeups_total{lcore="0"} 3
skiff_lcore_last_quiescent_timestamp_seconds{lcore="0"} 1700000098
# TYPE skiff_lcore_rx_burst_packets histogram
skiff_lcore_rx_burst_packets_bucket{lcore="0",le="1"} 2
skiff_lcore_rx_burst_packets_bucket{lcore="0",le="2"} 3
skiff_lcore_rx_burst_packets_bucket{lcore="0",le="16"} 3
skiff_lcore_rx_burst_packets_bucket{lcore="0",le="32"} 6
skiff_lcore_rx_burst_packets_bucket{lcore="0",le="+Inf"} 6
skiff_lcore_rx_burst_packets_sum{lcore="0"} 100
skiff_lcore_rx_burst_packets_count{lcore="0"} 6
skiff_node_packets_total{lcore="0",node="ip_forward"} 90
skiff_node_batches_total{lcore="0",node="ip_forward"} 6
skiff_node_cycles_total{lcore="control",node="ip_forward"} 0
skiff_drop_packets_total{node="ip_list_rcv",reason="ip_csum"} 6
skiff_drop_bytes_total{node="ip_list_rcv",reason="ip_csum"} 360
skiff_drop_packets_total{node="ip_list_rcv",reason="pkt_too_small"} 0
skiff_drop_packets_total{node="neigh_resolve_output",reason="neigh_failed"} 3
skiff_drop_packets_total{node="poll",reason="nomem"} 1
skiff_created_packets_total 3
skiff_delivered_packets_total 5
skiff_accounting_imbalance_packets 0
skiff_ip_forw_datagrams_total 100
skiff_ip_in_no_routes_total 0
skiff_icmp_ratelimited_total{scope="global"} 0
skiff_icmp_ratelimited_total{scope="host"} 4
skiff_icmp_out_total{message="time_exceeded"} 1
skiff_icmp_out_total{message="40"} 2
skiff_icmp_out_total{message="redirect"} 0
skiff_fib_routes{vrf="default",family="ipv4",origin="static"} 3
skiff_fib_tbl8_groups{vrf="default",family="ipv4"} 1
skiff_fib_tbl8_groups_limit{vrf="default",family="ipv4"} 1024
skiff_fib_updates_total{vrf="default",family="ipv4",operation="add"} 6
skiff_fib_memory_bytes{vrf="default",family="ipv4"} 67108864
skiff_nexthop_groups 1
skiff_neighbour_entries{interface="lan0",family="ipv4",state="reachable"} 2
skiff_neighbour_entries{interface="lan0",family="ipv4",state="permanent"} 0
skiff_neighbour_entries_limit{family="ipv4"} 1024
skiff_neighbour_resolution_failures_total{interface="lan0",family="ipv4"} 3
skiff_neighbour_hold_packets{interface="lan0",family="ipv4"} 2
skiff_mempool_objects{pool="mbufs",socket="0"} 16383
skiff_mempool_objects_in_use{pool="mbufs",socket="0"} 1000
skiff_mempool_alloc_failures_total{pool="mbufs",socket="0"} 6
skiff_memory_bytes{kind="hugepage"} 268435456
skiff_memory_bytes{kind="heap"} 0
skiff_memory_bytes{kind="tables"} 67190784
skiff_frag_queues{family="ipv4"} 0
skiff_frag_mem_bytes{family="ipv4"} 0
skiff_frag_hold_packets{family="ipv4"} 0
skiff_ip_reasm_reqds_total 0
skiff_ip_reasm_overlaps_total 0
skiff_hook_packets_total{hook="FORWARD",verdict="accept"} 89
skiff_hook_packets_total{hook="FORWARD",verdict="drop"} 1
skiff_hook_packets_total{hook="L2_DEQUEUE",verdict="stolen"} 0
skiff_rule_packets_total{chain="FORWARD",rule="1"} 3
skiff_rule_bytes_total{chain="FORWARD",rule="web \"shop\""} 500
skiff_rule_packets_total{chain="lan",rule="1"} 2
skiff_chain_policy_packets_total{chain="FORWARD",policy="DROP"} 1
skiff_chain_policy_bytes_total{chain="FORWARD",policy="DROP"} 100
skiff_nf_log_lost_total 0
skiff_nfqueue_queued_total{queue="7"} 4294967326
skiff_nfqueue_dropped_total{queue="7"} 4
skiff_nfqueue_user_dropped_total{queue="7"} 5
skiff_nfqueue_failopen_total{queue="7"} 6
skiff_nfqueue_waiting{queue="7"} 0
skiff_control_queue_length{queue="to_control"} 0
skiff_control_queue_limit{queue="to_control"} 4096
skiff_control_queue_failures_total{queue="to_control"} 0
skiff_control_queue_pushes_total{queue="to_lcore1"} 0
skiff_control_grace_period_seconds_bucket{le="0.001024"} 0
skiff_control_grace_period_seconds_bucket{le="0.002048"} 1
skiff_control_grace_period_seconds_sum 0.002
skiff_fib_update_seconds_bucket{vrf="default",family="ipv4",le="0.0000005"} 1
skiff_fib_update_seconds_count{vrf="default",family="ipv4"} 2
skiff_lcore_loop_seconds_bucket{lcore="0",le="0.000001"} 1
skiff_lcore_loop_seconds_sum{lcore="0"} 0.0000009
skiff_port_xstat_total{port="wan0",xstat="rx_good_packets"} 110
skiff_set_elements{set="blocked"} 12"#;
    let lines: BTreeSet<&str> = page.lines().collect();
    for line in expected.lines().filter(|line| !line.is_empty()) {
        assert!(lines.contains(line), "missing: {line}\n{page}");
    }
}

#[test]
fn what_is_not_known_has_no_series() {
    let page = busy_page();
    for absent in [
        "skiff_port_speed_bytes{port=\"wan0\"}",
        "skiff_lcore_last_quiescent_timestamp_seconds{lcore=\"1\"}",
        "skiff_queue_receive_descriptors_used{port=\"lan0\",queue=\"1\"}",
        "skiff_queue_receive_packets_total{port=\"lan0\",queue=\"0\",lcore=\"1\"}",
        "skiff_metrics_series_dropped_total",
        "skiff_chain_policy_packets_total{chain=\"lan\"",
        "verdict=\"repeat\"",
    ] {
        assert!(!page.contains(absent), "{absent} is there");
    }
}

#[test]
fn drops_on_the_page_add_up_to_the_ledger() {
    let (shared, page) = (testing::busy(), busy_page());
    let ledger = shared.ledger();
    assert_eq!(sum(&page, "skiff_drop_packets_total"), ledger.dropped as f64);
    assert_eq!(sum(&page, "skiff_drop_bytes_total"), (360 + 60 + 64 + 180) as f64);
    assert_eq!(sum(&page, "skiff_lcore_packets_total"), ledger.rx as f64);
    let held = ledger.rx + ledger.created - ledger.tx - ledger.dropped - ledger.delivered;
    assert_eq!(held as f64, sum(&page, "skiff_neighbour_hold_packets"));
}

#[test]
fn a_packet_that_vanishes_shows_as_imbalance() {
    let shared = testing::busy();
    shared.cells(1).rx.add(4);
    let page = page_of(Arc::clone(&shared), testing::facts(), MAX_SERIES_PER_FAMILY);
    assert_eq!(sum(&page, "skiff_accounting_imbalance_packets"), 4.0);
    shared.cells(1).tx.add(5);
    let page = page_of(shared, testing::facts(), MAX_SERIES_PER_FAMILY);
    assert_eq!(sum(&page, "skiff_accounting_imbalance_packets"), -1.0);
}

#[test]
fn packets_that_wait_for_a_listener_are_no_imbalance() {
    let shared = testing::busy();
    shared.cells(1).rx.add(4);
    shared.nf_queue(7).unwrap().waiting.store(4, std::sync::atomic::Ordering::Relaxed);
    let page = page_of(shared, testing::facts(), MAX_SERIES_PER_FAMILY);
    assert_eq!(sum(&page, "skiff_accounting_imbalance_packets"), 0.0);
    assert_eq!(sum(&page, "skiff_nfqueue_waiting"), 4.0);
}

#[test]
fn drop_reasons_are_zero_before_the_first_drop() {
    let page = page_of(testing::idle(1, &[]), Facts::default(), MAX_SERIES_PER_FAMILY);
    let drops: Vec<_> = samples(&page)
        .into_iter()
        .filter(|(series, _)| series.starts_with("skiff_drop_packets_total"))
        .collect();
    assert!(drops.iter().any(|(series, _)| series.contains("reason=\"ip_csum\"")));
    assert!(drops.iter().all(|&(_, value)| value == 0.0));
}

#[test]
fn every_listed_family_is_on_a_full_page() {
    let mut facts = testing::facts();
    facts.pools = vec![PoolFacts::default(), PoolFacts { name: "other".into(), ..PoolFacts::default() }];
    // Under a limit of one, something is always cut, so that the guard's own family is there too.
    let page = page_of(testing::busy(), facts, 1);
    for (name, help, _) in listed() {
        assert!(page.contains(&format!("# HELP {name} {help}\n")), "{name} is not on the page");
    }
}

#[test]
fn a_family_over_its_limit_is_cut_and_says_so_at_every_scrape() {
    let facts = testing::facts();
    let exporter = Exporter::new(testing::busy(), move || facts.clone(), 5).unwrap();
    for scrape in 1..=2 {
        let page = exporter.page().unwrap();
        let entries =
            samples(&page).into_iter().filter(|(s, _)| s.starts_with("skiff_neighbour_entries{")).count();
        assert_eq!(entries, 5);
        let dropped = format!(
            "skiff_metrics_series_dropped_total{{family=\"skiff_neighbour_entries\"}} {}",
            4 * scrape
        );
        assert!(page.lines().any(|line| line == dropped), "{dropped}\n{page}");
    }
}

#[test]
fn of_too_many_rules_the_first_stay() {
    let mut facts = testing::facts();
    facts.chains = vec![testing::chain("FORWARD", Some("DROP"), &[("", 1); 10_000])];
    let page = page_of(testing::idle(1, &[]), facts, 100);
    let rule = |n: u32| format!("skiff_rule_packets_total{{chain=\"FORWARD\",rule=\"{n}\"}} 1\n");
    assert!(page.contains(&rule(1)) && page.contains(&rule(100)), "{page}");
    assert_eq!(
        (sum(&page, "skiff_rule_packets_total"), sum(&page, "skiff_rule_bytes_total")),
        (100.0, 10_000.0)
    );
    let dropped = "skiff_metrics_series_dropped_total{family=\"skiff_rule_packets_total\"} 9900";
    assert!(page.lines().any(|line| line == dropped), "{page}");
}

#[test]
fn promtool_finds_nothing_to_complain_about() {
    let promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut promtool = promtool.expect("this test runs promtool: apt-get install -y prometheus");
    promtool.stdin.take().unwrap().write_all(busy_page().as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
}

#[test]
fn bonds_say_what_each_member_does() {
    let page = busy_page();
    let of = |metric: &str| format!("skiff_bond_{metric}{{bond=\"bond0\",member=\"lan0\"}}");
    for (metric, value) in [
        ("active", 1),
        ("member_up", 1),
        ("link_failures_total", 2),
        ("lacp_rx_pdus_total", 11),
        ("lacp_tx_pdus_total", 12),
        ("lacp_port_state", 63),
        ("lacp_partner_key", 15),
        ("aggregator_id", 1),
    ] {
        let line = format!("{} {value}\n", of(metric));
        assert!(page.contains(&line), "{line}{page}");
    }
    let lacp = "skiff_bond_lacp_packets_total{bond=\"bond0\",port=\"lan0\",direction";
    for line in [
        "skiff_bond_members{bond=\"bond0\"} 1\n".to_owned(),
        "skiff_bond_members_active{bond=\"bond0\"} 1\n".to_owned(),
        "skiff_bond_member_active{bond=\"bond0\",port=\"lan0\"} 1\n".to_owned(),
        format!("{lacp}=\"receive\"}} 11\n"),
        format!("{lacp}=\"transmit\"}} 12\n"),
    ] {
        assert!(page.contains(&line), "{line}{page}");
    }
    assert!(page.contains("skiff_bond_failovers_total{bond=\"bond0\"} 3\n"));
    assert!(page.contains("skiff_bond_no_tx_target_total 0\n"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whatever names the operator gives, equal ones included: each line one sample, each series once.
    #[test]
    fn no_series_is_there_twice(names in prop::collection::vec("[a-c\"\\\\\n{}, é]{0,2}", 0..8), limit in 1..40usize) {
        let devices: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut facts = testing::facts();
        facts.ports = (0..).zip(&devices).map(|(id, name)| testing::port(id, name)).collect();
        let tally = |name: &&str| InterfaceNeighbours { interface: (*name).to_owned(), ..Default::default() };
        facts.neighbours.interfaces = devices.iter().map(tally).collect();
        let rules: Vec<(&str, u64)> = devices.iter().map(|comment| (*comment, 1)).collect();
        facts.chains = vec![testing::chain("FORWARD", Some("DROP"), &rules)];
        facts.pools = names.iter().map(|name| PoolFacts { name: name.clone(), ..Default::default() }).collect();
        let page = page_of(testing::idle(2, &devices), facts, limit);
        let samples = samples(&page);
        let series: BTreeSet<&str> = samples.iter().map(|(series, _)| *series).collect();
        prop_assert_eq!(series.len(), samples.len());
    }
}

#[test]
fn classes_and_disciplines_say_what_became_of_packets() {
    let page = busy_page();
    let lines: BTreeSet<&str> = page.lines().collect();
    let expected = r#"
skiff_class_info{port="wan0",qdisc="1:",class="1:2",parent="1:",leaf="2:"} 1
skiff_class_info{port="wan0",qdisc="1:",class="1:3",parent="1:",leaf=""} 1
skiff_class_info{port="wan0",qdisc="2:",class="2:1",parent="2:",leaf=""} 1
skiff_class_info{port="wan0",qdisc="2:",class="2:10",parent="2:1",leaf="3:"} 1
skiff_class_rate_bytes{port="wan0",class="2:1"} 1000000
skiff_class_ceil_bytes{port="wan0",class="2:1"} 2000000
skiff_class_packets_total{port="wan0",class="2:10"} 5
skiff_class_packets_total{port="wan0",class="1:1"} 0
skiff_class_lends_total{port="wan0",class="2:10"} 3
skiff_class_borrows_total{port="wan0",class="2:10"} 2
skiff_class_backlog_packets{port="wan0",class="2:10"} 6
skiff_class_drops_total{port="wan0",class="2:10",reason="tail"} 4
skiff_class_drops_total{port="wan0",class="2:10",reason="red_early"} 1
skiff_class_drops_total{port="wan0",class="2:10",reason="red_forced"} 2
skiff_class_drops_total{port="wan0",class="2:10",reason="limit"} 3
skiff_class_ecn_marks_total{port="wan0",class="2:10"} 4
skiff_class_queue_average_bytes{port="wan0",class="2:10"} 999
skiff_qdisc_bytes_total{port="wan0",qdisc="3:",kind="red"} 4000
skiff_qdisc_bytes_total{port="wan0",qdisc="1:",kind="prio"} 0
skiff_htb_direct_packets_total{port="wan0",qdisc="2:"} 0
skiff_red_pdrop_total{port="wan0",qdisc="3:"} 3
skiff_red_avg_bytes{port="wan0",qdisc="3:"} 999
skiff_red_max_p{port="wan0",qdisc="3:"} 0.5"#;
    for line in expected.lines().filter(|line| !line.is_empty()) {
        assert!(lines.contains(line), "missing: {line}\n{page}");
    }
}
