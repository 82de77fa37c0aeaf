//! A resource becomes events.

use std::borrow::Cow;
use std::collections::HashMap;

use arrow::datatypes::Date32Type;
use chrono::NaiveDate;
use generel_schemas::RejectReason;

use super::super::super::output::{Event, Output};
use super::super::super::text::delimited::Taken;
use super::super::super::text::values::{self, digits};
use super::super::folder::Persons;
use super::super::vocabulary;
use super::resource::{Concept, Entry, Named, Resource, Values};

/// Why a resource is refused.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) column: &'static str,
    pub(super) reason: RejectReason,
    pub(super) message: &'static str,
}

/// A resource's fate.
pub(super) type Fate<T = Taken> = Result<T, Fault>;

fn missing<T>(column: &'static str) -> Fate<T> {
    Err(Fault { column, reason: RejectReason::MissingValue, message: "a value is needed" })
}

/// A medication of a file of its own.
pub(super) struct Medication {
    vocabulary: Option<String>,
    code: Option<String>,
    name: Option<String>,
}

impl Medication {
    pub(super) fn of(resource: &Resource<'_>) -> Option<(String, Self)> {
        let id = resource.id.get().filter(|_| resource.kind.is("Medication"))?;
        let named = resource.code.get()?.named();
        let own = |text: Option<&str>| text.map(str::to_string);
        Some((id.to_string(), Self { vocabulary: own(named.vocabulary), code: own(named.code), name: own(named.name) }))
    }

    fn named(&self) -> Named<'_> {
        Named { vocabulary: self.vocabulary.as_deref(), code: self.code.as_deref(), name: self.name.as_deref() }
    }
}

/// What references within a bundle lead to.
#[derive(Default)]
pub(super) struct Links<'r> {
    /// `fullUrl` of a patient → its `id`, which is what references in other files say.
    patients: HashMap<&'r str, &'r str>,
    medications: HashMap<&'r str, &'r Concept<'r>>,
}

impl<'r> Links<'r> {
    pub(super) fn of(entries: impl Iterator<Item = &'r Entry<'r>>) -> Self {
        let mut links = Self::default();
        for entry in entries {
            let Some(resource) = entry.resource.get() else { continue };
            let (url, id) = (entry.full_url.get().map(local), resource.id.get());
            match resource.kind.get() {
                Some("Patient") => links.patients.extend(url.zip(id)),
                Some("Medication") => {
                    let code = resource.code.get();
                    links.medications.extend(url.zip(code));
                    links.medications.extend(id.zip(code));
                }
                _ => {}
            }
        }
        links
    }
}

/// The id in `Patient/1`, `urn:uuid:1`, `http://server/fhir/Patient/1/_history/2`.
fn local(reference: &str) -> &str {
    let reference =
        reference.strip_prefix("urn:uuid:").or_else(|| reference.strip_prefix("urn:oid:")).unwrap_or(reference);
    let reference = reference.split("/_history").next().unwrap_or(reference);
    reference.rsplit('/').next().unwrap_or(reference)
}

/// Who a resource is about: a person's id, or `None` for a group, a device, a place.
fn subject<'r>(resource: &'r Resource<'_>) -> Fate<Option<&'r str>> {
    let of = [&resource.subject, &resource.patient];
    let Some(reference) = of.into_iter().find_map(|r| r.get()?.reference.get()) else { return missing("subject") };
    if reference.starts_with('#') || reference.contains('?') {
        let message = "expected a reference to a patient by id";
        return Err(Fault { column: "subject", reason: RejectReason::InvalidIdentifier, message });
    }
    let path = reference.split("/_history").next().unwrap_or(reference);
    if let Some((before, _)) = path.rsplit_once('/')
        && before.rsplit('/').next() != Some("Patient")
    {
        return Ok(None);
    }
    match local(reference) {
        "" => missing("subject"),
        id => Ok(Some(id)),
    }
}

/// When it was: a date as written, and the moment where a time of day is stated.
#[derive(Clone, Copy)]
struct When {
    date: i32,
    datetime: Option<Result<i64, ()>>,
}

/// The first date that is there; the first column is named where none is.
fn when(dates: &[(&'static str, Option<&str>)]) -> Fate<When> {
    let Some((column, text)) = dates.iter().find_map(|(column, text)| Some((*column, (*text)?))) else {
        return missing(dates.first().map_or("date", |(column, _)| column));
    };
    let message = "expected a date, YYYY, YYYY-MM, YYYY-MM-DD or one with a time";
    let date = date(text).ok_or(Fault { column, reason: RejectReason::InvalidDate, message })?;
    Ok(When { date, datetime: (text.len() > 10).then(|| values::datetime(text).ok_or(())) })
}

/// When what a resource of a type tells of began.
fn began(kind: &str, r: &Resource<'_>) -> Fate<When> {
    match kind {
        "Condition" | "AllergyIntolerance" => when(&[
            ("onsetDateTime", r.onset_date_time.get()),
            ("onsetPeriod", r.onset_period.start()),
            ("recordedDate", r.recorded_date.get()),
            ("assertedDate", r.asserted_date.get()),
        ]),
        "Observation" | "DiagnosticReport" => when(&[
            ("effectiveDateTime", r.effective_date_time.get()),
            ("effectivePeriod", r.effective_period.start()),
            ("effectiveInstant", r.effective_instant.get()),
            ("issued", r.issued.get()),
        ]),
        "MedicationRequest" => when(&[("authoredOn", r.authored_on.get())]),
        "Procedure" => {
            when(&[("performedDateTime", r.performed_date_time.get()), ("performedPeriod", r.performed_period.start())])
        }
        "Encounter" => when(&[("period", r.period.start())]),
        _ => when(&[
            ("occurrenceDateTime", r.occurrence_date_time.get()),
            ("date", r.date.get()),
            ("recorded", r.recorded.get()),
        ]),
    }
}

/// Days since 1970-01-01; the first day of a year or month.
fn date(text: &str) -> Option<i32> {
    let bytes = text.as_bytes();
    let (year, month) = match bytes.len() {
        4 => (bytes, 1),
        7 if bytes[4] == b'-' => (&bytes[..4], digits(&bytes[5..])?),
        _ => return values::date(text),
    };
    NaiveDate::from_ymd_opt(i32::try_from(digits(year)?).ok()?, month, 1).map(Date32Type::from_naive_date)
}

/// Why a resource tells of nothing that was.
fn untrue(resource: &Resource<'_>) -> Option<&'static str> {
    let verified = resource.verification_status.get().and_then(Concept::word);
    let refused = [&resource.do_not_perform, &resource.not_given, &resource.not_done];
    match (resource.status.get(), verified) {
        (Some("entered-in-error"), _) | (_, Some("entered-in-error")) => Some("entered in error"),
        (_, Some("refuted")) => Some("refuted condition"),
        (Some("not-done" | "cancelled"), _) => Some("not done"),
        _ if refused.into_iter().any(|text| text.is("true")) => Some("not done"),
        _ => None,
    }
}

/// Whether OMOP would call an observation a measurement.
fn is_measurement(resource: &Resource<'_>) -> bool {
    let stated = resource.category.0.iter().filter_map(|c| vocabulary::measures(c.word()?)).reduce(|a, b| a || b);
    let number = || {
        let values = resource.values();
        values.quantity.is_some() || resource.component.0.iter().any(|part| part.values().quantity.is_some())
    };
    stated.unwrap_or_else(number)
}

/// The resource types that become events; their names may stand in quarantine.
pub(super) const KINDS: [&str; 9] = [
    "Patient",
    "Condition",
    "Observation",
    "MedicationRequest",
    "Procedure",
    "Encounter",
    "Immunization",
    "AllergyIntolerance",
    "DiagnosticReport",
];

/// Makes events of resources. Shared by all threads.
pub(super) struct Maker {
    pub(super) persons: Persons,
    /// The medications of files beside this one, by id.
    pub(super) medications: HashMap<String, Medication>,
}

impl Maker {
    /// Appends what a resource becomes. What can be refused is read first.
    pub(super) fn resource<'r>(
        &self,
        resource: &'r Resource<'r>,
        full_url: Option<&str>,
        links: &Links<'r>,
        out: &mut Output,
    ) -> Fate {
        let kind = match resource.kind.get() {
            None => {
                let message = "expected a FHIR resource: an object with resourceType";
                return Err(Fault { column: "resourceType", reason: RejectReason::Malformed, message });
            }
            Some("Patient") => return self.patient(resource, full_url, out),
            Some(kind) if KINDS.contains(&kind) => kind,
            Some(_) => return Ok(Taken::Ignored("resource type without a table")),
        };
        if let Some(why) = untrue(resource) {
            return Ok(Taken::Ignored(why));
        }
        let Some(person) = subject(resource)? else { return Ok(Taken::Ignored("the subject is no patient")) };
        let when = began(kind, resource)?;
        let person = links.patients.get(person).copied().unwrap_or(person);
        let pseudonym = self.persons.pseudonym(person);
        let (table, named) = self.named(kind, resource, links, out);
        let event = Event {
            person_id: Some(pseudonym.as_str()),
            event_table: Some(table),
            event_date: Some(when.date),
            event_datetime: out.or_hole("event_datetime", when.datetime),
            ..Event::default()
        };
        if kind == "Observation" {
            observed(resource, &event, named, out);
        } else {
            out.event(&with_code(event, named));
        }
        Ok(Taken::Kept)
    }

    fn patient(&self, resource: &Resource<'_>, full_url: Option<&str>, out: &mut Output) -> Fate {
        let Some(id) = resource.id.get().or_else(|| full_url.map(local)).filter(|id| !id.is_empty()) else {
            return missing("id");
        };
        let born = when(&[("birthDate", resource.birth_date.get())])?;
        let died =
            resource.deceased_date_time.get().map(|text| when(&[("deceasedDateTime", Some(text))])).transpose()?;
        let pseudonym = self.persons.pseudonym(id);
        let gender = resource.gender.get();
        let datetime = out.or_hole("event_datetime", born.datetime);
        let event = Event { person_id: Some(pseudonym.as_str()), ..Event::default() };
        out.event(&Event {
            event_table: Some("person"),
            event_date: Some(born.date),
            event_datetime: datetime,
            source_vocabulary: gender.map(|_| "http://hl7.org/fhir/administrative-gender"),
            source_code: gender,
            ..event
        });
        if let Some(died) = died {
            let datetime = out.or_hole("event_datetime", died.datetime);
            let table = Some("death");
            out.event(&Event { event_table: table, event_date: Some(died.date), event_datetime: datetime, ..event });
        }
        Ok(Taken::Kept)
    }

    /// The event's table and its code.
    fn named<'n>(
        &'n self,
        kind: &str,
        r: &'n Resource<'n>,
        links: &Links<'n>,
        out: &mut Output,
    ) -> (&'static str, Named<'n>) {
        let code = || r.code.get().map(Concept::named).unwrap_or_default();
        match kind {
            "Condition" => ("condition_occurrence", code()),
            "Procedure" => ("procedure_occurrence", code()),
            "Observation" if is_measurement(r) => ("measurement", code()),
            "MedicationRequest" => ("drug_exposure", self.medication(r, links, out)),
            "Immunization" => ("drug_exposure", r.vaccine_code.get().map(Concept::named).unwrap_or_default()),
            "Encounter" => {
                let class = || r.class.get().map(|class| class.named()).unwrap_or_default();
                ("visit_occurrence", r.types.0.first().map_or_else(class, Concept::named))
            }
            _ => ("observation", code()),
        }
    }

    /// What was prescribed: stated, contained, in the bundle, or in a file beside this one.
    fn medication<'n>(&'n self, r: &'n Resource<'n>, links: &Links<'n>, out: &mut Output) -> Named<'n> {
        if let Some(concept) = r.medication_codeable_concept.get() {
            return concept.named();
        }
        let Some(reference) = r.medication_reference.get() else { return Named::default() };
        let Some(target) = reference.reference.get() else {
            return Named { name: reference.display.get(), ..Named::default() };
        };
        let found = match target.strip_prefix('#') {
            Some(id) => r.contained.0.iter().find(|c| c.id.is(id)).and_then(|c| c.code.get()).map(Concept::named),
            None => {
                let id = local(target);
                let bundled = links.medications.get(id).map(|concept| concept.named());
                bundled.or_else(|| self.medications.get(id).map(Medication::named))
            }
        };
        found.unwrap_or_else(|| {
            out.hole("source_code");
            Named { name: reference.display.get(), ..Named::default() }
        })
    }
}

fn with_code<'e>(event: Event<'e>, named: Named<'e>) -> Event<'e> {
    Event { source_vocabulary: named.vocabulary, source_code: named.code, source_name: named.name, ..event }
}

/// An observation: its own value, and one event for each of its components.
fn observed(resource: &Resource<'_>, event: &Event<'_>, named: Named<'_>, out: &mut Output) {
    let own = Outcome::of(&resource.values(), out);
    if own.is_some() || resource.component.0.is_empty() {
        out.event(&own.unwrap_or_default().on(with_code(*event, named)));
    }
    for component in &resource.component.0 {
        let outcome = Outcome::of(&component.values(), out).unwrap_or_default();
        let named = component.code.get().map(Concept::named).unwrap_or_default();
        out.event(&outcome.on(with_code(*event, named)));
    }
}

/// The value of an observation.
#[derive(Default)]
struct Outcome<'r> {
    number: Option<f64>,
    text: Option<Cow<'r, str>>,
    unit: Option<&'r str>,
}

impl<'r> Outcome<'r> {
    fn of(values: &Values<'r>, out: &mut Output) -> Option<Self> {
        if let Some(quantity) = values.quantity {
            let number = out.or_hole("value_as_number", quantity.value.0);
            // `< 5` is not 5: the bound's sign must not be lost.
            let bound = quantity.comparator().zip(number).map(|(sign, number)| Cow::Owned(format!("{sign}{number}")));
            return Some(Self { number, text: bound, unit: quantity.unit() });
        }
        if let Some(concept) = values.concept {
            let named = concept.named();
            return Some(Self { text: named.name.or(named.code).map(Cow::Borrowed), ..Self::default() });
        }
        if values.integer.0.is_some() {
            let number = out.or_hole("value_as_number", values.integer.0);
            return Some(Self { number, ..Self::default() });
        }
        if let Some(text) = values.text {
            return Some(Self { text: Some(Cow::Borrowed(text)), ..Self::default() });
        }
        values.unread.then(|| {
            out.hole("value_as_string");
            Self::default()
        })
    }

    fn on<'e>(&'e self, event: Event<'e>) -> Event<'e> {
        Event { value_as_number: self.number, value_as_string: self.text.as_deref(), unit: self.unit, ..event }
    }
}
