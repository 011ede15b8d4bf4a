//! A packet as matches see it.

use crate::net::{IfIndex, MacAddr};
use crate::skb::ipv4::{IP_OFFSET, IPPROTO_TCP, IPPROTO_UDP, Ipv4Header};
use crate::skb::{Skb, SkbExt, eth, flags};

use super::classify::Key;
use crate::netfilter::hooks::Hook;

/// A packet, and where it is. Made from an [`Skb`], or from plain bytes.
#[derive(Clone, Copy, Debug)]
pub struct PacketView<'a> {
    /// From the IP header on, as far as the bytes lie in one piece: the headers do.
    pub bytes: &'a [u8],
    /// Length of the whole from the IP header on.
    pub len: usize,
    /// Device it came in by; none for our own.
    pub iif: IfIndex,
    /// Device it leaves by; none before the route is known.
    pub oif: IfIndex,
    /// Firewall mark.
    pub mark: u32,
    /// Who its frame was for.
    pub pkt_type: u8,
    /// Who sent its frame, if one came.
    pub mac: Option<MacAddr>,
    /// The packet that `bytes` are the beginning of, if they are not all.
    pub skb: Option<&'a Skb>,
}

impl<'a> PacketView<'a> {
    /// The view of a packet at `hook`.
    #[inline]
    pub fn of(skb: &'a Skb, hook: Hook) -> PacketView<'a> {
        let fields = skb.fields();
        let (iif, oif) = devices(skb, hook);
        let framed = matches!(hook, Hook::PreRouting | Hook::LocalIn | Hook::Forward)
            && usize::from(fields.network_offset) >= eth::HEADER_LEN;
        let mac = skb.data().get(6..12).and_then(|b| b.first_chunk()).filter(|_| framed).map(|b| MacAddr(*b));
        PacketView {
            bytes: skb.network(),
            len: skb.network_len(),
            iif,
            oif,
            mark: fields.mark,
            pkt_type: fields.pkt_type,
            mac,
            skb: (skb.nb_segs() > 1).then_some(skb),
        }
    }

    /// The IP header. All zeros if the bytes are too few, which no hook sees.
    #[inline]
    pub fn ip(&self) -> Ipv4Header<'a> {
        const NONE: &[u8; 20] = &[0; 20];
        Ipv4Header::parse(self.bytes)
            .or_else(|| Ipv4Header::parse(NONE))
            .unwrap_or_else(|| unreachable!("20 bytes"))
    }

    /// What follows the IP header.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        self.bytes.get(self.ip().header_len()..).unwrap_or(&[])
    }

    /// The fragment offset, in units of 8 bytes.
    #[inline]
    pub fn fragoff(&self) -> u16 {
        self.ip().frag_off() & IP_OFFSET
    }

    /// `N` bytes of what follows the IP header, from `at` on; `None` if the packet ends before.
    #[inline]
    pub fn header<const N: usize>(&self, at: usize) -> Option<&'a [u8; N]> {
        self.payload().get(at..)?.first_chunk()
    }

    /// A word anywhere in the packet.
    pub fn word(&self, at: usize) -> Option<u32> {
        if let Some(bytes) = self.bytes.get(at..).and_then(|b| b.first_chunk()) {
            return Some(u32::from_be_bytes(*bytes));
        }
        let (skb, mut word) = (self.skb?, [0; 4]);
        let from = usize::from(skb.fields().network_offset).checked_add(at)?;
        skb.copy_out(from, &mut word).then(|| u32::from_be_bytes(word))
    }

    /// TCP options, as far as the data offset says; `None` if the packet ends before.
    pub fn tcp_options(&self, data_offset: usize) -> Option<&'a [u8]> {
        self.payload().get(20..data_offset)
    }
}

/// The devices that rules may ask for at a hook.
#[inline]
pub(super) fn devices(skb: &Skb, hook: Hook) -> (IfIndex, IfIndex) {
    let fields = skb.fields();
    let own = fields.flags & flags::LOCAL_OUT != 0;
    let iif = if own { 0 } else { fields.iif };
    let oif = if matches!(hook, Hook::PreRouting | Hook::LocalIn) { 0 } else { fields.oif };
    (IfIndex(iif), IfIndex(oif))
}

/// Bytes that matches may look at without asking: the largest IP and TCP headers.
const HEADERS: usize = 120;

/// Brings the headers of a packet in pieces together.
#[inline]
pub(super) fn gather_headers(skb: &mut Skb) {
    if skb.nb_segs() > 1 {
        let wanted = (usize::from(skb.fields().network_offset) + HEADERS).min(skb.len());
        // Without room in the first buffer the packet stays as it is, and rules see a truncated header.
        skb.pull(wanted);
    }
}

/// What the classifier looks at; devices as at `hook`, if they matter.
#[inline]
pub(super) fn key_of(skb: &Skb, hook: Option<Hook>, with_ports: bool) -> Key {
    let network = skb.network();
    let Some(header) = Ipv4Header::parse(network) else { return Key::default() };
    let (iif, oif) = hook.map_or_else(Default::default, |hook| devices(skb, hook));
    let later = header.frag_off() & IP_OFFSET != 0;
    let mut key = Key {
        src: header.src(),
        dst: header.dst(),
        len: skb.network_len() as u32,
        proto: u16::from(header.protocol()) | u16::from(later) << 8,
        iif: iif.0,
        oif: oif.0,
        ..Key::default()
    };
    if with_ports && !later {
        let needed = match header.protocol() {
            IPPROTO_TCP => 20,
            IPPROTO_UDP => 8,
            _ => return key,
        };
        let payload = network.get(header.header_len()..).unwrap_or(&[]);
        if let (Some([a, b, c, d]), true) = (payload.first_chunk(), payload.len() >= needed) {
            key.sport = u16::from_be_bytes([*a, *b]);
            key.dport = u16::from_be_bytes([*c, *d]);
            key.ports = true;
        }
    }
    key
}
