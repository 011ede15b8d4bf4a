//! The Ethernet header (IEEE 802.3).

use crate::net::MacAddr;

/// Length of an Ethernet header without tags.
pub const HEADER_LEN: usize = 14;

/// IPv4.
pub const ETH_P_IP: u16 = 0x0800;
/// IPv6.
pub const ETH_P_IPV6: u16 = 0x86dd;
/// Address resolution.
pub const ETH_P_ARP: u16 = 0x0806;

/// A checked view of an Ethernet header: 14 bytes are there, so no accessor can fail.
#[derive(Clone, Copy, Debug)]
pub struct EthHeader<'a>(&'a [u8; HEADER_LEN]);

impl<'a> EthHeader<'a> {
    /// The header at the front of `frame`; `None` if the frame is shorter than one.
    #[inline]
    pub fn parse(frame: &'a [u8]) -> Option<Self> {
        frame.first_chunk().map(EthHeader)
    }

    /// Destination.
    #[inline]
    pub fn dst(&self) -> MacAddr {
        let [a, b, c, d, e, f, ..] = *self.0;
        MacAddr([a, b, c, d, e, f])
    }

    /// Source.
    #[inline]
    pub fn src(&self) -> MacAddr {
        let [_, _, _, _, _, _, a, b, c, d, e, f, ..] = *self.0;
        MacAddr([a, b, c, d, e, f])
    }

    /// The EtherType, or the length of an IEEE 802.3 frame.
    #[inline]
    pub fn ethertype(&self) -> u16 {
        u16::from_be_bytes([self.0[12], self.0[13]])
    }
}

/// Writes a header.
#[inline]
pub fn emit(header: &mut [u8; HEADER_LEN], dst: MacAddr, src: MacAddr, ethertype: u16) {
    header[..6].copy_from_slice(&dst.0);
    header[6..12].copy_from_slice(&src.0);
    header[12..].copy_from_slice(&ethertype.to_be_bytes());
}

/// A MAC as the low 48 bits of a word, in the byte order a native 8-byte load of a frame's start gives.
#[inline]
pub fn mac_word(mac: MacAddr) -> u64 {
    let [a, b, c, d, e, f] = mac.0;
    u64::from_ne_bytes([a, b, c, d, e, f, 0, 0]) & MAC_WORD_MASK
}

/// Keeps the six address bytes of such a word.
pub const MAC_WORD_MASK: u64 = u64::from_ne_bytes([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0]);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_stand_where_the_standard_puts_them() {
        let mut h = [0u8; 14];
        emit(&mut h, MacAddr([1, 2, 3, 4, 5, 6]), MacAddr([7, 8, 9, 10, 11, 12]), ETH_P_IP);
        assert_eq!(h, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 8, 0]);
        let view = EthHeader::parse(&h).unwrap();
        assert_eq!((view.dst().0[0], view.src().0[5], view.ethertype()), (1, 12, ETH_P_IP));
        assert!(EthHeader::parse(&h[..13]).is_none());
        let first = u64::from_ne_bytes(h[..8].try_into().unwrap());
        assert_eq!(first & MAC_WORD_MASK, mac_word(view.dst()));
    }
}
