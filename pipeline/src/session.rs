//! The only place that builds a SessionContext: the lake's tables, GENEREL's functions, and the limits.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use generel_model::{Embedder, VectorStore};
use generel_schemas::tables::{self, EMBEDDINGS};
use generel_udfs::SimilarityIndexes;

use crate::lake::{LakeIndexes, LakeVectors};
use crate::text_columns::text_columns;
use crate::{Error, Lake, Result};

/// Name under which the stored vectors of all models stand, untyped.
const ALL_EMBEDDINGS: &str = "embeddings_all";
/// Consumers that a memory error names.
const REPORTED_CONSUMERS: std::num::NonZeroUsize = std::num::NonZeroUsize::MIN.saturating_add(4);

/// Limits of a session.
#[derive(Debug, Clone)]
pub struct SessionOptions {
    /// Memory for queries, in bytes; beyond it operators spill or fail with a message.
    pub memory_bytes: usize,
    /// Partitions of a query.
    pub partitions: usize,
}

impl Default for SessionOptions {
    fn default() -> Self {
        let partitions = std::thread::available_parallelism().map_or(2, usize::from);
        Self { memory_bytes: 4 << 30, partitions }
    }
}

/// A lake, a model and a query context over both.
#[derive(Clone)]
pub struct Session {
    /// The lake.
    pub lake: Lake,
    embedder: Option<Embedder>,
    vectors: Option<Arc<LakeVectors>>,
    ctx: SessionContext,
}

/// New vectors that are worth a file of their own in the lake: about a second's work of the model.
const WORTH_KEEPING: usize = 1000;

impl Session {
    /// Opens a session with every table of the lake registered. Without an Embedder the functions that need a model are
    /// missing and `embeddings` is untyped; everything else works.
    ///
    /// # Errors
    /// When a table's log cannot be read.
    pub async fn open(lake: Lake, embedder: Option<Embedder>, options: &SessionOptions) -> Result<Self> {
        let config = SessionConfig::new()
            .with_information_schema(true)
            .with_target_partitions(options.partitions)
            .with_default_catalog_and_schema("generel", "lake")
            .with_extension(Arc::new(SimilarityIndexes(Arc::new(LakeIndexes::new(lake.clone())))));
        let pool = TrackConsumersPool::new(FairSpillPool::new(options.memory_bytes), REPORTED_CONSUMERS);
        let runtime = RuntimeEnvBuilder::new().with_memory_pool(Arc::new(pool)).build_arc()?;
        let ctx = SessionContext::new_with_config_rt(config, runtime);
        match &embedder {
            Some(embedder) => generel_udfs::register_all(&ctx, embedder.clone())?,
            None => generel_udfs::identifier_functions().into_iter().for_each(|f| ctx.register_udf(f)),
        }
        let vectors = embedder.as_ref().map(|embedder| Arc::new(LakeVectors::new(lake.clone(), embedder.info())));
        if let (Some(embedder), Some(vectors)) = (&embedder, &vectors) {
            // An Embedder of several sessions keeps to the first one's lake.
            embedder.set_store(Arc::clone(vectors) as Arc<dyn VectorStore>);
        }
        let session = Self { lake, embedder, vectors, ctx };
        session.refresh().await?;
        Ok(session)
    }

    /// The model.
    ///
    /// # Errors
    /// When the session was opened without one.
    pub fn embedder(&self) -> Result<&Embedder> {
        self.embedder.as_ref().ok_or_else(|| {
            Error::Invalid("this needs a model: --model generel is the one that comes with the program".into())
        })
    }

    /// The model's vectors in the lake.
    ///
    /// # Errors
    /// When the session was opened without a model.
    pub fn vectors(&self) -> Result<&LakeVectors> {
        self.vectors.as_deref().ok_or_else(|| Error::Internal("a session without a model has no vectors".into()))
    }

    /// Keeps the vectors that queries have made, if they are worth it and the lake is there and can be written; how many.
    pub async fn keep_vectors(&self) -> u64 {
        match &self.vectors {
            Some(vectors) => vectors.keep(WORTH_KEEPING).await,
            None => 0,
        }
    }

    /// The query context.
    pub fn ctx(&self) -> &SessionContext {
        &self.ctx
    }

    /// Whether what an option names is among the values of a query's one column.
    ///
    /// # Errors
    /// When it is not, with those that are known, or the query fails.
    pub(crate) async fn known(
        &self,
        option: &str,
        what: &str,
        query: &str,
        asked: impl Iterator<Item = &String>,
    ) -> Result<()> {
        let asked: Vec<&String> = asked.collect();
        if asked.is_empty() {
            return Ok(());
        }
        let mut known = BTreeSet::new();
        for batch in self.ctx.sql(query).await?.collect().await? {
            let [values] = text_columns::<1>(&batch)?;
            known.extend(values.iter().flatten().map(str::to_string));
        }
        let Some(unknown) = asked.into_iter().find(|name| !known.contains(*name)) else { return Ok(()) };
        let known: Vec<String> = known.into_iter().collect();
        Err(Error::Invalid(format!("{option}: the lake has no {what} '{unknown}'; known: {}", known.join(", "))))
    }

    /// Sees what was committed since the session was opened.
    ///
    /// # Errors
    /// When a table's log cannot be read.
    pub async fn refresh(&self) -> Result<()> {
        let state = Arc::new(self.ctx.state());
        // All logs at a time: on an object store each takes a while.
        let opening = tables::ALL.iter().map(|table| {
            let (lake, state) = (self.lake.clone(), Arc::clone(&state));
            tokio::spawn(async move { Ok::<_, Error>((table, lake.provider(table, &*state).await?)) })
        });
        for opened in futures::future::join_all(opening).await {
            let (table, provider) = opened.map_err(|e| Error::Internal(e.to_string()))??;
            let name = if table.name == EMBEDDINGS.name { ALL_EMBEDDINGS } else { table.name };
            self.ctx.deregister_table(name)?;
            self.ctx.register_table(name, provider)?;
        }
        self.register_embeddings().await
    }

    /// `embeddings` is the vectors of the session's model, with their type restored: Delta has no fixed-size list, and
    /// a column can be of one model only.
    async fn register_embeddings(&self) -> Result<()> {
        let sql = match &self.embedder {
            Some(embedder) => {
                let model_id = &embedder.info().model_id;
                format!(
                    "SELECT model_id, kind, key, as_vector(vector, '{model_id}') AS vector FROM {ALL_EMBEDDINGS} WHERE model_id = '{model_id}'"
                )
            }
            None => format!("SELECT * FROM {ALL_EMBEDDINGS}"),
        };
        let view = self.ctx.sql(&sql).await?.into_view();
        self.ctx.deregister_table(EMBEDDINGS.name)?;
        self.ctx.register_table(EMBEDDINGS.name, view)?;
        Ok(())
    }
}
