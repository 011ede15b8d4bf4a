//! pedit: changes bytes of the packet (tc-pedit(8)). Checksums are csum's business.

use super::{network, touched};
use crate::skb::Skb;
use crate::skb::eth::{ETH_P_IP, ETH_P_IPV6};
use crate::skb::ipv4::{IPPROTO_TCP, IPPROTO_UDP};

/// A list of changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pedit {
    /// In order.
    pub keys: Vec<Key>,
    /// The extended form: headers have names.
    pub extended: bool,
}

/// A change of a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// The header its offset counts from.
    pub header: Header,
    /// Whether `val` is put in place or added.
    pub add: bool,
    /// Offset of the word.
    pub off: i32,
    /// Bits that stay.
    pub keep: u32,
    /// The value of the others.
    pub val: u32,
    /// `at`, `offmask`, `shift`: a byte of the packet that is added to the offset.
    pub at: Option<(i32, u8, u8)>,
}

/// A header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// The network header, whatever it is.
    Network,
    /// The Ethernet header.
    Eth,
    /// IPv4.
    Ip4,
    /// IPv6.
    Ip6,
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Pedit {
    /// Changes a packet. `None` if a word is not there; the changes before it stay.
    pub fn apply(&self, skb: &mut Skb, ingress: bool) -> Option<()> {
        touched(skb);
        for key in &self.keys {
            let base = key.header.offset(skb, ingress)?;
            let mut off = base.checked_add_signed(key.off as isize)?;
            if let Some((at, mask, shift)) = key.at {
                let byte = *skb.data().get(base.checked_add_signed(at as isize)?)?;
                off += usize::from((byte & mask).checked_shr(shift.into()).unwrap_or(0));
            }
            // The kernel's rule: from the header the offset is one of words.
            if (off as isize - base as isize) % 4 != 0 || !skb.pull(off + 4) {
                return None;
            }
            let place = skb.data_mut().get_mut(off..)?.first_chunk_mut::<4>()?;
            let word = u32::from_be_bytes(*place);
            let val = if key.add { added(word, key) } else { key.val };
            *place = (word & key.keep ^ val).to_be_bytes();
        }
        Some(())
    }
}

/// The sum within the bits that change.
fn added(word: u32, key: &Key) -> u32 {
    word.wrapping_add(key.val) & !key.keep
}

impl Header {
    fn offset(self, skb: &Skb, ingress: bool) -> Option<usize> {
        let at = network(skb, ingress);
        match self {
            Header::Eth => Some(0),
            Header::Network | Header::Ip4 | Header::Ip6 => Some(at),
            Header::Tcp => transport(skb, at, IPPROTO_TCP),
            Header::Udp => transport(skb, at, IPPROTO_UDP),
        }
    }
}

fn transport(skb: &Skb, at: usize, protocol: u8) -> Option<usize> {
    let ethertype = skb.data().get(at.checked_sub(2)?..)?.first_chunk().map(|b| u16::from_be_bytes(*b))?;
    let packet = skb.data().get(at..)?;
    match ethertype {
        ETH_P_IP => {
            let head = packet.first_chunk::<20>()?;
            let header_len = usize::from(head[0] & 0xf) * 4;
            let first = u16::from_be_bytes([head[6], head[7]]) & 0x1fff == 0;
            (head[9] == protocol && header_len >= 20 && first).then_some(at + header_len)
        }
        ETH_P_IPV6 => (*packet.get(6)? == protocol).then_some(at + 40),
        _ => None,
    }
}
