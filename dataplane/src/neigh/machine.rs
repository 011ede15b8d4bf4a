//! Neighbour unreachability detection for one neighbour: the kernel's state machine, without packets or tables.
//!
//! Uses:  device parameters, the device's drawn reachable time, `now`.
//! Gives: what its owner must do (send a probe, flush or fail the queue). The owner looks at
//!        [`state`](Machine::state), [`mac`](Machine::mac) and [`deadline`](Machine::deadline) afterwards.
//!
//! A deadline that is reached counts as passed: what lasts 5 s is over at exactly 5 s.

use std::time::Duration;

use super::nud::{MIN_RETRANS, NeighParams, Nud};
use crate::net::MacAddr;
use crate::time::Instant;

/// Where a probe goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeTo {
    /// To everybody on the link.
    Broadcast,
    /// To the address we believe in.
    Unicast(MacAddr),
    /// To a daemon of the operator (`app_solicit`): nothing leaves by the device.
    Daemon,
}

/// What a packet to this neighbour may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Go out now.
    Send,
    /// Wait; a resolution is under way. With a probe to send, if it starts with this use.
    Wait(Option<ProbeTo>),
    /// Fail at once: this device is not to send any request.
    Fail,
}

/// What came of a timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fired {
    /// At most the state changed.
    Quiet,
    /// Send this probe.
    Probe(ProbeTo),
    /// No answer: FAILED, and everything that waited with it.
    Failed,
}

/// What came of an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Updated {
    /// Nothing for the queue.
    Quiet,
    /// The neighbour became usable: everything that waited may go.
    Resolved,
    /// It was made unusable: everything that waited fails.
    Failed,
}

/// Who updates, and how far that may go (kernel: `NEIGH_UPDATE_F_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authority {
    /// ARP that may not replace a known link address.
    Weak,
    /// ARP that may.
    Override,
    /// The operator, who may also change NOARP and PERMANENT entries.
    Admin,
}

/// One neighbour.
#[derive(Clone, Debug)]
pub struct Machine {
    state: Nud,
    mac: MacAddr,
    /// Last proof that it hears us; `None` is longer ago than any timer asks.
    confirmed: Option<Instant>,
    updated: Instant,
    used: Instant,
    probes: u32,
    deadline: Option<Instant>,
}

impl Machine {
    /// A neighbour nobody has asked for yet.
    pub fn new(now: Instant) -> Self {
        Machine {
            state: Nud::None,
            mac: MacAddr::ZERO,
            confirmed: None,
            updated: now,
            used: now,
            probes: 0,
            deadline: None,
        }
    }

    /// A neighbour on a device without address resolution: any packet goes to `mac`.
    pub fn noarp(mac: MacAddr, now: Instant) -> Self {
        Machine { state: Nud::Noarp, mac, ..Machine::new(now) }
    }

    /// The state.
    pub fn state(&self) -> Nud {
        self.state
    }

    /// The link address; meaningful in a valid state.
    pub fn mac(&self) -> MacAddr {
        self.mac
    }

    /// When [`on_timer`](Self::on_timer) is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// When it was last confirmed, if ever.
    pub fn confirmed(&self) -> Option<Instant> {
        self.confirmed
    }

    /// When state or address last changed.
    pub fn updated(&self) -> Instant {
        self.updated
    }

    /// When it was last used, as far as the cache was told.
    pub fn used(&self) -> Instant {
        self.used
    }

    /// Probes sent in this state; broadcast ones count from `ucast_solicit`, as `ip -s neigh` shows them.
    pub fn probes(&self) -> u32 {
        self.probes
    }

    /// An lcore noted a use at `at`.
    pub fn note_use(&mut self, at: Instant) {
        self.used = self.used.max(at);
    }

    /// A packet wants to go to this neighbour.
    pub fn on_use(&mut self, params: &NeighParams, now: Instant) -> Use {
        self.note_use(now);
        match self.state {
            Nud::None | Nud::Failed if params.mcast_solicit == 0 && params.app_solicit == 0 => {
                self.enter(Nud::Failed, None, now);
                Use::Fail
            }
            Nud::None | Nud::Failed => {
                self.probes = params.ucast_solicit;
                self.enter(Nud::Incomplete, Some(now + retrans(params)), now);
                Use::Wait(Some(self.next_probe(params)))
            }
            Nud::Incomplete => Use::Wait(None),
            Nud::Stale => {
                self.enter(Nud::Delay, Some(now + params.delay_first_probe), now);
                Use::Send
            }
            Nud::Reachable | Nud::Delay | Nud::Probe | Nud::Noarp | Nud::Permanent => Use::Send,
        }
    }

    /// The deadline has come. Does nothing before it.
    pub fn on_timer(&mut self, params: &NeighParams, reachable: Duration, now: Instant) -> Fired {
        if self.deadline.is_none_or(|at| now < at) {
            return Fired::Quiet;
        }
        match self.state {
            Nud::Reachable => self.end_reachable(params, reachable, now),
            Nud::Delay if self.confirmed_within(params.delay_first_probe, now) => {
                self.enter(Nud::Reachable, self.confirmed.map(|at| at + reachable), now);
                Fired::Quiet
            }
            Nud::Delay => {
                self.probes = 0;
                self.enter(Nud::Probe, None, now);
                self.probe_or_fail(params, now)
            }
            Nud::Incomplete | Nud::Probe => self.probe_or_fail(params, now),
            Nud::None | Nud::Stale | Nud::Failed | Nud::Noarp | Nud::Permanent => {
                self.deadline = None;
                Fired::Quiet
            }
        }
    }

    /// Somebody says what the state and perhaps the link address should be (kernel: `neigh_update`).
    ///
    /// A refused update (a static entry and no operator, no address where none is known) changes nothing.
    pub fn update(
        &mut self,
        mac: Option<MacAddr>,
        new: Nud,
        authority: Authority,
        reachable: Duration,
        now: Instant,
    ) -> Updated {
        let old = self.state;
        if authority != Authority::Admin && matches!(old, Nud::Noarp | Nud::Permanent) {
            return Updated::Quiet;
        }
        if !new.is_valid() {
            self.enter(new, None, now);
            return if old == Nud::Incomplete { Updated::Failed } else { Updated::Quiet };
        }
        let Some(mac) = mac.or(old.is_valid().then_some(self.mac)) else { return Updated::Quiet };
        if new.is_connected() {
            // Even when the address below is refused: the neighbour has spoken.
            self.confirmed = Some(now);
        }
        let moved = !old.is_valid() || mac != self.mac;
        if old.is_valid() && moved && authority == Authority::Weak {
            return Updated::Quiet;
        }
        // Hearsay about an address we already believe in does not make it less believable.
        let new = if !moved && new == Nud::Stale && authority != Authority::Admin { old } else { new };
        if new != old {
            if new == Nud::Probe {
                self.probes = 0;
            }
            let lasts = if new == Nud::Reachable { reachable } else { Duration::ZERO };
            self.enter(new, new.in_timer().then(|| now + lasts), now);
        }
        if moved {
            self.mac = mac;
            self.updated = now;
            if !new.is_connected() {
                self.confirmed = None;
            }
        }
        if old.is_valid() { Updated::Quiet } else { Updated::Resolved }
    }

    fn end_reachable(&mut self, params: &NeighParams, reachable: Duration, now: Instant) -> Fired {
        if self.confirmed_within(reachable, now) {
            self.deadline = self.confirmed.map(|at| at + reachable);
        } else if now < self.used + params.delay_first_probe {
            self.enter(Nud::Delay, Some(now + params.delay_first_probe), now);
        } else {
            self.enter(Nud::Stale, None, now);
        }
        Fired::Quiet
    }

    fn probe_or_fail(&mut self, params: &NeighParams, now: Instant) -> Fired {
        let broadcasts = if self.state == Nud::Probe { params.mcast_resolicit } else { params.mcast_solicit };
        let most = params.ucast_solicit.saturating_add(params.app_solicit).saturating_add(broadcasts);
        if self.probes >= most {
            self.enter(Nud::Failed, None, now);
            return Fired::Failed;
        }
        self.deadline = Some(now + retrans(params));
        Fired::Probe(self.next_probe(params))
    }

    /// The first `ucast_solicit` probes are unicast, `app_solicit` ones go to a daemon, the others are broadcast; a
    /// resolution starts behind the first.
    fn next_probe(&mut self, params: &NeighParams) -> ProbeTo {
        let probe = self.probes;
        self.probes = probe.saturating_add(1);
        match probe.checked_sub(params.ucast_solicit) {
            None => ProbeTo::Unicast(self.mac),
            Some(n) if n < params.app_solicit => ProbeTo::Daemon,
            Some(_) => ProbeTo::Broadcast,
        }
    }

    fn confirmed_within(&self, time: Duration, now: Instant) -> bool {
        self.confirmed.is_some_and(|at| now < at + time)
    }

    fn enter(&mut self, state: Nud, deadline: Option<Instant>, now: Instant) {
        self.state = state;
        self.deadline = deadline;
        self.updated = now;
    }
}

fn retrans(params: &NeighParams) -> Duration {
    params.retrans.max(MIN_RETRANS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    const OTHER: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
    const REACHABLE: Duration = Duration::from_secs(20);

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    fn in_state(state: Nud, now: Instant) -> Machine {
        let mut machine = Machine::new(now);
        machine.update(Some(MAC), state, Authority::Admin, REACHABLE, now);
        machine
    }

    fn reply(machine: &mut Machine, mac: MacAddr, authority: Authority, now: Instant) -> Updated {
        machine.update(Some(mac), Nud::Reachable, authority, REACHABLE, now)
    }

    #[test]
    fn resolution_probes_at_0_1_and_2_s_and_fails_at_3() {
        let p = NeighParams::default();
        let mut m = Machine::new(at(0));
        assert_eq!(m.on_use(&p, at(0)), Use::Wait(Some(ProbeTo::Broadcast)));
        assert_eq!(m.on_use(&p, at(10)), Use::Wait(None));
        assert_eq!(m.on_timer(&p, REACHABLE, at(999)), Fired::Quiet);
        assert_eq!(m.on_timer(&p, REACHABLE, at(1000)), Fired::Probe(ProbeTo::Broadcast));
        assert_eq!(m.on_timer(&p, REACHABLE, at(2000)), Fired::Probe(ProbeTo::Broadcast));
        assert_eq!((m.state(), m.deadline()), (Nud::Incomplete, Some(at(3000))));
        assert_eq!(m.on_timer(&p, REACHABLE, at(3000)), Fired::Failed);
        assert_eq!((m.state(), m.deadline()), (Nud::Failed, None));
        assert_eq!(m.on_use(&p, at(3001)), Use::Wait(Some(ProbeTo::Broadcast)));
        assert_eq!(m.state(), Nud::Incomplete);
    }

    #[test]
    fn an_unused_neighbour_goes_stale_and_a_use_starts_the_check() {
        let p = NeighParams::default();
        let mut m = Machine::new(at(0));
        m.on_use(&p, at(0));
        assert_eq!(reply(&mut m, MAC, Authority::Override, at(100)), Updated::Resolved);
        assert_eq!((m.state(), m.deadline()), (Nud::Reachable, Some(at(20_100))));
        assert_eq!(m.on_timer(&p, REACHABLE, at(20_100)), Fired::Quiet);
        assert_eq!((m.state(), m.deadline()), (Nud::Stale, None));
        assert_eq!(m.on_use(&p, at(40_000)), Use::Send);
        assert_eq!((m.state(), m.deadline()), (Nud::Delay, Some(at(45_000))));
        for millis in [45_000, 46_000, 47_000] {
            assert_eq!(m.on_timer(&p, REACHABLE, at(millis)), Fired::Probe(ProbeTo::Unicast(MAC)));
            assert_eq!(m.state(), Nud::Probe);
            assert_eq!(m.on_use(&p, at(millis)), Use::Send);
        }
        assert_eq!(m.on_timer(&p, REACHABLE, at(48_000)), Fired::Failed);
    }

    #[test]
    fn a_use_in_the_last_5_s_of_reachable_goes_straight_to_delay() {
        let p = NeighParams::default();
        for (used, expect) in [(15_000, Nud::Stale), (15_001, Nud::Delay)] {
            let mut m = in_state(Nud::Reachable, at(0));
            m.note_use(at(used));
            m.on_timer(&p, REACHABLE, at(20_000));
            assert_eq!(m.state(), expect);
        }
    }

    #[test]
    fn a_reply_prolongs_reachable_without_a_new_timer() {
        let p = NeighParams::default();
        let mut m = in_state(Nud::Reachable, at(0));
        reply(&mut m, MAC, Authority::Weak, at(12_000));
        assert_eq!(m.deadline(), Some(at(20_000)));
        m.on_timer(&p, REACHABLE, at(20_000));
        assert_eq!((m.state(), m.deadline()), (Nud::Reachable, Some(at(32_000))));
        m.on_timer(&p, REACHABLE, at(32_000));
        assert_eq!(m.state(), Nud::Stale);
    }

    #[test]
    fn a_confirmation_during_delay_spares_the_probes() {
        let p = NeighParams::default();
        let mut m = in_state(Nud::Stale, at(0));
        m.on_use(&p, at(1000));
        // A different address from a weak source is refused, but it is a sign of life.
        reply(&mut m, OTHER, Authority::Weak, at(3000));
        assert_eq!((m.state(), m.mac()), (Nud::Delay, MAC));
        assert_eq!(m.on_timer(&p, REACHABLE, at(6000)), Fired::Quiet);
        assert_eq!((m.state(), m.deadline()), (Nud::Reachable, Some(at(23_000))));
    }

    #[test]
    fn resolicitation_broadcasts_after_the_unicast_probes() {
        let p = NeighParams { mcast_resolicit: 2, ucast_solicit: 1, ..NeighParams::default() };
        let mut m = in_state(Nud::Probe, at(0));
        let fired: Vec<_> = (0..4).map(|s| m.on_timer(&p, REACHABLE, Instant::from_secs(s))).collect();
        let (u, b) = (Fired::Probe(ProbeTo::Unicast(MAC)), Fired::Probe(ProbeTo::Broadcast));
        assert_eq!(fired, [u, b, b, Fired::Failed]);
    }

    #[test]
    fn daemons_are_asked_between_unicast_and_broadcast() {
        let p =
            NeighParams { app_solicit: 2, mcast_solicit: 1, mcast_resolicit: 1, ..NeighParams::default() };
        let (a, b) = (ProbeTo::Daemon, ProbeTo::Broadcast);
        let mut m = Machine::new(at(0));
        assert_eq!(m.on_use(&p, at(0)), Use::Wait(Some(a)));
        let fired: Vec<_> = (1..4).map(|s| m.on_timer(&p, REACHABLE, Instant::from_secs(s))).collect();
        assert_eq!(fired, [Fired::Probe(a), Fired::Probe(b), Fired::Failed]);

        let mut m = in_state(Nud::Probe, at(0));
        let u = Fired::Probe(ProbeTo::Unicast(MAC));
        let fired: Vec<_> = (0..7).map(|s| m.on_timer(&p, REACHABLE, Instant::from_secs(s))).collect();
        assert_eq!(fired, [u, u, u, Fired::Probe(a), Fired::Probe(a), Fired::Probe(b), Fired::Failed]);
        // With a daemon to ask, no broadcast is needed to start.
        let p = NeighParams { app_solicit: 1, mcast_solicit: 0, ..NeighParams::default() };
        assert_eq!(Machine::new(at(0)).on_use(&p, at(0)), Use::Wait(Some(a)));
    }

    #[test]
    fn hearsay_keeps_the_state_of_a_known_address_and_makes_a_new_one_stale() {
        for state in [Nud::Reachable, Nud::Delay, Nud::Probe, Nud::Stale] {
            let mut m = in_state(state, at(0));
            m.update(Some(MAC), Nud::Stale, Authority::Override, REACHABLE, at(10));
            assert_eq!(m.state(), state);
            m.update(Some(OTHER), Nud::Stale, Authority::Weak, REACHABLE, at(10));
            assert_eq!((m.state(), m.mac(), m.updated()), (state, MAC, at(0)));
            m.update(Some(OTHER), Nud::Stale, Authority::Override, REACHABLE, at(10));
            assert_eq!((m.state(), m.mac(), m.updated()), (Nud::Stale, OTHER, at(10)));
            assert_eq!(m.confirmed(), None);
        }
    }

    #[test]
    fn only_the_operator_changes_a_static_entry() {
        let p = NeighParams::default();
        for state in [Nud::Permanent, Nud::Noarp] {
            let mut m = in_state(state, at(0));
            reply(&mut m, OTHER, Authority::Override, at(5000));
            assert_eq!((m.state(), m.mac()), (state, MAC));
            assert_eq!(m.on_use(&p, at(6000)), Use::Send);
            m.update(None, Nud::Stale, Authority::Admin, REACHABLE, at(7000));
            assert_eq!((m.state(), m.mac()), (Nud::Stale, MAC));
        }
    }

    #[test]
    fn without_probes_a_packet_fails_at_once() {
        let p = NeighParams { mcast_solicit: 0, ..NeighParams::default() };
        let mut m = Machine::new(at(0));
        assert_eq!(m.on_use(&p, at(0)), Use::Fail);
        assert_eq!(m.state(), Nud::Failed);
    }
}
