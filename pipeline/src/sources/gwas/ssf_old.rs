//! GWAS-SSF summary statistics: one study a file, what holds for all rows in `<file>-meta.yaml` beside it.
//!
//! Harmonised and older files lack columns that the standard demands today; of those only what a row cannot do without
//! is required of the header.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use generel_schemas::gwas_ssf::{self, is_missing};
use generel_schemas::tables::GWAS_ASSOCIATIONS;
use generel_schemas::{RejectReason, Table};

use super::delimited::Delimited;
use super::gwas::{self, Association, AssociationBuilder, Kept, Nulled, Parsed};
use super::input::InputFile;
use super::{Chunk, ChunkReader, ReadOptions, Source};
use crate::{Error, Result};

/// Mandatory columns of the standard that files in the wild lack; NULL is a fair value for them.
const OFTEN_ABSENT: [&str; 2] = ["standard_error", "effect_allele_frequency"];
/// Mandatory columns that an rsID stands in for.
const LOCATION: [&str; 2] = ["chromosome", "base_pair_location"];
const RSID: [&str; 2] = ["rsid", "rs_id"];

/// The format `gwas-ssf`.
pub(super) struct GwasSsf;

impl Source for GwasSsf {
    fn name(&self) -> &'static str {
        "gwas-ssf"
    }

    fn doc(&self) -> &'static str {
        "GWAS-SSF summary statistics, also harmonised (.tsv or .tsv.gz), with the -meta.yaml beside the file"
    }

    fn example(&self) -> &'static str {
        "generel ingest --format gwas-ssf --source ukb GCST90293086.h.tsv.gz"
    }

    fn tables(&self) -> &'static [&'static Table] {
        &[&GWAS_ASSOCIATIONS]
    }

    fn files(&self, path: &Path) -> Result<Vec<InputFile>> {
        Ok(vec![InputFile::with_companions(path, metadata_file(path).into_iter().collect())?])
    }

    fn open(&self, file: &InputFile, options: &ReadOptions) -> Result<Box<dyn ChunkReader>> {
        let rows = Delimited::open(file, b'\t')?;
        let columns = Columns::of(&rows, &file.path)?;
        let study = Study::of(file, options)?;
        Ok(Box::new(Reader { rows, columns, study, chunk_rows: options.chunk_rows }))
    }
}

/// The metadata file beside a file: `X.tsv.gz-meta.yaml` or `X.tsv-meta.yaml`.
fn metadata_file(path: &Path) -> Option<PathBuf> {
    let beside = |path: &Path| {
        let mut name = OsString::from(path);
        name.push("-meta.yaml");
        Some(PathBuf::from(name)).filter(|p| p.is_file())
    };
    let unzipped = || path.extension().filter(|e| *e == "gz").and_then(|_| beside(&path.with_extension("")));
    beside(path).or_else(unzipped)
}

/// What we use of the metadata file; the standard has much more.
#[derive(serde::Deserialize)]
struct Metadata {
    #[serde(default)]
    trait_description: Option<TextOrList>,
    #[serde(default)]
    genome_assembly: Option<String>,
}

/// The standard says list, older files have a text.
#[derive(serde::Deserialize)]
#[serde(untagged)]
enum TextOrList {
    Text(String),
    List(Vec<String>),
}

impl Metadata {
    fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
        let text = std::str::from_utf8(&bytes).map_err(|_| Error::format(path, 1, "the metadata is not UTF-8 text"))?;
        serde_saphyr::from_str(text).map_err(|e| {
            // The parser's own message may quote the file.
            let line = e.location().map_or(1, |location| location.line()).max(1);
            Error::format(path, line, "not GWAS-SSF metadata: expected YAML with trait_description as text or list")
        })
    }

    fn trait_name(&self) -> Option<String> {
        match self.trait_description.as_ref()? {
            TextOrList::Text(text) => Some(text.trim().to_string()),
            TextOrList::List(texts) => Some(texts.iter().map(|t| t.trim()).collect::<Vec<_>>().join("; ")),
        }
    }
}

/// What holds for all rows of a file.
struct Study {
    study_id: String,
    trait_name: Option<String>,
    genome_build: Option<String>,
}

impl Study {
    fn of(file: &InputFile, options: &ReadOptions) -> Result<Self> {
        let metadata = file.companions.first().map(|path| Metadata::read(path)).transpose()?;
        let stated = |text: &String| !is_missing(text);
        let study_id = options.study_id.clone().unwrap_or_else(|| {
            let stem = file.stem();
            stem.split('.').next().filter(|id| !id.is_empty()).unwrap_or(&stem).to_string()
        });
        let trait_name = metadata.as_ref().and_then(Metadata::trait_name).filter(stated);
        let genome_build = metadata.and_then(|m| m.genome_assembly).filter(stated);
        Ok(Self {
            study_id,
            trait_name: options.trait_name.clone().or(trait_name),
            genome_build: options.genome_build.clone().or(genome_build),
        })
    }
}

/// Where in the header a row's values stand.
struct Columns {
    chromosome: Option<usize>,
    base_pair_location: Option<usize>,
    effect_allele: Option<usize>,
    other_allele: Option<usize>,
    beta: Option<usize>,
    odds_ratio: Option<usize>,
    hazard_ratio: Option<usize>,
    standard_error: Option<usize>,
    effect_allele_frequency: Option<usize>,
    p_value: Option<usize>,
    neg_log_10_p_value: Option<usize>,
    variant_id: Option<usize>,
    /// Harmonised files have both spellings.
    rsid: [Option<usize>; 2],
    n: Option<usize>,
    ci_lower: Option<usize>,
    ci_upper: Option<usize>,
    info: Option<usize>,
}

impl Columns {
    fn of(rows: &Delimited, path: &Path) -> Result<Self> {
        let at = |name: &str| rows.column(&[name]);
        let rsid = RSID.map(at);
        let by_rsid = rsid.iter().any(Option::is_some);
        let missing: Vec<String> = gwas_ssf::MANDATORY
            .iter()
            .filter(|names| !(OFTEN_ABSENT.contains(&names[0]) || by_rsid && LOCATION.contains(&names[0])))
            .filter(|names| rows.column(names).is_none())
            .map(|names| names.join(" or "))
            .collect();
        if !missing.is_empty() {
            let (missing, found) = (missing.join(", "), rows.header().join(", "));
            let others = "`generel formats` lists other formats";
            let message = format!("not GWAS-SSF: no column {missing} in the header; found: {found}; {others}");
            return Err(Error::format(path, 1, message));
        }
        Ok(Self {
            chromosome: at("chromosome"),
            base_pair_location: at("base_pair_location"),
            effect_allele: at("effect_allele"),
            other_allele: at("other_allele"),
            beta: at("beta"),
            odds_ratio: at("odds_ratio"),
            hazard_ratio: at("hazard_ratio"),
            standard_error: at("standard_error"),
            effect_allele_frequency: at("effect_allele_frequency"),
            p_value: at("p_value"),
            neg_log_10_p_value: at("neg_log_10_p_value"),
            variant_id: at("variant_id"),
            rsid,
            n: at("n"),
            ci_lower: at("ci_lower"),
            ci_upper: at("ci_upper"),
            info: at("info"),
        })
    }

    fn keep(&self, rows: &Delimited, study: &Study, builder: &mut AssociationBuilder, nulled: &mut Nulled) -> Kept {
        let rsid_text = self.rsid.into_iter().find_map(|column| stated(rows, column));
        let rsid = rsid_text.and_then(gwas::rsid);
        let variant_text = stated(rows, self.variant_id);
        let effect_allele = needed(self.effect_allele, optional(rows, self.effect_allele, gwas::allele)?)?;
        let other_allele = needed(self.other_allele, optional(rows, self.other_allele, gwas::allele)?)?;
        let mut row = Association {
            study_id: &study.study_id,
            trait_name: study.trait_name.as_deref(),
            genome_build: study.genome_build.as_deref(),
            chromosome: optional(rows, self.chromosome, gwas::chromosome)?,
            base_pair_location: optional(rows, self.base_pair_location, gwas::position)?,
            effect_allele: Some(&effect_allele),
            other_allele: Some(&other_allele),
            beta: optional(rows, self.beta, gwas::number)?,
            odds_ratio: optional(rows, self.odds_ratio, gwas::not_negative)?,
            hazard_ratio: optional(rows, self.hazard_ratio, gwas::not_negative)?,
            standard_error: optional(rows, self.standard_error, gwas::not_negative)?,
            effect_allele_frequency: optional(rows, self.effect_allele_frequency, gwas::frequency)?,
            neg_log_10_p_value: Some(self.neg_log_10_p_value(rows)?),
            variant_id: variant_text.or(rsid_text.filter(|_| rsid.is_none())),
            rsid: rsid.as_deref(),
            n: optional(rows, self.n, gwas::sample_size)?,
            ..Association::default()
        };
        if rsid.is_none() {
            needed(self.chromosome, row.chromosome)?;
            needed(self.base_pair_location, row.base_pair_location)?;
        }
        // Nothing below rejects the row, so that only kept rows count as having a hole.
        if rsid.is_none() && rsid_text.is_some() {
            *nulled.entry("rsid").or_default() += 1;
        }
        row.info = number_or_hole(rows, self.info, "info", nulled);
        row.ci_lower = number_or_hole(rows, self.ci_lower, "ci_lower", nulled);
        row.ci_upper = number_or_hole(rows, self.ci_upper, "ci_upper", nulled);
        builder.append(&row);
        Ok(())
    }

    /// The logarithm where it is stated, since it cannot have underflowed; else from the p value's text.
    fn neg_log_10_p_value(&self, rows: &Delimited) -> Kept<f64> {
        if let Some(value) = optional(rows, self.neg_log_10_p_value, logarithm)? {
            return Ok(value);
        }
        needed(self.p_value.or(self.neg_log_10_p_value), optional(rows, self.p_value, gwas::p_value)?)
    }
}

fn logarithm(text: &str) -> Parsed<f64> {
    match gwas::number(text)? {
        value if value >= 0.0 => Ok(value),
        _ => Err((RejectReason::PValueOutOfRange, "negative, so the p value is greater than 1")),
    }
}

/// The text of a column, if there is such a column and a value in it.
fn stated(rows: &Delimited, column: Option<usize>) -> Option<&str> {
    column.map(|index| rows.field(index)).filter(|text| !is_missing(text))
}

/// The value of a column, if there is one; a value that is there must be valid.
fn optional<'a, T>(
    rows: &'a Delimited,
    column: Option<usize>,
    parse: impl FnOnce(&'a str) -> Parsed<T>,
) -> Kept<Option<T>> {
    stated(rows, column).map(parse).transpose().map_err(|refusal| (column, refusal))
}

fn needed<T>(column: Option<usize>, value: Option<T>) -> Kept<T> {
    value.ok_or((column, (RejectReason::MissingValue, "a value is needed")))
}

fn number_or_hole(rows: &Delimited, column: Option<usize>, name: &'static str, nulled: &mut Nulled) -> Option<f64> {
    let number = gwas::number(stated(rows, column)?).ok();
    if number.is_none() {
        *nulled.entry(name).or_default() += 1;
    }
    number
}

struct Reader {
    rows: Delimited,
    columns: Columns,
    study: Study,
    chunk_rows: usize,
}

impl ChunkReader for Reader {
    fn next_chunk(&mut self) -> Result<Option<Chunk>> {
        let Self { rows, columns, study, chunk_rows } = self;
        gwas::read_chunk(rows, *chunk_rows, |rows, builder, nulled| columns.keep(rows, study, builder, nulled))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::gwas::testing::{cells, nulled, options, read, rejected};
    use super::*;

    const HEADER: &str = "chromosome\tbase_pair_location\teffect_allele\tother_allele\tbeta\tstandard_error\t\
                          effect_allele_frequency\tp_value\tvariant_id\trsid\tn\tinfo\tci_lower";
    const GOOD: &str = "1\t100\tA\tG\t0.1\t.02\t0.3\t1e-400\tv1\trs1\t50508.1\t0.9\t0.05";

    /// A good row with one column replaced.
    fn with(column: &str, value: &str) -> String {
        let fields = HEADER.split('\t').zip(GOOD.split('\t'));
        fields.map(|(name, old)| if name == column { value } else { old }).collect::<Vec<_>>().join("\t")
    }

    fn table(rows: &[String]) -> Vec<Chunk> {
        let text = format!("{HEADER}\n{}\n", rows.join("\n"));
        read(&GwasSsf, &[("GCST7.h.tsv", text.as_bytes())], &options()).unwrap()
    }

    #[test]
    fn a_row_becomes_an_association() {
        let chunks = table(&[GOOD.to_string()]);
        for (column, expected) in [
            ("study_id", "GCST7"),
            ("trait", "-"),
            ("chromosome", "1"),
            ("base_pair_location", "100"),
            ("effect_allele", "A"),
            ("other_allele", "G"),
            ("beta", "0.1"),
            ("odds_ratio", "-"),
            ("standard_error", "0.02"),
            ("effect_allele_frequency", "0.3"),
            ("neg_log_10_p_value", "400.0"),
            ("variant_id", "v1"),
            ("rsid", "rs1"),
            ("n", "50508"),
            ("info", "0.9"),
            ("ci_lower", "0.05"),
            ("ci_upper", "-"),
            ("genome_build", "-"),
        ] {
            assert_eq!(cells(&chunks, column), [expected], "{column}");
        }
    }

    #[test]
    fn invalid_values_reject_the_row() {
        use RejectReason::*;
        for (column, value, reason) in [
            ("chromosome", "1.0001", InvalidChromosome),
            ("base_pair_location", "abc", InvalidPosition),
            ("effect_allele", "E4", InvalidAllele),
            ("other_allele", "A/G", InvalidAllele),
            ("effect_allele", "#NA", MissingValue),
            ("other_allele", "", MissingValue),
            ("beta", "inf", InvalidNumber),
            ("standard_error", "-1", InvalidNumber),
            ("effect_allele_frequency", "1.2", InvalidNumber),
            ("p_value", "2", PValueOutOfRange),
            ("p_value", "0", PValueOutOfRange),
            ("p_value", "low", InvalidNumber),
            ("p_value", "NA", MissingValue),
            ("n", "many", InvalidNumber),
        ] {
            assert_eq!(rejected(&table(&[with(column, value)])), [(2, column, reason)], "{column} {value}");
        }
    }

    #[test]
    fn missing_values_become_null() {
        for column in ["chromosome", "base_pair_location", "beta", "standard_error", "n", "info", "rsid", "variant_id"]
        {
            let chunks = table(&[with(column, "#NA")]);
            assert_eq!(cells(&chunks, column), ["-"], "{column}");
            assert!(chunks[0].nulled.is_empty());
        }
        let chunks = table(&[with("ci_lower", "low")]);
        assert_eq!((cells(&chunks, "ci_lower"), nulled(&chunks, "ci_lower")), (vec!["-".to_string()], 1));
    }

    #[test]
    fn an_rsid_stands_in_for_the_location() {
        let without = with("rsid", "NA").replacen("1\t100", "NA\t100", 1);
        let invalid = with("rsid", "ss5").replacen("\tv1\t", "\tNA\t", 1);
        let chunks = table(&[without, invalid, with("rsid", "RS7")]);
        assert_eq!(rejected(&chunks), [(2, "chromosome", RejectReason::MissingValue)]);
        assert_eq!(cells(&chunks, "rsid"), ["-", "rs7"]);
        assert_eq!(cells(&chunks, "variant_id"), ["ss5", "v1"]);
        assert_eq!(nulled(&chunks, "rsid"), 1);
    }

    #[test]
    fn only_what_a_row_needs_is_required_of_the_header() {
        let text = "rsid\trs_id\teffect_allele\tother_allele\todds_ratio\tp_value\tneg_log_10_p_value\n\
                    NA\trs2\ta\tc\t1.5\t0.5\t12\nrs1\trs2\tA\tC\tNA\t0.1\tNA\nrs1\trs2\tA\tC\tNA\t0.1\t-1\n";
        let chunks = read(&GwasSsf, &[("x.tsv", text.as_bytes())], &options()).unwrap();
        assert_eq!(cells(&chunks, "neg_log_10_p_value"), ["12.0", "1.0"]);
        assert_eq!(cells(&chunks, "rsid"), ["rs2", "rs1"]);
        assert_eq!(cells(&chunks, "odds_ratio"), ["1.5", "-"]);
        assert_eq!(cells(&chunks, "effect_allele"), ["A", "A"]);
        assert_eq!(rejected(&chunks), [(4, "neg_log_10_p_value", RejectReason::PValueOutOfRange)]);

        let error =
            read(&GwasSsf, &[("x.tsv", b"SNP\tp_value\tbeta\n".as_slice())], &options()).unwrap_err().to_string();
        for part in
            ["x.tsv:1:", "chromosome, base_pair_location, effect_allele", "found: SNP, p_value", "generel formats"]
        {
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn metadata_and_options_say_what_holds_for_all_rows() {
        let data = format!("{HEADER}\n{GOOD}\n");
        let list: &[u8] = b"trait_description:\n  - asthma\n  - eczema\ngenome_assembly: GRCh37\nother: [1, {a: b}]\n";
        let text: &[u8] = b"trait_description: asthma\n";
        let with_meta = |name: &str, meta: &[u8], options: &ReadOptions| {
            read(&GwasSsf, &[("GCST7.tsv.gz", data.as_bytes()), (name, meta)], options)
        };
        let chunks = with_meta("GCST7.tsv.gz-meta.yaml", list, &options()).unwrap();
        assert_eq!(
            (&cells(&chunks, "trait")[0][..], &cells(&chunks, "genome_build")[0][..]),
            ("asthma; eczema", "GRCh37")
        );
        let chunks = with_meta("GCST7.tsv-meta.yaml", text, &options()).unwrap();
        assert_eq!((&cells(&chunks, "trait")[0][..], &cells(&chunks, "genome_build")[0][..]), ("asthma", "-"));

        let mut given = options();
        given.study_id = Some("mine".into());
        given.trait_name = Some("height".into());
        given.genome_build = Some("GRCh38".into());
        let chunks = with_meta("GCST7.tsv.gz-meta.yaml", list, &given).unwrap();
        for (column, expected) in [("study_id", "mine"), ("trait", "height"), ("genome_build", "GRCh38")] {
            assert_eq!(cells(&chunks, column), [expected]);
        }
        let error =
            with_meta("GCST7.tsv-meta.yaml", b"trait_description: [secret\n", &options()).unwrap_err().to_string();
        assert!(error.contains("GCST7.tsv-meta.yaml:") && !error.contains("secret"), "{error}");
    }

    #[test]
    fn damaged_rows_are_rejected() {
        let mut bytes = format!("\u{feff}{HEADER}\r\n{GOOD}\r\n1\t2\r\n").into_bytes();
        bytes.extend_from_slice(b"1\t\xff\r\n\r\n1\t100\tA");
        let chunks = read(&GwasSsf, &[("x.tsv", bytes.as_slice())], &options()).unwrap();
        let expected = [
            (3, "-", RejectReason::ColumnCount),
            (4, "-", RejectReason::InvalidUtf8),
            (6, "-", RejectReason::TornLine),
        ];
        assert_eq!(rejected(&chunks), expected);
        assert_eq!(cells(&chunks, "ci_lower"), ["0.05"]);
    }

    proptest! {
        #[test]
        fn any_bytes_balance(
            body in proptest::collection::vec(
                prop_oneof![any::<u8>(), proptest::sample::select(b"\t\t\t\n1.e-ACrsN".to_vec())], 0..600)
        ) {
            let mut bytes = b"rsid\teffect_allele\tother_allele\tbeta\tp_value\n".to_vec();
            bytes.extend_from_slice(&body);
            prop_assert!(read(&GwasSsf, &[("x.tsv", bytes.as_slice())], &options()).is_ok());
        }
    }
}
