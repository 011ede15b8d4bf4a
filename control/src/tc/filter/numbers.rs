//! Numbers, rates, sizes, classes and protocols as tc reads and prints them.

use std::fmt::Write;

use skiff_dataplane::sched::cls::ETH_P_ALL;
use skiff_dataplane::sched::handle::TcHandle;

/// A number as `strtoul` reads it: base 0 takes it from the prefix.
pub fn u64_in(text: &str, base: u32) -> Option<u64> {
    let (digits, base) = match (base, text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"))) {
        (0 | 16, Some(digits)) => (digits, 16),
        (0, None) if text.len() > 1 && text.starts_with('0') => (&text[1..], 8),
        (0, None) => (text, 10),
        _ => (text, base),
    };
    let clean = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_alphanumeric());
    clean.then(|| u64::from_str_radix(digits, base).ok()).flatten()
}

/// The same of 32 bits.
pub fn u32_in(text: &str, base: u32) -> Option<u32> {
    u64_in(text, base)?.try_into().ok()
}

/// A signed number, base from the prefix.
pub fn integer(text: &str) -> Option<i32> {
    match text.strip_prefix('-') {
        Some(text) => i32::try_from(-i64::try_from(u64_in(text, 0)?).ok()?).ok(),
        None => u64_in(text, 0)?.try_into().ok(),
    }
}

/// A class or discipline: `root`, `none`, `MAJ:MIN`, hexadecimal.
pub fn classid(text: &str) -> Option<TcHandle> {
    match text {
        "root" => return Some(TcHandle::ROOT),
        "none" => return Some(TcHandle::UNSPEC),
        _ => {}
    }
    let hex = |text: &str| match text {
        "" => Some(0),
        text => u32_in(text, 16),
    };
    match text.split_once(':') {
        Some((major, minor)) => {
            let (major, minor) = (hex(major)?, hex(minor)?);
            Some(TcHandle::new(major.try_into().ok()?, minor.try_into().ok()?))
        }
        None => hex(text).filter(|_| !text.is_empty()).map(TcHandle),
    }
}

/// A rate in bytes a second.
pub fn rate(text: &str) -> Option<u64> {
    const UNITS: [(&str, f64); 19] = [
        ("bit", 1.0),
        ("kibit", 1024.0),
        ("kbit", 1000.0),
        ("mibit", 1024.0 * 1024.0),
        ("mbit", 1e6),
        ("gibit", 1024.0 * 1024.0 * 1024.0),
        ("gbit", 1e9),
        ("tibit", 1024.0 * 1024.0 * 1024.0 * 1024.0),
        ("tbit", 1e12),
        ("bps", 8.0),
        ("kibps", 8.0 * 1024.0),
        ("kbps", 8e3),
        ("mibps", 8.0 * 1024.0 * 1024.0),
        ("mbps", 8e6),
        ("gibps", 8.0 * 1024.0 * 1024.0 * 1024.0),
        ("gbps", 8e9),
        ("tibps", 8.0 * 1024.0 * 1024.0 * 1024.0 * 1024.0),
        ("tbps", 8e12),
        ("", 1.0),
    ];
    let (number, unit) = split_number(text)?;
    let unit = unit.to_ascii_lowercase();
    let (_, scale) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let bits = number * scale;
    (0.0..1.8e19).contains(&bits).then_some((bits / 8.0) as u64)
}

/// A size in bytes.
pub fn size(text: &str) -> Option<u32> {
    let (number, unit) = split_number(text)?;
    const K: f64 = 1024.0;
    let scale = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "kb" | "k" => K,
        "gb" | "g" => K * K * K,
        "gbit" => K * K * K / 8.0,
        "mb" | "m" => K * K,
        "mbit" => K * K / 8.0,
        "kbit" => K / 8.0,
        _ => return None,
    };
    let bytes = number * scale;
    (0.0..4_294_967_296.0).contains(&bytes).then_some(bytes as u32)
}

fn split_number(text: &str) -> Option<(f64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit))
}

/// A rate as tc prints it.
pub fn print_rate(bytes: u64) -> String {
    let mut bits = bytes.saturating_mul(8);
    let mut unit = 0;
    const UNITS: [&str; 5] = ["", "K", "M", "G", "T"];
    while unit < 4 && bits >= 1000 && (bits % 1000 == 0 || bits >= 1_000_000) {
        bits /= 1000;
        unit += 1;
    }
    format!("{bits}{}bit", UNITS[unit])
}

/// A size as tc prints it.
pub fn print_size(bytes: u32) -> String {
    let size = f64::from(bytes);
    let near =
        |unit: f64, slack: f64| size >= unit && (unit * (size / unit + 0.5).floor() - size).abs() < slack;
    let round = |unit: f64| (size / unit).round();
    const M: f64 = 1024.0 * 1024.0;
    match () {
        () if near(M, 1024.0) => format!("{}Mb", round(M)),
        () if near(1024.0, 16.0) => format!("{}Kb", round(1024.0)),
        () => format!("{bytes}b"),
    }
}

const PROTOCOLS: [(&str, u16); 32] = [
    ("loop", 0x60),
    ("pup", 0x200),
    ("ip", 0x800),
    ("x25", 0x805),
    ("arp", 0x806),
    ("bpq", 0x8ff),
    ("ieeepup", 0xa00),
    ("ieeepupat", 0xa01),
    ("dec", 0x6000),
    ("dna_dl", 0x6001),
    ("dna_rc", 0x6002),
    ("dna_rt", 0x6003),
    ("lat", 0x6004),
    ("diag", 0x6005),
    ("cust", 0x6006),
    ("sca", 0x6007),
    ("rarp", 0x8035),
    ("atalk", 0x809b),
    ("aarp", 0x80f3),
    ("802.1Q", 0x8100),
    ("ipx", 0x8137),
    ("ipv6", 0x86dd),
    ("ppp_disc", 0x8863),
    ("ppp_ses", 0x8864),
    ("atmmpoa", 0x884c),
    ("atmfate", 0x8884),
    ("802.1ad", 0x88a8),
    ("mpls_uc", 0x8847),
    ("mpls_mc", 0x8848),
    ("all", ETH_P_ALL),
    ("802_3", 1),
    ("802_2", 4),
];

/// An EtherType: a name or a number.
pub fn protocol(text: &str) -> Option<u16> {
    let named = |name: &str| PROTOCOLS.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, p)| *p);
    match text {
        "ipv4" => Some(0x800),
        text => named(text).or_else(|| u64_in(text, 0)?.try_into().ok()),
    }
}

/// An EtherType as tc prints it.
pub fn print_protocol(protocol: u16) -> String {
    match PROTOCOLS.iter().find(|(_, p)| *p == protocol) {
        Some((name, _)) => (*name).into(),
        None => format!("[{protocol}]"),
    }
}

/// Bytes in hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Hexadecimal digits as bytes.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    (digits.len() % 2 == 0).then(|| digits.chunks(2).map(byte).collect()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_sizes_are_those_of_tc() {
        for (text, bytes, shown) in [
            ("80mbit", 10_000_000, "80Mbit"),
            ("1kbps", 1000, "8Kbit"),
            ("8", 1, "8bit"),
            ("1.5mbit", 187_500, "1500Kbit"),
            ("1Kibit", 128, "1024bit"),
            ("100gbit", 12_500_000_000, "100Gbit"),
        ] {
            assert_eq!((rate(text), print_rate(bytes).as_str()), (Some(bytes), shown));
        }
        for (text, bytes, shown) in [
            ("16k", 16384, "16Kb"),
            ("1600", 1600, "1600b"),
            ("2040", 2040, "2Kb"),
            ("1mb", 1 << 20, "1Mb"),
            ("8kbit", 1024, "1Kb"),
            ("1046250", 1_046_250, "1046250b"),
        ] {
            assert_eq!((size(text), print_size(bytes).as_str()), (Some(bytes), shown));
        }
        for bad in ["", "x", "1xbit", "-1", "1e40gbit"] {
            assert_eq!((rate(bad), size(bad)), (None, None), "{bad}");
        }
    }

    #[test]
    fn classes_are_hexadecimal() {
        assert_eq!(classid("1:10"), Some(TcHandle::new(1, 0x10)));
        assert_eq!((classid("1:"), classid(":a")), (Some(TcHandle::new(1, 0)), Some(TcHandle(10))));
        assert_eq!((classid("10010"), classid("root")), (Some(TcHandle(0x10010)), Some(TcHandle::ROOT)));
        assert_eq!([classid("1:10000"), classid("x"), classid(""), classid("1:2:3")], [None; 4]);
    }

    #[test]
    fn protocols_have_names() {
        for (name, number) in
            [("ip", 0x800), ("all", 3), ("802.1q", 0x8100), ("0x88b5", 0x88b5), ("ipv6", 0x86dd)]
        {
            assert_eq!(protocol(name), Some(number));
        }
        assert_eq!((print_protocol(0x8100).as_str(), print_protocol(0x88b5).as_str()), ("802.1Q", "[34997]"));
    }
}
