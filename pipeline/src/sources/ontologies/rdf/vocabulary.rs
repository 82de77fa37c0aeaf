//! What the properties and classes of RDFS, OWL, SKOS, oboInOwl and IAO say of a term.

use generel_schemas::tables::NameType;

pub(super) const RDF: &str = "http://www.w3.org/1999/02/22-rdf-syntax-ns#";
const RDFS: &str = "http://www.w3.org/2000/01/rdf-schema#";
pub(super) const OWL: &str = "http://www.w3.org/2002/07/owl#";
const SKOS: &str = "http://www.w3.org/2004/02/skos/core#";
pub(super) const OBO_IN_OWL: &str = "http://www.geneontology.org/formats/oboInOwl#";
const OBO: &str = "http://purl.obolibrary.org/obo/";
const EFO: &str = "http://www.ebi.ac.uk/efo/";
/// Dublin Core: who made a term, when, from what.
const METADATA: [&str; 2] = ["http://purl.org/dc/elements/1.1/", "http://purl.org/dc/terms/"];

/// What a property says of its subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Type,
    Name(NameType),
    Definition,
    Deprecated,
    /// The code as the source spells it; the lowest rank counts.
    Code(u8),
    Category,
    /// A cross-reference, whose object is mostly a text.
    Xref,
    AlternativeId,
    /// What replaces an obsolete term; OBO tools write it as an IRI or as a text.
    Replacement,
    /// A superclass or an edge: also to an anonymous class.
    SuperClass,
    /// An edge, where the object is an IRI.
    Link,
    /// About the record, not about what it means.
    Metadata,
}

pub(super) fn role(property: &str) -> Role {
    let in_namespace = |namespace| property.strip_prefix(namespace);
    if let Some(name) = in_namespace(RDFS) {
        return match name {
            "label" => Role::Name(NameType::Label),
            "subClassOf" => Role::SuperClass,
            "isDefinedBy" => Role::Metadata,
            _ => Role::Link,
        };
    }
    if let Some(name) = in_namespace(SKOS) {
        return skos(name);
    }
    if let Some(name) = in_namespace(OBO_IN_OWL) {
        return obo_in_owl(name);
    }
    if let Some(name) = in_namespace(OBO) {
        return match name {
            "IAO_0000115" => Role::Definition,
            "IAO_0000118" => Role::Name(NameType::Exact),
            "IAO_0100001" => Role::Replacement,
            _ => Role::Link,
        };
    }
    if METADATA.iter().any(|namespace| property.starts_with(namespace)) && !property.ends_with("isReplacedBy") {
        return Role::Metadata;
    }
    match (in_namespace(RDF), in_namespace(OWL), in_namespace(EFO)) {
        (Some("type"), _, _) => Role::Type,
        (_, Some("deprecated"), _) => Role::Deprecated,
        (_, _, Some("alternative_term")) => Role::Name(NameType::Exact),
        (_, _, Some("definition")) => Role::Definition,
        _ => Role::Link,
    }
}

fn skos(name: &str) -> Role {
    match name {
        "prefLabel" => Role::Name(NameType::Label),
        "altLabel" => Role::Name(NameType::Exact),
        // Misspellings and the like, for search only.
        "hiddenLabel" => Role::Name(NameType::Related),
        "definition" => Role::Definition,
        "notation" => Role::Code(1),
        "inScheme" | "topConceptOf" => Role::Metadata,
        _ => Role::Link,
    }
}

fn obo_in_owl(name: &str) -> Role {
    match name {
        "hasExactSynonym" => Role::Name(NameType::Exact),
        "hasNarrowSynonym" => Role::Name(NameType::Narrow),
        "hasBroadSynonym" => Role::Name(NameType::Broad),
        "hasRelatedSynonym" | "hasSynonym" => Role::Name(NameType::Related),
        "id" => Role::Code(0),
        "hasOBONamespace" => Role::Category,
        "hasDbXref" => Role::Xref,
        "hasAlternativeId" => Role::AlternativeId,
        "consider" => Role::Replacement,
        "inSubset" => Role::Metadata,
        _ => Role::Link,
    }
}

/// What a subject is by a class that it is an instance of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A class of OWL, a concept of SKOS.
    Concept,
    /// A property, an ontology, a scheme, an individual.
    Other,
    /// It does not say.
    Unsaid,
}

pub(super) fn kind(class: &str) -> Kind {
    if let Some(name) = class.strip_prefix(OWL) {
        return match name {
            "Class" | "DeprecatedClass" => Kind::Concept,
            _ => Kind::Other,
        };
    }
    if let Some(name) = class.strip_prefix(SKOS) {
        return if name == "Concept" { Kind::Concept } else { Kind::Other };
    }
    match (class.strip_prefix(RDFS), class.strip_prefix(RDF)) {
        (Some("Class"), _) => Kind::Concept,
        (Some("Datatype"), _) | (_, Some("Property")) => Kind::Other,
        _ => Kind::Unsaid,
    }
}
