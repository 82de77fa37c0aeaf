//! What an Embedder has done.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counts since an Embedder was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Rows asked for.
    pub strings: u64,
    /// Distinct texts among the rows of each call.
    pub distinct: u64,
    /// Texts found in the cache.
    pub cache_hits: u64,
    /// Texts found in the store.
    pub store_hits: u64,
    /// Texts that went through the encoder.
    pub encoded: u64,
    /// Tokens that went through the encoder.
    pub tokens: u64,
    /// Batches that went through the encoder.
    pub batches: u64,
    /// Texts cut off at the model's length.
    pub truncated: u64,
    /// Rows that were empty after normalization and became NULL.
    pub empty: u64,
    /// Microseconds in the encoder, of all workers together.
    pub busy_us: u64,
    /// Tokens that a full batch has; 0 before the first text.
    pub budget: u64,
}

/// What one call had to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CallStats {
    /// Rows.
    pub strings: u64,
    /// Distinct texts among them.
    pub distinct: u64,
    /// Texts found in the cache.
    pub cache_hits: u64,
    /// Texts found in the store.
    pub store_hits: u64,
    /// Texts that another call was waiting for already.
    pub joined: u64,
    /// Texts that went to the encoder for this call.
    pub encoded: u64,
    /// Their tokens.
    pub tokens: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    strings: AtomicU64,
    distinct: AtomicU64,
    cache_hits: AtomicU64,
    store_hits: AtomicU64,
    encoded: AtomicU64,
    tokens: AtomicU64,
    batches: AtomicU64,
    truncated: AtomicU64,
    empty: AtomicU64,
    busy_us: AtomicU64,
    budget: AtomicU64,
}

impl Counters {
    pub(super) fn strings(&self, rows: usize, distinct: usize, empty: usize) {
        self.strings.fetch_add(rows as u64, Relaxed);
        self.distinct.fetch_add(distinct as u64, Relaxed);
        self.empty.fetch_add(empty as u64, Relaxed);
        if empty > 0 {
            tracing::warn!(rows = empty, "empty texts have no vector and become NULL");
        }
    }

    pub(super) fn cache_hits(&self, n: usize) {
        self.cache_hits.fetch_add(n as u64, Relaxed);
    }

    pub(super) fn store_hits(&self, n: u64) {
        self.store_hits.fetch_add(n, Relaxed);
    }

    pub(super) fn device(&self, budget: usize) {
        self.budget.store(budget as u64, Relaxed);
    }

    pub(super) fn truncated(&self, n: usize) {
        self.truncated.fetch_add(n as u64, Relaxed);
    }

    pub(super) fn batch(&self, texts: usize, tokens: usize, busy: std::time::Duration) {
        self.encoded.fetch_add(texts as u64, Relaxed);
        self.tokens.fetch_add(tokens as u64, Relaxed);
        self.batches.fetch_add(1, Relaxed);
        self.busy_us.fetch_add(u64::try_from(busy.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }

    pub(super) fn snapshot(&self) -> Stats {
        Stats {
            strings: self.strings.load(Relaxed),
            distinct: self.distinct.load(Relaxed),
            cache_hits: self.cache_hits.load(Relaxed),
            store_hits: self.store_hits.load(Relaxed),
            encoded: self.encoded.load(Relaxed),
            tokens: self.tokens.load(Relaxed),
            batches: self.batches.load(Relaxed),
            truncated: self.truncated.load(Relaxed),
            empty: self.empty.load(Relaxed),
            busy_us: self.busy_us.load(Relaxed),
            budget: self.budget.load(Relaxed),
        }
    }
}
