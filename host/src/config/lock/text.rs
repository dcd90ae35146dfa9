//! The text of `firebox.lock`: TOML, sorted, with the full texts of tools, so that a change shows in a review.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use firebox_contract::{ToolDefinition, ToolEffects};
use firebox_mcp::client::{ToolPins, effect_names};
use serde::Deserialize;

use super::super::print::{list, quoted};
use super::{LockFile, LockedPlugin};

/// The version of the format.
const VERSION: u32 = 1;
/// What comes before a digest.
const SHA256: &str = "sha256:";
/// How to get a valid file again.
pub(super) const RENEW: &str = "remove it, check what runs, and write it again with firebox lock";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LockDocument {
    version: u32,
    #[serde(default)]
    plugin: Vec<PluginRow>,
    #[serde(default)]
    mcp_server: Vec<ServerRow>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PluginRow {
    name: String,
    component: String,
    manifest: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ServerRow {
    name: String,
    tools: String,
    #[serde(default)]
    tool: Vec<ToolRow>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ToolRow {
    name: String,
    title: Option<String>,
    description: String,
    input_schema: String,
    output_schema: Option<String>,
    annotations: Vec<String>,
}

/// Reads the text of a lock file.
///
/// # Errors
/// What is wrong, as the end of a sentence about the file.
pub(super) fn parse(text: &str) -> Result<LockFile, String> {
    let document: LockDocument = toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        format!("is not valid in line {}: {}; {RENEW}", before.matches('\n').count() + 1, error.message())
    })?;
    if document.version != VERSION {
        let version = document.version;
        return Err(format!("has the version \"{version}\", and this program reads version {VERSION}; {RENEW}"));
    }
    let mut lock = LockFile { path: PathBuf::new(), ..LockFile::default() };
    for row in document.plugin {
        let (component, manifest) = (digest(&row.component)?, row.manifest.as_deref().map(digest).transpose()?);
        if lock.plugins.insert(row.name.clone(), LockedPlugin { component, manifest }).is_some() {
            return Err(format!("has the plugin \"{}\" twice; {RENEW}", row.name.escape_debug()));
        }
    }
    for row in document.mcp_server {
        let tools: Vec<ToolDefinition> = row.tool.into_iter().map(definition).collect::<Result<_, _>>()?;
        let pins = ToolPins::of(&tools);
        if pins.digest() != digest(&row.tools)? {
            let name = row.name.escape_debug();
            return Err(format!("has tools of MCP server \"{name}\" that do not have the digest beside them; {RENEW}"));
        }
        if lock.servers.insert(row.name.clone(), Arc::new(pins)).is_some() {
            return Err(format!("has the MCP server \"{}\" twice; {RENEW}", row.name.escape_debug()));
        }
    }
    Ok(lock)
}

/// The hex digits of `sha256:…`.
fn digest(text: &str) -> Result<String, String> {
    let hex = text.strip_prefix(SHA256).filter(|hex| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()));
    hex.map(str::to_ascii_lowercase).ok_or_else(|| {
        let shown: String = text.chars().take(80).collect();
        format!("has the digest \"{}\", which is not {SHA256} and 64 hexadecimal digits; {RENEW}", shown.escape_debug())
    })
}

fn definition(row: ToolRow) -> Result<ToolDefinition, String> {
    let has = |name: &str| row.annotations.iter().any(|annotation| annotation == name);
    let effects = ToolEffects {
        read_only: has("read-only"),
        destructive: has("destructive"),
        idempotent: has("idempotent"),
        open_world: has("open-world"),
    };
    if effect_names(effects).len() != row.annotations.len() {
        let name = row.name.escape_debug();
        return Err(format!("has an unknown annotation of the tool \"{name}\"; {RENEW}"));
    }
    Ok(ToolDefinition {
        name: row.name,
        description: row.description,
        title: row.title,
        input_schema_json: row.input_schema,
        output_schema_json: row.output_schema,
        as_sent_json: None,
        effects,
    })
}

/// Writes the text of a lock file.
pub(super) fn print(lock: &LockFile) -> String {
    let mut out = format!(
        "# The plugins and the tools of MCP servers that were accepted. `firebox lock` writes this file; commit it.\n\
         version = {VERSION}\n"
    );
    let mut set = |line: String| {
        // Writing to a string cannot fail.
        let _infallible = writeln!(out, "{line}");
    };
    for (name, plugin) in &lock.plugins {
        set(format!("\n[[plugin]]\nname = {}\ncomponent = \"{SHA256}{}\"", quoted(name), plugin.component));
        if let Some(manifest) = &plugin.manifest {
            set(format!("manifest = \"{SHA256}{manifest}\""));
        }
    }
    for (name, pins) in &lock.servers {
        set(format!("\n[[mcp_server]]\nname = {}\ntools = \"{SHA256}{}\"", quoted(name), pins.digest()));
        for tool in pins.tools() {
            set(format!("\n[[mcp_server.tool]]\nname = {}", quoted(&tool.name)));
            if let Some(title) = &tool.title {
                set(format!("title = {}", quoted(title)));
            }
            set(format!("description = {}", quoted(&tool.description)));
            set(format!("input_schema = {}", literal(&tool.input_schema_json)));
            if let Some(schema) = &tool.output_schema_json {
                set(format!("output_schema = {}", literal(schema)));
            }
            set(format!("annotations = {}", list(&effect_names(tool.effects))));
        }
    }
    out
}

/// `text` as a TOML string without escapes where that is possible, so that JSON can be read.
fn literal(text: &str) -> String {
    if text.chars().any(|c| c == '\'' || c.is_control()) { quoted(text) } else { format!("'{text}'") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> LockFile {
        let tool = |name: &str, description: &str, schema: &str| ToolDefinition {
            name: name.to_owned(),
            description: description.to_owned(),
            title: Some("A \"title\"".to_owned()),
            input_schema_json: schema.to_owned(),
            output_schema_json: Some("{}".to_owned()),
            as_sent_json: None,
            effects: ToolEffects { read_only: true, open_world: true, ..ToolEffects::default() },
        };
        let tools = [
            tool("read", "Line one.\nLine \\ \"two\"\u{7f}\t\u{1b}[2J.", r#"{"type":"object","b":1,"a":"it's"}"#),
            tool("añb", "", r#"{"type":"object"}"#),
        ];
        let plugin = |manifest: Option<String>| LockedPlugin { component: "a".repeat(64), manifest };
        LockFile {
            plugins: [("one".to_owned(), plugin(None)), ("two".to_owned(), plugin(Some("b".repeat(64))))].into(),
            servers: [("files".to_owned(), Arc::new(ToolPins::of(&tools))), ("none".to_owned(), Arc::default())].into(),
            path: PathBuf::new(),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let lock = example();
        let text = print(&lock);
        assert_eq!(parse(&text).expect("valid"), lock, "{text}");
        assert!(text.contains("input_schema = '{\"type\":\"object\"}'"), "{text}");
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text}");
    }

    #[test]
    fn a_file_that_was_edited_is_refused() {
        let text = print(&example());
        let rows = [
            (text.replace("Line one", "Line 1"), "do not have the digest"),
            (text.replace("\"read-only\", ", ""), "do not have the digest"),
            (text.replace("read-only", "harmless"), "unknown annotation"),
            (text.replace("version = 1", "version = 2"), "version \"2\""),
            (text.replace(&"a".repeat(64), "abc"), "which is not sha256:"),
            (text.replace("\"two\"\ncomponent", "\"one\"\ncomponent"), "\"one\" twice"),
            (text.replace("\"none\"", "\"files\""), "\"files\" twice"),
            (text.replace("version", "<<<<<<< ours\nversion"), "not valid in line 2"),
            (String::new(), "not valid in line 1"),
            (text.replace("name =", "title_of = \"\\u001b\"\nname ="), "unknown field"),
        ];
        for (bad, expected) in rows {
            let why = parse(&bad).expect_err(expected);
            assert!(why.contains(expected) && why.contains("firebox lock"), "{why} should contain {expected}");
            assert!(!why.contains('\u{1b}'), "{why}");
        }
    }
}
