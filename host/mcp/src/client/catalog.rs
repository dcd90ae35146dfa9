//! Which names a caller's tools have. Only the operator's order and the servers' lists decide, never who answers first.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use firebox_contract::ToolDefinition;
use firebox_contract::limits::MCP_CLIENT_TOOL_NAME_BYTES_MAX;
use sha2::{Digest, Sha256};

use super::slot::Slot;

/// What one server offers: its tools under their own names.
pub(super) type Offer = Arc<Vec<ToolDefinition>>;

/// A caller's tools under the names models see.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    entries: Vec<Entry>,
}

/// One tool.
#[derive(Debug)]
pub(super) struct Entry {
    /// Whose it is.
    pub(super) slot: Arc<Slot>,
    /// Its own name.
    pub(super) own: String,
    /// As models see it.
    pub(super) shown: ToolDefinition,
}

impl Catalog {
    /// Names the tools of `offers`, in order.
    pub(super) fn new(offers: Vec<(Arc<Slot>, Offer)>) -> Self {
        let sources: Vec<_> = offers
            .iter()
            .map(|(slot, offer)| Source {
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
                entries.push(Entry { slot: Arc::clone(slot), own: tool.name.clone(), shown });
            }
        }
        Self { entries }
    }

    /// The tool that models call `name`.
    pub(super) fn find(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.shown.name == name)
    }

    /// Every tool, in order.
    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }
}

struct Source<'a> {
    server: &'a str,
    prefix: Option<&'a str>,
    tools: Vec<&'a str>,
}

/// A name for each tool of each source, in order, all different.
fn names(sources: &[Source<'_>]) -> Vec<String> {
    let all = || sources.iter().flat_map(|source| source.tools.iter().map(move |tool| (source, *tool)));
    let base = |(source, tool): (&Source<'_>, &str)| match source.prefix {
        Some(prefix) if !prefix.is_empty() => sayable(&format!("{prefix}__{tool}")),
        _ => sayable(tool),
    };
    let mut names: Vec<String> = all().map(base).collect();
    let shared = repeated(&names);
    for (name, (source, tool)) in names.iter_mut().zip(all()) {
        if shared.contains(name) && source.prefix.is_none_or(str::is_empty) {
            *name = sayable(&format!("{}__{tool}", source.server));
        }
    }
    // What is still the same differed only where models cannot say it.
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

/// Letters, digits, `_` and `-`, as many as models take; a name that is cut ends in a mark of the whole.
fn sayable(name: &str) -> String {
    let said: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') { c } else { '_' }).collect();
    if said.len() > MCP_CLIENT_TOOL_NAME_BYTES_MAX { marked(&said, name) } else { said }
}

/// `name` with eight digits that stand for `whole`.
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
        let sources: Vec<Source<'_>> = sources
            .iter()
            .map(|(server, prefix, tools)| Source { server, prefix: *prefix, tools: tools.to_vec() })
            .collect();
        names(&sources)
    }

    #[test]
    fn names_stay_as_they_are_until_two_servers_share_one() {
        assert_eq!(shown(&[("a", None, &["read", "write"]), ("b", None, &["search"])]), ["read", "write", "search"]);
        assert_eq!(shown(&[("a", None, &["read", "write"]), ("b", None, &["read"])]), ["a__read", "write", "b__read"]);
    }

    #[test]
    fn a_prefix_is_always_there() {
        assert_eq!(shown(&[("a", Some("files"), &["read"]), ("b", None, &["read"])]), ["files__read", "read"]);
        assert_eq!(shown(&[("a", Some(""), &["read"])]), ["read"]);
    }

    #[test]
    fn what_models_cannot_say_is_replaced_and_stays_unique() {
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
    fn a_name_that_looks_like_anothers_prefixed_one_is_told_apart() {
        let names = shown(&[("a", None, &["b__read"]), ("b", None, &["read"]), ("c", None, &["read"])]);
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), 3, "{names:?}");
    }
}
