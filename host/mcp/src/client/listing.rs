//! The list of a server's tools, page for page; what cannot be offered is named.

use std::collections::HashSet;

use firebox_contract::ToolDefinition;
use firebox_contract::limits::{
    MCP_CLIENT_LIST_BYTES_MAX, MCP_CLIENT_PAGES_MAX, MCP_CLIENT_REJECTED_TOOLS_LISTED_MAX, MCP_CLIENT_SCHEMA_BYTES_MAX,
    MCP_CLIENT_TOOLS_MAX,
};
use rmcp::model::{ListToolsResult, ServerResult};
use serde_json::Value;

use super::connection::Failure;
use super::content;
use super::spec::ServerSpec;
use super::wire::{LEFT_OUT, NAMES, excerpt};

/// A tool that is not offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Its name, or its place where it has none; cut and without control characters.
    pub name: String,
    /// Why.
    pub why: String,
}

/// What was read so far.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) tools: Vec<ToolDefinition>,
    pub(super) left_out: Vec<LeftOut>,
    /// Further ones that are left out.
    uncounted: usize,
    names: HashSet<String>,
    pages: usize,
    bytes: usize,
}

impl Listing {
    /// Takes a page; the cursor of the next, where there is one to read.
    pub(super) fn page(&mut self, spec: &ServerSpec, answer: ServerResult) -> Result<Option<String>, Failure> {
        let list = match answer {
            ServerResult::ListToolsResult(list) => list,
            _ => return Err(Failure::Unexpected("its answer is not a list of tools".to_owned())),
        };
        self.pages += 1;
        // Pages that come again and again would be read to the last that is allowed.
        if !list.tools.is_empty() && list.tools.iter().all(|tool| self.names.contains(tool.name.as_ref())) {
            self.leave_out("further pages", "one holds nothing new");
            return Ok(None);
        }
        self.name_left_out(&list);
        for tool in &list.tools {
            let fresh = self.names.insert(tool.name.to_string());
            if !spec.offers(&tool.name) {
                continue;
            }
            if !fresh {
                self.leave_out(&tool.name, "a tool before it has this name");
                continue;
            }
            let Some(definition) = content::definition(tool) else {
                self.leave_out(
                    &tool.name,
                    &format!("its input schema has more than {MCP_CLIENT_SCHEMA_BYTES_MAX} bytes"),
                );
                continue;
            };
            self.bytes += content::size(&definition);
            if self.tools.len() >= MCP_CLIENT_TOOLS_MAX {
                self.leave_out(
                    &tool.name,
                    &format!("it comes after the {MCP_CLIENT_TOOLS_MAX} tools that a server may have"),
                );
            } else if self.bytes > MCP_CLIENT_LIST_BYTES_MAX {
                self.leave_out(
                    &tool.name,
                    &format!("the tools before it fill the {MCP_CLIENT_LIST_BYTES_MAX} bytes of a list"),
                );
            } else {
                self.tools.push(definition);
            }
        }
        let full = self.tools.len() >= MCP_CLIENT_TOOLS_MAX || self.bytes > MCP_CLIENT_LIST_BYTES_MAX;
        let Some(next) = list.next_cursor else { return Ok(None) };
        let why = match () {
            () if full => "the list is full",
            () if self.pages >= MCP_CLIENT_PAGES_MAX => "there are too many",
            () => return Ok(Some(next)),
        };
        self.leave_out("further pages", why);
        Ok(None)
    }

    /// What the reader of the answer left out, and what rmcp did after it.
    fn name_left_out(&mut self, list: &ListToolsResult) {
        let meta = list.meta.as_ref();
        let texts =
            |key: &str| meta.and_then(|meta| meta.get(key)).and_then(Value::as_array).cloned().unwrap_or_default();
        for pair in texts(LEFT_OUT) {
            if let (Some(name), Some(why)) = (pair[0].as_str(), pair[1].as_str()) {
                self.leave_out(name, why);
            }
        }
        let names = texts(NAMES);
        let there: HashSet<&str> = list.tools.iter().map(|tool| tool.name.as_ref()).collect();
        for name in names.iter().filter_map(Value::as_str).filter(|name| !there.contains(name)) {
            self.leave_out(name, "its input schema wants a header that cannot be sent");
        }
    }

    fn leave_out(&mut self, name: &str, why: &str) {
        if self.left_out.len() < MCP_CLIENT_REJECTED_TOOLS_LISTED_MAX {
            self.left_out.push(LeftOut { name: excerpt(name, 64), why: why.to_owned() });
        } else {
            self.uncounted += 1;
        }
    }

    /// Ends the list, and says in the log what is missing.
    pub(super) fn finish(mut self, spec: &ServerSpec) -> (Vec<ToolDefinition>, Vec<LeftOut>) {
        if self.uncounted > 0 {
            let name = format!("{} more", self.uncounted);
            self.left_out.push(LeftOut { name, why: "they are left out for reasons like these".to_owned() });
        }
        for LeftOut { name, why } in &mut self.left_out {
            (*name, *why) = (spec.redact(name), spec.redact(why));
            tracing::warn!(server = %spec.name, tool = %name, "a tool is not offered: {why}");
        }
        (self.tools, self.left_out)
    }
}
