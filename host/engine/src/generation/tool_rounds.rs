//! From an assistant turn to its tool round, and from there to the next turn.

use std::sync::Arc;

use firebox_contract::{Error, FinishReason, Message, Prompt, PromptEnd, Role, ToolCall, ToolDefinition};

use super::assistant_turn::Transcript;
use super::history::append_turn;
use super::streamed_calls::StreamedCalls;
use super::{Generation, Phase};
use crate::toolcall::Piece;
use crate::tools::arguments::ArgumentCheck;
use crate::tools::{RunningRound, ToolRound};

/// Whether an answer with this reason may end in the middle of a call.
fn is_cut(reason: FinishReason) -> bool {
    matches!(reason, FinishReason::Length | FinishReason::ContextFull | FinishReason::Timeout)
}

impl Generation {
    /// Starts with the round of the calls that the request itself makes.
    ///
    /// # Errors
    /// `Error::Usage` for an unknown or denied tool, and for arguments that do not fit its schema.
    pub(super) async fn start_with_calls(&mut self) -> Result<(), Error> {
        let calls = std::mem::take(&mut self.options.first);
        let tools = calls.iter().map(|call| self.first_tool(&call.name)).collect::<Result<Vec<_>, _>>()?;
        let check = ArgumentCheck::sharing(&self.tools);
        for (call, tool) in calls.iter().zip(&tools) {
            check.check(tool, &call.arguments_json).await.map_err(|reason| {
                let (name, schema) = (&call.name, &tool.input_schema_json);
                Error::Usage(format!("the arguments of \"{name}\" do not fit: {reason}; the schema is {schema}"))
            })?;
        }
        let piece = |call: ToolCall| Piece::Call { name: call.name, arguments_json: call.arguments_json };
        let transcript = Transcript { calls: calls.into_iter().map(piece).collect(), ..Transcript::default() };
        let streamed = StreamedCalls::default();
        let round = ToolRound::new(transcript, &streamed, &self.offered, &self.options, &mut self.call_history);
        self.phase = Phase::ToolRound(Box::new(RunningRound::new(round, self.tools.clone())));
        Ok(())
    }

    /// The tool of a call that the request makes.
    fn first_tool(&self, name: &str) -> Result<ToolDefinition, Error> {
        if self.offered.is_denied(name) {
            return Err(Error::Usage(format!("policy denies the tool \"{name}\"")));
        }
        let names = self.offered.names();
        let names = if names.is_empty() { "none is offered".to_owned() } else { format!("the tools are {names}") };
        let unknown = || Error::Usage(format!("there is no tool \"{name}\"; {names}"));
        self.offered.find(name).map(|found| found.0.clone()).ok_or_else(unknown)
    }

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
