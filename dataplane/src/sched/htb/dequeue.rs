//! Which packet goes next.

use std::time::Duration;

use super::Htb;
use super::tree::bits;
use crate::sched::packet::{PktList, SchedPkt};
use crate::sched::qdisc::SchedCx;
use crate::time::Instant;

/// Classes that are looked at because they are due, in one call.
const EVENTS: u32 = 64;
/// Ask again after this long, whatever happens.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

impl<P: SchedPkt> Htb<P> {
    /// Appends at most `most` packets that may go now. Each is charged before the next is chosen.
    pub(super) fn dequeue_up_to(&mut self, cx: &mut SchedCx<'_, P>, most: usize, list: &mut PktList<P>) {
        let mut most = most.min(list.remaining_capacity());
        while most > 0
            && let Some((pkt, len)) = self.direct.pop(cx.slab)
        {
            self.cells.sent(len);
            list.push(pkt);
            most -= 1;
        }
        if most == 0 || self.cells.qlen.get() == 0 {
            return;
        }
        let now = cx.now.as_nanos();
        self.tree.run_events(now, EVENTS, &self.cells.overlimits);
        while most > 0
            && let Some(pkt) = self.next(cx)
        {
            list.push(pkt);
            most -= 1;
        }
        if most > 0 && self.cells.qlen.get() > 0 {
            let next = Instant::from_nanos(self.tree.wheel.next().max(now));
            cx.not_before(next.min(cx.now + LONGEST_WAIT));
        }
    }

    /// The next packet of a class.
    #[inline]
    fn next(&mut self, cx: &mut SchedCx<'_, P>) -> Option<P> {
        for level in 0..self.tree.row_mask.len() {
            for prio in bits(self.tree.row_mask[level]) {
                if let Some(pkt) = self.next_of_row(cx, level, prio) {
                    return Some(pkt);
                }
            }
        }
        None
    }

    #[inline]
    fn next_of_row(&mut self, cx: &mut SchedCx<'_, P>, level: usize, prio: usize) -> Option<P> {
        let mut start = self.tree.pick(level, prio)?;
        let mut leaf = start;
        loop {
            if let Some((pkt, len)) = self.take(cx, leaf) {
                self.account(cx, leaf, level, prio, len);
                return Some(pkt);
            }
            // A discipline that holds packets back: it has said until when.
            let empty = self.tree.cells[leaf as usize].qlen.get() == 0;
            if empty {
                self.tree.deactivate(leaf);
            } else {
                self.tree.end_turn(leaf, level, prio);
            }
            let next = self.tree.pick(level, prio)?;
            if empty && leaf == start {
                start = next;
            } else if next == start {
                return None;
            }
            leaf = next;
        }
    }

    /// The oldest packet of a leaf, and its length.
    #[inline]
    fn take(&mut self, cx: &mut SchedCx<'_, P>, leaf: u32) -> Option<(P, u32)> {
        let queue = &mut self.tree.leaves[leaf as usize];
        if !queue.grafted {
            return queue.fifo.pop(cx.slab);
        }
        let pkt = self.grafts[leaf as usize].as_mut()?.dequeue(cx)?;
        let len = pkt.qdisc_len();
        Some((pkt, len))
    }

    /// A packet leaves a leaf in its turn on this level.
    #[inline]
    fn account(&mut self, cx: &SchedCx<'_, P>, leaf: u32, level: usize, prio: usize, len: u32) {
        self.cells.sent(len);
        if self.tree.leaves[leaf as usize].spend(level, len) {
            self.tree.end_turn(leaf, level, prio);
        }
        self.tree.came(leaf, -1, -i64::from(len));
        self.tree.follow_backlog(leaf);
        self.tree.charge(leaf, level, len, cx.now.as_nanos(), &self.cells.overlimits);
    }
}
