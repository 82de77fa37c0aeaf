//! The concepts of a source, ready for texts that come one at a time: what an alignment would say of a source that has
//! this name alone.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use generel_model::search::{Corpus, SearchOptions};
use generel_model::{Vector, VectorStore};
use rayon::prelude::*;

use super::candidates::LEAST_OBJECTS;
use super::confidence::Confidence;
use super::evidence::{self, NamePair};
use super::lexical::{Vocabulary, Words};
use super::names::{Name, Names, SourceSpec};
use super::{DEFAULT_MIN_SCORE, select};
use crate::sources::Fingerprint;
use crate::{Error, Result, Session, embed_texts};

/// The concept that a text is nearest to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Nearest {
    /// Number of the concept.
    pub(crate) concept: usize,
    /// Number of its name that the text resembles most.
    pub(crate) name: usize,
    /// Cosine of the two.
    pub(crate) cosine: f32,
    /// Probability that the text means the concept.
    pub(crate) confidence: f64,
    /// CURIE of the predicate.
    pub(crate) predicate: &'static str,
    /// CURIE of the justification.
    pub(crate) justification: &'static str,
}

/// The concepts of a source with their names, words and vectors.
pub(crate) struct Targets {
    names: Names,
    vocabulary: Vocabulary,
    words: Vec<Words>,
    /// The names of the same words.
    of_words: HashMap<String, Vec<usize>>,
    /// A name of each text.
    of_text: HashMap<Box<str>, u32>,
    corpus: Corpus,
    dimension: usize,
    weights: Confidence,
    fingerprint: Fingerprint,
}

impl Targets {
    /// Loads a source's concepts; names that have no vector in the lake are embedded, and told to `progress`.
    ///
    /// # Errors
    /// When the lake has no such source, or the model or the lake fails.
    pub(crate) async fn load(
        session: &Session,
        source: &SourceSpec,
        run_id: &str,
        progress: &(dyn Fn(u64, u64) + Send + Sync),
    ) -> Result<Self> {
        let names = Names::load(session, source).await?;
        let texts = Names::texts([&names]);
        embed_texts(session, &texts, run_id, progress).await?;
        let info = session.embedder()?.info();
        let texts: Vec<Arc<str>> = texts.into_iter().map(Arc::from).collect();
        let vectors = session.vectors()?.get_many(&texts).await.map_err(|e| Error::Internal(e.to_string()))?;
        // Several concepts can have the same name.
        let of_text: HashMap<&str, &Vector> =
            texts.iter().zip(&vectors).filter_map(|(text, vector)| Some((&**text, vector.as_ref()?))).collect();
        let vectors: Vec<Option<Vector>> =
            names.names().map(|n| of_text.get(n.text.as_str()).copied().cloned()).collect();
        Self::new(names, &vectors, info.dimension, Confidence::of_model(info)?, &info.model_id)
    }

    fn new(
        names: Names,
        vectors: &[Option<Vector>],
        dimension: usize,
        weights: Confidence,
        model_id: &str,
    ) -> Result<Self> {
        let mut vocabulary = Vocabulary::default();
        let words: Vec<Words> = names.names().map(|n| vocabulary.words(&n.text)).collect();
        vocabulary.weigh();
        let mut of_words: HashMap<String, Vec<usize>> = HashMap::new();
        for (number, words) in words.iter().enumerate().filter(|(_, w)| !w.key.is_empty()) {
            of_words.entry(words.key.clone()).or_default().push(number);
        }
        let mut all = Vec::with_capacity(vectors.len() * dimension);
        for vector in vectors {
            match vector {
                Some(vector) => all.extend_from_slice(vector),
                // Without a direction: nobody's neighbor.
                None => all.resize(all.len() + dimension, 0.0),
            }
        }
        let groups = names.names().map(|n| n.code_no as u32).collect();
        let weighed = serde_json::to_string(&weights).map_err(|e| Error::Internal(e.to_string()))?;
        let fingerprint =
            Fingerprint::of(&[&names.fingerprint().as_i64().to_le_bytes(), model_id.as_bytes(), weighed.as_bytes()]);
        let corpus = Corpus::new(all, dimension, Some(groups), None)?;
        let of_text = names.names().enumerate().map(|(number, n)| (n.text.as_str().into(), number as u32)).collect();
        Ok(Self { names, vocabulary, words, of_words, of_text, corpus, dimension, weights, fingerprint })
    }

    /// Changes with anything that can change what is nearest.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Concepts.
    pub(crate) fn concepts(&self) -> usize {
        self.names.codes()
    }

    /// The texts of its names, each once.
    pub(crate) fn texts(&self) -> Vec<Arc<str>> {
        Names::texts([&self.names]).into_iter().map(Arc::from).collect()
    }

    /// The number of each concept, by its CURIE.
    pub(crate) fn numbers(&self) -> HashMap<&str, usize> {
        self.names.numbers()
    }

    /// CURIE and label of a concept.
    pub(crate) fn concept(&self, number: usize) -> (&str, &str) {
        (self.names.curie(number), self.names.label(number))
    }

    /// A name, as the source has it.
    pub(crate) fn name(&self, number: usize) -> &str {
        &self.names.name(number).name
    }

    /// Numbers of a vector.
    pub(crate) fn dimension(&self) -> usize {
        self.dimension
    }

    /// The vector of a text (normalized) that is one of the names.
    pub(crate) fn vector(&self, text: &str) -> Option<&[f32]> {
        let number = *self.of_text.get(text)? as usize;
        self.corpus.has_direction(number).then(|| self.corpus.row(number))
    }

    /// The nearest concept of each text (normalized), given their vectors, row-major.
    ///
    /// # Errors
    /// When the vectors are not of the model's dimension.
    pub(crate) fn nearest(&self, texts: &[&str], vectors: &[f32]) -> Result<Vec<Option<Nearest>>> {
        let options = SearchOptions { k: Some(LEAST_OBJECTS), ties: false, min_score: DEFAULT_MIN_SCORE };
        let found = self.corpus.search(vectors, options)?;
        let texts: Vec<_> = texts.iter().zip(vectors.chunks_exact(self.dimension)).zip(found).collect();
        let nearest = texts.into_par_iter().map(|((text, vector), neighbors)| {
            let words = self.vocabulary.words_of_other(text);
            let mut cosines: BTreeMap<usize, f32> = BTreeMap::new();
            for name in self.of_words.get(&words.key).into_iter().flatten() {
                cosines.insert(*name, self.corpus.cosine(*name, vector).unwrap_or(0.0));
            }
            cosines.extend(neighbors.iter().map(|n| (n.index as usize, n.score)));
            self.best(&words, &cosines)
        });
        Ok(nearest.collect())
    }

    fn best(&self, words: &Words, cosines: &BTreeMap<usize, f32>) -> Option<Nearest> {
        let pair = |(number, cosine): (&usize, &f32)| {
            let name: &Name = self.names.name(*number);
            NamePair {
                subject: 0,
                object: name.code_no,
                subject_name: 0,
                object_name: *number,
                cosine: *cosine,
                both_labels: name.is_label(),
                lexical: self.vocabulary.compare(words, &self.words[*number]),
            }
        };
        let pairs: Vec<NamePair> = cosines.iter().map(pair).collect();
        let weighed = evidence::weigh(&pairs, &self.weights, None);
        let best = weighed.first()?;
        Some(Nearest {
            concept: best.best.object,
            name: best.best.object_name,
            cosine: best.best.cosine,
            confidence: best.confidence,
            predicate: select::predicate(best),
            justification: select::justification(best),
        })
    }
}
