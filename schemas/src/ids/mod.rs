//! Identifiers: CURIEs, rsIDs, chromosomes, alleles. Each parses, displays and round-trips.

mod allele;
mod chromosome;
mod curie;
mod rsid;

pub use allele::normalize_allele;
pub use chromosome::Chromosome;
pub use curie::{Curie, PREFIXES, Prefix, code_curie, known, source_curie};
pub use rsid::Rsid;
