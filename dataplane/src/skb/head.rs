//! The headers nearly every packet has, as one view: Ethernet without tags, IPv4 behind it.
//!
//! A stage checks once that the bytes are there and then reads its fields in whole words.

use zerocopy::byteorder::{native_endian, network_endian};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::checksum;
use super::eth::{self, MAC_WORD_MASK};
use super::ipv4::MIN_HEADER_LEN;

/// An Ethernet header and the 20 fixed bytes of an IPv4 header. Whether they are what they stand for is the stages'
/// business.
#[derive(Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct FrameHead {
    /// Destination, and the first two bytes of the source.
    ether_head: native_endian::U64,
    /// The rest of the source.
    ether_middle: native_endian::U32,
    ethertype: network_endian::U16,
    version_ihl: u8,
    tos: u8,
    total_len: network_endian::U16,
    id: network_endian::U16,
    frag_off: network_endian::U16,
    ttl: u8,
    protocol: u8,
    check: native_endian::U16,
    src: network_endian::U32,
    dst: network_endian::U32,
}

const _: () = assert!(size_of::<FrameHead>() == eth::HEADER_LEN + MIN_HEADER_LEN);

impl FrameHead {
    /// The destination as [`eth::mac_word`].
    #[inline]
    pub fn dst_mac_word(&self) -> u64 {
        self.ether_head.get() & MAC_WORD_MASK
    }

    /// The EtherType.
    #[inline]
    pub fn ethertype(&self) -> u16 {
        self.ethertype.get()
    }

    /// Version 4 and no options.
    #[inline]
    pub fn is_plain_ipv4(&self) -> bool {
        self.version_ihl == 0x45
    }

    /// Type of service.
    #[inline]
    pub fn tos(&self) -> u8 {
        self.tos
    }

    /// Total length of the datagram in bytes.
    #[inline]
    pub fn total_len(&self) -> usize {
        usize::from(self.total_len.get())
    }

    /// Time to live.
    #[inline]
    pub fn ttl(&self) -> u8 {
        self.ttl
    }

    /// Source address, host byte order.
    #[inline]
    pub fn src(&self) -> u32 {
        self.src.get()
    }

    /// Destination address, host byte order.
    #[inline]
    pub fn dst(&self) -> u32 {
        self.dst.get()
    }

    /// True if the checksum of a header without options is right.
    #[inline]
    pub fn checksum_ok(&self) -> bool {
        let bytes: &[u8; eth::HEADER_LEN + MIN_HEADER_LEN] = zerocopy::transmute_ref!(self);
        bytes.last_chunk().is_some_and(checksum::ipv4_header_20_ok)
    }

    /// [`ipv4::decrease_ttl`](super::ipv4::decrease_ttl).
    #[inline]
    pub fn decrease_ttl(&mut self) {
        // One's complement sums do not care for the byte order as long as it is the same for all.
        let check = u32::from(self.check.get()) + u32::from(u16::from_be(0x0100));
        self.check.set((check + u32::from(check >= 0xffff)) as u16);
        self.ttl = self.ttl.wrapping_sub(1);
    }

    /// Overwrites the Ethernet header with one in two words, as a neighbour entry holds it: bytes 0..8, and bytes 8..14
    /// with two unused ones behind.
    #[inline]
    pub fn set_ether(&mut self, head: u64, tail: u64) {
        let [a, b, c, d, e, f, _, _] = tail.to_ne_bytes();
        self.ether_head = head.into();
        self.ether_middle = native_endian::U32::from_bytes([a, b, c, d]);
        self.ethertype = network_endian::U16::from_bytes([e, f]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::MacAddr;
    use crate::skb::eth::{ETH_P_IP, mac_word};
    use crate::skb::ipv4::{self, IP_DF, Ipv4Fields};

    fn frame() -> [u8; 34] {
        let mut frame = [0; 34];
        eth::emit(frame.first_chunk_mut().unwrap(), MacAddr([1, 2, 3, 4, 5, 6]), MacAddr([7; 6]), ETH_P_IP);
        let fields = Ipv4Fields {
            tos: 0x10,
            total_len: 1500,
            id: 7,
            frag_off: IP_DF,
            ttl: 64,
            protocol: 17,
            src: 0x0a00_0001,
            dst: 0xc000_0201,
        };
        ipv4::emit(frame.last_chunk_mut().unwrap(), &fields);
        frame
    }

    #[test]
    fn fields_stand_where_the_headers_have_them() {
        let bytes = frame();
        let head = FrameHead::ref_from_bytes(&bytes).unwrap();
        assert_eq!(
            (head.dst_mac_word(), head.ethertype()),
            (mac_word(MacAddr([1, 2, 3, 4, 5, 6])), ETH_P_IP)
        );
        assert!(head.is_plain_ipv4() && head.checksum_ok());
        assert_eq!((head.tos(), head.total_len(), head.ttl()), (0x10, 1500, 64));
        assert_eq!((head.src(), head.dst()), (0x0a00_0001, 0xc000_0201));
        let mut bad = bytes;
        bad[33] ^= 1;
        assert!(!FrameHead::ref_from_bytes(&bad).unwrap().checksum_ok());
    }

    #[test]
    fn a_ttl_step_is_that_of_the_plain_header() {
        for ttl in [2u8, 64, 255] {
            let mut bytes = frame();
            bytes[22] = ttl;
            let mut plain = bytes;
            ipv4::decrease_ttl(plain.last_chunk_mut().unwrap());
            FrameHead::mut_from_bytes(&mut bytes).unwrap().decrease_ttl();
            assert_eq!(bytes, plain);
        }
    }

    #[test]
    fn an_ethernet_header_comes_in_two_words() {
        let mut bytes = frame();
        let rest = bytes[14..].to_vec();
        let head = u64::from_ne_bytes([1, 2, 3, 4, 5, 6, 7, 8]);
        let tail = u64::from_ne_bytes([9, 10, 11, 12, 13, 14, 0xff, 0xff]);
        FrameHead::mut_from_bytes(&mut bytes).unwrap().set_ether(head, tail);
        assert_eq!(bytes[..14], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]);
        assert_eq!(bytes[14..], rest);
    }
}
