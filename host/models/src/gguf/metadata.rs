//! The metadata of a GGUF file: typed values by key. Values stay in the file; a reader converts what it asks for.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use firebox_contract::limits;
use firebox_kernels::weights::Blob;

use crate::error::ModelError;

/// The type of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ValueKind {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    Text,
    List,
    U64,
    I64,
    F64,
}

impl ValueKind {
    const ALL: [Self; 13] = [
        Self::U8,
        Self::I8,
        Self::U16,
        Self::I16,
        Self::U32,
        Self::I32,
        Self::F32,
        Self::Bool,
        Self::Text,
        Self::List,
        Self::U64,
        Self::I64,
        Self::F64,
    ];

    /// The type with this number in the file, or the number where there is none.
    pub(crate) fn of(number: u32) -> Result<Self, u32> {
        Self::ALL.get(number as usize).copied().ok_or(number)
    }

    /// The number of the type in files.
    pub(crate) fn number(self) -> u32 {
        Self::ALL.iter().zip(0..).find(|(kind, _)| **kind == self).map_or(0, |(_, number)| number)
    }

    /// Bytes of a value; of a text or list those of its length alone.
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::U8 | Self::I8 | Self::Bool => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::Text | Self::U64 | Self::I64 | Self::F64 => 8,
            Self::List => 12,
        }
    }
}

/// A value, as the place in the file where it is.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    /// A number or flag that starts at this byte.
    Scalar(ValueKind, usize),
    Text(Range<usize>),
    List(List),
}

/// The elements of a list.
#[derive(Debug, Clone)]
pub(crate) struct List {
    pub(crate) kind: ValueKind,
    pub(crate) count: usize,
    pub(crate) range: Range<usize>,
}

/// All values of a file by key, with a note of the keys that were asked for.
#[derive(Debug)]
pub(crate) struct Metadata {
    file: String,
    blob: Blob,
    values: HashMap<String, Value>,
    read: RefCell<BTreeSet<String>>,
}

/// A number as it is in the file.
#[derive(Debug, Clone, Copy)]
enum Number {
    Whole(i128),
    Float(f64),
}

impl Metadata {
    pub(crate) fn new(file: String, blob: Blob) -> Self {
        Self { file, blob, values: HashMap::new(), read: RefCell::default() }
    }

    /// Adds a value; `false` where the key is there already.
    pub(crate) fn insert(&mut self, key: String, value: Value) -> bool {
        self.values.insert(key, value).is_none()
    }

    /// The path of the file, for messages.
    pub(crate) fn file(&self) -> &str {
        &self.file
    }

    /// The keys that no reader asked for, sorted.
    pub(crate) fn unread(&self) -> Vec<String> {
        let read = self.read.borrow();
        let mut keys: Vec<String> = self.values.keys().filter(|key| !read.contains(*key)).cloned().collect();
        keys.sort_unstable();
        keys
    }

    pub(crate) fn wrong(&self, key: &str, reason: impl Into<String>) -> ModelError {
        ModelError::Config { file: self.file.clone(), key: key.to_owned(), reason: reason.into() }
    }

    fn get(&self, key: &str) -> Option<&Value> {
        self.read.borrow_mut().insert(key.to_owned());
        self.values.get(key)
    }

    /// Every key with the number of its type and the bytes of its value, in the order of the file.
    pub(crate) fn raw(&self) -> Vec<(&str, u32, Vec<u8>)> {
        let place = |value: &Value| match value {
            Value::Scalar(_, at) => *at,
            Value::Text(range) => range.start,
            Value::List(list) => list.range.start,
        };
        let mut all: Vec<(&String, &Value)> = self.values.iter().collect();
        all.sort_by_key(|(_, value)| place(value));
        let bytes = |range: Range<usize>| self.blob.bytes().get(range).unwrap_or_default();
        let raw = |value: &Value| match value {
            Value::Scalar(kind, at) => (kind.number(), bytes(*at..*at + kind.bytes()).to_vec()),
            Value::Text(range) => {
                let length = (range.len() as u64).to_le_bytes();
                (ValueKind::Text.number(), [&length[..], bytes(range.clone())].concat())
            }
            Value::List(list) => {
                let head = [&list.kind.number().to_le_bytes()[..], &(list.count as u64).to_le_bytes()].concat();
                (ValueKind::List.number(), [&head[..], bytes(list.range.clone())].concat())
            }
        };
        let mut named = Vec::with_capacity(all.len());
        for (key, value) in all {
            let (kind, bytes) = raw(value);
            named.push((key.as_str(), kind, bytes));
        }
        named
    }

    /// A whole number that is not negative.
    ///
    /// # Errors
    /// `Config` where the value is of another type.
    pub(crate) fn number(&self, key: &str) -> Result<Option<u64>, ModelError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match self.scalar(value) {
            Some(Number::Whole(number)) => u64::try_from(number)
                .map(Some)
                .map_err(|_| self.wrong(key, format!("is {number}, expected a number that is not negative"))),
            _ => Err(self.wrong(key, "is not a whole number")),
        }
    }

    /// A number with or without a fraction.
    ///
    /// # Errors
    /// `Config` where the value is of another type.
    pub(crate) fn float(&self, key: &str) -> Result<Option<f64>, ModelError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match self.scalar(value) {
            Some(Number::Float(number)) => Ok(Some(number)),
            Some(Number::Whole(number)) => Ok(Some(number as f64)),
            None => Err(self.wrong(key, "is not a number")),
        }
    }

    /// A flag.
    ///
    /// # Errors
    /// `Config` where the value is of another type.
    pub(crate) fn flag(&self, key: &str) -> Result<Option<bool>, ModelError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Scalar(ValueKind::Bool, at)) => Ok(self.blob.bytes().get(*at).map(|byte| *byte != 0)),
            Some(_) => Err(self.wrong(key, "is not a flag")),
        }
    }

    /// A list of at most `most` flags. `None` where the value is of another type.
    ///
    /// # Errors
    /// `Config` for a longer list.
    pub(crate) fn flags(&self, key: &str, most: usize) -> Result<Option<Vec<bool>>, ModelError> {
        let list = match self.get(key) {
            Some(Value::List(list)) if list.kind == ValueKind::Bool => list,
            _ => return Ok(None),
        };
        if list.count > most {
            return Err(self.wrong(key, format!("has {} entries, at most {most} are allowed", list.count)));
        }
        let bytes = self.blob.bytes().get(list.range.clone()).unwrap_or_default();
        Ok(Some(bytes.iter().map(|byte| *byte != 0).collect()))
    }

    /// A text.
    ///
    /// # Errors
    /// `Config` where the value is of another type or not UTF-8.
    pub(crate) fn text(&self, key: &str) -> Result<Option<&str>, ModelError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Text(range)) => {
                let bytes = self.blob.bytes().get(range.clone()).unwrap_or_default();
                std::str::from_utf8(bytes).map(Some).map_err(|_| self.wrong(key, "is not UTF-8"))
            }
            Some(_) => Err(self.wrong(key, "is not a text")),
        }
    }

    /// A list of texts.
    ///
    /// # Errors
    /// `Config` where the value is of another type or holds a text that is not UTF-8.
    pub(crate) fn texts(&self, key: &str) -> Result<Option<Vec<&str>>, ModelError> {
        let list = match self.get(key) {
            None => return Ok(None),
            Some(Value::List(list)) if list.kind == ValueKind::Text => list,
            Some(_) => return Err(self.wrong(key, "is not a list of texts")),
        };
        self.check_count(key, list)?;
        let mut bytes = self.blob.bytes().get(list.range.clone()).unwrap_or_default();
        let mut texts = Vec::with_capacity(list.count);
        while let Some((length, after)) = bytes.split_first_chunk::<8>() {
            // The reader has walked over these lengths: each fits into the list.
            let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX).min(after.len());
            let (text, after) = after.split_at(length);
            texts.push(std::str::from_utf8(text).map_err(|_| self.wrong(key, "holds a text that is not UTF-8"))?);
            bytes = after;
        }
        Ok(Some(texts))
    }

    /// A list of numbers; one number counts as a list of one.
    ///
    /// # Errors
    /// `Config` where the value is of another type.
    pub(crate) fn floats(&self, key: &str) -> Result<Option<Vec<f64>>, ModelError> {
        let list = match self.get(key) {
            None => return Ok(None),
            Some(Value::List(list)) => list,
            Some(_) => return Ok(self.float(key)?.map(|number| vec![number])),
        };
        self.check_count(key, list)?;
        let number = |at: usize| match self.scalar(&Value::Scalar(list.kind, at)) {
            Some(Number::Whole(number)) => Some(number as f64),
            Some(Number::Float(number)) => Some(number),
            None => None,
        };
        let places = (0..list.count).map(|index| list.range.start + index * list.kind.bytes());
        let numbers: Option<Vec<f64>> = places.map(number).collect();
        numbers.map(Some).ok_or_else(|| self.wrong(key, "is not a list of numbers"))
    }

    /// A list of bytes, as they are in the file.
    ///
    /// # Errors
    /// `Config` where the value is of another type or too long.
    pub(crate) fn bytes(&self, key: &str) -> Result<Option<&[u8]>, ModelError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::List(list)) if matches!(list.kind, ValueKind::U8 | ValueKind::I8) => {
                let limit = limits::GGUF_CHARSMAP_BYTES_MAX;
                if list.count > limit {
                    return Err(self.wrong(key, format!("has {} bytes, at most {limit} are allowed", list.count)));
                }
                Ok(self.blob.bytes().get(list.range.start..list.range.start.saturating_add(list.count)))
            }
            Some(_) => Err(self.wrong(key, "is not a list of bytes")),
        }
    }

    /// The lists of a tokenizer have an entry for each token or merge, so the largest vocabulary bounds them all.
    fn check_count(&self, key: &str, list: &List) -> Result<(), ModelError> {
        let limit = limits::MODEL_VOCABULARY_TOKENS_MAX;
        match list.count > limit {
            true => Err(self.wrong(key, format!("has {} entries, at most {limit} are allowed", list.count))),
            false => Ok(()),
        }
    }

    fn scalar(&self, value: &Value) -> Option<Number> {
        let Value::Scalar(kind, at) = value else { return None };
        let bytes = self.blob.bytes().get(*at..*at + kind.bytes())?;
        macro_rules! whole {
            ($type:ty) => {
                Number::Whole(i128::from(<$type>::from_le_bytes(*bytes.first_chunk()?)))
            };
        }
        Some(match kind {
            ValueKind::U8 => whole!(u8),
            ValueKind::I8 => whole!(i8),
            ValueKind::U16 => whole!(u16),
            ValueKind::I16 => whole!(i16),
            ValueKind::U32 => whole!(u32),
            ValueKind::I32 => whole!(i32),
            ValueKind::U64 => whole!(u64),
            ValueKind::I64 => whole!(i64),
            ValueKind::F32 => Number::Float(f64::from(f32::from_le_bytes(*bytes.first_chunk()?))),
            ValueKind::F64 => Number::Float(f64::from_le_bytes(*bytes.first_chunk()?)),
            ValueKind::Bool | ValueKind::Text | ValueKind::List => return None,
        })
    }
}
