//! GWAS-VCF (MRC-IEU): one study a sample column, its statistics in FORMAT fields, effects per ALT allele.

use generel_schemas::tables::GWAS_ASSOCIATIONS;
use generel_schemas::{RejectReason, Table};

use super::super::output::{Association, Output};
use super::super::recognize::{Head, Likeness};
use super::super::text::delimited::{Delimited, Dialect, Kept, Refused, Row, RowParser, Taken};
use super::super::{InputFile, ReadOptions, Reader, Source};
use super::columns::is_missing;
use super::metadata::{Study, one_spelling};
use super::values::{self, Parsed, at};
use crate::Result;

/// Columns before the samples.
const FIXED: usize = 9;
const CHROM: usize = 0;
const POS: usize = 1;
const ID: usize = 2;
const REF: usize = 3;
const ALT: usize = 4;
const FORMAT: usize = 8;

/// The format `gwas-vcf`.
pub(in super::super) struct GwasVcf;

impl Source for GwasVcf {
    fn name(&self) -> &'static str {
        "gwas-vcf"
    }

    fn doc(&self) -> &'static str {
        "GWAS-VCF (FORMAT fields ES, SE, LP, AF, SS, EZ, SI); one study a sample column, one row an ALT allele"
    }

    fn example(&self) -> &'static str {
        "generel ingest --format gwas-vcf --source ieu --trait 'LDL cholesterol' ieu-a-300.vcf.gz"
    }

    fn tables(&self) -> &'static [&'static Table] {
        &[&GWAS_ASSOCIATIONS]
    }

    fn recognize(&self, head: &Head) -> Option<Likeness> {
        let is_vcf = head.text.starts_with("##fileformat=VCF");
        let effects = head.lines().any(|l| l.starts_with("##FORMAT=<ID=ES,") || l.starts_with("##FORMAT=<ID=LP,"));
        (is_vcf && effects).then(|| Likeness::new(99, "##fileformat=VCF with FORMAT fields ES and LP"))?
    }

    fn open(&self, file: &InputFile, options: &ReadOptions) -> Result<Reader> {
        let delimited = Delimited::open(file, options, Dialect::TSV.commented("##"))?;
        let names = delimited.header.names();
        if names.first().map(String::as_str) != Some("#CHROM") || names.len() <= FIXED {
            let message = "not GWAS-VCF: expected '#CHROM POS ID REF ALT QUAL FILTER INFO FORMAT' and a sample column";
            return Err(delimited.header.error(message));
        }
        let studies = names[FIXED..].to_vec();
        let mut study = Study::of(file, options)?;
        if study.genome_build.is_none() {
            study.genome_build = Head::read(&file.place)?.lines().find_map(assembly);
        }
        let stated = options.study_id.clone();
        let rows =
            Rows { study, studies: studies.iter().map(|s| stated.clone().unwrap_or_else(|| s.clone())).collect() };
        Ok(delimited.into_reader(rows))
    }
}

/// The build of `##contig=<ID=1,length=249250621,assembly=HG19/GRCh37>` or of `##reference=`.
fn assembly(line: &str) -> Option<String> {
    let text = match line.strip_prefix("##contig=") {
        Some(contig) => contig.split_once("assembly=")?.1.split([',', '>']).next()?,
        None => line.strip_prefix("##reference=").or_else(|| line.strip_prefix("##assembly="))?,
    };
    let known =
        |part: &str| Some(one_spelling(part)).filter(|name| name.starts_with("GRCh") || name.starts_with("NCBI"));
    text.split(['/', '.', '-', '_', '"']).find_map(known)
}

struct Rows {
    study: Study,
    studies: Vec<String>,
}

/// Where the statistics stand in a sample's fields.
#[derive(Default)]
struct Keys {
    es: Option<usize>,
    se: Option<usize>,
    lp: Option<usize>,
    af: Option<usize>,
    ss: Option<usize>,
    ez: Option<usize>,
    si: Option<usize>,
}

impl Keys {
    fn of(format: &str) -> Self {
        let mut keys = Self::default();
        for (at, key) in format.split(':').enumerate() {
            match key {
                "ES" => keys.es = Some(at),
                "SE" => keys.se = Some(at),
                "LP" => keys.lp = Some(at),
                "AF" => keys.af = Some(at),
                "SS" => keys.ss = Some(at),
                "EZ" => keys.ez = Some(at),
                "SI" => keys.si = Some(at),
                _ => {}
            }
        }
        keys
    }
}

/// The value of one ALT allele in one sample.
fn value(sample: &str, key: Option<usize>, allele: usize) -> Option<&str> {
    let field = sample.split(':').nth(key?)?;
    let text = field.split(',').nth(allele).or_else(|| field.split(',').next())?;
    (!is_missing(text)).then_some(text)
}

impl RowParser for Rows {
    fn row(&self, row: &Row<'_>, out: &mut Output) -> Kept {
        let chromosome = at(CHROM, values::chromosome(row.needed(CHROM)?))?;
        let position = at(POS, values::position(row.needed(POS)?))?;
        let reference = at(REF, values::allele(row.needed(REF)?))?;
        let alternatives: Vec<_> =
            row.needed(ALT)?.split(',').map(|a| at(ALT, values::allele(a))).collect::<Kept<_>>()?;
        let keys = Keys::of(row.get(FORMAT));
        if keys.lp.is_none() && keys.es.is_none() {
            return Err(Refused::column(FORMAT, RejectReason::Malformed, "expected FORMAT fields ES or LP"));
        }
        let mut found = Vec::new();
        for (index, study) in self.studies.iter().enumerate() {
            let column = FIXED + index;
            let sample = row.get(column);
            for (allele, alternative) in alternatives.iter().enumerate() {
                let number = |key, parse: fn(&str) -> Parsed<f64>| {
                    value(sample, key, allele).map(|text| at(column, parse(text))).transpose()
                };
                let beta = number(keys.es, values::number)?;
                let standard_error = number(keys.se, values::not_negative)?;
                let z_score = number(keys.ez, values::number)?;
                // A logarithm that overflowed in the tool: the effect and its error still tell it.
                let overflowed = value(sample, keys.lp, allele).is_some_and(|text| text.parse() == Ok(f64::INFINITY));
                let wald = || Some(beta? / standard_error.filter(|error| *error > 0.0)?);
                let p = match z_score.or_else(wald) {
                    Some(z) if overflowed => Some(values::from_z(z)),
                    _ => number(keys.lp, values::neg_log10)?,
                };
                if beta.is_none() && p.is_none() {
                    continue;
                }
                let n = value(sample, keys.ss, allele).map(|t| at(column, values::sample_size(t))).transpose()?;
                found.push(Association {
                    study_id: Some(study),
                    trait_name: self.study.trait_name.as_deref(),
                    trait_curie: self.study.trait_curie.as_deref(),
                    chromosome: Some(chromosome),
                    base_pair_location: Some(position),
                    effect_allele: Some(alternative),
                    other_allele: Some(&reference),
                    beta,
                    standard_error,
                    z_score,
                    effect_allele_frequency: number(keys.af, values::frequency)?,
                    neg_log_10_p_value: p,
                    n: n.or(self.study.n),
                    info: number(keys.si, values::number)?,
                    genome_build: self.study.genome_build.as_deref(),
                    ..Association::default()
                });
            }
        }
        if found.is_empty() {
            return Ok(Taken::Ignored("no result for the variant"));
        }
        // `rs123;rs456` names a merged pair; the first is as good as the second.
        let id = row.text(Some(ID)).filter(|text| !is_missing(text));
        let rsid = id.and_then(|text| text.split(';').find_map(values::rsid));
        for association in &mut found {
            association.rsid = rsid.as_deref();
            association.variant_id = id.filter(|_| rsid.is_none());
            out.association(association);
        }
        Ok(Taken::Kept)
    }
}
