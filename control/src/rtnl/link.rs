//! Links: devices by number and by name.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use skiff_dataplane::core::counters::MAX_DEVICES;
use skiff_dataplane::device::vlan::VlanProto;
use skiff_dataplane::net::{IfIndex, MacAddr};

use super::addr::Addr;
use super::bond::{BondLink, Member};
use super::vlan::VlanLink;
use crate::ip::Refusal;

/// Longest device name, bytes (`IFNAMSIZ` less the terminator).
pub(super) const MAX_NAME: usize = 15;

/// What a link is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkKind {
    /// The loopback device.
    Loopback,
    /// An Ethernet port.
    Port,
    /// A VLAN on another link.
    Vlan(Box<VlanLink>),
    /// Several ports as one.
    Bond(Box<BondLink>),
}

/// A link to add. It starts out down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkInit {
    /// Its name.
    pub name: String,
    /// Its hardware address.
    pub mac: MacAddr,
    /// Largest packet, bytes.
    pub mtu: u32,
    /// Smallest MTU it takes, bytes.
    pub min_mtu: u32,
    /// Largest MTU it takes, bytes.
    pub max_mtu: u32,
    /// What it is.
    pub kind: LinkKind,
    /// The physical link is up.
    pub carrier: bool,
    /// Receive queues.
    pub rx_queues: u32,
    /// Transmit queues.
    pub tx_queues: u32,
}

impl LinkInit {
    /// The loopback device, as every network namespace has it.
    pub(super) fn loopback() -> LinkInit {
        LinkInit {
            name: "lo".to_owned(),
            mac: MacAddr::ZERO,
            mtu: 65536,
            min_mtu: 0,
            max_mtu: 0,
            kind: LinkKind::Loopback,
            carrier: true,
            rx_queues: 1,
            tx_queues: 1,
        }
    }
}

/// A network device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub(super) ifindex: IfIndex,
    pub(super) init: LinkInit,
    pub(super) up: bool,
    pub(super) promisc: bool,
    /// How many reasons there are to take every frame: its own will, and upper devices.
    pub(super) promiscuity: u32,
    /// Nobody set its hardware address: a VLAN's follows the device below, a bond's is its first member's.
    pub(super) borrowed_mac: bool,
    /// It went down with the device below and comes up with it.
    pub(super) resume: bool,
    /// It is a member of a bond.
    pub(super) member: Option<Box<Member>>,
    /// Next hops on it are not used while it has no carrier.
    pub(super) ignore_linkdown: bool,
    pub(super) addrs: Vec<Addr>,
}

impl Link {
    /// Its number.
    pub fn ifindex(&self) -> IfIndex {
        self.ifindex
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.init.name
    }

    /// Its hardware address.
    pub fn mac(&self) -> MacAddr {
        self.init.mac
    }

    /// Largest IPv4 packet, bytes: the MTU, which for the loopback device is one more than IPv4 can use.
    pub fn mtu(&self) -> u16 {
        u16::try_from(self.init.mtu).unwrap_or(u16::MAX)
    }

    /// What it is.
    pub fn kind(&self) -> &LinkKind {
        &self.init.kind
    }

    /// Its settings as a VLAN, if it is one.
    pub fn vlan(&self) -> Option<&VlanLink> {
        match &self.init.kind {
            LinkKind::Vlan(vlan) => Some(vlan),
            _ => None,
        }
    }

    /// Its settings as a bond, if it is one.
    pub fn bond(&self) -> Option<&BondLink> {
        match &self.init.kind {
            LinkKind::Bond(bond) => Some(bond),
            _ => None,
        }
    }

    /// What it is to its bond, if it is a member of one.
    pub fn member(&self) -> Option<&Member> {
        self.member.as_deref()
    }

    /// Its kind as `type` selects it; none for what no command made.
    pub fn kind_name(&self) -> Option<&'static str> {
        match &self.init.kind {
            LinkKind::Loopback | LinkKind::Port => None,
            LinkKind::Vlan(_) => Some("vlan"),
            LinkKind::Bond(_) => Some("bond"),
        }
    }

    /// Up and with a carrier.
    pub fn is_running(&self) -> bool {
        self.up && self.init.carrier
    }

    pub(super) fn vlan_mut(&mut self) -> Option<&mut VlanLink> {
        match &mut self.init.kind {
            LinkKind::Vlan(vlan) => Some(vlan),
            _ => None,
        }
    }

    pub(super) fn bond_mut(&mut self) -> Option<&mut BondLink> {
        match &mut self.init.kind {
            LinkKind::Bond(bond) => Some(bond),
            _ => None,
        }
    }

    /// A driver carries it.
    pub(super) fn is_driven(&self) -> bool {
        matches!(self.init.kind, LinkKind::Loopback | LinkKind::Port)
    }

    /// Administratively up.
    pub fn is_up(&self) -> bool {
        self.up
    }

    /// The physical link is up.
    pub fn has_carrier(&self) -> bool {
        self.init.carrier
    }

    /// Takes every frame.
    pub fn is_promisc(&self) -> bool {
        self.promisc
    }

    /// Its addresses, in the kernel's order: primary ones by scope, then secondary ones.
    pub fn addresses(&self) -> impl Iterator<Item = &Addr> {
        self.addrs.iter()
    }

    pub(super) fn is_loopback(&self) -> bool {
        matches!(self.init.kind, LinkKind::Loopback)
    }

    /// Refuses an MTU the device does not take.
    pub(super) fn check_mtu(&self, mtu: u32) -> Result<(), Refusal> {
        if mtu < self.init.min_mtu {
            return Err(Refusal::Invalid("mtu less than device minimum.".to_owned()));
        }
        if self.init.max_mtu > 0 && mtu > self.init.max_mtu {
            return Err(Refusal::Invalid("mtu greater than device maximum.".to_owned()));
        }
        Ok(())
    }
}

/// Every link.
#[derive(Debug, Default)]
pub(super) struct Links {
    by_index: BTreeMap<IfIndex, Link>,
    by_name: HashMap<String, IfIndex>,
    /// The VLANs on each device.
    vlans: BTreeMap<IfIndex, BTreeSet<IfIndex>>,
    by_tag: HashMap<(IfIndex, VlanProto, u16), IfIndex>,
    /// The last number given.
    last: u16,
}

impl Links {
    pub(super) fn get(&self, dev: IfIndex) -> Option<&Link> {
        self.by_index.get(&dev)
    }

    pub(super) fn get_mut(&mut self, dev: IfIndex) -> Option<&mut Link> {
        self.by_index.get_mut(&dev)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Link> {
        self.by_index.values()
    }

    /// The device of a command.
    pub(super) fn find(&self, name: &str) -> Result<IfIndex, Refusal> {
        self.by_name.get(name).copied().ok_or_else(|| Refusal::NoDevice(name.to_owned()))
    }

    /// Refuses a name no device may have, or that one has.
    pub(super) fn check_name(&self, name: &str) -> Result<(), Refusal> {
        let odd = |b: u8| b.is_ascii_whitespace() || matches!(b, b'/' | b':' | b'%' | 0);
        if name.is_empty() || name.len() > MAX_NAME || matches!(name, "." | "..") || name.bytes().any(odd) {
            return Err(Refusal::Invalid(format!("\"{name}\" is not a valid device name")));
        }
        if self.by_name.contains_key(name) { Err(Refusal::Exists) } else { Ok(()) }
    }

    /// Adds a link under the next number that is free, so that a number is not taken again at once: packets and counters
    /// of the device that had it may still be about.
    pub(super) fn add(&mut self, init: LinkInit) -> Result<IfIndex, Refusal> {
        self.check_name(&init.name)?;
        let ifindex = self.free_number()?;
        let link = Link {
            ifindex,
            init,
            up: false,
            promisc: false,
            promiscuity: 0,
            borrowed_mac: false,
            resume: false,
            member: None,
            ignore_linkdown: false,
            addrs: Vec::new(),
        };
        link.check_mtu(link.init.mtu)?;
        if let Some(vlan) = link.vlan() {
            self.vlans.entry(vlan.real_dev).or_default().insert(ifindex);
            self.by_tag.insert((vlan.real_dev, vlan.proto, vlan.vid), ifindex);
        }
        self.last = ifindex.0;
        self.by_name.insert(link.init.name.clone(), ifindex);
        self.by_index.insert(ifindex, link);
        Ok(ifindex)
    }

    fn free_number(&self) -> Result<IfIndex, Refusal> {
        let most = (MAX_DEVICES - 1) as u16;
        let mut numbers = (self.last + 1..=most).chain(1..=self.last.min(most)).map(IfIndex);
        numbers
            .find(|dev| !self.by_index.contains_key(dev))
            .ok_or_else(|| Refusal::Invalid("no device number is free".to_owned()))
    }

    pub(super) fn remove(&mut self, dev: IfIndex) {
        let Some(link) = self.by_index.remove(&dev) else { return };
        self.by_name.remove(&link.init.name);
        if let Some(vlan) = link.vlan() {
            self.by_tag.remove(&(vlan.real_dev, vlan.proto, vlan.vid));
            if let Some(vlans) = self.vlans.get_mut(&vlan.real_dev) {
                vlans.remove(&dev);
                if vlans.is_empty() {
                    self.vlans.remove(&vlan.real_dev);
                }
            }
        }
    }

    /// The VLANs that lie on a device.
    pub(super) fn vlans_on(&self, dev: IfIndex) -> Vec<IfIndex> {
        self.vlans.get(&dev).into_iter().flatten().copied().collect()
    }

    /// The VLAN of that tag.
    pub(super) fn by_tag(&self, real_dev: IfIndex, proto: VlanProto, vid: u16) -> Option<IfIndex> {
        self.by_tag.get(&(real_dev, proto, vid)).copied()
    }

    /// How many devices lie one on the other here: 1 for one that stands by itself, members of a bond counted as the
    /// kernel does.
    pub(super) fn depth(&self, dev: IfIndex) -> usize {
        let Some(link) = self.get(dev) else { return 0 };
        match &link.init.kind {
            LinkKind::Vlan(vlan) => 1 + self.depth(vlan.real_dev),
            LinkKind::Bond(bond) => {
                1 + bond.members.iter().map(|member| self.depth(*member)).max().unwrap_or(0)
            }
            LinkKind::Loopback | LinkKind::Port => 1,
        }
    }

    /// How many devices lie on it and on each other, itself counted.
    pub(super) fn height(&self, dev: IfIndex) -> usize {
        let master = self.get(dev).and_then(|link| link.member.as_ref()).map(|member| member.master);
        let uppers = self.vlans.get(&dev).into_iter().flatten().copied().chain(master);
        1 + uppers.map(|upper| self.height(upper)).max().unwrap_or(0)
    }

    /// The first name of the form `vlan0` that is free.
    pub(super) fn free_name(&self, kind: &str) -> String {
        let mut n = 0;
        loop {
            let name = format!("{kind}{n}");
            if !self.by_name.contains_key(&name) {
                return name;
            }
            n += 1;
        }
    }

    /// Gives a link a name that [`check_name`](Self::check_name) let through.
    pub(super) fn rename(&mut self, dev: IfIndex, name: &str) {
        if let Some(link) = self.by_index.get_mut(&dev) {
            self.by_name.remove(&link.init.name);
            link.init.name = name.to_owned();
            self.by_name.insert(name.to_owned(), dev);
        }
    }
}
