//! The tool call stage: plugins see every call that the host runs, and its result.

use super::ToolOutcome;
use crate::BoxFuture;
use crate::chat::ToolCall;
use crate::error::Error;

/// The stage's decision about a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallVerdict {
    /// Run it with these arguments: the text of one JSON object. `None` if they are as they were.
    Run(Option<String>),
    /// Do not run it.
    Refuse {
        /// The plugin that refused.
        plugin: String,
        /// Its reason, for the model.
        message: String,
    },
}

/// The tool call stage: may rewrite or refuse the arguments and the results of calls, whoever offers the tool.
pub trait ToolCallHook {
    /// Whether no plugin has this stage.
    fn tool_calls_are_idle(&self) -> bool {
        true
    }

    /// Decides about a call, before it is approved.
    fn before_call<'a>(&'a self, call: &'a ToolCall) -> BoxFuture<'a, Result<CallVerdict, Error>> {
        let _ = call;
        Box::pin(std::future::ready(Ok(CallVerdict::Run(None))))
    }

    /// The result that the model reads, for a call that ran. A rewritten result keeps its provider and its cost.
    fn after_call<'a>(&'a self, call: &'a ToolCall, outcome: ToolOutcome) -> BoxFuture<'a, Result<ToolOutcome, Error>> {
        let _ = call;
        Box::pin(std::future::ready(Ok(outcome)))
    }
}
