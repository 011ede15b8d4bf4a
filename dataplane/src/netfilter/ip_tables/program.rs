//! A table in the form lcores run: chains of rules, the classifiers before them, and the cells they count in.
//!
//! A packet walks as in `ipt_do_table`: rule by rule, a jump remembers where to come back to, RETURN and the end of
//! a user chain go there, and what ends a built-in chain is its policy. Only the rules that the classifier cannot rule
//! out are looked at ([`super::classify`]); the order, and so the outcome and the counters, are the same. Most chains that
//! are called stand where the call is ([`super::compile`]), so that one classifier finds the rules of all of them.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrayvec::ArrayVec;

use super::classify::{Chunk, Key, Scan};
use super::counts::{Cell, Counts};
use super::demands::Accepts;
use super::matches::{HotDrop, Matcher, World};
use super::rule::{IpMatch, Policy, TableName};
use super::target::{Extension, Then};
use super::view::{PacketView, gather_headers, key_of};
use super::world::EnvWorld;
use super::{matches, trace};
use crate::netfilter::hooks::{HookCx, HookFn, Verdict, Verdicts};
use crate::netfilter::nf_log::TraceKind;
use crate::skb::{Skb, SkbExt, SkbList, flags};

/// How deep jumps may nest.
pub(super) const MAX_DEPTH: usize = 64;

/// A table.
#[derive(Debug)]
pub(super) struct Program {
    pub name: TableName,
    pub chains: Box<[Chain]>,
    pub rules: Box<[Rule]>,
    pub steps: Box<[Step]>,
    pub chunks: Box<[ChunkAt]>,
    /// Read the ports of every packet.
    pub with_ports: bool,
    /// Some rule asks for a device.
    pub with_devices: bool,
    /// Some rule of the rule set traces packets.
    pub traced: bool,
    pub counts: Counts,
}

/// A chain.
#[derive(Debug)]
pub(super) struct Chain {
    pub name: Arc<str>,
    pub policy: Option<Policy>,
    /// Its rules are these of [`Program::rules`].
    pub rules: Range<u32>,
    /// Its steps, in these of [`Program::chunks`]; none if no packet begins there.
    pub chunks: Range<u32>,
}

/// A chunk of a chain's steps and the first of them.
#[derive(Debug)]
pub(super) struct ChunkAt {
    pub bits: Chunk,
    pub first: u32,
}

/// One thing to do in a chain, for packets that are its candidates and that its rule holds for.
#[derive(Debug)]
pub(super) struct Step {
    pub exact: Exact,
    /// The rule, which counts the packets; [`NO_RULE`] for steps that stand for the end of a chain.
    pub rule: u32,
    pub deed: Deed,
}

/// Behind all rules.
pub(super) const NO_RULE: u32 = u32::MAX;

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    Next,
    Accept,
    Drop,
    /// Back to the caller.
    Return,
    Call {
        chain: u32,
        goto: bool,
    },
    /// The steps of the chain that is called stand behind it; packets that are not called go on past them.
    Enter {
        past: StepAt,
    },
    /// Out of such a chain.
    Leave {
        to: StepAt,
    },
    /// What the rule's extension does.
    Extension,
}

/// A step by its chunk and its place in it. The chunk behind a chain's last one is the chain's end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct StepAt {
    pub chunk: u32,
    pub place: u16,
}

/// How much a candidate has proved by being one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exact {
    /// Everything.
    Always,
    /// Everything, if the packet has ports.
    WithPorts,
    /// The rule must be asked.
    Never,
}

/// A rule.
#[derive(Debug)]
pub(super) struct Rule {
    pub action: Action,
    /// A verdict or RETURN without any condition: traces call it the chain's policy or return.
    pub unconditional: bool,
    pub ip: IpMatch,
    /// Devices it asks for, by number.
    pub iif: Option<Accepts>,
    pub oif: Option<Accepts>,
    pub matches: Box<[Matcher]>,
}

/// What a rule does.
#[derive(Debug)]
pub(super) enum Action {
    Next,
    Accept,
    Drop,
    Return,
    Jump { chain: u32, goto: bool },
    Extension(Box<Extension>),
}

impl Rule {
    /// Whether what every rule has holds.
    #[inline]
    fn fits(&self, key: &Key) -> bool {
        let ours = |set: &Option<Accepts>, dev: u16| set.as_ref().is_none_or(|set| set.has(dev.into()));
        matches::ip_packet(&self.ip, key.src, key.dst, key.protocol(), key.later_fragment())
            && ours(&self.iif, key.iif)
            && ours(&self.oif, key.oif)
    }

    /// Whether all matches hold.
    fn holds(&self, view: &PacketView<'_>, world: &mut impl World) -> matches::Held {
        for matcher in &self.matches {
            if !matcher.holds(view, world)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// A place in a chain.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// Chunk, and the end of the chain's chunks.
    chunk: u32,
    end: u32,
    chain: u32,
    scan: Scan,
}

type Stack = ArrayVec<Place, MAX_DEPTH>;

/// How a walk ended.
enum End {
    Verdict(Verdict),
    Policy,
}

/// One packet's walk through a table.
struct Walk<'p, 'c, 'a, 'e> {
    program: &'p Program,
    cx: &'c mut HookCx<'a, 'e>,
    cells: &'p [Cell],
    /// The built-in chain.
    chain: u32,
    /// Packets' steps may have to be reported.
    traced: bool,
}

impl Walk<'_, '_, '_, '_> {
    #[inline]
    fn run(&mut self, skb: &mut Skb, key: &mut Key, mut at: Place, stack: &mut Stack) -> End {
        let program = self.program;
        loop {
            let Some(chunk) = program.chunks.get(at.chunk as usize).filter(|_| at.chunk < at.end) else {
                // The end of the chain.
                if self.traced && at.chain != self.chain {
                    self.trace(skb, at.chain, TraceKind::Return, usize::MAX);
                }
                match stack.pop() {
                    Some(caller) => at = caller,
                    None => return End::Policy,
                }
                continue;
            };
            let Some(i) = chunk.bits.next(&mut at.scan) else {
                let next = at.chunk + 1;
                program.go_to_chunk(&mut at, next, key);
                continue;
            };
            let Some(step) = program.steps.get(chunk.first as usize + i) else { continue };
            let sure = step.exact == Exact::Always || (step.exact == Exact::WithPorts && key.ports);
            if !sure {
                match self.ask(step.rule, skb, key) {
                    Ok(true) => {}
                    Ok(false) => {
                        if let Deed::Enter { past } = step.deed {
                            program.go(&mut at, past, key);
                        }
                        continue;
                    }
                    Err(HotDrop) => return End::Verdict(Verdict::Drop),
                }
            }
            if let Some(cell) = self.cells.get(step.rule as usize) {
                cell.add(1, u64::from(key.len));
            }
            if self.traced {
                self.trace_rule(skb, step.rule);
            }
            match step.deed {
                Deed::Accept => return End::Verdict(Verdict::Accept),
                Deed::Drop => return End::Verdict(Verdict::Drop),
                Deed::Next | Deed::Enter { .. } => {}
                Deed::Leave { to } => program.go(&mut at, to, key),
                Deed::Return => match stack.pop() {
                    Some(caller) => at = caller,
                    None => return End::Policy,
                },
                Deed::Call { chain, goto } => {
                    if !goto {
                        // Compiling has seen to it that there is room.
                        let _ = stack.try_push(at);
                    }
                    at = program.enter(chain, key);
                }
                Deed::Extension => match self.extension(step.rule, skb) {
                    Then::Continue => key.len = skb.network_len() as u32,
                    Then::Verdict(verdict) => return End::Verdict(verdict),
                },
            }
        }
    }

    #[inline]
    fn ask(&mut self, rule: u32, skb: &Skb, key: &Key) -> matches::Held {
        let Some(rule) = self.program.rules.get(rule as usize) else { return Ok(true) };
        if !rule.fits(key) {
            return Ok(false);
        }
        if rule.matches.is_empty() { Ok(true) } else { self.ask_matches(rule, skb) }
    }

    fn extension(&mut self, rule: u32, skb: &mut Skb) -> Then {
        match self.program.rules.get(rule as usize).map(|rule| &rule.action) {
            Some(Action::Extension(extension)) => extension.run(self.cx, skb),
            _ => Then::Continue,
        }
    }

    #[inline(never)]
    fn ask_matches(&mut self, rule: &Rule, skb: &Skb) -> matches::Held {
        let view = PacketView::of(skb, self.cx.hook);
        rule.holds(&view, &mut EnvWorld { env: self.cx.env, hands: self.cx.hands })
    }

    #[cold]
    fn trace_rule(&self, skb: &Skb, rule: u32) {
        if skb.fields().flags & (flags::TRACED | flags::NF_TRACE) == 0 {
            return;
        }
        // The rule of a chain that stands where it is called is in no chain of the walk.
        let Some(chain) = self.program.chains.iter().position(|chain| chain.rules.contains(&rule)) else {
            return;
        };
        let (chain, number) = (chain as u32, rule as usize);
        let unconditional = self.program.rules.get(number).is_some_and(|rule| rule.unconditional);
        let kind = match (unconditional, chain == self.chain) {
            (false, _) => TraceKind::Rule,
            (true, true) => TraceKind::Policy,
            (true, false) => TraceKind::Return,
        };
        self.trace(skb, chain, kind, number);
    }

    /// `rule` is a rule of the chain, or anything behind them for its end.
    #[cold]
    fn trace(&self, skb: &Skb, chain: u32, kind: TraceKind, rule: usize) {
        if let Some(chain) = self.program.chains.get(chain as usize) {
            let place =
                rule.min(chain.rules.end as usize).saturating_sub(chain.rules.start as usize) as u32 + 1;
            trace::rule(self.cx, skb, self.program.name, &chain.name, kind, place);
        }
    }
}

impl Program {
    /// The verdict on every packet, if there is nothing to ask, and what counts them: the policy's cell or that of the first
    /// rule.
    fn same_for_all(&self, chain: &Chain, policy: usize) -> Option<(Verdict, usize)> {
        if chain.chunks.is_empty() {
            let verdict = if chain.policy == Some(Policy::Drop) { Verdict::Drop } else { Verdict::Accept };
            return Some((verdict, policy));
        }
        let chunk = self.chunks.get(chain.chunks.start as usize).filter(|chunk| chunk.bits.is_linear())?;
        let step = self.steps.get(chunk.first as usize).filter(|step| step.exact == Exact::Always)?;
        match step.deed {
            Deed::Accept => Some((Verdict::Accept, step.rule as usize)),
            Deed::Drop => Some((Verdict::Drop, step.rule as usize)),
            _ => None,
        }
    }

    /// Takes the first steps of a packet, as long as they are sure and stay in the first of the chain's chunks. Where that
    /// does not lead to an end, `scan` is what is left.
    #[inline]
    fn begin(
        &self,
        chain: &Range<u32>,
        first: &ChunkAt,
        cells: &[Cell],
        key: &Key,
        scan: &mut Scan,
    ) -> Option<End> {
        while let Some(i) = first.bits.next(scan) {
            let step = self.steps.get(first.first as usize + i)?;
            let sure = step.exact == Exact::Always || (step.exact == Exact::WithPorts && key.ports);
            let end = match step.deed {
                Deed::Accept if sure => Some(End::Verdict(Verdict::Accept)),
                Deed::Drop if sure => Some(End::Verdict(Verdict::Drop)),
                Deed::Next | Deed::Enter { .. } if sure => None,
                Deed::Leave { to } if sure && to.chunk == chain.start => {
                    first.bits.seek(scan, usize::from(to.place));
                    None
                }
                _ => {
                    first.bits.again(scan, i);
                    return None;
                }
            };
            if let Some(cell) = cells.get(step.rule as usize) {
                cell.add(1, u64::from(key.len));
            }
            if end.is_some() {
                return end;
            }
        }
        (chain.len() == 1).then_some(End::Policy)
    }

    /// Goes on with another step of the same chain, further on.
    #[inline]
    fn go(&self, at: &mut Place, to: StepAt, key: &Key) {
        if at.chunk != to.chunk {
            self.go_to_chunk(at, to.chunk, key);
        }
        if at.chunk < at.end
            && to.place != 0
            && let Some(chunk) = self.chunks.get(at.chunk as usize)
        {
            chunk.bits.seek(&mut at.scan, usize::from(to.place));
        }
    }

    #[inline]
    fn go_to_chunk(&self, at: &mut Place, chunk: u32, key: &Key) {
        at.chunk = chunk;
        if at.chunk < at.end
            && let Some(chunk) = self.chunks.get(chunk as usize)
        {
            at.scan = chunk.bits.scan(key);
        }
    }

    /// The beginning of a chain.
    fn enter(&self, chain: u32, key: &Key) -> Place {
        let chunks = self.chains.get(chain as usize).map_or(0..0, |c| c.chunks.clone());
        let first = self.chunks.get(chunks.start as usize).filter(|_| !chunks.is_empty());
        let scan = first.map_or_else(Scan::default, |first| first.bits.scan(key));
        Place { chunk: chunks.start, end: chunks.end, chain, scan }
    }
}

/// A table at a hook.
pub(super) struct TableHook {
    pub program: Arc<Program>,
    /// The built-in chain of the hook.
    pub chain: u32,
}

impl fmt::Debug for TableHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableHook").field("table", &self.program.name).field("chain", &self.chain).finish()
    }
}

impl HookFn for TableHook {
    fn name(&self) -> &str {
        super::table_text(self.program.name)
    }

    fn run(&self, cx: &mut HookCx<'_, '_>, list: &mut SkbList, verdicts: &mut Verdicts) {
        let program = &*self.program;
        let Some(chain) = program.chains.get(self.chain as usize) else { return };
        let cells = program.counts.of(cx.hands.lcore());
        let policy = program.rules.len() + self.chain as usize;
        let traced = program.traced || cx.env.snap.hooks.tracing();
        if let Some((end, cell)) = if traced { None } else { program.same_for_all(chain, policy) } {
            let bytes = list.iter().map(|skb| skb.network_len() as u64).sum();
            if let Some(cell) = cells.get(cell) {
                cell.add(list.len() as u64, bytes);
            }
            if end == Verdict::Drop {
                (0..list.len()).for_each(|i| verdicts.set(i, end));
            }
            return;
        }
        let n = list.len().min(SkbList::CAPACITY);
        let mut keys = [Key::default(); SkbList::CAPACITY];
        let mut scans = [Scan::default(); SkbList::CAPACITY];
        let devices_at = program.with_devices.then_some(cx.hook);
        for (skb, key) in list.iter_mut().zip(&mut keys) {
            gather_headers(skb);
            *key = key_of(skb, devices_at, program.with_ports);
        }
        let first = program.chunks.get(chain.chunks.start as usize).filter(|_| !chain.chunks.is_empty());
        if let Some(first) = first {
            first.bits.scan_burst(&keys[..n], &mut scans[..n]);
        }
        // Traces are of the walk.
        let first = first.filter(|_| !traced);
        let dropping = chain.policy == Some(Policy::Drop);
        let (mut packets, mut bytes) = (0, 0);
        let mut stack = Stack::new();
        let mut walk = Walk { program, cx, cells, chain: self.chain, traced };
        for (i, skb) in list.iter_mut().enumerate() {
            let Some((key, scan)) = keys.get_mut(i).zip(scans.get_mut(i)) else { return };
            let begun = first.and_then(|first| program.begin(&chain.chunks, first, cells, key, scan));
            let end = begun.unwrap_or_else(|| {
                stack.clear();
                let Range { start, end } = chain.chunks;
                let at = Place { chunk: start, end, chain: self.chain, scan: *scan };
                walk.run(skb, key, at, &mut stack)
            });
            match end {
                End::Verdict(Verdict::Accept) => {}
                End::Verdict(verdict) => verdicts.set(i, verdict),
                End::Policy => {
                    packets += 1;
                    bytes += u64::from(key.len);
                    if traced {
                        walk.trace(skb, self.chain, TraceKind::Policy, usize::MAX);
                    }
                    if dropping {
                        verdicts.set(i, Verdict::Drop);
                    }
                }
            }
        }
        if packets != 0
            && let Some(cell) = cells.get(policy)
        {
            cell.add(packets, bytes);
        }
    }
}
