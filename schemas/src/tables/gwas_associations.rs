use super::{Column, INPUT_ID, INPUT_ID_COLUMN, Kind, Table, column, optional, text};

/// One row per variant–trait association, with GWAS-SSF's field names.
pub const GWAS_ASSOCIATIONS: Table = Table {
    name: "gwas_associations",
    doc: "one row per variant-trait association, with GWAS-SSF's field names",
    columns: COLUMNS,
    unit: Some(INPUT_ID),
};

const COLUMNS: &[Column] = &[
    text("source", "the source's name as given at ingest"),
    text("study_id", "GWAS Catalog accession, PubMed id (PMID:…) or file name of the study"),
    optional("trait", Kind::Text, "the trait as the study names it"),
    optional("trait_curie", Kind::Text, "the trait's ontology term as the source annotates it"),
    optional("chromosome", Kind::Int, "1-22, 23 = X, 24 = Y, 25 = MT"),
    optional("base_pair_location", Kind::Long, "1-based position in genome_build"),
    optional("effect_allele", Kind::Text, "the allele that the effect refers to"),
    optional("other_allele", Kind::Text, "the other allele"),
    optional("beta", Kind::Double, "effect size per effect allele"),
    optional("odds_ratio", Kind::Double, "odds ratio per effect allele"),
    optional("hazard_ratio", Kind::Double, "hazard ratio per effect allele"),
    optional("standard_error", Kind::Double, "standard error of beta or of log odds ratio"),
    optional("z_score", Kind::Double, "z statistic of the effect allele, where the source has one"),
    optional("effect_allele_frequency", Kind::Double, "frequency of the effect allele, 0-1"),
    column("neg_log_10_p_value", Kind::Double, true, "-log10 of the p value; exact for p below 1e-308"),
    optional("variant_id", Kind::Text, "the variant as the source names it"),
    optional("rsid", Kind::Text, "dbSNP rsID"),
    optional("n", Kind::Long, "sample size"),
    optional("ci_lower", Kind::Double, "lower limit of the 95% confidence interval"),
    optional("ci_upper", Kind::Double, "upper limit of the 95% confidence interval"),
    optional("info", Kind::Double, "imputation information, 0-1"),
    optional("mapped_gene", Kind::Text, "gene or genes that the source maps the variant to"),
    optional("genome_build", Kind::Text, "GRCh37 or GRCh38, where stated"),
    optional("consequence", Kind::Text, "functional consequence of the variant, as the source says it"),
    INPUT_ID_COLUMN,
];
