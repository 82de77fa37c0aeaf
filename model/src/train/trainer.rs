//! The run: steps, their report, checkpoints.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::batches::{Sampler, by_entity};
use super::checkpoint::{self, Position, State};
use super::data::{Known, TaskKind, TrainingSet};
use super::hard_negatives::HardNegatives;
use super::loss::KEPT_TEMPERATURE;
use super::optimizer::{AdamW, Group};
use super::options::{Report, TaskOptions, TrainOptions, check, decisive, fingerprint};
use super::parameters::Parameters;
use super::snp::SnpEncoder;
use super::step::Done;
use super::text::{TextEncoder, Weights};
use crate::tokenize::TextTokenizer;
use crate::{Device, Error, ModelInfo, Result};

/// The smallest step of log scales, beside the layers' learning rate.
const SCALE_LEARNING_RATE: f32 = 1e-2;

/// One run over a training set, in a folder that holds its checkpoints.
pub struct Trainer {
    pub(super) info: ModelInfo,
    pub(super) options: TrainOptions,
    pub(super) set: TrainingSet,
    pub(super) folder: PathBuf,
    pub(super) known: Known,
    pub(super) tokens: Vec<Vec<u32>>,
    pub(super) gene_tokens: Vec<Vec<u32>>,
    pub(super) text: TextEncoder,
    pub(super) snp: SnpEncoder,
    pub(super) tasks: Vec<RunTask>,
    pub(super) groups: [Group; 3],
    pub(super) parameters: Parameters,
    pub(super) adam: AdamW,
    pub(super) average: Vec<f32>,
    pub(super) position: Position,
    pub(super) hard: HardNegatives,
    /// The text encoder as the start has it, where the nearness of texts is kept.
    pub(super) start: Option<Arc<dyn Weights>>,
    /// It as it is in the end, once it stays so.
    pub(super) still: Option<Arc<dyn Weights>>,
    /// Sum and number of what [`TrainOptions::keep`] weighs, since the last report.
    pub(super) kept: (f64, u64),
    /// Vectors of texts, once the text encoder stays as it is.
    pub(super) fixed: HashMap<u32, Vec<f32>>,
}

pub(super) struct RunTask {
    pub(super) options: TaskOptions,
    /// Its place in the training set.
    pub(super) index: usize,
    pub(super) sampler: Sampler,
    pub(super) by_entity: HashMap<u32, Vec<u32>>,
    pub(super) scale: usize,
    /// Sum and number of losses since the last report.
    pub(super) losses: (f64, u64),
}

impl Trainer {
    /// Begins a run, or goes on with the one whose checkpoints are in the folder, on whatever device that was.
    ///
    /// # Errors
    /// When the model cannot be trained, a task is not in the data or has no pairs, the folder holds another run, or a device
    /// cannot be opened, where it is no GPU, or has no room.
    pub fn new(
        info: &ModelInfo,
        set: TrainingSet,
        mut options: TrainOptions,
        folder: &Path,
        device: &Device,
    ) -> Result<Self> {
        if !options
            .tasks
            .iter()
            .any(|task| set.tasks.iter().any(|t| t.name == task.name && t.kind == TaskKind::SnpText))
        {
            // There are no SNPs to train alone.
            options.snp_steps = 0;
        }
        check(&set, &options, info.width)?;
        if info.is_cut() {
            let problem = format!("'{}' keeps some of its components; name the whole model", info.name);
            return Err(Error::Training(problem));
        }
        let decisive = decisive(info, &options)?;
        let run = fingerprint(&decisive, &set)?;
        let mut parameters = Parameters::default();
        let text = TextEncoder::load(info, options.precision, device, &mut parameters)?;
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
        let start = (options.keep > 0.0).then(|| text.at(&parameters.values, false)).transpose()?;
        let (adam, known) = (AdamW::new(parameters.values.len()), Known::new(&set));
        let mut trainer = Self {
            tokens: tokenize(&set.texts)?,
            gene_tokens: tokenize(&set.genes)?,
            average: parameters.values.clone(),
            position: Position { run, options: decisive, ..Position::default() },
            folder: folder.to_path_buf(),
            info: info.clone(),
            hard: HardNegatives::default(),
            start,
            still: None,
            kept: (0.0, 0),
            fixed: HashMap::new(),
            options,
            set,
            known,
            text,
            snp,
            tasks,
            groups,
            parameters,
            adam,
        };
        trainer.resume(device)?;
        Ok(trainer)
    }

    fn checkpoints(&self) -> PathBuf {
        self.folder.join("checkpoints")
    }

    fn resume(&mut self, device: &Device) -> Result<()> {
        if let Some(state) = checkpoint::load(&self.checkpoints(), &self.parameters, &self.position)? {
            self.parameters.values = state.values;
            (self.adam.first, self.adam.second) = (state.first, state.second);
            (self.average, self.position) = (state.average, state.position);
            self.snp.gene_texts = state.gene_texts;
        }
        if self.options.hard_negatives && self.tasks.iter().any(|t| !t.by_entity.is_empty()) {
            self.hard = self.hard_negatives(device)?;
        }
        Ok(())
    }

    /// Where texts are trained in the end: `cpu`, `cuda:N`, …
    pub fn device(&self) -> &str {
        self.text.device()
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
        super::export::write(&self.info, &self.set, &self.snp, &self.parameters, &self.average, folder)
    }

    fn report(&mut self, done: &Done, tokens: u64, since: u64) -> Report {
        let values = &self.parameters.values;
        let tasks = self.tasks.iter_mut().filter(|t| t.losses.1 > 0).map(|t| {
            let (sum, n) = std::mem::take(&mut t.losses);
            (t.options.name.clone(), (sum / n as f64) as f32, (-values[t.scale]).exp())
        });
        let (kept, n) = std::mem::take(&mut self.kept);
        let kept = (n > 0).then(|| ("keep".to_string(), (kept / n as f64) as f32, KEPT_TEMPERATURE as f32));
        Report {
            step: self.position.step,
            steps: self.options.steps + self.options.snp_steps,
            seconds: self.position.seconds,
            tasks: tasks.chain(kept).collect(),
            gradient: done.gradient,
            rate: done.rate,
            tokens,
            since,
        }
    }
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
