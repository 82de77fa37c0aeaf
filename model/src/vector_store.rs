//! Vectors that outlive the process: the Embedder's second cache, behind its memory.

use std::sync::Arc;

use async_trait::async_trait;

/// A vector of one text, shared by the caches and everybody who asked for it.
pub type Vector = Arc<[f32]>;

/// Why a store cannot be read.
pub type StoreError = Box<dyn std::error::Error + Send + Sync>;

/// Keeps the vectors of one model by their normalized text. A store that fails costs time, not answers: errors are for
/// the log, and texts that it does not give are embedded.
#[async_trait]
pub trait VectorStore: std::fmt::Debug + Send + Sync {
    /// The vectors of these texts, in order, `None` where there is none.
    ///
    /// # Errors
    /// When it cannot be read.
    async fn get_many(&self, texts: &[Arc<str>]) -> Result<Vec<Option<Vector>>, StoreError>;

    /// Takes new vectors, each text once. Called on the device's threads: must not wait.
    fn put_many(&self, vectors: &[(Arc<str>, Vector)]);
}
