//! The keywords of JSON Schema, from draft 4 to 2020-12, and what happens to each.

use serde_json::{Map, Value};

use super::walk::refuse;
use crate::error::GrammarError;

/// The drafts, as far as they differ in what is supported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Draft {
    /// Draft 4: bounds are exclusive by a flag.
    Four,
    /// Draft 6 to 2019-09: `items` can be a list.
    Old,
    /// 2020-12, also for a schema that names no draft.
    New,
}

/// What happens to a keyword.
#[derive(Clone, Copy)]
pub(super) enum KeywordUse {
    /// It limits nothing.
    Annotation,
    /// Its value is checked and kept.
    Checked(fn(&Value) -> Result<Value, String>),
    /// A reference to another part.
    Reference,
    /// A list of schemas for the same value.
    Schemas,
    /// A schema for a part of the value.
    Schema,
    /// A schema for the items, or in older drafts a list of schemas.
    Items,
    /// A list of schemas for the first items.
    TupleItems,
    /// Schemas by the name of a property.
    Properties,
    /// Schemas by a pattern of names.
    PatternProperties,
    /// A pattern for strings.
    Pattern,
    /// The name of a format.
    Format,
    /// It is refused with this remedy, unless the function accepts its value because it limits nothing.
    Refused(fn(&Value) -> bool, &'static str),
}

use KeywordUse::{Annotation, Checked, Refused};

const PLAIN: &str = "leave it out, and check the answer afterwards";
const ITEMS: &str = "use \"items\" and \"prefixItems\"";
const PROPERTIES: &str = "use \"properties\", \"required\" and \"additionalProperties\"";
const BRANCHES: &str = "write the cases as \"anyOf\"";

/// All keywords that a draft defines, and some of OpenAPI.
const KEYWORDS: &[(&str, KeywordUse)] = &[
    ("$anchor", Annotation),
    ("$comment", Annotation),
    ("$defs", Annotation),
    ("$dynamicAnchor", Annotation),
    ("$dynamicRef", Refused(never, "use \"$ref\"")),
    ("$id", Annotation),
    ("$recursiveAnchor", Refused(is_false, "use \"$ref\"")),
    ("$recursiveRef", Refused(never, "use \"$ref\"")),
    ("$ref", KeywordUse::Reference),
    ("$schema", Annotation),
    ("$vocabulary", Refused(is_empty, "leave it out")),
    ("additionalItems", Refused(never, ITEMS)),
    ("additionalProperties", KeywordUse::Schema),
    ("allOf", KeywordUse::Schemas),
    ("anyOf", KeywordUse::Schemas),
    ("const", Checked(instance)),
    ("contains", Refused(never, PLAIN)),
    ("contentEncoding", Annotation),
    ("contentMediaType", Annotation),
    ("contentSchema", Annotation),
    ("default", Annotation),
    ("definitions", Annotation),
    ("dependencies", Refused(is_empty, BRANCHES)),
    ("dependentRequired", Refused(is_empty, BRANCHES)),
    ("dependentSchemas", Refused(is_empty, BRANCHES)),
    ("deprecated", Annotation),
    ("description", Annotation),
    ("else", Refused(never, BRANCHES)),
    ("enum", Checked(instances)),
    ("examples", Annotation),
    ("exclusiveMaximum", Checked(bound)),
    ("exclusiveMinimum", Checked(bound)),
    ("format", KeywordUse::Format),
    ("id", Annotation),
    ("if", Refused(never, BRANCHES)),
    ("items", KeywordUse::Items),
    ("maxContains", Refused(never, PLAIN)),
    ("maxItems", Checked(count)),
    ("maxLength", Checked(count)),
    ("maxProperties", Checked(count)),
    ("maximum", Checked(bound)),
    ("minContains", Refused(never, PLAIN)),
    ("minItems", Checked(count)),
    ("minLength", Checked(count)),
    ("minProperties", Checked(count)),
    ("minimum", Checked(bound)),
    ("multipleOf", Checked(step)),
    ("not", Refused(never, "write what is allowed")),
    ("nullable", Refused(is_false, "use a list as \"type\", such as [\"string\", \"null\"]")),
    ("oneOf", KeywordUse::Schemas),
    ("pattern", KeywordUse::Pattern),
    ("patternProperties", KeywordUse::PatternProperties),
    ("prefixItems", KeywordUse::TupleItems),
    ("properties", KeywordUse::Properties),
    ("propertyNames", Refused(is_true_or_empty, PROPERTIES)),
    ("readOnly", Annotation),
    ("required", Checked(names)),
    ("then", Refused(never, BRANCHES)),
    ("title", Annotation),
    ("type", Checked(types)),
    ("unevaluatedItems", Refused(is_true_or_empty, ITEMS)),
    ("unevaluatedProperties", Refused(is_true_or_empty, PROPERTIES)),
    ("uniqueItems", Refused(is_false, PLAIN)),
    ("writeOnly", Annotation),
];

/// What happens to the keyword `key`. A word that is no keyword limits nothing, as the standard says.
pub(super) fn use_of(key: &str, draft: Draft) -> KeywordUse {
    match (key, draft) {
        // Read together with `items`.
        ("additionalItems", Draft::Four | Draft::Old) => Annotation,
        ("prefixItems", Draft::Four | Draft::Old) => Refused(never, "use a list as \"items\", or draft 2020-12"),
        ("exclusiveMinimum" | "exclusiveMaximum", Draft::Four) => Checked(flag),
        _ => KEYWORDS.iter().find(|(name, _)| *name == key).map_or(Annotation, |(_, keyword_use)| *keyword_use),
    }
}

/// The draft that a schema names.
pub(super) fn draft(schema: &Value) -> Result<Draft, GrammarError> {
    let Some(named) = schema.get("$schema") else { return Ok(Draft::New) };
    match named
        .as_str()
        .map(|name| name.trim_end_matches('#').trim_start_matches("http://").trim_start_matches("https://"))
    {
        Some("json-schema.org/draft/2020-12/schema") => Ok(Draft::New),
        Some(
            "json-schema.org/draft/2019-09/schema"
            | "json-schema.org/draft-07/schema"
            | "json-schema.org/draft-06/schema",
        ) => Ok(Draft::Old),
        Some("json-schema.org/draft-04/schema") => Ok(Draft::Four),
        _ => Err(refuse("/$schema", "this dialect is not supported; use https://json-schema.org/draft/2020-12/schema")),
    }
}

const TYPES: [&str; 7] = ["null", "boolean", "integer", "number", "string", "array", "object"];

fn types(value: &Value) -> Result<Value, String> {
    let known = |value: &Value| value.as_str().is_some_and(|name| TYPES.contains(&name));
    let fits = known(value) || value.as_array().is_some_and(|list| !list.is_empty() && list.iter().all(known));
    if fits { Ok(value.clone()) } else { Err(format!("it is not a type or a list of types: {}", TYPES.join(", "))) }
}

fn instances(value: &Value) -> Result<Value, String> {
    let list =
        value.as_array().filter(|list| !list.is_empty()).ok_or("it is not a list of values with at least one")?;
    list.iter().try_for_each(|value| instance(value).map(drop))?;
    Ok(value.clone())
}

/// A value that the answer can equal. Numbers that the library would round are refused.
fn instance(value: &Value) -> Result<Value, String> {
    match value {
        Value::Number(number) => exact(number).map(drop)?,
        Value::Array(list) => list.iter().try_for_each(|value| instance(value).map(drop))?,
        Value::Object(members) => {
            members.keys().try_for_each(|name| written(name))?;
            members.values().try_for_each(|value| instance(value).map(drop))?;
        }
        Value::String(text) => written(text)?,
        _ => {}
    }
    Ok(value.clone())
}

/// Refuses a text that JSON writes with `\\u` escapes, which the library does not write.
fn written(text: &str) -> Result<(), String> {
    match text.chars().any(super::pattern::is_unwritten) {
        true => Err("control characters in texts are not supported; leave them out".to_owned()),
        false => Ok(()),
    }
}

/// A number that is written and computed exactly.
fn exact(number: &serde_json::Number) -> Result<f64, String> {
    const WHOLE_MAX: f64 = 9_007_199_254_740_991.0;
    let value = number.as_f64().unwrap_or(f64::NAN);
    let fits = if value.fract() == 0.0 { value.abs() <= WHOLE_MAX } else { (1e-6..1e15).contains(&value.abs()) };
    if fits { Ok(value) } else { Err(format!("the number {number} is too large or too small to be kept exactly")) }
}

fn bound(value: &Value) -> Result<Value, String> {
    let number = value.as_number().ok_or("it is not a number")?;
    exact(number)?;
    Ok(value.clone())
}

/// A flag of draft 4.
fn flag(value: &Value) -> Result<Value, String> {
    if value.is_boolean() { Ok(value.clone()) } else { Err("it is neither true nor false".to_owned()) }
}

fn step(value: &Value) -> Result<Value, String> {
    let number = value.as_number().ok_or("it is not a number")?;
    if exact(number)? > 0.0 { Ok(value.clone()) } else { Err("it is not a number above 0".to_owned()) }
}

fn count(value: &Value) -> Result<Value, String> {
    const COUNT_MAX: f64 = 4_294_967_295.0;
    let number = value.as_f64().filter(|number| number.fract() == 0.0 && *number >= 0.0);
    let number = number.ok_or("it is not a whole number of 0 or more")?;
    if number > COUNT_MAX {
        return Err(format!("it is larger than {COUNT_MAX}"));
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole and in range")]
    Ok(Value::from(number as u64))
}

fn names(value: &Value) -> Result<Value, String> {
    let list = value.as_array().ok_or("it is not a list of names")?;
    if list.iter().all(Value::is_string) { Ok(value.clone()) } else { Err("it is not a list of names".to_owned()) }
}

/// Number of values in a value that is kept as it is.
pub(super) fn values(value: &Value) -> usize {
    match value {
        Value::Array(list) => list.iter().map(|value| 1 + values(value)).sum(),
        Value::Object(members) => members.values().map(|value| 1 + values(value)).sum(),
        _ => 0,
    }
}

fn never(_: &Value) -> bool {
    false
}

fn is_false(value: &Value) -> bool {
    *value == Value::Bool(false)
}

fn is_empty(value: &Value) -> bool {
    value.as_object().is_some_and(Map::is_empty)
}

fn is_true_or_empty(value: &Value) -> bool {
    *value == Value::Bool(true) || is_empty(value)
}

/// Whether a value of the schema with these members can be a string.
pub(super) fn allows_strings(members: &Map<String, Value>) -> bool {
    match members.get("type") {
        None => true,
        Some(Value::Array(list)) => list.iter().any(|name| name == "string"),
        Some(name) => name == "string",
    }
}

/// The bounds of OpenAPI's formats of whole numbers. Other formats of numbers limit nothing.
pub(super) fn number_format(name: &str, out: &mut Map<String, Value>) {
    let (least, most) = match name {
        "int8" => (-128.0, 127.0),
        "int16" => (-32_768.0, 32_767.0),
        "int32" => (-2_147_483_648.0, 2_147_483_647.0),
        "uint8" => (0.0, 255.0),
        "uint16" => (0.0, 65_535.0),
        "uint32" => (0.0, 4_294_967_295.0),
        "uint" | "uint64" => (0.0, f64::INFINITY),
        _ => return,
    };
    tighten(out, "minimum", least, f64::max);
    tighten(out, "maximum", most, f64::min);
}

fn tighten(out: &mut Map<String, Value>, key: &str, bound: f64, tighter: fn(f64, f64) -> f64) {
    let bound = out.get(key).and_then(Value::as_f64).map_or(bound, |given| tighter(given, bound));
    if bound.is_finite() {
        out.insert(key.to_owned(), Value::from(bound));
    }
}

/// Bounds numbers without bounds, so that every reader of JSON can represent them.
pub(super) fn bound_numbers(out: &mut Map<String, Value>) {
    const WHOLE_MAX: f64 = 9e18;
    const NUMBER_MAX: f64 = 9e15;
    let Some(kind) = out.get("type").and_then(Value::as_str) else { return };
    let most = match kind {
        "integer" => WHOLE_MAX,
        "number" => NUMBER_MAX,
        _ => return,
    };
    if !out.contains_key("minimum") && !out.contains_key("exclusiveMinimum") {
        out.insert("minimum".to_owned(), Value::from(-most));
    }
    if !out.contains_key("maximum") && !out.contains_key("exclusiveMaximum") {
        out.insert("maximum".to_owned(), Value::from(most));
    }
}

/// Checks keywords that limit each other. The error has the keyword at fault.
pub(super) fn check_together(out: &Map<String, Value>) -> Result<(), (&'static str, String)> {
    let least = out.get("minProperties").and_then(Value::as_u64).unwrap_or(0);
    let required = out.get("required").and_then(Value::as_array).map_or(0, Vec::len) as u64;
    if least > required + 1 {
        // A name can occur twice in the text of an object, and counts once in its value.
        let reason = "more properties than those that are \"required\", and one, cannot be demanded; name them";
        return Err(("minProperties", reason.to_owned()));
    }
    Ok(())
}
