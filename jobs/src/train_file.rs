//! Train files: YAML with `${ENV}` substitution, checked against the schema, errors with line and column.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;
use generel_model::Precision;
use generel_model::store::MINILM;
use generel_model::train::{TaskOptions, TrainOptions};
use generel_pipeline::training::{DataOptions, Kind};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::exit::UsageError;
use crate::models::ModelSettings;
use crate::yaml_file;

/// A training run: which model begins, on what, and how.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TrainFile {
    /// Name of the run.
    pub(crate) name: String,
    /// Lake, relative to this file; `--lake` and GENEREL_LAKE win.
    #[serde(default)]
    pub(crate) lake: Option<String>,
    /// The model that the run begins with, by name or folder, all-MiniLM-L6-v2 where none is named; `--model` and GENEREL_MODEL
    /// win. The one that comes with the program has seen public ontologies and the GWAS Catalog: what is held out of them is
    /// not new to it.
    #[serde(default)]
    pub(crate) model: Option<String>,
    /// The run's folder, relative to this file: data, checkpoints, logs, and at the end the model.
    pub(crate) folder: PathBuf,
    /// What is trained on, and what is held out.
    #[serde(default)]
    pub(crate) data: DataOptions,
    /// How it is trained.
    #[serde(default)]
    train: Train,
}

/// How a run is trained.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Train {
    /// Everything random follows from it.
    seed: u64,
    /// Steps in which texts and SNPs are trained.
    steps: u64,
    /// Steps after these in which SNPs alone are.
    snp_steps: u64,
    /// Steps in which the learning rate rises.
    warm_up: u64,
    /// The tasks: synonym, hierarchy, relation, cooccurrence, snp_trait, snp_gene; without them all that the data has pairs of.
    tasks: Option<BTreeMap<String, TaskFile>>,
    /// Highest learning rate of the text encoder.
    learning_rate: f32,
    /// Highest learning rate of the SNP encoder.
    snp_learning_rate: f32,
    /// AdamW's weight decay.
    weight_decay: f32,
    /// Numbers of the text encoder's matrix products: f32, or bf16, which is faster on GPUs and on CPUs with instructions for
    /// it; `--precision` wins.
    precision: String,
    /// Longest text, in tokens.
    max_tokens: usize,
    /// First components that must do alone, too.
    nested_dimensions: Vec<usize>,
    /// What the moving average of the weights keeps at a step; 0 for the weights themselves.
    average: f32,
    /// What it counts that texts stay as near each other as the first model has them; 0 for not at all.
    keep: f32,
    /// Whether half of a batch of synonyms are names near those of the other half.
    hard_negatives: bool,
    /// Whether the way back computes activations again, so that large batches have no more of them in memory than small ones.
    gradient_cache: bool,
    /// Steps between checkpoints.
    checkpoint_every: u64,
    /// Steps between lines of the log.
    report_every: u64,
    /// Steps between evaluations on pairs held out; 0 for none.
    evaluate_every: u64,
}

/// How one task is trained.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct TaskFile {
    /// Pairs of a step.
    batch: usize,
    /// What its loss counts.
    #[serde(default = "one")]
    weight: f32,
    /// Temperature at the beginning; it is learned.
    #[serde(default = "temperature")]
    temperature: f32,
}

fn one() -> f32 {
    1.0
}

fn temperature() -> f32 {
    0.05
}

impl Default for Train {
    fn default() -> Self {
        Self {
            seed: 1,
            steps: 2000,
            snp_steps: 400,
            warm_up: 100,
            tasks: None,
            learning_rate: 5e-5,
            snp_learning_rate: 2e-3,
            weight_decay: 0.01,
            precision: "f32".to_string(),
            max_tokens: 32,
            nested_dimensions: vec![128],
            average: 0.99,
            keep: 1.0,
            hard_negatives: true,
            gradient_cache: false,
            checkpoint_every: 250,
            report_every: 10,
            evaluate_every: 500,
        }
    }
}

/// The tasks where a file names none.
fn default_tasks(has: impl Fn(Kind) -> bool) -> BTreeMap<String, TaskFile> {
    let task = |batch, weight| TaskFile { batch, weight, temperature: temperature() };
    let tasks = [
        (Kind::Synonym, task(128, 1.0)),
        (Kind::Hierarchy, task(32, 0.3)),
        (Kind::Relation, task(48, 0.5)),
        (Kind::Cooccurrence, task(32, 0.3)),
        (Kind::SnpTrait, task(64, 0.2)),
        (Kind::SnpGene, task(32, 0.1)),
    ];
    tasks.into_iter().filter(|(kind, _)| has(*kind)).map(|(kind, task)| (kind.as_str().to_string(), task)).collect()
}

impl TrainFile {
    /// Reads a train file.
    ///
    /// # Errors
    /// With file, line and column when it is not valid.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        yaml_file::read(path)
    }

    /// What the file says of the model.
    pub(crate) fn model_settings(&self) -> ModelSettings<'_> {
        ModelSettings {
            of: &self.name,
            name: Some(self.model.as_deref().unwrap_or(MINILM)),
            precision: None,
            device: None,
        }
    }

    /// Whether the tasks that the file names are some.
    ///
    /// # Errors
    /// When one is none, with those that there are.
    pub(crate) fn check_tasks(&self) -> Result<()> {
        let known: Vec<&str> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
        let named = self.train.tasks.iter().flat_map(BTreeMap::keys);
        match named.into_iter().find(|name| !known.contains(&name.as_str())) {
            Some(name) => {
                let problem = format!("{}: there is no task '{name}'; known: {}", self.name, known.join(", "));
                Err(UsageError(problem).into())
            }
            None => Ok(()),
        }
    }

    /// Steps between evaluations.
    pub(crate) fn evaluate_every(&self) -> u64 {
        self.train.evaluate_every
    }

    /// Numbers of the matrix products: what was typed, or else what the file says.
    ///
    /// # Errors
    /// When they are none to train in.
    pub(crate) fn precision(&self, typed: Option<Precision>) -> Result<Precision> {
        let own = &self.train.precision;
        let (asked, by) =
            typed.map_or_else(|| (own.clone(), self.name.as_str()), |typed| (typed.to_string(), "--precision"));
        match asked.parse() {
            Ok(precision @ (Precision::F32 | Precision::Bf16)) => Ok(precision),
            _ => Err(UsageError(format!("{by}: precision '{asked}' is none to train in; known: f32, bf16")).into()),
        }
    }

    /// How it is trained, on data that has pairs of these kinds.
    pub(crate) fn options(&self, has: impl Fn(Kind) -> bool, precision: Precision) -> TrainOptions {
        let t = self.train.clone();
        let tasks = t.tasks.unwrap_or_else(|| default_tasks(has));
        let task = |(name, task): (String, TaskFile)| TaskOptions {
            name,
            batch: task.batch,
            weight: task.weight,
            temperature: task.temperature,
        };
        TrainOptions {
            precision,
            seed: t.seed,
            steps: t.steps,
            snp_steps: t.snp_steps,
            warm_up: t.warm_up,
            tasks: tasks.into_iter().map(task).collect(),
            learning_rate: t.learning_rate,
            snp_learning_rate: t.snp_learning_rate,
            weight_decay: t.weight_decay,
            max_tokens: t.max_tokens,
            nested_dimensions: t.nested_dimensions,
            average: t.average,
            keep: t.keep,
            hard_negatives: t.hard_negatives,
            gradient_cache: t.gradient_cache,
            checkpoint_every: t.checkpoint_every,
            report_every: t.report_every,
        }
    }
}

/// The JSON Schema of train files.
pub(crate) fn json_schema() -> String {
    serde_json::to_string_pretty(&schemars::schema_for!(TrainFile)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_has_a_default_and_unknown_keys_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("train.yaml");
        std::fs::write(&path, "name: x\nfolder: run\ntrain: { steps: 7, tasks: { synonym: { batch: 16 } } }\n")
            .unwrap();
        let options = TrainFile::read(&path).unwrap().options(|_| true, Precision::F32);
        assert_eq!((options.steps, options.tasks.len(), options.tasks[0].batch), (7, 1, 16));
        let precision = |typed| TrainFile::read(&path).unwrap().precision(typed);
        assert_eq!(precision(None).unwrap(), Precision::F32);
        assert_eq!(precision(Some(Precision::Bf16)).unwrap(), Precision::Bf16);
        let error = precision(Some(Precision::Int8)).unwrap_err().to_string();
        assert!(error.contains("--precision") && error.contains("'int8' is none to train in"), "{error}");
        std::fs::write(&path, "name: x\nfolder: run\n").unwrap();
        let tasks = |has: fn(Kind) -> bool| TrainFile::read(&path).unwrap().options(has, Precision::F32).tasks.len();
        assert_eq!((tasks(|_| true), tasks(|kind| kind == Kind::Synonym)), (6, 1));
        std::fs::write(&path, "name: x\nfolder: run\ntrain: { stpes: 7 }\n").unwrap();
        let error = TrainFile::read(&path).unwrap_err().to_string();
        assert!(error.contains("stpes") && error.contains('3'), "{error}");
    }
}
