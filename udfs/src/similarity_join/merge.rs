//! Left rows that are held while the right side goes by in parts: few left rows, or a right side too large to be held.
//! Memory is the left rows and the best of the right ones so far.

use std::sync::Arc;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::SchemaRef;
use datafusion::common::runtime::SpawnedTask;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::metrics::Count;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use futures::StreamExt;

use super::options::SimilarityJoinOptions;
use super::pairs::{Found, Pairs};
use super::row_order::RowOrder;
use super::sides::{BuildSide, numbers};

/// Left rows and what was found for them in the parts of the right side that went by.
pub(super) struct Held {
    left: RecordBatch,
    options: SimilarityJoinOptions,
    matched: Vec<bool>,
    /// With a k: the best pairs so far, and the right rows that they name.
    best: Option<(Pairs, RecordBatch)>,
}

impl Held {
    pub(super) fn new(left: RecordBatch, options: SimilarityJoinOptions) -> Self {
        Self { matched: vec![false; left.num_rows()], left, options, best: None }
    }

    /// Compares the rows with a part of the right side. Gives the pairs that are certain already: without a k, all.
    ///
    /// # Errors
    /// When the vectors are not of one dimension, or there is no memory for the part.
    pub(super) fn compare(&mut self, part: RecordBatch, reservation: MemoryReservation) -> Result<Option<Found>> {
        let part = BuildSide::of(part, &self.options, reservation)?;
        let pairs = Pairs::of_part(&self.left, &part, &self.options)?;
        pairs.left.iter().for_each(|i| self.matched[*i as usize] = true);
        if self.options.is_semi() {
            return Ok(None);
        }
        if self.options.k.is_none() {
            return Ok(Some(self.found(pairs, part.rows)));
        }
        let named = take_record_batch(&part.rows, &UInt32Array::from(pairs.right.clone()))?;
        let found = (Pairs { right: (0..pairs.len() as u32).map(Some).collect(), ..pairs }, named);
        self.merge(found)?;
        Ok(None)
    }

    /// Adds what another has found for the same rows in later parts of the right side.
    pub(super) fn merge_all(&mut self, other: Self) -> Result<()> {
        self.matched.iter_mut().zip(&other.matched).for_each(|(own, other)| *own |= other);
        other.best.map_or(Ok(()), |best| self.merge(best))
    }

    /// Keeps the best; of equal ones the first by their [`RowOrder`].
    fn merge(&mut self, (pairs, rows): (Pairs, RecordBatch)) -> Result<()> {
        let (before, named) = match self.best.take() {
            Some(best) => best,
            None => (Pairs::default(), RecordBatch::new_empty(rows.schema())),
        };
        let rows = concat_batches(&rows.schema(), [&named, &rows])?;
        let groups = self.options.right_group.map(|g| numbers(rows.column(g))).transpose()?;
        let left: Vec<u32> = before.left.into_iter().chain(pairs.left).collect();
        let scores: Vec<Option<f32>> = before.scores.into_iter().chain(pairs.scores).collect();
        let mut of_left: Vec<Vec<usize>> = vec![Vec::new(); self.left.num_rows()];
        left.iter().enumerate().for_each(|(i, left)| of_left[*left as usize].push(i));
        let k = self.options.k.unwrap_or(usize::MAX);
        let by_rows = RowOrder::of(&rows, self.options.right_vector);
        let (mut best, mut kept) = (Pairs::default(), Vec::new());
        for (row, mut own) in of_left.into_iter().enumerate() {
            // Pairs without a score come last.
            let score = |i: &usize| scores[*i].unwrap_or(f32::NEG_INFINITY);
            own.sort_unstable_by(|a, b| score(b).total_cmp(&score(a)).then_with(|| by_rows.compare(*a, *b)));
            if let Some(groups) = &groups {
                let mut seen = std::collections::HashSet::new();
                own.retain(|i| seen.insert(groups[*i]));
            }
            let scored = own.iter().take_while(|i| scores[**i].is_some()).count();
            let mut end = scored.min(k);
            while self.options.ties && 0 < end && end < scored && scores[own[end]] == scores[own[end - 1]] {
                end += 1;
            }
            let (end, without) = self.options.chosen(end, own.len() - scored);
            let chosen = own[..end].iter().chain(&own[scored..scored + without]);
            for (rank, i) in chosen.enumerate() {
                best.left.push(row as u32);
                best.right.push(Some(kept.len() as u32));
                best.scores.push(scores[*i]);
                best.ranks.push(Some(rank as i32 + 1));
                kept.push(*i as u32);
            }
        }
        self.best = Some((best, take_record_batch(&rows, &UInt32Array::from(kept))?));
        Ok(())
    }

    fn found(&self, pairs: Pairs, right: RecordBatch) -> Found {
        Found { left: self.left.clone(), right, pairs }
    }

    /// What is left to be given once the whole right side has gone by.
    pub(super) fn finish(mut self, right: &SchemaRef) -> Vec<Found> {
        let best = self.best.take();
        let rows = Pairs::of_left_rows(&self.matched, self.options.join_type);
        let left_rows = (rows, RecordBatch::new_empty(Arc::clone(right)));
        let all = best.into_iter().chain([left_rows]).filter(|(pairs, _)| pairs.len() > 0);
        all.map(|(pairs, right)| self.found(pairs, right)).collect()
    }
}

/// Compares the left rows with all partitions of the right side as they stream by, each in a task of its own.
///
/// # Errors
/// When an input fails or there is no memory for a batch of it.
pub(super) async fn stream_past(
    left: RecordBatch,
    right: &Arc<dyn ExecutionPlan>,
    options: &SimilarityJoinOptions,
    context: &Arc<TaskContext>,
    seen: Count,
) -> Result<Held> {
    let tasks = (0..right.output_partitioning().partition_count()).map(|p| {
        let mut held = Held::new(left.clone(), options.clone());
        let (stream, context, seen) = (right.execute(p, Arc::clone(context)), Arc::clone(context), seen.clone());
        SpawnedTask::spawn(async move {
            let mut stream: SendableRecordBatchStream = stream?;
            while let Some(batch) = stream.next().await.transpose()? {
                seen.add(batch.num_rows());
                let reservation = super::probe::reservation(&context);
                let compared = SpawnedTask::spawn_blocking(move || held.compare(batch, reservation).map(|_| held));
                held = joined(compared).await?;
            }
            Ok::<_, DataFusionError>(held)
        })
    });
    let tasks: Vec<_> = tasks.collect();
    let mut all = Held::new(left.clone(), options.clone());
    for task in tasks {
        all.merge_all(joined(task).await?)?;
    }
    Ok(all)
}

/// What a task gives.
pub(super) async fn joined<T: 'static>(task: SpawnedTask<Result<T>>) -> Result<T> {
    task.join().await.map_err(|e| DataFusionError::Execution(format!("the similarity search panicked: {e}")))?
}
