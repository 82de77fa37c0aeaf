//! Columns in the making. Unlike Arrow's builders they cost nothing while they hold only NULLs, which is what most
//! columns of most files are, and grow in one step to what a chunk usually holds.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, ArrowPrimitiveType, BooleanArray, BooleanBufferBuilder, PrimitiveArray, StringArray, new_null_array,
};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, TimestampMicrosecondType};

/// Rows for which a column makes room at its first value.
const USUAL_ROWS: usize = 8192;
/// Bytes of text for which a column makes room a row.
const USUAL_TEXT: usize = 12;

/// Values for several rows of a column.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Many<'a, T> {
    /// The same in every row.
    Same(T),
    /// One a row.
    Each(&'a [T]),
}

impl<'a, T: Copy> Many<'a, T> {
    /// Those of some of the rows.
    pub(crate) fn slice(self, rows: Range<usize>) -> Self {
        match self {
            Self::Same(value) => Self::Same(value),
            Self::Each(values) => Self::Each(&values[rows]),
        }
    }
}

/// Which rows have values. Nothing is kept while all or none have.
#[derive(Default)]
struct Validity {
    rows: usize,
    values: usize,
    bits: Option<BooleanBufferBuilder>,
}

impl Validity {
    #[inline]
    fn value(&mut self) {
        match &mut self.bits {
            Some(bits) => bits.append(true),
            None if self.values < self.rows => self.begin().append(true),
            None => {}
        }
        self.rows += 1;
        self.values += 1;
    }

    #[inline]
    fn null(&mut self) {
        match &mut self.bits {
            Some(bits) => bits.append(false),
            None if self.values > 0 => self.begin().append(false),
            None => {}
        }
        self.rows += 1;
    }

    /// As many rows with values.
    fn values(&mut self, rows: usize) {
        match &mut self.bits {
            Some(bits) => bits.append_n(rows, true),
            None if self.values < self.rows => self.begin().append_n(rows, true),
            None => {}
        }
        self.rows += rows;
        self.values += rows;
    }

    /// As many rows without.
    fn nulls(&mut self, rows: usize) {
        match &mut self.bits {
            Some(bits) => bits.append_n(rows, false),
            None if self.values > 0 => self.begin().append_n(rows, false),
            None => {}
        }
        self.rows += rows;
    }

    /// So far all rows were alike.
    #[cold]
    fn begin(&mut self) -> &mut BooleanBufferBuilder {
        let mut bits = BooleanBufferBuilder::new(USUAL_ROWS.max(self.rows + 1));
        bits.append_n(self.rows, self.values > 0);
        self.bits.insert(bits)
    }

    fn finish(self) -> Option<NullBuffer> {
        self.bits.map(|mut bits| NullBuffer::new(bits.finish()))
    }
}

/// A column of numbers.
pub(super) struct Numbers<T: ArrowPrimitiveType> {
    values: Vec<T::Native>,
    validity: Validity,
}

impl<T: ArrowPrimitiveType> Default for Numbers<T> {
    fn default() -> Self {
        Self { values: Vec::new(), validity: Validity::default() }
    }
}

impl<T: ArrowPrimitiveType> Numbers<T> {
    #[inline]
    pub(super) fn push(&mut self, value: Option<T::Native>) {
        match value {
            Some(value) => {
                if self.validity.values == 0 {
                    self.begin();
                }
                self.values.push(value);
                self.validity.value();
            }
            None => {
                if self.validity.values > 0 {
                    self.values.push(T::Native::default());
                }
                self.validity.null();
            }
        }
    }

    /// Adds several rows.
    pub(super) fn extend(&mut self, rows: usize, many: Many<'_, Option<T::Native>>) {
        match many {
            Many::Same(None) => {
                if self.validity.values > 0 {
                    self.values.resize(self.values.len() + rows, T::Native::default());
                }
                self.validity.nulls(rows);
            }
            Many::Same(value) => (0..rows).for_each(|_| self.push(value)),
            Many::Each(values) if values.iter().all(Option::is_some) && !values.is_empty() => {
                if self.validity.values == 0 {
                    self.begin();
                }
                self.values.extend(values.iter().map(|value| value.unwrap_or_default()));
                self.validity.values(values.len());
            }
            Many::Each(values) => values.iter().for_each(|value| self.push(*value)),
        }
    }

    /// Room for the usual, and a place for each NULL so far.
    #[cold]
    fn begin(&mut self) {
        self.values.reserve(USUAL_ROWS.max(self.validity.rows + 1));
        self.values.resize(self.validity.rows, T::Native::default());
    }

    pub(super) fn finish(self) -> ArrayRef {
        if self.validity.values == 0 {
            return new_null_array(&T::DATA_TYPE, self.validity.rows);
        }
        Arc::new(self.array())
    }

    fn array(self) -> PrimitiveArray<T> {
        PrimitiveArray::new(ScalarBuffer::from(self.values), self.validity.finish())
    }
}

/// A column of moments: microseconds since the epoch, UTC.
#[derive(Default)]
pub(super) struct Moments(Numbers<TimestampMicrosecondType>);

impl Moments {
    #[inline]
    pub(super) fn push(&mut self, value: Option<i64>) {
        self.0.push(value);
    }

    pub(super) fn finish(mut self) -> ArrayRef {
        if self.0.validity.values == 0 {
            self.0.begin();
            self.0.validity.begin();
        }
        Arc::new(self.0.array().with_timezone("UTC"))
    }
}

/// A column of truths.
#[derive(Default)]
pub(super) struct Truths(Vec<Option<bool>>);

impl Truths {
    pub(super) fn push(&mut self, value: Option<bool>) {
        self.0.push(value);
    }

    pub(super) fn finish(self) -> ArrayRef {
        Arc::new(BooleanArray::from(self.0))
    }
}

/// A column of texts. While every row has the same text (the study's name, say) only their number is kept.
#[derive(Default)]
pub(super) struct Texts {
    text: Vec<u8>,
    offsets: Vec<i32>,
    validity: Validity,
    same: Option<(String, usize)>,
}

impl Texts {
    #[inline]
    pub(super) fn push(&mut self, value: Option<&str>) {
        if let (Some((same, rows)), Some(text)) = (&mut self.same, value)
            && same == text
        {
            *rows += 1;
            return;
        }
        self.push_other(value);
    }

    /// Adds several rows.
    pub(super) fn extend(&mut self, rows: usize, many: Many<'_, Option<&str>>) {
        match (many, &mut self.same) {
            (Many::Same(None), None) => {
                if self.validity.values > 0 {
                    self.offsets.resize(self.offsets.len() + rows, self.text.len() as i32);
                }
                self.validity.nulls(rows);
            }
            (Many::Same(Some(text)), Some((same, count))) if same == text => *count += rows,
            (Many::Same(value), _) => (0..rows).for_each(|_| self.push(value)),
            (Many::Each(values), _) => values.iter().for_each(|value| self.push(*value)),
        }
    }

    #[inline]
    fn push_other(&mut self, value: Option<&str>) {
        if self.same.is_some() {
            self.spell_out();
        }
        match value {
            Some(text) if self.validity.rows == 0 => self.same = Some((text.to_string(), 1)),
            Some(text) => self.append(text),
            None => {
                if self.validity.values > 0 {
                    self.offsets.push(self.text.len() as i32);
                }
                self.validity.null();
            }
        }
    }

    #[inline]
    fn append(&mut self, text: &str) {
        if self.validity.values == 0 {
            self.begin();
        }
        self.text.extend_from_slice(text.as_bytes());
        self.offsets.push(self.text.len() as i32);
        self.validity.value();
    }

    #[cold]
    fn begin(&mut self) {
        let rows = self.validity.rows;
        self.text.reserve(USUAL_ROWS * USUAL_TEXT);
        self.offsets.reserve(USUAL_ROWS.max(rows + 1) + 1);
        self.offsets.resize(rows + 1, 0);
    }

    /// Ends the time in which all rows had the same text.
    #[cold]
    fn spell_out(&mut self) {
        if let Some((same, rows)) = self.same.take() {
            (0..rows).for_each(|_| self.append(&same));
        }
    }

    pub(super) fn finish(self) -> ArrayRef {
        if let Some((same, rows)) = self.same {
            return Arc::new(StringArray::new_repeated(same, rows));
        }
        if self.validity.values == 0 {
            return new_null_array(&DataType::Utf8, self.validity.rows);
        }
        let offsets = OffsetBuffer::new(ScalarBuffer::from(self.offsets));
        // Only whole &str were appended; the check is one pass over the bytes, and keeps this free of unsafe code.
        Arc::new(StringArray::new(offsets, Buffer::from(self.text), self.validity.finish()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::Int64Type;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_pushed_is_there(
            values in proptest::collection::vec(proptest::option::weighted(0.6, 0i64..3), 0..60)
        ) {
            let (mut numbers, mut texts, mut moments, mut truths) =
                (Numbers::<Int64Type>::default(), Texts::default(), Moments::default(), Truths::default());
            for value in &values {
                numbers.push(*value);
                texts.push(value.map(|v| ["", "é", "same"][v as usize]));
                moments.push(*value);
                truths.push(value.map(|v| v > 0));
            }
            let (mut many, mut spelled) = (Numbers::<Int64Type>::default(), Texts::default());
            for part in values.chunk_by(|a, b| a.is_some() == b.is_some()) {
                let rows: Vec<_> = part.iter().map(|v| v.map(|v| ["", "é", "same"][v as usize])).collect();
                let alike = rows.iter().all(|row| *row == rows[0]);
                spelled.extend(rows.len(), if alike { Many::Same(rows[0]) } else { Many::Each(&rows) });
                let alike = part.iter().all(|row| *row == part[0]);
                many.extend(part.len(), if alike { Many::Same(part[0]) } else { Many::Each(part) });
            }
            prop_assert_eq!(many.finish().as_primitive::<Int64Type>().iter().collect::<Vec<_>>(), values.clone());
            let spelled = spelled.finish();
            let expected: Vec<_> = values.iter().map(|v| v.map(|v| ["", "é", "same"][v as usize])).collect();
            prop_assert_eq!(spelled.as_string::<i32>().iter().collect::<Vec<_>>(), expected);
            let found = numbers.finish();
            prop_assert_eq!(found.as_primitive::<Int64Type>().iter().collect::<Vec<_>>(), values.clone());
            let found = moments.finish();
            prop_assert_eq!(found.as_primitive::<TimestampMicrosecondType>().iter().collect::<Vec<_>>(), values.clone());
            prop_assert_eq!(found.data_type(), &DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, Some("UTC".into())));
            let found = texts.finish();
            let expected: Vec<_> = values.iter().map(|v| v.map(|v| ["", "é", "same"][v as usize])).collect();
            prop_assert_eq!(found.as_string::<i32>().iter().collect::<Vec<_>>(), expected);
            let found = truths.finish();
            prop_assert_eq!(found.as_boolean().iter().collect::<Vec<_>>(), values.iter().map(|v| v.map(|v| v > 0)).collect::<Vec<_>>());
        }
    }
}
