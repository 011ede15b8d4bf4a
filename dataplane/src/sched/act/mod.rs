//! Actions: what filters do with packets (tc-actions(8)).
//!
//! An [`Action`] may be used by several filters and by all lcores at once; what it counts and what its buckets hold is
//! atomic, and survives a change of its parameters.

pub mod csum;
pub mod gact;
pub mod pedit;
pub mod police;
pub mod skbedit;
pub mod vlan;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::cls::ActHost;
use crate::net::IfIndex;
use crate::skb::Skb;
use crate::time::Instant;

/// Most actions in a row (`TCA_ACT_MAX_PRIO`).
pub const MAX_ACTIONS: usize = 32;
/// How often a row of actions may begin again with a jump.
const MAX_JUMPS: u32 = 32;

/// What an action says about the way on (kernel `TC_ACT_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Control {
    /// The next filter.
    Continue,
    /// The packet goes on; filters end.
    Ok,
    /// From the first filter on.
    Reclassify,
    /// The packet is dropped.
    Shot,
    /// The next action.
    Pipe,
    /// The packet is gone.
    Stolen,
    /// To the control plane, in hardware; as stolen.
    Trap,
    /// The action of this number, from the first on.
    Jump(u32),
    /// The filters of this chain.
    Goto(u32),
}

/// An action and its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActionSpec {
    /// What it does.
    pub kind: ActionKind,
    /// What follows.
    pub control: Control,
    /// Bytes the operator keeps with it.
    pub cookie: Vec<u8>,
}

/// What an action does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ActionKind {
    /// Nothing but deciding.
    Gact(gact::Gact),
    /// Checks a rate.
    Police(police::Police),
    /// Sends the packet, or a copy, elsewhere.
    Mirred(Mirred),
    /// Changes what is known of the packet.
    Skbedit(skbedit::Skbedit),
    /// Changes bytes.
    Pedit(pedit::Pedit),
    /// Computes checksums: [`csum`]'s bits.
    Csum(u32),
    /// Changes tags.
    Vlan(vlan::VlanAct),
}

/// mirred (tc-mirred(8)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mirred {
    /// Where to.
    pub dev: IfIndex,
    /// It is received there, not sent.
    pub ingress: bool,
    /// The packet itself, not a copy.
    pub redirect: bool,
}

impl ActionKind {
    /// Its name.
    pub const fn name(&self) -> &'static str {
        match self {
            ActionKind::Gact(_) => "gact",
            ActionKind::Police(_) => "police",
            ActionKind::Mirred(_) => "mirred",
            ActionKind::Skbedit(_) => "skbedit",
            ActionKind::Pedit(_) => "pedit",
            ActionKind::Csum(_) => "csum",
            ActionKind::Vlan(_) => "vlan",
        }
    }
}

/// An action at work.
#[derive(Debug)]
pub struct Action {
    /// Its parameters.
    pub spec: ActionSpec,
    /// Its number among those of its kind.
    pub index: u32,
    /// What it counts.
    pub cells: Arc<ActionCells>,
    bucket: Arc<police::Buckets>,
    meter: Option<police::Meter>,
}

impl Action {
    /// A new one.
    pub fn new(spec: ActionSpec, index: u32, now: Instant) -> Action {
        let cells = ActionCells::default();
        cells.installed.store(now.as_nanos().max(1), Ordering::Relaxed);
        Action::with(spec, index, Arc::new(cells), Arc::default())
    }

    /// The same with other parameters, which counts on. The buckets of a policer are full again, as they are in the
    /// kernel.
    pub fn changed(&self, spec: ActionSpec) -> Action {
        Action::with(spec, self.index, Arc::clone(&self.cells), Arc::default())
    }

    fn with(spec: ActionSpec, index: u32, cells: Arc<ActionCells>, bucket: Arc<police::Buckets>) -> Action {
        let meter = match &spec.kind {
            ActionKind::Police(police) => Some(police::Meter::new(police)),
            _ => None,
        };
        Action { spec, index, cells, bucket, meter }
    }
}

/// What an action counts. Written by all lcores.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct ActionCells {
    bytes: AtomicU64,
    packets: AtomicU64,
    drops: AtomicU64,
    overlimits: AtomicU64,
    installed: AtomicU64,
    last_used: AtomicU64,
    first_used: AtomicU64,
}

/// The counters of an action at one time. Times in nanoseconds since the router's origin, 0 for never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ActionCounts {
    /// Bytes of the packets it saw.
    pub bytes: u64,
    /// Packets it saw.
    pub packets: u64,
    /// Packets it dropped.
    pub drops: u64,
    /// Packets over the limit, or that could not be sent.
    pub overlimits: u64,
    /// When it was made.
    pub installed: u64,
    /// When it was last used.
    pub last_used: u64,
    /// When it was first used.
    pub first_used: u64,
}

impl ActionCells {
    fn saw(&self, now: Instant, len: u32) {
        self.packets.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(len.into(), Ordering::Relaxed);
        let now = now.as_nanos().max(1);
        if self.last_used.load(Ordering::Relaxed) != now {
            self.last_used.store(now, Ordering::Relaxed);
        }
        if self.first_used.load(Ordering::Relaxed) == 0 {
            self.first_used.store(now, Ordering::Relaxed);
        }
    }

    fn dropped(&self) {
        self.drops.fetch_add(1, Ordering::Relaxed);
    }

    fn over(&self) {
        self.overlimits.fetch_add(1, Ordering::Relaxed);
    }

    /// Number of packets so far.
    fn nth(&self) -> u64 {
        self.packets.load(Ordering::Relaxed)
    }

    /// All of it.
    pub fn counts(&self) -> ActionCounts {
        let get = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        ActionCounts {
            bytes: get(&self.bytes),
            packets: get(&self.packets),
            drops: get(&self.drops),
            overlimits: get(&self.overlimits),
            installed: get(&self.installed),
            last_used: get(&self.last_used),
            first_used: get(&self.first_used),
        }
    }
}

/// How a row of actions ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ran {
    /// With this word.
    Control(Control),
    /// The packet goes elsewhere.
    Redirect {
        /// The device.
        dev: IfIndex,
        /// It is received there.
        ingress: bool,
    },
}

/// Runs actions over a packet that is charged for `len` bytes.
pub fn run(actions: &[Arc<Action>], host: &mut dyn ActHost, skb: &mut Skb, len: u32) -> Ran {
    let (mut at, mut jumps) = (0, 0);
    let mut last = Control::Ok;
    while let Some(action) = actions.get(at) {
        last = match action.act(host, skb, len) {
            Ran::Control(control) => control,
            redirect => return redirect,
        };
        match last {
            Control::Pipe => at += 1,
            Control::Jump(to) => {
                jumps += 1;
                if to == 0 || to as usize > actions.len() || jumps >= MAX_JUMPS {
                    return Ran::Control(Control::Ok);
                }
                at = to as usize;
                last = Control::Ok;
            }
            _ => break,
        }
    }
    Ran::Control(last)
}

impl Action {
    #[inline]
    fn act(&self, host: &mut dyn ActHost, skb: &mut Skb, len: u32) -> Ran {
        self.cells.saw(host.now(), len);
        let on = self.spec.control;
        let control = match &self.spec.kind {
            ActionKind::Gact(gact) => gact.decide(on, self.cells.nth(), || host.random()),
            ActionKind::Police(police) => self.police(police, host.now(), len),
            ActionKind::Mirred(mirred) => return self.mirred(*mirred, host, skb),
            ActionKind::Skbedit(edit) => {
                edit.apply(skb);
                on
            }
            ActionKind::Pedit(edit) => {
                if edit.apply(skb, host.at_ingress()).is_none() {
                    self.cells.over();
                }
                on
            }
            ActionKind::Csum(which) => match csum::update(skb, *which, host.at_ingress()) {
                Some(()) => on,
                None => Control::Shot,
            },
            ActionKind::Vlan(edit) => match edit.apply(skb, host.at_ingress()) {
                Some(()) => on,
                None => Control::Shot,
            },
        };
        if control == Control::Shot {
            self.cells.dropped();
        }
        Ran::Control(control)
    }

    fn police(&self, police: &police::Police, now: Instant, len: u32) -> Control {
        let conforms = self.meter.as_ref().is_none_or(|meter| meter.take(&self.bucket, now, len));
        if conforms {
            return police.conform;
        }
        self.cells.over();
        self.spec.control
    }

    #[cold]
    fn mirred(&self, mirred: Mirred, host: &mut dyn ActHost, skb: &mut Skb) -> Ran {
        let Mirred { dev, ingress, redirect } = mirred;
        if redirect {
            return Ran::Redirect { dev, ingress };
        }
        match host.copy(skb) {
            Some(copy) => host.send(copy, dev, ingress),
            None => self.cells.over(),
        }
        Ran::Control(self.spec.control)
    }
}

/// Where the network header of a packet is, behind its first tag.
fn network(skb: &Skb, ingress: bool) -> usize {
    super::cls::view::View::of_skb(skb, ingress).network
}

/// A packet whose bytes have changed: what the driver found out no longer holds.
fn touched(skb: &mut Skb) {
    skb.clear_rx_checksums();
}
