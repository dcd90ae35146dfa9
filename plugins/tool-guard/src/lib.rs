//! Guards the calls of all tools, those of MCP servers included. It refuses calls by the tool's name or by a text in their
//! arguments, sets arguments, and hides lines of results.
//!
//! Configuration, with all keys optional and empty by default:
//!
//! - `deny`: names of tools that are refused; a `*` stands for any text.
//! - `deny_values`: texts that no string of the arguments may contain, in upper or lower case.
//! - `set`: arguments to set, as `TOOL ARGUMENT JSON`, such as `search limit 10`.
//! - `hide`: texts; each line of a result that contains one becomes `[hidden]`.

mod rules;

use firebox_sdk::{Arguments, CallVerdict, OutcomeVerdict, Plugin, SeenOutcome, ToolCall, ToolGuard};

use rules::Rules;

struct Guard(Rules);

impl Plugin for Guard {
    const DESCRIPTION: &'static str = "Refuses and changes tool calls, and hides lines of their results.";

    fn init(config_json: &str) -> Result<Self, String> {
        Rules::parse(config_json).map(Self)
    }
}

impl ToolGuard for Guard {
    fn before(&mut self, call: ToolCall) -> Result<CallVerdict, String> {
        if let Some(pattern) = self.0.denies(&call.name) {
            return Ok(CallVerdict::Refuse(format!("calls of \"{pattern}\" are not allowed; use another tool")));
        }
        let mut arguments = Arguments::parse(&call.arguments_json)?;
        if let Some(text) = self.0.denies_value(&arguments.strings()) {
            return Ok(CallVerdict::Refuse(format!("arguments with \"{text}\" are not allowed; change them")));
        }
        let changed = self.0.set(&call.name, &mut arguments);
        Ok(if changed { CallVerdict::Rewrite(arguments.to_json()) } else { CallVerdict::Unchanged })
    }

    fn after(&mut self, _call: ToolCall, outcome: SeenOutcome) -> Result<OutcomeVerdict, String> {
        Ok(match self.0.hide(&outcome.content) {
            Some(content) => OutcomeVerdict::Rewrite(SeenOutcome { content, ..outcome }),
            None => OutcomeVerdict::Unchanged,
        })
    }
}

firebox_sdk::plugin!(Guard: tool_call);

#[cfg(test)]
mod tests;
