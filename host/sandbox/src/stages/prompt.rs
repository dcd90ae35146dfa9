//! The prompt stage: each plugin in turn may rewrite the messages, refuse them, or answer in the model's place.

mod conversation;
mod v1;

use std::sync::Arc;

use firebox_contract::{Error, Message, PromptVerdict, RequestInfo, Stage, limits};
use wasmtime::Store;

use super::{GuestFuture, Returned, Version, absent, limit_of};
use crate::guest::GuestData;
use crate::instance::Instance;
use crate::log::cut;

/// What a plugin of this stage sees.
#[derive(Debug, Clone)]
pub(crate) struct PromptRequest {
    pub(crate) info: RequestInfo,
    pub(crate) messages: Vec<Message>,
}

/// What it decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Go on.
    Unchanged,
    /// Go on with these messages.
    Replace(Vec<Message>),
    /// Do not ask the model; the text says why.
    Refuse(String),
    /// Do not ask the model; this is the answer.
    Respond(String),
}

impl Returned for Verdict {
    fn bytes(&self) -> usize {
        match self {
            Self::Unchanged => 0,
            Self::Replace(messages) => messages.iter().map(size).sum(),
            Self::Refuse(text) | Self::Respond(text) => text.len(),
        }
    }

    fn limit(&self, stage: Stage) -> usize {
        // An answer in the model's place is bounded as one of the text stage.
        limit_of(if matches!(self, Self::Respond(_)) { Stage::Text } else { stage })
    }
}

/// Bytes of a message, with as much for its parts as they take beside their text.
fn size(message: &Message) -> usize {
    let optional = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let calls = message.tool_calls.iter();
    let calls: usize =
        calls.map(|call| size_of_val(call) + call.id.len() + call.name.len() + call.arguments_json.len()).sum();
    size_of_val(message) + message.content.len() + optional(&message.tool_call_id) + optional(&message.name) + calls
}

/// The functions of `prompt`, whatever its version.
pub(crate) trait PromptCalls: Send + Sync {
    /// Sees the messages before the model does.
    fn process<'a>(&'a self, store: &'a mut Store<GuestData>, request: Arc<PromptRequest>) -> GuestFuture<'a, Verdict>;
}

/// Newest first.
pub(crate) const VERSIONS: &[Version<dyn PromptCalls>] = &[Version { interface: v1::INTERFACE, find: v1::find }];

/// Runs the stage over the chain. The first plugin that refuses or responds ends it.
pub(crate) async fn process(
    chain: &[Instance],
    info: &RequestInfo,
    mut messages: Vec<Message>,
) -> Result<PromptVerdict, Error> {
    if chain.iter().any(|instance| instance.has(Stage::Prompt)) {
        // What a plugin does not see does not get past it.
        messages.iter_mut().for_each(|message| message.as_sent_json = None);
    }
    let mut request = Arc::new(PromptRequest { info: info.clone(), messages });
    for instance in chain.iter().filter(|instance| instance.has(Stage::Prompt)) {
        let theirs = Arc::clone(&request);
        let processed = instance.attempt(Stage::Prompt, |calls, store| match &calls.prompt {
            Some(prompt) => prompt.process(store, theirs),
            None => absent(),
        });
        match processed.await? {
            Err(_) | Ok((Verdict::Unchanged, _)) => {}
            Ok((Verdict::Replace(messages), spent)) => match conversation::check(&request.messages, &messages) {
                Ok(()) => request = Arc::new(PromptRequest { info: info.clone(), messages }),
                Err(reason) => instance.reject(Stage::Prompt, reason, spent)?,
            },
            Ok((Verdict::Refuse(message), _)) => {
                let message = cut(&message, limits::PLUGIN_ERROR_BYTES_MAX).to_owned();
                return Ok(PromptVerdict::Refuse { plugin: instance.name().to_owned(), message });
            }
            Ok((Verdict::Respond(answer), _)) => return Ok(PromptVerdict::Respond(answer)),
        }
    }
    Ok(PromptVerdict::Continue(Arc::unwrap_or_clone(request).messages))
}
