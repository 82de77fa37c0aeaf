//! The text encoder in training.

use std::ffi::{c_char, c_void};
use std::slice;

use generel_model::hosted::{HostedTape, HostedText, HostedWeights};

use crate::{close, copy, exit, handle, reported};

/// # Safety
/// Pointers are of as many bytes as said; `parameters` can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn generel_text_open(
    model: *const u8,
    model_len: usize,
    device: *const u8,
    device_len: usize,
    parameters: *mut usize,
    message: *mut c_char,
    message_len: usize,
) -> *mut c_void {
    // SAFETY: the caller's promises.
    let opened = unsafe {
        let (model, device) = (slice::from_raw_parts(model, model_len), slice::from_raw_parts(device, device_len));
        reported(message, message_len, || {
            let device = std::str::from_utf8(device).map_err(|e| e.to_string())?;
            // It has gone there and back once: all of CUDA's libraries are loaded.
            let text = HostedText::open(model, device).map_err(|e| e.to_string())?;
            exit::register();
            *parameters = text.parameters();
            Ok(text)
        })
    };
    handle(opened)
}

/// # Safety
/// `text` is of [`generel_text_open`] and not closed; `p` is of `len` floats.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn generel_text_at(
    text: *mut c_void,
    p: *const f32,
    len: usize,
    message: *mut c_char,
    message_len: usize,
) -> *mut c_void {
    // SAFETY: the caller's promises.
    let weights = unsafe {
        let (text, p) = (&*text.cast::<HostedText>(), slice::from_raw_parts(p, len));
        reported(message, message_len, || text.at(p).map_err(|e| e.to_string()))
    };
    handle(weights)
}

/// # Safety
/// `weights` is of [`generel_text_at`] and not closed; `offsets` has `sequences + 1` entries, the last being the number of
/// `ids`; `out` has room for `out_len` floats.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn generel_weights_encode(
    weights: *mut c_void,
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
        let weights = &*weights.cast::<HostedWeights>();
        let offsets = slice::from_raw_parts(offsets, sequences + 1);
        let (ids, out) = (slice::from_raw_parts(ids, offsets[sequences]), slice::from_raw_parts_mut(out, out_len));
        reported(message, message_len, || {
            let vectors = weights.encode(ids, offsets).map_err(|e| e.to_string())?;
            copy(&vectors, out)
        })
    };
    i32::from(done.is_none())
}

/// # Safety
/// As of [`generel_weights_encode`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn generel_weights_forward(
    weights: *mut c_void,
    ids: *const u32,
    offsets: *const usize,
    sequences: usize,
    activations: bool,
    out: *mut f32,
    out_len: usize,
    message: *mut c_char,
    message_len: usize,
) -> *mut c_void {
    // SAFETY: the caller's promises.
    let tape = unsafe {
        let weights = &*weights.cast::<HostedWeights>();
        let offsets = slice::from_raw_parts(offsets, sequences + 1);
        let (ids, out) = (slice::from_raw_parts(ids, offsets[sequences]), slice::from_raw_parts_mut(out, out_len));
        reported(message, message_len, || {
            let (vectors, tape) = weights.forward(ids, offsets, activations).map_err(|e| e.to_string())?;
            copy(&vectors, out)?;
            Ok(tape)
        })
    };
    handle(tape)
}

/// # Safety
/// `tape` is of [`generel_weights_forward`] and not closed; pointers are of as many floats as said.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn generel_tape_backward(
    tape: *mut c_void,
    grad: *const f32,
    grad_len: usize,
    grads: *mut f32,
    grads_len: usize,
    message: *mut c_char,
    message_len: usize,
) -> i32 {
    // SAFETY: the caller's promises.
    let done = unsafe {
        let tape = &mut *tape.cast::<HostedTape>();
        let (grad, grads) = (slice::from_raw_parts(grad, grad_len), slice::from_raw_parts_mut(grads, grads_len));
        reported(message, message_len, || tape.backward(grad, grads).map_err(|e| e.to_string()))
    };
    i32::from(done.is_none())
}

/// # Safety
/// `tape` is of [`generel_weights_forward`] and closed once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn generel_tape_close(tape: *mut c_void) {
    // SAFETY: the caller's promise.
    unsafe { close::<HostedTape>(tape) };
}

/// # Safety
/// `weights` is of [`generel_text_at`] and closed once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn generel_weights_close(weights: *mut c_void) {
    // SAFETY: the caller's promise.
    unsafe { close::<HostedWeights>(weights) };
}

/// # Safety
/// `text` is of [`generel_text_open`] and closed once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn generel_text_close(text: *mut c_void) {
    // SAFETY: the caller's promise.
    unsafe { close::<HostedText>(text) };
}
