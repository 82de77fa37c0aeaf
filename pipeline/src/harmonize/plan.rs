//! What a consumer looks for in a record and what it makes of it, put together once.

use super::extract::{Extractor, FieldPaths};
use super::path::FieldPath;
use crate::{Error, Result};

/// A field that holds concepts.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldOptions {
    /// Its name in the output.
    pub name: String,
    /// Where its concepts go in an enriched record.
    pub into: String,
    /// Path of free texts.
    pub text: Option<FieldPath>,
    /// Path of codes.
    pub code: Option<FieldPath>,
    /// The codes' vocabulary, or its path.
    pub vocabulary: Option<Vocabulary>,
    /// Path of a FHIR CodeableConcept instead.
    pub codeable_concept: Option<FieldPath>,
}

/// Which vocabulary codes are of.
#[derive(Debug, Clone, PartialEq)]
pub enum Vocabulary {
    /// This one.
    Named(String),
    /// What a record says at a path.
    At(FieldPath),
}

/// The compiled fields and carried columns.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) extractor: Extractor,
    pub(crate) fields: Vec<PlannedField>,
    /// Names of the carried columns.
    pub(crate) carried: Vec<String>,
}

/// What is needed of a field once a record was read.
#[derive(Debug)]
pub(crate) struct PlannedField {
    pub(crate) name: String,
    /// The name of its member, as it stands in JSON, with the quotes.
    pub(crate) into: String,
    /// The vocabulary of its codes, where it is the same for all.
    pub(crate) vocabulary: Option<String>,
    pub(crate) codeable: bool,
}

impl Plan {
    /// # Errors
    /// [`Error::Invalid`], naming the field.
    pub(crate) fn new(fields: &[FieldOptions], carried: &[(String, FieldPath)]) -> Result<Self> {
        let (mut paths, mut planned) = (Vec::new(), Vec::new());
        for field in fields {
            let of_field = |what: String| Error::Invalid(format!("field {}: {what}", field.name));
            paths.push(paths_of(field).map_err(of_field)?);
            let vocabulary = match &field.vocabulary {
                Some(Vocabulary::Named(name)) => Some(name.clone()),
                _ => None,
            };
            planned.push(PlannedField {
                name: field.name.clone(),
                into: serde_json::Value::from(field.into.as_str()).to_string(),
                vocabulary,
                codeable: field.codeable_concept.is_some(),
            });
        }
        let places: Vec<FieldPath> = carried.iter().map(|(_, path)| path.clone()).collect();
        let extractor = Extractor::new(&paths, &places).map_err(|e| Error::Invalid(format!("fields: {e}")))?;
        Ok(Self { extractor, fields: planned, carried: carried.iter().map(|(name, _)| name.clone()).collect() })
    }
}

fn paths_of(field: &FieldOptions) -> std::result::Result<FieldPaths, String> {
    if let Some(concept) = &field.codeable_concept {
        if field.text.is_some() || field.code.is_some() || field.vocabulary.is_some() {
            return Err("a codeable_concept has its text, codes and vocabularies in it; leave the others out".into());
        }
        return Ok(FieldPaths {
            text: Some(concept.then(&["text"])),
            code: Some(concept.then(&["coding", "*", "code"])),
            vocabulary: Some(concept.then(&["coding", "*", "system"])),
            display: Some(concept.then(&["coding", "*", "display"])),
            codeable: true,
        });
    }
    if field.text.is_none() && field.code.is_none() {
        return Err("needs text, code or codeable_concept".into());
    }
    if field.vocabulary.is_some() && field.code.is_none() {
        return Err("has a vocabulary but no code".into());
    }
    let vocabulary = match &field.vocabulary {
        Some(Vocabulary::At(path)) => Some(path.clone()),
        _ => None,
    };
    Ok(FieldPaths { text: field.text.clone(), code: field.code.clone(), vocabulary, display: None, codeable: false })
}

/// Where FHIR resources have concepts (R4, and R5's `medication.concept`), of a resource itself and of a bundle's.
const FHIR: [(&str, &[&str]); 6] = [
    ("code", &["code"]),
    ("medication", &["medicationCodeableConcept"]),
    ("medication_concept", &["medication", "concept"]),
    ("vaccine", &["vaccineCode"]),
    ("value", &["valueCodeableConcept"]),
    ("reason", &["reasonCode", "*"]),
];

/// The fields of FHIR resources, for consumers that name none.
///
/// # Errors
/// Never: the paths are ours.
pub fn fhir_fields() -> std::result::Result<Vec<FieldOptions>, String> {
    let root: FieldPath = "$".parse()?;
    let bundle = root.then(&["entry", "*", "resource"]);
    let field = |name: String, path: FieldPath| FieldOptions {
        into: format!("{name}_concept"),
        name,
        text: None,
        code: None,
        vocabulary: None,
        codeable_concept: Some(path),
    };
    let own = FHIR.iter().map(|(name, members)| field((*name).to_string(), root.then(members)));
    let bundled = FHIR.iter().map(|(name, members)| field(format!("entry_{name}"), bundle.then(members)));
    Ok(own.chain(bundled).collect())
}
