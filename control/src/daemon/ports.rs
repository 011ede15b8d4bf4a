//! Ports of a configuration: opened, and their queues dealt out to the workers.

use std::collections::BTreeMap;
use std::sync::Arc;

use skiff_dataplane::core::counters::{MAX_PORTS, MAX_QUEUES};
use skiff_dataplane::core::xmit::{TxPath, TxTable};
use skiff_pmd::{Eal, Pool, Port, PortConfig, PortId, Ring, RxQueue};

use crate::config::{Bus, Config, Diagnostic, EalDevice, Interface, Pos};
use crate::router::PortHandle;

/// Packets a hand-off ring holds.
const HANDOFF_RING: u32 = 1024;
/// Packets the ring of an lcore holds.
const LCORE_RING: u32 = 4096;

/// What one worker gets to work with.
#[derive(Default)]
pub struct Share {
    /// Receive queues it polls.
    pub rx: Vec<RxQueue>,
    /// Its ways out.
    pub tx: TxTable,
    /// Rings others use to hand it packets.
    pub handoff: Vec<Arc<Ring>>,
}

impl Share {
    /// All it polls can end its sleep.
    pub fn wakes_by_interrupt(&self) -> bool {
        !self.rx.is_empty() && self.rx.iter().all(RxQueue::supports_interrupt)
    }
}

/// A port that was opened for an interface.
pub struct Opened {
    /// The interface of the configuration.
    pub interface: String,
    /// The port.
    pub handle: PortHandle,
}

/// Opens every port of `config` and deals its queues out among `workers` workers.
///
/// # Errors
/// The first port that cannot be opened, at its place in the file.
pub fn open_all(
    eal: &Eal,
    config: &Config,
    pool: &Pool,
    workers: usize,
    interrupts: bool,
) -> Result<(Vec<Opened>, Vec<Share>), Diagnostic> {
    let by_name: BTreeMap<String, u16> = eal.port_names().into_iter().map(|(id, name)| (name, id)).collect();
    let mut shares: Vec<Share> = (0..workers).map(|_| Share::default()).collect();
    let mut opened = Vec::new();
    let mut next_worker = 0;
    for device in config.eal_devices() {
        let Some(interface) = config.interface(&device.interface) else { continue };
        let at = interface.port().map_or(interface.name.pos, |port| port.device.pos);
        let complain =
            |text: String| config.diagnostic(at, format!("interface \"{}\": {text}", device.interface));
        let id =
            *by_name.get(&device.name).ok_or_else(|| complain(missing(&device, eal.uses_hugepages())))?;
        if usize::from(id) >= MAX_PORTS {
            return Err(complain(format!("more than {MAX_PORTS} ports")));
        }
        let wanted = port_config(interface, workers, interrupts);
        let (port, rx, tx) = Port::open(eal, PortId(id), &device.interface, &wanted, pool)
            .map_err(|error| complain(error.to_string()))?;
        let info = port.info();
        let handle = PortHandle {
            rx_lcores: (next_worker..).map(|worker| worker % workers).take(rx.len()).collect(),
            tx_queues: tx.len() as u16,
            rx_desc: info.rx_desc,
            carrier_changes: 0,
            netdev: netdev(&device.devargs),
            port,
        };
        for queue in rx {
            shares[next_worker % workers].rx.push(queue);
            next_worker += 1;
        }
        deal_tx(eal, id, tx, &mut shares).map_err(|error| complain(error.to_string()))?;
        opened.push(Opened { interface: device.interface.clone(), handle });
    }
    connect(eal, &mut shares)
        .map_err(|error| config.diagnostic(Pos { line: 1, col: 1 }, error.to_string()))?;
    Ok((opened, shares))
}

/// The kernel interface under a device whose driver rides on one and cannot see its link.
fn netdev(devargs: &str) -> Option<String> {
    let (driver, args) = devargs.split_once(',')?;
    let rides = driver.starts_with("net_af_packet") || driver.starts_with("net_af_xdp");
    let iface = args.split(',').find_map(|arg| arg.strip_prefix("iface="))?;
    rides.then(|| iface.to_owned())
}

fn missing(device: &EalDevice, hugepages: bool) -> String {
    match device.bus {
        // DPDK has said so, but in words of its own and in between others.
        Bus::Pci if !hugepages => format!(
            "no poll-mode driver took {}: without an IOMMU it needs hugepages, and there are too few \
             (\"skiff bind --hugepages\" reserves some)",
            device.name
        ),
        Bus::Pci => format!(
            "no poll-mode driver took {} (is it there, and bound? \"skiff bind\" shows it)",
            device.name
        ),
        Bus::Vdev => format!("no driver took {}", device.devargs),
    }
}

fn port_config(interface: &Interface, workers: usize, interrupts: bool) -> PortConfig {
    let port = interface.port();
    PortConfig {
        rx_queues: port.map_or(1, |p| p.rx_queues.value).min(MAX_QUEUES as u16),
        tx_queues: port
            .and_then(|p| p.tx_queues.as_ref())
            .map_or(workers as u16, |q| q.value)
            .min(MAX_QUEUES as u16),
        rx_desc: port.map_or(512, |p| p.rx_desc.value),
        tx_desc: port.map_or(512, |p| p.tx_desc.value),
        mtu: interface.mtu.as_ref().map(|mtu| mtu.value),
        mac: interface.mac.as_ref().map(|mac| mac.value.0),
        promiscuous: interface.promiscuous.value,
        rx_interrupts: interrupts,
        rss: true,
        vlan_insert: true,
        vlan_strip: true,
    }
}

/// Gives each worker a ring of its own, by which the others hand it packets for the queueing disciplines it owns.
fn connect(eal: &Eal, shares: &mut [Share]) -> Result<(), skiff_pmd::Error> {
    if shares.len() < 2 {
        return Ok(());
    }
    let rings = (0..shares.len())
        .map(|worker| Ok(Arc::new(Ring::create(eal, &format!("skiff_lcore{worker}"), LCORE_RING)?)))
        .collect::<Result<Vec<_>, skiff_pmd::Error>>()?;
    for (share, ring) in shares.iter_mut().zip(&rings) {
        share.handoff.push(Arc::clone(ring));
        share.tx.set_lcores(rings.clone());
    }
    Ok(())
}

/// Gives each worker a transmit queue; where there are fewer, the rest hand over by ring to the owner of one.
fn deal_tx(
    eal: &Eal,
    port: u16,
    queues: Vec<skiff_pmd::TxQueue>,
    shares: &mut [Share],
) -> Result<(), skiff_pmd::Error> {
    let owners = queues.len().max(1);
    for (share, queue) in shares.iter_mut().zip(queues) {
        share.tx.set(port, TxPath::Queue(queue));
    }
    let mut rings: BTreeMap<usize, Arc<Ring>> = BTreeMap::new();
    for worker in owners..shares.len() {
        let owner = worker % owners;
        let ring = match rings.get(&owner) {
            Some(ring) => Arc::clone(ring),
            None => {
                let ring = Arc::new(Ring::create(eal, &format!("skiff_tx{port}_{owner}"), HANDOFF_RING)?);
                rings.insert(owner, Arc::clone(&ring));
                shares[owner].handoff.push(Arc::clone(&ring));
                ring
            }
        };
        shares[worker].tx.set(port, TxPath::Handoff(ring));
    }
    Ok(())
}
