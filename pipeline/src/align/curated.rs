//! Mappings that people made. They win over what is computed, whatever its confidence.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use arrow::array::{Array, StringArray};
use datafusion::prelude::{DataFrame, col, lit};
use generel_schemas::ids::source_curie;
use generel_schemas::sssom;
use generel_schemas::tables::{KG_EDGES, MAPPINGS, NEGATED};

use super::AlignOptions;
use super::mapping_file::{Accepted, KnownMapping, Origin, read_mappings};
use super::names::Names;
use crate::sources::Fingerprint;
use crate::text_columns::text_columns;
use crate::{Error, Result, Session};

/// The curated mappings between two sources, by the numbers of their codes.
#[derive(Debug, Default)]
pub(super) struct Curated {
    /// What each subject is mapped to.
    pub(super) of_subject: HashMap<usize, Vec<(usize, KnownMapping)>>,
    /// Pairs that do not match.
    pub(super) negative: HashSet<(usize, usize)>,
}

impl Curated {
    /// Loads what the options name, files and sources of `kg_edges`, and the rows of `mappings` that people accepted.
    ///
    /// # Errors
    /// When a file cannot be read, or a name is neither a file nor a source.
    pub(super) async fn load(session: &Session, options: &AlignOptions, left: &Names, right: &Names) -> Result<Self> {
        let all = known_mappings(session, &options.curated).await?;
        let mut curated = Self::default();
        let (of_left, of_right) = (left.numbers(), right.numbers());
        for mapping in all {
            for mapping in [mapping.clone(), mapping.reversed()] {
                let numbers = of_left.get(mapping.subject.as_str()).zip(of_right.get(mapping.object.as_str()));
                let Some((subject, object)) = numbers else { continue };
                if mapping.negative {
                    curated.negative.insert((*subject, *object));
                } else {
                    let known = curated.of_subject.entry(*subject).or_default();
                    if !known.iter().any(|(o, _)| o == object) {
                        known.push((*object, mapping));
                    }
                }
            }
        }
        Ok(curated)
    }

    /// Changes with any curated mapping.
    pub(super) fn fingerprint(&self) -> Fingerprint {
        let mut lines: Vec<String> = self.negative.iter().map(|(s, o)| format!("{s} not {o}")).collect();
        for (subject, known) in &self.of_subject {
            lines.extend(
                known.iter().map(|(o, m)| format!("{subject} {} {o} {:?} {:?}", m.predicate, m.confidence, m.origin)),
            );
        }
        lines.sort_unstable();
        Fingerprint::of(&lines.iter().map(String::as_bytes).collect::<Vec<_>>())
    }
}

/// What people mapped: the files and sources of `kg_edges` of these names, and the accepted rows of `mappings`.
///
/// # Errors
/// When a file cannot be read, or a name is neither a file nor a source.
pub(crate) async fn known_mappings(session: &Session, names: &[String]) -> Result<Vec<KnownMapping>> {
    let mut all = accepted(session).await?;
    for name in names {
        let path = Path::new(name);
        let mappings = if path.is_file() { read_mappings(path)? } else { of_source(session, name).await? };
        if mappings.is_empty() {
            return Err(Error::Invalid(format!(
                "curated {name}: neither an SSSOM file nor a source of the lake with mappings (generel ingest --format sssom)"
            )));
        }
        all.extend(mappings);
    }
    Ok(all)
}

/// Mappings that a source of `kg_edges` has.
async fn of_source(session: &Session, source: &str) -> Result<Vec<KnownMapping>> {
    let frame = session.ctx().table(KG_EDGES.name).await?.filter(col("source").eq(lit(source)))?;
    let rows = texts(frame.select_columns(&["subject", "predicate", "object"])?).await?;
    let origin =
        Origin { mapping_source: Some(source_curie("generel.source", source).to_string()), ..Origin::default() };
    Ok(rows
        .into_iter()
        .filter_map(|[subject, predicate, object]| {
            let positive = predicate.strip_prefix(NEGATED);
            let negative = positive.is_some();
            let predicate = positive.unwrap_or(&predicate).to_string();
            let is_mapping =
                predicate.starts_with("skos:") || predicate == "owl:equivalentClass" || predicate == "owl:sameAs";
            let origin = origin.clone();
            let labels = [None, None];
            is_mapping.then_some(KnownMapping {
                subject,
                object,
                labels,
                predicate,
                negative,
                confidence: None,
                origin,
            })
        })
        .collect())
}

/// Rows of `mappings` that state that a person made them, of any alignment but those that only repeat them.
async fn accepted(session: &Session) -> Result<Vec<KnownMapping>> {
    if !session.ctx().table_exist(MAPPINGS.name)? {
        return Ok(Vec::new());
    }
    let frame = session.ctx().table(MAPPINGS.name).await?;
    let made =
        col("mapping_justification").eq(lit(sssom::MANUAL_CURATION)).and(col("mapping_tool").not_eq(lit("generel")));
    // A lake of an earlier version has no column of authors until something is written.
    let optional = |name: &str| match frame.schema().has_column_with_unqualified_name(name) {
        true => col(name),
        false => lit("").alias(name),
    };
    let columns = [
        col("subject_id"),
        col("predicate_id"),
        col("object_id"),
        col("mapping_date"),
        optional("author_id"),
        optional("reviewer_id"),
        optional("mapping_source"),
        optional("comment"),
        col("subject_label"),
        col("object_label"),
        col("alignment_id"),
        col("mapping_tool"),
        col("mapping_tool_version"),
    ];
    let rows = texts(frame.clone().filter(made)?.select(columns)?).await?;
    let slot = |text: String| Some(text).filter(|t| !t.is_empty());
    Ok(rows
        .into_iter()
        .map(|row: [String; 13]| {
            let [subject, predicate, object, date, author, reviewer, source, comment, own, other, id, tool, version] =
                row;
            KnownMapping {
                subject,
                object,
                labels: [slot(own), slot(other)],
                predicate,
                negative: false,
                confidence: None,
                origin: Origin {
                    author_id: slot(author),
                    reviewer_id: slot(reviewer),
                    mapping_source: slot(source),
                    mapping_date: date.parse().ok(),
                    comment: slot(comment),
                    accepted: Some(Accepted {
                        alignment_id: id,
                        mapping_tool: tool,
                        mapping_tool_version: slot(version),
                    }),
                },
            }
        })
        .collect())
}

/// The rows of a query as texts, NULL as an empty one.
async fn texts<const N: usize>(frame: DataFrame) -> Result<Vec<[String; N]>> {
    let mut rows = Vec::new();
    for batch in frame.collect().await? {
        let columns: [StringArray; N] = text_columns(&batch)?;
        rows.extend((0..batch.num_rows()).map(|row| {
            columns.each_ref().map(|c| if c.is_null(row) { String::new() } else { c.value(row).to_string() })
        }));
    }
    Ok(rows)
}
