//! What a mention means: the concept, and how sure that is.

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
}

impl Answer {
    /// Without a concept.
    pub(crate) fn without(outcome: Outcome) -> Self {
        Self::of(outcome).rendered()
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
        }
    }

    /// With its JSON.
    pub(crate) fn rendered(mut self) -> Self {
        // Strings and numbers always have a form in JSON.
        self.json = serde_json::to_string(&self).unwrap_or_default();
        self
    }
}

/// Four digits are more than a probability or cosine is worth.
pub(crate) fn rounded(number: f64) -> f64 {
    (number * 1e4).round() / 1e4
}
