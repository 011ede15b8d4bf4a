//! Values inside rules: numbers, ranges, addresses, ports, marks, rates.

use skiff_dataplane::netfilter::ip_tables::rule::{AddrMatch, IfaceMatch, Inv, Masked8, Masked32, Range};

use crate::config::Fault;
use crate::netfilter::error::quote;
use crate::netfilter::names;

/// A number as C writes them (decimal, `0x` hexadecimal, leading `0` octal), no more than `max`.
pub(in crate::netfilter) fn number(text: &str, max: u64) -> Option<u64> {
    let (digits, radix) = match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&text[2..], 16),
        [b'0', _, ..] => (&text[1..], 8),
        _ => (text, 10),
    };
    if digits.starts_with('+') {
        return None;
    }
    u64::from_str_radix(digits, radix).ok().filter(|&n| n <= max)
}

/// [`number`] with the message that names the option.
pub(super) fn bounded<T: TryFrom<u64>>(option: &str, text: &str, min: u64, max: u64) -> Result<T, Fault> {
    let out = || format!("{} is no number from {min} to {max}, as --{option} wants", quote(text));
    let found = number(text, max).filter(|&n| n >= min).ok_or_else(out)?;
    T::try_from(found).map_err(|_| out().into())
}

/// `a`, `a:b`, `a:`, `:b` or `:`, within 16 bits. The ends may stand in the wrong order, which matches nothing.
pub(super) fn range16(option: &str, text: &str) -> Result<Range<u16>, Fault> {
    let end = |text: &str, default| {
        if text.is_empty() { Ok(default) } else { bounded(option, text, 0, 65535) }
    };
    match text.split_once(':') {
        Some((min, max)) => Ok(Range { min: end(min, 0)?, max: end(max, u16::MAX)? }),
        None => bounded(option, text, 0, 65535).map(|n| Range { min: n, max: n }),
    }
}

/// A port by number or by the name of a service of `proto`.
pub(in crate::netfilter) fn port(text: &str, proto: &str) -> Result<u16, Fault> {
    match number(text, u64::from(u16::MAX)).and_then(|n| u16::try_from(n).ok()) {
        Some(port) => Ok(port),
        None => names::service(text, proto)
            .ok_or_else(|| format!("{} is no {proto} port or service", quote(text)).into()),
    }
}

/// `a`, `a:b`, `a:`, `:b` or `:` of ports.
pub(super) fn ports(text: &str, proto: &str) -> Result<Range<u16>, Fault> {
    let end = |text: &str, default| if text.is_empty() { Ok(default) } else { port(text, proto) };
    let range = match text.split_once(':') {
        Some((min, max)) => Range { min: end(min, 0)?, max: end(max, u16::MAX)? },
        None => {
            let port = port(text, proto)?;
            Range { min: port, max: port }
        }
    };
    if range.min > range.max {
        return Err(format!("port range {} ends before it begins", quote(text)).into());
    }
    Ok(range)
}

/// `value` or `value/mask`, 32 bits.
pub(super) fn masked32(option: &str, text: &str) -> Result<Masked32, Fault> {
    let part = |text: &str| bounded(option, text, 0, u64::from(u32::MAX));
    match text.split_once('/') {
        Some((value, mask)) => Ok(Masked32 { value: part(value)?, mask: part(mask)? }),
        None => Ok(Masked32 { value: part(text)?, mask: u32::MAX }),
    }
}

/// A type of service: `value`, `value/mask` or one of the names of RFC 1349, which leave the precedence bits alone.
pub(super) fn tos(option: &str, text: &str) -> Result<Masked8, Fault> {
    const NAMES: [(&str, u8); 5] = [
        ("Minimize-Delay", 0x10),
        ("Maximize-Throughput", 0x08),
        ("Maximize-Reliability", 0x04),
        ("Minimize-Cost", 0x02),
        ("Normal-Service", 0x00),
    ];
    if let Some((value, mask)) = text.split_once('/') {
        return Ok(Masked8 { value: bounded(option, value, 0, 255)?, mask: bounded(option, mask, 0, 255)? });
    }
    if let Some(value) = number(text, 255).and_then(|n| u8::try_from(n).ok()) {
        return Ok(Masked8 { value, mask: 0xff });
    }
    let named = NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
    named.map(|&(_, value)| Masked8 { value, mask: 0x3f }).ok_or_else(|| {
        let fault = Fault::from(format!("{} is no type of service, as --{option} wants", quote(text)));
        fault.nearest(text, NAMES.iter().map(|(name, _)| *name))
    })
}

/// A class of RFC 2474, 2597 or 3246 as a DSCP.
pub(super) fn dscp_class(text: &str) -> Result<u8, Fault> {
    let upper = text.to_ascii_uppercase();
    let digit = |at: usize| upper.as_bytes().get(at).map_or(9, |b| b.wrapping_sub(b'0'));
    match upper.as_bytes() {
        b"BE" => Ok(0),
        b"EF" => Ok(0x2e),
        [b'C', b'S', _] if digit(2) <= 7 => Ok(digit(2) << 3),
        [b'A', b'F', _, _] if (1..=4).contains(&digit(2)) && (1..=3).contains(&digit(3)) => {
            Ok((digit(2) << 3) | (digit(3) << 1))
        }
        _ => {
            Err(Fault::from(format!("{} is no DSCP class", quote(text)))
                .help("try BE, EF, CS0-CS7 or AF11-AF43"))
        }
    }
}

/// A rate, `N/second`, `/minute`, `/hour` or `/day`, the unit cut short at will: the period of one in 1/`scale` s, and
/// the seconds of the unit.
pub(super) fn rate(text: &str, scale: u64) -> Result<(u64, u64), Fault> {
    let bad =
        || Fault::from(format!("{} is no rate", quote(text))).help("try N/second, N/minute, N/hour or N/day");
    let (count, unit) = text.split_once('/').unwrap_or((text, "second"));
    let seconds = [("second", 1), ("minute", 60), ("hour", 3600), ("day", 86400)]
        .into_iter()
        .find(|(name, _)| !unit.is_empty() && name.starts_with(&unit.to_ascii_lowercase()))
        .map(|(_, seconds)| seconds)
        .ok_or_else(bad)?;
    let digits = count.find(|c: char| !c.is_ascii_digit()).map_or(count, |end| &count[..end]);
    let count: u64 = digits.parse().ok().filter(|&n| n > 0 && n <= u64::from(u32::MAX)).ok_or_else(bad)?;
    match scale * seconds / count {
        0 => Err(format!("rate {} is too fast: {scale}/second is the most", quote(text)).into()),
        period => Ok((period, seconds)),
    }
}

/// A dotted address, host order. Like iptables, it fills missing parts at the end with zeros.
pub(in crate::netfilter) fn address(text: &str) -> Option<u32> {
    let parts: Vec<&str> = text.split('.').collect();
    if parts.len() > 4 {
        return None;
    }
    let octet = |at: usize| parts.get(at).map_or(Some(0), |part| number(part, 255));
    (0..4).try_fold(0u32, |sum, at| Some((sum << 8) | u32::try_from(octet(at)?).ok()?))
}

/// An address with a mask, `10.0.0.0/8` or `10.0.0.0/255.0.0.0`; the mask need not be contiguous.
pub(super) fn network(text: &str, invert: bool) -> Result<AddrMatch, Fault> {
    let (host, mask) = match text.split_once('/') {
        Some((host, mask)) => (host, netmask(mask)?),
        None => (text, u32::MAX),
    };
    let addr = address(host).ok_or_else(|| {
        let fault = Fault::from(format!("{} is no IPv4 address", quote(host)));
        if host.starts_with(|c: char| c.is_ascii_alphabetic()) {
            fault.help("names of hosts are not looked up: write the address")
        } else {
            fault
        }
    })?;
    Ok(AddrMatch { addr: addr & mask, mask, invert })
}

fn netmask(text: &str) -> Result<u32, Fault> {
    if let Some(length) = number(text, 32) {
        return Ok(u32::MAX.checked_shl(32 - u32::try_from(length).unwrap_or(32)).unwrap_or(0));
    }
    let whole = text.split('.').count() == 4;
    address(text).filter(|_| whole).ok_or_else(|| format!("{} is no netmask", quote(text)).into())
}

/// An interface name, which a trailing `+` makes the beginning of a name; `None` for `+` alone, which is any.
pub(super) fn interface(option: &str, text: &str, invert: bool) -> Result<Option<IfaceMatch>, Fault> {
    const LONGEST: usize = 15;
    if text.is_empty() {
        return Err(format!("-{option} wants the name of an interface").into());
    }
    if text.len() > LONGEST {
        return Err(format!("{}: a name of an interface has at most {LONGEST} bytes", quote(text)).into());
    }
    if text.contains(|c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | '"')) {
        return Err(format!(
            "{} is no name of an interface: blanks, quotes and \"/\" are not allowed",
            quote(text)
        )
        .into());
    }
    match text.strip_suffix('+') {
        Some("") if invert => Err(format!("! -{option} + leaves no interface").into()),
        Some("") => Ok(None),
        Some(name) => Ok(Some(IfaceMatch { name: name.to_owned(), wildcard: true, invert })),
        None => Ok(Some(IfaceMatch { name: text.to_owned(), wildcard: false, invert })),
    }
}

/// A protocol; `None` for all of them.
pub(super) fn protocol(text: &str, invert: bool) -> Result<Option<Inv<u8>>, Fault> {
    match names::protocol(text) {
        Some(0) if invert => Err("! -p all leaves no protocol".into()),
        Some(0) => Ok(None),
        Some(value) => Ok(Some(Inv { value, invert })),
        None => Err(Fault::from(format!("unknown protocol {}", quote(text)))
            .nearest(&text.to_ascii_lowercase(), names::protocol_names())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_c() {
        for (text, value) in [("0", 0), ("22", 22), ("0x16", 22), ("022", 18), ("4294967295", 0xffff_ffff)] {
            assert_eq!(number(text, u64::MAX), Some(value), "{text}");
        }
        for text in ["", "-1", "+1", "08", "0x", "0x+1", "1 ", "x", "65536"] {
            assert_eq!(number(text, 65535), None, "{text}");
        }
    }

    #[test]
    fn networks() {
        let net = |text| network(text, false).map(|n| (n.addr, n.mask));
        assert_eq!(net("10.0.0.5/24"), Ok((0x0a00_0000, 0xffff_ff00)));
        assert_eq!(net("10.1"), Ok((0x0a01_0000, u32::MAX)));
        assert_eq!(net("10.0.0.5/255.0.255.0"), Ok((0x0a00_0000, 0xff00_ff00)));
        assert_eq!(net("1.2.3.4/0"), Ok((0, 0)));
        for text in
            ["", "10.0.0.256", "1.2.3.4.5", "1.2.3.4/33", "1.2.3.4/", "1.2.3.4/255.255", "1.2.3.4/0xffffff00"]
        {
            assert!(net(text).is_err(), "{text}");
        }
        assert!(network("example.org", false).unwrap_err().help.unwrap().contains("not looked up"));
    }

    #[test]
    fn rates_have_the_kernels_period() {
        assert_eq!(rate("5/s", 10_000), Ok((2_000, 1)));
        assert_eq!(rate("7/Minute", 10_000), Ok((85_714, 60)));
        assert_eq!(rate("5", 10_000), Ok((2_000, 1)));
        assert_eq!(rate("1/day", 10_000), Ok((864_000_000, 86_400)));
        for text in ["10001/s", "5/days", "0/s", "/s", "5/", "x/s", "-5/s", ""] {
            assert!(rate(text, 10_000).is_err(), "{text}");
        }
    }

    #[test]
    fn classes() {
        assert_eq!(dscp_class("ef"), Ok(0x2e));
        assert_eq!(dscp_class("AF41"), Ok(0x22));
        assert_eq!(dscp_class("CS7"), Ok(0x38));
        assert!(dscp_class("AF44").is_err() && dscp_class("CS8").is_err() && dscp_class("CSx").is_err());
    }
}
