//! Gives text to a parser so that the limit of a call's length counts from the call itself. Then the calls of a turn do not
//! depend on how its text is cut.

use firebox_contract::limits::TOOL_ARGUMENTS_BYTES_MAX;

use super::Piece;

/// A parser that keeps the text of an incomplete call in a buffer.
pub(super) trait BoundedParser {
    /// The text that is not parsed yet.
    fn buffer(&mut self) -> &mut String;
    /// Bytes so far of the incomplete call, or `None` outside of calls.
    fn held(&self) -> Option<usize>;
    /// Parses one element of the buffer. Returns false if more text is needed.
    fn advance(&mut self, pieces: &mut Vec<Piece>) -> bool;
    /// Gives up a call that is longer than [`TOOL_ARGUMENTS_BYTES_MAX`]. After it, the parser is outside of calls.
    fn give_up(&mut self, pieces: &mut Vec<Piece>);
}

/// Parses the next piece of text. The buffer never has more of a call than the limit, so a call either ends within the limit
/// or is given up at the same byte however the text arrives.
pub(super) fn push(parser: &mut impl BoundedParser, mut text: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    loop {
        let room = TOOL_ARGUMENTS_BYTES_MAX.saturating_sub(parser.held().unwrap_or(0));
        let (part, rest) = text.split_at(text.floor_char_boundary(room));
        if part.is_empty() && !rest.is_empty() {
            parser.give_up(&mut pieces);
            continue;
        }
        parser.buffer().push_str(part);
        while parser.advance(&mut pieces) {}
        if rest.is_empty() {
            return pieces;
        }
        text = rest;
    }
}

/// The reason of a call that is given up.
pub(super) fn too_long() -> String {
    format!("it is longer than {TOOL_ARGUMENTS_BYTES_MAX} bytes")
}

#[cfg(test)]
mod tests {
    use firebox_contract::limits::TOOL_ARGUMENTS_BYTES_MAX;

    use crate::toolcall::{Piece, TOOL_CALL_FORMATS, ToolCallFormat, testing};

    /// A call of `a_b` that begins as the format's forced opening and has `filler` in it.
    fn call(format: &ToolCallFormat, filler: &str) -> String {
        let open = (format.force)(Some("a_b"));
        let (before, after) = match format.name {
            "qwen coder" => ("<parameter=x>", "</parameter></function></tool_call>"),
            "seed" => ("<parameter=x>", "</parameter></function></seed:tool_call>"),
            "glm" => ("<arg_key>x</arg_key><arg_value>", "</arg_value></tool_call>"),
            "gemma 4" => ("x:<|\"|>", "<|\"|>}<tool_call|>"),
            "function gemma" => ("x:<escape>", "<escape>}<end_function_call>"),
            "pythonic" => ("x=\"", "\")]"),
            "mistral" | "granite" => ("{\"x\": \"", "\"}}]"),
            "mistral v11" | "kimi" | "deepseek v3" | "deepseek v3.1" | "harmony" => ("{\"x\": \"", "\"}"),
            _ => ("{\"x\": \"", "\"}}"),
        };
        format!("{open}{before}{filler}{after}")
    }

    fn calls(format: &ToolCallFormat, parts: &[&str]) -> Vec<Piece> {
        let pieces = testing::run(format, parts);
        pieces.into_iter().filter(|piece| matches!(piece, Piece::Call { .. })).collect()
    }

    #[test]
    fn a_call_at_the_limit_is_the_same_call_however_it_arrives() {
        for format in TOOL_CALL_FORMATS {
            let shell = call(format, "").len();
            for (bytes, is_call) in [(TOOL_ARGUMENTS_BYTES_MAX - shell, true), (TOOL_ARGUMENTS_BYTES_MAX + 1, false)] {
                let text = call(format, &"x".repeat(bytes));
                let whole = calls(format, &[&text]);
                assert_eq!(whole.len(), usize::from(is_call), "{}: {bytes} bytes", format.name);
                for cut in [1, text.len() / 2, TOOL_ARGUMENTS_BYTES_MAX - 1, text.len() - 1] {
                    assert!(calls(format, &[&text[..cut], &text[cut..]]) == whole, "{}: cut at {cut}", format.name);
                }
            }
            let between = TOOL_ARGUMENTS_BYTES_MAX - shell..=TOOL_ARGUMENTS_BYTES_MAX;
            for bytes in between.step_by(shell.div_ceil(8)) {
                let text = call(format, &"x".repeat(bytes));
                let cut = text.len() / 2;
                let whole = calls(format, &[&text]);
                assert!(calls(format, &[&text[..cut], &text[cut..]]) == whole, "{}: {bytes} bytes", format.name);
            }
        }
    }
}
