//! Sequences without padding: where each begins in one flat array of tokens, and how many go into one batch.

use std::ops::Range;

/// Token ids of several sequences one after the other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PackedBatch {
    /// Token ids of all sequences.
    pub(crate) ids: Vec<u32>,
    /// Where each sequence begins; one more entry for the end. `offsets.len() == sequences + 1`.
    pub(crate) offsets: Vec<usize>,
}

impl PackedBatch {
    pub(crate) fn new<'a>(sequences: impl IntoIterator<Item = &'a [u32]>) -> Self {
        let mut batch = Self { ids: Vec::new(), offsets: vec![0] };
        for sequence in sequences {
            batch.ids.extend_from_slice(sequence);
            batch.offsets.push(batch.ids.len());
        }
        batch
    }

    /// Number of sequences.
    pub(crate) fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Number of tokens.
    pub(crate) fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// Token ranges of the sequences, in order.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        self.offsets.windows(2).map(|w| w[0]..w[1])
    }
}

/// Cuts sequences of these lengths, in order, into runs of at most `budget` tokens and at least one sequence.
pub(crate) fn cut(lengths: impl Iterator<Item = usize>, budget: usize) -> impl Iterator<Item = Range<usize>> {
    let mut lengths = lengths.peekable();
    let mut end = 0;
    std::iter::from_fn(move || {
        let start = end;
        let mut tokens = lengths.next()?;
        end += 1;
        while let Some(length) = lengths.next_if(|length| tokens + length <= budget) {
            tokens += length;
            end += 1;
        }
        Some(start..end)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn unpacking_gives_back_what_was_packed(sequences in prop::collection::vec(prop::collection::vec(any::<u32>(), 1..20), 0..20)) {
            let batch = PackedBatch::new(sequences.iter().map(Vec::as_slice));
            let unpacked: Vec<Vec<u32>> = batch.ranges().map(|r| batch.ids[r].to_vec()).collect();
            prop_assert_eq!(batch.len(), sequences.len());
            prop_assert_eq!(unpacked, sequences);
        }

        #[test]
        fn runs_cover_everything_once_within_budget(lengths in prop::collection::vec(1usize..50, 0..100), budget in 1usize..200) {
            let runs: Vec<_> = cut(lengths.iter().copied(), budget).collect();
            let covered: Vec<usize> = runs.iter().cloned().flatten().collect();
            prop_assert_eq!(covered, (0..lengths.len()).collect::<Vec<_>>());
            for run in runs {
                let tokens: usize = lengths[run.clone()].iter().sum();
                prop_assert!(run.len() == 1 || tokens <= budget);
            }
        }
    }
}
