//! Running the calls of a turn: checked first, then those that declare themselves read-only side by side and all others
//! one after the other, in the order they were made. Everything that happens is an event the moment it happens; the
//! results go into the conversation in the order of the calls.
//!
//! Dropping it cancels every call that runs.

use std::sync::{Arc, OnceLock};

use firebox_contract::limits::{TOOL_CALLS_PARALLEL_MAX, TOOL_PROGRESS_BUFFERED_MAX, TOOL_PROGRESS_BYTES_MAX};
use firebox_contract::{
    Approval, BoxFuture, Decision, Error, Event, Message, Permission, Progress, ToolCall, ToolDefinition, ToolOutcome,
};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;

use super::calls::Fate;
use super::{Origin, Tools, Turn, cut, error, warning};
use crate::bill::Bill;
use crate::schema::Verdict;

/// The calls of one turn on their way.
pub(crate) struct Running {
    turn: Turn,
    tools: Tools,
    checks: FuturesUnordered<BoxFuture<'static, (usize, Verdict)>>,
    active: FuturesUnordered<BoxFuture<'static, Ended>>,
    /// The call that runs wants to be alone.
    alone: bool,
    /// The first call that has not begun.
    next: usize,
    waiting: Vec<Event>,
    progress: mpsc::Sender<Event>,
    heard: mpsc::Receiver<Event>,
    told_client: bool,
}

/// A call that ended, by its place in the turn.
struct Ended {
    at: usize,
    outcome: Result<ToolOutcome, Error>,
}

/// What one step of running gave.
pub(crate) enum Step {
    /// For the reader.
    Events(Vec<Event>),
    /// Every call has its answer, but for those the client runs.
    Over,
}

impl Running {
    pub(crate) fn new(turn: Turn, tools: Tools) -> Self {
        let (progress, heard) = mpsc::channel(TOOL_PROGRESS_BUFFERED_MAX);
        let checks = FuturesUnordered::new();
        for (at, made) in turn.calls.iter().enumerate() {
            if let Fate::Run(ready) = &made.fate {
                let (schemas, clock) = (Arc::clone(&tools.schemas), Arc::clone(&tools.clock));
                let check = schemas.check(ready.tool.input_schema_json.clone(), ready.arguments.clone(), clock);
                checks.push(Box::pin(async move { (at, check.await) }) as BoxFuture<'static, _>);
            }
        }
        let active = FuturesUnordered::new();
        let waiting = Vec::new();
        Self { turn, tools, checks, active, alone: false, next: 0, waiting, progress, heard, told_client: false }
    }

    /// The next thing that happens. Nothing is lost where the future is dropped before its end.
    ///
    /// # Errors
    /// A plugin's fault, and what a tool source cannot answer for.
    pub(crate) async fn step(&mut self, bill: &mut Bill) -> Result<Step, Error> {
        while let Some((at, verdict)) = self.checks.next().await {
            self.judge(at, verdict);
        }
        self.start(bill);
        if !self.waiting.is_empty() {
            return Ok(Step::Events(std::mem::take(&mut self.waiting)));
        }
        if self.is_over() {
            return Ok(Step::Over);
        }
        tokio::select! {
            biased;
            Some(event) = self.heard.recv() => Ok(Step::Events(vec![event])),
            Some(ended) = self.active.next() => self.ended(ended, bill),
            // Unreachable: this end of the channel is held open; what runs, ends.
            else => Ok(Step::Over),
        }
    }

    fn is_over(&self) -> bool {
        let begun = self.next >= self.turn.calls.len();
        begun && self.checks.is_empty() && self.active.is_empty() && self.waiting.is_empty() && self.told_client
    }

    fn judge(&mut self, at: usize, verdict: Verdict) {
        let Some(made) = self.turn.calls.get_mut(at) else { return };
        let reason = match verdict {
            Verdict::Fits => return,
            Verdict::Misfit(reason) => reason,
            Verdict::Unusable(reason) => {
                let name = made.call.as_ref().map_or("", |call| call.name.as_str());
                let message = format!("the tool \"{name}\" cannot be called: {reason}");
                self.waiting.push(Event::Log(warning(message.clone())));
                message
            }
        };
        made.fate = Fate::Refused(Decision::Rejected, reason);
    }

    /// Begins what may begin now.
    fn start(&mut self, bill: &mut Bill) {
        while let Some(made) = self.turn.calls.get_mut(self.next) {
            if self.alone && !self.active.is_empty() {
                return;
            }
            if let (Fate::Run(ready), Some(call)) = (&made.fate, &made.call) {
                let alone = ready.ask || !ready.tool.effects.read_only;
                let room = if alone { self.active.is_empty() } else { self.active.len() < TOOL_CALLS_PARALLEL_MAX };
                if !room {
                    return;
                }
                match bill.allow_call(call) {
                    Err(refusal) => made.fate = Fate::Refused(Decision::Rejected, refusal.to_string()),
                    Ok(()) => {
                        self.waiting.push(Event::ToolCall(call.clone()));
                        if ready.ask && self.tools.approver.is_some() {
                            self.waiting.push(Event::ApprovalNeeded { id: made.id.clone() });
                        }
                        made.started = true;
                        self.alone = alone;
                        let job = Job {
                            call: call.clone(),
                            origin: ready.origin,
                            ask: ready.ask.then(|| ready.tool.clone()),
                            ruled: Arc::clone(&made.ruled),
                            sink: Sink { id: made.id.clone(), events: self.progress.clone() },
                        };
                        let (at, tools) = (self.next, self.tools.clone());
                        self.active.push(Box::pin(async move { Ended { at, outcome: job.run(tools).await } }));
                    }
                }
            }
            if let Fate::Refused(decision, reason) = &made.fate {
                let outcome = error(reason);
                if let Some(call) = &made.call {
                    self.waiting.push(Event::ToolCall(call.clone()));
                    bill.record_call(call, *decision, &outcome);
                }
                self.waiting.push(Event::ToolResult { id: made.id.clone(), outcome: outcome.clone() });
                made.outcome = Some(outcome);
            }
            self.next += 1;
        }
        if self.active.is_empty() && !self.told_client {
            self.told_client = true;
            let theirs = self.turn.calls.iter().filter(|made| matches!(made.fate, Fate::Client));
            self.waiting.extend(theirs.filter_map(|made| made.call.clone()).map(Event::ToolCall));
        }
    }

    fn ended(&mut self, ended: Ended, bill: &mut Bill) -> Result<Step, Error> {
        // What it said on its way comes before its result.
        let mut events = Vec::new();
        while let Ok(event) = self.heard.try_recv() {
            events.push(event);
        }
        let outcome = cut(ended.outcome?);
        if let Some(made) = self.turn.calls.get_mut(ended.at) {
            if let Some(call) = &made.call {
                bill.record_call(call, made.decision(), &outcome);
            }
            events.push(Event::ToolResult { id: made.id.clone(), outcome: outcome.clone() });
            made.outcome = Some(outcome);
        }
        Ok(Step::Events(events))
    }

    /// Cancels what runs. The events say so of each call that had begun.
    pub(crate) fn abandon(&mut self, bill: &mut Bill) -> Vec<Event> {
        self.checks = FuturesUnordered::new();
        self.active = FuturesUnordered::new();
        self.next = self.turn.calls.len();
        let mut events = std::mem::take(&mut self.waiting);
        for made in &mut self.turn.calls {
            if made.started && made.outcome.is_none() {
                let (outcome, decision) = (error("it was cut off before it ended"), made.decision());
                if let Some(call) = &made.call {
                    bill.record_call(call, decision, &outcome);
                }
                events.push(Event::ToolResult { id: made.id.clone(), outcome: outcome.clone() });
                made.outcome = Some(outcome);
            }
        }
        events
    }

    pub(crate) fn has_client(&self) -> bool {
        self.turn.has_client()
    }

    /// For the next round; calls without an answer were cut off.
    pub(crate) fn conversation(&self) -> Vec<Message> {
        self.turn.conversation()
    }

    /// For whoever keeps the conversation.
    pub(crate) fn history(&self) -> Vec<Message> {
        self.turn.history()
    }
}

/// One call, as it runs.
struct Job {
    call: ToolCall,
    origin: Origin,
    /// Somebody is asked about this tool first.
    ask: Option<ToolDefinition>,
    /// Set when it is decided whether it runs.
    ruled: Arc<OnceLock<Decision>>,
    sink: Sink,
}

impl Job {
    async fn run(self, tools: Tools) -> Result<ToolOutcome, Error> {
        if let Some(tool) = &self.ask {
            let approval = match &tools.approver {
                Some(approver) => approver.approve(&tools.caller, &tools.request_id, &self.call, tool).await,
                None => Approval::Decline("it needs somebody's approval, and there is nobody to ask".to_owned()),
            };
            if let Approval::Decline(reason) = approval {
                return Ok(error(&format!("the call was declined: {reason}")));
            }
        }
        if let Some(refused) = self.still_may(&tools)? {
            return Ok(refused);
        }
        match (self.origin, &tools.source) {
            (Origin::Plugin, _) => tools.hooks.call(&self.call).await,
            (Origin::Source, Some(source)) => {
                let limit = source.timeout(&self.call.name);
                let begun = tools.clock.now();
                let answered = tokio::select! {
                    biased;
                    answered = source.call(&tools.caller, &self.call, &self.sink) => answered,
                    () = tools.clock.sleep(limit) => {
                        let reason = format!("the tool did not answer within {} ms", limit.as_millis());
                        Ok(ToolOutcome { elapsed: tools.clock.now().saturating_sub(begun), ..error(&reason) })
                    }
                };
                match answered {
                    Err(Error::NotFound(_)) => Ok(error(&format!("the tool \"{}\" is gone", self.call.name))),
                    answered => answered,
                }
            }
            (Origin::Source | Origin::Client, _) => Ok(error("the tool cannot run here")),
        }
    }
}

impl Job {
    /// Asks again, just before the call runs, whether it may: much can have changed while somebody was asked. The answer
    /// in the tool's place, where it may not.
    ///
    /// # Errors
    /// What the caller's end is.
    fn still_may(&self, tools: &Tools) -> Result<Option<ToolOutcome>, Error> {
        let name = &self.call.name;
        let alive = tools.caller.liveness.check();
        let (decision, refused) = match (&alive, tools.caller.liveness.permission(name), &self.ask) {
            (Err(_), ..) => (Decision::Denied, None),
            (Ok(()), Permission::Deny, _) => (Decision::Denied, Some("may not be called here any more")),
            (Ok(()), Permission::Ask, None) => {
                (Decision::Denied, Some("needs approval now, which this request did not ask for"))
            }
            (Ok(()), _, Some(_)) => (Decision::Approved, None),
            (Ok(()), _, None) => (Decision::Allowed, None),
        };
        // Nobody else sets it.
        let _first = self.ruled.set(decision);
        alive?;
        Ok(refused.map(|why| error(&format!("the tool \"{name}\" {why}"))))
    }
}

/// Turns reports of progress into events; where nobody reads them fast enough they are dropped.
struct Sink {
    id: String,
    events: mpsc::Sender<Event>,
}

impl Progress for Sink {
    fn report(&self, done: f64, total: Option<f64>, message: Option<&str>) {
        let message = message.map(|message| {
            let end = (0..=TOOL_PROGRESS_BYTES_MAX.min(message.len())).rev().find(|at| message.is_char_boundary(*at));
            message[..end.unwrap_or(0)].to_owned()
        });
        let event = Event::ToolProgress { id: self.id.clone(), done, total, message };
        // A full channel is a slow reader, a closed one a reader who left: neither may hold the tool up.
        let _dropped = self.events.try_send(event);
    }
}
