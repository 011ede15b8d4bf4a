//! What a queueing discipline is.

use std::fmt;
use std::sync::Arc;

use super::cells::QdiscCells;
use super::handle::TcHandle;
use super::op::QdiscOp;
use super::packet::{PktList, SchedPkt};
use super::queue::PktSlab;
use crate::core::drop_reason::DropReason;
use crate::net::IfIndex;
use crate::random::Rng;
use crate::time::Instant;

/// What became of a packet, for the sender (kernel `NET_XMIT_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Xmit {
    /// Queued.
    Success,
    /// Dropped.
    Drop,
    /// This or another packet was dropped early: congestion.
    Cn,
    /// An action took it, or dropped it where nobody shall count a drop (`__NET_XMIT_STOLEN`).
    Stolen,
}

/// What an enqueue did, for those above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enqueued {
    /// What became of the packet.
    pub code: Xmit,
    /// Packets more in the discipline than before: 1 if it was queued, 0 if it was dropped or took another's place.
    pub packets: i32,
    /// Bytes more.
    pub bytes: i32,
}

impl Enqueued {
    /// Queued.
    #[inline]
    pub fn success(bytes: u32) -> Self {
        Enqueued { code: Xmit::Success, packets: 1, bytes: bytes as i32 }
    }

    /// Not queued.
    #[inline]
    pub const fn refused(code: Xmit) -> Self {
        Enqueued { code, packets: 0, bytes: 0 }
    }

    /// Those above count a drop.
    #[inline]
    pub fn is_drop(&self) -> bool {
        matches!(self.code, Xmit::Drop | Xmit::Cn)
    }
}

/// Packets and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

impl std::ops::AddAssign for Held {
    fn add_assign(&mut self, o: Held) {
        self.packets += o.packets;
        self.bytes += o.bytes;
    }
}

/// What a discipline or a filter makes of a packet that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// A filter matched: its preference, protocol and handle, and the class it names.
    Filter(u16, u16, u32, TcHandle),
    /// It goes to this class; the discipline itself for packets that are not shaped.
    Class(TcHandle),
}

/// Where packets go that leave a tree otherwise than by its root.
pub trait Sink<P> {
    /// Frees a packet for this reason, and accounts for it.
    fn drop(&mut self, pkt: P, reason: DropReason);

    /// Sends a packet by another device, or receives it there (`mirred`), when the tree is done with this burst.
    fn redirect(&mut self, pkt: P, dev: IfIndex, ingress: bool);

    /// Hears of a watched packet ([`SchedCx::watched`]) what a discipline or a filter makes of it.
    fn note(&mut self, pkt: &P, note: Note) {
        let _ = (pkt, note);
    }

    /// A copy of a packet, for `mirred`, counted as created. `None` without memory, or where nothing can be copied.
    fn copy(&mut self, pkt: &P) -> Option<P> {
        let _ = pkt;
        None
    }
}

/// What a discipline works with.
pub struct SchedCx<'a, P> {
    /// The time of this burst.
    pub now: Instant,
    /// Where waiting packets are kept.
    pub slab: &'a mut PktSlab<P>,
    /// Random numbers.
    pub rng: &'a mut Rng,
    /// Where dropped packets go.
    pub sink: &'a mut dyn Sink<P>,
    /// When there may be something to send, if nothing may be sent now.
    wake: Option<Instant>,
    watched: bool,
}

impl<'a, P> SchedCx<'a, P> {
    /// A context for one burst.
    pub fn new(
        now: Instant,
        slab: &'a mut PktSlab<P>,
        rng: &'a mut Rng,
        sink: &'a mut dyn Sink<P>,
    ) -> SchedCx<'a, P> {
        SchedCx { now, slab, rng, sink, wake: None, watched: false }
    }

    /// Whether the packet that is being taken in is watched: then the sink is told what becomes of it.
    #[inline]
    pub fn watched(&self) -> bool {
        self.watched
    }

    /// From here on packets that are taken in are watched, or not.
    pub fn watch(&mut self, on: bool) {
        self.watched = on;
    }

    /// Says of packets that they may not go before `at`. The earliest of all such times counts.
    #[inline]
    pub fn not_before(&mut self, at: Instant) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }

    /// The earliest of the times that were said.
    #[inline]
    pub fn wake(&self) -> Option<Instant> {
        self.wake
    }
}

impl<P> fmt::Debug for SchedCx<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SchedCx").field("now", &self.now).field("wake", &self.wake).finish_non_exhaustive()
    }
}

/// What filters said of a packet.
#[derive(Debug)]
pub enum Classified<P> {
    /// None matched.
    None(P),
    /// It belongs to this class; [`TcHandle::UNSPEC`] if the filter that matched names none.
    Class(P, TcHandle),
    /// It is gone: dropped, sent elsewhere.
    Gone(Xmit),
}

/// The filters of a discipline or of a class, compiled.
pub trait Classify<P>: fmt::Debug + Send + Sync {
    /// Runs them over a packet.
    fn classify(&self, cx: &mut SchedCx<'_, P>, pkt: P) -> Classified<P>;
}

/// A queueing discipline with everything below it.
///
/// Who holds packets counts them: a discipline adds what [`enqueue`](Self::enqueue) of a child reports to its own
/// [`QdiscCells::qlen`] and `backlog`, counts a drop where the child dropped, and takes a packet out again when it passes
/// through its own [`dequeue`](Self::dequeue).
pub trait Qdisc<P: SchedPkt>: fmt::Debug + Send {
    /// Takes a packet in. What is dropped goes to the sink with its reason; this packet, or another in its place.
    fn enqueue(&mut self, cx: &mut SchedCx<'_, P>, pkt: P) -> Enqueued;

    /// Takes packets in, in order, and leaves the list empty.
    fn enqueue_list(&mut self, cx: &mut SchedCx<'_, P>, list: &mut PktList<P>) {
        for pkt in list.drain(..) {
            self.enqueue(cx, pkt);
        }
    }

    /// The next packet that may go at `cx.now`. If there is none but packets wait, it has told
    /// [`SchedCx::not_before`] when to ask again.
    fn dequeue(&mut self, cx: &mut SchedCx<'_, P>) -> Option<P>;

    /// Appends at most `most` packets that may go now, as far as the list has room.
    fn dequeue_list(&mut self, cx: &mut SchedCx<'_, P>, most: usize, list: &mut PktList<P>) {
        for _ in 0..most.min(list.remaining_capacity()) {
            let Some(pkt) = self.dequeue(cx) else { return };
            list.push(pkt);
        }
    }

    /// What it holds, with everything below.
    fn held(&self) -> Held {
        Held { packets: self.cells().qlen.get(), bytes: self.cells().backlog.get() }
    }

    /// Frees all it holds and everything below, for `reason`, without counting drops; forgets times and averages as the
    /// kernel's `reset` does.
    fn reset(&mut self, cx: &mut SchedCx<'_, P>, reason: DropReason);

    /// Carries out a change that control has checked; one that does not fit is without effect. What was dropped for it,
    /// and counted by this discipline.
    fn apply(&mut self, cx: &mut SchedCx<'_, P>, op: QdiscOp<P>) -> Held;

    /// The discipline below a class.
    fn child(&mut self, class: TcHandle) -> Option<&mut (dyn Qdisc<P> + 'static)> {
        let _ = class;
        None
    }

    /// The discipline below a class has dropped packets to carry out a change.
    fn shrunk(&mut self, cx: &mut SchedCx<'_, P>, class: TcHandle, dropped: Held) {
        let _ = (cx, class, dropped);
    }

    /// Its statistics.
    fn cells(&self) -> &Arc<QdiscCells>;

    /// The statistics of the discipline that it has put below a class of its own accord.
    fn default_child_cells(&self, class: TcHandle) -> Option<Arc<QdiscCells>> {
        let _ = class;
        None
    }
}
