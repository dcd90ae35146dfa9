//! JSON files of a checkpoint: lenient about keys nobody asks for, strict about those somebody does.

use std::ops::RangeInclusive;

use firebox_contract::limits;
use serde_json::{Map, Value};

use crate::checkpoint::python;
use crate::checkpoint::source::Source;
use crate::error::ModelError;
use crate::metadata::{self, Table, Warnings};

/// One parsed file, or an object inside one. Remembers its path for messages, and what is known of its keys.
#[derive(Debug, Clone)]
pub(crate) struct JsonFile {
    pub(crate) file: String,
    map: Map<String, Value>,
    table: Option<&'static Table>,
}

impl JsonFile {
    /// Reads `name` if it is there.
    pub(crate) fn read(source: &Source, name: &str) -> Result<Option<Self>, ModelError> {
        let Some(value) = Self::read_value(source, name)? else { return Ok(None) };
        match value {
            Value::Object(map) => Ok(Some(Self { file: source.path_of(name), map, table: metadata::table_of(name) })),
            other => Err(ModelError::Broken {
                file: source.path_of(name),
                reason: format!("expected a JSON object, found {}", kind_of(&other)),
            }),
        }
    }

    /// Reads `name` if it is there, whatever JSON it holds.
    pub(crate) fn read_value(source: &Source, name: &str) -> Result<Option<Value>, ModelError> {
        let Some(bytes) = source.read(name, limits::CONFIG_JSON_BYTES_MAX)? else { return Ok(None) };
        python::parse(&bytes)
            .map(Some)
            .map_err(|error| ModelError::Broken { file: source.path_of(name), reason: format!("not JSON: {error}") })
    }

    pub(crate) fn wrong(&self, key: &str, reason: impl Into<String>) -> ModelError {
        ModelError::Config { file: self.file.clone(), key: key.to_owned(), reason: reason.into() }
    }

    /// Warns about the keys that its table does not know. `class` is the class of the model, where the file is its config.
    pub(crate) fn warn_unknown(&self, class: Option<&str>, warnings: &Warnings) {
        let unknown = self.table.map(|table| table.unknown(&self.map, class)).unwrap_or_default();
        warnings.add_names(&format!("\"{}\": unknown keys are not used", self.file), &unknown);
    }

    /// The value as it stands, null included. Every key that is read is read here.
    pub(crate) fn given(&self, key: &str) -> Option<&Value> {
        if let Some(table) = self.table {
            debug_assert!(table.honours(key), "\"{key}\" of \"{}\" is read, but its row does not say so", table.name);
            #[cfg(test)]
            metadata::note_read(table, key);
        }
        self.map.get(key)
    }

    /// The value, unless it is absent or null.
    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.given(key).filter(|value| !value.is_null())
    }

    /// A whole number in `range`.
    pub(crate) fn number(&self, key: &str, range: RangeInclusive<usize>) -> Result<usize, ModelError> {
        self.optional_number(key, range.clone())?.ok_or_else(|| {
            self.wrong(key, format!("is missing, expected a whole number from {} to {}", range.start(), range.end()))
        })
    }

    /// A whole number in `range`, or `None` where it is absent or null.
    pub(crate) fn optional_number(&self, key: &str, range: RangeInclusive<usize>) -> Result<Option<usize>, ModelError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let number = value.as_u64().and_then(|number| usize::try_from(number).ok());
        match number.filter(|number| range.contains(number)) {
            Some(number) => Ok(Some(number)),
            None => Err(self.wrong(
                key,
                format!("is {}, expected a whole number from {} to {}", shorten(value), range.start(), range.end()),
            )),
        }
    }

    /// A finite number in `range`, or `None` where it is absent or null.
    pub(crate) fn optional_float(&self, key: &str, range: RangeInclusive<f64>) -> Result<Option<f64>, ModelError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match value.as_f64().filter(|number| range.contains(number)) {
            Some(number) => Ok(Some(number)),
            None => {
                let (low, high) = (range.start(), range.end());
                Err(self.wrong(key, format!("is {}, expected a number from {low} to {high}", shorten(value))))
            }
        }
    }

    pub(crate) fn float(&self, key: &str, range: RangeInclusive<f64>) -> Result<f64, ModelError> {
        self.optional_float(key, range)?.ok_or_else(|| self.wrong(key, "is missing, expected a number"))
    }

    /// A flag; absent or null is `default`.
    pub(crate) fn flag(&self, key: &str, default: bool) -> Result<bool, ModelError> {
        match self.get(key) {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(other) => Err(self.wrong(key, format!("is {}, expected true or false", shorten(other)))),
        }
    }

    /// Text, or `None` where it is absent or null.
    pub(crate) fn optional_text(&self, key: &str) -> Result<Option<&str>, ModelError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(key, format!("is {}, expected text", shorten(other)))),
        }
    }

    /// An object, or `None` where it is absent or null.
    pub(crate) fn optional_object(&self, key: &str) -> Result<Option<Self>, ModelError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Object(map)) => {
                let table = self.table.and_then(|table| table.object(key));
                Ok(Some(Self { file: self.file.clone(), map: map.clone(), table }))
            }
            Some(other) => Err(self.wrong(key, format!("is {}, expected an object", shorten(other)))),
        }
    }

    /// Token ids: one number or a list of them.
    pub(crate) fn token_ids(&self, key: &str) -> Result<Vec<u32>, ModelError> {
        let wrong = |value: &Value| self.wrong(key, format!("is {}, expected token ids", shorten(value)));
        let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
        match self.get(key) {
            None => Ok(Vec::new()),
            Some(Value::Array(list)) => list.iter().map(|value| id(value).ok_or_else(|| wrong(value))).collect(),
            Some(value) => Ok(vec![id(value).ok_or_else(|| wrong(value))?]),
        }
    }
}

/// The value as JSON, cut to what a message can carry.
pub(crate) fn shorten(value: &Value) -> String {
    let text = value.to_string();
    let text = text.trim_matches('"');
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("\"{}…\"", text.get(..end).unwrap_or_default()),
        None => format!("\"{text}\""),
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a flag",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
