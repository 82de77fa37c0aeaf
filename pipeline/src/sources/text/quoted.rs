//! Rows of quoted text (RFC 4180): a field may stand in quotes, in which delimiters and line breaks are text and a
//! doubled quote is one.

/// What ends a row.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// A line break, or the end of the text outside of quotes.
    Line,
    /// A quote that is never closed; the row ends at its first line break.
    Unclosed,
}

/// A row that was cut as it stands.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Where its text ends, before the line break.
    pub(crate) end: usize,
    /// Marks up to its line break, that included.
    pub(crate) marks: usize,
    /// Lines that it goes over.
    pub(crate) lines: u64,
}

/// Cuts the row that begins at `start`, if each of its fields stands whole between its quotes or without any: where
/// each is, from `start`. `marks` are where delimiters, quotes and line breaks stand from `start` on. `None` for rows
/// that [`row`] has to read: a quote within a field, text behind a closing one, no line break at the end.
#[inline]
pub(crate) fn cut(
    bytes: &[u8],
    start: usize,
    marks: &[u32],
    delimiter: u8,
    quote: u8,
    fields: &mut Vec<(u32, u32)>,
) -> Option<Cut> {
    let (mut from, mut lines, mut at) = (start, 1, 0);
    loop {
        let mut mark = *marks.get(at)? as usize;
        at += 1;
        // The field's text, and where its separator is.
        let (mut begin, mut end) = (from, mark);
        if mark == from && bytes[mark] == quote {
            begin = from + 1;
            loop {
                mark = *marks.get(at)? as usize;
                at += 1;
                if bytes[mark] == quote {
                    break;
                }
                lines += u64::from(bytes[mark] == b'\n');
            }
            end = mark;
            mark = *marks.get(at)? as usize;
            at += 1;
            let behind = &bytes[end + 1..mark];
            if !behind.is_empty() && (behind != b"\r" || bytes[mark] != b'\n') {
                return None;
            }
        } else if bytes[mark] == b'\n' && end > begin && bytes[end - 1] == b'\r' {
            end -= 1;
        }
        fields.push(((begin - start) as u32, (end - start) as u32));
        match bytes[mark] {
            b'\n' => {
                let text = &bytes[start..mark];
                let end = start + text.strip_suffix(b"\r").unwrap_or(text).len();
                return Some(Cut { end, marks: at, lines });
            }
            byte if byte == delimiter => from = mark + 1,
            _ => return None,
        }
    }
}

/// Reads the row that begins at `start`: where the next one begins, and how it ended. Each field's text, without its
/// quotes, is appended to `text`, and where it ends there to `ends`.
///
/// Text behind a closing quote is kept as it stands; a quote in the middle of an unquoted field is an ordinary
/// character, since free text such as `5" needle` is common.
pub(crate) fn row(
    bytes: &[u8],
    start: usize,
    delimiter: u8,
    quote: u8,
    text: &mut Vec<u8>,
    ends: &mut Vec<u32>,
) -> (usize, End) {
    let (before_text, before_ends) = (text.len(), ends.len());
    let mut at = start;
    loop {
        if bytes.get(at) == Some(&quote) {
            at += 1;
            loop {
                let Some(found) = memchr::memchr(quote, &bytes[at..]) else {
                    text.truncate(before_text);
                    ends.truncate(before_ends);
                    let next = memchr::memchr(b'\n', &bytes[start..]).map_or(bytes.len(), |n| start + n + 1);
                    return (next, End::Unclosed);
                };
                text.extend_from_slice(&bytes[at..at + found]);
                at += found + 1;
                if bytes.get(at) != Some(&quote) {
                    break;
                }
                text.push(quote);
                at += 1;
            }
        }
        let end = memchr::memchr2(delimiter, b'\n', &bytes[at..]).map_or(bytes.len(), |n| at + n);
        let last = bytes.get(end) != Some(&delimiter);
        let mut field = &bytes[at..end];
        if last && field.last() == Some(&b'\r') {
            field = &field[..field.len() - 1];
        }
        text.extend_from_slice(field);
        ends.push(text.len() as u32);
        if last {
            return ((end + 1).min(bytes.len()), End::Line);
        }
        at = end + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rows(bytes: &[u8]) -> Vec<(Vec<String>, End)> {
        let (mut at, mut all) = (0, Vec::new());
        while at < bytes.len() {
            let (mut text, mut ends) = (Vec::new(), Vec::new());
            let (next, end) = row(bytes, at, b',', b'"', &mut text, &mut ends);
            let starts = std::iter::once(0).chain(ends.iter().copied());
            let field = |(a, b): (u32, u32)| String::from_utf8_lossy(&text[a as usize..b as usize]).into_owned();
            all.push((starts.zip(ends.iter().copied()).map(field).collect(), end));
            at = next;
        }
        all
    }

    #[test]
    fn quotes_and_their_faults() {
        let found = rows(b"a,\"b,\"\"c\"\"\nd\",\r\n5\" x,\"q\" y\n,\nz,\"open\nnext");
        let fields: Vec<Vec<&str>> = found.iter().map(|(f, _)| f.iter().map(String::as_str).collect()).collect();
        assert_eq!(fields, [vec!["a", "b,\"c\"\nd", ""], vec!["5\" x", "q y"], vec!["", ""], vec![], vec!["next"]]);
        assert_eq!(found[3].1, End::Unclosed);
    }

    proptest! {
        #[test]
        fn what_csv_writes_is_read(table in proptest::collection::vec(
            proptest::collection::vec("[a\",\n\r é]{0,6}", 1..5), 1..6)
        ) {
            let mut writer = csv::WriterBuilder::new().flexible(true).quote_style(csv::QuoteStyle::Always).from_writer(vec![]);
            for fields in &table {
                writer.write_record(fields).unwrap();
            }
            let bytes = writer.into_inner().unwrap();
            let found: Vec<Vec<String>> = rows(&bytes).into_iter().map(|(fields, _)| fields).collect();
            prop_assert_eq!(found, table);
        }

        #[test]
        fn what_is_cut_is_what_is_read(bytes in "([a é]{0,2}|\"[a,\n]{0,3}\"|\"\"|[,\n\r\"]){0,30}") {
            let (bytes, mut at) = (bytes.as_bytes(), 0);
            let mut marks = Vec::new();
            super::super::split::separators_and_quotes(bytes, b',', b'"', &mut marks);
            while at < bytes.len() {
                let (mut text, mut ends, mut fields) = (Vec::new(), Vec::new(), Vec::new());
                let (next, end) = row(bytes, at, b',', b'"', &mut text, &mut ends);
                let behind = &marks[marks.partition_point(|mark| (*mark as usize) < at)..];
                if let Some(cut) = cut(bytes, at, behind, b',', b'"', &mut fields) {
                    prop_assert_eq!((behind[cut.marks - 1] as usize + 1, End::Line), (next, end));
                    prop_assert_eq!(cut.lines, bytes[at..next].iter().filter(|b| **b == b'\n').count() as u64);
                    let starts = std::iter::once(0).chain(ends.iter().copied());
                    let read: Vec<&[u8]> = starts.zip(&ends).map(|(a, b)| &text[a as usize..*b as usize]).collect();
                    let found: Vec<&[u8]> =
                        fields.iter().map(|(a, b)| &bytes[at + *a as usize..at + *b as usize]).collect();
                    prop_assert_eq!(found, read);
                }
                at = next;
            }
        }

        #[test]
        fn any_bytes_come_to_an_end(bytes in proptest::collection::vec(
            prop_oneof![any::<u8>(), proptest::sample::select(b"\",\n\r".to_vec())], 0..100)
        ) {
            rows(&bytes);
        }
    }
}
