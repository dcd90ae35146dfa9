//! The road of a request, from admission to the last event. Command line and HTTP both end in
//! [`Engine::generate`].
//!
//! Invariant I3: this crate never touches a file, a socket or a clock that it was not given.

mod admission;
mod arguments;
mod bill;
mod encoding;
mod fair;
mod generation;
mod healing;
mod house;
mod keeper;
mod permits;
mod prefix;
mod ranking;
mod round;
mod sampler;
mod schedule;
mod schema;
mod sequence;
mod status;
mod stop;
#[cfg(test)]
mod tests;
pub mod toolcall;
mod tools;
mod turns;
mod warmup;
mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use firebox_contract::{
    Approver, Caller, Chat, Clock, DeliveryTracker, Error, Gate, GenerationRequest, HookSource, ModelInfo, Prompt,
    RequestInfo, Reservation, TextCodec, TokenCount, ToolChoice, ToolDefinition, ToolSource, limits,
};
use futures_util::FutureExt;
use tokio::runtime::Handle;

pub use admission::{Admission, Rules as AdmissionRules, Ticket as AdmissionPermit};
pub use arguments::{ArgumentCheck, check_schema};
pub use encoding::{prompt_bytes, question_bytes};
pub use fair::FairClock;
pub use generation::Generation;
pub use keeper::ModelFactory;
pub use permits::{TenantPermit, TenantPermits};
pub use status::{EngineCounters, EngineStatus};

use admission::Rules;
use bill::Bill;
use encoding::check_size;
use generation::{Listed, Open, Start, list_tools, too_late};
use schema::Schemas;
use status::Meter;
use tools::Tools;
use worker::{Worker, WorkerOptions};

/// What an engine is built from. No default: who starts one decides all of it.
pub struct EngineOptions {
    /// Text to tokens and back.
    pub codec: Arc<dyn TextCodec>,
    /// Makes a plugin chain for each request.
    pub hooks: Arc<dyn HookSource>,
    /// Tools beyond the plugins: MCP servers.
    pub tools: Option<Arc<dyn ToolSource>>,
    /// What callers may use.
    pub gate: Arc<dyn Gate>,
    /// Who is asked about calls that a policy wants approved; where there is nobody, such calls are declined.
    pub approver: Option<Arc<dyn Approver>>,
    /// The clock for deadlines and timings.
    pub clock: Arc<dyn Clock>,
    /// Counts tokens on their way to a client, so that threads which compute yield when one is late.
    pub deliveries: Arc<dyn DeliveryTracker>,
    /// Runs what takes a thread for a while, such as tokenizing a long prompt, on its threads for blocking work.
    pub threads: Handle,
    /// Requests at a time; a few more run where a tenant would otherwise have none (`limits::IN_FLIGHT_RESERVED`).
    pub in_flight_max: usize,
    /// Tokens of one prefill chunk.
    pub prefill_chunk: usize,
    /// Whether the model runs before the first request, so that nobody waits for what only its first passes do.
    pub warm_up: bool,
}

/// One model and the road to it. Cheap to share by reference; dropping it joins the model's thread.
pub struct Engine {
    road: Arc<Road>,
}

/// What every request on the road shares.
pub(crate) struct Road {
    worker: Worker,
    codec: Arc<dyn TextCodec>,
    hooks: Arc<dyn HookSource>,
    clock: Arc<dyn Clock>,
    deliveries: Arc<dyn DeliveryTracker>,
    admission: Admission,
    meter: Arc<Meter>,
    requests: AtomicU64,
    agent: Agent,
    /// For prompts that are tokenized on threads for blocking work.
    encodings: TenantPermits,
}

/// What the tool loop of every request shares.
struct Agent {
    tools: Option<Arc<dyn ToolSource>>,
    gate: Arc<dyn Gate>,
    approver: Option<Arc<dyn Approver>>,
    schemas: Arc<Schemas>,
}

impl Road {
    fn context_tokens(&self) -> usize {
        self.worker.info().context_tokens
    }

    /// Whose tools take much of the context, for the message about a prompt that is too long.
    fn explain_tools(&self, caller: &Caller, offered: &[ToolDefinition]) -> Option<String> {
        let providers = self.agent.tools.as_ref().map(|source| source.providers(caller)).unwrap_or_default();
        tools::explain_size(&*self.codec, offered, &providers, self.context_tokens())
    }

    fn fresh_id(&self) -> String {
        format!("req_{}", self.requests.fetch_add(1, Ordering::Relaxed))
    }
}

impl Engine {
    /// Starts the thread that owns the model and makes the model on it.
    ///
    /// # Errors
    /// Whatever `factory` fails with, and `Error::Internal` when the thread cannot start.
    pub async fn start(factory: ModelFactory, options: EngineOptions) -> Result<Self, Error> {
        let EngineOptions {
            codec,
            hooks,
            tools,
            gate,
            approver,
            clock,
            deliveries,
            threads,
            in_flight_max,
            prefill_chunk,
            warm_up,
        } = options;
        let agent = Agent { tools, gate, approver, schemas: Arc::default() };
        let meter = Arc::new(Meter::new());
        let rules = Rules {
            running_max: in_flight_max,
            reserved: limits::IN_FLIGHT_RESERVED.min(in_flight_max),
            waiting_max: limits::WAITING_MAX,
            wait_max: limits::WAITING_TIME_MAX,
        };
        let admission = Admission::new(rules, Arc::clone(&clock), Arc::clone(&meter));
        let capacity = rules.running_max + rules.reserved;
        let worker_options =
            WorkerOptions { clock: Arc::clone(&clock), meter: Arc::clone(&meter), capacity, prefill_chunk, warm_up };
        let worker = Worker::start(factory, worker_options).await?;
        let requests = AtomicU64::new(0);
        let encodings = TenantPermits::new(limits::TOKENIZE_PARALLEL, threads);
        Ok(Self {
            road: Arc::new(Road {
                worker,
                codec,
                hooks,
                clock,
                deliveries,
                admission,
                meter,
                requests,
                agent,
                encodings,
            }),
        })
    }

    /// Whether it can answer.
    #[must_use]
    pub fn status(&self) -> EngineStatus {
        self.road.meter.status()
    }

    /// What it has done and what it does now.
    #[must_use]
    pub fn counters(&self) -> EngineCounters {
        self.road.meter.counters()
    }

    /// Ends the engine: refuses new requests and those that wait with `Error::Unavailable`, lets running ones end
    /// until `time` has passed, cuts off the rest and joins the model's thread. How many were cut off. A second call
    /// with less time cuts off sooner.
    pub async fn close(&self, time: Duration) -> usize {
        let cut = self.road.admission.close(time).await;
        self.road.worker.stop().await;
        cut
    }

    /// What the model is.
    #[must_use]
    pub fn info(&self) -> &ModelInfo {
        self.road.worker.info()
    }

    /// How many tokens a conversation has as the model's own template renders it. Where it has far
    /// more than `max`, that it has at least some number above it.
    ///
    /// # Errors
    /// `Error::Model` when the template or the tokenizer fails.
    pub fn count_tokens(&self, chat: Chat<'_>, max: usize) -> Result<TokenCount, Error> {
        Ok(self.road.codec.encode_chat_within(chat, max)?.count())
    }

    /// Runs `work` on texts of a tenant, such as counting their tokens, on a thread for blocking work under the same permits
    /// as tokenizing prompts.
    ///
    /// # Errors
    /// `Error::Internal` when it panics.
    pub async fn run_blocking<T: Send + 'static>(
        &self,
        caller: &Caller,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        self.road.encodings.run(&caller.tenant, work).await
    }

    /// The tools that the plugins offer in this caller's requests.
    ///
    /// # Errors
    /// As binding the caller's plugins for a request fails.
    pub async fn plugin_tools(&self, caller: &Caller) -> Result<Vec<ToolDefinition>, Error> {
        let model = self.road.worker.info().name.clone();
        let info = RequestInfo { id: "tools".to_owned(), model, plugins: Vec::new() };
        Ok(self.road.hooks.bind(caller, info).await?.definitions().to_vec())
    }

    /// The tools beyond the plugins that this caller's requests are offered; none where their list does not come in
    /// time.
    pub async fn source_tools(&self, caller: &Caller) -> Vec<ToolDefinition> {
        let Some(source) = &self.road.agent.tools else { return Vec::new() };
        tokio::select! {
            tools = source.tools(caller) => tools,
            () = self.road.clock.sleep(limits::TOOL_LIST_WAIT) => Vec::new(),
        }
    }

    /// The whole road, in order. Everything before the first token that can refuse does so here; the rest comes
    /// out of the returned stream, and dropping that cancels the work.
    ///
    /// # Errors
    /// `Error::Limited` when no turn came or a quota is used up, `Error::Denied` when the caller may not use this model,
    /// `Error::Unavailable` while there is no model or the engine closes, `Error::TooLarge` when the prompt does not
    /// fit, `Error::Usage` for values out of range and tools that cannot be meant, `Error::Timeout` when the time was up
    /// before the first token, `Error::Fault` for a plugin, `Error::Model` for a template, tokenizer or dead model.
    pub async fn generate(&self, caller: &Caller, request: GenerationRequest) -> Result<Generation, Error> {
        let road = &self.road;
        road.meter.check()?;
        let id = request.id.clone().unwrap_or_else(|| road.fresh_id());
        let account = road.agent.gate.admit(caller, &road.worker.info().name, &id)?;
        self.generate_on(caller, GenerationRequest { id: Some(id), ..request }, account).await
    }

    /// As [`Engine::generate`], on an account that was opened for this request; it is settled on every path.
    ///
    /// # Errors
    /// As there.
    pub async fn generate_on(
        &self,
        caller: &Caller,
        request: GenerationRequest,
        account: Box<dyn Reservation>,
    ) -> Result<Generation, Error> {
        let road = &self.road;
        let started = road.clock.now();
        let timeout = request.timeout.unwrap_or(limits::REQUEST_TIMEOUT_DEFAULT).min(limits::REQUEST_TIMEOUT_MAX);
        let until = started + timeout;
        let mut deadline = road.clock.sleep(timeout).fuse();
        let mut bill = Bill::new(account);
        let opened = tokio::select! {
            biased;
            opened = self.open(caller, request, (started, until)) => opened,
            () = &mut deadline => Err(too_late()),
        };
        let (open, listed) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                bill.refuse(&error);
                return Err(error);
            }
        };
        let mut generation = Generation::new(Arc::clone(road), Start { open, started, until, deadline, bill });
        match generation.begin(listed).await {
            Ok(()) => Ok(generation),
            Err(error) => {
                generation.fail(error.clone());
                Err(error)
            }
        }
    }

    /// A place on the road, checked values, the caller's plugins, and the tools beyond them.
    async fn open(
        &self,
        caller: &Caller,
        request: GenerationRequest,
        (started, until): (Duration, Duration),
    ) -> Result<(Open, Listed), Error> {
        let road = &self.road;
        road.meter.check()?;
        let number = road.requests.fetch_add(1, Ordering::Relaxed);
        let id = request.id.unwrap_or_else(|| format!("req_{number}"));
        let fresh_seed = u64::try_from(started.as_nanos()).unwrap_or(u64::MAX) ^ number.rotate_left(32);
        let sampling = request.sampling.resolve(road.codec.defaults(), fresh_seed)?;
        let context = request.context_tokens_max.unwrap_or(usize::MAX).min(road.context_tokens());
        check_size(&request.prompt, &request.chat, &*road.codec, context)?;
        let ticket = road.admission.admit(caller, until).await?;
        let request_id: Arc<str> = Arc::from(id.as_str());
        let info = RequestInfo { id, model: road.worker.info().name.clone(), plugins: request.plugins };
        let tools = Tools {
            hooks: Arc::from(road.hooks.bind(caller, info).await?),
            caller: Arc::new(caller.clone()),
            request_id,
            source: road.agent.tools.clone(),
            approver: road.agent.approver.clone(),
            schemas: Arc::clone(&road.agent.schemas),
            clock: Arc::clone(&road.clock),
        };
        let wanted = request.tools.rounds > 0 && request.tools.choice != ToolChoice::None;
        let listed = match &request.prompt {
            Prompt::Chat(_) if wanted => list_tools(&tools).await,
            Prompt::Chat(_) | Prompt::Text(_) => Listed::default(),
        };
        let (prompt, chat, options) = (request.prompt, request.chat, request.tools);
        Ok((Open { tools, prompt, chat, context, sampling, options, ticket }, listed))
    }
}
