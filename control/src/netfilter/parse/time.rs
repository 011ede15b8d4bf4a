//! `-m time`: hours, days and dates, all of them UTC.

use skiff_dataplane::netfilter::ip_tables::rule::{Match, TimeMatch};

use super::options::{Given, Spec, flag, negatable, value};
use super::values::number;
use crate::config::Fault;
use crate::netfilter::error::quote;

pub(super) const OPTIONS: &[Spec] = &[
    value(&["datestart"]),
    value(&["datestop"]),
    value(&["timestart"]),
    value(&["timestop"]),
    negatable(&["monthdays"]),
    negatable(&["weekdays"]),
    flag(&["kerneltz"]),
    flag(&["localtz"]),
    flag(&["utc"]),
    flag(&["contiguous"]),
];

/// Every day of the month.
pub(in crate::netfilter) const ALL_MONTHDAYS: u32 = 0xffff_fffe;
/// Every day of the week.
pub(in crate::netfilter) const ALL_WEEKDAYS: u8 = 0xfe;
/// The last second of the day.
pub(in crate::netfilter) const DAY_END: u32 = 86_399;
/// What iptables writes for a date that never comes: the end of a signed 32-bit count.
pub(in crate::netfilter) const NEVER: u32 = i32::MAX as u32;
/// Days of the week from 1.
pub(in crate::netfilter) const WEEKDAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

pub(super) fn build(given: &Given) -> Result<Match, Fault> {
    given.one_of(&["kerneltz", "localtz", "utc"])?;
    let time_of = |name, default| given.get(name).map_or(Ok(default), |option| time_of_day(option.arg()));
    let date_of = |name, default| given.get(name).map_or(Ok(default), |option| date(option.arg()));
    let mut found = TimeMatch {
        date_start: date_of("datestart", 0)?,
        date_stop: date_of("datestop", u32::MAX)?,
        daytime_start: time_of("timestart", 0)?,
        daytime_stop: time_of("timestop", DAY_END)?,
        monthdays: ALL_MONTHDAYS,
        weekdays: ALL_WEEKDAYS,
        kerneltz: given.has("kerneltz") || given.has("localtz"),
        contiguous: given.has("contiguous"),
    };
    if found.date_stop == NEVER {
        found.date_stop = u32::MAX;
    }
    if let Some(option) = given.get("monthdays") {
        let days = monthdays(option.arg())?;
        found.monthdays = if option.invert { ALL_MONTHDAYS & !days } else { days };
    }
    if let Some(option) = given.get("weekdays") {
        let days = weekdays(option.arg())?;
        found.weekdays = if option.invert { ALL_WEEKDAYS & !days } else { days };
    }
    if found.monthdays == 0 || found.weekdays == 0 {
        return Err("match \"time\" leaves no day".into());
    }
    if found.contiguous && found.daytime_start <= found.daytime_stop {
        return Err("--contiguous needs a --timestop that is before --timestart, on the next day".into());
    }
    Ok(Match::Time(found))
}

/// `hh:mm` or `hh:mm:ss`.
fn time_of_day(text: &str) -> Result<u32, Fault> {
    let fault =
        || Fault::from(format!("{} is no time of the day", quote(text))).help("try hh:mm or hh:mm:ss");
    if !text.contains(':') {
        return Err(fault());
    }
    clock(text).ok_or_else(fault)
}

/// `hh`, `hh:mm` or `hh:mm:ss` in seconds.
fn clock(text: &str) -> Option<u32> {
    let parts: Vec<&str> = text.split(':').collect();
    if parts.len() > 3 {
        return None;
    }
    let part = |at: usize, max| parts.get(at).map_or(Some(0), |text| decimal(text, max));
    Some(part(0, 23)? * 3600 + part(1, 59)? * 60 + part(2, 59)?)
}

/// `YYYY[-MM[-DD[Thh[:mm[:ss]]]]]` in seconds since 1970. A day past the end of its month is one of the next.
fn date(text: &str) -> Result<u32, Fault> {
    let fault = || {
        Fault::from(format!("{} is no date from 1970 to 2038", quote(text))).help("try YYYY-MM-DDThh:mm:ss")
    };
    let (day, time) = text.split_once('T').map_or((text, None), |(day, time)| (day, Some(time)));
    let parts: Vec<&str> = day.split('-').collect();
    if parts.len() > 3 || (time.is_some() && parts.len() < 3) {
        return Err(fault());
    }
    let part = |at: usize, min, max| {
        parts.get(at).map_or(Some(min), |text| decimal(text, max)).filter(|&n| n >= min).ok_or_else(fault)
    };
    let (year, month, day) = (part(0, 1970, 2038)?, part(1, 1, 12)?, part(2, 1, 31)?);
    let time = time.map_or(Some(0), clock).ok_or_else(fault)?;
    let days = days_before(year, month) + day - 1;
    u32::try_from(u64::from(days) * 86_400 + u64::from(time)).map_err(|_| fault())
}

fn decimal(text: &str, max: u32) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|&n| digits && n <= max)
}

fn is_leap(year: u32) -> bool {
    (year.is_multiple_of(4) && !year.is_multiple_of(100)) || year.is_multiple_of(400)
}

/// Days of each month of a common year.
const MONTHS: [u32; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

fn days_in(year: u32, month: u32) -> u32 {
    let at = usize::try_from(month - 1).unwrap_or(0);
    MONTHS[at % 12] + u32::from(month == 2 && is_leap(year))
}

/// Days from 1970-01-01 to the first of a month.
fn days_before(year: u32, month: u32) -> u32 {
    let years: u32 = (1970..year).map(|year| 365 + u32::from(is_leap(year))).sum();
    years + (1..month).map(|month| days_in(year, month)).sum::<u32>()
}

/// Seconds since 1970 as (year, month, day, second of the day).
pub(in crate::netfilter) fn civil(seconds: u32) -> (u32, u32, u32, u32) {
    let (mut days, second) = (seconds / 86_400, seconds % 86_400);
    let mut year = 1970;
    while days >= 365 + u32::from(is_leap(year)) {
        days -= 365 + u32::from(is_leap(year));
        year += 1;
    }
    let mut month = 1;
    while days >= days_in(year, month) {
        days -= days_in(year, month);
        month += 1;
    }
    (year, month, days + 1, second)
}

fn monthdays(text: &str) -> Result<u32, Fault> {
    text.split(',').try_fold(0, |bits, word| match number(word, 31) {
        Some(day @ 1..) => Ok(bits | 1 << day),
        _ => Err(format!("{} is no day of a month", quote(word)).into()),
    })
}

fn weekdays(text: &str) -> Result<u8, Fault> {
    text.split(',').try_fold(0, |bits, word| {
        let named = |(_, name): &(usize, &&str)| word.len() >= 2 && word.starts_with(&name[..2]);
        let day = match number(word, 7) {
            Some(day @ 1..) => usize::try_from(day).ok(),
            Some(_) => None,
            None => WEEKDAYS.iter().enumerate().find(named).map(|(at, _)| at + 1),
        };
        day.map(|day| bits | 1 << day).ok_or_else(|| {
            Fault::from(format!("{} is no day of the week", quote(word))).nearest(word, WEEKDAYS)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_count_from_1970() {
        for (text, seconds) in [
            ("1970", 0),
            ("2024-01-01", 1_704_067_200),
            ("2024-02-31", 1_709_337_600),
            ("2038-01-19T03:14:07", NEVER),
            ("2024-01-01T12", 1_704_110_400),
        ] {
            assert_eq!(date(text), Ok(seconds), "{text}");
        }
        for text in
            ["", "1969", "2039", "2024-13", "2024-00", "24-1-1", "2024-01T1", "2024-01-01T24", "2024-1-1-1"]
        {
            assert!(date(text).is_err(), "{text}");
        }
        assert_eq!(civil(1_709_337_600 + 3661), (2024, 3, 2, 3661));
        assert_eq!(civil(NEVER), (2038, 1, 19, 3 * 3600 + 14 * 60 + 7));
    }

    #[test]
    fn days_by_number_and_name() {
        assert_eq!(weekdays("Mon,Sunday,3"), Ok(0b1000_1010));
        assert!(weekdays("mon").is_err() && weekdays("0").is_err() && weekdays("8").is_err());
        assert_eq!(monthdays("1,31"), Ok(1 << 1 | 1 << 31));
        assert!(monthdays("0").is_err() && monthdays("32").is_err());
    }
}
