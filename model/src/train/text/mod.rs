//! The text encoder in training: vectors of packed sequences, and the gradient of its weights from that of the vectors.

mod attention;
mod cpu;
mod layer;

pub(crate) use cpu::{Packed, Tape, TextEncoder};
