//! What a request for text asks for: from JSON to a `GenerationRequest`, every field checked.

mod choice;
pub(super) mod known;
mod sampling;
mod sent;
mod template;

use std::borrow::Cow;
use std::collections::HashSet;
use std::time::Duration;

use firebox_contract::{
    GenerationRequest, Message, Permission, Prompt, Role, ToolCall, ToolDefinition, ToolEffects, ToolOptions,
    ToolPolicy, json_values, limits,
};
use serde_json::{Map, Value};

use self::known::Endpoint;
use super::failure::Failure;
use super::fields::{Fields, wrong};

/// A checked request for text.
pub(super) struct Ask {
    /// The model's name; a session has one of its own.
    pub(super) model: Option<String>,
    /// What the engine is asked; the tenant's own policy is put in later.
    pub(super) request: GenerationRequest,
    /// Names of the tools the client runs itself.
    pub(super) client_tools: HashSet<String>,
    pub(super) stream: bool,
    /// Whether a stream ends with a chunk that holds the usage.
    pub(super) include_usage: bool,
    /// The session the messages belong to.
    pub(super) session: Option<String>,
    /// Fields nobody knows; the answer names them.
    pub(super) passed_over: Vec<String>,
}

/// Reads a chat request. `session` comes from the path where the endpoint is a session's; messages may be absent then.
pub(super) fn chat(body: &Value, session: Option<&str>) -> Result<Ask, Failure> {
    let fields = Fields::of(body, "")?;
    let passed_over = known::check(&fields, Endpoint::Chat)?;
    let extensions = fields.object("firebox")?;
    let named = extensions.as_ref().map(|extra| extra.text("session")).transpose()?.flatten();
    let session = session.or(named).map(str::to_owned);
    let list = fields.list("messages")?;
    let list = if session.is_some() { list.unwrap_or_default() } else { fields.need("messages", list)? };
    let chat = template::read(&fields, list)?;
    let messages = messages(list)?;
    if messages.is_empty() && session.is_none() {
        return Err(Failure::field("messages", "\"messages\" is empty; write at least one message"));
    }
    let tools = tools(&fields, extensions.as_ref())?;
    let request = GenerationRequest { chat, tools, ..GenerationRequest::new(Prompt::Chat(messages)) };
    Ok(Ask {
        session: session.clone(),
        passed_over,
        ..finish(&fields, extensions.as_ref(), request, session.is_some())?
    })
}

/// Reads a request to go on with bare text.
pub(super) fn text(body: &Value) -> Result<Ask, Failure> {
    let fields = Fields::of(body, "")?;
    let passed_over = known::check(&fields, Endpoint::Text)?;
    let prompt = match fields.get("prompt") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(list)) => match list.as_slice() {
            [Value::String(text)] => text.clone(),
            _ => {
                let message =
                    "\"prompt\" must be one text; send a request for each of several, and text instead of tokens";
                return Err(Failure::unsupported("prompt", message));
            }
        },
        Some(other) => return Err(wrong("prompt", "a string", other)),
        None => return Err(Failure::field("prompt", "\"prompt\" is missing; it is required")),
    };
    let extensions = fields.object("firebox")?;
    let request = GenerationRequest::new(Prompt::Text(prompt));
    Ok(Ask { passed_over, ..finish(&fields, extensions.as_ref(), request, false)? })
}

fn finish(
    fields: &Fields<'_>,
    extensions: Option<&Fields<'_>>,
    mut request: GenerationRequest,
    has_session: bool,
) -> Result<Ask, Failure> {
    request.sampling = sampling::read(fields)?;
    if let Some(extra) = extensions {
        request.plugins = plugins(extra)?;
        request.timeout = timeout(extra)?;
    }
    let stream = fields.flag("stream")?.unwrap_or(false);
    let options = fields.object("stream_options")?;
    let include_usage = match options {
        Some(_) if !stream => {
            let message = "\"stream_options\" is only allowed where \"stream\" is true";
            return Err(Failure::field("stream_options", message));
        }
        Some(options) if options.flag("continuous_usage_stats")? == Some(true) => {
            let message = "\"continuous_usage_stats\" is not offered; the usage comes at the end";
            return Err(Failure::unsupported("stream_options.continuous_usage_stats", message));
        }
        Some(options) => options.flag("include_usage")?.unwrap_or(false),
        None => false,
    };
    let model = fields.text("model")?.map(str::to_owned);
    let model = if has_session { model } else { Some(fields.need("model", model)?) };
    let client_tools = request.tools.client.iter().map(|tool| tool.name.clone()).collect();
    Ok(Ask { model, request, client_tools, stream, include_usage, session: None, passed_over: Vec::new() })
}

/// The plugins that a request adds to its tenant's.
pub(super) fn plugins(extra: &Fields<'_>) -> Result<Vec<String>, Failure> {
    let plugins = extra.texts("plugins")?.unwrap_or_default();
    let (count, max) = (plugins.len(), limits::PLUGINS_PER_REQUEST_MAX);
    if count > max {
        return Err(Failure::field("firebox.plugins", format!("{count} plugins named, at most {max} are allowed")));
    }
    Ok(plugins)
}

/// The time a request gives itself.
pub(super) fn timeout(extra: &Fields<'_>) -> Result<Option<Duration>, Failure> {
    let time = extra.count("timeout_ms")?;
    if time == Some(0) {
        return Err(Failure::field("firebox.timeout_ms", "\"firebox.timeout_ms\" must be more than 0"));
    }
    Ok(time.map(|ms| Duration::from_millis(ms as u64)))
}

/// The messages of a conversation.
pub(super) fn messages(list: &[Value]) -> Result<Vec<Message>, Failure> {
    if list.len() > limits::MESSAGES_MAX {
        let (count, max) = (list.len(), limits::MESSAGES_MAX);
        return Err(Failure::field("messages", format!("{count} messages given, at most {max} are allowed")));
    }
    let mut messages: Vec<Message> = Vec::with_capacity(list.len());
    for (at, value) in list.iter().enumerate() {
        let fields = Fields::of(value, &format!("messages[{at}]"))?;
        let message = message(&fields, &messages)?;
        messages.push(Message { as_sent_json: sent::message(value), ..message });
    }
    Ok(messages)
}

fn message(fields: &Fields<'_>, before: &[Message]) -> Result<Message, Failure> {
    let role = match fields.need("role", fields.text("role")?)? {
        "system" | "developer" => Role::System,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "tool" => Role::Tool,
        other => {
            let message =
                format!("role \"{other}\" is not known; it is one of system, developer, user, assistant, tool");
            return Err(Failure::field(fields.name("role"), message));
        }
    };
    for (field, remedy) in [("function_call", "write \"tool_calls\""), ("audio", "only text is taken")] {
        if fields.get(field).is_some() {
            let name = fields.name(field);
            return Err(Failure::unsupported(&name, format!("\"{name}\" is not offered: {remedy}")));
        }
    }
    let mut content = content(fields)?;
    let tool_calls = if role == Role::Assistant { calls(fields)? } else { Vec::new() };
    if role == Role::Assistant && content.is_none() {
        // An answer that was empty comes back from some clients as null.
        content = sent::instead_of_content(fields)?.or(fields.is_null("content").then(String::new));
    }
    if content.is_none() && tool_calls.is_empty() {
        let name = fields.name("content");
        return Err(Failure::field(&name, format!("\"{name}\" is missing; it is required")));
    }
    let mut message = Message { tool_calls, ..Message::text(role, content.unwrap_or_default()) };
    if role == Role::Tool {
        let id = fields.need("tool_call_id", fields.text("tool_call_id")?)?;
        let made = before.iter().rev().flat_map(|message| &message.tool_calls).find(|call| call.id == id);
        message.name = made.map(|call| call.name.clone()).or(fields.text("name")?.map(str::to_owned));
        message.tool_call_id = Some(id.to_owned());
    }
    Ok(message)
}

/// Text, or text in parts.
fn content(fields: &Fields<'_>) -> Result<Option<String>, Failure> {
    let name = fields.name("content");
    let parts = match fields.get("content") {
        None => return Ok(None),
        Some(Value::String(text)) => return Ok(Some(text.clone())),
        Some(Value::Array(parts)) => parts,
        Some(other) => return Err(wrong(&name, "a string or a list of parts", other)),
    };
    let mut text = String::new();
    for (at, part) in parts.iter().enumerate() {
        let part = Fields::of(part, &format!("{name}[{at}]"))?;
        match part.need("type", part.text("type")?)? {
            "text" => text.push_str(part.need("text", part.text("text")?)?),
            "refusal" => text.push_str(part.need("refusal", part.text("refusal")?)?),
            other => {
                let message = format!("a part of type \"{other}\" is not offered; only text is");
                return Err(Failure::unsupported(part.name("type"), message));
            }
        }
    }
    Ok(Some(text))
}

/// Calls the assistant made earlier.
fn calls(fields: &Fields<'_>) -> Result<Vec<ToolCall>, Failure> {
    let list = fields.list("tool_calls")?.unwrap_or_default();
    let mut calls = Vec::with_capacity(list.len());
    for (at, value) in list.iter().enumerate() {
        let call = Fields::of(value, &format!("{}[{at}]", fields.name("tool_calls")))?;
        let function = call.need("function", call.object("function")?)?;
        let arguments = arguments(&function)?;
        let max = limits::JSON_VALUES_MAX;
        if json_values(arguments.as_bytes(), max) > max {
            let name = function.name("arguments");
            return Err(Failure::field(
                &name,
                format!("\"{name}\" has more than {max} JSON values; leave out the call"),
            ));
        }
        if serde_json::from_str::<Map<String, Value>>(&arguments).is_err() {
            let name = function.name("arguments");
            return Err(Failure::field(&name, format!("\"{name}\" must be the text of a JSON object")));
        }
        calls.push(ToolCall {
            id: call.need("id", call.text("id")?)?.to_owned(),
            name: function.need("name", function.text("name")?)?.to_owned(),
            arguments_json: arguments.into_owned(),
        });
    }
    Ok(calls)
}

/// The arguments of a call: text as OpenAI has it, where a blank one is no arguments; some clients send the object itself.
fn arguments<'a>(function: &Fields<'a>) -> Result<Cow<'a, str>, Failure> {
    match function.get("arguments") {
        None => Ok(Cow::Borrowed("{}")),
        Some(Value::String(text)) if text.trim().is_empty() || text.trim() == "null" => Ok(Cow::Borrowed("{}")),
        Some(Value::String(text)) => Ok(Cow::Borrowed(text)),
        Some(object @ Value::Object(_)) => Ok(Cow::Owned(object.to_string())),
        Some(other) => Err(wrong(&function.name("arguments"), "the text of a JSON object", other)),
    }
}

fn tools(fields: &Fields<'_>, extensions: Option<&Fields<'_>>) -> Result<ToolOptions, Failure> {
    let client = client_tools(fields)?;
    let chosen = choice::read(fields, client)?;
    let parallel = fields.flag("parallel_tool_calls")?.unwrap_or(true);
    let mut options = ToolOptions { client: chosen.client, choice: chosen.choice, parallel, ..ToolOptions::default() };
    if let Some(only) = chosen.only {
        options.tightened = only_these(only);
    }
    let Some(tools) = extensions.map(|extra| extra.object("tools")).transpose()?.flatten() else { return Ok(options) };
    if let Some(rounds) = tools.count("rounds")? {
        options.rounds = rounds.min(limits::TOOL_CALLS_MAX);
    }
    if let Some(calls) = tools.count("calls")? {
        options.calls_max = calls.min(limits::TOOL_CALLS_MAX);
    }
    let tightened = tightened(&tools)?;
    if tightened != ToolPolicy::ALLOW_ALL && options.tightened != ToolPolicy::ALLOW_ALL {
        let message = "\"allowed_tools\" and rules in \"firebox.tools\" do not go together; write one of them";
        return Err(Failure::field("tool_choice", message));
    }
    if options.tightened == ToolPolicy::ALLOW_ALL {
        options.tightened = tightened;
    }
    Ok(options)
}

/// Allows the tools with these names and no others.
fn only_these(names: Vec<String>) -> ToolPolicy {
    let rules = names.into_iter().map(|name| (name, Permission::Allow)).collect();
    ToolPolicy { rules, otherwise: Permission::Deny }
}

/// What the request itself forbids or wants asked about: it can only tighten.
fn tightened(tools: &Fields<'_>) -> Result<ToolPolicy, Failure> {
    let mut rules = Vec::new();
    for (field, permission) in [("deny", Permission::Deny), ("ask", Permission::Ask)] {
        rules.extend(tools.texts(field)?.unwrap_or_default().into_iter().map(|glob| (glob, permission)));
    }
    let only = tools.texts("only")?;
    let otherwise = if only.is_some() { Permission::Deny } else { Permission::Allow };
    rules.extend(only.unwrap_or_default().into_iter().map(|glob| (glob, Permission::Allow)));
    if rules.len() > limits::TOOLS_MAX {
        let (count, max) = (rules.len(), limits::TOOLS_MAX);
        return Err(Failure::field("firebox.tools", format!("{count} rules given, at most {max} are allowed")));
    }
    Ok(ToolPolicy { rules, otherwise })
}

fn client_tools(fields: &Fields<'_>) -> Result<Vec<ToolDefinition>, Failure> {
    let list = fields.list("tools")?.unwrap_or_default();
    if list.len() > limits::TOOLS_MAX {
        let (count, max) = (list.len(), limits::TOOLS_MAX);
        return Err(Failure::field("tools", format!("{count} tools given, at most {max} are allowed")));
    }
    let mut tools: Vec<ToolDefinition> = Vec::with_capacity(list.len());
    for (at, value) in list.iter().enumerate() {
        let tool = client_tool(&Fields::of(value, &format!("tools[{at}]"))?)?;
        let tool = ToolDefinition { as_sent_json: Some(value.to_string()), ..tool };
        if tools.iter().any(|other| other.name == tool.name) {
            let message = format!("tool \"{}\" is given twice; names must differ", tool.name);
            return Err(Failure::field(format!("tools[{at}].function.name"), message));
        }
        tools.push(tool);
    }
    Ok(tools)
}

fn client_tool(tool: &Fields<'_>) -> Result<ToolDefinition, Failure> {
    let kind = tool.text("type")?.unwrap_or("function");
    if kind != "function" {
        let message = format!("a tool of type \"{kind}\" is not offered; only \"function\" is");
        return Err(Failure::unsupported(tool.name("type"), message));
    }
    let function = tool.need("function", tool.object("function")?)?;
    let name = function.need("name", function.text("name")?)?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if name.is_empty() || name.len() > limits::TOOL_NAME_BYTES_MAX || !name.chars().all(allowed) {
        let shown: String = name.chars().take(40).collect();
        let message = format!(
            "\"{shown}\" is not a tool's name: 1 to {} letters, digits, \"_\", \"-\" or \".\"",
            limits::TOOL_NAME_BYTES_MAX
        );
        return Err(Failure::field(function.name("name"), message));
    }
    let schema = match function.get("parameters") {
        None => r#"{"type":"object","properties":{}}"#.to_owned(),
        Some(value @ Value::Object(_)) => value.to_string(),
        Some(other) => return Err(wrong(&function.name("parameters"), "an object", other)),
    };
    Ok(ToolDefinition {
        name: name.to_owned(),
        description: function.text("description")?.unwrap_or_default().to_owned(),
        title: None,
        input_schema_json: schema,
        output_schema_json: None,
        as_sent_json: None,
        effects: ToolEffects::default(),
    })
}

#[cfg(test)]
#[path = "ask/tests.rs"]
mod tests;
