//! What became of the frames of one direction: exact counts of loss, order and duplicates.

use crate::frame::Stamp;

/// How far back a frame is remembered. More than all rings and queues between two ports hold.
const WINDOW: u64 = 1 << 18;

/// Counts frames as they come back.
#[derive(Clone, Debug)]
pub struct Tally {
    trial: u16,
    /// One above the highest number seen.
    next: u64,
    /// A bit for each of the last [`WINDOW`] numbers.
    seen: Vec<u64>,
    /// Frames that came, each counted once.
    pub received: u64,
    /// Frames that came after one sent later (RFC 4737).
    pub reordered: u64,
    /// Frames that came again.
    pub duplicates: u64,
    /// Frames of an earlier trial, and frames that are none of ours.
    pub stray: u64,
}

impl Tally {
    /// Nothing yet.
    pub fn new(trial: u16) -> Tally {
        let seen = vec![0; (WINDOW / 64) as usize];
        Tally { trial, next: 0, seen, received: 0, reordered: 0, duplicates: 0, stray: 0 }
    }

    /// Counts a frame; `false` if it is not one of this trial.
    #[inline]
    pub fn count(&mut self, stamp: Option<Stamp>) -> bool {
        let Some(stamp) = stamp.filter(|stamp| stamp.trial == self.trial) else {
            self.stray += 1;
            return false;
        };
        if stamp.seq >= self.next {
            self.advance(stamp.seq);
        } else if self.next - stamp.seq > WINDOW || self.was_seen(stamp.seq) {
            self.duplicates += 1;
            return true;
        } else {
            self.reordered += 1;
        }
        self.mark(stamp.seq);
        self.received += 1;
        true
    }

    /// Forgets what falls out of the window when `seq` enters it.
    #[inline]
    fn advance(&mut self, seq: u64) {
        let from = self.next.max(seq.saturating_sub(WINDOW - 1));
        if seq - from >= WINDOW - 1 {
            self.seen.fill(0);
        } else {
            for passed in from..=seq {
                let (word, bit) = place(passed);
                self.seen[word] &= !bit;
            }
        }
        self.next = seq + 1;
    }

    #[inline]
    fn was_seen(&self, seq: u64) -> bool {
        let (word, bit) = place(seq);
        self.seen[word] & bit != 0
    }

    #[inline]
    fn mark(&mut self, seq: u64) {
        let (word, bit) = place(seq);
        self.seen[word] |= bit;
    }
}

/// Word and bit of a number.
#[inline]
fn place(seq: u64) -> (usize, u64) {
    let at = seq % WINDOW;
    ((at / 64) as usize, 1 << (at % 64))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stamp(seq: u64) -> Option<Stamp> {
        Some(Stamp { trial: 1, seq, tsc: 0 })
    }

    fn tally_of(seqs: impl IntoIterator<Item = u64>) -> Tally {
        let mut tally = Tally::new(1);
        seqs.into_iter().for_each(|seq| assert!(tally.count(stamp(seq))));
        tally
    }

    #[test]
    fn loss_order_and_duplicates_are_told_apart() {
        let tally = tally_of([0, 1, 4, 3, 3, 5, 0]);
        assert_eq!((tally.received, tally.reordered, tally.duplicates), (5, 1, 2));
    }

    #[test]
    fn other_trials_do_not_count() {
        let mut tally = Tally::new(2);
        assert!(!tally.count(stamp(0)));
        assert!(!tally.count(None));
        assert_eq!((tally.received, tally.stray), (0, 2));
    }

    #[test]
    fn long_gaps_forget_the_past() {
        let tally = tally_of([5, 5 + WINDOW, 6 + WINDOW, 7 + WINDOW, 8, 7 + 2 * WINDOW]);
        assert_eq!((tally.received, tally.reordered, tally.duplicates), (6, 1, 0));
    }

    proptest! {
        /// Against a set of all numbers, as far back as the window.
        #[test]
        fn counts_are_exact(seqs in prop::collection::vec(0u64..2000, 0..500), base in 0u64..u64::MAX / 2) {
            let tally = tally_of(seqs.iter().map(|seq| base + seq));
            let distinct: std::collections::BTreeSet<_> = seqs.iter().collect();
            prop_assert_eq!(tally.received, distinct.len() as u64);
            prop_assert_eq!(tally.duplicates, (seqs.len() - distinct.len()) as u64);
        }
    }
}
