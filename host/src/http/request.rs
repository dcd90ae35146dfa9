//! Completion requests: from JSON to a [`CompletionRequest`] with every field checked.

mod as_sent;
pub(super) mod fields;
mod known_fields;
mod messages;
mod reasoning;
pub(super) mod response_format;
mod sampling;
mod template;
mod tool_choice;
mod tools;

use std::collections::HashSet;
use std::time::Duration;

use firebox_contract::{GenerationRequest, Prompt, limits};
use serde_json::Value;

use self::fields::{Fields, wrong};
pub(super) use self::messages::messages;
use super::Failure;

/// The endpoint of a completion request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CompletionKind {
    /// An answer to a conversation: `/v1/chat/completions` and `/v1/sessions/{id}/generate`.
    Chat,
    /// A continuation of plain text: `/v1/completions`.
    Text,
}

/// A checked request for a completion.
pub(super) struct CompletionRequest {
    /// The model; `None` for a session without it, which has its own.
    pub(super) model: Option<String>,
    /// The engine's request. The tenant's policy is added later.
    pub(super) generation: GenerationRequest,
    /// Names of the tools that the client runs itself.
    pub(super) client_tools: HashSet<String>,
    /// Whether the answer is an event stream.
    pub(super) stream: bool,
    /// Whether a stream ends with a chunk that has the usage.
    pub(super) include_usage: bool,
    /// The number of answers.
    pub(super) answers: usize,
    /// Whether the answer leaves out the reasoning.
    pub(super) hides_reasoning: bool,
    /// The session that the messages continue.
    pub(super) session: Option<String>,
    /// Unknown fields, which the answer names.
    pub(super) ignored_fields: Vec<String>,
}

impl CompletionRequest {
    /// Refuses several answers for a session, which stores one.
    ///
    /// # Errors
    /// 400 for such a request.
    pub(super) fn check_answers(&self) -> Result<(), Failure> {
        if self.answers > 1 && self.session.is_some() {
            return Err(Failure::unsupported("n", "a turn of a session has one answer; leave \"n\" out"));
        }
        Ok(())
    }
}

/// Reads a chat request. `session` is the one of the path; with a session, the messages may be missing.
///
/// # Errors
/// 400, with the name of the field, for a value that is invalid or not supported.
pub(super) fn chat(body: &Value, session: Option<&str>) -> Result<CompletionRequest, Failure> {
    let fields = Fields::of(body, "")?;
    let ignored_fields = known_fields::check(&fields, CompletionKind::Chat)?;
    let extensions = fields.object("firebox")?;
    let named = extensions.as_ref().map(|extra| extra.text("session")).transpose()?.flatten();
    let session = session.or(named).map(str::to_owned);
    let list = fields.list("messages")?;
    let list = if session.is_some() { list.unwrap_or_default() } else { fields.need("messages", list)? };
    let reasoning = reasoning::read(&fields)?;
    let chat = template::read(&fields, list, reasoning.effort.as_deref())?;
    let messages = messages(list)?;
    if messages.is_empty() && session.is_none() {
        return Err(Failure::field("messages", "\"messages\" is empty; write at least one message"));
    }
    let tools = tools::read(&fields, extensions.as_ref())?;
    let options = reasoning.options;
    let generation =
        GenerationRequest { chat, reasoning: options, tools, ..GenerationRequest::new(Prompt::Chat(messages)) };
    Ok(CompletionRequest {
        session: session.clone(),
        hides_reasoning: reasoning.hidden,
        ignored_fields,
        ..finish(&fields, extensions.as_ref(), generation, CompletionKind::Chat, session.is_some())?
    })
}

/// Reads a request to continue plain text.
///
/// # Errors
/// As [`chat`].
pub(super) fn text(body: &Value) -> Result<CompletionRequest, Failure> {
    let fields = Fields::of(body, "")?;
    let ignored_fields = known_fields::check(&fields, CompletionKind::Text)?;
    let prompt = match fields.get("prompt") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(list)) => match list.as_slice() {
            [Value::String(text)] => text.clone(),
            _ => {
                let message =
                    "\"prompt\" must be one string; send one request for each text, and text instead of token ids";
                return Err(Failure::unsupported("prompt", message));
            }
        },
        Some(other) => return Err(wrong("prompt", "a string", other)),
        None => return Err(Failure::field("prompt", "\"prompt\" is missing; it is required")),
    };
    let extensions = fields.object("firebox")?;
    let generation = GenerationRequest::new(Prompt::Text(prompt));
    Ok(CompletionRequest {
        ignored_fields,
        ..finish(&fields, extensions.as_ref(), generation, CompletionKind::Text, false)?
    })
}

/// Reads the fields that both kinds of requests have.
fn finish(
    fields: &Fields<'_>,
    extensions: Option<&Fields<'_>>,
    mut generation: GenerationRequest,
    kind: CompletionKind,
    has_session: bool,
) -> Result<CompletionRequest, Failure> {
    generation.sampling = sampling::read(fields, kind)?;
    generation.grammar = response_format::read(fields)?;
    if let Some(extra) = extensions {
        generation.plugins = plugins(extra)?;
        generation.timeout = timeout(extra)?;
    }
    let stream = fields.flag("stream")?.unwrap_or(false);
    generation.tools.stream_calls = stream;
    let options = fields.object("stream_options")?;
    let include_usage = match options {
        Some(_) if !stream => {
            let message = "\"stream_options\" is only allowed if \"stream\" is true";
            return Err(Failure::field("stream_options", message));
        }
        Some(options) if options.flag("continuous_usage_stats")? == Some(true) => {
            let message = "\"continuous_usage_stats\" is not supported; the usage is in the last chunk";
            return Err(Failure::unsupported("stream_options.continuous_usage_stats", message));
        }
        Some(options) => options.flag("include_usage")?.unwrap_or(false),
        None => false,
    };
    let model = fields.text("model")?.map(str::to_owned);
    let model = if has_session { model } else { Some(fields.need("model", model)?) };
    let client_tools = generation.tools.client.iter().map(|tool| tool.name.clone()).collect();
    let (session, ignored_fields) = (None, Vec::new());
    Ok(CompletionRequest {
        model,
        generation,
        client_tools,
        stream,
        include_usage,
        answers: answers(fields)?,
        hides_reasoning: false,
        session,
        ignored_fields,
    })
}

/// `n`: the number of answers, which differ by their seeds.
fn answers(fields: &Fields<'_>) -> Result<usize, Failure> {
    let (count, max) = (fields.count("n")?.or(fields.count("n_cmpl")?).unwrap_or(1), limits::ANSWERS_PER_REQUEST_MAX);
    if (1..=max).contains(&count) {
        return Ok(count);
    }
    Err(Failure::field("n", format!("\"n\" is {count}; a request has 1 to {max} answers")))
}

/// `firebox.plugins`: the plugins that a request adds to its tenant's.
pub(super) fn plugins(extra: &Fields<'_>) -> Result<Vec<String>, Failure> {
    let plugins = extra.texts("plugins")?.unwrap_or_default();
    let (count, max) = (plugins.len(), limits::PLUGINS_PER_REQUEST_MAX);
    if count > max {
        return Err(Failure::field("firebox.plugins", format!("{count} plugins given, at most {max} are allowed")));
    }
    Ok(plugins)
}

/// `firebox.timeout_ms`.
pub(super) fn timeout(extra: &Fields<'_>) -> Result<Option<Duration>, Failure> {
    let time = extra.count("timeout_ms")?;
    if time == Some(0) {
        return Err(Failure::field("firebox.timeout_ms", "\"firebox.timeout_ms\" must be more than 0"));
    }
    Ok(time.map(|ms| Duration::from_millis(ms as u64)))
}

#[cfg(test)]
mod tests;
