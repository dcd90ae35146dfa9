//! Tools that do not come from the request's plugins: their source, their policy and their approval.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::BoxFuture;
use crate::caller::Caller;
use crate::chat::{ToolCall, ToolDefinition};
use crate::error::Error;
use crate::hook::ToolOutcome;
use crate::limits;

/// A block of a tool's result, for readers that use more than text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToolContent {
    /// Text.
    Text(String),
    /// The text of a JSON value.
    Json(String),
    /// An image, audio or other bytes.
    Media {
        /// The media type, such as `image/png`.
        mime: String,
        /// The bytes.
        data: Arc<[u8]>,
    },
}

/// A set of tools that may change while the host runs: those of MCP servers for the model, those of plugins for MCP
/// clients.
pub trait ToolSource: Send + Sync {
    /// The tools of this caller. Names are unique.
    fn tools<'a>(&'a self, caller: &'a Caller) -> BoxFuture<'a, Vec<ToolDefinition>>;

    /// Runs a call under the source's own timeout. Dropping the future cancels it. A tool's own error, a plugin's fault and
    /// a lost connection are outcomes that the model can read.
    ///
    /// `Err(Error::NotFound)` if the caller has no such tool. Any other error ends the request.
    fn call<'a>(
        &'a self,
        caller: &'a Caller,
        call: &'a ToolCall,
        progress: &'a dyn Progress,
    ) -> BoxFuture<'a, Result<ToolOutcome, Error>>;

    /// The providers of this caller's tools, as messages name them, by the tool's name. It does not wait for servers.
    fn providers(&self, _caller: &Caller) -> HashMap<String, String> {
        HashMap::new()
    }

    /// As [`ToolSource::call`], as part of the request `request_id`.
    fn call_within<'a>(
        &'a self,
        caller: &'a Caller,
        _request_id: Option<&'a str>,
        call: &'a ToolCall,
        progress: &'a dyn Progress,
    ) -> BoxFuture<'a, Result<ToolOutcome, Error>> {
        self.call(caller, call, progress)
    }

    /// The time after which the engine ends a call of this tool, if the source's own timeout did not end it.
    fn timeout(&self, _tool: &str) -> Duration {
        limits::TOOL_CALL_TIMEOUT
    }

    /// The number of changes of any caller's tools so far.
    fn revision(&self) -> u64;

    /// Completes when the revision differs from `seen`, with the new one.
    fn changed(&self, seen: u64) -> BoxFuture<'_, u64>;
}

/// Receives progress reports of a call.
pub trait Progress: Send + Sync {
    /// Reports that `done` of `total` is done, with a message. Must not block.
    fn report(&self, done: f64, total: Option<f64>, message: Option<&str>);
}

/// Ignores all reports.
impl Progress for () {
    fn report(&self, _done: f64, _total: Option<f64>, _message: Option<&str>) {}
}

/// The permission of a tool, from the least to the most strict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Permission {
    /// The tool may run.
    Allow,
    /// Each call needs approval.
    Ask,
    /// The tool is neither offered nor run.
    Deny,
}

/// The permissions of tools: a list of rules, of which the first match decides. A tool of an MCP server may have the
/// server's name as a prefix (`files__read`). A rule for the tool's own name applies to it too, if it is stricter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolPolicy {
    /// `(glob, permission)`. `*` matches any number of characters; every other character matches itself.
    pub rules: Vec<(String, Permission)>,
    /// The permission if no rule matches.
    pub otherwise: Permission,
}

impl ToolPolicy {
    /// Allows every tool.
    pub const ALLOW_ALL: Self = Self { rules: Vec::new(), otherwise: Permission::Allow };

    /// The permission of `tool`.
    #[must_use]
    pub fn permission(&self, tool: &str) -> Permission {
        let whole = self.rule(tool).unwrap_or(self.otherwise);
        let ends = tool.as_bytes().windows(2).enumerate().filter(|(_, pair)| *pair == b"__").map(|(at, _)| at + 2);
        let own = ends.filter_map(|at| tool.get(at..)).filter(|name| !name.is_empty());
        own.filter_map(|name| self.rule(name)).fold(whole, Permission::max)
    }

    /// The permission of the first rule that matches.
    fn rule(&self, name: &str) -> Option<Permission> {
        self.rules.iter().find(|(glob, _)| matches_glob(glob, name)).map(|(_, permission)| *permission)
    }

    /// The stricter permission of this policy and `other`. A request can therefore tighten its tenant's policy but never
    /// widen it.
    #[must_use]
    pub fn stricter(&self, other: &Self, tool: &str) -> Permission {
        self.permission(tool).max(other.permission(tool))
    }
}

impl Default for ToolPolicy {
    fn default() -> Self {
        Self::ALLOW_ALL
    }
}

/// Whether `glob` (with `*` for any number of characters) matches the whole `text`. The time is at most proportional to
/// the product of both lengths.
#[must_use]
pub fn matches_glob(glob: &str, text: &str) -> bool {
    let (glob, text) = (glob.as_bytes(), text.as_bytes());
    let (mut at, mut seen, mut star) = (0, 0, None);
    while seen < text.len() {
        if glob.get(at) == Some(&b'*') {
            star = Some((at, seen));
            at += 1;
        } else if glob.get(at) == Some(&text[seen]) {
            at += 1;
            seen += 1;
        } else if let Some((star_at, from)) = star {
            star = Some((star_at, from + 1));
            at = star_at + 1;
            seen = from + 1;
        } else {
            return false;
        }
    }
    glob[at..].iter().all(|byte| *byte == b'*')
}

/// The decision of an approver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Approval {
    /// The call may run.
    Approve,
    /// The call must not run. The reason is for the model.
    Decline(String),
}

/// Asks a person or a program to approve tool calls.
pub trait Approver: Send + Sync {
    /// Waits for the decision, up to the approver's own time limit. Dropping the future withdraws the question.
    fn approve<'a>(
        &'a self,
        caller: &'a Caller,
        request_id: &'a str,
        call: &'a ToolCall,
        tool: &'a ToolDefinition,
    ) -> BoxFuture<'a, Approval>;
}

/// Whether and what the model must call.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ToolChoice {
    /// The model decides.
    #[default]
    Auto,
    /// No tools are offered.
    None,
    /// The answer must begin with a call of any tool.
    Required,
    /// The answer must begin with a call of this tool.
    Named(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_whole_names() {
        let cases = [
            ("*", "anything", true),
            ("", "", true),
            ("", "a", false),
            ("fs.*", "fs.read", true),
            ("fs.*", "gfs.read", false),
            ("*_read", "file_read", true),
            ("*_read", "file_reader", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("exact", "exact", true),
            ("exact", "exactly", false),
        ];
        for (glob, text, expected) in cases {
            assert_eq!(matches_glob(glob, text), expected, "{glob} on {text}");
        }
        assert!(
            !matches_glob(&"*a".repeat(200), &"a".repeat(5_000).replace('a', "b")),
            "and takes no exponential time"
        );
    }

    #[test]
    fn a_rule_for_a_tool_applies_with_its_servers_prefix_and_never_widens() {
        let rules = |rules: &[(&str, Permission)]| rules.iter().map(|(glob, p)| ((*glob).to_owned(), *p)).collect();
        let open = ToolPolicy {
            rules: rules(&[("write*", Permission::Deny), ("read", Permission::Ask)]),
            otherwise: Permission::Allow,
        };
        for (tool, expected) in [
            ("write_file", Permission::Deny),
            ("files__write_file", Permission::Deny),
            ("a__b__read", Permission::Ask),
            ("files__reader", Permission::Allow),
            ("rewrite", Permission::Allow),
            ("files__", Permission::Allow),
            ("files___write", Permission::Deny),
        ] {
            assert_eq!(open.permission(tool), expected, "{tool}");
        }
        let closed = ToolPolicy {
            rules: rules(&[("read", Permission::Allow), ("web__*", Permission::Allow)]),
            otherwise: Permission::Deny,
        };
        for (tool, expected) in [
            ("read", Permission::Allow),
            ("files__read", Permission::Deny),
            ("web__search", Permission::Allow),
            ("web__read", Permission::Allow),
        ] {
            assert_eq!(closed.permission(tool), expected, "{tool}");
        }
    }

    #[test]
    fn a_request_only_tightens_the_policy() {
        let tenant = ToolPolicy {
            rules: vec![("fs.*".to_owned(), Permission::Deny), ("web.*".to_owned(), Permission::Ask)],
            otherwise: Permission::Allow,
        };
        let wide = ToolPolicy::ALLOW_ALL;
        let tight = ToolPolicy { rules: Vec::new(), otherwise: Permission::Ask };
        assert_eq!(tenant.stricter(&wide, "fs.read"), Permission::Deny);
        assert_eq!(tenant.stricter(&tight, "calculator"), Permission::Ask);
        assert_eq!(tenant.stricter(&tight, "fs.read"), Permission::Deny);
    }
}
