//! {{description}}

use firebox_sdk::{CallVerdict, OutcomeVerdict, Plugin, SeenOutcome, ToolCall, ToolGuard};

/// Characters of a result that the model reads at most.
const RESULT_CHARACTERS_MAX: usize = 20;

struct Guard;

impl Plugin for Guard {
    const DESCRIPTION: &'static str = "{{description}}";

    /// Called once for each instance. The configuration is the text of one JSON object.
    fn init(_config_json: &str) -> Result<Self, String> {
        Ok(Guard)
    }
}

impl ToolGuard for Guard {
    /// Called before each call of any tool, those of MCP servers included.
    fn before(&mut self, call: ToolCall) -> Result<CallVerdict, String> {
        if call.arguments_json.contains("\"/etc/") {
            return Ok(CallVerdict::Refuse("paths of the system are not allowed".to_owned()));
        }
        Ok(CallVerdict::Unchanged)
    }

    /// Called with the result of each call that ran.
    fn after(&mut self, _call: ToolCall, outcome: SeenOutcome) -> Result<OutcomeVerdict, String> {
        if outcome.content.chars().count() <= RESULT_CHARACTERS_MAX {
            return Ok(OutcomeVerdict::Unchanged);
        }
        let cut: String = outcome.content.chars().take(RESULT_CHARACTERS_MAX).collect();
        Ok(OutcomeVerdict::Rewrite(SeenOutcome { content: cut + "…", ..outcome }))
    }
}

firebox_sdk::plugin!(Guard: tool_call);
