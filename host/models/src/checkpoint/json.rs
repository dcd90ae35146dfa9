//! JSON files of a checkpoint. Keys that the loader does not read may have any value; keys that it reads are checked.

use std::ops::RangeInclusive;

use firebox_contract::limits;
use serde_json::{Map, Value};

use crate::checkpoint::python;
use crate::checkpoint::source::Source;
use crate::error::ModelError;
use crate::metadata::{self, Table, Warnings};

/// One parsed file, or an object in one, with its path for messages and the table of its keys.
#[derive(Debug, Clone)]
pub(crate) struct JsonFile {
    pub(crate) file: String,
    map: Map<String, Value>,
    table: Option<&'static Table>,
    warnings: Warnings,
}

impl JsonFile {
    /// Reads `name` if it exists. Unusual values are added to `warnings`.
    pub(crate) fn read(source: &Source, name: &str, warnings: &Warnings) -> Result<Option<Self>, ModelError> {
        Self::read_as(source, name, metadata::table_of(name), warnings)
    }

    /// As [`JsonFile::read`], for a file whose table is not chosen by its name.
    pub(crate) fn read_as(
        source: &Source,
        name: &str,
        table: Option<&'static Table>,
        warnings: &Warnings,
    ) -> Result<Option<Self>, ModelError> {
        let Some(value) = Self::read_value(source, name)? else { return Ok(None) };
        match value {
            Value::Object(map) => Ok(Some(Self { file: source.path_of(name), map, table, warnings: warnings.clone() })),
            other => Err(ModelError::Broken {
                file: source.path_of(name),
                reason: format!("expected a JSON object, found {}", kind_of(&other)),
            }),
        }
    }

    /// The value of a file called `name` that is not on a disk; `file` is what messages call it.
    pub(crate) fn of_value(file: String, name: &str, value: Value) -> Self {
        let map = if let Value::Object(map) = value { map } else { Map::new() };
        Self { file, map, table: metadata::table_of(name), warnings: Warnings::default() }
    }

    /// A file of this name with these keys.
    #[cfg(test)]
    pub(crate) fn of(name: &str, keys: Value) -> Self {
        let map = keys.as_object().cloned().unwrap_or_default();
        Self { file: name.to_owned(), map, table: metadata::table_of(name), warnings: Warnings::default() }
    }

    /// Reads `name` if it exists, with any JSON value.
    pub(crate) fn read_value(source: &Source, name: &str) -> Result<Option<Value>, ModelError> {
        let Some(bytes) = source.read(name, limits::CONFIG_JSON_BYTES_MAX)? else { return Ok(None) };
        python::parse(&bytes)
            .map(Some)
            .map_err(|error| ModelError::Broken { file: source.path_of(name), reason: format!("not JSON: {error}") })
    }

    pub(crate) fn wrong(&self, key: &str, reason: impl Into<String>) -> ModelError {
        ModelError::Config { file: self.file.clone(), key: key.to_owned(), reason: reason.into() }
    }

    /// Warns about keys that its table does not know. If the file is a config, `class` is the class of the model.
    pub(crate) fn warn_unknown(&self, class: Option<&str>) {
        let unknown = self.table.map(|table| table.unknown(&self.map, class)).unwrap_or_default();
        self.warnings.add_names(&format!("\"{}\": unknown keys are not used", self.file), &unknown);
    }

    /// Warns about a value that is not used as written. `reason` completes the sentence that begins with the key.
    pub(crate) fn warn(&self, key: &str, reason: &str) {
        self.warnings.add(format!("\"{}\": \"{key}\" {reason}", self.file));
    }

    /// All keys, in the file's order.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.map.keys().map(String::as_str)
    }

    /// The value, null included. Every access goes through this function, and a key that the file's table does not call
    /// honoured is treated as absent, so the table names every key that is read. In unit tests such an access panics.
    pub(crate) fn given(&self, key: &str) -> Option<&Value> {
        if let Some(table) = self.table {
            #[cfg(test)]
            metadata::note_read(table, key);
            if !table.honours(key) {
                return None;
            }
        }
        self.map.get(key)
    }

    /// The value, unless it is absent or null.
    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.given(key).filter(|value| !value.is_null())
    }

    /// Whether the key exists and is not null.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.map.get(key).is_some_and(|value| !value.is_null())
    }

    /// Refuses every value except this text. An absent or null value is accepted.
    ///
    /// # Errors
    /// `Unsupported` for another text, `Config` for a value of another type.
    pub(crate) fn only(&self, key: &'static str, supported: &'static str) -> Result<(), ModelError> {
        match self.optional_text(key)? {
            Some(other) if other != supported => {
                let found = other.chars().take(80).collect();
                Err(ModelError::Unsupported { file: self.file.clone(), key, found, supported })
            }
            _ => Ok(()),
        }
    }

    /// A whole number in `range`.
    pub(crate) fn number(&self, key: &str, range: RangeInclusive<usize>) -> Result<usize, ModelError> {
        self.optional_number(key, range.clone())?.ok_or_else(|| {
            let missing = if self.given(key).is_some() { "is null" } else { "is missing" };
            self.wrong(key, format!("{missing}, expected a whole number from {} to {}", range.start(), range.end()))
        })
    }

    /// A whole number in `range`, or `default` if the key is absent. Null is an error.
    pub(crate) fn number_or(
        &self,
        key: &str,
        default: usize,
        range: RangeInclusive<usize>,
    ) -> Result<usize, ModelError> {
        if self.given(key).is_none() { Ok(default) } else { self.number(key, range) }
    }

    /// A finite number in `range`, or `default` if the key is absent. Null is an error.
    pub(crate) fn float_or(&self, key: &str, default: f64, range: RangeInclusive<f64>) -> Result<f64, ModelError> {
        if self.given(key).is_none() { Ok(default) } else { self.float(key, range) }
    }

    /// A whole number in `range`, or `None` if the key is absent or null.
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

    /// A finite number in `range`, or `None` if the key is absent or null.
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

    /// A flag, or `default` if the key is absent or null.
    pub(crate) fn flag(&self, key: &str, default: bool) -> Result<bool, ModelError> {
        match self.get(key) {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(other) => Err(self.wrong(key, format!("is {}, expected true or false", shorten(other)))),
        }
    }

    /// Text, or `None` if the key is absent or null.
    pub(crate) fn optional_text(&self, key: &str) -> Result<Option<&str>, ModelError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(key, format!("is {}, expected text", shorten(other)))),
        }
    }

    /// An object, or `None` if the key is absent or null.
    pub(crate) fn optional_object(&self, key: &str) -> Result<Option<Self>, ModelError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Object(map)) => {
                let table = self.table.and_then(|table| table.object(key));
                Ok(Some(Self { map: map.clone(), table, ..self.clone() }))
            }
            Some(other) => Err(self.wrong(key, format!("is {}, expected an object", shorten(other)))),
        }
    }

    /// The same file with this value where it has none.
    pub(crate) fn or_default(&self, key: &str, value: Value) -> Self {
        let mut file = self.clone();
        if !file.has(key) {
            file.map.insert(key.to_owned(), value);
        }
        file
    }

    /// The same file with the keys of the object under `key`, if it is there, in place of its own.
    ///
    /// # Errors
    /// `Config` for a value that is not an object.
    pub(crate) fn with_keys_of(&self, key: &str) -> Result<Self, ModelError> {
        let mut file = self.clone();
        match self.get(key) {
            None => {}
            Some(Value::Object(inner)) => file.map.extend(inner.clone()),
            Some(other) => return Err(self.wrong(key, format!("is {}, expected an object", shorten(other)))),
        }
        Ok(file)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    pub(crate) fn has_same(&self, other: &Self) -> bool {
        self.map == other.map
    }

    /// The first key that holds an object.
    pub(crate) fn first_object(&self) -> Option<String> {
        let object = |(key, value): (&String, &Value)| value.is_object().then(|| key.chars().take(40).collect());
        self.map.iter().find_map(object)
    }
}

/// The value as JSON, cut to the length of a message.
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
