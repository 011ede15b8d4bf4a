//! What `iptables -L` says of matches and targets behind the columns.

use std::fmt::Write as _;

use skiff_dataplane::netfilter::ip_tables::rule::*;

use super::rates;
use super::save::{
    address_types, addresses, date, directions, hashlimit_modes, hashlimit_rate, hashlimit_settings,
    masked32, monthdays, multiport_option, packet_type, probability, range16, tcp_flags, time_of_day,
    u32_tests, weekdays,
};
use super::targets::{last_queue, nflog, reject_name};
use crate::netfilter::names;
use crate::netfilter::parse::{ALL_MONTHDAYS, ALL_WEEKDAYS, DAY_END, LOG_LEVELS, NEVER, icmp_name};
use crate::netfilter::words::quote_saved;

/// Writes the matches and the target's options, each with a blank before it.
pub(super) fn details(text: &mut String, rule: &Rule, numeric: bool) {
    let proto = rule.ip.proto.map_or_else(String::new, |proto| names::protocol_name(proto.value));
    for m in &rule.matches {
        let _ = matching(text, m, &proto, numeric);
    }
    let _ = target(text, &rule.target, numeric);
}

fn not(invert: bool) -> &'static str {
    if invert { "!" } else { "" }
}

fn matching(text: &mut String, m: &Match, proto: &str, numeric: bool) -> std::fmt::Result {
    match m {
        Match::Tcp(tcp) => self::tcp(text, tcp, numeric),
        Match::Udp(udp) => {
            text.push_str(" udp");
            ports(text, udp, "udp", numeric)
        }
        Match::Icmp(icmp) => self::icmp(text, icmp, numeric),
        Match::Multiport(multiport) => {
            let port = |port| port_name(port, proto, numeric);
            let one = |range: &MultiportRange| match range.is_range {
                true => format!("{}:{}", port(range.ports.min), port(range.ports.max)),
                false => port(range.ports.min),
            };
            let list: Vec<String> = multiport.ports.iter().map(one).collect();
            let not = if multiport.invert { " !" } else { "" };
            write!(text, " multiport {} {not}{}", multiport_option(multiport.kind), list.join(","))
        }
        Match::Mark(mark) => {
            write!(text, " mark match {}{}", if mark.invert { "! " } else { "" }, masked32(&mark.value))
        }
        Match::Comment(comment) => write!(text, " /* {comment} */"),
        Match::Limit(limit) => {
            let rate = rates::per_unit(u64::from(limit.avg), rates::LIMIT_SCALE);
            write!(text, " limit: avg {rate} burst {}", limit.burst)
        }
        Match::Hashlimit(hashlimit) => self::hashlimit(text, hashlimit),
        Match::Addrtype(addrtype) => self::addrtype(text, addrtype),
        Match::Iprange(range) => {
            for (name, side) in [("source", &range.src), ("destination", &range.dst)] {
                if let Some(side) = side {
                    let not = if side.invert { "! " } else { "" };
                    write!(text, " {name} IP range {not}{}", addresses(&side.value))?;
                }
            }
            Ok(())
        }
        Match::Mac(mac) => write!(text, " MAC {}{}", if mac.invert { "! " } else { "" }, mac.value),
        Match::Set(set) => {
            let not = if set.invert { " !" } else { "" };
            write!(text, "{not} match-set {} {}", set.name, directions(&set.src))
        }
        Match::Length(length) => write!(text, " length {}{}", not(length.invert), range16(&length.value)),
        Match::Ttl(ttl) => match ttl {
            TtlMatch::Eq(value) => write!(text, " TTL match TTL == {value}"),
            TtlMatch::Ne(value) => write!(text, " TTL match TTL != {value}"),
            TtlMatch::Lt(value) => write!(text, " TTL match TTL < {value}"),
            TtlMatch::Gt(value) => write!(text, " TTL match TTL > {value}"),
        },
        Match::Dscp(dscp) => write!(text, " DSCP match {}0x{:02x}", not(dscp.invert), dscp.value),
        Match::Tos(tos) => {
            write!(text, " tos match")?;
            if let (false, Some(name)) = (numeric, tos_name(&tos.value)) {
                return write!(text, "{} {name}", not(tos.invert));
            }
            write!(text, "{}0x{:02x}/0x{:02x}", not(tos.invert), tos.value.value, tos.value.mask)
        }
        Match::Statistic(statistic) => {
            let not = if statistic.invert { " !" } else { "" };
            match statistic.value {
                StatisticMatch::Random { probability: share } => {
                    write!(text, " statistic mode random{not} probability {}", probability(share))
                }
                StatisticMatch::Nth { every, packet } => {
                    write!(text, " statistic mode nth{not} every {every}")?;
                    if packet > 0 { write!(text, " packet {packet}") } else { Ok(()) }
                }
            }
        }
        Match::Pkttype(kind) => write!(text, " PKTTYPE {}= {}", not(kind.invert), packet_type(kind.value)),
        Match::Rpfilter(rpfilter) => {
            text.push_str(" rpfilter");
            let flags = [
                (rpfilter.loose, " loose"),
                (rpfilter.validmark, " validmark"),
                (rpfilter.accept_local, " accept-local"),
                (rpfilter.invert, " invert"),
            ];
            flags.iter().filter(|(on, _)| *on).for_each(|(_, flag)| text.push_str(flag));
            Ok(())
        }
        Match::Time(time) => self::time(text, time),
        Match::U32(tests) => {
            write!(text, " u32 {}\"{}\"", if tests.invert { "! " } else { "" }, u32_tests(&tests.value))
        }
        Match::Ecn(ecn) => {
            text.push_str(" ECN match");
            for (flag, name) in [(ecn.tcp_ece, "ECE"), (ecn.tcp_cwr, "CWR")] {
                if let Some(flag) = flag {
                    write!(text, " {}{name}", not(flag.invert))?;
                }
            }
            ecn.ip_ect.map_or(Ok(()), |ect| write!(text, " {}ECT={}", not(ect.invert), ect.value))
        }
        Match::Tcpmss(mss) => write!(text, " tcpmss match {}{}", not(mss.invert), range16(&mss.value)),
    }
}

fn port_name(port: u16, proto: &str, numeric: bool) -> String {
    let name = if numeric { None } else { names::service_name(port, proto) };
    name.unwrap_or_else(|| port.to_string())
}

fn tcp(text: &mut String, tcp: &TcpMatch, numeric: bool) -> std::fmt::Result {
    text.push_str(" tcp");
    ports(text, &tcp.ports, "tcp", numeric)?;
    if let Some(option) = tcp.option {
        write!(text, " option={}{}", not(option.invert), option.value)?;
    }
    let Some(Inv { value: TcpFlagsMatch { mask, comp }, invert }) = tcp.flags else { return Ok(()) };
    match numeric {
        true => write!(text, " flags:{}0x{mask:02X}/0x{comp:02X}", not(invert)),
        false => write!(text, " flags:{}{}/{}", not(invert), tcp_flags(mask), tcp_flags(comp)),
    }
}

fn ports(text: &mut String, ports: &PortsMatch, proto: &str, numeric: bool) -> std::fmt::Result {
    for (name, side) in [("spt", &ports.sport), ("dpt", &ports.dport)] {
        let Some(Inv { value, invert }) = side else { continue };
        let port = |port| port_name(port, proto, numeric);
        match value.min == value.max {
            true => write!(text, " {name}:{}{}", not(*invert), port(value.min))?,
            false => write!(text, " {name}s:{}{}:{}", not(*invert), port(value.min), port(value.max))?,
        }
    }
    Ok(())
}

fn icmp(text: &mut String, icmp: &Inv<IcmpMatch>, numeric: bool) -> std::fmt::Result {
    let IcmpMatch { icmp_type, code } = icmp.value;
    if let (false, Some(name)) = (numeric, icmp_name(&icmp.value)) {
        return write!(text, " icmp {}{name}", not(icmp.invert));
    }
    write!(text, " icmp{}type {icmp_type}", if icmp.invert { " !" } else { "" })?;
    match (code.min, code.max) {
        (0, 255) => Ok(()),
        (min, max) if min == max => write!(text, " code {min}"),
        (min, max) => write!(text, " codes {min}-{max}"),
    }
}

fn hashlimit(text: &mut String, hashlimit: &HashlimitMatch) -> std::fmt::Result {
    let (rate, burst) = hashlimit_rate(hashlimit);
    write!(text, " limit: {} {rate}", if hashlimit.above { "above" } else { "up to" })?;
    if let Some(burst) = burst {
        write!(text, " burst {burst}")?;
    }
    if hashlimit.mode != 0 {
        write!(text, " mode {}", hashlimit_modes(hashlimit.mode, "-"))?;
    }
    hashlimit_settings(hashlimit).iter().try_for_each(|(name, value)| write!(text, " {name} {value}"))
}

fn addrtype(text: &mut String, addrtype: &AddrtypeMatch) -> std::fmt::Result {
    text.push_str(" ADDRTYPE match");
    for (name, side) in [("src", &addrtype.src), ("dst", &addrtype.dst)] {
        if let Some(side) = side {
            write!(text, " {name}-type {}{}", not(side.invert), address_types(side.value))?;
        }
    }
    for (on, name) in [(addrtype.limit_iface_in, " limit-in"), (addrtype.limit_iface_out, " limit-out")] {
        if on {
            text.push_str(name);
        }
    }
    Ok(())
}

fn time(text: &mut String, time: &TimeMatch) -> std::fmt::Result {
    text.push_str(" TIME");
    if time.daytime_start != 0 || time.daytime_stop != DAY_END {
        write!(text, " from {} to {}", time_of_day(time.daytime_start), time_of_day(time.daytime_stop))?;
    }
    if time.weekdays != ALL_WEEKDAYS {
        write!(text, " on {}", weekdays(time.weekdays))?;
    }
    if time.monthdays != ALL_MONTHDAYS {
        // iptables goes by the last digit alone.
        let suffix = |day: u32| match day % 10 {
            1 => "st",
            2 => "nd",
            3 => "rd",
            _ => "th",
        };
        let days: Vec<String> =
            monthdays(time.monthdays).map(|day| format!("{day}{}", suffix(day))).collect();
        write!(text, " on {}", days.join(","))?;
    }
    if time.date_start != 0 {
        write!(text, " starting from {}", date(time.date_start, ' '))?;
    }
    if time.date_stop < NEVER {
        write!(text, " until date {}", date(time.date_stop, ' '))?;
    }
    for (on, flag) in [(!time.kerneltz, " UTC"), (time.contiguous, " contiguous")] {
        if on {
            text.push_str(flag);
        }
    }
    Ok(())
}

/// The name of a type of service under the mask that names have.
fn tos_name(tos: &Masked8) -> Option<&'static str> {
    match (tos.value, tos.mask) {
        (0x10, 0x3f) => Some("Minimize-Delay"),
        (0x08, 0x3f) => Some("Maximize-Throughput"),
        (0x04, 0x3f) => Some("Maximize-Reliability"),
        (0x02, 0x3f) => Some("Minimize-Cost"),
        (0x00, 0x3f) => Some("Normal-Service"),
        _ => None,
    }
}

fn target(text: &mut String, target: &Target, numeric: bool) -> std::fmt::Result {
    match target {
        Target::Reject(with) => write!(text, " reject-with {}", reject_name(*with)),
        Target::Log(log) => self::log(text, log, numeric),
        Target::Nflog(target) => nflog(text, target, " ", quote_saved),
        Target::Nfqueue(queue) => {
            match queue.total {
                0 | 1 => write!(text, " NFQUEUE num {}", queue.queue)?,
                total => write!(text, " NFQUEUE balance {}:{}", queue.queue, last_queue(queue.queue, total))?,
            }
            for (on, flag) in [(queue.bypass, " bypass"), (queue.cpu_fanout, " cpu-fanout")] {
                if on {
                    text.push_str(flag);
                }
            }
            Ok(())
        }
        Target::Mark(Masked32 { value, mask }) => match (*value, *mask) {
            (0, mask) => write!(text, " MARK and {:#x}", !mask),
            (value, mask) if value == mask => write!(text, " MARK or {value:#x}"),
            (value, 0) => write!(text, " MARK xor {value:#x}"),
            (value, u32::MAX) => write!(text, " MARK set {value:#x}"),
            (value, mask) => write!(text, " MARK xset {value:#x}/{mask:#x}"),
        },
        Target::Classify(class) => write!(text, " CLASSIFY set {:x}:{:x}", class >> 16, class & 0xffff),
        Target::Dscp(dscp) => write!(text, " DSCP set 0x{dscp:02x}"),
        Target::Tos(tos) => self::tos(text, tos, numeric),
        Target::Ttl(TtlTarget::Set(ttl)) => write!(text, " TTL set to {ttl}"),
        Target::Ttl(TtlTarget::Inc(by)) => write!(text, " TTL increment by {by}"),
        Target::Ttl(TtlTarget::Dec(by)) => write!(text, " TTL decrement by {by}"),
        Target::Tcpmss(TcpmssTarget::Set(mss)) => write!(text, " TCPMSS set {mss}"),
        Target::Tcpmss(TcpmssTarget::ClampToPmtu) => write!(text, " TCPMSS clamp to PMTU"),
        Target::Ecn(ecn) => self::ecn(text, ecn),
        Target::None
        | Target::Accept
        | Target::Drop
        | Target::Return
        | Target::Jump { .. }
        | Target::Trace => Ok(()),
    }
}

fn log(text: &mut String, log: &LogTarget, numeric: bool) -> std::fmt::Result {
    if numeric {
        write!(text, " LOG flags {} level {}", log.flags, log.level)?;
    } else {
        // -L has the short names of two levels.
        let level = match log.level {
            3 => "err",
            4 => "warn",
            level => LOG_LEVELS.get(usize::from(level)).copied().unwrap_or("?"),
        };
        write!(text, " LOG level {level}")?;
        for (bit, flag) in
            [(1, " tcp-sequence"), (2, " tcp-options"), (4, " ip-options"), (8, " uid"), (32, " macdecode")]
        {
            if log.flags & bit != 0 {
                text.push_str(flag);
            }
        }
    }
    if log.prefix.is_empty() { Ok(()) } else { write!(text, " prefix \"{}\"", log.prefix) }
}

fn tos(text: &mut String, tos: &Masked8, numeric: bool) -> std::fmt::Result {
    let Masked8 { value, mask } = *tos;
    if numeric {
        return write!(text, " TOS set 0x{value:02x}/0x{mask:02x}");
    }
    match (tos_name(tos), value, mask) {
        // The blanks are iptables' own.
        (Some(name), ..) => write!(text, "  TOS set{name}"),
        (None, value, mask) if value == mask => write!(text, " TOS or 0x{value:02x}"),
        (None, 0, mask) => write!(text, " TOS and 0x{:02x}", !mask),
        (None, value, 0) => write!(text, " TOS xor 0x{value:02x}"),
        (None, value, mask) => write!(text, " TOS set 0x{value:02x}/0x{mask:02x}"),
    }
}

fn ecn(text: &mut String, ecn: &EcnTarget) -> std::fmt::Result {
    text.push_str(" ECN");
    if ecn.tcp_remove {
        text.push_str(" TCP remove");
    }
    if let Some(ece) = ecn.tcp_ece {
        write!(text, " ECE={}", u8::from(ece))?;
    }
    if let Some(cwr) = ecn.tcp_cwr {
        write!(text, " CWR={}", u8::from(cwr))?;
    }
    ecn.ip_ect.map_or(Ok(()), |ect| write!(text, " ECT codepoint={ect}"))
}
