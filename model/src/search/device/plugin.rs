//! Rows behind the functions of the GPU library; see [`crate::device`].

#![allow(unsafe_code)]

use std::ffi::{c_char, c_void};
use std::path::PathBuf;
use std::sync::Arc;

use super::{DeviceRows, GROUP, Products};
use crate::Result;
use crate::device::{Handle, Library, done};

/// What a library offers.
#[derive(Clone, Copy)]
#[allow(clippy::struct_field_names)]
struct Functions {
    /// [`super::CandleRows::open`]: a handle, or NULL and a message.
    open: unsafe extern "C" fn(
        device: *const u8,
        device_len: usize,
        rows: *const f32,
        rows_len: usize,
        dimension: usize,
        slack: *mut f32,
        message: *mut c_char,
        message_len: usize,
    ) -> *mut c_void,
    /// [`super::CandleRows::multiply`]: a handle of the products, or NULL and a message.
    multiply: unsafe extern "C" fn(
        rows: *mut c_void,
        block: usize,
        queries: *const f32,
        queries_len: usize,
        greatest: *mut f32,
        greatest_len: usize,
        message: *mut c_char,
        message_len: usize,
    ) -> *mut c_void,
    /// [`super::CandleProducts::of_groups`]: 0, or 1 and a message.
    of_groups: unsafe extern "C" fn(
        products: *mut c_void,
        some: *const u32,
        some_len: usize,
        out: *mut f32,
        out_len: usize,
        message: *mut c_char,
        message_len: usize,
    ) -> i32,
    close_products: unsafe extern "C" fn(products: *mut c_void),
    close: unsafe extern "C" fn(rows: *mut c_void),
}

/// Rows behind the functions of a library.
#[derive(Debug)]
pub(super) struct PluginRows(Arc<Opened>);

struct Opened {
    functions: Functions,
    handle: Handle,
    dimension: usize,
    slack: f32,
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened").field("dimension", &self.dimension).finish_non_exhaustive()
    }
}

impl PluginRows {
    /// Copies rows to a device of the first library that exists.
    ///
    /// # Errors
    /// With the reason, when the library or the device does not open or has no room.
    pub(super) fn open(
        libraries: &[PathBuf],
        device: &str,
        rows: &dyn Fn() -> Vec<f32>,
        dimension: usize,
    ) -> Result<Self> {
        let library = Library::open(libraries)?;
        // SAFETY: the types are those of model/cuda.
        let functions = unsafe {
            Functions {
                open: library.function("generel_rows_open")?,
                multiply: library.function("generel_rows_multiply")?,
                of_groups: library.function("generel_products_of_groups")?,
                close_products: library.function("generel_products_close")?,
                close: library.function("generel_rows_close")?,
            }
        };
        let rows = rows();
        let mut slack = 0.0;
        let handle = Handle::new(functions.close, |(message, len)| {
            let name = device.as_bytes();
            // SAFETY: pointers and lengths are of live slices.
            unsafe {
                (functions.open)(
                    name.as_ptr(),
                    name.len(),
                    rows.as_ptr(),
                    rows.len(),
                    dimension,
                    &raw mut slack,
                    message,
                    len,
                )
            }
        })?;
        tracing::info!(device, rows = rows.len() / dimension.max(1), library = %library.path().display(), "searching on the GPU");
        Ok(Self(Arc::new(Opened { functions, handle, dimension, slack })))
    }
}

impl DeviceRows for PluginRows {
    fn slack(&self) -> f32 {
        self.0.slack
    }

    fn multiply(&self, block: usize, queries: &[f32], groups: usize) -> Result<(Box<dyn Products>, Vec<f32>)> {
        let rows = Arc::clone(&self.0);
        let mut greatest = vec![0f32; queries.len() / rows.dimension * groups];
        let handle = Handle::new(rows.functions.close_products, |(message, len)| {
            // SAFETY: the handle is of these functions; pointers and lengths are of live slices.
            unsafe {
                (rows.functions.multiply)(
                    rows.handle.place(),
                    block,
                    queries.as_ptr(),
                    queries.len(),
                    greatest.as_mut_ptr(),
                    greatest.len(),
                    message,
                    len,
                )
            }
        })?;
        Ok((Box::new(PluginProducts { handle, rows }), greatest))
    }
}

struct PluginProducts {
    /// Closed before the rows.
    handle: Handle,
    rows: Arc<Opened>,
}

impl Products for PluginProducts {
    fn of_groups(&self, some: &[u32]) -> Result<Vec<f32>> {
        let mut out = vec![0f32; some.len() * GROUP];
        done(|(message, len)| {
            // SAFETY: the handle is of these functions; pointers and lengths are of live slices.
            unsafe {
                (self.rows.functions.of_groups)(
                    self.handle.place(),
                    some.as_ptr(),
                    some.len(),
                    out.as_mut_ptr(),
                    out.len(),
                    message,
                    len,
                )
            }
        })?;
        Ok(out)
    }
}
