//! A column of a row group in which every row is NULL or has the same text: a run or two, whatever the number of rows. Arrow's writer would hash the text once a row; `source`, the study and the trait of a file of summary
//! statistics are such columns.

use arrow::array::{Array, StringArray};
use bytes::Bytes;
use parquet::basic::{Compression, Encoding, PageType, Type};
use parquet::column::page::{CompressedPage, Page, PageWriter};
use parquet::column::writer::ColumnCloseResult;
use parquet::data_type::ByteArray;
use parquet::errors::Result;
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::statistics::{Statistics, ValueStatistics};
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;

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
pub(super) fn text_chunk(column: &ColumnDescPtr, text: &str, rows: u64) -> Result<(Bytes, ColumnCloseResult)> {
    let mut sink = TrackedWrite::new(Vec::new());
    let mut pages = SerializedPageWriter::new(&mut sink);
    let mut entry = (text.len() as u32).to_le_bytes().to_vec();
    entry.extend_from_slice(text.as_bytes());
    let entry_bytes = entry.len();
    let dictionary =
        Page::DictionaryPage { buf: entry.into(), num_values: 1, encoding: Encoding::PLAIN, is_sorted: false };
    let dictionary = pages.write_page(CompressedPage::new(dictionary, entry_bytes))?;
    let mut data = if column.max_def_level() > 0 { defined(rows, 1) } else { Vec::new() };
    // Indices of one bit, all of them 0.
    data.push(1);
    data.extend(run(rows, 0));
    let page = pages.write_page(data_page(data, rows, Encoding::RLE_DICTIONARY))?;
    pages.close()?;
    let bytes = sink.into_inner()?;
    debug_assert_eq!((dictionary.page_type, page.page_type), (PageType::DICTIONARY_PAGE, PageType::DATA_PAGE));
    let value = ByteArray::from(text.as_bytes().to_vec());
    let statistics = ValueStatistics::new(Some(value.clone()), Some(value), None, Some(0), false)
        .with_min_is_exact(true)
        .with_max_is_exact(true);
    let chunk = Chunk {
        bytes,
        size: dictionary.bytes_written + page.bytes_written,
        dictionary: Some(dictionary.offset),
        page: page.offset,
        encodings: vec![Encoding::PLAIN, Encoding::RLE, Encoding::RLE_DICTIONARY],
        statistics: Statistics::ByteArray(statistics),
    };
    chunk.close(column, rows)
}

/// The column chunk of `rows` NULLs in a column without lists.
pub(super) fn null_chunk(column: &ColumnDescPtr, rows: u64) -> Result<(Bytes, ColumnCloseResult)> {
    let mut sink = TrackedWrite::new(Vec::new());
    let mut pages = SerializedPageWriter::new(&mut sink);
    let page = pages.write_page(data_page(defined(rows, 0), rows, Encoding::PLAIN))?;
    pages.close()?;
    let bytes = sink.into_inner()?;
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
    let encodings = vec![Encoding::PLAIN, Encoding::RLE];
    let chunk = Chunk { bytes, size: page.bytes_written, dictionary: None, page: page.offset, encodings, statistics };
    chunk.close(column, rows)
}

/// The pages of a column and what its metadata says of them.
struct Chunk {
    bytes: Vec<u8>,
    size: u64,
    /// Where the dictionary begins, if there is one.
    dictionary: Option<u64>,
    /// Where the data begin.
    page: u64,
    encodings: Vec<Encoding>,
    statistics: Statistics,
}

impl Chunk {
    fn close(self, column: &ColumnDescPtr, rows: u64) -> Result<(Bytes, ColumnCloseResult)> {
        let metadata = ColumnChunkMetaData::builder(column.clone())
            .set_compression(Compression::UNCOMPRESSED)
            .set_encodings(self.encodings)
            .set_total_compressed_size(self.size as i64)
            .set_total_uncompressed_size(self.size as i64)
            .set_num_values(rows as i64)
            .set_dictionary_page_offset(self.dictionary.map(|offset| offset as i64))
            .set_data_page_offset(self.page as i64)
            .set_statistics(self.statistics)
            .build()?;
        let closed = ColumnCloseResult {
            bytes_written: self.bytes.len() as u64,
            rows_written: rows,
            metadata,
            bloom_filter: None,
            column_index: None,
            offset_index: None,
        };
        Ok((self.bytes.into(), closed))
    }
}

/// A page of `rows` values, definition levels and all.
fn data_page(data: Vec<u8>, rows: u64, encoding: Encoding) -> CompressedPage {
    let bytes = data.len();
    let page = Page::DataPage {
        buf: data.into(),
        num_values: rows as u32,
        encoding,
        def_level_encoding: Encoding::RLE,
        rep_level_encoding: Encoding::RLE,
        statistics: None,
    };
    CompressedPage::new(page, bytes)
}

/// Definition levels, the same for all rows, with their length before them.
fn defined(rows: u64, level: u8) -> Vec<u8> {
    let levels = run(rows, level);
    let mut bytes = (levels.len() as u32).to_le_bytes().to_vec();
    bytes.extend(levels);
    bytes
}

/// A run of the RLE/bit-packing hybrid: so many times a value of one bit.
fn run(count: u64, value: u8) -> Vec<u8> {
    let (mut header, mut bytes) = (count << 1, Vec::new());
    while header >= 0x80 {
        bytes.push((header as u8) | 0x80);
        header >>= 7;
    }
    bytes.extend([header as u8, value]);
    bytes
}
