//! `skiff bench forward --case bond`: what a bond costs a forwarded packet, beyond sending by a port of its own. All are
//! measured in turn, many times over, so that what the machine does besides falls on each.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;
use skiff_dataplane::core::snapshot::{Snapshot, Sysctl};
use skiff_dataplane::device::bond::{Bond, BondMember, BondMode, XmitPolicy};
use skiff_dataplane::device::{DeviceKind, NetDevice};
use skiff_dataplane::net::IfIndex;

use super::forward::{Bench, IN, OUT, port_device, start_with};
use super::traffic::{Case, ROUTER_MAC, Vlans, write_pcap};

/// Length of one measurement.
const SLICE: Duration = Duration::from_millis(20);
/// Length of a round: a plain port, and each bond.
pub const ROUND: Duration = Duration::from_millis(20 * (1 + SHAPES.len() as u64));
/// Members, at the ports behind those of the generator and of the plain way out.
const MEMBERS: [(IfIndex, u16); 2] = [(IfIndex(4), 2), (IfIndex(5), 3)];
/// What is measured.
const SHAPES: [(&str, BondMode, XmitPolicy); 4] = [
    ("active-backup", BondMode::ActiveBackup, XmitPolicy::Layer2),
    ("balance-rr", BondMode::BalanceRr, XmitPolicy::Layer2),
    ("balance-xor layer2", BondMode::BalanceXor, XmitPolicy::Layer2),
    ("balance-xor layer3+4", BondMode::BalanceXor, XmitPolicy::Layer34),
];

/// One bond's cost.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Mode and hash policy.
    pub bond: &'static str,
    /// Cycles a packet beyond a plain port: half of the rounds were below.
    pub median: f64,
    /// The difference of the best rounds of both.
    pub best: f64,
}

/// Measures all shapes with 1024 flows over 1024 routes, each sent by a bond of two `net_null` ports.
///
/// # Errors
/// EAL, the ports or the tables could not be set up.
pub fn run(rounds: u32, cpu: Option<u16>) -> Result<Vec<Row>> {
    let case = Case::Bond;
    let routes = case.routes();
    let destinations = case.destinations(&routes);
    let pcap = std::env::temp_dir().join(format!("skiff-bench-{}.pcap", std::process::id()));
    write_pcap(&pcap, ROUTER_MAC, &destinations)
        .with_context(|| format!("cannot write {}", pcap.display()))?;
    let started = start_with(cpu, &pcap, destinations.len(), 1 + MEMBERS.len() as u16, Vlans::default());
    let _ = std::fs::remove_file(&pcap);
    let (_eal, mut bench) = started?;
    bench.load(&routes)?;
    bench.forward(Duration::from_millis(50));
    let mut rounds_of = vec![Vec::new(); SHAPES.len()];
    let mut plain = Vec::new();
    for _ in 0..rounds {
        use_device(&bench, port_device(OUT, 1, "10.0.1.1/24"));
        let base = bench.forward(SLICE);
        plain.push(base);
        for ((_, mode, policy), samples) in SHAPES.into_iter().zip(&mut rounds_of) {
            use_device(&bench, bond_device(mode, policy));
            let cost = bench.forward(SLICE);
            samples.push((cost, cost - base));
        }
    }
    let least = |samples: &mut dyn Iterator<Item = f64>| samples.fold(f64::INFINITY, f64::min);
    let base = least(&mut plain.into_iter());
    let row = |bond: &'static str, samples: Vec<(f64, f64)>| {
        let best = least(&mut samples.iter().map(|sample| sample.0)) - base;
        let mut more: Vec<f64> = samples.into_iter().map(|sample| sample.1).collect();
        more.sort_by(f64::total_cmp);
        Row { bond, median: more.get(more.len() / 2).copied().unwrap_or(f64::NAN), best }
    };
    Ok(SHAPES.iter().zip(rounds_of).map(|((bond, _, _), samples)| row(bond, samples)).collect())
}

fn bond_device(mode: BondMode, policy: XmitPolicy) -> NetDevice {
    let members = MEMBERS.map(|(dev, _)| BondMember { dev, transmits: true, receives: true });
    let active = Some(MEMBERS[0].0);
    let bond = Bond { policy, members: members.to_vec(), active, ..Bond::new(mode) };
    let port = port_device(OUT, 0, "10.0.1.1/24");
    NetDevice { kind: DeviceKind::Bond, bond: Some(Arc::new(bond)), ..port }
}

/// Makes `out` the device the routes lead to.
fn use_device(bench: &Bench, out: NetDevice) {
    let members = MEMBERS.map(|(dev, port)| port_device(dev, port, ""));
    let devices = [NetDevice::loopback(), port_device(IN, 0, "10.0.0.1/24"), out].into_iter().chain(members);
    let next = bench.shared.generation() + 1;
    drop(bench.shared.publish(Snapshot::new(next, devices, Sysctl::default(), false)));
}
