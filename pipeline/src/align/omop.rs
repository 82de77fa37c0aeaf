//! An alignment as OMOP's `source_to_concept_map` (CDM 5.4), for ETL that maps source codes to standard concepts.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, Write};
use std::path::Path;

use arrow::array::{Array, StringArray};
use chrono::Utc;
use datafusion::prelude::{col, lit};
use generel_schemas::ids::Curie;

use super::AlignOptions;
use crate::sources::Place;
use crate::text_columns::text_columns;
use crate::{Error, Result, Session};

/// The columns of the table, in the CDM's order.
const COLUMNS: [&str; 9] = [
    "source_code",
    "source_concept_id",
    "source_vocabulary_id",
    "source_code_description",
    "target_concept_id",
    "target_vocabulary_id",
    "valid_start_date",
    "valid_end_date",
    "invalid_reason",
];
/// Most characters of the CDM's vocabulary ids, codes and descriptions.
const VOCABULARY_LENGTH: usize = 20;
const CODE_LENGTH: usize = 50;
const DESCRIPTION_LENGTH: usize = 255;
/// What OMOP has where there is no concept.
const NO_CONCEPT: &str = "0";

/// What the export did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConceptMapReport {
    /// Rows written: mappings of enough confidence.
    pub rows: u64,
    /// Of these, with a target that `CONCEPT.csv` has; the others have concept id 0.
    pub with_concept: u64,
    /// Of these, with a target that is a standard concept.
    pub standard: u64,
}

/// What `CONCEPT.csv` says of the codes of interest.
#[derive(Default)]
struct Vocabularies {
    /// Valid concepts by CURIE.
    concepts: HashMap<String, Concept>,
    /// OMOP's name of a prefix.
    ids: HashMap<String, String>,
}

struct Concept {
    id: String,
    standard: bool,
}

/// Writes the best mapping of every subject, as CSV. `concepts` is the `CONCEPT.csv` of a vocabulary download (Athena), in
/// which concept ids are looked up by vocabulary and code.
///
/// # Errors
/// When the lake or the file cannot be read, or the output cannot be written.
pub async fn write_source_to_concept_map(
    session: &Session,
    options: &AlignOptions,
    min_confidence: f64,
    concepts: &Path,
    out: &mut (dyn Write + Send),
) -> Result<ConceptMapReport> {
    let frame = options.exported_mappings(session).await?;
    let frame = frame
        .filter(col("confidence").gt_eq(lit(min_confidence)))?
        .select_columns(&["subject_id", "subject_label", "object_id"])?
        .sort_by(vec![col("subject_id"), col("object_id")])?;
    let columns: Vec<[StringArray; 3]> = frame.collect().await?.iter().map(text_columns).collect::<Result<_>>()?;
    let rows = || {
        columns.iter().flat_map(|[subjects, labels, objects]| {
            (0..subjects.len()).map(move |row| [subjects, labels, objects].map(|column| column.value(row)))
        })
    };
    let wanted: HashSet<&str> = rows().flat_map(|[subject, _, object]| [subject, object]).collect();
    let known = Vocabularies::read(concepts, &wanted)?;
    let today = Utc::now().date_naive().to_string();
    let mut report = ConceptMapReport::default();
    let mut writer = csv::Writer::from_writer(out);
    let failed = |e: csv::Error| Error::Internal(format!("source_to_concept_map output: {e}"));
    writer.write_record(COLUMNS).map_err(failed)?;
    for [subject, label, object] in rows() {
        let (code, vocabulary) = known.code(subject, options.left.source());
        let (_, target_vocabulary) = known.code(object, options.right.source());
        let concept = known.concepts.get(object);
        report.rows += 1;
        report.with_concept += u64::from(concept.is_some());
        report.standard += u64::from(concept.is_some_and(|c| c.standard));
        let row = [
            &cut(&code, CODE_LENGTH),
            known.id(subject),
            &cut(&vocabulary, VOCABULARY_LENGTH),
            &cut(label, DESCRIPTION_LENGTH),
            known.id(object),
            &cut(&target_vocabulary, VOCABULARY_LENGTH),
            &today,
            "2099-12-31",
            "",
        ];
        writer.write_record(row).map_err(failed)?;
    }
    writer.flush().map_err(|e| Error::Internal(format!("source_to_concept_map output: {e}")))?;
    Ok(report)
}

impl Vocabularies {
    /// The valid concepts of these CURIEs, and what OMOP calls the vocabularies.
    fn read(path: &Path, wanted: &HashSet<&str>) -> Result<Self> {
        let mut reader = Place::local(path).reader(None)?;
        let mut first = String::new();
        reader.read_line(&mut first).map_err(|e| Error::read(path, 1, e))?;
        // Athena writes tabs and no quotes; exports of databases have commas.
        let tabs = first.contains('\t');
        let delimiter = if tabs { b'\t' } else { b',' };
        let header: Vec<&str> = first.trim_end().split(char::from(delimiter)).map(|h| h.trim_matches('"')).collect();
        let column = |name: &str| {
            let found = header.iter().position(|h| h.eq_ignore_ascii_case(name));
            found.ok_or_else(|| Error::format(path, 1, format!("no column {name}: it takes OMOP's CONCEPT.csv")))
        };
        let (id, vocabulary, code) = (column("concept_id")?, column("vocabulary_id")?, column("concept_code")?);
        let (standard, invalid) = (column("standard_concept").ok(), column("invalid_reason").ok());
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(delimiter)
            .quoting(!tabs)
            .has_headers(false)
            .flexible(true)
            .from_reader(reader);
        let mut known = Self::default();
        for (row, record) in reader.records().enumerate() {
            let record = record.map_err(|e| Error::format(path, row as u64 + 2, e.to_string()))?;
            let cell = |i: usize| record.get(i).unwrap_or("").trim();
            let Ok(curie) = Curie::new(cell(vocabulary), cell(code)) else { continue };
            if !known.ids.contains_key(curie.prefix()) {
                known.ids.insert(curie.prefix().to_string(), cell(vocabulary).to_string());
            }
            let curie = curie.to_string();
            if wanted.contains(curie.as_str()) && invalid.is_none_or(|i| cell(i).is_empty()) {
                let standard = standard.is_some_and(|i| cell(i).eq_ignore_ascii_case("s"));
                known.concepts.insert(curie, Concept { id: cell(id).to_string(), standard });
            }
        }
        Ok(known)
    }

    fn id(&self, curie: &str) -> &str {
        self.concepts.get(curie).map_or(NO_CONCEPT, |c| &c.id)
    }

    /// The code of a CURIE and its vocabulary as OMOP calls it, else its prefix; of another identifier itself and the
    /// source.
    fn code(&self, id: &str, source: &str) -> (String, String) {
        match id.parse::<Curie>() {
            Ok(curie) => {
                let vocabulary = self.ids.get(curie.prefix()).map_or(curie.prefix(), String::as_str);
                (curie.decoded_local(), vocabulary.to_string())
            }
            Err(_) => (id.to_string(), source.to_string()),
        }
    }
}

fn cut(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn concepts_are_found_by_vocabulary_and_code_unless_invalid() {
        let dir = tempfile::tempdir().unwrap();
        let wanted = HashSet::from(["snomedct:1", "snomedct:2"]);
        for (name, text) in [
            (
                "tabs.csv",
                "concept_id\tconcept_name\tvocabulary_id\tstandard_concept\tconcept_code\tinvalid_reason\n\
                 10\ta \"b\tSNOMED\tS\t1\t\n20\tb\tSNOMED\t\t2\tD\n",
            ),
            (
                "commas.csv",
                "concept_id,concept_name,vocabulary_id,standard_concept,concept_code,invalid_reason\n\
                 10,\"a, b\",SNOMED,S,1,\n20,b,SNOMED,,2,D\n",
            ),
        ] {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            let known = Vocabularies::read(&path, &wanted).unwrap();
            assert_eq!(known.concepts.len(), 1, "{name}");
            assert_eq!((known.id("snomedct:1"), known.id("snomedct:2")), ("10", "0"));
            assert!(known.concepts["snomedct:1"].standard);
            assert_eq!(known.code("snomedct:1", "x"), ("1".to_string(), "SNOMED".to_string()));
            assert_eq!(known.code("local:two%20words", "x"), ("two words".to_string(), "local".to_string()));
            assert_eq!(known.code("flu", "x"), ("flu".to_string(), "x".to_string()));
        }
        let path = dir.path().join("other.csv");
        std::fs::write(&path, "a,b\n").unwrap();
        let error = Vocabularies::read(&path, &wanted).err().unwrap().to_string();
        assert!(error.contains("no column concept_id"), "{error}");
    }
}
