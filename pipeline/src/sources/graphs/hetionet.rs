//! Hetionet v1.0: nodes as TSV (`id`, `name`, `kind`), edges as SIF (`source`, `metaedge`, `target`).
//!
//! An id is a kind and the id of the kind's source: `Disease::DOID:2531`, `Gene::9021`. Names of an edge's ends come from
//! the nodes file in the same folder.

use generel_schemas::tables::{CONCEPT_NAMES, CONCEPTS, KG_EDGES, NameType};
use generel_schemas::{RejectReason, Table};

use super::super::output::{Concept, Edge, Output};
use super::super::recognize::{Head, Likeness};
use super::super::text::delimited::{Delimited, Dialect, Kept, Refused, Row, RowParser, Taken};
use super::super::vocabularies::ENGLISH;
use super::super::vocabularies::curies::{self, with_buffers};
use super::super::{Found, InputFile, Place, ReadOptions, Reader, Source};
use super::nodes::Nodes;
use crate::Result;

/// Metaedges and their predicates: `hetionet/describe/edges/metaedges.tsv`. Kinds of the ends tell them apart.
const METAEDGES: [(&str, &str); 24] = [
    ("AdG", "hetionet:downregulates"),
    ("AeG", "hetionet:expresses"),
    ("AuG", "hetionet:upregulates"),
    ("CbG", "hetionet:binds"),
    ("CcSE", "hetionet:causes"),
    ("CdG", "hetionet:downregulates"),
    ("CpD", "hetionet:palliates"),
    ("CrC", "hetionet:resembles"),
    ("CtD", "hetionet:treats"),
    ("CuG", "hetionet:upregulates"),
    ("DaG", "hetionet:associates"),
    ("DdG", "hetionet:downregulates"),
    ("DlA", "hetionet:localizes"),
    ("DpS", "hetionet:presents"),
    ("DrD", "hetionet:resembles"),
    ("DuG", "hetionet:upregulates"),
    ("GcG", "hetionet:covaries"),
    ("GiG", "hetionet:interacts"),
    ("GpBP", "hetionet:participates"),
    ("GpCC", "hetionet:participates"),
    ("GpMF", "hetionet:participates"),
    ("GpPW", "hetionet:participates"),
    ("Gr>G", "hetionet:regulates"),
    ("PCiC", "hetionet:includes"),
];

/// The format `hetionet`.
pub(in super::super) struct Hetionet;

impl Source for Hetionet {
    fn name(&self) -> &'static str {
        "hetionet"
    }

    fn doc(&self) -> &'static str {
        "Hetionet: nodes (.tsv: id, name, kind) or edges (.sif: source, metaedge, target), named by a nodes file beside them"
    }

    fn example(&self) -> &'static str {
        "generel ingest --format hetionet --source hetionet hetionet-v1.0-nodes.tsv hetionet-v1.0-edges.sif.gz"
    }

    fn tables(&self) -> &'static [&'static Table] {
        &[&CONCEPTS, &CONCEPT_NAMES, &KG_EDGES]
    }

    fn recognize(&self, head: &Head) -> Option<Likeness> {
        let columns = head.columns('\t');
        if columns == ["source", "metaedge", "target"] {
            return Likeness::new(98, "the header is source, metaedge, target");
        }
        let nodes = columns == ["id", "name", "kind"] && head.lines().nth(1).is_some_and(|line| line.contains("::"));
        nodes.then(|| Likeness::new(97, "the header is id, name, kind, and ids begin with their kind"))?
    }

    fn files(&self, found: &Found) -> Result<Vec<InputFile>> {
        let place = found.file()?;
        place.size()?;
        let nodes = if is_nodes(place) { None } else { place.siblings()?.into_iter().find(is_filled_nodes) };
        Ok(vec![InputFile::with_companions(place, nodes.into_iter().collect())?])
    }

    fn open(&self, file: &InputFile, options: &ReadOptions) -> Result<Reader> {
        let delimited = Delimited::open(file, options, Dialect::TSV)?;
        let header = &delimited.header;
        if header.find(&["metaedge"]).is_none() {
            let rows = NodeRows {
                id: header.require(&["id"])?,
                name: header.require(&["name"])?,
                kind: header.find(&["kind"]),
            };
            return Ok(delimited.into_reader(rows));
        }
        let at = |name: &str| header.require(&[name]);
        let (source, metaedge, target) = (at("source")?, at("metaedge")?, at("target")?);
        let nodes = match file.companions.first() {
            Some(place) => Nodes::load(place, Dialect::TSV, options, "kind")?,
            None => Nodes::default(),
        };
        Ok(delimited.into_reader(EdgeRows { source, metaedge, target, nodes }))
    }
}

fn is_nodes(place: &Place) -> bool {
    let name = place.bare_name().to_ascii_lowercase();
    name.contains("hetionet") && name.contains("nodes") && name.ends_with(".tsv")
}

fn is_filled_nodes(place: &Place) -> bool {
    is_nodes(place) && place.size().is_ok_and(|size| size > 0)
}

/// Kind and id of `Disease::DOID:2531`.
fn parts<'a>(row: &Row<'a>, column: usize) -> Kept<(&'a str, &'a str)> {
    let parts = row.needed(column)?.split_once("::").filter(|(kind, id)| !kind.is_empty() && !id.is_empty());
    parts.ok_or_else(|| {
        let message = "expected a kind, two colons and an id";
        Refused::column(column, RejectReason::InvalidIdentifier, message)
    })
}

/// Writes the CURIE of a node. Ids of ontologies have their prefix, those of other sources have none.
fn push_curie(buffer: &mut String, kind: &str, id: &str) {
    let prefix = match kind {
        "Gene" => "ncbigene",
        "Compound" => "drugbank",
        "Symptom" => "mesh",
        "Side Effect" => "umls",
        "Pharmacologic Class" => "ndfrt",
        "Pathway" if id.starts_with("WP") => "wikipathways",
        // Pathways of the Pathway Commons were numbered by Hetionet.
        "Pathway" => "hetionet",
        _ if curies::push_parsed(buffer, id) => return,
        _ => return curies::push_code(buffer, "hetionet", id),
    };
    curies::push(buffer, prefix, id);
}

struct NodeRows {
    id: usize,
    name: usize,
    kind: Option<usize>,
}

impl RowParser for NodeRows {
    fn row(&self, row: &Row<'_>, out: &mut Output) -> Kept {
        let (kind, id) = parts(row, self.id)?;
        let name = row.text(Some(self.name));
        with_buffers(|[curie, ..]| {
            push_curie(curie, kind, id);
            out.concept(&Concept {
                code: Some(id),
                curie: Some(curie.as_str()),
                name,
                category: row.text(self.kind).or(Some(kind)),
                definition: None,
                obsolete: Some(false),
            });
        });
        if let Some(name) = name {
            out.name(id, name, NameType::Label, ENGLISH);
        }
        Ok(Taken::Kept)
    }
}

struct EdgeRows {
    source: usize,
    metaedge: usize,
    target: usize,
    nodes: Nodes,
}

impl RowParser for EdgeRows {
    fn row(&self, row: &Row<'_>, out: &mut Output) -> Kept {
        let (source_kind, source) = parts(row, self.source)?;
        let (target_kind, target) = parts(row, self.target)?;
        let metaedge = row.needed(self.metaedge)?;
        let Some((_, predicate)) = METAEDGES.iter().find(|(abbreviation, _)| *abbreviation == metaedge) else {
            let message = "expected one of Hetionet's 24 metaedges, abbreviated";
            return Err(Refused::column(self.metaedge, RejectReason::InvalidIdentifier, message));
        };
        let (subject_name, _) = self.nodes.get(row.get(self.source));
        let (object_name, _) = self.nodes.get(row.get(self.target));
        with_buffers(|[subject, object, ..]| {
            push_curie(subject, source_kind, source);
            push_curie(object, target_kind, target);
            out.edge(&Edge {
                subject: Some(subject.as_str()),
                subject_name,
                subject_category: Some(source_kind),
                predicate: Some(*predicate),
                object: Some(object.as_str()),
                object_name,
                object_category: Some(target_kind),
                weight: None,
                provenance: None,
            });
        });
        Ok(Taken::Kept)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::testing::{cells, options, read, rejected, table_cells};
    use super::*;

    const NODES: &str = "id\tname\tkind\r\nDisease::DOID:2531\thematologic cancer\tDisease\r\nGene::9021\tSOCS3\tGene\r\n\
        Compound::DB00014\tGoserelin\tCompound\r\nSide Effect::C0000727\tAcute abdomen\tSide Effect\r\n\
        Pathway::WP98_r81760\tProstaglandin\tPathway\r\nPathway::PC7_1234\tx\tPathway\r\n\
        Pharmacologic Class::N0000000069\tCCB\tPharmacologic Class\r\nSymptom::D000006\tAbdomen, Acute\tSymptom\r\n\
        Biological Process::GO:2000696\tregulation\tBiological Process\r\nno kind\tx\tGene\r\n";
    const EDGES: &str = "source\tmetaedge\ttarget\r\nCompound::DB00014\tCtD\tDisease::DOID:2531\r\n\
        Gene::9021\tGr>G\tGene::1\r\nGene::9021\tXxX\tGene::1\r\nGene:9021\tGiG\tGene::1\r\n";

    #[test]
    fn nodes_of_every_kind() {
        let chunks = read(&Hetionet, &[("hetionet-v1.0-nodes.tsv", NODES.as_bytes())], &options()).unwrap();
        assert_eq!(
            cells(&chunks, "curie"),
            [
                "DOID:2531",
                "ncbigene:9021",
                "drugbank:DB00014",
                "umls:C0000727",
                "wikipathways:WP98_r81760",
                "hetionet:PC7_1234",
                "ndfrt:N0000000069",
                "mesh:D000006",
                "GO:2000696"
            ]
        );
        assert_eq!(table_cells(&chunks, &CONCEPTS, "code")[..2], ["DOID:2531", "9021"]);
        assert_eq!(table_cells(&chunks, &CONCEPT_NAMES, "name")[2], "Goserelin");
        assert_eq!(cells(&chunks, "category")[8], "Biological Process");
        assert_eq!(rejected(&chunks), [(11, "id", RejectReason::InvalidIdentifier)]);
    }

    #[test]
    fn edges_are_named_by_the_nodes_beside_them() {
        let alone = read(&Hetionet, &[("edges.sif", EDGES.as_bytes())], &options()).unwrap();
        assert_eq!(cells(&alone, "subject_name"), ["-", "-"]);
        let files = [("edges.sif", EDGES.as_bytes()), ("hetionet-v1.0-nodes.tsv", NODES.as_bytes())];
        let chunks = read(&Hetionet, &files, &options()).unwrap();
        assert_eq!(cells(&chunks, "subject"), ["drugbank:DB00014", "ncbigene:9021"]);
        assert_eq!(cells(&chunks, "subject_name"), ["Goserelin", "SOCS3"]);
        assert_eq!(cells(&chunks, "predicate"), ["hetionet:treats", "hetionet:regulates"]);
        assert_eq!(cells(&chunks, "object"), ["DOID:2531", "ncbigene:1"]);
        assert_eq!(cells(&chunks, "object_name"), ["hematologic cancer", "-"]);
        assert_eq!(cells(&chunks, "object_category"), ["Disease", "Gene"]);
        assert_eq!(
            rejected(&chunks),
            [(4, "metaedge", RejectReason::InvalidIdentifier), (5, "source", RejectReason::InvalidIdentifier)]
        );
    }

    #[test]
    fn recognized_by_header() {
        let head = |text: &str| Head { name: "x".to_string(), text: text.to_string() };
        assert_eq!(Hetionet.recognize(&head(EDGES)).map(|l| l.score), Some(98));
        assert_eq!(Hetionet.recognize(&head(NODES)).map(|l| l.score), Some(97));
        assert_eq!(Hetionet.recognize(&head("id\tname\tkind\n1\ta\tb\n")), None);
        assert!(read(&Hetionet, &[("x.tsv", b"a\tb\n1\t2\n")], &options()).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_balance(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let (nodes, edges) = ([NODES.as_bytes(), &bytes].concat(), [EDGES.as_bytes(), &bytes].concat());
            let _ = read(&Hetionet, &[("edges.sif", &edges), ("hetionet-nodes.tsv", &nodes)], &options()).unwrap();
            let _ = read(&Hetionet, &[("hetionet-nodes.tsv", &nodes)], &options()).unwrap();
        }
    }
}
