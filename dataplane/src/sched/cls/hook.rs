//! `ingress` and `clsact`: filters outside of queueing disciplines, at the hooks L2_INPUT and L2_ENQUEUE of a device.
//!
//! Uses:  what filters look at.   Sets: what actions change.
//! Next:  the next function of the hook; other devices (mirred).
//! Drops: tc_ingress, tc_egress, tc_reclassify_loop, qdisc_drop (sent on by actions too often, or no room for its tag).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::program::{FilterProgram, Matched};
use super::run::{ActHost, Decision};
use super::view::View;
use crate::core::dev::netif_receive_skb_list;
use crate::core::drop_reason::{DropReason, Node};
use crate::core::env::{Env, Hands};
use crate::core::trace::Step;
use crate::core::xmit::dev_queue_xmit;
use crate::device::vlan::VlanProto;
use crate::net::IfIndex;
use crate::netfilter::hooks::{Hook, HookCx, HookFn, Verdict, Verdicts, node_of};
use crate::sched::act::vlan::settle;
use crate::skb::{Skb, SkbExt, SkbList};
use crate::time::Instant;

/// How often actions may send a packet on from device to device (kernel `MIRRED_NEST_LIMIT`).
pub const MOST_TURNS: usize = 4;

/// What `ingress` and `clsact` count: packets that met filters.
#[derive(Debug, Default)]
pub struct ClsactCells {
    bytes: AtomicU64,
    packets: AtomicU64,
    drops: AtomicU64,
}

impl ClsactCells {
    /// Bytes, packets, and packets dropped.
    pub fn counts(&self) -> (u64, u64, u64) {
        let get = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        (get(&self.bytes), get(&self.packets), get(&self.drops))
    }
}

/// The filters of one side of a device.
#[derive(Debug)]
pub struct TcHook {
    program: Arc<FilterProgram>,
    ingress: bool,
    cells: Arc<ClsactCells>,
}

impl TcHook {
    /// Filters for what a device receives (`ingress`) or sends. They belong to [`Hook::L2Input`] or [`Hook::L2Enqueue`].
    pub fn new(program: Arc<FilterProgram>, ingress: bool, cells: Arc<ClsactCells>) -> TcHook {
        TcHook { program, ingress, cells }
    }

    /// The hook they belong to.
    pub fn hook(&self) -> Hook {
        if self.ingress { Hook::L2Input } else { Hook::L2Enqueue }
    }
}

impl HookFn for TcHook {
    fn name(&self) -> &str {
        if self.ingress { "tc_ingress" } else { "tc_egress" }
    }

    fn run(&self, cx: &mut HookCx<'_, '_>, list: &mut SkbList, verdicts: &mut Verdicts) {
        let (mut bytes, mut drops) = (0, 0);
        for (at, skb) in list.iter_mut().enumerate() {
            bytes += u64::from(View::of_skb(skb, self.ingress).len);
            let decision = self.program.run(&mut AtHook { cx, ingress: self.ingress }, skb);
            let fate = match decision {
                Decision::Unmatched | Decision::Class(_) => continue,
                Decision::Drop(reason) => {
                    drops += 1;
                    Fate::Drop(reason)
                }
                Decision::Stolen => Fate::Gone,
                Decision::Redirect { dev, ingress } => Fate::Redirect(dev, ingress),
            };
            fate.note(skb);
            verdicts.set(at, Verdict::Stolen);
        }
        self.cells.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.cells.packets.fetch_add(list.len() as u64, Ordering::Relaxed);
        if drops != 0 {
            self.cells.drops.fetch_add(drops, Ordering::Relaxed);
        }
    }

    fn steal(&self, cx: &mut HookCx<'_, '_>, stolen: &mut SkbList) {
        for skb in std::mem::take(stolen).drain() {
            match Fate::noted(&skb) {
                Fate::Drop(reason) => cx.env.kfree_skb(skb, node_of(cx.hook), reason),
                Fate::Gone => {
                    cx.env.cells.delivered.add(1);
                    cx.env.trace(&skb, || Step::Delivered { node: node_of(cx.hook) });
                }
                Fate::Redirect(dev, ingress) => send(cx.env, cx.hands, skb, dev, ingress, node_of(cx.hook)),
            }
        }
    }
}

/// What becomes of a packet that filters have taken. It is noted in a field of the packet nobody needs at these hooks:
/// before the route is known, and when the neighbour's header is written.
#[derive(Clone, Copy)]
enum Fate {
    Gone,
    Drop(DropReason),
    Redirect(IfIndex, bool),
}

impl Fate {
    const DROP: u32 = 1 << 24;
    const EGRESS: u32 = 2 << 24;
    const INGRESS: u32 = 3 << 24;

    fn note(self, skb: &mut Skb) {
        skb.fields_mut().next_hop = match self {
            Fate::Gone => 0,
            Fate::Drop(reason) => Fate::DROP | reason.index() as u32,
            Fate::Redirect(dev, false) => Fate::EGRESS | u32::from(dev.0),
            Fate::Redirect(dev, true) => Fate::INGRESS | u32::from(dev.0),
        };
    }

    fn noted(skb: &Skb) -> Fate {
        let note = skb.fields().next_hop;
        let dev = IfIndex(note as u16);
        match note & !0xff_ffff {
            Fate::EGRESS => Fate::Redirect(dev, false),
            Fate::INGRESS => Fate::Redirect(dev, true),
            Fate::DROP => match DropReason::ALL.get(dev.0 as usize) {
                Some(reason) => Fate::Drop(*reason),
                None => Fate::Gone,
            },
            _ => Fate::Gone,
        }
    }
}

/// A hook as a place for actions.
struct AtHook<'a, 'c, 'e> {
    cx: &'a mut HookCx<'c, 'e>,
    ingress: bool,
}

impl ActHost for AtHook<'_, '_, '_> {
    fn now(&self) -> Instant {
        self.cx.env.now
    }

    fn random(&mut self) -> u32 {
        self.cx.hands.random()
    }

    fn at_ingress(&self) -> bool {
        self.ingress
    }

    fn copy(&mut self, skb: &Skb) -> Option<Skb> {
        let copy = self.cx.hands.pool.copy(skb)?;
        self.cx.env.cells.created.add(1);
        self.cx.env.trace(&copy, || Step::Copied);
        Some(copy)
    }

    fn send(&mut self, skb: Skb, dev: IfIndex, ingress: bool) {
        send(self.cx.env, self.cx.hands, skb, dev, ingress, node_of(self.cx.hook));
    }

    fn drop_reason(&self) -> DropReason {
        if self.ingress { DropReason::TcIngress } else { DropReason::TcEgress }
    }

    fn note(&mut self, skb: &Skb, matched: Matched<'_>) {
        let ((pref, protocol, handle), class) = (matched.leaf.name, matched.classid);
        self.cx.env.trace(skb, || Step::Filter { pref, protocol, handle, class });
    }
}

/// Sends a packet that stage `from` holds by a device, or receives it there. Actions may do that with a packet again and
/// again, but not for ever.
#[cold]
pub fn send(env: &Env<'_>, hands: &mut Hands, mut skb: Skb, dev: IfIndex, ingress: bool, from: Node) {
    let received = from == Node::NetifReceive;
    // A tag beside the data was for the driver, or from it, of another device.
    let sound = if received { settle(&mut skb) } else { unload(&mut skb) };
    if hands.redirects >= MOST_TURNS || sound.is_none() {
        return env.kfree_skb(skb, from, DropReason::QdiscDrop);
    }
    hands.redirects += 1;
    if ingress {
        skb.clear_offloads();
        let mut one = SkbList::new();
        let _ = one.push(skb);
        netif_receive_skb_list(env, hands, env.snap.device(dev), &mut one);
    } else {
        skb.fields_mut().oif = dev.0;
        dev_queue_xmit(env, hands, skb);
    }
    hands.redirects -= 1;
}

/// Puts the tag a driver was to put in into the data.
fn unload(skb: &mut Skb) -> Option<()> {
    let Some(tci) = skb.tx_vlan() else { return Some(()) };
    skb.clear_tx_vlan();
    crate::skb::vlan::push(skb, u32::from(VlanProto::Dot1q.tpid()) << 16 | u32::from(tci)).then_some(())
}
