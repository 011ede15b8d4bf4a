//! `skiff mem`.

use std::fmt::Write;

use serde_json::json;

use super::table::Table;
use crate::facts::{Facts, PoolFacts};

/// Where memory is and how full: packet pools, EAL, the forwarding table, the neighbour table.
pub fn mem(facts: &Facts, json: bool) -> String {
    if json { as_json(facts) } else { as_text(facts) }
}

fn as_text(facts: &Facts) -> String {
    let mut table = Table::new(1, ["POOL", "SOCKET", "SIZE", "IN-USE", "FREE", "FAILURES", "DATA-ROOM"]);
    for pool in &facts.pools {
        table.row([
            pool.name.clone(),
            pool.socket.map_or("any".to_owned(), |node| node.to_string()),
            pool.capacity.to_string(),
            pool.in_use.to_string(),
            free(pool).to_string(),
            pool.alloc_failures.to_string(),
            pool.data_room.to_string(),
        ]);
    }
    let (fib, neighbours, memory) = (&facts.fib, &facts.neighbours, &facts.memory);
    let pages = if memory.hugepages { "hugepages" } else { "ordinary pages" };
    let mut out = table.render();
    // Writing to a string cannot fail.
    let _ = writeln!(out, "\ndpdk        {} on {pages}", size(memory.eal_bytes));
    let _ = writeln!(
        out,
        "fib         {}, {} routes, {} of {} groups for prefixes longer than /24, {} multipath groups",
        size(fib.memory_bytes),
        fib.route_count(),
        fib.tbl8_groups,
        fib.tbl8_limit,
        fib.nexthop_groups
    );
    let _ = writeln!(
        out,
        "neighbours  {}, {} of {} entries, {} packets waiting",
        size(neighbours.memory_bytes),
        neighbours.entry_count(),
        neighbours.capacity,
        neighbours.hold_packets()
    );
    out
}

fn as_json(facts: &Facts) -> String {
    let pool = |pool: &PoolFacts| {
        json!({
            "name": pool.name,
            "socket": pool.socket,
            "size": pool.capacity,
            "in_use": pool.in_use,
            "free": free(pool),
            "alloc_failures": pool.alloc_failures,
            "data_room": pool.data_room,
        })
    };
    let (fib, neighbours) = (&facts.fib, &facts.neighbours);
    let out = json!({
        "pools": facts.pools.iter().map(pool).collect::<Vec<_>>(),
        "dpdk": { "bytes": facts.memory.eal_bytes, "hugepages": facts.memory.hugepages },
        "fib": {
            "bytes": fib.memory_bytes,
            "routes": fib.route_count(),
            "tbl8_groups": fib.tbl8_groups,
            "tbl8_groups_limit": fib.tbl8_limit,
            "nexthop_groups": fib.nexthop_groups,
        },
        "neighbours": {
            "bytes": neighbours.memory_bytes,
            "entries": neighbours.entry_count(),
            "entries_limit": neighbours.capacity,
            "hold_packets": neighbours.hold_packets(),
        },
    });
    format!("{out}\n")
}

fn free(pool: &PoolFacts) -> u64 {
    pool.capacity.saturating_sub(pool.in_use)
}

/// Bytes in the largest binary unit that keeps the number above one.
fn size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match UNITS.iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) => format!("{:.1} {name}", bytes as f64 / *unit as f64),
        None => format!("{bytes} B"),
    }
}
