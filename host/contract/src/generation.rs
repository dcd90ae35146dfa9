//! A request for text and the events it becomes.

use std::time::Duration;

use crate::chat::{ChatOptions, Message, ToolCall, ToolDefinition};
use crate::hook::{LogLine, PluginUse, ToolOutcome};
use crate::limits;
use crate::sampling::SamplingOverrides;
use crate::tool::{ToolChoice, ToolPolicy};

/// What a model is asked to go on with.
#[derive(Debug, Clone, PartialEq)]
pub enum Prompt {
    /// A conversation, rendered by the checkpoint's chat template; the last message is what is answered.
    Chat(Vec<Message>),
    /// Bare text, continued as it stands: no template, no tools.
    Text(String),
}

/// Ask a model for text.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerationRequest {
    /// What to go on with.
    pub prompt: Prompt,
    /// What it says to the chat template; bare text has none.
    pub chat: ChatOptions,
    /// What the caller set about sampling.
    pub sampling: SamplingOverrides,
    /// Tokens that prompt and answer may have together, where that is less than the model's context.
    pub context_tokens_max: Option<usize>,
    /// Which tools, and within what.
    pub tools: ToolOptions,
    /// Wall-clock time for everything, from admission to the last event; `None` leaves it to the engine's limit.
    pub timeout: Option<Duration>,
    /// Plugins beyond the caller's own chain.
    pub plugins: Vec<String>,
    /// The door's id for this request, unique in the process; the engine makes one where it is absent.
    pub id: Option<String>,
}

impl GenerationRequest {
    /// `prompt` with everything else as it is when nobody says anything.
    #[must_use]
    pub fn new(prompt: Prompt) -> Self {
        let (sampling, tools) = (SamplingOverrides::default(), ToolOptions::default());
        Self {
            prompt,
            chat: ChatOptions::DEFAULT,
            sampling,
            context_tokens_max: None,
            tools,
            timeout: None,
            plugins: Vec::new(),
            id: None,
        }
    }
}

/// Which tools a request has, and within what its tool loop runs.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolOptions {
    /// Most rounds of tool calls before the answer must come; 0 offers none of the host's tools.
    pub rounds: usize,
    /// Tools that the caller runs itself: a call of one ends the generation with [`FinishReason::ToolCalls`].
    pub client: Vec<ToolDefinition>,
    /// What the model must, may or must not call.
    pub choice: ToolChoice,
    /// Whether several calls in one turn are taken; otherwise the first is, and the model is told.
    pub parallel: bool,
    /// The operator's word about this caller.
    pub policy: ToolPolicy,
    /// The request's own word, which only tightens.
    pub tightened: ToolPolicy,
    /// Most calls in all rounds together.
    pub calls_max: usize,
}

impl Default for ToolOptions {
    fn default() -> Self {
        Self {
            rounds: limits::TOOL_ROUNDS_DEFAULT,
            client: Vec::new(),
            choice: ToolChoice::Auto,
            parallel: true,
            policy: ToolPolicy::ALLOW_ALL,
            tightened: ToolPolicy::ALLOW_ALL,
            calls_max: limits::TOOL_CALLS_MAX,
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
    /// `max_tokens` were made.
    Length,
    /// The context is full.
    ContextFull,
    /// The model called tools that the caller runs itself.
    ToolCalls,
    /// The model still called tools after the last allowed round.
    ToolRounds,
    /// The model made the same call over and over.
    ToolLoop,
    /// The request's time was up.
    Timeout,
    /// A plugin answered or ended it.
    Plugin,
    /// The caller stopped reading.
    Interrupted,
}

impl FinishReason {
    /// The stable name.
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

/// Tokens processed, over all rounds of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Tokens of all prompts, forced openings included as the tokenizer cuts them.
    pub prompt_tokens: usize,
    /// Of these, tokens whose keys and values were still there and did not have to be computed.
    pub cached_tokens: usize,
    /// Tokens the model made, but for those that only made a forced opening again.
    pub completion_tokens: usize,
}

/// Where the time went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timing {
    /// From the request's arrival to the first token of the first round.
    pub first_token: Duration,
    /// Time in prefill, all rounds.
    pub prefill: Duration,
    /// Time in decode, all rounds.
    pub decode: Duration,
    /// Steps of decode, all rounds (the first token of a round belongs to its prefill).
    pub decode_steps: usize,
    /// Everything, plugins and tools included.
    pub total: Duration,
}

/// The last event of a generation.
#[derive(Debug, Clone, PartialEq)]
pub struct Finish {
    /// Why it ended.
    pub reason: FinishReason,
    /// Tokens.
    pub usage: Usage,
    /// Times.
    pub timing: Timing,
    /// What the plugins used.
    pub plugins: Vec<PluginUse>,
    /// What this generation adds to the conversation: the assistant's turns and the tools' results, in order.
    pub messages: Vec<Message>,
}

/// What a generation emits, in order. Nothing follows `Finished`.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A piece of the answer; whole characters.
    Text(String),
    /// The model called a tool; told before it runs.
    ToolCall(ToolCall),
    /// The call waits for somebody's approval.
    ApprovalNeeded {
        /// The call's id.
        id: String,
    },
    /// The tool says how far it has come.
    ToolProgress {
        /// The call's id.
        id: String,
        /// How much is done.
        done: f64,
        /// Of how much, where it is known.
        total: Option<f64>,
        /// A word about it.
        message: Option<String>,
    },
    /// The tool answered.
    ToolResult {
        /// The call's id.
        id: String,
        /// What it answered, and what that cost.
        outcome: ToolOutcome,
    },
    /// A plugin logged something.
    Log(LogLine),
    /// The end.
    Finished(Finish),
}
