//! The fields of reasoning: whether the model reasons, how much, and whether the answer shows it.

use firebox_contract::ReasoningOptions;
use serde_json::Value;

use super::fields::{Fields, wrong};
use crate::http::Failure;

/// The values of `reasoning_effort` in OpenAI's and other APIs.
const EFFORTS: [&str; 7] = ["none", "minimal", "low", "medium", "high", "xhigh", "max"];
/// The names of the maximum number of reasoning tokens. A negative value is no limit.
const BUDGETS: [&str; 4] = ["reasoning_max_tokens", "reasoning_budget", "thinking_budget", "thinking_token_budget"];

/// The reasoning of a request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ReasoningFields {
    pub(super) options: ReasoningOptions,
    /// Whether the answer shows the reasoning.
    pub(super) hidden: bool,
    /// `reasoning_effort`, which some templates read.
    pub(super) effort: Option<String>,
}

/// Reads all fields of reasoning.
///
/// # Errors
/// 400 for an invalid value.
pub(super) fn read(fields: &Fields<'_>) -> Result<ReasoningFields, Failure> {
    let mut found = ReasoningFields::default();
    set_effort(&mut found, fields.text("reasoning_effort")?, "reasoning_effort")?;
    if let Some(object) = fields.object("reasoning")? {
        set_effort(&mut found, object.text("effort")?, "reasoning.effort")?;
        found.options.enabled = object.flag("enabled")?.or(found.options.enabled);
        found.options.max_tokens = budget(&object, "max_tokens")?;
        found.hidden = object.flag("exclude")?.unwrap_or(false);
    }
    set_thinking(&mut found.options, fields)?;
    for name in BUDGETS {
        found.options.max_tokens = found.options.max_tokens.or(budget(fields, name)?);
    }
    found.options.separate = separate(fields)?;
    found.hidden |= fields.flag("include_reasoning")? == Some(false);
    Ok(found)
}

/// An effort also switches reasoning on or off, for templates that know only that.
fn set_effort(found: &mut ReasoningFields, effort: Option<&str>, field: &str) -> Result<(), Failure> {
    let Some(effort) = effort else { return Ok(()) };
    if !EFFORTS.contains(&effort) {
        let message = format!("unknown reasoning effort \"{effort}\"; use one of {}", EFFORTS.join(", "));
        return Err(Failure::field(field, message));
    }
    found.options.enabled = Some(effort != "none");
    found.effort = Some(effort.to_owned());
    Ok(())
}

/// The switches of other APIs: `enable_thinking` (Qwen), `think` (Ollama) and `thinking` (Anthropic, DeepSeek, Z.ai).
fn set_thinking(options: &mut ReasoningOptions, fields: &Fields<'_>) -> Result<(), Failure> {
    let switch = fields.flag("enable_thinking")?.or(fields.flag("think")?);
    options.enabled = switch.or(options.enabled);
    let Some(thinking) = fields.object("thinking")? else { return Ok(()) };
    options.max_tokens = budget(&thinking, "budget_tokens")?.or(options.max_tokens);
    match thinking.text("type")? {
        None | Some("auto" | "adaptive") => {}
        Some("enabled") => options.enabled = Some(true),
        Some("disabled") => options.enabled = Some(false),
        Some(other) => {
            let message = format!("unknown type of thinking \"{other}\"; use enabled or disabled");
            return Err(Failure::field("thinking.type", message));
        }
    }
    Ok(())
}

fn budget(fields: &Fields<'_>, name: &str) -> Result<Option<usize>, Failure> {
    match fields.get(name) {
        Some(Value::Number(number)) if number.as_f64().is_some_and(|number| number < 0.0) => Ok(None),
        _ => fields.count(name),
    }
}

/// Whether reasoning is a field of its own: `separate_reasoning` (SGLang) and `reasoning_format` (llama.cpp).
fn separate(fields: &Fields<'_>) -> Result<bool, Failure> {
    let separate = fields.flag("separate_reasoning")?.unwrap_or(true);
    match fields.text("reasoning_format")? {
        None | Some("auto" | "deepseek") => Ok(separate),
        Some("none") => Ok(false),
        Some(_) => Err(wrong("reasoning_format", "\"auto\", \"deepseek\" or \"none\"", &Value::Null)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(body: &Value) -> Result<ReasoningFields, String> {
        read(&Fields::of(body, "").expect("an object")).map_err(|failure| failure.to_string())
    }

    #[test]
    fn the_switches_of_all_apis_mean_the_same() {
        for (body, expected) in [
            (json!({}), None),
            (json!({"enable_thinking": false}), Some(false)),
            (json!({"think": true}), Some(true)),
            (json!({"thinking": {"type": "disabled"}}), Some(false)),
            (json!({"thinking": {"type": "enabled", "budget_tokens": 9}}), Some(true)),
            (json!({"reasoning_effort": "none"}), Some(false)),
            (json!({"reasoning_effort": "low"}), Some(true)),
            (json!({"reasoning": {"effort": "none"}}), Some(false)),
            (json!({"reasoning": {"enabled": true}}), Some(true)),
            (json!({"reasoning_effort": "high", "enable_thinking": false}), Some(false)),
        ] {
            assert_eq!(of(&body).expect("valid").options.enabled, expected, "{body}");
        }
        assert!(of(&json!({"reasoning_effort": "very"})).is_err_and(|why| why.contains("\"very\"")));
        assert!(of(&json!({"thinking": {"type": "maybe"}})).is_err_and(|why| why.contains("\"maybe\"")));
    }

    #[test]
    fn a_budget_is_a_number_of_tokens_and_negative_is_none() {
        for name in BUDGETS {
            assert_eq!(of(&json!({name: 7})).expect("valid").options.max_tokens, Some(7), "{name}");
            assert_eq!(of(&json!({name: -1})).expect("valid").options.max_tokens, None, "{name}");
            assert!(of(&json!({name: "much"})).is_err(), "{name}");
        }
        assert_eq!(of(&json!({"thinking": {"budget_tokens": 3}})).expect("valid").options.max_tokens, Some(3));
        assert_eq!(of(&json!({"reasoning": {"max_tokens": 3}})).expect("valid").options.max_tokens, Some(3));
    }

    #[test]
    fn reasoning_can_be_hidden_or_left_in_the_text() {
        assert!(of(&json!({"include_reasoning": false})).expect("valid").hidden);
        assert!(of(&json!({"reasoning": {"exclude": true}})).expect("valid").hidden);
        assert!(!of(&json!({"separate_reasoning": false})).expect("valid").options.separate);
        assert!(!of(&json!({"reasoning_format": "none"})).expect("valid").options.separate);
        assert!(of(&json!({"reasoning_format": "auto"})).expect("valid").options.separate);
        assert!(of(&json!({"reasoning_format": "x"})).is_err());
    }
}
