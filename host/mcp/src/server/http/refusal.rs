//! Refused requests as MCP clients read them: a JSON-RPC error, with the id of the message if it is known.

use bytes::Bytes;
use firebox_contract::Error;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};

use super::super::message::{INVALID_PARAMS, INVALID_REQUEST, RejectedMessage};
use super::HttpReply;

/// The JSON-RPC code for an error of the server.
const INTERNAL_ERROR: i32 = -32_603;
/// Maximum bytes of a refusal text of rmcp.
const TEXT_BYTES_MAX: usize = 1_024;

/// The reply that refuses the message with `id` because of `error`.
pub(super) fn of(error: &Error, id: Value) -> HttpReply {
    let status = StatusCode::from_u16(error.kind().http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = json!({
        "jsonrpc": "2.0",
        "id": id,
        "error": { "code": INVALID_REQUEST, "message": error.to_string(), "data": { "code": error.kind().code() } },
    });
    let mut reply = json_reply(status, &body);
    let headers = reply.headers_mut();
    match error {
        Error::Unauthorized(_) => {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        Error::Limited { retry_after, .. } => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(retry_after.as_secs().max(1)));
        }
        _ => {}
    }
    reply
}

/// The reply for a rejected message. Invalid parameters have status 200, as in rmcp.
pub(super) fn whole(refusal: &RejectedMessage) -> HttpReply {
    let status = if refusal.code == INVALID_PARAMS { StatusCode::OK } else { StatusCode::BAD_REQUEST };
    json_reply(status, &refusal.to_json())
}

/// A refusal with this status.
pub(super) fn with_status(status: StatusCode, id: Value, message: impl Into<String>) -> HttpReply {
    json_reply(status, &RejectedMessage::invalid(id, message).to_json())
}

/// Turns a plain-text refusal of rmcp into a JSON-RPC error.
pub(super) async fn in_json(reply: HttpReply, id: &Value) -> HttpReply {
    let status = reply.status();
    let is_json = reply.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    if status.is_success() || is_json {
        return reply;
    }
    let (mut parts, body) = reply.into_parts();
    let bytes = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(TEXT_BYTES_MAX)]).into_owned();
    let code = if status.is_server_error() { INTERNAL_ERROR } else { INVALID_REQUEST };
    let refusal = RejectedMessage { id: id.clone(), code, message: with_remedy(text) };
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Full::new(Bytes::from(refusal.to_json().to_string())).boxed())
}

/// The text of rmcp, with a remedy if it has none.
fn with_remedy(text: String) -> String {
    if text.ends_with("Session ID is required") {
        return "this request needs a session: send \"initialize\", then the mcp-session-id of its answer with each \
                request; or ask without sessions (revision 2026-07-28)"
            .to_owned();
    }
    text
}

/// `body` as a reply.
pub(super) fn json_reply(status: StatusCode, body: &Value) -> HttpReply {
    let mut reply = Response::new(Full::new(Bytes::from(body.to_string())).boxed());
    *reply.status_mut() = status;
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply
}
