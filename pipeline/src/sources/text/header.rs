//! The header of delimited text: how the file is written and what its columns are called.

use std::path::PathBuf;

use super::lines::Lines;
use super::quoted;
use crate::{Error, Result};

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
    /// Whether a row may leave out empty fields at its end.
    pub(crate) short_rows: bool,
}

impl Dialect {
    /// Tab-separated with a header, quotes are ordinary characters.
    pub(crate) const TSV: Self =
        Self { delimiter: Delimiter::Byte(b'\t'), quoted: false, comment: None, columns: None, short_rows: false };
    /// Comma-separated with a header, RFC 4180 quotes.
    pub(crate) const CSV: Self =
        Self { delimiter: Delimiter::Byte(b','), quoted: true, comment: None, columns: None, short_rows: false };
    /// Separated by runs of blanks.
    pub(crate) const BLANKS: Self =
        Self { delimiter: Delimiter::Blanks, quoted: false, comment: None, columns: None, short_rows: false };

    /// The same, for files that have no header.
    pub(crate) const fn headless(mut self, columns: &'static [&'static str]) -> Self {
        self.columns = Some(columns);
        self
    }

    /// The same, for files whose writers leave out empty fields at the end of a row.
    pub(crate) const fn with_short_rows(mut self) -> Self {
        self.short_rows = true;
        self
    }

    /// The same, with comment lines before the header.
    pub(crate) const fn commented(mut self, comment: &'static str) -> Self {
        self.comment = Some(comment);
        self
    }

    /// The quote character, where there is one.
    pub(super) fn quote(&self) -> Option<u8> {
        self.quoted.then_some(b'"')
    }
}

/// The columns of a file.
#[derive(Debug, Clone)]
pub(crate) struct Header {
    pub(super) names: Vec<String>,
    pub(super) masked: Vec<bool>,
    /// Path for messages.
    pub(super) path: PathBuf,
    /// The line it stands on; 1 where there is none.
    pub(super) line: u64,
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

/// The names on the current line; a quoted name may go on over line breaks.
pub(super) fn header_names(lines: &mut Lines, dialect: &Dialect) -> Result<Vec<String>> {
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
            let starts = std::iter::once(0).chain(ends.iter().copied());
            // Each by itself: without the separator the ends of two names can be one character.
            let names = starts.zip(&ends).map(|(start, end)| std::str::from_utf8(&text[start as usize..*end as usize]));
            let names =
                names.map(|name| name.map(|name| name.trim().to_string()).map_err(|_| not_text(lines.number())));
            names.collect::<Result<_>>()?
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
