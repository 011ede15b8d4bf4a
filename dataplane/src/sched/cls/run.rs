//! Filters and their actions over a packet.

use super::MAX_RECLASSIFY;
use super::program::{Cursor, FilterProgram, Matched};
use super::view::View;
use crate::core::drop_reason::DropReason;
use crate::net::IfIndex;
use crate::sched::act::{self, Control, Ran};
use crate::sched::handle::TcHandle;
use crate::sched::qdisc::{Classified, Classify, Note, SchedCx, Xmit};
use crate::skb::{Skb, SkbExt, flags};
use crate::time::Instant;

/// What filters and actions need of the place they run at.
pub trait ActHost {
    /// The time of this burst.
    fn now(&self) -> Instant;
    /// A random word.
    fn random(&mut self) -> u32;
    /// Whether packets are on their way in: their network offset is not known then, and their tags are not yet looked at.
    fn at_ingress(&self) -> bool;
    /// A copy of a packet, counted as created.
    fn copy(&mut self, skb: &Skb) -> Option<Skb>;
    /// Sends a packet by a device, or receives it there.
    fn send(&mut self, skb: Skb, dev: IfIndex, ingress: bool);
    /// Why packets that an action drops are dropped.
    fn drop_reason(&self) -> DropReason;
    /// Hears of a traced packet which filter it matched.
    fn note(&mut self, skb: &Skb, matched: Matched<'_>) {
        let _ = (skb, matched);
    }
}

/// What filters decided about a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// None matched.
    Unmatched,
    /// It goes on, and belongs to this class; [`TcHandle::UNSPEC`] if the filter names none.
    Class(TcHandle),
    /// Drop it.
    Drop(DropReason),
    /// It goes no further, and nobody counts a drop.
    Stolen,
    /// It goes elsewhere.
    Redirect {
        /// The device.
        dev: IfIndex,
        /// It is received there, not sent.
        ingress: bool,
    },
}

impl FilterProgram {
    /// Runs the filters over a packet, which their actions may change.
    pub fn run(&self, host: &mut dyn ActHost, skb: &mut Skb) -> Decision {
        let ingress = host.at_ingress();
        let (mut chain, mut cursor, mut restarts) = (0, Cursor::default(), 0);
        View::prepare(skb);
        let random = host.random();
        loop {
            let view = View { random, ..View::of_skb(skb, ingress) };
            let Some(matched) = self.next(chain, &mut cursor, &view) else { return Decision::Unmatched };
            matched.leaf.cells.hit();
            if skb.fields().flags & flags::TRACED != 0 {
                host.note(skb, matched);
            }
            let len = view.len;
            if matched.leaf.actions.is_empty() {
                return Decision::Class(matched.classid);
            }
            let control = match act::run(&matched.leaf.actions, host, skb, len) {
                Ran::Redirect { dev, ingress } => return Decision::Redirect { dev, ingress },
                Ran::Control(control) => control,
            };
            match control {
                Control::Continue => continue,
                Control::Shot => return Decision::Drop(host.drop_reason()),
                Control::Stolen | Control::Trap => return Decision::Stolen,
                Control::Ok | Control::Pipe | Control::Jump(_) => return Decision::Class(matched.classid),
                Control::Reclassify => chain = 0,
                Control::Goto(number) => chain = number,
            }
            cursor = Cursor::default();
            restarts += 1;
            if restarts > MAX_RECLASSIFY {
                return Decision::Drop(DropReason::TcReclassifyLoop);
            }
        }
    }
}

/// A discipline's context as a place for actions.
struct InQdisc<'a, 'c>(&'a mut SchedCx<'c, Skb>);

impl ActHost for InQdisc<'_, '_> {
    fn now(&self) -> Instant {
        self.0.now
    }

    fn random(&mut self) -> u32 {
        self.0.rng.word()
    }

    fn at_ingress(&self) -> bool {
        false
    }

    fn copy(&mut self, skb: &Skb) -> Option<Skb> {
        self.0.sink.copy(skb)
    }

    fn send(&mut self, skb: Skb, dev: IfIndex, ingress: bool) {
        self.0.sink.redirect(skb, dev, ingress);
    }

    fn drop_reason(&self) -> DropReason {
        DropReason::QdiscDrop
    }

    fn note(&mut self, skb: &Skb, matched: Matched<'_>) {
        let (pref, protocol, handle) = matched.leaf.name;
        self.0.sink.note(skb, Note::Filter(pref, protocol, handle, matched.classid));
    }
}

impl Classify<Skb> for FilterProgram {
    fn classify(&self, cx: &mut SchedCx<'_, Skb>, mut skb: Skb) -> Classified<Skb> {
        match self.run(&mut InQdisc(cx), &mut skb) {
            Decision::Unmatched => Classified::None(skb),
            Decision::Class(class) => Classified::Class(skb, class),
            Decision::Drop(reason) => {
                cx.sink.drop(skb, reason);
                Classified::Gone(Xmit::Drop)
            }
            Decision::Stolen => {
                cx.sink.drop(skb, DropReason::QdiscDrop);
                Classified::Gone(Xmit::Stolen)
            }
            Decision::Redirect { dev, ingress } => {
                cx.sink.redirect(skb, dev, ingress);
                Classified::Gone(Xmit::Stolen)
            }
        }
    }
}
