//! What a record says about one thing, as borrowed texts, and the key under which its answer is remembered.

use generel_schemas::ids::Curie;

use super::extract::{Found, Mention};
use crate::sources::vocabulary_of_system;

/// A code as a record has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SaidCode<'a> {
    pub(crate) vocabulary: Option<&'a str>,
    pub(crate) code: Option<&'a str>,
    pub(crate) display: Option<&'a str>,
}

impl SaidCode<'_> {
    /// Its CURIE: of the vocabulary, which a FHIR system URI also names, or the code itself where it is one.
    pub(crate) fn curie(&self) -> Option<String> {
        let code = self.code?;
        let curie = match self.vocabulary {
            Some(vocabulary) => Curie::new(vocabulary_of_system(vocabulary).unwrap_or(vocabulary), code),
            None => code.parse(),
        };
        curie.ok().map(|curie| curie.to_string())
    }
}

/// A mention with its texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Said<'a> {
    pub(crate) text: Option<&'a str>,
    pub(crate) codings: Vec<SaidCode<'a>>,
}

impl<'a> Said<'a> {
    /// What a mention says. `vocabulary` is that of all codes of the field, where it was stated.
    pub(crate) fn of(mention: &'a Mention, found: &'a Found, record: &'a str, vocabulary: Option<&'a str>) -> Self {
        let of_all = found.vocabularies[mention.field].as_ref().map(|text| text.of(record)).or(vocabulary);
        let codings = mention.codings.iter().map(|coding| SaidCode {
            vocabulary: coding.vocabulary.as_ref().map(|text| text.of(record)).or(of_all),
            code: coding.code.as_ref().map(|text| text.of(record)).map(str::trim).filter(|code| !code.is_empty()),
            display: coding.display.as_ref().map(|text| text.of(record)),
        });
        Self {
            text: mention.text.as_ref().map(|text| text.of(record)).filter(|text| !text.trim().is_empty()),
            codings: codings.filter(|c| c.code.is_some() || c.display.is_some()).collect(),
        }
    }

    /// Whether it says nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.text.is_none() && self.codings.is_empty()
    }
}

/// What separates the parts of a key: no text that means something has it.
const PART: char = '\u{1f}';

/// The key of a mention's answer.
pub(crate) fn key(said: &Said<'_>) -> String {
    let mut key = String::new();
    write_key(said, &mut key);
    key
}

/// Puts the key into a buffer.
pub(crate) fn write_key(said: &Said<'_>, key: &mut String) {
    key.clear();
    key.push_str(said.text.unwrap_or(""));
    for coding in &said.codings {
        for part in [coding.vocabulary, coding.code, coding.display] {
            key.push(PART);
            key.push_str(part.unwrap_or(""));
        }
    }
}
