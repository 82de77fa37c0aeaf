//! What a model is, read from its folder's small files; the weights stay untouched.

use std::path::{Path, PathBuf};

use generel_schemas::vector::VectorType;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How token vectors become one vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pooling {
    /// Mean over all tokens, `[CLS]` and `[SEP]` included.
    Mean,
    /// The vector of the first token.
    Cls,
}

/// What a model is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelInfo {
    /// The name it was asked by.
    pub name: String,
    /// Hash over weights, tokenizer, pooling and text normalization (16 hexadecimal digits).
    pub model_id: String,
    /// Components of a vector.
    pub dimension: usize,
    /// Longest text in tokens; what is beyond is cut off and counted.
    pub max_tokens: usize,
    /// How token vectors become one vector.
    pub pooling: Pooling,
    /// The folder in the Hugging Face layout.
    pub folder: PathBuf,
}

impl ModelInfo {
    /// The type of this model's vectors.
    pub fn vector_type(&self) -> VectorType {
        VectorType { model_id: self.model_id.clone(), dimension: self.dimension }
    }

    /// Reads everything but the id from the folder's configuration files.
    ///
    /// # Errors
    /// When `config.json` is missing or is of another architecture.
    pub(crate) fn read(name: &str, folder: &Path, model_id: String) -> Result<Self> {
        let config = BertConfig::read(folder)?;
        let max_tokens = sentence_max_tokens(folder)?.unwrap_or(config.max_position_embeddings);
        Ok(Self {
            name: name.to_string(),
            model_id,
            dimension: config.hidden_size,
            max_tokens: max_tokens.min(config.max_position_embeddings),
            pooling: read_pooling(folder)?,
            folder: folder.to_path_buf(),
        })
    }
}

/// The fields of a BERT `config.json` that inference needs.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct BertConfig {
    pub(crate) hidden_size: usize,
    pub(crate) intermediate_size: usize,
    pub(crate) num_hidden_layers: usize,
    pub(crate) num_attention_heads: usize,
    pub(crate) max_position_embeddings: usize,
    pub(crate) layer_norm_eps: f64,
    pub(crate) hidden_act: String,
}

impl BertConfig {
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("config.json");
        #[derive(Deserialize)]
        struct Kind {
            model_type: Option<String>,
        }
        let kind: Kind = read_json(&path)?;
        match kind.model_type.as_deref() {
            Some("bert") => {}
            Some(other) => {
                return Err(Error::folder(&path, format!("architecture '{other}' is not supported; supported: bert")));
            }
            None => return Err(Error::folder(&path, "no model_type; is this a Hugging Face model folder?")),
        }
        let config: Self = read_json(&path)?;
        if config.num_attention_heads == 0 || !config.hidden_size.is_multiple_of(config.num_attention_heads) {
            return Err(Error::folder(&path, "hidden_size is not a multiple of num_attention_heads"));
        }
        if config.hidden_act != "gelu" {
            return Err(Error::folder(
                &path,
                format!("activation '{}' is not supported; supported: gelu", config.hidden_act),
            ));
        }
        Ok(config)
    }
}

fn sentence_max_tokens(folder: &Path) -> Result<Option<usize>> {
    #[derive(Deserialize)]
    struct Sentence {
        max_seq_length: Option<usize>,
    }
    let path = folder.join("sentence_bert_config.json");
    Ok(if path.exists() { read_json::<Sentence>(&path)?.max_seq_length } else { None })
}

/// Pooling as sentence-transformers writes it; mean where the folder does not say.
fn read_pooling(folder: &Path) -> Result<Pooling> {
    #[derive(Deserialize)]
    struct Config {
        #[serde(default)]
        pooling_mode_cls_token: bool,
        #[serde(default)]
        pooling_mode_mean_tokens: bool,
    }
    let path = folder.join("1_Pooling").join("config.json");
    if !path.exists() {
        return Ok(Pooling::Mean);
    }
    let config: Config = read_json(&path)?;
    match (config.pooling_mode_cls_token, config.pooling_mode_mean_tokens) {
        (false, true) => Ok(Pooling::Mean),
        (true, false) => Ok(Pooling::Cls),
        _ => Err(Error::folder(&path, "pooling is neither mean nor cls alone")),
    }
}

pub(crate) fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let text = std::fs::read(path).map_err(|e| Error::folder(path, e))?;
    serde_json::from_slice(&text).map_err(|e| Error::folder(path, e))
}
