//! Bonds on the running router: their machines follow the model, and what machines decide becomes the model's and the
//! lcores'.
//!
//! Members, options and addresses are the model's ([`crate::rtnl`]); who is active, who carries what and whether a bond
//! has a link are its machine's ([`crate::bond`]). Both meet in [`Router::follow_bonds`], before every snapshot.

mod act;
mod show;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use skiff_dataplane::device::bond::Bond;
use skiff_dataplane::neigh::arp::ArpOp;
use skiff_dataplane::net::{IfIndex, MacAddr};
use skiff_dataplane::skb::Skb;
use skiff_dataplane::time::Instant;

use super::Router;
use crate::bond::{ArpSeen, BondEffect, BondMachine, MemberInfo};
use crate::rtnl::{Effects, Link};

/// Times the model and the machines answer each other before lcores hear of it.
const ROUNDS: usize = 4;

/// The machines of all bonds.
#[derive(Debug, Default)]
pub(super) struct Bonds {
    machines: BTreeMap<IfIndex, BondMachine>,
    /// Sent by a bond, not to be carried out yet.
    todo: Vec<(IfIndex, BondEffect)>,
}

impl Bonds {
    /// What lcores are to know of a bond.
    pub(super) fn view(&self, dev: IfIndex) -> Option<Arc<Bond>> {
        self.machines.get(&dev).map(|machine| Arc::new(machine.view()))
    }

    /// LACP runs on `dev`: it has to hear where it is sent to.
    pub(super) fn listens(&self, dev: IfIndex) -> bool {
        let mut machines = self.machines.values();
        machines.any(|machine| machine.lacp().is_some() && machine.member(dev).is_some())
    }

    fn deadline(&self) -> Option<Instant> {
        self.machines.values().filter_map(BondMachine::deadline).min()
    }

    fn of_member(&mut self, dev: IfIndex) -> Option<&mut BondMachine> {
        self.machines.values_mut().find(|machine| machine.member(dev).is_some())
    }
}

impl Router {
    /// Links of members are about to be judged: they should be looked at first.
    pub fn bonds_want_links(&self) -> bool {
        let now = self.clock.now();
        self.bonds.machines.values().any(|machine| machine.wants_links(now))
    }

    /// Does what is due of bonds; returns when there is more.
    pub(super) fn bond_turn(&mut self, now: Instant) -> Option<Instant> {
        if self.bonds.deadline()? <= now {
            let due: Vec<IfIndex> = self.bonds.machines.keys().copied().collect();
            due.into_iter().for_each(|bond| self.poll_bond(bond, now));
            self.carry_out(Effects::default());
        }
        self.bonds.deadline()
    }

    fn poll_bond(&mut self, bond: IfIndex, now: Instant) {
        let Some(machine) = self.bonds.machines.get(&bond) else { return };
        if machine.wants_links(now) {
            let members: Vec<IfIndex> = machine.members().iter().map(|member| member.dev()).collect();
            let counts = machine.options().arp_interval_ms > 0;
            for dev in members {
                let (speed, full_duplex) = self.speed_of(dev);
                let carrier = self.rtnl.link(dev).is_some_and(Link::has_carrier);
                let frames = if counts { self.frames_of(dev) } else { 0 };
                let Some(machine) = self.bonds.machines.get_mut(&bond) else { return };
                machine.set_link(dev, carrier, speed, full_duplex, now);
                if counts {
                    machine.rx_seen(dev, frames, now);
                }
            }
        }
        if let Some(machine) = self.bonds.machines.get_mut(&bond) {
            machine.poll(now);
        }
    }

    fn frames_of(&self, dev: IfIndex) -> u64 {
        self.shared.all_cells().iter().map(|cells| cells.device(dev).rx_packets.get()).sum()
    }

    /// Bits per second in millions, 0 if unknown, and whether both ways at once.
    fn speed_of(&self, dev: IfIndex) -> (u32, bool) {
        let Some(handle) = self.ports.get(&dev) else { return (0, false) };
        let link = handle.port.link();
        let known = link.speed_mbps != u32::MAX;
        (if known { link.speed_mbps } else { 0 }, link.full_duplex)
    }

    /// Members get back the hardware addresses they came with, for the end of the router: a driver may keep what it was
    /// given.
    pub fn restore_macs(&self) {
        let members = self.rtnl.links().filter_map(|link| Some((link.ifindex(), link.member()?.perm_mac)));
        for (dev, mac) in members {
            if let Some(handle) = self.ports.get(&dev)
                && handle.port.mac() != mac.0
                && let Err(error) = handle.port.set_mac(mac.0)
            {
                eprintln!("skiff: {}: {error}", handle.port.name());
            }
        }
    }

    /// Takes in a slow protocol frame.
    pub(super) fn slow_protocol(&mut self, dev: IfIndex, skb: &Skb, now: Instant) {
        self.shared.slow_budget.give_back();
        self.shared.control_cells().delivered.add(1);
        if let Some(machine) = self.bonds.of_member(dev) {
            machine.receive(dev, skb.data(), now);
            self.carry_out(Effects::default());
        }
    }

    /// A member has received ARP.
    pub(super) fn bond_arp(
        &mut self,
        dev: IfIndex,
        op: ArpOp,
        sender: (u32, MacAddr),
        target: u32,
        now: Instant,
    ) {
        let arp = ArpSeen {
            reply: op == ArpOp::Reply,
            sender: Ipv4Addr::from_bits(sender.0),
            sender_mac: sender.1,
            target: Ipv4Addr::from_bits(target),
        };
        if let Some(machine) = self.bonds.of_member(dev) {
            machine.arp_seen(dev, &arp, now);
        }
    }

    /// Brings machines to where the model is, and the model to where the machines then are; what that asks of the data
    /// plane is added to `effects`. The rest is for [`bonds_act`](Self::bonds_act).
    pub(super) fn follow_bonds(&mut self, effects: &mut Effects) {
        if !effects.devices.is_empty() {
            self.sync_bonds(effects);
        }
        for _ in 0..ROUNDS {
            let changed = self.heed_bonds();
            if changed.is_empty() {
                return;
            }
            if let Err(refusal) = self.drive(&changed) {
                eprintln!("skiff: {refusal}");
            }
            effects.extend(changed);
            self.sync_bonds(effects);
        }
    }

    fn sync_bonds(&mut self, effects: &mut Effects) {
        let now = self.clock.now();
        let bonds: Vec<IfIndex> =
            self.rtnl.links().filter(|link| link.bond().is_some()).map(Link::ifindex).collect();
        self.bonds.machines.retain(|bond, _| bonds.contains(bond));
        for bond in bonds {
            self.sync_bond(bond, now);
            self.sync_members(bond, now);
        }
        for (bond, member) in effects.active_members.drain(..) {
            let Some(machine) = self.bonds.machines.get_mut(&bond) else { continue };
            if let Err(why) = machine.set_active(member, now) {
                eprintln!("skiff: {}: {why}", machine.name());
            }
        }
    }

    fn sync_bond(&mut self, dev: IfIndex, now: Instant) {
        let Some(link) = self.rtnl.link(dev) else { return };
        let Some(bond) = link.bond() else { return };
        let own = self.addresses_above(dev);
        let (lcores, mac) = (self.shared.lcores(), link.mac());
        let machine = self.bonds.machines.entry(dev).or_insert_with(|| {
            BondMachine::new(link.name(), dev, bond.options.clone(), Some(mac), lcores, now)
        });
        if machine.name() != link.name() {
            machine.rename(link.name());
        }
        if *machine.options() != bond.options {
            machine.replace_options(bond.options.clone(), now);
        }
        if machine.mac() != mac {
            machine.set_mac(mac);
        }
        machine.set_own_addresses(own);
        machine.set_up(link.is_up(), now);
    }

    fn sync_members(&mut self, bond: IfIndex, now: Instant) {
        let Some(wanted) = self.rtnl.link(bond).and_then(Link::bond).map(|bond| bond.members.clone()) else {
            return;
        };
        let Some(machine) = self.bonds.machines.get_mut(&bond) else { return };
        let gone: Vec<IfIndex> =
            machine.members().iter().map(|member| member.dev()).filter(|dev| !wanted.contains(dev)).collect();
        gone.into_iter().for_each(|dev| machine.remove_member(dev, now));
        let joins = wanted.iter().any(|dev| machine.member(*dev).is_none());
        for dev in wanted {
            self.sync_member(bond, dev, now);
        }
        if joins {
            self.receive_all_groups();
        }
    }

    fn sync_member(&mut self, bond: IfIndex, dev: IfIndex, now: Instant) {
        let (speed, full_duplex) = self.speed_of(dev);
        let Some(link) = self.rtnl.link(dev) else { return };
        let Some(member) = link.member().copied() else { return };
        let Some(machine) = self.bonds.machines.get_mut(&bond) else { return };
        match machine.member(dev) {
            None => {
                let info = MemberInfo {
                    name: link.name().to_owned(),
                    mac: member.perm_mac,
                    up: link.is_up(),
                    carrier: link.has_carrier(),
                    speed,
                    full_duplex,
                };
                machine.add_member(dev, info, now);
            }
            Some(known) if known.name() != link.name() => machine.rename_member(dev, link.name()),
            Some(_) => {}
        }
        machine.member_admin(dev, link.is_up());
        machine.set_link(dev, link.has_carrier(), speed, full_duplex, now);
        machine.set_member_options(dev, member.options, now);
    }

    /// The addresses of a device and of the VLANs above it.
    fn addresses_above(&self, dev: IfIndex) -> Vec<Ipv4Addr> {
        let above = self.stack_above(dev);
        let links = above.into_iter().filter_map(|dev| self.rtnl.link(dev));
        links.flat_map(|link| link.addresses().map(|addr| addr.local.addr()).collect::<Vec<_>>()).collect()
    }

    /// A device and the VLANs above it, each behind the one it lies on.
    fn stack_above(&self, dev: IfIndex) -> Vec<IfIndex> {
        let mut stack = vec![dev];
        let mut at = 0;
        while at < stack.len() {
            let below = stack[at];
            let on = |link: &&Link| link.vlan().is_some_and(|vlan| vlan.real_dev == below);
            stack.extend(self.rtnl.links().filter(on).map(Link::ifindex));
            at += 1;
        }
        stack
    }
}
