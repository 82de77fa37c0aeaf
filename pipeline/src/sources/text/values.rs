//! Values that formats of several fields share: numbers, dates, times.

use arrow::datatypes::Date32Type;
use chrono::NaiveDate;
use generel_schemas::{RejectReason, parse_f64};

use super::delimited::{Kept, Refused};

/// Days since 1970-01-01 of `YYYY-MM-DD`, `YYYYMMDD`, or the date part of a time.
pub(crate) fn date(text: &str) -> Option<i32> {
    let date = if text.len() > 10 && matches!(text.as_bytes()[10], b' ' | b'T') { text.get(..10)? } else { text };
    naive_date(date).map(Date32Type::from_naive_date)
}

/// A date that a row cannot do without.
pub(crate) fn needed_date(column: usize, text: &str) -> Kept<i32> {
    let message = "expected a date, YYYY-MM-DD or YYYYMMDD";
    date(text).ok_or_else(|| Refused::column(column, RejectReason::InvalidDate, message))
}

/// `YYYY-MM-DD` or `YYYYMMDD`.
pub(crate) fn naive_date(text: &str) -> Option<NaiveDate> {
    let bytes = text.as_bytes();
    let (year, month, day) = match bytes.len() {
        10 if bytes[4] == b'-' && bytes[7] == b'-' => (&bytes[..4], &bytes[5..7], &bytes[8..]),
        8 => (&bytes[..4], &bytes[4..6], &bytes[6..]),
        _ => return None,
    };
    NaiveDate::from_ymd_opt(i32::try_from(digits(year)?).ok()?, digits(month)?, digits(day)?)
}

/// `YYYY-MM-DD HH:MM[:SS]`, also with `T`, a fraction, and `Z` or an offset, as microseconds since the epoch. UTC where
/// no zone is stated.
pub(crate) fn datetime(text: &str) -> Option<i64> {
    let (date, time) = text.split_once([' ', 'T'])?;
    let date = naive_date(date).filter(|_| date.len() == 10)?;
    let (time, offset) = zone(time)?;
    let (clock, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let clock = clock.as_bytes();
    let (hour, minute, second) = match clock.len() {
        8 if clock[2] == b':' && clock[5] == b':' => (&clock[..2], &clock[3..5], &clock[6..]),
        5 if clock[2] == b':' => (&clock[..2], &clock[3..], b"0".as_slice()),
        _ => return None,
    };
    let nanos = digits(fraction.as_bytes())? * 10u32.pow(9 - u32::try_from(fraction.len()).ok()?);
    let datetime = date.and_hms_micro_opt(digits(hour)?, digits(minute)?, digits(second)?, nanos / 1000)?;
    Some(datetime.and_utc().timestamp_micros() - offset)
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
    use super::*;

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
