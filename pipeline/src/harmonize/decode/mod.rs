//! From the bytes of a message to records as JSON texts.

mod avro;
mod json_schema;
mod registry;

use std::borrow::Cow;
use std::sync::Arc;

use super::reject::{Reason, Rejected};
pub use registry::Registry;
use registry::Schemas;

/// How messages are written.
#[derive(Debug, Clone)]
pub enum Format {
    /// A JSON value a message.
    Json,
    /// JSON values separated by line breaks: several records a message.
    Ndjson,
    /// A line of CSV a message; its columns.
    Csv {
        /// Names of the columns, in order.
        columns: Vec<String>,
        /// What separates them.
        delimiter: u8,
    },
    /// A text a message.
    Raw,
    /// Avro in the framing of a schema registry.
    Avro(Registry),
    /// JSON in the framing of a schema registry, checked against its JSON Schema.
    JsonSchema(Registry),
}

/// Turns messages into records.
#[derive(Debug)]
pub(crate) enum Decoder {
    Json,
    Ndjson,
    Csv { columns: Vec<String>, delimiter: u8 },
    Raw,
    Avro(Schemas<Arc<avro::AvroSchema>>),
    JsonSchema(Schemas<Arc<jsonschema::Validator>>),
}

/// A record of a message: JSON, or why there is none. With several a message, the line it stands on, from 1.
pub(crate) struct Decoded<'a> {
    pub(crate) line: Option<u32>,
    pub(crate) record: Result<Cow<'a, str>, Rejected>,
    /// The part of the message's bytes that the record is.
    pub(crate) bytes: &'a [u8],
}

impl Decoder {
    /// For a format.
    ///
    /// # Errors
    /// When the registry's settings cannot be used.
    pub(crate) fn new(format: &Format) -> crate::Result<Self> {
        Ok(match format {
            Format::Json => Self::Json,
            Format::Ndjson => Self::Ndjson,
            Format::Csv { columns, delimiter } => Self::Csv { columns: columns.clone(), delimiter: *delimiter },
            Format::Raw => Self::Raw,
            Format::Avro(registry) => Self::Avro(Schemas::new(registry)?),
            Format::JsonSchema(registry) => Self::JsonSchema(Schemas::new(registry)?),
        })
    }

    /// The records of a message's bytes.
    ///
    /// # Errors
    /// When the schema registry does not answer.
    pub(crate) async fn decode<'a>(&self, bytes: &'a [u8], records: &mut Vec<Decoded<'a>>) -> crate::Result<()> {
        let mut one = |record| records.push(Decoded { line: None, record, bytes });
        match self {
            Self::Json => one(text(bytes).map(Cow::Borrowed)),
            Self::Raw => one(text(bytes).map(|text| Cow::Owned(serde_json::Value::from(text).to_string()))),
            Self::Csv { columns, delimiter } => one(text(bytes).and_then(|text| csv(text, columns, *delimiter))),
            Self::Ndjson => {
                let mut start = 0;
                for (number, line) in bytes.split(|b| *b == b'\n').enumerate() {
                    let range = start..start + line.len();
                    start = range.end + 1;
                    if line.iter().all(u8::is_ascii_whitespace) {
                        continue;
                    }
                    let bytes = &bytes[range];
                    let record = text(bytes).map(Cow::Borrowed);
                    records.push(Decoded { line: Some(number as u32 + 1), record, bytes });
                }
            }
            Self::Avro(schemas) => one(match registry::framed(bytes) {
                Ok((id, datum)) => match schemas.get(id, avro::schema).await? {
                    Ok(schema) => avro::json(&schema, datum).map(Cow::Owned),
                    Err(rejected) => Err(rejected),
                },
                Err(rejected) => Err(rejected),
            }),
            Self::JsonSchema(schemas) => one(match registry::framed(bytes) {
                Ok((id, json)) => match schemas.get(id, json_schema::validator).await? {
                    Ok(schema) => json_schema::checked(&schema, json).map(Cow::Borrowed),
                    Err(rejected) => Err(rejected),
                },
                Err(rejected) => Err(rejected),
            }),
        }
        Ok(())
    }
}

fn text(bytes: &[u8]) -> Result<&str, Rejected> {
    std::str::from_utf8(bytes)
        .map_err(|e| Rejected::new(Reason::InvalidUtf8, format!("not UTF-8 at byte {}", e.valid_up_to())))
}

/// A line as an object of texts; empty cells are null.
fn csv<'a>(line: &str, columns: &[String], delimiter: u8) -> Result<Cow<'a, str>, Rejected> {
    let mut reader =
        csv::ReaderBuilder::new().has_headers(false).flexible(true).delimiter(delimiter).from_reader(line.as_bytes());
    let count =
        |found: usize| Rejected::new(Reason::ColumnCount, format!("{} columns expected, {found} found", columns.len()));
    let mut rows = reader.records();
    let Some(Ok(cells)) = rows.next() else { return Err(count(0)) };
    if cells.len() != columns.len() {
        return Err(count(cells.len()));
    }
    if rows.next().is_some() {
        return Err(Rejected::new(Reason::ColumnCount, "more than one line"));
    }
    let mut object = String::from("{");
    for (column, cell) in columns.iter().zip(&cells) {
        let value = if cell.is_empty() { serde_json::Value::Null } else { cell.into() };
        let comma = if object.len() > 1 { "," } else { "" };
        object.push_str(&format!("{comma}{}:{value}", serde_json::Value::from(column.as_str())));
    }
    object.push('}');
    Ok(Cow::Owned(object))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn decoded(format: Format, bytes: &[u8]) -> Vec<(Option<u32>, Result<String, Reason>)> {
        let mut records = Vec::new();
        let decoder = Decoder::new(&format).unwrap();
        decoder.decode(bytes, &mut records).await.unwrap();
        records.into_iter().map(|d| (d.line, d.record.map(Cow::into_owned).map_err(|r| r.reason))).collect()
    }

    #[tokio::test]
    async fn every_format_gives_json() {
        let csv = || Format::Csv { columns: vec!["id".into(), "dx".into(), "note".into()], delimiter: b';' };
        assert_eq!(
            decoded(csv(), b"7;\"a \"\"b\"\"; c\";\n").await,
            [(None, Ok(r#"{"id":"7","dx":"a \"b\"; c","note":null}"#.into()))]
        );
        assert_eq!(decoded(csv(), b"7;8").await, [(None, Err(Reason::ColumnCount))]);
        assert_eq!(decoded(csv(), b"1;2;3\n4;5;6").await, [(None, Err(Reason::ColumnCount))]);
        assert_eq!(decoded(csv(), b"").await, [(None, Err(Reason::ColumnCount))]);
        assert_eq!(decoded(Format::Raw, "a \"b\"".as_bytes()).await, [(None, Ok(r#""a \"b\"""#.into()))]);
        assert_eq!(decoded(Format::Raw, b"\xff").await, [(None, Err(Reason::InvalidUtf8))]);
        assert_eq!(
            decoded(Format::Ndjson, b"{\"a\":1}\r\n\n\xff\n2").await,
            [(Some(1), Ok("{\"a\":1}\r".into())), (Some(3), Err(Reason::InvalidUtf8)), (Some(4), Ok("2".into()))]
        );
    }
}
