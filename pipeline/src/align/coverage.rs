//! How much of a source an alignment covers, by category.

use std::collections::BTreeMap;

use arrow::array::AsArray;
use arrow::datatypes::Float64Type;

use super::names::Names;
use super::{AlignOptions, DOUBTFUL, MAPPED};
use crate::text_columns::text_columns;
use crate::{Result, Session};

/// The codes of one category of the left source, by their best object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Coverage {
    /// The source's own category (an event table, a branch); empty where it has none.
    pub category: String,
    /// Codes whose best object is taken for right.
    pub mapped: u64,
    /// Codes whose best object is doubtful: worth a curator's look.
    pub doubtful: u64,
    /// The other codes.
    pub unmapped: u64,
}

/// The coverage of an alignment that is in the lake, a row a category.
///
/// # Errors
/// When the lake cannot be read.
pub async fn coverage(session: &Session, options: &AlignOptions) -> Result<Vec<Coverage>> {
    let left = Names::load(session, &options.left).await?;
    let frame = options.best_mappings(session).await?.select_columns(&["subject_id", "confidence"])?;
    let numbers = left.numbers();
    let mut confidence = vec![0.0; left.codes()];
    for batch in frame.collect().await? {
        let [subjects] = text_columns(&batch)?;
        for (subject, value) in subjects.iter().zip(batch.column(1).as_primitive::<Float64Type>()) {
            if let (Some(number), Some(value)) = (subject.and_then(|s| numbers.get(s)), value) {
                confidence[*number] = value;
            }
        }
    }
    let mut all: BTreeMap<&str, Coverage> = BTreeMap::new();
    for (code, confidence) in confidence.into_iter().enumerate() {
        let category = left.category(code).unwrap_or("");
        let row = all.entry(category).or_insert_with(|| Coverage { category: category.into(), ..Coverage::default() });
        match confidence {
            c if c >= MAPPED => row.mapped += 1,
            c if c >= DOUBTFUL => row.doubtful += 1,
            _ => row.unmapped += 1,
        }
    }
    Ok(all.into_values().collect())
}
