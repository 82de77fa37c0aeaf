//! The threads behind an Embedder: one forms batches, the device's workers run them.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use tokio::sync::OwnedSemaphorePermit;

use super::cache::Cache;
use super::first;
use super::flight::Claim;
use super::stats::Counters;
use crate::encoder::Encoder;
use crate::pack::{PackedBatch, cut};
use crate::tokenize::TextTokenizer;
use crate::vector_store::VectorStore;
use crate::{Error, ModelInfo, Result};

/// Tokens below which a batch is not split among workers.
const LEAST_TOKENS: usize = 96;

/// A tokenized text on its way to the device.
pub(super) struct Item {
    pub(super) claim: Claim,
    pub(super) tokens: Vec<u32>,
    /// Room in the queue, given back when the last item of its group is packed.
    pub(super) permit: Option<Arc<OwnedSemaphorePermit>>,
}

impl Item {
    pub(super) fn new(claim: Claim, tokens: Vec<u32>) -> Self {
        Self { claim, tokens, permit: None }
    }
}

/// The way to the device. Dropped, it waits for the device's threads: a GPU's library must not take itself down at the
/// process's end while they take down what they had of it.
pub(super) struct Queue {
    /// `None` while it is dropped.
    sender: Option<Sender<Vec<Item>>>,
    batcher: Option<JoinHandle<()>>,
    tokenizer: OnceLock<Result<TextTokenizer>>,
}

impl Drop for Queue {
    fn drop(&mut self) {
        drop(self.sender.take());
        let _ = self.batcher.take().map(JoinHandle::join);
    }
}

impl Queue {
    /// Queues tokenized texts. Never blocks: callers hold permits for the room.
    pub(super) fn push(&self, items: Vec<Item>) -> Result<()> {
        let sent = self.sender.as_ref().and_then(|sender| sender.send(items).ok());
        sent.ok_or_else(|| Error::Encoder("the device thread ended".into()))
    }

    /// The model's tokenizer, loaded with the first text.
    pub(super) fn tokenizer(&self, info: &ModelInfo) -> Result<&TextTokenizer> {
        self.tokenizer.get_or_init(|| TextTokenizer::load(info)).as_ref().map_err(Clone::clone)
    }
}

/// What the threads need.
pub(super) struct Device {
    /// Components that the encoder gives, and how many of them are kept.
    pub(super) width: usize,
    pub(super) dimension: usize,
    /// Tokens of a batch; `None` for what the encoder asks for.
    pub(super) batch_tokens: Option<usize>,
    pub(super) cache: Cache,
    pub(super) counters: Arc<Counters>,
    pub(super) store: Arc<OnceLock<Arc<dyn VectorStore>>>,
    /// The encoder, once it is loaded.
    pub(super) encoder: Arc<OnceLock<Arc<dyn Encoder>>>,
}

/// Loads an encoder.
pub(super) type Load = Box<dyn FnOnce() -> Result<Arc<dyn Encoder>> + Send>;
type Batch = (PackedBatch, Vec<Claim>);

impl Device {
    /// Starts the thread that forms batches, which loads the encoder with the first text and starts its workers. All end
    /// when the queue is dropped.
    pub(super) fn start(self, load: Load) -> Queue {
        let (sender, arrivals) = channel::<Vec<Item>>();
        let device = Arc::new(self);
        let batcher = spawn("generel-batcher", move || device.form_batches(&arrivals, load));
        Queue { sender: Some(sender), batcher, tokenizer: OnceLock::new() }
    }

    fn form_batches(self: Arc<Self>, arrivals: &Receiver<Vec<Item>>, load: Load) {
        let Ok(first) = arrivals.recv() else { return };
        let encoder = match load() {
            Ok(encoder) => encoder,
            Err(error) => return fail_all(first, arrivals, &error),
        };
        let workers = encoder.workers().max(1);
        let budget = self.batch_tokens.unwrap_or(encoder.batch_tokens());
        self.counters.device(budget);
        // What arrives is shared among the workers where it does not fill a batch for each; but a GPU, unlike our own
        // kernels, takes as long for a part of a batch as for a whole one.
        let least = if encoder.place().instructions.is_some() { LEAST_TOKENS } else { budget };
        let _ = self.encoder.set(encoder.clone());
        // Room for one batch a worker: the next is prepared while the device works, and no more than that.
        let (batches, ready) = crossbeam_channel::bounded::<Batch>(workers);
        let start = |i: usize| {
            let (device, encoder, ready) = (self.clone(), encoder.clone(), ready.clone());
            spawn(&format!("generel-device-{i}"), move || device.run(&encoder, &ready))
        };
        let threads: Vec<JoinHandle<()>> = (0..workers).filter_map(start).collect();
        drop(ready);
        let mut arrived = Some(first);
        while let Some(mut items) = arrived.take().or_else(|| arrivals.recv().ok()) {
            while let Ok(more) = arrivals.try_recv() {
                items.extend(more);
            }
            let tokens: usize = items.iter().map(|i| i.tokens.len()).sum();
            let budget = budget.min(tokens.div_ceil(workers).max(least));
            if Self::send_batches(items, budget, &batches).is_err() {
                break;
            }
        }
        drop(batches);
        for thread in threads {
            // A thread that panicked has told so.
            let _ = thread.join();
        }
    }

    /// Batches of texts of like length for the workers.
    fn send_batches(
        mut items: Vec<Item>,
        budget: usize,
        batches: &crossbeam_channel::Sender<Batch>,
    ) -> std::result::Result<(), crossbeam_channel::SendError<Batch>> {
        items.retain(|item| !item.claim.is_abandoned());
        items.sort_by_key(|item| item.tokens.len());
        let lengths: Vec<usize> = items.iter().map(|i| i.tokens.len()).collect();
        let mut items = items.into_iter();
        for run in cut(lengths.into_iter(), budget) {
            let own: Vec<Item> = items.by_ref().take(run.len()).filter(|i| !i.claim.is_abandoned()).collect();
            let packed = PackedBatch::new(own.iter().map(|i| i.tokens.as_slice()));
            batches.send((packed, own.into_iter().map(|i| i.claim).collect()))?;
        }
        Ok(())
    }

    /// A worker's thread: every batch's outcome reaches all who wait for it.
    fn run(&self, encoder: &Arc<dyn Encoder>, ready: &crossbeam_channel::Receiver<Batch>) {
        // Made at once, before there is a batch for each.
        let mut worker = encoder.worker();
        let mut vectors = Vec::new();
        while let Ok((batch, claims)) = ready.recv() {
            let started = Instant::now();
            if worker.is_err() {
                worker = encoder.worker();
            }
            let result = match &mut worker {
                Ok(worker) => worker.encode(&batch, &mut vectors),
                Err(error) => Err(error.clone()),
            };
            self.counters.batch(batch.len(), batch.tokens(), started.elapsed());
            match result {
                Ok(()) => self.deliver(claims, &vectors),
                // Reaches every waiter and is not cached: the next call tries again.
                Err(error) => claims.into_iter().for_each(|claim| claim.land(Err(error.clone()))),
            }
        }
    }

    fn deliver(&self, claims: Vec<Claim>, vectors: &[f32]) {
        let mut made = Vec::with_capacity(claims.len());
        for (claim, vector) in claims.into_iter().zip(vectors.chunks_exact(self.width)) {
            if vector.iter().any(|v| !v.is_finite()) {
                claim.land(Err(Error::Encoder("a vector is not finite; the weights are damaged".into())));
                continue;
            }
            made.push((claim, first(vector, self.dimension)));
        }
        // Cached and stored before they land: whoever finds a text no longer in flight finds it in the cache, and who has
        // all vectors of a query can have them committed.
        for (claim, vector) in &made {
            self.cache.insert(claim.shared_text(), vector.clone());
        }
        if let Some(store) = self.store.get() {
            let kept = made.iter().filter(|(claim, _)| claim.is_stored);
            let kept: Vec<_> = kept.map(|(claim, vector)| (claim.shared_text(), vector.clone())).collect();
            store.put_many(&kept);
        }
        made.into_iter().for_each(|(claim, vector)| claim.land(Ok(vector)));
    }
}

/// Tells everybody, now and later, that the encoder cannot be loaded.
fn fail_all(first: Vec<Item>, arrivals: &Receiver<Vec<Item>>, error: &Error) {
    let mut items = Some(first);
    while let Some(failed) = items.take().or_else(|| arrivals.recv().ok()) {
        failed.into_iter().for_each(|item| item.claim.land(Err(error.clone())));
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Option<JoinHandle<()>> {
    let spawned = thread::Builder::new().name(name.to_string()).spawn(work);
    // The channel's other end is gone with the closure, so every call gets an error.
    spawned.inspect_err(|error| tracing::error!(%error, thread = name, "thread cannot be started")).ok()
}
