//! The candle backend: the same encoder on any candle device, over packed sequences.
//!
//! Linear layers are one matrix product over all tokens of a batch. Attention spreads sequences of about one length (the
//! Embedder sorts them) out to a padded block, and gathers the tokens again: a handful of kernel launches whatever the
//! number of sequences.

use candle_core::{D, DType, Device, Tensor};
use candle_nn::ops::{layer_norm, softmax};

use super::weights::{self, LayerWeights, Weights};
use super::{Encoder, Place, Worker};
use crate::config::Config;
use crate::info::Pooling;
use crate::kernels::{Activation, Norm, Precision, RelativeBias};
use crate::pack::PackedBatch;
use crate::{Error, ModelInfo, Result};

/// Tokens of a batch: enough to fill a large GPU.
const BATCH_TOKENS: usize = 32 * 1024;
/// Scores of attention below which padding may take up: 512 MiB of 16-bit floats.
const MOST_SCORES: usize = 256 << 20;
/// Workers of a GPU: while one computes, the other's vectors are on their way back.
const GPU_WORKERS: usize = 2;

/// A model for a candle device; each worker has a stream and a copy of the weights of its own.
pub(crate) struct CandleEncoder {
    info: ModelInfo,
    device: String,
}

impl CandleEncoder {
    /// For `cpu`, `metal`, or (in a build with the feature `cuda`) `cuda:N`.
    ///
    /// # Errors
    /// When the device cannot be opened.
    pub(crate) fn load(info: &ModelInfo, device: &str) -> Result<Self> {
        open(device)?;
        Ok(Self { info: info.clone(), device: device.to_string() })
    }
}

/// A device by its name. `cuda_is_available` is true in any build with CUDA, so the device itself is asked.
fn open(device: &str) -> Result<Device> {
    let opened = match device {
        "cpu" => Ok(Device::Cpu),
        "metal" => Device::new_metal(0),
        other => match other.strip_prefix("cuda:").map(str::parse) {
            Some(Ok(ordinal)) => Device::new_cuda_with_stream(ordinal),
            _ => return Err(Error::Encoder(format!("no device '{other}'"))),
        },
    };
    opened.map_err(|e| Error::Encoder(format!("device {device} cannot be opened: {e}")))
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
        let device = open(&self.device)?;
        let config = Config::read(&self.info.folder)?;
        let weights = Weights::read(&self.info.folder, &config)?;
        Ok(Box::new(Model::new(weights, config, &self.info, &device)?))
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
    /// `[heads, longest, longest]`.
    bias: Option<Tensor>,
    dtype: DType,
    device: Device,
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

    /// Bias of head, query and key, as a block.
    fn bias(&self, bias: &RelativeBias, heads: usize) -> candle_core::Result<Tensor> {
        let n = bias.longest;
        let mut values = Vec::with_capacity(heads * n * n);
        for head in bias.values.chunks_exact(2 * n - 1) {
            for query in 0..n {
                values.extend_from_slice(&head[n - 1 - query..2 * n - 1 - query]);
            }
        }
        self.tensor(&values, &[heads, n, n])
    }
}

impl Model {
    fn new(weights: Weights, config: Config, info: &ModelInfo, device: &Device) -> Result<Self> {
        let dtype = match (info.precision, device) {
            // candle's CPU arithmetic in bfloat16 is slower and no closer to what a GPU computes.
            (_, Device::Cpu) | (Precision::F32, _) => DType::F32,
            (Precision::Bf16, _) => DType::BF16,
            (Precision::Int8, _) => {
                return Err(Error::Encoder("precision int8 is for the CPU; a GPU takes f32 or bf16".into()));
            }
        };
        let upload = Upload { device, dtype };
        let hidden = config.hidden;
        let rows = |values: &[f32]| upload.tensor(values, &[values.len() / hidden, hidden]);
        Ok(Self {
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
        })
    }

    fn forward(&self, batch: &PackedBatch) -> candle_core::Result<Tensor> {
        let tokens = batch.tokens();
        let ids = Tensor::from_slice(&batch.ids, tokens, &self.device)?;
        let positions: Vec<u32> = batch.ranges().flat_map(|r| 0..r.len() as u32).collect();
        let positions = Tensor::from_vec(positions, tokens, &self.device)?;
        let mut x = (self.words.index_select(&ids, 0)? + self.positions.index_select(&positions, 0)?)?
            .broadcast_add(&self.token_type)?;
        x = self.norm.forward(&x)?;
        let padding = Padding::new(batch, self)?;
        for layer in &self.layers {
            let context = self.attend(&layer.qkv.forward(&x)?, &padding)?;
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
        self.pool(&x, &padding)
    }

    /// `[tokens, 3 · hidden]` → `[tokens, hidden]`. Queries are scaled already.
    fn attend(&self, qkv: &Tensor, padding: &Padding) -> candle_core::Result<Tensor> {
        let Padding { sequences, longest, .. } = *padding;
        let (heads, size, hidden) = (self.config.heads, self.config.head_size(), self.config.hidden);
        // [sequences, longest, 3, heads, size] → [3, sequences, heads, longest, size]
        let block = qkv
            .index_select(&padding.spread, 0)?
            .reshape((sequences, longest, 3, heads, size))?
            .permute((2, 0, 3, 1, 4))?
            .contiguous()?;
        let (q, k, v) = (block.get(0)?, block.get(1)?, block.get(2)?);
        let mut scores = q.matmul(&k.t()?)?.broadcast_add(&padding.mask)?;
        if let Some(bias) = &self.bias {
            scores = scores.broadcast_add(&bias.narrow(1, 0, longest)?.narrow(2, 0, longest)?)?;
        }
        let context = softmax(&scores, D::Minus1)?.matmul(&v)?;
        let context = context.transpose(1, 2)?.reshape((sequences * longest, hidden))?;
        context.index_select(&padding.gather, 0)
    }

    /// `[tokens, hidden]` → `[sequences, hidden]`, each row of length 1, in 32-bit floats.
    fn pool(&self, x: &Tensor, padding: &Padding) -> candle_core::Result<Tensor> {
        let x = x.to_dtype(DType::F32)?;
        let pooled = match self.pooling {
            Pooling::Cls => x.index_select(&padding.firsts, 0)?,
            Pooling::Mean => {
                let block = x.index_select(&padding.spread, 0)?;
                let block = block.reshape((padding.sequences, padding.longest, self.config.hidden))?;
                padding.shares.matmul(&block)?.squeeze(1)?
            }
        };
        let length = pooled.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?.maximum(1e-12f32)?;
        pooled.broadcast_div(&length)
    }
}

/// The way from packed tokens to a block of sequences of one length, and back.
struct Padding {
    sequences: usize,
    longest: usize,
    /// For each place of the block, the token: the sequence's first where it has no more.
    spread: Tensor,
    /// For each token, its place in the block.
    gather: Tensor,
    /// For each sequence, its first token.
    firsts: Tensor,
    /// `[sequences, 1, 1, longest]`: what is added to scores, so that padding has no weight.
    mask: Tensor,
    /// `[sequences, 1, longest]`: each token's share of the mean.
    shares: Tensor,
}

impl Padding {
    fn new(batch: &PackedBatch, model: &Model) -> candle_core::Result<Self> {
        let (sequences, device) = (batch.len(), &model.device);
        let longest = batch.ranges().map(|r| r.len()).max().unwrap_or(0);
        let (mut spread, mut gather) = (Vec::with_capacity(sequences * longest), Vec::with_capacity(batch.tokens()));
        let (mut mask, mut shares) = (vec![0f32; sequences * longest], vec![0f32; sequences * longest]);
        for (i, range) in batch.ranges().enumerate() {
            for place in 0..longest {
                let at = i * longest + place;
                if place < range.len() {
                    spread.push((range.start + place) as u32);
                    gather.push(at as u32);
                    shares[at] = 1.0 / range.len() as f32;
                } else {
                    spread.push(range.start as u32);
                    // Far below any score, and within the range of 16-bit floats.
                    mask[at] = -3e4;
                }
            }
        }
        let firsts: Vec<u32> = batch.ranges().map(|r| r.start as u32).collect();
        let places = sequences * longest;
        Ok(Self {
            sequences,
            longest,
            spread: Tensor::from_vec(spread, places, device)?,
            gather: Tensor::from_vec(gather, batch.tokens(), device)?,
            firsts: Tensor::from_vec(firsts, sequences, device)?,
            mask: Tensor::from_vec(mask, (sequences, 1, 1, longest), device)?.to_dtype(model.dtype)?,
            shares: Tensor::from_vec(shares, (sequences, 1, longest), device)?,
        })
    }
}

impl Worker for Model {
    fn encode(&mut self, batch: &PackedBatch, out: &mut Vec<f32>) -> Result<()> {
        out.clear();
        // Sequences come sorted by length, so that a run has little padding; a run is as long as its scores allow.
        let lengths: Vec<usize> = batch.ranges().map(|r| r.len()).collect();
        let mut start = 0;
        while start < lengths.len() {
            let mut end = start;
            let mut longest = 0;
            while end < lengths.len() {
                let wider = longest.max(lengths[end]);
                // A block may be a quarter larger than its tokens.
                let (places, tokens) = ((end + 1 - start) * wider, lengths[start..=end].iter().sum::<usize>());
                let scores = places * wider * self.config.heads;
                if end > start && (4 * places > 5 * tokens + 1024 || scores > MOST_SCORES) {
                    break;
                }
                (longest, end) = (wider, end + 1);
            }
            let part = PackedBatch::new(batch.ranges().skip(start).take(end - start).map(|r| &batch.ids[r]));
            out.extend(self.forward(&part)?.flatten_all()?.to_vec1::<f32>()?);
            start = end;
        }
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
