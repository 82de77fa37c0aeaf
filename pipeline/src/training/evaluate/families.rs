//! The families of tasks: what is asked, and how the answers are counted.

use std::collections::{BTreeMap, HashMap, HashSet};

use generel_model::evaluate::{auc, estimate, spearman};
use generel_model::normalize;

use super::halves::Halves;
use super::neighbors::Near;
use super::{Kind, Measured, Pairs, Scorer, SpaceOptions, Split, benchmarks, key, listed};
use crate::Result;
use crate::training::{Pair, Variant};

/// The families that SNPs are in.
const SNPS: &str = "SNP and trait";
const STRENGTH: &str = "strength";
/// Labels among which a synonym's is looked for, at most.
const CANDIDATES: usize = 5000;
/// Pairs that a relation must have to be told apart.
pub(super) const FEWEST: usize = 30;
/// Pairs that a trait must have for its own order.
const SEVERAL: usize = 3;
/// Tries to find a wrong pair.
const TRIES: usize = 50;

/// One side of a pair.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Side {
    pub(super) name: String,
    pub(super) cluster: u32,
    pub(super) is_snp: bool,
}

impl Side {
    pub(super) fn text(name: &str, cluster: u32) -> Self {
        Self { name: name.to_string(), cluster, is_snp: false }
    }
}

/// Right pairs, and a wrong one of the same types for each.
pub(super) struct Contrast {
    pub(super) family: &'static str,
    pub(super) of: String,
    pub(super) right: Vec<(Side, Side)>,
    pub(super) wrong: Vec<(Side, Side)>,
}

/// Names whose concept's label is to be found.
struct Retrieval {
    of: String,
    queries: Vec<Side>,
    candidates: Vec<Side>,
}

/// Pairs whose score should rise with a value.
pub(super) struct Correlation {
    pub(super) family: &'static str,
    pub(super) of: String,
    pub(super) pairs: Vec<(Side, Side)>,
    pub(super) values: Vec<f32>,
    /// Whether pairs are compared with those of the same right side alone.
    pub(super) within: bool,
}

/// Everything that is asked.
pub(super) struct Families {
    contrasts: Vec<Contrast>,
    retrievals: Vec<Retrieval>,
    correlations: Vec<Correlation>,
    /// What files say of SNPs.
    pub(super) variants: Vec<Variant>,
}

impl Families {
    fn sides(&self) -> impl Iterator<Item = &Side> {
        let contrasts = self.contrasts.iter().flat_map(|c| c.right.iter().chain(&c.wrong));
        let correlations = self.correlations.iter().flat_map(|c| &c.pairs);
        let in_pairs = contrasts.chain(correlations).flat_map(|(a, b)| [a, b]);
        in_pairs.chain(self.retrievals.iter().flat_map(|r| r.queries.iter().chain(&r.candidates)))
    }

    fn names(&self, snps: bool) -> Vec<&str> {
        let mut names: Vec<&str> = self.sides().filter(|s| s.is_snp == snps).map(|s| s.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Distinct texts.
    pub(super) fn texts(&self) -> Vec<&str> {
        self.names(false)
    }

    /// Distinct SNPs.
    pub(super) fn snps(&self) -> Vec<&str> {
        self.names(true)
    }
}

/// Chooses what is asked, by the options' seed alone.
pub(super) fn families(pairs: &Pairs, options: &SpaceOptions, say: &dyn Fn(&str)) -> Result<Families> {
    let halves = Halves::new(pairs, options.half);
    let mut chooser =
        Chooser { random: fastrand::Rng::with_seed(options.seed), most: options.most, known: known(pairs), halves };
    let retrievals = chooser.retrievals(pairs);
    let mut contrasts = Vec::new();
    for (family, split) in
        [("relations, concepts unseen", Split::HeldOutConcept), ("relations, pairs unseen", Split::HeldOutPair)]
    {
        let mut of_relation: BTreeMap<String, Vec<&Pair>> = BTreeMap::new();
        for pair in &pairs.pairs {
            let is_relation = matches!(pair.kind, Kind::Hierarchy | Kind::Relation | Kind::Cooccurrence);
            if is_relation && pair.split == split && chooser.halves.have(pair) {
                of_relation.entry(format!("{} ({})", pair.relation, pair.source)).or_default().push(pair);
            }
        }
        let all: usize = of_relation.values().map(Vec::len).sum();
        let mut measured = 0;
        for (of, pairs) in of_relation.into_iter().filter(|(_, pairs)| pairs.len() >= FEWEST) {
            measured += pairs.len();
            contrasts.push(chooser.contrast(family, of, &pairs));
        }
        if measured < all {
            say(&format!(
                "{family}: {} of {all} pairs are of relations with fewer than {FEWEST}, and not measured",
                all - measured
            ));
        }
    }
    let variants: HashMap<&str, &Variant> = pairs.variants.iter().map(|v| (v.rsid.as_str(), v)).collect();
    let near = Near::new(pairs, &variants);
    let of_split =
        |split| -> Vec<&Pair> { pairs.pairs.iter().filter(|p| p.kind == Kind::SnpTrait && p.split == split).collect() };
    // A stronger neighbour may have taken an SNP's only other pair out of the training: then nothing of the SNP is seen.
    let seen: HashSet<&str> = of_split(Split::Train).into_iter().map(|p| p.left.as_str()).collect();
    let of_half = |split| -> Vec<&Pair> { of_split(split).into_iter().filter(|p| chooser.halves.have(p)).collect() };
    let mut unseen_pairs = of_half(Split::HeldOutPair);
    unseen_pairs.retain(|p| seen.contains(p.left.as_str()));
    let (unseen, unseen_traits) = (of_half(Split::HeldOutSnp), of_half(Split::HeldOutConcept));
    let alone: Vec<&Pair> = unseen.iter().copied().filter(|p| !near.any(p, &variants)).collect();
    for (of, some) in [
        ("pairs unseen", &unseen_pairs),
        ("SNPs unseen", &unseen),
        ("SNPs unseen, none of the trait near", &alone),
        ("traits unseen", &unseen_traits),
    ] {
        if some.len() >= FEWEST {
            contrasts.push(chooser.contrast(SNPS, of.to_string(), some));
        } else if !some.is_empty() {
            say(&format!("{SNPS}, {of}: {} pairs, fewer than {FEWEST}, and not measured", some.len()));
        }
    }
    let mut correlations = Vec::new();
    let held_out: Vec<&Pair> = unseen_pairs.into_iter().chain(unseen).collect();
    for (of, value) in [
        ("|log odds ratio|", (|p: &Pair| p.effect) as fn(&Pair) -> Option<f32>),
        ("-log10 p", |p: &Pair| p.neg_log_10_p),
    ] {
        let some: Vec<(&Pair, f32)> = held_out.iter().filter_map(|p| Some((*p, value(p)?))).collect();
        let mut of_trait: HashMap<u32, usize> = HashMap::new();
        some.iter().for_each(|(p, _)| *of_trait.entry(p.right_cluster).or_default() += 1);
        let several: Vec<(&Pair, f32)> =
            some.iter().copied().filter(|(p, _)| of_trait[&p.right_cluster] >= SEVERAL).collect();
        for (some, within) in [(some, false), (several, true)] {
            correlations.push(Correlation {
                family: STRENGTH,
                of: if within { format!("{of}, within traits") } else { of.to_string() },
                pairs: some.iter().map(|(p, _)| sides(p)).collect(),
                values: some.iter().map(|(_, v)| *v).collect(),
                within,
            });
        }
    }
    for path in &options.ratings {
        let ratings = benchmarks::ratings(path)?;
        correlations.push(Correlation {
            family: "people's ratings",
            of: listed::stem(path),
            pairs: ratings
                .iter()
                .map(|(a, b, _)| (Side::text(&normalize(a), 0), Side::text(&normalize(b), 0)))
                .collect(),
            values: ratings.iter().map(|(_, _, score)| *score).collect(),
            within: false,
        });
    }
    let variants = listed::add(&options.listed, pairs, &mut chooser, &mut contrasts, &mut correlations, say)?;
    Ok(Families { contrasts, retrievals, correlations, variants })
}

fn sides(pair: &Pair) -> (Side, Side) {
    let is_snp = pair.kind.is_snp();
    (Side { name: pair.left.clone(), cluster: pair.left_cluster, is_snp }, Side::text(&pair.right, pair.right_cluster))
}

/// What is known to belong together, whichever split has it.
fn known(pairs: &Pairs) -> HashSet<(String, u32)> {
    let mut known = HashSet::new();
    for pair in pairs.pairs.iter().filter(|p| p.kind != Kind::Synonym) {
        let (left, right) = sides(pair);
        if !left.is_snp {
            known.insert((right.cluster.to_string(), left.cluster));
        }
        known.insert((of_left(&left), right.cluster));
    }
    known
}

/// What [`Chooser::known`] has of a left side.
pub(super) fn of_left(side: &Side) -> String {
    if side.is_snp { side.name.clone() } else { side.cluster.to_string() }
}

pub(super) struct Chooser {
    random: fastrand::Rng,
    most: usize,
    pub(super) known: HashSet<(String, u32)>,
    halves: Halves,
}

impl Chooser {
    fn some<T: Clone>(&mut self, all: &[T], most: usize) -> Vec<T> {
        let mut order: Vec<usize> = (0..all.len()).collect();
        self.random.shuffle(&mut order);
        order.truncate(most);
        order.sort_unstable();
        order.into_iter().map(|i| all[i].clone()).collect()
    }

    /// Right pairs, and for each a wrong one: the same left side with the right side of another pair, so that both are as
    /// common on their sides as the right ones are.
    fn contrast(&mut self, family: &'static str, of: String, pairs: &[&Pair]) -> Contrast {
        let all: Vec<(Side, Side)> = pairs.iter().map(|p| sides(p)).collect();
        self.contrast_of(family, of, &all, self.most)
    }

    /// The same, of at most so many pairs.
    pub(super) fn contrast_of(
        &mut self,
        family: &'static str,
        of: String,
        all: &[(Side, Side)],
        most: usize,
    ) -> Contrast {
        let (mut right, mut wrong) = (Vec::new(), Vec::new());
        for (left, good) in self.some(all, most) {
            let bad = (0..TRIES).map(|_| &all[self.random.usize(..all.len())].1).find(|other| {
                other.cluster != left.cluster
                    && other.cluster != good.cluster
                    && !self.known.contains(&(of_left(&left), other.cluster))
            });
            if let Some(bad) = bad {
                wrong.push((left.clone(), bad.clone()));
                right.push((left, good));
            }
        }
        Contrast { family, of, right, wrong }
    }

    fn retrievals(&mut self, pairs: &Pairs) -> Vec<Retrieval> {
        let mut by_source: BTreeMap<&str, [Vec<&Pair>; 2]> = BTreeMap::new();
        // The first pairs of a concept are those of a synonym and the label.
        for pair in pairs.pairs.iter().filter(|p| p.kind == Kind::Synonym && p.weight == 1.0) {
            let is_held_out = pair.split == Split::HeldOutConcept;
            by_source.entry(&pair.source).or_default()[usize::from(is_held_out)].push(pair);
        }
        let mut retrievals = Vec::new();
        for (source, [trained, held_out]) in by_source {
            let is_asked = |p: &&Pair| key(&p.left) != key(&p.right) && self.halves.have(p);
            let differs: Vec<&Pair> = held_out.iter().copied().filter(is_asked).collect();
            if differs.len() < FEWEST {
                continue;
            }
            let mut candidates: Vec<&Pair> = held_out.clone();
            candidates.extend(self.some(&trained, CANDIDATES.saturating_sub(held_out.len())));
            let mut seen = HashSet::new();
            candidates.retain(|p| seen.insert(p.right.as_str()));
            let queries = self.some(&differs, self.most);
            retrievals.push(Retrieval {
                of: source.to_string(),
                queries: queries.into_iter().map(|p| Side::text(&p.left, p.left_cluster)).collect(),
                candidates: candidates.into_iter().map(|p| Side::text(&p.right, p.right_cluster)).collect(),
            });
        }
        retrievals
    }
}

/// Scores everything in one space and counts.
pub(super) fn measure(families: &Families, scorer: &Scorer, method: &str, options: &SpaceOptions) -> Vec<Measured> {
    let mut all = Vec::new();
    let mut add = |family: &str, of: &str, measure: &str, estimate: Option<generel_model::evaluate::Estimate>| {
        if let Some(estimate) = estimate {
            let (family, of, measure, method) =
                (family.to_string(), of.to_string(), measure.to_string(), method.to_string());
            all.push(Measured { family, of, measure, method, estimate });
        }
    };
    if scorer.knows_names() {
        let ranks: Vec<(&str, Vec<usize>)> =
            families.retrievals.iter().map(|r| (r.of.as_str(), r.ranks(scorer))).collect();
        let pooled: Vec<usize> = ranks.iter().flat_map(|(_, ranks)| ranks.iter().copied()).collect();
        for (of, ranks) in ranks.iter().map(|(of, ranks)| (*of, ranks)).chain([("all", &pooled)]) {
            for (measure, within) in [("acc@1", 1), ("acc@5", 5)] {
                let hits = |some: &[usize]| {
                    (!some.is_empty())
                        .then(|| some.iter().filter(|i| ranks[**i] <= within).count() as f64 / some.len() as f64)
                };
                add("synonyms", of, measure, estimate(ranks.len(), options.resamples, hits));
            }
        }
    }
    let mut pooled: BTreeMap<&str, Vec<(f32, f32)>> = BTreeMap::new();
    for contrast in families.contrasts.iter().filter(|c| scorer.knows_texts() || has_snps(&c.right)) {
        let scores: Vec<(f32, f32)> = contrast
            .right
            .iter()
            .zip(&contrast.wrong)
            .map(|(r, w)| (scorer.score(&r.0, &r.1), scorer.score(&w.0, &w.1)))
            .collect();
        add(
            contrast.family,
            &contrast.of,
            "auc",
            estimate(scores.len(), options.resamples, |some| area(&scores, some)),
        );
        if contrast.family != SNPS && contrast.family != listed::FAMILY {
            pooled.entry(contrast.family).or_default().extend(scores);
        }
    }
    for (family, scores) in pooled {
        add(family, "all", "auc", estimate(scores.len(), options.resamples, |some| area(&scores, some)));
    }
    for correlation in families.correlations.iter().filter(|c| scorer.knows_texts() || has_snps(&c.pairs)) {
        let scores: Vec<f32> = correlation.pairs.iter().map(|(a, b)| scorer.score(a, b)).collect();
        let (scores, values) = match correlation.within {
            true => (correlation.ranks(&scores), correlation.ranks(&correlation.values)),
            false => (scores, correlation.values.clone()),
        };
        let of_some = |some: &[usize]| {
            let pick = |values: &[f32]| some.iter().map(|i| values[*i]).collect::<Vec<f32>>();
            spearman(&pick(&scores), &pick(&values))
        };
        add(correlation.family, &correlation.of, "spearman", estimate(scores.len(), options.resamples, of_some));
    }
    all
}

fn has_snps(pairs: &[(Side, Side)]) -> bool {
    pairs.iter().any(|(left, _)| left.is_snp)
}

impl Correlation {
    /// Where each value stands among those of its right side: the share of them that are below it, half of those equal.
    fn ranks(&self, values: &[f32]) -> Vec<f32> {
        let mut of_right: HashMap<u32, Vec<f32>> = HashMap::new();
        for ((_, right), value) in self.pairs.iter().zip(values) {
            of_right.entry(right.cluster).or_default().push(*value);
        }
        let rank = |((_, right), value): (&(Side, Side), &f32)| {
            let all = &of_right[&right.cluster];
            let below = all.iter().filter(|other| *other < value).count() as f32;
            let equal = all.iter().filter(|other| *other == value).count() as f32;
            (below + equal / 2.0) / all.len() as f32
        };
        self.pairs.iter().zip(values).map(rank).collect()
    }
}

fn area(scores: &[(f32, f32)], some: &[usize]) -> Option<f64> {
    let right: Vec<f32> = some.iter().map(|i| scores[*i].0).collect();
    let wrong: Vec<f32> = some.iter().map(|i| scores[*i].1).collect();
    auc(&right, &wrong)
}

impl Retrieval {
    /// The rank of the first label of each query's concept; ties stand before it.
    fn ranks(&self, scorer: &Scorer) -> Vec<usize> {
        self.queries
            .iter()
            .map(|query| {
                let scores: Vec<f32> = self.candidates.iter().map(|c| scorer.score(query, c)).collect();
                let is_right = |c: &Side| c.cluster == query.cluster;
                let best = scores
                    .iter()
                    .zip(&self.candidates)
                    .filter(|(_, c)| is_right(c))
                    .map(|(s, _)| *s)
                    .fold(f32::MIN, f32::max);
                1 + scores.iter().zip(&self.candidates).filter(|(s, c)| !is_right(c) && **s >= best).count()
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn within_a_trait_its_own_order_counts() {
        let pair = |cluster| (Side { name: "rs1".into(), cluster: 0, is_snp: true }, Side::text("a trait", cluster));
        let correlation = Correlation {
            family: STRENGTH,
            of: String::new(),
            pairs: [1, 2, 1, 2, 1].map(pair).to_vec(),
            values: Vec::new(),
            within: true,
        };
        let ranks = correlation.ranks(&[0.1, 50.0, 0.3, 70.0, 0.3]);
        assert_eq!(ranks, [0.5 / 3.0, 0.25, 2.0 / 3.0, 0.75, 2.0 / 3.0]);
    }
}
