//! The compiled tables against an interpreter that takes rules one after the other, as they are written: the same
//! verdict for every packet and the same counters for every rule.

mod common;

use common::{Frame, Ip, R1, Rig};
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use proptest::{collection::vec, option, prelude::*, sample::select};
use skiff_dataplane::net::IfIndex;
use skiff_dataplane::netfilter::hooks::{Hook, HookCx, Verdict, Verdicts};
use skiff_dataplane::netfilter::ip_tables::rule::*;
use skiff_dataplane::netfilter::ip_tables::{CompileEnv, compile};
use skiff_dataplane::skb::{SkbExt, SkbFields, SkbList};

const DEVICES: [(IfIndex, &str); 4] =
    [(IfIndex(1), "lo"), (IfIndex(2), "r1"), (IfIndex(3), "r2"), (IfIndex(4), "eth0")];
const RULE_SETS: u32 = 60;
const PACKETS: usize = 10_240;

/// What a random packet is made of.
#[derive(Clone, Debug)]
struct Packet {
    src: u32,
    dst: u32,
    protocol: u8,
    frag: u16,
    ports: (u16, u16),
    tcp_flags: u8,
    tos: u8,
    ttl: u8,
    /// Bytes behind the IP header.
    payload: usize,
    iif: u16,
    oif: u16,
    mark: u32,
}

impl Packet {
    fn frame(&self) -> Vec<u8> {
        let mut l4 = [self.ports.0.to_be_bytes(), self.ports.1.to_be_bytes()].concat();
        l4.extend([0, 0, 0, 0, 0, 0, 0, 0, 0x50, self.tcp_flags, 0, 0, 0, 0, 0, 0]);
        l4.resize(l4.len().max(self.payload), 0);
        l4.truncate(self.payload);
        let &Packet { src, dst, tos, ttl, frag, protocol, .. } = self;
        Ip { src, dst, tos, ttl, id: 7, frag, protocol, options: vec![], payload: l4 }.to_port(R1)
    }

    fn later(&self) -> bool {
        self.frag & 0x1fff != 0
    }

    fn len(&self) -> u64 {
        20 + self.payload as u64
    }
}

/// Few values, so that rules and packets meet.
fn addr() -> impl Strategy<Value = u32> {
    (select(vec![0x0a00_0000u32, 0x0a00_0100, 0x0a01_0000, 0xc0a8_0000, 0]), 0u32..4).prop_map(|(a, b)| a | b)
}

fn a_port() -> impl Strategy<Value = u16> {
    prop_oneof![4 => 78u16..83, 1 => any::<u16>()]
}

fn protocol() -> impl Strategy<Value = u8> {
    prop_oneof![4 => Just(6u8), 4 => Just(17), 2 => Just(1), 1 => Just(47), 1 => Just(132)]
}

fn packet() -> impl Strategy<Value = Packet> {
    let frag = prop_oneof![12 => Just(0u16), 1 => Just(0x2000), 1 => Just(1), 1 => Just(185)];
    let payload = prop_oneof![8 => 20usize..60, 1 => 0usize..20];
    (
        (addr(), addr(), protocol(), frag, (a_port(), a_port())),
        (any::<u8>(), select(vec![0u8, 0x28, 0xb8, 3]), 1u8..5, payload, 1u16..5, 1u16..5, 0u32..4),
    )
        .prop_map(
            |((src, dst, protocol, frag, ports), (tcp_flags, tos, ttl, payload, iif, oif, mark))| Packet {
                src,
                dst,
                protocol,
                frag,
                ports,
                tcp_flags,
                tos,
                ttl,
                payload,
                iif,
                oif,
                mark,
            },
        )
}

fn inv<T: std::fmt::Debug + Clone>(value: impl Strategy<Value = T>) -> impl Strategy<Value = Inv<T>> {
    (value, any::<bool>()).prop_map(|(value, invert)| Inv { value, invert })
}

fn addr_match() -> impl Strategy<Value = AddrMatch> {
    let masks =
        select(vec![0xffff_ffffu32, 0xffff_ff00, 0xffff_0000, 0xff00_0000, 0xffff_00ff, 0x0000_0001, 0]);
    prop_oneof![
        2 => Just(AddrMatch::default()),
        3 => (addr(), masks, any::<bool>()).prop_map(|(a, mask, invert)| AddrMatch { addr: a & mask, mask, invert })
    ]
}

fn iface() -> impl Strategy<Value = IfaceMatch> {
    (select(vec!["r1", "r", "r2", "eth", "eth0", "wan9", ""]), any::<bool>(), any::<bool>())
        .prop_map(|(name, wildcard, invert)| IfaceMatch { name: name.into(), wildcard, invert })
}

fn range() -> impl Strategy<Value = Range<u16>> {
    (a_port(), 0u16..3).prop_map(|(min, n)| Range { min, max: min.saturating_add(n) })
}

fn ports() -> impl Strategy<Value = PortsMatch> {
    (option::of(inv(range())), option::of(inv(range())))
        .prop_map(|(sport, dport)| PortsMatch { sport, dport })
}

/// Matches that go with protocol `p`.
fn a_match(p: Option<u8>) -> BoxedStrategy<Match> {
    let length = (20u16..80, 0u16..30).prop_map(|(min, n)| Range { min, max: min + n });
    let addresses = || (addr(), 0u32..600).prop_map(|(min, n)| Range { min, max: min + n });
    let plain = prop_oneof![
        inv((0u32..4, 1u32..4).prop_map(|(value, mask)| Masked32 { value: value & mask, mask }))
            .prop_map(Match::Mark),
        inv(length).prop_map(Match::Length),
        (1u8..5).prop_map(|t| Match::Ttl(TtlMatch::Lt(t))),
        inv(select(vec![0u8, 0x0a, 0x2e])).prop_map(Match::Dscp),
        Just(Match::Comment("why".into())),
        (option::of(inv(addresses())), option::of(inv(addresses())))
            .prop_map(|(src, dst)| Match::Iprange(IprangeMatch { src, dst })),
        (1u32..4).prop_flat_map(|every| {
            inv((0..every).prop_map(move |packet| StatisticMatch::Nth { every, packet }))
                .prop_map(Match::Statistic)
        }),
    ];
    let multi = (
        select(vec![MultiportKind::Source, MultiportKind::Destination, MultiportKind::Either]),
        vec(range(), 1..5),
        any::<bool>(),
    )
        .prop_map(|(kind, ranges, invert)| {
            let ports = ranges.into_iter().map(|ports| MultiportRange { ports, is_range: true }).collect();
            Match::Multiport(MultiportMatch { kind, ports, invert })
        });
    let flags = (any::<u8>(), any::<u8>())
        .prop_map(|(mask, comp)| TcpFlagsMatch { mask: mask & 0x17, comp: comp & mask & 0x17 });
    let tcp = (ports(), option::of(inv(flags)), option::weighted(0.1, inv(Just(2u8))))
        .prop_map(|(ports, flags, option)| Match::Tcp(TcpMatch { ports, flags, option }));
    let icmp = inv((select(vec![0u8, 78, 255]), 0u8..90)
        .prop_map(|(icmp_type, max)| IcmpMatch { icmp_type, code: Range { min: 0, max } }));
    match p {
        Some(6) => prop_oneof![1 => plain, 1 => multi, 2 => tcp].boxed(),
        Some(17) => prop_oneof![1 => plain, 1 => multi, 2 => ports().prop_map(Match::Udp)].boxed(),
        Some(1) => prop_oneof![plain, icmp.prop_map(Match::Icmp)].boxed(),
        Some(132) => prop_oneof![plain, multi].boxed(),
        _ => plain.boxed(),
    }
}

/// A rule of chain number `at` of 5: calls go to later chains.
fn a_rule(at: usize) -> impl Strategy<Value = Rule> {
    let calls = ((at + 1)..6, any::<bool>()).prop_map(move |(to, goto)| match to {
        0..=4 => Target::Jump { chain: format!("c{to}"), goto },
        _ => Target::Return,
    });
    let mark = (0u32..4, 0u32..4).prop_map(|(value, mask)| Target::Mark(Masked32 { value, mask }));
    let target = prop_oneof![
        2 => Just(Target::None),
        2 => Just(Target::Accept),
        2 => Just(Target::Drop),
        1 => Just(Target::Return),
        1 => mark,
        3 => calls,
    ];
    let proto = option::weighted(0.7, protocol());
    (
        addr_match(),
        addr_match(),
        option::weighted(0.2, iface()),
        option::weighted(0.2, iface()),
        proto,
        target,
    )
        .prop_flat_map(|(src, dst, iniface, outiface, proto, target)| {
            let plain = proto.is_some();
            let fragment = option::weighted(0.1, inv(Just(())));
            let negated = prop::bool::weighted(if plain { 0.0 } else { 0.3 });
            (vec(a_match(proto), 0..3), fragment, negated, Just((src, dst, iniface, outiface, proto, target)))
        })
        .prop_map(|(matches, fragment, negated, (src, dst, iniface, outiface, proto, target))| {
            let value = proto.or(negated.then_some(6));
            let proto = value.map(|value| Inv { value, invert: negated });
            let ip = IpMatch { src, dst, iniface, outiface, proto, fragment };
            Rule { ip, matches, target, counters: RuleCounters::default() }
        })
}

fn rule_set(most: usize) -> impl Strategy<Value = Ruleset> {
    let chain = move |i: usize, most: usize| {
        let policy = select(vec![Policy::Accept, Policy::Drop]);
        (vec(a_rule(i), 0..most), policy, 0u64..5).prop_map(move |(rules, policy, packets)| Chain {
            name: if i == 0 { "FORWARD".into() } else { format!("c{i}") },
            policy: (i == 0).then_some(policy),
            counters: RuleCounters { packets, bytes: packets * 60 },
            rules,
        })
    };
    (chain(0, most), chain(1, 9), chain(2, most / 2 + 2), chain(3, 5), chain(4, 3)).prop_map(
        |(a, b, c, d, e)| Ruleset {
            tables: vec![Table { name: TableName::Filter, chains: vec![a, b, c, d, e] }],
            sets: vec![],
        },
    )
}

/// A table that traces, but no packet that is shown to another one.
fn tracing() -> Table {
    let rule = Rule {
        ip: IpMatch::default(),
        matches: vec![],
        target: Target::Trace,
        counters: RuleCounters::default(),
    };
    let chain = Chain {
        name: "PREROUTING".into(),
        policy: Some(Policy::Accept),
        counters: RuleCounters::default(),
        rules: vec![rule],
    };
    Table { name: TableName::Raw, chains: vec![chain] }
}

/// The interpreter.
struct Naive {
    chains: Vec<Chain>,
    /// What each `statistic` has seen: chain, rule, match.
    nth: std::collections::HashMap<(usize, usize, usize), u32>,
}

struct Dropped;

impl Naive {
    /// True if the packet goes on.
    fn run(&mut self, p: &mut Packet) -> bool {
        match self.chain(0, p) {
            Ok(Some(verdict)) => verdict,
            Ok(None) => {
                let policy = &mut self.chains[0];
                policy.counters.packets += 1;
                policy.counters.bytes += p.len();
                policy.policy == Some(Policy::Accept)
            }
            Err(Dropped) => false,
        }
    }

    /// What a chain decides; `None` is to go on after the call.
    fn chain(&mut self, number: usize, p: &mut Packet) -> Result<Option<bool>, Dropped> {
        for i in 0..self.chains[number].rules.len() {
            let rule = self.chains[number].rules[i].clone();
            if !self.holds((number, i), &rule, p)? {
                continue;
            }
            let counters = &mut self.chains[number].rules[i].counters;
            counters.packets += 1;
            counters.bytes += p.len();
            match rule.target {
                Target::Accept => return Ok(Some(true)),
                Target::Drop => return Ok(Some(false)),
                Target::Return => return Ok(None),
                Target::Mark(m) => p.mark = p.mark & !m.mask ^ m.value,
                Target::Jump { chain, goto } => {
                    let to = self.chains.iter().position(|c| c.name == chain).unwrap();
                    let decided = self.chain(to, p)?;
                    if decided.is_some() || goto {
                        return Ok(decided);
                    }
                }
                _ => {}
            }
        }
        Ok(None)
    }

    fn holds(&mut self, at: (usize, usize), rule: &Rule, p: &Packet) -> Result<bool, Dropped> {
        let address = |m: &AddrMatch, a: u32| (a & m.mask == m.addr) != m.invert;
        let name = |dev: u16| DEVICES.iter().find(|(d, _)| d.0 == dev).map_or("", |(_, name)| name);
        let device = |m: &Option<IfaceMatch>, dev: u16| {
            m.as_ref().is_none_or(|m| {
                let same = if m.wildcard { name(dev).starts_with(&m.name) } else { name(dev) == m.name };
                same != m.invert
            })
        };
        let ip = &rule.ip;
        let holds = address(&ip.src, p.src)
            && address(&ip.dst, p.dst)
            && device(&ip.iniface, p.iif)
            && device(&ip.outiface, p.oif)
            && ip.proto.is_none_or(|m| (m.value == p.protocol) != m.invert)
            && ip.fragment.is_none_or(|m| p.later() != m.invert);
        if !holds {
            return Ok(false);
        }
        for (i, m) in rule.matches.iter().enumerate() {
            let holds = match m {
                Match::Statistic(Inv { value: StatisticMatch::Nth { every, packet }, invert }) => {
                    let seen = self.nth.entry((at.0, at.1, i)).or_insert(0);
                    let hit = *seen % every == *packet;
                    *seen += 1;
                    hit != *invert
                }
                other => one_match(other, p)?,
            };
            if !holds {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn within(m: &Option<Inv<Range<u16>>>, port: u16) -> bool {
    m.is_none_or(|m| (port >= m.value.min && port <= m.value.max) != m.invert)
}

fn one_match(m: &Match, p: &Packet) -> Result<bool, Dropped> {
    let whole = |needed: usize| if p.payload < needed { Err(Dropped) } else { Ok(()) };
    Ok(match m {
        Match::Tcp(m) => {
            if p.later() {
                return if p.frag & 0x1fff == 1 { Err(Dropped) } else { Ok(false) };
            }
            whole(20)?;
            within(&m.ports.sport, p.ports.0)
                && within(&m.ports.dport, p.ports.1)
                && m.flags.is_none_or(|f| (p.tcp_flags & f.value.mask == f.value.comp) != f.invert)
                // No packet here has options.
                && m.option.is_none_or(|o| o.invert)
        }
        Match::Udp(m) => {
            if p.later() {
                return Ok(false);
            }
            whole(8)?;
            within(&m.sport, p.ports.0) && within(&m.dport, p.ports.1)
        }
        Match::Icmp(m) => {
            if p.later() {
                return Ok(false);
            }
            whole(8)?;
            let (kind, code) = ((p.ports.0 >> 8) as u8, p.ports.0 as u8);
            let code_in = code >= m.value.code.min && code <= m.value.code.max;
            (m.value.icmp_type == 255 || (m.value.icmp_type == kind && code_in)) != m.invert
        }
        Match::Multiport(m) => {
            if p.later() {
                return Ok(false);
            }
            whole(4)?;
            let inside = |port: u16| m.ports.iter().any(|r| r.ports.min <= port && port <= r.ports.max);
            let found = match m.kind {
                MultiportKind::Source => inside(p.ports.0),
                MultiportKind::Destination => inside(p.ports.1),
                MultiportKind::Either => inside(p.ports.0) || inside(p.ports.1),
            };
            found != m.invert
        }
        Match::Mark(m) => (p.mark & m.value.mask == m.value.value) != m.invert,
        Match::Length(m) => (p.len() >= m.value.min.into() && p.len() <= m.value.max.into()) != m.invert,
        Match::Ttl(TtlMatch::Lt(ttl)) => p.ttl < *ttl,
        Match::Dscp(m) => (p.tos >> 2 == m.value) != m.invert,
        Match::Comment(_) => true,
        Match::Iprange(m) => {
            let inside = |m: &Option<Inv<Range<u32>>>, a: u32| {
                m.is_none_or(|m| (a >= m.value.min && a <= m.value.max) != m.invert)
            };
            inside(&m.src, p.src) && inside(&m.dst, p.dst)
        }
        other => panic!("not made here: {other:?}"),
    })
}

#[test]
fn compiled_tables_decide_and_count_as_rules_read_one_by_one() {
    let mut rig = Rig::new();
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let packets = vec(packet(), PACKETS).new_tree(&mut runner).unwrap().current();
    for round in 0..RULE_SETS {
        let most = [4, 12, 40, 130, 1400][round as usize % 5];
        let mut ruleset = rule_set(most).new_tree(&mut runner).unwrap().current();
        let mut naive = Naive { chains: ruleset.tables[0].chains.clone(), nth: Default::default() };
        if round % 10 < 3 {
            // Where something traces, every call stays one.
            ruleset.tables.push(tracing());
        }
        let env = CompileEnv { devices: &DEVICES, lcores: 1, now_millis: 1, previous: None, unchanged: &[] };
        let compiled = compile(&ruleset, &env).unwrap();
        let hooks = compiled.hooks();
        let (_, entry) = hooks.iter().find(|(hook, _)| *hook == Hook::Forward).unwrap();
        for (turn, burst) in packets.chunks(32).enumerate() {
            let got = run(&mut rig, &*entry.function, burst);
            for (i, p) in burst.iter().enumerate() {
                let mut p = p.clone();
                let accepted = naive.run(&mut p);
                let want = (if accepted { Verdict::Accept } else { Verdict::Drop }, p.mark);
                assert_eq!(got[i], want, "rule set {round}, packet {i} of burst {turn}: {p:?}");
            }
        }
        let mut live = ruleset;
        compiled.read_into(&mut live);
        assert_eq!(live.tables[0].chains, naive.chains, "counters of rule set {round}");
    }
}

/// Runs a function on a burst: each packet's verdict and mark.
fn run(
    rig: &mut Rig,
    function: &dyn skiff_dataplane::netfilter::hooks::HookFn,
    burst: &[Packet],
) -> Vec<(Verdict, u32)> {
    let mut list = SkbList::new();
    for (i, p) in burst.iter().enumerate() {
        let frame = p.frame();
        // Every fourth in pieces.
        let frame = if i % 4 == 3 { Frame::cut(&frame, &[20, 36]) } else { frame.into() };
        let mut skb = rig.skb(&frame);
        *skb.fields_mut() = SkbFields {
            iif: p.iif,
            oif: p.oif,
            mark: p.mark,
            network_offset: 14,
            ip_hdr_len: 20,
            mtu: 1500,
            ..SkbFields::default()
        };
        list.push(skb).unwrap();
    }
    let env = skiff_dataplane::core::env::Env {
        snap: &rig.snap,
        shared: &rig.shared,
        cells: rig.shared.cells(0),
        now: rig.now,
        now_coarse: 0,
    };
    let mut verdicts = Verdicts::default();
    let mut cx = HookCx { env: &env, hands: &mut rig.worker.hands, hook: Hook::Forward };
    function.run(&mut cx, &mut list, &mut verdicts);
    list.iter().enumerate().map(|(i, skb)| (verdicts.get(i), skb.fields().mark)).collect()
}
