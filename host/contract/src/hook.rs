//! The stages of a request at which plugins run. The engine calls these traits, and the sandbox implements them. The
//! functions of most stages have a default for hooks without that stage.

pub mod embedding;
pub mod model;
pub mod token;
pub mod tool_call;

use std::time::Duration;

use self::embedding::EmbeddingHook;
use self::model::ModelHandle;
use self::token::TokenHook;
use self::tool_call::ToolCallHook;
use crate::BoxFuture;
use crate::caller::Caller;
use crate::chat::{Message, ToolCall, ToolDefinition};
use crate::error::Error;
use crate::error::fault::Stage;
use crate::generation::sampling::Sampling;
use crate::tool::ToolContent;

/// What a plugin chain knows about its request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestInfo {
    /// Unique in this process.
    pub id: String,
    /// The model's name.
    pub model: String,
    /// Plugins that the request asks for in addition to its caller's chain, in order. The hook source refuses those that
    /// the caller may not add.
    pub plugins: Vec<String>,
    /// The model that serves the request, for plugins that were granted it.
    pub own_model: ModelHandle,
}

impl RequestInfo {
    /// A request with this id at `model`, without added plugins. Its plugins cannot use the model.
    #[must_use]
    pub fn new(id: impl Into<String>, model: impl Into<String>) -> Self {
        Self { id: id.into(), model: model.into(), plugins: Vec::new(), own_model: ModelHandle::default() }
    }
}

/// The result of the prompt stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PromptVerdict {
    /// Continue with these messages, which may be rewritten.
    Continue(Vec<Message>),
    /// Do not ask the model and fail the request.
    Refuse {
        /// The plugin that refused.
        plugin: String,
        /// Its reason, for the client.
        message: String,
    },
    /// Do not ask the model and answer with this text.
    Respond(String),
}

/// The result of the text stage for a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TextVerdict {
    /// Emit this text and continue. It is empty if the chain holds text back.
    Emit(String),
    /// Emit this text and end the answer.
    Stop(String),
}

/// The result of a tool call. A tool's own error is an outcome that the model reads, and no fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolOutcome {
    /// The result or the error as text, for the model.
    pub content: String,
    /// The result in blocks, for readers that use more than text. Empty if `content` is the whole result.
    pub blocks: Vec<ToolContent>,
    /// Whether the call failed.
    pub is_error: bool,
    /// The plugin or MCP server that ran the call.
    pub provider: String,
    /// Fuel that the call used; 0 if the provider is not metered in fuel.
    pub fuel: u64,
    /// Peak linear memory of the instance, in bytes.
    pub memory_peak_bytes: u64,
    /// Wall-clock time of the call.
    pub elapsed: Duration,
}

impl ToolOutcome {
    /// A successful result with text only and without measured cost.
    #[must_use]
    pub fn ok(provider: impl Into<String>, content: impl Into<String>) -> Self {
        Self {
            content: content.into(),
            blocks: Vec::new(),
            is_error: false,
            provider: provider.into(),
            fuel: 0,
            memory_peak_bytes: 0,
            elapsed: Duration::ZERO,
        }
    }

    /// A failed call, with the error text as the tool wrote it.
    #[must_use]
    pub fn error(provider: impl Into<String>, content: impl Into<String>) -> Self {
        Self { is_error: true, ..Self::ok(provider, content) }
    }

    /// A call that did not run or did not end, for this reason. The model reads `error: ` and the reason.
    #[must_use]
    pub fn refused(provider: impl Into<String>, reason: &str) -> Self {
        Self::error(provider, format!("error: {reason}"))
    }
}

/// The use of one plugin at one stage, over a whole request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginUse {
    /// The plugin's name.
    pub plugin: String,
    /// The stage.
    pub stage: Stage,
    /// Number of plugin calls.
    pub calls: u64,
    /// Fuel that the calls used.
    pub fuel: u64,
    /// Peak linear memory of the instance, in bytes.
    pub memory_peak_bytes: u64,
    /// Wall-clock time of the calls.
    pub elapsed: Duration,
    /// Tokens of the answers and vectors that the calls got of the model. They are charged to the tenant as requests of their own,
    /// so they are no part of the request's usage.
    pub model_tokens: u64,
}

/// A log line of a plugin, such as a panic message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// The plugin's name.
    pub plugin: String,
    /// `trace`, `debug`, `info`, `warn` or `error`.
    pub level: &'static str,
    /// The text, cut to `limits::PLUGIN_LOG_LINE_BYTES_MAX`.
    pub message: String,
}

/// The prompt stage: may rewrite, answer or refuse the messages before the model gets them.
pub trait PromptHook {
    /// Runs the chain in its configured order. It is called at most once per request, before the prompt is tokenized.
    fn process(&mut self, messages: Vec<Message>) -> BoxFuture<'_, Result<PromptVerdict, Error>>;

    /// As [`PromptHook::process`], for an answer that is sampled with `sampling`, which plugins may change.
    fn process_sampled<'a>(
        &'a mut self,
        messages: Vec<Message>,
        sampling: &'a mut Sampling,
    ) -> BoxFuture<'a, Result<PromptVerdict, Error>> {
        let _ = sampling;
        self.process(messages)
    }
}

/// The text stage: may rewrite or end the model's text while it is streamed. For each assistant turn `push` is called any
/// number of times, then `finish`.
pub trait TextHook {
    /// Runs the chain on a chunk, which has whole characters and is not empty.
    fn push(&mut self, chunk: String) -> BoxFuture<'_, Result<TextVerdict, Error>>;
    /// Ends the turn and returns the text that the chain holds back. It is also called after `Stop`.
    fn finish(&mut self) -> BoxFuture<'_, Result<String, Error>>;
}

/// The tool stage: the tools that plugins offer to the model.
pub trait ToolHook {
    /// The tools in the order of the chain. Names are unique.
    fn definitions(&self) -> &[ToolDefinition];
    /// Runs a call. Calls of different plugins may run in parallel; calls of one plugin run one after the other. A fault
    /// and an unknown tool are errors; a tool's own error is an outcome.
    fn call<'a>(&'a self, call: &'a ToolCall) -> BoxFuture<'a, Result<ToolOutcome, Error>>;
}

/// The plugin chain of one request, with instances of its own. Dropping it drops the instances.
pub trait Hooks: PromptHook + TokenHook + TextHook + ToolCallHook + ToolHook + EmbeddingHook + Send + Sync {
    /// Whether no plugin has a text stage, so that chunks need not go through the chain.
    fn text_is_idle(&self) -> bool;
    /// The use so far, by plugin and stage, in the order of the chain. Running calls are not included.
    fn usage(&self) -> Vec<PluginUse>;
    /// The log lines since the last call.
    fn take_log(&self) -> Vec<LogLine>;
}

/// Makes the plugin chain of each request.
pub trait HookSource: Send + Sync {
    /// Instantiates the caller's plugins with their limits and grants.
    fn bind<'a>(&'a self, caller: &'a Caller, request: RequestInfo) -> BoxFuture<'a, Result<Box<dyn Hooks>, Error>>;
}
