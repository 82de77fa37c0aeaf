//! Devices of candle's, opened by name.

use candle_core::Device;

use crate::{Error, Result};

/// A device by its name. `cuda_is_available` is true in any build with CUDA, so the device itself is asked.
pub(crate) fn open(device: &str) -> Result<Device> {
    let opened = match device {
        "cpu" => Ok(Device::Cpu),
        "metal" => Device::new_metal(0),
        other => match other.strip_prefix("cuda:").map(str::parse) {
            Some(Ok(ordinal)) => Device::new_cuda_with_stream(ordinal),
            _ => return Err(Error::Device(format!("there is no '{other}'"))),
        },
    };
    let opened = opened.map_err(|e| Error::Device(format!("{device} cannot be opened: {e}")))?;
    #[cfg(feature = "cuda")]
    if let Device::Cuda(device) = &opened {
        cuda::set_up(device);
    }
    Ok(opened)
}

/// What an NVIDIA GPU is told once.
#[cfg(feature = "cuda")]
#[allow(unsafe_code)]
mod cuda {
    use candle_core::CudaDevice;
    use candle_core::cuda_backend::cudarc::driver::sys;

    /// Memory that the driver may keep for us between two batches, in bytes.
    const KEPT: u64 = 4 << 30;

    /// What takes longer than the kernels themselves otherwise: two events for every buffer, to order streams that share
    /// it (ours share none), and a driver that gives all memory back whenever a stream has been waited for.
    pub(super) fn set_up(device: &CudaDevice) {
        // SAFETY: a device has one stream, on which its buffers are made and used.
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
}
