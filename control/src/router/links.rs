//! Links come, change and go: the model first, then drivers, then the tables.

use std::hash::{BuildHasher, RandomState};

use skiff_dataplane::net::{IfIndex, MacAddr};

use super::Router;
use super::settings::Settings;
use crate::ip::{LinkAdd, LinkFilter, LinkSet, LinkStats, Refusal, RxStats, TxStats};
use crate::rtnl::{DriverOp, Effects};

impl Router {
    /// `link add`.
    pub(super) fn link_add(&mut self, add: &LinkAdd) -> Result<(), Refusal> {
        let (dev, mut effects) = self.rtnl.link_add(add, random_mac())?;
        if let Err(refusal) = self.drive(&effects) {
            let gone = self.rtnl.remove_link(dev);
            let _ = self.drive(&gone);
            effects.extend(gone);
            self.carry_out(effects);
            return Err(refusal);
        }
        let mut equipped = self.welcome(dev);
        equipped.extend(effects);
        self.carry_out(equipped);
        Ok(())
    }

    /// `link del`.
    pub(super) fn link_del(&mut self, name: &str) -> Result<(), Refusal> {
        let effects = self.rtnl.link_del(name)?;
        // It is gone whatever drivers say.
        let _ = self.drive(&effects);
        self.carry_out(effects);
        Ok(())
    }

    /// `link set`: the model first, which refuses what makes no sense; then the driver, which may refuse too.
    pub(super) fn link_set(&mut self, set: &LinkSet) -> Result<(), Refusal> {
        let dev = self.rtnl.find(&set.dev)?;
        let master = self.master_of(dev);
        let effects = self.rtnl.link_set(set)?;
        let Err(refusal) = self.drive(&effects) else {
            self.carry_out(effects);
            return Ok(());
        };
        // Back to where the driver still is.
        let undone = self.undo(dev, set, master, &effects);
        let _ = self.drive(&undone);
        // Both happened to the model, so both happen to the tables.
        self.carry_out(effects);
        self.carry_out(undone);
        Err(refusal)
    }

    fn master_of(&self, dev: IfIndex) -> Option<String> {
        let master = self.rtnl.link(dev)?.member()?.master;
        Some(self.rtnl.link(master)?.name().to_owned())
    }

    /// Does to drivers what the effects ask for.
    ///
    /// # Errors
    /// The first that refuses.
    pub(super) fn drive(&self, effects: &Effects) -> Result<(), Refusal> {
        self.members_say_goodbye(effects);
        effects.driver.iter().try_for_each(|op| self.drive_one(op))
    }

    fn drive_one(&self, op: &DriverOp) -> Result<(), Refusal> {
        let (DriverOp::SetUp(dev, _)
        | DriverOp::SetMtu(dev, _)
        | DriverOp::SetMac(dev, _)
        | DriverOp::SetPromisc(dev, _)) = *op;
        let Some(port) = self.port(dev) else { return Ok(()) };
        let result = match *op {
            DriverOp::SetUp(_, up) => port.set_link(up),
            DriverOp::SetMtu(_, mtu) => {
                let mtu = u16::try_from(mtu).unwrap_or(u16::MAX);
                if port.mtu() == mtu { Ok(()) } else { port.set_mtu(mtu) }
            }
            DriverOp::SetMac(_, mac) => {
                if port.mac() == mac.0 {
                    Ok(())
                } else {
                    port.set_mac(mac.0)
                }
            }
            DriverOp::SetPromisc(_, on) => port.set_promiscuous(on),
        };
        let name = self.rtnl.link(dev).map_or("?", |link| link.name());
        match result {
            Err(error) if !(error.is_unsupported() && optional(op)) => {
                Err(Refusal::Invalid(format!("{name}: {error}")))
            }
            _ => Ok(()),
        }
    }

    fn port(&self, dev: IfIndex) -> Option<&skiff_pmd::Port> {
        self.ports.get(&dev).map(|handle| &handle.port)
    }

    /// Takes `set` back: what the last snapshot and the drivers say is how it was.
    fn undo(&mut self, dev: IfIndex, set: &LinkSet, master: Option<String>, effects: &Effects) -> Effects {
        let mut undone = Effects::default();
        let mut back = |router: &mut Router, set: LinkSet| {
            if let Ok(effects) = router.rtnl.link_set(&set) {
                undone.extend(effects);
            }
        };
        let name = set.name.clone().unwrap_or_else(|| set.dev.clone());
        if set.master.is_some() {
            back(self, LinkSet { dev: name.clone(), up: Some(false), ..LinkSet::default() });
            back(self, LinkSet { dev: name.clone(), master: Some(master), ..LinkSet::default() });
        }
        let promisc = set.promisc.map(|on| !on);
        let old_name = set.name.as_ref().map(|_| set.dev.clone());
        back(self, LinkSet { dev: name, promisc, name: old_name, ..LinkSet::default() });
        let before = self.shared.snapshot();
        let mut touched: Vec<IfIndex> =
            effects.devices.iter().copied().filter(|touched| *touched != dev).collect();
        // What others follow goes first.
        touched.insert(0, dev);
        for dev in touched {
            let (device, port) = (before.device(dev), self.port(dev));
            let Some(link) = self.rtnl.link(dev) else { continue };
            let mtu = port.map_or(device.mtu, |port| port.mtu());
            let mac = port.map_or(device.mac, |port| MacAddr(port.mac()));
            let set = LinkSet {
                dev: link.name().to_owned(),
                up: (device.up != link.is_up()).then_some(device.up),
                mtu: (mtu != link.mtu()).then_some(u32::from(mtu)),
                address: (mac != link.mac()).then_some(mac),
                ..LinkSet::default()
            };
            back(self, set);
        }
        undone
    }

    /// The settings of a device that is new.
    fn welcome(&mut self, dev: IfIndex) -> Effects {
        let settings = self.config.as_ref().map(|config| Settings::new(&config.sysctl)).unwrap_or_default();
        self.equip(&settings, dev)
    }

    /// Gives a device the settings its name has. Counters of one that is new start at 0.
    pub(super) fn equip(&mut self, settings: &Settings, dev: IfIndex) -> Effects {
        let Some(link) = self.rtnl.link(dev) else { return Effects::default() };
        let (name, mac) = (link.name().to_owned(), link.mac());
        let name = name.as_str();
        if !self.conf.contains_key(&dev) {
            self.counted_before.insert(dev, self.counted(dev));
        }
        self.conf.insert(dev, settings.device(name));
        self.notify.insert(dev, settings.arp_notify(name));
        match settings.keeps_nocarrier(name) {
            true => self.keep_nocarrier.insert(dev),
            false => self.keep_nocarrier.remove(&dev),
        };
        self.device_macs.insert(dev, mac);
        self.neigh.set_device(dev, mac, dev == IfIndex::LOOPBACK, settings.neighbour(name));
        self.rtnl.set_ignore_linkdown(dev, settings.ignores_linkdown(name))
    }

    /// Nothing of a device that is gone is to be found on another one with its number.
    pub(super) fn forget(&mut self, dev: IfIndex) {
        self.conf.remove(&dev);
        self.forget_tree(dev);
        self.notify.remove(&dev);
        self.keep_nocarrier.remove(&dev);
        self.device_macs.remove(&dev);
        self.counted_before.remove(&dev);
        self.forget_groups(dev);
        // Packets that lcores found no neighbour for before they heard of it are still to come: nobody is to keep them.
        let mut actions = Vec::new();
        self.neigh.remove_device(dev, self.clock.now(), &mut actions);
        self.act(actions);
    }

    /// Refuses a filter by a master that is not there.
    pub(super) fn check_filter(&self, filter: &LinkFilter) -> Result<(), Refusal> {
        match &filter.master {
            Some(Some(master)) if self.rtnl.find(master).is_err() => {
                Err(Refusal::Invalid(format!("argument \"{master}\" is wrong: Device does not exist")))
            }
            _ => Ok(()),
        }
    }

    /// The counters of a device since it is there.
    pub(super) fn link_stats(&self, dev: IfIndex) -> LinkStats {
        let mut stats = self.counted(dev);
        if let Some(before) = self.counted_before.get(&dev) {
            stats = since(stats, before);
        }
        if let Some(handle) = self.ports.get(&dev)
            && let Ok(port) = handle.port.stats()
        {
            stats.rx = RxStats { errors: port.ierrors, missed: port.imissed, ..stats.rx };
            stats.tx = TxStats { errors: port.oerrors, carrier_changes: handle.carrier_changes, ..stats.tx };
        }
        stats
    }

    /// What the lcores counted under that number.
    fn counted(&self, dev: IfIndex) -> LinkStats {
        let mut stats = LinkStats::default();
        for cells in self.shared.all_cells() {
            let cells = cells.device(dev);
            stats.rx.packets += cells.rx_packets.get();
            stats.rx.bytes += cells.rx_bytes.get();
            stats.rx.dropped += cells.rx_dropped.get();
            stats.rx.multicast += cells.multicast.get();
            stats.tx.packets += cells.tx_packets.get();
            stats.tx.bytes += cells.tx_bytes.get();
            stats.tx.dropped += cells.tx_dropped.get();
        }
        stats
    }
}

fn since(now: LinkStats, before: &LinkStats) -> LinkStats {
    let (rx, tx) = (before.rx, before.tx);
    LinkStats {
        rx: RxStats {
            packets: now.rx.packets.saturating_sub(rx.packets),
            bytes: now.rx.bytes.saturating_sub(rx.bytes),
            dropped: now.rx.dropped.saturating_sub(rx.dropped),
            multicast: now.rx.multicast.saturating_sub(rx.multicast),
            ..now.rx
        },
        tx: TxStats {
            packets: now.tx.packets.saturating_sub(tx.packets),
            bytes: now.tx.bytes.saturating_sub(tx.bytes),
            dropped: now.tx.dropped.saturating_sub(tx.dropped),
            ..now.tx
        },
    }
}

/// What a driver may not be able to do without the command being wrong: a virtual device has no light to switch off.
fn optional(op: &DriverOp) -> bool {
    matches!(op, DriverOp::SetUp(..) | DriverOp::SetPromisc(_, false))
}

/// A locally administered address by chance, for a bond without members.
pub(super) fn random_mac() -> MacAddr {
    let [a, b, c, d, e, f, ..] = RandomState::new().hash_one(0).to_be_bytes();
    MacAddr([a & 0xfc | 2, b, c, d, e, f])
}
