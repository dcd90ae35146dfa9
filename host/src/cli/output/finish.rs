//! What a person should know about how an answer ended.

use firebox_contract::FinishReason;

/// What the verb has against an answer that was cut.
pub(in crate::cli) struct Remedies {
    /// More tokens for one answer.
    pub(in crate::cli) tokens: &'static str,
    /// More room in the context.
    pub(in crate::cli) room: &'static str,
}

/// In one line; `None` where it simply ended.
pub(in crate::cli) fn line(reason: FinishReason, completion_tokens: usize, remedies: &Remedies) -> Option<String> {
    let Remedies { tokens, room } = remedies;
    let told = match reason {
        FinishReason::Stop | FinishReason::StopString | FinishReason::Plugin => return None,
        FinishReason::Length => format!("the answer was cut at {completion_tokens} tokens; {tokens}"),
        FinishReason::ContextFull => format!("the answer was cut: the context is full; {room}"),
        FinishReason::ToolCalls => "the model called a tool that nobody here runs".to_owned(),
        FinishReason::ToolRounds => {
            "the model still called tools after the last round; --tool-rounds N allows more".to_owned()
        }
        FinishReason::ToolLoop => "the model made the same call over and over and was stopped".to_owned(),
        FinishReason::Timeout => "the answer was cut: its time was up".to_owned(),
        FinishReason::Interrupted => "stopped".to_owned(),
    };
    Some(told)
}
