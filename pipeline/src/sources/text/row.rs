//! One row of delimited text and its fate.

use std::borrow::Cow;

use generel_schemas::RejectReason;

use super::super::Chunk;
use super::super::output::Output;
use super::block::Block;
use crate::Result;

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

    /// Appends what the rows of a block become, many at once where the format knows how; `one` takes a row by itself, as
    /// [`RowParser::row`] does. How many were taken without `one`; the others must have gone through it, in order.
    fn block(&self, block: &Block<'_>, out: &mut Output, one: &mut dyn FnMut(usize, &mut Output)) -> u64 {
        block.one_by_one(out, one)
    }

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
    pub(super) text: &'a str,
    pub(super) fields: &'a [(u32, u32)],
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
