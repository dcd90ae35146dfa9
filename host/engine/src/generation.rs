//! The stream of one request's events. Dropping it cancels the work and gives everything back.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use firebox_contract::{
    Caller, Error, Event, Finish, FinishReason, Hooks, Sampling, Timing, TokenId, ToolDefinition, Usage,
};
use firebox_contract::{Chat, Prompt};
use tokio::sync::mpsc;

use crate::Road;
use crate::admission::Ticket;
use crate::round::{Round, RoundClock, Steps, Transcript};
use crate::sampler::Sampler;
use crate::sequence::Job;
use crate::stop::StopMatcher;
use crate::toolcall::format_of;
use crate::tools;

/// A request on its way. Read it with [`Generation::next`] until that gives `None`.
pub struct Generation {
    road: Arc<Road>,
    hooks: Box<dyn Hooks>,
    prompt: Prompt,
    sampling: Sampling,
    rounds_left: usize,
    round: Option<Round>,
    ready: VecDeque<Event>,
    usage: Usage,
    timing: Timing,
    started: Duration,
    calls_made: usize,
    /// What ended it badly; told after everything that came before.
    failed: Option<Error>,
    /// When its time is up, on the road's clock.
    deadline: Duration,
    _ticket: Ticket,
    caller: Caller,
}

/// What the road has prepared before the first token.
pub(crate) struct Start {
    pub(crate) hooks: Box<dyn Hooks>,
    pub(crate) prompt: Prompt,
    pub(crate) sampling: Sampling,
    pub(crate) tool_rounds: usize,
    pub(crate) started: Duration,
    pub(crate) deadline: Duration,
    pub(crate) ticket: Ticket,
    pub(crate) caller: Caller,
}

impl Generation {
    pub(crate) fn new(road: Arc<Road>, start: Start) -> Self {
        Self {
            road,
            hooks: start.hooks,
            prompt: start.prompt,
            sampling: start.sampling,
            rounds_left: start.tool_rounds,
            round: None,
            ready: VecDeque::new(),
            usage: Usage::default(),
            timing: Timing::default(),
            started: start.started,
            calls_made: 0,
            failed: None,
            deadline: start.deadline,
            _ticket: start.ticket,
            caller: start.caller,
        }
    }

    /// The next event; `None` after the last. Nothing follows an error.
    ///
    /// # Errors
    /// A plugin's fault, a failed model, a context that a tool's result overfilled.
    pub async fn next(&mut self) -> Result<Option<Event>, Error> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            if let Some(error) = self.failed.take() {
                return Err(error);
            }
            if self.round.is_none() {
                return Ok(None);
            }
            if let Err(error) = self.advance().await {
                self.leave_round();
                self.queue_log();
                self.failed = Some(error);
            }
        }
    }

    /// What there is so far; for a caller who stops reading before the end.
    #[must_use]
    pub fn so_far(&self, reason: FinishReason) -> Finish {
        let mut usage = self.usage;
        let mut timing = self.timing;
        if let Some(round) = &self.round {
            usage.completion_tokens += round.clock.tokens;
            usage.cached_tokens += round.clock.cached;
            add_times(&mut timing, &round.clock, self.started);
        }
        timing.total = self.road.clock.now().saturating_sub(self.started);
        Finish { reason, usage, timing, plugins: self.hooks.usage(), messages: Vec::new() }
    }

    /// Emits an answer that no model made.
    pub(crate) fn respond(&mut self, text: String) {
        if !text.is_empty() {
            self.ready.push_back(Event::Text(text));
        }
        self.finish(FinishReason::Plugin);
    }

    /// Encodes the conversation and hands it to the worker.
    pub(crate) async fn begin_round(&mut self) -> Result<(), Error> {
        let tokens = self.encode()?;
        let context = self.road.context_tokens();
        if tokens.len() >= context {
            return Err(Error::TooLarge(format!(
                "the prompt has {} tokens and the context holds {context}, of which one must be left for the answer; shorten the prompt",
                tokens.len()
            )));
        }
        self.usage.prompt_tokens += tokens.len();
        let (sender, events) = mpsc::channel(firebox_contract::limits::EVENTS_BUFFERED_MAX);
        let max_tokens = self.sampling.max_tokens - self.usage.completion_tokens;
        let submitted = self.road.clock.now();
        let job = Job {
            tenant: self.caller.tenant.clone(),
            weight: self.caller.weight,
            deadline: self.deadline,
            sampler: Sampler::new(self.sampling.clone(), &tokens),
            tokens,
            max_tokens,
            context_tokens: context,
            codec: Arc::clone(&self.road.codec),
            events: sender,
        };
        self.road.worker.submit(job).await?;
        self.round = Some(Round {
            steps: Steps { events, worker: Some(self.road.worker.thread()) },
            decoder: self.road.codec.decoder(),
            stops: StopMatcher::new(self.sampling.stop.clone()),
            parser: self.parser(),
            transcript: Transcript::default(),
            clock: RoundClock { submitted, ..RoundClock::default() },
        });
        Ok(())
    }

    fn parser(&self) -> Option<Box<dyn crate::toolcall::ToolCallParser>> {
        if self.offered().is_empty() {
            return None;
        }
        let template = self.road.codec.chat_template()?;
        format_of(template).map(|format| (format.parser)())
    }

    /// The tools this request offers: none to bare text, none where no rounds are allowed.
    fn offered(&self) -> &[ToolDefinition] {
        match self.prompt {
            Prompt::Chat(_) if self.rounds_left > 0 || self.calls_made > 0 => self.hooks.definitions(),
            Prompt::Chat(_) | Prompt::Text(_) => &[],
        }
    }

    fn encode(&self) -> Result<Vec<TokenId>, Error> {
        let codec = &self.road.codec;
        let tokens = match &self.prompt {
            Prompt::Chat(messages) => codec.encode_chat(Chat { messages, tools: self.offered(), prefix: "" })?,
            Prompt::Text(text) => codec.encode_text(text)?,
        };
        if tokens.is_empty() {
            return Err(Error::Usage("the prompt is empty; give the model something to go on with".to_owned()));
        }
        Ok(tokens)
    }

    async fn advance(&mut self) -> Result<(), Error> {
        let Some(round) = &mut self.round else { return Ok(()) };
        let read = round.read(self.hooks.as_mut()).await?;
        self.queue_log();
        if !read.text.is_empty() {
            self.ready.push_back(Event::Text(read.text));
        }
        match read.ended {
            Some(reason) => self.end_round(reason).await,
            None => Ok(()),
        }
    }

    async fn end_round(&mut self, reason: FinishReason) -> Result<(), Error> {
        let Some(transcript) = self.leave_round() else { return Ok(()) };
        if transcript.calls.is_empty() || reason == FinishReason::Plugin {
            self.finish(reason);
            return Ok(());
        }
        if self.rounds_left == 0 {
            self.finish(FinishReason::ToolRounds);
            return Ok(());
        }
        self.rounds_left -= 1;
        let calls = transcript.calls.len();
        let answered = tools::answer(transcript, self.calls_made, self.hooks.as_mut()).await?;
        self.calls_made += calls;
        self.queue_log();
        self.ready.extend(answered.events);
        if self.usage.completion_tokens >= self.sampling.max_tokens {
            self.finish(FinishReason::Length);
            return Ok(());
        }
        if let Prompt::Chat(conversation) = &mut self.prompt {
            conversation.extend(answered.messages);
        }
        self.begin_round().await
    }

    /// Drops the round (which frees its cache) and counts what it used.
    fn leave_round(&mut self) -> Option<Transcript> {
        let round = self.round.take()?;
        self.usage.completion_tokens += round.clock.tokens;
        self.usage.cached_tokens += round.clock.cached;
        add_times(&mut self.timing, &round.clock, self.started);
        Some(round.transcript)
    }

    fn finish(&mut self, reason: FinishReason) {
        self.queue_log();
        let finish = self.so_far(reason);
        self.ready.push_back(Event::Finished(finish));
    }

    fn queue_log(&mut self) {
        self.ready.extend(self.hooks.take_log().into_iter().map(Event::Log));
    }
}

fn add_times(timing: &mut Timing, clock: &RoundClock, started: Duration) {
    let Some(first) = clock.first else { return };
    if timing.first_token.is_zero() {
        timing.first_token = first.saturating_sub(started);
    }
    timing.prefill += first.saturating_sub(clock.submitted);
    timing.decode += clock.last.saturating_sub(first);
    timing.decode_steps += clock.tokens.saturating_sub(1);
}
