//! Arguments that a model writes as plain text. The tool's schema says which type each of them has.

use std::sync::Arc;

use firebox_contract::ToolDefinition;
use serde_json::{Map, Value};

/// The types of the arguments of all offered tools.
#[derive(Debug, Clone, Default)]
pub(super) struct ArgumentTypes(Arc<Vec<ToolDefinition>>);

impl ArgumentTypes {
    pub(super) fn of(tools: &Arc<Vec<ToolDefinition>>) -> Self {
        Self(Arc::clone(tools))
    }

    /// The types of the arguments of one tool.
    pub(super) fn of_tool(&self, tool: &str) -> ToolTypes {
        let tool = self.0.iter().find(|definition| definition.name == tool);
        let schema: Option<Value> = tool.and_then(|tool| serde_json::from_str(&tool.input_schema_json).ok());
        let properties = schema.as_ref().and_then(|schema| schema.get("properties")).and_then(Value::as_object);
        ToolTypes(properties.cloned().unwrap_or_default())
    }
}

/// The schemas of one tool's arguments.
#[derive(Debug, Default)]
pub(super) struct ToolTypes(Map<String, Value>);

impl ToolTypes {
    /// Whether an object or a list is the only value that the argument can have.
    pub(super) fn is_composed(&self, argument: &str) -> bool {
        let kind = self.0.get(argument).and_then(|schema| schema.get("type")).and_then(Value::as_str);
        matches!(kind, Some("object" | "array"))
    }

    /// The value that `text` stands for. Text that is no value of the argument's type is a string: the check of the schema
    /// names the mistake.
    pub(super) fn value(&self, argument: &str, text: &str) -> Value {
        let Some(schema) = self.0.get(argument) else {
            return serde_json::from_str(text.trim()).unwrap_or_else(|_| text.into());
        };
        if is_only_text(schema) {
            return text.into();
        }
        match read(text.trim()) {
            Some(value) if allows_value(schema, &value) || !allows(schema, "string") => value,
            _ => text.into(),
        }
    }
}

/// JSON, or one of Python's three names, which some templates show to the model.
fn read(text: &str) -> Option<Value> {
    match text {
        "True" => Some(true.into()),
        "False" => Some(false.into()),
        "None" => Some(Value::Null),
        _ => serde_json::from_str(text).ok(),
    }
}

/// Whether a string is the only type that the schema allows.
fn is_only_text(schema: &Value) -> bool {
    match schema.get("type") {
        Some(Value::String(kind)) => kind == "string",
        Some(Value::Array(kinds)) => kinds.iter().all(|kind| kind == "string"),
        _ => schema.get("enum").and_then(Value::as_array).is_some_and(|values| values.iter().all(Value::is_string)),
    }
}

/// Whether the schema allows a type. A schema without a type allows all.
fn allows(schema: &Value, kind: &str) -> bool {
    match schema.get("type") {
        Some(Value::String(only)) => only == kind,
        Some(Value::Array(kinds)) => kinds.iter().any(|one| one == kind),
        _ => true,
    }
}

fn allows_value(schema: &Value, value: &Value) -> bool {
    match value {
        Value::Null => allows(schema, "null"),
        Value::Bool(_) => allows(schema, "boolean"),
        Value::Number(number) => {
            allows(schema, "number") || (number.is_i64() || number.is_u64()) && allows(schema, "integer")
        }
        Value::String(_) => allows(schema, "string"),
        Value::Array(_) => allows(schema, "array"),
        Value::Object(_) => allows(schema, "object"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_schema_decides_the_type_of_a_text() {
        let types = |schema: Value| ToolTypes([("a".to_owned(), schema)].into_iter().collect());
        for (schema, text, expected) in [
            (json!({"type": "string"}), "12", json!("12")),
            (json!({"type": "string"}), "true", json!("true")),
            (json!({"enum": ["1", "2"]}), "1", json!("1")),
            (json!({"type": "integer"}), " 12\n", json!(12)),
            (json!({"type": "number"}), "1.5", json!(1.5)),
            (json!({"type": "boolean"}), "True", json!(true)),
            (json!({"type": "object"}), "{\"x\": [1]}", json!({"x": [1]})),
            (json!({"type": ["string", "null"]}), "null", json!(null)),
            (json!({"type": ["string", "integer"]}), "7", json!(7)),
            (json!({"type": ["string", "null"]}), "7", json!("7")),
            (json!({"type": "integer"}), "seven", json!("seven")),
            (json!({}), "7", json!(7)),
        ] {
            assert_eq!(types(schema.clone()).value("a", text), expected, "{schema}: {text}");
        }
        assert_eq!(types(json!({})).value("b", "text"), json!("text"), "an unknown argument");
        assert_eq!(ArgumentTypes::default().of_tool("f").value("a", "[1]"), json!([1]));
    }
}
