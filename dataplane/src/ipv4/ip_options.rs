//! IP options (RFC 791 section 3.1, RFC 1812 section 5.2.4): looked at only in packets that carry any.
//!
//! A packet passes three times. [`ip_options_compile`] (kernel name, kernel order) judges the options on arrival and
//! already writes this router's entry into a record route and a timestamp, with the address that faces the sender;
//! [`ip_options_rcv_srr`] follows a source route that ends here; [`ip_forward_options`] puts the address of the way out
//! in their place. An error sent in between quotes what is written by then, checksum still unmended, as the kernel does.
//!
//! Uses:  ip_hdr_len, pkt_type.   Sets: the option bits of flags.
//! Drops: ip_inhdr (malformed: answered with a parameter problem that points at the byte), not_specified (a source
//!        route that is not accepted or leads nowhere).

use super::icmp::icmp_send_about;
use super::martian;
use super::route::{Route, ip_route_input};
use super::source;
use crate::core::counters::Mib;
use crate::core::drop_reason::DropReason;
use crate::core::env::{Env, Hands};
use crate::device::NetDevice;
use crate::fib::NextHopId;
use crate::fib::next_hop::Kind;
use crate::skb::icmp::ICMP_PARAMETERPROB;
use crate::skb::ipv4::{self, Ipv4Header, MIN_HEADER_LEN};
use crate::skb::{Skb, SkbExt, flags, pkt_type};

/// End of the options.
pub const IPOPT_END: u8 = 0;
/// No operation.
pub const IPOPT_NOOP: u8 = 1;
const IPOPT_RR: u8 = 7;
const IPOPT_TIMESTAMP: u8 = 68;
const IPOPT_LSRR: u8 = 131;
const IPOPT_CIPSO: u8 = 134;
const IPOPT_SSRR: u8 = 137;
const IPOPT_RA: u8 = 148;

const IPOPT_TS_TSONLY: u8 = 0;
/// Timestamps with the address of who wrote them.
pub const IPOPT_TS_TSANDADDR: u8 = 1;
/// Timestamps of the hosts whose addresses are already there.
pub const IPOPT_TS_PRESPEC: u8 = 3;

/// Shortest security option: its head and one tag without content.
const CIPSO_MIN_LEN: usize = 8;

/// Most bytes of options in a header.
pub const MAX_OPTIONS: usize = 40;

/// What stands in a header's options, by byte offsets from the start of the IP header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IpOptions {
    /// Record route.
    pub rr: Option<usize>,
    /// Timestamp.
    pub ts: Option<usize>,
    /// Loose or strict source route.
    pub srr: Option<usize>,
    /// Security labels, which the answer repeats.
    pub cipso: Option<usize>,
    /// The source route is a strict one.
    pub strict: bool,
    /// The record route had room: its last entry is ours.
    pub rr_ours: bool,
    /// The timestamp option had room: its last entry is ours.
    pub ts_ours: bool,
    /// The next entry of the source route is where the packet goes.
    pub srr_hit: bool,
}

impl IpOptions {
    /// The options of a packet that [`ip_rcv_options`] let pass, without judging them again.
    pub fn of(skb: &Skb) -> IpOptions {
        let fields = skb.fields();
        let header = skb.network().get(..usize::from(fields.ip_hdr_len)).unwrap_or(&[]);
        let mut found = IpOptions {
            rr_ours: fields.flags & flags::RR_OURS != 0,
            ts_ours: fields.flags & flags::TS_OURS != 0,
            srr_hit: fields.flags & flags::SRR_HIT != 0,
            ..IpOptions::default()
        };
        let mut at = MIN_HEADER_LEN;
        while let Some(&kind) = header.get(at) {
            match kind {
                IPOPT_END => break,
                IPOPT_NOOP => {
                    at += 1;
                    continue;
                }
                IPOPT_RR => found.rr = Some(at),
                IPOPT_TIMESTAMP => found.ts = Some(at),
                IPOPT_CIPSO => found.cipso = Some(at),
                IPOPT_LSRR | IPOPT_SSRR => (found.srr, found.strict) = (Some(at), kind == IPOPT_SSRR),
                _ => {}
            }
            // Every option was found to have a length of two or more.
            at += usize::from(header.get(at + 1).copied().unwrap_or(0)).max(2);
        }
        found
    }

    fn flags(&self) -> u8 {
        let bit = |on, flag| if on { flag } else { 0 };
        bit(self.rr_ours, flags::RR_OURS)
            | bit(self.ts_ours, flags::TS_OURS)
            | bit(self.srr_hit, flags::SRR_HIT)
    }
}

/// What this router writes into options.
pub struct Entry<F: Fn(u32) -> bool> {
    /// Its address.
    pub addr: u32,
    /// Milliseconds since midnight UT.
    pub millis: u32,
    /// Whether an address belongs to somebody else: then a prespecified timestamp is not ours to write.
    pub is_unicast: F,
}

/// Judges the options of `header`, a whole IP header, and writes this router's entry where they ask for one. What was
/// seen is added to `found`, also if a later option is bad. The header checksum is left as it was.
///
/// # Errors
/// Offset of the byte that is wrong, as the parameter problem reports it.
pub fn ip_options_compile<F: Fn(u32) -> bool>(
    header: &mut [u8],
    entry: &Entry<F>,
    found: &mut IpOptions,
) -> Result<(), u8> {
    let mut at = MIN_HEADER_LEN;
    while at < header.len() {
        match header[at] {
            IPOPT_END => {
                header[at..].fill(IPOPT_END);
                break;
            }
            IPOPT_NOOP => {
                at += 1;
                continue;
            }
            _ => {}
        }
        let rest = &mut header[at..];
        // A length that does not fit points at the option itself.
        let len = match rest.get(1) {
            Some(&len) if len >= 2 && usize::from(len) <= rest.len() => usize::from(len),
            _ => return Err(at as u8),
        };
        compile_one(&mut rest[..len], at, entry, found).map_err(|offset| at as u8 + offset)?;
        at += len;
    }
    Ok(())
}

/// One option of two bytes or more that stands at `at`. The error is an offset within the option.
fn compile_one<F: Fn(u32) -> bool>(
    option: &mut [u8],
    at: usize,
    entry: &Entry<F>,
    found: &mut IpOptions,
) -> Result<(), u8> {
    match option[0] {
        kind @ (IPOPT_LSRR | IPOPT_SSRR) => {
            if option.len() < 3 {
                return Err(1);
            }
            if option[2] < 4 {
                return Err(2);
            }
            if found.srr.is_some() {
                return Err(0);
            }
            (found.srr, found.strict) = (Some(at), kind == IPOPT_SSRR);
        }
        // Each may stand there once.
        IPOPT_RR if found.rr.is_some() => return Err(0),
        IPOPT_TIMESTAMP if found.ts.is_some() => return Err(0),
        IPOPT_RR => {
            found.rr_ours = record_route(option, entry.addr)?;
            found.rr = Some(at);
        }
        IPOPT_TIMESTAMP => {
            found.ts_ours = timestamp(option, entry)?;
            found.ts = Some(at);
        }
        IPOPT_RA if option.len() < 4 => return Err(1),
        // Security labels (FIPS 188) of a domain of interpretation we do not know, as we know none.
        IPOPT_CIPSO => {
            found.cipso = Some(at);
            return Err(if option.len() < CIPSO_MIN_LEN { 1 } else { 2 });
        }
        _ => {}
    }
    Ok(())
}

fn record_route(option: &mut [u8], addr: u32) -> Result<bool, u8> {
    if option.len() < 3 {
        return Err(1);
    }
    let pointer = usize::from(option[2]);
    if pointer < 4 {
        return Err(2);
    }
    if pointer > option.len() {
        return Ok(false);
    }
    let Some(slot) = option.get_mut(pointer - 1..pointer + 3) else { return Err(2) };
    slot.copy_from_slice(&addr.to_be_bytes());
    option[2] += 4;
    Ok(true)
}

fn timestamp<F: Fn(u32) -> bool>(option: &mut [u8], entry: &Entry<F>) -> Result<bool, u8> {
    if option.len() < 4 {
        return Err(1);
    }
    let (pointer, flag) = (usize::from(option[2]), option[3] & 0xf);
    if pointer < 5 {
        return Err(2);
    }
    if pointer > option.len() {
        // Somebody more was there than there is room for.
        if flag != IPOPT_TS_PRESPEC {
            option[3] = if option[3] >> 4 == 15 { return Err(3) } else { option[3] + 0x10 };
        }
        return Ok(false);
    }
    let Some(slot) = option.get_mut(pointer - 1..) else { return Err(2) };
    if slot.len() < 4 {
        return Err(2);
    }
    let with_addr = matches!(flag, IPOPT_TS_TSANDADDR | IPOPT_TS_PRESPEC);
    if with_addr && slot.len() < 8 {
        return Err(2);
    }
    let written = match flag {
        IPOPT_TS_TSONLY => 4,
        IPOPT_TS_TSANDADDR => {
            slot[..4].copy_from_slice(&entry.addr.to_be_bytes());
            8
        }
        IPOPT_TS_PRESPEC if !(entry.is_unicast)(word(slot, 0)) => 8,
        // Not ours, or a flag nobody knows, which is left to who does.
        _ => return Ok(false),
    };
    slot[written - 4..written].copy_from_slice(&entry.millis.to_be_bytes());
    option[2] += written as u8;
    Ok(true)
}

/// The address at `at` of an option; 0 if it is not all there.
pub(super) fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.first_chunk()).map_or(0, |b| u32::from_be_bytes(*b))
}

/// Milliseconds since midnight UT (kernel `inet_current_timestamp`).
pub fn inet_current_timestamp(env: &Env<'_>) -> u32 {
    (env.wall_millis() % 86_400_000) as u32
}

/// Whether an address is nobody's of this router and no group's: the kernel's `inet_addr_type` is `RTN_UNICAST`.
pub fn is_unicast(env: &Env<'_>, addr: u32) -> bool {
    if addr == 0 || addr == ipv4::BROADCAST || ipv4::is_multicast(addr) {
        return false;
    }
    let kind = env.shared.next_hops.get(env.shared.fib.lookup(addr)).kind;
    !matches!(kind, Kind::Local | Kind::Broadcast)
}

/// Judges the options of a packet that has `route`, and follows its source route if it ends here; the result is the
/// route it has then.
///
/// # Errors
/// Why it must be dropped; an error was sent if there is one to send.
#[cold]
pub fn ip_rcv_options(
    env: &Env<'_>,
    hands: &mut Hands,
    dev: &NetDevice,
    skb: &mut Skb,
    route: Route,
) -> Result<Route, DropReason> {
    let mut found = IpOptions::default();
    if let Err(pointer) = recompile(env, skb, dev, matches!(route, Route::Local), &mut found) {
        env.cells.mib(Mib::IpInHdrErrors).add(1);
        parameter_problem(env, hands, skb, pointer, &found);
        return Err(DropReason::IpInhdr);
    }
    skb.fields_mut().flags |= found.flags();
    let Some(at) = found.srr else { return Ok(route) };
    if !dev.conf.accept_source_route {
        martian::source_route(env, dev, skb);
        return Err(DropReason::NotSpecified);
    }
    ip_options_rcv_srr(env, hands, dev, skb, (route, at, &found))
}

/// Judges the options of a packet whose option bits are not to be trusted any more.
///
/// # Errors
/// As [`ip_options_compile`].
pub fn recompile(
    env: &Env<'_>,
    skb: &mut Skb,
    dev: &NetDevice,
    local: bool,
    found: &mut IpOptions,
) -> Result<(), u8> {
    let header_len = usize::from(skb.fields().ip_hdr_len);
    let Some((src, dst)) = Ipv4Header::parse(skb.network()).map(|h| (h.src(), h.dst())) else {
        return Err(0);
    };
    let entry = Entry {
        addr: source::fib_compute_spec_dst(env, dev, src, dst, local),
        millis: inet_current_timestamp(env),
        is_unicast: |addr| is_unicast(env, addr),
    };
    let header = skb.network_mut().get_mut(..header_len).unwrap_or(&mut []);
    ip_options_compile(header, &entry, found)
}

fn parameter_problem(env: &Env<'_>, hands: &mut Hands, skb: &Skb, pointer: u8, options: &IpOptions) {
    icmp_send_about(env, hands, skb, (ICMP_PARAMETERPROB, 0, u32::from(pointer) << 24), options);
}

/// Follows the source route at `at` of a packet that came to where it was to come: its next address takes the place of
/// the destination, and the packet goes there. Addresses of our own are passed over at once.
fn ip_options_rcv_srr(
    env: &Env<'_>,
    hands: &mut Hands,
    dev: &NetDevice,
    skb: &mut Skb,
    (route, at, options): (Route, usize, &IpOptions),
) -> Result<Route, DropReason> {
    if skb.fields().pkt_type != pkt_type::HOST {
        return Err(DropReason::NotSpecified);
    }
    match route {
        Route::Local => {}
        Route::Forward(..) if !options.strict => return Ok(route),
        Route::Forward(..) => {
            // Strict, and we are not on it. The pointer is to the destination.
            parameter_problem(env, hands, skb, 16, options);
            return Err(DropReason::NotSpecified);
        }
        _ => return Err(DropReason::NotSpecified),
    }
    let Some(src) = Ipv4Header::parse(skb.network()).map(|h| h.src()) else {
        return Err(DropReason::IpInhdr);
    };
    let len = usize::from(skb.network().get(at + 1).copied().unwrap_or(0));
    let mut pointer = usize::from(skb.network().get(at + 2).copied().unwrap_or(0));
    while pointer <= len {
        if pointer + 3 > len {
            parameter_problem(env, hands, skb, at as u8 + 2, options);
            return Err(DropReason::NotSpecified);
        }
        let next = word(skb.network(), at + pointer - 1);
        match ip_route_input(env, dev, skb, src, next) {
            Ok(Route::Local) => set_destination(skb, next),
            Ok(found @ Route::Forward(..)) => {
                skb.fields_mut().flags |= flags::SRR_HIT;
                return Ok(found);
            }
            _ => return Err(DropReason::NotSpecified),
        }
        pointer += 4;
    }
    Ok(Route::Local)
}

fn set_destination(skb: &mut Skb, dst: u32) {
    if let Some(field) = skb.network_mut().get_mut(16..20) {
        field.copy_from_slice(&dst.to_be_bytes());
    }
}

/// The last things a packet with options needs on the way through: our address in the record route is that of the way
/// out, a source route that was followed advances, and the checksum is right again (kernel `ip_forward_options`).
pub fn ip_forward_options(env: &Env<'_>, skb: &mut Skb) {
    let (fields, options) = (*skb.fields(), IpOptions::of(skb));
    let header_len = usize::from(fields.ip_hdr_len);
    let next = if options.srr_hit { options.srr.and_then(|at| next_address(env, skb, at)) } else { None };
    let hop = env.shared.next_hops.get(NextHopId::new(fields.next_hop).unwrap_or(NextHopId::NONE));
    let addr = source::ip_rt_get_source(env, &hop, fields.gateway).to_be_bytes();
    let Some(header) = skb.network_mut().get_mut(..header_len) else { return };
    if let (Some(at), true) = (options.rr, options.rr_ours) {
        overwrite(header, at, 5, addr);
    }
    if let (Some(at), Some((pointer, next))) = (options.srr, next) {
        header[at + pointer - 1..at + pointer + 3].copy_from_slice(&addr);
        header[at + 2] = pointer as u8 + 4;
        header[16..20].copy_from_slice(&next.to_be_bytes());
        // The kernel mends the address beside a timestamp only here; elsewhere it stays the one that faces the sender.
        if let (Some(at), true) = (options.ts, options.ts_ours)
            && header[at + 3] & 0xf == IPOPT_TS_TSANDADDR
        {
            overwrite(header, at, 9, addr);
        }
    }
    ipv4::set_check(header);
}

/// Writes `addr` over the entry that ends `back` bytes before the pointer of the option at `at`.
fn overwrite(header: &mut [u8], at: usize, back: usize, addr: [u8; 4]) {
    let from = (at + usize::from(header[at + 2])).saturating_sub(back);
    if let Some(slot) = header.get_mut(from..from + 4) {
        slot.copy_from_slice(&addr);
    }
}

/// Where a followed source route leads: the pointer to the first address that is not ours, and the address.
fn next_address(env: &Env<'_>, skb: &Skb, at: usize) -> Option<(usize, u32)> {
    let option = skb.network().get(at..)?;
    let (&len, &pointer) = (option.get(1)?, option.get(2)?);
    let option = option.get(..usize::from(len))?;
    let entries = (usize::from(pointer)..).step_by(4).take_while(|p| p + 3 <= option.len());
    entries
        .map(|p| (p, word(option, p - 1)))
        .find(|&(_, addr)| env.shared.next_hops.get(env.shared.fib.lookup(addr)).kind != Kind::Local)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const US: [u8; 4] = [10, 1, 0, 1];

    fn header(options: &[u8]) -> Vec<u8> {
        let mut header = vec![0u8; MIN_HEADER_LEN];
        header.extend_from_slice(options);
        header.resize(header.len().next_multiple_of(4), 0);
        header
    }

    /// The options as they are then, and what was found in them; the address 1.2.3.4 is somebody else's.
    fn compile(options: &[u8]) -> (Result<(), u8>, Vec<u8>, IpOptions) {
        let entry = Entry {
            addr: u32::from_be_bytes(US),
            millis: 0x0506_0708,
            is_unicast: |addr| addr == 0x0102_0304,
        };
        let (mut header, mut found) = (header(options), IpOptions::default());
        let result = ip_options_compile(&mut header, &entry, &mut found);
        (result, header.split_off(MIN_HEADER_LEN), found)
    }

    #[test]
    fn pointers_name_the_byte_that_is_wrong() {
        for (options, pointer) in [
            (&[7, 2, 4, 0][..], 21),
            (&[7, 6, 4, 0, 0, 0], 22),
            (&[7, 7, 3, 0, 0, 0, 0], 22),
            (&[68, 4, 5, 0xf0], 23),
            (&[68, 8, 5, 1, 0, 0, 0, 0], 22),
            (&[68, 8, 6, 7, 0, 0, 0, 0], 22),
            (&[7, 1, 0, 0], 20),
            (&[222, 40, 0, 0], 20),
            (&[131, 3, 4, 137, 3, 4], 23),
            (&[148, 3, 0, 0], 21),
            (&[134, 7, 0, 0, 0, 1, 1], 21),
            (&[134, 10, 0, 0, 0, 1, 1, 4, 0, 1], 22),
        ] {
            assert_eq!(compile(options).0, Err(pointer), "{options:?}");
        }
    }

    #[test]
    fn entries_are_written_where_the_pointers_say() {
        for (options, after) in [
            (&[7, 7, 4, 0, 0, 0, 0][..], [&[7, 7, 8][..], &US].concat()),
            (&[7, 7, 8, 1, 2, 3, 4], vec![7, 7, 8, 1, 2, 3, 4]),
            (&[68, 8, 5, 0, 0, 0, 0, 0], vec![68, 8, 9, 0, 5, 6, 7, 8]),
            (&[68, 12, 5, 1, 0, 0, 0, 0, 0, 0, 0, 0], [&[68, 12, 13, 1][..], &US, &[5, 6, 7, 8]].concat()),
            (&[68, 12, 5, 3, 1, 2, 3, 5, 0, 0, 0, 0], vec![68, 12, 13, 3, 1, 2, 3, 5, 5, 6, 7, 8]),
            (&[68, 12, 5, 3, 1, 2, 3, 4, 0, 0, 0, 0], vec![68, 12, 5, 3, 1, 2, 3, 4, 0, 0, 0, 0]),
            (&[68, 8, 9, 0xe1, 1, 2, 3, 4], vec![68, 8, 9, 0xf1, 1, 2, 3, 4]),
            (&[68, 8, 9, 0xf3, 1, 2, 3, 4], vec![68, 8, 9, 0xf3, 1, 2, 3, 4]),
            (&[222, 4, 9, 9], vec![222, 4, 9, 9]),
            (&[0, 7, 7, 7], vec![0; 4]),
        ] {
            let (result, mut found, _) = compile(options);
            found.truncate(options.len());
            assert_eq!((result, found), (Ok(()), after), "{options:?}");
        }
    }

    #[test]
    fn what_was_found_before_the_bad_option_is_kept() {
        let (result, _, found) = compile(&[7, 7, 4, 0, 0, 0, 0, 131, 7, 4, 1, 2, 3, 4, 222, 99]);
        let want = IpOptions { rr: Some(20), rr_ours: true, srr: Some(27), ..IpOptions::default() };
        assert_eq!((result, found), (Err(34), want));
    }

    proptest! {
        #[test]
        fn any_options_compile_or_point_into_the_header(options in proptest::collection::vec(any::<u8>(), 0..40)) {
            let (result, after, found) = compile(&options);
            if let Err(pointer) = result {
                prop_assert!((20..20 + after.len() + 4).contains(&usize::from(pointer)));
            }
            for at in [found.rr, found.ts, found.srr].into_iter().flatten() {
                let option = &after[at - 20..];
                prop_assert!(usize::from(option[1]) <= option.len() && option[1] >= 3);
            }
        }
    }
}
