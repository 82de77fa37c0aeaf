//! What the lake knows of codes: what alignments map them to, and how they are called.

use std::collections::HashMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::Float64Type;
use datafusion::prelude::{col, lit};
use generel_schemas::tables::{CONCEPTS, MAPPINGS};

use crate::text_columns::text_columns;
use crate::{Result, Session};

/// A concept that a code or text is known to mean.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Known {
    pub(super) concept: usize,
    pub(super) predicate: String,
    pub(super) justification: String,
    pub(super) confidence: f64,
    pub(super) score: Option<f64>,
}

/// What alignments say: subject, object and the rest of each subject's best mapping to the target.
pub(super) async fn aligned(session: &Session, target: &str) -> Result<Vec<(String, String, Known)>> {
    let best = col("object_source").eq(lit(target)).and(col("rank").eq(lit(1i32)));
    let frame = session
        .ctx()
        .table(MAPPINGS.name)
        .await?
        .filter(best)?
        .sort_by(vec![col("subject_id"), col("alignment_id")])?;
    let columns =
        ["subject_id", "object_id", "predicate_id", "mapping_justification", "confidence", "similarity_score"];
    let mut all = Vec::new();
    for batch in frame.select_columns(&columns)?.collect().await? {
        let [subjects, objects, predicates, justifications] = text_columns(&batch)?;
        let number = |column: usize, row: usize| {
            let array = batch.column(column).as_primitive::<Float64Type>();
            array.is_valid(row).then(|| array.value(row))
        };
        for row in 0..batch.num_rows() {
            let known = Known {
                concept: 0,
                predicate: predicates.value(row).to_string(),
                justification: justifications.value(row).to_string(),
                confidence: number(4, row).unwrap_or(0.0),
                score: number(5, row),
            };
            all.push((subjects.value(row).to_string(), objects.value(row).to_string(), known));
        }
    }
    Ok(all)
}

/// Labels of the codes of all other sources.
pub(super) async fn labels(session: &Session, target: &str) -> Result<HashMap<String, String>> {
    let frame = session.ctx().table(CONCEPTS.name).await?.filter(col("source").not_eq(lit(target)))?;
    let batches: Vec<RecordBatch> = frame.select_columns(&["curie", "name"])?.collect().await?;
    let mut all: HashMap<String, String> = HashMap::new();
    for batch in &batches {
        let [curies, names] = text_columns(batch)?;
        for (curie, name) in curies.iter().zip(&names) {
            let (Some(curie), Some(name)) = (curie, name) else { continue };
            // Of several the same one, in whatever order they are read.
            let held = all.entry(curie.to_string()).or_insert_with(|| name.to_string());
            if name < held.as_str() {
                *held = name.to_string();
            }
        }
    }
    Ok(all)
}
