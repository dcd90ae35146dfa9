//! The models of a server by name: each loads on its own, and one that cannot is said and does not take the others down.

use std::sync::{Arc, PoisonError, RwLock};

use firebox_contract::tool::matches_glob;
use firebox_contract::{Approver, Error, Gate, HookSource, ModelInfo, ToolSource, limits};
use firebox_models::{Checkpoint, LoadOptions};

use super::encoder::EncoderThread;
use crate::config::ModelConfig;
use crate::host::Host;
use crate::host::device::open_device;
use crate::system::clock::MachineClock;

/// What every model of a server is given.
#[derive(Clone)]
pub struct Parts {
    /// Plugin chains.
    pub hooks: Arc<dyn HookSource>,
    /// Tools beyond the plugins.
    pub tools: Option<Arc<dyn ToolSource>>,
    /// What callers may use.
    pub gate: Arc<dyn Gate>,
    /// Who is asked about calls.
    pub approver: Arc<dyn Approver>,
}

/// A model's place, filled when it has loaded.
pub struct Model {
    config: ModelConfig,
    state: RwLock<State>,
}

/// How far a model has come.
#[derive(Clone)]
pub enum State {
    /// Not there yet.
    Loading,
    /// It answers.
    Ready(Ready),
    /// It cannot: why.
    Failed(String),
}

/// A loaded model.
#[derive(Clone)]
pub enum Ready {
    /// It makes text.
    Chat(Arc<Host>),
    /// It makes vectors.
    Encoder(Arc<EncoderThread>),
}

impl Ready {
    /// What the model is.
    #[must_use]
    pub fn info(&self) -> &ModelInfo {
        match self {
            Self::Chat(host) => host.engine().info(),
            Self::Encoder(encoder) => encoder.info(),
        }
    }

    /// `chat` or `embeddings`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Chat(_) => "chat",
            Self::Encoder(_) => "embeddings",
        }
    }
}

impl Model {
    /// The name requests ask for it by.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// How far it has come.
    #[must_use]
    pub fn state(&self) -> State {
        self.state.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, state: State) {
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = state;
    }

    /// The loaded model.
    ///
    /// # Errors
    /// `Error::Unavailable` while it loads and when it could not.
    pub fn ready(&self) -> Result<Ready, Error> {
        let name = self.name();
        match self.state() {
            State::Ready(ready) => Ok(ready),
            State::Loading => Err(Error::Unavailable(format!("model \"{name}\" is loading; try again soon"))),
            State::Failed(_) => {
                Err(Error::Unavailable(format!("model \"{name}\" could not be loaded; the server's log says why")))
            }
        }
    }
}

/// All models of a server, in the order of the configuration.
pub struct Models(Vec<Arc<Model>>);

impl Models {
    /// Places for `configs`; nothing is loaded yet.
    #[must_use]
    pub fn new(configs: &[ModelConfig]) -> Self {
        let place = |config: &ModelConfig| Model { config: config.clone(), state: RwLock::new(State::Loading) };
        Self(configs.iter().map(|config| Arc::new(place(config))).collect())
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> &[Arc<Model>] {
        &self.0
    }

    /// Those whose names match one of `globs`.
    pub fn visible<'a>(&'a self, globs: &'a [String]) -> impl Iterator<Item = &'a Arc<Model>> + use<'a> {
        self.0.iter().filter(move |model| globs.iter().any(|glob| matches_glob(glob, model.name())))
    }

    /// The model called `name`, if a caller with these `globs` may see it: what it may not, does not exist for it.
    ///
    /// # Errors
    /// `Error::NotFound`, naming those that it may use.
    pub fn find<'a>(&'a self, globs: &'a [String], name: &str) -> Result<&'a Arc<Model>, Error> {
        self.visible(globs).find(|model| model.name() == name).ok_or_else(|| {
            let names: Vec<&str> = self.visible(globs).map(|model| model.name()).collect();
            let shown: String = name.chars().take(80).collect();
            Error::NotFound(format!("there is no model \"{shown}\" here; there are: {}", names.join(", ")))
        })
    }

    /// Loads them one after another; what becomes of each is told to `say`.
    ///
    /// # Errors
    /// The first failure, when none could be loaded.
    pub async fn load(&self, parts: &Parts, say: &(dyn Fn(&str) + Send + Sync)) -> Result<(), Error> {
        let mut first_failure = None;
        let mut loaded = 0_usize;
        for model in &self.0 {
            match load(model.config.clone(), parts.clone(), say).await {
                Ok(ready) => {
                    loaded += 1;
                    model.set(State::Ready(ready));
                }
                Err(error) => {
                    say(&format!("model \"{}\" could not be loaded: {error}", model.name()));
                    model.set(State::Failed(error.to_string()));
                    first_failure.get_or_insert(error);
                }
            }
        }
        match first_failure {
            Some(error) if loaded == 0 => Err(error),
            _ => Ok(()),
        }
    }

    /// Lets go of all of them; threads are joined once nothing uses them any more.
    pub fn close(&self) {
        for model in &self.0 {
            model.set(State::Failed("the server has ended".to_owned()));
        }
    }
}

/// Loading reads files and probes devices, so it runs where blocking does no harm.
async fn load(config: ModelConfig, parts: Parts, say: &(dyn Fn(&str) + Send + Sync)) -> Result<Ready, Error> {
    let runtime = tokio::runtime::Handle::current();
    let work = tokio::task::spawn_blocking(move || runtime.block_on(open(config, parts)));
    let (ready, notes) =
        work.await.unwrap_or_else(|error| Err(Error::Internal(format!("loading a model stopped: {error}"))))?;
    notes.iter().for_each(|note| say(note));
    Ok(ready)
}

async fn open(config: ModelConfig, parts: Parts) -> Result<(Ready, Vec<String>), Error> {
    if let Some(path) = &config.path {
        let checkpoint = Checkpoint::open(path)?;
        if firebox_models::is_encoder(&checkpoint)? {
            let opened = open_device(&config.device.parse().map_err(Error::from)?)?;
            let options = LoadOptions {
                name: Some(config.name.clone()),
                context_tokens: config.context_tokens,
                device_name: Some(opened.info.to_string()),
                ..LoadOptions::default()
            };
            let (mut notes, warnings) = (opened.notes.clone(), checkpoint.warnings().clone());
            let factory = Box::new(move || Ok(firebox_models::load_encoder(&checkpoint, &opened.device, options)?));
            let in_flight_max = config.in_flight_max.unwrap_or(limits::IN_FLIGHT_MAX);
            let encoder = EncoderThread::start(factory, in_flight_max, Arc::new(MachineClock::default())).await?;
            notes.extend(warnings.list());
            return Ok((Ready::Encoder(Arc::new(encoder)), notes));
        }
    }
    let mut builder = Host::builder()
        .configured(&config)?
        .name(Some(config.name.clone()))
        .tokenizer_cache(false)
        .warm_up(true)
        .hooks(parts.hooks)
        .gate(parts.gate)
        .approver(parts.approver);
    if let Some(tools) = parts.tools {
        builder = builder.tools(tools);
    }
    let host = builder.build().await?;
    let notes = host.notes().to_vec();
    Ok((Ready::Chat(Arc::new(host)), notes))
}
