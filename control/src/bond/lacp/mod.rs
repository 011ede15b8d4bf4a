//! LACP: which ports of a bond are one link, agreed on with whoever is at their other ends (IEEE 802.1AX-2014).

pub mod port;
#[cfg(test)]
mod tests;
pub mod wire;

use std::time::Duration;

use skiff_dataplane::net::{IfIndex, MacAddr};
use skiff_dataplane::time::Instant;

use super::options::{AdInfo, AdSelect, BondOptions, MemberAdInfo};
use port::{MuxState, Port, PortConf};
use wire::{Lacpdu, Marker, PortInfo, SlowPdu, state};

/// How often all machines run.
pub const TICK: Duration = Duration::from_millis(100);

/// What happened that others must know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LacpEvent {
    /// A PDU is to be sent.
    Send(IfIndex, SlowPdu),
    /// A line for the log.
    Log(String),
}

/// The link of a port as LACP sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortLink {
    /// It is usable.
    pub up: bool,
    /// Bits per second in millions; 0 unknown.
    pub speed: u32,
    /// Both ways at once.
    pub full_duplex: bool,
}

/// The ports of a bond.
#[derive(Clone, Debug)]
pub struct Lacp {
    conf: PortConf,
    select: AdSelect,
    system: MacAddr,
    system_priority: u16,
    user_key: u16,
    ports: Vec<Port>,
    /// The aggregator the bond uses.
    active: Option<u16>,
    last_aggregator: u16,
}

impl Lacp {
    /// No ports yet. `system` is the address of this system.
    pub fn new(options: &BondOptions, system: MacAddr) -> Lacp {
        let mut lacp = Lacp {
            conf: conf(options),
            select: options.ad_select,
            system,
            system_priority: options.ad_actor_sys_prio,
            user_key: options.ad_user_port_key,
            ports: Vec::new(),
            active: None,
            last_aggregator: 0,
        };
        lacp.configure(options, system);
        lacp
    }

    /// Takes over changed options: partners are told.
    pub fn configure(&mut self, options: &BondOptions, system: MacAddr) {
        (self.conf, self.select) = (conf(options), options.ad_select);
        (self.system_priority, self.user_key) = (options.ad_actor_sys_prio, options.ad_user_port_key);
        self.system = if options.ad_actor_system == MacAddr::ZERO { system } else { options.ad_actor_system };
        for port in &mut self.ports {
            let was = port.actor;
            (port.actor.system, port.actor.system_priority) = (self.system, self.system_priority);
            port.actor.key = key(port.speed, port.actor.key & 1 != 0, self.user_key);
            if port.actor != was {
                port.unselect();
            }
            port.need_to_transmit();
        }
    }

    /// Adds the port of `dev`, whose link is down.
    pub fn add(&mut self, dev: IfIndex, now: Instant) {
        let number = self.ports.iter().map(|port| port.actor.port).max().unwrap_or(0).saturating_add(1);
        self.last_aggregator = self.last_aggregator.wrapping_add(1).max(1);
        let mut actor = PortInfo {
            system_priority: self.system_priority,
            system: self.system,
            key: key(0, false, self.user_key),
            port_priority: port::PORT_PRIORITY,
            port: number,
            state: state::AGGREGATION,
        };
        actor.put(state::ACTIVITY, self.conf.active);
        self.ports.push(Port::new(dev, actor, self.last_aggregator, now));
    }

    /// Takes the port of `dev` out.
    pub fn remove(&mut self, dev: IfIndex) {
        if let Some(at) = self.ports.iter().position(|port| port.dev == dev) {
            let gone = self.ports.remove(at);
            self.hand_over(gone.own_aggregator);
        }
    }

    /// What the port of `dev` says last before it is taken out: the partner need not find out by waiting.
    pub fn farewell(&self, dev: IfIndex) -> Option<SlowPdu> {
        self.port(dev)?.farewell().map(SlowPdu::Lacp)
    }

    /// An aggregator goes with the port it was made with. The ports in it move to another one together, as they are:
    /// their partner sees no change.
    fn hand_over(&mut self, gone: u16) {
        let Some(first) = self.ports.iter().find(|port| port.aggregator == Some(gone)) else { return };
        let new = self.free_aggregator(first.own_aggregator);
        for port in self.ports.iter_mut().filter(|port| port.aggregator == Some(gone)) {
            port.aggregator = new;
        }
        if self.active == Some(gone) {
            self.active = new;
        }
    }

    /// The link of `dev` changed.
    pub fn set_link(&mut self, dev: IfIndex, link: PortLink, now: Instant) {
        let user_key = self.user_key;
        let Some(port) = self.ports.iter_mut().find(|port| port.dev == dev) else { return };
        port.set_link(link.up, link.speed, link.full_duplex, now);
        let key = key(link.speed, link.full_duplex, user_key);
        // While the link is down drivers say nothing of its speed: what was true stays in force.
        if link.up && key != port.actor.key {
            port.actor.key = key;
            port.unselect();
            port.need_to_transmit();
        }
    }

    /// Takes in what `dev` received.
    pub fn receive(&mut self, dev: IfIndex, pdu: &SlowPdu, now: Instant) -> Vec<LacpEvent> {
        match pdu {
            SlowPdu::Lacp(pdu) => self.receive_lacpdu(dev, pdu, now),
            SlowPdu::Marker(marker) if !marker.response => {
                vec![LacpEvent::Send(dev, SlowPdu::Marker(Marker { response: true, ..*marker }))]
            }
            SlowPdu::Marker(_) => Vec::new(),
        }
    }

    fn receive_lacpdu(&mut self, dev: IfIndex, pdu: &Lacpdu, now: Instant) -> Vec<LacpEvent> {
        let system = self.system;
        let Some(port) = self.ports.iter_mut().find(|port| port.dev == dev) else { return Vec::new() };
        if pdu.actor.system == system {
            // Once, until it is gone: the log is no place for a storm.
            if std::mem::replace(&mut port.looped, true) {
                return Vec::new();
            }
            let text = "An illegal loopback occurred on slave\n\
                        Check the configuration to verify that all adapters are connected to 802.3ad \
                        compliant switch ports";
            return text.lines().map(|line| LacpEvent::Log(line.to_owned())).collect();
        }
        port.receive(pdu, &self.conf, now);
        self.turn(now)
    }

    /// Runs all machines; to be called every [`TICK`].
    pub fn turn(&mut self, now: Instant) -> Vec<LacpEvent> {
        let conf = self.conf;
        for port in &mut self.ports {
            port.step_receive(&conf, now);
            port.step_periodic(now);
        }
        for at in 0..self.ports.len() {
            self.select_aggregator(at);
        }
        for port in &mut self.ports {
            port.step_wait(now);
        }
        self.choose();
        for at in 0..self.ports.len() {
            let group = self.ports[at].aggregator;
            let ready = self.ports.iter().filter(|p| p.aggregator == group && p.mux == MuxState::Waiting);
            let ready = group.is_some() && ready.clone().all(|port| port.ready);
            let in_use = group.is_some() && group == self.active;
            self.ports[at].step_mux(&conf, ready, in_use);
        }
        let mut events = Vec::new();
        for port in &mut self.ports {
            port.step_churn(now);
            if let Some(pdu) = port.step_transmit(now) {
                events.push(LacpEvent::Send(port.dev, SlowPdu::Lacp(pdu)));
            }
        }
        events
    }

    /// Gives a port without aggregator one (section 6.4.14): that of ports which are alike, or one of its own.
    fn select_aggregator(&mut self, at: usize) {
        let port = &self.ports[at];
        if port.aggregator.is_some() || !port.is_enabled() || port.mux != MuxState::Detached {
            return;
        }
        let alike = |other: &&Port| {
            other.aggregator.is_some()
                && !port.is_individual()
                && !other.is_individual()
                && !port.is_without_partner()
                && other.actor.key == port.actor.key
                && other.partner.system == port.partner.system
                && other.partner.system_priority == port.partner.system_priority
                && other.partner.key == port.partner.key
        };
        let joined = self.ports.iter().find(alike).and_then(|other| other.aggregator);
        let chosen = joined.or_else(|| self.free_aggregator(port.own_aggregator));
        self.ports[at].aggregator = chosen;
    }

    /// `own` if nobody is in it, or else another one nobody is in: there are as many as ports.
    fn free_aggregator(&self, own: u16) -> Option<u16> {
        let taken = |id: u16| self.ports.iter().any(|port| port.aggregator == Some(id));
        let ids = std::iter::once(own).chain(self.ports.iter().map(|port| port.own_aggregator));
        ids.into_iter().find(|&id| !taken(id))
    }

    /// Decides which aggregator the bond uses.
    fn choose(&mut self) {
        let mut best: Option<Group> = None;
        let mut ids: Vec<u16> = self.ports.iter().filter_map(|port| port.aggregator).collect();
        ids.sort_unstable();
        ids.dedup();
        // The one in use comes first: it stays unless another is better.
        ids.sort_by_key(|id| Some(*id) != self.active);
        for group in ids.into_iter().map(|id| self.group(id)).filter(|group| group.up > 0) {
            if best.is_none_or(|best| group.beats(&best, self.select)) {
                best = Some(group);
            }
        }
        let current = self.active.map(|id| self.group(id)).filter(|group| group.up > 0);
        if let (AdSelect::Stable, Some(current), Some(new)) = (self.select, current, best)
            && (current.has_partner || !new.has_partner)
        {
            best = Some(current);
        }
        self.active = best.map(|group| group.id);
    }

    fn group(&self, id: u16) -> Group {
        let ports = || self.ports.iter().filter(move |port| port.aggregator == Some(id));
        let up = || ports().filter(|port| port.is_enabled());
        Group {
            id,
            individual: ports().any(Port::is_individual),
            has_partner: up().any(|port| !port.is_without_partner()),
            up: up().count(),
            bandwidth: up().map(|port| u64::from(port.speed)).sum(),
        }
    }

    /// The address of this system.
    pub fn system(&self) -> MacAddr {
        self.system
    }

    /// The port of `dev`.
    pub fn port(&self, dev: IfIndex) -> Option<&Port> {
        self.ports.iter().find(|port| port.dev == dev)
    }

    /// Frames from `dev` are taken.
    pub fn collects(&self, dev: IfIndex) -> bool {
        self.carries(dev, state::COLLECTING)
    }

    /// Frames may leave by `dev`.
    pub fn distributes(&self, dev: IfIndex) -> bool {
        self.carries(dev, state::DISTRIBUTING)
    }

    /// A port nobody speaks LACP to works too, if there is no better one.
    fn carries(&self, dev: IfIndex, bit: u8) -> bool {
        self.port(dev).is_some_and(|port| {
            port.aggregator.is_some()
                && port.aggregator == self.active
                && port.is_enabled()
                && (port.actor.has(bit) || port.is_without_partner())
        })
    }

    /// The aggregator in use.
    pub fn info(&self) -> Option<AdInfo> {
        let id = self.active?;
        let mut ports = self.ports.iter().filter(|port| port.aggregator == Some(id));
        let first = ports.next()?;
        Some(AdInfo {
            aggregator: id,
            num_ports: 1 + ports.count() as u16,
            actor_key: first.actor.key,
            partner_key: first.partner.key,
            partner_mac: first.partner.system,
        })
    }

    /// What is shown of the port of `dev`.
    pub fn member_info(&self, dev: IfIndex) -> Option<MemberAdInfo> {
        let port = self.port(dev)?;
        Some(MemberAdInfo {
            aggregator_id: port.aggregator.or_else(|| self.free_aggregator(port.own_aggregator)).unwrap_or(0),
            actor_state: port.actor.state,
            partner_state: port.partner.state,
        })
    }
}

/// An aggregator while one is chosen.
#[derive(Clone, Copy)]
struct Group {
    id: u16,
    individual: bool,
    has_partner: bool,
    up: usize,
    bandwidth: u64,
}

impl Group {
    /// Better than `other`, strictly.
    fn beats(&self, other: &Group, select: AdSelect) -> bool {
        let policy = |group: &Group| match select {
            AdSelect::Count => (group.up as u64, group.bandwidth),
            AdSelect::Stable | AdSelect::Bandwidth => (group.bandwidth, 0),
        };
        let rank = |group: &Group| (!group.individual, group.has_partner, policy(group));
        rank(self) > rank(other)
    }
}

fn conf(options: &BondOptions) -> PortConf {
    PortConf { active: options.lacp_active, rate: options.lacp_rate, coupled: options.coupled_control }
}

/// What ports must have in common: duplex, speed and what the user set.
pub fn key(speed: u32, full_duplex: bool, user_key: u16) -> u16 {
    const CODES: [(u32, u16); 17] = [
        (1, 1),
        (10, 2),
        (100, 3),
        (1000, 4),
        (2500, 5),
        (5000, 6),
        (10_000, 7),
        (14_000, 8),
        (20_000, 9),
        (25_000, 10),
        (40_000, 11),
        (50_000, 12),
        (56_000, 13),
        (100_000, 14),
        (200_000, 15),
        (400_000, 16),
        (800_000, 17),
    ];
    let code = CODES.iter().find(|(mbps, _)| *mbps == speed).map_or(0, |(_, code)| *code);
    user_key << 6 | code << 1 | u16::from(full_duplex)
}
