//! The stream of one request's events. Dropping it cancels the request and gives back its permit, its KV cache and the
//! rest of its reservation.
//!
//! A generation alternates between assistant turns and tool rounds. In a turn the model writes text, which goes through
//! the stop strings, the tool-call parser and the plugins of the text stage (`assistant_turn`). If the turn calls tools,
//! a tool round runs them, and the next turn starts with their results (`tool_rounds`).

mod answer_length;
pub(crate) mod assistant_turn;
mod history;
pub(crate) mod prompt_encoding;
mod start;
pub(crate) mod stop_strings;
pub(crate) mod streamed_calls;
mod token_sessions;
mod tool_rounds;
mod turn_grammar;
mod turn_start;
pub(crate) mod usage_guard;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use firebox_contract::{
    BoxFuture, ChatOptions, Error, Event, Finish, FinishReason, Grammar, Hooks, Message, Prompt, ReasoningOptions,
    Sampling, ScoredToken, Timing, TokenId, TokenLogprobs, ToolOptions, Usage,
};
use futures_util::future::Fuse;

use self::assistant_turn::{AssistantTurn, Transcript, TurnProgress, TurnTimer};
use self::history::{append_turn, assistant_message};
pub(crate) use self::start::{OpenedRequest, SourceTools, list_tools, timed_out};
use self::streamed_calls::StreamedCalls;
use self::usage_guard::UsageGuard;
use crate::Pipeline;
use crate::admission::AdmissionPermit;
use crate::batch::token_stage::SessionHandle;
use crate::sampler::scores::TokenScores;
use crate::tools::{CallHistory, OfferedTools, RoundProgress, RunningRound, Tools};

/// A running request. Read its events with [`Generation::next`] until that returns `None`.
pub struct Generation {
    pipeline: Arc<Pipeline>,
    tools: Tools,
    offered: OfferedTools,
    options: ToolOptions,
    call_history: CallHistory,
    /// The calls of this turn that the client got already.
    streamed: StreamedCalls,
    /// Why the turn ended whose last call was sent in parts and is not complete.
    cut_call: Option<FinishReason>,
    /// The conversation so far. Shared with the thread that tokenizes it.
    prompt: Arc<Prompt>,
    /// The request's options for the chat template. Shared with the thread that tokenizes the prompt.
    chat: Arc<ChatOptions>,
    reasoning: ReasoningOptions,
    /// Maximum number of tokens of prompt and answer together.
    context: usize,
    sampling: Sampling,
    /// The form that the request asks for.
    grammar: Option<Grammar>,
    /// Time that compiling grammars took since the last turn was submitted.
    grammar_time: Duration,
    tool_rounds_left: usize,
    phase: Phase,
    /// Events that are ready to be read.
    ready: VecDeque<Event>,
    /// Tokens of the turns that ended.
    usage: Usage,
    /// Times of the turns that ended.
    timing: Timing,
    started: Duration,
    /// When the request's time is up, on the engine's clock.
    until: Duration,
    deadline: Deadline,
    /// The messages that this generation adds to the conversation, as clients and sessions store them.
    history: Vec<Message>,
    /// Why it has ended, until its last event is queued.
    finishing: Option<FinishReason>,
    /// The error that ended it. It is returned after all events in `ready`.
    failed: Option<Error>,
    usage_guard: UsageGuard,
    /// The outcome that the reservation is settled with if the generation is dropped.
    outcome: &'static str,
    /// Times between two tokens of a turn that were not taken yet. The length of an answer bounds their number.
    token_gaps: Vec<Duration>,
    /// The session of the turn's token stage, or of the last turn that had one.
    session: Option<SessionHandle>,
    _permit: Option<AdmissionPermit>,
}

/// Completes when the request's time is up.
pub(crate) type Deadline = Fuse<BoxFuture<'static, ()>>;

/// The phase of a generation.
enum Phase {
    /// A turn starts next.
    TurnStart,
    /// The model writes a turn.
    Turn(Box<AssistantTurn>),
    /// The tool calls of a turn run.
    ToolRound(Box<RunningRound>),
    /// The generation has ended.
    Ended,
}

impl Generation {
    /// The request's id, unique in this process.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.tools.request_id
    }

    /// The next event, or `None` after the last one. No event follows an error.
    ///
    /// Dropping the returned future loses no event. It interrupts only a call of a text-stage plugin that is running.
    ///
    /// # Errors
    /// A plugin's fault, a failure of the model, or a quota that is used up.
    pub async fn next(&mut self) -> Result<Option<Event>, Error> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            if let Some(error) = self.failed.take() {
                return Err(error);
            }
            if let Some(reason) = self.finishing {
                self.complete(reason).await;
                continue;
            }
            if matches!(self.phase, Phase::Ended) {
                return Ok(None);
            }
            if let Err(error) = self.advance().await {
                self.fail(error);
            }
        }
    }

    /// The times between two tokens of a turn since the last call, as the model's thread measured them.
    pub fn take_token_gaps(&mut self) -> Vec<Duration> {
        std::mem::take(&mut self.token_gaps)
    }

    /// The result so far, for a reader that stops before the end. The reservation is settled with `reason` when the
    /// generation is dropped.
    pub fn so_far(&mut self, reason: FinishReason) -> Finish {
        let mut timing = self.timing;
        let mut messages = self.history.clone();
        match &self.phase {
            Phase::Turn(turn) => {
                add_times(&mut timing, &turn.timer, self.started);
                append_turn(&mut messages, assistant_message(&turn.transcript.emitted));
            }
            Phase::ToolRound(round) => append_turn(&mut messages, round.history()),
            Phase::TurnStart | Phase::Ended => {}
        }
        timing.total = self.pipeline.clock.now().saturating_sub(self.started);
        self.outcome = reason.as_str();
        Finish { reason, usage: self.used(), timing, plugins: self.tools.hooks.usage(), messages }
    }

    /// Tokens used so far, including those of the running turn.
    pub(crate) fn used(&self) -> Usage {
        let mut usage = self.usage;
        if let Phase::Turn(turn) = &self.phase {
            usage.completion_tokens += turn.timer.tokens;
            usage.cached_tokens += turn.timer.cached;
            usage.reasoning_tokens += turn.reasoning_tokens;
        }
        usage
    }

    /// Waits for the next thing to happen and adds its events to `ready`.
    async fn advance(&mut self) -> Result<(), Error> {
        match &mut self.phase {
            Phase::Ended => {}
            Phase::TurnStart => return self.start_turn().await,
            Phase::Turn(turn) => {
                let hooks = exclusive(&mut self.tools.hooks)?;
                // Tokens that were made in time are read even after the deadline. The model's thread enforces it too.
                let progress = tokio::select! {
                    biased;
                    progress = turn.read(hooks) => Some(progress?),
                    () = &mut self.deadline => None,
                };
                self.token_gaps.extend(turn.token_gap.take());
                self.queue_log();
                let Some(progress) = progress else { return self.time_out() };
                let continues = progress.ended.is_none();
                self.take(progress);
                if let Some(progress) = if continues { self.extend_reservation().await? } else { None } {
                    self.queue_log();
                    self.take(progress);
                }
            }
            Phase::ToolRound(round) => {
                let progress = tokio::select! {
                    biased;
                    () = &mut self.deadline => None,
                    progress = round.next_events(&mut self.usage_guard) => Some(progress?),
                };
                self.queue_log();
                match progress {
                    None => return self.time_out(),
                    Some(RoundProgress::Events(events)) => self.ready.extend(events),
                    Some(RoundProgress::Done) => self.finish_tool_round(),
                }
            }
        }
        Ok(())
    }

    /// Queues the text of a turn for the reader, and ends the turn if it is over.
    fn take(&mut self, progress: TurnProgress) {
        if let Phase::Turn(turn) = &mut self.phase {
            turn.transcript.emitted.push_str(&progress.text);
        }
        // Plugins of the text stage see neither the reasoning nor the tokens, so their request does not show them.
        if self.tools.hooks.text_is_idle() {
            if !progress.reasoning.is_empty() {
                self.ready.push_back(Event::Reasoning(progress.reasoning));
            }
            let scores = progress.scores.map(|scores| self.logprobs(&scores));
            self.ready.extend(scores.map(Event::Logprobs));
        }
        if !progress.text.is_empty() {
            self.ready.push_back(Event::Text(progress.text));
        }
        self.stream_calls();
        if let Some(reason) = progress.ended {
            self.end_turn(reason);
        }
    }

    /// Queues the parts of calls that the client runs.
    fn stream_calls(&mut self) {
        let Phase::Turn(turn) = &mut self.phase else { return };
        for part in turn.call_parts.as_mut().map(std::mem::take).unwrap_or_default() {
            let event = self.streamed.push(part, &self.offered, &self.options, &mut self.call_history);
            self.ready.extend(event);
        }
    }

    fn logprobs(&self, scores: &TokenScores) -> TokenLogprobs {
        let scored = |(token, logprob): (TokenId, f32)| ScoredToken {
            token,
            bytes: self.pipeline.codec.token_bytes(token),
            logprob,
        };
        TokenLogprobs { chosen: scored(scores.chosen), top: scores.top.iter().copied().map(scored).collect() }
    }

    /// Ends the generation with what there is, because the request's time is up.
    fn time_out(&mut self) -> Result<(), Error> {
        if let Some(transcript) = self.leave_turn() {
            append_turn(&mut self.history, assistant_message(&transcript.emitted));
        }
        if let Phase::ToolRound(round) = &mut self.phase {
            let events = round.cancel(&mut self.usage_guard);
            self.ready.extend(events);
            let history = round.history();
            append_turn(&mut self.history, history);
        }
        self.finish(FinishReason::Timeout);
        Ok(())
    }

    /// Drops the running turn, which frees its KV cache, and adds its usage. Returns its transcript.
    fn leave_turn(&mut self) -> Option<Transcript> {
        let usage = self.used();
        match std::mem::replace(&mut self.phase, Phase::Ended) {
            Phase::Turn(turn) => {
                self.usage = usage;
                add_times(&mut self.timing, &turn.timer, self.started);
                Some(turn.transcript)
            }
            other => {
                self.phase = other;
                None
            }
        }
    }

    /// Ends the generation. What is ready is read first.
    fn finish(&mut self, reason: FinishReason) {
        self.phase = Phase::Ended;
        self.queue_log();
        (self.finishing, self.outcome) = (Some(reason), reason.as_str());
    }

    /// Queues the last event. A call of the token stage may still run beside the model: it is cancelled first, so that what it
    /// used is part of the answer.
    async fn complete(&mut self, reason: FinishReason) {
        if let Some(session) = &mut self.session {
            session.abort().await;
        }
        (self.session, self.finishing) = (None, None);
        self.queue_log();
        let finish = self.so_far(reason);
        self.usage_guard.settle(finish.usage, &finish.plugins, reason.as_str());
        self.ready.push_back(Event::Finished(finish));
    }

    /// Ends the generation with an error. Events in `ready` can still be read.
    fn fail(&mut self, error: Error) {
        self.leave_turn();
        if let Phase::ToolRound(round) = &mut self.phase {
            round.cancel(&mut self.usage_guard);
        }
        self.phase = Phase::Ended;
        self.queue_log();
        self.usage_guard.settle(self.usage, &self.tools.hooks.usage(), error.kind().code());
        self.failed = Some(error);
    }

    fn queue_log(&mut self) {
        self.ready.extend(self.tools.hooks.take_log().into_iter().map(Event::Log));
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        let usage = self.used();
        if let Phase::ToolRound(round) = &mut self.phase {
            round.cancel(&mut self.usage_guard);
        }
        // The phase is dropped before the plugins' use is read, so that cancelled calls are counted.
        self.phase = Phase::Ended;
        let alive = self.tools.caller.liveness.check();
        let outcome = alive.map_or_else(|error| error.kind().code(), |()| self.outcome);
        let (hooks, mut guard) = (Arc::clone(&self.tools.hooks), self.usage_guard.take());
        match (self.session.take(), tokio::runtime::Handle::try_current()) {
            // A call of the token stage may run. It has recorded what it used when the session has ended.
            (Some(mut session), Ok(runtime)) => drop(runtime.spawn(async move {
                session.abort().await;
                guard.settle(usage, &hooks.usage(), outcome);
            })),
            _ => guard.settle(usage, &hooks.usage(), outcome),
        }
    }
}

/// The hooks as a mutable reference. They are shared only while tools run.
fn exclusive(hooks: &mut Arc<dyn Hooks>) -> Result<&mut dyn Hooks, Error> {
    match Arc::get_mut(hooks) {
        Some(hooks) => Ok(hooks),
        None => Err(Error::Internal("a tool call is still running after its tool round".to_owned())),
    }
}

fn add_times(timing: &mut Timing, timer: &TurnTimer, started: Duration) {
    let Some(first) = timer.first else { return };
    if timing.first_token.is_zero() {
        timing.first_token = first.saturating_sub(started);
    }
    timing.prefill += first.saturating_sub(timer.submitted);
    timing.decode += timer.last.saturating_sub(first);
    timing.decode_steps += timer.tokens.saturating_sub(1);
}
