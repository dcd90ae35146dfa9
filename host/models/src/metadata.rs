//! The keys of a checkpoint's metadata files: which are read, and which are known to have no effect.
//!
//! Each file has a table, and each key a row. A key without a row is named in a warning when the checkpoint is loaded,
//! so that no key is ignored silently. [`JsonFile::get`](crate::checkpoint::json::JsonFile::get) finds a key only if
//! its row calls it honoured: to read a new key, give it a row first. Keys of `config.json` that only some
//! architectures read are in the architectures' own rows.

mod config;
pub(crate) mod files;
mod generation;
mod rope;
mod sentence_transformers;
mod special_tokens_map;
#[cfg(test)]
mod tests;
mod tokenizer;
mod tokenizer_config;
mod warnings;

use serde_json::{Map, Value};

use crate::arch;

pub(crate) use config::CONFIG;
pub(crate) use generation::GENERATION;
pub(crate) use sentence_transformers::{DENSE, MODULE, NORMALIZE, POOLING, SENTENCE_BERT_CONFIG};
pub use warnings::Warnings;

/// The effect of a key.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Read, for all classes of models.
    Honoured,
    /// Read, and its object has a table of its own.
    Object(&'static Table),
    /// Known to have no effect, with any value.
    Harmless,
    /// Known to have no effect with these values, which are written as JSON.
    HarmlessAs(&'static [&'static str]),
}

/// One key of a file.
#[derive(Debug)]
pub(crate) struct Row {
    /// The key.
    pub(crate) key: &'static str,
    /// Its effect.
    pub(crate) effect: Effect,
    /// The module that reads it, or the reason why it has no effect.
    #[allow(dead_code, reason = "documentation of the table; a test checks that it exists")]
    pub(crate) about: &'static str,
}

/// The keys of one file, or of an object in one.
#[derive(Debug)]
pub(crate) struct Table {
    /// The file's name, or `file: key` of an object in one.
    pub(crate) name: &'static str,
    /// One row for each key.
    pub(crate) rows: &'static [Row],
}

/// A key that is read by the module `by`.
const fn honoured(key: &'static str, by: &'static str) -> Row {
    Row { key, effect: Effect::Honoured, about: by }
}

/// A key that is read and holds an object.
const fn object(key: &'static str, table: &'static Table, by: &'static str) -> Row {
    Row { key, effect: Effect::Object(table), about: by }
}

/// A key without effect.
const fn harmless(key: &'static str, why: &'static str) -> Row {
    Row { key, effect: Effect::Harmless, about: why }
}

/// A key without effect if it has one of these values, written as JSON, or `null`.
const fn harmless_as(key: &'static str, values: &'static [&'static str], why: &'static str) -> Row {
    Row { key, effect: Effect::HarmlessAs(values), about: why }
}

/// Every table that belongs to a file of a fixed name.
const TABLES: &[&Table] = &[
    &CONFIG,
    &GENERATION,
    &tokenizer_config::TOKENIZER_CONFIG,
    &special_tokens_map::SPECIAL_TOKENS_MAP,
    &tokenizer::TOKENIZER,
    &sentence_transformers::CONFIG_SENTENCE_TRANSFORMERS,
    &sentence_transformers::SENTENCE_BERT_CONFIG,
    &MODULE,
    &POOLING,
    &DENSE,
    &NORMALIZE,
];

/// The table of the file `name`, a path inside of the checkpoint's folder.
pub(crate) fn table_of(name: &str) -> Option<&'static Table> {
    TABLES.iter().copied().find(|table| table.name == name)
}

impl Table {
    fn row(&self, key: &str) -> Option<&'static Row> {
        // A row `*_token` is for all keys with this ending that have no row of their own.
        let ends_so = |row: &&Row| row.key.strip_prefix('*').is_some_and(|end| key.ends_with(end));
        self.rows.iter().find(|row| row.key == key).or_else(|| self.rows.iter().find(ends_so))
    }

    /// Whether this is the table of `config.json`. The architectures' rows name the keys that only some of them read.
    fn is_config(&self) -> bool {
        self.name == CONFIG.name
    }

    /// Whether the table has a row for `key`.
    pub(crate) fn knows(&self, key: &str) -> bool {
        self.row(key).is_some()
    }

    /// Whether `key` is read.
    pub(crate) fn honours(&self, key: &str) -> bool {
        let honoured = |row: &Row| matches!(row.effect, Effect::Honoured | Effect::Object(_));
        self.row(key).is_some_and(honoured) || (self.is_config() && arch::reads_key(key, None))
    }

    /// The table of the object that `key` holds.
    pub(crate) fn object(&self, key: &str) -> Option<&'static Table> {
        match self.row(key)?.effect {
            Effect::Object(table) => Some(table),
            _ => None,
        }
    }

    /// The keys of `map` that are neither honoured nor known to have no effect; keys of objects as `key.inner`. If the
    /// file is a config, `class` is the class of the model.
    pub(crate) fn unknown(&self, map: &Map<String, Value>, class: Option<&str>) -> Vec<String> {
        let mut unknown = Vec::new();
        for (key, value) in map.iter().filter(|(_, value)| !value.is_null()) {
            let known = match self.row(key).map(|row| &row.effect) {
                // A key that another architecture reads has no effect if its value is off.
                None if self.is_config() => {
                    arch::reads_key(key, class) || (is_off(value) && arch::reads_key(key, None))
                }
                None => false,
                Some(Effect::Honoured | Effect::Harmless) => true,
                Some(Effect::HarmlessAs(values)) => values.contains(&value.to_string().as_str()),
                Some(Effect::Object(table)) => {
                    let inner = value.as_object().map(|map| table.unknown(map, class)).unwrap_or_default();
                    unknown.extend(inner.into_iter().map(|inner| format!("{key}.{inner}")));
                    true
                }
            };
            if !known {
                unknown.push(key.clone());
            }
        }
        unknown
    }
}

/// Whether a value switches nothing on.
fn is_off(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

/// The keys that this process has read, for the test that honoured keys are read.
#[cfg(test)]
static READ: std::sync::Mutex<std::collections::BTreeSet<(&str, String)>> =
    std::sync::Mutex::new(std::collections::BTreeSet::new());

#[cfg(test)]
pub(crate) fn note_read(table: &Table, key: &str) {
    assert!(table.honours(key), "\"{key}\" of \"{}\" is read: give it a row that says so", table.name);
    let mut read = READ.lock().expect("no thread panics with it");
    read.insert((table.name, table.row(key).map_or(key, |row| row.key).to_owned()));
}
