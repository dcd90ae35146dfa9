//! {{description}}

use firebox_sdk::{Plugin, Prompt, PromptRequest, PromptVerdict};

struct NoPasswords;

impl Plugin for NoPasswords {
    const DESCRIPTION: &'static str = "{{description}}";

    /// Called once for each instance. The configuration is the text of one JSON object.
    fn init(_config_json: &str) -> Result<Self, String> {
        Ok(NoPasswords)
    }
}

impl Prompt for NoPasswords {
    fn process(&mut self, request: PromptRequest) -> Result<PromptVerdict, String> {
        if request.messages.iter().any(|message| message.content.contains("password")) {
            return Ok(PromptVerdict::Refuse("please do not send passwords".to_owned()));
        }
        Ok(PromptVerdict::Unchanged)
    }
}

firebox_sdk::plugin!(NoPasswords: prompt);
