//! SNPs in the texts' space: a trained embedding of each SNP that was seen, and an inductive part (genes, place,
//! consequence) that others have too.

mod encoder;
mod facts;
mod network;
mod table;

pub use encoder::{SnpEncoder, SnpOrigin, SnpQuery};
pub(crate) use facts::Facts;
pub(crate) use network::{EMBEDDING, HIDDEN, Inputs, Network, inputs, matrix, unit};
pub(crate) use table::{FILE, Table};
