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
pub(crate) struct TextTokenizer {
    tokenizer: Tokenizer,
    /// The same without truncation, to tell a text of just the model's length from a longer one.
    whole: Tokenizer,
    max_tokens: usize,
}

impl TextTokenizer {
    pub(crate) fn load(folder: &Path, max_tokens: usize) -> Result<Self> {
        let path = folder.join("tokenizer.json");
        if !path.exists() {
            return Err(Error::folder(&path, crate::store::INCOMPLETE));
        }
        let failed = |e: tokenizers::Error| Error::folder(&path, e);
        let mut whole = Tokenizer::from_file(&path).map_err(failed)?;
        whole.with_padding(None).with_truncation(None).map_err(failed)?;
        let mut tokenizer = whole.clone();
        let truncation = TruncationParams { max_length: max_tokens, ..Default::default() };
        tokenizer.with_truncation(Some(truncation)).map_err(failed)?;
        Ok(Self { tokenizer, whole, max_tokens })
    }

    /// Tokenizes on all cores, in order.
    pub(crate) fn tokenize<T: AsRef<str> + Sync>(&self, texts: &[T]) -> Result<Vec<Tokens>> {
        let failed = |e: tokenizers::Error| Error::Encoder(e.to_string());
        texts
            .par_iter()
            .map(|text| {
                let ids = self.tokenizer.encode_fast(text.as_ref(), true).map_err(failed)?.get_ids().to_vec();
                let truncated = ids.len() >= self.max_tokens
                    && self.whole.encode_fast(text.as_ref(), true).map_err(failed)?.len() > self.max_tokens;
                Ok(Tokens { ids, truncated })
            })
            .collect()
    }
}
