//! The prefixes that a file declares, for what no registry knows.

use generel_schemas::ids::Curie;

use super::super::iri;

/// Declared prefixes, the longest namespace first.
#[derive(Debug, Default)]
pub(super) struct Namespaces(Vec<(String, String)>);

impl Namespaces {
    pub(super) fn new(declared: impl Iterator<Item = (String, String)>) -> Self {
        // A registry's prefix that the file uses for another namespace would name other things.
        let usable = |(prefix, namespace): &(String, String)| {
            Curie::new(prefix, "x").is_ok_and(|curie| curie.uri_prefix().is_none_or(|uri| uri == namespace))
        };
        let mut declared: Vec<_> = declared.filter(usable).collect();
        declared.sort_by(|a, b| b.1.len().cmp(&a.1.len()).then_with(|| a.cmp(b)));
        Self(declared)
    }

    /// The CURIE of an IRI, by the registry or by a declared prefix; else the IRI.
    pub(super) fn curie(&self, iri: &str) -> String {
        let known = iri::curie(iri).or_else(|| {
            let (prefix, local) =
                self.0.iter().find_map(|(prefix, uri)| Some((prefix, iri.strip_prefix(uri.as_str())?)))?;
            Curie::new(prefix, local).ok().filter(|_| !local.contains(['/', '#']))
        });
        known.map_or_else(|| iri.to_string(), |curie| curie.to_string())
    }
}
