//! The Embedder's second cache: the vectors of one model in the lake's table `embeddings`.
//!
//! An index in memory says where each text's vector stands (16 bytes of the text's BLAKE3, 8 of file and row); a look-up
//! reads the rows it needs from their files. New vectors wait in memory for [`LakeVectors::flush`], the one writer, which
//! commits many at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arrow::array::{Array, ArrayRef, AsArray, Float32Array, ListArray, RecordBatch, StringArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Float32Type};
use async_trait::async_trait;
use futures::TryStreamExt;
use generel_model::{ModelInfo, StoreError, Vector, VectorStore};
use generel_schemas::tables::EMBEDDINGS;
use hashbrown::HashMap;
use object_store::ObjectStore;
use object_store::path::Path;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{RowSelection, RowSelector};
use parquet::arrow::async_reader::ParquetRecordBatchStreamBuilder;

use super::object_reader::ObjectReader;
use super::{Commit, Lake};
use crate::text_columns::text_columns;
use crate::{Error, Result};

/// Vectors that may wait; what comes beyond is not kept until they are committed.
const MOST_PENDING: usize = 64 * 1024;
/// Vectors that are committed while a query runs: the query that finds them waiting does it.
const MANY_PENDING: usize = MOST_PENDING / 4;
/// How long the table is taken to be what it was: other processes add to it and rewrite its files.
const LOOKED_LATELY: Duration = Duration::from_secs(10);
/// The run that vectors of queries are of.
const QUERIES: &str = "queries";

type TextHash = [u8; 16];

fn hash(text: &str) -> TextHash {
    let mut short = TextHash::default();
    short.copy_from_slice(&blake3::hash(text.as_bytes()).as_bytes()[..16]);
    short
}

/// The vectors of one model in a lake.
#[derive(Debug)]
pub struct LakeVectors {
    lake: Lake,
    model_id: String,
    dimension: usize,
    index: tokio::sync::RwLock<Index>,
    pending: Mutex<HashMap<Arc<str>, Vector>>,
    /// Held by the one commit that may be under way.
    writing: tokio::sync::Mutex<()>,
}

/// Where vectors stand.
#[derive(Debug, Default)]
struct Index {
    /// The table's version that it is of, and when that was looked at.
    version: Option<u64>,
    looked: Option<Instant>,
    store: Option<Arc<dyn ObjectStore>>,
    files: Vec<Path>,
    /// File and row of each text.
    places: HashMap<TextHash, (u32, u32)>,
}

impl LakeVectors {
    /// The vectors of a model; reads nothing yet.
    pub fn new(lake: Lake, info: &ModelInfo) -> Self {
        Self {
            lake,
            model_id: info.model_id.clone(),
            dimension: info.dimension,
            index: tokio::sync::RwLock::default(),
            pending: Mutex::default(),
            writing: tokio::sync::Mutex::default(),
        }
    }

    /// The texts that have no vector in the lake, in the order given.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn missing<'a>(&self, texts: &'a [String]) -> Result<Vec<&'a str>> {
        self.refresh(Duration::ZERO).await?;
        let index = self.index.read().await;
        Ok(texts.iter().map(String::as_str).filter(|text| !index.places.contains_key(&hash(text))).collect())
    }

    /// Commits what queries have made, if it is at least so much and the lake is there; how many were written. Vectors that
    /// cannot be kept cost time, not answers.
    pub(crate) async fn keep(&self, least: usize) -> u64 {
        if !self.lake.is_there() {
            return 0;
        }
        self.flush(QUERIES, least).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "new vectors are not kept in the lake");
            0
        })
    }

    /// Commits what waits if it is much and nobody is at it.
    async fn relieve(&self) {
        if self.pending().len() >= MANY_PENDING && self.writing.try_lock().is_ok() {
            self.keep(MANY_PENDING).await;
        }
    }

    /// Commits what waits, if it is at least so many; how many were written. Fewer are cheaper to make again than a file
    /// of their own is to keep: they wait for more.
    ///
    /// # Errors
    /// When the lake cannot be written.
    pub async fn flush(&self, run_id: &str, least: usize) -> Result<u64> {
        let _one = self.writing.lock().await;
        let waiting = {
            let mut pending = self.pending();
            if pending.is_empty() || pending.len() < least {
                return Ok(0);
            }
            std::mem::take(&mut *pending)
        };
        self.refresh(Duration::ZERO).await?;
        let mut new: Vec<(Arc<str>, Vector)> = {
            let index = self.index.read().await;
            waiting.into_iter().filter(|(text, _)| !index.places.contains_key(&hash(text))).collect()
        };
        if new.is_empty() {
            return Ok(0);
        }
        new.sort_by(|(a, _), (b, _)| a.cmp(b));
        let rows = new.len() as u64;
        let mut writer = self.lake.writer(&EMBEDDINGS, Some(&self.model_id)).await?;
        writer.write(self.batch(&new)?).await?;
        writer.commit(Commit { run_id: run_id.to_string(), ..Default::default() }).await?;
        self.index.write().await.looked = None;
        Ok(rows)
    }

    fn pending(&self) -> MutexGuard<'_, HashMap<Arc<str>, Vector>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn batch(&self, new: &[(Arc<str>, Vector)]) -> Result<RecordBatch> {
        let rows = new.len();
        let values: Float32Array = new.iter().flat_map(|(_, vector)| vector.iter().copied()).collect();
        if values.len() != rows * self.dimension {
            return Err(Error::Internal("a vector of another dimension".into()));
        }
        let item = Arc::new(Field::new("element", DataType::Float32, true));
        let offsets = OffsetBuffer::from_lengths(std::iter::repeat_n(self.dimension, rows));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(vec![self.model_id.as_str(); rows])),
            Arc::new(StringArray::from(vec!["text"; rows])),
            Arc::new(StringArray::from_iter_values(new.iter().map(|(text, _)| text))),
            Arc::new(ListArray::new(item, offsets, Arc::new(values), None)),
        ];
        Ok(RecordBatch::try_new(EMBEDDINGS.schema(), columns)?)
    }

    /// Brings the index up to date with the table, reading the texts of files it has not seen, unless it was looked at
    /// lately.
    async fn refresh(&self, lately: Duration) -> Result<()> {
        let is_fresh = |index: &Index| index.looked.is_some_and(|looked| looked.elapsed() < lately);
        if is_fresh(&*self.index.read().await) {
            return Ok(());
        }
        let mut index = self.index.write().await;
        if is_fresh(&index) {
            return Ok(());
        }
        let looked = Some(Instant::now());
        let Some(table) = self.lake.table(&EMBEDDINGS).await? else {
            *index = Index { looked, ..Index::default() };
            return Ok(());
        };
        if table.version().is_some() && table.version() == index.version {
            index.looked = looked;
            return Ok(());
        }
        let failed = |e| Error::delta(EMBEDDINGS.name, e);
        let log_store = table.log_store();
        let state = table.snapshot().map_err(failed)?;
        let views: Vec<_> =
            state.snapshot().file_views(log_store.as_ref(), None).try_collect().await.map_err(failed)?;
        let files: Vec<Path> = views
            .iter()
            .filter(|f| f.partition_values_map().get("model_id").and_then(|v| v.as_deref()) == Some(&self.model_id))
            .map(|f| f.object_store_path())
            .collect();
        if index.files.iter().any(|known| !files.contains(known)) {
            // Files were rewritten: their rows stand elsewhere.
            *index = Index::default();
        }
        index.store = Some(log_store.object_store(None));
        for file in files {
            if !index.files.contains(&file) {
                index.add(file).await?;
            }
        }
        (index.version, index.looked) = (table.version(), looked);
        Ok(())
    }
}

impl Index {
    async fn open(&self, file: &Path) -> Result<ParquetRecordBatchStreamBuilder<ObjectReader>> {
        let store = self.store.clone().ok_or_else(|| Error::Internal("the index has no store".into()))?;
        ParquetRecordBatchStreamBuilder::new(ObjectReader::new(store, file.clone())).await.map_err(unreadable)
    }

    /// Reads the texts of a file.
    async fn add(&mut self, file: Path) -> Result<()> {
        let builder = self.open(&file).await?;
        let mask = ProjectionMask::columns(builder.parquet_schema(), ["key"]);
        let mut batches = builder.with_projection(mask).build().map_err(unreadable)?;
        let number = self.files.len() as u32;
        let mut row = 0;
        while let Some(batch) = batches.try_next().await.map_err(unreadable)? {
            let [keys] = text_columns(&batch)?;
            for key in &keys {
                if let Some(key) = key {
                    self.places.insert(hash(key), (number, row));
                }
                row += 1;
            }
        }
        self.files.push(file);
        Ok(())
    }

    /// The vectors of some rows of a file, in order.
    async fn read(&self, file: u32, rows: &[u32], dimension: usize) -> Result<Vec<Vector>> {
        let builder = self.open(&self.files[file as usize]).await?;
        let mask = ProjectionMask::roots(builder.parquet_schema(), [vector_column(builder.schema())?]);
        let batches = builder.with_projection(mask).with_row_selection(selection(rows)).build().map_err(unreadable)?;
        let batches: Vec<RecordBatch> = batches.try_collect().await.map_err(unreadable)?;
        let mut vectors = Vec::with_capacity(rows.len());
        for batch in batches {
            let Some(lists) = batch.column(0).as_list_opt::<i32>() else {
                return Err(Error::Internal("vectors are not stored as lists".into()));
            };
            for list in lists.iter().flatten() {
                let values = list.as_primitive_opt::<Float32Type>().filter(|v| v.len() == dimension);
                let Some(values) = values else {
                    return Err(Error::Internal("a stored vector is of another dimension".into()));
                };
                vectors.push(Vector::from(&values.values()[..]));
            }
        }
        if vectors.len() != rows.len() {
            return Err(Error::Internal("a file has fewer vectors than texts".into()));
        }
        Ok(vectors)
    }
}

fn unreadable(error: parquet::errors::ParquetError) -> Error {
    Error::from(datafusion::error::DataFusionError::from(error))
}

fn vector_column(schema: &arrow::datatypes::Schema) -> Result<usize> {
    Ok(schema.index_of("vector")?)
}

/// Rows, in order and each once, as runs to read and to skip.
fn selection(rows: &[u32]) -> RowSelection {
    let mut runs: Vec<RowSelector> = Vec::new();
    let mut at = 0;
    for row in rows {
        let skipped = (*row - at) as usize;
        match runs.last_mut() {
            Some(last) if skipped == 0 => last.row_count += 1,
            _ => {
                if skipped > 0 {
                    runs.push(RowSelector::skip(skipped));
                }
                runs.push(RowSelector::select(1));
            }
        }
        at = row + 1;
    }
    RowSelection::from(runs)
}

#[async_trait]
impl VectorStore for LakeVectors {
    async fn get_many(&self, texts: &[Arc<str>]) -> std::result::Result<Vec<Option<Vector>>, StoreError> {
        self.relieve().await;
        self.refresh(LOOKED_LATELY).await?;
        let mut found: Vec<Option<Vector>> = {
            let pending = self.pending();
            texts.iter().map(|text| pending.get(text).cloned()).collect()
        };
        let index = self.index.read().await;
        // By file, the rows and whose they are.
        let mut wanted: BTreeMap<u32, Vec<(u32, usize)>> = BTreeMap::new();
        for (i, text) in texts.iter().enumerate().filter(|(i, _)| found[*i].is_none()) {
            if let Some((file, row)) = index.places.get(&hash(text)) {
                wanted.entry(*file).or_default().push((*row, i));
            }
        }
        for (file, mut rows) in wanted {
            rows.sort_unstable();
            let numbers: Vec<u32> = rows.iter().map(|(row, _)| *row).collect();
            let vectors = index.read(file, &numbers, self.dimension).await?;
            for ((_, i), vector) in rows.into_iter().zip(vectors) {
                found[i] = Some(vector);
            }
        }
        Ok(found)
    }

    fn put_many(&self, vectors: &[(Arc<str>, Vector)]) {
        let mut pending = self.pending();
        for (text, vector) in vectors {
            if pending.len() < MOST_PENDING || pending.contains_key(text) {
                pending.insert(text.clone(), vector.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_runs() {
        let runs: Vec<_> = selection(&[0, 1, 4, 5, 9]).iter().map(|r| (r.skip, r.row_count)).collect();
        assert_eq!(runs, [(false, 2), (true, 2), (false, 2), (true, 3), (false, 1)]);
    }

    #[tokio::test]
    async fn vectors_come_back_after_a_flush_and_in_another_process() {
        let folder = tempfile::tempdir().unwrap();
        let lake = Lake::create(folder.path().to_str().unwrap()).unwrap();
        let info: ModelInfo = serde_json::from_value(serde_json::json!({
            "name": "m", "model_id": "m-f32", "fingerprint": "m", "dimension": 2, "width": 2, "max_tokens": 8,
            "pooling": "mean", "prefix": "", "precision": "f32", "folder": ""
        }))
        .unwrap();
        let text = |i: usize| Arc::<str>::from(format!("text {i}"));
        let vectors: Vec<(Arc<str>, Vector)> = (0..100).map(|i| (text(i), Vector::from([i as f32, 1.0]))).collect();
        let store = LakeVectors::new(lake.clone(), &info);
        assert_eq!(store.get_many(&[text(3)]).await.unwrap(), [None]);
        store.put_many(&vectors[..60]);
        assert_eq!(store.get_many(&[text(3)]).await.unwrap(), [Some(vectors[3].1.clone())]);
        assert_eq!(store.flush("run", 1).await.unwrap(), 60);
        store.put_many(&vectors[40..]);
        assert_eq!(store.flush("run", 1).await.unwrap(), 40, "each text once");
        store.put_many(&vectors[..1]);
        assert_eq!(store.flush("run", 5).await.unwrap(), 0, "too few for a file");
        assert_eq!(store.pending().len(), 1, "it waits for more");
        // What another process adds is seen, and not written again.
        let beside = LakeVectors::new(lake.clone(), &info);
        beside.put_many(&[(text(150), vectors[5].1.clone())]);
        assert_eq!(beside.flush("run", 1).await.unwrap(), 1);
        store.put_many(&[(text(150), vectors[5].1.clone())]);
        assert_eq!(store.flush("run", 1).await.unwrap(), 0, "it is there");
        let other = LakeVectors::new(lake, &info);
        let asked: Vec<Arc<str>> = [99, 7, 200, 41, 8].into_iter().map(text).collect();
        let found = other.get_many(&asked).await.unwrap();
        let expected = [Some(99), Some(7), None, Some(41), Some(8)].map(|i| i.map(|i: usize| vectors[i].1.clone()));
        assert_eq!(found, expected);
        let texts: Vec<String> = asked.iter().map(|t| t.to_string()).collect();
        assert_eq!(other.missing(&texts).await.unwrap(), ["text 200"]);
    }
}
