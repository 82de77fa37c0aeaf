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

use crate::{Error, Lake, Result, Session};

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

impl DataOptions {
    /// Whether data can be made by these options.
    ///
    /// # Errors
    /// When a share is none, or a weight is negative.
    pub fn check(&self) -> Result<()> {
        for (name, share) in [
            ("held_out_concepts", self.held_out_concepts),
            ("held_out_pairs", self.held_out_pairs),
            ("held_out_associations", self.held_out_associations),
            ("held_out_snps", self.held_out_snps),
        ] {
            if !(0.0..1.0).contains(&share) {
                return Err(Error::Invalid(format!("data.{name} must be 0 or more and below 1, not {share}")));
            }
        }
        if let Some((name, weight)) =
            self.predicates.iter().find(|(_, weight)| !(**weight >= 0.0 && weight.is_finite()))
        {
            return Err(Error::Invalid(format!(
                "data.predicates: the weight of {name} must be 0 or more, not {weight}"
            )));
        }
        let p = self.min_neg_log_10_p;
        if p < 0.0 || p.is_nan() {
            return Err(Error::Invalid(format!("data.min_neg_log_10_p must be 0 or more, not {p}")));
        }
        Ok(())
    }
}

/// Versions of the lake's tables that data is made of.
///
/// # Errors
/// When a table cannot be read.
pub async fn versions(lake: &Lake) -> Result<BTreeMap<String, u64>> {
    let mut versions = BTreeMap::new();
    for table in [&CONCEPTS, &CONCEPT_NAMES, &KG_EDGES, &GWAS_ASSOCIATIONS] {
        if let Some(version) = lake.table(table).await?.and_then(|table| table.version()) {
            versions.insert(table.name.to_string(), version);
        }
    }
    Ok(versions)
}

/// Gathers the pairs of a lake and splits them.
///
/// # Errors
/// When the options are none to make data by, name a source or predicate that the lake has not, or a table cannot be read.
pub async fn prepare(session: &Session, options: &DataOptions) -> Result<Pairs> {
    options.check()?;
    gather::check(session, options).await?;
    let gathered = gather::gather(session, options).await?;
    let clusters = clusters::Clusters::new(&gathered);
    let mut pairs = pairs::build(&gathered, &clusters, options);
    pairs.origin.tables = versions(&session.lake).await?;
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
