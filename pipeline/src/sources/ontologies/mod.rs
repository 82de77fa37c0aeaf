//! Ontologies, vocabularies and mappings between them.

mod babelon;
mod iri;
mod json;
mod obo;
mod obographs;
mod rdf;
mod sssom;
mod sssom_metadata;
mod terms;

pub(super) use babelon::Babelon;
pub(super) use obo::Obo;
pub(super) use obographs::OboGraphs;
pub(super) use rdf::Rdf;
pub(super) use sssom::Sssom;
pub(crate) use sssom_metadata::SssomMetadata;
