//! A row's fields as values: missing or not, needed or not.

use super::super::output::Output;
use super::super::text::delimited::{Kept, Refused, Row};
use super::columns::is_missing;
use super::values::{self, Parsed, at};

/// The text of a column, if there is such a column and a value in it.
#[inline]
pub(super) fn stated<'a>(row: &Row<'a>, column: Option<usize>) -> Option<&'a str> {
    column.map(|index| row.get(index)).filter(|text| !is_missing(text))
}

#[inline]
pub(super) fn optional<T>(row: &Row<'_>, column: Option<usize>, parse: impl Fn(&str) -> Parsed<T>) -> Kept<Option<T>> {
    match (column, stated(row, column)) {
        (Some(index), Some(text)) => at(index, parse(text)).map(Some),
        _ => Ok(None),
    }
}

/// A number that may be negative: there `-9` is one, and not a missing value.
#[inline]
pub(super) fn signed(row: &Row<'_>, column: Option<usize>, parse: impl Fn(&str) -> Parsed<f64>) -> Kept<Option<f64>> {
    match column {
        Some(index) if row.get(index) == "-9" => at(index, parse("-9")).map(Some),
        _ => optional(row, column, parse),
    }
}

pub(super) fn needed<T>(column: Option<usize>, value: &Option<T>) -> Kept<()> {
    if value.is_some() { Ok(()) } else { Err(Refused::missing(column.unwrap_or_default())) }
}

/// A number without which the row is still a row.
#[inline]
pub(super) fn hole(row: &Row<'_>, column: Option<usize>, name: &'static str, out: &mut Output) -> Option<f64> {
    out.or_hole(name, stated(row, column).map(values::number))
}
