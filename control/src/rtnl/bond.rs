//! Bonds: which links are members, and what becoming one asks of a link.

use skiff_dataplane::device::bond::BondMode;
use skiff_dataplane::net::{IfIndex, MacAddr};

use super::Rtnl;
use super::effects::Effects;
use super::link::{Link, LinkKind};
use crate::bond::options::{BondOptions, BondSlaveOptions, FailOverMac};
use crate::ip::{KindSpec, LinkSet, Refusal, SlaveSpec};

/// Most devices one on the other (`MAX_NEST_DEV`).
pub(super) const MAX_NESTING: usize = 8;

/// What a bond is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BondLink {
    /// Its members, in the order they joined.
    pub members: Vec<IfIndex>,
    /// What is set of it.
    pub options: BondOptions,
}

impl BondLink {
    /// Whether members have the bond's hardware address: not where each keeps its own.
    pub(super) fn lends_mac(&self) -> bool {
        match self.options.mode {
            BondMode::BalanceTlb | BondMode::BalanceAlb => false,
            BondMode::ActiveBackup => self.options.fail_over_mac == FailOverMac::None,
            _ => true,
        }
    }
}

/// What a member is to its bond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// The bond.
    pub master: IfIndex,
    /// The hardware address it had and gets back.
    pub perm_mac: MacAddr,
    /// The MTU it had and gets back.
    pub mtu: u32,
    /// What is set of it.
    pub options: BondSlaveOptions,
}

impl Member {
    pub(super) fn change(&mut self, spec: &SlaveSpec) {
        self.options.queue_id = spec.queue_id.unwrap_or(self.options.queue_id);
        self.options.prio = spec.prio.unwrap_or(self.options.prio);
    }
}

impl Rtnl {
    /// Whether `set` may make `dev` a member, or release it. None is the device a `nomaster` leaves.
    pub(super) fn check_master(&self, dev: IfIndex, set: &LinkSet) -> Result<(), Refusal> {
        let Some(Some(master)) = &set.master else { return Ok(()) };
        let absent = || Refusal::Invalid(format!("argument \"{master}\" is wrong: Device does not exist"));
        let bond_dev = self.links.find(master).map_err(|_| absent())?;
        let (Some(link), Some(upper)) = (self.links.get(dev), self.links.get(bond_dev)) else {
            return Ok(());
        };
        if link.member().is_some_and(|member| member.master == bond_dev) {
            return Ok(());
        }
        let refused = |why: &str| Err(Refusal::Invalid(why.to_owned()));
        if upper.bond().is_none() {
            return refused("Operation not supported");
        }
        match link.kind() {
            LinkKind::Bond(_) if dev == bond_dev => return refused("Cannot enslave bond to itself."),
            LinkKind::Bond(_) => return refused("Device type (master device) cannot be enslaved."),
            LinkKind::Loopback => return refused("Device type is different from other slaves."),
            LinkKind::Vlan(_) => {
                return Err(Refusal::NotSupported("a VLAN device as a member of a bond".to_owned()));
            }
            LinkKind::Port => {}
        }
        // A member of another bond is released first, which sets it down.
        if link.is_up() && link.member().is_none() {
            return refused("Device can not be enslaved while up.");
        }
        if self.links.depth(dev) + self.links.height(bond_dev) > MAX_NESTING {
            return refused("Too many links");
        }
        link.check_mtu(upper.init.mtu)
    }

    /// What the options of a bond come to if they change as `set` says.
    pub(super) fn changed_options(&self, link: &Link, set: &LinkSet) -> Result<Option<BondOptions>, Refusal> {
        let (Some(KindSpec::Bond(options)), Some(bond)) = (&set.kind, link.bond()) else { return Ok(None) };
        for (name, value) in options.iter().filter(|(_, value)| !value.is_empty()) {
            if !matches!(*name, "active_slave" | "primary") {
                continue;
            }
            let dev = self.links.find(value)?;
            if *name == "active_slave" && !bond.members.contains(&dev) {
                return Err(Refusal::Invalid("Invalid argument".to_owned()));
            }
        }
        let mut changed = bond.options.clone();
        let words = options.iter().map(|(name, value)| (*name, value.as_str()));
        changed.set_all(words, link.is_up(), !bond.members.is_empty()).map_err(Refusal::Invalid)?;
        Ok(Some(changed))
    }

    /// Sets all options of a bond at once. Where `idle` says so it is down and without members, which some need.
    ///
    /// # Errors
    /// It is not there, or one that changes cannot while the bond is in use.
    pub fn set_bond_options(
        &mut self,
        name: &str,
        wanted: &BondOptions,
        idle: bool,
    ) -> Result<Effects, Refusal> {
        let dev = self.links.find(name)?;
        let Some(link) = self.links.get_mut(dev) else { return Ok(Effects::default()) };
        let up = link.up;
        let Some(bond) = link.bond_mut() else { return Err(super::newlink::unsupported()) };
        let in_use = up || !bond.members.is_empty();
        if in_use && (idle || !is_live_change(&bond.options, wanted)) {
            return Err(Refusal::Invalid("Device or resource busy".to_owned()));
        }
        bond.options = wanted.clone();
        Ok(Effects { devices: [dev].into(), ..Effects::default() })
    }

    /// Takes over the options [`changed_options`](Self::changed_options) let through.
    pub(super) fn change_options(
        &mut self,
        dev: IfIndex,
        changed: BondOptions,
        set: &LinkSet,
        effects: &mut Effects,
    ) {
        let Some(KindSpec::Bond(options)) = &set.kind else { return };
        for (name, value) in options {
            match *name {
                "active_slave" => effects.active_members.push((dev, self.links.find(value).ok())),
                "clear_active_slave" => effects.active_members.push((dev, None)),
                _ => {}
            }
        }
        if let Some(bond) = self.links.get_mut(dev).and_then(|link| link.bond_mut()) {
            bond.options = changed;
        }
        effects.devices.insert(dev);
    }

    /// Makes `dev` a member of `master`, or of nothing.
    pub(super) fn set_master(&mut self, dev: IfIndex, master: Option<IfIndex>, effects: &mut Effects) {
        let old = self.links.get(dev).and_then(|link| link.member()).map(|member| member.master);
        if old == master {
            return;
        }
        if old.is_some() {
            self.release(dev, effects);
        }
        if let Some(master) = master {
            self.enslave(dev, master, effects);
        }
    }

    /// The first member lends the bond its address, which all members then have, with the bond's MTU; and a member is up.
    fn enslave(&mut self, dev: IfIndex, master: IfIndex, effects: &mut Effects) {
        let (Some(link), Some(upper)) = (self.links.get(dev), self.links.get(master)) else { return };
        let Some(bond) = upper.bond() else { return };
        let (adopts, lends) = (bond.members.is_empty() && upper.borrowed_mac, bond.lends_mac());
        let (perm_mac, mtu) = (link.init.mac, link.init.mtu);
        let bond_mtu = upper.init.mtu;
        if adopts {
            self.set_mac(master, perm_mac, effects);
        }
        let bond_mac = self.links.get(master).map_or(perm_mac, |upper| upper.init.mac);
        if let Some(link) = self.links.get_mut(dev) {
            link.member =
                Some(Box::new(Member { master, perm_mac, mtu, options: BondSlaveOptions::default() }));
        }
        if let Some(bond) = self.links.get_mut(master).and_then(|upper| upper.bond_mut()) {
            bond.members.push(dev);
        }
        self.set_mtu(dev, bond_mtu, effects);
        if lends {
            self.set_mac(dev, bond_mac, effects);
        }
        self.set_up(dev, true, effects);
        effects.devices.extend([dev, master]);
    }

    /// Takes a member out of its bond: it goes down and gets back what it had.
    pub(super) fn release(&mut self, dev: IfIndex, effects: &mut Effects) {
        let Some(member) = self.links.get_mut(dev).and_then(|link| link.member.take()) else { return };
        self.set_up(dev, false, effects);
        self.set_mac(dev, member.perm_mac, effects);
        self.set_mtu(dev, member.mtu, effects);
        effects.devices.extend([dev, member.master]);
        let Some(upper) = self.links.get_mut(member.master) else { return };
        let mac = upper.init.mac;
        let Some(bond) = upper.bond_mut() else { return };
        bond.members.retain(|there| *there != dev);
        if bond.members.is_empty() {
            // An address of its own again, which the next first member replaces.
            upper.borrowed_mac = true;
            self.set_mac(member.master, another_address(mac), effects);
            effects.extend(self.set_carrier(member.master, false));
        }
    }
}

/// Whether options may become others while a bond is up and has members.
fn is_live_change(now: &BondOptions, wanted: &BondOptions) -> bool {
    let fixed = |options: &BondOptions| {
        let lacp = (options.lacp_active, options.lacp_rate, options.coupled_control, options.ad_select);
        (options.mode, options.fail_over_mac, lacp, options.ad_user_port_key, options.tlb_dynamic_lb)
    };
    fixed(now) == fixed(wanted)
}

/// A locally administered address that differs from `mac`, always the same: the model has no chance.
fn another_address(mac: MacAddr) -> MacAddr {
    let mut word = [0; 8];
    word[2..].copy_from_slice(&mac.0);
    // The finalizer of SplitMix64: neighbouring addresses end up far apart.
    let mut x = u64::from_be_bytes(word).wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let [a, b, c, d, e, f, ..] = (x ^ (x >> 31)).to_be_bytes();
    MacAddr([a & 0xfc | 2, b, c, d, e, f])
}
