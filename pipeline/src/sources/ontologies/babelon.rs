//! Babelon TSV: an ontology's names in another language, best ingested under the ontology's own source name.

use generel_schemas::ids::Curie;
use generel_schemas::tables::{CONCEPT_NAMES, NameType};
use generel_schemas::{RejectReason, Table};

use super::super::output::Output;
use super::super::recognize::{Head, Likeness};
use super::super::text::delimited::{Delimited, Dialect, Kept, Refused, Row, RowParser, Taken};
use super::super::{InputFile, ReadOptions, Reader, Source};
use super::iri;
use crate::Result;

/// Subject, predicate, translation and its language.
const NEEDED: [&str; 4] = ["subject_id", "predicate_id", "translation_value", "translation_language"];

/// The format `babelon`.
pub(in super::super) struct Babelon;

impl Source for Babelon {
    fn name(&self) -> &'static str {
        "babelon"
    }

    fn doc(&self) -> &'static str {
        "translations of an ontology's labels and synonyms in Babelon TSV"
    }

    fn example(&self) -> &'static str {
        "generel ingest --format babelon --source hp hp-ja.babelon.tsv"
    }

    fn tables(&self) -> &'static [&'static Table] {
        &[&CONCEPT_NAMES]
    }

    fn recognize(&self, head: &Head) -> Option<Likeness> {
        head.has_columns('\t', &NEEDED).then(|| Likeness::new(99, format!("the header has {}", NEEDED.join(", "))))?
    }

    fn open(&self, file: &InputFile, options: &ReadOptions) -> Result<Reader> {
        let delimited = Delimited::open(file, options, Dialect::TSV)?;
        let [subject, predicate, value, language] = NEEDED.map(|name| delimited.header.require(&[name]));
        let rows = Rows { subject: subject?, predicate: predicate?, value: value?, language: language? };
        Ok(delimited.into_reader(rows))
    }
}

struct Rows {
    subject: usize,
    predicate: usize,
    value: usize,
    language: usize,
}

impl RowParser for Rows {
    fn row(&self, row: &Row<'_>, out: &mut Output) -> Kept {
        let refused = |column, message: &'static str| Refused::column(column, RejectReason::InvalidIdentifier, message);
        let code = iri::code(row.needed(self.subject)?);
        if !iri::is_iri(&code) && code.parse::<Curie>().is_err() {
            return Err(refused(self.subject, "expected a CURIE, prefix:local"));
        }
        let name_type = match iri::local_name(row.needed(self.predicate)?) {
            "label" | "prefLabel" => NameType::Label,
            "hasExactSynonym" | "altLabel" => NameType::Exact,
            "hasNarrowSynonym" => NameType::Narrow,
            "hasBroadSynonym" => NameType::Broad,
            "hasRelatedSynonym" => NameType::Related,
            _ => return Ok(Taken::Ignored("no name")),
        };
        let name = row.get(self.value);
        if matches!(name, "" | "NA") {
            return Ok(Taken::Ignored("not translated"));
        }
        let language = row.needed(self.language)?;
        if !language.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            return Err(refused(self.language, "expected a language tag, such as ja or pt-BR"));
        }
        out.name(&code, name, name_type, language);
        Ok(Taken::Kept)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{cells, ignored, options, read, rejected};
    use super::*;

    #[test]
    fn names_in_another_language() {
        let text = "subject_id\tpredicate_id\ttranslation_value\ttranslation_language\n\
                    HP:1\trdfs:label\t\"眼\" b\tja\nHP:1\toboInOwl:hasExactSynonym\tojo\tes\n\
                    HP:2\trdfs:label\tNA\tja\nHP 3\trdfs:label\tx\tja\n";
        let chunks = read(&Babelon, &[("x.tsv", text.as_bytes())], &options()).unwrap();
        let found = ["name", "name_type", "language"].map(|column| cells(&chunks, column));
        assert_eq!(found, [["\"眼\" b", "ojo"], ["label", "exact"], ["ja", "es"]]);
        assert_eq!((ignored(&chunks), rejected(&chunks).len()), (1, 1));
    }
}
