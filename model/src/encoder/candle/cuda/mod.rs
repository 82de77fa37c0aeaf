//! An NVIDIA GPU: what it is told once, and the encoder's kernels on it.

#![cfg(feature = "cuda")]
#![allow(unsafe_code)]

mod forward;
mod ops;

pub(super) use forward::Fused;

use candle_core::CudaDevice;
use candle_core::cuda_backend::cudarc::driver::sys;

/// Memory that the driver may keep for us between two batches, in bytes.
const KEPT: u64 = 4 << 30;

/// What takes longer than the kernels themselves otherwise: two events for every buffer, to order streams that share
/// it (ours share none), and a driver that gives all memory back whenever a stream has been waited for.
pub(super) fn set_up(device: &CudaDevice) {
    // SAFETY: a worker's buffers are made and used on its own stream alone.
    unsafe { device.disable_event_tracking() };
    let stream = device.cuda_stream();
    let ordinal = stream.context().cu_device();
    let mut pool = std::ptr::null_mut();
    let mut kept = KEPT;
    let threshold = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
    // SAFETY: both point to what the driver writes and reads; where it refuses, it keeps nothing, as before.
    let refused = unsafe {
        let found = sys::cuDeviceGetDefaultMemPool(&raw mut pool, ordinal);
        found != sys::CUresult::CUDA_SUCCESS
            || sys::cuMemPoolSetAttribute(pool, threshold, (&raw mut kept).cast()) != sys::CUresult::CUDA_SUCCESS
    };
    if refused {
        tracing::debug!("the driver keeps no memory between batches");
    }
}
