//! Summary statistics of any tool: one row a variant, understood by the names of its columns.

mod blocks;

use std::borrow::Cow;

use generel_schemas::tables::GWAS_ASSOCIATIONS;
use generel_schemas::{RejectReason, Table};

use super::super::output::{Association, Output};
use super::super::recognize::{Head, Likeness};
use super::super::text::delimited::{Block, Delimited, Kept, Refused, Row, RowParser, Taken};
use super::super::{Found, InputFile, ReadOptions, Reader, Source};
use super::cells::{hole, needed, optional, signed, stated};
use super::columns::{Columns, Role};
use super::dialects::Tool;
use super::metadata::{self, Study};
use super::reference::Reference;
use super::sample::{Coding, Sample, separator};
use super::values::{self, at};
use crate::Result;

/// A tool's summary statistics as a format.
pub(in super::super) struct Sumstats(pub(super) &'static Tool);

impl Source for Sumstats {
    fn name(&self) -> &'static str {
        self.0.name
    }

    fn doc(&self) -> &'static str {
        self.0.doc
    }

    fn example(&self) -> &'static str {
        self.0.example
    }

    fn tables(&self) -> &'static [&'static Table] {
        &[&GWAS_ASSOCIATIONS]
    }

    fn recognize(&self, head: &Head) -> Option<Likeness> {
        let separator = separator(head.header());
        let columns = head.columns(separator);
        let has = |name: &&str| columns.iter().any(|c| c == name);
        let signature = self.0.signature;
        if signature.is_empty() || !signature.iter().all(|any| any.iter().any(&has)) {
            return None;
        }
        let seen: Vec<&str> = signature.iter().filter_map(|any| any.iter().find(|n| has(n)).copied()).collect();
        Likeness::new(self.0.score, format!("the header has {}", seen.join(", ")))
    }

    fn takes_reference(&self) -> bool {
        true
    }

    fn files(&self, found: &Found) -> Result<Vec<InputFile>> {
        let place = found.file()?;
        Ok(vec![InputFile::with_companions(place, metadata::beside(place)?.into_iter().collect())?])
    }

    fn open(&self, file: &InputFile, options: &ReadOptions) -> Result<Reader> {
        let tool = self.0;
        let sample = Sample::of(file, options)?;
        let mut delimited = Delimited::open(file, options, sample.dialect)?;
        let columns = Columns::of(&delimited.header, tool.own, &options.columns)?;
        check(tool, &columns, &delimited)?;
        delimited.recognized = Some(columns.describe(&delimited.header));
        let coding = sample.coding(&columns);
        let reference = options.reference.as_deref().map(Reference::open).transpose()?;
        let rows = Rows {
            reference_genome: reference,
            ..Rows::new(tool, &columns, Study::of(file, options)?, coding, &delimited)
        };
        Ok(delimited.into_reader(rows))
    }
}

/// What a row cannot do without.
fn check(tool: &Tool, columns: &Columns, file: &Delimited) -> Result<()> {
    let has = |role| columns.at(role).is_some();
    let place = has(Role::Chromosome) && has(Role::Position);
    let mut missing = Vec::new();
    if !(place || has(Role::Rsid) || has(Role::VariantId)) {
        missing.push("a variant (chromosome and base_pair_location, rsid or variant_id)");
    }
    if !(has(Role::P) || has(Role::NegLog10P) || has(Role::LnP) || has(Role::Z) || has(Role::Beta) && !tool.strict) {
        missing.push("p_value or neg_log_10_p_value");
    }
    if tool.strict {
        if !has(Role::EffectAllele) {
            missing.push("effect_allele");
        }
        if !has(Role::OtherAllele) {
            missing.push("other_allele");
        }
        if !(has(Role::Beta) || has(Role::OddsRatio) || has(Role::HazardRatio)) {
            missing.push("beta or odds_ratio or hazard_ratio");
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let found = file.header.names().join(", ");
    let message = format!(
        "not {}: no column {} in the header; found: {found}; name columns with --columns, or see generel formats",
        tool.name,
        missing.join(", ")
    );
    Err(file.header.error(message))
}

/// Where each value of a row stands.
struct Rows {
    reference_genome: Option<Reference>,
    study: Study,
    strict: bool,
    coding: Coding,
    plink: bool,
    /// Whether the trait is in the rows and how it becomes a CURIE.
    trait_prefix: Option<&'static str>,
    /// The build of all files of the tool.
    tool_build: Option<&'static str>,
    chromosome: Option<usize>,
    position: Option<usize>,
    variant_id: Option<usize>,
    rsid: [Option<usize>; 2],
    effect_allele: Option<usize>,
    other_allele: Option<usize>,
    /// Where the other allele is whichever of these the effect allele is not (PLINK 2).
    reference: Option<usize>,
    alternative: Option<usize>,
    /// Whether several other alleles may stand in one field (PLINK 2's `OMITTED` of multi-allelic variants).
    lists_others: bool,
    minor_allele: Option<usize>,
    strand: Option<usize>,
    beta: Option<usize>,
    odds_ratio: Option<usize>,
    hazard_ratio: Option<usize>,
    standard_error: Option<usize>,
    z: Option<usize>,
    frequency: Option<usize>,
    minor_frequency: Option<usize>,
    p: Vec<usize>,
    neg_log_10_p: Option<usize>,
    ln_p: Option<usize>,
    n: Option<usize>,
    cases: Option<usize>,
    controls: Option<usize>,
    ci_lower: Option<usize>,
    ci_upper: Option<usize>,
    info: Option<usize>,
    gene: Option<usize>,
    trait_name: Option<usize>,
    test: Option<usize>,
    build: Option<usize>,
}

impl Rows {
    fn new(tool: &Tool, columns: &Columns, study: Study, coding: Coding, file: &Delimited) -> Self {
        let at = |role| columns.at(role);
        let header = &file.header;
        let preferred: Vec<usize> = tool.p_values.iter().filter_map(|name| header.find(&[name])).collect();
        let by_other = tool.other_is_not_effect && at(Role::OtherAllele) == at(Role::Reference);
        Self {
            reference_genome: None,
            study,
            strict: tool.strict,
            coding,
            plink: tool.plink_chromosomes,
            trait_prefix: tool.trait_prefix,
            tool_build: tool.build,
            chromosome: at(Role::Chromosome),
            position: at(Role::Position),
            variant_id: at(Role::VariantId),
            rsid: [at(Role::Rsid), header.find(&["rs_id"]).filter(|i| Some(*i) != at(Role::Rsid))],
            effect_allele: at(Role::EffectAllele),
            other_allele: at(Role::OtherAllele).filter(|_| !by_other),
            reference: at(Role::Reference).filter(|_| by_other),
            alternative: at(Role::Alternative).filter(|_| by_other),
            lists_others: tool.other_is_not_effect,
            minor_allele: at(Role::MinorAllele),
            strand: at(Role::Strand),
            beta: at(Role::Beta),
            odds_ratio: at(Role::OddsRatio),
            hazard_ratio: at(Role::HazardRatio),
            standard_error: at(Role::StandardError),
            z: at(Role::Z),
            frequency: at(Role::Frequency),
            minor_frequency: at(Role::MinorFrequency),
            p: if preferred.is_empty() { at(Role::P).into_iter().collect() } else { preferred },
            neg_log_10_p: at(Role::NegLog10P),
            ln_p: at(Role::LnP),
            n: at(Role::N),
            cases: at(Role::Cases),
            controls: at(Role::Controls),
            ci_lower: at(Role::CiLower),
            ci_upper: at(Role::CiUpper),
            info: at(Role::Info),
            gene: at(Role::Gene),
            trait_name: at(Role::Trait),
            test: at(Role::Test),
            build: at(Role::Build),
        }
    }

    /// The logarithm where it is stated, since it cannot have underflowed; else from the p value's text, else from z.
    /// A p value of 0 is one that underflowed in the tool: there too z tells it.
    #[inline]
    fn neg_log_10_p_value(&self, row: &Row<'_>, z: Option<f64>) -> Kept<Option<f64>> {
        if let Some(value) = optional(row, self.neg_log_10_p, values::neg_log10)? {
            return Ok(Some(value));
        }
        for column in &self.p {
            if let Some(text) = stated(row, Some(*column)) {
                return match (values::p_value(text), z) {
                    (Err(_), Some(z)) if text.parse() == Ok(0.0) => Ok(Some(values::from_z(z))),
                    (parsed, _) => at(*column, parsed).map(Some),
                };
            }
        }
        if let Some(value) = signed(row, self.ln_p, values::from_ln_p)? {
            return Ok(Some(value));
        }
        // A cell without a p value is a test without a result; a file without the column leaves it to the reader.
        let untold = self.p.is_empty() && self.neg_log_10_p.is_none() && self.ln_p.is_none();
        Ok(z.filter(|_| untold).map(values::from_z))
    }

    #[inline]
    fn allele<'a>(&self, row: &Row<'a>, column: Option<usize>) -> Kept<Option<Cow<'a, str>>> {
        let (Some(index), Some(text)) = (column, stated(row, column)) else { return Ok(None) };
        match self.coding {
            Coding::Letters => at(index, values::allele(text)).map(Some),
            Coding::Acgt => at(index, values::numeric_allele(text)).map(Some),
            Coding::Unnamed if text == "0" || text == "1" || text == "2" => Ok(None),
            Coding::Unnamed => at(index, values::allele(text)).map(Some),
        }
    }

    fn sample_size(&self, row: &Row<'_>) -> Kept<Option<i64>> {
        if let Some(n) = optional(row, self.n, values::sample_size)? {
            return Ok(Some(n));
        }
        let cases = optional(row, self.cases, values::sample_size)?;
        let controls = optional(row, self.controls, values::sample_size)?;
        Ok(cases.zip(controls).map(|(a, b)| a + b).or(self.study.n))
    }
}

impl RowParser for Rows {
    fn block(&self, block: &Block<'_>, out: &mut Output, one: &mut dyn FnMut(usize, &mut Output)) -> u64 {
        self.take(block, out, one)
    }

    fn row(&self, row: &Row<'_>, out: &mut Output) -> Kept {
        if let Some(test) = row.text(self.test)
            && test != "ADD"
        {
            return Ok(Taken::Ignored("not the additive test"));
        }
        let rsid_text = self.rsid.iter().find_map(|column| stated(row, *column));
        // Some write their own identifiers where they have no rsID.
        let own = || rsid_text.filter(|text| values::rsid(text).is_none());
        let variant_text = stated(row, self.variant_id).or_else(own);
        let rsid = rsid_text.and_then(values::rsid).or_else(|| variant_text.and_then(values::rsid));
        let chromosome_of = if self.plink { values::plink_chromosome } else { values::chromosome };
        let mut chromosome = optional(row, self.chromosome, chromosome_of)?;
        let mut position = optional(row, self.position, values::position)?;
        let mut effect_allele = self.allele(row, self.effect_allele)?;
        let several = self.lists_others && stated(row, self.other_allele).is_some_and(|text| text.contains(','));
        let mut other_allele = if several { None } else { self.allele(row, self.other_allele)? };
        let unnamed = self.coding == Coding::Unnamed && effect_allele.is_none();
        if self.reference.is_some() {
            let (reference, alternative) = (self.allele(row, self.reference)?, self.allele(row, self.alternative)?);
            other_allele = if reference == effect_allele { alternative } else { reference };
        }
        if (position.is_none() || effect_allele.is_none() && !unnamed)
            && let Some((c, p, alleles)) = variant_text.and_then(values::variant_parts)
        {
            chromosome = chromosome.or(Some(c));
            position = position.or(Some(p));
            // Identifiers say reference, then alternative; the tools that write only them test the alternative.
            if let (None, None, Some((reference, alternative))) = (&effect_allele, &other_allele, alleles) {
                effect_allele = values::allele(alternative).ok();
                other_allele = values::allele(reference).ok();
            }
        }
        if self.strand.is_some_and(|column| row.get(column) == "-") {
            effect_allele = effect_allele.map(|a| Cow::Owned(values::complement(&a)));
            other_allele = other_allele.map(|a| Cow::Owned(values::complement(&a)));
        }
        if effect_allele.is_some() && effect_allele == other_allele {
            let column = self.other_allele.or(self.variant_id).unwrap_or_default();
            return Err(Refused::column(column, RejectReason::InvalidAllele, "both alleles are the same"));
        }
        let z = signed(row, self.z, values::number)?;
        let beta = signed(row, self.beta, values::number)?;
        let odds_ratio = optional(row, self.odds_ratio, values::ratio)?;
        let hazard_ratio = optional(row, self.hazard_ratio, values::ratio)?;
        let standard_error = optional(row, self.standard_error, values::not_negative)?;
        let wald = || Some(beta? / standard_error.filter(|error| *error > 0.0)?);
        let p = self.neg_log_10_p_value(row, z.or_else(wald))?;
        let no_effect = beta.is_none() && odds_ratio.is_none() && hazard_ratio.is_none() && z.is_none();
        if self.strict {
            needed(self.effect_allele, &effect_allele)?;
            needed(self.other_allele, &other_allele)?;
            needed(self.p.first().copied().or(self.neg_log_10_p), &p)?;
        } else if p.is_none() && no_effect {
            return Ok(Taken::Ignored("no result for the variant"));
        }
        if rsid.is_none() {
            if self.chromosome.is_some() && (self.strict || variant_text.is_none()) {
                needed(self.chromosome, &chromosome)?;
                needed(self.position, &position)?;
            } else if variant_text.is_none() && position.is_none() {
                let column = self.variant_id.or(self.rsid[0]).unwrap_or_default();
                return Err(Refused::missing(column));
            }
        }
        let mut frequency = optional(row, self.frequency, values::frequency)?;
        if let (None, Some(minor)) = (frequency, stated(row, self.minor_allele)) {
            let maf = optional(row, self.minor_frequency, values::frequency)?;
            let is_effect = effect_allele.as_deref().is_some_and(|a| a.eq_ignore_ascii_case(minor));
            frequency = maf.map(|maf| if is_effect { maf } else { 1.0 - maf });
        }
        let n = self.sample_size(row)?;
        // Nothing below refuses the row, so that only kept rows count as having a hole.
        if rsid.is_none() && rsid_text.is_some() {
            out.hole("rsid");
        }
        if unnamed {
            out.hole("effect_allele");
        }
        if several {
            out.hole("other_allele");
        }
        let gene = stated(row, self.gene);
        let (mut trait_name, mut trait_curie) = (self.study.trait_name.as_deref(), self.study.trait_curie.clone());
        if let Some(text) = stated(row, self.trait_name) {
            trait_name = trait_name.or(Some(text));
            if let Some(prefix) = self.trait_prefix.filter(|_| text.starts_with("ENS")) {
                trait_curie = Some(format!("{prefix}:{}", text.split('.').next().unwrap_or(text)));
            }
        }
        let build = stated(row, self.build).map(metadata::one_spelling);
        let hinted = variant_text.filter(|_| self.study.genome_build.is_none()).and_then(values::build_suffix);
        let variant = variant_text.or(rsid_text).filter(|text| rsid.is_none() || values::rsid(text).is_none());
        let (ci_lower, ci_upper) =
            (hole(row, self.ci_lower, "ci_lower", out), hole(row, self.ci_upper, "ci_upper", out));
        let info = hole(row, self.info, "info", out);
        let row = Association {
            study_id: Some(&self.study.study_id),
            trait_name,
            trait_curie: trait_curie.as_deref(),
            chromosome,
            base_pair_location: position,
            effect_allele: effect_allele.as_deref(),
            other_allele: other_allele.as_deref(),
            beta,
            odds_ratio,
            hazard_ratio,
            standard_error,
            z_score: z,
            effect_allele_frequency: frequency,
            neg_log_10_p_value: p,
            variant_id: variant,
            rsid: rsid.as_deref(),
            n,
            ci_lower,
            ci_upper,
            info,
            mapped_gene: gene,
            consequence: None,
            genome_build: build.as_deref().or(self.study.genome_build.as_deref()).or(hinted).or(self.tool_build),
        };
        match &self.reference_genome {
            Some(genome) => genome.hand_on(row, out),
            None => out.association(&row),
        }
        Ok(Taken::Kept)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::Chunk;
    use super::super::super::testing::{cells, ignored, nulled, options, read, rejected};
    use super::super::dialects::*;
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
        read(&GWAS_SSF, &[("GCST7.h.tsv", text.as_bytes())], &options()).unwrap()
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
            ("p_value", "low", InvalidNumber),
            ("p_value", "NA", MissingValue),
            ("n", "many", InvalidNumber),
        ] {
            assert_eq!(rejected(&table(&[with(column, value)])), [(2, column, reason)], "{column} {value}");
        }
    }

    #[test]
    fn a_p_value_of_zero_underflowed_and_the_effect_tells_it() {
        let found: f64 = cells(&table(&[with("p_value", "0.0")]), "neg_log_10_p_value")[0].parse().unwrap();
        assert!((found - values::from_z(5.0)).abs() < 1e-9, "{found}");
        let chunks = table(&[with("p_value", "0").replace("\t.02\t", "\tNA\t")]);
        assert_eq!(rejected(&chunks), [(2, "p_value", RejectReason::PValueOutOfRange)]);
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
        let chunks = read(&GWAS_SSF, &[("x.tsv", text.as_bytes())], &options()).unwrap();
        assert_eq!(cells(&chunks, "neg_log_10_p_value"), ["12.0", "1.0"]);
        assert_eq!(cells(&chunks, "rsid"), ["rs2", "rs1"]);
        assert_eq!(cells(&chunks, "odds_ratio"), ["1.5", "-"]);
        assert_eq!(cells(&chunks, "effect_allele"), ["A", "A"]);
        assert_eq!(rejected(&chunks), [(4, "neg_log_10_p_value", RejectReason::PValueOutOfRange)]);

        let error =
            read(&GWAS_SSF, &[("x.tsv", b"SNP\tp_value\tbeta\n".as_slice())], &options()).unwrap_err().to_string();
        for part in ["x.tsv:1:", "no column effect_allele, other_allele", "found: SNP, p_value", "generel formats"] {
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn metadata_and_options_say_what_holds_for_all_rows() {
        let data = format!("{HEADER}\n{GOOD}\n");
        let list: &[u8] = b"trait_description:\n  - asthma\n  - eczema\ngenome_assembly: GRCh37\nother: [1, {a: b}]\n";
        let text: &[u8] = b"trait_description: asthma\n";
        let with_meta = |name: &str, meta: &[u8], options: &ReadOptions| {
            read(&GWAS_SSF, &[("GCST7.tsv.gz", data.as_bytes()), (name, meta)], options)
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
        let chunks = read(&GWAS_SSF, &[("x.tsv", bytes.as_slice())], &options()).unwrap();
        let expected = [
            (3, "-", RejectReason::ColumnCount),
            (4, "-", RejectReason::InvalidUtf8),
            (6, "-", RejectReason::TornLine),
        ];
        assert_eq!(rejected(&chunks), expected);
        assert_eq!(cells(&chunks, "ci_lower"), ["0.05"]);
    }

    /// One row of a tool's file: what its columns become.
    fn becomes(tool: &Sumstats, text: &str, expected: &[(&str, &str)]) {
        let chunks = read(tool, &[("GCST1.txt", text.as_bytes())], &options()).unwrap();
        assert_eq!(rejected(&chunks), []);
        for (column, value) in expected {
            assert_eq!(cells(&chunks, column), [*value], "{} {column}", tool.0.name);
        }
    }

    #[test]
    fn each_tool_names_its_effect_allele() {
        becomes(
            &REGENIE,
            "CHROM GENPOS ID ALLELE0 ALLELE1 A1FREQ INFO N TEST BETA SE CHISQ LOG10P EXTRA\n\
             23 5 rs9 C T 0.2 0.9 494 ADD -0.5 0.1 3 412.5 NA\n23 5 rs9 C T 0.2 0.9 494 DOM -0.5 0.1 3 4 NA\n",
            &[
                ("chromosome", "23"),
                ("effect_allele", "T"),
                ("other_allele", "C"),
                ("beta", "-0.5"),
                ("neg_log_10_p_value", "412.5"),
                ("effect_allele_frequency", "0.2"),
                ("rsid", "rs9"),
                ("n", "494"),
            ],
        );
        becomes(
            &PLINK1,
            " CHR  SNP  BP  A1  TEST  NMISS  OR  STAT  P \n  26  rs1  7  A  ADD  4211  0.9792  -0.4324  0.6654\n",
            &[
                ("chromosome", "25"),
                ("effect_allele", "A"),
                ("other_allele", "-"),
                ("odds_ratio", "0.9792"),
                ("n", "4211"),
            ],
        );
        becomes(
            &PLINK2,
            "#CHROM\tPOS\tID\tREF\tALT\tA1\tA1_FREQ\tTEST\tOBS_CT\tOR\tLOG(OR)_SE\tZ_STAT\tP\tERRCODE\n\
             1\t8\trs1\tG\tA\tG\t0.9\tADD\t500\t1.2\t0.1\t1.5\t1e-310\t.\n",
            &[
                ("effect_allele", "G"),
                ("other_allele", "A"),
                ("odds_ratio", "1.2"),
                ("standard_error", "0.1"),
                ("z_score", "1.5"),
                ("neg_log_10_p_value", "310.0"),
                ("n", "500"),
            ],
        );
        becomes(
            &PLINK2,
            "#CHROM\tPOS\tID\tREF\tALT\tA1\tOMITTED\tTEST\tOBS_CT\tBETA\tSE\tP\n1\t8\trs1\tG\tA,C\tA\tG,C\tADD\t9\t1\t1\t0.1\n",
            &[("effect_allele", "A"), ("other_allele", "-")],
        );
        becomes(
            &SAIGE,
            "CHR\tPOS\tMarkerID\tAllele1\tAllele2\tAF_Allele2\tBETA\tSE\tTstat\tp.value\tp.value.NA\tN_case\tN_ctrl\n\
             1\t4\trs4\tA\tC\t0.01\t-0.1\t0.7\t-0.2\t0.1\t0.8\t98\t902\n",
            &[("effect_allele", "C"), ("other_allele", "A"), ("neg_log_10_p_value", "1.0"), ("n", "1000")],
        );
        becomes(
            &BOLT_LMM,
            "SNP\tCHR\tBP\tGENPOS\tALLELE1\tALLELE0\tA1FREQ\tINFO\tP_LINREG\tBETA\tSE\tP_BOLT_LMM_INF\tP_BOLT_LMM\n\
             rs1\t1\t2\t0.4\tG\tC\t0.3\t0.99\t0.5\t0.001\t0.002\t0.3\t0.1\n",
            &[
                ("base_pair_location", "2"),
                ("effect_allele", "G"),
                ("other_allele", "C"),
                ("neg_log_10_p_value", "1.0"),
                ("info", "0.99"),
            ],
        );
        becomes(
            &METAL,
            "MarkerName\tAllele1\tAllele2\tWeight\tZscore\tP-value\tDirection\nrs2\tt\tc\t6806.00\t1.121\t0.1\t+++\n",
            &[("effect_allele", "T"), ("other_allele", "C"), ("z_score", "1.121"), ("n", "6806"), ("rsid", "rs2")],
        );
        becomes(
            &FINNGEN,
            "#chrom\tpos\tref\talt\trsids\tnearest_genes\tpval\tmlogp\tbeta\tsebeta\taf_alt\n\
             1\t13668\tG\tA\trs2691328\tOR4F5\t0\t400.5\t-0.3\t1.7\t0.005\n",
            &[
                ("effect_allele", "A"),
                ("other_allele", "G"),
                ("neg_log_10_p_value", "400.5"),
                ("mapped_gene", "OR4F5"),
                ("effect_allele_frequency", "0.005"),
            ],
        );
        becomes(
            &NEALE,
            "variant\tminor_allele\tminor_AF\tn_complete_samples\tAC\tbeta\tse\ttstat\tpval\n\
             1:15791:C:T\tC\t0.25\t360388\t4\t0.1\t0.2\t0.5\t0.1\n",
            &[
                ("chromosome", "1"),
                ("base_pair_location", "15791"),
                ("effect_allele", "T"),
                ("other_allele", "C"),
                ("effect_allele_frequency", "0.75"),
                ("z_score", "-"),
                ("n", "360388"),
            ],
        );
        becomes(
            &LDSC,
            "SNP\tA1\tA2\tN\tZ\nrs0\tA\tG\t10000.000\t-1.959963984540054\n",
            &[("effect_allele", "A"), ("z_score", "-1.959963984540054")],
        );
        becomes(
            &EQTL,
            "gene_id\tvariant_id\ttss_distance\tma_samples\tma_count\tmaf\tpval_nominal\tslope\tslope_se\n\
             ENSG00000227232.5\tchr1_13550_G_A_b38\t-16003\t19\t19\t0.0163\t1e-5\t0.8\t0.1\n",
            &[
                ("trait", "ENSG00000227232.5"),
                ("trait_curie", "ensembl:ENSG00000227232"),
                ("effect_allele", "A"),
                ("other_allele", "G"),
                ("genome_build", "GRCh38"),
                ("beta", "0.8"),
                ("effect_allele_frequency", "-"),
            ],
        );
    }

    #[test]
    fn strands_codes_and_identifiers_are_understood() {
        becomes(
            &SUMSTATS,
            "CHR POS SNP STRAND EFFECT_ALLELE NON_EFFECT_ALLELE BETA SE PVALUE\n2 16 rs1 - T CA 0.1 0.2 0.3\n",
            &[("effect_allele", "A"), ("other_allele", "TG"), ("beta", "0.1")],
        );
        let coded = |rows: &str| {
            let text = format!("SNP A1 A2 BETA P\n{rows}");
            read(&SUMSTATS, &[("x.txt", text.as_bytes())], &options()).unwrap()
        };
        let chunks = coded("rs1 1 4 0.1 0.2\nrs2 2 1 0.1 0.2\n");
        assert_eq!(cells(&chunks, "effect_allele"), ["A", "C"]);
        // PLINK's 1 and 2 name no bases: the alleles are unknown, and that is counted.
        let chunks = coded("rs1 1 2 0.1 0.2\nrs2 2 1 0.1 0.2\n");
        assert_eq!((cells(&chunks, "effect_allele"), nulled(&chunks, "effect_allele")), (vec!["-".to_string(); 2], 2));
        let chunks = coded("1:5:G:T NA NA 0.1 0.2\nrs2 A A 0.1 0.2\nrs3 A C NA NA\nNA A C 1 0.1\n");
        assert_eq!(
            (cells(&chunks, "effect_allele"), cells(&chunks, "other_allele")),
            (vec!["T".into()], vec!["G".into()])
        );
        assert_eq!(rejected(&chunks), [(3, "A2", RejectReason::InvalidAllele), (5, "SNP", RejectReason::MissingValue)]);
        assert_eq!(ignored(&chunks), 1);
    }

    #[test]
    fn quoted_and_renamed_headers_are_read() {
        let csv = "\"rsid\",\"effect\",\"SE\",\"a1\",\"a2\",\"p-value\"\nrs1,0.19,0.03,A,T,5.00E-26\n";
        becomes(&SUMSTATS, csv, &[("beta", "0.19"), ("effect_allele", "A"), ("rsid", "rs1")]);
        let mut by_hand = options();
        by_hand.columns = [("effect_allele", "Inc"), ("p_value", "meta")].map(|(a, b)| (a.into(), b.into())).into();
        let text: &[u8] = b"SNP Inc Dec p meta\nrs1 G A 0.5 0.1\n";
        let chunks = read(&SUMSTATS, &[("x.txt", text)], &by_hand).unwrap();
        assert_eq!(
            (cells(&chunks, "effect_allele"), cells(&chunks, "neg_log_10_p_value")),
            (vec!["G".into()], vec!["1.0".into()])
        );
        by_hand.columns.insert("nothing".into(), "p".into());
        let error = read(&SUMSTATS, &[("x.txt", text)], &by_hand).unwrap_err().to_string();
        assert!(error.contains("no column nothing") && error.contains("effect_allele"), "{error}");
    }

    proptest! {
        #[test]
        fn any_bytes_balance(
            body in proptest::collection::vec(
                prop_oneof![any::<u8>(), proptest::sample::select(b"\t\t\t\n1.e-ACrsN".to_vec())], 0..600)
        ) {
            let mut bytes = b"rsid\teffect_allele\tother_allele\tbeta\tp_value\n".to_vec();
            bytes.extend_from_slice(&body);
            prop_assert!(read(&GWAS_SSF, &[("x.tsv", bytes.as_slice())], &options()).is_ok());
        }
    }
}
