//! SSSOM TSV (Simple Standard for Sharing Ontological Mappings, mapping-commons.github.io/sssom): one mapping a row.
//!
//! Above the header may stand the mapping set's metadata, YAML behind `#`. A mapping is an edge: what it says of names
//! is evidence of another's, no vocabulary. A negative mapping (`predicate_modifier` Not) is kept under
//! `not:` and its predicate: what does not match is worth knowing.

use std::collections::BTreeMap;

use generel_schemas::sssom::NO_TERM_FOUND;
use generel_schemas::tables::{KG_EDGES, NEGATED};
use generel_schemas::{RejectReason, Table};

use super::super::output::{Edge, Output};
use super::super::recognize::{Head, Likeness};
use super::super::text::delimited::{Delimited, Delimiter, Dialect, Header, Kept, Refused, Row, RowParser, Taken};
use super::super::text::lines::Lines;
use super::super::text::values;
use super::super::{InputFile, ReadOptions, Reader, Source};
use super::sssom_metadata::SssomMetadata;
use crate::Result;

/// Columns without which there is no mapping.
const NEEDED: [&str; 3] = ["subject_id", "predicate_id", "object_id"];
/// A longer block above the header is no metadata.
const MAX_METADATA_BYTES: usize = 4 << 20;

/// The format `sssom`.
pub(in super::super) struct Sssom;

impl Source for Sssom {
    fn name(&self) -> &'static str {
        "sssom"
    }

    fn doc(&self) -> &'static str {
        "mappings in SSSOM TSV, with or without metadata above the header: one edge a mapping"
    }

    fn example(&self) -> &'static str {
        "generel ingest --format sssom --source biomappings biomappings.sssom.tsv"
    }

    fn tables(&self) -> &'static [&'static Table] {
        &[&KG_EDGES]
    }

    fn recognize(&self, head: &Head) -> Option<Likeness> {
        let header = head.lines().find(|line| !line.starts_with('#') && !line.trim().is_empty())?;
        let columns: Vec<&str> = header.split(separator(header)).map(|name| name.trim().trim_matches('"')).collect();
        if !NEEDED.iter().all(|name| columns.contains(name)) {
            return None;
        }
        if columns.contains(&"mapping_justification") {
            Likeness::new(99, "the header has subject_id, predicate_id, object_id, mapping_justification")
        } else {
            Likeness::new(95, "the header has subject_id, predicate_id, object_id")
        }
    }

    fn open(&self, file: &InputFile, options: &ReadOptions) -> Result<Reader> {
        let (metadata, delimiter) = preamble(file, options)?;
        let dialect =
            Dialect { delimiter: Delimiter::Byte(delimiter), ..Dialect::CSV }.commented("#").with_short_rows();
        let mut delimited = Delimited::open(file, options, dialect)?;
        let columns = Columns::of(&delimited.header)?;
        delimited.recognized = Some(match &metadata {
            Preamble::None => "no metadata above the header".to_string(),
            Preamble::Unreadable => "the metadata above the header is no YAML and was not used".to_string(),
            Preamble::Read(metadata) => format!(
                "mapping set {}, {} prefixes",
                metadata.mapping_set_id.as_deref().unwrap_or("without an id"),
                metadata.curie_map.as_ref().map_or(0, BTreeMap::len)
            ),
        });
        let metadata = match metadata {
            Preamble::Read(metadata) => metadata,
            Preamble::None | Preamble::Unreadable => SssomMetadata::default(),
        };
        Ok(delimited.into_reader(Rows { columns, metadata }))
    }
}

/// The standard has tabs; some tools write commas.
fn separator(header: &str) -> char {
    if header.contains(',') && !header.contains('\t') { ',' } else { '\t' }
}

#[derive(Debug)]
enum Preamble {
    None,
    Unreadable,
    Read(SssomMetadata),
}

/// The metadata above the header, and the header's separator.
fn preamble(file: &InputFile, options: &ReadOptions) -> Result<(Preamble, u8)> {
    let mut lines = Lines::new(file.reader(options.encoding)?, file.path().to_path_buf());
    let (mut yaml, mut delimiter) = (String::new(), b'\t');
    while lines.advance()? {
        let line = String::from_utf8_lossy(lines.line());
        match line.strip_prefix('#') {
            Some(text) if yaml.len() < MAX_METADATA_BYTES => {
                yaml.push_str(text);
                yaml.push('\n');
            }
            Some(_) => break,
            None if line.trim().is_empty() => {}
            None => {
                delimiter = if separator(&line) == ',' { b',' } else { b'\t' };
                break;
            }
        }
    }
    let preamble = if yaml.trim().is_empty() {
        Preamble::None
    } else {
        SssomMetadata::parse(&yaml).map_or(Preamble::Unreadable, Preamble::Read)
    };
    Ok((preamble, delimiter))
}

struct Columns {
    subject: usize,
    subject_label: Option<usize>,
    subject_category: Option<usize>,
    subject_type: Option<usize>,
    predicate: usize,
    modifier: Option<usize>,
    object: usize,
    object_label: Option<usize>,
    object_category: Option<usize>,
    object_type: Option<usize>,
    confidence: Option<usize>,
    justification: Option<usize>,
    mapping_set: Option<usize>,
}

impl Columns {
    fn of(header: &Header) -> Result<Self> {
        let at = |name: &str| header.find(&[name]);
        let [subject, predicate, object] = NEEDED;
        Ok(Self {
            subject: header.require(&[subject])?,
            subject_label: at("subject_label"),
            subject_category: at("subject_category"),
            subject_type: at("subject_type"),
            predicate: header.require(&[predicate])?,
            modifier: at("predicate_modifier"),
            object: header.require(&[object])?,
            object_label: at("object_label"),
            object_category: at("object_category"),
            object_type: at("object_type"),
            confidence: at("confidence"),
            justification: at("mapping_justification"),
            mapping_set: at("mapping_set_id"),
        })
    }
}

struct Rows {
    columns: Columns,
    metadata: SssomMetadata,
}

impl RowParser for Rows {
    fn row(&self, row: &Row<'_>, out: &mut Output) -> Kept {
        let columns = &self.columns;
        if row.get(columns.subject) == NO_TERM_FOUND || row.get(columns.object) == NO_TERM_FOUND {
            return Ok(Taken::Ignored("no term found"));
        }
        let is_literal = |kind: Option<usize>| row.text(kind).is_some_and(|text| text.contains("literal"));
        if is_literal(columns.subject_type) || is_literal(columns.object_type) {
            return Ok(Taken::Ignored("mapping of a text, not of a term"));
        }
        let subject = self.entity(row, columns.subject)?;
        let mut predicate = self.entity(row, columns.predicate)?;
        let object = self.entity(row, columns.object)?;
        let is_negative = match row.text(columns.modifier) {
            None => false,
            Some(text) if text.eq_ignore_ascii_case("not") => true,
            Some(_) => {
                // What an unknown modifier makes of the mapping cannot be told.
                let column = columns.modifier.unwrap_or(columns.predicate);
                return Err(Refused::column(column, RejectReason::Malformed, "expected Not or nothing"));
            }
        };
        let confidence = row
            .text(columns.confidence)
            .map(|text| values::number(text).filter(|number| (0.0..=1.0).contains(number)).ok_or(()));
        let confidence = out.or_hole("weight", confidence);
        let set = row.text(columns.mapping_set).or(self.metadata.mapping_set_id.as_deref());
        if is_negative {
            predicate.insert_str(0, NEGATED);
        }
        let parts = [row.text(columns.justification), set];
        let provenance = parts.into_iter().flatten().collect::<Vec<_>>().join("; ");
        out.edge(&Edge {
            subject: Some(&subject),
            subject_name: row.text(columns.subject_label),
            subject_category: row.text(columns.subject_category),
            predicate: Some(&predicate),
            object: Some(&object),
            object_name: row.text(columns.object_label),
            object_category: row.text(columns.object_category),
            weight: confidence,
            provenance: Some(provenance.as_str()).filter(|text| !text.is_empty()),
        });
        Ok(Taken::Kept)
    }
}

impl Rows {
    fn entity(&self, row: &Row<'_>, column: usize) -> Kept<String> {
        self.metadata
            .entity(row.needed(column)?)
            .ok_or_else(|| Refused::column(column, RejectReason::InvalidIdentifier, "expected a CURIE, prefix:local"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::Chunk;
    use super::super::super::testing::{self, cells, ignored, nulled, rejected};
    use super::*;

    fn read(text: &str) -> Vec<Chunk> {
        testing::read(&Sssom, &[("x.sssom.tsv", text.as_bytes())], &testing::options()).unwrap()
    }

    const HEADER: &str = "subject_id\tsubject_label\tpredicate_id\tpredicate_modifier\tobject_id\tobject_label\t\
                          mapping_justification\tconfidence\n";

    #[test]
    fn mappings_become_edges() {
        let chunks = read(&format!(
            "# mapping_set_id: https://w3id.org/set\n# license: \"CC0: all\"\n# curie_map:\n\
             #   ORDO: http://www.orpha.net/ORDO/Orphanet_\n#   agro: http://purl.obolibrary.org/obo/AGRO_\n\
             #   x: http://example.org/\n{HEADER}\
             ORDO:68\tone\tskos:exactMatch\t\tMSH:D1\tein \"s\"\tsemapv:LexicalMatching\t0.5\n\
             agro:7\t\"two \"\"2\"\"\tx\"\tskos:broadMatch\tNot\tx:1\t\tsemapv:ManualMappingCuration\t0.9\n\
             http://purl.obolibrary.org/obo/HP_1\t\tskos:closeMatch\t\tT:2\t\t\tmuch\n"
        ));
        assert!(rejected(&chunks).is_empty());
        assert_eq!(cells(&chunks, "subject"), ["orphanet.ordo:68", "AGRO:7", "HP:1"]);
        assert_eq!(cells(&chunks, "subject_name"), ["one", "two \"2\"\tx", "-"]);
        assert_eq!(cells(&chunks, "predicate"), ["skos:exactMatch", "not:skos:broadMatch", "skos:closeMatch"]);
        assert_eq!(cells(&chunks, "object"), ["mesh:D1", "x:1", "T:2"]);
        assert_eq!(cells(&chunks, "object_name"), ["ein \"s\"", "-", "-"]);
        assert_eq!(cells(&chunks, "weight"), ["0.5", "0.9", "-"]);
        assert_eq!(
            cells(&chunks, "provenance"),
            [
                "semapv:LexicalMatching; https://w3id.org/set",
                "semapv:ManualMappingCuration; https://w3id.org/set",
                "https://w3id.org/set",
            ]
        );
        assert_eq!(nulled(&chunks, "weight"), 1);
    }

    #[test]
    fn without_or_with_broken_metadata() {
        for above in ["", "#curie_map: [\n#  what: - is\n", "\n"] {
            let chunks = read(&format!("{above}subject_id\tpredicate_id\tobject_id\nA:1\tskos:exactMatch\tB:2\n"));
            assert_eq!(
                (cells(&chunks, "object"), cells(&chunks, "provenance")),
                (vec!["B:2".into()], vec!["-".into()])
            );
        }
        let commas =
            read("#mapping_set_id: s\nsubject_id,predicate_id,object_id,mapping_set_id\nA:1,skos:exactMatch,B:2,t\n");
        assert_eq!(cells(&commas, "provenance"), ["t"]);
    }

    #[test]
    fn what_is_no_mapping() {
        let chunks = read(&format!(
            "{HEADER}A:1\t\tskos:exactMatch\t\tsssom:NoTermFound\t\t\t\n\
             \t\tskos:exactMatch\t\tB:1\t\t\t\nA 1\t\tskos:exactMatch\t\tB:1\t\t\t\nA:1\t\tmatch\t\tB:1\t\t\t\n\
             A:1\t\tskos:exactMatch\t\t\t\t\t\nA:1\t\tskos:exactMatch\tPerhaps\tB:1\t\t\t\nA:1\tskos:exactMatch\n"
        ));
        assert_eq!(ignored(&chunks), 1);
        use RejectReason::{InvalidIdentifier, Malformed, MissingValue};
        assert_eq!(
            rejected(&chunks),
            [
                (3, "subject_id", MissingValue),
                (4, "subject_id", InvalidIdentifier),
                (5, "predicate_id", InvalidIdentifier),
                (6, "object_id", MissingValue),
                (7, "predicate_modifier", Malformed),
                (8, "predicate_id", MissingValue),
            ]
        );
        let literal = read("subject_type\tsubject_id\tpredicate_id\tobject_id\nrdfs literal\t\tskos:exactMatch\tB:1\n");
        assert_eq!(ignored(&literal), 1);
    }

    #[test]
    fn recognized_by_its_header() {
        let head = |text: String| Head { name: "x.tsv".to_string(), text };
        assert_eq!(Sssom.recognize(&head(format!("#curie_map:\n{HEADER}"))).unwrap().score, 99);
        assert!(Sssom.recognize(&head("subject\tpredicate\tobject\n".to_string())).is_none());
    }

    #[test]
    fn a_header_of_torn_characters_is_refused() {
        let error = testing::read(&Sssom, &[("x.tsv", b"\xe1\t\x80\x80")], &testing::options()).unwrap_err();
        assert!(error.to_string().contains("not UTF-8"), "{error}");
    }

    proptest! {
        #[test]
        fn any_bytes_balance(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let text = [b"#curie_map:\n#  a: http://b.c/\n", HEADER.as_bytes(), &bytes].concat();
            let _ = testing::read(&Sssom, &[("x.tsv", &text)], &testing::options()).unwrap();
            let _ = testing::read(&Sssom, &[("x.tsv", &bytes)], &testing::options());
        }
    }
}
