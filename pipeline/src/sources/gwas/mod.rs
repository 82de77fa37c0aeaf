//! Genetics: everything that becomes `gwas_associations`.

mod catalog;
mod cells;
mod columns;
mod dialects;
mod metadata;
mod reference;
#[cfg(test)]
mod roundtrip;
mod sample;
mod sumstats;
mod values;
mod vcf;

pub(super) use catalog::GwasCatalog;
pub(super) use dialects::*;
pub(super) use vcf::GwasVcf;
