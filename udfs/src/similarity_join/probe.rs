//! The left side as it streams past a build side: what each piece of it gives.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use datafusion::common::runtime::SpawnedTask;
use datafusion::error::Result;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::metrics::{Count, Time};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};

use super::gather::{Spilled, share};
use super::merge::{Held, joined};
use super::options::SimilarityJoinOptions;
use super::pairs::Pairs;
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

/// Pairs of some left rows with some right rows.
pub(super) struct Found {
    pub(super) left: RecordBatch,
    pub(super) right: RecordBatch,
    pub(super) pairs: Pairs,
}

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
    build: Arc<super::gather::Build>,
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
        let super::gather::Build::Whole(side) = build.as_ref() else { return Ok(None) };
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
        let by_work = WORK / side.size().max(1);
        let by_pairs = (MOST_PAIRS as f64 / state.density.max(1.0)) as usize;
        let rows = by_work.clamp(LEAST_ROWS, MOST_ROWS).min(by_pairs.max(1)).min(batch.num_rows());
        if rows < batch.num_rows() {
            state.batch = Some(batch.slice(rows, batch.num_rows() - rows));
        }
        let piece = batch.slice(0, rows);
        let (options, timer, shared) = (probe.options.clone(), probe.compute.clone(), Arc::clone(&build));
        // On a thread that may block: seconds of arithmetic do not belong on the runtime's workers.
        let searched = SpawnedTask::spawn_blocking(move || {
            let _timer = timer.timer();
            let super::gather::Build::Whole(side) = shared.as_ref() else {
                return datafusion::common::internal_err!("the build side is in files");
            };
            let pairs = Pairs::of(&piece, side, &options)?;
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
    build: Arc<super::gather::Build>,
    probe: Probe,
) -> BoxStream<'static, Result<Found>> {
    let pieces = stream::try_unfold((left, build, probe), |(mut left, build, probe)| async move {
        let super::gather::Build::Spilled(spilled) = build.as_ref() else { return Ok(None) };
        let Some((rows, reservation)) = next_rows(&mut left, &probe).await? else { return Ok(None) };
        let found = compare_all(rows, spilled, reservation, probe.clone())?;
        Ok::<_, datafusion::error::DataFusionError>(Some((found, (left, build, probe))))
    });
    pieces.try_flatten().boxed()
}

async fn next_rows(
    left: &mut SendableRecordBatchStream,
    probe: &Probe,
) -> Result<Option<(RecordBatch, MemoryReservation)>> {
    let most = share(&probe.context, 4 * probe.partitions, HELD_BYTES);
    let reservation = reservation(&probe.context);
    let mut batches = Vec::new();
    while let Some(batch) = left.next().await.transpose()? {
        probe.rows.add(batch.num_rows());
        // Once as batches, once as one.
        reservation.try_grow(2 * bytes(&batch))?;
        batches.push(batch);
        if reservation.size() >= most {
            break;
        }
    }
    match batches.first() {
        Some(first) => Ok(Some((concat_batches(&first.schema(), &batches)?, reservation))),
        None => Ok(None),
    }
}

/// Some left rows past all files.
fn compare_all(
    rows: RecordBatch,
    spilled: &Spilled,
    left_reservation: MemoryReservation,
    probe: Probe,
) -> Result<BoxStream<'static, Result<Found>>> {
    let right = spilled.read()?;
    let schema = right.schema();
    let held = Held::new(rows, probe.options.clone());
    let state = Some((held, right, left_reservation));
    let founds = stream::try_unfold((state, probe, schema), |(state, probe, schema)| async move {
        let Some((mut held, mut right, left_reservation)) = state else { return Ok(None) };
        let Some((part, reservation)) = next_part(&mut right, &probe, &schema).await? else {
            let (left, all) = held.finish(&schema);
            let founds = all.into_iter().map(|(pairs, right)| Found { left: left.clone(), right, pairs }).collect();
            return Ok(Some((founds, (None, probe, schema))));
        };
        let timer = probe.compute.clone();
        let compared = SpawnedTask::spawn_blocking(move || {
            let _timer = timer.timer();
            let found = held.compare(part, reservation)?;
            Ok((held, found))
        });
        let (held, found) = joined(compared).await?;
        let founds: Vec<Found> =
            found.into_iter().map(|(pairs, right)| Found { left: held.left.clone(), right, pairs }).collect();
        Ok::<_, datafusion::error::DataFusionError>(Some((
            founds,
            (Some((held, right, left_reservation)), probe, schema),
        )))
    });
    Ok(founds.map_ok(|founds| stream::iter(founds).map(Ok)).try_flatten().boxed())
}

async fn next_part(
    right: &mut SendableRecordBatchStream,
    probe: &Probe,
    schema: &SchemaRef,
) -> Result<Option<(RecordBatch, MemoryReservation)>> {
    let most = share(&probe.context, 8 * probe.partitions, PART_BYTES);
    let reservation = reservation(&probe.context);
    let mut batches = Vec::new();
    while let Some(batch) = right.next().await.transpose()? {
        reservation.try_grow(BuildSide::memory(&batch, probe.options.right_vector))?;
        batches.push(batch);
        if reservation.size() >= most {
            break;
        }
    }
    if batches.is_empty() {
        return Ok(None);
    }
    Ok(Some((concat_batches(schema, &batches)?, reservation)))
}
