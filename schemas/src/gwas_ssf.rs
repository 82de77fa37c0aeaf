//! Column names of GWAS-SSF 1.0 (GWAS summary statistics format).

/// The mandatory columns, in the standard's order; the effect and the p value each have alternatives.
pub const MANDATORY: &[&[&str]] = &[
    &["chromosome"],
    &["base_pair_location"],
    &["effect_allele"],
    &["other_allele"],
    &["beta", "odds_ratio", "hazard_ratio"],
    &["standard_error"],
    &["effect_allele_frequency"],
    &["p_value", "neg_log_10_p_value"],
];

/// Spellings of a missing value in summary statistics; the standard's own is `#NA`.
pub const MISSING: &[&str] = &["#NA", "NA", "", ".", "NaN", "nan", "null", "NULL", "N/A", "na"];

/// Whether a field is one of the spellings of a missing value.
pub fn is_missing(text: &str) -> bool {
    MISSING.contains(&text)
}
