//! OMOP CDM 5.3 and 5.4 tables as CSV: clinical events and persons.
//!
//! Person identifiers leave this module only as pseudonyms, and stand masked in rejected rows.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::datatypes::Date32Type;
use chrono::NaiveDate;
use generel_schemas::omop::{CONCEPT, EVENT_TABLES, EventTable, PERSON};
use generel_schemas::tables::PATIENT_EVENTS;
use generel_schemas::{RejectReason, Table};

use super::super::output::{Event, Output};
use super::super::recognize::{Head, Likeness};
use super::super::text::delimited::{Delimited, Delimiter, Dialect, Header, Kept, Refused, Row, RowParser, Taken};
use super::super::text::values::{self, digits};
use super::super::{Found, InputFile, Place, ReadOptions, Reader, Source};
use super::folder::Persons;
use crate::{Error, Result};

/// Columns that identify a person, in every table.
const PERSONS: [&str; 2] = ["person_id", "person_source_value"];

/// The format `omop`.
pub(in super::super) struct Omop;

impl Source for Omop {
    fn name(&self) -> &'static str {
        "omop"
    }

    fn doc(&self) -> &'static str {
        "OMOP CDM 5.3/5.4 folder of CSV files: person and the event tables; names come from the concept table beside them"
    }

    fn example(&self) -> &'static str {
        "generel ingest --format omop --source hospital omop-folder/"
    }

    fn tables(&self) -> &'static [&'static Table] {
        &[&PATIENT_EVENTS]
    }

    fn recognize(&self, head: &Head) -> Option<Likeness> {
        let table = head.name.rsplit_once('.').map_or(head.name.as_str(), |(stem, _)| stem);
        let known = layout_of(table)?;
        let separator = if head.header().contains('\t') { '\t' } else { ',' };
        let columns = ["person_id", known.concept_id()];
        head.has_columns(separator, &columns)
            .then(|| Likeness::new(98, format!("OMOP's table {table}, by name and columns")))?
    }

    fn files(&self, found: &Found) -> Result<Vec<InputFile>> {
        match found {
            Found::File(place) => {
                place.size()?;
                layout(place)?;
                let concepts = find(&place.siblings()?, CONCEPT)?;
                Ok(vec![InputFile::with_companions(place, concepts.into_iter().collect())?])
            }
            Found::Folder(path, places) => {
                let mut tables = Vec::new();
                for table in table_names() {
                    tables.extend(find(places, table)?);
                }
                if tables.is_empty() {
                    let names = table_names().collect::<Vec<_>>().join(", ");
                    return Err(Error::Invalid(format!("{}: no .csv file of {names} in it", path.display())));
                }
                tables.sort_by(|a, b| a.path().cmp(b.path()));
                let concepts = find(places, CONCEPT)?;
                tables.iter().map(|t| InputFile::with_companions(t, concepts.iter().cloned().collect())).collect()
            }
        }
    }

    fn open(&self, file: &InputFile, options: &ReadOptions) -> Result<Reader> {
        let layout = layout(&file.place)?;
        let mut delimited = Delimited::open(file, options, dialect(&file.place, false)?)?;
        delimited.header.mask_all_but(&[]);
        let columns = Columns::of(layout, &delimited.header)?;
        delimited.header.mask(|name| PERSONS.iter().any(|p| p.eq_ignore_ascii_case(name)));
        let concepts = match file.companions.first() {
            Some(place) => load_concepts(place, options)?,
            None => HashMap::new(),
        };
        let persons = Persons::of(options);
        Ok(delimited.into_reader(Rows { table: layout.name(), columns, concepts, persons }))
    }
}

/// Comma-separated with quotes; a vocabulary file that is tab-separated is Athena's, where a quote is an ordinary
/// character.
fn dialect(place: &Place, vocabulary: bool) -> Result<Dialect> {
    let head = Head::read(place)?;
    let header = head.header();
    let tabs = header.contains('\t') && !header.contains(',');
    Ok(Dialect {
        delimiter: Delimiter::Byte(if tabs { b'\t' } else { b',' }),
        quoted: !(tabs && vocabulary),
        ..Dialect::CSV
    })
}

fn table_names() -> impl Iterator<Item = &'static str> {
    EVENT_TABLES.iter().map(|table| table.name).chain(std::iter::once(PERSON))
}

/// The table that a file's name names: `PERSON.csv.gz` is `person`.
fn table_name(place: &Place) -> Option<String> {
    place.bare_name().to_ascii_lowercase().strip_suffix(".csv").map(str::to_string)
}

/// A table's file among others. Two of them are an error: each event would be there twice.
fn find(places: &[Place], table: &str) -> Result<Option<Place>> {
    let mut found = places.iter().filter(|place| table_name(place).as_deref() == Some(table));
    let first = found.next().cloned();
    match (first, found.next()) {
        (_, Some(second)) => {
            let folder = second.path().parent().unwrap_or(second.path()).display();
            Err(Error::Invalid(format!("{folder}: more than one file of table {table}; keep one")))
        }
        (first, None) => Ok(first),
    }
}

/// How a table says what an event needs.
#[derive(Clone, Copy)]
enum Layout {
    Event(&'static EventTable),
    Person,
}

impl Layout {
    fn name(self) -> &'static str {
        match self {
            Self::Event(table) => table.name,
            Self::Person => PERSON,
        }
    }

    fn concept_id(self) -> &'static str {
        match self {
            Self::Event(table) => table.concept_id,
            Self::Person => "gender_concept_id",
        }
    }
}

fn layout_of(table: &str) -> Option<Layout> {
    if table == PERSON {
        return Some(Layout::Person);
    }
    EVENT_TABLES.iter().find(|t| t.name == table).map(Layout::Event)
}

fn layout(place: &Place) -> Result<Layout> {
    table_name(place).as_deref().and_then(layout_of).ok_or_else(|| {
        let names = table_names().collect::<Vec<_>>().join(", ");
        Error::Invalid(format!(
            "{}: the name must be that of an OMOP table ({names}) with .csv",
            place.path().display()
        ))
    })
}

/// Where in the header an event's values stand.
struct Columns {
    person_id: usize,
    concept_id: usize,
    date: DateColumns,
    datetime: Option<usize>,
    source_value: Option<usize>,
    source_concept_id: Option<usize>,
    value_as_number: Option<usize>,
    value_as_string: Option<usize>,
    unit: Option<usize>,
}

enum DateColumns {
    Event(usize),
    Birth { year: usize, month: Option<usize>, day: Option<usize> },
}

impl Columns {
    fn of(layout: Layout, header: &Header) -> Result<Self> {
        let at = |name: &str| header.find(&[name]);
        let need = |name: &str| header.require(&[name]);
        match layout {
            Layout::Event(table) => Ok(Self {
                person_id: need("person_id")?,
                concept_id: need(table.concept_id)?,
                date: DateColumns::Event(need(table.date)?),
                datetime: at(table.datetime),
                source_value: at(table.source_value),
                source_concept_id: at(table.source_concept_id),
                value_as_number: table.value_as_number.and_then(at),
                value_as_string: table.value_as_string.and_then(at),
                unit: table.unit.and_then(at),
            }),
            Layout::Person => Ok(Self {
                person_id: need("person_id")?,
                concept_id: need("gender_concept_id")?,
                date: DateColumns::Birth {
                    year: need("year_of_birth")?,
                    month: at("month_of_birth"),
                    day: at("day_of_birth"),
                },
                datetime: at("birth_datetime"),
                source_value: at("gender_source_value"),
                source_concept_id: None,
                value_as_number: None,
                value_as_string: None,
                unit: None,
            }),
        }
    }
}

/// What a concept is called and which vocabulary it is from.
struct Concept {
    name: Box<str>,
    vocabulary: Arc<str>,
}

type Concepts = HashMap<i64, Concept>;

/// These rows only name what events refer to: one that cannot be read leaves its events without a name.
fn load_concepts(place: &Place, options: &ReadOptions) -> Result<Concepts> {
    let file = InputFile::open(place)?;
    let delimited = Delimited::open(&file, options, dialect(place, true)?)?;
    let at = |name: &str| delimited.header.require(&[name]);
    let (id, name, vocabulary) = (at("concept_id")?, at("concept_name")?, at("vocabulary_id")?);
    let (mut concepts, mut vocabularies) = (HashMap::new(), HashSet::<Arc<str>>::new());
    delimited.for_each(|row| {
        let Ok(id) = row.get(id).parse::<i64>() else { return };
        let text = row.get(vocabulary);
        let vocabulary = vocabularies.get(text).cloned().unwrap_or_else(|| Arc::from(text));
        vocabularies.insert(Arc::clone(&vocabulary));
        concepts.insert(id, Concept { name: row.get(name).into(), vocabulary });
    })?;
    Ok(concepts)
}

struct Rows {
    table: &'static str,
    columns: Columns,
    concepts: Concepts,
    persons: Persons,
}

impl RowParser for Rows {
    /// What must be there is read first, so that holes are counted only of rows that are kept.
    fn row(&self, row: &Row<'_>, out: &mut Output) -> Kept {
        let columns = &self.columns;
        let person = row.needed(columns.person_id)?;
        let concept_id: i64 = match row.text(Some(columns.concept_id)) {
            None => 0,
            Some(text) => text.parse().map_err(|_| {
                let message = "expected a concept id, a whole number";
                Refused::column(columns.concept_id, RejectReason::InvalidNumber, message)
            })?,
        };
        let date = self.date(row)?;
        let source_concept = row.text(columns.source_concept_id).and_then(|text| text.parse::<i64>().ok());
        let concept = source_concept.and_then(|id| self.concept(id)).or_else(|| self.concept(concept_id));
        let pseudonym = self.persons.pseudonym(person);
        let event = Event {
            person_id: Some(pseudonym.as_str()),
            event_table: Some(self.table),
            event_date: Some(date),
            event_datetime: out
                .or_hole("event_datetime", row.text(columns.datetime).map(|t| values::datetime(t).ok_or(()))),
            source_vocabulary: concept.map(|c| &*c.vocabulary).filter(|text| !text.is_empty()),
            source_code: out.or_hole("source_code", row.text(columns.source_value).map(code)),
            source_name: concept.map(|c| &*c.name).filter(|text| !text.is_empty()),
            concept_id: Some(concept_id),
            value_as_number: out
                .or_hole("value_as_number", row.text(columns.value_as_number).map(|t| values::number(t).ok_or(()))),
            value_as_string: row.text(columns.value_as_string),
            unit: row.text(columns.unit),
        };
        out.event(&event);
        Ok(Taken::Kept)
    }
}

/// A source value that is a code. A UUID is none: it names one visit in the hospital's own systems, and leads to the person.
fn code(text: &str) -> std::result::Result<&str, ()> {
    let is_uuid = text.len() == 36
        && text.bytes().enumerate().all(|(i, byte)| match i {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
    if is_uuid { Err(()) } else { Ok(text) }
}

impl Rows {
    /// A concept by its id; 0 is OMOP's "No matching concept", whose name says nothing of the event.
    fn concept(&self, id: i64) -> Option<&Concept> {
        self.concepts.get(&id).filter(|_| id != 0)
    }

    fn date(&self, row: &Row<'_>) -> Kept<i32> {
        match self.columns.date {
            DateColumns::Event(column) => values::needed_date(column, row.needed(column)?),
            DateColumns::Birth { year, month, day } => {
                let wrong = |column| Refused::column(column, RejectReason::InvalidDate, "expected a date of birth");
                let text = row.needed(year)?;
                let number = digits(text.as_bytes()).filter(|_| text.len() == 4).ok_or_else(|| wrong(year))?;
                // Month and day are 1 where the source withholds them.
                let part = |column: Option<usize>| match (column, row.text(column)) {
                    (Some(column), Some(text)) => digits(text.as_bytes()).ok_or_else(|| wrong(column)),
                    _ => Ok(1),
                };
                let (month, day) = (part(month)?, part(day)?);
                let date = i32::try_from(number).ok().and_then(|y| NaiveDate::from_ymd_opt(y, month, day));
                date.map(Date32Type::from_naive_date).ok_or_else(|| wrong(year))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::{Chunk, testing};
    use super::*;
    use crate::person::PersonKey;

    const HEADER: &str = "measurement_id,person_id,measurement_concept_id,measurement_date,measurement_datetime,\
                          value_as_number,unit_source_value,measurement_source_value,measurement_source_concept_id,\
                          value_source_value";
    const CONCEPTS: &str = "concept_id,concept_name,vocabulary_id\n0,No matching concept,None\n11,Standard,V1\n\
                            12,\"Own, quoted\",V2\nx,Broken,V3\n8507,MALE,Gender\n";

    fn key() -> PersonKey {
        PersonKey::new(b"key")
    }

    fn read(files: &[(&str, &[u8])]) -> Result<Vec<Chunk>> {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            std::fs::write(folder.path().join(name), bytes).unwrap();
        }
        let mut options = testing::options();
        options.source = "hospital".to_string();
        testing::read_path(&Omop, folder.path(), &options)
    }

    fn measurements(rows: &str) -> Vec<Chunk> {
        let table = format!("{HEADER}\n{rows}");
        read(&[("MEASUREMENT.csv", table.as_bytes()), ("Concept.CSV", CONCEPTS.as_bytes())]).unwrap()
    }

    fn column(chunks: &[Chunk], name: &str) -> Vec<String> {
        testing::cells(chunks, name)
    }

    fn rejected(chunks: &[Chunk]) -> Vec<(u64, RejectReason, &str)> {
        chunks.iter().flat_map(|c| &c.rejected).map(|r| (r.line, r.reason, r.raw.as_str())).collect()
    }

    #[test]
    fn what_names_one_visit_is_no_code() {
        let header = "visit_occurrence_id,person_id,visit_concept_id,visit_start_date,visit_start_datetime,visit_source_value,\
                      visit_source_concept_id";
        let rows = "1,anna,11,2020-01-02,,3528b5de-9f60-a69a-ca36-d508f1f31852,0\n2,anna,11,2020-01-03,,inpatient,0\n";
        let chunks = read(&[("VISIT_OCCURRENCE.csv", format!("{header}\n{rows}").as_bytes())]).unwrap();
        assert!(rejected(&chunks).is_empty());
        assert_eq!(column(&chunks, "source_code"), ["-", "inpatient"]);
        assert_eq!(chunks[0].nulled.get("source_code"), Some(&1));
    }

    #[test]
    fn measurements_become_events() {
        let chunks = measurements(
            "1,anna,11,2020-01-02,1970-01-02 00:00:01.5,1.25,kg,S-1,12,text\n\
             2,anna,11,20200102,1970-01-02T00:00:00Z,,,S-2,0,\n\
             3,bert,,2020-01-02,soon,much,,,,\n",
        );
        assert!(rejected(&chunks).is_empty());
        let (anna, bert) = (key().pseudonym("hospital", "anna"), key().pseudonym("hospital", "bert"));
        assert_eq!(column(&chunks, "person_id"), [anna.clone(), anna, bert]);
        assert_eq!(column(&chunks, "event_table"), ["measurement"; 3]);
        assert_eq!(column(&chunks, "source_code"), ["S-1", "S-2", "-"]);
        assert_eq!(column(&chunks, "source_name"), ["Own, quoted", "Standard", "-"]);
        assert_eq!(column(&chunks, "source_vocabulary"), ["V2", "V1", "-"]);
        assert_eq!(column(&chunks, "value_as_string"), ["text", "-", "-"]);
        assert_eq!(column(&chunks, "unit"), ["kg", "-", "-"]);
        assert_eq!(column(&chunks, "event_datetime"), ["1970-01-02T00:00:01.500Z", "1970-01-02T00:00:00Z", "-"]);
        assert_eq!(column(&chunks, "value_as_number"), ["1.25", "-", "-"]);
        assert_eq!(column(&chunks, "concept_id"), ["11", "11", "0"]);
        assert_eq!(["event_datetime", "value_as_number"].map(|c| testing::nulled(&chunks, c)), [1, 1]);
    }

    #[test]
    fn persons_become_births() {
        let table = b"\xef\xbb\xbfPerson_ID,GENDER_CONCEPT_ID,year_of_birth,month_of_birth,day_of_birth,\
            birth_datetime,person_source_value,gender_source_value\r\n\
            anna,8507,1970,1,2,,SECRET,M\r\n\r\nbert,8507,1971,,,,SECRET,M\r\ncarl,0,,,,,SECRET,M\r\n\
            dora,0,85,,,,SECRET,M\r\n";
        let chunks = read(&[("person.csv", table), ("concept.csv", CONCEPTS.as_bytes())]).unwrap();
        assert_eq!(column(&chunks, "source_code"), ["M", "M"]);
        assert_eq!(column(&chunks, "source_name"), ["MALE", "MALE"]);
        assert_eq!(column(&chunks, "event_date"), ["1970-01-02", "1971-01-01"]);
        assert_eq!(
            rejected(&chunks),
            [(5, RejectReason::MissingValue, "***,0,,,,,***,M"), (6, RejectReason::InvalidDate, "***,0,85,,,,***,M")]
        );
    }

    #[test]
    fn bad_rows_are_rejected_without_the_person() {
        let chunks = measurements(
            "1,anna,11,2020-01-02,,,,\"two\nlines\",,\n\
             2,anna,11,2020-01-02\n\
             3,,11,2020-01-02,,,,,,\n\
             4,anna,eleven,2020-01-02,,,,,,\n\
             5,anna,11,,,,,,,\n\
             6,anna,11,2020-02-30,,,,\"a\nb\",,\n\
             7,anna,11,2020-01-02,,,,,,,\n\
             8,anna,11",
        );
        assert_eq!(column(&chunks, "source_code"), ["two\nlines"]);
        use RejectReason::{ColumnCount, InvalidDate, InvalidNumber, MissingValue, TornLine};
        assert_eq!(
            rejected(&chunks),
            [
                (4, ColumnCount, "***,***,***,***"),
                (5, MissingValue, "3,,11,2020-01-02,,,,,,"),
                (6, InvalidNumber, "4,***,eleven,2020-01-02,,,,,,"),
                (7, MissingValue, "5,***,11,,,,,,,"),
                (8, InvalidDate, "6,***,11,2020-02-30,,,,***,,"),
                (10, ColumnCount, "***,***,***,***,,,,,,,"),
                (11, TornLine, "***,***,***"),
            ]
        );
        assert!(chunks.iter().flat_map(|c| &c.rejected).all(|r| !format!("{r}{}", r.raw).contains("anna")));
    }

    #[test]
    fn a_swallowing_quote_and_invalid_text_are_rejected() {
        let chunks = measurements("1,anna,11,2020-01-02,,,,S,,\"open\n2,bert,11,2020-01-02,,,,S,,\n");
        assert_eq!(rejected(&chunks), [(2, RejectReason::Malformed, "***,***,***,***,,,,***,,***")]);
        assert_eq!(column(&chunks, "source_code"), ["S"]);

        let rows = b"\n1,anna,11,2020-01-02,,,,M\xe9,,\n2,anna,11,2020-01-02,,,,S,,";
        let table = [HEADER.as_bytes(), rows.as_slice()].concat();
        let chunks = read(&[("measurement.csv", &table)]).unwrap();
        assert_eq!(rejected(&chunks), [(2, RejectReason::InvalidUtf8, "1,***,11,2020-01-02,,,,M\u{fffd},,")]);
        assert_eq!(column(&chunks, "source_name"), ["-"]);

        // Two halves of a character where two fields meet, once the quotes are gone.
        let rows = b"\n1,anna,11,2020-01-02,,,,\"M\xc3\",\"\xa9\",\n";
        let table = [HEADER.as_bytes(), rows.as_slice()].concat();
        assert_eq!(rejected(&read(&[("measurement.csv", &table)]).unwrap())[0].1, RejectReason::InvalidUtf8);
    }

    #[test]
    fn folders_and_headers_are_checked() {
        assert!(matches!(read(&[("other.csv", b"a\n")]), Err(Error::Invalid(m)) if m.contains("drug_exposure")));
        assert!(matches!(read(&[("person.csv", b"")]), Err(Error::Empty { .. })));
        let table = HEADER.as_bytes();
        assert!(matches!(read(&[("measurement.csv", table), ("MEASUREMENT.csv.gz", table)]), Err(Error::Invalid(_))));
        assert!(read(&[("measurement.csv", table)]).unwrap().is_empty());
        let Err(error) = read(&[("person.csv", b"anna,8507,1970\n")]) else { panic!("a file without a header") };
        assert!(error.to_string().contains("person_id") && !error.to_string().contains("anna"));
        let tabs = HEADER.replace(',', "\t") + "\n1\tanna\t11\t2020-01-02\t\t\t\tS,1\t\t\n";
        let chunks = read(&[("measurement.csv", tabs.as_bytes())]).unwrap();
        assert_eq!(column(&chunks, "source_code"), ["S,1"]);
    }

    #[test]
    fn a_single_file_finds_its_concepts() {
        let folder = tempfile::tempdir().unwrap();
        let (person, concept) = (folder.path().join("PERSON.csv"), folder.path().join("CONCEPT.csv"));
        std::fs::write(&person, "person_id\n").unwrap();
        std::fs::write(&concept, CONCEPTS).unwrap();
        let found = |path: &std::path::Path| Found::File(Place::local(path));
        let files = Omop.files(&found(&person)).unwrap();
        assert_eq!(files[0].path(), person);
        assert_eq!(files[0].companions[0].path(), concept);
        assert!(matches!(Omop.files(&found(&concept)), Err(Error::Invalid(_))));
        assert!(matches!(Omop.files(&found(&folder.path().join("none.csv"))), Err(Error::Io { .. })));
    }

    proptest! {
        #[test]
        fn any_bytes_balance(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&[("measurement.csv", &bytes)]);
            let table = [HEADER.as_bytes(), "\n".as_bytes(), bytes.as_slice()].concat();
            let concepts = [CONCEPTS.as_bytes(), bytes.as_slice()].concat();
            let _ = read(&[("measurement.csv", &table), ("concept.csv", &concepts)]).unwrap();
        }

        #[test]
        fn any_fields_balance(parts in proptest::collection::vec(proptest::sample::select(vec![
            ",", ",", ",", ",", "\n", "\r\n", "\"", "1", "anna", "2020-01-02", "2020-01-02 03:04:05", "1e5", "\u{e9}",
            "9,anna,11,2020-01-02,,,,,,\n",
        ]), 0..80)) {
            let table = format!("{HEADER}\n{}", parts.concat());
            let _ = read(&[("measurement.csv", table.as_bytes()), ("concept.csv", CONCEPTS.as_bytes())]).unwrap();
        }
    }
}
