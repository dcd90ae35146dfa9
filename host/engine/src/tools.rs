//! The tools of a request: which are offered, which calls may run, and running them.

mod calls;
mod offer;
mod running;
mod size;

use std::sync::Arc;
use std::time::Duration;

use firebox_contract::limits::TOOL_RESULT_BYTES_MAX;
use firebox_contract::{Approver, Caller, Clock, Hooks, LogLine, ToolOutcome, ToolSource};

pub(crate) use calls::{Book, Turn};
pub(crate) use offer::{Offer, Offering, Origin};
pub(crate) use running::{Running, Step};
pub(crate) use size::explain as explain_size;

use crate::schema::Schemas;

/// Who signs what the engine itself says.
pub(crate) const ENGINE: &str = "firebox";

/// What running calls need, shared by those that run at a time.
#[derive(Clone)]
pub(crate) struct Tools {
    pub(crate) caller: Arc<Caller>,
    pub(crate) request_id: Arc<str>,
    pub(crate) hooks: Arc<dyn Hooks>,
    pub(crate) source: Option<Arc<dyn ToolSource>>,
    pub(crate) approver: Option<Arc<dyn Approver>>,
    pub(crate) schemas: Arc<Schemas>,
    pub(crate) clock: Arc<dyn Clock>,
}

/// An answer the engine gives in a tool's place.
pub(crate) fn error(reason: &str) -> ToolOutcome {
    ToolOutcome {
        content: format!("error: {reason}"),
        blocks: Vec::new(),
        is_error: true,
        provider: ENGINE.to_owned(),
        fuel: 0,
        memory_peak_bytes: 0,
        elapsed: Duration::ZERO,
    }
}

/// A line of the engine's own.
pub(crate) fn warning(message: String) -> LogLine {
    LogLine { plugin: ENGINE.to_owned(), level: "warn", message }
}

/// Cuts a result that is too long for a prompt, and says so where the model reads it. Whatever is no text goes: no reader
/// of a generation takes it, and it could be long.
pub(crate) fn cut(mut outcome: ToolOutcome) -> ToolOutcome {
    outcome.blocks = Vec::new();
    let length = outcome.content.len();
    if length > TOOL_RESULT_BYTES_MAX {
        let end = (0..=TOOL_RESULT_BYTES_MAX).rev().find(|at| outcome.content.is_char_boundary(*at)).unwrap_or(0);
        outcome.content.truncate(end);
        outcome.content.push_str(&format!("\n[cut: {length} bytes in all]"));
    }
    outcome
}

#[cfg(test)]
mod tests {
    use firebox_contract::ToolContent;

    use super::*;

    #[test]
    fn of_a_long_result_a_request_keeps_the_text_that_the_model_reads_and_no_more() {
        let media = ToolContent::Media { mime: "image/png".to_owned(), data: vec![0; 1 << 20].into() };
        let content = "é".repeat(TOOL_RESULT_BYTES_MAX);
        let kept = cut(ToolOutcome { content, blocks: vec![media], ..error("") });
        assert!(kept.blocks.is_empty());
        assert!(kept.content.len() < TOOL_RESULT_BYTES_MAX + 64 && kept.content.ends_with("bytes in all]"));
    }
}
