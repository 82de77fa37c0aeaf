//! Values that formats of several fields share: numbers, dates, times.

use generel_schemas::{RejectReason, parse_f64};

use super::delimited::{Kept, Refused};

/// Days since 1970-01-01 of `YYYY-MM-DD`, `YYYYMMDD`, or the date part of a time.
pub(crate) fn date(text: &str) -> Option<i32> {
    let date = if text.len() > 10 && matches!(text.as_bytes()[10], b' ' | b'T') { text.get(..10)? } else { text };
    let (year, month, day) = ymd(date)?;
    days(year, month, day)
}

/// Days since 1970-01-01 of a day that there is, in the Gregorian calendar (Hinnant's days_from_civil).
fn days(year: u32, month: u32, day: u32) -> Option<i32> {
    const LENGTHS: [u8; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let length = *LENGTHS.get(month.checked_sub(1)? as usize)?;
    if day == 0 || day > u32::from(length) || (month == 2 && day == 29 && !leap) {
        return None;
    }
    // Years begin in March, so that a leap day is the last; 400 years more keep all numbers above zero.
    let (year, month) = if month > 2 { (year + 400, month - 3) } else { (year + 399, month + 9) };
    let (era, of_era) = (year / 400, year % 400);
    let of_year = (153 * month + 2) / 5 + day - 1;
    let day = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year;
    i32::try_from(day).ok().map(|day| day - 719_468 - 146_097)
}

/// A date that a row cannot do without.
pub(crate) fn needed_date(column: usize, text: &str) -> Kept<i32> {
    let message = "expected a date, YYYY-MM-DD or YYYYMMDD";
    date(text).ok_or_else(|| Refused::column(column, RejectReason::InvalidDate, message))
}

/// Year, month and day of `YYYY-MM-DD` or `YYYYMMDD`.
fn ymd(text: &str) -> Option<(u32, u32, u32)> {
    let bytes = text.as_bytes();
    let (year, month, day) = match bytes.len() {
        10 if bytes[4] == b'-' && bytes[7] == b'-' => (&bytes[..4], &bytes[5..7], &bytes[8..]),
        8 => (&bytes[..4], &bytes[4..6], &bytes[6..]),
        _ => return None,
    };
    Some((digits(year)?, digits(month)?, digits(day)?))
}

/// `YYYY-MM-DD HH:MM[:SS]`, also with `T`, a fraction, and `Z` or an offset, as microseconds since the epoch. UTC where
/// no zone is stated.
pub(crate) fn datetime(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    if bytes.len() < 16 || !matches!(bytes[10], b' ' | b'T') {
        return None;
    }
    let (year, month, day) = ymd(text.get(..10)?)?;
    let days = days(year, month, day)?;
    let (time, offset) = zone(text.get(11..)?)?;
    let (clock, fraction) = time.split_at(time.len().min(if time.as_bytes().get(5) == Some(&b':') { 8 } else { 5 }));
    let fraction = match fraction.strip_prefix('.') {
        Some(fraction) => digits(fraction.as_bytes())? * 10u32.pow(9 - u32::try_from(fraction.len()).ok()?),
        None if fraction.is_empty() => 0,
        None => return None,
    };
    let clock = clock.as_bytes();
    let (hour, minute, second) = match clock.len() {
        8 if clock[2] == b':' && clock[5] == b':' => (&clock[..2], &clock[3..5], &clock[6..]),
        5 if clock[2] == b':' => (&clock[..2], &clock[3..], b"0".as_slice()),
        _ => return None,
    };
    let (hour, minute, second) = (digits(hour)?, digits(minute)?, digits(second)?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let seconds = i64::from(days) * 86_400 + i64::from(hour * 3600 + minute * 60 + second);
    Some(seconds * 1_000_000 + i64::from(fraction / 1000) - offset)
}

/// A time without its zone, and the zone's offset in microseconds.
fn zone(time: &str) -> Option<(&str, i64)> {
    if let Some(time) = time.strip_suffix('Z') {
        return Some((time, 0));
    }
    let Some(at) = time.rfind(['+', '-']) else { return Some((time, 0)) };
    let offset = &time.as_bytes()[at + 1..];
    let (hours, minutes) = match offset.len() {
        5 if offset[2] == b':' => (digits(&offset[..2])?, digits(&offset[3..])?),
        4 => (digits(&offset[..2])?, digits(&offset[2..])?),
        2 => (digits(offset)?, 0),
        _ => return None,
    };
    let micros = i64::from(hours * 60 + minutes) * 60_000_000;
    Some((&time[..at], if time.as_bytes()[at] == b'-' { -micros } else { micros }))
}

/// A finite number.
pub(crate) fn number(text: &str) -> Option<f64> {
    parse_f64(text)
}

/// A non-negative number of at most nine digits.
pub(crate) fn digits(bytes: &[u8]) -> Option<u32> {
    let fits = !bytes.is_empty() && bytes.len() <= 9 && bytes.iter().all(u8::is_ascii_digit);
    fits.then(|| bytes.iter().fold(0, |number, digit| number * 10 + u32::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::Date32Type;
    use chrono::{Days, NaiveDate};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_day_is_chrono_s() {
        let mut day = NaiveDate::from_ymd_opt(0, 1, 1).unwrap();
        while day <= NaiveDate::from_ymd_opt(9999, 12, 31).unwrap() {
            assert_eq!(date(&day.format("%Y-%m-%d").to_string()), Some(Date32Type::from_naive_date(day)));
            day = day + Days::new(17);
        }
    }

    proptest! {
        #[test]
        fn a_day_is_one_or_none(year in 1590..2410u32, month in 0..14u32, day in 0..33u32) {
            let expected = NaiveDate::from_ymd_opt(year as i32, month, day).map(Date32Type::from_naive_date);
            prop_assert_eq!(days(year, month, day), expected);
        }

        #[test]
        fn moments_are_chrono_s(micros in -60_000_000_000_000_000i64..200_000_000_000_000_000) {
            let moment = chrono::DateTime::from_timestamp_micros(micros).unwrap();
            for format in ["%Y-%m-%d %H:%M:%S%.6f", "%Y-%m-%dT%H:%M:%S%.fZ", "%Y-%m-%dT%H:%M:%S%.6f+00:00"] {
                prop_assert_eq!(datetime(&moment.format(format).to_string()), Some(micros));
            }
        }

        #[test]
        fn texts_never_panic(text in "\\PC{0,30}|[0-9é]{4}-[0-9]{2}-[0-9é]{2}[ T][0-9:.Z+-]{0,16}") {
            let _ = (date(&text), datetime(&text));
        }
    }

    #[test]
    fn dates_and_times() {
        assert_eq!(date("1970-01-02"), Some(1));
        assert_eq!(date("1970-01-02T03:04:05Z"), Some(1));
        assert_eq!(datetime("1970-01-01 00:00:00.000001"), Some(1));
        assert_eq!(datetime("1969-12-31T23:59:59Z"), Some(-1_000_000));
        assert_eq!(datetime("1970-01-01T01:00:00+01:00"), Some(0));
        assert_eq!(datetime("1969-12-31T19:00:00.5-0500"), Some(500_000));
        assert_eq!(datetime("1970-01-01 00:01"), Some(60_000_000));
        for bad in
            ["", "1970-01-01", "19700101 00:00:00", "1970-01-01 24:00:00", "1970-01-01 00:00:00.", "1970-01-01T+"]
        {
            assert_eq!(datetime(bad), None, "{bad}");
        }
        for bad in ["", "2020-1-2", "2020-13-01", "20200230", "2020/01/02", "+202-01-02", "\u{e9}\u{e9}\u{e9}\u{e9}"] {
            assert_eq!(date(bad), None, "{bad}");
        }
    }
}
