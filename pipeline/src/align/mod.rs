//! The align stage: the names of one source against the names of another, by similarity of their embeddings, with
//! lexical equality beside it; best pairs of names become mappings between codes.

mod names;
mod select;
mod sssom;

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float32Type, Int32Type};
use chrono::Utc;
use datafusion::datasource::MemTable;
use futures::StreamExt;
use generel_schemas::tables::{EMBEDDINGS, MAPPINGS};

pub use names::SourceSpec;
pub use select::Mapping;
pub use sssom::{SssomHeader, write_sssom};

use crate::lake::{Commit, Mark, marks};
use crate::sources::Fingerprint;
use crate::{Error, Result, Session, VERSION, embed_texts};
use names::{Name, Names};
use select::{Candidate, select};

/// Changes when the meaning of an alignment's result does, so that stored results are made again.
const ALIGNMENT: &str = "align-1";
/// Tables of a session that hold the two sides' vectors while they are aligned.
const LEFT: &str = "generel_align_left";
const RIGHT: &str = "generel_align_right";

/// What to align and how.
#[derive(Debug, Clone, PartialEq)]
pub struct AlignOptions {
    /// The source whose codes are looked for.
    pub left: SourceSpec,
    /// The source in which they are looked for.
    pub right: SourceSpec,
    /// Objects kept a subject.
    pub top_k: usize,
    /// Objects below this cosine are not kept.
    pub min_score: f32,
}

impl AlignOptions {
    /// With the defaults: 5 objects a subject, cosine 0.7 or more.
    pub fn new(left: SourceSpec, right: SourceSpec) -> Self {
        Self { left, right, top_k: 5, min_score: 0.7 }
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn check(&self) -> Result<()> {
        if !(1..=1000).contains(&self.top_k) {
            return Err(Error::Invalid("top-k must be between 1 and 1000".into()));
        }
        if !(-1.0..=1.0).contains(&self.min_score) {
            return Err(Error::Invalid("min-score is a cosine: between -1 and 1".into()));
        }
        Ok(())
    }

    /// Identity of the alignment in the lake: the two sources. Aligning them again replaces its rows.
    fn id(&self) -> String {
        Fingerprint::of(&[self.left.to_string().as_bytes(), self.right.to_string().as_bytes()]).to_string()
    }

    /// Changes with anything that can change the result.
    fn fingerprint(&self, left: &Names, right: &Names, model_id: &str) -> Fingerprint {
        let options = format!("{ALIGNMENT} {} {}", self.top_k, self.min_score);
        let parts = [left.fingerprint(), right.fingerprint()].map(Fingerprint::as_i64).map(i64::to_le_bytes);
        Fingerprint::of(&[&parts[0], &parts[1], model_id.as_bytes(), options.as_bytes()])
    }
}

/// What the stage did.
#[derive(Debug, Clone)]
pub struct AlignReport {
    /// Identity of the alignment: `mappings.alignment_id`.
    pub alignment_id: String,
    /// Changes with anything that can change the result: names, model, options.
    pub state: Fingerprint,
    /// Whether the lake had the result already; then nothing was computed.
    pub skipped: bool,
    /// Codes on the left.
    pub subjects: usize,
    /// Codes on the right.
    pub objects: usize,
    /// Names embedded that had no vector before.
    pub embedded: u64,
    /// Subjects with at least one object.
    pub mapped: usize,
    /// Mappings kept, all ranks.
    pub mappings: usize,
    /// New version of `mappings`, if it was written.
    pub version: Option<u64>,
}

/// Aligns two sources and commits the result to `mappings`.
///
/// # Errors
/// When a source has no names, or the model or the lake fails.
pub async fn align(
    session: &Session,
    options: &AlignOptions,
    run_id: &str,
    progress: &(dyn Fn(u64, u64) + Send + Sync),
) -> Result<AlignReport> {
    options.check()?;
    let left = Names::load(session, &options.left).await?;
    let right = Names::load(session, &options.right).await?;
    let model_id = session.embedder()?.info().model_id.clone();
    let alignment_id = options.id();
    let state = options.fingerprint(&left, &right, &model_id);
    let mark = Mark::new(format!("generel/align/{alignment_id}"), state.as_i64());
    let mut report = AlignReport {
        alignment_id: alignment_id.clone(),
        state,
        skipped: true,
        subjects: left.codes(),
        objects: right.codes(),
        embedded: 0,
        mapped: 0,
        mappings: 0,
        version: None,
    };
    let stored = session.lake.table_or_create(&MAPPINGS).await?;
    if marks::read(&MAPPINGS, &stored, &mark.id).await? == Some(mark.version) {
        return Ok(report);
    }
    let texts = Names::texts([&left, &right]);
    report.embedded = embed_texts(session, &texts, run_id, progress).await?.embedded;
    // Each side's vectors are read once and serve both directions.
    register_with_vectors(session, &left, LEFT).await?;
    register_with_vectors(session, &right, RIGHT).await?;
    let forward = candidates(session, (&left, LEFT), (&right, RIGHT), options.top_k + 1, options.min_score).await?;
    let backward = candidates(session, (&right, RIGHT), (&left, LEFT), 1, options.min_score).await?;
    for side in [LEFT, RIGHT] {
        session.ctx().deregister_table(side)?;
    }
    let mappings = select(forward, &backward, options.top_k);
    let (subjects, objects) = (options.left.source(), options.right.source());
    let batch = select::batch(
        &mappings,
        &left,
        &right,
        [subjects, objects],
        &model_id,
        &alignment_id,
        Utc::now().date_naive(),
    )?;
    let mut writer = session.lake.writer(&MAPPINGS, Some(&alignment_id)).await?;
    writer.write(batch).await?;
    let commit = Commit { replace_unit: true, marks: vec![mark], run_id: run_id.to_string() };
    report.version = Some(writer.commit(commit).await?);
    session.refresh().await?;
    report.skipped = false;
    report.mapped = mappings.iter().filter(|m| m.rank == 1).count();
    report.mappings = mappings.len();
    tracing::debug!(version = VERSION, mappings = report.mappings, "alignment committed");
    Ok(report)
}

/// The best pairs of names: for each name of `probe` the `k` codes of `build` with the most similar name. Each side is
/// its names and the table that holds their vectors.
async fn candidates(
    session: &Session,
    (probe, probe_table): (&Names, &str),
    (build, build_table): (&Names, &str),
    k: usize,
    min_score: f32,
) -> Result<Vec<Candidate>> {
    let sql = format!(
        "SELECT left_name_no, right_name_no, similarity_score \
         FROM similarity_join('{probe_table}', '{build_table}', {k}, {min_score:?}, 'code_no')"
    );
    let mut stream = session.ctx().sql(&sql).await?.execute_stream().await?;
    let mut found = Vec::new();
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        let (probes, builds) = (numbers(&batch, 0)?, numbers(&batch, 1)?);
        let scores = batch.column(2).as_primitive::<Float32Type>();
        for row in 0..batch.num_rows() {
            let (probe_name, build_name) = (probes[row], builds[row]);
            found.push(Candidate {
                subject: probe.name(probe_name).code_no,
                object: build.name(build_name).code_no,
                subject_name: probe_name,
                object_name: build_name,
                lexical: probe.name(probe_name).folded == build.name(build_name).folded,
                score: scores.value(row),
            });
        }
    }
    Ok(found)
}

fn numbers(batch: &RecordBatch, column: usize) -> Result<Vec<usize>> {
    let cast: ArrayRef = arrow::compute::cast(batch.column(column), &DataType::Int32)?;
    Ok(cast.as_primitive::<Int32Type>().values().iter().map(|v| *v as usize).collect())
}

/// The names with their vectors as a table, in the order of the names, so that ties fall the same way every time.
async fn register_with_vectors(session: &Session, names: &Names, table: &str) -> Result<()> {
    let ctx = session.ctx();
    let raw = format!("{table}_names");
    let batch = names.keys()?;
    ctx.deregister_table(raw.as_str())?;
    ctx.register_table(raw.as_str(), Arc::new(MemTable::try_new(batch.schema(), vec![vec![batch]])?))?;
    let sql = format!(
        "SELECT n.name_no, n.code_no, e.vector FROM {raw} n JOIN {} e ON e.key = n.text ORDER BY n.name_no",
        EMBEDDINGS.name
    );
    let joined = ctx.sql(&sql).await?.collect().await?;
    ctx.deregister_table(raw.as_str())?;
    let Some(schema) = joined.first().map(RecordBatch::schema) else {
        return Err(Error::Internal("the names just embedded have no vectors".into()));
    };
    ctx.deregister_table(table)?;
    ctx.register_table(table, Arc::new(MemTable::try_new(schema, vec![joined])?))?;
    Ok(())
}

impl Name {
    /// How SSSOM names the field that the name stood in.
    fn match_field(&self) -> &'static str {
        generel_schemas::sssom::match_field(&self.name_type)
    }
}
