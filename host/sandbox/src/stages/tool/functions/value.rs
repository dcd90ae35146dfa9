//! Values between JSON and the component model, in the form that `schema.rs` describes.

use serde_json::{Map, Value, json};
use wasmtime::component::{Type, Val};

/// `value` as a value of `ty`.
///
/// # Errors
/// What does not fit, as the end of a sentence about the value.
pub(super) fn to_val(value: Value, ty: &Type) -> Result<Val, String> {
    if let Some(simple) = to_simple(&value, ty)? {
        return Ok(simple);
    }
    match (ty, value) {
        (Type::List(list), Value::Array(items)) => {
            let ty = list.ty();
            Ok(Val::List(items.into_iter().map(|item| to_val(item, &ty)).collect::<Result<_, _>>()?))
        }
        (Type::FixedLengthList(list), Value::Array(items)) if items.len() == list.len() as usize => {
            let ty = list.ty();
            Ok(Val::FixedLengthList(items.into_iter().map(|item| to_val(item, &ty)).collect::<Result<_, _>>()?))
        }
        (Type::Tuple(tuple), Value::Array(items)) if items.len() == tuple.types().len() => {
            let items = items.into_iter().zip(tuple.types());
            Ok(Val::Tuple(items.map(|(item, ty)| to_val(item, &ty)).collect::<Result<_, _>>()?))
        }
        (Type::Record(record), Value::Object(mut members)) => {
            let mut fields = Vec::new();
            for field in record.fields() {
                let member = members.remove(field.name).unwrap_or_default();
                let value =
                    to_val(member, &field.ty).map_err(|reason| format!("has a \"{}\" that {reason}", field.name))?;
                fields.push((field.name.to_owned(), value));
            }
            match members.keys().next() {
                None => Ok(Val::Record(fields)),
                Some(unknown) => Err(format!("has the unknown member \"{unknown}\"")),
            }
        }
        (Type::Variant(variant), Value::Object(mut members)) => {
            let tag = members.remove("tag");
            let tag = tag.as_ref().and_then(Value::as_str).ok_or("has no \"tag\"")?;
            let case = variant
                .cases()
                .find(|case| case.name == tag)
                .ok_or_else(|| format!("has the unknown tag \"{tag}\""))?;
            let value = case.ty.map(|ty| to_val(members.remove("val").unwrap_or_default(), &ty)).transpose()?;
            Ok(Val::Variant(tag.to_owned(), value.map(Box::new)))
        }
        (Type::Option(_), Value::Null) => Ok(Val::Option(None)),
        (Type::Option(option), value) => {
            let ty = option.ty();
            let value = match (&ty, value) {
                (Type::Option(_), Value::Object(mut members)) => members.remove("some").ok_or("has no \"some\"")?,
                (_, value) => value,
            };
            Ok(Val::Option(Some(Box::new(to_val(value, &ty)?))))
        }
        (Type::Result(result), Value::Object(members)) => to_result(members, result.ok(), result.err()),
        (ty, _) => Err(format!("is not a {}", super::schema::text(ty))),
    }
}

/// `{"ok": …}` or `{"err": …}` as a result.
fn to_result(mut members: Map<String, Value>, ok: Option<Type>, err: Option<Type>) -> Result<Val, String> {
    let inner =
        |value: Value, ty: Option<Type>| ty.map(|ty| to_val(value, &ty)).transpose().map(|value| value.map(Box::new));
    if let Some(value) = members.remove("ok") {
        return Ok(Val::Result(Ok(inner(value, ok)?)));
    }
    let value = members.remove("err").ok_or("has neither \"ok\" nor \"err\"")?;
    Ok(Val::Result(Err(inner(value, err)?)))
}

/// A value of a type without parts. `None` for other types.
fn to_simple(value: &Value, ty: &Type) -> Result<Option<Val>, String> {
    let misfit = || format!("is not a {}", super::schema::text(ty));
    fn whole<T: TryFrom<i128>>(value: &Value) -> Option<T> {
        let number = value.as_i64().map(i128::from).or_else(|| value.as_u64().map(i128::from));
        // 2.0 is an integer in JSON Schema.
        let float = || value.as_f64().filter(|n| n.fract() == 0.0 && n.abs() < 9e15).map(|n| n as i128);
        T::try_from(number.or_else(float)?).ok()
    }
    let found = match ty {
        Type::Bool => value.as_bool().map(Val::Bool),
        Type::S8 => whole(value).map(Val::S8),
        Type::U8 => whole(value).map(Val::U8),
        Type::S16 => whole(value).map(Val::S16),
        Type::U16 => whole(value).map(Val::U16),
        Type::S32 => whole(value).map(Val::S32),
        Type::U32 => whole(value).map(Val::U32),
        Type::S64 => whole(value).map(Val::S64),
        Type::U64 => whole(value).map(Val::U64),
        Type::Float32 => value.as_f64().map(|number| Val::Float32(number as f32)),
        Type::Float64 => value.as_f64().map(Val::Float64),
        Type::Char => {
            let mut characters = value.as_str().unwrap_or_default().chars();
            characters.next().filter(|_| characters.next().is_none()).map(Val::Char)
        }
        Type::String => value.as_str().map(|text| Val::String(text.to_owned())),
        Type::Enum(names) => {
            let name = value.as_str().filter(|name| names.names().any(|known| known == *name));
            name.map(|name| Val::Enum(name.to_owned()))
        }
        Type::Flags(flags) => {
            let known = |name: &Value| {
                let name = name.as_str()?;
                flags.names().any(|known| known == name).then(|| name.to_owned())
            };
            value.as_array().and_then(|items| items.iter().map(known).collect::<Option<Vec<_>>>()).map(Val::Flags)
        }
        _ => return Ok(None),
    };
    found.map(Some).ok_or_else(misfit)
}

/// `value` as JSON.
pub(super) fn to_json(value: Val) -> Value {
    let inner = |value: Option<Box<Val>>| value.map_or(Value::Null, |value| to_json(*value));
    match value {
        Val::Bool(value) => value.into(),
        Val::S8(value) => value.into(),
        Val::U8(value) => value.into(),
        Val::S16(value) => value.into(),
        Val::U16(value) => value.into(),
        Val::S32(value) => value.into(),
        Val::U32(value) => value.into(),
        Val::S64(value) => value.into(),
        Val::U64(value) => value.into(),
        // The shortest text that stands for the number: 0.1 and not 0.10000000149011612.
        Val::Float32(value) => float(value.to_string().parse().unwrap_or_else(|_| f64::from(value))),
        Val::Float64(value) => float(value),
        Val::Char(value) => value.to_string().into(),
        Val::String(value) | Val::Enum(value) => value.into(),
        Val::List(items) | Val::Tuple(items) | Val::FixedLengthList(items) => {
            Value::Array(items.into_iter().map(to_json).collect())
        }
        Val::Map(pairs) => {
            Value::Array(pairs.into_iter().map(|(key, value)| json!([to_json(key), to_json(value)])).collect())
        }
        Val::Record(fields) => Value::Object(fields.into_iter().map(|(name, value)| (name, to_json(value))).collect()),
        Val::Variant(tag, None) => json!({ "tag": tag }),
        Val::Variant(tag, value) => json!({ "tag": tag, "val": inner(value) }),
        Val::Option(None) => Value::Null,
        Val::Option(Some(value)) if matches!(*value, Val::Option(_)) => json!({ "some": to_json(*value) }),
        Val::Option(Some(value)) => to_json(*value),
        Val::Result(Ok(value)) => json!({ "ok": inner(value) }),
        Val::Result(Err(value)) => json!({ "err": inner(value) }),
        Val::Flags(names) => names.into(),
        // A function with such a result is no tool.
        Val::Resource(_) | Val::Future(_) | Val::Stream(_) | Val::ErrorContext(_) => Value::Null,
    }
}

/// JSON has no infinity and no NaN, so they are texts.
fn float(value: f64) -> Value {
    serde_json::Number::from_f64(value).map_or_else(|| value.to_string().into(), Value::Number)
}

#[cfg(test)]
mod tests;
