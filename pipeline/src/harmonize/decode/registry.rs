//! Messages in the framing of a schema registry (a zero byte, four bytes of the schema's id, the datum), and the schemas.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use generel_schemas::Sensitive;
use schema_registry_converter::async_impl::schema_registry::{SrSettings, get_schema_by_id};

use super::super::reject::{Reason, Rejected};
use crate::{Error, Result};

/// A Confluent-compatible schema registry.
#[derive(Debug, Clone)]
pub struct Registry {
    /// Its address.
    pub url: String,
    /// User and password, where it asks for them.
    pub login: Option<(String, Sensitive<String>)>,
}

/// How often and how long a registry that does not answer is asked again.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(500);
const TIMEOUT: Duration = Duration::from_secs(10);

/// The schemas of a registry, each fetched once.
pub(in crate::harmonize) struct Schemas<S> {
    settings: SrSettings,
    url: String,
    known: Mutex<HashMap<u32, std::result::Result<S, Rejected>>>,
}

impl<S> std::fmt::Debug for Schemas<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Schemas").field("url", &self.url).finish()
    }
}

impl<S: Clone> Schemas<S> {
    pub(super) fn new(registry: &Registry) -> Result<Self> {
        let mut builder = SrSettings::new_builder(registry.url.clone());
        builder.set_timeout(TIMEOUT);
        if let Some((user, password)) = &registry.login {
            builder.set_basic_authorization(user, Some(password.expose()));
        }
        let settings = builder.build().map_err(|e| Error::Invalid(format!("registry {}: {e}", registry.url)))?;
        Ok(Self { settings, url: registry.url.clone(), known: Mutex::default() })
    }

    /// The schema of this id, or why messages that have it cannot be read.
    ///
    /// # Errors
    /// When the registry does not answer.
    pub(super) async fn get(
        &self,
        id: u32,
        parse: fn(&str) -> std::result::Result<S, String>,
    ) -> Result<std::result::Result<S, Rejected>> {
        if let Some(known) = self.known().get(&id) {
            return Ok(known.clone());
        }
        let mut tries = 0;
        let answer = loop {
            tries += 1;
            match get_schema_by_id(id, &self.settings).await {
                Ok(schema) => {
                    break parse(&schema.schema).map_err(|problem| {
                        Rejected::new(Reason::UnknownSchema, format!("schema {id} cannot be used: {problem}"))
                    });
                }
                // An answer that there is no such schema is not worth another try.
                Err(error) if !error.retriable => {
                    break Err(Rejected::new(Reason::UnknownSchema, format!("the registry has no schema {id}")));
                }
                Err(error) if tries == TRIES => {
                    return Err(Error::Registry { url: self.url.clone(), message: error.to_string() });
                }
                Err(error) => {
                    tracing::warn!(url = self.url, id, tries, %error, "the schema registry does not answer");
                    tokio::time::sleep(PAUSE * 2u32.pow(tries)).await;
                }
            }
        };
        self.known().insert(id, answer.clone());
        Ok(answer)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<u32, std::result::Result<S, Rejected>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The schema's id and the datum.
pub(super) fn framed(bytes: &[u8]) -> std::result::Result<(u32, &[u8]), Rejected> {
    match bytes {
        [0, a, b, c, d, datum @ ..] => Ok((u32::from_be_bytes([*a, *b, *c, *d]), datum)),
        _ => Err(Rejected::new(Reason::NotFramed, "expected a zero byte and a schema id of four bytes")),
    }
}

pub(super) fn avro_schema(text: &str) -> std::result::Result<std::sync::Arc<apache_avro::Schema>, String> {
    apache_avro::Schema::parse_str(text).map(std::sync::Arc::new).map_err(|e| e.to_string())
}

/// An Avro datum as JSON.
pub(super) fn avro(schema: &apache_avro::Schema, mut datum: &[u8]) -> std::result::Result<String, Rejected> {
    // The library's messages can hold values of the record.
    let mismatch = |what: &str| Rejected::new(Reason::SchemaMismatch, format!("{what} its Avro schema"));
    let reader = apache_avro::reader::datum::GenericDatumReader::builder(schema).build();
    let value = reader.and_then(|r| r.read_value(&mut datum)).map_err(|_| mismatch("the datum cannot be read by"))?;
    if !datum.is_empty() {
        return Err(mismatch("bytes are left after what was read by"));
    }
    // To the library a text that is cut off is null, whatever the schema says.
    if !value.validate(schema) {
        return Err(mismatch("the datum does not agree with"));
    }
    let json = serde_json::Value::try_from(value).map_err(|_| mismatch("no JSON for a value of"))?;
    Ok(json.to_string())
}

pub(super) fn json_schema(text: &str) -> std::result::Result<std::sync::Arc<jsonschema::Validator>, String> {
    let schema: serde_json::Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
    jsonschema::validator_for(&schema).map(std::sync::Arc::new).map_err(|e| e.to_string())
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
