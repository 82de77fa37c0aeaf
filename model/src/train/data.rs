//! What is trained on: texts, SNPs, and weighted pairs of them by task.

use std::collections::HashSet;

/// Texts, SNPs and the pairs between them. Everything refers to everything else by its place.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TrainingSet {
    /// Distinct texts.
    pub texts: Vec<String>,
    /// The entity of each text: texts of one entity mean the same.
    pub entities: Vec<u32>,
    /// SNPs.
    pub snps: Vec<SnpFacts>,
    /// Gene symbols that SNPs refer to.
    pub genes: Vec<String>,
    /// The tasks.
    pub tasks: Vec<Task>,
    /// SNPs, by their places, and entities that are right for them though no task has the pair: no negatives.
    pub also_right: Vec<(u32, u32)>,
}

/// What is known of an SNP beside its associations.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SnpFacts {
    /// dbSNP rsID.
    pub rsid: String,
    /// 1–22, 23 = X, 24 = Y, 25 = MT.
    pub chromosome: Option<u8>,
    /// 1-based position, in bases.
    pub position: Option<u32>,
    /// Places of its genes in [`TrainingSet::genes`].
    pub genes: Vec<u32>,
    /// Functional consequence, a term of the Sequence Ontology.
    pub consequence: Option<String>,
}

/// What stands on the two sides of a task's pairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskKind {
    /// Two texts of one entity: others of the batch are wrong unless they are of the same entity.
    Synonyms,
    /// Two texts that are related.
    Related,
    /// An SNP and a text.
    SnpText,
}

/// Weighted pairs that should be close.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// Its name.
    pub name: String,
    /// What its pairs are.
    pub kind: TaskKind,
    /// Places of the left sides: texts, or SNPs.
    pub left: Vec<u32>,
    /// Places of the right sides: texts.
    pub right: Vec<u32>,
    /// How much each pair counts; positive.
    pub weights: Vec<f32>,
}

/// An SNP's key among entities.
const SNP: u32 = 1 << 31;

/// The pairs of all tasks, by entity: what must not be a negative of anything.
#[derive(Debug, Default)]
pub(super) struct Known(HashSet<u64>);

impl Known {
    pub(super) fn new(set: &TrainingSet) -> Self {
        let mut known: HashSet<u64> = set.also_right.iter().map(|(snp, entity)| key(SNP | snp, *entity)).collect();
        for task in set.tasks.iter().filter(|t| t.kind != TaskKind::Synonyms) {
            for (left, right) in task.left.iter().zip(&task.right) {
                known.insert(key(set.left_entity(task.kind, *left), set.entities[*right as usize]));
            }
        }
        Self(known)
    }

    pub(super) fn has(&self, a: u32, b: u32) -> bool {
        a == b || self.0.contains(&key(a, b))
    }
}

fn key(a: u32, b: u32) -> u64 {
    u64::from(a.min(b)) << 32 | u64::from(a.max(b))
}

impl TrainingSet {
    /// The entity of a task's left side.
    pub(super) fn left_entity(&self, kind: TaskKind, left: u32) -> u32 {
        match kind {
            TaskKind::SnpText => SNP | left,
            TaskKind::Synonyms | TaskKind::Related => self.entities[left as usize],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_right_without_being_trained_on_is_known() {
        let set = TrainingSet { also_right: vec![(0, 7)], ..TrainingSet::default() };
        let known = Known::new(&set);
        let snp = |place| set.left_entity(TaskKind::SnpText, place);
        assert!(known.has(snp(0), 7) && known.has(7, snp(0)));
        assert!(!known.has(snp(1), 7) && !known.has(0, 7));
    }
}
