//! Numbers from texts: encoders, tokenization, packing, the [`Embedder`], similarity search, and the model store.
//!
//! This crate knows nothing of DataFusion, Delta, Kafka or the command line.

mod embedder;
mod encoder;
mod error;
mod info;
mod pack;
pub mod search;
pub mod store;
mod tokenize;

pub use embedder::{Embedder, EmbedderOptions, Stats, normalize};
pub use error::{Error, Result};
pub use info::{ModelInfo, Pooling};
