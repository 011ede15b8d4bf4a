//! Tables and memory: routes, neighbours, pools, the queue to the control thread.

use skiff_dataplane::core::mailbox::MailboxStats;
use skiff_dataplane::core::shared::Shared;
use skiff_dataplane::neigh::nud::Nud;

use super::page::{Page, families};
use super::{duration, number};
use crate::facts::{Facts, FibFacts, MemoryFacts, NeighbourFacts, PoolFacts};

families! {
    ROUTES: gauge "skiff_fib_routes" ["vrf", "family", "origin"] =
        "Routes in the FIB by origin (connected, static, fpm, kernel).";
    TBL8: gauge "skiff_fib_tbl8_groups" ["vrf", "family"] = "LPM second-level groups in use.";
    TBL8_LIMIT: gauge "skiff_fib_tbl8_groups_limit" ["vrf", "family"] = "LPM second-level groups available.";
    UPDATES: counter "skiff_fib_updates_total" ["vrf", "family", "operation"] =
        "FIB writes (add, replace, delete).";
    UPDATE_TIME: histogram "skiff_fib_update_seconds" ["vrf", "family"] =
        "Time from the decision to change a route to the published FIB.";
    FIB_MEMORY: gauge "skiff_fib_memory_bytes" ["vrf", "family"] = "Memory held by the FIB.";
    GROUPS: gauge "skiff_nexthop_groups" [] = "ECMP groups in use.";
    NEIGHBOURS: gauge "skiff_neighbour_entries" ["interface", "family", "state"] = "Neighbour entries by state.";
    NEIGHBOURS_LIMIT: gauge "skiff_neighbour_entries_limit" ["family"] = "Most neighbour entries there can be.";
    RESOLUTION_FAILURES: counter "skiff_neighbour_resolution_failures_total" ["interface", "family"] =
        "Neighbour resolutions and re-checks nobody answered (lnstat res_failed).";
    UNRESOLVED_DISCARDS: counter "skiff_neighbour_unresolved_discards_total" ["family"] =
        "Packets pushed out of full neighbour queues (lnstat unresolved_discards).";
    TABLE_FULL: counter "skiff_neighbour_table_full_total" ["family"] =
        "Packets and requests refused because the neighbour table was full (lnstat table_fulls).";
    HOLD: gauge "skiff_neighbour_hold_packets" ["interface", "family"] =
        "Packets held while a neighbour resolves.";
    POOL: gauge "skiff_mempool_objects" ["pool", "socket"] = "Mbufs in the pool.";
    POOL_IN_USE: gauge "skiff_mempool_objects_in_use" ["pool", "socket"] = "Mbufs out of the pool.";
    POOL_FAILURES: counter "skiff_mempool_alloc_failures_total" ["pool", "socket"] = "Mbuf allocation failures.";
    MEMORY: gauge "skiff_memory_bytes" ["kind"] =
        "Memory held, by kind: DPDK's on hugepages, DPDK's on ordinary pages (heap), forwarding tables.";
    FRAG_QUEUES: gauge "skiff_frag_queues" ["family"] =
        "Datagrams whose fragments are being put together (sockstat FRAG inuse).";
    FRAG_MEMORY: gauge "skiff_frag_mem_bytes" ["family"] =
        "Memory held by fragments, whole mbufs (sockstat FRAG memory).";
    FRAG_HOLD: gauge "skiff_frag_hold_packets" ["family"] = "Fragments held until the others come.";
    QUEUE_LENGTH: gauge "skiff_control_queue_length" ["queue"] =
        "Messages waiting between control thread and lcores.";
    QUEUE_LIMIT: gauge "skiff_control_queue_limit" ["queue"] = "Capacity of the queue.";
    QUEUE_PUSHES: counter "skiff_control_queue_pushes_total" ["queue"] = "Messages enqueued.";
    GRACE_PERIOD: histogram "skiff_control_grace_period_seconds" [] =
        "Time from publishing a snapshot until the control thread saw that the last lcore had left the old one.";
    QUEUE_FAILURES: counter "skiff_control_queue_failures_total" ["queue"] =
        "Messages refused because the queue was full.";
}

/// The one routing table there is, by the kernel's name for it.
const VRF: &str = "default";
const IPV4: &str = "ipv4";

pub(super) fn collect(page: &mut Page, shared: &Shared, facts: &Facts) {
    fib(page, &facts.fib);
    neighbours(page, &facts.neighbours);
    facts.pools.iter().for_each(|p| pool(page, p));
    memory(page, &facts.memory, facts.fib.memory_bytes + facts.neighbours.memory_bytes);
    let frags = &shared.frags.memory;
    page.set(&FRAG_QUEUES, [IPV4], frags.queues() as f64);
    page.set(&FRAG_HOLD, [IPV4], frags.fragments() as f64);
    page.set(&FRAG_MEMORY, [IPV4], frags.bytes() as f64);
    mailbox(page, "to_control", shared.control_mailbox());
    for lcore in 0..shared.lcores() {
        mailbox(page, &format!("to_lcore{lcore}"), shared.lcore_mailbox(lcore));
    }
    duration(page, &GRACE_PERIOD, [], &facts.grace_period);
}

fn mailbox(page: &mut Page, queue: &str, stats: MailboxStats) {
    page.set(&QUEUE_LENGTH, [queue], stats.length as f64);
    page.set(&QUEUE_LIMIT, [queue], stats.limit as f64);
    page.add(&QUEUE_PUSHES, [queue], stats.pushes);
    page.add(&QUEUE_FAILURES, [queue], stats.failures);
}

fn fib(page: &mut Page, fib: &FibFacts) {
    for &(origin, routes) in &fib.routes {
        page.set(&ROUTES, [VRF, IPV4, origin], routes as f64);
    }
    for &(operation, updates) in &fib.updates {
        page.add(&UPDATES, [VRF, IPV4, operation], updates);
    }
    duration(page, &UPDATE_TIME, [VRF, IPV4], &fib.update_time);
    page.set(&TBL8, [VRF, IPV4], fib.tbl8_groups as f64);
    page.set(&TBL8_LIMIT, [VRF, IPV4], fib.tbl8_limit as f64);
    page.set(&FIB_MEMORY, [VRF, IPV4], fib.memory_bytes as f64);
    page.set(&GROUPS, [], fib.nexthop_groups as f64);
}

fn neighbours(page: &mut Page, table: &NeighbourFacts) {
    for tally in &table.interfaces {
        for state in Nud::ALL {
            let entries = tally.entries.get(&state).copied().unwrap_or_default();
            let state = state.name().to_ascii_lowercase();
            page.set(&NEIGHBOURS, [&tally.interface, IPV4, &state], entries as f64);
        }
        page.set(&HOLD, [&tally.interface, IPV4], tally.hold_packets as f64);
        page.add(&RESOLUTION_FAILURES, [&tally.interface, IPV4], tally.failures);
    }
    page.set(&NEIGHBOURS_LIMIT, [IPV4], table.capacity as f64);
    page.add(&UNRESOLVED_DISCARDS, [IPV4], table.counters.unres_discards);
    page.add(&TABLE_FULL, [IPV4], table.counters.table_fulls);
}

fn pool(page: &mut Page, pool: &PoolFacts) {
    let socket = number(pool.socket);
    let labels = [pool.name.as_str(), &socket];
    page.set(&POOL, labels, pool.capacity as f64);
    page.set(&POOL_IN_USE, labels, pool.in_use as f64);
    page.add(&POOL_FAILURES, labels, pool.alloc_failures);
}

fn memory(page: &mut Page, memory: &MemoryFacts, tables: u64) {
    let (hugepage, heap) = if memory.hugepages { (memory.eal_bytes, 0) } else { (0, memory.eal_bytes) };
    page.set(&MEMORY, ["hugepage"], hugepage as f64);
    page.set(&MEMORY, ["heap"], heap as f64);
    page.set(&MEMORY, ["tables"], tables as f64);
}
