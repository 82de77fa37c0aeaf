//! Pairs of texts, and of SNPs and texts, each in one split.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};

use super::DataOptions;
use super::clusters::{Clusters, key};
use super::gather::Gathered;
use super::snp_pairs::{associations, expressions};
use super::variants::variants;
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
    /// |log odds ratio| of an association.
    pub effect: Option<f32>,
    /// Its part of the data.
    pub split: Split,
}

#[cfg(test)]
impl Pair {
    /// One of names and clusters alone.
    pub(super) fn of(kind: Kind, left: (&str, u32), right: (&str, u32), split: Split) -> Self {
        Self {
            kind,
            relation: String::new(),
            source: "test".into(),
            left: left.0.into(),
            right: right.0.into(),
            left_cluster: left.1,
            right_cluster: right.1,
            weight: 1.0,
            neg_log_10_p: None,
            effect: None,
            split,
        }
    }
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
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// From 0 to 1.
    pub(super) fn of(&self, what: &str) -> f64 {
        // A fingerprint has 63 bits.
        let hash = Fingerprint::of(&[&self.0.to_le_bytes(), what.as_bytes()]).as_i64() as u64;
        ((hash << 1) >> 11) as f64 / (1u64 << 53) as f64
    }

    pub(super) fn below(&self, what: &str, share: f64) -> bool {
        self.of(what) <= share && share > 0.0
    }
}

/// Makes the pairs and splits them.
pub(super) fn build(gathered: &Gathered, clusters: &Clusters, options: &DataOptions) -> Pairs {
    let chance = Chance::new(options.seed);
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
    let variants = variants(gathered.associations.iter().chain(&gathered.expressions));
    pairs.extend(expressions(gathered, &variants, options, &chance));
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

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::super::gather::{Association, Edge};
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
    fn expression_is_a_pair_of_an_snp_and_a_gene() {
        let of = |rsid: &str, gene: &str, p: f64, position: u32| Association {
            neg_log_10_p: p,
            chromosome: Some(5),
            position: Some(position),
            ..association(rsid.into(), gene)
        };
        let within = Association { genes: "HMGCR".into(), ..association("rs3".into(), "cholesterol") };
        let gathered = Gathered {
            associations: vec![within],
            expressions: vec![
                of("rs1", "HMGCR", 9.0, 1_000),
                of("rs1", "HMGCR", 30.0, 1_000),
                of("rs2", "HMGCR", 12.0, 2_000),
                of("rs3", "HMGCR", 40.0, 9_000_000),
                of("rs1", "ANKRD31", 8.0, 1_000),
            ],
            ..Gathered::default()
        };
        let options = DataOptions { held_out_snps: 0.0, ld_window: 10_000, ..DataOptions::default() };
        let pairs = build(&gathered, &Clusters::new(&gathered), &options);
        let of_genes = pairs.pairs.iter().filter(|p| p.kind == Kind::SnpGene);
        let found: Vec<_> = of_genes.map(|p| (p.left.as_str(), p.right.as_str(), p.neg_log_10_p, p.split)).collect();
        assert_eq!(
            found,
            [
                ("rs1", "ANKRD31", Some(8.0), Split::Train),
                ("rs1", "HMGCR", Some(30.0), Split::Train),
                ("rs2", "HMGCR", Some(12.0), Split::Thinned),
                // The gene that it is in.
                ("rs3", "HMGCR", None, Split::Train),
            ]
        );
        assert_eq!(pairs.variants.iter().map(|v| v.genes.len()).collect::<Vec<_>>(), [0, 0, 1]);
        // What was thinned out is not trained on, and no negative either.
        let set = super::super::files::training_set(&pairs);
        let task = set.tasks.iter().find(|t| t.name == "snp_gene").unwrap();
        assert_eq!(task.left, [0, 0, 2]);
        let options = DataOptions { held_out_snps: 1.0, ..options };
        let pairs = build(&gathered, &Clusters::new(&gathered), &options).pairs;
        assert!(pairs.iter().all(|p| p.split == Split::HeldOutSnp), "who is held out is so whatever is near");
        let hmgcr = set.texts.iter().position(|t| t == "HMGCR").unwrap();
        assert_eq!(set.also_right, [(1, set.entities[hmgcr])]);
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
