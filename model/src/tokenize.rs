//! Text → token ids, by the model's own `tokenizer.json`, or the vocabulary files that older models come with.

use std::path::Path;

use rayon::prelude::*;
use serde::Deserialize;
use tokenizers::models::bpe::BPE;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::processors::bert::BertProcessing;
use tokenizers::processors::roberta::RobertaProcessing;
use tokenizers::{AddedToken, Tokenizer, TruncationParams};

use crate::info::read_json;
use crate::{Error, ModelInfo, Result};

/// Characters that no token of a model's length can need more of: a text is cut here before it is tokenized, so that a
/// megabyte of text costs no more than a page.
const CHARACTERS_OF_A_TOKEN: usize = 64;

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
    prefix: String,
}

impl TextTokenizer {
    /// Loads the tokenizer of a model's folder.
    ///
    /// # Errors
    /// When the folder has none, or it is broken.
    pub(crate) fn load(info: &ModelInfo) -> Result<Self> {
        let mut whole = read(&info.folder)?;
        let failed = |e: tokenizers::Error| Error::folder(&info.folder.join("tokenizer.json"), e);
        whole.with_padding(None).with_truncation(None).map_err(failed)?;
        let mut tokenizer = whole.clone();
        let truncation = TruncationParams { max_length: info.max_tokens, ..Default::default() };
        tokenizer.with_truncation(Some(truncation)).map_err(failed)?;
        Ok(Self { tokenizer, whole, max_tokens: info.max_tokens, prefix: info.prefix.clone() })
    }

    /// Tokenizes on all cores, in order.
    pub(crate) fn tokenize<T: AsRef<str> + Sync>(&self, texts: &[T]) -> Result<Vec<Tokens>> {
        texts.par_iter().with_min_len(16).map(|text| self.tokenize_one(text.as_ref())).collect()
    }

    fn tokenize_one(&self, text: &str) -> Result<Tokens> {
        let failed = |e: tokenizers::Error| Error::Encoder(e.to_string());
        let most = self.max_tokens * CHARACTERS_OF_A_TOKEN;
        let (text, cut) = match text.char_indices().nth(most) {
            Some((at, _)) if text.len() > most => (&text[..at], true),
            _ => (text, false),
        };
        let prefixed;
        let text = if self.prefix.is_empty() {
            text
        } else {
            prefixed = format!("{}{text}", self.prefix);
            prefixed.as_str()
        };
        let ids = self.tokenizer.encode_fast(text, true).map_err(failed)?.get_ids().to_vec();
        let truncated = cut
            || ids.len() >= self.max_tokens
                && self.whole.encode_fast(text, true).map_err(failed)?.len() > self.max_tokens;
        Ok(Tokens { ids, truncated })
    }
}

/// `tokenizer.json`, else WordPiece from `vocab.txt` (BERT), else byte-level BPE from `vocab.json` and `merges.txt`
/// (RoBERTa).
fn read(folder: &Path) -> Result<Tokenizer> {
    let path = folder.join("tokenizer.json");
    if path.exists() {
        return Tokenizer::from_file(&path).map_err(|e| Error::folder(&path, e));
    }
    let settings: Settings = match folder.join("tokenizer_config.json") {
        path if path.exists() => read_json(&path)?,
        _ => Settings::default(),
    };
    let (words, merges) = (folder.join("vocab.txt"), folder.join("merges.txt"));
    if words.exists() {
        return word_piece(&words, &settings).map_err(|e| Error::folder(&words, e));
    }
    if merges.exists() {
        return byte_pairs(&folder.join("vocab.json"), &merges).map_err(|e| Error::folder(&merges, e));
    }
    Err(Error::folder(&path, crate::store::INCOMPLETE))
}

/// What `tokenizer_config.json` says of a BERT tokenizer.
#[derive(Default, Deserialize)]
struct Settings {
    do_lower_case: Option<bool>,
    strip_accents: Option<bool>,
    tokenize_chinese_chars: Option<bool>,
}

fn word_piece(vocabulary: &Path, settings: &Settings) -> tokenizers::Result<Tokenizer> {
    let model = WordPiece::from_file(&vocabulary.to_string_lossy()).unk_token("[UNK]".into()).build()?;
    let mut tokenizer = Tokenizer::new(model);
    let id = |token: &str| tokenizer.token_to_id(token).ok_or_else(|| format!("no token {token} in the vocabulary"));
    let (cls, sep) = (id("[CLS]")?, id("[SEP]")?);
    _ = tokenizer.with_normalizer(Some(BertNormalizer::new(
        true,
        settings.tokenize_chinese_chars.unwrap_or(true),
        settings.strip_accents,
        settings.do_lower_case.unwrap_or(true),
    )));
    tokenizer.with_pre_tokenizer(Some(BertPreTokenizer));
    tokenizer.with_post_processor(Some(BertProcessing::new(("[SEP]".into(), sep), ("[CLS]".into(), cls))));
    let special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
    tokenizer.add_special_tokens(special.map(|t| AddedToken::from(t, true)))?;
    Ok(tokenizer)
}

fn byte_pairs(vocabulary: &Path, merges: &Path) -> tokenizers::Result<Tokenizer> {
    let model = BPE::from_file(&vocabulary.to_string_lossy(), &merges.to_string_lossy()).build()?;
    let mut tokenizer = Tokenizer::new(model);
    let id = |token: &str| tokenizer.token_to_id(token).ok_or_else(|| format!("no token {token} in the vocabulary"));
    let (start, end) = (id("<s>")?, id("</s>")?);
    tokenizer.with_pre_tokenizer(Some(ByteLevel::new(false, true, true)));
    tokenizer.with_post_processor(Some(RobertaProcessing::new(("</s>".into(), end), ("<s>".into(), start))));
    let special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"];
    tokenizer.add_special_tokens(special.map(|t| AddedToken::from(t, true)))?;
    Ok(tokenizer)
}
