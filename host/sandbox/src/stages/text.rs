//! The text stage: each plugin of the chain sees the text as it streams, and may rewrite it, buffer it, or end it.

mod v1;

use std::sync::Arc;

use firebox_contract::{BoxFuture, Error, Stage, TextHook, TextVerdict};
use wasmtime::Store;

use super::{GuestFuture, GuestReturn, StageCalls, StageVersion, stage_missing};
use crate::chain::BoundChain;
use crate::instance::guest::GuestData;
use crate::instance::{Attempt, Instance};

/// The decision of one plugin about a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum GuestTextVerdict {
    /// Emit the chunk as it came.
    Pass,
    /// Emit this text instead.
    Emit(String),
    /// Emit this text and end the answer.
    Stop(String),
}

impl GuestReturn for GuestTextVerdict {
    fn bytes(&self) -> usize {
        match self {
            Self::Pass => 0,
            Self::Emit(text) | Self::Stop(text) => text.len(),
        }
    }

    fn each_text(&self, see: &mut dyn FnMut(&[u8])) {
        if let Self::Emit(text) | Self::Stop(text) = self {
            see(text.as_bytes());
        }
    }
}

/// The functions of the interface `text`, in any version.
pub(crate) trait TextCalls: Send + Sync {
    /// Decides about a chunk.
    fn push<'a>(&'a self, store: &'a mut Store<GuestData>, chunk: String) -> GuestFuture<'a, GuestTextVerdict>;
    /// Ends the turn and returns the text that the plugin has buffered.
    fn finish<'a>(&'a self, store: &'a mut Store<GuestData>) -> GuestFuture<'a, String>;
}

/// The supported versions, newest first.
pub(crate) const VERSIONS: &[StageVersion<dyn TextCalls>] =
    &[StageVersion { interface: v1::INTERFACE, find: v1::find }];

impl TextHook for BoundChain {
    fn push(&mut self, chunk: String) -> BoxFuture<'_, Result<TextVerdict, Error>> {
        Box::pin(self.text.push(&self.instances, chunk))
    }

    fn finish(&mut self) -> BoxFuture<'_, Result<String, Error>> {
        Box::pin(self.text.finish(&self.instances))
    }
}

/// The text stage over one assistant turn.
#[derive(Debug, Default)]
pub(crate) struct TextTurn {
    /// The index of the last plugin in the chain that ended the answer.
    stopped_at: Option<usize>,
}

impl TextTurn {
    /// Sends a chunk through the chain. If a plugin ends the answer, the plugins after it still see the text that it
    /// emitted.
    async fn push(&mut self, chain: &[Arc<Instance>], chunk: String) -> Result<TextVerdict, Error> {
        if self.stopped_at.is_some() {
            return Ok(TextVerdict::Stop(String::new()));
        }
        let mut text = chunk;
        for (index, instance) in listeners(chain) {
            if text.is_empty() {
                break;
            }
            // Awaited here and not in a function of its own, whose future would be moved into this one at each token.
            let pushed = instance.attempt(Stage::Text, push_of(text.clone())).await?;
            let (emitted, stopped) = emitted(pushed, text);
            text = emitted;
            if stopped {
                self.stopped_at = Some(index);
            }
        }
        Ok(if self.stopped_at.is_some() { TextVerdict::Stop(text) } else { TextVerdict::Emit(text) })
    }

    /// Ends the turn. The text that a plugin has buffered goes through the plugins after it before those finish. If a
    /// plugin ended the answer, the text buffered by that plugin and by those before it is dropped.
    async fn finish(&mut self, chain: &[Arc<Instance>]) -> Result<String, Error> {
        let stopped_at = self.stopped_at.take();
        let mut text = String::new();
        for (index, instance) in listeners(chain) {
            let mut ended = stopped_at.is_some_and(|stopped| index <= stopped);
            if !text.is_empty() {
                let pushed = instance.attempt(Stage::Text, push_of(text.clone())).await?;
                let (emitted, stopped) = emitted(pushed, text);
                text = emitted;
                ended |= stopped;
            }
            let buffered = finish(instance).await?;
            if !ended {
                text.push_str(&buffered);
            }
        }
        Ok(text)
    }
}

fn listeners(chain: &[Arc<Instance>]) -> impl Iterator<Item = (usize, &Arc<Instance>)> {
    chain.iter().enumerate().filter(|(_, instance)| instance.has(Stage::Text))
}

/// The call that pushes `chunk`.
fn push_of(
    chunk: String,
) -> impl for<'a> FnOnce(&'a StageCalls, &'a mut Store<GuestData>) -> GuestFuture<'a, GuestTextVerdict> + Send + 'static
{
    move |calls, store| match &calls.text {
        Some(stage) => stage.push(store, chunk),
        None => stage_missing(),
    }
}

/// The text that the plugin emits for `text`, and whether it ended the answer.
fn emitted(pushed: Attempt<GuestTextVerdict>, text: String) -> (String, bool) {
    match pushed {
        Err(_) | Ok((GuestTextVerdict::Pass, _)) => (text, false),
        Ok((GuestTextVerdict::Emit(emitted), _)) => (emitted, false),
        Ok((GuestTextVerdict::Stop(emitted), _)) => (emitted, true),
    }
}

async fn finish(instance: &Instance) -> Result<String, Error> {
    let finished = instance.attempt(Stage::Text, |calls, store| match &calls.text {
        Some(stage) => stage.finish(store),
        None => stage_missing(),
    });
    Ok(finished.await?.map(|(text, _)| text).unwrap_or_default())
}
