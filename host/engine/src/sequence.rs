//! One round of one request inside the worker: its tokens, its sampler, its reader.

use std::sync::Arc;
use std::time::Duration;

use firebox_contract::limits::ANSWER_TOKENS_EXPECTED;
use firebox_contract::{
    DeliveryTracker, Error, FinishReason, Logits, PendingDelivery, SequenceId, Span, TenantId, TextCodec, TokenId,
};
use tokio::sync::mpsc;

use crate::healing::Part;
use crate::sampler::Sampler;
use crate::schedule::{Demand, JobSize};

/// What the road hands to the worker.
pub(crate) struct Job {
    /// Whose caches it may go on from, and in whose name it takes its turns.
    pub(crate) tenant: TenantId,
    /// The tenant's share.
    pub(crate) weight: u32,
    /// When it is stopped, on the worker's clock.
    pub(crate) deadline: Duration,
    /// The prompt; not empty. The sampler makes those at its end again that it has taken back.
    pub(crate) tokens: Vec<TokenId>,
    pub(crate) sampler: Sampler,
    /// Tokens that may still be made.
    pub(crate) max_tokens: usize,
    /// Tokens that are reckoned with: all that may be made where the request says how many.
    pub(crate) expected_tokens: usize,
    /// Tokens prompt and answer may have together.
    pub(crate) context_tokens: usize,
    pub(crate) codec: Arc<dyn TextCodec>,
    /// Counts tokens on their way to the reader.
    pub(crate) deliveries: Arc<dyn DeliveryTracker>,
    pub(crate) events: mpsc::Sender<StepEvent>,
}

impl Job {
    /// What it asks for, before any of it is made.
    pub(crate) fn demand(&self) -> Demand<'_> {
        self.demand_after(self.tokens.len())
    }

    /// Where nobody said how long the answer gets, it counts as the next multiple of what is reckoned with.
    fn demand_after(&self, prompt: usize) -> Demand<'_> {
        let made = self.tokens.len().saturating_sub(prompt);
        let answer = self.expected_tokens.max(made.next_multiple_of(ANSWER_TOKENS_EXPECTED));
        let answer = answer.min(self.max_tokens).min(self.context_tokens.saturating_sub(prompt));
        Demand { tenant: &self.tenant, weight: self.weight, size: JobSize { prompt, answer } }
    }
}

/// What the worker tells the reader.
#[derive(Debug, Clone)]
pub(crate) enum StepEvent {
    /// The first event: it has a place in the model.
    Started {
        /// Tokens of the prompt that need not be computed.
        cached_tokens: usize,
    },
    /// A token of the forced opening, made again.
    Opening(TokenId),
    /// A token of the answer, and when it was made.
    Token(TokenId, Duration, PendingDelivery),
    /// The last event: nothing failed.
    Finished(FinishReason),
    /// The last event: it failed.
    Failed(Error),
}

/// One sequence, from the inbox to its last event.
pub(crate) struct Sequence {
    /// Its name in the model; a new one for each start.
    id: SequenceId,
    /// Counts the jobs.
    arrival: u64,
    job: Job,
    prompt: usize,
    /// Of the job's tokens (the prompt, then the answer), how many the model has.
    held: usize,
    /// Tokens for which it has a right to cache.
    reserved: usize,
    started: bool,
    /// The turn it was stepped in last.
    stepped: u64,
    /// Turns that were given up since the last that was not.
    cuts: u32,
    /// The last event, waiting for room.
    ending: Option<StepEvent>,
    over: bool,
    /// Its cache may hold anything.
    broken: bool,
}

impl Sequence {
    pub(crate) fn new(arrival: u64, mut job: Job) -> Self {
        // What is taken back comes again, and is never more.
        let reserved = job.tokens.len().saturating_add(job.expected_tokens).min(job.context_tokens);
        let prompt = job.tokens.len() - job.sampler.taken_back();
        job.tokens.truncate(prompt);
        let (id, ending) = (SequenceId(0), None);
        Self {
            id,
            arrival,
            job,
            prompt,
            held: 0,
            reserved,
            started: false,
            stepped: 0,
            cuts: 0,
            ending,
            over: false,
            broken: false,
        }
    }

    pub(crate) fn id(&self) -> SequenceId {
        self.id
    }

    pub(crate) fn arrival(&self) -> u64 {
        self.arrival
    }

    pub(crate) fn tenant(&self) -> &TenantId {
        &self.job.tenant
    }

    pub(crate) fn weight(&self) -> u32 {
        self.job.weight.max(1)
    }

    pub(crate) fn deadline(&self) -> Duration {
        self.job.deadline
    }

    pub(crate) fn stepped(&self) -> u64 {
        self.stepped
    }

    /// What it asks for in all.
    pub(crate) fn demand(&self) -> Demand<'_> {
        self.job.demand_after(self.prompt)
    }

    /// How many of its last turns were given up for somebody else.
    pub(crate) fn cuts(&self) -> u32 {
        self.cuts
    }

    /// Its turn was given up: nothing has changed but that.
    pub(crate) fn cut(&mut self) {
        self.cuts += 1;
    }

    /// Prompt and answer so far.
    pub(crate) fn tokens(&self) -> &[TokenId] {
        &self.job.tokens
    }

    /// Of these, what the model has.
    pub(crate) fn held(&self) -> &[TokenId] {
        &self.job.tokens[..self.held]
    }

    pub(crate) fn pending(&self) -> usize {
        self.job.tokens.len() - self.held
    }

    pub(crate) fn reserved(&self) -> usize {
        self.reserved
    }

    /// Whether it needs its cache no longer: it ended, or its reader is gone.
    pub(crate) fn has_ended(&self) -> bool {
        self.ending.is_some() || self.is_over()
    }

    /// Whether its last event was taken, or nobody is left to take it.
    pub(crate) fn is_over(&self) -> bool {
        self.over || self.job.events.is_closed()
    }

    /// Whether its cache may hold anything.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Whether it can be stepped now. A reader without room rests this sequence and no other.
    pub(crate) fn is_ready(&self) -> bool {
        !self.has_ended() && self.job.events.capacity() > 0
    }

    /// It has a place in the model, as `id`, which holds the first `held` of its tokens.
    pub(crate) fn start(&mut self, id: SequenceId, held: usize) {
        (self.id, self.held) = (id, held);
        if !self.started {
            self.started = true;
            // Nothing was sent before, so there is room.
            self.over = self.job.events.try_send(StepEvent::Started { cached_tokens: held }).is_err();
        }
    }

    /// It lost its place and will be computed again. `reserved` is what it asks for then.
    pub(crate) fn stop(&mut self, reserved: usize) {
        (self.held, self.reserved) = (0, reserved.min(self.job.context_tokens));
    }

    /// Whether it has been started before.
    pub(crate) fn was_started(&self) -> bool {
        self.started
    }

    /// The next `length` tokens for the model.
    pub(crate) fn span(&self, length: usize) -> Span<'_> {
        let end = self.held + length;
        let wants_logits = end == self.job.tokens.len();
        Span { sequence: self.id, tokens: &self.job.tokens[self.held..end], wants_logits }
    }

    /// The model has seen `length` more tokens in turn `turn`; with logits, the next token is chosen and sent. True
    /// when one was made.
    pub(crate) fn advance(&mut self, length: usize, logits: Option<Logits>, turn: u64, now: Duration) -> bool {
        self.held += length;
        (self.stepped, self.cuts) = (turn, 0);
        let Some(mut logits) = logits else { return false };
        let (token, part) = self.job.sampler.next(&mut logits);
        let sampling = self.job.sampler.sampling();
        let stops = part == Part::Answer && sampling.stop_tokens.contains(&token);
        let ends = self.job.codec.is_end(token) && !sampling.ignore_end;
        if ends || (stops && !sampling.keep_stop) {
            self.end(StepEvent::Finished(FinishReason::Stop));
            return false;
        }
        // There is room: a sequence is only stepped when its channel has some, and nobody else sends into it.
        let event = match part {
            Part::Opening => StepEvent::Opening(token),
            Part::Answer => StepEvent::Token(token, now, PendingDelivery::new(&self.job.deliveries)),
        };
        if self.job.events.try_send(event).is_err() {
            self.over = true;
            return false;
        }
        self.job.tokens.push(token);
        if part == Part::Opening {
            self.prompt += 1;
            return false;
        }
        if self.job.tokens.len() > self.reserved {
            self.reserved = (self.reserved + ANSWER_TOKENS_EXPECTED).min(self.job.context_tokens);
        }
        if stops {
            self.end(StepEvent::Finished(FinishReason::Stop));
        } else if self.job.tokens.len() - self.prompt >= self.job.max_tokens {
            self.end(StepEvent::Finished(FinishReason::Length));
        } else if self.held >= self.job.context_tokens {
            self.end(StepEvent::Finished(FinishReason::ContextFull));
        }
        true
    }

    /// Its last event; what the model holds of it is whole.
    pub(crate) fn end(&mut self, event: StepEvent) {
        self.ending = Some(event);
        self.flush();
    }

    /// There is no more room for its cache: an answer that has begun ends here.
    pub(crate) fn run_out(&mut self, error: Error) {
        if self.job.tokens.len() == self.prompt {
            return self.fail(error);
        }
        self.broken = true;
        self.end(StepEvent::Finished(FinishReason::ContextFull));
    }

    /// Its last event after a step that failed.
    pub(crate) fn fail(&mut self, error: Error) {
        self.broken = true;
        self.end(StepEvent::Failed(error));
    }

    /// Hands over the last event, if there is room by now.
    pub(crate) fn flush(&mut self) {
        if let Some(event) = self.ending.take() {
            match self.job.events.try_send(event) {
                Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => self.over = true,
                Err(mpsc::error::TrySendError::Full(event)) => self.ending = Some(event),
            }
        }
    }
}
