//! The elements of the resources that become events, as R4 names them; STU3's names stand beside them.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::super::vocabulary;
use super::json::{Coding, Codings, Loose, Many, Number, Shape, Text};

/// A CodeableConcept.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Concept<'a> {
    #[serde(borrow)]
    coding: Codings<'a>,
    text: Text<'a>,
}

/// A code on its way into an event.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Named<'r> {
    pub(super) vocabulary: Option<&'r str>,
    pub(super) code: Option<&'r str>,
    pub(super) name: Option<&'r str>,
}

impl Coding<'_> {
    pub(super) fn named(&self) -> Named<'_> {
        let code = self.code.get();
        let system = self.system.get().filter(|_| code.is_some());
        let vocabulary = system.map(|system| vocabulary::omop(system).unwrap_or(system));
        Named { vocabulary, code, name: self.display.get() }
    }
}

impl Concept<'_> {
    pub(super) fn named(&self) -> Named<'_> {
        let named = self.coding.0.named();
        Named { name: named.name.or(self.text.get()), ..named }
    }

    /// The code, or the text that stands in its place.
    pub(super) fn word(&self) -> Option<&str> {
        self.coding.0.code.get().or(self.text.get())
    }
}

impl<'de: 'a, 'a> Shape<'de> for Concept<'a> {
    fn of_text(text: Text<'de>) -> Option<Self> {
        Some(Self { coding: Codings::default(), text })
    }
}

/// A Reference.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Reference<'a> {
    #[serde(borrow)]
    pub(super) reference: Text<'a>,
    pub(super) display: Text<'a>,
}

impl<'de: 'a, 'a> Shape<'de> for Reference<'a> {}

/// A Period.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Period<'a> {
    #[serde(borrow)]
    start: Text<'a>,
}

impl<'de: 'a, 'a> Shape<'de> for Period<'a> {}

impl Loose<Period<'_>> {
    pub(super) fn start(&self) -> Option<&str> {
        self.get()?.start.get()
    }
}

/// A Quantity.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Quantity<'a> {
    #[serde(borrow)]
    comparator: Text<'a>,
    pub(super) value: Number,
    unit: Text<'a>,
    code: Text<'a>,
}

impl Quantity<'_> {
    pub(super) fn unit(&self) -> Option<&str> {
        self.unit.get().or(self.code.get())
    }

    /// `<`, `<=`, `>=` or `>`, where the value is only a bound.
    pub(super) fn comparator(&self) -> Option<&str> {
        self.comparator.get()
    }
}

impl<'de: 'a, 'a> Shape<'de> for Quantity<'a> {}

/// A part of an observation, such as the systolic pressure.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Component<'a> {
    #[serde(borrow)]
    pub(super) code: Loose<Concept<'a>>,
    value_quantity: Loose<Quantity<'a>>,
    value_codeable_concept: Loose<Concept<'a>>,
    value_string: Text<'a>,
    value_boolean: Text<'a>,
    value_date_time: Text<'a>,
    value_time: Text<'a>,
    value_integer: Number,
    value_range: Option<IgnoredAny>,
    value_ratio: Option<IgnoredAny>,
    value_sampled_data: Option<IgnoredAny>,
    value_period: Option<IgnoredAny>,
}

impl<'de: 'a, 'a> Shape<'de> for Component<'a> {}

/// A resource inside another.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Contained<'a> {
    #[serde(borrow)]
    pub(super) id: Text<'a>,
    pub(super) code: Loose<Concept<'a>>,
}

impl<'de: 'a, 'a> Shape<'de> for Contained<'a> {}

/// A resource.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Resource<'a> {
    #[serde(borrow, rename = "resourceType")]
    pub(super) kind: Text<'a>,
    pub(super) id: Text<'a>,
    pub(super) contained: Many<Contained<'a>>,
    pub(super) subject: Loose<Reference<'a>>,
    pub(super) patient: Loose<Reference<'a>>,

    pub(super) status: Text<'a>,
    pub(super) verification_status: Loose<Concept<'a>>,
    pub(super) do_not_perform: Text<'a>,
    /// STU3's Immunization.
    pub(super) not_given: Text<'a>,
    /// STU3's Procedure.
    pub(super) not_done: Text<'a>,

    pub(super) category: Many<Concept<'a>>,
    pub(super) code: Loose<Concept<'a>>,
    pub(super) vaccine_code: Loose<Concept<'a>>,
    pub(super) medication_codeable_concept: Loose<Concept<'a>>,
    pub(super) medication_reference: Loose<Reference<'a>>,
    #[serde(rename = "type")]
    pub(super) types: Many<Concept<'a>>,
    pub(super) class: Loose<Coding<'a>>,
    pub(super) gender: Text<'a>,

    pub(super) birth_date: Text<'a>,
    pub(super) deceased_date_time: Text<'a>,
    pub(super) onset_date_time: Text<'a>,
    pub(super) onset_period: Loose<Period<'a>>,
    pub(super) recorded_date: Text<'a>,
    /// STU3's recordedDate.
    pub(super) asserted_date: Text<'a>,
    pub(super) effective_date_time: Text<'a>,
    pub(super) effective_period: Loose<Period<'a>>,
    pub(super) effective_instant: Text<'a>,
    pub(super) issued: Text<'a>,
    pub(super) authored_on: Text<'a>,
    pub(super) performed_date_time: Text<'a>,
    pub(super) performed_period: Loose<Period<'a>>,
    pub(super) occurrence_date_time: Text<'a>,
    pub(super) recorded: Text<'a>,
    /// STU3's occurrenceDateTime of an Immunization.
    pub(super) date: Text<'a>,
    pub(super) period: Loose<Period<'a>>,

    pub(super) component: Many<Component<'a>>,
    value_quantity: Loose<Quantity<'a>>,
    value_codeable_concept: Loose<Concept<'a>>,
    value_string: Text<'a>,
    value_boolean: Text<'a>,
    value_date_time: Text<'a>,
    value_time: Text<'a>,
    value_integer: Number,
    value_range: Option<IgnoredAny>,
    value_ratio: Option<IgnoredAny>,
    value_sampled_data: Option<IgnoredAny>,
    value_period: Option<IgnoredAny>,
}

impl<'de: 'a, 'a> Shape<'de> for Resource<'a> {}

/// An entry of a bundle.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Entry<'a> {
    #[serde(borrow)]
    pub(super) full_url: Text<'a>,
    pub(super) resource: Loose<Resource<'a>>,
}

/// `value[x]` of an observation or of a part of one.
pub(super) struct Values<'r> {
    pub(super) quantity: Option<&'r Quantity<'r>>,
    pub(super) concept: Option<&'r Concept<'r>>,
    pub(super) text: Option<&'r str>,
    pub(super) integer: Number,
    /// Whether there is a value of a type that no column holds.
    pub(super) unread: bool,
}

macro_rules! values {
    ($of:ident) => {
        impl $of<'_> {
            pub(super) fn values(&self) -> Values<'_> {
                let texts = [&self.value_string, &self.value_boolean, &self.value_date_time, &self.value_time];
                let unread = [&self.value_range, &self.value_ratio, &self.value_sampled_data, &self.value_period];
                Values {
                    quantity: self.value_quantity.get(),
                    concept: self.value_codeable_concept.get(),
                    text: texts.into_iter().find_map(Text::get),
                    integer: self.value_integer,
                    unread: unread.into_iter().any(Option::is_some),
                }
            }
        }
    };
}

values!(Resource);
values!(Component);
