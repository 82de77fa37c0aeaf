//! The GWAS Catalog's associations download, in the column sets that it has had since 2012.
//!
//! The catalog is curated by hand: most oddities cost a value, not the row. Only a row without a trait or with an
//! impossible p value is rejected.

use std::borrow::Cow;

use generel_schemas::ids::{Curie, Rsid};
use generel_schemas::tables::GWAS_ASSOCIATIONS;
use generel_schemas::{RejectReason, Table, gwas_ssf};

use super::super::output::{Association, Output};
use super::super::recognize::{Head, Likeness};
use super::super::text::delimited::{Delimited, Dialect, Header, Kept, Refused, Row, RowParser, Taken};
use super::super::{InputFile, ReadOptions, Reader, Source};
use super::values::{self, at};
use crate::Result;

/// What curators wrote in place of a p value.
const NO_P_VALUE: [&str; 3] = ["NS", "Pending", "E"];
/// Units that say that the trait falls with the allele; `decrea` for the catalog's own typing errors.
const LESS: [&str; 5] = ["decrea", "lower", "shorter", "younger", "fewer"];

/// The format `gwas-catalog`.
pub(in super::super) struct GwasCatalog;

impl Source for GwasCatalog {
    fn name(&self) -> &'static str {
        "gwas-catalog"
    }

    fn doc(&self) -> &'static str {
        "GWAS Catalog associations download (.tsv or .tsv.gz), all column sets since 2012"
    }

    fn example(&self) -> &'static str {
        "generel ingest --format gwas-catalog --source gwas_catalog gwas_catalog_v1.0.2-associations.tsv"
    }

    fn tables(&self) -> &'static [&'static Table] {
        &[&GWAS_ASSOCIATIONS]
    }

    fn recognize(&self, head: &Head) -> Option<Likeness> {
        let names = ["disease/trait", "snps", "p-value", "strongest snp-risk allele"];
        head.has_columns('\t', &names).then(|| Likeness::new(99, "the header has DISEASE/TRAIT, SNPS, P-VALUE"))?
    }

    fn open(&self, file: &InputFile, options: &ReadOptions) -> Result<Reader> {
        let delimited = Delimited::open(file, options, Dialect::TSV)?;
        let columns = Columns::of(&delimited.header)?;
        let genome_build = options.genome_build.clone();
        let study_id = options.study_id.clone();
        let file_study = study_id.unwrap_or_else(|| file.stem());
        Ok(delimited.into_reader(Rows { columns, file_study, genome_build }))
    }
}

struct Rows {
    columns: Columns,
    file_study: String,
    genome_build: Option<String>,
}

impl RowParser for Rows {
    fn row(&self, row: &Row<'_>, out: &mut Output) -> Kept {
        self.columns.keep(row, self, out)
    }
}

/// Where in the header a row's values stand. The spellings differ between years only in case.
struct Columns {
    disease_trait: usize,
    snps: usize,
    p_value: usize,
    p_value_mlog: Option<usize>,
    pubmed_id: Option<usize>,
    accession: Option<usize>,
    chromosome: Option<usize>,
    position: Option<usize>,
    risk_allele: Option<usize>,
    risk_allele_frequency: Option<usize>,
    or_or_beta: Option<usize>,
    ci: Option<usize>,
    trait_uri: Option<usize>,
    mapped_gene: Option<usize>,
    reported_gene: Option<usize>,
    consequence: Option<usize>,
}

impl Columns {
    fn of(rows: &Header) -> Result<Self> {
        let at = |name: &str| rows.find(&[name]);
        Ok(Self {
            disease_trait: rows.require(&["DISEASE/TRAIT"])?,
            snps: rows.require(&["SNPS"])?,
            p_value: rows.require(&["P-VALUE"])?,
            p_value_mlog: at("PVALUE_MLOG"),
            pubmed_id: rows.find(&["PUBMEDID", "PUBMED ID"]),
            accession: at("STUDY ACCESSION"),
            chromosome: at("CHR_ID"),
            position: at("CHR_POS"),
            risk_allele: at("STRONGEST SNP-RISK ALLELE"),
            risk_allele_frequency: at("RISK ALLELE FREQUENCY"),
            or_or_beta: at("OR OR BETA"),
            ci: at("95% CI (TEXT)"),
            trait_uri: at("MAPPED_TRAIT_URI"),
            mapped_gene: at("MAPPED_GENE"),
            reported_gene: at("REPORTED GENE(S)"),
            consequence: at("CONTEXT"),
        })
    }

    fn keep(&self, rows: &Row<'_>, file: &Rows, out: &mut Output) -> Kept {
        let get = |column| stated(rows, column);
        let disease_trait = get(Some(self.disease_trait))
            .ok_or_else(|| Refused::column(self.disease_trait, RejectReason::MissingValue, "a trait is needed"))?;
        let p_value = self.p_value(rows)?;
        // Nothing below rejects the row: only kept rows count as having a hole.
        let p_value = match p_value {
            PValue::Known(value) => Some(value),
            PValue::Absent => None,
            PValue::Word => hole(out, "neg_log_10_p_value", None),
        };
        let pmid = match get(self.accession) {
            None => get(self.pubmed_id).map(|id| format!("PMID:{id}")),
            Some(_) => None,
        };
        let snps = get(Some(self.snps)).filter(|text| *text != "Pending");
        let rsid = snps.and_then(values::rsid);
        let uris = get(self.trait_uri);
        let curie = uris.and_then(|text| hole(out, "trait_curie", trait_curie(text))).map(|curie| curie.to_string());
        let allele = get(self.risk_allele).and_then(|text| hole(out, "effect_allele", risk_allele(text))).flatten();
        let effect = self.effect(rows, out);
        let association = Association {
            study_id: get(self.accession).or(pmid.as_deref()).or(Some(&file.file_study)),
            trait_name: Some(disease_trait),
            trait_curie: curie.as_deref(),
            chromosome: get(self.chromosome).and_then(|t| hole(out, "chromosome", values::chromosome(t).ok())),
            base_pair_location: get(self.position)
                .and_then(|t| hole(out, "base_pair_location", values::position(t).ok())),
            effect_allele: allele.as_deref(),
            beta: effect.value.filter(|_| effect.is_beta),
            odds_ratio: effect.value.filter(|_| !effect.is_beta),
            effect_allele_frequency: get(self.risk_allele_frequency)
                .and_then(|t| hole(out, "effect_allele_frequency", frequency(t))),
            neg_log_10_p_value: p_value,
            variant_id: snps.filter(|_| rsid.is_none()),
            rsid: rsid.as_deref(),
            ci_lower: effect.interval.map(|(lower, _)| lower),
            ci_upper: effect.interval.map(|(_, upper)| upper),
            mapped_gene: gene(get(self.mapped_gene)).or_else(|| gene(get(self.reported_gene))),
            genome_build: file.genome_build.as_deref(),
            consequence: get(self.consequence),
            ..Association::default()
        };
        out.association(&association);
        Ok(Taken::Kept)
    }

    /// From P-VALUE, since PVALUE_MLOG is `Infinity` where the catalog's own float underflowed.
    fn p_value(&self, rows: &Row<'_>) -> Kept<PValue> {
        let text = rows.get(self.p_value);
        if text.is_empty() {
            let mlog = stated(rows, self.p_value_mlog).and_then(|text| values::not_negative(text).ok());
            return Ok(mlog.map_or(PValue::Absent, PValue::Known));
        }
        if is_missing(text) || NO_P_VALUE.iter().any(|word| word.eq_ignore_ascii_case(text)) {
            return Ok(PValue::Word);
        }
        at(self.p_value, values::p_value(text)).map(PValue::Known)
    }

    fn effect(&self, rows: &Row<'_>, out: &mut Output) -> Effect {
        let ci = stated(rows, self.ci).unwrap_or_default();
        let text = stated(rows, self.or_or_beta);
        let value = text.and_then(|text| values::number(text).ok());
        let effect = Effect::of(value, ci);
        if text.is_some() && value.is_none() {
            out.hole(if effect.is_beta { "beta" } else { "odds_ratio" });
        }
        effect
    }
}

enum PValue {
    Known(f64),
    Absent,
    /// A word in place of a number.
    Word,
}

/// An effect, and whether it is a beta or an odds ratio: the catalog has one column for both.
struct Effect {
    value: Option<f64>,
    is_beta: bool,
    interval: Option<(f64, f64)>,
}

impl Effect {
    /// Only a beta has a unit, which stands after the brackets of the interval: `[0.03-0.05] (unit increase)`.
    fn of(value: Option<f64>, ci: &str) -> Self {
        let unit = ci.split_once(']').map_or(ci, |(_, unit)| unit);
        // Words in capitals only are no units: NR, ancestries (EA), genotypes (AG).
        let has_unit = unit.bytes().any(|b| b.is_ascii_lowercase()) || unit.contains("SD");
        let effect = Self {
            value,
            // No odds ratio is negative.
            is_beta: has_unit || value.is_some_and(|v| v < 0.0),
            interval: interval(ci),
        };
        let less = !says(unit, "increase") && LESS.iter().any(|word| says(unit, word));
        if effect.is_beta && less && value.is_none_or(|v| v >= 0.0) { effect.negated() } else { effect }
    }

    /// "0.04 [0.03-0.05] decrease" is −0.04 with an interval from −0.05 to −0.03.
    fn negated(self) -> Self {
        Self {
            value: self.value.map(|v| -v),
            is_beta: self.is_beta,
            interval: self.interval.map(|(lower, upper)| (-upper, -lower)),
        }
    }
}

/// Whether a text has a word in it, ignoring case.
fn says(text: &str, word: &str) -> bool {
    text.as_bytes().windows(word.len()).any(|part| part.eq_ignore_ascii_case(word.as_bytes()))
}

/// The limits in `[1.07-1.14]`: also with blanks, a long dash or negative limits.
fn interval(text: &str) -> Option<(f64, f64)> {
    let (_, rest) = text.split_once('[')?;
    let (inside, _) = rest.split_once(']')?;
    let inside = inside.trim();
    // A dash after a digit separates; any other dash is a sign.
    let after_number = |at: usize| inside[..at].trim_end().ends_with(|c: char| c.is_ascii_digit() || c == '.');
    let (at, dash) = inside.char_indices().find(|(at, c)| matches!(*c, '-' | '–' | '—') && after_number(*at))?;
    let lower = values::number(inside[..at].trim()).ok()?;
    let upper = values::number(inside[at + dash.len_utf8()..].trim()).ok()?;
    (lower <= upper).then_some((lower, upper))
}

/// `0.77`, or the number of `0.77 (EA)`.
fn frequency(text: &str) -> Option<f64> {
    let number = text.split([' ', '(']).next().unwrap_or_default();
    values::frequency(number).ok()
}

/// The allele of `rs1874984-C`; `Some(None)` where the catalog says that it is unknown, `None` where it is no allele.
fn risk_allele(text: &str) -> Option<Option<Cow<'_, str>>> {
    let Some((variant, allele)) = text.rsplit_once('-') else {
        let unknown = text == "?" || text.parse::<Rsid>().is_ok();
        return unknown.then_some(None);
    };
    let (variant, allele) = (variant.trim_end(), allele.trim_start());
    if allele == "?" || is_missing(allele) {
        return Some(None);
    }
    // `HLA-A` is a gene, and of `rs1-A + rs2-T` no single allele has the effect.
    if variant.eq_ignore_ascii_case("HLA") || variant.contains(char::is_whitespace) {
        return None;
    }
    values::allele(allele).ok().map(Some)
}

/// The first term of a comma-separated list of URIs: `http://www.ebi.ac.uk/efo/EFO_0004703` is `EFO:0004703`.
fn trait_curie(uris: &str) -> Option<Curie> {
    uris.split(',').find_map(|uri| {
        let (prefix, local) = uri.trim().rsplit(['/', '#']).next()?.split_once('_')?;
        Curie::new(prefix, local).ok()
    })
}

/// The catalog writes ` - ` where a variant has no gene on either side.
fn gene(text: Option<&str>) -> Option<&str> {
    text.filter(|text| text.chars().any(char::is_alphanumeric))
}

fn is_missing(text: &str) -> bool {
    gwas_ssf::is_missing(text) || text.eq_ignore_ascii_case("NR")
}

/// The text of a column, if there is such a column and a value in it.
fn stated<'a>(rows: &Row<'a>, column: Option<usize>) -> Option<&'a str> {
    column.map(|index| rows.get(index)).filter(|text| !is_missing(text))
}

/// Counts a value that is there but could not be read.
fn hole<T>(out: &mut Output, column: &'static str, value: Option<T>) -> Option<T> {
    if value.is_none() {
        out.hole(column);
    }
    value
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::Chunk;
    use super::super::super::testing::{cells, nulled, options, read, rejected};
    use super::*;

    const HEADER: &str = "DATE ADDED TO CATALOG\tPUBMEDID\tDisease/Trait\tCHR_ID\tCHR_POS\tREPORTED GENE(S)\tMAPPED_GENE\t\
                          STRONGEST SNP-RISK ALLELE\tSNPs\tRISK ALLELE FREQUENCY\tp-Value\tPVALUE_MLOG\tOR or BETA\t\
                          95% CI (TEXT)\tMAPPED_TRAIT\tMAPPED_TRAIT_URI\tSTUDY ACCESSION";
    const GOOD: &str = "\t123\tHeight \t6\t100\tABC1\tABC2 - ABC3\trs1-c\trs1\t.47\t3E-400\tInfinity\t   .04\t\
                        [0.03-0.05] (unit increase)\theight\thttp://www.ebi.ac.uk/efo/EFO_0004339\tGCST9";

    /// A good row with some columns replaced.
    fn with(changes: &[(&str, &str)]) -> String {
        let fields = HEADER.split('\t').zip(GOOD.split('\t'));
        let value = |name: &str| changes.iter().find(|(changed, _)| *changed == name).map(|(_, value)| *value);
        fields.map(|(name, old)| value(name).unwrap_or(old)).collect::<Vec<_>>().join("\t")
    }

    fn table(rows: &[String]) -> Vec<Chunk> {
        let text = format!("{HEADER}\n{}\n", rows.join("\n"));
        read(&GwasCatalog, &[("catalog.tsv", text.as_bytes())], &options()).unwrap()
    }

    /// What becomes of one column when another is changed, and whether its NULL was counted.
    fn becomes(change: (&str, &str), column: &str) -> (String, u64) {
        let chunks = table(&[with(&[change])]);
        (cells(&chunks, column).concat(), nulled(&chunks, column))
    }

    fn check(changed: &str, column: &str, cases: &[(&str, &str, u64)]) {
        for (value, expected, counted) in cases {
            assert_eq!(becomes((changed, *value), column), (expected.to_string(), *counted), "{changed} {value}");
        }
    }

    #[test]
    fn a_row_becomes_an_association() {
        let chunks = table(&[GOOD.to_string()]);
        for (column, expected) in [
            ("study_id", "GCST9"),
            ("trait", "Height"),
            ("trait_curie", "EFO:0004339"),
            ("chromosome", "6"),
            ("base_pair_location", "100"),
            ("effect_allele", "C"),
            ("other_allele", "-"),
            ("beta", "0.04"),
            ("odds_ratio", "-"),
            ("effect_allele_frequency", "0.47"),
            ("variant_id", "-"),
            ("rsid", "rs1"),
            ("ci_lower", "0.03"),
            ("ci_upper", "0.05"),
            ("mapped_gene", "ABC2 - ABC3"),
            ("genome_build", "-"),
        ] {
            assert_eq!(cells(&chunks, column), [expected], "{column}");
        }
        assert!(cells(&chunks, "neg_log_10_p_value")[0].starts_with("399.52"));
        assert!(chunks[0].nulled.is_empty());
    }

    #[test]
    fn p_values_are_read_or_rejected() {
        let cases =
            [("1e-400", "400.0", 0), ("", "-", 0), ("NS", "-", 1), ("Pending", "-", 1), ("E", "-", 1), ("NR", "-", 1)];
        check("p-Value", "neg_log_10_p_value", &cases);
        use RejectReason::{InvalidNumber, MissingValue, PValueOutOfRange};
        for (column, value, reason) in [
            ("p-Value", "5E12", PValueOutOfRange),
            ("p-Value", "2", PValueOutOfRange),
            ("p-Value", "0", PValueOutOfRange),
            ("p-Value", "-0.1", PValueOutOfRange),
            ("p-Value", "low", InvalidNumber),
            ("Disease/Trait", "NR", MissingValue),
        ] {
            let chunks = table(&[with(&[(column, value), ("CHR_ID", "6;6")])]);
            assert_eq!(rejected(&chunks), [(2, column, reason)], "{column} {value}");
            assert!(chunks[0].nulled.is_empty(), "a rejected row has no holes");
        }
        let chunks = table(&[with(&[("p-Value", ""), ("PVALUE_MLOG", "7.5")])]);
        assert_eq!(cells(&chunks, "neg_log_10_p_value"), ["7.5"]);
    }

    #[test]
    fn curated_values_are_read_or_counted() {
        let allele = "STRONGEST SNP-RISK ALLELE";
        check(
            allele,
            "effect_allele",
            &[
                ("rs2799573 -?", "-", 0),
                ("rs2665390T-C", "C", 0),
                ("chr22:40779964-A", "A", 0),
                ("rs1 -T", "T", 0),
                ("rs1", "-", 0),
                ("NR", "-", 0),
                ("", "-", 0),
                ("APOE-E4", "-", 1),
                ("HLA-A*3101", "-", 1),
                ("HLA-A", "-", 1),
                ("rs1-A + rs2-T", "-", 1),
                ("Deletion assay", "-", 1),
            ],
        );
        check(
            "RISK ALLELE FREQUENCY",
            "effect_allele_frequency",
            &[
                ("0.77 (EA)", "0.77", 0),
                ("0.77(EA)", "0.77", 0),
                ("NR", "-", 0),
                ("", "-", 0),
                ("0.21-0.27", "-", 1),
                ("(GC)", "-", 1),
                ("1.2", "-", 1),
            ],
        );
        check("CHR_ID", "chromosome", &[("23", "23", 0), ("", "-", 0), ("6;6", "-", 1), ("1 x 2", "-", 1)]);
        check("CHR_POS", "base_pair_location", &[("", "-", 0), ("1;2", "-", 1)]);
        check(
            "MAPPED_TRAIT_URI",
            "trait_curie",
            &[
                ("http://www.orpha.net/ORDO/Orphanet_98, http://www.ebi.ac.uk/efo/EFO_1", "orphanet.ordo:98", 0),
                ("height, http://www.ebi.ac.uk/efo/EFO_1", "EFO:1", 0),
                ("height", "-", 1),
                ("", "-", 0),
            ],
        );
        check("MAPPED_GENE", "mapped_gene", &[(" - ", "ABC1", 0), ("NR", "ABC1", 0), ("", "ABC1", 0)]);
    }

    #[test]
    fn what_is_no_plain_rsid_is_a_variant_id() {
        for (text, variant_id, rsid) in [
            ("RS2", "-", "rs2"),
            ("rs1, rs2", "rs1, rs2", "-"),
            ("rs4460079b", "rs4460079b", "-"),
            ("chr3:182062276", "chr3:182062276", "-"),
            ("NR", "-", "-"),
            ("", "-", "-"),
        ] {
            let chunks = table(&[with(&[("SNPs", text)])]);
            assert_eq!(cells(&chunks, "variant_id"), [variant_id], "{text}");
            assert_eq!(cells(&chunks, "rsid"), [rsid], "{text}");
        }
    }

    #[test]
    fn the_interval_tells_beta_from_odds_ratio() {
        for (value, ci, expected) in [
            ("1.32", "[1.07-1.14]", ["-", "1.32", "1.07", "1.14"]),
            ("1.32", "[1.07 – 1.14] (EA)", ["-", "1.32", "1.07", "1.14"]),
            ("1.32", "[NR]", ["-", "1.32", "-", "-"]),
            ("1.32", "NR", ["-", "1.32", "-", "-"]),
            ("1.32", "", ["-", "1.32", "-", "-"]),
            (".5", "[1.2-1.1] SD increase", ["0.5", "-", "-", "-"]),
            (".5", "[-0.1-0.6] mg/dL increase", ["0.5", "-", "-0.1", "0.6"]),
            (".5", "[0.4-0.6] (unit decrease)", ["-0.5", "-", "-0.6", "-0.4"]),
            ("-.5", "[-0.6--0.4] (unit decrease)", ["-0.5", "-", "-0.6", "-0.4"]),
            (".5", "(% SD lower)", ["-0.5", "-", "-", "-"]),
            ("-.5", "", ["-0.5", "-", "-", "-"]),
            ("NR", "[1.1-1.2]", ["-", "-", "1.1", "1.2"]),
        ] {
            let chunks = table(&[with(&[("OR or BETA", value), ("95% CI (TEXT)", ci)])]);
            let found = ["beta", "odds_ratio", "ci_lower", "ci_upper"].map(|column| cells(&chunks, column).concat());
            assert_eq!(found, expected, "{value} {ci}");
            assert!(chunks[0].nulled.is_empty());
        }
        check("OR or BETA", "beta", &[("Pending", "-", 1)]);
    }

    #[test]
    fn a_study_is_its_accession_or_paper_or_file() {
        let (no_accession, no_paper) = (("STUDY ACCESSION", ""), ("PUBMEDID", ""));
        let chunks = table(&[GOOD.to_string(), with(&[no_accession]), with(&[no_accession, no_paper])]);
        assert_eq!(cells(&chunks, "study_id"), ["GCST9", "PMID:123", "catalog"]);
    }

    #[test]
    fn three_columns_are_enough() {
        let text = "SNPS\tP-VALUE\tDISEASE/TRAIT\nrs1\t0.1\theight\n";
        let mut given = options();
        given.genome_build = Some("GRCh38".into());
        let chunks = read(&GwasCatalog, &[("x.tsv", text.as_bytes())], &given).unwrap();
        assert_eq!(cells(&chunks, "neg_log_10_p_value"), ["1.0"]);
        assert_eq!(cells(&chunks, "genome_build"), ["GRCh38"]);
        let header = "SNPS\tP-VALUE\n";
        let error = read(&GwasCatalog, &[("x.tsv", header.as_bytes())], &options()).unwrap_err();
        assert!(error.to_string().contains("no column DISEASE/TRAIT"), "{error}");
    }

    #[test]
    fn damaged_rows_are_rejected() {
        let mut bytes = format!("\u{feff}{HEADER}\r\n{GOOD}\r\n1\t2\r\n").into_bytes();
        bytes.extend_from_slice(b"1\t\x96\r\n\r\n1\t100\tA");
        let chunks = read(&GwasCatalog, &[("x.tsv", bytes.as_slice())], &options()).unwrap();
        let expected = [
            (3, "-", RejectReason::ColumnCount),
            (4, "-", RejectReason::InvalidUtf8),
            (6, "-", RejectReason::TornLine),
        ];
        assert_eq!(rejected(&chunks), expected);
        assert_eq!(cells(&chunks, "study_id"), ["GCST9"]);
    }

    proptest! {
        #[test]
        fn any_bytes_balance(
            body in proptest::collection::vec(
                prop_oneof![any::<u8>(), proptest::sample::select(b"\t\t\t\t\n1.[-]eACrsN".to_vec())], 0..600)
        ) {
            let mut bytes = b"DISEASE/TRAIT\tSNPS\tP-VALUE\tSTRONGEST SNP-RISK ALLELE\tOR or BETA\t95% CI (TEXT)\n".to_vec();
            bytes.extend_from_slice(&body);
            prop_assert!(read(&GwasCatalog, &[("x.tsv", bytes.as_slice())], &options()).is_ok());
        }

        #[test]
        fn texts_never_panic(text in "\\PC{0,30}") {
            let _ = (interval(&text), interval(&format!("[{text}]")), Effect::of(Some(1.0), &text).is_beta);
            let _ = (frequency(&text), risk_allele(&text), trait_curie(&text));
        }
    }
}
