//! IRIs as CURIEs.
//!
//! OBO's rule is that of the OBO Foundry ID policy (`…/obo/IDSPACE_LOCALID`); the other families are those that
//! ontologies of this field use for classes and cross-references.

use generel_schemas::ids::{Curie, PREFIXES};

const OBO: &str = "purl.obolibrary.org/obo/";
/// Resolvers that append `prefix/local` or `prefix:local`.
const RESOLVERS: [&str; 4] = ["identifiers.org/", "bioregistry.io/", "n2t.net/", "purl.bioontology.org/ontology/"];
/// What a phenotypic series is appended to: OMIM's other kind of page.
const OMIM_SERIES: &str = "omim.org/phenotypicSeries/";

/// The CURIE of an IRI, where a registry, OBO or a resolver knows its prefix.
pub(super) fn curie(iri: &str) -> Option<Curie> {
    let bare = without_scheme(iri)?;
    if let Some(curie) = registered(bare) {
        return Some(curie);
    }
    if let Some(rest) = bare.strip_prefix(OBO) {
        let (prefix, local) = obo_id(rest)?;
        return Curie::new(prefix, local).ok();
    }
    if let Some(series) = bare.strip_prefix(OMIM_SERIES) {
        return plain(series).and_then(|local| Curie::new("omim", local).ok());
    }
    RESOLVERS.iter().find_map(|resolver| resolved(bare.strip_prefix(resolver)?))
}

/// The CURIE of an IRI or of a CURIE in another spelling; anything else as it stands.
pub(super) fn reference(text: &str) -> String {
    let found = if is_iri(text) { curie(text) } else { text.parse().ok() };
    found.map_or_else(|| text.to_string(), |curie| curie.to_string())
}

/// The code of a term as OBO files spell it: `NCIT:C3262`, where the CURIE is `ncit:C3262`. What is no IRI is spelled
/// already.
pub(super) fn code(iri: &str) -> String {
    if !is_iri(iri) {
        return iri.to_string();
    }
    let obo =
        without_scheme(iri).and_then(|bare| obo_id(bare.strip_prefix(OBO)?)).filter(|(prefix, _)| *prefix != "obo");
    obo.map_or_else(|| reference(iri), |(prefix, local)| format!("{prefix}:{local}"))
}

/// Whether a text is an IRI of the web.
pub(super) fn is_iri(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

/// The part after the last `#`, `/` or the colon of a bare word: `hasExactSynonym`.
pub(super) fn local_name(text: &str) -> &str {
    text.rsplit(['#', '/', ':']).next().unwrap_or(text)
}

/// `http` and `https`, with `www.` or without, are the same place.
fn without_scheme(iri: &str) -> Option<&str> {
    let rest = iri.strip_prefix("http://").or_else(|| iri.strip_prefix("https://"))?;
    Some(rest.strip_prefix("www.").unwrap_or(rest))
}

/// By the longest prefix of the table.
fn registered(bare: &str) -> Option<Curie> {
    let fits = |uri: &&str| without_scheme(uri).is_some_and(|uri| bare.starts_with(uri));
    let found = PREFIXES.iter().filter(|p| fits(&p.uri)).max_by_key(|p| p.uri.len())?;
    let local = plain(bare.get(without_scheme(found.uri)?.len()..)?)?;
    Curie::new(found.preferred, local).ok()
}

/// A local id; a path or fragment behind it means that the prefix was too short.
fn plain(local: &str) -> Option<&str> {
    (!local.is_empty() && !local.contains(['/', '#'])).then_some(local)
}

/// `HP_0000118` is HP:0000118. `doid#has_symptom` is what a relation without a prefix becomes in OWL; OBO files name
/// it `has_symptom`, which the lake keeps as `obo:has_symptom`.
fn obo_id(rest: &str) -> Option<(&str, &str)> {
    let is_word = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_alphabetic())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    if let Some((ontology, name)) = rest.split_once('#') {
        return (is_word(ontology) && plain(name).is_some()).then_some(("obo", name));
    }
    let (prefix, local) = plain(rest)?.rsplit_once('_')?;
    // Words such as definition_citation are no ids: those have digits.
    (is_word(prefix) && local.bytes().any(|b| b.is_ascii_digit())).then_some((prefix, local))
}

/// `mesh/D003920`, `mesh:D003920`, and `hgnc/HGNC:5`, where the prefix stands twice.
fn resolved(rest: &str) -> Option<Curie> {
    let (prefix, local) = rest.split_once(['/', ':'])?;
    let twice = local.split_once(':').filter(|(again, _)| again.eq_ignore_ascii_case(prefix));
    Curie::new(prefix, plain(twice.map_or(local, |(_, local)| local))?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn iris_of_the_field() {
        for (iri, expected) in [
            ("http://purl.obolibrary.org/obo/HP_0000118", "HP:0000118"),
            ("https://purl.obolibrary.org/obo/NCIT_C3262", "ncit:C3262"),
            ("http://purl.obolibrary.org/obo/APOLLO_SV_00000001", "APOLLO_SV:00000001"),
            ("http://purl.obolibrary.org/obo/NCBITaxon_Union_0000001", "NCBITaxon:Union_0000001"),
            ("http://purl.obolibrary.org/obo/doid#has_symptom", "obo:has_symptom"),
            ("http://www.orpha.net/ORDO/Orphanet_68", "orphanet.ordo:68"),
            ("http://www.orpha.net/ORDO/Orphanet_C017", "orphanet.ordo:C017"),
            ("http://www.ebi.ac.uk/efo/EFO_0000400", "EFO:0000400"),
            ("http://id.nlm.nih.gov/mesh/D003920", "mesh:D003920"),
            ("https://identifiers.org/mesh:D003920", "mesh:D003920"),
            ("http://identifiers.org/hgnc/HGNC:5", "hgnc:5"),
            ("http://purl.bioontology.org/ontology/SNOMEDCT/44054006", "snomedct:44054006"),
            ("https://www.omim.org/phenotypicSeries/PS125853", "omim:PS125853"),
            ("https://omim.org/entry/125853", "omim:125853"),
            ("http://www.w3.org/2000/01/rdf-schema#subClassOf", "rdfs:subClassOf"),
            ("MSH:D003920", "mesh:D003920"),
        ] {
            assert_eq!(reference(iri), expected, "{iri}");
        }
        for text in [
            "http://purl.obolibrary.org/obo/definition_citation",
            "http://purl.obolibrary.org/obo/http://www.orpha.net/ontology/orphanet.owl#symbol",
            "http://www.ebi.ac.uk/efo/reason_for_obsolescence",
            "http://example.org/a/1",
            "https://omim.org/entry/1/2",
            "free text",
        ] {
            assert_eq!(reference(text), text);
        }
        assert_eq!(code("http://purl.obolibrary.org/obo/NCIT_C3262"), "NCIT:C3262");
        assert_eq!(code("http://www.orpha.net/ORDO/Orphanet_68"), "orphanet.ordo:68");
    }

    proptest! {
        #[test]
        fn any_text_is_kept_or_a_curie(text in "\\PC{0,30}", head in proptest::sample::select(vec![
            "", "http://", "https://www.", "http://purl.obolibrary.org/obo/", "http://identifiers.org/",
        ])) {
            let text = format!("{head}{text}");
            let found = reference(&text);
            prop_assert!(found == text || found.parse::<Curie>().is_ok());
            let _ = code(&text);
        }
    }
}
