//! FHIR's JSON as far as events need it, borrowed from the file's text.
//!
//! Releases disagree on shapes (`verificationStatus` is a code in STU3 and a CodeableConcept in R4; `type` is a list in
//! Encounter and a word in AllergyIntolerance), so an element of an unexpected shape counts as not there: only JSON
//! that is none fails.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::super::super::text::values;
use super::super::vocabulary;

/// Visitor methods for kinds of JSON that say nothing in this place.
macro_rules! says_nothing {
    ($($kind:ident)*) => {
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("JSON")
        }
        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(Default::default())
        }
        $(says_nothing!(@ $kind);)*
    };
    (@ text) => {
        fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
            Ok(Default::default())
        }
    };
    (@ number) => {
        fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
            Ok(Default::default())
        }
        fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
            Ok(Default::default())
        }
        fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
            Ok(Default::default())
        }
        fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
            Ok(Default::default())
        }
    };
    (@ list) => {
        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            while list.next_element::<IgnoredAny>()?.is_some() {}
            Ok(Default::default())
        }
    };
    (@ object) => {
        fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
            while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            Ok(Default::default())
        }
    };
}

/// A text, or a number or truth value as text.
#[derive(Debug, Default)]
pub(super) struct Text<'a>(Cow<'a, str>);

impl Text<'_> {
    /// The text, if it says something.
    pub(super) fn get(&self) -> Option<&str> {
        Some(self.0.trim()).filter(|text| !text.is_empty())
    }

    pub(super) fn is(&self, text: &str) -> bool {
        self.0 == text
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text<'de>;

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Owned(text.to_string())))
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Borrowed(if truth { "true" } else { "false" })))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Owned(number.to_string())))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Owned(number.to_string())))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Owned(number.to_string())))
    }

    says_nothing!(list object);
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor)
    }
}

/// A number: `None` where there is none, `Some(Err)` where what is there is no number.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Number(pub(super) Option<Result<f64, ()>>);

struct NumberVisitor;

impl<'de> Visitor<'de> for NumberVisitor {
    type Value = Number;

    fn visit_i64<E>(self, number: i64) -> Result<Number, E> {
        Ok(Number(Some(Ok(number as f64))))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Number, E> {
        Ok(Number(Some(Ok(number as f64))))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Number, E> {
        Ok(Number(Some(Ok(number))))
    }

    fn visit_str<E>(self, text: &str) -> Result<Number, E> {
        Ok(Number(Some(values::number(text.trim()).ok_or(()))))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Number, E> {
        Ok(Number(Some(Err(()))))
    }

    says_nothing!(list object);
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumberVisitor)
    }
}

/// Something that is an object in R4.
pub(super) trait Shape<'de>: Deserialize<'de> {
    /// What a mere text in its place means.
    fn of_text(_: Text<'de>) -> Option<Self> {
        None
    }
}

/// An object, if one is there.
#[derive(Debug)]
pub(super) struct Loose<T>(Option<T>);

impl<T> Loose<T> {
    pub(super) fn get(&self) -> Option<&T> {
        self.0.as_ref()
    }
}

impl<T> Default for Loose<T> {
    fn default() -> Self {
        Self(None)
    }
}

struct LooseVisitor<T>(PhantomData<T>);

impl<'de, T: Shape<'de>> Visitor<'de> for LooseVisitor<T> {
    type Value = Loose<T>;

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Loose<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(object)).map(|found| Loose(Some(found)))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Loose<T>, E> {
        Ok(Loose(T::of_text(Text(Cow::Borrowed(text)))))
    }

    fn visit_str<E>(self, text: &str) -> Result<Loose<T>, E> {
        Ok(Loose(T::of_text(Text(Cow::Owned(text.to_string())))))
    }

    says_nothing!(number list);
}

impl<'de, T: Shape<'de>> Deserialize<'de> for Loose<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LooseVisitor(PhantomData))
    }
}

/// The objects of a list; one that stands alone is a list of one.
#[derive(Debug)]
pub(super) struct Many<T>(pub(super) Vec<T>);

impl<T> Default for Many<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

struct ManyVisitor<T>(PhantomData<T>);

impl<'de, T: Shape<'de>> Visitor<'de> for ManyVisitor<T> {
    type Value = Many<T>;

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Many<T>, A::Error> {
        let mut found = Vec::new();
        while let Some(Loose(item)) = list.next_element::<Loose<T>>()? {
            found.extend(item);
        }
        Ok(Many(found))
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Many<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(object)).map(|found| Many(vec![found]))
    }

    says_nothing!(text number);
}

impl<'de, T: Shape<'de>> Deserialize<'de> for Many<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ManyVisitor(PhantomData))
    }
}

/// The one coding of a list that is kept: the first of a system that OMOP knows, or else the first.
#[derive(Debug, Default)]
pub(super) struct Codings<'a>(pub(super) Coding<'a>);

struct CodingsVisitor;

impl<'de> Visitor<'de> for CodingsVisitor {
    type Value = Codings<'de>;

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Codings<'de>, A::Error> {
        let mut best: Option<Coding<'de>> = None;
        while let Some(Loose(item)) = list.next_element::<Loose<Coding<'de>>>()? {
            let Some(item) = item else { continue };
            if best.as_ref().is_none_or(|kept| !kept.is_known() && item.is_known()) {
                best = Some(item);
            }
        }
        Ok(Codings(best.unwrap_or_default()))
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Codings<'de>, A::Error> {
        Coding::deserialize(MapAccessDeserializer::new(object)).map(Codings)
    }

    says_nothing!(text number);
}

impl<'de: 'a, 'a> Deserialize<'de> for Codings<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CodingsVisitor)
    }
}

/// A code of a system.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Coding<'a> {
    #[serde(borrow)]
    pub(super) system: Text<'a>,
    pub(super) code: Text<'a>,
    pub(super) display: Text<'a>,
}

impl Coding<'_> {
    fn is_known(&self) -> bool {
        let known = |system: &str| vocabulary::omop(system).is_some() || system.ends_with("observation-category");
        self.system.get().is_some_and(known) && self.code.get().is_some()
    }
}

impl<'de: 'a, 'a> Shape<'de> for Coding<'a> {}
