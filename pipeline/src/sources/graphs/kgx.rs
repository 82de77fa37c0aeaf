//! KGX, the Knowledge Graph Exchange of the Biolink model, as TSV or CSV: nodes (`id`, `category`, `name` …) and edges
//! (`subject`, `predicate`, `object` …). Values that are several are joined by `|`; quotes in TSV are ordinary
//! characters, as KGX itself reads them.

use generel_schemas::tables::{CONCEPT_NAMES, CONCEPTS, HAS_DB_XREF, KG_EDGES, NEGATED, NameType};
use generel_schemas::{RejectReason, Table};

use super::super::output::{Concept, Edge, Output};
use super::super::recognize::{Head, Likeness};
use super::super::text::delimited::{Delimited, Header, Kept, Refused, Row, RowParser, Taken};
use super::super::vocabularies::curies::{self, with_buffers};
use super::super::vocabularies::{ENGLISH, dialect, separator};
use super::super::{Found, InputFile, Place, ReadOptions, Reader, Source};
use super::nodes::Nodes;
use crate::{Error, Result};

/// Columns that only KGX has beside subject, predicate and object.
const EDGE_COLUMNS: [&str; 9] = [
    "relation",
    "knowledge_source",
    "primary_knowledge_source",
    "aggregator_knowledge_source",
    "knowledge_level",
    "agent_type",
    "provided_by",
    "category",
    "edge_label",
];
/// Where an edge says that it is from, the most direct source first.
const SOURCES: [&str; 6] = [
    "primary_knowledge_source",
    "knowledge_source",
    "original_knowledge_source",
    "aggregator_knowledge_source",
    "provided_by",
    "publications",
];
const SYNONYMS: [(&str, NameType); 5] = [
    ("synonym", NameType::Exact),
    ("exact_synonym", NameType::Exact),
    ("narrow_synonym", NameType::Narrow),
    ("broad_synonym", NameType::Broad),
    ("related_synonym", NameType::Related),
];

/// The format `kgx`.
pub(in super::super) struct Kgx;

impl Source for Kgx {
    fn name(&self) -> &'static str {
        "kgx"
    }

    fn doc(&self) -> &'static str {
        "KGX nodes or edges as TSV or CSV, or a folder of them; edges are named by the nodes file of the same name"
    }

    fn example(&self) -> &'static str {
        "generel ingest --format kgx --source monarch monarch-kg_nodes.tsv monarch-kg_edges.tsv"
    }

    fn tables(&self) -> &'static [&'static Table] {
        &[&CONCEPTS, &CONCEPT_NAMES, &KG_EDGES]
    }

    fn recognize(&self, head: &Head) -> Option<Likeness> {
        let columns = head.columns(separator(head));
        let has = |name: &str| columns.iter().any(|column| column == name);
        if has("subject") && has("object") && (has("predicate") || has("edge_label")) {
            return match EDGE_COLUMNS.iter().find(|name| has(name)) {
                Some(other) => Likeness::new(94, format!("the header has subject, predicate, object, {other}")),
                None => Likeness::new(70, "the header has subject, predicate, object"),
            };
        }
        let biolink = head.text.contains("biolink:");
        if has("id") && has("category") && (biolink || head.name.contains("nodes")) {
            return Likeness::new(if biolink { 94 } else { 75 }, "the header has id and category");
        }
        let nodes = has("category") && has("name") && biolink && head.name.contains("nodes");
        nodes.then(|| Likeness::new(65, "named as nodes, with Biolink categories"))?
    }

    fn files(&self, found: &Found) -> Result<Vec<InputFile>> {
        match found {
            Found::File(place) => {
                place.size()?;
                Ok(vec![with_nodes(place, &place.siblings()?)?])
            }
            Found::Folder(path, places) => {
                let is_graph = |place: &&Place| {
                    let name = bare(place);
                    let table = [".tsv", ".csv"].iter().any(|extension| name.ends_with(extension));
                    table && (name.contains("nodes") || name.contains("edges"))
                };
                let files: Vec<InputFile> =
                    places.iter().filter(is_graph).map(|place| with_nodes(place, places)).collect::<Result<_>>()?;
                if files.is_empty() {
                    let message = format!("{}: no nodes or edges file (.tsv, .csv) in it", path.display());
                    return Err(Error::Invalid(message));
                }
                Ok(files)
            }
        }
    }

    fn open(&self, file: &InputFile, options: &ReadOptions) -> Result<Reader> {
        let delimited = Delimited::open(file, options, dialect(&Head::read(&file.place)?).with_short_rows())?;
        let header = &delimited.header;
        if header.find(&["subject"]).is_none() && header.find(&["object"]).is_none() {
            let rows = NodeRows::new(header)?;
            return Ok(delimited.into_reader(rows));
        }
        let nodes = match file.companions.first() {
            Some(place) => Nodes::load(place, dialect(&Head::read(place)?).with_short_rows(), options, "category")?,
            None => Nodes::default(),
        };
        let rows = EdgeRows::new(header, nodes)?;
        Ok(delimited.into_reader(rows))
    }
}

fn bare(place: &Place) -> String {
    place.bare_name().to_ascii_lowercase()
}

/// A file, and of edges the file that is named as they are but for `nodes`.
fn with_nodes(place: &Place, places: &[Place]) -> Result<InputFile> {
    let name = bare(place);
    let nodes = name.contains("edges").then(|| name.replace("edges", "nodes"));
    let is_nodes = |place: &&Place| Some(bare(place)) == nodes && place.size().is_ok_and(|size| size > 0);
    InputFile::with_companions(place, places.iter().find(is_nodes).cloned().into_iter().collect())
}

/// Writes the CURIE of a column.
fn push_curie(buffer: &mut String, row: &Row<'_>, column: usize) -> Kept<()> {
    let text = row.needed(column)?;
    let refused = |message: &'static str| Refused::column(column, RejectReason::InvalidIdentifier, message);
    if text.starts_with("CURIE:") {
        return Err(refused("CURIE is a placeholder, not a prefix"));
    }
    if curies::push_parsed(buffer, text) { Ok(()) } else { Err(refused("expected a CURIE, prefix:local")) }
}

/// The parts of a value that may be several.
fn several(text: Option<&str>) -> impl Iterator<Item = &str> {
    text.unwrap_or_default().split('|').map(str::trim).filter(|part| !part.is_empty())
}

fn is_true(text: Option<&str>) -> bool {
    text.is_some_and(|text| text.eq_ignore_ascii_case("true") || text == "1")
}

/// Rows of nodes.
struct NodeRows {
    id: usize,
    name: Option<usize>,
    category: Option<usize>,
    description: Option<usize>,
    deprecated: Option<usize>,
    synonyms: Vec<(usize, NameType)>,
    xref: Option<usize>,
}

impl NodeRows {
    fn new(header: &Header) -> Result<Self> {
        Ok(Self {
            id: header.require(&["id"])?,
            name: header.find(&["name"]),
            category: header.find(&["category"]),
            description: header.find(&["description"]),
            deprecated: header.find(&["deprecated"]),
            synonyms: SYNONYMS.iter().filter_map(|(name, kind)| Some((header.find(&[*name])?, *kind))).collect(),
            xref: header.find(&["xref", "xrefs", "has_db_xref"]),
        })
    }
}

impl RowParser for NodeRows {
    fn row(&self, row: &Row<'_>, out: &mut Output) -> Kept {
        with_buffers(|[curie, xref, ..]| {
            push_curie(curie, row, self.id)?;
            let (code, name) = (row.get(self.id), row.text(self.name));
            let category = row.text(self.category);
            out.concept(&Concept {
                code: Some(code),
                curie: Some(curie.as_str()),
                name,
                category,
                definition: row.text(self.description),
                obsolete: Some(is_true(row.text(self.deprecated))),
            });
            if let Some(name) = name {
                out.name(code, name, NameType::Label, ENGLISH);
            }
            for (column, kind) in &self.synonyms {
                for synonym in several(row.text(Some(*column))) {
                    out.name(code, synonym, *kind, ENGLISH);
                }
            }
            for target in several(row.text(self.xref)) {
                xref.clear();
                let object = if curies::push_parsed(xref, target) { xref.as_str() } else { target };
                out.edge(&Edge {
                    subject: Some(curie.as_str()),
                    subject_name: name,
                    subject_category: category,
                    predicate: Some(HAS_DB_XREF),
                    object: Some(object),
                    ..Edge::default()
                });
            }
            Ok(Taken::Kept)
        })
    }
}

/// Rows of edges.
struct EdgeRows {
    subject: usize,
    predicate: usize,
    object: usize,
    subject_name: Option<usize>,
    object_name: Option<usize>,
    subject_category: Option<usize>,
    object_category: Option<usize>,
    negated: Option<usize>,
    sources: Vec<usize>,
    nodes: Nodes,
}

impl EdgeRows {
    fn new(header: &Header, nodes: Nodes) -> Result<Self> {
        Ok(Self {
            subject: header.require(&["subject"])?,
            predicate: header.require(&["predicate", "edge_label"])?,
            object: header.require(&["object"])?,
            subject_name: header.find(&["subject_name", "subject_label"]),
            object_name: header.find(&["object_name", "object_label"]),
            subject_category: header.find(&["subject_category"]),
            object_category: header.find(&["object_category"]),
            negated: header.find(&["negated"]),
            sources: SOURCES.iter().filter_map(|name| header.find(&[*name])).collect(),
            nodes,
        })
    }

    /// Writes the predicate's CURIE. Older graphs name Biolink's without the prefix.
    fn push_predicate(&self, buffer: &mut String, row: &Row<'_>) -> Kept<()> {
        let text = row.needed(self.predicate)?;
        if text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') {
            curies::push(buffer, "biolink", text);
            return Ok(());
        }
        push_curie(buffer, row, self.predicate)
    }

    /// Writes where the edge is from, each source once.
    fn push_provenance(&self, buffer: &mut String, row: &Row<'_>) {
        for part in self.sources.iter().flat_map(|column| several(row.text(Some(*column)))) {
            if buffer.split('|').any(|known| known == part) {
                continue;
            }
            if !buffer.is_empty() {
                buffer.push('|');
            }
            buffer.push_str(part);
        }
    }
}

impl RowParser for EdgeRows {
    fn row(&self, row: &Row<'_>, out: &mut Output) -> Kept {
        with_buffers(|[subject, predicate, object, provenance]| {
            push_curie(subject, row, self.subject)?;
            self.push_predicate(predicate, row)?;
            if is_true(row.text(self.negated)) {
                predicate.insert_str(0, NEGATED);
            }
            let text = row.needed(self.object)?;
            // An object may be an IRI or other text of the source; a subject may not.
            let object = if text.contains("://") && !text.contains(char::is_whitespace) {
                text
            } else {
                push_curie(object, row, self.object)?;
                object.as_str()
            };
            self.push_provenance(provenance, row);
            let (subject_name, subject_category) = self.nodes.get(row.get(self.subject));
            let (object_name, object_category) = self.nodes.get(text);
            out.edge(&Edge {
                subject: Some(subject.as_str()),
                subject_name: row.text(self.subject_name).or(subject_name),
                subject_category: row.text(self.subject_category).or(subject_category),
                predicate: Some(predicate.as_str()),
                object: Some(object),
                object_name: row.text(self.object_name).or(object_name),
                object_category: row.text(self.object_category).or(object_category),
                weight: None,
                provenance: Some(provenance.as_str()).filter(|text| !text.is_empty()),
            });
            Ok(Taken::Kept)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::testing::{cells, options, read, read_path, rejected, table_cells};
    use super::*;

    const NODES: &str = "id\tcategory\tname\tdescription\tsynonym\txref\tdeprecated\n\
        HGNC:10848\tbiolink:Gene|biolink:NamedThing\tSHH\tA \"gene\"\tHHG1|HPE3\tNCBIGene:6469|free text\t\n\
        NCBIGene:6469\tbiolink:Gene\t\t\t\t\ttrue\nCURIE:123\tbiolink:Gene\tx\t\t\t\t\nno curie\tbiolink:Gene\tx\t\t\t\t\n";
    const EDGES: &str = "id\tsubject\tpredicate\tobject\tprimary_knowledge_source\taggregator_knowledge_source\t\
        publications\tnegated\n\
        u:1\tHGNC:10848\tbiolink:interacts_with\tNCBIGene:6469\tinfores:a\tinfores:b|infores:a\tPMID:1\tfalse\n\
        u:2\tHGNC:10848\tpart_of\thttp://example.org/x\t\t\t\tTrue\n\
        u:3\tHGNC:10848\tbiolink:x\tno curie\t\t\t\t\nu:4\t\tbiolink:x\tHGNC:1\t\t\t\t\n\
        u:5\tHGNC:10848\thttp://x.org/p\tHGNC:1\t\t\t\t\n";

    #[test]
    fn nodes() {
        let chunks = read(&Kgx, &[("graph_nodes.tsv", NODES.as_bytes())], &options()).unwrap();
        assert_eq!(table_cells(&chunks, &CONCEPTS, "code"), ["HGNC:10848", "NCBIGene:6469"]);
        assert_eq!(cells(&chunks, "curie")[1], "ncbigene:6469");
        assert_eq!(cells(&chunks, "definition"), ["A \"gene\"", "-"]);
        assert_eq!(cells(&chunks, "category"), ["biolink:Gene|biolink:NamedThing", "biolink:Gene"]);
        assert_eq!(cells(&chunks, "obsolete"), ["false", "true"]);
        assert_eq!(table_cells(&chunks, &CONCEPT_NAMES, "name"), ["SHH", "HHG1", "HPE3"]);
        assert_eq!(cells(&chunks, "object"), ["ncbigene:6469", "free text"]);
        assert_eq!(
            rejected(&chunks),
            [(4, "id", RejectReason::InvalidIdentifier), (5, "id", RejectReason::InvalidIdentifier)]
        );
    }

    #[test]
    fn edges() {
        let files = [("graph_edges.tsv", EDGES.as_bytes()), ("graph_nodes.tsv", NODES.as_bytes())];
        let chunks = read(&Kgx, &files, &options()).unwrap();
        assert_eq!(cells(&chunks, "predicate"), ["biolink:interacts_with", "not:biolink:part_of"]);
        assert_eq!(cells(&chunks, "object"), ["ncbigene:6469", "http://example.org/x"]);
        assert_eq!(cells(&chunks, "subject_name"), ["SHH", "SHH"]);
        assert_eq!(cells(&chunks, "object_category"), ["biolink:Gene", "-"]);
        assert_eq!(cells(&chunks, "provenance"), ["infores:a|infores:b|PMID:1", "-"]);
        assert_eq!(
            rejected(&chunks),
            [
                (4, "object", RejectReason::InvalidIdentifier),
                (5, "subject", RejectReason::MissingValue),
                (6, "predicate", RejectReason::InvalidIdentifier)
            ]
        );
    }

    #[test]
    fn csv_and_headers_that_lack_columns() {
        let text =
            "subject,epredicate,object,relation,predicate\nHGNC:1,x,OMIM:2,owl:equivalentClass,biolink:same_as\n";
        let chunks = read(&Kgx, &[("cm_edges.csv", text.as_bytes())], &options()).unwrap();
        assert_eq!(cells(&chunks, "object"), ["omim:2"]);
        let incomplete = b"name\tcategory\tdescription\nGene 123\tbiolink:Gene\tx\n";
        let Err(error) = read(&Kgx, &[("incomplete_nodes.tsv", incomplete)], &options()) else { panic!("no id") };
        assert!(error.to_string().contains("no column id"), "{error}");
        assert!(read(&Kgx, &[("x_edges.tsv", b"subject\tobject\na:1\tb:1\n")], &options()).is_err());
    }

    #[test]
    fn a_folder_is_read_whole() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read_path(&Kgx, folder.path(), &options()).is_err());
        std::fs::write(folder.path().join("g_edges.tsv"), EDGES).unwrap();
        std::fs::write(folder.path().join("g_nodes.tsv"), NODES).unwrap();
        std::fs::write(folder.path().join("README.md"), "x").unwrap();
        let chunks = read_path(&Kgx, folder.path(), &options()).unwrap();
        assert_eq!(chunks.iter().map(|c| c.rows_read).sum::<u64>(), 5 + 4);
    }

    #[test]
    fn recognized_by_columns() {
        let head = |name: &str, text: &str| Head { name: name.to_string(), text: text.to_string() };
        assert_eq!(Kgx.recognize(&head("x.tsv", EDGES)).map(|l| l.score), Some(94));
        assert_eq!(Kgx.recognize(&head("x.tsv", NODES)).map(|l| l.score), Some(94));
        assert_eq!(Kgx.recognize(&head("x.tsv", "subject\tpredicate\tobject\n")).map(|l| l.score), Some(70));
        assert_eq!(Kgx.recognize(&head("x.tsv", "subject_id\tpredicate_id\tobject_id\n")), None);
        assert_eq!(Kgx.recognize(&head("x.tsv", "id\tname\tcategory\n1\ta\tb\n")), None);
    }

    proptest! {
        #[test]
        fn any_bytes_balance(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let (nodes, edges) = ([NODES.as_bytes(), &bytes].concat(), [EDGES.as_bytes(), &bytes].concat());
            let _ = read(&Kgx, &[("g_edges.tsv", &edges), ("g_nodes.tsv", &nodes)], &options()).unwrap();
            let _ = read(&Kgx, &[("g_nodes.tsv", &nodes)], &options()).unwrap();
        }
    }
}
