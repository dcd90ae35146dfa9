//! The tools of a chat request: the client's own, the choice among all, and the request's limits and rules.

use firebox_contract::{Permission, ToolDefinition, ToolEffects, ToolOptions, ToolPolicy, limits};
use serde_json::Value;

use super::fields::{Fields, wrong};
use super::tool_choice;
use crate::http::Failure;

/// Reads the fields `tools`, `tool_choice`, `parallel_tool_calls` and `firebox.tools`.
///
/// # Errors
/// 400 for a value that is invalid or not supported.
pub(super) fn read(fields: &Fields<'_>, extensions: Option<&Fields<'_>>) -> Result<ToolOptions, Failure> {
    let client = client_tools(fields)?;
    let chosen = tool_choice::read(fields, client)?;
    let parallel = fields.flag("parallel_tool_calls")?.unwrap_or(true);
    let strict = strict_tools(fields)?;
    let mut options =
        ToolOptions { client: chosen.client, choice: chosen.choice, parallel, strict, ..ToolOptions::default() };
    if let Some(only) = chosen.only {
        options.tightened = allow_only(only);
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
        let message = "\"allowed_tools\" and the rules of \"firebox.tools\" cannot be combined; remove one of them";
        return Err(Failure::field("tool_choice", message));
    }
    if options.tightened == ToolPolicy::ALLOW_ALL {
        options.tightened = tightened;
    }
    Ok(options)
}

/// A policy that allows the tools of these names and denies all others.
fn allow_only(names: Vec<String>) -> ToolPolicy {
    let rules = names.into_iter().map(|name| (name, Permission::Allow)).collect();
    ToolPolicy { rules, otherwise: Permission::Deny }
}

/// The rules of `firebox.tools`. They can only tighten the tenant's policy.
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

/// The tools that the client runs itself.
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
            let message = format!("tool \"{}\" is given twice; use different names", tool.name);
            return Err(Failure::field(format!("tools[{at}].function.name"), message));
        }
        tools.push(tool);
    }
    Ok(tools)
}

/// Names of the tools whose calls keep to their schema.
fn strict_tools(fields: &Fields<'_>) -> Result<Vec<String>, Failure> {
    let mut names = Vec::new();
    for (at, value) in fields.list("tools")?.unwrap_or_default().iter().enumerate() {
        let Some(function) = Fields::of(value, &format!("tools[{at}]"))?.object("function")? else { continue };
        if function.flag("strict")?.unwrap_or(false) {
            names.extend(function.text("name")?.map(str::to_owned));
        }
    }
    Ok(names)
}

fn client_tool(tool: &Fields<'_>) -> Result<ToolDefinition, Failure> {
    let kind = tool.text("type")?.unwrap_or("function");
    if kind != "function" {
        let message = format!("a tool of type \"{kind}\" is not supported; use \"function\"");
        return Err(Failure::unsupported(tool.name("type"), message));
    }
    let function = tool.need("function", tool.object("function")?)?;
    let name = function.need("name", function.text("name")?)?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if name.is_empty() || name.len() > limits::TOOL_NAME_BYTES_MAX || !name.chars().all(allowed) {
        let shown: String = name.chars().take(40).collect();
        let message = format!(
            "\"{shown}\" is not a valid tool name; use 1 to {} letters, digits, \"_\", \"-\" or \".\"",
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
