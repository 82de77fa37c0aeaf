//! Patient records: everything that becomes `patient_events`.

mod omop;

pub(super) use omop::Omop;
