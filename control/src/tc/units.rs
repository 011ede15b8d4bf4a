//! Rates, sizes, times and class names as iproute2 6.1 reads and prints them.
//!
//! A number is what strtod(3) takes from the front of the word, the rest is its unit, in either case of letters. Rates are
//! in bytes a second everywhere but on paper, where a bare number is bits a second; sizes are bytes; times microseconds.
//! What C would wrap around or take from a negative number is no value here.

use skiff_dataplane::sched::handle::TcHandle;

/// Units of rates: bits a second each.
const RATES: [(&str, f64); 19] = [
    ("", 1.0),
    ("bit", 1.0),
    ("kibit", 1024.0),
    ("kbit", 1e3),
    ("mibit", 1_048_576.0),
    ("mbit", 1e6),
    ("gibit", 1_073_741_824.0),
    ("gbit", 1e9),
    ("tibit", 1_099_511_627_776.0),
    ("tbit", 1e12),
    ("bps", 8.0),
    ("kibps", 8.0 * 1024.0),
    ("kbps", 8e3),
    ("mibps", 8.0 * 1_048_576.0),
    ("mbps", 8e6),
    ("gibps", 8.0 * 1_073_741_824.0),
    ("gbps", 8e9),
    ("tibps", 8.0 * 1_099_511_627_776.0),
    ("tbps", 8e12),
];

/// Units of sizes, bytes each. A kilobit is 1024 bits here.
const SIZES: [(&str, f64); 11] = [
    ("", 1.0),
    ("b", 1.0),
    ("k", 1024.0),
    ("kb", 1024.0),
    ("m", 1_048_576.0),
    ("mb", 1_048_576.0),
    ("g", 1_073_741_824.0),
    ("gb", 1_073_741_824.0),
    ("kbit", 128.0),
    ("mbit", 131_072.0),
    ("gbit", 134_217_728.0),
];

/// Units of times, microseconds each.
const TIMES: [(&str, f64); 10] = [
    ("", 1.0),
    ("s", 1e6),
    ("sec", 1e6),
    ("secs", 1e6),
    ("ms", 1e3),
    ("msec", 1e3),
    ("msecs", 1e3),
    ("us", 1.0),
    ("usec", 1.0),
    ("usecs", 1.0),
];

/// A rate in bytes a second; `link`, likewise, is what a percentage is of.
pub fn rate(word: &str, link: Option<u64>) -> Option<u64> {
    let bits = match word.strip_suffix('%') {
        Some(number) => share(number)? * link? as f64 * 8.0,
        None => scaled(word, &RATES)?,
    };
    // Beyond this no product with a time fits, and nobody has such a line.
    (bits < 2f64.powi(63)).then_some((bits / 8.0) as u64)
}

/// A percentage of the whole or less.
fn share(number: &str) -> Option<f64> {
    let share = scaled(number, &[("", 1.0)])? / 100.0;
    (share <= 1.0).then_some(share)
}

/// A size in bytes.
pub fn size(word: &str) -> Option<u32> {
    whole(scaled(word, &SIZES)?)
}

/// A size in bytes, behind which the size of a cell may stand, a power of two which only matters to rate tables.
pub fn size_and_cell(word: &str) -> Option<u32> {
    let (bytes, cell) = word.split_once('/').unwrap_or((word, "1"));
    signed(cell).filter(|cell| *cell > 0 && cell.count_ones() == 1)?;
    size(bytes)
}

/// A time in microseconds.
pub fn time(word: &str) -> Option<u32> {
    whole(scaled(word, &TIMES)?)
}

/// A plain number, as a probability.
pub fn number(word: &str) -> Option<f64> {
    scaled(word, &[("", 1.0)])
}

/// A whole number in `base`, or in that of C's prefix if `base` is 0.
pub fn u64_in(word: &str, base: u32) -> Option<u64> {
    let hex = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X"));
    let (digits, base) = match (base, hex) {
        (0 | 16, Some(digits)) => (digits, 16),
        (0, None) if word.len() > 1 && word.starts_with('0') => (&word[1..], 8),
        (0, None) => (word, 10),
        (base, _) => (word, base),
    };
    // Rust would take a sign.
    if !digits.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return None;
    }
    u64::from_str_radix(digits, base).ok()
}

/// The same of 32 bits.
pub fn u32_in(word: &str, base: u32) -> Option<u32> {
    u64_in(word, base)?.try_into().ok()
}

/// A number with or without a minus in front, in the base of its prefix.
pub fn signed(word: &str) -> Option<i32> {
    match word.strip_prefix('-') {
        Some(word) => i32::try_from(-i64::try_from(u64_in(word, 0)?).ok()?).ok(),
        None => u64_in(word, 0)?.try_into().ok(),
    }
}

fn scaled(word: &str, units: &[(&str, f64)]) -> Option<f64> {
    let (value, unit) = strtod(word)?;
    let (_, scale) = units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?;
    Some(value * scale).filter(|value| value.is_finite() && *value >= 0.0)
}

fn whole(value: f64) -> Option<u32> {
    (value < 4_294_967_296.0).then_some(value as u32)
}

/// The number at the front of a word, and the rest.
fn strtod(word: &str) -> Option<(f64, &str)> {
    let unsigned = word.strip_prefix('+').unwrap_or(word);
    if let Some(hex) = unsigned.strip_prefix("0x").or_else(|| unsigned.strip_prefix("0X")) {
        let end = hex.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(hex.len());
        return Some((u64::from_str_radix(&hex[..end], 16).ok()? as f64, &hex[end..]));
    }
    let end = decimal_end(unsigned.as_bytes());
    Some((unsigned[..end].parse().ok()?, &unsigned[end..]))
}

/// Where a decimal number ends: digits, a point and digits, an exponent if it has digits.
fn decimal_end(bytes: &[u8]) -> usize {
    let digits = |from: usize| bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
    let mut end = digits(0);
    if bytes.get(end) == Some(&b'.') {
        end += 1 + digits(end + 1);
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let exponent = bytes.get(end + 1 + sign..).map_or(0, |_| digits(end + 1 + sign));
        if exponent > 0 {
            end += 1 + sign + exponent;
        }
    }
    end
}

/// The name of a discipline: `1`, `1:`, `1:0`, hexadecimal, or `none`.
pub fn qdisc_handle(word: &str) -> Option<TcHandle> {
    if word == "none" {
        return Some(TcHandle::UNSPEC);
    }
    let (major, _) = word.split_once(':').unwrap_or((word, ""));
    Some(TcHandle::new(u16::try_from(u32_in(major, 16)?).ok()?, 0))
}

/// The name of a class, `major:minor`; either may be left out. Without a colon it is the 32-bit number.
pub fn classid(word: &str) -> Option<TcHandle> {
    match word {
        "root" => return Some(TcHandle::ROOT),
        "none" => return Some(TcHandle::UNSPEC),
        _ => {}
    }
    let Some((major, minor)) = word.split_once(':') else { return u32_in(word, 16).map(TcHandle) };
    let half = |word: &str| match word {
        "" => Some(0),
        word => u32_in(word, 16).and_then(|n| u16::try_from(n).ok()),
    };
    Some(TcHandle::new(half(major)?, half(minor)?))
}

/// A rate as tc prints it: the largest unit that loses nothing, or three digits and more. With `iec`, thousands are 1024.
pub fn show_rate(bytes: u64, iec: bool) -> String {
    const UNITS: [&str; 5] = ["", "K", "M", "G", "T"];
    let kilo = if iec { 1024 } else { 1000 };
    let (mut bits, mut unit) = (u128::from(bytes) * 8, 0);
    while unit < UNITS.len() - 1 && bits >= kilo && (bits % kilo == 0 || bits >= 1000 * kilo) {
        bits /= kilo;
        unit += 1;
    }
    format!("{bits}{}{}bit", UNITS[unit], if iec && unit > 0 { "i" } else { "" })
}

/// A size as tc prints it: in kilobytes if that is at most 15 bytes wrong, in megabytes if it is less than 1 KiB.
pub fn show_size(bytes: u64) -> String {
    let rounded = |unit: u64| (bytes + unit / 2) / unit;
    let (kb, mb) = (rounded(1024), rounded(1 << 20));
    if bytes >= 1 << 20 && (mb << 20).abs_diff(bytes) < 1024 {
        format!("{}Mb", general(mb as f64, 6))
    } else if bytes >= 1024 && (kb << 10).abs_diff(bytes) < 16 {
        format!("{}Kb", general(kb as f64, 6))
    } else {
        format!("{bytes}b")
    }
}

/// A time as tc prints it, of microseconds.
pub fn show_time(us: u64) -> String {
    match us {
        0..1000 => format!("{us}us"),
        1000..1_000_000 => format!("{}ms", general(us as f64 / 1e3, 3)),
        _ => format!("{}s", general(us as f64 / 1e6, 3)),
    }
}

/// C's `%.Ng`: so many significant digits, no zeros behind the point, an exponent where it is shorter.
pub fn general(value: f64, digits: usize) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let scientific = format!("{value:.*e}", digits.saturating_sub(1));
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trim = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    if exponent < -4 || exponent >= digits as i32 {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trim(mantissa), exponent.abs());
    }
    let decimals = (digits as i32 - 1 - exponent).max(0) as usize;
    trim(&format!("{value:.decimals$}"))
}

#[cfg(test)]
mod tests;
