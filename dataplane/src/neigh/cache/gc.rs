//! Collection of entries nobody needs, and the periodic draw of new reachable times.

use std::time::Duration;

use super::super::nud::Nud;
use super::super::table::NeighId;
use super::{Action, NeighCache, TrueSize};
use crate::time::Instant;

/// `net.ipv4.neigh.default.gc_*`. Defaults are the kernel's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GcParams {
    /// `gc_thresh1`: with fewer entries nothing is collected.
    pub thresh1: usize,
    /// `gc_thresh2`: with more entries, a new one forces a collection, at most every 5 s.
    pub thresh2: usize,
    /// `gc_thresh3`: the most entries there may be; permanent ones do not count.
    pub thresh3: usize,
    /// Time between two periodic runs (kernel: half of `base_reachable_time`).
    pub interval: Duration,
}

impl Default for GcParams {
    fn default() -> Self {
        GcParams { thresh1: 128, thresh2: 512, thresh3: 1024, interval: Duration::from_secs(15) }
    }
}

/// How long a reachable time is kept before another is drawn.
const REDRAW: Duration = Duration::from_secs(300);
/// A forced collection spares entries that changed this recently, and is not repeated this soon.
const FORCED: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Gc {
    params: GcParams,
    next_run: Instant,
    last_draw: Instant,
    last_forced: Instant,
}

impl Gc {
    pub(super) fn new(params: GcParams, now: Instant) -> Self {
        Gc { next_run: now + params.interval, params, last_draw: now, last_forced: now }
    }

    pub(super) fn next_run(&self) -> Instant {
        self.next_run
    }
}

impl<P: TrueSize> NeighCache<P> {
    /// Replaces the thresholds; the next run keeps its time.
    pub fn set_gc(&mut self, params: GcParams) {
        self.gc.params = params;
    }

    pub(super) fn periodic(&mut self, now: Instant, out: &mut Vec<Action<P>>) {
        if now < self.gc.next_run {
            return;
        }
        // A zero interval must not make every deadline "now".
        self.gc.next_run = now + self.gc.params.interval.max(Duration::from_millis(10));
        self.counters.periodic_gc_runs += 1;
        if now >= self.gc.last_draw + REDRAW {
            self.gc.last_draw = now;
            for device in self.devices.values_mut() {
                device.reachable = self.rng.reachable_time(device.params.base_reachable);
            }
        }
        if self.len() >= self.gc.params.thresh1 {
            self.collect_unused(now, out);
        }
    }

    fn collect_unused(&mut self, now: Instant, out: &mut Vec<Action<P>>) {
        for id in self.ids() {
            self.pull_use(id);
            if self.is_unused(id, now) {
                self.destroy(id, now, out);
            }
        }
    }

    fn is_unused(&mut self, id: NeighId, now: Instant) -> bool {
        if self.writer.is_held(id) {
            return false;
        }
        let Some((neigh, device)) = self.parts(id) else { return false };
        let machine = &neigh.machine;
        if machine.state() == Nud::Permanent || machine.state().in_timer() {
            return false;
        }
        let used = machine.confirmed().map_or(machine.used(), |at| at.max(machine.used()));
        machine.state() == Nud::Failed || now >= used + device.params.gc_stale
    }

    /// Whether one more entry may be made; collects if there are too many (kernel: `neigh_forced_gc`).
    pub(super) fn make_room(&mut self, now: Instant, out: &mut Vec<Action<P>>) -> bool {
        let counted = self.collectable();
        let GcParams { thresh2, thresh3, .. } = self.gc.params;
        let due = counted >= thresh2 && now > self.gc.last_forced + FORCED;
        if counted < thresh3 && !due {
            return true;
        }
        self.counters.forced_gc_runs += 1;
        self.gc.last_forced = now;
        let surplus = (counted + 1).saturating_sub(thresh2);
        let mut victims: Vec<_> = self.ids().filter_map(|id| Some((self.victim(id, now)?, id))).collect();
        victims.sort_unstable();
        victims.truncate(surplus);
        for &(_, id) in &victims {
            self.destroy(id, now, out);
        }
        self.collectable() < thresh3
    }

    fn collectable(&self) -> usize {
        self.len() - self.count(Nud::Permanent)
    }

    /// The age rank of an entry a forced collection may take.
    fn victim(&self, id: NeighId, now: Instant) -> Option<u64> {
        let neigh = self.neigh(id)?;
        let state = neigh.machine.state();
        let old = now > neigh.machine.updated() + FORCED;
        let takes = old || matches!(state, Nud::Failed | Nud::Noarp);
        (takes && state != Nud::Permanent && !self.writer.is_held(id)).then_some(neigh.serial)
    }
}
