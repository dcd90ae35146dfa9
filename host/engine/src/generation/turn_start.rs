//! The start of an assistant turn: the prompt is rendered, tokenized and sent to the model's thread.

use std::sync::Arc;

use firebox_contract::{Encoded, Error, FinishReason, Prompt, limits};
use tokio::sync::mpsc;

use super::assistant_turn::{AssistantTurn, TokenStream, Transcript, TurnTimer};
use super::prompt_encoding::{self, PromptInput};
use super::start::format_of_codec;
use super::stop_strings::StopMatcher;
use super::{Generation, Phase, timed_out};
use crate::batch::sequence::SequenceRequest;
use crate::sampler::token_healing::TokenHealing;
use crate::toolcall::{MarkerFilter, ToolCallParser};

impl Generation {
    /// Tokenizes the conversation and sends it to the model's thread.
    pub(super) async fn start_turn(&mut self) -> Result<(), Error> {
        let prefix = self.offered.forced.clone().unwrap_or_default();
        let context = self.context;
        let Some(encoded) = self.encode(&prefix, context.saturating_sub(1)).await? else { return self.time_out() };
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
        let prompt_tokens = tokens.len();
        let length = self.answer_length(context - prompt_tokens);
        self.usage_guard.reserve(prompt_tokens + length.expected)?;
        let texts = if prefix.is_empty() { None } else { self.pipeline.codec.token_texts() };
        let healing = texts.and_then(|texts| TokenHealing::new(texts, &prefix, &tokens));
        let opening = healing.as_ref().map(|healing| healing.text().to_owned()).unwrap_or_default();
        let healed_tokens = healing.as_ref().map_or(0, TokenHealing::tokens);
        let before = &tokens[..tokens.len() - healed_tokens];
        let guard = self.grammar_guard(&prefix[..prefix.len() - opening.len()]).await?;
        let decoder = match self.sampling.show_special {
            true => self.pipeline.codec.decoder_with_specials(before),
            false => self.pipeline.codec.decoder(before),
        };
        let (sender, events) = mpsc::channel(limits::EVENTS_BUFFERED_MAX);
        let submitted = self.pipeline.clock.now();
        let request = SequenceRequest {
            tenant: self.tools.caller.tenant.clone(),
            weight: self.tools.caller.weight,
            deadline: self.until,
            sampler: self.sampler(&tokens, healing).with_grammar(guard),
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
        self.phase = Phase::Turn(Box::new(AssistantTurn {
            tokens: TokenStream::new(events, Some(self.pipeline.worker.thread())),
            decoder,
            stops: StopMatcher::new(self.sampling.stop.clone(), self.sampling.keep_stop),
            min_tokens: self.min_tokens(),
            length,
            parser: self.parser(&prefix),
            opening,
            transcript: Transcript::default(),
            timer: TurnTimer { submitted, ..TurnTimer::default() },
            token_gap: None,
        }));
        Ok(())
    }

    /// The tool-call parser of a turn that begins with `prefix`.
    fn parser(&self, prefix: &str) -> Option<Box<dyn ToolCallParser>> {
        let format = format_of_codec(&self.pipeline)?;
        if self.offered.definitions().is_empty() {
            let filters = !format.markers.is_empty() && matches!(*self.prompt, Prompt::Chat(_));
            return filters.then(|| Box::new(MarkerFilter::new(format.markers)) as Box<dyn ToolCallParser>);
        }
        let mut parser = (format.parser)();
        // A forced opening only begins a call, so the parser returns no piece for it.
        let _opening = parser.push(prefix);
        Some(parser)
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
