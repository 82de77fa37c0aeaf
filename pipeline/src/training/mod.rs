//! Training data from the lake: pairs of texts and SNPs that belong together, split so that what is measured later was
//! never seen.
//!
//! [`prepare`] gathers names, relations and variants by SQL, puts texts that mean the same into clusters, and gives every pair a
//! [`Split`] by hashes alone: the same lake and options give the same pairs. [`leakage::check`] looks at the result from
//! outside. [`files`] keep it beside a run.

mod clusters;
pub mod evaluate;
pub mod files;
mod gather;
pub mod leakage;
mod pairs;
mod snp_pairs;
mod variants;

pub use clusters::{joins, key};
pub use pairs::{Kind, Origin, Pair, Pairs, Split, Variant};

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use generel_schemas::tables::{CONCEPT_NAMES, CONCEPTS, GWAS_ASSOCIATIONS, KG_EDGES};

use crate::{Result, Session};

/// What goes into the data, and what is held out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DataOptions {
    /// Decides what is held out.
    pub seed: u64,
    /// Sources of names, relations, variants and patients; all of the lake's where empty.
    pub sources: Vec<String>,
    /// Weight of relations by predicate; the others have 1, those with 0 are left out.
    pub predicates: BTreeMap<String, f32>,
    /// Share of the concepts that no pair of the training has, under any of their names.
    pub held_out_concepts: f64,
    /// Share of the relations that are held out though both sides are seen.
    pub held_out_pairs: f64,
    /// Share of the associations, of SNPs that have several, that are held out; one of each SNP's never is.
    pub held_out_associations: f64,
    /// Share of the SNPs that are not seen.
    pub held_out_snps: f64,
    /// Bases within which of a trait's SNPs only the strongest is trained on: neighbours tell of each other.
    pub ld_window: u32,
    /// Associations weaker than this −log10 p are left out.
    pub min_neg_log_10_p: f64,
}

impl Default for DataOptions {
    fn default() -> Self {
        Self {
            seed: 1,
            sources: Vec::new(),
            predicates: BTreeMap::new(),
            held_out_concepts: 0.05,
            held_out_pairs: 0.1,
            held_out_associations: 0.2,
            held_out_snps: 0.1,
            ld_window: 250_000,
            min_neg_log_10_p: 5.0,
        }
    }
}

/// Gathers the pairs of a lake and splits them.
///
/// # Errors
/// When a table cannot be read.
pub async fn prepare(session: &Session, options: &DataOptions) -> Result<Pairs> {
    let gathered = gather::gather(session, options).await?;
    let clusters = clusters::Clusters::new(&gathered);
    let mut pairs = pairs::build(&gathered, &clusters, options);
    for table in [&CONCEPTS, &CONCEPT_NAMES, &KG_EDGES, &GWAS_ASSOCIATIONS] {
        if let Some(version) = session.lake.table(table).await?.and_then(|table| table.version()) {
            pairs.origin.tables.insert(table.name.to_string(), version);
        }
    }
    Ok(pairs)
}

/// How many pairs each kind, relation and split has.
pub fn counts(pairs: &Pairs) -> Vec<(Kind, Split, usize)> {
    let mut counts: HashMap<(Kind, Split), usize> = HashMap::new();
    for pair in &pairs.pairs {
        *counts.entry((pair.kind, pair.split)).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().map(|((kind, split), n)| (kind, split, n)).collect();
    counts.sort();
    counts
}
