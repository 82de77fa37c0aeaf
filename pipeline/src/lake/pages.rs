//! The pages of a column chunk, and what its metadata says of them.

use std::borrow::Cow;
use std::cell::RefCell;

use bytes::Bytes;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::column::page::{CompressedPage, Page, PageWriter};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::statistics::Statistics;
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;

use super::column::LEVEL;

/// Bytes that a page's header takes at most, as these are.
const HEADER_BYTES: usize = 64;

/// An encoded column chunk.
pub(super) type Encoded = (Bytes, ColumnCloseResult);

/// Pages of a flat column.
pub(super) struct Pages {
    compressed: bool,
    dictionary: Option<CompressedPage>,
    data: Vec<CompressedPage>,
    rows: u64,
}

impl Pages {
    pub(super) fn new(compressed: bool) -> Self {
        Self { compressed, dictionary: None, data: Vec::new(), rows: 0 }
    }

    /// The page of the dictionary.
    pub(super) fn dictionary(&mut self, entries: Vec<u8>, count: usize) -> Result<()> {
        let (buf, size) = self.pack(entries.into())?;
        let page = Page::DictionaryPage { buf, num_values: count as u32, encoding: Encoding::PLAIN, is_sorted: false };
        self.dictionary = Some(CompressedPage::new(page, size));
        Ok(())
    }

    /// A page of so many rows: their levels, where the column has any, and their values.
    pub(super) fn data<'a>(&mut self, page: impl Into<Cow<'a, [u8]>>, rows: u64, encoding: Encoding) -> Result<()> {
        let (buf, size) = self.pack(page.into())?;
        let page = Page::DataPage {
            buf,
            num_values: rows as u32,
            encoding,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        };
        self.data.push(CompressedPage::new(page, size));
        self.rows += rows;
        Ok(())
    }

    fn pack(&self, bytes: Cow<'_, [u8]>) -> Result<(Bytes, usize)> {
        let size = bytes.len();
        Ok((if self.compressed { compress(&bytes)?.into() } else { bytes.into_owned().into() }, size))
    }

    /// The column chunk.
    pub(super) fn close(self, column: &ColumnDescPtr, statistics: Statistics) -> Result<Encoded> {
        let pages = || self.dictionary.iter().chain(&self.data);
        let size: usize = pages().map(|page| page.data().len() + HEADER_BYTES).sum();
        let mut sink = TrackedWrite::new(Vec::with_capacity(size));
        let mut writer = SerializedPageWriter::new(&mut sink);
        let (mut encodings, mut dictionary, mut data) = (vec![Encoding::PLAIN, Encoding::RLE], None, None);
        let mut uncompressed = 0;
        for page in self.dictionary.into_iter().chain(self.data) {
            let (is_dictionary, encoding) = (page.compressed_page().is_dictionary_page(), page.encoding());
            let written = writer.write_page(page)?;
            uncompressed += written.uncompressed_size;
            if is_dictionary {
                dictionary = Some(written.offset as i64);
            } else {
                data.get_or_insert(written.offset as i64);
            }
            if !encodings.contains(&encoding) {
                encodings.push(encoding);
            }
        }
        writer.close()?;
        let bytes = sink.into_inner()?;
        let level = ZstdLevel::try_new(LEVEL)?;
        let metadata = ColumnChunkMetaData::builder(column.clone())
            .set_compression(if self.compressed { Compression::ZSTD(level) } else { Compression::UNCOMPRESSED })
            .set_encodings(encodings)
            .set_total_compressed_size(bytes.len() as i64)
            .set_total_uncompressed_size(uncompressed as i64)
            .set_num_values(self.rows as i64)
            .set_dictionary_page_offset(dictionary)
            .set_data_page_offset(data.unwrap_or_default())
            .set_statistics(statistics)
            .build()?;
        let closed = ColumnCloseResult {
            bytes_written: bytes.len() as u64,
            rows_written: self.rows,
            metadata,
            bloom_filter: None,
            column_index: None,
            offset_index: None,
        };
        Ok((bytes.into(), closed))
    }
}

/// Compresses with a context of the thread's own: to make one for each column would cost more than most pages do.
fn compress(bytes: &[u8]) -> Result<Vec<u8>> {
    thread_local! {
        static CONTEXT: RefCell<Option<zstd::bulk::Compressor<'static>>> = const { RefCell::new(None) };
    }
    let compressed = CONTEXT.with_borrow_mut(|context| {
        match context {
            Some(context) => context,
            none => none.insert(zstd::bulk::Compressor::new(LEVEL)?),
        }
        .compress(bytes)
    });
    compressed.map_err(|e| ParquetError::General(e.to_string()))
}
