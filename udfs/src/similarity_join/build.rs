//! The build side: gathered once under the memory pool, shared by all partitions of the probe side.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch, UInt32Array};
use arrow::compute::concat_batches;
use arrow::row::{RowConverter, SortField};
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use futures::StreamExt;
use futures::stream::{self, TryStreamExt};
use generel_model::search::Corpus;

use crate::error::execution;
use crate::vectors::values;

/// The build side in memory.
pub(super) struct BuildSide {
    /// Its rows without the vector column.
    pub(super) rows: RecordBatch,
    /// Its vectors; rows of NULL vectors are left out of both.
    pub(super) corpus: Corpus,
    _reservation: MemoryReservation,
}

impl BuildSide {
    /// Reads all partitions concurrently and keeps them in partition order, so that ties fall the same way every time.
    ///
    /// # Errors
    /// When an input fails or the memory pool has no room.
    pub(super) async fn gather(
        plan: &Arc<dyn ExecutionPlan>,
        vector: usize,
        group: Option<usize>,
        context: &Arc<TaskContext>,
    ) -> Result<Self> {
        let reservation = MemoryConsumer::new("SimilarityJoinExec build side").register(context.memory_pool());
        let partitions = plan.output_partitioning().partition_count();
        let streams = (0..partitions).map(|p| {
            let (stream, reservation) = (plan.execute(p, Arc::clone(context)), &reservation);
            async move {
                let mut batches = Vec::new();
                let mut stream = stream?;
                while let Some(batch) = stream.next().await {
                    let batch = batch?;
                    // Once as batches, once more as one batch and one matrix.
                    reservation.try_grow(2 * batch.get_array_memory_size())?;
                    batches.push(batch);
                }
                Ok::<_, datafusion::error::DataFusionError>(batches)
            }
        });
        let parts: Vec<Vec<RecordBatch>> = stream::iter(streams).buffered(partitions.max(1)).try_collect().await?;
        let all = concat_batches(&plan.schema(), parts.iter().flatten())?;
        drop(parts);
        Self::of(all, vector, group, reservation)
    }

    fn of(all: RecordBatch, vector: usize, group: Option<usize>, reservation: MemoryReservation) -> Result<Self> {
        let (kept, vectors) = present_vectors(&all, vector)?;
        let vectors = vectors.into_owned();
        let dimension = all.column(vector).as_fixed_size_list().value_length() as usize;
        let all = if kept.len() == all.num_rows() { all } else { arrow::compute::take_record_batch(&all, &kept)? };
        let groups = group.map(|g| group_numbers(&all, g)).transpose()?;
        let rows = without_column(&all, vector)?;
        // The matrix, and at most as much again packed for the search.
        reservation.try_resize(rows.get_array_memory_size() + 2 * vectors.len() * size_of::<f32>())?;
        let corpus = Corpus::new(vectors, dimension, groups, None).map_err(execution)?;
        Ok(Self { rows, corpus, _reservation: reservation })
    }
}

/// Indices and vectors of the rows whose vector is not NULL.
pub(super) fn present_vectors(batch: &RecordBatch, vector: usize) -> Result<(UInt32Array, Cow<'_, [f32]>)> {
    let array = batch.column(vector).as_fixed_size_list();
    let all = values(array)?;
    if array.null_count() == 0 {
        return Ok(((0..batch.num_rows() as u32).collect(), all.into()));
    }
    let dimension = array.value_length() as usize;
    let kept: Vec<u32> = (0..array.len()).filter(|i| array.is_valid(*i)).map(|i| i as u32).collect();
    let vectors: Vec<f32> =
        kept.iter().flat_map(|i| &all[*i as usize * dimension..(*i as usize + 1) * dimension]).copied().collect();
    Ok((kept.into(), vectors.into()))
}

/// The batch without one column.
pub(super) fn without_column(batch: &RecordBatch, column: usize) -> Result<RecordBatch> {
    let others: Vec<usize> = (0..batch.num_columns()).filter(|i| *i != column).collect();
    Ok(batch.project(&others)?)
}

/// Numbers the distinct values of a column.
fn group_numbers(batch: &RecordBatch, column: usize) -> Result<Vec<u32>> {
    let array = batch.column(column);
    let converter = RowConverter::new(vec![SortField::new(array.data_type().clone())])?;
    let rows = converter.convert_columns(std::slice::from_ref(array))?;
    let mut numbers = std::collections::HashMap::with_capacity(rows.num_rows());
    Ok(rows
        .iter()
        .map(|row| {
            let next = numbers.len() as u32;
            *numbers.entry(row).or_insert(next)
        })
        .collect())
}
