//! `skiff bench routes`: a full table loaded, then changed at random while one lcore forwards through it, and not one
//! packet may be lost.

use anyhow::{Context, Result};
use ipnet::Ipv4Net;
use serde::Serialize;
use skiff_dataplane::core::shared::RunState;
use skiff_dataplane::fib::NextHopId;
use std::net::Ipv4Addr;
use std::time::Instant;

use super::forward::{Bench, start};
use super::traffic::{Case, ROUTER_MAC, Rng, write_pcap};

/// What came out.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Routes loaded.
    pub routes: usize,
    /// Loading them, seconds.
    pub load_seconds: f64,
    /// Changes made while packets flowed: a third each of replace, remove and add back.
    pub updates: usize,
    /// Time of one, microseconds of wall clock.
    pub microseconds_per_update: f64,
    /// Packets forwarded meanwhile.
    pub forwarded: u64,
    /// Packets received meanwhile and not sent.
    pub lost: u64,
    /// Memory of the tables and the list of routes, bytes.
    pub memory_bytes: usize,
}

/// Loads a million routes and makes `updates` changes while forwarding.
///
/// # Errors
/// EAL, the ports or the tables could not be set up.
pub fn run(updates: usize, cpu: Option<u16>) -> Result<Report> {
    let routes = Case::Routes1m.routes();
    let pcap = std::env::temp_dir().join(format!("skiff-bench-{}.pcap", std::process::id()));
    let destinations = Case::Routes1m.destinations(&routes);
    write_pcap(&pcap, ROUTER_MAC, &destinations)
        .with_context(|| format!("cannot write {}", pcap.display()))?;
    let started = start(None, &pcap, destinations.len());
    let _ = std::fs::remove_file(&pcap);
    let (_eal, mut bench) = started?;

    // A packet whose route is away for the moment has the default to go by: nothing may be lost.
    let hops = bench.next_hops()?;
    bench.fib.add(Ipv4Net::default(), hops[0])?;
    let loading = Instant::now();
    for (i, net) in routes.iter().enumerate() {
        bench.fib.add(*net, hops[i % hops.len()])?;
    }
    let load_seconds = loading.elapsed().as_secs_f64();

    let Bench { mut worker, shared, mut fib, .. } = bench;
    worker.cpu = cpu;
    let lcore = worker.spawn()?;
    let changing = Instant::now();
    change(&mut fib, &routes, &hops, updates)?;
    let elapsed = changing.elapsed();
    shared.set_run_state(RunState::Draining);
    std::thread::sleep(std::time::Duration::from_millis(10));
    shared.set_run_state(RunState::Stopped);
    let worker = lcore.join().map_err(|_| anyhow::anyhow!("the lcore panicked"))?;
    let ledger = shared.ledger();
    drop(worker);
    Ok(Report {
        routes: routes.len(),
        load_seconds,
        updates,
        microseconds_per_update: elapsed.as_secs_f64() * 1e6 / updates as f64,
        forwarded: ledger.tx,
        lost: ledger.rx - ledger.tx,
        memory_bytes: fib.stats().memory_bytes,
    })
}

fn change(
    fib: &mut skiff_dataplane::fib::FibWriter,
    routes: &[Ipv4Net],
    hops: &[NextHopId],
    updates: usize,
) -> Result<()> {
    let mut rng = Rng::new(0x5eed_0003);
    for turn in 0..updates / 3 {
        let net = routes[rng.below(routes.len())];
        let hop = hops[rng.below(hops.len())];
        fib.add(net, hop)?;
        let gone = routes[rng.below(routes.len())];
        let had = fib.remove(gone);
        fib.add(gone, had.unwrap_or(hops[turn % hops.len()]))?;
    }
    debug_assert!(fib.longest_match(Ipv4Addr::UNSPECIFIED).is_some());
    Ok(())
}
