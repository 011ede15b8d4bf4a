//! A packet as on the wire: with the VLAN tag that travels beside its data.

use dpdk_sys::{SKIFF_RX_VLAN_STRIPPED, SKIFF_TX_VLAN};

use super::Pkt;

/// Where a tag is in a frame: behind the addresses.
const TAG_OFFSET: usize = 12;
/// Protocol of a tag, unless another is noted.
const CUSTOMER_TAG: u16 = 0x8100;
/// Protocol of a service tag.
const SERVICE_TAG: u16 = 0x88a8;

impl Pkt {
    /// The four bytes of the VLAN tag beside the data: one the device is to insert, or one that was taken out. It is an
    /// 802.1Q tag unless [`set_vlan_tag`](Self::set_vlan_tag) has noted 802.1ad.
    #[inline]
    pub fn tag_beside(&self) -> Option<[u8; 4]> {
        let mbuf = self.mbuf();
        if mbuf.ol_flags & (SKIFF_TX_VLAN | SKIFF_RX_VLAN_STRIPPED) == 0 {
            return None;
        }
        let noted = mbuf.ol_flags & SKIFF_TX_VLAN == 0 && mbuf.vlan_tci_outer == SERVICE_TAG;
        let [a, b] = if noted { SERVICE_TAG } else { CUSTOMER_TAG }.to_be_bytes();
        let [c, d] = mbuf.vlan_tci.to_be_bytes();
        Some([a, b, c, d])
    }

    /// Length of the frame on the wire, bytes: without checksum, with the tag beside the data.
    #[inline]
    pub fn wire_len(&self) -> usize {
        self.len() + self.tag_beside().map_or(0, |tag| tag.len())
    }

    /// Copies the frame as on the wire from `offset` on into `buf`, as far as both reach. Returns the bytes copied.
    pub fn copy_wire(&self, offset: usize, buf: &mut [u8]) -> usize {
        let tag = self.tag_beside();
        let tag = tag.as_ref().map_or(&[][..], |tag| tag);
        let (addresses, rest) = self.data().split_at(TAG_OFFSET.min(self.data().len()));
        let (mut skip, mut filled) = (offset, 0);
        for piece in [addresses, tag, rest].into_iter().chain(self.segments().skip(1)) {
            let Some(piece) = piece.get(skip..) else {
                skip -= piece.len();
                continue;
            };
            skip = 0;
            let n = piece.len().min(buf.len() - filled);
            buf[filled..filled + n].copy_from_slice(&piece[..n]);
            filled += n;
            if filled == buf.len() {
                break;
            }
        }
        filled
    }
}
