//! The machines of one port: receive, periodic transmission, mux, churn detection and transmit (IEEE 802.1AX-2014
//! sections 6.4.12 to 6.4.17).

use std::time::Duration;

use skiff_dataplane::net::{IfIndex, MacAddr};
use skiff_dataplane::time::Instant;

use super::wire::{Lacpdu, PortInfo, state};
use crate::bond::options::LacpRate;

/// LACPDUs to a partner that wants to hear often.
pub const FAST_PERIODIC: Duration = Duration::from_secs(1);
/// LACPDUs to a partner that does not.
pub const SLOW_PERIODIC: Duration = Duration::from_secs(30);
/// What was heard is old after this, where it should come often.
pub const SHORT_TIMEOUT: Duration = Duration::from_secs(3);
/// What was heard is old after this, where it should not.
pub const LONG_TIMEOUT: Duration = Duration::from_secs(90);
/// A port that is not in step by now is churned.
pub const CHURN_DETECTION: Duration = Duration::from_secs(60);
/// Ports wait this long for others to join with them.
pub const AGGREGATE_WAIT: Duration = Duration::from_secs(2);
/// LACPDUs a port may send in one second.
pub const MAX_TX_PER_SECOND: usize = 3;
/// Priority of a port.
pub const PORT_PRIORITY: u16 = 255;

const RATE_WINDOW: Duration = Duration::from_secs(1);

/// The state of the receive machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RxState {
    /// The link is down.
    PortDisabled,
    /// The link is no full duplex: it does without LACP.
    LacpDisabled,
    /// The partner is asked to speak up.
    Expired,
    /// It did not: what is known of it is made up.
    Defaulted,
    /// What is known of it is fresh.
    Current,
}

/// The state of the mux machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MuxState {
    /// In no aggregator.
    Detached,
    /// Waiting for others to join at once.
    Waiting,
    /// In an aggregator; the partner is not in step.
    Attached,
    /// Takes what it receives.
    Collecting,
    /// And is sent by.
    Distributing,
}

/// What churn detection says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Churn {
    /// Not in step yet.
    Monitoring,
    /// Not in step for a long time.
    Churned,
    /// In step.
    None,
}

impl Churn {
    /// The word shows print.
    pub fn word(self) -> &'static str {
        match self {
            Churn::Monitoring => "monitoring",
            Churn::Churned => "churned",
            Churn::None => "none",
        }
    }
}

/// One churn detection machine.
#[derive(Clone, Copy, Debug)]
pub struct ChurnDetector {
    /// What it says.
    pub state: Churn,
    /// How often a port was churned.
    pub count: u32,
    deadline: Instant,
}

impl ChurnDetector {
    fn new(now: Instant) -> ChurnDetector {
        ChurnDetector { state: Churn::Monitoring, count: 0, deadline: now + CHURN_DETECTION }
    }

    fn restart(&mut self, now: Instant) {
        (self.state, self.deadline) = (Churn::Monitoring, now + CHURN_DETECTION);
    }

    fn step(&mut self, in_sync: bool, now: Instant) {
        match self.state {
            _ if in_sync => self.state = Churn::None,
            Churn::None => self.restart(now),
            Churn::Monitoring if now >= self.deadline => {
                self.state = Churn::Churned;
                self.count = self.count.saturating_add(1);
            }
            Churn::Monitoring | Churn::Churned => {}
        }
    }
}

/// What of a bond's options its ports look at.
#[derive(Clone, Copy, Debug)]
pub struct PortConf {
    /// LACPDUs are sent unasked.
    pub active: bool,
    /// How often the partner is to send.
    pub rate: LacpRate,
    /// Collecting and distributing begin together.
    pub coupled: bool,
}

/// One port.
#[derive(Clone, Debug)]
pub struct Port {
    /// Its device.
    pub dev: IfIndex,
    /// What we say of ourselves.
    pub actor: PortInfo,
    /// What the partner says of itself, or what is made up.
    pub partner: PortInfo,
    /// The receive machine.
    pub rx: RxState,
    /// The mux machine.
    pub mux: MuxState,
    /// Whether we are in step.
    pub actor_churn: ChurnDetector,
    /// Whether the partner is.
    pub partner_churn: ChurnDetector,
    /// Number of its aggregator, while one is selected.
    pub aggregator: Option<u16>,
    /// LACPDUs received.
    pub rx_pdus: u64,
    /// LACPDUs sent.
    pub tx_pdus: u64,
    /// Bits per second in millions; 0 unknown.
    pub speed: u32,
    /// It hears itself.
    pub(super) looped: bool,
    /// It has waited for others long enough.
    pub(super) ready: bool,
    /// The number of the aggregator it was made with.
    pub(super) own_aggregator: u16,
    enabled: bool,
    full_duplex: bool,
    current_while: Instant,
    wait_while: Instant,
    periodic: Option<(Duration, Instant)>,
    ntt: bool,
    sent: [Option<Instant>; MAX_TX_PER_SECOND],
}

/// What is made up of a partner that says nothing.
pub(super) fn default_partner() -> PortInfo {
    PortInfo {
        system_priority: u16::MAX,
        system: MacAddr::ZERO,
        key: 1,
        port_priority: PORT_PRIORITY,
        port: 1,
        state: state::ACTIVITY,
    }
}

impl Port {
    /// A port whose link is down.
    pub(super) fn new(dev: IfIndex, actor: PortInfo, own_aggregator: u16, now: Instant) -> Port {
        Port {
            dev,
            actor,
            partner: default_partner(),
            rx: RxState::PortDisabled,
            mux: MuxState::Detached,
            actor_churn: ChurnDetector::new(now),
            partner_churn: ChurnDetector::new(now),
            aggregator: None,
            rx_pdus: 0,
            tx_pdus: 0,
            speed: 0,
            looped: false,
            ready: false,
            own_aggregator,
            enabled: false,
            full_duplex: false,
            current_while: now,
            wait_while: now,
            periodic: None,
            ntt: false,
            sent: [None; MAX_TX_PER_SECOND],
        }
    }

    /// The link is up.
    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// The link is up, and nobody speaks LACP at its other end.
    pub fn is_without_partner(&self) -> bool {
        self.enabled && self.partner.system == MacAddr::ZERO
    }

    /// It can be in no aggregator but its own.
    pub fn is_individual(&self) -> bool {
        !(self.actor.has(state::AGGREGATION) && self.partner.has(state::AGGREGATION))
    }

    pub(super) fn set_link(&mut self, enabled: bool, speed: u32, full_duplex: bool, now: Instant) {
        (self.speed, self.full_duplex) = (speed, full_duplex);
        self.actor.put(state::AGGREGATION, full_duplex && speed > 0);
        if enabled != self.enabled {
            self.enabled = enabled;
            self.actor_churn.restart(now);
            self.partner_churn.restart(now);
            self.rx = RxState::PortDisabled;
            self.periodic = None;
            // Whoever is there when it comes back may be another one.
            self.unselect();
            self.partner = default_partner();
        }
    }

    /// Something the partner is told has changed.
    pub(super) fn need_to_transmit(&mut self) {
        self.ntt = true;
    }

    /// Leaves its aggregator: it has to select one anew.
    pub(super) fn unselect(&mut self) {
        self.aggregator = None;
        self.ready = false;
    }

    /// Takes in a LACPDU (section 6.4.12: RX_CURRENT).
    pub(super) fn receive(&mut self, pdu: &Lacpdu, conf: &PortConf, now: Instant) {
        self.rx_pdus += 1;
        self.looped = false;
        if !self.enabled || !self.full_duplex {
            return;
        }
        if !pdu.actor.same(&self.partner, state::AGGREGATION) {
            self.unselect();
        }
        let told = state::ACTIVITY | state::TIMEOUT | state::SYNC | state::AGGREGATION;
        if !pdu.partner.same(&self.actor, told) {
            self.ntt = true;
        }
        self.record(pdu);
        let timeout = if conf.rate == LacpRate::Fast { SHORT_TIMEOUT } else { LONG_TIMEOUT };
        self.current_while = now + timeout;
        self.actor.put(state::EXPIRED, false);
        self.rx = RxState::Current;
    }

    /// Section 6.4.9: recordPDU.
    fn record(&mut self, pdu: &Lacpdu) {
        let knows_us =
            pdu.partner.same(&self.actor, state::AGGREGATION) || !pdu.actor.has(state::AGGREGATION);
        let keeps_up = pdu.actor.has(state::ACTIVITY)
            || (self.actor.has(state::ACTIVITY) && pdu.partner.has(state::ACTIVITY));
        self.partner = pdu.actor;
        self.partner.put(state::SYNC, pdu.actor.has(state::SYNC) && knows_us && keeps_up);
        self.actor.put(state::DEFAULTED, false);
    }

    /// Runs the receive machine's timers.
    pub(super) fn step_receive(&mut self, conf: &PortConf, now: Instant) {
        self.actor.put(state::ACTIVITY, conf.active);
        self.actor.put(state::TIMEOUT, conf.rate == LacpRate::Fast);
        if !self.enabled {
            return;
        }
        match self.rx {
            RxState::PortDisabled if self.full_duplex => self.expire(now),
            RxState::PortDisabled => self.disable_lacp(),
            RxState::LacpDisabled if self.full_duplex => self.expire(now),
            _ if !self.full_duplex => self.disable_lacp(),
            RxState::Current if now >= self.current_while => self.expire(now),
            RxState::Expired if now >= self.current_while => self.default_partner(),
            _ => {}
        }
    }

    /// What is known of the partner is old: it is asked to be quick.
    fn expire(&mut self, now: Instant) {
        self.rx = RxState::Expired;
        self.partner.put(state::SYNC, false);
        self.partner.put(state::TIMEOUT, true);
        self.current_while = now + SHORT_TIMEOUT;
        self.actor.put(state::EXPIRED, true);
        self.ntt = true;
    }

    fn default_partner(&mut self) {
        self.rx = RxState::Defaulted;
        self.make_up_partner();
    }

    fn disable_lacp(&mut self) {
        if self.rx != RxState::LacpDisabled {
            self.rx = RxState::LacpDisabled;
            self.make_up_partner();
        }
    }

    /// Sections 6.4.9: update_Default_Selected and recordDefault.
    fn make_up_partner(&mut self) {
        let made_up = default_partner();
        if !made_up.same(&self.partner, state::AGGREGATION) {
            self.unselect();
        }
        self.partner = made_up;
        self.actor.put(state::DEFAULTED, true);
        self.actor.put(state::EXPIRED, false);
    }

    /// Runs the periodic machine: one side at least must be active.
    pub(super) fn step_periodic(&mut self, now: Instant) {
        if !self.speaks() || !self.may_speak_first() {
            self.periodic = None;
            return;
        }
        let wanted = if self.partner.has(state::TIMEOUT) { FAST_PERIODIC } else { SLOW_PERIODIC };
        match self.periodic {
            None => self.periodic = Some((FAST_PERIODIC, now + FAST_PERIODIC)),
            Some((_, at)) if now >= at => self.transmit_periodically(wanted, now),
            // A partner that is in a hurry all of a sudden gets one at once.
            Some((was, _)) if was > wanted => self.transmit_periodically(wanted, now),
            Some((was, at)) if was < wanted => {
                self.periodic = Some((wanted, at + (wanted - was)));
            }
            Some(_) => {}
        }
    }

    fn transmit_periodically(&mut self, period: Duration, now: Instant) {
        self.ntt = true;
        self.periodic = Some((period, now + period));
    }

    /// One side is active. What is made up of a partner does not count, or two passive sides would never be silent.
    fn may_speak_first(&self) -> bool {
        let heard = self.partner.system != MacAddr::ZERO;
        self.actor.has(state::ACTIVITY) || (heard && self.partner.has(state::ACTIVITY))
    }

    /// LACP runs on this port.
    fn speaks(&self) -> bool {
        self.enabled && self.full_duplex
    }

    /// Runs the wait timer: until it expires the aggregator waits for more ports.
    pub(super) fn step_wait(&mut self, now: Instant) {
        if self.mux == MuxState::Detached && self.aggregator.is_some() {
            self.mux = MuxState::Waiting;
            self.wait_while = now + AGGREGATE_WAIT;
            self.ready = false;
        }
        if self.mux == MuxState::Waiting && now >= self.wait_while {
            self.ready = true;
        }
    }

    /// Runs the mux machine. `group_ready`: all of its aggregator's ports have waited. `in_use`: its aggregator is the
    /// one the bond uses.
    pub(super) fn step_mux(&mut self, conf: &PortConf, group_ready: bool, in_use: bool) {
        let selected = self.aggregator.is_some() && self.enabled;
        let in_step = selected && in_use && self.partner.has(state::SYNC);
        let next = match self.mux {
            MuxState::Detached => MuxState::Detached,
            _ if !selected => MuxState::Detached,
            MuxState::Waiting if group_ready => MuxState::Attached,
            MuxState::Waiting => MuxState::Waiting,
            _ if !in_step => MuxState::Attached,
            MuxState::Attached if conf.coupled => MuxState::Distributing,
            MuxState::Attached => MuxState::Collecting,
            _ if conf.coupled || self.partner.has(state::COLLECTING) => MuxState::Distributing,
            _ => MuxState::Collecting,
        };
        self.mux = next;
        let attached = !matches!(next, MuxState::Detached | MuxState::Waiting);
        let before = self.actor.state;
        self.actor.put(state::SYNC, attached && in_use);
        let collecting = matches!(next, MuxState::Collecting | MuxState::Distributing);
        self.actor.put(state::COLLECTING, collecting);
        self.actor.put(state::DISTRIBUTING, next == MuxState::Distributing);
        if self.actor.state != before {
            self.ntt = true;
        }
    }

    /// Runs churn detection.
    pub(super) fn step_churn(&mut self, now: Instant) {
        if self.speaks() {
            self.actor_churn.step(self.actor.has(state::SYNC), now);
            self.partner_churn.step(self.partner.has(state::SYNC), now);
        }
    }

    /// The LACPDU to send now, if there is one and the rate allows it.
    pub(super) fn step_transmit(&mut self, now: Instant) -> Option<Lacpdu> {
        if !self.speaks() {
            self.ntt = false;
        }
        let oldest = self.sent[0];
        let limited = oldest.is_some_and(|at| now.since(at) < RATE_WINDOW);
        if !self.ntt || !self.may_speak_first() || limited {
            return None;
        }
        self.ntt = false;
        self.sent.rotate_left(1);
        self.sent[MAX_TX_PER_SECOND - 1] = Some(now);
        self.tx_pdus += 1;
        Some(Lacpdu { actor: self.actor, partner: self.partner, collector_max_delay: 0 })
    }

    /// The LACPDU of a port that leaves its bond, past the limit of the rate: it is its last one. The partner is told
    /// that the port can be in no aggregator, as the kernel does.
    pub(super) fn farewell(&self) -> Option<Lacpdu> {
        if !self.speaks() || !self.may_speak_first() {
            return None;
        }
        let mut actor = self.actor;
        for bit in [state::SYNC, state::COLLECTING, state::DISTRIBUTING, state::AGGREGATION] {
            actor.put(bit, false);
        }
        Some(Lacpdu { actor, partner: self.partner, collector_max_delay: 0 })
    }
}
