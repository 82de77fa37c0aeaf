//! OBO Graphs JSON (github.com/geneontology/obographs): an ontology as nodes and edges.
//!
//! A row is a node or an edge; a node becomes the rows that its `[Term]` in an OBO file would. Edges name their ends
//! by IRIs, so the names of all nodes so far are kept. Logical definitions and properties of relations are passed over.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use generel_schemas::ids::{Curie, source_curie};
use generel_schemas::tables::{CONCEPT_NAMES, CONCEPTS, HAS_DB_XREF, KG_EDGES, NameType, SUB_CLASS_OF};
use generel_schemas::{RejectReason, RejectedRow, Table};
use serde::Deserialize;

use super::super::output::{Edge as EdgeRow, Output};
use super::super::recognize::{Head, Likeness};
use super::super::text::delimited::Taken;
use super::super::{Chunk, ChunkReader, InputFile, ReadOptions, Reader, Source};
use super::iri;
use super::json::{Elements, Kind};
use super::terms::{CONSIDER, Link, Name, REPLACED_BY, Register, Term, curie_or_text, is_abbreviation, one_line};
use crate::Result;

/// The format `obographs`.
pub(in super::super) struct OboGraphs;

impl Source for OboGraphs {
    fn name(&self) -> &'static str {
        "obographs"
    }

    fn doc(&self) -> &'static str {
        "ontology in OBO Graphs JSON (.json or .json.gz): classes, names, edges, xrefs, former ids"
    }

    fn example(&self) -> &'static str {
        "generel ingest --format obographs --source hp hp.json.gz"
    }

    fn tables(&self) -> &'static [&'static Table] {
        &[&CONCEPTS, &CONCEPT_NAMES, &KG_EDGES]
    }

    fn recognize(&self, head: &Head) -> Option<Likeness> {
        let has = |words: &[&str]| words.iter().any(|word| head.text.contains(word));
        if !head.text.trim_start().starts_with('{') || !has(&["\"nodes\"", "\"edges\""]) {
            return None;
        }
        match (has(&["\"graphs\""]), has(&["\"lbl\"", "\"sub\""])) {
            (true, true) => Likeness::new(99, "JSON with graphs, nodes and lbl"),
            (true, false) => Likeness::new(85, "JSON with graphs and nodes"),
            (false, true) => Likeness::new(80, "JSON with nodes and lbl"),
            _ => None,
        }
    }

    fn open(&self, file: &InputFile, options: &ReadOptions) -> Result<Reader> {
        let elements = Elements::new(file.reader(options.encoding)?, file.path().to_path_buf())?;
        Ok(Reader::Chunks(Box::new(GraphReader {
            elements,
            graphs: Graphs { stem: file.stem(), ..Graphs::default() },
            chunk_rows: options.chunk_rows.max(1) as u64,
            ended: false,
        })))
    }
}

struct GraphReader {
    elements: Elements,
    graphs: Graphs,
    chunk_rows: u64,
    ended: bool,
}

impl ChunkReader for GraphReader {
    fn next_chunk(&mut self) -> Result<Option<Chunk>> {
        let (mut chunk, mut out) = (Chunk::default(), Output::default());
        while !self.ended && chunk.rows_read < self.chunk_rows {
            let Some((kind, line)) = self.elements.advance()? else {
                self.ended = true;
                break;
            };
            self.graphs.graph = self.elements.graph();
            let element = self.elements.element();
            let fate = match kind {
                Kind::Meta => {
                    self.graphs.meta(element);
                    continue;
                }
                Kind::Node => self.graphs.node(element, &mut out),
                Kind::Edge => self.graphs.edge(element, &mut out),
            };
            chunk.rows_read += 1;
            match fate {
                Ok(taken) => chunk.take(taken),
                Err(bad) => chunk.rejected.push(bad.row(line, element)),
            }
        }
        // Former ids were read with their nodes: they are rows of the lake, not of the file.
        let mut written = 0;
        while self.ended && written < self.chunk_rows {
            let Some(rows) = self.graphs.register.write_alternative(&mut out) else { break };
            written += rows;
        }
        out.finish_into(&mut chunk)?;
        Ok(if chunk.rows_read == 0 && chunk.batches.is_empty() { None } else { Some(chunk) })
    }
}

/// Why an element is refused.
struct Bad {
    column: Option<&'static str>,
    reason: RejectReason,
    message: &'static str,
}

impl Bad {
    fn missing(column: &'static str) -> Self {
        Self { column: Some(column), reason: RejectReason::MissingValue, message: "a value is needed" }
    }

    fn row(self, line: u64, element: &[u8]) -> RejectedRow {
        RejectedRow {
            line,
            column: self.column.map(str::to_string),
            reason: self.reason,
            message: self.message.to_string(),
            raw: String::from_utf8_lossy(element).into_owned(),
        }
    }
}

type Fate = std::result::Result<Taken, Bad>;

/// An element as what it should be.
fn parse<'a, T: Deserialize<'a>>(element: &'a [u8], message: &'static str) -> std::result::Result<T, Bad> {
    let Ok(text) = std::str::from_utf8(element) else {
        let message = "the element is not UTF-8 text";
        return Err(Bad { column: None, reason: RejectReason::InvalidUtf8, message });
    };
    serde_json::from_str(text).map_err(|_| Bad { column: None, reason: RejectReason::Malformed, message })
}

#[derive(Deserialize)]
struct Node {
    id: Option<String>,
    lbl: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    meta: Option<Meta>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Meta {
    definition: Option<Definition>,
    synonyms: Option<Vec<Synonym>>,
    xrefs: Option<Vec<Xref>>,
    basic_property_values: Option<Vec<Property>>,
    deprecated: Option<bool>,
}

#[derive(Deserialize)]
struct Definition {
    val: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Synonym {
    pred: Option<String>,
    val: Option<String>,
    synonym_type: Option<String>,
}

#[derive(Deserialize)]
struct Xref {
    val: Option<String>,
    lbl: Option<String>,
}

#[derive(Deserialize)]
struct Property {
    pred: Option<String>,
    /// A string in all versions of the standard; some writers have numbers and truth values.
    val: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Edge {
    sub: Option<String>,
    pred: Option<String>,
    obj: Option<String>,
}

/// What edges need to know of a node.
struct Known {
    name: Option<Box<str>>,
    category: Option<Arc<str>>,
}

/// What was read of the document so far.
#[derive(Default)]
struct Graphs {
    stem: String,
    /// The graph that is being read.
    graph: u64,
    /// With the graph that states it: graphs of imports follow, of other namespaces.
    default_namespace: Option<(u64, String)>,
    nodes: HashMap<Box<str>, Known>,
    categories: HashSet<Arc<str>>,
    register: Register,
}

impl Graphs {
    /// The graph's own properties: only the default namespace says something of its nodes.
    fn meta(&mut self, element: &[u8]) {
        let meta: Meta = parse(element, "").unwrap_or_default();
        let stated = properties(&meta).find(|(key, _)| key == "default-namespace");
        self.default_namespace = stated.map(|(_, namespace)| (self.graph, namespace));
    }

    fn node(&mut self, element: &[u8], out: &mut Output) -> Fate {
        let node: Node =
            parse(element, "not a node of OBO Graphs: expected {\"id\": ..., \"lbl\": ..., \"meta\": ...}")?;
        let id = node.id.as_deref().map(str::trim).filter(|id| !id.is_empty()).ok_or(Bad::missing("id"))?.to_string();
        let meta = node.meta.unwrap_or_default();
        let properties: Vec<(String, String)> = properties(&meta).collect();
        match node.kind.as_deref() {
            // Relations that only annotations use come without a type, but with the name that OBO files call them by.
            None if properties.iter().any(|(key, _)| key == "shorthand") => {
                return Ok(Taken::Ignored("node of a property"));
            }
            None | Some("CLASS") => {}
            Some("PROPERTY") => return Ok(Taken::Ignored("node of a property")),
            Some("INDIVIDUAL") => return Ok(Taken::Ignored("node of an individual")),
            Some(_) => {
                let message = "expected CLASS, PROPERTY or INDIVIDUAL";
                return Err(Bad { column: Some("type"), reason: RejectReason::Malformed, message });
            }
        }
        let is_bare = meta.definition.is_none() && meta.synonyms.is_none() && properties.is_empty();
        let name = node.lbl.as_deref().map(one_line).filter(|name| !name.is_empty());
        if name.is_none() && is_bare && meta.deprecated.is_none() && meta.xrefs.is_none() {
            return Ok(Taken::Ignored("node without a label, of another ontology"));
        }
        if self.nodes.contains_key(id.as_str()) {
            return Ok(Taken::Ignored("node that stands in the document already"));
        }
        let (term, alternatives) = self.term(&id, name, meta, properties, out);
        let name = term.name.as_deref().map(Box::from);
        let category = term.category.as_deref().map(|category| self.category(category));
        self.nodes.insert(id.into(), Known { name, category });
        if !self.register.add(&term, alternatives, &self.stem) {
            return Ok(Taken::Ignored("node that stands in the document already"));
        }
        term.write_concept(out);
        term.write_rest(out);
        Ok(Taken::Kept)
    }

    fn term(
        &self,
        id: &str,
        name: Option<String>,
        meta: Meta,
        properties: Vec<(String, String)>,
        out: &mut Output,
    ) -> (Term, Vec<String>) {
        let default = self.default_namespace.as_ref().filter(|(graph, _)| *graph == self.graph);
        let mut term = Term {
            code: iri::code(id),
            curie: self.curie(id),
            obsolete: meta.deprecated.unwrap_or(false) || is_retired(&meta),
            definition: meta.definition.and_then(|d| d.val).map(|text| one_line(&text)).filter(|text| !text.is_empty()),
            category: default.map(|(_, namespace)| namespace.clone()),
            names: name.clone().map(|name| Name::english(name, NameType::Label)).into_iter().collect(),
            name,
            ..Term::default()
        };
        for synonym in meta.synonyms.unwrap_or_default() {
            match synonym.val.as_deref().map(one_line).filter(|text| !text.is_empty()) {
                Some(text) => term.names.push(Name::english(text, synonym.name_type())),
                None => out.hole("name"),
            }
        }
        for xref in meta.xrefs.unwrap_or_default() {
            match xref.val.as_deref().map(str::trim).filter(|text| !text.is_empty()) {
                Some(text) => term.links.push(Link {
                    predicate: HAS_DB_XREF.to_string(),
                    object: curie_or_text(text.to_string()),
                    object_name: xref.lbl.as_deref().map(one_line).filter(|label| !label.is_empty()),
                }),
                None => out.hole("object"),
            }
        }
        let mut alternatives = Vec::new();
        for (key, value) in properties {
            let predicate = match key.as_str() {
                "hasAlternativeId" => {
                    alternatives.push(iri::code(&value));
                    continue;
                }
                "hasOBONamespace" => {
                    term.category = Some(value);
                    continue;
                }
                "IAO_0100001" => REPLACED_BY,
                "consider" => CONSIDER,
                _ => continue,
            };
            let object_name =
                self.nodes.get(value.as_str()).and_then(|known| known.name.as_deref()).map(str::to_string);
            term.links.push(Link { predicate: predicate.to_string(), object: iri::reference(&value), object_name });
        }
        (term, alternatives)
    }

    fn edge(&mut self, element: &[u8], out: &mut Output) -> Fate {
        let edge: Edge =
            parse(element, "not an edge of OBO Graphs: expected {\"sub\": ..., \"pred\": ..., \"obj\": ...}")?;
        let needed = |value: Option<String>, column| {
            value.map(|text| text.trim().to_string()).filter(|text| !text.is_empty()).ok_or(Bad::missing(column))
        };
        let (sub, pred, obj) = (needed(edge.sub, "sub")?, needed(edge.pred, "pred")?, needed(edge.obj, "obj")?);
        let predicate = match pred.as_str() {
            "is_a" => SUB_CLASS_OF.to_string(),
            "subPropertyOf" | "inverseOf" => return Ok(Taken::Ignored("edge between properties")),
            "type" => "rdf:type".to_string(),
            word if !iri::is_iri(word) && word.parse::<Curie>().is_err() => format!("obo:{word}"),
            iri => iri::reference(iri),
        };
        let (subject, object) = (self.nodes.get(sub.as_str()), self.nodes.get(obj.as_str()));
        out.edge(&EdgeRow {
            subject: Some(&self.curie(&sub)),
            subject_name: subject.and_then(|known| known.name.as_deref()),
            subject_category: subject.and_then(|known| known.category.as_deref()),
            predicate: Some(&predicate),
            object: Some(&self.curie(&obj)),
            object_name: object.and_then(|known| known.name.as_deref()),
            ..EdgeRow::default()
        });
        Ok(Taken::Kept)
    }

    /// A node's CURIE; an IRI that has none stays as it is, so that edges and concepts name the same thing alike.
    fn curie(&self, id: &str) -> String {
        if iri::is_iri(id) || id.parse::<Curie>().is_ok() {
            iri::reference(id)
        } else {
            source_curie(&self.stem, id).to_string()
        }
    }

    /// One text for each category: nodes share a few.
    fn category(&mut self, text: &str) -> Arc<str> {
        match self.categories.get(text) {
            Some(category) => Arc::clone(category),
            None => {
                let category: Arc<str> = Arc::from(text);
                self.categories.insert(Arc::clone(&category));
                category
            }
        }
    }
}

impl Synonym {
    fn name_type(&self) -> NameType {
        match self.pred.as_deref().map(iri::local_name) {
            Some("hasExactSynonym") => {
                let kind = self.synonym_type.as_deref().map(iri::reference);
                if kind.is_some_and(|kind| is_abbreviation(&kind)) { NameType::Abbreviation } else { NameType::Exact }
            }
            Some("hasNarrowSynonym") => NameType::Narrow,
            Some("hasBroadSynonym") => NameType::Broad,
            _ => NameType::Related,
        }
    }
}

/// The texts among the properties, with the last part of what they are of.
fn properties(meta: &Meta) -> impl Iterator<Item = (String, String)> {
    meta.basic_property_values.iter().flatten().filter_map(|property| {
        let text = property.val.as_ref()?.as_str()?.trim();
        (!text.is_empty()).then_some((iri::local_name(property.pred.as_deref()?).to_string(), text.to_string()))
    })
}

/// ORDO says why a term is obsolete instead of that it is.
fn is_retired(meta: &Meta) -> bool {
    properties(meta).any(|(property, _)| property == "reason_for_obsolescence")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::testing::{self, cells, ignored, nulled, rejected, table_cells};
    use super::super::Obo;
    use super::*;

    fn read(text: &str) -> Result<Vec<Chunk>> {
        testing::read(&OboGraphs, &[("toy.json", text.as_bytes())], &testing::options())
    }

    fn nodes(nodes: &str) -> Vec<Chunk> {
        read(&format!("{{\"graphs\": [{{\"nodes\": [\n{nodes}\n]}}]}}")).unwrap()
    }

    const OBO: &str = "http://purl.obolibrary.org/obo";

    fn toy() -> String {
        let in_owl = "http://www.geneontology.org/formats/oboInOwl#";
        format!(
            r##"{{"graphs": [{{
  "id": "{OBO}/toy.json",
  "meta": {{"basicPropertyValues": [{{"pred": "{in_owl}default-namespace", "val": "toy"}}]}},
  "nodes": [
    {{"id": "{OBO}/HP_1", "lbl": "one", "type": "CLASS", "meta": {{
      "definition": {{"val": "What it\nis.", "xrefs": ["PMID:1"]}},
      "synonyms": [
        {{"pred": "hasExactSynonym", "val": "uno"}},
        {{"pred": "hasExactSynonym", "val": "I", "synonymType": "{OBO}/hp#abbreviation"}},
        {{"pred": "hasExactSynonym", "val": "i", "synonymType": "{OBO}/OMO_0003012"}},
        {{"pred": "hasNarrowSynonym", "val": "a"}}, {{"pred": "hasBroadSynonym", "val": "b"}},
        {{"pred": "hasRelatedSynonym", "val": "c"}}],
      "xrefs": [{{"val": "MSH:D1"}}, {{"val": "http://x.org/a"}}],
      "basicPropertyValues": [
        {{"pred": "{in_owl}hasAlternativeId", "val": "HP:9"}}, {{"pred": "{in_owl}hasAlternativeId", "val": "HP:2"}},
        {{"pred": "{in_owl}created_by", "val": "someone"}}]}}}},
    {{"id": "{OBO}/HP_2", "lbl": "obsolete two", "type": "CLASS", "meta": {{
      "deprecated": true,
      "basicPropertyValues": [
        {{"pred": "{in_owl}hasOBONamespace", "val": "own"}}, {{"pred": "{OBO}/IAO_0100001", "val": "{OBO}/HP_1"}},
        {{"pred": "{in_owl}consider", "val": "HP:3"}}]}}}},
    {{"id": "{OBO}/HP_3", "lbl": "three"}},
    {{"id": "{OBO}/BFO_0000051", "lbl": "has part", "type": "PROPERTY", "propertyType": "OBJECT"}},
    {{"id": "{OBO}/HP_3", "lbl": "three again", "type": "CLASS"}},
    {{"id": "{OBO}/UBERON_1", "type": "CLASS"}}
  ],
  "edges": [
    {{"sub": "{OBO}/HP_3", "pred": "is_a", "obj": "{OBO}/HP_1"}},
    {{"sub": "{OBO}/HP_1", "pred": "{OBO}/BFO_0000051", "obj": "{OBO}/UBERON_1"}},
    {{"sub": "{OBO}/BFO_0000051", "pred": "subPropertyOf", "obj": "{OBO}/RO_1"}}
  ],
  "equivalentNodesSets": [], "logicalDefinitionAxioms": [{{"definedClassId": "{OBO}/HP_1", "genusIds": []}}]
}}]}}"##
        )
    }

    #[test]
    fn the_same_ontology_gives_the_same_rows_as_obo() {
        let graphs = read(&toy()).unwrap();
        assert_eq!(graphs.iter().map(|chunk| chunk.rows_read).sum::<u64>(), 9);
        assert_eq!(ignored(&graphs), 4);
        assert!(rejected(&graphs).is_empty());
        let obo = "format-version: 1.2\ndefault-namespace: toy\n\n\
            [Term]\nid: HP:1\nname: one\ndef: \"What it is.\" [PMID:1]\nsynonym: \"uno\" EXACT []\n\
            synonym: \"I\" EXACT abbreviation []\nsynonym: \"i\" EXACT OMO:0003012 []\nsynonym: \"a\" NARROW []\n\
            synonym: \"b\" BROAD []\nsynonym: \"c\" RELATED []\nxref: MSH:D1\nxref: http\\://x.org/a\nalt_id: HP:9\n\
            alt_id: HP:2\nrelationship: has_part UBERON:1\n\
            [Term]\nid: HP:2\nname: obsolete two\nnamespace: own\nis_obsolete: true\nreplaced_by: HP:1 ! one\n\
            consider: HP:3\n[Term]\nid: HP:3\nname: three\nis_a: HP:1 ! one\n\
            [Typedef]\nid: has_part\nname: has part\nxref: BFO:0000051\n";
        let obo = testing::read(&Obo, &[("toy.obo", obo.as_bytes())], &testing::options()).unwrap();
        for table in OboGraphs.tables() {
            let rows = |chunks: &[Chunk]| {
                let columns = table.columns[1..table.columns.len() - 1].iter();
                let columns: Vec<_> = columns.map(|column| table_cells(chunks, table, column.name)).collect();
                let mut rows: Vec<String> = (0..columns[0].len())
                    .map(|row| columns.iter().map(|c| c[row].as_str()).collect::<Vec<_>>().join("|"))
                    .collect();
                rows.sort();
                rows
            };
            assert_eq!(rows(&graphs), rows(&obo), "{}", table.name);
        }
    }

    #[test]
    fn iris_of_other_places() {
        let chunks = read(
            "{\"graphs\": [{\"nodes\": [{\"id\": \"http://www.orpha.net/ORDO/Orphanet_68\", \"lbl\": \"x\"}, \
             {\"id\": \"http://example.org/a#b\", \"lbl\": \"y\"}], \"edges\": [{\"sub\": \
             \"http://www.orpha.net/ORDO/Orphanet_68\", \"pred\": \"part_of\", \"obj\": \"http://example.org/a#b\"}]}]}",
        )
        .unwrap();
        assert_eq!(cells(&chunks, "curie"), ["orphanet.ordo:68", "http://example.org/a#b"]);
        assert_eq!(cells(&chunks, "subject"), ["orphanet.ordo:68"]);
        assert_eq!(cells(&chunks, "predicate"), ["obo:part_of"]);
        assert_eq!(cells(&chunks, "object"), ["http://example.org/a#b"]);
        assert_eq!(
            (cells(&chunks, "subject_name"), cells(&chunks, "object_name")),
            (vec!["x".to_string()], vec!["y".to_string()])
        );
    }

    #[test]
    fn a_default_namespace_is_of_its_graph() {
        let graph = |id, meta| format!("{{{meta}\"nodes\": [{{\"id\": \"{id}\", \"lbl\": \"x\"}}]}}");
        let meta = "\"meta\": {\"basicPropertyValues\": [{\"pred\": \"a#default-namespace\", \"val\": \"ns\"}]}, ";
        let chunks = read(&format!("{{\"graphs\": [{}, {}]}}", graph("T:1", meta), graph("T:2", ""))).unwrap();
        assert_eq!(cells(&chunks, "category"), ["ns", "-"]);
    }

    #[test]
    fn bad_elements_are_rejected_alone() {
        let chunks = nodes(
            "{\"lbl\": \"no id\"},\n{\"id\": 5},\n{\"id\": \"T:1\", \"type\": \"OTHER\"},\n{\"id\": oops},\n\"text\",\n\
             {\"id\": \"T:2\", \"lbl\": \"two\", \"meta\": {\"synonyms\": [{\"pred\": \"hasExactSynonym\"}], \"xrefs\": [{\"val\": \" \"}]}}",
        );
        use RejectReason::{Malformed, MissingValue};
        assert_eq!(
            rejected(&chunks),
            [
                (2, "id", MissingValue),
                (3, "-", Malformed),
                (4, "type", Malformed),
                (5, "-", Malformed),
                (6, "-", Malformed)
            ]
        );
        assert_eq!(cells(&chunks, "code"), ["T:2", "T:2"]);
        assert_eq!((nulled(&chunks, "name"), nulled(&chunks, "object")), (1, 1));
        let edges = read(
            "{\"edges\": [{\"sub\": \"T:1\", \"obj\": \"T:2\"}, {\"sub\": \"T:1\", \"pred\": \"is_a\", \"obj\": \"T:2\"}]}",
        );
        assert_eq!(rejected(&edges.unwrap()), [(1, "pred", MissingValue)]);
    }

    #[test]
    fn recognized_by_its_words() {
        let head = |text: &str| Head { name: "x.json".to_string(), text: text.to_string() };
        assert_eq!(OboGraphs.recognize(&head(&toy())).unwrap().score, 99);
        assert!(OboGraphs.recognize(&head("{\"resourceType\": \"Bundle\", \"entry\": []}")).is_none());
    }

    proptest! {
        #[test]
        fn any_bytes_balance(text in "\\PC{0,100}", parts in proptest::collection::vec(proptest::sample::select(vec![
            "{", "}", "[", "]", ",", ":", "\"id\"", "\"lbl\"", "\"T:1\"", "\"meta\"", "\"xrefs\"", "null", "1", "\n",
            "{\"id\": \"T:1\", \"lbl\": \"x\"}", "{\"sub\": \"a\", \"pred\": \"b\", \"obj\": \"c d\"}",
        ]), 0..30)) {
            let _ = read(&text);
            let _ = read(&format!("{{\"graphs\": [{{\"nodes\": [{}], \"edges\": [{}]}}]}}", parts.concat(), parts.concat()));
        }
    }
}
