//! The JSON of answers, in the shape that OpenAI's clients read. No other type of the HTTP API is serialized (invariant
//! I5).

use std::time::{Duration, SystemTime};

use firebox_contract::{Finish, FinishReason, Message, PluginUse, ToolCall, ToolOutcome, Usage};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// `{"error": {…}}`.
#[derive(Debug, Serialize)]
pub struct ErrorBody {
    error: ErrorObject,
}

#[derive(Debug, Serialize)]
struct ErrorObject {
    message: String,
    #[serde(rename = "type")]
    kind: &'static str,
    param: Option<String>,
    code: &'static str,
}

impl ErrorBody {
    pub(in crate::http) fn new(message: String, kind: &'static str, param: Option<String>, code: &'static str) -> Self {
        Self { error: ErrorObject { message, kind, param, code } }
    }
}

/// A list object.
#[derive(Debug, Serialize)]
pub(in crate::http) struct ListObject<T> {
    object: &'static str,
    pub(in crate::http) data: Vec<T>,
}

impl<T> ListObject<T> {
    pub(in crate::http) fn of(data: Vec<T>) -> Self {
        Self { object: "list", data }
    }
}

/// The usage of one request, in tokens.
#[derive(Debug, Clone, Copy, Serialize)]
pub(in crate::http) struct UsageFields {
    prompt_tokens: usize,
    completion_tokens: usize,
    total_tokens: usize,
    prompt_tokens_details: CachedTokens,
    completion_tokens_details: ReasoningTokens,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct CachedTokens {
    cached_tokens: usize,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct ReasoningTokens {
    reasoning_tokens: usize,
}

impl From<Usage> for UsageFields {
    fn from(usage: Usage) -> Self {
        Self {
            prompt_tokens: usage.prompt_tokens,
            completion_tokens: usage.completion_tokens,
            total_tokens: usage.prompt_tokens + usage.completion_tokens,
            prompt_tokens_details: CachedTokens { cached_tokens: usage.cached_tokens },
            completion_tokens_details: ReasoningTokens { reasoning_tokens: usage.reasoning_tokens },
        }
    }
}

/// A tool call that the client runs.
#[derive(Debug, Clone, Serialize)]
pub(in crate::http) struct ClientToolCall {
    /// The index of the call in the answer; only in streams.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::http) index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    function: ClientToolFunction,
}

#[derive(Debug, Clone, Serialize)]
struct ClientToolFunction {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    arguments: String,
}

impl ClientToolCall {
    pub(in crate::http) fn of(call: &ToolCall, index: Option<usize>) -> Self {
        let function = ClientToolFunction { name: Some(call.name.clone()), arguments: call.arguments_json.clone() };
        Self { index, id: Some(call.id.clone()), kind: Some("function"), function }
    }

    /// The call in an answer that is not streamed.
    pub(in crate::http) fn without_index(self) -> Self {
        Self { index: None, ..self }
    }

    /// The beginning of a call in a stream: everything except the arguments.
    pub(in crate::http) fn begin(index: usize, id: String, name: String) -> Self {
        let function = ClientToolFunction { name: Some(name), arguments: String::new() };
        Self { index: Some(index), id: Some(id), kind: Some("function"), function }
    }

    /// The next part of the arguments of a call in a stream.
    pub(in crate::http) fn part(index: usize, arguments: String) -> Self {
        Self { index: Some(index), id: None, kind: None, function: ClientToolFunction { name: None, arguments } }
    }
}

/// The fields that chunks and whole answers of both completion endpoints have.
#[derive(Debug, Clone, Serialize)]
pub(in crate::http) struct CompletionHead {
    pub(in crate::http) id: String,
    pub(in crate::http) object: &'static str,
    pub(in crate::http) created: u64,
    pub(in crate::http) model: String,
}

/// A whole answer, or a chunk of a stream, depending on the type of the choices.
#[derive(Debug, Serialize)]
pub(in crate::http) struct CompletionObject<'a, C> {
    #[serde(flatten)]
    pub(in crate::http) head: &'a CompletionHead,
    pub(in crate::http) choices: Vec<C>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::http) usage: Option<Option<UsageFields>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::http) firebox: Option<Value>,
}

/// `choices[0]` of a chat answer.
#[derive(Debug, Serialize)]
pub(in crate::http) struct ChatChoice {
    pub(in crate::http) index: usize,
    pub(in crate::http) message: ChatMessage,
    pub(in crate::http) logprobs: Option<Value>,
    pub(in crate::http) finish_reason: &'static str,
}

/// The message of a chat answer.
#[derive(Debug, Serialize)]
pub(in crate::http) struct ChatMessage {
    pub(in crate::http) role: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::http) reasoning_content: Option<String>,
    pub(in crate::http) content: Option<String>,
    pub(in crate::http) refusal: Option<()>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(in crate::http) tool_calls: Vec<ClientToolCall>,
}

/// `choices[0]` of a chunk of a chat answer.
#[derive(Debug, Serialize)]
pub(in crate::http) struct ChatChunkChoice {
    pub(in crate::http) index: usize,
    pub(in crate::http) delta: MessageDelta,
    pub(in crate::http) logprobs: Option<Value>,
    pub(in crate::http) finish_reason: Option<&'static str>,
}

/// The part of the message that a chunk adds.
#[derive(Debug, Default, Serialize)]
pub(in crate::http) struct MessageDelta {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::http) role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::http) reasoning_content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::http) content: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(in crate::http) tool_calls: Vec<ClientToolCall>,
}

/// `choices[0]` of a text completion: of a whole answer or of a chunk.
#[derive(Debug, Serialize)]
pub(in crate::http) struct TextChoice {
    pub(in crate::http) index: usize,
    pub(in crate::http) text: String,
    pub(in crate::http) logprobs: Option<Value>,
    pub(in crate::http) finish_reason: Option<&'static str>,
}

/// The embedding of one text.
#[derive(Debug, Serialize)]
pub(in crate::http) struct EmbeddingItem {
    pub(in crate::http) object: &'static str,
    pub(in crate::http) index: usize,
    pub(in crate::http) embedding: VectorFields,
}

/// A vector: numbers, or the base64 of their little-endian bytes.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(in crate::http) enum VectorFields {
    Numbers(Vec<f32>),
    Base64(String),
}

/// The answer to an embedding request.
#[derive(Debug, Serialize)]
pub(in crate::http) struct EmbeddingsObject {
    #[serde(flatten)]
    pub(in crate::http) list: ListObject<EmbeddingItem>,
    pub(in crate::http) model: String,
    pub(in crate::http) usage: Value,
    pub(in crate::http) firebox: Value,
}

/// A document that was scored.
#[derive(Debug, Serialize)]
pub(in crate::http) struct RerankItem {
    pub(in crate::http) index: usize,
    pub(in crate::http) relevance_score: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::http) document: Option<RerankDocument>,
}

/// The text of a document.
#[derive(Debug, Serialize)]
pub(in crate::http) struct RerankDocument {
    pub(in crate::http) text: String,
}

/// The answer to a rerank request.
#[derive(Debug, Serialize)]
pub(in crate::http) struct RerankObject {
    pub(in crate::http) id: String,
    pub(in crate::http) object: &'static str,
    pub(in crate::http) model: String,
    pub(in crate::http) results: Vec<RerankItem>,
    pub(in crate::http) usage: Value,
    pub(in crate::http) firebox: Value,
}

/// The `firebox` object of an answer with embeddings or scores.
pub(in crate::http) fn embedding_details(plugins: &[PluginUse], elapsed: Duration) -> Value {
    let plugins: Vec<Value> = plugins.iter().map(plugin_use).collect();
    json!({"plugins": plugins, "timing_ms": {"total": millis(elapsed)}})
}

/// Seconds since 1970.
pub(in crate::http) fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The `finish_reason` of OpenAI's API; `firebox.finish_reason` is more precise.
pub(in crate::http) fn finish_reason(reason: FinishReason) -> &'static str {
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
pub(in crate::http) fn answer_details(
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
        "model_tokens": plugin.model_tokens,
    })
}

/// `firebox.event` when the server starts a tool call.
pub(in crate::http) fn tool_call_event(call: &ToolCall) -> Value {
    json!({"event": "tool_call", "id": call.id, "name": call.name, "arguments": call.arguments_json})
}

/// `firebox.event` when a tool call waits for `POST /v1/approvals/{id}`.
pub(in crate::http) fn approval_event(call_id: &str) -> Value {
    json!({"event": "approval_needed", "id": call_id})
}

/// `firebox.event` when a tool reports progress.
pub(in crate::http) fn progress_event(call_id: &str, done: f64, total: Option<f64>, message: Option<&str>) -> Value {
    json!({"event": "tool_progress", "id": call_id, "done": done, "total": total, "message": message})
}

/// An entry of `firebox.tool_calls`: a tool call that the server ran, its result and its cost.
pub(in crate::http) fn tool_result(call: Option<&ToolCall>, id: &str, outcome: &ToolOutcome) -> Value {
    json!({
        "id": id, "name": call.map(|call| &call.name), "arguments": call.map(|call| &call.arguments_json),
        "result": outcome.content, "is_error": outcome.is_error, "provider": outcome.provider,
        "fuel": outcome.fuel, "memory_peak_bytes": outcome.memory_peak_bytes, "ms": millis(outcome.elapsed),
    })
}

/// `firebox.event` when a tool has returned its result.
pub(in crate::http) fn tool_result_event(mut row: Value) -> Value {
    if let Some(object) = row.as_object_mut() {
        object.insert("event".to_owned(), json!("tool_result"));
    }
    row
}

/// A message of a session, in the shape of a request's messages.
pub(in crate::http) fn message(message: &Message) -> Map<String, Value> {
    let mut out = Map::new();
    out.insert("role".to_owned(), json!(message.role.as_str()));
    out.insert("content".to_owned(), json!(message.content));
    if !message.tool_calls.is_empty() {
        let calls: Vec<ClientToolCall> = message.tool_calls.iter().map(|call| ClientToolCall::of(call, None)).collect();
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
