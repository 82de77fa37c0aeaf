use super::{Column, INPUT_ID, INPUT_ID_COLUMN, Kind, Table, optional, text};

/// Predicate of an ontology's is_a edge.
pub const SUB_CLASS_OF: &str = "rdfs:subClassOf";
/// Predicate of a cross-reference. Never evidence for an alignment: it is the gold standard in disguise.
pub const HAS_DB_XREF: &str = "oboInOwl:hasDbXref";

/// What stands before the predicate of an edge that says that something is *not* so, in every format alike:
/// `not:skos:exactMatch`. So no query for a predicate finds its opposite.
pub const NEGATED: &str = "not:";

/// One row per edge of a knowledge graph or ontology.
pub const KG_EDGES: Table = Table {
    name: "kg_edges",
    doc: "one row per edge of a knowledge graph or ontology",
    columns: COLUMNS,
    unit: Some(INPUT_ID),
};

const COLUMNS: &[Column] = &[
    text("source", "the source's name as given at ingest"),
    text("subject", "CURIE of the subject"),
    optional("subject_name", Kind::Text, "name of the subject"),
    optional("subject_category", Kind::Text, "category of the subject"),
    text("predicate", "CURIE of the relation; not:CURIE where the source says that it does not hold"),
    text("object", "CURIE of the object; the source's own text where it is none"),
    optional("object_name", Kind::Text, "name of the object"),
    optional("object_category", Kind::Text, "category of the object"),
    optional("weight", Kind::Double, "strength of the edge, where the source has one"),
    optional("provenance", Kind::Text, "where the source says it is from"),
    INPUT_ID_COLUMN,
];
