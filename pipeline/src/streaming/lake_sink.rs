//! The sink of rows: micro-batches in the lake, each in one commit with the next offset of every partition it holds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use deltalake::kernel::Action;
use generel_schemas::Table;
use tokio::task::JoinHandle;

use super::flow::{Finished, Shared, Told};
use super::options::LakeOptions;
use crate::lake::parquet::{EncodedGroup, GroupEncoder};
use crate::lake::{AppendLog, DataFiles, Mark};
use crate::{Error, Lake, Result};

/// Rows that are encoded together.
const GROUP_ROWS: usize = 128 * 1024;
/// How often a commit is tried when storage fails, and the first pause.
const TRIES: u32 = 6;
const PAUSE: Duration = Duration::from_millis(500);
/// Name of the sink in metrics.
const SINK: &str = "lake";

/// The sink of rows: fills a micro-batch while the one before it is committed.
pub(super) struct LakeSink {
    shared: Arc<Shared>,
    encoder: Arc<GroupEncoder>,
    limits: LakeOptions,
    open: Option<Open>,
    /// Who commits, while nothing is being committed.
    committer: Option<Box<Committer>>,
    /// It comes back with whether everything is committed.
    committing: Option<JoinHandle<(Box<Committer>, bool)>>,
    broken: bool,
}

/// Commits micro-batches, one after another.
struct Committer {
    shared: Arc<Shared>,
    lake: Lake,
    table: &'static Table,
    encoder: Arc<GroupEncoder>,
    run_id: String,
    /// The table as this sink has left it.
    log: Option<AppendLog>,
}

/// Where the marks of a micro-batch's partitions are.
enum Place {
    /// Where it begins.
    Begin,
    /// Where it ends: its commit got through, and only the answer was lost.
    End,
    /// Another member of the group was first.
    Elsewhere,
}

/// A micro-batch under way.
struct Open {
    shared: Arc<Shared>,
    encoder: Arc<GroupEncoder>,
    since: Instant,
    /// All its batches: storage can fail, and an encoded row group goes into one file only.
    batches: Vec<RecordBatch>,
    /// How many of them are in row groups, and the rows of the others.
    encoded: usize,
    waiting_rows: usize,
    groups: Vec<JoinHandle<Result<EncodedGroup>>>,
    /// First and next offset of each partition, by the id of its mark.
    partitions: BTreeMap<String, (i64, i64)>,
    rows: usize,
    bytes: usize,
    /// Bytes of the files that were committed.
    stored_bytes: u64,
    oldest_ms: Option<i64>,
}

impl LakeSink {
    pub(super) fn new(
        shared: Arc<Shared>,
        lake: Lake,
        table: &'static Table,
        limits: LakeOptions,
        run_id: String,
    ) -> Result<Self> {
        let encoder = Arc::new(GroupEncoder::new(table)?);
        let ours = (Arc::clone(&shared), Arc::clone(&encoder));
        let committer = Committer { shared: ours.0, lake, table, encoder: ours.1, run_id, log: None };
        let committer = Some(Box::new(committer));
        Ok(Self { shared, encoder, limits, open: None, committer, committing: None, broken: false })
    }

    /// Takes what it is told until the reader ends.
    pub(super) fn run(mut self, told: &Receiver<Told>) {
        loop {
            let left = self
                .open
                .as_ref()
                .map_or(Duration::from_secs(1), |open| self.limits.max_wait.saturating_sub(open.since.elapsed()));
            match told.recv_timeout(left) {
                Ok(Told::Batch(finished)) => {
                    if !self.broken && finished.batch.to_lake {
                        self.take(&finished);
                        let full =
                            |open: &Open| open.rows >= self.limits.max_rows || open.bytes >= self.limits.max_bytes;
                        if self.open.as_ref().is_some_and(full) {
                            self.commit();
                        }
                    }
                }
                Ok(Told::Flush(reply)) => self.answer(&reply, false),
                Ok(Told::Reset(reply)) => self.answer(&reply, true),
                Err(RecvTimeoutError::Timeout) => {
                    if self.open.as_ref().is_some_and(|open| open.since.elapsed() >= self.limits.max_wait) {
                        self.commit();
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn answer(&mut self, reply: &Sender<bool>, reset: bool) {
        if !self.broken {
            self.commit();
        }
        self.settle();
        let committed = !self.broken;
        if reset {
            self.open = None;
            self.broken = false;
        }
        let _ = reply.send(committed || reset);
    }

    fn take(&mut self, finished: &Finished) {
        let batch = &finished.batch;
        let open = self.open.get_or_insert_with(|| Open {
            shared: Arc::clone(&self.shared),
            encoder: Arc::clone(&self.encoder),
            since: Instant::now(),
            batches: Vec::new(),
            encoded: 0,
            waiting_rows: 0,
            groups: Vec::new(),
            partitions: BTreeMap::new(),
            rows: 0,
            bytes: 0,
            stored_bytes: 0,
            oldest_ms: None,
        });
        let mark = self.shared.options.mark_id(&batch.messages.topic, batch.messages.partition);
        open.partitions.entry(mark).or_insert((batch.first, batch.next)).1 = batch.next;
        open.oldest_ms = open.oldest_ms.into_iter().chain(finished.oldest_ms()).min();
        let Some(rows) = &finished.harmonized.rows else { return };
        let bytes = rows.get_array_memory_size();
        self.shared.metrics.waiting(bytes as i64);
        open.rows += rows.num_rows();
        open.bytes += bytes;
        open.waiting_rows += rows.num_rows();
        open.batches.push(rows.clone());
        if open.waiting_rows >= GROUP_ROWS {
            open.encode();
        }
    }

    /// Has the open micro-batch committed, once the one before it is.
    fn commit(&mut self) {
        let Some(mut open) = self.open.take() else { return };
        open.encode();
        self.settle();
        if self.broken {
            return;
        }
        if let Some(mut committer) = self.committer.take() {
            self.committing = Some(self.shared.handle.spawn_blocking(move || {
                let committed = committer.commit(open);
                (committer, committed)
            }));
        }
    }

    /// Waits until nothing is being committed.
    fn settle(&mut self) {
        if let Some(committing) = self.committing.take() {
            match self.shared.handle.block_on(committing) {
                Ok((committer, committed)) => {
                    self.committer = Some(committer);
                    self.broken |= !committed;
                }
                Err(error) => self.shared.fail(Error::Internal(error.to_string())),
            }
        }
        // Without who commits nothing is committed any more, and the consumer ends.
        self.broken |= self.committer.is_none();
    }
}

impl Committer {
    /// Commits a micro-batch; whether it is.
    fn commit(&mut self, mut open: Open) -> bool {
        let began = Instant::now();
        let shared = Arc::clone(&self.shared);
        match shared.handle.block_on(self.try_commit(&mut open)) {
            Ok(true) => {
                shared.metrics.stored(open.rows as u64, open.stored_bytes);
                shared.metrics.committed(SINK, began.elapsed().as_secs_f64(), open.oldest_ms);
                let (rows, ms) = (open.rows, began.elapsed().as_millis() as u64);
                for (mark, (_, next)) in &open.partitions {
                    tracing::debug!(mark, next, rows, ms, "rows committed");
                }
                true
            }
            Ok(false) => {
                tracing::warn!("another member has committed these messages; reading goes back to the marks");
                shared.ask_to_rewind();
                false
            }
            Err(error) => {
                shared.fail(error);
                false
            }
        }
    }

    /// False where another member of the group was first.
    async fn try_commit(&mut self, open: &mut Open) -> Result<bool> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.commit_once(open).await {
                Ok(committed) => return Ok(committed),
                Err(error) if tries < TRIES && !self.shared.has_failed() => {
                    tracing::warn!(%error, tries, "rows cannot be committed yet");
                    tokio::time::sleep(PAUSE * 2u32.pow(tries)).await;
                }
                Err(error) => return Err(error),
            }
            // What was not taken is encoded anew with the rest.
            open.groups.clear();
            open.encoded = 0;
            open.encode();
        }
    }

    async fn commit_once(&mut self, open: &mut Open) -> Result<bool> {
        let mut log = match self.log.take() {
            Some(log) => log,
            None => AppendLog::open(&self.lake, self.table, &open.ids()).await?,
        };
        let unit = Some(self.shared.options.name.as_str());
        let marks: Vec<Mark> = open.partitions.iter().map(|(id, (_, next))| Mark::new(id.clone(), *next)).collect();
        let mut written = None;
        let committed = loop {
            match open.place(&mut log).await? {
                Place::Begin => {}
                Place::End => break true,
                Place::Elsewhere => break false,
            }
            let files = match &mut written {
                Some(files) => files,
                None => {
                    let mut files = DataFiles::new(Arc::clone(&self.encoder), log.log_store(), unit)?;
                    for group in std::mem::take(&mut open.groups) {
                        files.append(group.await.map_err(|e| Error::Internal(e.to_string()))??).await?;
                    }
                    let files = written.insert(files.finish().await?);
                    open.stored_bytes = files.iter().map(file_bytes).sum();
                    files
                }
            };
            if log.append(files, unit, &marks, &self.run_id).await? {
                break true;
            }
        };
        self.log = Some(log);
        Ok(committed)
    }
}

impl Open {
    /// The marks of its partitions.
    fn ids(&self) -> Vec<&str> {
        self.partitions.keys().map(String::as_str).collect()
    }

    /// Where the marks are. What others may have committed is asked for only where they are not where it begins.
    async fn place(&self, log: &mut AppendLog) -> Result<Place> {
        let ids = self.ids();
        let firsts = || self.partitions.values().map(|(first, _)| Some(*first));
        if log.marks(&ids).await?.into_iter().eq(firsts()) {
            return Ok(Place::Begin);
        }
        log.catch_up().await?;
        let marks = log.marks(&ids).await?;
        Ok(if marks.iter().copied().eq(firsts()) {
            Place::Begin
        } else if marks.into_iter().eq(self.partitions.values().map(|(_, next)| Some(*next))) {
            Place::End
        } else {
            Place::Elsewhere
        })
    }

    fn encode(&mut self) {
        let batches = self.batches[self.encoded..].to_vec();
        (self.encoded, self.waiting_rows) = (self.batches.len(), 0);
        if batches.is_empty() {
            return;
        }
        let encoder = Arc::clone(&self.encoder);
        self.groups.push(self.shared.handle.spawn_blocking(move || {
            let mut group = encoder.begin();
            batches.iter().try_for_each(|batch| group.write(batch))?;
            group.finish()
        }));
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.shared.metrics.waiting(-(self.bytes as i64));
    }
}

/// Bytes of a file that a commit adds.
fn file_bytes(action: &Action) -> u64 {
    match action {
        Action::Add(add) => add.size.max(0) as u64,
        _ => 0,
    }
}
