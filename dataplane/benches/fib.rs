//! What the FIB costs: loading, changing and looking up, with as many routes as a LAN, a site and the internet
//! have. `cargo bench -p skiff-dataplane --bench fib`
//!
//! Cycles are those of the TSC. Each lookup figure is the minimum and the median of many short runs: what else
//! runs on the CPU disturbs the median, hardly the minimum.

use std::collections::HashSet;
use std::hint::black_box;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::Ipv4Net;
use skiff_dataplane::core::qsbr::Qsbr;
use skiff_dataplane::fib::{BULK, Fib, FibWriter, NextHopId};
use skiff_pmd::rdtsc;
const GROUPS: usize = 1 << 15;
const DESTINATIONS: usize = 1 << 16;
const RUNS: usize = 200;
const UPDATES: usize = 500_000;

fn main() {
    quiescent_state();
    for routes in [1_000, 10_000, 1_000_000] {
        measure(routes);
    }
}

fn measure(count: usize) {
    let mut random = Random(0x5eed_0000 + count as u64);
    let routes = internet_like(count, &mut random);
    let mut fib = FibWriter::new(GROUPS, Arc::new(Qsbr::new(0))).expect("a small table");

    let start = Instant::now();
    for &(prefix, next_hop) in &routes {
        fib.add(prefix, next_hop).expect("room");
    }
    let load = start.elapsed();
    let stats = fib.stats();
    println!(
        "\n{count} routes: loaded in {:.3} s ({:.2} us each), {} groups, {} MiB",
        load.as_secs_f64(),
        load.as_secs_f64() * 1e6 / count as f64,
        stats.groups_used,
        stats.memory_bytes >> 20,
    );
    lookups(fib.fib(), &routes, &mut random);
    updates(&mut fib, &routes, &mut random);
}

fn lookups(fib: &Fib, routes: &[(Ipv4Net, NextHopId)], random: &mut Random) {
    let inside: Vec<u32> = (0..DESTINATIONS)
        .map(|_| {
            let (prefix, _) = routes[random.below(routes.len())];
            prefix.network().to_bits() | random.next() & prefix.hostmask().to_bits()
        })
        .collect();
    let uniform: Vec<u32> = (0..DESTINATIONS).map(|_| random.next()).collect();
    for (name, dsts) in [("inside the routes", &inside), ("uniform", &uniform)] {
        let mut hops = [NextHopId::NONE; BULK];
        report(name, "bulk of 32", || {
            for dsts in dsts.chunks_exact(BULK) {
                fib.lookup_bulk(dsts, &mut hops);
                black_box(&hops);
            }
        });
        report(name, "one by one", || {
            for &dst in dsts {
                black_box(fib.lookup(dst));
            }
        });
    }
    // Each address depends on the answer before, as when a packet's fate hangs on its lookup.
    let nothing = black_box(0);
    report("inside the routes", "latency", || {
        let mut last = 0;
        for &dst in &inside {
            last = fib.lookup(dst ^ last & nothing).get();
        }
        black_box(last);
    });
}

fn report(dsts: &str, how: &str, mut run: impl FnMut()) {
    let mut cycles: Vec<f64> = (0..RUNS)
        .map(|_| {
            let start = rdtsc();
            run();
            rdtsc().wrapping_sub(start) as f64 / DESTINATIONS as f64
        })
        .collect();
    cycles.sort_by(f64::total_cmp);
    println!("  lookup, {dsts}, {how}: {:.1} cycles (median {:.1})", cycles[0], cycles[RUNS / 2]);
}

/// Changes in random order, each to a different route; all routes are there again in the end.
fn updates(fib: &mut FibWriter, routes: &[(Ipv4Net, NextHopId)], random: &mut Random) {
    let mut picks = routes.to_vec();
    for i in (1..picks.len()).rev() {
        picks.swap(i, random.below(i + 1));
    }
    picks.truncate(UPDATES);
    let rounds = UPDATES / picks.len();
    let (mut replaces, mut removes, mut adds) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    for _ in 0..rounds {
        replaces += timed(&picks, |prefix, next_hop| {
            let other = NextHopId::new(next_hop.get() ^ 0x400).expect("24 bits");
            black_box(fib.add(prefix, other).expect("room"));
        });
        removes += timed(&picks, |prefix, _| {
            black_box(fib.remove(prefix));
        });
        adds += timed(&picks, |prefix, next_hop| {
            black_box(fib.add(prefix, next_hop).expect("room"));
        });
    }
    let micros = |time: Duration| time.as_secs_f64() * 1e6 / (rounds * picks.len()) as f64;
    println!(
        "  replace {:.2} us, remove {:.2} us, add {:.2} us",
        micros(replaces),
        micros(removes),
        micros(adds)
    );

    let default = [(Ipv4Net::default(), NextHopId::MAX)];
    let add = timed(&default, |prefix, next_hop| {
        fib.add(prefix, next_hop).expect("no group needed");
    });
    let remove = timed(&default, |prefix, _| {
        fib.remove(prefix);
    });
    println!(
        "  default route: add {:.1} ms, remove {:.1} ms",
        add.as_secs_f64() * 1e3,
        remove.as_secs_f64() * 1e3
    );
}

fn timed(routes: &[(Ipv4Net, NextHopId)], mut change: impl FnMut(Ipv4Net, NextHopId)) -> Duration {
    let start = Instant::now();
    for &(prefix, next_hop) in routes {
        change(prefix, next_hop);
    }
    start.elapsed()
}

/// What an lcore pays between two bursts.
fn quiescent_state() {
    let qsbr = Qsbr::new(1);
    qsbr.online(0);
    report("an lcore's report", "quiescent", || {
        for _ in 0..DESTINATIONS {
            black_box(&qsbr).quiescent(0);
        }
    });
}

/// Distinct prefixes with lengths shared out about as in the internet's table, longer ones inside /24 nets that
/// hold several, in random order.
fn internet_like(count: usize, random: &mut Random) -> Vec<(Ipv4Net, NextHopId)> {
    let mut seen = HashSet::with_capacity(count);
    let mut routes = Vec::with_capacity(count);
    while routes.len() < count {
        let len = match random.below(1000) {
            0..4 => 12 + random.below(4) as u8,
            4..20 => 16,
            20..50 => 17 + random.below(2) as u8,
            50..180 => 19 + random.below(3) as u8,
            180..380 => 22 + random.below(2) as u8,
            380..980 => 24,
            _ => 25 + random.below(8) as u8,
        };
        // Unicast space. Long prefixes crowd into a 64th of it.
        let spread = if len > 24 { random.next() & 0x03ff_ffff } else { random.next() };
        let addr = 0x0100_0000 + ((u64::from(spread) * 0xdf00_0000) >> 32) as u32;
        let prefix = Ipv4Net::new_assert(Ipv4Addr::from_bits(addr), len).trunc();
        if seen.insert(prefix) {
            let next_hop = NextHopId::new(1 + random.next() % 1000).expect("24 bits");
            routes.push((prefix, next_hop));
        }
    }
    routes
}

/// SplitMix64: the same routes in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed >> 32) as u32
    }

    fn below(&mut self, limit: usize) -> usize {
        ((u64::from(self.next()) * limit as u64) >> 32) as usize
    }
}
