//! Pairs of texts, and of SNPs and texts, each in one split.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::DataOptions;
use super::clusters::{Clusters, key};
use super::gather::{Association, Gathered};
use super::variants::{thinned, variants};
use crate::sources::Fingerprint;
use generel_schemas::tables::SUB_CLASS_OF;

/// What a pair's two sides have to do with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Names of one concept.
    Synonym,
    /// A concept and a broader one.
    Hierarchy,
    /// Any other relation.
    Relation,
    /// Two codes that the same persons have, more often than by chance.
    Cooccurrence,
    /// An SNP and a trait that it is associated with.
    SnpTrait,
    /// An SNP and a gene that it is in, or near.
    SnpGene,
}

/// Which part of the data a pair is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Split {
    /// Trained on.
    Train,
    /// Held out, since one of its concepts is: neither is seen under any name.
    HeldOutConcept,
    /// Held out, though both sides are seen in other pairs.
    HeldOutPair,
    /// Held out, since its SNP is.
    HeldOutSnp,
    /// Left out of the training, and of any measure: a stronger association of the trait is near.
    Thinned,
}

macro_rules! words {
    ($type:ident: $($variant:ident = $word:literal),+ $(,)?) => {
        impl $type {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The word in files.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }
    };
}

words!(Kind: Synonym = "synonym", Hierarchy = "hierarchy", Relation = "relation", Cooccurrence = "cooccurrence", SnpTrait = "snp_trait", SnpGene = "snp_gene");
words!(Split: Train = "train", HeldOutConcept = "held_out_concept", HeldOutPair = "held_out_pair", HeldOutSnp = "held_out_snp", Thinned = "thinned");

impl Kind {
    /// Whether the left side is an SNP.
    pub fn is_snp(self) -> bool {
        matches!(self, Self::SnpTrait | Self::SnpGene)
    }
}

/// Two things in one order, whichever came first.
pub(super) fn unordered<T: Ord>(a: T, b: T) -> (T, T) {
    if a < b { (a, b) } else { (b, a) }
}

/// Two things that belong together.
#[derive(Debug, Clone, PartialEq)]
pub struct Pair {
    /// What they have to do with each other.
    pub kind: Kind,
    /// The predicate of a relation, else empty.
    pub relation: String,
    /// The source that says so.
    pub source: String,
    /// A text, or an rsID.
    pub left: String,
    /// A text.
    pub right: String,
    /// The left text's cluster; of an SNP, 0.
    pub left_cluster: u32,
    /// The right text's cluster.
    pub right_cluster: u32,
    /// How much it counts.
    pub weight: f32,
    /// −log10 p of an association.
    pub neg_log_10_p: Option<f32>,
    /// |log odds ratio| or |beta| of an association.
    pub effect: Option<f32>,
    /// Its part of the data.
    pub split: Split,
}

/// What is known of an SNP.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Variant {
    /// dbSNP rsID.
    pub rsid: String,
    /// 1–22, 23 = X, 24 = Y, 25 = MT.
    pub chromosome: Option<u8>,
    /// 1-based position.
    pub position: Option<u32>,
    /// Gene symbols.
    pub genes: Vec<String>,
    /// Functional consequence.
    pub consequence: Option<String>,
}

/// All pairs and SNPs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Pairs {
    /// The pairs, in a fixed order.
    pub pairs: Vec<Pair>,
    /// The SNPs, by rsID.
    pub variants: Vec<Variant>,
    /// Keys of all names of the concepts held out.
    pub held_out_keys: Vec<String>,
    /// Where they are from.
    pub origin: Origin,
}

/// What pairs were made of, and how.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    /// How they were made.
    pub options: DataOptions,
    /// The lake's tables that were read, and their versions.
    pub tables: BTreeMap<String, u64>,
    /// Pairs left out, since a text of theirs is also a name of a concept held out.
    pub dropped: usize,
}

/// Hashes decide what is held out.
struct Chance(u64);

impl Chance {
    /// From 0 to 1.
    fn of(&self, what: &str) -> f64 {
        // A fingerprint has 63 bits.
        let hash = Fingerprint::of(&[&self.0.to_le_bytes(), what.as_bytes()]).as_i64() as u64;
        ((hash << 1) >> 11) as f64 / (1u64 << 53) as f64
    }

    fn below(&self, what: &str, share: f64) -> bool {
        self.of(what) <= share && share > 0.0
    }
}

/// Makes the pairs and splits them.
pub(super) fn build(gathered: &Gathered, clusters: &Clusters, options: &DataOptions) -> Pairs {
    let chance = Chance(options.seed);
    let names = names_of(gathered, clusters);
    let held_out: HashSet<u32> = names
        .iter()
        .filter(|(_, keys)| {
            chance
                .below(&format!("concept {}", keys.iter().next().map_or("", String::as_str)), options.held_out_concepts)
        })
        .map(|(cluster, _)| *cluster)
        .collect();
    let held_out_keys: HashSet<&String> =
        names.iter().filter(|(c, _)| held_out.contains(c)).flat_map(|(_, keys)| keys).collect();
    let split_texts = |left: u32, right: u32, may_hold_out: bool| {
        if held_out.contains(&left) || held_out.contains(&right) {
            Split::HeldOutConcept
        } else if may_hold_out
            && chance.below(&format!("pair {} {}", left.min(right), left.max(right)), options.held_out_pairs)
        {
            Split::HeldOutPair
        } else {
            Split::Train
        }
    };
    let mut pairs = Vec::new();
    let text_pair = |kind, relation: &str, source: &str, left: (&str, u32), right: (&str, u32), weight, split| Pair {
        kind,
        relation: relation.to_string(),
        source: source.to_string(),
        left: left.0.to_string(),
        right: right.0.to_string(),
        left_cluster: left.1,
        right_cluster: right.1,
        weight,
        neg_log_10_p: None,
        effect: None,
        split,
    };
    for concept in &gathered.concepts {
        let Some(cluster) = clusters.of_id(&concept.id) else { continue };
        let split = split_texts(cluster, cluster, false);
        let side = |i: usize| (concept.names[i].as_str(), cluster);
        for i in 1..concept.names.len() {
            pairs.push(text_pair(Kind::Synonym, "", &concept.source, side(i), side(0), 1.0, split));
            if i > 1 {
                pairs.push(text_pair(Kind::Synonym, "", &concept.source, side(i), side(i - 1), 0.5, split));
            }
        }
    }
    for edge in &gathered.edges {
        let (Some(left), Some(right)) = (clusters.of_id(&edge.subject.0), clusters.of_id(&edge.object.0)) else {
            continue;
        };
        if left == right {
            continue;
        }
        let kind = if edge.predicate == SUB_CLASS_OF || edge.predicate == "biolink:subclass_of" {
            Kind::Hierarchy
        } else if edge.cooccurrence.is_some() {
            Kind::Cooccurrence
        } else {
            Kind::Relation
        };
        let of_edge = edge.cooccurrence.map_or(1.0, |w| w.clamp(0.25, 4.0) as f32);
        let weight = of_edge * options.predicates.get(&edge.predicate).copied().unwrap_or(1.0);
        let sides = ((edge.subject.1.as_str(), left), (edge.object.1.as_str(), right));
        pairs.push(text_pair(
            kind,
            &edge.predicate,
            &edge.source,
            sides.0,
            sides.1,
            weight,
            split_texts(left, right, true),
        ));
    }
    pairs.extend(associations(gathered, clusters, options, &chance, &held_out));
    let variants = variants(&gathered.associations);
    pairs.extend(variants.iter().flat_map(|variant| {
        let held_out = chance.below(&format!("snp {}", variant.rsid), options.held_out_snps);
        let split = if held_out { Split::HeldOutSnp } else { Split::Train };
        variant.genes.iter().map(move |gene| Pair {
            kind: Kind::SnpGene,
            relation: String::new(),
            source: String::new(),
            left: variant.rsid.clone(),
            right: gene.clone(),
            left_cluster: 0,
            right_cluster: 0,
            weight: 1.0 / variant.genes.len() as f32,
            neg_log_10_p: None,
            effect: None,
            split,
        })
    }));
    let before = pairs.len();
    let hidden = |text: &str| held_out_keys.contains(&key(text));
    // Short names may be of several clusters: the same two texts must not be on both sides either.
    let texts = |pair: &Pair| unordered(key(&pair.left), key(&pair.right));
    let apart: HashSet<(String, String)> = pairs.iter().filter(|p| p.split == Split::HeldOutPair).map(texts).collect();
    pairs.retain(|pair| {
        let has_hidden = !pair.kind.is_snp() && hidden(&pair.left) || hidden(&pair.right);
        let is_apart = pair.split == Split::Train && apart.contains(&texts(pair));
        pair.split == Split::HeldOutConcept || !has_hidden && !is_apart
    });
    let dropped = before - pairs.len();
    let mut held_out_keys: Vec<String> = held_out_keys.into_iter().cloned().collect();
    held_out_keys.sort();
    let origin = Origin { options: options.clone(), dropped, ..Origin::default() };
    Pairs { pairs, variants, held_out_keys, origin }
}

/// The keys of each cluster's names, the first in the alphabet first: it stands for the cluster.
fn names_of(gathered: &Gathered, clusters: &Clusters) -> BTreeMap<u32, std::collections::BTreeSet<String>> {
    let mut names: BTreeMap<u32, std::collections::BTreeSet<String>> = BTreeMap::new();
    for concept in &gathered.concepts {
        if let Some(cluster) = clusters.of_id(&concept.id) {
            names.entry(cluster).or_default().extend(concept.names.iter().map(|n| key(n)));
        }
    }
    for (id, name) in gathered.edges.iter().flat_map(|e| [&e.subject, &e.object]) {
        if let Some(cluster) = clusters.of_id(id) {
            names.entry(cluster).or_default().insert(key(name));
        }
    }
    for association in &gathered.associations {
        if let Some(cluster) = clusters.of_text(&association.trait_name) {
            names.entry(cluster).or_default().insert(key(&association.trait_name));
        }
    }
    names
}

/// SNPs and traits: the strongest association of each two, weighed by p and effect.
fn associations(
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

#[cfg(test)]
mod tests {
    use super::super::gather::Edge;
    use super::*;

    fn association(rsid: String, trait_name: &str) -> Association {
        Association {
            source: "test".into(),
            rsid,
            trait_name: trait_name.into(),
            neg_log_10_p: 8.0,
            effect: None,
            chromosome: None,
            position: None,
            genes: String::new(),
            consequence: None,
        }
    }

    #[test]
    fn an_snp_whose_pair_is_held_out_is_seen_in_another() {
        let traits = ["asthma", "body height", "psoriasis", "type 2 diabetes"];
        // SNPs with one to four traits.
        let associations = (0..400)
            .flat_map(|snp| traits[..1 + snp % 4].iter().map(move |name| association(format!("rs{snp}"), name)));
        let gathered = Gathered { associations: associations.collect(), ..Gathered::default() };
        let options = DataOptions {
            held_out_concepts: 0.0,
            held_out_snps: 0.0,
            held_out_associations: 0.5,
            ..DataOptions::default()
        };
        let pairs = build(&gathered, &Clusters::new(&gathered), &options);
        let mut by_snp: HashMap<&str, [usize; 2]> = HashMap::new();
        for pair in &pairs.pairs {
            by_snp.entry(&pair.left).or_default()[usize::from(pair.split == Split::HeldOutPair)] += 1;
        }
        assert_eq!(by_snp.len(), 400);
        assert!(by_snp.values().all(|[seen, _]| *seen > 0), "each is seen");
        let out: usize = by_snp.values().map(|[_, out]| out).sum();
        // Of the 900 pairs of SNPs with several, half but for those that are an SNP's last.
        assert!((300..450).contains(&out), "{out} pairs are held out");
        super::super::leakage::check(&pairs).unwrap();
    }

    #[test]
    fn what_was_counted_from_patients_is_a_task_of_its_own_with_its_weight() {
        let edge = |cooccurrence| Edge {
            source: "s".into(),
            predicate: "biolink:correlated_with".into(),
            subject: ("A:1".into(), "asthma".into()),
            object: ("A:2".into(), "wheezing".into()),
            cooccurrence,
        };
        let gathered = Gathered { edges: vec![edge(Some(9.0)), edge(Some(1.5)), edge(None)], ..Gathered::default() };
        let options = DataOptions { held_out_concepts: 0.0, held_out_pairs: 0.0, ..DataOptions::default() };
        let pairs = build(&gathered, &Clusters::new(&gathered), &options);
        let found: Vec<(Kind, f32)> = pairs.pairs.iter().map(|p| (p.kind, p.weight)).collect();
        assert_eq!(found, [(Kind::Cooccurrence, 4.0), (Kind::Cooccurrence, 1.5), (Kind::Relation, 1.0)]);
    }
}
