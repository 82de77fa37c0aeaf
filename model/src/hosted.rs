//! candle for the library that hosts it (`model/cuda`): what its C functions call.

pub use crate::device::ABI;
use crate::encoder::{CandleEncoder, Encoder, Worker};
use crate::pack::PackedBatch;
use crate::{Error, ModelInfo, Result};

pub use crate::search::device::{CandleProducts as HostedProducts, CandleRows as HostedRows};

/// A model on a candle device.
pub struct HostedEncoder(CandleEncoder);

/// A worker of it, for one thread.
pub struct HostedWorker {
    worker: Box<dyn Worker>,
    out: Vec<f32>,
}

impl HostedEncoder {
    /// Opens a device (`cuda:N`, `cpu`) for a model, given as JSON of [`ModelInfo`].
    ///
    /// # Errors
    /// When the JSON is of another version, or the device cannot be opened.
    pub fn open(model: &[u8], device: &str) -> Result<Self> {
        let info: ModelInfo = serde_json::from_slice(model).map_err(|e| Error::Encoder(format!("model: {e}")))?;
        Ok(Self(CandleEncoder::load(&info, device)?))
    }

    /// How many workers keep the device busy.
    pub fn workers(&self) -> usize {
        self.0.workers()
    }

    /// Tokens of a batch that keep one worker busy.
    pub fn batch_tokens(&self) -> usize {
        self.0.batch_tokens()
    }

    /// A worker with its own stream and weights.
    ///
    /// # Errors
    /// When the weights cannot be read or the device has no room.
    pub fn worker(&self) -> Result<HostedWorker> {
        Ok(HostedWorker { worker: self.0.worker()?, out: Vec::new() })
    }

    /// Additions and multiplications a second, in 10⁹, that the device does in large matrix products.
    ///
    /// # Errors
    /// When the device fails.
    pub fn peak_gops(&self) -> Result<f64> {
        self.0.peak_gops()
    }
}

impl HostedWorker {
    /// Vectors of packed sequences: `ids` of all one after the other, `offsets` where each begins and the last ends.
    ///
    /// # Errors
    /// When the offsets are out of order or beyond the ids, or the device fails.
    pub fn encode(&mut self, ids: &[u32], offsets: &[usize]) -> Result<&[f32]> {
        if offsets.first() != Some(&0) || offsets.last() != Some(&ids.len()) || !offsets.is_sorted() {
            return Err(Error::Encoder("offsets that do not fit the ids".into()));
        }
        let batch = PackedBatch { ids: ids.to_vec(), offsets: offsets.to_vec() };
        self.worker.encode(&batch, &mut self.out)?;
        Ok(&self.out)
    }
}
