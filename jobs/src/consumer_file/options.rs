//! What a consumer file means.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use generel_pipeline::align::MAPPED;
use generel_pipeline::harmonize::{
    FieldOptions, FieldPath, Format, HarmonizerOptions, IndexOptions, Registry, Vocabulary, fhir_fields,
};
use generel_pipeline::streaming::{Accepted, ConsumerOptions, LakeOptions, OutputOptions, Settings, Start};
use generel_schemas::Sensitive;

use super::{Below, ConsumerFile, FormatName, Target};
use crate::exit::UsageError;

impl ConsumerFile {
    pub(super) fn built(&self, base: &Path, accepted: Accepted, until_end: bool) -> Result<ConsumerOptions> {
        let usage = |what: String| UsageError(what);
        let plain =
            |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        if !plain(&self.name) {
            return Err(usage("name: letters, digits, '.', '_' and '-' only, for it stands in paths".into()).into());
        }
        if self.topics.is_empty() {
            return Err(usage("topics: none".into()).into());
        }
        let mut settings = BTreeMap::new();
        for (key, setting) in &self.kafka {
            settings.insert(key.clone(), setting.value(base)?);
        }
        if !settings.contains_key("bootstrap.servers") {
            return Err(usage("kafka: bootstrap.servers is missing".into()).into());
        }
        if self.rows.is_none() && self.output.is_none() {
            return Err(usage("nothing is written: give rows, output or both".into()).into());
        }
        let fields = self.field_options().map_err(usage)?;
        if fields.is_empty() != self.target.is_none() {
            return Err(usage("fields and target go together".into()).into());
        }
        let path = |name: &str, text: &str| text.parse::<FieldPath>().map_err(|e| usage(format!("{name}: {e}")));
        let carried = self.carry.iter().map(|(name, text)| Ok((name.clone(), path("carry", text)?)));
        let carried = carried.collect::<std::result::Result<Vec<_>, UsageError>>()?;
        let below = self.target.as_ref().map(|t| t.below).unwrap_or_default();
        let seconds = |given: Option<f64>, usual: f64| Duration::try_from_secs_f64(given.unwrap_or(usual).max(0.05));
        Ok(ConsumerOptions {
            name: self.name.clone(),
            settings: Settings(settings),
            topics: self.topics.clone(),
            group: self.group.clone().unwrap_or_else(|| self.name.clone()),
            instance: self.instance.clone(),
            start: start(self.start.as_deref()).map_err(usage)?,
            accepted,
            harmonizer: HarmonizerOptions {
                format: self.message_format(base)?,
                fields,
                carried,
                rows: self.rows.as_ref().map(|rows| rows.shape),
                messages: self.output.as_ref().map(|output| (output.shape, usize::MAX)),
                reject_below: below == Below::DeadLetter,
            },
            index: self.target.as_ref().map(|target| target.index(base, below)).transpose().map_err(usage)?,
            refresh: Duration::from_secs(self.target.as_ref().and_then(|t| t.refresh_seconds).unwrap_or(30).max(1)),
            lake: match &self.rows {
                None => None,
                Some(rows) => Some(LakeOptions {
                    max_rows: rows.max_rows.unwrap_or(1_000_000).max(1),
                    max_bytes: rows.max_megabytes.unwrap_or(256).max(1) << 20,
                    max_wait: seconds(rows.max_seconds, 10.0).map_err(|e| usage(format!("rows: max_seconds: {e}")))?,
                }),
            },
            output: self.output.as_ref().map(|output| OutputOptions {
                topic: output.topic.clone(),
                shape: output.shape,
                max_wait: Duration::from_millis(output.max_milliseconds.unwrap_or(50)),
            }),
            dead_letters: self.dead_letters.clone(),
            create_topics: self.create_topics,
            threads: self.threads,
            until_end,
        })
    }

    fn message_format(&self, base: &Path) -> Result<Format> {
        let registry = || -> Result<Registry> {
            let file = self.registry.as_ref();
            let file = file.ok_or_else(|| UsageError("format: this one needs a registry with its url".into()))?;
            let password = file.password.as_ref().map(|p| p.value(base)).transpose()?;
            let password = password.unwrap_or_else(|| Sensitive::new(String::new()));
            Ok(Registry { url: file.url.clone(), login: file.username.clone().map(|user| (user, password)) })
        };
        Ok(match self.format {
            FormatName::Json | FormatName::Fhir => Format::Json,
            FormatName::Ndjson => Format::Ndjson,
            FormatName::Raw => Format::Raw,
            FormatName::Avro => Format::Avro(registry()?),
            FormatName::JsonSchema => Format::JsonSchema(registry()?),
            FormatName::Csv => {
                if self.columns.is_empty() {
                    return Err(UsageError("format: csv needs columns, their names in order".into()).into());
                }
                let delimiter = self.delimiter.unwrap_or(',');
                let byte = u8::try_from(delimiter).map_err(|_| UsageError("delimiter: one byte".into()))?;
                Format::Csv { columns: self.columns.clone(), delimiter: byte }
            }
        })
    }

    fn field_options(&self) -> std::result::Result<Vec<FieldOptions>, String> {
        if self.fields.is_empty() && self.format == FormatName::Fhir && self.target.is_some() {
            return fhir_fields();
        }
        let mut names = HashSet::new();
        self.fields
            .iter()
            .map(|field| {
                if !names.insert(&field.name) {
                    return Err(format!("field {}: there are two of this name", field.name));
                }
                let path = |text: &Option<String>| {
                    let parsed = text.as_ref().map(|text| text.parse::<FieldPath>()).transpose();
                    parsed.map_err(|e| format!("field {}: {e}", field.name))
                };
                let vocabulary = match &field.vocabulary {
                    Some(text) if text.starts_with('$') => path(&field.vocabulary)?.map(Vocabulary::At),
                    other => other.clone().map(Vocabulary::Named),
                };
                Ok(FieldOptions {
                    name: field.name.clone(),
                    into: field.into.clone().unwrap_or_else(|| format!("{}_concept", field.name)),
                    text: path(&field.text)?,
                    code: path(&field.code)?,
                    vocabulary,
                    codeable_concept: path(&field.codeable_concept)?,
                })
            })
            .collect()
    }
}

impl Target {
    fn index(&self, base: &Path, below: Below) -> std::result::Result<IndexOptions, String> {
        let min_confidence = self.min_confidence.unwrap_or(MAPPED);
        if !(0.0..=1.0).contains(&min_confidence) {
            return Err("target: min_confidence is a probability, from 0 to 1".into());
        }
        let place = |name: &String| {
            let path = base.join(name);
            if path.is_file() { path.display().to_string() } else { name.clone() }
        };
        Ok(IndexOptions {
            target: self.source.parse().map_err(|e| format!("target: source: {e}"))?,
            curated: self.curated.iter().map(place).collect(),
            min_confidence,
            leave_out: below == Below::Null,
            remembered: self.remembered.unwrap_or(200_000),
        })
    }
}

fn start(text: Option<&str>) -> std::result::Result<Start, String> {
    match text {
        None | Some("earliest") => Ok(Start::Earliest),
        Some("latest") => Ok(Start::Latest),
        Some(time) => time
            .parse()
            .map(Start::At)
            .map_err(|_| format!("start: '{time}' is not earliest, latest or a time as 2026-01-31T00:00:00Z")),
    }
}
