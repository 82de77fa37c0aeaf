//! The names of one side most similar to each name of the other. What one run of an alignment found is kept in the lake for
//! the next: only names that are new, or have lost a neighbor, are searched for again; the others are compared with what
//! is new. The result is that of a search from the start.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::lexical::Words;
use super::name_neighbors::{Basis, Lists, Stored};
use super::names::Names;
use super::vector_table::{Sample, VectorTable};
use crate::{Result, Session};

/// What is searched for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Objects of each name of a subject: distinct codes.
    pub(super) objects: usize,
    /// Subjects of each name of an object: distinct codes.
    pub(super) subjects: usize,
    /// Least cosine.
    pub(super) min_score: f32,
    /// Share of them that must be found; 1 for the exact search.
    pub(super) recall: f64,
}

/// A name by its number, and its cosine.
pub(super) type Near = (usize, f32);

/// The names that an alignment compares.
#[derive(Debug, Default, PartialEq)]
pub(super) struct SimilarNames {
    /// Names on the right for each on the left, best first, each of another code.
    pub(super) of_left: Vec<Vec<Near>>,
    /// Names on the left for each on the right.
    pub(super) of_right: Vec<Vec<Near>>,
    /// Names of the same words, left and right; without a cosine where one has no direction.
    pub(super) same_words: BTreeMap<(usize, usize), Option<f32>>,
    /// Names that were searched for.
    pub(super) searched: usize,
    /// The recall of a sample, where the search is approximate.
    pub(super) sample: Sample,
}

/// A side with what an earlier run knew of it.
pub(super) struct Side<'a> {
    pub(super) names: &'a Names,
    pub(super) words: &'a [Words],
    /// Whether the name is new.
    pub(super) new: Vec<bool>,
    /// Neighbors; `None` where they must be searched for.
    pub(super) lists: Vec<Option<Vec<Near>>>,
}

impl SimilarNames {
    /// Finds them; with a run's id they are kept for the next. All names, which come with their words, must have vectors in
    /// the lake.
    ///
    /// # Errors
    /// When the lake fails.
    pub(super) async fn find(
        session: &Session,
        basis: &Basis,
        [left, right]: [(&Names, &[Words]); 2],
        limits: Limits,
        keep: Option<&str>,
    ) -> Result<Self> {
        let keys = [left.0.hashes(), right.0.hashes()];
        let [of_left, of_right] = keys.each_ref().map(|keys| numbers(keys));
        let stored = Stored::load(session, basis).await?;
        let mut same_words = stored.same_words(&of_left, &of_right);
        let mut left = Side::new(left, &keys[0], &stored.left, &of_right);
        let mut right = Side::new(right, &keys[1], &stored.right, &of_left);
        let searched = left.open() + right.open();
        let mut sample = Sample::default();
        if searched > 0 {
            let l = VectorTable::register(session, "left", &left).await?;
            let r = VectorTable::register(session, "right", &right).await?;
            let (of_left, left_sample) = l.nearest(session, &r, limits.objects, limits).await?;
            let (of_right, right_sample) = r.nearest(session, &l, limits.subjects, limits).await?;
            left.add(of_left);
            right.add(of_right);
            sample = [left_sample[0] + right_sample[0], left_sample[1] + right_sample[1]];
            same_words.extend(l.same_words(session, &r).await?);
            l.deregister(session)?;
            r.deregister(session)?;
        }
        let (lefts, rights) = (left.names, right.names);
        let found = Self {
            of_left: left.best(rights, limits.objects),
            of_right: right.best(lefts, limits.subjects),
            same_words,
            searched,
            sample,
        };
        if searched > 0 || [&stored.left, &stored.right].map(HashMap::len) != keys.each_ref().map(Vec::len) {
            // What is kept spares work, no more: whoever commits at the same time may win.
            if let Some(run_id) = keep
                && let Err(error) = found.store(session, basis, &keys, run_id).await
            {
                tracing::warn!(%error, "the neighbours of names are not kept: the next run searches for all of them");
            }
        }
        Ok(found)
    }
}

fn numbers(keys: &[i64]) -> HashMap<i64, usize> {
    keys.iter().enumerate().map(|(number, key)| (*key, number)).collect()
}

impl<'a> Side<'a> {
    fn new(
        (names, words): (&'a Names, &'a [Words]),
        keys: &[i64],
        stored: &Lists,
        others: &HashMap<i64, usize>,
    ) -> Self {
        let new = keys.iter().map(|key| !stored.contains_key(key)).collect();
        let list = |key: &i64| {
            let stored = stored.get(key)?;
            stored.iter().map(|(other, cosine)| Some((*others.get(other)?, *cosine))).collect()
        };
        Self { names, words, new, lists: keys.iter().map(list).collect() }
    }

    /// Names that must be searched for.
    fn open(&self) -> usize {
        self.lists.iter().filter(|list| list.is_none()).count()
    }

    fn add(&mut self, pairs: Vec<(usize, usize, f32)>) {
        for (own, other, cosine) in pairs {
            self.lists[own].get_or_insert_default().push((other, cosine));
        }
    }

    /// The best of each name, of so many codes. Ties fall by the order of names, as in a search.
    fn best(self, others: &Names, codes: usize) -> Vec<Vec<Near>> {
        let best = |list: Option<Vec<Near>>| {
            let mut list = list.unwrap_or_default();
            list.sort_unstable_by(|(a, x), (b, y)| y.total_cmp(x).then(a.cmp(b)));
            let mut seen = HashSet::new();
            list.retain(|(name, _)| seen.insert(others.name(*name).code_no));
            list.truncate(codes);
            list
        };
        self.lists.into_iter().map(best).collect()
    }
}
