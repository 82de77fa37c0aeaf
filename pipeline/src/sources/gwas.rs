//! What the GWAS formats share: the batch of associations, the values of a field, and the loop over rows.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Builder, Int32Builder, Int64Builder, RecordBatch, StringBuilder};
use generel_schemas::ids::{Chromosome, Rsid, normalize_allele};
use generel_schemas::tables::GWAS_ASSOCIATIONS;
use generel_schemas::{RejectReason, pvalue};

use super::delimited::{Delimited, Next};
use super::{Chunk, batch};
use crate::Result;

/// Chromosome 1 has 249 million bases; anything far beyond is no position on a human chromosome.
const MAX_POSITION: i64 = 400_000_000;
/// Floats beyond it have no integer precision left.
const MAX_COUNT: f64 = 9_007_199_254_740_992.0;

/// Why a value cannot be taken, and what was expected; never the value.
pub(super) type Refusal = (RejectReason, &'static str);
/// A value, or why there is none.
pub(super) type Parsed<T> = std::result::Result<T, Refusal>;
/// What became of a row: kept, or rejected because of a column.
pub(super) type Kept<T = ()> = std::result::Result<T, (Option<usize>, Refusal)>;
/// Optional values that became NULL: column → count.
pub(super) type Nulled = BTreeMap<&'static str, u64>;

/// A row of `gwas_associations` without what the engine adds.
#[derive(Debug, Default)]
pub(super) struct Association<'a> {
    pub(super) study_id: &'a str,
    pub(super) trait_name: Option<&'a str>,
    pub(super) trait_curie: Option<&'a str>,
    pub(super) chromosome: Option<i32>,
    pub(super) base_pair_location: Option<i64>,
    pub(super) effect_allele: Option<&'a str>,
    pub(super) other_allele: Option<&'a str>,
    pub(super) beta: Option<f64>,
    pub(super) odds_ratio: Option<f64>,
    pub(super) hazard_ratio: Option<f64>,
    pub(super) standard_error: Option<f64>,
    pub(super) effect_allele_frequency: Option<f64>,
    pub(super) neg_log_10_p_value: Option<f64>,
    pub(super) variant_id: Option<&'a str>,
    pub(super) rsid: Option<&'a str>,
    pub(super) n: Option<i64>,
    pub(super) ci_lower: Option<f64>,
    pub(super) ci_upper: Option<f64>,
    pub(super) info: Option<f64>,
    pub(super) mapped_gene: Option<&'a str>,
    pub(super) genome_build: Option<&'a str>,
}

/// Collects associations into a batch.
#[derive(Default)]
pub(super) struct AssociationBuilder {
    rows: usize,
    study_id: StringBuilder,
    trait_name: StringBuilder,
    trait_curie: StringBuilder,
    chromosome: Int32Builder,
    base_pair_location: Int64Builder,
    effect_allele: StringBuilder,
    other_allele: StringBuilder,
    beta: Float64Builder,
    odds_ratio: Float64Builder,
    hazard_ratio: Float64Builder,
    standard_error: Float64Builder,
    effect_allele_frequency: Float64Builder,
    neg_log_10_p_value: Float64Builder,
    variant_id: StringBuilder,
    rsid: StringBuilder,
    n: Int64Builder,
    ci_lower: Float64Builder,
    ci_upper: Float64Builder,
    info: Float64Builder,
    mapped_gene: StringBuilder,
    genome_build: StringBuilder,
}

impl AssociationBuilder {
    /// Adds a row.
    pub(super) fn append(&mut self, row: &Association<'_>) {
        self.rows += 1;
        self.study_id.append_value(row.study_id);
        self.trait_name.append_option(row.trait_name);
        self.trait_curie.append_option(row.trait_curie);
        self.chromosome.append_option(row.chromosome);
        self.base_pair_location.append_option(row.base_pair_location);
        self.effect_allele.append_option(row.effect_allele);
        self.other_allele.append_option(row.other_allele);
        self.beta.append_option(row.beta);
        self.odds_ratio.append_option(row.odds_ratio);
        self.hazard_ratio.append_option(row.hazard_ratio);
        self.standard_error.append_option(row.standard_error);
        self.effect_allele_frequency.append_option(row.effect_allele_frequency);
        self.neg_log_10_p_value.append_option(row.neg_log_10_p_value);
        self.variant_id.append_option(row.variant_id);
        self.rsid.append_option(row.rsid);
        self.n.append_option(row.n);
        self.ci_lower.append_option(row.ci_lower);
        self.ci_upper.append_option(row.ci_upper);
        self.info.append_option(row.info);
        self.mapped_gene.append_option(row.mapped_gene);
        self.genome_build.append_option(row.genome_build);
    }

    /// The batch: the table's columns without the first (`source`) and the last (`input_id`).
    ///
    /// # Errors
    /// When the builder and the table disagree: a defect of the program.
    pub(super) fn finish(mut self) -> Result<RecordBatch> {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.study_id.finish()),
            Arc::new(self.trait_name.finish()),
            Arc::new(self.trait_curie.finish()),
            Arc::new(self.chromosome.finish()),
            Arc::new(self.base_pair_location.finish()),
            Arc::new(self.effect_allele.finish()),
            Arc::new(self.other_allele.finish()),
            Arc::new(self.beta.finish()),
            Arc::new(self.odds_ratio.finish()),
            Arc::new(self.hazard_ratio.finish()),
            Arc::new(self.standard_error.finish()),
            Arc::new(self.effect_allele_frequency.finish()),
            Arc::new(self.neg_log_10_p_value.finish()),
            Arc::new(self.variant_id.finish()),
            Arc::new(self.rsid.finish()),
            Arc::new(self.n.finish()),
            Arc::new(self.ci_lower.finish()),
            Arc::new(self.ci_upper.finish()),
            Arc::new(self.info.finish()),
            Arc::new(self.mapped_gene.finish()),
            Arc::new(self.genome_build.finish()),
        ];
        batch(&GWAS_ASSOCIATIONS, columns)
    }
}

/// Reads a chunk of rows; `keep` appends a row to the builder or says why not, and counts NULLs only of rows it keeps.
///
/// # Errors
/// When the file cannot be read on.
pub(super) fn read_chunk(
    rows: &mut Delimited,
    chunk_rows: usize,
    mut keep: impl FnMut(&Delimited, &mut AssociationBuilder, &mut Nulled) -> Kept,
) -> Result<Option<Chunk>> {
    let mut chunk = Chunk::default();
    let mut builder = AssociationBuilder::default();
    while chunk.rows_read < chunk_rows.max(1) as u64 {
        match rows.advance()? {
            Next::End => break,
            Next::Rejected(row) => chunk.rejected.push(row),
            Next::Row => {
                if let Err((column, (reason, message))) = keep(rows, &mut builder, &mut chunk.nulled) {
                    chunk.rejected.push(rows.reject(column, reason, message));
                }
            }
        }
        chunk.rows_read += 1;
    }
    if chunk.rows_read == 0 {
        return Ok(None);
    }
    if builder.rows > 0 {
        chunk.batches.push((&GWAS_ASSOCIATIONS, builder.finish()?));
    }
    Ok(Some(chunk))
}

/// A finite number: `.04`, `+1.5`, `1e-5`.
pub(super) fn number(text: &str) -> Parsed<f64> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(value),
        _ => Err((RejectReason::InvalidNumber, "expected a finite number")),
    }
}

/// A number that cannot be below zero: a ratio, a standard error.
pub(super) fn not_negative(text: &str) -> Parsed<f64> {
    match number(text)? {
        value if value >= 0.0 => Ok(value),
        _ => Err((RejectReason::InvalidNumber, "expected a number of at least 0")),
    }
}

/// A frequency, 0–1.
pub(super) fn frequency(text: &str) -> Parsed<f64> {
    match number(text)? {
        value if (0.0..=1.0).contains(&value) => Ok(value),
        _ => Err((RejectReason::InvalidNumber, "expected a frequency from 0 to 1")),
    }
}

/// A sample size; meta-analyses also write effective sizes such as `50508.1`, which are rounded.
pub(super) fn sample_size(text: &str) -> Parsed<i64> {
    const WRONG: Refusal = (RejectReason::InvalidNumber, "expected a sample size");
    if let Ok(count) = text.parse::<i64>() {
        return if count >= 0 { Ok(count) } else { Err(WRONG) };
    }
    match number(text) {
        Ok(value) if (0.0..=MAX_COUNT).contains(&value) => Ok(value.round() as i64),
        _ => Err(WRONG),
    }
}

/// A 1-based position; tools that keep every column as float write `12345.0`.
pub(super) fn position(text: &str) -> Parsed<i64> {
    let value = text.parse::<i64>().ok().or_else(|| match number(text) {
        Ok(value) if value.fract() == 0.0 && value.abs() <= MAX_COUNT => Some(value as i64),
        _ => None,
    });
    match value {
        Some(value) if (1..=MAX_POSITION).contains(&value) => Ok(value),
        _ => Err((RejectReason::InvalidPosition, "expected a position from 1 to 400000000")),
    }
}

/// A chromosome as GWAS-SSF numbers it.
pub(super) fn chromosome(text: &str) -> Parsed<i32> {
    match text.parse::<Chromosome>() {
        Ok(chromosome) => Ok(i32::from(chromosome.number())),
        Err(_) => Err((RejectReason::InvalidChromosome, "expected 1-22, X, Y, MT or 23-25")),
    }
}

/// An allele in upper case.
pub(super) fn allele(text: &str) -> Parsed<Cow<'_, str>> {
    normalize_allele(text)
        .map_err(|_| (RejectReason::InvalidAllele, "expected letters of ACGTN or a symbolic allele like <DEL>"))
}

/// A p value as −log10, read from its decimal text.
pub(super) fn p_value(text: &str) -> Parsed<f64> {
    pvalue::neg_log10(text).map_err(|error| match error {
        generel_schemas::Error::Invalid { problem, .. } if problem != "not a decimal number" => {
            (RejectReason::PValueOutOfRange, problem)
        }
        _ => (RejectReason::InvalidNumber, "expected a p value as a decimal number"),
    })
}

/// An rsID in its one spelling, without a copy where the text already has it.
pub(super) fn rsid(text: &str) -> Option<Cow<'_, str>> {
    let id = text.parse::<Rsid>().ok()?;
    let as_written = text.starts_with("rs") && !text.starts_with("rs0");
    Some(if as_written { Cow::Borrowed(text) } else { Cow::Owned(id.to_string()) })
}

/// What the tests of the GWAS formats share.
#[cfg(test)]
pub(super) mod testing {
    use arrow::array::Array;
    use arrow::util::display::array_value_to_string;
    use generel_schemas::RejectReason;

    use super::super::{Chunk, ReadOptions, Source};
    use super::GWAS_ASSOCIATIONS;
    use crate::Result;
    use crate::person::PersonKey;

    /// Options with chunks of two rows.
    pub(in crate::sources) fn options() -> ReadOptions {
        let mut options = ReadOptions::new("test", PersonKey::new(b"key".to_vec()));
        options.chunk_rows = 2;
        options
    }

    /// Reads files (the first one is opened) and checks each chunk's balance and schema.
    pub(in crate::sources) fn read(
        format: &dyn Source,
        files: &[(&str, &[u8])],
        options: &ReadOptions,
    ) -> Result<Vec<Chunk>> {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            std::fs::write(folder.path().join(name), bytes).unwrap();
        }
        let mut chunks = Vec::new();
        for file in format.files(&folder.path().join(files[0].0))? {
            let mut reader = format.open(&file, options)?;
            while let Some(chunk) = reader.next_chunk()? {
                assert!(chunk.rows_read > 0 && chunk.rows_read <= options.chunk_rows as u64);
                assert_eq!(chunk.rows_read, chunk.rows_kept() + chunk.rejected.len() as u64);
                for (table, batch) in &chunk.batches {
                    let names: Vec<&str> = table.columns.iter().map(|c| c.name).collect();
                    let schema = batch.schema();
                    let found: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
                    assert_eq!(table.name, GWAS_ASSOCIATIONS.name);
                    assert_eq!(found, names[1..names.len() - 1]);
                }
                chunks.push(chunk);
            }
            assert!(reader.next_chunk()?.is_none());
        }
        Ok(chunks)
    }

    /// A column of all kept rows as text; NULL is `-`.
    pub(in crate::sources) fn cells(chunks: &[Chunk], column: &str) -> Vec<String> {
        let mut all = Vec::new();
        for (_, batch) in chunks.iter().flat_map(|chunk| &chunk.batches) {
            let array = batch.column_by_name(column).unwrap();
            for row in 0..array.len() {
                let value = (!array.is_null(row)).then(|| array_value_to_string(array, row).unwrap());
                all.push(value.unwrap_or_else(|| "-".to_string()));
            }
        }
        all
    }

    /// Line, column and reason of each rejected row.
    pub(in crate::sources) fn rejected(chunks: &[Chunk]) -> Vec<(u64, &str, RejectReason)> {
        let rows = chunks.iter().flat_map(|chunk| &chunk.rejected);
        rows.map(|row| (row.line, row.column.as_deref().unwrap_or("-"), row.reason)).collect()
    }

    /// How often a column's value became NULL.
    pub(in crate::sources) fn nulled(chunks: &[Chunk], column: &str) -> u64 {
        chunks.iter().filter_map(|chunk| chunk.nulled.get(column)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason<T>(parsed: Parsed<T>) -> Option<RejectReason> {
        parsed.err().map(|(reason, _)| reason)
    }

    #[test]
    fn numbers_as_tools_write_them() {
        for (text, expected) in [(".04", 0.04), ("+1.5", 1.5), ("1e-5", 1e-5), ("-3", -3.0)] {
            assert_eq!(number(text), Ok(expected), "{text}");
        }
        for bad in ["nan", "NaN", "inf", "-Inf", "Infinity", "1e999", "", "1,5", "x"] {
            assert_eq!(reason(number(bad)), Some(RejectReason::InvalidNumber), "{bad}");
        }
        assert_eq!(not_negative("0"), Ok(0.0));
        assert_eq!(reason(not_negative("-0.1")), Some(RejectReason::InvalidNumber));
        assert_eq!(frequency("1"), Ok(1.0));
        assert_eq!(reason(frequency("1.01")), Some(RejectReason::InvalidNumber));
        assert_eq!(sample_size("50508.6"), Ok(50_509));
        assert_eq!(sample_size("1e5"), Ok(100_000));
        for bad in ["-1", "-1.5", "many", "1e30"] {
            assert_eq!(reason(sample_size(bad)), Some(RejectReason::InvalidNumber), "{bad}");
        }
    }

    #[test]
    fn places_and_alleles() {
        assert_eq!(position("12345.0"), Ok(12_345));
        assert_eq!(position("400000000"), Ok(400_000_000));
        for bad in ["0", "-5", "400000001", "1.5", "123,456", "abc", "1e300", "99999999999999999999"] {
            assert_eq!(reason(position(bad)), Some(RejectReason::InvalidPosition), "{bad}");
        }
        assert_eq!((chromosome("01"), chromosome("chrX")), (Ok(1), Ok(23)));
        assert_eq!(reason(chromosome("6;6")), Some(RejectReason::InvalidChromosome));
        assert_eq!(allele("ac").as_deref(), Ok("AC"));
        assert_eq!(reason(allele("E4")), Some(RejectReason::InvalidAllele));
    }

    #[test]
    fn p_values_tell_no_number_from_out_of_range() {
        assert_eq!(p_value("1e-400"), Ok(400.0));
        for bad in ["2", "0", "-0.1", "5E12"] {
            assert_eq!(reason(p_value(bad)), Some(RejectReason::PValueOutOfRange), "{bad}");
        }
        for bad in ["NS", "inf", "<0.05"] {
            assert_eq!(reason(p_value(bad)), Some(RejectReason::InvalidNumber), "{bad}");
        }
    }

    #[test]
    fn rsids_have_one_spelling() {
        assert!(matches!(rsid("rs7412"), Some(Cow::Borrowed("rs7412"))));
        assert_eq!(rsid("RS7412").as_deref(), Some("rs7412"));
        assert_eq!(rsid("rs007").as_deref(), Some("rs7"));
        assert_eq!(rsid("rs1b"), None);
    }
}
