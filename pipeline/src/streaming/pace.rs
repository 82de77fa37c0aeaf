//! How large a transaction may be: as much as the broker takes within a time, found out as it goes.

use std::time::Duration;

/// Bytes of the first transactions, and of any at least and at most.
const FIRST: u64 = 2 << 20;
const LEAST: u64 = 128 << 10;
const MOST: u64 = 32 << 20;
/// How long the broker may take for what a commit sends: well below the time after which it gives a transaction up.
const LONG: Duration = Duration::from_secs(2);

/// The bytes that go into a transaction.
pub(super) struct Pace {
    most: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { most: FIRST }
    }
}

impl Pace {
    /// Whether a transaction of so many bytes has enough.
    pub(super) fn is_full(&self, bytes: u64) -> bool {
        bytes >= self.most
    }

    /// The commit of a transaction of so many bytes took so long.
    pub(super) fn committed(&mut self, bytes: u64, took: Duration) {
        if took > LONG {
            let share = LONG.as_secs_f64() / took.as_secs_f64();
            self.most = ((bytes as f64 * share) as u64).clamp(LEAST, MOST);
        } else if self.is_full(2 * bytes) && took < LONG / 2 {
            self.most = (2 * self.most).min(MOST);
        }
    }

    /// A commit failed after so long: where that was long, it was too much.
    pub(super) fn failed(&mut self, took: Duration) {
        if took > LONG {
            self.most = (self.most / 8).max(LEAST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transactions_grow_while_they_are_quick_and_fit_a_slow_broker() {
        let mut pace = Pace::default();
        (0..10).for_each(|_| pace.committed(FIRST, Duration::from_millis(100)));
        assert!(pace.is_full(4 * FIRST) && !pace.is_full(4 * FIRST - 1), "what is far from full tells nothing of more");
        pace.committed(2 * FIRST, Duration::from_secs(20));
        // 0.2 MB a second.
        assert!(pace.is_full(FIRST / 5) && !pace.is_full(FIRST / 5 - 1));
        // Fenced at once: that tells nothing of the broker's speed.
        pace.failed(Duration::from_millis(5));
        assert!(!pace.is_full(FIRST / 5 - 1));
        (0..10).for_each(|_| pace.failed(Duration::from_secs(15)));
        assert!(pace.is_full(LEAST) && !pace.is_full(LEAST - 1));
    }
}
