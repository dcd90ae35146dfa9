//! The models of a server. A model that cannot be loaded is reported, and the others are served.

pub mod encoder;
pub mod plugin_embedder;

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use firebox_contract::tool::matches_glob;
use firebox_contract::{Approver, EncoderTask, Error, Gate, HookSource, ModelInfo, PluginEmbedder, ToolSource, limits};
use firebox_hub::{Hub, HubSettings, InUse, ModelName};
use firebox_models::{Checkpoint, LoadOptions};
use firebox_sandbox::Notice;

use super::StatusSink;
use crate::config::{HubConfig, ModelConfig};
use crate::host::device::open_device;
use crate::host::download::{DownloadDisplay, DownloadOutput};
use crate::host::source::{LocalSource, ModelSource, check_download};
use crate::host::{Host, quantized};
use crate::system::clock::MachineClock;
use encoder::EncoderThread;

/// The services that every model of a server uses.
#[derive(Clone)]
pub struct ModelServices {
    /// Plugin chains.
    pub hooks: Arc<dyn HookSource>,
    /// Tools beyond the plugins.
    pub tools: Option<Arc<dyn ToolSource>>,
    /// The gate that admits and charges requests.
    pub gate: Arc<dyn Gate>,
    /// The approver of tool calls.
    pub approver: Arc<dyn Approver>,
    /// The embedding models for plugins.
    pub embedder: Arc<dyn PluginEmbedder>,
    /// Which models may be downloaded.
    pub hub: HubConfig,
}

/// A configured model, and its state.
pub struct ServedModel {
    config: ModelConfig,
    state: RwLock<ModelState>,
    /// The mark of a model of the cache, so that no other process removes it.
    in_use: Mutex<InUse>,
}

/// The state of a model.
#[derive(Clone)]
pub enum ModelState {
    /// It is not loaded yet.
    Loading,
    /// It is loaded.
    Ready(LoadedModel),
    /// It could not be loaded, for this reason.
    Failed(String),
}

/// A loaded model.
#[derive(Clone)]
pub enum LoadedModel {
    /// It generates text.
    Chat(Arc<Host>),
    /// It makes embeddings or relevance scores.
    Encoder(Arc<EncoderThread>),
}

impl LoadedModel {
    /// The description of the model.
    #[must_use]
    pub fn info(&self) -> &ModelInfo {
        match self {
            Self::Chat(host) => host.engine().info(),
            Self::Encoder(encoder) => encoder.info(),
        }
    }

    /// `chat`, `embeddings` or `rerank`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Chat(_) => "chat",
            Self::Encoder(encoder) => match encoder.profile().task {
                EncoderTask::Embed => "embeddings",
                EncoderTask::Rank => "rerank",
            },
        }
    }
}

impl ServedModel {
    /// The name of the model in requests.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// The current state.
    #[must_use]
    pub fn state(&self) -> ModelState {
        self.state.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, state: ModelState) {
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = state;
    }

    /// The loaded model.
    ///
    /// # Errors
    /// `Error::Unavailable` while it loads, and if it could not be loaded.
    pub fn ready(&self) -> Result<LoadedModel, Error> {
        let name = self.name();
        match self.state() {
            ModelState::Ready(ready) => Ok(ready),
            ModelState::Loading => Err(Error::Unavailable(format!("model \"{name}\" is loading; retry soon"))),
            ModelState::Failed(_) => Err(Error::Unavailable(format!(
                "model \"{name}\" could not be loaded; the server's log has the reason"
            ))),
        }
    }
}

/// All models of a server, in the order of the configuration.
pub struct ServedModels(Vec<Arc<ServedModel>>);

impl ServedModels {
    /// The models of `configs`, not loaded yet.
    #[must_use]
    pub fn new(configs: &[ModelConfig]) -> Self {
        let model = |config: &ModelConfig| ServedModel {
            config: config.clone(),
            state: RwLock::new(ModelState::Loading),
            in_use: Mutex::default(),
        };
        Self(configs.iter().map(|config| Arc::new(model(config))).collect())
    }

    /// All models.
    #[must_use]
    pub fn all(&self) -> &[Arc<ServedModel>] {
        &self.0
    }

    /// The models whose names match one of `globs`.
    pub fn visible<'a>(&'a self, globs: &'a [String]) -> impl Iterator<Item = &'a Arc<ServedModel>> + use<'a> {
        self.0.iter().filter(move |model| globs.iter().any(|glob| matches_glob(glob, model.name())))
    }

    /// The model `name`, if it matches one of `globs`. A model that a caller may not use does not exist for it.
    ///
    /// # Errors
    /// `Error::NotFound` with the names of the models that the caller may use.
    pub fn find<'a>(&'a self, globs: &'a [String], name: &str) -> Result<&'a Arc<ServedModel>, Error> {
        self.visible(globs).find(|model| model.name() == name).ok_or_else(|| {
            let names: Vec<&str> = self.visible(globs).map(|model| model.name()).collect();
            let shown: String = name.chars().take(80).collect();
            Error::NotFound(format!("there is no model \"{shown}\"; use one of: {}", names.join(", ")))
        })
    }

    /// Loads the models one after another. Reports notes and failures to `status`.
    ///
    /// # Errors
    /// The first failure, if no model could be loaded.
    pub async fn load(&self, services: &ModelServices, status: &StatusSink) -> Result<(), Error> {
        let mut first_failure = None;
        let mut loaded = 0_usize;
        for model in &self.0 {
            match load(model.config.clone(), services.clone(), status).await {
                Ok((ready, in_use)) => {
                    loaded += 1;
                    *model.in_use.lock().unwrap_or_else(PoisonError::into_inner) = in_use;
                    model.set(ModelState::Ready(ready));
                }
                Err(error) => {
                    status(&format!("model \"{}\" could not be loaded: {error}", model.name()));
                    model.set(ModelState::Failed(error.to_string()));
                    first_failure.get_or_insert(error);
                }
            }
        }
        match first_failure {
            Some(error) if loaded == 0 => Err(error),
            _ => Ok(()),
        }
    }

    /// Releases all models. Their threads end when the last request that uses them has ended.
    pub fn close(&self) {
        for model in &self.0 {
            model.set(ModelState::Failed("the server was shut down".to_owned()));
        }
    }
}

/// Loads a model on a thread for blocking work, since loading reads files and probes devices.
async fn load(
    mut config: ModelConfig,
    services: ModelServices,
    status: &StatusSink,
) -> Result<(LoadedModel, InUse), Error> {
    let (runtime, sink) = (tokio::runtime::Handle::current(), Arc::clone(status));
    let work = tokio::task::spawn_blocking(move || {
        runtime.block_on(async {
            let mut in_use = InUse::default();
            if let Some(name) = config.hub.take() {
                let local = fetch(name, &services.hub, &sink).await?;
                config.path = Some(local.path);
                in_use = local.in_use;
            }
            let (ready, notes) = open(config, services, sink).await?;
            Ok((ready, in_use, notes))
        })
    });
    let (ready, in_use, notes) =
        work.await.unwrap_or_else(|error| Err(Error::Internal(format!("loading a model panicked: {error}"))))?;
    notes.iter().for_each(|note| status(note));
    Ok((ready, in_use))
}

/// The model `name` of the cache, else downloaded if `allowed` allows it.
async fn fetch(name: ModelName, allowed: &HubConfig, status: &StatusSink) -> Result<LocalSource, Error> {
    let hub = Hub::new(HubSettings::of_environment(&|variable| std::env::var_os(variable))?);
    let source = ModelSource::Hub(name.clone());
    if let Ok(local) = source.find(|| Ok::<_, Error>(hub.clone())) {
        return Ok(local);
    }
    check_download(&name, allowed, hub.settings()).map_err(Error::Denied)?;
    shrink(&hub, allowed, status)?;
    let sink = Arc::clone(status);
    let display = DownloadDisplay::new(&name, DownloadOutput::Lines(Box::new(move |line| sink(line))));
    let local = source.get(|| Ok::<_, Error>(hub.clone()), &|event| display.show(&event)).await?;
    // The new model is in use, so it stays.
    shrink(&hub, allowed, status)?;
    Ok(local)
}

/// Removes the models that were not used for longest, down to the configured size of the cache.
fn shrink(hub: &Hub, allowed: &HubConfig, status: &StatusSink) -> Result<(), Error> {
    let Some(max) = allowed.cache_bytes_max else { return Ok(()) };
    for removed in hub.cache().shrink(max)?.removed {
        status(&format!("removed {removed} from the model cache, which was not used for longest"));
    }
    Ok(())
}

async fn open(
    config: ModelConfig,
    services: ModelServices,
    status: StatusSink,
) -> Result<(LoadedModel, Vec<String>), Error> {
    if let Some(path) = &config.path
        && firebox_models::is_encoder(&Checkpoint::open(path)?)?
    {
        let checkpoint = quantized::open(path, config.quantize, &|line| status(line))?;
        let opened = open_device(&config.device.parse().map_err(Error::from)?)?;
        let options = LoadOptions {
            name: Some(config.name.clone()),
            context_tokens: config.context_tokens,
            threads: config.threads,
            device_name: Some(opened.info.to_string()),
            ..LoadOptions::default()
        };
        let (mut notes, warnings) = (opened.notes.clone(), checkpoint.warnings().clone());
        let factory = Box::new(move || Ok(firebox_models::load_encoder(&checkpoint, &opened.device, options)?));
        let in_flight_max = config.in_flight_max.unwrap_or(limits::IN_FLIGHT_MAX);
        let encoder = EncoderThread::start(factory, in_flight_max, Arc::new(MachineClock::default())).await?;
        notes.extend(warnings.list());
        return Ok((LoadedModel::Encoder(Arc::new(encoder)), notes));
    }
    let mut builder = Host::builder()
        .configured(&config)?
        .name(Some(config.name.clone()))
        .tokenizer_cache(false)
        .warm_up(true)
        .notice(Notice::new(move |line| status(line)))
        .hooks(services.hooks)
        .gate(services.gate)
        .approver(services.approver)
        .embedder(services.embedder);
    if let Some(tools) = services.tools {
        builder = builder.tools(tools);
    }
    let host = builder.build().await?;
    let notes = host.notes().to_vec();
    Ok((LoadedModel::Chat(Arc::new(host)), notes))
}
