//! `generel_cuda`: candle behind C functions. `plugin.rs` in `model/src/encoder`, `model/src/search/device` and
//! `model/src/train/text` say what each does and call them; nobody else should.

#![allow(unsafe_code)]

mod exit;
mod train;

use std::ffi::{c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::slice;
use std::sync::Once;

use generel_model::hosted::{ABI, HostedEncoder, HostedProducts, HostedRows, HostedWorker};

/// Runs a call; writes what went wrong, cut to fit and ended by 0.
///
/// # Safety
/// `message` has room for `len` bytes.
unsafe fn reported<T>(message: *mut c_char, len: usize, call: impl FnOnce() -> Result<T, String>) -> Option<T> {
    let result = match exit::begin() {
        Some(_running) => {
            catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|_| Err("the GPU library panicked".into()))
        }
        None => Err("the process is ending".into()),
    };
    let text = match result {
        Ok(value) => return Some(value),
        Err(text) => text,
    };
    let n = text.len().min(len.saturating_sub(1));
    if len > 0 {
        // SAFETY: n + 1 ≤ len.
        unsafe {
            std::ptr::copy_nonoverlapping(text.as_ptr(), message.cast(), n);
            *message.add(n) = 0;
        }
    }
    None
}

fn copy(values: &[f32], out: &mut [f32]) -> Result<(), String> {
    if values.len() != out.len() {
        return Err(format!("{} values for room of {}", values.len(), out.len()));
    }
    out.copy_from_slice(values);
    Ok(())
}

/// A handle of what a call has made; NULL where it has made nothing.
fn handle<T>(made: Option<T>) -> *mut c_void {
    made.map_or(std::ptr::null_mut(), |made| Box::into_raw(Box::new(made)).cast())
}

/// Drops what a handle stands for, unless the process is ending.
///
/// # Safety
/// `handle` was made of a box of `T`, and is closed once.
unsafe fn close<T>(handle: *mut c_void) {
    if let Some(_running) = exit::begin() {
        // SAFETY: the caller's promise.
        drop(unsafe { Box::from_raw(handle.cast::<T>()) });
    }
}

/// Version of these functions.
#[unsafe(no_mangle)]
pub extern "C" fn generel_abi() -> u32 {
    ABI
}

/// # Safety
/// Pointers are of as many bytes as said; `workers` and `batch_tokens` can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn generel_encoder_open(
    model: *const u8,
    model_len: usize,
    device: *const u8,
    device_len: usize,
    workers: *mut usize,
    batch_tokens: *mut usize,
    message: *mut c_char,
    message_len: usize,
) -> *mut c_void {
    // SAFETY: the caller's promises.
    let opened = unsafe {
        let (model, device) = (slice::from_raw_parts(model, model_len), slice::from_raw_parts(device, device_len));
        reported(message, message_len, || {
            let device = std::str::from_utf8(device).map_err(|e| e.to_string())?;
            let encoder = HostedEncoder::open(model, device).map_err(|e| e.to_string())?;
            exit::register();
            Ok(encoder)
        })
    };
    let Some(encoder) = opened else { return std::ptr::null_mut() };
    // SAFETY: as above.
    unsafe {
        *workers = encoder.workers();
        *batch_tokens = encoder.batch_tokens();
    }
    Box::into_raw(Box::new(encoder)).cast()
}

/// # Safety
/// `encoder` is of [`generel_encoder_open`] and not closed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn generel_encoder_worker(
    encoder: *mut c_void,
    message: *mut c_char,
    message_len: usize,
) -> *mut c_void {
    // SAFETY: the caller's promises.
    let worker = unsafe {
        let encoder = &*encoder.cast::<HostedEncoder>();
        reported(message, message_len, || {
            let worker = encoder.worker().map_err(|e| e.to_string())?;
            exit::register();
            Ok(worker)
        })
    };
    handle(worker)
}

/// # Safety
/// `encoder` is of [`generel_encoder_open`] and not closed; `gops` can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn generel_encoder_peak(
    encoder: *mut c_void,
    gops: *mut f64,
    message: *mut c_char,
    message_len: usize,
) -> i32 {
    // SAFETY: the caller's promises.
    let done = unsafe {
        let encoder = &*encoder.cast::<HostedEncoder>();
        reported(message, message_len, || {
            *gops = encoder.peak_gops().map_err(|e| e.to_string())?;
            exit::register();
            Ok(())
        })
    };
    i32::from(done.is_none())
}

/// # Safety
/// `worker` is of [`generel_encoder_worker`], not closed, and used by no other thread; `offsets` has `sequences + 1`
/// entries, the last being the number of `ids`; `out` has room for `out_len` floats.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn generel_worker_encode(
    worker: *mut c_void,
    ids: *const u32,
    offsets: *const usize,
    sequences: usize,
    out: *mut f32,
    out_len: usize,
    message: *mut c_char,
    message_len: usize,
) -> i32 {
    // SAFETY: the caller's promises.
    let done = unsafe {
        let worker = &mut *worker.cast::<HostedWorker>();
        let offsets = slice::from_raw_parts(offsets, sequences + 1);
        let ids = slice::from_raw_parts(ids, offsets[sequences]);
        let out = slice::from_raw_parts_mut(out, out_len);
        reported(message, message_len, || copy(worker.encode(ids, offsets).map_err(|e| e.to_string())?, out))
    };
    i32::from(done.is_none())
}

/// # Safety
/// `worker` is of [`generel_encoder_worker`] and closed once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn generel_worker_close(worker: *mut c_void) {
    // SAFETY: the caller's promise.
    unsafe { close::<HostedWorker>(worker) };
}

/// # Safety
/// `encoder` is of [`generel_encoder_open`], its workers are closed, and it is closed once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn generel_encoder_close(encoder: *mut c_void) {
    // SAFETY: the caller's promise.
    unsafe { close::<HostedEncoder>(encoder) };
}

/// # Safety
/// Pointers are of as many bytes or floats as said; `slack` can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn generel_rows_open(
    device: *const u8,
    device_len: usize,
    rows: *const f32,
    rows_len: usize,
    dimension: usize,
    slack: *mut f32,
    message: *mut c_char,
    message_len: usize,
) -> *mut c_void {
    // SAFETY: the caller's promises.
    let opened = unsafe {
        let (device, rows) = (slice::from_raw_parts(device, device_len), slice::from_raw_parts(rows, rows_len));
        reported(message, message_len, || {
            let device = std::str::from_utf8(device).map_err(|e| e.to_string())?;
            let rows = HostedRows::open(device, rows, dimension).map_err(|e| e.to_string())?;
            exit::register();
            *slack = rows.slack();
            Ok(rows)
        })
    };
    handle(opened)
}

/// # Safety
/// `rows` is of [`generel_rows_open`] and not closed; pointers are of as many floats as said.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn generel_rows_multiply(
    rows: *mut c_void,
    block: usize,
    queries: *const f32,
    queries_len: usize,
    greatest: *mut f32,
    greatest_len: usize,
    message: *mut c_char,
    message_len: usize,
) -> *mut c_void {
    // SAFETY: the caller's promises.
    let products = unsafe {
        let rows = &*rows.cast::<HostedRows>();
        let queries = slice::from_raw_parts(queries, queries_len);
        let out = slice::from_raw_parts_mut(greatest, greatest_len);
        reported(message, message_len, || {
            let (products, greatest) = rows.multiply(block, queries).map_err(|e| e.to_string())?;
            // The first product is what cuBLAS is loaded by.
            static MULTIPLIED: Once = Once::new();
            MULTIPLIED.call_once(exit::register);
            copy(&greatest, out)?;
            Ok(products)
        })
    };
    handle(products)
}

/// # Safety
/// `products` is of [`generel_rows_multiply`] and not closed; pointers are of as many numbers as said.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn generel_products_of_groups(
    products: *mut c_void,
    some: *const u32,
    some_len: usize,
    out: *mut f32,
    out_len: usize,
    message: *mut c_char,
    message_len: usize,
) -> i32 {
    // SAFETY: the caller's promises.
    let done = unsafe {
        let products = &*products.cast::<HostedProducts>();
        let some = slice::from_raw_parts(some, some_len);
        let out = slice::from_raw_parts_mut(out, out_len);
        reported(message, message_len, || copy(&products.of_groups(some).map_err(|e| e.to_string())?, out))
    };
    i32::from(done.is_none())
}

/// # Safety
/// `products` is of [`generel_rows_multiply`] and closed once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn generel_products_close(products: *mut c_void) {
    // SAFETY: the caller's promise.
    unsafe { close::<HostedProducts>(products) };
}

/// # Safety
/// `rows` is of [`generel_rows_open`], and it is closed once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn generel_rows_close(rows: *mut c_void) {
    // SAFETY: the caller's promise.
    unsafe { close::<HostedRows>(rows) };
}
