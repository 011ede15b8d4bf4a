//! `skiff trace`: which steps packets report, and that those around them go on as if nothing were.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use common::bonds::{BOND, BOND_MAC, bond, bonded};
use common::frames::MF;
use common::vlans::{add, dot1q};
use common::{Ip, Out, R1, R2, R3, Rig, To, dev, ip};
use skiff_dataplane::core::drop_reason::{DropReason::*, Node::*};
use skiff_dataplane::core::shared::ToLcore;
use skiff_dataplane::core::trace::{Step, TraceArm};
use skiff_dataplane::device::bond::BondMode;
use skiff_dataplane::net::IfIndex;
use skiff_dataplane::netfilter::hooks::{Fate, Hook};
use skiff_dataplane::netfilter::ip_tables::rule::*;
use skiff_dataplane::netfilter::ip_tables::{CompileEnv, compile as compile_rules};
use skiff_dataplane::sched::build::build;
use skiff_dataplane::sched::cells::QdiscCells;
use skiff_dataplane::sched::cls::{FilterKind, FilterSpec, compile};
use skiff_dataplane::sched::handle::TcHandle;
use skiff_dataplane::sched::op::{QdiscOp, TreeOp};
use skiff_dataplane::sched::params::{HtbClassParams, HtbParams, LinkLayer, QdiscSpec};
use skiff_pmd::bpf::{Filter, Insn};

/// Traces the next `room` packets that come in by `which`, or by any device.
fn arm(rig: &mut Rig, which: Option<IfIndex>, room: u32) {
    rig.shared.trace.open();
    rig.trace = Some(Arc::new(TraceArm::new(which, None, room)));
    rig.configure(|_, _| {});
}

fn udp(dst: &str) -> Ip {
    Ip::udp("10.1.0.2", dst, (5000, 53), 40)
}

/// A step in a few words.
fn words(step: &Step) -> String {
    let name = step.name();
    match step {
        Step::Poll { lcore, port, queue, dev, len } => format!("{name} {lcore}/{port}/{queue} {dev:?} {len}"),
        Step::NetifReceive { dev, pkt_type, protocol } => format!("{name} {dev:?} {pkt_type} {protocol:04x}"),
        Step::BondHandleFrame { dev, master } => format!("{name} {dev:?} {master:?}"),
        Step::VlanDoReceive { tag, to, .. } => format!("{name} {} {to:?}", tag.vid()),
        Step::IpRcv(facts) => format!("{name} ttl {} {:?}", facts.ttl, facts.ports),
        Step::Hook { function, verdict, .. } => format!("{name} {} {verdict:?}", function.name()),
        Step::Rule { table, chain, kind, rule } => format!("{name} {table}:{chain}:{kind:?}:{rule}"),
        Step::Route(to) => format!("{name} {to:?}"),
        Step::Reassembled { len, fragments } => format!("{name} whole {len} of {fragments}"),
        Step::Merged => format!("{name} merged"),
        Step::LocalDeliver { protocol } => format!("{name} {protocol}"),
        Step::Forward { ttl, .. } => format!("{name} ttl {ttl}"),
        Step::Output { len, mtu } => format!("{name} {len} of {mtu}"),
        Step::Neigh { state, .. } => format!("{name} {state:?}"),
        Step::NeighWait { .. } => format!("{name} waits"),
        Step::Made { made, .. } | Step::Reply(made) => format!("{name} {made:?}"),
        Step::Xmit { dev, .. } => format!("{name} {dev:?}"),
        Step::VlanXmit { dev, lower } => format!("{name} {dev:?} {lower:?}"),
        Step::BondXmit { member, .. } => format!("{name} {member:?}"),
        Step::Filter { pref, class, .. } => format!("{name} {pref} {class}"),
        Step::Class { class } => format!("{name} {class}"),
        Step::Enqueued { packets, bytes, .. } => format!("{name} {packets}p {bytes}b"),
        Step::Sent { dev, len, .. } => format!("{name} {dev:?} {len}"),
        Step::Delivered { node } => format!("{name} {node}"),
        Step::Dropped { node, reason } => format!("{name} {node} {reason}"),
        _ => name.to_owned(),
    }
}

/// What was reported since the last time, by packet.
fn journeys(rig: &Rig) -> Vec<Vec<String>> {
    let mut packets: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    while let Some(event) = rig.shared.trace.pop() {
        packets.entry(event.packet).or_default().push(words(&event.step));
    }
    assert_eq!(rig.shared.trace.lost(), 0);
    packets.into_values().collect()
}

#[track_caller]
fn journey(rig: &Rig) -> Vec<String> {
    let mut all = journeys(rig);
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

const RECEIVED: [&str; 3] = [
    "poll 0/0/0 IfIndex(2) 82",
    "netif_receive_skb_list IfIndex(2) 0 0800",
    "ip_list_rcv ttl 64 Some((5000, 53))",
];
const TO_R2: &str = "ip_rcv_finish Forward { oif: IfIndex(3), gateway: None, mtu: 1500 }";

fn after_received(rest: &[&str]) -> Vec<String> {
    RECEIVED.iter().chain(rest).map(|s| (*s).to_owned()).collect()
}

#[test]
fn a_forwarded_packet_tells_its_way() {
    let mut rig = Rig::new();
    arm(&mut rig, None, 1);
    rig.send(R1, udp("10.2.0.2").to_port(R1)).no_drops().only(R2);
    let rest = [
        TO_R2,
        "ip_forward ttl 64",
        "ip_output 68 of 1500",
        "neigh_resolve_output Permanent",
        "dev_queue_xmit IfIndex(3)",
        "hard_start_xmit IfIndex(3) 82",
    ];
    assert_eq!(journey(&rig), after_received(&rest));
    // One was asked for.
    rig.send(R1, udp("10.2.0.2").to_port(R1)).no_drops().only(R2);
    assert_eq!(journeys(&rig), Vec::<Vec<String>>::new());
}

#[test]
fn nothing_is_told_unasked() {
    let mut rig = Rig::new();
    rig.shared.trace.open();
    rig.send(R1, udp("10.2.0.2").to_port(R1)).only(R2);
    rig.send(R1, udp("10.99.0.2").to_port(R1)).drop_of(IpError, IpInnoroutes);
    assert!(rig.shared.trace.pop().is_none());
    arm(&mut rig, Some(dev(R3)), 5);
    rig.send(R1, udp("10.2.0.2").to_port(R1)).only(R2);
    assert!(rig.shared.trace.pop().is_none(), "came in by another device");
    let never = Filter::new(&[Insn { code: 6, jt: 0, jf: 0, k: 0 }]).unwrap();
    rig.trace = Some(Arc::new(TraceArm::new(Some(dev(R1)), Some(never), 5)));
    rig.configure(|_, _| {});
    rig.send(R1, udp("10.2.0.2").to_port(R1)).only(R2);
    assert!(rig.shared.trace.pop().is_none(), "the filter wants no packet");
    arm(&mut rig, Some(dev(R3)), 5);
    rig.shared.trace.close();
    rig.send(R3, Ip::udp("10.3.0.2", "10.2.0.2", (1, 2), 9).to_port(R3)).only(R2);
    assert!(rig.shared.trace.pop().is_none(), "nobody reads");
}

#[test]
fn the_burst_goes_on_as_it_would() {
    // Of every kind: forwarded by two ports, local, without a route, for another host, at the end of its life.
    let burst = |n: u16| {
        let kind = |i: u16| match i % 6 {
            0 => Ip { id: i, ..udp("10.2.0.2") }.to_port(R1),
            1 => Ip { id: i, ..udp("10.3.0.2") }.to_port(R1),
            2 => Ip::echo("10.1.0.2", "10.1.0.1", usize::from(i)).to_port(R1),
            3 => udp("10.99.0.2").to_port(R1),
            4 => udp("10.2.0.2").to_port(R2),
            _ => udp("10.2.0.2").ttl(1).to_port(R1),
        };
        (0..n).map(kind).collect::<Vec<_>>()
    };
    let mut rig = Rig::new();
    rig.without_limits();
    let plain = rig.send_all(R1, burst(32));
    for room in [1, 3, 32] {
        arm(&mut rig, None, room);
        let traced = rig.send_all(R1, burst(32));
        // The router's own packets have identifications of their own.
        let without_id = |out: &Out| {
            out.wire.clone().map(|frames| {
                frames
                    .into_iter()
                    .map(|mut f| (f.splice(18..20, []).count(), f.splice(22..24, []).count(), f))
                    .collect::<Vec<_>>()
            })
        };
        assert_eq!(without_id(&plain), without_id(&traced), "{room}");
        assert_eq!((&plain.drops, &plain.mib), (&traced.drops, &traced.mib), "{room}");
        assert_eq!(journeys(&rig).len(), room as usize);
    }
    // Hooks without functions have seen nobody.
    let cells = rig.shared.cells(0);
    assert!(Hook::ALL.iter().all(|hook| cells.hook(*hook, Fate::Accepted).get() == 0));
}

#[test]
fn a_refused_packet_says_where_and_why() {
    let mut rig = Rig::new();
    rig.without_limits();
    arm(&mut rig, None, 9);
    rig.send(R1, udp("10.99.0.2").to_port(R1)).drop_of(IpError, IpInnoroutes);
    let rest =
        ["ip_rcv_finish Refuse(None)", "made Icmp { kind: 3, code: 0 }", "drop ip_error ip_innoroutes"];
    assert_eq!(journey(&rig), after_received(&rest));

    rig.send(R1, udp("10.2.0.2").ttl(1).to_port(R1)).drop_of(IpForward, IpInhdr);
    let told = journey(&rig);
    assert_eq!(&told[3..], [TO_R2, "made Icmp { kind: 11, code: 0 }", "drop ip_forward ip_inhdr"]);

    rig.send(R1, udp("10.2.0.2").to_port(R2)).drop_of(IpRcv, OtherHost);
    let told = journey(&rig);
    assert_eq!(&told[1..], ["netif_receive_skb_list IfIndex(2) 3 0800", "drop ip_list_rcv otherhost"]);

    rig.configure(|devices, _| devices[R1].up = false);
    rig.send(R1, udp("10.2.0.2").to_port(R1)).drop_of(NetifReceive, DevReady);
    assert_eq!(journey(&rig)[1..], ["drop netif_receive_skb_list dev_ready"]);
}

#[test]
fn local_packets_and_their_answers() {
    let mut rig = Rig::new();
    arm(&mut rig, None, 2);
    rig.send(R1, Ip::echo("10.1.0.2", "10.1.0.1", 20).to_port(R1)).no_drops().only(R1);
    let told = journey(&rig);
    let want = [
        "ip_rcv_finish Local",
        "ip_local_deliver 1",
        "reply Icmp { kind: 0, code: 0 }",
        "ip_output 48 of 1500",
        "neigh_resolve_output Permanent",
        "dev_queue_xmit IfIndex(2)",
        "hard_start_xmit IfIndex(2) 62",
    ];
    assert_eq!(told[3..], want);
    rig.send(R1, udp("10.1.0.1").to_port(R1)).drop_of(IpLocalDeliver, NoSocket);
    let told = journey(&rig);
    assert_eq!(
        told[3..],
        [
            "ip_rcv_finish Local",
            "ip_local_deliver 17",
            "made Icmp { kind: 3, code: 3 }",
            "drop ip_local_deliver no_socket"
        ]
    );
}

#[test]
fn an_unknown_neighbour_holds_the_packet() {
    let mut rig = Rig::new();
    arm(&mut rig, None, 2);
    rig.send(R1, udp("10.2.0.9").to_port(R1)).no_drops().silent();
    assert_eq!(
        journey(&rig)[3..],
        [TO_R2, "ip_forward ttl 64", "ip_output 68 of 1500", "neigh_resolve_output waits"]
    );
    let (_, _, skb) = rig.held.remove(0);
    rig.tell(ToLcore::Xmit(skb)).no_drops();
    assert_eq!(journey(&rig), ["dev_queue_xmit IfIndex(3)", "hard_start_xmit IfIndex(3) 82"]);

    rig.send(R1, udp("10.2.0.9").to_port(R1)).no_drops().silent();
    journey(&rig);
    rig.give_up_held();
    assert_eq!(journey(&rig), ["made Icmp { kind: 3, code: 1 }", "drop neigh_resolve_output neigh_failed"]);
}

#[test]
fn fragments_go_on_in_their_datagrams_place() {
    let mut rig = Rig::new();
    rig.route("10.8.0.0/16", To::Narrow("10.2.0.2", R2, 576));
    arm(&mut rig, None, 1);
    let out = rig.send(R1, Ip::udp("10.1.0.2", "10.8.0.2", (1, 2), 1000).to_port(R1));
    assert_eq!(out.no_drops().wire[R2].len(), 2);
    let piece = |len: usize| {
        vec![
            "neigh_resolve_output Permanent".to_owned(),
            "dev_queue_xmit IfIndex(3)".to_owned(),
            format!("hard_start_xmit IfIndex(3) {len}"),
        ]
    };
    let told = journey(&rig);
    let [first, second] = [piece(586), piece(490)];
    assert_eq!(told[5..9], ["ip_output 1028 of 576", "copy", "copy", "ip_fragment"]);
    assert_eq!(told[9..], [&first[..2], &second[..2], &[first[2].clone(), second[2].clone()]].concat());
}

#[test]
fn fragments_become_one_packet() {
    let mut rig = Rig::new();
    let whole = Ip::echo("10.1.0.2", "10.1.0.1", 64);
    let cut = |from: usize, to: usize, flags: u16| {
        let mut piece = whole.clone();
        piece.payload = whole.payload[from..to].to_vec();
        piece.frag(flags | (from / 8) as u16).to_port(R1)
    };
    arm(&mut rig, None, 2);
    let out = rig.send_all(R1, [cut(0, 40, MF), cut(40, 72, 0)]);
    out.no_drops().only(R1);
    let all = journeys(&rig);
    assert_eq!(
        all[0][4..8],
        ["ip_defrag", "ip_defrag whole 92 of 2", "ip_local_deliver 1", "reply Icmp { kind: 0, code: 0 }"]
    );
    assert_eq!(all[1][4..], ["ip_defrag", "ip_defrag merged"]);
}

fn tagged(frame: &[u8], vid: u16) -> Vec<u8> {
    let [a, b] = vid.to_be_bytes();
    [&frame[..12], &[0x81, 0, a, b], &frame[12..]].concat()
}

#[test]
fn from_vlan_to_vlan() {
    let (v10, v20) = (IfIndex(10), IfIndex(20));
    let mut rig = Rig::new();
    add(&mut rig, v10, dot1q(dev(R1), 10), "10.10.0.1/24");
    add(&mut rig, v20, dot1q(dev(R2), 20), "10.20.0.1/24");
    let frame = |vid| tagged(&udp("10.20.0.2").to_port(R1), vid);
    let want = |first: &str| {
        [
            first,
            "vlan_do_receive 10 Some(IfIndex(10))",
            "netif_receive_skb_list IfIndex(10) 0 0800",
            "ip_list_rcv ttl 64 Some((5000, 53))",
            "ip_rcv_finish Forward { oif: IfIndex(20), gateway: None, mtu: 1500 }",
            "ip_forward ttl 64",
            "ip_output 68 of 1500",
            "neigh_resolve_output Permanent",
            "dev_queue_xmit IfIndex(20)",
            "vlan_dev_hard_start_xmit IfIndex(20) IfIndex(3)",
            "dev_queue_xmit IfIndex(3)",
            "hard_start_xmit IfIndex(3) 86",
        ]
        .map(str::to_owned)
    };
    arm(&mut rig, None, 1);
    rig.send(R1, frame(10)).no_drops();
    assert_eq!(journey(&rig), want("poll 0/0/0 IfIndex(2) 86"));
    // Among frames of several VLANs, one of which nobody has; asked for by the VLAN device.
    arm(&mut rig, Some(v10), 5);
    rig.send_all(R1, [frame(11), frame(10), udp("10.2.0.2").to_port(R1)]).drop_of(IpRcv, OtherHost);
    assert_eq!(journey(&rig), want("poll 0/0/0 IfIndex(2) 86"));
}

#[test]
fn a_bond_says_by_which_member() {
    let mut rig = bonded(bond(BondMode::ActiveBackup));
    arm(&mut rig, None, 2);
    rig.send(R1, udp("10.2.0.9").to_port(R1)).no_drops().only(R2);
    let want = [
        "dev_queue_xmit IfIndex(10)",
        "bond_start_xmit IfIndex(3)",
        "dev_queue_xmit IfIndex(3)",
        "hard_start_xmit IfIndex(3) 82",
    ];
    assert_eq!(journey(&rig)[7..], want);
    let inward = Ip::udp("10.2.0.2", "10.1.0.2", (1, 2), 20).to_mac(BOND_MAC);
    rig.send(R2, inward).no_drops().only(R1);
    let told = journey(&rig);
    assert_eq!(
        told[1..3],
        ["bond_handle_frame IfIndex(3) IfIndex(10)", "netif_receive_skb_list IfIndex(10) 0 0800"]
    );
    // All members' packets are the bond's.
    arm(&mut rig, Some(BOND), 1);
    rig.send(R1, udp("10.2.0.9").to_port(R1)).no_drops();
    rig.send(R3, Ip::udp("10.2.0.2", "10.1.0.2", (1, 2), 20).to_mac(BOND_MAC));
    assert_eq!(journey(&rig)[0], "poll 0/2/0 IfIndex(4) 62");
}

fn rule(dst: &str, target: Target) -> Rule {
    let mut rule =
        Rule { ip: IpMatch::default(), matches: vec![], target, counters: RuleCounters::default() };
    rule.ip.dst.addr = ip(dst);
    rule.ip.dst.mask = u32::MAX;
    rule
}

fn load(rig: &mut Rig, chains: Vec<(&str, Option<Policy>, Vec<Rule>)>) {
    let chains = chains.into_iter().map(|(name, policy, rules)| Chain {
        name: name.into(),
        policy,
        counters: RuleCounters::default(),
        rules,
    });
    let tables = vec![Table { name: TableName::Filter, chains: chains.collect() }];
    let devices = [(IfIndex(2), "r1"), (IfIndex(3), "r2")];
    let env = CompileEnv { devices: &devices, lcores: 1, now_millis: 1, previous: None, unchanged: &[] };
    let compiled = compile_rules(&Ruleset { tables, sets: vec![] }, &env).unwrap();
    compiled.hooks().into_iter().for_each(|(hook, entry)| rig.hooks.register(hook, entry));
    rig.configure(|_, _| {});
}

#[test]
fn rules_that_matched_are_named() {
    let mut rig = Rig::new();
    let chains = vec![
        (
            "FORWARD",
            Some(Policy::Accept),
            vec![
                rule("10.3.0.2", Target::Accept),
                rule("10.2.0.2", Target::Jump { chain: "guests".into(), goto: false }),
                rule("10.2.0.9", Target::Drop),
            ],
        ),
        ("guests", None, vec![rule("10.2.0.7", Target::Drop), rule("10.2.0.2", Target::Drop)]),
    ];
    load(&mut rig, chains);
    arm(&mut rig, None, 1);
    let out = rig.send_all(R1, ["10.3.0.2", "10.2.0.2"].map(|dst| udp(dst).to_port(R1)));
    out.drop_of(IpForward, NetfilterDrop).only(R3);
    assert_eq!(journey(&rig)[5..7], ["rule filter:FORWARD:Rule:1", "FORWARD filter Accept"]);
    arm(&mut rig, None, 1);
    rig.send(R1, udp("10.2.0.2").to_port(R1)).drop_of(IpForward, NetfilterDrop);
    let want = [
        "rule filter:FORWARD:Rule:2",
        "rule filter:guests:Rule:2",
        "FORWARD filter Drop",
        "drop ip_forward netfilter_drop",
    ];
    assert_eq!(journey(&rig)[5..], want);
    arm(&mut rig, None, 1);
    rig.send(R1, udp("10.2.0.77").to_port(R1)).no_drops();
    assert_eq!(journey(&rig)[5..7], ["rule filter:FORWARD:Policy:4", "FORWARD filter Accept"]);
    rig.give_up_held();
}

/// r2 with a class that a filter sends everything to, which has room for `limit` packets.
fn with_htb(rig: &mut Rig, limit: u32) {
    let (root, class) = (TcHandle::new(1, 0), TcHandle::new(1, 0x20));
    let htb = HtbParams { default: 0x10, r2q: 10, direct_qlen: 1000, hysteresis: false };
    let spec = QdiscSpec::Htb(htb);
    let tree = build(root, &spec, Arc::new(QdiscCells::for_spec(&spec)));
    let params = HtbClassParams {
        rate: 1_000_000,
        ceil: 1_000_000,
        burst: 10_000,
        cburst: 10_000,
        prio: 0,
        quantum: 10_000,
        rate_layer: LinkLayer::default(),
        ceil_layer: LinkLayer::default(),
    };
    let filter = FilterSpec {
        chain: 0,
        pref: 7,
        protocol: 0x0800,
        handle: 1,
        classid: class,
        indev: None,
        kind: FilterKind::Matchall,
        actions: vec![],
        cells: Arc::default(),
    };
    let add = |class| QdiscOp::ClassAdd { class, parent: root, params, limit, cells: Arc::default() };
    let ops = [
        add(TcHandle::new(1, 0x10)),
        add(class),
        QdiscOp::Filters(root, Some(Arc::new(compile(root, &[filter])))),
    ];
    let ops = ops.map(|op| TreeOp::At(vec![], op));
    rig.tell(ToLcore::ChangeTree(dev(R2), std::iter::once(TreeOp::Root(Some(tree))).chain(ops).collect()))
        .no_drops();
    rig.configure(|devices, _| devices[R2].qdisc_owner = 0);
}

#[test]
fn a_queued_packet_says_its_class() {
    let mut rig = Rig::new();
    with_htb(&mut rig, 4);
    arm(&mut rig, None, 1);
    rig.send_all(R1, (0..3).map(|_| udp("10.2.0.2").to_port(R1))).no_drops();
    let want = [
        "dev_queue_xmit IfIndex(3)",
        "filter 7 1:20",
        "class 1:20",
        "qdisc_enqueue 1p 82b",
        "qdisc_run",
        "hard_start_xmit IfIndex(3) 82",
    ];
    assert_eq!(journey(&rig)[7..], want);
    // One more than there is room for.
    arm(&mut rig, None, 5);
    let out = rig.send_all(R1, (0..5).map(|_| udp("10.2.0.2").to_port(R1)));
    out.drop_of(QdiscEnqueue, QdiscOverlimit);
    let ends: Vec<_> = journeys(&rig).into_iter().map(|told| told.last().unwrap().clone()).collect();
    let sent = "hard_start_xmit IfIndex(3) 82";
    assert_eq!(ends, [sent, sent, sent, sent, "drop qdisc_enqueue qdisc_overlimit"]);
}

#[test]
fn a_full_queue_of_steps_holds_nobody_up() {
    let mut rig = Rig::new();
    arm(&mut rig, None, u32::MAX);
    for _ in 0..40 {
        rig.send_all(R1, (0..32).map(|_| udp("10.2.0.2").to_port(R1))).no_drops();
        rig.after(Duration::from_millis(1));
    }
    assert!(rig.shared.trace.lost() > 0);
    rig.shared.trace.close();
    assert!(rig.shared.trace.open() && !rig.shared.trace.open(), "one reader at a time");
    assert_eq!((rig.shared.trace.lost(), rig.shared.trace.pop().is_none()), (0, true));
}
