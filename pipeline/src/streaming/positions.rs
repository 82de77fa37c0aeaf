//! Where a partition is read on. Pure functions.
//!
//! Every sink has its own mark: the lake's is a Delta `txn` that is committed with the rows, the topic's is the group's
//! offset that is committed in the transaction with the messages. A commit of the one does not cover the other, so a
//! restart begins at the lower mark and each sink skips what it has. When a partition is read for the first time, the
//! lake's mark is set first, then the group's: a group's offset without a mark of the lake means a lost lake.

use super::options::{Accepted, Start};

/// What is known of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    /// The first offset that the topic has, and the one after its last.
    pub(super) topic: (i64, i64),
    /// The group's offset.
    pub(super) group: Option<i64>,
    /// The lake's mark, and the one that it began with; nothing where the consumer writes no rows.
    pub(super) lake: Option<(Option<i64>, Option<i64>)>,
    /// Where it begins when nothing was read yet.
    pub(super) start: i64,
}

/// Where a partition is read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    /// The first offset to read.
    pub(super) from: i64,
    /// The first offset that the output topic does not have.
    pub(super) output: i64,
    /// The first offset that the lake does not have.
    pub(super) lake: i64,
    /// Whether the lake's mark has to be set first.
    pub(super) mark_lake: bool,
    /// Whether the group's offset has to be committed first.
    pub(super) mark_group: bool,
}

/// Why a partition cannot be read on without a person's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lost {
    Lake { group: i64 },
    Offsets { lake: i64 },
    Truncated { mark: i64, first: i64 },
    Recreated { mark: i64, end: i64 },
}

impl Lost {
    /// What happened, and what to do.
    pub(super) fn message(self) -> String {
        match self {
            Self::Lake { group } => format!(
                "the group has read up to offset {group}, but the lake has no mark of it: the lake was lost, or is another one. Restore it, or give the consumer a new name and group to fill a new lake from the start, or go on from the group's offset with --accept lost-lake"
            ),
            Self::Offsets { lake } => format!(
                "the lake has rows up to offset {lake}, but the group has no offset: it expired, was deleted, or the group is another one. Messages of the output topic may be missing or be there already; look, then go on from the lake's mark with --accept lost-offsets"
            ),
            Self::Truncated { mark, first } => format!(
                "messages {mark} to {} are gone from the topic before they were read (retention?). Go on with the oldest that there is with --accept truncated",
                first - 1
            ),
            Self::Recreated { mark, end } => format!(
                "offset {mark} was read, but the topic ends at {end}: it was made anew. Give the consumer a new name and group"
            ),
        }
    }
}

/// Where to read on.
pub(super) fn position(known: Known, accepted: Accepted, has_output: bool) -> Result<Position, Lost> {
    let (first, end) = known.topic;
    let (mut output, mut lake);
    let (mut mark_lake, mut mark_group) = (false, false);
    match (known.group, known.lake) {
        (None, None | Some((None, _))) => {
            (output, lake) = (known.start, known.start);
            (mark_lake, mark_group) = (known.lake.is_some(), true);
        }
        (Some(group), None) => (output, lake) = (group, group),
        (Some(group), Some((Some(mark), _))) => (output, lake) = (group, mark),
        (Some(group), Some((None, _))) => {
            if !accepted.lost_lake {
                return Err(Lost::Lake { group });
            }
            (output, lake) = (group, group);
            mark_lake = true;
        }
        (None, Some((Some(mark), began))) => {
            if has_output && began != Some(mark) && !accepted.lost_offsets {
                return Err(Lost::Offsets { lake: mark });
            }
            (output, lake) = (mark, mark);
            mark_group = true;
        }
    }
    let mark = output.min(lake);
    if output.max(lake) > end {
        return Err(Lost::Recreated { mark: output.max(lake), end });
    }
    if mark < first {
        if !accepted.truncated {
            return Err(Lost::Truncated { mark, first });
        }
        // The lake's rows go on where its mark is.
        mark_lake |= known.lake.is_some() && lake < first;
        (output, lake) = (output.max(first), lake.max(first));
    }
    Ok(Position { from: output.min(lake), output, lake, mark_lake, mark_group })
}

/// The offset to begin with; `at` is that of the time asked for.
pub(super) fn start(start: Start, (first, end): (i64, i64), at: Option<i64>) -> i64 {
    match start {
        Start::Earliest => first,
        Start::Latest => end,
        Start::At(_) => at.unwrap_or(end).clamp(first, end),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Known = Known { topic: (10, 90), group: None, lake: Some((None, None)), start: 10 };

    fn at(known: Known) -> Result<(i64, i64, i64), Lost> {
        position(known, Accepted::default(), true).map(|p| (p.from, p.output, p.lake))
    }

    #[test]
    fn a_fresh_group_begins_where_told_and_says_so_first() {
        let fresh = position(NOTHING, Accepted::default(), true).unwrap();
        assert_eq!((fresh.from, fresh.mark_lake, fresh.mark_group), (10, true, true));
        let without_lake = Known { lake: None, start: 90, ..NOTHING };
        let fresh = position(without_lake, Accepted::default(), true).unwrap();
        assert_eq!((fresh.from, fresh.mark_lake, fresh.mark_group), (90, false, true));
    }

    #[test]
    fn a_restart_begins_at_the_lower_mark() {
        assert_eq!(at(Known { group: Some(40), lake: Some((Some(30), Some(10))), ..NOTHING }), Ok((30, 40, 30)));
        assert_eq!(at(Known { group: Some(30), lake: Some((Some(40), Some(10))), ..NOTHING }), Ok((30, 30, 40)));
        // Killed between the first two marks.
        assert_eq!(at(Known { lake: Some((Some(10), Some(10))), ..NOTHING }), Ok((10, 10, 10)));
    }

    #[test]
    fn losses_are_errors_unless_accepted() {
        let lost_lake = Known { group: Some(40), ..NOTHING };
        assert_eq!(at(lost_lake), Err(Lost::Lake { group: 40 }));
        let lost_offsets = Known { lake: Some((Some(40), Some(10))), ..NOTHING };
        assert_eq!(at(lost_offsets), Err(Lost::Offsets { lake: 40 }));
        let truncated = Known { group: Some(5), lake: Some((Some(20), Some(0))), ..NOTHING };
        assert_eq!(at(truncated), Err(Lost::Truncated { mark: 5, first: 10 }));
        let recreated = Known { group: Some(91), lake: Some((Some(20), Some(0))), ..NOTHING };
        assert_eq!(at(recreated), Err(Lost::Recreated { mark: 91, end: 90 }));
        let all = Accepted { lost_lake: true, lost_offsets: true, truncated: true };
        let go_on = |known| position(known, all, true).map(|p| (p.from, p.output, p.lake));
        assert_eq!(go_on(lost_lake), Ok((40, 40, 40)));
        assert_eq!(go_on(lost_offsets), Ok((40, 40, 40)));
        assert_eq!(go_on(truncated), Ok((10, 10, 20)));
        assert_eq!(go_on(recreated), Err(Lost::Recreated { mark: 91, end: 90 }));
        // Without an output topic nothing can be missing in it.
        assert!(position(lost_offsets, Accepted::default(), false).is_ok());
    }

    #[test]
    fn a_start_is_within_the_topic() {
        assert_eq!(start(Start::Earliest, (10, 90), None), 10);
        assert_eq!(start(Start::Latest, (10, 90), None), 90);
        let then = Start::At(DateTime::default());
        assert_eq!(start(then, (10, 90), Some(40)), 40);
        assert_eq!(start(then, (10, 90), None), 90);
    }

    use chrono::DateTime;
}
