//! candle for the library that hosts it (`model/cuda`): what its C functions call.

use std::sync::Arc;

pub use crate::device::ABI;
use crate::encoder::{CandleEncoder, Encoder, Worker};
use crate::pack::PackedBatch;
use crate::train::{CandleText, Passes, Tape, Weights};
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
        Ok(Self(CandleEncoder::load(&model_of(model)?, device)?))
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
        self.worker.encode(&packed(ids, offsets)?, &mut self.out)?;
        Ok(&self.out)
    }
}

/// Sequences that [`HostedWorker::encode`] and training take: all ids one after the other, and where each begins.
fn packed(ids: &[u32], offsets: &[usize]) -> Result<PackedBatch> {
    // A sequence has a token at least.
    let ascend = offsets.is_sorted_by(|a, b| a < b);
    if offsets.first() != Some(&0) || offsets.last() != Some(&ids.len()) || !ascend {
        return Err(Error::Encoder("offsets that do not fit the ids".into()));
    }
    Ok(PackedBatch { ids: ids.to_vec(), offsets: offsets.to_vec() })
}

/// A model that is trained on a candle device.
pub struct HostedText(CandleText);

/// It with its weights as they are at one step.
pub struct HostedWeights {
    weights: Arc<dyn Weights>,
    parameters: usize,
}

/// A batch on its way back.
pub struct HostedTape {
    tape: Option<Box<dyn Tape>>,
    /// Numbers of the vectors' gradient.
    vectors: usize,
    parameters: usize,
}

// Handles of them are used from any thread.
const _: () = {
    const fn any_thread<T: Send + Sync>() {}
    any_thread::<HostedText>();
    any_thread::<HostedWeights>();
    any_thread::<HostedTape>();
};

impl HostedText {
    /// Opens a device (`cuda:N`, `cpu`) for a model, given as JSON of [`ModelInfo`], whose precision is that of the matrix
    /// products.
    ///
    /// # Errors
    /// When the JSON is of another version, the model cannot be trained, or the device cannot be opened.
    pub fn open(model: &[u8], device: &str) -> Result<Self> {
        Ok(Self(CandleText::load(&model_of(model)?, device)?))
    }

    /// Parameters that the encoder has.
    pub fn parameters(&self) -> usize {
        self.0.parameters()
    }

    /// The encoder with these parameters.
    ///
    /// # Errors
    /// When their number is another, or the device has no room.
    pub fn at(&self, p: &[f32]) -> Result<HostedWeights> {
        if p.len() != self.parameters() {
            return Err(Error::Training(format!("{} parameters, not {}", p.len(), self.parameters())));
        }
        Ok(HostedWeights { weights: self.0.at(p, true)?, parameters: self.parameters() })
    }
}

impl HostedWeights {
    /// Vectors of packed sequences, as [`HostedWorker::encode`] takes them.
    ///
    /// # Errors
    /// As of [`HostedWorker::encode`].
    pub fn encode(&self, ids: &[u32], offsets: &[usize]) -> Result<Vec<f32>> {
        let batch = packed(ids, offsets)?;
        self.weights.encode(&sequences(&batch))
    }

    /// The same vectors, and the way back, with all activations or with none.
    ///
    /// # Errors
    /// As of [`HostedWorker::encode`].
    pub fn forward(&self, ids: &[u32], offsets: &[usize], activations: bool) -> Result<(Vec<f32>, HostedTape)> {
        let batch = packed(ids, offsets)?;
        let (vectors, tape) = self.weights.clone().forward(&sequences(&batch), activations)?;
        let tape = HostedTape { tape: Some(tape), vectors: vectors.len(), parameters: self.parameters };
        Ok((vectors, tape))
    }
}

impl HostedTape {
    /// Adds the gradients of the parameters to `grads`, from those of the vectors; once.
    ///
    /// # Errors
    /// When a slice has another length, it is called again, or the device fails.
    pub fn backward(&mut self, grad: &[f32], grads: &mut [f32]) -> Result<()> {
        if (grad.len(), grads.len()) != (self.vectors, self.parameters) {
            let (grad, grads) = (grad.len(), grads.len());
            let problem = format!("gradients of {grad} and {grads}, not of {} and {}", self.vectors, self.parameters);
            return Err(Error::Training(problem));
        }
        let tape = self.tape.take().ok_or_else(|| Error::Training("a way back is gone once".into()))?;
        tape.backward(grad, grads)
    }
}

fn model_of(json: &[u8]) -> Result<ModelInfo> {
    serde_json::from_slice(json).map_err(|e| Error::Encoder(format!("model: {e}")))
}

fn sequences(batch: &PackedBatch) -> Vec<&[u32]> {
    batch.ranges().map(|range| &batch.ids[range]).collect()
}
