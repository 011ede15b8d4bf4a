//! What a change of the model asks of the world outside it, as values.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

use ipnet::Ipv4Net;
use skiff_dataplane::net::{IfIndex, MacAddr};

/// What one change, or several in order, asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Changes to the merged forwarding table, in order: a later one for the same prefix replaces an earlier one.
    pub fib: Vec<FibChange>,
    /// Devices whose record (name, state, MTU, addresses) changed, or that came or went.
    pub devices: BTreeSet<IfIndex>,
    /// What to do to drivers, in order.
    pub driver: Vec<DriverOp>,
    /// Addresses to announce by gratuitous ARP where `arp_notify` is on: their device came up or changed its
    /// hardware address.
    pub announce: Vec<(IfIndex, Ipv4Addr)>,
    /// Devices whose neighbours are to be forgotten, those set by hand too: they went down, lost their last address or
    /// changed their hardware address.
    pub flush_neighbours: Vec<IfIndex>,
    /// Bonds that are told which member to use, or to choose anew.
    pub active_members: Vec<(IfIndex, Option<IfIndex>)>,
    /// Devices that lost their carrier: where `arp_evict_nocarrier` is on, neighbours not set by hand are forgotten.
    pub carrier_lost: Vec<IfIndex>,
}

impl Effects {
    /// Appends what comes after.
    pub fn extend(&mut self, later: Effects) {
        self.fib.extend(later.fib);
        self.devices.extend(later.devices);
        self.driver.extend(later.driver);
        self.announce.extend(later.announce);
        self.flush_neighbours.extend(later.flush_neighbours);
        self.active_members.extend(later.active_members);
        self.carrier_lost.extend(later.carrier_lost);
    }

    /// True if there is nothing to do.
    pub fn is_empty(&self) -> bool {
        *self == Effects::default()
    }
}

/// Something to do to a device's driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriverOp {
    /// Start (true) or stop the device.
    SetUp(IfIndex, bool),
    /// Set its MTU, bytes.
    SetMtu(IfIndex, u32),
    /// Set its hardware address.
    SetMac(IfIndex, MacAddr),
    /// Let it take every frame, or not.
    SetPromisc(IfIndex, bool),
}

/// The route of one prefix changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FibChange {
    /// The prefix, without host bits.
    pub prefix: Ipv4Net,
    /// Its route now; none if there is no route left.
    pub route: Option<FibRoute>,
}

/// What the winning route of a prefix does. Lists of next hops are shared by the routes that have the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FibRoute {
    /// Deliver here.
    Local {
        /// The device that has the address.
        dev: IfIndex,
        /// The source of our own packets to it; unspecified for the destination itself.
        src: Ipv4Addr,
    },
    /// Deliver here, and send as a link broadcast.
    Broadcast {
        /// The device.
        dev: IfIndex,
        /// The source of our own packets to it; unspecified without one.
        src: Ipv4Addr,
        /// Largest packet, bytes.
        mtu: u16,
    },
    /// Drop silently.
    Blackhole,
    /// Drop and answer host unreachable.
    Unreachable,
    /// Drop and answer administratively prohibited.
    Prohibit,
    /// As if no route led there, not even a less specific one: the next table is asked, and there is none.
    Throw,
    /// Forward. Dead next hops are left out; at least one is there.
    Unicast(Arc<[FibHop]>),
    /// The same, packet by packet and not flow by flow.
    Equalize(Arc<[FibHop]>),
}

/// One usable next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FibHop {
    /// The device it leaves by.
    pub dev: IfIndex,
    /// The gateway; none if the destination is on the link.
    pub gateway: Option<Ipv4Addr>,
    /// Its share, 1 to 256.
    pub weight: u16,
    /// Largest packet, bytes: the smaller of the device's MTU and the route's.
    pub mtu: u16,
    /// The source of our own packets: the route's, or an address of the device.
    pub prefsrc: Option<Ipv4Addr>,
}
