//! Synthea's CSV export (<https://github.com/synthetichealth/synthea/wiki/CSV-File-Data-Dictionary>): a folder with a
//! table a file. A row is an event; `patients` are persons.

use generel_schemas::Table;
use generel_schemas::tables::PATIENT_EVENTS;

use super::super::output::{Event, Output};
use super::super::recognize::{Head, Likeness};
use super::super::text::delimited::{Delimited, Dialect, Header, Kept, Row, RowParser, Taken};
use super::super::text::values;
use super::super::{Found, InputFile, ReadOptions, Reader, Source};
use super::folder::{self, Persons, table_name};
use super::vocabulary;
use crate::{Error, Result};

/// A table and what its rows are in OMOP's words.
struct Layout {
    name: &'static str,
    event_table: &'static str,
    /// Vocabulary of CODE where no column SYSTEM says another.
    vocabulary: &'static str,
}

const fn layout(name: &'static str, event_table: &'static str, vocabulary: &'static str) -> Layout {
    Layout { name, event_table, vocabulary }
}

const PATIENTS: &str = "patients";
const OBSERVATIONS: &str = "observations";
const LOINC: &str = "LOINC";

/// A care plan is an intention, which OMOP keeps as an observation; an allergy, a state, likewise.
const LAYOUTS: &[Layout] = &[
    layout("allergies", "observation", "SNOMED"),
    layout("careplans", "observation", "SNOMED"),
    layout("conditions", "condition_occurrence", "SNOMED"),
    layout("devices", "device_exposure", "SNOMED"),
    layout("encounters", "visit_occurrence", "SNOMED"),
    layout("immunizations", "drug_exposure", "CVX"),
    layout("medications", "drug_exposure", "RxNorm"),
    layout(OBSERVATIONS, "measurement", LOINC),
    layout(PATIENTS, "person", "Gender"),
    layout("procedures", "procedure_occurrence", "SNOMED"),
];
const TABLES: [&str; LAYOUTS.len()] = {
    let mut names = [""; LAYOUTS.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = LAYOUTS[at].name;
        at += 1;
    }
    names
};

/// Columns of the event tables that may lead to a person.
const IDENTIFYING: [&str; 4] = ["PATIENT", "ENCOUNTER", "Id", "UDI"];
/// Columns of `patients` that lead to none.
const HARMLESS: [&str; 6] = ["BIRTHDATE", "DEATHDATE", "MARITAL", "RACE", "ETHNICITY", "GENDER"];

/// The format `synthea-csv`.
pub(in super::super) struct SyntheaCsv;

impl Source for SyntheaCsv {
    fn name(&self) -> &'static str {
        "synthea-csv"
    }

    fn doc(&self) -> &'static str {
        "Synthea's CSV folder: patients, conditions, medications, observations, procedures, encounters, immunizations …"
    }

    fn example(&self) -> &'static str {
        "generel ingest --format synthea-csv --source synthea output/csv/"
    }

    fn tables(&self) -> &'static [&'static Table] {
        &[&PATIENT_EVENTS]
    }

    fn recognize(&self, head: &Head) -> Option<Likeness> {
        let table = head.name.strip_suffix(".csv")?;
        let columns: &[&str] = match table {
            PATIENTS => &["id", "birthdate", "ssn", "drivers", "gender"],
            "encounters" => &["id", "start", "patient", "encounterclass", "code", "description"],
            _ => &["patient", "encounter", "code", "description"],
        };
        let known = TABLES.contains(&table) && head.has_columns(',', columns);
        known.then(|| Likeness::new(98, format!("Synthea's table {table}, by name and columns")))?
    }

    fn files(&self, found: &Found) -> Result<Vec<InputFile>> {
        folder::files(found, &TABLES, |_| &[])
    }

    fn open(&self, file: &InputFile, options: &ReadOptions) -> Result<Reader> {
        let table = table_name(&file.place);
        let layout = LAYOUTS.iter().find(|l| table.as_deref() == Some(l.name)).ok_or_else(|| {
            let names = TABLES.join(", ");
            Error::Invalid(format!("{}: the name must be one of {names} with .csv", file.path().display()))
        })?;
        let mut delimited = Delimited::open(file, options, Dialect::CSV)?;
        delimited.header.mask_all_but(&[]);
        let persons = Persons::of(options);
        if layout.name == PATIENTS {
            let columns = Patients::of(persons, &delimited.header)?;
            delimited.header.mask_all_but(&HARMLESS);
            return Ok(delimited.into_reader(columns));
        }
        let rows = Events::of(persons, layout, &delimited.header)?;
        folder::mask(&mut delimited.header, &IDENTIFYING);
        Ok(delimited.into_reader(rows))
    }
}

/// Rows of `patients`.
struct Patients {
    persons: Persons,
    id: usize,
    birth_date: usize,
    gender: Option<usize>,
    death_date: Option<usize>,
}

impl Patients {
    fn of(persons: Persons, header: &Header) -> Result<Self> {
        let (id, birth_date) = (header.require(&["Id"])?, header.require(&["BIRTHDATE"])?);
        let (gender, death_date) = (header.find(&["GENDER"]), header.find(&["DEATHDATE"]));
        Ok(Self { persons, id, birth_date, gender, death_date })
    }
}

impl RowParser for Patients {
    fn row(&self, row: &Row<'_>, out: &mut Output) -> Kept {
        let person = row.needed(self.id)?;
        let date = values::needed_date(self.birth_date, row.needed(self.birth_date)?)?;
        let gender = row.text(self.gender);
        let died = out.or_hole("death_date", row.text(self.death_date).map(|text| values::date(text).ok_or(())));
        let pseudonym = self.persons.pseudonym(person);
        let event = Event { person_id: Some(pseudonym.as_str()), event_date: Some(date), ..Event::default() };
        out.event(&Event {
            event_table: Some("person"),
            source_vocabulary: gender.map(|_| "Gender"),
            source_code: gender,
            ..event
        });
        if died.is_some() {
            out.event(&Event { event_table: Some("death"), event_date: died, ..event });
        }
        Ok(Taken::Kept)
    }
}

/// Rows of the other tables.
struct Events {
    persons: Persons,
    layout: &'static Layout,
    patient: usize,
    date: usize,
    code: usize,
    system: Option<usize>,
    description: Option<usize>,
    category: Option<usize>,
    value: Option<usize>,
    units: Option<usize>,
    value_type: Option<usize>,
}

impl Events {
    fn of(persons: Persons, layout: &'static Layout, header: &Header) -> Result<Self> {
        let observed = |name: &str| header.find(&[name]).filter(|_| layout.name == OBSERVATIONS);
        Ok(Self {
            persons,
            layout,
            patient: header.require(&["PATIENT"])?,
            date: header.require(&["START", "DATE"])?,
            code: header.require(&["CODE"])?,
            system: header.find(&["SYSTEM"]),
            description: header.find(&["DESCRIPTION"]),
            category: observed("CATEGORY"),
            value: observed("VALUE"),
            units: observed("UNITS"),
            value_type: observed("TYPE"),
        })
    }

    fn vocabulary<'r>(&self, row: &Row<'r>, code: &str) -> Option<&'r str> {
        match row.text(self.system) {
            None => {
                // QALY and DALY are Synthea's own.
                let own = self.layout.vocabulary == LOINC && !code.starts_with(|c: char| c.is_ascii_digit());
                Some(self.layout.vocabulary).filter(|_| !own)
            }
            Some("Unknown") => None,
            Some("SNOMED-CT") => Some("SNOMED"),
            Some(system) => Some(vocabulary::omop(system).unwrap_or(system)),
        }
    }

    fn event_table(&self, row: &Row<'_>, numeric: bool) -> &'static str {
        if self.layout.name != OBSERVATIONS {
            return self.layout.event_table;
        }
        let stated = row.text(self.category).and_then(vocabulary::measures);
        if stated.unwrap_or(numeric) { "measurement" } else { "observation" }
    }
}

impl RowParser for Events {
    fn row(&self, row: &Row<'_>, out: &mut Output) -> Kept {
        let person = row.needed(self.patient)?;
        let when = row.needed(self.date)?;
        let date = values::needed_date(self.date, when)?;
        let code = row.needed(self.code)?;
        let value = row.text(self.value);
        let parsed = value.map(|text| values::number(text).ok_or(()));
        // Old exports have no TYPE: there a number is what reads as one.
        let numeric = match row.text(self.value_type) {
            Some(kind) => kind.eq_ignore_ascii_case("numeric"),
            None => matches!(parsed, Some(Ok(_))),
        };
        let time = (when.len() > 10).then(|| values::datetime(when).ok_or(()));
        let pseudonym = self.persons.pseudonym(person);
        let event = Event {
            person_id: Some(pseudonym.as_str()),
            event_table: Some(self.event_table(row, numeric)),
            event_date: Some(date),
            event_datetime: out.or_hole("event_datetime", time),
            source_vocabulary: self.vocabulary(row, code),
            source_code: Some(code),
            source_name: row.text(self.description),
            concept_id: None,
            value_as_number: out.or_hole("value_as_number", parsed.filter(|_| numeric)),
            value_as_string: value.filter(|_| !numeric),
            unit: row.text(self.units),
        };
        out.event(&event);
        Ok(Taken::Kept)
    }
}

#[cfg(test)]
mod tests {
    use generel_schemas::RejectReason::{ColumnCount, InvalidDate, MissingValue};
    use proptest::prelude::*;

    use super::super::super::testing::{cells, nulled, options, read, read_path, rejected};
    use super::*;

    const HEADER: &str = "DATE,PATIENT,ENCOUNTER,CATEGORY,CODE,DESCRIPTION,VALUE,UNITS,TYPE";

    #[test]
    fn observations_become_measurements_and_observations() {
        let table = format!(
            "{HEADER}\n\
             2023-10-10T04:17:47Z,anna,e,vital-signs,8302-2,Body Height,127.9,cm,numeric\n\
             2023-10-10T04:17:47Z,anna,e,survey,72166-2,Tobacco,Never,,text\n\
             2023-10-10T04:17:47Z,anna,e,survey,75626-2,AUDIT-C,1.0,{{score}},numeric\n\
             2023-10-10,anna,,,QALY,QALY,8.0,a,numeric\n\
             2023-10-10,anna,e,laboratory,2857-1,PSA,none,ng/mL,numeric\n"
        );
        let chunks = read(&SyntheaCsv, &[("observations.csv", table.as_bytes())], &options()).unwrap();
        assert!(rejected(&chunks).is_empty());
        let tables = ["measurement", "observation", "observation", "measurement", "measurement"];
        assert_eq!(cells(&chunks, "event_table"), tables);
        assert_eq!(cells(&chunks, "person_id"), vec![options().person_key.pseudonym("test", "anna"); 5]);
        assert_eq!(cells(&chunks, "source_vocabulary"), ["LOINC", "LOINC", "LOINC", "-", "LOINC"]);
        assert_eq!(cells(&chunks, "value_as_number"), ["127.9", "-", "1.0", "8.0", "-"]);
        assert_eq!(cells(&chunks, "value_as_string"), ["-", "Never", "-", "-", "-"]);
        assert_eq!(cells(&chunks, "event_datetime")[3], "-");
        assert_eq!(nulled(&chunks, "value_as_number"), 1);
    }

    #[test]
    fn a_folder_is_read_by_the_names_of_its_files() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("patients.csv", "Id,BIRTHDATE,SSN,GENDER\nanna,1970-01-02,999,F\n");
        write(
            "allergies.csv",
            "START,STOP,PATIENT,ENCOUNTER,CODE,SYSTEM,DESCRIPTION\n\
             2009-09-27,,anna,e,84489001,SNOMED-CT,Mold\n2009-09-27,,anna,e,7980,RxNorm,Penicillin\n\
             2009-09-27,,anna,e,1,Unknown,Bee\n",
        );
        write("immunizations.csv", "DATE,PATIENT,ENCOUNTER,CODE,DESCRIPTION,BASE_COST\n2009-09-27,anna,e,140,Flu,1\n");
        write("payers.csv", "Id,NAME\n1,Any\n");
        let chunks = read_path(&SyntheaCsv, folder.path(), &options()).unwrap();
        let tables = ["observation", "observation", "observation", "drug_exposure", "person"];
        assert_eq!(cells(&chunks, "event_table"), tables);
        assert_eq!(cells(&chunks, "source_vocabulary"), ["SNOMED", "RxNorm", "-", "CVX", "Gender"]);
        assert_eq!(cells(&chunks, "source_code"), ["84489001", "7980", "1", "140", "F"]);
        assert_eq!(cells(&chunks, "event_date")[4], "1970-01-02");
        assert!(read(&SyntheaCsv, &[("payers.csv", b"Id,NAME\n")], &options()).is_err());
    }

    #[test]
    fn bad_rows_are_rejected_without_the_person() {
        let table = format!("{HEADER}\nsoon,anna,e,,1,,,,\n2020-01-02,,e,,1,,,,\n2020-01-02,anna,e\n");
        let chunks = read(&SyntheaCsv, &[("observations.csv", table.as_bytes())], &options()).unwrap();
        assert_eq!(rejected(&chunks), [(2, "DATE", InvalidDate), (3, "PATIENT", MissingValue), (4, "-", ColumnCount)]);
        assert!(chunks.iter().flat_map(|c| &c.rejected).all(|row| !row.raw.contains("anna")));
        let persons = b"Id,BIRTHDATE,SSN,FIRST,ADDRESS,GENDER\nanna,soon,999,Anna,Street,F\n";
        let chunks = read(&SyntheaCsv, &[("patients.csv", persons)], &options()).unwrap();
        assert_eq!(chunks[0].rejected[0].raw, "***,soon,***,***,***,F");
    }

    #[test]
    fn is_recognized_by_name_and_columns() {
        let head = |name: &str, text: &str| Head { name: name.to_string(), text: text.to_string() };
        assert!(SyntheaCsv.recognize(&head("observations.csv", HEADER)).is_some());
        assert!(SyntheaCsv.recognize(&head("patients.csv", "subject_id,gender,anchor_age,anchor_year")).is_none());
        assert!(SyntheaCsv.recognize(&head("others.csv", HEADER)).is_none());
    }

    proptest! {
        #[test]
        fn any_bytes_balance(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let table = [HEADER.as_bytes(), b"\n", bytes.as_slice()].concat();
            let _ = read(&SyntheaCsv, &[("observations.csv", &table)], &options()).unwrap();
            let table = [b"Id,BIRTHDATE,GENDER\n", bytes.as_slice()].concat();
            let _ = read(&SyntheaCsv, &[("patients.csv", &table)], &options()).unwrap();
        }
    }
}
