//! Alleles.

use std::borrow::Cow;

use crate::Result;
use crate::error::invalid;

/// Upper-cases an allele and checks it: A, C, G, T, N in any length, or `*`, `-`, `<DEL>`-like symbolic alleles.
///
/// # Errors
/// When the text is empty or has any other character.
pub fn normalize_allele(text: &str) -> Result<Cow<'_, str>> {
    let bytes = text.as_bytes();
    let symbolic = matches!(bytes, [b'<', middle @ .., b'>'] if !middle.is_empty()
        && middle.iter().all(|b| b.is_ascii_alphanumeric() || b":_-".contains(b)));
    if symbolic || matches!(bytes, b"*" | b"-") {
        return Ok(Cow::Borrowed(text));
    }
    if bytes.is_empty() {
        return invalid("allele", "empty");
    }
    if !bytes.iter().all(|b| matches!(b, b'A' | b'C' | b'G' | b'T' | b'N' | b'a' | b'c' | b'g' | b't' | b'n')) {
        return invalid("allele", "expected letters of ACGTN or a symbolic allele like <DEL>");
    }
    if bytes.iter().any(u8::is_ascii_lowercase) {
        return Ok(Cow::Owned(text.to_ascii_uppercase()));
    }
    Ok(Cow::Borrowed(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_letters_and_case() {
        assert_eq!(normalize_allele("acG").unwrap(), "ACG");
        assert_eq!(normalize_allele("<INS:ME>").unwrap(), "<INS:ME>");
        for bad in ["", "?", "E4", "A/G", "<>", "1", " A"] {
            assert!(normalize_allele(bad).is_err(), "{bad}");
        }
    }
}
