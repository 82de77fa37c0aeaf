//! OMOP's standardized vocabularies as Athena exports them: `CONCEPT.csv`, `CONCEPT_SYNONYM.csv` and
//! `CONCEPT_RELATIONSHIP.csv`, tab-separated with ordinary quotes, or comma-separated as in Eunomia's sample sets.

use generel_schemas::tables::{CONCEPT_NAMES, CONCEPTS, KG_EDGES, NameType, SUB_CLASS_OF};
use generel_schemas::{RejectReason, Table};

use super::super::output::{Concept, Edge, Output};
use super::super::recognize::{Head, Likeness};
use super::super::text::delimited::{Delimited, Header, Kept, Refused, Row, RowParser, Taken};
use super::super::{Found, InputFile, Place, ReadOptions, Reader, Source};
use super::curies::{self, with_buffers};
use super::omop_concepts::Concepts;
use super::{ENGLISH, dialect, separator};
use crate::{Error, Result};

const CONCEPT: &str = "concept";
/// The tables that are read, in the order in which a folder is.
const TABLES: [(&str, File); 3] =
    [(CONCEPT, File::Concepts), ("concept_synonym", File::Synonyms), ("concept_relationship", File::Relationships)];

/// The format `omop-vocabulary`.
pub(in super::super) struct OmopVocabulary;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum File {
    Concepts,
    Synonyms,
    Relationships,
}

impl File {
    /// Columns that no other table has together.
    fn columns(self) -> &'static [&'static str] {
        match self {
            Self::Concepts => &["concept_id", "concept_name", "vocabulary_id", "concept_code"],
            Self::Synonyms => &["concept_id", "concept_synonym_name"],
            Self::Relationships => &["concept_id_1", "concept_id_2", "relationship_id"],
        }
    }

    fn of(head: &Head) -> Option<Self> {
        let separator = separator(head);
        TABLES.iter().map(|(_, file)| *file).find(|file| head.has_columns(separator, file.columns()))
    }
}

impl Source for OmopVocabulary {
    fn name(&self) -> &'static str {
        "omop-vocabulary"
    }

    fn doc(&self) -> &'static str {
        "OMOP vocabularies from Athena: folder with CONCEPT.csv and, if wanted, CONCEPT_SYNONYM.csv, CONCEPT_RELATIONSHIP.csv"
    }

    fn example(&self) -> &'static str {
        "generel ingest --format omop-vocabulary --source athena vocabulary_download_v5/"
    }

    fn tables(&self) -> &'static [&'static Table] {
        &[&CONCEPTS, &CONCEPT_NAMES, &KG_EDGES]
    }

    fn recognize(&self, head: &Head) -> Option<Likeness> {
        let file = File::of(head)?;
        Likeness::new(97, format!("the header has {}", file.columns().join(", ")))
    }

    fn files(&self, found: &Found) -> Result<Vec<InputFile>> {
        match found {
            Found::File(place) if table_name(place) == CONCEPT => Ok(vec![InputFile::open(place)?]),
            Found::File(place) => {
                place.size()?;
                let concepts = find(&place.siblings()?, CONCEPT).filter(|found| found.path() != place.path());
                Ok(vec![InputFile::with_companions(place, concepts.into_iter().collect())?])
            }
            Found::Folder(path, places) => {
                let Some(concepts) = find(places, CONCEPT) else {
                    return Err(Error::Invalid(format!("{}: no CONCEPT.csv in it", path.display())));
                };
                let mut files = vec![InputFile::open(&concepts)?];
                for place in TABLES.iter().skip(1).filter_map(|(table, _)| find(places, table)) {
                    files.push(InputFile::with_companions(&place, vec![concepts.clone()])?);
                }
                Ok(files)
            }
        }
    }

    fn open(&self, file: &InputFile, options: &ReadOptions) -> Result<Reader> {
        let head = Head::read(&file.place)?;
        let delimited = Delimited::open(file, options, dialect(&head))?;
        let Some(kind) = File::of(&head) else {
            let message = "not an OMOP vocabulary table: expected the columns of CONCEPT, CONCEPT_SYNONYM or \
                           CONCEPT_RELATIONSHIP (CONCEPT_ANCESTOR and others are not read)";
            return Err(delimited.header.error(message));
        };
        if kind == File::Concepts {
            let rows = ConceptRows::new(&delimited.header)?;
            return Ok(delimited.into_reader(rows));
        }
        let Some(place) = file.companions.first() else {
            return Err(delimited.header.error("CONCEPT.csv must be in the same folder: it has the codes of the ids"));
        };
        let companion = dialect(&Head::read(place)?);
        let concepts = Concepts::load(place, companion, options, kind == File::Relationships)?;
        Ok(match kind {
            File::Synonyms => {
                let rows = SynonymRows::new(&delimited.header, concepts)?;
                delimited.into_reader(rows)
            }
            _ => {
                let rows = RelationshipRows::new(&delimited.header, concepts)?;
                delimited.into_reader(rows)
            }
        })
    }
}

/// The table that a file's name names: `CONCEPT.csv.gz` is `concept`.
fn table_name(place: &Place) -> String {
    let name = place.bare_name().to_ascii_lowercase();
    let stem = name.strip_suffix(".csv").or_else(|| name.strip_suffix(".tsv")).or_else(|| name.strip_suffix(".txt"));
    stem.unwrap_or(&name).to_string()
}

fn find(places: &[Place], table: &str) -> Option<Place> {
    places.iter().find(|place| table_name(place) == table).cloned()
}

fn id(row: &Row<'_>, column: usize) -> Kept<u32> {
    let text = row.needed(column)?;
    text.parse()
        .map_err(|_| Refused::column(column, RejectReason::InvalidNumber, "expected a concept id, a whole number"))
}

/// `D` deleted, `U` replaced by an update.
fn is_invalid(row: &Row<'_>, column: Option<usize>) -> bool {
    matches!(row.text(column), Some("D" | "U" | "d" | "u"))
}

/// Rows of `CONCEPT.csv`.
struct ConceptRows {
    code: usize,
    vocabulary: usize,
    name: usize,
    domain: Option<usize>,
    invalid: Option<usize>,
}

impl ConceptRows {
    fn new(header: &Header) -> Result<Self> {
        Ok(Self {
            code: header.require(&["concept_code"])?,
            vocabulary: header.require(&["vocabulary_id"])?,
            name: header.require(&["concept_name"])?,
            domain: header.find(&["domain_id"]),
            invalid: header.find(&["invalid_reason"]),
        })
    }
}

impl RowParser for ConceptRows {
    fn row(&self, row: &Row<'_>, out: &mut Output) -> Kept {
        let (code, vocabulary) = (row.needed(self.code)?, row.needed(self.vocabulary)?);
        // Athena withholds CPT-4's names until its own program has filled them in.
        let name = row.text(Some(self.name));
        with_buffers(|[curie, ..]| {
            curies::push_code(curie, vocabulary, code);
            out.concept(&Concept {
                code: Some(code),
                curie: Some(curie.as_str()),
                name,
                category: row.text(self.domain),
                definition: None,
                obsolete: Some(is_invalid(row, self.invalid)),
            });
        });
        if let Some(name) = name {
            out.name(code, name, NameType::Label, ENGLISH);
        }
        Ok(Taken::Kept)
    }
}

/// Rows of `CONCEPT_SYNONYM.csv`.
struct SynonymRows {
    id: usize,
    name: usize,
    language: Option<usize>,
    concepts: Concepts,
}

impl SynonymRows {
    fn new(header: &Header, concepts: Concepts) -> Result<Self> {
        Ok(Self {
            id: header.require(&["concept_id"])?,
            name: header.require(&["concept_synonym_name"])?,
            language: header.find(&["language_concept_id"]),
            concepts,
        })
    }
}

impl RowParser for SynonymRows {
    fn row(&self, row: &Row<'_>, out: &mut Output) -> Kept {
        let (id, name) = (id(row, self.id)?, row.needed(self.name)?);
        let language = match (self.language, row.text(self.language)) {
            (Some(column), Some(_)) => Some(self::id(row, column)?),
            _ => None,
        };
        let Some(concept) = self.concepts.get(id) else {
            return Ok(Taken::Ignored("the concept is not in CONCEPT.csv"));
        };
        out.name(concept.code, name, NameType::Exact, self.concepts.language(language));
        Ok(Taken::Kept)
    }
}

/// Rows of `CONCEPT_RELATIONSHIP.csv`.
struct RelationshipRows {
    subject: usize,
    object: usize,
    relationship: usize,
    invalid: Option<usize>,
    concepts: Concepts,
}

impl RelationshipRows {
    fn new(header: &Header, concepts: Concepts) -> Result<Self> {
        Ok(Self {
            subject: header.require(&["concept_id_1"])?,
            object: header.require(&["concept_id_2"])?,
            relationship: header.require(&["relationship_id"])?,
            invalid: header.find(&["invalid_reason"]),
            concepts,
        })
    }

    /// Writes the CURIE of a concept, of its id where `CONCEPT.csv` lacks it; its name.
    fn concept(&self, buffer: &mut String, id: u32, text: &str) -> Option<&str> {
        let Some(concept) = self.concepts.get(id) else {
            curies::push(buffer, "omop", text);
            return None;
        };
        concept.push_curie(buffer);
        concept.name
    }
}

impl RowParser for RelationshipRows {
    fn row(&self, row: &Row<'_>, out: &mut Output) -> Kept {
        let (first, second) = (id(row, self.subject)?, id(row, self.object)?);
        let relationship = row.needed(self.relationship)?;
        if is_invalid(row, self.invalid) {
            return Ok(Taken::Ignored("invalid relationship"));
        }
        with_buffers(|[subject, predicate, object, _]| {
            let subject_name = self.concept(subject, first, row.get(self.subject));
            let object_name = self.concept(object, second, row.get(self.object));
            push_predicate(predicate, relationship);
            out.edge(&Edge {
                subject: Some(subject.as_str()),
                subject_name,
                predicate: Some(predicate.as_str()),
                object: Some(object.as_str()),
                object_name,
                ..Edge::default()
            });
        });
        Ok(Taken::Kept)
    }
}

/// `Is a` is the ontologies' subclass; every other relationship keeps its id: `omop:Maps_to`.
fn push_predicate(buffer: &mut String, relationship: &str) {
    if relationship == "Is a" {
        return buffer.push_str(SUB_CLASS_OF);
    }
    buffer.push_str("omop:");
    buffer.extend(relationship.chars().map(|c| if c.is_whitespace() || c.is_control() { '_' } else { c }));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::testing::{cells, ignored, options, read, read_path, rejected, table_cells};
    use super::*;

    const CONCEPTS_TSV: &str = "concept_id\tconcept_name\tdomain_id\tvocabulary_id\tconcept_class_id\tstandard_concept\t\
        concept_code\tvalid_start_date\tvalid_end_date\tinvalid_reason\n\
        201826\tType 2 \"adult\" diabetes mellitus\tCondition\tSNOMED\tDisorder\tS\t44054006\t19700101\t20991231\t\n\
        45591027\tType 2 diabetes\tCondition\tICD10CM\t4-char billing code\t\tE11.9\t20070101\t20991231\t\n\
        8840\tmilligram per deciliter\tUnit\tUCUM\tUnit\tS\tmg/dL\t19700101\t20991231\t\n\
        2106252\t\tProcedure\tCPT4\tCPT4\tS\t0001F\t20090101\t20991231\tD\n\
        4180190\tFrench language\tObservation\tSNOMED\tQualifier Value\tS\t297504001\t19700101\t20991231\t\n\
        x\tno code\tUnit\tUCUM\tUnit\tS\t\t19700101\t20991231\t\n";
    const SYNONYMS: &str = "concept_id\tconcept_synonym_name\tlanguage_concept_id\n\
        201826\tNIDDM\t4180186\n201826\tDiabète de type 2\t4180190\n201826\tDiabetes tipo 2\t4182511\n\
        8840\tmg/dL\t99\n7\tnowhere\t4180186\ny\tbad\t4180186\n";
    const RELATIONSHIPS: &str = "concept_id_1\tconcept_id_2\trelationship_id\tvalid_start_date\tvalid_end_date\t\
        invalid_reason\n\
        45591027\t201826\tMaps to\t20150101\t20991231\t\n45591027\t7\tIs a\t20150101\t20991231\t\n\
        201826\t45591027\tMapped from\t20150101\t20991231\tD\n201826\t\tMapped from\t20150101\t20991231\t\n";

    fn companions(name: &str, text: &str) -> Vec<super::super::super::Chunk> {
        let files = [(name, text.as_bytes()), ("CONCEPT.csv", CONCEPTS_TSV.as_bytes())];
        read(&OmopVocabulary, &files, &options()).unwrap()
    }

    #[test]
    fn concepts() {
        let chunks = read(&OmopVocabulary, &[("CONCEPT.csv", CONCEPTS_TSV.as_bytes())], &options()).unwrap();
        assert_eq!(
            cells(&chunks, "curie"),
            ["snomedct:44054006", "icd10cm:E11.9", "UCUM:mg%2FdL", "cpt:0001F", "snomedct:297504001"]
        );
        assert_eq!(cells(&chunks, "obsolete"), ["false", "false", "false", "true", "false"]);
        assert_eq!(cells(&chunks, "category"), ["Condition", "Condition", "Unit", "Procedure", "Observation"]);
        assert_eq!(table_cells(&chunks, &CONCEPTS, "name")[3], "-");
        assert_eq!(table_cells(&chunks, &CONCEPT_NAMES, "code"), ["44054006", "E11.9", "mg/dL", "297504001"]);
        assert_eq!(table_cells(&chunks, &CONCEPT_NAMES, "name")[0], "Type 2 \"adult\" diabetes mellitus");
        assert_eq!(rejected(&chunks), [(7, "concept_code", RejectReason::MissingValue)]);
    }

    #[test]
    fn comma_separated_with_quotes() {
        let text = "concept_id,concept_name,domain_id,vocabulary_id,concept_class_id,standard_concept,concept_code,\
            valid_start_date,valid_end_date,invalid_reason\n1,\"Rubella, \"\"old\"\"\",Procedure,SNOMED,P,\"\",169690007,\
            2002-01-31,2019-07-31,U\n";
        let chunks = read(&OmopVocabulary, &[("CONCEPT.csv", text.as_bytes())], &options()).unwrap();
        assert_eq!(table_cells(&chunks, &CONCEPT_NAMES, "name"), ["Rubella, \"old\""]);
        assert_eq!(cells(&chunks, "obsolete"), ["true"]);
    }

    #[test]
    fn synonyms() {
        let chunks = companions("CONCEPT_SYNONYM.csv", SYNONYMS);
        assert_eq!(cells(&chunks, "code"), ["44054006", "44054006", "44054006", "mg/dL"]);
        assert_eq!(cells(&chunks, "language"), ["en", "fr", "es", "und"]);
        assert_eq!(cells(&chunks, "name_type"), ["exact"; 4]);
        assert_eq!(ignored(&chunks), 1);
        assert_eq!(rejected(&chunks), [(7, "concept_id", RejectReason::InvalidNumber)]);
    }

    #[test]
    fn relationships() {
        let chunks = companions("CONCEPT_RELATIONSHIP.csv", RELATIONSHIPS);
        assert_eq!(cells(&chunks, "subject"), ["icd10cm:E11.9", "icd10cm:E11.9"]);
        assert_eq!(cells(&chunks, "subject_name"), ["Type 2 diabetes", "Type 2 diabetes"]);
        assert_eq!(cells(&chunks, "predicate"), ["omop:Maps_to", SUB_CLASS_OF]);
        assert_eq!(cells(&chunks, "object"), ["snomedct:44054006", "omop:7"]);
        assert_eq!(cells(&chunks, "object_name"), ["Type 2 \"adult\" diabetes mellitus", "-"]);
        assert_eq!(ignored(&chunks), 1);
        assert_eq!(rejected(&chunks), [(5, "concept_id_2", RejectReason::MissingValue)]);
    }

    #[test]
    fn folders_and_companions() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("CONCEPT_SYNONYM.csv", SYNONYMS);
        write("CONCEPT_ANCESTOR.csv", "ancestor_concept_id\tdescendant_concept_id\n");
        assert!(read_path(&OmopVocabulary, folder.path(), &options()).is_err());
        assert!(read_path(&OmopVocabulary, &folder.path().join("CONCEPT_SYNONYM.csv"), &options()).is_err());
        assert!(read_path(&OmopVocabulary, &folder.path().join("CONCEPT_ANCESTOR.csv"), &options()).is_err());
        write("CONCEPT.csv", CONCEPTS_TSV);
        write("CONCEPT_RELATIONSHIP.csv", RELATIONSHIPS);
        let chunks = read_path(&OmopVocabulary, folder.path(), &options()).unwrap();
        assert_eq!(chunks.iter().map(|c| c.rows_read).sum::<u64>(), 6 + 6 + 4);
    }

    #[test]
    fn persons_are_another_format() {
        let head = |text: &str| Head { name: "person.csv".to_string(), text: text.to_string() };
        assert_eq!(OmopVocabulary.recognize(&head("person_id,gender_concept_id,year_of_birth\n")), None);
        assert_eq!(OmopVocabulary.recognize(&head(CONCEPTS_TSV)).map(|l| l.score), Some(97));
    }

    proptest! {
        #[test]
        fn any_bytes_balance(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let concepts = [CONCEPTS_TSV.as_bytes(), &bytes].concat();
            let _ = read(&OmopVocabulary, &[("CONCEPT.csv", &concepts)], &options()).unwrap();
            for (name, text) in [("CONCEPT_SYNONYM.csv", SYNONYMS), ("CONCEPT_RELATIONSHIP.csv", RELATIONSHIPS)] {
                let rows = [text.as_bytes(), &bytes].concat();
                let files: [(&str, &[u8]); 2] = [(name, &rows), ("CONCEPT.csv", &concepts)];
                let _ = read(&OmopVocabulary, &files, &options()).unwrap();
            }
        }
    }
}
