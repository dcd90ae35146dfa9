//! Changes to a chat template before it is compiled, which keep rendering within bounds.
//!
//! Fuel bounds the steps of a template, but not the depth or size of its values: a list put into itself a hundred
//! thousand times, a namespace that contains itself or a list doubled fifty times ends the process when that value is
//! dropped, printed or compared. All three need assignments. Every `{% set x = expr %}` is therefore compiled as `{%
//! set x = plain((expr)) %}`, and `plain` copies plain data within bounds and refuses all other values.

use minijinja::value::{Kwargs, Tuple, Value, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State};

use super::code;
use super::objects::{View, pairs};

/// Maximum nesting of an assigned value.
const DEPTH_MAX: usize = 100;
/// The function around a value that is assigned to a variable. The value may be a namespace.
pub(super) const VARIABLE: &str = "__firebox_variable";
/// The function around a value that is assigned to an attribute of a namespace.
pub(super) const ATTRIBUTE: &str = "__firebox_attribute";

/// The function around the items of a loop.
pub(super) const ITEMS: &str = "__firebox_items";
/// The filter that replaces the operator `%` after a text.
pub(super) const PERCENT: &str = "__firebox_percent";

/// The template with bounded assignments, and with features of Jinja2 that minijinja lacks: all line ends are equal,
/// `%` after a text formats it, and `{% generation %}`, which marks the assistant's part for training masks, is a
/// scope. Line numbers do not change.
pub(in crate::codec) fn sanitize(text: &str) -> String {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    let mut rest = text.as_str();
    while let Some(start) = rest.find('{') {
        let (before, tag) = rest.split_at(start);
        out.push_str(before);
        let length = tag_length(tag);
        let (tag, after) = tag.split_at(length);
        rest = after;
        match tag.strip_prefix("{%").and_then(|tag| tag.strip_suffix("%}")) {
            Some(inner) => out.push_str(&format!("{{%{}%}}", statement(inner))),
            None => match tag.strip_prefix("{{").and_then(|tag| tag.strip_suffix("}}")) {
                Some(inner) => out.push_str(&format!("{{{{{}}}}}", code::rewritten(inner))),
                None => out.push_str(tag),
            },
        }
        if words(tag) == Some("raw") {
            let end = rest.find("endraw").unwrap_or(rest.len());
            let (raw, after) = rest.split_at(end);
            out.push_str(raw);
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

/// Bytes of the comment, expression or statement at the beginning of `text`; 1 if there is none.
fn tag_length(text: &str) -> usize {
    let closing = match text.get(..2) {
        Some("{#") => return text.find("#}").map_or(text.len(), |end| end + 2),
        Some("{{") => "}}",
        Some("{%") => "%}",
        _ => return 1,
    };
    let mut quote = None;
    let mut escaped = false;
    for (at, letter) in text.char_indices().skip(2) {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if letter == '\\' => escaped = true,
            Some(open) if letter == open => quote = None,
            Some(_) => {}
            None if letter == '"' || letter == '\'' => quote = Some(letter),
            None if text.get(at..at + 2) == Some(closing) => return at + 2,
            None => {}
        }
    }
    text.len()
}

/// The word of a statement that consists of one word.
fn words(tag: &str) -> Option<&str> {
    let inner = tag.strip_prefix("{%")?.strip_suffix("%}")?;
    Some(inner.trim_matches(['-', '+']).trim())
}

/// The inside of a statement, rewritten if necessary.
fn statement(inner: &str) -> String {
    let (open, rest) = inner.split_at(inner.len() - inner.trim_start_matches(['-', '+']).len());
    let body = rest.trim_end_matches(['-', '+']);
    let close = rest.get(body.len()..).unwrap_or_default();
    match body.trim() {
        "generation" => return format!("{open} with {close}"),
        "endgeneration" => return format!("{open} endwith {close}"),
        _ => {}
    }
    if let Some(looped) = code::wrapped_loop(body) {
        return format!("{open} {looped} {close}");
    }
    let assignment = body.trim_start().strip_prefix("set").filter(|rest| rest.starts_with(char::is_whitespace));
    match assignment.and_then(split_assignment) {
        Some((target, value)) => {
            let function = if target.contains('.') { ATTRIBUTE } else { VARIABLE };
            format!("{open} set {target}= {function}(({})) {close}", code::rewritten(value))
        }
        None => format!("{open}{}{close}", code::rewritten(body)),
    }
}

/// Target and value of an assignment; `None` for the block form, which assigns text. Targets contain no quotes, so the
/// first equals sign is the right one.
fn split_assignment(text: &str) -> Option<(&str, &str)> {
    let at = text.find('=')?;
    let (target, value) = (text.get(..at)?, text.get(at + 1..)?);
    let named = target.chars().all(|letter| letter.is_alphanumeric() || " \t\r\n_.,()".contains(letter));
    (named && !value.starts_with('=')).then_some((target, value))
}

/// `value` if it may be assigned to a variable: plain data, copied, or a namespace, or something that is not data.
pub(super) fn variable(state: &State, value: Value) -> Result<Value, Error> {
    if is_namespace(&value) { Ok(value) } else { plain(state, &value, 0) }
}

/// `value` if it may be assigned to an attribute of a namespace: no namespaces there, or one could hold itself.
pub(super) fn attribute(state: &State, value: Value) -> Result<Value, Error> {
    plain(state, &value, 0)
}

/// A new namespace of assignable values, under names that transformers allows.
pub(super) fn namespace(state: &State, given: Option<Value>, named: Kwargs) -> Result<Value, Error> {
    let mut entries = given.as_ref().map(pairs).transpose()?.unwrap_or_default();
    for name in named.args() {
        entries.push((Value::from(name), named.peek::<Value>(name)?));
    }
    if let Some((name, _)) = entries.iter().find(|(name, _)| name.as_str().is_some_and(|name| name.starts_with('_'))) {
        let detail =
            format!("chat templates cannot store underscore-prefixed attributes on a namespace, but got {name}");
        return Err(Error::new(ErrorKind::InvalidOperation, detail));
    }
    let entries: Value = Value::from_pairs(entries);
    plain(state, &entries, 0)?;
    let (entries,) = from_args(std::slice::from_ref(&entries))?;
    minijinja::functions::namespace(entries)
}

/// The items of a loop: the letters of a text, and never `None`.
pub(super) fn items(state: &State, value: Value) -> Result<Value, Error> {
    match value.kind() {
        ValueKind::String => {
            let text = value.as_str().unwrap_or_default();
            state.consume_fuel(text.len() as u64)?;
            let mut letter = [0; 4];
            Ok(text.chars().map(|next| Value::from(&*next.encode_utf8(&mut letter))).collect())
        }
        kind @ (ValueKind::None | ValueKind::Bool | ValueKind::Number) => {
            Err(Error::new(ErrorKind::InvalidOperation, format!("{kind} is not iterable")))
        }
        _ => Ok(value),
    }
}

pub(super) fn is_namespace(value: &Value) -> bool {
    value.as_object().is_some_and(|object| object.type_name().ends_with("Namespace"))
}

/// A copy of plain data. Each value in it costs fuel.
fn plain(state: &State, value: &Value, depth: usize) -> Result<Value, Error> {
    let refused = |what: &str| Err(Error::new(ErrorKind::InvalidOperation, format!("an assigned value {what}")));
    if depth > DEPTH_MAX {
        return refused("is nested too deeply");
    }
    if is_namespace(value) {
        return refused("holds a namespace");
    }
    state.consume_fuel(1)?;
    match value.kind() {
        ValueKind::Seq | ValueKind::Iterable => {
            let items = value.try_iter()?.map(|item| plain(state, &item, depth + 1)).collect::<Result<Vec<_>, _>>()?;
            match value.downcast_object_ref::<View>() {
                Some(view) => Ok(Value::from_object(View { name: view.name, values: items })),
                None if value.is_tuple() => Ok(Value::from(Tuple::new(items))),
                None => Ok(Value::from(items)),
            }
        }
        ValueKind::Map => {
            let pair = |key: Value| Ok((key.clone(), plain(state, &value.get_item(&key)?, depth + 1)?));
            Ok(Value::from_pairs(value.try_iter()?.map(pair).collect::<Result<Vec<_>, Error>>()?))
        }
        _ => Ok(value.clone()),
    }
}
