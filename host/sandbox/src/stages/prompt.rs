//! The prompt stage: each plugin in turn may rewrite the messages, refuse them, or answer in the model's place.

mod v1;

use std::sync::Arc;

use firebox_contract::{Error, Message, PromptVerdict, RequestInfo, Stage};
use wasmtime::Store;

use super::{GuestFuture, Version, absent};
use crate::guest::GuestData;
use crate::instance::Instance;

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
    messages: Vec<Message>,
) -> Result<PromptVerdict, Error> {
    let mut request = Arc::new(PromptRequest { info: info.clone(), messages });
    for instance in chain.iter().filter(|instance| instance.has(Stage::Prompt)) {
        let theirs = Arc::clone(&request);
        let processed = instance.attempt(Stage::Prompt, |calls, store| match &calls.prompt {
            Some(prompt) => prompt.process(store, theirs),
            None => absent(),
        });
        match processed.await? {
            Err(_) | Ok((Verdict::Unchanged, _)) => {}
            Ok((Verdict::Replace(messages), _)) => {
                request = Arc::new(PromptRequest { info: info.clone(), messages });
            }
            Ok((Verdict::Refuse(message), _)) => {
                return Ok(PromptVerdict::Refuse { plugin: instance.name().to_owned(), message });
            }
            Ok((Verdict::Respond(answer), _)) => return Ok(PromptVerdict::Respond(answer)),
        }
    }
    Ok(PromptVerdict::Continue(Arc::unwrap_or_clone(request).messages))
}
