//! The encoder's kernels on an NVIDIA GPU.

#![cfg(feature = "cuda")]
#![allow(unsafe_code)]

mod forward;
mod ops;

pub(super) use forward::Fused;
