//! Variants that a file has twice, found while it streams by: rows of one place stand together in a file sorted by
//! place, as summary statistics are, so only the rows of one place are ever compared and nothing is kept of the others.

use std::hash::{DefaultHasher, Hash, Hasher};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type};

/// A chromosome and a position on it.
type Place = (i32, i64);

/// Rows of one place that follow each other: what each is, doubles left out.
#[derive(Debug)]
struct Run {
    place: Place,
    seen: Vec<u64>,
}

/// What was seen of some rows of a file. The first and the last run may go on in the rows beside them.
#[derive(Debug, Default)]
pub(super) struct Places {
    first: Option<Run>,
    last: Option<Run>,
    /// Rows that repeat one of their place.
    pub(super) repeated: u64,
    /// Times that a place lies before the one above it: then equal variants may be far from each other.
    pub(super) backwards: u64,
}

impl Places {
    /// Looks at the next rows: a batch of `gwas_associations`, by its column names.
    pub(super) fn add(&mut self, batch: &RecordBatch) {
        let column = |name: &str| batch.column_by_name(name);
        let chromosomes = column("chromosome").and_then(|c| c.as_primitive_opt::<Int32Type>());
        let positions = column("base_pair_location").and_then(|c| c.as_primitive_opt::<Int64Type>());
        let (Some(chromosomes), Some(positions)) = (chromosomes, positions) else { return };
        let texts = ["effect_allele", "other_allele", "study_id", "trait", "rsid", "variant_id"]
            .map(|name| column(name).and_then(|c| c.as_string_opt::<i32>()));
        let what = |row: usize| {
            let [effect, other, study, name, rsid, variant] =
                texts.map(|c| c.filter(|c| c.is_valid(row)).map(|c| c.value(row)));
            let mut hasher = DefaultHasher::new();
            // The same two alleles are the same variant, whichever has the effect.
            (effect.min(other), effect.max(other), study, name).hash(&mut hasher);
            if effect.is_none() && other.is_none() {
                (rsid, variant).hash(&mut hasher);
            }
            hasher.finish()
        };
        let (places, rows) = ((chromosomes.values(), positions.values()), batch.num_rows());
        let gaps = chromosomes.null_count() + positions.null_count() > 0;
        let mut start = 0;
        while start < rows {
            let place = (places.0[start], places.1[start]);
            let mut end = start + 1;
            while end < rows && places.1[end] == place.1 && places.0[end] == place.0 {
                end += 1;
            }
            if gaps && (chromosomes.is_null(start) || positions.is_null(start)) {
                start += 1;
                continue;
            }
            // Almost every place has one row: that only those at the edges of a batch are hashed makes this free.
            if gaps || end - start > 1 || start == 0 || end == rows {
                let rows = (start..end).filter(|row| !gaps || chromosomes.is_valid(*row) && positions.is_valid(*row));
                let mut run = Run { place, seen: Vec::new() };
                rows.for_each(|row| self.repeated += u64::from(!run.see(what(row))));
                self.follow(run);
            } else {
                self.follow(Run { place, seen: Vec::new() });
            }
            start = end;
        }
    }

    /// Puts the rows behind these that were looked at apart.
    pub(super) fn join(&mut self, later: Self) {
        self.repeated += later.repeated;
        self.backwards += later.backwards;
        let Some(first) = later.first else {
            later.last.into_iter().for_each(|run| self.follow(run));
            return;
        };
        self.follow(first);
        // What lies between the two was compared where it was added.
        if let (Some(last), Some(run)) = (&mut self.last, later.last) {
            let ended = std::mem::replace(last, run);
            self.first.get_or_insert(ended);
        }
    }

    /// A run behind the last.
    fn follow(&mut self, run: Run) {
        let Some(last) = &mut self.last else {
            self.last = Some(run);
            return;
        };
        if last.place == run.place {
            for row in run.seen {
                self.repeated += u64::from(!last.see(row));
            }
            return;
        }
        self.backwards += u64::from(run.place.0 == last.place.0 && run.place.1 < last.place.1);
        let ended = std::mem::replace(last, run);
        self.first.get_or_insert(ended);
    }
}

impl Run {
    /// Whether the row is new here.
    fn see(&mut self, row: u64) -> bool {
        let new = !self.seen.contains(&row);
        if new {
            self.seen.push(row);
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int32Array, Int64Array, StringArray};
    use proptest::prelude::*;

    use super::*;

    type Row = (Option<i64>, &'static str, &'static str);

    fn batch(rows: &[Row]) -> RecordBatch {
        let column = |name: &str, array: ArrayRef| (name.to_string(), array);
        RecordBatch::try_from_iter([
            column("chromosome", Arc::new(Int32Array::from(vec![1; rows.len()]))),
            column("base_pair_location", Arc::new(rows.iter().map(|r| r.0).collect::<Int64Array>())),
            column("effect_allele", Arc::new(StringArray::from_iter_values(rows.iter().map(|r| r.1)))),
            column("other_allele", Arc::new(StringArray::from_iter_values(rows.iter().map(|r| r.2)))),
        ])
        .unwrap()
    }

    #[test]
    fn the_same_alleles_are_the_same_variant() {
        let mut places = Places::default();
        places.add(&batch(&[(Some(5), "A", "G"), (Some(5), "A", "T"), (Some(5), "G", "A"), (None, "A", "G")]));
        places.add(&batch(&[(Some(9), "A", "G"), (Some(7), "A", "G")]));
        assert_eq!((places.repeated, places.backwards), (1, 1));
    }

    proptest! {
        #[test]
        fn batches_and_pieces_do_not_matter(
            mut rows in proptest::collection::vec(
                (proptest::option::weighted(0.9, 1..6i64), prop::sample::select(vec!["A", "C"]), prop::sample::select(vec!["A", "C"])), 0..40),
            cuts in proptest::collection::vec((0..40usize, any::<bool>()), 0..6),
            sort in any::<bool>(),
        ) {
            if sort {
                rows.sort();
            }
            let (mut all, mut piece, mut from) = (Places::default(), Places::default(), 0);
            let mut cuts: Vec<_> = cuts.into_iter().map(|(at, join)| (at.min(rows.len()), join)).collect();
            cuts.push((rows.len(), true));
            cuts.sort();
            for (at, join) in cuts {
                piece.add(&batch(&rows[from..at]));
                from = at;
                if join {
                    all.join(std::mem::take(&mut piece));
                }
            }
            all.join(piece);
            let mut whole = Places::default();
            whole.add(&batch(&rows));
            prop_assert_eq!((all.repeated, all.backwards), (whole.repeated, whole.backwards));
            let placed: Vec<_> = rows.iter().filter_map(|(place, a, b)| Some(((*place)?, a.min(b), a.max(b)))).collect();
            if sort {
                prop_assert_eq!(all.repeated as usize, placed.len() - placed.iter().collect::<HashSet<_>>().len());
            }
        }
    }
}
