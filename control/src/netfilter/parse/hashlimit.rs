//! `-m hashlimit`.

use skiff_dataplane::netfilter::ip_tables::rule::{HashlimitMatch, HashlimitRate, Match, hashlimit_mode};

use super::options::{Given, Spec, negatable, value};
use super::values::{bounded, number, rate};
use crate::config::Fault;
use crate::netfilter::error::quote;
use crate::netfilter::print::rates;

pub(super) const OPTIONS: &[Spec] = &[
    negatable(&["hashlimit-upto", "hashlimit"]),
    negatable(&["hashlimit-above"]),
    value(&["hashlimit-burst"]),
    value(&["hashlimit-mode"]),
    value(&["hashlimit-name"]),
    value(&["hashlimit-srcmask"]),
    value(&["hashlimit-dstmask"]),
    value(&["hashlimit-htable-size"]),
    value(&["hashlimit-htable-max"]),
    value(&["hashlimit-htable-gcinterval"]),
    value(&["hashlimit-htable-expire"]),
    Spec { names: &["hashlimit-rate-match"], args: 0, invert: false },
    value(&["hashlimit-rate-interval"]),
];

/// Modes by name, in the order they are printed.
pub(in crate::netfilter) const MODES: [(&str, u8); 4] = [
    ("srcip", hashlimit_mode::SIP),
    ("srcport", hashlimit_mode::SPT),
    ("dstip", hashlimit_mode::DIP),
    ("dstport", hashlimit_mode::DPT),
];

pub(super) fn build(given: &Given) -> Result<Match, Fault> {
    for name in ["hashlimit-rate-match", "hashlimit-rate-interval"] {
        if given.has(name) {
            return Err(format!("--{name} is not supported yet").into());
        }
    }
    let limit = given.exactly_one_of(&["hashlimit-upto", "hashlimit-above"])?;
    let burst = given.get("hashlimit-burst").map(|option| option.arg());
    let (rate, burst, unit_ms) = match bytes(limit.arg())? {
        Some(per_second) => {
            let burst = burst.map_or(Ok(0), |text| byte_burst(text, per_second))?;
            (HashlimitRate::Bytes { per_second }, burst, rates::byte_expire(burst))
        }
        None => {
            let (avg, seconds) = rate(limit.arg(), rates::HASHLIMIT_SCALE)?;
            let burst = burst.map_or(Ok(5), |text| bounded("hashlimit-burst", text, 1, 1_000_000))?;
            (HashlimitRate::Packets { avg }, burst, seconds * 1000)
        }
    };
    let number = |name, default, min| match given.get(name) {
        Some(option) => bounded(name, option.arg(), min, u64::from(u32::MAX)),
        None => Ok(default),
    };
    let mask = |name| given.get(name).map_or(Ok(32), |option| bounded(name, option.arg(), 0, 32));
    let expire = number("hashlimit-htable-expire", u32::try_from(unit_ms).unwrap_or(u32::MAX), 1)?;
    Ok(Match::Hashlimit(HashlimitMatch {
        name: name(given.require("hashlimit-name")?.arg())?,
        above: (limit.name == "hashlimit-above") != limit.invert,
        mode: given.get("hashlimit-mode").map_or(Ok(0), |option| mode(option.arg()))?,
        // What the rate gives by itself is the default and is not kept.
        expire: if u64::from(expire) == rates::default_expire(&rate, burst) { 0 } else { expire },
        rate,
        burst,
        srcmask: mask("hashlimit-srcmask")?,
        dstmask: mask("hashlimit-dstmask")?,
        htable_size: number("hashlimit-htable-size", 0, 0)?,
        htable_max: number("hashlimit-htable-max", 0, 0)?,
        gc_interval: number("hashlimit-htable-gcinterval", 1000, 1)?,
    }))
}

/// The name of the table, a file of the kernel's.
fn name(text: &str) -> Result<String, Fault> {
    const LONGEST: usize = 254;
    if text.is_empty()
        || text.len() > LONGEST
        || text.contains(|c: char| c == '/' || c == '"' || c.is_whitespace())
    {
        return Err(format!("{} is no name of a hashlimit table", quote(text)).into());
    }
    Ok(text.to_owned())
}

fn mode(text: &str) -> Result<u8, Fault> {
    text.split(',').filter(|word| !word.is_empty()).try_fold(0, |bits, word| {
        match MODES.iter().find(|(name, _)| *name == word) {
            Some((_, bit)) => Ok(bits | bit),
            None => Err(Fault::from(format!("{} is no hashlimit mode", quote(word)))
                .nearest(word, MODES.iter().map(|(name, _)| *name))),
        }
    })
}

/// A rate in bytes, `512kb/s`, as the kernel's arithmetic rounds it; `None` if it is one in packets.
fn bytes(text: &str) -> Result<Option<u64>, Fault> {
    let Some(amount) = text.strip_suffix("b/s") else { return Ok(None) };
    let asked =
        byte_amount(amount).filter(|&bytes| bytes > 0 && bytes >> 4 < u64::from(u32::MAX)).ok_or_else(
            || Fault::from(format!("{} is no rate in bytes", quote(text))).help("try Nb/s, Nkb/s or Nmb/s"),
        )?;
    Ok(Some(rates::byte_rate(asked)))
}

/// A burst in bytes, at least what one second brings, rounded up to whole seconds. What is given in kb or mb may be
/// short by what such a unit cuts off.
fn byte_burst(text: &str, per_second: u64) -> Result<u64, Fault> {
    let amount = text.strip_suffix('b').unwrap_or(text);
    let burst = byte_amount(amount).ok_or_else(|| format!("{} is no burst in bytes", quote(text)))?;
    let cut = match amount.chars().last() {
        Some('k') => (1 << 10) - 1,
        Some('m') => (1 << 20) - 1,
        _ => 0,
    };
    if per_second == 0 || burst.saturating_add(cut) < per_second {
        return Err(format!("--hashlimit-burst cannot be less than the {per_second}b of a second").into());
    }
    Ok(burst.div_ceil(per_second).max(1) * per_second)
}

fn byte_amount(text: &str) -> Option<u64> {
    let (digits, shift) = match text.strip_suffix(['k', 'm']) {
        Some(digits) if text.ends_with('k') => (digits, 10),
        Some(digits) => (digits, 20),
        None => (text, 0),
    };
    number(digits, u64::MAX >> 20).map(|n| n << shift)
}
