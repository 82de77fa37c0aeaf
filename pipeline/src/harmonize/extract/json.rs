//! A pass over the bytes of a JSON text: values are told apart and stepped over, nothing is built. All of the text is
//! checked against the grammar (RFC 8259), for what goes through is written on as it is.

use std::borrow::Cow;
use std::ops::Range;

/// Objects and lists in one another.
const MOST_LEVELS: usize = 200;

/// What a value's first byte says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Object,
    Array,
    Text,
    Number,
    Bool,
    Null,
}

/// Why a text is no JSON, and at which byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed {
    pub(super) what: &'static str,
    pub(super) at: usize,
}

/// Said of a text with more levels than are read.
pub(super) const TOO_DEEP: &str = "more than 200 objects and lists in one another";
const ENDS: &str = "the text ends in a value";
const NO_VALUE: &str = "expected a value";
const NO_KEY: &str = "expected a key";
const NO_COLON: &str = "expected ':'";
const NO_END: &str = "expected ',' or the end";
const NO_ESCAPE: &str = "no escape sequence";
const CONTROL: &str = "a control character in a text";
const NO_NUMBER: &str = "no number";
const MORE: &str = "more than one value";

type Result<T> = std::result::Result<T, Malformed>;

/// A pass over a text.
pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0, depth: 0 }
    }

    /// The byte that comes next.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// What comes next.
    #[inline]
    pub(super) fn peek(&mut self) -> Result<Kind> {
        match self.space() {
            Some(b'"') => Ok(Kind::Text),
            Some(b'{') => Ok(Kind::Object),
            Some(b'[') => Ok(Kind::Array),
            Some(b'-' | b'0'..=b'9') => Ok(Kind::Number),
            Some(b't' | b'f') => Ok(Kind::Bool),
            Some(b'n') => Ok(Kind::Null),
            Some(_) => Err(self.error(NO_VALUE)),
            None => Err(self.error(ENDS)),
        }
    }

    /// The first key of an object that comes next; nothing where it is empty.
    pub(super) fn first_key(&mut self) -> Result<Option<Cow<'a, str>>> {
        self.enter()?;
        if self.space() == Some(b'}') {
            self.leave();
            return Ok(None);
        }
        self.key().map(Some)
    }

    /// The next key after a value; nothing where the object ends.
    #[inline]
    pub(super) fn next_key(&mut self) -> Result<Option<Cow<'a, str>>> {
        if self.goes_on(b'}')? {
            self.space();
            return self.key().map(Some);
        }
        Ok(None)
    }

    /// The first element of a list that comes next; nothing where it is empty.
    pub(super) fn first_element(&mut self) -> Result<Option<Kind>> {
        self.enter()?;
        if self.space() == Some(b']') {
            self.leave();
            return Ok(None);
        }
        self.peek().map(Some)
    }

    /// The next element after one; nothing where the list ends.
    pub(super) fn next_element(&mut self) -> Result<Option<Kind>> {
        if self.goes_on(b']')? { self.peek().map(Some) } else { Ok(None) }
    }

    /// The text that comes next, and its bytes where it stands as it is.
    pub(super) fn text(&mut self) -> Result<(Cow<'a, str>, Range<usize>)> {
        let (span, escaped) = self.string()?;
        let text = &self.text[span.clone()];
        Ok((if escaped { Cow::Owned(unescaped(text)) } else { Cow::Borrowed(text) }, span))
    }

    /// Steps over the value that comes next.
    pub(super) fn skip(&mut self, kind: Kind) -> Result<()> {
        match kind {
            Kind::Text => self.string().map(|_| ()),
            Kind::Number => self.number(),
            Kind::Bool if self.byte() == Some(b't') => self.word("true"),
            Kind::Bool => self.word("false"),
            Kind::Null => self.word("null"),
            Kind::Object | Kind::Array => self.skip_all(kind),
        }
    }

    /// Nothing but white space may come after the value.
    pub(super) fn finish(&mut self) -> Result<()> {
        if self.space().is_some() { Err(self.error(MORE)) } else { Ok(()) }
    }

    /// Steps over an object or list with all that is in it.
    fn skip_all(&mut self, mut kind: Kind) -> Result<()> {
        let base = self.depth;
        // Which levels are objects, a bit for each.
        let mut objects = [0u64; MOST_LEVELS / 64 + 1];
        loop {
            match kind {
                Kind::Object | Kind::Array => {
                    self.enter()?;
                    let (word, bit) = (self.depth / 64, 1 << (self.depth % 64));
                    let close = if kind == Kind::Object { b'}' } else { b']' };
                    objects[word] = if kind == Kind::Object { objects[word] | bit } else { objects[word] & !bit };
                    if self.space() != Some(close) {
                        if kind == Kind::Object {
                            self.member()?;
                        }
                        kind = self.peek()?;
                        continue;
                    }
                    self.leave();
                }
                other => self.skip(other)?,
            }
            loop {
                if self.depth == base {
                    return Ok(());
                }
                let is_object = objects[self.depth / 64] >> (self.depth % 64) & 1 == 1;
                if self.goes_on(if is_object { b'}' } else { b']' })? {
                    if is_object {
                        self.space();
                        self.member()?;
                    }
                    kind = self.peek()?;
                    break;
                }
            }
        }
    }

    /// Whether a comma comes next, rather than the bracket.
    #[inline]
    fn goes_on(&mut self, close: u8) -> Result<bool> {
        match self.space() {
            Some(b',') => {
                self.at += 1;
                Ok(true)
            }
            Some(byte) if byte == close => {
                self.leave();
                Ok(false)
            }
            Some(_) => Err(self.error(NO_END)),
            None => Err(self.error(ENDS)),
        }
    }

    fn enter(&mut self) -> Result<()> {
        if self.depth == MOST_LEVELS {
            return Err(self.error(TOO_DEEP));
        }
        self.depth += 1;
        self.at += 1;
        Ok(())
    }

    fn leave(&mut self) {
        self.depth -= 1;
        self.at += 1;
    }

    /// A key and its colon.
    #[inline]
    fn member(&mut self) -> Result<(Range<usize>, bool)> {
        if self.byte() != Some(b'"') {
            return Err(self.error(if self.byte().is_some() { NO_KEY } else { ENDS }));
        }
        let key = self.string()?;
        if self.space() != Some(b':') {
            return Err(self.error(NO_COLON));
        }
        self.at += 1;
        Ok(key)
    }

    #[inline]
    fn key(&mut self) -> Result<Cow<'a, str>> {
        let (span, escaped) = self.member()?;
        let text = &self.text[span];
        Ok(if escaped { Cow::Owned(unescaped(text)) } else { Cow::Borrowed(text) })
    }

    /// Steps over a text; the bytes between its quotes, and whether there are escapes among them.
    #[inline]
    fn string(&mut self) -> Result<(Range<usize>, bool)> {
        self.at += 1;
        let (start, mut escaped) = (self.at, false);
        loop {
            self.at += plain(&self.text.as_bytes()[self.at..]);
            match self.byte() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok((start..self.at - 1, escaped));
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(_) => return Err(self.error(CONTROL)),
                None => return Err(self.error(ENDS)),
            }
        }
    }

    #[cold]
    fn escape(&mut self) -> Result<()> {
        let rest = &self.text.as_bytes()[self.at..];
        let unit = |at: usize| -> Option<u32> {
            let digits = rest.get(at..at + 6)?.strip_prefix(b"\\u")?;
            digits.iter().try_fold(0, |unit, digit| Some(unit << 4 | char::from(*digit).to_digit(16)?))
        };
        let length = match rest.get(1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Some(2),
            Some(b'u') => match unit(0) {
                // Half of a character needs the other half.
                Some(0xD800..0xDC00) => unit(6).filter(|low| (0xDC00..0xE000).contains(low)).map(|_| 12),
                Some(0xDC00..0xE000) | None => None,
                Some(_) => Some(6),
            },
            _ => None,
        };
        self.at += length.ok_or_else(|| self.error(NO_ESCAPE))?;
        Ok(())
    }

    #[inline]
    fn number(&mut self) -> Result<()> {
        if self.byte() == Some(b'-') {
            self.at += 1;
        }
        let zero = self.byte() == Some(b'0');
        let digits = self.digits()?;
        if zero && digits > 1 {
            return Err(self.error(NO_NUMBER));
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.byte(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.byte(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    /// Steps over digits, of which there has to be one.
    #[inline]
    fn digits(&mut self) -> Result<usize> {
        let rest = &self.text.as_bytes()[self.at..];
        let digits = rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
        self.at += digits;
        if digits == 0 { Err(self.error(NO_NUMBER)) } else { Ok(digits) }
    }

    fn word(&mut self, word: &str) -> Result<()> {
        if !self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            return Err(self.error(NO_VALUE));
        }
        self.at += word.len();
        Ok(())
    }

    /// Steps over white space; the byte behind it.
    #[inline]
    fn space(&mut self) -> Option<u8> {
        loop {
            match self.byte() {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.at += 1,
                other => return other,
            }
        }
    }

    #[inline]
    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    #[cold]
    fn error(&self, what: &'static str) -> Malformed {
        Malformed { what, at: self.at }
    }
}

/// How many bytes stand for themselves in a text: before a quote, a backslash or a control character. Eight at a time.
#[inline]
fn plain(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const TOPS: u64 = ONES << 7;
    let mut at = 0;
    while let Some(eight) = bytes[at..].first_chunk() {
        let eight = u64::from_le_bytes(*eight);
        let is = |byte: u8| {
            let other = eight ^ (ONES * u64::from(byte));
            other.wrapping_sub(ONES) & !other
        };
        let control = eight.wrapping_sub(ONES * 0x20) & !eight;
        // A borrow marks bytes behind a true one only.
        let found = (is(b'"') | is(b'\\') | control) & TOPS;
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let special = |byte: &u8| matches!(byte, b'"' | b'\\' | ..0x20);
    at + bytes[at..].iter().position(special).unwrap_or(bytes.len() - at)
}

/// A text without its escapes, which were checked.
#[cold]
fn unescaped(text: &str) -> String {
    serde_json::from_str(&format!("\"{text}\"")).unwrap_or_else(|_| text.to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str) -> Result<()> {
        let mut scanner = Scanner::new(text);
        let kind = scanner.peek()?;
        scanner.skip(kind)?;
        scanner.finish()
    }

    /// What serde_json says of a text; that a number is beyond a double's is not for a pass over bytes to say.
    fn known(text: &str) -> bool {
        match serde_json::from_str::<serde_json::Value>(text) {
            Ok(_) => true,
            Err(error) => error.to_string().starts_with("number out of range"),
        }
    }

    #[test]
    fn the_edges_of_the_grammar() {
        for text in [
            "0",
            "-0",
            "01",
            "-",
            "1.",
            ".5",
            "1e",
            "1E+5",
            "1e999",
            "-1.5e-3",
            "+1",
            "NaN",
            "tru",
            "true",
            "nullx",
            "\"\"",
            "\"\\u00e9\"",
            "\"\\ud83d\\ude00\"",
            "\"\\ud83d\"",
            "\"\\ude00\"",
            "\"\\ud83d\\u0041\"",
            "\"\\x\"",
            "\"\\",
            "\"a\u{1}b\"",
            "\"a\u{7f}é\u{10ffff}\"",
            "\"12345678\\\"\"",
            "[]",
            "[,]",
            "[1,]",
            "[1 2]",
            "{}",
            "{\"a\"}",
            "{\"a\":1,}",
            "{\"a\":1}}",
            "{a:1}",
            " [ { \"a\" : [ ] , \"b\" : { } } ] ",
            "[1}",
            "{\"a\":1]",
            "",
            " ",
            "[[[",
        ] {
            assert_eq!(check(text).is_ok(), known(text), "{text}");
        }
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(check(&nested(200)).is_ok());
        assert_eq!(check(&nested(201)).unwrap_err(), Malformed { what: TOO_DEEP, at: 200 });
        assert_eq!(check(&nested(10_000)).unwrap_err().what, TOO_DEEP);
    }

    proptest! {
        #[test]
        fn agrees_with_serde_json(text in "([\\[\\]{}:,\" ]|\"[ab\\\\un0]{0,9}\"|true|null|-?[01]{1,2}|[.eE+-]|\\PC){0,14}") {
            prop_assert_eq!(check(&text).is_ok(), known(&text), "{}", text);
        }

        #[test]
        fn texts_end_where_they_end(before in "\\PC{0,20}", special in "[\"\\\\\u{0}-\u{1f}]", after in "\\PC{0,20}") {
            let before = before.replace(['"', '\\'], "é");
            prop_assert_eq!(plain(format!("{before}{special}{after}").as_bytes()), before.len());
            prop_assert_eq!(plain(before.as_bytes()), before.len());
        }

        #[test]
        fn texts_are_read(texts in proptest::collection::vec("[\\PC\n\"\\\\]{0,20}", 0..5)) {
            let json = serde_json::to_string(&texts).unwrap();
            let (mut scanner, mut found) = (Scanner::new(&json), Vec::new());
            let mut element = scanner.first_element().unwrap();
            while element.is_some() {
                found.push(scanner.text().unwrap().0.into_owned());
                element = scanner.next_element().unwrap();
            }
            prop_assert!(scanner.finish().is_ok());
            prop_assert_eq!(found, texts);
        }
    }
}
