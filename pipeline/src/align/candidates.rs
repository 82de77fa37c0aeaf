//! Pairs of names that may name the same: similar by their embeddings in either direction, or of the same words.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float32Type, Int32Type};
use datafusion::datasource::MemTable;
use futures::StreamExt;
use generel_schemas::tables::EMBEDDINGS;

use super::evidence::NamePair;
use super::lexical::{Vocabulary, Words};
use super::names::Names;
use crate::{Error, Result, Session};

/// Tables of a session that hold the two sides' vectors while they are aligned.
const LEFT: &str = "generel_align_left";
const RIGHT: &str = "generel_align_right";
/// Objects looked at for each name of a subject, at least: behind the best are those that it is told from.
const LEAST_OBJECTS: usize = 10;
/// Subjects looked at for each name of an object.
const SUBJECTS: usize = 3;

/// The candidates of an alignment. All names must have vectors in the lake.
///
/// # Errors
/// When the lake fails.
pub(super) async fn candidates(
    session: &Session,
    left: &Names,
    right: &Names,
    top_k: usize,
    min_score: f32,
) -> Result<Vec<NamePair>> {
    let mut vocabulary = Vocabulary::default();
    let of_left: Vec<Words> = left.names().map(|n| vocabulary.words(&n.text)).collect();
    let of_right: Vec<Words> = right.names().map(|n| vocabulary.words(&n.text)).collect();
    vocabulary.weigh();
    register(session, left, &of_left, LEFT).await?;
    register(session, right, &of_right, RIGHT).await?;
    let joined = |from: &str, to: &str, k: usize| {
        format!(
            "SELECT left_name_no, right_name_no, similarity_score \
             FROM similarity_join('{from}', '{to}', {k}, {min_score:?}, 'code_no')"
        )
    };
    let same_words = format!(
        "SELECT l.name_no, r.name_no, cosine_similarity(l.vector, r.vector) FROM {LEFT} l JOIN {RIGHT} r \
         ON l.words = r.words WHERE l.words <> ''"
    );
    let queries = [
        (joined(LEFT, RIGHT, LEAST_OBJECTS.max(top_k + 1)), false),
        (joined(RIGHT, LEFT, SUBJECTS), true),
        (same_words, false),
    ];
    let mut found: HashSet<(i32, i32)> = HashSet::new();
    let mut pairs = Vec::new();
    for (sql, reversed) in queries {
        let mut stream = session.ctx().sql(&sql).await?.execute_stream().await?;
        while let Some(batch) = stream.next().await {
            let batch = batch?;
            let (a, b) = (numbers(&batch, 0)?, numbers(&batch, 1)?);
            let scores = batch.column(2).as_primitive::<Float32Type>();
            for row in 0..batch.num_rows() {
                let (subject, object) =
                    if reversed { (b.value(row), a.value(row)) } else { (a.value(row), b.value(row)) };
                if !found.insert((subject, object)) {
                    continue;
                }
                let (s, o) = (subject as usize, object as usize);
                let (subject, object) = (left.name(s), right.name(o));
                pairs.push(NamePair {
                    subject: subject.code_no,
                    object: object.code_no,
                    subject_name: s,
                    object_name: o,
                    // A name without a direction is similar to nothing.
                    cosine: if arrow::array::Array::is_null(scores, row) { 0.0 } else { scores.value(row) },
                    both_labels: subject.is_label() && object.is_label(),
                    lexical: vocabulary.compare(&of_left[s], &of_right[o]),
                });
            }
        }
    }
    for side in [LEFT, RIGHT] {
        session.ctx().deregister_table(side)?;
    }
    Ok(pairs)
}

fn numbers(batch: &RecordBatch, column: usize) -> Result<arrow::array::Int32Array> {
    let cast: ArrayRef = arrow::compute::cast(batch.column(column), &DataType::Int32)?;
    Ok(cast.as_primitive::<Int32Type>().clone())
}

/// The names with their words and vectors as a table, in the order of the names, so that ties fall the same way every time.
async fn register(session: &Session, names: &Names, words: &[Words], table: &str) -> Result<()> {
    let ctx = session.ctx();
    let raw = format!("{table}_names");
    let batch = names.keys(words.iter().map(|w| w.key.as_str()))?;
    ctx.deregister_table(raw.as_str())?;
    ctx.register_table(raw.as_str(), Arc::new(MemTable::try_new(batch.schema(), vec![vec![batch]])?))?;
    let sql = format!(
        "SELECT n.name_no, n.code_no, n.words, e.vector FROM {raw} n JOIN {} e ON e.key = n.text ORDER BY n.name_no",
        EMBEDDINGS.name
    );
    let joined = ctx.sql(&sql).await?.collect().await?;
    ctx.deregister_table(raw.as_str())?;
    let Some(schema) = joined.first().map(RecordBatch::schema) else {
        return Err(Error::Internal("the names just embedded have no vectors".into()));
    };
    ctx.deregister_table(table)?;
    ctx.register_table(table, Arc::new(MemTable::try_new(schema, vec![joined])?))?;
    Ok(())
}
