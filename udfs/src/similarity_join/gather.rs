//! The build side as it is read: in memory while the pool has room, then in spill files.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SpillFile;
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryReservation};
use datafusion::physical_plan::metrics::{Count, RatioMetrics, SpillMetrics};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, SendableRecordBatchStream, SpillManager};
use futures::StreamExt;
use futures::stream::{self, TryStreamExt};

use super::options::SimilarityJoinOptions;
use super::sides::BuildSide;

/// Rows of a spilled batch: what is read back is as small as a small memory pool needs it.
const SPILLED_ROWS: usize = 1024;

/// The build side of a join, shared by all partitions of the probe side.
#[derive(Clone)]
pub(super) enum Build {
    /// In memory.
    Whole(Arc<BuildSide>),
    /// In files, in the order of its partitions.
    Spilled(Arc<Spilled>),
}

/// A build side that the memory pool has no room for.
pub(super) struct Spilled {
    manager: SpillManager,
    files: Vec<Arc<dyn SpillFile>>,
}

impl Spilled {
    /// All its batches in order, from disk.
    pub(super) fn read(&self) -> Result<SendableRecordBatchStream> {
        let (manager, files) = (self.manager.clone(), self.files.clone());
        // One after the other: each opens when the one before has ended.
        let batches =
            stream::iter(files).map(move |file| manager.read_spill_as_stream_unbuffered(file, None)).try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(self.manager.schema()), batches)))
    }
}

/// Reads all partitions concurrently and keeps them in partition order.
///
/// # Errors
/// When an input fails, or there is neither memory nor disk for what it gives.
pub(super) async fn gather(
    plan: &Arc<dyn ExecutionPlan>,
    options: &SimilarityJoinOptions,
    context: &Arc<TaskContext>,
    metrics: SpillMetrics,
    (model_id, found): (&str, Option<RatioMetrics>),
    on_device: Count,
) -> Result<Build> {
    let partitions = plan.output_partitioning().partition_count();
    let manager = SpillManager::new(context.runtime_env(), metrics, plan.schema());
    let streams = (0..partitions).map(|p| {
        let (stream, manager) = (plan.execute(p, Arc::clone(context)), manager.clone());
        let reservation =
            MemoryConsumer::new("SimilarityJoinExec build side").with_can_spill(true).register(context.memory_pool());
        async move {
            let mut part = Part { manager, reservation, batches: Vec::new(), files: Vec::new() };
            let mut stream = stream?;
            while let Some(batch) = stream.next().await {
                part.push(batch?, options)?;
            }
            Ok::<_, DataFusionError>(part)
        }
    });
    let mut parts: Vec<Part> = stream::iter(streams).buffered(partitions.max(1)).try_collect().await?;
    if parts.iter().all(|part| part.files.is_empty()) {
        let all = concat_batches(&plan.schema(), parts.iter().flat_map(|p| &p.batches))?;
        let needed = BuildSide::memory(&all, options);
        let reservation = MemoryConsumer::new("SimilarityJoinExec build side").register(context.memory_pool());
        // What the batches took is counted twice for a moment, as it is there twice.
        if reservation.try_grow(needed).is_ok() {
            drop(parts);
            let mut side = BuildSide::of(all, options, reservation)?;
            if let Some((recall, found)) = options.recall.zip(found) {
                side = side.indexed(model_id, recall, found, context).await?;
            }
            let (side, rows) = side.on_device(context).await?;
            on_device.add(rows);
            return Ok(Build::Whole(Arc::new(side)));
        }
    }
    for part in &mut parts {
        part.spill()?;
    }
    let files = parts.into_iter().flat_map(|part| part.files).collect();
    Ok(Build::Spilled(Arc::new(Spilled { manager, files })))
}

/// One partition.
struct Part {
    manager: SpillManager,
    reservation: MemoryReservation,
    batches: Vec<RecordBatch>,
    files: Vec<Arc<dyn SpillFile>>,
}

impl Part {
    fn push(&mut self, batch: RecordBatch, options: &SimilarityJoinOptions) -> Result<()> {
        let needed = BuildSide::memory(&batch, options);
        self.batches.push(batch);
        if self.files.is_empty() && self.reservation.try_grow(needed).is_ok() { Ok(()) } else { self.spill() }
    }

    fn spill(&mut self) -> Result<()> {
        let slices = self.batches.drain(..).flat_map(|batch| {
            let rows = batch.num_rows();
            (0..rows).step_by(SPILLED_ROWS).map(move |at| batch.slice(at, SPILLED_ROWS.min(rows - at)))
        });
        let slices: Vec<RecordBatch> = slices.collect();
        self.files.extend(self.manager.spill_record_batch_and_finish(&slices, "SimilarityJoinExec build side")?);
        self.reservation.free();
        Ok(())
    }
}

/// Bytes of a memory pool that one part of a join may take, of so many parts; `most` where there is no limit.
pub(super) fn share(context: &TaskContext, parts: usize, most: usize) -> usize {
    match context.memory_pool().memory_limit() {
        MemoryLimit::Finite(bytes) => (bytes / parts).min(most),
        _ => most,
    }
}
