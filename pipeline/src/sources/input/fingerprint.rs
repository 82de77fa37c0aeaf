//! What ingest calls the same content.

use std::fmt;

/// Hash over the content of a file and its companions (BLAKE3, first 63 bits): what ingest calls the same file.
///
/// 63 bits so that it fits Delta's signed transaction version; among a million files two collide with p < 1e-7.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(u64);

impl Fingerprint {
    /// As Delta's transaction version: never negative.
    pub fn as_i64(self) -> i64 {
        i64::try_from(self.0).unwrap_or(i64::MAX)
    }

    /// From Delta's transaction version.
    pub fn from_i64(value: i64) -> Self {
        Self(value.unsigned_abs())
    }

    /// Of the parts of a value, each with its length so that two different lists never hash alike.
    pub fn of(parts: &[&[u8]]) -> Self {
        let mut hasher = blake3::Hasher::new();
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        let mut first = [0u8; 8];
        first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        Self(u64::from_be_bytes(first) >> 1)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}
