//! Matches on one packet, with the kernel's arithmetic (`xt_*_mt`). Those that remember something are in [`limit`],
//! [`hashlimit`] and [`sets`].
//!
//! [`limit`]: super::limit
//! [`hashlimit`]: super::hashlimit
//! [`sets`]: super::sets

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::hashlimit::Hashlimit;
use super::limit::Limit;
use super::rule::*;
use super::sets::SetLookup;
use super::time;
use super::view::PacketView;
use crate::net::IfIndex;
use crate::skb::ipv4::{self, IPPROTO_ICMP, IPPROTO_TCP, IPPROTO_UDP};

/// What matches ask of the router.
pub trait World {
    /// Type of an address, `RTN_*`; as `dev` sees it, if given.
    fn addr_type(&self, addr: u32, dev: Option<IfIndex>) -> u8;
    /// How a packet to `addr` would leave.
    fn reverse_path(&self, addr: u32, dev: IfIndex) -> ReversePath;
    /// The device is the loopback.
    fn is_loopback(&self, dev: IfIndex) -> bool;
    /// Milliseconds on a clock that does not jump.
    fn now_millis(&self) -> u64;
    /// Seconds since 1970-01-01 UTC.
    fn wall_seconds(&self) -> u64;
    /// A random word.
    fn random(&mut self) -> u32;
}

/// What [`World::reverse_path`] found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReversePath {
    /// A route to hosts.
    pub unicast: bool,
    /// To the router itself.
    pub local: bool,
    /// By the device asked for.
    pub same_dev: bool,
}

/// Address types (`RTN_*`).
pub mod rtn {
    /// Of a host.
    pub const UNICAST: u8 = 1;
    /// Our own.
    pub const LOCAL: u8 = 2;
    /// Everybody's on a network.
    pub const BROADCAST: u8 = 3;
    /// A group's.
    pub const MULTICAST: u8 = 5;
}

/// The packet must be dropped at once: its headers are not all there, or forged to pass filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HotDrop;

/// Whether a match holds.
pub type Held = Result<bool, HotDrop>;

/// A match ready to run.
#[derive(Debug)]
pub(super) enum Matcher {
    /// Looks at the packet alone.
    Plain(Match),
    Limit(Arc<Limit>),
    Hashlimit {
        above: bool,
        table: Arc<Hashlimit>,
    },
    Set(SetMatch, Arc<SetLookup>),
    Nth {
        every: u32,
        invert: bool,
        count: Arc<AtomicU32>,
    },
}

impl Matcher {
    pub fn holds(&self, v: &PacketView<'_>, world: &mut impl World) -> Held {
        match self {
            Matcher::Plain(m) => holds(m, v, world),
            Matcher::Limit(limit) => Ok(limit.take(world.now_millis())),
            Matcher::Hashlimit { above, table } => table.matches(*above, v, world.now_millis()),
            Matcher::Set(spec, set) => Ok(set.matches(v, &spec.src) ^ spec.invert),
            Matcher::Nth { every, invert, count } => Ok(nth(count, *every) ^ invert),
        }
    }
}

/// One step of a counter that comes round every `every` packets; true when it does.
fn nth(count: &AtomicU32, every: u32) -> bool {
    let last = every.saturating_sub(1);
    let step = |n: u32| Some(if n >= last { 0 } else { n + 1 });
    let old = count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step).unwrap_or(0);
    old >= last
}

/// Whether a match that looks at the packet alone holds. Those that remember something are false here.
pub fn holds(m: &Match, v: &PacketView<'_>, world: &mut impl World) -> Held {
    let ip = v.ip();
    Ok(match m {
        Match::Tcp(m) => return tcp(m, v),
        Match::Udp(m) => return udp(m, v),
        Match::Icmp(m) => return icmp(m, v),
        Match::Multiport(m) => return multiport(m, v),
        Match::Tcpmss(m) => return tcpmss(m, v),
        Match::Mark(m) => (v.mark & m.value.mask == m.value.value) ^ m.invert,
        Match::Comment(_) => true,
        Match::Addrtype(m) => addrtype(m, v, world),
        Match::Iprange(m) => {
            let inside = |r: &Option<Inv<Range<u32>>>, addr: u32| {
                r.is_none_or(|r| (r.value.min..=r.value.max).contains(&addr) ^ r.invert)
            };
            inside(&m.src, ip.src()) && inside(&m.dst, ip.dst())
        }
        Match::Mac(m) => v.mac.is_some_and(|mac| (mac == m.value) ^ m.invert),
        Match::Length(m) => {
            (usize::from(m.value.min)..=usize::from(m.value.max)).contains(&ip.total_len()) ^ m.invert
        }
        Match::Ttl(m) => match *m {
            TtlMatch::Eq(ttl) => ip.ttl() == ttl,
            TtlMatch::Ne(ttl) => ip.ttl() != ttl,
            TtlMatch::Lt(ttl) => ip.ttl() < ttl,
            TtlMatch::Gt(ttl) => ip.ttl() > ttl,
        },
        Match::Dscp(m) => (ip.tos() >> 2 == m.value) ^ m.invert,
        Match::Tos(m) => (ip.tos() & m.value.mask == m.value.value) ^ m.invert,
        Match::Statistic(m) => match m.value {
            StatisticMatch::Random { probability } => (world.random() & 0x7fff_ffff < probability) ^ m.invert,
            StatisticMatch::Nth { .. } => false,
        },
        Match::Pkttype(m) => (v.pkt_type == m.value) ^ m.invert,
        Match::Rpfilter(m) => rpfilter(m, v, world),
        Match::Time(m) => time::matches(m, world.wall_seconds()),
        Match::U32(m) => m.value.iter().all(|test| u32_test(test, v)) ^ m.invert,
        Match::Ecn(m) => ecn(m, v),
        Match::Limit(_) | Match::Hashlimit(_) | Match::Set(_) => false,
    })
}

/// The part every rule has, but the devices.
pub(super) fn ip_packet(m: &IpMatch, src: u32, dst: u32, protocol: u8, later_fragment: bool) -> bool {
    let within = |m: &AddrMatch, addr: u32| (addr & m.mask == m.addr) ^ m.invert;
    within(&m.src, src)
        && within(&m.dst, dst)
        && m.proto.is_none_or(|p| (p.value == protocol) ^ p.invert)
        && m.fragment.is_none_or(|f| later_fragment ^ f.invert)
}

fn port(m: &Option<Inv<Range<u16>>>, port: [u8; 2]) -> bool {
    m.is_none_or(|m| (m.value.min..=m.value.max).contains(&u16::from_be_bytes(port)) ^ m.invert)
}

fn tcp(m: &TcpMatch, v: &PacketView<'_>) -> Held {
    match v.fragoff() {
        0 => {}
        // Eight bytes on, a fragment would write its flags over those of the first (RFC 1858 section 3).
        1 => return Err(HotDrop),
        _ => return Ok(false),
    }
    let h = v.header::<20>(0).ok_or(HotDrop)?;
    if !port(&m.ports.sport, [h[0], h[1]]) || !port(&m.ports.dport, [h[2], h[3]]) {
        return Ok(false);
    }
    if !m.flags.is_none_or(|f| (h[13] & f.value.mask == f.value.comp) ^ f.invert) {
        return Ok(false);
    }
    match m.option {
        None => Ok(true),
        Some(option) => tcp_option(option, h[12], v),
    }
}

fn tcp_option(m: Inv<u8>, offset_byte: u8, v: &PacketView<'_>) -> Held {
    let data_offset = usize::from(offset_byte >> 4) * 4;
    if data_offset < 20 {
        return Err(HotDrop);
    }
    let options = v.tcp_options(data_offset).ok_or(HotDrop)?;
    Ok(options_of(options).any(|(kind, _)| kind == m.value) ^ m.invert)
}

/// The options of a TCP header as the kernel steps over them: kind, and everything from the kind on.
fn options_of(options: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = options.get(at..)?;
        let kind = *rest.first()?;
        at += if kind < 2 { 1 } else { usize::from(rest.get(1).copied().unwrap_or(1).max(1)) };
        Some((kind, rest))
    })
}

fn udp(m: &PortsMatch, v: &PacketView<'_>) -> Held {
    if v.fragoff() != 0 {
        return Ok(false);
    }
    let h = v.header::<8>(0).ok_or(HotDrop)?;
    Ok(port(&m.sport, [h[0], h[1]]) && port(&m.dport, [h[2], h[3]]))
}

fn icmp(m: &Inv<IcmpMatch>, v: &PacketView<'_>) -> Held {
    if v.fragoff() != 0 {
        return Ok(false);
    }
    let h = v.header::<8>(0).ok_or(HotDrop)?;
    let IcmpMatch { icmp_type, code } = m.value;
    let same = icmp_type == 255 || (h[0] == icmp_type && (code.min..=code.max).contains(&h[1]));
    Ok(same ^ m.invert)
}

fn multiport(m: &MultiportMatch, v: &PacketView<'_>) -> Held {
    if v.fragoff() != 0 {
        return Ok(false);
    }
    let &[a, b, c, d] = v.header::<4>(0).ok_or(HotDrop)?;
    let (src, dst) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    let found = m.ports.iter().any(|MultiportRange { ports, .. }| {
        let inside = |port: u16| (ports.min..=ports.max).contains(&port);
        match m.kind {
            MultiportKind::Source => inside(src),
            MultiportKind::Destination => inside(dst),
            MultiportKind::Either => inside(src) || inside(dst),
        }
    });
    Ok(found ^ m.invert)
}

fn tcpmss(m: &Inv<Range<u16>>, v: &PacketView<'_>) -> Held {
    let h = v.header::<20>(0).ok_or(HotDrop)?;
    let data_offset = usize::from(h[12] >> 4) * 4;
    if data_offset < 20 {
        return Err(HotDrop);
    }
    let options = v.tcp_options(data_offset).ok_or(HotDrop)?;
    for (_, rest) in options_of(options) {
        if let [2, 4, high, low, ..] = *rest {
            let mss = u16::from_be_bytes([high, low]);
            return Ok((m.value.min..=m.value.max).contains(&mss) ^ m.invert);
        }
    }
    Ok(m.invert)
}

fn addrtype(m: &AddrtypeMatch, v: &PacketView<'_>, world: &impl World) -> bool {
    let dev = match (m.limit_iface_in, m.limit_iface_out) {
        (true, _) => Some(v.iif),
        (false, true) => Some(v.oif),
        _ => None,
    };
    let is = |types: &Option<Inv<u16>>, addr: u32| {
        types.is_none_or(|t| (t.value >> world.addr_type(addr, dev) & 1 == 1) ^ t.invert)
    };
    is(&m.src, v.ip().src()) && is(&m.dst, v.ip().dst())
}

fn rpfilter(m: &RpfilterMatch, v: &PacketView<'_>, world: &impl World) -> bool {
    let (src, dst) = (v.ip().src(), v.ip().dst());
    // A host without an address asks for one.
    let booting = ipv4::is_zeronet(src) && (dst == ipv4::BROADCAST || ipv4::is_local_multicast(dst));
    if booting || world.is_loopback(v.iif) {
        return !m.invert;
    }
    let path = world.reverse_path(src, v.iif);
    let reachable = path.unicast || (path.local && m.accept_local);
    (reachable && (path.same_dev || m.loose)) ^ m.invert
}

fn u32_test(test: &U32Test, v: &PacketView<'_>) -> bool {
    let mut steps = test.location.iter();
    let Some(&(_, first)) = steps.next() else { return false };
    let Some(mut value) = v.word(first as usize) else { return false };
    let mut at = 0u32;
    for &(op, number) in steps {
        match op {
            U32Op::And => value &= number,
            U32Op::LeftShift => value = value.wrapping_shl(number),
            U32Op::RightShift => value = value.wrapping_shr(number),
            U32Op::At => {
                let Some(next) = at.checked_add(value) else { return false };
                at = next;
                let Some(loaded) = (at as usize).checked_add(number as usize).and_then(|at| v.word(at))
                else {
                    return false;
                };
                value = loaded;
            }
        }
    }
    test.values.iter().any(|r| (r.min..=r.max).contains(&value))
}

fn ecn(m: &EcnMatch, v: &PacketView<'_>) -> bool {
    let ip = v.ip();
    if !m.ip_ect.is_none_or(|ect| (ip.tos() & 3 == ect.value) ^ ect.invert) {
        return false;
    }
    if m.tcp_ece.is_none() && m.tcp_cwr.is_none() {
        return true;
    }
    let Some(h) = v.header::<20>(0) else { return false };
    let bit = |m: &Option<Inv<()>>, bit: u8| m.is_none_or(|m| (h[13] & bit != 0) ^ m.invert);
    bit(&m.tcp_ece, 0x40) && bit(&m.tcp_cwr, 0x80)
}

/// Source and destination port as `hashlimit` and sets read them; `Err` where the packet is too short for them.
pub(super) fn ports(v: &PacketView<'_>) -> Result<Option<(u16, u16)>, HotDrop> {
    // UDP-Lite, SCTP, DCCP, ESP and AH have theirs in the same place (`proto_ports_offset`).
    let at = match v.ip().protocol() {
        IPPROTO_TCP | IPPROTO_UDP | 136 | 132 | 33 | 50 => 0,
        51 => 4,
        _ => return Ok(None),
    };
    let &[a, b, c, d] = v.header::<4>(at).ok_or(HotDrop)?;
    Ok(Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))))
}

/// Protocols whose later fragments have no ports to match.
pub(super) fn has_ports(protocol: u8) -> bool {
    matches!(protocol, IPPROTO_TCP | IPPROTO_UDP | IPPROTO_ICMP | 132 | 136)
}

#[cfg(test)]
mod unit;
