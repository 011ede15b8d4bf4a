//! Steps of traced packets in words, and in values for JSON.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use serde_json::{Map, Value, json};
use skiff_dataplane::core::trace::{IpFacts, Made, RouteTo, Step};
use skiff_dataplane::fib::next_hop::Kind;
use skiff_dataplane::net::IfIndex;
use skiff_dataplane::netfilter::hooks::Verdict;
use skiff_dataplane::netfilter::nf_log::TraceKind;
use skiff_dataplane::netfilter::queue::QueueVerdict;
use skiff_dataplane::skb::ipv4::{IP_DF, IP_MF, IP_OFFSET};
use skiff_dataplane::skb::pkt_type;

use crate::router::Router;

/// What later steps of a packet need of earlier ones.
#[derive(Debug, Default)]
pub(super) struct Story {
    /// Where it goes, once its header was seen.
    dst: u32,
    /// When it was queued, nanoseconds since it was received.
    queued_at: u64,
}

/// A step in words and in values.
pub(super) fn tell(router: &Router, story: &mut Story, step: &Step, ns: u64) -> (String, Map<String, Value>) {
    let (text, facts) = step_of(&Names(router), story, step, ns);
    let Value::Object(facts) = facts else { return (text, Map::new()) };
    (text, facts)
}

/// What numbers mean.
struct Names<'a>(&'a Router);

impl Names<'_> {
    fn dev(&self, dev: IfIndex) -> String {
        match (dev, self.0.rtnl.link(dev)) {
            (IfIndex::NONE, _) => "none".to_owned(),
            (_, Some(link)) => link.name().to_owned(),
            (_, None) => format!("if{}", dev.0),
        }
    }

    fn prefix(&self, dst: u32) -> String {
        let prefix = self.0.rtnl.prefix_of(ip(dst));
        prefix.map_or_else(
            || ip(dst).to_string(),
            |prefix| match prefix.prefix_len() {
                0 => "default".to_owned(),
                _ => prefix.to_string(),
            },
        )
    }
}

fn ip(addr: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(addr)
}

fn step_of(names: &Names<'_>, story: &mut Story, step: &Step, ns: u64) -> (String, Value) {
    match *step {
        Step::Poll { lcore, port, queue, dev, len } => {
            let dev = names.dev(dev);
            let facts = json!({"dev": dev, "port": port, "queue": queue, "lcore": lcore, "length": len});
            (format!("{dev}: port {port}, queue {queue}, lcore {lcore}, {len} bytes"), facts)
        }
        Step::NetifReceive { dev, pkt_type, protocol } => {
            let (dev, pkt_type, protocol) = (names.dev(dev), to_whom(pkt_type), ether_name(protocol));
            let facts = json!({"dev": dev, "pkt_type": pkt_type, "protocol": protocol});
            (format!("{dev}: {pkt_type}, protocol {protocol}"), facts)
        }
        Step::BondHandleFrame { dev, master } => {
            let (dev, master) = (names.dev(dev), names.dev(master));
            (format!("{dev}: a member of {master}"), json!({"dev": dev, "master": master}))
        }
        Step::VlanDoReceive { dev, tag, to } => {
            let (dev, to, vid, prio) = (names.dev(dev), to.map(|to| names.dev(to)), tag.vid(), tag.pcp());
            let facts = json!({"dev": dev, "vlan": vid, "prio": prio, "to": to});
            let to = to.unwrap_or_else(|| "no device has it".to_owned());
            (format!("{dev}: VLAN {vid} prio {prio} -> {to}"), facts)
        }
        Step::IpRcv(facts) => {
            story.dst = facts.dst;
            header(&facts)
        }
        Step::Hook { ref function, verdict, .. } => {
            let (name, verdict) = (function.name(), verdict_name(verdict));
            (format!("{name}: {verdict}"), json!({"function": name, "verdict": verdict}))
        }
        Step::Rule { table, ref chain, kind, rule } => rule_of(names, table, chain, kind, rule),
        Step::Reinject { verdict, .. } => {
            let verdict = match verdict {
                QueueVerdict::Drop => "drop".to_owned(),
                QueueVerdict::Accept => "accept".to_owned(),
                QueueVerdict::Repeat => "repeat".to_owned(),
                QueueVerdict::Queue(num) => format!("queue {num}"),
            };
            (format!("the queue's listener: {verdict}"), json!({"listener": verdict}))
        }
        Step::Route(to) => route(names, story.dst, to),
        Step::LocalDeliver { protocol } => {
            let protocol = protocol_name(protocol);
            (format!("protocol {protocol}"), json!({"protocol": protocol}))
        }
        Step::Forward { ttl, priority } => {
            let left = ttl.saturating_sub(1);
            (format!("ttl {ttl} -> {left}, priority {priority}"), json!({"ttl": left, "priority": priority}))
        }
        Step::Output { len, mtu } => (format!("length {len}, mtu {mtu}"), json!({"length": len, "mtu": mtu})),
        Step::Neigh { .. } | Step::NeighWait { .. } => neighbour(names, step),
        Step::Defrag | Step::Reassembled { .. } | Step::Merged | Step::Fragmented | Step::Copied => {
            pieces(step)
        }
        Step::Made { made, to } => {
            let (made, to) = (made_name(made), ip(to));
            (format!("{made} to {to}"), json!({"made": made, "to": to}))
        }
        Step::Reply(made) => (made_name(made), json!({"made": made_name(made)})),
        Step::Delivered { node } => (format!("the router took it ({node})"), json!({"stage": node.name()})),
        Step::Dropped { node, reason } => {
            (format!("{reason} in {node}"), json!({"stage": node.name(), "reason": reason.name()}))
        }
        Step::Enqueued { dev, packets, bytes } => {
            story.queued_at = ns;
            let dev = names.dev(dev);
            let facts = json!({"dev": dev, "backlog_packets": packets, "backlog_bytes": bytes});
            (format!("{dev}: queued, backlog {bytes}b {packets}p"), facts)
        }
        Step::Dequeued { dev } => {
            let (dev, waited) = (names.dev(dev), ns.saturating_sub(story.queued_at));
            (format!("{dev}: sent after {waited} ns"), json!({"dev": dev, "waited_ns": waited}))
        }
        _ => way_out(names, step),
    }
}

/// From `dev_queue_xmit` on, but for the disciplines.
fn way_out(names: &Names<'_>, step: &Step) -> (String, Value) {
    match *step {
        Step::Xmit { dev, to } => {
            let (dev, to) = (names.dev(dev), to.to_string());
            (format!("{dev}: to {to}"), json!({"dev": dev, "to": to}))
        }
        Step::VlanXmit { dev, lower } => {
            let (dev, lower) = (names.dev(dev), names.dev(lower));
            (format!("{dev}: tagged -> {lower}"), json!({"dev": dev, "lower": lower}))
        }
        Step::BondXmit { dev, member } => {
            let (dev, member) = (names.dev(dev), names.dev(member));
            (format!("{dev}: member {member}"), json!({"dev": dev, "member": member}))
        }
        Step::Handed { lcore } => {
            (format!("to lcore {lcore}, which has the queueing discipline"), json!({"lcore": lcore}))
        }
        Step::Ring { dev } => {
            let dev = names.dev(dev);
            (format!("{dev}: to the lcore that has its transmit queue"), json!({"dev": dev}))
        }
        Step::Filter { pref, protocol, handle, class } => {
            let (protocol, handle, class) = (tc_protocol(protocol), tc_handle(handle), class.to_string());
            let facts = json!({"pref": pref, "protocol": protocol, "handle": handle, "classid": class});
            (format!("pref {pref} protocol {protocol} handle {handle}: classid {class}"), facts)
        }
        Step::Class { class } => (class.to_string(), json!({"class": class.to_string()})),
        Step::Sent { dev, port, queue, len } => {
            let dev = names.dev(dev);
            let facts = json!({"dev": dev, "port": port, "queue": queue, "length": len});
            (format!("{dev}: port {port}, queue {queue}, {len} bytes"), facts)
        }
        // All others have their words above.
        _ => (String::new(), Value::Null),
    }
}

fn header(facts: &IpFacts) -> (String, Value) {
    let (protocol, id, length) = (protocol_name(facts.protocol), facts.id, facts.total_len);
    let (src, dst) = match facts.ports {
        Some((sport, dport)) => (format!("{}:{sport}", ip(facts.src)), format!("{}:{dport}", ip(facts.dst))),
        None => (ip(facts.src).to_string(), ip(facts.dst).to_string()),
    };
    let mut text =
        format!("{src} > {dst} {protocol} ttl {} tos {:#x} id {id} length {length}", facts.ttl, facts.tos);
    if facts.frag_off & IP_DF != 0 {
        text.push_str(" DF");
    }
    if facts.frag_off & (IP_MF | IP_OFFSET) != 0 {
        let more = if facts.frag_off & IP_MF != 0 { "+" } else { "" };
        let _ = write!(text, " fragment at {}{more}", (facts.frag_off & IP_OFFSET) * 8);
    }
    let mut values = json!({
        "src": ip(facts.src), "dst": ip(facts.dst), "protocol": protocol, "ttl": facts.ttl, "tos": facts.tos,
        "id": id, "length": length,
    });
    if let (Some((sport, dport)), Value::Object(values)) = (facts.ports, &mut values) {
        values.insert("sport".to_owned(), sport.into());
        values.insert("dport".to_owned(), dport.into());
    }
    (text, values)
}

fn rule_of(names: &Names<'_>, table: &str, chain: &str, kind: TraceKind, rule: u32) -> (String, Value) {
    let words = names.0.rule_text(table, chain, rule);
    let kind = match (kind, &words) {
        // The kernel calls a last rule without conditions the chain's policy.
        (_, Some(_)) => "rule",
        (TraceKind::Policy, None) => "policy",
        (TraceKind::Return, None) => "return",
        (TraceKind::Rule, None) => "rule",
    };
    let facts = json!({"table": table, "chain": chain, "kind": kind, "rule": rule, "words": words});
    let text = match (kind, words) {
        ("rule", words) => format!("{table} {chain} rule {rule}:{}", words.unwrap_or_default()),
        (kind, _) => format!("{table} {chain} {kind}"),
    };
    (text, facts)
}

fn route(names: &Names<'_>, dst: u32, to: RouteTo) -> (String, Value) {
    let prefix = names.prefix(dst);
    match to {
        RouteTo::Forward { oif, gateway, mtu } => {
            let (oif, gateway) = (names.dev(oif), gateway.map(ip));
            let via = gateway.map(|via| format!(" via {via}")).unwrap_or_default();
            let facts = json!({"route": "forward", "prefix": prefix, "dev": oif, "via": gateway, "mtu": mtu});
            (format!("{prefix}{via} dev {oif} mtu {mtu}: forward"), facts)
        }
        RouteTo::Local => (format!("local {}", ip(dst)), json!({"route": "local"})),
        RouteTo::Broadcast => (format!("broadcast {}", ip(dst)), json!({"route": "broadcast"})),
        RouteTo::Multicast { local, onwards } => {
            let facts = json!({"route": "multicast", "local": local, "onwards": onwards});
            let ways = match (local, onwards) {
                (true, true) => "for us and others",
                (true, false) => "for us",
                _ => "for others",
            };
            (format!("multicast {}: {ways}", ip(dst)), facts)
        }
        RouteTo::Refuse(kind) => {
            let kind = match kind {
                Kind::Blackhole => "blackhole",
                Kind::Unreachable => "unreachable",
                Kind::Prohibit => "prohibit",
                _ => "no route",
            };
            (format!("{}: {kind}", ip(dst)), json!({"route": kind}))
        }
        RouteTo::NotForwarding => {
            (format!("{}: forwarding is off where it came in", ip(dst)), json!({"route": "not forwarding"}))
        }
    }
}

fn neighbour(names: &Names<'_>, step: &Step) -> (String, Value) {
    match *step {
        Step::Neigh { dev, addr, state, mac } => {
            let (dev, addr, state, mac) = (names.dev(dev), ip(addr), state.name(), mac.to_string());
            let facts = json!({"dev": dev, "neighbour": addr, "lladdr": mac, "state": state});
            (format!("{addr} dev {dev} lladdr {mac} {state}"), facts)
        }
        Step::NeighWait { dev, addr } => {
            let (dev, addr) = (names.dev(dev), ip(addr));
            (
                format!("{addr} dev {dev}: waits for an answer"),
                json!({"dev": dev, "neighbour": addr, "waits": true}),
            )
        }
        _ => (String::new(), Value::Null),
    }
}

fn pieces(step: &Step) -> (String, Value) {
    match *step {
        Step::Defrag => ("a fragment: waits for the others".to_owned(), json!({"waits": true})),
        Step::Reassembled { len, fragments } => {
            let facts = json!({"length": len, "fragments": fragments});
            (format!("whole: {fragments} fragments, length {len}"), facts)
        }
        Step::Merged => ("part of a whole datagram, which goes on".to_owned(), json!({})),
        Step::Fragmented => ("its fragments go on in its place".to_owned(), json!({})),
        _ => ("another packet like it".to_owned(), json!({})),
    }
}

fn verdict_name(verdict: Verdict) -> String {
    match verdict {
        Verdict::Drop => "drop".to_owned(),
        Verdict::Accept => "accept".to_owned(),
        Verdict::Stolen => "stolen".to_owned(),
        Verdict::Queue { num, .. } => format!("queue {num}"),
        Verdict::Repeat => "repeat".to_owned(),
    }
}

fn made_name(made: Made) -> String {
    let Made::Icmp { kind, code } = made else { return "tcp reset".to_owned() };
    let name = match kind {
        0 => "echo-reply",
        3 => "destination-unreachable",
        5 => "redirect",
        11 => "time-exceeded",
        12 => "parameter-problem",
        14 => "timestamp-reply",
        43 => "extended-echo-reply",
        _ => return format!("icmp type {kind} code {code}"),
    };
    format!("icmp {name} code {code}")
}

fn to_whom(kind: u8) -> &'static str {
    match kind {
        pkt_type::HOST => "host",
        pkt_type::BROADCAST => "broadcast",
        pkt_type::MULTICAST => "multicast",
        _ => "otherhost",
    }
}

fn ether_name(protocol: u16) -> String {
    match protocol {
        0x0800 => "ip".to_owned(),
        0x0806 => "arp".to_owned(),
        0x86dd => "ipv6".to_owned(),
        0x8100 => "802.1Q".to_owned(),
        0x88a8 => "802.1ad".to_owned(),
        other => format!("{other:#06x}"),
    }
}

fn tc_protocol(protocol: u16) -> String {
    if protocol == skiff_dataplane::sched::cls::ETH_P_ALL { "all".to_owned() } else { ether_name(protocol) }
}

/// u32's are shown as it names them, `table:bucket:node`.
fn tc_handle(handle: u32) -> String {
    match (handle >> 20, handle >> 12 & 0xff, handle & 0xfff) {
        (table, 0, node) if table >= 0x800 => format!("{table:x}::{node:x}"),
        (table, bucket, node) if table >= 0x800 => format!("{table:x}:{bucket:x}:{node:x}"),
        _ => format!("{handle:#x}"),
    }
}

fn protocol_name(protocol: u8) -> String {
    match protocol {
        1 => "icmp".to_owned(),
        2 => "igmp".to_owned(),
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        other => format!("protocol {other}"),
    }
}
