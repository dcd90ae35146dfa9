//! Chat templates: Jinja as Hugging Face renders it, under limits, because a template is a program out of a download.
//!
//! The environment is that of transformers' `_compile_jinja_template`: `trim_blocks`, `lstrip_blocks`, loop controls,
//! `tojson`, `raise_exception`, `strftime_now`, `{% generation %}`, and Python's methods on strings and mappings.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use firebox_contract::{Chat, Message, Role, ToolCall, ToolDefinition, limits};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde, Value};
use minijinja::{Environment, ErrorKind, UndefinedBehavior};
use serde_json::json;

use crate::checkpoint::Checkpoint;
use crate::checkpoint::json::JsonFile;
use crate::codec::control::ControlTokens;
use crate::codec::sanitize::{self, sanitize};
use crate::codec::{format, special_token};
use crate::error::ModelError;

/// A compiled template with what it is rendered with.
pub(super) struct ChatTemplate {
    environment: Environment<'static>,
    /// The template used when tools are offered, if the checkpoint has one of its own for that.
    has_tool_template: bool,
    source: Arc<str>,
    checkpoint: String,
    tokens: Vec<(&'static str, String)>,
    keeps_questions: bool,
}

/// A prompt, ready for the tokenizer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rendered {
    /// What the template wrote.
    pub(super) text: String,
    /// What stands in it inside of every control token that a text of the conversation holds, where one does.
    pub(super) separator: Option<String>,
}

/// Calls of macros and recursive loops within each other; a macro counts for several.
const RECURSION_MAX: usize = 100;
/// Names of the two templates a checkpoint may have.
const DEFAULT: &str = "default";
const TOOL_USE: &str = "tool_use";
/// Special tokens that templates may write.
const TOKEN_KEYS: [&str; 5] = ["bos_token", "eos_token", "pad_token", "unk_token", "sep_token"];

impl ChatTemplate {
    /// The checkpoint's template: `chat_template.jinja`, else `chat_template` of `tokenizer_config.json`.
    ///
    /// # Errors
    /// `Template` when it is too long or does not compile.
    pub(super) fn load(checkpoint: &Checkpoint, settings: Option<&JsonFile>) -> Result<Option<Self>, ModelError> {
        let sources = match checkpoint.text("chat_template.jinja", limits::CHAT_TEMPLATE_BYTES_MAX)? {
            Some(text) => vec![(DEFAULT.to_owned(), text)],
            None => settings.map(named_sources).transpose()?.unwrap_or_default(),
        };
        if sources.is_empty() {
            return Ok(None);
        }
        let tokens = TOKEN_KEYS.iter().filter_map(|key| Some((*key, special_token(settings?, key)?))).collect();
        Self::compile(checkpoint.source.label(), sources, tokens).map(Some)
    }

    /// Compiles `(name, source)` pairs; the first is used where none is called `default`.
    pub(super) fn compile(
        checkpoint: String,
        sources: Vec<(String, String)>,
        tokens: Vec<(&'static str, String)>,
    ) -> Result<Self, ModelError> {
        let failed = |reason: String| ModelError::Template { checkpoint: checkpoint.clone(), reason };
        let mut environment = environment().map_err(|error| failed(describe(&error)))?;
        let has_tool_template = sources.iter().any(|source| source.0 == TOOL_USE);
        let default = sources.iter().find(|source| source.0 == DEFAULT).or(sources.first());
        let source: Arc<str> = Arc::from(default.map_or("", |source| source.1.as_str()));
        for (name, text) in &sources {
            if text.len() > limits::CHAT_TEMPLATE_BYTES_MAX {
                let limit = limits::CHAT_TEMPLATE_BYTES_MAX;
                return Err(failed(format!("it has {} bytes, at most {limit} are allowed", text.len())));
            }
            let name = if Some(name) == default.map(|source| &source.0) { DEFAULT.to_owned() } else { name.clone() };
            let added = environment.add_template_owned(name, sanitize(text));
            added.map_err(|error| failed(describe(&error)))?;
        }
        let mut template = Self { environment, has_tool_template, source, checkpoint, tokens, keeps_questions: false };
        template.keeps_questions = template.tries_questions();
        Ok(template)
    }

    pub(super) fn source(&self) -> &str {
        &self.source
    }

    /// Whether it writes what users say, as it stands, in a conversation of several turns.
    pub(super) fn keeps_questions(&self) -> bool {
        self.keeps_questions
    }

    fn tries_questions(&self) -> bool {
        let roles = [Role::User, Role::Assistant, Role::User];
        let texts = ["firebox asks first", "firebox answers", "firebox asks again"];
        let messages: Vec<Message> =
            roles.into_iter().zip(texts).map(|(role, text)| Message::text(role, text)).collect();
        let rendered = self.render(Chat { messages: &messages, tools: &[], prefix: "" }, None, usize::MAX);
        let text = rendered.ok().flatten().map(|rendered| rendered.text).unwrap_or_default();
        text.contains(texts[0]) && text.contains(texts[2])
    }

    /// The prompt for `chat`, ready for the model's answer; `None` where it has more than `bytes` bytes. `control` marks the
    /// control tokens in its texts.
    ///
    /// # Errors
    /// `Template`: the template's own exception, a mistake in it, or a limit.
    pub(super) fn render(
        &self,
        chat: Chat<'_>,
        control: Option<&ControlTokens>,
        bytes: usize,
    ) -> Result<Option<Rendered>, ModelError> {
        let failed = |reason: String| ModelError::Template { checkpoint: self.checkpoint.clone(), reason };
        let name = if self.has_tool_template && !chat.tools.is_empty() { TOOL_USE } else { DEFAULT };
        let template = self.environment.get_template(name).map_err(|error| failed(describe(&error)))?;
        let (context, separator) = self.context(chat, control).map_err(failed)?;
        let limit = bytes.min(limits::CHAT_TEMPLATE_OUTPUT_BYTES_MAX);
        let mut output = Bounded { bytes: Vec::new(), limit, full: false };
        match template.render_captured_to(context, &mut output) {
            _ if output.full && limit == bytes => Ok(None),
            _ if output.full => {
                let limit = limits::CHAT_TEMPLATE_OUTPUT_BYTES_MAX;
                Err(failed(format!("it writes more than {limit} bytes")))
            }
            Ok(_) => {
                output.bytes.extend_from_slice(chat.prefix.as_bytes());
                let text = String::from_utf8(output.bytes).map_err(|error| failed(error.to_string()))?;
                Ok(Some(Rendered { text, separator }))
            }
            Err(error) => Err(failed(describe(&error))),
        }
    }

    /// What the template is rendered with, and the separator in its texts.
    fn context(&self, chat: Chat<'_>, control: Option<&ControlTokens>) -> Result<(Value, Option<String>), String> {
        let mut messages = chat.messages.iter().map(message).collect::<Result<Vec<_>, _>>()?;
        let mut tools = chat.tools.iter().map(tool).collect::<Result<Vec<_>, _>>()?;
        let separator = control.and_then(|control| control.guard(&mut messages, &mut tools, &self.source));
        let mut context = vec![
            ("messages".to_owned(), Value::from(Serde(messages))),
            ("add_generation_prompt".to_owned(), Value::from(true)),
            ("documents".to_owned(), Value::from(())),
        ];
        let tools = if tools.is_empty() { Value::from(()) } else { Value::from(Serde(tools)) };
        context.push(("tools".to_owned(), tools));
        context.extend(self.tokens.iter().map(|(key, text)| ((*key).to_owned(), Value::from(text.as_str()))));
        Ok((Value::from_pairs(context), separator))
    }
}

/// `chat_template` of `tokenizer_config.json`: text, or a list of named ones.
fn named_sources(settings: &JsonFile) -> Result<Vec<(String, String)>, ModelError> {
    let wrong = || settings.wrong("chat_template", "is neither text nor a list of templates with name and template");
    match settings.get("chat_template") {
        None => Ok(Vec::new()),
        Some(serde_json::Value::String(text)) => Ok(vec![(DEFAULT.to_owned(), text.clone())]),
        Some(serde_json::Value::Array(list)) => {
            let text = |entry: &serde_json::Value, key: &str| entry.get(key)?.as_str().map(str::to_owned);
            let pair = |entry| Some((text(entry, "name")?, text(entry, "template")?));
            list.iter().map(|entry| pair(entry).ok_or_else(wrong)).collect()
        }
        Some(_) => Err(wrong()),
    }
}

fn environment() -> Result<Environment<'static>, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.set_undefined_behavior(UndefinedBehavior::Lenient);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_recursion_limit(RECURSION_MAX);
    environment.set_fuel(Some(limits::CHAT_TEMPLATE_FUEL));
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.set_formatter(format::python);
    environment.add_function("raise_exception", |message: String| -> Result<Value, minijinja::Error> {
        Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
    });
    environment.add_function("strftime_now", |format: String| format::strftime(&format, seconds_now()));
    environment.add_function("namespace", sanitize::namespace);
    environment.add_function(sanitize::VARIABLE, sanitize::variable);
    environment.add_function(sanitize::ATTRIBUTE, sanitize::attribute);
    environment.add_filter("tojson", |value: Value, options: Kwargs| format::to_json(&value, &options));
    Ok(environment)
}

fn seconds_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A message as templates know it. Arguments of calls are mappings, as transformers asks for.
fn message(message: &Message) -> Result<serde_json::Value, String> {
    let mut value = json!({ "role": message.role.as_str(), "content": message.content });
    let Some(map) = value.as_object_mut() else { return Ok(value) };
    if !message.tool_calls.is_empty() {
        let calls = message.tool_calls.iter().map(tool_call).collect::<Result<Vec<_>, _>>()?;
        map.insert("tool_calls".to_owned(), calls.into());
    }
    if let Some(id) = &message.tool_call_id {
        map.insert("tool_call_id".to_owned(), id.as_str().into());
    }
    if let Some(name) = &message.name {
        map.insert("name".to_owned(), name.as_str().into());
    }
    Ok(value)
}

fn tool_call(call: &ToolCall) -> Result<serde_json::Value, String> {
    let arguments: serde_json::Value = serde_json::from_str(&call.arguments_json)
        .map_err(|error| format!("the arguments of call \"{}\" of \"{}\" are not JSON: {error}", call.id, call.name))?;
    Ok(json!({ "id": call.id, "type": "function", "function": { "name": call.name, "arguments": arguments } }))
}

fn tool(tool: &ToolDefinition) -> Result<serde_json::Value, String> {
    let parameters: serde_json::Value = serde_json::from_str(&tool.input_schema_json)
        .map_err(|error| format!("the schema of tool \"{}\" is not JSON: {error}", tool.name))?;
    let function = json!({ "name": tool.name, "description": tool.description, "parameters": parameters });
    Ok(json!({ "type": "function", "function": function }))
}

/// The error with its place, without the template's whole source.
fn describe(error: &minijinja::Error) -> String {
    let place = error.line().map_or(String::new(), |line| format!(" (line {line})"));
    match error.kind() {
        ErrorKind::OutOfFuel => format!("it takes more than {} steps{place}", limits::CHAT_TEMPLATE_FUEL),
        kind => format!("{}{place}", error.detail().map_or_else(|| kind.to_string(), str::to_owned)),
    }
}

/// Output that ends at its limit.
struct Bounded {
    bytes: Vec<u8>,
    limit: usize,
    full: bool,
}

impl Write for Bounded {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + data.len() > self.limit {
            self.full = true;
            return Err(io::Error::new(io::ErrorKind::StorageFull, "output limit"));
        }
        self.bytes.extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
