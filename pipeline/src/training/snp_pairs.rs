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
    let mut by_trait: BTreeMap<u32, Strongest<'_>> = BTreeMap::new();
    for association in &gathered.associations {
        let Some(cluster) = clusters.of_text(&association.trait_name) else { continue };
        keep(by_trait.entry(cluster).or_default(), association);
    }
    let first = first_traits(&by_trait, chance, held_out);
    let mut pairs = Vec::new();
    for (cluster, of_trait) in by_trait {
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
        let all = with_splits(of_trait, options.ld_window, is_held_out);
        pairs.extend(all.into_iter().map(|(a, split)| pair(a, (Kind::SnpTrait, cluster), split)));
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
    let mut by_gene: BTreeMap<&str, Strongest<'_>> = BTreeMap::new();
    for association in &gathered.expressions {
        let gene = association.trait_name.as_str();
        if !places.get(association.rsid.as_str()).is_some_and(|v| v.genes.iter().any(|g| g == gene)) {
            keep(by_gene.entry(gene).or_default(), association);
        }
    }
    let is_held_out =
        |a: &Association| chance.below(&format!("snp {}", a.rsid), options.held_out_snps).then_some(Split::HeldOutSnp);
    let all = by_gene.into_values().flat_map(|of_gene| with_splits(of_gene, options.ld_window, is_held_out));
    all.map(|(a, split)| pair(a, (Kind::SnpGene, 0), split)).collect()
}

/// The strongest association of each SNP, by rsID.
type Strongest<'a> = HashMap<&'a str, &'a Association>;

fn keep<'a>(strongest: &mut Strongest<'a>, association: &'a Association) {
    let best = strongest.entry(&association.rsid).or_insert(association);
    if association.neg_log_10_p > best.neg_log_10_p {
        *best = association;
    }
}

/// Those held out, then the others, of which the strongest of neighbours are trained on.
fn with_splits<'a>(
    strongest: Strongest<'a>,
    window: u32,
    is_held_out: impl Fn(&Association) -> Option<Split>,
) -> Vec<(&'a Association, Split)> {
    let mut all: Vec<&Association> = strongest.into_values().collect();
    all.sort_by(|a, b| a.rsid.cmp(&b.rsid));
    let (mut with_splits, mut trained) = (Vec::with_capacity(all.len()), Vec::new());
    for association in all {
        match is_held_out(association) {
            Some(split) => with_splits.push((association, split)),
            None => trained.push(association),
        }
    }
    let thinned = thinned(&trained, window);
    let split = |thin| if thin { Split::Thinned } else { Split::Train };
    with_splits.extend(trained.into_iter().zip(thinned.into_iter().map(split)));
    with_splits
}

/// Of an SNP, and the trait or gene that the association is with.
fn pair(association: &Association, (kind, right_cluster): (Kind, u32), split: Split) -> Pair {
    Pair {
        kind,
        relation: String::new(),
        source: association.source.clone(),
        left: association.rsid.clone(),
        right: association.trait_name.clone(),
        left_cluster: 0,
        right_cluster,
        weight: weight(association),
        neg_log_10_p: Some(association.neg_log_10_p as f32),
        effect: association.effect.map(|e| e as f32),
        split,
    }
}

fn of_association(association: &Association) -> String {
    format!("association {} {}", association.rsid, key(&association.trait_name))
}

/// For each SNP the trait, by its cluster, that is not held out, so that a pair held out leaves an SNP that is seen.
fn first_traits<'a>(
    by_trait: &BTreeMap<u32, Strongest<'a>>,
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
