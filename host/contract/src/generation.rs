//! A generation request, and the events of its answer.

pub mod grammar;
pub mod logprobs;
pub mod sampling;

use std::time::Duration;

use self::grammar::Grammar;
use self::logprobs::TokenLogprobs;
use self::sampling::SamplingOverrides;
use crate::chat::{ChatOptions, Message, ToolCall, ToolDefinition};
use crate::hook::{LogLine, PluginUse, ToolOutcome};
use crate::limits;
use crate::tool::{ToolChoice, ToolPolicy};

/// The prompt of a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Prompt {
    /// A conversation, rendered by the checkpoint's chat template. The model answers the last message.
    Chat(Vec<Message>),
    /// A text that the model continues, without template and tools.
    Text(String),
}

/// A request to a model for text.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerationRequest {
    /// The prompt.
    pub prompt: Prompt,
    /// Options for the chat template; without effect for a text prompt.
    pub chat: ChatOptions,
    /// Whether and how much the model reasons before it answers; without effect for a text prompt.
    pub reasoning: ReasoningOptions,
    /// The sampling parameters that the client set.
    pub sampling: SamplingOverrides,
    /// The form that the answer must have. A turn that calls tools has the form of calls instead.
    pub grammar: Option<Grammar>,
    /// Maximum number of tokens of prompt and answer together, if less than the model's context.
    pub context_tokens_max: Option<usize>,
    /// The tools and the limits of the tool rounds.
    pub tools: ToolOptions,
    /// Time limit of the whole request, from admission to the last event. The default is the engine's limit.
    pub timeout: Option<Duration>,
    /// Plugins in addition to the caller's own chain.
    pub plugins: Vec<String>,
    /// The request's id, unique in the process. The default is an id that the engine makes.
    pub id: Option<String>,
}

impl GenerationRequest {
    /// A request for `prompt` with defaults for everything else.
    #[must_use]
    pub fn new(prompt: Prompt) -> Self {
        let (sampling, tools) = (SamplingOverrides::default(), ToolOptions::default());
        Self {
            prompt,
            chat: ChatOptions::DEFAULT,
            reasoning: ReasoningOptions::default(),
            sampling,
            grammar: None,
            context_tokens_max: None,
            tools,
            timeout: None,
            plugins: Vec::new(),
            id: None,
        }
    }
}

/// The reasoning of a request. It has no effect on a model without reasoning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReasoningOptions {
    /// Whether the model reasons, by the switch of its chat template. `None` is the template's default.
    pub enabled: Option<bool>,
    /// Maximum number of reasoning tokens of one turn. Then the reasoning is closed and the answer begins.
    pub max_tokens: Option<usize>,
    /// Whether reasoning becomes events of its own. Otherwise it stays in the text with its marks.
    pub separate: bool,
}

impl Default for ReasoningOptions {
    fn default() -> Self {
        Self { enabled: None, max_tokens: None, separate: true }
    }
}

/// The tools of a request, and the limits of its tool rounds.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolOptions {
    /// Maximum number of tool rounds. 0 offers none of the host's tools.
    pub rounds: usize,
    /// Tools that the client runs. A call of one ends the generation with [`FinishReason::ToolCalls`].
    pub client: Vec<ToolDefinition>,
    /// Whether and what the model must call.
    pub choice: ToolChoice,
    /// Whether a turn may have several calls. Otherwise the first one runs and the others are refused.
    pub parallel: bool,
    /// The operator's policy for this caller.
    pub policy: ToolPolicy,
    /// The request's own policy, which can only be stricter.
    pub tightened: ToolPolicy,
    /// Names of tools of the client whose calls keep to their schema while they are written (`strict`).
    pub strict: Vec<String>,
    /// Maximum number of calls over all rounds.
    pub calls_max: usize,
    /// Whether calls of the client's tools are sent while the model writes them, as [`Event::ToolCallDelta`].
    pub stream_calls: bool,
    /// Calls of the host's tools that run before the first turn, as if the model had asked for them. They get new ids.
    pub first: Vec<ToolCall>,
}

impl Default for ToolOptions {
    fn default() -> Self {
        Self {
            rounds: limits::TOOL_ROUNDS_DEFAULT,
            client: Vec::new(),
            choice: ToolChoice::Auto,
            parallel: true,
            strict: Vec::new(),
            policy: ToolPolicy::ALLOW_ALL,
            tightened: ToolPolicy::ALLOW_ALL,
            calls_max: limits::TOOL_CALLS_MAX,
            stream_calls: false,
            first: Vec::new(),
        }
    }
}

/// Why a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FinishReason {
    /// The model ended its answer.
    Stop,
    /// A stop string appeared.
    StopString,
    /// The answer has `max_tokens` tokens.
    Length,
    /// The context is full.
    ContextFull,
    /// The model called tools that the client runs.
    ToolCalls,
    /// The model called tools after the last tool round.
    ToolRounds,
    /// The model repeated the same call.
    ToolLoop,
    /// The request's time was up.
    Timeout,
    /// A plugin gave or ended the answer.
    Plugin,
    /// The client stopped reading.
    Interrupted,
}

impl FinishReason {
    /// Its stable name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::StopString => "stop_string",
            Self::Length => "length",
            Self::ContextFull => "context_full",
            Self::ToolCalls => "tool_calls",
            Self::ToolRounds => "tool_rounds",
            Self::ToolLoop => "tool_loop",
            Self::Timeout => "timeout",
            Self::Plugin => "plugin",
            Self::Interrupted => "interrupted",
        }
    }
}

/// Tokens of one request, over all its turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Tokens of all prompts, including forced openings.
    pub prompt_tokens: usize,
    /// Prompt tokens that came from the prefix cache and were not computed.
    pub cached_tokens: usize,
    /// Tokens of all answers, with their reasoning and without those of token healing.
    pub completion_tokens: usize,
    /// Answer tokens that were reasoning.
    pub reasoning_tokens: usize,
}

/// The times of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timing {
    /// From the arrival of the request to its first token.
    pub first_token: Duration,
    /// Time in prefill, over all turns. It includes the wait for the first step.
    pub prefill: Duration,
    /// Time in decode, over all turns.
    pub decode: Duration,
    /// Decode steps, over all turns. The first token of a turn belongs to its prefill.
    pub decode_steps: usize,
    /// Time of the whole request, including plugins and tools.
    pub total: Duration,
}

/// The last event of a generation.
#[derive(Debug, Clone, PartialEq)]
pub struct Finish {
    /// Why it ended.
    pub reason: FinishReason,
    /// Its tokens.
    pub usage: Usage,
    /// Its times.
    pub timing: Timing,
    /// The use of plugins, by plugin and stage.
    pub plugins: Vec<PluginUse>,
    /// The messages that it adds to the conversation: assistant messages and tool results, in order.
    pub messages: Vec<Message>,
}

/// An event of a generation. `Finished` is the last one.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A piece of the model's reasoning before its answer, with whole characters. Requests with plugins of the text stage
    /// get none, because the plugins do not see it.
    Reasoning(String),
    /// The probability of the next token of the answer, if the request asks for it. It comes before the text of the token.
    /// Tokens of the reasoning have none. Requests with plugins of the text stage get none.
    Logprobs(TokenLogprobs),
    /// A piece of the answer, with whole characters.
    Text(String),
    /// The next part of the arguments of a call that the client runs, if the request wants calls to be streamed. All parts
    /// of a call together are its arguments. [`Event::ToolCall`] follows when the turn has ended. If the model makes a
    /// mistake after the first part, the call is delivered as it was written.
    ToolCallDelta {
        /// The call's id.
        id: String,
        /// The tool's name, in the first part.
        name: Option<String>,
        /// The text of the part.
        arguments: String,
    },
    /// The model called a tool. The event comes before the call runs.
    ToolCall(ToolCall),
    /// The call waits for approval.
    ApprovalNeeded {
        /// The call's id.
        id: String,
    },
    /// The tool reported progress.
    ToolProgress {
        /// The call's id.
        id: String,
        /// The amount that is done.
        done: f64,
        /// The total amount, if it is known.
        total: Option<f64>,
        /// A message of the tool.
        message: Option<String>,
    },
    /// The call ended.
    ToolResult {
        /// The call's id.
        id: String,
        /// Its result.
        outcome: ToolOutcome,
    },
    /// A log line of a plugin or of the engine.
    Log(LogLine),
    /// The last event.
    Finished(Finish),
}
