//! A configuration as a tree in which every value knows where it comes from, laid together from its layers.

use std::collections::BTreeMap;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Origin, Problems};

/// The prefix of variables of the environment that set a value.
const ENV_PREFIX: &str = "FIREBOX_";

pub(super) type Table = BTreeMap<String, Node>;

/// A value and its origin.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) at: Origin,
}

#[derive(Debug, Clone)]
pub(super) enum Value {
    Text(String),
    /// From the environment or an option: what reads it decides its type.
    Raw(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    /// As it is written.
    Moment(String),
    List(Vec<Node>),
    Table(Table),
}

impl Value {
    /// What it is, for a sentence.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) | Self::Raw(_) => "a text",
            Self::Integer(_) => "a whole number",
            Self::Float(_) => "a number",
            Self::Boolean(_) => "true or false",
            Self::Moment(_) => "a moment",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
        }
    }
}

/// Parses the TOML `text` of the file called `name`. What does not parse is a problem, and the rest is read on.
pub(super) fn parse(text: &str, name: &str, problems: &Problems) -> Table {
    let lines = Lines::new(text, name);
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let at = lines.origin(error.span().map_or(0, |span| span.start));
        problems.error(&at, format!("is not TOML: {}", error.message().trim()));
    }
    lines.table(document.get_ref())
}

/// Where the lines of a text begin.
struct Lines {
    source: Arc<str>,
    begins: Vec<usize>,
}

impl Lines {
    fn new(text: &str, name: &str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Self { source: Arc::from(name), begins: std::iter::once(0).chain(breaks).collect() }
    }

    fn origin(&self, byte: usize) -> Origin {
        Origin::line(&self.source, self.begins.partition_point(|begin| *begin <= byte))
    }

    fn table(&self, table: &DeTable<'_>) -> Table {
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
                // What does not fit is kept as text, and its reader says what it wanted.
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

/// Lays what the environment sets over `tree`: `FIREBOX_SERVER__LISTEN` is `listen` of `[server]`.
pub(super) fn overlay_env(tree: &mut Table, env: impl Iterator<Item = (String, String)>, problems: &Problems) {
    for (name, value) in env {
        let Some(path) = name.strip_prefix(ENV_PREFIX).filter(|_| is_setting(&name)) else { continue };
        let path = path.to_lowercase();
        set(tree, &path.split("__").collect::<Vec<_>>(), value, &Origin::whole(name.as_str()), problems);
    }
}

/// Whether the variable `name` is a value of the configuration.
pub(super) fn is_setting(name: &str) -> bool {
    name.strip_prefix(ENV_PREFIX).is_some_and(|path| path.contains("__"))
}

/// Lays options over `tree`: `("server.listen", …)` is `listen` of `[server]`.
pub(super) fn overlay_flags(tree: &mut Table, flags: &[(String, String)], problems: &Problems) {
    for (path, value) in flags {
        let at = Origin::whole(format!("option {path}"));
        set(tree, &path.split('.').collect::<Vec<_>>(), value.clone(), &at, problems);
    }
}

fn set(tree: &mut Table, path: &[&str], value: String, at: &Origin, problems: &Problems) {
    let Some((last, sections)) = path.split_last() else { return };
    let mut table = tree;
    for section in sections {
        let below = || Node { value: Value::Table(Table::new()), at: at.clone() };
        let node = table.entry((*section).to_owned()).or_insert_with(below);
        let kind = node.value.kind();
        let Value::Table(inner) = &mut node.value else {
            problems.error(at, format!("\"{section}\" is {kind}, which only the file can set; write it there"));
            return;
        };
        table = inner;
    }
    table.insert((*last).to_owned(), Node { value: Value::Raw(value), at: at.clone() });
}
