//! POST requests: one message, or a batch of messages.

use std::fmt::Display;

use bytes::{Buf as _, Bytes};
use firebox_contract::{Caller, Error, limits};
use futures_util::future::join_all;
use http::request::Parts;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use rmcp::model::{ClientJsonRpcMessage, JsonRpcMessage};
use serde_json::Value;

use super::super::message::{self, ClientMessage, RejectedMessage};
use super::accept::{self, AcceptedTypes};
use super::{
    HttpReply, HttpTools, LISTEN, METHOD, SESSION_ID, SUBSCRIPTIONS_MAX, refusal, text, too_many_subscriptions,
};

impl HttpTools {
    /// Answers a `POST`.
    pub(super) async fn post<B>(&self, mut parts: Parts, body: B, caller: Caller) -> HttpReply
    where
        B: http_body::Body + Send + 'static,
        B::Error: Display,
    {
        if let Some(foreign) = self.refuse_foreign(&parts).await {
            return foreign;
        }
        let accepts = AcceptedTypes::of(&parts.headers);
        if accepts.is_nothing() {
            let message = "an answer is application/json or text/event-stream; accept one or both of them";
            return refusal::with_status(StatusCode::NOT_ACCEPTABLE, Value::Null, message);
        }
        if !is_json(&parts.headers) {
            let message = "a message is JSON; send content-type: application/json";
            return refusal::with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE, Value::Null, message);
        }
        let bytes = match self.body(body).await {
            Ok(bytes) => bytes,
            Err(refused) => return refused,
        };
        accept::both(&mut parts.headers);
        match message::parse(&bytes) {
            Ok(Value::Array(batch)) => self.batch(&parts, &caller, batch).await,
            Ok(value) => match message::check(value) {
                Ok(message) => self.message(parts, caller, message, accepts).await,
                Err(refused) => refusal::whole(&refused),
            },
            Err(refused) => refusal::whole(&refused),
        }
    }

    /// The refusal of a foreign host or origin by rmcp, before the body is read.
    async fn refuse_foreign(&self, parts: &Parts) -> Option<HttpReply> {
        // rmcp checks these headers first. For this method it then answers "method not allowed".
        let mut head = Request::builder().method(Method::PUT).uri(parts.uri.clone());
        for name in [header::HOST, header::ORIGIN] {
            for value in parts.headers.get_all(&name) {
                head = head.header(&name, value);
            }
        }
        let judged = self.inner.handle(head.body(Full::new(Bytes::new())).ok()?).await;
        match judged.status() {
            StatusCode::METHOD_NOT_ALLOWED => None,
            _ => Some(refusal::in_json(judged, &Value::Null).await),
        }
    }

    async fn body<B>(&self, body: B) -> Result<Bytes, HttpReply>
    where
        B: http_body::Body + Send + 'static,
        B::Error: Display,
    {
        let most = self.inner.config.max_request_body_bytes;
        let mut body = std::pin::pin!(body);
        let mut bytes = Vec::new();
        loop {
            let frame = std::future::poll_fn(|context| body.as_mut().poll_frame(context)).await;
            match frame {
                None => return Ok(Bytes::from(bytes)),
                Some(Err(error)) => {
                    let message = format!("the body could not be read: {error}");
                    return Err(refusal::with_status(StatusCode::BAD_REQUEST, Value::Null, message));
                }
                Some(Ok(frame)) => {
                    let Ok(mut data) = frame.into_data() else { continue };
                    if data.remaining() > most.saturating_sub(bytes.len()) {
                        let message = format!("the body has more than {most} bytes; send less at a time");
                        return Err(refusal::with_status(StatusCode::PAYLOAD_TOO_LARGE, Value::Null, message));
                    }
                    bytes.extend_from_slice(&data.copy_to_bytes(data.remaining()));
                }
            }
        }
    }

    /// Answers one message.
    async fn message(&self, parts: Parts, caller: Caller, message: ClientMessage, accepts: AcceptedTypes) -> HttpReply {
        let id = id_of(&message.typed);
        if let Some(session) = text(&parts.headers, SESSION_ID).filter(|id| !self.sessions.is_of(id, &caller.tenant)) {
            return refusal::of(&no_session(session), id);
        }
        let listens = text(&parts.headers, METHOD) == Some(LISTEN);
        if listens && !accepts.events {
            let message = "a subscription is an event stream; accept text/event-stream";
            return refusal::with_status(StatusCode::NOT_ACCEPTABLE, id, message);
        }
        if listens && !self.shared.subscriptions.has_room(&caller.tenant, SUBSCRIPTIONS_MAX) {
            return refusal::of(&too_many_subscriptions(), id);
        }
        let body = Full::new(Bytes::from(message.value.to_string()));
        let reply = self.forward(Request::from_parts(parts, body), caller, &id).await;
        accept::adapt(reply, accepts).await
    }

    /// Answers all messages of a batch in one answer, if the session's revision supports batches.
    async fn batch(&self, parts: &Parts, caller: &Caller, batch: Vec<Value>) -> HttpReply {
        let session = text(&parts.headers, SESSION_ID);
        if let Some(session) = session.filter(|id| !self.sessions.is_of(id, &caller.tenant)) {
            return refusal::of(&no_session(session), Value::Null);
        }
        let allowed = session.is_some_and(|session| self.sessions.has_batches(session));
        if let Err(message) = message::batch(&batch, allowed) {
            return refusal::whole(&RejectedMessage::invalid(Value::Null, message));
        }
        let accepts = AcceptedTypes { json: true, events: true };
        let answers = join_all(batch.into_iter().map(|value| async {
            match message::check(value) {
                Ok(message) => {
                    accept::answer_of(self.message(parts.clone(), caller.clone(), message, accepts).await).await
                }
                Err(refused) => Some(refused.to_json()),
            }
        }))
        .await;
        let answers: Vec<Value> = answers.into_iter().flatten().collect();
        if answers.is_empty() {
            let mut nothing = refusal::json_reply(StatusCode::ACCEPTED, &Value::Null);
            *nothing.body_mut() = Full::new(Bytes::new()).boxed();
            nothing.headers_mut().remove(header::CONTENT_TYPE);
            return nothing;
        }
        refusal::json_reply(StatusCode::OK, &Value::Array(answers))
    }
}

/// The error for a session that does not exist for this caller.
pub(super) fn no_session(id: &str) -> Error {
    let shown: String = id.chars().take(limits::MCP_REQUEST_ID_BYTES_MAX).collect();
    Error::NotFound(format!("there is no session \"{shown}\"; initialize a new one"))
}

fn id_of(message: &ClientJsonRpcMessage) -> Value {
    match message {
        JsonRpcMessage::Request(request) => request.id.clone().into_json_value(),
        _ => Value::Null,
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = text(headers, header::CONTENT_TYPE.as_str()).and_then(|kind| kind.split(';').next());
    kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}
