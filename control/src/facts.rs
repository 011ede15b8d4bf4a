//! What metrics and `show` commands say that the lcores' cells do not know: a picture of the control thread's own
//! state, taken by its owner at the moment of a scrape.

use std::collections::BTreeMap;
use std::sync::Arc;

use skiff_dataplane::core::histogram::TimeHistogram;
use skiff_dataplane::neigh::cache::{Counters, NeighInfo};
use skiff_dataplane::neigh::nud::Nud;
use skiff_dataplane::net::IfIndex;
use skiff_dataplane::netfilter::ip_tables::rule::RuleCounters;
use skiff_pmd::{Link, PortId, PortStats};

use crate::tc::Tree;

/// The picture. Everything in it is a copy; whoever holds it holds no lock.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// What was built.
    pub build: BuildFacts,
    /// Unix time of the daemon's start, in seconds.
    pub start_time: f64,
    /// The clock of the cells.
    pub tsc: TscFacts,
    /// What became of configurations.
    pub config: ConfigFacts,
    /// Optional modes and whether they are in use, as `("hugepages", true)`.
    pub features: Vec<(&'static str, bool)>,
    /// The worker lcores, by number.
    pub lcores: Vec<LcoreFacts>,
    /// Bonds.
    pub bonds: Vec<BondFacts>,
    /// The trees of queueing disciplines, with the names of their devices.
    pub trees: Vec<(String, Arc<Tree>)>,
    /// DPDK ports.
    pub ports: Vec<PortFacts>,
    /// Packet pools.
    pub pools: Vec<PoolFacts>,
    /// The forwarding table.
    pub fib: FibFacts,
    /// The neighbour table.
    pub neighbours: NeighbourFacts,
    /// Multicast forwarding and IGMP.
    pub multicast: MulticastFacts,
    /// The chains of the rule tables, in order.
    pub chains: Vec<ChainFacts>,
    /// Named sets and how many elements they have.
    pub sets: Vec<(String, usize)>,
    /// How long lcores took to leave old snapshots.
    pub grace_period: Arc<TimeHistogram>,
    /// The memory EAL holds.
    pub memory: MemoryFacts,
}

/// What was built.
#[derive(Clone, Debug, Default)]
pub struct BuildFacts {
    /// Version of skiff.
    pub version: String,
    /// Commit it was built from; empty if not known.
    pub revision: String,
    /// Compiler.
    pub rustc: String,
    /// Version of DPDK.
    pub dpdk: String,
}

/// How to read the time stamps in the cells.
#[derive(Clone, Copy, Debug, Default)]
pub struct TscFacts {
    /// Ticks a second.
    pub hertz: u64,
    /// The counter at the moment of the picture.
    pub now: u64,
    /// Unix time of that moment, in seconds.
    pub unix_now: f64,
}

impl TscFacts {
    /// Unix time, in seconds, of a value of the counter; `None` for zero, which nobody has written yet.
    pub fn unix(&self, tsc: u64) -> Option<f64> {
        let ago = self.now.saturating_sub(tsc) as f64 / self.hertz.max(1) as f64;
        (tsc != 0).then_some(self.unix_now - ago)
    }
}

/// What became of configurations.
#[derive(Clone, Copy, Debug, Default)]
pub struct ConfigFacts {
    /// Unix time of the last apply that succeeded, in seconds.
    pub applied_at: f64,
    /// Whether the last apply succeeded.
    pub last_ok: bool,
    /// Applies that succeeded.
    pub applied: u64,
    /// Applies that were refused and changed nothing.
    pub refused: u64,
    /// Applies that were taken back, by command or for want of a confirmation.
    pub rolled_back: u64,
}

/// A worker lcore.
#[derive(Clone, Copy, Debug, Default)]
pub struct LcoreFacts {
    /// CPU its thread is pinned to; `None` if it is not.
    pub cpu: Option<u16>,
    /// NUMA node of that CPU, if known.
    pub numa_node: Option<u32>,
}

/// A DPDK port.
#[derive(Clone, Debug)]
pub struct PortFacts {
    /// Its number.
    pub id: PortId,
    /// Name of the interface on it.
    pub name: String,
    /// Driver, as `net_e1000_igb`.
    pub driver: String,
    /// Device on its bus, as `0000:00:04.0`.
    pub device: String,
    /// Hardware address, as text.
    pub mac: String,
    /// NUMA node, if known.
    pub numa_node: Option<u32>,
    /// MTU in bytes.
    pub mtu: u16,
    /// Administratively up.
    pub admin_up: bool,
    /// The link as the driver sees it.
    pub link: Link,
    /// Carrier transitions since the start.
    pub carrier_changes: u64,
    /// The driver's counters.
    pub stats: PortStats,
    /// The driver's own statistics; none unless the configuration asks for them.
    pub xstats: Vec<(String, u64)>,
    /// Receive queues, by number.
    pub rx_queues: Vec<QueueFacts>,
    /// Transmit queues, by number.
    pub tx_queues: Vec<QueueFacts>,
}

/// A queue of a port.
#[derive(Clone, Copy, Debug, Default)]
pub struct QueueFacts {
    /// The worker it belongs to, if that is known; its series are then there from the start.
    pub lcore: Option<usize>,
    /// Descriptors of its ring.
    pub descriptors: u16,
}

/// A packet pool.
#[derive(Clone, Debug, Default)]
pub struct PoolFacts {
    /// Its name.
    pub name: String,
    /// NUMA node of its memory; `None` for any.
    pub socket: Option<u32>,
    /// Packet buffers it has.
    pub capacity: u64,
    /// Of these, buffers in somebody's hands.
    pub in_use: u64,
    /// Allocations it had to refuse.
    pub alloc_failures: u64,
    /// Bytes of data a buffer has room for.
    pub data_room: u64,
}

/// The forwarding table.
#[derive(Clone, Debug, Default)]
pub struct FibFacts {
    /// Routes by where they come from, as `("static", 3)`; origins without a route with 0.
    pub routes: Vec<(&'static str, u64)>,
    /// Writes by operation, as `("add", 3)`.
    pub updates: Vec<(&'static str, u64)>,
    /// How long changes of routes took.
    pub update_time: Arc<TimeHistogram>,
    /// Groups for prefixes longer than /24 in use.
    pub tbl8_groups: u64,
    /// Such groups there are.
    pub tbl8_limit: u64,
    /// Memory of tables and routes, in bytes.
    pub memory_bytes: u64,
    /// Multipath groups in use.
    pub nexthop_groups: u64,
}

impl FibFacts {
    /// Routes of all origins.
    pub fn route_count(&self) -> u64 {
        self.routes.iter().map(|(_, n)| n).sum()
    }
}

/// The neighbour table.
#[derive(Clone, Debug, Default)]
pub struct NeighbourFacts {
    /// Most entries it can have.
    pub capacity: u64,
    /// Its memory, in bytes.
    pub memory_bytes: u64,
    /// Totals since the start.
    pub counters: Counters,
    /// Each interface that can have neighbours.
    pub interfaces: Vec<InterfaceNeighbours>,
}

impl NeighbourFacts {
    /// Sorts `neighbours` by interface, each given with its failures; one on a device that `interfaces` does not name is left out.
    pub fn tally(
        interfaces: impl IntoIterator<Item = (IfIndex, String, u64)>,
        neighbours: impl IntoIterator<Item = NeighInfo>,
    ) -> Vec<InterfaceNeighbours> {
        let empty = |interface, failures| InterfaceNeighbours {
            interface,
            failures,
            ..InterfaceNeighbours::default()
        };
        let mut tallies: BTreeMap<IfIndex, _> =
            interfaces.into_iter().map(|(dev, name, failures)| (dev, empty(name, failures))).collect();
        for neighbour in neighbours {
            let Some(tally) = tallies.get_mut(&neighbour.dev) else { continue };
            *tally.entries.entry(neighbour.state).or_default() += 1;
            tally.hold_packets += neighbour.queued as u64;
        }
        tallies.into_values().collect()
    }

    /// Entries of all interfaces.
    pub fn entry_count(&self) -> u64 {
        self.interfaces.iter().flat_map(|i| i.entries.values()).sum()
    }

    /// Packets waiting on all interfaces.
    pub fn hold_packets(&self) -> u64 {
        self.interfaces.iter().map(|i| i.hold_packets).sum()
    }
}

/// Multicast forwarding and IGMP.
#[derive(Clone, Debug, Default)]
pub struct MulticastFacts {
    /// Entries of the forwarding cache, as `("static", 3)`.
    pub entries: Vec<(&'static str, u64)>,
    /// What each interface that takes part has forwarded.
    pub interfaces: Vec<VifFacts>,
    /// Reports of lcores, as `("no_cache", 12)`.
    pub upcalls: Vec<(&'static str, u64)>,
    /// Links the router may query: interface, groups, whether it is the querier.
    pub queriers: Vec<(String, u64, bool)>,
    /// IGMP messages taken in.
    pub igmp_in: u64,
    /// IGMP messages sent.
    pub igmp_out: u64,
    /// IGMP packets that were no message.
    pub igmp_malformed: u64,
}

/// What an interface has forwarded of multicast.
#[derive(Clone, Debug, Default)]
pub struct VifFacts {
    /// Its name.
    pub interface: String,
    /// Packets that came in by it.
    pub packets_in: u64,
    /// Their bytes.
    pub bytes_in: u64,
    /// Copies sent by it.
    pub packets_out: u64,
    /// Their bytes.
    pub bytes_out: u64,
}

/// A chain of a rule table.
#[derive(Clone, Debug, Default)]
pub struct ChainFacts {
    /// Its table.
    pub table: &'static str,
    /// Its name.
    pub name: String,
    /// A built-in chain's policy and what it counted.
    pub policy: Option<(&'static str, RuleCounters)>,
    /// Its rules in order: the comment, empty if it has none, and what was counted.
    pub rules: Vec<(String, RuleCounters)>,
}

/// The neighbours of an interface.
#[derive(Clone, Debug, Default)]
pub struct InterfaceNeighbours {
    /// The interface.
    pub interface: String,
    /// Entries by state; a state that is not there has none.
    pub entries: BTreeMap<Nud, u64>,
    /// Packets that wait for an answer.
    pub hold_packets: u64,
    /// Resolutions and re-checks nobody answered.
    pub failures: u64,
}

/// The memory EAL holds.
#[derive(Clone, Copy, Debug, Default)]
pub struct MemoryFacts {
    /// Bytes of it: pools, rings, descriptors.
    pub eal_bytes: u64,
    /// It is on hugepages.
    pub hugepages: bool,
}

/// A bond.
#[derive(Clone, Debug, Default)]
pub struct BondFacts {
    /// Its name.
    pub name: String,
    /// How often another member became the active one.
    pub failovers: u64,
    /// Its members.
    pub members: Vec<BondMemberFacts>,
}

/// A member of a bond.
#[derive(Clone, Debug, Default)]
pub struct BondMemberFacts {
    /// Its name.
    pub name: String,
    /// It is in use.
    pub active: bool,
    /// It is usable.
    pub up: bool,
    /// How often its link failed.
    pub link_failures: u64,
    /// LACPDUs received and sent, our state and the partner's key, in mode 802.3ad.
    pub lacp: Option<(u64, u64, u8, u16)>,
    /// The aggregator it is in.
    pub aggregator: Option<u16>,
}

#[cfg(test)]
mod tests {
    use skiff_dataplane::neigh::table::NeighId;
    use skiff_dataplane::time::Instant;

    use super::*;

    fn neighbour(dev: u16, ip: u32, state: Nud, queued: usize) -> NeighInfo {
        NeighInfo {
            id: NeighId::from_u32(ip),
            dev: IfIndex(dev),
            ip,
            mac: None,
            state,
            used: Instant::ZERO,
            confirmed: None,
            updated: Instant::ZERO,
            probes: 0,
            queued,
            held: false,
        }
    }

    #[test]
    fn neighbours_are_counted_by_interface_and_state_and_strangers_are_not() {
        let neighbours = [
            neighbour(2, 1, Nud::Incomplete, 3),
            neighbour(2, 2, Nud::Incomplete, 1),
            neighbour(2, 3, Nud::Stale, 0),
            neighbour(9, 4, Nud::Stale, 5),
        ];
        let names = [(IfIndex(3), "wan0".to_owned(), 0), (IfIndex(2), "lan0".to_owned(), 6)];
        let facts = NeighbourFacts {
            interfaces: NeighbourFacts::tally(names, neighbours),
            ..NeighbourFacts::default()
        };
        let [lan, wan] = &facts.interfaces[..] else { panic!("{facts:?}") };
        assert_eq!((lan.interface.as_str(), wan.interface.as_str()), ("lan0", "wan0"));
        assert_eq!(lan.entries, BTreeMap::from([(Nud::Incomplete, 2), (Nud::Stale, 1)]));
        assert!(wan.entries.is_empty());
        assert_eq!((lan.failures, wan.failures), (6, 0));
        assert_eq!((facts.entry_count(), facts.hold_packets()), (3, 4));
    }

    #[test]
    fn a_time_stamp_lies_as_far_back_as_the_counter_says() {
        let tsc = TscFacts { hertz: 1000, now: 5000, unix_now: 100.0 };
        assert_eq!(tsc.unix(3000), Some(98.0));
        assert_eq!(tsc.unix(5001), Some(100.0), "written after the picture was taken");
        assert_eq!(tsc.unix(0), None);
    }
}
