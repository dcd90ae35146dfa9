//! Reads a list of tools: valid tools are kept, invalid ones are recorded with the reason.

use std::collections::HashSet;

use firebox_contract::limits::{MCP_CLIENT_REJECTED_TOOLS_LISTED_MAX, TOOL_NAME_BYTES_MAX};
use serde_json::{Map, Value, json};

use super::message::plain;
use super::text::excerpt;

/// The key of the rejected tools in the answer: pairs of a name and a reason.
pub(in crate::client) const REJECTED: &str = "firebox/rejected";
/// The key of the names of the valid tools in the answer.
pub(in crate::client) const NAMES: &str = "firebox/names";

/// Maximum characters of a name in a message.
const NAME_CHARACTERS: usize = 64;

/// The answer to `tools/list` in the form that rmcp accepts.
///
/// # Errors
/// The reason, if it is not a list.
pub(super) fn list(result: Value) -> Result<Value, String> {
    let (tools, next) = match result {
        Value::Array(tools) => (tools, None),
        Value::Object(mut result) => match result.remove("tools") {
            Some(Value::Array(tools)) => (tools, result.remove("nextCursor")),
            // No tools.
            Some(Value::Null) => (Vec::new(), None),
            other => {
                let quoted = other.map_or_else(|| Value::Object(result).to_string(), |tools| tools.to_string());
                return Err(format!("its tool list is not a list: \"{}\"", excerpt(&quoted, 200)));
            }
        },
        other => return Err(format!("its tool list is not a list: \"{}\"", excerpt(&other.to_string(), 200))),
    };
    let (mut good, mut names, mut rejected) = (Vec::new(), Vec::new(), Vec::new());
    let mut seen = HashSet::new();
    for (number, tool) in tools.into_iter().enumerate() {
        let name = tool.get("name").map_or_else(|| format!("entry {}", number + 1), plain);
        match exact(tool).and_then(|tool| once(tool, &name, &mut seen)) {
            Ok(tool) => {
                names.push(name);
                good.push(tool);
            }
            Err(reason) if rejected.len() < MCP_CLIENT_REJECTED_TOOLS_LISTED_MAX => {
                rejected.push(json!([excerpt(&name, NAME_CHARACTERS), reason]));
            }
            // Further rejected tools are counted by the caller: their names are missing from the answer.
            Err(_) => {}
        }
    }
    let mut list = json!({ "tools": good, "_meta": { REJECTED: rejected, NAMES: names } });
    // Some servers send an empty cursor if there is no further page.
    if let Some(next) = next.filter(|next| next.is_number() || next.as_str().is_some_and(|next| !next.is_empty())) {
        list["nextCursor"] = json!(plain(&next));
    }
    Ok(list)
}

fn once(tool: Value, name: &str, seen: &mut HashSet<String>) -> Result<Value, String> {
    if seen.insert(name.to_owned()) { Ok(tool) } else { Err("an earlier tool has the same name".to_owned()) }
}

fn exact(tool: Value) -> Result<Value, String> {
    let Value::Object(mut tool) = tool else { return Err("it is not an object".to_owned()) };
    let name = match tool.remove("name") {
        Some(Value::String(name)) if name.trim().is_empty() => return Err("its name is empty".to_owned()),
        Some(Value::String(name)) if name.len() > 2 * TOOL_NAME_BYTES_MAX => {
            return Err(format!("its name has more than {} bytes", 2 * TOOL_NAME_BYTES_MAX));
        }
        Some(Value::String(name)) => name,
        None | Some(Value::Null) => return Err("it has no name".to_owned()),
        Some(_) => return Err("its name is not a string".to_owned()),
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
        // A hint of the wrong type is dropped. Then the protocol's default applies.
        annotations.retain(|key, value| if key == "title" { value.is_string() } else { value.is_boolean() });
        exact.insert("annotations".to_owned(), Value::Object(annotations));
    }
    Ok(Value::Object(exact))
}

/// The schema of the arguments, which must be an object. A missing schema, `{}` and `true` allow every object.
fn input_schema(schema: Option<Value>) -> Result<Map<String, Value>, String> {
    let mut schema = match schema {
        None | Some(Value::Null | Value::Bool(true)) => Map::new(),
        Some(Value::Object(schema)) => schema,
        Some(Value::String(text)) => match serde_json::from_str(&text) {
            Ok(Value::Object(schema)) => schema,
            _ => return Err("its input schema is a string".to_owned()),
        },
        Some(other) => return Err(format!("its input schema is not an object: {}", excerpt(&other.to_string(), 64))),
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
        return Err(format!("its input schema allows the type {kind} but no object, and arguments are an object"));
    }
    schema.insert("type".to_owned(), json!("object"));
    Ok(schema)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_tool_does_not_affect_the_others() {
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
        let rejected = answer["_meta"][REJECTED].as_array().expect("a list");
        let reasons: Vec<&str> = rejected.iter().filter_map(|pair| pair[1].as_str()).collect();
        assert_eq!(reasons.len(), 6, "{reasons:?}");
        assert!(reasons[0].contains("\"string\"") && reasons[2].contains("same name"), "{reasons:?}");
        assert!(list(json!({ "tools": 3 })).is_err() && list(json!("no")).is_err());
        assert_eq!(list(json!([{ "name": "bare" }])).expect("a list")["tools"][0]["name"], "bare");
    }
}
