//! General Equivalence Mappings between ICD-9-CM and ICD-10 (CMS): source code, target code, five flags.
//!
//! `2018_I9gem.txt` and its kin are separated by blanks and have no header; NBER's `icd9toicd10cmgem.csv` has one. The
//! flags are approximate, no map, combination, scenario, choice list (CMS, "Diagnosis Code Set General Equivalence
//! Mappings, documentation and user's guide").

use generel_schemas::tables::KG_EDGES;
use generel_schemas::{RejectReason, Table};

use super::super::output::{Edge, Output};
use super::super::recognize::{Head, Likeness};
use super::super::text::delimited::{Delimited, Dialect, Kept, Refused, Row, RowParser, Taken};
use super::super::{InputFile, ReadOptions, Reader, Source};
use super::curies::{self, with_buffers};
use super::icd::{Vocabulary, is_code};
use super::{dialect, separator};
use crate::{Error, Result};

const COLUMNS: &[&str] = &["source", "target", "flags"];
/// Columns of NBER's files that hold codes.
const CODES: [(&str, Vocabulary); 4] = [
    ("icd9cm", Vocabulary::Icd9Diagnosis),
    ("icd10cm", Vocabulary::Icd10Cm),
    ("icd9pcs", Vocabulary::Icd9Procedure),
    ("icd10pcs", Vocabulary::Icd10Pcs),
];

/// The format `icd-gem`.
pub(in super::super) struct IcdGem;

impl Source for IcdGem {
    fn name(&self) -> &'static str {
        "icd-gem"
    }

    fn doc(&self) -> &'static str {
        "General Equivalence Mappings between ICD-9-CM and ICD-10-CM or ICD-10-PCS (2018_I9gem.txt, icd9toicd10cmgem.csv)"
    }

    fn example(&self) -> &'static str {
        "generel ingest --format icd-gem --source gem 2018_I9gem.txt"
    }

    fn tables(&self) -> &'static [&'static Table] {
        &[&KG_EDGES]
    }

    fn recognize(&self, head: &Head) -> Option<Likeness> {
        if has_header(head) {
            return Likeness::new(96, "the header has two ICD code columns and flags");
        }
        let codes = by_shape(head)?;
        let score = if by_name(&head.name) == Some(codes) { 98 } else { 85 };
        Likeness::new(score, "lines of two ICD codes and five flags")
    }

    fn open(&self, file: &InputFile, options: &ReadOptions) -> Result<Reader> {
        let head = Head::read(&file.place)?;
        if has_header(&head) {
            let delimited = Delimited::open(file, options, dialect(&head))?;
            let header = &delimited.header;
            let mut codes: Vec<(usize, Vocabulary)> =
                CODES.iter().filter_map(|(name, vocabulary)| Some((header.find(&[*name])?, *vocabulary))).collect();
            codes.sort_by_key(|(column, _)| *column);
            let flags = header.require(&["flags"])?;
            let [from, to] = codes[..] else {
                return Err(header.error("expected two columns of codes, such as icd9cm and icd10cm"));
            };
            return Ok(delimited.into_reader(Rows { from, to, flags }));
        }
        let Some((from, to)) = by_name(&head.name).or_else(|| by_shape(&head)) else {
            let message =
                "not General Equivalence Mappings: expected lines of a source code, a target code and five flags";
            return Err(Error::format(file.path(), 1, message));
        };
        let delimited = Delimited::open(file, options, Dialect::BLANKS.headless(COLUMNS))?;
        Ok(delimited.into_reader(Rows { from: (0, from), to: (1, to), flags: 2 }))
    }
}

fn has_header(head: &Head) -> bool {
    let columns = head.columns(separator(head));
    let codes = CODES.iter().filter(|(name, _)| columns.iter().any(|column| column == name)).count();
    codes == 2 && columns.iter().any(|column| column == "flags")
}

fn by_name(name: &str) -> Option<(Vocabulary, Vocabulary)> {
    use Vocabulary::{Icd9Diagnosis, Icd9Procedure, Icd10Cm, Icd10Pcs};
    if name.contains("gem_i9pcs") {
        Some((Icd9Procedure, Icd10Pcs))
    } else if name.contains("gem_pcsi9") {
        Some((Icd10Pcs, Icd9Procedure))
    } else if name.contains("i10gem") {
        Some((Icd10Cm, Icd9Diagnosis))
    } else if name.contains("i9gem") {
        Some((Icd9Diagnosis, Icd10Cm))
    } else {
        None
    }
}

/// The first line with a target tells: codes of ICD-10-CM begin with a letter, those of its procedures have seven
/// characters.
fn by_shape(head: &Head) -> Option<(Vocabulary, Vocabulary)> {
    use Vocabulary::{Icd9Diagnosis, Icd9Procedure, Icd10Cm, Icd10Pcs};
    let lines = || head.lines().take(50).map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    let is_row = |row: &[&str]| matches!(row, [from, to, flags] if is_code(from) && to.len() >= 3 && is_flags(flags));
    if !lines().take(5).all(|row| is_row(&row)) {
        return None;
    }
    let row = lines().find(|row| is_row(row) && row.get(1).is_some_and(|to| !is_no_map(to)))?;
    let [from, to, _] = row[..] else { return None };
    let is_number = |text: &str| text.bytes().next().is_some_and(|b| b.is_ascii_digit());
    Some(match (is_number(from), is_number(to)) {
        (true, false) => (Icd9Diagnosis, Icd10Cm),
        (false, true) => (Icd10Cm, Icd9Diagnosis),
        (true, true) if from.len() == 7 => (Icd10Pcs, Icd9Procedure),
        (true, true) if to.len() == 7 => (Icd9Procedure, Icd10Pcs),
        _ => return None,
    })
}

fn is_flags(text: &str) -> bool {
    text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit())
}

/// `NoDx`, `NoPCS`, `NoI9`: no code has this meaning.
fn is_no_map(target: &str) -> bool {
    target.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("no"))
}

struct Rows {
    from: (usize, Vocabulary),
    to: (usize, Vocabulary),
    flags: usize,
}

fn code<'a>(row: &Row<'a>, column: usize) -> Kept<&'a str> {
    let text = row.needed(column)?;
    if is_code(text) || is_no_map(text) {
        return Ok(text);
    }
    Err(Refused::column(column, RejectReason::InvalidIdentifier, "expected an ICD code, letters and digits"))
}

impl RowParser for Rows {
    fn row(&self, row: &Row<'_>, out: &mut Output) -> Kept {
        let (from, to, flags) = (code(row, self.from.0)?, code(row, self.to.0)?, row.needed(self.flags)?);
        if !is_flags(flags) {
            return Err(Refused::column(self.flags, RejectReason::Malformed, "expected five flags, each a digit"));
        }
        let flag = |index: usize| flags.as_bytes().get(index) == Some(&b'1');
        if is_no_map(from) || is_no_map(to) || flag(1) {
            return Ok(Taken::Ignored("no map"));
        }
        with_buffers(|[dotted, subject, object, provenance]| {
            self.from.1.push_dotted(dotted, from);
            curies::push(subject, self.from.1.prefix(), dotted);
            dotted.clear();
            self.to.1.push_dotted(dotted, to);
            curies::push(object, self.to.1.prefix(), dotted);
            provenance.push_str("GEM flags ");
            provenance.push_str(flags);
            out.edge(&Edge {
                subject: Some(subject.as_str()),
                subject_category: Some(self.from.1.category()),
                predicate: Some(if flag(0) { "skos:closeMatch" } else { "skos:exactMatch" }),
                object: Some(object.as_str()),
                object_category: Some(self.to.1.category()),
                provenance: Some(provenance.as_str()),
                ..Edge::default()
            });
        });
        Ok(Taken::Kept)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::testing::{cells, ignored, options, read, rejected};
    use super::*;

    const I9: &str = "0010  A000    00000\r\n0020  A0100   10000\r\n36570 NoDx    11000\r\nE8500 T400X1A 10111\r\n";

    #[test]
    fn mappings_of_diagnoses() {
        for name in ["2018_I9gem.txt", "x.txt"] {
            let chunks = read(&IcdGem, &[(name, I9.as_bytes())], &options()).unwrap();
            assert_eq!(cells(&chunks, "subject"), ["icd9cm:001.0", "icd9cm:002.0", "icd9cm:E850.0"]);
            assert_eq!(cells(&chunks, "object"), ["icd10cm:A00.0", "icd10cm:A01.00", "icd10cm:T40.0X1A"]);
            assert_eq!(cells(&chunks, "predicate"), ["skos:exactMatch", "skos:closeMatch", "skos:closeMatch"]);
            assert_eq!(cells(&chunks, "provenance")[2], "GEM flags 10111");
            assert_eq!(ignored(&chunks), 1);
        }
    }

    #[test]
    fn every_direction() {
        for (name, text, subject, object) in [
            ("2018_I10gem.txt", "A000    0010  00000\n", "icd10cm:A00.0", "icd9cm:001.0"),
            ("x.txt", "A000    0010  00000\n", "icd10cm:A00.0", "icd9cm:001.0"),
            ("gem_i9pcs.txt", "0011  3E0P05Z 10000\n", "icd9cm:00.11", "icd10pcs:3E0P05Z"),
            ("x.txt", "0011  3E0P05Z 10000\n", "icd9cm:00.11", "icd10pcs:3E0P05Z"),
            ("gem_pcsi9.txt", "0016070 022   10000\n", "icd10pcs:0016070", "icd9cm:02.2"),
        ] {
            let chunks = read(&IcdGem, &[(name, text.as_bytes())], &options()).unwrap();
            assert_eq!(
                (cells(&chunks, "subject"), cells(&chunks, "object")),
                (vec![subject.into()], vec![object.into()])
            );
        }
    }

    #[test]
    fn nber_writes_csv() {
        let text = "\"icd9cm\",\"icd10cm\",\"flags\",\"approximate\",\"no_map\"\n\"0010\",\"A000\",\"00000\",0,0\n\
                    \"36570\",\"NoDx\",\"11000\",1,1\n\"0010\",\"A000\",\"0\",0,0\n";
        let chunks = read(&IcdGem, &[("icd9toicd10cmgem.csv", text.as_bytes())], &options()).unwrap();
        assert_eq!(cells(&chunks, "object"), ["icd10cm:A00.0"]);
        assert_eq!(ignored(&chunks), 1);
        assert_eq!(rejected(&chunks), [(4, "flags", RejectReason::Malformed)]);
    }

    #[test]
    fn bad_rows_are_rejected() {
        let text = format!("{I9}0010 ?? 00000\n0010 A000\n0010 A000 0000x\n");
        let chunks = read(&IcdGem, &[("2018_I9gem.txt", text.as_bytes())], &options()).unwrap();
        assert_eq!(
            rejected(&chunks),
            [
                (5, "target", RejectReason::InvalidIdentifier),
                (6, "-", RejectReason::ColumnCount),
                (7, "flags", RejectReason::Malformed)
            ]
        );
        assert!(read(&IcdGem, &[("x.txt", b"a b c\n")], &options()).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_balance(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let text = [I9.as_bytes(), &bytes].concat();
            let _ = read(&IcdGem, &[("2018_I9gem.txt", &text)], &options()).unwrap();
            let _ = read(&IcdGem, &[("x.txt", &bytes)], &options());
        }
    }
}
