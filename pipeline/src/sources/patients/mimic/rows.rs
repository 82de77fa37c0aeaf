//! The rows of each table.

use std::collections::HashMap;

use arrow::datatypes::Date32Type;
use chrono::NaiveDate;
use generel_schemas::RejectReason;
use generel_schemas::ids::Curie;
use generel_schemas::tables::NameType;

use super::super::super::output::{Concept, Event, Output};
use super::super::super::text::delimited::{Header, Kept, Refused, Row, RowParser, Taken};
use super::super::super::text::values::{self, digits};
use super::super::folder::Persons;
use super::icd::{Kind, Version};
use crate::Result;

/// What MIMIC writes in place of text that was taken out.
const REMOVED: &str = "___";
/// The titles come in English.
const LANGUAGE: &str = "en";

/// Names by code.
pub(super) type Names = HashMap<Box<str>, Box<str>>;

/// Titles of ICD codes by version.
#[derive(Default)]
pub(super) struct Titles {
    pub(super) nine: Names,
    pub(super) ten: Names,
}

impl Titles {
    pub(super) fn of(&mut self, version: Version) -> &mut Names {
        match version {
            Version::Nine => &mut self.nine,
            Version::Ten => &mut self.ten,
        }
    }

    fn get(&self, version: Version, code: &str) -> Option<&str> {
        let names = if version == Version::Nine { &self.nine } else { &self.ten };
        names.get(code).map(|name| &**name)
    }
}

/// Days of admission by `hadm_id`.
pub(super) type Admitted = HashMap<u32, i32>;

/// A date that a row needs, with the moment where it has one.
fn when(row: &Row<'_>, column: usize) -> Kept<(i32, Option<std::result::Result<i64, ()>>)> {
    let text = row.needed(column)?;
    Ok((values::needed_date(column, text)?, (text.len() > 10).then(|| values::datetime(text).ok_or(()))))
}

/// `patients`: persons, born `anchor_age` years before `anchor_year`.
pub(super) struct Patients {
    persons: Persons,
    subject: usize,
    gender: Option<usize>,
    age: usize,
    year: usize,
    died: Option<usize>,
}

impl Patients {
    pub(super) fn of(persons: Persons, header: &Header) -> Result<Self> {
        Ok(Self {
            persons,
            subject: header.require(&["subject_id"])?,
            gender: header.find(&["gender"]),
            age: header.require(&["anchor_age"])?,
            year: header.require(&["anchor_year"])?,
            died: header.find(&["dod"]),
        })
    }
}

impl RowParser for Patients {
    fn row(&self, row: &Row<'_>, out: &mut Output) -> Kept {
        let person = row.needed(self.subject)?;
        let number = |column, most: u32| {
            let parsed = digits(row.needed(column)?.as_bytes()).filter(|number| *number <= most);
            let refused = || Refused::column(column, RejectReason::InvalidNumber, "expected a whole number of years");
            parsed.and_then(|number| i32::try_from(number).ok()).ok_or_else(refused)
        };
        let born = number(self.year, 9999)? - number(self.age, 150)?;
        let date = NaiveDate::from_ymd_opt(born, 1, 1).map(Date32Type::from_naive_date);
        let gender = row.text(self.gender);
        let died = out.or_hole("dod", row.text(self.died).map(|text| values::date(text).ok_or(())));
        let pseudonym = self.persons.pseudonym(person);
        let event = Event { person_id: Some(pseudonym.as_str()), event_date: date, ..Event::default() };
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

/// `admissions`: visits.
pub(super) struct Admissions {
    persons: Persons,
    subject: usize,
    admitted: usize,
    kind: Option<usize>,
}

impl Admissions {
    pub(super) fn of(persons: Persons, header: &Header) -> Result<Self> {
        let (subject, admitted) = (header.require(&["subject_id"])?, header.require(&["admittime"])?);
        Ok(Self { persons, subject, admitted, kind: header.find(&["admission_type"]) })
    }
}

impl RowParser for Admissions {
    fn row(&self, row: &Row<'_>, out: &mut Output) -> Kept {
        let person = row.needed(self.subject)?;
        let (date, datetime) = when(row, self.admitted)?;
        let datetime = out.or_hole("event_datetime", datetime);
        out.event(&Event {
            person_id: Some(self.persons.pseudonym(person).as_str()),
            event_table: Some("visit_occurrence"),
            event_date: Some(date),
            event_datetime: datetime,
            source_code: row.text(self.kind),
            ..Event::default()
        });
        Ok(Taken::Kept)
    }
}

/// `diagnoses_icd`, dated by the admission, and `procedures_icd`, dated by itself.
pub(super) struct Coded {
    persons: Persons,
    kind: Kind,
    subject: usize,
    admission: usize,
    date: Option<usize>,
    code: usize,
    version: usize,
    titles: Titles,
    /// `None` where there is no `admissions` beside.
    admitted: Option<Admitted>,
}

impl Coded {
    pub(super) fn of(
        persons: Persons,
        kind: Kind,
        header: &Header,
        titles: Titles,
        admitted: Option<Admitted>,
    ) -> Result<Self> {
        let date = if kind == Kind::Procedure { Some(header.require(&["chartdate"])?) } else { None };
        Ok(Self {
            persons,
            kind,
            subject: header.require(&["subject_id"])?,
            admission: header.require(&["hadm_id"])?,
            date,
            code: header.require(&["icd_code"])?,
            version: header.require(&["icd_version"])?,
            titles,
            admitted,
        })
    }
}

impl RowParser for Coded {
    fn row(&self, row: &Row<'_>, out: &mut Output) -> Kept {
        let person = row.needed(self.subject)?;
        let code = row.needed(self.code)?;
        let version = Version::of(row, self.version)?;
        let date = match (self.date, &self.admitted) {
            (Some(column), _) => Some(values::needed_date(column, row.needed(column)?)?),
            (None, Some(admitted)) => {
                let found = digits(row.get(self.admission).as_bytes()).and_then(|id| admitted.get(&id).copied());
                out.or_hole("event_date", Some(found.ok_or(())))
            }
            (None, None) => None,
        };
        out.event(&Event {
            person_id: Some(self.persons.pseudonym(person).as_str()),
            event_table: Some(match self.kind {
                Kind::Diagnosis => "condition_occurrence",
                Kind::Procedure => "procedure_occurrence",
            }),
            event_date: date,
            source_vocabulary: Some(version.vocabulary(self.kind)),
            source_code: Some(code),
            source_name: self.titles.get(version, code),
            ..Event::default()
        });
        Ok(Taken::Kept)
    }
}

/// `prescriptions`: drugs by NDC, where one is stated.
pub(super) struct Prescriptions {
    persons: Persons,
    subject: usize,
    start: usize,
    drug: usize,
    ndc: Option<usize>,
}

impl Prescriptions {
    pub(super) fn of(persons: Persons, header: &Header) -> Result<Self> {
        Ok(Self {
            persons,
            subject: header.require(&["subject_id"])?,
            start: header.require(&["starttime"])?,
            drug: header.require(&["drug"])?,
            ndc: header.find(&["ndc"]),
        })
    }
}

impl RowParser for Prescriptions {
    fn row(&self, row: &Row<'_>, out: &mut Output) -> Kept {
        let person = row.needed(self.subject)?;
        let (date, datetime) = when(row, self.start)?;
        let drug = row.needed(self.drug)?;
        let ndc = row.text(self.ndc).filter(|text| text.bytes().any(|b| b != b'0'));
        let datetime = out.or_hole("event_datetime", datetime);
        out.event(&Event {
            person_id: Some(self.persons.pseudonym(person).as_str()),
            event_table: Some("drug_exposure"),
            event_date: Some(date),
            event_datetime: datetime,
            source_vocabulary: ndc.map(|_| "NDC"),
            source_code: ndc,
            source_name: Some(drug),
            ..Event::default()
        });
        Ok(Taken::Kept)
    }
}

/// `labevents`: measurements by MIMIC's own item numbers.
pub(super) struct Labs {
    persons: Persons,
    subject: usize,
    item: usize,
    time: usize,
    value: Option<usize>,
    number: Option<usize>,
    unit: Option<usize>,
    items: Names,
}

impl Labs {
    pub(super) fn of(persons: Persons, header: &Header, items: Names) -> Result<Self> {
        Ok(Self {
            persons,
            subject: header.require(&["subject_id"])?,
            item: header.require(&["itemid"])?,
            time: header.require(&["charttime"])?,
            value: header.find(&["value"]),
            number: header.find(&["valuenum"]),
            unit: header.find(&["valueuom"]),
            items,
        })
    }
}

impl RowParser for Labs {
    fn row(&self, row: &Row<'_>, out: &mut Output) -> Kept {
        let person = row.needed(self.subject)?;
        let item = row.needed(self.item)?;
        let (date, datetime) = when(row, self.time)?;
        let stated = row.text(self.number);
        let number = out.or_hole("value_as_number", stated.map(|text| values::number(text).ok_or(())));
        // The number again says nothing; `<0.01` beside 0.01 does.
        let again = |text: &str| number.is_some() && (stated == Some(text) || values::number(text) == number);
        let value = row.text(self.value).filter(|text| *text != REMOVED && !again(text));
        let datetime = out.or_hole("event_datetime", datetime);
        out.event(&Event {
            person_id: Some(self.persons.pseudonym(person).as_str()),
            event_table: Some("measurement"),
            event_date: Some(date),
            event_datetime: datetime,
            source_vocabulary: Some("MIMIC-IV d_labitems"),
            source_code: Some(item),
            source_name: self.items.get(item).map(|name| &**name),
            value_as_number: number,
            value_as_string: value,
            unit: row.text(self.unit),
            ..Event::default()
        });
        Ok(Taken::Kept)
    }
}

/// `d_icd_diagnoses` and `d_icd_procedures`: the codes themselves.
pub(super) struct Codes {
    kind: Kind,
    code: usize,
    version: usize,
    title: usize,
}

impl Codes {
    pub(super) fn of(kind: Kind, header: &Header) -> Result<Self> {
        let (code, version) = (header.require(&["icd_code"])?, header.require(&["icd_version"])?);
        Ok(Self { kind, code, version, title: header.require(&["long_title"])? })
    }

    /// A code, its version and its title.
    pub(super) fn read<'r>(&self, row: &Row<'r>) -> Kept<(&'r str, Version, Option<&'r str>)> {
        Ok((row.needed(self.code)?, Version::of(row, self.version)?, row.text(Some(self.title))))
    }
}

impl RowParser for Codes {
    fn row(&self, row: &Row<'_>, out: &mut Output) -> Kept {
        let (code, version, title) = self.read(row)?;
        let dotted = version.dotted(self.kind, code);
        let curie = Curie::new(version.prefix(self.kind), &dotted).map_err(|_| {
            Refused::column(self.code, RejectReason::InvalidIdentifier, "expected an ICD code without blanks")
        })?;
        let vocabulary = version.vocabulary(self.kind);
        // Both revisions, diagnoses and procedures share spellings: only with its vocabulary a code is one code.
        let own = format!("{vocabulary}:{code}");
        out.concept(&Concept {
            code: Some(&own),
            curie: Some(&curie.to_string()),
            name: title,
            category: Some(vocabulary),
            definition: None,
            obsolete: Some(false),
        });
        if let Some(title) = title {
            out.name(&own, title, NameType::Label, LANGUAGE);
        }
        Ok(Taken::Kept)
    }
}
