//! The embed stage: texts that the lake has no vector for go through the Embedder into `embeddings`, in pieces, so
//! that a run that is killed has kept what it committed.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, RecordBatch, StringArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field};
use datafusion::prelude::col;
use futures::StreamExt;
use generel_schemas::tables::EMBEDDINGS;

use crate::lake::Commit;
use crate::{Error, Result, Session};

/// Texts of one commit.
const TEXTS_PER_COMMIT: usize = 16 * 1024;
/// Texts of one call of the Embedder.
const TEXTS_PER_CALL: usize = 2048;

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
    let missing = missing(session, texts).await?;
    let model_id = session.embedder()?.info().model_id.clone();
    let mut done = 0;
    for piece in missing.chunks(TEXTS_PER_COMMIT) {
        let mut writer = session.lake.writer(&EMBEDDINGS, Some(&model_id)).await?;
        for call in piece.chunks(TEXTS_PER_CALL) {
            let keys = StringArray::from_iter_values(call);
            let vectors = session.embedder()?.embed(&keys).await?;
            writer.write(batch(session, keys, vectors.values().clone(), vectors.value_length() as usize)?).await?;
            done += call.len() as u64;
            progress(done, missing.len() as u64);
        }
        writer.commit(Commit { run_id: run_id.to_string(), ..Default::default() }).await?;
    }
    if !missing.is_empty() {
        session.refresh().await?;
    }
    Ok(EmbedReport { texts: texts.len() as u64, embedded: missing.len() as u64 })
}

/// The texts without a vector, in the order given.
async fn missing(session: &Session, texts: &[String]) -> Result<Vec<String>> {
    let stored = session.ctx().table(EMBEDDINGS.name).await?.select(vec![col("key")])?;
    let mut known = std::collections::HashSet::new();
    let mut batches = stored.execute_stream().await?;
    let wanted: std::collections::HashSet<&str> = texts.iter().map(String::as_str).collect();
    while let Some(batch) = batches.next().await {
        let keys = arrow::compute::cast(batch?.column(0), &DataType::Utf8)?;
        known.extend(keys.as_string::<i32>().iter().flatten().filter(|k| wanted.contains(k)).map(str::to_string));
    }
    Ok(texts.iter().filter(|t| !known.contains(*t)).cloned().collect())
}

fn batch(session: &Session, keys: StringArray, values: ArrayRef, dimension: usize) -> Result<RecordBatch> {
    let rows = keys.len();
    if values.len() != rows * dimension {
        return Err(Error::Internal("the Embedder returned another number of vectors".into()));
    }
    let item = Arc::new(Field::new("element", DataType::Float32, true));
    let offsets = OffsetBuffer::from_lengths(std::iter::repeat_n(dimension, rows));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec![session.embedder()?.info().model_id.as_str(); rows])),
        Arc::new(StringArray::from(vec!["text"; rows])),
        Arc::new(keys),
        Arc::new(ListArray::new(item, offsets, values, None)),
    ];
    Ok(RecordBatch::try_new(EMBEDDINGS.schema(), columns)?)
}
