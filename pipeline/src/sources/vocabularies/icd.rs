//! ICD code files as CMS and the CDC publish them: ICD-9-CM version 32, ICD-10-CM, ICD-10-PCS.
//!
//! Fixed width, no header: `icd10cm_codes_YYYY.txt` and `CMS32_DESC_LONG_DX.txt` have a code and a description,
//! `icd10cm_order_YYYY.txt` an order number, a code, whether it is billable, a short and a long description. Codes stand
//! without their dot, which is put back: as it stands in records and in other vocabularies. Files of short descriptions
//! (`CMS32_DESC_SHORT_DX.txt`) only add names to the codes of their long siblings.

use std::borrow::Cow;

use generel_schemas::tables::{CONCEPT_NAMES, CONCEPTS, NameType};
use generel_schemas::{RejectReason, RejectedRow, Table};

use super::super::output::{Concept, Output};
use super::super::recognize::{Head, Likeness};
use super::super::text::delimited::Taken;
use super::super::text::lines::Lines;
use super::super::{Chunk, ChunkReader, InputFile, ReadOptions, Reader, Source};
use super::ENGLISH;
use super::curies::{self, with_buffers};
use crate::{Error, Result};

/// Lines that tell which file this is.
const LINES: usize = 50;

/// The format `icd`.
pub(in super::super) struct Icd;

/// What a code is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Vocabulary {
    Icd9Diagnosis,
    Icd9Procedure,
    Icd10Cm,
    Icd10Pcs,
}

impl Vocabulary {
    pub(super) fn prefix(self) -> &'static str {
        match self {
            Self::Icd9Diagnosis | Self::Icd9Procedure => "icd9cm",
            Self::Icd10Cm => "icd10cm",
            Self::Icd10Pcs => "icd10pcs",
        }
    }

    pub(super) fn category(self) -> &'static str {
        match self {
            Self::Icd9Diagnosis | Self::Icd10Cm => "diagnosis",
            Self::Icd9Procedure | Self::Icd10Pcs => "procedure",
        }
    }

    /// Appends a code with its dot.
    pub(super) fn push_dotted(self, buffer: &mut String, code: &str) {
        let before_dot = match self {
            Self::Icd9Procedure => Some(2),
            Self::Icd9Diagnosis if code.starts_with(['E', 'e']) => Some(4),
            Self::Icd9Diagnosis | Self::Icd10Cm => Some(3),
            Self::Icd10Pcs => None,
        };
        let parts =
            before_dot.filter(|at| code.len() > *at && !code.contains('.')).and_then(|at| code.split_at_checked(at));
        match parts {
            Some((category, rest)) => {
                buffer.push_str(category);
                buffer.push('.');
                buffer.push_str(rest);
            }
            None => buffer.push_str(code),
        }
    }
}

/// Whether a text can be a code of one of the vocabularies. A few of ICD-10-PCS have no digit: `DHYBFZZ`.
pub(super) fn is_code(text: &str) -> bool {
    (2..=8).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.')
        && (text.bytes().any(|b| b.is_ascii_digit()) || text.len() == 7 && text.bytes().all(|b| b.is_ascii_uppercase()))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// A code, blanks, a description.
    Codes,
    /// Order number, code, flag, short and long description.
    Order,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct File {
    layout: Layout,
    vocabulary: Vocabulary,
    /// Whether its descriptions are abbreviated.
    short: bool,
}

impl Source for Icd {
    fn name(&self) -> &'static str {
        "icd"
    }

    fn doc(&self) -> &'static str {
        "ICD-9-CM, ICD-10-CM or ICD-10-PCS code file of CMS: icd10cm_order_*.txt, icd10cm_codes_*.txt, CMS32_DESC_*.txt"
    }

    fn example(&self) -> &'static str {
        "generel ingest --format icd --source icd10cm icd10cm_order_2026.txt"
    }

    fn tables(&self) -> &'static [&'static Table] {
        &[&CONCEPTS, &CONCEPT_NAMES]
    }

    fn recognize(&self, head: &Head) -> Option<Likeness> {
        if head.name.contains("addenda") {
            return None;
        }
        match (by_name(&head.name), by_shape(head)) {
            (Some(named), Some(shaped)) if named.layout == shaped.layout => {
                Likeness::new(98, "an ICD code file, by name and columns")
            }
            (None, Some(File { layout: Layout::Order, .. })) => {
                Likeness::new(92, "order number, ICD code, flag and descriptions in fixed columns")
            }
            (None, Some(_)) => Likeness::new(70, "lines of an ICD code and a description in fixed columns"),
            _ => None,
        }
    }

    fn open(&self, file: &InputFile, options: &ReadOptions) -> Result<Reader> {
        let head = Head::read(&file.place)?;
        if head.name.contains("addenda") {
            let message = "addenda are not read: ingest the full code or order file of the new year";
            return Err(Error::format(file.path(), 1, message));
        }
        let Some(kind) = by_name(&head.name).or_else(|| by_shape(&head)) else {
            let message = "not an ICD code file: expected lines of a code and a description in fixed columns";
            return Err(Error::format(file.path(), 1, message));
        };
        let lines = Lines::new(file.reader(options.encoding)?, file.path().to_path_buf());
        Ok(Reader::Chunks(Box::new(IcdReader { lines, file: kind, chunk_rows: options.chunk_rows.max(1) as u64 })))
    }
}

/// What the names that CMS gives its files say.
fn by_name(name: &str) -> Option<File> {
    let name = name.replace('-', "_");
    let (layout, vocabulary) = if name.starts_with("cms") && name.contains("_desc_") {
        let is_procedures = name.contains("_sg");
        (Layout::Codes, if is_procedures { Vocabulary::Icd9Procedure } else { Vocabulary::Icd9Diagnosis })
    } else {
        let vocabulary = if name.starts_with("icd10cm_") {
            Vocabulary::Icd10Cm
        } else if name.starts_with("icd10pcs_") {
            Vocabulary::Icd10Pcs
        } else {
            return None;
        };
        let is_order = name.contains("_order");
        if !is_order && !name.contains("_codes") {
            return None;
        }
        (if is_order { Layout::Order } else { Layout::Codes }, vocabulary)
    };
    Some(File { layout, vocabulary, short: name.contains("_short_") })
}

/// What the first lines say, all of them. ICD-9-CM pads diagnoses to five characters and procedures to four.
fn by_shape(head: &Head) -> Option<File> {
    let lines: Vec<&str> = head.lines().filter(|line| !line.trim().is_empty()).take(LINES).collect();
    // The last line may be cut.
    let lines = if lines.len() > 1 && lines.len() < LINES { &lines[..lines.len() - 1] } else { &lines[..] };
    let all = |is: fn(&str) -> bool| !lines.is_empty() && lines.iter().all(|line| is(line));
    let first = lines.first()?;
    let starts_with_digit = |text: &str| text.bytes().next().is_some_and(|b| b.is_ascii_digit());
    let (layout, vocabulary) = if all(is_order) {
        let is_pcs = starts_with_digit(part(first, 6, Some(13)));
        (Layout::Order, if is_pcs { Vocabulary::Icd10Pcs } else { Vocabulary::Icd10Cm })
    } else if all(|line| is_padded(line, 7)) {
        let is_pcs = starts_with_digit(first);
        (Layout::Codes, if is_pcs { Vocabulary::Icd10Pcs } else { Vocabulary::Icd10Cm })
    } else if all(|line| is_padded(line, 5)) {
        (Layout::Codes, Vocabulary::Icd9Diagnosis)
    } else if all(|line| is_padded(line, 4)) {
        (Layout::Codes, Vocabulary::Icd9Procedure)
    } else {
        return None;
    };
    Some(File { layout, vocabulary, short: false })
}

fn is_order(line: &str) -> bool {
    let number = part(line, 0, Some(5));
    number.len() == 5
        && number.bytes().all(|b| b.is_ascii_digit())
        && line.as_bytes().get(5) == Some(&b' ')
        && is_code(part(line, 6, Some(13)))
        && matches!(part(line, 14, Some(15)), "0" | "1")
}

/// Whether a line is a code, padded to a width, a blank and a description; a mapping has another code there.
fn is_padded(line: &str, width: usize) -> bool {
    is_code(part(line, 0, Some(width)))
        && line.bytes().skip(width).any(|b| b.is_ascii_lowercase())
        && line.as_bytes().get(width) == Some(&b' ')
        && line.as_bytes().get(width + 1).is_some_and(|b| !b.is_ascii_whitespace())
}

/// The characters of a line in a range of columns, trimmed; empty where the line is shorter.
fn part(line: &str, from: usize, to: Option<usize>) -> &str {
    // Columns count characters, not bytes.
    let at = |column: usize| line.char_indices().nth(column).map_or(line.len(), |(at, _)| at);
    let end = to.map_or(line.len(), at);
    line.get(at(from)..end).unwrap_or_default().trim()
}

/// A row: what its columns say.
struct Row<'a> {
    code: &'a str,
    description: &'a str,
    short: Option<&'a str>,
}

impl<'a> Row<'a> {
    fn of(line: &'a str, layout: Layout) -> std::result::Result<Self, (&'static str, RejectReason, &'static str)> {
        let missing = |column| (column, RejectReason::MissingValue, "a value is needed");
        let (code, description, short) = match layout {
            Layout::Codes => {
                let line = line.trim();
                let (code, description) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
                (code, description.trim(), None)
            }
            Layout::Order => {
                if !is_order(line) {
                    let message = "expected an order number, a code, 0 or 1 and descriptions in fixed columns";
                    return Err(("order", RejectReason::Malformed, message));
                }
                (part(line, 6, Some(13)), part(line, 77, None), Some(part(line, 16, Some(76))))
            }
        };
        if !is_code(code) {
            return Err(("code", RejectReason::InvalidIdentifier, "expected an ICD code, letters and digits"));
        }
        if description.is_empty() {
            return Err(missing("description"));
        }
        let short = short.filter(|short| !short.is_empty() && *short != description);
        Ok(Self { code, description, short })
    }
}

struct IcdReader {
    lines: Lines,
    file: File,
    chunk_rows: u64,
}

impl ChunkReader for IcdReader {
    fn next_chunk(&mut self) -> Result<Option<Chunk>> {
        let (mut chunk, mut out) = (Chunk::default(), Output::default());
        while chunk.rows_read < self.chunk_rows && self.lines.advance()? {
            let line = decoded(self.lines.line());
            if line.trim().is_empty() {
                continue;
            }
            chunk.rows_read += 1;
            match Row::of(&line, self.file.layout) {
                Ok(row) => {
                    self.file.push(&row, &mut out);
                    chunk.take(Taken::Kept);
                }
                Err((column, reason, message)) => {
                    let torn = !self.lines.terminated();
                    chunk.rejected.push(RejectedRow {
                        line: self.lines.number(),
                        column: Some(column.to_string()),
                        reason: if torn { RejectReason::TornLine } else { reason },
                        message: message.to_string(),
                        raw: line.into_owned(),
                    });
                }
            }
        }
        if chunk.rows_read == 0 {
            return Ok(None);
        }
        out.finish_into(&mut chunk)?;
        Ok(Some(chunk))
    }
}

impl File {
    fn push(self, row: &Row<'_>, out: &mut Output) {
        with_buffers(|[code, curie, ..]| {
            self.vocabulary.push_dotted(code, row.code);
            if self.short {
                return out.name(code, row.description, NameType::Exact, ENGLISH);
            }
            curies::push(curie, self.vocabulary.prefix(), code);
            out.concept(&Concept {
                code: Some(code.as_str()),
                curie: Some(curie.as_str()),
                name: Some(row.description),
                category: Some(self.vocabulary.category()),
                definition: None,
                obsolete: Some(false),
            });
            out.name(code, row.description, NameType::Label, ENGLISH);
            if let Some(short) = row.short {
                out.name(code, short, NameType::Exact, ENGLISH);
            }
        });
    }
}

/// CMS writes accents in Windows-1252.
fn decoded(line: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(line) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => encoding_rs::WINDOWS_1252.decode_without_bom_handling(line).0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::testing::{cells, options, read, rejected, table_cells};
    use super::*;

    const ORDER: &str = "\
00001 A00     0 Cholera                                                      Cholera\r
00004 A009    1 Cholera NOS                                                  Cholera, unspecified\r
";

    fn file(name: &str, text: &[u8]) -> Vec<Chunk> {
        read(&Icd, &[(name, text)], &options()).unwrap()
    }

    #[test]
    fn order_files_have_short_and_long_names() {
        for name in ["icd10cm_order_2019.txt", "unnamed.txt"] {
            let chunks = file(name, ORDER.as_bytes());
            assert_eq!(table_cells(&chunks, &CONCEPTS, "code"), ["A00", "A00.9"]);
            assert_eq!(cells(&chunks, "curie"), ["icd10cm:A00", "icd10cm:A00.9"]);
            assert_eq!(cells(&chunks, "category"), ["diagnosis"; 2]);
            assert_eq!(
                table_cells(&chunks, &CONCEPT_NAMES, "name"),
                ["Cholera", "Cholera, unspecified", "Cholera NOS"]
            );
            assert_eq!(cells(&chunks, "name_type"), ["label", "label", "exact"]);
        }
    }

    #[test]
    fn code_files_of_every_vocabulary() {
        for (name, text, curie) in [
            ("icd10cm_codes_2019.txt", "A0100   Typhoid fever, unspecified\r\n", "icd10cm:A01.00"),
            ("x.txt", "A0100   Typhoid fever, unspecified\r\n", "icd10cm:A01.00"),
            ("icd10pcs_codes_2018.txt", "0016070 Bypass, Open Approach\n", "icd10pcs:0016070"),
            ("icd10pcs_codes_2018.txt", "DHYBFZZ Plaque Radiation of Leg Skin\n", "icd10pcs:DHYBFZZ"),
            ("x.txt", "0016070 Bypass, Open Approach\n", "icd10pcs:0016070"),
            ("CMS32_DESC_LONG_DX.txt", "V1041 Hx of cancer\n", "icd9cm:V10.41"),
            ("CMS32_DESC_LONG_DX.txt", "E8500 Poisoning\n", "icd9cm:E850.0"),
            ("x.txt", "0010  Cholera due to vibrio cholerae\n", "icd9cm:001.0"),
            ("CMS32_DESC_LONG_SG.txt", "0001 Therapeutic ultrasound\n", "icd9cm:00.01"),
            ("x.txt", "0001 Therapeutic ultrasound\n", "icd9cm:00.01"),
        ] {
            assert_eq!(cells(&file(name, text.as_bytes()), "curie"), [curie], "{name} {text}");
        }
    }

    #[test]
    fn short_descriptions_only_add_names() {
        let chunks = file("CMS32_DESC_SHORT_DX.txt", b"0010  Cholera d/t vib cholerae\n");
        assert!(table_cells(&chunks, &CONCEPTS, "code").is_empty());
        assert_eq!(cells(&chunks, "name"), ["Cholera d/t vib cholerae"]);
        assert_eq!(cells(&chunks, "name_type"), ["exact"]);
    }

    #[test]
    fn accents_are_windows_1252() {
        let chunks = file("CMS32_DESC_LONG_DX.txt", b"38600 M\xe9ni\xe8re's disease\n38601 M\xc3\xa9ni\xc3\xa8re\n");
        assert_eq!(table_cells(&chunks, &CONCEPT_NAMES, "name"), ["M\u{e9}ni\u{e8}re's disease", "M\u{e9}ni\u{e8}re"]);
    }

    #[test]
    fn bad_lines_are_rejected() {
        let text = format!("{ORDER}A01 without an order number\n\n00005 A010    1 Typhoid");
        let chunks = file("icd10cm_order_2019.txt", text.as_bytes());
        assert_eq!(
            rejected(&chunks),
            [(3, "order", RejectReason::Malformed), (5, "description", RejectReason::TornLine)]
        );
        let chunks = file("icd10cm_codes_2019.txt", b"A00\n?! what\n");
        assert_eq!(
            rejected(&chunks),
            [(1, "description", RejectReason::MissingValue), (2, "code", RejectReason::InvalidIdentifier)]
        );
    }

    #[test]
    fn addenda_and_other_files_are_refused() {
        assert!(read(&Icd, &[("icd10cm_order_addenda_2019.txt", ORDER.as_bytes())], &options()).is_err());
        assert!(read(&Icd, &[("x.txt", b"a,b,c\n1,2,3\n")], &options()).is_err());
        let head = |name: &str, text: &str| Head { name: name.to_string(), text: text.to_string() };
        assert_eq!(Icd.recognize(&head("icd10cm_order_2019.txt", ORDER)).map(|l| l.score), Some(98));
        assert_eq!(Icd.recognize(&head("x.txt", "SNP A1 A2 BETA P\nrs1 A G 0.1 0.5\n")), None);
        assert_eq!(Icd.recognize(&head("2018_i9gem.txt", "0010  A000    00000\n0011  A001    00000\n")), None);
    }

    proptest! {
        #[test]
        fn any_bytes_balance(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            for (name, text) in [("icd10cm_order_2019.txt", ORDER), ("CMS32_DESC_LONG_DX.txt", "0010  Cholera\n")] {
                let text = [text.as_bytes(), &bytes].concat();
                let _ = read(&Icd, &[(name, &text)], &options()).unwrap();
            }
            let _ = read(&Icd, &[("x.txt", &bytes)], &options());
        }
    }
}
