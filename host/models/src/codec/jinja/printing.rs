//! Printing of values as in Python.

use minijinja::value::{Value, ValueKind};
use minijinja::{Error, ErrorKind, Output, State};

use super::objects::View;
use super::sanitize::is_namespace;

/// Maximum nesting of a printed value.
pub(super) const DEPTH_MAX: usize = 64;

/// Prints `{{ value }}` as Jinja2 does: text as it is, everything else as Python's `str`.
pub(super) fn python(out: &mut Output, _state: &mut State, value: &Value) -> Result<(), Error> {
    let written = match value.as_str() {
        Some(text) => out.write_str(text),
        None => out.write_str(&text(value)?),
    };
    written.map_err(|_| Error::from(ErrorKind::WriteFailure))
}

/// Python's `str`.
pub(super) fn text(value: &Value) -> Result<String, Error> {
    let mut out = String::new();
    match value.kind() {
        ValueKind::Undefined => {}
        ValueKind::String => out.push_str(value.as_str().unwrap_or_default()),
        _ => repr(value, &mut out, 0)?,
    }
    Ok(out)
}

/// Python's `repr` of plain data.
pub(super) fn repr(value: &Value, out: &mut String, depth: usize) -> Result<(), Error> {
    if depth > DEPTH_MAX {
        return Err(Error::new(ErrorKind::InvalidOperation, "a printed value is nested too deeply"));
    }
    match value.kind() {
        ValueKind::None => out.push_str("None"),
        ValueKind::Undefined => out.push_str("Undefined"),
        ValueKind::Bool => out.push_str(if value.is_true() { "True" } else { "False" }),
        ValueKind::String => repr_text(value.as_str().unwrap_or_default(), out),
        ValueKind::Number if !value.is_integer() => out.push_str(&float(number(value))),
        ValueKind::Seq if value.is_tuple() => {
            let items = items(value, ("(", ")"), depth)?;
            out.push_str(&items);
            if value.len() == Some(1) {
                out.truncate(out.len() - 1);
                out.push_str(",)");
            }
        }
        ValueKind::Seq => out.push_str(&items(value, ("[", "]"), depth)?),
        ValueKind::Iterable => match value.downcast_object_ref::<View>() {
            Some(view) => out.push_str(&items(value, (&format!("{}([", view.name), "])"), depth)?),
            None => out.push_str(&value.to_string()),
        },
        ValueKind::Map => {
            let named = is_namespace(value);
            out.push_str(if named { "<Namespace {" } else { "{" });
            for (index, key) in value.try_iter()?.enumerate() {
                out.push_str(if index == 0 { "" } else { ", " });
                repr(&key, out, depth + 1)?;
                out.push_str(": ");
                repr(&value.get_item(&key)?, out, depth + 1)?;
            }
            out.push_str(if named { "}>" } else { "}" });
        }
        _ => out.push_str(&value.to_string()),
    }
    Ok(())
}

fn items(value: &Value, (open, close): (&str, &str), depth: usize) -> Result<String, Error> {
    let mut out = open.to_owned();
    for (index, item) in value.try_iter()?.enumerate() {
        out.push_str(if index == 0 { "" } else { ", " });
        repr(&item, &mut out, depth + 1)?;
    }
    out.push_str(close);
    Ok(out)
}

pub(super) fn number(value: &Value) -> f64 {
    f64::try_from(value.clone()).unwrap_or(f64::NAN)
}

/// Python's `repr` of a float: the shortest digits that read back as it, with an exponent below 1e-4 and from 1e16 on.
pub(super) fn float(number: f64) -> String {
    if number.is_nan() {
        return "nan".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.unsigned_abs());
    }
    let plain = number.to_string();
    if plain.contains('.') { plain } else { format!("{plain}.0") }
}

fn repr_text(text: &str, out: &mut String) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for letter in text.chars() {
        match letter {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            letter if letter == quote => out.extend(['\\', letter]),
            letter if is_printable(letter) => out.push(letter),
            letter => match u32::from(letter) {
                code @ ..=0xFF => out.push_str(&format!("\\x{code:02x}")),
                code @ ..=0xFFFF => out.push_str(&format!("\\u{code:04x}")),
                code => out.push_str(&format!("\\U{code:08x}")),
            },
        }
    }
    out.push(quote);
}

/// Python's `str.isprintable` of one character.
pub(super) fn is_printable(letter: char) -> bool {
    // After another letter, a combining mark is printed unchanged.
    let mut buffer = [0; 8];
    buffer[0] = b'a';
    let length = letter.encode_utf8(&mut buffer[1..]).len();
    let pair = std::str::from_utf8(&buffer[..=length]).unwrap_or_default();
    matches!(letter, '"' | '\'' | '\\') || pair.escape_debug().nth(1) != Some('\\')
}
