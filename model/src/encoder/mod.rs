//! Encoders: a packed batch of tokens becomes one vector a sequence.

mod candle;
mod cpu;
mod plugin;
mod weights;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

pub(crate) use candle::CandleEncoder;
pub(crate) use cpu::CpuEncoder;
pub use plugin::ABI;
pub(crate) use plugin::Plugin;
pub(crate) use weights::{Embeddings, Names, Tensors};

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

/// Where an encoder runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The first GPU if there is one and its library is at hand, else the CPU.
    #[default]
    Auto,
    /// The CPU, by our kernels.
    Cpu,
    /// The CPU, by candle: slower, for comparison.
    Candle,
    /// An NVIDIA GPU by its number; the CPU, with a line in the log, where it cannot be used.
    Cuda(usize),
    /// The CPU, by candle in the GPU library: to check that library where there is no GPU.
    Hosted,
    /// An Apple GPU; only in a build with the feature `metal`.
    Metal,
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "candle" => Ok(Self::Candle),
            "hosted" => Ok(Self::Hosted),
            "metal" => Ok(Self::Metal),
            "cuda" => Ok(Self::Cuda(0)),
            _ => text
                .strip_prefix("cuda:")
                .and_then(|n| n.parse().ok())
                .map(Self::Cuda)
                .ok_or_else(|| format!("'{text}' is no device; known: auto, cpu, candle, cuda:N, metal")),
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Candle => f.write_str("candle"),
            Self::Cuda(n) => write!(f, "cuda:{n}"),
            Self::Hosted => f.write_str("hosted"),
            Self::Metal => f.write_str("metal"),
        }
    }
}

/// Where an encoder runs in the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The device, as [`DeviceChoice`] writes it.
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
    pub(crate) device: DeviceChoice,
    /// Threads of the CPU; 0 for all cores.
    pub(crate) threads: usize,
    /// Where the GPU library may be, the first that exists.
    pub(crate) gpu_libraries: Vec<PathBuf>,
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
    let cpu = || -> Result<Arc<dyn Encoder>> { Ok(Arc::new(CpuEncoder::load(info, threads)?)) };
    let hosted = |device: &str| Plugin::load(info, &options.gpu_libraries, device);
    let gpu = |n: usize| hosted(&format!("cuda:{n}"));
    match options.device {
        DeviceChoice::Cpu => cpu(),
        DeviceChoice::Candle => Ok(Arc::new(CandleEncoder::load(info, "cpu")?)),
        DeviceChoice::Hosted => Ok(Arc::new(hosted("cpu")?)),
        DeviceChoice::Metal => Ok(Arc::new(CandleEncoder::load(info, "metal")?)),
        DeviceChoice::Cuda(n) => match gpu(n) {
            Ok(encoder) => Ok(Arc::new(encoder)),
            Err(reason) => {
                tracing::warn!(device = %options.device, %reason, "the GPU cannot be used; embedding on the CPU");
                cpu()
            }
        },
        DeviceChoice::Auto => match gpu(0) {
            Ok(encoder) => Ok(Arc::new(encoder)),
            Err(reason) => {
                tracing::debug!(%reason, "no GPU; embedding on the CPU");
                cpu()
            }
        },
    }
}
