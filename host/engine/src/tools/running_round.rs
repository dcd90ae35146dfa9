//! Runs the calls of a tool round. Arguments are checked first. Calls of tools that declare themselves read-only run in
//! parallel; all others run alone, in the order in which the model made them. Each event is reported when it happens; the
//! results go into the conversation in the order of the calls.
//!
//! Dropping a [`RunningRound`] cancels all calls that run.

use std::sync::{Arc, OnceLock};

use firebox_contract::limits::{TOOL_CALLS_PARALLEL_MAX, TOOL_PROGRESS_BUFFERED_MAX, TOOL_PROGRESS_BYTES_MAX};
use firebox_contract::{
    Approval, BoxFuture, Decision, Error, Event, Message, Permission, Progress, ToolCall, ToolDefinition, ToolOutcome,
};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;

use super::guarded_calls::{GuardVerdict, GuardedCall, Guarding, guard};
use super::schema::SchemaVerdict;
use super::tool_round::CallDecision;
use super::{ToolOrigin, ToolRound, Tools, cut_result, refused, warning};
use crate::generation::usage_guard::UsageGuard;

/// A tool round that runs.
pub(crate) struct RunningRound {
    round: ToolRound,
    tools: Tools,
    checks: FuturesUnordered<BoxFuture<'static, (usize, SchemaVerdict)>>,
    /// The tool call stage, until it has decided about the calls.
    guarding: Option<Guarding>,
    guarded: bool,
    active: FuturesUnordered<BoxFuture<'static, EndedCall>>,
    /// Whether the call that runs must not run in parallel with others.
    exclusive: bool,
    /// The first call that has not started.
    next: usize,
    /// Events that are ready to be returned.
    ready: Vec<Event>,
    progress: mpsc::Sender<Event>,
    progress_events: mpsc::Receiver<Event>,
    /// Whether the calls that the client runs were reported.
    client_calls_sent: bool,
}

/// A call that ended, by its index in the round.
struct EndedCall {
    at: usize,
    outcome: Result<ToolOutcome, Error>,
}

/// What happened next in a round.
pub(crate) enum RoundProgress {
    /// Events for the reader.
    Events(Vec<Event>),
    /// Every call has its result, except those that the client runs.
    Done,
}

impl RunningRound {
    pub(crate) fn new(round: ToolRound, tools: Tools) -> Self {
        let (progress, progress_events) = mpsc::channel(TOOL_PROGRESS_BUFFERED_MAX);
        let checks = FuturesUnordered::new();
        for (at, parsed) in round.calls.iter().enumerate() {
            if let CallDecision::Run(call) = &parsed.decision {
                let (schemas, clock) = (Arc::clone(&tools.schemas), Arc::clone(&tools.clock));
                let check = schemas.check(call.tool.input_schema_json.clone(), call.arguments.clone(), clock);
                checks.push(Box::pin(async move { (at, check.await) }) as BoxFuture<'static, _>);
            }
        }
        let guarded = tools.hooks.tool_calls_are_idle();
        Self {
            round,
            tools,
            checks,
            guarding: None,
            guarded,
            active: FuturesUnordered::new(),
            exclusive: false,
            next: 0,
            ready: Vec::new(),
            progress,
            progress_events,
            client_calls_sent: false,
        }
    }

    /// Waits for the next events. Dropping the future loses nothing.
    ///
    /// # Errors
    /// A plugin's fault, and an error of the tool source that ends the request.
    pub(crate) async fn next_events(&mut self, usage_guard: &mut UsageGuard) -> Result<RoundProgress, Error> {
        while let Some((at, verdict)) = self.checks.next().await {
            self.apply_verdict(at, verdict);
        }
        self.guard_calls().await?;
        self.start_calls(usage_guard);
        if !self.ready.is_empty() {
            return Ok(RoundProgress::Events(std::mem::take(&mut self.ready)));
        }
        if self.is_done() {
            return Ok(RoundProgress::Done);
        }
        tokio::select! {
            biased;
            Some(event) = self.progress_events.recv() => Ok(RoundProgress::Events(vec![event])),
            Some(ended) = self.active.next() => self.end_call(ended, usage_guard),
            // Unreachable: `progress` keeps the channel open.
            else => Ok(RoundProgress::Done),
        }
    }

    fn is_done(&self) -> bool {
        let all_started = self.next >= self.round.calls.len();
        all_started
            && self.checks.is_empty()
            && self.active.is_empty()
            && self.ready.is_empty()
            && self.client_calls_sent
    }

    fn apply_verdict(&mut self, at: usize, verdict: SchemaVerdict) {
        let Some(parsed) = self.round.calls.get_mut(at) else { return };
        let reason = match verdict {
            SchemaVerdict::Fits => return,
            SchemaVerdict::Misfit(reason) => reason,
            SchemaVerdict::Unusable(reason) => {
                let name = parsed.call.as_ref().map_or("", |call| call.name.as_str());
                let message = format!("the tool \"{name}\" cannot be called: {reason}");
                self.ready.push(Event::Log(warning(message.clone())));
                message
            }
        };
        parsed.decision = CallDecision::Refused(Decision::Rejected, reason);
    }

    /// Lets the tool call stage decide about the calls whose arguments fit.
    async fn guard_calls(&mut self) -> Result<(), Error> {
        if self.guarded {
            return Ok(());
        }
        let verdicts = match &mut self.guarding {
            Some(guarding) => guarding.await,
            none => none.insert(guard(self.tools.clone(), guarded_calls(&self.round))).await,
        };
        (self.guarding, self.guarded) = (None, true);
        for (at, verdict) in verdicts? {
            let Some(parsed) = self.round.calls.get_mut(at) else { continue };
            match verdict {
                GuardVerdict::Refused(reason) => parsed.decision = CallDecision::Refused(Decision::Denied, reason),
                GuardVerdict::Rewritten(text, value) => {
                    // From here on everything shows what runs: the event, the approval, the audit log and the model.
                    if let (CallDecision::Run(runnable), Some(call)) = (&mut parsed.decision, &mut parsed.call) {
                        (runnable.arguments, call.arguments_json) = (value, text);
                    }
                }
            }
        }
        Ok(())
    }

    /// Starts the calls that may run now.
    fn start_calls(&mut self, usage_guard: &mut UsageGuard) {
        while let Some(parsed) = self.round.calls.get_mut(self.next) {
            if self.exclusive && !self.active.is_empty() {
                return;
            }
            if let (CallDecision::Run(runnable), Some(call)) = (&parsed.decision, &parsed.call) {
                let exclusive = runnable.needs_approval || !runnable.tool.effects.read_only;
                let room = if exclusive { self.active.is_empty() } else { self.active.len() < TOOL_CALLS_PARALLEL_MAX };
                if !room {
                    return;
                }
                match usage_guard.allow_call(call) {
                    Err(refusal) => parsed.decision = CallDecision::Refused(Decision::Rejected, refusal.to_string()),
                    Ok(()) => {
                        self.ready.push(Event::ToolCall(call.clone()));
                        if runnable.needs_approval && self.tools.approver.is_some() {
                            self.ready.push(Event::ApprovalNeeded { id: parsed.id.clone() });
                        }
                        parsed.started = true;
                        self.exclusive = exclusive;
                        let task = CallTask {
                            call: call.clone(),
                            origin: runnable.origin,
                            approval: runnable.needs_approval.then(|| runnable.tool.clone()),
                            final_decision: Arc::clone(&parsed.final_decision),
                            progress: ProgressSink { id: parsed.id.clone(), events: self.progress.clone() },
                        };
                        let (at, tools) = (self.next, self.tools.clone());
                        self.active.push(Box::pin(async move { EndedCall { at, outcome: task.run(tools).await } }));
                    }
                }
            }
            if let CallDecision::Refused(decision, reason) = &parsed.decision {
                let outcome = refused(reason);
                if let Some(call) = &parsed.call {
                    self.ready.push(Event::ToolCall(call.clone()));
                    usage_guard.record_call(call, *decision, &outcome);
                }
                self.ready.push(Event::ToolResult { id: parsed.id.clone(), outcome: outcome.clone() });
                parsed.outcome = Some(outcome);
            }
            self.next += 1;
        }
        if self.active.is_empty() && !self.client_calls_sent {
            self.client_calls_sent = true;
            let client_calls = self.round.calls.iter().filter(|call| matches!(call.decision, CallDecision::Client));
            self.ready.extend(client_calls.filter_map(|call| call.call.clone()).map(Event::ToolCall));
        }
    }

    fn end_call(&mut self, ended: EndedCall, usage_guard: &mut UsageGuard) -> Result<RoundProgress, Error> {
        // Progress that the call reported comes before its result.
        let mut events = Vec::new();
        while let Ok(event) = self.progress_events.try_recv() {
            events.push(event);
        }
        let outcome = cut_result(ended.outcome?);
        if let Some(parsed) = self.round.calls.get_mut(ended.at) {
            if let Some(call) = &parsed.call {
                usage_guard.record_call(call, parsed.recorded_decision(), &outcome);
            }
            events.push(Event::ToolResult { id: parsed.id.clone(), outcome: outcome.clone() });
            parsed.outcome = Some(outcome);
        }
        Ok(RoundProgress::Events(events))
    }

    /// Cancels the calls that run. Each call that had started gets a result that says so.
    pub(crate) fn cancel(&mut self, usage_guard: &mut UsageGuard) -> Vec<Event> {
        self.checks = FuturesUnordered::new();
        self.guarding = None;
        self.active = FuturesUnordered::new();
        self.next = self.round.calls.len();
        let mut events = std::mem::take(&mut self.ready);
        for parsed in &mut self.round.calls {
            if parsed.started && parsed.outcome.is_none() {
                let (outcome, decision) = (refused("it was cut off before it ended"), parsed.recorded_decision());
                if let Some(call) = &parsed.call {
                    usage_guard.record_call(call, decision, &outcome);
                }
                events.push(Event::ToolResult { id: parsed.id.clone(), outcome: outcome.clone() });
                parsed.outcome = Some(outcome);
            }
        }
        events
    }

    pub(crate) fn has_client_calls(&self) -> bool {
        self.round.has_client_calls()
    }

    /// The round as the model sees it in the next turn.
    pub(crate) fn conversation(&self) -> Vec<Message> {
        self.round.conversation()
    }

    /// The round as clients and sessions store it.
    pub(crate) fn history(&self) -> Vec<Message> {
        self.round.history()
    }
}

/// The calls of `round` that the host would run.
fn guarded_calls(round: &ToolRound) -> Vec<GuardedCall> {
    let runs = round.calls.iter().enumerate().filter_map(|(at, parsed)| match (&parsed.decision, &parsed.call) {
        (CallDecision::Run(runnable), Some(call)) => {
            Some(GuardedCall { at, call: call.clone(), schema_json: runnable.tool.input_schema_json.clone() })
        }
        _ => None,
    });
    runs.collect()
}

/// One call that runs. The built-in model is trained to repeat the texts of its outcomes.
struct CallTask {
    call: ToolCall,
    origin: ToolOrigin,
    /// The tool to show to the approver, if the call needs approval.
    approval: Option<ToolDefinition>,
    /// Set just before the call runs.
    final_decision: Arc<OnceLock<Decision>>,
    progress: ProgressSink,
}

impl CallTask {
    async fn run(self, tools: Tools) -> Result<ToolOutcome, Error> {
        if let Some(tool) = &self.approval {
            let approval = match &tools.approver {
                Some(approver) => approver.approve(&tools.caller, &tools.request_id, &self.call, tool).await,
                None => Approval::Decline("it needs somebody's approval, and there is nobody to ask".to_owned()),
            };
            if let Approval::Decline(reason) = approval {
                return Ok(refused(&format!("the call was declined: {reason}")));
            }
        }
        if let Some(refused) = self.recheck_permission(&tools)? {
            return Ok(refused);
        }
        let outcome = self.call_tool(&tools).await?;
        tools.hooks.after_call(&self.call, outcome).await
    }

    /// Runs the call, which is approved.
    ///
    /// # Errors
    /// A plugin's fault, and an error of the tool source that ends the request.
    async fn call_tool(&self, tools: &Tools) -> Result<ToolOutcome, Error> {
        match (self.origin, &tools.source) {
            (ToolOrigin::Plugin, _) => tools.hooks.call(&self.call).await,
            (ToolOrigin::Source, Some(source)) => {
                let limit = source.timeout(&self.call.name);
                let began = tools.clock.now();
                let answered = tokio::select! {
                    biased;
                    answered = source.call(&tools.caller, &self.call, &self.progress) => answered,
                    () = tools.clock.sleep(limit) => {
                        let reason = format!("the tool did not answer within {} ms", limit.as_millis());
                        let elapsed = tools.clock.now().saturating_sub(began);
                        Ok(ToolOutcome { elapsed, ..refused(&reason) })
                    }
                };
                match answered {
                    Err(Error::NotFound(_)) => Ok(refused(&format!("the tool \"{}\" is gone", self.call.name))),
                    answered => answered,
                }
            }
            (ToolOrigin::Source | ToolOrigin::Client, _) => Ok(refused("the tool cannot run here")),
        }
    }

    /// Checks the permission again just before the call runs, because it may have changed while the call waited for
    /// approval. Returns the outcome of a call that may not run.
    ///
    /// # Errors
    /// The error of a caller that may do nothing any more.
    fn recheck_permission(&self, tools: &Tools) -> Result<Option<ToolOutcome>, Error> {
        let name = &self.call.name;
        let alive = tools.caller.liveness.check();
        let (decision, reason) = match (&alive, tools.caller.liveness.permission(name), &self.approval) {
            (Err(_), ..) => (Decision::Denied, None),
            (Ok(()), Permission::Deny, _) => (Decision::Denied, Some("is now denied by policy")),
            (Ok(()), Permission::Ask, None) => {
                (Decision::Denied, Some("now needs approval, which this request did not ask for"))
            }
            (Ok(()), _, Some(_)) => (Decision::Approved, None),
            (Ok(()), _, None) => (Decision::Allowed, None),
        };
        // This is the only place that sets it.
        let _first = self.final_decision.set(decision);
        alive?;
        Ok(reason.map(|reason| refused(&format!("the tool \"{name}\" {reason}"))))
    }
}

/// Turns reports of progress into events. If the reader is slow, reports are dropped.
struct ProgressSink {
    id: String,
    events: mpsc::Sender<Event>,
}

impl Progress for ProgressSink {
    fn report(&self, done: f64, total: Option<f64>, message: Option<&str>) {
        let cut = |message: &str| message[..message.floor_char_boundary(TOOL_PROGRESS_BYTES_MAX)].to_owned();
        let event = Event::ToolProgress { id: self.id.clone(), done, total, message: message.map(cut) };
        // The channel is full if the reader is slow, and closed if it is gone. Neither may delay the tool.
        let _dropped = self.events.try_send(event);
    }
}
