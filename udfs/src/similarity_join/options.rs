//! What a similarity join does, and what comes out of it.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::{JoinType, internal_err};
use datafusion::error::Result;
use generel_schemas::vector::{VectorType, compatible};

use crate::error::plan;

/// Name of the column of scores.
pub(super) const SCORE: &str = "similarity_score";
/// Name of the column of ranks.
pub(super) const RANK: &str = "rank";

/// What to join and how.
#[derive(Debug, Clone, PartialEq)]
pub struct SimilarityJoinOptions {
    /// Vector column of the left side.
    pub left_vector: usize,
    /// Vector column of the right side.
    pub right_vector: usize,
    /// Columns that must be equal, of the left and the right side; NULL is equal to nothing.
    pub on: Vec<(usize, usize)>,
    /// Columns that must differ, of the left and the right side; NULL differs from nothing. For inner joins.
    pub apart: Option<(usize, usize)>,
    /// Inner, Left (rows without a match come with NULLs), LeftSemi or LeftAnti.
    pub join_type: JoinType,
    /// Most matches of a left row, the best ones; `None` for all.
    pub k: Option<usize>,
    /// Least cosine of a match.
    pub min_score: f32,
    /// With this column of the right side, k counts its distinct values and each shows its best row.
    pub right_group: Option<usize>,
    /// Whether what ties with the k-th match comes too: for a sort above that looks at more than the cosine. Otherwise ties
    /// go to the right row whose columns, of those that are asked for, come first in ascending order.
    pub ties: bool,
    /// Made for a sort above, which has a place for pairs that have no cosine: up to so many come too, without a score.
    pub candidates: Option<usize>,
    /// Whether the sort above has these first. Without ties k counts them too.
    pub unscored_first: bool,
    /// Whether the right side streams past a left side that is held, and not the other way round: for few left rows. Needs
    /// a k.
    pub hold_left: bool,
    /// Share of the nearest rows that must be found, below 1; `None` for the exact result.
    pub recall: Option<f64>,
    /// Columns that come out, of the left ones, the right ones, `similarity_score` and `rank`, and under which names;
    /// `None` for all, under their own.
    pub projection: Option<Vec<(usize, String)>>,
}

impl SimilarityJoinOptions {
    /// The `k` most similar right rows of each left row, of at least a cosine.
    pub fn top_k(left_vector: usize, right_vector: usize, k: usize, min_score: f32) -> Self {
        Self {
            left_vector,
            right_vector,
            on: Vec::new(),
            apart: None,
            join_type: JoinType::Inner,
            k: Some(k),
            min_score,
            right_group: None,
            ties: false,
            candidates: None,
            unscored_first: false,
            hold_left: false,
            recall: None,
            projection: None,
        }
    }

    /// Every pair of at least a cosine.
    pub fn threshold(left_vector: usize, right_vector: usize, min_score: f32, join_type: JoinType) -> Self {
        Self { k: None, join_type, ..Self::top_k(left_vector, right_vector, 1, min_score) }
    }

    /// Of so many pairs of a left row with a score, and so many without, how many come out.
    pub(super) fn chosen(&self, scored: usize, unscored: usize) -> (usize, usize) {
        let unscored = unscored.min(self.candidates.unwrap_or(0));
        match self.k {
            Some(k) if !self.ties && self.unscored_first => (scored.min(k.saturating_sub(unscored)), unscored.min(k)),
            Some(k) if !self.ties => (scored.min(k), unscored.min(k.saturating_sub(scored))),
            _ => (scored, unscored),
        }
    }

    /// Whether left rows alone come out.
    pub(super) fn is_semi(&self) -> bool {
        matches!(self.join_type, JoinType::LeftSemi | JoinType::LeftAnti)
    }

    /// Writes the options as `EXPLAIN` shows them.
    pub(super) fn describe(&self, left: &Schema, right: &Schema, f: &mut fmt::Formatter) -> fmt::Result {
        let (of_left, of_right) = (left.field(self.left_vector).name(), right.field(self.right_vector).name());
        write!(f, "SimilarityJoinExec: strategy=")?;
        match self.recall {
            Some(recall) => write!(f, "approximate, recall={recall}")?,
            None => f.write_str("exact")?,
        }
        write!(f, ", type={}, on={of_left} ~ {of_right}", self.join_type)?;
        for (l, r) in &self.on {
            write!(f, " AND {} = {}", left.field(*l).name(), right.field(*r).name())?;
        }
        if let Some((l, r)) = self.apart {
            write!(f, " AND {} <> {}", left.field(l).name(), right.field(r).name())?;
        }
        if let Some(k) = self.k {
            write!(f, ", k={k}")?;
        }
        if self.min_score > -1.0 {
            write!(f, ", min_score={}", self.min_score)?;
        }
        if let Some(group) = self.right_group {
            write!(f, ", k_counts=distinct {}", right.field(group).name())?;
        }
        if self.candidates.is_some() {
            f.write_str(", with ties")?;
        }
        if self.hold_left {
            f.write_str(", streams=right")?;
        }
        Ok(())
    }
}

/// The type that the vector columns of two tables share.
///
/// # Errors
/// When they are not typed or of two models.
pub(super) fn vector_type(left: &Field, right: &Field) -> Result<VectorType> {
    compatible(left, right).map_err(plan)
}

/// All columns of a join: the left ones, and but for semi and anti joins the right ones, [`SCORE`] and [`RANK`].
pub(super) fn joined_schema(left: &Schema, right: &Schema, options: &SimilarityJoinOptions) -> SchemaRef {
    let mut fields: Vec<Field> = left.fields().iter().map(|f| f.as_ref().clone()).collect();
    if !options.is_semi() {
        let optional = options.join_type == JoinType::Left;
        let right = right.fields().iter().map(|f| f.as_ref().clone());
        fields.extend(right.map(|f| if optional { f.with_nullable(true) } else { f }));
        fields.push(Field::new(SCORE, DataType::Float32, optional || options.candidates.is_some()));
        fields.push(Field::new(RANK, DataType::Int32, optional));
    }
    Arc::new(Schema::new(fields))
}

/// The columns that come out.
pub(super) fn output_schema(left: &Schema, right: &Schema, options: &SimilarityJoinOptions) -> Result<SchemaRef> {
    let joined = joined_schema(left, right, options);
    Ok(match &options.projection {
        Some(columns) => {
            let of_column = |(i, name): &(usize, String)| match joined.fields().get(*i) {
                Some(field) => Ok(field.as_ref().clone().with_name(name)),
                None => internal_err!("a similarity join has no column {i}"),
            };
            Arc::new(Schema::new(columns.iter().map(of_column).collect::<Result<Vec<_>>>()?))
        }
        None => joined,
    })
}
