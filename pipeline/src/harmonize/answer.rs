//! What a mention means: the concept, and how sure that is.

use std::sync::{Arc, LazyLock, OnceLock};

use serde::Serialize;

/// What became of a mention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// It has a concept.
    Mapped,
    /// Its best concept is not sure enough.
    Below,
    /// Nothing resembles it.
    Unmapped,
    /// The record says nothing at the field's place.
    Absent,
}

impl Outcome {
    pub(crate) const ALL: [Self; 4] = [Self::Mapped, Self::Below, Self::Unmapped, Self::Absent];

    /// The word in `harmonized.outcome` and in labels.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Mapped => "mapped",
            Self::Below => "below",
            Self::Unmapped => "unmapped",
            Self::Absent => "absent",
        }
    }
}

/// What a mention means, in SSSOM's words.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Answer {
    pub(crate) outcome: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) object_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) object_label: Option<String>,
    /// The concept's name that the text resembles most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) object_match_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) predicate_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mapping_justification: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) confidence: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) similarity_score: Option<f64>,
    /// The same as JSON: what stands in an output message.
    #[serde(skip)]
    pub(crate) json: String,
    #[serde(skip)]
    pub(crate) coding: OnceLock<String>,
}

impl Answer {
    /// Without a concept.
    pub(crate) fn without(outcome: Outcome) -> Self {
        Self::of(outcome).rendered()
    }

    /// For a place where a record says nothing.
    pub(crate) fn absent() -> &'static Arc<Self> {
        static ABSENT: LazyLock<Arc<Answer>> = LazyLock::new(|| Arc::new(Answer::without(Outcome::Absent)));
        &ABSENT
    }

    /// To be filled, then rendered.
    pub(crate) fn of(outcome: Outcome) -> Self {
        Self {
            outcome,
            object_id: None,
            object_label: None,
            object_match_name: None,
            predicate_id: None,
            mapping_justification: None,
            confidence: None,
            similarity_score: None,
            json: String::new(),
            coding: OnceLock::new(),
        }
    }

    /// With its JSON.
    pub(crate) fn rendered(mut self) -> Self {
        // Strings and numbers always have a form in JSON.
        self.json = serde_json::to_string(&self).unwrap_or_default();
        self
    }

    /// The same as a FHIR Coding: the ontology's IRI where its prefix is known.
    pub(crate) fn coding(&self) -> &str {
        self.coding.get_or_init(|| {
            let curie = self.object_id.as_deref().unwrap_or_default();
            let prefix = curie.split(':').next().unwrap_or_default();
            let system = generel_schemas::ids::known(prefix)
                .map_or_else(|| format!("urn:generel:{prefix}"), |p| p.uri.to_string());
            serde_json::json!({"system": system, "code": curie, "display": self.object_label, "userSelected": false})
                .to_string()
        })
    }
}

/// Four digits are more than a probability or cosine is worth.
pub(crate) fn rounded(number: f64) -> f64 {
    (number * 1e4).round() / 1e4
}
