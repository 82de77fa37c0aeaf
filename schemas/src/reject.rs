//! Why a row was not taken, and where it stood.

use std::fmt;

/// Why a row went to quarantine instead of its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RejectReason {
    /// The row has more or fewer columns than the header.
    ColumnCount,
    /// The file ends in the middle of a row.
    TornLine,
    /// The row is not valid UTF-8.
    InvalidUtf8,
    /// A value that the table needs is missing.
    MissingValue,
    /// A number was expected.
    InvalidNumber,
    /// A date was expected.
    InvalidDate,
    /// Not one of 1–22, X, Y, MT (or 23–25).
    InvalidChromosome,
    /// Not a 1-based position within a chromosome.
    InvalidPosition,
    /// Not a sequence of A, C, G, T, N or a symbolic allele.
    InvalidAllele,
    /// A p value outside (0, 1].
    PValueOutOfRange,
    /// An identifier that its standard does not allow.
    InvalidIdentifier,
    /// The record breaks the format's own syntax.
    Malformed,
}

impl RejectReason {
    /// Every reason, in the order of declaration.
    pub const ALL: [RejectReason; 12] = [
        Self::ColumnCount,
        Self::TornLine,
        Self::InvalidUtf8,
        Self::MissingValue,
        Self::InvalidNumber,
        Self::InvalidDate,
        Self::InvalidChromosome,
        Self::InvalidPosition,
        Self::InvalidAllele,
        Self::PValueOutOfRange,
        Self::InvalidIdentifier,
        Self::Malformed,
    ];

    /// The word that stands in `quarantine.reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ColumnCount => "column_count",
            Self::TornLine => "torn_line",
            Self::InvalidUtf8 => "invalid_utf8",
            Self::MissingValue => "missing_value",
            Self::InvalidNumber => "invalid_number",
            Self::InvalidDate => "invalid_date",
            Self::InvalidChromosome => "invalid_chromosome",
            Self::InvalidPosition => "invalid_position",
            Self::InvalidAllele => "invalid_allele",
            Self::PValueOutOfRange => "p_value_out_of_range",
            Self::InvalidIdentifier => "invalid_identifier",
            Self::Malformed => "malformed",
        }
    }
}

impl fmt::Display for RejectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A row that was not taken. `Display` shows where and why, never the payload.
#[derive(Clone, PartialEq, Eq)]
pub struct RejectedRow {
    /// 1-based line of the file on which the row begins.
    pub line: u64,
    /// The column at fault, if it was one.
    pub column: Option<String>,
    /// Why.
    pub reason: RejectReason,
    /// What was expected; never holds the row's values.
    pub message: String,
    /// The row as it stood in the file, lossily decoded; person identifiers are masked by the source.
    pub raw: String,
}

impl fmt::Display for RejectedRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}", self.line)?;
        if let Some(column) = &self.column {
            write!(f, ", column {column}")?;
        }
        write!(f, ": {} ({})", self.message, self.reason)
    }
}

impl fmt::Debug for RejectedRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_hides_the_payload() {
        let row = RejectedRow {
            line: 7,
            column: Some("person_id".into()),
            reason: RejectReason::MissingValue,
            message: "a value is needed".into(),
            raw: "secret payload".into(),
        };
        assert_eq!(row.to_string(), "line 7, column person_id: a value is needed (missing_value)");
        assert!(!format!("{row:?}").contains("secret"));
    }

    #[test]
    fn reasons_are_distinct() {
        let mut words: Vec<_> = RejectReason::ALL.iter().map(|r| r.as_str()).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), RejectReason::ALL.len());
    }
}
