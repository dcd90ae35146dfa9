//! Checks that the tools which a plugin defines can be offered to a model.

use std::collections::HashSet;

use firebox_contract::{ToolDefinition, limits};

use crate::error::SandboxError;
use crate::sandbox::ToolCheck;

/// Checks `definitions` against the limits of one plugin, and each definition with `extra`.
///
/// # Errors
/// `SandboxError::Tool` names the first tool that cannot be offered.
pub(super) fn check(plugin: &str, definitions: &[ToolDefinition], extra: ToolCheck) -> Result<(), SandboxError> {
    if let Some(first) = definitions.get(limits::TOOLS_MAX) {
        let (count, most) = (definitions.len(), limits::TOOLS_MAX);
        return Err(wrong(plugin, first, format!("is one of {count}; at most {most} are allowed; define fewer")));
    }
    let (mut seen, mut bytes) = (HashSet::new(), 0);
    for definition in definitions {
        let refuse = |reason: String| Err(wrong(plugin, definition, reason));
        bytes += size(definition);
        if bytes > limits::PLUGIN_TOOLS_BYTES_MAX {
            let most = limits::PLUGIN_TOOLS_BYTES_MAX;
            return refuse(format!(
                "brings the definitions to {bytes} bytes; at most {most} are allowed; shorten them"
            ));
        }
        check_name(&definition.name).or_else(refuse)?;
        check_texts(definition).or_else(refuse)?;
        if !seen.insert(definition.name.as_str()) {
            return refuse("is defined twice".to_owned());
        }
        check_schemas(definition).or_else(refuse)?;
        extra(definition).or_else(refuse)?;
    }
    Ok(())
}

fn wrong(plugin: &str, definition: &ToolDefinition, reason: String) -> SandboxError {
    let shown: String = definition.name.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    SandboxError::Tool {
        plugin: plugin.to_owned(),
        tool: crate::instance::log::cut(&shown, limits::TOOL_NAME_BYTES_MAX).to_owned(),
        reason: crate::instance::log::cut(&reason, limits::PLUGIN_ERROR_BYTES_MAX).to_owned(),
    }
}

fn size(definition: &ToolDefinition) -> usize {
    let ToolDefinition { name, description, title, input_schema_json, output_schema_json, .. } = definition;
    let optional = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    name.len() + description.len() + optional(title) + input_schema_json.len() + optional(output_schema_json)
}

fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > limits::TOOL_NAME_BYTES_MAX {
        return Err(format!("needs a name of 1 to {} bytes", limits::TOOL_NAME_BYTES_MAX));
    }
    if !name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')) {
        return Err("has a name with characters other than letters, digits, '_', '-' and '.'".to_owned());
    }
    Ok(())
}

fn check_texts(definition: &ToolDefinition) -> Result<(), String> {
    let title = definition.title.as_deref().unwrap_or_default();
    for (what, text, most) in [
        ("description", definition.description.as_str(), limits::PLUGIN_TOOL_TEXT_BYTES_MAX),
        ("title", title, limits::PLUGIN_TOOL_TITLE_BYTES_MAX),
    ] {
        if text.len() > most {
            return Err(format!("has a {what} of {} bytes; at most {most} are allowed", text.len()));
        }
    }
    Ok(())
}

fn check_schemas(definition: &ToolDefinition) -> Result<(), String> {
    let input = Some(&definition.input_schema_json);
    for (what, schema) in [("an input", input), ("an output", definition.output_schema_json.as_ref())] {
        let Some(schema) = schema else { continue };
        if schema.len() > limits::SCHEMA_BYTES_MAX {
            let (bytes, most) = (schema.len(), limits::SCHEMA_BYTES_MAX);
            return Err(format!("has {what} schema of {bytes} bytes; at most {most} are allowed"));
        }
        if let Err(error) = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(schema) {
            return Err(format!("has {what} schema that is not one JSON object: {error}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use firebox_contract::ToolEffects;

    use super::*;

    fn tool(name: &str, schema: &str) -> ToolDefinition {
        ToolDefinition {
            name: name.to_owned(),
            title: None,
            output_schema_json: None,
            description: String::new(),
            input_schema_json: schema.to_owned(),
            as_sent_json: None,
            effects: ToolEffects::default(),
        }
    }

    #[test]
    fn a_definition_that_cannot_be_offered_is_named_with_the_reason() {
        let check = |definitions: &[ToolDefinition]| check("p", definitions, |_| Ok(()));
        assert!(check(&[tool("add", "{\"type\": \"object\"}"), tool("sub", "{}")]).is_ok());
        let long = "x".repeat(limits::SCHEMA_BYTES_MAX);
        let described = ToolDefinition { description: long.clone(), ..tool("add", "{}") };
        let titled = ToolDefinition { title: Some(long.clone()), ..tool("add", "{}") };
        let answers = ToolDefinition { output_schema_json: Some("[]".to_owned()), ..tool("add", "{}") };
        let many: Vec<ToolDefinition> = (0..=limits::TOOLS_MAX).map(|n| tool(&n.to_string(), "{}")).collect();
        let text = "d".repeat(limits::PLUGIN_TOOL_TEXT_BYTES_MAX);
        let bulky: Vec<ToolDefinition> =
            (0..200).map(|n| ToolDefinition { description: text.clone(), ..tool(&n.to_string(), "{}") }).collect();
        let bad: [(&[ToolDefinition], &str); 11] = [
            (&[tool("", "{}")], "needs a name"),
            (&[tool(&"x".repeat(200), "{}")], "needs a name"),
            (&[tool("rm -rf", "{}")], "characters other than letters"),
            (&[tool("\x1b[2J", "{}")], "characters other than letters"),
            (&[tool("add", "{}"), tool("add", "{}")], "\"add\" that is defined twice"),
            (&[tool("add", "[]")], "an input schema"),
            (&[answers], "an output schema"),
            (&[described], "description of 65536"),
            (&[titled], "title of 65536"),
            (&many, "is one of 257"),
            (&bulky, "shorten them"),
        ];
        for (definitions, expected) in bad {
            let error = check(definitions).expect_err(expected).to_string();
            assert!(error.contains(expected) && !error.contains('\x1b'), "{error:.300} should contain {expected}");
        }
    }

    #[test]
    fn the_extra_check_can_refuse_a_tool_when_it_is_loaded() {
        let error = check("p", &[tool("add", "{}")], |_| Err("cannot be checked".to_owned())).expect_err("refused");
        assert!(error.to_string().contains("cannot be checked"), "{error}");
    }
}
