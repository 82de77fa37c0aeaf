//! The embed stage: texts that the lake has no vector for go through the Embedder into `embeddings`, in pieces, so
//! that a run that is killed has kept what it committed.

use std::sync::Arc;

use arrow::array::{Array, AsArray, StringArray};
use arrow::datatypes::Float32Type;
use generel_model::{Vector, VectorStore};

use crate::{Error, Result, Session};

/// Texts of one commit.
const TEXTS_PER_COMMIT: usize = 16 * 1024;
/// Texts of one call of the Embedder.
const TEXTS_PER_CALL: usize = 4096;

/// What the stage did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EmbedReport {
    /// Distinct texts asked for.
    pub texts: u64,
    /// Texts that had no vector before.
    pub embedded: u64,
}

/// Makes sure that each of these texts (normalized, distinct) has a vector of the session's model in the lake.
///
/// `progress` is told of the texts done and the texts to do.
///
/// # Errors
/// When the model or the lake fails; what was committed stays.
pub async fn embed_texts(
    session: &Session,
    texts: &[String],
    run_id: &str,
    progress: &(dyn Fn(u64, u64) + Send + Sync),
) -> Result<EmbedReport> {
    let (embedder, store) = (session.embedder()?, session.vectors()?);
    let missing = store.missing(texts).await?;
    let mut done = 0;
    for piece in missing.chunks(TEXTS_PER_COMMIT) {
        for call in piece.chunks(TEXTS_PER_CALL) {
            let vectors = embedder.embed(&StringArray::from_iter_values(call)).await?;
            // The Embedder gives the store what the model makes; this call may have found it in the Embedder's memory.
            let made: Vec<(Arc<str>, Vector)> = call
                .iter()
                .enumerate()
                .filter(|(i, _)| vectors.is_valid(*i))
                .map(|(i, text)| {
                    let values = vectors.value(i);
                    let values = values.as_primitive_opt::<Float32Type>();
                    let values = values.ok_or_else(|| Error::Internal("the Embedder returned no floats".into()))?;
                    Ok((Arc::from(*text), Vector::from(&values.values()[..])))
                })
                .collect::<Result<_>>()?;
            store.put_many(&made);
            done += call.len() as u64;
            progress(done, missing.len() as u64);
        }
        store.flush(run_id, 1).await?;
    }
    if !missing.is_empty() {
        session.refresh().await?;
    }
    Ok(EmbedReport { texts: texts.len() as u64, embedded: missing.len() as u64 })
}
