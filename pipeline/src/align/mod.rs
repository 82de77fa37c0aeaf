//! The align stage: the names of one source against the names of another. Pairs of similar names are evidence, weighed
//! together with their words and with what surrounds the codes; the best pairs become mappings with a confidence.

mod candidates;
mod confidence;
mod coverage;
mod curated;
mod edit_distance;
mod evaluate;
mod evidence;
mod lexical;
mod mapping_file;
mod name_neighbors;
mod names;
mod neighbors;
mod omop;
mod rows;
mod select;
mod similar_names;
mod sssom;
mod targets;
mod vector_table;

use chrono::Utc;
use datafusion::prelude::{DataFrame, col, lit};
use generel_schemas::tables::MAPPINGS;

pub use confidence::Confidence;
pub use coverage::{Coverage, coverage};
pub(crate) use curated::known_mappings;
pub use evaluate::{
    CurvePoint, EvaluateOptions, Evaluation, GoldCounts, Measure, MethodResult, Metrics, ReliabilityBin, evaluate, fit,
};
pub use mapping_file::{KnownMapping, Origin, read_mappings};
pub use names::SourceSpec;
pub use omop::{ConceptMapReport, write_source_to_concept_map};
pub use select::{DOUBTFUL, MAPPED, Mapping};
pub use sssom::{SssomHeader, write_sssom};
pub(crate) use targets::{Nearest, Targets};

use crate::lake::{Commit, Mark, marks};
use crate::sources::Fingerprint;
use crate::{Error, Result, Session, VERSION, embed_texts};
use curated::Curated;
use evidence::{NamePair, Pair};
use names::Names;
use neighbors::Neighbors;

/// Changes when the meaning of an alignment's result does, so that stored results are made again.
const ALIGNMENT: &str = "align-2";

/// Objects kept a subject, unless told otherwise.
pub const DEFAULT_TOP_K: usize = 5;
/// Least cosine of two names, unless told otherwise.
pub const DEFAULT_MIN_SCORE: f32 = 0.4;

/// What to align and how.
#[derive(Debug, Clone, PartialEq)]
pub struct AlignOptions {
    /// The source whose codes are looked for.
    pub left: SourceSpec,
    /// The source in which they are looked for.
    pub right: SourceSpec,
    /// Objects kept a subject.
    pub top_k: usize,
    /// Pairs of names below this cosine are not looked at, unless they have the same words.
    pub min_score: f32,
    /// Mappings that people made, which win: SSSOM files, or sources of `kg_edges`.
    pub curated: Vec<String>,
    /// Whether each code is mapped to one other at most.
    pub one_to_one: bool,
    /// Share of the nearest names that a search must find; 1 for the exact search.
    pub recall: f64,
    /// Whether codes of different categories are never mapped to each other, where both have one.
    pub same_category: bool,
}

impl AlignOptions {
    /// With the defaults.
    pub fn new(left: SourceSpec, right: SourceSpec) -> Self {
        Self {
            left,
            right,
            top_k: DEFAULT_TOP_K,
            min_score: DEFAULT_MIN_SCORE,
            curated: Vec::new(),
            one_to_one: false,
            recall: 1.0,
            same_category: false,
        }
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
        if !(self.recall > 0.0 && self.recall <= 1.0) {
            return Err(Error::Invalid("recall is a share above 0, at most 1".into()));
        }
        Ok(())
    }

    /// Identity of the alignment in the lake: the two sources. Aligning them again replaces its rows.
    fn id(&self) -> String {
        Fingerprint::of(&[self.left.to_string().as_bytes(), self.right.to_string().as_bytes()]).to_string()
    }

    /// The best mapping of every subject of the alignment in the lake.
    async fn best_mappings(&self, session: &Session) -> Result<DataFrame> {
        let best = col("alignment_id").eq(lit(self.id())).and(col("rank").eq(lit(1i32)));
        Ok(session.ctx().table(MAPPINGS.name).await?.filter(best)?)
    }

    /// The same, and all that people mapped.
    async fn exported_mappings(&self, session: &Session) -> Result<DataFrame> {
        let own = col("alignment_id").eq(lit(self.id()));
        let wanted =
            col("rank").eq(lit(1i32)).or(col("mapping_justification").eq(lit(generel_schemas::sssom::MANUAL_CURATION)));
        Ok(session.ctx().table(MAPPINGS.name).await?.filter(own.and(wanted))?)
    }

    /// Changes with anything that can change the result.
    fn fingerprint(&self, sides: &Sides, model_id: &str) -> Result<Fingerprint> {
        let Self { top_k, min_score, one_to_one, same_category, recall, .. } = self;
        let options = format!("{ALIGNMENT} {top_k} {min_score} {one_to_one} {same_category} {recall}");
        let weights = serde_json::to_string(&sides.weights).map_err(|e| Error::Internal(e.to_string()))?;
        let parts = [
            &sides.left.fingerprint(),
            &sides.right.fingerprint(),
            &sides.curated.fingerprint(),
            &sides.neighbors.fingerprint(),
        ]
        .map(|f| f.as_i64().to_le_bytes());
        let mut all: Vec<&[u8]> = parts.iter().map(|p| &p[..]).collect();
        all.extend([model_id.as_bytes(), options.as_bytes(), weights.as_bytes()]);
        Ok(Fingerprint::of(&all))
    }
}

/// What an alignment is made from.
struct Sides {
    left: Names,
    right: Names,
    curated: Curated,
    neighbors: Neighbors,
    weights: Confidence,
}

impl Sides {
    async fn load(session: &Session, options: &AlignOptions) -> Result<Self> {
        let left = Names::load(session, &options.left).await?;
        let right = Names::load(session, &options.right).await?;
        let curated = Curated::load(session, options, &left, &right).await?;
        let neighbors = Neighbors::load(session, options, &left, &right).await?;
        let weights = Confidence::of_model(session.embedder()?.info())?;
        Ok(Self { left, right, curated, neighbors, weights })
    }

    /// Embeds what has no vector and finds the pairs of names; what was found is kept for the next run, if so told.
    async fn candidates(
        &self,
        session: &Session,
        options: &AlignOptions,
        (run_id, keep): (&str, bool),
        progress: &(dyn Fn(u64, u64) + Send + Sync),
    ) -> Result<(Vec<NamePair>, Search)> {
        let texts = Names::texts([&self.left, &self.right]);
        let embedded = embed_texts(session, &texts, run_id, progress).await?.embedded;
        let (mut pairs, search) =
            candidates::candidates(session, &self.left, &self.right, options, keep.then_some(run_id)).await?;
        if options.same_category {
            let other = |p: &NamePair| {
                let categories = self.left.category(p.subject).zip(self.right.category(p.object));
                categories.is_some_and(|(a, b)| !a.eq_ignore_ascii_case(b))
            };
            pairs.retain(|p| !other(p));
        }
        Ok((pairs, Search { embedded, ..search }))
    }

    fn weigh(&self, names: &[NamePair], weights: &Confidence) -> Vec<Pair> {
        evidence::weigh(names, weights, Some(self.neighbors.parents()))
    }
}

/// How names were searched for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Search {
    /// Names embedded that had no vector before.
    pub embedded: u64,
    /// Names that were searched for: new ones, and those that lost a neighbor.
    pub searched: u64,
    /// Of the exact neighbors of a sample of names, those that an approximate search found, and all.
    pub sample: [u64; 2],
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
    /// How names were searched for.
    pub search: Search,
    /// Subjects whose best object is taken for right.
    pub mapped: usize,
    /// Subjects whose best object is doubtful.
    pub doubtful: usize,
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
    let sides = Sides::load(session, options).await?;
    let model_id = session.embedder()?.info().model_id.clone();
    let alignment_id = options.id();
    let state = options.fingerprint(&sides, &model_id)?;
    let mark = Mark::new(format!("generel/align/{alignment_id}"), state.as_i64());
    let mut report = AlignReport {
        alignment_id: alignment_id.clone(),
        state,
        skipped: true,
        subjects: sides.left.codes(),
        objects: sides.right.codes(),
        search: Search::default(),
        mapped: 0,
        doubtful: 0,
        mappings: 0,
        version: None,
    };
    let stored = session.lake.table_or_create(&MAPPINGS).await?;
    if marks::read(&MAPPINGS, &stored, &mark.id).await? == Some(mark.version) {
        return Ok(report);
    }
    let names;
    (names, report.search) = sides.candidates(session, options, (run_id, true), progress).await?;
    let pairs = sides.weigh(&names, &sides.weights);
    let mappings = select::select(&pairs, &sides.curated, options.top_k, options.one_to_one);
    let common = rows::Common {
        subject_source: options.left.source(),
        object_source: options.right.source(),
        model_id: &model_id,
        alignment_id: &alignment_id,
        date: Utc::now().date_naive(),
    };
    let batch = rows::batch(&mappings, &sides.left, &sides.right, &common)?;
    let mut writer = session.lake.writer(&MAPPINGS, Some(&alignment_id)).await?;
    writer.write(batch).await?;
    let commit = Commit { replace_unit: true, marks: vec![mark], run_id: run_id.to_string() };
    report.version = Some(writer.commit(commit).await?);
    session.refresh().await?;
    report.skipped = false;
    let best =
        |from: f64, to: f64| mappings.iter().filter(|m| m.rank == 1 && (from..to).contains(&m.confidence)).count();
    (report.mapped, report.doubtful) = (best(MAPPED, f64::INFINITY), best(DOUBTFUL, MAPPED));
    report.mappings = mappings.len();
    tracing::debug!(version = VERSION, mappings = report.mappings, "alignment committed");
    Ok(report)
}
