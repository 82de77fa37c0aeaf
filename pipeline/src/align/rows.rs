//! Mappings as rows of the table `mappings`.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Date32Array, Float64Array, Int32Array, RecordBatch, StringArray};
use chrono::NaiveDate;
use generel_schemas::sssom;
use generel_schemas::tables::MAPPINGS;

use super::names::Names;
use super::select::Mapping;
use crate::{Result, VERSION};

/// What all rows of an alignment have.
pub(super) struct Common<'a> {
    pub(super) subject_source: &'a str,
    pub(super) object_source: &'a str,
    pub(super) model_id: &'a str,
    pub(super) alignment_id: &'a str,
    pub(super) date: NaiveDate,
}

/// Mappings as rows of the `mappings` table.
pub(super) fn batch(mappings: &[Mapping], left: &Names, right: &Names, common: &Common) -> Result<RecordBatch> {
    let text = |f: &dyn Fn(&Mapping) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(mappings.iter().map(f)))
    };
    let optional = |f: &dyn Fn(&Mapping) -> Option<String>| -> ArrayRef {
        Arc::new(mappings.iter().map(f).collect::<StringArray>())
    };
    let constant = |value: &str| -> ArrayRef { Arc::new(StringArray::from(vec![value; mappings.len()])) };
    let subject_name = |m: &Mapping| m.names.map(|(name, _, _)| left.name(name));
    let object_name = |m: &Mapping| m.names.map(|(_, name, _)| right.name(name));
    let score = |m: &Mapping| m.names.map(|(_, _, cosine)| f64::from(cosine).clamp(0.0, 1.0));
    // A person's row of this alignment stays one; elsewhere it is only repeated.
    let accepted = |m: &Mapping| m.origin.accepted.clone().filter(|own| own.alignment_id == common.alignment_id);
    let days = |made: Option<NaiveDate>| {
        made.unwrap_or(common.date).signed_duration_since(NaiveDate::default()).num_days() as i32
    };
    let columns: Vec<ArrayRef> = vec![
        text(&|m| left.curie(m.subject).to_string()),
        text(&|m| left.label(m.subject).to_string()),
        constant(common.subject_source),
        optional(&|m| subject_name(m).map(|n| n.name.clone())),
        optional(&|m| subject_name(m).map(|n| n.match_field().to_string())),
        text(&|m| m.predicate.clone()),
        text(&|m| right.curie(m.object).to_string()),
        text(&|m| right.label(m.object).to_string()),
        constant(common.object_source),
        optional(&|m| object_name(m).map(|n| n.name.clone())),
        optional(&|m| object_name(m).map(|n| n.match_field().to_string())),
        text(&|m| m.justification.to_string()),
        Arc::new(Float64Array::from_iter_values(mappings.iter().map(|m| m.confidence))),
        Arc::new(mappings.iter().map(score).collect::<Float64Array>()),
        optional(&|m| m.names.map(|_| sssom::COSINE.to_string())),
        text(&|m| accepted(m).map_or_else(|| "generel".to_string(), |own| own.mapping_tool)),
        optional(&|m| accepted(m).map_or_else(|| Some(VERSION.to_string()), |own| own.mapping_tool_version)),
        Arc::new(Date32Array::from_iter_values(mappings.iter().map(|m| days(m.origin.mapping_date)))),
        Arc::new(Int32Array::from_iter_values(mappings.iter().map(|m| m.rank))),
        Arc::new(mappings.iter().map(|m| m.margin).collect::<Float64Array>()),
        Arc::new(BooleanArray::from(mappings.iter().map(|m| m.mutual).collect::<Vec<_>>())),
        constant(common.model_id),
        constant(common.alignment_id),
        optional(&|m| m.origin.author_id.clone()),
        optional(&|m| m.origin.reviewer_id.clone()),
        optional(&|m| m.origin.mapping_source.clone()),
        optional(&|m| m.origin.comment.clone()),
    ];
    Ok(RecordBatch::try_new(MAPPINGS.schema(), columns)?)
}

#[cfg(test)]
mod tests {
    use super::super::mapping_file::Origin;
    use super::*;

    #[test]
    fn rows_have_the_tables_schema() {
        let left = Names::of(&[("X:1", &["Flu"])]);
        let right = Names::of(&[("Y:1", &["influenza", "flu"])]);
        let mapping = Mapping {
            subject: 0,
            object: 0,
            names: Some((0, 1, 1.0)),
            predicate: sssom::EXACT_MATCH.into(),
            justification: sssom::LEXICAL_MATCHING,
            confidence: 0.9,
            rank: 1,
            margin: None,
            mutual: true,
            origin: Origin::default(),
        };
        let curated = Mapping { names: None, ..mapping.clone() };
        let common = Common {
            subject_source: "a",
            object_source: "b",
            model_id: "m",
            alignment_id: "al",
            date: NaiveDate::from_ymd_opt(2024, 2, 29).unwrap(),
        };
        let batch = batch(&[mapping, curated], &left, &right, &common).unwrap();
        assert_eq!(batch.num_rows(), 2);
        assert_eq!(batch.schema(), MAPPINGS.schema());
    }
}
