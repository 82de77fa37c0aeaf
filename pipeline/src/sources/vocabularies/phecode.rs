//! Phecodes (PheWAS catalog): definitions of phecode 1.2 and phecodeX, and maps from ICD codes to them.
//!
//! Releases name their columns differently: `phecode,phecode_string,category`, `phecode,phenotype,…`,
//! `phecode1.2_code,phecode1.2_label,…`; `ICD,Flag,Phecode`, `ICD9,ICD9 String,PheCode,…`, `phecode,ICD,vocabulary_id`.
//! The two versions number differently, so they have a prefix each.

use generel_schemas::tables::{CONCEPT_NAMES, CONCEPTS, KG_EDGES, NameType};
use generel_schemas::{RejectReason, Table};

use super::super::output::{Concept, Edge, Output};
use super::super::recognize::{Head, Likeness};
use super::super::text::delimited::{Delimited, Header, Kept, Refused, Row, RowParser, Taken};
use super::super::{InputFile, ReadOptions, Reader, Source};
use super::curies::{self, with_buffers};
use super::{ENGLISH, dialect, separator};
use crate::Result;

/// Columns of ICD codes, with the vocabulary that each names; the others say it row by row.
const ICD: [(&str, Option<&str>); 5] = [
    ("icd9", Some("icd9cm")),
    ("icd9cm", Some("icd9cm")),
    ("icd10", Some("icd10")),
    ("icd10cm", Some("icd10cm")),
    ("icd", None),
];
const ICD_VERSIONS: [&str; 4] = ["flag", "vocabulary_id", "vocabulary", "icd_version"];
const ICD_NAMES: [&str; 9] = [
    "icd9 string",
    "icd10 string",
    "icd_string",
    "icdstring",
    "icd_str",
    "icd9_str",
    "icd10_str",
    "icd10cm_str",
    "icd_description",
];
const LABELS: [&str; 6] =
    ["phecode_string", "phecodestring", "phecode_str", "phecode_label", "phenotype", "description"];
const CATEGORIES: [&str; 4] = ["phecode_category", "phecodecategory", "category", "group"];

/// The format `phecode`.
pub(in super::super) struct Phecode;

impl Source for Phecode {
    fn name(&self) -> &'static str {
        "phecode"
    }

    fn doc(&self) -> &'static str {
        "phecode 1.2 or phecodeX, definitions or map from ICD-9 or ICD-10, as CSV or TSV with a header"
    }

    fn example(&self) -> &'static str {
        "generel ingest --format phecode --source phecode phecode_definitions1.2.csv"
    }

    fn tables(&self) -> &'static [&'static Table] {
        &[&CONCEPTS, &CONCEPT_NAMES, &KG_EDGES]
    }

    fn recognize(&self, head: &Head) -> Option<Likeness> {
        let names = head.columns(separator(head));
        let has = |known: &[&str]| names.iter().any(|name| known.contains(&name.as_str()));
        // Results of a PheWAS name phecodes too.
        if !names.iter().any(|name| is_phecode(name)) || has(&["beta", "or", "p", "pval", "p_value", "pvalue"]) {
            return None;
        }
        let icd = ICD.iter().any(|(column, _)| has(&[*column]));
        let label = has(&LABELS) || names.iter().any(|name| is_part(name, "_label"));
        (icd || label).then(|| Likeness::new(95, "the header has phecodes and their names or ICD codes"))?
    }

    fn open(&self, file: &InputFile, options: &ReadOptions) -> Result<Reader> {
        let head = Head::read(&file.place)?;
        let delimited = Delimited::open(file, options, dialect(&head))?;
        let header = &delimited.header;
        let Some(code) = position(header, is_phecode) else {
            return Err(header.error("no column phecode in the header"));
        };
        let is_x = header.names().iter().any(|name| starts_with(name, "phecodex")) || head.name.contains("phecodex");
        let prefix = if is_x { "phecodex" } else { "phecode" };
        let label = header.find(&LABELS).or_else(|| position(header, |name| is_part(name, "_label")));
        let icd = ICD.iter().find_map(|(name, vocabulary)| Some((header.find(&[*name])?, *vocabulary)));
        let Some((icd, stated)) = icd else {
            let label = match label {
                Some(label) => label,
                None => header.require(&["phecode_string", "icd"])?,
            };
            let simple = position(header, |name| is_part(name, "_simplelabel"));
            let category = header.find(&CATEGORIES).or_else(|| position(header, |name| is_part(name, "_category")));
            return Ok(delimited.into_reader(Definitions { prefix, code, label, simple, category }));
        };
        let vocabulary = match stated {
            Some(vocabulary) => Vocabulary::Stated(vocabulary),
            None => Vocabulary::Column(header.require(&ICD_VERSIONS)?),
        };
        let icd_name = header.find(&ICD_NAMES);
        Ok(delimited.into_reader(Map { prefix, icd, icd_name, vocabulary, code, label }))
    }
}

fn starts_with(name: &str, start: &str) -> bool {
    name.get(..start.len()).is_some_and(|s| s.eq_ignore_ascii_case(start))
}

/// `phecode1.2_label` by `_label`.
fn is_part(name: &str, end: &str) -> bool {
    let at = name.len().checked_sub(end.len());
    starts_with(name, "phecode") && at.and_then(|at| name.get(at..)).is_some_and(|s| s.eq_ignore_ascii_case(end))
}

fn is_phecode(name: &str) -> bool {
    name.eq_ignore_ascii_case("phecode") || is_part(name, "_code")
}

fn position(header: &Header, is: impl Fn(&str) -> bool) -> Option<usize> {
    header.names().iter().position(|name| is(name))
}

/// Rows that define phecodes.
struct Definitions {
    prefix: &'static str,
    code: usize,
    label: usize,
    simple: Option<usize>,
    category: Option<usize>,
}

impl RowParser for Definitions {
    fn row(&self, row: &Row<'_>, out: &mut Output) -> Kept {
        let (code, label) = (row.needed(self.code)?, row.needed(self.label)?);
        with_buffers(|[curie, ..]| {
            curies::push(curie, self.prefix, code);
            out.concept(&Concept {
                code: Some(code),
                curie: Some(curie.as_str()),
                name: Some(label),
                category: row.text(self.category),
                definition: None,
                obsolete: Some(false),
            });
        });
        out.name(code, label, NameType::Label, ENGLISH);
        if let Some(simple) = row.text(self.simple).filter(|simple| !simple.eq_ignore_ascii_case(label)) {
            out.name(code, simple, NameType::Exact, ENGLISH);
        }
        Ok(Taken::Kept)
    }
}

/// Which ICD a row's code is from.
enum Vocabulary {
    Stated(&'static str),
    Column(usize),
}

/// Rows that map an ICD code to a phecode.
struct Map {
    prefix: &'static str,
    icd: usize,
    icd_name: Option<usize>,
    vocabulary: Vocabulary,
    code: usize,
    label: Option<usize>,
}

impl Map {
    fn vocabulary(&self, row: &Row<'_>) -> Kept<&'static str> {
        let column = match self.vocabulary {
            Vocabulary::Stated(vocabulary) => return Ok(vocabulary),
            Vocabulary::Column(column) => column,
        };
        match row.needed(column)? {
            "9" => Ok("icd9cm"),
            "10" => Ok("icd10cm"),
            text => curies::preferred(text).filter(|prefix| prefix.starts_with("icd")).ok_or_else(|| {
                let message = "expected 9, 10, ICD9CM, ICD10CM or ICD10";
                Refused::column(column, RejectReason::InvalidIdentifier, message)
            }),
        }
    }
}

impl RowParser for Map {
    fn row(&self, row: &Row<'_>, out: &mut Output) -> Kept {
        let (icd, vocabulary) = (row.needed(self.icd)?, self.vocabulary(row)?);
        let Some(code) = row.text(Some(self.code)) else {
            return Ok(Taken::Ignored("no phecode for the ICD code"));
        };
        with_buffers(|[subject, object, ..]| {
            curies::push(subject, vocabulary, icd);
            curies::push(object, self.prefix, code);
            out.edge(&Edge {
                subject: Some(subject.as_str()),
                subject_name: row.text(self.icd_name),
                predicate: Some("skos:broadMatch"),
                object: Some(object.as_str()),
                object_name: row.text(self.label),
                ..Edge::default()
            });
        });
        Ok(Taken::Kept)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::Chunk;
    use super::super::super::testing::{cells, ignored, options, read, rejected, table_cells};
    use super::*;

    const DEFINITIONS: &str = "phecode1.2_code\tphecode1.2_label\tphecode1.2_simpleLabel\tphecode1.2_category\n\
        008\tIntestinal infection\tintestinal infection\tinfectious diseases\n\
        250.2\tType 2 diabetes [T2D]\ttype 2 diabetes\tendocrine\n\t\t\t\n";
    const MAP: &str = "\"ICD9\",\"ICD9 String\",\"PheCode\",\"Phenotype\"\n\
        \"001.0\",\"Cholera due to V, cholerae\",\"008\",\"Intestinal infection\"\n\"V08\",\"x\",\"\",\"\"\n";

    fn file(name: &str, text: &str) -> Vec<Chunk> {
        read(&Phecode, &[(name, text.as_bytes())], &options()).unwrap()
    }

    #[test]
    fn definitions() {
        let chunks = file("phecode1.2.tsv", DEFINITIONS);
        assert_eq!(cells(&chunks, "curie"), ["phecode:008", "phecode:250.2"]);
        assert_eq!(cells(&chunks, "category"), ["infectious diseases", "endocrine"]);
        assert_eq!(
            table_cells(&chunks, &CONCEPT_NAMES, "name"),
            ["Intestinal infection", "Type 2 diabetes [T2D]", "type 2 diabetes"]
        );
        assert_eq!(rejected(&chunks), [(4, "phecode1.2_code", RejectReason::MissingValue)]);

        let chunks = file("phecodeX.csv", "phecode,phecode_string,category\nID_001,Salmonella,Infections\n");
        assert_eq!(cells(&chunks, "curie"), ["phecodex:ID_001"]);
        let chunks = file("d.csv", "phecode,phenotype,sex,category\n008,Intestinal infection,,infectious diseases\n");
        assert_eq!(cells(&chunks, "curie"), ["phecode:008"]);
    }

    #[test]
    fn maps() {
        let chunks = file("icd9.csv", MAP);
        assert_eq!(cells(&chunks, "subject"), ["icd9cm:001.0"]);
        assert_eq!(cells(&chunks, "subject_name"), ["Cholera due to V, cholerae"]);
        assert_eq!(cells(&chunks, "object"), ["phecode:008"]);
        assert_eq!(cells(&chunks, "object_name"), ["Intestinal infection"]);
        assert_eq!(cells(&chunks, "predicate"), ["skos:broadMatch"]);
        assert_eq!(ignored(&chunks), 1);

        let flags = "\"ICD\",\"flag\",\"phecode\"\n\"001\",9,\"023\"\n\"A00\",10,\"023\"\n\"A00\",11,\"023\"\n";
        let chunks = file("phecodeX_icd.csv", flags);
        assert_eq!(cells(&chunks, "subject"), ["icd9cm:001", "icd10cm:A00"]);
        assert_eq!(cells(&chunks, "object"), ["phecodex:023", "phecodex:023"]);
        assert_eq!(rejected(&chunks), [(4, "flag", RejectReason::InvalidIdentifier)]);

        let chunks = file("m.csv", "phecode,ICD,vocabulary_id\nID_001,A02,ICD10CM\nID_001,003,ICD9CM\n");
        assert_eq!(cells(&chunks, "subject"), ["icd10cm:A02", "icd9cm:003"]);
        let chunks = file("m.csv", "ICD10,PHECODE,Exl. Phecodes\nA00,008,001-009.99\n");
        assert_eq!(cells(&chunks, "subject"), ["icd10:A00"]);
    }

    #[test]
    fn recognized_by_columns() {
        let head = |text: &str| Head { name: "x.csv".to_string(), text: text.to_string() };
        for text in [DEFINITIONS, MAP, "ICD,flag,phecode\n"] {
            assert_eq!(Phecode.recognize(&head(text)).map(|l| l.score), Some(95));
        }
        assert_eq!(Phecode.recognize(&head("phecode,phenotype,beta,se,p\n")), None);
        assert!(read(&Phecode, &[("x.csv", b"phecode,beta\n1,2\n")], &options()).is_err());
        assert!(read(&Phecode, &[("x.csv", b"icd9,beta\n1,2\n")], &options()).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_balance(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            for (name, text) in [("d.tsv", DEFINITIONS), ("m.csv", MAP)] {
                let text = [text.as_bytes(), &bytes].concat();
                let _ = read(&Phecode, &[(name, &text)], &options()).unwrap();
            }
        }
    }
}
