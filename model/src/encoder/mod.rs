//! Encoders: a packed batch of tokens becomes one vector a sequence.

mod candle;
mod cpu;
mod plugin;
mod weights;

use std::fmt;
use std::sync::Arc;

pub(crate) use candle::{BATCH_TOKENS, Block, Blocks, CandleEncoder};
pub(crate) use cpu::CpuEncoder;
pub(crate) use plugin::Plugin;
pub(crate) use weights::{Embeddings, Names, Tensors};

use crate::device::Device;
use crate::pack::PackedBatch;
use crate::{ModelInfo, Result};

/// A model with its weights on a device.
pub(crate) trait Encoder: Send + Sync {
    /// Where it runs.
    fn place(&self) -> Place;

    /// How many workers keep the device busy.
    fn workers(&self) -> usize;

    /// Tokens of a batch that keep one worker busy.
    fn batch_tokens(&self) -> usize;

    /// A worker, to be used by one thread.
    ///
    /// # Errors
    /// When the device has no room for it.
    fn worker(&self) -> Result<Box<dyn Worker>>;

    /// Additions and multiplications a second, in 10⁹, that the device does in matrix products of the model's
    /// precision, measured: the ceiling of [`Worker::encode`] with all workers. Takes up to a second.
    ///
    /// # Errors
    /// When the device fails.
    fn peak_gops(&self) -> Result<f64>;
}

/// Turns packed sequences into vectors, with its own memory.
pub(crate) trait Worker: Send {
    /// Vectors of length 1 into `out`, one row a sequence, `batch.len() × dimension` values. The vector of a sequence
    /// does not depend on the others in the batch, to the bit.
    ///
    /// # Errors
    /// When the device fails.
    fn encode(&mut self, batch: &PackedBatch, out: &mut Vec<f32>) -> Result<()>;
}

/// Where an encoder runs in the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The device, as [`crate::DeviceChoice`] writes it.
    pub device: String,
    /// Workers that run at the same time: threads of the CPU, streams of a GPU.
    pub workers: usize,
    /// The instruction set of our CPU kernels, where they run it.
    pub instructions: Option<String>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.instructions {
            Some(instructions) => {
                let threads = if self.workers == 1 { "thread" } else { "threads" };
                write!(f, "{}, {} {threads}, {instructions}", self.device, self.workers)
            }
            None => f.write_str(&self.device),
        }
    }
}

/// How a model is loaded.
#[derive(Debug, Clone, Default)]
pub(crate) struct LoadOptions {
    pub(crate) device: Device,
    /// Threads of the CPU; 0 for all cores.
    pub(crate) threads: usize,
}

/// Loads a model's weights onto the device asked for, or the CPU where that cannot be. A pulled model's files are hashed
/// and compared first.
///
/// # Errors
/// When the weights cannot be read, or are not those that were pulled.
pub(crate) fn load(info: &ModelInfo, options: &LoadOptions) -> Result<Arc<dyn Encoder>> {
    crate::store::check_files(&info.folder)?;
    let threads = match options.threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        n => n,
    };
    let hosted = |name: &str| -> Result<Arc<dyn Encoder>> {
        Ok(Arc::new(Plugin::load(info, &options.device.gpu_libraries, name)?))
    };
    let here = |name: &str| -> Result<Arc<dyn Encoder>> { Ok(Arc::new(CandleEncoder::load(info, name)?)) };
    match options.device.open("embedding", hosted, here)? {
        Some(encoder) => Ok(encoder),
        None => Ok(Arc::new(CpuEncoder::load(info, threads)?)),
    }
}
