//! The methods of Python's types that Jinja2's immutable sandbox allows.

use minijinja::value::{Tuple, Value, ValueKind};
use minijinja::{Error, ErrorKind, State};

use super::arguments::{Arguments, wrong};
use super::objects::View;
use super::{strings, text_format};

/// Methods that change a value, which the sandbox refuses.
const REFUSED: [&str; 13] = [
    "append",
    "clear",
    "extend",
    "insert",
    "pop",
    "popitem",
    "remove",
    "reverse",
    "setdefault",
    "sort",
    "update",
    "add",
    "discard",
];

/// Called by minijinja for methods that it does not know.
pub(super) fn call(state: &mut State<'_, '_>, value: &Value, name: &str, given: &[Value]) -> Result<Value, Error> {
    let unsafe_one = || Err(wrong(format!("access to attribute \"{name}\" is unsafe")));
    match value.kind() {
        ValueKind::String if name == "format" => {
            text_format::format(value.as_str().unwrap_or_default(), given).map(Value::from)
        }
        ValueKind::String => strings::call(state, value.as_str().unwrap_or_default(), name, given),
        ValueKind::Map if REFUSED.contains(&name) => unsafe_one(),
        ValueKind::Seq if REFUSED.contains(&name) && !value.is_tuple() => unsafe_one(),
        ValueKind::Map => mapping(value, name, given),
        ValueKind::Seq => sequence(value, name, given),
        ValueKind::Number => number(value, name, given),
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

fn mapping(value: &Value, name: &str, given: &[Value]) -> Result<Value, Error> {
    let view = |name: &'static str, values: Vec<Value>| Ok(Value::from_object(View { name, values }));
    let none = || Arguments::of(given, &[]).map(drop);
    match name {
        "keys" => {
            none()?;
            view("dict_keys", value.try_iter()?.collect())
        }
        "values" => {
            none()?;
            view("dict_values", value.try_iter()?.map(|key| value.get_item(&key)).collect::<Result<_, _>>()?)
        }
        "items" => {
            none()?;
            let pair = |key: Value| Ok(Value::from(Tuple::from([key.clone(), value.get_item(&key)?])));
            view("dict_items", value.try_iter()?.map(pair).collect::<Result<_, Error>>()?)
        }
        "get" => {
            let arguments = Arguments::of(given, &["key", "default"])?;
            let found = value.get_item(&arguments.need(0, "key")?)?;
            match found.is_undefined() {
                true => Ok(arguments.get(1, "default").unwrap_or_else(|| Value::from(()))),
                false => Ok(found),
            }
        }
        "copy" => {
            none()?;
            let pair = |key: Value| Ok((key.clone(), value.get_item(&key)?));
            Ok(Value::from_pairs(value.try_iter()?.map(pair).collect::<Result<Vec<_>, Error>>()?))
        }
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

fn sequence(value: &Value, name: &str, given: &[Value]) -> Result<Value, Error> {
    match name {
        "count" => {
            let arguments = Arguments::of(given, &["value"])?;
            let wanted = arguments.need(0, "value")?;
            Ok(Value::from(value.try_iter()?.filter(|item| *item == wanted).count()))
        }
        "index" => {
            let arguments = Arguments::of(given, &["value", "start", "stop"])?;
            let wanted = arguments.need(0, "value")?;
            let (start, stop) = (arguments.number(1, "start")?, arguments.number(2, "stop")?);
            let length = value.len().unwrap_or_default();
            let (from, to) = strings::bounds(length, start, stop);
            let mut items = value.try_iter()?.enumerate().take(to).skip(from);
            let found = items.find(|(_, item)| *item == wanted);
            found.map(|(at, _)| Value::from(at)).ok_or_else(|| wrong("the value is not in the list"))
        }
        "copy" if !value.is_tuple() => {
            Arguments::of(given, &[])?;
            Ok(value.try_iter()?.collect())
        }
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

fn number(value: &Value, name: &str, given: &[Value]) -> Result<Value, Error> {
    Arguments::of(given, &[])?;
    match name {
        "is_integer" => Ok(Value::from(value.is_integer() || super::printing::number(value).fract() == 0.0)),
        "bit_length" if value.is_integer() => {
            let magnitude = i128::try_from(value.clone())?.unsigned_abs();
            Ok(Value::from(u128::BITS - magnitude.leading_zeros()))
        }
        "conjugate" => Ok(value.clone()),
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}
