//! `SimilarityJoinExec`: the pairs of a left and a right row whose vectors are most similar.
//!
//! The right (build) side is gathered once; the left (probe) side streams through, partition by partition.
//! `generel_model::search` finds the matches by blocked matrix products with the selection fused in, so no score matrix is
//! ever held. Rows whose vector is NULL or has no direction match nothing. Ties go to the right
//! row whose other columns come first (`row_order`).
//! A right side that the memory pool has no room for goes to files, past which the left side goes in pieces; few left
//! rows can be held instead, and the right side streams past them.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, internal_err, plan_err};
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{
    BaselineMetrics, ExecutionPlanMetricsSet, MetricBuilder, MetricValue, MetricsSet, SpillMetrics,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning, PlanProperties,
    ReplaceChildrenOptions, common,
};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use generel_schemas::vector::{VectorType, compatible};
use tokio::sync::OnceCell;

use super::gather::{Build, gather};
use super::merge::stream_past;
use super::options::{SimilarityJoinOptions, output_schema, vector_type};
use super::pairs::Found;
use super::probe::{Probe, past_spilled, past_whole};
use crate::error::plan;

/// The metric of an approximate join: of the matches of a sample of left rows, those that were found.
const RECALL: &str = "recall_of_sample";

/// The similarity join. Its output is the left columns, the right columns, `similarity_score` Float32 and `rank` Int32 from
/// 1 for each left row, as far as they are asked for; of semi and anti joins the left columns alone.
#[derive(Debug)]
pub struct SimilarityJoinExec {
    left: Arc<dyn ExecutionPlan>,
    right: Arc<dyn ExecutionPlan>,
    options: SimilarityJoinOptions,
    vector_type: VectorType,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
    build: Arc<OnceCell<Build>>,
}

impl fmt::Debug for Build {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(side) => write!(f, "Whole({} rows)", side.rows.num_rows()),
            Self::Spilled(_) => f.write_str("Spilled"),
        }
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
        let (of_left, of_right) = (left.schema(), right.schema());
        let of_left = field_of(&of_left, options.left_vector)?;
        let vector_type = vector_type(of_left, field_of(&of_right, options.right_vector)?)?;
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
        if options.k == Some(0) {
            return plan_err!("k must be at least 1");
        }
        if options.hold_left && options.k.is_none() {
            return internal_err!("left rows are held for the best matches alone: it takes a k");
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
        let schema = output_schema(&left.schema(), &right.schema(), &options)?;
        let partitions = if options.hold_left { 1 } else { left.output_partitioning().partition_count() };
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

fn field_of(schema: &Schema, index: usize) -> Result<&Field> {
    match schema.fields().get(index) {
        Some(field) => Ok(field),
        None => internal_err!("the vector column {index} is out of range"),
    }
}

impl DisplayAs for SimilarityJoinExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        self.options.describe(&self.left.schema(), &self.right.schema(), f)
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
        vec![!self.options.hold_left, self.options.hold_left]
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
        let baseline = BaselineMetrics::new(&self.metrics, partition);
        let probe = Probe {
            options: self.options.clone(),
            context: Arc::clone(&context),
            rows: MetricBuilder::new(&self.metrics).counter("probe_rows", partition),
            compute: baseline.elapsed_compute().clone(),
            partitions: self.properties.partitioning.partition_count(),
        };
        let founds = if self.options.hold_left {
            self.hold(probe)
        } else {
            let left = self.left.execute(partition, Arc::clone(&context))?;
            self.gather(partition, left, probe)
        };
        let (schema, options) = (self.schema(), self.options.clone());
        let (of_rows, size) = (Arc::clone(&schema), context.session_config().batch_size());
        let batches = founds
            .map_ok(move |found| {
                let (schema, options) = (Arc::clone(&of_rows), options.clone());
                let pieces = (0..found.pairs.len()).step_by(size).map(move |at| {
                    let some = at..found.pairs.len().min(at + size);
                    found.pairs.rows(some, &found.left, &found.right, &options, &schema)
                });
                stream::iter(pieces)
            })
            .try_flatten()
            .inspect_ok(move |batch| baseline.record_output(batch.num_rows()));
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, batches)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

impl SimilarityJoinExec {
    /// The left side past the right one, which is gathered.
    fn gather(
        &self,
        partition: usize,
        left: SendableRecordBatchStream,
        probe: Probe,
    ) -> BoxStream<'static, Result<Found>> {
        let (cell, right) = (Arc::clone(&self.build), Arc::clone(&self.right));
        let build_rows = MetricBuilder::new(&self.metrics).counter("build_rows", partition);
        let on_device = MetricBuilder::new(&self.metrics).counter("build_rows_on_device", partition);
        let metrics = SpillMetrics::new(&self.metrics, partition);
        let model_id = self.vector_type.model_id.clone();
        let found = self.options.recall.map(|_| MetricBuilder::new(&self.metrics).ratio_metrics(RECALL, partition));
        let founds = stream::once(async move {
            let build = cell.get_or_try_init(|| async {
                let build =
                    gather(&right, &probe.options, &probe.context, metrics, (&model_id, found), on_device).await?;
                if let Build::Whole(side) = &build {
                    build_rows.add(side.rows.num_rows());
                }
                Ok::<_, DataFusionError>(build)
            });
            Ok::<_, DataFusionError>(match build.await?.clone() {
                Build::Whole(side) => past_whole(left, side, probe),
                Build::Spilled(files) => past_spilled(left, files, probe),
            })
        });
        founds.try_flatten().boxed()
    }

    /// The right side past the left one, which is held.
    fn hold(&self, probe: Probe) -> BoxStream<'static, Result<Found>> {
        let (left, right) = (Arc::clone(&self.left), Arc::clone(&self.right));
        let schema = right.schema();
        let build_rows = MetricBuilder::new(&self.metrics).counter("build_rows", 0);
        let founds = stream::once(async move {
            let reservation = super::probe::reservation(&probe.context);
            let rows = CoalescePartitionsExec::new(Arc::clone(&left)).execute(0, Arc::clone(&probe.context))?;
            let rows = common::collect(rows).await?;
            let rows = arrow::compute::concat_batches(&left.schema(), &rows)?;
            reservation.try_grow(2 * super::sides::bytes(&rows))?;
            probe.rows.add(rows.num_rows());
            let held = stream_past(rows, &right, &probe.options, &probe.context, build_rows).await?;
            Ok::<_, DataFusionError>(stream::iter(held.finish(&schema).into_iter().map(Ok)))
        });
        founds.try_flatten().boxed()
    }
}

/// What the approximate joins of a plan that has run found of the exact neighbors of a sample of rows, and how many these are.
pub fn recall_of_sample(plan: &Arc<dyn ExecutionPlan>) -> [u64; 2] {
    let of_children = plan.children().into_iter().map(recall_of_sample);
    let of_plan = plan.metrics().map(|all| all.iter().cloned().collect::<Vec<_>>()).unwrap_or_default();
    let of_plan = of_plan.iter().filter_map(|metric| match metric.value() {
        MetricValue::Ratio { name, ratio_metrics } if name == RECALL => {
            Some([ratio_metrics.part() as u64, ratio_metrics.total() as u64])
        }
        _ => None,
    });
    of_children.chain(of_plan).fold([0, 0], |[found, all], [f, a]| [found + f, all + a])
}
