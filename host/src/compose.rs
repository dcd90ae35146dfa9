//! Where models, sandbox and engine meet: from options to a host that answers.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use firebox_contract::{
    Approver, Caller, Chat, Clock, Error, Gate, GenerationRequest, HookSource, LanguageModel, Message, ModelInfo,
    OpenGate, Reservation, TextCodec, TokenCount, ToolDefinition, ToolSource, limits,
};
use firebox_engine::{Engine, EngineCounters, EngineOptions, EngineStatus, Generation, ModelFactory};
use firebox_models::device::{self, DeviceChoice, OpenOptions, Opened, TestChild};
use firebox_models::{Checkpoint, CodecOptions, LoadOptions, Warnings};
use firebox_sandbox::{Notice, Plugin, PluginChain, PluginSpec, SandboxOptions};

use crate::clock::MachineClock;
use crate::{compiler, ember, plugin_memory, threads};

/// A model with its plugins, ready for requests.
pub struct Host {
    engine: Engine,
    codec: Arc<dyn TextCodec>,
    notes: Vec<String>,
    stand_ins: Vec<String>,
}

/// Where the model comes from.
enum Source {
    Ember,
    Folder(PathBuf),
    Own { codec: Arc<dyn TextCodec>, factory: ModelFactory },
}

/// Says what a [`Host`] is made of. Nothing is loaded before [`HostBuilder::build`].
pub struct HostBuilder {
    source: Source,
    device: DeviceChoice,
    plugins: Vec<PluginSpec>,
    hooks: Option<Arc<dyn HookSource>>,
    tools: Option<Arc<dyn ToolSource>>,
    gate: Arc<dyn Gate>,
    approver: Option<Arc<dyn Approver>>,
    in_flight_max: usize,
    private: bool,
    text_control_tokens: bool,
    load: LoadOptions,
    notice: Notice,
}

impl Host {
    /// A builder for the built-in model on the best device, without plugins.
    #[must_use]
    pub fn builder() -> HostBuilder {
        HostBuilder {
            source: Source::Ember,
            device: DeviceChoice::AUTO,
            plugins: Vec::new(),
            hooks: None,
            tools: None,
            gate: Arc::new(OpenGate),
            approver: None,
            in_flight_max: limits::IN_FLIGHT_MAX,
            private: false,
            text_control_tokens: false,
            load: LoadOptions::default(),
            notice: Notice::default(),
        }
    }

    /// What the model is.
    #[must_use]
    pub fn info(&self) -> &ModelInfo {
        self.engine.info()
    }

    /// What the person should know about how this host was put together, one line each.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// A line for each plugin that imports a clock or random numbers and was not granted them.
    #[must_use]
    pub fn stand_ins(&self) -> &[String] {
        &self.stand_ins
    }

    /// Tokens of an answer that are reckoned with where its request does not say: the checkpoint's own number, else the
    /// host's.
    #[must_use]
    pub fn answer_tokens(&self) -> usize {
        self.codec.defaults().max_tokens.unwrap_or(limits::ANSWER_TOKENS_EXPECTED)
    }

    /// Whether the chat template has this word in it, such as the name of a variable.
    #[must_use]
    pub fn template_names(&self, word: &str) -> bool {
        self.codec.chat_template().is_some_and(|template| template.contains(word))
    }

    /// How many tokens a conversation has as the model's own template renders it, without tools.
    ///
    /// # Errors
    /// As [`Engine::count_tokens`].
    pub fn count_tokens(&self, messages: &[Message]) -> Result<usize, Error> {
        Ok(self.engine.count_tokens(Chat::new(messages, &[]), usize::MAX)?.tokens)
    }

    /// As [`Engine::count_tokens`].
    ///
    /// # Errors
    /// As there.
    pub fn count_tokens_within(&self, chat: Chat<'_>, max: usize) -> Result<TokenCount, Error> {
        self.engine.count_tokens(chat, max)
    }

    /// Runs `work` on a caller's texts off the threads that serve; see [`Engine::run_blocking`].
    ///
    /// # Errors
    /// As there.
    pub(crate) async fn run_blocking<T: Send + 'static>(
        &self,
        caller: &Caller,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        self.engine.run_blocking(caller, work).await
    }

    /// The tools that the plugins offer in this caller's requests.
    ///
    /// # Errors
    /// As [`Engine::plugin_tools`].
    pub async fn plugin_tools(&self, caller: &Caller) -> Result<Vec<ToolDefinition>, Error> {
        self.engine.plugin_tools(caller).await
    }

    /// The tools beyond the plugins that this caller's requests are offered.
    pub async fn source_tools(&self, caller: &Caller) -> Vec<ToolDefinition> {
        self.engine.source_tools(caller).await
    }

    /// The road of a request; see [`Engine::generate`].
    ///
    /// # Errors
    /// As [`Engine::generate`].
    pub async fn generate(&self, caller: &Caller, request: GenerationRequest) -> Result<Generation, Error> {
        self.engine.generate(caller, request).await
    }

    /// As [`Host::generate`], on an account that was opened for the request; see [`Engine::generate_on`].
    ///
    /// # Errors
    /// As [`Engine::generate`].
    pub async fn generate_on(
        &self,
        caller: &Caller,
        request: GenerationRequest,
        account: Box<dyn Reservation>,
    ) -> Result<Generation, Error> {
        self.engine.generate_on(caller, request, account).await
    }

    /// Tokens of a conversation in which users say so many bytes, at least; 0 where that tells nothing.
    #[must_use]
    pub(crate) fn least_tokens_asked(&self, bytes: usize) -> usize {
        if self.codec.keeps_questions() { self.codec.least_tokens(bytes) } else { 0 }
    }

    /// Whether the model can answer.
    #[must_use]
    pub fn status(&self) -> EngineStatus {
        self.engine.status()
    }

    /// What the engine has done and what it does now.
    #[must_use]
    pub fn counters(&self) -> EngineCounters {
        self.engine.counters()
    }

    /// Ends the engine and says how many requests were cut off; see [`Engine::close`].
    pub async fn close(&self, time: Duration) -> usize {
        self.engine.close(time).await
    }
}

impl HostBuilder {
    /// Takes the model from a Hugging Face folder.
    #[must_use]
    pub fn folder(mut self, path: impl Into<PathBuf>) -> Self {
        self.source = Source::Folder(path.into());
        self
    }

    /// Takes a model of the caller's own; `factory` runs on the thread that will own the model, and once more
    /// whenever the model broke.
    #[must_use]
    pub fn model(
        mut self,
        codec: Arc<dyn TextCodec>,
        factory: impl FnMut() -> Result<Box<dyn LanguageModel>, Error> + Send + 'static,
    ) -> Self {
        self.source = Source::Own { codec, factory: Box::new(factory) };
        self
    }

    /// Runs on this device.
    #[must_use]
    pub fn device(mut self, choice: DeviceChoice) -> Self {
        self.device = choice;
        self
    }

    /// Runs these plugins, in this order.
    #[must_use]
    pub fn plugins(mut self, plugins: Vec<PluginSpec>) -> Self {
        self.plugins = plugins;
        self
    }

    /// Binds plugin chains by this source instead of those given to [`HostBuilder::plugins`].
    #[must_use]
    pub fn hooks(mut self, hooks: Arc<dyn HookSource>) -> Self {
        self.hooks = Some(hooks);
        self
    }

    /// Offers these tools too, beside those of the plugins.
    #[must_use]
    pub fn tools(mut self, tools: Arc<dyn ToolSource>) -> Self {
        self.tools = Some(tools);
        self
    }

    /// Asks this gate what callers may use; without one they may use all of it.
    #[must_use]
    pub fn gate(mut self, gate: Arc<dyn Gate>) -> Self {
        self.gate = gate;
        self
    }

    /// Asks here about tool calls that a policy wants approved.
    #[must_use]
    pub fn approver(mut self, approver: Arc<dyn Approver>) -> Self {
        self.approver = Some(approver);
        self
    }

    /// Requests at a time.
    #[must_use]
    pub fn in_flight_max(mut self, requests: usize) -> Self {
        self.in_flight_max = requests;
        self
    }

    /// Serves many who do not trust each other: nothing of a text stays in memory for speed's sake once it is tokenized, and
    /// the model runs once before the first of them asks.
    #[must_use]
    pub fn private(mut self) -> Self {
        self.private = true;
        self
    }

    /// Makes control tokens of their text in messages, tool results and tool descriptions, as transformers does. Without
    /// this such text is plain text, and nobody but the chat template writes a control token.
    #[must_use]
    pub fn text_control_tokens(mut self, allowed: bool) -> Self {
        self.text_control_tokens = allowed;
        self
    }

    /// Bytes of keys and values of all sequences together.
    #[must_use]
    pub fn cache_bytes(mut self, bytes: u64) -> Self {
        self.load.cache_bytes = Some(bytes);
        self
    }

    /// The name requests ask for the model by; without it the folder's.
    #[must_use]
    pub fn name(mut self, name: Option<String>) -> Self {
        self.load.name = name;
        self
    }

    /// Tokens a conversation may have, up to the checkpoint's own limit.
    #[must_use]
    pub fn context_tokens(mut self, tokens: Option<usize>) -> Self {
        self.load.context_tokens = tokens;
        self
    }

    /// Says here what takes long while the host is put together; otherwise nobody hears it.
    #[must_use]
    pub fn notice(mut self, notice: Notice) -> Self {
        self.notice = notice;
        self
    }

    /// Opens the device, loads model and plugins, starts the model's thread.
    ///
    /// # Errors
    /// Whatever device, checkpoint or plugins fail with.
    pub async fn build(self) -> Result<Host, Error> {
        let clock: Arc<dyn Clock> = Arc::new(MachineClock::default());
        let (mut notes, mut stand_ins) = (Vec::new(), Vec::new());
        let hooks: Arc<dyn HookSource> = match self.hooks {
            Some(hooks) => hooks,
            None => {
                let chain = load_plugins(self.plugins, self.notice, &mut notes).await?;
                stand_ins.extend(chain.plugins().iter().filter_map(|plugin| stand_in(plugin)));
                Arc::new(chain)
            }
        };
        let codec_options = CodecOptions { private: self.private, text_control_tokens: self.text_control_tokens };
        let (codec, factory, warnings) = match self.source {
            Source::Own { codec, factory } => (codec, factory, Warnings::default()),
            Source::Ember => {
                let options =
                    LoadOptions { name: self.load.name.or_else(|| Some(ember::NAME.to_owned())), ..self.load };
                from_checkpoint(Checkpoint::embedded(ember::FILES)?, codec_options, options, &self.device, &mut notes)?
            }
            Source::Folder(path) => {
                from_checkpoint(Checkpoint::open(&path)?, codec_options, self.load, &self.device, &mut notes)?
            }
        };
        let options = EngineOptions {
            codec: Arc::clone(&codec),
            hooks,
            tools: self.tools,
            gate: self.gate,
            approver: self.approver,
            clock,
            deliveries: firebox_cpu::delivery::tracker(),
            threads: threads::background()?,
            in_flight_max: self.in_flight_max,
            prefill_chunk: limits::PREFILL_CHUNK_TOKENS,
            warm_up: self.private,
        };
        let engine = Engine::start(factory, options).await?;
        notes.extend(warnings.list());
        Ok(Host { engine, codec, notes, stand_ins })
    }
}

fn from_checkpoint(
    checkpoint: Checkpoint,
    codec_options: CodecOptions,
    options: LoadOptions,
    choice: &DeviceChoice,
    notes: &mut Vec<String>,
) -> Result<(Arc<dyn TextCodec>, ModelFactory, Warnings), Error> {
    let warnings = checkpoint.warnings().clone();
    let codec = firebox_models::load_codec_with(&checkpoint, codec_options)?;
    let opened =
        device::open(choice, &OpenOptions { weights_bytes: Some(checkpoint.stored_bytes()), ..device_options() })?;
    notes.extend(opened.notes);
    let factory: ModelFactory = Box::new(move || {
        let options = LoadOptions { device_name: Some(opened.info.to_string()), ..options.clone() };
        Ok(firebox_models::load_decoder(&checkpoint, &opened.device, options)?)
    });
    Ok((codec, factory, warnings))
}

/// Opens a device as every verb does: unknown adapters tested in a child process, verdicts kept in the user's cache.
///
/// # Errors
/// `Error::Model` when a named device is missing or broken.
pub fn open_device(choice: &DeviceChoice) -> Result<Opened, Error> {
    Ok(device::open(choice, &device_options())?)
}

/// How devices are opened and tested.
#[must_use]
pub fn device_options() -> OpenOptions {
    OpenOptions {
        test_child: TestChild::current_program().ok(),
        verdict_cache_dir: cache_dir("devices"),
        weights_bytes: None,
    }
}

/// How every verb sets up its sandbox: compiled components are kept in the user's cache, what is not there is compiled in a
/// process of its own where this program can do that, and tools are held to what calls will be checked against.
#[must_use]
pub fn sandbox_options(notice: Notice) -> SandboxOptions {
    SandboxOptions {
        cache_dir: cache_dir("components"),
        compiler: compiler::command(),
        check_tool: firebox_engine::check_schema,
        notice,
        ..SandboxOptions::default()
    }
}

/// The chain of these plugins, in a sandbox of its own; `notice` hears what takes long.
///
/// # Errors
/// Whatever a plugin or the sandbox fails with.
pub async fn load_plugins(
    specs: Vec<PluginSpec>,
    notice: Notice,
    notes: &mut Vec<String>,
) -> Result<PluginChain, Error> {
    if specs.is_empty() {
        return Ok(PluginChain::new(Vec::new())?);
    }
    // There is nobody to share with: as much as one plugin may have at most, for several of them.
    let sandbox = plugin_memory::sandbox(2 * limits::PLUGIN_MEMORY_BYTES_MAX, notice, notes)?;
    let mut plugins = Vec::new();
    for spec in specs {
        let plugin = sandbox.load(spec).await?;
        notes.extend(plugin.warnings().iter().cloned());
        plugins.push(plugin);
    }
    Ok(PluginChain::new(plugins)?)
}

/// What a plugin finds in place of what it was not granted.
fn stand_in(plugin: &Plugin) -> Option<String> {
    let names = plugin.stand_ins();
    let name = plugin.name();
    (!names.is_empty()).then(|| {
        format!("{name} was not granted {}: what it finds there is the same in every run", names.join(" and "))
    })
}

/// The folder for what cannot be made again: `FIREBOX_DATA`, else the system's place for a user's data. `None` where
/// there is none.
#[must_use]
pub fn data_dir() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("FIREBOX_DATA")
        .or_else(|| set("XDG_DATA_HOME").map(|path| path.join("firebox")))
        .or_else(|| set("LOCALAPPDATA").map(|path| path.join("firebox").join("data")))
        .or_else(|| set("HOME").map(|path| path.join(".local").join("share").join("firebox")))
}

/// A folder for what can be made again: `FIREBOX_CACHE`, else the system's place for a user's caches. `None` where
/// there is none, and then nothing is kept.
#[must_use]
pub fn cache_dir(kind: &str) -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = set("FIREBOX_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|path| path.join("firebox")))
        .or_else(|| set("LOCALAPPDATA").map(|path| path.join("firebox").join("cache")))
        .or_else(|| set("HOME").map(|path| path.join(".cache").join("firebox")))?;
    Some(base.join(kind))
}
