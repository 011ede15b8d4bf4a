//! What a rule demands of the fields that classifiers look at.

use crate::netfilter::ip_tables::classify::Field;
use crate::netfilter::ip_tables::demands::{Accepts, Filter};
use crate::netfilter::ip_tables::program::Exact;
use crate::netfilter::ip_tables::rule::*;

/// What the classifier can hold against a packet, and whether that is all the rule asks.
///
/// Once a match remembers something or may drop the packet, the ones behind it are not held against the packet: whether
/// the first is asked must not depend on them.
pub(super) fn filter_of(rule: &Rule, iif: &Option<Accepts>, oif: &Option<Accepts>) -> (Filter, Exact) {
    let mut filter = Filter::default();
    let (mut exact, mut open) = (Exact::Always, Open::All);
    for (field, m) in [(Field::Src, rule.ip.src), (Field::Dst, rule.ip.dst)] {
        match contiguous(m) {
            _ if m == AddrMatch::default() => {}
            Some((min, max)) => filter.demand(field, Accepts::range(min, max).inverted_if(m.invert, field)),
            None => exact = Exact::Never,
        }
    }
    if let Some(p) = rule.ip.proto {
        let value = u32::from(p.value);
        let both = Accepts::ranges([(value, value), (value | 0x100, value | 0x100)]);
        filter.demand(Field::Proto, both.inverted_if(p.invert, Field::Proto));
    }
    if let Some(f) = rule.ip.fragment {
        filter.demand(Field::Proto, Accepts::range(0x100, 0x1ff).inverted_if(f.invert, Field::Proto));
    }
    for (field, set) in [(Field::Iif, iif), (Field::Oif, oif)] {
        if let Some(set) = set {
            filter.demand(field, set.clone());
        }
    }
    for m in &rule.matches {
        let allowed = open == Open::All || (open == Open::Ports && opens(m) == Open::Ports);
        let certain = if allowed { demand(&mut filter, m) } else { Exact::Never };
        exact = match (exact, certain) {
            (Exact::Never, _) | (_, Exact::Never) => Exact::Never,
            (Exact::WithPorts, _) | (_, Exact::WithPorts) => Exact::WithPorts,
            _ => Exact::Always,
        };
        open = open.min(opens(m));
    }
    (filter, exact)
}

/// First and last address under a mask, if they are a range.
fn contiguous(m: AddrMatch) -> Option<(u32, u32)> {
    (m.mask.leading_ones() == m.mask.count_ones()).then_some((m.addr, m.addr | !m.mask))
}

/// What may be held against a packet behind a match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Open {
    /// Nothing: it remembers something, or may drop any packet.
    Closed,
    /// Ports: it may drop packets, but only those that have none.
    Ports,
    /// Everything.
    All,
}

fn opens(m: &Match) -> Open {
    match m {
        Match::Tcp(TcpMatch { option: None, .. }) | Match::Udp(_) | Match::Multiport(_) => Open::Ports,
        Match::Statistic(Inv { value: StatisticMatch::Nth { .. }, .. })
        | Match::Tcp(_)
        | Match::Limit(_)
        | Match::Hashlimit(_)
        | Match::Tcpmss(_)
        | Match::Icmp(_) => Open::Closed,
        _ => Open::All,
    }
}

/// Adds what a match demands of the fields, and says whether that is all of it.
fn demand(filter: &mut Filter, m: &Match) -> Exact {
    let ports = |filter: &mut Filter, m: &PortsMatch| {
        for (field, port) in [(Field::Sport, &m.sport), (Field::Dport, &m.dport)] {
            if let Some(port) = port {
                let range = Accepts::range(port.value.min.into(), port.value.max.into());
                filter.demand(field, range.inverted_if(port.invert, field));
            }
        }
    };
    match m {
        Match::Comment(_) => Exact::Always,
        Match::Tcp(tcp) => {
            ports(filter, &tcp.ports);
            if tcp.flags.is_none() && tcp.option.is_none() { Exact::WithPorts } else { Exact::Never }
        }
        Match::Udp(udp) => {
            ports(filter, udp);
            Exact::WithPorts
        }
        Match::Multiport(multi) => {
            let field = match multi.kind {
                MultiportKind::Source => Field::Sport,
                MultiportKind::Destination => Field::Dport,
                MultiportKind::Either => return Exact::Never,
            };
            let ranges =
                Accepts::ranges(multi.ports.iter().map(|r| (r.ports.min.into(), r.ports.max.into())));
            filter.demand(field, ranges.inverted_if(multi.invert, field));
            Exact::WithPorts
        }
        Match::Iprange(m) => {
            for (field, range) in [(Field::Src, &m.src), (Field::Dst, &m.dst)] {
                if let Some(r) = range {
                    filter
                        .demand(field, Accepts::range(r.value.min, r.value.max).inverted_if(r.invert, field));
                }
            }
            Exact::Always
        }
        _ => Exact::Never,
    }
}
