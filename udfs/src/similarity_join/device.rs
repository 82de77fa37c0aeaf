//! Joins on a GPU: the first pass over a large right side, where the model's device is one.

use std::sync::Arc;

use datafusion::common::runtime::SpawnedTask;
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use generel_model::search::Corpus;
use generel_model::{Device, DeviceChoice};

use super::merge::joined;
use crate::error::execution;

/// Rows from which on it is worth opening a device and copying them there: a CPU multiplies fewer in that time.
const LEAST_ROWS: usize = 65_536;

/// Where a session's similarity joins make their first pass: an extension of its `SessionConfig`, which
/// [`crate::register_all`] sets to the model's device. Without one the CPU does.
#[derive(Debug, Clone)]
pub struct SimilarityDevice(pub Device);

/// The session's device, if rows as many as these should go there.
pub(super) fn worthwhile(context: &TaskContext, rows: usize) -> Option<Device> {
    let device = context.session_config().get_extension::<SimilarityDevice>()?.0.clone();
    (rows >= LEAST_ROWS && device.choice != DeviceChoice::Cpu).then_some(device)
}

/// The corpus on a device, where it can be used.
pub(super) async fn copied(corpus: Arc<Corpus>, device: Device) -> Result<Arc<Corpus>> {
    let Some(corpus) = Arc::into_inner(corpus) else {
        return datafusion::common::internal_err!("a corpus on its way to a device is in use");
    };
    let copied = SpawnedTask::spawn_blocking(move || corpus.on_device(&device).map_err(execution));
    Ok(Arc::new(joined(copied).await?))
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, FixedSizeListArray, Float32Array, Int32Array, RecordBatch};
    use arrow::datatypes::{DataType, Field, Schema};
    use arrow::util::pretty::pretty_format_batches;
    use datafusion::datasource::MemTable;
    use datafusion::physical_plan::collect;
    use datafusion::prelude::{SessionConfig, SessionContext};
    use generel_schemas::vector::{VectorType, item_field};

    use super::*;
    use crate::similarity_join::SimilarityJoinFunction;

    fn register(ctx: &SessionContext, name: &str, rows: usize) {
        let mut rng = fastrand::Rng::with_seed(rows as u64);
        let values = Arc::new(Float32Array::from_iter_values((0..8 * rows).map(|_| rng.f32() - 0.5)));
        let vectors: ArrayRef = Arc::new(FixedSizeListArray::new(item_field(), 8, values, None));
        let vector_type = VectorType { model_id: "m".into(), dimension: 8 };
        let schema =
            Arc::new(Schema::new(vec![Field::new("id", DataType::Int32, false), vector_type.to_field("v", true)]));
        let ids: ArrayRef = Arc::new((0..rows as i32).collect::<Int32Array>());
        let batch = RecordBatch::try_new(Arc::clone(&schema), vec![ids, vectors]).unwrap();
        ctx.register_table(name, Arc::new(MemTable::try_new(schema, vec![vec![batch]]).unwrap())).unwrap();
    }

    /// The join's rows as text, and how many right rows were on a device.
    async fn join(device: Option<DeviceChoice>, rows: usize) -> (String, usize) {
        let mut config = SessionConfig::new().with_target_partitions(2);
        if let Some(choice) = device {
            config = config.with_extension(Arc::new(SimilarityDevice(Device { choice, ..Device::default() })));
        }
        let ctx = SessionContext::new_with_config(config);
        ctx.register_udtf("similarity_join", Arc::new(SimilarityJoinFunction));
        // Fewer would be held, and the right side streamed.
        register(&ctx, "l", LEAST_ROWS / 16 + 1);
        register(&ctx, "r", rows);
        let sql = "SELECT left_id, right_id, similarity_score, rank FROM similarity_join('l', 'r', 3) ORDER BY 1, 4";
        let plan = ctx.sql(sql).await.unwrap().create_physical_plan().await.unwrap();
        let batches = collect(Arc::clone(&plan), ctx.task_ctx()).await.unwrap();
        (pretty_format_batches(&batches).unwrap().to_string(), on_device(&plan))
    }

    fn on_device(plan: &Arc<dyn datafusion::physical_plan::ExecutionPlan>) -> usize {
        let own = plan.metrics().and_then(|all| all.sum_by_name("build_rows_on_device"));
        own.map_or(0, |value| value.as_usize()) + plan.children().into_iter().map(on_device).sum::<usize>()
    }

    #[tokio::test]
    async fn a_large_right_side_goes_to_the_session_s_device_and_gives_the_same() {
        let (expected, none) = join(None, LEAST_ROWS).await;
        assert_eq!(none, 0);
        assert_eq!(join(Some(DeviceChoice::Candle), LEAST_ROWS).await, (expected.clone(), LEAST_ROWS));
        // Too few rows; the CPU; a GPU that is not there.
        assert_eq!(join(Some(DeviceChoice::Candle), LEAST_ROWS - 1).await.1, 0);
        for device in [DeviceChoice::Cpu, DeviceChoice::Auto, DeviceChoice::Cuda(0)] {
            assert_eq!(join(Some(device), LEAST_ROWS).await, (expected.clone(), 0));
        }
    }
}
