//! The files that an alignment becomes: SSSOM, OMOP's `source_to_concept_map`, the coverage report.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use arrow::array::{ArrayRef, RecordBatch, StringArray, UInt64Array};
use generel_pipeline::Session;
use generel_pipeline::align::{
    AlignOptions, Coverage, DOUBTFUL, MAPPED, SssomHeader, coverage, write_source_to_concept_map, write_sssom,
};

use crate::cli::output::{self, Form};
use crate::exit::UsageError;
use crate::progress::note;

/// Licence of mapping sets where a job does not say.
const MAPPING_LICENCE: &str = "https://creativecommons.org/publicdomain/zero/1.0/";

/// Which files to write; `-` is stdout.
#[derive(Debug, Clone, Default)]
pub(crate) struct AlignmentFiles {
    /// SSSOM TSV.
    pub(crate) sssom: Option<PathBuf>,
    /// Least confidence in the files; without it what is at least doubtful in the SSSOM file, and what counts as mapped
    /// in OMOP's.
    pub(crate) min_confidence: Option<f64>,
    /// OMOP's table, as CSV.
    pub(crate) source_to_concept_map: Option<PathBuf>,
    /// `CONCEPT.csv`, where concept ids are looked up.
    pub(crate) concepts: Option<PathBuf>,
    /// The coverage report; its extension says the form.
    pub(crate) coverage: Option<PathBuf>,
}

impl AlignmentFiles {
    /// Checks what stands together.
    ///
    /// # Errors
    /// [`UsageError`].
    pub(crate) fn check(&self) -> Result<()> {
        if self.source_to_concept_map.is_some() && self.concepts.is_none() {
            return Err(UsageError("source-to-concept-map needs concepts: OMOP's CONCEPT.csv".into()).into());
        }
        self.coverage.as_deref().map(coverage_form).transpose()?;
        if self.min_confidence.is_some_and(|p| !(0.0..=1.0).contains(&p)) {
            return Err(UsageError("min-confidence is a probability: between 0 and 1".into()).into());
        }
        Ok(())
    }

    /// The files there are, or will be.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.sssom, &self.source_to_concept_map, &self.coverage].into_iter().flatten()
    }

    /// Writes each file, whole or not at all.
    ///
    /// # Errors
    /// When the lake cannot be read or a file cannot be written.
    pub(crate) async fn write(&self, session: &Session, options: &AlignOptions) -> Result<()> {
        if let Some(path) = &self.sssom {
            let mut buffer = Vec::new();
            let header = sssom_header(options, self.min_confidence.unwrap_or(DOUBTFUL));
            let rows = write_sssom(session, options, &header, &mut buffer).await?;
            put(path, &buffer, format_args!("{rows} mappings"))?;
        }
        if let (Some(path), Some(concepts)) = (&self.source_to_concept_map, &self.concepts) {
            let mut buffer = Vec::new();
            let least = self.min_confidence.unwrap_or(MAPPED);
            let report = write_source_to_concept_map(session, options, least, concepts, &mut buffer).await?;
            let (rows, known, standard) = (report.rows, report.with_concept, report.standard);
            put(path, &buffer, format_args!("{rows} rows, {known} with a concept id, {standard} of them standard"))?;
        }
        if let Some(path) = &self.coverage {
            let rows = coverage(session, options).await?;
            let frame = session.ctx().read_batch(coverage_table(options.left.source(), &rows)?)?;
            let mut buffer = Vec::new();
            output::write(frame, coverage_form(path)?, &mut buffer).await?;
            put(path, &buffer, format_args!("{} categories", rows.len()))?;
        }
        Ok(())
    }
}

fn is_stdout(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn coverage_form(path: &Path) -> Result<Form> {
    if is_stdout(path) { Ok(Form::Table) } else { Form::of_path(path, "coverage") }
}

fn put(path: &Path, bytes: &[u8], what: std::fmt::Arguments) -> Result<()> {
    if is_stdout(path) {
        return Ok(std::io::stdout().write_all(bytes)?);
    }
    output::replace_file(path, bytes)?;
    note(format_args!("wrote {} ({what})", path.display()));
    Ok(())
}

fn sssom_header(options: &AlignOptions, min_confidence: f64) -> SssomHeader {
    let name = format!("{}-{}", options.left, options.right).replace(':', "-");
    SssomHeader {
        mapping_set_id: format!("urn:generel:mapping-set:{name}"),
        license: MAPPING_LICENCE.to_string(),
        min_confidence,
    }
}

/// A row a category, and one of all.
fn coverage_table(source: &str, rows: &[Coverage]) -> Result<RecordBatch> {
    let sum = |of: fn(&Coverage) -> u64| rows.iter().map(of).sum();
    let all = Coverage {
        category: "all".into(),
        mapped: sum(|r| r.mapped),
        doubtful: sum(|r| r.doubtful),
        unmapped: sum(|r| r.unmapped),
    };
    let rows: Vec<&Coverage> = rows.iter().chain([&all]).collect();
    let count = |of: fn(&Coverage) -> u64| -> ArrayRef {
        Arc::new(UInt64Array::from_iter_values(rows.iter().map(|row| of(row))))
    };
    Ok(RecordBatch::try_from_iter([
        ("source", Arc::new(StringArray::from(vec![source; rows.len()])) as ArrayRef),
        ("category", Arc::new(StringArray::from_iter_values(rows.iter().map(|r| &r.category)))),
        ("codes", count(|r| r.mapped + r.doubtful + r.unmapped)),
        ("mapped", count(|r| r.mapped)),
        ("doubtful", count(|r| r.doubtful)),
        ("unmapped", count(|r| r.unmapped)),
    ])?)
}
