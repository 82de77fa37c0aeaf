//! The concepts that records are harmonized to, in memory: a target source with its names and vectors, what people and
//! alignments mapped to it, and what was answered before. Never changed: a new state of the lake is a new index.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{AsArray, StringArray};
use generel_model::{Embedder, normalize};
use generel_schemas::sssom;
use quick_cache::sync::Cache;

use super::answer::{Answer, Outcome, rounded};
use super::known::{Known, aligned, labels};
use super::mentions::{Said, key};
use super::render::{Made, made_member};
use crate::align::{MAPPED, Nearest, SourceSpec, Targets, known_mappings};
use crate::sources::Fingerprint;
use crate::{Result, Session};

/// What to harmonize to, and what counts.
#[derive(Debug, Clone, PartialEq)]
pub struct IndexOptions {
    /// The target: a source of the lake.
    pub target: SourceSpec,
    /// Mappings that people made: SSSOM files, or sources of `kg_edges`.
    pub curated: Vec<String>,
    /// Concepts of less confidence are not sure enough.
    pub min_confidence: f64,
    /// Whether what is not sure enough is left out.
    pub leave_out: bool,
    /// Answers that are remembered.
    pub remembered: usize,
}

impl IndexOptions {
    /// All names of a source, with nothing said of it.
    pub fn of(target: SourceSpec) -> Self {
        Self { target, curated: Vec::new(), min_confidence: MAPPED, leave_out: false, remembered: 200_000 }
    }
}

/// The concepts that records are harmonized to.
pub(crate) struct ConceptIndex {
    /// Identity of the index: changes with anything that can change an answer.
    pub(crate) version: String,
    /// The model that embedded it.
    pub(crate) model_id: String,
    /// The same, for what is asked of the index.
    embedder: Embedder,
    member: String,
    targets: Targets,
    options: IndexOptions,
    /// What a code is known to mean, by its CURIE.
    codes: HashMap<String, Known>,
    /// What a text is known to mean, normalized and in lower case.
    texts: HashMap<String, Known>,
    /// What codes and texts are known not to mean.
    not: HashSet<(String, String)>,
    /// Labels of codes of other sources, by their CURIEs.
    labels: HashMap<String, String>,
    answers: Cache<Box<str>, Arc<Answer>>,
}

impl ConceptIndex {
    /// Loads the index from the lake as it is now.
    ///
    /// # Errors
    /// When the lake has no such source, a curated file cannot be read, or the model or the lake fails.
    pub(crate) async fn load(
        session: &Session,
        options: &IndexOptions,
        run_id: &str,
        progress: &(dyn Fn(u64, u64) + Send + Sync),
    ) -> Result<Self> {
        session.refresh().await?;
        let targets = Targets::load(session, &options.target, run_id, progress).await?;
        let (mut codes, mut texts, mut not) = (HashMap::new(), HashMap::new(), HashSet::new());
        {
            let numbers = targets.numbers();
            for mapping in known_mappings(session, &options.curated).await? {
                for mapping in [mapping.clone(), mapping.reversed()] {
                    let [label, _] = mapping.labels;
                    let label = label.map(|label| folded(&label));
                    if mapping.negative {
                        not.extend(label.map(|label| (label, mapping.object.clone())));
                        not.insert((mapping.subject, mapping.object));
                        continue;
                    }
                    let Some(concept) = numbers.get(mapping.object.as_str()) else { continue };
                    let known = Known {
                        concept: *concept,
                        predicate: mapping.predicate,
                        justification: sssom::MANUAL_CURATION.to_string(),
                        confidence: mapping.confidence.unwrap_or(1.0),
                        score: None,
                    };
                    if let Some(label) = label {
                        texts.entry(label).or_insert_with(|| known.clone());
                    }
                    codes.entry(mapping.subject).or_insert(known);
                }
            }
            for (curie, concept) in &numbers {
                codes.entry((*curie).to_string()).or_insert_with(|| Known {
                    concept: *concept,
                    predicate: sssom::EXACT_MATCH.to_string(),
                    justification: "semapv:MappingChaining".to_string(),
                    confidence: 1.0,
                    score: None,
                });
            }
            for (subject, object, known) in aligned(session, options.target.source()).await? {
                if let Some(concept) = numbers.get(object.as_str())
                    && !not.contains(&(subject.clone(), object))
                {
                    codes.entry(subject).or_insert(Known { concept: *concept, ..known });
                }
            }
        }
        let labels = labels(session, options.target.source()).await?;
        let embedder = session.embedder()?.clone();
        let model_id = embedder.info().model_id.clone();
        let version = version(&targets, [&codes, &texts], &not, &labels, options).to_string();
        Ok(Self {
            embedder,
            member: made_member(&version, &model_id),
            version,
            model_id,
            targets,
            codes,
            texts,
            not,
            labels,
            answers: Cache::new(options.remembered.max(16)),
            options: options.clone(),
        })
    }

    /// Concepts of the target.
    pub(crate) fn concepts(&self) -> usize {
        self.targets.concepts()
    }

    /// The texts of its names, each once.
    pub(crate) fn texts(&self) -> Vec<Arc<str>> {
        self.targets.texts()
    }

    /// Who makes its answers.
    pub(crate) fn made(&self) -> Made<'_> {
        Made { index_version: &self.version, model_id: &self.model_id, member: &self.member }
    }

    /// What was answered before.
    pub(crate) fn remembered(&self, key: &str) -> Option<Arc<Answer>> {
        self.answers.get(key)
    }

    /// What mentions mean that were not answered before, in order; remembered from now on.
    ///
    /// # Errors
    /// When the model fails.
    pub(crate) async fn answer(&self, said: &[Said<'_>]) -> Result<Vec<Arc<Answer>>> {
        let mut known: Vec<Option<Known>> = Vec::with_capacity(said.len());
        // Texts to look for, and the mention and code that each stands for.
        let mut texts: Vec<String> = Vec::new();
        let mut of: Vec<(usize, Option<String>)> = Vec::new();
        for (number, mention) in said.iter().enumerate() {
            let found = self.known(mention);
            if found.is_none() {
                for (text, curie) in self.texts_of(mention) {
                    texts.push(text);
                    of.push((number, curie));
                }
            }
            known.push(found);
        }
        let mut best: Vec<Option<Nearest>> = vec![None; said.len()];
        let nearest = self.nearest(&texts).await?;
        for ((found, text), (number, curie)) in nearest.into_iter().zip(&texts).zip(&of) {
            let found = found.filter(|found| !self.is_excluded(found, text, curie.as_deref()));
            let best = &mut best[*number];
            if let Some(found) = found
                && best.is_none_or(|held| found.confidence > held.confidence)
            {
                *best = Some(found);
            }
        }
        let answers = said.iter().zip(known).zip(best).map(|((mention, known), best)| {
            let answer = Arc::new(match (known, best) {
                (Some(known), _) => self.of_known(&known),
                (None, Some(nearest)) => self.of_nearest(&nearest),
                (None, None) => Answer::without(Outcome::Unmapped),
            });
            self.answers.insert(key(mention).into_boxed_str(), Arc::clone(&answer));
            answer
        });
        Ok(answers.collect())
    }

    /// What people or alignments say of a mention: of its codes first, in their order, then of its text.
    fn known(&self, said: &Said<'_>) -> Option<Known> {
        let curies: Vec<String> = said.codings.iter().filter_map(|c| c.curie()).collect();
        let of_codes = || curies.iter().filter_map(|curie| self.codes.get(curie));
        let is_curated = |k: &&Known| k.justification == sssom::MANUAL_CURATION;
        let of_text = || said.text.and_then(|text| self.texts.get(&folded(text)));
        of_codes()
            .find(is_curated)
            .or_else(of_text)
            .or_else(|| {
                // The surest of what is left: a code of the target itself, or what an alignment says.
                of_codes().max_by(|a, b| a.confidence.total_cmp(&b.confidence))
            })
            .cloned()
    }

    /// The texts that say what a mention means, with the code that each is the name of.
    fn texts_of(&self, said: &Said<'_>) -> Vec<(String, Option<String>)> {
        let mut texts: Vec<(String, Option<String>)> = Vec::new();
        let mut add = |text: &str, curie: Option<String>| {
            let text = normalize(text).into_owned();
            if !text.is_empty() && !texts.iter().any(|(t, _)| *t == text) {
                texts.push((text, curie));
            }
        };
        if let Some(text) = said.text {
            add(text, None);
        }
        for coding in &said.codings {
            let curie = coding.curie();
            let label = curie.as_ref().and_then(|curie| self.labels.get(curie));
            if let Some(text) = coding.display.or(label.map(String::as_str)) {
                add(text, curie);
            }
        }
        texts
    }

    fn is_excluded(&self, nearest: &Nearest, text: &str, curie: Option<&str>) -> bool {
        if self.not.is_empty() {
            return false;
        }
        let object = self.targets.concept(nearest.concept).0.to_string();
        let pair = |subject: String| self.not.contains(&(subject, object.clone()));
        pair(folded(text)) || curie.is_some_and(|curie| pair(curie.to_string()))
    }

    async fn nearest(&self, texts: &[String]) -> Result<Vec<Option<Nearest>>> {
        if texts.is_empty() {
            return Ok(Vec::new());
        }
        let dimension = self.targets.dimension();
        let mut vectors = vec![0f32; texts.len() * dimension];
        let mut others = Vec::new();
        for ((number, text), vector) in texts.iter().enumerate().zip(vectors.chunks_exact_mut(dimension)) {
            match self.targets.vector(text) {
                Some(known) => vector.copy_from_slice(known),
                None => others.push(number),
            }
        }
        if !others.is_empty() {
            let to_embed = StringArray::from_iter_values(others.iter().map(|number| &texts[*number]));
            let embedded = self.embedder.embed(&to_embed).await?;
            let embedded = embedded.values().as_primitive::<arrow::datatypes::Float32Type>().values();
            for (number, vector) in others.into_iter().zip(embedded.chunks_exact(dimension)) {
                vectors[number * dimension..(number + 1) * dimension].copy_from_slice(vector);
            }
        }
        let refs: Vec<&str> = texts.iter().map(String::as_str).collect();
        self.targets.nearest(&refs, &vectors)
    }

    fn of_known(&self, known: &Known) -> Answer {
        self.finished(
            known.concept,
            Answer {
                predicate_id: Some(known.predicate.clone()),
                mapping_justification: Some(known.justification.clone()),
                confidence: Some(rounded(known.confidence)),
                similarity_score: known.score.map(rounded),
                ..Answer::of(Outcome::Mapped)
            },
        )
    }

    fn of_nearest(&self, nearest: &Nearest) -> Answer {
        self.finished(
            nearest.concept,
            Answer {
                object_match_name: Some(self.targets.name(nearest.name).to_string()),
                predicate_id: Some(nearest.predicate.to_string()),
                mapping_justification: Some(nearest.justification.to_string()),
                confidence: Some(rounded(nearest.confidence)),
                similarity_score: Some(rounded(f64::from(nearest.cosine).clamp(0.0, 1.0))),
                ..Answer::of(Outcome::Mapped)
            },
        )
    }

    fn finished(&self, concept: usize, answer: Answer) -> Answer {
        // What people say is not weighed.
        let curated = answer.mapping_justification.as_deref() == Some(sssom::MANUAL_CURATION);
        let below = !curated && answer.confidence.unwrap_or(0.0) < self.options.min_confidence;
        if below && self.options.leave_out {
            return Answer::without(Outcome::Below);
        }
        let (curie, label) = self.targets.concept(concept);
        Answer {
            outcome: if below { Outcome::Below } else { Outcome::Mapped },
            object_id: Some(curie.to_string()),
            object_label: Some(label.to_string()),
            ..answer
        }
        .rendered()
    }
}

impl std::fmt::Debug for ConceptIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConceptIndex").field("version", &self.version).field("concepts", &self.concepts()).finish()
    }
}

fn folded(text: &str) -> String {
    normalize(text).to_lowercase()
}

fn version(
    targets: &Targets,
    known: [&HashMap<String, Known>; 2],
    not: &HashSet<(String, String)>,
    labels: &HashMap<String, String>,
    options: &IndexOptions,
) -> Fingerprint {
    let mut lines: Vec<String> = known
        .iter()
        .enumerate()
        .flat_map(|(kind, all)| all.iter().map(move |(of, known)| format!("{kind} {of} {known:?}")))
        .chain(not.iter().map(|(subject, object)| format!("{subject} not {object}")))
        .chain(labels.iter().map(|(curie, label)| format!("{curie} is {label}")))
        .collect();
    lines.sort_unstable();
    let own = targets.fingerprint().as_i64().to_le_bytes();
    let sure = [options.min_confidence.to_bits(), u64::from(options.leave_out)].map(u64::to_le_bytes).concat();
    let parts: Vec<&[u8]> = [&own[..], &sure].into_iter().chain(lines.iter().map(String::as_bytes)).collect();
    Fingerprint::of(&parts)
}
