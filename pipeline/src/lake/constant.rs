//! A column of a row group in which every row is NULL or has the same text: a run or two, whatever the number of rows.
//! Arrow's writer would hash the text once a row; `source`, the study and the trait of a file of summary statistics are
//! such columns.

use arrow::array::{Array, StringArray};
use parquet::basic::{Encoding, Type};
use parquet::data_type::ByteArray;
use parquet::errors::Result;
use parquet::file::statistics::{Statistics, ValueStatistics};
use parquet::schema::types::ColumnDescPtr;

use super::hybrid::{self, Levels};
use super::pages::{Encoded, Pages};
use super::text::append;

/// The one text of an array, if it has no other: compared with itself shifted by one row, in one pass.
pub(super) fn only_text(array: &StringArray) -> Option<&str> {
    if array.is_empty() || array.null_count() > 0 {
        return None;
    }
    let (first, rows) = (array.value(0), array.len());
    let offsets = array.value_offsets();
    let bytes = &array.value_data()[offsets[0] as usize..offsets[rows] as usize];
    let length = first.len();
    let evenly = bytes.len() == length * rows && offsets.windows(2).all(|w| (w[1] - w[0]) as usize == length);
    (evenly && (rows == 1 || bytes[length..] == bytes[..bytes.len() - length])).then_some(first)
}

/// The column chunk of `rows` times the same text.
pub(super) fn text_chunk(column: &ColumnDescPtr, text: &str, rows: u64) -> Result<Encoded> {
    let mut pages = Pages::new(false);
    let mut entry = Vec::new();
    append(text.as_bytes(), &mut entry);
    pages.dictionary(entry, 1)?;
    let mut page = if column.max_def_level() > 0 { levels(rows, true) } else { Vec::new() };
    // Indices of one bit, all of them 0.
    page.push(1);
    hybrid::run(rows, 0, 1, &mut page);
    pages.data(page, rows, Encoding::RLE_DICTIONARY)?;
    let value = ByteArray::from(text.as_bytes().to_vec());
    let statistics = ValueStatistics::new(Some(value.clone()), Some(value), None, Some(0), false)
        .with_min_is_exact(true)
        .with_max_is_exact(true);
    pages.close(column, Statistics::ByteArray(statistics))
}

/// The column chunk of `rows` NULLs in a column without lists.
pub(super) fn null_chunk(column: &ColumnDescPtr, rows: u64) -> Result<Encoded> {
    let mut pages = Pages::new(false);
    pages.data(levels(rows, false), rows, Encoding::PLAIN)?;
    macro_rules! nulls {
        ($kind:ident) => {
            Statistics::$kind(ValueStatistics::new(None, None, None, Some(rows), false))
        };
    }
    let statistics = match column.physical_type() {
        Type::BOOLEAN => nulls!(Boolean),
        Type::INT32 => nulls!(Int32),
        Type::INT64 => nulls!(Int64),
        Type::INT96 => nulls!(Int96),
        Type::FLOAT => nulls!(Float),
        Type::DOUBLE => nulls!(Double),
        Type::BYTE_ARRAY => nulls!(ByteArray),
        Type::FIXED_LEN_BYTE_ARRAY => nulls!(FixedLenByteArray),
    };
    pages.close(column, statistics)
}

/// Definition levels, the same for all rows.
fn levels(rows: u64, valid: bool) -> Vec<u8> {
    let (mut levels, mut bytes) = (Levels::default(), Vec::new());
    levels.push(usize::try_from(rows).unwrap_or(usize::MAX), valid);
    levels.encode(&mut bytes);
    bytes
}
