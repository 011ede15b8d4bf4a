//! `skiff bench rules`: what rule sets cost a forwarded packet, beyond forwarding without any. Both are measured in turn,
//! many times over, so that what the machine does besides falls on both.

use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;
use skiff_dataplane::net::IfIndex;
use skiff_dataplane::netfilter::hooks::Hooks;
use skiff_dataplane::netfilter::ip_tables::rule::*;
use skiff_dataplane::netfilter::ip_tables::{CompileEnv, compile};

use super::forward::{Bench, start};
use super::traffic::{Case, ROUTER_MAC, write_pcap};

/// Length of one measurement.
const SLICE: Duration = Duration::from_millis(20);
const DEVICES: [(IfIndex, &str); 3] = [(IfIndex(1), "lo"), (IfIndex(2), "port0"), (IfIndex(3), "port1")];

/// One rule set's cost.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What it is.
    pub rules: &'static str,
    /// Cycles a packet beyond none: half of the rounds were below.
    pub median: f64,
    /// The difference of the best rounds of both.
    pub best: f64,
    /// Time to compile it, milliseconds.
    pub compile_ms: f64,
}

/// Measures all rule sets with 1024 flows over 1024 routes.
///
/// # Errors
/// EAL, the ports or the tables could not be set up.
pub fn run(rounds: u32, cpu: Option<u16>) -> Result<Vec<Row>> {
    let case = Case::Flows1024;
    let routes = case.routes();
    let destinations = case.destinations(&routes);
    let pcap = std::env::temp_dir().join(format!("skiff-bench-{}.pcap", std::process::id()));
    write_pcap(&pcap, ROUTER_MAC, &destinations)
        .with_context(|| format!("cannot write {}", pcap.display()))?;
    let started = start(cpu, &pcap, destinations.len());
    let _ = std::fs::remove_file(&pcap);
    let (_eal, mut bench) = started?;
    bench.load(&routes)?;
    bench.forward(Duration::from_millis(50));
    let sets = [
        ("a table without rules", sources(0)),
        ("1 rule", sources(1)),
        ("101 rules", sources(101)),
        ("1000 rules", sources(1000)),
        ("10000 rules", sources(10_000)),
        ("a small router's rules", mixed()),
    ];
    sets.into_iter().map(|(name, set)| measure(&mut bench, name, &set, rounds)).collect()
}

fn measure(bench: &mut Bench, name: &'static str, ruleset: &Ruleset, rounds: u32) -> Result<Row> {
    let began = std::time::Instant::now();
    let compiled = compile(
        ruleset,
        &CompileEnv { devices: &DEVICES, lcores: 1, now_millis: 0, previous: None, unchanged: &[] },
    )?;
    let compile_ms = began.elapsed().as_secs_f64() * 1e3;
    let mut hooks = Hooks::default();
    compiled.hooks().into_iter().for_each(|(hook, entry)| hooks.register(hook, entry));
    let (mut without, mut with, mut more) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        bench.set_hooks(Hooks::default());
        let base = bench.forward(SLICE);
        bench.set_hooks(hooks.clone());
        let cost = bench.forward(SLICE);
        without.push(base);
        with.push(cost);
        more.push(cost - base);
    }
    bench.set_hooks(Hooks::default());
    [&mut without, &mut with, &mut more].into_iter().for_each(|v| v.sort_by(f64::total_cmp));
    let best = |v: &[f64]| v.first().copied().unwrap_or(f64::NAN);
    let median = more.get(more.len() / 2).copied().unwrap_or(f64::NAN);
    Ok(Row { rules: name, median, best: best(&with) - best(&without), compile_ms })
}

/// Rules that drop sources nobody has, and a last one that accepts.
fn sources(count: u32) -> Ruleset {
    let hosts = (1..count).map(|i| {
        let ip = IpMatch { src: net(0xc613_0000 + i * 7, 32), ..IpMatch::default() };
        rule(ip, vec![], Target::Drop)
    });
    let last = (count > 0).then(|| rule(IpMatch::default(), vec![], Target::Accept));
    filter(vec![builtin("FORWARD", hosts.chain(last).collect())])
}

/// What a small router has: bogons, a chain a direction, services, a limit for the rest of what asks.
fn mixed() -> Ruleset {
    let to = |name: &str| Target::Jump { chain: name.into(), goto: false };
    let via = |name: &str| {
        let iface = IfaceMatch { name: name.into(), wildcard: false, invert: false };
        IpMatch { iniface: Some(iface), ..IpMatch::default() }
    };
    let proto = |p: u8| IpMatch { proto: Some(Inv { value: p, invert: false }), ..IpMatch::default() };
    let port = |min, max| Some(Inv { value: Range { min, max }, invert: false });
    let tcp = |p: u16| {
        let ports = PortsMatch { sport: None, dport: port(p, p) };
        rule(proto(6), vec![Match::Tcp(TcpMatch { ports, ..TcpMatch::default() })], Target::Accept)
    };
    let udp = |a, b| {
        rule(proto(17), vec![Match::Udp(PortsMatch { sport: None, dport: port(a, b) })], Target::Accept)
    };
    let bogons = [(0u32, 8u8), (0x0a00_0000, 8), (0x7f00_0000, 8), (0xac10_0000, 12), (0xc0a8_0000, 16)];
    let bogons =
        bogons.map(|(a, len)| rule(IpMatch { src: net(a, len), ..IpMatch::default() }, vec![], Target::Drop));
    let limit = LimitMatch { avg: 2000, burst: 5 };
    let asks = rule(proto(1), vec![Match::Limit(limit)], Target::Accept);
    let services: Vec<Rule> =
        [22, 25, 80, 110, 143, 443, 465, 587, 993, 995, 8080, 8443].map(tcp).into_iter().collect();
    let lan = services.into_iter().chain([udp(53, 53), udp(123, 123), asks, udp(1, 1023)]).collect();
    let user = |name: &str, rules| Chain { policy: None, ..builtin(name, rules) };
    filter(vec![
        builtin(
            "FORWARD",
            vec![rule(IpMatch::default(), vec![], to("bogons")), rule(via("port0"), vec![], to("lan"))],
        ),
        user("bogons", bogons.into_iter().collect()),
        user("lan", lan),
    ])
}

fn net(addr: u32, len: u8) -> AddrMatch {
    let mask = u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0);
    AddrMatch { addr: addr & mask, mask, invert: false }
}

fn rule(ip: IpMatch, matches: Vec<Match>, target: Target) -> Rule {
    Rule { ip, matches, target, counters: RuleCounters::default() }
}

fn builtin(name: &str, rules: Vec<Rule>) -> Chain {
    Chain { name: name.into(), policy: Some(Policy::Accept), counters: RuleCounters::default(), rules }
}

fn filter(chains: Vec<Chain>) -> Ruleset {
    Ruleset { tables: vec![Table { name: TableName::Filter, chains }], sets: vec![] }
}
