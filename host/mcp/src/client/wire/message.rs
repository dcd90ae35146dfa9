//! Reads one message: brings it into the form that rmcp accepts, or makes an error that says what is wrong with it.

use rmcp::RoleClient;
use rmcp::model::{ProtocolVersion, RequestId};
use rmcp::service::RxJsonRpcMessage;
use serde_json::{Map, Value, json};

use super::exchange::{Exchange, RequestKind};
use super::text::{self, excerpt};
use super::tools;

/// The key under which a result of a call is passed through rmcp unchanged, because rmcp's types would refuse inexact results.
pub(in crate::client) const CALL_RESULT: &str = "firebox/result";
/// Marks an error that the host made from an unreadable answer.
pub(in crate::client) const UNREADABLE: &str = "firebox/unreadable";
/// Marks an error that the host made because the connection ended.
pub(in crate::client) const CONNECTION_LOST: &str = "firebox/lost";

/// Maximum characters of a server's text in a message.
const EXCERPT_CHARACTERS: usize = 200;
/// The JSON-RPC code for an error without a code.
const INTERNAL_ERROR: i64 = -32603;
/// The JSON-RPC code for an unknown method.
const METHOD_NOT_FOUND: i64 = -32601;

/// An error that takes the place of an answer. `mark` says why the host made it.
pub(in crate::client) fn error_answer(id: &RequestId, mark: &str, message: &str) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "error": { "code": INTERNAL_ERROR, "message": message, "data": { mark: true } } })
}

/// Reads the messages of one connection. `own` is the request that the current HTTP body or event stream belongs to.
pub(in crate::client) struct MessageReader<'a> {
    pub(in crate::client) exchange: &'a Exchange,
    pub(in crate::client) own: Option<&'a (RequestId, RequestKind)>,
}

/// The request that an answer belongs to.
enum Recipient {
    Answer(RequestId, RequestKind),
    None,
}

impl MessageReader<'_> {
    /// The messages in `bytes`, in the form that rmcp accepts.
    pub(in crate::client) fn read(&self, bytes: &[u8]) -> Vec<Value> {
        let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes).trim_ascii();
        if bytes.is_empty() {
            return Vec::new();
        }
        let text = String::from_utf8_lossy(bytes);
        if matches!(text, std::borrow::Cow::Owned(_)) {
            self.exchange.warn("it sent bytes that are not UTF-8; each is shown as \"\u{fffd}\"".to_owned());
        }
        match text::parse(&text) {
            Ok(Value::Array(batch)) => batch.into_iter().filter_map(|message| self.message(message)).collect(),
            Ok(message @ Value::Object(_)) => self.message(message).into_iter().collect(),
            Ok(_) => self.broken(&text, "it is not an object").into_iter().collect(),
            Err(why) => self.broken(&text, &why).into_iter().collect(),
        }
    }

    /// As [`MessageReader::read`], in rmcp's types.
    pub(in crate::client) fn typed(&self, bytes: &[u8]) -> Vec<RxJsonRpcMessage<RoleClient>> {
        self.read(bytes).into_iter().filter_map(|message| serde_json::from_value(message).ok()).collect()
    }

    /// Handles text that is not JSON: the request that it answers fails, if its id can be found.
    fn broken(&self, text: &str, why: &str) -> Option<Value> {
        let quoted = excerpt(text, EXCERPT_CHARACTERS);
        let answers = text.starts_with('{') && (text.contains("\"result\"") || text.contains("\"error\""));
        let written = || {
            let id = serde_json::from_value(text::id_in(text)?).ok().map(|id| self.numbered(id));
            id.filter(|id| self.exchange.awaits(id))
        };
        let id = written().or_else(|| self.own.map(|(id, _)| id.clone()));
        let Some(id) = id.filter(|_| answers) else {
            self.exchange.warn(format!("it wrote a line that is no message: \"{quoted}\""));
            return None;
        };
        self.exchange.take(&id);
        let message = format!("its answer is not JSON ({why}): \"{quoted}\"");
        self.exchange.warn(message.clone());
        Some(error_answer(&id, UNREADABLE, &message))
    }

    fn message(&self, message: Value) -> Option<Value> {
        let Value::Object(mut message) = message else {
            self.exchange.warn(format!("it wrote a line that is no message: \"{}\"", shown(&message)));
            return None;
        };
        // Some servers write both fields, one of them null.
        let filled = |key: &str, message: &Map<String, Value>| message.get(key).is_some_and(|value| !value.is_null());
        if filled("error", &message) {
            if filled("result", &message) {
                self.exchange.warn("it answered with both a result and an error; the error counts".to_owned());
            }
            message.remove("result");
        } else if message.contains_key("result") {
            message.remove("error");
        }
        match message.get("method") {
            Some(Value::String(_)) if !message.contains_key("result") && !message.contains_key("error") => {
                self.asks(message)
            }
            _ => self.answers(message),
        }
    }

    /// Reads a request or notification of the server.
    fn asks(&self, mut message: Map<String, Value>) -> Option<Value> {
        message.retain(|key, _| matches!(key.as_str(), "id" | "method" | "params"));
        message.insert("jsonrpc".to_owned(), json!("2.0"));
        if !message.get("params").is_some_and(Value::is_object) {
            message.remove("params");
        }
        if message.get("id").is_some_and(Value::is_null) {
            message.remove("id");
        }
        if message.get("method").and_then(Value::as_str) == Some("notifications/progress")
            && let Some(Value::Object(params)) = message.get_mut("params")
        {
            ["progressToken", "progress", "total"].iter().for_each(|key| as_number(params, key));
        }
        let good = |message: &Map<String, Value>| {
            serde_json::from_value::<RxJsonRpcMessage<RoleClient>>(Value::Object(message.clone())).is_ok()
        };
        if good(&message) {
            return Some(Value::Object(message));
        }
        let method = message.get("method").and_then(Value::as_str).unwrap_or_default().to_owned();
        self.exchange.warn(format!("its message \"{}\" is not well formed", excerpt(&method, 64)));
        // A malformed request still gets an answer: the error for an unknown method.
        message.insert("method".to_owned(), json!(format!("unreadable/{method}")));
        message.remove("params");
        (message.contains_key("id") && good(&message)).then_some(Value::Object(message))
    }

    fn answers(&self, mut message: Map<String, Value>) -> Option<Value> {
        if !["id", "result", "error"].iter().any(|key| message.contains_key(*key)) {
            // Possibly a keep-alive.
            self.exchange.warn(format!("it wrote a line that is no message: \"{}\"", shown(&Value::Object(message))));
            return None;
        }
        let (id, asked) = match self.recipient(&message) {
            Recipient::Answer(id, asked) => (id, asked),
            Recipient::None => return None,
        };
        if let Some(error) = message.remove("error").filter(|error| !error.is_null()) {
            return Some(json!({ "jsonrpc": "2.0", "id": id, "error": error_of(error) }));
        }
        let Some(result) = message.remove("result") else {
            let message =
                format!("its answer has neither a result nor an error: \"{}\"", shown(&Value::Object(message)));
            return Some(error_answer(&id, UNREADABLE, &message));
        };
        Some(match self.result(asked, result) {
            Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
            // The host asks for the newest revision first. An old server may answer the unknown method with anything.
            Err(message) if asked == RequestKind::Discover => {
                json!({ "jsonrpc": "2.0", "id": id, "error": { "code": METHOD_NOT_FOUND, "message": message } })
            }
            Err(message) => error_answer(&id, UNREADABLE, &message),
        })
    }

    /// Finds the request that an answer belongs to.
    fn recipient(&self, message: &Map<String, Value>) -> Recipient {
        let written = message.get("id").filter(|id| !id.is_null());
        let id = match written {
            Some(id) => match serde_json::from_value::<RequestId>(id.clone()) {
                Ok(id) => Some(self.numbered(id)),
                Err(_) => {
                    self.exchange.warn(format!("it answered with the invalid id {}", shown(id)));
                    return Recipient::None;
                }
            },
            None => self.own.map(|(id, _)| id.clone()).or_else(|| self.exchange.only()),
        };
        let Some(id) = id else {
            let quoted = shown(&Value::Object(message.clone()));
            self.exchange.warn(format!("it sent an answer without an id: \"{quoted}\""));
            return Recipient::None;
        };
        let own = self.own.filter(|(own, _)| *own == id).map(|(_, asked)| *asked);
        if let Some(asked) = self.exchange.take(&id).or(own) {
            return Recipient::Answer(id, asked);
        }
        if self.exchange.was_abandoned(&id) {
            if message.get("result").is_some_and(|result| result.get("supportedVersions").is_some()) {
                self.exchange.note_late();
            }
        } else {
            self.exchange
                .warn(format!("it answered a request \"{}\" that is not pending", excerpt(&id.to_string(), 64)));
        }
        Recipient::None
    }

    /// The host sends numbers as ids. Some servers return them as strings.
    fn numbered(&self, id: RequestId) -> RequestId {
        let RequestId::String(text) = &id else { return id };
        match text.parse().map(RequestId::Number) {
            Ok(number) if self.exchange.awaits(&number) || self.own.is_some_and(|(own, _)| *own == number) => number,
            _ => id,
        }
    }

    /// The result in the form that rmcp accepts for this kind of request.
    fn result(&self, asked: RequestKind, result: Value) -> Result<Value, String> {
        match asked {
            RequestKind::CallTool => Ok(json!({ CALL_RESULT: result })),
            RequestKind::ListTools => tools::list(result),
            RequestKind::Initialize => self.initialized(result),
            RequestKind::Discover => discovered(result),
            RequestKind::Subscribe | RequestKind::Other => Ok(if result.is_object() { result } else { json!({}) }),
        }
    }

    fn initialized(&self, result: Value) -> Result<Value, String> {
        let Value::Object(result) = result else {
            return Err(format!("its answer to \"initialize\" is not an object: \"{}\"", shown(&result)));
        };
        let named = result.get("protocolVersion").filter(|version| !version.is_null());
        let known = named
            .and_then(Value::as_str)
            .filter(|named| ProtocolVersion::KNOWN_VERSIONS.iter().any(|known| known.as_str() == *named));
        if known.is_none() {
            let named = named.map_or_else(|| "none".to_owned(), |version| excerpt(&plain(version), 32));
            let used = ProtocolVersion::LATEST_WITH_INITIALIZE;
            self.exchange.warn(format!("it names an unknown revision ({named}); the host uses {used}"));
            self.exchange.note_unknown_revision(named);
        }
        let version = known.unwrap_or(ProtocolVersion::LATEST_WITH_INITIALIZE.as_str()).to_owned();
        Ok(json!({
            "protocolVersion": version,
            "capabilities": capabilities(result.get("capabilities")),
            "serverInfo": about(result.get("serverInfo")).unwrap_or_else(|| json!({ "name": "(unnamed)", "version": "" })),
        }))
    }
}

fn discovered(result: Value) -> Result<Value, String> {
    let texts = |value: &Value| Some(value.as_array()?.iter().filter_map(Value::as_str).map(str::to_owned).collect());
    let versions: Vec<String> = result.get("supportedVersions").and_then(texts).unwrap_or_default();
    if versions.is_empty() {
        return Err(format!("its answer to \"server/discover\" names no revisions: \"{}\"", shown(&result)));
    }
    let key = "io.modelcontextprotocol/serverInfo";
    let software = about(result.get("_meta").and_then(|meta| meta.get(key)));
    let meta = software.map(|about| json!({ key: about })).unwrap_or_else(|| json!({}));
    Ok(json!({
        "resultType": "complete",
        "supportedVersions": versions,
        "capabilities": capabilities(result.get("capabilities")),
        "ttlMs": result.get("ttlMs").and_then(Value::as_u64).unwrap_or(0),
        "cacheScope": "private",
        "_meta": meta,
    }))
}

/// The capabilities that the host uses.
fn capabilities(given: Option<&Value>) -> Value {
    let tools = given.and_then(|given| given.get("tools")).filter(|tools| !tools.is_null() && **tools != json!(false));
    match tools {
        Some(tools) => {
            let list_changed = tools.get("listChanged").and_then(Value::as_bool).unwrap_or(false);
            json!({ "tools": { "listChanged": list_changed } })
        }
        None => json!({}),
    }
}

fn about(given: Option<&Value>) -> Option<Value> {
    match given? {
        Value::Object(about) => {
            let text = |key| about.get(key).filter(|value| !value.is_null()).map(plain).unwrap_or_default();
            let name = Some(text("name")).filter(|name| !name.is_empty()).unwrap_or_else(|| "(unnamed)".to_owned());
            Some(json!({ "name": name, "version": text("version") }))
        }
        Value::String(name) => Some(json!({ "name": name, "version": "" })),
        _ => None,
    }
}

/// The error in the form of JSON-RPC.
fn error_of(error: Value) -> Value {
    let Value::Object(error) = error else { return json!({ "code": INTERNAL_ERROR, "message": plain(&error) }) };
    let code = match error.get("code") {
        Some(Value::Number(code)) => code.as_i64().or_else(|| code.as_f64().map(|code| code as i64)),
        Some(Value::String(code)) => code.trim().parse().ok(),
        _ => None,
    };
    let code = code.filter(|code| i32::try_from(*code).is_ok()).unwrap_or(INTERNAL_ERROR);
    let message = match error.get("message").filter(|message| !message.is_null()) {
        Some(message) => plain(message),
        None => excerpt(&Value::Object(error.clone()).to_string(), EXCERPT_CHARACTERS),
    };
    let mut exact = json!({ "code": code, "message": message });
    if let (Some(data), Some(exact)) = (error.get("data").filter(|data| !data.is_null()), exact.as_object_mut()) {
        exact.insert("data".to_owned(), data.clone());
    }
    exact
}

fn as_number(params: &mut Map<String, Value>, key: &str) {
    let Some(Value::String(text)) = params.get(key) else { return };
    let number = text.parse::<i64>().map(Value::from).or_else(|_| text.parse::<f64>().map(Value::from));
    if let Ok(number) = number {
        params.insert(key.to_owned(), number);
    }
}

/// A string as it is, anything else as JSON.
pub(super) fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn shown(value: &Value) -> String {
    excerpt(&plain(value), EXCERPT_CHARACTERS)
}
