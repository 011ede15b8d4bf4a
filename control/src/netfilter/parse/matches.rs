//! The match extensions: their options, and the values these make.

use skiff_dataplane::net::MacAddr;
use skiff_dataplane::netfilter::ip_tables::rule::*;

use super::options::{Given, Spec, flag, negatable, value};
use super::values::{bounded, dscp_class, masked32, number, port, ports, range16, rate, tos};
use super::{hashlimit, icmp, time, u32_test};
use crate::config::Fault;
use crate::netfilter::error::quote;
use crate::netfilter::names;

/// A match extension.
pub(super) struct MatchExtension {
    /// `-m NAME`
    pub name: &'static str,
    /// Its options.
    pub options: &'static [Spec],
    /// Makes its value of the options and the rule's protocol.
    pub build: fn(&Given, Option<Inv<u8>>) -> Result<Match, Fault>,
}

/// The extension of that name.
pub(super) fn find(name: &str) -> Option<&'static MatchExtension> {
    MATCHES.iter().find(|extension| extension.name == name)
}

/// Every name, for suggestions.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    MATCHES.iter().map(|extension| extension.name)
}

const MATCHES: &[MatchExtension] = &[
    MatchExtension { name: "tcp", options: TCP, build: tcp },
    MatchExtension { name: "udp", options: UDP, build: udp },
    MatchExtension {
        name: "icmp",
        options: &[negatable(&["icmp-type"])],
        build: |given, _| {
            let option = given.require("icmp-type")?;
            Ok(Match::Icmp(Inv { value: icmp::icmp_type(option.arg())?, invert: option.invert }))
        },
    },
    MatchExtension { name: "multiport", options: MULTIPORT, build: multiport },
    MatchExtension {
        name: "mark",
        options: &[negatable(&["mark"])],
        build: |given, _| {
            let option = given.require("mark")?;
            Ok(Match::Mark(Inv { value: masked32("mark", option.arg())?, invert: option.invert }))
        },
    },
    MatchExtension {
        name: "comment",
        options: &[value(&["comment"])],
        build: |given, _| Ok(Match::Comment(comment(given.require("comment")?.arg())?)),
    },
    MatchExtension { name: "limit", options: &[value(&["limit"]), value(&["limit-burst"])], build: limit },
    MatchExtension {
        name: "hashlimit",
        options: hashlimit::OPTIONS,
        build: |given, _| hashlimit::build(given),
    },
    MatchExtension { name: "addrtype", options: ADDRTYPE, build: addrtype },
    MatchExtension {
        name: "iprange",
        options: &[negatable(&["src-range"]), negatable(&["dst-range"])],
        build: iprange,
    },
    MatchExtension {
        name: "mac",
        options: &[negatable(&["mac-source"])],
        build: |given, _| {
            let option = given.require("mac-source")?;
            Ok(Match::Mac(Inv { value: mac(option.arg())?, invert: option.invert }))
        },
    },
    MatchExtension {
        name: "set",
        options: &[Spec { names: &["match-set", "set"], args: 2, invert: true }],
        build: set,
    },
    MatchExtension {
        name: "length",
        options: &[negatable(&["length"])],
        build: |given, _| {
            let option = given.require("length")?;
            Ok(Match::Length(Inv { value: range16("length", option.arg())?, invert: option.invert }))
        },
    },
    MatchExtension {
        name: "ttl",
        options: &[negatable(&["ttl-eq", "ttl"]), value(&["ttl-lt"]), value(&["ttl-gt"])],
        build: ttl,
    },
    MatchExtension {
        name: "dscp",
        options: &[negatable(&["dscp"]), negatable(&["dscp-class"])],
        build: |given, _| {
            let option = given.exactly_one_of(&["dscp", "dscp-class"])?;
            let value = match option.name {
                "dscp" => bounded("dscp", option.arg(), 0, 63)?,
                _ => dscp_class(option.arg())?,
            };
            Ok(Match::Dscp(Inv { value, invert: option.invert }))
        },
    },
    MatchExtension {
        name: "tos",
        options: &[negatable(&["tos"])],
        build: |given, _| {
            let option = given.require("tos")?;
            Ok(Match::Tos(Inv { value: tos("tos", option.arg())?, invert: option.invert }))
        },
    },
    MatchExtension { name: "statistic", options: STATISTIC, build: statistic },
    MatchExtension { name: "pkttype", options: &[negatable(&["pkt-type"])], build: pkttype },
    MatchExtension {
        name: "rpfilter",
        options: &[flag(&["loose"]), flag(&["validmark"]), flag(&["accept-local"]), flag(&["invert"])],
        build: |given, _| {
            Ok(Match::Rpfilter(RpfilterMatch {
                loose: given.has("loose"),
                validmark: given.has("validmark"),
                accept_local: given.has("accept-local"),
                invert: given.has("invert"),
            }))
        },
    },
    MatchExtension { name: "time", options: time::OPTIONS, build: |given, _| time::build(given) },
    MatchExtension {
        name: "u32",
        options: &[negatable(&["u32"])],
        build: |given, _| {
            let option = given.require("u32")?;
            Ok(Match::U32(Inv { value: u32_test::parse(option.arg())?, invert: option.invert }))
        },
    },
    MatchExtension { name: "ecn", options: ECN, build: ecn },
    MatchExtension {
        name: "tcpmss",
        options: &[negatable(&["mss"])],
        build: |given, _| {
            let option = given.require("mss")?;
            Ok(Match::Tcpmss(Inv { value: range16("mss", option.arg())?, invert: option.invert }))
        },
    },
];

const TCP: &[Spec] = &[
    negatable(&["sport", "source-port"]),
    negatable(&["dport", "destination-port"]),
    Spec { names: &["tcp-flags"], args: 2, invert: true },
    Spec { names: &["syn"], args: 0, invert: true },
    negatable(&["tcp-option"]),
];
const UDP: &[Spec] = &[negatable(&["sport", "source-port"]), negatable(&["dport", "destination-port"])];
const MULTIPORT: &[Spec] = &[
    negatable(&["sports", "source-ports"]),
    negatable(&["dports", "destination-ports"]),
    negatable(&["ports"]),
];
const ADDRTYPE: &[Spec] = &[
    negatable(&["src-type"]),
    negatable(&["dst-type"]),
    flag(&["limit-iface-in"]),
    flag(&["limit-iface-out"]),
];
const STATISTIC: &[Spec] =
    &[value(&["mode"]), negatable(&["probability"]), negatable(&["every"]), value(&["packet"])];
const ECN: &[Spec] = &[
    negatable(&["ecn-ip-ect"]),
    Spec { names: &["ecn-tcp-ece"], args: 0, invert: true },
    Spec { names: &["ecn-tcp-cwr"], args: 0, invert: true },
];

fn tcp(given: &Given, _: Option<Inv<u8>>) -> Result<Match, Fault> {
    let flags = given.one_of(&["syn", "tcp-flags"])?;
    let flags = match flags {
        Some(option) if option.name == "syn" => {
            Some(Inv { value: TcpFlagsMatch { mask: 0x17, comp: 0x02 }, invert: option.invert })
        }
        Some(option) => {
            let word = |at: usize| tcp_flags(option.args.get(at).map_or("", String::as_str));
            let value = TcpFlagsMatch { mask: word(0)?, comp: word(1)? };
            if value.mask == 0 && value.comp != 0 {
                return Err("--tcp-flags looks at no flag and wants one set: it would never match".into());
            }
            // Looking at nothing is no condition; its negation is one that never holds, and is kept.
            Some(Inv { value, invert: option.invert }).filter(|flags| flags.value.mask != 0 || flags.invert)
        }
        None => None,
    };
    let option = match given.get("tcp-option") {
        Some(option) => {
            Some(Inv { value: bounded("tcp-option", option.arg(), 1, 255)?, invert: option.invert })
        }
        None => None,
    };
    Ok(Match::Tcp(TcpMatch { ports: source_and_destination(given, "tcp")?, flags, option }))
}

fn udp(given: &Given, _: Option<Inv<u8>>) -> Result<Match, Fault> {
    source_and_destination(given, "udp").map(Match::Udp)
}

fn source_and_destination(given: &Given, proto: &str) -> Result<PortsMatch, Fault> {
    let side = |name: &str| -> Result<Option<Inv<Range<u16>>>, Fault> {
        let Some(option) = given.get(name) else { return Ok(None) };
        let range = ports(option.arg(), proto)?;
        match (range, option.invert) {
            (Range { min: 0, max: u16::MAX }, true) => Err(format!("! --{name} leaves no port").into()),
            (Range { min: 0, max: u16::MAX }, false) => Ok(None),
            (value, invert) => Ok(Some(Inv { value, invert })),
        }
    };
    Ok(PortsMatch { sport: side("sport")?, dport: side("dport")? })
}

/// The flags of a TCP header by their names, lowest bit first.
pub(in crate::netfilter) const TCP_FLAGS: [&str; 6] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG"];

fn tcp_flags(text: &str) -> Result<u8, Fault> {
    text.split(',').try_fold(0, |bits, word| match word.to_ascii_uppercase().as_str() {
        "ALL" => Ok(bits | 0x3f),
        "NONE" => Ok(bits),
        upper => match TCP_FLAGS.iter().position(|flag| *flag == upper) {
            Some(bit) => Ok(bits | 1 << bit),
            None => Err(Fault::from(format!("unknown TCP flag {}", quote(word))).nearest(upper, TCP_FLAGS)),
        },
    })
}

fn multiport(given: &Given, proto: Option<Inv<u8>>) -> Result<Match, Fault> {
    const MOST: usize = 15;
    let option = given.exactly_one_of(&["sports", "dports", "ports"])?;
    let proto = match proto {
        Some(Inv { value: value @ (6 | 17 | 33 | 132 | 136), invert: false }) => names::protocol_name(value),
        _ => return Err("match \"multiport\" needs -p tcp, udp, udplite, sctp or dccp".into()),
    };
    let mut list = Vec::new();
    for word in option.arg().split(',') {
        list.push(match word.split_once(':') {
            Some((min, max)) => {
                let ports = Range { min: port(min, &proto)?, max: port(max, &proto)? };
                if ports.min >= ports.max {
                    return Err(format!("port range {} does not rise", quote(word)).into());
                }
                MultiportRange { ports, is_range: true }
            }
            None => {
                let port = port(word, &proto)?;
                MultiportRange { ports: Range { min: port, max: port }, is_range: false }
            }
        });
    }
    if list.iter().map(|range| if range.is_range { 2 } else { 1 }).sum::<usize>() > MOST {
        return Err(format!("--{} takes {MOST} ports, and a range counts as two", option.name).into());
    }
    let kind = match option.name {
        "sports" => MultiportKind::Source,
        "dports" => MultiportKind::Destination,
        _ => MultiportKind::Either,
    };
    Ok(Match::Multiport(MultiportMatch { kind, ports: list, invert: option.invert }))
}

/// The kernel keeps 255 bytes of a comment; iptables cuts what is longer.
fn comment(text: &str) -> Result<String, Fault> {
    if text.contains(['\n', '\0']) {
        return Err("a comment is one line".into());
    }
    Ok(super::cut(text, 255).to_owned())
}

fn limit(given: &Given, _: Option<Inv<u8>>) -> Result<Match, Fault> {
    const SCALE: u64 = 10_000;
    let (avg, _) = rate(given.get("limit").map_or("3/hour", |option| option.arg()), SCALE)?;
    let burst = match given.get("limit-burst") {
        Some(option) => bounded("limit-burst", option.arg(), 1, 10_000)?,
        None => 5,
    };
    Ok(Match::Limit(LimitMatch { avg: u32::try_from(avg).unwrap_or(u32::MAX), burst }))
}

/// Types of addresses, by their RTN_ numbers.
pub(in crate::netfilter) const ADDRESS_TYPES: [&str; 12] = [
    "UNSPEC",
    "UNICAST",
    "LOCAL",
    "BROADCAST",
    "ANYCAST",
    "MULTICAST",
    "BLACKHOLE",
    "UNREACHABLE",
    "PROHIBIT",
    "THROW",
    "NAT",
    "XRESOLVE",
];

fn addrtype(given: &Given, _: Option<Inv<u8>>) -> Result<Match, Fault> {
    let side = |name: &str| -> Result<Option<Inv<u16>>, Fault> {
        let Some(option) = given.get(name) else { return Ok(None) };
        let value = option.arg().split(',').try_fold(0, |bits, word| {
            let upper = word.to_ascii_uppercase();
            match ADDRESS_TYPES.iter().position(|name| *name == upper) {
                Some(bit) => Ok(bits | 1 << bit),
                None => Err(Fault::from(format!("{} is no type of address", quote(word)))
                    .nearest(&upper, ADDRESS_TYPES)),
            }
        })?;
        Ok(Some(Inv { value, invert: option.invert }))
    };
    let (src, dst) = (side("src-type")?, side("dst-type")?);
    if src.is_none() && dst.is_none() {
        return Err("match \"addrtype\" needs --src-type or --dst-type".into());
    }
    given.one_of(&["limit-iface-in", "limit-iface-out"])?;
    Ok(Match::Addrtype(AddrtypeMatch {
        src,
        dst,
        limit_iface_in: given.has("limit-iface-in"),
        limit_iface_out: given.has("limit-iface-out"),
    }))
}

fn iprange(given: &Given, _: Option<Inv<u8>>) -> Result<Match, Fault> {
    let side = |name: &str| -> Result<Option<Inv<Range<u32>>>, Fault> {
        let Some(option) = given.get(name) else { return Ok(None) };
        let (first, last) = option.arg().split_once('-').unwrap_or((option.arg(), option.arg()));
        let address = |text: &str| {
            super::values::address(text)
                .filter(|_| !text.is_empty())
                .ok_or_else(|| Fault::from(format!("{} is no IPv4 address, as --{name} wants", quote(text))))
        };
        Ok(Some(Inv { value: Range { min: address(first)?, max: address(last)? }, invert: option.invert }))
    };
    let (src, dst) = (side("src-range")?, side("dst-range")?);
    if src.is_none() && dst.is_none() {
        return Err("match \"iprange\" needs --src-range or --dst-range".into());
    }
    Ok(Match::Iprange(IprangeMatch { src, dst }))
}

fn mac(text: &str) -> Result<MacAddr, Fault> {
    let bad = || Fault::from(format!("{} is no hardware address", quote(text)));
    let mut bytes = [0; 6];
    let parts: Vec<&str> = text.split(':').collect();
    if parts.len() != bytes.len() {
        return Err(bad());
    }
    for (byte, part) in bytes.iter_mut().zip(parts) {
        let hex = matches!(part.len(), 1 | 2) && part.bytes().all(|b| b.is_ascii_hexdigit());
        *byte = u8::from_str_radix(part, 16).ok().filter(|_| hex).ok_or_else(bad)?;
    }
    Ok(MacAddr(bytes))
}

fn set(given: &Given, _: Option<Inv<u8>>) -> Result<Match, Fault> {
    const MOST: usize = 6;
    let option = given.require("match-set")?;
    let directions = option.args.get(1).map_or("", String::as_str);
    let src: Vec<bool> = directions
        .split(',')
        .map(|word| match word {
            "src" => Ok(true),
            "dst" => Ok(false),
            other => Err(Fault::from(format!("{} is neither \"src\" nor \"dst\"", quote(other)))),
        })
        .collect::<Result<_, _>>()?;
    if src.len() > MOST {
        return Err(format!("--match-set takes at most {MOST} of \"src\" and \"dst\"").into());
    }
    Ok(Match::Set(SetMatch { name: option.arg().to_owned(), src, invert: option.invert }))
}

fn ttl(given: &Given, _: Option<Inv<u8>>) -> Result<Match, Fault> {
    let option = given.exactly_one_of(&["ttl-eq", "ttl-lt", "ttl-gt"])?;
    let value = bounded(option.name, option.arg(), 0, 255)?;
    Ok(Match::Ttl(match (option.name, option.invert) {
        ("ttl-eq", false) => TtlMatch::Eq(value),
        ("ttl-eq", true) => TtlMatch::Ne(value),
        ("ttl-lt", _) => TtlMatch::Lt(value),
        _ => TtlMatch::Gt(value),
    }))
}

fn statistic(given: &Given, _: Option<Inv<u8>>) -> Result<Match, Fault> {
    let only = |mode: &str, others: [&str; 2]| match others.iter().find(|name| given.has(name)) {
        Some(name) => Err(Fault::from(format!("--{name} does not go with --mode {mode}"))),
        None => Ok(()),
    };
    match given.require("mode")?.arg() {
        "random" => {
            only("random", ["every", "packet"])?;
            let option = given.require("probability")?;
            let probability = probability(option.arg())?;
            Ok(Match::Statistic(Inv { value: StatisticMatch::Random { probability }, invert: option.invert }))
        }
        "nth" => {
            only("nth", ["probability", "probability"])?;
            let option = given.require("every")?;
            let every: u32 = bounded("every", option.arg(), 1, u64::from(u32::MAX))?;
            let packet = given.require("packet")?.arg();
            let packet = bounded("packet", packet, 0, u64::from(every) - 1)?;
            Ok(Match::Statistic(Inv { value: StatisticMatch::Nth { every, packet }, invert: option.invert }))
        }
        other => Err(Fault::from(format!("{} is no mode: \"random\" or \"nth\" is wanted", quote(other)))
            .nearest(other, ["random", "nth"])),
    }
}

/// A probability as the kernel keeps it, of 2^31.
fn probability(text: &str) -> Result<u32, Fault> {
    let found = text.parse::<f64>().ok().filter(|p| (0.0..=1.0).contains(p));
    let found = found.ok_or_else(|| format!("{} is no probability from 0 to 1", quote(text)))?;
    // At most 2^31, which 32 bits hold.
    Ok((found * f64::from(1u32 << 31)).round() as u32)
}

/// Packet types by their PACKET_ numbers.
pub(in crate::netfilter) const PACKET_TYPES: [&str; 4] = ["unicast", "broadcast", "multicast", "otherhost"];

fn pkttype(given: &Given, _: Option<Inv<u8>>) -> Result<Match, Fault> {
    let option = given.require("pkt-type")?;
    let lower = option.arg().to_ascii_lowercase();
    let value = match lower.as_str() {
        "host" => Some(0),
        "bcast" => Some(1),
        "mcast" => Some(2),
        name => PACKET_TYPES.iter().position(|known| *known == name),
    };
    let value = value.and_then(|n| u8::try_from(n).ok()).ok_or_else(|| {
        Fault::from(format!("{} is no packet type", quote(option.arg()))).nearest(&lower, PACKET_TYPES)
    })?;
    Ok(Match::Pkttype(Inv { value, invert: option.invert }))
}

fn ecn(given: &Given, _: Option<Inv<u8>>) -> Result<Match, Fault> {
    let tcp = |name| given.get(name).map(|option| Inv { value: (), invert: option.invert });
    let ip_ect = match given.get("ecn-ip-ect") {
        Some(option) => {
            let value = number(option.arg(), 3).and_then(|n| u8::try_from(n).ok());
            let value = value.ok_or_else(|| format!("{} is no number from 0 to 3", quote(option.arg())))?;
            Some(Inv { value, invert: option.invert })
        }
        None => None,
    };
    if given.options.is_empty() {
        return Err("match \"ecn\" needs --ecn-ip-ect, --ecn-tcp-ece or --ecn-tcp-cwr".into());
    }
    Ok(Match::Ecn(EcnMatch { ip_ect, tcp_ece: tcp("ecn-tcp-ece"), tcp_cwr: tcp("ecn-tcp-cwr") }))
}
