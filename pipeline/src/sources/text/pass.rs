//! From the bytes of a slab to rows: cut, counted, parsed or refused.

use arrow::array::Array;
use generel_schemas::{RejectReason, RejectedRow};

use super::super::output::Output;
use super::super::{Chunk, ChunkReader};
use super::block::Block;
use super::header::{Delimiter, Dialect, Header};
use super::parquet::ParquetFile;
use super::quoted::{self, End};
use super::row::{Refused, Row, RowParser};
use super::slabs::{Slab, SlabParser};
use super::split;
use crate::Result;

/// What stands in a rejected row's raw text in place of what may identify a person.
const MASK: &str = "***";

/// The rows of a file whose columns are known.
pub(super) struct Parser<R> {
    pub(super) header: Header,
    pub(super) dialect: Dialect,
    pub(super) rows: R,
}

/// What the rows of a slab have in common while it is parsed.
struct Pass<'a, R> {
    parser: &'a Parser<R>,
    out: Output,
    fates: Fates<'a, R>,
}

/// What becomes of rows that are looked at one by one.
struct Fates<'a, R> {
    parser: &'a Parser<R>,
    chunk: Chunk,
}

impl<R: RowParser> SlabParser for Parser<R> {
    fn parse(&self, slab: &Slab<'_>) -> Result<Chunk> {
        let mut pass = Pass::new(self);
        match (self.dialect.delimiter, slab.quote) {
            (Delimiter::Byte(delimiter), Some(quote)) if memchr::memchr(quote, slab.bytes).is_some() => {
                pass.quoted(slab, delimiter, quote);
            }
            (delimiter, _) => pass.plain(slab, delimiter),
        }
        pass.finish()
    }
}

/// Rows of a Parquet file through the same parser: each value as the text that it would be in a delimited file.
pub(super) struct Columnar<R> {
    pub(super) parser: Parser<R>,
    pub(super) file: ParquetFile,
}

impl<R: RowParser> ChunkReader for Columnar<R> {
    fn next_chunk(&mut self) -> Result<Option<Chunk>> {
        self.parser.columnar(&mut self.file)
    }
}

impl<R: RowParser> Parser<R> {
    /// The next rows of the file.
    ///
    /// # Errors
    /// When the file cannot be read on.
    pub(super) fn columnar(&self, file: &mut ParquetFile) -> Result<Option<Chunk>> {
        let Some((first_row, columns)) = file.next_texts()? else { return Ok(None) };
        let mut pass = Pass::new(self);
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
        pass.finish().map(Some)
    }
}

impl<'a, R: RowParser> Pass<'a, R> {
    fn new(parser: &'a Parser<R>) -> Self {
        Self { parser, out: Output::default(), fates: Fates { parser, chunk: Chunk::default() } }
    }

    fn finish(self) -> Result<Chunk> {
        let Self { parser, mut out, fates: Fates { mut chunk, .. } } = self;
        parser.rows.finish(&mut out, &mut chunk)?;
        out.finish_into(&mut chunk)?;
        Ok(chunk)
    }

    /// Rows without quotes: every separator of the slab is found in one pass, then the rows are cut between them. Those
    /// with as many fields as the header go to the format in blocks.
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
        let columns = self.parser.header.names.len();
        let mut fields: Vec<(u32, u32)> = Vec::with_capacity(columns + 1);
        let (mut line_start, mut field_start, mut line) = (0u32, 0u32, slab.first_line);
        let mut at = 0;
        while let Some(end) = positions.get(at).copied() {
            if fields.is_empty()
                && delimiter != Delimiter::Blanks
                && let Some(text) = whole.filter(|_| terminated)
                && let Some(block) = Block::of(text, line_start, line, &positions[at..], columns)
            {
                let rows = block.rows();
                self.block(&block);
                at += rows * columns;
                line += rows as u64;
                line_start = positions[at - 1] + 1;
                field_start = line_start;
                continue;
            }
            at += 1;
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

    /// Rows of which some have quotes: every separator and quote is found in one pass. Rows are cut as they stand, but
    /// for those with a quote inside of a field, which are read into a text without.
    fn quoted(&mut self, slab: &Slab<'_>, delimiter: u8, quote: u8) {
        let (bytes, mut at, mut line) = (slab.bytes, 0, slab.first_line);
        let whole = std::str::from_utf8(bytes).ok();
        let (mut text, mut ends, mut fields) = (Vec::new(), Vec::new(), Vec::new());
        let mut positions = Vec::with_capacity(bytes.len() / 5);
        split::separators_and_quotes(bytes, delimiter, quote, &mut positions);
        let mut marks = positions.as_slice();
        while at < bytes.len() {
            fields.clear();
            if let Some(cut) = quoted::cut(bytes, at, marks, delimiter, quote, &mut fields) {
                let raw = &bytes[at..cut.end];
                if fields.len() > 1 || !raw.trim_ascii().is_empty() {
                    let text = whole.map_or_else(|| std::str::from_utf8(raw).ok(), |whole| whole.get(at..cut.end));
                    self.row(text, raw, &fields, line, true);
                }
                line += cut.lines;
                at = marks[cut.marks - 1] as usize + 1;
                marks = &marks[cut.marks..];
                continue;
            }
            text.clear();
            ends.clear();
            fields.clear();
            let (next, end) = quoted::row(bytes, at, delimiter, quote, &mut text, &mut ends);
            let raw = bytes[at..next].trim_ascii_end();
            let starts = std::iter::once(0).chain(ends.iter().copied());
            fields.extend(starts.zip(ends.iter().copied()));
            if end == End::Unclosed {
                self.fates.chunk.rows_read += 1;
                let refused = Refused::row(RejectReason::Malformed, "a quote is opened and never closed");
                self.fates.reject(refused, raw, None, line);
            } else if !raw.is_empty() {
                // Halves of a character in two fields would make a whole one where the fields meet.
                let whole = |text: &&str| ends.iter().all(|end| text.is_char_boundary(*end as usize));
                let text = std::str::from_utf8(&text).ok().filter(whole);
                self.row(text, raw, &fields, line, bytes[next - 1] == b'\n');
            }
            line += memchr::memchr_iter(b'\n', &bytes[at..next]).count() as u64;
            at = next;
            marks = &marks[marks.partition_point(|mark| (*mark as usize) < at)..];
        }
    }

    fn block(&mut self, block: &Block<'_>) {
        let mut fields = Vec::with_capacity(self.parser.header.names.len());
        let one = &mut |row: usize, out: &mut Output| {
            let (text, line) = block.cut(row, &mut fields);
            self.fates.row(out, Some(text), text.as_bytes(), &fields, line, true);
        };
        let taken = self.parser.rows.block(block, &mut self.out, one);
        self.fates.chunk.rows_read += taken;
        self.fates.chunk.rows_taken += taken;
    }

    #[inline]
    fn row(&mut self, text: Option<&str>, raw: &[u8], fields: &[(u32, u32)], line: u64, whole_line: bool) {
        self.fates.row(&mut self.out, text, raw, fields, line, whole_line);
    }
}

impl<R: RowParser> Fates<'_, R> {
    #[inline]
    fn row(
        &mut self,
        out: &mut Output,
        text: Option<&str>,
        raw: &[u8],
        fields: &[(u32, u32)],
        line: u64,
        whole_line: bool,
    ) {
        self.chunk.rows_read += 1;
        let (mut padded, columns) = (Vec::new(), self.parser.header.names.len());
        let fields = if self.parser.dialect.short_rows && fields.len() < columns {
            padded.extend_from_slice(fields);
            padded.resize(columns, (0, 0));
            padded.as_slice()
        } else {
            fields
        };
        let fate = match text {
            None => Err(Refused::row(RejectReason::InvalidUtf8, "the row is not UTF-8 text (see --encoding)")),
            Some(_) if fields.len() != columns => Err(self.miscounted(fields.len(), whole_line)),
            Some(text) => self.parser.rows.row(&Row { text, fields, line }, out),
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
