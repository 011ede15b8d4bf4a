//! VLAN tags that travel beside the data: what a driver took out of a received frame, or is to put into one it sends.

use dpdk_sys::{SKIFF_RX_VLAN, SKIFF_RX_VLAN_STRIPPED, SKIFF_TX_VLAN};

use super::Pkt;

impl Pkt {
    /// The VLAN tag control information, host order; valid with [`RxFlags::VLAN`](super::RxFlags::VLAN).
    #[inline]
    pub fn vlan_tci(&self) -> u16 {
        self.mbuf().vlan_tci
    }

    /// The outer tag's, host order; valid with [`RxFlags::QINQ`](super::RxFlags::QINQ). Where a tag was put beside
    /// the data by [`set_vlan_tag`](Self::set_vlan_tag) it is that tag's protocol instead.
    #[inline]
    pub fn vlan_tci_outer(&self) -> u16 {
        self.mbuf().vlan_tci_outer
    }

    /// Whether the tag was taken out of the data, by the driver or by [`set_vlan_tag`](Self::set_vlan_tag).
    #[inline]
    pub fn is_vlan_stripped(&self) -> bool {
        self.mbuf().ol_flags & SKIFF_RX_VLAN_STRIPPED != 0
    }

    /// Puts a tag beside the data of a received packet, as a driver does that takes it out: its protocol (TPID) and
    /// control information, host order. Drivers note no protocol.
    #[inline]
    pub fn set_vlan_tag(&mut self, tpid: u16, tci: u16) {
        let mbuf = self.mbuf_mut();
        mbuf.vlan_tci = tci;
        mbuf.vlan_tci_outer = tpid;
        mbuf.ol_flags |= SKIFF_RX_VLAN | SKIFF_RX_VLAN_STRIPPED;
    }

    /// Notes control information without saying that there is a tag.
    #[inline]
    pub fn note_vlan_tci(&mut self, tci: u16) {
        self.mbuf_mut().vlan_tci = tci;
    }

    /// Forgets the tag beside the data of a received packet; its control information stays noted.
    #[inline]
    pub fn clear_vlan_tag(&mut self) {
        self.mbuf_mut().ol_flags &= !(SKIFF_RX_VLAN | SKIFF_RX_VLAN_STRIPPED);
    }

    /// Asks the device to insert an 802.1Q tag when it sends the packet. Only where
    /// [`PortInfo::inserts_vlan`](crate::PortInfo::inserts_vlan) says that it does.
    #[inline]
    pub fn set_tx_vlan(&mut self, tci: u16) {
        let mbuf = self.mbuf_mut();
        mbuf.vlan_tci = tci;
        mbuf.ol_flags |= SKIFF_TX_VLAN;
    }

    /// The control information of the tag the device is to insert.
    #[inline]
    pub fn tx_vlan(&self) -> Option<u16> {
        let mbuf = self.mbuf();
        (mbuf.ol_flags & SKIFF_TX_VLAN != 0).then_some(mbuf.vlan_tci)
    }

    /// Takes that request back.
    #[inline]
    pub fn clear_tx_vlan(&mut self) {
        self.mbuf_mut().ol_flags &= !SKIFF_TX_VLAN;
    }
}
