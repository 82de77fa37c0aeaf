use super::{Column, INPUT_ID, INPUT_ID_COLUMN, Table, text};

/// One row per name of a code: label and synonyms.
pub const CONCEPT_NAMES: Table = Table {
    name: "concept_names",
    doc: "one row per name of a code: label and synonyms",
    columns: COLUMNS,
    unit: Some(INPUT_ID),
};

const COLUMNS: &[Column] = &[
    text("source", "the source's name as given at ingest"),
    text("code", "the code as the source spells it"),
    text("name", "the label or synonym"),
    text("name_type", "label, exact, narrow, broad, related or abbreviation"),
    text("language", "BCP 47 language tag"),
    INPUT_ID_COLUMN,
];

/// What kind of name a row of `concept_names` holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NameType {
    /// The preferred name.
    Label,
    /// A synonym of the same meaning.
    Exact,
    /// A synonym of narrower meaning.
    Narrow,
    /// A synonym of broader meaning.
    Broad,
    /// A related name.
    Related,
    /// A short form.
    Abbreviation,
}

impl NameType {
    /// The word in `concept_names.name_type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Label => "label",
            Self::Exact => "exact",
            Self::Narrow => "narrow",
            Self::Broad => "broad",
            Self::Related => "related",
            Self::Abbreviation => "abbreviation",
        }
    }
}
