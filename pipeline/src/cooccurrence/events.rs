//! Events as numbers: 12 bytes each, whatever persons and codes are called.

use std::hash::BuildHasher;

use arrow::array::{Array, AsArray, RecordBatch, StringArray, StringViewArray};
use arrow::datatypes::{DataType, Int32Type};
use generel_schemas::ids::code_curie;
use hashbrown::{DefaultHashBuilder, HashTable};
use rayon::prelude::*;

use crate::{Error, Result};

/// An event: a person, a day since 1970, what was said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Event {
    pub(super) person: u32,
    pub(super) day: i32,
    pub(super) saying: u32,
}

/// How a source says a code.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Saying {
    pub(super) source: Box<str>,
    pub(super) vocabulary: Option<Box<str>>,
    pub(super) code: Box<str>,
    pub(super) name: Option<Box<str>>,
}

/// What one reader has read.
#[derive(Default)]
pub(super) struct Events {
    /// A piece a batch.
    pieces: Vec<Vec<Event>>,
    sayings: Distinct<Saying>,
    persons: Distinct<Box<str>>,
}

/// All events, those of a person in one part.
pub(super) struct PersonEvents {
    /// By person, day and saying.
    pub(super) parts: Vec<Vec<Event>>,
    pub(super) sayings: Vec<Saying>,
    /// CURIEs in the alphabet's order.
    pub(super) codes: Vec<String>,
    /// The code of each saying.
    pub(super) code_of: Vec<u32>,
    /// Persons that have an event.
    pub(super) persons: usize,
    /// Events read; equal ones are one in the parts.
    pub(super) read: u64,
}

/// Values and their numbers, found by hash.
struct Distinct<T> {
    all: Vec<T>,
    hashes: Vec<u64>,
    table: HashTable<u32>,
}

impl<T> Default for Distinct<T> {
    fn default() -> Self {
        Self { all: Vec::new(), hashes: Vec::new(), table: HashTable::new() }
    }
}

impl<T> Distinct<T> {
    /// The number of the value that has this hash and is this one; where there is none, of what `make` makes of it.
    fn of(&mut self, hash: u64, is: impl Fn(&T) -> bool, make: impl FnOnce() -> T) -> Result<u32> {
        if let Some(i) = self.table.find(hash, |i| is(&self.all[*i as usize])) {
            return Ok(*i);
        }
        let next = u32::try_from(self.all.len())
            .ok()
            .filter(|n| *n < u32::MAX)
            .ok_or_else(|| Error::Invalid("more than 4 billion persons or codes".into()))?;
        self.all.push(make());
        self.hashes.push(hash);
        self.table.insert_unique(hash, next, |i| self.hashes[*i as usize]);
        Ok(next)
    }
}

impl Events {
    /// Adds rows: person, day, source, vocabulary, code, name; `hasher` is the same for all readers. A row without person,
    /// day or code is no event.
    ///
    /// # Errors
    /// When the columns are others.
    pub(super) fn push(&mut self, batch: &RecordBatch, hasher: &DefaultHashBuilder) -> Result<()> {
        let day = batch.column(1).as_primitive_opt::<Int32Type>();
        let day = day.ok_or_else(|| Error::Internal("a day is no number".into()))?;
        let text = |i: usize| Texts::of(batch.column(i));
        let (persons, sources, vocabularies, codes, names) = (text(0)?, text(2)?, text(3)?, text(4)?, text(5)?);
        let mut piece = Vec::with_capacity(batch.num_rows());
        for row in 0..batch.num_rows() {
            let (Some(person), Some(source), Some(code)) = (persons.at(row), sources.at(row), codes.at(row)) else {
                continue;
            };
            if day.is_null(row) {
                continue;
            }
            let (vocabulary, name) = (vocabularies.at(row), names.at(row));
            let person = self.persons.of(hasher.hash_one(person), |p| **p == *person, || person.into())?;
            let hash = hasher.hash_one((source, vocabulary, code, name));
            let is = |s: &Saying| {
                *s.code == *code
                    && s.name.as_deref() == name
                    && s.vocabulary.as_deref() == vocabulary
                    && *s.source == *source
            };
            let make = || Saying {
                source: source.into(),
                vocabulary: vocabulary.map(Box::from),
                code: code.into(),
                name: name.map(Box::from),
            };
            piece.push(Event { person, day: day.value(row), saying: self.sayings.of(hash, is, make)? });
        }
        self.pieces.push(piece);
        Ok(())
    }

    /// What all readers have read, under the same numbers.
    ///
    /// # Errors
    /// When there are too many persons or codes.
    pub(super) fn merged(all: Vec<Self>, parts: usize) -> Result<PersonEvents> {
        let (mut persons, mut sayings) = (Distinct::<Box<str>>::default(), Distinct::<Saying>::default());
        let mut of_part: Vec<Vec<Event>> = (0..parts.max(1)).map(|_| Vec::new()).collect();
        let mut read = 0;
        for events in all {
            let person = renumbered(events.persons, &mut persons)?;
            let saying = renumbered(events.sayings, &mut sayings)?;
            // A piece is dropped as soon as its events are in their parts.
            for piece in events.pieces {
                read += piece.len() as u64;
                for event in piece {
                    let person = person[event.person as usize];
                    let event = Event { person, saying: saying[event.saying as usize], ..event };
                    of_part[person as usize % parts.max(1)].push(event);
                }
            }
        }
        of_part.par_iter_mut().for_each(|part| {
            part.sort_unstable();
            part.dedup();
        });
        let curies: Vec<String> =
            sayings.all.iter().map(|s| code_curie(&s.source, s.vocabulary.as_deref(), &s.code).to_string()).collect();
        let mut codes = curies.clone();
        codes.sort_unstable();
        codes.dedup();
        let code_of = curies.iter().map(|curie| codes.binary_search(curie).unwrap_or_default() as u32).collect();
        Ok(PersonEvents { parts: of_part, sayings: sayings.all, codes, code_of, persons: persons.all.len(), read })
    }
}

/// The numbers that values have among all.
fn renumbered<T: PartialEq>(some: Distinct<T>, all: &mut Distinct<T>) -> Result<Vec<u32>> {
    some.all
        .into_iter()
        .zip(some.hashes)
        .map(|(value, hash)| {
            let found = all.table.find(hash, |i| all.all[*i as usize] == value).copied();
            found.map_or_else(|| all.of(hash, |_| false, || value), Ok)
        })
        .collect()
}

/// A column of texts, however it is laid out.
enum Texts<'a> {
    View(&'a StringViewArray),
    Plain(&'a StringArray),
}

impl<'a> Texts<'a> {
    fn of(array: &'a dyn Array) -> Result<Self> {
        match array.data_type() {
            DataType::Utf8View => Ok(Self::View(array.as_string_view())),
            DataType::Utf8 => Ok(Self::Plain(array.as_string())),
            other => Err(Error::Internal(format!("a text is {other}"))),
        }
    }

    fn at(&self, row: usize) -> Option<&'a str> {
        match self {
            Self::View(array) => array.is_valid(row).then(|| array.value(row)),
            Self::Plain(array) => array.is_valid(row).then(|| array.value(row)),
        }
    }
}
