//! Pseudonyms: person identifiers leave a source only as keyed hashes.

use generel_schemas::Sensitive;

/// What the key of the hash is derived for (BLAKE3's key derivation): no other use of the secret gives the same key.
const CONTEXT: &str = "generel 2026-11 person pseudonyms";

/// The key with which person identifiers are hashed (keyed BLAKE3). The same key gives the same pseudonym everywhere.
#[derive(Debug, Clone)]
pub struct PersonKey(Sensitive<[u8; 32]>);

impl PersonKey {
    /// From secret bytes.
    pub fn new(secret: impl AsRef<[u8]>) -> Self {
        Self(Sensitive::new(blake3::derive_key(CONTEXT, secret.as_ref())))
    }

    /// The pseudonym of a person: 32 hexadecimal digits (128 bits).
    pub fn pseudonym(&self, source: &str, person_id: &str) -> String {
        self.hex(source, person_id).as_str().to_string()
    }

    /// The pseudonym without an allocation.
    pub(crate) fn hex(&self, source: &str, person_id: &str) -> Pseudonym {
        let mut hasher = blake3::Hasher::new_keyed(self.0.expose());
        hasher.update(&(source.len() as u64).to_le_bytes());
        hasher.update(source.as_bytes());
        hasher.update(person_id.as_bytes());
        let mut text = [0u8; 32];
        text.copy_from_slice(&hasher.finalize().to_hex().as_bytes()[..32]);
        Pseudonym(text)
    }
}

/// 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pseudonym([u8; 32]);

impl Pseudonym {
    /// As text.
    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::PersonKey;

    #[test]
    fn depends_on_key_source_and_person() {
        let (a, b) = (PersonKey::new(b"one"), PersonKey::new(b"two"));
        let pseudonym = a.pseudonym("hospital", "1");
        assert_eq!(pseudonym.len(), 32);
        assert_eq!(pseudonym, a.pseudonym("hospital", "1"));
        assert_ne!(pseudonym, b.pseudonym("hospital", "1"));
        assert_ne!(pseudonym, a.pseudonym("clinic", "1"));
        assert_ne!(pseudonym, a.pseudonym("hospital", "2"));
        assert!(!format!("{a:?}").contains("one"));
    }
}
