//! The router as the control thread knows it: the rtnetlink model, and its projection onto the tables lcores read.
//!
//! A change goes model first ([`crate::rtnl`]), then data plane: the snapshot before the routes, so that an lcore never
//! meets a next hop on a device it has not heard of.

mod apply;
mod bond;
mod captures;
mod commands;
mod grace;
mod links;
mod martians;
mod multicast;
mod neighbours;
mod netfilter;
mod picture;
mod proxies;
mod routes;
mod ruleset;
mod sched;
mod settings;
mod tc;
mod trace;
mod uppers;
mod vlan;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use skiff_dataplane::core::histogram::TimeHistogram;
use skiff_dataplane::core::lcore::Clock;
use skiff_dataplane::core::qsbr::{DeferredArcs, Epoch};
use skiff_dataplane::core::shared::Shared;
use skiff_dataplane::core::snapshot::{Snapshot, Sysctl};
use skiff_dataplane::core::trace::TraceArm;
use skiff_dataplane::device::{DeviceConf, DeviceKind, InterfaceAddress, NOQUEUE, NetDevice};
use skiff_dataplane::fib::next_hop::NextHopWriter;
use skiff_dataplane::fib::{FibStats, FibWriter};
use skiff_dataplane::neigh::cache::NeighCache;
use skiff_dataplane::neigh::proxies::ProxyAddresses;
use skiff_dataplane::neigh::table::NeighId;
use skiff_dataplane::net::{IfIndex, MacAddr};
use skiff_dataplane::netfilter::hooks::{Hook, HookEntry, Hooks};
use skiff_dataplane::skb::Skb;
use skiff_pmd::{Pool, Port};

use crate::config::Config;
use crate::ip::{LinkStats, NeighUse};
use crate::rtnl::{Effects, LinkKind, Rtnl};

/// Longest time an lcore may take for a burst, its CPU taken away in the middle of it.
const LONGEST_BURST: Duration = Duration::from_millis(20);

/// A port under a device.
pub struct PortHandle {
    /// The driver's side.
    pub port: Port,
    /// The lcores that poll its receive queues, by queue.
    pub rx_lcores: Vec<usize>,
    /// Queues it was opened with.
    pub tx_queues: u16,
    /// Descriptors of each receive queue.
    pub rx_desc: u16,
    /// How often its link went up or down.
    pub carrier_changes: u64,
    /// The kernel interface under it, for drivers that ride on one (af_packet, af_xdp).
    pub netdev: Option<String>,
}

/// How often routes were written to the FIB.
#[derive(Clone, Copy, Debug, Default)]
pub struct FibUpdates {
    /// Prefixes that had no route.
    pub add: u64,
    /// Prefixes that had one.
    pub replace: u64,
    /// Prefixes that have none now.
    pub delete: u64,
}

/// How the last configuration was taken.
#[derive(Clone, Copy, Debug, Default)]
pub struct Applies {
    /// Taken.
    pub applied: u64,
    /// Refused.
    pub refused: u64,
    /// Unix time of the last that was taken, seconds.
    pub last_applied: f64,
    /// The last one was taken.
    pub last_ok: bool,
}

/// Everything the control thread owns. One at a time may hold it, see [`crate::daemon`].
pub struct Router {
    /// What lcores and control share.
    pub shared: Arc<Shared>,
    /// Links, addresses, routes.
    pub rtnl: Rtnl,
    /// Ports by device.
    pub ports: BTreeMap<IfIndex, PortHandle>,
    /// Pool for packets of the control thread.
    pub pool: Pool,
    /// The common clock.
    pub clock: Clock,
    /// FIB writes so far.
    pub updates: FibUpdates,
    /// Configurations so far.
    pub applies: Applies,
    /// The configuration in force.
    pub config: Option<Config>,
    /// Measure the cycles of each stage.
    pub stage_timing: bool,
    fib: FibWriter,
    hops: NextHopWriter,
    neigh: NeighCache<Skb>,
    /// Gateways that next hops name: their neighbour entry and how many next hops hold it.
    gateways: HashMap<(IfIndex, u32), (NeighId, u32)>,
    /// Functions at the hooks.
    hooks: Hooks,
    /// Packets to be traced.
    trace: Option<Arc<TraceArm>>,
    /// The rule tables.
    rules: ruleset::Rules,
    sysctl: Sysctl,
    conf: BTreeMap<IfIndex, DeviceConf>,
    /// Devices whose addresses are announced when they come up.
    notify: BTreeMap<IfIndex, bool>,
    /// Devices that keep their neighbours without a carrier.
    keep_nocarrier: BTreeSet<IfIndex>,
    /// Whom we answer ARP for by the operator's will.
    proxies: ProxyAddresses,
    /// Hardware addresses as the neighbour cache has them.
    device_macs: BTreeMap<IfIndex, MacAddr>,
    /// What had been counted under a device's number when it came.
    counted_before: BTreeMap<IfIndex, LinkStats>,
    /// The machines of bonds.
    bonds: bond::Bonds,
    /// Who wants copies of packets.
    captures: captures::CaptureTable,
    generation: u64,
    retired: DeferredArcs<Snapshot>,
    grace: grace::GracePeriods,
    /// How long changes of routes took.
    update_time: Arc<TimeHistogram>,
    /// Packets that wait for neighbours.
    held: usize,
    /// Multicast routes, groups and IGMP.
    mc: multicast::McState,
    /// The lcores that own the trees of queueing disciplines there are.
    qdisc_owners: BTreeMap<IfIndex, u16>,
    /// Every device's tree of disciplines.
    tc: crate::tc::Picture,
    /// A device with a tree is gone since the last configuration.
    tc_lost: bool,
    /// Filters of `ingress` and `clsact`.
    tc_hooks: Vec<(Hook, HookEntry)>,
    /// What the drivers of ports with VLANs were told.
    filters: vlan::PortFilters,
    /// The grace period under way for removed neighbour entries, and the serial of those it covers.
    neigh_epoch: Option<(Epoch, u64)>,
    /// Serial of neighbour entries removed from now on.
    neigh_serial: u64,
}

/// What a router is made of, before it has links.
pub struct Parts {
    /// What lcores and control share.
    pub shared: Arc<Shared>,
    /// The writer of its FIB.
    pub fib: FibWriter,
    /// The owner of its neighbour table.
    pub neigh: NeighCache<Skb>,
    /// Pool for packets of the control thread.
    pub pool: Pool,
    /// The common clock.
    pub clock: Clock,
}

impl Router {
    /// A router with nothing but its loopback.
    pub fn new(parts: Parts) -> Router {
        let (rtnl, effects) = Rtnl::new();
        let hops = NextHopWriter::new(Arc::clone(&parts.shared.next_hops));
        let generation = parts.shared.generation();
        let mc = multicast::McState::new(parts.shared.lcores());
        let mut router = Router {
            shared: parts.shared,
            rtnl,
            ports: BTreeMap::new(),
            pool: parts.pool,
            clock: parts.clock,
            updates: FibUpdates::default(),
            applies: Applies::default(),
            config: None,
            stage_timing: false,
            fib: parts.fib,
            hops,
            neigh: parts.neigh,
            gateways: HashMap::new(),
            hooks: Hooks::default(),
            trace: None,
            rules: ruleset::Rules::default(),
            sysctl: Sysctl::default(),
            conf: BTreeMap::new(),
            notify: BTreeMap::new(),
            keep_nocarrier: BTreeSet::new(),
            proxies: ProxyAddresses::default(),
            device_macs: BTreeMap::new(),
            counted_before: BTreeMap::new(),
            bonds: bond::Bonds::default(),
            captures: captures::CaptureTable::default(),
            generation,
            retired: DeferredArcs::new(),
            grace: grace::GracePeriods::default(),
            update_time: Arc::default(),
            held: 0,
            mc,
            qdisc_owners: BTreeMap::new(),
            tc: crate::tc::Picture::default(),
            tc_lost: false,
            tc_hooks: Vec::new(),
            filters: vlan::PortFilters::default(),
            neigh_epoch: None,
            neigh_serial: 0,
        };
        router.carry_out(effects);
        router
    }

    /// Brings the data plane to where the model already is.
    pub fn carry_out(&mut self, mut effects: Effects) {
        let decided = self.clock.now();
        self.follow_bonds(&mut effects);
        if !effects.devices.is_empty() {
            self.recompile_rules();
            self.publish();
            if !effects.fib.is_empty() {
                // An lcore that is still in a burst with the old snapshot must not meet the new routes.
                self.settle(LONGEST_BURST);
            }
            for &dev in &effects.devices {
                self.tell_neighbours(dev);
            }
            self.sync_port_filters();
        }
        for change in effects.fib {
            self.install(change);
            self.update_time.record(self.clock.now().since(decided).as_nanos() as u64);
        }
        for dev in effects.flush_neighbours {
            self.flush_neighbours(dev);
        }
        for dev in effects.carrier_lost {
            self.evict_neighbours(dev);
        }
        for dev in effects.devices {
            if self.rtnl.link(dev).is_none() {
                self.forget(dev);
            }
        }
        for (dev, addr) in effects.announce {
            if self.notify.get(&dev) == Some(&true) {
                self.arp_announce(dev, bits(addr));
            }
        }
        self.bonds_act();
    }

    /// Publishes a snapshot of the model.
    pub fn publish(&mut self) {
        self.generation += 1;
        let devices: Vec<NetDevice> = self.rtnl.links().map(|link| self.net_device(link)).collect();
        let mut snapshot = Snapshot::new(self.generation, devices, self.sysctl, self.stage_timing)
            .with_hooks(self.rules.with_tables(&self.hooks_and_filters()))
            .with_trace(self.trace.clone())
            .with_multicast(Arc::clone(&self.mc.table))
            .with_captures(self.captures.for_lcores());
        snapshot.proxies = self.proxies.clone();
        let old = self.shared.publish(snapshot);
        self.retired.defer(&self.shared.qsbr, old);
        self.grace.begin(&self.shared.qsbr, self.clock.now());
        self.reclaim();
    }

    fn hooks_and_filters(&self) -> Hooks {
        let mut hooks = self.hooks.clone();
        for (hook, entry) in &self.tc_hooks {
            hooks.register(*hook, entry.clone());
        }
        hooks
    }

    /// Frees what every lcore has let go of. Whether an lcore may still be on an old snapshot.
    pub fn reclaim(&mut self) -> bool {
        self.retired.reclaim(&self.shared.qsbr);
        self.grace.end(&self.shared.qsbr, self.clock.now())
    }

    /// Waits until every lcore has finished its burst and so has the newest snapshot, but no longer than `timeout`.
    fn settle(&self, timeout: Duration) {
        let epoch = self.shared.qsbr.advance();
        self.shared.qsbr.wait(epoch, timeout);
    }

    /// How full the FIB is.
    pub fn fib_stats(&self) -> FibStats {
        self.fib.stats()
    }

    /// Multipath groups in use.
    pub fn next_hop_groups(&self) -> usize {
        self.hops.groups()
    }

    /// The neighbour cache, to look at.
    pub fn neighbours(&self) -> &NeighCache<Skb> {
        &self.neigh
    }

    /// The settings of a device.
    pub fn device_conf(&self, dev: IfIndex) -> DeviceConf {
        self.conf.get(&dev).copied().unwrap_or_default()
    }

    fn net_device(&self, link: &crate::rtnl::Link) -> NetDevice {
        let kind = match (link.kind(), self.ports.get(&link.ifindex())) {
            (LinkKind::Loopback, _) => DeviceKind::Loopback,
            (LinkKind::Vlan(_), _) => DeviceKind::Vlan,
            (LinkKind::Bond(_), _) => DeviceKind::Bond,
            (LinkKind::Port, Some(handle)) => DeviceKind::Port(handle.port.id()),
            (LinkKind::Port, None) => DeviceKind::Absent,
        };
        NetDevice {
            ifindex: link.ifindex(),
            name: link.name().to_owned(),
            kind,
            mac: link.mac(),
            mtu: link.mtu(),
            up: link.is_up(),
            carrier: link.has_carrier(),
            addresses: link
                .addresses()
                .map(|a| InterfaceAddress { net: a.local, secondary: a.secondary, scope: a.scope.0 })
                .collect(),
            conf: self.device_conf(link.ifindex()),
            vlan_offload: self.filters.offload(link.ifindex()),
            vlan: link.vlan().map(|vlan| Arc::new(vlan.data_plane())),
            bond: self.bonds.view(link.ifindex()),
            qdisc_owner: self.qdisc_owners.get(&link.ifindex()).copied().unwrap_or(NOQUEUE),
            ..NetDevice::absent()
        }
    }

    /// The neighbour cache must know a device, and its hardware address.
    fn tell_neighbours(&mut self, dev: IfIndex) {
        let Some(mac) = self.rtnl.link(dev).map(|link| link.mac()) else { return };
        if self.device_macs.insert(dev, mac) != Some(mac) {
            let params = self.neigh.params(dev).cloned().unwrap_or_default();
            self.neigh.set_device(dev, mac, dev == IfIndex::LOOPBACK, params);
        }
    }
}

/// Seconds since a moment, for shows.
fn ago(now: skiff_dataplane::time::Instant, then: skiff_dataplane::time::Instant) -> u32 {
    u32::try_from(now.since(then).as_secs()).unwrap_or(u32::MAX)
}

/// What `ip -s neigh` says of an entry.
fn neigh_use(
    info: &skiff_dataplane::neigh::cache::NeighInfo,
    now: skiff_dataplane::time::Instant,
) -> NeighUse {
    NeighUse {
        refcnt: u32::from(info.held),
        used: ago(now, info.used),
        confirmed: info.confirmed.map_or(ago(now, info.updated), |at| ago(now, at)),
        updated: ago(now, info.updated),
        probes: info.probes,
    }
}

/// An address in the host order the data plane uses.
fn bits(addr: Ipv4Addr) -> u32 {
    addr.to_bits()
}
