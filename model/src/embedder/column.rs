//! A column of text seen as its distinct normalized texts, and back.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, FixedSizeListArray, Float32Array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::DataType;
use generel_schemas::vector::item_field;
use hashbrown::HashMap;

use super::normalize;
use crate::vector_store::Vector;
use crate::{Error, Result};

/// Which distinct text each row holds.
pub(super) struct Column {
    rows: Vec<Option<u32>>,
    distinct: Vec<Arc<str>>,
    empty: usize,
}

impl Column {
    pub(super) fn new(column: &dyn Array) -> Result<Self> {
        Self::of_used(column, |_| true)
    }

    /// Of the rows that are used; the others are like NULL.
    fn of_used(column: &dyn Array, used: impl Fn(usize) -> bool) -> Result<Self> {
        let used = |(row, text): (usize, Option<_>)| text.filter(|_| used(row));
        match column.data_type() {
            DataType::Utf8 => Ok(Self::of(column.as_string::<i32>().iter().enumerate().map(used))),
            DataType::LargeUtf8 => Ok(Self::of(column.as_string::<i64>().iter().enumerate().map(used))),
            DataType::Utf8View => Ok(Self::of(column.as_string_view().iter().enumerate().map(used))),
            DataType::Dictionary(..) => Self::of_dictionary(column),
            DataType::Null => Ok(Self { rows: vec![None; column.len()], distinct: Vec::new(), empty: 0 }),
            other => Err(Error::NotText(other.to_string())),
        }
    }

    fn of<'a>(texts: impl Iterator<Item = Option<&'a str>>) -> Self {
        // Rows repeat raw texts far more often than raw texts repeat normalized ones: normalize each raw text once.
        let mut by_raw: HashMap<&str, Option<u32>> = HashMap::new();
        let mut by_text: HashMap<Arc<str>, u32> = HashMap::new();
        let mut distinct: Vec<Arc<str>> = Vec::new();
        let mut empty = 0;
        let rows = texts
            .map(|text| {
                let index = *by_raw.entry(text?).or_insert_with_key(|raw| {
                    let text = normalize(raw);
                    if text.is_empty() {
                        return None;
                    }
                    if let Some(index) = by_text.get(text.as_ref()) {
                        return Some(*index);
                    }
                    let (text, index) = (Arc::<str>::from(text.as_ref()), distinct.len() as u32);
                    distinct.push(text.clone());
                    by_text.insert(text, index);
                    Some(index)
                });
                empty += usize::from(index.is_none());
                index
            })
            .collect();
        Self { rows, distinct, empty }
    }

    /// Values that no row refers to, as a filter leaves them, are not embedded.
    fn of_dictionary(column: &dyn Array) -> Result<Self> {
        let dictionary = column.as_any_dictionary();
        let keys = dictionary.normalized_keys();
        let nulls = column.logical_nulls();
        let mut used = vec![false; dictionary.values().len()];
        for (row, key) in keys.iter().enumerate() {
            if nulls.as_ref().is_none_or(|n| n.is_valid(row)) {
                used[*key] = true;
            }
        }
        let values = Self::of_used(dictionary.values().as_ref(), |row| used[row])?;
        let mut empty = 0;
        let rows = keys
            .into_iter()
            .enumerate()
            .map(|(row, key)| {
                if nulls.as_ref().is_some_and(|n| n.is_null(row)) {
                    return None;
                }
                empty += usize::from(values.rows[key].is_none());
                values.rows[key]
            })
            .collect();
        Ok(Self { rows, distinct: values.distinct, empty })
    }

    pub(super) fn rows(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn distinct(&self) -> &[Arc<str>] {
        &self.distinct
    }

    pub(super) fn empty(&self) -> usize {
        self.empty
    }

    /// One vector a row: `vectors` are those of the distinct texts.
    pub(super) fn scatter(&self, vectors: &[Vector], dimension: usize) -> FixedSizeListArray {
        let mut values = Vec::with_capacity(self.rows.len() * dimension);
        for row in &self.rows {
            match row {
                Some(index) => values.extend_from_slice(&vectors[*index as usize]),
                None => values.resize(values.len() + dimension, 0.0),
            }
        }
        let nulls: NullBuffer = self.rows.iter().map(Option::is_some).collect();
        let values: ArrayRef = Arc::new(Float32Array::from(values));
        let nulls = (nulls.null_count() > 0).then_some(nulls);
        FixedSizeListArray::new(item_field(), dimension as i32, values, nulls)
    }
}
