//! The routing tables main and local, merged as the kernel merges them as long as there are no policy rules.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use ipnet::Ipv4Net;

use super::chain::Chain;
use super::effects::{Effects, FibChange};
use super::info::{Info, InfoId, Infos, Slot};
use crate::ip::{Refusal, RouteVerb, Scope};

/// Every route.
#[derive(Debug)]
pub(super) struct Routes {
    pub(super) infos: Infos,
    chains: HashMap<Ipv4Net, Chain>,
    /// Prefixes there are of each length.
    lengths: [u32; 33],
    /// Routes of each prefix length whose scope is link or closer: those that may lead to a gateway.
    near: [u32; 33],
}

/// A change that a verb makes to a chain.
enum Place {
    Insert(usize),
    Replace(usize),
    Leave,
}

impl Routes {
    pub(super) fn new() -> Routes {
        Routes { infos: Infos::default(), chains: HashMap::new(), lengths: [0; 33], near: [0; 33] }
    }

    /// The routes of a prefix, best first.
    pub(super) fn chain(&self, prefix: Ipv4Net) -> &[InfoId] {
        self.chains.get(&prefix).map_or(&[], Chain::as_slice)
    }

    /// Every prefix and its routes, in no order.
    pub(super) fn chains(&self) -> impl Iterator<Item = (Ipv4Net, &[InfoId])> {
        self.chains.iter().map(|(prefix, chain)| (*prefix, chain.as_slice()))
    }

    /// Prefix lengths, longest first, that may hold a route of this scope or a closer one.
    pub(super) fn lengths(&self, scope: Scope) -> impl Iterator<Item = u8> {
        let counts = if scope.0 >= Scope::LINK.0 { &self.near } else { &self.lengths };
        (0..=32).rev().filter(|length| counts[usize::from(*length)] > 0)
    }

    /// Adds a route, as the verb has it (`fib_table_insert`).
    pub(super) fn insert(
        &mut self,
        prefix: Ipv4Net,
        id: InfoId,
        verb: RouteVerb,
        effects: &mut Effects,
    ) -> Result<(), Refusal> {
        let place = self.place(prefix, id, verb);
        match place {
            Ok(Place::Insert(at)) => self.insert_at(prefix, at, id, effects),
            Ok(Place::Replace(at)) => self.replace_at(prefix, at, id, effects),
            Ok(Place::Leave) | Err(_) => self.infos.drop_unused(id),
        }
        place.map(|_| ())
    }

    fn place(&self, prefix: Ipv4Net, id: InfoId, verb: RouteVerb) -> Result<Place, Refusal> {
        let chain = self.chain(prefix);
        let rank = |info: &Info| (std::cmp::Reverse(info.table), info.priority);
        let own = rank(&self.infos.get(id).info);
        let start = chain.partition_point(|i| rank(&self.infos.get(*i).info) < own);
        let equals = chain[start..].iter().take_while(|i| rank(&self.infos.get(**i).info) == own).count();
        let end = start + equals;
        let same = chain[start..end].iter().position(|i| *i == id);
        match (verb, same) {
            (RouteVerb::Change, _) if equals == 0 => Err(Refusal::NoSuchEntry),
            _ if equals == 0 => Ok(Place::Insert(start)),
            (RouteVerb::Change | RouteVerb::Replace, None) => Ok(Place::Replace(start)),
            (RouteVerb::Change | RouteVerb::Replace, Some(0)) => Ok(Place::Leave),
            (RouteVerb::Append, None) => Ok(Place::Insert(end)),
            _ => Err(Refusal::Exists),
        }
    }

    fn insert_at(&mut self, prefix: Ipv4Net, at: usize, id: InfoId, effects: &mut Effects) {
        match self.chains.entry(prefix) {
            Entry::Occupied(mut chain) => chain.get_mut().insert(at, id),
            Entry::Vacant(vacant) => {
                vacant.insert(Chain::One(id));
                self.lengths[usize::from(prefix.prefix_len())] += 1;
            }
        }
        self.take(id, prefix);
        if self.decides(prefix, at) {
            self.emit(prefix, effects);
        }
    }

    fn replace_at(&mut self, prefix: Ipv4Net, at: usize, id: InfoId, effects: &mut Effects) {
        let Some(chain) = self.chains.get_mut(&prefix) else { return };
        let old = chain.as_slice()[at];
        chain.replace(at, id);
        self.take(id, prefix);
        let decides = self.decides(prefix, at);
        self.give_back(old, prefix);
        if decides {
            self.emit(prefix, effects);
        }
    }

    /// Takes away the best route of the prefix that `matches`; false if none does.
    pub(super) fn remove(
        &mut self,
        prefix: Ipv4Net,
        matches: impl Fn(&Slot) -> bool,
        effects: &mut Effects,
    ) -> bool {
        let at = self.chain(prefix).iter().position(|id| matches(self.infos.get(*id)));
        if let Some(at) = at {
            let decides = self.decides(prefix, at);
            self.remove_at(prefix, at);
            if decides {
                self.emit(prefix, effects);
            }
        }
        at.is_some()
    }

    fn remove_at(&mut self, prefix: Ipv4Net, at: usize) {
        let Entry::Occupied(mut chain) = self.chains.entry(prefix) else { return };
        let id = chain.get().as_slice()[at];
        match chain.get().without(at) {
            Some(rest) => *chain.get_mut() = rest,
            None => {
                chain.remove();
                self.lengths[usize::from(prefix.prefix_len())] -= 1;
            }
        }
        self.give_back(id, prefix);
    }

    fn take(&mut self, id: InfoId, prefix: Ipv4Net) {
        self.near[usize::from(prefix.prefix_len())] += u32::from(is_near(&self.infos.get(id).info));
        self.infos.take(id, prefix);
    }

    fn give_back(&mut self, id: InfoId, prefix: Ipv4Net) {
        self.near[usize::from(prefix.prefix_len())] -= u32::from(is_near(&self.infos.get(id).info));
        self.infos.give_back(id, prefix);
    }

    /// Takes away every route whose record is dead.
    pub(super) fn flush(&mut self, dead: &[InfoId], effects: &mut Effects) {
        for prefix in self.prefixes_of(dead) {
            let mut won = false;
            while let Some(at) = self.chain(prefix).iter().position(|id| self.infos.get(*id).dead) {
                won |= self.decides(prefix, at);
                self.remove_at(prefix, at);
            }
            if won {
                self.emit(prefix, effects);
            }
        }
    }

    /// Tells again of the prefixes that a changed record wins.
    pub(super) fn republish(&self, changed: &[InfoId], effects: &mut Effects) {
        for prefix in self.prefixes_of(changed) {
            let first = self.chain(prefix).iter().position(|id| changed.contains(id));
            if first.is_some_and(|at| self.decides(prefix, at)) {
                self.emit(prefix, effects);
            }
        }
    }

    fn prefixes_of(&self, ids: &[InfoId]) -> Vec<Ipv4Net> {
        if ids.is_empty() {
            return Vec::new();
        }
        self.infos.prefixes(ids).unwrap_or_else(|| {
            let wanted: std::collections::HashSet<InfoId> = ids.iter().copied().collect();
            let uses = |chain: &[InfoId]| chain.iter().any(|id| wanted.contains(id));
            let mut prefixes: Vec<_> = self.chains().filter(|(_, c)| uses(c)).map(|(p, _)| p).collect();
            prefixes.sort_unstable();
            prefixes
        })
    }

    /// Place of the route that takes the packets: the first that has a next hop to use.
    fn winner(&self, prefix: Ipv4Net) -> Option<usize> {
        self.chain(prefix).iter().position(|id| self.infos.get(*id).usable())
    }

    /// True if a change at this place of the chain may be one of what packets meet.
    fn decides(&self, prefix: Ipv4Net, at: usize) -> bool {
        self.winner(prefix).is_none_or(|winner| at <= winner)
    }

    fn emit(&self, prefix: Ipv4Net, effects: &mut Effects) {
        let winner = self.winner(prefix).map(|at| self.chain(prefix)[at]);
        let route = winner.map(|id| self.infos.get(id).fib.clone());
        effects.fib.push(FibChange { prefix, route });
    }
}

/// True if the route may lead to a gateway.
fn is_near(info: &Info) -> bool {
    info.scope.0 >= Scope::LINK.0
}
