//! Which packet goes next.

use std::time::Duration;

use super::Htb;
use super::class::LEVELS;
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
        let most = most.min(list.remaining_capacity());
        if most == 0 || self.cells.qlen.get() == 0 {
            return;
        }
        let (mut packets, mut bytes) = (0, 0);
        while packets < most
            && let Some((pkt, len)) = self.direct.pop(cx.slab)
        {
            list.push(pkt);
            packets += 1;
            bytes += u64::from(len);
        }
        let now = cx.now.as_nanos();
        self.tree.run_events(now, EVENTS, &self.cells);
        while packets < most
            && let Some((pkt, len)) = self.next(cx)
        {
            pkt.prefetch();
            list.push(pkt);
            packets += 1;
            bytes += u64::from(len);
        }
        self.cells.sent_all(packets as u64, bytes);
        if packets < most && self.cells.qlen.get() > 0 {
            let next = Instant::from_nanos(self.tree.wheel.next().max(now));
            cx.not_before(next.min(cx.now + LONGEST_WAIT));
        }
    }

    /// The next packet of a class, and its length.
    #[inline]
    fn next(&mut self, cx: &mut SchedCx<'_, P>) -> Option<(P, u32)> {
        let mut rows = self.tree.row_mask;
        while rows != 0 {
            let row = rows.trailing_zeros() as usize;
            let next = self.next_of_row(cx, row / LEVELS % LEVELS, row % LEVELS);
            if next.is_some() {
                return next;
            }
            rows &= rows - 1;
        }
        None
    }

    #[inline]
    fn next_of_row(&mut self, cx: &mut SchedCx<'_, P>, level: usize, prio: usize) -> Option<(P, u32)> {
        let start = self.tree.pick(level, prio)?;
        let mut leaf = start;
        loop {
            if let Some((pkt, len)) = self.take(cx, leaf) {
                self.account(cx, leaf, level, prio, len);
                return Some((pkt, len));
            }
            // A discipline that holds packets back: it has said until when.
            self.tree.end_turn(leaf, level, prio);
            leaf = self.tree.pick(level, prio)?;
            if leaf == start {
                return None;
            }
        }
    }

    /// The oldest packet of a leaf, and its length.
    #[inline]
    fn take(&mut self, cx: &mut SchedCx<'_, P>, leaf: u32) -> Option<(P, u32)> {
        if !self.tree.classes[leaf as usize].grafted {
            let queue = &mut self.tree.leaves[leaf as usize];
            let taken = queue.fifo.pop(cx.slab);
            queue.show_held();
            return taken;
        }
        let pkt = self.grafts[leaf as usize].as_mut()?.dequeue(cx)?;
        let len = pkt.qdisc_len();
        self.tree.came(leaf, -1, -i64::from(len));
        Some((pkt, len))
    }

    /// A packet leaves a leaf in its turn on this level.
    #[inline]
    fn account(&mut self, cx: &SchedCx<'_, P>, leaf: u32, level: usize, prio: usize, len: u32) {
        let queue = &mut self.tree.leaves[leaf as usize];
        if let Some(waited) = self.sojourn.left(leaf, cx.now.as_nanos()) {
            queue.cells.sojourn.record(waited);
        }
        if queue.spend(level, len) {
            self.tree.end_turn(leaf, level, prio);
            self.tree.prefetch_next(leaf, level, prio, cx.slab);
        } else {
            queue.fifo.prefetch_head(cx.slab);
        }
        if self.tree.is_empty(leaf) {
            self.tree.deactivate(leaf);
        }
        self.tree.charge(leaf, level, len, cx.now.as_nanos(), &self.cells.overlimits);
    }
}
