//! The tool call stage before the calls of a round run: plugins may rewrite their arguments or refuse them.

use std::sync::Arc;

use firebox_contract::{BoxFuture, CallVerdict, Error, ToolCall};
use serde_json::Value;

use super::schema::SchemaVerdict;
use super::{Tools, arguments};

/// A call that the host would run.
pub(super) struct GuardedCall {
    /// Its index in the round.
    pub(super) at: usize,
    pub(super) call: ToolCall,
    /// The JSON Schema of its arguments.
    pub(super) schema_json: String,
}

/// What the stage changes about a call.
pub(super) enum GuardVerdict {
    /// It runs with these arguments: their text and their value.
    Rewritten(String, Value),
    /// It does not run. The reason is for the model.
    Refused(String),
}

/// The verdicts about calls, by index. Calls without a change are left out.
pub(super) type Guarding = BoxFuture<'static, Result<Vec<(usize, GuardVerdict)>, Error>>;

/// Asks the plugins about `calls`, one after the other. Rewritten arguments must fit the tool's schema.
///
/// # Errors
/// A plugin's fault.
pub(super) fn guard(tools: Tools, calls: Vec<GuardedCall>) -> Guarding {
    Box::pin(async move {
        let mut verdicts = Vec::new();
        for GuardedCall { at, call, schema_json } in calls {
            match tools.hooks.before_call(&call).await? {
                CallVerdict::Run(None) => {}
                CallVerdict::Run(Some(text)) => verdicts.push((at, rewritten(&tools, schema_json, text).await)),
                CallVerdict::Refuse { plugin, message } => {
                    let reason = format!("plugin \"{plugin}\" refused the call: {message}");
                    verdicts.push((at, GuardVerdict::Refused(reason)));
                }
            }
        }
        Ok(verdicts)
    })
}

async fn rewritten(tools: &Tools, schema_json: String, text: String) -> GuardVerdict {
    let refused = |reason: String| GuardVerdict::Refused(format!("a plugin rewrote the arguments, and {reason}"));
    let value = match arguments::read(&text) {
        Ok(value) => value,
        Err(reason) => return refused(reason),
    };
    let checked = Arc::clone(&tools.schemas).check(schema_json, value.clone(), Arc::clone(&tools.clock));
    match checked.await {
        SchemaVerdict::Fits => GuardVerdict::Rewritten(text, value),
        SchemaVerdict::Misfit(reason) | SchemaVerdict::Unusable(reason) => refused(reason),
    }
}
