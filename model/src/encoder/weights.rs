//! The weights of a model's folder, whatever its family calls them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};

use crate::config::{Config, Family};
use crate::kernels::{Norm, RelativeBias};
use crate::store::{WEIGHTS, weight_files};
use crate::{Error, Result};

/// A linear layer: weights `[outputs, inputs]`, row-major, and a bias for each output.
pub(crate) struct Linear {
    pub(crate) weights: Vec<f32>,
    pub(crate) bias: Vec<f32>,
    pub(crate) inputs: usize,
}

/// The weights of one layer.
pub(crate) struct LayerWeights {
    /// Query, key and value in one product: `[3 · hidden, hidden]`. Queries are scaled by 1 / √size.
    pub(crate) qkv: Linear,
    pub(crate) output: Linear,
    pub(crate) norm: Norm,
    pub(crate) up: Linear,
    pub(crate) down: Linear,
    pub(crate) out_norm: Norm,
}

/// The weights of an encoder, in 32-bit floats.
pub(crate) struct Weights {
    /// `[vocabulary, hidden]`.
    pub(crate) words: Vec<f32>,
    /// `[max_tokens, hidden]`, the first token's first.
    pub(crate) positions: Vec<f32>,
    /// The one token type of single texts, `[hidden]`; 0 where the family has none.
    pub(crate) token_type: Vec<f32>,
    pub(crate) norm: Norm,
    pub(crate) layers: Vec<LayerWeights>,
    pub(crate) bias: Option<RelativeBias>,
}

/// What stands before the layers, as [`Weights`] has it.
pub(crate) struct Embeddings {
    pub(crate) words: Vec<f32>,
    pub(crate) positions: Vec<f32>,
    pub(crate) token_type: Vec<f32>,
    pub(crate) norm: Norm,
}

/// What a family calls the parts of a layer.
pub(crate) struct Names {
    pub(crate) layer: &'static str,
    pub(crate) qkv: [&'static str; 3],
    pub(crate) output: &'static str,
    pub(crate) norm: &'static str,
    pub(crate) up: &'static str,
    pub(crate) down: &'static str,
    pub(crate) out_norm: &'static str,
}

const BERT: Names = Names {
    layer: "encoder.layer",
    qkv: ["attention.self.query", "attention.self.key", "attention.self.value"],
    output: "attention.output.dense",
    norm: "attention.output.LayerNorm",
    up: "intermediate.dense",
    down: "output.dense",
    out_norm: "output.LayerNorm",
};
const MPNET: Names = Names {
    qkv: ["attention.attn.q", "attention.attn.k", "attention.attn.v"],
    output: "attention.attn.o",
    norm: "attention.LayerNorm",
    ..BERT
};
const DISTILBERT: Names = Names {
    layer: "transformer.layer",
    qkv: ["attention.q_lin", "attention.k_lin", "attention.v_lin"],
    output: "attention.out_lin",
    norm: "sa_layer_norm",
    up: "ffn.lin1",
    down: "ffn.lin2",
    out_norm: "output_layer_norm",
};

impl Names {
    /// A family's names.
    pub(crate) fn of(family: Family) -> Self {
        match family {
            Family::Bert | Family::Roberta => BERT,
            Family::MpNet => MPNET,
            Family::DistilBert => DISTILBERT,
        }
    }
}

impl Weights {
    /// Reads the weights of a model's folder.
    ///
    /// # Errors
    /// When the file is broken, a weight is missing, has another shape or is not a number.
    pub(crate) fn read(folder: &Path, config: &Config) -> Result<Self> {
        let tensors = Tensors::read(folder)?;
        let names = Names::of(config.family);
        let Embeddings { words, positions, token_type, norm } = tensors.embeddings(config)?;
        Ok(Self {
            words,
            positions,
            token_type,
            norm,
            layers: (0..config.layers).map(|i| tensors.layer(i, &names, config)).collect::<Result<_>>()?,
            bias: match config.family {
                Family::MpNet => Some(tensors.relative_bias(config)?),
                _ => None,
            },
        })
    }
}

/// The tensors of a file by name, without the prefix that a task's model puts before the encoder's.
pub(crate) struct Tensors {
    path: PathBuf,
    prefix: &'static str,
    tensors: HashMap<String, Tensor>,
}

impl Tensors {
    /// Reads a folder's weights.
    ///
    /// # Errors
    /// When it has none, or they are broken.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let files = weight_files(folder)?;
        let first = files.first().ok_or_else(|| Error::folder(&folder.join(WEIGHTS[0]), crate::store::INCOMPLETE))?;
        let path = folder.join(first);
        let mut tensors: HashMap<String, Tensor> = HashMap::new();
        for path in files.iter().map(|file| folder.join(file)) {
            let broken = |e: candle_core::Error| Error::folder(&path, format!("cannot be read as weights: {e}"));
            if path.extension().is_some_and(|e| e == "safetensors") {
                tensors.extend(candle_core::safetensors::load(&path, &Device::Cpu).map_err(broken)?);
            } else {
                tensors.extend(candle_core::pickle::read_all(&path).map_err(broken)?);
            }
        }
        let known = ["bert.", "roberta.", "mpnet.", "distilbert."];
        let prefix = known.into_iter().find(|p| tensors.contains_key(&format!("{p}embeddings.word_embeddings.weight")));
        Ok(Self { path, prefix: prefix.unwrap_or(""), tensors })
    }

    /// All tensors, without the prefix.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.tensors.iter().map(|(name, tensor)| (name.strip_prefix(self.prefix).unwrap_or(name), tensor))
    }

    /// What stands before the layers.
    pub(crate) fn embeddings(&self, config: &Config) -> Result<Embeddings> {
        let hidden = config.hidden;
        let words = self.get("embeddings.word_embeddings.weight")?;
        let vocabulary = words.dims().first().copied().unwrap_or(0);
        let positions = self.floats("embeddings.position_embeddings.weight", &[config.positions, hidden])?;
        let token_type = match config.family {
            Family::Bert | Family::Roberta => {
                let name = "embeddings.token_type_embeddings.weight";
                let types = self.get(name)?.dims().first().copied().unwrap_or(0);
                self.floats(name, &[types.max(1), hidden])?[..hidden].to_vec()
            }
            Family::MpNet | Family::DistilBert => vec![0.0; hidden],
        };
        Ok(Embeddings {
            words: self.floats("embeddings.word_embeddings.weight", &[vocabulary, hidden])?,
            positions: positions[config.first_position * hidden..].to_vec(),
            token_type,
            norm: self.norm("embeddings.LayerNorm", config)?,
        })
    }

    fn get(&self, name: &str) -> Result<&Tensor> {
        let found = self.tensors.get(&format!("{}{name}", self.prefix));
        found.ok_or_else(|| Error::folder(&self.path, format!("weight '{name}' is missing")))
    }

    /// A tensor's values, in 32-bit floats.
    pub(crate) fn floats(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let tensor = self.get(name)?;
        let wrong = |problem: String| Error::folder(&self.path, format!("weight '{name}' {problem}"));
        if tensor.dims() != shape {
            return Err(wrong(format!("has the shape {:?}, not {shape:?} as config.json says", tensor.dims())));
        }
        let read = || tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>();
        let values = read().map_err(|e| wrong(format!("cannot be read: {e}")))?;
        if values.iter().any(|v| !v.is_finite()) {
            return Err(wrong("holds values that are not finite; the file is damaged, pull the model again".into()));
        }
        Ok(values)
    }

    fn linear(&self, name: &str, outputs: usize, inputs: usize) -> Result<Linear> {
        Ok(Linear {
            weights: self.floats(&format!("{name}.weight"), &[outputs, inputs])?,
            bias: self.floats(&format!("{name}.bias"), &[outputs])?,
            inputs,
        })
    }

    /// A layer normalization's weights.
    pub(crate) fn norm(&self, name: &str, config: &Config) -> Result<Norm> {
        // Older checkpoints call the two gamma and beta.
        let old = self.tensors.contains_key(&format!("{}{name}.gamma", self.prefix));
        let (weight, bias) = if old { ("gamma", "beta") } else { ("weight", "bias") };
        Ok(Norm {
            weight: self.floats(&format!("{name}.{weight}"), &[config.hidden])?,
            bias: self.floats(&format!("{name}.{bias}"), &[config.hidden])?,
            epsilon: config.epsilon,
        })
    }

    fn layer(&self, index: usize, names: &Names, config: &Config) -> Result<LayerWeights> {
        let (hidden, wide) = (config.hidden, config.intermediate);
        let name = |part: &str| format!("{}.{index}.{part}", names.layer);
        let mut qkv = Linear { weights: Vec::new(), bias: Vec::new(), inputs: hidden };
        for (i, part) in names.qkv.into_iter().enumerate() {
            let one = self.linear(&name(part), hidden, hidden)?;
            let scale = if i == 0 { 1.0 / (config.head_size() as f32).sqrt() } else { 1.0 };
            qkv.weights.extend(one.weights.iter().map(|w| w * scale));
            qkv.bias.extend(one.bias.iter().map(|b| b * scale));
        }
        Ok(LayerWeights {
            qkv,
            output: self.linear(&name(names.output), hidden, hidden)?,
            norm: self.norm(&name(names.norm), config)?,
            up: self.linear(&name(names.up), wide, hidden)?,
            down: self.linear(&name(names.down), hidden, wide)?,
            out_norm: self.norm(&name(names.out_norm), config)?,
        })
    }

    /// MPNet's table of buckets, spread out by distance.
    fn relative_bias(&self, config: &Config) -> Result<RelativeBias> {
        let name = "encoder.relative_attention_bias.weight";
        let buckets = self.get(name)?.dims().first().copied().unwrap_or(0);
        let table = self.floats(name, &[buckets, config.heads])?;
        if buckets < 4 || !buckets.is_multiple_of(2) {
            return Err(Error::folder(&self.path, format!("weight '{name}' has {buckets} buckets")));
        }
        let longest = config.max_tokens();
        let distances = 1 - longest as i64..longest as i64;
        let values = (0..config.heads)
            .flat_map(|head| distances.clone().map(move |distance| (head, distance)))
            .map(|(head, distance)| table[bucket(distance, buckets) * config.heads + head])
            .collect();
        Ok(RelativeBias { values, longest })
    }
}

/// The bucket of a distance (key − query): near ones have their own, far ones share by their logarithm. As in T5 and
/// `transformers`' MPNet, with a largest distance of 128.
fn bucket(distance: i64, buckets: usize) -> usize {
    const LARGEST: f64 = 128.0;
    let half = buckets / 2;
    let side = if distance > 0 { half } else { 0 };
    let n = distance.unsigned_abs() as usize;
    let exact = half / 2;
    if n < exact {
        return side + n;
    }
    let share = (n as f64 / exact as f64).ln() / (LARGEST / exact as f64).ln();
    side + (exact + (share * (half - exact) as f64) as usize).min(half - 1)
}
