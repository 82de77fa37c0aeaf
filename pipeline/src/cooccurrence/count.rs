//! Counting: persons by pair of codes.

use hashbrown::HashMap;
use rayon::prelude::*;

use super::CooccurrenceOptions;
use super::events::{Event, PersonEvents};

/// Pairs of codes up to which every pair has its own place; beyond, only pairs that occur.
const MOST_PLACES: usize = 1 << 24;

/// Two codes of the same persons.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Cell {
    /// The first code's place; before the second's.
    pub(super) left: u32,
    /// The second code's.
    pub(super) right: u32,
    /// Persons who have both within the window.
    pub(super) persons: u32,
    /// Shifted positive pointwise mutual information; above 0.
    pub(super) weight: f64,
}

/// What was found.
#[derive(Default)]
pub(super) struct Counted {
    /// By left and right code.
    pub(super) cells: Vec<Cell>,
    /// The name of each code that most persons have, and enough of them.
    pub(super) names: Vec<Option<Box<str>>>,
    pub(super) rare_codes: u64,
    pub(super) rare_pairs: u64,
}

/// Persons of a pair, and the last of them, so that each counts once.
#[derive(Clone, Copy, Default)]
struct Persons {
    count: u32,
    last: u32,
}

impl Persons {
    /// Persons have numbers from 1 here.
    fn add(&mut self, person: u32) {
        self.count += u32::from(self.last != person);
        self.last = person;
    }
}

/// Persons by pair of frequent codes, `low < high`.
enum Pairs {
    /// Row by row of a triangle: `high · (high − 1) / 2 + low`.
    All(Vec<Persons>),
    Some(HashMap<u64, Persons>),
}

impl Pairs {
    fn new(codes: usize) -> Self {
        let places = codes * codes.saturating_sub(1) / 2;
        if places <= MOST_PLACES { Self::All(vec![Persons::default(); places]) } else { Self::Some(HashMap::new()) }
    }

    fn add(&mut self, a: u32, b: u32, person: u32) {
        let (low, high) = (a.min(b), a.max(b));
        match self {
            Self::All(all) => all[high as usize * (high as usize - 1) / 2 + low as usize].add(person),
            Self::Some(some) => some.entry(u64::from(low) << 32 | u64::from(high)).or_default().add(person),
        }
    }

    /// Every pair that occurs, in the order of its codes.
    fn into_counts(self) -> Vec<(u64, u32)> {
        let mut counts: Vec<(u64, u32)> = match self {
            Self::All(all) => {
                let (mut low, mut high) = (0u64, 1u64);
                let keyed = all.into_iter().map(|persons| {
                    let key = low << 32 | high;
                    (low, high) = if low + 1 == high { (0, high + 1) } else { (low + 1, high) };
                    (key, persons.count)
                });
                keyed.filter(|(_, count)| *count > 0).collect()
            }
            Self::Some(some) => some.into_iter().map(|(key, persons)| (key, persons.count)).collect(),
        };
        counts.sort_unstable();
        counts
    }
}

/// Counts persons by code and by pair of codes within the window.
pub(super) fn count(events: &PersonEvents, options: &CooccurrenceOptions) -> Counted {
    // A pair has no more persons than either of its codes, so what is rare alone need not be paired.
    let of_codes = persons_of(events, events.codes.len(), |event| events.code_of[event.saying as usize]);
    let frequent: Vec<u32> =
        (0..of_codes.len() as u32).filter(|c| of_codes[*c as usize] >= options.min_persons).collect();
    let mut place = vec![u32::MAX; of_codes.len()];
    frequent.iter().enumerate().for_each(|(i, code)| place[*code as usize] = i as u32);
    let of_sayings: Vec<u32> = events.code_of.iter().map(|code| place[*code as usize]).collect();
    let counted: Vec<Vec<(u64, u32)>> = events
        .parts
        .par_iter()
        .map(|part| pairs_of(part, &of_sayings, frequent.len(), options.window_days).into_counts())
        .collect();
    let mut cells = merged(counted);
    let pairs = cells.len();
    cells.retain(|(_, persons)| *persons >= options.min_persons);
    Counted {
        rare_codes: (of_codes.iter().filter(|n| **n > 0).count() - frequent.len()) as u64,
        rare_pairs: (pairs - cells.len()) as u64,
        cells: weighed(&cells, &frequent, options.shift),
        names: names(events, options.min_persons),
    }
}

/// Weights from the cells that are told of alone: what is suppressed changes none.
fn weighed(cells: &[(u64, u32)], frequent: &[u32], shift: u32) -> Vec<Cell> {
    let sides = |key: u64| ((key >> 32) as usize, key as u32 as usize);
    let mut of_code = vec![0u64; frequent.len()];
    for (key, persons) in cells {
        let (left, right) = sides(*key);
        of_code[left] += u64::from(*persons);
        of_code[right] += u64::from(*persons);
    }
    let all: u64 = of_code.iter().sum();
    let weighed = cells.iter().filter_map(|(key, persons)| {
        let (left, right) = sides(*key);
        let found = u128::from(*persons) * u128::from(all);
        let expected = u128::from(of_code[left]) * u128::from(of_code[right]) * u128::from(shift);
        // In whole numbers: what is exactly as common as by chance is left out on any machine.
        (found > expected).then(|| Cell {
            left: frequent[left],
            right: frequent[right],
            persons: *persons,
            weight: (found as f64 / expected as f64).ln(),
        })
    });
    weighed.collect()
}

/// Persons by what an event is of.
fn persons_of(events: &PersonEvents, n: usize, of: impl Fn(&Event) -> u32 + Sync) -> Vec<u32> {
    let counted = events.parts.par_iter().map(|part| {
        let mut persons = vec![Persons::default(); n];
        part.iter().for_each(|event| persons[of(event) as usize].add(event.person + 1));
        persons.into_iter().map(|p| p.count).collect()
    });
    counted.reduce(
        || vec![0; n],
        |mut all, some: Vec<u32>| {
            all.iter_mut().zip(some).for_each(|(all, some)| *all += some);
            all
        },
    )
}

/// A name may be of one person alone, as free text is: the one that most persons have is taken, if enough have it.
fn names(events: &PersonEvents, min_persons: u32) -> Vec<Option<Box<str>>> {
    let persons = persons_of(events, events.sayings.len(), |event| event.saying);
    let mut names: Vec<Option<(u32, &str)>> = vec![None; events.codes.len()];
    for ((saying, code), persons) in events.sayings.iter().zip(&events.code_of).zip(persons) {
        let Some(name) = saying.name.as_deref().filter(|_| persons >= min_persons) else { continue };
        let best = &mut names[*code as usize];
        if best.is_none_or(|(most, first)| (persons, std::cmp::Reverse(name)) > (most, std::cmp::Reverse(first))) {
            *best = Some((persons, name));
        }
    }
    names.into_iter().map(|name| name.map(|(_, name)| name.into())).collect()
}

/// Pairs of one part's persons: for each event the later ones within the window. `place` is that of a saying's code among
/// the frequent ones.
fn pairs_of(events: &[Event], place: &[u32], codes: usize, window_days: u32) -> Pairs {
    let mut pairs = Pairs::new(codes);
    let mut of_person: Vec<(i32, u32)> = Vec::new();
    for events in events.chunk_by(|a, b| a.person == b.person) {
        of_person.clear();
        let frequent = events.iter().map(|e| (e.day, place[e.saying as usize])).filter(|(_, code)| *code != u32::MAX);
        of_person.extend(frequent);
        for (i, (day, code)) in of_person.iter().enumerate() {
            let later = of_person[i + 1..].iter().take_while(|(later, _)| later.abs_diff(*day) <= window_days);
            for (_, other) in later.filter(|(_, other)| other != code) {
                pairs.add(*code, *other, events[0].person + 1);
            }
        }
    }
    pairs
}

/// The sums of sorted counts.
fn merged(mut counted: Vec<Vec<(u64, u32)>>) -> Vec<(u64, u32)> {
    while counted.len() > 1 {
        let halves: Vec<Vec<(u64, u32)>> = counted
            .par_chunks(2)
            .map(|two| match two {
                [a, b] => merged_two(a, b),
                one => one.concat(),
            })
            .collect();
        counted = halves;
    }
    counted.pop().unwrap_or_default()
}

fn merged_two(a: &[(u64, u32)], b: &[(u64, u32)]) -> Vec<(u64, u32)> {
    let (mut i, mut j) = (0, 0);
    let mut sums = Vec::with_capacity(a.len().max(b.len()));
    while i < a.len() || j < b.len() {
        let key = match (a.get(i), b.get(j)) {
            (Some(a), Some(b)) => a.0.min(b.0),
            (Some(one), None) | (None, Some(one)) => one.0,
            (None, None) => break,
        };
        let mut sum = 0;
        for (side, at) in [(a, &mut i), (b, &mut j)] {
            if let Some((_, n)) = side.get(*at).filter(|(k, _)| *k == key) {
                sum += n;
                *at += 1;
            }
        }
        sums.push((key, sum));
    }
    sums
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray};
    use proptest::prelude::*;

    use super::super::events::Events;
    use super::*;

    fn events(rows: &[(u8, i32, u8)]) -> PersonEvents {
        let hasher = hashbrown::DefaultHashBuilder::default();
        // Two readers, as two streams have.
        let half = |rows: &[(u8, i32, u8)]| {
            let text = |f: &dyn Fn(&(u8, i32, u8)) -> String| -> ArrayRef {
                Arc::new(StringArray::from_iter_values(rows.iter().map(f)))
            };
            let columns: [(&str, ArrayRef); 6] = [
                ("person", text(&|r| format!("p{}", r.0))),
                ("day", Arc::new(Int32Array::from_iter_values(rows.iter().map(|r| r.1)))),
                ("source", text(&|_| "s".into())),
                ("vocabulary", text(&|_| "MONDO".into())),
                ("code", text(&|r| format!("c{}", r.2))),
                // Two names of a code.
                ("name", text(&|r| format!("name {}", (r.0 % 5 == 0)))),
            ];
            let mut events = Events::default();
            events.push(&RecordBatch::try_from_iter(columns).unwrap(), &hasher).unwrap();
            events
        };
        let (a, b) = rows.split_at(rows.len() / 2);
        Events::merged(vec![half(a), half(b)], 3).unwrap()
    }

    /// The definition, pair by pair.
    fn reference(rows: &[(u8, i32, u8)], options: &CooccurrenceOptions) -> BTreeMap<(String, String), (u32, f64)> {
        let mut persons: BTreeMap<(String, String), BTreeSet<u8>> = BTreeMap::new();
        for a in rows {
            for b in rows {
                let (left, right) = (format!("MONDO:c{}", a.2), format!("MONDO:c{}", b.2));
                if a.0 == b.0 && left < right && a.1.abs_diff(b.1) <= options.window_days {
                    persons.entry((left, right)).or_default().insert(a.0);
                }
            }
        }
        persons.retain(|_, persons| persons.len() as u32 >= options.min_persons);
        let sum = |code: &str| -> u64 {
            persons.iter().filter(|((a, b), _)| a == code || b == code).map(|(_, p)| p.len() as u64).sum()
        };
        let all: u64 = 2 * persons.values().map(|p| p.len() as u64).sum::<u64>();
        let mut cells = BTreeMap::new();
        for ((left, right), some) in &persons {
            let (found, expected) = (some.len() as u64 * all, sum(left) * sum(right) * u64::from(options.shift));
            if found > expected {
                let weight = (found as f64 / expected as f64).ln();
                cells.insert((left.clone(), right.clone()), (some.len() as u32, weight));
            }
        }
        cells
    }

    proptest! {
        #[test]
        fn counts_are_those_of_the_definition(
            rows in prop::collection::vec((0u8..12, -3i32..40, 0u8..8), 0..120),
            window_days in 0u32..20,
            min_persons in 1u32..4,
            shift in 1u32..3,
        ) {
            let options = CooccurrenceOptions { window_days, min_persons, shift, ..CooccurrenceOptions::default() };
            let events = events(&rows);
            let expected = reference(&rows, &options);
            let found: BTreeMap<(String, String), (u32, f64)> = count(&events, &options)
                .cells
                .iter()
                .map(|c| ((events.codes[c.left as usize].clone(), events.codes[c.right as usize].clone()), (c.persons, c.weight)))
                .collect();
            prop_assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
            for (key, (persons, weight)) in found {
                prop_assert_eq!(persons, expected[&key].0);
                prop_assert!((weight - expected[&key].1).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn a_name_of_few_persons_is_not_told() {
        let rows: Vec<(u8, i32, u8)> = (0..12).map(|person| (person, 0, 0)).collect();
        let events = events(&rows);
        assert_eq!(names(&events, 5), [Some("name false".into())], "nine persons have it, three the other");
        assert_eq!(names(&events, 10), [None]);
    }

    #[test]
    fn many_codes_are_counted_as_few_are() {
        let mut few = Pairs::new(50);
        let mut many = Pairs::Some(HashMap::new());
        let mut random = fastrand::Rng::with_seed(3);
        for person in 1..200 {
            for _ in 0..20 {
                let (a, b) = (random.u32(..50), random.u32(..50));
                if a != b {
                    few.add(a, b, person);
                    many.add(a, b, person);
                }
            }
        }
        assert_eq!(few.into_counts(), many.into_counts());
    }
}
