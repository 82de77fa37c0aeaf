//! The text encoder in training: vectors of packed sequences, and the gradient of its weights from that of the vectors.
//!
//! By our own kernels on the CPU (`cpu`), by candle on a device (`candle`), or by candle in the GPU library (`plugin`): all
//! three take and give the same flat parameters (`layout`), so that the optimizer, checkpoints and resuming are the same.

mod candle;
mod cpu;
mod layout;
mod pieces;
mod plugin;

use std::sync::Arc;

pub(crate) use candle::CandleText;

use self::cpu::CpuText;
use self::layout::Layout;
use self::plugin::PluginText;
use super::parameters::Parameters;
use crate::device::Device;
use crate::{ModelInfo, Precision, Result};

/// A BERT-like encoder whose layers are trained; its token and position embeddings stay as they are.
pub(crate) struct TextEncoder {
    dimension: usize,
    device: String,
    passes: Box<dyn Passes>,
}

/// Where the encoder is computed.
pub(crate) trait Passes: Send + Sync {
    /// The encoder with the weights of these parameters, which begin with those of the texts; `back` for a way back, too.
    ///
    /// # Errors
    /// When the device has no room for them.
    fn at(&self, p: &[f32], back: bool) -> Result<Arc<dyn Weights>>;
}

/// The encoder with its weights as they are at one step.
pub(crate) trait Weights: Send + Sync {
    /// Vectors of length 1 of sequences, `[sequences, dimension]`.
    ///
    /// # Errors
    /// When the device fails.
    fn encode(&self, sequences: &[&[u32]]) -> Result<Vec<f32>>;

    /// The same vectors, and the way back: with all activations, or with none, so that it computes them again.
    ///
    /// # Errors
    /// When the device fails.
    fn forward(self: Arc<Self>, sequences: &[&[u32]], activations: bool) -> Result<(Vec<f32>, Box<dyn Tape>)>;
}

/// A batch on its way back.
pub(crate) trait Tape: Send + Sync {
    /// Adds the gradients of the parameters to `grads`, from those of the vectors, `[sequences, dimension]`.
    ///
    /// # Errors
    /// When the device fails.
    fn backward(self: Box<Self>, grad: &[f32], grads: &mut [f32]) -> Result<()>;
}

impl TextEncoder {
    /// Reads a model's weights: those of the layers go to the parameters, under the names that they have in the file.
    ///
    /// # Errors
    /// When the model is not of the BERT or RoBERTa family with GELU, its weights cannot be read, or the device cannot be opened.
    pub(crate) fn load(
        info: &ModelInfo,
        precision: Precision,
        device: &Device,
        parameters: &mut Parameters,
    ) -> Result<Self> {
        let layout = Layout::read(info, parameters)?;
        let (dimension, len) = (layout.config.hidden, layout.parameters);
        let info = info.clone().with_precision(Some(precision));
        let hosted = |name: &str| -> Result<(String, Box<dyn Passes>)> {
            let label = if name == "cpu" { "hosted" } else { name };
            Ok((label.to_string(), Box::new(PluginText::load(&info, len, &device.gpu_libraries, name)?)))
        };
        let here = |name: &str| -> Result<(String, Box<dyn Passes>)> {
            let label = if name == "cpu" { "candle" } else { name };
            Ok((label.to_string(), Box::new(CandleText::load(&info, name)?)))
        };
        let (device, passes) = match device.open("training", hosted, here)? {
            Some(opened) => opened,
            None => ("cpu".to_string(), Box::new(CpuText::new(layout, precision)) as Box<dyn Passes>),
        };
        Ok(Self { dimension, device, passes })
    }

    /// Components of a vector.
    pub(crate) fn dimension(&self) -> usize {
        self.dimension
    }

    /// Where it runs in the end.
    pub(crate) fn device(&self) -> &str {
        &self.device
    }

    /// As [`Passes::at`].
    ///
    /// # Errors
    /// As of [`Passes::at`].
    pub(crate) fn at(&self, p: &[f32], back: bool) -> Result<Arc<dyn Weights>> {
        self.passes.at(p, back)
    }
}

#[cfg(test)]
mod tests;
