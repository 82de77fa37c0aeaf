//! Which column of a summary-statistics file is what: one table of the spellings met in the wild, and how an unknown
//! header is understood by it.

use std::collections::BTreeMap;
use std::fmt;

use generel_schemas::gwas_ssf;

use super::super::text::delimited::Header;
use crate::{Error, Result};

/// What a column says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Role {
    Chromosome,
    Position,
    VariantId,
    Rsid,
    EffectAllele,
    OtherAllele,
    Reference,
    Alternative,
    MinorAllele,
    Strand,
    Beta,
    OddsRatio,
    HazardRatio,
    StandardError,
    Z,
    Frequency,
    MinorFrequency,
    P,
    NegLog10P,
    LnP,
    N,
    Cases,
    Controls,
    CiLower,
    CiUpper,
    Info,
    Gene,
    Trait,
    Test,
    Build,
}

/// Roles with the name by which `--columns` calls them (the lake's own, where there is one) and the spellings by which
/// they are recognized, in order of preference. `docs/summary-statistics.md` is made from this table.
pub(super) const SPELLINGS: &[(Role, &str, &[&str])] = &[
    (
        Role::Chromosome,
        "chromosome",
        &[
            "hm_chrom",
            "chromosome",
            "chrom",
            "#chrom",
            "chr",
            "#chr",
            "chr_id",
            "chr_name",
            "lead_chrom",
            "hg19chr",
            "chrnum",
        ],
    ),
    (
        Role::Position,
        "base_pair_location",
        &[
            "hm_pos",
            "base_pair_location",
            "position",
            "pos",
            "bp",
            "genpos",
            "chr_pos",
            "chr_position",
            "base_pair",
            "beg",
            "begin",
            "start",
            "snp_pos",
            "bp_hg19",
            "pos_b37",
            "location",
        ],
    ),
    (Role::Rsid, "rsid", &["hm_rsid", "rsid", "rs_id", "rsids", "rs", "dbsnp_id", "dbsnp"]),
    (
        Role::VariantId,
        "variant_id",
        &[
            "hm_variant_id",
            "variant_id",
            "variant",
            "snp",
            "snpid",
            "snp_id",
            "markername",
            "marker_name",
            "marker",
            "marker_id",
            "markerid",
            "id",
            "varid",
            "variantid",
            "snptestid",
            "ukb_id",
        ],
    ),
    (
        Role::EffectAllele,
        "effect_allele",
        &[
            "hm_effect_allele",
            "effect_allele",
            "effectallele",
            "ea",
            "a1",
            "allele1",
            "al1",
            "alt",
            "alternate",
            "tested_allele",
            "coded_allele",
            "inc_allele",
            "risk_allele",
            "alternate_allele",
            "effect_all",
            "a_effect",
        ],
    ),
    (
        Role::OtherAllele,
        "other_allele",
        &[
            "hm_other_allele",
            "other_allele",
            "otherallele",
            "oa",
            "nea",
            "non_effect_allele",
            "noneffect_allele",
            "noneffectallele",
            "a2",
            "allele2",
            "allele0",
            "al2",
            "a0",
            "ref",
            "reference",
            "reference_allele",
            "ref_allele",
            "baseline_allele",
            "noncoded_allele",
            "omitted",
            "other_all",
        ],
    ),
    (Role::Reference, "ref_allele", &["ref", "reference", "ref_allele", "reference_allele"]),
    (Role::Alternative, "alt_allele", &["alt", "alternate", "alternate_allele"]),
    (Role::MinorAllele, "minor_allele", &["minor_allele"]),
    (Role::Strand, "strand", &["strand"]),
    (
        Role::Beta,
        "beta",
        &[
            "hm_beta",
            "beta",
            "b",
            "effect",
            "effect_size",
            "effects",
            "log_odds",
            "logor",
            "log_or",
            "ln_or",
            "slope",
            "es",
            "estimate",
            "beta_effect",
        ],
    ),
    (Role::OddsRatio, "odds_ratio", &["hm_odds_ratio", "odds_ratio", "or", "oddsratio"]),
    (Role::HazardRatio, "hazard_ratio", &["hazard_ratio", "hr", "hazardratio"]),
    (
        Role::StandardError,
        "standard_error",
        &[
            "standard_error",
            "se",
            "stderr",
            "sebeta",
            "beta_se",
            "se_beta",
            "standarderror",
            "log(or)_se",
            "slope_se",
            "std_error",
            "log_odds_se",
            "logor_se",
            "stderr_beta",
            "std_err",
        ],
    ),
    (Role::Z, "z_score", &["z_score", "z", "zscore", "z-score", "z_stat", "zstat", "z_statistic"]),
    (
        Role::Frequency,
        "effect_allele_frequency",
        &[
            "hm_effect_allele_frequency",
            "effect_allele_frequency",
            "eaf",
            "effectallelefreq",
            "effect_allele_freq",
            "a1freq",
            "a1_freq",
            "freq1",
            "freq",
            "freq_effect",
            "frq",
            "af",
            "af_allele2",
            "af_alt",
            "alt_freq",
            "alt_freqs",
            "freq_a1",
            "allelefreq",
            "effect_af",
            "freqa1",
            "a1_af",
            "coded_af",
            "frequency",
        ],
    ),
    (Role::MinorFrequency, "minor_allele_frequency", &["minor_af", "maf"]),
    (
        Role::NegLog10P,
        "neg_log_10_p_value",
        &[
            "neg_log_10_p_value",
            "neg_log10_p_value",
            "neg_log10_p",
            "neglog10_pval",
            "neglog10p",
            "log10p",
            "log10_p",
            "mlogp",
            "mlog10p",
            "lp",
            "neg_log10_pval",
            "nlog10p",
            "pvalue_mlog",
            "mlog_pvalue",
            "minus_log10_p",
            "logp",
        ],
    ),
    (Role::LnP, "ln_p_value", &["pvalue_ln", "ln_p", "ln_pvalue"]),
    (
        Role::P,
        "p_value",
        &[
            "p_value",
            "p",
            "pval",
            "pvalue",
            "p-value",
            "p_val",
            "p.value",
            "p-val",
            "pval_nominal",
            "p_bolt_lmm",
            "p_bolt_lmm_inf",
            "p_lrt",
            "p_wald",
            "p_score",
            "frequentist_add_pvalue",
            "gc_pvalue",
            "p_linreg",
        ],
    ),
    (
        Role::N,
        "n",
        &[
            "n",
            "n_total",
            "ntotal",
            "sample_size",
            "samplesize",
            "obs_ct",
            "nmiss",
            "n_complete_samples",
            "neff",
            "n_samples",
            "totalsamplesize",
            "total_n",
            "ns",
            "n_eff",
            "weight",
        ],
    ),
    (Role::Cases, "n_cases", &["n_cases", "n_case", "ncase", "ncases", "cases", "nca"]),
    (Role::Controls, "n_controls", &["n_controls", "n_control", "n_ctrl", "ncontrol", "ncontrols", "controls", "nco"]),
    (Role::CiLower, "ci_lower", &["hm_ci_lower", "ci_lower", "l95", "or_95l", "or_95_l", "lower_ci", "ci_low", "lci"]),
    (Role::CiUpper, "ci_upper", &["hm_ci_upper", "ci_upper", "u95", "or_95u", "or_95_u", "upper_ci", "ci_high", "uci"]),
    (
        Role::Info,
        "info",
        &["info", "imputationinfo", "info_score", "imp_info", "r2hat", "rsq", "mach_r2", "impinfo", "imputation_info"],
    ),
    (Role::Gene, "mapped_gene", &["mapped_gene", "nearest_genes", "gene", "gene_id", "gene_symbol", "gene_name"]),
    (Role::Trait, "trait", &["phenotype", "pheno", "trait", "trait_name", "phenocode"]),
    (Role::Test, "test", &["test"]),
    (Role::Build, "genome_build", &["genome_build", "build", "genomebuild"]),
];

/// A dialect's own spellings, where they differ from what the table would understand: REGENIE's `ALLELE1` is the
/// effect allele, SAIGE's `Allele2` is.
pub(super) type Spelled = &'static [(Role, &'static [&'static str])];

/// Where each role stands in a header.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Columns(BTreeMap<Role, usize>);

impl Columns {
    /// Understands a header: what `--columns` says first, then what the dialect says, then the table of spellings.
    ///
    /// # Errors
    /// When `--columns` names a role or a column that does not exist.
    pub(super) fn of(header: &Header, own: Spelled, by_hand: &BTreeMap<String, String>) -> Result<Self> {
        let mut found = BTreeMap::new();
        for (name, column) in by_hand {
            let role = SPELLINGS.iter().find(|(_, n, _)| n == name).map(|(role, ..)| *role).ok_or_else(|| {
                let names: Vec<&str> = SPELLINGS.iter().map(|(_, name, _)| *name).collect();
                Error::Invalid(format!("--columns: no column {name}; known: {}", names.join(", ")))
            })?;
            found.insert(role, header.require(&[column])?);
        }
        for (role, names) in own {
            match header.find(names) {
                Some(at) => found.entry(*role).or_insert(at),
                // The dialect knows that the general spelling would mislead.
                None if names.is_empty() => found.entry(*role).or_insert(usize::MAX),
                None => continue,
            };
        }
        for (role, _, names) in SPELLINGS {
            if !found.contains_key(role)
                && let Some(at) = header.find(names)
            {
                found.insert(*role, at);
            }
        }
        found.retain(|_, at| *at != usize::MAX);
        Ok(Self(found))
    }

    /// Where a role stands.
    pub(super) fn at(&self, role: Role) -> Option<usize> {
        self.0.get(&role).copied()
    }

    /// What was recognized, for people: `chromosome = CHR, base_pair_location = BP`.
    pub(super) fn describe(&self, header: &Header) -> String {
        let name = |role: &Role| SPELLINGS.iter().find(|(r, ..)| r == role).map_or("", |(_, name, _)| name);
        let parts: Vec<String> =
            self.0.iter().map(|(role, at)| format!("{} = {}", name(role), header.names()[*at])).collect();
        parts.join(", ")
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SPELLINGS.iter().find(|(role, ..)| role == self).map_or("", |(_, name, _)| name))
    }
}

/// Whether a field says that there is no value.
#[inline]
pub(super) fn is_missing(text: &str) -> bool {
    // Almost every field begins with a digit, a sign before one, or a base.
    match text.as_bytes() {
        [] => true,
        [b'0'..=b'9' | b'A' | b'C' | b'G' | b'T' | b'r', ..] => false,
        [b'.' | b'-', b'0'..=b'9', rest @ ..] => text == "-9" && rest.is_empty(),
        _ => gwas_ssf::is_missing(text),
    }
}
