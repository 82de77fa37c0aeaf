//! Text → token ids, by the model's own `tokenizer.json`.

use std::path::Path;

use rayon::prelude::*;
use tokenizers::{Tokenizer, TruncationParams};

use crate::{Error, Result};

/// The tokens of one text, special tokens included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tokens {
    pub(crate) ids: Vec<u32>,
    /// Whether the text was longer than the model takes.
    pub(crate) truncated: bool,
}

/// A tokenizer without padding, truncating at the model's length: the file's own settings of both are overridden.
pub(crate) struct TextTokenizer(Tokenizer);

impl TextTokenizer {
    pub(crate) fn load(folder: &Path, max_tokens: usize) -> Result<Self> {
        let path = folder.join("tokenizer.json");
        if !path.exists() {
            return Err(Error::folder(&path, "no such file; a model folder needs config.json, tokenizer.json and model.safetensors"));
        }
        let mut tokenizer = Tokenizer::from_file(&path).map_err(|e| Error::folder(&path, e))?;
        tokenizer.with_padding(None);
        let truncation = TruncationParams { max_length: max_tokens, ..Default::default() };
        tokenizer.with_truncation(Some(truncation)).map_err(|e| Error::folder(&path, e))?;
        Ok(Self(tokenizer))
    }

    /// Tokenizes on all cores, in order.
    pub(crate) fn tokenize<T: AsRef<str> + Sync>(&self, texts: &[T]) -> Result<Vec<Tokens>> {
        texts
            .par_iter()
            .map(|text| {
                let encoding = self.0.encode_fast(text.as_ref(), true).map_err(|e| Error::Encoder(e.to_string()))?;
                Ok(Tokens { ids: encoding.get_ids().to_vec(), truncated: !encoding.get_overflowing().is_empty() })
            })
            .collect()
    }
}
