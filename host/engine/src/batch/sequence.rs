//! One sequence on the model's thread: the tokens of one assistant turn, its sampler and its reader.

mod staged;

use std::sync::Arc;
use std::time::Duration;

use firebox_contract::limits::ANSWER_TOKENS_EXPECTED;
use firebox_contract::{
    CacheUse, DeliveryTracker, Error, FinishReason, Logits, PendingDelivery, SequenceId, Span, TenantId, TextCodec,
    TokenId, TokenRule,
};
use tokio::sync::mpsc;

use super::speculation::Drafter;
use super::token_stage::{HeldToken, TokenStage};
use crate::sampler::scores::TokenScores;
use crate::sampler::token_healing::TokenPart;
use crate::sampler::{SampledToken, Sampler};
use crate::scheduler::{JobSize, PendingWork};

/// What a generation sends to the model's thread for one assistant turn.
pub(crate) struct SequenceRequest {
    /// The tenant whose prefix cache is used and whose share is charged.
    pub(crate) tenant: TenantId,
    /// The tenant's weight in the scheduler.
    pub(crate) weight: u32,
    /// Time that compiling its grammar took, which is charged too.
    pub(crate) prepared: Duration,
    /// The time at which the sequence is ended, on the engine's clock.
    pub(crate) deadline: Duration,
    /// The prompt; not empty. It includes the tokens at its end that token healing generates again.
    pub(crate) tokens: Vec<TokenId>,
    pub(crate) sampler: Sampler,
    /// Plugins that decide about the tokens; `None` without any.
    pub(crate) stage: Option<TokenStage>,
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
    /// A token of the answer, the time at which it was sampled, and its scores if the request asks for them.
    Token(TokenId, Duration, PendingDelivery, Option<Box<TokenScores>>),
    /// The last event of a sequence that ended normally.
    Finished(FinishReason),
    /// The last event of a sequence that failed.
    Failed(Error),
}

/// What a step added to a sequence.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct AnswerGrowth {
    /// Tokens of its answer.
    pub(crate) tokens: u64,
    /// Drafted tokens that were accepted.
    pub(crate) accepted: u64,
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
    /// Drafts its next tokens; `None` without speculation.
    drafter: Option<Drafter>,
    /// In a step that verifies drafts: the next token to compute, and the drafted tokens after it. Empty in other steps.
    verified: Vec<TokenId>,
    /// Its KV cache ends with refused drafts.
    has_refused: bool,
    /// The last event, while the reader's channel has no room for it.
    last_event: Option<SequenceEvent>,
    done: bool,
    /// The content of its KV cache is undefined.
    cache_invalid: bool,
}

impl Sequence {
    pub(crate) fn new(arrival: u64, mut request: SequenceRequest, drafter: Option<Drafter>) -> Self {
        // Token healing generates at most as many tokens as it removes, so the reservation covers them.
        let reserved = request.tokens.len().saturating_add(request.expected_tokens).min(request.context_tokens);
        let prompt = request.tokens.len() - request.sampler.tokens_to_heal();
        request.tokens.truncate(prompt);
        let mut this = Self {
            id: SequenceId(0),
            arrival,
            request,
            prompt,
            computed: 0,
            reserved,
            started: false,
            last_step: 0,
            aborted_steps: 0,
            drafter,
            verified: Vec::new(),
            has_refused: false,
            last_event: None,
            done: false,
            cache_invalid: false,
        };
        // The session decides about the first token while the prompt is computed.
        this.ask_ahead();
        this
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

    /// Whether its prompt is not computed yet, and it has no answer.
    pub(crate) fn computes_prompt(&self) -> bool {
        !self.has_ended() && self.computed < self.prompt && self.request.tokens.len() == self.prompt
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

    /// Whether the next step can include it. A reader whose channel is full and a session that has not decided pause this
    /// sequence and no other.
    pub(crate) fn is_ready(&self) -> bool {
        !self.has_ended()
            && self.request.events.capacity() > 0
            && self.request.stage.as_ref().is_none_or(|stage| !stage.rests() && stage.held.len() <= stage.hold_back())
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
        self.cache_invalid = false;
        if let Some(stage) = &mut self.request.stage {
            stage.logits = None;
        }
    }

    /// Whether it was started before.
    pub(crate) fn was_started(&self) -> bool {
        self.started
    }

    /// Drafts the tokens after the next one, for a step that `cache` describes. `None` without a draft; else the drafter, and
    /// how many of its tokens may be verified. A draft never makes the KV cache grow by a block.
    pub(crate) fn draft(&mut self, cache: &CacheUse) -> Option<(&Drafter, usize)> {
        self.verified.clear();
        let (pending, tokens) = (self.pending_tokens(), self.request.tokens.len());
        let drafter = self.drafter.as_mut()?;
        if pending != 1 || self.request.sampler.tokens_to_heal() > 0 {
            drafter.clear();
            return None;
        }
        let answer_left = self.request.max_tokens.saturating_sub(tokens - self.prompt + 1);
        let context_left = self.request.context_tokens.saturating_sub(tokens);
        let block_left = match cache.budget_bytes {
            0 => usize::MAX,
            _ => tokens.next_multiple_of(cache.block_tokens.max(1)) - tokens,
        };
        // Each token that is drawn is sent at once.
        let events_left = self.request.events.capacity().saturating_sub(1);
        let most = answer_left.min(context_left).min(block_left).min(events_left);
        let codec = &self.request.codec;
        drafter.draft(&self.request.tokens, most, |token| codec.is_end(token));
        Some((drafter, most.min(drafter.tokens().len())))
    }

    /// Has the next step verify the first `count` drafted tokens.
    pub(crate) fn verify(&mut self, count: usize) {
        if let (Some(drafter), Some(next), 1..) = (&self.drafter, self.request.tokens.last(), count) {
            self.verified.push(*next);
            self.verified.extend(drafter.tokens().iter().take(count));
        }
    }

    /// Number of drafted tokens that the planned step verifies.
    pub(crate) fn drafted(&self) -> usize {
        self.verified.len().saturating_sub(1)
    }

    /// Whether its KV cache ends with refused drafts, which are to be removed. The flag is then cleared.
    pub(crate) fn take_refused(&mut self) -> bool {
        std::mem::take(&mut self.has_refused)
    }

    /// Stops drafting. Its KV cache still ends with refused drafts and is of no use.
    pub(crate) fn abandon_cache(&mut self) {
        (self.drafter, self.cache_invalid) = (None, true);
    }

    /// The next `length` tokens to compute, and the drafted tokens that the step verifies.
    pub(crate) fn span(&self, length: usize) -> Span<'_> {
        if !self.verified.is_empty() {
            return Span { sequence: self.id, tokens: &self.verified, wants_logits: true };
        }
        let end = self.computed + length;
        let wants_logits = end == self.request.tokens.len();
        Span { sequence: self.id, tokens: &self.request.tokens[self.computed..end], wants_logits }
    }

    /// Records that step `step` computed `length` more tokens, and the drafts that it verified. For each row of `logits`
    /// it samples the next token and sends it, up to the first token that differs from its draft.
    pub(crate) fn advance(&mut self, length: usize, logits: Vec<Logits>, step: u64, now: Duration) -> AnswerGrowth {
        self.computed += length;
        (self.last_step, self.aborted_steps) = (step, 0);
        if let Some(stage) = &mut self.request.stage {
            stage.logits = logits.into_iter().next();
            let growth = self.settle(now);
            self.note_timeliness();
            return growth;
        }
        let mut growth = AnswerGrowth::default();
        for (position, mut logits) in logits.into_iter().enumerate() {
            let before = self.request.tokens.len();
            growth.tokens += u64::from(self.push_next(&mut logits, now));
            let drawn = self.request.tokens.get(before).copied();
            if let Some(drafter) = &mut self.drafter {
                drafter.learn(position, drawn);
            }
            let is_accepted = drawn.is_some() && self.verified.get(position + 1).copied() == drawn;
            if !is_accepted || self.has_ended() {
                break;
            }
            growth.accepted += 1;
            self.computed += 1;
        }
        self.has_refused = self.drafted() as u64 > growth.accepted;
        growth
    }

    /// Samples the next token and sends it. Returns whether the answer has grown by a token.
    fn push_next(&mut self, logits: &mut Logits, now: Duration) -> bool {
        let sampled = self.request.sampler.next(logits, &TokenRule::default());
        self.take(sampled, now)
    }

    /// Takes a token that was chosen. Returns whether the answer has grown by a token.
    pub(super) fn take(&mut self, sampled: Result<SampledToken, Error>, now: Duration) -> bool {
        let (token, part, complete) = match sampled {
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
        if !self.deliver(token, part, now) {
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
            self.finish(FinishReason::Stop);
        } else if self.request.tokens.len() - self.prompt >= self.request.max_tokens {
            self.finish(FinishReason::Length);
        } else if self.computed >= self.request.context_tokens {
            self.finish(FinishReason::ContextFull);
        }
        true
    }

    /// Sends a token, or holds it back. Returns false if the reader is gone.
    fn deliver(&mut self, token: TokenId, part: TokenPart, now: Duration) -> bool {
        if part == TokenPart::Opening {
            // The channel has room: `is_ready` checked it before the step, and this is its only sender.
            let sent = self.request.events.try_send(SequenceEvent::Opening(token));
            self.request.stage.iter_mut().for_each(|stage| stage.accept(token));
            return sent.is_ok();
        }
        let scores = self.request.sampler.take_scores();
        if let Some(stage) = &mut self.request.stage {
            stage.accept(token);
            stage.held.push_back(HeldToken { token, at: now, scores });
            return true;
        }
        let delivery = PendingDelivery::new(&self.request.deliveries);
        self.request.events.try_send(SequenceEvent::Token(token, now, delivery, scores)).is_ok()
    }

    /// Ends the answer after its last token, unless a session may take that token back.
    fn finish(&mut self, reason: FinishReason) {
        match &mut self.request.stage {
            Some(stage) if stage.hold_back() > 0 => stage.ending = Some(reason),
            _ => self.end(SequenceEvent::Finished(reason)),
        }
    }

    /// Ends it with `event`. Its KV cache stays valid. Tokens that are held back are sent if the answer ends by itself.
    pub(crate) fn end(&mut self, event: SequenceEvent) {
        if let Some(stage) = &mut self.request.stage {
            (stage.logits, stage.ending) = (None, None);
            if !matches!(event, SequenceEvent::Finished(reason) if reason != FinishReason::Timeout) {
                stage.held.clear();
            }
        }
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
        if self.last_event.is_some() && !self.release(0) {
            return;
        }
        if let Some(event) = self.last_event.take() {
            match self.request.events.try_send(event) {
                Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => self.done = true,
                Err(mpsc::error::TrySendError::Full(event)) => self.last_event = Some(event),
            }
        }
    }
}
