//! Pseudonyms: person identifiers leave a source only as keyed hashes.

use std::fmt::Write as _;

use generel_schemas::Sensitive;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The key with which person identifiers are hashed (HMAC-SHA-256). The same key gives the same pseudonym everywhere.
#[derive(Debug, Clone)]
pub struct PersonKey(Sensitive<Vec<u8>>);

impl PersonKey {
    /// From secret bytes.
    pub fn new(secret: Vec<u8>) -> Self {
        Self(Sensitive::new(secret))
    }

    /// The pseudonym of a person: 32 hexadecimal digits (128 bits).
    pub fn pseudonym(&self, source: &str, person_id: &str) -> String {
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(self.0.expose())
            .unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
        mac.update(&(source.len() as u64).to_le_bytes());
        mac.update(source.as_bytes());
        mac.update(person_id.as_bytes());
        let digest = mac.finalize().into_bytes();
        digest[..16].iter().fold(String::with_capacity(32), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

#[cfg(test)]
mod tests {
    use super::PersonKey;

    #[test]
    fn depends_on_key_source_and_person() {
        let (a, b) = (PersonKey::new(b"one".to_vec()), PersonKey::new(b"two".to_vec()));
        let pseudonym = a.pseudonym("hospital", "1");
        assert_eq!(pseudonym.len(), 32);
        assert_eq!(pseudonym, a.pseudonym("hospital", "1"));
        assert_ne!(pseudonym, b.pseudonym("hospital", "1"));
        assert_ne!(pseudonym, a.pseudonym("clinic", "1"));
        assert_ne!(pseudonym, a.pseudonym("hospital", "2"));
        assert!(!format!("{a:?}").contains("one"));
    }
}
