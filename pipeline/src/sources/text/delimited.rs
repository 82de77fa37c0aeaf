//! Delimited text: a header, rows below it, and one function that makes lake rows of a row.
//!
//! A format says how its text is written ([`Dialect`]), finds its columns in the [`Header`] and implements
//! [`RowParser`]; everything else (slabs, line numbers, torn rows, quotes, encodings, masking of persons) is here.

use std::sync::{Arc, Mutex};

pub(crate) use super::block::Block;
pub(crate) use super::header::{Delimiter, Dialect, Header};
pub(crate) use super::row::{Kept, Refused, Row, RowParser, Taken};

use super::super::input::InputFile;
use super::super::output::Output;
use super::super::{ReadOptions, Reader};
use super::header::header_names;
use super::lines::Lines;
use super::parquet::ParquetFile;
use super::pass::{Columnar, Parser};
use super::slabs::{Slab, SlabParser, SlabReader, Slabs};
use crate::{Error, Result};

/// A file whose header was read.
pub(crate) struct Delimited {
    /// Its columns.
    pub(crate) header: Header,
    /// What the format understood of the header, for people.
    pub(crate) recognized: Option<String>,
    dialect: Dialect,
    body: Body,
}

/// Where the rows are.
enum Body {
    Text(Slabs),
    Parquet(ParquetFile),
}

impl Delimited {
    /// Reads the header.
    ///
    /// # Errors
    /// When there is none or the file cannot be read.
    pub(crate) fn open(file: &InputFile, options: &ReadOptions, dialect: Dialect) -> Result<Self> {
        Self::open_where(file, options, dialect, |_| true)
    }

    /// Reads the header, which is the first line that `is_header` says yes to: exports of spreadsheets have titles
    /// above it.
    ///
    /// # Errors
    /// As [`Delimited::open`].
    pub(crate) fn open_where(
        file: &InputFile,
        options: &ReadOptions,
        dialect: Dialect,
        is_header: impl Fn(&[String]) -> bool,
    ) -> Result<Self> {
        let path = file.path().to_path_buf();
        if let Some(parquet) = ParquetFile::open(&file.place, options.chunk_rows)? {
            let names = parquet.names();
            let header = Header { masked: vec![false; names.len()], names, path, line: 1 };
            return Ok(Self { header, recognized: None, dialect, body: Body::Parquet(parquet) });
        }
        let mut lines = Lines::new(file.reader(options.encoding)?, path.clone());
        let (names, line) = match dialect.columns {
            Some(columns) => (columns.iter().map(|name| (*name).to_string()).collect(), 1),
            None => loop {
                if !lines.advance()? {
                    let empty = lines.number() == 0;
                    let message = "no header found: is this the right format?";
                    return Err(if empty { Error::Empty { path } } else { Error::format(&path, 1, message) });
                }
                if dialect.comment.is_some_and(|comment| lines.line().starts_with(comment.as_bytes())) {
                    continue;
                }
                let line = lines.number();
                if lines.line().trim_ascii().is_empty() {
                    continue;
                }
                let names = header_names(&mut lines, &dialect)?;
                if is_header(&names) {
                    break (names, line);
                }
            },
        };
        let header = Header { masked: vec![false; names.len()], names, path: path.clone(), line };
        let slabs = lines.into_slabs(dialect.quote()).with_slab_bytes(options.slab_bytes);
        Ok(Self { header, recognized: None, dialect, body: Body::Text(slabs) })
    }

    /// Reads all rows, in order, for tables that only explain others; rows that are none are passed over.
    ///
    /// # Errors
    /// When the file cannot be read on.
    pub(crate) fn for_each(self, take: impl FnMut(&Row<'_>) + Send) -> Result<()> {
        let parser = Parser { header: self.header, dialect: self.dialect, rows: Each(Mutex::new(take)) };
        match self.body {
            Body::Text(mut slabs) => {
                let (mut buffer, quote) = (Vec::new(), slabs.quote());
                while let Some(first_line) = slabs.next(&mut buffer)? {
                    parser.parse(&Slab { bytes: &buffer, first_line, quote })?;
                }
            }
            Body::Parquet(mut file) => while parser.columnar(&mut file)?.is_some() {},
        }
        Ok(())
    }

    /// The file's rows, once the format knows its columns.
    pub(crate) fn into_reader(self, rows: impl RowParser + 'static) -> Reader {
        let parser = Parser { header: self.header, dialect: self.dialect, rows };
        match self.body {
            Body::Text(slabs) => {
                Reader::Slabs(SlabReader { slabs, parser: Arc::new(parser), recognized: self.recognized })
            }
            Body::Parquet(file) => Reader::Chunks(Box::new(Columnar { parser, file })),
        }
    }
}

/// Hands rows to a function instead of the lake.
struct Each<F>(Mutex<F>);

impl<F: FnMut(&Row<'_>) + Send> RowParser for Each<F> {
    fn row(&self, row: &Row<'_>, _: &mut Output) -> Kept {
        // A poisoned lock means that the function panicked: the panic is on its way already.
        if let Ok(mut take) = self.0.lock() {
            take(row);
        }
        Ok(Taken::Kept)
    }
}
