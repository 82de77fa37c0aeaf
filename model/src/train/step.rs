//! One step: pairs, vectors, losses, gradients, new weights.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor, Var};
use rayon::prelude::*;

use super::data::TaskKind;
use super::hard_negatives::HardNegatives;
use super::loss::{MASKED, MOST_SCALE, kept, nested};
use super::optimizer::{PIECE, schedule};
use super::snp::Batch;
use super::text::{Tape, Weights};
use super::trainer::Trainer;
use crate::snp::matrix;
use crate::{Error, Result};

/// Steps between which the genes' texts are encoded anew.
const GENES_EVERY: u64 = 250;
/// Pairs of a task, at least, once SNPs alone are trained: they cost next to nothing.
const SNP_BATCH: usize = 256;

/// Texts of a step, at most, whose nearness to each other is compared with the start's.
const KEPT: usize = 96;

/// A task's pairs in one step.
struct Drawn {
    task: usize,
    pairs: Vec<usize>,
}

impl Trainer {
    pub(super) fn is_joint(&self) -> bool {
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
            let batch = if joint { task.options.batch } else { task.options.batch.max(SNP_BATCH) };
            let mut pairs = task.sampler.batch(step, batch);
            if !task.by_entity.is_empty() {
                let seed = self.options.seed ^ step.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ i as u64;
                self.hard.mix_in(&mut pairs, data, &self.set.entities, &task.by_entity, seed);
            }
            drawn.push(Drawn { task: i, pairs });
        }
        drawn
    }

    pub(super) fn take_step(&mut self) -> Result<Done> {
        let (step, joint) = (self.position.step, self.is_joint());
        let genes_used = self.set.tasks.iter().any(|t| t.kind == TaskKind::SnpText);
        if genes_used && (joint && step.is_multiple_of(GENES_EVERY) || step == self.options.steps) {
            self.snp.gene_texts = self.vectors_of(&self.gene_tokens)?;
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
            let (vectors, tape) = self.text.at(p, true)?.forward(&sequences, !self.options.gradient_cache)?;
            (vectors, Some(tape), tokens)
        } else {
            let missing: Vec<u32> = texts.iter().copied().filter(|t| !self.fixed.contains_key(t)).collect();
            let sequences: Vec<&[u32]> = missing.iter().map(|t| self.tokens[*t as usize].as_slice()).collect();
            let tokens = sequences.iter().map(|s| s.len() as u64).sum();
            if !missing.is_empty() {
                let still = match &self.still {
                    Some(still) => still,
                    None => self.still.insert(self.text.at(p, false)?),
                };
                let new = still.encode(&sequences)?;
                self.fixed.extend(missing.into_iter().zip(new.chunks_exact(d).map(<[f32]>::to_vec)));
            }
            (texts.iter().flat_map(|t| &self.fixed[t]).copied().collect(), None, tokens)
        };
        let mut grads = vec![0f32; p.len()];
        let vectors = Var::from_tensor(&matrix(vectors, d, &Device::Cpu)?)?;
        let seed = self.options.seed ^ (step + 1).wrapping_mul(0xd134_2543_de82_ef95);
        let batch = if snps.is_empty() { None } else { Some(self.snp.forward(p, snps.clone(), Some(seed))?) };
        self.losses(&drawn, (&texts, &vectors), (&snps, batch.as_ref()), &mut grads, tape)?;
        self.update(grads, tokens)
    }

    /// Losses of all tasks, and the gradients of all parameters.
    fn losses(
        &mut self,
        drawn: &[Drawn],
        (texts, vectors): (&[u32], &Var),
        (snps, batch): (&[u32], Option<&Batch>),
        grads: &mut [f32],
        tape: Option<Box<dyn Tape>>,
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
        let Some(mut total) = total else { return Ok(()) };
        if tape.is_some()
            && let Some(start) = self.start.as_deref()
            && let Some(loss) = self.kept(start, drawn, texts, vectors)?
        {
            let value = f64::from(loss.to_scalar::<f32>()?);
            if !value.is_finite() {
                let step = self.position.step;
                return Err(Error::Training(format!("what texts kept of their nearness is {value} at step {step}")));
            }
            self.kept = (self.kept.0 + value, self.kept.1 + 1);
            total = (total + loss.affine(f64::from(self.options.keep), 0.0)?)?;
        }
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
            tape.backward(&grad, grads)?;
        }
        Ok(())
    }

    /// How far texts of the batch, names near each other among them, are from where the start has them to each other.
    fn kept(&self, start: &dyn Weights, drawn: &[Drawn], texts: &[u32], vectors: &Var) -> Result<Option<Tensor>> {
        let kind = |d: &Drawn| self.set.tasks[self.tasks[d.task].index].kind;
        let of_kind = |k: TaskKind| drawn.iter().find(|d| kind(d) == k);
        let Some(Drawn { task, pairs }) = of_kind(TaskKind::Synonyms).or_else(|| of_kind(TaskKind::Related)) else {
            return Ok(None);
        };
        let right = &self.set.tasks[self.tasks[*task].index].right;
        // As many of a batch's first half as of the second, which is near it.
        let every = pairs.len().div_ceil(KEPT).max(1);
        let mut some: Vec<u32> = pairs.iter().step_by(every).map(|i| right[*i]).collect();
        some.sort_unstable();
        some.dedup();
        let sequences: Vec<&[u32]> = some.iter().map(|t| self.tokens[*t as usize].as_slice()).collect();
        let before = matrix(start.encode(&sequences)?, self.text.dimension(), &Device::Cpu)?;
        let places = some.iter().filter_map(|t| texts.binary_search(t).ok()).map(|i| i as u32);
        let now = vectors.index_select(&Tensor::from_iter(places, &Device::Cpu)?, 0)?;
        Ok(Some(kept(&now, &before)?))
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
        let (of_phase, phase) =
            if joint { (step, self.options.steps) } else { (step - self.options.steps, self.options.snp_steps) };
        let rate = schedule(of_phase, self.options.warm_up.min(phase / 2).max(1), phase);
        let mut gradient = 0.0;
        for (i, group) in self.groups.iter().enumerate() {
            let is_text = i == 0;
            if is_text && !joint {
                continue;
            }
            // What is trained anew has new moments.
            let of_group = if joint { step } else { of_phase };
            let norm = self.adam.step(group, of_group + 1, rate, &mut self.parameters.values, &grads);
            if is_text {
                gradient = norm;
            }
        }
        for task in &self.tasks {
            let scale = &mut self.parameters.values[task.scale];
            *scale = scale.clamp(0.0, MOST_SCALE.ln() as f32);
        }
        let keep = self.options.average;
        let pieces = self.average.par_chunks_mut(PIECE).zip(self.parameters.values.par_chunks(PIECE));
        pieces.for_each(|(averages, values)| {
            for (average, value) in averages.iter_mut().zip(values) {
                *average = keep * *average + (1.0 - keep) * value;
            }
        });
        if joint && step + 1 == self.options.steps {
            self.begin_snps();
        }
        Ok(Done { tokens, gradient, rate })
    }

    /// From here on the texts stay where the average has them, for they are what is shipped; the SNP encoder begins anew, for
    /// what it has learned by heart was of texts that moved.
    fn begin_snps(&mut self) {
        let values = &mut self.parameters.values;
        let text = self.groups[0].range.clone();
        values[text.clone()].copy_from_slice(&self.average[text]);
        self.snp.begin(self.options.seed, values);
        self.start = None;
        for task in &self.tasks {
            values[task.scale] = (1.0 / task.options.temperature).ln();
        }
        for group in &self.groups[1..] {
            self.adam.first[group.range.clone()].fill(0.0);
            self.adam.second[group.range.clone()].fill(0.0);
            self.average[group.range.clone()].copy_from_slice(&values[group.range.clone()]);
        }
    }

    /// Vectors of sequences by the weights as they are now.
    fn vectors_of(&self, sequences: &[Vec<u32>]) -> Result<Vec<f32>> {
        let weights = self.text.at(&self.parameters.values, false)?;
        let mut vectors = Vec::with_capacity(sequences.len() * self.text.dimension());
        for some in sequences.chunks(2048) {
            let some: Vec<&[u32]> = some.iter().map(Vec::as_slice).collect();
            vectors.extend(weights.encode(&some)?);
        }
        Ok(vectors)
    }

    /// For each entity, those whose first names are nearest by the start's weights.
    pub(super) fn hard_negatives(&self, device: &crate::Device) -> Result<HardNegatives> {
        if let Some(found) = HardNegatives::read(&self.folder)? {
            return Ok(found);
        }
        let mut first: BTreeMap<u32, u32> = BTreeMap::new();
        for task in self.tasks.iter().filter(|t| !t.by_entity.is_empty()) {
            for text in &self.set.tasks[task.index].left {
                first.entry(self.set.entities[*text as usize]).or_insert(*text);
            }
        }
        let tokens: Vec<Vec<u32>> = first.values().map(|text| self.tokens[*text as usize].clone()).collect();
        let entities: Vec<u32> = first.into_keys().collect();
        let vectors = self.vectors_of(&tokens)?;
        HardNegatives::find(&entities, (vectors, self.text.dimension()), device, &self.folder)
    }
}

/// What a step did.
pub(super) struct Done {
    pub(super) tokens: u64,
    pub(super) gradient: f32,
    pub(super) rate: f32,
}
