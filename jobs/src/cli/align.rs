//! `generel align`: the codes of one source mapped to those of another.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use generel_pipeline::align::{AlignOptions, DEFAULT_MIN_SCORE, DEFAULT_TOP_K, SourceSpec};
use generel_pipeline::runs::{RunRecord, new_run_id, record};

use super::{LakeOptions, ModelOptions};
use crate::alignment_files::AlignmentFiles;
use crate::runner::{align_sources, session};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  generel align --left hospital:condition_occurrence --right doid
  generel align --left gwas_catalog --right doid --top-k 3 --min-confidence 0.7 --out traits.sssom.tsv
  generel align --left local --right doid --curated curated.sssom.tsv --one-to-one
  generel align --left hospital --right snomed --source-to-concept-map map.csv --concepts CONCEPT.csv
  generel align --left hospital --right doid --coverage -
  generel align --left a --right b --out - | head

The table mappings holds all ranks; the SSSOM file the best object of each subject, and sssom:NoTermFound where there is
none. Evidence is the embeddings of labels and exact synonyms, their words, how far other codes are behind, and whether
parents align; confidence is the probability that the two mean the same. Mappings given with --curated, and rows of
mappings made by people, always win. Aligning the same two sources again replaces their rows, and does nothing while
names, edges, curated mappings, model and options are the same.")]
pub(super) struct AlignArgs {
    /// Source whose codes are looked for; NAME:EVENT_TABLE takes one table of patient events
    #[arg(long, value_name = "SOURCE")]
    left: SourceSpec,
    /// Source in which they are looked for
    #[arg(long, value_name = "SOURCE")]
    right: SourceSpec,
    /// Objects kept a subject
    #[arg(long, default_value_t = DEFAULT_TOP_K, value_name = "K")]
    top_k: usize,
    /// Least cosine of two names, unless they have the same words
    #[arg(long, default_value_t = DEFAULT_MIN_SCORE, value_name = "S", allow_negative_numbers = true)]
    min_score: f32,
    /// Mappings that people made: an SSSOM file, or a source ingested from one; may be given several times
    #[arg(long, value_name = "FILE|SOURCE")]
    curated: Vec<String>,
    /// Map each code to one other at most
    #[arg(long)]
    one_to_one: bool,
    /// Never map codes of different categories to each other
    #[arg(long)]
    same_category: bool,
    /// Search names of large sources approximately, so that about this share of the nearest is found; 1 for all
    #[arg(long, default_value_t = 1.0, value_name = "SHARE")]
    recall: f64,
    /// Least confidence in the files; without it 0.3 in the SSSOM file, where a subject without a mapping has
    /// sssom:NoTermFound, and 0.7 in OMOP's
    #[arg(long, value_name = "P")]
    min_confidence: Option<f64>,
    /// SSSOM TSV to write; - for stdout
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// OMOP's source_to_concept_map to write, as CSV; - for stdout
    #[arg(long, value_name = "FILE", requires = "concepts")]
    source_to_concept_map: Option<PathBuf>,
    /// CONCEPT.csv of a vocabulary download (Athena), for the concept ids of that table
    #[arg(long, value_name = "FILE")]
    concepts: Option<PathBuf>,
    /// Report to write: codes mapped, doubtful and unmapped by category; csv, json, ndjson or parquet, - for stdout
    #[arg(long, value_name = "FILE")]
    coverage: Option<PathBuf>,
    #[command(flatten)]
    lake: LakeOptions,
    #[command(flatten)]
    model: ModelOptions,
}

pub(super) async fn run(args: AlignArgs) -> Result<()> {
    let lake = args.lake.open()?;
    let options = AlignOptions {
        top_k: args.top_k,
        min_score: args.min_score,
        curated: args.curated,
        one_to_one: args.one_to_one,
        same_category: args.same_category,
        recall: args.recall,
        ..AlignOptions::new(args.left, args.right)
    };
    options.check()?;
    let files = AlignmentFiles {
        sssom: args.out,
        min_confidence: args.min_confidence,
        source_to_concept_map: args.source_to_concept_map,
        concepts: args.concepts,
        coverage: args.coverage,
    };
    files.check()?;
    let model = args.model.choice().pull().await?;
    let (run_id, started_at, model_id) = (new_run_id(), chrono::Utc::now(), model.info.model_id.clone());
    let session = session(lake, Some(model)).await?;
    let report = align_sources(&session, &options, &run_id).await?;
    let run = RunRecord {
        run_id,
        job: format!("align {} to {}", options.left, options.right),
        started_at,
        status: "done",
        inputs: serde_json::json!([options.left.to_string(), options.right.to_string()]),
        outputs: serde_json::json!({ "mappings": report.version }),
        counts: serde_json::json!({ "mappings": report.mappings, "embeddings": report.search.embedded }),
        model_id: Some(model_id),
        state: report.state,
    };
    if !report.skipped {
        record(&session.lake, &run, true).await?;
    }
    files.write(&session, &options).await
}
