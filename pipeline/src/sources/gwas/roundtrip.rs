//! What is read is what was written: random variants in every tool's dialect, as the tool writes them.

use proptest::prelude::*;

use super::super::Source;
use super::super::testing::{cells, options, read, rejected};
use super::{GwasVcf, dialects::*};

/// A variant and its association, as the lake should have it.
#[derive(Debug, Clone)]
struct Variant {
    chromosome: i32,
    position: i64,
    effect: String,
    other: String,
    beta: f64,
    error: f64,
    frequency: f64,
    /// Mantissa in hundredths and negative exponent: p is often below what a float holds.
    p: (u32, u32),
    rs: u32,
    n: i64,
    /// Which of the two alleles a dialect that has a choice puts first.
    swapped: bool,
}

impl Variant {
    fn p_text(&self) -> String {
        format!("{}.{:02}e-{}", self.p.0 / 100, self.p.0 % 100, self.p.1)
    }

    fn neg_log_10_p(&self) -> f64 {
        f64::from(self.p.1) - (f64::from(self.p.0) / 100.0).log10()
    }

    fn z(&self) -> f64 {
        self.beta / self.error
    }
}

fn variants() -> impl Strategy<Value = Vec<Variant>> {
    let allele = || "[ACGT]{1,3}";
    let variant = (
        (1..=22i32, 1..=250_000_000i64, allele(), allele()),
        (-20_000..20_000i32, 1..20_000u32, 0..=1000u32),
        (100..1000u32, 1..500u32, 1..2_000_000_000u32, 1..1_000_000i64, any::<bool>()),
    );
    let variant = variant.prop_map(
        |((chromosome, position, effect, other), (beta, error, frequency), (m, e, rs, n, swapped))| {
            // Equal alleles are no variant.
            let other = if other == effect { format!("{other}G") } else { other };
            let (beta, error) = (f64::from(beta) / 1e4, f64::from(error) / 1e4);
            Variant {
                chromosome,
                position,
                effect,
                other,
                beta,
                error,
                frequency: f64::from(frequency) / 1e3,
                p: (m, e),
                rs,
                n,
                swapped,
            }
        },
    );
    proptest::collection::vec(variant, 1..12)
}

type Write = fn(&Variant) -> String;

/// A tool, its header, how it writes a row, and the columns that its files have.
const DIALECTS: &[(&dyn Source, &str, Write, &[&str])] = &[
    (
        &GWAS_SSF,
        "chromosome\tbase_pair_location\teffect_allele\tother_allele\tbeta\tstandard_error\teffect_allele_frequency\tp_value\trsid\tn",
        |v| {
            format!(
                "{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\trs{}\t{}",
                v.chromosome,
                v.position,
                v.effect,
                v.other,
                v.beta,
                v.error,
                v.frequency,
                v.p_text(),
                v.rs,
                v.n
            )
        },
        &["place", "effect_allele", "other_allele", "beta", "standard_error", "frequency", "p", "rsid", "n"],
    ),
    (
        &REGENIE,
        "CHROM GENPOS ID ALLELE0 ALLELE1 A1FREQ N TEST BETA SE CHISQ LOG10P EXTRA",
        |v| {
            format!(
                "{} {} rs{} {} {} {} {} ADD {} {} 1.5 {} NA",
                v.chromosome,
                v.position,
                v.rs,
                v.other,
                v.effect,
                v.frequency,
                v.n,
                v.beta,
                v.error,
                v.neg_log_10_p()
            )
        },
        &["place", "effect_allele", "other_allele", "beta", "standard_error", "frequency", "p", "rsid", "n"],
    ),
    (
        &PLINK1,
        " CHR           SNP         BP   A1       TEST    NMISS       BETA         STAT            P ",
        |v| {
            format!(
                "{:>4} {:>14} {:>10} {:>4} {:>10} {:>8} {:>10} {:>12} {:>12} ",
                v.chromosome,
                format!("rs{}", v.rs),
                v.position,
                v.effect,
                "ADD",
                v.n,
                v.beta,
                "0.5",
                v.p_text()
            )
        },
        &["place", "effect_allele", "beta", "p", "rsid", "n"],
    ),
    (
        &PLINK2,
        "#CHROM\tPOS\tID\tREF\tALT\tA1\tA1_FREQ\tTEST\tOBS_CT\tBETA\tSE\tT_STAT\tP\tERRCODE",
        |v| {
            let (reference, alternative) = if v.swapped { (&v.effect, &v.other) } else { (&v.other, &v.effect) };
            format!(
                "{}\t{}\trs{}\t{reference}\t{alternative}\t{}\t{}\tADD\t{}\t{}\t{}\t{}\t{}\t.",
                v.chromosome,
                v.position,
                v.rs,
                v.effect,
                v.frequency,
                v.n,
                v.beta,
                v.error,
                v.z(),
                v.p_text()
            )
        },
        &["place", "effect_allele", "other_allele", "beta", "standard_error", "frequency", "p", "rsid", "n"],
    ),
    (
        &SAIGE,
        "CHR\tPOS\tMarkerID\tAllele1\tAllele2\tAF_Allele2\tBETA\tSE\tp.value\tN",
        |v| {
            format!(
                "{}\t{}\trs{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}",
                v.chromosome,
                v.position,
                v.rs,
                v.other,
                v.effect,
                v.frequency,
                v.beta,
                v.error,
                v.p_text(),
                v.n
            )
        },
        &["place", "effect_allele", "other_allele", "beta", "standard_error", "frequency", "p", "rsid", "n"],
    ),
    (
        &BOLT_LMM,
        "SNP\tCHR\tBP\tGENPOS\tALLELE1\tALLELE0\tA1FREQ\tINFO\tP_LINREG\tBETA\tSE\tP_BOLT_LMM_INF\tP_BOLT_LMM",
        |v| {
            format!(
                "rs{}\t{}\t{}\t0.5\t{}\t{}\t{}\t0.9\t0.5\t{}\t{}\t0.5\t{}",
                v.rs,
                v.chromosome,
                v.position,
                v.effect,
                v.other,
                v.frequency,
                v.beta,
                v.error,
                v.p_text()
            )
        },
        &["place", "effect_allele", "other_allele", "beta", "standard_error", "frequency", "p", "rsid"],
    ),
    (
        &METAL,
        "MarkerName\tAllele1\tAllele2\tFreq1\tEffect\tStdErr\tP-value\tDirection",
        |v| {
            format!(
                "rs{}\t{}\t{}\t{}\t{}\t{}\t{}\t++-",
                v.rs,
                v.effect.to_lowercase(),
                v.other.to_lowercase(),
                v.frequency,
                v.beta,
                v.error,
                v.p_text()
            )
        },
        &["effect_allele", "other_allele", "beta", "standard_error", "frequency", "p", "rsid"],
    ),
    (
        &FINNGEN,
        "#chrom\tpos\tref\talt\trsids\tnearest_genes\tpval\tmlogp\tbeta\tsebeta\taf_alt",
        |v| {
            format!(
                "{}\t{}\t{}\t{}\trs{}\tOR4F5\t{}\t{}\t{}\t{}\t{}",
                v.chromosome,
                v.position,
                v.other,
                v.effect,
                v.rs,
                v.p_text(),
                v.neg_log_10_p(),
                v.beta,
                v.error,
                v.frequency
            )
        },
        &["place", "effect_allele", "other_allele", "beta", "standard_error", "frequency", "p", "rsid"],
    ),
    (
        &NEALE,
        "variant\tminor_allele\tminor_AF\tn_complete_samples\tAC\tbeta\tse\ttstat\tpval",
        |v| {
            let (minor, frequency) = if v.swapped { (&v.other, 1.0 - v.frequency) } else { (&v.effect, v.frequency) };
            format!(
                "{}:{}:{}:{}\t{minor}\t{frequency}\t{}\t9\t{}\t{}\t{}\t{}",
                v.chromosome,
                v.position,
                v.other,
                v.effect,
                v.n,
                v.beta,
                v.error,
                v.z(),
                v.p_text()
            )
        },
        &["place", "effect_allele", "other_allele", "beta", "standard_error", "frequency", "p", "n"],
    ),
    (
        &LDSC,
        "SNP\tA1\tA2\tN\tZ",
        |v| format!("rs{}\t{}\t{}\t{}.000\t{}", v.rs, v.effect, v.other, v.n, v.z()),
        &["effect_allele", "other_allele", "z", "rsid", "n"],
    ),
    (
        &EQTL,
        "gene_id\tvariant_id\ttss_distance\tma_samples\tma_count\tmaf\tpval_nominal\tslope\tslope_se",
        |v| {
            format!(
                "ENSG0000012{}.5\tchr{}_{}_{}_{}_b38\t-16\t19\t19\t0.1\t{}\t{}\t{}",
                v.n,
                v.chromosome,
                v.position,
                v.other,
                v.effect,
                v.p_text(),
                v.beta,
                v.error
            )
        },
        &["place", "effect_allele", "other_allele", "beta", "standard_error", "p"],
    ),
    (
        &SUMSTATS,
        "CHR,POS,SNP,EA,NEA,EAF,LOG_ODDS,SE,PVAL,N_CASES,N_CONTROLS",
        |v| {
            format!(
                "chr{},{},RS{},{},{},{},{},{},{},{},{}",
                v.chromosome,
                v.position,
                v.rs,
                v.effect,
                v.other,
                v.frequency,
                v.beta,
                v.error,
                v.p_text(),
                v.n / 2,
                v.n - v.n / 2
            )
        },
        &["place", "effect_allele", "other_allele", "beta", "standard_error", "frequency", "p", "rsid", "n"],
    ),
    (
        &GwasVcf,
        "##fileformat=VCFv4.2\n##FORMAT=<ID=ES,Number=A,Type=Float,Description=\"Effect\">\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tSTUDY",
        |v| {
            format!(
                "{}\t{}\trs{}\t{}\t{}\t.\tPASS\t.\tES:SE:LP:AF:SS\t{}:{}:{}:{}:{}",
                v.chromosome,
                v.position,
                v.rs,
                v.other,
                v.effect,
                v.beta,
                v.error,
                v.neg_log_10_p(),
                v.frequency,
                v.n
            )
        },
        &["place", "effect_allele", "other_allele", "beta", "standard_error", "frequency", "p", "rsid", "n"],
    ),
];

fn near(found: &str, expected: f64) -> bool {
    found.parse::<f64>().is_ok_and(|found| (found - expected).abs() <= 1e-9 * expected.abs().max(1.0))
}

fn check(format: &dyn Source, header: &str, write: Write, columns: &[&str], variants: &[Variant], end: &str) {
    let rows: Vec<String> = std::iter::once(header.replace('\n', end)).chain(variants.iter().map(write)).collect();
    let text = rows.join(end) + end;
    let chunks = read(format, &[("study.txt", text.as_bytes())], &options()).unwrap();
    assert_eq!(rejected(&chunks), [], "{}: {text}", format.name());
    let same = |column: &str, expected: &dyn Fn(&Variant) -> String| {
        let expected: Vec<String> = variants.iter().map(expected).collect();
        assert_eq!(cells(&chunks, column), expected, "{} {column}", format.name());
    };
    let number = |column: &str, expected: &dyn Fn(&Variant) -> f64| {
        let found = cells(&chunks, column);
        assert_eq!(found.len(), variants.len());
        for (found, variant) in found.iter().zip(variants) {
            assert!(near(found, expected(variant)), "{} {column}: {found} of {variant:?}", format.name());
        }
    };
    for column in columns {
        match *column {
            "place" => {
                same("chromosome", &|v| v.chromosome.to_string());
                same("base_pair_location", &|v| v.position.to_string());
            }
            "effect_allele" => same(column, &|v| v.effect.clone()),
            "other_allele" => same(column, &|v| v.other.clone()),
            "rsid" => same(column, &|v| format!("rs{}", v.rs)),
            "n" => same(column, &|v| v.n.to_string()),
            "beta" => number(column, &|v| v.beta),
            "standard_error" => number(column, &|v| v.error),
            "frequency" => number("effect_allele_frequency", &|v| v.frequency),
            "z" => number("z_score", &Variant::z),
            "p" => number("neg_log_10_p_value", &Variant::neg_log_10_p),
            other => panic!("no check of {other}"),
        }
    }
}

proptest! {
    #[test]
    fn what_is_read_is_what_was_written(variants in variants(), windows in any::<bool>()) {
        for (format, header, write, columns) in DIALECTS {
            check(*format, header, *write, columns, &variants, if windows { "\r\n" } else { "\n" });
        }
    }
}

#[test]
fn every_dialect_is_written_here() {
    let written: Vec<&str> = DIALECTS.iter().map(|(format, ..)| format.name()).collect();
    let genetics = super::super::FORMATS.iter().filter(|f| f.tables().iter().any(|t| t.name == "gwas_associations"));
    let missing: Vec<&str> = genetics.map(|f| f.name()).filter(|name| !written.contains(name)).collect();
    // The catalogue's associations and mappings have round trips of their own.
    assert_eq!(missing, ["gwas-catalog", "mapping"]);
}
