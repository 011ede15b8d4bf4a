//! Everything measured, as `--json` writes it.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::bench::SizeReport;
use crate::cli::Args;
use crate::machine::{Machine, load};

/// A run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// This program's version.
    pub rfc2544: &'static str,
    /// When it ended, seconds since 1970.
    pub unix_time: u64,
    /// The command line, defaults included.
    pub arguments: Args,
    /// Where.
    pub machine: Machine,
    /// Load averages at the end.
    pub load_after: String,
    /// What was found, by frame size.
    pub sizes: Vec<SizeReport>,
    /// Why the router dropped packets, in its own words, where it can say.
    pub dut_drops: Option<String>,
}

impl Report {
    /// Of a run that has just ended.
    pub fn new(args: &Args, machine: Machine, sizes: Vec<SizeReport>, dut_drops: Option<String>) -> Report {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Report {
            rfc2544: env!("CARGO_PKG_VERSION"),
            unix_time: now.as_secs(),
            arguments: args.clone(),
            machine,
            load_after: load(),
            sizes,
            dut_drops,
        }
    }
}

/// A report with a figure of every kind, for tests of what is made of it.
#[cfg(test)]
pub fn sample() -> Report {
    use clap::Parser as _;

    use crate::bench::{LatencyPoint, Throughput};
    use crate::latency::Latency;
    use crate::search::{Found, LimitedBy};
    use crate::trial::Trial;

    let found = |pps| Found { pps, limited_by: LimitedBy::Loss };
    let trial = |target_pps, offered, received| Trial {
        size: 64,
        directions: 1,
        target_pps,
        seconds: 1.0,
        offered,
        received,
        generator_cpu: Some(0.98),
        dut_cpu: Some(0.97),
        longest_gap_us: Some(1200.0),
        load: Some(1.5),
        ..Trial::default()
    };
    let latency =
        Latency { frames: 1, min_us: 1.0, mean_us: 2.0, p50_us: 2.0, p99_us: 3.0, p999_us: 4.0, max_us: 5.0 };
    let size = SizeReport {
        size: 64,
        flood: trial(None, 1_100_000, 1_000_000),
        ceiling_pps: 1.21e6,
        throughput: Some(Throughput {
            ndr_strict: found(1.0e6),
            ndr: found(1.05e6),
            ndr_retried: 1,
            pdr: found(1.1e6),
            pdr_retried: 0,
            pdr_loss: 0.005,
        }),
        curve: vec![
            trial(Some(1.21e6), 1_100_000, 1_000_000),
            Trial { reordered: Some(7), duplicates: Some(0), ..trial(Some(0.605e6), 605_000, 605_000) },
        ],
        latency: vec![LatencyPoint {
            share: 0.5,
            trial: Trial { latency: Some(latency), ..trial(Some(5e5), 500_000, 500_000) },
        }],
        trials: vec![trial(Some(1.0e6), 1_000_000, 1_000_000)],
    };
    let machine = Machine {
        cpu: "AMD EPYC".into(),
        cpus: 2,
        tsc_mhz: 2596.0,
        kernel: "6.18".into(),
        dpdk: "DPDK 22.11".into(),
        dut: "skiff 0.1.0".into(),
        hugepages: 0,
        generator_uses_hugepages: Some(false),
        isolated_cpus: String::new(),
        load_before: "0.1 0.2 0.3".into(),
    };
    let larger = SizeReport { size: 1518, ..size.clone() };
    let load_after = "1.0 0.5 0.4".to_owned();
    Report {
        rfc2544: "0",
        unix_time: 0,
        arguments: Args::parse_from(["rfc2544"]),
        machine,
        load_after,
        sizes: vec![size, larger],
        dut_drops: None,
    }
}
