//! Turns a tool's outcome into the result that a client reads.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use firebox_contract::{Error, ToolContent, ToolOutcome};
use rmcp::model::{CallToolResult, ContentBlock, MetaObject, ResourceContents};
use serde_json::{Value, json};

/// The key of the call's usage in a result.
const USE_KEY: &str = "firebox/use";

/// The result for `outcome` of the tool `tool`.
pub(super) fn result(tool: &str, outcome: &ToolOutcome) -> CallToolResult {
    let blocks = if outcome.blocks.is_empty() {
        vec![ContentBlock::text(&outcome.content)]
    } else {
        outcome.blocks.iter().enumerate().map(|(index, block)| content(tool, index, block)).collect()
    };
    let mut result = CallToolResult::success(blocks);
    result.is_error = Some(outcome.is_error);
    result.structured_content = structured(&outcome.blocks);
    result.meta = Some(usage(outcome));
    result
}

/// A failure as a result that a person or a model can read.
pub(super) fn failure(error: &Error) -> CallToolResult {
    let mut result = CallToolResult::error(vec![ContentBlock::text(format!("error: {error}"))]);
    let mut about = json!({ "code": error.kind().code() });
    if let (Error::Fault(fault), Some(about)) = (error, about.as_object_mut()) {
        about.insert("plugin".to_owned(), fault.plugin.clone().into());
        about.insert("fault".to_owned(), fault.cause.code().into());
        about.insert("fuel".to_owned(), fault.fuel.into());
        about.insert("memory_peak_bytes".to_owned(), fault.memory_peak_bytes.into());
    }
    result.meta = Some(meta("firebox/error", about));
    result
}

fn meta(key: &str, value: Value) -> MetaObject {
    let mut meta = MetaObject::new();
    meta.0.insert(key.to_owned(), value);
    meta
}

fn usage(outcome: &ToolOutcome) -> MetaObject {
    let micros = u64::try_from(outcome.elapsed.as_micros()).unwrap_or(u64::MAX);
    let about = json!({
        "provider": outcome.provider,
        "fuel": outcome.fuel,
        "memory_peak_bytes": outcome.memory_peak_bytes,
        "elapsed_us": micros,
    });
    meta(USE_KEY, about)
}

/// The JSON value of the answer, if there is exactly one.
fn structured(blocks: &[ToolContent]) -> Option<Value> {
    let mut values = blocks.iter().filter_map(|block| match block {
        ToolContent::Json(text) => Some(text),
        ToolContent::Text(_) | ToolContent::Media { .. } => None,
    });
    let only = values.next().filter(|_| values.next().is_none())?;
    serde_json::from_str(only).ok()
}

fn content(tool: &str, index: usize, block: &ToolContent) -> ContentBlock {
    match block {
        ToolContent::Text(text) | ToolContent::Json(text) => ContentBlock::text(text),
        ToolContent::Media { mime, data } if mime.starts_with("image/") => {
            ContentBlock::image(STANDARD.encode(data), mime)
        }
        ToolContent::Media { mime, data } if mime.starts_with("audio/") => {
            ContentBlock::audio(STANDARD.encode(data), mime)
        }
        ToolContent::Media { mime, data } => ContentBlock::resource(document(tool, index, mime, data)),
    }
}

/// Other media as an embedded resource. Its URI only distinguishes it from the others and cannot be fetched.
fn document(tool: &str, index: usize, mime: &str, data: &[u8]) -> ResourceContents {
    let uri = format!("firebox://tools/{tool}/result/{index}");
    let is_text = mime.starts_with("text/") || mime == "application/json" || mime.ends_with("+json");
    let contents = match std::str::from_utf8(data) {
        Ok(text) if is_text => ResourceContents::text(text, uri),
        _ => ResourceContents::blob(STANDARD.encode(data), uri),
    };
    contents.with_mime_type(mime)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use firebox_contract::{Fault, FaultCause, Stage};

    use super::*;

    fn outcome(blocks: Vec<ToolContent>) -> ToolOutcome {
        let elapsed = Duration::from_micros(9);
        ToolOutcome { blocks, fuel: 7, memory_peak_bytes: 8, elapsed, ..ToolOutcome::ok("p", "as text") }
    }

    fn media(mime: &str, data: &[u8]) -> ToolContent {
        ToolContent::Media { mime: mime.to_owned(), data: data.into() }
    }

    #[test]
    fn every_kind_of_content_becomes_its_block_type() {
        let blocks = vec![
            ToolContent::Text("hello".to_owned()),
            media("image/png", &[1]),
            media("audio/wav", &[2]),
            media("text/plain", b"doc"),
            media("text/plain", &[0xff]),
            media("application/zip", b"doc"),
            ToolContent::Json("{\"a\":1}".to_owned()),
        ];
        let value = serde_json::to_value(result("t", &outcome(blocks))).expect("JSON");
        let kinds: Vec<&str> =
            value["content"].as_array().expect("a list").iter().filter_map(|block| block["type"].as_str()).collect();
        assert_eq!(kinds, ["text", "image", "audio", "resource", "resource", "resource", "text"]);
        assert_eq!(value["content"][3]["resource"]["text"], "doc");
        assert_eq!(value["content"][4]["resource"]["blob"], "/w==");
        assert_eq!(value["content"][5]["resource"]["mimeType"], "application/zip");
        assert_eq!(value["structuredContent"], json!({"a": 1}));
        assert_eq!(value["_meta"]["firebox/use"]["fuel"], 7);
    }

    #[test]
    fn without_blocks_the_text_is_the_answer() {
        let value = serde_json::to_value(result("t", &outcome(Vec::new()))).expect("JSON");
        assert_eq!(value["content"], json!([{"type": "text", "text": "as text"}]));
        assert!(value.get("structuredContent").is_none());
    }

    #[test]
    fn a_fault_names_plugin_limit_and_usage() {
        let fault = Fault {
            plugin: "loop".to_owned(),
            stage: Stage::Tool,
            cause: FaultCause::OutOfFuel { limit: 1_000 },
            fuel: 1_000,
            memory_peak_bytes: 65_536,
        };
        let value = serde_json::to_value(failure(&Error::Fault(fault))).expect("JSON");
        let text = value["content"][0]["text"].as_str().expect("text");
        assert!(text.contains("\"loop\"") && text.contains("(1000)") && text.contains("65536 bytes"), "{text}");
        assert_eq!(value["isError"], true);
        assert_eq!(value["_meta"]["firebox/error"]["fault"], "plugin_out_of_fuel");
    }
}
