//! SSSOM TSV: the best mapping of each subject and all that people made, with the standard's metadata block.

use std::collections::BTreeMap;
use std::io::Write;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Date32Type, Float64Type};
use chrono::NaiveDate;
use datafusion::prelude::{col, lit};
use datafusion::scalar::ScalarValue;
use generel_schemas::ids::Curie;
use generel_schemas::sssom;

use super::AlignOptions;
use super::names::Names;
use crate::{Error, Result, Session, VERSION};

/// What the metadata block says beyond the mappings.
#[derive(Debug, Clone)]
pub struct SssomHeader {
    /// IRI of the mapping set.
    pub mapping_set_id: String,
    /// Licence of the mapping set, an IRI.
    pub license: String,
    /// Mappings of less confidence are left out.
    pub min_confidence: f64,
}

/// Writes the best mapping of every subject of an alignment, and `sssom:NoTermFound` for subjects without one.
/// Returns the rows written.
///
/// # Errors
/// When the lake cannot be read or the output cannot be written.
pub async fn write_sssom(
    session: &Session,
    options: &AlignOptions,
    header: &SssomHeader,
    out: &mut (dyn Write + Send),
) -> Result<usize> {
    let rows = rows(session, options, header.min_confidence).await?;
    let to_error = |e: std::io::Error| Error::Internal(format!("SSSOM output: {e}"));
    write_header(&rows, options, header, out).map_err(to_error)?;
    writeln!(out, "{}", sssom::COLUMNS.join("\t")).map_err(to_error)?;
    for row in &rows {
        let cells: Vec<String> = sssom::COLUMNS.iter().map(|c| clean(row.get(c).map_or("", String::as_str))).collect();
        writeln!(out, "{}", cells.join("\t")).map_err(to_error)?;
    }
    Ok(rows.len())
}

type Row = BTreeMap<&'static str, String>;

async fn rows(session: &Session, options: &AlignOptions, min_confidence: f64) -> Result<Vec<Row>> {
    let frame = options
        .exported_mappings(session)
        .await?
        .filter(col("confidence").gt_eq(lit(min_confidence)))?
        .sort_by(vec![col("subject_id"), col("rank")])?;
    let mut rows = Vec::new();
    for batch in frame.collect().await? {
        for row in 0..batch.num_rows() {
            rows.push(read_row(&batch, row)?);
        }
    }
    let found: std::collections::HashSet<String> = rows.iter().filter_map(|r| r.get("subject_id").cloned()).collect();
    let left = Names::load(session, &options.left).await?;
    let today = chrono::Utc::now().date_naive().to_string();
    for code in (0..left.codes()).filter(|c| !found.contains(left.curie(*c))) {
        rows.push(Row::from([
            ("subject_id", left.curie(code).to_string()),
            ("subject_label", left.label(code).to_string()),
            ("predicate_id", sssom::EXACT_MATCH.to_string()),
            ("object_id", sssom::NO_TERM_FOUND.to_string()),
            ("mapping_justification", sssom::SEMANTIC_SIMILARITY.to_string()),
            ("mapping_tool", "generel".to_string()),
            ("mapping_tool_version", VERSION.to_string()),
            ("mapping_date", today.clone()),
        ]));
    }
    for row in &mut rows {
        row.insert("subject_source", source_curie_of(options.left.source()));
        row.insert("object_source", source_curie_of(options.right.source()));
    }
    rows.sort_by(|a, b| a.get("subject_id").cmp(&b.get("subject_id")));
    Ok(rows)
}

fn read_row(batch: &RecordBatch, row: usize) -> Result<Row> {
    let mut out = Row::new();
    for column in sssom::COLUMNS {
        let name = if *column == "match_string" { "object_match_name" } else { column };
        let Some(array) = batch.column_by_name(name) else { continue };
        if let Some(text) = cell(array, row)? {
            out.insert(column, text);
        }
    }
    let justification = out.get("mapping_justification").map_or("", String::as_str);
    let (lexical, manual) = (justification == sssom::LEXICAL_MATCHING, justification == sssom::MANUAL_CURATION);
    // `match_string` is the string both sides share; without one the slot stays empty.
    if !lexical {
        out.remove("match_string");
    }
    // No tool made what a person did.
    if manual {
        out.remove("mapping_tool");
        out.remove("mapping_tool_version");
    }
    Ok(out)
}

fn cell(array: &ArrayRef, row: usize) -> Result<Option<String>> {
    if array.is_null(row) {
        return Ok(None);
    }
    Ok(Some(match array.data_type() {
        DataType::Float64 => format!("{:.6}", array.as_primitive::<Float64Type>().value(row)),
        DataType::Date32 => {
            let days = array.as_primitive::<Date32Type>().value(row);
            (NaiveDate::default() + chrono::Days::new(u64::from(days.unsigned_abs()))).to_string()
        }
        _ => ScalarValue::try_from_array(array, row)?.to_string(),
    }))
}

fn write_header(
    rows: &[Row],
    options: &AlignOptions,
    header: &SssomHeader,
    out: &mut dyn Write,
) -> std::io::Result<()> {
    let today = chrono::Utc::now().date_naive().to_string();
    writeln!(out, "# curie_map:")?;
    for (prefix, uri) in curie_map(rows) {
        writeln!(out, "#   {prefix}: {}", quoted(&uri))?;
    }
    let title = format!("{} to {} by embedding similarity", options.left, options.right);
    for (slot, value) in [
        ("license", header.license.as_str()),
        ("mapping_date", &today),
        ("mapping_set_id", &header.mapping_set_id),
        ("mapping_set_title", &title),
        ("mapping_set_version", &today),
        ("mapping_tool", "generel"),
        ("mapping_tool_version", VERSION),
        ("object_source", &source_curie_of(options.right.source())),
        ("subject_source", &source_curie_of(options.left.source())),
    ] {
        writeln!(out, "# {slot}: {}", quoted(value))?;
    }
    Ok(())
}

/// A YAML string that is a string whatever is in it (`urn:x:` and `1.0` are not, bare).
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// SSSOM's `…_source` slots are entity references.
fn source_curie_of(source: &str) -> String {
    generel_schemas::ids::source_curie("generel.source", source).to_string()
}

/// Every prefix used, with what it expands to; a source's own prefix expands to a URN.
fn curie_map(rows: &[Row]) -> BTreeMap<String, String> {
    let columns = [
        "subject_id",
        "predicate_id",
        "object_id",
        "mapping_justification",
        "subject_source",
        "object_source",
        "subject_match_field",
        "object_match_field",
        "author_id",
        "reviewer_id",
        "mapping_source",
    ];
    let mut map = BTreeMap::new();
    for curie in rows.iter().flat_map(|r| columns.iter().filter_map(|c| r.get(c))).flat_map(|ids| ids.split('|')) {
        if let Ok(curie) = curie.parse::<Curie>() {
            let uri = curie.uri_prefix().map_or_else(|| format!("urn:generel:{}:", curie.prefix()), str::to_string);
            map.insert(curie.prefix().to_string(), uri);
        }
    }
    map
}

/// A cell without tabs and line breaks.
fn clean(text: &str) -> String {
    text.replace(['\t', '\n', '\r'], " ")
}
