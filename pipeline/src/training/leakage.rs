//! Whether anything that is measured was seen in training, found out from the pairs alone.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::clusters::key;
use super::pairs::{Kind, Pair, Pairs, Split, unordered};
use crate::{Error, Result};

/// What was compared.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// Pairs trained on.
    pub trained: usize,
    /// Pairs held out.
    pub held_out: usize,
    /// Names of concepts held out, none of which is in a pair trained on.
    pub names: usize,
    /// Clusters of concepts held out with several names, none of which is in a pair trained on under any name.
    pub concepts: usize,
    /// SNPs held out, none of which is in a pair trained on.
    pub snps: usize,
    /// Pairs held out though both sides are seen: none is trained on, in either direction or under another name.
    pub pairs: usize,
}

/// Leaks that an error shows.
const SHOWN: usize = 5;

/// Compares what is held out with what is trained on.
///
/// # Errors
/// [`Error::Leak`] with the first leaks.
pub fn check(pairs: &Pairs) -> Result<Checked> {
    let (trained, rest): (Vec<&Pair>, Vec<&Pair>) = pairs.pairs.iter().partition(|p| p.split == Split::Train);
    let held_out: Vec<&Pair> = rest.into_iter().filter(|p| p.split != Split::Thinned).collect();
    let mut leaks = Vec::new();
    let mut leak = |pair: &Pair, why: &str| {
        leaks.push(format!("{} – {} ({}, {}): {why}", pair.left, pair.right, pair.kind.as_str(), pair.source))
    };

    // Every text of a concept that is held out, also those that only its own pairs have.
    let mut names: HashSet<String> = pairs.held_out_keys.iter().cloned().collect();
    for pair in held_out.iter().filter(|p| p.split == Split::HeldOutConcept && p.kind == Kind::Synonym) {
        names.extend([key(&pair.left), key(&pair.right)]);
    }
    let snps: HashSet<&str> =
        held_out.iter().filter(|p| p.split == Split::HeldOutSnp).map(|p| p.left.as_str()).collect();
    let texts = |pair: &Pair| unordered(key(&pair.left), key(&pair.right));
    let clusters = |pair: &Pair| unordered(pair.left_cluster, pair.right_cluster);
    // Under names, too, that only the pairs trained on have.
    let concepts: HashSet<u32> = held_out
        .iter()
        .filter(|p| p.split == Split::HeldOutConcept && p.kind == Kind::Synonym)
        .map(|p| p.left_cluster)
        .collect();
    let mut seen_texts: HashSet<(String, String)> = HashSet::new();
    let mut seen_clusters: HashSet<(u32, u32)> = HashSet::new();
    let mut seen_snps: HashSet<(&str, String)> = HashSet::new();
    let mut seen_snp_clusters: HashSet<(&str, u32)> = HashSet::new();
    for pair in &trained {
        if names.contains(&key(&pair.right)) || !pair.kind.is_snp() && names.contains(&key(&pair.left)) {
            leak(pair, "is trained on, but has a name of a concept held out");
        } else if pair.kind != Kind::SnpGene && concepts.contains(&pair.right_cluster)
            || !pair.kind.is_snp() && concepts.contains(&pair.left_cluster)
        {
            leak(pair, "is trained on, but is of a concept held out");
        }
        if pair.kind.is_snp() {
            if snps.contains(pair.left.as_str()) {
                leak(pair, "is trained on, but its SNP is held out");
            }
            seen_snps.insert((&pair.left, key(&pair.right)));
            if pair.kind == Kind::SnpTrait {
                seen_snp_clusters.insert((&pair.left, pair.right_cluster));
            }
        } else {
            seen_texts.insert(texts(pair));
            if pair.left_cluster != pair.right_cluster {
                seen_clusters.insert(clusters(pair));
            }
        }
    }
    let mut apart = 0;
    for pair in held_out.iter().filter(|p| p.split == Split::HeldOutPair) {
        apart += 1;
        let seen = if pair.kind.is_snp() {
            seen_snps.contains(&(pair.left.as_str(), key(&pair.right)))
                || seen_snp_clusters.contains(&(pair.left.as_str(), pair.right_cluster))
        } else {
            seen_texts.contains(&texts(pair)) || seen_clusters.contains(&clusters(pair))
        };
        if seen {
            leak(pair, "is held out, but trained on under these or other names");
        }
    }
    if !leaks.is_empty() {
        let first = leaks.iter().take(SHOWN).cloned().collect::<Vec<_>>().join("\n  ");
        return Err(Error::Leak { leaks: leaks.len(), first });
    }
    Ok(Checked {
        trained: trained.len(),
        held_out: held_out.len(),
        names: names.len(),
        concepts: concepts.len(),
        snps: snps.len(),
        pairs: apart,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clean() -> Vec<Pair> {
        vec![
            Pair::of(Kind::Synonym, ("heart attack", 1), ("myocardial infarction", 1), Split::Train),
            Pair::of(Kind::Relation, ("asthma", 2), ("wheezing", 3), Split::HeldOutPair),
            Pair::of(Kind::Relation, ("asthma", 2), ("cough", 4), Split::Train),
            Pair::of(Kind::Synonym, ("acne", 5), ("acne vulgaris", 5), Split::HeldOutConcept),
            Pair::of(Kind::SnpTrait, ("rs1", 0), ("asthma", 2), Split::Train),
            Pair::of(Kind::SnpTrait, ("rs2", 0), ("asthma", 2), Split::HeldOutSnp),
            Pair::of(Kind::SnpTrait, ("rs1", 0), ("cough", 4), Split::HeldOutPair),
        ]
    }

    fn checked(planted: Option<Pair>) -> Result<Checked> {
        let pairs = clean().into_iter().chain(planted).collect();
        check(&Pairs { pairs, ..Pairs::default() })
    }

    #[test]
    fn clean_pairs_pass() {
        let checked = checked(None).unwrap();
        assert_eq!(checked, Checked { trained: 3, held_out: 4, names: 2, concepts: 1, snps: 1, pairs: 2 });
    }

    #[test]
    fn a_planted_leak_is_found_in_any_direction_and_through_a_synonym() {
        let planted = [
            ("turned round", Pair::of(Kind::Relation, ("Wheezing", 3), ("Asthma", 2), Split::Train)),
            ("under other names", Pair::of(Kind::Relation, ("bronchial asthma", 2), ("wheeze", 3), Split::Train)),
            ("a name held out", Pair::of(Kind::Relation, ("Acne vulgaris", 9), ("skin", 8), Split::Train)),
            (
                "another name of a concept held out",
                Pair::of(Kind::Hierarchy, ("pimples", 5), ("skin", 8), Split::Train),
            ),
            ("a trait held out", Pair::of(Kind::SnpTrait, ("rs1", 0), ("pimples", 5), Split::Train)),
            ("an SNP held out", Pair::of(Kind::SnpGene, ("rs2", 0), ("IL33", 0), Split::Train)),
            ("a trait's other name", Pair::of(Kind::SnpTrait, ("rs1", 0), ("coughing", 4), Split::Train)),
        ];
        for (what, leak) in planted {
            let error = checked(Some(leak)).expect_err(what).to_string();
            assert!(error.contains("1 pair"), "{what}: {error}");
        }
    }
}
