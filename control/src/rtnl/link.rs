//! Links: devices by number and by name.

use std::collections::{BTreeMap, HashMap};

use skiff_dataplane::net::{IfIndex, MacAddr};

use super::addr::Addr;
use crate::ip::Refusal;

/// Longest device name, bytes (`IFNAMSIZ` less the terminator).
pub(super) const MAX_NAME: usize = 15;

/// What a link is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkKind {
    /// The loopback device.
    Loopback,
    /// An Ethernet port.
    Port,
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
    pub fn kind(&self) -> LinkKind {
        self.init.kind
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
        self.init.kind == LinkKind::Loopback
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

    /// Adds a link under the lowest number that is free.
    pub(super) fn add(&mut self, init: LinkInit) -> Result<IfIndex, Refusal> {
        self.check_name(&init.name)?;
        let free = (1..=u16::MAX).map(IfIndex).find(|dev| !self.by_index.contains_key(dev));
        let ifindex = free.ok_or_else(|| Refusal::Invalid("no device number is free".to_owned()))?;
        let link =
            Link { ifindex, init, up: false, promisc: false, ignore_linkdown: false, addrs: Vec::new() };
        link.check_mtu(link.init.mtu)?;
        self.by_name.insert(link.init.name.clone(), ifindex);
        self.by_index.insert(ifindex, link);
        Ok(ifindex)
    }

    pub(super) fn remove(&mut self, dev: IfIndex) {
        if let Some(link) = self.by_index.remove(&dev) {
            self.by_name.remove(&link.init.name);
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
