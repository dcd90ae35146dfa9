//! Checks messages of clients before rmcp reads them. An invalid message is rejected with a readable reason and its id, if it has
//! one.

use firebox_contract::{json_values, limits};
use rmcp::model::{
    CallToolRequestParams, ClientJsonRpcMessage, ClientRequest, InitializeRequestParams, PaginatedRequestParams,
    SubscriptionsListenRequestParams,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::json_kind;

/// The JSON-RPC code for bytes that are not JSON.
const PARSE_ERROR: i32 = -32_700;
/// The JSON-RPC code for an invalid message.
pub(super) const INVALID_REQUEST: i32 = -32_600;
/// The JSON-RPC code for invalid parameters of a known method.
pub(super) const INVALID_PARAMS: i32 = -32_602;

/// The key of the protocol revision in the metadata of a request.
const REVISION_KEY: &str = "io.modelcontextprotocol/protocolVersion";

/// The supported methods.
const SERVED: [&str; 6] = ["initialize", "ping", "server/discover", "subscriptions/listen", "tools/call", "tools/list"];

/// A message that was rejected.
#[derive(Debug, PartialEq)]
pub(super) struct RejectedMessage {
    /// The id of the message, or null if it has no readable id.
    pub(super) id: Value,
    /// The JSON-RPC code.
    pub(super) code: i32,
    pub(super) message: String,
}

impl RejectedMessage {
    pub(super) fn invalid(id: Value, message: impl Into<String>) -> Self {
        Self { id, code: INVALID_REQUEST, message: message.into() }
    }

    /// The JSON-RPC error for the client.
    pub(super) fn to_json(&self) -> Value {
        json!({ "jsonrpc": "2.0", "id": self.id, "error": { "code": self.code, "message": self.message } })
    }
}

/// A valid message.
pub(super) struct ClientMessage {
    /// The message as the client wrote it, without null members such as `"params": null`.
    pub(super) value: Value,
    /// The message in rmcp's type.
    pub(super) typed: ClientJsonRpcMessage,
}

/// Parses one message or a batch of messages.
///
/// # Errors
/// `RejectedMessage` if the bytes are not UTF-8, not JSON, or have too many values.
pub(super) fn parse(bytes: &[u8]) -> Result<Value, RejectedMessage> {
    let refuse = |code, message| RejectedMessage { id: Value::Null, code, message };
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    if let Err(error) = std::str::from_utf8(bytes) {
        let at = error.valid_up_to();
        return Err(refuse(PARSE_ERROR, format!("the message is not UTF-8: byte {at} is the first that is not")));
    }
    let most = limits::JSON_VALUES_MAX;
    if json_values(bytes, most) > most {
        return Err(refuse(
            INVALID_REQUEST,
            format!("the message has more than {most} JSON values; send less at a time"),
        ));
    }
    serde_json::from_slice(bytes).map_err(|error| refuse(PARSE_ERROR, format!("the message is not JSON: {error}")))
}

/// Checks `value` against JSON-RPC and the protocol's methods.
///
/// # Errors
/// `RejectedMessage` with the first problem.
pub(super) fn check(value: Value) -> Result<ClientMessage, RejectedMessage> {
    let Value::Object(mut message) = value else {
        return Err(RejectedMessage::invalid(
            Value::Null,
            format!("a message is a JSON object, not {}", json_kind(&value)),
        ));
    };
    let shown = message.get("id").filter(|id| id.is_string() || id.is_number()).cloned().unwrap_or(Value::Null);
    let refuse = |code: i32, message: String| RejectedMessage { id: shown.clone(), code, message };
    envelope(&message).map_err(|why| refuse(INVALID_REQUEST, why))?;
    let method = message.get("method").and_then(Value::as_str).map(str::to_owned);
    let is_request = method.is_some() && message.contains_key("id");
    if method.is_some() {
        tidy(&mut message).map_err(|why| refuse(INVALID_PARAMS, why))?;
    }
    let served = method.as_deref().filter(|method| is_request && is_served(method, &message));
    if let Some(method) = served {
        let params = message.get("params").and_then(Value::as_object);
        fits(method, params.unwrap_or(&Map::new())).map_err(|why| refuse(INVALID_PARAMS, why))?;
    }
    let typed = ClientJsonRpcMessage::deserialize(&message).map_err(|_| {
        refuse(INVALID_REQUEST, "the message is not a request, notification or answer of MCP".to_owned())
    })?;
    if let (ClientJsonRpcMessage::Request(request), Some(method)) = (&typed, served)
        && matches!(request.request, ClientRequest::CustomRequest(_))
    {
        return Err(refuse(INVALID_PARAMS, format!("the params of \"{method}\" are invalid")));
    }
    Ok(ClientMessage { value: Value::Object(message), typed })
}

/// Whether invalid parameters of `method` are an error of parameters. Revision 2026-07-28 has no `initialize`.
fn is_served(method: &str, message: &Map<String, Value>) -> bool {
    let says_revision = || {
        let meta = message.get("params").and_then(|params| params.get("_meta"));
        meta.is_some_and(|meta| meta.get(REVISION_KEY).is_some())
    };
    SERVED.contains(&method) && !(method == "initialize" && says_revision())
}

/// Checks a batch.
///
/// # Errors
/// The reason, if it is not allowed.
pub(super) fn batch(batch: &[Value], is_allowed: bool) -> Result<(), String> {
    let most = limits::MCP_BATCH_MESSAGES_MAX;
    let is_handshake = |value: &Value| value.get("method").and_then(Value::as_str) == Some("initialize");
    if !is_allowed {
        return Err("batches are supported in sessions of revision 2025-03-26 or earlier; send one message at a time"
            .to_owned());
    }
    match batch.len() {
        0 => Err("the batch is empty".to_owned()),
        length if length > most => Err(format!("the batch has {length} messages; at most {most} are allowed")),
        _ if batch.iter().any(is_handshake) => Err("\"initialize\" must not be in a batch".to_owned()),
        _ => Ok(()),
    }
}

/// Checks the members that every message has.
fn envelope(message: &Map<String, Value>) -> Result<(), String> {
    if message.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
        return Err("\"jsonrpc\" must be \"2.0\"".to_owned());
    }
    match message.get("method") {
        Some(Value::String(_)) => message.get("id").map_or(Ok(()), id),
        Some(other) => Err(format!("\"method\" must be a string, not {}", json_kind(other))),
        None if message.contains_key("result") || message.contains_key("error") => Ok(()),
        None => Err("the message has no \"method\"".to_owned()),
    }
}

fn id(id: &Value) -> Result<(), String> {
    let most = limits::MCP_REQUEST_ID_BYTES_MAX;
    match id {
        Value::String(text) if text.len() > most => {
            Err(format!("the id has {} bytes; at most {most} are allowed", text.len()))
        }
        Value::String(_) => Ok(()),
        Value::Number(number) if number.as_i64().is_some() => Ok(()),
        Value::Number(number) => Err(format!("the id {number} is not a 64-bit integer; use an integer or a string")),
        other => {
            Err(format!("the id must be a string or an integer, not {}; a notification has none", json_kind(other)))
        }
    }
}

/// Removes null members, and checks the types of the members that every method may have.
fn tidy(message: &mut Map<String, Value>) -> Result<(), String> {
    without_null(message, "params");
    let Some(params) = message.get_mut("params") else { return Ok(()) };
    let what = json_kind(params);
    let Value::Object(params) = params else { return Err(format!("\"params\" must be an object, not {what}")) };
    without_null(params, "_meta");
    without_null(params, "arguments");
    without_null(params, "cursor");
    let Some(meta) = params.get_mut("_meta") else { return Ok(()) };
    let what = json_kind(meta);
    let Value::Object(meta) = meta else { return Err(format!("\"_meta\" must be an object, not {what}")) };
    without_null(meta, "progressToken");
    match meta.get("progressToken") {
        Some(token) if !token.is_string() && token.as_i64().is_none() => {
            Err(format!("\"progressToken\" must be a string or an integer, not {}", json_kind(token)))
        }
        _ => Ok(()),
    }
}

fn without_null(object: &mut Map<String, Value>, key: &str) {
    if object.get(key).is_some_and(Value::is_null) {
        object.remove(key);
    }
}

/// Checks the parameters of a supported method.
fn fits(method: &str, params: &Map<String, Value>) -> Result<(), String> {
    let string = |key, needed| field(method, params, key, needed, "a string", Value::is_string);
    let object = |key, needed| field(method, params, key, needed, "an object", Value::is_object);
    match method {
        "initialize" => {
            string("protocolVersion", true)?;
            object("capabilities", true)?;
            object("clientInfo", true)?;
            read::<InitializeRequestParams>(method, params)
        }
        "tools/list" => {
            string("cursor", false)?;
            read::<PaginatedRequestParams>(method, params)
        }
        "tools/call" => {
            string("name", true)?;
            object("arguments", false)?;
            read::<CallToolRequestParams>(method, params)
        }
        "subscriptions/listen" => read::<SubscriptionsListenRequestParams>(method, params),
        _ => Ok(()),
    }
}

fn field(
    method: &str,
    params: &Map<String, Value>,
    key: &str,
    needed: bool,
    wanted: &str,
    is_wanted: fn(&Value) -> bool,
) -> Result<(), String> {
    match params.get(key) {
        None if needed => Err(format!("the params of \"{method}\" have no \"{key}\"")),
        Some(value) if !is_wanted(value) => {
            Err(format!("\"{key}\" of \"{method}\" must be {wanted}, not {}", json_kind(value)))
        }
        _ => Ok(()),
    }
}

fn read<'de, T: Deserialize<'de>>(method: &str, params: &'de Map<String, Value>) -> Result<(), String> {
    let read = T::deserialize(params).map(drop);
    read.map_err(|error| format!("the params of \"{method}\" are invalid: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(value: Value) -> (Value, i32, String) {
        let Err(RejectedMessage { id, code, message }) = check(value.clone()) else { panic!("{value} is accepted") };
        (id, code, message)
    }

    #[test]
    fn bytes_that_are_not_json_are_rejected_without_an_id() {
        let deep = [b"[".repeat(1_000), b"]".repeat(1_000)].concat();
        for (bytes, words) in [
            (&b"{\"id\":1,\"method\":\"caf\xe9\"}"[..], "not UTF-8: byte 21"),
            (b"{bad", "not JSON"),
            (b"", "not JSON"),
            (br#"{"id":1,"method":"\ud800"}"#, "not JSON"),
            (&deep, "not JSON"),
        ] {
            let refusal = parse(bytes).expect_err("refused");
            assert!(refusal.message.contains(words), "{refusal:?}");
            assert_eq!((refusal.id, refusal.code), (Value::Null, PARSE_ERROR));
        }
        assert!(parse(b"\xef\xbb\xbf{}").is_ok(), "a byte order mark is ignored");
        let many = format!("[{}1]", "1,".repeat(limits::JSON_VALUES_MAX));
        assert_eq!(parse(many.as_bytes()).expect_err("refused").code, INVALID_REQUEST);
    }

    #[test]
    fn an_invalid_request_is_rejected_with_the_reason_and_its_id() {
        for value in [json!(42), json!(null), json!("x"), json!([])] {
            assert_eq!(refused(value).0, Value::Null);
        }
        for (key, value, words) in [
            ("jsonrpc", json!("1.0"), "\"jsonrpc\" must be \"2.0\""),
            ("jsonrpc", json!(2.0), "\"jsonrpc\" must be \"2.0\""),
            ("method", json!(5), "\"method\" must be a string, not a number"),
        ] {
            let mut message = json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/list" });
            message[key] = value;
            let (id, code, said) = refused(message);
            assert_eq!((id, code), (json!(7), INVALID_REQUEST), "{said}");
            assert!(said.contains(words), "{said}");
        }
        assert!(refused(json!({ "jsonrpc": "2.0", "id": 7 })).2.contains("no \"method\""));
    }

    #[test]
    fn an_id_must_be_a_string_or_an_integer() {
        let list = |id: Value| json!({ "jsonrpc": "2.0", "id": id, "method": "tools/list" });
        for id in [json!(0), json!(-5), json!(i64::MAX), json!(""), json!("x".repeat(1_000))] {
            assert!(check(list(id.clone())).is_ok(), "{id}");
        }
        let long = json!("x".repeat(limits::MCP_REQUEST_ID_BYTES_MAX + 1));
        for id in [json!(2.5), json!(1e300), json!(u64::MAX), long] {
            assert_eq!(refused(list(id.clone())), (id.clone(), INVALID_REQUEST, refused(list(id)).2));
        }
        for id in [json!(null), json!(true), json!({}), json!([1])] {
            let (shown, code, said) = refused(list(id));
            assert_eq!((shown, code), (Value::Null, INVALID_REQUEST));
            assert!(said.contains("must be a string or an integer"), "{said}");
        }
    }

    #[test]
    fn invalid_parameters_of_a_known_method_have_their_own_code() {
        let rows = [
            ("tools/call", json!([]), "\"params\" must be an object, not a list"),
            ("tools/call", json!({}), "have no \"name\""),
            ("tools/call", Value::Null, "have no \"name\""),
            ("tools/call", json!({ "name": 7 }), "\"name\" of \"tools/call\" must be a string, not a number"),
            ("tools/call", json!({ "name": "x", "arguments": "{}" }), "must be an object, not a string"),
            ("tools/call", json!({ "name": "x", "_meta": 1 }), "\"_meta\" must be an object, not a number"),
            ("tools/call", json!({ "name": "x", "_meta": { "progressToken": 1.5 } }), "\"progressToken\" must be"),
            ("tools/list", json!({ "cursor": 5 }), "\"cursor\" of \"tools/list\" must be a string"),
            ("initialize", Value::Null, "have no \"protocolVersion\""),
            ("initialize", json!({ "protocolVersion": 1 }), "must be a string, not a number"),
            ("initialize", json!({ "protocolVersion": "2025-06-18", "capabilities": {} }), "have no \"clientInfo\""),
            (
                "initialize",
                json!({ "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {} }),
                "missing field",
            ),
            ("subscriptions/listen", json!({ "notifications": 5 }), "are invalid"),
        ];
        for (method, params, words) in rows {
            let (id, code, said) = refused(json!({ "jsonrpc": "2.0", "id": "a", "method": method, "params": params }));
            assert_eq!((id, code), (json!("a"), INVALID_PARAMS), "{said}");
            assert!(said.contains(words), "{said}");
        }
    }

    #[test]
    fn null_members_and_unknown_methods_are_accepted() {
        for params in [
            json!(null),
            json!({ "cursor": null }),
            json!({ "_meta": null }),
            json!({ "_meta": { "progressToken": null } }),
        ] {
            assert!(check(json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": params })).is_ok());
        }
        for message in [
            json!({ "jsonrpc": "2.0", "id": 1, "method": "no/such", "params": { "a": 1 } }),
            json!({ "jsonrpc": "2.0", "method": "notifications/anything" }),
            json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": {} }),
            json!({ "jsonrpc": "2.0", "id": 55, "result": {} }),
            json!({ "jsonrpc": "2.0", "id": null, "error": { "code": 1, "message": "x" } }),
        ] {
            assert!(check(message.clone()).is_ok(), "{message}");
        }
    }
}
