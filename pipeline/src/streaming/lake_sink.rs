//! The sink of rows: micro-batches in the lake, each in one commit with the next offset of every partition it holds.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use deltalake::DeltaTable;
use generel_schemas::Table;
use tokio::task::JoinHandle;

use super::flow::{Finished, Shared, Told};
use super::options::LakeOptions;
use crate::lake::parquet::{EncodedGroup, GroupEncoder};
use crate::lake::{Commit, Mark, TableWriter, marks};
use crate::{Error, Lake, Result};

/// Rows that are encoded together.
const GROUP_ROWS: usize = 128 * 1024;
/// How often a commit is tried when storage fails, and the first pause.
const TRIES: u32 = 6;
const PAUSE: Duration = Duration::from_millis(500);
/// Commits after which the table is read anew: each leaves its own batch of file statistics, some 0.4 MB, in a table that is
/// carried along; read from a checkpoint they are one.
const COMMITS_CARRIED: u32 = 50;
/// Name of the sink in metrics.
const SINK: &str = "lake";

/// The sink of rows: fills a micro-batch while the one before it is committed.
pub(super) struct LakeSink {
    shared: Arc<Shared>,
    encoder: Arc<GroupEncoder>,
    limits: LakeOptions,
    open: Option<Open>,
    committer: Committing,
    broken: bool,
}

/// Who commits, and where it is.
enum Committing {
    Idle(Box<Committer>),
    /// It comes back with whether everything is committed.
    Busy(JoinHandle<(Box<Committer>, bool)>),
    /// It did not come back, and the consumer ends.
    Lost,
}

/// Commits micro-batches, one after another.
struct Committer {
    shared: Arc<Shared>,
    lake: Lake,
    table: &'static Table,
    encoder: Arc<GroupEncoder>,
    run_id: String,
    known: Option<Committed>,
}

/// The table as this sink has left it. To open it anew for each commit, and to look for the mark of each partition, is to
/// read its log since the last checkpoint again and again.
struct Committed {
    delta: DeltaTable,
    version: u64,
    /// Marks as of this version.
    marks: HashMap<String, i64>,
    /// Commits since the table was read whole.
    carried: u32,
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
        let committer = Committer { shared: ours.0, lake, table, encoder: ours.1, run_id, known: None };
        let committer = Committing::Idle(Box::new(committer));
        Ok(Self { shared, encoder, limits, open: None, committer, broken: false })
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
        self.committer = match std::mem::replace(&mut self.committer, Committing::Lost) {
            Committing::Idle(mut committer) => Committing::Busy(self.shared.handle.spawn_blocking(move || {
                let committed = committer.commit(open);
                (committer, committed)
            })),
            other => other,
        };
    }

    /// Waits until nothing is being committed.
    fn settle(&mut self) {
        self.committer = match std::mem::replace(&mut self.committer, Committing::Lost) {
            Committing::Busy(busy) => match self.shared.handle.block_on(busy) {
                Ok((committer, committed)) => {
                    self.broken |= !committed;
                    Committing::Idle(committer)
                }
                Err(error) => {
                    self.shared.fail(Error::Internal(error.to_string()));
                    Committing::Lost
                }
            },
            other => other,
        };
        self.broken |= matches!(self.committer, Committing::Lost);
    }
}

impl Committer {
    /// Commits a micro-batch; whether it is.
    fn commit(&mut self, mut open: Open) -> bool {
        let began = Instant::now();
        let shared = Arc::clone(&self.shared);
        match shared.handle.block_on(self.try_commit(&mut open)) {
            Ok(true) => {
                shared.metrics.stored(open.rows as u64);
                shared.metrics.committed(SINK, began.elapsed().as_secs_f64(), open.oldest_ms);
                tracing::debug!(rows = open.rows, ms = began.elapsed().as_millis() as u64, "rows committed");
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
                // The marks say who was first.
                Err(error) if error.is_conflict() && tries < TRIES => {}
                Err(error) if tries < TRIES && !self.shared.has_failed() => {
                    tracing::warn!(%error, tries, "rows cannot be committed yet");
                    tokio::time::sleep(PAUSE * 2u32.pow(tries)).await;
                }
                Err(error) => return Err(error),
            }
            open.encoded = 0;
            open.encode();
        }
    }

    async fn commit_once(&mut self, open: &mut Open) -> Result<bool> {
        let Committed { delta, version, marks: mut known, carried } = self.as_it_is().await?;
        for (id, (first, _)) in &open.partitions {
            let mark = match known.get(id) {
                Some(mark) => Some(*mark),
                None => marks::read(self.table, &delta, id).await?,
            };
            if mark != Some(*first) {
                return self.was_ours(&delta, &open.partitions).await;
            }
        }
        let (encoder, consumer) = (Arc::clone(&self.encoder), self.shared.options.name.as_str());
        let mut writer = TableWriter::of_encoded(encoder, delta.clone(), Some(consumer))?;
        for group in std::mem::take(&mut open.groups) {
            writer.append(group.await.map_err(|e| Error::Internal(e.to_string()))??).await?;
        }
        let marks = open.partitions.iter().map(|(id, (_, next))| Mark::new(id.clone(), *next)).collect();
        let made = writer.commit(Commit { replace_unit: false, marks, run_id: self.run_id.clone() }).await?;
        if made != version + 1 {
            // Others were in between: what they have set is not known.
            known.clear();
        }
        known.extend(open.partitions.iter().map(|(id, (_, next))| (id.clone(), *next)));
        self.known = Some(Committed { delta, version: made, marks: known, carried: carried + 1 });
        Ok(true)
    }

    /// The table as it is now; what is known of it stands while nobody else has committed.
    async fn as_it_is(&mut self) -> Result<Committed> {
        let Some(Committed { mut delta, version, marks, carried }) = self.known.take() else {
            let delta = self.lake.table_or_create(self.table).await?;
            let version = delta.version().unwrap_or_default();
            return Ok(Committed { delta, version, marks: HashMap::new(), carried: 0 });
        };
        let carried = if carried < COMMITS_CARRIED {
            delta.update_state().await.map_err(|e| Error::delta(self.table.name, e))?;
            carried
        } else {
            delta = self.lake.table_or_create(self.table).await?;
            0
        };
        let now = delta.version().unwrap_or_default();
        let marks = if now == version { marks } else { HashMap::new() };
        Ok(Committed { delta, version: now, marks, carried })
    }

    /// Whether all marks are where this micro-batch ends: its commit got through, and only the answer was lost.
    async fn was_ours(&self, table: &DeltaTable, partitions: &BTreeMap<String, (i64, i64)>) -> Result<bool> {
        for (id, (_, next)) in partitions {
            if marks::read(self.table, table, id).await? != Some(*next) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Open {
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
