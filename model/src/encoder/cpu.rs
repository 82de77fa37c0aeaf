//! The CPU backend: an encoder on our own kernels, over packed sequences.
//!
//! Every worker runs whole sequences through all layers by itself, a few hundred tokens at a time, so that what it works
//! on stays in its caches and no core waits for another. Within a layer the part after attention goes block by block.
//! All memory is the worker's and is used again; once it has seen a batch of this size, nothing is allocated.
//!
//! Source: Devlin et al. 2019.

use std::ops::Range;
use std::sync::Arc;

use super::weights::{LayerWeights, Linear, Weights};
use super::{Encoder, Place, Worker};
use crate::config::Config;
use crate::info::Pooling;
use crate::kernels::{
    Activation, Aligned, Attention, AttentionScratch, Isa, Norm, Operand, PackedMatrix, Precision, RelativeBias,
    add_rows, layer_norm, layer_peak_gops, mean_of_rows,
};
use crate::pack::{PackedBatch, cut};
use crate::{Error, ModelInfo, Result};

/// Tokens that go through the layers together, at most, unless one sequence has more.
const GROUP_TOKENS: usize = 504;
/// Tokens that go through a layer's second half together.
const BLOCK_TOKENS: usize = 252;
/// Tokens of a batch: a worker's work between two looks at the queue.
const BATCH_TOKENS: usize = 504;

/// An encoder with its weights packed for this CPU.
pub(crate) struct CpuEncoder {
    model: Arc<Model>,
    precision: Precision,
    workers: usize,
}

struct Model {
    isa: Isa,
    config: Config,
    pooling: Pooling,
    words: Vec<f32>,
    positions: Vec<f32>,
    token_type: Vec<f32>,
    norm: Norm,
    layers: Vec<Layer>,
    bias: Option<RelativeBias>,
}

struct Layer {
    qkv: PackedMatrix,
    output: PackedMatrix,
    norm: Norm,
    up: PackedMatrix,
    down: PackedMatrix,
    out_norm: Norm,
}

impl CpuEncoder {
    /// Reads and packs a model's weights, for so many workers.
    ///
    /// # Errors
    /// As [`Weights::read`].
    pub(crate) fn load(info: &ModelInfo, workers: usize) -> Result<Self> {
        Self::with_isa(info, workers, Isa::detect())
    }

    fn with_isa(info: &ModelInfo, workers: usize, isa: Isa) -> Result<Self> {
        let config = Config::read(&info.folder)?;
        let weights = Weights::read(&info.folder, &config)?;
        tracing::debug!(?isa, precision = %info.precision, workers, "weights are packed for this CPU");
        let layers = weights.layers.into_iter().map(|layer| Layer::pack(isa, info.precision, layer)).collect();
        let model = Model {
            isa,
            pooling: info.pooling,
            words: weights.words,
            positions: weights.positions,
            token_type: weights.token_type,
            norm: weights.norm,
            layers,
            bias: weights.bias,
            config,
        };
        Ok(Self { model: Arc::new(model), precision: info.precision, workers })
    }
}

impl Layer {
    fn pack(isa: Isa, precision: Precision, layer: LayerWeights) -> Self {
        let pack = |l: &Linear| PackedMatrix::new(isa, precision, &l.weights, &l.bias, l.inputs);
        Self {
            qkv: pack(&layer.qkv),
            output: pack(&layer.output),
            norm: layer.norm,
            up: pack(&layer.up),
            down: pack(&layer.down),
            out_norm: layer.out_norm,
        }
    }
}

impl Encoder for CpuEncoder {
    fn place(&self) -> Place {
        let instructions = Some(self.model.isa.to_string());
        Place { device: "cpu".into(), workers: self.workers, instructions }
    }

    fn workers(&self) -> usize {
        self.workers
    }

    fn batch_tokens(&self) -> usize {
        BATCH_TOKENS
    }

    fn worker(&self) -> Result<Box<dyn Worker>> {
        Ok(Box::new(CpuWorker { model: self.model.clone(), scratch: Scratch::default() }))
    }

    fn peak_gops(&self) -> Result<f64> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(layer_peak_gops(self.model.isa, self.precision) * self.workers.min(cores) as f64)
    }
}

struct CpuWorker {
    model: Arc<Model>,
    scratch: Scratch,
}

/// Activations: `x` is the residual stream, `[tokens, hidden]`.
#[derive(Default)]
struct Scratch {
    x: Aligned,
    qkv: Aligned,
    context: Aligned,
    update: Aligned,
    wide: Aligned,
    operand: Operand,
    attention: AttentionScratch,
}

impl Worker for CpuWorker {
    fn encode(&mut self, batch: &PackedBatch, out: &mut Vec<f32>) -> Result<()> {
        let hidden = self.model.config.hidden;
        out.clear();
        out.resize(batch.len() * hidden, 0.0);
        for group in cut(batch.ranges().map(|range| range.len()), GROUP_TOKENS) {
            let vectors = &mut out[group.start * hidden..group.end * hidden];
            self.model.forward(batch, group, &mut self.scratch, vectors)?;
        }
        Ok(())
    }
}

impl Model {
    /// Some sequences of a batch → their vectors.
    fn forward(&self, batch: &PackedBatch, group: Range<usize>, scratch: &mut Scratch, out: &mut [f32]) -> Result<()> {
        let hidden = self.config.hidden;
        let offsets = &batch.offsets[group.start..=group.end];
        let first = offsets[0];
        let tokens = offsets[offsets.len() - 1] - first;
        let sequences = || offsets.windows(2).map(|w| w[0] - first..w[1] - first);

        let Scratch { x, qkv, context, update, wide, operand, attention } = scratch;
        for (buffer, width) in [(&mut *x, hidden), (qkv, 3 * hidden), (context, hidden)] {
            buffer.reserve(tokens * width);
        }
        update.reserve(BLOCK_TOKENS * hidden);
        wide.reserve(BLOCK_TOKENS * self.config.intermediate);
        let x = &mut x.floats_mut()[..tokens * hidden];
        let qkv = &mut qkv.floats_mut()[..tokens * 3 * hidden];
        let context = &mut context.floats_mut()[..tokens * hidden];

        for sequence in sequences() {
            let ids = &batch.ids[first + sequence.start..first + sequence.end];
            self.embed(ids, &mut x[sequence.start * hidden..sequence.end * hidden])?;
        }
        layer_norm(self.isa, x, &[], &self.norm);
        for layer in &self.layers {
            layer.qkv.apply(x, operand, Activation::None, qkv);
            for sequence in sequences() {
                Attention {
                    qkv: &qkv[sequence.start * 3 * hidden..sequence.end * 3 * hidden],
                    n: sequence.len(),
                    heads: self.config.heads,
                    bias: self.bias.as_ref(),
                    out: &mut context[sequence.start * hidden..sequence.end * hidden],
                }
                .run(self.isa, attention);
            }
            let blocks = x.chunks_mut(BLOCK_TOKENS * hidden).zip(context.chunks(BLOCK_TOKENS * hidden));
            for (x, context) in blocks {
                let update = &mut update.floats_mut()[..x.len()];
                let wide = &mut wide.floats_mut()[..x.len() / hidden * self.config.intermediate];
                layer.output.apply(context, operand, Activation::None, update);
                layer_norm(self.isa, x, update, &layer.norm);
                layer.up.apply(x, operand, self.config.activation, wide);
                layer.down.apply(wide, operand, Activation::None, update);
                layer_norm(self.isa, x, update, &layer.out_norm);
            }
        }
        for (sequence, out) in sequences().zip(out.chunks_exact_mut(hidden)) {
            let rows = match self.pooling {
                Pooling::Mean => sequence,
                Pooling::Cls => sequence.start..sequence.start + 1,
            };
            mean_of_rows(self.isa, &x[rows.start * hidden..rows.end * hidden], out);
        }
        Ok(())
    }

    /// The embeddings of a sequence's tokens, before their normalization.
    fn embed(&self, ids: &[u32], x: &mut [f32]) -> Result<()> {
        let hidden = self.config.hidden;
        let positions = self.positions.chunks_exact(hidden);
        for ((id, position), x) in ids.iter().zip(positions).zip(x.chunks_exact_mut(hidden)) {
            let at = *id as usize * hidden;
            let Some(word) = self.words.get(at..at + hidden) else {
                let words = self.words.len() / hidden;
                return Err(Error::Encoder(format!(
                    "token {id} is beyond the {words} words of the weights; tokenizer and weights are of two models"
                )));
            };
            add_rows(self.isa, word, position, &self.token_type, x);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::alloc::{GlobalAlloc, Layout, System};
    use std::cell::Cell;

    use super::*;
    use crate::store::ModelStore;

    thread_local!(static ALLOCATED: Cell<usize> = const { Cell::new(0) });

    /// Counts what each thread allocates.
    struct Counting;

    #[allow(unsafe_code)]
    // SAFETY: all is the system's own; the counter does not allocate.
    unsafe impl GlobalAlloc for Counting {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            ALLOCATED.with(|count| count.set(count.get() + 1));
            // SAFETY: the caller's promise.
            unsafe { System.alloc(layout) }
        }

        unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
            // SAFETY: the caller's promise.
            unsafe { System.dealloc(memory, layout) };
        }
    }

    #[global_allocator]
    static COUNTING: Counting = Counting;

    fn info(name: &str, precision: Precision) -> ModelInfo {
        let folder = std::path::absolute(format!("tests/fixtures/tiny/{name}")).unwrap();
        ModelStore::new("no-store").info(folder.to_str().unwrap()).unwrap().with_precision(Some(precision))
    }

    /// Sequences of 2 to 30 tokens, more of them than go through the layers together.
    fn batch() -> PackedBatch {
        let mut rng = fastrand::Rng::with_seed(1);
        let sequences: Vec<Vec<u32>> = (0..60).map(|i| (0..2 + i % 29).map(|_| rng.u32(..90)).collect()).collect();
        PackedBatch::new(sequences.iter().map(Vec::as_slice))
    }

    #[test]
    fn a_batch_allocates_nothing_once_the_memory_is_there() {
        let batch = batch();
        for precision in [Precision::F32, Precision::Bf16, Precision::Int8] {
            for name in ["bert-cls", "mpnet-mean"] {
                let encoder = CpuEncoder::load(&info(name, precision), 1).unwrap();
                let (mut worker, mut out) = (encoder.worker().unwrap(), Vec::new());
                worker.encode(&batch, &mut out).unwrap();
                let (first, before) = (out.clone(), ALLOCATED.with(Cell::get));
                worker.encode(&batch, &mut out).unwrap();
                assert_eq!(ALLOCATED.with(Cell::get), before, "{name} {precision}");
                assert_eq!(out, first);
            }
        }
    }

    #[test]
    fn every_instruction_set_makes_the_same_vectors() {
        let batch = batch();
        for (precision, name, most) in [
            (Precision::F32, "roberta-mean", 2e-5),
            (Precision::Bf16, "mpnet-mean", 0.02),
            (Precision::Int8, "bert-cls", 0.05),
        ] {
            let info = info(name, precision);
            let vectors = |isa| {
                let mut out = Vec::new();
                let encoder = CpuEncoder::with_isa(&info, 1, isa).unwrap();
                encoder.worker().unwrap().encode(&batch, &mut out).unwrap();
                out
            };
            let expected = vectors(Isa::Portable);
            for isa in Isa::all() {
                let off = vectors(isa).iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(off < most, "{name} {precision} by {isa}: {off}");
            }
        }
    }
}
