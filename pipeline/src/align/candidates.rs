//! Pairs of names that may name the same: similar by their embeddings in either direction, or of the same words.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::evidence::NamePair;
use super::lexical::{Vocabulary, Words};
use super::name_neighbors::Basis;
use super::names::Names;
use super::similar_names::{Limits, SimilarNames};
use super::{AlignOptions, Search};
use crate::{Result, Session};

/// Objects looked at for each name of a subject, at least: behind the best are those that it is told from.
pub(super) const LEAST_OBJECTS: usize = 10;
/// Subjects looked at for each name of an object.
const SUBJECTS: usize = 3;

/// The candidates of an alignment, and how they were searched for; with a run's id they are kept for the next. All names must have vectors in the lake.
///
/// # Errors
/// When the lake fails.
pub(super) async fn candidates(
    session: &Session,
    left: &Names,
    right: &Names,
    options: &AlignOptions,
    keep: Option<&str>,
) -> Result<(Vec<NamePair>, Search)> {
    let mut vocabulary = Vocabulary::default();
    let of_left: Vec<Words> = left.names().map(|n| vocabulary.words(&n.text)).collect();
    let of_right: Vec<Words> = right.names().map(|n| vocabulary.words(&n.text)).collect();
    vocabulary.weigh();
    let limits = Limits {
        objects: LEAST_OBJECTS.max(options.top_k + 1),
        subjects: SUBJECTS,
        min_score: options.min_score,
        recall: options.recall,
    };
    let basis = Basis::new(&options.id(), &session.embedder()?.info().model_id, limits);
    let found = SimilarNames::find(session, &basis, [(left, &of_left), (right, &of_right)], limits, keep).await?;
    // A name without a direction is similar to nothing.
    let mut cosines: BTreeMap<(usize, usize), f32> =
        found.same_words.iter().map(|(pair, cosine)| (*pair, cosine.unwrap_or(0.0))).collect();
    for (l, list) in found.of_left.iter().enumerate() {
        cosines.extend(list.iter().map(|(r, cosine)| ((l, *r), *cosine)));
    }
    for (r, list) in found.of_right.iter().enumerate() {
        cosines.extend(list.iter().map(|(l, cosine)| ((*l, r), *cosine)));
    }
    let pair = |((l, r), cosine): ((usize, usize), f32)| {
        let (subject, object) = (left.name(l), right.name(r));
        NamePair {
            subject: subject.code_no,
            object: object.code_no,
            subject_name: l,
            object_name: r,
            cosine,
            both_labels: subject.is_label() && object.is_label(),
            lexical: vocabulary.compare(&of_left[l], &of_right[r]),
        }
    };
    let cosines: Vec<_> = cosines.into_iter().collect();
    let search = Search { embedded: 0, searched: found.searched as u64, sample: found.sample };
    Ok((cosines.into_par_iter().map(pair).collect(), search))
}
