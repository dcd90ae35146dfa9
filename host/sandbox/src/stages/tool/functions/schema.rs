//! JSON Schema of WIT types. `value.rs` reads and writes the values that these schemas describe.

use firebox_contract::limits;
use serde_json::{Map, Value, json};
use wasmtime::component::Type;

/// Counts the parts of the types of one function, because a type can name another one many times.
#[derive(Debug, Default)]
pub(super) struct SchemaBudget {
    parts: usize,
}

impl SchemaBudget {
    /// The schema of `ty`, which is `depth` levels inside of another type.
    ///
    /// # Errors
    /// Why no schema describes the type, as the end of a sentence about its function.
    pub(super) fn schema(&mut self, ty: &Type, depth: usize) -> Result<Value, String> {
        self.parts += 1;
        if depth > limits::PLUGIN_FUNCTION_TYPE_DEPTH_MAX || self.parts > limits::PLUGIN_FUNCTION_TYPE_PARTS_MAX {
            let (depth, parts) = (limits::PLUGIN_FUNCTION_TYPE_DEPTH_MAX, limits::PLUGIN_FUNCTION_TYPE_PARTS_MAX);
            return Err(format!("has types of more than {depth} levels or {parts} parts"));
        }
        if let Some(simple) = simple(ty) {
            return Ok(simple);
        }
        let mut inner = |ty: &Type| self.schema(ty, depth + 1);
        match ty {
            Type::List(list) => Ok(json!({ "type": "array", "items": inner(&list.ty())? })),
            Type::FixedLengthList(list) => {
                let count = list.len();
                Ok(json!({ "type": "array", "items": inner(&list.ty())?, "minItems": count, "maxItems": count }))
            }
            Type::Tuple(tuple) => {
                let items = tuple.types().map(|ty| inner(&ty)).collect::<Result<Vec<_>, _>>()?;
                let count = items.len();
                Ok(json!({ "type": "array", "prefixItems": items, "minItems": count, "maxItems": count }))
            }
            Type::Record(record) => {
                let (mut properties, mut required) = (Map::new(), Vec::new());
                for field in record.fields() {
                    properties.insert(field.name.to_owned(), inner(&field.ty)?);
                    if !matches!(field.ty, Type::Option(_)) {
                        required.push(field.name);
                    }
                }
                Ok(json!({
                    "type": "object", "properties": properties, "required": required, "additionalProperties": false,
                }))
            }
            Type::Variant(variant) => {
                let mut cases = Vec::new();
                for case in variant.cases() {
                    let value = case.ty.as_ref().map(&mut inner).transpose()?;
                    cases.push(tagged("tag", &json!({ "const": case.name }), value));
                }
                Ok(json!({ "oneOf": cases }))
            }
            Type::Option(option) => {
                let (ty, inner) = (option.ty(), inner(&option.ty())?);
                // `null` alone cannot tell none from some(none).
                let some = if matches!(ty, Type::Option(_)) { only("some", Some(inner)) } else { inner };
                Ok(json!({ "anyOf": [some, { "type": "null" }] }))
            }
            Type::Result(result) => {
                let ok = result.ok().map(|ty| inner(&ty)).transpose()?;
                let err = result.err().map(|ty| inner(&ty)).transpose()?;
                Ok(json!({ "oneOf": [only("ok", ok), only("err", err)] }))
            }
            other => Err(format!("uses {}", unsupported(other))),
        }
    }
}

/// The schema of a type without parts.
fn simple(ty: &Type) -> Option<Value> {
    let integer = |low: i64, high: u64| json!({ "type": "integer", "minimum": low, "maximum": high });
    Some(match ty {
        Type::Bool => json!({ "type": "boolean" }),
        Type::S8 => integer(i8::MIN.into(), 127),
        Type::U8 => integer(0, u8::MAX.into()),
        Type::S16 => integer(i16::MIN.into(), 32_767),
        Type::U16 => integer(0, u16::MAX.into()),
        Type::S32 => integer(i32::MIN.into(), 2_147_483_647),
        Type::U32 => integer(0, u32::MAX.into()),
        Type::S64 => integer(i64::MIN, 9_223_372_036_854_775_807),
        Type::U64 => integer(0, u64::MAX),
        Type::Float32 | Type::Float64 => json!({ "type": "number" }),
        Type::Char => json!({ "type": "string", "minLength": 1, "maxLength": 1 }),
        Type::String => json!({ "type": "string" }),
        Type::Enum(names) => json!({ "type": "string", "enum": names.names().collect::<Vec<_>>() }),
        Type::Flags(names) => {
            let names: Vec<&str> = names.names().collect();
            json!({ "type": "array", "items": { "type": "string", "enum": names }, "uniqueItems": true })
        }
        _ => return None,
    })
}

/// An object with the member `name`, and no other. A case without a value has `null`.
fn only(name: &str, value: Option<Value>) -> Value {
    let value = value.unwrap_or_else(|| json!({ "type": "null" }));
    json!({ "type": "object", "properties": { name: value }, "required": [name], "additionalProperties": false })
}

/// An object that names its case, and has the value of the case as `val`.
fn tagged(tag: &str, name: &Value, value: Option<Value>) -> Value {
    match value {
        None => {
            json!({ "type": "object", "properties": { tag: name }, "required": [tag], "additionalProperties": false })
        }
        Some(value) => json!({
            "type": "object", "properties": { tag: name, "val": value }, "required": [tag, "val"],
            "additionalProperties": false,
        }),
    }
}

/// A type that JSON cannot hold.
fn unsupported(ty: &Type) -> &'static str {
    match ty {
        Type::Own(_) | Type::Borrow(_) => "a resource, which a call cannot pass as JSON",
        Type::Future(_) | Type::Stream(_) => "a future or a stream, which a call cannot pass as JSON",
        Type::Map(_) => "a map, which this host does not support yet",
        _ => "a type that a call cannot pass as JSON",
    }
}

/// The type in the notation of WIT, with records and variants by their members' names only.
pub(super) fn text(ty: &Type) -> String {
    let list = |names: Vec<&str>| names.join(", ");
    match ty {
        Type::Bool => "bool".to_owned(),
        Type::S8 => "s8".to_owned(),
        Type::U8 => "u8".to_owned(),
        Type::S16 => "s16".to_owned(),
        Type::U16 => "u16".to_owned(),
        Type::S32 => "s32".to_owned(),
        Type::U32 => "u32".to_owned(),
        Type::S64 => "s64".to_owned(),
        Type::U64 => "u64".to_owned(),
        Type::Float32 => "f32".to_owned(),
        Type::Float64 => "f64".to_owned(),
        Type::Char => "char".to_owned(),
        Type::String => "string".to_owned(),
        Type::List(inner) => format!("list<{}>", text(&inner.ty())),
        Type::FixedLengthList(inner) => format!("list<{}, {}>", text(&inner.ty()), inner.len()),
        Type::Tuple(tuple) => {
            format!("tuple<{}>", tuple.types().map(|ty| text(&ty)).collect::<Vec<_>>().join(", "))
        }
        Type::Record(record) => format!("record {{ {} }}", list(record.fields().map(|field| field.name).collect())),
        Type::Variant(variant) => format!("variant {{ {} }}", list(variant.cases().map(|case| case.name).collect())),
        Type::Enum(names) => format!("enum {{ {} }}", list(names.names().collect())),
        Type::Flags(names) => format!("flags {{ {} }}", list(names.names().collect())),
        Type::Option(inner) => format!("option<{}>", text(&inner.ty())),
        Type::Result(result) => {
            let part = |ty: Option<Type>| ty.map_or_else(|| "_".to_owned(), |ty| text(&ty));
            format!("result<{}, {}>", part(result.ok()), part(result.err()))
        }
        other => unsupported(other).to_owned(),
    }
}
