//! Files of mappings that people made: SSSOM TSV, or any table with the columns `subject_id` and `object_id`.

use std::io::Read;
use std::path::Path;

use chrono::NaiveDate;
use generel_schemas::sssom;

use crate::sources::{Place, SssomMetadata};
use crate::{Error, Result};

/// A mapping of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct KnownMapping {
    /// CURIE of the subject, with the preferred prefix.
    pub subject: String,
    /// CURIE of the object, with the preferred prefix.
    pub object: String,
    /// The labels of both, where the file has them.
    pub labels: [Option<String>; 2],
    /// CURIE of the predicate; `skos:exactMatch` where the file has none.
    pub predicate: String,
    /// Whether the file says that the two do *not* match.
    pub negative: bool,
    /// The file's confidence, 0 to 1.
    pub confidence: Option<f64>,
    /// Who made it, whence, and when.
    pub origin: Origin,
}

/// What a file says of a mapping beyond the mapping, in SSSOM's slots.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// CURIEs, separated by `|`.
    pub author_id: Option<String>,
    /// CURIEs, separated by `|`.
    pub reviewer_id: Option<String>,
    /// The mapping set: the row's `mapping_source`, else the file's `mapping_set_id`.
    pub mapping_source: Option<String>,
    /// When it was made.
    pub mapping_date: Option<NaiveDate>,
    /// What stands beside it.
    pub comment: Option<String>,
    /// Of a row of `mappings` that a person accepted: where it stands, and with which tool.
    pub accepted: Option<Accepted>,
}

/// A row of `mappings` that a person accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The alignment whose row it is.
    pub alignment_id: String,
    /// The tool that it was accepted with.
    pub mapping_tool: String,
    /// The tool's version.
    pub mapping_tool_version: Option<String>,
}

impl KnownMapping {
    /// The same mapping read from the object to the subject.
    pub(crate) fn reversed(self) -> Self {
        let predicate = match self.predicate.as_str() {
            sssom::BROAD_MATCH => sssom::NARROW_MATCH.to_string(),
            sssom::NARROW_MATCH => sssom::BROAD_MATCH.to_string(),
            _ => self.predicate,
        };
        let [subject, object] = self.labels;
        Self { subject: self.object, object: self.subject, labels: [object, subject], predicate, ..self }
    }
}

/// Reads the mappings of a file. `sssom:NoTermFound` is no mapping.
///
/// # Errors
/// When the file cannot be read, lacks a column, or a line has no identifiers.
pub fn read_mappings(path: &Path) -> Result<Vec<KnownMapping>> {
    let mut bytes = Vec::new();
    let mut reader = Place::local(path).reader(None)?;
    reader.read_to_end(&mut bytes).map_err(|e| Error::io(path, e))?;
    let text = String::from_utf8(bytes).map_err(|e| Error::Invalid(format!("{}: not UTF-8: {e}", path.display())))?;
    parse(&text).map_err(|problem| Error::Invalid(format!("{}: {problem}", path.display())))
}

fn parse(text: &str) -> std::result::Result<Vec<KnownMapping>, String> {
    let header = text.lines().find(|line| !line.starts_with('#') && !line.trim().is_empty());
    let delimiter = if header.is_some_and(|h| h.contains('\t')) { b'\t' } else { b',' };
    let mut reader =
        csv::ReaderBuilder::new().delimiter(delimiter).comment(Some(b'#')).flexible(true).from_reader(text.as_bytes());
    let header = reader.headers().map_err(|e| e.to_string())?.clone();
    let column = |name: &str| header.iter().position(|h| h.trim() == name);
    let needed = |name: &str| {
        let known = || header.iter().collect::<Vec<_>>().join(", ");
        column(name).ok_or_else(|| {
            format!("no column {name} among {}; it takes SSSOM TSV, or a table with subject_id and object_id", known())
        })
    };
    let (subject, object) = (needed("subject_id")?, needed("object_id")?);
    let (predicate, modifier, confidence) =
        (column("predicate_id"), column("predicate_modifier"), column("confidence"));
    let labels = ["subject_label", "object_label"].map(column);
    let slots = ["author_id", "reviewer_id", "mapping_source", "mapping_date", "comment"].map(column);
    let metadata = metadata(text);
    let mut all = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|e| e.to_string())?;
        let line = record.position().map_or(0, csv::Position::line);
        let cell = |index: usize| record.get(index).map(str::trim).filter(|c| !c.is_empty());
        let entity = |text: &str| metadata.entity(text).unwrap_or_else(|| text.to_string());
        let id = |index: usize, name: &str| match cell(index) {
            Some(text) => Ok(entity(text)),
            None => Err(format!("line {line}: {name} is empty")),
        };
        let mapping = KnownMapping {
            subject: id(subject, "subject_id")?,
            object: id(object, "object_id")?,
            labels: labels.map(|label| label.and_then(cell).map(str::to_string)),
            predicate: predicate.and_then(cell).map_or_else(|| sssom::EXACT_MATCH.to_string(), entity),
            negative: modifier.and_then(cell).is_some_and(|m| m.eq_ignore_ascii_case("not")),
            confidence: match confidence.and_then(cell) {
                None => None,
                Some(text) => match text.parse() {
                    Ok(number) if (0.0..=1.0).contains(&number) => Some(number),
                    _ => return Err(format!("line {line}: confidence '{text}' is no number from 0 to 1")),
                },
            },
            origin: {
                let [author_id, reviewer_id, source, date, comment] =
                    slots.map(|slot| slot.and_then(cell).map(str::to_string));
                let date = date.map(|date| {
                    date.parse().map_err(|_| format!("line {line}: mapping_date '{date}' is no date as 2026-01-31"))
                });
                Origin {
                    author_id,
                    reviewer_id,
                    mapping_source: source.or_else(|| metadata.mapping_set_id.clone()),
                    mapping_date: date.transpose()?,
                    comment,
                    accepted: None,
                }
            },
        };
        if mapping.object != sssom::NO_TERM_FOUND && mapping.subject != sssom::NO_TERM_FOUND {
            all.push(mapping);
        }
    }
    Ok(all)
}

/// The metadata block in front of the table.
fn metadata(text: &str) -> SssomMetadata {
    let lines = text.lines().map_while(|line| line.strip_prefix('#')).collect::<Vec<_>>().join("\n");
    SssomMetadata::parse(&lines).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sssom_and_bare_tables_are_read() {
        let sssom = "#curie_map:\n#  x: y\nsubject_id\tpredicate_id\tpredicate_modifier\tobject_id\tconfidence\n\
                     DOID:1\tskos:broadMatch\t\tMESH:D1\t0.5\nDOID:2\tskos:exactMatch\tNot\tMESH:D2\t\n\
                     DOID:3\tskos:exactMatch\t\tsssom:NoTermFound\t\n";
        let read = parse(sssom).unwrap();
        assert_eq!(read.len(), 2);
        assert_eq!((read[0].confidence, read[0].negative, read[1].negative), (Some(0.5), false, true));
        assert_eq!(read[0].clone().reversed().predicate, "skos:narrowMatch");
        assert_eq!(read[0].origin, Origin::default());
        let own_prefixes = "#curie_map:\n#  D: http://purl.obolibrary.org/obo/DOID_\n#  s: http://www.w3.org/2004/02/skos/core#\n\
                            subject_id\tpredicate_id\tobject_id\nD:7\ts:broadMatch\thttp://id.nlm.nih.gov/mesh/D1\n";
        let read = parse(own_prefixes).unwrap();
        assert_eq!((read[0].subject.as_str(), read[0].predicate.as_str()), ("DOID:7", "skos:broadMatch"));
        assert_eq!(read[0].object, "mesh:D1");
        let bare = parse("object_id,subject_id\nb:1,a:1\n").unwrap();
        assert_eq!((bare[0].subject.as_str(), bare[0].predicate.as_str()), ("a:1", "skos:exactMatch"));
    }

    #[test]
    fn who_made_a_mapping_is_kept() {
        let text = "#mapping_set_id: \"https://example.org/set\"\n#curie_map:\n#  a: b\n\
                    subject_id\tobject_id\tauthor_id\tmapping_date\tmapping_source\tcomment\n\
                    a:1\tb:1\torcid:0000-0001|orcid:0000-0002\t2025-02-28\t\tsee a\n\
                    a:2\tb:2\t\t\tx:set\t\n";
        let read = parse(text).unwrap();
        let origin = Origin {
            author_id: Some("orcid:0000-0001|orcid:0000-0002".into()),
            reviewer_id: None,
            mapping_source: Some("https://example.org/set".into()),
            mapping_date: NaiveDate::from_ymd_opt(2025, 2, 28),
            comment: Some("see a".into()),
            accepted: None,
        };
        assert_eq!(read[0].origin, origin);
        assert_eq!(read[1].origin.mapping_source.as_deref(), Some("x:set"));
    }

    #[test]
    fn problems_name_the_line_and_the_column() {
        assert!(parse("a,b\n1,2\n").unwrap_err().contains("no column subject_id among a, b"));
        assert!(parse("subject_id,object_id\na:1,\n").unwrap_err().contains("line 2: object_id is empty"));
        assert!(parse("subject_id,object_id,mapping_date\na:1,b:1,May\n").unwrap_err().contains("'May'"));
        assert!(parse("subject_id,object_id,confidence\na:1,b:1,high\n").unwrap_err().contains("'high'"));
    }
}
