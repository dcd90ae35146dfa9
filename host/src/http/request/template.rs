//! The fields for the chat template: the end of the prompt, variables, documents, reasoning effort.

use firebox_contract::{ChatOptions, PromptEnd};
use serde_json::{Map, Value};

use super::CompletionRequest;
use super::fields::Fields;
use crate::host::Host;
use crate::http::Failure;

/// The template variables that control reasoning.
const EFFORT: &str = "reasoning_effort";
const THINKING: &str = "enable_thinking";

/// Reads the template's options; `messages` and the reasoning `effort` are those of the request.
///
/// # Errors
/// 400 for an invalid value.
pub(super) fn read(fields: &Fields<'_>, messages: &[Value], effort: Option<&str>) -> Result<ChatOptions, Failure> {
    let documents = fields.list("documents")?.filter(|list| !list.is_empty());
    let documents_json = documents.map(|list| Value::Array(list.to_vec()).to_string());
    Ok(ChatOptions { end: end(fields, messages)?, variables_json: variables(fields, effort)?, documents_json })
}

/// The end of the prompt. Mistral and DeepSeek mark a message that the model continues with `prefix`.
fn end(fields: &Fields<'_>, messages: &[Value]) -> Result<PromptEnd, Failure> {
    let marked = messages.last().and_then(|last| last.get("prefix")).is_some_and(|prefix| *prefix == true);
    let continues = fields.flag("continue_final_message")?.unwrap_or(marked);
    match (fields.flag("add_generation_prompt")?, continues) {
        (Some(true), true) => {
            let message = "\"continue_final_message\" and \"add_generation_prompt\" cannot both be true; remove one";
            Err(Failure::field("continue_final_message", message))
        }
        (_, true) => Ok(PromptEnd::FinalMessage),
        (Some(false), false) => Ok(PromptEnd::Conversation),
        (_, false) => Ok(PromptEnd::GenerationPrompt),
    }
}

/// The template's variables: `chat_template_kwargs`, and the reasoning effort.
fn variables(fields: &Fields<'_>, effort: Option<&str>) -> Result<Option<String>, Failure> {
    let given = fields.object("chat_template_kwargs")?;
    let mut variables: Map<String, Value> = given.map(|given| given.entries().map(owned).collect()).unwrap_or_default();
    if let Some(effort) = effort {
        variables.entry(EFFORT).or_insert_with(|| effort.into());
    }
    Ok((!variables.is_empty()).then(|| Value::Object(variables).to_string()))
}

fn owned((name, value): (&String, &Value)) -> (String, Value) {
    (name.clone(), value.clone())
}

impl CompletionRequest {
    /// Checks the variables against the model's template. An effort that the template cannot express is refused. Other
    /// variables that it does not read become ignored fields.
    ///
    /// # Errors
    /// 400 for such an effort.
    pub(in crate::http) fn check_template(&mut self, host: &Host) -> Result<(), Failure> {
        let text = self.generation.chat.variables_json.as_deref().unwrap_or("{}");
        let variables: Map<String, Value> = serde_json::from_str(text).unwrap_or_default();
        let knows = |name: &str| host.template_contains(name);
        let switches = host.engine().switches_reasoning();
        if let Some(effort) = variables.get(EFFORT).filter(|effort| **effort != "none")
            && !knows(EFFORT)
            && !switches
        {
            let message =
                format!("reasoning effort {effort} is not supported: the model's chat template does not read it");
            return Err(Failure::unsupported(EFFORT, message));
        }
        if self.generation.reasoning.enabled == Some(true) && !switches && host.engine().reasoning_format().is_none() {
            self.ignored_fields.push(THINKING.to_owned());
        }
        // An effort also sets the template's switch.
        let unread = variables.keys().filter(|name| !knows(name) && *name != EFFORT);
        self.ignored_fields.extend(
            unread.map(|name| format!("chat_template_kwargs.{name}")).take(super::known_fields::REPORTED_FIELDS_MAX),
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn options(extra: Value) -> Result<ChatOptions, String> {
        let mut body = json!({"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "So"}]});
        for (name, value) in extra.as_object().expect("an object") {
            body[name] = value.clone();
        }
        let fields = Fields::of(&body, "").expect("an object");
        let effort = fields.text(EFFORT).expect("text");
        read(&fields, body["messages"].as_array().expect("a list"), effort).map_err(|failure| failure.to_string())
    }

    #[test]
    fn the_request_chooses_the_end_of_the_prompt() {
        for (extra, expected) in [
            (json!({}), PromptEnd::GenerationPrompt),
            (json!({"add_generation_prompt": true}), PromptEnd::GenerationPrompt),
            (json!({"add_generation_prompt": false}), PromptEnd::Conversation),
            (json!({"add_generation_prompt": false, "continue_final_message": true}), PromptEnd::FinalMessage),
            (json!({"continue_final_message": true}), PromptEnd::FinalMessage),
            (json!({"messages": [{"role": "assistant", "content": "a", "prefix": true}]}), PromptEnd::FinalMessage),
            (
                json!({"messages": [{"role": "assistant", "content": "a", "prefix": false}]}),
                PromptEnd::GenerationPrompt,
            ),
        ] {
            assert_eq!(options(extra.clone()).expect("valid").end, expected, "{extra}");
        }
        let both = options(json!({"add_generation_prompt": true, "continue_final_message": true}));
        assert!(both.is_err_and(|why| why.contains("cannot both be true")));
    }

    #[test]
    fn every_field_for_a_template_variable_sets_it() {
        let of = |extra: Value| {
            let text = options(extra).expect("valid").variables_json;
            text.map_or(Value::Null, |text| serde_json::from_str(&text).expect("JSON"))
        };
        assert_eq!(of(json!({})), Value::Null);
        assert_eq!(of(json!({"chat_template_kwargs": {}})), Value::Null);
        let given = json!({"enable_thinking": false, "x": [1]});
        assert_eq!(of(json!({"chat_template_kwargs": given})), given);
        assert_eq!(of(json!({"reasoning_effort": "low"})), json!({"reasoning_effort": "low"}));
        let own = json!({"reasoning_effort": "high", "chat_template_kwargs": {"reasoning_effort": "low"}});
        assert_eq!(of(own)["reasoning_effort"], json!("low"), "\"chat_template_kwargs\" has precedence");
        assert_eq!(
            options(json!({"documents": [{"text": "x"}]})).expect("valid").documents_json.as_deref(),
            Some("[{\"text\":\"x\"}]")
        );
    }
}
