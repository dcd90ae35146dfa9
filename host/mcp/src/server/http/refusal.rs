//! Refusals as MCP clients read them: a JSON-RPC error, whoever refuses, with the id of the message where it is known.

use bytes::Bytes;
use firebox_contract::Error;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};

use super::super::message::{INVALID_PARAMS, INVALID_REQUEST, Refusal};
use super::Reply;

/// JSON-RPC: what went wrong is not the client's doing.
const INTERNAL_ERROR: i32 = -32_603;
/// Bytes of a refusal of rmcp's that are passed on.
const WORDS_BYTES_MAX: usize = 1_024;

/// The message with `id` is refused with `error`.
pub(super) fn of(error: &Error, id: Value) -> Reply {
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

/// `refusal` as a whole answer. Parameters that cannot be meant are an answer of their method, as rmcp gives it.
pub(super) fn whole(refusal: &Refusal) -> Reply {
    let status = if refusal.code == INVALID_PARAMS { StatusCode::OK } else { StatusCode::BAD_REQUEST };
    json_reply(status, &refusal.to_json())
}

/// A refusal with a status of its own.
pub(super) fn with_status(status: StatusCode, id: Value, message: impl Into<String>) -> Reply {
    json_reply(status, &Refusal::invalid(id, message).to_json())
}

/// Makes a JSON-RPC error of rmcp's refusals in plain text.
pub(super) async fn in_json(reply: Reply, id: &Value) -> Reply {
    let status = reply.status();
    let is_json = reply.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    if status.is_success() || is_json {
        return reply;
    }
    let (mut parts, body) = reply.into_parts();
    let bytes = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(WORDS_BYTES_MAX)]).into_owned();
    let code = if status.is_server_error() { INTERNAL_ERROR } else { INVALID_REQUEST };
    let refusal = Refusal { id: id.clone(), code, message: words(text) };
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Full::new(Bytes::from(refusal.to_json().to_string())).boxed())
}

/// What rmcp says, with a remedy where it has none.
fn words(text: String) -> String {
    if text.ends_with("Session ID is required") {
        return "this request needs a session: send \"initialize\", then the mcp-session-id of its answer with each \
                request; or ask without sessions (revision 2026-07-28)"
            .to_owned();
    }
    text
}

/// `body` as an answer.
pub(super) fn json_reply(status: StatusCode, body: &Value) -> Reply {
    let mut reply = Response::new(Full::new(Bytes::from(body.to_string())).boxed());
    *reply.status_mut() = status;
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply
}
