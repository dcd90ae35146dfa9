//! One sequence on the model's thread: the tokens of one assistant turn, its sampler and its reader.

use std::sync::Arc;
use std::time::Duration;

use firebox_contract::limits::ANSWER_TOKENS_EXPECTED;
use firebox_contract::{
    DeliveryTracker, Error, FinishReason, Logits, PendingDelivery, SequenceId, Span, TenantId, TextCodec, TokenId,
};
use tokio::sync::mpsc;

use crate::sampler::token_healing::TokenPart;
use crate::sampler::{SampledToken, Sampler};
use crate::scheduler::{JobSize, PendingWork};

/// What a generation sends to the model's thread for one assistant turn.
pub(crate) struct SequenceRequest {
    /// The tenant whose prefix cache is used and whose share is charged.
    pub(crate) tenant: TenantId,
    /// The tenant's weight in the scheduler.
    pub(crate) weight: u32,
    /// The time at which the sequence is ended, on the engine's clock.
    pub(crate) deadline: Duration,
    /// The prompt; not empty. It includes the tokens at its end that token healing generates again.
    pub(crate) tokens: Vec<TokenId>,
    pub(crate) sampler: Sampler,
    /// Maximum number of answer tokens.
    pub(crate) max_tokens: usize,
    /// Answer tokens that are reserved at the start. Equals `max_tokens` if the request sets a length.
    pub(crate) expected_tokens: usize,
    /// Maximum number of tokens of prompt and answer together.
    pub(crate) context_tokens: usize,
    pub(crate) codec: Arc<dyn TextCodec>,
    /// Counts tokens that are on their way to the reader.
    pub(crate) deliveries: Arc<dyn DeliveryTracker>,
    pub(crate) events: mpsc::Sender<SequenceEvent>,
}

impl SequenceRequest {
    /// The work of the whole request, before any of it is computed.
    pub(crate) fn pending_work(&self) -> PendingWork<'_> {
        self.pending_work_after(self.tokens.len())
    }

    /// The work of the whole request. If the request sets no length, its answer counts as the next multiple of
    /// `ANSWER_TOKENS_EXPECTED`.
    fn pending_work_after(&self, prompt: usize) -> PendingWork<'_> {
        let generated = self.tokens.len().saturating_sub(prompt);
        let answer = self.expected_tokens.max(generated.next_multiple_of(ANSWER_TOKENS_EXPECTED));
        let answer = answer.min(self.max_tokens).min(self.context_tokens.saturating_sub(prompt));
        PendingWork { tenant: &self.tenant, weight: self.weight, size: JobSize { prompt, answer } }
    }
}

/// What the model's thread sends to the reader of a sequence.
#[derive(Debug, Clone)]
pub(crate) enum SequenceEvent {
    /// The first event: the sequence has started.
    Started {
        /// Prompt tokens that were in the prefix cache.
        cached_tokens: usize,
    },
    /// A token of the forced opening, generated again by token healing.
    Opening(TokenId),
    /// A token of the answer, and the time at which it was sampled.
    Token(TokenId, Duration, PendingDelivery),
    /// The last event of a sequence that ended normally.
    Finished(FinishReason),
    /// The last event of a sequence that failed.
    Failed(Error),
}

/// One sequence, from the inbox to its last event.
pub(crate) struct Sequence {
    /// Its id in the model. Each start uses a new id.
    id: SequenceId,
    /// Its number in order of arrival.
    arrival: u64,
    request: SequenceRequest,
    /// Tokens of the prompt. The answer follows them in `request.tokens`.
    prompt: usize,
    /// Tokens of `request.tokens` whose keys and values are in the model.
    computed: usize,
    /// Tokens of KV cache that are reserved for it.
    reserved: usize,
    started: bool,
    /// Number of the last step that computed some of its tokens.
    last_step: u64,
    /// Number of its aborted steps since its last completed step.
    aborted_steps: u32,
    /// The last event, while the reader's channel has no room for it.
    last_event: Option<SequenceEvent>,
    done: bool,
    /// The content of its KV cache is undefined.
    cache_invalid: bool,
}

impl Sequence {
    pub(crate) fn new(arrival: u64, mut request: SequenceRequest) -> Self {
        // Token healing generates at most as many tokens as it removes, so the reservation covers them.
        let reserved = request.tokens.len().saturating_add(request.expected_tokens).min(request.context_tokens);
        let prompt = request.tokens.len() - request.sampler.tokens_to_heal();
        request.tokens.truncate(prompt);
        Self {
            id: SequenceId(0),
            arrival,
            request,
            prompt,
            computed: 0,
            reserved,
            started: false,
            last_step: 0,
            aborted_steps: 0,
            last_event: None,
            done: false,
            cache_invalid: false,
        }
    }

    pub(crate) fn id(&self) -> SequenceId {
        self.id
    }

    pub(crate) fn arrival(&self) -> u64 {
        self.arrival
    }

    pub(crate) fn tenant(&self) -> &TenantId {
        &self.request.tenant
    }

    pub(crate) fn weight(&self) -> u32 {
        self.request.weight.max(1)
    }

    pub(crate) fn deadline(&self) -> Duration {
        self.request.deadline
    }

    pub(crate) fn last_step(&self) -> u64 {
        self.last_step
    }

    /// The work of the whole sequence, including the part that is already computed.
    pub(crate) fn pending_work(&self) -> PendingWork<'_> {
        self.request.pending_work_after(self.prompt)
    }

    /// Number of its aborted steps since its last completed step.
    pub(crate) fn aborted_steps(&self) -> u32 {
        self.aborted_steps
    }

    /// Counts an aborted step. Nothing else has changed.
    pub(crate) fn count_aborted_step(&mut self) {
        self.aborted_steps += 1;
    }

    /// Prompt and answer so far.
    pub(crate) fn tokens(&self) -> &[TokenId] {
        &self.request.tokens
    }

    /// The first tokens, whose keys and values are in the model.
    pub(crate) fn computed(&self) -> &[TokenId] {
        &self.request.tokens[..self.computed]
    }

    /// Number of tokens that the model has not computed.
    pub(crate) fn pending_tokens(&self) -> usize {
        self.request.tokens.len() - self.computed
    }

    pub(crate) fn reserved(&self) -> usize {
        self.reserved
    }

    /// Whether it needs no KV cache any more: it ended, or its reader is gone.
    pub(crate) fn has_ended(&self) -> bool {
        self.last_event.is_some() || self.is_done()
    }

    /// Whether its last event was sent, or its reader is gone.
    pub(crate) fn is_done(&self) -> bool {
        self.done || self.request.events.is_closed()
    }

    /// Whether the content of its KV cache is undefined.
    pub(crate) fn is_cache_invalid(&self) -> bool {
        self.cache_invalid
    }

    /// Whether the next step can include it. A reader whose channel is full pauses this sequence and no other.
    pub(crate) fn is_ready(&self) -> bool {
        !self.has_ended() && self.request.events.capacity() > 0
    }

    /// Starts it in the model as `id`, with the first `cached` tokens already computed.
    pub(crate) fn start(&mut self, id: SequenceId, cached: usize) {
        (self.id, self.computed) = (id, cached);
        if !self.started {
            self.started = true;
            // This is the first event, so the channel has room.
            self.done = self.request.events.try_send(SequenceEvent::Started { cached_tokens: cached }).is_err();
        }
    }

    /// Marks its KV cache as lost. `reserved` tokens are reserved when it starts again.
    pub(crate) fn requeue(&mut self, reserved: usize) {
        (self.computed, self.reserved) = (0, reserved.min(self.request.context_tokens));
    }

    /// Whether it was started before.
    pub(crate) fn was_started(&self) -> bool {
        self.started
    }

    /// The next `length` tokens to compute.
    pub(crate) fn span(&self, length: usize) -> Span<'_> {
        let end = self.computed + length;
        let wants_logits = end == self.request.tokens.len();
        Span { sequence: self.id, tokens: &self.request.tokens[self.computed..end], wants_logits }
    }

    /// Records that step `step` computed `length` more tokens. With logits, samples the next token and sends it. Returns
    /// whether the answer has grown by a token.
    pub(crate) fn advance(&mut self, length: usize, logits: Option<Logits>, step: u64, now: Duration) -> bool {
        self.computed += length;
        (self.last_step, self.aborted_steps) = (step, 0);
        let Some(mut logits) = logits else { return false };
        let (token, part, complete) = match self.request.sampler.next(&mut logits) {
            Ok(SampledToken::Token { token, part, complete }) => (token, part, complete),
            Ok(SampledToken::End) => {
                self.end(SequenceEvent::Finished(FinishReason::Stop));
                return false;
            }
            Err(error) => {
                self.end(SequenceEvent::Failed(error));
                return false;
            }
        };
        let sampling = self.request.sampler.sampling();
        let stops = part == TokenPart::Answer && sampling.stop_tokens.contains(&token);
        let ends = self.request.codec.is_end(token) && !sampling.ignore_end;
        if ends || (stops && !sampling.keep_stop) {
            self.end(SequenceEvent::Finished(FinishReason::Stop));
            return false;
        }
        // The channel has room: `is_ready` checked it before the step, and this is its only sender.
        let event = match part {
            TokenPart::Opening => SequenceEvent::Opening(token),
            TokenPart::Answer => SequenceEvent::Token(token, now, PendingDelivery::new(&self.request.deliveries)),
        };
        if self.request.events.try_send(event).is_err() {
            self.done = true;
            return false;
        }
        self.request.tokens.push(token);
        if part == TokenPart::Opening {
            self.prompt += 1;
            return false;
        }
        if self.request.tokens.len() > self.reserved {
            self.reserved = (self.reserved + ANSWER_TOKENS_EXPECTED).min(self.request.context_tokens);
        }
        if stops || complete {
            self.end(SequenceEvent::Finished(FinishReason::Stop));
        } else if self.request.tokens.len() - self.prompt >= self.request.max_tokens {
            self.end(SequenceEvent::Finished(FinishReason::Length));
        } else if self.computed >= self.request.context_tokens {
            self.end(SequenceEvent::Finished(FinishReason::ContextFull));
        }
        true
    }

    /// Ends it with `event`. Its KV cache stays valid.
    pub(crate) fn end(&mut self, event: SequenceEvent) {
        self.last_event = Some(event);
        self.flush();
    }

    /// Ends it because the model has no room for its KV cache. An answer that has begun ends with `ContextFull`; without
    /// an answer the sequence fails with `error`.
    pub(crate) fn run_out_of_room(&mut self, error: Error) {
        if self.request.tokens.len() == self.prompt {
            return self.fail(error);
        }
        self.cache_invalid = true;
        self.end(SequenceEvent::Finished(FinishReason::ContextFull));
    }

    /// Ends it after a failed step.
    pub(crate) fn fail(&mut self, error: Error) {
        self.cache_invalid = true;
        self.end(SequenceEvent::Failed(error));
    }

    /// Sends the last event if the channel has room by now.
    pub(crate) fn flush(&mut self) {
        if let Some(event) = self.last_event.take() {
            match self.request.events.try_send(event) {
                Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => self.done = true,
                Err(mpsc::error::TrySendError::Full(event)) => self.last_event = Some(event),
            }
        }
    }
}
