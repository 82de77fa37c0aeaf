//! A text encoder's weights: which of the parameters each one is, and what is not trained.

use std::ops::Range;

use crate::config::{Config, Family};
use crate::encoder::{Embeddings, Names, Tensors};
use crate::info::Pooling;
use crate::kernels::training::add;
use crate::kernels::{self, Activation};
use crate::train::parameters::Parameters;
use crate::{Error, ModelInfo, Result};

/// An encoder without the values of what is trained.
pub(super) struct Layout {
    pub(super) config: Config,
    pub(super) pooling: Pooling,
    /// `[vocabulary, hidden]`.
    pub(super) words: Vec<f32>,
    /// `[max_tokens, hidden]`, with the token type added.
    pub(super) positions: Vec<f32>,
    pub(super) norm: kernels::Norm,
    pub(super) layers: Vec<Layer>,
    /// Parameters that are of the encoder: the first ones.
    pub(super) parameters: usize,
}

/// Where a layer's weights are among the parameters.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    /// `[3 · hidden, hidden]`: query, key and value.
    pub(super) qkv: Linear,
    pub(super) output: Linear,
    pub(super) norm: Norm,
    pub(super) up: Linear,
    pub(super) down: Linear,
    pub(super) out_norm: Norm,
}

/// A linear layer's weights `[outputs, inputs]` and bias.
#[derive(Debug, Clone)]
pub(super) struct Linear {
    pub(super) weights: Range<usize>,
    pub(super) bias: Range<usize>,
    pub(super) inputs: usize,
}

/// A layer normalization's weight and bias, which lie side by side.
#[derive(Debug, Clone)]
pub(super) struct Norm {
    pub(super) weight: Range<usize>,
    pub(super) bias: Range<usize>,
    pub(super) epsilon: f32,
}

impl Layout {
    /// Reads a model's weights; those of the layers become the first parameters.
    ///
    /// # Errors
    /// When the model is not of the BERT or RoBERTa family with GELU, or its weights cannot be read.
    pub(super) fn read(info: &ModelInfo, parameters: &mut Parameters) -> Result<Self> {
        let config = Config::read(&info.folder)?;
        if !matches!(config.family, Family::Bert | Family::Roberta) || config.activation != Activation::Gelu {
            let path = info.folder.join("config.json");
            return Err(Error::folder(&path, "training takes encoders of the BERT and RoBERTa families with GELU"));
        }
        crate::store::check_files(&info.folder)?;
        let tensors = Tensors::read(&info.folder)?;
        let layers = (0..config.layers).map(|i| layer(&tensors, i, &config, parameters)).collect::<Result<_>>()?;
        let Embeddings { words, mut positions, token_type, norm } = tensors.embeddings(&config)?;
        for row in positions.chunks_exact_mut(config.hidden) {
            add(row, &token_type);
        }
        let parameters = parameters.values.len();
        Ok(Self { pooling: info.pooling, words, positions, norm, layers, parameters, config })
    }
}

/// Moves a layer's weights to the parameters, in an order in which query, key and value are one matrix.
fn layer(tensors: &Tensors, index: usize, config: &Config, parameters: &mut Parameters) -> Result<Layer> {
    let (hidden, wide) = (config.hidden, config.intermediate);
    let names = Names::of(config.family);
    let name = |part: &str| format!("{}.{index}.{part}", names.layer);
    let mut push = |name: String, shape: &[usize]| -> Result<Range<usize>> {
        Ok(parameters.push(&name, shape, &tensors.floats(&name, shape)?))
    };
    let mut ranges = Vec::new();
    for (kind, shape) in [("weight", &[hidden, hidden][..]), ("bias", &[hidden][..])] {
        for part in names.qkv {
            ranges.push(push(format!("{}.{kind}", name(part)), shape)?);
        }
    }
    let qkv = Linear { weights: ranges[0].start..ranges[2].end, bias: ranges[3].start..ranges[5].end, inputs: hidden };
    let mut linear = |part: &str, outputs: usize, inputs: usize| -> Result<Linear> {
        Ok(Linear {
            weights: push(format!("{}.weight", name(part)), &[outputs, inputs])?,
            bias: push(format!("{}.bias", name(part)), &[outputs])?,
            inputs,
        })
    };
    let output = linear(names.output, hidden, hidden)?;
    let up = linear(names.up, wide, hidden)?;
    let down = linear(names.down, hidden, wide)?;
    let mut norm = |part: &str| -> Result<Norm> {
        let read = tensors.norm(&name(part), config)?;
        Ok(Norm {
            weight: parameters.push(&format!("{}.weight", name(part)), &[hidden], &read.weight),
            bias: parameters.push(&format!("{}.bias", name(part)), &[hidden], &read.bias),
            epsilon: config.epsilon,
        })
    };
    let (norm, out_norm) = (norm(names.norm)?, norm(names.out_norm)?);
    Ok(Layer { qkv, output, norm, up, down, out_norm })
}
