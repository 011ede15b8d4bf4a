//! Routes follow their devices and addresses: next hops die and come back, routes without any are flushed.

use std::net::Ipv4Addr;

use skiff_dataplane::net::IfIndex;

use super::effects::Effects;
use super::info::{InfoId, Slot};
use super::link::Links;
use super::table::Routes;
use crate::ip::{RouteFlags, Scope};

/// Why a device's next hops go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// The physical link is gone: they are marked, and used on unless `ignore_routes_with_linkdown` is on.
    Carrier,
    /// The device was set down. Routes of host scope stay.
    Down,
    /// Its last address went.
    Addresses,
    /// The device itself goes, and with it every multipath route that used it.
    Device,
}

impl Routes {
    /// `fib_sync_down_dev`, and the flush after it.
    pub(super) fn sync_down(&mut self, dev: IfIndex, loss: Loss, links: &Links, effects: &mut Effects) {
        let (mut dead, mut changed) = (Vec::new(), Vec::new());
        for id in self.infos.on(dev) {
            if lose(self.infos.get_mut(id), dev, loss) {
                dead.push(id);
            } else if self.infos.refresh(id, links) {
                changed.push(id);
            }
        }
        self.flush(&dead, effects);
        self.republish(&changed, effects);
    }

    /// Clears `mask` from the next hops on a device (`fib_sync_up`).
    pub(super) fn sync_up(&mut self, dev: IfIndex, mask: RouteFlags, links: &Links, effects: &mut Effects) {
        let ids = self.infos.on(dev);
        for id in &ids {
            let slot = self.infos.get_mut(*id);
            for (hop, flags) in slot.info.hops.iter().zip(&mut slot.flags) {
                if hop.dev == dev {
                    flags.remove(mask);
                }
            }
        }
        self.refresh(&ids, links, effects);
    }

    /// An address of ours is gone, and with it the main table's routes that prefer it as source
    /// (`fib_sync_down_addr`).
    pub(super) fn source_gone(&mut self, addr: Ipv4Addr, effects: &mut Effects) {
        let dead = self.infos.with_prefsrc(addr);
        for id in &dead {
            self.infos.get_mut(*id).dead = true;
        }
        self.flush(&dead, effects);
    }

    /// Whether next hops on a device without carrier are used changed.
    pub(super) fn linkdown_rule_changed(&mut self, dev: IfIndex, links: &Links, effects: &mut Effects) {
        let ids = self.infos.on(dev);
        self.refresh(&ids, links, effects);
    }

    /// The device's MTU changed.
    pub(super) fn mtu_changed(&mut self, dev: IfIndex, links: &Links, effects: &mut Effects) {
        let ids = self.infos.on(dev);
        self.refresh(&ids, links, effects);
    }

    /// The device's addresses changed: sources are chosen anew.
    pub(super) fn addresses_changed(&mut self, dev: IfIndex, links: &Links, effects: &mut Effects) {
        let mut ids = self.infos.on(dev);
        ids.extend(self.infos.borrowers());
        ids.retain(|id| self.infos.get(*id).info.prefsrc.is_none());
        self.refresh(&ids, links, effects);
    }

    fn refresh(&mut self, ids: &[InfoId], links: &Links, effects: &mut Effects) {
        let changed: Vec<InfoId> = ids.iter().copied().filter(|id| self.infos.refresh(*id, links)).collect();
        self.republish(&changed, effects);
    }
}

/// Marks the next hops a device loses; true if that leaves the route none.
fn lose(slot: &mut Slot, dev: IfIndex, loss: Loss) -> bool {
    let mut dead = 0;
    let mut gone = false;
    for (hop, flags) in slot.info.hops.iter().zip(&mut slot.flags) {
        let kept = hop.scope == Scope(255) && matches!(loss, Loss::Carrier | Loss::Down);
        if hop.dev == dev && !kept {
            flags.insert(RouteFlags::LINKDOWN);
            flags.set(RouteFlags::DEAD, flags.contains(RouteFlags::DEAD) || loss != Loss::Carrier);
            gone |= loss == Loss::Device;
        }
        dead += usize::from(flags.contains(RouteFlags::DEAD));
    }
    slot.dead = gone || dead == slot.flags.len();
    slot.dead
}
