//! CURIEs written into strings that a thread uses again: a graph has two a row, millions of times.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt::Write;

use generel_schemas::ids::{known, source_curie};

thread_local! {
    static BUFFERS: RefCell<[String; 4]> = const { RefCell::new([const { String::new() }; 4]) };
}

/// Four empty strings, to be filled for one row. Calls must not be nested.
pub(in super::super) fn with_buffers<T>(fill: impl FnOnce(&mut [String; 4]) -> T) -> T {
    BUFFERS.with_borrow_mut(|buffers| {
        buffers.iter_mut().for_each(String::clear);
        fill(buffers)
    })
}

/// The preferred spelling of a prefix or of one of its aliases.
pub(in super::super) fn preferred(prefix: &str) -> Option<&'static str> {
    known(prefix).map(|prefix| prefix.preferred)
}

/// Appends `prefix:local`. The prefix must be in its preferred spelling; what a CURIE cannot hold is percent-encoded.
#[inline]
pub(in super::super) fn push(buffer: &mut String, prefix: &str, local: &str) {
    if is_local(local) {
        buffer.push_str(prefix);
        buffer.push(':');
        buffer.push_str(local);
    } else {
        push_encoded(buffer, prefix, local);
    }
}

/// Appends `prefix:local`, a number with leading zeros up to seven digits, as OBO ontologies write them.
#[inline]
pub(in super::super) fn push_padded(buffer: &mut String, prefix: &str, local: &str) {
    const ZEROS: &str = "0000000";
    let number = !local.is_empty() && local.len() < ZEROS.len() && local.bytes().all(|b| b.is_ascii_digit());
    if number {
        buffer.push_str(prefix);
        buffer.push(':');
        buffer.push_str(&ZEROS[local.len()..]);
        buffer.push_str(local);
    } else {
        push(buffer, prefix, local);
    }
}

/// Appends the CURIE of a code of a vocabulary, by any name of the vocabulary; one that no registry knows becomes the
/// prefix itself. A code that says its prefix (`HP:0000118`) does not get it twice.
pub(in super::super) fn push_code(buffer: &mut String, vocabulary: &str, code: &str) {
    let name =
        if vocabulary.contains(' ') { Cow::Owned(vocabulary.replace(' ', "_")) } else { Cow::Borrowed(vocabulary) };
    let prefix = preferred(&name);
    let shown = prefix.unwrap_or(&name);
    let bare = match code.split_once(':') {
        Some((own, local)) if own.eq_ignore_ascii_case(shown) && !local.is_empty() => local,
        _ => code,
    };
    match prefix {
        Some(prefix) => push(buffer, prefix, bare),
        None => push_encoded(buffer, &name, bare),
    }
}

/// Appends a text that is a CURIE already, with the preferred prefix; false, and nothing appended, where it is none.
pub(in super::super) fn push_parsed(buffer: &mut String, text: &str) -> bool {
    let Some((prefix, local)) = text.split_once(':') else { return false };
    let is_prefix = !prefix.is_empty() && prefix.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    if !is_prefix || local.is_empty() || local.starts_with("//") || !is_local(local) {
        return false;
    }
    push(buffer, preferred(prefix).unwrap_or(prefix), local);
    true
}

#[inline]
fn is_local(text: &str) -> bool {
    let plain = |b: u8| b > b' ' && b < 0x7f;
    text.bytes().all(plain) || !text.chars().any(|c| c.is_whitespace() || c.is_control())
}

#[cold]
fn push_encoded(buffer: &mut String, prefix: &str, local: &str) {
    // Writing to a string cannot fail.
    let _ = write!(buffer, "{}", source_curie(prefix, local));
}

#[cfg(test)]
mod tests {
    use generel_schemas::ids::Curie;
    use proptest::prelude::*;

    use super::*;

    fn code(vocabulary: &str, code: &str) -> String {
        with_buffers(|[buffer, ..]| {
            push_code(buffer, vocabulary, code);
            buffer.clone()
        })
    }

    #[test]
    fn codes_of_vocabularies() {
        assert_eq!(code("SNOMEDCT_US", "44054006"), "snomedct:44054006");
        assert_eq!(code("MSH", "D003924"), "mesh:D003924");
        assert_eq!(code("HPO", "HP:0000118"), "HP:0000118");
        assert_eq!(code("GO", "GO:0008150"), "GO:0008150");
        assert_eq!(code("LNC", "1234-5"), "loinc:1234-5");
        assert_eq!(code("MDR", "10012601"), "meddra:10012601");
        assert_eq!(code("RxNorm Extension", "OMOP1"), "rxnorm:OMOP1");
        assert_eq!(code("Some List", "a b"), "Some_List:a%20b");
        assert_eq!(code("Visit", "Visit:IP"), "Visit:IP");
    }

    #[test]
    fn numbers_are_padded() {
        let padded = |local| {
            with_buffers(|[buffer, ..]| {
                push_padded(buffer, "MONDO", local);
                buffer.clone()
            })
        };
        assert_eq!(padded("4975"), "MONDO:0004975");
        assert_eq!(padded("0004975"), "MONDO:0004975");
        assert_eq!(padded("12345678"), "MONDO:12345678");
        assert_eq!(padded("1_2"), "MONDO:1_2");
    }

    proptest! {
        #[test]
        fn parsed_as_the_type_parses(text in "[a-zA-Z _.:/-]{0,6}:?\\PC{0,8}") {
            let written = with_buffers(|[buffer, ..]| push_parsed(buffer, &text).then(|| buffer.clone()));
            prop_assert_eq!(written, text.parse::<Curie>().ok().map(|curie| curie.to_string()));
        }
    }
}
