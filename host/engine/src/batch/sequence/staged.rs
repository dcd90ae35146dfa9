//! The tokens of a sequence under the token stage: what its session decided becomes tokens.

use std::time::Duration;

use firebox_contract::{Error, FinishReason, PendingDelivery, TokenAction, TokenRule};

use super::{AnswerGrowth, HeldToken, Sequence, SequenceEvent};

impl Sequence {
    /// Whether plugins decide about its tokens.
    pub(crate) fn has_session(&self) -> bool {
        self.request.stage.is_some()
    }

    /// Whether it waits for its session, and the session was not late before.
    pub(crate) fn rests_shortly(&self) -> bool {
        !self.has_ended() && self.request.stage.as_ref().is_some_and(|stage| stage.rests() && !stage.is_late)
    }

    /// Records whether its session has decided in time.
    pub(crate) fn note_lateness(&mut self) {
        if let Some(stage) = &mut self.request.stage {
            stage.is_late = stage.rests();
        }
    }

    /// Records that its session has decided by the end of a step.
    pub(super) fn note_timeliness(&mut self) {
        if let Some(stage) = &mut self.request.stage {
            stage.is_late &= stage.rests();
        }
    }

    /// Sends the session a step, if it can decide about the next token without its logits.
    pub(super) fn ask_ahead(&mut self) {
        let (ended, has_choice) = (self.has_ended(), self.request.sampler.has_choice());
        let Some(stage) = self.request.stage.as_mut().filter(|_| !ended) else { return };
        if stage.ending.is_some() || (has_choice && stage.forced.is_empty() && !stage.needs_logits()) {
            stage.ask();
        }
    }

    /// Chooses the next tokens, if the session has decided, and sends those that are not held back.
    pub(crate) fn settle(&mut self, now: Duration) -> AnswerGrowth {
        let mut growth = AnswerGrowth::default();
        if !self.has_ended() {
            growth.tokens = self.decide(now);
            self.ask_ahead();
        }
        self.release_due();
        growth
    }

    /// Returns the number of tokens by which the answer has grown.
    fn decide(&mut self, now: Duration) -> u64 {
        let Some(stage) = &mut self.request.stage else { return 0 };
        if let Some(reason) = stage.ending {
            match stage.decision() {
                None => {}
                Some(Ok(TokenAction::Backtrack(count))) => self.backtrack(count),
                Some(Ok(_)) => self.end(SequenceEvent::Finished(reason)),
                Some(Err(error)) => self.end(SequenceEvent::Failed(error)),
            }
            return 0;
        }
        if stage.logits.is_none() {
            return 0;
        }
        if !self.request.sampler.has_choice() {
            return self.choose(&TokenRule::default(), now);
        }
        if !stage.forced.is_empty() {
            return self.force(now);
        }
        match stage.decision() {
            None => 0,
            Some(Ok(TokenAction::Choose(rule))) => self.choose(&rule, now),
            Some(Ok(TokenAction::Force(tokens))) => {
                stage.forced.extend(tokens);
                self.force(now)
            }
            Some(Ok(TokenAction::Backtrack(count))) => {
                self.backtrack(count);
                0
            }
            Some(Ok(TokenAction::Stop)) => {
                self.end(SequenceEvent::Finished(FinishReason::Plugin));
                0
            }
            Some(Err(error)) => {
                self.end(SequenceEvent::Failed(error));
                0
            }
        }
    }

    /// Samples the next token under `rule`.
    fn choose(&mut self, rule: &TokenRule, now: Duration) -> u64 {
        let Some(mut logits) = self.request.stage.as_mut().and_then(|stage| stage.logits.take()) else { return 0 };
        let can_take_back = self.request.sampler.can_take_back();
        let sampled = self.request.sampler.next(&mut logits, rule);
        let grown = self.take(sampled, now);
        if !can_take_back {
            self.release(0);
        }
        u64::from(grown)
    }

    /// Takes the forced tokens, all at once. If the request asks for probabilities, one is taken and the others wait for their
    /// logits.
    fn force(&mut self, now: Duration) -> u64 {
        let mut count = 0;
        while let Some(stage) = self.request.stage.as_mut().filter(|stage| stage.ending.is_none())
            && let Some(token) = stage.forced.pop_front()
        {
            let logits = stage.logits.take();
            let can_take_back = self.request.sampler.can_take_back();
            let sampled = self.request.sampler.force(token, logits.as_deref());
            count += u64::from(self.take(sampled, now));
            if !can_take_back {
                self.release(0);
            }
            if self.has_ended() || self.request.sampler.sampling().logprobs.is_some() {
                break;
            }
        }
        count
    }

    /// Takes back the last `count` tokens. Their keys and values are removed, and the token before them is computed again.
    fn backtrack(&mut self, count: usize) {
        let Some(stage) = &mut self.request.stage else { return };
        (stage.logits, stage.ending) = (None, None);
        if !stage.take_back(count) {
            let error = format!("a session took back {count} tokens that are not held back");
            return self.end(SequenceEvent::Failed(Error::Internal(error)));
        }
        let kept = self.request.tokens.len() - count;
        let removed = self.request.tokens.split_off(kept);
        if let Err(error) = self.request.sampler.take_back(&removed) {
            return self.end(SequenceEvent::Failed(error));
        }
        let computed = kept.saturating_sub(1);
        if computed < self.computed {
            self.computed = computed;
            self.has_refused = true;
        }
    }

    /// Sends the tokens that are not to be held back any more.
    fn release_due(&mut self) {
        if let Some(keep) = self.request.stage.as_ref().map(|stage| stage.hold_back()) {
            self.release(keep);
        }
    }

    /// Sends held tokens, as far as the reader's channel has room, until `keep` are left. Returns whether all were sent.
    pub(super) fn release(&mut self, keep: usize) -> bool {
        let Some(stage) = &mut self.request.stage else { return true };
        while stage.held.len() > keep {
            let Ok(slot) = self.request.events.try_reserve() else {
                self.done |= self.request.events.is_closed();
                return false;
            };
            let Some(HeldToken { token, at, scores }) = stage.held.pop_front() else { break };
            slot.send(SequenceEvent::Token(token, at, PendingDelivery::new(&self.request.deliveries), scores));
        }
        true
    }
}
