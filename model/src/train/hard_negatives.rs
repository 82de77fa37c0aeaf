//! Names that are hard to tell from each other, for the batches of synonyms.

use std::collections::HashMap;
use std::path::Path;

use rayon::prelude::*;

use super::data::Task;
use crate::search::{Corpus, Neighbor, SearchOptions};
use crate::{Device, Error, Precision, Result};

/// Entities that are kept as hard to tell from another.
const NEAR: usize = 8;
/// The file in a run's folder.
const FILE: &str = "hard-negatives.json";

/// Entities that are near each other without being the same: their names are hard to tell apart.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct HardNegatives {
    /// For an entity, the entities whose names are nearest.
    pub(super) near: HashMap<u32, Vec<u32>>,
}

impl HardNegatives {
    /// What a run has found before.
    ///
    /// # Errors
    /// When its file is damaged.
    pub(super) fn read(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(FILE);
        if path.exists() { Ok(Some(Self { near: crate::info::read_json(&path)? })) } else { Ok(None) }
    }

    /// The nearest others of each entity, by a vector of each, `entities × dimension`; kept in the run's folder.
    ///
    /// # Errors
    /// When the folder cannot be written, or a device that is no GPU cannot be opened.
    pub(super) fn find(
        entities: &[u32],
        (vectors, dimension): (Vec<f32>, usize),
        device: &Device,
        folder: &Path,
    ) -> Result<Self> {
        let corpus = Corpus::new(vectors.clone(), dimension, None, Some(Precision::F32))?.on_device(device)?;
        let options = SearchOptions { k: Some(NEAR + 1), ties: false, min_score: -1.0 };
        let piece = entities.len().div_ceil(rayon::current_num_threads()).max(1);
        let found: Vec<Vec<Vec<Neighbor>>> = vectors
            .par_chunks(piece * dimension)
            .map(|queries| corpus.search(queries, options))
            .collect::<Result<_>>()?;
        let mut near = HashMap::new();
        for (entity, neighbors) in entities.iter().zip(found.into_iter().flatten()) {
            let others = neighbors.iter().map(|n| entities[n.index as usize]).filter(|e| e != entity);
            near.insert(*entity, others.take(NEAR).collect::<Vec<u32>>());
        }
        let path = folder.join(FILE);
        let text = serde_json::to_vec(&near).map_err(|e| Error::folder(&path, e))?;
        std::fs::create_dir_all(folder).map_err(|e| Error::folder(folder, e))?;
        std::fs::write(&path, text).map_err(|e| Error::folder(&path, e))?;
        Ok(Self { near })
    }

    /// Replaces the second half of a batch by pairs of entities that are near those of the first half.
    pub(super) fn mix_in(
        &self,
        batch: &mut [usize],
        task: &Task,
        entities: &[u32],
        by_entity: &HashMap<u32, Vec<u32>>,
        seed: u64,
    ) {
        let mut random = fastrand::Rng::with_seed(seed);
        let half = batch.len() / 2;
        for i in 0..batch.len() - half {
            let Some(pair) = batch.get(i).copied() else { return };
            let entity = entities[task.left[pair] as usize];
            let near: Vec<&Vec<u32>> =
                self.near.get(&entity).into_iter().flatten().filter_map(|e| by_entity.get(e)).collect();
            if let Some(pairs) = random.choice(&near) {
                batch[half + i] = pairs[random.usize(..pairs.len())] as usize;
            }
        }
    }
}
