//! Rates as the kernel keeps them and iptables prints them: a period goes in, the unit in which it comes out evenly
//! comes out.

use skiff_dataplane::netfilter::ip_tables::rule::HashlimitRate;

/// Parts of a second `-m limit` counts in.
pub(in crate::netfilter) const LIMIT_SCALE: u64 = 10_000;
/// Parts of a second `-m hashlimit` counts in.
pub(in crate::netfilter) const HASHLIMIT_SCALE: u64 = 1_000_000;
/// Bytes are counted in units of 16.
const BYTE_SHIFT: u32 = 4;

/// Names and seconds of the units.
const UNITS: [(&str, u64); 4] = [("day", 86_400), ("hour", 3600), ("min", 60), ("sec", 1)];

/// The largest unit that shows a period well.
fn unit(period: u64, scale: u64) -> (&'static str, u64) {
    let mut best = UNITS[0];
    for unit in &UNITS[1..] {
        let ticks = unit.1 * scale;
        if period == 0 || period > ticks || ticks / period < ticks % period {
            break;
        }
        best = *unit;
    }
    best
}

/// A period of 1/`scale` s as `5/sec`.
pub(in crate::netfilter) fn per_unit(period: u64, scale: u64) -> String {
    let (name, seconds) = unit(period, scale);
    format!("{}/{name}", (seconds * scale).checked_div(period).unwrap_or(0))
}

/// A rate in bytes a second as the kernel rounds it: it keeps a cost, 2^32 over the units of 16 bytes.
pub(in crate::netfilter) fn byte_rate(bytes: u64) -> u64 {
    let units = WHOLE.checked_div(byte_cost(bytes)).unwrap_or(WHOLE);
    (units - 1) << BYTE_SHIFT
}

const WHOLE: u64 = u32::MAX as u64;

fn byte_cost(bytes: u64) -> u64 {
    WHOLE / ((bytes >> BYTE_SHIFT) + 1)
}

/// Units of bytes: powers of two and their letters.
const BYTE_UNITS: [(u32, &str); 3] = [(20, "m"), (10, "k"), (0, "")];

/// A rate in bytes a second, `512kb/s`: in the largest unit that keeps the kernel's cost.
pub(in crate::netfilter) fn bytes_per_second(rate: u64) -> String {
    // iptables masks with 32 bits, so that from 4 GiB/s on a unit seldom keeps the cost.
    let cut = |shift: u32| rate & u64::from(u32::MAX << shift);
    let keeps = |shift: &(u32, &str)| rate >> shift.0 > 0 && byte_cost(cut(shift.0)) == byte_cost(rate);
    let (shift, letter) = BYTE_UNITS.into_iter().find(keeps).unwrap_or((0, ""));
    format!("{}{letter}b/s", rate >> shift)
}

/// A burst in bytes, `1mb`: in the largest unit it has, cut off.
pub(in crate::netfilter) fn byte_burst(burst: u64) -> String {
    let (shift, letter) = BYTE_UNITS.into_iter().find(|(shift, _)| burst >> shift > 0).unwrap_or((0, ""));
    format!("{}{letter}b", burst >> shift)
}

/// How long an entry of a rate in bytes stays, ms.
pub(in crate::netfilter) fn byte_expire(burst: u64) -> u64 {
    if burst > 0 { 60_000 } else { 15_000 }
}

/// How long an entry of `-m hashlimit` stays if the rule does not say, ms: the unit of the rate.
pub(in crate::netfilter) fn default_expire(rate: &HashlimitRate, burst: u64) -> u64 {
    match rate {
        HashlimitRate::Packets { avg } => unit(*avg, HASHLIMIT_SCALE).1 * 1000,
        HashlimitRate::Bytes { .. } => byte_expire(burst),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_those_iptables_picks() {
        for (period, text) in [
            (85_714, "7/min"),
            (6_000, "100/min"),
            (10_000, "1/sec"),
            (12_000_000, "3/hour"),
            (86_400, "10000/day"),
        ] {
            assert_eq!(per_unit(period, LIMIT_SCALE), text);
        }
        // 3000/hour has the period of 50/min.
        assert_eq!(per_unit(1_200_000, HASHLIMIT_SCALE), "50/min");
    }

    #[test]
    fn byte_rates_round_as_in_the_kernel() {
        for (asked, kept) in [(1000, 992), (15, 0), (17, 16), (1 << 20, 1 << 20), (100_000, 100_000)] {
            assert_eq!(byte_rate(asked), kept, "{asked}");
            assert_eq!(byte_rate(kept), kept, "{kept}");
        }
        for (asked, text) in [(1024 << 20, "1040mb/s"), (1000, "992b/s"), (100_000, "100000b/s"), (5, "0b/s")]
        {
            assert_eq!(bytes_per_second(byte_rate(asked)), text);
        }
        assert_eq!((byte_burst(1_000_000), byte_burst(2 << 20)), ("976kb".to_owned(), "2mb".to_owned()));
    }
}
