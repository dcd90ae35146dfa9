//! From a server's words to ours: tools, their declared effects, and results.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use firebox_contract::limits::{MCP_CLIENT_SCHEMA_BYTES_MAX, MCP_CLIENT_TOOL_TEXT_BYTES_MAX, TOOL_NAME_BYTES_MAX};
use firebox_contract::{ToolContent, ToolDefinition, ToolEffects};
use rmcp::model::{CallToolResult, ContentBlock, ResourceContents, Tool, ToolAnnotations};

/// A tool as we offer it, under its own name. `None` for one that is larger than any model could use.
pub(super) fn definition(tool: &Tool) -> Option<ToolDefinition> {
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

/// `text`, or as many whole characters of it as fit into `bytes`.
pub(super) fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

/// Bytes a tool takes.
pub(super) fn size(tool: &ToolDefinition) -> usize {
    let texts = [Some(&tool.name), Some(&tool.description), tool.title.as_ref(), Some(&tool.input_schema_json)];
    texts.into_iter().chain([tool.output_schema_json.as_ref()]).flatten().map(String::len).sum()
}

/// The hints, with the protocol's own defaults: what says nothing may destroy and reaches the world.
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

/// A result as a model reads it, and in pieces. A result that is nothing but text has no pieces.
pub(super) fn result(result: CallToolResult) -> (String, Vec<ToolContent>) {
    let structured = result.structured_content.as_ref().map(ToString::to_string);
    let mut lines = Vec::new();
    let mut blocks = Vec::new();
    for block in result.content {
        let (line, piece) = piece(block);
        lines.push(line);
        blocks.push(piece);
    }
    let only_text = blocks.iter().all(|block| matches!(block, ToolContent::Text(_)));
    if let Some(json) = &structured {
        if lines.iter().all(String::is_empty) {
            lines = vec![json.clone()];
        }
        blocks.push(ToolContent::Json(json.clone()));
    } else if only_text && blocks.len() < 2 {
        blocks.clear();
    }
    (lines.join("\n"), blocks)
}

fn piece(block: ContentBlock) -> (String, ToolContent) {
    match block {
        ContentBlock::Text(text) => said(text.text),
        ContentBlock::Image(image) => media("image", image.mime_type, &image.data),
        ContentBlock::Audio(audio) => media("audio", audio.mime_type, &audio.data),
        ContentBlock::ResourceLink(link) => {
            let about = link.description.or(link.title).map(|about| format!(": {about}")).unwrap_or_default();
            said(format!("[resource {} {}{about}]", link.name, link.uri))
        }
        ContentBlock::Resource(resource) => match resource.resource {
            ResourceContents::TextResourceContents { text, .. } => said(text),
            ResourceContents::BlobResourceContents { uri, mime_type, blob, .. } => {
                let mime = mime_type.unwrap_or_else(|| "application/octet-stream".to_owned());
                media(&format!("resource {uri}"), mime, &blob)
            }
            _ => said("[a resource of a kind this host does not know]".to_owned()),
        },
        _ => said("[content of a kind this host does not know]".to_owned()),
    }
}

fn said(text: String) -> (String, ToolContent) {
    (text.clone(), ToolContent::Text(text))
}

fn media(what: &str, mime: String, base64: &str) -> (String, ToolContent) {
    match STANDARD.decode(base64) {
        Ok(bytes) => {
            let line = format!("[{what} {mime}, {} bytes]", bytes.len());
            (line, ToolContent::Media { mime, data: Arc::from(bytes) })
        }
        Err(error) => said(format!("[{what} {mime} that is not base64: {error}]")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(value: serde_json::Value) -> (String, Vec<ToolContent>) {
        result(serde_json::from_value(value).expect("a result"))
    }

    #[test]
    fn text_alone_has_no_pieces() {
        assert_eq!(parse(json!({"content": [{"type": "text", "text": "hello"}]})), ("hello".to_owned(), Vec::new()));
    }

    #[test]
    fn pictures_sounds_and_resources_keep_their_bytes_and_have_words() {
        let (content, blocks) = parse(json!({"content": [
            {"type": "text", "text": "look"},
            {"type": "image", "data": "AQID", "mimeType": "image/png"},
            {"type": "audio", "data": "AQ==", "mimeType": "audio/wav"},
            {"type": "resource_link", "uri": "file:///a", "name": "a", "description": "the first"},
            {"type": "resource", "resource": {"uri": "x://t", "text": "inside"}},
            {"type": "resource", "resource": {"uri": "x://b", "blob": "AQI=", "mimeType": "a/b"}},
            {"type": "image", "data": "!", "mimeType": "image/png"},
        ]}));
        let lines: Vec<&str> = content.lines().collect();
        assert_eq!(
            lines[..4],
            ["look", "[image image/png, 3 bytes]", "[audio audio/wav, 1 bytes]", "[resource a file:///a: the first]"]
        );
        assert_eq!(lines[4..6], ["inside", "[resource x://b a/b, 2 bytes]"]);
        assert!(lines[6].contains("not base64"), "{}", lines[6]);
        assert_eq!(blocks[1], ToolContent::Media { mime: "image/png".to_owned(), data: Arc::from([1, 2, 3]) });
        assert_eq!(blocks.len(), 7);
    }

    #[test]
    fn structured_results_are_json_and_readable() {
        let (content, blocks) = parse(json!({"content": [], "structuredContent": {"sum": 3}}));
        assert_eq!((content.as_str(), blocks), (r#"{"sum":3}"#, vec![ToolContent::Json(r#"{"sum":3}"#.to_owned())]));
        let (content, blocks) =
            parse(json!({"content": [{"type": "text", "text": "three"}], "structuredContent": {"sum": 3}}));
        assert_eq!((content.as_str(), blocks.len()), ("three", 2));
    }

    #[test]
    fn silence_about_effects_is_the_worst_case() {
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
