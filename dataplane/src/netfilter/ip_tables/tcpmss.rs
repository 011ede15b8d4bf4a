//! `-j TCPMSS`: the largest segment a SYN offers (`xt_TCPMSS`). It is lowered, never raised; a SYN without the option
//! gets one, of at most the default of 536 bytes (RFC 9293 section 3.7.1), if it has no data and room in its header.

use crate::fib::next_hop::Kind;
use crate::netfilter::hooks::HookCx;
use crate::skb::ipv4::{self, IP_OFFSET, Ipv4Header};
use crate::skb::{Skb, SkbExt, checksum};

/// IP and TCP header without options.
const MIN_HEADERS: u16 = 40;
const DEFAULT_MSS: u16 = 536;
const OPTION_LEN: usize = 4;

/// The size wanted.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mss {
    Set(u16),
    /// The smaller MTU of the way there and back, less the headers.
    Pmtu,
}

/// The segment is no TCP segment, or the MTU leaves no room: the packet is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

pub(super) fn run(cx: &HookCx<'_, '_>, skb: &mut Skb, mss: Mss) -> Result<(), Malformed> {
    let ip = Ipv4Header::parse(skb.network()).ok_or(Malformed)?;
    let (src, at, later) = (ip.src(), ip.header_len(), ip.frag_off() & IP_OFFSET != 0);
    if later {
        return Ok(());
    }
    let segment = skb.network_len().saturating_sub(at);
    let mss = match mss {
        Mss::Set(mss) => mss,
        Mss::Pmtu => skb
            .fields()
            .mtu
            .min(reverse_mtu(cx, src))
            .checked_sub(MIN_HEADERS)
            .filter(|m| *m > 0)
            .ok_or(Malformed)?,
    };
    match clamp(skb.network_mut().get_mut(at..).unwrap_or(&mut []), segment, mss)? {
        Clamped::Done => Ok(()),
        Clamped::Missing => add_option(skb, at, mss.min(DEFAULT_MSS)),
    }
}

/// MTU of the way to `addr`; the largest if there is none.
fn reverse_mtu(cx: &HookCx<'_, '_>, addr: u32) -> u16 {
    let (hops, id) = (&cx.env.shared.next_hops, cx.env.shared.fib.lookup(addr));
    let hop = hops.get(id);
    match hop.kind {
        Kind::Gateway | Kind::Link | Kind::Broadcast => hop.mtu,
        Kind::Multipath => hops.members(id).map(|m| m.mtu).next().unwrap_or(u16::MAX),
        _ => u16::MAX,
    }
}

/// What became of the option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Clamped {
    Done,
    /// There is none, and there may be one.
    Missing,
}

/// Lowers the option in a TCP header, of a segment of `len` bytes.
fn clamp(tcp: &mut [u8], len: usize, mss: u16) -> Result<Clamped, Malformed> {
    let header_len = usize::from(tcp.get(12).copied().ok_or(Malformed)? >> 4) * 4;
    let header = tcp.get_mut(..header_len).filter(|h| h.len() >= 20).ok_or(Malformed)?;
    let mut at = 20;
    while let Some(&[kind, size, high, low]) = header.get(at..).and_then(|o| o.first_chunk()) {
        if (kind, usize::from(size)) == (2, OPTION_LEN) {
            let old = u16::from_be_bytes([high, low]);
            if old > mss {
                let check = replace(u16::from_be_bytes([header[16], header[17]]), at + 2, old, mss);
                header[at + 2..at + 4].copy_from_slice(&mss.to_be_bytes());
                header[16..18].copy_from_slice(&check.to_be_bytes());
            }
            return Ok(Clamped::Done);
        }
        at += if kind <= 1 || size == 0 { 1 } else { usize::from(size) };
    }
    Ok(if len > header_len || header_len >= 60 { Clamped::Done } else { Clamped::Missing })
}

/// The checksum after the word at `at`, odd or even, changed.
fn replace(check: u16, at: usize, old: u16, new: u16) -> u16 {
    match at % 2 {
        0 => checksum::update16(check, old, new),
        // A word that begins at an odd place counts with its bytes swapped (RFC 1071 section 2 B).
        _ => checksum::update16(check, old.swap_bytes(), new.swap_bytes()),
    }
}

/// Puts the option first among those of a segment that is all header.
fn add_option(skb: &mut Skb, at: usize, mss: u16) -> Result<(), Malformed> {
    let old_len = skb.network_len();
    if skb.append(OPTION_LEN).is_none() {
        return Err(Malformed);
    }
    let packet = skb.network_mut();
    let Some(total) = u16::try_from(old_len + OPTION_LEN).ok() else { return Err(Malformed) };
    let (header, tcp) = packet.split_at_mut_checked(at).ok_or(Malformed)?;
    let segment = old_len - at;
    tcp.get_mut(..segment + OPTION_LEN).ok_or(Malformed)?.copy_within(20..segment, 20 + OPTION_LEN);
    let words = [u16::from_be_bytes([2, OPTION_LEN as u8]), mss];
    let mut check = u16::from_be_bytes([tcp[16], tcp[17]]);
    for (i, word) in words.into_iter().enumerate() {
        tcp[20 + 2 * i..22 + 2 * i].copy_from_slice(&word.to_be_bytes());
        check = checksum::update16(check, 0, word);
    }
    let offset = u16::from_be_bytes([tcp[12], tcp[13]]);
    tcp[12] += 0x10;
    check = checksum::update16(check, offset, u16::from_be_bytes([tcp[12], tcp[13]]));
    // The pseudo header has the length of the segment.
    check = checksum::update16(check, segment as u16, (segment + OPTION_LEN) as u16);
    tcp[16..18].copy_from_slice(&check.to_be_bytes());
    header[2..4].copy_from_slice(&total.to_be_bytes());
    ipv4::set_check(header);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netfilter::ip_tables::tests::Bytes;

    fn clamped(options: &[u8], data: &[u8], mss: u16) -> (Result<Clamped, Malformed>, Vec<u8>) {
        let mut p = Bytes::tcp_with("10.0.0.1", "10.0.0.2", (1, 2), 2, options, data);
        let len = p.0.len() - 20;
        let result = clamp(&mut p.0[20..], len, mss);
        p.assert_tcp_checksum();
        (result, p.0[40..40 + options.len()].to_vec())
    }

    #[test]
    fn the_option_is_lowered_and_never_raised() {
        assert_eq!(clamped(&[2, 4, 5, 180], &[], 960), (Ok(Clamped::Done), vec![2, 4, 3, 192]));
        assert_eq!(clamped(&[2, 4, 3, 132], &[], 960), (Ok(Clamped::Done), vec![2, 4, 3, 132]));
        // At an odd place, behind a single pad.
        let odd = [1, 2, 4, 5, 180, 1, 1, 1];
        assert_eq!(clamped(&odd, &[], 960), (Ok(Clamped::Done), vec![1, 2, 4, 3, 192, 1, 1, 1]));
    }

    #[test]
    fn without_the_option() {
        assert_eq!(clamped(&[], &[], 960).0, Ok(Clamped::Missing));
        assert_eq!(clamped(&[], b"data", 960).0, Ok(Clamped::Done));
        assert_eq!(clamped(&[1; 40], &[], 960).0, Ok(Clamped::Done));
        let mut p = Bytes::tcp("10.0.0.1", "10.0.0.2", 1, 2, 2, &[]);
        p.0[32] = 0x40;
        assert_eq!(clamp(&mut p.0[20..], 20, 960), Err(Malformed));
    }
}
