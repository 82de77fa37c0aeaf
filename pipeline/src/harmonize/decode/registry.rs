//! Messages in the framing of a schema registry (a zero byte, four bytes of the schema's id, the datum), and the schemas.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use generel_schemas::Sensitive;
use schema_registry_converter::async_impl::schema_registry::{SrSettings, get_referenced_schema, get_schema_by_id};
use schema_registry_converter::error::SRCError;
use schema_registry_converter::schema_registry_common::RawError;

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

/// How long it is believed that the registry has no schema of an id.
const BELIEVED: Duration = Duration::from_secs(60);
/// How often and how long a registry that does not answer is asked again.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(500);
const TIMEOUT: Duration = Duration::from_secs(10);

/// A schema as the registry has it.
pub(super) struct Fetched {
    pub(super) text: String,
    /// The schemas that it refers to, and those that they do, by the names they are referred to by; one comes behind those
    /// that it refers to itself.
    pub(super) references: Vec<(String, String)>,
}

/// The schemas of a registry, each fetched once.
pub(in crate::harmonize) struct Schemas<S> {
    settings: SrSettings,
    url: String,
    known: Mutex<HashMap<u32, Known<S>>>,
}

/// A schema or why there is none, and when that was found out.
type Known<S> = (std::result::Result<S, Rejected>, Instant);

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
    /// When the registry does not answer, or refuses to.
    pub(super) async fn get(
        &self,
        id: u32,
        parse: fn(&Fetched) -> std::result::Result<S, String>,
    ) -> Result<std::result::Result<S, Rejected>> {
        if let Some((known, since)) = self.known().get(&id)
            && (known.is_ok() || since.elapsed() < BELIEVED)
        {
            return Ok(known.clone());
        }
        let mut tries = 0;
        let answer = loop {
            tries += 1;
            match self.fetch(id).await {
                Ok(fetched) => {
                    break parse(&fetched).map_err(|problem| {
                        Rejected::new(Reason::UnknownSchema, format!("schema {id} cannot be used: {problem}"))
                    });
                }
                // An answer that there is no such schema is not worth another try.
                Err(error) if is_missing(&error) => {
                    break Err(Rejected::new(Reason::UnknownSchema, format!("the registry has no schema {id}")));
                }
                Err(error) if tries == TRIES || is_refused(&error) => {
                    let cause = error.cause.map_or_else(String::new, |cause| format!(": {cause}"));
                    return Err(Error::Registry { url: self.url.clone(), message: format!("{}{cause}", error.error) });
                }
                Err(error) => {
                    tracing::warn!(url = self.url, id, tries, %error, "the schema registry does not answer");
                    tokio::time::sleep(PAUSE * 2u32.pow(tries)).await;
                }
            }
        };
        self.known().insert(id, (answer.clone(), Instant::now()));
        Ok(answer)
    }

    async fn fetch(&self, id: u32) -> std::result::Result<Fetched, SRCError> {
        let root = get_schema_by_id(id, &self.settings).await?;
        let (mut found, mut open) = (Vec::new(), root.references.clone());
        let mut seen: Vec<_> = open.iter().map(|r| r.name.clone()).collect();
        while let Some(reference) = open.pop() {
            let schema = get_referenced_schema(&self.settings, &reference).await?;
            let needs: Vec<_> = schema.references.iter().map(|r| r.name.clone()).collect();
            for further in schema.references {
                if !seen.contains(&further.name) {
                    seen.push(further.name.clone());
                    open.push(further);
                }
            }
            found.push((reference.name, schema.schema, needs));
        }
        let mut references: Vec<(String, String)> = Vec::new();
        while !found.is_empty() {
            let is_there = |name: &String| references.iter().any(|(there, _)| there == name);
            let next = found.iter().position(|(_, _, needs)| needs.iter().all(is_there)).unwrap_or_default();
            let (name, text, _) = found.remove(next);
            references.push((name, text));
        }
        Ok(Fetched { text: root.schema, references })
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<u32, Known<S>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a registry answers that it has no such subject (40401), version (40402) or schema (40403). What else is not found
/// is not a registry's answer.
fn is_missing(error: &SRCError) -> bool {
    let code =
        std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<RawError>()).map(|e| e.error_code);
    matches!(code, Some(40401..=40403))
}

/// Whether the login is wrong, or may not read: to ask again would not help.
fn is_refused(error: &SRCError) -> bool {
    ["status 401", "status 403"].iter().any(|status| error.error.contains(status))
}

/// The schema's id and the datum.
pub(super) fn framed(bytes: &[u8]) -> std::result::Result<(u32, &[u8]), Rejected> {
    match bytes {
        [0, a, b, c, d, datum @ ..] => Ok((u32::from_be_bytes([*a, *b, *c, *d]), datum)),
        _ => Err(Rejected::new(Reason::NotFramed, "expected a zero byte and a schema id of four bytes")),
    }
}
