//! The start of an assistant turn: the prompt is rendered, tokenized and sent to the model's thread.

use std::sync::Arc;

use firebox_contract::{Encoded, Error, FinishReason, Prompt, TokenId, limits};
use tokio::sync::mpsc;

use super::assistant_turn::{AssistantTurn, TokenStream, Transcript, TurnTimer};
use super::prompt_encoding::{self, PromptInput};
use super::start::format_of_codec;
use super::stop_strings::StopMatcher;
use super::streamed_calls::{CallPart, StreamedCalls};
use super::{Generation, Phase, timed_out};
use crate::batch::sequence::SequenceRequest;
use crate::reasoning::{ReasoningGate, ReasoningSplitter, ReasoningState};
use crate::sampler::token_healing::TokenHealing;
use crate::toolcall::{MarkerFilter, Piece, ToolCallParser};

/// The prompt of a turn.
struct EncodedTurn {
    encoded: Encoded,
    state: ReasoningState,
}

impl Generation {
    /// Tokenizes the conversation and sends it to the model's thread.
    pub(super) async fn start_turn(&mut self) -> Result<(), Error> {
        let (forced, context) = (self.offered.forced.clone().unwrap_or_default(), self.context);
        let turn = self.encode_turn(&forced, context.saturating_sub(1)).await?;
        let Some(EncodedTurn { encoded, state }) = turn else { return self.time_out() };
        let tokens = match encoded {
            Encoded::Whole(tokens) if tokens.len() < context => tokens,
            _ if !self.history.is_empty() => {
                // Tool results have filled the context. The turns so far are the answer.
                self.finish(FinishReason::ContextFull);
                return Ok(());
            }
            encoded => {
                let tools = self.pipeline.explain_tool_tokens(&self.tools.caller, self.offered.definitions());
                return Err(prompt_encoding::too_long(encoded.count(), context, &tools.unwrap_or_default()));
            }
        };
        let (prompt_tokens, length) = (tokens.len(), self.answer_length(context - tokens.len()));
        self.usage_guard.reserve(prompt_tokens + length.expected)?;
        let texts = if forced.is_empty() { None } else { self.pipeline.codec.token_texts() };
        let healing = texts.and_then(|texts| TokenHealing::new(texts, &forced, &tokens));
        let opening = healing.as_ref().map(|healing| healing.text().to_owned()).unwrap_or_default();
        let before = &tokens[..tokens.len() - healing.as_ref().map_or(0, TokenHealing::tokens)];
        let guard = self.grammar_guard(&forced[..forced.len() - opening.len()]).await?;
        let gate = self.reasoning_gate(state, &tokens, guard.is_some())?;
        let stage = self.start_token_stage(before).await?;
        let decoder = match self.sampling.show_special {
            true => self.pipeline.codec.decoder_with_specials(before),
            false => self.pipeline.codec.decoder(before),
        };
        let (sender, events) = mpsc::channel(limits::EVENTS_BUFFERED_MAX);
        let submitted = self.pipeline.clock.now();
        let request = SequenceRequest {
            tenant: self.tools.caller.tenant.clone(),
            weight: self.tools.caller.weight,
            prepared: std::mem::take(&mut self.grammar_time),
            deadline: self.until,
            stage,
            sampler: self.sampler(&tokens, healing).with_reasoning(gate).with_grammar(guard),
            tokens,
            max_tokens: length.max,
            expected_tokens: length.expected,
            context_tokens: self.pipeline.context_tokens(),
            codec: Arc::clone(&self.pipeline.codec),
            deliveries: Arc::clone(&self.pipeline.deliveries),
            events: sender,
        };
        self.pipeline.worker.submit(request).await?;
        self.usage_guard.turn_started();
        self.offered.forced = None;
        self.usage.prompt_tokens += prompt_tokens;
        self.streamed = StreamedCalls::default();
        let (parser, call_parts) =
            self.parser(&forced).map_or((None, Vec::new()), |(parser, parts)| (Some(parser), parts));
        self.phase = Phase::Turn(Box::new(AssistantTurn {
            tokens: TokenStream::new(events, Some(self.pipeline.worker.thread())),
            decoder,
            splitter: self.splitter(state),
            reasoning_tokens: 0,
            stops: StopMatcher::new(self.sampling.stop.clone(), self.sampling.keep_stop),
            min_tokens: self.min_tokens(),
            length,
            parser,
            call_parts: self.options.stream_calls.then_some(call_parts),
            opening,
            transcript: Transcript::default(),
            timer: TurnTimer { submitted, ..TurnTimer::default() },
            token_gap: None,
        }));
        Ok(())
    }

    /// The tool-call parser of a turn that begins with `prefix`, and the parts of a call that the prefix has.
    fn parser(&self, prefix: &str) -> Option<(Box<dyn ToolCallParser>, Vec<CallPart>)> {
        let format = format_of_codec(&self.pipeline)?;
        if self.offered.definitions().is_empty() {
            let filters = !format.markers.is_empty() && matches!(*self.prompt, Prompt::Chat(_));
            let filter = || Box::new(MarkerFilter::new(format.markers)) as Box<dyn ToolCallParser>;
            return filters.then(|| (filter(), Vec::new()));
        }
        let mut parser = (format.parser)(self.offered.definitions());
        // A forced opening only begins a call. It may have the name of the tool.
        let parts = parser.push(prefix).into_iter().filter_map(|piece| match piece {
            Piece::Delta { name, arguments } => Some(CallPart::Piece { index: 0, name, arguments }),
            _ => None,
        });
        let parts = parts.collect();
        Some((parser, parts))
    }

    /// Tokenizes the conversation with the opening `forced`. If the prompt opens the reasoning, the opening closes it first.
    /// Returns `None` if the time is up and there is an earlier turn.
    async fn encode_turn(&mut self, forced: &str, max: usize) -> Result<Option<EncodedTurn>, Error> {
        let mut prefix = forced.to_owned();
        if let Some(format) = self.pipeline.reasoning.format().filter(|_| !forced.is_empty()) {
            let Some(plain) = self.encode("", max).await? else { return Ok(None) };
            if self.state_after(&plain) == ReasoningState::Open {
                prefix.insert_str(0, format.forced_close);
            }
        }
        let Some(encoded) = self.encode(&prefix, max).await? else { return Ok(None) };
        let state = if forced.is_empty() { self.state_after(&encoded) } else { ReasoningState::Closed };
        Ok(Some(EncodedTurn { encoded, state }))
    }

    /// The state of a turn after this prompt.
    fn state_after(&self, encoded: &Encoded) -> ReasoningState {
        let Encoded::Whole(tokens) = encoded else { return ReasoningState::Closed };
        self.pipeline.reasoning.after_prompt(&*self.pipeline.codec, &self.prompt, self.chat.end, tokens)
    }

    /// What separates the reasoning of a turn that begins in `state`.
    fn splitter(&self, state: ReasoningState) -> Option<Box<dyn ReasoningSplitter>> {
        let format = self.pipeline.reasoning.format()?;
        let is_wanted = self.reasoning.separate && matches!(*self.prompt, Prompt::Chat(_));
        is_wanted.then(|| format.splitter(state))
    }

    /// What follows the reasoning of a turn on the model's thread: for a budget, and for a grammar, which begins after the
    /// reasoning. `None` if neither is there, or the turn has no reasoning.
    fn reasoning_gate(
        &self,
        state: ReasoningState,
        prompt: &[TokenId],
        has_grammar: bool,
    ) -> Result<Option<ReasoningGate>, Error> {
        let budget = self.reasoning.max_tokens;
        let is_needed = state != ReasoningState::Closed && (budget.is_some() || has_grammar);
        let Some(format) = self.pipeline.reasoning.format().filter(|_| is_needed) else { return Ok(None) };
        ReasoningGate::new(&self.pipeline.codec, format, (state, prompt), budget).map(Some)
    }

    /// Tokenizes the conversation, to `max` tokens or a lower bound above. Returns `None` if the time is up and there is
    /// an earlier turn.
    async fn encode(&mut self, prefix: &str, max: usize) -> Result<Option<Encoded>, Error> {
        let input = PromptInput {
            codec: Arc::clone(&self.pipeline.codec),
            prompt: Arc::clone(&self.prompt),
            options: Arc::clone(&self.chat),
            tools: Arc::clone(self.offered.definitions()),
            prefix: prefix.to_owned(),
        };
        let encoded = input.encode(&self.pipeline.encoding_permits, &self.tools.caller.tenant, max);
        tokio::select! {
            biased;
            encoded = encoded => encoded.map(Some),
            () = &mut self.deadline => if self.history.is_empty() { Err(timed_out()) } else { Ok(None) },
        }
    }
}
