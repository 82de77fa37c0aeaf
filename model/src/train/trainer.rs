//! The run: steps, their report, checkpoints.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use candle_core::{Device, Tensor, Var};
use serde::{Deserialize, Serialize};

use super::batches::{HardNegatives, Sampler, by_entity};
use super::checkpoint::{self, Position, State};
use super::data::{Known, TaskKind, TrainingSet};
use super::loss::{MASKED, MOST_SCALE, nested};
use super::optimizer::{AdamW, Group, schedule};
use super::parameters::Parameters;
use super::snp::{self, SnpEncoder};
use super::text::TextEncoder;
use crate::search::{Corpus, SearchOptions};
use crate::snp::matrix;
use crate::tokenize::TextTokenizer;
use crate::{Error, ModelInfo, Precision, Result};

/// Steps between which the genes' texts are encoded anew.
const GENES_EVERY: u64 = 250;
/// Entities that are kept as hard to tell from another.
const NEAR: usize = 8;
/// The smallest step of log scales, beside the layers' learning rate.
const SCALE_LEARNING_RATE: f32 = 1e-2;

/// How a run goes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainOptions {
    /// Everything random follows from it.
    pub seed: u64,
    /// Steps in which both encoders are trained.
    pub steps: u64,
    /// Steps after these in which the SNP encoder alone is trained, against texts that stay where they are.
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
    /// Longest text, in tokens.
    pub max_tokens: usize,
    /// First components of a vector that must do alone, too.
    pub nested_dimensions: Vec<usize>,
    /// Share that the moving average of the weights keeps at a step; 0 for the weights themselves.
    pub average: f32,
    /// Whether half of a batch of synonyms are names near those of the other half.
    pub hard_negatives: bool,
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
    /// Mean loss of each task since the last report, and its temperature now.
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

/// One run over a training set, in a folder that holds its checkpoints.
pub struct Trainer {
    info: ModelInfo,
    options: TrainOptions,
    set: TrainingSet,
    folder: PathBuf,
    run: String,
    known: Known,
    tokens: Vec<Vec<u32>>,
    gene_tokens: Vec<Vec<u32>>,
    text: TextEncoder,
    snp: SnpEncoder,
    tasks: Vec<RunTask>,
    groups: [Group; 3],
    parameters: Parameters,
    adam: AdamW,
    average: Vec<f32>,
    position: Position,
    hard: HardNegatives,
    /// Vectors of texts, once the text encoder stays as it is.
    fixed: HashMap<u32, Vec<f32>>,
}

struct RunTask {
    options: TaskOptions,
    /// Its place in the training set.
    index: usize,
    sampler: Sampler,
    by_entity: HashMap<u32, Vec<u32>>,
    scale: usize,
    /// Sum and number of losses since the last report.
    losses: (f64, u64),
}

/// A task's pairs in one step.
struct Drawn {
    task: usize,
    pairs: Vec<usize>,
}

impl Trainer {
    /// Begins a run, or goes on with the one whose checkpoints are in the folder.
    ///
    /// # Errors
    /// When the model cannot be trained, a task is not in the data or has no pairs, or the folder holds another run.
    pub fn new(info: &ModelInfo, set: TrainingSet, options: TrainOptions, folder: &Path) -> Result<Self> {
        check(&set, &options)?;
        let run = fingerprint(info, &set, &options)?;
        let mut parameters = Parameters::default();
        let text = TextEncoder::load(info, &mut parameters)?;
        let of_text = 0..parameters.values.len();
        let snp = SnpEncoder::new(&set, text.dimension(), options.seed, &mut parameters);
        let first_scale = parameters.values.len();
        let mut tasks = Vec::new();
        for (i, task) in options.tasks.iter().enumerate() {
            let index = set.tasks.iter().position(|t| t.name == task.name).unwrap_or_default();
            let name = format!("loss.{}.log_scale", task.name);
            let scale = parameters.push(&name, &[1], &[(1.0 / task.temperature).ln()]).start;
            let seed = options.seed.wrapping_add(1 + i as u64).wrapping_mul(0x2545_f491_4f6c_dd1d);
            tasks.push(RunTask {
                options: task.clone(),
                index,
                sampler: Sampler::new(seed, set.tasks[index].left.len()),
                by_entity: match set.tasks[index].kind {
                    TaskKind::Synonyms => by_entity(&set.tasks[index], &set.entities),
                    TaskKind::Related | TaskKind::SnpText => HashMap::new(),
                },
                scale,
                losses: (0.0, 0),
            });
        }
        let group = |range, learning_rate, weight_decay| Group { range, learning_rate, weight_decay, clip: 1.0 };
        let groups = [
            group(of_text, options.learning_rate, options.weight_decay),
            group(snp.range(), options.snp_learning_rate, options.weight_decay),
            group(first_scale..parameters.values.len(), SCALE_LEARNING_RATE, 0.0),
        ];
        let tokenizer = TextTokenizer::load(info)?;
        let tokenize = |texts: &[String]| -> Result<Vec<Vec<u32>>> {
            Ok(tokenizer.tokenize(texts)?.into_iter().map(|t| shortened(t.ids, options.max_tokens)).collect())
        };
        let (adam, known) = (AdamW::new(parameters.values.len()), Known::new(&set));
        let mut trainer = Self {
            tokens: tokenize(&set.texts)?,
            gene_tokens: tokenize(&set.genes)?,
            average: parameters.values.clone(),
            position: Position { run: run.clone(), ..Position::default() },
            folder: folder.to_path_buf(),
            info: info.clone(),
            hard: HardNegatives::default(),
            fixed: HashMap::new(),
            options,
            set,
            run,
            known,
            text,
            snp,
            tasks,
            groups,
            parameters,
            adam,
        };
        trainer.resume()?;
        Ok(trainer)
    }

    fn checkpoints(&self) -> PathBuf {
        self.folder.join("checkpoints")
    }

    fn resume(&mut self) -> Result<()> {
        if let Some(state) = checkpoint::load(&self.checkpoints(), &self.parameters, &self.run)? {
            self.parameters.values = state.values;
            (self.adam.first, self.adam.second) = (state.first, state.second);
            (self.average, self.position) = (state.average, state.position);
            self.snp.gene_texts = state.gene_texts;
        }
        if self.options.hard_negatives && self.tasks.iter().any(|t| !t.by_entity.is_empty()) {
            self.hard = self.hard_negatives()?;
        }
        Ok(())
    }

    /// Steps done.
    pub fn step(&self) -> u64 {
        self.position.step
    }

    /// Steps of the run.
    pub fn steps(&self) -> u64 {
        self.options.steps + self.options.snp_steps
    }

    /// Runs to the end, or until told to stop; both leave a checkpoint.
    ///
    /// # Errors
    /// When a checkpoint cannot be written, or a loss is not finite.
    pub fn run(&mut self, report: &mut dyn FnMut(&Report) -> ControlFlow<()>) -> Result<()> {
        let (mut tokens, mut since) = (0, 0);
        while self.position.step < self.steps() {
            let started = Instant::now();
            let done = self.take_step()?;
            self.position.step += 1;
            self.position.seconds += started.elapsed().as_secs_f64();
            (tokens, since) = (tokens + done.tokens, since + 1);
            let last = self.position.step == self.steps();
            let mut stop = false;
            if self.position.step.is_multiple_of(self.options.report_every) || last {
                let report_now = self.report(&done, tokens, since);
                stop = report(&report_now).is_break();
                (tokens, since) = (0, 0);
            }
            if self.position.step.is_multiple_of(self.options.checkpoint_every) || last || stop {
                self.save()?;
            }
            if stop {
                break;
            }
        }
        Ok(())
    }

    fn save(&self) -> Result<()> {
        let state = State {
            position: self.position.clone(),
            values: self.parameters.values.clone(),
            first: self.adam.first.clone(),
            second: self.adam.second.clone(),
            average: self.average.clone(),
            gene_texts: self.snp.gene_texts.clone(),
        };
        checkpoint::save(&self.checkpoints(), &self.parameters, &state)
    }

    /// Writes the averaged weights as a model's folder, in the Hugging Face layout.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn export(&self, folder: &Path) -> Result<()> {
        super::export::write(&self.info, &self.set, &self.parameters, &self.average, folder)
    }

    fn report(&mut self, done: &Done, tokens: u64, since: u64) -> Report {
        let values = &self.parameters.values;
        let tasks = self.tasks.iter_mut().filter(|t| t.losses.1 > 0).map(|t| {
            let (sum, n) = std::mem::take(&mut t.losses);
            (t.options.name.clone(), (sum / n as f64) as f32, (-values[t.scale]).exp())
        });
        Report {
            step: self.position.step,
            steps: self.options.steps + self.options.snp_steps,
            seconds: self.position.seconds,
            tasks: tasks.collect(),
            gradient: done.gradient,
            rate: done.rate,
            tokens,
            since,
        }
    }

    fn is_joint(&self) -> bool {
        self.position.step < self.options.steps
    }

    fn draw(&mut self) -> Vec<Drawn> {
        let (step, joint) = (self.position.step, self.is_joint());
        let mut drawn = Vec::new();
        for (i, task) in self.tasks.iter_mut().enumerate() {
            let data = &self.set.tasks[task.index];
            if !joint && data.kind != TaskKind::SnpText {
                continue;
            }
            let mut pairs = task.sampler.batch(step, task.options.batch);
            if !task.by_entity.is_empty() {
                let seed = self.options.seed ^ step.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ i as u64;
                self.hard.mix_in(&mut pairs, data, &self.set.entities, &task.by_entity, seed);
            }
            drawn.push(Drawn { task: i, pairs });
        }
        drawn
    }

    fn take_step(&mut self) -> Result<Done> {
        let (step, joint) = (self.position.step, self.is_joint());
        let genes_used = self.set.tasks.iter().any(|t| t.kind == TaskKind::SnpText);
        if genes_used && (joint && step.is_multiple_of(GENES_EVERY) || step == self.options.steps) {
            self.snp.gene_texts = self.vectors_of(&self.gene_tokens);
        }
        let drawn = self.draw();
        let (mut texts, mut snps) = (Vec::new(), Vec::new());
        for Drawn { task, pairs } in &drawn {
            let data = &self.set.tasks[self.tasks[*task].index];
            texts.extend(pairs.iter().map(|i| data.right[*i]));
            let left = if data.kind == TaskKind::SnpText { &mut snps } else { &mut texts };
            left.extend(pairs.iter().map(|i| data.left[*i]));
        }
        for all in [&mut texts, &mut snps] {
            all.sort_unstable();
            all.dedup();
        }
        let d = self.text.dimension();
        let p = &self.parameters.values;
        let (vectors, tape, tokens) = if joint {
            let sequences: Vec<&[u32]> = texts.iter().map(|t| self.tokens[*t as usize].as_slice()).collect();
            let tokens = sequences.iter().map(|s| s.len() as u64).sum();
            let (vectors, tape) = self.text.forward(p, &sequences);
            (vectors, Some(tape), tokens)
        } else {
            let missing: Vec<u32> = texts.iter().copied().filter(|t| !self.fixed.contains_key(t)).collect();
            let sequences: Vec<&[u32]> = missing.iter().map(|t| self.tokens[*t as usize].as_slice()).collect();
            let tokens = sequences.iter().map(|s| s.len() as u64).sum();
            let (new, _) = self.text.forward(p, &sequences);
            self.fixed.extend(missing.into_iter().zip(new.chunks_exact(d).map(<[f32]>::to_vec)));
            (texts.iter().flat_map(|t| &self.fixed[t]).copied().collect(), None, tokens)
        };
        let mut grads = vec![0f32; p.len()];
        let vectors = Var::from_tensor(&matrix(vectors, d, &Device::Cpu)?)?;
        let seed = self.options.seed ^ (step + 1).wrapping_mul(0xd134_2543_de82_ef95);
        let batch = if snps.is_empty() { None } else { Some(self.snp.forward(p, snps.clone(), Some(seed))?) };
        self.losses(&drawn, (&texts, &vectors), (&snps, batch.as_ref()), &mut grads, tape.as_ref())?;
        self.update(grads, tokens)
    }

    /// Losses of all tasks, and the gradients of all parameters.
    fn losses(
        &mut self,
        drawn: &[Drawn],
        (texts, vectors): (&[u32], &Var),
        (snps, batch): (&[u32], Option<&snp::Batch>),
        grads: &mut [f32],
        tape: Option<&super::text::Tape>,
    ) -> Result<()> {
        let device = &Device::Cpu;
        let mut total: Option<Tensor> = None;
        let mut scales = Vec::new();
        for Drawn { task: at, pairs } in drawn {
            let task = &self.tasks[*at];
            let data = &self.set.tasks[task.index];
            let rows = |of: &[u32], all: &[u32], vectors: &Tensor| -> Result<Tensor> {
                let places = pairs.iter().filter_map(|i| all.binary_search(&of[*i]).ok()).map(|i| i as u32);
                Ok(vectors.index_select(&Tensor::from_iter(places, device)?, 0)?)
            };
            let right = rows(&data.right, texts, vectors)?;
            let left = match (data.kind, batch) {
                (TaskKind::SnpText, Some(batch)) => rows(&data.left, snps, &batch.vectors)?,
                _ => rows(&data.left, texts, vectors)?,
            };
            let weights = Tensor::from_iter(pairs.iter().map(|i| data.weights[*i]), device)?;
            let scale = Var::from_tensor(&Tensor::new(self.parameters.values[task.scale], device)?)?;
            let mask = matrix(self.mask(task.index, pairs), pairs.len(), device)?;
            let loss = nested((&left, &right), &weights, &mask, &scale, &self.options.nested_dimensions)?;
            let value = loss.to_scalar::<f32>()?;
            if !value.is_finite() {
                let name = &task.options.name;
                return Err(Error::Training(format!("the loss of {name} is {value} at step {}", self.position.step)));
            }
            scales.push((scale, task.scale));
            let weighted = loss.affine(f64::from(task.options.weight), 0.0)?;
            total = Some(match total {
                Some(sum) => (sum + weighted)?,
                None => weighted,
            });
            let losses = &mut self.tasks[*at].losses;
            *losses = (losses.0 + f64::from(value), losses.1 + 1);
        }
        let Some(total) = total else { return Ok(()) };
        let store = total.backward()?;
        for (scale, place) in scales {
            if let Some(grad) = store.get(&scale) {
                grads[place] += grad.to_scalar::<f32>()?;
            }
        }
        if let Some(batch) = batch {
            self.snp.backward(batch, &store, grads)?;
        }
        if let (Some(tape), Some(grad)) = (tape, store.get(vectors)) {
            let grad = grad.flatten_all()?.to_vec1::<f32>()?;
            self.text.backward(&self.parameters.values, tape, &grad, grads);
        }
        Ok(())
    }

    /// What must not be a negative: another pair's right side that is known to be right for the left one. For synonyms that is
    /// the same entity alone: a parent is the best of negatives.
    fn mask(&self, task: usize, pairs: &[usize]) -> Vec<f32> {
        let data = &self.set.tasks[task];
        let left: Vec<u32> = pairs.iter().map(|i| self.set.left_entity(data.kind, data.left[*i])).collect();
        let right: Vec<u32> = pairs.iter().map(|i| self.set.entities[data.right[*i] as usize]).collect();
        let mut mask = vec![0f32; pairs.len() * pairs.len()];
        for (i, left) in left.iter().enumerate() {
            for (j, right) in right.iter().enumerate() {
                let positive = match data.kind {
                    TaskKind::Synonyms => left == right,
                    TaskKind::Related | TaskKind::SnpText => self.known.has(*left, *right),
                };
                if i != j && positive {
                    mask[i * pairs.len() + j] = MASKED;
                }
            }
        }
        mask
    }

    fn update(&mut self, grads: Vec<f32>, tokens: u64) -> Result<Done> {
        let (step, joint) = (self.position.step, self.is_joint());
        let (of_phase, phase) = if joint { (step, self.options.steps) } else { (step - self.options.steps, self.options.snp_steps) };
        let rate = schedule(of_phase, self.options.warm_up.min(phase / 2).max(1), phase);
        let mut gradient = 0.0;
        for (i, group) in self.groups.iter().enumerate() {
            let is_text = i == 0;
            if is_text && !joint {
                continue;
            }
            let norm = self.adam.step(group, step + 1, rate, &mut self.parameters.values, &grads);
            if is_text {
                gradient = norm;
            }
        }
        for task in &self.tasks {
            let scale = &mut self.parameters.values[task.scale];
            *scale = scale.clamp(0.0, MOST_SCALE.ln() as f32);
        }
        let keep = self.options.average;
        for (average, value) in self.average.iter_mut().zip(&self.parameters.values) {
            *average = keep * *average + (1.0 - keep) * value;
        }
        if joint && step + 1 == self.options.steps {
            // From here on the texts stay where the average has them, for they are what is shipped.
            let text = self.groups[0].range.clone();
            self.parameters.values[text.clone()].copy_from_slice(&self.average[text]);
        }
        Ok(Done { tokens, gradient, rate })
    }

    /// Vectors of sequences by the weights as they are now.
    fn vectors_of(&self, sequences: &[Vec<u32>]) -> Vec<f32> {
        let mut vectors = Vec::with_capacity(sequences.len() * self.text.dimension());
        for some in sequences.chunks(2048) {
            let some: Vec<&[u32]> = some.iter().map(Vec::as_slice).collect();
            vectors.extend(self.text.forward(&self.parameters.values, &some).0);
        }
        vectors
    }

    /// For each entity, those whose first names are nearest by the start's weights; kept in the run's folder.
    fn hard_negatives(&self) -> Result<HardNegatives> {
        let path = self.folder.join("hard-negatives.json");
        if path.exists() {
            return Ok(HardNegatives { near: crate::info::read_json(&path)? });
        }
        let mut first: HashMap<u32, u32> = HashMap::new();
        for task in self.tasks.iter().filter(|t| !t.by_entity.is_empty()) {
            for text in &self.set.tasks[task.index].left {
                first.entry(self.set.entities[*text as usize]).or_insert(*text);
            }
        }
        let mut entities: Vec<(u32, u32)> = first.into_iter().collect();
        entities.sort_unstable();
        let tokens: Vec<Vec<u32>> = entities.iter().map(|(_, text)| self.tokens[*text as usize].clone()).collect();
        let vectors = self.vectors_of(&tokens);
        let corpus = Corpus::new(vectors.clone(), self.text.dimension(), None, Some(Precision::F32))?;
        let options = SearchOptions { k: Some(NEAR + 1), ties: false, min_score: -1.0 };
        let mut near = HashMap::new();
        let threads = rayon::current_num_threads();
        let piece = entities.len().div_ceil(threads).max(1);
        let found: Vec<Vec<Vec<crate::search::Neighbor>>> = {
            use rayon::prelude::*;
            vectors
                .par_chunks(piece * self.text.dimension())
                .map(|queries| corpus.search(queries, options))
                .collect::<Result<_>>()?
        };
        for (i, neighbors) in found.into_iter().flatten().enumerate() {
            let others = neighbors.iter().map(|n| entities[n.index as usize].0).filter(|e| *e != entities[i].0);
            near.insert(entities[i].0, others.take(NEAR).collect::<Vec<u32>>());
        }
        let text = serde_json::to_vec(&near).map_err(|e| Error::folder(&path, e))?;
        std::fs::create_dir_all(&self.folder).map_err(|e| Error::folder(&self.folder, e))?;
        std::fs::write(&path, text).map_err(|e| Error::folder(&path, e))?;
        Ok(HardNegatives { near })
    }
}

/// What a step did.
struct Done {
    tokens: u64,
    gradient: f32,
    rate: f32,
}

/// At most so many tokens, the last one (the sequence's end) always among them.
fn shortened(mut ids: Vec<u32>, most: usize) -> Vec<u32> {
    if ids.len() > most.max(2)
        && let Some(last) = ids.pop()
    {
        ids.truncate(most.max(2) - 1);
        ids.push(last);
    }
    ids
}

fn check(set: &TrainingSet, options: &TrainOptions) -> Result<()> {
    let wrong = |problem: String| Err(Error::Training(problem));
    if options.tasks.is_empty() {
        return wrong("there is no task".into());
    }
    for task in &options.tasks {
        let found = set.tasks.iter().find(|t| t.name == task.name);
        let known: Vec<&str> = set.tasks.iter().map(|t| t.name.as_str()).collect();
        match found.map(|t| t.left.len()) {
            None => return wrong(format!("there is no task '{}' in the data; known: {}", task.name, known.join(", "))),
            Some(0 | 1) => return wrong(format!("the task '{}' has fewer than two pairs in the data", task.name)),
            Some(_) if task.batch < 2 => return wrong(format!("the batch of '{}' must be 2 or more", task.name)),
            Some(_) => {}
        }
    }
    Ok(())
}

/// Hash over the start, the data and what decides the weights.
fn fingerprint(info: &ModelInfo, set: &TrainingSet, options: &TrainOptions) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(info.fingerprint.as_bytes());
    let decisive = TrainOptions { checkpoint_every: 0, report_every: 0, ..options.clone() };
    hasher.update(&serde_json::to_vec(&decisive).map_err(|e| Error::Training(e.to_string()))?);
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
