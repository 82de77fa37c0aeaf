//! Subjects whose triples are still coming.
//!
//! Turtle and RDF/XML say everything of a subject at once. N-Triples promises no order: there subjects are held until
//! the file ends or a bound is reached; one that comes back behind the bound cannot be told whole.

use std::collections::hash_map::DefaultHasher;
use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{Hash, Hasher};

use super::subject::Subject;

/// Bytes of triples held at most.
const HELD_BYTES: usize = 256 << 20;

/// Subjects in the order of their first triples.
#[derive(Default)]
pub(super) struct Gathered {
    /// Whether the triples of a subject may stand apart.
    scattered: bool,
    open: VecDeque<Subject>,
    places: HashMap<String, usize>,
    bytes: usize,
    /// Hashes of subjects that left before the file's end.
    gone: HashSet<u64>,
    whole: VecDeque<Subject>,
}

impl Gathered {
    /// No subjects yet; `scattered` where the triples of a subject may stand apart.
    pub(super) fn new(scattered: bool) -> Self {
        Self { scattered, ..Self::default() }
    }

    /// The subject of a triple of about `bytes`; `None` where it was taken for whole already.
    pub(super) fn subject(&mut self, iri: &str, bytes: usize) -> Option<&mut Subject> {
        if let Some(at) = self.places.get(iri) {
            self.bytes += bytes;
            return self.open.get_mut(*at);
        }
        if !self.scattered || self.bytes >= HELD_BYTES {
            let gone = self.open.iter().filter(|_| self.scattered).map(|subject| hash(subject.iri()));
            self.gone.extend(gone);
            self.close();
        }
        if self.gone.contains(&hash(iri)) {
            return None;
        }
        self.bytes += bytes;
        self.places.insert(iri.to_string(), self.open.len());
        self.open.push_back(Subject::new(iri.to_string()));
        self.open.back_mut()
    }

    /// No triples follow those of the open subjects.
    pub(super) fn close(&mut self) {
        self.whole.append(&mut self.open);
        self.places.clear();
        self.bytes = 0;
    }

    /// Whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.whole.is_empty() && self.open.is_empty()
    }

    /// A subject of which everything is known.
    pub(super) fn pop(&mut self) -> Option<Subject> {
        self.whole.pop_front()
    }
}

fn hash(iri: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    iri.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scattered_subjects_wait_and_others_leave_at_once() {
        for (scattered, whole) in [(false, vec!["a", "b", "a"]), (true, vec!["a", "b"])] {
            let mut gathered = Gathered::new(scattered);
            for iri in ["a", "a", "b", "a"] {
                assert!(gathered.subject(iri, 1).is_some());
            }
            gathered.close();
            let found: Vec<_> = std::iter::from_fn(|| gathered.pop()).map(|s| s.iri().to_string()).collect();
            assert_eq!(found, whole);
        }
    }

    #[test]
    fn behind_the_bound_a_subject_does_not_come_back() {
        let mut gathered = Gathered::new(true);
        assert!(gathered.subject("a", HELD_BYTES).is_some());
        assert!(gathered.subject("a", 1).is_some());
        assert!(gathered.subject("b", 1).is_some());
        assert!(gathered.subject("a", 1).is_none());
    }
}
