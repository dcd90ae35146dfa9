//! A generation on its way to a client: engine events become pieces of an answer, counted as they pass.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use firebox_contract::{Caller, Error, Event, Finish, FinishReason, ToolCall, ToolOutcome};
use firebox_engine::Generation;
use serde_json::Value;
use tokio::sync::watch;

use super::turn::Turn;
use super::{Failure, wire};
use crate::plugins::log;
use crate::serve::App;
use crate::serve::approvals::Lease;
use crate::serve::request_bytes::HeldBytes;
use crate::tenancy::InFlight;

/// What a client gets next.
pub(super) enum Piece {
    Text(String),
    /// A call the client is to run.
    Call(wire::CallOut),
    /// Something the server does by itself, for the `firebox` field.
    Note(Value),
    /// The end; nothing follows.
    End(End),
}

pub(super) struct End {
    pub(super) reason: FinishReason,
    pub(super) usage: wire::UsageOut,
    pub(super) firebox: Value,
}

/// A running answer. Dropping it cancels the generation, and it is counted as cancelled.
pub(super) struct Work {
    app: Arc<App>,
    generation: Generation,
    about: About,
    calls: Vec<ToolCall>,
    client_calls: usize,
    tool_rows: Vec<Value>,
    /// MCP servers whose tools the model was not offered, since they do not answer.
    absent_servers: Vec<String>,
    first_seen: bool,
    ended: bool,
    cut: watch::Receiver<bool>,
}

/// Whose answer it is and what belongs to it.
pub(super) struct About {
    /// The request's id, by which the log calls it.
    pub(super) request: String,
    pub(super) model: String,
    pub(super) caller: Caller,
    pub(super) client_tools: HashSet<String>,
    /// Fields of the request that nobody knows.
    pub(super) passed_over: Vec<String>,
    pub(super) started: Instant,
    pub(super) turn: Option<Turn>,
    pub(super) _lease: Lease,
    /// Its place among the tenant's requests at a time.
    pub(super) _in_flight: InFlight,
    /// The bytes its prompt holds.
    pub(super) _held: HeldBytes,
}

impl Work {
    pub(super) fn new(app: Arc<App>, generation: Generation, about: About) -> Self {
        let cut = app.cut.clone();
        let absent_servers = app.mcp_servers.absent(&about.caller.tenant);
        Self {
            app,
            generation,
            about,
            calls: Vec::new(),
            client_calls: 0,
            tool_rows: Vec::new(),
            absent_servers,
            first_seen: false,
            ended: false,
            cut,
        }
    }

    /// The next piece; `None` after the last.
    pub(super) async fn next(&mut self) -> Result<Option<Piece>, Failure> {
        loop {
            let event = tokio::select! {
                event = self.generation.next() => event,
                _ = self.cut.wait_for(|cut| *cut) => {
                    let message = "the server is shutting down and cut this answer off; ask another one";
                    Err(Error::Unavailable(message.to_owned()))
                }
            };
            self.app.metrics.gaps(&self.about.model, &self.generation.take_token_gaps());
            match event {
                Ok(Some(Event::Finished(finish))) => return self.finish(finish).await.map(Some),
                Ok(Some(event)) => {
                    if let Some(piece) = self.piece(event) {
                        return Ok(Some(piece));
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

    fn piece(&mut self, event: Event) -> Option<Piece> {
        match event {
            Event::Text(text) => {
                self.see_first();
                Some(Piece::Text(text))
            }
            Event::ToolCall(call) => {
                self.see_first();
                Some(self.called(call))
            }
            Event::ApprovalNeeded { id } => Some(Piece::Note(wire::approval_event(&id))),
            Event::ToolProgress { id, done, total, message } => {
                Some(Piece::Note(wire::progress_event(&id, done, total, message.as_deref())))
            }
            Event::ToolResult { id, outcome } => Some(self.answered(&id, &outcome)),
            Event::Log(line) => {
                log::write(&line, self.about.caller.tenant.as_str(), &self.about.request);
                None
            }
            Event::Finished(_) => None,
        }
    }

    fn see_first(&mut self) {
        if !std::mem::replace(&mut self.first_seen, true) {
            self.app.metrics.first_token(&self.about.model, self.about.started.elapsed());
        }
    }

    fn called(&mut self, call: ToolCall) -> Piece {
        if self.about.client_tools.contains(&call.name) {
            let index = self.client_calls;
            self.client_calls += 1;
            return Piece::Call(wire::CallOut::of(&call, Some(index)));
        }
        let note = wire::tool_call_event(&call);
        self.calls.push(call);
        Piece::Note(note)
    }

    fn answered(&mut self, id: &str, outcome: &ToolOutcome) -> Piece {
        let call = self.calls.iter().find(|call| call.id == id);
        let name = call.map_or("", |call| call.name.as_str());
        self.app.metrics.tool_answered(&self.about.caller.tenant, name, outcome);
        let row = wire::tool_result(call, id, outcome);
        self.tool_rows.push(row.clone());
        Piece::Note(wire::tool_result_event(row))
    }

    /// A session's turn is stored before the client hears that the answer is complete.
    async fn finish(&mut self, finish: Finish) -> Result<Piece, Failure> {
        self.count_end(finish.reason.as_str(), &finish);
        if let Some(turn) = &mut self.about.turn {
            turn.store(&finish.messages).await?;
        }
        let session = self.about.turn.as_ref().map(Turn::id);
        let mut firebox = wire::finished(&finish, &self.tool_rows, session, &self.absent_servers);
        if let Some(object) = firebox.as_object_mut().filter(|_| !self.about.passed_over.is_empty()) {
            object.insert("passed_over".to_owned(), self.about.passed_over.clone().into());
        }
        Ok(Piece::End(End { reason: finish.reason, usage: finish.usage.into(), firebox }))
    }

    fn count_end(&mut self, outcome: &str, finish: &Finish) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let steps = u32::try_from(finish.timing.decode_steps).unwrap_or(u32::MAX);
        let per_token: Option<Duration> = finish.timing.decode.checked_div(steps);
        let (metrics, about) = (&self.app.metrics, &self.about);
        metrics.ended(&about.model, &about.caller.tenant, outcome, about.started.elapsed(), per_token);
        metrics.used(&about.model, &about.caller.tenant, finish.usage, &finish.plugins);
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if !self.ended {
            let so_far = self.generation.so_far(FinishReason::Interrupted);
            let word = self.about.caller.liveness.check().map_or_else(|error| error.kind().code(), |()| "cancelled");
            self.count_end(word, &so_far);
        }
    }
}
