//! Builds a host: opens the device, loads model and plugins, starts the engine.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use firebox_contract::{
    Approver, Clock, Error, Gate, HookSource, LanguageModel, OpenGate, PluginEmbedder, TextCodec, ToolSource, limits,
};
use firebox_engine::{Engine, EngineOptions, ModelFactory, Speculation};
use firebox_hub::InUse;
use firebox_models::device::{self, DeviceChoice, OpenOptions, Opened};
use firebox_models::{Checkpoint, CodecOptions, LoadOptions, LoadProgress, Mixture, Warnings};
use firebox_sandbox::{Notice, PluginSpec};

use super::device::device_options;
use super::{Host, LoadReport, ember, quantized};
use crate::config::ModelConfig;
use crate::plugins::sandbox;
use crate::system::clock::MachineClock;
use crate::system::{memory, threads};

/// Where the model comes from.
enum BuiltModel {
    Ember,
    Folder(PathBuf),
    Custom { codec: Arc<dyn TextCodec>, factory: ModelFactory },
}

/// The settings of a [`Host`]. Nothing is loaded before [`HostBuilder::build`].
pub struct HostBuilder {
    source: BuiltModel,
    device: DeviceChoice,
    plugins: Vec<PluginSpec>,
    hooks: Option<Arc<dyn HookSource>>,
    tools: Option<Arc<dyn ToolSource>>,
    gate: Arc<dyn Gate>,
    approver: Option<Arc<dyn Approver>>,
    embedder: Option<Arc<dyn PluginEmbedder>>,
    in_flight_max: usize,
    tokenizer_cache: bool,
    warm_up: bool,
    text_control_tokens: bool,
    quantize: Option<&'static Mixture>,
    repack: bool,
    speculation: Speculation,
    load: LoadOptions,
    notice: Notice,
    in_use: InUse,
}

impl HostBuilder {
    /// The built-in model on the best device, without plugins.
    pub(super) fn new() -> Self {
        Self {
            source: BuiltModel::Ember,
            device: DeviceChoice::AUTO,
            plugins: Vec::new(),
            hooks: None,
            tools: None,
            gate: Arc::new(OpenGate),
            approver: None,
            embedder: None,
            in_flight_max: limits::IN_FLIGHT_MAX,
            tokenizer_cache: true,
            warm_up: false,
            text_control_tokens: false,
            quantize: None,
            repack: true,
            speculation: Speculation::default(),
            load: LoadOptions::default(),
            notice: Notice::default(),
            in_use: InUse::default(),
        }
    }

    /// Takes everything but the name from a `[[model]]` section: folder, device, context, cache, requests at a time, threads.
    ///
    /// # Errors
    /// `Error::Usage` for a device name that is not valid.
    pub fn configured(mut self, config: &ModelConfig) -> Result<Self, Error> {
        self.device = config.device.parse().map_err(Error::from)?;
        self.text_control_tokens = config.text_control_tokens;
        self.quantize = config.quantize;
        self.repack = config.repack;
        self.speculation = config.speculation;
        self.load.context_tokens = config.context_tokens;
        self.load.cache_bytes = config.cache_bytes;
        self.load.kv_cache = config.kv_cache;
        self.load.threads = config.threads;
        self.in_flight_max = config.in_flight_max.unwrap_or(self.in_flight_max);
        self.source = match &config.path {
            Some(path) if path.as_os_str() != ember::NAME => BuiltModel::Folder(path.clone()),
            _ => BuiltModel::Ember,
        };
        Ok(self)
    }

    /// Loads the model from a Hugging Face folder.
    #[must_use]
    pub fn folder(mut self, path: impl Into<PathBuf>) -> Self {
        self.source = BuiltModel::Folder(path.into());
        self
    }

    /// Runs your own model. `factory` runs on the thread that owns the model, and again each time the model failed.
    #[must_use]
    pub fn model(
        mut self,
        codec: Arc<dyn TextCodec>,
        factory: impl FnMut() -> Result<Box<dyn LanguageModel>, Error> + Send + 'static,
    ) -> Self {
        self.source = BuiltModel::Custom { codec, factory: Box::new(factory) };
        self
    }

    /// The device to run on. Default: the best one.
    #[must_use]
    pub fn device(mut self, choice: DeviceChoice) -> Self {
        self.device = choice;
        self
    }

    /// The plugins of every request, in this order.
    #[must_use]
    pub fn plugins(mut self, plugins: Vec<PluginSpec>) -> Self {
        self.plugins = plugins;
        self
    }

    /// Chooses the plugin chain of each caller. Replaces [`HostBuilder::plugins`].
    #[must_use]
    pub fn hooks(mut self, hooks: Arc<dyn HookSource>) -> Self {
        self.hooks = Some(hooks);
        self
    }

    /// Offers these tools in addition to the tools of the plugins.
    #[must_use]
    pub fn tools(mut self, tools: Arc<dyn ToolSource>) -> Self {
        self.tools = Some(tools);
        self
    }

    /// Decides what each caller may use. Default: every caller may use everything.
    #[must_use]
    pub fn gate(mut self, gate: Arc<dyn Gate>) -> Self {
        self.gate = gate;
        self
    }

    /// Approves or declines the tool calls that a policy wants approved.
    #[must_use]
    pub fn approver(mut self, approver: Arc<dyn Approver>) -> Self {
        self.approver = Some(approver);
        self
    }

    /// Computes vectors for plugins that were granted `model:embed`. Default: there is no embedding model for plugins.
    #[must_use]
    pub fn embedder(mut self, embedder: Arc<dyn PluginEmbedder>) -> Self {
        self.embedder = Some(embedder);
        self
    }

    /// The maximum number of requests at a time. Default: [`limits::IN_FLIGHT_MAX`].
    #[must_use]
    pub fn in_flight_max(mut self, requests: usize) -> Self {
        self.in_flight_max = requests;
        self
    }

    /// Whether the tokenizer may cache words of the texts it has seen. Default: true. A server for several tenants turns
    /// the cache off, so that no text of one tenant stays in memory that others use.
    #[must_use]
    pub fn tokenizer_cache(mut self, enabled: bool) -> Self {
        self.tokenizer_cache = enabled;
        self
    }

    /// Whether [`HostBuilder::build`] runs the model once, so that the first request does not wait for weights and
    /// kernels. Default: false.
    #[must_use]
    pub fn warm_up(mut self, enabled: bool) -> Self {
        self.warm_up = enabled;
        self
    }

    /// Whether the text of a control token in a message, a tool result or a tool description becomes that token, as in
    /// transformers. Default: false; such text is plain text, and only the chat template writes control tokens.
    #[must_use]
    pub fn text_control_tokens(mut self, allowed: bool) -> Self {
        self.text_control_tokens = allowed;
        self
    }

    /// Whether tokens are drafted from earlier text and verified in one step. The text stays the same.
    #[must_use]
    pub fn speculation(mut self, speculation: Speculation) -> Self {
        self.speculation = speculation;
        self
    }

    /// Receives the state of the load of a checkpoint from a file. Default: nothing.
    #[must_use]
    pub fn progress(mut self, progress: LoadProgress) -> Self {
        self.load.progress = progress;
        self
    }

    /// The type in which the matrices of a model in full precision are kept. They are quantized once, and mapped from the user's
    /// cache afterwards. Default: as they are.
    #[must_use]
    pub fn quantize(mut self, mixture: Option<&'static Mixture>) -> Self {
        self.quantize = mixture;
        self
    }

    /// Whether the quantized matrices of a model on the CPU are repacked, where that is faster. They are repacked once, and
    /// mapped from the user's cache afterwards. Default: true.
    #[must_use]
    pub fn repack(mut self, enabled: bool) -> Self {
        self.repack = enabled;
        self
    }

    /// The maximum size of the KV cache of all sequences together, in bytes. Default: [`limits::KV_CACHE_BYTES_DEFAULT`].
    #[must_use]
    pub fn cache_bytes(mut self, bytes: u64) -> Self {
        self.load.cache_bytes = Some(bytes);
        self
    }

    /// The name of the model in requests. Default: the name of its folder.
    #[must_use]
    pub fn name(mut self, name: Option<String>) -> Self {
        self.load.name = name;
        self
    }

    /// The maximum length of a conversation in tokens, at most the checkpoint's own limit. Default:
    /// [`limits::CONTEXT_TOKENS_DEFAULT`].
    #[must_use]
    pub fn context_tokens(mut self, tokens: Option<usize>) -> Self {
        self.load.context_tokens = tokens;
        self
    }

    /// The number of threads that compute on the CPU. Default: one for each core.
    #[must_use]
    pub fn threads(mut self, threads: Option<usize>) -> Self {
        self.load.threads = threads;
        self
    }

    /// Receives a line about each slow step of [`HostBuilder::build`]. Default: the lines are dropped.
    #[must_use]
    pub fn notice(mut self, notice: Notice) -> Self {
        self.notice = notice;
        self
    }

    /// The mark of the model in the cache of a hub. It lives as long as the host.
    #[must_use]
    pub fn in_use(mut self, mark: InUse) -> Self {
        self.in_use = mark;
        self
    }

    /// Opens the device and loads the model alone, on this thread.
    ///
    /// # Errors
    /// Errors of the device and of the checkpoint. `Error::Usage` for a model of your own.
    pub(crate) fn load_model(self) -> Result<BareModel, Error> {
        let (mut checkpoint, name) = match self.source {
            BuiltModel::Ember => (Checkpoint::embedded(ember::FILES)?, Some(ember::NAME.to_owned())),
            BuiltModel::Folder(path) => (quantized::open(&path, self.quantize, &|line| self.notice.send(line))?, None),
            BuiltModel::Custom { .. } => return Err(Error::Usage("a model of your own is not loaded".to_owned())),
        };
        let opened = open_for(&checkpoint, &self.device)?;
        if self.repack && opened.info.is_cpu() {
            quantized::repack(&mut checkpoint, &|line| self.notice.send(line));
        }
        let (types, warnings) = (checkpoint.stored_types(), checkpoint.warnings().clone());
        let options =
            LoadOptions { name: self.load.name.or(name), device_name: Some(opened.info.to_string()), ..self.load };
        let model = firebox_models::load_decoder(&checkpoint, &opened.device, options)?;
        let notes = opened.notes.into_iter().chain(warnings.list()).collect();
        Ok(BareModel { model, types, notes, _in_use: self.in_use })
    }

    /// Opens the device, loads model and plugins, and starts the thread that runs the model.
    ///
    /// # Errors
    /// Errors of the device, the checkpoint or a plugin.
    pub async fn build(self) -> Result<Host, Error> {
        let clock: Arc<dyn Clock> = Arc::new(MachineClock::default());
        let (mut notes, mut plugins) = (Vec::new(), Vec::new());
        let hooks: Arc<dyn HookSource> = match self.hooks {
            Some(hooks) => hooks,
            None => {
                let chain = sandbox::load_chain(self.plugins, self.notice.clone(), &mut notes).await?;
                plugins.extend(chain.plugins().iter().cloned());
                Arc::new(chain)
            }
        };
        let codec_options =
            CodecOptions { private: !self.tokenizer_cache, text_control_tokens: self.text_control_tokens };
        let (began, before_bytes) = (Instant::now(), memory::resident_bytes());
        let (codec, factory, warnings) = match self.source {
            BuiltModel::Custom { codec, factory } => (codec, factory, Warnings::default()),
            BuiltModel::Ember => {
                let options =
                    LoadOptions { name: self.load.name.or_else(|| Some(ember::NAME.to_owned())), ..self.load };
                let checkpoint = Checkpoint::embedded(ember::FILES)?;
                from_checkpoint(checkpoint, codec_options, options, &self.device, None, &mut notes)?
            }
            BuiltModel::Folder(path) => {
                let checkpoint = quantized::open(&path, self.quantize, &|line| self.notice.send(line))?;
                let repacking = self.repack.then_some(&self.notice);
                from_checkpoint(checkpoint, codec_options, self.load, &self.device, repacking, &mut notes)?
            }
        };
        let options = EngineOptions {
            codec: Arc::clone(&codec),
            hooks,
            tools: self.tools,
            grammars: Some(Arc::new(firebox_grammar::Compiler::new(Arc::clone(&codec)))),
            embedder: self.embedder,
            gate: self.gate,
            approver: self.approver,
            clock,
            deliveries: firebox_cpu::delivery::tracker(),
            threads: threads::background()?,
            in_flight_max: self.in_flight_max,
            prefill_chunk: limits::PREFILL_CHUNK_TOKENS,
            warm_up: self.warm_up,
            speculation: self.speculation,
        };
        let engine = Engine::start(factory, options).await?;
        notes.extend(warnings.list());
        let load = LoadReport { time: began.elapsed(), before_bytes, after_bytes: memory::resident_bytes() };
        Ok(Host { engine, codec, notes, plugins, load, _in_use: self.in_use })
    }
}

/// A loaded decoder without an engine, to measure its steps.
pub(crate) struct BareModel {
    pub(crate) model: Box<dyn LanguageModel>,
    /// The types of the weights as stored, and the bytes of each; the largest first.
    pub(crate) types: Vec<(String, u64)>,
    /// Messages for the user, one line each.
    pub(crate) notes: Vec<String>,
    /// The mark of a model of the cache.
    _in_use: InUse,
}

/// The codec of a checkpoint, and the factory that loads its model on a device. With `repacking`, its matrices are repacked for
/// a CPU, and the notice gets lines about that.
fn from_checkpoint(
    mut checkpoint: Checkpoint,
    codec_options: CodecOptions,
    options: LoadOptions,
    choice: &DeviceChoice,
    repacking: Option<&Notice>,
    notes: &mut Vec<String>,
) -> Result<(Arc<dyn TextCodec>, ModelFactory, Warnings), Error> {
    let warnings = checkpoint.warnings().clone();
    let codec = firebox_models::load_codec_with(&checkpoint, codec_options)?;
    let opened = open_for(&checkpoint, choice)?;
    notes.extend(opened.notes);
    if let Some(notice) = repacking.filter(|_| opened.info.is_cpu()) {
        quantized::repack(&mut checkpoint, &|line| notice.send(line));
    }
    let factory: ModelFactory = Box::new(move || {
        let options = LoadOptions { device_name: Some(opened.info.to_string()), ..options.clone() };
        Ok(firebox_models::load_decoder(&checkpoint, &opened.device, options)?)
    });
    Ok((codec, factory, warnings))
}

/// Opens a device for the weights of a checkpoint.
fn open_for(checkpoint: &Checkpoint, choice: &DeviceChoice) -> Result<Opened, Error> {
    let options = OpenOptions { weights_bytes: Some(checkpoint.stored_bytes()), ..device_options() };
    Ok(device::open(choice, &options)?)
}
