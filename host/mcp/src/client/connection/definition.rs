//! Tool definitions of a server, in the host's types.

use firebox_contract::limits::{MCP_CLIENT_SCHEMA_BYTES_MAX, MCP_CLIENT_TOOL_TEXT_BYTES_MAX, TOOL_NAME_BYTES_MAX};
use firebox_contract::{ToolDefinition, ToolEffects};
use rmcp::model::{Tool, ToolAnnotations};

/// The host's definition of a tool, with the tool's own name. `None` if the name or the input schema is too long.
pub(in crate::client) fn definition(tool: &Tool) -> Option<ToolDefinition> {
    let input_schema_json = serde_json::to_string(tool.input_schema.as_ref()).ok()?;
    let output_schema_json = tool.output_schema.as_ref().and_then(|schema| serde_json::to_string(schema.as_ref()).ok());
    let nameless = tool.name.is_empty() || tool.name.len() > 2 * TOOL_NAME_BYTES_MAX;
    if nameless || input_schema_json.len() > MCP_CLIENT_SCHEMA_BYTES_MAX {
        return None;
    }
    let annotated = tool.annotations.as_ref().and_then(|annotations| annotations.title.clone());
    Some(ToolDefinition {
        name: tool.name.to_string(),
        description: cut(tool.description.as_deref().unwrap_or_default(), MCP_CLIENT_TOOL_TEXT_BYTES_MAX).to_owned(),
        title: tool.title.clone().or(annotated).map(|title| cut(&title, MCP_CLIENT_TOOL_TEXT_BYTES_MAX).to_owned()),
        input_schema_json,
        output_schema_json: output_schema_json.filter(|schema| schema.len() <= MCP_CLIENT_SCHEMA_BYTES_MAX),
        as_sent_json: None,
        effects: effects(tool.annotations.as_ref()),
    })
}

/// The longest prefix of `text` with at most `bytes` bytes that ends at a character boundary.
pub(in crate::client) fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

/// The bytes of a definition's texts.
pub(in crate::client) fn size(tool: &ToolDefinition) -> usize {
    let texts = [Some(&tool.name), Some(&tool.description), tool.title.as_ref(), Some(&tool.input_schema_json)];
    texts.into_iter().chain([tool.output_schema_json.as_ref()]).flatten().map(String::len).sum()
}

/// The effects that the annotations declare. Without annotations the protocol's defaults apply: destructive and open-world.
fn effects(annotations: Option<&ToolAnnotations>) -> ToolEffects {
    let hint = |choose: fn(&ToolAnnotations) -> Option<bool>| annotations.and_then(choose);
    let read_only = hint(|a| a.read_only_hint).unwrap_or(false);
    ToolEffects {
        read_only,
        destructive: !read_only && hint(|a| a.destructive_hint).unwrap_or(true),
        idempotent: read_only || hint(|a| a.idempotent_hint).unwrap_or(false),
        open_world: hint(|a| a.open_world_hint).unwrap_or(true),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_tool_without_annotations_counts_as_destructive_and_open_world() {
        let tool = |annotations: serde_json::Value| {
            let tool = json!({"name": "t", "inputSchema": {"type": "object"}, "annotations": annotations});
            definition(&serde_json::from_value(tool).expect("a tool")).expect("small").effects
        };
        let quiet = ToolEffects { read_only: false, destructive: true, idempotent: false, open_world: true };
        assert_eq!(tool(json!({})), quiet);
        let reads = ToolEffects { read_only: true, destructive: false, idempotent: true, open_world: false };
        assert_eq!(tool(json!({"readOnlyHint": true, "destructiveHint": true, "openWorldHint": false})), reads);
        assert!(tool(json!({"idempotentHint": true})).idempotent);
    }
}
