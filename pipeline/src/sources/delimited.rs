//! Unquoted delimited text with a header: tab-separated files of the GWAS world, where `"` is an ordinary character.

use generel_schemas::{RejectReason, RejectedRow};

use super::input::InputFile;
use super::lines::Lines;
use crate::{Error, Result};

/// A header and the rows below it. Blank lines are not rows.
pub(super) struct Delimited {
    lines: Lines,
    delimiter: u8,
    header: Vec<String>,
    /// Start and end of each field of the current line.
    fields: Vec<(u32, u32)>,
}

/// What stood on the next line.
pub(super) enum Next {
    /// A row with as many fields as the header; read it with [`Delimited::field`].
    Row,
    /// A row that is no row.
    Rejected(RejectedRow),
    /// Nothing more.
    End,
}

impl Delimited {
    /// Reads the header.
    ///
    /// # Errors
    /// When there is no header or the file cannot be read.
    pub(super) fn open(file: &InputFile, delimiter: u8) -> Result<Self> {
        let mut lines = Lines::new(file.reader()?, file.path.clone());
        if !lines.advance()? {
            return Err(Error::Empty { path: file.path.clone() });
        }
        let header = std::str::from_utf8(lines.line())
            .map_err(|_| Error::format(&file.path, 1, "the header is not UTF-8 text"))?
            .split(char::from(delimiter))
            .map(|name| name.trim().to_string())
            .collect();
        Ok(Self { lines, delimiter, header, fields: Vec::new() })
    }

    /// The header's names, in order, trimmed.
    pub(super) fn header(&self) -> &[String] {
        &self.header
    }

    /// Index of the first header name that equals one of these, ignoring case.
    pub(super) fn column(&self, names: &[&str]) -> Option<usize> {
        names.iter().find_map(|name| self.header.iter().position(|h| h.eq_ignore_ascii_case(name)))
    }

    /// Index of a column that must be there.
    ///
    /// # Errors
    /// When it is not, naming it and the columns found.
    pub(super) fn require(&self, names: &[&str]) -> Result<usize> {
        self.column(names).ok_or_else(|| {
            Error::format(
                self.lines.path(),
                1,
                format!("no column {} in the header; found: {}", names.join(" or "), self.header.join(", ")),
            )
        })
    }

    /// Moves to the next row.
    ///
    /// # Errors
    /// When the file cannot be read on.
    pub(super) fn advance(&mut self) -> Result<Next> {
        loop {
            if !self.lines.advance()? {
                return Ok(Next::End);
            }
            if !self.lines.line().is_empty() {
                break;
            }
        }
        if std::str::from_utf8(self.lines.line()).is_err() {
            return Ok(Next::Rejected(self.reject(None, RejectReason::InvalidUtf8, "the row is not UTF-8 text")));
        }
        self.fields.clear();
        let line = self.lines.line();
        let mut start = 0;
        for end in memchr::memchr_iter(self.delimiter, line).chain(std::iter::once(line.len())) {
            self.fields.push((start as u32, end as u32));
            start = end + 1;
        }
        let (found, expected) = (self.fields.len(), self.header.len());
        if found == expected {
            return Ok(Next::Row);
        }
        let (reason, what) = if found < expected && !self.lines.terminated() {
            (RejectReason::TornLine, "the file ends in the middle of the row")
        } else {
            (RejectReason::ColumnCount, "the row has not the header's columns")
        };
        let message = format!("{what}: {found} of {expected} columns");
        Ok(Next::Rejected(self.reject(None, reason, message)))
    }

    /// A field of the current row, trimmed of blanks.
    pub(super) fn field(&self, index: usize) -> &str {
        let (start, end) = self.fields[index];
        std::str::from_utf8(&self.lines.line()[start as usize..end as usize]).unwrap_or_default().trim()
    }

    /// The current line as a rejected row.
    pub(super) fn reject(
        &self,
        column: Option<usize>,
        reason: RejectReason,
        message: impl Into<String>,
    ) -> RejectedRow {
        RejectedRow {
            line: self.lines.number(),
            column: column.map(|c| self.header[c].clone()),
            reason,
            message: message.into(),
            raw: String::from_utf8_lossy(self.lines.line()).into_owned(),
        }
    }
}
