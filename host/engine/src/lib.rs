//! The road of a request, from admission to the last event. Command line and HTTP both end in
//! [`Engine::generate`].
//!
//! Invariant I3: this crate never touches a file, a socket or a clock that it was not given.

mod admission;
mod generation;
mod round;
mod sampler;
mod sequence;
mod stop;
#[cfg(test)]
mod tests;
pub mod toolcall;
mod tools;
mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use firebox_contract::{
    Approver, Caller, Chat, Clock, Error, Gate, GenerationRequest, HookSource, Hooks, Message, ModelInfo, Prompt,
    PromptVerdict, RequestInfo, Role, TextCodec, ToolDefinition, ToolSource, limits,
};

pub use generation::Generation;
pub use worker::ModelFactory;

use admission::Admission;
use generation::Start;
use worker::Worker;

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
    /// Requests at a time.
    pub in_flight_max: usize,
    /// Tokens of one prefill chunk.
    pub prefill_chunk: usize,
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
    admission: Admission,
    requests: AtomicU64,
}

impl Road {
    fn context_tokens(&self) -> usize {
        self.worker.info().context_tokens
    }
}

impl Engine {
    /// Starts the thread that owns the model and makes the model on it.
    ///
    /// # Errors
    /// Whatever `factory` fails with, and `Error::Internal` when the thread cannot start.
    pub async fn start(factory: ModelFactory, options: EngineOptions) -> Result<Self, Error> {
        let EngineOptions { codec, hooks, tools: _, gate: _, approver: _, clock, in_flight_max, prefill_chunk } =
            options;
        let worker = Worker::start(factory, Arc::clone(&clock), in_flight_max, prefill_chunk).await?;
        let admission = Admission::new(in_flight_max);
        Ok(Self { road: Arc::new(Road { worker, codec, hooks, clock, admission, requests: AtomicU64::new(0) }) })
    }

    /// What the model is.
    #[must_use]
    pub fn info(&self) -> &ModelInfo {
        self.road.worker.info()
    }

    /// How many tokens a conversation has as the model's own template renders it with these tools offered.
    ///
    /// # Errors
    /// `Error::Model` when the template or the tokenizer fails.
    pub fn count_tokens(&self, messages: &[Message], tools: &[ToolDefinition]) -> Result<usize, Error> {
        Ok(self.road.codec.encode_chat(Chat { messages, tools, prefix: "" })?.len())
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

    /// The whole road, in order. Everything before the first token that can refuse does so here; the rest comes
    /// out of the returned stream, and dropping that cancels the work.
    ///
    /// # Errors
    /// `Error::Limited` when there is no room, `Error::TooLarge` when the prompt does not fit, `Error::Usage` for values out of range,
    /// `Error::Fault` for a plugin, `Error::Model` for a template, tokenizer or dead model.
    pub async fn generate(&self, caller: &Caller, request: GenerationRequest) -> Result<Generation, Error> {
        let road = &self.road;
        let started = road.clock.now();
        let ticket = road.admission.admit()?;
        let number = road.requests.fetch_add(1, Ordering::Relaxed);
        let fresh_seed = u64::try_from(started.as_nanos()).unwrap_or(u64::MAX) ^ number.rotate_left(32);
        let sampling = request.sampling.resolve(road.codec.defaults(), fresh_seed)?;
        check_size(&request.prompt)?;
        let id = request.id.unwrap_or_else(|| format!("req_{number}"));
        let info = RequestInfo { id, model: road.worker.info().name.clone(), plugins: request.plugins };
        let mut hooks = road.hooks.bind(caller, info).await?;
        let (prompt, answer) = prompt_stage(request.prompt, hooks.as_mut()).await?;
        let start = Start {
            hooks,
            prompt,
            sampling,
            tool_rounds: request.tools.rounds,
            started,
            ticket,
            caller: caller.clone(),
        };
        let mut generation = Generation::new(Arc::clone(road), start);
        match answer {
            Some(text) => generation.respond(text),
            None => generation.begin_round().await?,
        }
        Ok(generation)
    }
}

fn check_size(prompt: &Prompt) -> Result<(), Error> {
    let (bytes, messages) = match prompt {
        Prompt::Chat(messages) => (messages.iter().map(|message| message.content.len()).sum(), messages.len()),
        Prompt::Text(text) => (text.len(), 1),
    };
    if bytes > limits::PROMPT_BYTES_MAX {
        return Err(Error::TooLarge(format!(
            "the prompt has {bytes} bytes, at most {} are allowed",
            limits::PROMPT_BYTES_MAX
        )));
    }
    if messages == 0 || bytes == 0 {
        return Err(Error::Usage("the prompt is empty; write a question".to_owned()));
    }
    if messages > limits::MESSAGES_MAX {
        let max = limits::MESSAGES_MAX;
        return Err(Error::TooLarge(format!("the conversation has {messages} messages, at most {max} are allowed")));
    }
    Ok(())
}

/// Runs the prompt stage. The second value is an answer that makes asking the model unnecessary. Bare text goes
/// through the stage as one user message and comes back as text.
async fn prompt_stage(prompt: Prompt, hooks: &mut dyn Hooks) -> Result<(Prompt, Option<String>), Error> {
    let (messages, bare) = match prompt {
        Prompt::Chat(messages) => (messages, false),
        Prompt::Text(text) => (vec![Message::text(Role::User, text)], true),
    };
    match hooks.process(messages).await? {
        PromptVerdict::Continue(messages) if bare => {
            let texts: Vec<String> = messages.into_iter().map(|message| message.content).collect();
            Ok((Prompt::Text(texts.join("\n")), None))
        }
        PromptVerdict::Continue(messages) => Ok((Prompt::Chat(messages), None)),
        PromptVerdict::Respond(answer) => Ok((Prompt::Chat(Vec::new()), Some(answer))),
        PromptVerdict::Refuse { plugin, message } => {
            Err(Error::Refused(format!("plugin \"{plugin}\" refused the prompt: {message}")))
        }
    }
}
