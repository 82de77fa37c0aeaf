//! The approximate strategy: a large right side in cells, of which each left row looks at some. The cells are kept where the
//! session says, under a name that changes with the vectors, so that they are never those of other rows.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::common::config::ConfigExtension;
use datafusion::common::runtime::SpawnedTask;
use datafusion::common::{extensions_options, plan_err};
use datafusion::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::metrics::RatioMetrics;
use generel_model::search::{Cells, Corpus, Neighbor, SearchOptions};

use super::merge::joined;
use crate::error::execution;

/// Rows from which on cells are made. For 20,000 left rows, making and searching them takes as long as the exact search of
/// about 25,000 rows.
const LEAST_ROWS: usize = 20_000;
/// Of so many left rows one is searched for exactly: by turns to say how far to look, and to say what was found.
const SAMPLED: usize = 128;
/// Cells made for so many times more or fewer rows may lend their centers.
const LENDING: f64 = 1.4;

extensions_options! {
    /// Options of GENEREL's operators.
    pub struct GenerelOptions {
        /// Share of the nearest rows that a similarity join with a k must find: 1 for the exact result, less for an
        /// approximate search of right sides of 20,000 rows or more
        pub similarity_recall: f64, default = 1.0
    }
}

impl ConfigExtension for GenerelOptions {
    const PREFIX: &'static str = "generel";
}

/// The recall that a session asks for; `None` for all.
pub(super) fn recall(config: &ConfigOptions) -> Result<Option<f64>> {
    match config.extensions.get::<GenerelOptions>().map(|options| options.similarity_recall) {
        None | Some(1.0) => Ok(None),
        Some(recall) if recall > 0.0 && recall < 1.0 => Ok(Some(recall)),
        Some(other) => plan_err!("generel.similarity_recall is a share above 0, at most 1, not {other}"),
    }
}

/// Where cells are kept from query to query.
#[async_trait]
pub trait SimilarityIndexStore: fmt::Debug + Send + Sync {
    /// The names of what is kept, the latest first.
    async fn list(&self) -> Result<Vec<String>>;
    /// What is kept under a name, if anything is.
    async fn read(&self, name: &str) -> Result<Option<Vec<u8>>>;
    /// Keeps something.
    async fn write(&self, name: &str, bytes: Vec<u8>) -> Result<()>;
}

/// A session's store: an extension of its `SessionConfig`. Without one cells are made for every query.
#[derive(Debug, Clone)]
pub struct SimilarityIndexes(pub Arc<dyn SimilarityIndexStore>);

/// A build side in cells.
pub(super) struct Index {
    cells: Cells,
    recall: f64,
    /// Of the neighbors of sampled rows, those that were found.
    found: RatioMetrics,
}

impl Index {
    /// The cells of a corpus: those kept for it, else new ones, about earlier centers where these still fit. `None` where
    /// it is too small to gain, or cannot be put into cells.
    pub(super) async fn of(
        corpus: &Arc<Corpus>,
        model_id: &str,
        recall: f64,
        found: RatioMetrics,
        context: &TaskContext,
    ) -> Result<Option<Self>> {
        if corpus.rows() < LEAST_ROWS {
            return Ok(None);
        }
        let store = context.session_config().get_extension::<SimilarityIndexes>();
        let own = Arc::clone(corpus);
        let hash = joined(SpawnedTask::spawn_blocking(move || Ok(own.content_hash()))).await?;
        // Of characters that every store has in names.
        let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
        let model_id: String = model_id.chars().map(plain).collect();
        let name = format!("{model_id}-{}-{hash:016x}", corpus.rows());
        let mut earlier = None;
        if let Some(store) = &store {
            match kept(store, &name, &model_id, corpus.rows()).await {
                Ok((Some(bytes), _)) => match Cells::from_bytes(corpus, &bytes) {
                    Ok(cells) => return Ok(Some(Self { cells, recall, found })),
                    Err(error) => tracing::warn!(%error, "a kept similarity index cannot be used, it is made again"),
                },
                Ok((None, other)) => earlier = other,
                Err(error) => tracing::warn!(%error, "kept similarity indexes cannot be read"),
            }
        }
        let own = Arc::clone(corpus);
        let made = joined(SpawnedTask::spawn_blocking(move || {
            if let Some(cells) = earlier.and_then(|bytes| Cells::from_earlier(&own, &bytes).ok().flatten()) {
                return Ok(Ok(cells));
            }
            Ok(Cells::new(&own))
        }));
        let cells = match made.await? {
            Ok(cells) => cells,
            Err(error) => {
                tracing::debug!(%error, "no similarity index can be made, the search is exact");
                return Ok(None);
            }
        };
        if let Some(store) = &store {
            let written = match cells.to_bytes() {
                Ok(bytes) => store.0.write(&name, bytes).await,
                Err(error) => Err(execution(error)),
            };
            if let Err(error) = written {
                tracing::warn!(%error, "the similarity index cannot be kept");
            }
        }
        Ok(Some(Self { cells, recall, found }))
    }

    /// The neighbors of left rows. They are looked for as far as the right rows' own neighbors say, and as those of a sample
    /// of the left rows say, whichever is farther: left rows can be unlike the right ones.
    pub(super) fn search(
        &self,
        corpus: &Corpus,
        queries: &[f32],
        options: SearchOptions,
    ) -> Result<Vec<Vec<Neighbor>>> {
        let Some(k) = options.k else { return corpus.search(queries, options).map_err(execution) };
        let dimension = self.cells.dimension();
        let every_other = |first: usize| (first..queries.len() / dimension).step_by(2 * SAMPLED);
        let (guides, rows) = (every_other(0).count(), every_other(0).chain(every_other(SAMPLED)));
        let rows: Vec<usize> = rows.collect();
        let sample: Vec<f32> = rows.iter().flat_map(|row| &queries[row * dimension..][..dimension]).copied().collect();
        let exact = corpus.search(&sample, options).map_err(execution)?;
        let own = self.cells.reach_of(&sample[..guides * dimension], &exact[..guides], options, self.recall);
        let reach = own.unwrap_or(f32::MIN).max(self.cells.reach(k, self.recall));
        let near = self.cells.search(corpus, queries, options, reach).map_err(execution)?;
        for (row, exact) in rows.into_iter().zip(exact).skip(guides) {
            self.found.add_total(exact.len());
            self.found.add_part(exact.iter().filter(|n| near[row].contains(n)).count());
        }
        Ok(near)
    }
}

/// What is kept for these rows, or else the latest for about as many of the same model.
async fn kept(
    store: &SimilarityIndexes,
    name: &str,
    model_id: &str,
    rows: usize,
) -> Result<(Option<Vec<u8>>, Option<Vec<u8>>)> {
    let names = store.0.list().await?;
    if names.iter().any(|kept| kept == name) {
        return Ok((store.0.read(name).await?, None));
    }
    let lends = |name: &&String| {
        let rest = name.strip_prefix(model_id).and_then(|rest| rest.strip_prefix('-'));
        let of = rest.and_then(|rest| rest.split('-').next()).and_then(|n| n.parse::<f64>().ok());
        of.is_some_and(|of| (of / LENDING..=of * LENDING).contains(&(rows as f64)))
    };
    match names.iter().find(lends) {
        Some(other) => Ok((None, store.0.read(other).await?)),
        None => Ok((None, None)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    use arrow::array::{ArrayRef, AsArray, FixedSizeListArray, Float32Array, Int32Array, RecordBatch};
    use arrow::datatypes::{DataType, Field, Float32Type, Int32Type, Schema};
    use datafusion::datasource::MemTable;
    use datafusion::physical_plan::collect;
    use datafusion::prelude::{SessionConfig, SessionContext};
    use generel_schemas::vector::{VectorType, item_field};

    use super::*;
    use crate::similarity_join::{SimilarityJoinFunction, recall_of_sample};

    const DIMENSION: usize = 16;

    #[derive(Debug, Default)]
    struct Memory(Mutex<BTreeMap<String, Vec<u8>>>);

    #[async_trait]
    impl SimilarityIndexStore for Memory {
        async fn list(&self) -> Result<Vec<String>> {
            Ok(self.0.lock().unwrap().keys().cloned().collect())
        }
        async fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
            Ok(self.0.lock().unwrap().get(name).cloned())
        }
        async fn write(&self, name: &str, bytes: Vec<u8>) -> Result<()> {
            self.0.lock().unwrap().insert(name.to_string(), bytes);
            Ok(())
        }
    }

    fn register(ctx: &SessionContext, name: &str, rows: usize, seed: u64) {
        let mut rng = fastrand::Rng::with_seed(1);
        let centers: Vec<f32> = (0..200 * DIMENSION).map(|_| rng.f32() - 0.5).collect();
        let mut rng = fastrand::Rng::with_seed(seed);
        let vectors = (0..rows).flat_map(|_| {
            let center = &centers[rng.usize(..200) * DIMENSION..][..DIMENSION];
            center.iter().map(|c| c + 0.3 * (rng.f32() - 0.5)).collect::<Vec<f32>>()
        });
        let values = Arc::new(Float32Array::from_iter_values(vectors));
        let vectors = FixedSizeListArray::new(item_field(), DIMENSION as i32, values, None);
        let vector_type = VectorType { model_id: "a-model".into(), dimension: DIMENSION };
        let schema =
            Arc::new(Schema::new(vec![Field::new("id", DataType::Int32, false), vector_type.to_field("v", true)]));
        let columns: Vec<ArrayRef> = vec![Arc::new((0..rows as i32).collect::<Int32Array>()), Arc::new(vectors)];
        let batch = RecordBatch::try_new(Arc::clone(&schema), columns).unwrap();
        ctx.deregister_table(name).unwrap();
        ctx.register_table(name, Arc::new(MemTable::try_new(schema, vec![vec![batch]]).unwrap())).unwrap();
    }

    async fn joined_rows(ctx: &SessionContext) -> (BTreeMap<(i32, i32), f32>, [u64; 2]) {
        let sql = "SELECT left_id, right_id, similarity_score FROM similarity_join('l', 'r', 5)";
        let plan = ctx.sql(sql).await.unwrap().create_physical_plan().await.unwrap();
        let mut all = BTreeMap::new();
        for batch in collect(Arc::clone(&plan), ctx.task_ctx()).await.unwrap() {
            let (a, b) = (batch.column(0).as_primitive::<Int32Type>(), batch.column(1).as_primitive::<Int32Type>());
            let scores = batch.column(2).as_primitive::<Float32Type>();
            all.extend((0..batch.num_rows()).map(|i| ((a.value(i), b.value(i)), scores.value(i))));
        }
        (all, recall_of_sample(&plan))
    }

    #[tokio::test]
    async fn an_approximate_join_finds_what_was_asked_for_and_its_index_is_kept() {
        let store = Arc::new(Memory::default());
        let mut config = SessionConfig::new()
            .with_target_partitions(2)
            .with_extension(Arc::new(SimilarityIndexes(Arc::clone(&store) as Arc<dyn SimilarityIndexStore>)));
        config.options_mut().extensions.insert(GenerelOptions::default());
        let ctx = SessionContext::new_with_config(config);
        ctx.register_udtf("similarity_join", Arc::new(SimilarityJoinFunction));
        register(&ctx, "l", 6000, 2);
        register(&ctx, "r", LEAST_ROWS, 3);
        let (exact, sample) = joined_rows(&ctx).await;
        assert_eq!((exact.len(), sample), (30_000, [0, 0]));
        ctx.sql("SET generel.similarity_recall = 0.95").await.unwrap();
        let (near, [found, all]) = joined_rows(&ctx).await;
        let hits = near.iter().filter(|(pair, score)| exact.get(pair) == Some(score)).count();
        assert!(hits > 28_000, "{hits}");
        assert!(hits < 30_000, "the search was exact");
        assert!(all > 50 && found as f64 >= 0.9 * all as f64, "{found} of {all}");
        assert_eq!(store.list().await.unwrap().len(), 1);
        // From the index that is kept, and from one that is broken.
        assert_eq!(joined_rows(&ctx).await.0, near);
        store.0.lock().unwrap().values_mut().for_each(|bytes| bytes.truncate(1000));
        assert_eq!(joined_rows(&ctx).await.0, near);
        // Other rows, another index; too few rows, none.
        register(&ctx, "r", LEAST_ROWS + 500, 3);
        joined_rows(&ctx).await;
        assert_eq!(store.list().await.unwrap().len(), 2);
        register(&ctx, "r", LEAST_ROWS - 1, 3);
        assert_eq!(joined_rows(&ctx).await.1, [0, 0]);
        assert_eq!(store.list().await.unwrap().len(), 2);
        for wrong in ["0", "1.5", "-1"] {
            ctx.sql(&format!("SET generel.similarity_recall = {wrong}")).await.unwrap();
            let planned = ctx.sql("SELECT * FROM similarity_join('l', 'r', 5)").await.unwrap();
            let error = planned.create_physical_plan().await.unwrap_err().to_string();
            assert!(error.contains("generel.similarity_recall"), "{error}");
        }
    }
}
