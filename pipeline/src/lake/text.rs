//! A column of texts in a row group: through a dictionary where texts repeat, else one after the other.
//!
//! Arrow's writer compares every value with the least and the greatest, and hashes it as a stranger; here the values of
//! a dictionary are compared once, and a value is first compared with the one before it. That is a sixth of the time of
//! an ingest of a knowledge graph.

use std::hash::BuildHasher;

use arrow::array::{Array, StringArray};
use hashbrown::{DefaultHashBuilder, HashTable};
use parquet::basic::Encoding;
use parquet::data_type::ByteArray;
use parquet::errors::Result;
use parquet::file::statistics::{Statistics, ValueStatistics};
use parquet::schema::types::ColumnDescPtr;

use super::hybrid::{self, Levels};
use super::pages::{Encoded, Pages};

/// Bytes of a page of plain texts.
const PAGE_BYTES: usize = 1 << 20;
/// Longer bounds are cut.
const BOUND_BYTES: usize = 64;
/// Texts from which is learned whether a dictionary pays.
const LEARNED: usize = 1000;
/// Bytes before the texts of a page, for its levels.
const GAP: usize = 16;
/// Texts after which a dictionary is given up if nine in ten of them were new.
const TRIED: usize = 8192;
/// A dictionary that takes more than this of what the texts would take has not paid.
const WORTH: (usize, usize) = (3, 4);

/// Texts of a row group in the making.
pub(super) enum TextWriter {
    Dictionary(Box<Dictionary>),
    Plain(Box<Plain>),
}

impl TextWriter {
    pub(super) fn new(dictionary: bool, nullable: bool) -> Self {
        match dictionary {
            true => Self::Dictionary(Box::new(Dictionary { nullable, ..Dictionary::default() })),
            false => Self::Plain(Box::new(Plain::new(nullable))),
        }
    }

    /// Adds so many rows of the same text, or of NULL.
    pub(super) fn repeat(&mut self, text: Option<&str>, rows: usize) -> Result<()> {
        (0..rows).try_for_each(|_| self.push(text.map(str::as_bytes)))
    }

    /// Adds rows.
    pub(super) fn write(&mut self, array: &StringArray) -> Result<()> {
        if array.null_count() > 0 {
            array.iter().try_for_each(|text| self.push(text.map(str::as_bytes)))?;
            return self.give_up();
        }
        let (offsets, text) = (array.value_offsets(), array.value_data());
        let mut texts = offsets.windows(2).map(|ends| &text[ends[0] as usize..ends[1] as usize]);
        match self {
            Self::Dictionary(dictionary) => texts.for_each(|text| dictionary.value(text)),
            Self::Plain(plain) => texts.try_for_each(|text| plain.value(text))?,
        }
        self.give_up()
    }

    /// Adds rows by the numbers of their texts: each text is looked up once.
    pub(super) fn write_keyed(&mut self, keys: &[i32], texts: &StringArray) -> Result<()> {
        let text = |key: usize| texts.is_valid(key).then(|| texts.value(key).as_bytes());
        match self {
            Self::Dictionary(dictionary) => {
                let known: Vec<_> =
                    (0..texts.len()).map(|key| text(key).map(|text| (dictionary.key(text), text.len()))).collect();
                for key in keys {
                    match known[*key as usize] {
                        Some((key, length)) => dictionary.push(key, length),
                        None => dictionary.levels.push(1, false),
                    }
                }
            }
            Self::Plain(_) => keys.iter().try_for_each(|key| self.push(text(*key as usize)))?,
        }
        self.give_up()
    }

    /// A dictionary in which almost every text is new is given up early.
    fn give_up(&mut self) -> Result<()> {
        if let Self::Dictionary(dictionary) = self
            && dictionary.keys.len() >= TRIED
            && dictionary.ends.len() > dictionary.keys.len() / 10 * 9
        {
            let plain = std::mem::take(&mut **dictionary).into_plain()?;
            *self = Self::Plain(Box::new(plain));
        }
        Ok(())
    }

    #[inline]
    fn push(&mut self, text: Option<&[u8]>) -> Result<()> {
        match (self, text) {
            (Self::Dictionary(dictionary), Some(text)) => dictionary.value(text),
            (Self::Dictionary(dictionary), None) => dictionary.levels.push(1, false),
            (Self::Plain(plain), Some(text)) => plain.value(text)?,
            (Self::Plain(plain), None) => plain.null(),
        }
        Ok(())
    }

    /// The column chunk, and whether a dictionary paid as far as can be told.
    pub(super) fn finish(self, column: &ColumnDescPtr) -> Result<(Encoded, bool)> {
        match self {
            Self::Dictionary(dictionary) => dictionary.finish(column),
            Self::Plain(plain) => plain.finish(column).map(|encoded| (encoded, false)),
        }
    }
}

/// Different texts and which of them each row has.
#[derive(Default)]
pub(super) struct Dictionary {
    nullable: bool,
    hasher: DefaultHashBuilder,
    table: HashTable<u32>,
    text: Vec<u8>,
    /// Where each text ends.
    ends: Vec<u32>,
    keys: Vec<u32>,
    levels: Levels,
    /// Bytes of the texts of all rows.
    plain_bytes: usize,
}

impl Dictionary {
    fn value(&mut self, text: &[u8]) {
        let key = match self.keys.last() {
            Some(last) if entry(&self.text, &self.ends, *last) == text => *last,
            _ => self.key(text),
        };
        self.push(key, text.len());
    }

    #[inline]
    fn push(&mut self, key: u32, length: usize) {
        self.keys.push(key);
        self.levels.push(1, true);
        self.plain_bytes += length + 4;
    }

    #[inline]
    fn key(&mut self, text: &[u8]) -> u32 {
        let Self { hasher, table, text: all, ends, .. } = self;
        let hash = hasher.hash_one(text);
        if let Some(key) = table.find(hash, |key| entry(all, ends, *key) == text) {
            return *key;
        }
        let key = ends.len() as u32;
        all.extend_from_slice(text);
        ends.push(all.len() as u32);
        table.insert_unique(hash, key, |key| hasher.hash_one(entry(all, ends, *key)));
        key
    }

    fn finish(self, column: &ColumnDescPtr) -> Result<(Encoded, bool)> {
        let (nullable, count) = (self.nullable, self.ends.len());
        if (self.text.len() + 4 * count) * WORTH.1 > self.plain_bytes * WORTH.0 {
            // Of a few rows nothing is to be learned.
            let few = self.keys.len() < LEARNED;
            return self.into_plain()?.finish(column).map(|encoded| (encoded, few));
        }
        let (mut bounds, mut page) = (Bounds::default(), Vec::with_capacity(self.text.len() + 4 * count));
        for text in (0..count as u32).map(|key| entry(&self.text, &self.ends, key)) {
            bounds.see(text);
            append(text, &mut page);
        }
        let mut pages = Pages::new(true);
        pages.dictionary(page, count)?;
        let mut page = Vec::new();
        if nullable {
            self.levels.encode(&mut page);
        }
        let width = count.saturating_sub(1).checked_ilog2().map_or(1, |bits| bits + 1);
        page.push(width as u8);
        hybrid::values(&self.keys, width, &mut page);
        pages.data(page, self.levels.rows() as u64, Encoding::RLE_DICTIONARY)?;
        Ok((pages.close(column, bounds.statistics(self.levels.nulls()))?, true))
    }

    /// The same rows without a dictionary.
    fn into_plain(self) -> Result<Plain> {
        let (mut plain, mut keys) = (Plain::new(self.nullable), self.keys.iter());
        for row in 0..self.levels.rows() {
            let key = if self.levels.is_valid(row) { keys.next() } else { None };
            match key {
                Some(key) => plain.value(entry(&self.text, &self.ends, *key))?,
                None => plain.null(),
            }
        }
        Ok(plain)
    }
}

#[inline]
fn entry<'a>(text: &'a [u8], ends: &[u32], key: u32) -> &'a [u8] {
    let key = key as usize;
    let start = if key == 0 { 0 } else { ends[key - 1] };
    &text[start as usize..ends[key] as usize]
}

/// Texts one after the other.
pub(super) struct Plain {
    nullable: bool,
    page: Vec<u8>,
    levels: Levels,
    nulls: usize,
    bounds: Bounds,
    pages: Pages,
}

impl Plain {
    fn new(nullable: bool) -> Self {
        let (levels, bounds) = (Levels::default(), Bounds::default());
        Self { nullable, page: vec![0; GAP], levels, nulls: 0, bounds, pages: Pages::new(true) }
    }

    #[inline]
    fn value(&mut self, text: &[u8]) -> Result<()> {
        self.bounds.see(text);
        append(text, &mut self.page);
        self.levels.push(1, true);
        if self.page.len() >= PAGE_BYTES { self.flush() } else { Ok(()) }
    }

    fn null(&mut self) {
        self.levels.push(1, false);
    }

    #[cold]
    fn flush(&mut self) -> Result<()> {
        let levels = std::mem::take(&mut self.levels);
        let mut first = Vec::new();
        if self.nullable {
            levels.encode(&mut first);
        }
        // The levels come first, and are known last: of pages without NULLs they fit into the gap.
        match GAP.checked_sub(first.len()) {
            Some(start) => {
                self.page[start..GAP].copy_from_slice(&first);
                self.pages.data(&self.page[start..], levels.rows() as u64, Encoding::PLAIN)?;
            }
            None => {
                first.extend_from_slice(&self.page[GAP..]);
                self.pages.data(&first, levels.rows() as u64, Encoding::PLAIN)?;
            }
        }
        self.page.truncate(GAP);
        self.nulls += levels.nulls();
        Ok(())
    }

    fn finish(mut self, column: &ColumnDescPtr) -> Result<Encoded> {
        self.flush()?;
        self.pages.close(column, self.bounds.statistics(self.nulls))
    }
}

/// As PLAIN has it: the length, then the text.
#[inline]
pub(super) fn append(text: &[u8], page: &mut Vec<u8>) {
    page.extend_from_slice(&(text.len() as u32).to_le_bytes());
    page.extend_from_slice(text);
}

/// The least and the greatest text.
#[derive(Default)]
struct Bounds {
    ends: Option<[(u64, Vec<u8>); 2]>,
}

impl Bounds {
    /// Eight bytes tell almost every text from the bounds.
    #[inline]
    fn see(&mut self, text: &[u8]) {
        let mut first = [0; 8];
        match text.first_chunk() {
            Some(eight) => first = *eight,
            None => first[..text.len()].copy_from_slice(text),
        }
        let first = u64::from_be_bytes(first);
        let Some([least, greatest]) = &mut self.ends else {
            self.ends = Some([(first, text.to_vec()), (first, text.to_vec())]);
            return;
        };
        if first < least.0 || first == least.0 && text < least.1.as_slice() {
            *least = (first, text.to_vec());
        }
        if first > greatest.0 || first == greatest.0 && text > greatest.1.as_slice() {
            *greatest = (first, text.to_vec());
        }
    }

    fn statistics(self, nulls: usize) -> Statistics {
        let (least, greatest) = match self.ends {
            Some([(_, least), (_, greatest)]) => (Some(least), Some(greatest)),
            None => (None, None),
        };
        let cut = |bound: &Option<Vec<u8>>| bound.as_ref().is_some_and(|bound| bound.len() > BOUND_BYTES);
        let (least_cut, greatest_cut) = (cut(&least), cut(&greatest));
        let least = if least_cut { least.map(|text| prefix(&text).into_bytes()) } else { least };
        // Where no character of the prefix has a successor the bound is left whole.
        let above = greatest.as_deref().filter(|_| greatest_cut).and_then(|text| above(&prefix(text)));
        let greatest_is_whole = above.is_none();
        let greatest = above.or(greatest);
        let bound = |text: Option<Vec<u8>>| text.map(ByteArray::from);
        let statistics = ValueStatistics::new(bound(least), bound(greatest), None, Some(nulls as u64), false)
            .with_min_is_exact(!least_cut)
            .with_max_is_exact(greatest_is_whole);
        Statistics::ByteArray(statistics)
    }
}

/// The first characters, [`BOUND_BYTES`] at most.
fn prefix(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    text[..text.floor_char_boundary(BOUND_BYTES)].to_string()
}

/// The least text of at most as many bytes that is above all that begin so.
fn above(prefix: &str) -> Option<Vec<u8>> {
    prefix.char_indices().rev().find_map(|(at, last)| {
        let next = char::from_u32(u32::from(last) + 1).filter(|next| next.len_utf8() == last.len_utf8())?;
        Some(format!("{}{next}", &prefix[..at]).into_bytes())
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{AsArray, RecordBatch};
    use arrow::datatypes::{DataType, Field, Schema};
    use parquet::arrow::ArrowSchemaConverter;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::SerializedFileWriter;
    use proptest::prelude::*;

    use super::*;

    /// A file of one column, and its row groups' statistics.
    fn written(rows: &[Option<String>], repeats: bool, nullable: bool) -> (Vec<Option<String>>, Statistics) {
        let schema = Arc::new(Schema::new(vec![Field::new("t", DataType::Utf8, nullable)]));
        let root = ArrowSchemaConverter::new().convert(&schema).unwrap().root_schema_ptr();
        let properties = WriterProperties::builder().set_offset_index_disabled(true).build();
        let mut file = SerializedFileWriter::new(Vec::new(), root, Arc::new(properties)).unwrap();
        let column = file.schema_descr().column(0);
        let mut writer = TextWriter::new(repeats, nullable);
        for part in rows.chunks(7) {
            if part.iter().all(|row| *row == part[0]) {
                writer.repeat(part[0].as_deref(), part.len()).unwrap();
            } else {
                writer.write(&StringArray::from(part.to_vec())).unwrap();
            }
        }
        let ((bytes, closed), _) = writer.finish(&column).unwrap();
        let mut group = file.next_row_group().unwrap();
        group.append_column(&bytes, closed).unwrap();
        group.close().unwrap();
        let bytes = file.into_inner().unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes)).unwrap();
        let statistics = reader.metadata().row_group(0).column(0).statistics().unwrap().clone();
        let batches: Vec<RecordBatch> = reader.build().unwrap().map(Result::unwrap).collect();
        let text = |batch: &RecordBatch| {
            let texts = batch.column(0).as_string::<i32>().clone();
            (0..texts.len()).map(|row| texts.is_valid(row).then(|| texts.value(row).to_string())).collect::<Vec<_>>()
        };
        (batches.iter().flat_map(text).collect(), statistics)
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(
            few in prop::collection::vec(("[a-cé\u{10ffff}]{0,5}|[y-z\u{10ffff}]{70}", 1..60usize), 1..40),
            nulls in prop::collection::vec(any::<bool>(), 1..9),
            repeats in any::<bool>(),
            nullable in any::<bool>(),
        ) {
            let rows: Vec<Option<String>> = few
                .iter()
                .flat_map(|(text, times)| std::iter::repeat_n(text, if repeats { *times } else { 1 }))
                .zip(nulls.iter().cycle())
                .map(|(text, null)| (!(nullable && *null)).then(|| text.clone()))
                .collect();
            let (found, statistics) = written(&rows, repeats, nullable);
            prop_assert_eq!(&found, &rows);
            prop_assert_eq!(statistics.null_count_opt(), Some(rows.iter().filter(|row| row.is_none()).count() as u64));
            let Statistics::ByteArray(bounds) = statistics else { unreachable!("a text column") };
            let texts = || rows.iter().flatten().map(String::as_bytes);
            let (least, greatest) = (bounds.min_opt().map(|b| b.data()), bounds.max_opt().map(|b| b.data()));
            prop_assert_eq!(least.is_some(), texts().next().is_some());
            if let (Some(least), Some(greatest)) = (least, greatest) {
                prop_assert!(texts().all(|text| least <= text && text <= greatest));
                prop_assert!(!bounds.min_is_exact() || Some(least) == texts().min());
                prop_assert!(!bounds.max_is_exact() || Some(greatest) == texts().max());
                prop_assert!(least.len() <= 64);
            }
        }

        #[test]
        fn many_rows_and_keys(count in 1..5000u32, spread in 1..2000u32) {
            let rows: Vec<Option<String>> = (0..count).map(|row| Some((row * 7919 % spread / 3).to_string())).collect();
            prop_assert_eq!(&written(&rows, true, true).0, &rows);
        }
    }

    #[test]
    fn a_dictionary_that_does_not_pay_is_not_written() {
        let rows: Vec<Option<String>> = (0..1000).map(|row| (row % 10 > 0).then(|| format!("text {row}"))).collect();
        assert_eq!(written(&rows, true, true).0, rows);
        let long: Vec<Option<String>> = (0..3).map(|row| Some("x".repeat(700_000 + row))).collect();
        assert_eq!(written(&long, false, true).0, long);
    }
}
