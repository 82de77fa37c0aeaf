//! Job files: YAML with `${ENV}` substitution, checked against the schema, errors with line and column.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;
use generel_pipeline::align::{DEFAULT_MIN_SCORE, DEFAULT_TOP_K};
use generel_pipeline::cooccurrence::CooccurrenceOptions;
use generel_pipeline::ingest::MaxRejects;
use generel_pipeline::sources::ReadOptions;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::alignment_files::AlignmentFiles;
use crate::environment;
use crate::exit::UsageError;
use crate::ingest::{AUTO, Request};
use crate::models::ModelSettings;
use crate::yaml_file;

/// A job: what to ingest, count, embed, align and export, in this order.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct JobFile {
    /// Name of the job: the identity of its runs in the lake.
    pub(crate) name: String,
    /// Lake, relative to the job file; `--lake` and GENEREL_LAKE win.
    #[serde(default)]
    pub(crate) lake: Option<String>,
    /// Model, by name or folder; `--model` and GENEREL_MODEL win.
    #[serde(default)]
    pub(crate) model: Option<String>,
    /// Its precision: auto, f32, bf16 or int8; `--precision` and GENEREL_PRECISION win.
    #[serde(default)]
    pub(crate) precision: Option<String>,
    /// Where it runs: auto, cpu, cuda:N; `--device` and GENEREL_DEVICE win.
    #[serde(default)]
    pub(crate) device: Option<String>,
    /// Files to ingest.
    #[serde(default)]
    pub(crate) ingest: Vec<IngestStep>,
    /// Co-occurrences of patients' codes to count.
    #[serde(default)]
    pub(crate) cooccurrence: Vec<CooccurrenceOptions>,
    /// Sources to align. Their names are embedded on the way.
    #[serde(default)]
    pub(crate) align: Vec<AlignStep>,
    /// Queries whose results are written to files.
    #[serde(default)]
    pub(crate) export: Vec<ExportStep>,
}

/// Files of one format and source.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct IngestStep {
    /// Format (see `generel formats`); `auto` looks at each file.
    #[serde(default = "default_format")]
    pub(crate) format: String,
    /// Name of the source.
    pub(crate) source: String,
    /// Files, folders or globs, relative to the job file, and URIs of object stores.
    pub(crate) inputs: Vec<String>,
    /// Rows (10) or share (0.5%) that may be rejected before the file is refused.
    #[serde(default)]
    pub(crate) max_rejects: Option<String>,
    /// Study of a summary-statistics file.
    #[serde(default)]
    pub(crate) study_id: Option<String>,
    /// Trait of a summary-statistics file.
    #[serde(default, rename = "trait")]
    pub(crate) trait_name: Option<String>,
    /// Genome build of a summary-statistics file.
    #[serde(default)]
    pub(crate) genome_build: Option<String>,
    /// Reference genome (FASTA) of a summary-statistics file's build, relative to the job file.
    #[serde(default)]
    pub(crate) reference: Option<PathBuf>,
    /// Text encoding, where it is not UTF-8: windows-1252, latin1, utf-16le …
    #[serde(default)]
    pub(crate) encoding: Option<String>,
    /// Columns by hand: the lake's name → the file's.
    #[serde(default)]
    pub(crate) columns: BTreeMap<String, String>,
    /// Mapping file of the format `mapping`, relative to the job file.
    #[serde(default)]
    pub(crate) mapping: Option<PathBuf>,
}

fn default_format() -> String {
    AUTO.to_string()
}

impl IngestStep {
    /// What to ingest; relative inputs are looked for in `base`.
    pub(crate) fn request(&self, base: &Path) -> Result<Request> {
        let mut options = ReadOptions::new(&self.source, environment::person_key()?);
        options.study_id.clone_from(&self.study_id);
        options.trait_name.clone_from(&self.trait_name);
        options.genome_build.clone_from(&self.genome_build);
        options.columns.clone_from(&self.columns);
        options.reference = self.reference.as_ref().map(|path| base.join(path));
        options.mapping = self.mapping.as_ref().map(|path| base.join(path));
        if let Some(name) = &self.encoding {
            options.encoding = Some(name.parse().map_err(|e| UsageError(format!("encoding '{name}': {e}")))?);
        }
        let place = |input: &String| match input.contains("://") {
            true => input.clone(),
            false => base.join(input).display().to_string(),
        };
        let inputs = self.inputs.iter().map(place).collect();
        Ok(Request { format: self.format.clone(), options, max_rejects: self.limit()?, inputs, again: false })
    }

    /// The limit, parsed.
    pub(crate) fn limit(&self) -> Result<Option<MaxRejects>> {
        match &self.max_rejects {
            None => Ok(None),
            Some(text) => Ok(Some(text.parse().map_err(|e| UsageError(format!("max_rejects '{text}': {e}")))?)),
        }
    }
}

/// Two sources to align.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AlignStep {
    /// Source whose codes are looked for: NAME, or NAME:EVENT_TABLE for patient events.
    pub(crate) left: String,
    /// Source in which they are looked for.
    pub(crate) right: String,
    /// Objects kept a subject.
    #[serde(default = "default_top_k")]
    pub(crate) top_k: usize,
    /// Least cosine of two names, unless they have the same words.
    #[serde(default = "default_min_score")]
    pub(crate) min_score: f32,
    /// Mappings that people made, which win: SSSOM files, or sources ingested from one.
    #[serde(default)]
    pub(crate) curated: Vec<String>,
    /// Map each code to one other at most.
    #[serde(default)]
    pub(crate) one_to_one: bool,
    /// Never map codes of different categories to each other.
    #[serde(default)]
    pub(crate) same_category: bool,
    /// Share of the nearest names that must be found; less than 1 searches large sources approximately.
    #[serde(default = "default_recall")]
    pub(crate) recall: f64,
    /// Least confidence in the files; without it 0.3 in the SSSOM file, 0.7 in OMOP's.
    #[serde(default)]
    pub(crate) min_confidence: Option<f64>,
    /// SSSOM TSV to write, relative to the job file.
    #[serde(default)]
    pub(crate) out: Option<PathBuf>,
    /// OMOP's source_to_concept_map to write, as CSV, relative to the job file; needs concepts.
    #[serde(default)]
    pub(crate) source_to_concept_map: Option<PathBuf>,
    /// CONCEPT.csv of a vocabulary download (Athena), for the concept ids of that table.
    #[serde(default)]
    pub(crate) concepts: Option<PathBuf>,
    /// Report of codes mapped, doubtful and unmapped by category: csv, json, ndjson or parquet.
    #[serde(default)]
    pub(crate) coverage: Option<PathBuf>,
}

impl AlignStep {
    /// Its files, relative to the job file's folder.
    pub(crate) fn files(&self, base: &Path) -> AlignmentFiles {
        let place = |path: &Option<PathBuf>| path.as_ref().map(|path| base.join(path));
        AlignmentFiles {
            sssom: place(&self.out),
            min_confidence: self.min_confidence,
            source_to_concept_map: place(&self.source_to_concept_map),
            concepts: place(&self.concepts),
            coverage: place(&self.coverage),
        }
    }
}

fn default_top_k() -> usize {
    DEFAULT_TOP_K
}

fn default_recall() -> f64 {
    1.0
}

fn default_min_score() -> f32 {
    DEFAULT_MIN_SCORE
}

/// A query and where its result goes.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExportStep {
    /// The query.
    pub(crate) sql: String,
    /// File, relative to the job file; its extension says the form: csv, json, ndjson, parquet.
    pub(crate) file: PathBuf,
}

impl JobFile {
    /// What the file says of the model.
    pub(crate) fn model_settings(&self) -> ModelSettings<'_> {
        ModelSettings {
            of: &self.name,
            name: self.model.as_deref(),
            precision: self.precision.as_deref(),
            device: self.device.as_deref(),
        }
    }

    /// Reads a job file.
    ///
    /// # Errors
    /// With file, line and column when it is not valid.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        yaml_file::read(path)
    }
}

/// The JSON Schema of job files.
pub(crate) fn json_schema() -> String {
    serde_json::to_string_pretty(&schemars::schema_for!(JobFile)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOB: &str = "name: nightly\nlake: ${LAKE}\ningest:\n  - format: obo\n    source: doid\n    inputs: [doid.obo]\n    max_rejects: 1%\nalign:\n  - left: a:condition_occurrence\n    right: doid\n";

    #[test]
    fn reads_a_job_with_variables_and_defaults() {
        let job = yaml_file::parse::<JobFile>(JOB, |name| (name == "LAKE").then(|| "/data/lake".into())).unwrap();
        assert_eq!(job.lake.as_deref(), Some("/data/lake"));
        assert_eq!(job.ingest[0].limit().unwrap(), Some(MaxRejects::Share(0.01)));
        assert_eq!((job.align[0].top_k, job.align[0].min_score), (5, 0.4));
    }

    #[test]
    fn errors_name_the_place() {
        let error = yaml_file::parse::<JobFile>(JOB, |_| None).unwrap_err();
        assert!(error.contains("line 2") && error.contains("LAKE"), "{error}");
        let error = yaml_file::parse::<JobFile>("name: x\nalgin: []\n", |_| None).unwrap_err();
        assert!(error.contains("algin") && error.contains('2'), "{error}");
    }

    #[test]
    fn the_schema_names_every_key() {
        let schema = json_schema();
        for key in ["ingest", "align", "export", "max_rejects", "top_k"] {
            assert!(schema.contains(&format!("\"{key}\"")), "{key}");
        }
    }
}
