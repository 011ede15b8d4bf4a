//! A bond: its members, its monitors and its timers, under a clock of the caller's.

use std::net::Ipv4Addr;
use std::time::Duration;

use skiff_dataplane::device::bond::{Bond, BondMode};
use skiff_dataplane::net::{IfIndex, MacAddr};
use skiff_dataplane::time::Instant;

use super::balance::Balancer;
use super::lacp::wire::SlowPdu;
use super::lacp::{self, Lacp, LacpEvent, PortLink};
use super::member::{Member, MemberInfo};
use super::mii::MiiLink;
use super::notify::Repeats;
use super::options::{BondOptions, BondSlaveOptions, MiiStatus, OptionName, uses_primary};
use super::select::Candidate;

/// What a bond wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BondEffect {
    /// Send a frame by a member, past all queues.
    Send {
        /// The member.
        dev: IfIndex,
        /// The frame, from its Ethernet header on.
        frame: Vec<u8>,
    },
    /// Ask by a member for the hardware address of a target.
    Probe {
        /// The member.
        dev: IfIndex,
        /// Whom to ask for.
        target: Ipv4Addr,
    },
    /// Give a device, a member or the bond itself, a hardware address.
    SetMac {
        /// The device.
        dev: IfIndex,
        /// Its new address.
        mac: MacAddr,
    },
    /// The bond has a link now, or has none.
    Carrier(bool),
    /// [`BondMachine::view`] is another one.
    ViewChanged,
    /// Another member is the active one.
    Failover {
        /// The one before.
        from: Option<IfIndex>,
        /// The new one.
        to: Option<IfIndex>,
    },
    /// Send a gratuitous ARP for every address of the bond and of the VLANs above it, by this member.
    Announce {
        /// The member.
        dev: IfIndex,
    },
    /// Send the IGMP reports of the bond once more.
    ResendIgmp,
    /// A line for the log.
    Log(String),
}

/// A bond.
#[derive(Debug)]
pub struct BondMachine {
    name: String,
    pub(super) dev: IfIndex,
    pub(super) options: BondOptions,
    pub(super) up: bool,
    pub(super) mac: MacAddr,
    /// Somebody chose the address: it is not that of the first member.
    pub(super) mac_is_set: bool,
    pub(super) own_addresses: Vec<Ipv4Addr>,
    pub(super) members: Vec<Member>,
    pub(super) active: Option<IfIndex>,
    /// The member the ARP monitor tries while there is no active one.
    pub(super) probing: Option<IfIndex>,
    pub(super) force_primary: bool,
    pub(super) lacp: Option<Lacp>,
    pub(super) carrier: bool,
    pub(super) failovers: u64,
    pub(super) garps: Repeats,
    pub(super) igmp: Repeats,
    monitor_at: Option<Instant>,
    lacp_at: Option<Instant>,
    pub(super) balancer: Balancer,
    /// Members that balance by load, with their speeds, as the tables know them.
    pub(super) balanced: Option<Vec<(IfIndex, u32)>>,
    pub(super) shown: Option<Bond>,
    pub(super) effects: Vec<BondEffect>,
}

impl BondMachine {
    /// A bond without members, down, that `lcores` workers send by. It takes the address of its first member, unless it
    /// is given `mac`.
    pub fn new(
        name: &str,
        dev: IfIndex,
        options: BondOptions,
        mac: Option<MacAddr>,
        lcores: usize,
        now: Instant,
    ) -> BondMachine {
        let mut machine = BondMachine {
            name: name.to_owned(),
            dev,
            options,
            up: false,
            mac: mac.unwrap_or(MacAddr::ZERO),
            mac_is_set: mac.is_some(),
            own_addresses: Vec::new(),
            members: Vec::new(),
            active: None,
            probing: None,
            force_primary: false,
            lacp: None,
            carrier: false,
            failovers: 0,
            garps: Repeats::default(),
            igmp: Repeats::default(),
            monitor_at: None,
            lacp_at: None,
            balancer: Balancer::new(lcores),
            balanced: None,
            shown: None,
            effects: Vec::new(),
        };
        machine.restart(now);
        machine.finish();
        machine
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// It has another name.
    pub fn rename(&mut self, name: &str) {
        name.clone_into(&mut self.name);
    }

    /// Its options.
    pub fn options(&self) -> &BondOptions {
        &self.options
    }

    /// Its hardware address.
    pub fn mac(&self) -> MacAddr {
        self.mac
    }

    /// It has a link.
    pub fn has_carrier(&self) -> bool {
        self.carrier
    }

    /// The active member, in modes that have one.
    pub fn active(&self) -> Option<IfIndex> {
        self.active
    }

    /// How often another member became the active one.
    pub fn failovers(&self) -> u64 {
        self.failovers
    }

    /// Its members, in the order they joined.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The member `dev`.
    pub fn member(&self, dev: IfIndex) -> Option<&Member> {
        self.members.iter().find(|member| member.dev == dev)
    }

    /// The machines of LACP, in mode 802.3ad.
    pub fn lacp(&self) -> Option<&Lacp> {
        self.lacp.as_ref()
    }

    /// The member that is preferred.
    pub fn primary(&self) -> Option<IfIndex> {
        let primary = self.options.primary.as_deref().filter(|_| uses_primary(self.options.mode))?;
        self.members.iter().find(|member| member.name() == primary).map(Member::dev)
    }

    /// Bits per second in millions: those of all members that carry anything.
    pub fn speed(&self) -> u32 {
        let carrying = self.members.iter().filter(|member| self.transmits(member));
        carrying.map(|member| member.info.speed).fold(0, u32::saturating_add)
    }

    /// What is to be done, in order, since the last time.
    pub fn take_effects(&mut self) -> Vec<BondEffect> {
        std::mem::take(&mut self.effects)
    }

    /// The bond is up or down: its monitors run while it is up.
    pub fn set_up(&mut self, up: bool, now: Instant) {
        if self.up != up {
            self.up = up;
            self.restart(now);
            self.finish();
        }
    }

    /// Somebody gives the bond an address: its members get it too.
    pub fn set_mac(&mut self, mac: MacAddr) {
        (self.mac, self.mac_is_set) = (mac, true);
        for at in 0..self.members.len() {
            if self.shares_mac() {
                self.give_mac(at, mac);
            }
        }
        if let Some(active) = self.active.filter(|_| self.swaps_mac()) {
            self.give_bond_mac(active);
        }
        self.configure_lacp();
        self.finish();
    }

    /// The addresses ARP answers may come to: those of the bond and of the VLANs above it.
    pub fn set_own_addresses(&mut self, addresses: Vec<Ipv4Addr>) {
        self.own_addresses = addresses;
    }

    /// Adds a member.
    pub fn add_member(&mut self, dev: IfIndex, info: MemberInfo, now: Instant) {
        if self.position(dev).is_some() {
            return;
        }
        if self.members.is_empty() && !self.mac_is_set {
            self.set_bond_mac(info.mac);
        }
        let up = info.up && info.carrier;
        let link = match (self.options.miimon_ms > 0, self.options.updelay_ticks()) {
            (true, looks) if up && looks > 0 => MiiLink::returning(looks),
            (true, _) => MiiLink::new(up),
            (false, _) => MiiLink::new(up || self.options.arp_interval_ms == 0),
        };
        let member = Member::new(dev, info, link, now);
        self.members.push(member);
        let at = self.members.len() - 1;
        if self.shares_mac() {
            self.give_mac(at, self.mac);
        }
        if let Some(lacp) = &mut self.lacp {
            lacp.add(dev, now);
        }
        self.tell_lacp(at, now);
        if self.primary() == Some(dev) {
            self.force_primary = true;
        }
        self.select_active(now);
        let state = if self.is_active(dev) { "an active" } else { "a backup" };
        let with = if link.status() == MiiStatus::Down { "a down" } else { "an up" };
        self.log_at(at, &format!("Enslaving as {state} interface with {with} link"));
        self.finish();
    }

    /// The frame that tells the partner of `dev` that it is about to leave, if it listens.
    pub fn farewell(&self, dev: IfIndex) -> Option<Vec<u8>> {
        let pdu = self.lacp.as_ref()?.farewell(dev)?;
        Some(pdu.emit(self.member(dev)?.permanent_mac()))
    }

    /// Takes a member out; it gets its own address back.
    pub fn remove_member(&mut self, dev: IfIndex, now: Instant) {
        let Some(at) = self.position(dev) else { return };
        let state = if self.is_active(dev) { "active" } else { "backup" };
        self.log_at(at, &format!("Releasing {state} interface"));
        if self.active == Some(dev) {
            self.members[at].link = MiiLink::new(false);
            self.select_active(now);
        }
        self.give_mac(at, self.members[at].info.mac);
        self.members.remove(at);
        self.lacp.iter_mut().for_each(|lacp| lacp.remove(dev));
        self.probing = self.probing.filter(|probing| *probing != dev);
        self.select_active(now);
        self.finish();
    }

    /// The driver says what `dev`'s link is like.
    pub fn set_link(&mut self, dev: IfIndex, carrier: bool, speed: u32, full_duplex: bool, now: Instant) {
        let Some(at) = self.position(dev) else { return };
        let info = &mut self.members[at].info;
        info.carrier = carrier;
        if carrier && (info.speed, info.full_duplex) != (speed, full_duplex) {
            (info.speed, info.full_duplex) = (speed, full_duplex);
            self.tell_lacp(at, now);
        }
        self.finish();
    }

    /// `dev` is administratively up or down.
    pub fn member_admin(&mut self, dev: IfIndex, up: bool) {
        if let Some(at) = self.position(dev) {
            self.members[at].info.up = up;
            self.finish();
        }
    }

    /// `dev` has another name.
    pub fn rename_member(&mut self, dev: IfIndex, name: &str) {
        if let Some(at) = self.position(dev) {
            name.clone_into(&mut self.members[at].info.name);
        }
    }

    /// Sets an option by the words of `ip link set NAME type bond`.
    ///
    /// # Errors
    /// Those of [`BondOptions::set_live`], and the active member cannot be the one that is asked for.
    pub fn set_option(&mut self, name: &str, value: &str, now: Instant) -> Result<(), String> {
        self.set_options([(name, value)], now)
    }

    /// Sets the options of one command, all or none.
    ///
    /// # Errors
    /// Those of [`BondOptions::set_all`], and the active member cannot be the one that is asked for.
    pub fn set_options<'a>(
        &mut self,
        options: impl IntoIterator<Item = (&'a str, &'a str)>,
        now: Instant,
    ) -> Result<(), String> {
        let options: Vec<(&str, &str)> = options.into_iter().collect();
        let mut draft = self.options.clone();
        draft.set_all(options.iter().copied(), self.up, !self.members.is_empty())?;
        let mut active = None;
        for (name, value) in &options {
            match OptionName::resolve(name).map(OptionName::name) {
                Some("active_slave") if !value.is_empty() => active = Some(Some(self.named_member(value)?)),
                Some("active_slave" | "clear_active_slave") => active = Some(None),
                Some("primary") => self.force_primary = true,
                _ => {}
            }
        }
        if let Some(Some(dev)) = active {
            self.check_active(dev)?;
        }
        self.replace_options(draft, now);
        active.map_or(Ok(()), |active| self.set_active(active, now))
    }

    /// Takes over options that were checked already. Another primary takes over whatever `primary_reselect` says.
    pub fn replace_options(&mut self, options: BondOptions, now: Instant) {
        self.force_primary |= options.primary.is_some() && options.primary != self.options.primary;
        let before = std::mem::replace(&mut self.options, options);
        self.follow_options(&before, now);
        self.select_active(now);
        self.finish();
    }

    /// Makes a member the active one; none has it chosen anew.
    ///
    /// # Errors
    /// It is no member, or it cannot send.
    pub fn set_active(&mut self, dev: Option<IfIndex>, now: Instant) -> Result<(), String> {
        match dev {
            Some(dev) => {
                self.check_active(dev)?;
                self.change_active(Some(dev), now);
            }
            None => {
                self.change_active(None, now);
                self.select_active(now);
            }
        }
        self.finish();
        Ok(())
    }

    fn named_member(&self, name: &str) -> Result<IfIndex, String> {
        let member = self.members.iter().find(|member| member.name() == name);
        member
            .map(Member::dev)
            .ok_or_else(|| format!("option active_slave: {name} is not a slave of {}", self.name))
    }

    fn check_active(&self, dev: IfIndex) -> Result<(), String> {
        let member = self.member(dev).ok_or("option active_slave: no such slave")?;
        if member.can_send() {
            return Ok(());
        }
        let name = member.name();
        Err(format!("Could not set {name} as active slave; either {name} is down or the link is down"))
    }

    fn follow_options(&mut self, before: &BondOptions, now: Instant) {
        let timing =
            |o: &BondOptions| (o.mode, o.miimon_ms, o.arp_interval_ms, o.lp_interval_s, o.tlb_dynamic_lb);
        if timing(before) != timing(&self.options) {
            self.restart(now);
        }
        self.configure_lacp();
    }

    /// Sets an option of a member by the words of `ip link set NAME type bond_slave`.
    ///
    /// # Errors
    /// Those of [`BondSlaveOptions::set`], and `dev` is no member.
    pub fn set_member_option(
        &mut self,
        dev: IfIndex,
        name: &str,
        value: &str,
        now: Instant,
    ) -> Result<(), String> {
        let at = self.position(dev).ok_or("No such device")?;
        self.members[at].options.set(name, value)?;
        self.select_active(now);
        self.finish();
        Ok(())
    }

    /// Gives a member all its options.
    pub fn set_member_options(&mut self, dev: IfIndex, options: BondSlaveOptions, now: Instant) {
        if let Some(at) = self.position(dev) {
            self.members[at].options = options;
            self.select_active(now);
            self.finish();
        }
    }

    /// Takes in a slow protocol frame that `dev` received. False if it is none of a bond's.
    pub fn receive(&mut self, dev: IfIndex, frame: &[u8], now: Instant) -> bool {
        let Ok(pdu) = SlowPdu::parse(frame) else { return false };
        if let (Some(lacp), true) = (&mut self.lacp, self.up) {
            let events = lacp.receive(dev, &pdu, now);
            self.lacp_events(dev, events);
            self.finish();
        }
        true
    }

    /// When [`poll`](Self::poll) is due, if ever.
    pub fn deadline(&self) -> Option<Instant> {
        if !self.up || self.members.is_empty() {
            return None;
        }
        let timers = [self.monitor_at, self.lacp_at, self.balancer.deadline()];
        let repeats =
            [&self.garps, &self.igmp].map(|repeats| repeats.deadline().filter(|_| self.can_notify()));
        timers.into_iter().chain(repeats).flatten().min()
    }

    /// The links of members will be judged at the next [`poll`](Self::poll): it is time to ask the drivers.
    pub fn wants_links(&self, now: Instant) -> bool {
        self.deadline().is_some() && self.monitor_at.is_some_and(|at| at <= now)
    }

    /// Does what is due, and says when there is more to do.
    pub fn poll(&mut self, now: Instant) -> Option<Instant> {
        self.deadline()?;
        let monitor = self.monitor_period();
        if due(&mut self.monitor_at, monitor, now) {
            if self.options.miimon_ms > 0 { self.mii_turn(now) } else { self.arp_turn(now) }
        }
        if due(&mut self.lacp_at, Some(lacp::TICK), now)
            && let Some(lacp) = &mut self.lacp
        {
            let events = lacp.turn(now);
            self.lacp_events(IfIndex::NONE, events);
        }
        self.balance(now);
        self.finish();
        self.repeat(now);
        self.deadline()
    }

    /// Every timer anew, after what they depend on changed.
    fn restart(&mut self, now: Instant) {
        let wanted = self.options.mode == BondMode::Lacp;
        if wanted != self.lacp.is_some() {
            self.lacp = wanted.then(|| Lacp::new(&self.options, self.mac));
            for at in 0..self.members.len() {
                let dev = self.members[at].dev;
                self.lacp.iter_mut().for_each(|lacp| lacp.add(dev, now));
                self.tell_lacp(at, now);
            }
        }
        self.monitor_at = self.monitor_period().map(|period| now + period);
        self.lacp_at = wanted.then_some(now + lacp::TICK);
        self.balancer.restart(&self.options, now);
        self.balanced = None;
        if self.options.miimon_ms == 0 && self.options.arp_interval_ms == 0 {
            self.members.iter_mut().for_each(|member| member.link.force(true));
        }
        self.members.iter_mut().for_each(|member| member.watch.give_chance(now));
    }

    pub(super) fn monitor_period(&self) -> Option<Duration> {
        let millis = self.options.miimon_ms.max(self.options.arp_interval_ms);
        (millis > 0).then(|| Duration::from_millis(u64::from(millis)))
    }

    pub(super) fn tell_lacp(&mut self, at: usize, now: Instant) {
        let member = &self.members[at];
        let Candidate { speed, full_duplex, .. } = member.candidate();
        let link = PortLink { up: member.link.is_up(), speed, full_duplex };
        if let Some(lacp) = &mut self.lacp {
            lacp.set_link(member.dev, link, now);
        }
    }

    pub(super) fn configure_lacp(&mut self) {
        if let Some(lacp) = &mut self.lacp {
            lacp.configure(&self.options, self.mac);
        }
    }

    fn lacp_events(&mut self, on: IfIndex, events: Vec<LacpEvent>) {
        for event in events {
            match event {
                LacpEvent::Send(dev, pdu) => {
                    // The source is the port's own address: partners do not look at it, analysers do.
                    let src = self.member(dev).map_or(self.mac, Member::permanent_mac);
                    self.effects.push(BondEffect::Send { dev, frame: pdu.emit(src) });
                }
                LacpEvent::Log(line) => match self.position(on) {
                    Some(at) => self.log_at(at, &line),
                    None => self.log(&line),
                },
            }
        }
    }

    pub(super) fn position(&self, dev: IfIndex) -> Option<usize> {
        self.members.iter().position(|member| member.dev == dev)
    }

    pub(super) fn log(&mut self, line: &str) {
        self.effects.push(BondEffect::Log(format!("{}: {line}", self.name)));
    }

    pub(super) fn log_at(&mut self, at: usize, line: &str) {
        let line = format!("(slave {}): {line}", self.members[at].name());
        self.log(&line);
    }
}

/// A timer has expired, and starts anew. One that is far behind does not catch up.
pub(super) fn due(at: &mut Option<Instant>, period: Option<Duration>, now: Instant) -> bool {
    let Some(next) = at.filter(|next| *next <= now) else { return false };
    *at = period.map(|period| if next + period > now { next + period } else { now + period });
    true
}
