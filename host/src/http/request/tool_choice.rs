//! `tool_choice`: whether the model must call a tool, and which.

use firebox_contract::{ToolChoice, ToolDefinition, limits};
use serde_json::Value;

use super::fields::{Fields, wrong};
use crate::http::Failure;

/// The choice, and the client's tools that remain.
pub(super) struct ToolSelection {
    pub(super) choice: ToolChoice,
    pub(super) client: Vec<ToolDefinition>,
    /// The only tools that may be called, including the host's own; `None` for all.
    pub(super) only: Option<Vec<String>>,
}

/// Reads `tool_choice`; `client` are the tools that the client runs.
///
/// # Errors
/// 400 for a choice that is unknown or names no tool.
pub(super) fn read(fields: &Fields<'_>, client: Vec<ToolDefinition>) -> Result<ToolSelection, Failure> {
    let choice = match fields.get("tool_choice") {
        None => ToolChoice::Auto,
        Some(Value::String(word)) => mode(word)?,
        Some(value @ Value::Object(_)) => {
            let object = Fields::of(value, "tool_choice")?;
            match object.need("type", object.text("type")?)? {
                "function" | "tool" => named(&object, &client)?,
                "allowed_tools" => return allowed(&object, client),
                word @ ("auto" | "none" | "required" | "any") => mode(word)?,
                kind => {
                    let message = format!("a tool choice of type \"{kind}\" is not supported; use \"function\"");
                    return Err(Failure::unsupported("tool_choice", message));
                }
            }
        }
        Some(other) => return Err(wrong("tool_choice", "a string or an object", other)),
    };
    Ok(ToolSelection { choice, client, only: None })
}

/// A mode by its name. Some APIs call `required` `any`.
fn mode(word: &str) -> Result<ToolChoice, Failure> {
    match word {
        "auto" => Ok(ToolChoice::Auto),
        "none" => Ok(ToolChoice::None),
        "required" | "any" => Ok(ToolChoice::Required),
        other => {
            let message = format!("unknown tool choice \"{other}\"; use auto, none, required or a function");
            Err(Failure::field("tool_choice", message))
        }
    }
}

/// One tool. Its name is in `function`, or next to the type.
fn named(choice: &Fields<'_>, client: &[ToolDefinition]) -> Result<ToolChoice, Failure> {
    let function = choice.object("function")?;
    let name = match (&function, choice.text("name")?) {
        (Some(function), _) => function.need("name", function.text("name")?)?,
        (None, Some(name)) => name,
        (None, None) => {
            return Err(Failure::field("tool_choice.function", "\"tool_choice.function\" is missing; it is required"));
        }
    };
    if !client.is_empty() && !client.iter().any(|tool| tool.name == name) {
        let message = format!("tool choice \"{name}\" is not one of \"tools\"");
        return Err(Failure::field("tool_choice", message));
    }
    Ok(ToolChoice::Named(name.to_owned()))
}

/// A list of tools, in `allowed_tools` as in OpenAI's API.
fn allowed(choice: &Fields<'_>, mut client: Vec<ToolDefinition>) -> Result<ToolSelection, Failure> {
    let choice = choice.object("allowed_tools")?.unwrap_or_else(|| choice.clone());
    let mode = mode(choice.text("mode")?.unwrap_or("auto"))?;
    let tools = choice.need("tools", choice.list("tools")?)?;
    if tools.len() > limits::TOOLS_MAX {
        let (count, max) = (tools.len(), limits::TOOLS_MAX);
        return Err(Failure::field(choice.name("tools"), format!("{count} tools given, at most {max} are allowed")));
    }
    let mut only = Vec::with_capacity(tools.len());
    for (at, tool) in tools.iter().enumerate() {
        let tool = Fields::of(tool, &format!("{}[{at}]", choice.name("tools")))?;
        let function = tool.object("function")?.unwrap_or_else(|| tool.clone());
        only.push(function.need("name", function.text("name")?)?.to_owned());
    }
    client.retain(|tool| only.contains(&tool.name));
    Ok(ToolSelection { choice: mode, client, only: Some(only) })
}
