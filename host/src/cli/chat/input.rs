//! The input of a chat: a terminal with line editing, or a pipe.

mod pipe;
mod terminal;

pub(super) use pipe::Pipe;
pub(super) use terminal::Terminal;

/// One input.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum UserInput {
    /// A message or a command, joined from its lines.
    Text(String),
    /// Ctrl-C.
    Interrupted {
        /// Whether the line was empty.
        empty: bool,
    },
    /// Ctrl-D, or the end of the pipe.
    End,
}

const BLOCK: &str = "\"\"\"";

/// Whether `text` is a complete message: its last line does not end with a backslash, and no `"""` is open.
pub(super) fn is_complete(text: &str) -> bool {
    let trimmed = text.trim();
    if let Some(rest) = trimmed.strip_prefix(BLOCK) {
        return rest.ends_with(BLOCK);
    }
    text.len().saturating_sub(text.trim_end_matches('\\').len()).is_multiple_of(2)
}

/// The message in complete input: joins lines that end with a backslash, or takes the inside of a `"""` block.
pub(super) fn unfold(text: &str) -> String {
    let inside = text.trim().strip_prefix(BLOCK).and_then(|rest| rest.strip_suffix(BLOCK));
    match inside {
        Some(inside) => inside.trim_matches('\n').to_owned(),
        None => text.replace("\\\n", "\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backslash_or_an_open_block_continues_the_message() {
        for (text, complete) in [
            ("", true),
            ("hello", true),
            ("a \\", false),
            ("a \\\\", true),
            ("a \\\nb", true),
            ("a \\\nb\\", false),
            ("\"\"\"", false),
            ("\"\"\"one line\"\"\"", true),
            ("\"\"\"\na\\", false),
            ("\"\"\"\na\n\"\"\"", true),
            ("say \"\"\" here", true),
        ] {
            assert_eq!(is_complete(text), complete, "{text}");
        }
    }

    #[test]
    fn folded_lines_are_joined() {
        assert_eq!(unfold("a \\\nb"), "a \nb");
        assert_eq!(unfold("\"\"\"\n  a\nb\\\nc\n\"\"\""), "  a\nb\\\nc");
        assert_eq!(unfold("\"\"\"x\"\"\""), "x");
        assert_eq!(unfold("path\\name"), "path\\name");
    }
}
