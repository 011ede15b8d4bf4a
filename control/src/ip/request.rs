//! What a user asked for, parsed: options and one typed command.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use skiff_dataplane::net::MacAddr;

use super::linkspec::{KindSpec, LinkAdd};
use super::words::{NudSet, NudState, Protocol, RouteType, Scope, Table};

/// A whole `ip` command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The options before the object.
    pub options: Options,
    /// What to do.
    pub command: Command,
    /// The command as errors name it, as in `ip route add 10.0.0.0/8`.
    pub what: String,
}

/// The options before the object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `-j`: JSON.
    pub json: bool,
    /// `-p`: indented JSON; without effect on text.
    pub pretty: bool,
    /// How often `-s` was given: 1 adds counters, 2 adds the error counters.
    pub stats: u8,
    /// `-d`: more of what is known.
    pub details: bool,
    /// `-br`: one short line for each row.
    pub brief: bool,
    /// `-o`: one line for each row, `\` in place of line ends.
    pub oneline: bool,
    /// `-4` or `-6`: only this family.
    pub family: Option<Family>,
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    Inet,
    /// IPv6: no row has it yet, so shows are empty.
    Inet6,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Print the grammar.
    Help(Topic),
    /// `link show`
    LinkShow(LinkFilter),
    /// `link set`
    LinkSet(LinkSet),
    /// `link add`
    LinkAdd(LinkAdd),
    /// `link del`
    LinkDel(String),
    /// `address show`
    AddrShow(AddrFilter),
    /// `address add`, `del`, `change`, `replace`
    AddrModify(AddrVerb, AddrSpec),
    /// `address flush`: delete what the filter lets through.
    AddrFlush(AddrFilter),
    /// `route show`
    RouteShow(RouteFilter),
    /// `route get`
    RouteGet(RouteGet),
    /// `route add`, `del`, `change`, `replace`, `append`
    RouteModify(RouteVerb, RouteSpec),
    /// `route flush`: delete what the filter lets through.
    RouteFlush(RouteFilter),
    /// `neighbour show`
    NeighShow(NeighFilter),
    /// `neighbour add`, `del`, `change`, `replace`
    NeighModify(NeighVerb, NeighSpec),
    /// `neighbour flush`: delete what the filter lets through. Entries set by hand stay unless `nud` names them.
    NeighFlush(NeighFilter),
    /// `mroute show`
    MrouteShow(MrouteFilter),
    /// `mroute add`
    MrouteAdd(MrouteSpec),
    /// `mroute del`
    MrouteDel(MrouteKey),
    /// `maddress show`, of one device or all.
    MaddrShow(Option<String>),
    /// `maddress add`
    MaddrAdd(MaddrSpec),
    /// `maddress del`
    MaddrDel(MaddrSpec),
    /// `neighbour show proxy`; states do not matter.
    ProxyShow(NeighFilter),
    /// `neighbour add proxy` (true; `change` and `replace` are the same) or `del proxy`.
    ProxyModify(bool, ProxySpec),
    /// `neighbour flush proxy`
    ProxyFlush(NeighFilter),
}

/// What help is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// `ip` itself.
    Ip,
    /// `ip link`
    Link,
    /// `ip address`
    Address,
    /// `ip route`
    Route,
    /// `ip neighbour`
    Neighbour,
    /// `ip mroute`
    Mroute,
    /// `ip maddress`
    Maddr,
}

/// Which links to show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkFilter {
    /// Only this device.
    pub dev: Option<String>,
    /// Only devices that are administratively up.
    pub up: bool,
    /// Only devices of this kind (`vlan`, `bond`, ...).
    pub kind: Option<String>,
    /// Only members of this device; none of any, if so asked.
    pub master: Option<Option<String>>,
}

/// Changes to one link; `None` leaves a property alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkSet {
    /// The device.
    pub dev: String,
    /// `up` (true) or `down`.
    pub up: Option<bool>,
    /// `mtu N`, bytes.
    pub mtu: Option<u32>,
    /// `address MAC`
    pub address: Option<MacAddr>,
    /// `promisc on` (true) or `off`.
    pub promisc: Option<bool>,
    /// `name NEW`
    pub name: Option<String>,
    /// `master DEVICE`, or `nomaster`.
    pub master: Option<Option<String>>,
    /// `type KIND` and its options.
    pub kind: Option<KindSpec>,
}

/// Which addresses to show or flush.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddrFilter {
    /// Which devices.
    pub link: LinkFilter,
    /// Only addresses inside this prefix.
    pub to: Option<Ipv4Net>,
    /// Only addresses of this scope.
    pub scope: Option<Scope>,
}

/// How to change an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddrVerb {
    /// Must not be there.
    Add,
    /// Must be there; takes it away.
    Del,
    /// Must be there.
    Change,
    /// Either way.
    Replace,
}

/// An address to add or delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddrSpec {
    /// Address and prefix length; the address keeps its host bits.
    pub local: Ipv4Net,
    /// The device.
    pub dev: String,
    /// The broadcast address, if one was asked for.
    pub broadcast: Option<Broadcast>,
    /// The label; the device's name without one.
    pub label: Option<String>,
    /// The scope; the kernel's default (host for 127/8, otherwise global) without one.
    pub scope: Option<Scope>,
}

/// The broadcast address of an address to add.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broadcast {
    /// This one.
    Address(Ipv4Addr),
    /// `+`: host bits all ones.
    Ones,
    /// `-`: host bits all zeros.
    Zeros,
}

/// Which routes to show or flush.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteFilter {
    /// Which table; main unless told otherwise.
    pub table: TableFilter,
    /// Only routes with this one output device.
    pub dev: Option<String>,
    /// Only routes by this one gateway.
    pub via: Option<Ipv4Addr>,
    /// Only routes with this preferred source.
    pub src: Option<Ipv4Addr>,
    /// Only routes to these destinations.
    pub prefix: Option<PrefixFilter>,
    /// Only routes made by this protocol.
    pub protocol: Option<Protocol>,
    /// Only routes of this scope.
    pub scope: Option<Scope>,
    /// Only routes of this type.
    pub kind: Option<RouteType>,
}

/// Which routing tables a filter lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableFilter {
    /// This one.
    One(Table),
    /// `table all`
    All,
}

impl Default for TableFilter {
    fn default() -> Self {
        TableFilter::One(Table::MAIN)
    }
}

/// Which destinations a filter lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrefixFilter {
    /// `exact P`, or just `P`.
    Exact(Ipv4Net),
    /// `root P`: P and what lies inside it.
    Root(Ipv4Net),
    /// `match P`: P and what contains it.
    Match(Ipv4Net),
}

/// `route get`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteGet {
    /// The destination to look up.
    pub to: Ipv4Addr,
    /// The source the packet would have.
    pub from: Option<Ipv4Addr>,
    /// The device the packet would come from: asks how it would be forwarded.
    pub iif: Option<String>,
    /// Only routes by this device.
    pub oif: Option<String>,
}

/// How to change a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteVerb {
    /// Must not be there.
    Add,
    /// Must be there; takes it away. What the specification leaves out matches anything.
    Del,
    /// Must be there.
    Change,
    /// Either way.
    Replace,
    /// Stands behind one with the same destination and metric.
    Append,
}

/// A route to add, change or delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteSpec {
    /// What the route does; unicast if the user named no type.
    pub kind: Option<RouteType>,
    /// The destination as written: bits beyond the prefix length are kept, for the table to refuse.
    pub to: Ipv4Net,
    /// The next hops: one from `via`, `dev` and `onlink`, or one for each `nexthop`; none for blackhole and the like.
    pub nexthops: Vec<NextHopSpec>,
    /// `equalize`: packets, not flows, are spread over the next hops.
    pub equalize: bool,
    /// The metric; 0 without one, which is the most preferred.
    pub metric: Option<u32>,
    /// The source address packets of our own take.
    pub src: Option<Ipv4Addr>,
    /// Path metrics.
    pub metrics: Metrics,
    /// Who made the route.
    pub protocol: Option<Protocol>,
    /// The scope; the kernel's default (host for local, link without a gateway, otherwise global) without one.
    pub scope: Option<Scope>,
    /// The table; local for local and broadcast routes, otherwise main, without one.
    pub table: Option<Table>,
}

/// Path metrics of a route (`RTAX_*`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Largest packet, bytes.
    pub mtu: Option<u32>,
    /// `mtu lock`: path MTU discovery must not lower it.
    pub mtu_lock: bool,
}

/// One next hop of a route to add.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextHopSpec {
    /// The gateway.
    pub via: Option<Ipv4Addr>,
    /// The device.
    pub dev: Option<String>,
    /// Its share, 1 to 256.
    pub weight: u16,
    /// Take the gateway for a neighbour even if no address of ours covers it.
    pub onlink: bool,
}

/// Which neighbours to show or flush.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeighFilter {
    /// Only neighbours on this device.
    pub dev: Option<String>,
    /// Only neighbours in these states.
    pub states: NudSet,
    /// True if the user named the states.
    pub states_given: bool,
    /// Only neighbours inside this prefix.
    pub to: Option<Ipv4Net>,
}

impl Default for NeighFilter {
    fn default() -> Self {
        NeighFilter { dev: None, states: NudSet::SHOWN, states_given: false, to: None }
    }
}

/// An address to answer ARP for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxySpec {
    /// The address.
    pub address: Ipv4Addr,
    /// The device where it is asked for; all without one.
    pub dev: Option<String>,
}

/// How to change a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeighVerb {
    /// Must not be there.
    Add,
    /// Must be there; takes it away.
    Del,
    /// Must be there.
    Change,
    /// Either way.
    Replace,
}

/// A neighbour to add, change or delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeighSpec {
    /// Its address.
    pub address: Ipv4Addr,
    /// The device it is on.
    pub dev: String,
    /// Its hardware address.
    pub lladdr: Option<MacAddr>,
    /// The state to put it in.
    pub state: NudState,
    /// It is a router.
    pub router: bool,
    /// Only have it asked for, as if a packet wanted to go there; state and hardware address do not matter.
    pub probe: bool,
}

/// Which multicast routes to show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MrouteFilter {
    /// Only those of packets that come in by this device.
    pub iif: Option<String>,
    /// Only groups inside this prefix.
    pub to: Option<Ipv4Net>,
    /// Only sources inside this prefix.
    pub from: Option<Ipv4Net>,
}

/// Which multicast route is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MrouteKey {
    /// The group; 0.0.0.0 is any.
    pub group: Ipv4Addr,
    /// The source; 0.0.0.0 is any.
    pub source: Ipv4Addr,
    /// The device packets come in by; `del` needs it only where group and source are any.
    pub iif: Option<String>,
}

/// A multicast route to add.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MrouteSpec {
    /// Which; with its device.
    pub key: MrouteKey,
    /// Devices packets leave by if their TTL is above the threshold.
    pub oifs: Vec<(String, u8)>,
}

/// A group on a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaddrSpec {
    /// The group.
    pub group: Ipv4Addr,
    /// The device.
    pub dev: String,
}
