//! One file through all cores: one thread reads and cuts, workers parse and encode whole row groups, and the caller
//! gets those back in the order of the file.
//!
//! Memory is bounded by tickets: so many pieces of work are between the reader and the writer, and no more.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use crossbeam_channel::{Receiver, Sender, bounded};
use generel_schemas::tables::{GWAS_ASSOCIATIONS, QUARANTINE};
use generel_schemas::{RejectedRow, Table};
use tokio::sync::mpsc;

use super::duplicates::Places;
use crate::lake::parquet::{EncodedGroup, GroupEncoder, GroupWriter};
use crate::sources::{Chunk, ChunkReader, InputFile, ReadOptions, Reader, Slab, SlabParser, SlabReader, Source};
use crate::{Error, Result};

/// Where chunks come in order: rows or bytes of one piece of work.
const WORK_ROWS: u64 = 128 * 1024;
const WORK_BYTES: usize = 24 << 20;
/// First rejected rows of which the report shows the place.
const SHOWN_REJECTS: usize = 5;

/// What the workers need to know.
pub(super) struct Plan {
    pub(super) format: &'static dyn Source,
    pub(super) file: InputFile,
    pub(super) options: ReadOptions,
    pub(super) run_id: String,
    pub(super) input_id: String,
    /// What the format understood of the header.
    pub(super) recognized: Arc<OnceLock<String>>,
    /// The tables that still lack the file's rows.
    pub(super) encoders: Vec<(&'static Table, Arc<GroupEncoder>)>,
}

/// What a piece of work became.
#[derive(Default)]
pub(super) struct Piece {
    pub(super) tally: Tally,
    /// Row groups, by position in [`Plan::encoders`].
    pub(super) groups: Vec<(usize, EncodedGroup)>,
    pub(super) places: Places,
}

/// Counts of rows.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) read: u64,
    pub(super) taken: u64,
    pub(super) rejected: u64,
    pub(super) ignored: BTreeMap<&'static str, u64>,
    pub(super) kept: BTreeMap<&'static str, u64>,
    pub(super) reasons: BTreeMap<&'static str, u64>,
    pub(super) nulled: BTreeMap<&'static str, u64>,
    pub(super) noted: BTreeMap<&'static str, u64>,
    pub(super) first_rejects: Vec<String>,
}

impl Tally {
    fn of(chunk: &Chunk) -> Self {
        let mut tally = Self {
            read: chunk.rows_read,
            taken: chunk.rows_taken,
            rejected: chunk.rejected.len() as u64,
            ignored: chunk.ignored.clone(),
            nulled: chunk.nulled.clone(),
            noted: chunk.noted.clone(),
            first_rejects: chunk.rejected.iter().take(SHOWN_REJECTS).map(ToString::to_string).collect(),
            ..Self::default()
        };
        for row in &chunk.rejected {
            *tally.reasons.entry(row.reason.as_str()).or_default() += 1;
        }
        for (table, batch) in &chunk.batches {
            *tally.kept.entry(table.name).or_default() += batch.num_rows() as u64;
        }
        tally
    }

    pub(super) fn add(&mut self, other: Self) {
        fn merge(into: &mut BTreeMap<&'static str, u64>, from: BTreeMap<&'static str, u64>) {
            for (key, count) in from {
                *into.entry(key).or_default() += count;
            }
        }
        self.read += other.read;
        self.taken += other.taken;
        self.rejected += other.rejected;
        merge(&mut self.ignored, other.ignored);
        merge(&mut self.kept, other.kept);
        merge(&mut self.reasons, other.reasons);
        merge(&mut self.nulled, other.nulled);
        merge(&mut self.noted, other.noted);
        let room = SHOWN_REJECTS.saturating_sub(self.first_rejects.len());
        self.first_rejects.extend(other.first_rejects.into_iter().take(room));
    }
}

enum Work {
    Slab { parser: Arc<dyn SlabParser>, bytes: Vec<u8>, first_line: u64, quote: Option<u8> },
    Chunks(Vec<Chunk>),
}

/// A numbered piece; `None` behind the last.
type Numbered = (u64, Result<Option<Piece>>);

/// Pieces in the order of the file, until `None` or an error.
pub(super) struct Pieces {
    results: mpsc::UnboundedReceiver<Numbered>,
    tickets: Receiver<()>,
    waiting: BTreeMap<u64, Result<Option<Piece>>>,
    next: u64,
}

impl Pieces {
    /// The next piece of the file.
    ///
    /// # Errors
    /// When the file cannot be read on, or a thread ended without a result.
    pub(super) async fn next(&mut self) -> Result<Option<Piece>> {
        loop {
            if let Some(piece) = self.waiting.remove(&self.next) {
                self.next += 1;
                // Each piece took one ticket when it was made.
                let _ = self.tickets.try_recv();
                return piece;
            }
            let lost = || Error::Internal("a reading thread ended without a result".into());
            let (number, piece) = self.results.recv().await.ok_or_else(lost)?;
            self.waiting.insert(number, piece);
        }
    }
}

/// Starts reading a file. Dropping the result stops the threads.
pub(super) fn start(plan: Plan, workers: usize) -> Pieces {
    let (results, receiver) = mpsc::unbounded_channel();
    let (ticket, tickets) = bounded(workers + 2);
    let runtime = tokio::runtime::Handle::current();
    std::thread::spawn(move || {
        // Remote files are read through the runtime.
        let _entered = runtime.enter();
        run(&plan, workers, &results, &ticket);
    });
    Pieces { results: receiver, tickets, waiting: BTreeMap::new(), next: 0 }
}

fn run(plan: &Plan, workers: usize, results: &mpsc::UnboundedSender<Numbered>, tickets: &Sender<()>) {
    let (sender, receiver) = bounded::<(u64, Work)>(workers);
    let (spent_sender, spent) = bounded::<Vec<u8>>(workers + 2);
    let mut number = 0;
    std::thread::scope(|scope| {
        for _ in 0..workers {
            let (receiver, spent) = (receiver.clone(), spent_sender.clone());
            scope.spawn(move || {
                for (number, work) in receiver {
                    if results.send((number, guarded(|| piece(plan, work, &spent)).map(Some))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(receiver);
        let ended = guarded(|| {
            produce(plan, &spent, &mut |work| {
                let open = tickets.send(()).is_ok() && sender.send((number, work)).is_ok();
                number += 1;
                open
            })
        });
        let _ = results.send((number, ended.map(|()| None)));
        drop(sender);
    });
}

/// A panic of a parser is an error of the file, and must not leave the others waiting.
fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(Error::Internal("a parser panicked; please report the file's format".into())))
}

/// Reads the file and hands out work until `hand_out` says that nobody wants more.
fn produce(plan: &Plan, spent: &Receiver<Vec<u8>>, hand_out: &mut dyn FnMut(Work) -> bool) -> Result<()> {
    match plan.format.open(&plan.file, &plan.options)? {
        Reader::Slabs(SlabReader { mut slabs, parser, recognized }) => loop {
            if let Some(recognized) = &recognized {
                plan.recognized.get_or_init(|| recognized.clone());
            }
            let mut bytes = spent.try_recv().unwrap_or_default();
            let Some(first_line) = slabs.next(&mut bytes)? else { return Ok(()) };
            let quote = slabs.quote();
            if !hand_out(Work::Slab { parser: Arc::clone(&parser), bytes, first_line, quote }) {
                return Ok(());
            }
        },
        Reader::Chunks(mut chunks) => loop {
            let (work, ended) = gather(chunks.as_mut())?;
            if !work.is_empty() && !hand_out(Work::Chunks(work)) || ended {
                return Ok(());
            }
        },
    }
}

/// Chunks for one piece of work, and whether they were the last.
fn gather(chunks: &mut dyn ChunkReader) -> Result<(Vec<Chunk>, bool)> {
    let (mut work, mut rows, mut bytes) = (Vec::new(), 0, 0);
    while rows < WORK_ROWS && bytes < WORK_BYTES {
        let Some(chunk) = chunks.next_chunk()? else { return Ok((work, true)) };
        rows += chunk.rows_read.max(chunk.rows_kept());
        bytes += chunk.batches.iter().map(|(_, batch)| batch.get_array_memory_size()).sum::<usize>();
        work.push(chunk);
    }
    Ok((work, false))
}

/// Parses and encodes.
fn piece(plan: &Plan, work: Work, spent: &Sender<Vec<u8>>) -> Result<Piece> {
    let mut encoding = Encoding::new(plan);
    match work {
        Work::Slab { parser, bytes, first_line, quote } => {
            for slab in (Slab { bytes: &bytes, first_line, quote }).pieces() {
                encoding.add(parser.parse(&slab)?)?;
            }
            // The buffer is used again; if nobody waits for one there are enough.
            let _ = spent.try_send(bytes);
        }
        Work::Chunks(chunks) => chunks.into_iter().try_for_each(|chunk| encoding.add(chunk))?,
    }
    encoding.finish()
}

/// The row groups of a piece in the making.
struct Encoding<'a> {
    plan: &'a Plan,
    writers: Vec<Option<GroupWriter<'a>>>,
    tally: Tally,
    places: Places,
}

impl<'a> Encoding<'a> {
    fn new(plan: &'a Plan) -> Self {
        Self {
            plan,
            writers: plan.encoders.iter().map(|_| None).collect(),
            tally: Tally::default(),
            places: Places::default(),
        }
    }

    fn add(&mut self, chunk: Chunk) -> Result<()> {
        self.tally.add(Tally::of(&chunk));
        if !chunk.rejected.is_empty() {
            self.write(&QUARANTINE, &quarantined(&chunk.rejected, self.plan)?)?;
        }
        for (table, batch) in &chunk.batches {
            if table.name == GWAS_ASSOCIATIONS.name {
                self.places.add(batch);
            }
            self.write(table, &with_source(table, batch, &self.plan.options.source)?)?;
        }
        Ok(())
    }

    /// Encodes rows of a table that lacks them; those of another are there already.
    fn write(&mut self, table: &Table, batch: &RecordBatch) -> Result<()> {
        let Some(at) = self.plan.encoders.iter().position(|(t, _)| t.name == table.name) else { return Ok(()) };
        let writer = match &mut self.writers[at] {
            Some(writer) => writer,
            none => none.insert(self.plan.encoders[at].1.begin()),
        };
        writer.write(batch)
    }

    fn finish(self) -> Result<Piece> {
        let mut groups = Vec::new();
        for (at, writer) in self.writers.into_iter().enumerate() {
            if let Some(writer) = writer {
                groups.push((at, writer.finish()?));
            }
        }
        Ok(Piece { tally: self.tally, groups, places: self.places })
    }
}

/// Adds what every row of a source has in common. The other column of the engine is the partition.
fn with_source(table: &Table, batch: &RecordBatch, source: &str) -> Result<RecordBatch> {
    let rows = batch.num_rows();
    let mut columns: Vec<ArrayRef> = vec![Arc::new(StringArray::from_iter_values(std::iter::repeat_n(source, rows)))];
    columns.extend(batch.columns().iter().cloned());
    let all: Vec<usize> = (0..table.columns.len() - 1).collect();
    Ok(RecordBatch::try_new(Arc::new(table.schema().project(&all)?), columns)?)
}

fn quarantined(rejected: &[RejectedRow], plan: &Plan) -> Result<RecordBatch> {
    let (rows, file) = (rejected.len(), plan.file.name());
    let text = |f: &dyn Fn(&RejectedRow) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(rejected.iter().map(f)))
    };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec![plan.run_id.as_str(); rows])),
        Arc::new(StringArray::from(vec![plan.options.source.as_str(); rows])),
        Arc::new(StringArray::from(vec![file.as_str(); rows])),
        Arc::new(Int64Array::from_iter_values(rejected.iter().map(|r| r.line as i64))),
        Arc::new(rejected.iter().map(|r| r.column.as_deref()).collect::<StringArray>()),
        text(&|r| r.reason.to_string()),
        text(&|r| r.message.clone()),
        text(&|r| r.raw.clone()),
        Arc::new(StringArray::from(vec![plan.input_id.as_str(); rows])),
    ];
    Ok(RecordBatch::try_new(QUARANTINE.schema(), columns)?)
}
