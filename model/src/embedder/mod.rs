//! The Embedder: every text of the process that needs a vector comes here, and nowhere else is there a cache, a
//! batcher or a queue.
//!
//! A call normalizes and deduplicates its column, takes what the cache has, joins texts that another caller is already
//! waiting for, looks the rest up in the [`VectorStore`], and hands what is left to the batcher: tokenized on all cores,
//! admitted by a token budget (senders wait, so memory is bounded), sorted by length and packed. The device's workers
//! own the weights, which are loaded on first use, and get the next batch prepared while they work.

mod cache;
mod column;
mod device;
mod flight;
mod normalize;
mod snps;
mod stats;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use arrow::array::{Array, FixedSizeListArray};
use rayon::prelude::*;
use tokio::sync::{Semaphore, oneshot};

use crate::device::{Device, DeviceChoice};
use crate::encoder::{Encoder, LoadOptions, Place, load};
use crate::snp::SnpEncoder;
use crate::tokenize::TextTokenizer;
use crate::vector_store::{Vector, VectorStore};
use crate::{Error, ModelInfo, Result};

use cache::Cache;
use column::Column;
use device::{Item, Load, Queue};
use flight::{Claim, Flights};
pub use normalize::normalize;
use stats::Counters;
pub use stats::{CallStats, Stats};

/// Texts are tokenized and queued in pieces of this many, so that the device starts before a long column is tokenized.
const PIECE: usize = 1024;

/// A vector's first components, scaled to length 1 again where that is not all of them; zeros stay.
fn first(vector: &[f32], components: usize) -> Vector {
    if components == vector.len() {
        return vector.into();
    }
    let cut = &vector[..components];
    let length = cut.iter().map(|v| v * v).sum::<f32>().sqrt();
    cut.iter().map(|v| if length > 0.0 { v / length } else { 0.0 }).collect()
}

/// How an [`Embedder`] is set up.
#[derive(Debug, Clone)]
pub struct EmbedderOptions {
    /// Memory for vectors kept, in bytes.
    pub cache_bytes: usize,
    /// Tokens of one batch on the device; `None` for what keeps it busy.
    pub batch_tokens: Option<usize>,
    /// Tokens that may wait for the device; callers beyond that wait.
    pub queue_tokens: usize,
    /// Where the model runs.
    pub device: DeviceChoice,
    /// Threads of the model on the CPU; 0 for all cores.
    pub threads: usize,
    /// Where the GPU library may be; the first that exists is opened.
    pub gpu_libraries: Vec<PathBuf>,
}

impl Default for EmbedderOptions {
    fn default() -> Self {
        Self {
            cache_bytes: 256 << 20,
            batch_tokens: None,
            queue_tokens: 128 * 1024,
            device: DeviceChoice::Auto,
            threads: 0,
            gpu_libraries: Vec::new(),
        }
    }
}

impl EmbedderOptions {
    fn place(&self) -> Device {
        Device { choice: self.device, gpu_libraries: self.gpu_libraries.clone() }
    }
}

/// Embeds texts with one model. Cheap to clone; one per process and model.
#[derive(Clone)]
pub struct Embedder {
    inner: Arc<Inner>,
}

struct Inner {
    info: ModelInfo,
    cache: Cache,
    flights: Flights,
    queue: Queue,
    admission: Arc<Semaphore>,
    queue_tokens: usize,
    counters: Arc<Counters>,
    store: Arc<OnceLock<Arc<dyn VectorStore>>>,
    encoder: Arc<OnceLock<Arc<dyn Encoder>>>,
    device: Device,
    snps: OnceLock<Result<Option<SnpEncoder>>>,
    /// The same model with all components of its vectors, where only the first are kept: SNPs need those of their genes' texts.
    whole: OnceLock<Embedder>,
    options: EmbedderOptions,
}

impl std::fmt::Debug for Embedder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Embedder").field("model_id", &self.inner.info.model_id).finish()
    }
}

impl Embedder {
    /// An Embedder for a model. Reads no weights: the device thread does, with the first text.
    pub fn new(info: ModelInfo, options: EmbedderOptions) -> Self {
        let for_device = info.clone();
        let how = LoadOptions { device: options.place(), threads: options.threads };
        Self::with_encoder(info, options, Box::new(move || load(&for_device, &how)))
    }

    fn with_encoder(info: ModelInfo, options: EmbedderOptions, load: Load) -> Self {
        let store = Arc::new(OnceLock::new());
        let encoder = Arc::new(OnceLock::new());
        let counters = Arc::new(Counters::default());
        let cache = Cache::new(options.cache_bytes);
        let queue_tokens = options.queue_tokens.max(info.max_tokens).min(Semaphore::MAX_PERMITS);
        let threads = device::Device {
            width: info.width,
            dimension: info.dimension,
            batch_tokens: options.batch_tokens,
            cache: cache.clone(),
            counters: counters.clone(),
            store: store.clone(),
            encoder: encoder.clone(),
        };
        let queue = threads.start(load);
        let admission = Arc::new(Semaphore::new(queue_tokens));
        Self {
            inner: Arc::new(Inner {
                info,
                cache,
                flights: Flights::default(),
                queue,
                admission,
                queue_tokens,
                counters,
                store,
                encoder,
                device: options.place(),
                snps: OnceLock::new(),
                whole: OnceLock::new(),
                options,
            }),
        }
    }

    /// Looks vectors up in a store before the model is asked, and gives it those that the model makes. The first store
    /// stays; false if there was one.
    pub fn set_store(&self, store: Arc<dyn VectorStore>) -> bool {
        self.inner.store.set(store).is_ok()
    }

    /// The model.
    pub fn info(&self) -> &ModelInfo {
        &self.inner.info
    }

    /// Where it was asked to run.
    pub fn device(&self) -> &Device {
        &self.inner.device
    }

    /// Where the model runs; `None` before the first text has loaded it.
    pub fn place(&self) -> Option<Place> {
        self.inner.encoder.get().map(|encoder| encoder.place())
    }

    /// Additions and multiplications a second, in 10⁹, that the device does in matrix products of the model's
    /// precision, measured; `None` before the first text has loaded the model. Blocks for up to a second.
    ///
    /// # Errors
    /// When the device fails.
    pub fn peak_gops(&self) -> Result<Option<f64>> {
        self.inner.encoder.get().map(|encoder| encoder.peak_gops()).transpose()
    }

    /// What it has done so far.
    pub fn stats(&self) -> Stats {
        self.inner.counters.snapshot()
    }

    /// Embeds a column of text: Utf8, LargeUtf8, Utf8View, or a dictionary of these, whose values are embedded once.
    ///
    /// The result has the column's length and this model's [`ModelInfo::vector_type`]. NULL and texts that are empty
    /// after normalization give NULL (the latter are counted); texts beyond the model's length are cut off and counted.
    /// The same text gives the same vector, to the bit, whatever else is in the column or in flight.
    ///
    /// # Errors
    /// When the column is not text, the model cannot be loaded, or the device fails.
    pub async fn embed(&self, column: &dyn Array) -> Result<FixedSizeListArray> {
        self.embed_counted(column).await.map(|(vectors, _)| vectors)
    }

    /// As [`Embedder::embed`], and what this call had to do.
    ///
    /// # Errors
    /// As [`Embedder::embed`].
    pub async fn embed_counted(&self, column: &dyn Array) -> Result<(FixedSizeListArray, CallStats)> {
        let column = Column::new(column)?;
        let counters = &self.inner.counters;
        counters.strings(column.rows(), column.distinct().len(), column.empty());
        let mut stats = CallStats {
            strings: column.rows() as u64,
            distinct: column.distinct().len() as u64,
            ..CallStats::default()
        };
        let vectors = self.embed_distinct(column.distinct(), true, &mut stats).await?;
        Ok((column.scatter(&vectors, self.inner.info.dimension), stats))
    }

    /// Embeds one text; `None` when it is empty after normalization.
    ///
    /// # Errors
    /// As [`Embedder::embed`].
    pub async fn embed_one(&self, text: &str) -> Result<Option<Vec<f32>>> {
        let text = normalize(text);
        if text.is_empty() {
            return Ok(None);
        }
        let vectors = self.embed_distinct(&[Arc::from(text.as_ref())], true, &mut CallStats::default()).await?;
        Ok(vectors.first().map(|v| v.to_vec()))
    }

    /// Vectors of distinct, normalized, non-empty texts, in order; new ones go to the store if `keep`.
    async fn embed_distinct(&self, texts: &[Arc<str>], keep: bool, stats: &mut CallStats) -> Result<Vec<Vector>> {
        let mut vectors: Vec<Option<Vector>> = texts.iter().map(|t| self.inner.cache.get(t)).collect();
        let hits = vectors.iter().flatten().count();
        self.inner.counters.cache_hits(hits);
        stats.cache_hits += hits as u64;
        loop {
            let missing: Vec<usize> = (0..texts.len()).filter(|i| vectors[*i].is_none()).collect();
            if missing.is_empty() {
                return Ok(vectors.into_iter().flatten().collect());
            }
            let (mut claims, mut landings) =
                self.inner.flights.board(missing.iter().map(|i| texts[*i].clone()), |text| self.inner.cache.get(text));
            stats.joined += (missing.len() - claims.len()) as u64;
            claims.iter_mut().for_each(|claim| claim.is_stored = keep);
            let claims = self.look_up(claims, stats).await;
            stats.encoded += claims.len() as u64;
            self.send(claims, stats).await?;
            for (i, landing) in missing.iter().zip(&mut landings) {
                // `None`: the caller that had claimed this text went away before it was queued; claim it ourselves.
                if let Some(result) = landing.vector().await {
                    vectors[*i] = Some(result?);
                }
            }
        }
    }

    /// Brings home what the store has; the other claims.
    async fn look_up(&self, claims: Vec<Claim>, stats: &mut CallStats) -> Vec<Claim> {
        let Some(store) = self.inner.store.get().filter(|_| !claims.is_empty()) else { return claims };
        let texts: Vec<Arc<str>> = claims.iter().map(Claim::shared_text).collect();
        let found = match store.get_many(&texts).await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%error, "stored vectors cannot be read; embedding instead");
                return claims;
            }
        };
        let (mut left, mut hits) = (Vec::new(), 0);
        for (claim, vector) in claims.into_iter().zip(found.into_iter().chain(std::iter::repeat(None))) {
            match vector.filter(|v| v.len() == self.inner.info.dimension) {
                Some(vector) => {
                    hits += 1;
                    self.inner.cache.insert(claim.shared_text(), vector.clone());
                    claim.land(Ok(vector));
                }
                None => left.push(claim),
            }
        }
        self.inner.counters.store_hits(hits);
        stats.store_hits += hits;
        left
    }

    /// Tokenizes claimed texts and queues them, waiting for room. Claims that are dropped here (the caller went away,
    /// or tokenization failed) are given back.
    async fn send(&self, claims: Vec<Claim>, stats: &mut CallStats) -> Result<()> {
        let mut claims = claims.into_iter();
        loop {
            let piece: Vec<Claim> = claims.by_ref().take(PIECE).collect();
            if piece.is_empty() {
                return Ok(());
            }
            let items = self.tokenize(piece).await?;
            for batch in Self::admission_groups(items, self.inner.queue_tokens) {
                let tokens: usize = batch.iter().map(|i| i.tokens.len()).sum();
                stats.tokens += tokens as u64;
                let permits = u32::try_from(tokens).unwrap_or(u32::MAX);
                let permit = self.inner.admission.clone().acquire_many_owned(permits).await;
                let permit = Arc::new(permit.map_err(|_| Error::Encoder("the Embedder is shut down".into()))?);
                let batch = batch.into_iter().map(|mut item| {
                    item.permit = Some(permit.clone());
                    item
                });
                self.inner.queue.push(batch.collect())?;
            }
        }
    }

    /// Groups that each fit into the queue as a whole.
    fn admission_groups(items: Vec<Item>, queue_tokens: usize) -> Vec<Vec<Item>> {
        let lengths: Vec<usize> = items.iter().map(|i| i.tokens.len()).collect();
        let mut items = items.into_iter();
        crate::pack::cut(lengths.into_iter(), queue_tokens / 4)
            .map(|run| items.by_ref().take(run.len()).collect())
            .collect()
    }

    /// Tokenizes on rayon's threads, so that no thread of an async runtime is held up.
    async fn tokenize(&self, claims: Vec<Claim>) -> Result<Vec<Item>> {
        let (done, result) = oneshot::channel();
        let inner = self.inner.clone();
        rayon::spawn(move || {
            let items = inner.tokenizer().and_then(|tokenizer| {
                let texts: Vec<&str> = claims.iter().map(|c| c.text()).collect();
                let tokens = tokenizer.tokenize(&texts)?;
                inner.counters.truncated(tokens.par_iter().filter(|t| t.truncated).count());
                Ok(claims.into_iter().zip(tokens).map(|(claim, t)| Item::new(claim, t.ids)).collect())
            });
            // The receiver is gone when the caller is: dropping the items gives their claims back.
            let _ = done.send(items);
        });
        result.await.map_err(|_| Error::Encoder("tokenization panicked".into()))?
    }
}

impl Inner {
    fn tokenizer(&self) -> Result<&TextTokenizer> {
        self.queue.tokenizer(&self.info)
    }
}

#[cfg(test)]
mod tests;
