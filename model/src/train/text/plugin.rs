//! The encoder behind the functions of the GPU library; see [`crate::device`].

#![allow(unsafe_code)]

use std::ffi::{c_char, c_void};
use std::path::PathBuf;
use std::sync::Arc;

use super::{Passes, Tape, Weights};
use crate::device::{Handle, Library, done};
use crate::pack::PackedBatch;
use crate::{Error, ModelInfo, Result};

/// What a library offers. Handles hold what they are made of: they may be closed in any order.
#[derive(Clone, Copy)]
struct Functions {
    /// Opens a device for a model (JSON of [`ModelInfo`]), and says how many parameters the encoder has: a handle, or NULL
    /// and a message.
    open: unsafe extern "C" fn(
        model: *const u8,
        model_len: usize,
        device: *const u8,
        device_len: usize,
        parameters: *mut usize,
        message: *mut c_char,
        message_len: usize,
    ) -> *mut c_void,
    /// The encoder with these parameters: a handle, or NULL and a message.
    at: unsafe extern "C" fn(
        text: *mut c_void,
        p: *const f32,
        len: usize,
        message: *mut c_char,
        message_len: usize,
    ) -> *mut c_void,
    /// Vectors of sequences: 0, or 1 and a message.
    encode: unsafe extern "C" fn(
        weights: *mut c_void,
        ids: *const u32,
        offsets: *const usize,
        sequences: usize,
        out: *mut f32,
        out_len: usize,
        message: *mut c_char,
        message_len: usize,
    ) -> i32,
    /// The same, and the way back: a handle, or NULL and a message.
    forward: unsafe extern "C" fn(
        weights: *mut c_void,
        ids: *const u32,
        offsets: *const usize,
        sequences: usize,
        activations: bool,
        out: *mut f32,
        out_len: usize,
        message: *mut c_char,
        message_len: usize,
    ) -> *mut c_void,
    /// Adds the gradients of the parameters, once: 0, or 1 and a message.
    backward: unsafe extern "C" fn(
        tape: *mut c_void,
        grad: *const f32,
        grad_len: usize,
        grads: *mut f32,
        grads_len: usize,
        message: *mut c_char,
        message_len: usize,
    ) -> i32,
    close_tape: unsafe extern "C" fn(tape: *mut c_void),
    close_weights: unsafe extern "C" fn(weights: *mut c_void),
    close: unsafe extern "C" fn(text: *mut c_void),
}

/// The encoder in a library.
pub(super) struct PluginText {
    text: Handle,
    opened: Opened,
}

struct PluginWeights {
    weights: Handle,
    opened: Opened,
}

struct PluginTape {
    tape: Handle,
    opened: Opened,
}

/// What all three know.
#[derive(Clone, Copy)]
struct Opened {
    functions: Functions,
    dimension: usize,
    parameters: usize,
}

impl PluginText {
    /// Opens the first library that exists, and a device in it, for a model of so many parameters.
    ///
    /// # Errors
    /// With the reason, when there is no library, it does not open (no driver), or the device does not.
    pub(super) fn load(info: &ModelInfo, parameters: usize, libraries: &[PathBuf], device: &str) -> Result<Self> {
        let library = Library::open(libraries)?;
        // SAFETY: the types are those of model/cuda.
        let functions = unsafe {
            Functions {
                open: library.function("generel_text_open")?,
                at: library.function("generel_text_at")?,
                encode: library.function("generel_weights_encode")?,
                forward: library.function("generel_weights_forward")?,
                backward: library.function("generel_tape_backward")?,
                close_tape: library.function("generel_tape_close")?,
                close_weights: library.function("generel_weights_close")?,
                close: library.function("generel_text_close")?,
            }
        };
        let model = serde_json::to_vec(info).map_err(|e| Error::Training(e.to_string()))?;
        let mut found = 0;
        let text = Handle::new(functions.close, |(message, len)| {
            // SAFETY: pointers and lengths are of live slices.
            unsafe {
                (functions.open)(
                    model.as_ptr(),
                    model.len(),
                    device.as_ptr(),
                    device.len(),
                    &raw mut found,
                    message,
                    len,
                )
            }
        })?;
        if found != parameters {
            return Err(Error::Training(format!("{found} parameters in the GPU library, not {parameters}")));
        }
        tracing::info!(device, library = %library.path().display(), "training on a device");
        Ok(Self { text, opened: Opened { functions, dimension: info.width, parameters } })
    }
}

impl Passes for PluginText {
    fn at(&self, p: &[f32], _back: bool) -> Result<Arc<dyn Weights>> {
        let Self { text, opened } = self;
        let Opened { functions, parameters, .. } = *opened;
        let p = &p[..parameters];
        let weights = Handle::new(functions.close_weights, |(message, len)| {
            // SAFETY: the handle is of these functions; pointer and length are of a live slice.
            unsafe { (functions.at)(text.place(), p.as_ptr(), p.len(), message, len) }
        })?;
        Ok(Arc::new(PluginWeights { weights, opened: *opened }))
    }
}

impl Weights for PluginWeights {
    fn encode(&self, sequences: &[&[u32]]) -> Result<Vec<f32>> {
        let Self { weights, opened } = self;
        let batch = PackedBatch::new(sequences.iter().copied());
        let mut out = vec![0.0; batch.len() * opened.dimension];
        done(|(message, len)| {
            // SAFETY: the handle is of these functions; pointers and lengths are of live slices, `offsets` has one entry
            // more than sequences.
            unsafe {
                (opened.functions.encode)(
                    weights.place(),
                    batch.ids.as_ptr(),
                    batch.offsets.as_ptr(),
                    batch.len(),
                    out.as_mut_ptr(),
                    out.len(),
                    message,
                    len,
                )
            }
        })?;
        Ok(out)
    }

    fn forward(self: Arc<Self>, sequences: &[&[u32]], activations: bool) -> Result<(Vec<f32>, Box<dyn Tape>)> {
        let Self { weights, opened } = &*self;
        let batch = PackedBatch::new(sequences.iter().copied());
        let mut out = vec![0.0; batch.len() * opened.dimension];
        let tape = Handle::new(opened.functions.close_tape, |(message, len)| {
            // SAFETY: as above.
            unsafe {
                (opened.functions.forward)(
                    weights.place(),
                    batch.ids.as_ptr(),
                    batch.offsets.as_ptr(),
                    batch.len(),
                    activations,
                    out.as_mut_ptr(),
                    out.len(),
                    message,
                    len,
                )
            }
        })?;
        Ok((out, Box::new(PluginTape { tape, opened: *opened })))
    }
}

impl Tape for PluginTape {
    fn backward(self: Box<Self>, grad: &[f32], grads: &mut [f32]) -> Result<()> {
        let Self { tape, opened } = *self;
        let grads = &mut grads[..opened.parameters];
        done(|(message, len)| {
            // SAFETY: the handle is of these functions; pointers and lengths are of live slices.
            unsafe {
                (opened.functions.backward)(
                    tape.place(),
                    grad.as_ptr(),
                    grad.len(),
                    grads.as_mut_ptr(),
                    grads.len(),
                    message,
                    len,
                )
            }
        })
    }
}
