//! Packets as a probe describes them: right in all that is not said otherwise.

use super::shape::{Addr, Mac, Port};
use crate::frames::Frame;

/// Protocol numbers.
pub const ICMP: u8 = 1;
/// UDP
pub const UDP: u8 = 17;
/// TCP
pub const TCP: u8 = 6;

/// What to do about the checksum of the transport header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// Compute it.
    Right,
    /// Compute it and add one.
    Wrong,
    /// Leave what stands there.
    Leave,
}

/// An IPv4 packet in an Ethernet frame. Fields that are `None` follow from the rest.
#[derive(Clone, Debug)]
pub struct Packet {
    dst_mac: Mac,
    src_mac: Mac,
    ethertype: u16,
    tag: Option<u16>,
    version: u8,
    ihl: Option<u8>,
    tos: u8,
    total_len: Option<u16>,
    id: u16,
    frag_off: u16,
    ttl: u8,
    protocol: u8,
    wrong_header_check: bool,
    src: Addr,
    dst: Addr,
    options: Vec<u8>,
    payload: Vec<u8>,
    check: Check,
    padding: usize,
    cut: Option<usize>,
}

impl Packet {
    /// A packet with this payload, from a host behind port 1 to the router's MAC.
    pub fn new(src: Addr, dst: Addr, protocol: u8, payload: Vec<u8>) -> Packet {
        Packet {
            dst_mac: Port::P1.router_mac(),
            src_mac: Port::P1.host_mac(),
            ethertype: 0x0800,
            tag: None,
            version: 4,
            ihl: None,
            tos: 0,
            total_len: None,
            id: 0x4242,
            frag_off: 0,
            ttl: 64,
            protocol,
            wrong_header_check: false,
            src,
            dst,
            options: Vec::new(),
            payload,
            check: Check::Right,
            padding: 0,
            cut: None,
        }
    }

    /// A UDP datagram with `len` bytes of data, from port 4000 to port 9.
    pub fn udp(src: Addr, dst: Addr, len: usize) -> Packet {
        let mut payload = [4000u16, 9, 8 + len as u16, 0].map(u16::to_be_bytes).concat();
        payload.extend(data(len));
        Packet::new(src, dst, UDP, payload)
    }

    /// An ICMP message: type, code, the second word, data.
    pub fn icmp(src: Addr, dst: Addr, (kind, code): (u8, u8), word: u32, more: &[u8]) -> Packet {
        let mut payload = vec![kind, code, 0, 0];
        payload.extend(word.to_be_bytes());
        payload.extend(more);
        Packet::new(src, dst, ICMP, payload)
    }

    /// An echo request with `len` bytes of data.
    pub fn echo(src: Addr, dst: Addr, len: usize) -> Packet {
        Packet::icmp(src, dst, (8, 0), 0x1234_0001, &data(len))
    }

    /// A TCP segment to port 80 with these flags and `len` bytes of data.
    pub fn tcp(src: Addr, dst: Addr, flags: u8, len: usize) -> Packet {
        let mut payload = [4000u16, 80].map(u16::to_be_bytes).concat();
        payload.extend(0x0102_0304u32.to_be_bytes());
        payload.extend(if flags & 0x10 != 0 { 0x0a0b_0c0du32 } else { 0 }.to_be_bytes());
        payload.extend([0x50, flags, 0x20, 0, 0, 0, 0, 0]);
        payload.extend(data(len));
        Packet::new(src, dst, TCP, payload)
    }

    /// Comes in at another port than 1: MACs to match.
    pub fn at(mut self, port: Port) -> Packet {
        self.dst_mac = port.router_mac();
        self.src_mac = port.host_mac();
        self
    }

    /// Sets the destination MAC.
    pub fn to_mac(mut self, mac: Mac) -> Packet {
        self.dst_mac = mac;
        self
    }

    /// Sets the source MAC.
    pub fn from_mac(mut self, mac: Mac) -> Packet {
        self.src_mac = mac;
        self
    }

    /// Sets the type of the frame, or its length.
    pub fn ethertype(mut self, ethertype: u16) -> Packet {
        self.ethertype = ethertype;
        self
    }

    /// Puts an 802.1Q tag in front.
    pub fn tag(mut self, tci: u16) -> Packet {
        self.tag = Some(tci);
        self
    }

    /// Sets the version.
    pub fn version(mut self, version: u8) -> Packet {
        self.version = version;
        self
    }

    /// Sets the header length, in words.
    pub fn ihl(mut self, words: u8) -> Packet {
        self.ihl = Some(words);
        self
    }

    /// Sets the type of service.
    pub fn tos(mut self, tos: u8) -> Packet {
        self.tos = tos;
        self
    }

    /// Sets the total length.
    pub fn total_len(mut self, len: u16) -> Packet {
        self.total_len = Some(len);
        self
    }

    /// Sets the identification.
    pub fn id(mut self, id: u16) -> Packet {
        self.id = id;
        self
    }

    /// Sets flags and fragment offset as they stand in the header.
    pub fn frag_off(mut self, frag_off: u16) -> Packet {
        self.frag_off = frag_off;
        self
    }

    /// Sets Don't Fragment.
    pub fn df(self) -> Packet {
        self.frag_off(0x4000)
    }

    /// Sets the TTL.
    pub fn ttl(mut self, ttl: u8) -> Packet {
        self.ttl = ttl;
        self
    }

    /// Sets the protocol.
    pub fn protocol(mut self, protocol: u8) -> Packet {
        self.protocol = protocol;
        self
    }

    /// Spoils the header checksum.
    pub fn wrong_header_check(mut self) -> Packet {
        self.wrong_header_check = true;
        self
    }

    /// Sets the transport's checksum.
    pub fn check(mut self, check: Check) -> Packet {
        self.check = check;
        self
    }

    /// Sets the options; they are filled up to whole words with zeros.
    pub fn options(mut self, options: &[u8]) -> Packet {
        self.options = options.to_vec();
        self.options.resize(options.len().next_multiple_of(4), 0);
        self
    }

    /// Changes the payload.
    pub fn with_payload(mut self, change: impl FnOnce(&mut Vec<u8>)) -> Packet {
        change(&mut self.payload);
        self
    }

    /// Adds bytes behind the packet.
    pub fn padding(mut self, len: usize) -> Packet {
        self.padding = len;
        self
    }

    /// Cuts the frame after `len` bytes of IP.
    pub fn cut(mut self, len: usize) -> Packet {
        self.cut = Some(len);
        self
    }

    /// The payload with its checksum.
    pub fn sealed_payload(&self) -> Vec<u8> {
        let mut payload = self.payload.clone();
        let at = match self.protocol {
            ICMP => 2,
            UDP => 6,
            TCP => 16,
            _ => return payload,
        };
        if self.check == Check::Leave || payload.len() < at + 2 || self.frag_off & 0x3fff != 0 {
            return payload;
        }
        payload[at..at + 2].fill(0);
        let mut covered = Vec::new();
        if self.protocol != ICMP {
            covered.extend(self.src);
            covered.extend(self.dst);
            covered.extend([0, self.protocol]);
            covered.extend((payload.len() as u16).to_be_bytes());
        }
        covered.extend(&payload);
        let wrong = u16::from(self.check == Check::Wrong);
        let check = checksum(&covered).wrapping_add(wrong);
        payload[at..at + 2].copy_from_slice(&check.to_be_bytes());
        payload
    }

    /// This packet in pieces that end at these offsets of its payload, multiples of 8 but the last.
    pub fn fragments(&self, ends: &[usize]) -> Vec<Packet> {
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let last = ends.last().copied().unwrap_or(0);
        starts.zip(ends).map(|(from, &to)| self.fragment(from, to, to < last)).collect()
    }

    /// Bytes `from` to `to` of the payload as a fragment, with or without More Fragments.
    pub fn fragment(&self, from: usize, to: usize, more: bool) -> Packet {
        let payload = self.sealed_payload();
        let mut piece = self.clone();
        piece.payload = payload.get(from..to.min(payload.len())).unwrap_or(&[]).to_vec();
        piece.frag_off = (from / 8) as u16 | if more { 0x2000 } else { 0 };
        piece.check = Check::Leave;
        piece
    }

    /// From the IP header on.
    pub fn ip_bytes(&self) -> Vec<u8> {
        let header_len = 20 + self.options.len();
        let payload = self.sealed_payload();
        let ihl = self.ihl.unwrap_or((header_len / 4) as u8);
        let total = self.total_len.unwrap_or((header_len + payload.len()) as u16);
        let mut ip = vec![self.version << 4 | ihl, self.tos];
        for field in [total, self.id, self.frag_off] {
            ip.extend(field.to_be_bytes());
        }
        ip.extend([self.ttl, self.protocol, 0, 0]);
        ip.extend(self.src);
        ip.extend(self.dst);
        ip.extend(&self.options);
        ip.extend(payload);
        // Over as much as the header says it has, so that a wrong length is all that is wrong.
        let covered = (usize::from(ihl) * 4).clamp(20, ip.len());
        let check = checksum(&ip[..covered]).wrapping_add(u16::from(self.wrong_header_check));
        ip[10..12].copy_from_slice(&check.to_be_bytes());
        ip
    }

    /// The frame.
    pub fn frame(&self) -> Frame {
        let mut frame = [self.dst_mac, self.src_mac].concat();
        if let Some(tci) = self.tag {
            frame.extend([0x81, 0]);
            frame.extend(tci.to_be_bytes());
        }
        frame.extend(self.ethertype.to_be_bytes());
        let mut ip = self.ip_bytes();
        ip.truncate(self.cut.unwrap_or(usize::MAX));
        frame.extend(ip);
        frame.resize(frame.len() + self.padding, 0xee);
        frame
    }
}

/// Bytes that differ from their neighbours.
pub fn data(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i % 251) as u8).collect()
}

/// The Internet checksum (RFC 1071) of `bytes`; 0 if they hold their own right one.
pub fn checksum(bytes: &[u8]) -> u16 {
    let word = |b: &[u8]| u32::from(b[0]) << 8 | u32::from(*b.get(1).unwrap_or(&0));
    let mut sum: u32 = bytes.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_right_unless_it_is_said_to_be_wrong() {
        let udp = Packet::udp([10, 1, 0, 2], [10, 2, 0, 2], 5);
        let ip = udp.ip_bytes();
        assert_eq!((ip.len(), checksum(&ip[..20])), (33, 0));
        let pseudo = [&ip[12..20], &[0, 17, 0, 13], &ip[20..]].concat();
        assert_eq!(checksum(&pseudo), 0);
        assert_ne!(checksum(&udp.clone().wrong_header_check().ip_bytes()[..20]), 0);
        assert_eq!(udp.clone().options(&[7, 7, 4]).ip_bytes()[..2], [0x46, 0]);
        assert_eq!(udp.padding(3).frame().len(), 14 + 33 + 3);
    }

    #[test]
    fn fragments_are_the_datagram() {
        let whole = Packet::udp([10, 1, 0, 2], [10, 2, 0, 2], 40);
        let pieces = whole.fragments(&[16, 32, 48]);
        let joined: Vec<u8> = pieces.iter().flat_map(|p| p.ip_bytes()[20..].to_vec()).collect();
        assert_eq!(joined, whole.sealed_payload());
        let offsets: Vec<u16> = pieces.iter().map(|p| p.frag_off).collect();
        assert_eq!(offsets, [0x2000, 0x2002, 4]);
    }
}
