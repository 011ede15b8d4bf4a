//! Hooks: places in the journey where functions see a burst and give a verdict on each packet.
//!
//! Five for IPv4, in the kernel's places and with its numbers, and three below IP on each device
//! (Wehrle's KIDS): `L2_INPUT` before the protocol demux, `L2_ENQUEUE` before the queueing discipline, `L2_DEQUEUE`
//! between it and the driver.
//!
//! ```text
//! L2_INPUT -> PRE_ROUTING -> route -+-> FORWARD ----------------------+-> POST_ROUTING -> L2_ENQUEUE -> L2_DEQUEUE
//!                                   +-> LOCAL_IN      LOCAL_OUT -> ---+
//! ```
//!
//! Functions of a hook run by ascending priority, equal priorities in the order of registration. They are part of
//! the [`Snapshot`](crate::core::snapshot::Snapshot), so a burst sees one set of them from its first hook to its last.
//! A hook without functions costs the test of a bit in a word that is at hand.

use std::fmt;
use std::sync::Arc;

use super::queue::{self, Queueing};
use crate::core::counters::MAX_DEVICES;
use crate::core::drop_reason::{DropReason, Node, named_enum};
use crate::core::env::{Env, Hands};
use crate::core::trace::Step;
use crate::device::NetDevice;
use crate::net::IfIndex;
use crate::skb::{Skb, SkbExt, SkbList};

/// Priorities of the kernel's own users (`enum nf_ip_hook_priorities`).
pub mod priority {
    /// raw table.
    pub const RAW: i32 = -300;
    /// mangle table.
    pub const MANGLE: i32 = -150;
    /// filter table.
    pub const FILTER: i32 = 0;
}

named_enum! {
    /// Where functions can be registered.
    pub enum Hook {
        /// Checked IPv4 packets, before they are routed.
        PreRouting = "PRE_ROUTING",
        /// Packets for the router itself, whole again.
        LocalIn = "LOCAL_IN",
        /// Packets on their way through, after the TTL was taken.
        Forward = "FORWARD",
        /// Packets of the router's own, routed.
        LocalOut = "LOCAL_OUT",
        /// All packets that leave, before they are fragmented.
        PostRouting = "POST_ROUTING",
        /// Frames a device received, before the protocol demux.
        L2Input = "L2_INPUT",
        /// Frames for a device, before its queueing discipline.
        L2Enqueue = "L2_ENQUEUE",
        /// Frames a device may send now, before its driver.
        L2Dequeue = "L2_DEQUEUE",
    }
}

impl Hook {
    /// One of the three hooks of a device.
    pub const fn is_l2(self) -> bool {
        matches!(self, Hook::L2Input | Hook::L2Enqueue | Hook::L2Dequeue)
    }

    const fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// What becomes of a packet. The numbers are the kernel's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    /// Free it.
    Drop,
    /// On to the next function, and after the last to the next stage.
    #[default]
    Accept,
    /// It belongs to the function now, which gets it by [`HookFn::steal`].
    Stolen,
    /// To the listener of a queue, which decides ([`queue`]).
    Queue {
        /// Number of the queue.
        num: u16,
        /// Without a listener: accept instead of drop.
        bypass: bool,
    },
    /// The same function once more.
    Repeat,
}

named_enum! {
    /// What hooks count: the fates of the packets they saw.
    pub enum Fate {
        /// Went on.
        Accepted = "accept",
        /// Freed.
        Dropped = "drop",
        /// Taken by a function.
        Stolen = "stolen",
        /// Handed to a listener.
        Queued = "queue",
        /// Shown to the same function again.
        Repeated = "repeat",
    }
}

/// How often a function may ask to see the same packet again before it is dropped. The kernel sets no limit.
pub const MAX_REPEATS: usize = 16;

/// The verdicts on a burst, all [`Verdict::Accept`] to begin with.
#[derive(Debug)]
pub struct Verdicts {
    marked: u32,
    verdicts: [Verdict; SkbList::CAPACITY],
}

impl Default for Verdicts {
    fn default() -> Self {
        Verdicts { marked: 0, verdicts: [Verdict::Accept; SkbList::CAPACITY] }
    }
}

impl Verdicts {
    /// Gives the verdict on the packet at place `at` of the burst.
    #[inline]
    pub fn set(&mut self, at: usize, verdict: Verdict) {
        let Some(place) = self.verdicts.get_mut(at) else { return };
        *place = verdict;
        self.marked &= !(1 << at);
        self.marked |= u32::from(verdict != Verdict::Accept) << at;
    }

    /// The verdict on the packet at place `at`.
    #[inline]
    pub fn get(&self, at: usize) -> Verdict {
        self.verdicts.get(at).copied().unwrap_or_default()
    }

    /// The places of the packets that do not simply go on.
    #[inline]
    pub fn marked(&self) -> u32 {
        self.marked
    }
}

/// What a function is given beside the burst.
#[derive(Debug)]
pub struct HookCx<'a, 'e> {
    /// The world.
    pub env: &'a Env<'e>,
    /// The lcore's hands, to answer with.
    pub hands: &'a mut Hands,
    /// The hook it was called at.
    pub hook: Hook,
}

/// A function at a hook. Lcores call it at the same time: what it changes must be its own to synchronise.
///
/// Devices are in the packets' fields: `iif` where they came in, `oif` where they leave (0 before the route is known).
pub trait HookFn: fmt::Debug + Send + Sync {
    /// Its name, for shows.
    fn name(&self) -> &str;

    /// Looks at a burst, may change its packets, and gives verdicts where they are not [`Verdict::Accept`]. The list
    /// itself must be left as it is.
    fn run(&self, cx: &mut HookCx<'_, '_>, list: &mut SkbList, verdicts: &mut Verdicts);

    /// Takes the packets it gave [`Verdict::Stolen`]: what it leaves in the list is dropped. Who keeps a packet
    /// accounts for its end, with [`Env::kfree_skb`] or by sending it.
    fn steal(&self, cx: &mut HookCx<'_, '_>, stolen: &mut SkbList) {
        let _ = (cx, stolen);
    }
}

/// A registered function.
#[derive(Clone, Debug)]
pub struct HookEntry {
    /// Order within the hook.
    pub priority: i32,
    /// The device whose packets it sees; all devices if `None`. Only for the hooks of devices.
    pub dev: Option<IfIndex>,
    /// The function.
    pub function: Arc<dyn HookFn>,
}

/// Everything registered. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Hooks {
    /// A bit for every hook that has a function, and [`TRACING`].
    active: u32,
    entries: Arc<[Vec<HookEntry>; Hook::COUNT]>,
}

/// Packets are traced: in the word that is tested at every hook, so that looking costs nothing more.
const TRACING: u32 = 1 << 31;

impl Hooks {
    /// True if somebody listens at `hook`, or packets are traced.
    #[inline(always)]
    pub fn watched(&self, hook: Hook) -> bool {
        self.active & (hook.bit() | TRACING) != 0
    }

    /// True if packets are traced.
    #[inline(always)]
    pub fn tracing(&self) -> bool {
        self.active & TRACING != 0
    }

    /// Says whether packets are traced.
    pub(crate) fn set_tracing(&mut self, on: bool) {
        self.active = if on { self.active | TRACING } else { self.active & !TRACING };
    }

    /// True if somebody listens at `hook`.
    #[inline(always)]
    pub fn has(&self, hook: Hook) -> bool {
        self.active & hook.bit() != 0
    }

    /// Registers a function at a hook.
    pub fn register(&mut self, hook: Hook, entry: HookEntry) {
        self.active |= hook.bit();
        let entries = &mut Arc::make_mut(&mut self.entries)[hook.index()];
        let at = entries.partition_point(|e| e.priority <= entry.priority);
        entries.insert(at, entry);
    }

    /// The functions of a hook, in the order they run.
    pub fn at(&self, hook: Hook) -> &[HookEntry] {
        &self.entries[hook.index()]
    }
}

/// The point in the journey where a queued packet left it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resume {
    /// The hook.
    pub hook: Hook,
    /// Priority of the function that queued it.
    pub priority: i32,
    /// Place among the functions of that priority.
    pub place: u16,
}

/// Runs the functions of a hook over a burst. What is left in the list goes on.
#[cold]
#[inline(never)]
pub fn nf_hook_list(env: &Env<'_>, hands: &mut Hands, hook: Hook, list: &mut SkbList) {
    // What is only watched has met no function.
    if !env.snap.hooks.has(hook) {
        return;
    }
    run_from(env, hands, hook, 0, list);
    env.cells.hook(hook, Fate::Accepted).add(list.len() as u64);
}

/// The same for one packet: it, if it goes on.
#[cold]
pub fn nf_hook(env: &Env<'_>, hands: &mut Hands, hook: Hook, skb: Skb) -> Option<Skb> {
    let mut list = SkbList::new();
    let _ = list.push(skb);
    nf_hook_list(env, hands, hook, &mut list);
    list.pop()
}

/// Runs the functions of a device's hook over a burst that has one device, `dev`.
#[cold]
#[inline(never)]
pub fn nf_hook_device(env: &Env<'_>, hands: &mut Hands, hook: Hook, dev: &NetDevice, list: &mut SkbList) {
    let ours = |e: &HookEntry| e.dev.is_none_or(|d| d == dev.ifindex);
    if env.snap.hooks.at(hook).iter().any(ours) {
        run_on(env, hands, hook, 0, Some(dev.ifindex), list);
        env.cells.hook(hook, Fate::Accepted).add(list.len() as u64);
    }
}

/// Goes on with a packet a listener has decided about. `again` shows it to the function that queued it, as the verdict
/// REPEAT does; otherwise the next one sees it. The packet, if it goes on to the next stage.
pub fn nf_resume(env: &Env<'_>, hands: &mut Hands, resume: Resume, again: bool, skb: Skb) -> Option<Skb> {
    let entries = env.snap.hooks.at(resume.hook);
    let same = entries.partition_point(|e| e.priority < resume.priority);
    let later = entries.partition_point(|e| e.priority <= resume.priority);
    // The functions may be others by now: those of later priority run in any case.
    let first = (same + usize::from(resume.place) + usize::from(!again)).min(later);
    let dev = resume.hook.is_l2().then(|| device_of(resume.hook, &skb));
    let mut list = SkbList::new();
    let _ = list.push(skb);
    run_on(env, hands, resume.hook, first, dev, &mut list);
    let skb = list.pop()?;
    env.cells.hook(resume.hook, Fate::Accepted).add(1);
    Some(skb)
}

fn device_of(hook: Hook, skb: &Skb) -> IfIndex {
    let fields = skb.fields();
    IfIndex(if hook == Hook::L2Input { fields.iif } else { fields.oif })
}

fn run_from(env: &Env<'_>, hands: &mut Hands, hook: Hook, first: usize, list: &mut SkbList) {
    run_on(env, hands, hook, first, None, list);
}

fn run_on(
    env: &Env<'_>,
    hands: &mut Hands,
    hook: Hook,
    first: usize,
    dev: Option<IfIndex>,
    list: &mut SkbList,
) {
    let entries = env.snap.hooks.at(hook);
    for (at, entry) in entries.iter().enumerate().skip(first) {
        if list.is_empty() {
            return;
        }
        if entry.dev.is_some() && entry.dev != dev {
            continue;
        }
        let mut verdicts = Verdicts::default();
        let before = list.len();
        let mut cx = HookCx { env, hands: &mut *hands, hook };
        entry.function.run(&mut cx, list, &mut verdicts);
        debug_assert_eq!(list.len(), before, "{} changed the list", entry.function.name());
        if env.snap.hooks.tracing() {
            trace_verdicts(env, hook, entry, list, &verdicts);
        }
        if verdicts.marked() != 0 {
            let same = entries.partition_point(|e| e.priority < entry.priority);
            let resume = Resume { hook, priority: entry.priority, place: (at - same) as u16 };
            carry_out(&mut cx, entry, resume, list, &verdicts);
        }
    }
}

#[cold]
fn trace_verdicts(env: &Env<'_>, hook: Hook, entry: &HookEntry, list: &SkbList, verdicts: &Verdicts) {
    for (at, skb) in list.iter().enumerate() {
        let (function, verdict) = (&entry.function, verdicts.get(at));
        env.trace(skb, || Step::Hook { hook, function: Arc::clone(function), verdict });
    }
}

/// Does what the verdicts say. The packets that go on keep their order.
#[cold]
fn carry_out(
    cx: &mut HookCx<'_, '_>,
    entry: &HookEntry,
    resume: Resume,
    list: &mut SkbList,
    verdicts: &Verdicts,
) {
    let mut all = std::mem::take(list);
    for (i, skb) in all.drain().enumerate() {
        if let Some(skb) = settle(cx, entry, resume, skb, verdicts.get(i)) {
            // It came out of this burst, so there is room.
            let _ = list.push(skb);
        }
    }
}

/// One packet to its fate; it, if it goes on.
fn settle(
    cx: &mut HookCx<'_, '_>,
    entry: &HookEntry,
    resume: Resume,
    skb: Skb,
    verdict: Verdict,
) -> Option<Skb> {
    let (mut skb, mut verdict) = (skb, verdict);
    let fates = |fate| cx.env.cells.hook(resume.hook, fate);
    for _ in 0..=MAX_REPEATS {
        match verdict {
            Verdict::Accept => return Some(skb),
            Verdict::Drop => break,
            Verdict::Stolen => {
                fates(Fate::Stolen).add(1);
                let mut stolen = SkbList::new();
                let _ = stolen.push(skb);
                entry.function.steal(cx, &mut stolen);
                cx.env.kfree_skb_list(&mut stolen, node_of(resume.hook), DropReason::NetfilterDrop);
                return None;
            }
            Verdict::Queue { num, bypass } => {
                match queue::nf_queue(cx.env, cx.hands, resume, num, bypass, skb) {
                    Queueing::Queued => {
                        fates(Fate::Queued).add(1);
                        return None;
                    }
                    Queueing::Accept(skb) => return Some(skb),
                    Queueing::Drop(unwanted) => {
                        skb = unwanted;
                        break;
                    }
                }
            }
            Verdict::Repeat => {
                fates(Fate::Repeated).add(1);
                let mut one = SkbList::new();
                let _ = one.push(skb);
                let mut again = Verdicts::default();
                entry.function.run(cx, &mut one, &mut again);
                verdict = again.get(0);
                skb = one.pop()?;
            }
        }
    }
    fates(Fate::Dropped).add(1);
    cx.env.kfree_skb(skb, node_of(resume.hook), DropReason::NetfilterDrop);
    None
}

/// The stage a hook belongs to, where its drops are counted.
pub const fn node_of(hook: Hook) -> Node {
    match hook {
        Hook::PreRouting => Node::IpRcv,
        Hook::LocalIn => Node::IpLocalDeliver,
        Hook::Forward => Node::IpForward,
        Hook::LocalOut | Hook::PostRouting => Node::IpOutput,
        Hook::L2Input => Node::NetifReceive,
        Hook::L2Enqueue => Node::DevQueueXmit,
        Hook::L2Dequeue => Node::HardStartXmit,
    }
}

const _: () = assert!(Hook::COUNT < TRACING.trailing_zeros() as usize && MAX_DEVICES <= u16::MAX as usize);
