//! One assistant turn while it is read: tokens become text. Reasoning is separated first. The content goes through stop
//! strings, the tool-call parser and the text stage.

use std::thread::Thread;
use std::time::Duration;

use firebox_contract::limits::ANSWER_TOKENS_EXPECTED;
use firebox_contract::{Error, FinishReason, Hooks, PendingDelivery, TextDecoder, TextVerdict, TokenId};
use tokio::sync::mpsc;

use super::stop_strings::{ReleasedText, StopMatcher};
use super::streamed_calls::CallPart;
use crate::batch::sequence::SequenceEvent;
use crate::reasoning::{ReasoningSplitter, ReasoningState, TurnPart};
use crate::sampler::scores::TokenScores;
use crate::toolcall::{Piece, ToolCallParser};

/// The reading end of a sequence. Dropping it cancels the sequence and frees its KV cache.
pub(crate) struct TokenStream {
    events: mpsc::Receiver<SequenceEvent>,
    worker: Option<Thread>,
    /// The delivery of the last token. It counts as delivered when the next event is asked for.
    delivering: Option<PendingDelivery>,
}

impl TokenStream {
    /// Reads from `events` and unparks `worker` after each event and at the end.
    pub(crate) fn new(events: mpsc::Receiver<SequenceEvent>, worker: Option<Thread>) -> Self {
        Self { events, worker, delivering: None }
    }

    async fn next(&mut self) -> Option<SequenceEvent> {
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

impl Drop for TokenStream {
    fn drop(&mut self) {
        self.events.close();
        self.wake();
    }
}

/// The state of a running assistant turn.
pub(crate) struct AssistantTurn {
    pub(crate) tokens: TokenStream,
    pub(crate) decoder: Box<dyn TextDecoder>,
    /// Separates the reasoning. `None` for a model without reasoning, and if the request does not want it separated.
    pub(crate) splitter: Option<Box<dyn ReasoningSplitter>>,
    /// Tokens of the reasoning so far, with its marks.
    pub(crate) reasoning_tokens: usize,
    pub(crate) stops: StopMatcher,
    /// Number of tokens at the beginning in which no stop string is searched.
    pub(crate) min_tokens: usize,
    pub(crate) length: AnswerLength,
    pub(crate) parser: Option<Box<dyn ToolCallParser>>,
    /// The end of the forced opening that token healing generates again. The decoded text begins with it, but it is not
    /// part of the answer.
    pub(crate) opening: String,
    pub(crate) transcript: Transcript,
    /// Parts of calls that were not taken yet. `None` if the request does not want them.
    pub(crate) call_parts: Option<Vec<CallPart>>,
    pub(crate) timer: TurnTimer,
    /// Time between the last token and the one before it, until it is taken.
    pub(crate) token_gap: Option<Duration>,
}

/// The length of a turn's answer in tokens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AnswerLength {
    /// Maximum number of tokens.
    pub(crate) max: usize,
    /// Reserved tokens.
    pub(crate) expected: usize,
    /// Tokens for which the context has room.
    pub(crate) room: usize,
}

/// What the model wrote in this turn.
#[derive(Default)]
pub(crate) struct Transcript {
    /// The text without tool calls, before the text stage.
    pub(crate) text: String,
    /// The text as the reader got it, after the text stage.
    pub(crate) emitted: String,
    /// The reasoning before the text.
    pub(crate) reasoning: String,
    pub(crate) calls: Vec<Piece>,
}

/// Times and token counts of this turn, on the engine's clock.
#[derive(Default, Clone, Copy)]
pub(crate) struct TurnTimer {
    pub(crate) submitted: Duration,
    /// When the first token was sampled.
    pub(crate) first: Option<Duration>,
    /// When the last token was sampled.
    pub(crate) last: Duration,
    pub(crate) tokens: usize,
    /// Prompt tokens that were in the prefix cache.
    pub(crate) cached: usize,
}

/// What one event of the sequence has added to the turn.
#[derive(Default)]
pub(crate) struct TurnProgress {
    /// Reasoning. It comes before the text.
    pub(crate) reasoning: String,
    /// The scores of the token, if it belongs to the content.
    pub(crate) scores: Option<Box<TokenScores>>,
    /// Text for the reader, after the text stage.
    pub(crate) text: String,
    /// Set if the turn has ended.
    pub(crate) ended: Option<FinishReason>,
}

impl AssistantTurn {
    /// Reads one event of the sequence and runs its text through all filters.
    pub(crate) async fn read(&mut self, hooks: &mut dyn Hooks) -> Result<TurnProgress, Error> {
        match self.tokens.next().await {
            Some(SequenceEvent::Started { cached_tokens }) => {
                self.timer.cached = cached_tokens;
                Ok(TurnProgress::default())
            }
            Some(SequenceEvent::Opening(token)) => {
                let text = self.decode(token)?;
                self.push_text(&text, hooks).await
            }
            Some(SequenceEvent::Token(token, at, delivery, scores)) => {
                self.tokens.delivering = Some(delivery);
                self.token_gap = self.timer.first.map(|_| at.saturating_sub(self.timer.last));
                self.timer.first.get_or_insert(at);
                self.timer.last = at;
                self.timer.tokens += 1;
                let text = self.decode(token)?;
                let was_open = self.is_reasoning();
                let mut progress = self.push_text(&text, hooks).await?;
                let is_reasoning = was_open || self.is_reasoning();
                self.reasoning_tokens += usize::from(is_reasoning);
                progress.scores = scores.filter(|_| !is_reasoning);
                Ok(progress)
            }
            Some(SequenceEvent::Finished(reason)) => self.close(reason, hooks).await,
            Some(SequenceEvent::Failed(error)) => Err(error),
            None => Err(Error::Unavailable("the model's thread ended in the middle of an answer".to_owned())),
        }
    }

    /// The number of tokens to reserve before the next token, or `None` while reserved tokens are left.
    pub(crate) fn tokens_to_reserve(&self) -> Option<usize> {
        let AnswerLength { max, expected, room } = self.length;
        let more = room.min(max).saturating_sub(expected).min(ANSWER_TOKENS_EXPECTED);
        (self.timer.tokens >= expected && more > 0).then_some(more)
    }

    /// The text that `token` adds to the answer.
    fn decode(&mut self, token: TokenId) -> Result<String, Error> {
        let text = self.decoder.push(token)?;
        Ok(without_opening(text, &mut self.opening))
    }

    fn is_reasoning(&self) -> bool {
        self.splitter.as_ref().is_some_and(|splitter| splitter.state() == ReasoningState::Open)
    }

    /// Takes the reasoning out of `text` and returns both.
    fn split(&mut self, text: &str) -> (String, String) {
        match &mut self.splitter {
            Some(splitter) => {
                let parts = splitter.push(text);
                self.keep(parts)
            }
            None => (String::new(), text.to_owned()),
        }
    }

    /// The reasoning and the content of `parts`. The reasoning is kept for the next turn's prompt.
    fn keep(&mut self, parts: Vec<TurnPart>) -> (String, String) {
        let (mut reasoning, mut content) = (String::new(), String::new());
        for part in parts {
            match part {
                TurnPart::Reasoning(text) => reasoning.push_str(&text),
                TurnPart::Content(text) => content.push_str(&text),
            }
        }
        self.transcript.reasoning.push_str(&reasoning);
        (reasoning, content)
    }

    /// Runs the next text of the turn through all filters.
    async fn push_text(&mut self, text: &str, hooks: &mut dyn Hooks) -> Result<TurnProgress, Error> {
        let (reasoning, content) = self.split(text);
        let TurnProgress { text, ended, .. } = self.push_content(&content, hooks).await?;
        Ok(TurnProgress { reasoning, text, ended, ..TurnProgress::default() })
    }

    async fn push_content(&mut self, text: &str, hooks: &mut dyn Hooks) -> Result<TurnProgress, Error> {
        let released = match self.timer.tokens <= self.min_tokens && self.min_tokens > 0 {
            true => ReleasedText { text: text.to_owned(), stopped: false },
            false => self.stops.push(text),
        };
        let (mut out, stopped) = self.parse(&released.text, hooks).await?;
        let reason = match (stopped, released.stopped) {
            (true, _) => FinishReason::Plugin,
            (false, true) => FinishReason::StopString,
            (false, false) => return Ok(TurnProgress { text: out, ..TurnProgress::default() }),
        };
        if !stopped {
            out.push_str(&self.flush_parser(hooks).await?);
        }
        out.push_str(&hooks.finish().await?);
        Ok(TurnProgress { text: out, ended: Some(reason), ..TurnProgress::default() })
    }

    /// Ends the turn: each filter releases the text that it holds back, in order.
    pub(crate) async fn close(&mut self, reason: FinishReason, hooks: &mut dyn Hooks) -> Result<TurnProgress, Error> {
        let tail = without_opening(self.decoder.finish()?, &mut self.opening);
        let (mut reasoning, mut tail) = self.split(&tail);
        let held = self.splitter.as_mut().map(|splitter| splitter.finish()).unwrap_or_default();
        let (held_reasoning, held_content) = self.keep(held);
        reasoning.push_str(&held_reasoning);
        tail.push_str(&held_content);
        let mut released = self.stops.push(&tail);
        let mut reason = if released.stopped { FinishReason::StopString } else { reason };
        released.text.push_str(&self.stops.finish());
        let (mut out, stopped) = self.parse(&released.text, hooks).await?;
        if stopped {
            reason = FinishReason::Plugin;
        } else {
            out.push_str(&self.flush_parser(hooks).await?);
        }
        out.push_str(&hooks.finish().await?);
        Ok(TurnProgress { reasoning, text: out, ended: Some(reason), ..TurnProgress::default() })
    }

    /// Adds a part of the call that comes next.
    fn add_part(&mut self, part: impl FnOnce(usize) -> CallPart) {
        let index = self.transcript.calls.len();
        if let Some(parts) = &mut self.call_parts {
            parts.push(part(index));
        }
    }

    async fn flush_parser(&mut self, hooks: &mut dyn Hooks) -> Result<String, Error> {
        let pieces = self.parser.as_mut().map(|parser| parser.finish()).unwrap_or_default();
        Ok(self.take(pieces, hooks).await?.0)
    }

    /// Runs text through the tool-call parser and the text stage. The flag says that a plugin ended the answer.
    async fn parse(&mut self, text: &str, hooks: &mut dyn Hooks) -> Result<(String, bool), Error> {
        if text.is_empty() {
            return Ok((String::new(), false));
        }
        let pieces = match &mut self.parser {
            Some(parser) => parser.push(text),
            None => vec![Piece::Text(text.to_owned())],
        };
        self.take(pieces, hooks).await
    }

    /// Runs text pieces through the text stage and collects calls. The flag says that a plugin ended the answer.
    async fn take(&mut self, pieces: Vec<Piece>, hooks: &mut dyn Hooks) -> Result<(String, bool), Error> {
        let mut out = String::new();
        for piece in pieces {
            let text = match piece {
                Piece::Text(text) => text,
                Piece::Delta { name, arguments } => {
                    self.add_part(|index| CallPart::Piece { index, name, arguments });
                    continue;
                }
                Piece::Call { ref name, ref arguments_json } => {
                    let (name, arguments_json) = (name.clone(), arguments_json.clone());
                    self.add_part(|index| CallPart::Whole { index, name, arguments_json });
                    self.transcript.calls.push(piece);
                    continue;
                }
                Piece::Malformed { .. } => {
                    self.transcript.calls.push(piece);
                    continue;
                }
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

/// `text` without the part that spells the rest of `opening`, which is removed from `opening`. Some decoders leave out
/// the space that a text begins with.
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
    fn the_opening_is_removed_however_the_text_is_cut() {
        let answer = |opening: &str, pieces: &[&str]| {
            let mut opening = opening.to_owned();
            pieces.iter().map(|piece| without_opening((*piece).to_owned(), &mut opening)).collect::<Vec<_>>().join("|")
        };
        assert_eq!(answer("", &["a", "b"]), "a|b");
        assert_eq!(answer("\":", &["\": {", "\":"]), " {|\":", "once");
        assert_eq!(answer("s\":", &["s", "", "\"", ":", "{"]), "||||{");
        assert_eq!(answer(" \":", &["\"", ": {"]), "| {", "a decoder leaves out the leading space");
        assert_eq!(answer(" ", &["", "{"]), "|{");
        assert_eq!(answer("ab", &["x"]), "x", "text that does not begin with the opening is kept");
    }
}
