//! The router's own numbers, for metrics and shows.

use std::sync::Arc;

use skiff_pmd::{Eal, Pool, rdtsc, tsc_hz};

use super::Router;
use crate::facts::{
    BuildFacts, ConfigFacts, Facts, FibFacts, NeighbourFacts, PoolFacts, PortFacts, QueueFacts, TscFacts,
};
use crate::ip::{Protocol, Table};

impl Router {
    /// A picture of the moment. What does not change is already in `facts`.
    pub fn picture(&self, mut facts: Facts) -> Facts {
        facts.build = BuildFacts {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            revision: env!("SKIFF_REVISION").to_owned(),
            rustc: env!("SKIFF_RUSTC").to_owned(),
            dpdk: Eal::dpdk_version().to_owned(),
        };
        facts.tsc = TscFacts { hertz: tsc_hz(), now: rdtsc(), unix_now: crate::daemon::unix_now() };
        facts.config = ConfigFacts {
            applied_at: self.applies.last_applied,
            last_ok: self.applies.last_ok,
            applied: self.applies.applied,
            refused: self.applies.refused,
            rolled_back: 0,
        };
        facts.ports = self.port_facts();
        let refused_drivers = facts.ports.iter().map(|port| port.stats.rx_nombuf).sum();
        facts.pools = vec![pool_facts(&self.pool, refused_drivers)];
        facts.fib = self.fib_facts();
        facts.neighbours = self.neighbour_facts();
        facts.multicast = self.multicast_facts();
        facts.chains = self.rules.facts();
        facts.sets = self.rules.set_sizes();
        facts.grace_period = self.grace.times();
        facts.bonds = self.bond_facts();
        facts.trees = self.tree_facts();
        facts
    }

    /// The configuration asks for the drivers' own statistics.
    fn xstats(&self) -> bool {
        self.config
            .as_ref()
            .and_then(|config| config.metrics.as_ref())
            .is_some_and(|metrics| metrics.xstats.value)
    }

    fn port_facts(&self) -> Vec<PortFacts> {
        self.ports
            .iter()
            .filter_map(|(dev, handle)| {
                let link = self.rtnl.link(*dev)?;
                let info = handle.port.info();
                let rx = |&lcore| QueueFacts { lcore: Some(lcore), descriptors: handle.rx_desc };
                // Each worker has the transmit queue of its number.
                let tx = |queue| QueueFacts { lcore: Some(queue), ..QueueFacts::default() };
                Some(PortFacts {
                    id: handle.port.id(),
                    name: link.name().to_owned(),
                    driver: info.driver,
                    device: info.device,
                    mac: link.mac().to_string(),
                    numa_node: u32::try_from(info.numa_node).ok(),
                    mtu: link.mtu(),
                    admin_up: link.is_up(),
                    link: handle.port.link(),
                    carrier_changes: handle.carrier_changes,
                    stats: handle.port.stats().unwrap_or_default(),
                    xstats: if self.xstats() { handle.port.xstats() } else { Vec::new() },
                    rx_queues: handle.rx_lcores.iter().map(rx).collect(),
                    tx_queues: (0..usize::from(handle.tx_queues)).map(tx).collect(),
                })
            })
            .collect()
    }

    fn fib_facts(&self) -> FibFacts {
        let stats = self.fib_stats();
        let (mut kernel, mut fixed, mut other) = (0, 0, 0);
        for count in self.rtnl.route_count() {
            match (count.table, count.protocol) {
                (Table::LOCAL, _) | (_, Protocol::KERNEL) => kernel += count.routes as u64,
                (_, Protocol::STATIC | Protocol::BOOT) => fixed += count.routes as u64,
                _ => other += count.routes as u64,
            }
        }
        FibFacts {
            routes: vec![("kernel", kernel), ("static", fixed), ("other", other)],
            updates: vec![
                ("add", self.updates.add),
                ("replace", self.updates.replace),
                ("delete", self.updates.delete),
            ],
            update_time: Arc::clone(&self.update_time),
            tbl8_groups: stats.groups_used as u64,
            tbl8_limit: stats.groups_limit as u64,
            memory_bytes: stats.memory_bytes as u64,
            nexthop_groups: self.next_hop_groups() as u64,
        }
    }

    fn neighbour_facts(&self) -> NeighbourFacts {
        let interfaces =
            self.ports.keys().filter_map(|dev| Some((*dev, self.rtnl.link(*dev)?.name().to_owned())));
        let table = self.neigh.table();
        NeighbourFacts {
            capacity: table.capacity() as u64,
            // An entry is a cache line, its slots four words.
            memory_bytes: table.capacity() as u64 * (64 + 4 * 4),
            counters: self.neigh.counters(),
            interfaces: NeighbourFacts::tally(
                interfaces.map(|(dev, name)| (dev, name, self.neigh.failures(dev))),
                self.neigh.iter(),
            ),
        }
    }
}

/// All ports draw on the one pool, so what it refused their drivers belongs to it.
fn pool_facts(pool: &Pool, refused_drivers: u64) -> PoolFacts {
    PoolFacts {
        name: pool.name().to_owned(),
        socket: None,
        capacity: u64::from(pool.capacity()),
        in_use: u64::from(pool.in_use()),
        alloc_failures: pool.alloc_failures() + refused_drivers,
        data_room: u64::from(pool.data_room()),
    }
}
