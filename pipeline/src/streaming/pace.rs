//! How large a transaction may be: as much as the broker takes within a time, found out as it goes.

use std::time::Duration;

/// Bytes of the first transactions, and of any at least and at most.
const FIRST: u64 = 8 << 20;
const LEAST: u64 = 128 << 10;
const MOST: u64 = 64 << 20;
/// How long a commit may wait for the broker: well below the time after which it gives a transaction up.
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

    /// A transaction of so many bytes took so long from its first message until it was committed.
    pub(super) fn committed(&mut self, bytes: u64, took: Duration) {
        if took > LONG {
            let share = LONG.as_secs_f64() / took.as_secs_f64();
            self.most = ((bytes as f64 * share) as u64).clamp(LEAST, MOST);
        } else if self.is_full(2 * bytes) && took < LONG / 2 {
            self.most = (2 * self.most).min(MOST);
        }
    }

    /// One was not taken in time.
    pub(super) fn failed(&mut self) {
        self.most = (self.most / 8).max(LEAST);
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
        // 0.8 MB a second.
        assert!(pace.is_full(FIRST / 5) && !pace.is_full(FIRST / 5 - 1));
        (0..10).for_each(|_| pace.failed());
        assert!(pace.is_full(LEAST) && !pace.is_full(LEAST - 1));
    }
}
