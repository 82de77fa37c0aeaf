//! Vectors kept in memory, bounded in bytes.

use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache as QuickCache;

use crate::vector_store::Vector;

/// A shared cache, text → vector, that forgets what is seldom asked for.
#[derive(Clone)]
pub(super) struct Cache(Arc<QuickCache<Arc<str>, Vector, Bytes>>);

#[derive(Clone)]
struct Bytes;

/// What an entry costs beside its text and vector: pointers, counters, the map's slot.
const OVERHEAD_BYTES: usize = 96;
const TYPICAL_BYTES: usize = 384 * 4 + 32 + OVERHEAD_BYTES;

impl Weighter<Arc<str>, Vector> for Bytes {
    fn weight(&self, text: &Arc<str>, vector: &Vector) -> u64 {
        (text.len() + vector.len() * size_of::<f32>() + OVERHEAD_BYTES) as u64
    }
}

impl Cache {
    pub(super) fn new(bytes: usize) -> Self {
        Self(Arc::new(QuickCache::with_weighter((bytes / TYPICAL_BYTES).max(16), bytes as u64, Bytes)))
    }

    pub(super) fn get(&self, text: &Arc<str>) -> Option<Vector> {
        self.0.get(text)
    }

    pub(super) fn insert(&self, text: Arc<str>, vector: Vector) {
        self.0.insert(text, vector);
    }
}
