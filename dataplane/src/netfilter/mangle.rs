//! What a listener sees of a queued packet, and may put in its place.
//!
//! The payload of a packet begins at its IP header, or behind the Ethernet header of a frame that is none of IP.
//! Checksums are the listener's business, as they are in the kernel; lengths and the shape of the IP header are
//! checked here, because the stages that follow lean on them.

use skiff_pmd::Pool;

use super::hooks::Hook;
use crate::skb::eth::{self, ETH_P_IP, EthHeader};
use crate::skb::ipv4::{Ipv4Header, MIN_HEADER_LEN};
use crate::skb::{Skb, SkbExt};

/// Why a payload was not taken. The packet is damaged then, and can only be freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Insane {
    /// No IPv4 header, or its lengths are not those of the payload.
    Header,
    /// Longer than the device can send.
    TooLong,
    /// No mbuf for the bytes.
    Nomem,
}

/// Where the payload of a packet queued at `hook` begins. Frames of the router's own that are none of IP have no
/// network offset.
pub fn payload_offset(hook: Hook, skb: &Skb) -> usize {
    let offset = usize::from(skb.fields().network_offset);
    if hook.is_l2() { offset.max(eth::HEADER_LEN) } else { offset }
}

/// The EtherType of a packet queued at `hook`, host order. The five IPv4 hooks see nothing but IPv4, and the Ethernet
/// header of a packet of our own is unwritten there.
pub fn hw_protocol(hook: Hook, skb: &Skb) -> u16 {
    if hook.is_l2() { EthHeader::parse(skb.data()).map_or(0, |header| header.ethertype()) } else { ETH_P_IP }
}

/// Copies up to `max` bytes of the payload behind what is in `into`.
pub fn copy_payload(hook: Hook, skb: &Skb, max: usize, into: &mut Vec<u8>) {
    let offset = payload_offset(hook, skb);
    let (mut skip, mut left) = (offset, max.min(skb.len().saturating_sub(offset)));
    for segment in skb.segments() {
        let bytes = segment.get(skip..).unwrap_or(&[]);
        skip -= skip.min(segment.len());
        let bytes = &bytes[..bytes.len().min(left)];
        into.extend_from_slice(bytes);
        left -= bytes.len();
    }
}

/// Puts `payload` in the place of the packet's. Segments beyond the first come from `pool`; the new packet has as few
/// as it needs. Bytes behind the IP packet's total length are cut off where the checks of `ip_rcv` are over.
///
/// # Errors
/// [`Insane`], if the payload cannot travel on from `hook`.
pub fn replace_payload(
    hook: Hook,
    skb: &mut Skb,
    pool: &Pool,
    payload: &[u8],
    mtu: usize,
) -> Result<(), Insane> {
    let offset = payload_offset(hook, skb);
    if matches!(hook, Hook::L2Enqueue | Hook::L2Dequeue) && payload.len() > mtu {
        return Err(Insane::TooLong);
    }
    let mut payload = payload;
    let mut header_len = 0;
    if hw_protocol(hook, skb) == ETH_P_IP {
        let total;
        (header_len, total) = lengths(payload).ok_or(Insane::Header)?;
        if !hook.is_l2() {
            payload = &payload[..total];
        }
    }
    if !skb.pull(offset) {
        return Err(Insane::Header);
    }
    skb.truncate(offset);
    fill(skb, pool, payload).ok_or(Insane::Nomem)?;
    if !skb.pull(offset + header_len) {
        return Err(Insane::Header);
    }
    skb.clear_rx_checksums();
    if !hook.is_l2() {
        skb.fields_mut().ip_hdr_len = header_len as u8;
    }
    Ok(())
}

/// Header and total length of a sound IPv4 packet at the front of `payload`.
fn lengths(payload: &[u8]) -> Option<(usize, usize)> {
    let header = Ipv4Header::parse(payload)?;
    let (len, total) = (header.header_len(), header.total_len());
    let sound = header.version() == 4 && len >= MIN_HEADER_LEN && len <= total && total <= payload.len();
    sound.then_some((len, total))
}

/// Appends the bytes, in further segments where the first has no room.
fn fill(skb: &mut Skb, pool: &Pool, payload: &[u8]) -> Option<()> {
    let (here, mut rest) = payload.split_at(payload.len().min(skb.tailroom()));
    skb.append(here.len())?.copy_from_slice(here);
    while !rest.is_empty() {
        let mut next = pool.alloc()?;
        let (here, behind) = rest.split_at(rest.len().min(next.tailroom()));
        if here.is_empty() {
            return None;
        }
        next.append(here.len())?.copy_from_slice(here);
        skb.chain(next).ok()?;
        rest = behind;
    }
    Some(())
}
