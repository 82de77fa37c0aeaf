//! BERT in candle, over packed sequences: every linear layer is one matrix product over all tokens of the batch,
//! attention runs per sequence, nothing is padded.
//!
//! Source: Devlin et al. 2019; weight names as `transformers` writes them.

use candle_core::{D, DType, Device, Tensor};
use candle_nn::{Module, VarBuilder, ops::layer_norm};

use super::Encoder;
use super::ops::{attention, gelu};
use crate::info::{BertConfig, ModelInfo, Pooling};
use crate::pack::PackedBatch;
use crate::{Error, Result};

/// A BERT encoder with its weights on a device.
pub(crate) struct Bert {
    words: Tensor,
    positions: Tensor,
    /// The one token type of single texts, `[hidden]`.
    token_type: Tensor,
    norm: Norm,
    layers: Vec<Layer>,
    heads: usize,
    pooling: Pooling,
    device: Device,
}

struct Layer {
    /// Query, key and value in one product: `[3 · hidden, hidden]`.
    qkv: Linear,
    output: Linear,
    norm: Norm,
    up: Linear,
    down: Linear,
    out_norm: Norm,
}

/// `x · Wᵀ + b`.
struct Linear {
    weight: Tensor,
    bias: Tensor,
}

struct Norm {
    weight: Tensor,
    bias: Tensor,
    epsilon: f32,
}

impl Bert {
    /// Loads `model.safetensors` of the model's folder.
    ///
    /// # Errors
    /// When a weight is missing, has another shape, or the file is broken.
    pub(crate) fn load(info: &ModelInfo, device: &Device) -> Result<Self> {
        let config = BertConfig::read(&info.folder)?;
        let path = info.folder.join("model.safetensors");
        let tensors = candle_core::safetensors::load(&path, device).map_err(|e| Error::folder(&path, e))?;
        let nested = tensors.keys().any(|name| name.starts_with("bert."));
        let weights = VarBuilder::from_tensors(tensors, DType::F32, device);
        let weights = if nested { weights.pp("bert") } else { weights };
        Self::build(&config, info.pooling, weights).map_err(|e| Error::folder(&path, e))
    }

    fn build(config: &BertConfig, pooling: Pooling, weights: VarBuilder) -> candle_core::Result<Self> {
        let hidden = config.hidden_size;
        let embeddings = weights.pp("embeddings");
        let words = embeddings.pp("word_embeddings");
        let vocabulary = words.get_unchecked("weight")?.dim(0)?;
        let layers = (0..config.num_hidden_layers)
            .map(|i| Layer::load(config, weights.pp("encoder").pp("layer").pp(i)))
            .collect::<candle_core::Result<_>>()?;
        let token_types = embeddings.pp("token_type_embeddings").get_unchecked("weight")?;
        Ok(Self {
            words: words.get((vocabulary, hidden), "weight")?,
            positions: embeddings.pp("position_embeddings").get((config.max_position_embeddings, hidden), "weight")?,
            token_type: token_types.get(0)?,
            norm: Norm::load(config, embeddings.pp("LayerNorm"))?,
            layers,
            heads: config.num_attention_heads,
            pooling,
            device: weights.device().clone(),
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
        for layer in &self.layers {
            x = layer.forward(&x, batch, self.heads)?;
        }
        self.pool(&x, batch)
    }

    /// `[tokens, hidden]` → `[sequences, hidden]`, each row of length 1.
    fn pool(&self, x: &Tensor, batch: &PackedBatch) -> candle_core::Result<Tensor> {
        let rows = batch
            .ranges()
            .map(|r| match self.pooling {
                Pooling::Mean => x.narrow(0, r.start, r.len())?.mean(0),
                Pooling::Cls => x.get(r.start),
            })
            .collect::<candle_core::Result<Vec<_>>>()?;
        let pooled = Tensor::stack(&rows, 0)?;
        let length = pooled.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?.maximum(1e-12f32)?;
        pooled.broadcast_div(&length)
    }
}

impl Encoder for Bert {
    fn encode(&mut self, batch: &PackedBatch) -> Result<Vec<f32>> {
        if batch.len() == 0 {
            return Ok(Vec::new());
        }
        let vectors = self.forward(batch)?.flatten_all()?.to_vec1::<f32>()?;
        if vectors.iter().any(|v| !v.is_finite()) {
            return Err(Error::Encoder("a vector is not finite; the weights are damaged".into()));
        }
        Ok(vectors)
    }
}

impl Layer {
    fn load(config: &BertConfig, weights: VarBuilder) -> candle_core::Result<Self> {
        let (hidden, wide) = (config.hidden_size, config.intermediate_size);
        let attention = weights.pp("attention");
        let own = attention.pp("self");
        let [q, k, v] = ["query", "key", "value"].map(|name| Linear::load(hidden, hidden, own.pp(name)));
        let (q, k, v) = (q?, k?, v?);
        let qkv = Linear {
            weight: Tensor::cat(&[&q.weight, &k.weight, &v.weight], 0)?,
            bias: Tensor::cat(&[&q.bias, &k.bias, &v.bias], 0)?,
        };
        Ok(Self {
            qkv,
            output: Linear::load(hidden, hidden, attention.pp("output").pp("dense"))?,
            norm: Norm::load(config, attention.pp("output").pp("LayerNorm"))?,
            up: Linear::load(hidden, wide, weights.pp("intermediate").pp("dense"))?,
            down: Linear::load(wide, hidden, weights.pp("output").pp("dense"))?,
            out_norm: Norm::load(config, weights.pp("output").pp("LayerNorm"))?,
        })
    }

    fn forward(&self, x: &Tensor, batch: &PackedBatch, heads: usize) -> candle_core::Result<Tensor> {
        let context = attention(&self.qkv.forward(x)?, batch, heads)?;
        let x = self.norm.forward(&(self.output.forward(&context)? + x)?)?;
        let wide = gelu(&self.up.forward(&x)?)?;
        self.out_norm.forward(&(self.down.forward(&wide)? + &x)?)
    }
}

impl Linear {
    fn load(input: usize, output: usize, weights: VarBuilder) -> candle_core::Result<Self> {
        Ok(Self { weight: weights.get((output, input), "weight")?, bias: weights.get(output, "bias")? })
    }
}

impl Module for Linear {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        x.matmul(&self.weight.t()?)?.broadcast_add(&self.bias)
    }
}

impl Norm {
    fn load(config: &BertConfig, weights: VarBuilder) -> candle_core::Result<Self> {
        // Older checkpoints call the two gamma and beta.
        let (weight, bias) = if weights.contains_tensor("weight") { ("weight", "bias") } else { ("gamma", "beta") };
        Ok(Self {
            weight: weights.get(config.hidden_size, weight)?,
            bias: weights.get(config.hidden_size, bias)?,
            epsilon: config.layer_norm_eps as f32,
        })
    }
}

impl Module for Norm {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        layer_norm(x, &self.weight, &self.bias, self.epsilon)
    }
}
