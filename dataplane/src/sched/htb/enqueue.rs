//! Which class a packet belongs to, and its way into the queue.

use std::sync::Arc;

use arrayvec::ArrayVec;

use super::{DIRECT, Found, Htb};
use crate::core::drop_reason::DropReason;
use crate::sched::handle::TcHandle;
use crate::sched::packet::{PktList, SchedPkt};
use crate::sched::qdisc::{Classified, Enqueued, Held, SchedCx, Xmit};
use crate::skb::SkbList;

/// Packets and their leaves.
type FoundList<P> = ArrayVec<(P, u32), { SkbList::CAPACITY }>;

/// Filters of inner classes may name inner classes again, their own too: so often at most.
const MOST_HOPS: usize = 16;

impl<P: SchedPkt> Htb<P> {
    /// All packets find their classes first, so that the memory of the one is on its way while the next is looked at.
    pub(super) fn enqueue_all(&mut self, cx: &mut SchedCx<'_, P>, list: &mut PktList<P>) {
        let mut found = FoundList::new();
        for pkt in list.drain(..) {
            if let Ok((pkt, target)) = self.classify(cx, pkt) {
                self.tree.prefetch_queue(target);
                found.push((pkt, target));
            }
        }
        let watched = self.sojourn.pick(&found).map(|&(_, target)| target);
        let mut grafted = false;
        for (_, target) in &found {
            grafted |= self.tree.prefetch_tail(*target, cx.slab);
        }
        if grafted {
            self.push_runs(cx, found, list);
        } else {
            self.push_each(cx, found);
        }
        if let Some(target) = watched.filter(|&target| target != DIRECT) {
            let held = self.tree.leaves[target as usize].cells.qlen.get();
            self.sojourn.watch(target, held, cx.now.as_nanos());
        }
    }

    #[inline]
    fn push_each(&mut self, cx: &mut SchedCx<'_, P>, found: FoundList<P>) {
        let mut came = Held::default();
        for (pkt, target) in found {
            if target == DIRECT {
                self.push_direct(cx, pkt);
                continue;
            }
            match self.push_own(cx, pkt, target) {
                Ok(len) => came += Held { packets: 1, bytes: len.into() },
                Err(pkt) => _ = self.refuse_full(cx, pkt, target),
            }
        }
        self.cells.qlen.add(came.packets);
        self.cells.backlog.add(came.bytes);
    }

    /// Disciplines below get their packets as lists, as far as these follow each other.
    fn push_runs(&mut self, cx: &mut SchedCx<'_, P>, mut found: FoundList<P>, list: &mut PktList<P>) {
        // What goes to one class stays in order.
        found.sort_by_key(|&(_, target)| target);
        let mut found = found.into_iter().peekable();
        while let Some((pkt, target)) = found.next() {
            if !self.is_grafted(target) || found.peek().is_none_or(|&(_, next)| next != target) {
                self.push(cx, pkt, target);
                continue;
            }
            list.push(pkt);
            list.extend(
                std::iter::from_fn(|| found.next_if(|&(_, next)| next == target)).map(|(pkt, _)| pkt),
            );
            self.push_graft_list(cx, list, target);
        }
    }

    fn is_grafted(&self, target: u32) -> bool {
        self.tree.classes.get(target as usize).is_some_and(|class| class.grafted)
    }

    /// The leaf of a packet, or [`DIRECT`]; what became of it if filters took it.
    pub(super) fn classify(&self, cx: &mut SchedCx<'_, P>, mut pkt: P) -> Result<(P, u32), Enqueued> {
        let priority = TcHandle(pkt.priority());
        if priority == self.handle {
            return Ok((pkt, DIRECT));
        }
        let mut filters = match self.find(priority) {
            Some(Found::Leaf(at)) => return Ok((pkt, at)),
            Some(Found::Inner(at)) => self.class_filters(at),
            None => self.filters.as_ref(),
        };
        for _ in 0..MOST_HOPS {
            let Some(chain) = filters else { break };
            let class = match chain.classify(cx, pkt) {
                Classified::None(back) => {
                    pkt = back;
                    break;
                }
                Classified::Class(back, class) => {
                    pkt = back;
                    class
                }
                Classified::Gone(code) => return Err(self.taken(code)),
            };
            if class == self.handle {
                return Ok((pkt, DIRECT));
            }
            filters = match self.find(class) {
                Some(Found::Leaf(at)) => return Ok((pkt, at)),
                Some(Found::Inner(at)) => self.class_filters(at),
                None => break,
            };
        }
        Ok((pkt, self.default_leaf()))
    }

    fn class_filters(&self, at: u32) -> Option<&Arc<dyn super::Classify<P>>> {
        self.class_filters[at as usize].as_ref()
    }

    fn taken(&self, code: Xmit) -> Enqueued {
        let done = Enqueued::refused(code);
        if done.is_drop() {
            self.cells.drops.add(1);
        }
        done
    }

    fn default_leaf(&self) -> u32 {
        let minor = u16::try_from(self.params.default).unwrap_or(0);
        self.names.find(minor).and_then(Found::leaf).unwrap_or(DIRECT)
    }

    pub(super) fn push(&mut self, cx: &mut SchedCx<'_, P>, pkt: P, target: u32) -> Enqueued {
        if target == DIRECT {
            return self.push_direct(cx, pkt);
        }
        if self.is_grafted(target) {
            return self.push_graft(cx, pkt, target);
        }
        match self.push_own(cx, pkt, target) {
            Ok(len) => {
                self.cells.came(len);
                Enqueued::success(len)
            }
            Err(pkt) => self.refuse_full(cx, pkt, target),
        }
    }

    /// Into a leaf's own queue: how many bytes more it holds; the packet, if there is no room.
    #[inline]
    fn push_own(&mut self, cx: &mut SchedCx<'_, P>, pkt: P, target: u32) -> Result<u32, P> {
        let leaf = &mut self.tree.leaves[target as usize];
        if leaf.fifo.len() >= leaf.limit {
            return Err(pkt);
        }
        let len = pkt.qdisc_len();
        leaf.fifo.push(cx.slab, pkt, len)?;
        leaf.show_held();
        // It may be active: to find that out costs more than to do it again.
        self.tree.activate(target);
        Ok(len)
    }

    fn push_direct(&mut self, cx: &mut SchedCx<'_, P>, pkt: P) -> Enqueued {
        let len = pkt.qdisc_len();
        let room = self.direct.len() < self.params.direct_qlen;
        match if room { self.direct.push(cx.slab, pkt, len) } else { Err(pkt) } {
            Ok(()) => {
                self.count_direct();
                self.cells.came(len);
                Enqueued::success(len)
            }
            Err(pkt) => self.refuse(cx, pkt),
        }
    }

    fn push_graft(&mut self, cx: &mut SchedCx<'_, P>, pkt: P, target: u32) -> Enqueued {
        let Some(below) = &mut self.grafts[target as usize] else { return self.refuse(cx, pkt) };
        let done = below.enqueue(cx, pkt);
        self.count_graft(target, done.packets.into(), done.bytes.into(), done.is_drop().into());
        done
    }

    /// What became of each packet is told by what is held, and dropped, then.
    fn push_graft_list(&mut self, cx: &mut SchedCx<'_, P>, list: &mut PktList<P>, target: u32) {
        let Some(below) = &mut self.grafts[target as usize] else { return };
        let (held, drops) = (below.held(), below.cells().drops.get());
        below.enqueue_list(cx, list);
        let (now, drops) = (below.held(), below.cells().drops.get().wrapping_sub(drops));
        let more = |now: u64, before: u64| now.wrapping_sub(before) as i64;
        self.count_graft(target, more(now.packets, held.packets), more(now.bytes, held.bytes), drops);
    }

    /// Counts packets that came into a discipline below.
    fn count_graft(&mut self, target: u32, packets: i64, bytes: i64, drops: u64) {
        if drops > 0 {
            self.tree.leaves[target as usize].cells.drops.add(drops);
            self.cells.drops.add(drops);
        }
        self.tree.came(target, packets, bytes);
        // Two's complement: what is less is taken away.
        self.cells.qlen.add(packets as u64);
        self.cells.backlog.add(bytes as u64);
        self.tree.follow_backlog(target);
    }

    #[cold]
    fn refuse_full(&self, cx: &mut SchedCx<'_, P>, pkt: P, target: u32) -> Enqueued {
        self.tree.leaves[target as usize].cells.drops.add(1);
        self.refuse(cx, pkt)
    }

    /// There is no room for a packet.
    #[cold]
    fn refuse(&self, cx: &mut SchedCx<'_, P>, pkt: P) -> Enqueued {
        self.cells.drops.add(1);
        cx.sink.drop(pkt, DropReason::QdiscOverlimit);
        Enqueued::refused(Xmit::Drop)
    }
}
