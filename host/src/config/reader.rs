//! Reads the typed values of a table, and reports wrong values and unknown keys.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::document::{Node, TomlTable, Value};
use super::problem::{KeyForm, Problems, SourceLocation, suggestion};
use crate::system::units;

/// A table of a configuration.
pub(super) struct Section<'a> {
    /// Its name in messages, such as `[server]` or `[[tenant]] "acme"`; empty for the whole file.
    name: String,
    table: Option<&'a TomlTable>,
    /// Its location.
    pub(super) at: SourceLocation,
    asked: BTreeSet<&'static str>,
    problems: &'a Problems,
}

impl<'a> Section<'a> {
    pub(super) fn new(name: String, table: Option<&'a TomlTable>, at: SourceLocation, problems: &'a Problems) -> Self {
        Self { name, table, at, asked: BTreeSet::new(), problems }
    }

    /// Adds the value of its key `name` to its name in messages.
    pub(super) fn called(&mut self, name: &str) {
        self.name = format!("{} \"{name}\"", self.name);
    }

    pub(super) fn error(&self, at: &SourceLocation, message: impl Display) {
        let place = if self.name.is_empty() { String::new() } else { format!("{}: ", self.name) };
        self.problems.error(at, format!("{place}{message}"));
    }

    /// The location of `key`, or of the table if the key is missing.
    pub(super) fn at(&self, key: &str) -> &SourceLocation {
        self.table.and_then(|table| table.get(key)).map_or(&self.at, |node| &node.at)
    }

    pub(super) fn take(&mut self, key: &'static str) -> Option<&'a Node> {
        self.asked.insert(key);
        self.table?.get(key)
    }

    /// Records the type of `key` for the reference page.
    fn note(&self, key: &str, kind: &str, range: impl FnOnce() -> String) {
        self.problems.note(|| {
            let words = self.name.split(' ').filter(|word| !word.starts_with('"'));
            let tables = words.map(|word| word.trim_matches(['[', ']'])).filter(|word| !word.is_empty());
            let path = tables.chain([key]).collect::<Vec<_>>().join(".");
            KeyForm { path, kind: kind.to_owned(), range: range() }
        });
    }

    fn mismatch<T>(&self, key: &str, node: &Node, wanted: &str) -> Option<T> {
        self.error(&node.at, format!("\"{key}\" is {}, but must be {wanted}", node.value.kind()));
        None
    }

    pub(super) fn text(&mut self, key: &'static str) -> Option<String> {
        self.note(key, "text", String::new);
        let node = self.take(key)?;
        match &node.value {
            Value::Text(text) | Value::Raw(text) => Some(text.clone()),
            _ => self.mismatch(key, node, "a text in quotes"),
        }
    }

    /// A required text that is not empty.
    pub(super) fn required(&mut self, key: &'static str) -> Option<String> {
        self.note(key, "text", String::new);
        if self.take(key).is_none() {
            self.error(&self.at, format!("\"{key}\" is missing"));
            return None;
        }
        let text = self.text(key)?;
        if text.trim().is_empty() {
            self.error(self.at(key), format!("\"{key}\" is empty"));
            return None;
        }
        Some(text)
    }

    /// A text that `parse` accepts.
    pub(super) fn parsed<T>(&mut self, key: &'static str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        self.note(key, "text", String::new);
        let text = match &self.take(key)?.value {
            Value::Moment(text) => text.clone(),
            _ => self.text(key)?,
        };
        parse(&text).map_err(|why| self.error(self.at(key), format!("\"{key}\": {why}"))).ok()
    }

    pub(super) fn choice<T: Copy>(&mut self, key: &'static str, choices: &[(&str, T)]) -> Option<T> {
        self.note(key, &one_of(choices), String::new);
        self.parsed(key, |text| pick(text, choices))
    }

    pub(super) fn boolean(&mut self, key: &'static str) -> Option<bool> {
        self.note(key, "boolean", String::new);
        let node = self.take(key)?;
        match &node.value {
            Value::Boolean(truth) => Some(*truth),
            Value::Raw(text) if text == "true" => Some(true),
            Value::Raw(text) if text == "false" => Some(false),
            _ => self.mismatch(key, node, "true or false"),
        }
    }

    pub(super) fn integer(&mut self, key: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        self.note(key, "integer", || match *range.end() {
            end if end >= i64::MAX as u64 => format!("{} or more", range.start()),
            end => format!("{} to {end}", range.start()),
        });
        let node = self.take(key)?;
        let number = match &node.value {
            Value::Integer(number) => Some(i128::from(*number)),
            Value::Raw(text) => text.trim().parse().ok(),
            _ => None,
        };
        let Some(number) = number else { return self.mismatch(key, node, "a whole number") };
        let inside = u64::try_from(number).ok().filter(|number| range.contains(number));
        if inside.is_none() {
            let (low, high) = (range.start(), range.end());
            self.error(&node.at, format!("\"{key}\" is \"{number}\", but must be between {low} and {high}"));
        }
        inside
    }

    pub(super) fn count(&mut self, key: &'static str, range: RangeInclusive<usize>) -> Option<usize> {
        let range = *range.start() as u64..=*range.end() as u64;
        self.integer(key, range).and_then(|number| usize::try_from(number).ok())
    }

    pub(super) fn time(&mut self, key: &'static str, range: RangeInclusive<Duration>) -> Option<Duration> {
        self.note(key, "time", || format!("`{}` to `{}`", units::time(*range.start()), units::time(*range.end())));
        self.parsed(key, |text| {
            let time = units::parse_time(text, None)?;
            let (low, high) = (units::time(*range.start()), units::time(*range.end()));
            if range.contains(&time) { Ok(time) } else { Err(format!("\"{text}\" is not between {low} and {high}")) }
        })
    }

    pub(super) fn size(&mut self, key: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        self.note(key, "size", || format!("`{}` to `{}`", units::size(*range.start()), units::size(*range.end())));
        self.parsed(key, |text| {
            let bytes = units::parse_size(text, None)?;
            let (low, high) = (units::size(*range.start()), units::size(*range.end()));
            if range.contains(&bytes) { Ok(bytes) } else { Err(format!("\"{text}\" is not between {low} and {high}")) }
        })
    }

    /// A list of texts. In the environment they are separated by commas.
    pub(super) fn texts(&mut self, key: &'static str) -> Option<Vec<String>> {
        self.note(key, "list of texts", String::new);
        let node = self.take(key)?;
        match &node.value {
            Value::Raw(text) => {
                Some(text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect())
            }
            Value::List(items) => {
                let text = |item: &Node| match &item.value {
                    Value::Text(text) => Some(text.clone()),
                    _ => self.mismatch(key, item, "a list of texts"),
                };
                Some(items.iter().filter_map(text).collect())
            }
            _ => self.mismatch(key, node, "a list of texts"),
        }
    }

    /// A list of values of `choices`.
    pub(super) fn choices<T: Copy>(&mut self, key: &'static str, choices: &[(&str, T)]) -> Option<Vec<T>> {
        self.note(key, &format!("list of {}", one_of(choices)), String::new);
        let words = self.texts(key)?;
        let pick =
            |word: &String| pick(word, choices).map_err(|why| self.error(self.at(key), format!("\"{key}\": {why}")));
        Some(words.iter().filter_map(|word| pick(word).ok()).collect())
    }

    /// A table with arbitrary keys.
    pub(super) fn table(&mut self, key: &'static str) -> Option<&'a TomlTable> {
        self.note(key, "table", String::new);
        let node = self.take(key)?;
        match &node.value {
            Value::Table(table) => Some(table),
            _ => self.mismatch(key, node, "a table"),
        }
    }

    pub(super) fn section(&mut self, key: &'static str) -> Section<'a> {
        let at = self.at(key).clone();
        let name = if self.name.is_empty() { format!("[{key}]") } else { format!("{} {key}", self.name) };
        let table = self.table(key);
        Section::new(name, table, at, self.problems)
    }

    /// The tables of `[[key]]`, in order. `path` is the full name, such as `mcp.server`.
    pub(super) fn sections(&mut self, key: &'static str, path: &str) -> Vec<Section<'a>> {
        let Some(node) = self.take(key) else { return Vec::new() };
        let wanted = format!("a list of tables ([[{path}]])");
        let Value::List(items) = &node.value else {
            let _none: Option<()> = self.mismatch(key, node, &wanted);
            return Vec::new();
        };
        let below = |item: &'a Node| match &item.value {
            Value::Table(table) => {
                Some(Section::new(format!("[[{path}]]"), Some(table), item.at.clone(), self.problems))
            }
            _ => self.mismatch(key, item, &wanted),
        };
        items.iter().filter_map(below).collect()
    }

    /// Reports the unknown keys.
    pub(super) fn finish(self) {
        for (key, node) in self.table.into_iter().flatten() {
            if !self.asked.contains(key.as_str()) {
                let near = suggestion(key, self.asked.iter().copied());
                self.error(&node.at, format!("unknown key \"{key}\"{near}"));
            }
        }
    }
}

/// `"a", "b" or "c"`, as the reference page shows them.
fn one_of<T>(choices: &[(&str, T)]) -> String {
    let names: Vec<String> = choices.iter().map(|choice| format!("`{}`", choice.0)).collect();
    match names.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => names.concat(),
    }
}

fn pick<T: Copy>(word: &str, choices: &[(&str, T)]) -> Result<T, String> {
    let found = choices.iter().find(|row| row.0 == word).map(|row| row.1);
    found.ok_or_else(|| format!("unknown value \"{word}\"{}", suggestion(word, choices.iter().map(|row| row.0))))
}
