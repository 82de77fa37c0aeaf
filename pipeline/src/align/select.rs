//! From weighed pairs of codes to mappings: curated ones first, the best few of each subject, one to one where asked for.
//! Pure functions.

use std::collections::{HashMap, HashSet};

use generel_schemas::sssom;

use super::curated::Curated;
use super::evidence::Pair;
use super::mapping_file::Origin;

/// From this confidence on a mapping is taken for right.
pub const MAPPED: f64 = 0.7;
/// Below this confidence a mapping is taken for wrong; between the two it is doubtful.
pub const DOUBTFUL: f64 = 0.3;

/// A mapping between two codes.
#[derive(Debug, Clone, PartialEq)]
pub struct Mapping {
    pub(super) subject: usize,
    pub(super) object: usize,
    /// The names that speak for it, and their cosine; none for a curated mapping of names that do not resemble each other.
    pub(super) names: Option<(usize, usize, f32)>,
    pub(super) predicate: String,
    pub(super) justification: &'static str,
    /// Probability that the mapping is right; 1 for a curated one unless its file says otherwise.
    pub confidence: f64,
    /// 1 = the subject's best object.
    pub rank: i32,
    /// Confidence minus that of the subject's next object.
    pub margin: Option<f64>,
    /// Whether the subject is also the object's best.
    pub mutual: bool,
    /// Of a curated mapping: who made it, whence, and when.
    pub(super) origin: Origin,
}

impl Mapping {
    fn is_curated(&self) -> bool {
        self.justification == sssom::MANUAL_CURATION
    }
}

/// The mappings of each subject: its curated objects, then the best others up to `k`.
pub(super) fn select(pairs: &[Pair], curated: &Curated, k: usize, one_to_one: bool) -> Vec<Mapping> {
    let mut of_subject: HashMap<usize, Vec<Mapping>> = HashMap::new();
    for pair in pairs.iter().filter(|p| !curated.negative.contains(&(p.best.subject, p.best.object))) {
        of_subject.entry(pair.best.subject).or_default().push(computed(pair));
    }
    for (subject, known) in &curated.of_subject {
        let all = of_subject.entry(*subject).or_default();
        for (object, mapping) in known {
            let computed = all.iter().position(|m| m.object == *object).map(|i| all.remove(i));
            all.push(Mapping {
                subject: *subject,
                object: *object,
                names: computed.as_ref().and_then(|m| m.names),
                predicate: mapping.predicate.clone(),
                justification: sssom::MANUAL_CURATION,
                confidence: mapping.confidence.unwrap_or(1.0),
                rank: 0,
                margin: None,
                mutual: computed.is_some_and(|m| m.mutual),
                origin: mapping.origin.clone(),
            });
        }
    }
    let mut all: Vec<Mapping> = of_subject.into_values().flatten().collect();
    all.sort_by(|a, b| a.subject.cmp(&b.subject).then_with(|| better(a, b)));
    if one_to_one {
        all = assigned(all);
    }
    let mut kept = Vec::with_capacity(all.len());
    for mappings in all.chunk_by(|a, b| a.subject == b.subject) {
        // What people say stays, however much it is.
        let kept_anyway = mappings.iter().filter(|m| m.is_curated()).count();
        for (i, mapping) in mappings.iter().take(k.max(kept_anyway)).enumerate() {
            let margin = mappings.get(i + 1).map(|next| mapping.confidence - next.confidence);
            let mut mapping = Mapping { rank: i as i32 + 1, margin, ..mapping.clone() };
            if i > 0 && mapping.predicate == sssom::EXACT_MATCH && !mapping.is_curated() {
                mapping.predicate = sssom::CLOSE_MATCH.to_string();
            }
            kept.push(mapping);
        }
    }
    kept
}

/// Curated before computed, then by confidence, then by the order of names.
fn better(a: &Mapping, b: &Mapping) -> std::cmp::Ordering {
    b.is_curated()
        .cmp(&a.is_curated())
        .then(b.confidence.total_cmp(&a.confidence))
        .then_with(|| a.names.map(|(s, o, _)| (s, o)).cmp(&b.names.map(|(s, o, _)| (s, o))))
        .then((a.subject, a.object).cmp(&(b.subject, b.object)))
}

/// Each subject and each object once: the best mapping first, then the best of what is left. What people say stays.
fn assigned(mut all: Vec<Mapping>) -> Vec<Mapping> {
    all.sort_by(better);
    let (mut subjects, mut objects) = (HashSet::new(), HashSet::new());
    all.retain(|m| {
        let free = m.is_curated() || !subjects.contains(&m.subject) && !objects.contains(&m.object);
        if free {
            subjects.insert(m.subject);
            objects.insert(m.object);
        }
        free
    });
    all.sort_by_key(|m| m.subject);
    all
}

fn computed(pair: &Pair) -> Mapping {
    let best = &pair.best;
    Mapping {
        subject: best.subject,
        object: best.object,
        names: Some((best.subject_name, best.object_name, best.cosine)),
        predicate: predicate(pair).to_string(),
        justification: justification(pair),
        confidence: pair.confidence,
        rank: 0,
        margin: None,
        mutual: pair.is_mutual(),
        origin: Origin::default(),
    }
}

/// Which evidence speaks for it.
pub(super) fn justification(pair: &Pair) -> &'static str {
    match () {
        () if pair.best.lexical.equal => sssom::LEXICAL_MATCHING,
        () if pair.best.lexical.same_words => sssom::COMPOSITE_MATCHING,
        () => sssom::SEMANTIC_SIMILARITY,
    }
}

/// Exact where the mapping is taken for right; broader or narrower where the one name has all words of the other and more.
pub(super) fn predicate(pair: &Pair) -> &'static str {
    let lexical = &pair.best.lexical;
    match () {
        () if pair.confidence >= MAPPED && (pair.is_mutual() || lexical.same_words) => sssom::EXACT_MATCH,
        () if pair.confidence < MAPPED && lexical.object_is_broader => sssom::BROAD_MATCH,
        () if pair.confidence < MAPPED && lexical.object_is_narrower => sssom::NARROW_MATCH,
        () => sssom::CLOSE_MATCH,
    }
}

#[cfg(test)]
mod tests {
    use super::super::evidence::NamePair;
    use super::super::lexical::LexicalEvidence;
    use super::super::mapping_file::KnownMapping;
    use super::*;

    fn pair(subject: usize, object: usize, confidence: f64) -> Pair {
        let best = NamePair {
            subject,
            object,
            subject_name: subject,
            object_name: object,
            cosine: 0.5,
            both_labels: true,
            lexical: LexicalEvidence::default(),
        };
        Pair { best, score: 0.0, margins: [0.0; 2], parents: [false; 2], confidence }
    }

    fn known(predicate: &str) -> KnownMapping {
        KnownMapping {
            subject: "a:0".into(),
            labels: [None, None],
            object: "b:9".into(),
            predicate: predicate.into(),
            negative: false,
            confidence: None,
            origin: Origin { author_id: Some("orcid:0".into()), ..Origin::default() },
        }
    }

    #[test]
    fn the_best_few_have_ranks_and_margins() {
        let mappings = select(&[pair(0, 1, 0.6), pair(0, 2, 0.9), pair(0, 3, 0.1)], &Curated::default(), 2, false);
        assert_eq!(mappings.iter().map(|m| (m.object, m.rank)).collect::<Vec<_>>(), [(2, 1), (1, 2)]);
        assert!((mappings[0].margin.unwrap() - 0.3).abs() < 1e-9 && (mappings[1].margin.unwrap() - 0.5).abs() < 1e-9);
        assert_eq!(
            (mappings[0].predicate.as_str(), mappings[1].predicate.as_str()),
            ("skos:exactMatch", "skos:closeMatch")
        );
    }

    #[test]
    fn what_people_say_wins() {
        let mut curated = Curated::default();
        curated.of_subject.insert(0, vec![(9, known("skos:broadMatch"))]);
        curated.negative.insert((0, 2));
        let mappings = select(&[pair(0, 1, 0.6), pair(0, 2, 0.9)], &curated, 5, false);
        assert_eq!(mappings.iter().map(|m| m.object).collect::<Vec<_>>(), [9, 1]);
        let first = &mappings[0];
        assert_eq!(
            (first.predicate.as_str(), first.justification),
            ("skos:broadMatch", "semapv:ManualMappingCuration")
        );
        assert_eq!((first.confidence, first.names), (1.0, None));
        assert_eq!(first.origin.author_id.as_deref(), Some("orcid:0"));
    }

    #[test]
    fn one_to_one_gives_each_code_once() {
        let pairs = [pair(0, 1, 0.8), pair(0, 2, 0.7), pair(1, 1, 0.9), pair(1, 2, 0.2)];
        let mappings = select(&pairs, &Curated::default(), 5, true);
        assert_eq!(mappings.iter().map(|m| (m.subject, m.object, m.rank)).collect::<Vec<_>>(), [(0, 2, 1), (1, 1, 1)]);
    }

    #[test]
    fn all_that_people_say_stays() {
        let mut curated = Curated::default();
        curated.of_subject.insert(0, [7, 8, 9].map(|object| (object, known("skos:exactMatch"))).to_vec());
        curated.of_subject.insert(1, vec![(9, known("skos:exactMatch"))]);
        let pairs = [pair(0, 1, 0.9), pair(1, 1, 0.8), pair(2, 9, 0.9), pair(2, 1, 0.7)];
        let of = |mappings: Vec<Mapping>| mappings.iter().map(|m| (m.subject, m.object, m.rank)).collect::<Vec<_>>();
        let curated_rows = [(0, 7, 1), (0, 8, 2), (0, 9, 3), (1, 9, 1)];
        let few = of(select(&pairs, &curated, 2, false));
        assert_eq!(few, [&curated_rows[..], &[(1, 1, 2), (2, 9, 1), (2, 1, 2)]].concat());
        let one_to_one = of(select(&pairs, &curated, 2, true));
        assert_eq!(one_to_one, [&curated_rows[..], &[(2, 1, 1)]].concat());
    }

    #[test]
    fn names_within_names_are_broader_or_narrower() {
        let with = |confidence, lexical| {
            let mut pair = pair(0, 1, confidence);
            pair.best.lexical = lexical;
            select(&[pair], &Curated::default(), 1, false)[0].predicate.clone()
        };
        let broader = LexicalEvidence { object_is_broader: true, ..LexicalEvidence::default() };
        let narrower = LexicalEvidence { object_is_narrower: true, ..LexicalEvidence::default() };
        assert_eq!(with(0.4, broader), "skos:broadMatch");
        assert_eq!(with(0.4, narrower), "skos:narrowMatch");
        assert_eq!(with(0.9, broader), "skos:exactMatch");
    }
}
