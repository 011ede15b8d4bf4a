//! The rule tables at their hooks: what each target does to packets on their way, and what rules count.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::frames::{MF, checksum};
use common::{Ip, Out, R1, R2, Rig, To, dev, ip, mac};
use skiff_dataplane::core::counters::Mib::*;
use skiff_dataplane::core::drop_reason::{DropReason::*, Node::*};
use skiff_dataplane::device::vlan::{Vlan, VlanProto};
use skiff_dataplane::device::{DeviceKind, NetDevice};
use skiff_dataplane::net::IfIndex;
use skiff_dataplane::netfilter::hooks::Hooks;
use skiff_dataplane::netfilter::ip_tables::rule::*;
use skiff_dataplane::netfilter::ip_tables::{CompileEnv, CompileError, Compiled, compile};

const DEVICES: [(IfIndex, &str); 4] =
    [(IfIndex(1), "lo"), (IfIndex(2), "r1"), (IfIndex(3), "r2"), (IfIndex(4), "r3")];

fn compiled(ruleset: &Ruleset) -> Result<Compiled, CompileError> {
    compile(
        ruleset,
        &CompileEnv { devices: &DEVICES, lcores: 1, now_millis: 1_000_000, previous: None, unchanged: &[] },
    )
}

/// Puts a rule set in force.
fn load(rig: &mut Rig, ruleset: &Ruleset) -> Compiled {
    let compiled = compiled(ruleset).unwrap();
    rig.hooks = Hooks::default();
    for (hook, entry) in compiled.hooks() {
        rig.hooks.register(hook, entry);
    }
    rig.configure(|_, _| {});
    compiled
}

/// A table with these chains; those with a policy are built in.
fn table(name: TableName, chains: Vec<(&str, Option<Policy>, Vec<Rule>)>) -> Ruleset {
    let chains = chains.into_iter().map(|(name, policy, rules)| Chain {
        name: name.into(),
        policy,
        counters: RuleCounters::default(),
        rules,
    });
    Ruleset { tables: vec![Table { name, chains: chains.collect() }], sets: vec![] }
}

/// FORWARD of filter with these rules.
fn forward(rules: Vec<Rule>) -> Ruleset {
    table(TableName::Filter, vec![("FORWARD", Some(Policy::Accept), rules)])
}

fn rule(target: Target) -> Rule {
    Rule { ip: IpMatch::default(), matches: vec![], target, counters: RuleCounters::default() }
}

fn proto(mut rule: Rule, protocol: u8) -> Rule {
    rule.ip.proto = Some(Inv { value: protocol, invert: false });
    rule
}

fn with(mut rule: Rule, m: Match) -> Rule {
    rule.matches.push(m);
    rule
}

fn from(mut rule: Rule, net: &str) -> Rule {
    let net: ipnet::Ipv4Net = net.parse().unwrap();
    rule.ip.src = AddrMatch { addr: net.network().to_bits(), mask: net.netmask().to_bits(), invert: false };
    rule
}

fn rig() -> Rig {
    let mut rig = Rig::new();
    rig.route("20.0.0.0/8", To::Via("10.2.0.2", R2));
    rig
}

fn packets(compiled: &Compiled) -> Vec<u64> {
    compiled.counters().iter().map(|c| c.packets).collect()
}

#[test]
fn a_drop_in_forward_is_silent_and_counted_as_forwarded() {
    let mut rig = rig();
    let rules = load(&mut rig, &forward(vec![from(rule(Target::Drop), "10.1.0.2/32")]));
    let out = rig.send(R1, Ip::udp("10.1.0.2", "20.0.0.1", (1, 2), 100).to_port(R1));
    out.drop_of(IpForward, NetfilterDrop).silent().counted(&[(IpForwDatagrams, 1), (IcmpOutMsgs, 0)]);
    rig.send(R1, Ip::udp("10.1.0.3", "20.0.0.1", (1, 2), 100).to_port(R1)).no_drops().only(R2);
    let counted = |packets, bytes| RuleCounters { packets, bytes };
    assert_eq!(rules.counters(), [counted(1, 128), counted(1, 128)]);
}

#[test]
fn a_reject_quotes_what_it_refuses() {
    let mut rig = rig();
    for (kind, code) in [
        (RejectWith::IcmpPortUnreachable, 3),
        (RejectWith::IcmpAdminProhibited, 13),
        (RejectWith::IcmpNetUnreachable, 0),
        (RejectWith::IcmpHostUnreachable, 1),
        (RejectWith::IcmpProtoUnreachable, 2),
        (RejectWith::IcmpNetProhibited, 9),
        (RejectWith::IcmpHostProhibited, 10),
    ] {
        rig.without_limits();
        load(&mut rig, &forward(vec![rule(Target::Reject(kind))]));
        let sent = Ip::udp("10.1.0.2", "20.0.0.1", (1, 2), 100);
        let out = rig.send(R1, sent.to_port(R1));
        out.drop_of(IpForward, NetfilterDrop);
        let answer = out.only(R1);
        assert_eq!((answer.icmp(), answer.tos, answer.src), ((3, code), 0xc0, ip("10.1.0.1")));
        assert_eq!(20 + answer.payload.len(), 156);
        assert_eq!(answer.quote()[20..], sent.payload);
    }
}

#[test]
fn a_reject_is_silent_where_silence_is_the_rule() {
    let mut rig = rig();
    load(&mut rig, &forward(vec![rule(Target::Reject(RejectWith::IcmpPortUnreachable))]));
    let udp = Ip::udp("10.1.0.2", "20.0.0.1", (1, 2), 100);
    let mut wrong = udp.clone();
    wrong.payload[6] ^= 1;
    let mut unchecked = udp.clone();
    unchecked.payload[6..8].fill(0);
    rig.send(R1, wrong.to_port(R1)).drop_of(IpForward, NetfilterDrop).silent();
    rig.send(R1, udp.clone().frag(7).to_port(R1)).drop_of(IpForward, NetfilterDrop).silent();
    rig.send(R1, unchecked.to_port(R1)).drop_of(IpForward, NetfilterDrop).only(R1);
}

/// As the kernel was seen to do it: protocols without a checksum of their own are answered if all of their payload sums up
/// to nothing, those with one of their own kind always.
#[test]
fn a_reject_of_other_protocols_is_answered_by_their_sums() {
    let mut rig = rig();
    load(&mut rig, &forward(vec![rule(Target::Reject(RejectWith::IcmpPortUnreachable))]));
    const SUMMED: [u8; 4] = [1, 4, 33, 99];
    const OTHERS: [u8; 4] = [47, 50, 132, 136];
    for protocol in SUMMED.into_iter().chain(OTHERS) {
        for (payload, adds_up) in [(0u8, true), (0x11, false)] {
            rig.without_limits();
            // Four bytes of zeros first: GRE without a checksum.
            let bytes = [vec![0; 4], vec![payload; 12]].concat();
            let sent = Ip::new("10.1.0.2", "20.0.0.1", protocol, bytes);
            let out = rig.send(R1, sent.to_port(R1));
            out.drop_of(IpForward, NetfilterDrop);
            match adds_up || OTHERS.contains(&protocol) {
                true => assert_eq!(out.only(R1).icmp(), (3, 3), "protocol {protocol}"),
                false => {
                    out.silent();
                }
            }
        }
    }
}

#[test]
fn a_tcp_reset_answers_for_the_other_side() {
    const SYN: u8 = 2;
    let mut rig = rig();
    load(&mut rig, &forward(vec![proto(rule(Target::Reject(RejectWith::TcpReset)), 6)]));
    let send = |rig: &mut Rig, seq, ack, flags, data: &[u8]| -> Out {
        rig.send(R1, Ip::tcp("10.1.0.2", "20.0.0.1", (1000, 80), seq, ack, flags, data).tos(0x28).to_port(R1))
    };
    let reset = |out: Out| {
        let seen = out.drop_of(IpForward, NetfilterDrop).only(R1);
        assert_eq!((seen.src, seen.dst, seen.tos, seen.frag), (ip("20.0.0.1"), ip("10.1.0.2"), 0, 0x4000));
        assert_eq!((seen.ttl, seen.id, seen.payload.len()), (64, 0, 20));
        let long = |at: usize| u32::from_be_bytes(seen.payload[at..at + 4].try_into().unwrap());
        assert_eq!(long(0), 80 << 16 | 1000);
        (long(4), long(8), seen.payload[13])
    };
    assert_eq!(reset(send(&mut rig, 100, 0, SYN, b"")), (0, 101, 0x14));
    assert_eq!(reset(send(&mut rig, 100, 77, 0x10, b"data")), (77, 0, 4));
    assert_eq!(reset(send(&mut rig, 100, 0, 1, b"data")), (0, 105, 0x14));
    send(&mut rig, 100, 0, 4, b"").drop_of(IpForward, NetfilterDrop).silent();
    let mut wrong = Ip::tcp("10.1.0.2", "20.0.0.1", (1000, 80), 1, 0, SYN, b"");
    wrong.payload[16] ^= 1;
    rig.send(R1, wrong.to_port(R1)).drop_of(IpForward, NetfilterDrop).silent();
}

fn syn(options: &[u8]) -> Ip {
    let mut syn = Ip::tcp("10.1.0.2", "20.0.0.1", (1000, 80), 5, 0, 2, options);
    syn.payload[12] = ((20 + options.len()) as u8 / 4) << 4;
    syn.payload[16..18].fill(0);
    let mut pseudo = [syn.src.to_be_bytes(), syn.dst.to_be_bytes()].concat();
    pseudo.extend([0, 6]);
    pseudo.extend((syn.payload.len() as u16).to_be_bytes());
    pseudo.extend(&syn.payload);
    let check = checksum(&pseudo);
    syn.payload[16..18].copy_from_slice(&check.to_be_bytes());
    syn
}

#[test]
fn the_segment_size_is_clamped_to_the_narrower_way() {
    let mut rig = Rig::new();
    rig.route("20.0.0.0/8", To::Narrow("10.2.0.2", R2, 1000));
    let flags = TcpFlagsMatch { mask: 6, comp: 2 };
    let only_syn = TcpMatch { flags: Some(Inv { value: flags, invert: false }), ..TcpMatch::default() };
    let clamp = with(proto(rule(Target::Tcpmss(TcpmssTarget::ClampToPmtu)), 6), Match::Tcp(only_syn));
    let set = table(TableName::Mangle, vec![("FORWARD", Some(Policy::Accept), vec![clamp])]);
    load(&mut rig, &set);
    let mut mss = |options: &[u8]| {
        // Reading a frame checks all its checksums.
        let seen = rig.send(R1, syn(options).to_port(R1)).no_drops().only(R2);
        seen.payload[20..].to_vec()
    };
    assert_eq!(mss(&[2, 4, 5, 180]), [2, 4, 3, 192]);
    assert_eq!(mss(&[2, 4, 2, 24]), [2, 4, 2, 24]);
    assert_eq!(mss(&[1, 1, 1, 2, 4, 5, 180, 0]), [1, 1, 1, 2, 4, 3, 192, 0]);
    // Without the option it gets the default.
    assert_eq!(mss(&[]), [2, 4, 2, 24]);
    assert_eq!(mss(&[1, 1, 1, 1]), [2, 4, 2, 24, 1, 1, 1, 1]);
}

#[test]
fn five_a_second_with_a_burst_of_seven() {
    let mut rig = rig();
    let limit = LimitMatch { avg: 2000, burst: 7 };
    let rules = vec![with(rule(Target::Accept), Match::Limit(limit)), rule(Target::Drop)];
    let compiled = load(&mut rig, &forward(rules));
    for _ in 0..1000 {
        rig.send(R1, Ip::udp("10.1.0.2", "20.0.0.1", (1, 2), 10).to_port(R1));
        rig.after(Duration::from_millis(10));
    }
    let matched = packets(&compiled)[1];
    assert!((56..=58).contains(&matched), "{matched}");
}

#[test]
fn mangling_keeps_the_checksums() {
    let mut rig = rig();
    let rules = vec![
        rule(Target::Ttl(TtlTarget::Dec(3))),
        rule(Target::Dscp(0x2e)),
        rule(Target::Tos(Masked8 { value: 1, mask: 3 })),
        rule(Target::Mark(Masked32 { value: 0xa, mask: 0xff })),
        with(
            rule(Target::Classify(0x1_0010)),
            Match::Mark(Inv { value: Masked32 { value: 0xa, mask: !0 }, invert: false }),
        ),
    ];
    let compiled = load(&mut rig, &table(TableName::Mangle, vec![("FORWARD", Some(Policy::Accept), rules)]));
    let seen = rig.send(R1, Ip::udp("10.1.0.2", "20.0.0.1", (1, 2), 10).to_port(R1)).no_drops().only(R2);
    assert_eq!((seen.ttl, seen.tos), (60, 0xb9));
    assert_eq!(packets(&compiled), [1; 6]);
}

#[test]
fn jumps_return_and_gotos_do_not() {
    let mut rig = rig();
    let jump = |chain: &str, goto| rule(Target::Jump { chain: chain.into(), goto });
    let set = table(
        TableName::Filter,
        vec![
            ("FORWARD", Some(Policy::Drop), vec![jump("a", false), rule(Target::None), rule(Target::Accept)]),
            ("a", None, vec![jump("b", true), rule(Target::Drop)]),
            ("b", None, vec![rule(Target::None), rule(Target::Return), rule(Target::Drop)]),
        ],
    );
    let compiled = load(&mut rig, &set);
    rig.send(R1, Ip::udp("10.1.0.2", "20.0.0.1", (1, 2), 10).to_port(R1)).no_drops().only(R2);
    // Policy and rules of FORWARD, of a, of b (user chains have no policy to count).
    assert_eq!(packets(&compiled), [0, 1, 1, 1, 0, 1, 0, 0, 1, 1, 0]);
}

#[test]
fn what_the_kernel_refuses() {
    let jump = |chain: &str| rule(Target::Jump { chain: chain.into(), goto: false });
    let accept = Some(Policy::Accept);
    let refused = |set: Ruleset| compiled(&set).unwrap_err().to_string();
    let circle = vec![
        ("FORWARD", accept, vec![jump("a")]),
        ("a", None, vec![jump("b")]),
        ("b", None, vec![jump("a")]),
    ];
    assert!(refused(table(TableName::Filter, circle)).contains("circle"));
    assert_eq!(refused(forward(vec![jump("x")])), "filter: FORWARD rule 1: no chain \"x\"");
    assert!(refused(forward(vec![rule(Target::Trace)])).contains("valid only in the raw table"));
    assert!(
        refused(forward(vec![with(rule(Target::Drop), Match::Udp(PortsMatch::default()))]))
            .contains("needs -p udp")
    );
    let slow = LimitMatch { avg: 864_000_000, burst: 5 };
    assert!(refused(forward(vec![with(rule(Target::Drop), Match::Limit(slow))])).contains("range"));
}

#[test]
fn fragments_meet_only_rules_without_ports() {
    let mut rig = rig();
    let port = |p| Some(Inv { value: Range { min: p, max: p }, invert: false });
    let web = PortsMatch { sport: None, dport: port(80) };
    let tcp =
        with(proto(rule(Target::Accept), 6), Match::Tcp(TcpMatch { ports: web, ..TcpMatch::default() }));
    let mut later = rule(Target::Accept);
    later.ip.fragment = Some(Inv { value: (), invert: false });
    let compiled = load(&mut rig, &forward(vec![tcp, later, rule(Target::Accept)]));
    let segment = Ip::tcp("10.1.0.2", "20.0.0.1", (1000, 80), 5, 0, 16, &[0; 40]);
    rig.send(R1, segment.clone().frag(MF).to_port(R1)).no_drops();
    rig.send(R1, segment.clone().frag(185).to_port(R1)).no_drops();
    // At offset 1 it could write its flags over another's: dropped by the first rule that looks at TCP.
    rig.send(R1, segment.clone().frag(1).to_port(R1)).drop_of(IpForward, NetfilterDrop);
    let mut short = segment;
    short.payload.truncate(12);
    rig.send(R1, short.to_port(R1)).drop_of(IpForward, NetfilterDrop);
    assert_eq!(packets(&compiled), [0, 1, 1, 0]);
}

#[test]
fn interfaces_by_name_and_wildcard() {
    let mut rig = rig();
    let via = |name: &str, wildcard, invert| {
        let mut rule = rule(Target::None);
        rule.ip.iniface = Some(IfaceMatch { name: name.into(), wildcard, invert });
        rule
    };
    let mut out = rule(Target::None);
    out.ip.outiface = Some(IfaceMatch { name: "r2".into(), wildcard: false, invert: false });
    let rules = vec![
        via("r1", false, false),
        via("r", true, false),
        via("r2", false, true),
        via("eth0", false, false),
        via("eth", true, true),
        out,
    ];
    let compiled = load(&mut rig, &forward(rules));
    rig.send(R1, Ip::udp("10.1.0.2", "20.0.0.1", (1, 2), 10).to_port(R1)).no_drops().only(R2);
    assert_eq!(packets(&compiled), [1, 1, 1, 1, 0, 1, 1]);
    assert_eq!(dev(R1), IfIndex(2));
}

/// Numbers of devices that differ by 256, and more devices than that.
#[test]
fn each_of_many_devices_is_told_apart() {
    let mut rig = rig();
    let (low, high) = (IfIndex(10), IfIndex(10 + 256));
    for (ifindex, vid) in [(low, 5), (high, 6)] {
        let (real_dev, proto) = (dev(R1), VlanProto::Dot1q);
        let vlan = Vlan { real_dev, proto, vid, reorder_hdr: true, ingress: [0; 8], egress: vec![] };
        let mac = mac::router(R1);
        let vlan = Some(Arc::new(vlan));
        let (kind, mtu, up, carrier) = (DeviceKind::Vlan, 1500, true, true);
        rig.devices.push(NetDevice { ifindex, kind, mac, mtu, up, carrier, vlan, ..NetDevice::absent() });
    }
    let names: Vec<String> = (10..4106).map(|i| format!("v{i}")).collect();
    let mut devices = DEVICES.to_vec();
    devices.extend((10..).map(IfIndex).zip(names.iter().map(String::as_str)));

    let via = |name: &str, wildcard, invert| {
        let mut rule = rule(Target::None);
        rule.ip.iniface = Some(IfaceMatch { name: name.into(), wildcard, invert });
        rule
    };
    let mut rules: Vec<Rule> = names.iter().map(|name| via(name, false, false)).collect();
    rules.extend([via("v2", true, false), via("v266", false, true), via("v", true, true)]);
    let places = [0, 256, names.len(), names.len() + 1, names.len() + 2];
    let env = CompileEnv { devices: &devices, lcores: 1, now_millis: 0, previous: None, unchanged: &[] };
    let compiled = compile(&forward(rules), &env).unwrap();
    compiled.hooks().into_iter().for_each(|(hook, entry)| rig.hooks.register(hook, entry));
    rig.configure(|_, _| {});

    let frame = Ip::udp("10.1.0.2", "20.0.0.1", (1, 2), 10).to_port(R1);
    let tagged = |vid: u8| [&frame[..12], &[0x81, 0, 0, vid], &frame[12..]].concat();
    let mut send = |frame: Vec<u8>| {
        let counted = |compiled: &Compiled| packets(compiled)[1..].to_vec();
        let before = counted(&compiled);
        rig.send(R1, frame).no_drops().only(R2);
        let grown: Vec<usize> = (0..)
            .zip(before)
            .zip(counted(&compiled))
            .filter(|((_, a), b)| a != b)
            .map(|((at, _), _)| at)
            .collect();
        grown
    };
    assert_eq!(send(tagged(5)), [places[0], places[3]]);
    assert_eq!(send(tagged(6)), [places[1], places[2]]);
    assert_eq!(send(frame.clone()), [places[3], places[4]]);
}

#[test]
fn queues_by_rule() {
    let mut rig = rig();
    let queue = |bypass| NfqueueTarget { queue: 5, total: 1, bypass, cpu_fanout: false };
    load(&mut rig, &forward(vec![rule(Target::Nfqueue(queue(false)))]));
    let udp = Ip::udp("10.1.0.2", "20.0.0.1", (1, 2), 10);
    rig.send(R1, udp.to_port(R1)).drop_of(IpForward, NetfilterDrop);
    load(&mut rig, &forward(vec![rule(Target::Nfqueue(queue(true))), rule(Target::Drop)]));
    rig.send(R1, udp.to_port(R1)).no_drops().only(R2);
}

#[test]
fn types_of_addresses_and_the_way_back() {
    let mut rig = rig();
    let types = |bits: u16| AddrtypeMatch {
        dst: Some(Inv { value: bits, invert: false }),
        ..AddrtypeMatch::default()
    };
    let back = RpfilterMatch { invert: true, ..RpfilterMatch::default() };
    let rules = vec![
        with(rule(Target::None), Match::Addrtype(types(1 << 2))),
        with(rule(Target::None), Match::Addrtype(types(1 << 1))),
        with(rule(Target::Drop), Match::Rpfilter(back)),
    ];
    let set = table(TableName::Mangle, vec![("PREROUTING", Some(Policy::Accept), rules)]);
    let compiled = load(&mut rig, &set);
    rig.send(R1, Ip::echo("10.1.0.2", "10.1.0.1", 8).to_port(R1)).no_drops().only(R1);
    rig.send(R1, Ip::udp("10.1.0.2", "20.0.0.1", (1, 2), 10).to_port(R1)).no_drops().only(R2);
    // From elsewhere than its network.
    rig.send(R1, Ip::udp("10.2.0.9", "20.0.0.1", (1, 2), 10).to_port(R1)).drop_of(IpRcv, NetfilterDrop);
    assert_eq!(packets(&compiled), [2, 1, 2, 1]);
}

#[test]
fn logs_and_traces_say_what_rules_did() {
    let mut rig = rig();
    let log = LogTarget { level: 4, prefix: "seen: ".into(), flags: 0 };
    let jump = rule(Target::Jump { chain: "x".into(), goto: false });
    let rules = vec![rule(Target::None), rule(Target::Log(log)), jump, rule(Target::Accept)];
    let chains = vec![("FORWARD", Some(Policy::Accept), rules), ("x", None, vec![])];
    let mut set = table(TableName::Filter, chains);
    let raw = table(TableName::Raw, vec![("PREROUTING", Some(Policy::Accept), vec![rule(Target::Trace)])]);
    set.tables.extend(raw.tables);
    load(&mut rig, &set);
    rig.send(R1, Ip::udp("10.1.0.2", "20.0.0.1", (1, 2), 10).to_port(R1)).no_drops().only(R2);
    let name =
        |dev: IfIndex| DEVICES.iter().find(|(d, _)| *d == dev).map_or(String::new(), |(_, n)| (*n).into());
    let lines: Vec<String> = std::iter::from_fn(|| rig.shared.nf_log().pop()).map(|m| m.line(name)).collect();
    let body =
        "MAC=02:00:00:00:00:01:02:aa:0a:01:00:02:08:00 SRC=10.1.0.2 DST=20.0.0.1 LEN=38 TOS=0x00 PREC=0x00";
    let before = format!("IN=r1 OUT= {body} TTL=64 ID=4660 PROTO=UDP SPT=1 DPT=2 LEN=18 ");
    let after = format!("IN=r1 OUT=r2 {body} TTL=63 ID=4660 PROTO=UDP SPT=1 DPT=2 LEN=18 ");
    assert_eq!(
        lines,
        [
            format!("TRACE: raw:PREROUTING:policy:2 {before}"),
            format!("TRACE: filter:FORWARD:rule:1 {after}"),
            format!("TRACE: filter:FORWARD:rule:2 {after}"),
            format!("seen: {after}"),
            format!("TRACE: filter:FORWARD:rule:3 {after}"),
            format!("TRACE: filter:x:return:1 {after}"),
            format!("TRACE: filter:FORWARD:policy:4 {after}"),
        ]
    );
}

#[test]
fn a_flood_of_log_lines_loses_lines_only() {
    let mut rig = rig();
    load(&mut rig, &forward(vec![rule(Target::Log(LogTarget::default()))]));
    let frames: Vec<_> = (0..2000).map(|i| Ip::udp("10.1.0.2", "20.0.0.1", (i, 2), 10).to_port(R1)).collect();
    assert_eq!(rig.send_all(R1, frames).no_drops().sent(), 2000);
    let waiting = std::iter::from_fn(|| rig.shared.nf_log().pop()).count() as u64;
    assert_eq!(waiting + rig.shared.nf_log().lost(), 2000);
}

#[test]
fn a_swap_is_seen_whole() {
    // Each rule set marks a packet at one hook and drops it at another if the mark is not its own: any mixture drops.
    let set = |mark: u32| {
        let wrong = Match::Mark(Inv { value: Masked32 { value: mark, mask: !0 }, invert: true });
        let chains = vec![
            (
                "PREROUTING",
                Some(Policy::Accept),
                vec![rule(Target::Mark(Masked32 { value: mark, mask: !0 }))],
            ),
            ("FORWARD", Some(Policy::Accept), vec![with(rule(Target::Drop), wrong.clone())]),
            ("POSTROUTING", Some(Policy::Accept), vec![with(rule(Target::Drop), wrong)]),
        ];
        table(TableName::Mangle, chains)
    };
    let mut rig = rig();
    let frames: Vec<_> = (0..32).map(|i| Ip::udp("10.1.0.2", "20.0.0.1", (i, 2), 10).to_port(R1)).collect();
    let mut counted = 0;
    for turn in 0..100 {
        let compiled = load(&mut rig, &set(1 + turn % 2));
        assert_eq!(rig.send_all(R1, frames.clone()).no_drops().sent(), 32);
        counted += packets(&compiled)[1];
    }
    assert_eq!(counted, 3200);
}

#[test]
fn a_recompiled_rule_set_goes_on_where_it_was() {
    let mut rig = rig();
    let set = forward(vec![
        with(rule(Target::Accept), Match::Limit(LimitMatch { avg: 36_000_000, burst: 3 })),
        rule(Target::Drop),
    ]);
    let first = load(&mut rig, &set);
    let udp = Ip::udp("10.1.0.2", "20.0.0.1", (1, 2), 10);
    rig.send_all(R1, (0..2).map(|_| udp.to_port(R1))).no_drops();
    let mut live = set.clone();
    first.read_into(&mut live);
    assert_eq!(live.tables[0].chains[0].rules[0].counters, RuleCounters { packets: 2, bytes: 76 });
    let mut again = |unchanged| {
        let previous = Some(&first);
        let env = CompileEnv { devices: &DEVICES, lcores: 1, now_millis: 1_000_000, previous, unchanged };
        let compiled = compile(&live, &env).unwrap();
        rig.hooks = Hooks::default();
        compiled.hooks().into_iter().for_each(|(hook, entry)| rig.hooks.register(hook, entry));
        rig.configure(|_, _| {});
        (rig.send_all(R1, (0..3).map(|_| udp.to_port(R1))).sent(), compiled)
    };
    let (sent, second) = again(&[TableName::Filter]);
    // One token is left of three.
    assert_eq!(sent, 1);
    assert_eq!(packets(&second), [0, 3, 2]);
    second.add_counters(&[RuleCounters::default(), RuleCounters { packets: 10, bytes: 1 }]);
    assert_eq!(second.counters()[1], RuleCounters { packets: 13, bytes: 3 * 38 + 1 });
    // A table that was changed begins anew.
    assert_eq!(again(&[]).0, 3);
}
