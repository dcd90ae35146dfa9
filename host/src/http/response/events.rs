//! Completions on the wire: a whole JSON answer, or server-sent events in chunks.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::SystemTime;

use axum::body::Body;
use axum::http::Response;
use axum::http::header::{HeaderName, HeaderValue};
use axum::response::IntoResponse as _;
use axum::response::sse::{Event, KeepAlive, Sse};
use firebox_contract::limits;
use futures_util::stream::unfold;
use serde::Serialize;
use serde_json::Value;

use super::answer::{Answer, AnswerEnd, AnswerPart};
use super::failure::Failure;
use super::{json, wire};
use crate::http::request::CompletionKind;

impl CompletionKind {
    /// The common fields of an answer. Its id follows from the request's.
    pub(in crate::http) fn head(self, model: &str, request_id: &str, stream: bool) -> wire::CompletionHead {
        let (prefix, object) = match (self, stream) {
            (Self::Chat, false) => ("chatcmpl", "chat.completion"),
            (Self::Chat, true) => ("chatcmpl", "chat.completion.chunk"),
            (Self::Text, _) => ("cmpl", "text_completion"),
        };
        let id = format!("{prefix}-{}", request_id.trim_start_matches("req_"));
        wire::CompletionHead { id, object, created: wire::unix_seconds(SystemTime::now()), model: model.to_owned() }
    }
}

/// Waits for the whole answer.
///
/// # Errors
/// The failure of the generation.
pub(in crate::http) async fn whole(
    mut answer: Answer,
    kind: CompletionKind,
    head: wire::CompletionHead,
) -> Result<Response<Body>, Failure> {
    let (mut text, mut calls) = (String::new(), Vec::new());
    while let Some(part) = answer.next().await? {
        match part {
            AnswerPart::Text(more) => text.push_str(&more),
            AnswerPart::ClientToolCall(mut call) => {
                call.index = None;
                calls.push(call);
            }
            AnswerPart::Event(_) => {}
            AnswerPart::End(end) => return complete(kind, &head, text, calls, end),
        }
    }
    Err(firebox_contract::Error::Internal("the answer ended without a last part".to_owned()).into())
}

fn complete(
    kind: CompletionKind,
    head: &wire::CompletionHead,
    text: String,
    tool_calls: Vec<wire::ClientToolCall>,
    end: AnswerEnd,
) -> Result<Response<Body>, Failure> {
    let finish_reason = wire::finish_reason(end.reason);
    let (usage, firebox) = (Some(Some(end.usage)), Some(end.firebox));
    if kind == CompletionKind::Text {
        let choices = vec![wire::TextChoice { index: 0, text, logprobs: None, finish_reason: Some(finish_reason) }];
        return json(&wire::CompletionObject { head, choices, usage, firebox });
    }
    let content = (!text.is_empty() || tool_calls.is_empty()).then_some(text);
    let message = wire::ChatMessage { role: "assistant", content, refusal: None, tool_calls };
    let choices = vec![wire::ChatChoice { index: 0, message, logprobs: None, finish_reason }];
    json(&wire::CompletionObject { head, choices, usage, firebox })
}

/// An event stream of the answer. The response begins at once; a later failure is its last event.
pub(in crate::http) fn events(
    answer: Answer,
    kind: CompletionKind,
    head: wire::CompletionHead,
    include_usage: bool,
    id: String,
) -> Response<Body> {
    let mut out = EventStream { answer: Some(answer), kind, head, include_usage, id, queue: VecDeque::new() };
    if kind == CompletionKind::Chat {
        let delta = wire::MessageDelta {
            role: Some("assistant"),
            content: Some(String::new()),
            ..wire::MessageDelta::default()
        };
        out.chat(delta, None, None);
    }
    let stream = unfold(out, |mut out| async move { out.next().await.map(|event| (Ok::<_, Infallible>(event), out)) });
    let alive = KeepAlive::new().interval(limits::HTTP_KEEP_ALIVE_PERIOD).text("still here");
    let mut response = Sse::new(stream).keep_alive(alive).into_response();
    let unbuffered = HeaderName::from_static("x-accel-buffering");
    response.headers_mut().insert(unbuffered, HeaderValue::from_static("no"));
    response
}

/// The state of an event stream.
struct EventStream {
    answer: Option<Answer>,
    kind: CompletionKind,
    head: wire::CompletionHead,
    include_usage: bool,
    id: String,
    /// Events to send next.
    queue: VecDeque<Event>,
}

impl EventStream {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.queue.pop_front() {
                return Some(event);
            }
            let part = self.answer.as_mut()?.next().await;
            match part {
                Ok(Some(part)) => self.push_part(part),
                Ok(None) => self.answer = None,
                Err(failure) => {
                    tracing::warn!(request = %self.id, error = %failure, "a stream ended with an error");
                    self.push(&failure.body_for(&self.id));
                    self.answer = None;
                }
            }
        }
    }

    fn push_part(&mut self, part: AnswerPart) {
        match part {
            AnswerPart::Text(text) => self.text(text, None, None),
            AnswerPart::ClientToolCall(call) => {
                self.chat(wire::MessageDelta { tool_calls: vec![call], ..wire::MessageDelta::default() }, None, None);
            }
            // With an empty delta: clients that ignore `firebox` see a chunk that adds nothing.
            AnswerPart::Event(event) => self.text(String::new(), None, Some(event)),
            AnswerPart::End(end) => self.end(end),
        }
    }

    fn end(&mut self, end: AnswerEnd) {
        self.text(String::new(), Some(wire::finish_reason(end.reason)), Some(end.firebox));
        if self.include_usage {
            let head = self.head.clone();
            let usage = Some(Some(end.usage));
            self.push(&wire::CompletionObject::<Value> { head: &head, choices: Vec::new(), usage, firebox: None });
        }
        self.queue.push_back(Event::default().data("[DONE]"));
        self.answer = None;
    }

    fn text(&mut self, text: String, finish_reason: Option<&'static str>, firebox: Option<Value>) {
        if self.kind == CompletionKind::Chat {
            let content = (!text.is_empty()).then_some(text);
            return self.chat(wire::MessageDelta { content, ..wire::MessageDelta::default() }, finish_reason, firebox);
        }
        let head = self.head.clone();
        let choices = vec![wire::TextChoice { index: 0, text, logprobs: None, finish_reason }];
        self.push(&wire::CompletionObject { head: &head, choices, usage: self.no_usage(), firebox });
    }

    fn chat(&mut self, delta: wire::MessageDelta, finish_reason: Option<&'static str>, firebox: Option<Value>) {
        let head = self.head.clone();
        let choices = vec![wire::ChatChunkChoice { index: 0, delta, logprobs: None, finish_reason }];
        self.push(&wire::CompletionObject { head: &head, choices, usage: self.no_usage(), firebox });
    }

    /// `null` in all chunks before the last, if the client asked for the usage; else the field is missing.
    fn no_usage(&self) -> Option<Option<wire::UsageFields>> {
        self.include_usage.then_some(None)
    }

    fn push(&mut self, body: &impl Serialize) {
        // Serialization cannot fail: all keys are strings.
        if let Ok(text) = serde_json::to_string(body) {
            self.queue.push_back(Event::default().data(text));
        }
    }
}
