//! `SimilarityJoinExec`: for each row of the left (probe) side the k most similar rows of the right (build) side.
//!
//! The build side is gathered once; the probe side streams through, partition by partition. `generel_model::search`
//! finds the matches by blocked matrix products with the selection fused in, so no score matrix is ever held. Rows whose
//! vector is NULL or has no direction match nothing. Ties go to the earlier row of the build side.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Float32Array, Int32Array, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, internal_err, plan_err};
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning, PlanProperties,
    ReplaceChildrenOptions,
};
use futures::{StreamExt, TryStreamExt, stream};
use generel_model::search::{Neighbor, SearchOptions};
use generel_schemas::vector::{VectorType, compatible};
use tokio::sync::OnceCell;

use super::build::{BuildSide, present_vectors, without_column};
use crate::error::{execution, plan};

/// Probe rows searched at a time: one task of a second at most on a build side of a hundred thousand rows.
const PROBE_ROWS: usize = 2048;

/// What to join and how.
#[derive(Debug, Clone, PartialEq)]
pub struct SimilarityJoinOptions {
    /// Vector column of the left side.
    pub left_vector: usize,
    /// Vector column of the right side.
    pub right_vector: usize,
    /// Neighbors a left row.
    pub k: usize,
    /// Least cosine of a neighbor.
    pub min_score: f32,
    /// With this column of the right side, k counts its distinct values and each shows its best row.
    pub right_group: Option<usize>,
}

/// The similarity join. Its output is the left columns as `left_…`, the right columns as `right_…` (both without their
/// vectors), `similarity_score` Float32 and `rank` Int32 from 1.
#[derive(Debug)]
pub struct SimilarityJoinExec {
    left: Arc<dyn ExecutionPlan>,
    right: Arc<dyn ExecutionPlan>,
    options: SimilarityJoinOptions,
    vector_type: VectorType,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
    build: Arc<OnceCell<Arc<BuildSide>>>,
}

impl fmt::Debug for BuildSide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BuildSide({} rows)", self.rows.num_rows())
    }
}

impl SimilarityJoinExec {
    /// Joins two plans.
    ///
    /// # Errors
    /// When the vector columns are not typed, or of two models, or k is 0.
    pub fn try_new(
        left: Arc<dyn ExecutionPlan>,
        right: Arc<dyn ExecutionPlan>,
        options: SimilarityJoinOptions,
    ) -> Result<Self> {
        let vector_type = vector_type(&left.schema(), &right.schema(), &options)?;
        Self::try_new_typed(left, right, options, vector_type)
    }

    /// Joins two plans whose vectors are stated to be of a type. A plan that came through protobuf needs this: the
    /// wire format of functions has no field metadata, so `embed` comes back without its model.
    ///
    /// # Errors
    /// When a column states another type, or cannot be of this one.
    pub(super) fn try_new_typed(
        left: Arc<dyn ExecutionPlan>,
        right: Arc<dyn ExecutionPlan>,
        options: SimilarityJoinOptions,
        vector_type: VectorType,
    ) -> Result<Self> {
        if options.k == 0 {
            return plan_err!("k must be at least 1");
        }
        let stated = vector_type.to_field("the plan's vector", true);
        for (schema, index) in [(left.schema(), options.left_vector), (right.schema(), options.right_vector)] {
            let field = field_of(&schema, index)?;
            if VectorType::from_field(field).is_ok() {
                compatible(&stated, field).map_err(plan)?;
            } else if field.data_type() != stated.data_type() {
                return plan_err!("column '{}' is {}, not {}", field.name(), field.data_type(), stated.data_type());
            }
        }
        let schema = output_schema(&left.schema(), &right.schema(), &options);
        let partitions = left.output_partitioning().partition_count();
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(partitions),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Ok(Self {
            left,
            right,
            options,
            vector_type,
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
            build: Arc::default(),
        })
    }

    /// What it joins and how.
    pub fn options(&self) -> &SimilarityJoinOptions {
        &self.options
    }

    /// The type of the vectors of both sides.
    pub fn vector_type(&self) -> &VectorType {
        &self.vector_type
    }
}

/// The type that the vector columns of two tables share.
///
/// # Errors
/// When they are not typed or of two models.
pub(super) fn vector_type(left: &Schema, right: &Schema, options: &SimilarityJoinOptions) -> Result<VectorType> {
    compatible(field_of(left, options.left_vector)?, field_of(right, options.right_vector)?).map_err(plan)
}

fn field_of(schema: &Schema, index: usize) -> Result<&Field> {
    match schema.fields().get(index) {
        Some(field) => Ok(field),
        None => internal_err!("the vector column {index} is out of range"),
    }
}

/// The schema of the join of two tables.
pub(super) fn output_schema(left: &Schema, right: &Schema, options: &SimilarityJoinOptions) -> SchemaRef {
    let side = |schema: &Schema, prefix: &str, vector: usize| -> Vec<Field> {
        let others = schema.fields().iter().enumerate().filter(|(i, _)| *i != vector);
        others.map(|(_, f)| f.as_ref().clone().with_name(format!("{prefix}{}", f.name()))).collect()
    };
    let mut fields = side(left, "left_", options.left_vector);
    fields.extend(side(right, "right_", options.right_vector));
    fields.push(Field::new("similarity_score", DataType::Float32, false));
    fields.push(Field::new("rank", DataType::Int32, false));
    Arc::new(Schema::new(fields))
}

impl DisplayAs for SimilarityJoinExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        let (left, right) = (self.left.schema(), self.right.schema());
        write!(
            f,
            "SimilarityJoinExec: strategy=exact, k={}, min_score={}, on={} ~ {}",
            self.options.k,
            self.options.min_score,
            left.field(self.options.left_vector).name(),
            right.field(self.options.right_vector).name()
        )?;
        match self.options.right_group {
            Some(group) => write!(f, ", k_counts=distinct {}", right.field(group).name()),
            None => Ok(()),
        }
    }
}

impl ExecutionPlan for SimilarityJoinExec {
    fn name(&self) -> &'static str {
        "SimilarityJoinExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.left, &self.right]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![true, false]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let [left, right] = <[_; 2]>::try_from(children)
            .map_err(|_| DataFusionError::Internal("SimilarityJoinExec has two children".into()))?;
        Ok(Arc::new(Self::try_new_typed(left, right, self.options.clone(), self.vector_type.clone())?))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        let mode = datafusion::physical_plan::execution_plan::ChildrenPropertiesMode::Recompute;
        self.replace_children(children, ReplaceChildrenOptions::new(mode))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let probe = self.left.execute(partition, Arc::clone(&context))?;
        let baseline = BaselineMetrics::new(&self.metrics, partition);
        let probe_rows = MetricBuilder::new(&self.metrics).counter("probe_rows", partition);
        let build_rows = MetricBuilder::new(&self.metrics).counter("build_rows", partition);
        let (cell, right) = (Arc::clone(&self.build), Arc::clone(&self.right));
        let (options, schema) = (self.options.clone(), self.schema());
        let for_batches = schema.clone();
        let batches = stream::once(async move {
            let gathered = cell
                .get_or_try_init(|| async {
                    let side = BuildSide::gather(&right, options.right_vector, options.right_group, &context).await?;
                    Ok::<_, DataFusionError>(Arc::new(side))
                })
                .await?;
            let build = Arc::clone(gathered);
            if partition == 0 {
                build_rows.add(build.rows.num_rows());
            }
            let pieces = probe.map_ok(|batch| stream::iter(slices(batch)).map(Ok)).try_flatten();
            Ok::<_, DataFusionError>(pieces.and_then(move |piece| {
                probe_rows.add(piece.num_rows());
                search(piece, Arc::clone(&build), options.clone(), for_batches.clone(), baseline.clone())
            }))
        })
        .try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, batches)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

fn slices(batch: RecordBatch) -> Vec<RecordBatch> {
    let rows = batch.num_rows();
    (0..rows).step_by(PROBE_ROWS).map(|at| batch.slice(at, PROBE_ROWS.min(rows - at))).collect()
}

/// Searches on a thread that may block: seconds of arithmetic do not belong on the runtime's workers.
async fn search(
    probe: RecordBatch,
    build: Arc<BuildSide>,
    options: SimilarityJoinOptions,
    schema: SchemaRef,
    baseline: BaselineMetrics,
) -> Result<RecordBatch> {
    let searched = tokio::task::spawn_blocking(move || {
        let _timer = baseline.elapsed_compute().timer();
        let (kept, queries) = present_vectors(&probe, options.left_vector)?;
        let search = SearchOptions { k: Some(options.k), ties: false, min_score: options.min_score };
        let found = build.corpus.search(&queries, search).map_err(execution)?;
        let batch = assemble(&probe, &kept, &build, &options, found, schema)?;
        baseline.record_output(batch.num_rows());
        Ok(batch)
    });
    searched.await.map_err(|e| DataFusionError::Execution(format!("the similarity search panicked: {e}")))?
}

fn assemble(
    probe: &RecordBatch,
    kept: &UInt32Array,
    build: &BuildSide,
    options: &SimilarityJoinOptions,
    found: Vec<Vec<Neighbor>>,
    schema: SchemaRef,
) -> Result<RecordBatch> {
    let total = found.iter().map(Vec::len).sum();
    let (mut left, mut right) = (Vec::with_capacity(total), Vec::with_capacity(total));
    let (mut scores, mut ranks) = (Vec::with_capacity(total), Vec::with_capacity(total));
    for (query, neighbors) in found.iter().enumerate() {
        for (rank, neighbor) in neighbors.iter().enumerate() {
            left.push(kept.value(query));
            right.push(neighbor.index);
            scores.push(neighbor.score);
            ranks.push(rank as i32 + 1);
        }
    }
    let left = take_record_batch(&without_column(probe, options.left_vector)?, &UInt32Array::from(left))?;
    let right = take_record_batch(&build.rows, &UInt32Array::from(right))?;
    let mut columns = left.columns().to_vec();
    columns.extend_from_slice(right.columns());
    columns.push(Arc::new(Float32Array::from(scores)));
    columns.push(Arc::new(Int32Array::from(ranks)));
    Ok(RecordBatch::try_new(schema, columns)?)
}
