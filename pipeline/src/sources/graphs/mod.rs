//! Knowledge graphs: everything whose main content is `kg_edges`.

mod hetionet;
mod hpoa;
mod kgx;
mod nodes;
mod primekg;

pub(super) use hetionet::Hetionet;
pub(super) use hpoa::Hpoa;
pub(super) use kgx::Kgx;
pub(super) use primekg::PrimeKg;
