//! `tojson` as transformers defines it: Python's `json.dumps` with `ensure_ascii=False`.

use minijinja::value::{Kwargs, Value, ValueKind, from_args};
use minijinja::{Error, ErrorKind};

use super::printing::{DEPTH_MAX, float, number};

/// `value | tojson(ensure_ascii, indent, separators, sort_keys)`.
pub(super) fn to_json(value: &Value, arguments: &[Value]) -> Result<Value, Error> {
    type JsonArguments = (Option<Value>, Option<Value>, Option<Value>, Option<Value>, Kwargs);
    let (ascii, indent, separators, sort_keys, named): JsonArguments = from_args(arguments)?;
    let given = |value: Option<Value>, name: &str| match value {
        Some(value) => Ok(Some(value)),
        None => named.get::<Option<Value>>(name),
    };
    let indent = given(indent, "indent")?.filter(|indent| !indent.is_none());
    let indent = indent.map(indentation).transpose()?;
    let (item, key) = match given(separators, "separators")?.filter(|separators| !separators.is_none()) {
        Some(pair) => {
            let mut texts = pair.try_iter()?.filter_map(|text| text.as_str().map(str::to_owned));
            texts.next().zip(texts.next()).ok_or_else(|| wrong("tojson: separators are two texts"))?
        }
        None => ((if indent.is_some() { "," } else { ", " }).to_owned(), ": ".to_owned()),
    };
    let is_true = |value: Option<Value>| value.is_some_and(|value| value.is_true());
    let style = JsonStyle {
        ascii: is_true(given(ascii, "ensure_ascii")?),
        sorted: is_true(given(sort_keys, "sort_keys")?),
        indent,
        item,
        key,
    };
    named.assert_all_used()?;
    let mut out = String::new();
    style.write(value, &mut out, 0)?;
    Ok(Value::from(out))
}

fn indentation(indent: Value) -> Result<String, Error> {
    let spaces = match indent.as_str() {
        Some(text) => text.to_owned(),
        None => " ".repeat(usize::try_from(i64::try_from(indent)?.max(0)).unwrap_or_default().min(DEPTH_MAX + 1)),
    };
    if spaces.len() > DEPTH_MAX { Err(wrong("tojson: the indent is too large")) } else { Ok(spaces) }
}

fn wrong(reason: &'static str) -> Error {
    Error::new(ErrorKind::InvalidOperation, reason)
}

struct JsonStyle {
    ascii: bool,
    sorted: bool,
    indent: Option<String>,
    item: String,
    key: String,
}

impl JsonStyle {
    fn write(&self, value: &Value, out: &mut String, depth: usize) -> Result<(), Error> {
        if depth > DEPTH_MAX {
            return Err(wrong("tojson: the value is nested too deeply"));
        }
        match value.kind() {
            ValueKind::None => out.push_str("null"),
            ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => out.push_str(&number_text(value)),
            ValueKind::String => self.text(value.as_str().unwrap_or_default(), out),
            ValueKind::Seq => {
                let items = value.try_iter()?.map(|item| (None, item)).collect();
                self.all(items, ('[', ']'), out, depth)?;
            }
            ValueKind::Map => self.all(self.entries(value)?, ('{', '}'), out, depth)?,
            kind => return Err(Error::new(ErrorKind::BadSerialization, format!("{kind} is not JSON serializable"))),
        }
        Ok(())
    }

    fn entries(&self, map: &Value) -> Result<Vec<(Option<String>, Value)>, Error> {
        let mut entries = Vec::new();
        for key in map.try_iter()? {
            let name = match key.kind() {
                ValueKind::String => key.as_str().unwrap_or_default().to_owned(),
                ValueKind::None => "null".to_owned(),
                ValueKind::Bool => (if key.is_true() { "true" } else { "false" }).to_owned(),
                ValueKind::Number => number_text(&key),
                _ => return Err(wrong("tojson: a key is neither text nor a number")),
            };
            entries.push((Some(name), map.get_item(&key)?));
        }
        if self.sorted {
            entries.sort_by(|one, other| one.0.cmp(&other.0));
        }
        Ok(entries)
    }

    fn all(
        &self,
        entries: Vec<(Option<String>, Value)>,
        (open, close): (char, char),
        out: &mut String,
        depth: usize,
    ) -> Result<(), Error> {
        out.push(open);
        let filled = !entries.is_empty();
        for (at, (key, value)) in entries.into_iter().enumerate() {
            out.push_str(if at == 0 { "" } else { &self.item });
            self.line(out, depth + 1);
            if let Some(key) = key {
                self.text(&key, out);
                out.push_str(&self.key);
            }
            self.write(&value, out, depth + 1)?;
        }
        if filled {
            self.line(out, depth);
        }
        out.push(close);
        Ok(())
    }

    fn line(&self, out: &mut String, depth: usize) {
        if let Some(indent) = &self.indent {
            out.push('\n');
            (0..depth).for_each(|_| out.push_str(indent));
        }
    }

    fn text(&self, text: &str, out: &mut String) {
        out.push('"');
        for letter in text.chars() {
            match letter {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\u{8}' => out.push_str("\\b"),
                '\u{c}' => out.push_str("\\f"),
                letter if letter < ' ' || (self.ascii && letter >= '\u{7f}' && !letter.is_ascii()) => {
                    letter.encode_utf16(&mut [0; 2]).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}")));
                }
                letter => out.push(letter),
            }
        }
        out.push('"');
    }
}

fn number_text(value: &Value) -> String {
    if value.is_integer() {
        return value.to_string();
    }
    match number(value) {
        number if number.is_nan() => "NaN".to_owned(),
        number if number.is_infinite() => (if number > 0.0 { "Infinity" } else { "-Infinity" }).to_owned(),
        number => float(number),
    }
}
