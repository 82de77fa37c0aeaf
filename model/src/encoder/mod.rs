//! Encoders: a packed batch of tokens becomes one vector a sequence.

mod bert;
mod ops;

pub(crate) use bert::Bert;

use crate::Result;
use crate::pack::PackedBatch;

/// Turns packed sequences into vectors. Lives on the device's own thread.
pub(crate) trait Encoder: Send {
    /// Vectors of length 1, one row a sequence, `batch.len() × dimension` values. The vector of a sequence does not
    /// depend on the others in the batch, to the bit.
    ///
    /// # Errors
    /// When the device fails or a vector is not finite.
    fn encode(&mut self, batch: &PackedBatch) -> Result<Vec<f32>>;
}
