//! Columns of text, however Arrow holds them.

use arrow::array::{AsArray, RecordBatch, StringArray};
use arrow::datatypes::DataType;

use crate::Result;

/// The first columns of a batch as texts.
pub(crate) fn text_columns<const N: usize>(batch: &RecordBatch) -> Result<[StringArray; N]> {
    let mut columns = [(); N].map(|()| StringArray::new_null(0));
    for (column, array) in columns.iter_mut().zip(batch.columns()) {
        *column = arrow::compute::cast(array, &DataType::Utf8)?.as_string::<i32>().clone();
    }
    Ok(columns)
}
