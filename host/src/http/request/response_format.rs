//! `response_format`: the form that the answer must have.

use firebox_contract::Grammar;
use serde_json::Value;

use super::fields::{Fields, wrong};
use crate::http::Failure;

/// The field.
pub(in crate::http) const FIELD: &str = "response_format";

/// Reads the form; `None` for text. A schema is followed whether `strict` is set or not.
///
/// # Errors
/// 400 for an unknown type, and for a schema that is missing.
pub(super) fn read(fields: &Fields<'_>) -> Result<Option<Grammar>, Failure> {
    let Some(format) = fields.object(FIELD)? else { return Ok(None) };
    match format.need("type", format.text("type")?)? {
        "text" => Ok(None),
        // llama.cpp's server has the schema beside the type.
        "json_object" => Ok(Some(match format.get("schema") {
            None => Grammar::JsonObject,
            Some(schema) => schema_of(&format, schema)?,
        })),
        "json_schema" => {
            let named = format.need("json_schema", format.object("json_schema")?)?;
            named.text("name")?;
            named.flag("strict")?;
            let schema = named.need("schema", named.get("schema"))?;
            schema_of(&named, schema).map(Some)
        }
        other => {
            let shown: String = other.chars().take(40).collect();
            let message =
                format!("the format \"{shown}\" is not supported; use \"text\", \"json_object\" or \"json_schema\"");
            Err(Failure::unsupported(format.name("type"), message))
        }
    }
}

fn schema_of(fields: &Fields<'_>, schema: &Value) -> Result<Grammar, Failure> {
    match schema {
        Value::Object(_) => Ok(Grammar::JsonSchema(schema.to_string())),
        other => Err(wrong(&fields.name("schema"), "an object", other)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn form(format: &Value) -> Result<Option<Grammar>, Failure> {
        let body = json!({ FIELD: format });
        read(&Fields::of(&body, "").expect("an object"))
    }

    #[test]
    fn the_forms_of_openai_and_llama_cpp_are_read() {
        let schema = json!({ "type": "object" });
        let asked = Some(Grammar::JsonSchema(schema.to_string()));
        for (format, expected) in [
            (json!({ "type": "text" }), None),
            (json!({ "type": "json_object" }), Some(Grammar::JsonObject)),
            (json!({ "type": "json_object", "schema": schema }), asked.clone()),
            (json!({ "type": "json_schema", "json_schema": { "name": "a", "strict": true, "schema": schema } }), asked),
        ] {
            assert_eq!(form(&format).unwrap_or_else(|failure| panic!("{failure}")), expected, "{format}");
        }
        for (format, param) in [
            (json!({}), "response_format.type"),
            (json!({ "type": "xml" }), "response_format.type"),
            (json!({ "type": "json_schema" }), "response_format.json_schema"),
            (json!({ "type": "json_schema", "json_schema": { "name": "a" } }), "response_format.json_schema.schema"),
            (json!({ "type": "json_schema", "json_schema": { "schema": 7 } }), "response_format.json_schema.schema"),
            (json!({ "type": "json_schema", "json_schema": { "strict": 1 } }), "response_format.json_schema.strict"),
        ] {
            let failure = form(&format).expect_err(param);
            let body = serde_json::to_value(failure.body_for("r")).expect("JSON");
            assert_eq!(body["error"]["param"], param, "{format}");
        }
    }
}
