//! The two halves of what was held out: options are chosen by one, the other is reported.

use std::collections::HashSet;

use super::key;
use crate::training::pairs::Chance;
use crate::training::{Kind, Pair, Pairs, Split};

/// Which of the pairs held out are measured: what is chosen by one half is reported on the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Half {
    /// Those by which options are chosen.
    Development,
    /// Those that are reported.
    #[default]
    Test,
    /// All of them.
    Both,
}

/// Tells which half a pair is in, by hashes: of a concept that is not seen, all is in one, and so is all of an SNP.
pub(super) struct Halves {
    chance: Chance,
    measured: Half,
    /// Clusters that are not seen.
    unseen: HashSet<u32>,
}

impl Halves {
    pub(super) fn new(pairs: &Pairs, measured: Half) -> Self {
        let keys: HashSet<&str> = pairs.held_out_keys.iter().map(String::as_str).collect();
        let mut unseen = HashSet::new();
        for pair in pairs.pairs.iter().filter(|p| p.split == Split::HeldOutConcept) {
            let is_unseen = |text: &str| pair.kind == Kind::Synonym || keys.contains(key(text).as_str());
            if !pair.kind.is_snp() && is_unseen(&pair.left) {
                unseen.insert(pair.left_cluster);
            }
            if is_unseen(&pair.right) {
                unseen.insert(pair.right_cluster);
            }
        }
        Self { chance: Chance::new(pairs.origin.options.seed), measured, unseen }
    }

    /// Whether the pair is of the half that is measured. A pair of two concepts that are not seen, one of each half, is of
    /// neither.
    pub(super) fn have(&self, pair: &Pair) -> bool {
        let first = |what: String| self.chance.below(&format!("half of {what}"), 0.5);
        let sides = [pair.left_cluster, pair.right_cluster];
        let firsts: Vec<bool> = match pair.split {
            Split::HeldOutConcept => {
                let unseen = sides.iter().skip(usize::from(pair.kind.is_snp())).filter(|c| self.unseen.contains(c));
                unseen.map(|cluster| first(cluster.to_string())).collect()
            }
            _ if pair.kind.is_snp() => vec![first(pair.left.clone())],
            _ => vec![first(format!("{} {}", sides[0].min(sides[1]), sides[0].max(sides[1])))],
        };
        match self.measured {
            Half::Development => firsts.iter().all(|first| *first),
            Half::Test => firsts.iter().all(|first| !first),
            Half::Both => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_unseen_is_in_both_halves() {
        let mut all = Pairs::default();
        for i in 0..200u32 {
            let (name, other) = (format!("disease {i}"), format!("disorder {i}"));
            all.held_out_keys.extend([key(&name), key(&other)]);
            all.pairs.extend([
                Pair::of(Kind::Synonym, (&other, i), (&name, i), Split::HeldOutConcept),
                Pair::of(Kind::Hierarchy, (&name, i), ("a parent that is seen", 1000), Split::HeldOutConcept),
                Pair::of(Kind::Relation, ("seen", 1001), (&other, i), Split::HeldOutConcept),
                Pair::of(Kind::Relation, (&name, i), ("disease 0", 0), Split::HeldOutConcept),
                Pair::of(Kind::SnpTrait, (&format!("rs{}", i % 50), 0), (&name, i), Split::HeldOutConcept),
                Pair::of(Kind::SnpTrait, (&format!("rs{i}"), 0), ("seen", 1001), Split::HeldOutSnp),
                Pair::of(Kind::Relation, ("seen", 1001), (&format!("seen {i}"), 2000 + i), Split::HeldOutPair),
            ]);
        }
        let [development, test] = [Half::Development, Half::Test].map(|half| Halves::new(&all, half));
        let of = |half: &Halves| all.pairs.iter().filter(|p| half.have(p)).collect::<Vec<_>>();
        let (first, second) = (of(&development), of(&test));
        let unseen = |pairs: &[&Pair]| -> HashSet<u32> {
            let held_out = pairs.iter().filter(|p| p.split == Split::HeldOutConcept);
            held_out.flat_map(|p| [p.left_cluster, p.right_cluster]).filter(|c| (1..200).contains(c)).collect()
        };
        let snps = |pairs: &[&Pair]| -> HashSet<String> {
            pairs.iter().filter(|p| p.split == Split::HeldOutSnp).map(|p| p.left.clone()).collect()
        };
        assert!(unseen(&first).is_disjoint(&unseen(&second)) && snps(&first).is_disjoint(&snps(&second)));
        assert_eq!(unseen(&first).len() + unseen(&second).len(), 199);
        assert_eq!(snps(&first).len() + snps(&second).len(), 200);
        // What is left out are relations of two that are unseen, one of each half.
        let left_out = all.pairs.len() - first.len() - second.len();
        assert!((50..150).contains(&left_out), "{left_out}");
        assert!(first.len().abs_diff(second.len()) < 300, "{} {}", first.len(), second.len());
        assert!(all.pairs.iter().all(|p| Halves::new(&all, Half::Both).have(p)));
    }
}
