//! The network device table: ports, VLANs, bonds and the loopback, with what IP needs to know of them.

pub mod bond;
pub mod bond_rlb;
pub mod bond_tlb;
pub mod vlan;

use std::net::Ipv4Addr;
use std::sync::Arc;

use ipnet::Ipv4Net;
use skiff_pmd::PortId;

use crate::neigh::arp_rcv::{ArpAccept, ArpIgnore};
use crate::net::{IfIndex, MacAddr};
use crate::skb::eth;
use bond::Bond;
use vlan::{Vlan, VlanGroup, VlanOffload};

/// What a device is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    /// No device: the unused slots of the table.
    Absent,
    /// The router itself.
    Loopback,
    /// A DPDK port.
    Port(PortId),
    /// A VLAN on another device ([`NetDevice::vlan`]).
    Vlan,
    /// Several ports as one ([`NetDevice::bond`]).
    Bond,
}

/// An address of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterfaceAddress {
    /// Address and prefix length.
    pub net: Ipv4Net,
    /// Not the first of its subnet on this device (the kernel's IFA_F_SECONDARY).
    pub secondary: bool,
    /// Its scope, as rtnetlink numbers them.
    pub scope: u8,
}

/// `RT_SCOPE_LINK`: what is closer than this is for the router alone.
pub const SCOPE_LINK: u8 = 253;

impl InterfaceAddress {
    /// A primary address that is good everywhere.
    pub fn new(net: Ipv4Net) -> Self {
        InterfaceAddress { net, secondary: false, scope: 0 }
    }

    /// Others may hear of it: it is not of host scope.
    pub fn is_public(&self) -> bool {
        self.scope <= SCOPE_LINK
    }
}

/// Per-device settings, by the kernel's names (`net.ipv4.conf.DEV.*`), already merged with `all`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceConf {
    /// Packets received here may be forwarded.
    pub forwarding: bool,
    /// Reverse path filter: 0 off, 1 strict, 2 loose (RFC 3704).
    pub rp_filter: u8,
    /// Accept packets whose source is one of our addresses.
    pub accept_local: bool,
    /// Send redirects.
    pub send_redirects: bool,
    /// Do not answer for unicast IP in link-layer broadcasts.
    pub drop_unicast_in_l2_multicast: bool,
    /// Route 127.0.0.0/8 like other networks.
    pub route_localnet: bool,
    /// Follow source routes.
    pub accept_source_route: bool,
    /// Forward packets to the broadcast addresses of other networks (RFC 2644 wants this off).
    pub bc_forwarding: bool,
    /// Send redirects between the subnets of one link too.
    pub shared_media: bool,
    /// Say in the log which packets cannot be.
    pub log_martians: bool,
    /// Which ARP requests to answer.
    pub arp_ignore: ArpIgnore,
    /// Answer ARP for addresses reached by another device.
    pub proxy_arp: bool,
    /// Answer ARP for addresses reached by the same device, whose stations cannot hear each other (RFC 3069).
    pub proxy_arp_pvlan: bool,
    /// Answers for others to broadcast requests wait (`proxy_delay` of the device's neighbours is not zero).
    pub proxy_delay: bool,
    /// Which medium the device is on, for proxied answers: 0 its own, -1 none is proxied.
    pub medium_id: i32,
    /// Learn from ARP of unknown neighbours that nobody asked.
    pub arp_accept: ArpAccept,
    /// Answer requests only where the answer's way leads.
    pub arp_filter: bool,
    /// Which of our addresses a request carries: 0 that of the packet that waits, 1 the same if it is in the target's
    /// subnet, 2 always the best of the device.
    pub arp_announce: u8,
    /// Ignore gratuitous ARP.
    pub drop_gratuitous_arp: bool,
}

impl Default for DeviceConf {
    /// A router's defaults: those of the kernel with `ip_forward = 1`.
    fn default() -> Self {
        DeviceConf {
            forwarding: true,
            rp_filter: 0,
            accept_local: false,
            send_redirects: true,
            drop_unicast_in_l2_multicast: false,
            route_localnet: false,
            accept_source_route: false,
            bc_forwarding: false,
            shared_media: true,
            log_martians: false,
            arp_ignore: ArpIgnore::AnyLocal,
            proxy_arp: false,
            proxy_arp_pvlan: false,
            proxy_delay: true,
            medium_id: 0,
            arp_accept: ArpAccept::Never,
            arp_filter: false,
            arp_announce: 0,
            drop_gratuitous_arp: false,
        }
    }
}

/// [`NetDevice::qdisc_owner`] of a device whose packets wait nowhere.
pub const NOQUEUE: u16 = u16::MAX;

/// One network device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetDevice {
    /// Its number.
    pub ifindex: IfIndex,
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: DeviceKind,
    /// Its hardware address.
    pub mac: MacAddr,
    /// Largest IP packet it carries, in bytes.
    pub mtu: u16,
    /// Administratively up.
    pub up: bool,
    /// The driver sees a link.
    pub carrier: bool,
    /// Addresses, primary ones first.
    pub addresses: Vec<InterfaceAddress>,
    /// Settings.
    pub conf: DeviceConf,
    /// What a VLAN device is.
    pub vlan: Option<Arc<Vlan>>,
    /// What a bond is.
    pub bond: Option<Arc<Bond>>,
    /// The VLAN devices on this one. The snapshot fills it in.
    pub vlans: Option<Arc<VlanGroup>>,
    /// The bond this is a member of; [`IfIndex::NONE`] for none. The snapshot fills it in.
    pub master: IfIndex,
    /// What the driver does with VLAN tags.
    pub vlan_offload: VlanOffload,
    /// Tags of received frames have to be looked at before all else: VLAN devices lie on this one, or its driver takes
    /// tags out. The snapshot fills it in.
    pub untags: bool,
    /// The lcore that owns its tree of queueing disciplines; [`NOQUEUE`] without one.
    pub qdisc_owner: u16,
}

impl NetDevice {
    /// An unused slot of the table.
    pub fn absent() -> Self {
        NetDevice {
            ifindex: IfIndex::NONE,
            name: String::new(),
            kind: DeviceKind::Absent,
            mac: MacAddr::ZERO,
            mtu: 0,
            up: false,
            carrier: false,
            addresses: Vec::new(),
            conf: DeviceConf::default(),
            vlan: None,
            bond: None,
            vlans: None,
            master: IfIndex::NONE,
            vlan_offload: VlanOffload::default(),
            untags: false,
            qdisc_owner: NOQUEUE,
        }
    }

    /// The loopback, 127.0.0.1/8.
    pub fn loopback() -> Self {
        let net = Ipv4Net::new_assert(Ipv4Addr::LOCALHOST, 8);
        NetDevice {
            ifindex: IfIndex::LOOPBACK,
            name: "lo".to_owned(),
            kind: DeviceKind::Loopback,
            mtu: u16::MAX,
            up: true,
            carrier: true,
            addresses: vec![InterfaceAddress { scope: 254, ..InterfaceAddress::new(net) }],
            ..NetDevice::absent()
        }
    }

    /// Up and with a link: packets can leave.
    #[inline]
    pub fn is_running(&self) -> bool {
        self.up && self.carrier
    }

    /// The hardware address as [`eth::mac_word`].
    #[inline]
    pub fn mac_word(&self) -> u64 {
        eth::mac_word(self.mac)
    }

    /// True if one of its addresses has both `a` and `b` in its subnet (the kernel's `inet_addr_onlink`); a `b` of 0
    /// always is.
    pub fn has_on_link(&self, a: u32, b: u32) -> bool {
        let within = |addr| self.addresses.iter().any(|ours| ours.net.contains(&Ipv4Addr::from_bits(addr)));
        if b == 0 { within(a) } else { self.on_one_subnet(a, b) }
    }

    /// Both lie in the subnet of one of its addresses.
    pub fn on_one_subnet(&self, a: u32, b: u32) -> bool {
        let [a, b] = [a, b].map(Ipv4Addr::from_bits);
        self.addresses.iter().any(|address| address.net.contains(&a) && address.net.contains(&b))
    }

    /// The address to send from towards `dst` (host byte order): a primary one of the same subnet, else the first
    /// primary (the kernel's `inet_select_addr`). None that is for the router alone.
    pub fn select_addr(&self, dst: u32) -> Option<u32> {
        let mut primaries = self.addresses.iter().filter(|a| !a.secondary && a.is_public());
        let same = primaries.clone().find(|a| a.net.contains(&Ipv4Addr::from_bits(dst)));
        same.or_else(|| primaries.next()).map(|a| a.net.addr().to_bits())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_address_is_of_the_destinations_subnet_if_there_is_one() {
        let mut dev = NetDevice::loopback();
        let address =
            |s: &str, secondary| InterfaceAddress { secondary, ..InterfaceAddress::new(s.parse().unwrap()) };
        dev.addresses =
            vec![address("10.0.0.1/24", false), address("10.0.0.2/24", true), address("10.1.0.1/24", false)];
        let select =
            |s: &str| dev.select_addr(s.parse::<Ipv4Addr>().unwrap().to_bits()).map(Ipv4Addr::from_bits);
        assert_eq!(select("10.1.0.9"), Some("10.1.0.1".parse().unwrap()));
        assert_eq!(select("192.0.2.1"), Some("10.0.0.1".parse().unwrap()));
    }
}
