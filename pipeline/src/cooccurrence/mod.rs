//! The co-occurrence stage: which codes the same persons have, near each other in time and more often than by chance, from
//! `patient_events` into `kg_edges`.
//!
//! A pair of codes counts once for each person who has both within the window, so that a count is a number of persons and
//! can be suppressed when it is small. The weight is the shifted positive pointwise mutual information of the matrix of these
//! counts (Levy and Goldberg 2014): `ln(n_ab · n / (n_a · n_b)) − ln k`, where n_a is the sum of a's row and n of all rows, of
//! the counts that are not suppressed; pairs at which it is not positive are left out.

mod count;
mod events;

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, new_null_array};
use futures::StreamExt;
use generel_schemas::tables::{INPUT_ID, KG_EDGES, PATIENT_EVENTS};
use hashbrown::DefaultHashBuilder;
use serde::{Deserialize, Serialize};

use crate::lake::{Commit, Mark, marks};
use crate::sources::Fingerprint;
use crate::{Error, Result, Session};
use count::{Cell, Counted};
use events::{Events, PersonEvents};

/// Predicate of the edges: the Biolink model's for a statistical association of two things.
pub const CORRELATED_WITH: &str = "biolink:correlated_with";

/// Before the name, in `input_id` of the edges: what tells them from edges that a graph of the same predicate brings.
pub(crate) const UNIT: &str = "cooccurrence/";

/// What is counted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CooccurrenceOptions {
    /// The `source` of the edges.
    pub name: String,
    /// Sources of events; all where empty.
    pub sources: Vec<String>,
    /// OMOP tables of events; all but `person` where empty.
    pub event_tables: Vec<String>,
    /// Days between two events, at most.
    pub window_days: u32,
    /// Persons that a code and a pair must have; what has fewer is neither counted nor told of.
    pub min_persons: u32,
    /// k of the shift −ln k; 1 for none.
    pub shift: u32,
}

impl Default for CooccurrenceOptions {
    fn default() -> Self {
        Self {
            name: "cooccurrence".into(),
            sources: Vec::new(),
            event_tables: Vec::new(),
            window_days: 30,
            min_persons: 11,
            shift: 1,
        }
    }
}

/// What the stage did.
#[derive(Debug, Clone, PartialEq)]
pub struct CooccurrenceReport {
    /// Whether the lake had the result already; then nothing was counted.
    pub skipped: bool,
    /// Events with a code and a date.
    pub events: u64,
    /// Persons that have any.
    pub persons: u64,
    /// Distinct codes.
    pub codes: u64,
    /// Codes of fewer persons than are told of.
    pub rare_codes: u64,
    /// Pairs of fewer persons than are told of.
    pub rare_pairs: u64,
    /// Edges written.
    pub edges: u64,
    /// Changes with the events and the options.
    pub state: Fingerprint,
    /// New version of `kg_edges`, if it was written.
    pub version: Option<u64>,
}

impl CooccurrenceOptions {
    /// Whether it can be counted so.
    ///
    /// # Errors
    /// When it cannot.
    pub fn check(&self) -> Result<()> {
        let wrong = |problem: &str| Err(Error::Invalid(problem.to_string()));
        if self.name.is_empty() {
            return wrong("the edges need a source's name");
        }
        if self.min_persons == 0 {
            return wrong("a pair has 1 person at least");
        }
        if self.shift == 0 {
            return wrong("the shift is 1 or more");
        }
        Ok(())
    }

    /// The query for the events, as [`Events::push`] takes them.
    fn query(&self) -> String {
        let listed = |column: &str, all: &[String], otherwise: &str| match all {
            [] => otherwise.to_string(),
            some => {
                let quoted: Vec<String> = some.iter().map(|s| format!("'{}'", s.replace('\'', "''"))).collect();
                format!("{column} IN ({})", quoted.join(", "))
            }
        };
        format!(
            "SELECT person_id, CAST(event_date AS INT), source, source_vocabulary, source_code, source_name \
             FROM patient_events WHERE source_code IS NOT NULL AND event_date IS NOT NULL AND {} AND {}",
            listed("source", &self.sources, "true"),
            listed("event_table", &self.event_tables, "event_table <> 'person'")
        )
    }

    fn fingerprint(&self, version: u64) -> Result<Fingerprint> {
        let options = serde_json::to_vec(self).map_err(|e| Error::Internal(e.to_string()))?;
        Ok(Fingerprint::of(&[&version.to_le_bytes(), &options]))
    }
}

/// Counts the events of a session's lake and commits the edges to `kg_edges`, in the place of those of the last time; the
/// session sees them once it is refreshed.
///
/// # Errors
/// When the options are none that can be counted by, or the lake fails.
pub async fn cooccurrence(
    session: &Session,
    options: &CooccurrenceOptions,
    run_id: &str,
) -> Result<CooccurrenceReport> {
    options.check()?;
    // The version first: what comes in between is counted, and counted again the next time.
    let version = session.lake.table(&PATIENT_EVENTS).await?.and_then(|table| table.version());
    session.refresh().await?;
    let Some(version) = version else {
        return Err(Error::Invalid("the lake has no patient events; ingest some first".into()));
    };
    let state = options.fingerprint(version)?;
    let mark = Mark::new(format!("generel/cooccurrence/{}", options.name), state.as_i64());
    let mut report = CooccurrenceReport {
        skipped: true,
        events: 0,
        persons: 0,
        codes: 0,
        rare_codes: 0,
        rare_pairs: 0,
        edges: 0,
        state,
        version: None,
    };
    let stored = session.lake.table_or_create(&KG_EDGES).await?;
    if marks::read(&KG_EDGES, &stored, &mark.id).await? == Some(mark.version) {
        return Ok(report);
    }
    let sources = "SELECT DISTINCT source FROM patient_events";
    session.known("source", "source of patient events", sources, options.sources.iter()).await?;
    let tables = "SELECT DISTINCT event_table FROM patient_events";
    session.known("tables", "table of patient events", tables, options.event_tables.iter()).await?;
    let (counted, events) = count(session, options).await?;
    let unit = format!("{UNIT}{}", options.name);
    let mut writer = session.lake.writer(&KG_EDGES, Some(&unit)).await?;
    for some in counted.cells.chunks(64 * 1024) {
        writer.write(edges(some, &events.codes, &counted.names, options, &unit)?).await?;
    }
    let commit = Commit { replace_unit: true, marks: vec![mark], run_id: run_id.to_string() };
    report.version = Some(writer.commit(commit).await?);
    report.skipped = false;
    (report.events, report.persons) = (events.read, events.persons as u64);
    (report.codes, report.edges) = (events.codes.len() as u64, counted.cells.len() as u64);
    (report.rare_codes, report.rare_pairs) = (counted.rare_codes, counted.rare_pairs);
    Ok(report)
}

/// Reads the events as a stream, of which 12 bytes each are kept, and counts them.
async fn count(session: &Session, options: &CooccurrenceOptions) -> Result<(Counted, PersonEvents)> {
    let streams = session.ctx().sql(&options.query()).await?.execute_stream_partitioned().await?;
    let hasher = DefaultHashBuilder::default();
    let readers = streams.into_iter().map(|mut stream| {
        let hasher = hasher.clone();
        tokio::spawn(async move {
            let mut events = Events::default();
            while let Some(batch) = stream.next().await {
                events.push(&batch?, &hasher)?;
            }
            Ok::<_, Error>(events)
        })
    });
    let mut all = Vec::new();
    for reader in futures::future::join_all(readers).await {
        all.push(reader.map_err(|e| Error::Internal(e.to_string()))??);
    }
    let options = options.clone();
    let counted = tokio::task::spawn_blocking(move || {
        let events = Events::merged(all, rayon::current_num_threads())?;
        Ok::<_, Error>((count::count(&events, &options), events))
    });
    counted.await.map_err(|e| Error::Internal(e.to_string()))?
}

fn edges(
    cells: &[Cell],
    codes: &[String],
    names: &[Option<Box<str>>],
    options: &CooccurrenceOptions,
    unit: &str,
) -> Result<RecordBatch> {
    let code = |i: u32| Some(codes[i as usize].as_str());
    let name = |i: u32| names[i as usize].as_deref();
    let text =
        |of: &dyn Fn(&Cell) -> Option<String>| -> ArrayRef { Arc::new(StringArray::from_iter(cells.iter().map(of))) };
    let owned = |value: Option<&str>| value.map(str::to_string);
    let schema = KG_EDGES.schema();
    let columns = schema.fields().iter().map(|field| -> Result<ArrayRef> {
        let column = match field.name().as_str() {
            "source" => text(&|_| Some(options.name.clone())),
            "subject" => text(&|c| owned(code(c.left))),
            "subject_name" => text(&|c| owned(name(c.left))),
            "predicate" => text(&|_| Some(CORRELATED_WITH.to_string())),
            "object" => text(&|c| owned(code(c.right))),
            "object_name" => text(&|c| owned(name(c.right))),
            "weight" => Arc::new(Float64Array::from_iter_values(cells.iter().map(|c| c.weight))),
            "provenance" => text(&|c| Some(format!("{} persons within {} days", c.persons, options.window_days))),
            INPUT_ID => text(&|_| Some(unit.to_string())),
            _ => new_null_array(field.data_type(), cells.len()),
        };
        Ok(arrow::compute::cast(&column, field.data_type())?)
    });
    Ok(RecordBatch::try_new(Arc::clone(&schema), columns.collect::<Result<Vec<_>>>()?)?)
}
