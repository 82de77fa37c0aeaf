//! Pairs of SNPs with traits and with genes, from associations.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::DataOptions;
use super::clusters::{Clusters, key};
use super::gather::{Association, Gathered};
use super::pairs::{Chance, Kind, Pair, Split, Variant};
use super::variants::thinned;

/// SNPs and traits: the strongest association of each two, weighed by p and effect.
pub(super) fn associations(
    gathered: &Gathered,
    clusters: &Clusters,
    options: &DataOptions,
    chance: &Chance,
    held_out: &HashSet<u32>,
) -> Vec<Pair> {
    let mut by_trait: BTreeMap<u32, HashMap<&str, &Association>> = BTreeMap::new();
    for association in &gathered.associations {
        let Some(cluster) = clusters.of_text(&association.trait_name) else { continue };
        let best = by_trait.entry(cluster).or_default().entry(&association.rsid).or_insert(association);
        if association.neg_log_10_p > best.neg_log_10_p {
            *best = association;
        }
    }
    let first = first_traits(&by_trait, chance, held_out);
    let mut pairs = Vec::new();
    for (cluster, of_trait) in by_trait {
        let mut of_trait: Vec<&Association> = of_trait.into_values().collect();
        of_trait.sort_by(|a, b| a.rsid.cmp(&b.rsid));
        let is_held_out = |a: &Association| -> Option<Split> {
            if held_out.contains(&cluster) {
                return Some(Split::HeldOutConcept);
            }
            if chance.below(&format!("snp {}", a.rsid), options.held_out_snps) {
                return Some(Split::HeldOutSnp);
            }
            let may_hold_out = first.get(a.rsid.as_str()).is_some_and(|first| *first != cluster);
            (may_hold_out && chance.below(&of_association(a), options.held_out_associations))
                .then_some(Split::HeldOutPair)
        };
        let (out, trained): (Vec<&Association>, Vec<&Association>) =
            of_trait.into_iter().partition(|a| is_held_out(a).is_some());
        let thinned = thinned(&trained, options.ld_window);
        let with_split = out.into_iter().map(|a| (a, is_held_out(a).unwrap_or(Split::HeldOutPair))).chain(
            trained.into_iter().zip(thinned).map(|(a, thin)| (a, if thin { Split::Thinned } else { Split::Train })),
        );
        pairs.extend(with_split.map(|(a, split)| Pair {
            kind: Kind::SnpTrait,
            relation: String::new(),
            source: a.source.clone(),
            left: a.rsid.clone(),
            right: a.trait_name.clone(),
            left_cluster: 0,
            right_cluster: cluster,
            weight: weight(a),
            neg_log_10_p: Some(a.neg_log_10_p as f32),
            effect: a.effect.map(|e| e as f32),
            split,
        }));
    }
    pairs
}

/// SNPs and the genes whose expression they are associated with, where that is not the gene that they are in: the strongest
/// of each two, and of a gene's SNPs near each other the strongest.
pub(super) fn expressions(
    gathered: &Gathered,
    variants: &[Variant],
    options: &DataOptions,
    chance: &Chance,
) -> Vec<Pair> {
    let places: HashMap<&str, &Variant> = variants.iter().map(|v| (v.rsid.as_str(), v)).collect();
    let mut by_gene: BTreeMap<&str, BTreeMap<&str, &Association>> = BTreeMap::new();
    for association in &gathered.expressions {
        let gene = association.trait_name.as_str();
        if places.get(association.rsid.as_str()).is_some_and(|v| v.genes.iter().any(|g| g == gene)) {
            continue;
        }
        let best = by_gene.entry(gene).or_default().entry(&association.rsid).or_insert(association);
        if association.neg_log_10_p > best.neg_log_10_p {
            *best = association;
        }
    }
    let mut pairs = Vec::new();
    for (gene, of_gene) in by_gene {
        let is_held_out = |a: &Association| chance.below(&format!("snp {}", a.rsid), options.held_out_snps);
        let (out, trained): (Vec<&Association>, Vec<&Association>) =
            of_gene.into_values().partition(|a| is_held_out(a));
        let thinned = thinned(&trained, options.ld_window);
        let split = |thin| if thin { Split::Thinned } else { Split::Train };
        let trained = trained.into_iter().zip(thinned.into_iter().map(split));
        let all = out.into_iter().map(|a| (a, Split::HeldOutSnp)).chain(trained);
        pairs.extend(all.map(|(a, split)| Pair {
            kind: Kind::SnpGene,
            relation: String::new(),
            source: a.source.clone(),
            left: a.rsid.clone(),
            right: gene.to_string(),
            left_cluster: 0,
            right_cluster: 0,
            weight: weight(a),
            neg_log_10_p: Some(a.neg_log_10_p as f32),
            effect: a.effect.map(|e| e as f32),
            split,
        }));
    }
    pairs
}

fn of_association(association: &Association) -> String {
    format!("association {} {}", association.rsid, key(&association.trait_name))
}

/// For each SNP the trait, by its cluster, that is not held out, so that a pair held out leaves an SNP that is seen.
fn first_traits<'a>(
    by_trait: &BTreeMap<u32, HashMap<&'a str, &'a Association>>,
    chance: &Chance,
    held_out: &HashSet<u32>,
) -> HashMap<&'a str, u32> {
    let mut first: HashMap<&str, (f64, u32)> = HashMap::new();
    for (cluster, of_trait) in by_trait.iter().filter(|(cluster, _)| !held_out.contains(cluster)) {
        for (rsid, association) in of_trait {
            let at = (chance.of(&of_association(association)), *cluster);
            let most = first.entry(rsid).or_insert(at);
            if at > *most {
                *most = at;
            }
        }
    }
    first.into_iter().map(|(rsid, (_, cluster))| (rsid, cluster)).collect()
}

/// 1 at genome-wide significance and a usual effect; a quarter to four times as much at the ends.
fn weight(association: &Association) -> f32 {
    let significance = (association.neg_log_10_p / 7.3).sqrt().clamp(0.5, 2.5);
    let effect = 0.8 + association.effect.unwrap_or(0.2).clamp(0.0, 1.0);
    (significance * effect).clamp(0.25, 4.0) as f32
}
