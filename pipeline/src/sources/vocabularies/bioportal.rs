//! BioPortal's CSV export of an ontology: `Class ID` (an IRI), `Preferred Label`, `Synonyms`, `Definitions`, `Obsolete`,
//! `CUI`, `Semantic Types`, `Parents`; values that are several are joined by `|`.

use generel_schemas::Table;
use generel_schemas::ids::{PREFIXES, source_curie};
use generel_schemas::tables::{CONCEPT_NAMES, CONCEPTS, HAS_DB_XREF, KG_EDGES, NameType, SUB_CLASS_OF};

use super::super::output::{Concept, Edge, Output};
use super::super::recognize::{Head, Likeness};
use super::super::text::delimited::{Delimited, Kept, Row, RowParser, Taken};
use super::super::{InputFile, ReadOptions, Reader, Source};
use super::curies::{self, with_buffers};
use super::{ENGLISH, dialect, separator};
use crate::Result;

/// BioPortal's own IRIs: the ontology's acronym, `/`, the code.
const BIOPORTAL: &str = "http://purl.bioontology.org/ontology/";
/// OBO's IRIs: the prefix, `_`, the code.
const OBO: &str = "http://purl.obolibrary.org/obo/";

/// The format `bioportal-csv`.
pub(in super::super) struct BioPortalCsv;

impl Source for BioPortalCsv {
    fn name(&self) -> &'static str {
        "bioportal-csv"
    }

    fn doc(&self) -> &'static str {
        "ontology as BioPortal's CSV: Class ID, Preferred Label, Synonyms, Definitions, Obsolete, CUI, Parents"
    }

    fn example(&self) -> &'static str {
        "generel ingest --format bioportal-csv --source rxnorm RXNORM.csv.gz"
    }

    fn tables(&self) -> &'static [&'static Table] {
        &[&CONCEPTS, &CONCEPT_NAMES, &KG_EDGES]
    }

    fn recognize(&self, head: &Head) -> Option<Likeness> {
        let says = head.has_columns(separator(head), &["class id", "preferred label"]);
        says.then(|| Likeness::new(97, "the header has Class ID and Preferred Label"))?
    }

    fn open(&self, file: &InputFile, options: &ReadOptions) -> Result<Reader> {
        let delimited = Delimited::open(file, options, dialect(&Head::read(&file.place)?))?;
        let header = &delimited.header;
        let rows = Rows {
            stem: file.stem(),
            id: header.require(&["Class ID"])?,
            label: header.require(&["Preferred Label"])?,
            synonyms: header.find(&["Synonyms"]),
            definitions: header.find(&["Definitions"]),
            obsolete: header.find(&["Obsolete"]),
            cui: header.find(&["CUI"]),
            types: header.find(&["Semantic Types"]),
            parents: header.find(&["Parents"]),
        };
        Ok(delimited.into_reader(rows))
    }
}

struct Rows {
    stem: String,
    id: usize,
    label: usize,
    synonyms: Option<usize>,
    definitions: Option<usize>,
    obsolete: Option<usize>,
    cui: Option<usize>,
    types: Option<usize>,
    parents: Option<usize>,
}

impl Rows {
    /// Writes the CURIE of a class.
    fn push_class(&self, buffer: &mut String, class: &str) {
        // The longest of the known IRIs: one may begin another.
        let known = PREFIXES.iter().filter(|p| class.len() > p.uri.len() && class.starts_with(p.uri));
        let parts = match known.max_by_key(|p| p.uri.len()) {
            Some(prefix) => class.get(prefix.uri.len()..).map(|local| (prefix.preferred, local)),
            None => parts(class),
        };
        match parts {
            Some((prefix, local)) => curies::push_code(buffer, prefix, local),
            None if curies::push_parsed(buffer, class) => {}
            None => buffer.push_str(&source_curie(&self.stem, class).to_string()),
        }
    }
}

/// Ontology and code of an IRI.
fn parts(class: &str) -> Option<(&str, &str)> {
    let (prefix, local) = match class.strip_prefix(BIOPORTAL) {
        Some(path) => path.split_once('/')?,
        None => class.strip_prefix(OBO)?.rsplit_once('_')?,
    };
    (!prefix.is_empty() && !local.is_empty()).then_some((prefix, local))
}

fn several(text: Option<&str>) -> impl Iterator<Item = &str> {
    text.unwrap_or_default().split('|').map(str::trim).filter(|part| !part.is_empty())
}

impl RowParser for Rows {
    fn row(&self, row: &Row<'_>, out: &mut Output) -> Kept {
        let class = row.needed(self.id)?;
        let label = row.text(Some(self.label));
        let obsolete = match row.text(self.obsolete) {
            None => false,
            Some(text) if text.eq_ignore_ascii_case("true") => true,
            Some(text) if text.eq_ignore_ascii_case("false") => false,
            Some(_) => {
                out.hole("obsolete");
                false
            }
        };
        with_buffers(|[curie, object, types, _]| {
            self.push_class(curie, class);
            // The code is what the IRI ends in, as other exports of the vocabulary have it.
            let local = curie.split_once(':').map(|(_, local)| local).filter(|local| class.ends_with(local));
            let code = local.unwrap_or(class);
            for kind in several(row.text(self.types)) {
                if !types.is_empty() {
                    types.push('|');
                }
                types.push_str(kind.rsplit('/').next().unwrap_or(kind));
            }
            out.concept(&Concept {
                code: Some(code),
                curie: Some(curie.as_str()),
                name: label,
                category: Some(types.as_str()).filter(|types| !types.is_empty()),
                definition: row.text(self.definitions),
                obsolete: Some(obsolete),
            });
            if let Some(label) = label {
                out.name(code, label, NameType::Label, ENGLISH);
            }
            for synonym in several(row.text(self.synonyms)).filter(|synonym| Some(*synonym) != label) {
                out.name(code, synonym, NameType::Exact, ENGLISH);
            }
            let parents = several(row.text(self.parents)).map(|parent| (SUB_CLASS_OF, parent));
            let cuis = several(row.text(self.cui)).map(|cui| (HAS_DB_XREF, cui));
            for (predicate, target) in parents.chain(cuis) {
                object.clear();
                if predicate == HAS_DB_XREF {
                    curies::push(object, "umls", target);
                } else {
                    self.push_class(object, target);
                }
                out.edge(&Edge {
                    subject: Some(curie.as_str()),
                    subject_name: label,
                    predicate: Some(predicate),
                    object: Some(object.as_str()),
                    ..Edge::default()
                });
            }
        });
        Ok(Taken::Kept)
    }
}

#[cfg(test)]
mod tests {
    use generel_schemas::RejectReason;
    use proptest::prelude::*;

    use super::super::super::testing::{cells, nulled, options, read, rejected, table_cells};
    use super::*;

    const HEADER: &str = "Class ID,Preferred Label,Synonyms,Definitions,Obsolete,CUI,Semantic Types,Parents\n";

    #[test]
    fn classes_of_several_ontologies() {
        let text = format!(
            "{HEADER}http://purl.bioontology.org/ontology/RXNORM/706898,Fentanyl Tablet,\"a, b|fentaNYL\",,false,C1948906,\
             http://purl.bioontology.org/ontology/STY/T200|http://purl.bioontology.org/ontology/STY/T121,\
             http://purl.bioontology.org/ontology/RXNORM/1\n\
             http://purl.obolibrary.org/obo/DOID_9352,diabetes,,def,true,,,\n\
             http://purl.obolibrary.org/obo/XYZ_1,,,,maybe,,,\n\
             http://example.org/a b,other,,,,,,\n,nothing,,,,,,\n"
        );
        let chunks = read(&BioPortalCsv, &[("rx.csv", text.as_bytes())], &options()).unwrap();
        assert_eq!(
            cells(&chunks, "curie"),
            ["rxnorm:706898", "DOID:9352", "XYZ:1", "rx:http%3A%2F%2Fexample.org%2Fa%20b"]
        );
        assert_eq!(table_cells(&chunks, &CONCEPTS, "code"), ["706898", "9352", "1", "http://example.org/a b"]);
        assert_eq!(cells(&chunks, "category"), ["T200|T121", "-", "-", "-"]);
        assert_eq!(cells(&chunks, "obsolete"), ["false", "true", "false", "false"]);
        assert_eq!(nulled(&chunks, "obsolete"), 1);
        assert_eq!(
            table_cells(&chunks, &CONCEPT_NAMES, "name"),
            ["Fentanyl Tablet", "a, b", "fentaNYL", "diabetes", "other"]
        );
        assert_eq!(cells(&chunks, "object"), ["rxnorm:1", "umls:C1948906"]);
        assert_eq!(cells(&chunks, "predicate"), [SUB_CLASS_OF, HAS_DB_XREF]);
        assert_eq!(rejected(&chunks), [(6, "Class ID", RejectReason::MissingValue)]);
    }

    #[test]
    fn the_header_must_be_there() {
        assert!(read(&BioPortalCsv, &[("x.csv", b"Class,Label\n1,2\n")], &options()).is_err());
        let head = Head { name: "x.csv".to_string(), text: HEADER.to_string() };
        assert_eq!(BioPortalCsv.recognize(&head).map(|l| l.score), Some(97));
    }

    proptest! {
        #[test]
        fn any_bytes_balance(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let text = [HEADER.as_bytes(), &bytes].concat();
            let _ = read(&BioPortalCsv, &[("x.csv", &text)], &options()).unwrap();
        }
    }
}
