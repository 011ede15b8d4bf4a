//! Who takes part in a round, and whose turn it is: what a row of the tree and a feed of a class are.
//!
//! Members are small numbers, served in ascending order, as the kernel serves them by classid. A class leaves a round and
//! comes back with almost every packet it sends at its own rate; since its number is its place, it comes back to its
//! place, and to its turn if it was its turn. In a list it would come back at the end, and a class that does so more
//! often than others would never get its share of what is left over.

/// A round: its members and whose turn it is.
#[derive(Clone, Debug, Default)]
pub(super) struct Round {
    /// The first member from here on is next.
    turn: u32,
    members: IdSet,
}

impl Round {
    /// Makes room for members below `limit`.
    pub(super) fn reserve(&mut self, limit: usize) {
        self.members.reserve(limit);
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    #[inline]
    pub(super) fn join(&mut self, member: u32) {
        self.members.insert(member);
    }

    /// If it was this member's turn, it still is when it comes back before anybody asks for the next.
    #[inline]
    pub(super) fn leave(&mut self, member: u32) {
        self.members.remove(member);
    }

    /// Whose turn it is; `None` at the end of the round.
    #[inline]
    pub(super) fn seek(&mut self) -> Option<u32> {
        self.turn = self.members.next(self.turn)?;
        Some(self.turn)
    }

    /// Ends the turn of the one that [`seek`](Self::seek) found.
    #[inline]
    pub(super) fn advance(&mut self) {
        self.turn += 1;
    }

    /// Starts from the beginning.
    #[inline]
    pub(super) fn rewind(&mut self) {
        self.turn = 0;
    }

    /// Who comes after a member, in this round or in the next.
    #[inline]
    pub(super) fn after(&self, member: u32) -> Option<u32> {
        self.members.next(member + 1).or_else(|| self.members.next(0))
    }

    /// Without members; the next round starts from the beginning.
    pub(super) fn clear(&mut self) {
        self.turn = 0;
        self.members.clear();
    }
}

/// A set of small numbers: up to three levels of 64-bit words, each bit of an upper one telling that a word below is
/// not 0. All operations take a constant number of steps. 64 members need no memory but the first word.
#[derive(Clone, Debug, Default)]
struct IdSet {
    top: u64,
    /// Empty while `top` is the set itself.
    middle: Vec<u64>,
    /// Empty while `middle` is the set itself.
    low: Vec<u64>,
}

impl IdSet {
    fn reserve(&mut self, limit: usize) {
        if limit > 64 && self.middle.is_empty() {
            self.middle = vec![0; 64];
            self.middle[0] = self.top;
            self.top = u64::from(self.top != 0);
        }
        if limit > 4096 && self.low.is_empty() {
            self.low = vec![0; 4096];
            self.low[..64].copy_from_slice(&self.middle);
            let first = self.top;
            self.middle.fill(0);
            self.middle[0] = first;
            self.top = u64::from(first != 0);
        }
    }

    #[inline]
    fn is_empty(&self) -> bool {
        self.top == 0
    }

    #[inline(always)]
    fn insert(&mut self, id: u32) {
        let mut id = id;
        if let Some(word) = self.low.get_mut(id as usize >> 6) {
            *word |= bit(id);
            id >>= 6;
        }
        if let Some(word) = self.middle.get_mut(id as usize >> 6) {
            *word |= bit(id);
            id >>= 6;
        }
        self.top |= bit(id);
    }

    #[inline(always)]
    fn remove(&mut self, id: u32) {
        let mut id = id;
        if let Some(word) = self.low.get_mut(id as usize >> 6) {
            *word &= !bit(id);
            if *word != 0 {
                return;
            }
            id >>= 6;
        }
        if let Some(word) = self.middle.get_mut(id as usize >> 6) {
            *word &= !bit(id);
            if *word != 0 {
                return;
            }
            id >>= 6;
        }
        self.top &= !bit(id);
    }

    /// The first member that is not below `from`.
    #[inline(always)]
    fn next(&self, from: u32) -> Option<u32> {
        if self.low.is_empty() {
            return self.next_above_low(from);
        }
        let word = self.low.get(from as usize >> 6)?;
        if let Some(found) = first_from(*word, from & 63) {
            return Some(from & !63 | found);
        }
        let word = self.next_above_low((from >> 6) + 1)?;
        Some(word << 6 | self.low[word as usize].trailing_zeros())
    }

    #[inline]
    fn next_above_low(&self, from: u32) -> Option<u32> {
        if self.middle.is_empty() {
            return first_from(self.top, from);
        }
        let word = self.middle.get(from as usize >> 6)?;
        if let Some(found) = first_from(*word, from & 63) {
            return Some(from & !63 | found);
        }
        let word = first_from(self.top, (from >> 6) + 1)?;
        Some(word << 6 | self.middle[word as usize].trailing_zeros())
    }

    fn clear(&mut self) {
        self.top = 0;
        self.middle.fill(0);
        self.low.fill(0);
    }
}

#[inline]
fn bit(id: u32) -> u64 {
    1 << (id & 63)
}

/// The lowest bit that is set, of those from `from` on.
#[inline]
fn first_from(word: u64, from: u32) -> Option<u32> {
    let rest = word.checked_shr(from)?;
    (rest != 0).then(|| from + rest.trailing_zeros())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_set_is_a_set(
            limit in prop_oneof![Just(64u32), Just(65), Just(4096), Just(4097), Just(65536)],
            ops in prop::collection::vec((any::<u32>(), 0..3u8), 1..200),
        ) {
            let (mut set, mut model) = (IdSet::default(), BTreeSet::new());
            set.reserve(limit as usize);
            for (id, op) in ops {
                let id = id % limit;
                if op == 0 {
                    set.insert(id);
                    model.insert(id);
                } else if op == 1 {
                    set.remove(id);
                    model.remove(&id);
                }
                prop_assert_eq!(set.is_empty(), model.is_empty());
                for from in [0, id, id + 1, limit - 1, limit] {
                    prop_assert_eq!(set.next(from), model.range(from..).next().copied(), "from {}", from);
                }
            }
        }

        #[test]
        fn a_set_grows_with_what_it_holds(ids in prop::collection::btree_set(0..64u32, 0..20)) {
            let mut set = IdSet::default();
            ids.iter().for_each(|&id| set.insert(id));
            for limit in [10, 100, 5000, 100] {
                set.reserve(limit);
                let mut at = 0;
                let held: BTreeSet<u32> = std::iter::from_fn(|| {
                    let id = set.next(at)?;
                    at = id + 1;
                    Some(id)
                }).collect();
                prop_assert_eq!(&held, &ids);
            }
        }
    }

    #[test]
    fn who_comes_back_in_time_has_its_turn() {
        let mut round = Round::default();
        [3, 5, 9].into_iter().for_each(|id| round.join(id));
        assert_eq!(round.seek(), Some(3));
        round.advance();
        assert_eq!(round.seek(), Some(5));
        round.leave(5);
        round.join(5);
        assert_eq!(round.seek(), Some(5));
        round.leave(5);
        assert_eq!(round.seek(), Some(9));
        round.join(5);
        assert_eq!(round.seek(), Some(9), "too late");
        round.advance();
        assert_eq!(round.seek(), None);
        round.rewind();
        assert_eq!(round.seek(), Some(3));
        assert_eq!((round.after(3), round.after(9)), (Some(5), Some(3)));
    }
}
