//! One assistant turn as it is read: tokens to text, stop strings, tool calls, the text stage.

use std::thread::Thread;
use std::time::Duration;

use firebox_contract::limits::ANSWER_TOKENS_EXPECTED;
use firebox_contract::{Error, FinishReason, Hooks, PendingDelivery, TextDecoder, TextVerdict, TokenId};
use tokio::sync::mpsc;

use crate::sequence::StepEvent;
use crate::stop::{Released, StopMatcher};
use crate::toolcall::{Piece, ToolCallParser};

/// The reading end of a sequence. Dropping it cancels the sequence and frees its cache.
pub(crate) struct Steps {
    events: mpsc::Receiver<StepEvent>,
    worker: Option<Thread>,
    /// The token that was read last. It counts as delivered when the reader asks for the next one.
    delivering: Option<PendingDelivery>,
}

impl Steps {
    pub(crate) fn new(events: mpsc::Receiver<StepEvent>, worker: Option<Thread>) -> Self {
        Self { events, worker, delivering: None }
    }

    async fn next(&mut self) -> Option<StepEvent> {
        self.delivering = None;
        let event = self.events.recv().await;
        self.wake();
        event
    }

    fn wake(&self) {
        if let Some(worker) = &self.worker {
            worker.unpark();
        }
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        self.events.close();
        self.wake();
    }
}

/// Where an assistant turn stands.
pub(crate) struct Round {
    pub(crate) steps: Steps,
    pub(crate) decoder: Box<dyn TextDecoder>,
    pub(crate) stops: StopMatcher,
    /// Tokens at the beginning whose text holds no stop string.
    pub(crate) min_tokens: usize,
    pub(crate) length: Length,
    pub(crate) parser: Option<Box<dyn ToolCallParser>>,
    /// What the model makes again of a forced opening: the text begins with it, and it is not part of the answer.
    pub(crate) opening: String,
    pub(crate) transcript: Transcript,
    pub(crate) clock: RoundClock,
    /// Time between the token read last and the one before it, until somebody takes it.
    pub(crate) gap: Option<Duration>,
}

/// Tokens of this turn.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Length {
    /// At most.
    pub(crate) max: usize,
    /// That are reserved.
    pub(crate) expected: usize,
    /// For which the context has room.
    pub(crate) room: usize,
}

/// What the model said in this turn, as it goes back into the conversation.
#[derive(Default)]
pub(crate) struct Transcript {
    pub(crate) text: String,
    /// The text as the reader got it, after the text stage.
    pub(crate) emitted: String,
    pub(crate) calls: Vec<Piece>,
}

/// When things happened in this turn, as the worker's clock saw it.
#[derive(Default, Clone, Copy)]
pub(crate) struct RoundClock {
    pub(crate) submitted: Duration,
    pub(crate) first: Option<Duration>,
    pub(crate) last: Duration,
    pub(crate) tokens: usize,
    /// Tokens of the prompt whose keys and values were still there.
    pub(crate) cached: usize,
}

/// What one step of reading gave.
pub(crate) struct Read {
    /// Text for the reader, after the text stage.
    pub(crate) text: String,
    /// The turn is over.
    pub(crate) ended: Option<FinishReason>,
}

impl Round {
    /// Reads one event of the sequence and takes its text through to the end of the text stage.
    pub(crate) async fn read(&mut self, hooks: &mut dyn Hooks) -> Result<Read, Error> {
        match self.steps.next().await {
            Some(StepEvent::Started { cached_tokens }) => {
                self.clock.cached = cached_tokens;
                Ok(Read { text: String::new(), ended: None })
            }
            Some(StepEvent::Opening(token)) => {
                let text = self.decode(token)?;
                self.pass(&text, hooks).await
            }
            Some(StepEvent::Token(token, at, pending)) => {
                self.steps.delivering = Some(pending);
                self.gap = self.clock.first.map(|_| at.saturating_sub(self.clock.last));
                self.clock.first.get_or_insert(at);
                self.clock.last = at;
                self.clock.tokens += 1;
                let text = self.decode(token)?;
                self.pass(&text, hooks).await
            }
            Some(StepEvent::Finished(reason)) => self.close(reason, hooks).await,
            Some(StepEvent::Failed(error)) => Err(error),
            None => Err(Error::Unavailable("the model's thread ended in the middle of an answer".to_owned())),
        }
    }

    /// Tokens to reserve before the next; `None` while there are some left.
    pub(crate) fn more_tokens(&self) -> Option<usize> {
        let Length { max, expected, room } = self.length;
        let more = room.min(max).saturating_sub(expected).min(ANSWER_TOKENS_EXPECTED);
        (self.clock.tokens >= expected && more > 0).then_some(more)
    }

    /// The text that `token` adds to the answer.
    fn decode(&mut self, token: TokenId) -> Result<String, Error> {
        let text = self.decoder.push(token)?;
        Ok(without_opening(text, &mut self.opening))
    }

    async fn pass(&mut self, text: &str, hooks: &mut dyn Hooks) -> Result<Read, Error> {
        let released = match self.clock.tokens <= self.min_tokens && self.min_tokens > 0 {
            true => Released { text: text.to_owned(), stopped: false },
            false => self.stops.push(text),
        };
        let (mut out, stopped) = self.pieces(&released.text, hooks).await?;
        let reason = match (stopped, released.stopped) {
            (true, _) => FinishReason::Plugin,
            (false, true) => FinishReason::StopString,
            (false, false) => return Ok(Read { text: out, ended: None }),
        };
        if !stopped {
            out.push_str(&self.flush_parser(hooks).await?);
        }
        out.push_str(&hooks.finish().await?);
        Ok(Read { text: out, ended: Some(reason) })
    }

    /// The sequence ended by itself: everything held back comes out, in the order it was held.
    pub(crate) async fn close(&mut self, reason: FinishReason, hooks: &mut dyn Hooks) -> Result<Read, Error> {
        let tail = without_opening(self.decoder.finish()?, &mut self.opening);
        let mut released = self.stops.push(&tail);
        let mut reason = if released.stopped { FinishReason::StopString } else { reason };
        released.text.push_str(&self.stops.finish());
        let (mut out, stopped) = self.pieces(&released.text, hooks).await?;
        if stopped {
            reason = FinishReason::Plugin;
        } else {
            out.push_str(&self.flush_parser(hooks).await?);
        }
        out.push_str(&hooks.finish().await?);
        Ok(Read { text: out, ended: Some(reason) })
    }

    async fn flush_parser(&mut self, hooks: &mut dyn Hooks) -> Result<String, Error> {
        let pieces = self.parser.as_mut().map(|parser| parser.finish()).unwrap_or_default();
        Ok(self.take(pieces, hooks).await?.0)
    }

    async fn pieces(&mut self, text: &str, hooks: &mut dyn Hooks) -> Result<(String, bool), Error> {
        if text.is_empty() {
            return Ok((String::new(), false));
        }
        let pieces = match &mut self.parser {
            Some(parser) => parser.push(text),
            None => vec![Piece::Text(text.to_owned())],
        };
        self.take(pieces, hooks).await
    }

    /// Text goes through the text stage, calls are kept. The flag says that a plugin ended the answer.
    async fn take(&mut self, pieces: Vec<Piece>, hooks: &mut dyn Hooks) -> Result<(String, bool), Error> {
        let mut out = String::new();
        for piece in pieces {
            let Piece::Text(text) = piece else {
                self.transcript.calls.push(piece);
                continue;
            };
            self.transcript.text.push_str(&text);
            if hooks.text_is_idle() {
                out.push_str(&text);
                continue;
            }
            match hooks.push(text).await? {
                TextVerdict::Emit(text) => out.push_str(&text),
                TextVerdict::Stop(text) => {
                    out.push_str(&text);
                    return Ok((out, true));
                }
            }
        }
        Ok((out, false))
    }
}

/// What of `text` comes after what is left of `opening`. Some decoders leave out the space that a text begins with.
fn without_opening(text: String, opening: &mut String) -> String {
    if opening.is_empty() || text.is_empty() {
        return text;
    }
    if opening.starts_with(' ') && !text.starts_with(' ') {
        opening.remove(0);
    }
    if let Some(rest) = opening.strip_prefix(&text) {
        *opening = rest.to_owned();
        return String::new();
    }
    let opening = std::mem::take(opening);
    match text.strip_prefix(&opening) {
        Some(rest) => rest.to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::without_opening;

    #[test]
    fn the_opening_is_left_out_in_whatever_pieces_it_comes() {
        let answer = |opening: &str, pieces: &[&str]| {
            let mut opening = opening.to_owned();
            pieces.iter().map(|piece| without_opening((*piece).to_owned(), &mut opening)).collect::<Vec<_>>().join("|")
        };
        assert_eq!(answer("", &["a", "b"]), "a|b");
        assert_eq!(answer("\":", &["\": {", "\":"]), " {|\":", "once");
        assert_eq!(answer("s\":", &["s", "", "\"", ":", "{"]), "||||{");
        assert_eq!(answer(" \":", &["\"", ": {"]), "| {", "a decoder leaves out the space that a text begins with");
        assert_eq!(answer(" ", &["", "{"]), "|{");
        assert_eq!(answer("ab", &["x"]), "x", "nothing is lost where it does not come");
    }
}
