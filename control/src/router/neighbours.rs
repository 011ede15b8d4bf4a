//! The slow path: what lcores ask of the control thread, and the neighbour machine's timers.

use std::time::Duration;

use skiff_dataplane::core::drop_reason::{DropReason, Node};
use skiff_dataplane::core::shared::{ToControl, ToLcore};
use skiff_dataplane::core::snapshot::Snapshot;
use skiff_dataplane::core::trace::Step;
use skiff_dataplane::ipv4::ip_output::write_header;
use skiff_dataplane::neigh::arp::{ARP_FRAME_LEN, ArpFrame};
use skiff_dataplane::neigh::cache::{Action, SetMode};
use skiff_dataplane::neigh::machine::ProbeTo;
use skiff_dataplane::neigh::nud::Nud;
use skiff_dataplane::neigh::table::NeighId;
use skiff_dataplane::net::IfIndex;
use skiff_dataplane::netfilter::queue::Reinject;
use skiff_dataplane::skb::{Skb, SkbExt, SkbFields, flags};
use skiff_dataplane::time::Instant;

use super::{Router, bits};
use crate::observe::capture::tap_freed;

/// Messages taken from the lcores in one turn, so that a flood cannot keep the control thread from its timers.
const MESSAGES_A_TURN: usize = 1024;
/// How soon the control thread looks again while an lcore may be on an old snapshot.
const GRACE_LOOK: Duration = Duration::from_millis(1);
/// Of the packet pool, what may wait for neighbours: a scan of empty addresses must not starve the receive rings.
const HELD_SHARE: u32 = 4;

impl Router {
    /// Serves what the lcores asked and what is due. Returns when it wants to run again, and whether more is waiting.
    pub fn slow_path(&mut self) -> (Instant, bool) {
        let now = self.clock.now();
        let mut actions = Vec::new();
        let mut served = 0;
        while served < MESSAGES_A_TURN
            && let Some(message) = self.shared.receive_control()
        {
            served += 1;
            match message {
                ToControl::Resolve { dev, addr, skb } => self.resolve(dev, addr, skb, now, &mut actions),
                ToControl::NeighUsed(id) => self.neigh.used(id, now, &mut actions),
                ToControl::Arp { dev, learn } => self.neigh.arp_update(dev, learn, now, &mut actions),
                ToControl::Igmp { dev, skb } => self.igmp_rcv(dev, skb, now),
                ToControl::McUnresolved { dev, skb } => self.mc_unresolved(dev, skb, now),
                ToControl::McWrongVif { .. } => self.mc_wrong_vif(),
                ToControl::Martian(martian) => self.log_martian(&martian),
                ToControl::ArpProxy { dev, frame } => {
                    self.neigh.proxy_later(dev, frame, now);
                }
                ToControl::SlowProtocol { dev, skb } => self.slow_protocol(dev, &skb, now),
                ToControl::BondArp { dev, op, sip, tip, sha } => {
                    self.bond_arp(dev, op, (sip, sha), tip, now);
                }
            }
        }
        self.neigh.tick(now, &mut actions);
        self.act(actions);
        self.turn_epoch();
        self.tc.measure(now);
        let others = self.mc_turn(now).into_iter().chain(self.bond_turn(now)).min();
        let grace = self.reclaim().then(|| now + GRACE_LOOK);
        let more = self.print_log() || served == MESSAGES_A_TURN;
        let deadlines = others.into_iter().chain(grace).chain([self.neigh.next_deadline()]);
        (deadlines.min().unwrap_or(now), more)
    }

    fn resolve(&mut self, dev: IfIndex, addr: u32, skb: Skb, now: Instant, actions: &mut Vec<Action<Skb>>) {
        if self.held >= (self.pool.capacity() / HELD_SHARE) as usize {
            return self.kfree_skb(skb, DropReason::NeighQueuefull);
        }
        self.held += 1;
        self.neigh.resolve(dev, addr, skb, now, actions);
    }

    /// Carries out what the neighbour machine decided.
    pub(super) fn act(&mut self, actions: Vec<Action<Skb>>) {
        for action in actions {
            match action {
                Action::SendRequest { dev, target, to, source } => self.arp_solicit(dev, target, to, source),
                Action::ProxyReply { dev, frame } => self.send_frame(dev, &frame),
                Action::Refuse { packet } => {
                    self.held -= 1;
                    self.kfree_skb(packet, DropReason::NeighFailed);
                }
                Action::Transmit { id, packets } => {
                    self.held -= packets.len();
                    packets.into_iter().for_each(|skb| self.transmit(id, skb));
                }
                Action::Fail { packets, .. } => {
                    self.held -= packets.len();
                    for skb in packets {
                        if let Err(ToLcore::NeighFailed(skb)) = self.send(ToLcore::NeighFailed(skb)) {
                            self.kfree_skb(skb, DropReason::NeighFailed);
                        }
                    }
                }
                Action::QueueFull { packet } => {
                    self.held -= 1;
                    self.kfree_skb(packet, DropReason::NeighQueuefull);
                }
                Action::CreateFail { packet } => {
                    self.held -= 1;
                    self.kfree_skb(packet, DropReason::NeighCreatefail);
                }
                Action::Purge { packets } => {
                    self.held -= packets.len();
                    packets.into_iter().for_each(|skb| self.kfree_skb(skb, DropReason::QueuePurge));
                }
                Action::Changed(_) | Action::Deleted { .. } => {}
            }
        }
    }

    fn transmit(&mut self, id: NeighId, mut skb: Skb) {
        let written =
            self.shared.neigh.entry(id).header().is_some_and(|header| write_header(&mut skb, &header));
        if !written {
            return self.kfree_skb(skb, DropReason::NeighFailed);
        }
        if let Err(ToLcore::Xmit(skb)) = self.send(ToLcore::Xmit(skb)) {
            self.kfree_skb(skb, DropReason::PuntFull);
        }
    }

    /// Asks who has `target` (kernel: `arp_solicit`). `waiting`: source of the packet it is asked for.
    fn arp_solicit(&mut self, dev: IfIndex, target: u32, to: ProbeTo, waiting: Option<u32>) {
        let snapshot = self.shared.snapshot();
        let device = snapshot.device(dev);
        let source = request_source(&snapshot, dev, target, waiting);
        let frame = match to {
            ProbeTo::Broadcast => ArpFrame::request(device.mac, source, target),
            ProbeTo::Unicast(mac) => ArpFrame::request_to(mac, device.mac, source, target),
            ProbeTo::Daemon => return,
        };
        self.send_frame(dev, &frame);
    }

    /// Announces an address of ours (RFC 5227 section 2.3).
    pub(super) fn arp_announce(&mut self, dev: IfIndex, addr: u32) {
        let mac = self.shared.snapshot().device(dev).mac;
        self.send_frame(dev, &ArpFrame::gratuitous(mac, addr));
    }

    fn send_frame(&mut self, dev: IfIndex, frame: &ArpFrame) {
        let Some(mut skb) = self.pool.alloc() else { return };
        let written = skb.append(ARP_FRAME_LEN).and_then(|bytes| frame.emit(bytes));
        if written.is_none() {
            return;
        }
        *skb.fields_mut() = SkbFields { oif: dev.0, flags: flags::LOCAL_OUT, ..SkbFields::default() };
        self.shared.control_cells().created.add(1);
        self.xmit(skb);
    }

    /// Has a frame sent by the device in its `oif` field.
    pub(super) fn xmit(&self, skb: Skb) {
        if let Err(ToLcore::Xmit(skb)) = self.send(ToLcore::Xmit(skb)) {
            self.kfree_skb(skb, DropReason::PuntFull);
        }
    }

    fn send(&self, message: ToLcore) -> Result<(), ToLcore> {
        // One lcore for all: packets of one neighbour's queue keep their order.
        self.shared.send_to_lcore(0, message)
    }

    fn kfree_skb(&self, skb: Skb, reason: DropReason) {
        self.shared.trace.note(&skb, Step::Dropped { node: Node::NeighResolve, reason });
        tap_freed(&self.shared, &skb, Node::NeighResolve, reason);
        self.shared.control_cells().count_drop(Node::NeighResolve, reason, 1, skb.len() as u64);
    }

    /// Lets removed entries' numbers come back once no lcore can hold them.
    fn turn_epoch(&mut self) {
        match self.neigh_epoch {
            Some((epoch, serial)) if self.shared.qsbr.passed(epoch) => {
                self.neigh.reclaim_until(serial);
                self.neigh_epoch = None;
            }
            Some(_) => {}
            None => {
                // Removals so far carry the serial before; those after the epoch began carry the next.
                let serial = self.neigh_serial;
                self.neigh_serial += 1;
                self.neigh.set_epoch(self.neigh_serial);
                self.neigh_epoch = Some((self.shared.qsbr.advance(), serial));
            }
        }
    }

    /// The entry of a gateway, kept as long as a next hop names it.
    pub(super) fn hold_neighbour(&mut self, dev: IfIndex, addr: u32) -> Option<NeighId> {
        let mut actions = Vec::new();
        let held = self.neigh.hold(dev, addr, self.clock.now(), &mut actions);
        self.act(actions);
        held.ok()
    }

    /// Lets go of a gateway's entry.
    pub(super) fn release_neighbour(&mut self, id: NeighId) {
        let mut actions = Vec::new();
        self.neigh.release(id, self.clock.now(), &mut actions);
        self.act(actions);
    }

    /// A device went down, lost its last address or has a new hardware address: nobody is where they were, not even
    /// those set by hand (kernel: `neigh_ifdown`, `neigh_changeaddr`).
    pub(super) fn flush_neighbours(&mut self, dev: IfIndex) {
        let mut actions = Vec::new();
        self.neigh.flush_dev(dev, self.clock.now(), &mut actions);
        self.act(actions);
        self.reinstate_neighbours(dev);
        let usable =
            self.rtnl.link(dev).is_some_and(|link| link.is_up() && link.addresses().next().is_some());
        if !usable && self.proxies.remove_device(dev) {
            self.publish();
        }
    }

    /// Neighbours of the configuration are in force for as long as it is; those of commands are not.
    fn reinstate_neighbours(&mut self, dev: IfIndex) {
        let Some(name) = self.rtnl.link(dev).map(|link| link.name().to_owned()) else { return };
        let configured = self.config.iter().flat_map(|config| &config.neighbours);
        let of_dev = configured.filter(|neighbour| neighbour.dev.value == name);
        let entries: Vec<_> = of_dev.map(|n| (n.address.value, n.mac.value)).collect();
        for (address, mac) in entries {
            // What is refused here was refused when the configuration was taken.
            let _ = self.set_neighbour(dev, bits(address), Some(mac), Nud::Permanent, SetMode::Replace);
        }
    }

    /// A device lost its carrier: what is set by hand stays, and everything where `arp_evict_nocarrier` is off.
    pub(super) fn evict_neighbours(&mut self, dev: IfIndex) {
        if self.keep_nocarrier.contains(&dev) {
            return;
        }
        let mut actions = Vec::new();
        self.neigh.carrier_down(dev, self.clock.now(), &mut actions);
        self.act(actions);
    }

    /// Frees every packet that still waits, for the end of the router.
    pub fn purge(&mut self) {
        let devices: Vec<IfIndex> = self.rtnl.links().map(|link| link.ifindex()).collect();
        let mut actions = Vec::new();
        for dev in devices {
            self.neigh.flush_dev(dev, self.clock.now(), &mut actions);
        }
        self.act(actions);
        self.mc_purge();
        while let Some(message) = self.shared.receive_control() {
            match message {
                ToControl::Resolve { skb, .. }
                | ToControl::Igmp { skb, .. }
                | ToControl::SlowProtocol { skb, .. }
                | ToControl::McUnresolved { skb, .. } => self.kfree_skb(skb, DropReason::Shutdown),
                ToControl::NeighUsed(_)
                | ToControl::Arp { .. }
                | ToControl::McWrongVif { .. }
                | ToControl::ArpProxy { .. }
                | ToControl::BondArp { .. }
                | ToControl::Martian(_) => {}
            }
        }
        for lcore in 0..self.shared.lcores() {
            while let Some(message) = self.shared.receive_lcore(lcore) {
                match message {
                    ToLcore::Xmit(skb)
                    | ToLcore::NeighFailed(skb)
                    | ToLcore::McLocalOut(skb)
                    | ToLcore::McResolved(skb)
                    | ToLcore::Fragment(skb, _)
                    | ToLcore::NfReinject(Reinject { skb, .. }) => self.kfree_skb(skb, DropReason::Shutdown),
                    ToLcore::ChangeTree(..) => {}
                }
            }
        }
    }
}

/// The address a request carries (`arp_announce`).
fn request_source(snapshot: &Snapshot, dev: IfIndex, target: u32, waiting: Option<u32>) -> u32 {
    let device = snapshot.device(dev);
    let ours = waiting.filter(|&source| snapshot.local.contains(source));
    let announced = match device.conf.arp_announce {
        0 => ours,
        1 => ours.filter(|&source| device.on_one_subnet(source, target)),
        _ => None,
    };
    let lent = || snapshot.devices().find_map(|other| other.select_addr(target));
    announced.or_else(|| device.select_addr(target)).or_else(lent).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use skiff_dataplane::core::snapshot::Sysctl;
    use skiff_dataplane::device::{DeviceKind, InterfaceAddress, NetDevice};
    use skiff_dataplane::net::MacAddr;

    use super::*;

    fn device(n: u16, announce: u8, addresses: &[(&str, bool)]) -> NetDevice {
        let mut device = NetDevice {
            ifindex: IfIndex(n),
            name: format!("r{n}"),
            kind: DeviceKind::Loopback,
            mac: MacAddr::ZERO,
            addresses: addresses
                .iter()
                .map(|(net, secondary)| InterfaceAddress {
                    secondary: *secondary,
                    ..InterfaceAddress::new(net.parse().unwrap())
                })
                .collect(),
            ..NetDevice::loopback()
        };
        device.conf.arp_announce = announce;
        device
    }

    /// As a 6.18 kernel asked.
    #[test]
    fn the_address_a_request_carries() {
        let ip = |text: &str| text.parse::<Ipv4Addr>().unwrap().to_bits();
        let own = [("10.2.0.1/24", false), ("10.2.0.3/24", true), ("10.5.0.1/24", false)];
        for (announce, expect) in [
            (0, ["10.1.0.1", "10.2.0.3", "10.5.0.1", "10.2.0.1", "10.2.0.1"]),
            (1, ["10.2.0.1", "10.2.0.3", "10.2.0.1", "10.2.0.1", "10.2.0.1"]),
            (2, ["10.2.0.1", "10.2.0.1", "10.2.0.1", "10.2.0.1", "10.2.0.1"]),
        ] {
            let devices =
                [device(2, 0, &[("10.1.0.1/24", false)]), device(3, announce, &own), device(4, 0, &[])];
            let snapshot = Snapshot::new(1, devices, Sysctl::default(), false);
            let waiting = [Some("10.1.0.1"), Some("10.2.0.3"), Some("10.5.0.1"), Some("10.1.0.9"), None];
            let sent =
                waiting.map(|source| request_source(&snapshot, IfIndex(3), ip("10.2.0.77"), source.map(ip)));
            assert_eq!(sent, expect.map(ip), "arp_announce {announce}");
            // A device without an address borrows one.
            assert_eq!(request_source(&snapshot, IfIndex(4), ip("10.9.0.1"), None), ip("10.1.0.1"));
        }
        let bare = Snapshot::new(1, [device(4, 0, &[])], Sysctl::default(), false);
        assert_eq!(request_source(&bare, IfIndex(4), ip("10.9.0.1"), None), 0);
    }
}
