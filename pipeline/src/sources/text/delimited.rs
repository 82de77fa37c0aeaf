//! Delimited text: a header, rows below it, and one function that makes lake rows of a row.
//!
//! A format says how its text is written ([`Dialect`]), finds its columns in the [`Header`] and implements
//! [`RowParser`]; everything else (slabs, line numbers, torn rows, quotes, encodings, masking of persons) is here.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use arrow::array::Array;
use generel_schemas::{RejectReason, RejectedRow};

use super::super::input::InputFile;
use super::super::output::Output;
use super::super::{Chunk, ChunkReader, ReadOptions, Reader};
use super::lines::Lines;
use super::parquet::ParquetFile;
use super::quoted::{self, End};
use super::slabs::{Slab, SlabParser, SlabReader, Slabs};
use super::split;
use crate::{Error, Result};

/// What stands in a rejected row's raw text in place of what may identify a person.
const MASK: &str = "***";

/// What separates fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delimiter {
    /// One byte.
    Byte(u8),
    /// Runs of blanks and tabs; those at the ends of a line separate nothing.
    Blanks,
}

/// How a file's text is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dialect {
    pub(crate) delimiter: Delimiter,
    /// Whether `"` quotes fields (CSV); where it is an ordinary character, as in most genetics files, it must be false.
    pub(crate) quoted: bool,
    /// Lines before the header that begin with it are comments.
    pub(crate) comment: Option<&'static str>,
    /// The columns of a file without a header.
    pub(crate) columns: Option<&'static [&'static str]>,
}

impl Dialect {
    /// Tab-separated with a header, quotes are ordinary characters.
    pub(crate) const TSV: Self =
        Self { delimiter: Delimiter::Byte(b'\t'), quoted: false, comment: None, columns: None };
    /// Comma-separated with a header, RFC 4180 quotes.
    pub(crate) const CSV: Self = Self { delimiter: Delimiter::Byte(b','), quoted: true, comment: None, columns: None };
    /// Separated by runs of blanks.
    pub(crate) const BLANKS: Self = Self { delimiter: Delimiter::Blanks, quoted: false, comment: None, columns: None };

    /// The same, for files that have no header.
    pub(crate) const fn headless(mut self, columns: &'static [&'static str]) -> Self {
        self.columns = Some(columns);
        self
    }

    /// The same, with comment lines before the header.
    pub(crate) const fn commented(mut self, comment: &'static str) -> Self {
        self.comment = Some(comment);
        self
    }

    fn quote(&self) -> Option<u8> {
        self.quoted.then_some(b'"')
    }
}

/// The columns of a file.
#[derive(Debug, Clone)]
pub(crate) struct Header {
    names: Vec<String>,
    masked: Vec<bool>,
    /// Path for messages.
    path: PathBuf,
    /// The line it stands on; 1 where there is none.
    line: u64,
}

impl Header {
    /// The names in order, trimmed, as the file spells them.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// Index of the first of these names that is there, ignoring case.
    pub(crate) fn find(&self, names: &[&str]) -> Option<usize> {
        names.iter().find_map(|name| self.names.iter().position(|h| h.eq_ignore_ascii_case(name)))
    }

    /// Index of a column that must be there.
    ///
    /// # Errors
    /// When it is not, naming it. The columns found are named where no column holds persons: a file without a header
    /// begins with a patient's row.
    pub(crate) fn require(&self, names: &[&str]) -> Result<usize> {
        self.find(names).ok_or_else(|| {
            let found = if self.masked.contains(&true) || self.names.len() > 200 {
                String::new()
            } else {
                format!("; found: {}", self.names.join(", "))
            };
            Error::format(&self.path, self.line, format!("no column {} in the header{found}", names.join(" or ")))
        })
    }

    /// An error of the header as a whole.
    pub(crate) fn error(&self, message: impl Into<String>) -> Error {
        Error::format(&self.path, self.line, message)
    }

    /// Declares which columns may identify a person: they are masked in rejected rows.
    pub(crate) fn mask(&mut self, is_person: impl Fn(&str) -> bool) {
        self.masked = self.names.iter().map(|name| is_person(name)).collect();
    }

    /// Declares that every column may identify a person unless it is one of these.
    pub(crate) fn mask_all_but(&mut self, plain: &[&str]) {
        self.mask(|name| !plain.iter().any(|p| p.eq_ignore_ascii_case(name)));
        if !self.masked.contains(&true) {
            self.masked.push(true);
        }
    }
}

/// What became of a row that was not refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It is in the output.
    Kept,
    /// The format has no use for such rows, and says why: the reason is counted and reported.
    Ignored(&'static str),
}

/// Why a row is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) column: Option<usize>,
    pub(crate) reason: RejectReason,
    /// What was expected; never the value.
    pub(crate) message: Cow<'static, str>,
}

impl Refused {
    /// A fault of the row as a whole.
    pub(crate) fn row(reason: RejectReason, message: impl Into<Cow<'static, str>>) -> Self {
        Self { column: None, reason, message: message.into() }
    }

    /// A fault of a column.
    pub(crate) fn column(column: usize, reason: RejectReason, message: impl Into<Cow<'static, str>>) -> Self {
        Self { column: Some(column), reason, message: message.into() }
    }

    /// A value that must be there is not.
    pub(crate) fn missing(column: usize) -> Self {
        Self::column(column, RejectReason::MissingValue, "a value is needed")
    }
}

/// A row's fate.
pub(crate) type Kept<T = Taken> = std::result::Result<T, Refused>;

/// Makes lake rows of the rows of a file. Shared by all threads.
pub(crate) trait RowParser: Send + Sync {
    /// Appends what the row becomes. A refused row must have appended nothing: read what can be refused first.
    ///
    /// # Errors
    /// Why the row cannot be taken.
    fn row(&self, row: &Row<'_>, out: &mut Output) -> Kept;

    /// Has the last word on the rows of a chunk, for formats that look at many rows at once.
    ///
    /// # Errors
    /// Only for defects of the program.
    fn finish(&self, _: &mut Output, _: &mut Chunk) -> Result<()> {
        Ok(())
    }
}

/// A row with as many fields as the header.
pub(crate) struct Row<'a> {
    /// The fields' text; the line itself where nothing is quoted.
    text: &'a str,
    fields: &'a [(u32, u32)],
    /// 1-based line on which it begins.
    pub(crate) line: u64,
}

impl<'a> Row<'a> {
    /// A field without outer blanks.
    #[inline]
    pub(crate) fn get(&self, index: usize) -> &'a str {
        let (start, end) = self.fields[index];
        trim(&self.text[start as usize..end as usize])
    }

    /// A field of a column that is there, if it says something.
    #[inline]
    pub(crate) fn text(&self, column: Option<usize>) -> Option<&'a str> {
        column.map(|index| self.get(index)).filter(|text| !text.is_empty())
    }

    /// A field that must say something.
    ///
    /// # Errors
    /// When it is empty.
    #[inline]
    pub(crate) fn needed(&self, column: usize) -> Kept<&'a str> {
        self.text(Some(column)).ok_or_else(|| Refused::missing(column))
    }
}

/// Trims blanks; almost no field has any, which two bytes tell.
#[inline]
fn trim(text: &str) -> &str {
    let plain = |byte: Option<&u8>| byte.is_none_or(|b| *b > b' ' && *b < 0x80);
    let bytes = text.as_bytes();
    if plain(bytes.first()) && plain(bytes.last()) { text } else { text.trim() }
}

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

/// The names on the current line; a quoted name may go on over line breaks.
fn header_names(lines: &mut Lines, dialect: &Dialect) -> Result<Vec<String>> {
    let mut bytes = lines.line().to_vec();
    let path = lines.path().clone();
    let not_text = |line| Error::format(&path, line, "the header is not UTF-8 text");
    let names: Vec<String> = match (dialect.delimiter, dialect.quote()) {
        (Delimiter::Byte(delimiter), Some(quote)) => {
            while memchr::memchr_iter(quote, &bytes).count() % 2 == 1 && bytes.len() < 1 << 20 {
                if !lines.advance()? {
                    break;
                }
                bytes.push(b' ');
                bytes.extend_from_slice(lines.line());
            }
            let (mut text, mut ends) = (Vec::new(), Vec::new());
            quoted::row(&bytes, 0, delimiter, quote, &mut text, &mut ends);
            let text = String::from_utf8(text).map_err(|_| not_text(lines.number()))?;
            let starts = std::iter::once(0).chain(ends.iter().copied());
            starts.zip(&ends).map(|(start, end)| text[start as usize..*end as usize].trim().to_string()).collect()
        }
        (delimiter, _) => {
            let text = std::str::from_utf8(&bytes).map_err(|_| not_text(lines.number()))?;
            match delimiter {
                Delimiter::Byte(byte) => text.split(char::from(byte)).map(|name| name.trim().to_string()).collect(),
                Delimiter::Blanks => text.split_ascii_whitespace().map(str::to_string).collect(),
            }
        }
    };
    Ok(names)
}

struct Parser<R> {
    header: Header,
    dialect: Dialect,
    rows: R,
}

/// What the rows of a slab have in common while it is parsed.
struct Pass<'a, R> {
    parser: &'a Parser<R>,
    out: Output,
    chunk: Chunk,
}

impl<R: RowParser> SlabParser for Parser<R> {
    fn parse(&self, slab: &Slab<'_>) -> Result<Chunk> {
        let mut pass = Pass { parser: self, out: Output::default(), chunk: Chunk::default() };
        match (self.dialect.delimiter, slab.quote) {
            (Delimiter::Byte(delimiter), Some(quote)) if memchr::memchr(quote, slab.bytes).is_some() => {
                pass.quoted(slab, delimiter, quote);
            }
            (delimiter, _) => pass.plain(slab, delimiter),
        }
        let Pass { mut out, mut chunk, .. } = pass;
        self.rows.finish(&mut out, &mut chunk)?;
        out.finish_into(&mut chunk)?;
        Ok(chunk)
    }
}

/// Rows of a Parquet file through the same parser: each value as the text that it would be in a delimited file.
struct Columnar<R> {
    parser: Parser<R>,
    file: ParquetFile,
}

impl<R: RowParser> ChunkReader for Columnar<R> {
    fn next_chunk(&mut self) -> Result<Option<Chunk>> {
        self.parser.columnar(&mut self.file)
    }
}

impl<R: RowParser> Parser<R> {
    fn columnar(&self, file: &mut ParquetFile) -> Result<Option<Chunk>> {
        let Some((first_row, columns)) = file.next_texts()? else { return Ok(None) };
        let mut pass = Pass { parser: self, out: Output::default(), chunk: Chunk::default() };
        let (mut text, mut fields) = (String::new(), Vec::new());
        for row in 0..columns.first().map_or(0, Array::len) {
            text.clear();
            fields.clear();
            for column in &columns {
                let start = text.len() as u32;
                text.push_str(if column.is_null(row) { "" } else { column.value(row) });
                fields.push((start, text.len() as u32));
            }
            pass.row(Some(&text), text.as_bytes(), &fields, first_row + row as u64, true);
        }
        let Pass { mut out, mut chunk, .. } = pass;
        self.rows.finish(&mut out, &mut chunk)?;
        out.finish_into(&mut chunk)?;
        Ok(Some(chunk))
    }
}

impl<R: RowParser> Pass<'_, R> {
    /// Rows without quotes: every separator of the slab is found in one pass, then the rows are cut between them.
    fn plain(&mut self, slab: &Slab<'_>, delimiter: Delimiter) {
        let bytes = slab.bytes;
        let whole = std::str::from_utf8(bytes).ok();
        let mut positions = Vec::with_capacity(bytes.len() / 5);
        match delimiter {
            Delimiter::Byte(byte) => split::separators(bytes, byte, &mut positions),
            Delimiter::Blanks => split::blanks(bytes, &mut positions),
        }
        let terminated = bytes.last() == Some(&b'\n');
        if !terminated {
            positions.push(bytes.len() as u32);
        }
        let mut fields: Vec<(u32, u32)> = Vec::with_capacity(self.parser.header.names.len() + 1);
        let (mut line_start, mut field_start, mut line) = (0u32, 0u32, slab.first_line);
        for end in positions {
            let ends_line = bytes.get(end as usize).is_none_or(|b| *b == b'\n');
            let mut field_end = end;
            if ends_line && end > field_start && bytes[end as usize - 1] == b'\r' {
                field_end -= 1;
            }
            if delimiter != Delimiter::Blanks || field_end > field_start {
                fields.push((field_start - line_start, field_end - line_start));
            }
            field_start = end + 1;
            if !ends_line {
                continue;
            }
            let (from, to) = (line_start as usize, field_end as usize);
            if to > from && !fields.is_empty() {
                let raw = &bytes[from..to];
                let text = match whole {
                    Some(whole) => Some(&whole[from..to]),
                    None => std::str::from_utf8(raw).ok(),
                };
                let whole_line = terminated || (end as usize) < bytes.len();
                self.row(text, raw, &fields, line, whole_line);
            }
            fields.clear();
            line_start = end + 1;
            line += 1;
        }
    }

    fn quoted(&mut self, slab: &Slab<'_>, delimiter: u8, quote: u8) {
        let (bytes, mut at, mut line) = (slab.bytes, 0, slab.first_line);
        let (mut text, mut ends, mut fields) = (Vec::new(), Vec::new(), Vec::new());
        while at < bytes.len() {
            text.clear();
            ends.clear();
            fields.clear();
            let (next, end) = quoted::row(bytes, at, delimiter, quote, &mut text, &mut ends);
            let raw = bytes[at..next].trim_ascii_end();
            let starts = std::iter::once(0).chain(ends.iter().copied());
            fields.extend(starts.zip(ends.iter().copied()));
            if end == End::Unclosed {
                self.chunk.rows_read += 1;
                let refused = Refused::row(RejectReason::Malformed, "a quote is opened and never closed");
                self.reject(refused, raw, None, line);
            } else if !raw.is_empty() {
                self.row(std::str::from_utf8(&text).ok(), raw, &fields, line, bytes[next - 1] == b'\n');
            }
            line += memchr::memchr_iter(b'\n', &bytes[at..next]).count() as u64;
            at = next;
        }
    }

    #[inline]
    fn row(&mut self, text: Option<&str>, raw: &[u8], fields: &[(u32, u32)], line: u64, whole_line: bool) {
        self.chunk.rows_read += 1;
        let fate = match text {
            None => Err(Refused::row(RejectReason::InvalidUtf8, "the row is not UTF-8 text (see --encoding)")),
            Some(_) if fields.len() != self.parser.header.names.len() => Err(self.miscounted(fields.len(), whole_line)),
            Some(text) => self.parser.rows.row(&Row { text, fields, line }, &mut self.out),
        };
        match fate {
            Ok(taken) => self.chunk.take(taken),
            Err(refused) => self.reject(refused, raw, text.map(|text| (text, fields)), line),
        }
    }

    #[cold]
    fn miscounted(&self, found: usize, whole_line: bool) -> Refused {
        let expected = self.parser.header.names.len();
        let (reason, what) = if found < expected && !whole_line {
            (RejectReason::TornLine, "the file ends in the middle of the row")
        } else {
            (RejectReason::ColumnCount, "the row has not the header's columns")
        };
        Refused::row(reason, format!("{what}: {found} of {expected} columns"))
    }

    #[cold]
    fn reject(&mut self, refused: Refused, raw: &[u8], fields: Option<(&str, &[(u32, u32)])>, line: u64) {
        let header = &self.parser.header;
        self.chunk.rejected.push(RejectedRow {
            line,
            column: refused.column.and_then(|c| header.names.get(c).cloned()),
            reason: refused.reason,
            message: refused.message.into_owned(),
            raw: self.parser.raw(raw, fields),
        });
    }
}

impl<R> Parser<R> {
    /// The row as it stood, or, where columns may identify a person, with those masked. A row with too many or too few
    /// columns may hold its person anywhere, a field with line breaks may hold other rows, and behind a quote that was
    /// never closed nothing is sure.
    fn raw(&self, raw: &[u8], fields: Option<(&str, &[(u32, u32)])>) -> String {
        let lossy = String::from_utf8_lossy(raw);
        if !self.header.masked.contains(&true) {
            return lossy.into_owned();
        }
        let separator = match self.dialect.delimiter {
            Delimiter::Byte(byte) => char::from(byte),
            Delimiter::Blanks => ' ',
        };
        let parts: Vec<&str> = match fields {
            Some((text, fields)) => fields.iter().map(|(start, end)| &text[*start as usize..*end as usize]).collect(),
            None => lossy.split(separator).collect(),
        };
        let sure = fields.is_some() || !(self.dialect.quoted && lossy.contains('"'));
        let aligned = sure && parts.len() == self.header.names.len();
        let shown = parts.iter().enumerate().map(|(index, field)| {
            let field = field.trim();
            let trusted = aligned && self.header.masked.get(index) == Some(&false) && !field.contains('\n');
            if trusted || field.is_empty() { field } else { MASK }
        });
        shown.collect::<Vec<_>>().join(&separator.to_string())
    }
}
