//! What a run of an alignment found, in the table `name_neighbors`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{Float32Type, Int64Type};
use datafusion::prelude::{col, lit};
use futures::StreamExt;
use generel_schemas::tables::NAME_NEIGHBORS;

use super::similar_names::{Limits, SimilarNames};
use crate::lake::{Commit, Mark, marks, provider_of};
use crate::sources::Fingerprint;
use crate::text_columns::text_columns;
use crate::{Result, Session};

/// Changes when the meaning of stored rows does: how names are read as words, which names are compared.
const VERSION: &str = "1";
/// The kinds of rows.
const LEFT: &str = "left";
const RIGHT: &str = "right";
const WORDS: &str = "words";
/// Rows of a batch that is written.
const BATCH_ROWS: usize = 65_536;

/// The alignment whose rows are kept, and what they depend on beside the names.
pub(super) struct Basis {
    alignment_id: String,
    mark: Mark,
}

impl Basis {
    pub(super) fn new(alignment_id: &str, model_id: &str, limits: Limits) -> Self {
        let Limits { objects, subjects, min_score, recall } = limits;
        let on = format!("{VERSION} {model_id} {objects} {subjects} {min_score} {recall}");
        let mark = Mark::new(format!("generel/neighbors/{alignment_id}"), Fingerprint::of(&[on.as_bytes()]).as_i64());
        Self { alignment_id: alignment_id.to_string(), mark }
    }
}

/// Neighbors of names, all by their keys.
pub(super) type Lists = HashMap<i64, Vec<(i64, f32)>>;

/// What an earlier run left, by the keys of names.
#[derive(Debug, Default)]
pub(super) struct Stored {
    pub(super) left: Lists,
    pub(super) right: Lists,
    words: Vec<(i64, i64, Option<f32>)>,
}

impl Stored {
    /// Loads it; nothing, where there is none or it depends on something else.
    ///
    /// # Errors
    /// When the lake cannot be read.
    pub(super) async fn load(session: &Session, basis: &Basis) -> Result<Self> {
        let mut all = Self::default();
        let Some(table) = session.lake.table(&NAME_NEIGHBORS).await? else { return Ok(all) };
        if marks::read(&NAME_NEIGHBORS, &table, &basis.mark.id).await? != Some(basis.mark.version) {
            return Ok(all);
        }
        // Of the version that has the mark: the session's own may be older.
        let rows = provider_of(&NAME_NEIGHBORS, table, &session.ctx().state()).await?;
        let frame = session
            .ctx()
            .read_table(rows)?
            .filter(col("alignment_id").eq(lit(&basis.alignment_id)))?
            .select_columns(&["kind", "name_key", "neighbor_key", "similarity_score"])?;
        let mut stream = frame.execute_stream().await?;
        while let Some(batch) = stream.next().await {
            all.add(&batch?)?;
        }
        Ok(all)
    }

    fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        let [kinds] = text_columns(batch)?;
        let keys = batch.column(1).as_primitive::<Int64Type>();
        let neighbors = batch.column(2).as_primitive::<Int64Type>();
        let scores = batch.column(3).as_primitive::<Float32Type>();
        for row in 0..batch.num_rows() {
            let key = keys.value(row);
            let neighbor = neighbors.is_valid(row).then(|| neighbors.value(row));
            let score = scores.is_valid(row).then(|| scores.value(row));
            if kinds.value(row) == WORDS {
                self.words.extend(neighbor.map(|n| (key, n, score)));
                continue;
            }
            let lists = if kinds.value(row) == LEFT { &mut self.left } else { &mut self.right };
            lists.entry(key).or_default().extend(neighbor.zip(score));
        }
        Ok(())
    }

    /// Pairs of names of the same words that are still there, by number.
    pub(super) fn same_words(
        &self,
        left: &HashMap<i64, usize>,
        right: &HashMap<i64, usize>,
    ) -> BTreeMap<(usize, usize), Option<f32>> {
        self.words.iter().filter_map(|(l, r, score)| Some(((*left.get(l)?, *right.get(r)?), *score))).collect()
    }
}

impl SimilarNames {
    /// Puts them in the place of what an earlier run left; `keys` are those of the left and of the right names.
    ///
    /// # Errors
    /// When the lake fails.
    pub(super) async fn store(
        &self,
        session: &Session,
        basis: &Basis,
        [left, right]: &[Vec<i64>; 2],
        run_id: &str,
    ) -> Result<()> {
        let mut rows = rows(LEFT, &self.of_left, left, right)
            .chain(rows(RIGHT, &self.of_right, right, left))
            .chain(self.same_words.iter().map(|((l, r), score)| (WORDS, left[*l], Some(right[*r]), *score)));
        let mut writer = session.lake.writer(&NAME_NEIGHBORS, Some(&basis.alignment_id)).await?;
        loop {
            let rows: Vec<_> = rows.by_ref().take(BATCH_ROWS).collect();
            if rows.is_empty() {
                break;
            }
            let columns: Vec<ArrayRef> = vec![
                Arc::new(StringArray::from(vec![basis.alignment_id.as_str(); rows.len()])),
                Arc::new(StringArray::from_iter_values(rows.iter().map(|r| r.0))),
                Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.1))),
                Arc::new(rows.iter().map(|r| r.2).collect::<Int64Array>()),
                Arc::new(rows.iter().map(|r| r.3).collect::<Float32Array>()),
            ];
            writer.write(RecordBatch::try_new(NAME_NEIGHBORS.schema(), columns)?).await?;
        }
        let commit = Commit { replace_unit: true, marks: vec![basis.mark.clone()], run_id: run_id.to_string() };
        writer.commit(commit).await?;
        Ok(())
    }
}

/// The neighbors of names as rows; a name without any is one too.
fn rows<'a>(
    kind: &'static str,
    lists: &'a [Vec<(usize, f32)>],
    own: &'a [i64],
    others: &'a [i64],
) -> impl Iterator<Item = (&'static str, i64, Option<i64>, Option<f32>)> + Send + 'a {
    lists.iter().zip(own).flat_map(move |(list, key)| {
        let none = list.is_empty().then_some((kind, *key, None, None));
        let some = list.iter().map(move |(n, score)| (kind, *key, Some(others[*n]), Some(*score)));
        none.into_iter().chain(some)
    })
}
