//! Disease annotations of the Human Phenotype Ontology: `phenotype.hpoa`, comments and a header of twelve columns, and
//! the older `phenotype_annotation.tab`, fourteen columns without one.
//!
//! Columns as HPO's documentation of the annotation format names them. A qualifier `NOT` says that the disease has the
//! phenotype not: such an edge has `not:` before its predicate, as negative statements of every format have.

use generel_schemas::tables::{KG_EDGES, NEGATED};
use generel_schemas::{RejectReason, Table};

use super::super::output::{Edge, Output};
use super::super::recognize::{Head, Likeness};
use super::super::text::delimited::{Delimited, Dialect, Header, Kept, Refused, Row, RowParser, Taken};
use super::super::text::values;
use super::super::vocabularies::curies::{self, with_buffers};
use super::super::{InputFile, ReadOptions, Reader, Source};
use crate::{Error, Result};

/// Columns of `phenotype_annotation.tab`.
const OLD: &[&str] = &[
    "db",
    "database_id",
    "disease_name",
    "qualifier",
    "hpo_id",
    "reference",
    "evidence",
    "onset",
    "frequency",
    "with",
    "aspect",
    "synonym",
    "date",
    "assigned_by",
];
/// Names of the column of diseases, over the years.
const DISEASE: [&str; 3] = ["database_id", "#DatabaseID", "DatabaseID"];

/// The format `hpoa`.
pub(in super::super) struct Hpoa;

impl Source for Hpoa {
    fn name(&self) -> &'static str {
        "hpoa"
    }

    fn doc(&self) -> &'static str {
        "disease annotations of HPO: phenotype.hpoa, or the older phenotype_annotation.tab"
    }

    fn example(&self) -> &'static str {
        "generel ingest --format hpoa --source hpoa phenotype.hpoa"
    }

    fn tables(&self) -> &'static [&'static Table] {
        &[&KG_EDGES]
    }

    fn recognize(&self, head: &Head) -> Option<Likeness> {
        if head.lines().any(|line| is_header(&line.split('\t').map(str::to_string).collect::<Vec<_>>())) {
            return Likeness::new(98, "the header has database_id and hpo_id");
        }
        is_old(head).then(|| Likeness::new(90, "fourteen columns without a header, the fifth an HPO term"))?
    }

    fn open(&self, file: &InputFile, options: &ReadOptions) -> Result<Reader> {
        let old = is_old(&Head::read(&file.place)?);
        let delimited = if old {
            Delimited::open(file, options, Dialect::TSV.headless(OLD))?
        } else {
            let message = "not HPO annotations: no header with database_id and hpo_id";
            let opened = Delimited::open_where(file, options, Dialect::TSV, is_header);
            opened.map_err(|error| match error {
                Error::Format { .. } => Error::format(file.path(), 1, message),
                other => other,
            })?
        };
        let rows = Rows::new(&delimited.header)?;
        Ok(delimited.into_reader(rows))
    }
}

fn is_header(names: &[String]) -> bool {
    let has = |known: &[&str]| names.iter().any(|name| known.iter().any(|k| k.eq_ignore_ascii_case(name.trim())));
    has(&DISEASE) && has(&["hpo_id"])
}

fn is_old(head: &Head) -> bool {
    let Some(first) = head.lines().next() else { return false };
    first.split('\t').count() == OLD.len() && first.split('\t').nth(4).is_some_and(|term| term.starts_with("HP:"))
}

struct Rows {
    /// The database, where ids are without it.
    database: Option<usize>,
    disease: usize,
    name: Option<usize>,
    qualifier: Option<usize>,
    term: usize,
    frequency: Option<usize>,
    aspect: Option<usize>,
    /// What goes into the provenance, and under which name.
    provenance: [(&'static str, Option<usize>); 5],
}

impl Rows {
    fn new(header: &Header) -> Result<Self> {
        let at = |name: &str| header.find(&[name]);
        let old = at("db");
        Ok(Self {
            database: old,
            disease: header.require(&DISEASE)?,
            name: header.find(&["disease_name", "DiseaseName"]),
            qualifier: at("qualifier"),
            term: header.require(&["hpo_id"])?,
            frequency: at("frequency"),
            aspect: at("aspect"),
            provenance: [
                ("", at("reference")),
                ("evidence ", at("evidence")),
                ("qualifier ", at("qualifier")),
                ("frequency ", at("frequency")),
                ("onset ", at("onset")),
            ],
        })
    }

    fn push_disease(&self, buffer: &mut String, row: &Row<'_>) -> Kept<()> {
        let id = row.needed(self.disease)?;
        if let Some(database) = self.database {
            curies::push_code(buffer, row.needed(database)?, id);
            return Ok(());
        }
        self::push_curie(buffer, self.disease, id)
    }

    fn push_provenance(&self, buffer: &mut String, row: &Row<'_>) {
        for (name, column) in self.provenance {
            if let Some(text) = row.text(column) {
                if !buffer.is_empty() {
                    buffer.push_str("; ");
                }
                buffer.push_str(name);
                buffer.push_str(text);
            }
        }
    }
}

fn push_curie(buffer: &mut String, column: usize, text: &str) -> Kept<()> {
    if curies::push_parsed(buffer, text) {
        return Ok(());
    }
    Err(Refused::column(column, RejectReason::InvalidIdentifier, "expected a CURIE, prefix:local"))
}

/// What an annotation says, by its aspect: phenotype (`O`, organ abnormality, in older files), inheritance, course,
/// modifier, history.
fn predicate(aspect: Option<&str>) -> &'static str {
    match aspect {
        Some("I") => "biolink:has_mode_of_inheritance",
        Some("C") => "hpoa:clinical_course",
        Some("M") => "hpoa:clinical_modifier",
        Some("H") => "hpoa:past_medical_history",
        _ => "biolink:has_phenotype",
    }
}

/// The share of patients that `7/8` or `45%` states; terms of frequency state none.
fn share(text: &str) -> Option<f64> {
    let share = match text.split_once('/') {
        Some((with, of)) => values::number(with.trim())? / values::number(of.trim())?,
        None => values::number(text.strip_suffix('%')?.trim())? / 100.0,
    };
    (0.0..=1.0).contains(&share).then_some(share)
}

impl RowParser for Rows {
    fn row(&self, row: &Row<'_>, out: &mut Output) -> Kept {
        with_buffers(|[subject, object, provenance, said]| {
            self.push_disease(subject, row)?;
            push_curie(object, self.term, row.needed(self.term)?)?;
            self.push_provenance(provenance, row);
            let is_not = row.text(self.qualifier).is_some_and(|qualifier| qualifier.eq_ignore_ascii_case("not"));
            said.push_str(if is_not { NEGATED } else { "" });
            said.push_str(predicate(row.text(self.aspect)));
            out.edge(&Edge {
                subject: Some(subject.as_str()),
                subject_name: row.text(self.name),
                predicate: Some(said.as_str()),
                object: Some(object.as_str()),
                weight: row.text(self.frequency).and_then(share),
                provenance: Some(provenance.as_str()).filter(|text| !text.is_empty()),
                ..Edge::default()
            });
            Ok(Taken::Kept)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::testing::{cells, options, read, rejected};
    use super::*;

    const NEW: &str = "#description: \"HPO annotations\"\n#version: 2021-08-02\n\
        database_id\tdisease_name\tqualifier\thpo_id\treference\tevidence\tonset\tfrequency\tsex\tmodifier\taspect\t\
        biocuration\n\
        OMIM:608328\tWeill-Marchesani\t\tHP:0001083\tOMIM:608328\tIEA\t\t7/8\t\t\tP\tHPO:iea\n\
        ORPHA:58\tAlexander\tNOT\tHP:0004933\tPMID:1\tPCS\tHP:0003593\tHP:0040281\t\t\tP\tHPO:x\n\
        OMIM:608328\tx\t\tHP:0000006\t\t\t\t45%\t\t\tI\tHPO:x\n\
        OMIM 1\tx\t\tHP:0000006\t\t\t\t\t\t\tI\tHPO:x\nOMIM:1\tx\t\t\t\t\t\t\t\t\tI\tHPO:x\n";
    const OLD_ROWS: &str = "ORPHANET\t58\tALEXANDER\t\tHP:0000252\tORPHANET:58\tIEA\t\t7.5000 %\t\tO\t\t2013.05.29\tHPO:x\n\
        DECIPHER\t1\tWOLF\tMILD\tHP:0001249\tDECIPHER:1\tIEA\t\t\t\tO\t\t2013.05.29\tHPO:x\n";

    #[test]
    fn current_annotations() {
        let chunks = read(&Hpoa, &[("phenotype.hpoa", NEW.as_bytes())], &options()).unwrap();
        assert_eq!(cells(&chunks, "subject"), ["omim:608328", "orphanet.ordo:58", "omim:608328"]);
        assert_eq!(cells(&chunks, "object"), ["HP:0001083", "HP:0004933", "HP:0000006"]);
        assert_eq!(
            cells(&chunks, "predicate"),
            ["biolink:has_phenotype", "not:biolink:has_phenotype", "biolink:has_mode_of_inheritance"]
        );
        assert_eq!(cells(&chunks, "weight"), ["0.875", "-", "0.45"]);
        assert_eq!(
            cells(&chunks, "provenance")[1],
            "PMID:1; evidence PCS; qualifier NOT; frequency HP:0040281; onset HP:0003593"
        );
        assert_eq!(
            rejected(&chunks),
            [(7, "database_id", RejectReason::InvalidIdentifier), (8, "hpo_id", RejectReason::MissingValue)]
        );
    }

    #[test]
    fn headers_of_other_years() {
        let text = NEW
            .replace("database_id", "#DatabaseID")
            .replace("hpo_id", "HPO_ID")
            .replace("disease_name", "DiseaseName");
        let chunks = read(&Hpoa, &[("phenotype.hpoa", text.as_bytes())], &options()).unwrap();
        assert_eq!(cells(&chunks, "subject_name")[0], "Weill-Marchesani");
        let chunks = read(&Hpoa, &[("phenotype_annotation.tab", OLD_ROWS.as_bytes())], &options()).unwrap();
        assert_eq!(cells(&chunks, "subject"), ["orphanet.ordo:58", "DECIPHER:1"]);
        assert_eq!(cells(&chunks, "weight"), ["0.075", "-"]);
        assert_eq!(cells(&chunks, "provenance")[1], "DECIPHER:1; evidence IEA; qualifier MILD");
        assert!(read(&Hpoa, &[("x.tsv", b"a\tb\n1\t2\n")], &options()).is_err());
    }

    #[test]
    fn recognized_by_columns() {
        let head = |text: &str| Head { name: "x".to_string(), text: text.to_string() };
        assert_eq!(Hpoa.recognize(&head(NEW)).map(|l| l.score), Some(98));
        assert_eq!(Hpoa.recognize(&head(OLD_ROWS)).map(|l| l.score), Some(90));
        assert_eq!(Hpoa.recognize(&head("a\tb\n")), None);
    }

    proptest! {
        #[test]
        fn any_bytes_balance(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            for text in [NEW, OLD_ROWS] {
                let text = [text.as_bytes(), &bytes].concat();
                let _ = read(&Hpoa, &[("phenotype.hpoa", &text)], &options()).unwrap();
            }
        }
    }
}
