//! Frames to send and a reader for frames received. Checksums are computed here word by word, as RFC 1071 says it,
//! so that the router's own arithmetic is not its judge.

use std::fmt;
use std::net::Ipv4Addr;

use skiff_dataplane::net::MacAddr;

use super::ip;

/// MAC addresses of the test network.
pub mod mac {
    use super::MacAddr;

    /// The router's on `port`.
    pub fn router(port: usize) -> MacAddr {
        MacAddr([2, 0, 0, 0, 0, port as u8 + 1])
    }

    /// A host's, by its address.
    pub fn of(ip: u32) -> MacAddr {
        let [a, b, c, d] = ip.to_be_bytes();
        MacAddr([2, 0xaa, a, b, c, d])
    }
}

/// A frame: its bytes, in segments.
#[derive(Clone, Debug)]
pub struct Frame(pub Vec<Vec<u8>>);

impl From<Vec<u8>> for Frame {
    fn from(bytes: Vec<u8>) -> Frame {
        Frame(vec![bytes])
    }
}

impl Frame {
    /// `bytes` cut into segments at these offsets.
    pub fn cut(bytes: &[u8], at: &[usize]) -> Frame {
        let mut edges = vec![0];
        edges.extend(at.iter().map(|&a| a.min(bytes.len())));
        edges.push(bytes.len());
        edges.sort_unstable();
        Frame(edges.windows(2).map(|w| bytes[w[0]..w[1]].to_vec()).collect())
    }
}

/// The Internet checksum of `bytes`.
pub fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 =
        bytes.chunks(2).map(|w| u32::from(w[0]) << 8 | u32::from(*w.get(1).unwrap_or(&0))).sum();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !(sum as u16)
}

fn pseudo(src: u32, dst: u32, protocol: u8, segment: &[u8]) -> Vec<u8> {
    let mut all = [src.to_be_bytes(), dst.to_be_bytes()].concat();
    all.extend([0, protocol]);
    all.extend((segment.len() as u16).to_be_bytes());
    all.extend(segment);
    all
}

/// An IPv4 packet to be made.
#[derive(Clone, Debug)]
pub struct Ip {
    pub src: u32,
    pub dst: u32,
    pub tos: u8,
    pub ttl: u8,
    pub id: u16,
    /// Flags and offset as they stand in the header.
    pub frag: u16,
    pub protocol: u8,
    pub options: Vec<u8>,
    pub payload: Vec<u8>,
}

/// Don't Fragment.
pub const DF: u16 = 0x4000;
/// More Fragments.
pub const MF: u16 = 0x2000;

impl Ip {
    /// A packet with this payload.
    pub fn new(src: &str, dst: &str, protocol: u8, payload: Vec<u8>) -> Ip {
        let (src, dst) = (ip(src), ip(dst));
        Ip { src, dst, tos: 0, ttl: 64, id: 0x1234, frag: 0, protocol, options: vec![], payload }
    }

    /// A UDP datagram with `len` bytes of payload.
    pub fn udp(src: &str, dst: &str, ports: (u16, u16), len: usize) -> Ip {
        let mut packet = Ip::new(src, dst, 17, vec![]);
        let mut udp =
            [ports.0.to_be_bytes(), ports.1.to_be_bytes(), (8 + len as u16).to_be_bytes(), [0, 0]].concat();
        udp.extend((0..len).map(|i| (i * 7 + i / 256) as u8));
        let check = checksum(&pseudo(packet.src, packet.dst, 17, &udp));
        udp[6..8].copy_from_slice(&(if check == 0 { 0xffff } else { check }).to_be_bytes());
        packet.payload = udp;
        packet
    }

    /// An ICMP message.
    pub fn icmp(src: &str, dst: &str, kind: u8, code: u8, rest: &[u8]) -> Ip {
        let mut message = vec![kind, code, 0, 0];
        message.extend(rest);
        let check = checksum(&message);
        message[2..4].copy_from_slice(&check.to_be_bytes());
        Ip::new(src, dst, 1, message)
    }

    /// An echo request with `len` bytes of data.
    pub fn echo(src: &str, dst: &str, len: usize) -> Ip {
        let mut rest = vec![0xbe, 0xef, 0, 7];
        rest.extend((0..len).map(|i| i as u8 ^ 0x5a));
        Ip::icmp(src, dst, 8, 0, &rest)
    }

    /// A TCP segment.
    pub fn tcp(src: &str, dst: &str, ports: (u16, u16), seq: u32, ack: u32, flags: u8, data: &[u8]) -> Ip {
        let mut packet = Ip::new(src, dst, 6, vec![]);
        let mut tcp = [ports.0.to_be_bytes(), ports.1.to_be_bytes()].concat();
        tcp.extend(seq.to_be_bytes());
        tcp.extend(ack.to_be_bytes());
        tcp.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        tcp.extend(data);
        let check = checksum(&pseudo(packet.src, packet.dst, 6, &tcp));
        tcp[16..18].copy_from_slice(&check.to_be_bytes());
        packet.payload = tcp;
        packet
    }

    pub fn ttl(mut self, ttl: u8) -> Ip {
        self.ttl = ttl;
        self
    }

    pub fn tos(mut self, tos: u8) -> Ip {
        self.tos = tos;
        self
    }

    pub fn frag(mut self, frag: u16) -> Ip {
        self.frag = frag;
        self
    }

    /// Options, padded to whole words.
    pub fn options(mut self, options: &[u8]) -> Ip {
        self.options = options.to_vec();
        self.options.resize(options.len().next_multiple_of(4), 0);
        self
    }

    /// The packet from its first byte.
    pub fn bytes(&self) -> Vec<u8> {
        let header_len = 20 + self.options.len();
        let mut h = vec![0x40 | (header_len / 4) as u8, self.tos];
        h.extend(((header_len + self.payload.len()) as u16).to_be_bytes());
        h.extend(self.id.to_be_bytes());
        h.extend(self.frag.to_be_bytes());
        h.extend([self.ttl, self.protocol, 0, 0]);
        h.extend(self.src.to_be_bytes());
        h.extend(self.dst.to_be_bytes());
        h.extend(&self.options);
        let check = checksum(&h);
        h[10..12].copy_from_slice(&check.to_be_bytes());
        h.extend(&self.payload);
        h
    }

    /// The frame that brings it to the router's `port`.
    pub fn to_port(&self, port: usize) -> Vec<u8> {
        self.to_mac(mac::router(port))
    }

    /// The frame that brings it to `dst`.
    pub fn to_mac(&self, dst: MacAddr) -> Vec<u8> {
        ethernet(dst, mac::of(self.src), 0x0800, &self.bytes())
    }
}

/// A frame around `payload`, not padded.
pub fn ethernet(dst: MacAddr, src: MacAddr, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&dst.0[..], &src.0[..], &ethertype.to_be_bytes()[..], payload].concat()
}

/// An ARP packet in a frame.
pub fn arp(to: MacAddr, op: u16, sender: (MacAddr, &str), target: (MacAddr, &str)) -> Vec<u8> {
    let mut p = vec![0, 1, 8, 0, 6, 4];
    p.extend(op.to_be_bytes());
    p.extend(sender.0.0);
    p.extend(ip(sender.1).to_be_bytes());
    p.extend(target.0.0);
    p.extend(ip(target.1).to_be_bytes());
    ethernet(to, sender.0, 0x0806, &p)
}

/// An IPv4 frame as the router sent it. Reading it checks every length and checksum.
#[derive(Clone, PartialEq, Eq)]
pub struct Seen {
    pub eth_dst: MacAddr,
    pub eth_src: MacAddr,
    pub src: u32,
    pub dst: u32,
    pub tos: u8,
    pub ttl: u8,
    pub id: u16,
    pub frag: u16,
    pub protocol: u8,
    pub options: Vec<u8>,
    pub payload: Vec<u8>,
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (src, dst) = (Ipv4Addr::from_bits(self.src), Ipv4Addr::from_bits(self.dst));
        write!(f, "{} > {}: {src} > {dst} proto {} ", self.eth_src, self.eth_dst, self.protocol)?;
        write!(f, "tos {:#x} ttl {} id {:#x} frag {:#x} ", self.tos, self.ttl, self.id, self.frag)?;
        write!(f, "options {:x?} payload {} {:x?}", self.options, self.payload.len(), head(&self.payload))
    }
}

fn head(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len().min(48)]
}

impl Seen {
    /// Reads a frame.
    #[track_caller]
    pub fn read(frame: &[u8]) -> Seen {
        let word = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
        let long = |at: usize| u32::from_be_bytes(frame[at..at + 4].try_into().unwrap());
        let mac = |at: usize| MacAddr(frame[at..at + 6].try_into().unwrap());
        assert_eq!(word(12), 0x0800, "an IPv4 frame: {:x?}", head(frame));
        let header_len = usize::from(frame[14] & 0xf) * 4;
        assert!(frame[14] >> 4 == 4 && header_len >= 20, "{:x?}", head(frame));
        assert_eq!(checksum(&frame[14..14 + header_len]), 0, "header checksum: {:x?}", head(frame));
        assert_eq!(usize::from(word(16)), frame.len() - 14, "total length: {:x?}", head(frame));
        let seen = Seen {
            eth_dst: mac(0),
            eth_src: mac(6),
            src: long(26),
            dst: long(30),
            tos: frame[15],
            ttl: frame[22],
            id: word(18),
            frag: word(20),
            protocol: frame[23],
            options: frame[34..14 + header_len].to_vec(),
            payload: frame[14 + header_len..].to_vec(),
        };
        if seen.frag & 0x3fff == 0 {
            seen.check_payload();
        }
        seen
    }

    #[track_caller]
    fn check_payload(&self) {
        let sum = match self.protocol {
            1 => checksum(&self.payload),
            6 | 17 => checksum(&pseudo(self.src, self.dst, self.protocol, &self.payload)),
            _ => return,
        };
        assert_eq!(sum, 0, "payload checksum: {self:?}");
    }

    /// The ICMP type and code.
    #[track_caller]
    pub fn icmp(&self) -> (u8, u8) {
        assert_eq!(self.protocol, 1, "{self:?}");
        (self.payload[0], self.payload[1])
    }

    /// The second word of the ICMP header.
    pub fn icmp_info(&self) -> u32 {
        u32::from_be_bytes(self.payload[4..8].try_into().unwrap())
    }

    /// What an ICMP error quotes.
    pub fn quote(&self) -> &[u8] {
        &self.payload[8..]
    }

    /// Asserts that this is `sent`, one hop further on.
    #[track_caller]
    pub fn is_forwarded(&self, sent: &Ip) {
        let want = (sent.src, sent.dst, sent.tos, sent.ttl - 1, sent.id, sent.frag, sent.protocol);
        assert_eq!((self.src, self.dst, self.tos, self.ttl, self.id, self.frag, self.protocol), want);
        assert_eq!((&self.options, &self.payload), (&sent.options, &sent.payload));
    }
}
