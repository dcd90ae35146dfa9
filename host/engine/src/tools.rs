//! The tools of a request: which ones are offered to the model, which calls may run, and running them.

pub(crate) mod arguments;
mod call_history;
mod context_share;
mod guarded_calls;
mod offered_tools;
mod running_round;
pub(crate) mod schema;
mod tool_round;

use std::sync::Arc;

use firebox_contract::limits::TOOL_RESULT_BYTES_MAX;
use firebox_contract::{Approver, Caller, Clock, Hooks, LogLine, ToolOutcome, ToolSource};

pub(crate) use self::call_history::CallHistory;
pub(crate) use self::context_share::explain as explain_tool_tokens;
pub(crate) use self::offered_tools::{OfferInput, OfferedTools, ToolOrigin};
pub(crate) use self::running_round::{RoundProgress, RunningRound};
use self::schema::SchemaCache;
pub(crate) use self::tool_round::{ToolRound, client_runs, client_takes};

/// The provider of outcomes and the source of log lines that the engine itself makes.
pub(crate) const ENGINE_NAME: &str = "firebox";

/// What the calls of a request need to run. Clones share it.
#[derive(Clone)]
pub(crate) struct Tools {
    pub(crate) caller: Arc<Caller>,
    pub(crate) request_id: Arc<str>,
    pub(crate) hooks: Arc<dyn Hooks>,
    pub(crate) source: Option<Arc<dyn ToolSource>>,
    pub(crate) approver: Option<Arc<dyn Approver>>,
    pub(crate) schemas: Arc<SchemaCache>,
    pub(crate) clock: Arc<dyn Clock>,
}

/// The outcome of a call that the engine answers itself.
pub(crate) fn refused(reason: &str) -> ToolOutcome {
    ToolOutcome::refused(ENGINE_NAME, reason)
}

/// A warning of the engine for the log.
pub(crate) fn warning(message: String) -> LogLine {
    LogLine { plugin: ENGINE_NAME.to_owned(), level: "warn", message }
}

/// Cuts the text of a result to `TOOL_RESULT_BYTES_MAX` and tells the model so. Other content is dropped: no reader of a
/// generation uses it, and it may be large.
pub(crate) fn cut_result(mut outcome: ToolOutcome) -> ToolOutcome {
    outcome.blocks = Vec::new();
    let length = outcome.content.len();
    if length > TOOL_RESULT_BYTES_MAX {
        outcome.content.truncate(outcome.content.floor_char_boundary(TOOL_RESULT_BYTES_MAX));
        outcome.content.push_str(&format!("\n[cut: {length} bytes in total]"));
    }
    outcome
}

#[cfg(test)]
mod tests {
    use firebox_contract::ToolContent;

    use super::*;

    #[test]
    fn a_long_result_is_cut_and_its_media_are_dropped() {
        let media = ToolContent::Media { mime: "image/png".to_owned(), data: vec![0; 1 << 20].into() };
        let content = "é".repeat(TOOL_RESULT_BYTES_MAX);
        let cut = cut_result(ToolOutcome { blocks: vec![media], ..ToolOutcome::ok("tool", content) });
        assert!(cut.blocks.is_empty());
        assert!(cut.content.len() < TOOL_RESULT_BYTES_MAX + 64 && cut.content.ends_with("bytes in total]"));
    }
}
