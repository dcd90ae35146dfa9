//! A running answer: events of the engine become parts of the answer for the client, and are counted in the metrics.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use firebox_contract::{
    BoxFuture, Caller, Error, Event, Finish, FinishReason, TokenLogprobs, ToolCall, ToolOutcome, Usage,
};
use firebox_engine::Generation;
use serde_json::Value;
use tokio::sync::watch;

use super::failure::Failure;
use super::wire;
use crate::http::endpoints::sessions::SessionTurn;
use crate::plugins::log;
use crate::serve::App;
use crate::serve::approvals::ApprovalLease;
use crate::serve::connections::request_bytes::ReservedBytes;
use crate::tenancy::InFlight;

/// The next part of an answer.
pub(super) enum AnswerPart {
    /// Reasoning, which comes before the text.
    Reasoning(String),
    Text(String),
    /// The probabilities of the next token of the text.
    Logprobs(TokenLogprobs),
    /// Tool calls that the client runs, whole or in parts.
    ClientToolCalls(Vec<wire::ClientToolCall>),
    /// An event of a tool call that the server runs, for the `firebox` field.
    Event(Value),
    /// The last part.
    End(AnswerEnd),
}

/// The end of an answer.
pub(super) struct AnswerEnd {
    pub(super) reason: FinishReason,
    pub(super) usage: Usage,
    pub(super) firebox: Value,
}

/// A running answer. Dropping it before its end cancels the generation and counts it as cancelled.
pub(in crate::http) struct Answer {
    app: Arc<App>,
    generation: Generation,
    context: RequestContext,
    /// Tool calls that the server runs.
    calls: Vec<ToolCall>,
    /// Tool calls for the client so far.
    client_calls: usize,
    /// Ids of the calls that the client got in parts, in order, each with its index.
    streamed_calls: Vec<(String, usize)>,
    /// The entries of `firebox.tool_calls`.
    tool_rows: Vec<Value>,
    /// MCP servers that do not answer, so that the model was not offered their tools.
    absent_servers: Vec<String>,
    has_first_token: bool,
    ended: bool,
    /// Becomes true when the shutdown cuts running answers.
    cut: watch::Receiver<bool>,
}

/// The request of an answer, and the guards that it keeps until its end.
pub(in crate::http) struct RequestContext {
    /// The request's id in the log.
    pub(in crate::http) request_id: String,
    pub(in crate::http) model: String,
    pub(in crate::http) caller: Caller,
    /// Names of the tools that the client runs.
    pub(in crate::http) client_tools: HashSet<String>,
    /// Whether the answer leaves out the reasoning.
    pub(in crate::http) hides_reasoning: bool,
    /// Fields of the request that were ignored.
    pub(in crate::http) ignored_fields: Vec<String>,
    pub(in crate::http) started: Instant,
    /// The session's turn that the answer completes.
    pub(in crate::http) turn: Option<SessionTurn>,
    /// The slot among the tenant's running requests.
    pub(in crate::http) _in_flight: InFlight,
    pub(in crate::http) _guards: Arc<RequestGuards>,
}

/// What all answers of a request keep until the last one ends.
pub(in crate::http) struct RequestGuards {
    pub(in crate::http) _approvals: ApprovalLease,
    /// The bytes of the prompt in the budget of request bytes.
    pub(in crate::http) _reserved: ReservedBytes,
}

/// An answer that starts when it is polled.
pub(in crate::http) type PendingAnswer = BoxFuture<'static, Result<Answer, Failure>>;

impl Answer {
    pub(in crate::http) fn new(app: Arc<App>, generation: Generation, context: RequestContext) -> Self {
        let cut = app.cut.clone();
        let absent_servers = app.mcp_servers.absent(&context.caller.tenant);
        Self {
            app,
            generation,
            context,
            calls: Vec::new(),
            client_calls: 0,
            streamed_calls: Vec::new(),
            tool_rows: Vec::new(),
            absent_servers,
            has_first_token: false,
            ended: false,
            cut,
        }
    }

    /// The next part; `None` after the last.
    ///
    /// # Errors
    /// The failure of the generation, 503 if the shutdown cut it, and the failure of storing a session's turn.
    pub(super) async fn next(&mut self) -> Result<Option<AnswerPart>, Failure> {
        loop {
            let event = tokio::select! {
                event = self.generation.next() => event,
                _ = self.cut.wait_for(|cut| *cut) => {
                    let message = "the server is shutting down and cut this answer off; send the request to another one";
                    Err(Error::Unavailable(message.to_owned()))
                }
            };
            self.app.metrics.gaps(&self.context.model, &self.generation.take_token_gaps());
            match event {
                Ok(Some(Event::Finished(finish))) => return self.finish(finish).await.map(Some),
                Ok(Some(event)) => {
                    if let Some(part) = self.part(event) {
                        return Ok(Some(part));
                    }
                }
                Ok(None) => return Ok(None),
                Err(error) => {
                    let so_far = self.generation.so_far(FinishReason::Interrupted);
                    self.count_end(error.kind().code(), &so_far);
                    return Err(error.into());
                }
            }
        }
    }

    fn part(&mut self, event: Event) -> Option<AnswerPart> {
        match event {
            Event::Reasoning(text) => {
                self.note_first_token();
                (!self.context.hides_reasoning).then_some(AnswerPart::Reasoning(text))
            }
            Event::Text(text) => {
                self.note_first_token();
                Some(AnswerPart::Text(text))
            }
            Event::Logprobs(scored) => Some(AnswerPart::Logprobs(scored)),
            Event::ToolCallDelta { id, name, arguments } => {
                self.note_first_token();
                Some(AnswerPart::ClientToolCalls(self.tool_call_part(id, name, arguments)))
            }
            // The client has it already.
            Event::ToolCall(call) if self.streamed_calls.iter().any(|(id, _)| *id == call.id) => None,
            Event::ToolCall(call) => {
                self.note_first_token();
                Some(self.tool_called(call))
            }
            Event::ApprovalNeeded { id } => Some(AnswerPart::Event(wire::approval_event(&id))),
            Event::ToolProgress { id, done, total, message } => {
                Some(AnswerPart::Event(wire::progress_event(&id, done, total, message.as_deref())))
            }
            Event::ToolResult { id, outcome } => Some(self.tool_answered(&id, &outcome)),
            Event::Log(line) => {
                log::write(&line, self.context.caller.tenant.as_str(), &self.context.request_id);
                None
            }
            Event::Finished(_) => None,
        }
    }

    fn note_first_token(&mut self) {
        if !std::mem::replace(&mut self.has_first_token, true) {
            self.app.metrics.first_token(&self.context.model, self.context.started.elapsed());
        }
    }

    fn tool_call_part(&mut self, id: String, name: Option<String>, arguments: String) -> Vec<wire::ClientToolCall> {
        let known = self.streamed_calls.iter().find(|(other, _)| *other == id).map(|(_, index)| *index);
        let index = known.unwrap_or(self.client_calls);
        let mut parts = Vec::new();
        if let Some(name) = name.filter(|_| known.is_none()) {
            self.client_calls += 1;
            self.streamed_calls.push((id.clone(), index));
            parts.push(wire::ClientToolCall::begin(index, id, name));
        }
        parts.push(wire::ClientToolCall::part(index, arguments));
        parts
    }

    fn tool_called(&mut self, call: ToolCall) -> AnswerPart {
        if self.context.client_tools.contains(&call.name) {
            let index = self.client_calls;
            self.client_calls += 1;
            return AnswerPart::ClientToolCalls(vec![wire::ClientToolCall::of(&call, Some(index))]);
        }
        let event = wire::tool_call_event(&call);
        self.calls.push(call);
        AnswerPart::Event(event)
    }

    fn tool_answered(&mut self, id: &str, outcome: &ToolOutcome) -> AnswerPart {
        let call = self.calls.iter().find(|call| call.id == id);
        let name = call.map_or("", |call| call.name.as_str());
        self.app.metrics.tool_answered(&self.context.caller.tenant, name, outcome);
        let row = wire::tool_result(call, id, outcome);
        self.tool_rows.push(row.clone());
        AnswerPart::Event(wire::tool_result_event(row))
    }

    /// Stores the session's turn before the client gets the last part.
    async fn finish(&mut self, finish: Finish) -> Result<AnswerPart, Failure> {
        self.count_end(finish.reason.as_str(), &finish);
        if let Some(turn) = &mut self.context.turn {
            turn.store(&finish.messages).await?;
        }
        let session = self.context.turn.as_ref().map(SessionTurn::id);
        let mut firebox = wire::answer_details(&finish, &self.tool_rows, session, &self.absent_servers);
        if let Some(object) = firebox.as_object_mut().filter(|_| !self.context.ignored_fields.is_empty()) {
            object.insert("passed_over".to_owned(), self.context.ignored_fields.clone().into());
        }
        Ok(AnswerPart::End(AnswerEnd { reason: finish.reason, usage: finish.usage, firebox }))
    }

    fn count_end(&mut self, outcome: &str, finish: &Finish) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let steps = u32::try_from(finish.timing.decode_steps).unwrap_or(u32::MAX);
        let per_token: Option<Duration> = finish.timing.decode.checked_div(steps);
        let (metrics, context) = (&self.app.metrics, &self.context);
        metrics.ended(&context.model, &context.caller.tenant, outcome, context.started.elapsed(), per_token);
        metrics.used(&context.model, &context.caller.tenant, finish.usage, &finish.plugins);
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if !self.ended {
            let so_far = self.generation.so_far(FinishReason::Interrupted);
            let outcome =
                self.context.caller.liveness.check().map_or_else(|error| error.kind().code(), |()| "cancelled");
            self.count_end(outcome, &so_far);
        }
    }
}
