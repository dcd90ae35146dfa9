//! The media types that a client accepts: JSON, an event stream, or both. rmcp answers only clients that accept both.

use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use serde_json::Value;

use super::HttpReply;
use super::refusal;

const EVENTS: &str = "text/event-stream";
const JSON: &str = "application/json";

/// The media types that an answer may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AcceptedTypes {
    pub(super) json: bool,
    pub(super) events: bool,
}

impl AcceptedTypes {
    /// The types that `headers` accept. Without an accept header all types are accepted.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut accepts = Self { json: false, events: false };
        let mut has_header = false;
        let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        for range in values.flat_map(|value| value.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
            if kind.is_empty() {
                continue;
            }
            has_header = true;
            if parts.any(is_zero_weight) {
                continue;
            }
            accepts.json |= matches!(kind.as_str(), JSON | "application/*" | "*/*" | "*");
            accepts.events |= matches!(kind.as_str(), EVENTS | "text/*" | "*/*" | "*");
        }
        if has_header { accepts } else { Self { json: true, events: true } }
    }

    pub(super) fn is_nothing(self) -> bool {
        !self.json && !self.events
    }
}

/// Whether a parameter is a weight of 0, which excludes a type.
fn is_zero_weight(parameter: &str) -> bool {
    let Some((name, weight)) = parameter.split_once('=') else { return false };
    name.trim().eq_ignore_ascii_case("q") && weight.trim().parse::<f32>().is_ok_and(|weight| weight <= 0.0)
}

/// Makes rmcp answer with either type.
pub(super) fn both(headers: &mut HeaderMap) {
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
}

/// Makes rmcp answer with an event stream.
pub(super) fn events(headers: &mut HeaderMap) {
    headers.insert(header::ACCEPT, HeaderValue::from_static(EVENTS));
}

/// `reply` in a type that the client accepts.
pub(super) async fn adapt(reply: HttpReply, accepts: AcceptedTypes) -> HttpReply {
    let is_stream = is(&reply, EVENTS);
    if reply.status() != StatusCode::OK || (is_stream && accepts.events) || (!is_stream && accepts.json) {
        return reply;
    }
    let (mut parts, body) = reply.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    let (kind, body) = if is_stream {
        let answer = answer(body).await;
        (JSON, answer.map(|answer| answer.to_string()).unwrap_or_default())
    } else {
        let bytes = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        // The JSON has no line breaks, which would end the event.
        (EVENTS, format!("data: {}\n\n", String::from_utf8_lossy(&bytes)))
    };
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    Response::from_parts(parts, Full::new(Bytes::from(body)).boxed())
}

/// The answer in `reply`, from JSON or from an event stream. `None` for the reply to a notification.
pub(super) async fn answer_of(reply: HttpReply) -> Option<Value> {
    if is(&reply, EVENTS) {
        return answer(reply.into_body()).await;
    }
    let bytes = refusal::in_json(reply, &Value::Null).await.into_body().collect().await.ok()?.to_bytes();
    serde_json::from_slice(&bytes).ok()
}

fn is(reply: &HttpReply, kind: &str) -> bool {
    reply.headers().get(header::CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(kind.as_bytes()))
}

/// The first message of a stream that is an answer and not a notification.
async fn answer(mut stream: BoxBody<Bytes, Infallible>) -> Option<Value> {
    let mut text = Vec::new();
    while let Some(Ok(frame)) = stream.frame().await {
        let Ok(data) = frame.into_data() else { continue };
        text.extend_from_slice(&data);
        while let Some(end) = text.windows(2).position(|pair| pair == b"\n\n") {
            let event: Vec<u8> = text.drain(..end + 2).collect();
            let data = event.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"data:"));
            let message = data.and_then(|data| serde_json::from_slice::<Value>(data.trim_ascii()).ok());
            if let Some(message) = message.filter(|message| message.get("method").is_none()) {
                return Some(message);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_headers_are_read_with_wildcards_and_weights() {
        for (accept, json, events) in [
            (None, true, true),
            (Some(""), true, true),
            (Some("*/*"), true, true),
            (Some("*"), true, true),
            (Some("application/*, text/*"), true, true),
            (Some("application/json, text/event-stream"), true, true),
            (Some("Application/JSON;q=0.9,text/event-stream; q=0.8"), true, true),
            (Some("application/json"), true, false),
            (Some("text/event-stream"), false, true),
            (Some("text/html"), false, false),
            (Some("text/html, */*;q=0.8"), true, true),
            (Some("*/*;q=0"), false, false),
            (Some("application/json, text/event-stream;q=0"), true, false),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(accept) = accept {
                headers.insert(header::ACCEPT, HeaderValue::from_str(accept).expect("a header"));
            }
            assert_eq!(AcceptedTypes::of(&headers), AcceptedTypes { json, events }, "{accept:?}");
        }
    }
}
