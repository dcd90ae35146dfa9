//! The variable with which a chat template switches reasoning off, found by rendering a small conversation both ways.

use firebox_contract::{Chat, ChatOptions, Error, Message, Role, TextCodec};
use serde_json::{Map, Value};

/// A variable of the template, with its values as JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Switch {
    variable: &'static str,
    on: &'static str,
    off: &'static str,
}

/// The variables that templates have, in the order in which they are tried: Qwen3, SmolLM3, GLM and Gemma 4; DeepSeek V3.1
/// and Granite; Seed-OSS.
const SWITCHES: &[Switch] = &[
    Switch { variable: "enable_thinking", on: "true", off: "false" },
    Switch { variable: "thinking", on: "true", off: "false" },
    Switch { variable: "thinking_budget", on: "-1", off: "0" },
];

/// The switch of a codec's template: the first variable whose two values give different prompts.
pub(super) fn find(codec: &dyn TextCodec) -> Option<Switch> {
    let template = codec.chat_template()?;
    let messages = [Message::text(Role::User, "firebox asks")];
    let rendered = |variable: &str, value: &str| {
        let variables_json = Some(format!("{{\"{variable}\": {value}}}"));
        let options = ChatOptions { variables_json, ..ChatOptions::DEFAULT };
        codec.encode_chat(Chat { messages: &messages, tools: &[], prefix: "", options: &options }).ok()
    };
    let named = SWITCHES.iter().filter(|switch| template.contains(switch.variable));
    let works = |switch: &&Switch| {
        let (on, off) = (rendered(switch.variable, switch.on), rendered(switch.variable, switch.off));
        on.is_some() && off.is_some() && on != off
    };
    named.into_iter().find(works).copied()
}

impl Switch {
    /// Sets the variable, unless the request's own variables set it.
    ///
    /// # Errors
    /// `Error::Usage` if the request's variables are no JSON object.
    pub(super) fn set(self, chat: &mut ChatOptions, on: bool) -> Result<(), Error> {
        let given = chat.variables_json.as_deref().unwrap_or("{}");
        let mut variables: Map<String, Value> = serde_json::from_str(given).map_err(|error| {
            Error::Usage(format!("the variables for the chat template are not a JSON object: {error}"))
        })?;
        let value = if on { self.on } else { self.off };
        let value = serde_json::from_str(value).unwrap_or(Value::Bool(on));
        variables.entry(self.variable).or_insert(value);
        chat.variables_json = Some(Value::Object(variables).to_string());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variables_of_a_request_win() {
        let set = |given: Option<&str>, on| {
            let mut chat = ChatOptions { variables_json: given.map(str::to_owned), ..ChatOptions::DEFAULT };
            SWITCHES[0].set(&mut chat, on).expect("valid");
            chat.variables_json.expect("set")
        };
        assert_eq!(set(None, false), "{\"enable_thinking\":false}");
        assert_eq!(set(Some("{\"a\":1}"), true), "{\"a\":1,\"enable_thinking\":true}");
        assert_eq!(set(Some("{\"enable_thinking\":true}"), false), "{\"enable_thinking\":true}");
        let mut broken = ChatOptions { variables_json: Some("[]".to_owned()), ..ChatOptions::DEFAULT };
        assert!(SWITCHES[2].set(&mut broken, false).is_err());
    }
}
