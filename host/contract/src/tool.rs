//! Tools beyond the request's own plugins: where they come from, who may call them, and who is asked.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::BoxFuture;
use crate::caller::Caller;
use crate::chat::{ToolCall, ToolDefinition};
use crate::error::Error;
use crate::hook::ToolOutcome;
use crate::limits;

/// A piece of a tool's answer, for readers that can take more than text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToolContent {
    /// Text.
    Text(String),
    /// The text of one JSON value.
    Json(String),
    /// An image, audio or any other bytes.
    Media {
        /// Its type, such as `image/png`.
        mime: String,
        /// The bytes.
        data: Arc<[u8]>,
    },
}

/// A set of tools that may change while the host runs: MCP servers towards the model, plugins towards MCP clients.
pub trait ToolSource: Send + Sync {
    /// The tools this caller may see now; names are unique.
    fn tools<'a>(&'a self, caller: &'a Caller) -> BoxFuture<'a, Vec<ToolDefinition>>;

    /// Runs one call under the source's own timeout; dropping the future cancels it. A tool's own error, a broken
    /// plugin and a lost server are outcomes that the model can read.
    ///
    /// `Err(Error::NotFound)` when the caller has no such tool; any other `Err` ends the request.
    fn call<'a>(
        &'a self,
        caller: &'a Caller,
        call: &'a ToolCall,
        progress: &'a dyn Progress,
    ) -> BoxFuture<'a, Result<ToolOutcome, Error>>;

    /// Who gives each of this caller's tools, as a message names them, by the tool's name. Waits for nobody.
    fn providers(&self, _caller: &Caller) -> HashMap<String, String> {
        HashMap::new()
    }

    /// As [`ToolSource::call`], as part of a request that is known elsewhere by `request_id`.
    fn call_within<'a>(
        &'a self,
        caller: &'a Caller,
        _request_id: Option<&'a str>,
        call: &'a ToolCall,
        progress: &'a dyn Progress,
    ) -> BoxFuture<'a, Result<ToolOutcome, Error>> {
        self.call(caller, call, progress)
    }

    /// The time after which whoever called gives up on this tool, should the source's own timeout not have ended it.
    fn timeout(&self, _tool: &str) -> Duration {
        limits::TOOL_CALL_TIMEOUT
    }

    /// Counts the changes of anybody's list.
    fn revision(&self) -> u64;

    /// Ends when the revision is no longer `seen`, with the new one.
    fn changed(&self, seen: u64) -> BoxFuture<'_, u64>;
}

/// Hears how far a call has come.
pub trait Progress: Send + Sync {
    /// `done` of `total`, and a word about it. Must not block.
    fn report(&self, done: f64, total: Option<f64>, message: Option<&str>);
}

/// Nobody listens.
impl Progress for () {
    fn report(&self, _done: f64, _total: Option<f64>, _message: Option<&str>) {}
}

/// What may be done with a tool. Ordered: the later is the stricter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Permission {
    /// Run it.
    Allow,
    /// Ask first.
    Ask,
    /// Do not offer it, do not run it.
    Deny,
}

/// Which tools a caller's model may call: rules in order, the first that matches decides. The name of a server's tool may
/// have the server's before it (`files__read`), always or only while two servers share it; a rule about the tool's own
/// name then holds as well, where it is the stricter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolPolicy {
    /// `(glob, permission)`; `*` stands for any number of characters, everything else for itself.
    pub rules: Vec<(String, Permission)>,
    /// What holds where no rule matches.
    pub otherwise: Permission,
}

impl ToolPolicy {
    /// Everything that is offered may run.
    pub const ALLOW_ALL: Self = Self { rules: Vec::new(), otherwise: Permission::Allow };

    /// What this policy says about `tool`.
    #[must_use]
    pub fn permission(&self, tool: &str) -> Permission {
        let whole = self.rule(tool).unwrap_or(self.otherwise);
        let ends = tool.as_bytes().windows(2).enumerate().filter(|(_, pair)| *pair == b"__").map(|(at, _)| at + 2);
        let own = ends.filter_map(|at| tool.get(at..)).filter(|name| !name.is_empty());
        own.filter_map(|name| self.rule(name)).fold(whole, Permission::max)
    }

    /// What the first rule that matches says.
    fn rule(&self, name: &str) -> Option<Permission> {
        self.rules.iter().find(|(glob, _)| matches_glob(glob, name)).map(|(_, permission)| *permission)
    }

    /// What this policy and `other` say together about `tool`: the stricter of both, so that a request can tighten
    /// its tenant's policy and never widen it.
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

/// Whether `glob` (with `*` for any run of characters) matches all of `text`. Linear in the length of both but for
/// one factor: no pattern makes it exponential.
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

/// The answer of who was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Approval {
    /// Run it.
    Approve,
    /// Do not run it; the reason is for the model.
    Decline(String),
}

/// Asks a person or a program whether a call may run.
pub trait Approver: Send + Sync {
    /// Waits for the answer, for as long as the approver itself allows. Dropping the future withdraws the question.
    fn approve<'a>(
        &'a self,
        caller: &'a Caller,
        request_id: &'a str,
        call: &'a ToolCall,
        tool: &'a ToolDefinition,
    ) -> BoxFuture<'a, Approval>;
}

/// Which tools the model must, may or must not call.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ToolChoice {
    /// The model decides.
    #[default]
    Auto,
    /// None is offered.
    None,
    /// Some call must come first.
    Required,
    /// A call of this tool must come first.
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
        assert!(!matches_glob(&"*a".repeat(200), &"a".repeat(5_000).replace('a', "b")), "and ends soon");
    }

    #[test]
    fn a_rule_about_a_tool_holds_under_its_servers_name_too_and_never_loosens() {
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
    fn a_request_only_tightens() {
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
