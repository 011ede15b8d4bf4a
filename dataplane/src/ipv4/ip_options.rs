//! IP options (RFC 791 section 3.1, kernel `ip_options_compile`): looked at only in packets that carry any.
//!
//! Uses:  ip_hdr_len.   Sets: nothing.
//! Drops: ip_inhdr (malformed: answered with a parameter problem that points at the byte), not_specified (a source
//!        route, which `accept_source_route = 0` refuses).

use super::icmp::icmp_send;
use crate::core::counters::Mib;
use crate::core::drop_reason::{DropReason, Node};
use crate::core::env::{Env, Hands};
use crate::device::NetDevice;
use crate::net::IfIndex;
use crate::skb::icmp::ICMP_PARAMETERPROB;
use crate::skb::ipv4::{self, MIN_HEADER_LEN};
use crate::skb::{Skb, SkbExt};

const IPOPT_END: u8 = 0;
const IPOPT_NOOP: u8 = 1;
const IPOPT_RR: u8 = 7;
const IPOPT_TIMESTAMP: u8 = 68;
const IPOPT_LSRR: u8 = 131;
const IPOPT_RA: u8 = 148;
const IPOPT_SSRR: u8 = 137;

const IPOPT_TS_TSONLY: u8 = 0;
const IPOPT_TS_TSANDADDR: u8 = 1;
const IPOPT_TS_PRESPEC: u8 = 3;

/// What stands in a header's options, by byte offsets from the start of the IP header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IpOptions {
    /// A record route with room: its start.
    pub rr: Option<usize>,
    /// A timestamp option with something to write: its start.
    pub ts: Option<usize>,
    /// Loose or strict source route.
    pub source_route: bool,
    /// Where the options end: behind it all is zero on the way out.
    pub end: usize,
}

/// Reads the options of `header`, a whole IP header.
///
/// # Errors
/// Offset of the byte that is wrong, as the parameter problem reports it.
pub fn ip_options_compile(header: &[u8]) -> Result<IpOptions, u8> {
    let mut found = IpOptions { end: header.len(), ..IpOptions::default() };
    let (mut rr, mut ts) = (false, false);
    let mut at = MIN_HEADER_LEN;
    while at < header.len() {
        let kind = match header[at] {
            IPOPT_END => {
                found.end = at;
                break;
            }
            IPOPT_NOOP => {
                at += 1;
                continue;
            }
            kind => kind,
        };
        let rest = &header[at..];
        // A length that does not fit points at the option itself, as the kernel does.
        let len = match rest.get(1) {
            Some(&len) if len >= 2 && usize::from(len) <= rest.len() => usize::from(len),
            _ => return Err(at as u8),
        };
        let option = &rest[..len];
        match kind {
            // Each may stand there once.
            IPOPT_RR if std::mem::replace(&mut rr, true) => return Err(at as u8),
            IPOPT_TIMESTAMP if std::mem::replace(&mut ts, true) => return Err(at as u8),
            IPOPT_RR => found.rr = record_route(option, at)?,
            IPOPT_TIMESTAMP => found.ts = timestamp(option, at)?,
            IPOPT_LSRR | IPOPT_SSRR => {
                if len < 3 {
                    return Err(at as u8 + 1);
                }
                if option[2] < 4 {
                    return Err(at as u8 + 2);
                }
                if found.source_route {
                    return Err(at as u8);
                }
                found.source_route = true;
            }
            IPOPT_RA if len < 4 => return Err(at as u8 + 1),
            _ => {}
        }
        at += len;
    }
    Ok(found)
}

fn record_route(option: &[u8], at: usize) -> Result<Option<usize>, u8> {
    if option.len() < 3 {
        return Err(at as u8 + 1);
    }
    let pointer = usize::from(option[2]);
    if pointer < 4 {
        return Err(at as u8 + 2);
    }
    if pointer > option.len() {
        return Ok(None);
    }
    if pointer + 3 > option.len() {
        return Err(at as u8 + 2);
    }
    Ok(Some(at))
}

fn timestamp(option: &[u8], at: usize) -> Result<Option<usize>, u8> {
    if option.len() < 4 {
        return Err(at as u8 + 1);
    }
    let pointer = usize::from(option[2]);
    if pointer < 5 {
        return Err(at as u8 + 2);
    }
    let (overflow, flag) = (option[3] >> 4, option[3] & 0xf);
    if pointer > option.len() {
        return if overflow == 15 && flag != IPOPT_TS_PRESPEC { Err(at as u8 + 3) } else { Ok(Some(at)) };
    }
    let known = matches!(flag, IPOPT_TS_TSONLY | IPOPT_TS_TSANDADDR | IPOPT_TS_PRESPEC);
    let slot = if matches!(flag, IPOPT_TS_TSANDADDR | IPOPT_TS_PRESPEC) { 8 } else { 4 };
    if pointer + slot - 1 > option.len() {
        return Err(at as u8 + 2);
    }
    // A flag nobody knows is left to who does.
    Ok(known.then_some(at))
}

/// Checks the options of a received packet. `None` if it ended here.
pub fn ip_rcv_options(env: &Env<'_>, hands: &mut Hands, dev: &NetDevice, skb: Skb) -> Option<Skb> {
    let header_len = usize::from(skb.fields().ip_hdr_len);
    let compiled = ip_options_compile(skb.network().get(..header_len).unwrap_or(&[]));
    let reason = match compiled {
        Ok(options) if !options.source_route => return Some(skb),
        Ok(_) => DropReason::NotSpecified,
        Err(pointer) => {
            env.cells.mib(Mib::IpInHdrErrors).add(1);
            icmp_send(env, hands, &skb, ICMP_PARAMETERPROB, 0, u32::from(pointer) << 24);
            DropReason::IpInhdr
        }
    };
    env.cells.device(dev.ifindex).rx_dropped.add(1);
    env.kfree_skb(skb, Node::IpRcvFinish, reason);
    None
}

/// Fills in what this router adds on the way through: its address of the device the packet leaves by, and the time
/// (kernel `ip_forward_options`).
pub fn ip_forward_options(env: &Env<'_>, skb: &mut Skb) {
    let fields = *skb.fields();
    let out = env.snap.device(IfIndex(fields.oif));
    let addr = out.select_addr(fields.gateway).unwrap_or(0);
    let millis_of_day = (env.wall_millis() % 86_400_000) as u32;
    let header_len = usize::from(fields.ip_hdr_len);
    let Some(header) = skb.network_mut().get_mut(..header_len) else { return };
    let Ok(options) = ip_options_compile(header) else { return };
    if let Some(at) = options.rr {
        let slot = at + usize::from(header[at + 2]) - 1;
        header[slot..slot + 4].copy_from_slice(&addr.to_be_bytes());
        header[at + 2] += 4;
    }
    if let Some(at) = options.ts {
        stamp(&mut header[at..], addr, millis_of_day, |a| env.snap.local.contains(a));
    }
    header[options.end..].fill(0);
    ipv4::set_check(header);
}

/// Writes a timestamp into the option at the front of `bytes`, or counts one that did not fit.
fn stamp(bytes: &mut [u8], addr: u32, millis: u32, is_ours: impl Fn(u32) -> bool) {
    let (len, pointer, flag) = (usize::from(bytes[1]), usize::from(bytes[2]), bytes[3] & 0xf);
    if pointer > len {
        if flag != IPOPT_TS_PRESPEC && bytes[3] >> 4 < 15 {
            bytes[3] += 0x10;
        }
        return;
    }
    let mut at = pointer - 1;
    match flag {
        IPOPT_TS_TSANDADDR => {
            bytes[at..at + 4].copy_from_slice(&addr.to_be_bytes());
            at += 4;
        }
        IPOPT_TS_PRESPEC => {
            let named = u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
            if !is_ours(named) {
                return;
            }
            at += 4;
        }
        _ => {}
    }
    bytes[at..at + 4].copy_from_slice(&millis.to_be_bytes());
    bytes[2] = (at + 5) as u8;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(options: &[u8]) -> Vec<u8> {
        let mut h = vec![0u8; 20];
        h.extend_from_slice(options);
        h.resize(h.len().next_multiple_of(4), 0);
        h
    }

    #[test]
    fn pointers_name_the_byte_that_is_wrong() {
        assert_eq!(ip_options_compile(&header(&[7, 2, 4, 0])), Err(21), "record route without a pointer");
        assert_eq!(ip_options_compile(&header(&[7, 6, 4, 0, 0, 0])), Err(22), "room for no whole address");
        assert_eq!(ip_options_compile(&header(&[68, 4, 5, 0xf0])), Err(23), "timestamp overflow at 15");
        assert_eq!(ip_options_compile(&header(&[7, 1, 0, 0])), Err(20), "length below 2");
        assert_eq!(ip_options_compile(&header(&[222, 40, 0, 0])), Err(20), "length beyond the header");
    }

    #[test]
    fn unknown_options_and_full_record_routes_pass() {
        assert_eq!(
            ip_options_compile(&header(&[222, 4, 9, 9])),
            Ok(IpOptions { end: 24, ..IpOptions::default() })
        );
        assert_eq!(ip_options_compile(&header(&[7, 7, 8, 1, 2, 3, 4])).unwrap().rr, None);
        assert_eq!(ip_options_compile(&header(&[1, 7, 7, 4, 0, 0, 0, 0])).unwrap().rr, Some(21));
    }

    #[test]
    fn a_timestamp_is_written_where_the_pointer_says() {
        let mut option = [68, 12, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        stamp(&mut option, 0x0a000001, 0x01020304, |_| false);
        assert_eq!(option, [68, 12, 9, 0, 1, 2, 3, 4, 0, 0, 0, 0]);
        stamp(&mut option, 0, 5, |_| false);
        stamp(&mut option, 0, 5, |_| false);
        assert_eq!(option[2..4], [13, 0x10], "the third does not fit and is counted");
    }

    proptest! {
        #[test]
        fn any_options_compile_or_point_into_the_header(options in proptest::collection::vec(any::<u8>(), 0..40)) {
            let mut h = header(&options);
            match ip_options_compile(&h) {
                Err(pointer) => prop_assert!((20..h.len() + 4).contains(&usize::from(pointer))),
                Ok(found) => {
                    if let Some(at) = found.rr {
                        prop_assert!(at + usize::from(h[at + 2]) + 3 <= h.len());
                    }
                    if let Some(at) = found.ts {
                        stamp(&mut h[at..], 1, 2, |_| true);
                    }
                }
            }
        }
    }
}
