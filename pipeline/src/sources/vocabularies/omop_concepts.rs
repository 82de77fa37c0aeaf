//! OMOP's concepts by their id, as the tables that refer to them need them: Athena has eight million, so that codes and
//! names stand in one text, and a concept is sixteen bytes.

use std::collections::HashMap;

use super::super::text::delimited::{Delimited, Dialect};
use super::super::{InputFile, Place, ReadOptions};
use super::curies;
use crate::Result;

/// Names of languages as OMOP's concepts of languages have them.
const LANGUAGES: [(&str, &str); 21] = [
    ("english", "en"),
    ("spanish", "es"),
    ("french", "fr"),
    ("german", "de"),
    ("italian", "it"),
    ("portuguese", "pt"),
    ("dutch", "nl"),
    ("danish", "da"),
    ("swedish", "sv"),
    ("norwegian", "no"),
    ("finnish", "fi"),
    ("polish", "pl"),
    ("czech", "cs"),
    ("hungarian", "hu"),
    ("russian", "ru"),
    ("turkish", "tr"),
    ("japanese", "ja"),
    ("korean", "ko"),
    ("chinese", "zh"),
    ("arabic", "ar"),
    ("greek", "el"),
];

/// Codes and names by `concept_id`.
#[derive(Default)]
pub(super) struct Concepts {
    /// Code and name of each concept, one behind the other.
    text: String,
    /// Sorted by id.
    concepts: Vec<Entry>,
    vocabularies: Vec<String>,
    languages: HashMap<u32, &'static str>,
}

struct Entry {
    id: u32,
    start: u32,
    code: u16,
    name: u16,
    vocabulary: u16,
}

/// A concept.
pub(super) struct Concept<'a> {
    pub(super) code: &'a str,
    pub(super) vocabulary: &'a str,
    /// Its name, where names were loaded.
    pub(super) name: Option<&'a str>,
}

impl Concept<'_> {
    pub(super) fn push_curie(&self, buffer: &mut String) {
        curies::push_code(buffer, self.vocabulary, self.code);
    }
}

impl Concepts {
    /// Reads a `CONCEPT.csv`. Its rows only explain others: one that cannot be read explains nothing.
    ///
    /// # Errors
    /// When it has not the columns, or cannot be read on.
    pub(super) fn load(place: &Place, dialect: Dialect, options: &ReadOptions, names: bool) -> Result<Self> {
        let delimited = Delimited::open(&InputFile::open(place)?, options, dialect)?;
        let at = |name: &str| delimited.header.require(&[name]);
        let (id, code, name) = (at("concept_id")?, at("concept_code")?, at("concept_name")?);
        let vocabulary = at("vocabulary_id")?;
        let mut concepts = Self::default();
        let mut known = HashMap::new();
        delimited.for_each(|row| {
            let Ok(id) = row.get(id).parse() else { return };
            concepts.add(&mut known, id, row.get(code), row.get(name), row.get(vocabulary), names);
        })?;
        concepts.concepts.sort_unstable_by_key(|entry| entry.id);
        Ok(concepts)
    }

    fn add(
        &mut self,
        known: &mut HashMap<String, u16>,
        id: u32,
        code: &str,
        name: &str,
        vocabulary: &str,
        keep_name: bool,
    ) {
        if let Some(tag) = language(name) {
            self.languages.insert(id, tag);
        }
        let name = if keep_name { name } else { "" };
        let (Ok(start), Ok(code_bytes), Ok(name_bytes), Ok(next)) = (
            u32::try_from(self.text.len()),
            u16::try_from(code.len()),
            u16::try_from(name.len()),
            u16::try_from(self.vocabularies.len()),
        ) else {
            return;
        };
        if code.is_empty() {
            return;
        }
        let vocabulary = match known.get(vocabulary) {
            Some(index) => *index,
            None => {
                self.vocabularies.push(vocabulary.to_string());
                known.insert(vocabulary.to_string(), next);
                next
            }
        };
        self.text.push_str(code);
        self.text.push_str(name);
        self.concepts.push(Entry { id, start, code: code_bytes, name: name_bytes, vocabulary });
    }

    /// The concept of an id.
    pub(super) fn get(&self, id: u32) -> Option<Concept<'_>> {
        let index = self.concepts.binary_search_by_key(&id, |entry| entry.id).ok()?;
        let entry = self.concepts.get(index)?;
        let start = entry.start as usize;
        let middle = start + usize::from(entry.code);
        Some(Concept {
            code: self.text.get(start..middle)?,
            vocabulary: self.vocabularies.get(usize::from(entry.vocabulary))?,
            name: self.text.get(middle..middle + usize::from(entry.name)).filter(|name| !name.is_empty()),
        })
    }

    /// BCP 47 tag of a concept that is a language.
    pub(super) fn language(&self, id: Option<u32>) -> &'static str {
        match id {
            // OMOP's ids of English and Spanish never change; a cut-out of the vocabulary may lack them.
            None | Some(0 | 4_180_186) => "en",
            Some(4_182_511) => "es",
            Some(id) => self.languages.get(&id).copied().unwrap_or("und"),
        }
    }
}

/// The tag of `French language`.
fn language(name: &str) -> Option<&'static str> {
    let at = name.len().checked_sub(" language".len())?;
    if !name.get(at..)?.eq_ignore_ascii_case(" language") {
        return None;
    }
    let name = name.get(..at)?;
    LANGUAGES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, tag)| *tag)
}
