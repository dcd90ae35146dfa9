//! Answers on the wire: whole, or as server-sent events in the chunks the official clients put together again.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::SystemTime;

use axum::body::Body;
use axum::http::Response;
use axum::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use axum::response::IntoResponse as _;
use axum::response::sse::{Event, KeepAlive, Sse};
use firebox_contract::limits;
use futures_util::stream::unfold;
use serde::Serialize;
use serde_json::Value;

use super::work::{End, Piece, Work};
use super::{Failure, wire};

/// Which endpoint answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Chat,
    Text,
}

impl Shape {
    /// The head of its answers, with a fresh id.
    pub(super) fn head(self, model: &str, request_id: &str, stream: bool) -> wire::Head {
        let (prefix, object) = match (self, stream) {
            (Self::Chat, false) => ("chatcmpl", "chat.completion"),
            (Self::Chat, true) => ("chatcmpl", "chat.completion.chunk"),
            (Self::Text, _) => ("cmpl", "text_completion"),
        };
        let id = format!("{prefix}-{}", request_id.trim_start_matches("req_"));
        wire::Head { id, object, created: wire::unix_seconds(SystemTime::now()), model: model.to_owned() }
    }
}

/// A response with `body` as JSON.
pub(super) fn json(body: &impl Serialize) -> Result<Response<Body>, Failure> {
    let text = serde_json::to_string(body);
    let text = text.map_err(|error| firebox_contract::Error::Internal(format!("an answer is no JSON: {error}")))?;
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

/// The answer once it is complete.
pub(super) async fn whole(mut work: Work, shape: Shape, head: wire::Head) -> Result<Response<Body>, Failure> {
    let (mut text, mut calls) = (String::new(), Vec::new());
    while let Some(piece) = work.next().await? {
        match piece {
            Piece::Text(more) => text.push_str(&more),
            Piece::Call(mut call) => {
                call.index = None;
                calls.push(call);
            }
            Piece::Note(_) => {}
            Piece::End(end) => return complete(shape, &head, text, calls, end),
        }
    }
    Err(firebox_contract::Error::Internal("the answer ended without its end".to_owned()).into())
}

fn complete(
    shape: Shape,
    head: &wire::Head,
    text: String,
    tool_calls: Vec<wire::CallOut>,
    end: End,
) -> Result<Response<Body>, Failure> {
    let finish_reason = wire::finish_reason(end.reason);
    let (usage, firebox) = (Some(Some(end.usage)), Some(end.firebox));
    if shape == Shape::Text {
        let choices = vec![wire::TextChoice { index: 0, text, logprobs: None, finish_reason: Some(finish_reason) }];
        return json(&wire::Completion { head, choices, usage, firebox });
    }
    let content = (!text.is_empty() || tool_calls.is_empty()).then_some(text);
    let message = wire::ChatMessage { role: "assistant", content, refusal: None, tool_calls };
    let choices = vec![wire::ChatChoice { index: 0, message, logprobs: None, finish_reason }];
    json(&wire::Completion { head, choices, usage, firebox })
}

/// The answer as it comes. The response begins at once; what fails later is an event, and the last one.
pub(super) fn events(work: Work, shape: Shape, head: wire::Head, include_usage: bool, id: String) -> Response<Body> {
    let mut out = Outgoing { work: Some(work), shape, head, include_usage, id, ready: VecDeque::new() };
    if shape == Shape::Chat {
        let delta = wire::Delta { role: Some("assistant"), content: Some(String::new()), ..wire::Delta::default() };
        out.chat(delta, None, None);
    }
    let stream = unfold(out, |mut out| async move { out.next().await.map(|event| (Ok::<_, Infallible>(event), out)) });
    let alive = KeepAlive::new().interval(limits::HTTP_KEEP_ALIVE_PERIOD).text("still here");
    let mut response = Sse::new(stream).keep_alive(alive).into_response();
    let unbuffered = HeaderName::from_static("x-accel-buffering");
    response.headers_mut().insert(unbuffered, HeaderValue::from_static("no"));
    response
}

/// A stream on its way.
struct Outgoing {
    work: Option<Work>,
    shape: Shape,
    head: wire::Head,
    include_usage: bool,
    id: String,
    ready: VecDeque<Event>,
}

impl Outgoing {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            let piece = self.work.as_mut()?.next().await;
            match piece {
                Ok(Some(piece)) => self.take(piece),
                Ok(None) => self.work = None,
                Err(failure) => {
                    tracing::warn!(request = %self.id, error = %failure, "an answer broke off");
                    self.push(&failure.body_for(&self.id));
                    self.work = None;
                }
            }
        }
    }

    fn take(&mut self, piece: Piece) {
        match piece {
            Piece::Text(text) => self.text(text, None, None),
            Piece::Call(call) => {
                self.chat(wire::Delta { tool_calls: vec![call], ..wire::Delta::default() }, None, None);
            }
            // With an empty delta, so that clients that know nothing of it see a chunk that adds nothing.
            Piece::Note(note) => self.text(String::new(), None, Some(note)),
            Piece::End(end) => self.end(end),
        }
    }

    fn end(&mut self, end: End) {
        self.text(String::new(), Some(wire::finish_reason(end.reason)), Some(end.firebox));
        if self.include_usage {
            let head = self.head.clone();
            let usage = Some(Some(end.usage));
            self.push(&wire::Completion::<Value> { head: &head, choices: Vec::new(), usage, firebox: None });
        }
        self.ready.push_back(Event::default().data("[DONE]"));
        self.work = None;
    }

    fn text(&mut self, text: String, finish_reason: Option<&'static str>, firebox: Option<Value>) {
        if self.shape == Shape::Chat {
            let content = (!text.is_empty()).then_some(text);
            return self.chat(wire::Delta { content, ..wire::Delta::default() }, finish_reason, firebox);
        }
        let head = self.head.clone();
        let choices = vec![wire::TextChoice { index: 0, text, logprobs: None, finish_reason }];
        self.push(&wire::Completion { head: &head, choices, usage: self.no_usage(), firebox });
    }

    fn chat(&mut self, delta: wire::Delta, finish_reason: Option<&'static str>, firebox: Option<Value>) {
        let head = self.head.clone();
        let choices = vec![wire::ChatDelta { index: 0, delta, logprobs: None, finish_reason }];
        self.push(&wire::Completion { head: &head, choices, usage: self.no_usage(), firebox });
    }

    /// Where the usage comes at the end, every other chunk says that it has none.
    fn no_usage(&self) -> Option<Option<wire::UsageOut>> {
        self.include_usage.then_some(None)
    }

    fn push(&mut self, body: &impl Serialize) {
        // These types have no maps with other keys than strings and no failing parts.
        if let Ok(text) = serde_json::to_string(body) {
            self.ready.push_back(Event::default().data(text));
        }
    }
}
