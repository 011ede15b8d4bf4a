//! Bringing a device up: configure, set up queues, apply addresses, start.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use dpdk_sys::{rte_eth_conf, rte_eth_dev_info};

use super::info::{RxOffload, TxOffload, device_info, driver_name};
use super::queue::Interrupt;
use super::{PortInner, accept_unfiltered};
use crate::error::Error;
use crate::pool::Pool;
use crate::{eal, log};

/// What is wanted of a port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PortConfig {
    /// Receive queues; at least 1, at most what the driver has.
    pub rx_queues: u16,
    /// Transmit queues; likewise.
    pub tx_queues: u16,
    /// Descriptors of each receive queue; fitted to the driver.
    pub rx_desc: u16,
    /// Descriptors of each transmit queue; fitted to the driver.
    pub tx_desc: u16,
    /// The MTU; `None` leaves the driver's.
    pub mtu: Option<u16>,
    /// The MAC address; `None` leaves the driver's.
    pub mac: Option<[u8; 6]>,
    /// Receive frames for every address.
    pub promiscuous: bool,
    /// Set up receive interrupts, where the driver can.
    pub rx_interrupts: bool,
    /// Spread flows over the receive queues and deliver the hash, where the driver can.
    pub rss: bool,
    /// Leave VLAN tags of sent packets to the driver, where it can put them in.
    pub vlan_insert: bool,
    /// Take VLAN tags out of received frames from the start, where the kernel under the driver has done it already
    /// ([`PortInfo::strips_any_vlan`](crate::PortInfo::strips_any_vlan)) and this cannot be switched later.
    pub vlan_strip: bool,
}

impl Default for PortConfig {
    fn default() -> Self {
        PortConfig {
            rx_queues: 1,
            tx_queues: 1,
            rx_desc: 512,
            tx_desc: 512,
            mtu: None,
            mac: None,
            promiscuous: false,
            rx_interrupts: false,
            rss: true,
            vlan_insert: true,
            vlan_strip: true,
        }
    }
}

/// What the port got.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    pub(super) rx_queues: u16,
    pub(super) tx_queues: u16,
    pub(super) rx_desc: u16,
    pub(super) tx_desc: u16,
    pub(super) rx_offloads: RxOffload,
    pub(super) tx_offloads: TxOffload,
    pub(super) rx_interrupts: bool,
}

/// Ethernet header, two VLAN tags and checksum: what a frame adds to the MTU.
const FRAME_OVERHEAD: u32 = 14 + 2 * 4 + 4;

pub(super) fn set_up(port: &Arc<PortInner>, cfg: &PortConfig, pool: &Pool) -> Result<Setup, Error> {
    let info = device_info(port.id).map_err(|ret| port.refused("describe the device", ret))?;
    if cfg.rx_interrupts {
        // Whether a driver has receive interrupts shows only when it is set up with them.
        if let Ok(setup) = attempt(port, cfg, pool, &info, true) {
            return Ok(setup);
        }
    }
    attempt(port, cfg, pool, &info, false)
}

fn attempt(
    port: &Arc<PortInner>,
    cfg: &PortConfig,
    pool: &Pool,
    info: &rte_eth_dev_info,
    rx_interrupts: bool,
) -> Result<Setup, Error> {
    let mut setup = Setup {
        rx_queues: cfg.rx_queues.clamp(1, info.max_rx_queues.max(1)),
        tx_queues: cfg.tx_queues.clamp(1, info.max_tx_queues.max(1)),
        rx_desc: cfg.rx_desc,
        tx_desc: cfg.tx_desc,
        rx_offloads: rx_offloads(cfg, pool, info),
        tx_offloads: tx_offloads(cfg, info),
        rx_interrupts,
    };
    configure(port, cfg, info, &setup)?;
    port.control("fit the descriptor numbers", |id| {
        let (rx, tx) = (&mut setup.rx_desc, &mut setup.tx_desc);
        // SAFETY: the port is configured; two numbers to change.
        unsafe { dpdk_sys::rte_eth_dev_adjust_nb_rx_tx_desc(id, rx, tx) }
    })?;
    set_up_queues(port, pool, info, &setup)?;
    apply_mtu(port, cfg)?;
    apply_mac(port, cfg)?;
    port.control("start", |id| {
        // SAFETY: the port is configured, and its queues are not given out yet.
        unsafe { dpdk_sys::rte_eth_dev_start(id) }
    })?;
    apply_promiscuous(port, cfg)?;
    Ok(setup)
}

fn rx_offloads(cfg: &PortConfig, pool: &Pool, info: &rte_eth_dev_info) -> RxOffload {
    let mut wanted = RxOffload::IPV4_CKSUM;
    // With these a virtio device also hands over what the sender left for a NIC to finish: TCP and UDP without their
    // checksums, which nobody would put in on the way out. Without them the device finishes the packets itself.
    wanted.set(RxOffload::UDP_CKSUM | RxOffload::TCP_CKSUM, !driver_name(info).contains("virtio"));
    let frame = u32::from(cfg.mtu.unwrap_or(1500)) + FRAME_OVERHEAD;
    wanted.set(RxOffload::SCATTER, frame > u32::from(pool.data_room()));
    wanted.set(RxOffload::RSS_HASH, cfg.rss);
    wanted.set(RxOffload::VLAN_STRIP, cfg.vlan_strip && kernel_strips(info));
    wanted & RxOffload::from_bits_retain(info.rx_offload_capa)
}

/// The kernel under the driver takes tags out in any case. Without stripping the driver puts them back, all as customer
/// tags: a service tag (802.1ad) would not be known for one.
pub(super) fn kernel_strips(info: &rte_eth_dev_info) -> bool {
    driver_name(info) == "net_af_packet"
}

fn tx_offloads(cfg: &PortConfig, info: &rte_eth_dev_info) -> TxOffload {
    let mut wanted = TxOffload::MULTI_SEGS;
    // virtio inserts tags in a step of its own before the burst (rte_eth_tx_prepare), at the cost of doing it here:
    // without that step the tag would be lost.
    let at_once = !driver_name(info).contains("virtio");
    wanted.set(TxOffload::VLAN_INSERT, cfg.vlan_insert && at_once);
    wanted & TxOffload::from_bits_retain(info.tx_offload_capa)
}

/// Configures the device. Some drivers take an MTU only here, others refuse here what they accept later.
fn configure(
    port: &Arc<PortInner>,
    cfg: &PortConfig,
    info: &rte_eth_dev_info,
    setup: &Setup,
) -> Result<(), Error> {
    let mut conf = device_conf(cfg, info, setup);
    let result = configure_with(port, setup, &conf);
    if result.is_err() && conf.rxmode.mtu != 0 {
        conf.rxmode.mtu = 0;
        return configure_with(port, setup, &conf);
    }
    result
}

fn configure_with(port: &Arc<PortInner>, setup: &Setup, conf: &rte_eth_conf) -> Result<(), Error> {
    port.control("configure the device", |id| {
        // SAFETY: the port exists and is stopped; the configuration is copied.
        unsafe { dpdk_sys::rte_eth_dev_configure(id, setup.rx_queues, setup.tx_queues, conf) }
    })
}

fn device_conf(cfg: &PortConfig, info: &rte_eth_dev_info, setup: &Setup) -> rte_eth_conf {
    let mut conf = rte_eth_conf::default();
    conf.rxmode.mtu = u32::from(cfg.mtu.unwrap_or(0));
    conf.rxmode.offloads = setup.rx_offloads.bits();
    conf.txmode.offloads = setup.tx_offloads.bits();
    conf.intr_conf.set_rxq(u32::from(setup.rx_interrupts));
    let hashes = (dpdk_sys::SKIFF_RSS_IP | dpdk_sys::SKIFF_RSS_TCP | dpdk_sys::SKIFF_RSS_UDP)
        & info.flow_type_rss_offloads;
    if cfg.rss && hashes != 0 {
        conf.rxmode.mq_mode = dpdk_sys::SKIFF_MQ_RX_RSS;
        conf.rx_adv_conf.rss_conf.rss_hf = hashes;
    }
    conf
}

fn set_up_queues(
    port: &Arc<PortInner>,
    pool: &Pool,
    info: &rte_eth_dev_info,
    setup: &Setup,
) -> Result<(), Error> {
    // -1, any node, where it is not known.
    // SAFETY: the port exists.
    let node = unsafe { dpdk_sys::rte_eth_dev_socket_id(port.id) } as u32;
    let mut rx = info.default_rxconf;
    rx.offloads = setup.rx_offloads.bits();
    for queue in 0..setup.rx_queues {
        port.control("set up a receive queue", |id| {
            // SAFETY: the queue is within the configured number; the pool lives as long as the port.
            unsafe { dpdk_sys::rte_eth_rx_queue_setup(id, queue, setup.rx_desc, node, &rx, pool.as_ptr()) }
        })?;
    }
    let mut tx = info.default_txconf;
    tx.offloads = setup.tx_offloads.bits();
    for queue in 0..setup.tx_queues {
        port.control("set up a transmit queue", |id| {
            // SAFETY: the queue is within the configured number.
            unsafe { dpdk_sys::rte_eth_tx_queue_setup(id, queue, setup.tx_desc, node, &tx) }
        })?;
    }
    Ok(())
}

fn apply_mtu(port: &Arc<PortInner>, cfg: &PortConfig) -> Result<(), Error> {
    match cfg.mtu {
        Some(wanted) if wanted != mtu(port) => port.set_mtu(wanted),
        _ => Ok(()),
    }
}

fn apply_mac(port: &Arc<PortInner>, cfg: &PortConfig) -> Result<(), Error> {
    let Some(wanted) = cfg.mac.filter(|&wanted| wanted != mac(port)) else { return Ok(()) };
    let mut address = dpdk_sys::rte_ether_addr { addr_bytes: wanted };
    port.control("set the MAC address", |id| {
        // SAFETY: the port exists; the address is only read.
        unsafe { dpdk_sys::rte_eth_dev_default_mac_addr_set(id, &mut address) }
    })
}

/// A driver that cannot be told not to be promiscuous is left as it is.
fn apply_promiscuous(port: &Arc<PortInner>, cfg: &PortConfig) -> Result<(), Error> {
    let result = port.set_promiscuous(cfg.promiscuous);
    accept_unfiltered(true, result)
}

pub(super) fn mtu(port: &PortInner) -> u16 {
    let kernels = port.kernel_mtu.load(Ordering::Relaxed);
    if kernels != 0 {
        return kernels;
    }
    let mut mtu = 0;
    // SAFETY: the port exists; a place for the answer.
    unsafe { dpdk_sys::rte_eth_dev_get_mtu(port.id, &mut mtu) };
    mtu
}

pub(super) fn mac(port: &PortInner) -> [u8; 6] {
    let mut address = dpdk_sys::rte_ether_addr::default();
    // SAFETY: the port exists; a place for the answer.
    unsafe { dpdk_sys::rte_eth_macaddr_get(port.id, &mut address) };
    address.addr_bytes
}

/// Whether, and how, a queue of the started port can wake a sleeper.
pub(super) fn interrupt_of(port: &PortInner, queue: u16) -> Interrupt {
    let _control = eal::control();
    log::forget();
    // SAFETY: the port is started and has the queue.
    if unsafe { dpdk_sys::rte_eth_dev_rx_intr_ctl_q_get_fd(port.id, queue) } < 0 {
        return Interrupt::Never;
    }
    // SAFETY: as above.
    match -unsafe { dpdk_sys::rte_eth_dev_rx_intr_enable(port.id, queue) } {
        0 => (),
        libc::ENOTSUP => return Interrupt::Always,
        _ => return Interrupt::Never,
    }
    // SAFETY: as above.
    unsafe { dpdk_sys::rte_eth_dev_rx_intr_disable(port.id, queue) };
    Interrupt::Switched
}
