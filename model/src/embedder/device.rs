//! The two threads behind an Embedder: one forms batches, the other owns the weights and runs them.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;
use std::time::Instant;

use tokio::sync::OwnedSemaphorePermit;

use super::Vector;
use super::cache::Cache;
use super::flight::Claim;
use super::stats::Counters;
use crate::encoder::Encoder;
use crate::pack::{PackedBatch, cut};
use crate::tokenize::TextTokenizer;
use crate::{Error, ModelInfo, Result};

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

/// The way to the device.
pub(super) struct Queue {
    sender: Sender<Vec<Item>>,
    tokenizer: OnceLock<Result<TextTokenizer>>,
}

impl Queue {
    /// Queues tokenized texts. Never blocks: callers hold permits for the room.
    pub(super) fn push(&self, items: Vec<Item>) -> Result<()> {
        self.sender.send(items).map_err(|_| Error::Encoder("the device thread ended".into()))
    }

    /// The model's tokenizer, loaded with the first text.
    pub(super) fn tokenizer(&self, info: &ModelInfo) -> Result<&TextTokenizer> {
        self.tokenizer.get_or_init(|| TextTokenizer::load(&info.folder, info.max_tokens)).as_ref().map_err(Clone::clone)
    }
}

/// What the threads need.
pub(super) struct Device {
    pub(super) dimension: usize,
    pub(super) batch_tokens: usize,
    pub(super) cache: Cache,
    pub(super) counters: Arc<Counters>,
}

type Batch = (PackedBatch, Vec<Claim>);

impl Device {
    /// Starts both threads. They end when the queue is dropped.
    pub(super) fn start(self, load: impl FnOnce() -> Result<Box<dyn Encoder>> + Send + 'static) -> Queue {
        let (sender, arrivals) = channel::<Vec<Item>>();
        // Capacity 1: the next batch is prepared while the device works, and no more than that.
        let (batches, ready) = sync_channel::<Batch>(1);
        let budget = self.batch_tokens;
        spawn("generel-batcher", move || form_batches(&arrivals, &batches, budget));
        spawn("generel-device", move || self.run(&ready, load));
        Queue { sender, tokenizer: OnceLock::new() }
    }

    fn run(self, ready: &Receiver<Batch>, load: impl FnOnce() -> Result<Box<dyn Encoder>>) {
        let Ok(first) = ready.recv() else { return };
        let mut encoder = load();
        let mut next = Some(first);
        while let Some((batch, claims)) = next {
            let started = Instant::now();
            let result = encoder.as_mut().map_err(|e| e.clone()).and_then(|e| e.encode(&batch));
            self.counters.batch(batch.len(), batch.tokens(), started.elapsed());
            match result {
                Ok(vectors) => self.deliver(claims, &vectors),
                // Reaches every waiter and is not cached: the next call tries again.
                Err(error) => claims.into_iter().for_each(|claim| claim.land(Err(error.clone()))),
            }
            next = ready.recv().ok();
        }
    }

    fn deliver(&self, claims: Vec<Claim>, vectors: &[f32]) {
        for (claim, vector) in claims.into_iter().zip(vectors.chunks_exact(self.dimension)) {
            let vector = Vector::from(vector);
            // Cached before it lands: whoever finds the text no longer in flight finds it in the cache.
            self.cache.insert(claim.shared_text(), vector.clone());
            claim.land(Ok(vector));
        }
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) {
    let spawned = thread::Builder::new().name(name.to_string()).spawn(work);
    if let Err(error) = spawned {
        // The channel's other end is gone with the closure, so every call gets an error.
        tracing::error!(%error, thread = name, "thread cannot be started");
    }
}

/// Takes everything that has arrived, drops what nobody waits for, sorts by length, cuts into batches.
fn form_batches(arrivals: &Receiver<Vec<Item>>, batches: &SyncSender<Batch>, budget: usize) {
    while let Ok(first) = arrivals.recv() {
        let mut items = first;
        while let Ok(more) = arrivals.try_recv() {
            items.extend(more);
        }
        items.retain(|item| !item.claim.is_abandoned());
        items.sort_by_key(|item| item.tokens.len());
        let lengths: Vec<usize> = items.iter().map(|i| i.tokens.len()).collect();
        let mut items = items.into_iter();
        for run in cut(&lengths, budget) {
            let own: Vec<Item> = items.by_ref().take(run.len()).collect();
            let packed = PackedBatch::new(own.iter().map(|i| i.tokens.as_slice()));
            let claims = own.into_iter().map(|i| i.claim).collect();
            if batches.send((packed, claims)).is_err() {
                return;
            }
        }
    }
}
