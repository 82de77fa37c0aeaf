//! Patient records: everything that becomes `patient_events`.

mod fhir;
mod folder;
mod mimic;
mod omop;
mod synthea;
mod vocabulary;

pub(crate) use vocabulary::omop as vocabulary_of_system;

pub(super) use fhir::Fhir;
pub(super) use mimic::MimicIv;
pub(super) use omop::Omop;
pub(super) use synthea::SyntheaCsv;
