//! What is safe and short enough to show on a terminal.

use std::time::{Duration, SystemTime};

use firebox_contract::{ToolCall, ToolOutcome, limits};

/// Whether a character would move the cursor, colour the screen or reorder what was written: text from a model or a
/// tool may not do that to a terminal.
fn is_control(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// `text` for a terminal: lines and tabs stay, all other control characters go.
pub(super) fn safe(text: &str) -> String {
    text.chars().filter(|c| matches!(c, '\n' | '\t') || !is_control(*c)).collect()
}

/// `text` in one line of at most `max` characters; control characters are shown as what they are.
pub(super) fn line(text: &str, max: usize) -> String {
    let mut out = String::new();
    for (shown, c) in text.chars().enumerate() {
        if shown == max {
            out.push('…');
            break;
        }
        match c {
            '\n' | '\r' | '\t' => out.push(' '),
            c if is_control(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

/// One line for a call that begins.
pub(super) fn call(call: &ToolCall) -> String {
    let max = limits::CHAT_SHOWN_CHARACTERS_MAX;
    format!("tool     {} {}", line(&call.name, max), line(&call.arguments_json, max))
}

/// One line for a call that ended, with what it cost.
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

/// How long ago something was, roughly.
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
    fn no_text_reaches_the_terminal_as_a_command() {
        assert_eq!(safe("a\u{1b}[2Jb\n\tc\u{9b}1m\u{202e}d\r\u{7}"), "a[2Jb\n\tc1md");
        assert_eq!(line("a\u{1b}[2J\nb", 100), "a\\u{1b}[2J b");
        assert_eq!(line(&"é".repeat(9), 3), "ééé…");
    }

    #[test]
    fn ages_are_told_in_one_unit() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let ago = |seconds| age(now - Duration::from_secs(seconds), now);
        assert_eq!([ago(5), ago(120), ago(7_300), ago(200_000)], ["just now", "2 min ago", "2 h ago", "2 days ago"]);
        assert_eq!(age(now + Duration::from_secs(9), now), "just now", "clocks go back too");
    }
}
