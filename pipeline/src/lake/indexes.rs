//! Similarity indexes beside the vectors that they are made of: `_similarity` below the table `embeddings`, a name that
//! Delta takes for no data of its own.

use async_trait::async_trait;
use datafusion::error::{DataFusionError, Result};
use futures::TryStreamExt;
use generel_schemas::tables::EMBEDDINGS;
use generel_udfs::SimilarityIndexStore;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use std::sync::Arc;

use super::Lake;

const FOLDER: &str = "_similarity";
const ENDING: &str = ".safetensors";
/// Indexes that are kept; the oldest go first.
const MOST: usize = 16;

/// The indexes of a lake. Where the lake has no vectors, nothing is kept.
#[derive(Debug)]
pub(crate) struct LakeIndexes {
    lake: Lake,
}

impl LakeIndexes {
    pub(crate) fn new(lake: Lake) -> Self {
        Self { lake }
    }

    async fn store(&self) -> Result<Option<Arc<dyn ObjectStore>>> {
        let table = self.lake.table(&EMBEDDINGS).await.map_err(external)?;
        Ok(table.map(|table| table.log_store().object_store(None)))
    }
}

fn path(name: &str) -> Path {
    Path::from_iter([FOLDER, &format!("{name}{ENDING}")])
}

/// The latest first.
async fn files(store: &dyn ObjectStore) -> Result<Vec<ObjectMeta>> {
    let mut files: Vec<ObjectMeta> = store.list(Some(&Path::from(FOLDER))).try_collect().await?;
    files.sort_by(|a, b| b.last_modified.cmp(&a.last_modified).then_with(|| a.location.cmp(&b.location)));
    Ok(files)
}

#[async_trait]
impl SimilarityIndexStore for LakeIndexes {
    async fn list(&self) -> Result<Vec<String>> {
        let Some(store) = self.store().await? else { return Ok(Vec::new()) };
        let name = |file: ObjectMeta| Some(file.location.filename()?.strip_suffix(ENDING)?.to_string());
        Ok(files(store.as_ref()).await?.into_iter().filter_map(name).collect())
    }

    async fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let Some(store) = self.store().await? else { return Ok(None) };
        match store.get(&path(name)).await {
            Ok(found) => Ok(Some(found.bytes().await?.to_vec())),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn write(&self, name: &str, bytes: Vec<u8>) -> Result<()> {
        let Some(store) = self.store().await? else { return Ok(()) };
        store.put(&path(name), bytes.into()).await?;
        for old in files(store.as_ref()).await?.into_iter().skip(MOST) {
            match store.delete(&old.location).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

fn external(error: crate::Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_latest_are_kept_beside_the_vectors_and_survive_a_vacuum() {
        let folder = tempfile::tempdir().unwrap();
        let lake = Lake::at_folder(folder.path()).unwrap();
        let indexes = LakeIndexes::new(lake.clone());
        // Without a table there is no place.
        indexes.write("a", vec![1]).await.unwrap();
        assert_eq!((indexes.list().await.unwrap(), indexes.read("a").await.unwrap()), (vec![], None));
        lake.table_or_create(&EMBEDDINGS).await.unwrap();
        for i in 0..MOST + 2 {
            indexes.write(&format!("model-{i:02}"), vec![i as u8]).await.unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        let kept = indexes.list().await.unwrap();
        assert_eq!((kept.len(), kept[0].as_str()), (MOST, "model-17"));
        assert_eq!(indexes.read("model-01").await.unwrap(), None);
        lake.vacuum(&EMBEDDINGS, chrono::TimeDelta::zero(), true, false).await.unwrap();
        assert_eq!(indexes.read("model-02").await.unwrap(), Some(vec![2]));
    }
}
