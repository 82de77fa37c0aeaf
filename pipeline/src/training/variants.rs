//! SNPs: their genes, and which of a trait's SNPs tell nothing that a neighbour does not.

use std::collections::HashMap;

use super::gather::Association;
use super::pairs::Variant;

/// Letters and digits of a gene's symbol, at most; longer ones are sentences.
const LONGEST_SYMBOL: usize = 20;

/// Gene symbols of a cell: `ABC1`, `ABC1 - ABC2`, `ABC1, ABC2`, `ABC1; ABC2`.
pub(super) fn genes(text: &str) -> Vec<String> {
    let mut genes: Vec<String> = Vec::new();
    for symbol in text.split([',', ';']).flat_map(|part| part.split(" - ")).map(str::trim) {
        let is_symbol = !symbol.is_empty() && symbol.len() <= LONGEST_SYMBOL && !symbol.contains(' ');
        let is_missing = matches!(symbol, "NR" | "NA" | "Intergenic" | "intergenic" | "Pending");
        if is_symbol && !is_missing && !genes.iter().any(|g| g == symbol) {
            genes.push(symbol.to_string());
        }
    }
    genes
}

/// What the associations say of each SNP, by rsID.
pub(super) fn variants<'a>(associations: impl Iterator<Item = &'a Association>) -> Vec<Variant> {
    let mut by_rsid: HashMap<&str, Variant> = HashMap::new();
    for a in associations {
        let variant = by_rsid.entry(&a.rsid).or_insert_with(|| Variant { rsid: a.rsid.clone(), ..Variant::default() });
        if variant.chromosome.is_none() {
            (variant.chromosome, variant.position) = (a.chromosome, a.position);
        }
        if variant.genes.is_empty() {
            variant.genes = genes(&a.genes);
        }
        if variant.consequence.is_none() {
            variant.consequence.clone_from(&a.consequence);
        }
    }
    let mut all: Vec<Variant> = by_rsid.into_values().collect();
    all.sort_by(|a, b| a.rsid.cmp(&b.rsid));
    all
}

/// For each of one trait's associations, whether a stronger one of them lies within the window.
pub(super) fn thinned(associations: &[&Association], window: u32) -> Vec<bool> {
    let mut order: Vec<usize> = (0..associations.len()).collect();
    order.sort_by(|a, b| {
        let (a, b) = (associations[*a], associations[*b]);
        b.neg_log_10_p.total_cmp(&a.neg_log_10_p).then_with(|| a.rsid.cmp(&b.rsid))
    });
    let mut thinned = vec![false; associations.len()];
    let mut kept: Vec<(u8, u32)> = Vec::new();
    for i in order {
        let (Some(chromosome), Some(position)) = (associations[i].chromosome, associations[i].position) else {
            continue;
        };
        if kept.iter().any(|(c, p)| *c == chromosome && p.abs_diff(position) <= window) {
            thinned[i] = true;
        } else {
            kept.push((chromosome, position));
        }
    }
    thinned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_are_told_from_sentences() {
        assert_eq!(genes("ABC1 - HLA-A"), ["ABC1", "HLA-A"]);
        assert_eq!(genes("IL23R, IL23R;C1orf141"), ["IL23R", "C1orf141"]);
        assert!(genes("NR").is_empty() && genes("").is_empty() && genes("no gene near").is_empty());
    }

    #[test]
    fn the_strongest_of_neighbours_stays() {
        let at = |rsid: &str, p: f64, place: Option<(u8, u32)>| Association {
            source: String::new(),
            rsid: rsid.into(),
            trait_name: String::new(),
            neg_log_10_p: p,
            effect: None,
            chromosome: place.map(|(c, _)| c),
            position: place.map(|(_, p)| p),
            genes: String::new(),
            consequence: None,
        };
        let all = [
            at("rs1", 8.0, Some((1, 1000))),
            at("rs2", 20.0, Some((1, 2000))),
            at("rs3", 9.0, Some((2, 2000))),
            at("rs4", 9.0, None),
        ];
        assert_eq!(thinned(&all.iter().collect::<Vec<_>>(), 5000), [true, false, false, false]);
    }
}
