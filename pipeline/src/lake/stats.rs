//! What a commit says of a data file: rows, and per column NULLs, least and greatest value (Delta's statistics, from
//! the Parquet footer), by which readers skip files.

use std::collections::HashMap;

use generel_schemas::Table;
use generel_schemas::tables::Kind;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::statistics::Statistics;
use serde_json::{Map, Value, json};

/// Longer texts make no useful bound.
const MAX_TEXT: usize = 64;

/// The statistics as the JSON text of an `add` action.
pub(super) fn of(table: &Table, metadata: &ParquetMetaData) -> String {
    let kinds: HashMap<&str, Kind> = table.columns.iter().map(|c| (c.name, c.kind)).collect();
    let (mut nulls, mut least, mut greatest) = (Map::new(), Map::new(), Map::new());
    let columns = metadata.file_metadata().schema_descr().num_columns();
    for index in 0..columns {
        let path = metadata.file_metadata().schema_descr().column(index).path().clone();
        let [name] = path.parts() else { continue };
        let Some(kind) = kinds.get(name.as_str()) else { continue };
        let groups: Option<Vec<&Statistics>> =
            metadata.row_groups().iter().map(|group| group.column(index).statistics()).collect();
        let Some(groups) = groups else { continue };
        if let Some(count) = groups.iter().map(|s| s.null_count_opt()).sum::<Option<u64>>() {
            nulls.insert(name.clone(), json!(count));
        }
        let bounds: Vec<(Value, Value)> = groups.iter().filter_map(|s| bounds(s, *kind)).collect();
        // A row group without values has no bounds and needs none; one with values but no usable bound spoils them.
        let empty =
            groups.iter().zip(metadata.row_groups()).filter(|(s, g)| s.null_count_opt() == Some(g.num_rows() as u64));
        if bounds.len() + empty.count() < groups.len() {
            continue;
        }
        let low = bounds.iter().map(|(low, _)| low).min_by(|a, b| order(a, b));
        let high = bounds.iter().map(|(_, high)| high).max_by(|a, b| order(a, b));
        if let (Some(low), Some(high)) = (low, high) {
            least.insert(name.clone(), low.clone());
            greatest.insert(name.clone(), high.clone());
        }
    }
    let rows = metadata.file_metadata().num_rows();
    json!({ "numRecords": rows, "minValues": least, "maxValues": greatest, "nullCount": nulls }).to_string()
}

fn bounds(statistics: &Statistics, kind: Kind) -> Option<(Value, Value)> {
    match (statistics, kind) {
        (Statistics::Int32(s), Kind::Int) => Some((json!(s.min_opt()?), json!(s.max_opt()?))),
        (Statistics::Int64(s), Kind::Long) => Some((json!(s.min_opt()?), json!(s.max_opt()?))),
        (Statistics::Double(s), Kind::Double) => {
            let (low, high) = (*s.min_opt()?, *s.max_opt()?);
            (low.is_finite() && high.is_finite()).then(|| (json!(low), json!(high)))
        }
        (Statistics::Int32(s), Kind::Date) => Some((date(*s.min_opt()?)?, date(*s.max_opt()?)?)),
        (Statistics::ByteArray(s), Kind::Text) if s.min_is_exact() && s.max_is_exact() => {
            let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().filter(|t| t.len() <= MAX_TEXT).map(|t| json!(t));
            Some((text(s.min_opt()?.data())?, text(s.max_opt()?.data())?))
        }
        _ => None,
    }
}

fn date(days: i32) -> Option<Value> {
    let date = arrow::datatypes::Date32Type::to_naive_date_opt(days)?;
    Some(json!(date.format("%Y-%m-%d").to_string()))
}

fn order(a: &Value, b: &Value) -> std::cmp::Ordering {
    match (a.as_str(), b.as_str()) {
        (Some(a), Some(b)) => a.cmp(b),
        _ => match (a.as_i64(), b.as_i64()) {
            (Some(a), Some(b)) => a.cmp(&b),
            _ => a.as_f64().unwrap_or_default().total_cmp(&b.as_f64().unwrap_or_default()),
        },
    }
}
