//! Packets as bytes, for the tests of matches and targets.

use super::PacketView;
use crate::net::{IfIndex, MacAddr};
use crate::skb::checksum;
use crate::skb::ipv4::{self, Ipv4Fields};

/// A packet from its IP header on.
#[derive(Clone, Debug)]
pub(crate) struct Bytes(pub Vec<u8>);

impl Bytes {
    /// A packet of any protocol.
    pub fn new(src: &str, dst: &str, protocol: u8, payload: &[u8]) -> Bytes {
        let addr = |text: &str| text.parse::<std::net::Ipv4Addr>().unwrap().to_bits();
        let fields = Ipv4Fields {
            tos: 0,
            total_len: 20 + payload.len() as u16,
            id: 7,
            frag_off: 0,
            ttl: 64,
            protocol,
            src: addr(src),
            dst: addr(dst),
        };
        let mut bytes = vec![0; 20];
        ipv4::emit(bytes.first_chunk_mut().unwrap(), &fields);
        bytes.extend(payload);
        Bytes(bytes)
    }

    pub fn udp(src: &str, dst: &str, sport: u16, dport: u16) -> Bytes {
        let mut payload = [sport.to_be_bytes(), dport.to_be_bytes(), [0, 12], [0, 0]].concat();
        payload.extend(*b"data");
        Bytes::new(src, dst, 17, &payload)
    }

    /// A datagram of `len` bytes in all.
    pub fn udp_of_len(src: &str, dst: &str, len: usize) -> Bytes {
        Bytes::new(src, dst, 17, &vec![0; len - 20])
    }

    pub fn icmp(src: &str, dst: &str, kind: u8, code: u8) -> Bytes {
        Bytes::new(src, dst, 1, &[kind, code, 0, 0, 0, 1, 0, 2])
    }

    pub fn tcp(src: &str, dst: &str, sport: u16, dport: u16, flags: u8, options: &[u8]) -> Bytes {
        Bytes::tcp_with(src, dst, (sport, dport), flags, options, &[])
    }

    pub fn tcp_with(
        src: &str,
        dst: &str,
        (sport, dport): (u16, u16),
        flags: u8,
        options: &[u8],
        data: &[u8],
    ) -> Bytes {
        let mut payload = [sport.to_be_bytes(), dport.to_be_bytes()].concat();
        payload.extend([0, 0, 0, 1, 0, 0, 0, 2, ((20 + options.len()) as u8 / 4) << 4, flags]);
        payload.extend([0x10, 0, 0, 0, 0, 0]);
        payload.extend(options);
        payload.extend(data);
        let mut packet = Bytes::new(src, dst, 6, &payload);
        let check = !packet.tcp_sum();
        packet.0[36..38].copy_from_slice(&check.to_be_bytes());
        packet
    }

    fn tcp_sum(&self) -> u16 {
        let ip = self.view().ip();
        let pseudo = checksum::pseudo_header(ip.src(), ip.dst(), 6, self.0.len() - 20);
        checksum::add(pseudo, &self.0[20..])
    }

    #[track_caller]
    pub fn assert_tcp_checksum(&self) {
        assert_eq!(self.tcp_sum(), 0xffff);
    }

    #[track_caller]
    pub fn assert_ip_checksum(&self) {
        assert_eq!(checksum::sum(&self.0[..20]), 0xffff);
    }

    /// The same as a fragment at this offset, in units of 8 bytes.
    pub fn fragment(mut self, offset: u16) -> Bytes {
        self.0[6..8].copy_from_slice(&offset.to_be_bytes());
        ipv4::set_check(&mut self.0[..20]);
        self
    }

    /// Cuts the packet off.
    pub fn cut(&mut self, len: usize) {
        self.0.truncate(len);
    }

    /// Its view in FORWARD, from device 2 to device 3.
    pub fn view(&self) -> PacketView<'_> {
        PacketView {
            bytes: &self.0,
            len: self.0.len(),
            iif: IfIndex(2),
            oif: IfIndex(3),
            mark: 0,
            pkt_type: 0,
            mac: Some(MacAddr([2, 0, 0, 0, 0, 9])),
            skb: None,
        }
    }
}
