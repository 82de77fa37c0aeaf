//! UMLS Metathesaurus in Rich Release Format: `MRCONSO.RRF`, `MRREL.RRF`, `MRSTY.RRF`.
//!
//! Pipe-delimited with a pipe at the end of each line, no header, no quotes, UTF-8. Columns, values and the direction of
//! relations are those of the UMLS Reference Manual (NLM, chapter 3: "REL: relationship of second concept or atom to
//! first concept or atom").

use std::path::Path;

use generel_schemas::tables::{CONCEPT_NAMES, CONCEPTS, HAS_DB_XREF, KG_EDGES, NameType, SUB_CLASS_OF};
use generel_schemas::{RejectReason, Table};

use super::super::output::{Concept, Edge, Output};
use super::super::recognize::{Head, Likeness};
use super::super::text::delimited::{Delimited, Delimiter, Dialect, Kept, Refused, Row, RowParser, Taken};
use super::super::{Found, InputFile, Place, ReadOptions, Reader, Source};
use super::curies::{self, with_buffers};
use crate::{Error, Result};

/// Columns of `MRCONSO.RRF`: one row an atom. The last is what stands behind the pipe that ends a line.
const MRCONSO: &[&str] = &[
    "CUI", "LAT", "TS", "LUI", "STT", "SUI", "ISPREF", "AUI", "SAUI", "SCUI", "SDUI", "SAB", "TTY", "CODE", "STR",
    "SRL", "SUPPRESS", "CVF", "",
];
/// Columns of `MRREL.RRF`: one row a relation in one direction.
const MRREL: &[&str] = &[
    "CUI1", "AUI1", "STYPE1", "REL", "CUI2", "AUI2", "STYPE2", "RELA", "RUI", "SRUI", "SAB", "SL", "RG", "DIR",
    "SUPPRESS", "CVF", "",
];
/// Columns of `MRSTY.RRF`: one row a semantic type of a concept.
const MRSTY: &[&str] = &["CUI", "TUI", "STN", "STY", "ATUI", "CVF", ""];
/// What the files' names begin with, in the order in which a folder is read.
const FILES: [(&str, File); 3] = [("mrconso", File::Atoms), ("mrrel", File::Relations), ("mrsty", File::Types)];
/// Term types that are short forms (UMLS, "Abbreviations used in data elements", TTY).
const ABBREVIATIONS: [&str; 7] = ["AB", "ACR", "MTH_ACR", "SSN", "RAB", "VAB", "AA"];
/// Vocabularies that are the Metathesaurus itself: their codes refer to nothing outside.
const OWN: [&str; 2] = ["MTH", "SRC"];

/// The format `umls`.
pub(in super::super) struct Umls;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum File {
    Atoms,
    Relations,
    Types,
}

impl File {
    fn columns(self) -> &'static [&'static str] {
        match self {
            Self::Atoms => MRCONSO,
            Self::Relations => MRREL,
            Self::Types => MRSTY,
        }
    }
}

impl Source for Umls {
    fn name(&self) -> &'static str {
        "umls"
    }

    fn doc(&self) -> &'static str {
        "UMLS Metathesaurus, the META folder or one of MRCONSO.RRF, MRREL.RRF, MRSTY.RRF; suppressed rows are left out"
    }

    fn example(&self) -> &'static str {
        "generel ingest --format umls --source umls 2025AB/META/"
    }

    fn tables(&self) -> &'static [&'static Table] {
        &[&CONCEPTS, &CONCEPT_NAMES, &KG_EDGES]
    }

    fn recognize(&self, head: &Head) -> Option<Likeness> {
        match (by_name(&head.name), by_shape(head)) {
            (Some(named), Some(shaped)) if named == shaped => Likeness::new(99, "a UMLS table, by name and columns"),
            (_, Some(_)) => Likeness::new(92, "rows like those of a UMLS table, CUI first"),
            _ => None,
        }
    }

    fn files(&self, found: &Found) -> Result<Vec<InputFile>> {
        match found {
            Found::File(place) => Ok(vec![InputFile::open(place)?]),
            Found::Folder(path, places) => {
                let mut files = tables_in(places)?;
                if files.is_empty() {
                    files = tables_in(&meta(path)?)?;
                }
                if files.is_empty() {
                    let message = format!("{}: no MRCONSO.RRF, MRREL.RRF or MRSTY.RRF in it", path.display());
                    return Err(Error::Invalid(message));
                }
                Ok(files)
            }
        }
    }

    fn open(&self, file: &InputFile, options: &ReadOptions) -> Result<Reader> {
        let head = Head::read(&file.place)?;
        let Some(kind) = by_name(&head.name).or_else(|| by_shape(&head)) else {
            let message = "not UMLS: expected the columns of MRCONSO.RRF, MRREL.RRF or MRSTY.RRF";
            return Err(Error::format(file.path(), 1, message));
        };
        let pipes = Dialect { delimiter: Delimiter::Byte(b'|'), ..Dialect::TSV };
        let delimited = Delimited::open(file, options, pipes.headless(kind.columns()))?;
        Ok(match kind {
            File::Atoms => delimited.into_reader(Atoms),
            File::Relations => delimited.into_reader(Relations),
            File::Types => delimited.into_reader(Types),
        })
    }
}

/// The tables among some files. Releases cut large tables in parts: `MRCONSO.RRF.aa.gz`.
fn tables_in(places: &[Place]) -> Result<Vec<InputFile>> {
    let mut files = Vec::new();
    for (_, kind) in FILES {
        for place in places.iter().filter(|p| by_name(&p.bare_name().to_ascii_lowercase()) == Some(kind)) {
            files.push(InputFile::open(place)?);
        }
    }
    Ok(files)
}

/// What is in a release's folder META.
fn meta(release: &Path) -> Result<Vec<Place>> {
    let folder = release.join("META");
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    Ok(match Found::resolve(&folder.display().to_string(), &[])?.pop() {
        Some(Found::Folder(_, places)) => places,
        _ => Vec::new(),
    })
}

fn by_name(name: &str) -> Option<File> {
    let (table, extension) = name.split_once('.')?;
    let known = FILES.iter().find(|(known, _)| *known == table)?;
    (extension == "rrf" || extension.starts_with("rrf.")).then_some(known.1)
}

fn by_shape(head: &Head) -> Option<File> {
    let fields: Vec<&str> = head.lines().next()?.split('|').collect();
    let kind = FILES.iter().map(|(_, kind)| *kind).find(|kind| kind.columns().len() == fields.len())?;
    let type_id = kind != File::Types || is_numbered(fields.get(1)?, b'T', 3);
    (is_numbered(fields.first()?, b'C', 7) && type_id).then_some(kind)
}

/// A letter and a number of so many digits: `C0011860`, `T047`.
fn is_numbered(text: &str, letter: u8, digits: usize) -> bool {
    match text.as_bytes().split_first() {
        Some((first, rest)) => *first == letter && rest.len() == digits && rest.iter().all(u8::is_ascii_digit),
        None => false,
    }
}

fn cui<'a>(row: &Row<'a>, column: usize) -> Kept<&'a str> {
    let text = row.needed(column)?;
    if is_numbered(text, b'C', 7) {
        return Ok(text);
    }
    Err(Refused::column(column, RejectReason::InvalidIdentifier, "expected a CUI: C and seven digits"))
}

/// `O` obsolete, `Y` suppressed by the editors, `E` by an editor's decision on the whole term type.
fn is_suppressed(flag: &str) -> bool {
    matches!(flag, "O" | "Y" | "E")
}

/// BCP 47 tag of a language as `LAT` has it (MARC's codes, most of them bibliographic).
fn language(lat: &str) -> &'static str {
    match lat {
        "ENG" => "en",
        "ARA" => "ar",
        "BAQ" => "eu",
        "CHI" => "zh",
        "CZE" => "cs",
        "DAN" => "da",
        "DUT" => "nl",
        "EST" => "et",
        "FIN" => "fi",
        "FRE" => "fr",
        "GER" => "de",
        "GRE" => "el",
        "HEB" => "he",
        "HUN" => "hu",
        "ITA" => "it",
        "JPN" => "ja",
        "KOR" => "ko",
        "LAV" => "lv",
        "NOR" => "no",
        "POL" => "pl",
        "POR" => "pt",
        "RUS" => "ru",
        "SCR" => "hr",
        "SPA" => "es",
        "SWE" => "sv",
        "TUR" => "tr",
        "UKR" => "uk",
        _ => "und",
    }
}

/// Rows of `MRCONSO.RRF`.
struct Atoms;

impl Atoms {
    const CUI: usize = 0;
    const LAT: usize = 1;
    const TS: usize = 2;
    const STT: usize = 4;
    const ISPREF: usize = 6;
    const SAB: usize = 11;
    const TTY: usize = 12;
    const CODE: usize = 13;
    const STR: usize = 14;
    const SUPPRESS: usize = 16;

    /// What the atom is called in its own vocabulary, where that is one outside. Translations repeat the code of what
    /// they translate; `MTHU…` is what NLM calls a term that has no code.
    fn code<'a>(row: &Row<'a>) -> Option<(&'a str, &'a str)> {
        let (vocabulary, code) = (row.text(Some(Self::SAB))?, row.text(Some(Self::CODE))?);
        let made_up = code == "NOCODE" || code.starts_with("MTHU") || OWN.contains(&vocabulary);
        (row.get(Self::LAT) == "ENG" && !made_up).then_some((vocabulary, code))
    }
}

impl RowParser for Atoms {
    fn row(&self, row: &Row<'_>, out: &mut Output) -> Kept {
        let (cui, name) = (cui(row, Self::CUI)?, row.needed(Self::STR)?);
        if is_suppressed(row.get(Self::SUPPRESS)) {
            return Ok(Taken::Ignored("suppressed"));
        }
        let language = language(row.get(Self::LAT));
        let preferred = row.get(Self::TS) == "P" && row.get(Self::STT) == "PF" && row.get(Self::ISPREF) == "Y";
        let name_type = if preferred {
            NameType::Label
        } else if ABBREVIATIONS.contains(&row.get(Self::TTY)) {
            NameType::Abbreviation
        } else {
            NameType::Exact
        };
        with_buffers(|[curie, xref, ..]| {
            curies::push(curie, "umls", cui);
            if preferred && language == "en" {
                out.concept(&Concept {
                    code: Some(cui),
                    curie: Some(curie.as_str()),
                    name: Some(name),
                    obsolete: Some(false),
                    ..Concept::default()
                });
            }
            out.name(cui, name, name_type, language);
            if let Some((vocabulary, code)) = Self::code(row) {
                curies::push_code(xref, vocabulary, code);
                out.edge(&Edge {
                    subject: Some(curie.as_str()),
                    predicate: Some(HAS_DB_XREF),
                    object: Some(xref.as_str()),
                    object_name: Some(name),
                    provenance: Some(vocabulary),
                    ..Edge::default()
                });
            }
        });
        Ok(Taken::Kept)
    }
}

/// Rows of `MRREL.RRF`.
struct Relations;

impl Relations {
    const CUI1: usize = 0;
    const REL: usize = 3;
    const CUI2: usize = 4;
    const RELA: usize = 7;
    const SAB: usize = 10;
    const SUPPRESS: usize = 14;
}

impl RowParser for Relations {
    /// `CUI2 RELA CUI1`: the second concept is the subject, but of subClassOf, where the child is.
    fn row(&self, row: &Row<'_>, out: &mut Output) -> Kept {
        let (first, second) = (cui(row, Self::CUI1)?, cui(row, Self::CUI2)?);
        let general = row.needed(Self::REL)?;
        let specific = row.text(Some(Self::RELA));
        if is_suppressed(row.get(Self::SUPPRESS)) {
            return Ok(Taken::Ignored("suppressed"));
        }
        if first == second {
            return Ok(Taken::Ignored("between atoms of one concept"));
        }
        let (is_a, turned) = match (specific, general) {
            (Some("isa"), _) | (None, "CHD") => (true, false),
            (Some("inverse_isa"), _) | (None, "PAR") => (true, true),
            _ => (false, false),
        };
        let (subject_cui, object_cui) = if turned { (first, second) } else { (second, first) };
        with_buffers(|[subject, object, predicate, _]| {
            curies::push(subject, "umls", subject_cui);
            curies::push(object, "umls", object_cui);
            if is_a {
                predicate.push_str(SUB_CLASS_OF);
            } else {
                curies::push(predicate, "umls", specific.unwrap_or(general));
            }
            out.edge(&Edge {
                subject: Some(subject.as_str()),
                predicate: Some(predicate.as_str()),
                object: Some(object.as_str()),
                provenance: row.text(Some(Self::SAB)),
                ..Edge::default()
            });
        });
        Ok(Taken::Kept)
    }
}

/// Rows of `MRSTY.RRF`.
struct Types;

impl Types {
    const CUI: usize = 0;
    const TUI: usize = 1;
    const STY: usize = 3;
}

impl RowParser for Types {
    fn row(&self, row: &Row<'_>, out: &mut Output) -> Kept {
        let (cui, tui) = (cui(row, Self::CUI)?, row.needed(Self::TUI)?);
        if !is_numbered(tui, b'T', 3) {
            let message = "expected a TUI: T and three digits";
            return Err(Refused::column(Self::TUI, RejectReason::InvalidIdentifier, message));
        }
        with_buffers(|[subject, object, ..]| {
            curies::push(subject, "umls", cui);
            curies::push(object, "sty", tui);
            out.edge(&Edge {
                subject: Some(subject.as_str()),
                predicate: Some("umls:has_semantic_type"),
                object: Some(object.as_str()),
                object_name: row.text(Some(Self::STY)),
                ..Edge::default()
            });
        });
        Ok(Taken::Kept)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::testing::{cells, ignored, options, read, read_path, rejected, table_cells};
    use super::super::super::{Chunk, format};
    use super::*;

    const ATOMS: &str = "\
C0011860|ENG|P|L0000001|PF|S0000001|Y|A0000001||M1|D003924|MSH|MH|D003924|Diabetes mellitus, type 2|0|N|256|
C0011860|ENG|S|L0000002|PF|S0000002|Y|A0000002||44054006||SNOMEDCT_US|PT|44054006|Type 2 \"adult\" diabetes|9|N||
C0011860|ENG|S|L0000003|PF|S0000003|Y|A0000003||||NCI|AB|C26747|T2DM|0|N||
C0011860|SPA|P|L0000004|PF|S0000004|Y|A0000004||M1|D003924|MSHSPA|MH|D003924|Diabetes Mellitus Tipo 2|3|N||
C0011860|JPN|P|L0000005|VO|S0000005|Y|A0000005||10067585||MDRJPN|LT|10067585|2型糖尿病|3|N||
C0011860|ENG|S|L0000006|PF|S0000006|Y|A0000006||||MTH|PN|NOCODE|Type 2 diabetes|0|N||
C0011860|ENG|S|L0000007|VO|S0000007|Y|A0000007||||HPO|SY|HP:0005978|NIDDM|0|O||
C0011860|ENG|S|L0000008|PF|S0000008|Y|A0000008||||OMIM|PTCS|MTHU008120|Diabetes, noninsulin-dependent|0|N||
";

    fn atoms(rows: &str) -> Vec<Chunk> {
        read(&Umls, &[("MRCONSO.RRF", rows.as_bytes())], &options()).unwrap()
    }

    #[test]
    fn atoms_become_concepts_names_and_xrefs() {
        let chunks = atoms(ATOMS);
        assert!(rejected(&chunks).is_empty());
        assert_eq!(ignored(&chunks), 1);
        assert_eq!(table_cells(&chunks, &CONCEPTS, "curie"), ["umls:C0011860"]);
        assert_eq!(table_cells(&chunks, &CONCEPTS, "name"), ["Diabetes mellitus, type 2"]);
        assert_eq!(cells(&chunks, "language"), ["en", "en", "en", "es", "ja", "en", "en"]);
        assert_eq!(cells(&chunks, "name_type"), ["label", "exact", "abbreviation", "label", "exact", "exact", "exact"]);
        assert_eq!(table_cells(&chunks, &CONCEPT_NAMES, "name")[1], "Type 2 \"adult\" diabetes");
        assert_eq!(cells(&chunks, "object"), ["mesh:D003924", "snomedct:44054006", "ncit:C26747"]);
        assert_eq!(cells(&chunks, "predicate"), [HAS_DB_XREF; 3]);
    }

    #[test]
    fn relations_have_a_direction() {
        let rows = "\
C0011849|A1|SCUI|CHD|C0011860|A2|SCUI|isa|R1||SNOMEDCT_US|SNOMEDCT_US|||N||
C0011860|A2|SCUI|PAR|C0011849|A1|SCUI||R2||MSH|MSH|||N||
C0011849|A1|AUI|RO|C0032285|A3|AUI|may_treat|R3||MED-RT|MED-RT|||N||
C0011849|A1|AUI|RB|C0032285|A3|AUI||R4||NCI|NCI|||N||
C0011849|A1|AUI|RO|C0032285|A3|AUI|may_treat|R5||NCI|NCI|||O||
C0011849|A1|AUI|SY|C0011849|A9|AUI|permuted_term_of|R6||MSH|MSH|||N||
C0011849|A1|AUI||C0032285|A3|AUI||R7||NCI|NCI|||N||
";
        let chunks = read(&Umls, &[("MRREL.RRF", rows.as_bytes())], &options()).unwrap();
        assert_eq!(cells(&chunks, "subject"), ["umls:C0011860", "umls:C0011860", "umls:C0032285", "umls:C0032285"]);
        assert_eq!(cells(&chunks, "object"), ["umls:C0011849"; 4]);
        assert_eq!(cells(&chunks, "predicate"), [SUB_CLASS_OF, SUB_CLASS_OF, "umls:may_treat", "umls:RB"]);
        assert_eq!(cells(&chunks, "provenance"), ["SNOMEDCT_US", "MSH", "MED-RT", "NCI"]);
        assert_eq!(ignored(&chunks), 2);
        assert_eq!(rejected(&chunks), [(7, "REL", RejectReason::MissingValue)]);
    }

    #[test]
    fn semantic_types() {
        let rows = "C0011860|T047|B2.2.1.2.1|Disease or Syndrome|AT1|256|\nC0011860|47|B|x|AT2||\n";
        let chunks = read(&Umls, &[("MRSTY.RRF", rows.as_bytes())], &options()).unwrap();
        assert_eq!(cells(&chunks, "object"), ["sty:T047"]);
        assert_eq!(cells(&chunks, "object_name"), ["Disease or Syndrome"]);
        assert_eq!(rejected(&chunks), [(2, "TUI", RejectReason::InvalidIdentifier)]);
    }

    #[test]
    fn bad_rows_are_rejected() {
        let chunks =
            atoms("C1|ENG|P||PF||Y|||||MSH|MH|D1|x|0|N||\nC0000001|ENG|P||PF||Y|||||MSH|MH|D1||0|N||\nC0000001|ENG\n");
        assert_eq!(
            rejected(&chunks),
            [
                (1, "CUI", RejectReason::InvalidIdentifier),
                (2, "STR", RejectReason::MissingValue),
                (3, "-", RejectReason::ColumnCount)
            ]
        );
        assert!(read(&Umls, &[("other.txt", b"a|b|c\n")], &options()).is_err());
    }

    #[test]
    fn a_folder_is_read_whole() {
        let folder = tempfile::tempdir().unwrap();
        let meta = folder.path().join("META");
        std::fs::create_dir(&meta).unwrap();
        std::fs::write(meta.join("MRCONSO.RRF"), ATOMS).unwrap();
        std::fs::write(meta.join("MRSTY.RRF"), "C0011860|T047|B2|Disease or Syndrome|AT1|256|\n").unwrap();
        std::fs::write(meta.join("MRDEF.RRF"), "other\n").unwrap();
        for path in [folder.path(), &meta] {
            let chunks = read_path(&Umls, path, &options()).unwrap();
            assert_eq!(chunks.iter().map(|c| c.rows_read).sum::<u64>(), 9);
        }
        std::fs::remove_dir_all(&meta).unwrap();
        assert!(read_path(&Umls, folder.path(), &options()).is_err());
    }

    #[test]
    fn the_fixture_is_read_whole() {
        let release = "../tests/fixtures/umls";
        let chunks = read_path(&Umls, Path::new(release), &options()).unwrap();
        assert!(rejected(&chunks).is_empty());
        assert_eq!(chunks.iter().map(|c| c.rows_read).sum::<u64>(), 11 + 6 + 4);
        assert_eq!(ignored(&chunks), 3);
        assert_eq!(table_cells(&chunks, &CONCEPTS, "code"), ["C0011849", "C0011860", "C0025598"]);
        assert_eq!(cells(&chunks, "predicate").iter().filter(|p| *p == SUB_CLASS_OF).count(), 3);
    }

    #[test]
    fn recognized_by_name_and_shape() {
        let head = |name: &str, text: &str| Head { name: name.to_string(), text: text.to_string() };
        assert_eq!(Umls.recognize(&head("mrconso.rrf", ATOMS)).map(|l| l.score), Some(99));
        assert_eq!(Umls.recognize(&head("part.txt", ATOMS)).map(|l| l.score), Some(92));
        assert_eq!(Umls.recognize(&head("mrconso.rrf", "a,b\n")), None);
        assert_eq!(format("umls").unwrap().name(), "umls");
    }

    proptest! {
        #[test]
        fn any_bytes_balance(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            for name in ["MRCONSO.RRF", "MRREL.RRF", "MRSTY.RRF"] {
                let rows = [ATOMS.as_bytes(), &bytes].concat();
                let _ = read(&Umls, &[(name, &rows)], &options()).unwrap();
            }
        }

        #[test]
        fn any_fields_balance(parts in proptest::collection::vec(proptest::sample::select(vec![
            "|", "|", "|", "|", "|", "|", "\n", "C0000001", "ENG", "P", "PF", "Y", "PAR", "isa", "T047", "N", "\u{e9}",
        ]), 0..80)) {
            let rows = format!("{ATOMS}{}", parts.concat());
            for name in ["MRCONSO.RRF", "MRREL.RRF", "MRSTY.RRF"] {
                let _ = read(&Umls, &[(name, rows.as_bytes())], &options()).unwrap();
            }
        }
    }
}
