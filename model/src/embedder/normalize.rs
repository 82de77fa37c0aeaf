//! Text normalization: part of a model's identity (see `store::NORMALIZATION`).

use std::borrow::Cow;

use unicode_normalization::{UnicodeNormalization, is_nfkc};

/// NFKC, whitespace runs to one blank, trimmed. Case stays: the tokenizer decides about it.
pub fn normalize(text: &str) -> Cow<'_, str> {
    let plain = text.is_ascii() || is_nfkc(text);
    if plain && is_single_spaced(text) {
        return Cow::Borrowed(text);
    }
    let composed: Cow<'_, str> = if plain { Cow::Borrowed(text) } else { Cow::Owned(text.nfkc().collect()) };
    let mut out = String::with_capacity(composed.len());
    for word in composed.split_whitespace() {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
    }
    Cow::Owned(out)
}

/// Whether the only whitespace is single blanks between words.
fn is_single_spaced(text: &str) -> bool {
    let mut last_blank = true;
    for c in text.chars() {
        if c.is_whitespace() {
            if last_blank || c != ' ' {
                return false;
            }
            last_blank = true;
        } else {
            last_blank = false;
        }
    }
    !last_blank || text.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn composes_and_collapses() {
        assert_eq!(normalize("  chronic   kidney\tdisease\n"), "chronic kidney disease");
        assert_eq!(normalize("ﬁbrosis"), "fibrosis");
        assert_eq!(normalize("Me\u{301}nie\u{300}re"), "Ménière");
        assert_eq!(normalize("\u{a0}\u{2003} "), "");
        assert!(matches!(normalize("heart attack"), Cow::Borrowed(_)));
    }

    proptest! {
        #[test]
        fn is_idempotent(text in "\\PC{0,30}") {
            let once = normalize(&text).into_owned();
            prop_assert_eq!(normalize(&once), once.as_str());
        }
    }
}
