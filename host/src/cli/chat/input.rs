//! Where turns come from: a person with line editing, or a pipe.

mod pipe;
mod terminal;

pub(super) use pipe::Pipe;
pub(super) use terminal::Terminal;

/// What came in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum UserInput {
    /// A turn or a command, joined from its lines.
    Text(String),
    /// Ctrl-C; whether nothing had been typed.
    Interrupted {
        /// Nothing had been typed.
        empty: bool,
    },
    /// Ctrl-D, or the pipe's end.
    End,
}

const BLOCK: &str = "\"\"\"";

/// Whether nothing more belongs to `text`: no backslash ends its last line, and no `"""` is still open.
pub(super) fn is_complete(text: &str) -> bool {
    let trimmed = text.trim();
    if let Some(rest) = trimmed.strip_prefix(BLOCK) {
        return rest.ends_with(BLOCK);
    }
    text.len().saturating_sub(text.trim_end_matches('\\').len()).is_multiple_of(2)
}

/// What was meant by complete input: lines that a backslash joined, or the inside of a `"""` block.
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
    fn a_backslash_and_an_open_block_ask_for_more() {
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
    fn what_was_folded_is_unfolded() {
        assert_eq!(unfold("a \\\nb"), "a \nb");
        assert_eq!(unfold("\"\"\"\n  a\nb\\\nc\n\"\"\""), "  a\nb\\\nc");
        assert_eq!(unfold("\"\"\"x\"\"\""), "x");
        assert_eq!(unfold("path\\name"), "path\\name");
    }
}
