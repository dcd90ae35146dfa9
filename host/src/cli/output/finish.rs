//! The message about an answer that did not end normally.

use firebox_contract::{FinishReason, Usage};

/// How the user of a command gets a longer answer.
pub(in crate::cli) struct Remedies {
    /// For an answer that reached its maximum length.
    pub(in crate::cli) tokens: &'static str,
    /// For a context that is full.
    pub(in crate::cli) room: &'static str,
}

/// One line about the end of an answer; `None` if it ended normally.
pub(in crate::cli) fn line(reason: FinishReason, usage: Usage, remedies: &Remedies) -> Option<String> {
    let Remedies { tokens, room } = remedies;
    let Usage { completion_tokens, reasoning_tokens, .. } = usage;
    let message = match reason {
        FinishReason::Stop | FinishReason::StopString | FinishReason::Plugin => return None,
        FinishReason::Length if reasoning_tokens > 0 && reasoning_tokens == completion_tokens => {
            format!("the model was still reasoning after {completion_tokens} tokens; {tokens}, or limit its reasoning")
        }
        FinishReason::Length => format!("the answer was cut at {completion_tokens} tokens; {tokens}"),
        FinishReason::ContextFull => format!("the answer was cut: the context is full; {room}"),
        FinishReason::ToolCalls => "the model called a tool that no plugin and no server runs".to_owned(),
        FinishReason::ToolRounds => {
            "the model still called tools in the last tool round; raise --tool-rounds".to_owned()
        }
        FinishReason::ToolLoop => "stopped: the model repeated the same tool call".to_owned(),
        FinishReason::Timeout => "the answer was cut: the time limit was reached".to_owned(),
        FinishReason::Interrupted => "stopped".to_owned(),
    };
    Some(message)
}
