//! What a predictor says that learns nothing: an SNP's traits are those of the SNPs near it.

use std::collections::HashMap;

use super::pieces_shared;
use crate::training::{Kind, Pair, Pairs, Split, Variant};

/// Bases in which what an SNP tells of another falls to a third.
const REACH: f32 = 250_000.0;
/// Bases beyond which it tells nothing.
const FARTHEST: u32 = 1_000_000;

/// Bases within which an SNP trained on tells of another.
const NEAR: u32 = 500_000;

/// What is trained on, by place.
pub(super) struct Neighbors {
    /// By chromosome, position and trait, in the order of positions.
    associations: HashMap<u8, Vec<(u32, u32)>>,
    /// Of each SNP.
    places: HashMap<String, (u8, u32)>,
    /// A name of each trait trained on.
    names: HashMap<u32, String>,
}

impl Neighbors {
    pub(super) fn new(pairs: &Pairs) -> Self {
        let places: HashMap<String, (u8, u32)> =
            pairs.variants.iter().filter_map(|v| Some((v.rsid.clone(), v.chromosome.zip(v.position)?))).collect();
        let mut associations: HashMap<u8, Vec<(u32, u32)>> = HashMap::new();
        let mut names = HashMap::new();
        for pair in pairs.pairs.iter().filter(|p| p.kind == Kind::SnpTrait && p.split == Split::Train) {
            if let Some((chromosome, position)) = places.get(&pair.left) {
                associations.entry(*chromosome).or_default().push((*position, pair.right_cluster));
                names.entry(pair.right_cluster).or_insert_with(|| pair.right.clone());
            }
        }
        for of_chromosome in associations.values_mut() {
            of_chromosome.sort_unstable();
        }
        Self { associations, places, names }
    }

    /// The nearest association of the trait or of one with a like name, 1 where it is the SNP's own.
    pub(super) fn score(&self, rsid: &str, name: &str, cluster: u32) -> f32 {
        let Some((chromosome, position)) = self.places.get(rsid) else { return 0.0 };
        let Some(all) = self.associations.get(chromosome) else { return 0.0 };
        let from = all.partition_point(|(p, _)| *p < position.saturating_sub(FARTHEST));
        let near = all[from..].iter().take_while(|(p, _)| *p <= position.saturating_add(FARTHEST));
        near.map(|(p, other)| {
            let alike = if *other == cluster { 1.0 } else { pieces_shared(&self.names[other], name) };
            alike * (-(p.abs_diff(*position) as f32) / REACH).exp()
        })
        .fold(0.0, f32::max)
    }
}

/// Where each trait's SNPs are that are trained on.
pub(super) struct Near(HashMap<u32, Vec<(u8, u32)>>);

impl Near {
    pub(super) fn new(pairs: &Pairs, variants: &HashMap<&str, &Variant>) -> Self {
        let mut places: HashMap<u32, Vec<(u8, u32)>> = HashMap::new();
        for pair in
            pairs.pairs.iter().filter(|p| p.kind == Kind::SnpTrait && matches!(p.split, Split::Train | Split::Thinned))
        {
            if let Some(place) = place(pair, variants) {
                places.entry(pair.right_cluster).or_default().push(place);
            }
        }
        Self(places)
    }

    /// Whether one of a pair's trait is near its SNP.
    pub(super) fn any(&self, pair: &Pair, variants: &HashMap<&str, &Variant>) -> bool {
        let Some((chromosome, position)) = place(pair, variants) else { return false };
        self.0
            .get(&pair.right_cluster)
            .is_some_and(|all| all.iter().any(|(c, p)| *c == chromosome && p.abs_diff(position) <= NEAR))
    }
}

fn place(pair: &Pair, variants: &HashMap<&str, &Variant>) -> Option<(u8, u32)> {
    let variant = variants.get(pair.left.as_str())?;
    variant.chromosome.zip(variant.position)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_tells_most_and_what_is_not_trained_on_nothing() {
        let variant = |rsid: &str, chromosome, position| Variant {
            rsid: rsid.into(),
            chromosome: Some(chromosome),
            position: Some(position),
            ..Variant::default()
        };
        let pair =
            |left: &str, right: &str, cluster, split| Pair::of(Kind::SnpTrait, (left, 0), (right, cluster), split);
        let neighbors = Neighbors::new(&Pairs {
            pairs: vec![
                pair("rs1", "type 2 diabetes", 1, Split::Train),
                pair("rs2", "asthma", 2, Split::HeldOutPair),
                pair("rs3", "type 2 diabetes", 1, Split::Train),
            ],
            variants: vec![variant("rs1", 1, 1_000), variant("rs2", 1, 251_000), variant("rs3", 2, 1_000)],
            ..Pairs::default()
        });
        assert_eq!(neighbors.score("rs1", "type 2 diabetes", 1), 1.0);
        let near = neighbors.score("rs2", "type 2 diabetes", 1);
        assert!((near - (-1f32).exp()).abs() < 1e-6, "{near}");
        let alike = neighbors.score("rs2", "type 1 diabetes", 7);
        assert!(alike > 0.5 * near && alike < near, "{alike}");
        assert_eq!(neighbors.score("rs2", "asthma", 2), 0.0);
        assert_eq!(neighbors.score("rs9", "asthma", 2), 0.0);
    }
}
