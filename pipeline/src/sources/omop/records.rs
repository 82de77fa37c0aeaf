//! CSV records: where they begin and end, what is wrong with them, and how they are shown without the person.

use std::borrow::Cow;
use std::io::{self, BufRead, Read};
use std::path::{Path, PathBuf};

use csv::{ByteRecord, ErrorKind, ReaderBuilder, Terminator};
use generel_schemas::{RejectReason, RejectedRow};

use super::super::input::open_decompressed;
use crate::{Error, Result};

/// Columns that identify a person, in every table.
const MASKED: [&str; 2] = ["person_id", "person_source_value"];
const MASK: &str = "***";

/// What is wrong with a row.
pub(super) struct Bad {
    column: Option<usize>,
    reason: RejectReason,
    message: Cow<'static, str>,
}

impl Bad {
    pub(super) fn value(column: usize, reason: RejectReason, message: &'static str) -> Self {
        Self { column: Some(column), reason, message: message.into() }
    }

    pub(super) fn missing(column: usize) -> Self {
        Self::value(column, RejectReason::MissingValue, "a value is needed")
    }

    pub(super) fn date(column: usize) -> Self {
        Self::value(column, RejectReason::InvalidDate, "expected a date, YYYY-MM-DD or YYYYMMDD")
    }

    fn row(reason: RejectReason, message: impl Into<Cow<'static, str>>) -> Self {
        Self { column: None, reason, message: message.into() }
    }
}

pub(super) type Taken<T> = std::result::Result<T, Bad>;

/// Passes bytes through and remembers what tells a torn record from a whole one.
struct Tail {
    inner: Box<dyn BufRead + Send>,
    ended: bool,
    odd_quotes: bool,
}

impl Read for Tail {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.ended |= n == 0 && !buffer.is_empty();
        self.odd_quotes ^= memchr::memchr_iter(b'"', &buffer[..n]).count() % 2 == 1;
        Ok(n)
    }
}

/// CSV records below a header. Records end at `\n` alone, since the csv crate then counts lines exactly; the `\r` of
/// CRLF stays on the last field and is trimmed with its blanks. The csv crate drops a byte-order mark.
pub(super) struct Records {
    path: PathBuf,
    reader: csv::Reader<Tail>,
    pub(super) header: Vec<String>,
    masked: Vec<bool>,
    pub(super) record: ByteRecord,
}

impl Records {
    /// A vocabulary file that is tab-separated is Athena's, where a quote is an ordinary character.
    pub(super) fn open(path: &Path, vocabulary: bool) -> Result<Self> {
        let mut inner = open_decompressed(path)?;
        let head = inner.fill_buf().map_err(|e| Error::read(path, 1, e))?;
        let line = head.split(|b| *b == b'\n').next().unwrap_or_default();
        let tabs = line.contains(&b'\t') && !line.contains(&b',');
        let reader = ReaderBuilder::new()
            .flexible(true)
            .has_headers(false)
            .delimiter(if tabs { b'\t' } else { b',' })
            .quoting(!(tabs && vocabulary))
            .terminator(Terminator::Any(b'\n'))
            .from_reader(Tail { inner, ended: false, odd_quotes: false });
        let (header, masked, record) = (Vec::new(), Vec::new(), ByteRecord::new());
        let mut records = Self { path: path.to_path_buf(), reader, header, masked, record };
        if !records.advance()? {
            return Err(Error::Empty { path: path.to_path_buf() });
        }
        records.header = records.record.iter().map(column_name).collect();
        records.masked = records.header.iter().map(|name| MASKED.contains(&name.as_str())).collect();
        Ok(records)
    }

    pub(super) fn column(&self, name: &str) -> Option<usize> {
        self.header.iter().position(|found| found == name)
    }

    /// Columns that must be there. What is there is not said: a file without a header begins with a patient's row.
    pub(super) fn require<const N: usize>(&self, names: [&str; N]) -> Result<[usize; N]> {
        let found = names.map(|name| self.column(name));
        let missing: Vec<&str> = names.into_iter().zip(found).filter(|(_, at)| at.is_none()).map(|(n, _)| n).collect();
        if missing.is_empty() {
            return Ok(found.map(Option::unwrap_or_default));
        }
        let message = format!("the first line must be a header; it has no column {}", missing.join(", "));
        Err(Error::format(&self.path, 1, message))
    }

    /// Moves to the next record that is not a blank line.
    pub(super) fn advance(&mut self) -> Result<bool> {
        loop {
            match self.reader.read_byte_record(&mut self.record) {
                Ok(false) => return Ok(false),
                Ok(true) if self.record.len() == 1 && self.record[0].trim_ascii().is_empty() => {}
                Ok(true) => return Ok(true),
                Err(error) => {
                    let line = self.reader.position().line();
                    return Err(match error.into_kind() {
                        ErrorKind::Io(error) => Error::read(&self.path, line, error),
                        _ => Error::format(&self.path, line, "cannot be read as CSV"),
                    });
                }
            }
        }
    }

    /// A field of the current record without outer blanks; empty where it is no text or not there.
    pub(super) fn field(&self, index: usize) -> &str {
        self.record.get(index).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default().trim()
    }

    /// Whether the current record is text with the header's columns.
    pub(super) fn check(&self) -> Taken<()> {
        if self.record.iter().any(|field| std::str::from_utf8(field).is_err()) {
            return Err(Bad::row(RejectReason::InvalidUtf8, "the row is not UTF-8 text"));
        }
        let (found, expected) = (self.record.len(), self.header.len());
        let swallowed = self.unterminated() && self.reader.get_ref().odd_quotes && self.line_breaks() > 0;
        if (found < expected && self.unterminated()) || swallowed {
            let message = format!("the file ends in the middle of the row: {found} of {expected} columns");
            return Err(Bad::row(RejectReason::TornLine, message));
        }
        if found != expected {
            let message = format!("the row has not the header's columns: {found} of {expected} columns");
            return Err(Bad::row(RejectReason::ColumnCount, message));
        }
        Ok(())
    }

    /// Whether the file ended before the current record did: a record's line break comes before the end is seen.
    fn unterminated(&self) -> bool {
        self.reader.get_ref().ended
    }

    fn line_breaks(&self) -> u64 {
        memchr::memchr_iter(b'\n', self.record.as_slice()).count() as u64
    }

    /// The line on which the current record begins, told from its end: blank lines before it do not count.
    fn line(&self) -> u64 {
        let own = self.line_breaks() + u64::from(!self.unterminated());
        self.reader.position().line().saturating_sub(own).max(1)
    }

    pub(super) fn reject(&self, bad: Bad) -> RejectedRow {
        RejectedRow {
            line: self.line(),
            column: bad.column.and_then(|c| self.header.get(c).cloned()),
            reason: bad.reason,
            message: bad.message.into_owned(),
            raw: self.raw(),
        }
    }

    /// The record with what may identify a person masked. A record with too many or too few columns may hold its
    /// person anywhere, a field with line breaks may hold other rows.
    fn raw(&self) -> String {
        let aligned = self.record.len() == self.header.len();
        let fields = self.record.iter().enumerate().map(|(index, field)| {
            let field = field.trim_ascii();
            let trusted = aligned && self.masked.get(index) == Some(&false) && !field.contains(&b'\n');
            if trusted || field.is_empty() { String::from_utf8_lossy(field) } else { Cow::Borrowed(MASK) }
        });
        fields.collect::<Vec<_>>().join(",")
    }
}

fn column_name(field: &[u8]) -> String {
    String::from_utf8_lossy(field).trim_start_matches('\u{feff}').trim().to_ascii_lowercase()
}
