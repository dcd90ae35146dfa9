//! Lines about tool calls and sessions, short and safe for a terminal.

use std::time::{Duration, SystemTime};

use firebox_contract::{ToolCall, ToolOutcome, limits};

pub(super) use crate::cli::output::line;

/// One line about a tool call that starts.
pub(super) fn call(call: &ToolCall) -> String {
    let max = limits::CHAT_SHOWN_CHARACTERS_MAX;
    format!("tool     {} {}", line(&call.name, max), line(&call.arguments_json, max))
}

/// One line about the result of a tool call.
pub(super) fn outcome(name: &str, outcome: &ToolOutcome) -> String {
    let max = limits::CHAT_SHOWN_CHARACTERS_MAX;
    let fuel = if outcome.fuel > 0 { format!(", {} fuel", outcome.fuel) } else { String::new() };
    let error = if outcome.is_error { "error, " } else { "" };
    format!(
        "tool     {} -> {} ({error}{}{fuel}, {:.2} ms)",
        line(name, max),
        line(&outcome.content, max),
        line(&outcome.provider, max),
        outcome.elapsed.as_secs_f64() * 1e3
    )
}

/// The time since `then`, in one unit.
pub(super) fn age(then: SystemTime, now: SystemTime) -> String {
    let seconds = now.duration_since(then).unwrap_or(Duration::ZERO).as_secs();
    match seconds {
        0..60 => "just now".to_owned(),
        60..3_600 => format!("{} min ago", seconds / 60),
        3_600..86_400 => format!("{} h ago", seconds / 3_600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_shown_in_one_unit() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let ago = |seconds| age(now - Duration::from_secs(seconds), now);
        assert_eq!([ago(5), ago(120), ago(7_300), ago(200_000)], ["just now", "2 min ago", "2 h ago", "2 days ago"]);
        assert_eq!(age(now + Duration::from_secs(9), now), "just now", "if the clock was set back");
    }
}
