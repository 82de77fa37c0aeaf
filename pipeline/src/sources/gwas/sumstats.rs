//! Summary statistics of any tool: one row a variant, understood by the names of its columns.

use std::borrow::Cow;
use std::io::{BufRead, Read};

use generel_schemas::tables::GWAS_ASSOCIATIONS;
use generel_schemas::{RejectReason, Table};

use super::super::output::{Association, Output};
use super::super::recognize::{Head, Likeness};
use super::super::text::delimited::{Delimited, Delimiter, Dialect, Kept, Refused, Row, RowParser, Taken};
use super::super::{Found, InputFile, ReadOptions, Reader, Source};
use super::columns::{Columns, Role, Spelled, is_missing};
use super::dialects::Tool;
use super::metadata::{self, Study};
use super::values::{self, Parsed, at};
use crate::{Error, Result};

/// Rows looked at to tell how alleles are coded.
const SAMPLE_ROWS: usize = 1000;

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
        if signature.is_empty() || !signature.iter().all(|any| any.iter().any(|n| has(n))) {
            return None;
        }
        let seen: Vec<&str> = signature.iter().filter_map(|any| any.iter().find(|n| has(n)).copied()).collect();
        Likeness::new(self.0.score, format!("the header has {}", seen.join(", ")))
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
        let rows = Rows::new(tool, &columns, Study::of(file, options)?, coding, &delimited);
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

/// The separator of a header line.
pub(super) fn separator(header: &str) -> char {
    if header.contains('\t') {
        '\t'
    } else if header.contains(',') {
        ','
    } else {
        ' '
    }
}

/// How alleles are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    Letters,
    /// 1, 2, 3, 4 for A, C, G, T.
    Acgt,
    /// 1 and 2 only: PLINK's code for two alleles that the file does not name.
    Unnamed,
}

/// The first rows of a file.
struct Sample {
    dialect: Dialect,
    lines: Vec<String>,
}

impl Sample {
    fn of(file: &InputFile, options: &ReadOptions) -> Result<Self> {
        let (mut reader, mut lines) = (file.reader(options.encoding)?.take(1 << 20), Vec::new());
        while lines.len() < SAMPLE_ROWS {
            let mut bytes = Vec::new();
            let read = reader.read_until(b'\n', &mut bytes).map_err(|e| Error::read(file.path(), 1, e))?;
            if read == 0 {
                break;
            }
            let line = String::from_utf8_lossy(&bytes).trim_start_matches('\u{feff}').trim_end().to_string();
            if !line.is_empty() && !line.starts_with("##") {
                lines.push(line);
            }
        }
        let header = lines.first().map(String::as_str).unwrap_or_default();
        let mut dialect = match separator(header) {
            '\t' => Dialect::TSV,
            ',' => Dialect::CSV,
            _ => Dialect::BLANKS,
        };
        dialect.quoted |= header.contains('"') && dialect.delimiter != Delimiter::Blanks;
        Ok(Self { dialect: dialect.commented("##"), lines })
    }

    fn coding(&self, columns: &Columns) -> Coding {
        let alleles = [Role::EffectAllele, Role::OtherAllele].map(|role| columns.at(role));
        let (mut numeric, mut beyond_two, mut letters) = (false, false, false);
        for line in self.lines.iter().skip(1) {
            let fields: Vec<&str> = match self.dialect.delimiter {
                Delimiter::Byte(byte) => line.split(char::from(byte)).collect(),
                Delimiter::Blanks => line.split_ascii_whitespace().collect(),
            };
            for at in alleles.into_iter().flatten() {
                match fields.get(at).map(|f| f.trim()) {
                    Some("1" | "2") => numeric = true,
                    Some("3" | "4") => beyond_two = true,
                    Some(text) if !is_missing(text) && text != "0" => letters = true,
                    _ => {}
                }
            }
        }
        match (letters, beyond_two, numeric) {
            (false, true, _) => Coding::Acgt,
            (false, false, true) => Coding::Unnamed,
            _ => Coding::Letters,
        }
    }
}

/// Where each value of a row stands.
struct Rows {
    study: Study,
    strict: bool,
    coding: Coding,
    plink: bool,
    /// Whether the trait is in the rows and how it becomes a CURIE.
    trait_prefix: Option<&'static str>,
    chromosome: Option<usize>,
    position: Option<usize>,
    variant_id: Option<usize>,
    rsid: [Option<usize>; 2],
    effect_allele: Option<usize>,
    other_allele: Option<usize>,
    /// Where the other allele is whichever of these the effect allele is not (PLINK 2).
    reference: Option<usize>,
    alternative: Option<usize>,
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
            study,
            strict: tool.strict,
            coding,
            plink: tool.plink_chromosomes,
            trait_prefix: tool.trait_prefix,
            chromosome: at(Role::Chromosome),
            position: at(Role::Position),
            variant_id: at(Role::VariantId),
            rsid: [at(Role::Rsid), header.find(&["rs_id"]).filter(|i| Some(*i) != at(Role::Rsid))],
            effect_allele: at(Role::EffectAllele),
            other_allele: at(Role::OtherAllele).filter(|_| !by_other),
            reference: at(Role::Reference).filter(|_| by_other),
            alternative: at(Role::Alternative).filter(|_| by_other),
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
    #[inline]
    fn neg_log_10_p_value(&self, row: &Row<'_>, z: Option<f64>) -> Kept<Option<f64>> {
        if let Some(value) = optional(row, self.neg_log_10_p, values::neg_log10)? {
            return Ok(Some(value));
        }
        for column in &self.p {
            if let Some(text) = stated(row, Some(*column)) {
                return at(*column, values::p_value(text)).map(Some);
            }
        }
        if let Some(value) = optional(row, self.ln_p, values::from_ln_p)? {
            return Ok(Some(value));
        }
        Ok(z.map(values::from_z))
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
    fn row(&self, row: &Row<'_>, out: &mut Output) -> Kept {
        if let Some(test) = row.text(self.test)
            && test != "ADD"
        {
            return Ok(Taken::Ignored("not the additive test"));
        }
        let rsid_text = self.rsid.iter().find_map(|column| stated(row, *column));
        let variant_text = stated(row, self.variant_id);
        let rsid = rsid_text.and_then(values::rsid).or_else(|| variant_text.and_then(values::rsid));
        let chromosome_of = if self.plink { values::plink_chromosome } else { values::chromosome };
        let mut chromosome = optional(row, self.chromosome, chromosome_of)?;
        let mut position = optional(row, self.position, values::position)?;
        let mut effect_allele = self.allele(row, self.effect_allele)?;
        let mut other_allele = self.allele(row, self.other_allele)?;
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
        let z = optional(row, self.z, values::number)?;
        let beta = optional(row, self.beta, values::number)?;
        let odds_ratio = optional(row, self.odds_ratio, values::ratio)?;
        let hazard_ratio = optional(row, self.hazard_ratio, values::ratio)?;
        let standard_error = optional(row, self.standard_error, values::not_negative)?;
        let p = self.neg_log_10_p_value(row, z)?;
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
        let gene = stated(row, self.gene);
        let (mut trait_name, mut trait_curie) = (self.study.trait_name.as_deref(), self.study.trait_curie.clone());
        if let Some(text) = stated(row, self.trait_name) {
            trait_name = trait_name.or(Some(text));
        }
        if let (Some(prefix), Some(gene)) = (self.trait_prefix, trait_name) {
            trait_curie = Some(format!("{prefix}:{}", gene.split('.').next().unwrap_or(gene)));
        }
        let build = stated(row, self.build).map(metadata::one_spelling);
        let hinted = variant_text.filter(|_| self.study.genome_build.is_none()).and_then(build_suffix);
        let variant = variant_text.or(rsid_text).filter(|text| rsid.is_none() || values::rsid(text).is_none());
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
            ci_lower: hole(row, self.ci_lower, "ci_lower", out),
            ci_upper: hole(row, self.ci_upper, "ci_upper", out),
            info: hole(row, self.info, "info", out),
            mapped_gene: gene,
            genome_build: build.as_deref().or(self.study.genome_build.as_deref()).or(hinted),
        };
        out.association(&row);
        Ok(Taken::Kept)
    }
}

/// `chr1_13550_G_A_b38`, as GTEx writes variants.
fn build_suffix(variant: &str) -> Option<&'static str> {
    match variant.rsplit('_').next()? {
        "b37" => Some("GRCh37"),
        "b38" => Some("GRCh38"),
        _ => None,
    }
}

/// The text of a column, if there is such a column and a value in it.
#[inline]
fn stated<'a>(row: &Row<'a>, column: Option<usize>) -> Option<&'a str> {
    column.map(|index| row.get(index)).filter(|text| !is_missing(text))
}

#[inline]
fn optional<T>(row: &Row<'_>, column: Option<usize>, parse: impl Fn(&str) -> Parsed<T>) -> Kept<Option<T>> {
    match (column, stated(row, column)) {
        (Some(index), Some(text)) => at(index, parse(text)).map(Some),
        _ => Ok(None),
    }
}

fn needed<T>(column: Option<usize>, value: &Option<T>) -> Kept<()> {
    if value.is_some() { Ok(()) } else { Err(Refused::missing(column.unwrap_or_default())) }
}

/// A number without which the row is still a row.
#[inline]
fn hole(row: &Row<'_>, column: Option<usize>, name: &'static str, out: &mut Output) -> Option<f64> {
    out.or_hole(name, stated(row, column).map(values::number))
}

/// What a dialect may say: exported for `dialects`.
pub(super) type Own = Spelled;
