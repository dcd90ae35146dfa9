//! {{description}}

use firebox_sdk::{Plugin, Text, TextVerdict};

struct Shout;

impl Plugin for Shout {
    const DESCRIPTION: &'static str = "{{description}}";

    /// Called once for each instance. The configuration is the text of one JSON object.
    fn init(_config_json: &str) -> Result<Self, String> {
        Ok(Shout)
    }
}

impl Text for Shout {
    /// A chunk has whole characters and is not empty. `TextVerdict::Pass` passes it on as it is.
    fn push(&mut self, chunk: String) -> Result<TextVerdict, String> {
        Ok(TextVerdict::Emit(chunk.to_uppercase()))
    }
}

firebox_sdk::plugin!(Shout: text);
