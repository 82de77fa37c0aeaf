//! The candle backend: the same encoder on any candle device, over packed sequences.
//!
//! Linear layers are one matrix product over all tokens of a batch. Attention spreads sequences of about one length (the
//! Embedder sorts them) out to padded blocks, and gathers the tokens again: a handful of kernel launches whatever the
//! number of sequences. On a GPU, whose library chooses another algorithm for another shape, every batch and every block
//! is filled up to one shape, so that a text's vector does not depend on the texts beside it.

mod blocks;
mod cuda;

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use candle_core::{D, DType, Device, Tensor};
use candle_nn::ops::{layer_norm, softmax};

use self::blocks::block_length;
pub(crate) use self::blocks::{Block, Blocks};
use super::weights::{self, LayerWeights, Weights};
use super::{Encoder, Place, Worker};
use crate::config::Config;
use crate::device::open;
use crate::info::Pooling;
use crate::kernels::{Activation, Norm, Precision, RelativeBias};
use crate::pack::PackedBatch;
use crate::{Error, ModelInfo, Result};

/// Tokens of a batch, and rows of its activations: enough to fill a large GPU, few enough for a single text to be soon
/// done.
pub(crate) const BATCH_TOKENS: usize = 8 * 1024;
/// Rows of activations on a CPU are a multiple of so many: few rows are multiplied in another order than many.
const CPU_ROWS: usize = 64;
/// Workers of a GPU: while one computes, another's vectors are on their way back, and a third gets its batch ready.
const GPU_WORKERS: usize = 3;

/// A model for a candle device; each worker has a stream and a copy of the weights of its own.
pub(crate) struct CandleEncoder {
    info: ModelInfo,
    device: String,
    /// What workers that begin at the same time copy to the device.
    weights: Mutex<Weak<Weights>>,
    /// The worker that showed that the device takes the model.
    first: Mutex<Option<Box<dyn Worker>>>,
}

impl CandleEncoder {
    /// For `cpu`, `metal`, or (in a build with the feature `cuda`) `cuda:N`.
    ///
    /// # Errors
    /// When the device cannot be opened, has no room, or does not calculate in the model's precision.
    pub(crate) fn load(info: &ModelInfo, device: &str) -> Result<Self> {
        let own =
            Self { info: info.clone(), device: device.to_string(), weights: Mutex::default(), first: Mutex::default() };
        let first = own.new_worker()?;
        *own.first.lock().unwrap_or_else(PoisonError::into_inner) = Some(first);
        Ok(own)
    }

    fn new_worker(&self) -> Result<Box<dyn Worker>> {
        let device = open(&self.device)?;
        // Before the weights are read.
        dtype(self.info.precision, &device)?;
        let config = Config::read(&self.info.folder)?;
        let weights = self.weights(&config)?;
        Ok(Box::new(Model::new(&weights, config, &self.info, &device)?))
    }
}

impl CandleEncoder {
    /// Read once for all workers that begin while another still has them.
    fn weights(&self, config: &Config) -> Result<Arc<Weights>> {
        let mut kept = self.weights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(weights) = kept.upgrade() {
            return Ok(weights);
        }
        let weights = Arc::new(Weights::read(&self.info.folder, config)?);
        *kept = Arc::downgrade(&weights);
        Ok(weights)
    }
}

impl Encoder for CandleEncoder {
    fn place(&self) -> Place {
        let device = if self.device == "cpu" { "candle" } else { &self.device };
        Place { device: device.into(), workers: self.workers(), instructions: None }
    }

    fn workers(&self) -> usize {
        if self.device == "cpu" { 1 } else { GPU_WORKERS }
    }

    fn batch_tokens(&self) -> usize {
        if self.device == "cpu" { 2048 } else { BATCH_TOKENS }
    }

    fn worker(&self) -> Result<Box<dyn Worker>> {
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner).take();
        first.map_or_else(|| self.new_worker(), Ok)
    }

    /// By a large product of random numbers, since zeros cost a GPU less.
    fn peak_gops(&self) -> Result<f64> {
        let device = open(&self.device)?;
        let (side, times) = if device.is_cpu() { (1024, 4) } else { (8192, 20) };
        let dtype = dtype(self.info.precision, &device)?;
        let random = || Tensor::rand(-1f32, 1f32, (side, side), &device)?.to_dtype(dtype);
        let (a, b) = (random()?, random()?);
        let run = |times: usize| -> Result<f64> {
            let started = Instant::now();
            for _ in 0..times {
                a.matmul(&b)?;
            }
            device.synchronize()?;
            Ok(started.elapsed().as_secs_f64() / times as f64)
        };
        run(times)?;
        let best = run(times)?.min(run(times)?);
        Ok(2.0 * (side as f64).powi(3) / best / 1e9)
    }
}

struct Model {
    config: Config,
    pooling: Pooling,
    words: Tensor,
    positions: Tensor,
    token_type: Tensor,
    norm: DeviceNorm,
    layers: Vec<Layer>,
    /// `[heads, block, block]`, a block of the longest sequence.
    bias: Option<Tensor>,
    dtype: DType,
    device: Device,
    #[cfg(feature = "cuda")]
    fused: Option<cuda::Fused>,
}

struct Layer {
    qkv: Linear,
    output: Linear,
    norm: DeviceNorm,
    up: Linear,
    down: Linear,
    out_norm: DeviceNorm,
}

/// `x · Wᵀ + b`.
struct Linear {
    /// `[inputs, outputs]`, a transposed view.
    weight: Tensor,
    bias: Tensor,
}

struct DeviceNorm {
    weight: Tensor,
    bias: Tensor,
    epsilon: f32,
}

/// The type of numbers that stands for a precision.
fn dtype(precision: Precision, device: &Device) -> Result<DType> {
    match (precision, device) {
        (Precision::Int8, _) => {
            Err(Error::Encoder("precision int8 is for our own kernels on the CPU; candle takes f32 or bf16".into()))
        }
        // candle's CPU arithmetic in bfloat16 is slower and no closer to what a GPU computes.
        (_, Device::Cpu) | (Precision::F32, _) => Ok(DType::F32),
        (Precision::Bf16, _) => Ok(DType::BF16),
    }
}

/// Moves weights to a device.
struct Upload<'a> {
    device: &'a Device,
    dtype: DType,
}

impl Upload<'_> {
    fn tensor(&self, values: &[f32], shape: &[usize]) -> candle_core::Result<Tensor> {
        Tensor::from_slice(values, shape, &Device::Cpu)?.to_dtype(self.dtype)?.to_device(self.device)
    }

    fn linear(&self, l: &weights::Linear) -> candle_core::Result<Linear> {
        let outputs = l.bias.len();
        Ok(Linear {
            weight: self.tensor(&l.weights, &[outputs, l.inputs])?.t()?,
            bias: self.tensor(&l.bias, &[outputs])?,
        })
    }

    fn norm(&self, n: &Norm) -> candle_core::Result<DeviceNorm> {
        let shape = [n.weight.len()];
        Ok(DeviceNorm {
            weight: self.tensor(&n.weight, &shape)?,
            bias: self.tensor(&n.bias, &shape)?,
            epsilon: n.epsilon,
        })
    }

    fn layer(&self, l: &LayerWeights) -> candle_core::Result<Layer> {
        Ok(Layer {
            qkv: self.linear(&l.qkv)?,
            output: self.linear(&l.output)?,
            norm: self.norm(&l.norm)?,
            up: self.linear(&l.up)?,
            down: self.linear(&l.down)?,
            out_norm: self.norm(&l.out_norm)?,
        })
    }

    /// Bias of head, query and key, as a block; 0 beyond the longest sequence, where all is padding.
    fn bias(&self, bias: &RelativeBias, heads: usize) -> candle_core::Result<Tensor> {
        let (n, block) = (bias.longest, block_length(bias.longest));
        let mut values = vec![0f32; heads * block * block];
        for (head, values) in bias.values.chunks_exact(2 * n - 1).zip(values.chunks_exact_mut(block * block)) {
            for (query, row) in values.chunks_exact_mut(block).take(n).enumerate() {
                row[..n].copy_from_slice(&head[n - 1 - query..2 * n - 1 - query]);
            }
        }
        self.tensor(&values, &[heads, block, block])
    }
}

impl Model {
    fn new(weights: &Weights, config: Config, info: &ModelInfo, device: &Device) -> Result<Self> {
        let dtype = dtype(info.precision, device)?;
        let upload = Upload { device, dtype };
        let hidden = config.hidden;
        let rows = |values: &[f32]| upload.tensor(values, &[values.len() / hidden, hidden]);
        #[allow(unused_mut)]
        let mut model = Self {
            words: rows(&weights.words)?,
            positions: rows(&weights.positions)?,
            token_type: upload.tensor(&weights.token_type, &[hidden])?,
            norm: upload.norm(&weights.norm)?,
            layers: weights.layers.iter().map(|l| upload.layer(l)).collect::<candle_core::Result<_>>()?,
            bias: weights.bias.as_ref().map(|b| upload.bias(b, config.heads)).transpose()?,
            pooling: info.pooling,
            dtype,
            device: device.clone(),
            config,
            #[cfg(feature = "cuda")]
            fused: None,
        };
        #[cfg(feature = "cuda")]
        {
            model.fused = cuda::Fused::new(&model, weights.bias.as_ref())?;
        }
        Ok(model)
    }

    fn forward(&self, batch: &PackedBatch) -> candle_core::Result<Tensor> {
        #[cfg(feature = "cuda")]
        if let Some(fused) = &self.fused {
            return fused.forward(self, batch);
        }
        let is_cpu = self.device.is_cpu();
        let rows = batch.tokens().next_multiple_of(if is_cpu { CPU_ROWS } else { BATCH_TOKENS });
        let blocks = Blocks::new(batch, &self.device, self.dtype, rows, !is_cpu)?;
        let mut ids = batch.ids.clone();
        ids.resize(rows, 0);
        let mut positions: Vec<u32> = batch.ranges().flat_map(|r| 0..r.len() as u32).collect();
        positions.resize(rows, 0);
        let ids = Tensor::from_vec(ids, rows, &self.device)?;
        let positions = Tensor::from_vec(positions, rows, &self.device)?;
        let mut x = (self.words.index_select(&ids, 0)? + self.positions.index_select(&positions, 0)?)?
            .broadcast_add(&self.token_type)?;
        x = self.norm.forward(&x)?;
        for layer in &self.layers {
            let context = self.attend(&layer.qkv.forward(&x)?, &blocks)?;
            x = layer.norm.forward(&(layer.output.forward(&context)? + x)?)?;
            let wide = layer.up.forward(&x)?;
            let wide = match self.config.activation {
                Activation::None => wide,
                Activation::Gelu => wide.gelu_erf()?,
                Activation::GeluTanh => wide.gelu()?,
                Activation::Relu => wide.relu()?,
            };
            x = layer.out_norm.forward(&(layer.down.forward(&wide)? + &x)?)?;
        }
        // Each of length 1, in 32-bit floats.
        Ok(blocks.pool(&x.to_dtype(DType::F32)?, self.pooling)?.0)
    }

    /// `[rows, 3 · hidden]` → `[rows, hidden]`. Queries are scaled already.
    fn attend(&self, qkv: &Tensor, blocks: &Blocks) -> candle_core::Result<Tensor> {
        let (heads, hidden) = (self.config.heads, self.config.hidden);
        let spread = qkv.index_select(&blocks.spread, 0)?;
        let mut contexts = Vec::with_capacity(blocks.all.len());
        for block in &blocks.all {
            let &Block { sequences, longest, .. } = block;
            let of_block = block.heads_of(&spread, 3, heads)?;
            let (q, k, v) = (of_block.get(0)?, of_block.get(1)?, of_block.get(2)?);
            let mut scores = q.matmul(&k.t()?)?.broadcast_add(&block.mask)?;
            if let Some(bias) = &self.bias {
                scores = scores.broadcast_add(&bias.narrow(1, 0, longest)?.narrow(2, 0, longest)?)?;
            }
            let context = softmax(&scores, D::Minus1)?.matmul(&v)?;
            contexts.push(context.transpose(1, 2)?.reshape((sequences * longest, hidden))?);
        }
        Tensor::cat(&contexts, 0)?.index_select(&blocks.gather, 0)
    }
}

impl Worker for Model {
    fn encode(&mut self, batch: &PackedBatch, out: &mut Vec<f32>) -> Result<()> {
        out.clear();
        out.extend(self.forward(batch)?.flatten_all()?.to_vec1::<f32>()?);
        Ok(())
    }
}

impl Linear {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        x.matmul(&self.weight)?.broadcast_add(&self.bias)
    }
}

impl DeviceNorm {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        layer_norm(x, &self.weight, &self.bias, self.epsilon)
    }
}
