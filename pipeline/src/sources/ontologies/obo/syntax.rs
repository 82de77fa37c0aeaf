//! The text syntax of OBO: lines, values, comments, quotes and escapes.

use generel_schemas::tables::NameType;

use super::super::terms::is_abbreviation;

/// What is wrong with a line of a stanza.
#[derive(Debug)]
pub(super) enum Bad {
    Missing,
    Repeated,
    Utf8,
    Syntax(&'static str),
}

pub(super) type Taken<T = ()> = std::result::Result<T, Bad>;

/// A value without its trailing ` ! comment` and `{qualifiers}`.
pub(super) struct Value<'a> {
    pub(super) body: &'a str,
    pub(super) comment: Option<&'a str>,
}

impl<'a> Value<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        let text = text.trim();
        // A name may hold a lone quote (5" tube): then quotes hide nothing.
        let marks = Marks::find(text, true).or_else(|| Marks::find(text, false)).unwrap_or_default();
        let (body, comment) = match marks.comment {
            Some(at) => (text[..at].trim_end(), Some(text[at + 1..].trim()).filter(|c| !c.is_empty())),
            None => (text, None),
        };
        let body = match (marks.open, marks.close) {
            // Chemical names end in braces too; qualifiers are told from them by the = within.
            (Some(open), Some(close)) if close + 1 == body.len() && body[open..close].contains('=') => {
                body[..open].trim_end()
            }
            _ => body,
        };
        Self { body, comment }
    }
}

/// Byte positions of what ends a value: all of ASCII characters, so that a text can be cut there.
#[derive(Default)]
struct Marks {
    comment: Option<usize>,
    open: Option<usize>,
    close: Option<usize>,
}

impl Marks {
    /// `None` if a quote stays open.
    fn find(text: &str, quotes: bool) -> Option<Self> {
        let bytes = text.as_bytes();
        let (mut marks, mut in_quotes, mut i) = (Self::default(), false, 0);
        while i < bytes.len() {
            let after_blank = i == 0 || bytes[i - 1].is_ascii_whitespace();
            match bytes[i] {
                b'\\' => i += 1,
                b'"' if quotes => in_quotes = !in_quotes,
                _ if in_quotes => {}
                b'!' if after_blank && bytes.get(i + 1).is_none_or(u8::is_ascii_whitespace) => {
                    marks.comment = Some(i);
                    break;
                }
                b'{' if after_blank => marks.open = Some(i),
                b'}' => marks.close = Some(i),
                _ => {}
            }
            i += 1;
        }
        (!in_quotes).then_some(marks)
    }
}

/// The word in a `[Stanza]` line.
pub(super) fn stanza_kind(line: &str) -> Option<&str> {
    let line = line.split_once(" !").map_or(line, |(header, _)| header);
    let kind = line.trim().strip_prefix('[')?.strip_suffix(']')?;
    (!kind.is_empty() && kind.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')).then_some(kind)
}

pub(super) fn tag_value(line: &str) -> Option<(&str, &str)> {
    let (tag, value) = line.split_once(':')?;
    let is_tag = !tag.is_empty() && tag.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
    (is_tag && (value.is_empty() || value.starts_with([' ', '\t']))).then_some((tag, value))
}

/// Where an xref's label begins: at an unescaped quote after a blank, or at the very start.
pub(super) fn label_start(body: &str) -> Option<usize> {
    let bytes = body.as_bytes();
    let mut i = 0;
    while i < bytes.len() {
        match bytes[i] {
            b'\\' => i += 1,
            b'"' if i == 0 || bytes[i - 1].is_ascii_whitespace() => return Some(i),
            _ => {}
        }
        i += 1;
    }
    None
}

/// The unescaped text within leading quotes, and what follows them.
pub(super) fn quoted(text: &str) -> Option<(String, &str)> {
    let inner = text.strip_prefix('"')?;
    let bytes = inner.as_bytes();
    let mut i = 0;
    while i < bytes.len() {
        match bytes[i] {
            b'\\' => i += 1,
            b'"' => return Some((unescape(&inner[..i]).trim().to_string(), &inner[i + 1..])),
            _ => {}
        }
        i += 1;
    }
    None
}

pub(super) fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            plain.push(c);
            continue;
        }
        match chars.next() {
            Some('n' | 't' | 'W') => plain.push(' '),
            Some(other) => plain.push(other),
            None => plain.push('\\'),
        }
    }
    plain
}

pub(super) fn synonym(body: &str) -> Taken<(String, NameType)> {
    let (name, rest) = quoted(body).ok_or(Bad::Syntax("expected the synonym in quotes"))?;
    if name.is_empty() {
        return Err(Bad::Missing);
    }
    let mut words = rest.split('[').next().unwrap_or_default().split_whitespace();
    let name_type = match (words.next(), words.next()) {
        (Some("EXACT"), Some(kind)) if is_abbreviation(kind) => NameType::Abbreviation,
        (Some("EXACT"), _) => NameType::Exact,
        (Some("NARROW"), _) => NameType::Narrow,
        (Some("BROAD"), _) => NameType::Broad,
        (Some("RELATED") | None, _) => NameType::Related,
        (Some(_), _) => return Err(Bad::Syntax("expected EXACT, NARROW, BROAD or RELATED after the synonym")),
    };
    Ok((name, name_type))
}

/// OBO 1.0 has the scope in the tag: `exact_synonym: "text" []`.
pub(super) fn old_synonym(tag: &str, body: &str) -> Taken<(String, NameType)> {
    let (name, _) = quoted(body).ok_or(Bad::Syntax("expected the synonym in quotes"))?;
    let name_type = match tag {
        "exact_synonym" => NameType::Exact,
        "narrow_synonym" => NameType::Narrow,
        "broad_synonym" => NameType::Broad,
        _ => NameType::Related,
    };
    if name.is_empty() { Err(Bad::Missing) } else { Ok((name, name_type)) }
}

pub(super) fn truth(body: &str) -> Taken<bool> {
    match body {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(Bad::Syntax("expected true or false")),
    }
}

pub(super) fn set_once(slot: &mut Option<String>, body: &str) -> Taken {
    let text = unescape(body).trim().to_string();
    match slot {
        _ if text.is_empty() => Err(Bad::Missing),
        Some(_) => Err(Bad::Repeated),
        None => {
            *slot = Some(text);
            Ok(())
        }
    }
}

pub(super) fn non_empty(text: String) -> Option<String> {
    Some(text).filter(|t| !t.is_empty())
}
