//! What is known of an SNP without any association: where it is and what it does, as numbers.

/// Consequences that have a number of their own, terms of the Sequence Ontology without `_variant`, as the GWAS Catalog and
/// Ensembl have them.
const CONSEQUENCES: [&str; 12] = [
    "intron",
    "intergenic",
    "missense",
    "synonymous",
    "3_prime_utr",
    "5_prime_utr",
    "regulatory_region",
    "upstream_gene",
    "downstream_gene",
    "non_coding_transcript_exon",
    "splice_region",
    "stop_gained",
];
const CHROMOSOMES: usize = 25;
/// Lengths, in bases, over which a position's waves go round once.
const WAVES: [f64; 5] = [1e6, 4e6, 1.6e7, 6.4e7, 2.56e8];

/// Bases between the places that have an embedding of their own.
const LOCUS: f64 = 250_000.0;

/// Where an SNP is and what it does.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Facts {
    /// 1–22, 23 = X, 24 = Y, 25 = MT.
    pub(crate) chromosome: Option<u8>,
    /// 1-based position, in bases.
    pub(crate) position: Option<u32>,
    /// Number of the consequence, as [`Facts::consequence_of`] says it.
    pub(crate) consequence: Option<u8>,
}

impl Facts {
    /// Numbers that [`Facts::write`] writes.
    pub(crate) const FEATURES: usize = CHROMOSOMES + 2 * WAVES.len() + CONSEQUENCES.len();

    /// The number of a consequence, whatever its spelling: `missense_variant`, `Missense`, `UTR-3`.
    pub(crate) fn consequence_of(text: &str) -> Option<u8> {
        let word = text.trim().to_lowercase().replace([' ', '-'], "_");
        let word = word.strip_suffix("_variant").unwrap_or(&word);
        let word = match word {
            "utr_3" | "3_utr" => "3_prime_utr",
            "utr_5" | "5_utr" => "5_prime_utr",
            "cds_synon" => "synonymous",
            "neargene_3" => "downstream_gene",
            "neargene_5" => "upstream_gene",
            "ncrna" | "nc_transcript" => "non_coding_transcript_exon",
            "splice_donor" | "splice_acceptor" => "splice_region",
            "stop_gain" | "nonsense" => "stop_gained",
            other => other,
        };
        CONSEQUENCES.iter().position(|c| *c == word).map(|i| i as u8)
    }

    /// The two windows of the genome that the position lies between the middles of, and how much of each it has; none where
    /// the place is not known.
    pub(crate) fn loci(&self) -> Option<[(u32, f32); 2]> {
        let chromosome = self.chromosome.filter(|c| (1..=CHROMOSOMES as u8).contains(c))?;
        let windows = f64::from(self.position?) / LOCUS;
        let share = windows.fract() as f32;
        let first = u32::from(chromosome) << 16 | (windows as u32).min(u32::from(u16::MAX) - 1);
        Some([(first, 1.0 - share), (first + 1, share)])
    }

    /// Appends the facts as numbers about 0; what is not known is 0.
    pub(crate) fn write(&self, out: &mut Vec<f32>) {
        let first = out.len();
        out.resize(first + Self::FEATURES, 0.0);
        let out = &mut out[first..];
        if let Some(chromosome) = self.chromosome.filter(|c| (1..=CHROMOSOMES as u8).contains(c)) {
            out[chromosome as usize - 1] = 1.0;
            if let Some(position) = self.position {
                for (pair, wave) in out[CHROMOSOMES..].chunks_exact_mut(2).zip(WAVES) {
                    let angle = f64::from(position) / wave * std::f64::consts::TAU;
                    (pair[0], pair[1]) = (angle.sin() as f32, angle.cos() as f32);
                }
            }
        }
        if let Some(consequence) = self.consequence {
            out[CHROMOSOMES + 2 * WAVES.len() + consequence as usize] = 1.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consequences_are_known_by_any_spelling() {
        let of = Facts::consequence_of;
        assert_eq!(of("missense_variant"), of("Missense"));
        assert_eq!(of("UTR-3"), of("3_prime_UTR_variant"));
        assert!(of("missense").is_some() && of("UTR-5").is_some() && of("whatever").is_none());
    }

    #[test]
    fn a_place_has_shares_of_its_two_windows() {
        let at = |chromosome, position| Facts { chromosome, position, consequence: None }.loci();
        assert_eq!(at(Some(2), Some(312_500)), Some([(2 << 16 | 1, 0.75), (2 << 16 | 2, 0.25)]));
        assert_eq!((at(None, Some(5)), at(Some(2), None), at(Some(99), Some(5))), (None, None, None));
        let end = at(Some(1), Some(u32::MAX)).unwrap();
        assert!(end.iter().all(|(locus, _)| locus >> 16 == 1), "no other chromosome");
    }

    #[test]
    fn what_is_not_known_is_zero() {
        let mut out = vec![1.0];
        Facts::default().write(&mut out);
        Facts { chromosome: Some(23), position: Some(1_000_000), consequence: Some(2) }.write(&mut out);
        assert_eq!(out.len(), 1 + 2 * Facts::FEATURES);
        assert!(out[1..=Facts::FEATURES].iter().all(|v| *v == 0.0));
        assert!(out[1 + Facts::FEATURES..].iter().filter(|v| **v != 0.0).count() >= 2 + WAVES.len());
    }
}
