//! Code systems: the URIs of FHIR's terminology pages, and OMOP's `vocabulary_id` for them.

/// OMOP's name of a code system, for the systems that OMOP has.
pub(crate) fn omop(system: &str) -> Option<&'static str> {
    let system = system.trim_end_matches('/');
    if let Some(oid) = system.strip_prefix("urn:oid:") {
        return Some(match oid {
            "2.16.840.1.113883.6.96" => "SNOMED",
            "2.16.840.1.113883.6.1" => "LOINC",
            "2.16.840.1.113883.6.88" => "RxNorm",
            "2.16.840.1.113883.6.90" => "ICD10CM",
            "2.16.840.1.113883.6.4" => "ICD10PCS",
            "2.16.840.1.113883.6.103" => "ICD9CM",
            "2.16.840.1.113883.6.104" => "ICD9Proc",
            "2.16.840.1.113883.6.3" => "ICD10",
            "2.16.840.1.113883.12.292" => "CVX",
            "2.16.840.1.113883.6.69" => "NDC",
            "2.16.840.1.113883.6.12" => "CPT4",
            "2.16.840.1.113883.6.285" => "HCPCS",
            "2.16.840.1.113883.6.73" => "ATC",
            _ => return None,
        });
    }
    let page = system.strip_prefix("http://").or_else(|| system.strip_prefix("https://"))?;
    Some(match page {
        "snomed.info/sct" => "SNOMED",
        "loinc.org" => "LOINC",
        "www.nlm.nih.gov/research/umls/rxnorm" => "RxNorm",
        "hl7.org/fhir/sid/icd-10-cm" => "ICD10CM",
        "hl7.org/fhir/sid/icd-10" => "ICD10",
        "hl7.org/fhir/sid/icd-9-cm" | "terminology.hl7.org/CodeSystem/icd9cm" => "ICD9CM",
        "www.cms.gov/Medicare/Coding/ICD10" | "hl7.org/fhir/sid/icd-10-pcs" => "ICD10PCS",
        "www.cms.gov/Medicare/Coding/ICD9" => "ICD9Proc",
        "hl7.org/fhir/sid/cvx" => "CVX",
        "hl7.org/fhir/sid/ndc" => "NDC",
        "www.ama-assn.org/go/cpt" => "CPT4",
        "www.cms.gov/Medicare/Coding/HCPCSReleaseCodeSets" => "HCPCS",
        "www.whocc.no/atc" => "ATC",
        "hl7.org/fhir/ndfrt" => "NDFRT",
        "dmd.nhs.uk" => "dm+d",
        "fhir.de/CodeSystem/bfarm/icd-10-gm" | "fhir.de/CodeSystem/dimdi/icd-10-gm" => "ICD10GM",
        "fhir.de/CodeSystem/bfarm/ops" | "fhir.de/CodeSystem/dimdi/ops" => "OPS",
        _ => return None,
    })
}

/// Whether a category says that an observation is a measurement in OMOP's sense, `None` where it leaves that open:
/// questionnaires and ways of life are observations even where their answers are numbers.
pub(super) fn measures(category: &str) -> Option<bool> {
    match category {
        "laboratory" | "vital-signs" => Some(true),
        "survey" | "social-history" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::omop;

    #[test]
    fn systems_by_any_spelling() {
        for spelling in ["http://loinc.org", "https://loinc.org/", "urn:oid:2.16.840.1.113883.6.1"] {
            assert_eq!(omop(spelling), Some("LOINC"));
        }
        for unknown in ["", "urn:oid:1.2", "loinc.org", "http://hospital.example/codes"] {
            assert_eq!(omop(unknown), None);
        }
    }
}
