//! Words of SSSOM (Simple Standard for Sharing Ontological Mappings) and semapv.

/// No match was found for a subject that was looked for.
pub const NO_TERM_FOUND: &str = "sssom:NoTermFound";
/// Same meaning.
pub const EXACT_MATCH: &str = "skos:exactMatch";
/// Nearly the same meaning.
pub const CLOSE_MATCH: &str = "skos:closeMatch";
/// The object means more.
pub const BROAD_MATCH: &str = "skos:broadMatch";
/// The object means less.
pub const NARROW_MATCH: &str = "skos:narrowMatch";
/// The two are related.
pub const RELATED_MATCH: &str = "skos:relatedMatch";
/// A person made the mapping.
pub const MANUAL_CURATION: &str = "semapv:ManualMappingCuration";
/// Several kinds of evidence together.
pub const COMPOSITE_MATCHING: &str = "semapv:CompositeMatching";
/// Similarity of embeddings above a threshold.
pub const SEMANTIC_SIMILARITY: &str = "semapv:SemanticSimilarityThresholdMatching";
/// Equal names after normalization.
pub const LEXICAL_MATCHING: &str = "semapv:LexicalMatching";
/// The value of `similarity_measure` for cosine of embeddings.
pub const COSINE: &str = "cosine similarity of text embeddings";

/// The columns of an SSSOM TSV that GENEREL writes, in the standard's order.
pub const COLUMNS: &[&str] = &[
    "subject_id",
    "subject_label",
    "subject_source",
    "predicate_id",
    "object_id",
    "object_label",
    "object_source",
    "mapping_justification",
    "author_id",
    "reviewer_id",
    "mapping_source",
    "mapping_tool",
    "mapping_tool_version",
    "mapping_date",
    "confidence",
    "subject_match_field",
    "object_match_field",
    "match_string",
    "similarity_score",
    "similarity_measure",
    "comment",
];

/// The CURIE of the field that a name of this type stands in (`subject_match_field`, `object_match_field`).
pub fn match_field(name_type: &str) -> &'static str {
    match name_type {
        "label" => "rdfs:label",
        "exact" | "abbreviation" => "oboInOwl:hasExactSynonym",
        "narrow" => "oboInOwl:hasNarrowSynonym",
        "broad" => "oboInOwl:hasBroadSynonym",
        _ => "oboInOwl:hasRelatedSynonym",
    }
}
