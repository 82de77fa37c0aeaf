//! `EmbedExec`: adds the vectors of texts to the rows that stream through.
//!
//! Some batches are in flight at once, in order, so that the Embedder can fill the device from several of them; a text
//! without a column (`embed('x')`) is embedded once for the whole query; equal calls are computed once. A query that is
//! dropped drops its calls, and texts that nobody else waits for are not embedded.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{Array, ArrayRef, FixedSizeListArray, RecordBatch, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::stats::{ColumnStatistics, Statistics};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, internal_err};
use datafusion::error::Result;
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::projection::ProjectionMapping;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr_common::physical_expr::is_volatile;
use datafusion::physical_plan::execution_plan::{CardinalityEffect, ChildrenPropertiesMode};
use datafusion::physical_plan::metrics::{
    BaselineMetrics, Count, ExecutionPlanMetricsSet, Gauge, MetricBuilder, MetricsSet, RecordOutput,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties, ReplaceChildrenOptions,
};
use futures::{StreamExt, TryStreamExt};
use generel_model::{CallStats, Embedder, Stats};
use tokio::sync::OnceCell;

use crate::error::execution;

/// Batches of a partition in flight: enough that the device is busy while the first of them waits for its last text.
const BATCHES_IN_FLIGHT: usize = 4;

/// One column of vectors: the text, and what the column is called.
#[derive(Debug, Clone)]
pub(crate) struct EmbedCall {
    pub(crate) text: Arc<dyn PhysicalExpr>,
    pub(crate) name: String,
}

/// Adds a column of vectors for each call behind the input's columns.
pub struct EmbedExec {
    embedder: Embedder,
    calls: Vec<EmbedCall>,
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
    shared: Arc<Shared>,
}

/// What the partitions of one query share.
struct Shared {
    /// For each call: where its text has no column, the vector, repeated.
    constants: Vec<OnceCell<ArrayRef>>,
    totals: OnceCell<Totals>,
}

/// Metrics of the whole operator, as `EXPLAIN ANALYZE` shows them.
#[derive(Debug, Clone)]
struct Totals {
    before: Stats,
    started: Instant,
    strings: Count,
    distinct: Count,
    cache_hits: Count,
    store_hits: Count,
    joined: Count,
    encoded: Count,
    tokens: Count,
    tokens_per_s: Gauge,
    /// How full the device's batches were meanwhile, whoever's texts they held.
    batch_fill_percent: Gauge,
}

impl Totals {
    fn new(metrics: &ExecutionPlanMetricsSet, embedder: &Embedder) -> Self {
        let counter = |name: &'static str| MetricBuilder::new(metrics).global_counter(name);
        Self {
            before: embedder.stats(),
            started: Instant::now(),
            strings: counter("strings"),
            distinct: counter("distinct"),
            cache_hits: counter("cache_hits"),
            store_hits: counter("store_hits"),
            joined: counter("joined"),
            encoded: counter("encoded"),
            tokens: counter("tokens"),
            tokens_per_s: MetricBuilder::new(metrics).global_gauge("tokens_per_s"),
            batch_fill_percent: MetricBuilder::new(metrics).global_gauge("batch_fill_percent"),
        }
    }

    fn add(&self, call: &CallStats, embedder: &Embedder) {
        let count = |counter: &Count, n: u64| counter.add(n as usize);
        count(&self.strings, call.strings);
        count(&self.distinct, call.distinct);
        count(&self.cache_hits, call.cache_hits);
        count(&self.store_hits, call.store_hits);
        count(&self.joined, call.joined);
        count(&self.encoded, call.encoded);
        count(&self.tokens, call.tokens);
        let seconds = self.started.elapsed().as_secs_f64().max(1e-6);
        self.tokens_per_s.set((self.tokens.value() as f64 / seconds) as usize);
        let now = embedder.stats();
        let (tokens, batches) = (now.tokens - self.before.tokens, now.batches - self.before.batches);
        if batches > 0 && now.budget > 0 {
            self.batch_fill_percent.set((100 * tokens / (batches * now.budget)) as usize);
        }
    }
}

impl EmbedExec {
    /// An operator over an input.
    ///
    /// # Errors
    /// When a call's text has no type in the input's schema.
    pub(crate) fn try_new(embedder: Embedder, calls: Vec<EmbedCall>, input: Arc<dyn ExecutionPlan>) -> Result<Self> {
        let own = input.schema();
        let vectors = calls.iter().map(|call| embedder.info().vector_type().to_field(&call.name, true));
        let fields: Vec<Field> = own.fields().iter().map(|f| f.as_ref().clone()).chain(vectors).collect();
        let schema = Arc::new(Schema::new_with_metadata(fields, own.metadata().clone()));
        let kept =
            own.fields().iter().enumerate().map(|(i, field)| {
                (Arc::new(Column::new(field.name(), i)) as Arc<dyn PhysicalExpr>, field.name().clone())
            });
        let mapping = ProjectionMapping::try_new(kept, &own)?;
        let equivalences = input.equivalence_properties().project(&mapping, schema);
        let properties = PlanProperties::new(
            equivalences,
            input.output_partitioning().project(&mapping, input.equivalence_properties()),
            input.pipeline_behavior(),
            input.boundedness(),
        );
        Ok(Self {
            embedder,
            shared: Arc::new(Shared { constants: vec![OnceCell::new(); calls.len()], totals: OnceCell::new() }),
            calls,
            input,
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }

    /// What embeds.
    pub(crate) fn embedder(&self) -> &Embedder {
        &self.embedder
    }

    /// The operator's calls.
    pub(crate) fn calls(&self) -> &[EmbedCall] {
        &self.calls
    }

    /// What its rows come from.
    pub(crate) fn input(&self) -> &Arc<dyn ExecutionPlan> {
        &self.input
    }

    /// The same calls over another input of the same columns.
    pub(crate) fn over(&self, input: Arc<dyn ExecutionPlan>) -> Result<Self> {
        Self::try_new(self.embedder.clone(), self.calls.clone(), input)
    }
}

/// Without the vectors of literal texts, and without the input: a plan shows each operator on a line of its own.
impl fmt::Debug for EmbedExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbedExec")
            .field("embedder", &self.embedder)
            .field("calls", &self.calls.len())
            .finish_non_exhaustive()
    }
}

impl DisplayAs for EmbedExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "EmbedExec: model={}, embed=[", self.embedder.info().name)?;
        for (i, call) in self.calls.iter().enumerate() {
            let once = if is_constant(&call.text) { " once" } else { "" };
            write!(f, "{}{}{once}", if i > 0 { ", " } else { "" }, call.text)?;
        }
        f.write_str("]")
    }
}

/// Whether a text is the same for every row.
fn is_constant(text: &Arc<dyn PhysicalExpr>) -> bool {
    collect_columns(text).is_empty() && !is_volatile(text)
}

impl ExecutionPlan for EmbedExec {
    fn name(&self) -> &'static str {
        "EmbedExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn supports_limit_pushdown(&self) -> bool {
        true
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Equal
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        for call in &self.calls {
            if f(&call.text)? == TreeNodeRecursion::Stop {
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let [input] =
            <[_; 1]>::try_from(children).map_err(|_| DataFusionError::Internal("EmbedExec has one child".into()))?;
        Ok(Arc::new(self.over(input)?))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, Arc::clone(&context))?;
        let run = Arc::new(Run {
            embedder: self.embedder.clone(),
            calls: self.calls.clone(),
            schema: self.schema(),
            shared: Arc::clone(&self.shared),
            metrics: self.metrics.clone(),
            baseline: BaselineMetrics::new(&self.metrics, partition),
            batch_rows: context.session_config().batch_size(),
        });
        let row_bytes = self.calls.len() * self.embedder.info().dimension * size_of::<f32>();
        let room = MemoryConsumer::new(format!("EmbedExec[{partition}]")).register(context.memory_pool());
        let batches = input
            .map(move |batch| {
                let run = Arc::clone(&run);
                let reserved = batch.and_then(|batch| {
                    let room = room.new_empty();
                    room.try_grow(batch.num_rows() * row_bytes)?;
                    Ok((batch, room))
                });
                async move {
                    // The room is given back when the batch is handed on.
                    let (batch, _room) = reserved?;
                    run.batch(batch).await
                }
            })
            .buffered(BATCHES_IN_FLIGHT);
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches.into_stream())))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn statistics_from_inputs(
        &self,
        input: &[Arc<Statistics>],
        _: &datafusion::physical_plan::StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        let Some(own) = input.first() else { return internal_err!("EmbedExec has one child") };
        let mut statistics = own.as_ref().clone();
        statistics.column_statistics.extend(self.calls.iter().map(|_| ColumnStatistics::new_unknown()));
        Ok(Arc::new(statistics))
    }
}

/// One partition's run.
struct Run {
    embedder: Embedder,
    calls: Vec<EmbedCall>,
    schema: SchemaRef,
    shared: Arc<Shared>,
    metrics: ExecutionPlanMetricsSet,
    baseline: BaselineMetrics,
    /// Rows of a usual batch.
    batch_rows: usize,
}

impl Run {
    async fn batch(&self, batch: RecordBatch) -> Result<RecordBatch> {
        let totals = self.shared.totals.get_or_init(|| async { Totals::new(&self.metrics, &self.embedder) }).await;
        let mut columns = batch.columns().to_vec();
        for (i, call) in self.calls.iter().enumerate() {
            let equal =
                self.calls[..i].iter().position(|earlier| earlier.text.eq(&call.text) && !is_volatile(&call.text));
            let vectors = match equal {
                Some(at) => Arc::clone(&columns[batch.num_columns() + at]),
                None if is_constant(&call.text) => self.constant(i, &batch, totals).await?,
                None => {
                    let texts = call.text.evaluate(&batch)?.into_array(batch.num_rows())?;
                    Arc::new(self.embed(&texts, totals).await?)
                }
            };
            columns.push(vectors);
        }
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?.record_output(&self.baseline))
    }

    async fn embed(&self, texts: &ArrayRef, totals: &Totals) -> Result<FixedSizeListArray> {
        let (vectors, call) = self.embedder.embed_counted(texts).await.map_err(execution)?;
        totals.add(&call, &self.embedder);
        Ok(vectors)
    }

    /// The vector of a text that is the same for every row, as often as the batch has rows: embedded once a query, and
    /// repeated once for all batches of usual length.
    async fn constant(&self, call: usize, batch: &RecordBatch, totals: &Totals) -> Result<ArrayRef> {
        let rows = batch.num_rows();
        let repeated = self.shared.constants[call]
            .get_or_try_init(|| async {
                let empty = RecordBatch::new_empty(batch.schema());
                let text = match self.calls[call].text.evaluate(&empty)? {
                    ColumnarValue::Scalar(text) => text.to_array_of_size(1)?,
                    ColumnarValue::Array(_) => self.calls[call].text.evaluate(batch)?.into_array(rows)?.slice(0, 1),
                };
                let one: ArrayRef = Arc::new(self.embed(&text, totals).await?);
                repeat(&one, self.batch_rows)
            })
            .await?;
        // A short batch with a slice of the whole would count as large wherever memory is counted.
        let is_near = (repeated.len() / 2..=repeated.len()).contains(&rows);
        Ok(if is_near { repeated.slice(0, rows) } else { repeat(&repeated.slice(0, 1), rows)? })
    }
}

fn repeat(one: &ArrayRef, rows: usize) -> Result<ArrayRef> {
    Ok(take(one, &UInt32Array::from(vec![0; rows]), None)?)
}
