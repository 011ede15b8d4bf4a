//! What a configuration says, in real types. Every value keeps the place it was written at.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use ipnet::Ipv4Net;
use skiff_dataplane::net::MacAddr;
use skiff_dataplane::netfilter::ip_tables::rule::Ruleset;

use super::device::Device;
use super::diag::{At, Diagnostic, Fault, Pos};
use super::sysctl::Sysctl;
use crate::bond::options::BondOptions;
use crate::igmp::Timing;
use crate::ip::VlanFlags;

/// The MTU of an interface that does not set one: that of Ethernet (RFC 894).
pub const DEFAULT_MTU: u16 = 1500;
/// Where Prometheus finds the metrics if `[metrics]` names no address.
pub const DEFAULT_METRICS: &str = "127.0.0.1:9477";
/// Descriptors of a queue that does not set them.
pub const DEFAULT_DESCRIPTORS: u16 = 512;
/// Memory for packets and queues if `[system]` does not set it, in bytes.
pub const DEFAULT_MEMORY: u64 = 256 << 20;

/// A whole configuration file, checked. Two configurations are equal if they say the same, wherever it stands.
#[derive(Clone, Debug)]
pub struct Config {
    /// The name the file was given by.
    pub file: String,
    /// `[system]`: CPUs and memory.
    pub system: System,
    /// `[api]`: the control socket.
    pub api: Api,
    /// `[metrics]`; `None` if the section is absent, and then nothing listens.
    pub metrics: Option<Metrics>,
    /// `[interface.NAME]`, in the order of the file.
    pub interfaces: Vec<Interface>,
    /// `[[route]]`, in the order of the file.
    pub routes: Vec<Route>,
    /// `[[neighbour]]`, in the order of the file.
    pub neighbours: Vec<Neighbour>,
    /// `[[mroute]]`, in the order of the file.
    pub mroutes: Vec<Mroute>,
    /// `[igmp-proxy]`; `None` if the section is absent.
    pub igmp_proxy: Option<IgmpProxy>,
    /// `[sysctl]`, in the order of the file.
    pub sysctl: Vec<Sysctl>,
    /// `[netfilter]`: rules and the sets they name.
    pub netfilter: Option<At<Ruleset>>,
    /// `[traffic-control]`: commands of tc.
    pub traffic_control: Option<At<TrafficControl>>,
}

impl PartialEq for Config {
    fn eq(&self, other: &Self) -> bool {
        self.system == other.system
            && self.api == other.api
            && self.metrics == other.metrics
            && self.interfaces == other.interfaces
            && self.routes == other.routes
            && self.neighbours == other.neighbours
            && self.mroutes == other.mroutes
            && self.igmp_proxy == other.igmp_proxy
            && self.sysctl == other.sysctl
            && self.netfilter == other.netfilter
            && self.traffic_control == other.traffic_control
    }
}

impl Eq for Config {}

impl Config {
    /// The interface of that name.
    pub fn interface(&self, name: &str) -> Option<&Interface> {
        self.interfaces.iter().find(|interface| interface.name.value == name)
    }

    /// A diagnostic about a value of this file, for mistakes that show only when it is applied.
    pub fn diagnostic(&self, pos: Pos, fault: impl Into<Fault>) -> Diagnostic {
        Diagnostic::new(&self.file, pos, fault)
    }
}

/// `[traffic-control]`. Equal if the commands are.
#[derive(Clone, Debug)]
pub struct TrafficControl {
    /// Lines of `tc -batch`.
    pub commands: String,
    /// Where each begins: its byte in `commands`, and its place in the file.
    pub(super) places: Vec<(usize, Pos)>,
}

impl PartialEq for TrafficControl {
    fn eq(&self, other: &Self) -> bool {
        self.commands == other.commands
    }
}

impl Eq for TrafficControl {}

/// `[system]`: what the process takes from the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct System {
    /// CPUs of the workers.
    pub lcores: At<Lcores>,
    /// CPU of the control thread; `None` leaves it to the first allowed CPU.
    pub main_lcore: Option<At<u16>>,
    /// Memory for packets and queues, in bytes.
    pub memory: At<u64>,
    /// Whether the memory comes from huge pages.
    pub hugepages: At<Hugepages>,
    /// What a worker does when there is nothing to do.
    pub idle: At<Idle>,
    /// Packet buffers; `None` takes the number of the memory plan.
    pub mbufs: Option<At<u32>>,
}

impl Default for System {
    fn default() -> Self {
        Self {
            lcores: At::unwritten(Lcores::Auto),
            main_lcore: None,
            memory: At::unwritten(DEFAULT_MEMORY),
            hugepages: At::unwritten(Hugepages::Prefer),
            idle: At::unwritten(Idle::Adaptive),
            mbufs: None,
        }
    }
}

/// CPUs of the workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lcores {
    /// Every CPU the process may use but the first; that one too if it is the only one.
    Auto,
    /// These, ascending, each once, at least one.
    List(Vec<u16>),
}

impl Lcores {
    /// The workers' CPUs on a machine where the process may use the CPUs `allowed` (ascending).
    ///
    /// # Errors
    /// The first CPU of the list that is not allowed.
    pub fn resolve(&self, allowed: &[u16]) -> Result<Vec<u16>, u16> {
        match self {
            Lcores::Auto if allowed.len() > 1 => Ok(allowed[1..].to_vec()),
            Lcores::Auto => Ok(allowed.to_vec()),
            Lcores::List(cpus) => match cpus.iter().find(|cpu| !allowed.contains(cpu)) {
                Some(&cpu) => Err(cpu),
                None => Ok(cpus.clone()),
            },
        }
    }
}

/// Whether packet memory comes from huge pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hugepages {
    /// Use them if there are enough.
    Prefer,
    /// Refuse to start without.
    Require,
    /// Do without.
    Off,
}

/// What a worker does when there is nothing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// Short sleeps, then interrupts where the driver has them.
    Adaptive,
    /// Keep polling.
    Poll,
}

/// `[api]`: the control socket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Api {
    /// Path of the UNIX socket; `None` leaves it to the command line or the default.
    pub socket: Option<At<PathBuf>>,
}

/// `[metrics]`: the Prometheus endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// Address and port of the HTTP listener.
    pub listen: At<SocketAddr>,
    /// The drivers' own statistics, too.
    pub xstats: At<bool>,
    /// Measure the cycles of each stage.
    pub stage_timing: At<bool>,
    /// Series a family may have; read when the router starts.
    pub max_series_per_family: At<usize>,
}

/// `[interface.NAME]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// The name, valid by the kernel's rule.
    pub name: At<String>,
    /// What carries it.
    pub kind: InterfaceKind,
    /// Addresses with their subnets, in the order of the file: the first of a subnet is its primary.
    pub addresses: Vec<At<Ipv4Net>>,
    /// Largest IP packet, in bytes; `None` is [`DEFAULT_MTU`] for a port and the parent's for the rest.
    pub mtu: Option<At<u16>>,
    /// Hardware address; `None` keeps the device's own.
    pub mac: Option<At<MacAddr>>,
    /// Whether it is brought up.
    pub enabled: At<bool>,
    /// Whether it receives frames for every address.
    pub promiscuous: At<bool>,
}

/// What carries an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InterfaceKind {
    /// A port of the data plane.
    Port(Port),
    /// A VLAN on another interface.
    Vlan(At<Vlan>),
    /// A bundle of other interfaces.
    Bond(At<Bond>),
}

impl Interface {
    /// The port under it, if it is one.
    pub fn port(&self) -> Option<&Port> {
        match &self.kind {
            InterfaceKind::Port(port) => Some(port),
            InterfaceKind::Vlan(_) | InterfaceKind::Bond(_) => None,
        }
    }
}

/// A device and its queues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// The device.
    pub device: At<Device>,
    /// Receive queues.
    pub rx_queues: At<u16>,
    /// Transmit queues; `None` is one a worker, as far as the driver has them.
    pub tx_queues: Option<At<u16>>,
    /// Descriptors of each receive queue.
    pub rx_desc: At<u16>,
    /// Descriptors of each transmit queue.
    pub tx_desc: At<u16>,
}

/// `vlan = { ... }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vlan {
    /// The interface below.
    pub parent: At<String>,
    /// VLAN identifier, 1 to 4094 (IEEE 802.1Q-2018 section 9.6).
    pub id: At<u16>,
    /// Tag protocol.
    pub protocol: At<VlanProtocol>,
    /// Its flags.
    pub flags: VlanFlags,
    /// Priority code point to skb priority.
    pub ingress_qos_map: Vec<(u32, u32)>,
    /// skb priority to priority code point.
    pub egress_qos_map: Vec<(u32, u32)>,
}

/// The tag of a VLAN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VlanProtocol {
    /// Customer tag, 0x8100.
    Dot1q,
    /// Service tag, 0x88a8.
    Dot1ad,
}

/// `bond = { ... }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bond {
    /// The interfaces below, in the order of the file.
    pub members: Vec<At<String>>,
    /// The options that are written, by the names commands have for them, with their values as commands write them.
    pub options: BTreeMap<&'static str, At<String>>,
    /// What they come to.
    pub settled: BondOptions,
}

/// `[[route]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Destination, host bits clear.
    pub to: At<Ipv4Net>,
    /// What happens to the packets.
    pub action: RouteAction,
    /// Priority among routes to the same destination: the lowest wins.
    pub metric: At<u32>,
    /// Largest packet on this route, in bytes, if smaller than the interface's.
    pub mtu: Option<At<u16>>,
    /// Preferred source address of our own packets.
    pub src: Option<At<Ipv4Addr>>,
    /// Packets, not flows, are spread over the next hops.
    pub equalize: bool,
}

/// What happens to packets on a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteAction {
    /// Sent to one of these; never empty.
    Unicast(Vec<NextHop>),
    /// Dropped in silence.
    Blackhole,
    /// Answered with ICMP host unreachable.
    Unreachable,
    /// Answered with ICMP administratively prohibited.
    Prohibit,
    /// As if the table had no route.
    Throw,
}

/// One way out. At least one of `via` and `dev` is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// The gateway; `None` if the destination is on the link.
    pub via: Option<At<Ipv4Addr>>,
    /// The interface; `None` takes the one whose subnet holds the gateway.
    pub dev: Option<At<String>>,
    /// Share of the flows, 1 to 256.
    pub weight: At<u16>,
}

/// `[[neighbour]]`: a permanent entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Its address.
    pub address: At<Ipv4Addr>,
    /// Its hardware address.
    pub mac: At<MacAddr>,
    /// The interface it is on.
    pub dev: At<String>,
}

/// An interface multicast leaves by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Oif {
    /// Its name.
    pub dev: At<String>,
    /// Packets leave by it if their TTL is greater, 1 to 254.
    pub ttl: At<u8>,
}

/// `[[mroute]]`: a static entry of the multicast forwarding cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mroute {
    /// The group.
    pub group: At<Ipv4Addr>,
    /// The source; `None` is any.
    pub source: Option<At<Ipv4Addr>>,
    /// The interface packets come in by.
    pub iif: At<String>,
    /// The interfaces they leave by.
    pub oifs: Vec<Oif>,
}

/// `[igmp-proxy]`: memberships of some interfaces reported by another (RFC 4605).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IgmpProxy {
    /// The interface towards the sources.
    pub upstream: At<String>,
    /// The interfaces with hosts, with their thresholds.
    pub downstream: Vec<Oif>,
    /// The threshold of the upstream interface.
    pub threshold: At<u8>,
    /// Timers and counts of the querier.
    pub timing: Timing,
}
