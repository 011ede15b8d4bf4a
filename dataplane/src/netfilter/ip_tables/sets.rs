//! Sets of `-m set`, laid out for one lookup a packet.

use super::matches::{has_ports, ports};
use super::rule::{IpSet, SetKind};
use super::view::PacketView;
use crate::skb::ipv4::{IPPROTO_ICMP, IPPROTO_TCP, IPPROTO_UDP};

/// A set ready to be asked.
#[derive(Debug)]
pub struct SetLookup {
    kind: SetKind,
    /// Elements by prefix length, the longest first.
    by_prefix: Box<[(u32, FlatMap)]>,
    /// `bitmap:port`
    ports: Box<[u64]>,
}

impl SetLookup {
    /// The lookup of a set.
    pub fn new(set: &IpSet) -> SetLookup {
        let mut prefixes: Vec<u8> = set.entries.iter().map(|e| e.prefix.min(32)).collect();
        prefixes.sort_unstable_by(|a, b| b.cmp(a));
        prefixes.dedup();
        let mut bitmap = Box::default();
        if set.kind == SetKind::BitmapPort {
            prefixes.clear();
            bitmap = vec![0u64; 1024].into_boxed_slice();
            for entry in &set.entries {
                bitmap[usize::from(entry.port >> 6)] |= 1 << (entry.port & 63);
            }
        }
        let tables = prefixes.into_iter().map(|prefix| {
            let mask = mask(prefix);
            let entries = set.entries.iter().filter(|e| e.prefix.min(32) == prefix);
            (
                mask,
                FlatMap::new(entries.map(|e| (element(e.addr & mask, e.proto, e.port), e.nomatch)).collect()),
            )
        });
        SetLookup { kind: set.kind, by_prefix: tables.collect(), ports: bitmap }
    }

    /// Whether the packet's element, made of what `src` says of each part, is in the set.
    pub fn matches(&self, v: &PacketView<'_>, src: &[bool]) -> bool {
        let from_src = |part: usize| src.get(part).copied().unwrap_or(true);
        let addr = if from_src(0) { v.ip().src() } else { v.ip().dst() };
        match self.kind {
            SetKind::HashIp | SetKind::HashNet => self.has(addr, 0, 0),
            SetKind::HashIpPort | SetKind::HashNetPort => {
                proto_port(v, from_src(1)).is_some_and(|(proto, port)| self.has(addr, proto, port))
            }
            SetKind::BitmapPort => match proto_port(v, from_src(0)) {
                Some((IPPROTO_TCP | IPPROTO_UDP, port)) => {
                    self.ports.get(usize::from(port >> 6)).is_some_and(|w| w >> (port & 63) & 1 == 1)
                }
                _ => false,
            },
        }
    }

    fn has(&self, addr: u32, proto: u8, port: u16) -> bool {
        let found = |(mask, map): &(u32, FlatMap)| map.get(element(addr & mask, proto, port));
        self.by_prefix.iter().find_map(found).is_some_and(|nomatch| !nomatch)
    }
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

/// Protocol and port of a packet as sets hold them: ICMP's type and code are its port, other protocols have 0.
fn proto_port(v: &PacketView<'_>, src: bool) -> Option<(u8, u16)> {
    let protocol = v.ip().protocol();
    if protocol == 0 || (v.fragoff() != 0 && has_ports(protocol)) {
        return None;
    }
    if protocol == IPPROTO_ICMP {
        return v.header::<2>(0).map(|h| (protocol, u16::from_be_bytes(*h)));
    }
    if !has_ports(protocol) {
        return Some((protocol, 0));
    }
    let (sport, dport) = ports(v).ok()??;
    Some((protocol, if src { sport } else { dport }))
}

fn element(addr: u32, proto: u8, port: u16) -> u64 {
    u64::from(addr) | u64::from(proto) << 32 | u64::from(port) << 40
}

/// A hash table that is filled once: open addressing, at most half full.
#[derive(Debug)]
struct FlatMap {
    /// Element and whether it is an exception; [`FlatMap::FREE`] is nobody.
    slots: Box<[(u64, bool)]>,
}

impl FlatMap {
    const FREE: u64 = u64::MAX;

    fn new(entries: Vec<(u64, bool)>) -> FlatMap {
        let mut slots = vec![(Self::FREE, false); (entries.len() * 2).next_power_of_two().max(4)];
        let mask = slots.len() - 1;
        for (key, nomatch) in entries {
            let mut at = hash(key);
            while slots[at & mask].0 != Self::FREE && slots[at & mask].0 != key {
                at += 1;
            }
            slots[at & mask] = (key, nomatch);
        }
        FlatMap { slots: slots.into() }
    }

    #[inline]
    fn get(&self, key: u64) -> Option<bool> {
        let mask = self.slots.len() - 1;
        let mut at = hash(key);
        loop {
            let &(found, nomatch) = self.slots.get(at & mask)?;
            if found == key {
                return Some(nomatch);
            }
            if found == Self::FREE {
                return None;
            }
            at += 1;
        }
    }
}

fn hash(key: u64) -> usize {
    let h = (key ^ key >> 29).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (h >> 32) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netfilter::ip_tables::rule::SetEntry;
    use crate::netfilter::ip_tables::tests::Bytes;

    fn entry(net: &str, proto: u8, port: u16, nomatch: bool) -> SetEntry {
        let net: ipnet::Ipv4Net = net.parse().unwrap();
        SetEntry { addr: net.addr().to_bits(), prefix: net.prefix_len(), proto, port, nomatch }
    }

    fn set(kind: SetKind, entries: Vec<SetEntry>) -> SetLookup {
        SetLookup::new(&IpSet { name: "s".into(), kind, entries, maxelem: 65_536 })
    }

    #[test]
    fn networks_and_their_exceptions() {
        let nets =
            [("10.0.0.0/8", false), ("10.1.0.0/16", true), ("10.1.2.0/24", false), ("0.0.0.0/1", false)];
        let set = set(SetKind::HashNet, nets.map(|(n, no)| entry(n, 0, 0, no)).into());
        for (src, want) in [("10.9.0.1", true), ("10.1.9.9", false), ("10.1.2.3", true), ("192.0.2.1", false)]
        {
            assert_eq!(set.matches(&Bytes::udp(src, "192.0.2.9", 1, 2).view(), &[true]), want, "{src}");
        }
        assert!(set.matches(&Bytes::udp("192.0.2.9", "10.9.0.1", 1, 2).view(), &[false]));
    }

    #[test]
    fn addresses_with_ports() {
        let entries = vec![entry("10.0.0.1/32", 17, 53, false), entry("10.0.0.2/32", 1, 0x0800, false)];
        let set = set(SetKind::HashIpPort, entries);
        let m = |p: &Bytes, src: &[bool]| set.matches(&p.view(), src);
        assert!(m(&Bytes::udp("10.0.0.1", "9.9.9.9", 5, 53), &[true, false]));
        assert!(!m(&Bytes::udp("10.0.0.1", "9.9.9.9", 5, 53), &[true, true]));
        assert!(m(&Bytes::udp("9.9.9.9", "10.0.0.1", 53, 5), &[false, true]));
        assert!(!m(&Bytes::tcp("10.0.0.1", "9.9.9.9", 5, 53, 2, &[]), &[true, false]));
        assert!(m(&Bytes::icmp("10.0.0.2", "9.9.9.9", 8, 0), &[true, true]));
        assert!(!m(&Bytes::udp("10.0.0.1", "9.9.9.9", 5, 53).fragment(7), &[true, false]));
    }

    #[test]
    fn port_bitmaps_know_tcp_and_udp() {
        let set = set(SetKind::BitmapPort, vec![entry("0.0.0.0/32", 0, 22, false)]);
        assert!(set.matches(&Bytes::tcp("10.0.0.1", "9.9.9.9", 5, 22, 2, &[]).view(), &[false]));
        assert!(!set.matches(&Bytes::tcp("10.0.0.1", "9.9.9.9", 5, 23, 2, &[]).view(), &[false]));
        assert!(!set.matches(&Bytes::icmp("10.0.0.1", "9.9.9.9", 0, 22).view(), &[false]));
    }
}
