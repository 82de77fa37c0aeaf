//! How a run goes, and what it says of itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::data::TrainingSet;
use crate::{Error, ModelInfo, Precision, Result};

/// How a run goes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainOptions {
    /// Everything random follows from it.
    pub seed: u64,
    /// Steps in which both encoders are trained.
    pub steps: u64,
    /// Steps after these in which the SNP encoder alone is trained, against texts that stay where they are; none without SNPs.
    pub snp_steps: u64,
    /// Steps in which the learning rate rises.
    pub warm_up: u64,
    /// The tasks to train, by name; others of the data are not.
    pub tasks: Vec<TaskOptions>,
    /// Highest learning rate of the text encoder.
    pub learning_rate: f32,
    /// Highest learning rate of the SNP encoder.
    pub snp_learning_rate: f32,
    /// AdamW's weight decay.
    pub weight_decay: f32,
    /// Numbers of the text encoder's matrix products: f32, or bf16, whose sums, weights and moments are of f32 too.
    pub precision: Precision,
    /// Longest text, in tokens.
    pub max_tokens: usize,
    /// First components of a vector that must do alone, too.
    pub nested_dimensions: Vec<usize>,
    /// Share that the moving average of the weights keeps at a step; 0 for the weights themselves.
    pub average: f32,
    /// What it counts that texts stay as near each other as the start has them, beside the tasks' losses; 0 for not at all.
    pub keep: f32,
    /// Whether half of a batch of synonyms are names near those of the other half.
    pub hard_negatives: bool,
    /// Whether activations are computed again on the way back, a piece of the batch at a time, as in GradCache (Gao et al.
    /// 2021): a larger batch has no more of them in memory. The weights are the same, on the CPU to the bit.
    pub gradient_cache: bool,
    /// Steps between checkpoints.
    pub checkpoint_every: u64,
    /// Steps between reports.
    pub report_every: u64,
}

/// How one task is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskOptions {
    /// Its name.
    pub name: String,
    /// Pairs of a step.
    pub batch: usize,
    /// What its loss counts.
    pub weight: f32,
    /// The temperature that it begins with.
    pub temperature: f32,
}

/// What happened since the last report.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Steps done.
    pub step: u64,
    /// Steps of the run.
    pub steps: u64,
    /// Seconds that all steps took so far.
    pub seconds: f64,
    /// Mean loss of each task since the last report, and its temperature now; `keep` is what [`TrainOptions::keep`] weighs.
    pub tasks: Vec<(String, f32, f32)>,
    /// Length of the text encoder's gradient at the last step.
    pub gradient: f32,
    /// Share of the learning rate at the last step.
    pub rate: f32,
    /// Tokens that went through the text encoder since the last report.
    pub tokens: u64,
    /// Steps since the last report.
    pub since: u64,
}

/// Whether the tasks are in the data.
///
/// # Errors
/// When one is not, or has too few pairs.
pub(super) fn check(set: &TrainingSet, options: &TrainOptions, dimension: usize) -> Result<()> {
    let wrong = |problem: String| Err(Error::Training(problem));
    if options.tasks.is_empty() {
        return wrong("there is no task".into());
    }
    let rates = [("learning_rate", options.learning_rate), ("snp_learning_rate", options.snp_learning_rate)];
    if let Some((name, rate)) = rates.into_iter().find(|(_, rate)| !(*rate > 0.0 && *rate <= 1.0)) {
        return wrong(format!("{name} must be above 0 and at most 1, not {rate}"));
    }
    if !(0.0..1.0).contains(&options.average) {
        return wrong(format!("average must be 0 or more and below 1, not {}", options.average));
    }
    if !(0.0..=1.0).contains(&options.weight_decay) {
        return wrong(format!("weight_decay must be from 0 to 1, not {}", options.weight_decay));
    }
    if options.max_tokens < 3 {
        return wrong(format!("max_tokens must be 3 or more, not {}", options.max_tokens));
    }
    if let Some(d) = options.nested_dimensions.iter().find(|d| !(1..dimension).contains(d)) {
        return wrong(format!("nested_dimensions: {d} is not below the {dimension} of the model's vectors"));
    }
    if !(options.keep >= 0.0 && options.keep.is_finite()) {
        return wrong(format!("keep must be 0 or more, not {}", options.keep));
    }
    for task in &options.tasks {
        let found = set.tasks.iter().find(|t| t.name == task.name);
        let known: Vec<&str> = set.tasks.iter().map(|t| t.name.as_str()).collect();
        match found.map(|t| t.left.len()) {
            None => return wrong(format!("there is no task '{}' in the data; known: {}", task.name, known.join(", "))),
            Some(0 | 1) => return wrong(format!("the task '{}' has fewer than two pairs in the data", task.name)),
            Some(_) if !(task.weight >= 0.0 && task.weight.is_finite()) => {
                return wrong(format!("the weight of '{}' must be 0 or more, not {}", task.name, task.weight));
            }
            Some(_) if !(task.temperature >= 0.01 && task.temperature <= 1.0) => {
                return wrong(format!(
                    "the temperature of '{}' must be from 0.01 to 1, not {}",
                    task.name, task.temperature
                ));
            }
            Some(_) if task.batch < 2 => return wrong(format!("the batch of '{}' must be 2 or more", task.name)),
            Some(_) => {}
        }
    }
    Ok(())
}

/// What decides the weights: the start and the options, by name.
///
/// # Errors
/// When an option is no JSON.
pub(super) fn decisive(info: &ModelInfo, options: &TrainOptions) -> Result<BTreeMap<String, Value>> {
    let options = TrainOptions { gradient_cache: false, checkpoint_every: 0, report_every: 0, ..options.clone() };
    let options = serde_json::to_value(options).map_err(|e| Error::Training(e.to_string()))?;
    let mut named: BTreeMap<String, Value> =
        options.as_object().into_iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
    named.insert("model".into(), info.fingerprint.clone().into());
    Ok(named)
}

/// Hash over what decides the weights, and the data.
pub(super) fn fingerprint(decisive: &BTreeMap<String, Value>, set: &TrainingSet) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&serde_json::to_vec(decisive).map_err(|e| Error::Training(e.to_string()))?);
    for text in set.texts.iter().chain(&set.genes).chain(set.snps.iter().map(|s| &s.rsid)) {
        hasher.update(text.as_bytes());
        hasher.update(&[0]);
    }
    for task in &set.tasks {
        hasher.update(task.name.as_bytes());
        for (left, (right, weight)) in task.left.iter().zip(task.right.iter().zip(&task.weights)) {
            hasher.update(&left.to_le_bytes());
            hasher.update(&right.to_le_bytes());
            hasher.update(&weight.to_le_bytes());
        }
    }
    Ok(hasher.finalize().to_hex()[..16].to_string())
}
