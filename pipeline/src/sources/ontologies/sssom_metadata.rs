//! The metadata of an SSSOM mapping set, as it stands above the header of its TSV: YAML behind `#`.

use std::collections::BTreeMap;

use generel_schemas::ids::Curie;

use super::iri;

/// What we use of it.
#[derive(Debug, Default, serde::Deserialize)]
pub(crate) struct SssomMetadata {
    /// IRI or CURIE of the mapping set.
    #[serde(default)]
    pub(crate) mapping_set_id: Option<String>,
    /// What the prefixes of the file stand for.
    #[serde(default)]
    pub(crate) curie_map: Option<BTreeMap<String, String>>,
}

impl SssomMetadata {
    /// Reads the lines above the header, without their `#`. `None` when they are no YAML.
    pub(crate) fn parse(yaml: &str) -> Option<Self> {
        serde_saphyr::from_str(&dedented(yaml)).ok()
    }

    /// An entity in its one spelling: by what its prefix stands for in the file, where a registry knows that. `None` for
    /// what is neither CURIE nor IRI.
    pub(crate) fn entity(&self, text: &str) -> Option<String> {
        if iri::is_iri(text) {
            return Some(iri::reference(text));
        }
        let expanded = text.split_once(':').and_then(|(prefix, local)| {
            let uri = self.curie_map.as_ref()?.get(prefix)?;
            iri::curie(&format!("{uri}{local}"))
        });
        expanded.or_else(|| text.parse::<Curie>().ok()).map(|curie| curie.to_string())
    }
}

/// Some tools write a blank behind every `#`.
fn dedented(yaml: &str) -> String {
    if yaml.lines().all(|line| line.is_empty() || line.starts_with(' ')) {
        yaml.lines().map(|line| line.get(1..).unwrap_or_default()).collect::<Vec<_>>().join("\n")
    } else {
        yaml.to_string()
    }
}
