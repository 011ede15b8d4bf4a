//! `skiff bench forward`: IPv4 forwarding from `net_pcap,infinite_rx` to `net_null` on one lcore, every check and
//! counter on, in cycles of CPU time a packet. The generator's own cost is measured in turn with it and subtracted.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;
use skiff_dataplane::core::drop_reason::Node;
use skiff_dataplane::core::env::Hands;
use skiff_dataplane::core::lcore::{Clock, Idle, Worker};
use skiff_dataplane::core::qsbr::Qsbr;
use skiff_dataplane::core::shared::Shared;
use skiff_dataplane::core::snapshot::{Snapshot, Sysctl};
use skiff_dataplane::core::xmit::{TxPath, TxTable};
use skiff_dataplane::device::vlan::{Vlan, VlanProto};
use skiff_dataplane::device::{DeviceKind, InterfaceAddress, NetDevice};
use skiff_dataplane::fib::next_hop::{NextHopSpec, NextHopWriter};
use skiff_dataplane::fib::{FibWriter, NextHopId};
use skiff_dataplane::neigh::cache::{GcParams, NeighCache, SetMode};
use skiff_dataplane::neigh::nud::{NeighParams, Nud};
use skiff_dataplane::net::{IfIndex, MacAddr};
use skiff_dataplane::netfilter::hooks::Hooks;
use skiff_dataplane::skb::{Skb, SkbList};
use skiff_dataplane::time::Instant;
use skiff_pmd::{
    Eal, EalConfig, Hugepages, Pool, PoolConfig, Port, PortConfig, PortId, RxQueue, pin_current_thread,
    rdtsc, thread_cpu_time_ns, tsc_hz,
};

use super::traffic::{Case, ROUTER_MAC, Vlans, write_tagged_pcap};

pub(super) const IN: IfIndex = IfIndex(2);
pub(super) const OUT: IfIndex = IfIndex(3);
/// Gateways the routes are spread over.
const GATEWAYS: u32 = 16;
/// Groups of the FIB for prefixes longer than /24.
const TBL8_GROUPS: usize = 1 << 16;

/// What to measure.
#[derive(Clone, Debug)]
pub struct Options {
    /// The workload.
    pub case: Case,
    /// Rounds of generator and forwarding in turn.
    pub rounds: u32,
    /// Length of one measurement.
    pub slice: Duration,
    /// Also time each stage (costs a few cycles a packet, in rounds of its own).
    pub stages: bool,
    /// CPU to run on.
    pub cpu: Option<u16>,
    /// Keep the capture here instead of in a temporary file.
    pub pcap: Option<PathBuf>,
}

/// What came out.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The workload.
    pub case: &'static str,
    /// Packet memory in huge pages.
    pub hugepages: bool,
    /// TSC frequency.
    pub tsc_hz: u64,
    /// Forwarding with the generator, cycles a packet: median and minimum over the rounds.
    pub total: Spread,
    /// The generator alone.
    pub generator: Spread,
    /// Forwarding beyond the generator, by round.
    pub cycles_per_packet: Spread,
    /// Cycles a packet of each stage, if asked for.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub stages: BTreeMap<&'static str, f64>,
    /// Packets forwarded.
    pub packets: u64,
    /// Packets that were not.
    pub dropped: u64,
    /// Loading the routes, seconds.
    pub load_seconds: f64,
    /// Routes.
    pub routes: usize,
}

/// Median and minimum.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Spread {
    /// Half of the rounds were below.
    pub median: f64,
    /// The best round.
    pub min: f64,
}

impl Spread {
    fn of(mut samples: Vec<f64>) -> Spread {
        samples.sort_by(f64::total_cmp);
        Spread {
            median: samples.get(samples.len() / 2).copied().unwrap_or(f64::NAN),
            min: samples.first().copied().unwrap_or(f64::NAN),
        }
    }
}

/// Runs one case.
///
/// # Errors
/// EAL, the ports or the tables could not be set up.
pub fn run(options: &Options) -> Result<Report> {
    let routes = options.case.routes();
    let destinations = options.case.destinations(&routes);
    let pcap = match &options.pcap {
        Some(path) => path.clone(),
        None => std::env::temp_dir().join(format!("skiff-bench-{}.pcap", std::process::id())),
    };
    write_tagged_pcap(&pcap, ROUTER_MAC, &destinations, options.case.vlans())
        .with_context(|| format!("cannot write {}", pcap.display()))?;
    let started = start_with(options.cpu, &pcap, destinations.len(), 1, options.case.vlans());
    if options.pcap.is_none() {
        let _ = std::fs::remove_file(&pcap);
    }
    let (eal, mut bench) = started?;
    let loading = std::time::Instant::now();
    bench.load(&routes)?;
    let load_seconds = loading.elapsed().as_secs_f64();
    let mut report = bench.measure(options);
    report.hugepages = eal.uses_hugepages();
    report.load_seconds = load_seconds;
    report.routes = routes.len();
    Ok(report)
}

/// One lcore between two ports, and the tables it forwards by.
pub(super) struct Bench {
    pub(super) worker: Worker,
    pub(super) shared: Arc<Shared>,
    pub(super) fib: FibWriter,
    hops: NextHopWriter,
    neigh: NeighCache<Skb>,
    vlans: Vlans,
    _ports: Vec<Port>,
}

/// Brings up EAL with a generator that plays `pcap` and a port that swallows.
pub(super) fn start(cpu: Option<u16>, pcap: &std::path::Path, frames: usize) -> Result<(Eal, Bench)> {
    start_with(cpu, pcap, frames, 1, Vlans::default())
}

/// The same with several ports that swallow, and VLANs on the first of them and on the generator's.
pub(super) fn start_with(
    cpu: Option<u16>,
    pcap: &std::path::Path,
    frames: usize,
    outs: u16,
    vlans: Vlans,
) -> Result<(Eal, Bench)> {
    let mbufs = (frames.next_power_of_two() as u32 * 2).max(16_384);
    let eal = Eal::init(EalConfig {
        program: "skiff-bench".to_owned(),
        memory_mib: 64 + mbufs / 1024 * 3,
        hugepages: Hugepages::Prefer,
        main_cpu: None,
        vdevs: std::iter::once(format!("net_pcap0,rx_pcap={},infinite_rx=1", pcap.display()))
            .chain((0..outs).map(|i| format!("net_null{i}")))
            .collect(),
        pci_allow: Vec::new(),
        file_prefix: format!("skiff-bench-{}", std::process::id()),
        extra_args: Vec::new(),
    })?;
    if let Some(cpu) = cpu {
        pin_current_thread(cpu)?;
    }
    let pool = Pool::create(
        &eal,
        &PoolConfig { name: "bench", mbufs: mbufs - 1, cache: 256, data_room: 2048, socket: None },
    )?;
    let wanted = PortConfig::default();
    let (rx_port, rx, _) = Port::open(&eal, PortId(0), "in", &wanted, &pool)?;
    let (mut ports, mut table) = (vec![rx_port], TxTable::default());
    for id in 1..=outs {
        let (port, _, tx) = Port::open(&eal, PortId(id), &format!("out{id}"), &wanted, &pool)?;
        ports.push(port);
        tx.into_iter().for_each(|queue| table.set(id, TxPath::Queue(queue)));
    }
    Ok((eal, Bench::new(pool, rx, table, ports, vlans)?))
}

impl Bench {
    fn new(pool: Pool, rx: Vec<RxQueue>, table: TxTable, ports: Vec<Port>, vlans: Vlans) -> Result<Bench> {
        let qsbr = Arc::new(Qsbr::new(1));
        let fib = FibWriter::new(TBL8_GROUPS, Arc::clone(&qsbr))?;
        let mut neigh = NeighCache::new(4096, GcParams::default(), 1, Instant::ZERO);
        for dev in ways_out(vlans) {
            neigh.set_device(dev, ROUTER_MAC, false, NeighParams::default());
        }
        let shared = Arc::new(Shared::new(
            1,
            snapshot(1, false, vlans),
            qsbr,
            Arc::clone(fib.fib()),
            Arc::clone(neigh.table()),
            0,
        ));
        let worker = Worker {
            id: 0,
            cpu: None,
            shared: Arc::clone(&shared),
            rx,
            handoff: Vec::new(),
            hands: Hands::new(0, table, pool, 1),
            idle: Idle::Poll,
            clock: Clock::new(rdtsc()),
        };
        let hops = NextHopWriter::new(Arc::clone(&shared.next_hops));
        Ok(Bench { worker, shared, fib, hops, neigh, vlans, _ports: ports })
    }

    pub(super) fn load(&mut self, routes: &[ipnet::Ipv4Net]) -> Result<()> {
        let hops = self.next_hops()?;
        for (i, net) in routes.iter().enumerate() {
            self.fib.add(*net, hops[i % hops.len()])?;
        }
        Ok(())
    }

    /// Next hops by gateways whose addresses are known.
    pub(super) fn next_hops(&mut self) -> Result<Vec<NextHopId>> {
        let mut ids = Vec::new();
        let ways_out = ways_out(self.vlans);
        for i in 0..GATEWAYS {
            let oif = ways_out[i as usize % ways_out.len()];
            let (gateway, mac) = (0x0a00_0102 + i, MacAddr([2, 0xbb, 0, 0, 0, i as u8]));
            let mut actions = Vec::new();
            let id = self
                .neigh
                .set(oif, gateway, Some(mac), Nud::Permanent, SetMode::Add, Instant::ZERO, &mut actions)
                .map_err(|error| anyhow::anyhow!("neighbour: {error}"))?;
            let spec =
                NextHopSpec::Unicast { oif, gateway: Some((gateway, id)), mtu: 1500, prefsrc: 0x0a00_0101 };
            ids.push(self.hops.acquire(&spec, &self.shared.qsbr)?.0);
        }
        Ok(ids)
    }

    fn measure(&mut self, options: &Options) -> Report {
        self.forward(Duration::from_millis(50));
        self.generate(Duration::from_millis(20));
        let (mut totals, mut generators, mut nets) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..options.rounds {
            let generator = self.generate(options.slice);
            let total = self.forward(options.slice);
            generators.push(generator);
            totals.push(total);
            nets.push(total - generator);
        }
        let stages = if options.stages { self.stages(options.slice * 2) } else { BTreeMap::new() };
        let ledger = self.shared.ledger();
        Report {
            case: options.case.name(),
            hugepages: false,
            tsc_hz: tsc_hz(),
            total: Spread::of(totals),
            generator: Spread::of(generators),
            cycles_per_packet: Spread::of(nets),
            stages,
            packets: ledger.tx,
            dropped: ledger.dropped,
            load_seconds: 0.0,
            routes: 0,
        }
    }

    /// Puts these functions at the hooks.
    pub(super) fn set_hooks(&mut self, hooks: Hooks) {
        let next = self.shared.generation() + 1;
        drop(self.shared.publish(snapshot(next, false, self.vlans).with_hooks(hooks)));
    }

    /// The router's own loop for `slice`; cycles of CPU time a packet.
    pub(super) fn forward(&mut self, slice: Duration) -> f64 {
        forward(&mut self.worker, slice)
    }

    /// Receiving and freeing, nothing else.
    fn generate(&mut self, slice: Duration) -> f64 {
        let mut list = SkbList::new();
        let mut packets = 0;
        let end = rdtsc() + cycles(slice);
        let cpu = thread_cpu_time_ns();
        while rdtsc() < end {
            for queue in &mut self.worker.rx {
                packets += queue.rx_burst(&mut list) as u64;
                list.free_all();
            }
        }
        per_packet(thread_cpu_time_ns() - cpu, packets)
    }

    fn stages(&mut self, slice: Duration) -> BTreeMap<&'static str, f64> {
        drop(self.shared.publish(snapshot(2, true, self.vlans)));
        let read = |shared: &Shared| -> Vec<(u64, u64)> {
            let cells = shared.cells(0);
            Node::ALL.iter().map(|n| (cells.node(*n).packets.get(), cells.node(*n).cycles.get())).collect()
        };
        let before = read(&self.shared);
        self.forward(slice);
        let after = read(&self.shared);
        let mut stages = BTreeMap::new();
        for ((node, before), after) in Node::ALL.iter().zip(before).zip(after) {
            let (packets, cycles) = (after.0 - before.0, after.1 - before.1);
            if packets > 0 && cycles > 0 {
                stages.insert(node.name(), cycles as f64 / packets as f64);
            }
        }
        drop(self.shared.publish(snapshot(3, false, self.vlans)));
        stages
    }
}

/// An lcore's own loop for `slice`; cycles of CPU time a packet.
pub(super) fn forward(worker: &mut Worker, slice: Duration) -> f64 {
    let received = |worker: &Worker| worker.shared.cells(worker.id).rx.get();
    let before = received(worker);
    let end = rdtsc() + cycles(slice);
    let cpu = thread_cpu_time_ns();
    worker.run_while(|tsc| tsc < end);
    per_packet(thread_cpu_time_ns() - cpu, received(worker) - before)
}

fn cycles(duration: Duration) -> u64 {
    (duration.as_secs_f64() * tsc_hz() as f64) as u64
}

fn per_packet(cpu_ns: u64, packets: u64) -> f64 {
    cpu_ns as f64 * tsc_hz() as f64 / 1e9 / packets as f64
}

/// A port's device; without an address if `addr` is none.
pub(super) fn port_device(ifindex: IfIndex, port: u16, addr: &str) -> NetDevice {
    NetDevice {
        ifindex,
        name: format!("port{port}"),
        kind: DeviceKind::Port(PortId(port)),
        mac: ROUTER_MAC,
        mtu: 1500,
        up: true,
        carrier: true,
        addresses: addr.parse().map(InterfaceAddress::new).into_iter().collect(),
        ..NetDevice::absent()
    }
}

fn snapshot(generation: u64, stage_timing: bool, vlans: Vlans) -> Snapshot {
    let vlan = |vid: u16, real_dev: IfIndex| NetDevice {
        ifindex: IfIndex(vid),
        name: format!("vlan{vid}"),
        kind: DeviceKind::Vlan,
        addresses: Vec::new(),
        vlan: Some(Arc::new(Vlan {
            real_dev,
            proto: VlanProto::Dot1q,
            vid,
            reorder_hdr: true,
            ingress: [0; 8],
            egress: Vec::new(),
        })),
        ..port_device(real_dev, 0, "10.0.0.1/24")
    };
    let devices =
        [NetDevice::loopback(), port_device(IN, 0, "10.0.0.1/24"), port_device(OUT, 1, "10.0.1.1/24")]
            .into_iter()
            .chain(vlans.rx_vids().map(|vid| vlan(vid, IN)))
            .chain(vlans.tx_vids().map(|vid| vlan(vid, OUT)));
    Snapshot::new(generation, devices, Sysctl::default(), stage_timing)
}

/// The devices packets leave by. That of a VLAN has its identifier for a number.
fn ways_out(vlans: Vlans) -> Vec<IfIndex> {
    match vlans.tx {
        0 => vec![OUT],
        _ => vlans.tx_vids().map(IfIndex).collect(),
    }
}
