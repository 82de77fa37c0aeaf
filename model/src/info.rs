//! What a model is, read from its folder's small files; the weights stay untouched.

use std::path::{Path, PathBuf};

use generel_schemas::vector::VectorType;
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::kernels::Isa;
use crate::{Error, Precision, Result};

/// How token vectors become one vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pooling {
    /// Mean over all tokens, the special ones included.
    Mean,
    /// The vector of the first token.
    Cls,
}

/// What a model is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// The name it was asked by.
    pub name: String,
    /// Fingerprint (16 hexadecimal digits), precision, and components where not all are kept: which vectors may meet.
    pub model_id: String,
    /// Hash over weights, tokenizer, pooling, prefix and text normalization.
    pub fingerprint: String,
    /// Components of a vector.
    pub dimension: usize,
    /// Components that the encoder gives, of which the first are kept.
    pub width: usize,
    /// Longest text in tokens; what is beyond is cut off and counted.
    pub max_tokens: usize,
    /// How token vectors become one vector.
    pub pooling: Pooling,
    /// Put before every text, as the model was trained.
    pub prefix: String,
    /// Numbers of the matrix products.
    pub precision: Precision,
    /// The folder in the Hugging Face layout.
    pub folder: PathBuf,
}

impl ModelInfo {
    /// The type of this model's vectors.
    pub fn vector_type(&self) -> VectorType {
        VectorType { model_id: self.model_id.clone(), dimension: self.dimension }
    }

    /// The same model in another precision; `None` for the fastest that this CPU has instructions for and whose vectors
    /// agree with 32-bit floats to a cosine of 0.9995: bfloat16 where the CPU gains from it, else 32-bit floats.
    ///
    /// Machines of different kinds that share a lake should name the precision, or each embeds for itself.
    pub fn with_precision(mut self, precision: Option<Precision>) -> Self {
        let gains = Isa::detect().gains_from_bf16();
        self.precision = precision.unwrap_or(if gains { Precision::Bf16 } else { Precision::F32 });
        self.model_id = format!("{}-{}", self.fingerprint, self.precision);
        if self.is_cut() {
            self.model_id += &format!("-{}", self.dimension);
        }
        self
    }

    /// The same model with the first components of its vectors alone, scaled to length 1 again: a join by a third of them
    /// compares a third of the numbers. Of use with models that were trained for it (Matryoshka representation learning), as the one
    /// that comes with the program was for 128.
    ///
    /// # Errors
    /// When it has fewer.
    pub fn with_dimension(self, first: usize) -> Result<Self> {
        if !(1..=self.width).contains(&first) {
            let problem = format!("there are no {first} components to keep: its vectors have {}", self.width);
            return Err(Error::folder(&self.folder, problem));
        }
        Ok(self.keeping(first))
    }

    /// The same model with all components of its vectors.
    pub(crate) fn whole(self) -> Self {
        let all = self.width;
        self.keeping(all)
    }

    fn keeping(mut self, first: usize) -> Self {
        self.dimension = first;
        let precision = self.precision;
        self.with_precision(Some(precision))
    }

    /// Whether its vectors are the first components of those that the encoder gives.
    pub fn is_cut(&self) -> bool {
        self.dimension < self.width
    }

    /// Additions and multiplications of the linear layers for so many tokens: nearly all of the encoder's work.
    ///
    /// # Errors
    /// When `config.json` cannot be read.
    pub fn linear_operations(&self, tokens: u64) -> Result<f64> {
        let config = Config::read(&self.folder)?;
        let (hidden, wide) = (config.hidden as f64, config.intermediate as f64);
        Ok(tokens as f64 * config.layers as f64 * 2.0 * (4.0 * hidden * hidden + 2.0 * hidden * wide))
    }

    /// Reads everything but the fingerprint from the folder's configuration files.
    ///
    /// # Errors
    /// When `config.json` is missing or is of another architecture, or a layer behind the encoder is not supported.
    pub(crate) fn read(name: &str, folder: &Path, fingerprint: String) -> Result<Self> {
        let config = Config::read(folder)?;
        let own: Own = optional(&folder.join(OWN))?.unwrap_or_default();
        check_modules(folder)?;
        let max_tokens = sentence_max_tokens(folder)?.unwrap_or(config.max_tokens());
        let info = Self {
            name: name.to_string(),
            model_id: String::new(),
            fingerprint,
            dimension: config.hidden,
            width: config.hidden,
            max_tokens: max_tokens.min(config.max_tokens()),
            pooling: match own.pooling {
                Some(pooling) => pooling,
                None => read_pooling(folder)?,
            },
            prefix: match own.prefix {
                Some(prefix) => prefix,
                None => default_prompt(folder)?,
            },
            precision: Precision::F32,
            folder: folder.to_path_buf(),
        };
        Ok(info.with_precision(None))
    }
}

/// Our own file in a model's folder: what its other files do not say, or say otherwise.
pub(crate) const OWN: &str = "generel.json";

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Own {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pooling: Option<Pooling>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) prefix: Option<String>,
}

/// A step of sentence-transformers, and where its settings are.
#[derive(Deserialize)]
struct Module {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    path: String,
}

impl Module {
    fn kind(&self) -> &str {
        self.kind.rsplit('.').next().unwrap_or_default()
    }
}

/// What sentence-transformers runs after the encoder must be pooling and normalization alone.
fn check_modules(folder: &Path) -> Result<()> {
    let path = folder.join("modules.json");
    for module in optional::<Vec<Module>>(&path)?.unwrap_or_default() {
        let kind = module.kind();
        if !["Transformer", "Pooling", "Normalize"].contains(&kind) {
            let known = "Transformer, Pooling, Normalize";
            return Err(Error::folder(&path, format!("module '{kind}' is not supported; supported: {known}")));
        }
    }
    Ok(())
}

/// The file that says how tokens are pooled, where the folder has one.
fn pooling_file(folder: &Path) -> Result<Option<PathBuf>> {
    let modules: Option<Vec<Module>> = optional(&folder.join("modules.json"))?;
    let own = modules.iter().flatten().find(|module| module.kind() == "Pooling");
    let usual = folder.join("1_Pooling").join("config.json");
    Ok(own.map(|module| folder.join(&module.path).join("config.json")).or_else(|| usual.exists().then_some(usual)))
}

fn sentence_max_tokens(folder: &Path) -> Result<Option<usize>> {
    #[derive(Deserialize)]
    struct Sentence {
        max_seq_length: Option<usize>,
    }
    let path = folder.join("sentence_bert_config.json");
    match optional::<Sentence>(&path)?.and_then(|s| s.max_seq_length) {
        Some(0..=2) => Err(Error::folder(&path, "max_seq_length leaves no room for a token")),
        other => Ok(other),
    }
}

/// Pooling as sentence-transformers writes it; mean where the folder does not say.
fn read_pooling(folder: &Path) -> Result<Pooling> {
    #[derive(Deserialize)]
    struct Config {
        #[serde(default)]
        pooling_mode_cls_token: bool,
        #[serde(default)]
        pooling_mode_mean_tokens: bool,
        /// False where the prompt's tokens do not count for the mean.
        #[serde(default = "yes")]
        include_prompt: bool,
        /// The other modes.
        #[serde(flatten)]
        others: serde_json::Map<String, serde_json::Value>,
    }
    fn yes() -> bool {
        true
    }
    let Some(path) = pooling_file(folder)? else {
        tracing::debug!(folder = %folder.display(), "nothing says how tokens are pooled: the mean");
        return Ok(Pooling::Mean);
    };
    let config: Config = read_json(&path)?;
    let leaves_out = !config.include_prompt && !default_prompt(folder)?.is_empty();
    let other = config.others.iter().find(|(mode, on)| mode.starts_with("pooling_mode_") && **on == true);
    match (config.pooling_mode_cls_token, config.pooling_mode_mean_tokens, other) {
        (false, true, None) if leaves_out => Err(Error::folder(&path, "include_prompt: false is not supported")),
        (false, true, None) => Ok(Pooling::Mean),
        (true, false, None) => Ok(Pooling::Cls),
        _ => Err(Error::folder(&path, "pooling is neither mean nor cls alone")),
    }
}

/// The prompt that sentence-transformers puts before every text.
fn default_prompt(folder: &Path) -> Result<String> {
    #[derive(Deserialize)]
    struct Config {
        #[serde(default)]
        prompts: std::collections::HashMap<String, String>,
        default_prompt_name: Option<String>,
    }
    let path = folder.join("config_sentence_transformers.json");
    let Some(mut config) = optional::<Config>(&path)? else { return Ok(String::new()) };
    let Some(name) = config.default_prompt_name else { return Ok(String::new()) };
    config.prompts.remove(&name).ok_or_else(|| Error::folder(&path, format!("no prompt '{name}' among the prompts")))
}

/// A file that may be absent.
fn optional<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    if path.exists() { read_json(path).map(Some) } else { Ok(None) }
}

pub(crate) fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let text = std::fs::read(path).map_err(|e| Error::folder(path, e))?;
    serde_json::from_slice(&text).map_err(|e| Error::folder(path, e))
}
