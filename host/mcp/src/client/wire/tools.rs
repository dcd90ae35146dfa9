//! A list of tools: each that can be used is kept, each other is named with the reason.

use std::collections::HashSet;

use firebox_contract::limits::{MCP_CLIENT_REJECTED_TOOLS_LISTED_MAX, TOOL_NAME_BYTES_MAX};
use serde_json::{Map, Value, json};

use super::message::plain;
use super::text::excerpt;

/// Where the answer holds the tools that are left out: pairs of a name and a reason.
pub(in crate::client) const LEFT_OUT: &str = "firebox/left-out";
/// Where the answer holds the names of the tools that are not.
pub(in crate::client) const NAMES: &str = "firebox/names";

/// Characters of a name in a message about it.
const NAME_CHARACTERS: usize = 64;

/// The answer to `tools/list` in its exact form.
///
/// # Errors
/// What it is where it is no list.
pub(super) fn list(result: Value) -> Result<Value, String> {
    let (tools, next) = match result {
        Value::Array(tools) => (tools, None),
        Value::Object(mut result) => match result.remove("tools") {
            Some(Value::Array(tools)) => (tools, result.remove("nextCursor")),
            // Nothing to offer.
            Some(Value::Null) => (Vec::new(), None),
            other => {
                let said = other.map_or_else(|| Value::Object(result).to_string(), |tools| tools.to_string());
                return Err(format!("its list of tools is none: \"{}\"", excerpt(&said, 200)));
            }
        },
        other => return Err(format!("its list of tools is none: \"{}\"", excerpt(&other.to_string(), 200))),
    };
    let (mut good, mut names, mut left_out) = (Vec::new(), Vec::new(), Vec::new());
    let mut seen = HashSet::new();
    for (number, tool) in tools.into_iter().enumerate() {
        let name = tool.get("name").map_or_else(|| format!("entry {}", number + 1), plain);
        match exact(tool).and_then(|tool| once(tool, &name, &mut seen)) {
            Ok(tool) => {
                names.push(name);
                good.push(tool);
            }
            Err(why) if left_out.len() < MCP_CLIENT_REJECTED_TOOLS_LISTED_MAX => {
                left_out.push(json!([excerpt(&name, NAME_CHARACTERS), why]));
            }
            // The caller counts what is missing.
            Err(_) => {}
        }
    }
    let mut list = json!({ "tools": good, "_meta": { LEFT_OUT: left_out, NAMES: names } });
    // An empty cursor is how some say that there is no further page.
    if let Some(next) = next.filter(|next| next.is_number() || next.as_str().is_some_and(|next| !next.is_empty())) {
        list["nextCursor"] = json!(plain(&next));
    }
    Ok(list)
}

fn once(tool: Value, name: &str, seen: &mut HashSet<String>) -> Result<Value, String> {
    if seen.insert(name.to_owned()) { Ok(tool) } else { Err("a tool before it has this name".to_owned()) }
}

fn exact(tool: Value) -> Result<Value, String> {
    let Value::Object(mut tool) = tool else { return Err("it is no object".to_owned()) };
    let name = match tool.remove("name") {
        Some(Value::String(name)) if name.trim().is_empty() => return Err("its name is empty".to_owned()),
        Some(Value::String(name)) if name.len() > 2 * TOOL_NAME_BYTES_MAX => {
            return Err(format!("its name has more than {} bytes", 2 * TOOL_NAME_BYTES_MAX));
        }
        Some(Value::String(name)) => name,
        None | Some(Value::Null) => return Err("it has no name".to_owned()),
        Some(_) => return Err("its name is no text".to_owned()),
    };
    let mut exact = Map::new();
    exact.insert("name".to_owned(), json!(name));
    exact.insert("inputSchema".to_owned(), Value::Object(input_schema(tool.remove("inputSchema"))?));
    for key in ["title", "description"] {
        if let Some(text) = tool.remove(key).filter(|text| !text.is_null()) {
            exact.insert(key.to_owned(), json!(plain(&text)));
        }
    }
    if let Some(Value::Object(schema)) = tool.remove("outputSchema") {
        exact.insert("outputSchema".to_owned(), Value::Object(schema));
    }
    if let Some(Value::Object(mut annotations)) = tool.remove("annotations") {
        // A hint that is no hint says nothing; then the worst is assumed.
        annotations.retain(|key, value| if key == "title" { value.is_string() } else { value.is_boolean() });
        exact.insert("annotations".to_owned(), Value::Object(annotations));
    }
    Ok(Value::Object(exact))
}

/// A schema of arguments, which are an object; none, `{}` and `true` allow every object.
fn input_schema(schema: Option<Value>) -> Result<Map<String, Value>, String> {
    let mut schema = match schema {
        None | Some(Value::Null | Value::Bool(true)) => Map::new(),
        Some(Value::Object(schema)) => schema,
        Some(Value::String(text)) => match serde_json::from_str(&text) {
            Ok(Value::Object(schema)) => schema,
            _ => return Err("its input schema is a text".to_owned()),
        },
        Some(other) => return Err(format!("its input schema is no object: {}", excerpt(&other.to_string(), 64))),
    };
    let objects = match schema.get("type") {
        None | Some(Value::Null) => true,
        Some(Value::String(kind)) => kind == "object",
        Some(Value::Array(kinds)) => kinds.iter().any(|kind| kind == "object"),
        Some(_) => false,
    };
    if !objects {
        let kind = schema.get("type").map(Value::to_string).unwrap_or_default();
        let kind = excerpt(&kind, 64);
        return Err(format!("its input schema allows the type {kind} and no object, which arguments are"));
    }
    schema.insert("type".to_owned(), json!("object"));
    Ok(schema)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tool_stands_for_itself() {
        let answer = list(json!({ "nextCursor": "", "tools": [
            { "name": "good", "inputSchema": { "type": "object" }, "icons": 7, "_meta": null, "title": null },
            { "name": "none" }, { "name": "null", "inputSchema": null, "annotations": null },
            { "name": "text", "inputSchema": { "type": "string" } }, { "name": 4, "inputSchema": {} },
            { "name": "good" }, "what", { "name": "hints", "annotations": { "readOnlyHint": "yes", "title": 3 } },
            { "name": "x".repeat(300) }, { "name": "list", "inputSchema": [] },
        ]}));
        let answer = answer.expect("a list");
        assert_eq!(answer["_meta"][NAMES], json!(["good", "none", "null", "hints"]));
        assert_eq!(answer["tools"][3]["annotations"], json!({}));
        assert_eq!(answer["tools"][1]["inputSchema"], json!({ "type": "object" }));
        assert!(answer.get("nextCursor").is_none());
        let left_out = answer["_meta"][LEFT_OUT].as_array().expect("a list");
        let whys: Vec<&str> = left_out.iter().filter_map(|pair| pair[1].as_str()).collect();
        assert_eq!(whys.len(), 6, "{whys:?}");
        assert!(whys[0].contains("\"string\"") && whys[2].contains("this name"), "{whys:?}");
        assert!(list(json!({ "tools": 3 })).is_err() && list(json!("no")).is_err());
        assert_eq!(list(json!([{ "name": "bare" }])).expect("a list")["tools"][0]["name"], "bare");
    }
}
