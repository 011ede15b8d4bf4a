//! `-m time`: the calendar of `xt_time`.

use super::rule::TimeMatch;

const DAY: u64 = 86_400;
/// Bits 1 to 31.
const ALL_MONTHDAYS: u32 = 0xffff_fffe;

/// Whether a moment, seconds since 1970-01-01 UTC, is within. `kerneltz` is UTC here: the router keeps no zone.
pub fn matches(m: &TimeMatch, stamp: u64) -> bool {
    if stamp < u64::from(m.date_start) || stamp > u64::from(m.date_stop) {
        return false;
    }
    let (mut day, second) = (stamp / DAY, (stamp % DAY) as u32);
    if m.daytime_start < m.daytime_stop {
        if second < m.daytime_start || second > m.daytime_stop {
            return false;
        }
    } else {
        // Over midnight.
        if second < m.daytime_start && second > m.daytime_stop {
            return false;
        }
        if m.contiguous && second <= m.daytime_stop {
            day = day.saturating_sub(1);
        }
    }
    // 1970-01-01 was a Thursday, day 4.
    let weekday = (day + 3) % 7 + 1;
    if m.weekdays >> weekday & 1 == 0 {
        return false;
    }
    m.monthdays & ALL_MONTHDAYS == ALL_MONTHDAYS || m.monthdays >> month_day(day) & 1 == 1
}

/// The day of the month, from 1, of a day since 1970-01-01 (proleptic Gregorian calendar, years from March).
fn month_day(day: u64) -> u64 {
    let shifted = day + 719_468;
    let day_of_era = shifted % 146_097;
    let year = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    day_of_year - (153 * month + 2) / 5 + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: TimeMatch = TimeMatch {
        date_start: 0,
        date_stop: u32::MAX,
        daytime_start: 0,
        daytime_stop: 86_399,
        monthdays: ALL_MONTHDAYS,
        weekdays: 0xfe,
        kerneltz: false,
        contiguous: false,
    };
    /// 2024-02-29 12:00:00 UTC, a Thursday.
    const LEAP_DAY: u64 = 1_709_208_000;

    #[test]
    fn dates_times_and_days() {
        assert!(matches(&ANY, LEAP_DAY));
        for (day, month_day) in [(0, 1), (30, 31), (31, 1), (58, 28), (59, 1), (19_782, 29), (19_783, 1)] {
            assert_eq!(super::month_day(day), month_day, "day {day}");
        }
        assert!(matches(&TimeMatch { weekdays: 1 << 4, ..ANY }, LEAP_DAY));
        assert!(!matches(&TimeMatch { weekdays: 0xfe & !(1 << 4), ..ANY }, LEAP_DAY));
        assert!(matches(&TimeMatch { monthdays: 1 << 29, ..ANY }, LEAP_DAY));
        assert!(!matches(&TimeMatch { monthdays: 1 << 28, ..ANY }, LEAP_DAY));
        assert!(matches(&TimeMatch { daytime_start: 12 * 3600, ..ANY }, LEAP_DAY));
        assert!(!matches(&TimeMatch { daytime_stop: 12 * 3600 - 1, ..ANY }, LEAP_DAY));
        assert!(!matches(&TimeMatch { date_start: LEAP_DAY as u32 + 1, ..ANY }, LEAP_DAY));
        assert!(!matches(&TimeMatch { date_stop: LEAP_DAY as u32 - 1, ..ANY }, LEAP_DAY));
    }

    #[test]
    fn over_midnight_the_day_is_the_one_it_began_on_if_contiguous() {
        let night = TimeMatch { daytime_start: 23 * 3600, daytime_stop: 3600, weekdays: 1 << 4, ..ANY };
        let (thursday_2330, friday_0030) = (LEAP_DAY + 11 * 3600 + 1800, LEAP_DAY + 12 * 3600 + 1800);
        assert!(matches(&night, thursday_2330) && !matches(&night, friday_0030));
        assert!(!matches(&night, LEAP_DAY));
        let contiguous = TimeMatch { contiguous: true, ..night };
        assert!(matches(&contiguous, thursday_2330) && matches(&contiguous, friday_0030));
    }
}
