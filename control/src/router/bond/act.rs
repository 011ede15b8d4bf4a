//! What machines of bonds want done.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use skiff_dataplane::device::vlan::VlanProto;
use skiff_dataplane::neigh::arp::{ARP_FRAME_LEN, ArpFrame};
use skiff_dataplane::net::{IfIndex, MacAddr};
use skiff_dataplane::skb::{SkbExt, SkbFields, flags};

use super::super::{LONGEST_BURST, Router, bits};
use crate::bond::BondEffect;
use crate::rtnl::{DriverOp, Effects, Link};

/// How long a member that leaves may take to say so: longer than any worker sleeps.
const LONGEST_FAREWELL: Duration = Duration::from_millis(20);
/// Where the EtherType stands.
const ETHERTYPE_AT: usize = 12;

impl Router {
    /// Carries out what concerns the model, and keeps the rest for later.
    pub(super) fn heed_bonds(&mut self) -> Effects {
        let mut changed = Effects::default();
        let said: Vec<(IfIndex, BondEffect)> = self
            .bonds
            .machines
            .iter_mut()
            .flat_map(|(&bond, machine)| machine.take_effects().into_iter().map(move |effect| (bond, effect)))
            .collect();
        for (bond, effect) in said {
            match effect {
                BondEffect::Carrier(carrier) => changed.extend(self.rtnl.set_carrier(bond, carrier)),
                BondEffect::SetMac { dev, mac } => changed.extend(self.rtnl.assign_mac(dev, mac)),
                BondEffect::ViewChanged => drop(changed.devices.insert(bond)),
                // Ports of a bond that moves its active member listen to the same groups already.
                BondEffect::Failover { .. } => {}
                BondEffect::Log(line) => eprintln!("skiff: {line}"),
                later => self.bonds.todo.push((bond, later)),
            }
        }
        changed
    }

    /// Sends what bonds want sent, now that lcores know what has changed.
    pub(in crate::router) fn bonds_act(&mut self) {
        let todo = std::mem::take(&mut self.bonds.todo);
        // An lcore that is still in a burst with the old snapshot would announce us by the old member.
        if todo.iter().any(|(_, effect)| matches!(effect, BondEffect::Announce { .. })) {
            self.settle(LONGEST_BURST);
        }
        for (bond, effect) in todo {
            match effect {
                BondEffect::Send { dev, frame } => self.send_raw(dev, &frame),
                BondEffect::Probe { dev, target } => self.probe_by(bond, dev, target),
                BondEffect::Announce { .. } => self.announce_bond(bond),
                BondEffect::ResendIgmp => {
                    self.stack_above(bond).into_iter().for_each(|dev| self.igmp_rejoin(dev));
                }
                BondEffect::Carrier(_)
                | BondEffect::SetMac { .. }
                | BondEffect::ViewChanged
                | BondEffect::Failover { .. }
                | BondEffect::Log(_) => {}
            }
        }
    }

    /// Lets members that leave a bond tell their partners while they still can: when the rest is carried out they are
    /// down.
    pub(in crate::router) fn members_say_goodbye(&self, effects: &Effects) {
        let mut said = false;
        for op in &effects.driver {
            let DriverOp::SetUp(dev, false) = *op else { continue };
            if self.rtnl.link(dev).is_none_or(|link| link.member().is_some()) {
                continue;
            }
            let farewell = self.bonds.machines.values().find_map(|machine| machine.farewell(dev));
            if let Some(frame) = farewell {
                self.send_raw(dev, &frame);
                said = true;
            }
        }
        if said {
            // A worker that sleeps counts as quiescent, but it has not sent yet.
            let end = Instant::now() + LONGEST_FAREWELL;
            while !self.shared.lcores_have_taken_all() && Instant::now() < end {
                std::thread::sleep(Duration::from_micros(100));
            }
            self.settle(LONGEST_BURST);
        }
    }

    /// A gratuitous ARP for each address of a bond and of the VLANs above it: by the bond, so by its active member.
    fn announce_bond(&mut self, bond: IfIndex) {
        for dev in self.stack_above(bond) {
            let Some(link) = self.rtnl.link(dev).filter(|link| link.is_up()) else { continue };
            let addresses: Vec<Ipv4Addr> = link.addresses().map(|addr| addr.local.addr()).collect();
            addresses.into_iter().for_each(|addr| self.arp_announce(dev, bits(addr)));
        }
    }

    /// Asks for a target by a member, as that device above it would whose subnet the target is in.
    fn probe_by(&mut self, bond: IfIndex, member: IfIndex, target: Ipv4Addr) {
        let knows = |link: &&Link| link.addresses().any(|addr| addr.local.contains(&target));
        let stack = self.stack_above(bond);
        let asker = stack.iter().filter_map(|dev| self.rtnl.link(*dev)).find(knows);
        let source = asker.and_then(|link| {
            link.addresses().find(|addr| addr.local.contains(&target)).map(|addr| bits(addr.local.addr()))
        });
        let tags = asker.map(|link| self.tags_down_to(link.ifindex(), bond)).unwrap_or_default();
        let mac = self.rtnl.link(member).map_or(MacAddr::ZERO, Link::mac);
        let mut frame = vec![0; ARP_FRAME_LEN];
        // Without an address of ours in its subnet it is asked for as before an address is used (RFC 5227).
        ArpFrame::request(mac, source.unwrap_or(0), bits(target)).emit(&mut frame);
        frame.splice(ETHERTYPE_AT..ETHERTYPE_AT, tags);
        self.send_raw(member, &frame);
    }

    /// The tags a frame of `dev` has below `bond`, outermost first.
    fn tags_down_to(&self, dev: IfIndex, bond: IfIndex) -> Vec<u8> {
        let (mut tags, mut at) = (Vec::new(), dev);
        while at != bond {
            let Some(vlan) = self.rtnl.link(at).and_then(Link::vlan) else { return tags };
            let ethertype: u16 = match vlan.proto {
                VlanProto::Dot1q => 0x8100,
                VlanProto::Dot1ad => 0x88a8,
            };
            let [a, b] = ethertype.to_be_bytes();
            let [c, d] = vlan.vid.to_be_bytes();
            tags.splice(..0, [a, b, c, d]);
            at = vlan.real_dev;
        }
        tags
    }

    /// Sends a frame by a port, past the device above it.
    fn send_raw(&self, dev: IfIndex, frame: &[u8]) {
        let Some(mut skb) = self.pool.alloc() else { return };
        let Some(room) = skb.append(frame.len()) else { return };
        room.copy_from_slice(frame);
        *skb.fields_mut() = SkbFields { oif: dev.0, flags: flags::LOCAL_OUT, ..SkbFields::default() };
        self.shared.control_cells().created.add(1);
        self.xmit(skb);
    }
}
