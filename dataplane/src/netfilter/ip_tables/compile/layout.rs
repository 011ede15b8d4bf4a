//! The steps of chains, and the chunks that classify them.
//!
//! A chain that is called is written down where the call is, again for every call: its rules then also demand what the call
//! demands, the end of the chain is the step behind its last one, and one classifier finds the rules of caller and called
//! at once. Chains that would make too many steps that way are called instead.

use std::ops::Range;

use crate::netfilter::ip_tables::classify::{CHUNK, Chunk};
use crate::netfilter::ip_tables::demands::Filter;
use crate::netfilter::ip_tables::program::{
    Action, Chain, ChunkAt, Deed, Exact, NO_RULE, Rule, Step, StepAt,
};
use crate::netfilter::ip_tables::rule::IpMatch;

/// Chains of more steps than this call what they would call behind them.
const MOST: usize = 4096;
/// Chains of fewer steps ask every rule.
const FEW: usize = 3;

/// The steps of all chains that packets begin in, and their chunks, which are noted in `chains`. `demands` are those of the
/// rules, `order` has callers before those they call. Unless `inline`, every call stays one.
pub(super) fn steps(
    chains: &mut [Chain],
    rules: &[Rule],
    demands: &[(Filter, Exact)],
    order: &[u32],
    inline: bool,
) -> (Vec<Step>, Vec<ChunkAt>) {
    let (mut steps, mut chunks) = (Vec::new(), Vec::new());
    let mut writer =
        Writer { chains, rules, demands, inline, sizes: sizes(chains, rules, order), ..Writer::default() };
    writer.called = chains.iter().map(|chain| chain.policy.is_some()).collect();
    let mut places = vec![0..0; chains.len()];
    for &chain in order {
        // All callers have been written down by now.
        if writer.called.get(chain as usize) == Some(&true)
            && let Some(place) = places.get_mut(chain as usize)
        {
            *place = writer.whole(chain, &mut steps, &mut chunks);
        }
    }
    chains.iter_mut().zip(places).for_each(|(chain, place)| chain.chunks = place);
    (steps, chunks)
}

/// Steps each chain makes if all calls in it are written down.
fn sizes(chains: &[Chain], rules: &[Rule], order: &[u32]) -> Vec<usize> {
    let mut sizes = vec![0usize; chains.len()];
    for &number in order.iter().rev() {
        let Some(chain) = chains.get(number as usize) else { continue };
        let size = rules_of(chain, rules).fold(0usize, |sum, (_, rule)| match rule.action {
            Action::Jump { chain, .. } => {
                sum.saturating_add(2).saturating_add(sizes.get(chain as usize).copied().unwrap_or(0))
            }
            _ => sum.saturating_add(1),
        });
        if let Some(place) = sizes.get_mut(number as usize) {
            *place = size;
        }
    }
    sizes
}

fn rules_of<'a>(chain: &Chain, rules: &'a [Rule]) -> impl Iterator<Item = (usize, &'a Rule)> {
    let range = chain.rules.start as usize..chain.rules.end as usize;
    range.clone().zip(rules.get(range).unwrap_or_default())
}

/// A place in the draft of a chain that is not known yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Label(usize);

/// The end of the chain whose steps are drafted.
const END: Label = Label(0);

/// A step whose labels stand for places.
struct Draft {
    filter: Filter,
    exact: Exact,
    rule: u32,
    deed: Planned,
}

enum Planned {
    Deed(Deed),
    Enter(Label),
    Leave(Label),
}

/// The chain cannot stand where it is called.
struct CallIt;

#[derive(Default)]
struct Writer<'a> {
    chains: &'a [Chain],
    rules: &'a [Rule],
    demands: &'a [(Filter, Exact)],
    inline: bool,
    sizes: Vec<usize>,
    /// Chains that some call is left of, or a hook begins with.
    called: Vec<bool>,
    /// Of the chain that is drafted:
    drafts: Vec<Draft>,
    labels: Vec<usize>,
}

impl Writer<'_> {
    /// Writes a chain down; its chunks.
    fn whole(&mut self, chain: u32, steps: &mut Vec<Step>, chunks: &mut Vec<ChunkAt>) -> Range<u32> {
        self.drafts.clear();
        self.labels = vec![0];
        // Nothing to be refused at the outermost level: there is no demand of a call.
        let _ = self.chain(chain, None);
        self.labels[END.0] = self.drafts.len();
        let first = chunks.len() as u32;
        let few = self.drafts.len() < FEW;
        let drafts = std::mem::take(&mut self.drafts);
        let filters: Vec<Filter> = drafts.iter().map(|draft| draft.filter.clone()).collect();
        for (i, part) in filters.chunks(CHUNK).enumerate() {
            let bits = if few { Chunk::linear(part.len()) } else { Chunk::new(part) };
            chunks.push(ChunkAt { bits, first: (steps.len() + i * CHUNK) as u32 });
        }
        let last = chunks.len() as u32;
        steps.extend(drafts.into_iter().map(|draft| {
            let exact = if few && self.asks(draft.rule) { Exact::Never } else { draft.exact };
            Step { exact, rule: draft.rule, deed: self.deed(&draft.deed, first..last) }
        }));
        first..last
    }

    /// Drafts the steps of a chain: the outermost one, or one in the place of a call whose demands and end these are.
    fn chain(&mut self, number: u32, call: Option<(&Filter, Label)>) -> Result<(), CallIt> {
        let (chains, rules) = (self.chains, self.rules);
        let Some(chain) = chains.get(number as usize) else { return Ok(()) };
        for (at, rule) in rules_of(chain, rules) {
            let Some((filter, exact)) = self.demands.get(at) else { continue };
            let filter = match call {
                Some((outer, _)) => filter.clone().and(outer),
                None => filter.clone(),
            };
            if call.is_some() && !filter.is_simple() {
                return Err(CallIt);
            }
            let deed = match (&rule.action, call) {
                (Action::Next, _) => Deed::Next,
                (Action::Accept, _) => Deed::Accept,
                (Action::Drop, _) => Deed::Drop,
                (Action::Extension(_), _) => Deed::Extension,
                (Action::Return, None) => Deed::Return,
                (Action::Return, Some((_, end))) => {
                    self.draft(at, filter, *exact, Planned::Leave(end));
                    continue;
                }
                (&Action::Jump { chain, goto }, _) => {
                    self.call((at, chain, goto), (filter, *exact), call.map(|(_, end)| end))?;
                    continue;
                }
            };
            self.draft(at, filter, *exact, Planned::Deed(deed));
        }
        Ok(())
    }

    /// Drafts a call by rule `at`. `end` is the end of the chain it stands in, if that is not the outermost one.
    fn call(
        &mut self,
        (at, chain, goto): (usize, u32, bool),
        (filter, exact): (Filter, Exact),
        end: Option<Label>,
    ) -> Result<(), CallIt> {
        let before = self.drafts.len();
        if self.has_room(chain) {
            let past = Label(self.labels.len());
            self.labels.push(0);
            let back = if goto { end.unwrap_or(END) } else { past };
            self.draft(at, filter.clone(), exact, Planned::Enter(past));
            if self.chain(chain, Some((&filter, back))).is_ok() {
                if goto {
                    let rule = NO_RULE as usize;
                    self.draft(rule, filter, Exact::Always, Planned::Leave(back));
                }
                self.labels[past.0] = self.drafts.len();
                return Ok(());
            }
            self.drafts.truncate(before);
            // It would be refused at every other call too, or at most of them.
            if let Some(size) = self.sizes.get_mut(chain as usize) {
                *size = MOST;
            }
        }
        if goto && end.is_some() {
            // What is called cannot know that its end is in the middle of another chain.
            return Err(CallIt);
        }
        if let Some(called) = self.called.get_mut(chain as usize) {
            *called = true;
        }
        self.draft(at, filter, exact, Planned::Deed(Deed::Call { chain, goto }));
        Ok(())
    }

    fn has_room(&self, chain: u32) -> bool {
        let size = self.sizes.get(chain as usize).copied().unwrap_or(MOST);
        self.inline && size < MOST && self.drafts.len().saturating_add(size) < MOST
    }

    fn draft(&mut self, rule: usize, filter: Filter, exact: Exact, deed: Planned) {
        self.drafts.push(Draft { filter, exact, rule: rule as u32, deed });
    }

    fn deed(&self, planned: &Planned, chunks: Range<u32>) -> Deed {
        let place = |label: &Label| {
            let at = self.labels.get(label.0).copied().unwrap_or(0);
            let chunk = chunks.start + (at / CHUNK) as u32;
            let place = if chunk < chunks.end { at % CHUNK } else { 0 };
            StepAt { chunk, place: place as u16 }
        };
        match planned {
            Planned::Deed(deed) => *deed,
            Planned::Enter(past) => Deed::Enter { past: place(past) },
            Planned::Leave(to) => Deed::Leave { to: place(to) },
        }
    }

    /// The rule asks something.
    fn asks(&self, rule: u32) -> bool {
        let nothing = |rule: &Rule| {
            rule.ip == IpMatch::default()
                && rule.iif.is_none()
                && rule.oif.is_none()
                && rule.matches.is_empty()
        };
        self.rules.get(rule as usize).is_some_and(|rule| !nothing(rule))
    }
}
