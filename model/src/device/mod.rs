//! Where arithmetic runs: on the CPU by our own kernels, or on a device of candle's, which for a GPU is in a library of its
//! own.

mod candle;
mod library;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

pub(crate) use candle::open;
pub use library::ABI;
pub(crate) use library::{Handle, Library, done};

use crate::{Error, Result};

/// Where encoders, searches and training run.
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

/// A device, and where the library may be that a GPU needs; the first that exists is opened.
#[derive(Debug, Clone, Default)]
pub struct Device {
    /// Which one.
    pub choice: DeviceChoice,
    /// Files.
    pub gpu_libraries: Vec<PathBuf>,
}

impl Device {
    /// Opens something on the device: in the library that hosts it, or here; `None` where our own kernels do the work, by
    /// choice or, with a line in the log on what the CPU does now (`work`), because the GPU cannot be used.
    ///
    /// # Errors
    /// When a device that is no GPU cannot be opened.
    pub(crate) fn open<T>(
        &self,
        work: &str,
        hosted: impl FnOnce(&str) -> Result<T>,
        here: impl FnOnce(&str) -> Result<T>,
    ) -> Result<Option<T>> {
        let gpu = match self.choice {
            DeviceChoice::Cpu => return Ok(None),
            DeviceChoice::Candle => return here("cpu").map(Some),
            DeviceChoice::Hosted => return hosted("cpu").map(Some),
            DeviceChoice::Metal => return here("metal").map(Some),
            // Where nobody has put a library, nobody expects a GPU.
            DeviceChoice::Auto if !self.gpu_libraries.iter().any(|path| path.exists()) => {
                tracing::debug!("no GPU library; {work} on the CPU");
                return Ok(None);
            }
            DeviceChoice::Auto => 0,
            DeviceChoice::Cuda(n) => n,
        };
        let refused = |reason: &Error| tracing::warn!(device = %self.choice, %reason, "the GPU cannot be used; {work} on the CPU");
        Ok(hosted(&format!("cuda:{gpu}")).inspect_err(refused).ok())
    }
}
