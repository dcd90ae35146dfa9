//! The prompt stage: each plugin of the chain may rewrite the messages, refuse them, or answer instead of the model.

mod conversation;
mod v1;

use std::sync::Arc;

use firebox_contract::{BoxFuture, Error, Message, PromptHook, PromptVerdict, RequestInfo, Stage, limits};
use wasmtime::Store;

use super::{GuestFuture, GuestReturn, StageVersion, return_limit, stage_missing};
use crate::chain::BoundChain;
use crate::instance::Instance;
use crate::instance::guest::GuestData;
use crate::instance::log::cut;

/// The input of a plugin at this stage.
#[derive(Debug, Clone)]
pub(crate) struct PromptRequest {
    pub(crate) info: RequestInfo,
    pub(crate) messages: Vec<Message>,
}

/// The decision of one plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum GuestPromptVerdict {
    /// Continue with the messages as they are.
    Unchanged,
    /// Continue with these messages.
    Replace(Vec<Message>),
    /// Do not ask the model; the text gives the reason.
    Refuse(String),
    /// Do not ask the model; the text is the answer.
    Respond(String),
}

impl GuestReturn for GuestPromptVerdict {
    fn bytes(&self) -> usize {
        match self {
            Self::Unchanged => 0,
            Self::Replace(messages) => messages.iter().map(size).sum(),
            Self::Refuse(text) | Self::Respond(text) => text.len(),
        }
    }

    fn limit(&self, stage: Stage) -> usize {
        // An answer of the plugin has the limit of the text stage, as an answer of the model does.
        return_limit(if matches!(self, Self::Respond(_)) { Stage::Text } else { stage })
    }
}

/// Bytes of a message: its text, and the memory of its parts.
fn size(message: &Message) -> usize {
    let optional = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let calls = message.tool_calls.iter();
    let calls: usize =
        calls.map(|call| size_of_val(call) + call.id.len() + call.name.len() + call.arguments_json.len()).sum();
    size_of_val(message) + message.content.len() + optional(&message.tool_call_id) + optional(&message.name) + calls
}

/// The functions of the interface `prompt`, in any version.
pub(crate) trait PromptCalls: Send + Sync {
    /// Decides about the messages before the model sees them.
    fn process<'a>(
        &'a self,
        store: &'a mut Store<GuestData>,
        request: Arc<PromptRequest>,
    ) -> GuestFuture<'a, GuestPromptVerdict>;
}

/// The supported versions, newest first.
pub(crate) const VERSIONS: &[StageVersion<dyn PromptCalls>] =
    &[StageVersion { interface: v1::INTERFACE, find: v1::find }];

impl PromptHook for BoundChain {
    fn process(&mut self, messages: Vec<Message>) -> BoxFuture<'_, Result<PromptVerdict, Error>> {
        Box::pin(process(&self.instances, &self.request, messages))
    }
}

/// Runs the stage over the chain. The first plugin that refuses or responds ends it.
async fn process(
    chain: &[Arc<Instance>],
    info: &RequestInfo,
    mut messages: Vec<Message>,
) -> Result<PromptVerdict, Error> {
    if chain.iter().any(|instance| instance.has(Stage::Prompt)) {
        // Plugins do not see `as_sent_json`, so it is removed: no text may reach the model without passing the plugins.
        messages.iter_mut().for_each(|message| message.as_sent_json = None);
    }
    let mut request = Arc::new(PromptRequest { info: info.clone(), messages });
    for instance in chain.iter().filter(|instance| instance.has(Stage::Prompt)) {
        let input = Arc::clone(&request);
        let processed = instance.attempt(Stage::Prompt, |calls, store| match &calls.prompt {
            Some(prompt) => prompt.process(store, input),
            None => stage_missing(),
        });
        match processed.await? {
            Err(_) | Ok((GuestPromptVerdict::Unchanged, _)) => {}
            Ok((GuestPromptVerdict::Replace(messages), usage)) => {
                match conversation::check(&request.messages, &messages) {
                    Ok(()) => request = Arc::new(PromptRequest { info: info.clone(), messages }),
                    Err(reason) => instance.reject(Stage::Prompt, reason, usage)?,
                }
            }
            Ok((GuestPromptVerdict::Refuse(message), _)) => {
                let message = cut(&message, limits::PLUGIN_ERROR_BYTES_MAX).to_owned();
                return Ok(PromptVerdict::Refuse { plugin: instance.name().to_owned(), message });
            }
            Ok((GuestPromptVerdict::Respond(answer), _)) => return Ok(PromptVerdict::Respond(answer)),
        }
    }
    Ok(PromptVerdict::Continue(Arc::unwrap_or_clone(request).messages))
}
