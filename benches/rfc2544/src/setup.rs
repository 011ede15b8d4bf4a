//! Brings up links, generator and router, and takes them down again in the right order.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use skiff_pmd::{Eal, EalConfig, Hugepages, Pool, PoolConfig, Port, PortConfig, PortId, RxQueue, TxQueue};
use tempfile::TempDir;

use crate::cli::{Args, Dut, Link, Pages, Role, Source};
use crate::dut::{Router, Skiff};
use crate::interrupt::sleep;
use crate::lab::{A, B, Lab, Side, System, parse_mac};
use crate::links::Ends;
use crate::machine::version_of;
use crate::netns::Cables;
use crate::own::{Lane, Own, WhenFull};
use crate::testpmd::{self, Flood, Testpmd};
use crate::trafgen::Trafgen;
use crate::trial::Generator;

/// Packets the generator has: more than its rings hold. Shared memory has copies, not these.
const MBUFS: u32 = 16_383;
/// Memory for them, MiB.
const MEMORY_MIB: u32 = 128;
/// How long links may take to come up.
const LINK_LIMIT: Duration = Duration::from_secs(30);
/// What a link takes from up to working: a far end's port may only just have been started.
const SETTLE: Duration = Duration::from_millis(500);

/// Everything that runs. Fields are dropped in order: the router first, the cables last.
pub struct Bench {
    router: Router,
    generator: Box<dyn Generator>,
    ports: Option<Ports>,
    _cables: Option<Cables>,
    _dir: TempDir,
}

impl Bench {
    /// What measures and what is measured.
    pub fn parts(&mut self) -> (&mut dyn Generator, &mut Router) {
        (self.generator.as_mut(), &mut self.router)
    }

    /// Whether the generator's packets are in hugepages; `None` if it is another program.
    pub fn uses_hugepages(&self) -> Option<bool> {
        self.ports.as_ref().map(|ports| ports.eal.uses_hugepages())
    }
}

/// Ports of this program.
struct Ports {
    ports: Vec<Port>,
    eal: Eal,
}

/// Brings up what was asked for.
///
/// # Errors
/// The first thing that does not come up.
pub fn start(args: &Args) -> Result<Bench> {
    let dir = tempfile::Builder::new().prefix("rfc2544-").tempdir()?;
    let cables = (args.link == Link::AfPacket && args.dut != Dut::None).then(Cables::lay).transpose()?;
    let lab = lab(args)?;
    let ends = ends(args, &lab, dir.path())?;
    let prefix =
        cables.as_ref().map_or_else(String::new, |cables| format!("ip netns exec {}", cables.router()));
    let make_generator = || generator(args, &lab, &ends, dir.path());
    let make_router = || router(args, &lab, &ends, &prefix, dir.path());
    // Who listens must be there before who connects.
    let (router, (mut generator, ports)) = if args.link == Link::Memif && args.memif_role == Role::Server {
        let router = make_router()?;
        (router, make_generator()?)
    } else {
        let generator = make_generator()?;
        (make_router()?, generator)
    };
    match (&mut generator, &ports) {
        (Made::Flood(testpmd), _) => wait_for_testpmd_links(testpmd)?,
        (_, Some(ports)) => wait_for_links(&ports.ports)?,
        _ => {}
    }
    sleep(SETTLE)?;
    let generator: Box<dyn Generator> = match generator {
        Made::Own(own) => Box::new(own),
        Made::Flood(testpmd) => Box::new(Flood::new(testpmd)),
        Made::Trafgen(trafgen) => Box::new(trafgen),
    };
    Ok(Bench { router, generator, ports, _cables: cables, _dir: dir })
}

/// The configuration skiff would get, or a foreign router needs.
///
/// # Errors
/// If a file named on the command line cannot be read.
pub fn printed_config(args: &Args) -> Result<String> {
    let lab = lab(args)?;
    let ends = ends(args, &lab, Path::new("/tmp"))?;
    config(args, &lab, &ends)
}

/// The router's version.
pub fn dut_version(args: &Args) -> String {
    match args.dut {
        Dut::Skiff => version_of(&args.skiff.display().to_string(), None),
        Dut::Testpmd => version_of("testpmd", Some("dpdk-dev")),
        Dut::None => "unknown".to_owned(),
    }
}

fn lab(args: &Args) -> Result<Lab> {
    let side = |mut side: Side, mac: &Option<String>| -> Result<Side> {
        let Some(mac) = mac else { return Ok(side) };
        side.router_mac = parse_mac(mac).map_err(anyhow::Error::msg)?;
        Ok(side)
    };
    if args.generator == Source::Testpmd {
        let mut first = A;
        first.router_mac = testpmd::FLOWGEN_DESTINATION;
        return Ok(Lab { sides: [first, B], flows: args.flows, routes: args.routes, vlan: None });
    }
    let sides = [side(A, &args.mac_a)?, side(B, &args.mac_b)?];
    Ok(Lab { sides, flows: args.flows, routes: args.routes, vlan: args.vlan })
}

fn ends(args: &Args, lab: &Lab, dir: &Path) -> Result<Ends> {
    match (&args.port_a, &args.port_b) {
        (Some(a), Some(b)) => {
            // Nobody knows but the user, who puts them in.
            let router = ["pci:0000:01:00.0", "pci:0000:01:00.1"].map(str::to_owned);
            Ok(Ends { generator: [a.clone(), b.clone()], router })
        }
        _ => {
            let ends =
                Ends::of(args.link, dir, args.ring, args.memif_role, lab.sides.map(|side| side.router_mac))?;
            Ok(Ends { router: ends.router.map(|device| format!("vdev:{device}")), ..ends })
        }
    }
}

fn config(args: &Args, lab: &Lab, ends: &Ends) -> Result<String> {
    let extra = match &args.config_extra {
        Some(path) => fs::read_to_string(path).with_context(|| path.display().to_string())?,
        None => String::new(),
    };
    let hugepages = match args.hugepages {
        Pages::Prefer => "prefer",
        Pages::Require => "require",
        Pages::Off => "off",
    };
    let system = System { cpu: args.dut_cpu, memory: args.memory.clone(), hugepages };
    Ok(lab.skiff_config(&system, &ends.router, &extra))
}

fn router(args: &Args, lab: &Lab, ends: &Ends, prefix: &str, dir: &Path) -> Result<Router> {
    match args.dut {
        Dut::None => Ok(Router::Foreign),
        Dut::Skiff => {
            let config = config(args, lab, ends)?;
            Ok(Router::Skiff(Skiff::start(&args.skiff, &config, prefix, dir)?))
        }
        Dut::Testpmd => {
            let name = format!("rfc2544-dut-{}", std::process::id());
            let setup = testpmd_setup(args, &name, &ends.router, args.dut_cpu, args.gen_cpu, prefix, dir);
            let app = format!("--forward-mode={} --auto-start", args.testpmd_mode);
            Ok(Router::Testpmd(Testpmd::start(&setup, &app)?))
        }
    }
}

fn testpmd_setup<'a>(
    args: &Args,
    name: &'a str,
    devices: &'a [String; 2],
    cpu: u16,
    main_cpu: u16,
    prefix: &'a str,
    dir: &'a Path,
) -> testpmd::Setup<'a> {
    let hugepages = match args.hugepages {
        Pages::Off => false,
        Pages::Require => true,
        Pages::Prefer => free_hugepages() >= 128,
    };
    testpmd::Setup { name, devices, cpu, main_cpu, hugepages, prefix, dir }
}

fn free_hugepages() -> u64 {
    let text = fs::read_to_string("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages");
    text.unwrap_or_default().trim().parse().unwrap_or(0)
}

/// A generator, before its links are up.
enum Made {
    Own(Own),
    Flood(Testpmd),
    Trafgen(Trafgen),
}

fn generator(args: &Args, lab: &Lab, ends: &Ends, dir: &Path) -> Result<(Made, Option<Ports>)> {
    match args.generator {
        Source::Own => {
            let (own, ports) = own(args, lab, &ends.generator)?;
            Ok((Made::Own(own), Some(ports)))
        }
        Source::Testpmd => {
            let name = format!("rfc2544-gen-{}", std::process::id());
            let setup = testpmd_setup(args, &name, &ends.generator, args.gen_cpu, args.dut_cpu, "", dir);
            let size = args.sizes.first().copied().unwrap_or_default();
            Ok((Made::Flood(Testpmd::start(&setup, &Flood::app(lab.flows, size))?), None))
        }
        Source::Trafgen => {
            let flows = lab.flows(lab.sides[0], lab.sides[1]);
            Ok((Made::Trafgen(Trafgen::new(flows, args.gen_cpu, dir.to_owned())), None))
        }
    }
}

fn own(args: &Args, lab: &Lab, devices: &[String; 2]) -> Result<(Own, Ports)> {
    let pci: Vec<String> =
        devices.iter().filter_map(|device| device.strip_prefix("pci:")).map(Into::into).collect();
    let eal = Eal::init(EalConfig {
        program: "rfc2544".to_owned(),
        memory_mib: MEMORY_MIB,
        hugepages: match args.hugepages {
            Pages::Prefer => Hugepages::Prefer,
            Pages::Require => Hugepages::Require,
            Pages::Off => Hugepages::Off,
        },
        main_cpu: None,
        vdevs: Vec::new(),
        pci_allow: pci,
        file_prefix: format!("rfc2544-{}", std::process::id()),
        extra_args: Vec::new(),
    })?;
    let wanted = PoolConfig { name: "generator", mbufs: MBUFS, cache: 512, data_room: 2048, socket: None };
    let pool = Pool::create(&eal, &wanted)?;
    let (a, mut a_rx, mut a_tx) = open(args, &eal, &devices[0], &pool)?;
    let (b, mut b_rx, mut b_tx) = open(args, &eal, &devices[1], &pool)?;
    let lane = |tx: &mut Vec<TxQueue>, rx: &mut Vec<RxQueue>, from: Side, to: Side| -> Result<Lane> {
        let (tx, rx) = (tx.pop().context("no transmit queue")?, rx.pop().context("no receive queue")?);
        Ok(Lane { tx, rx, flows: lab.flows(from, to) })
    };
    let mut lanes = vec![lane(&mut a_tx, &mut b_rx, lab.sides[0], lab.sides[1])?];
    if args.bidirectional {
        lanes.push(lane(&mut b_tx, &mut a_rx, lab.sides[1], lab.sides[0])?);
    }
    // In shared memory the ring that is full is the router's.
    let shared = args.dut != Dut::None && args.link != Link::AfPacket;
    let when_full = if shared { WhenFull::Lose } else { WhenFull::Wait };
    Ok((Own::new(lanes, pool, when_full, Some(args.gen_cpu)), Ports { ports: vec![a, b], eal }))
}

type Opened = (Port, Vec<RxQueue>, Vec<TxQueue>);

fn open(args: &Args, eal: &Eal, device: &str, pool: &Pool) -> Result<Opened> {
    let id = match device.strip_prefix("pci:") {
        Some(address) => {
            let named = eal.port_names().into_iter().find(|(_, name)| name == address);
            named.with_context(|| format!("{device}: no driver has taken it (is it bound to vfio-pci?)"))?.0
        }
        None => eal.attach_vdev(device.strip_prefix("vdev:").unwrap_or(device))?,
    };
    let ring = args.ring.min(1024) as u16;
    // Promiscuous, because not every driver can take the address that the router sends to.
    let config = PortConfig { rx_desc: ring, tx_desc: ring, promiscuous: true, ..PortConfig::default() };
    Ok(Port::open(eal, PortId(id), device, &config, pool)?)
}

fn wait_for_links(ports: &[Port]) -> Result<()> {
    let deadline = Instant::now() + LINK_LIMIT;
    while let Some(port) = ports.iter().find(|port| !port.link().up) {
        ensure!(Instant::now() < deadline, "{}: the link is not up after {LINK_LIMIT:?}", port.name());
        sleep(Duration::from_millis(20))?;
    }
    Ok(())
}

fn wait_for_testpmd_links(testpmd: &mut Testpmd) -> Result<()> {
    let deadline = Instant::now() + LINK_LIMIT;
    for port in 0..2 {
        while !testpmd.tell(&format!("show port info {port}"))?.contains("Link status: up") {
            if Instant::now() > deadline {
                bail!("testpmd's port {port}: the link is not up after {LINK_LIMIT:?}");
            }
            sleep(Duration::from_millis(100))?;
        }
    }
    Ok(())
}
