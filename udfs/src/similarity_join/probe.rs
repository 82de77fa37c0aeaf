//! The left side as it streams past a build side: what each piece of it gives.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use datafusion::common::runtime::SpawnedTask;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::metrics::{Count, Time};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};

use super::gather::{Spilled, share};
use super::merge::{Held, joined};
use super::options::SimilarityJoinOptions;
use super::pairs::{Found, Pairs};
use super::sides::{BuildSide, bytes};

/// Products of two numbers in one piece of work: a second or so.
const WORK: usize = 100_000_000_000;
/// Left rows of a piece, at least and at most.
const LEAST_ROWS: usize = 256;
const MOST_ROWS: usize = 16384;
/// Pairs that a piece should not give more of: 24 bytes each.
const MOST_PAIRS: usize = 4 << 20;
/// Bytes of left rows, and of right rows, that are compared with each other where the right side is in files.
const HELD_BYTES: usize = 256 << 20;
const PART_BYTES: usize = 64 << 20;

/// What the parts of a join share.
#[derive(Clone)]
pub(super) struct Probe {
    pub(super) options: SimilarityJoinOptions,
    pub(super) context: Arc<TaskContext>,
    pub(super) rows: Count,
    pub(super) compute: Time,
    /// Partitions of the left side: they share the memory.
    pub(super) partitions: usize,
}

/// A reservation of memory for a part of a join.
pub(super) fn reservation(context: &TaskContext) -> MemoryReservation {
    MemoryConsumer::new("SimilarityJoinExec part").register(context.memory_pool())
}

/// The left side past a build side in memory.
pub(super) fn past_whole(
    left: SendableRecordBatchStream,
    build: Arc<BuildSide>,
    probe: Probe,
) -> BoxStream<'static, Result<Found>> {
    struct State {
        left: SendableRecordBatchStream,
        batch: Option<RecordBatch>,
        /// Pairs that a left row gave, so far.
        density: f64,
    }
    let state = State { left, batch: None, density: if probe.options.k.is_some() { 0.0 } else { 65536.0 } };
    let pieces = stream::try_unfold((state, build, probe), |(mut state, build, probe)| async move {
        let batch = match state.batch.take() {
            Some(batch) => batch,
            None => match state.left.next().await.transpose()? {
                Some(batch) => {
                    probe.rows.add(batch.num_rows());
                    batch
                }
                None => return Ok(None),
            },
        };
        let by_work = WORK / build.size().max(1);
        let by_pairs = (MOST_PAIRS as f64 / state.density.max(1.0)) as usize;
        let rows = by_work.clamp(LEAST_ROWS, MOST_ROWS).min(by_pairs.max(1)).min(batch.num_rows());
        if rows < batch.num_rows() {
            state.batch = Some(batch.slice(rows, batch.num_rows() - rows));
        }
        let piece = batch.slice(0, rows);
        let (options, timer, side) = (probe.options.clone(), probe.compute.clone(), Arc::clone(&build));
        // On a thread that may block: seconds of arithmetic do not belong on the runtime's workers.
        let searched = SpawnedTask::spawn_blocking(move || {
            let _timer = timer.timer();
            let pairs = Pairs::of(&piece, &side, &options)?;
            Ok(Found { left: piece, right: side.rows.clone(), pairs })
        });
        let found = joined(searched).await?;
        if rows > 0 && probe.options.k.is_none() {
            state.density = found.pairs.len() as f64 / rows as f64;
        }
        Ok(Some((found, (state, build, probe))))
    });
    pieces.boxed()
}

/// The left side past a build side in files: as many left rows as there is memory for, all files, the next left rows.
pub(super) fn past_spilled(
    left: SendableRecordBatchStream,
    files: Arc<Spilled>,
    probe: Probe,
) -> BoxStream<'static, Result<Found>> {
    let (left_schema, seen) = (left.schema(), probe.rows.clone());
    let left = left.inspect_ok(move |batch| seen.add(batch.num_rows()));
    let left: SendableRecordBatchStream = Box::pin(RecordBatchStreamAdapter::new(left_schema, left));
    let pieces = stream::try_unfold((left, files, probe), |(mut left, files, probe)| async move {
        let most = share(&probe.context, 4 * probe.partitions, HELD_BYTES);
        // Once as batches, once as one.
        let Some((rows, reservation)) = next_rows(&mut left, &probe, most, |b| 2 * bytes(b)).await? else {
            return Ok(None);
        };
        let found = compare_all(rows, &files, reservation, probe.clone())?;
        Ok::<_, DataFusionError>(Some((found, (left, files, probe))))
    });
    pieces.try_flatten().boxed()
}

/// The next batches of a side as one, until they take so many bytes; `None` at its end.
async fn next_rows(
    side: &mut SendableRecordBatchStream,
    probe: &Probe,
    most: usize,
    memory: impl Fn(&RecordBatch) -> usize,
) -> Result<Option<(RecordBatch, MemoryReservation)>> {
    let reservation = reservation(&probe.context);
    let mut batches = Vec::new();
    while let Some(batch) = side.next().await.transpose()? {
        reservation.try_grow(memory(&batch))?;
        batches.push(batch);
        if reservation.size() >= most {
            break;
        }
    }
    if batches.is_empty() {
        return Ok(None);
    }
    Ok(Some((concat_batches(&side.schema(), &batches)?, reservation)))
}

/// Some left rows past all files.
fn compare_all(
    rows: RecordBatch,
    files: &Spilled,
    left_reservation: MemoryReservation,
    probe: Probe,
) -> Result<BoxStream<'static, Result<Found>>> {
    let right = files.read()?;
    let held = Held::new(rows, probe.options.clone());
    let state = Some((held, right, left_reservation));
    let founds = stream::try_unfold((state, probe), |(state, probe)| async move {
        let Some((mut held, mut right, left_reservation)) = state else { return Ok(None) };
        let most = share(&probe.context, 8 * probe.partitions, PART_BYTES);
        let memory = |batch: &RecordBatch| BuildSide::memory(batch, &probe.options);
        let Some((part, reservation)) = next_rows(&mut right, &probe, most, memory).await? else {
            return Ok(Some((held.finish(&right.schema()), (None, probe))));
        };
        let timer = probe.compute.clone();
        let compared = SpawnedTask::spawn_blocking(move || {
            let _timer = timer.timer();
            let found = held.compare(part, reservation)?;
            Ok((held, found))
        });
        let (held, found) = joined(compared).await?;
        let founds: Vec<Found> = found.into_iter().collect();
        Ok::<_, DataFusionError>(Some((founds, (Some((held, right, left_reservation)), probe))))
    });
    Ok(founds.map_ok(|founds| stream::iter(founds).map(Ok)).try_flatten().boxed())
}
