//! What was found in a record.

use std::ops::Range;

use smallvec::SmallVec;

/// A text of a record: a range of its bytes, or the text itself where the record has it with escapes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Text {
    Span(Range<u32>),
    Owned(Box<str>),
}

impl Text {
    /// The text; `record` is the one that it was found in.
    pub(crate) fn of<'a>(&'a self, record: &'a str) -> &'a str {
        match self {
            Self::Span(span) => &record[span.start as usize..span.end as usize],
            Self::Owned(text) => text,
        }
    }
}

/// A code of a mention.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Coding {
    pub(crate) vocabulary: Option<Text>,
    pub(crate) code: Option<Text>,
    pub(crate) display: Option<Text>,
}

/// Where in the record the concept of a mention can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Place {
    /// There is none.
    #[default]
    None,
    /// As a member of its own after this byte.
    After(u32),
    /// As an element of the list that ends with the bracket at this byte; whether the list is empty.
    Last(u32, bool),
    /// In a list of its own: see [`Found::lists`].
    Listed,
}

/// One place of a field: what a record says about one thing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Mention {
    /// Number of the field.
    pub(crate) field: usize,
    pub(crate) text: Option<Text>,
    pub(crate) codings: Vec<Coding>,
    pub(crate) place: Place,
}

/// A list whose elements are mentions: their concepts are written as a list after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct List {
    pub(crate) field: usize,
    /// Numbers of its mentions.
    pub(crate) mentions: Range<usize>,
    /// The byte after its bracket.
    pub(crate) end: u32,
}

/// What was found in a record. Most records have one mention and few carried columns: nothing is allocated for those.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) mentions: SmallVec<[Mention; 1]>,
    pub(crate) lists: Vec<List>,
    /// The vocabulary of each field's codes, where the record has one for all of them.
    pub(crate) vocabularies: SmallVec<[Option<Text>; 1]>,
    /// Values of the carried columns, as texts.
    pub(crate) carried: SmallVec<[Option<Text>; 2]>,
    /// The byte of the bracket that ends the record's object; whether it has members. Nothing where it is none.
    pub(crate) root: Option<(u32, bool)>,
}
