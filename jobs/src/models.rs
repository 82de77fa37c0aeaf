//! Which model embeds, how and where; fetched if need be.

use anyhow::Result;
use generel_model::store::DEFAULT_MODEL;
use generel_model::{DeviceChoice, Embedder, EmbedderOptions, Error, ModelInfo, Precision};

use crate::cli::Choice;
use crate::environment;
use crate::progress::{Step, note};

/// What a person chose.
#[derive(Debug, Clone)]
pub(crate) struct ModelChoice {
    /// Name or folder.
    pub(crate) name: String,
    /// `None` for the best of this CPU.
    pub(crate) precision: Option<Precision>,
    /// Where it runs.
    pub(crate) device: DeviceChoice,
}

impl Default for ModelChoice {
    fn default() -> Self {
        Self { name: DEFAULT_MODEL.to_string(), precision: None, device: DeviceChoice::Auto }
    }
}

/// What a person typed, where it is not left to the job file.
#[derive(Debug, Clone, Default)]
pub(crate) struct ModelOverrides {
    pub(crate) name: Option<String>,
    pub(crate) precision: Option<Choice<Precision>>,
    pub(crate) device: Option<DeviceChoice>,
}

impl From<ModelChoice> for ModelOverrides {
    fn from(choice: ModelChoice) -> Self {
        let precision = Some(Choice(choice.precision));
        Self { name: Some(choice.name), precision, device: Some(choice.device) }
    }
}

/// What a job's or consumer's file says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ModelSettings<'a> {
    /// The job's or consumer's name, for errors.
    pub(crate) of: &'a str,
    pub(crate) name: Option<&'a str>,
    pub(crate) precision: Option<&'a str>,
    pub(crate) device: Option<&'a str>,
}

impl ModelOverrides {
    /// The choice: what was typed, else what the file says, else the default.
    pub(crate) fn over(self, file: &ModelSettings<'_>) -> Result<ModelChoice> {
        let parsed = |e: String| anyhow::anyhow!("{}: {e}", file.of);
        let default = ModelChoice::default();
        let precision = match (self.precision, file.precision) {
            (Some(typed), _) => typed.0,
            (None, Some(own)) => own.parse::<Choice<Precision>>().map_err(parsed)?.0,
            (None, None) => default.precision,
        };
        let device = match (self.device, file.device) {
            (Some(typed), _) => typed,
            (None, Some(own)) => own.parse().map_err(parsed)?,
            (None, None) => default.device,
        };
        let name = self.name.or_else(|| file.name.map(str::to_string)).unwrap_or(default.name);
        Ok(ModelChoice { name, precision, device })
    }
}

/// A model that is on this machine, and where it is to run.
#[derive(Debug, Clone)]
pub(crate) struct Chosen {
    pub(crate) info: ModelInfo,
    pub(crate) device: DeviceChoice,
}

impl Chosen {
    /// Its Embedder; nothing is loaded before the first text.
    pub(crate) fn embedder(self) -> Embedder {
        let cache_bytes = environment::vector_cache_bytes();
        self.embedder_with(EmbedderOptions { cache_bytes, ..EmbedderOptions::default() })
    }

    /// Its Embedder with options of one's own, but for the device.
    pub(crate) fn embedder_with(self, options: EmbedderOptions) -> Embedder {
        let options = EmbedderOptions { device: self.device, gpu_libraries: environment::gpu_libraries(), ..options };
        Embedder::new(self.info, options)
    }
}

impl ModelChoice {
    /// Fetches the model if it is not on this machine, saying so.
    pub(crate) async fn pull(&self) -> Result<Chosen> {
        let (store, name) = (environment::model_store()?, self.name.clone());
        let step = Step::begin(format!("model {name}"));
        let pulled = tokio::task::spawn_blocking(move || store.pull(&name)).await?;
        let (info, fetched) = pulled.map_err(generel_pipeline::Error::from)?;
        step.end(if fetched { "fetched and verified" } else { "on this machine" });
        Ok(self.chosen(info))
    }

    /// The model if it is on this machine; without it everything but embedding works, so that is no error.
    pub(crate) fn find(&self) -> Result<Option<Chosen>> {
        match environment::model_store()?.info(&self.name) {
            Ok(info) => Ok(Some(self.chosen(info))),
            Err(error @ Error::NotPulled { .. }) => {
                note(format_args!("note: {error}; until then embed() and its kin are missing"));
                Ok(None)
            }
            Err(other) => Err(generel_pipeline::Error::from(other).into()),
        }
    }

    fn chosen(&self, info: ModelInfo) -> Chosen {
        Chosen { info: info.with_precision(self.precision), device: self.device }
    }
}
