//! The text stage: each plugin in turn sees the text as it streams, and may rewrite it, hold it back, or end it.

mod v1;

use firebox_contract::{Error, Stage, TextVerdict};
use wasmtime::Store;

use super::{GuestFuture, Returned, Version, absent};
use crate::guest::GuestData;
use crate::instance::Instance;

/// What a plugin of this stage decides about a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Emit it as it came.
    Pass,
    /// Emit this instead.
    Emit(String),
    /// Emit this and end the answer.
    Stop(String),
}

impl Returned for Verdict {
    fn bytes(&self) -> usize {
        match self {
            Self::Pass => 0,
            Self::Emit(text) | Self::Stop(text) => text.len(),
        }
    }
}

/// The functions of `text`, whatever its version.
pub(crate) trait TextCalls: Send + Sync {
    /// Sees a chunk.
    fn push<'a>(&'a self, store: &'a mut Store<GuestData>, chunk: String) -> GuestFuture<'a, Verdict>;
    /// Gives what it held back.
    fn finish<'a>(&'a self, store: &'a mut Store<GuestData>) -> GuestFuture<'a, String>;
}

/// Newest first.
pub(crate) const VERSIONS: &[Version<dyn TextCalls>] = &[Version { interface: v1::INTERFACE, find: v1::find }];

/// The stage over one assistant turn.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    /// The last plugin of the chain that ended the answer.
    stopped_at: Option<usize>,
}

impl Turn {
    /// Sends a chunk down the chain. Where a plugin stops, those after it still see what it emitted.
    pub(crate) async fn push(&mut self, chain: &[Instance], chunk: String) -> Result<TextVerdict, Error> {
        if self.stopped_at.is_some() {
            return Ok(TextVerdict::Stop(String::new()));
        }
        let mut text = chunk;
        for (index, instance) in listeners(chain) {
            if text.is_empty() {
                break;
            }
            let (emitted, stopped) = push(instance, text).await?;
            text = emitted;
            if stopped {
                self.stopped_at = Some(index);
            }
        }
        Ok(if self.stopped_at.is_some() { TextVerdict::Stop(text) } else { TextVerdict::Emit(text) })
    }

    /// Ends the turn: what a plugin held back goes through those after it before they end in their turn. What was held
    /// back at or before a plugin that ended the answer is no part of the answer.
    pub(crate) async fn finish(&mut self, chain: &[Instance]) -> Result<String, Error> {
        let stopped_at = self.stopped_at.take();
        let mut text = String::new();
        for (index, instance) in listeners(chain) {
            let mut ended = stopped_at.is_some_and(|stopped| index <= stopped);
            if !text.is_empty() {
                let (emitted, stopped) = push(instance, text).await?;
                text = emitted;
                ended |= stopped;
            }
            let held_back = finish(instance).await?;
            if !ended {
                text.push_str(&held_back);
            }
        }
        Ok(text)
    }
}

fn listeners(chain: &[Instance]) -> impl Iterator<Item = (usize, &Instance)> {
    chain.iter().enumerate().filter(|(_, instance)| instance.has(Stage::Text))
}

/// What the plugin emits for `text`, and whether it ended the answer.
async fn push(instance: &Instance, text: String) -> Result<(String, bool), Error> {
    let chunk = text.clone();
    let pushed = instance.attempt(Stage::Text, |calls, store| match &calls.text {
        Some(stage) => stage.push(store, chunk),
        None => absent(),
    });
    Ok(match pushed.await? {
        Err(_) | Ok((Verdict::Pass, _)) => (text, false),
        Ok((Verdict::Emit(emitted), _)) => (emitted, false),
        Ok((Verdict::Stop(emitted), _)) => (emitted, true),
    })
}

async fn finish(instance: &Instance) -> Result<String, Error> {
    let finished = instance.attempt(Stage::Text, |calls, store| match &calls.text {
        Some(stage) => stage.finish(store),
        None => absent(),
    });
    Ok(finished.await?.map(|(text, _)| text).unwrap_or_default())
}
