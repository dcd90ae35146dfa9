//! Writes the arguments of a call in a notation that is no JSON object. The parts of the schema that the notation cannot
//! express are refused.

use std::collections::HashMap;
use std::fmt::Write as _;

use firebox_contract::{ArgumentStyle, ArgumentValues};
use serde_json::{Map, Value};

use super::texts::TextForm;
use super::{LarkWriter, json, quoted, texts};
use crate::error::GrammarError;
use crate::schema::{self, Rewritten, refuse};

/// The names that every notation can express.
const NAME: &str = "[A-Za-z0-9_.-]{1,128}";
/// Keywords that say which values an object has. Other keywords are about other types, or are in [`MEMBERS`].
const COMPOSED: [&str; 8] = ["$ref", "allOf", "anyOf", "const", "enum", "maxProperties", "oneOf", "patternProperties"];
/// Keywords of an object that are followed.
const MEMBERS: [&str; 4] = ["additionalProperties", "minProperties", "properties", "required"];

/// The expression of arguments that are valid against the schema with this text.
///
/// # Errors
/// `Schema` with the pointer of the first part that the notation cannot express, and those of reading a schema.
pub(super) fn write(
    lark: &mut LarkWriter<'_>,
    schema: Option<&str>,
    style: ArgumentStyle,
) -> Result<String, GrammarError> {
    let Some(text) = schema else { return Ok(any_members(lark, style)) };
    let rewritten = schema::rewritten(text)?;
    let mut writer = ArgumentsWriter { lark, style, schema: &rewritten, rules: HashMap::new() };
    writer.members(rewritten.root(), "")
}

/// Any arguments.
fn any_members(lark: &mut LarkWriter<'_>, style: ArgumentStyle) -> String {
    let (before, after) = (lark.marked(style.before_name), lark.marked(style.after_name));
    let (name, value) = match style.values {
        ArgumentValues::Plain { keeps_breaks } => {
            let form = TextForm::default().with_breaks(keeps_breaks);
            ("[^<>\\x00-\\x20]{1,128}", texts::up_to(lark, &form, style.after_value))
        }
        ArgumentValues::Json => (NAME, json(&schema::any_value())),
        ArgumentValues::Marked(mark) => (NAME, any_marked(lark, mark)),
    };
    let name_terminal = lark.name("T");
    let _always_ok = writeln!(lark.rules, "{name_terminal}: /{name}/");
    let member = lark.name("rule");
    let _always_ok = writeln!(lark.rules, "{member}: {before} {name_terminal} {after} {value}");
    match style.between {
        "" => format!("({member})*"),
        between => format!("({member} ({} {member})*)?", lark.marked(between)),
    }
}

/// The rule of any value between marks.
fn any_marked(lark: &mut LarkWriter<'_>, mark: &str) -> String {
    let text = texts::between(lark, &TextForm::default().with_breaks(true), mark);
    let (any, name) = (lark.name("any"), lark.name("T"));
    let scalar = json(&serde_json::json!({ "type": ["number", "boolean", "null"] }));
    let member = format!("{name} \":\" {any}");
    let _always_ok = writeln!(
        lark.rules,
        "{name}: /{NAME}/\n{any}: {text} | {scalar} | \"[\" ({any} (\",\" {any})*)? \"]\" | \"{{\" ({member} (\",\" {member})*)? \"}}\""
    );
    any
}

struct ArgumentsWriter<'w, 'v> {
    lark: &'w mut LarkWriter<'v>,
    style: ArgumentStyle,
    schema: &'w Rewritten,
    /// The rules of the targets of references.
    rules: HashMap<String, String>,
}

impl ArgumentsWriter<'_, '_> {
    /// The members of an object, in the order of the schema. An optional one may be left out.
    fn members(&mut self, schema: &Value, pointer: &str) -> Result<String, GrammarError> {
        let empty = Map::new();
        let members = schema.as_object().unwrap_or(&empty);
        let required: Vec<&str> =
            members.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        if let Some(keyword) = COMPOSED.into_iter().find(|keyword| members.contains_key(*keyword)) {
            return Err(unsupported(pointer, keyword));
        }
        let least = members.get("minProperties").and_then(Value::as_u64).unwrap_or(0);
        if least > required.len() as u64 {
            return Err(unsupported(pointer, "minProperties"));
        }
        let properties = members.get("properties").and_then(Value::as_object).unwrap_or(&empty);
        if let Some(missing) = required.iter().find(|name| !properties.contains_key(**name)) {
            let reason = format!("\"{missing}\" is not in \"properties\"; describe it there");
            return Err(refuse(&format!("{pointer}/required"), reason));
        }
        let mut written = Vec::new();
        for (name, part) in properties {
            let optional = !required.contains(&name.as_str());
            if optional && *part == Value::Bool(false) {
                continue;
            }
            let here = format!("{pointer}/properties/{}", name.replace('~', "~0").replace('/', "~1"));
            written.push((self.member(name, part, &here)?, optional));
        }
        Ok(self.joined_members(&written))
    }

    /// Rules for lists in which optional members may be left out: `more` follows a member, `first` does not.
    fn joined_members(&mut self, written: &[(String, bool)]) -> String {
        let between = self.lark.marked(self.style.between);
        let (mut first, mut more) = ("\"\"".to_owned(), "\"\"".to_owned());
        for (member, optional) in written.iter().rev() {
            let (named_first, named_more) = (self.lark.name("rule"), self.lark.name("rule"));
            let or_not = |rest: &str| if *optional { format!(" | {rest}") } else { String::new() };
            let (skip_first, skip_more) = (or_not(&first), or_not(&more));
            let _always_ok = writeln!(
                self.lark.rules,
                "{named_first}: {member} {more}{skip_first}\n{named_more}: {between} {member} {more}{skip_more}"
            );
            (first, more) = (named_first, named_more);
        }
        first
    }

    /// A name with its value and what follows the value.
    fn member(&mut self, name: &str, schema: &Value, pointer: &str) -> Result<String, GrammarError> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        if name.is_empty() || !name.chars().all(is_plain) {
            return Err(refuse(
                pointer,
                "this model's calls cannot have an argument with this name; use letters, digits, '_', '.' and '-'",
            ));
        }
        let style = self.style;
        let head =
            format!("{} {} {}", self.lark.marked(style.before_name), quoted(name), self.lark.marked(style.after_name));
        let value = match style.values {
            ArgumentValues::Plain { keeps_breaks } if is_only_text(schema) => {
                let form = TextForm::of(schema, pointer)?.with_breaks(keeps_breaks);
                texts::up_to(self.lark, &form, style.after_value)
            }
            ArgumentValues::Plain { .. } | ArgumentValues::Json => {
                format!("{} {}", json(&schema::alone(self.schema, schema)), self.lark.marked(style.after_value))
            }
            ArgumentValues::Marked(mark) => self.marked_value(schema, mark, pointer)?,
        };
        let rule = self.lark.name("rule");
        let _always_ok = writeln!(self.lark.rules, "{rule}: {head} {value}");
        Ok(rule)
    }

    /// A value whose texts are between marks.
    fn marked_value(&mut self, schema: &Value, mark: &str, pointer: &str) -> Result<String, GrammarError> {
        let members = match schema {
            Value::Object(members) if !members.is_empty() => members,
            Value::Bool(false) => return Err(refuse(pointer, "no value is valid; leave the property out")),
            _ => return Ok(any_marked(self.lark, mark)),
        };
        if let Some(reference) = members.get("$ref").and_then(Value::as_str) {
            alone(members, "$ref", pointer)?;
            return self.referred(reference, mark, pointer);
        }
        if let Some(choices) = members.get("anyOf").and_then(Value::as_array) {
            alone(members, "anyOf", pointer)?;
            let each = |(at, part)| self.marked_value(part, mark, &format!("{pointer}/anyOf/{at}"));
            let choices = choices.iter().enumerate().map(each).collect::<Result<Vec<_>, _>>()?;
            return Ok(format!("({})", choices.join(" | ")));
        }
        if is_only_text(schema) {
            return Ok(texts::between(self.lark, &TextForm::of(schema, pointer)?, mark));
        }
        if let Some(values) = members.get("enum").or_else(|| members.get("const")) {
            let list =
                members.get("enum").and_then(Value::as_array).map_or(std::slice::from_ref(values), Vec::as_slice);
            let all: Result<Vec<String>, _> = list.iter().map(|value| notation(value, mark, pointer)).collect();
            let all: Vec<String> = all?.iter().map(|text| self.lark.marked(text)).collect();
            return Ok(format!("({})", all.join(" | ")));
        }
        if let Some(keyword) =
            ["allOf", "oneOf", "prefixItems"].into_iter().find(|keyword| members.contains_key(*keyword))
        {
            return Err(unsupported(pointer, keyword));
        }
        let types = match members.get("type") {
            Some(Value::String(one)) => vec![one.as_str()],
            Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
            _ => return Err(refuse(pointer, "this model's calls need the \"type\" of a value; add it")),
        };
        let each = |kind: &str| self.typed_value(kind, members, mark, pointer);
        let choices = types.into_iter().map(each).collect::<Result<Vec<_>, _>>()?;
        Ok(format!("({})", choices.join(" | ")))
    }

    fn typed_value(
        &mut self,
        kind: &str,
        members: &Map<String, Value>,
        mark: &str,
        pointer: &str,
    ) -> Result<String, GrammarError> {
        let mut only = members.clone();
        only.insert("type".to_owned(), kind.into());
        let only = Value::Object(only);
        match kind {
            "string" => Ok(texts::between(self.lark, &TextForm::of(&only, pointer)?, mark)),
            "object" => Ok(format!("\"{{\" {} \"}}\"", self.members(&only, pointer)?)),
            "array" => self.marked_list(members, mark, pointer),
            _ => Ok(json(&schema::alone(self.schema, &only))),
        }
    }

    fn marked_list(&mut self, members: &Map<String, Value>, mark: &str, pointer: &str) -> Result<String, GrammarError> {
        let bound = |key: &str| members.get(key).and_then(Value::as_u64);
        let (least, most) = (bound("minItems").unwrap_or(0), bound("maxItems"));
        if most == Some(0) || members.get("items") == Some(&Value::Bool(false)) {
            return Ok("\"[\" \"]\"".to_owned());
        }
        let items = members.get("items").unwrap_or(&Value::Bool(true));
        let item = self.marked_value(items, mark, &format!("{pointer}/items"))?;
        let rule = self.lark.name("rule");
        let further = self.lark.name("rule");
        let _always_ok = writeln!(self.lark.rules, "{rule}: {item}\n{further}: \",\" {rule}");
        let most = most.map(|most| (most - 1).to_string()).unwrap_or_default();
        let list = format!("{rule} {further}{{{},{most}}}", least.saturating_sub(1));
        Ok(if least == 0 { format!("\"[\" ({list})? \"]\"") } else { format!("\"[\" {list} \"]\"") })
    }

    /// The rule of a reference's target, which may refer to itself.
    fn referred(&mut self, reference: &str, mark: &str, pointer: &str) -> Result<String, GrammarError> {
        if let Some(rule) = self.rules.get(reference) {
            return Ok(rule.clone());
        }
        let rule = self.lark.name("rule");
        self.rules.insert(reference.to_owned(), rule.clone());
        let schema = self.schema;
        let value = self.marked_value(schema.target(reference), mark, pointer)?;
        let _always_ok = writeln!(self.lark.rules, "{rule}: {value}");
        Ok(rule)
    }
}

/// Whether a string is the only value that the schema allows, as the parsers of calls decide it.
fn is_only_text(schema: &Value) -> bool {
    match schema.get("type") {
        Some(Value::String(kind)) => kind == "string",
        Some(Value::Array(kinds)) => kinds.iter().all(|kind| kind == "string"),
        _ => schema.get("enum").and_then(Value::as_array).is_some_and(|values| values.iter().all(Value::is_string)),
    }
}

/// Refuses keywords beside `keyword`, which describes the whole value.
fn alone(members: &Map<String, Value>, keyword: &str, pointer: &str) -> Result<(), GrammarError> {
    match members
        .keys()
        .find(|key| *key != keyword && (COMPOSED.contains(&key.as_str()) || MEMBERS.contains(&key.as_str())))
    {
        Some(other) => Err(unsupported(pointer, other)),
        None => Ok(()),
    }
}

fn unsupported(pointer: &str, keyword: &str) -> GrammarError {
    let reason = format!(
        "\"{keyword}\" is not supported here, because this model writes its arguments one by one; leave it out"
    );
    refuse(&format!("{pointer}/{keyword}"), reason)
}

/// A value in the notation with marks.
fn notation(value: &Value, mark: &str, pointer: &str) -> Result<String, GrammarError> {
    Ok(match value {
        Value::String(text) if text.contains(mark) => {
            return Err(refuse(pointer, "a text contains a mark of the model"));
        }
        Value::String(text) => format!("{mark}{text}{mark}"),
        Value::Array(list) => {
            let list: Result<Vec<_>, _> = list.iter().map(|value| notation(value, mark, pointer)).collect();
            format!("[{}]", list?.join(","))
        }
        Value::Object(members) => {
            let member = |(name, value)| Ok(format!("{name}:{}", notation(value, mark, pointer)?));
            let members: Result<Vec<_>, GrammarError> = members.iter().map(member).collect();
            format!("{{{}}}", members?.join(","))
        }
        other => other.to_string(),
    })
}
