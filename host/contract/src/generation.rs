//! A request for text and the events it becomes.

use std::time::Duration;

use crate::chat::{Message, ToolCall};
use crate::hook::{LogLine, PluginUse, ToolOutcome};
use crate::sampling::SamplingOverrides;

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
    /// What the caller set about sampling.
    pub sampling: SamplingOverrides,
    /// Most rounds of tool calls before the answer must come; 0 offers no tools.
    pub tool_rounds: usize,
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
    /// The model still called tools after the last allowed round.
    ToolRounds,
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
            Self::ToolRounds => "tool_rounds",
            Self::Plugin => "plugin",
            Self::Interrupted => "interrupted",
        }
    }
}

/// Tokens processed, over all rounds of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Tokens of all prompts.
    pub prompt_tokens: usize,
    /// Tokens the model made.
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
}

/// What a generation emits, in order. Nothing follows `Finished`.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A piece of the answer; whole characters.
    Text(String),
    /// The model called a tool.
    ToolCall(ToolCall),
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
