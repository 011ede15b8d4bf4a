//! What a port lets through and what it takes out of frames: VLANs and further hardware addresses.

use super::Port;
use crate::error::Error;

impl Port {
    /// Takes 802.1Q tags out of received frames and puts them beside the data, or leaves them in.
    ///
    /// # Errors
    /// [`Error::Port`], unsupported where [`PortInfo::strips_vlan`](crate::PortInfo::strips_vlan) is false, and with
    /// net_af_packet, which wants to know when it is opened.
    pub fn set_vlan_strip(&self, on: bool) -> Result<(), Error> {
        self.set_vlan_offload("set VLAN stripping", dpdk_sys::SKIFF_VLAN_STRIP_OFFLOAD as i32, on)
    }

    /// Receives only the VLANs named by [`vlan_filter`](Self::vlan_filter), or all.
    ///
    /// # Errors
    /// [`Error::Port`], unsupported where [`PortInfo::filters_vlan`](crate::PortInfo::filters_vlan) is false.
    pub fn set_vlan_filter(&self, on: bool) -> Result<(), Error> {
        self.set_vlan_offload("set VLAN filtering", dpdk_sys::SKIFF_VLAN_FILTER_OFFLOAD as i32, on)
    }

    /// Lets a VLAN through the filter, or no more. The filter must be on.
    ///
    /// # Errors
    /// [`Error::Port`].
    pub fn vlan_filter(&self, vid: u16, on: bool) -> Result<(), Error> {
        self.inner.control("filter by VLAN", |id| {
            // SAFETY: the port exists.
            unsafe { dpdk_sys::rte_eth_dev_vlan_filter(id, vid, i32::from(on)) }
        })
    }

    /// Receives frames for this hardware address too.
    ///
    /// # Errors
    /// [`Error::Port`], often unsupported or full: the way out is
    /// [`set_promiscuous`](Self::set_promiscuous).
    pub fn add_mac(&self, mac: [u8; 6]) -> Result<(), Error> {
        let mut address = dpdk_sys::rte_ether_addr { addr_bytes: mac };
        self.inner.control("add a MAC address", |id| {
            // SAFETY: the port exists; the address is only read. Pool 0 is all there is without virtualisation.
            unsafe { dpdk_sys::rte_eth_dev_mac_addr_add(id, &mut address, 0) }
        })
    }

    /// No longer does. One that was not added is none of the device's business.
    ///
    /// # Errors
    /// [`Error::Port`].
    pub fn remove_mac(&self, mac: [u8; 6]) -> Result<(), Error> {
        let mut address = dpdk_sys::rte_ether_addr { addr_bytes: mac };
        self.inner.control("remove a MAC address", |id| {
            // SAFETY: the port exists; the address is only read.
            unsafe { dpdk_sys::rte_eth_dev_mac_addr_remove(id, &mut address) }
        })
    }

    fn set_vlan_offload(&self, what: &'static str, bit: i32, on: bool) -> Result<(), Error> {
        self.inner.control(what, |id| {
            // SAFETY: the port exists.
            let now = unsafe { dpdk_sys::rte_eth_dev_get_vlan_offload(id) };
            let mask = if on { now | bit } else { now & !bit };
            // SAFETY: the port exists.
            if now < 0 { now } else { unsafe { dpdk_sys::rte_eth_dev_set_vlan_offload(id, mask) } }
        })
    }
}
