//! An encoder behind the functions of the GPU library; see [`crate::device`].

#![allow(unsafe_code)]

use std::ffi::{c_char, c_void};
use std::path::PathBuf;
use std::sync::Arc;

use super::{Encoder, Place, Worker};
use crate::device::{Handle, Library, done};
use crate::pack::PackedBatch;
use crate::{Error, ModelInfo, Result};

/// What a library offers.
#[derive(Clone, Copy)]
#[allow(clippy::struct_field_names)]
struct Functions {
    /// Opens a device for a model (JSON of [`ModelInfo`]): a handle, or NULL and a message.
    open: unsafe extern "C" fn(
        model: *const u8,
        model_len: usize,
        device: *const u8,
        device_len: usize,
        workers: *mut usize,
        batch_tokens: *mut usize,
        message: *mut c_char,
        message_len: usize,
    ) -> *mut c_void,
    /// A worker of it: a handle, or NULL and a message.
    worker: unsafe extern "C" fn(encoder: *mut c_void, message: *mut c_char, message_len: usize) -> *mut c_void,
    /// Encodes a batch: 0, or 1 and a message.
    encode: unsafe extern "C" fn(
        worker: *mut c_void,
        ids: *const u32,
        offsets: *const usize,
        sequences: usize,
        out: *mut f32,
        out_len: usize,
        message: *mut c_char,
        message_len: usize,
    ) -> i32,
    /// What the device can do, in 10⁹ operations a second: 0, or 1 and a message.
    peak: unsafe extern "C" fn(encoder: *mut c_void, gops: *mut f64, message: *mut c_char, message_len: usize) -> i32,
    close_worker: unsafe extern "C" fn(worker: *mut c_void),
    close: unsafe extern "C" fn(encoder: *mut c_void),
}

/// An encoder behind the functions of a library.
pub(crate) struct Plugin {
    inner: Arc<Opened>,
    device: String,
    workers: usize,
    batch_tokens: usize,
}

struct Opened {
    functions: Functions,
    handle: Handle,
    dimension: usize,
}

impl Plugin {
    /// Opens the first library that exists, and a device in it.
    ///
    /// # Errors
    /// With the reason, when there is no library, it does not open (no driver), or the device does not.
    pub(crate) fn load(info: &ModelInfo, libraries: &[PathBuf], device: &str) -> Result<Self> {
        let library = Library::open(libraries)?;
        // SAFETY: the types are those of model/cuda.
        let functions = unsafe {
            Functions {
                open: library.function("generel_encoder_open")?,
                worker: library.function("generel_encoder_worker")?,
                encode: library.function("generel_worker_encode")?,
                peak: library.function("generel_encoder_peak")?,
                close_worker: library.function("generel_worker_close")?,
                close: library.function("generel_encoder_close")?,
            }
        };
        let model = serde_json::to_vec(info).map_err(|e| Error::Encoder(e.to_string()))?;
        let (mut workers, mut batch_tokens) = (0, 0);
        let handle = Handle::new(functions.close, |(message, len)| {
            // SAFETY: pointers and lengths are of live slices.
            unsafe {
                (functions.open)(
                    model.as_ptr(),
                    model.len(),
                    device.as_ptr(),
                    device.len(),
                    &raw mut workers,
                    &raw mut batch_tokens,
                    message,
                    len,
                )
            }
        })?;
        tracing::info!(device, workers, library = %library.path().display(), "embedding on the GPU");
        let inner = Opened { functions, handle, dimension: info.width };
        Ok(Self { inner: Arc::new(inner), device: device.to_string(), workers, batch_tokens })
    }
}

impl Encoder for Plugin {
    fn place(&self) -> Place {
        Place { device: self.device.clone(), workers: self.workers(), instructions: None }
    }

    fn workers(&self) -> usize {
        self.workers.max(1)
    }

    fn batch_tokens(&self) -> usize {
        self.batch_tokens
    }

    fn worker(&self) -> Result<Box<dyn Worker>> {
        let encoder = self.inner.clone();
        let handle = Handle::new(encoder.functions.close_worker, |(message, len)| {
            // SAFETY: the handle is of these functions.
            unsafe { (encoder.functions.worker)(encoder.handle.place(), message, len) }
        })?;
        Ok(Box::new(PluginWorker { handle, encoder }))
    }

    fn peak_gops(&self) -> Result<f64> {
        let mut gops = 0.0;
        done(|(message, len)| {
            // SAFETY: the handle is of these functions, and the number is written before they return.
            unsafe { (self.inner.functions.peak)(self.inner.handle.place(), &raw mut gops, message, len) }
        })?;
        Ok(gops)
    }
}

struct PluginWorker {
    /// Closed before the encoder.
    handle: Handle,
    encoder: Arc<Opened>,
}

impl Worker for PluginWorker {
    fn encode(&mut self, batch: &PackedBatch, out: &mut Vec<f32>) -> Result<()> {
        out.clear();
        out.resize(batch.len() * self.encoder.dimension, 0.0);
        done(|(message, len)| {
            // SAFETY: pointers and lengths are of live slices; `offsets` has one entry more than sequences.
            unsafe {
                (self.encoder.functions.encode)(
                    self.handle.place(),
                    batch.ids.as_ptr(),
                    batch.offsets.as_ptr(),
                    batch.len(),
                    out.as_mut_ptr(),
                    out.len(),
                    message,
                    len,
                )
            }
        })
    }
}
