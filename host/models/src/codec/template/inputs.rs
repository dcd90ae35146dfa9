//! The inputs of a chat template: messages, tools, documents and variables in the shapes of transformers'
//! `apply_chat_template`.

use firebox_contract::{Chat, ChatOptions, Message, PromptEnd, Role, ToolCall, ToolDefinition};
use minijinja::value::{Serde, Value as Item};
use serde_json::{Map, Value, json};

use super::content::ContentForms;
use crate::codec::control::ControlTokens;

/// Names that a template always has, and parameters of transformers' function that are not variables.
const RESERVED: [&str; 8] = [
    "messages",
    "tools",
    "documents",
    "add_generation_prompt",
    "continue_final_message",
    "chat_template",
    "tokenize",
    "return_dict",
];

/// Names of a message's reasoning. Templates read the first one.
const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

/// The inputs of one rendering.
pub(super) struct Inputs {
    messages: Vec<Value>,
    /// Tools, documents and variables. The first two are null if there are none.
    others: [Value; 3],
    generation_prompt: bool,
}

impl Inputs {
    /// # Errors
    /// The client's mistake, as a sentence.
    pub(super) fn of(chat: Chat<'_>, forms: ContentForms) -> Result<Self, String> {
        let messages = chat.messages.iter().map(|one| message(one, forms)).collect::<Result<Vec<_>, _>>()?;
        let tools = chat.tools.iter().map(tool).collect::<Result<Vec<_>, _>>()?;
        let tools = if tools.is_empty() { Value::Null } else { Value::Array(tools) };
        Ok(Self {
            messages,
            others: [tools, documents(chat.options)?, Value::Object(variables(chat.options)?)],
            generation_prompt: chat.options.end == PromptEnd::GenerationPrompt,
        })
    }

    /// Marks the control tokens in all texts. Returns the mark, if there is one.
    pub(super) fn guard(&mut self, control: &ControlTokens, template: &str) -> Option<String> {
        control.guard(&mut self.messages, &mut self.others, template)
    }

    pub(super) fn messages_mut(&mut self) -> &mut Vec<Value> {
        &mut self.messages
    }

    /// The inputs with an empty content in messages without content, if there are any.
    pub(super) fn with_contents(&self) -> Option<Self> {
        let lacks = |message: &Value| message.get("content").is_none();
        if !self.messages.iter().any(lacks) {
            return None;
        }
        let mut messages = self.messages.clone();
        for message in messages.iter_mut().filter(|message| lacks(message)) {
            message.as_object_mut()?.insert("content".to_owned(), Value::from(""));
        }
        Some(Self { messages, others: self.others.clone(), generation_prompt: self.generation_prompt })
    }

    /// The template's variables, with the tokenizer's special `tokens`.
    pub(super) fn into_context(self, tokens: &[(String, String)]) -> Item {
        let item = |value: Value| Item::from(Serde(value));
        let [tools, documents, variables] = self.others;
        let tokens = tokens.iter().map(|(key, text)| (key.clone(), Item::from(text.as_str())));
        let variables = match variables {
            Value::Object(map) => map,
            _ => Map::new(),
        };
        let variables = variables.into_iter().map(|(key, value)| (key, item(value)));
        let always = [
            ("messages".to_owned(), item(Value::Array(self.messages))),
            ("tools".to_owned(), item(tools)),
            ("documents".to_owned(), item(documents)),
            ("add_generation_prompt".to_owned(), Item::from(self.generation_prompt)),
        ];
        Item::from_pairs(tokens.chain(variables).chain(always))
    }
}

/// A message in the shape of templates. Arguments of calls are mappings, as transformers requires.
fn message(message: &Message, forms: ContentForms) -> Result<Value, String> {
    let mut own = json!({ "role": message.role.as_str() });
    let Some(map) = own.as_object_mut() else { return Ok(own) };
    let sent = message.as_sent_json.as_deref().map(|text| object(text, "a message")).transpose()?;
    let sent_content = sent.as_ref().and_then(|sent| sent.get("content"));
    // As in transformers, a template gets no fields that are null.
    if sent.is_none() || sent_content.is_some_and(|content| !content.is_null()) || !message.content.is_empty() {
        map.insert("content".to_owned(), forms.of(message.role).content(&message.content, sent_content));
    }
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
    let Some(sent) = sent else { return Ok(own) };
    Ok(Value::Object(with_reasoning(in_order_of(sent, std::mem::take(map)), message.role)))
}

/// The fields of `own` and the other fields that were `sent`, in the order of the request.
fn in_order_of(sent: Map<String, Value>, mut own: Map<String, Value>) -> Map<String, Value> {
    let mut fields = Map::new();
    for (name, value) in sent {
        let value = match name.as_str() {
            "role" | "content" | "tool_calls" | "tool_call_id" => own.shift_remove(&name),
            _ => own.shift_remove(&name).or(Some(value).filter(|value| !value.is_null())),
        };
        fields.extend(value.map(|value| (name, value)));
    }
    fields.extend(own);
    fields
}

/// The reasoning under all names that templates read, as in transformers.
fn with_reasoning(mut fields: Map<String, Value>, role: Role) -> Map<String, Value> {
    let Some(reasoning) = REASONING.iter().find_map(|name| fields.get(*name)).cloned() else { return fields };
    if role == Role::Assistant {
        if !fields.contains_key("thinking") {
            fields.shift_insert(0, "thinking".to_owned(), reasoning.clone());
        }
        fields.insert("reasoning_content".to_owned(), reasoning);
    }
    fields
}

fn tool_call(call: &ToolCall) -> Result<Value, String> {
    let arguments: Value = serde_json::from_str(&call.arguments_json)
        .map_err(|error| format!("the arguments of call \"{}\" of \"{}\" are not JSON: {error}", call.id, call.name))?;
    Ok(json!({ "id": call.id, "type": "function", "function": { "name": call.name, "arguments": arguments } }))
}

/// A client's tool as it was sent, or the definition of a tool of the host.
fn tool(tool: &ToolDefinition) -> Result<Value, String> {
    if let Some(text) = &tool.as_sent_json {
        return object(text, &format!("tool \"{}\"", tool.name)).map(Value::Object);
    }
    let parameters: Value = serde_json::from_str(&tool.input_schema_json)
        .map_err(|error| format!("the schema of tool \"{}\" is not JSON: {error}", tool.name))?;
    let function = json!({ "name": tool.name, "description": tool.description, "parameters": parameters });
    Ok(json!({ "type": "function", "function": function }))
}

fn documents(options: &ChatOptions) -> Result<Value, String> {
    let Some(text) = &options.documents_json else { return Ok(Value::Null) };
    match serde_json::from_str(text) {
        Ok(Value::Array(list)) if list.iter().all(Value::is_object) => Ok(Value::Array(list)),
        Ok(_) => Err("\"documents\" must be a list of objects, each with \"title\" and \"text\"".to_owned()),
        Err(error) => Err(format!("\"documents\" are not JSON: {error}")),
    }
}

fn variables(options: &ChatOptions) -> Result<Map<String, Value>, String> {
    let Some(text) = &options.variables_json else { return Ok(Map::new()) };
    let variables = object(text, "the variables for the chat template")?;
    match variables.keys().find(|name| RESERVED.contains(&name.as_str())) {
        Some(name) => {
            Err(format!("\"{name}\" is not a variable of the chat template; send it as a field of the request"))
        }
        None => Ok(variables),
    }
}

fn object(text: &str, what: &str) -> Result<Map<String, Value>, String> {
    serde_json::from_str(text).map_err(|error| format!("{what} is not a JSON object: {error}"))
}
