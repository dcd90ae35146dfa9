//! The difference between two lock files, for people.

use std::fmt::Write as _;
use std::sync::Arc;

use firebox_contract::{ToolDefinition, limits};
use firebox_mcp::client::{ToolChange, ToolPins, effect_names};

use super::{LockFile, LockedPlugin};
use crate::cli::output::line;

/// Characters that are shown before the first difference of two long texts.
const CONTEXT_CHARACTERS: usize = 100;

/// The lines of a difference, and how many things differ.
#[derive(Debug, Default)]
pub(crate) struct LockDiff {
    /// The lines, with line feeds.
    pub(crate) text: String,
    /// Plugins and tools that were added, changed or removed.
    pub(crate) changes: usize,
}

impl LockDiff {
    /// The difference from `before` to `after`.
    pub(crate) fn of(before: &LockFile, after: &LockFile) -> Self {
        let mut diff = Self::default();
        for name in before.plugins.keys().chain(after.plugins.keys().filter(|name| !before.plugins.contains_key(*name)))
        {
            diff.plugin(name, before.plugins.get(name), after.plugins.get(name));
        }
        let names = before.servers.keys();
        for name in names.chain(after.servers.keys().filter(|name| !before.servers.contains_key(*name))) {
            diff.server(name, before.servers.get(name), after.servers.get(name));
        }
        diff
    }

    fn head(&mut self, text: &str) {
        self.changes += 1;
        self.line(text);
    }

    fn line(&mut self, text: &str) {
        // Writing to a string cannot fail.
        let _infallible = writeln!(self.text, "{text}");
    }

    fn plugin(&mut self, name: &str, before: Option<&LockedPlugin>, after: Option<&LockedPlugin>) {
        if before == after {
            return;
        }
        self.head(&format!("plugin \"{}\"{}", visible(name), verb(before.is_some(), after.is_some())));
        let digest = |plugin: Option<&LockedPlugin>| plugin.map(|plugin| format!("sha256:{}", plugin.component));
        self.part("component", digest(before), digest(after));
        let manifest = |plugin: Option<&LockedPlugin>| Some(format!("sha256:{}", plugin?.manifest.as_ref()?));
        self.part("manifest", manifest(before), manifest(after));
    }

    fn server(&mut self, name: &str, before: Option<&Arc<ToolPins>>, after: Option<&Arc<ToolPins>>) {
        let server = format!("mcp server \"{}\"", visible(name));
        if before.is_none() || after.is_none() {
            self.head(&format!("{server}{}", verb(before.is_some(), after.is_some())));
        }
        let none = ToolPins::default();
        for change in before.map_or(&none, |pins| pins).changes(after.map_or(&none, |pins| pins)) {
            match change {
                ToolChange::Added(tool) => {
                    self.head(&format!("{server}, tool \"{}\" added", visible(&tool.name)));
                    parts(&tool).into_iter().for_each(|(part, text)| self.part(part, None, Some(text)));
                }
                ToolChange::Removed(tool) => {
                    self.head(&format!("{server}, tool \"{}\" removed", visible(&tool.name)));
                    parts(&tool).into_iter().for_each(|(part, text)| self.part(part, Some(text), None));
                }
                ToolChange::Changed { tool, part, before, after } => {
                    self.head(&format!("{server}, tool \"{}\"", visible(&tool)));
                    self.part(part, Some(before), Some(after));
                }
            }
        }
    }

    /// The lines of a part that differs. Both begin near the first difference if they are long.
    fn part(&mut self, part: &str, before: Option<String>, after: Option<String>) {
        if before == after {
            return;
        }
        let skipped = match (&before, &after) {
            (Some(before), Some(after)) => before.chars().zip(after.chars()).take_while(|(a, b)| a == b).count(),
            _ => 0,
        };
        let long = |text: &Option<String>| {
            text.as_ref().is_some_and(|text| text.chars().count() > limits::LOCK_DIFF_CHARACTERS_MAX)
        };
        let skipped = if long(&before) || long(&after) { skipped.saturating_sub(CONTEXT_CHARACTERS) } else { 0 };
        for (sign, text) in [('-', before), ('+', after)] {
            if let Some(text) = text {
                let shown: String = text.chars().skip(skipped).collect();
                let mark = if skipped > 0 { "…" } else { "" };
                self.line(&format!("  {sign} {part}: {mark}{}", visible(&shown)));
            }
        }
    }
}

/// The parts of a tool that has no counterpart.
fn parts(tool: &ToolDefinition) -> Vec<(&'static str, String)> {
    let rows = [
        ("title", tool.title.clone()),
        ("description", Some(tool.description.clone())),
        ("input schema", Some(tool.input_schema_json.clone())),
        ("output schema", tool.output_schema_json.clone()),
        ("annotations", Some(effect_names(tool.effects).join(", "))),
    ];
    rows.into_iter().filter_map(|(part, text)| Some((part, text.filter(|text| !text.is_empty())?))).collect()
}

fn verb(before: bool, after: bool) -> &'static str {
    match (before, after) {
        (false, _) => " added",
        (_, false) => " removed",
        _ => " changed",
    }
}

/// `text` on one line, with escapes for what a reader would not see.
fn visible(text: &str) -> String {
    let mut shown = String::new();
    for c in text.chars().take(limits::LOCK_DIFF_CHARACTERS_MAX + 1) {
        match c {
            '\n' => shown.push_str("\\n"),
            '\r' | '\t' | '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{2064}' | '\u{feff}' => {
                shown.extend(c.escape_unicode());
            }
            c => shown.push(c),
        }
    }
    line(&shown, limits::LOCK_DIFF_CHARACTERS_MAX)
}

#[cfg(test)]
mod tests {
    use firebox_contract::ToolEffects;

    use super::*;

    fn lock(component: &str, tools: &[(&str, &str)]) -> LockFile {
        let tool = |(name, description): &(&str, &str)| ToolDefinition {
            name: (*name).to_owned(),
            description: (*description).to_owned(),
            title: None,
            input_schema_json: "{}".to_owned(),
            output_schema_json: None,
            as_sent_json: None,
            effects: ToolEffects::default(),
        };
        let tools: Vec<ToolDefinition> = tools.iter().map(tool).collect();
        let plugin = LockedPlugin { component: component.to_owned(), manifest: None };
        LockFile {
            plugins: [("p".to_owned(), plugin)].into(),
            servers: [("s".to_owned(), Arc::new(ToolPins::of(&tools)))].into(),
            ..LockFile::default()
        }
    }

    #[test]
    fn a_difference_shows_old_and_new_texts() {
        let (old, new) = (
            lock("aa", &[("read", "Reads."), ("gone", "")]),
            lock("bb", &[("read", "Reads.\u{200b}\nNow!"), ("new", "New.")]),
        );
        let diff = LockDiff::of(&old, &new);
        assert_eq!(diff.changes, 4, "{}", diff.text);
        assert_eq!(
            diff.text,
            "plugin \"p\" changed\n  - component: sha256:aa\n  + component: sha256:bb\n\
             mcp server \"s\", tool \"gone\" removed\n  - input schema: {}\n\
             mcp server \"s\", tool \"read\"\n  - description: Reads.\n  + description: Reads.\\u{200b}\\nNow!\n\
             mcp server \"s\", tool \"new\" added\n  + description: New.\n  + input schema: {}\n"
        );
        assert_eq!(LockDiff::of(&old, &old).changes, 0);
        assert_eq!(LockDiff::of(&old, &old).text, "");
    }

    #[test]
    fn a_change_at_the_end_of_a_long_text_is_shown() {
        let long = "x".repeat(2 * limits::LOCK_DIFF_CHARACTERS_MAX);
        let (old, new) = (format!("{long} old"), format!("{long} new"));
        let diff = LockDiff::of(&lock("a", &[("t", &old)]), &lock("a", &[("t", &new)]));
        assert!(diff.text.contains("x old\n") && diff.text.contains("x new\n"), "{}", diff.text);
        assert!(diff.text.len() < 1_000, "{}", diff.text);
    }
}
