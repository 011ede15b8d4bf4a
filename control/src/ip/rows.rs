//! Rows to print: what iproute2 knows of links, addresses, routes and neighbours.

use std::net::Ipv4Addr;

use bitflags::bitflags;
use ipnet::Ipv4Net;
use skiff_dataplane::net::MacAddr;

use super::linkspec::VlanRow;
use super::request::Metrics;
use super::words::{NudState, Protocol, RouteType, Scope, Table};
use crate::bond::options::{BondOptions, BondStatus, MemberStatus};

/// A network device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkRow {
    /// Its number.
    pub ifindex: u32,
    /// Its name.
    pub name: String,
    /// The device it stands on (VLAN) or its peer (veth); printed as `name@lower`.
    pub lower: Option<LowerLink>,
    /// Its flags.
    pub flags: LinkFlags,
    /// Largest packet, bytes.
    pub mtu: u32,
    /// The root queueing discipline's kind: `noqueue` without one.
    pub qdisc: String,
    /// The bond it is a member of.
    pub master: Option<String>,
    /// Its operational state.
    pub state: OperState,
    /// Transmit queue length, packets; 0 is not printed.
    pub qlen: u32,
    /// Its hardware address.
    pub address: MacAddr,
    /// Its broadcast hardware address.
    pub broadcast: MacAddr,
    /// What `-d` adds.
    pub details: LinkDetails,
    /// What `-s` adds.
    pub stats: LinkStats,
}

/// The device another stands on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LowerLink {
    /// Its name.
    pub name: String,
    /// True if it is administratively up; otherwise the upper device shows `M-DOWN`.
    pub up: bool,
}

bitflags! {
    /// Device flags, with the kernel's values (`IFF_*`).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct LinkFlags: u32 {
        /// Administratively up.
        const UP = 0x1;
        /// Can broadcast.
        const BROADCAST = 0x2;
        /// Loopback device.
        const LOOPBACK = 0x8;
        /// Has one peer only.
        const POINTOPOINT = 0x10;
        /// Operational. Up without it prints `NO-CARRIER`.
        const RUNNING = 0x40;
        /// Needs no ARP.
        const NOARP = 0x80;
        /// Takes every frame.
        const PROMISC = 0x100;
        /// Takes every multicast frame.
        const ALLMULTI = 0x200;
        /// Has members.
        const MASTER = 0x400;
        /// Is a member.
        const SLAVE = 0x800;
        /// Can multicast.
        const MULTICAST = 0x1000;
        /// The physical link is up.
        const LOWER_UP = 0x1_0000;
    }
}

/// Operational state (RFC 2863 `ifOperStatus`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperState {
    /// Not known: devices that do not keep it, as loopback.
    Unknown,
    /// A part is missing.
    NotPresent,
    /// Cannot pass packets.
    Down,
    /// The device below is down.
    LowerLayerDown,
    /// In test.
    Testing,
    /// Waits for an outside event.
    Dormant,
    /// Passes packets.
    Up,
}

impl OperState {
    /// The word shows print.
    pub const fn name(self) -> &'static str {
        match self {
            OperState::Unknown => "UNKNOWN",
            OperState::NotPresent => "NOTPRESENT",
            OperState::Down => "DOWN",
            OperState::LowerLayerDown => "LOWERLAYERDOWN",
            OperState::Testing => "TESTING",
            OperState::Dormant => "DORMANT",
            OperState::Up => "UP",
        }
    }
}

/// What `-d` adds to a link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkDetails {
    /// How many asked for promiscuous mode.
    pub promiscuity: u32,
    /// How many asked for every multicast frame.
    pub allmulti: u32,
    /// Smallest MTU it takes.
    pub min_mtu: u32,
    /// Largest MTU it takes; 0 is no bound.
    pub max_mtu: u32,
    /// The kind `show type` selects by (`vlan`, `bond`, ...); none for a plain port.
    pub kind: Option<&'static str>,
    /// What a VLAN is.
    pub vlan: Option<VlanRow>,
    /// What a bond is and does.
    pub bond: Option<Box<(BondOptions, BondStatus)>>,
    /// What a member of a bond does.
    pub slave: Option<MemberStatus>,
    /// How IPv6 link-local addresses are made (`eui64`, `none`), if the device makes any. Link show only.
    pub addr_gen_mode: Option<String>,
    /// Transmit queues.
    pub tx_queues: u32,
    /// Receive queues.
    pub rx_queues: u32,
    /// Segmentation limits, if there are any.
    pub gso: Option<Gso>,
}

/// Segmentation offload limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gso {
    /// Largest packet handed to segmentation, bytes.
    pub gso_max_size: u32,
    /// Most segments of one packet.
    pub gso_max_segs: u32,
    /// Largest packet the device segments, bytes.
    pub tso_max_size: u32,
    /// Most segments the device makes of one packet.
    pub tso_max_segs: u32,
    /// Largest packet receive aggregation makes, bytes.
    pub gro_max_size: u32,
}

/// Counters of a link (`rtnl_link_stats64`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkStats {
    /// Received.
    pub rx: RxStats,
    /// Sent.
    pub tx: TxStats,
}

/// Receive counters: packets unless said otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RxStats {
    /// Bytes.
    pub bytes: u64,
    /// Packets.
    pub packets: u64,
    /// Bad packets.
    pub errors: u64,
    /// Good packets given up.
    pub dropped: u64,
    /// Lost for want of receive descriptors: the `missed` column in text.
    pub missed: u64,
    /// `over_errors` of the JSON form and `overrun` of the error line.
    pub over_errors: u64,
    /// Multicast packets.
    pub multicast: u64,
    /// Wrong length.
    pub length_errors: u64,
    /// Bad checksum.
    pub crc_errors: u64,
    /// Misaligned.
    pub frame_errors: u64,
    /// FIFO overruns.
    pub fifo_errors: u64,
}

/// Transmit counters: packets unless said otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TxStats {
    /// Bytes.
    pub bytes: u64,
    /// Packets.
    pub packets: u64,
    /// Not sent for an error.
    pub errors: u64,
    /// Given up.
    pub dropped: u64,
    /// Carrier lost while sending.
    pub carrier_errors: u64,
    /// Collisions.
    pub collisions: u64,
    /// Aborted.
    pub aborted_errors: u64,
    /// FIFO underruns.
    pub fifo_errors: u64,
    /// Late collisions.
    pub window_errors: u64,
    /// Heartbeat lost.
    pub heartbeat_errors: u64,
    /// How often the carrier came or went.
    pub carrier_changes: u64,
}

/// A device and its addresses, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkAddrs {
    /// The device.
    pub link: LinkRow,
    /// Its addresses.
    pub addrs: Vec<AddrRow>,
}

/// An address of a device, valid forever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddrRow {
    /// Address and prefix length.
    pub local: Ipv4Net,
    /// Its broadcast address.
    pub broadcast: Option<Ipv4Addr>,
    /// Its scope.
    pub scope: Scope,
    /// True if an earlier address of the device covers the same prefix.
    pub secondary: bool,
    /// Its label: the device's name unless it was given another.
    pub label: String,
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteRow {
    /// What it does.
    pub kind: RouteType,
    /// The destination.
    pub to: Ipv4Net,
    /// The next hops: none for blackhole and the like, one, or several for multipath.
    pub nexthops: Vec<NextHopRow>,
    /// Its table.
    pub table: Table,
    /// Who made it.
    pub protocol: Protocol,
    /// Its scope.
    pub scope: Scope,
    /// The source address packets of our own take.
    pub src: Option<Ipv4Addr>,
    /// Its metric; 0 is not printed.
    pub metric: u32,
    /// Packets, not flows, are spread over its next hops.
    pub equalize: bool,
    /// Path metrics.
    pub metrics: Metrics,
}

/// A next hop of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextHopRow {
    /// The gateway; none for a destination on the link.
    pub via: Option<Ipv4Addr>,
    /// The device.
    pub dev: String,
    /// Its share, 1 to 256; printed for multipath only.
    pub weight: u16,
    /// Its state.
    pub flags: RouteFlags,
}

bitflags! {
    /// Flags of a next hop, with the kernel's values (`RTNH_F_*`).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct RouteFlags: u8 {
        /// Its device is down: not used.
        const DEAD = 1;
        /// Its gateway is a neighbour though no address of ours covers it.
        const ONLINK = 4;
        /// Its device has no carrier.
        const LINKDOWN = 16;
        /// Of a whole route: packets, not flows, are spread over its next hops. (The kernel's is `RTM_F_EQUALIZE`, which
        /// is no flag of a next hop.)
        const EQUALIZE = 128;
    }
}

/// The answer to `route get`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteGetRow {
    /// What would happen to the packet: unicast, local, broadcast or multicast.
    pub kind: RouteType,
    /// The destination asked for.
    pub to: Ipv4Addr,
    /// The source asked for.
    pub from: Option<Ipv4Addr>,
    /// The gateway the packet would go to.
    pub via: Option<Ipv4Addr>,
    /// The device it would leave by; the loopback device for local ones.
    pub dev: String,
    /// The table the route was found in, 0 if none was needed; printed by `-d`.
    pub table: Table,
    /// The source our own packet would take; none if `from` was given.
    pub src: Option<Ipv4Addr>,
    /// State of the next hop.
    pub flags: RouteFlags,
    /// The user the kernel answers for; none in a router without users.
    pub uid: Option<u32>,
    /// The device asked for, as the one the packet comes from.
    pub iif: Option<String>,
    /// Path metrics.
    pub metrics: Metrics,
}

/// A neighbour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeighRow {
    /// Its address.
    pub address: Ipv4Addr,
    /// The device it is on.
    pub dev: String,
    /// Its hardware address, once known.
    pub lladdr: Option<MacAddr>,
    /// True if it is a router.
    pub router: bool,
    /// Its state.
    pub state: NudState,
    /// What `-s` adds.
    pub usage: NeighUse,
}

/// An address that ARP is answered for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyRow {
    /// The address.
    pub address: Ipv4Addr,
    /// The device where it is asked for; all without one.
    pub dev: Option<String>,
}

/// How a neighbour entry is used. Times are seconds ago.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NeighUse {
    /// Who holds it, besides the table; 0 is not printed.
    pub refcnt: u32,
    /// Last used.
    pub used: u32,
    /// Last confirmed.
    pub confirmed: u32,
    /// Last changed.
    pub updated: u32,
    /// Requests sent without an answer.
    pub probes: u32,
}

/// A multicast route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MrouteRow {
    /// The source; 0.0.0.0 is any.
    pub source: Ipv4Addr,
    /// The group; 0.0.0.0 is any.
    pub group: Ipv4Addr,
    /// The device packets come in by; `None` while packets wait for the route.
    pub iif: Option<String>,
    /// Devices they leave by, with thresholds.
    pub oifs: Vec<(String, u8)>,
    /// Packets that took it.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packets that came in by another device.
    pub wrong_if: u64,
    /// Milliseconds since the last packet, or since the route came.
    pub age_ms: u64,
}

impl Default for MrouteRow {
    fn default() -> Self {
        MrouteRow {
            source: Ipv4Addr::UNSPECIFIED,
            group: Ipv4Addr::UNSPECIFIED,
            iif: None,
            oifs: Vec::new(),
            packets: 0,
            bytes: 0,
            wrong_if: 0,
            age_ms: 0,
        }
    }
}

/// The groups of one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaddrRow {
    /// Its number.
    pub ifindex: u32,
    /// Its name.
    pub ifname: String,
    /// Groups joined there.
    pub groups: Vec<Ipv4Addr>,
}
