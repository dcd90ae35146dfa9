//! {{description}}

use firebox_sdk::{Arguments, Definition, Outcome, Plugin, Tool};

struct Shout;

impl Plugin for Shout {
    const DESCRIPTION: &'static str = "{{description}}";

    /// Called once for each instance. The configuration is the text of one JSON object.
    fn init(_config_json: &str) -> Result<Self, String> {
        Ok(Shout)
    }
}

impl Tool for Shout {
    fn definitions(&self) -> Vec<Definition> {
        let schema = r#"{"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"], "additionalProperties": false}"#;
        vec![Definition::pure("shout", "Turns a text into upper case.", schema)]
    }

    /// The host has checked that the arguments fit the schema. An error is a result that the model reads.
    fn call(&mut self, _name: &str, arguments_json: &str) -> Outcome {
        match Arguments::parse(arguments_json).and_then(|arguments| arguments.text("text")) {
            Ok(text) => Outcome::text(text.to_uppercase()),
            Err(reason) => Outcome::error(reason),
        }
    }
}

firebox_sdk::plugin!(Shout: tool);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_shouts() {
        assert_eq!(Shout.call("shout", r#"{"text": "hi"}"#), Outcome::text("HI"));
    }
}
