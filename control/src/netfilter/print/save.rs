//! One rule as `iptables-save` writes it, byte for byte.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use skiff_dataplane::netfilter::ip_tables::rule::*;

use super::rates;
use super::targets::target;
use crate::netfilter::parse::{
    ADDRESS_TYPES, ALL_MONTHDAYS, ALL_WEEKDAYS, DAY_END, HASHLIMIT_MODES, NEVER, PACKET_TYPES, TCP_FLAGS,
    WEEKDAYS, civil,
};
use crate::netfilter::{names, words};

/// The words after `-A CHAIN`, each with a blank before it. `counters` writes `-c P B` before the target, as `-S -v`
/// does.
pub(in crate::netfilter) fn rule(rule: &Rule, counters: bool) -> String {
    let mut text = String::new();
    address(&mut text, "-s", &rule.ip.src);
    address(&mut text, "-d", &rule.ip.dst);
    interface(&mut text, "-i", rule.ip.iniface.as_ref());
    interface(&mut text, "-o", rule.ip.outiface.as_ref());
    if let Some(proto) = rule.ip.proto {
        word(&mut text, proto.invert, format_args!("-p {}", names::protocol_name(proto.value)));
    }
    if let Some(fragment) = rule.ip.fragment {
        word(&mut text, fragment.invert, format_args!("-f"));
    }
    for m in &rule.matches {
        matching(&mut text, m);
    }
    if counters {
        let _ = write!(text, " -c {} {}", rule.counters.packets, rule.counters.bytes);
    }
    target(&mut text, &rule.target);
    text
}

fn word(text: &mut String, invert: bool, args: std::fmt::Arguments<'_>) {
    let not = if invert { " !" } else { "" };
    let _ = write!(text, "{not} {args}");
}

fn address(text: &mut String, option: &str, address: &AddrMatch) {
    if address.mask != 0 || address.invert {
        word(
            text,
            address.invert,
            format_args!("{option} {}/{}", Ipv4Addr::from_bits(address.addr), mask(address.mask)),
        );
    }
}

/// A netmask: its length if it is contiguous.
pub(super) fn mask(mask: u32) -> String {
    match mask.leading_ones() {
        length if mask.count_ones() == length => length.to_string(),
        _ => Ipv4Addr::from_bits(mask).to_string(),
    }
}

/// An interface name, with the `+` of a wildcard.
pub(super) fn iface_name(iface: &IfaceMatch) -> String {
    format!("{}{}", iface.name, if iface.wildcard { "+" } else { "" })
}

fn interface(text: &mut String, option: &str, iface: Option<&IfaceMatch>) {
    if let Some(iface) = iface {
        word(text, iface.invert, format_args!("{option} {}", iface_name(iface)));
    }
}

fn matching(text: &mut String, m: &Match) {
    let _ = write!(text, " -m {}", name(m));
    match m {
        Match::Tcp(tcp) => {
            ports(text, &tcp.ports);
            if let Some(option) = tcp.option {
                word(text, option.invert, format_args!("--tcp-option {}", option.value));
            }
            if let Some(flags) = tcp.flags {
                let TcpFlagsMatch { mask, comp } = flags.value;
                word(text, flags.invert, format_args!("--tcp-flags {} {}", tcp_flags(mask), tcp_flags(comp)));
            }
        }
        Match::Udp(udp) => ports(text, udp),
        Match::Icmp(icmp) => word(text, icmp.invert, format_args!("--icmp-type {}", icmp_type(&icmp.value))),
        Match::Multiport(multiport) => {
            let list: Vec<String> = multiport.ports.iter().map(multiport_range).collect();
            let option = multiport_option(multiport.kind);
            word(text, multiport.invert, format_args!("--{option} {}", list.join(",")));
        }
        Match::Mark(mark) => word(text, mark.invert, format_args!("--mark {}", masked32(&mark.value))),
        Match::Comment(comment) => {
            word(text, false, format_args!("--comment {}", words::quote_saved(comment)))
        }
        Match::Limit(limit) => {
            let rate = rates::per_unit(u64::from(limit.avg), rates::LIMIT_SCALE);
            word(text, false, format_args!("--limit {rate}"));
            if limit.burst != 5 {
                word(text, false, format_args!("--limit-burst {}", limit.burst));
            }
        }
        Match::Hashlimit(hashlimit) => self::hashlimit(text, hashlimit),
        Match::Addrtype(addrtype) => self::addrtype(text, addrtype),
        Match::Iprange(range) => {
            for (option, side) in [("--src-range", &range.src), ("--dst-range", &range.dst)] {
                if let Some(side) = side {
                    word(text, side.invert, format_args!("{option} {}", addresses(&side.value)));
                }
            }
        }
        Match::Mac(mac) => word(text, mac.invert, format_args!("--mac-source {}", mac.value)),
        Match::Set(set) => {
            word(text, set.invert, format_args!("--match-set {} {}", set.name, directions(&set.src)));
        }
        Match::Length(length) => {
            word(text, length.invert, format_args!("--length {}", range16(&length.value)))
        }
        Match::Ttl(ttl) => {
            let (invert, option, value) = match *ttl {
                TtlMatch::Eq(value) => (false, "--ttl-eq", value),
                TtlMatch::Ne(value) => (true, "--ttl-eq", value),
                TtlMatch::Lt(value) => (false, "--ttl-lt", value),
                TtlMatch::Gt(value) => (false, "--ttl-gt", value),
            };
            word(text, invert, format_args!("{option} {value}"));
        }
        Match::Dscp(dscp) => word(text, dscp.invert, format_args!("--dscp 0x{:02x}", dscp.value)),
        Match::Tos(tos) => {
            word(text, tos.invert, format_args!("--tos 0x{:02x}/0x{:02x}", tos.value.value, tos.value.mask));
        }
        Match::Statistic(statistic) => match statistic.value {
            StatisticMatch::Random { probability } => {
                text.push_str(" --mode random");
                word(
                    text,
                    statistic.invert,
                    format_args!("--probability {}", self::probability(probability)),
                );
            }
            StatisticMatch::Nth { every, packet } => {
                text.push_str(" --mode nth");
                word(text, statistic.invert, format_args!("--every {every} --packet {packet}"));
            }
        },
        Match::Pkttype(kind) => {
            word(text, kind.invert, format_args!("--pkt-type {}", packet_type(kind.value)))
        }
        Match::Rpfilter(rpfilter) => {
            let flags = [
                (rpfilter.loose, " --loose"),
                (rpfilter.validmark, " --validmark"),
                (rpfilter.accept_local, " --accept-local"),
                (rpfilter.invert, " --invert"),
            ];
            flags.iter().filter(|(on, _)| *on).for_each(|(_, flag)| text.push_str(flag));
        }
        Match::Time(time) => self::time(text, time),
        Match::U32(tests) => word(text, tests.invert, format_args!("--u32 \"{}\"", u32_tests(&tests.value))),
        Match::Ecn(ecn) => {
            if let Some(ece) = ecn.tcp_ece {
                word(text, ece.invert, format_args!("--ecn-tcp-ece"));
            }
            if let Some(cwr) = ecn.tcp_cwr {
                word(text, cwr.invert, format_args!("--ecn-tcp-cwr"));
            }
            if let Some(ect) = ecn.ip_ect {
                word(text, ect.invert, format_args!("--ecn-ip-ect {}", ect.value));
            }
        }
        Match::Tcpmss(mss) => word(text, mss.invert, format_args!("--mss {}", range16(&mss.value))),
    }
}

/// The name of a match.
pub(super) fn name(m: &Match) -> &'static str {
    match m {
        Match::Tcp(_) => "tcp",
        Match::Udp(_) => "udp",
        Match::Icmp(_) => "icmp",
        Match::Multiport(_) => "multiport",
        Match::Mark(_) => "mark",
        Match::Comment(_) => "comment",
        Match::Limit(_) => "limit",
        Match::Hashlimit(_) => "hashlimit",
        Match::Addrtype(_) => "addrtype",
        Match::Iprange(_) => "iprange",
        Match::Mac(_) => "mac",
        Match::Set(_) => "set",
        Match::Length(_) => "length",
        Match::Ttl(_) => "ttl",
        Match::Dscp(_) => "dscp",
        Match::Tos(_) => "tos",
        Match::Statistic(_) => "statistic",
        Match::Pkttype(_) => "pkttype",
        Match::Rpfilter(_) => "rpfilter",
        Match::Time(_) => "time",
        Match::U32(_) => "u32",
        Match::Ecn(_) => "ecn",
        Match::Tcpmss(_) => "tcpmss",
    }
}

fn ports(text: &mut String, ports: &PortsMatch) {
    for (option, side) in [("--sport", &ports.sport), ("--dport", &ports.dport)] {
        if let Some(side) = side {
            word(text, side.invert, format_args!("{option} {}", range16(&side.value)));
        }
    }
}

/// `5` or `5:6`.
pub(super) fn range16(range: &Range<u16>) -> String {
    if range.min == range.max { range.min.to_string() } else { format!("{}:{}", range.min, range.max) }
}

fn multiport_range(range: &MultiportRange) -> String {
    if range.is_range {
        format!("{}:{}", range.ports.min, range.ports.max)
    } else {
        range.ports.min.to_string()
    }
}

/// Which ports, as the option and `-L` name them.
pub(super) fn multiport_option(kind: MultiportKind) -> &'static str {
    match kind {
        MultiportKind::Source => "sports",
        MultiportKind::Destination => "dports",
        MultiportKind::Either => "ports",
    }
}

/// `SYN,ACK`, or `NONE`.
pub(super) fn tcp_flags(bits: u8) -> String {
    let set: Vec<&str> =
        (0u8..).zip(TCP_FLAGS).filter(|(bit, _)| bits & 1 << bit != 0).map(|(_, name)| name).collect();
    if set.is_empty() { "NONE".to_owned() } else { set.join(",") }
}

fn icmp_type(icmp: &IcmpMatch) -> String {
    let IcmpMatch { icmp_type, code } = icmp;
    match (icmp_type, code.min, code.max) {
        (255, ..) => "any".to_owned(),
        (icmp_type, 0, 255) => icmp_type.to_string(),
        (icmp_type, min, max) if min == max => format!("{icmp_type}/{min}"),
        (icmp_type, min, max) => format!("{icmp_type}/{min}-{max}"),
    }
}

/// `0x1` or `0x1/0xff`.
pub(super) fn masked32(masked: &Masked32) -> String {
    match masked.mask {
        u32::MAX => format!("{:#x}", masked.value),
        mask => format!("{:#x}/{mask:#x}", masked.value),
    }
}

/// `10.0.0.1-10.0.0.9`
pub(super) fn addresses(range: &Range<u32>) -> String {
    format!("{}-{}", Ipv4Addr::from_bits(range.min), Ipv4Addr::from_bits(range.max))
}

/// `src,dst`
pub(super) fn directions(src: &[bool]) -> String {
    let words: Vec<&str> = src.iter().map(|src| if *src { "src" } else { "dst" }).collect();
    words.join(",")
}

/// A share of 2^31 with eleven digits.
pub(super) fn probability(share: u32) -> String {
    format!("{:.11}", f64::from(share) / f64::from(1u32 << 31))
}

/// The name of a packet type.
pub(super) fn packet_type(kind: u8) -> &'static str {
    PACKET_TYPES.get(usize::from(kind)).copied().unwrap_or("???")
}

/// The names of a set of address types.
pub(super) fn address_types(bits: u16) -> String {
    let names: Vec<&str> =
        (0u16..).zip(ADDRESS_TYPES).filter(|(bit, _)| bits & 1 << bit != 0).map(|(_, name)| name).collect();
    names.join(",")
}

fn addrtype(text: &mut String, addrtype: &AddrtypeMatch) {
    for (option, side) in [("--src-type", &addrtype.src), ("--dst-type", &addrtype.dst)] {
        if let Some(side) = side {
            word(text, side.invert, format_args!("{option} {}", address_types(side.value)));
        }
    }
    for (on, option) in
        [(addrtype.limit_iface_in, " --limit-iface-in"), (addrtype.limit_iface_out, " --limit-iface-out")]
    {
        if on {
            text.push_str(option);
        }
    }
}

/// The rate of `-m hashlimit` and, if it has one, its burst.
pub(super) fn hashlimit_rate(hashlimit: &HashlimitMatch) -> (String, Option<String>) {
    match hashlimit.rate {
        HashlimitRate::Packets { avg } => {
            (rates::per_unit(avg, rates::HASHLIMIT_SCALE), Some(hashlimit.burst.to_string()))
        }
        HashlimitRate::Bytes { per_second } => {
            let burst = Some(hashlimit.burst).filter(|burst| *burst > 0).map(rates::byte_burst);
            (rates::bytes_per_second(per_second), burst)
        }
    }
}

/// The modes of `-m hashlimit`, joined.
pub(super) fn hashlimit_modes(mode: u8, separator: &str) -> String {
    let names: Vec<&str> =
        HASHLIMIT_MODES.iter().filter(|(_, bit)| mode & bit != 0).map(|(name, _)| *name).collect();
    names.join(separator)
}

/// The settings of `-m hashlimit` that are not the default's: how `-L` calls them (which is how the options end), and
/// their values.
pub(super) fn hashlimit_settings(hashlimit: &HashlimitMatch) -> Vec<(&'static str, u32)> {
    let settings = [
        ("htable-size", hashlimit.htable_size, 0),
        ("htable-max", hashlimit.htable_max, 0),
        ("htable-gcinterval", hashlimit.gc_interval, 1000),
        ("htable-expire", hashlimit.expire, 0),
        ("srcmask", u32::from(hashlimit.srcmask), 32),
        ("dstmask", u32::from(hashlimit.dstmask), 32),
    ];
    settings
        .into_iter()
        .filter(|(_, value, default)| value != default)
        .map(|(name, value, _)| (name, value))
        .collect()
}

fn hashlimit(text: &mut String, hashlimit: &HashlimitMatch) {
    let (rate, burst) = hashlimit_rate(hashlimit);
    let option = if hashlimit.above { "--hashlimit-above" } else { "--hashlimit-upto" };
    word(text, false, format_args!("{option} {rate}"));
    if let Some(burst) = burst {
        word(text, false, format_args!("--hashlimit-burst {burst}"));
    }
    if hashlimit.mode != 0 {
        word(text, false, format_args!("--hashlimit-mode {}", hashlimit_modes(hashlimit.mode, ",")));
    }
    word(text, false, format_args!("--hashlimit-name {}", hashlimit.name));
    for (name, value) in hashlimit_settings(hashlimit) {
        word(text, false, format_args!("--hashlimit-{name} {value}"));
    }
}

/// The days of a set, by number.
pub(super) fn monthdays(days: u32) -> impl Iterator<Item = u32> {
    (1..=31).filter(move |day| days & 1 << day != 0)
}

/// The days of a set, by name.
pub(super) fn weekdays(days: u8) -> String {
    let names: Vec<&str> =
        (1u8..).zip(WEEKDAYS).filter(|(day, _)| days & 1 << day != 0).map(|(_, name)| name).collect();
    names.join(",")
}

/// `hh:mm:ss`
pub(super) fn time_of_day(seconds: u32) -> String {
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// A date, with `separator` before the time.
pub(super) fn date(seconds: u32, separator: char) -> String {
    let (year, month, day, second) = civil(seconds);
    format!("{year}-{month:02}-{day:02}{separator}{}", time_of_day(second))
}

fn time(text: &mut String, time: &TimeMatch) {
    if time.daytime_start != 0 || time.daytime_stop != DAY_END {
        let (start, stop) = (time_of_day(time.daytime_start), time_of_day(time.daytime_stop));
        word(text, false, format_args!("--timestart {start} --timestop {stop}"));
    }
    if time.monthdays != ALL_MONTHDAYS {
        let days: Vec<String> = monthdays(time.monthdays).map(|day| day.to_string()).collect();
        word(text, false, format_args!("--monthdays {}", days.join(",")));
    }
    if time.weekdays != ALL_WEEKDAYS {
        word(text, false, format_args!("--weekdays {}", weekdays(time.weekdays)));
    }
    if time.date_start != 0 {
        word(text, false, format_args!("--datestart {}", date(time.date_start, 'T')));
    }
    // iptables writes the end of time out.
    word(text, false, format_args!("--datestop {}", date(time.date_stop.min(NEVER), 'T')));
    for (on, flag) in [(time.kerneltz, " --kerneltz"), (time.contiguous, " --contiguous")] {
        if on {
            text.push_str(flag);
        }
    }
}

/// The text of `--u32`.
pub(super) fn u32_tests(tests: &[U32Test]) -> String {
    let one = |test: &U32Test| {
        let mut text = String::new();
        for (at, (op, number)) in test.location.iter().enumerate() {
            let op = match op {
                _ if at == 0 => "",
                U32Op::And => "&",
                U32Op::LeftShift => "<<",
                U32Op::RightShift => ">>",
                U32Op::At => "@",
            };
            let _ = write!(text, "{op}{number:#x}");
        }
        let values: Vec<String> = test.values.iter().map(u32_value).collect();
        let _ = write!(text, "={}", values.join(","));
        text
    };
    tests.iter().map(one).collect::<Vec<_>>().join("&&")
}

fn u32_value(range: &Range<u32>) -> String {
    if range.min == range.max {
        format!("{:#x}", range.min)
    } else {
        format!("{:#x}:{:#x}", range.min, range.max)
    }
}
