//! Avro data as JSON.

use std::sync::Arc;

use apache_avro::Schema;
use apache_avro::schema::{InnerDecimalSchema, NamesRef, NamespaceRef, ResolvedSchema, UuidSchema};

use super::super::reject::{Reason, Rejected};
use super::registry::Fetched;

/// Levels that a datum may have, as JSON may.
const MOST_LEVELS: usize = 200;

/// An Avro schema and those that it refers to.
pub(in crate::harmonize) struct AvroSchema {
    schema: Schema,
    others: Vec<Schema>,
}

/// The schema as it is used.
pub(super) fn schema(fetched: &Fetched) -> std::result::Result<Arc<AvroSchema>, String> {
    let others = fetched.references.iter().map(|(_, text)| text);
    let parsed = Schema::parse_str_with_list(&fetched.text, others);
    parsed.map(|(schema, others)| Arc::new(AvroSchema { schema, others })).map_err(|e| e.to_string())
}

/// A datum as JSON.
pub(super) fn json(
    AvroSchema { schema, others }: &AvroSchema,
    mut datum: &[u8],
) -> std::result::Result<String, Rejected> {
    // The library's messages can hold values of the record.
    let mismatch = |what: &str| Rejected::new(Reason::SchemaMismatch, format!("{what} its Avro schema"));
    let unreadable = |_| mismatch("the datum cannot be read by");
    let all = ResolvedSchema::new_with_schemata(others.iter().chain([schema]).collect()).map_err(unreadable)?;
    if refers(schema) || others.iter().any(refers) {
        let walked = Walk { datum, names: all.get_names() }.value(schema, None, 0);
        walked.map_err(|stopped| match stopped {
            Stopped::TooDeep => Rejected::new(Reason::TooDeep, format!("more than {MOST_LEVELS} levels")),
            Stopped::Unreadable => mismatch("the datum cannot be read by"),
        })?;
    }
    let reader = apache_avro::reader::datum::GenericDatumReader::builder(schema);
    let reader = reader.resolved_writer_schemata(all.clone()).build();
    let value = reader.and_then(|r| r.read_value(&mut datum)).map_err(unreadable)?;
    if !datum.is_empty() {
        return Err(mismatch("bytes are left after what was read by"));
    }
    // To the library a text that is cut off is null, whatever the schema says.
    if !value.validate_with_names(schema, all.get_names()) {
        return Err(mismatch("the datum does not agree with"));
    }
    let json = serde_json::Value::try_from(value).map_err(|_| mismatch("no JSON for a value of"))?;
    Ok(json.to_string())
}

/// Whether a schema refers to a named one: then a datum may be deeper than the schema.
fn refers(schema: &Schema) -> bool {
    match schema {
        Schema::Ref { .. } => true,
        Schema::Array(array) => refers(&array.items),
        Schema::Map(map) => refers(&map.types),
        Schema::Union(union) => union.variants().iter().any(refers),
        Schema::Record(record) => record.fields.iter().any(|field| refers(&field.schema)),
        _ => false,
    }
}

enum Stopped {
    TooDeep,
    Unreadable,
}

/// Goes through a datum without keeping anything, to know how deep it is before the library, whose way there is as deep as
/// the datum, runs out of stack. Source: Avro 1.12, binary encoding.
struct Walk<'a> {
    datum: &'a [u8],
    names: &'a NamesRef<'a>,
}

impl Walk<'_> {
    fn value(
        &mut self,
        schema: &Schema,
        namespace: NamespaceRef<'_>,
        depth: usize,
    ) -> std::result::Result<(), Stopped> {
        if depth > MOST_LEVELS {
            return Err(Stopped::TooDeep);
        }
        match schema {
            Schema::Null => Ok(()),
            Schema::Boolean => self.skip(1),
            Schema::Float => self.skip(4),
            Schema::Double => self.skip(8),
            Schema::Bytes
            | Schema::String
            | Schema::BigDecimal
            | Schema::Uuid(UuidSchema::Bytes | UuidSchema::String) => {
                let length = self.long()?;
                self.skip(length)
            }
            Schema::Fixed(fixed) | Schema::Duration(fixed) | Schema::Uuid(UuidSchema::Fixed(fixed)) => {
                self.skip(fixed.size as i64)
            }
            Schema::Decimal(decimal) => match &decimal.inner {
                InnerDecimalSchema::Bytes => self.value(&Schema::Bytes, None, depth),
                InnerDecimalSchema::Fixed(fixed) => self.skip(fixed.size as i64),
            },
            Schema::Array(array) => self.blocks(|walk| walk.value(&array.items, namespace, depth + 1)),
            Schema::Map(map) => self.blocks(|walk| {
                walk.value(&Schema::String, None, depth)?;
                walk.value(&map.types, namespace, depth + 1)
            }),
            Schema::Union(union) => {
                let at = usize::try_from(self.long()?).map_err(|_| Stopped::Unreadable)?;
                let variant = union.variants().get(at).ok_or(Stopped::Unreadable)?;
                self.value(variant, namespace, depth)
            }
            Schema::Record(record) => {
                let name = record.name.fully_qualified_name(namespace);
                record.fields.iter().try_for_each(|field| self.value(&field.schema, name.namespace(), depth + 1))
            }
            Schema::Ref { name } => {
                let name = name.fully_qualified_name(namespace);
                let named = *self.names.get(name.as_ref()).ok_or(Stopped::Unreadable)?;
                self.value(named, name.namespace(), depth + 1)
            }
            _ => self.long().map(|_| ()),
        }
    }

    /// Blocks of items, the last one empty.
    fn blocks(
        &mut self,
        mut item: impl FnMut(&mut Self) -> std::result::Result<(), Stopped>,
    ) -> std::result::Result<(), Stopped> {
        loop {
            let count = self.long()?;
            if count == 0 {
                return Ok(());
            }
            if count < 0 {
                // The block's size in bytes, for who skips it.
                self.long()?;
            }
            for _ in 0..count.unsigned_abs() {
                let before = self.datum.len();
                item(self)?;
                if self.datum.len() == before {
                    // Items without bytes are all the same.
                    break;
                }
            }
        }
    }

    fn skip(&mut self, bytes: i64) -> std::result::Result<(), Stopped> {
        let bytes = usize::try_from(bytes).map_err(|_| Stopped::Unreadable)?;
        self.datum = self.datum.get(bytes..).ok_or(Stopped::Unreadable)?;
        Ok(())
    }

    /// A number of 7 bits a byte, the lowest first, its sign in the lowest bit.
    fn long(&mut self) -> std::result::Result<i64, Stopped> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.datum.split_first().ok_or(Stopped::Unreadable)?;
            self.datum = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((number >> 1) as i64 ^ -((number & 1) as i64));
            }
        }
        Err(Stopped::Unreadable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema_of(text: &str) -> Arc<AvroSchema> {
        schema(&Fetched { text: text.to_string(), references: Vec::new() }).unwrap()
    }

    #[test]
    fn a_datum_as_deep_as_it_is_long_is_refused() {
        let list = schema_of(
            r#"{"type": "record", "name": "org.toy.Node", "fields": [
                {"name": "items", "type": {"type": "array", "items": "long"}},
                {"name": "next", "type": ["null", "Node"]}]}"#,
        );
        // Each node: a block of one item, its end, and the union's second kind.
        let nodes = |n: usize| [[2, 6, 0, 2].repeat(n), vec![0, 0]].concat();
        assert_eq!(json(&list, &nodes(1)).unwrap(), r#"{"items":[3],"next":{"items":[],"next":null}}"#);
        assert!(json(&list, &nodes(50)).is_ok());
        for n in [201, 1_000_000] {
            assert_eq!(json(&list, &nodes(n)).unwrap_err().reason, Reason::TooDeep);
        }
        assert_eq!(json(&list, &[2, 6]).unwrap_err().reason, Reason::SchemaMismatch);
        assert_eq!(json(&list, &[2, 6, 0, 8]).unwrap_err().reason, Reason::SchemaMismatch);
    }

    #[test]
    fn every_type_is_gone_through() {
        let types = schema_of(
            r#"{"type": "record", "name": "All", "fields": [
                {"name": "n", "type": "null"}, {"name": "b", "type": "boolean"}, {"name": "f", "type": "float"},
                {"name": "d", "type": "double"}, {"name": "s", "type": "string"},
                {"name": "x", "type": {"type": "fixed", "name": "Four", "size": 4}},
                {"name": "e", "type": {"type": "enum", "name": "Kind", "symbols": ["A", "B"]}},
                {"name": "t", "type": {"type": "long", "logicalType": "timestamp-millis"}},
                {"name": "m", "type": {"type": "map", "values": "All"}}, {"name": "y", "type": "Four"}]}"#,
        );
        let datum =
            [&[1][..], &[0; 4], &[0; 8], &[4, b'h', b'i'], &[1, 2, 3, 4], &[2], &[0x80, 0x01], &[0], &[5, 6, 7, 8]];
        let text = json(&types, &datum.concat()).unwrap();
        assert!(text.contains(r#""s":"hi""#) && text.contains(r#""e":"B""#) && text.contains(r#""t":64"#), "{text}");
        assert_eq!(json(&types, &datum[..6].concat()).unwrap_err().reason, Reason::SchemaMismatch);
    }
}
