//! The architecture of an encoder, from the folder's `config.json`.

use std::path::Path;

use serde::Deserialize;

use crate::info::read_json;
use crate::kernels::Activation;
use crate::{Error, Result};

/// A family of architectures: where its weights are called what, and what it does beyond BERT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// BERT (SapBERT, CODER, MedCPT, BGE, MiniLM).
    Bert,
    /// RoBERTa, XLM-RoBERTa, CamemBERT: positions begin behind the padding's.
    Roberta,
    /// MPNet (BioLORD): as RoBERTa, and scores depend on the distance of key and query.
    MpNet,
    /// DistilBERT.
    DistilBert,
}

/// Names of `model_type` and their families.
const MODEL_TYPES: &[(&str, Family)] = &[
    ("bert", Family::Bert),
    ("roberta", Family::Roberta),
    ("xlm-roberta", Family::Roberta),
    ("camembert", Family::Roberta),
    ("mpnet", Family::MpNet),
    ("distilbert", Family::DistilBert),
];

/// What inference needs to know of an encoder.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Config {
    pub(crate) family: Family,
    pub(crate) hidden: usize,
    pub(crate) intermediate: usize,
    pub(crate) layers: usize,
    pub(crate) heads: usize,
    /// Rows of the table of positions.
    pub(crate) positions: usize,
    /// The first token's row in it.
    pub(crate) first_position: usize,
    pub(crate) epsilon: f32,
    pub(crate) activation: Activation,
}

#[derive(Deserialize)]
struct File {
    model_type: Option<String>,
    #[serde(alias = "dim")]
    hidden_size: Option<usize>,
    #[serde(alias = "hidden_dim")]
    intermediate_size: Option<usize>,
    #[serde(alias = "n_layers")]
    num_hidden_layers: Option<usize>,
    #[serde(alias = "n_heads")]
    num_attention_heads: Option<usize>,
    max_position_embeddings: Option<usize>,
    layer_norm_eps: Option<f64>,
    #[serde(alias = "activation")]
    hidden_act: Option<String>,
    pad_token_id: Option<usize>,
    position_embedding_type: Option<String>,
}

impl Config {
    /// Reads `config.json` of a model's folder.
    ///
    /// # Errors
    /// When it is missing, broken, or of an architecture that is not supported.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("config.json");
        let wrong = |problem: String| Error::folder(&path, problem);
        let file: File = read_json(&path)?;
        let Some(model_type) = file.model_type.as_deref() else {
            return Err(wrong("no model_type; is this a Hugging Face model folder?".into()));
        };
        let Some((_, family)) = MODEL_TYPES.iter().find(|(name, _)| *name == model_type) else {
            let known: Vec<&str> = MODEL_TYPES.iter().map(|(name, _)| *name).collect();
            return Err(wrong(format!(
                "architecture '{model_type}' is not supported; supported: {}",
                known.join(", ")
            )));
        };
        if let Some(other) = file.position_embedding_type.as_deref()
            && other != "absolute"
        {
            return Err(wrong(format!("position_embedding_type '{other}' is not supported; supported: absolute")));
        }
        let needed = |value: Option<usize>, name: &str| match value {
            Some(n) if n > 0 => Ok(n),
            _ => Err(wrong(format!("{name} is missing or 0"))),
        };
        let config = Self {
            family: *family,
            hidden: needed(file.hidden_size, "hidden_size")?,
            intermediate: needed(file.intermediate_size, "intermediate_size")?,
            layers: needed(file.num_hidden_layers, "num_hidden_layers")?,
            heads: needed(file.num_attention_heads, "num_attention_heads")?,
            positions: needed(file.max_position_embeddings, "max_position_embeddings")?,
            first_position: match family {
                Family::Bert | Family::DistilBert => 0,
                Family::Roberta | Family::MpNet => file.pad_token_id.unwrap_or(1) + 1,
            },
            epsilon: file.layer_norm_eps.unwrap_or(1e-12) as f32,
            activation: match file.hidden_act.as_deref() {
                None | Some("gelu") => Activation::Gelu,
                Some("gelu_new" | "gelu_fast" | "gelu_pytorch_tanh") => Activation::GeluTanh,
                Some("relu") => Activation::Relu,
                Some(other) => {
                    let known = "gelu, gelu_new, gelu_fast, gelu_pytorch_tanh, relu";
                    return Err(wrong(format!("activation '{other}' is not supported; supported: {known}")));
                }
            },
        };
        if !config.hidden.is_multiple_of(config.heads) {
            return Err(wrong("hidden_size is not a multiple of num_attention_heads".into()));
        }
        if config.positions <= config.first_position {
            return Err(wrong("max_position_embeddings leaves no room for a token".into()));
        }
        Ok(config)
    }

    /// The longest sequence, in tokens.
    pub(crate) fn max_tokens(&self) -> usize {
        self.positions - self.first_position
    }

    /// Floats of one head's query.
    pub(crate) fn head_size(&self) -> usize {
        self.hidden / self.heads
    }
}
