//! From an assistant turn to its tool round, and from there to the next turn.

use std::sync::Arc;

use firebox_contract::{FinishReason, Message, Prompt, PromptEnd, Role};

use super::history::append_turn;
use super::{Generation, Phase};
use crate::tools::{RunningRound, ToolRound};

/// Whether an answer with this reason may end in the middle of a call.
fn is_cut(reason: FinishReason) -> bool {
    matches!(reason, FinishReason::Length | FinishReason::ContextFull | FinishReason::Timeout)
}

impl Generation {
    /// Ends a turn. It was the answer, or it calls tools.
    pub(super) fn end_turn(&mut self, reason: FinishReason) {
        let Some(transcript) = self.leave_turn() else { return };
        if transcript.calls.is_empty() || reason == FinishReason::Plugin {
            // An empty answer is a message too: the next message of the conversation comes from the user.
            append_turn(&mut self.history, vec![Message::text(Role::Assistant, transcript.emitted)]);
            return self.finish(reason);
        }
        let streamed = std::mem::take(&mut self.streamed);
        let mut round = ToolRound::new(transcript, &streamed, &self.offered, &self.options, &mut self.call_history);
        self.cut_call = Some(reason).filter(|_| round.ends_cut);
        if let Some((reason, message)) = self.tool_round_refusal(reason, round.repeats) {
            round.refuse_all(message);
            if !round.has_client_calls() {
                round.answer_refused(&mut self.usage_guard);
                append_turn(&mut self.history, round.history());
                return self.finish(reason);
            }
        }
        self.tool_rounds_left = self.tool_rounds_left.saturating_sub(1);
        self.phase = Phase::ToolRound(Box::new(RunningRound::new(round, self.tools.clone())));
    }

    /// Why the host runs no calls of this turn, if so: the reason that ends the generation, and the message to the model.
    fn tool_round_refusal(&self, reason: FinishReason, repeats: bool) -> Option<(FinishReason, &'static str)> {
        if repeats {
            Some((FinishReason::ToolLoop, "not run: the same call was made before, with the same arguments"))
        } else if self.tool_rounds_left == 0 {
            Some((FinishReason::ToolRounds, "not run: no tool round is left"))
        } else if reason == FinishReason::ContextFull {
            Some((reason, "not run: the context is full"))
        } else if reason == FinishReason::Timeout {
            Some((reason, "not run: the request's time is up"))
        } else if self.sampling.max_tokens.is_some_and(|max| self.usage.completion_tokens >= max) {
            Some((FinishReason::Length, "not run: no tokens are left for an answer"))
        } else {
            None
        }
    }

    /// Ends a tool round. The model continues with the results, or the generation ends if the client runs some calls.
    pub(super) fn finish_tool_round(&mut self) {
        let Phase::ToolRound(round) = std::mem::replace(&mut self.phase, Phase::TurnStart) else { return };
        append_turn(&mut self.history, round.history());
        if round.has_client_calls() {
            // A call that was sent in parts and is cut off belongs to an answer that is cut off.
            return self.finish(self.cut_call.filter(|reason| is_cut(*reason)).unwrap_or(FinishReason::ToolCalls));
        }
        if let Prompt::Chat(conversation) = Arc::make_mut(&mut self.prompt) {
            match self.chat.end {
                // The turn continued the last message, so its text belongs to that message.
                PromptEnd::FinalMessage => append_turn(conversation, round.conversation()),
                _ => conversation.extend(round.conversation()),
            }
        }
        // The next turn is a new message.
        Arc::make_mut(&mut self.chat).end = PromptEnd::GenerationPrompt;
    }
}
