//! Consumer files: YAML with `${ENV}` substitution, checked against the schema, errors with line and column.

mod options;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use generel_pipeline::harmonize::Shape;
use generel_pipeline::streaming::{Accepted, ConsumerOptions};
use generel_schemas::Sensitive;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::exit::UsageError;
use crate::models::ModelSettings;
use crate::runner::lake_location;
use crate::yaml_file;

/// A consumer: what to read, what to look for, what to harmonize to, and where to write.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConsumerFile {
    /// Name of the consumer: the identity of its rows and marks in the lake, and of its group unless that is named.
    pub(crate) name: String,
    /// Lake, relative to this file; `--lake` and GENEREL_LAKE win.
    #[serde(default)]
    pub(crate) lake: Option<String>,
    /// Model, by name or folder; `--model` and GENEREL_MODEL win.
    #[serde(default)]
    pub(crate) model: Option<String>,
    /// Its precision: auto, f32, bf16 or int8; `--precision` and GENEREL_PRECISION win.
    #[serde(default)]
    pub(crate) precision: Option<String>,
    /// Where it runs: auto, cpu, cuda:N; `--device` and GENEREL_DEVICE win.
    #[serde(default)]
    pub(crate) device: Option<String>,
    /// librdkafka's settings, as its documentation names them; a value may be {file: PATH}.
    pub(crate) kafka: BTreeMap<String, Setting>,
    /// Topics; one that begins with ^ is a regular expression.
    pub(crate) topics: Vec<String>,
    /// Consumer group; the consumer's name unless it is given.
    #[serde(default)]
    group: Option<String>,
    /// Name of this member of the group, one that outlives the process (a pod's name): a restart takes its partitions
    /// back at once. No two members may have the same.
    #[serde(default)]
    instance: Option<String>,
    /// Where a group begins that has read nothing yet: earliest, latest or a time as 2026-01-31T00:00:00Z.
    #[serde(default)]
    start: Option<String>,
    /// How messages are written.
    format: FormatName,
    /// Columns of a CSV line.
    #[serde(default)]
    columns: Vec<String>,
    /// What separates them; a comma unless it is given.
    #[serde(default)]
    delimiter: Option<char>,
    /// Schema registry, for avro and json_schema.
    #[serde(default)]
    registry: Option<RegistryFile>,
    /// Fields that hold concepts. FHIR resources have theirs where none are given.
    #[serde(default)]
    fields: Vec<FieldFile>,
    /// Columns of the output that are carried from the record: name and path.
    #[serde(default)]
    carry: BTreeMap<String, String>,
    /// What to harmonize to.
    #[serde(default)]
    target: Option<Target>,
    /// Rows in the lake.
    #[serde(default)]
    rows: Option<Rows>,
    /// Messages in a topic.
    #[serde(default)]
    output: Option<Output>,
    /// Topic of records that cannot be harmonized.
    dead_letters: String,
    /// Make the output topic and that of dead letters where they are missing.
    #[serde(default)]
    create_topics: bool,
    /// Address and port of /metrics, /healthz and /readyz; `--metrics` wins.
    #[serde(default)]
    pub(crate) metrics: Option<SocketAddr>,
    /// Threads that harmonize; all cores unless given.
    #[serde(default)]
    threads: usize,
}

/// A setting's value. Never shown.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Setting {
    Text(String),
    Number(i64),
    Switch(bool),
    /// The content of a file, without the line break at its end.
    File {
        file: PathBuf,
    },
}

impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(not shown)")
    }
}

impl Setting {
    fn value(&self, base: &Path) -> Result<Sensitive<String>> {
        Ok(Sensitive::new(match self {
            Self::Text(text) => text.clone(),
            Self::Number(number) => number.to_string(),
            Self::Switch(switch) => switch.to_string(),
            Self::File { file } => {
                let path = base.join(file);
                let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
                text.trim_end_matches(['\r', '\n']).to_string()
            }
        }))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum FormatName {
    /// A JSON value a message.
    Json,
    /// JSON values separated by line breaks.
    Ndjson,
    /// A FHIR resource or bundle a message.
    Fhir,
    /// A line of CSV a message.
    Csv,
    /// A text a message.
    Raw,
    /// Avro, with a schema registry.
    Avro,
    /// JSON that agrees with a schema of a schema registry.
    JsonSchema,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RegistryFile {
    /// Address.
    url: String,
    /// User, where the registry asks for one.
    #[serde(default)]
    username: Option<String>,
    /// Password.
    #[serde(default)]
    password: Option<Setting>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct FieldFile {
    /// Name of the field in the output.
    name: String,
    /// Name of the member that an enriched record gets; NAME_concept unless given.
    #[serde(default)]
    into: Option<String>,
    /// Path of free texts: `$.a.b`, `$['a b']`, `$.list[0]`, `$.list[*].a`.
    #[serde(default)]
    text: Option<String>,
    /// Path of codes.
    #[serde(default)]
    code: Option<String>,
    /// Vocabulary of the codes, or the path of one. Codes without it are CURIEs.
    #[serde(default)]
    vocabulary: Option<String>,
    /// Path of FHIR CodeableConcepts, instead of the other three.
    #[serde(default)]
    codeable_concept: Option<String>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Target {
    /// Source of the lake.
    source: String,
    /// Another lake that has the source, relative to this file: what `generel index save` has saved.
    #[serde(default)]
    lake: Option<String>,
    /// Mappings that people made, which win: SSSOM files relative to this file, or sources ingested from one.
    #[serde(default)]
    curated: Vec<String>,
    /// Confidence below which a concept is not sure enough; 0.7 unless given.
    #[serde(default)]
    min_confidence: Option<f64>,
    /// What happens below it: pass (the concept stays, the outcome says so), null, or dead_letter.
    #[serde(default)]
    below: Below,
    /// How often the lake is looked at for changes; 30 unless given.
    #[serde(default)]
    refresh_seconds: Option<u64>,
    /// Answers that are remembered, of about 700 bytes each; 200000 unless given.
    #[serde(default)]
    remembered: Option<usize>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Below {
    #[default]
    Pass,
    Null,
    DeadLetter,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Rows {
    /// flat: a row for each place of a field, in the table harmonized; enriched: one a record, in harmonized_records.
    shape: Shape,
    /// Rows of a commit, at most; 1000000 unless given.
    #[serde(default)]
    max_rows: Option<usize>,
    /// Memory of the rows that wait for a commit, at most; 256 MB unless given.
    #[serde(default)]
    max_megabytes: Option<usize>,
    /// How long a row waits for its commit; 10 unless given.
    #[serde(default)]
    max_seconds: Option<f64>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Output {
    /// Topic.
    topic: String,
    /// enriched: the record with its concepts in it; flat: a message for each place of a field.
    shape: Shape,
    /// How long a message waits for its transaction; 50 unless given.
    #[serde(default)]
    max_milliseconds: Option<u64>,
}

impl ConsumerFile {
    /// Reads a consumer file.
    ///
    /// # Errors
    /// With file, line and column when it is not valid.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        yaml_file::read(path)
    }

    /// What the file says of the model.
    pub(crate) fn model_settings(&self) -> ModelSettings<'_> {
        ModelSettings {
            of: &self.name,
            name: self.model.as_deref(),
            precision: self.precision.as_deref(),
            device: self.device.as_deref(),
        }
    }

    /// The lake that has the target, where that is another one.
    pub(crate) fn index_lake(&self, base: &Path) -> Option<String> {
        let lake = self.target.as_ref()?.lake.as_deref()?;
        Some(lake_location(None, Some(lake), base))
    }

    /// The consumer, with relative paths from `base`.
    ///
    /// # Errors
    /// [`UsageError`] where something does not fit.
    pub(crate) fn options(&self, base: &Path, accepted: Accepted, until_end: bool) -> Result<ConsumerOptions> {
        self.built(base, accepted, until_end).map_err(|e| match e.downcast::<UsageError>() {
            Ok(UsageError(what)) => UsageError(format!("consumer {}: {what}", self.name)).into(),
            Err(other) => other,
        })
    }
}

/// The JSON Schema of consumer files.
pub(crate) fn json_schema() -> String {
    serde_json::to_string_pretty(&schemars::schema_for!(ConsumerFile)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use generel_pipeline::streaming::Start;

    use super::*;

    const FILE: &str = "name: conditions\nkafka:\n  bootstrap.servers: 127.0.0.1:9092\n  sasl.password: ${PASSWORD}\n\
        topics: [ehr]\nformat: json\nfields:\n  - { name: dx, text: $.dx.text, code: $.dx.code, vocabulary: icd10cm }\n\
        target: { source: mondo }\nrows: { shape: flat }\ndead_letters: ehr.dead\n";

    fn options(text: &str) -> std::result::Result<ConsumerOptions, String> {
        let file = yaml_file::parse::<ConsumerFile>(text, |name| (name == "PASSWORD").then(|| "s3cret".to_string()))?;
        file.options(Path::new("."), Accepted::default(), false).map_err(|e| e.to_string())
    }

    #[test]
    fn files_are_read_and_secrets_are_not_shown() {
        let options = options(FILE).unwrap();
        assert_eq!(options.settings.get("sasl.password"), Some("s3cret"));
        assert_eq!((options.group.as_str(), options.start), ("conditions", Start::Earliest));
        assert!(!format!("{options:?}").contains("s3cret"));
        let broken = FILE.replace("s: [ehr]", "s: [ehr").replace("sasl.password:", "sasl.password: [");
        let shown = yaml_file::parse::<ConsumerFile>(&broken, |_| Some("s3cret".into())).unwrap_err();
        assert!(!shown.contains("s3cret"), "{shown}");
    }

    #[test]
    fn mistakes_name_the_place() {
        for (from, to, words) in [
            ("topics: [ehr]", "topics: []", "topics: none"),
            ("format: json", "format: xml", "xml"),
            ("text: $.dx.text", "text: dx", "field dx: 'dx', character 1"),
            ("format: json", "format: csv", "needs columns"),
            ("format: json", "format: avro", "registry"),
            ("rows: { shape: flat }", "", "nothing is written"),
            ("target: { source: mondo }", "", "go together"),
            ("format: json", "format: json\nstart: yesterday", "yesterday"),
            ("format: json", "format: json\nstat: earliest", "stat"),
            ("source: mondo", "source: mondo, min_confidence: 7", "from 0 to 1"),
            ("name: conditions", "name: a/b", "stands in paths"),
            ("bootstrap.servers", "bootstrap.server", "bootstrap.servers is missing"),
            ("${PASSWORD}", "${NOTHING}", "NOTHING"),
        ] {
            let problem = options(&FILE.replace(from, to)).unwrap_err();
            assert!(problem.contains(words), "{problem}");
        }
    }
}
