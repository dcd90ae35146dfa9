//! Reads the tool list of a server, page by page. Tools that cannot be offered are recorded with the reason.

use std::collections::HashSet;

use firebox_contract::ToolDefinition;
use firebox_contract::limits::{
    MCP_CLIENT_LIST_BYTES_MAX, MCP_CLIENT_PAGES_MAX, MCP_CLIENT_REJECTED_TOOLS_LISTED_MAX, MCP_CLIENT_SCHEMA_BYTES_MAX,
    MCP_CLIENT_TOOLS_MAX,
};
use rmcp::model::{ListToolsResult, ServerResult};
use serde_json::Value;

use crate::client::connection::RequestFailure;
use crate::client::connection::definition;
use crate::client::spec::ServerSpec;
use crate::client::wire::{NAMES, REJECTED, excerpt};

/// A tool that is not offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedTool {
    /// Its name, or its position in the list if it has no name. Shortened and without control characters.
    pub name: String,
    /// The reason.
    pub reason: String,
}

/// The part of the list that was read so far.
#[derive(Debug, Default)]
pub(in crate::client) struct Listing {
    pub(in crate::client) tools: Vec<ToolDefinition>,
    pub(in crate::client) rejected: Vec<RejectedTool>,
    /// The number of further rejected tools.
    uncounted: usize,
    names: HashSet<String>,
    pages: usize,
    bytes: usize,
}

impl Listing {
    /// Adds a page. Returns the cursor of the next page, if there is one to read.
    pub(in crate::client) fn page(
        &mut self,
        spec: &ServerSpec,
        answer: ServerResult,
    ) -> Result<Option<String>, RequestFailure> {
        let list = match answer {
            ServerResult::ListToolsResult(list) => list,
            _ => return Err(RequestFailure::Unexpected("its answer is not a list of tools".to_owned())),
        };
        self.pages += 1;
        // Stop here: a server that repeats its pages would otherwise be read up to the page limit.
        if !list.tools.is_empty() && list.tools.iter().all(|tool| self.names.contains(tool.name.as_ref())) {
            self.skip("further pages", "a page has only tools of earlier pages");
            return Ok(None);
        }
        self.add_rejected(&list);
        for tool in &list.tools {
            let fresh = self.names.insert(tool.name.to_string());
            if !spec.offers(&tool.name) {
                continue;
            }
            if !fresh {
                self.skip(&tool.name, "an earlier tool has the same name");
                continue;
            }
            let Some(definition) = definition::definition(tool) else {
                self.skip(&tool.name, &format!("its input schema has more than {MCP_CLIENT_SCHEMA_BYTES_MAX} bytes"));
                continue;
            };
            self.bytes += definition::size(&definition);
            if self.tools.len() >= MCP_CLIENT_TOOLS_MAX {
                self.skip(&tool.name, &format!("the server lists more than {MCP_CLIENT_TOOLS_MAX} tools"));
            } else if self.bytes > MCP_CLIENT_LIST_BYTES_MAX {
                self.skip(&tool.name, &format!("the list has more than {MCP_CLIENT_LIST_BYTES_MAX} bytes"));
            } else {
                self.tools.push(definition);
            }
        }
        let full = self.tools.len() >= MCP_CLIENT_TOOLS_MAX || self.bytes > MCP_CLIENT_LIST_BYTES_MAX;
        let Some(next) = list.next_cursor else { return Ok(None) };
        let reason = match () {
            () if full => "the list is full",
            () if self.pages >= MCP_CLIENT_PAGES_MAX => "there are too many",
            () => return Ok(Some(next)),
        };
        self.skip("further pages", reason);
        Ok(None)
    }

    /// Records the tools that the message reader rejected, and those that rmcp then removed.
    fn add_rejected(&mut self, list: &ListToolsResult) {
        let meta = list.meta.as_ref();
        let texts =
            |key: &str| meta.and_then(|meta| meta.get(key)).and_then(Value::as_array).cloned().unwrap_or_default();
        for pair in texts(REJECTED) {
            if let (Some(name), Some(reason)) = (pair[0].as_str(), pair[1].as_str()) {
                self.skip(name, reason);
            }
        }
        let names = texts(NAMES);
        let there: HashSet<&str> = list.tools.iter().map(|tool| tool.name.as_ref()).collect();
        for name in names.iter().filter_map(Value::as_str).filter(|name| !there.contains(name)) {
            self.skip(name, "its input schema requires a header that cannot be sent");
        }
    }

    fn skip(&mut self, name: &str, reason: &str) {
        if self.rejected.len() < MCP_CLIENT_REJECTED_TOOLS_LISTED_MAX {
            self.rejected.push(RejectedTool { name: excerpt(name, 64), reason: reason.to_owned() });
        } else {
            self.uncounted += 1;
        }
    }

    /// Ends the list, and logs the rejected tools.
    pub(in crate::client) fn finish(mut self, spec: &ServerSpec) -> (Vec<ToolDefinition>, Vec<RejectedTool>) {
        if self.uncounted > 0 {
            let name = format!("{} more", self.uncounted);
            self.rejected.push(RejectedTool { name, reason: "they were rejected for similar reasons".to_owned() });
        }
        for RejectedTool { name, reason } in &mut self.rejected {
            (*name, *reason) = (spec.redact(name), spec.redact(reason));
            tracing::warn!(server = %spec.name, tool = %name, "a tool is not offered: {reason}");
        }
        (self.tools, self.rejected)
    }
}
