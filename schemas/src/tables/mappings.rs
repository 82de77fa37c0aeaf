use super::{Column, Kind, Table, column, optional, text};

/// One row per mapping between two sources: SSSOM slots and the evidence of the alignment.
pub const MAPPINGS: Table = Table {
    name: "mappings",
    doc: "one row per mapping between two sources: SSSOM slots and the evidence of the alignment",
    columns: COLUMNS,
    unit: Some("alignment_id"),
};

const COLUMNS: &[Column] = &[
    text("subject_id", "CURIE of the subject"),
    optional("subject_label", Kind::Text, "label of the subject"),
    text("subject_source", "source of the subject"),
    optional("subject_match_name", Kind::Text, "the name of the subject that matched"),
    optional("subject_match_field", Kind::Text, "rdfs:label or the kind of synonym that matched"),
    text("predicate_id", "skos:exactMatch, skos:closeMatch …"),
    text("object_id", "CURIE of the object; sssom:NoTermFound for a looked-for and missing match"),
    optional("object_label", Kind::Text, "label of the object"),
    text("object_source", "source of the object"),
    optional("object_match_name", Kind::Text, "the name of the object that matched"),
    optional("object_match_field", Kind::Text, "rdfs:label or the kind of synonym that matched"),
    text("mapping_justification", "semapv:SemanticSimilarityThresholdMatching, semapv:LexicalMatching …"),
    optional("confidence", Kind::Double, "calibrated probability that the mapping is right, 0-1"),
    optional("similarity_score", Kind::Double, "cosine of the best pair of names, clipped to 0-1"),
    optional("similarity_measure", Kind::Text, "what similarity_score is"),
    text("mapping_tool", "the tool"),
    text("mapping_tool_version", "its version"),
    column("mapping_date", Kind::Date, false, "when the mapping was made"),
    column("rank", Kind::Int, false, "1 = the subject's best object"),
    optional("margin", Kind::Double, "confidence minus that of the subject's next object"),
    column("mutual", Kind::Bool, false, "whether the subject is also the object's best"),
    optional("model_id", Kind::Text, "the model that embedded both sides"),
    text("alignment_id", "which alignment made the row: sources and options, hashed"),
    optional("author_id", Kind::Text, "who made a curated mapping: CURIEs, separated by |"),
    optional("reviewer_id", Kind::Text, "who reviewed a curated mapping: CURIEs, separated by |"),
    optional("mapping_source", Kind::Text, "where a curated mapping comes from: its mapping set"),
    optional("comment", Kind::Text, "what a curator wrote beside the mapping"),
];
