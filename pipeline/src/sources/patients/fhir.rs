//! HL7 FHIR R4 (<https://hl7.org/fhir/R4>), and STU3 where its elements have the same shape: bulk-export NDJSON with one
//! resource a line, and bundles as Synthea writes them. A row is a resource.
//!
//! Tables are OMOP's: Patient → person, Condition → condition_occurrence, Observation → measurement or observation,
//! MedicationRequest and Immunization → drug_exposure, Procedure → procedure_occurrence, Encounter → visit_occurrence,
//! AllergyIntolerance and DiagnosticReport → observation. Resources entered in error, refuted or not done are ignored.
//!
//! Nothing of a resource but its type stands in quarantine: any element may name a person.

mod document;
mod events;
mod json;
mod resource;
mod sink;

use std::collections::HashMap;
use std::io::Read;
use std::sync::Arc;

use generel_schemas::tables::PATIENT_EVENTS;
use generel_schemas::{RejectReason, Table};
use serde::de::IgnoredAny;

use self::document::{Cursor, Position};
use self::events::{KINDS, Links, Maker, Medication};
use self::resource::Resource;
use self::sink::Sink;
use super::super::recognize::{Head, Likeness};
use super::super::text::lines::Lines;
use super::super::{
    Chunk, ChunkReader, Found, InputFile, Place, ReadOptions, Reader, Slab, SlabParser, SlabReader, Source,
};
use super::folder::Persons;
use crate::{Error, Result};

/// Bytes that tell lines from documents.
const HEAD_BYTES: u64 = 64 * 1024;
/// Types without a table that a file may begin with.
const OTHER_KINDS: [&str; 22] = [
    "Bundle",
    "Medication",
    "Organization",
    "Practitioner",
    "PractitionerRole",
    "Location",
    "CarePlan",
    "CareTeam",
    "Claim",
    "ExplanationOfBenefit",
    "Coverage",
    "Device",
    "DocumentReference",
    "Goal",
    "Group",
    "ImagingStudy",
    "MedicationAdministration",
    "MedicationDispense",
    "MedicationStatement",
    "Provenance",
    "ServiceRequest",
    "Specimen",
];

/// The format `fhir`.
pub(in super::super) struct Fhir;

impl Source for Fhir {
    fn name(&self) -> &'static str {
        "fhir"
    }

    fn doc(&self) -> &'static str {
        "FHIR R4 (and STU3): bulk-export NDJSON, bundles (Synthea's JSON), or a folder of them"
    }

    fn example(&self) -> &'static str {
        "generel ingest --format fhir --source hospital Condition.ndjson.gz"
    }

    fn tables(&self) -> &'static [&'static Table] {
        &[&PATIENT_EVENTS]
    }

    fn recognize(&self, head: &Head) -> Option<Likeness> {
        if !head.text.trim_start().starts_with(['{', '[']) {
            return None;
        }
        let mut kinds = head.text.split("\"resourceType\"").skip(1).filter_map(|behind| {
            behind.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?.split('"').next()
        });
        let known = kinds.find_map(|kind| KINDS.iter().chain(&OTHER_KINDS).find(|known| **known == kind))?;
        Likeness::new(99, format!("JSON with resourceType {known}"))
    }

    fn files(&self, found: &Found) -> Result<Vec<InputFile>> {
        let with_medications = |place: &Place, beside: &dyn Fn() -> Result<Vec<Place>>| {
            let prescribes = place.bare_name().contains("MedicationRequest");
            let beside = if prescribes { beside()? } else { Vec::new() };
            InputFile::with_companions(place, beside.into_iter().filter(holds_medications).collect())
        };
        match found {
            Found::File(place) => {
                place.size()?;
                Ok(vec![with_medications(place, &|| place.siblings())?])
            }
            Found::Folder(path, places) => {
                let all: Vec<&Place> = places.iter().filter(|place| is_json(place)).collect();
                if all.is_empty() {
                    return Err(Error::Invalid(format!("{}: no .ndjson, .jsonl or .json file in it", path.display())));
                }
                all.into_iter().map(|place| with_medications(place, &|| Ok(places.clone()))).collect()
            }
        }
    }

    fn open(&self, file: &InputFile, options: &ReadOptions) -> Result<Reader> {
        let mut head = Vec::new();
        let reader = file.reader(options.encoding)?;
        reader.take(HEAD_BYTES).read_to_end(&mut head).map_err(|e| Error::read(file.path(), 1, e))?;
        let head = String::from_utf8_lossy(&head);
        let head = head.trim_start_matches('\u{feff}').trim_start();
        if !head.starts_with(['{', '[']) {
            return Err(Error::format(file.path(), 1, "not FHIR: expected JSON, a resource a line or a bundle"));
        }
        let maker = Maker { persons: Persons::of(options), medications: load_medications(file, options)? };
        if !by_lines(head) {
            let chunk_rows = options.chunk_rows.max(1) as u64;
            return Ok(Reader::Chunks(Box::new(Documents {
                file: file.clone(),
                options: options.clone(),
                text: None,
                position: Position::on_line(1),
                maker,
                sink: Sink::new(chunk_rows),
            })));
        }
        let lines = Lines::new(file.reader(options.encoding)?, file.path().to_path_buf());
        let slabs = lines.into_slabs(None).with_slab_bytes(options.slab_bytes);
        Ok(Reader::Slabs(SlabReader { slabs, parser: Arc::new(Ndjson { maker }), recognized: None }))
    }
}

/// Whether a file has a whole resource, or bundle, on each line.
fn by_lines(head: &str) -> bool {
    match head.split_once('\n') {
        None => head.starts_with('{'),
        Some((first, _)) => first.starts_with('{') && serde_json::from_str::<IgnoredAny>(first).is_ok(),
    }
}

fn is_json(place: &Place) -> bool {
    let name = place.bare_name().to_ascii_lowercase();
    [".ndjson", ".jsonl", ".json"].iter().any(|extension| name.ends_with(extension))
}

/// `Medication.ndjson`, `Medication.000.ndjson`, `1.Medication.ndjson`: what prescriptions of a bulk export refer to.
fn holds_medications(place: &Place) -> bool {
    let name = place.bare_name();
    is_json(place) && name.split(['.', '_', '-']).any(|part| part == "Medication")
}

/// Medications by id. They only name what prescriptions refer to: a line that cannot be read names none.
fn load_medications(file: &InputFile, options: &ReadOptions) -> Result<HashMap<String, Medication>> {
    let mut medications = HashMap::new();
    for place in &file.companions {
        let mut lines = Lines::new(place.reader(options.encoding)?, place.path().to_path_buf());
        while lines.advance()? {
            let resource = serde_json::from_slice::<Resource<'_>>(lines.line());
            medications.extend(resource.ok().as_ref().and_then(Medication::of));
        }
    }
    Ok(medications)
}

/// One resource a line; a line may also hold a whole bundle.
struct Ndjson {
    maker: Maker,
}

impl SlabParser for Ndjson {
    fn parse(&self, slab: &Slab<'_>) -> Result<Chunk> {
        let mut sink = Sink::new(u64::MAX);
        let whole = std::str::from_utf8(slab.bytes).ok();
        let end = (slab.bytes.last() != Some(&b'\n')).then_some(slab.bytes.len());
        let mut start = 0;
        for (line, end) in (slab.first_line..).zip(memchr::memchr_iter(b'\n', slab.bytes).chain(end)) {
            let text = match whole {
                Some(whole) => whole.get(start..end),
                None => slab.bytes.get(start..end).and_then(|bytes| std::str::from_utf8(bytes).ok()),
            };
            match text.map(str::trim) {
                None => sink.broken(RejectReason::InvalidUtf8, line)?,
                Some("") => {}
                Some(text) => self.line(text, line, end == slab.bytes.len(), &mut sink)?,
            }
            start = end + 1;
        }
        sink.flush()?;
        Ok(sink.done.pop_front().unwrap_or_default())
    }
}

impl Ndjson {
    fn line(&self, text: &str, line: u64, last: bool, sink: &mut Sink) -> Result<()> {
        if !text.starts_with('{') {
            return sink.broken(RejectReason::Malformed, line);
        }
        match serde_json::from_str::<Resource<'_>>(text) {
            Ok(resource) if resource.kind.is("Bundle") => {
                Cursor { text, position: Position::on_line(line) }.bundle(&self.maker, sink).map(|_| ())
            }
            Ok(resource) => sink.resource(&self.maker, &resource, None, &Links::default(), line),
            Err(error) if last => sink.broken(document::reason(&error), line),
            Err(_) => sink.broken(RejectReason::Malformed, line),
        }
    }
}

/// A file of documents, read whole: a bundle's end is known only when it came.
struct Documents {
    file: InputFile,
    options: ReadOptions,
    text: Option<String>,
    position: Position,
    maker: Maker,
    sink: Sink,
}

impl ChunkReader for Documents {
    fn next_chunk(&mut self) -> Result<Option<Chunk>> {
        let text = match self.text.take() {
            Some(text) => text,
            None => {
                let mut text = self.file.place.read_to_string(self.options.encoding)?;
                if text.starts_with('\u{feff}') {
                    text.drain(..'\u{feff}'.len_utf8());
                }
                text
            }
        };
        let mut cursor = Cursor { text: &text, position: self.position };
        while self.sink.done.is_empty() {
            if !cursor.next_document() {
                self.sink.flush()?;
                break;
            }
            cursor.document(&self.maker, &mut self.sink)?;
        }
        self.position = cursor.position;
        self.text = Some(text);
        Ok(self.sink.done.pop_front())
    }
}

#[cfg(test)]
mod tests {
    use generel_schemas::RejectReason::{
        InvalidDate, InvalidIdentifier, InvalidUtf8, Malformed, MissingValue, TornLine,
    };
    use proptest::prelude::*;

    use super::super::super::testing::{cells, ignored, nulled, options, read, read_path, rejected};
    use super::*;

    const ANNA: &str = r#""subject":{"reference":"Patient/anna"}"#;

    fn ndjson(lines: &[String]) -> Vec<Chunk> {
        read(&Fhir, &[("any.ndjson", lines.join("\n").as_bytes())], &options()).unwrap()
    }

    fn observation(category: &str, rest: &str) -> String {
        format!(
            r#"{{"resourceType":"Observation","category":[{{"coding":[{{"code":"{category}"}}]}}],
            "code":{{"coding":[{{"system":"http://loinc.org","code":"8302-2","display":"Height"}}]}},{ANNA},
            "effectiveDateTime":"2010-01-09T19:04:32+00:00",{rest}}}"#
        )
        .replace('\n', "")
    }

    #[test]
    fn resources_become_events() {
        let chunks = ndjson(&[
            r#"{"resourceType":"Patient","id":"anna","gender":"female","birthDate":"1970-01","name":[{"family":"X"}]}"#.into(),
            format!(
                r#"{{"resourceType":"Condition","code":{{"coding":[{{"system":"http://own","code":"1","display":"Own"}},
                {{"system":"http://snomed.info/sct","code":"44054006","display":"Diabetes"}}],"text":"T"}},{ANNA},
                "onsetDateTime":"1972-02-03T22:48:38-05:00","recordedDate":"2000"}}"#
            )
            .replace('\n', ""),
            format!(r#"{{"resourceType":"Condition","code":{{"text":"Tired"}},{ANNA},"onsetPeriod":{{"start":"1972"}}}}"#),
            format!(
                r##"{{"resourceType":"MedicationRequest","contained":[{{"resourceType":"Medication","id":"m","code":
                {{"coding":[{{"system":"http://www.nlm.nih.gov/research/umls/rxnorm","code":"834101"}}],"text":"Pen"}}}}],
                "medicationReference":{{"reference":"#m"}},{ANNA},"authoredOn":"1985-07-27"}}"##
            )
            .replace('\n', ""),
            r#"{"resourceType":"Immunization","vaccineCode":{"coding":[{"system":"http://hl7.org/fhir/sid/cvx","code":"140"}]},"patient":{"reference":"http://x/Patient/anna/_history/2"},"date":"2008-06-14T18:08:34-04:00"}"#.into(),
            format!(r#"{{"resourceType":"Encounter","class":{{"code":"AMB"}},{ANNA},"period":{{"start":"2011-06-30"}}}}"#),
            r#"{"resourceType":"Claim"}"#.into(),
            format!(r#"{{"resourceType":"Condition","verificationStatus":"entered-in-error",{ANNA}}}"#),
            r#"{"resourceType":"Observation","subject":{"reference":"Group/1"}}"#.into(),
        ]);
        assert_eq!(rejected(&chunks), []);
        assert_eq!(ignored(&chunks), 3);
        let tables = [
            "person",
            "condition_occurrence",
            "condition_occurrence",
            "drug_exposure",
            "drug_exposure",
            "visit_occurrence",
        ];
        assert_eq!(cells(&chunks, "event_table"), tables);
        assert_eq!(cells(&chunks, "person_id"), vec![options().person_key.pseudonym("test", "anna"); 6]);
        let dates = ["1970-01-01", "1972-02-03", "1972-01-01", "1985-07-27", "2008-06-14", "2011-06-30"];
        assert_eq!(cells(&chunks, "event_date"), dates);
        assert_eq!(cells(&chunks, "event_datetime")[1], "1972-02-04T03:48:38Z");
        assert_eq!(cells(&chunks, "source_code"), ["female", "44054006", "-", "834101", "140", "AMB"]);
        assert_eq!(cells(&chunks, "source_vocabulary")[1..], ["SNOMED", "-", "RxNorm", "CVX", "-"]);
        assert_eq!(cells(&chunks, "source_name"), ["-", "Diabetes", "Tired", "Pen", "-", "-"]);
    }

    #[test]
    fn observations_have_values_and_parts() {
        let part = |code: &str, value: u8| {
            format!(
                r#"{{"code":{{"coding":[{{"system":"http://loinc.org","code":"{code}"}}]}},"valueQuantity":{{"value":{value}}}}}"#
            )
        };
        let chunks = ndjson(&[
            observation("vital-signs", r#""valueQuantity":{"value":139.5,"unit":"cm","code":"x"}"#),
            observation("survey", r#""valueQuantity":{"value":3}"#),
            observation("exam", r#""valueQuantity":{"value":5,"comparator":"<"}"#),
            observation("exam", r#""valueCodeableConcept":{"text":"Never"}"#),
            observation("laboratory", r#""valueString":"positive""#),
            observation("vital-signs", &format!(r#""component":[{},{}]"#, part("8462-4", 74), part("8480-6", 110))),
            observation("laboratory", r#""valueRange":{"low":{"value":1}}"#),
            observation("laboratory", r#""valueQuantity":{"value":"much"}"#),
        ]);
        let tables = cells(&chunks, "event_table");
        assert_eq!(tables.iter().filter(|table| *table == "observation").count(), 2);
        assert_eq!(
            (tables[1].as_str(), tables[2].as_str(), tables[3].as_str()),
            ("observation", "measurement", "observation")
        );
        let codes = ["8302-2", "8302-2", "8302-2", "8302-2", "8302-2", "8462-4", "8480-6", "8302-2", "8302-2"];
        assert_eq!(cells(&chunks, "source_code"), codes);
        assert_eq!(cells(&chunks, "value_as_number"), ["139.5", "3.0", "5.0", "-", "-", "74.0", "110.0", "-", "-"]);
        assert_eq!(cells(&chunks, "value_as_string"), ["-", "-", "<5", "Never", "positive", "-", "-", "-", "-"]);
        assert_eq!(cells(&chunks, "unit")[0], "cm");
        assert_eq!((nulled(&chunks, "value_as_string"), nulled(&chunks, "value_as_number")), (1, 1));
    }

    const BUNDLE: &str = r#"{
 "type": "collection",
 "entry": [
  {"fullUrl": "urn:uuid:u1", "resource": {"id": "anna", "birthDate": "1970-01-02", "resourceType": "Patient"}},
  {"fullUrl": "urn:uuid:u2", "resource": {"resourceType": "MedicationRequest", "authoredOn": "1985-07-27",
   "subject": {"reference": "urn:uuid:u1"}, "medicationReference": {"reference": "urn:uuid:u3"}}},
  {"fullUrl": "urn:uuid:u3", "resource": {"resourceType": "Medication", "code": {"text": "Penicillin"}}},
  {"resource": {"resourceType": "Procedure", "subject": {"reference": "urn:uuid:u1"}}},
  {"response": {"status": "200"}},
  7
 ],
 "resourceType": "Bundle"
}"#;

    #[test]
    fn bundles_resolve_their_references() {
        let one_line = BUNDLE.replace('\n', "");
        let array = format!("[{BUNDLE},\n{BUNDLE}]");
        for (text, times) in [(BUNDLE, 1), (one_line.as_str(), 1), (array.as_str(), 2)] {
            let chunks = read(&Fhir, &[("b.json", text.as_bytes())], &options()).unwrap();
            assert_eq!(cells(&chunks, "event_table"), ["person", "drug_exposure"].repeat(times));
            let anna = options().person_key.pseudonym("test", "anna");
            assert_eq!(cells(&chunks, "person_id"), vec![anna; 2 * times]);
            assert_eq!(cells(&chunks, "source_name"), ["-", "Penicillin"].repeat(times));
            assert_eq!((ignored(&chunks), rejected(&chunks).len()), (2 * times as u64, 2 * times));
        }
        let chunks = read(&Fhir, &[("b.json", BUNDLE.as_bytes())], &options()).unwrap();
        assert_eq!(rejected(&chunks), [(8, "performedDateTime", MissingValue), (10, "-", Malformed)]);
        let torn = &BUNDLE[..BUNDLE.find("{\"response\"").unwrap() + 5];
        let chunks = read(&Fhir, &[("b.json", torn.as_bytes())], &options()).unwrap();
        assert_eq!(cells(&chunks, "event_table"), ["person", "drug_exposure"]);
        assert_eq!(rejected(&chunks), [(8, "performedDateTime", MissingValue), (9, "-", TornLine)]);
    }

    #[test]
    fn prescriptions_of_a_bulk_export_find_their_medications() {
        let request = format!(
            r#"{{"resourceType":"MedicationRequest",{ANNA},"authoredOn":"2020-01-02","medicationReference":{{"reference":"Medication/m","display":"D"}}}}"#
        );
        let medication = br#"{"resourceType":"Medication","id":"m","code":{"text":"Pen"}}"#;
        let files: [(&str, &[u8]); 2] =
            [("MedicationRequest.ndjson", request.as_bytes()), ("Medication.ndjson", medication)];
        assert_eq!(cells(&read(&Fhir, &files, &options()).unwrap(), "source_name"), ["Pen"]);
        let chunks = ndjson(&[request]);
        assert_eq!((cells(&chunks, "source_name"), nulled(&chunks, "source_code")), (vec!["D".to_string()], 1));
    }

    #[test]
    fn bad_resources_are_rejected_without_the_person() {
        let mut text = [
            r#"{"resourceType":"Patient","id":"anna"}"#,
            r#"{"resourceType":"Condition","id":"anna","onsetDateTime":"2020"}"#,
            r#"{"resourceType":"Condition","subject":{"reference":"Patient?name=anna"},"onsetDateTime":"2020"}"#,
            r#"{"resourceType":"Condition","subject":{"reference":"Patient/anna"},"onsetDateTime":"anna"}"#,
            r#"{"name":"anna"}"#,
            r#"["anna"]"#,
            r#"{"resourceType":"Condition","name":"an"#,
            "",
        ]
        .join("\n")
        .into_bytes();
        text.extend_from_slice(b"{\"resourceType\":\"Claim\",\"name\":\"\xff\"}\n\n{\"resourceType\":\"Cl");
        let chunks = read(&Fhir, &[("x.ndjson", &text)], &options()).unwrap();
        let expected = [
            (1, "birthDate", MissingValue),
            (2, "subject", MissingValue),
            (3, "subject", InvalidIdentifier),
            (4, "onsetDateTime", InvalidDate),
            (5, "resourceType", Malformed),
            (6, "-", Malformed),
            (7, "-", Malformed),
            (8, "-", InvalidUtf8),
            (10, "-", TornLine),
        ];
        assert_eq!(rejected(&chunks), expected);
        let rows = || chunks.iter().flat_map(|chunk| &chunk.rejected);
        assert!(rows().all(|row| !format!("{row}{}", row.raw).contains("anna")));
        assert_eq!(rows().next().unwrap().raw, r#"{"resourceType":"Patient","id":"***"}"#);
        let twice = br#"[ {"resourceType":"Patient", "id":"anna", "id":"anna"} ]"#;
        let chunks = read(&Fhir, &[("x.json", twice)], &options()).unwrap();
        assert_eq!(rejected(&chunks), [(1, "-", Malformed)]);
    }

    #[test]
    fn folders_and_recognition() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read_path(&Fhir, folder.path(), &options()).is_err());
        std::fs::write(folder.path().join("a.json"), BUNDLE).unwrap();
        std::fs::write(folder.path().join("notes.txt"), "x").unwrap();
        assert_eq!(cells(&read_path(&Fhir, folder.path(), &options()).unwrap(), "event_table").len(), 2);
        assert!(read(&Fhir, &[("x.csv", b"a,b\n")], &options()).is_err());
        let head = |text: &str| Head { name: "x.json".into(), text: text.into() };
        assert_eq!(Fhir.recognize(&head(BUNDLE)).unwrap().score, 99);
        assert_eq!(Fhir.recognize(&head(r#"{"types":{"resourceType":"Dataset"}}"#)), None);
        assert_eq!(Fhir.recognize(&head("a,\"resourceType\":\"Patient\"")), None);
    }

    proptest! {
        #[test]
        fn any_bytes_balance(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let lines = [b"{\"resourceType\":\"Patient\"}\n", bytes.as_slice()].concat();
            let _ = read(&Fhir, &[("x.ndjson", &lines)], &options()).unwrap();
            let _ = read(&Fhir, &[("x.json", &bytes)], &options());
        }

        #[test]
        fn any_json_balances(parts in proptest::collection::vec(proptest::sample::select(vec![
            "{", "}", "[", "]", ",", ":", "\"entry\"", "\"resource\"", "\"resourceType\"", "\"Patient\"", "\"Bundle\"",
            "\n", "1", "null", "\"", "{\"resourceType\":\"Condition\"}", "\"entry\":[{\"resource\":{}},", "\u{e9}",
        ]), 0..40)) {
            let text = parts.concat();
            for begin in ["{\n", "[", "{}\n", "{\"entry\":[\n"] {
                let _ = read(&Fhir, &[("x.json", format!("{begin}{text}").as_bytes())], &options()).unwrap();
            }
        }
    }
}
