//! What goes through a consumer: batches from the reader through the harmonizing threads to the sinks, in order, and
//! between them the reader's words.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use crossbeam_channel::{Receiver, Sender, bounded};
use tokio::runtime::Handle;

use super::metrics::SharedMetrics;
use super::options::ConsumerOptions;
use crate::harmonize::{ConceptIndex, Harmonized, Harmonizer, Messages};
use crate::{Error, Result};

/// Batches that wait for a thread, per thread; as many wait for each sink.
const WAITING: usize = 4;

/// A batch from the reader.
pub(super) struct Batch {
    pub(super) messages: Messages,
    /// The mark that it begins at, and the one that it ends at.
    pub(super) first: i64,
    pub(super) next: i64,
    /// The sinks that do not have it yet.
    pub(super) to_output: bool,
    pub(super) to_lake: bool,
}

/// A harmonized batch.
pub(super) struct Finished {
    pub(super) batch: Batch,
    pub(super) harmonized: Harmonized,
}

impl Finished {
    /// The timestamp of its oldest message.
    pub(super) fn oldest_ms(&self) -> Option<i64> {
        self.batch.messages.iter().filter_map(|m| m.timestamp_ms).min()
    }
}

/// What a sink is told.
#[derive(Clone)]
pub(super) enum Told {
    /// Take a batch.
    Batch(Arc<Finished>),
    /// Commit what there is, and say whether that worked.
    Flush(Sender<bool>),
    /// Forget what is not committed: reading goes back to the marks.
    Reset(Sender<bool>),
}

enum Queued {
    Batch(Receiver<Arc<Finished>>),
    Word(Told),
}

struct Job {
    batch: Batch,
    done: Sender<Arc<Finished>>,
}

/// What all threads of a consumer share.
pub(super) struct Shared {
    pub(super) options: ConsumerOptions,
    pub(super) harmonizer: Harmonizer,
    pub(super) index: ArcSwapOption<ConceptIndex>,
    pub(super) metrics: SharedMetrics,
    pub(super) handle: Handle,
    stop: AtomicBool,
    rewind: AtomicBool,
    failed: Mutex<Option<Error>>,
}

impl Shared {
    pub(super) fn new(options: ConsumerOptions, harmonizer: Harmonizer, metrics: SharedMetrics) -> Self {
        Self {
            options,
            harmonizer,
            index: ArcSwapOption::empty(),
            metrics,
            handle: Handle::current(),
            stop: AtomicBool::new(false),
            rewind: AtomicBool::new(false),
            failed: Mutex::new(None),
        }
    }

    /// Ends the consumer with an error; the first one stands.
    pub(super) fn fail(&self, error: Error) {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.stop();
    }

    pub(super) fn failure(&self) -> Option<Error> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Ends the consumer once what was taken is committed.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Asks the reader to go back to the marks.
    pub(super) fn ask_to_rewind(&self) {
        self.rewind.store(true, Ordering::Relaxed);
    }

    pub(super) fn was_asked_to_rewind(&self) -> bool {
        self.rewind.swap(false, Ordering::Relaxed)
    }

    async fn harmonize(&self, batch: Batch) -> Result<Finished> {
        let began = Instant::now();
        let index = self.index.load_full();
        let harmonized = self.harmonizer.harmonize(index.as_deref(), &batch.messages).await?;
        self.metrics.harmonized(&harmonized, began.elapsed().as_secs_f64());
        Ok(Finished { batch, harmonized })
    }
}

/// The reader's end.
pub(super) struct Flow {
    jobs: Sender<Job>,
    queue: Sender<Queued>,
    sinks: usize,
}

/// A batch that did not fit.
pub(super) struct Full(pub(super) Batch);

impl Flow {
    /// Starts the threads that harmonize, and the one that hands what they have done to the sinks in order. Also the
    /// sinks' ends.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub(super) fn start(shared: &Arc<Shared>, sinks: usize) -> Result<(Self, Vec<Receiver<Told>>)> {
        let threads = match shared.options.threads {
            0 => std::thread::available_parallelism().map_or(2, usize::from),
            some => some,
        };
        let (jobs, work) = bounded::<Job>(WAITING * threads);
        let (queue, ordered) = bounded::<Queued>(2 * WAITING * threads);
        let (to_sinks, ends): (Vec<_>, Vec<_>) = (0..sinks).map(|_| bounded::<Told>(WAITING * threads)).unzip();
        for _ in 0..threads {
            let (shared, work) = (Arc::clone(shared), work.clone());
            spawn("generel-harmonize", move || harmonize(&shared, &work))?;
        }
        spawn("generel-order", move || order(&ordered, &to_sinks))?;
        Ok((Self { jobs, queue, sinks }, ends))
    }

    /// Hands a batch on, waiting so long for room.
    pub(super) fn send(&self, batch: Batch, wait: Duration) -> std::result::Result<(), Full> {
        let (done, result) = bounded(1);
        match self.jobs.send_timeout(Job { batch, done }, wait) {
            // Only the reader queues, so that the order is that of the batches.
            Ok(()) => {
                let _ = self.queue.send(Queued::Batch(result));
                Ok(())
            }
            Err(error) => Err(Full(error.into_inner().batch)),
        }
    }

    /// Has the sinks commit everything handed on so far; whether they all did in this time.
    pub(super) fn flush(&self, wait: Duration) -> bool {
        self.tell(Told::Flush, wait)
    }

    /// Has the sinks forget what is not committed; whether they all did in this time.
    pub(super) fn reset(&self, wait: Duration) -> bool {
        self.tell(Told::Reset, wait)
    }

    fn tell(&self, word: fn(Sender<bool>) -> Told, wait: Duration) -> bool {
        let deadline = Instant::now() + wait;
        let (reply, replies) = bounded(self.sinks);
        if self.queue.send_timeout(Queued::Word(word(reply)), wait).is_err() {
            return false;
        }
        (0..self.sinks).all(|_| replies.recv_deadline(deadline).unwrap_or(false))
    }
}

pub(super) fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new()
        .name(name.to_string())
        .spawn(work)
        .map_err(|e| Error::Internal(format!("a thread cannot be started: {e}")))
}

fn harmonize(shared: &Shared, work: &Receiver<Job>) {
    for Job { batch, done } in work {
        match shared.handle.block_on(shared.harmonize(batch)) {
            // The sinks may have ended.
            Ok(finished) => drop(done.send(Arc::new(finished))),
            Err(error) => shared.fail(error),
        }
    }
}

/// Ends when the reader does. A batch that failed is left out: nothing after it is committed, for the consumer ends.
fn order(queue: &Receiver<Queued>, sinks: &[Sender<Told>]) {
    let mut broken = false;
    for queued in queue {
        let told = match queued {
            Queued::Batch(result) => match result.recv() {
                Ok(finished) if !broken => Told::Batch(finished),
                Ok(_) => continue,
                Err(_) => {
                    broken = true;
                    continue;
                }
            },
            Queued::Word(Told::Flush(reply)) if broken => {
                let _ = reply.send(false);
                continue;
            }
            Queued::Word(word) => word,
        };
        for sink in sinks {
            let _ = sink.send(told.clone());
        }
    }
}
