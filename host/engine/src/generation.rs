//! The stream of one request's events. Dropping it cancels the work and gives everything back.

mod length;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use firebox_contract::{
    BoxFuture, ChatOptions, Encoded, Error, Event, Finish, FinishReason, Hooks, LogLine, Message, Prompt, PromptEnd,
    PromptVerdict, Role, Sampling, Timing, ToolDefinition, ToolOptions, Usage, limits,
};
use futures_util::future::Fuse;
use tokio::sync::mpsc;

use crate::Road;
use crate::admission::Ticket;
use crate::bill::Bill;
use crate::encoding::{self, Text, check_size};
use crate::healing::Healing;
use crate::round::{Read, Round, RoundClock, Steps, Transcript};
use crate::sequence::Job;
use crate::stop::StopMatcher;
use crate::toolcall::{MarkerFilter, ToolCallFormat, ToolCallParser, format_of};
use crate::tools::{Book, Offer, Offering, Running, Step, Tools, Turn, warning};

/// A request on its way. Read it with [`Generation::next`] until that gives `None`.
pub struct Generation {
    road: Arc<Road>,
    tools: Tools,
    offer: Offer,
    options: ToolOptions,
    book: Book,
    /// Shared with whoever tokenizes it.
    prompt: Arc<Prompt>,
    /// What the request says to the chat template, shared likewise.
    chat: Arc<ChatOptions>,
    /// Tokens that prompt and answer may have together.
    context: usize,
    sampling: Sampling,
    rounds_left: usize,
    phase: Phase,
    ready: VecDeque<Event>,
    usage: Usage,
    timing: Timing,
    started: Duration,
    /// When its time is up, on the road's clock.
    until: Duration,
    deadline: Deadline,
    /// What this generation adds to the conversation, as it is kept.
    history: Vec<Message>,
    /// What ended it badly; told after everything that came before.
    failed: Option<Error>,
    bill: Bill,
    /// What the account is told if nothing else ends this.
    outcome: &'static str,
    /// Times between two tokens of a turn that nobody took yet; an answer has a bounded number of tokens.
    gaps: Vec<Duration>,
    _ticket: Ticket,
}

/// Ends when the request's time is up.
pub(crate) type Deadline = Fuse<BoxFuture<'static, ()>>;

/// Where a generation stands.
enum Phase {
    /// A round is to begin.
    Begin,
    /// The model speaks.
    Reading(Box<Round>),
    /// Tools run.
    Tools(Box<Running>),
    /// Nothing more happens.
    Over,
}

/// What the road has opened for a request.
pub(crate) struct Open {
    pub(crate) tools: Tools,
    pub(crate) prompt: Prompt,
    pub(crate) chat: ChatOptions,
    /// Tokens that prompt and answer may have together.
    pub(crate) context: usize,
    pub(crate) sampling: Sampling,
    pub(crate) options: ToolOptions,
    pub(crate) ticket: Ticket,
}

/// What the road has prepared before the first token.
pub(crate) struct Start {
    pub(crate) open: Open,
    pub(crate) started: Duration,
    /// When its time is up, on the road's clock.
    pub(crate) until: Duration,
    pub(crate) deadline: Deadline,
    pub(crate) bill: Bill,
}

/// The tools of the source, with what is to be said about them.
#[derive(Default)]
pub(crate) struct Listed {
    tools: Vec<ToolDefinition>,
    log: Vec<LogLine>,
}

impl Generation {
    pub(crate) fn new(road: Arc<Road>, start: Start) -> Self {
        let Open { tools, prompt, chat, context, sampling, options, ticket } = start.open;
        let id = format_of_codec(&road).map_or(plain_id as fn(usize) -> String, |format| format.id);
        Self {
            road,
            tools,
            offer: Offer::default(),
            rounds_left: options.rounds,
            options,
            book: Book::new(&prompt, id),
            prompt: Arc::new(prompt),
            chat: Arc::new(chat),
            context,
            sampling,
            phase: Phase::Over,
            ready: VecDeque::new(),
            usage: Usage::default(),
            timing: Timing::default(),
            started: start.started,
            until: start.until,
            deadline: start.deadline,
            history: Vec::new(),
            failed: None,
            bill: start.bill,
            outcome: FinishReason::Interrupted.as_str(),
            gaps: Vec::new(),
            _ticket: ticket,
        }
    }

    /// The request's id, unique in this process.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.tools.request_id
    }

    /// The next event; `None` after the last. Nothing follows an error.
    ///
    /// Dropping the returned future before its end loses nothing while tools run or the model speaks; only a plugin
    /// of the text stage that is in the middle of a call is cut off by it.
    ///
    /// # Errors
    /// A plugin's fault, a failed model, a budget that is used up.
    pub async fn next(&mut self) -> Result<Option<Event>, Error> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            if let Some(error) = self.failed.take() {
                return Err(error);
            }
            if matches!(self.phase, Phase::Over) {
                return Ok(None);
            }
            if let Err(error) = self.advance().await {
                self.fail(error);
            }
        }
    }

    /// The times between two tokens of a turn, as the model's thread made them, since this was asked last.
    pub fn take_gaps(&mut self) -> Vec<Duration> {
        std::mem::take(&mut self.gaps)
    }

    /// What there is so far; for a caller who stops reading before the end. Whoever keeps the account is told `reason`.
    pub fn so_far(&mut self, reason: FinishReason) -> Finish {
        let mut timing = self.timing;
        let mut messages = self.history.clone();
        match &self.phase {
            Phase::Reading(round) => {
                add_times(&mut timing, &round.clock, self.started);
                extend(&mut messages, said(&round.transcript.emitted));
            }
            Phase::Tools(running) => extend(&mut messages, running.history()),
            Phase::Begin | Phase::Over => {}
        }
        timing.total = self.road.clock.now().saturating_sub(self.started);
        self.outcome = reason.as_str();
        Finish { reason, usage: self.used(), timing, plugins: self.tools.hooks.usage(), messages }
    }

    /// Tokens so far, those of the round that runs included.
    fn used(&self) -> Usage {
        let mut usage = self.usage;
        if let Phase::Reading(round) = &self.phase {
            usage.completion_tokens += round.clock.tokens;
            usage.cached_tokens += round.clock.cached;
        }
        usage
    }

    /// The offer of tools, the prompt stage, and the first round.
    pub(crate) async fn begin(&mut self, listed: Listed) -> Result<(), Error> {
        let mut log = listed.log;
        let offering = Offering {
            plugins: self.tools.hooks.definitions(),
            source: listed.tools,
            options: &self.options,
            format: format_of_codec(&self.road),
            chat: matches!(*self.prompt, Prompt::Chat(_)),
        };
        self.offer = Offer::new(offering, &mut log)?;
        self.ready.extend(log.into_iter().map(Event::Log));
        let prompt = std::mem::replace(&mut self.prompt, Arc::new(Prompt::Chat(Vec::new())));
        let prompt = Arc::unwrap_or_clone(prompt);
        let hooks = exclusive(&mut self.tools.hooks)?;
        let staged = tokio::select! {
            biased;
            () = &mut self.deadline => Err(too_late()),
            staged = prompt_stage(prompt, hooks) => staged,
        };
        let (prompt, answer) = staged?;
        if let Some(text) = answer {
            self.respond(text);
            return Ok(());
        }
        // The plugins may have made it longer.
        check_size(&prompt, &self.chat, &*self.road.codec, self.context)?;
        self.prompt = Arc::new(prompt);
        self.phase = Phase::Begin;
        self.begin_round().await
    }

    /// Emits an answer that no model made.
    fn respond(&mut self, text: String) {
        extend(&mut self.history, said(&text));
        if !text.is_empty() {
            self.ready.push_back(Event::Text(text));
        }
        self.finish(FinishReason::Plugin);
    }

    /// Encodes the conversation and hands it to the worker.
    async fn begin_round(&mut self) -> Result<(), Error> {
        let prefix = self.offer.forced.clone().unwrap_or_default();
        let context = self.context;
        let Some(encoded) = self.encode(&prefix, context.saturating_sub(1)).await? else { return self.time_is_up() };
        let tokens = match encoded {
            Encoded::Whole(tokens) if tokens.len() < context => tokens,
            _ if !self.history.is_empty() => {
                // The results of the tools are what is too long; what was done until then stays.
                self.finish(FinishReason::ContextFull);
                return Ok(());
            }
            encoded => {
                let tools = self.road.explain_tools(&self.tools.caller, self.offer.definitions());
                return Err(encoding::too_long(encoded.count(), context, &tools.unwrap_or_default()));
            }
        };
        let prompt_tokens = tokens.len();
        let length = self.length(context - prompt_tokens);
        self.bill.reserve(prompt_tokens + length.expected)?;
        let texts = if prefix.is_empty() { None } else { self.road.codec.token_texts() };
        let healing = texts.and_then(|texts| Healing::new(texts, &prefix, &tokens));
        let opening = healing.as_ref().map(|healing| healing.text().to_owned()).unwrap_or_default();
        let made_again = healing.as_ref().map_or(0, Healing::tokens);
        let before = &tokens[..tokens.len() - made_again];
        let decoder = match self.sampling.show_special {
            true => self.road.codec.decoder_with_specials(before),
            false => self.road.codec.decoder(before),
        };
        let (sender, events) = mpsc::channel(limits::EVENTS_BUFFERED_MAX);
        let submitted = self.road.clock.now();
        let job = Job {
            tenant: self.tools.caller.tenant.clone(),
            weight: self.tools.caller.weight,
            deadline: self.until,
            sampler: self.sampler(&tokens, healing),
            tokens,
            max_tokens: length.max,
            expected_tokens: length.expected,
            context_tokens: self.road.context_tokens(),
            codec: Arc::clone(&self.road.codec),
            deliveries: Arc::clone(&self.road.deliveries),
            events: sender,
        };
        self.road.worker.submit(job).await?;
        self.bill.begun();
        self.offer.forced = None;
        self.usage.prompt_tokens += prompt_tokens;
        self.phase = Phase::Reading(Box::new(Round {
            steps: Steps::new(events, Some(self.road.worker.thread())),
            decoder,
            stops: StopMatcher::new(self.sampling.stop.clone(), self.sampling.keep_stop),
            min_tokens: self.min_tokens(),
            length,
            parser: self.parser(&prefix),
            opening,
            transcript: Transcript::default(),
            clock: RoundClock { submitted, ..RoundClock::default() },
            gap: None,
        }));
        Ok(())
    }

    /// The parser of a turn that begins with `prefix`.
    fn parser(&self, prefix: &str) -> Option<Box<dyn ToolCallParser>> {
        let format = format_of_codec(&self.road)?;
        if self.offer.definitions().is_empty() {
            let filter = !format.markers.is_empty() && matches!(*self.prompt, Prompt::Chat(_));
            return filter.then(|| Box::new(MarkerFilter::new(format.markers)) as Box<dyn ToolCallParser>);
        }
        let mut parser = (format.parser)();
        // What is forced opens a call: nothing comes out of it yet.
        let _opening = parser.push(prefix);
        Some(parser)
    }

    /// The tokens of the conversation where it may have `max` of them or fewer; `None` when the time was up after a round.
    async fn encode(&mut self, prefix: &str, max: usize) -> Result<Option<Encoded>, Error> {
        let text = Text {
            codec: Arc::clone(&self.road.codec),
            prompt: Arc::clone(&self.prompt),
            options: Arc::clone(&self.chat),
            tools: Arc::clone(self.offer.definitions()),
            prefix: prefix.to_owned(),
        };
        let encoded = text.encode(&self.road.encodings, &self.tools.caller.tenant, max);
        tokio::select! {
            biased;
            encoded = encoded => encoded.map(Some),
            () = &mut self.deadline => if self.history.is_empty() { Err(too_late()) } else { Ok(None) },
        }
    }

    async fn advance(&mut self) -> Result<(), Error> {
        match &mut self.phase {
            Phase::Over => {}
            Phase::Begin => return self.begin_round().await,
            Phase::Reading(round) => {
                let hooks = exclusive(&mut self.tools.hooks)?;
                // What was made in time is read first, however late the reader is; the model itself stops in time.
                let read = tokio::select! {
                    biased;
                    read = round.read(hooks) => Some(read?),
                    () = &mut self.deadline => None,
                };
                self.gaps.extend(round.gap.take());
                self.queue_log();
                let Some(read) = read else { return self.time_is_up() };
                let goes_on = read.ended.is_none();
                self.take(read);
                if let Some(read) = if goes_on { self.go_on_longer().await? } else { None } {
                    self.queue_log();
                    self.take(read);
                }
            }
            Phase::Tools(running) => {
                let step = tokio::select! {
                    biased;
                    () = &mut self.deadline => None,
                    step = running.step(&mut self.bill) => Some(step?),
                };
                self.queue_log();
                match step {
                    None => return self.time_is_up(),
                    Some(Step::Events(events)) => self.ready.extend(events),
                    Some(Step::Over) => self.tools_over(),
                }
            }
        }
        Ok(())
    }

    /// What was read goes to the reader.
    fn take(&mut self, read: Read) {
        if let Phase::Reading(round) = &mut self.phase {
            round.transcript.emitted.push_str(&read.text);
        }
        if !read.text.is_empty() {
            self.ready.push_back(Event::Text(read.text));
        }
        if let Some(reason) = read.ended {
            self.end_turn(reason);
        }
    }

    /// The model's turn is over: it was the answer, or it calls tools.
    fn end_turn(&mut self, reason: FinishReason) {
        let Some(transcript) = self.leave_round() else { return };
        if transcript.calls.is_empty() || reason == FinishReason::Plugin {
            // Even an empty answer is one: what comes next in the conversation is not the assistant's.
            extend(&mut self.history, vec![Message::text(Role::Assistant, transcript.emitted)]);
            return self.finish(reason);
        }
        let mut turn = Turn::new(transcript, &self.offer, &self.options, &mut self.book);
        if let Some((reason, why)) = self.no_more(reason, turn.looped) {
            turn.refuse(why);
            if !turn.has_client() {
                turn.answer_refused(&mut self.bill);
                extend(&mut self.history, turn.history());
                return self.finish(reason);
            }
        }
        self.rounds_left = self.rounds_left.saturating_sub(1);
        self.phase = Phase::Tools(Box::new(Running::new(turn, self.tools.clone())));
    }

    /// Why the host runs no more tools, if so: how that ends the generation, and what the model is told.
    fn no_more(&self, reason: FinishReason, looped: bool) -> Option<(FinishReason, &'static str)> {
        if looped {
            Some((FinishReason::ToolLoop, "not run: the same call was made before, with the same arguments"))
        } else if self.rounds_left == 0 {
            Some((FinishReason::ToolRounds, "not run: no round of tool calls is left"))
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

    /// Every call has its answer: the model goes on, or the client does.
    fn tools_over(&mut self) {
        let Phase::Tools(running) = std::mem::replace(&mut self.phase, Phase::Begin) else { return };
        extend(&mut self.history, running.history());
        if running.has_client() {
            return self.finish(FinishReason::ToolCalls);
        }
        if let Prompt::Chat(conversation) = Arc::make_mut(&mut self.prompt) {
            match self.chat.end {
                // What the model said so far belongs to the message it continued.
                PromptEnd::FinalMessage => extend(conversation, running.conversation()),
                _ => conversation.extend(running.conversation()),
            }
        }
        // The next answer is a turn of its own.
        Arc::make_mut(&mut self.chat).end = PromptEnd::GenerationPrompt;
    }

    /// What there is when the time is up is the answer.
    fn time_is_up(&mut self) -> Result<(), Error> {
        if let Some(transcript) = self.leave_round() {
            extend(&mut self.history, said(&transcript.emitted));
        }
        if let Phase::Tools(running) = &mut self.phase {
            let events = running.abandon(&mut self.bill);
            self.ready.extend(events);
            let history = running.history();
            extend(&mut self.history, history);
        }
        self.finish(FinishReason::Timeout);
        Ok(())
    }

    /// Drops the round (which frees its cache) and counts what it used.
    fn leave_round(&mut self) -> Option<Transcript> {
        let usage = self.used();
        match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Reading(round) => {
                self.usage = usage;
                add_times(&mut self.timing, &round.clock, self.started);
                Some(round.transcript)
            }
            other => {
                self.phase = other;
                None
            }
        }
    }

    fn finish(&mut self, reason: FinishReason) {
        self.phase = Phase::Over;
        self.queue_log();
        let finish = self.so_far(reason);
        self.bill.settle(finish.usage, &finish.plugins, reason.as_str());
        self.ready.push_back(Event::Finished(finish));
    }

    /// Ends it badly, after what is ready was read.
    pub(crate) fn fail(&mut self, error: Error) {
        self.leave_round();
        if let Phase::Tools(running) = &mut self.phase {
            running.abandon(&mut self.bill);
        }
        self.phase = Phase::Over;
        self.queue_log();
        self.bill.settle(self.usage, &self.tools.hooks.usage(), error.kind().code());
        self.failed = Some(error);
    }

    fn queue_log(&mut self) {
        self.ready.extend(self.tools.hooks.take_log().into_iter().map(Event::Log));
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        let usage = self.used();
        if let Phase::Tools(running) = &mut self.phase {
            running.abandon(&mut self.bill);
        }
        // Dropped first, so that what cut-off plugins used is counted.
        self.phase = Phase::Over;
        let alive = self.tools.caller.liveness.check();
        let outcome = alive.map_or_else(|error| error.kind().code(), |()| self.outcome);
        self.bill.settle(usage, &self.tools.hooks.usage(), outcome);
    }
}

/// Runs the prompt stage. The second value is an answer that makes asking the model unnecessary. Bare text goes
/// through the stage as one user message and comes back as text.
async fn prompt_stage(prompt: Prompt, hooks: &mut dyn Hooks) -> Result<(Prompt, Option<String>), Error> {
    let (messages, bare) = match prompt {
        Prompt::Chat(messages) => (messages, false),
        Prompt::Text(text) => (vec![Message::text(Role::User, text)], true),
    };
    match hooks.process(messages).await? {
        PromptVerdict::Continue(messages) if bare => {
            let texts: Vec<String> = messages.into_iter().map(|message| message.content).collect();
            Ok((Prompt::Text(texts.join("\n")), None))
        }
        PromptVerdict::Continue(messages) => Ok((Prompt::Chat(messages), None)),
        PromptVerdict::Respond(answer) => Ok((Prompt::Chat(Vec::new()), Some(answer))),
        PromptVerdict::Refuse { plugin, message } => {
            Err(Error::Refused(format!("plugin \"{plugin}\" refused the prompt: {message}")))
        }
    }
}

/// Asks the source for its tools; it has a bounded time to say.
pub(crate) async fn list_tools(tools: &Tools) -> Listed {
    let Some(source) = &tools.source else { return Listed::default() };
    tokio::select! {
        biased;
        tools = source.tools(&tools.caller) => Listed { tools, log: Vec::new() },
        () = tools.clock.sleep(limits::TOOL_LIST_WAIT) => {
            let seconds = limits::TOOL_LIST_WAIT.as_secs();
            let line = warning(format!("the tools of other servers are left out: no list within {seconds} s"));
            Listed { tools: Vec::new(), log: vec![line] }
        }
    }
}

/// The time of a request was up before anything could be answered.
pub(crate) fn too_late() -> Error {
    Error::Timeout("the request's time was up before the model could answer; give it more time".to_owned())
}

/// The format the checkpoint's own template writes calls in.
fn format_of_codec(road: &Road) -> Option<&'static ToolCallFormat> {
    road.codec.chat_template().and_then(format_of)
}

fn plain_id(number: usize) -> String {
    format!("call_{number}")
}

/// The hooks, for the one who drives them; while tools run they are shared.
fn exclusive(hooks: &mut Arc<dyn Hooks>) -> Result<&mut dyn Hooks, Error> {
    match Arc::get_mut(hooks) {
        Some(hooks) => Ok(hooks),
        None => Err(Error::Internal("a tool call outlived its turn".to_owned())),
    }
}

/// What the model said, if it said anything.
fn said(text: &str) -> Vec<Message> {
    if text.is_empty() { Vec::new() } else { vec![Message::text(Role::Assistant, text)] }
}

/// Adds a turn. Two assistant messages in a row are one that was interrupted by a call nobody understood.
fn extend(history: &mut Vec<Message>, turn: Vec<Message>) {
    for message in turn {
        match history.last_mut() {
            Some(last)
                if last.role == Role::Assistant && last.tool_calls.is_empty() && message.role == Role::Assistant =>
            {
                last.content.push_str(&message.content);
                last.tool_calls = message.tool_calls;
            }
            _ => history.push(message),
        }
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
