//! What goes over the wire, as the official OpenAI clients read it. The only JSON types of this door (invariant I5).

use std::time::{Duration, SystemTime};

use firebox_contract::{Finish, FinishReason, Message, PluginUse, ToolCall, ToolOutcome, Usage};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// `{"error": {…}}`.
#[derive(Debug, Serialize)]
pub struct ErrorBody {
    error: ErrorFields,
}

#[derive(Debug, Serialize)]
struct ErrorFields {
    message: String,
    #[serde(rename = "type")]
    kind: &'static str,
    param: Option<String>,
    code: &'static str,
}

impl ErrorBody {
    pub(super) fn new(message: String, kind: &'static str, param: Option<String>, code: &'static str) -> Self {
        Self { error: ErrorFields { message, kind, param, code } }
    }
}

/// A list of things.
#[derive(Debug, Serialize)]
pub(super) struct List<T> {
    object: &'static str,
    pub(super) data: Vec<T>,
}

impl<T> List<T> {
    pub(super) fn of(data: Vec<T>) -> Self {
        Self { object: "list", data }
    }
}

/// Tokens of one request.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct UsageOut {
    prompt_tokens: usize,
    completion_tokens: usize,
    total_tokens: usize,
    prompt_tokens_details: CachedTokens,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct CachedTokens {
    cached_tokens: usize,
}

impl From<Usage> for UsageOut {
    fn from(usage: Usage) -> Self {
        Self {
            prompt_tokens: usage.prompt_tokens,
            completion_tokens: usage.completion_tokens,
            total_tokens: usage.prompt_tokens + usage.completion_tokens,
            prompt_tokens_details: CachedTokens { cached_tokens: usage.cached_tokens },
        }
    }
}

/// A call the client is to run.
#[derive(Debug, Clone, Serialize)]
pub(super) struct CallOut {
    /// Only in streams: the call's place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) index: Option<usize>,
    id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    function: FunctionOut,
}

#[derive(Debug, Clone, Serialize)]
struct FunctionOut {
    name: String,
    arguments: String,
}

impl CallOut {
    pub(super) fn of(call: &ToolCall, index: Option<usize>) -> Self {
        let function = FunctionOut { name: call.name.clone(), arguments: call.arguments_json.clone() };
        Self { index, id: call.id.clone(), kind: "function", function }
    }
}

/// What both completion endpoints put around their choices.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Head {
    pub(super) id: String,
    pub(super) object: &'static str,
    pub(super) created: u64,
    pub(super) model: String,
}

/// A whole answer, or one chunk of a stream of them; which one the choices say.
#[derive(Debug, Serialize)]
pub(super) struct Completion<'a, C> {
    #[serde(flatten)]
    pub(super) head: &'a Head,
    pub(super) choices: Vec<C>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) usage: Option<Option<UsageOut>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) firebox: Option<Value>,
}

/// `choices[0]` of a chat answer.
#[derive(Debug, Serialize)]
pub(super) struct ChatChoice {
    pub(super) index: usize,
    pub(super) message: ChatMessage,
    pub(super) logprobs: Option<()>,
    pub(super) finish_reason: &'static str,
}

/// The answer itself.
#[derive(Debug, Serialize)]
pub(super) struct ChatMessage {
    pub(super) role: &'static str,
    pub(super) content: Option<String>,
    pub(super) refusal: Option<()>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) tool_calls: Vec<CallOut>,
}

/// `choices[0]` of a chunk of a chat answer.
#[derive(Debug, Serialize)]
pub(super) struct ChatDelta {
    pub(super) index: usize,
    pub(super) delta: Delta,
    pub(super) logprobs: Option<()>,
    pub(super) finish_reason: Option<&'static str>,
}

/// What a chunk adds.
#[derive(Debug, Default, Serialize)]
pub(super) struct Delta {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) tool_calls: Vec<CallOut>,
}

/// `choices[0]` of a text completion, whole or a chunk.
#[derive(Debug, Serialize)]
pub(super) struct TextChoice {
    pub(super) index: usize,
    pub(super) text: String,
    pub(super) logprobs: Option<()>,
    pub(super) finish_reason: Option<&'static str>,
}

/// One vector.
#[derive(Debug, Serialize)]
pub(super) struct EmbeddingOut {
    pub(super) object: &'static str,
    pub(super) index: usize,
    pub(super) embedding: VectorOut,
}

/// Numbers, or the base64 of their little-endian bytes.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum VectorOut {
    Numbers(Vec<f32>),
    Base64(String),
}

/// All vectors of a request.
#[derive(Debug, Serialize)]
pub(super) struct EmbeddingsOut {
    #[serde(flatten)]
    pub(super) list: List<EmbeddingOut>,
    pub(super) model: String,
    pub(super) usage: Value,
    pub(super) firebox: Value,
}

/// The `firebox` object of an answer of vectors.
pub(super) fn embedded(plugins: &[PluginUse], took: Duration) -> Value {
    let plugins: Vec<Value> = plugins.iter().map(plugin_use).collect();
    json!({"plugins": plugins, "timing_ms": {"total": millis(took)}})
}

/// Seconds since 1970.
pub(super) fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// OpenAI's word for why an answer ended; `firebox.finish_reason` has ours.
pub(super) fn finish_reason(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Length | FinishReason::ContextFull | FinishReason::Timeout | FinishReason::Interrupted => {
            "length"
        }
        FinishReason::ToolCalls => "tool_calls",
        FinishReason::Stop
        | FinishReason::StopString
        | FinishReason::ToolRounds
        | FinishReason::ToolLoop
        | FinishReason::Plugin => "stop",
    }
}

fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

/// The `firebox` object of a finished answer.
pub(super) fn finished(
    finish: &Finish,
    tool_calls: &[Value],
    session: Option<&str>,
    absent_servers: &[String],
) -> Value {
    let plugins: Vec<Value> = finish.plugins.iter().map(plugin_use).collect();
    let timing = &finish.timing;
    let mut out = json!({
        "finish_reason": finish.reason.as_str(),
        "plugins": plugins,
        "tool_calls": tool_calls,
        "timing_ms": {
            "first_token": millis(timing.first_token), "prefill": millis(timing.prefill),
            "decode": millis(timing.decode), "total": millis(timing.total),
        },
    });
    if let (Some(id), Some(object)) = (session, out.as_object_mut()) {
        object.insert("session".to_owned(), json!(id));
    }
    if let Some(object) = out.as_object_mut().filter(|_| !absent_servers.is_empty()) {
        object.insert("mcp_servers_missing".to_owned(), json!(absent_servers));
    }
    out
}

fn plugin_use(plugin: &PluginUse) -> Value {
    json!({
        "plugin": plugin.plugin, "stage": plugin.stage.as_str(), "calls": plugin.calls, "fuel": plugin.fuel,
        "memory_peak_bytes": plugin.memory_peak_bytes, "ms": millis(plugin.elapsed),
    })
}

/// `firebox.event` when the server begins a tool call of its own.
pub(super) fn tool_call_event(call: &ToolCall) -> Value {
    json!({"event": "tool_call", "id": call.id, "name": call.name, "arguments": call.arguments_json})
}

/// `firebox.event` when a call waits for `POST /v1/approvals/{id}`.
pub(super) fn approval_event(call_id: &str) -> Value {
    json!({"event": "approval_needed", "id": call_id})
}

/// `firebox.event` while a tool works.
pub(super) fn progress_event(call_id: &str, done: f64, total: Option<f64>, message: Option<&str>) -> Value {
    json!({"event": "tool_progress", "id": call_id, "done": done, "total": total, "message": message})
}

/// One row of `firebox.tool_calls`: a call the server ran, what it answered and what that cost.
pub(super) fn tool_result(call: Option<&ToolCall>, id: &str, outcome: &ToolOutcome) -> Value {
    json!({
        "id": id, "name": call.map(|call| &call.name), "arguments": call.map(|call| &call.arguments_json),
        "result": outcome.content, "is_error": outcome.is_error, "provider": outcome.provider,
        "fuel": outcome.fuel, "memory_peak_bytes": outcome.memory_peak_bytes, "ms": millis(outcome.elapsed),
    })
}

/// `firebox.event` when a tool has answered.
pub(super) fn tool_result_event(mut row: Value) -> Value {
    if let Some(object) = row.as_object_mut() {
        object.insert("event".to_owned(), json!("tool_result"));
    }
    row
}

/// A message of a session, in the shape requests have.
pub(super) fn message(message: &Message) -> Map<String, Value> {
    let mut out = Map::new();
    out.insert("role".to_owned(), json!(message.role.as_str()));
    out.insert("content".to_owned(), json!(message.content));
    if !message.tool_calls.is_empty() {
        let calls: Vec<CallOut> = message.tool_calls.iter().map(|call| CallOut::of(call, None)).collect();
        out.insert("tool_calls".to_owned(), json!(calls));
    }
    if let Some(id) = &message.tool_call_id {
        out.insert("tool_call_id".to_owned(), json!(id));
    }
    if let Some(name) = &message.name {
        out.insert("name".to_owned(), json!(name));
    }
    out
}
