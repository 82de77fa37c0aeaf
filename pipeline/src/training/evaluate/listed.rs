//! Pairs of files as families: told from chance relation by relation, and by strength.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use generel_model::normalize;

use super::benchmarks::{self, Listed};
use super::families::{Chooser, Contrast, Correlation, FEWEST, Side, of_left};
use super::{Kind, Pairs, Split, key};
use crate::Result;
use crate::training::Variant;

/// The family of what files list.
pub(super) const FAMILY: &str = "pairs of a file";

/// A file's name without its extensions.
pub(super) fn stem(path: &Path) -> String {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let plain =
        [".gz", ".tsv", ".csv", ".txt"].iter().fold(name.as_str(), |name, end| name.strip_suffix(end).unwrap_or(name));
    plain.to_string()
}

/// Adds what is asked of the files' pairs; what they say of SNPs comes back. `say` is told of rows that are left out.
///
/// # Errors
/// When a file cannot be read.
pub(super) fn add(
    files: &[PathBuf],
    pairs: &Pairs,
    chooser: &mut Chooser,
    contrasts: &mut Vec<Contrast>,
    correlations: &mut Vec<Correlation>,
    say: &dyn Fn(&str),
) -> Result<Vec<Variant>> {
    let mut variants = Vec::new();
    if files.is_empty() {
        return Ok(variants);
    }
    let mut concepts = Concepts::new(pairs);
    for path in files {
        let (listed, left_out) = benchmarks::pairs(path)?;
        if left_out > 0 {
            say(&format!("{}: {left_out} rows left out, for a side of the pair is empty", path.display()));
        }
        let all: Vec<(Side, Side)> = listed.iter().map(|l| concepts.sides(l)).collect();
        for (left, right) in &all {
            chooser.known.insert((of_left(left), right.cluster));
            if !left.is_snp {
                chooser.known.insert((right.cluster.to_string(), left.cluster));
            }
        }
        let of = stem(path);
        contrasts.extend(told_from_chance(&of, &listed, &all, &concepts, chooser));
        for (what, value) in [
            ("|log odds ratio|", (|l: &Listed| l.effect) as fn(&Listed) -> Option<f32>),
            ("-log10 p", |l: &Listed| l.neg_log_10_p),
        ] {
            let some = listed.iter().zip(&all).filter_map(|(l, sides)| Some((sides.clone(), value(l)?)));
            let (pairs, values): (Vec<_>, Vec<f32>) = some.unzip();
            if values.len() >= FEWEST {
                correlations.push(Correlation {
                    family: FAMILY,
                    of: format!("{of}: {what}"),
                    pairs,
                    values,
                    within: false,
                });
            }
        }
        variants.extend(listed.into_iter().filter_map(|l| l.variant));
    }
    Ok(variants)
}

/// All pairs of a file beside wrong ones of the same relation; then those that the data has not trained on, and each
/// relation by itself, where that is something else.
fn told_from_chance(
    of: &str,
    listed: &[Listed],
    all: &[(Side, Side)],
    concepts: &Concepts,
    chooser: &mut Chooser,
) -> Vec<Contrast> {
    let mut of_relation: BTreeMap<&str, Vec<(Side, Side)>> = BTreeMap::new();
    for (listed, sides) in listed.iter().zip(all) {
        of_relation.entry(&listed.relation).or_default().push(sides.clone());
    }
    let contrast = |of: String| Contrast { family: FAMILY, of, right: Vec::new(), wrong: Vec::new() };
    let (mut whole, mut unseen) = (contrast(of.to_string()), contrast(format!("{of}, not trained on")));
    let mut each = Vec::new();
    for (relation, pairs) in of_relation {
        let of_one = chooser.contrast_of(FAMILY, format!("{of}: {relation}"), &pairs, usize::MAX);
        for (right, wrong) in of_one.right.iter().zip(&of_one.wrong) {
            let to = if concepts.are_trained(right) { &mut whole } else { &mut unseen };
            to.right.push(right.clone());
            to.wrong.push(wrong.clone());
        }
        each.push(of_one);
    }
    let is_part = !whole.right.is_empty();
    whole.right.extend(unseen.right.iter().cloned());
    whole.wrong.extend(unseen.wrong.iter().cloned());
    let mut contrasts = vec![whole];
    contrasts.extend((is_part && unseen.right.len() >= FEWEST).then_some(unseen));
    if each.len() > 1 {
        contrasts.extend(each.into_iter().filter(|one| one.right.len() >= FEWEST));
    }
    contrasts
}

/// The data's concepts by their names, and new ones for names that it has not.
struct Concepts {
    of: HashMap<String, u32>,
    next: u32,
    trained: HashSet<(String, u32)>,
}

impl Concepts {
    fn new(pairs: &Pairs) -> Self {
        let (mut of, mut trained, mut next) = (HashMap::new(), HashSet::new(), 1);
        for pair in &pairs.pairs {
            let is_snp = pair.kind.is_snp();
            next = next.max(pair.left_cluster + 1).max(pair.right_cluster + 1);
            if pair.kind == Kind::SnpGene {
                continue;
            }
            of.insert(key(&pair.right), pair.right_cluster);
            if !is_snp {
                of.insert(key(&pair.left), pair.left_cluster);
            }
            if pair.split == Split::Train {
                let left = if is_snp { pair.left.clone() } else { pair.left_cluster.to_string() };
                trained.insert((left, pair.right_cluster));
            }
        }
        Self { of, next, trained }
    }

    fn text(&mut self, name: &str) -> Side {
        let name = normalize(name);
        let cluster = *self.of.entry(key(&name)).or_insert_with(|| {
            self.next += 1;
            self.next
        });
        Side::text(&name, cluster)
    }

    fn sides(&mut self, listed: &Listed) -> (Side, Side) {
        let left = match listed.variant {
            Some(_) => Side { name: listed.left.clone(), cluster: 0, is_snp: true },
            None => self.text(&listed.left),
        };
        (left, self.text(&listed.right))
    }

    /// Whether a pair was trained on, under any names and in any direction.
    fn are_trained(&self, (left, right): &(Side, Side)) -> bool {
        self.trained.contains(&(of_left(left), right.cluster))
            || !left.is_snp && self.trained.contains(&(right.cluster.to_string(), left.cluster))
    }
}
