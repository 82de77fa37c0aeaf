//! ICD codes as MIMIC writes them: without dots, the version beside them.

use generel_schemas::RejectReason;

use super::super::super::text::delimited::{Kept, Refused, Row};

/// What a code is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Diagnosis,
    Procedure,
}

/// A version of the ICD.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    Nine,
    Ten,
}

impl Version {
    pub(super) fn of(row: &Row<'_>, column: usize) -> Kept<Self> {
        match row.needed(column)? {
            "9" => Ok(Self::Nine),
            "10" => Ok(Self::Ten),
            _ => Err(Refused::column(column, RejectReason::InvalidIdentifier, "expected ICD version 9 or 10")),
        }
    }

    /// OMOP's name of the vocabulary.
    pub(super) fn vocabulary(self, kind: Kind) -> &'static str {
        match (self, kind) {
            (Self::Nine, Kind::Diagnosis) => "ICD9CM",
            (Self::Nine, Kind::Procedure) => "ICD9Proc",
            (Self::Ten, Kind::Diagnosis) => "ICD10CM",
            (Self::Ten, Kind::Procedure) => "ICD10PCS",
        }
    }

    /// The registry's prefix. Procedures of the ninth revision are volume 3 of ICD-9-CM; their dot stands elsewhere.
    pub(super) fn prefix(self, kind: Kind) -> &'static str {
        match (self, kind) {
            (Self::Nine, _) => "icd9cm",
            (Self::Ten, Kind::Diagnosis) => "icd10cm",
            (Self::Ten, Kind::Procedure) => "icd10pcs",
        }
    }

    /// The code with its dot.
    pub(super) fn dotted(self, kind: Kind, code: &str) -> String {
        let before = match (self, kind) {
            (Self::Nine, Kind::Diagnosis) if code.starts_with(['E', 'e']) => 4,
            (Self::Nine | Self::Ten, Kind::Diagnosis) => 3,
            (Self::Nine, Kind::Procedure) => 2,
            (Self::Ten, Kind::Procedure) => return code.to_string(),
        };
        match code.split_at_checked(before) {
            Some((category, rest)) if !rest.is_empty() && !code.contains('.') => format!("{category}.{rest}"),
            _ => code.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_stand_where_the_classifications_have_them() {
        use {Kind::*, Version::*};
        for (version, kind, code, dotted) in [
            (Nine, Diagnosis, "4019", "401.9"),
            (Nine, Diagnosis, "0010", "001.0"),
            (Nine, Diagnosis, "431", "431"),
            (Nine, Diagnosis, "V1046", "V10.46"),
            (Nine, Diagnosis, "E8859", "E885.9"),
            (Nine, Diagnosis, "E849", "E849"),
            (Nine, Procedure, "0010", "00.10"),
            (Nine, Procedure, "3961", "39.61"),
            (Ten, Diagnosis, "I10", "I10"),
            (Ten, Diagnosis, "E1165", "E11.65"),
            (Ten, Diagnosis, "S72001A", "S72.001A"),
            (Ten, Diagnosis, "E11.65", "E11.65"),
            (Ten, Procedure, "0DTJ4ZZ", "0DTJ4ZZ"),
            (Ten, Diagnosis, "\u{e9}\u{e9}", "\u{e9}\u{e9}"),
        ] {
            assert_eq!(version.dotted(kind, code), dotted);
        }
    }
}
