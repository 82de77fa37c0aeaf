//! SNPs in the texts' space: `embed_snp`, the table of a model's SNPs, and what is near to what.

pub(crate) mod embed_snp;
pub(crate) mod functions;
mod table;
