//! Matches of a batch of left rows, and the rows that come of them.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, Int32Array, RecordBatch, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::SchemaRef;
use datafusion::common::JoinType;
use datafusion::error::Result;
use generel_model::search::{Neighbor, SearchOptions};

use super::options::SimilarityJoinOptions;
use super::sides::{BuildSide, Part, matrix};

/// Pairs of a left and a right row; without a right row or a score where there is none.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    pub(super) left: Vec<u32>,
    pub(super) right: Vec<Option<u32>>,
    pub(super) scores: Vec<Option<f32>>,
    pub(super) ranks: Vec<Option<i32>>,
}

/// Pairs of some left rows with some right rows.
pub(super) struct Found {
    pub(super) left: RecordBatch,
    pub(super) right: RecordBatch,
    pub(super) pairs: Pairs,
}

impl Pairs {
    fn push(&mut self, left: u32, right: Option<u32>, score: Option<f32>, rank: Option<i32>) {
        self.left.push(left);
        self.right.push(right);
        self.scores.push(score);
        self.ranks.push(rank);
    }

    pub(super) fn len(&self) -> usize {
        self.left.len()
    }

    /// Of a batch and a part of the build side, where the other parts are still to come: matches alone, and for semi and
    /// anti joins one of each row that has any.
    pub(super) fn of_part(probe: &RecordBatch, part: &BuildSide, options: &SimilarityJoinOptions) -> Result<Self> {
        let k = if options.is_semi() { Some(1) } else { options.k };
        Self::of(probe, part, &SimilarityJoinOptions { join_type: JoinType::Inner, k, ..options.clone() })
    }

    /// What left rows give that have been compared with the whole build side: the rows themselves, for the joins that
    /// keep them.
    pub(super) fn of_left_rows(matched: &[bool], join_type: JoinType) -> Self {
        let wanted = match join_type {
            JoinType::LeftSemi => true,
            JoinType::LeftAnti | JoinType::Left => false,
            _ => return Self::default(),
        };
        let mut pairs = Self::default();
        (0..matched.len()).filter(|i| matched[*i] == wanted).for_each(|i| pairs.push(i as u32, None, None, None));
        pairs
    }

    /// The matches of a batch, in the order of its rows.
    pub(super) fn of(probe: &RecordBatch, build: &BuildSide, options: &SimilarityJoinOptions) -> Result<Self> {
        let (vectors, dimension) = matrix(probe, options.left_vector)?;
        let mut of_rows: Vec<(usize, Vec<Neighbor>)> = vec![(0, Vec::new()); probe.num_rows()];
        // Of a row that is asked whether it matches, one match is enough.
        let k = if options.is_semi() { Some(1) } else { options.k };
        let search = SearchOptions { k, ties: options.ties, min_score: options.min_score };
        let mut matched = vec![true; probe.num_rows()];
        let labels = build.labels(probe, options.apart)?;
        match build.parts_of(probe, &options.on)? {
            None => {
                let found = build.search(0, &vectors, labels.as_deref(), search)?;
                of_rows = found.into_iter().map(|f| (0, f)).collect();
            }
            Some(parts) => {
                matched.fill(false);
                for (part, rows) in parts {
                    let at = |i: &u32| *i as usize * dimension;
                    let own: Vec<f32> = rows.iter().flat_map(|i| &vectors[at(i)..at(i) + dimension]).copied().collect();
                    let labels: Option<Vec<u32>> =
                        labels.as_ref().map(|labels| rows.iter().map(|i| labels[*i as usize]).collect());
                    let found = build.search(part, &own, labels.as_deref(), search)?;
                    for (row, found) in rows.into_iter().zip(found) {
                        of_rows[row as usize] = (part, found);
                        matched[row as usize] = true;
                    }
                }
            }
        }
        let mut pairs = Self::default();
        for (left, (part, found)) in of_rows.into_iter().enumerate() {
            let direction = vectors[left * dimension..(left + 1) * dimension].iter();
            let part = &build.parts.get(part);
            let label = labels.as_ref().map(|labels| labels[left]);
            let has_direction = || generel_model::search::cosine(direction.as_slice(), direction.as_slice()).is_some();
            let may_match = |row: u32| build.may_match(label, row);
            pairs.of_row(left as u32, part.filter(|_| matched[left]), found, options, (&has_direction, &may_match));
        }
        Ok(pairs)
    }

    fn of_row(
        &mut self,
        left: u32,
        part: Option<&Part>,
        found: Vec<Neighbor>,
        options: &SimilarityJoinOptions,
        (has_direction, may_match): (&dyn Fn() -> bool, &dyn Fn(u32) -> bool),
    ) {
        match options.join_type {
            JoinType::LeftSemi if !found.is_empty() => self.push(left, None, None, None),
            JoinType::LeftAnti if found.is_empty() => self.push(left, None, None, None),
            JoinType::LeftSemi | JoinType::LeftAnti => {}
            JoinType::Left if found.is_empty() => self.push(left, None, None, None),
            _ => {
                let Some(part) = part else { return };
                let may_match = |index: &u32| may_match(part.row(*index));
                let unscored: Vec<u32> = match options.candidates {
                    None | Some(0) => Vec::new(),
                    Some(most) => {
                        // Without a direction itself it has no score with any row.
                        let all = if has_direction() { part.without_direction() } else { part.in_order() };
                        all.iter().copied().filter(may_match).take(most).collect()
                    }
                };
                let (scored, without) = options.chosen(found.len(), unscored.len());
                let scored = found[..scored].iter().map(|neighbor| (neighbor.index, Some(neighbor.score)));
                let all = scored.chain(unscored[..without].iter().map(|index| (*index, None)));
                for (rank, (index, score)) in all.enumerate() {
                    self.push(left, Some(part.row(index)), score, Some(rank as i32 + 1));
                }
            }
        }
    }

    /// Some of the pairs as rows.
    pub(super) fn rows(
        &self,
        some: std::ops::Range<usize>,
        probe: &RecordBatch,
        build: &RecordBatch,
        options: &SimilarityJoinOptions,
        schema: &SchemaRef,
    ) -> Result<RecordBatch> {
        let left = UInt32Array::from(self.left[some.clone()].to_vec());
        let right = UInt32Array::from(self.right[some.clone()].to_vec());
        let (lefts, rights) = (probe.num_columns(), build.num_columns());
        let column = |i: usize| -> Result<ArrayRef> {
            Ok(if i < lefts {
                take(probe.column(i), &left, None)?
            } else if i < lefts + rights {
                take(build.column(i - lefts), &right, None)?
            } else if i == lefts + rights {
                Arc::new(Float32Array::from(self.scores[some.clone()].to_vec()))
            } else {
                Arc::new(Int32Array::from(self.ranks[some.clone()].to_vec()))
            })
        };
        let all = if options.is_semi() { lefts } else { lefts + rights + 2 };
        let columns = match &options.projection {
            Some(columns) => columns.iter().map(|(i, _)| column(*i)).collect::<Result<Vec<_>>>()?,
            None => (0..all).map(column).collect::<Result<Vec<_>>>()?,
        };
        let rows = arrow::array::RecordBatchOptions::new().with_row_count(Some(left.len()));
        Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &rows)?)
    }
}
