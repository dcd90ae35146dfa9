//! The names of a caller's tools. They depend on the operator's order of servers and on the servers' lists, and not on which
//! server answers first.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use firebox_contract::ToolDefinition;
use firebox_contract::limits::MCP_CLIENT_TOOL_NAME_BYTES_MAX;
use sha2::{Digest, Sha256};

use crate::client::pool::slot::Slot;

/// The tools that one server offers, with their own names.
pub(in crate::client) type OfferedTools = Arc<Vec<ToolDefinition>>;

/// A caller's tools with the names that models see.
#[derive(Debug, Default)]
pub(in crate::client) struct Catalog {
    entries: Vec<CatalogEntry>,
}

/// One tool of a catalog.
#[derive(Debug)]
pub(in crate::client) struct CatalogEntry {
    /// The connection slot of its server.
    pub(in crate::client) slot: Arc<Slot>,
    /// The name that the server gives it.
    pub(in crate::client) own: String,
    /// The definition that models see.
    pub(in crate::client) shown: ToolDefinition,
}

impl Catalog {
    /// Gives names to the tools of `offers`, in order.
    pub(in crate::client) fn new(offers: Vec<(Arc<Slot>, OfferedTools)>) -> Self {
        let sources: Vec<_> = offers
            .iter()
            .map(|(slot, offer)| ServerTools {
                server: &slot.spec.name,
                prefix: slot.spec.prefix.as_deref(),
                tools: offer.iter().map(|tool| tool.name.as_str()).collect(),
            })
            .collect();
        let mut names = names(&sources).into_iter();
        let mut entries = Vec::new();
        for (slot, offer) in &offers {
            for (tool, name) in offer.iter().zip(names.by_ref()) {
                let shown = ToolDefinition { name, ..tool.clone() };
                entries.push(CatalogEntry { slot: Arc::clone(slot), own: tool.name.clone(), shown });
            }
        }
        Self { entries }
    }

    /// The tool whose name for models is `name`.
    pub(in crate::client) fn find(&self, name: &str) -> Option<&CatalogEntry> {
        self.entries.iter().find(|entry| entry.shown.name == name)
    }

    /// Every tool, in order.
    pub(in crate::client) fn entries(&self) -> &[CatalogEntry] {
        &self.entries
    }
}

/// The tools of one server, as far as their names depend on it.
struct ServerTools<'a> {
    server: &'a str,
    prefix: Option<&'a str>,
    tools: Vec<&'a str>,
}

/// A unique name for each tool of each server, in order.
fn names(sources: &[ServerTools<'_>]) -> Vec<String> {
    let all = || sources.iter().flat_map(|source| source.tools.iter().map(move |tool| (source, *tool)));
    let base = |(source, tool): (&ServerTools<'_>, &str)| match source.prefix {
        Some(prefix) if !prefix.is_empty() => writable(&format!("{prefix}__{tool}")),
        _ => writable(tool),
    };
    let mut names: Vec<String> = all().map(base).collect();
    let shared = repeated(&names);
    for (name, (source, tool)) in names.iter_mut().zip(all()) {
        if shared.contains(name) && source.prefix.is_none_or(str::is_empty) {
            *name = writable(&format!("{}__{tool}", source.server));
        }
    }
    // Names that are still equal differ only in characters that were replaced.
    let shared = repeated(&names);
    for (name, (source, tool)) in names.iter_mut().zip(all()) {
        if shared.contains(name) {
            *name = marked(name, &format!("{}\0{tool}", source.server));
        }
    }
    names
}

fn repeated(names: &[String]) -> HashSet<String> {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for name in names {
        *counts.entry(name).or_default() += 1;
    }
    counts.into_iter().filter(|(_, count)| *count > 1).map(|(name, _)| name.to_owned()).collect()
}

/// `name` with `_` for every character that models cannot write. A name that is too long is cut and ends in a digest of the
/// whole name.
fn writable(name: &str) -> String {
    let replaced: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') { c } else { '_' }).collect();
    if replaced.len() > MCP_CLIENT_TOOL_NAME_BYTES_MAX { marked(&replaced, name) } else { replaced }
}

/// `name` followed by eight hexadecimal digits of the digest of `whole`.
fn marked(name: &str, whole: &str) -> String {
    let digest = Sha256::digest(whole.as_bytes());
    let mark: String = digest[..4].iter().map(|byte| format!("{byte:02x}")).collect();
    let keep = name.len().min(MCP_CLIENT_TOOL_NAME_BYTES_MAX - 9);
    format!("{}_{mark}", &name[..keep])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(sources: &[(&str, Option<&str>, &[&str])]) -> Vec<String> {
        let sources: Vec<ServerTools<'_>> = sources
            .iter()
            .map(|(server, prefix, tools)| ServerTools { server, prefix: *prefix, tools: tools.to_vec() })
            .collect();
        names(&sources)
    }

    #[test]
    fn a_name_is_qualified_only_if_two_servers_have_it() {
        assert_eq!(shown(&[("a", None, &["read", "write"]), ("b", None, &["search"])]), ["read", "write", "search"]);
        assert_eq!(shown(&[("a", None, &["read", "write"]), ("b", None, &["read"])]), ["a__read", "write", "b__read"]);
    }

    #[test]
    fn a_prefix_is_always_part_of_the_name() {
        assert_eq!(shown(&[("a", Some("files"), &["read"]), ("b", None, &["read"])]), ["files__read", "read"]);
        assert_eq!(shown(&[("a", Some(""), &["read"])]), ["read"]);
    }

    #[test]
    fn characters_that_models_cannot_write_are_replaced_and_names_stay_unique() {
        let names = shown(&[("a", None, &["get.it", "get_it", "größe", "x y"])]);
        assert!(names.iter().all(|name| name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))));
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), 4, "{names:?}");
        assert_eq!(names[3], "x_y");
    }

    #[test]
    fn long_names_are_cut_and_stay_unique() {
        let long = "n".repeat(100);
        let (one, two) = (format!("{long}1"), format!("{long}2"));
        let names = shown(&[("a", None, &[&one, &two])]);
        assert!(names.iter().all(|name| name.len() <= MCP_CLIENT_TOOL_NAME_BYTES_MAX), "{names:?}");
        assert_ne!(names[0], names[1]);
    }

    #[test]
    fn a_name_that_looks_like_a_qualified_name_stays_unique() {
        let names = shown(&[("a", None, &["b__read"]), ("b", None, &["read"]), ("c", None, &["read"])]);
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), 3, "{names:?}");
    }
}
