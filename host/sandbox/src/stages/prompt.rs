//! The prompt stage: each plugin of the chain may rewrite the messages, refuse them, or answer instead of the model.

mod conversation;
mod v1;
mod v2;

use std::sync::Arc;

use firebox_contract::{
    BoxFuture, Error, Message, PromptHook, PromptVerdict, RequestInfo, Sampling, SamplingChange, SamplingOverrides,
    Stage, limits,
};
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
    pub(crate) sampling: Sampling,
}

/// The decision of one plugin.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum GuestPromptVerdict {
    /// Continue with the messages as they are.
    Unchanged,
    /// Continue with these messages.
    Replace(Vec<Message>),
    /// Continue with other messages, if there are some, and other sampling parameters.
    Adjust(Option<Vec<Message>>, SamplingChange),
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
            Self::Adjust(messages, change) => {
                let messages = messages.iter().flatten().map(size).sum::<usize>();
                messages + change.stop.iter().map(|text| size_of_val(text) + text.len()).sum::<usize>()
            }
            Self::Refuse(text) | Self::Respond(text) => text.len(),
        }
    }

    fn each_text(&self, see: &mut dyn FnMut(&[u8])) {
        match self {
            Self::Unchanged => {}
            Self::Replace(messages) => messages.iter().for_each(|message| each_text(message, see)),
            Self::Adjust(messages, _) => messages.iter().flatten().for_each(|message| each_text(message, see)),
            Self::Refuse(text) | Self::Respond(text) => see(text.as_bytes()),
        }
    }

    fn limit(&self, stage: Stage) -> usize {
        // An answer of the plugin has the limit of the text stage, as an answer of the model does.
        return_limit(if matches!(self, Self::Respond(_)) { Stage::Text } else { stage })
    }
}

fn each_text(message: &Message, see: &mut dyn FnMut(&[u8])) {
    see(message.content.as_bytes());
    message.tool_calls.iter().for_each(|call| see(call.arguments_json.as_bytes()));
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
pub(crate) const VERSIONS: &[StageVersion<dyn PromptCalls>] = &[
    StageVersion { interface: v2::INTERFACE, find: v2::find },
    StageVersion { interface: v1::INTERFACE, find: v1::find },
];

impl PromptHook for BoundChain {
    fn process(&mut self, messages: Vec<Message>) -> BoxFuture<'_, Result<PromptVerdict, Error>> {
        Box::pin(async move {
            // Nothing is sampled, so what plugins change about it has no effect.
            let mut sampling = SamplingOverrides::default().resolve(&SamplingOverrides::default(), 0)?;
            process(&self.instances, &self.request, messages, &mut sampling).await
        })
    }

    fn process_sampled<'a>(
        &'a mut self,
        messages: Vec<Message>,
        sampling: &'a mut Sampling,
    ) -> BoxFuture<'a, Result<PromptVerdict, Error>> {
        Box::pin(process(&self.instances, &self.request, messages, sampling))
    }
}

/// Runs the stage over the chain. The first plugin that refuses or responds ends it.
async fn process(
    chain: &[Arc<Instance>],
    info: &RequestInfo,
    mut messages: Vec<Message>,
    sampling: &mut Sampling,
) -> Result<PromptVerdict, Error> {
    if chain.iter().any(|instance| instance.has(Stage::Prompt)) {
        // Plugins do not see `as_sent_json`, so it is removed: no text may reach the model without passing the plugins.
        messages.iter_mut().for_each(|message| message.as_sent_json = None);
    }
    let mut request = Arc::new(PromptRequest { info: info.clone(), messages, sampling: sampling.clone() });
    for instance in chain.iter().filter(|instance| instance.has(Stage::Prompt)) {
        let input = Arc::clone(&request);
        let processed = instance.attempt(Stage::Prompt, |calls, store| match &calls.prompt {
            Some(prompt) => prompt.process(store, input),
            None => stage_missing(),
        });
        match processed.await? {
            Err(_) | Ok((GuestPromptVerdict::Unchanged, _)) => {}
            Ok((GuestPromptVerdict::Replace(messages), usage)) => {
                match adjusted(&request, Some(messages), SamplingChange::default()) {
                    Ok(adjusted) => request = Arc::new(adjusted),
                    Err(reason) => instance.reject(Stage::Prompt, reason, usage)?,
                }
            }
            Ok((GuestPromptVerdict::Adjust(messages, change), usage)) => match adjusted(&request, messages, change) {
                Ok(adjusted) => request = Arc::new(adjusted),
                Err(reason) => instance.reject(Stage::Prompt, reason, usage)?,
            },
            Ok((GuestPromptVerdict::Refuse(message), _)) => {
                let message = cut(&message, limits::PLUGIN_ERROR_BYTES_MAX).to_owned();
                return Ok(PromptVerdict::Refuse { plugin: instance.name().to_owned(), message });
            }
            Ok((GuestPromptVerdict::Respond(answer), _)) => return Ok(PromptVerdict::Respond(answer)),
        }
    }
    let request = Arc::unwrap_or_clone(request);
    *sampling = request.sampling;
    Ok(PromptVerdict::Continue(request.messages))
}

/// The request with a plugin's changes.
///
/// # Errors
/// What is wrong with them, as a sentence about the plugin.
fn adjusted(
    request: &PromptRequest,
    messages: Option<Vec<Message>>,
    change: SamplingChange,
) -> Result<PromptRequest, String> {
    let sampling = change.apply(&request.sampling).map_err(|error| format!("it set sampling out of range: {error}"))?;
    let messages = match messages {
        Some(messages) => conversation::check(&request.messages, &messages).map(|()| messages)?,
        None => request.messages.clone(),
    };
    Ok(PromptRequest { info: request.info.clone(), messages, sampling })
}
