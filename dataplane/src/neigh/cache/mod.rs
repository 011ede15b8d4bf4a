//! The neighbour cache: every machine, its timers, and the packets that wait for an answer.
//!
//! One control thread owns it. Events go in as method calls with a `now`; what the world must do comes out as
//! [`Action`]s, in order. The table the lcores read is written on the way, so that it never says more than the
//! machines know.
//!
//! No packet is lost in here: each one given to [`resolve`](NeighCache::resolve) comes out of exactly one action.

mod action;
mod gc;
mod operator;
mod proxy;
mod waiting;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

pub use action::{Action, Counters, NeighInfo};
pub use gc::GcParams;
pub use operator::{NeighError, SetMode};
pub use waiting::TrueSize;

use super::arp::ArpFrame;
use super::arp_rcv::{ArpKind, Learn};
use super::machine::{Authority, Fired, Machine, Updated, Use};
use super::nud::{NeighParams, Nud};
use super::table::{COARSE_TICK, NeighId, NeighTable, NeighWriter};
use crate::net::{IfIndex, MacAddr};
use crate::time::Instant;
use gc::Gc;
use proxy::ProxyQueue;
use waiting::Waiting;

/// Every neighbour of the router.
#[derive(Debug)]
pub struct NeighCache<P> {
    writer: NeighWriter,
    devices: BTreeMap<IfIndex, Device>,
    /// Indexed by id.
    neighs: Vec<Option<Neigh<P>>>,
    timers: BTreeSet<(Instant, NeighId)>,
    /// Entries in each state, by [`Nud::ordinal`].
    in_state: [usize; Nud::ALL.len()],
    gc: Gc,
    proxy: ProxyQueue,
    counters: Counters,
    rng: XorShift,
    serial: u64,
}

#[derive(Debug)]
struct Device {
    mac: MacAddr,
    noarp: bool,
    params: NeighParams,
    /// Drawn around `base_reachable`, the same for every neighbour of the device.
    reachable: Duration,
    /// Resolutions nobody answered.
    failures: u64,
}

impl Device {
    /// How a neighbour on this device begins (kernel: `arp_constructor`).
    fn new_machine(&self, now: Instant) -> Machine {
        if self.noarp { Machine::noarp(self.mac, now) } else { Machine::new(now) }
    }
}

#[derive(Debug)]
struct Neigh<P> {
    dev: IfIndex,
    ip: u32,
    machine: Machine,
    waiting: Waiting<P>,
    /// The timer that is set.
    armed: Option<Instant>,
    /// State and address as the table has them.
    shown: (Nud, MacAddr),
    /// Order of creation.
    serial: u64,
}

impl<P: TrueSize> NeighCache<P> {
    /// A cache over a table of `capacity` entries. `seed` feeds the draw of reachable times.
    pub fn new(capacity: usize, gc: GcParams, seed: u64, now: Instant) -> Self {
        let (table, writer) = NeighTable::with_writer(capacity);
        NeighCache {
            writer,
            devices: BTreeMap::new(),
            neighs: (0..table.capacity()).map(|_| None).collect(),
            timers: BTreeSet::new(),
            in_state: [0; Nud::ALL.len()],
            gc: Gc::new(gc, now),
            proxy: ProxyQueue::default(),
            counters: Counters::default(),
            rng: XorShift::new(seed),
            serial: 0,
        }
    }

    /// The table for the lcores.
    pub fn table(&self) -> &Arc<NeighTable> {
        self.writer.table()
    }

    /// Ids removed from now on belong to `epoch`; see [`NeighWriter::set_epoch`].
    pub fn set_epoch(&mut self, epoch: u64) {
        self.writer.set_epoch(epoch);
    }

    /// Every lcore has passed `epoch`; see [`NeighWriter::reclaim_until`].
    pub fn reclaim_until(&mut self, epoch: u64) {
        self.writer.reclaim_until(epoch);
    }

    /// Adds a device, or gives a known one new parameters and a new reachable time. `noarp`: it needs no
    /// resolution (`IFF_NOARP`), every packet carries its own address.
    pub fn set_device(&mut self, dev: IfIndex, mac: MacAddr, noarp: bool, params: NeighParams) {
        let reachable = self.rng.reachable_time(params.base_reachable);
        let failures = self.failures(dev);
        self.devices.insert(dev, Device { mac, noarp, params, reachable, failures });
        for id in self.ids_of(dev) {
            self.rewrite_header(id);
        }
    }

    /// The parameters of a device.
    pub fn params(&self, dev: IfIndex) -> Option<&NeighParams> {
        self.devices.get(&dev).map(|d| &d.params)
    }

    /// The reachable time drawn for a device (`BaseReachable` times 0.5 to 1.5).
    pub fn reachable_time(&self, dev: IfIndex) -> Option<Duration> {
        self.devices.get(&dev).map(|d| d.reachable)
    }

    /// A packet for `ip` on `dev` found no usable address.
    pub fn resolve(&mut self, dev: IfIndex, ip: u32, packet: P, now: Instant, out: &mut Vec<Action<P>>) {
        match self.lookup_or_create(dev, ip, now, out) {
            Ok(id) => self.use_neigh(id, Some(packet), now, out),
            Err(_) => out.push(Action::CreateFail { packet }),
        }
    }

    /// An lcore used this neighbour and [`needs_confirm`](super::table::NeighEntry::needs_confirm) was true, or
    /// something wants it resolved without having a packet.
    pub fn used(&mut self, id: NeighId, now: Instant, out: &mut Vec<Action<P>>) {
        self.use_neigh(id, None, now, out);
    }

    /// An ARP packet told us something; see [`arp_rcv`](super::arp_rcv::arp_rcv).
    pub fn arp_update(&mut self, dev: IfIndex, learn: Learn, now: Instant, out: &mut Vec<Action<P>>) {
        let known = self.table().lookup(dev, learn.ip);
        let id = match known {
            Some(id) => id,
            None if learn.create => match self.lookup_or_create(dev, learn.ip, now, out) {
                Ok(id) => id,
                Err(_) => return,
            },
            None => return,
        };
        let Some((neigh, device)) = self.parts(id) else { return };
        let unlocked = now > neigh.machine.updated() + device.params.locktime;
        let (state, overrides) = match learn.kind {
            ArpKind::Request => (Nud::Stale, true),
            ArpKind::Gratuitous { reply_to_us: true } => (Nud::Reachable, true),
            ArpKind::Gratuitous { reply_to_us: false } => (Nud::Stale, true),
            ArpKind::Reply { unicast: true } => (Nud::Reachable, unlocked),
            ArpKind::Reply { unicast: false } | ArpKind::Overheard => (Nud::Stale, unlocked),
        };
        let authority = if overrides { Authority::Override } else { Authority::Weak };
        self.update(id, Some(learn.mac), state, authority, now, out);
    }

    /// An answer for somebody behind us waits a random part of the device's `proxy_delay`, so that the station itself
    /// comes first. False if too many wait already.
    pub fn proxy_later(&mut self, dev: IfIndex, frame: ArpFrame, now: Instant) -> bool {
        let Some(device) = self.devices.get(&dev) else { return false };
        let wait = self.rng.below(device.params.proxy_delay);
        self.proxy.push(dev, frame, now + wait, device.params.proxy_qlen)
    }

    /// Runs everything that is due: timers, the draw of new reachable times, collection.
    pub fn tick(&mut self, now: Instant, out: &mut Vec<Action<P>>) {
        while let Some(&(at, id)) = self.timers.first()
            && at <= now
        {
            self.timers.pop_first();
            self.fire(id, now, out);
        }
        self.proxy.due(now, |dev, frame| out.push(Action::ProxyReply { dev, frame }));
        self.periodic(now, out);
    }

    /// When [`tick`](Self::tick) has something to do next.
    pub fn next_deadline(&self) -> Instant {
        let timer = self.timers.first().map(|&(at, _)| at);
        [timer, self.proxy.next_deadline()].into_iter().flatten().fold(self.gc.next_run(), Instant::min)
    }

    /// Entries in a state.
    pub fn count(&self, state: Nud) -> usize {
        self.in_state[state.ordinal()]
    }

    /// Entries in all.
    pub fn len(&self) -> usize {
        self.in_state.iter().sum()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Totals since the start.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Resolutions and re-checks on `dev` that nobody answered, since the device came.
    pub fn failures(&self, dev: IfIndex) -> u64 {
        self.devices.get(&dev).map_or(0, |device| device.failures)
    }

    /// One neighbour.
    pub fn get(&self, dev: IfIndex, ip: u32) -> Option<NeighInfo> {
        let id = self.table().lookup(dev, ip)?;
        Some(self.info(id, self.neigh(id)?))
    }

    /// Every neighbour, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = NeighInfo> {
        self.ids().filter_map(|id| Some(self.info(id, self.neigh(id)?)))
    }

    fn use_neigh(&mut self, id: NeighId, packet: Option<P>, now: Instant, out: &mut Vec<Action<P>>) {
        let Some((neigh, device)) = self.parts(id) else {
            out.extend(packet.map(|packet| Action::CreateFail { packet }));
            return;
        };
        let (dev, target) = (neigh.dev, neigh.ip);
        match neigh.machine.on_use(&device.params, now) {
            Use::Send => {
                out.extend(packet.map(|packet| Action::Transmit { id, packets: vec![packet] }));
            }
            Use::Wait(probe) => {
                let limit = device.params.unres_qlen_bytes;
                let pushed_out = packet.map_or(0, |packet| neigh.waiting.push(packet, limit, out));
                let source = neigh.waiting.source();
                self.counters.unres_discards += pushed_out;
                out.extend(probe.map(|to| Action::SendRequest { dev, target, to, source }));
            }
            Use::Fail => out.extend(packet.map(|packet| Action::Refuse { packet })),
        }
        self.sync(id, out);
    }

    fn fire(&mut self, id: NeighId, now: Instant, out: &mut Vec<Action<P>>) {
        self.pull_use(id);
        let Some((neigh, device)) = self.parts(id) else { return };
        let (dev, target) = (neigh.dev, neigh.ip);
        neigh.armed = None;
        match neigh.machine.on_timer(&device.params, device.reachable, now) {
            Fired::Quiet => {}
            Fired::Probe(to) => {
                let source = neigh.waiting.source();
                out.push(Action::SendRequest { dev, target, to, source });
            }
            Fired::Failed => self.fail_waiting(id, out),
        }
        self.sync(id, out);
    }

    fn update(
        &mut self,
        id: NeighId,
        mac: Option<MacAddr>,
        state: Nud,
        authority: Authority,
        now: Instant,
        out: &mut Vec<Action<P>>,
    ) {
        let Some((neigh, device)) = self.parts(id) else { return };
        let updated = neigh.machine.update(mac, state, authority, device.reachable, now);
        let packets = if updated == Updated::Resolved { neigh.waiting.take() } else { Vec::new() };
        if updated == Updated::Failed {
            self.fail_waiting(id, out);
        }
        // The header is in the table before anybody is told to use it.
        self.sync(id, out);
        if !packets.is_empty() {
            out.push(Action::Transmit { id, packets });
        }
    }

    fn fail_waiting(&mut self, id: NeighId, out: &mut Vec<Action<P>>) {
        self.counters.res_failed += 1;
        let Some(neigh) = self.neigh_mut(id) else { return };
        let (dev, ip) = (neigh.dev, neigh.ip);
        let packets = neigh.waiting.take();
        if let Some(device) = self.devices.get_mut(&dev) {
            device.failures += 1;
        }
        if !packets.is_empty() {
            out.push(Action::Fail { dev, target: ip, packets });
        }
    }

    /// The entry for a key, made if it is not there (kernel: `neigh_create`).
    fn lookup_or_create(
        &mut self,
        dev: IfIndex,
        ip: u32,
        now: Instant,
        out: &mut Vec<Action<P>>,
    ) -> Result<NeighId, NeighError> {
        self.lookup_or_make(dev, ip, false, now, out)
    }

    /// The same; a static entry needs no room below `gc_thresh3`.
    fn lookup_or_make(
        &mut self,
        dev: IfIndex,
        ip: u32,
        static_entry: bool,
        now: Instant,
        out: &mut Vec<Action<P>>,
    ) -> Result<NeighId, NeighError> {
        let device = self.devices.get(&dev).ok_or(NeighError::NoDevice)?;
        if let Some(id) = self.table().lookup(dev, ip) {
            return Ok(id);
        }
        let machine = device.new_machine(now);
        let room = static_entry || self.make_room(now, out);
        let id = if room { self.writer.insert(dev, ip).ok() } else { None };
        let Some(id) = id else {
            self.counters.table_fulls += 1;
            return Err(NeighError::Full);
        };
        self.serial += 1;
        self.counters.allocs += 1;
        self.in_state[Nud::None.ordinal()] += 1;
        self.neighs[id.index()] = Some(Neigh {
            dev,
            ip,
            machine,
            waiting: Waiting::default(),
            armed: None,
            shown: (Nud::None, MacAddr::ZERO),
            serial: self.serial,
        });
        self.sync(id, out);
        Ok(id)
    }

    /// Removes an entry; one that a next hop holds stays, without address, to be resolved again.
    fn destroy(&mut self, id: NeighId, now: Instant, out: &mut Vec<Action<P>>) {
        let held = self.writer.is_held(id);
        let Some(neigh) = self.neigh(id) else { return };
        let fresh = self.devices.get(&neigh.dev).map_or(Machine::new(now), |d| d.new_machine(now));
        let Some(neigh) = self.neigh_mut(id) else { return };
        let packets = neigh.waiting.take();
        if !packets.is_empty() {
            out.push(Action::Purge { packets });
        }
        neigh.machine = fresh;
        self.sync(id, out);
        if held {
            return;
        }
        if let Some(neigh) = self.neighs[id.index()].take() {
            self.in_state[neigh.shown.0.ordinal()] -= 1;
            self.counters.destroys += 1;
            self.writer.remove(id);
            out.push(Action::Deleted { dev: neigh.dev, ip: neigh.ip });
        }
    }

    /// Makes table, timer and counts agree with the machine.
    fn sync(&mut self, id: NeighId, out: &mut Vec<Action<P>>) {
        let Some(neigh) = self.neighs.get_mut(id.index()).and_then(Option::as_mut) else { return };
        let deadline = neigh.machine.deadline();
        if neigh.armed != deadline {
            if let Some(at) = neigh.armed {
                self.timers.remove(&(at, id));
            }
            self.timers.extend(deadline.map(|at| (at, id)));
            neigh.armed = deadline;
        }
        let (state, mac) = (neigh.machine.state(), neigh.machine.mac());
        let (old_state, old_mac) = std::mem::replace(&mut neigh.shown, (state, mac));
        if mac != old_mac {
            let src = self.devices.get(&neigh.dev).map_or(MacAddr::ZERO, |d| d.mac);
            self.writer.set_link_addr(id, mac, src);
        }
        if state != old_state {
            self.in_state[old_state.ordinal()] -= 1;
            self.in_state[state.ordinal()] += 1;
            self.writer.set_state(id, state);
        }
        if (state, mac) != (old_state, old_mac)
            && let Some(neigh) = self.neigh(id)
        {
            out.push(Action::Changed(self.info(id, neigh)));
        }
    }

    fn rewrite_header(&mut self, id: NeighId) {
        let Some((neigh, device)) = self.parts(id) else { return };
        let (mac, src) = (neigh.shown.1, device.mac);
        if mac != MacAddr::ZERO {
            self.writer.set_link_addr(id, mac, src);
        }
    }

    /// Brings the use the lcores noted in the table into the machine.
    fn pull_use(&mut self, id: NeighId) {
        let noted = COARSE_TICK * self.table().entry(id).used();
        if let Some(neigh) = self.neigh_mut(id) {
            neigh.machine.note_use(Instant::ZERO + noted);
        }
    }

    fn info(&self, id: NeighId, neigh: &Neigh<P>) -> NeighInfo {
        let state = neigh.machine.state();
        NeighInfo {
            id,
            dev: neigh.dev,
            ip: neigh.ip,
            mac: state.is_valid().then(|| neigh.machine.mac()),
            state,
            used: neigh.machine.used(),
            confirmed: neigh.machine.confirmed(),
            updated: neigh.machine.updated(),
            probes: neigh.machine.probes(),
            queued: neigh.waiting.len(),
            held: self.writer.is_held(id),
        }
    }

    fn ids(&self) -> impl Iterator<Item = NeighId> + use<P> {
        (0..self.neighs.len() as u32).map(NeighId::from_u32)
    }

    fn ids_of(&self, dev: IfIndex) -> Vec<NeighId> {
        self.ids().filter(|&id| self.neigh(id).is_some_and(|n| n.dev == dev)).collect()
    }

    fn neigh(&self, id: NeighId) -> Option<&Neigh<P>> {
        self.neighs.get(id.index())?.as_ref()
    }

    fn neigh_mut(&mut self, id: NeighId) -> Option<&mut Neigh<P>> {
        self.neighs.get_mut(id.index())?.as_mut()
    }

    fn parts(&mut self, id: NeighId) -> Option<(&mut Neigh<P>, &Device)> {
        let neigh = self.neighs.get_mut(id.index())?.as_mut()?;
        let device = self.devices.get(&neigh.dev)?;
        Some((neigh, device))
    }
}

/// Marsaglia's xorshift64*: enough to keep neighbours of many routers from being checked in step.
#[derive(Debug)]
struct XorShift(u64);

impl XorShift {
    fn new(seed: u64) -> Self {
        XorShift(if seed == 0 { 0x9e37_79b9_7f4a_7c15 } else { seed })
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Uniform below `limit`.
    fn below(&mut self, limit: Duration) -> Duration {
        let nanos = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.next() % nanos.max(1))
    }

    /// Uniform in 0.5 to 1.5 times `base` (RFC 4861 section 6.3.2).
    fn reachable_time(&mut self, base: Duration) -> Duration {
        let nanos = u64::try_from(base.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(nanos / 2 + self.next() % nanos.max(1))
    }
}

#[cfg(test)]
mod tests;
