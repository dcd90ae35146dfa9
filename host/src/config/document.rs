//! A configuration as a tree of values with their locations, merged from file, environment and options.

use std::collections::BTreeMap;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Problems, SourceLocation};

/// The prefix of environment variables that set a key.
const ENV_PREFIX: &str = "FIREBOX_";

pub(super) type TomlTable = BTreeMap<String, Node>;

/// A value and its location.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) at: SourceLocation,
}

#[derive(Debug, Clone)]
pub(super) enum Value {
    Text(String),
    /// Text from the environment or an option. The reader of the key decides its type.
    Raw(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    /// A date or time, as written.
    Moment(String),
    List(Vec<Node>),
    Table(TomlTable),
}

impl Value {
    /// Its type, for a message.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) | Self::Raw(_) => "a text",
            Self::Integer(_) => "a whole number",
            Self::Float(_) => "a number",
            Self::Boolean(_) => "true or false",
            Self::Moment(_) => "a date",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
        }
    }
}

/// Parses the TOML `text` of the file `name`. After a syntax error the rest is still read.
pub(super) fn parse(text: &str, name: &str, problems: &Problems) -> TomlTable {
    let lines = LineIndex::new(text, name);
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let at = lines.origin(error.span().map_or(0, |span| span.start));
        problems.error(&at, format!("invalid TOML: {}", error.message().trim()));
    }
    lines.table(document.get_ref())
}

/// The start of each line of a text.
struct LineIndex {
    source: Arc<str>,
    begins: Vec<usize>,
}

impl LineIndex {
    fn new(text: &str, name: &str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Self { source: Arc::from(name), begins: std::iter::once(0).chain(breaks).collect() }
    }

    fn origin(&self, byte: usize) -> SourceLocation {
        SourceLocation::line(&self.source, self.begins.partition_point(|begin| *begin <= byte))
    }

    fn table(&self, table: &DeTable<'_>) -> TomlTable {
        let entries = table.iter().map(|(key, value)| {
            let at = self.origin(key.span().start);
            (key.get_ref().clone().into_owned(), Node { value: self.value(value), at })
        });
        entries.collect()
    }

    fn value(&self, value: &Spanned<DeValue<'_>>) -> Value {
        match value.get_ref() {
            DeValue::String(text) => Value::Text(text.clone().into_owned()),
            DeValue::Integer(number) => {
                let digits = number.as_str();
                // A number that does not fit is kept as text, so that the reader of the key reports it.
                i64::from_str_radix(digits, number.radix())
                    .map_or_else(|_| Value::Text(digits.to_owned()), Value::Integer)
            }
            DeValue::Float(number) => Value::Float(number.as_str().parse().unwrap_or(f64::NAN)),
            DeValue::Boolean(truth) => Value::Boolean(*truth),
            DeValue::Datetime(moment) => Value::Moment(moment.to_string()),
            DeValue::Array(items) => {
                let items =
                    items.iter().map(|item| Node { value: self.value(item), at: self.origin(item.span().start) });
                Value::List(items.collect())
            }
            DeValue::Table(table) => Value::Table(self.table(table)),
        }
    }
}

/// Sets the keys of environment variables in `tree`: `FIREBOX_SERVER__LISTEN` is `listen` of `[server]`.
pub(super) fn overlay_env(tree: &mut TomlTable, env: impl Iterator<Item = (String, String)>, problems: &Problems) {
    for (name, value) in env {
        let Some(path) = name.strip_prefix(ENV_PREFIX).filter(|_| is_setting(&name)) else { continue };
        let path = path.to_lowercase();
        set(tree, &path.split("__").collect::<Vec<_>>(), value, &SourceLocation::whole(name.as_str()), problems);
    }
}

/// Whether the variable `name` sets a key.
pub(super) fn is_setting(name: &str) -> bool {
    name.strip_prefix(ENV_PREFIX).is_some_and(|path| path.contains("__"))
}

/// Sets the keys of options in `tree`: `("server.listen", …)` is `listen` of `[server]`.
pub(super) fn overlay_flags(tree: &mut TomlTable, flags: &[(String, String)], problems: &Problems) {
    for (path, value) in flags {
        let at = SourceLocation::whole(format!("option {path}"));
        set(tree, &path.split('.').collect::<Vec<_>>(), value.clone(), &at, problems);
    }
}

fn set(tree: &mut TomlTable, path: &[&str], value: String, at: &SourceLocation, problems: &Problems) {
    let Some((last, sections)) = path.split_last() else { return };
    let mut table = tree;
    for section in sections {
        let below = || Node { value: Value::Table(TomlTable::new()), at: at.clone() };
        let node = table.entry((*section).to_owned()).or_insert_with(below);
        let kind = node.value.kind();
        let Value::Table(inner) = &mut node.value else {
            problems.error(at, format!("\"{section}\" is {kind}; set it in the file"));
            return;
        };
        table = inner;
    }
    table.insert((*last).to_owned(), Node { value: Value::Raw(value), at: at.clone() });
}
