//! The tools whose summary statistics have a name here: what tells each from the others, and where it differs from
//! what the table of spellings would understand.

use super::columns::{Role, Spelled};
use super::sumstats::Sumstats;

/// A tool that writes summary statistics.
pub(in super::super) struct Tool {
    pub(super) name: &'static str,
    pub(super) doc: &'static str,
    pub(super) example: &'static str,
    /// Columns (lower case) that tell the tool: all of them, each in one of its spellings.
    pub(super) signature: &'static [&'static [&'static str]],
    /// How sure the signature is.
    pub(super) score: u8,
    /// Its own spellings. An empty list says that the general spelling would mislead.
    pub(super) own: Spelled,
    /// P value columns in order of preference, where there are several.
    pub(super) p_values: &'static [&'static str],
    /// Whether the standard demands both alleles, an effect and a p value of every row.
    pub(super) strict: bool,
    /// Whether chromosomes are numbered as PLINK numbers them (25 = XY, 26 = MT).
    pub(super) plink_chromosomes: bool,
    /// Whether the other allele is whichever of REF and ALT the effect allele is not.
    pub(super) other_is_not_effect: bool,
    /// Prefix of the trait's CURIE where the trait of a row is a gene.
    pub(super) trait_prefix: Option<&'static str>,
    /// The genome build that the tool's files are in, where all are in one.
    pub(super) build: Option<&'static str>,
}

const PLAIN: Tool = Tool {
    name: "",
    doc: "",
    example: "",
    signature: &[],
    score: 0,
    own: &[],
    p_values: &[],
    strict: false,
    plink_chromosomes: false,
    other_is_not_effect: false,
    trait_prefix: None,
    build: None,
};

/// GWAS-SSF 1.0 (GWAS Catalog).
pub(in super::super) const GWAS_SSF: Sumstats = Sumstats(&Tool {
    name: "gwas-ssf",
    doc: "GWAS-SSF summary statistics, also harmonised ones, with the -meta.yaml beside the file",
    example: "generel ingest --format gwas-ssf --source ukb GCST90293086.h.tsv.gz",
    signature: &[
        &["chromosome"],
        &["base_pair_location"],
        &["effect_allele"],
        &["other_allele"],
        &["p_value", "neg_log_10_p_value"],
    ],
    score: 90,
    own: &[
        // What the authors deposited; of harmonised files the hm_ columns are empty where harmonisation failed.
        (Role::Chromosome, &["chromosome"]),
        (Role::Position, &["base_pair_location"]),
        (Role::EffectAllele, &["effect_allele"]),
        (Role::OtherAllele, &["other_allele"]),
        (Role::Beta, &["beta"]),
        (Role::OddsRatio, &["odds_ratio"]),
        (Role::CiLower, &["ci_lower"]),
        (Role::CiUpper, &["ci_upper"]),
        (Role::Frequency, &["effect_allele_frequency"]),
        (Role::Rsid, &["rsid", "rs_id", "hm_rsid"]),
        (Role::VariantId, &["variant_id"]),
    ],
    strict: true,
    ..PLAIN
});

/// REGENIE, step 2.
pub(in super::super) const REGENIE: Sumstats = Sumstats(&Tool {
    name: "regenie",
    doc: "REGENIE step 2 output (.regenie)",
    example: "generel ingest --format regenie --source cohort --trait height step2_height.regenie.gz",
    signature: &[&["chrom"], &["genpos"], &["allele0"], &["allele1"], &["log10p"]],
    score: 95,
    own: &[(Role::EffectAllele, &["allele1"]), (Role::OtherAllele, &["allele0"])],
    plink_chromosomes: true,
    ..PLAIN
});

/// PLINK 1.9 `.assoc`, `.assoc.linear`, `.assoc.logistic`, `.qassoc`.
pub(in super::super) const PLINK1: Sumstats = Sumstats(&Tool {
    name: "plink",
    doc: "PLINK 1.9 association results (.assoc, .assoc.linear, .assoc.logistic, .qassoc)",
    example: "generel ingest --format plink --source cohort --trait t2d plink.assoc.logistic",
    signature: &[&["chr"], &["snp"], &["bp"], &["nmiss", "a1"], &["stat", "t", "chisq", "f_a", "r2"], &["p"]],
    score: 85,
    own: &[
        (Role::EffectAllele, &["a1"]),
        (Role::OtherAllele, &["a2"]),
        (Role::Frequency, &["f_a_and_u"]),
        (Role::Info, &[]),
    ],
    plink_chromosomes: true,
    ..PLAIN
});

/// PLINK 2 `.glm.*`.
pub(in super::super) const PLINK2: Sumstats = Sumstats(&Tool {
    name: "plink2",
    doc: "PLINK 2 association results (.glm.linear, .glm.logistic, .glm.firth, .glm.logistic.hybrid)",
    example: "generel ingest --format plink2 --source cohort plink2.height.glm.linear",
    signature: &[&["#chrom", "chrom"], &["pos"], &["a1"], &["test"], &["obs_ct"]],
    score: 95,
    own: &[
        (Role::EffectAllele, &["a1"]),
        (Role::OtherAllele, &["omitted", "ref"]),
        (Role::Frequency, &["a1_freq"]),
        (Role::Z, &["z_stat"]),
    ],
    plink_chromosomes: true,
    other_is_not_effect: true,
    ..PLAIN
});

/// SAIGE, single variant.
pub(in super::super) const SAIGE: Sumstats = Sumstats(&Tool {
    name: "saige",
    doc: "SAIGE single-variant output (also conditional: its unconditional columns)",
    example: "generel ingest --format saige --source cohort --trait t2d saige_t2d.txt.gz",
    signature: &[&["chr"], &["pos"], &["allele1"], &["allele2"], &["p.value"]],
    score: 95,
    own: &[
        (Role::EffectAllele, &["allele2"]),
        (Role::OtherAllele, &["allele1"]),
        (Role::Frequency, &["af_allele2"]),
        (Role::VariantId, &["markerid", "snpid", "rsid"]),
        (Role::P, &["p.value"]),
        (Role::Cases, &["n_case", "n_casevec"]),
        (Role::Controls, &["n_ctrl", "n_ctrlvec"]),
    ],
    ..PLAIN
});

/// BOLT-LMM.
pub(in super::super) const BOLT_LMM: Sumstats = Sumstats(&Tool {
    name: "bolt-lmm",
    doc: "BOLT-LMM statistics; the p value is P_BOLT_LMM, else P_BOLT_LMM_INF, else P_LINREG",
    example: "generel ingest --format bolt-lmm --source ukb --trait height bolt.sumstats.gz",
    signature: &[
        &["snp"],
        &["chr"],
        &["bp"],
        &["allele1"],
        &["allele0"],
        &["p_bolt_lmm", "p_bolt_lmm_inf", "p_linreg"],
    ],
    score: 95,
    own: &[
        (Role::Position, &["bp"]),
        (Role::EffectAllele, &["allele1"]),
        (Role::OtherAllele, &["allele0"]),
        (Role::Frequency, &["a1freq"]),
    ],
    p_values: &["p_bolt_lmm", "p_bolt_lmm_inf", "p_linreg"],
    plink_chromosomes: true,
    ..PLAIN
});

/// METAL.
pub(in super::super) const METAL: Sumstats = Sumstats(&Tool {
    name: "metal",
    doc: "METAL meta-analysis (.tbl), by effects or by z scores",
    example: "generel ingest --format metal --source meta --trait 'fasting glucose' METAANALYSIS1.TBL",
    signature: &[&["markername"], &["allele1"], &["allele2"], &["p-value"], &["direction"]],
    score: 95,
    own: &[(Role::EffectAllele, &["allele1"]), (Role::OtherAllele, &["allele2"]), (Role::Frequency, &["freq1"])],
    ..PLAIN
});

/// FinnGen.
pub(in super::super) const FINNGEN: Sumstats = Sumstats(&Tool {
    name: "finngen",
    doc: "FinnGen release files, also of fine-mapping (GRCh38, the effect is that of alt)",
    example: "generel ingest --format finngen --source finngen --trait actinomycosis finngen_R9_AB1_ACTINOMYCOSIS.gz",
    signature: &[
        &["#chrom", "v"],
        &["ref", "allele1"],
        &["alt", "allele2"],
        &["mlogp", "cs_specific_prob"],
        &["sebeta", "se"],
        &["af_alt", "prob"],
    ],
    score: 95,
    // Files of fine-mapping call ref allele1 and alt allele2.
    own: &[
        (Role::EffectAllele, &["alt", "allele2"]),
        (Role::OtherAllele, &["ref", "allele1"]),
        (Role::Frequency, &["af_alt"]),
        (Role::VariantId, &["v"]),
    ],
    build: Some("GRCh38"),
    ..PLAIN
});

/// UK Biobank, Neale lab round 2.
pub(in super::super) const NEALE: Sumstats = Sumstats(&Tool {
    name: "neale-ukb",
    doc: "UK Biobank results of the Neale lab (variant = chr:pos:ref:alt, GRCh37, the effect is that of alt)",
    example: "generel ingest --format neale-ukb --source ukb --trait height 50_irnt.gwas.imputed_v3.both_sexes.tsv.bgz",
    signature: &[&["variant"], &["minor_allele"], &["n_complete_samples"], &["tstat"], &["pval"]],
    score: 95,
    own: &[(Role::Frequency, &[]), (Role::Z, &[]), (Role::N, &["n_complete_samples"])],
    build: Some("GRCh37"),
    ..PLAIN
});

/// LDSC munged.
pub(in super::super) const LDSC: Sumstats = Sumstats(&Tool {
    name: "ldsc",
    doc: "LDSC .sumstats (SNP, A1, A2, N, Z); the p value is that of Z, the effect is that of A1",
    example: "generel ingest --format ldsc --source consortium --trait scz scz.sumstats.gz",
    signature: &[&["snp"], &["a1"], &["a2"], &["n"], &["z"]],
    score: 60,
    own: &[(Role::EffectAllele, &["a1"]), (Role::OtherAllele, &["a2"])],
    ..PLAIN
});

/// GTEx and eQTL Catalogue.
pub(in super::super) const EQTL: Sumstats = Sumstats(&Tool {
    name: "eqtl",
    doc: "eQTL tables in the style of GTEx (.signif_variant_gene_pairs, .allpairs) and the eQTL Catalogue; the trait is the gene",
    example: "generel ingest --format eqtl --source gtex --study-id GTEx_Liver Liver.v8.signif_variant_gene_pairs.txt.gz",
    signature: &[
        &["gene_id", "molecular_trait_id", "phenotype_id"],
        &["variant_id", "variant"],
        &["slope", "beta"],
        &["pval_nominal", "pvalue"],
    ],
    score: 92,
    own: &[
        (Role::Trait, &["gene_id", "molecular_trait_id", "phenotype_id"]),
        (Role::Gene, &["gene_name", "gene_id"]),
        (Role::EffectAllele, &["alt"]),
        (Role::OtherAllele, &["ref"]),
        (Role::Beta, &["slope", "beta"]),
        (Role::StandardError, &["slope_se", "se"]),
        (Role::P, &["pval_nominal", "pvalue"]),
        // Allele counts: the frequency of the minor allele alone does not say whose it is.
        (Role::Frequency, &[]),
        (Role::VariantId, &["variant_id", "variant"]),
        (Role::N, &[]),
    ],
    trait_prefix: Some("ensembl"),
    ..PLAIN
});

/// Whatever the table of spellings understands.
pub(in super::super) const SUMSTATS: Sumstats = Sumstats(&Tool {
    name: "sumstats",
    doc: "any table of summary statistics whose header the table of spellings understands (docs/summary-statistics.md); \
          --columns names the rest",
    example: "generel ingest --format sumstats --source meta --columns effect_allele=Inc --trait bmi bmi.txt",
    signature: &[
        &[
            "p",
            "pval",
            "pvalue",
            "p-value",
            "p_value",
            "p.value",
            "log10p",
            "mlogp",
            "neg_log10_p_value",
            "z",
            "zscore",
            "beta",
            "effect",
            "b",
            "or",
        ],
        &[
            "snp",
            "rsid",
            "rs",
            "markername",
            "variant",
            "variant_id",
            "id",
            "pos",
            "bp",
            "position",
            "base_pair_location",
            "snpid",
            "beg",
        ],
    ],
    score: 30,
    own: &[],
    ..PLAIN
});
