//! The Address Resolution Protocol on the wire (RFC 826), Ethernet and IPv4 only.
//!
//! [`ArpView::parse`] checks once; after that no accessor can fail. What is not ARP for IPv4 over Ethernet
//! is an error, bytes behind the packet (padding) are ignored.

use crate::net::MacAddr;

/// Bytes of an ARP packet for IPv4 over Ethernet.
pub const ARP_LEN: usize = 28;
/// Bytes of the Ethernet frame around it, without padding.
pub const ARP_FRAME_LEN: usize = 14 + ARP_LEN;

const ETHERTYPE_ARP: [u8; 2] = [0x08, 0x06];
const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];

/// What an ARP packet is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArpOp {
    /// Who has the target address?
    Request,
    /// The sender has it.
    Reply,
}

/// Why bytes are no ARP packet we understand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArpError {
    /// Shorter than [`ARP_LEN`].
    #[error("truncated")]
    Truncated,
    /// The hardware type is neither Ethernet (1) nor IEEE 802 (6).
    #[error("unknown hardware type {0}")]
    Hardware(u16),
    /// The protocol is not IPv4.
    #[error("unknown protocol type {0:#06x}")]
    Protocol(u16),
    /// The address lengths are not 6 and 4.
    #[error("address lengths {0} and {1}")]
    Lengths(u8, u8),
    /// Neither request nor reply.
    #[error("unknown operation {0}")]
    Operation(u16),
}

/// A checked ARP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArpView<'a> {
    bytes: &'a [u8; ARP_LEN],
    op: ArpOp,
}

impl<'a> ArpView<'a> {
    /// Checks the payload of an Ethernet frame of type 0x0806.
    pub fn parse(payload: &'a [u8]) -> Result<Self, ArpError> {
        let bytes: &[u8; ARP_LEN] = payload.first_chunk().ok_or(ArpError::Truncated)?;
        let [h0, h1, p0, p1, hlen, plen, o0, o1, ..] = *bytes;
        match u16::from_be_bytes([h0, h1]) {
            1 | 6 => {}
            other => return Err(ArpError::Hardware(other)),
        }
        if [p0, p1] != ETHERTYPE_IPV4 {
            return Err(ArpError::Protocol(u16::from_be_bytes([p0, p1])));
        }
        if (hlen, plen) != (6, 4) {
            return Err(ArpError::Lengths(hlen, plen));
        }
        let op = match u16::from_be_bytes([o0, o1]) {
            1 => ArpOp::Request,
            2 => ArpOp::Reply,
            other => return Err(ArpError::Operation(other)),
        };
        Ok(ArpView { bytes, op })
    }

    /// Request or reply.
    pub fn op(&self) -> ArpOp {
        self.op
    }

    /// Link address of the sender.
    pub fn sender_mac(&self) -> MacAddr {
        MacAddr(self.field::<8, 6>())
    }

    /// IPv4 address of the sender; 0 in a probe (RFC 5227).
    pub fn sender_ip(&self) -> u32 {
        u32::from_be_bytes(self.field::<14, 4>())
    }

    /// Link address of the target; without meaning in a request.
    pub fn target_mac(&self) -> MacAddr {
        MacAddr(self.field::<18, 6>())
    }

    /// IPv4 address of the target.
    pub fn target_ip(&self) -> u32 {
        u32::from_be_bytes(self.field::<24, 4>())
    }

    fn field<const AT: usize, const N: usize>(&self) -> [u8; N] {
        const { assert!(AT + N <= ARP_LEN) };
        std::array::from_fn(|i| self.bytes[AT + i])
    }
}

/// An ARP packet to be sent, with the Ethernet destination it goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArpFrame {
    /// Ethernet destination.
    pub to: MacAddr,
    /// Request or reply.
    pub op: ArpOp,
    /// Our link address.
    pub sender_mac: MacAddr,
    /// Our IPv4 address, or the one we answer for.
    pub sender_ip: u32,
    /// Link address of the target; zero in requests.
    pub target_mac: MacAddr,
    /// IPv4 address of the target.
    pub target_ip: u32,
}

impl ArpFrame {
    /// Asks everybody who has `target_ip`.
    pub fn request(sender_mac: MacAddr, sender_ip: u32, target_ip: u32) -> Self {
        Self::request_to(MacAddr::BROADCAST, sender_mac, sender_ip, target_ip)
    }

    /// Asks the station `to` whether it still has `target_ip`.
    pub fn request_to(to: MacAddr, sender_mac: MacAddr, sender_ip: u32, target_ip: u32) -> Self {
        ArpFrame { to, op: ArpOp::Request, sender_mac, sender_ip, target_mac: MacAddr::ZERO, target_ip }
    }

    /// Answers `asker` that `sender_mac` has the address it asked for.
    pub fn reply(sender_mac: MacAddr, asker: &ArpView<'_>) -> Self {
        ArpFrame {
            to: asker.sender_mac(),
            op: ArpOp::Reply,
            sender_mac,
            sender_ip: asker.target_ip(),
            target_mac: asker.sender_mac(),
            target_ip: asker.sender_ip(),
        }
    }

    /// Tells everybody that `mac` has `ip` (kernel: `arp_notify`; the request form of RFC 5227 section 3).
    pub fn gratuitous(mac: MacAddr, ip: u32) -> Self {
        Self::request(mac, ip, ip)
    }

    /// The ARP packet, to follow an Ethernet header.
    pub fn to_bytes(&self) -> [u8; ARP_LEN] {
        let op = match self.op {
            ArpOp::Request => 1,
            ArpOp::Reply => 2,
        };
        let mut bytes = [0; ARP_LEN];
        bytes[..8].copy_from_slice(&[0, 1, 8, 0, 6, 4, 0, op]);
        bytes[8..14].copy_from_slice(&self.sender_mac.0);
        bytes[14..18].copy_from_slice(&self.sender_ip.to_be_bytes());
        bytes[18..24].copy_from_slice(&self.target_mac.0);
        bytes[24..].copy_from_slice(&self.target_ip.to_be_bytes());
        bytes
    }

    /// Writes the whole untagged frame to the front of `buf`; `None` if it is shorter than [`ARP_FRAME_LEN`].
    /// Padding to the least frame is the device's.
    pub fn emit(&self, buf: &mut [u8]) -> Option<usize> {
        let frame: &mut [u8; ARP_FRAME_LEN] = buf.first_chunk_mut()?;
        frame[..6].copy_from_slice(&self.to.0);
        frame[6..12].copy_from_slice(&self.sender_mac.0);
        frame[12..14].copy_from_slice(&ETHERTYPE_ARP);
        frame[14..].copy_from_slice(&self.to_bytes());
        Some(ARP_FRAME_LEN)
    }
}

/// The link address of an IPv4 multicast group: 01:00:5e and its low 23 bits (RFC 1112 section 6.4).
#[inline]
pub const fn multicast_mac(group: u32) -> MacAddr {
    let [_, b, c, d] = group.to_be_bytes();
    MacAddr([0x01, 0x00, 0x5e, b & 0x7f, c, d])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OURS: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    const PEER: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);

    #[test]
    fn a_request_has_the_bytes_of_rfc_826() {
        let mut buf = [0xee; 60];
        assert_eq!(ArpFrame::request(OURS, 0x0a00_0001, 0x0a00_0009).emit(&mut buf), Some(42));
        #[rustfmt::skip]
        let expect = [
            0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 0x08, 0x06,
            0, 1, 8, 0, 6, 4, 0, 1,
            2, 0, 0, 0, 0, 1, 10, 0, 0, 1,
            0, 0, 0, 0, 0, 0, 10, 0, 0, 9,
        ];
        assert_eq!(buf[..42], expect);
        assert_eq!(buf[42], 0xee);
        assert_eq!(ArpFrame::gratuitous(OURS, 1).emit(&mut buf[..41]), None);
    }

    #[test]
    fn a_reply_turns_the_request_round() {
        let request = ArpFrame::request_to(OURS, PEER, 0x0a00_0009, 0x0a00_0001).to_bytes();
        let reply = ArpFrame::reply(OURS, &ArpView::parse(&request).unwrap());
        assert_eq!(reply.to, PEER);
        let bytes = reply.to_bytes();
        let view = ArpView::parse(&bytes).unwrap();
        assert_eq!(view.op(), ArpOp::Reply);
        assert_eq!((view.sender_mac(), view.sender_ip()), (OURS, 0x0a00_0001));
        assert_eq!((view.target_mac(), view.target_ip()), (PEER, 0x0a00_0009));
    }

    #[test]
    fn what_is_not_arp_for_ipv4_on_ethernet_is_named() {
        let good = ArpFrame::request(OURS, 1, 2).to_bytes();
        let with = |at: usize, value: u8| {
            let mut bytes = good;
            bytes[at] = value;
            ArpView::parse(&bytes).err()
        };
        assert_eq!(with(1, 6), None);
        assert_eq!(with(1, 2), Some(ArpError::Hardware(2)));
        assert_eq!(with(3, 6), Some(ArpError::Protocol(0x0806)));
        assert_eq!(with(4, 8), Some(ArpError::Lengths(8, 4)));
        assert_eq!(with(5, 16), Some(ArpError::Lengths(6, 16)));
        assert_eq!(with(7, 3), Some(ArpError::Operation(3)));
        assert_eq!(ArpView::parse(&good[..27]).err(), Some(ArpError::Truncated));
    }

    #[test]
    fn multicast_maps_the_low_23_bits() {
        assert_eq!(multicast_mac(0xe080_0001), multicast_mac(0xe000_0001));
        assert_eq!(multicast_mac(0xefff_fffa), MacAddr([0x01, 0x00, 0x5e, 0x7f, 0xff, 0xfa]));
    }

    proptest! {
        #[test]
        fn any_bytes_parse_or_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(view) = ArpView::parse(&bytes) {
                let _ = (view.op(), view.sender_mac(), view.sender_ip(), view.target_mac(), view.target_ip());
            }
        }

        #[test]
        fn what_is_written_is_read(
            sender: [u8; 6], target: [u8; 6], sender_ip: u32, target_ip: u32, reply: bool, padding in 0usize..20,
        ) {
            let frame = ArpFrame {
                to: MacAddr::BROADCAST,
                op: if reply { ArpOp::Reply } else { ArpOp::Request },
                sender_mac: MacAddr(sender),
                sender_ip,
                target_mac: MacAddr(target),
                target_ip,
            };
            let mut buf = vec![0; ARP_FRAME_LEN + padding];
            prop_assert_eq!(frame.emit(&mut buf), Some(ARP_FRAME_LEN));
            let view = ArpView::parse(&buf[14..]).unwrap();
            prop_assert_eq!(view.op(), frame.op);
            prop_assert_eq!((view.sender_mac(), view.sender_ip()), (frame.sender_mac, sender_ip));
            prop_assert_eq!((view.target_mac(), view.target_ip()), (frame.target_mac, target_ip));
        }
    }
}
