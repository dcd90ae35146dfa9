//! Turns the result of a call into text and content for a model. Parts that cannot be read are named in the text and not
//! silently dropped.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use firebox_contract::ToolContent;
use serde_json::{Map, Value};

use crate::client::wire::excerpt;

/// Maximum characters of a name or address in the line about a content block.
const NAME_CHARACTERS: usize = 200;

/// The result of a call.
#[derive(Debug, PartialEq)]
pub(in crate::client) struct CallReading {
    /// The whole result as text.
    pub(in crate::client) content: String,
    /// The content blocks. Empty if the result is a single text.
    pub(in crate::client) blocks: Vec<ToolContent>,
    /// Whether the tool reports an error.
    pub(in crate::client) is_error: bool,
}

/// Reads the result of `tools/call`.
///
/// # Errors
/// The reason, if the answer asks for something else instead of giving a result.
pub(in crate::client) fn read(result: Value) -> Result<CallReading, String> {
    let mut result = match result {
        Value::Object(result) => result,
        // Not an object, but still an answer.
        Value::Null => Map::new(),
        other => Map::from_iter([("content".to_owned(), other)]),
    };
    match result.get("resultType").and_then(Value::as_str) {
        Some("input_required") => return Err("it asks for more input, which this host does not provide".to_owned()),
        Some("task") => return Err("it turned the call into a task, which this host did not ask for".to_owned()),
        _ => {}
    }
    let (is_error, remark) = failed(result.remove("isError"));
    let mut pieces = match result.remove("content") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(blocks)) => blocks.into_iter().map(piece).collect(),
        Some(block) => vec![piece(block)],
    };
    // The form of results before revision 2024-11-05.
    if let Some(old) = result.remove("toolResult").filter(|old| !old.is_null()) {
        pieces.push(if old.is_string() { piece(old) } else { json(&old) });
    }
    pieces.extend(remark);
    let structured = result.remove("structuredContent").filter(|structured| !structured.is_null());
    result.retain(|key, value| !key.starts_with('_') && key != "resultType" && !value.is_null());
    if pieces.is_empty() && structured.is_none() && !result.is_empty() {
        pieces.push(json(&Value::Object(result)));
    }
    Ok(joined(pieces, structured, is_error))
}

fn joined(pieces: Vec<(String, ToolContent)>, structured: Option<Value>, is_error: bool) -> CallReading {
    let (mut lines, mut blocks): (Vec<String>, Vec<ToolContent>) = pieces.into_iter().unzip();
    let only_text = blocks.iter().all(|block| matches!(block, ToolContent::Text(_)));
    if let Some(json) = structured.map(|structured| structured.to_string()) {
        if lines.iter().all(String::is_empty) {
            lines = vec![json.clone()];
        }
        blocks.push(ToolContent::Json(json));
    } else if only_text && blocks.len() < 2 {
        blocks.clear();
    }
    CallReading { content: lines.join("\n"), blocks, is_error }
}

/// Whether the tool failed, and a content block if the flag is not valid.
fn failed(flag: Option<Value>) -> (bool, Option<(String, ToolContent)>) {
    let flag = flag.unwrap_or(Value::Null);
    let known = match &flag {
        Value::Null => Some(false),
        Value::Bool(failed) => Some(*failed),
        Value::Number(number) => number.as_f64().map(|number| number != 0.0),
        Value::String(text) => match text.trim().to_lowercase().as_str() {
            "true" | "yes" | "1" => Some(true),
            "false" | "no" | "0" | "" => Some(false),
            _ => None,
        },
        _ => None,
    };
    let remark = || plain_text(format!("[its flag \"isError\" is {}, which counts as an error]", short(&flag)));
    (known.unwrap_or(true), known.is_none().then(remark))
}

/// The line and the content of one block.
fn piece(block: Value) -> (String, ToolContent) {
    let mut block = match block {
        Value::Object(block) => block,
        Value::String(text) => return plain_text(text),
        Value::Null => return plain_text("[a content block that is null]".to_owned()),
        other => return json(&other),
    };
    let kind = match block.get("type") {
        Some(Value::String(kind)) => kind.clone(),
        _ => guessed(&block).to_owned(),
    };
    match kind.as_str() {
        "text" => match block.remove("text") {
            Some(Value::String(text)) => plain_text(text),
            Some(Value::Null) | None => {
                plain_text(format!("[a text without its text: {}]", short(&Value::Object(block))))
            }
            Some(other) => plain_text(other.to_string()),
        },
        "image" | "audio" => media(&kind, &block),
        "resource_link" => plain_text(link(&block)),
        "resource" => resource(block),
        _ => unknown(&kind, block),
    }
}

/// The type of a block without a type, guessed from its fields.
fn guessed(block: &Map<String, Value>) -> &'static str {
    let has = |key| block.contains_key(key);
    match () {
        () if has("text") => "text",
        () if has("resource") => "resource",
        () if has("data") => match field(block, "mimeType").map(|mime| mime.starts_with("audio/")) {
            Some(true) => "audio",
            _ => "image",
        },
        () if has("uri") => "resource_link",
        () => "",
    }
}

fn unknown(kind: &str, block: Map<String, Value>) -> (String, ToolContent) {
    let kind = excerpt(kind, NAME_CHARACTERS);
    if let Some(text) = field(&block, "text") {
        return plain_text(format!("[content of the unknown type \"{kind}\"] {text}"));
    }
    if field(&block, "data").is_some() && field(&block, "mimeType").is_some() {
        return media(&kind, &block);
    }
    let json = Value::Object(block).to_string();
    (format!("[content of the unknown type \"{kind}\"] {json}"), ToolContent::Json(json))
}

fn link(block: &Map<String, Value>) -> String {
    let uri = field(block, "uri").unwrap_or("without an address");
    let about = field(block, "description").or_else(|| field(block, "title"));
    let about = about.map(|about| format!(": {about}")).unwrap_or_default();
    let name = field(block, "name").filter(|name| !name.is_empty()).map(|name| format!("{name} ")).unwrap_or_default();
    format!("[resource {name}{uri}{about}]")
}

fn resource(mut block: Map<String, Value>) -> (String, ToolContent) {
    let resource = match block.remove("resource") {
        Some(Value::Object(resource)) => resource,
        Some(Value::String(text)) => return plain_text(text),
        // Some servers leave the inner object out.
        _ => block,
    };
    if let Some(text) = resource.get("text").filter(|text| !text.is_null()) {
        return plain_text(text.as_str().map_or_else(|| text.to_string(), str::to_owned));
    }
    let uri = excerpt(field(&resource, "uri").unwrap_or("without an address"), NAME_CHARACTERS);
    match field(&resource, "blob") {
        Some(blob) => bytes(&format!("resource {uri}"), field(&resource, "mimeType"), blob),
        None => plain_text(format!("[resource {uri} without its contents]")),
    }
}

fn media(what: &str, block: &Map<String, Value>) -> (String, ToolContent) {
    match field(block, "data") {
        Some(data) => bytes(what, field(block, "mimeType"), data),
        None => plain_text(format!("[{what} without its data: {}]", short(&Value::Object(block.clone())))),
    }
}

/// Decodes base64 in either alphabet, with or without padding, line breaks or the prefix of a data URL.
fn bytes(what: &str, mime: Option<&str>, base64: &str) -> (String, ToolContent) {
    let (head, data) = match base64.strip_prefix("data:").and_then(|rest| rest.split_once(',')) {
        Some((head, data)) => (head.strip_suffix(";base64"), data),
        None => (None, base64),
    };
    let mime = mime.or(head).filter(|mime| !mime.is_empty());
    let shown = excerpt(mime.unwrap_or("of no stated type"), NAME_CHARACTERS);
    let data: String = data.chars().filter(|c| !c.is_whitespace()).collect();
    let lax = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let url_safe = data.contains(['-', '_']);
    let alphabet = if url_safe { base64::alphabet::URL_SAFE } else { base64::alphabet::STANDARD };
    match GeneralPurpose::new(&alphabet, lax).decode(&data) {
        Ok(bytes) => {
            let line = format!("[{what} {shown}, {} bytes]", bytes.len());
            let mime = mime.unwrap_or("application/octet-stream").to_owned();
            (line, ToolContent::Media { mime, data: Arc::from(bytes) })
        }
        Err(error) => plain_text(format!("[{what} {shown} that is not base64: {error}]")),
    }
}

fn field<'a>(block: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    block.get(key).and_then(Value::as_str)
}

fn plain_text(text: String) -> (String, ToolContent) {
    (text.clone(), ToolContent::Text(text))
}

fn json(value: &Value) -> (String, ToolContent) {
    let json = value.to_string();
    (json.clone(), ToolContent::Json(json))
}

fn short(value: &Value) -> String {
    excerpt(&value.to_string(), NAME_CHARACTERS)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(value: Value) -> (String, Vec<ToolContent>) {
        let reading = read(value).expect("a result");
        (reading.content, reading.blocks)
    }

    #[test]
    fn a_single_text_has_no_blocks() {
        assert_eq!(parse(json!({"content": [{"type": "text", "text": "hello"}]})), ("hello".to_owned(), Vec::new()));
    }

    #[test]
    fn images_audio_and_resources_keep_their_bytes_and_get_a_line_of_text() {
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
    fn structured_results_are_json_and_text() {
        let (content, blocks) = parse(json!({"content": [], "structuredContent": {"sum": 3}}));
        assert_eq!((content.as_str(), blocks), (r#"{"sum":3}"#, vec![ToolContent::Json(r#"{"sum":3}"#.to_owned())]));
        let (content, blocks) =
            parse(json!({"content": [{"type": "text", "text": "three"}], "structuredContent": {"sum": 3}}));
        assert_eq!((content.as_str(), blocks.len()), ("three", 2));
    }

    /// A malformed part affects only itself: each of these results still gives "hello", or shows the part.
    #[test]
    fn a_malformed_part_does_not_lose_the_rest_of_the_result() {
        let hello = json!({"type": "text", "text": "hello", "annotations": null, "_meta": null, "extra": 1});
        let cases = [
            (json!({"content": [hello], "isError": null, "_meta": null, "foo": {}}), "hello"),
            (
                json!({"content": [hello, {"type": "video", "data": "AA==", "mimeType": "video/mp4"}]}),
                "hello\n[video video/mp4, 1 bytes]",
            ),
            (
                json!({"content": [hello, {"json": {"a": 1}, "type": "json"}]}),
                "hello\n[content of the unknown type \"json\"] {\"json\":{\"a\":1},\"type\":\"json\"}",
            ),
            (json!({"content": [hello, {"type": "resource_link", "uri": "ui://v"}]}), "hello\n[resource ui://v]"),
            (json!({"content": hello}), "hello"),
            (json!({"content": "hello"}), "hello"),
            (json!({"content": ["hello", null, 4]}), "hello\n[a content block that is null]\n4"),
            (json!({"content": null, "structuredContent": [1, 2]}), "[1,2]"),
            (json!({"structuredContent": "hello"}), "\"hello\""),
            (json!({"toolResult": "hello"}), "hello"),
            (json!({"toolResult": {"a": 1}}), "{\"a\":1}"),
            (json!({"output": "hello", "_meta": {}}), "{\"output\":\"hello\"}"),
            (json!({"resultType": "complete"}), ""),
            (json!("hello"), "hello"),
            (json!(null), ""),
            (json!([hello]), "hello"),
            (json!({"content": [{"type": "text", "text": 42}]}), "42"),
            (json!({"content": [{"type": "text", "text": null}]}), "[a text without its text: {\"type\":\"text\"}]"),
            (json!({"content": [{"text": "hello"}]}), "hello"),
            (json!({"content": [{"type": "image", "data": "AQID"}]}), "[image of no stated type, 3 bytes]"),
            (
                json!({"content": [{"type": "image", "data": "data:image/png;base64,AQ\nID"}]}),
                "[image image/png, 3 bytes]",
            ),
            (json!({"content": [{"type": "image", "data": "-_8", "mimeType": "a/b"}]}), "[image a/b, 2 bytes]"),
            (
                json!({"content": [{"type": "image", "url": "http://x"}]}),
                "[image without its data: {\"type\":\"image\",\"url\":\"http://x\"}]",
            ),
            (json!({"content": [{"type": "resource", "resource": {"text": "hello"}}]}), "hello"),
            (json!({"content": [{"type": "resource", "uri": "x://a", "text": "hello"}]}), "hello"),
            (
                json!({"content": [{"type": "resource", "resource": {"uri": "x://a"}}]}),
                "[resource x://a without its contents]",
            ),
        ];
        for (value, expected) in cases {
            let reading = read(value.clone()).expect("readable");
            assert_eq!((reading.content.as_str(), reading.is_error), (expected, false), "{value}");
        }
    }

    #[test]
    fn an_error_flag_of_the_wrong_type_is_read_or_named() {
        let flags = [(json!("false"), false), (json!("True"), true), (json!(0), false), (json!(1), true)];
        for (flag, failed) in flags {
            let reading = read(json!({"content": [], "isError": flag})).expect("readable");
            assert_eq!((reading.is_error, reading.content.as_str()), (failed, ""), "{flag}");
        }
        let reading = read(json!({"content": ["x"], "isError": {}})).expect("readable");
        assert!(reading.is_error && reading.content.starts_with("x\n[its flag \"isError\" is {}"), "{reading:?}");
        assert!(read(json!({"resultType": "input_required"})).is_err());
    }
}
