//! Why a record was not harmonized: the reasons that dead letters and metrics carry.

use std::fmt;

/// Which part of the way a record did not get through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// From bytes to a record.
    Decode,
    /// From a record to its concepts.
    Harmonize,
    /// From a record to an output message.
    Encode,
}

impl Stage {
    /// The word in headers and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Harmonize => "harmonize",
            Self::Encode => "encode",
        }
    }
}

/// Why a record was not harmonized.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The bytes are no UTF-8.
    InvalidUtf8,
    /// The text is no JSON.
    InvalidJson,
    /// The JSON is nested more deeply than 200 levels.
    TooDeep,
    /// A field's value has another type than a text or a code.
    WrongType,
    /// A CSV line has another number of columns than was stated.
    ColumnCount,
    /// The message does not begin as the schema registry's messages do.
    NotFramed,
    /// The schema registry does not know the message's schema.
    UnknownSchema,
    /// The message does not agree with its schema.
    SchemaMismatch,
    /// No concept is sure enough, and the consumer was told to treat that as an error.
    LowConfidence,
    /// The output message is larger than its topic takes.
    TooLarge,
}

impl Reason {
    /// Every reason, in the order of declaration.
    pub const ALL: [Reason; 10] = [
        Self::InvalidUtf8,
        Self::InvalidJson,
        Self::TooDeep,
        Self::WrongType,
        Self::ColumnCount,
        Self::NotFramed,
        Self::UnknownSchema,
        Self::SchemaMismatch,
        Self::LowConfidence,
        Self::TooLarge,
    ];

    /// The word in headers and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidUtf8 => "invalid_utf8",
            Self::InvalidJson => "invalid_json",
            Self::TooDeep => "too_deep",
            Self::WrongType => "wrong_type",
            Self::ColumnCount => "column_count",
            Self::NotFramed => "not_framed",
            Self::UnknownSchema => "unknown_schema",
            Self::SchemaMismatch => "schema_mismatch",
            Self::LowConfidence => "low_confidence",
            Self::TooLarge => "too_large",
        }
    }

    /// Where it happens.
    pub fn stage(self) -> Stage {
        match self {
            Self::LowConfidence => Stage::Harmonize,
            Self::TooLarge => Stage::Encode,
            _ => Stage::Decode,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A record that was not harmonized. Says where and why, never what the record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// Why.
    pub reason: Reason,
    /// The place and what was expected there.
    pub message: String,
}

impl Rejected {
    pub(crate) fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}
