//! OMOP CDM 5.3 and 5.4 tables as CSV: clinical events and persons.
//!
//! Person identifiers leave this module only as pseudonyms. A rejected row shows its person columns masked; where the
//! columns cannot be trusted (a wrong count, a quote that swallowed other rows), every field in doubt is masked.

mod events;
mod records;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::Date32Type;
use chrono::NaiveDate;
use generel_schemas::omop::{CONCEPT, EVENT_TABLES, EventTable, PERSON};
use generel_schemas::tables::PATIENT_EVENTS;
use generel_schemas::{RejectReason, Table};

use self::events::{Event, Events};
use self::records::{Bad, Records, Taken};
use super::input::InputFile;
use super::{Chunk, ChunkReader, ReadOptions, Source};
use crate::person::PersonKey;
use crate::{Error, Result};

/// The format `omop`.
pub(super) struct OmopCsv;

impl Source for OmopCsv {
    fn name(&self) -> &'static str {
        "omop"
    }

    fn doc(&self) -> &'static str {
        "OMOP CDM 5.3/5.4 folder of CSV files (.csv or .csv.gz): \
         condition_occurrence, drug_exposure, measurement, person"
    }

    fn example(&self) -> &'static str {
        "generel ingest --format omop --source hospital omop-folder/"
    }

    fn tables(&self) -> &'static [&'static Table] {
        &[&PATIENT_EVENTS]
    }

    fn files(&self, path: &Path) -> Result<Vec<InputFile>> {
        if !path.is_dir() {
            InputFile::open(path)?;
            layout(path)?;
            let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
            let concepts = find(folder, CONCEPT)?;
            return Ok(vec![InputFile::with_companions(path, concepts.into_iter().collect())?]);
        }
        let mut tables = Vec::new();
        for table in table_names() {
            tables.extend(find(path, table)?);
        }
        if tables.is_empty() {
            let names = table_names().collect::<Vec<_>>().join(", ");
            return Err(Error::Invalid(format!("{}: no .csv or .csv.gz file of {names} in it", path.display())));
        }
        tables.sort();
        let concepts = find(path, CONCEPT)?;
        tables.iter().map(|table| InputFile::with_companions(table, concepts.iter().cloned().collect())).collect()
    }

    fn open(&self, file: &InputFile, options: &ReadOptions) -> Result<Box<dyn ChunkReader>> {
        let layout = layout(&file.path)?;
        let records = Records::open(&file.path, false)?;
        let columns = Columns::of(layout, &records)?;
        let concepts = match file.companions.first() {
            Some(path) => load_concepts(path)?,
            None => HashMap::new(),
        };
        Ok(Box::new(OmopReader {
            table: layout.name(),
            records,
            columns,
            concepts,
            source: options.source.clone(),
            person_key: options.person_key.clone(),
            chunk_rows: options.chunk_rows.max(1) as u64,
        }))
    }
}

fn table_names() -> impl Iterator<Item = &'static str> {
    EVENT_TABLES.iter().map(|table| table.name).chain(std::iter::once(PERSON))
}

/// The table that a file's name names: `PERSON.csv.gz` is `person`.
fn table_name(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_string_lossy().to_ascii_lowercase();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    name.strip_suffix(".csv").map(str::to_string)
}

/// A table's file in a folder. Two of them are an error: each event would be there twice.
fn find(folder: &Path, table: &str) -> Result<Option<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|e| Error::io(folder, e))? {
        let path = entry.map_err(|e| Error::io(folder, e))?.path();
        if table_name(&path).as_deref() == Some(table) {
            found.push(path);
        }
    }
    if found.len() > 1 {
        return Err(Error::Invalid(format!("{}: more than one file of table {table}; keep one", folder.display())));
    }
    Ok(found.pop())
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
}

fn layout(path: &Path) -> Result<Layout> {
    let name = table_name(path).unwrap_or_default();
    if name == PERSON {
        return Ok(Layout::Person);
    }
    EVENT_TABLES.iter().find(|table| table.name == name).map(Layout::Event).ok_or_else(|| {
        let names = table_names().collect::<Vec<_>>().join(", ");
        Error::Invalid(format!("{}: the name must be that of an OMOP table ({names}) with .csv", path.display()))
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
    fn of(layout: Layout, records: &Records) -> Result<Self> {
        let at = |name: &str| records.column(name);
        match layout {
            Layout::Event(table) => {
                let [person_id, concept_id, date] = records.require(["person_id", table.concept_id, table.date])?;
                Ok(Self {
                    person_id,
                    concept_id,
                    date: DateColumns::Event(date),
                    datetime: at(table.datetime),
                    source_value: at(table.source_value),
                    source_concept_id: at(table.source_concept_id),
                    value_as_number: table.value_as_number.and_then(at),
                    value_as_string: table.value_as_string.and_then(at),
                    unit: table.unit.and_then(at),
                })
            }
            Layout::Person => {
                let [person_id, concept_id, year] =
                    records.require(["person_id", "gender_concept_id", "year_of_birth"])?;
                Ok(Self {
                    person_id,
                    concept_id,
                    date: DateColumns::Birth { year, month: at("month_of_birth"), day: at("day_of_birth") },
                    datetime: at("birth_datetime"),
                    source_value: at("gender_source_value"),
                    source_concept_id: None,
                    value_as_number: None,
                    value_as_string: None,
                    unit: None,
                })
            }
        }
    }
}

/// What a concept is called and which vocabulary it is from.
struct Concept {
    name: Box<str>,
    vocabulary: Arc<str>,
}

type Concepts = HashMap<i64, Concept>;

fn load_concepts(path: &Path) -> Result<Concepts> {
    let mut records = Records::open(path, true)?;
    let [id, name, vocabulary] = records.require(["concept_id", "concept_name", "vocabulary_id"])?;
    let (mut concepts, mut vocabularies) = (HashMap::new(), HashSet::<Arc<str>>::new());
    while records.advance()? {
        // These rows only name what events refer to: one that cannot be read leaves its events without a name.
        let Ok(id) = records.field(id).parse::<i64>() else { continue };
        if records.record.len() != records.header.len() {
            continue;
        }
        let text = records.field(vocabulary);
        let vocabulary = vocabularies.get(text).cloned().unwrap_or_else(|| Arc::from(text));
        vocabularies.insert(Arc::clone(&vocabulary));
        concepts.insert(id, Concept { name: records.field(name).into(), vocabulary });
    }
    Ok(concepts)
}

struct OmopReader {
    table: &'static str,
    records: Records,
    columns: Columns,
    concepts: Concepts,
    source: String,
    person_key: PersonKey,
    chunk_rows: u64,
}

impl ChunkReader for OmopReader {
    fn next_chunk(&mut self) -> Result<Option<Chunk>> {
        let (mut chunk, mut events) = (Chunk::default(), Events::default());
        while chunk.rows_read < self.chunk_rows && self.records.advance()? {
            chunk.rows_read += 1;
            match self.event(&mut chunk.nulled) {
                Ok(event) => events.push(self.table, &event),
                Err(bad) => chunk.rejected.push(self.records.reject(bad)),
            }
        }
        if chunk.rows_read == 0 {
            return Ok(None);
        }
        if (chunk.rejected.len() as u64) < chunk.rows_read {
            chunk.batches.push((&PATIENT_EVENTS, events.finish()?));
        }
        Ok(Some(chunk))
    }
}

type Nulled = BTreeMap<&'static str, u64>;

impl OmopReader {
    /// What must be there is read first, so that `nulled` counts only rows that are kept.
    fn event(&self, nulled: &mut Nulled) -> Taken<Event<'_>> {
        self.records.check()?;
        let columns = &self.columns;
        let person = self.records.field(columns.person_id);
        if person.is_empty() {
            return Err(Bad::missing(columns.person_id));
        }
        let concept_id: i64 = match self.text(Some(columns.concept_id)) {
            None => 0,
            Some(text) => text.parse().map_err(|_| {
                Bad::value(columns.concept_id, RejectReason::InvalidNumber, "expected a concept id, a whole number")
            })?,
        };
        let date = self.date()?;
        let source_concept = self.text(columns.source_concept_id).and_then(|text| text.parse::<i64>().ok());
        let concept = source_concept.and_then(|id| self.concept(id)).or_else(|| self.concept(concept_id));
        Ok(Event {
            person_id: self.person_key.pseudonym(&self.source, person),
            date,
            datetime: self.optional(columns.datetime, "event_datetime", parse_datetime, nulled),
            source_vocabulary: concept.map(|c| &*c.vocabulary).filter(|text| !text.is_empty()),
            source_code: self.text(columns.source_value),
            source_name: concept.map(|c| &*c.name).filter(|text| !text.is_empty()),
            concept_id,
            value_as_number: self.optional(columns.value_as_number, "value_as_number", parse_number, nulled),
            value_as_string: self.text(columns.value_as_string),
            unit: self.text(columns.unit),
        })
    }

    /// A field that says something.
    fn text(&self, column: Option<usize>) -> Option<&str> {
        column.map(|c| self.records.field(c)).filter(|text| !text.is_empty())
    }

    /// A concept by its id; 0 is OMOP's "No matching concept", whose name says nothing of the event.
    fn concept(&self, id: i64) -> Option<&Concept> {
        self.concepts.get(&id).filter(|_| id != 0)
    }

    fn optional<T>(
        &self,
        column: Option<usize>,
        name: &'static str,
        parse: fn(&str) -> Option<T>,
        nulled: &mut Nulled,
    ) -> Option<T> {
        let value = parse(self.text(column)?);
        if value.is_none() {
            *nulled.entry(name).or_default() += 1;
        }
        value
    }

    fn date(&self) -> Taken<i32> {
        match self.columns.date {
            DateColumns::Event(column) => {
                let text = self.text(Some(column)).ok_or_else(|| Bad::missing(column))?;
                parse_date(text).map(Date32Type::from_naive_date).ok_or_else(|| Bad::date(column))
            }
            DateColumns::Birth { year, month, day } => {
                let text = self.text(Some(year)).ok_or_else(|| Bad::missing(year))?;
                let number = digits(text.as_bytes()).filter(|_| text.len() == 4).ok_or_else(|| Bad::date(year))?;
                let (month, day) = (self.birth_part(month)?, self.birth_part(day)?);
                let date = i32::try_from(number).ok().and_then(|y| NaiveDate::from_ymd_opt(y, month, day));
                date.map(Date32Type::from_naive_date).ok_or_else(|| Bad::date(year))
            }
        }
    }

    /// Month or day of birth: 1 where the source withholds it.
    fn birth_part(&self, column: Option<usize>) -> Taken<u32> {
        match (column, self.text(column)) {
            (Some(column), Some(text)) => digits(text.as_bytes()).ok_or_else(|| Bad::date(column)),
            _ => Ok(1),
        }
    }
}

/// A non-negative number of at most nine digits.
fn digits(bytes: &[u8]) -> Option<u32> {
    let fits = !bytes.is_empty() && bytes.len() <= 9 && bytes.iter().all(u8::is_ascii_digit);
    fits.then(|| bytes.iter().fold(0, |number, digit| number * 10 + u32::from(digit - b'0')))
}

fn parse_number(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|number| number.is_finite())
}

/// `YYYY-MM-DD` or `YYYYMMDD`.
fn parse_date(text: &str) -> Option<NaiveDate> {
    let bytes = text.as_bytes();
    let (year, month, day) = match bytes.len() {
        10 if bytes[4] == b'-' && bytes[7] == b'-' => (&bytes[..4], &bytes[5..7], &bytes[8..]),
        8 => (&bytes[..4], &bytes[4..6], &bytes[6..]),
        _ => return None,
    };
    NaiveDate::from_ymd_opt(i32::try_from(digits(year)?).ok()?, digits(month)?, digits(day)?)
}

/// `YYYY-MM-DD HH:MM:SS`, also with `T`, a fraction and `Z`, as microseconds since the epoch.
fn parse_datetime(text: &str) -> Option<i64> {
    let (date, time) = text.split_once([' ', 'T'])?;
    let date = parse_date(date).filter(|_| date.len() == 10)?;
    let time = time.strip_suffix('Z').unwrap_or(time);
    let (clock, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let clock = clock.as_bytes();
    if clock.len() != 8 || clock[2] != b':' || clock[5] != b':' {
        return None;
    }
    let nanos = digits(fraction.as_bytes())? * 10u32.pow(9 - u32::try_from(fraction.len()).ok()?);
    let (hour, minute, second) = (digits(&clock[..2])?, digits(&clock[3..5])?, digits(&clock[6..])?);
    let datetime = date.and_hms_micro_opt(hour, minute, second, nanos / 1000)?;
    Some(datetime.and_utc().timestamp_micros())
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray, RecordBatch};
    use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};
    use proptest::prelude::*;

    use super::*;

    const HEADER: &str = "measurement_id,person_id,measurement_concept_id,measurement_date,measurement_datetime,\
                          value_as_number,unit_source_value,measurement_source_value,measurement_source_concept_id,\
                          value_source_value";
    const CONCEPTS: &str = "concept_id,concept_name,vocabulary_id\n0,No matching concept,None\n11,Standard,V1\n\
                            12,\"Own, quoted\",V2\nx,Broken,V3\n8507,MALE,Gender\n";
    const DAY: i64 = 86_400_000_000;

    fn key() -> PersonKey {
        PersonKey::new(b"key".to_vec())
    }

    fn read(files: &[(&str, &[u8])]) -> Result<Vec<Chunk>> {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            std::fs::write(folder.path().join(name), bytes).unwrap();
        }
        let mut options = ReadOptions::new("hospital", key());
        options.chunk_rows = 2;
        let mut chunks = Vec::new();
        for file in OmopCsv.files(folder.path())? {
            let mut reader = OmopCsv.open(&file, &options)?;
            while let Some(chunk) = reader.next_chunk()? {
                assert_eq!(chunk.rows_read, chunk.rows_kept() + chunk.rejected.len() as u64);
                chunks.push(chunk);
            }
        }
        Ok(chunks)
    }

    fn measurements(rows: &str) -> Vec<Chunk> {
        let table = format!("{HEADER}\n{rows}");
        read(&[("MEASUREMENT.csv", table.as_bytes()), ("Concept.CSV", CONCEPTS.as_bytes())]).unwrap()
    }

    fn batches(chunks: &[Chunk]) -> Vec<&RecordBatch> {
        chunks.iter().flat_map(|chunk| &chunk.batches).map(|(_, batch)| batch).collect()
    }

    fn column(chunks: &[Chunk], name: &str) -> Vec<String> {
        let mut all = Vec::new();
        for batch in batches(chunks) {
            let values = batch.column_by_name(name).unwrap().as_string::<i32>();
            all.extend(values.iter().map(|v| v.unwrap_or("NULL").to_string()));
        }
        all
    }

    fn rejected(chunks: &[Chunk]) -> Vec<(u64, RejectReason, &str)> {
        chunks.iter().flat_map(|c| &c.rejected).map(|r| (r.line, r.reason, r.raw.as_str())).collect()
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
        assert_eq!(column(&chunks, "source_code"), ["S-1", "S-2", "NULL"]);
        assert_eq!(column(&chunks, "source_name"), ["Own, quoted", "Standard", "NULL"]);
        assert_eq!(column(&chunks, "source_vocabulary"), ["V2", "V1", "NULL"]);
        assert_eq!(column(&chunks, "value_as_string"), ["text", "NULL", "NULL"]);
        assert_eq!(column(&chunks, "unit"), ["kg", "NULL", "NULL"]);
        let first = batches(&chunks)[0];
        let times = first.column_by_name("event_datetime").unwrap().as_primitive::<TimestampMicrosecondType>();
        assert_eq!(times.values().to_vec(), [DAY + 1_500_000, DAY]);
        let numbers = first.column_by_name("value_as_number").unwrap().as_primitive::<Float64Type>();
        assert_eq!((numbers.value(0), numbers.is_null(1)), (1.25, true));
        let last = batches(&chunks)[1];
        assert_eq!(last.column_by_name("concept_id").unwrap().as_primitive::<Int64Type>().value(0), 0);
        assert_eq!(chunks[1].nulled, BTreeMap::from([("event_datetime", 1), ("value_as_number", 1)]));
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
        let dates = batches(&chunks)[0].column_by_name("event_date").unwrap().as_primitive::<Date32Type>();
        assert_eq!(dates.values().to_vec(), [1, 365]);
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
        assert_eq!(rejected(&chunks), [(2, RejectReason::TornLine, "1,***,11,2020-01-02,,,,S,,***")]);

        let rows = b"\n1,anna,11,2020-01-02,,,,M\xe9,,\n2,anna,11,2020-01-02,,,,S,,";
        let table = [HEADER.as_bytes(), rows.as_slice()].concat();
        let chunks = read(&[("measurement.csv", &table)]).unwrap();
        assert_eq!(rejected(&chunks), [(2, RejectReason::InvalidUtf8, "1,***,11,2020-01-02,,,,M\u{fffd},,")]);
        assert_eq!(column(&chunks, "source_name"), ["NULL"]);
    }

    #[test]
    fn folders_and_headers_are_checked() {
        assert!(matches!(read(&[("other.csv", b"a\n")]), Err(Error::Invalid(m)) if m.contains("drug_exposure")));
        assert!(matches!(read(&[("person.csv", b"")]), Err(Error::Empty { .. })));
        let table = HEADER.as_bytes();
        assert!(matches!(read(&[("measurement.csv", table), ("MEASUREMENT.csv.gz", table)]), Err(Error::Invalid(_))));
        assert!(read(&[("measurement.csv", table)]).unwrap().is_empty());
        let Err(error) = read(&[("person.csv", b"anna,8507,1970\n")]) else { panic!("a file without a header") };
        assert!(error.to_string().contains("gender_concept_id") && !error.to_string().contains("anna"));
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
        let files = OmopCsv.files(&person).unwrap();
        assert_eq!(files[0].path, person);
        assert_eq!(files[0].companions, std::slice::from_ref(&concept));
        assert!(matches!(OmopCsv.files(&concept), Err(Error::Invalid(_))));
        assert!(matches!(OmopCsv.files(&folder.path().join("none.csv")), Err(Error::Io { .. })));
    }

    #[test]
    fn dates_and_times() {
        assert_eq!(parse_datetime("1970-01-01 00:00:00.000001"), Some(1));
        assert_eq!(parse_datetime("1969-12-31T23:59:59Z"), Some(-1_000_000));
        for bad in ["", "1970-01-01", "19700101 00:00:00", "1970-01-01 24:00:00", "1970-01-01 00:00:00."] {
            assert_eq!(parse_datetime(bad), None, "{bad}");
        }
        for bad in ["", "2020-1-2", "2020-13-01", "20200230", "2020/01/02", "+202-01-02", "\u{e9}\u{e9}\u{e9}\u{e9}"] {
            assert_eq!(parse_date(bad), None, "{bad}");
        }
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
