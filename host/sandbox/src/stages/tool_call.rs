//! The tool call stage: each plugin of the chain sees every call that the host runs, and its result, whoever offers the tool.

mod v1;

use std::sync::Arc;

use firebox_contract::{BoxFuture, CallVerdict, Error, Stage, ToolCall, ToolCallHook, ToolOutcome, limits};
use wasmtime::Store;

use super::{GuestFuture, GuestReturn, StageVersion, stage_missing};
use crate::chain::BoundChain;
use crate::instance::Instance;
use crate::instance::guest::GuestData;
use crate::instance::log::cut;

/// The decision of one plugin about a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum GuestCallVerdict {
    /// Run it as it is.
    Unchanged,
    /// Run it with these arguments, the text of one JSON object.
    Rewrite(String),
    /// Do not run it; the text gives the reason.
    Refuse(String),
}

/// The decision of one plugin about a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum GuestOutcomeVerdict {
    /// The result stays as it is.
    Unchanged,
    /// The model reads this instead.
    Rewrite(SeenOutcome),
    /// The model reads an error with this reason instead.
    Refuse(String),
}

/// A result as plugins see it: its text for the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SeenOutcome {
    pub(crate) content: String,
    pub(crate) is_error: bool,
}

impl GuestReturn for GuestCallVerdict {
    fn bytes(&self) -> usize {
        match self {
            Self::Unchanged => 0,
            Self::Rewrite(text) | Self::Refuse(text) => text.len(),
        }
    }

    fn each_text(&self, see: &mut dyn FnMut(&[u8])) {
        if let Self::Rewrite(text) | Self::Refuse(text) = self {
            see(text.as_bytes());
        }
    }
}

impl GuestReturn for GuestOutcomeVerdict {
    fn bytes(&self) -> usize {
        match self {
            Self::Unchanged => 0,
            Self::Rewrite(SeenOutcome { content: text, .. }) | Self::Refuse(text) => text.len(),
        }
    }

    fn each_text(&self, see: &mut dyn FnMut(&[u8])) {
        if let Self::Rewrite(SeenOutcome { content: text, .. }) | Self::Refuse(text) = self {
            see(text.as_bytes());
        }
    }
}

/// The functions of the interface `tool-call`, in any version.
pub(crate) trait ToolCallCalls: Send + Sync {
    /// Decides about a call.
    fn before<'a>(&'a self, store: &'a mut Store<GuestData>, call: Arc<ToolCall>) -> GuestFuture<'a, GuestCallVerdict>;
    /// Decides about the result of a call.
    fn after<'a>(
        &'a self,
        store: &'a mut Store<GuestData>,
        call: Arc<ToolCall>,
        outcome: SeenOutcome,
    ) -> GuestFuture<'a, GuestOutcomeVerdict>;
}

/// The supported versions, newest first.
pub(crate) const VERSIONS: &[StageVersion<dyn ToolCallCalls>] =
    &[StageVersion { interface: v1::INTERFACE, find: v1::find }];

impl ToolCallHook for BoundChain {
    fn tool_calls_are_idle(&self) -> bool {
        !self.instances.iter().any(|instance| instance.has(Stage::ToolCall))
    }

    fn before_call<'a>(&'a self, call: &'a ToolCall) -> BoxFuture<'a, Result<CallVerdict, Error>> {
        Box::pin(before(&self.instances, call))
    }

    fn after_call<'a>(&'a self, call: &'a ToolCall, outcome: ToolOutcome) -> BoxFuture<'a, Result<ToolOutcome, Error>> {
        Box::pin(after(&self.instances, call, outcome))
    }
}

fn guards(chain: &[Arc<Instance>]) -> impl DoubleEndedIterator<Item = &Arc<Instance>> {
    chain.iter().filter(|instance| instance.has(Stage::ToolCall))
}

/// Runs the stage over the chain. The first plugin that refuses ends it.
async fn before(chain: &[Arc<Instance>], call: &ToolCall) -> Result<CallVerdict, Error> {
    let mut call = Arc::new(call.clone());
    let mut rewritten = false;
    for instance in guards(chain) {
        let input = Arc::clone(&call);
        let decided = instance.attempt(Stage::ToolCall, |calls, store| match &calls.tool_call {
            Some(stage) => stage.before(store, input),
            None => stage_missing(),
        });
        match decided.await? {
            Err(_) | Ok((GuestCallVerdict::Unchanged, _)) => {}
            Ok((GuestCallVerdict::Rewrite(arguments_json), usage)) => match check_arguments(&arguments_json) {
                Ok(()) => {
                    call = Arc::new(ToolCall { arguments_json, ..ToolCall::clone(&call) });
                    rewritten = true;
                }
                Err(reason) => instance.reject(Stage::ToolCall, reason, usage)?,
            },
            Ok((GuestCallVerdict::Refuse(reason), _)) => {
                let message = cut(&reason, limits::PLUGIN_ERROR_BYTES_MAX).to_owned();
                return Ok(CallVerdict::Refuse { plugin: instance.name().to_owned(), message });
            }
        }
    }
    Ok(CallVerdict::Run(rewritten.then(|| call.arguments_json.clone())))
}

fn check_arguments(json: &str) -> Result<(), String> {
    if json.len() > limits::TOOL_ARGUMENTS_BYTES_MAX {
        return Err(format!("it returned arguments of more than {} bytes", limits::TOOL_ARGUMENTS_BYTES_MAX));
    }
    match serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(json) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("it returned arguments that are not one JSON object: {error}")),
    }
}

/// Runs the stage over the chain, the last plugin first: the plugin nearest to the tool sees what the tool returned.
async fn after(chain: &[Arc<Instance>], call: &ToolCall, mut outcome: ToolOutcome) -> Result<ToolOutcome, Error> {
    let call = Arc::new(call.clone());
    for instance in guards(chain).rev() {
        let input = Arc::clone(&call);
        let seen = SeenOutcome { content: outcome.content.clone(), is_error: outcome.is_error };
        let decided = instance.attempt(Stage::ToolCall, |calls, store| match &calls.tool_call {
            Some(stage) => stage.after(store, input, seen),
            None => stage_missing(),
        });
        let (content, is_error) = match decided.await? {
            Err(_) | Ok((GuestOutcomeVerdict::Unchanged, _)) => continue,
            Ok((GuestOutcomeVerdict::Rewrite(new), _)) => (new.content, new.is_error),
            Ok((GuestOutcomeVerdict::Refuse(reason), _)) => {
                let reason = cut(&reason, limits::PLUGIN_ERROR_BYTES_MAX);
                (format!("error: plugin \"{}\" refused the result: {reason}", instance.name()), true)
            }
        };
        outcome = ToolOutcome { content, is_error, blocks: Vec::new(), ..outcome };
    }
    Ok(outcome)
}
