//! Hermes and Qwen: `<tool_call>{"name": …, "arguments": {…}}</tool_call>`.

use firebox_contract::limits::TOOL_ARGUMENTS_BYTES_MAX;

use super::{Piece, ToolCallFormat, ToolCallParser, object, plain_id};
use crate::stop::overlap;

pub(super) const FORMAT: ToolCallFormat = ToolCallFormat {
    name: "hermes",
    recognise: |template| template.contains(OPEN) && template.contains("\"name\""),
    parser: || Box::new(HermesParser::default()),
    force: |tool| match tool {
        Some(name) => format!("{OPEN}\n{{\"name\": {}, \"{ARGUMENTS}\":", object::quoted(name)),
        // No further than the tag, which is one token: what follows, the model begins where its own tokens do.
        None => OPEN.to_owned(),
    },
    id: plain_id,
    // Its tags are words of the vocabulary like any other, and stay text where no tools are offered.
    markers: &[],
};

const OPEN: &str = "<tool_call>";
const CLOSE: &str = "</tool_call>";
const ARGUMENTS: &str = "arguments";

#[derive(Default)]
struct HermesParser {
    buffer: String,
    inside: bool,
    /// White space that follows a call belongs to the markup; before text it is text.
    after_call: bool,
}

impl ToolCallParser for HermesParser {
    fn push(&mut self, text: &str) -> Vec<Piece> {
        self.buffer.push_str(text);
        let mut pieces = Vec::new();
        loop {
            let tag = if self.inside { CLOSE } else { OPEN };
            let Some(at) = self.buffer.find(tag) else { break };
            let rest = self.buffer.split_off(at + tag.len());
            let mut before = std::mem::replace(&mut self.buffer, rest);
            before.truncate(at);
            if self.inside {
                pieces.push(object::call(&before, ARGUMENTS));
                self.after_call = true;
            } else {
                // The line break before a call is markup too.
                self.text(before.trim_end_matches('\n'), &mut pieces);
            }
            self.inside = !self.inside;
        }
        self.release(&mut pieces);
        pieces
    }

    fn finish(&mut self) -> Vec<Piece> {
        let rest = std::mem::take(&mut self.buffer);
        let mut pieces = Vec::new();
        if std::mem::take(&mut self.inside) {
            // A model that ends its turn inside a call has usually only left out the closing tag.
            pieces.push(object::call(&rest, ARGUMENTS));
        } else {
            self.text(&rest, &mut pieces);
        }
        pieces
    }
}

impl HermesParser {
    /// Gives out what cannot be part of a tag, or gives up on a call that is too long.
    fn release(&mut self, pieces: &mut Vec<Piece>) {
        if self.inside {
            if self.buffer.len() > TOOL_ARGUMENTS_BYTES_MAX {
                let reason = format!("it is longer than {TOOL_ARGUMENTS_BYTES_MAX} bytes");
                pieces.push(object::malformed("", ARGUMENTS, &reason));
                self.buffer.clear();
                self.inside = false;
            }
            return;
        }
        let line_breaks = self.buffer.len() - self.buffer.trim_end_matches('\n').len();
        let keep = match overlap(&self.buffer, OPEN) {
            0 => line_breaks,
            tag => tag + trailing_line_breaks(&self.buffer[..self.buffer.len() - tag]),
        };
        let rest = self.buffer.split_off(self.buffer.len() - keep);
        let ready = std::mem::replace(&mut self.buffer, rest);
        self.text(&ready, pieces);
    }

    fn text(&mut self, text: &str, pieces: &mut Vec<Piece>) {
        let text = if self.after_call { text.trim_start() } else { text };
        if !text.is_empty() {
            self.after_call = false;
            pieces.push(Piece::Text(text.to_owned()));
        }
    }
}

fn trailing_line_breaks(text: &str) -> usize {
    text.len() - text.trim_end_matches('\n').len()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{at_every_split, call, text};
    use super::*;

    fn run(pieces: &[&str]) -> Vec<Piece> {
        super::super::testing::run(&FORMAT, pieces)
    }

    #[test]
    fn f6_call_order_is_kept_at_every_split() {
        let written = "I'll look.\n<tool_call>\n{\"name\": \"b\", \"arguments\": {\"x\": {\"y\": [1, {}]}}}\n</tool_call>\n\
                    <tool_call>{\"name\": \"a\", \"arguments\": {}}</tool_call>";
        let expected = [text("I'll look."), call("b", "{\"x\": {\"y\": [1, {}]}}"), call("a", "{}")];
        at_every_split(&FORMAT, written, &expected);
        let unicode = "<tool_call>{\"name\": \"ä\", \"arguments\": {\"ü\": \"🙂 </tool\"}}</tool_call> Gut.";
        at_every_split(&FORMAT, unicode, &[call("ä", "{\"ü\": \"🙂 </tool\"}"), text("Gut.")]);
    }

    #[test]
    fn f6_prose_is_not_a_call() {
        for prose in
            ["call calculator with 1+1", "{\"name\": \"calculator\", \"arguments\": {}}", "a < b <tool", "x\n\n"]
        {
            at_every_split(&FORMAT, prose, &[text(prose)]);
        }
    }

    #[test]
    fn malformed_calls_say_what_is_wrong() {
        let cases = [
            ("<tool_call>{oops</tool_call>", "not JSON"),
            ("<tool_call>{\"arguments\": {}}</tool_call>", "no \"name\""),
            ("<tool_call>{\"name\": \"a\", \"arguments\": 3}</tool_call>", "not an object"),
            ("<tool_call>[]</tool_call>", "no \"name\""),
            ("<tool_call>{\"name\": \"a\"", "not JSON"),
        ];
        for (text, expected) in cases {
            match run(&[text]).as_slice() {
                [Piece::Malformed { reason, .. }] => assert!(reason.contains(expected), "{reason}"),
                other => panic!("{text} became {other:?}"),
            }
        }
    }

    #[test]
    fn a_call_without_its_closing_tag_counts() {
        assert_eq!(run(&["<tool_call>{\"name\": \"a\"}"]), [call("a", "{}")]);
    }

    #[test]
    fn an_endless_call_is_given_up() {
        let mut parser = (FORMAT.parser)();
        assert!(parser.push("<tool_call>").is_empty());
        let pieces = parser.push(&"x".repeat(TOOL_ARGUMENTS_BYTES_MAX + 1));
        assert!(matches!(pieces.as_slice(), [Piece::Malformed { .. }]));
    }
}
