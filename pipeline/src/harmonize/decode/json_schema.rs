//! JSON that is checked against its JSON Schema.

use std::sync::Arc;

use super::super::reject::{Reason, Rejected};
use super::registry::Fetched;

/// The validator of a schema.
pub(super) fn validator(fetched: &Fetched) -> std::result::Result<Arc<jsonschema::Validator>, String> {
    let schema: serde_json::Value = serde_json::from_str(&fetched.text).map_err(|e| e.to_string())?;
    let references = References(fetched.references.clone());
    jsonschema::options().with_retriever(references).build(&schema).map(Arc::new).map_err(|e| e.to_string())
}

/// What a JSON schema refers to. Nothing is fetched from where else a URI may point to.
struct References(Vec<(String, String)>);

impl jsonschema::Retrieve for References {
    fn retrieve(
        &self,
        uri: &jsonschema::Uri<String>,
    ) -> std::result::Result<serde_json::Value, Box<dyn std::error::Error + Send + Sync>> {
        // A relative reference was put behind the schema's own address.
        let is_named = |name: &str| {
            uri.as_str().strip_suffix(name).is_some_and(|before| before.is_empty() || before.ends_with('/'))
        };
        match self.0.iter().find(|(name, _)| is_named(name)) {
            Some((_, text)) => Ok(serde_json::from_str(text)?),
            None => Err(format!("{uri} is none of the schema's references").into()),
        }
    }
}

/// JSON that agrees with its schema.
pub(super) fn checked<'a>(schema: &jsonschema::Validator, json: &'a [u8]) -> std::result::Result<&'a str, Rejected> {
    let text = super::text(json)?;
    let value: serde_json::Value = serde_json::from_str(text).map_err(|e| {
        let reason = if e.to_string().contains("recursion limit") { Reason::TooDeep } else { Reason::InvalidJson };
        Rejected::new(reason, format!("no JSON at line {}, column {}", e.line(), e.column()))
    })?;
    match schema.iter_errors(&value).next() {
        None => Ok(text),
        // The place, not the message: that repeats the value.
        Some(error) => {
            let place = error.instance_path().to_string();
            Err(Rejected::new(Reason::SchemaMismatch, format!("'{place}' does not agree with the JSON Schema")))
        }
    }
}
