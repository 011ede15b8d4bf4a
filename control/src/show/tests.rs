use std::sync::Arc;

use serde_json::Value;
use skiff_dataplane::core::snapshot::{Snapshot, Sysctl};
use skiff_dataplane::net::IfIndex;
use skiff_dataplane::netfilter::hooks::{Hook, HookCx, HookEntry, HookFn, Hooks, Verdicts};
use skiff_dataplane::skb::SkbList;

use super::{drops, lcores, mem, nfqueue, nstat};
use crate::testing;

fn parse(text: &str) -> Value {
    assert_eq!(text.lines().count(), 1);
    serde_json::from_str(text).unwrap()
}

#[test]
fn drops_show_what_happened_and_the_balance() {
    let expected = "\
NODE                  REASON        PACKETS  BYTES
poll                  nomem               1     64
ip_list_rcv           ip_csum             6    360
ip_forward            ip_inhdr            1     60
neigh_resolve_output  neigh_failed        3    180
rx 110 + created 3 = tx 95 + dropped 11 + delivered 5 + held 2
";
    assert_eq!(drops(&testing::busy(), false), expected);
}

#[test]
fn drops_of_an_idle_router_are_the_balance_alone_as_text_and_zeros_as_json() {
    let shared = testing::idle(1, &[]);
    let text = drops(&shared, false);
    assert_eq!(text.lines().last(), Some("rx 0 + created 0 = tx 0 + dropped 0 + delivered 0 + held 0"));
    assert_eq!(text.lines().count(), 2);
    let json = parse(&drops(&shared, true));
    let rows = json["drops"].as_array().unwrap();
    let csum = rows.iter().find(|row| row["node"] == "ip_list_rcv" && row["reason"] == "ip_csum").unwrap();
    assert_eq!((csum["packets"].as_u64(), csum["bytes"].as_u64()), (Some(0), Some(0)));
}

#[test]
fn drops_in_json_add_up_to_the_ledger() {
    let json = parse(&drops(&testing::busy(), true));
    let total: u64 =
        json["drops"].as_array().unwrap().iter().map(|row| row["packets"].as_u64().unwrap()).sum();
    assert_eq!(json["ledger"]["dropped"], total);
    assert_eq!(json["ledger"]["held"], 2);
}

#[test]
fn lcores_show_shares_and_averages_and_a_dash_where_there_is_none() {
    let expected = "\
LCORE  CPU   BUSY   IDLE  SLEEP  CONTROL  PACKETS  CYC/PKT  POLLS  EMPTY  AVG-BURST  WAKEUPS
    0    4  50.0%  30.0%  20.0%     0.0%      100      500     40     34       16.7        3
    1    -      -      -      -        -       10        0      0      0       10.0        0
";
    assert_eq!(lcores(&testing::busy(), &testing::facts(), false), expected);
}

#[test]
fn lcores_in_json_hold_null_where_there_is_no_number() {
    let json = parse(&lcores(&testing::busy(), &testing::facts(), true));
    assert_eq!((&json[0]["busy_ratio"], &json[0]["cycles_per_packet"]), (&0.5.into(), &500.0.into()));
    assert_eq!((&json[1]["busy_ratio"], &json[1]["cpu"]), (&Value::Null, &Value::Null));
}

#[test]
fn mem_shows_pools_and_tables() {
    let expected = "\
POOL   SOCKET   SIZE  IN-USE   FREE  FAILURES  DATA-ROOM
mbufs       0  16383    1000  15383         6       2048

dpdk        256.0 MiB on hugepages
fib         64.0 MiB, 5 routes, 1 of 1024 groups for prefixes longer than /24, 1 multipath groups
neighbours  80.0 KiB, 3 of 1024 entries, 2 packets waiting
";
    let facts = testing::facts();
    assert_eq!(mem(&facts, false), expected);
    let json = parse(&mem(&facts, true));
    assert_eq!((&json["pools"][0]["free"], &json["fib"]["bytes"]), (&15383.into(), &(64 << 20).into()));
}

#[test]
fn nstat_prints_what_is_not_zero_in_the_columns_of_nstat() {
    let expected = "\
#kernel
IpForwDatagrams                 100                0.0
IcmpOutRateLimitHost            4                  0.0
IcmpMsgOutType11                1                  0.0
IcmpMsgOutType40                2                  0.0
";
    assert_eq!(nstat(&testing::busy(), false, false), expected);
    let json = parse(&nstat(&testing::busy(), false, true));
    assert_eq!(json["kernel"]["IpForwDatagrams"], 100);
    assert_eq!(json["kernel"]["IpInReceives"], Value::Null);
}

#[test]
fn nstat_with_zeros_has_every_counter_in_the_kernels_order() {
    let text = nstat(&testing::idle(1, &[]), true, false);
    let names: Vec<_> = text.lines().skip(1).filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(names.len(), skiff_dataplane::core::counters::Mib::COUNT);
    let at = |name| names.iter().position(|n| *n == name).unwrap();
    assert_eq!(at("IpInReceives"), 0);
    let order = [
        "IpOutTransmits",
        "IcmpInMsgs",
        "TcpInSegs",
        "UdpNoPorts",
        "TcpExtIPReversePathFilter",
        "IpExtInNoRoutes",
    ];
    assert!(order.windows(2).all(|pair| at(pair[0]) < at(pair[1])), "{names:?}");
}

#[derive(Debug)]
struct Nothing(&'static str);

impl HookFn for Nothing {
    fn name(&self) -> &str {
        self.0
    }

    fn run(&self, _: &mut HookCx<'_, '_>, _: &mut SkbList, _: &mut Verdicts) {}
}

#[test]
fn hooks_show_their_functions_in_order_and_what_became_of_packets() {
    let shared = testing::busy();
    let devices: Vec<_> = shared.snapshot().devices().cloned().collect();
    let mut hooks = Hooks::default();
    let mut register = |hook, priority, dev, name| {
        hooks.register(hook, HookEntry { priority, dev, function: Arc::new(Nothing(name)) });
    };
    register(Hook::Forward, 0, None, "filter");
    register(Hook::Forward, -150, None, "mangle");
    register(Hook::L2Input, 0, Some(IfIndex(3)), "meter");
    drop(shared.publish(Snapshot::new(8, devices, Sysctl::default(), false).with_hooks(hooks)));
    let expected = "\
HOOK          ACCEPT  DROP  STOLEN  QUEUE  REPEAT
PRE_ROUTING        0     0       0      0       0
LOCAL_IN           0     0       0      0       0
FORWARD           89     1       0      0       0
LOCAL_OUT          0     0       0      0       0
POST_ROUTING       0     0       0      0       0
L2_INPUT           0     0       0      0       0
L2_ENQUEUE         0     0       0      0       0
L2_DEQUEUE         0     0       0      0       0

HOOK      DEVICE  FUNCTION  PRIORITY
FORWARD   *       mangle        -150
FORWARD   *       filter           0
L2_INPUT  wan0    meter            0
";
    assert_eq!(super::hooks(&shared, false), expected);
    let json = parse(&super::hooks(&shared, true));
    assert_eq!((&json[2]["hook"], &json[2]["packets"]["accept"]), (&"FORWARD".into(), &89.into()));
    assert_eq!(
        (&json[5]["functions"][0]["dev"], &json[2]["functions"][0]["dev"]),
        (&"wan0".into(), &Value::Null)
    );
}

#[test]
fn nfqueue_shows_the_kernels_lines() {
    let shared = testing::busy();
    assert_eq!(nfqueue(&shared, false), "    7   4711     0 2 65535     4     5       30  1\n");
    let json = parse(&nfqueue(&shared, true));
    assert_eq!((&json[0]["queue_number"], &json[0]["id_sequence"]), (&7.into(), &30.into()));
    assert_eq!(nfqueue(&testing::idle(1, &[]), false), "");
    assert_eq!(nfqueue(&testing::idle(1, &[]), true), "[]\n");
}
