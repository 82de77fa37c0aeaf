//! The names of a source: of an ontology's codes, of the codes in patient events, of the traits of association studies.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::prelude::{DataFrame, SessionContext};
use datafusion::scalar::ScalarValue;
use generel_model::normalize;
use generel_schemas::ids::code_curie;

use crate::sources::Fingerprint;
use crate::text_columns::text_columns;
use crate::{Error, Result, Session};

/// A source of the lake, as `NAME` or, for patient events, `NAME:EVENT_TABLE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceSpec {
    source: String,
    event_table: Option<String>,
}

impl SourceSpec {
    /// The source's name.
    pub fn source(&self) -> &str {
        &self.source
    }
}

impl FromStr for SourceSpec {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let (source, event_table) = match text.split_once(':') {
            Some((source, table)) => (source, Some(table.to_string())),
            None => (text, None),
        };
        if source.is_empty() || event_table.as_deref() == Some("") {
            return Err("expected a source's name, or NAME:EVENT_TABLE".to_string());
        }
        Ok(Self { source: source.to_string(), event_table })
    }
}

impl fmt::Display for SourceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.event_table {
            Some(table) => write!(f, "{}:{table}", self.source),
            None => f.write_str(&self.source),
        }
    }
}

/// One name of one code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    /// Index of the code.
    pub(super) code_no: usize,
    /// The name as the source has it.
    pub(super) name: String,
    /// The kind of name, in the words of `concept_names.name_type`.
    pub(super) name_type: String,
    /// The name normalized as for embedding.
    pub(super) text: String,
}

impl Name {
    /// Whether it is the code's preferred name.
    pub(super) fn is_label(&self) -> bool {
        self.name_type == "label"
    }

    /// How SSSOM names the field that the name stood in.
    pub(super) fn match_field(&self) -> &'static str {
        generel_schemas::sssom::match_field(&self.name_type)
    }
}

/// A code.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Code {
    curie: String,
    label: String,
    category: Option<String>,
}

/// The codes of a source and their names, in a fixed order.
#[derive(Debug, Default)]
pub(super) struct Names {
    codes: Vec<Code>,
    names: Vec<Name>,
}

/// Labels and exact synonyms name a code; broader, narrower and related names and abbreviations name others too.
const ONTOLOGY: &str = "SELECT c.curie AS curie, NULL AS vocabulary, c.code AS code, c.name AS label, n.name AS name, n.name_type AS name_type, c.category AS category \
    FROM concepts c JOIN concept_names n ON n.source = c.source AND n.code = c.code \
    WHERE c.source = $source AND NOT c.obsolete AND n.name_type IN ('label', 'exact')";
const PATIENTS: &str = "SELECT DISTINCT NULL AS curie, source_vocabulary AS vocabulary, coalesce(source_code, source_name) AS code, \
    source_name AS label, source_name AS name, 'label' AS name_type, event_table AS category \
    FROM patient_events WHERE source = $source AND source_name IS NOT NULL AND event_table = coalesce($table, event_table)";
const TRAITS: &str = "SELECT DISTINCT NULL AS curie, NULL AS vocabulary, trait AS code, trait AS label, trait AS name, 'label' AS name_type, NULL AS category \
    FROM gwas_associations WHERE source = $source AND trait IS NOT NULL";
const SOURCES: &str = "SELECT DISTINCT source FROM concepts UNION SELECT DISTINCT source FROM patient_events \
    UNION SELECT DISTINCT source FROM gwas_associations ORDER BY 1";

impl Names {
    /// Loads the names of a source from whichever tables have it.
    ///
    /// # Errors
    /// [`Error::UnknownSource`] when no table has it.
    pub(super) async fn load(session: &Session, spec: &SourceSpec) -> Result<Self> {
        let queries: &[&str] = if spec.event_table.is_some() { &[PATIENTS] } else { &[ONTOLOGY, PATIENTS, TRAITS] };
        let mut rows = Vec::new();
        for query in queries {
            let frame = prepared(session.ctx(), query, spec).await?;
            for batch in frame.collect().await? {
                rows.extend(read_rows(&batch, &spec.source)?);
            }
        }
        if rows.is_empty() {
            return Err(unknown_source(session, spec).await?);
        }
        Ok(Self::build(rows))
    }

    fn build(mut rows: Vec<Row>) -> Self {
        // Labels before synonyms, and a fixed order, so that the same lake gives the same result.
        rows.sort_by(|a, b| {
            let key = |row: &'_ Row| (row.name_type != "label", row.name.clone(), row.category.clone());
            a.curie.cmp(&b.curie).then_with(|| key(a).cmp(&key(b)))
        });
        let mut all = Self::default();
        let mut seen = HashSet::new();
        for row in rows {
            let text = normalize(&row.name).into_owned();
            if text.is_empty() {
                continue;
            }
            if all.codes.last().map(|code| &code.curie) != Some(&row.curie) {
                all.codes.push(Code { curie: row.curie.clone(), label: row.label, category: row.category });
                seen.clear();
            }
            if seen.insert(text.clone()) {
                let code_no = all.codes.len() - 1;
                all.names.push(Name { code_no, name: row.name, name_type: row.name_type, text });
            }
        }
        all
    }

    pub(super) fn codes(&self) -> usize {
        self.codes.len()
    }

    pub(super) fn curie(&self, code_no: usize) -> &str {
        &self.codes[code_no].curie
    }

    pub(super) fn label(&self, code_no: usize) -> &str {
        &self.codes[code_no].label
    }

    pub(super) fn category(&self, code_no: usize) -> Option<&str> {
        self.codes[code_no].category.as_deref()
    }

    /// The number of each code.
    pub(super) fn numbers(&self) -> HashMap<&str, usize> {
        self.codes.iter().enumerate().map(|(i, code)| (code.curie.as_str(), i)).collect()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &Name> {
        self.names.iter()
    }

    pub(super) fn name(&self, name_no: usize) -> &Name {
        &self.names[name_no]
    }

    /// The distinct texts of several sources, in order of first use.
    pub(super) fn texts<const N: usize>(all: [&Self; N]) -> Vec<String> {
        let mut seen = HashSet::new();
        let names = all.into_iter().flat_map(|n| &n.names);
        names.filter(|n| seen.insert(n.text.as_str())).map(|n| n.text.clone()).collect()
    }

    /// Number, code number, text and words of each name.
    pub(super) fn keys<'a>(&self, words: impl Iterator<Item = &'a str>) -> Result<RecordBatch> {
        let fields = vec![
            Field::new("name_no", DataType::Int32, false),
            Field::new("code_no", DataType::Int32, false),
            Field::new("text", DataType::Utf8, false),
            Field::new("words", DataType::Utf8, false),
        ];
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int32Array::from_iter_values(0..self.names.len() as i32)),
            Arc::new(Int32Array::from_iter_values(self.names.iter().map(|n| n.code_no as i32))),
            Arc::new(StringArray::from_iter_values(self.names.iter().map(|n| &n.text))),
            Arc::new(StringArray::from_iter_values(words)),
        ];
        Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
    }

    /// A hash of each name: of its code and of what its place among the code's names depends on.
    pub(super) fn hashes(&self) -> Vec<i64> {
        let hash = |name: &Name| {
            let kind: &[u8] = if name.is_label() { b"label" } else { b"synonym" };
            Fingerprint::of(&[self.curie(name.code_no).as_bytes(), kind, name.name.as_bytes()]).as_i64()
        };
        self.names.iter().map(hash).collect()
    }

    /// Changes with any code, label or name.
    pub(super) fn fingerprint(&self) -> Fingerprint {
        let codes = self.codes.iter().flat_map(|code| {
            [code.curie.as_bytes(), code.label.as_bytes(), code.category.as_deref().unwrap_or("").as_bytes()]
        });
        let names = self
            .names
            .iter()
            .flat_map(|n| [n.name.as_bytes(), n.name_type.as_bytes(), self.curie(n.code_no).as_bytes()]);
        Fingerprint::of(&codes.chain(names).collect::<Vec<_>>())
    }
}

struct Row {
    curie: String,
    label: String,
    name: String,
    name_type: String,
    category: Option<String>,
}

async fn prepared(ctx: &SessionContext, sql: &str, spec: &SourceSpec) -> Result<DataFrame> {
    let values = vec![
        ("source", ScalarValue::Utf8(Some(spec.source.clone()))),
        ("table", ScalarValue::Utf8(spec.event_table.clone())),
    ];
    Ok(ctx.sql(sql).await?.with_param_values(values)?)
}

fn read_rows(batch: &RecordBatch, source: &str) -> Result<Vec<Row>> {
    let columns: [StringArray; 7] = text_columns(batch)?;
    let [curies, vocabularies, codes, labels, names, types, categories] = columns.each_ref();
    let text = |array: &StringArray, row: usize| {
        (!arrow::array::Array::is_null(array, row)).then(|| array.value(row).to_string())
    };
    Ok((0..batch.num_rows())
        .filter_map(|row| {
            let (code, name) = (text(codes, row)?, text(names, row)?);
            let vocabulary = text(vocabularies, row);
            let curie =
                text(curies, row).unwrap_or_else(|| code_curie(source, vocabulary.as_deref(), &code).to_string());
            Some(Row {
                curie,
                label: text(labels, row).unwrap_or_else(|| name.clone()),
                name_type: text(types, row)?,
                category: text(categories, row),
                name,
            })
        })
        .collect())
}

async fn unknown_source(session: &Session, spec: &SourceSpec) -> Result<Error> {
    let mut known = Vec::new();
    for batch in session.ctx().sql(SOURCES).await?.collect().await? {
        let [names] = text_columns(&batch)?;
        known.extend(names.iter().flatten().map(str::to_string));
    }
    let known = if known.is_empty() { "none yet (generel ingest)".to_string() } else { known.join(", ") };
    Ok(Error::UnknownSource { name: spec.to_string(), known })
}

#[cfg(test)]
impl Names {
    /// Codes with their names, the first of which is the label.
    pub(super) fn of(codes: &[(&str, &[&str])]) -> Self {
        let rows = codes.iter().flat_map(|(curie, names)| {
            names.iter().enumerate().map(|(i, name)| Row {
                curie: (*curie).to_string(),
                label: names[0].to_string(),
                name: (*name).to_string(),
                name_type: if i == 0 { "label" } else { "exact" }.to_string(),
                category: None,
            })
        });
        Self::build(rows.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_come_first_and_names_are_distinct() {
        let names = Names::of(&[("X:2", &["Flu", "influenza", "Flu "]), ("X:1", &["Cold"])]);
        assert_eq!(names.codes(), 2);
        assert_eq!(names.names.iter().map(|n| n.name.as_str()).collect::<Vec<_>>(), ["Cold", "Flu", "influenza"]);
        assert_eq!(names.name(1).text, "Flu");
        assert_eq!(names.label(names.name(2).code_no), "Flu");
    }

    #[test]
    fn specs_parse_and_display() {
        for text in ["doid", "hospital:condition_occurrence"] {
            assert_eq!(text.parse::<SourceSpec>().unwrap().to_string(), text);
        }
        assert!(":x".parse::<SourceSpec>().is_err());
        assert!("x:".parse::<SourceSpec>().is_err());
    }
}
