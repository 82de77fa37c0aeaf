//! MIMIC-IV's hospital module (<https://mimic.mit.edu/docs/iv/modules/hosp/>), 2.2 and 3.1: `hosp/*.csv.gz`.
//!
//! Events of patients, and the ICD codes of `d_icd_diagnoses` and `d_icd_procedures` as concepts. MIMIC's dates are
//! shifted per patient, years into the future: they order events, they date none.

mod icd;
mod rows;

use generel_schemas::Table;
use generel_schemas::tables::{CONCEPT_NAMES, CONCEPTS, PATIENT_EVENTS};

use self::icd::Kind;
use self::rows::{Admissions, Admitted, Coded, Codes, Labs, Names, Patients, Prescriptions, Titles};
use super::super::recognize::{Head, Likeness};
use super::super::text::delimited::{Delimited, Dialect};
use super::super::text::values::{self, digits};
use super::super::{Found, InputFile, ReadOptions, Reader, Source};
use super::folder::{self, Persons, find, table_name};
use crate::{Error, Result};

const ADMISSIONS: &str = "admissions";
const D_ICD_DIAGNOSES: &str = "d_icd_diagnoses";
const D_ICD_PROCEDURES: &str = "d_icd_procedures";
const D_LABITEMS: &str = "d_labitems";
const DIAGNOSES: &str = "diagnoses_icd";
const LABEVENTS: &str = "labevents";
const PATIENTS: &str = "patients";
const PRESCRIPTIONS: &str = "prescriptions";
const PROCEDURES: &str = "procedures_icd";

const TABLES: [&str; 8] =
    [ADMISSIONS, D_ICD_DIAGNOSES, D_ICD_PROCEDURES, DIAGNOSES, LABEVENTS, PATIENTS, PRESCRIPTIONS, PROCEDURES];
/// Columns that may lead to a person; `comments` is free text.
const IDENTIFYING: [&str; 7] =
    ["subject_id", "hadm_id", "labevent_id", "specimen_id", "pharmacy_id", "poe_id", "comments"];

/// Tables that explain a table's rows.
fn companions(table: &str) -> &'static [&'static str] {
    match table {
        DIAGNOSES => &[ADMISSIONS, D_ICD_DIAGNOSES],
        PROCEDURES => &[D_ICD_PROCEDURES],
        LABEVENTS => &[D_LABITEMS],
        _ => &[],
    }
}

/// The format `mimic-iv`.
pub(in super::super) struct MimicIv;

impl Source for MimicIv {
    fn name(&self) -> &'static str {
        "mimic-iv"
    }

    fn doc(&self) -> &'static str {
        "MIMIC-IV 2.2/3.1, module hosp: diagnoses, procedures, prescriptions, labs, admissions, patients, ICD codes"
    }

    fn example(&self) -> &'static str {
        "generel ingest --format mimic-iv --source mimic mimic-iv-3.1/hosp/"
    }

    fn tables(&self) -> &'static [&'static Table] {
        &[&PATIENT_EVENTS, &CONCEPTS, &CONCEPT_NAMES]
    }

    fn recognize(&self, head: &Head) -> Option<Likeness> {
        let table = head.name.strip_suffix(".csv")?;
        let columns: &[&str] = match table {
            ADMISSIONS => &["subject_id", "hadm_id", "admittime", "admission_type"],
            D_ICD_DIAGNOSES | D_ICD_PROCEDURES => &["icd_code", "icd_version", "long_title"],
            DIAGNOSES => &["subject_id", "hadm_id", "icd_code", "icd_version"],
            PROCEDURES => &["subject_id", "chartdate", "icd_code", "icd_version"],
            LABEVENTS => &["labevent_id", "subject_id", "itemid", "charttime"],
            PATIENTS => &["subject_id", "anchor_age", "anchor_year"],
            PRESCRIPTIONS => &["subject_id", "starttime", "drug", "ndc"],
            _ => return None,
        };
        let known = head.has_columns(',', columns);
        known.then(|| Likeness::new(98, format!("MIMIC-IV's table {table}, by name and columns")))?
    }

    fn files(&self, found: &Found) -> Result<Vec<InputFile>> {
        // The release's own folder has the module's below it.
        if let Found::Folder(path, places) = found
            && !places.iter().any(|place| table_name(place).is_some_and(|name| TABLES.contains(&name.as_str())))
            && path.join("hosp").is_dir()
        {
            let below = Found::resolve(&path.join("hosp").display().to_string(), &[])?;
            return below.iter().try_fold(Vec::new(), |mut all, found| {
                all.extend(folder::files(found, &TABLES, companions)?);
                Ok(all)
            });
        }
        folder::files(found, &TABLES, companions)
    }

    fn open(&self, file: &InputFile, options: &ReadOptions) -> Result<Reader> {
        let mut delimited = Delimited::open(file, options, Dialect::CSV)?;
        delimited.header.mask_all_but(&[]);
        let persons = Persons::of(options);
        let table = table_name(&file.place);
        // Until its columns are found, any line may be a person's.
        macro_rules! reader {
            ($rows:expr) => {{
                let rows = $rows;
                folder::mask(&mut delimited.header, &IDENTIFYING);
                Ok(delimited.into_reader(rows))
            }};
        }
        let header = &delimited.header;
        match table.as_deref() {
            Some(ADMISSIONS) => reader!(Admissions::of(persons, header)?),
            Some(PATIENTS) => reader!(Patients::of(persons, header)?),
            Some(PRESCRIPTIONS) => reader!(Prescriptions::of(persons, header)?),
            Some(LABEVENTS) => reader!(Labs::of(persons, header, load_items(file, options)?)?),
            Some(DIAGNOSES) => {
                let titles = load_titles(file, D_ICD_DIAGNOSES, Kind::Diagnosis, options)?;
                let admitted = load_admissions(file, options)?;
                reader!(Coded::of(persons, Kind::Diagnosis, header, titles, admitted)?)
            }
            Some(PROCEDURES) => {
                let titles = load_titles(file, D_ICD_PROCEDURES, Kind::Procedure, options)?;
                reader!(Coded::of(persons, Kind::Procedure, header, titles, None)?)
            }
            Some(D_ICD_DIAGNOSES) => reader!(Codes::of(Kind::Diagnosis, header)?),
            Some(D_ICD_PROCEDURES) => reader!(Codes::of(Kind::Procedure, header)?),
            _ => {
                let names = TABLES.join(", ");
                Err(Error::Invalid(format!("{}: the name must be one of {names} with .csv", file.path().display())))
            }
        }
    }
}

/// A companion, opened. Its rows only explain others: one that cannot be read explains none.
fn companion(file: &InputFile, table: &str, options: &ReadOptions) -> Result<Option<Delimited>> {
    let Some(place) = find(&file.companions, table)? else { return Ok(None) };
    let mut delimited = Delimited::open(&InputFile::open(&place)?, options, Dialect::CSV)?;
    delimited.header.mask_all_but(&[]);
    Ok(Some(delimited))
}

fn load_titles(file: &InputFile, table: &str, kind: Kind, options: &ReadOptions) -> Result<Titles> {
    let mut titles = Titles::default();
    if let Some(delimited) = companion(file, table, options)? {
        let codes = Codes::of(kind, &delimited.header)?;
        delimited.for_each(|row| {
            if let Ok((code, version, Some(title))) = codes.read(row) {
                titles.of(version).insert(code.into(), title.into());
            }
        })?;
    }
    Ok(titles)
}

fn load_items(file: &InputFile, options: &ReadOptions) -> Result<Names> {
    let mut items = Names::new();
    if let Some(delimited) = companion(file, D_LABITEMS, options)? {
        let (item, label) = (delimited.header.require(&["itemid"])?, delimited.header.require(&["label"])?);
        delimited.for_each(|row| {
            if let Some(label) = row.text(Some(label)) {
                items.insert(row.get(item).into(), label.into());
            }
        })?;
    }
    Ok(items)
}

fn load_admissions(file: &InputFile, options: &ReadOptions) -> Result<Option<Admitted>> {
    let Some(delimited) = companion(file, ADMISSIONS, options)? else { return Ok(None) };
    let mut admitted = Admitted::new();
    let (id, time) = (delimited.header.require(&["hadm_id"])?, delimited.header.require(&["admittime"])?);
    delimited.for_each(|row| {
        admitted.extend(digits(row.get(id).as_bytes()).zip(values::date(row.get(time))));
    })?;
    Ok(Some(admitted))
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use generel_schemas::RejectReason::{InvalidDate, InvalidIdentifier, InvalidNumber, MissingValue};
    use proptest::prelude::*;

    use super::super::super::Chunk;
    use super::super::super::testing::{cells, nulled, options, read, read_path, rejected, table_cells};
    use super::*;

    const ADMITTED: &[u8] = b"subject_id,hadm_id,admittime,admission_type\n1,20,2180-05-06 22:23:00,URGENT\n";
    const DIAGNOSED: &str = "subject_id,hadm_id,seq_num,icd_code,icd_version\n";

    fn table(name: &str, text: &str) -> Vec<Chunk> {
        read(&MimicIv, &[(name, text.as_bytes())], &options()).unwrap()
    }

    #[test]
    fn diagnoses_are_dated_by_their_admission() {
        let rows = format!("{DIAGNOSED}1,20,1,4019,9\n1,20,2,I10,10\n1,21,1,4019,10\n");
        let titles =
            b"icd_code,icd_version,long_title\n4019 ,9,\"Hypertension, unspecified\"\nI10,10,Essential hypertension\n";
        let files: [(&str, &[u8]); 3] =
            [("diagnoses_icd.csv", rows.as_bytes()), ("admissions.csv", ADMITTED), ("d_icd_diagnoses.csv", titles)];
        let chunks = read(&MimicIv, &files, &options()).unwrap();
        assert_eq!(cells(&chunks, "event_table"), ["condition_occurrence"; 3]);
        assert_eq!(cells(&chunks, "event_date"), ["2180-05-06", "2180-05-06", "-"]);
        assert_eq!(cells(&chunks, "source_vocabulary"), ["ICD9CM", "ICD10CM", "ICD10CM"]);
        assert_eq!(cells(&chunks, "source_code"), ["4019", "I10", "4019"]);
        assert_eq!(cells(&chunks, "source_name"), ["Hypertension, unspecified", "Essential hypertension", "-"]);
        assert_eq!(nulled(&chunks, "event_date"), 1);
        let alone = table("diagnoses_icd.csv", &rows);
        assert_eq!((cells(&alone, "event_date")[0].as_str(), nulled(&alone, "event_date")), ("-", 0));
    }

    #[test]
    fn codes_become_concepts() {
        let chunks = table(
            "d_icd_procedures.csv",
            "icd_code,icd_version,long_title\n0010,9,Implantation\n0DTJ4ZZ,10,Resection of Appendix\n",
        );
        assert_eq!(table_cells(&chunks, &CONCEPTS, "code"), ["ICD9Proc:0010", "ICD10PCS:0DTJ4ZZ"]);
        assert_eq!(table_cells(&chunks, &CONCEPTS, "curie"), ["icd9cm:00.10", "icd10pcs:0DTJ4ZZ"]);
        let chunks = table("d_icd_diagnoses.csv", "icd_code,icd_version,long_title\n0010,9,Cholera\nE8500,9,\n");
        assert_eq!(table_cells(&chunks, &CONCEPTS, "curie"), ["icd9cm:001.0", "icd9cm:E850.0"]);
        assert_eq!(table_cells(&chunks, &CONCEPT_NAMES, "name"), ["Cholera"]);
        assert_eq!(table_cells(&chunks, &CONCEPT_NAMES, "code"), ["ICD9CM:0010"]);
    }

    #[test]
    fn labs_keep_what_the_number_does_not_say() {
        let header = "labevent_id,subject_id,hadm_id,itemid,charttime,value,valuenum,valueuom,comments\n";
        let rows = format!(
            "{header}1,1,,50931,2180-03-23 11:51:00,95,95,mg/dL,___\n2,1,,50931,2180-03-23 11:51:00,<0.01,0.01,,\n\
             3,1,,50931,2180-03-23 11:51:00,___,,,text\n4,1,,51,2180-03-23 11:51:00,NEG,,,\n"
        );
        let items = b"itemid,label,fluid,category\n50931,Glucose,Blood,Chemistry\n";
        let files: [(&str, &[u8]); 2] = [("labevents.csv", rows.as_bytes()), ("d_labitems.csv", items)];
        let chunks = read(&MimicIv, &files, &options()).unwrap();
        assert_eq!(cells(&chunks, "source_name"), ["Glucose", "Glucose", "Glucose", "-"]);
        assert_eq!(cells(&chunks, "value_as_number"), ["95.0", "0.01", "-", "-"]);
        assert_eq!(cells(&chunks, "value_as_string"), ["-", "<0.01", "-", "NEG"]);
        assert_eq!(cells(&chunks, "event_datetime")[0], "2180-03-23T11:51:00Z");
    }

    #[test]
    fn drugs_persons_visits() {
        let chunks = table(
            "prescriptions.csv",
            "subject_id,starttime,drug,ndc\n1,2180-05-07 01:00:00,Heparin,63323026201\n1,2180-05-07 01:00:00,Bag,0\n",
        );
        assert_eq!(cells(&chunks, "source_vocabulary"), ["NDC", "-"]);
        assert_eq!(cells(&chunks, "source_code"), ["63323026201", "-"]);
        assert_eq!(cells(&chunks, "source_name"), ["Heparin", "Bag"]);
        let chunks = table("patients.csv", "subject_id,gender,anchor_age,anchor_year\n1,F,52,2180\n");
        assert_eq!(cells(&chunks, "event_date"), ["2128-01-01"]);
        assert_eq!(cells(&chunks, "person_id"), [options().person_key.pseudonym("test", "1")]);
        let chunks = read(&MimicIv, &[("admissions.csv", ADMITTED)], &options()).unwrap();
        assert_eq!(cells(&chunks, "event_table"), ["visit_occurrence"]);
        assert_eq!(cells(&chunks, "source_code"), ["URGENT"]);
    }

    #[test]
    fn bad_rows_are_rejected_without_the_person() {
        let chunks = table("diagnoses_icd.csv", &format!("{DIAGNOSED}77,20,1,4019,8\n,20,1,4019,9\n77,20,1,,9\n"));
        let expected =
            [(2, "icd_version", InvalidIdentifier), (3, "subject_id", MissingValue), (4, "icd_code", MissingValue)];
        assert_eq!(rejected(&chunks), expected);
        assert_eq!(chunks[0].rejected[0].raw, "***,***,1,4019,8");
        let chunks = table("patients.csv", "subject_id,gender,anchor_age,anchor_year\n77,F,old,2180\n");
        assert_eq!(rejected(&chunks), [(2, "anchor_age", InvalidNumber)]);
        let chunks =
            table("procedures_icd.csv", "subject_id,hadm_id,chartdate,icd_code,icd_version\n77,2,soon,3961,9\n");
        assert_eq!(rejected(&chunks), [(2, "chartdate", InvalidDate)]);
    }

    fn fixture() -> PathBuf {
        Path::new("../tests/fixtures/mimic-iv").to_path_buf()
    }

    #[test]
    fn the_releases_folder_is_read() {
        let chunks = read_path(&MimicIv, &fixture(), &options()).unwrap();
        assert!(rejected(&chunks).is_empty());
        let tables = table_cells(&chunks, &PATIENT_EVENTS, "event_table");
        let count = |name: &str| tables.iter().filter(|table| *table == name).count();
        let names = ["person", "visit_occurrence", "condition_occurrence", "procedure_occurrence", "measurement"];
        assert_eq!(names.map(count), [5, 6, 9, 5, 9]);
        assert_eq!(table_cells(&chunks, &CONCEPTS, "curie").len(), 14);
        assert_eq!(read_path(&MimicIv, &fixture().join("hosp"), &options()).unwrap().len(), chunks.len());
    }

    #[test]
    fn is_recognized_by_name_and_columns() {
        let head = |name: &str, text: &str| Head { name: name.to_string(), text: text.to_string() };
        assert!(MimicIv.recognize(&head("diagnoses_icd.csv", DIAGNOSED)).is_some());
        assert!(MimicIv.recognize(&head("patients.csv", "Id,BIRTHDATE,SSN,GENDER")).is_none());
    }

    proptest! {
        #[test]
        fn any_bytes_balance(bytes in proptest::collection::vec(any::<u8>(), 0..300), at in 0..TABLES.len()) {
            let all = "subject_id,hadm_id,icd_code,icd_version,chartdate,long_title,anchor_age,anchor_year,admittime,\
                       starttime,drug,ndc,itemid,charttime,value,valuenum\n";
            let text = [all.as_bytes(), bytes.as_slice()].concat();
            let name = format!("{}.csv", TABLES[at]);
            let mut files: Vec<(&str, &[u8])> = vec![(&name, &text)];
            if TABLES[at] == DIAGNOSES {
                files.push(("admissions.csv", &text));
            }
            let _ = read(&MimicIv, &files, &options()).unwrap();
        }
    }
}
