//! Where plugins touch a request. The engine calls these traits; the sandbox implements them; tests fake them.

use std::time::Duration;

use crate::BoxFuture;
use crate::caller::Caller;
use crate::chat::{Message, ToolCall, ToolDefinition};
use crate::error::Error;
use crate::fault::Stage;
use crate::tool::ToolContent;

/// What a plugin chain may know about the request it is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestInfo {
    /// Unique in this process.
    pub id: String,
    /// The model's name.
    pub model: String,
    /// Plugins the request asks for beyond its caller's own chain, in order; the hook source refuses what the
    /// caller may not add.
    pub plugins: Vec<String>,
}

/// What the prompt stage decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PromptVerdict {
    /// Go on with these messages (rewritten or not).
    Continue(Vec<Message>),
    /// Do not ask the model; the text tells the caller why.
    Refuse {
        /// The plugin that refused.
        plugin: String,
        /// Its reason.
        message: String,
    },
    /// Do not ask the model; this is the answer.
    Respond(String),
}

/// What the text stage decided about a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TextVerdict {
    /// Emit this text (possibly empty: the chain holds some back) and go on.
    Emit(String),
    /// Emit this text and end the answer.
    Stop(String),
}

/// What a tool answered. A tool's own error is an outcome that goes back to the model, not a fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolOutcome {
    /// The answer, or the error's text, as a model reads it.
    pub content: String,
    /// The same in pieces, for readers that can take more than text; empty where `content` is all there is.
    pub blocks: Vec<ToolContent>,
    /// Whether it is an error.
    pub is_error: bool,
    /// The plugin or server that ran it.
    pub provider: String,
    /// Fuel used by this call; 0 where the provider is not metered in fuel.
    pub fuel: u64,
    /// Peak linear memory of the instance, in bytes.
    pub memory_peak_bytes: u64,
    /// Wall-clock time of the call.
    pub elapsed: Duration,
}

/// What one plugin used at one stage, over a whole request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginUse {
    /// The plugin's name.
    pub plugin: String,
    /// The stage.
    pub stage: Stage,
    /// Guest calls made.
    pub calls: u64,
    /// Fuel used by them.
    pub fuel: u64,
    /// The most linear memory the instance had, in bytes.
    pub memory_peak_bytes: u64,
    /// Wall-clock time in the guest.
    pub elapsed: Duration,
}

/// A line a plugin logged (a panic message, for example).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// The plugin's name.
    pub plugin: String,
    /// `trace`, `debug`, `info`, `warn` or `error`.
    pub level: &'static str,
    /// The text, cut at `limits::PLUGIN_LOG_LINE_BYTES_MAX`.
    pub message: String,
}

/// The prompt stage: sees and may rewrite, answer or refuse the messages before the model does.
pub trait PromptHook {
    /// Called at most once per request, before anything is tokenized. Runs the chain in its configured order.
    fn process(&mut self, messages: Vec<Message>) -> BoxFuture<'_, Result<PromptVerdict, Error>>;
}

/// The text stage: sees the model's text as it streams. Called as `push* finish`, once per assistant turn.
pub trait TextHook {
    /// A chunk of whole characters; never empty.
    fn push(&mut self, chunk: String) -> BoxFuture<'_, Result<TextVerdict, Error>>;
    /// The turn's text is complete: returns what the chain still held back. Also called after `Stop`.
    fn finish(&mut self) -> BoxFuture<'_, Result<String, Error>>;
}

/// The tool stage: what the plugins offer to the model.
pub trait ToolHook {
    /// The tools, in chain order; names are unique.
    fn definitions(&self) -> &[ToolDefinition];
    /// Runs one call. `Err` is a fault or a tool that does not exist; a tool's own error is an outcome. Calls of
    /// different plugins may overlap; calls of one plugin wait for each other.
    fn call<'a>(&'a self, call: &'a ToolCall) -> BoxFuture<'a, Result<ToolOutcome, Error>>;
}

/// One request's plugin chain: instances made for it alone, gone when it is dropped.
pub trait Hooks: PromptHook + TextHook + ToolHook + Send + Sync {
    /// True when no plugin listens to text, so chunks need not be sent through the chain.
    fn text_is_idle(&self) -> bool;
    /// What every plugin used so far, by plugin and stage, in chain order; calls that still run are not in it.
    fn usage(&self) -> Vec<PluginUse>;
    /// What plugins logged since the last call.
    fn take_log(&self) -> Vec<LogLine>;
}

/// Makes a chain for a request.
pub trait HookSource: Send + Sync {
    /// Instantiates the caller's plugins, metered and granted.
    fn bind<'a>(&'a self, caller: &'a Caller, request: RequestInfo) -> BoxFuture<'a, Result<Box<dyn Hooks>, Error>>;
}
