//! One round of one request inside the worker: its tokens, its sampler, its reader.

use std::sync::Arc;
use std::time::Duration;

use firebox_contract::{Error, FinishReason, Logits, SequenceId, Span, TextCodec, TokenId};
use tokio::sync::mpsc;

use crate::sampler::Sampler;

/// What the road hands to the worker.
pub(crate) struct Job {
    /// The prompt; not empty.
    pub(crate) tokens: Vec<TokenId>,
    pub(crate) sampler: Sampler,
    /// Tokens that may still be made.
    pub(crate) max_tokens: usize,
    /// Tokens prompt and answer may have together.
    pub(crate) context_tokens: usize,
    pub(crate) codec: Arc<dyn TextCodec>,
    pub(crate) events: mpsc::Sender<StepEvent>,
}

/// What the worker tells the reader.
#[derive(Debug, Clone)]
pub(crate) enum StepEvent {
    /// A token of the answer, and when it was made.
    Token(TokenId, Duration),
    /// The last event: nobody stopped it and nothing failed.
    Finished(FinishReason),
    /// The last event: it failed.
    Failed(Error),
}

/// One sequence that runs.
pub(crate) struct Sequence {
    id: SequenceId,
    job: Job,
    /// Tokens the model has not seen: the rest of the prompt, then the last token made.
    pending: Vec<TokenId>,
    held: usize,
    made: usize,
    /// The last event, waiting for room.
    ending: Option<StepEvent>,
    over: bool,
}

impl Sequence {
    pub(crate) fn new(id: SequenceId, mut job: Job) -> Self {
        let pending = std::mem::take(&mut job.tokens);
        Self { id, job, pending, held: 0, made: 0, ending: None, over: false }
    }

    pub(crate) fn id(&self) -> SequenceId {
        self.id
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over || self.job.events.is_closed()
    }

    /// Whether it can be stepped now. A reader without room rests this sequence and no other.
    pub(crate) fn is_ready(&mut self) -> bool {
        self.flush_ending();
        !self.is_over() && self.ending.is_none() && self.job.events.capacity() > 0
    }

    pub(crate) fn ready(&mut self) -> Option<&mut Self> {
        self.is_ready().then_some(self)
    }

    pub(crate) fn plan(&self, chunk: usize) -> Span<'_> {
        let length = self.pending.len().min(chunk);
        let wants_logits = length == self.pending.len();
        Span { sequence: self.id, tokens: &self.pending[..length], wants_logits }
    }

    /// The model has seen `length` pending tokens; with logits, the next token is chosen and sent.
    pub(crate) fn advance(&mut self, length: usize, logits: Option<Logits>, now: Duration) {
        self.pending.drain(..length);
        self.held += length;
        let Some(mut logits) = logits else { return };
        let token = self.job.sampler.pick(&mut logits);
        if self.job.codec.is_end(token) {
            return self.end(StepEvent::Finished(FinishReason::Stop));
        }
        self.made += 1;
        // There is room: a sequence is only stepped when its channel has some, and nobody else sends into it.
        if self.job.events.try_send(StepEvent::Token(token, now)).is_err() {
            self.over = true;
        } else if self.made >= self.job.max_tokens {
            self.end(StepEvent::Finished(FinishReason::Length));
        } else if self.held >= self.job.context_tokens {
            self.end(StepEvent::Finished(FinishReason::ContextFull));
        } else {
            self.pending.push(token);
        }
    }

    pub(crate) fn end(&mut self, event: StepEvent) {
        self.ending = Some(event);
        self.flush_ending();
    }

    fn flush_ending(&mut self) {
        if let Some(event) = self.ending.take() {
            match self.job.events.try_send(event) {
                Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => self.over = true,
                Err(mpsc::error::TrySendError::Full(event)) => self.ending = Some(event),
            }
        }
    }
}
