//! `generel demo`: the whole pipeline on a bundled real sample, one question that no single source can answer, and a
//! report. It is an ordinary job file with an ordinary runner; only the sample, the question and the page are its own.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use datafusion::scalar::ScalarValue;
use generel_pipeline::{Session, VERSION};
use generel_schemas::tables;

use crate::job_file::JobFile;
use crate::models::ModelChoice;
use crate::progress::note;
use crate::report::{AnswerRow, FileCounts, MappingRow, Report, StageTiming};
use crate::runner::{JobReport, Runner, counted};

/// The Human Disease Ontology.
pub(crate) const DOID: &[u8] = include_bytes!("../sample/doid-2016.obo.gz");
/// The Human Phenotype Ontology.
pub(crate) const HP: &[u8] = include_bytes!("../sample/hp-2016-04-01.obo.gz");
/// The sample: path below the demo's folder, content. See sample/NOTICE.md for origin and licences.
const SAMPLE: &[(&str, &[u8])] = &[
    ("sample/NOTICE.md", include_bytes!("../sample/NOTICE.md")),
    ("sample/omop/CONCEPT.csv.gz", include_bytes!("../sample/omop/CONCEPT.csv.gz")),
    ("sample/omop/CONDITION_OCCURRENCE.csv.gz", include_bytes!("../sample/omop/CONDITION_OCCURRENCE.csv.gz")),
    ("sample/omop/DRUG_EXPOSURE.csv.gz", include_bytes!("../sample/omop/DRUG_EXPOSURE.csv.gz")),
    ("sample/omop/MEASUREMENT.csv.gz", include_bytes!("../sample/omop/MEASUREMENT.csv.gz")),
    ("sample/omop/PERSON.csv.gz", include_bytes!("../sample/omop/PERSON.csv.gz")),
    ("sample/doid-2016.obo.gz", DOID),
    ("sample/hp-2016-04-01.obo.gz", HP),
    ("sample/gwas_catalog_v1.0.1_2015-06-08.tsv.gz", include_bytes!("../sample/gwas_catalog_v1.0.1_2015-06-08.tsv.gz")),
    ("demo.yaml", include_bytes!("../sample/demo.yaml")),
];

const QUESTION: &str = "For each common condition among these patients, which SNPs are associated with it at p < 5e-8?";
/// The question in SQL: conditions and traits meet in an ontology term that is the best match of both.
const ANSWER: &str = include_str!("../sample/question.sql");
/// The same from the space: no association is asked for, only which SNPs are near the condition's term.
const NEAR: &str = include_str!("../sample/near.sql");
/// Equal names need no model: the best are those that only the embedding found.
const BEST: &str = "SELECT * FROM mappings WHERE rank = 1 AND mapping_justification <> 'semapv:LexicalMatching' \
    ORDER BY similarity_score DESC, subject_label LIMIT 15";
const DOUBTFUL: &str = "SELECT * FROM mappings WHERE rank = 1 AND mapping_justification <> 'semapv:LexicalMatching' \
    ORDER BY similarity_score + coalesce(margin, 0), subject_label LIMIT 15";

/// Runs the demo in a folder.
pub(crate) async fn run(dir: &Path, model: ModelChoice) -> Result<()> {
    write_sample(dir)?;
    let job = JobFile::read(&dir.join("demo.yaml"))?;
    let (session, report) = Runner::new(job, dir, None, model.into())?.run().await?;
    let mut answer = answer(&session).await?;
    near(&session, &mut answer).await?;
    let tables = counts(&session).await?;
    let page = dir.join("report.html");
    if report.changed || !page.exists() {
        let html = render(&session, &report, &answer, &tables, dir).await?;
        crate::cli::output::replace_file(&page, html.as_bytes())?;
    }
    print(dir, &session, &report, &answer, &tables)
}

/// Writes the files of the sample that are missing or differ.
fn write_sample(dir: &Path) -> Result<()> {
    for (name, content) in SAMPLE {
        let path = dir.join(name);
        if fs::read(&path).is_ok_and(|found| found == *content) {
            continue;
        }
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
        }
        crate::cli::output::replace_file(&path, content)?;
    }
    Ok(())
}

async fn answer(session: &Session) -> Result<Vec<AnswerRow>> {
    let mut rows = Vec::new();
    for batch in session.ctx().sql(ANSWER).await?.collect().await? {
        for row in 0..batch.num_rows() {
            rows.push(AnswerRow {
                condition: text(&batch, "condition", row)?,
                persons: integer(&batch, "persons", row)?,
                ontology_term: text(&batch, "ontology_term", row)?,
                traits: text(&batch, "traits", row)?,
                snps: integer(&batch, "snps", row)?,
                top_snps: text(&batch, "top_snps", row)?,
                best_p: p_value(number(&batch, "best", row)?),
                near: Vec::new(),
            });
        }
    }
    Ok(rows)
}

/// Adds the SNPs near each condition, where the model knows SNPs.
async fn near(session: &Session, answer: &mut [AnswerRow]) -> Result<()> {
    if session.embedder()?.snp_encoder().is_err() {
        return Ok(());
    }
    for row in answer {
        // The name without the id behind it.
        let term = row.ontology_term.rsplit_once(" (").map_or(row.ontology_term.as_str(), |(name, _)| name);
        let sql = NEAR.replace("{term}", &term.replace('\'', "''"));
        for batch in session.ctx().sql(&sql).await?.collect().await? {
            for i in 0..batch.num_rows() {
                let known = match column(&batch, "trait")?.is_valid(i) && column(&batch, "p")?.is_valid(i) {
                    true => format!("{}, p {}", text(&batch, "trait", i)?, p_value(number(&batch, "p", i)?)),
                    false => "no association known".to_string(),
                };
                let score = number(&batch, "similarity_score", i)?;
                row.near.push(format!("{} {score:.2} ({known})", text(&batch, "rsid", i)?));
            }
        }
    }
    Ok(())
}

async fn counts(session: &Session) -> Result<Vec<(String, u64)>> {
    let mut all = Vec::new();
    for table in tables::ALL {
        let rows = session.ctx().table(table.name).await?.count().await?;
        all.push((table.name.to_string(), rows as u64));
    }
    Ok(all)
}

async fn mapping_rows(session: &Session, sql: &str) -> Result<Vec<MappingRow>> {
    let mut rows = Vec::new();
    for batch in session.ctx().sql(sql).await?.collect().await? {
        for row in 0..batch.num_rows() {
            let margin = column(&batch, "margin")?;
            rows.push(MappingRow {
                subject: text(&batch, "subject_id", row)?,
                subject_label: text(&batch, "subject_label", row)?,
                object: text(&batch, "object_id", row)?,
                object_label: text(&batch, "object_label", row)?,
                score: number(&batch, "similarity_score", row)?,
                margin: margin.is_valid(row).then(|| number(&batch, "margin", row)).transpose()?,
                mutual: column(&batch, "mutual")?.as_boolean().value(row),
                justification: text(&batch, "mapping_justification", row)?,
            });
        }
    }
    Ok(rows)
}

async fn scores(session: &Session) -> Result<Vec<f64>> {
    let mut all = Vec::new();
    for batch in session.ctx().sql("SELECT similarity_score FROM mappings WHERE rank = 1").await?.collect().await? {
        all.extend(batch.column(0).as_primitive::<Float64Type>().iter().flatten());
    }
    Ok(all)
}

async fn render(
    session: &Session,
    report: &JobReport,
    answer: &[AnswerRow],
    tables: &[(String, u64)],
    dir: &Path,
) -> Result<String> {
    let info = session.embedder()?.info();
    let stages = report.timeline.iter().map(|(name, from, to, detail)| StageTiming {
        name: name.clone(),
        started_s: *from,
        ended_s: *to,
        detail: detail.clone(),
    });
    let files = report.files.iter().map(|(format, f)| FileCounts {
        file: f.file.clone(),
        format: format.clone(),
        read: f.rows_read,
        kept: f.total_kept(),
        quarantined: f.rows_quarantined,
        note: if f.skipped { "in the lake already".to_string() } else { counted(&f.reasons, ", ") },
    });
    let page = Report {
        title: "GENEREL demo".to_string(),
        generated_at: chrono::Utc::now().format("%Y-%m-%d %H:%M UTC").to_string(),
        version: VERSION.to_string(),
        model: format!("{} ({})", info.name, info.model_id),
        lake: session.lake.location(),
        stages: stages.collect(),
        files: files.collect(),
        tables: tables.to_vec(),
        best: mapping_rows(session, BEST).await?,
        doubtful: mapping_rows(session, DOUBTFUL).await?,
        scores: scores(session).await?,
        question: QUESTION.to_string(),
        answer: answer.to_vec(),
        next: next_commands(dir),
    };
    Ok(page.to_html())
}

fn next_commands(dir: &Path) -> Vec<String> {
    let lake = dir.join("lake");
    let lake = lake.display();
    vec![
        format!(
            "generel sql --lake {lake} -c \"select subject_label, object_label, similarity_score from mappings where rank = 1 order by similarity_score limit 20\""
        ),
        format!(
            "generel sql --lake {lake} -c \"select key, similarity_score from nearest('embeddings', 'high blood pressure', 5)\""
        ),
        format!("generel align --lake {lake} --left doid --right hp --out {}", dir.join("doid-hp.sssom.tsv").display()),
    ]
}

/// Data on stdout: the answer and the counts. Everything else went to stderr.
fn print(
    dir: &Path,
    session: &Session,
    report: &JobReport,
    answer: &[AnswerRow],
    tables: &[(String, u64)],
) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n{QUESTION}\n")?;
    for row in answer {
        writeln!(out, "{} ({} patients) = {} = GWAS: {}", row.condition, row.persons, row.ontology_term, row.traits)?;
        writeln!(out, "    {} SNPs, best p {}: {}", row.snps, row.best_p, row.top_snps)?;
        if !row.near.is_empty() {
            writeln!(out, "    near it in the space: {}", row.near.join("; "))?;
        }
    }
    if answer.iter().any(|row| !row.near.is_empty()) {
        writeln!(out, "\nWhat is near in the space is what the model has learned, from this catalog among others.")?;
    }
    writeln!(
        out,
        "\nThe sources share no codes: conditions (SNOMED CT) and traits (free text) meet in the ontology term\nwhose name or synonym is nearest to both.\n"
    )?;
    for (table, rows) in tables {
        writeln!(out, "{table:<20}{rows:>9} rows")?;
    }
    writeln!(out, "\nlake    {}", session.lake.location())?;
    for path in &report.written {
        writeln!(out, "SSSOM   {}", path.display())?;
    }
    writeln!(out, "report  {}", dir.join("report.html").display())?;
    writeln!(out, "\nNext:")?;
    for command in next_commands(dir) {
        writeln!(out, "  {command}")?;
    }
    out.flush()?;
    if !report.changed {
        note("everything was up to date: nothing was done twice");
    }
    Ok(())
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef> {
    batch.column_by_name(name).with_context(|| format!("no column {name}"))
}

fn text(batch: &RecordBatch, name: &str, row: usize) -> Result<String> {
    Ok(ScalarValue::try_from_array(column(batch, name)?, row)?.to_string())
}

fn number(batch: &RecordBatch, name: &str, row: usize) -> Result<f64> {
    let cast = arrow::compute::cast(column(batch, name)?, &DataType::Float64)?;
    Ok(cast.as_primitive::<Float64Type>().value(row))
}

fn integer(batch: &RecordBatch, name: &str, row: usize) -> Result<u64> {
    let cast = arrow::compute::cast(column(batch, name)?, &DataType::Int64)?;
    Ok(cast.as_primitive::<Int64Type>().value(row).unsigned_abs())
}

/// A p value from its −log10, also below what a float holds.
fn p_value(neg_log_10: f64) -> String {
    let exponent = neg_log_10.ceil();
    let mantissa = 10f64.powf(exponent - neg_log_10);
    // 9.96 would print as 10.0.
    if mantissa >= 9.95 { format!("1.0e-{}", exponent - 1.0) } else { format!("{mantissa:.1}e-{exponent}") }
}

#[cfg(test)]
mod tests {
    use super::p_value;

    #[test]
    fn p_values_below_the_smallest_float() {
        assert_eq!(p_value(970.522_878_745), "3.0e-971");
        assert_eq!(p_value(8.0), "1.0e-8");
        assert_eq!(p_value(7.301_03), "5.0e-8");
    }
}
