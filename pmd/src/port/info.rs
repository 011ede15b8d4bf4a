//! What a port says about itself.

use std::ffi::CStr;

use bitflags::bitflags;

use super::{Port, device_name, text};
use crate::eal;
use crate::error::Error;
use crate::log;

bitflags! {
    /// What a device can do, or does, to received packets. Other bits are DPDK's `RTE_ETH_RX_OFFLOAD_*`.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct RxOffload: u64 {
        /// Takes out VLAN tags.
        const VLAN_STRIP = dpdk_sys::SKIFF_RXO_VLAN_STRIP;
        /// Checks IPv4 header checksums.
        const IPV4_CKSUM = dpdk_sys::SKIFF_RXO_IPV4_CKSUM;
        /// Checks UDP checksums.
        const UDP_CKSUM = dpdk_sys::SKIFF_RXO_UDP_CKSUM;
        /// Checks TCP checksums.
        const TCP_CKSUM = dpdk_sys::SKIFF_RXO_TCP_CKSUM;
        /// Joins TCP segments.
        const TCP_LRO = dpdk_sys::SKIFF_RXO_TCP_LRO;
        /// Takes out two VLAN tags.
        const QINQ_STRIP = dpdk_sys::SKIFF_RXO_QINQ_STRIP;
        /// Filters by VLAN.
        const VLAN_FILTER = dpdk_sys::SKIFF_RXO_VLAN_FILTER;
        /// Spreads large packets over several buffers.
        const SCATTER = dpdk_sys::SKIFF_RXO_SCATTER;
        /// Stamps the time of arrival.
        const TIMESTAMP = dpdk_sys::SKIFF_RXO_TIMESTAMP;
        /// Delivers the RSS hash.
        const RSS_HASH = dpdk_sys::SKIFF_RXO_RSS_HASH;

        const _ = !0;
    }

    /// What a device can do, or does, to sent packets. Other bits are DPDK's `RTE_ETH_TX_OFFLOAD_*`.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct TxOffload: u64 {
        /// Inserts a VLAN tag.
        const VLAN_INSERT = dpdk_sys::SKIFF_TXO_VLAN_INSERT;
        /// Computes IPv4 header checksums.
        const IPV4_CKSUM = dpdk_sys::SKIFF_TXO_IPV4_CKSUM;
        /// Computes UDP checksums.
        const UDP_CKSUM = dpdk_sys::SKIFF_TXO_UDP_CKSUM;
        /// Computes TCP checksums.
        const TCP_CKSUM = dpdk_sys::SKIFF_TXO_TCP_CKSUM;
        /// Cuts TCP segments.
        const TCP_TSO = dpdk_sys::SKIFF_TXO_TCP_TSO;
        /// Inserts two VLAN tags.
        const QINQ_INSERT = dpdk_sys::SKIFF_TXO_QINQ_INSERT;
        /// Sends packets of several buffers.
        const MULTI_SEGS = dpdk_sys::SKIFF_TXO_MULTI_SEGS;
        /// Frees sent packets the fast way.
        const MBUF_FAST_FREE = dpdk_sys::SKIFF_TXO_MBUF_FAST_FREE;

        const _ = !0;
    }
}

/// A port's nature and set-up.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PortInfo {
    /// The driver's name, as in `net_e1000_igb`.
    pub driver: String,
    /// The device's name on its bus, as in `0000:00:04.0` or `net_null0`.
    pub device: String,
    /// The kernel interface behind it (its index), for drivers that have one.
    pub if_index: Option<u32>,
    /// Receive queues the driver can have.
    pub max_rx_queues: u16,
    /// Transmit queues the driver can have.
    pub max_tx_queues: u16,
    /// Receive queues it has.
    pub rx_queues: u16,
    /// Transmit queues it has.
    pub tx_queues: u16,
    /// Descriptors of each receive queue.
    pub rx_desc: u16,
    /// Descriptors of each transmit queue.
    pub tx_desc: u16,
    /// Smallest MTU.
    pub min_mtu: u16,
    /// Largest MTU.
    pub max_mtu: u16,
    /// What it can do to received packets.
    pub rx_offload_capa: RxOffload,
    /// What it can do to sent packets.
    pub tx_offload_capa: TxOffload,
    /// What it does to received packets.
    pub rx_offloads: RxOffload,
    /// What it does to sent packets that ask for it.
    pub tx_offloads: TxOffload,
    /// Whether receive interrupts are set up.
    pub rx_interrupts: bool,
    /// Its NUMA node, -1 if not known.
    pub numa_node: i32,
    /// Bytes of the largest frame it receives, checksum included, as far as the driver tells.
    pub max_rx_frame: u32,
    /// Hardware addresses it can filter by.
    pub max_mac_addrs: u32,
}

impl PortInfo {
    /// It can take 802.1Q tags out of received frames ([`Port::set_vlan_strip`], where it can be switched).
    pub fn strips_vlan(&self) -> bool {
        self.rx_offload_capa.contains(RxOffload::VLAN_STRIP)
    }

    /// It takes out tags of either protocol from the start, and does not tell which: the kernel has done it before the
    /// driver sees the frame.
    pub fn strips_any_vlan(&self) -> bool {
        self.rx_offloads.contains(RxOffload::VLAN_STRIP)
    }

    /// It puts in the 802.1Q tag a packet asks for.
    pub fn inserts_vlan(&self) -> bool {
        self.tx_offloads.contains(TxOffload::VLAN_INSERT)
    }

    /// It can filter by VLAN ([`Port::set_vlan_filter`]).
    pub fn filters_vlan(&self) -> bool {
        self.rx_offload_capa.contains(RxOffload::VLAN_FILTER)
    }
}

/// The state of a link.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Link {
    /// Whether there is a far end. Drivers of kernel interfaces may always say so.
    pub up: bool,
    /// Mbit/s; `u32::MAX` when not known.
    pub speed_mbps: u32,
    /// Both directions at once.
    pub full_duplex: bool,
}

/// A port's counters since it was started or they were reset.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PortStats {
    /// Packets received.
    pub ipackets: u64,
    /// Bytes received.
    pub ibytes: u64,
    /// Packets sent.
    pub opackets: u64,
    /// Bytes sent.
    pub obytes: u64,
    /// Packets dropped because the receive queues were full.
    pub imissed: u64,
    /// Packets received wrongly.
    pub ierrors: u64,
    /// Packets not sent.
    pub oerrors: u64,
    /// Receive buffers that could not be had.
    pub rx_nombuf: u64,
    /// Packets received, by queue; as far as the driver counts (16 queues at most).
    pub q_ipackets: Vec<u64>,
    /// Packets sent, by queue.
    pub q_opackets: Vec<u64>,
}

impl Port {
    /// What it is and how it is set up.
    pub fn info(&self) -> PortInfo {
        let _control = eal::control();
        let (id, setup) = (self.inner.id, &self.setup);
        let info = device_info(id).unwrap_or_default();
        PortInfo {
            driver: driver_name(&info),
            device: device_name(id).unwrap_or_default(),
            if_index: Some(info.if_index).filter(|&index| index != 0),
            max_rx_queues: info.max_rx_queues,
            max_tx_queues: info.max_tx_queues,
            rx_queues: setup.rx_queues,
            tx_queues: setup.tx_queues,
            rx_desc: setup.rx_desc,
            tx_desc: setup.tx_desc,
            min_mtu: info.min_mtu,
            max_mtu: info.max_mtu,
            rx_offload_capa: RxOffload::from_bits_retain(info.rx_offload_capa),
            tx_offload_capa: TxOffload::from_bits_retain(info.tx_offload_capa),
            rx_offloads: setup.rx_offloads,
            tx_offloads: setup.tx_offloads,
            rx_interrupts: setup.rx_interrupts,
            // SAFETY: the port exists.
            numa_node: unsafe { dpdk_sys::rte_eth_dev_socket_id(id) },
            max_rx_frame: info.max_rx_pktlen,
            max_mac_addrs: info.max_mac_addrs,
        }
    }

    /// The link's state as the driver knows it now, without waiting. Down if it cannot be had.
    pub fn link(&self) -> Link {
        let _control = eal::control();
        let (mut speed_mbps, mut up, mut full_duplex) = (u32::MAX, 0, 0);
        let id = self.inner.id;
        // SAFETY: the port exists; three places for the answer, left alone on failure.
        unsafe { dpdk_sys::skiff_link_get(id, &mut speed_mbps, &mut up, &mut full_duplex) };
        Link { up: up != 0, speed_mbps, full_duplex: full_duplex != 0 }
    }

    /// The counters.
    ///
    /// # Errors
    /// [`Error::Port`] if the driver has none.
    pub fn stats(&self) -> Result<PortStats, Error> {
        let mut raw = dpdk_sys::rte_eth_stats::default();
        self.inner.control("read the counters", |id| {
            // SAFETY: the port exists; a place for the answer.
            unsafe { dpdk_sys::rte_eth_stats_get(id, &mut raw) }
        })?;
        let queues = |counts: &[u64], queues: u16| counts.iter().copied().take(queues.into()).collect();
        Ok(PortStats {
            ipackets: raw.ipackets,
            ibytes: raw.ibytes,
            opackets: raw.opackets,
            obytes: raw.obytes,
            imissed: raw.imissed,
            ierrors: raw.ierrors,
            oerrors: raw.oerrors,
            rx_nombuf: raw.rx_nombuf,
            q_ipackets: queues(&raw.q_ipackets, self.setup.rx_queues),
            q_opackets: queues(&raw.q_opackets, self.setup.tx_queues),
        })
    }

    /// The driver's own counters by name; empty if it has none.
    pub fn xstats(&self) -> Vec<(String, u64)> {
        let _control = eal::control();
        let id = self.inner.id;
        // SAFETY: without room it only tells how many there are.
        let count = unsafe { dpdk_sys::rte_eth_xstats_get_names(id, std::ptr::null_mut(), 0) };
        let Ok(count) = u32::try_from(count) else { return Vec::new() };
        let mut names = vec![dpdk_sys::rte_eth_xstat_name::default(); count as usize];
        let mut values = vec![dpdk_sys::rte_eth_xstat::default(); count as usize];
        // SAFETY: room for `count` names.
        let named = unsafe { dpdk_sys::rte_eth_xstats_get_names(id, names.as_mut_ptr(), count) };
        // SAFETY: room for `count` values.
        let valued = unsafe { dpdk_sys::rte_eth_xstats_get(id, values.as_mut_ptr(), count) };
        // More than there is room for means nothing was written.
        if named < 0 || valued < 0 || named as u32 > count || valued as u32 > count {
            return Vec::new();
        }
        let named = &names[..named as usize];
        let values = values.iter().take(valued as usize);
        values.filter_map(|stat| Some((text(&named.get(stat.id as usize)?.name), stat.value))).collect()
    }

    /// Sets the counters to zero, the driver's own included.
    ///
    /// # Errors
    /// [`Error::Port`] if the driver cannot.
    pub fn reset_stats(&self) -> Result<(), Error> {
        self.inner.control("reset the counters", |id| {
            // SAFETY: the port exists.
            unsafe { dpdk_sys::rte_eth_stats_reset(id) }
        })?;
        let result = self.inner.control("reset the driver's counters", |id| {
            // SAFETY: the port exists.
            unsafe { dpdk_sys::rte_eth_xstats_reset(id) }
        });
        // Not having any of its own is no failure.
        result.or_else(|why| if why.is_unsupported() { Ok(()) } else { Err(why) })
    }
}

/// The driver's description of the port; the error is its negative answer.
pub(super) fn device_info(id: u16) -> Result<dpdk_sys::rte_eth_dev_info, i32> {
    let mut info = dpdk_sys::rte_eth_dev_info::default();
    log::forget();
    // SAFETY: the port exists; a place for the answer.
    match unsafe { dpdk_sys::rte_eth_dev_info_get(id, &mut info) } {
        0 => Ok(info),
        ret => Err(ret),
    }
}

pub(super) fn driver_name(info: &dpdk_sys::rte_eth_dev_info) -> String {
    if info.driver_name.is_null() {
        return String::new();
    }
    // SAFETY: a NUL-terminated constant of the driver.
    unsafe { CStr::from_ptr(info.driver_name) }.to_string_lossy().into_owned()
}
