//! The engine: one model, and the pipeline that every request of it goes through.

mod request_model;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use firebox_contract::{
    Approver, Caller, Chat, Clock, DeliveryTracker, Error, Gate, GenerationRequest, GrammarCompiler, HookSource,
    ModelHandle, ModelInfo, PluginEmbedder, Prompt, RequestInfo, Reservation, TextCodec, TokenCount, TokenId,
    ToolChoice, ToolDefinition, ToolSource, limits,
};
use futures_util::FutureExt;
use tokio::runtime::Handle;
use tokio::sync::Mutex as AsyncMutex;

use self::request_model::PluginModel;
use crate::admission::tenant_permits::TenantPermits;
use crate::admission::{Admission, AdmissionLimits};
use crate::batch::worker::{Worker, WorkerOptions};
use crate::batch::{ModelFactory, Speculation};
use crate::generation::prompt_encoding::check_size;
use crate::generation::usage_guard::UsageGuard;
use crate::generation::{Generation, OpenedRequest, SourceTools, list_tools, timed_out};
use crate::reasoning::ReasoningProfile;
use crate::status::{EngineCounters, EngineMetrics, EngineStatus};
use crate::tools::schema::SchemaCache;
use crate::tools::{Tools, explain_tool_tokens};

/// What an engine is made of. There are no defaults.
pub struct EngineOptions {
    /// Converts text to tokens and back.
    pub codec: Arc<dyn TextCodec>,
    /// Makes the plugin chain of each request.
    pub hooks: Arc<dyn HookSource>,
    /// Tools that do not come from plugins: those of MCP servers.
    pub tools: Option<Arc<dyn ToolSource>>,
    /// Compiles the grammars that answers keep to. Without it, requests with a grammar are refused.
    pub grammars: Option<Arc<dyn GrammarCompiler>>,
    /// Computes vectors for plugins. Without it, plugins have no embedding model.
    pub embedder: Option<Arc<dyn PluginEmbedder>>,
    /// Opens the reservation of each request.
    pub gate: Arc<dyn Gate>,
    /// Approves tool calls that need approval. Without an approver such calls are declined.
    pub approver: Option<Arc<dyn Approver>>,
    /// The clock for deadlines and timings.
    pub clock: Arc<dyn Clock>,
    /// Counts tokens that are on their way to a client, so that compute threads yield when one is late.
    pub deliveries: Arc<dyn DeliveryTracker>,
    /// Its blocking threads run long work, such as tokenizing a long prompt.
    pub threads: Handle,
    /// Maximum number of running requests. `limits::IN_FLIGHT_RESERVED` more run for tenants that have none running.
    pub in_flight_max: usize,
    /// Tokens of one prefill chunk.
    pub prefill_chunk: usize,
    /// Whether the model is warmed up before the first request.
    pub warm_up: bool,
    /// Whether tokens are drafted and verified.
    pub speculation: Speculation,
}

/// One model with its pipeline. Dropping it joins the model's thread.
pub struct Engine {
    pipeline: Arc<Pipeline>,
}

/// What the requests of an engine share.
pub(crate) struct Pipeline {
    pub(crate) worker: Worker,
    pub(crate) codec: Arc<dyn TextCodec>,
    /// The tokens that end an answer.
    pub(crate) ends: Vec<TokenId>,
    pub(crate) reasoning: ReasoningProfile,
    hooks: Arc<dyn HookSource>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) deliveries: Arc<dyn DeliveryTracker>,
    admission: Admission,
    metrics: Arc<EngineMetrics>,
    requests: AtomicU64,
    tool_services: ToolServices,
    /// Permits for tokenizing prompts on blocking threads.
    pub(crate) encoding_permits: TenantPermits,
    pub(crate) grammars: Option<Arc<dyn GrammarCompiler>>,
    /// Permits for compiling grammars on blocking threads.
    pub(crate) grammar_permits: TenantPermits,
    /// Computes vectors for plugins.
    embedder: Option<Arc<dyn PluginEmbedder>>,
}

/// What the tool rounds of all requests share.
struct ToolServices {
    source: Option<Arc<dyn ToolSource>>,
    gate: Arc<dyn Gate>,
    approver: Option<Arc<dyn Approver>>,
    schemas: Arc<SchemaCache>,
}

impl Pipeline {
    pub(crate) fn context_tokens(&self) -> usize {
        self.worker.info().context_tokens
    }

    /// For the error of a prompt that is too long: the providers whose tools take much of the context.
    pub(crate) fn explain_tool_tokens(&self, caller: &Caller, offered: &[ToolDefinition]) -> Option<String> {
        let source = self.tool_services.source.as_ref();
        let providers = source.map(|source| source.providers(caller)).unwrap_or_default();
        explain_tool_tokens(&*self.codec, offered, &providers, self.context_tokens())
    }

    fn fresh_id(&self) -> String {
        format!("req_{}", self.requests.fetch_add(1, Ordering::Relaxed))
    }
}

impl Engine {
    /// Starts the model's thread and loads the model on it.
    ///
    /// # Errors
    /// The error of `factory`, and `Error::Internal` if the thread cannot start.
    pub async fn start(factory: ModelFactory, options: EngineOptions) -> Result<Self, Error> {
        let EngineOptions {
            codec,
            hooks,
            tools,
            grammars,
            embedder,
            gate,
            approver,
            clock,
            deliveries,
            threads,
            in_flight_max,
            prefill_chunk,
            warm_up,
            speculation,
        } = options;
        let tool_services = ToolServices { source: tools, gate, approver, schemas: Arc::default() };
        let metrics = Arc::new(EngineMetrics::new());
        let admission_limits = AdmissionLimits {
            running_max: in_flight_max,
            reserved: limits::IN_FLIGHT_RESERVED.min(in_flight_max),
            waiting_max: limits::WAITING_MAX,
            wait_max: limits::WAITING_TIME_MAX,
        };
        let admission = Admission::new(admission_limits, Arc::clone(&clock), Arc::clone(&metrics));
        let capacity = admission_limits.running_max + admission_limits.reserved;
        let worker_options = WorkerOptions {
            clock: Arc::clone(&clock),
            metrics: Arc::clone(&metrics),
            capacity,
            prefill_chunk,
            warm_up,
            speculation,
        };
        let worker = Worker::start(factory, worker_options).await?;
        let requests = AtomicU64::new(0);
        let grammar_permits = TenantPermits::new(limits::GRAMMARS_COMPILED_PARALLEL, threads.clone());
        let encoding_permits = TenantPermits::new(limits::TOKENIZE_PARALLEL, threads.clone());
        let reasoning = ReasoningProfile::of(&*codec);
        let vocabulary = TokenId::try_from(worker.info().vocabulary).unwrap_or(TokenId::MAX);
        let ends = (0..vocabulary).filter(|token| codec.is_end(*token)).collect();
        if let Some(grammars) = grammars.clone().filter(|_| warm_up) {
            // Before the first request with a grammar, and after the model is loaded: it takes seconds for a large vocabulary.
            drop(threads.spawn_blocking(move || grammars.prepare()));
        }
        let pipeline = Pipeline {
            worker,
            codec,
            ends,
            reasoning,
            hooks,
            clock,
            deliveries,
            admission,
            metrics,
            requests,
            tool_services,
            encoding_permits,
            grammars,
            grammar_permits,
            embedder,
        };
        Ok(Self { pipeline: Arc::new(pipeline) })
    }

    /// Whether the model can answer.
    #[must_use]
    pub fn status(&self) -> EngineStatus {
        self.pipeline.metrics.status()
    }

    /// The counters and gauges of this engine.
    #[must_use]
    pub fn counters(&self) -> EngineCounters {
        self.pipeline.metrics.counters()
    }

    /// Closes the engine. New and waiting requests fail with `Error::Unavailable`. Running requests have `time` to end;
    /// then they are aborted and the model's thread is joined. Returns the number of aborted requests. A second call with
    /// less time aborts sooner.
    pub async fn close(&self, time: Duration) -> usize {
        let aborted = self.pipeline.admission.close(time).await;
        self.pipeline.worker.stop().await;
        aborted
    }

    /// The model's properties.
    #[must_use]
    pub fn info(&self) -> &ModelInfo {
        self.pipeline.worker.info()
    }

    /// The marks around the model's reasoning: the name of their family. `None` for a model without reasoning.
    #[must_use]
    pub fn reasoning_format(&self) -> Option<&'static str> {
        self.pipeline.reasoning.format().map(|format| format.name)
    }

    /// Whether the chat template has a variable that switches reasoning off and on.
    #[must_use]
    pub fn switches_reasoning(&self) -> bool {
        self.pipeline.reasoning.has_switch()
    }

    /// The number of tokens of a conversation, rendered by the model's chat template. If the conversation has far more
    /// than `max` tokens, the count is a lower bound above `max`.
    ///
    /// # Errors
    /// `Error::Model` if the template or the tokenizer fails.
    pub fn count_tokens(&self, chat: Chat<'_>, max: usize) -> Result<TokenCount, Error> {
        Ok(self.pipeline.codec.encode_chat_within(chat, max)?.count())
    }

    /// Runs `work` on a tenant's texts, such as counting their tokens, on a blocking thread. It needs one of the permits
    /// for tokenizing prompts.
    ///
    /// # Errors
    /// `Error::Internal` if `work` panics.
    pub async fn run_blocking<T: Send + 'static>(
        &self,
        caller: &Caller,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        self.pipeline.encoding_permits.run(&caller.tenant, work).await
    }

    /// The tools that plugins offer in this caller's requests.
    ///
    /// # Errors
    /// The errors of instantiating the caller's plugins.
    pub async fn plugin_tools(&self, caller: &Caller) -> Result<Vec<ToolDefinition>, Error> {
        let model = self.pipeline.worker.info().name.clone();
        let info = RequestInfo::new("tools", model);
        Ok(self.pipeline.hooks.bind(caller, info).await?.definitions().to_vec())
    }

    /// The tools of the tool source in this caller's requests. Empty if the list takes longer than
    /// `limits::TOOL_LIST_WAIT`.
    pub async fn source_tools(&self, caller: &Caller) -> Vec<ToolDefinition> {
        let Some(source) = &self.pipeline.tool_services.source else { return Vec::new() };
        tokio::select! {
            tools = source.tools(caller) => tools,
            () = self.pipeline.clock.sleep(limits::TOOL_LIST_WAIT) => Vec::new(),
        }
    }

    /// The model for plugins that `caller` calls outside of a request. Each of their generations runs by itself, without
    /// admission, so this is for a process with one user.
    #[must_use]
    pub fn model_of_calls(&self, caller: &Caller) -> ModelHandle {
        let info = RequestInfo::new("call", self.info().name.clone());
        self.model_of(caller, &info, self.pipeline.clock.now() + limits::REQUEST_TIMEOUT_MAX, 0)
    }

    /// Runs a request. All refusals that are possible before the first token are returned here; later events come out
    /// of the returned stream. Dropping the stream cancels the request.
    ///
    /// # Errors
    /// - `Error::Limited`: the request waited too long, or a quota is used up.
    /// - `Error::Denied`: the caller may not use this model.
    /// - `Error::Unavailable`: no model is loaded, or the engine closes.
    /// - `Error::TooLarge`: the prompt does not fit.
    /// - `Error::Usage`: a value is out of range, or the tool options contradict each other.
    /// - `Error::Timeout`: the request's time was up before the first token.
    /// - `Error::Fault`: a plugin failed. `Error::Model`: the template, the tokenizer or the model failed.
    pub async fn generate(&self, caller: &Caller, request: GenerationRequest) -> Result<Generation, Error> {
        let pipeline = &self.pipeline;
        pipeline.metrics.check()?;
        let id = request.id.clone().unwrap_or_else(|| pipeline.fresh_id());
        let reservation = pipeline.tool_services.gate.admit(caller, &pipeline.worker.info().name, &id)?;
        self.generate_reserved(caller, GenerationRequest { id: Some(id), ..request }, reservation).await
    }

    /// As [`Engine::generate`], with a reservation that the caller opened. It is settled on every path.
    ///
    /// # Errors
    /// As [`Engine::generate`].
    pub async fn generate_reserved(
        &self,
        caller: &Caller,
        request: GenerationRequest,
        reservation: Box<dyn Reservation>,
    ) -> Result<Generation, Error> {
        self.run(caller, request, reservation, 0).await
    }

    /// Runs a generation of a plugin, with the permit of the request that the plugin runs in. `depth` is 1 for a plugin in the
    /// request of a client.
    async fn generate_within(
        &self,
        caller: &Caller,
        request: GenerationRequest,
        id: String,
        depth: usize,
    ) -> Result<Generation, Error> {
        let pipeline = &self.pipeline;
        pipeline.metrics.check()?;
        let reservation = pipeline.tool_services.gate.admit(caller, &pipeline.worker.info().name, &id)?;
        self.run(caller, GenerationRequest { id: Some(id), ..request }, reservation, depth).await
    }

    async fn run(
        &self,
        caller: &Caller,
        request: GenerationRequest,
        reservation: Box<dyn Reservation>,
        depth: usize,
    ) -> Result<Generation, Error> {
        let pipeline = &self.pipeline;
        let started = pipeline.clock.now();
        let timeout = request.timeout.unwrap_or(limits::REQUEST_TIMEOUT_DEFAULT).min(limits::REQUEST_TIMEOUT_MAX);
        let until = started + timeout;
        let mut deadline = pipeline.clock.sleep(timeout).fuse();
        let mut usage_guard = UsageGuard::new(reservation);
        let opened = tokio::select! {
            biased;
            opened = self.open(caller, request, (started, until), depth) => opened,
            () = &mut deadline => Err(timed_out()),
        };
        match opened {
            Ok(opened) => Generation::start(Arc::clone(pipeline), opened, deadline, usage_guard).await,
            Err(error) => {
                usage_guard.refuse(&error);
                Err(error)
            }
        }
    }

    /// Checks a request, admits it, binds the caller's plugins and lists the tools of the tool source.
    async fn open(
        &self,
        caller: &Caller,
        request: GenerationRequest,
        (started, until): (Duration, Duration),
        depth: usize,
    ) -> Result<OpenedRequest, Error> {
        let pipeline = &self.pipeline;
        pipeline.metrics.check()?;
        let number = pipeline.requests.fetch_add(1, Ordering::Relaxed);
        let id = request.id.unwrap_or_else(|| format!("req_{number}"));
        let fresh_seed = u64::try_from(started.as_nanos()).unwrap_or(u64::MAX) ^ number.rotate_left(32);
        let sampling = request.sampling.resolve(pipeline.codec.defaults(), fresh_seed)?;
        let context = request.context_tokens_max.unwrap_or(usize::MAX).min(pipeline.context_tokens());
        let mut chat = request.chat;
        if matches!(request.prompt, Prompt::Chat(_)) {
            pipeline.reasoning.apply(&mut chat, &request.reasoning)?;
        }
        check_size(&request.prompt, &chat, &*pipeline.codec, context)?;
        let permit = match depth {
            0 => Some(pipeline.admission.admit(caller, until).await?),
            _ => None,
        };
        let request_id: Arc<str> = Arc::from(id.as_str());
        let model = pipeline.worker.info().name.clone();
        let info = RequestInfo { plugins: request.plugins, ..RequestInfo::new(id, model) };
        let info = RequestInfo { own_model: self.model_of(caller, &info, until, depth), ..info };
        let tools = Tools {
            hooks: Arc::from(pipeline.hooks.bind(caller, info).await?),
            caller: Arc::new(caller.clone()),
            request_id,
            source: pipeline.tool_services.source.clone(),
            approver: pipeline.tool_services.approver.clone(),
            schemas: Arc::clone(&pipeline.tool_services.schemas),
            clock: Arc::clone(&pipeline.clock),
        };
        let wants_tools = request.tools.rounds > 0 && request.tools.choice != ToolChoice::None;
        let source_tools = match &request.prompt {
            Prompt::Chat(_) if wants_tools => list_tools(&tools).await,
            Prompt::Chat(_) | Prompt::Text(_) => SourceTools::default(),
        };
        let (prompt, reasoning, options, grammar) = (request.prompt, request.reasoning, request.tools, request.grammar);
        Ok(OpenedRequest {
            tools,
            source_tools,
            prompt,
            chat,
            reasoning,
            context,
            sampling,
            grammar,
            options,
            permit,
            started,
            until,
        })
    }
    /// The model for the plugins of a request.
    fn model_of(&self, caller: &Caller, request: &RequestInfo, until: Duration, depth: usize) -> ModelHandle {
        ModelHandle::new(Arc::new(PluginModel {
            pipeline: Arc::downgrade(&self.pipeline),
            context_tokens: self.pipeline.context_tokens(),
            caller: caller.clone(),
            request: Arc::from(request.id.as_str()),
            plugins: request.plugins.clone(),
            until,
            depth,
            used: AtomicUsize::new(0),
            next: AtomicUsize::new(0),
            running: AsyncMutex::new(()),
        }))
    }
}
