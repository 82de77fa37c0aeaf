//! Numbers from texts: encoders, tokenization, packing, the [`Embedder`], similarity search, and the model store.
//!
//! This crate knows nothing of DataFusion, Delta, Kafka or the command line.

mod config;
mod device;
mod embedder;
mod encoder;
mod error;
pub mod evaluate;
pub mod hosted;
mod info;
mod kernels;
mod pack;
pub mod search;
mod snp;
pub mod store;
mod tokenize;
pub mod train;
mod vector_store;

pub use device::{Device, DeviceChoice};
pub use embedder::{CallStats, Embedder, EmbedderOptions, Stats, normalize};
pub use encoder::Place;
pub use error::{Error, Result};
pub use info::{ModelInfo, Pooling};
pub use kernels::Precision;
pub use snp::{SnpEncoder, SnpOrigin, SnpQuery};
pub use vector_store::{StoreError, Vector, VectorStore};

/// Additions and multiplications a second, in 10⁹, that one core of this CPU does in registers: the ceiling of the
/// encoder's matrix products. Takes some tens of milliseconds.
pub fn peak_gops(precision: Precision) -> f64 {
    kernels::peak_gops(kernels::Isa::detect(), precision)
}
