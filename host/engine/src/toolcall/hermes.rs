//! Hermes and Qwen: `<tool_call>{"name": …, "arguments": {…}}</tool_call>`.

use firebox_contract::limits::TOOL_ARGUMENTS_BYTES_MAX;

use super::raw::{End, Nesting};
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
enum State {
    /// Outside of the tags.
    #[default]
    Text,
    /// Inside of them, and in no call; `found` says that one was here.
    Tag { found: bool },
    /// In the JSON object of a call.
    Object(Nesting),
}

#[derive(Default)]
struct HermesParser {
    buffer: String,
    state: State,
    /// White space that follows a call belongs to the markup; before text it is text.
    after_call: bool,
}

impl ToolCallParser for HermesParser {
    fn push(&mut self, text: &str) -> Vec<Piece> {
        self.buffer.push_str(text);
        let mut pieces = Vec::new();
        while self.step(&mut pieces) {}
        if !matches!(self.state, State::Text) && self.buffer.len() > TOOL_ARGUMENTS_BYTES_MAX {
            let reason = format!("it is longer than {TOOL_ARGUMENTS_BYTES_MAX} bytes");
            pieces.push(object::malformed("", ARGUMENTS, &reason));
            self.buffer.clear();
            self.state = State::Text;
        }
        pieces
    }

    fn finish(&mut self) -> Vec<Piece> {
        let mut pieces = self.end(true);
        if !self.buffer.is_empty() {
            // What comes after a string without an end was read as a part of it.
            while self.step(&mut pieces) {}
            pieces.extend(self.end(false));
        }
        pieces
    }
}

impl HermesParser {
    /// Takes one thing out of the buffer; false when more text is needed.
    fn step(&mut self, pieces: &mut Vec<Piece>) -> bool {
        match &mut self.state {
            State::Text => self.step_text(pieces),
            State::Tag { found } => {
                let found = *found;
                self.step_tag(found, pieces)
            }
            State::Object(nesting) => {
                let Some(end) = nesting.end_or_mark(&self.buffer, &[CLOSE, OPEN]) else { return false };
                let (End::Whole(at) | End::Mark(at)) = end;
                let written = self.take(at);
                pieces.push(object::call(&written, ARGUMENTS));
                self.state = State::Tag { found: true };
                true
            }
        }
    }

    fn step_text(&mut self, pieces: &mut Vec<Piece>) -> bool {
        let Some(at) = self.buffer.find(OPEN) else {
            self.release(pieces);
            return false;
        };
        let mut before = self.take(at + OPEN.len());
        before.truncate(at);
        // The line break before a call is markup too.
        self.text(before.trim_end_matches('\n'), pieces);
        self.state = State::Tag { found: false };
        true
    }

    /// To the next call between the tags, or to their end. Some models leave out the closing tag, put several calls or a
    /// list of them between two tags, or write a word before a call.
    fn step_tag(&mut self, found: bool, pieces: &mut Vec<Piece>) -> bool {
        let ends = [CLOSE, OPEN].map(|tag| self.buffer.find(tag).map(|at| (at, tag)));
        let end = ends.into_iter().flatten().min();
        // After a call come others and what stands between them; a brace in other words begins none.
        let apart = |c: char| c.is_whitespace() || matches!(c, ',' | ';' | '[' | ']');
        let begin = self.buffer.find('{').filter(|at| !found || self.buffer[..*at].chars().all(apart));
        match (begin, end) {
            (Some(begin), end) if end.is_none_or(|(end, _)| begin < end) => {
                self.take(begin);
                self.state = State::Object(Nesting::default());
            }
            (_, Some((at, tag))) => {
                let mut inside = self.take(at + tag.len());
                inside.truncate(at);
                let blank = inside.trim().is_empty();
                let only_opens = blank && tag == OPEN;
                if !found && !only_opens {
                    pieces.push(object::call(&inside, ARGUMENTS));
                }
                self.after_call = true;
                self.state = if tag == OPEN { State::Tag { found: false } } else { State::Text };
            }
            (_, None) => return false,
        }
        true
    }

    /// The turn is over in this state. What is then left in the buffer, where that is `allowed`, is to be read once more.
    fn end(&mut self, allowed: bool) -> Vec<Piece> {
        let mut pieces = Vec::new();
        match std::mem::take(&mut self.state) {
            State::Text => {
                let rest = std::mem::take(&mut self.buffer);
                self.text(&rest, &mut pieces);
            }
            // A model that ends its turn after a call has only left out the closing tag.
            State::Tag { found: true } => {
                let rest = std::mem::take(&mut self.buffer);
                self.after_call = true;
                self.text(&rest, &mut pieces);
            }
            State::Tag { found: false } => {
                pieces.push(object::call(&std::mem::take(&mut self.buffer), ARGUMENTS));
            }
            State::Object(nesting) => {
                let end = self.buffer.find(CLOSE).filter(|_| allowed && nesting.is_quoted());
                let written = self.take(end.unwrap_or(self.buffer.len()));
                pieces.push(object::call(&written, ARGUMENTS));
                if end.is_some() {
                    self.state = State::Tag { found: true };
                }
            }
        }
        pieces
    }

    fn take(&mut self, bytes: usize) -> String {
        let rest = self.buffer.split_off(bytes);
        std::mem::replace(&mut self.buffer, rest)
    }

    /// Gives out what cannot be part of a tag.
    fn release(&mut self, pieces: &mut Vec<Piece>) {
        let line_breaks = self.buffer.len() - self.buffer.trim_end_matches('\n').len();
        let keep = match overlap(&self.buffer, OPEN) {
            0 => line_breaks,
            tag => tag + trailing_line_breaks(&self.buffer[..self.buffer.len() - tag]),
        };
        let ready = self.take(self.buffer.len() - keep);
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
    fn tags_inside_of_strings_are_text_of_the_arguments() {
        for value in ["</tool_call>", "}</tool_call> {", "<tool_call>", "a \\\"</tool_call>\\\" b", "</tool_call"] {
            let arguments = format!("{{\"a\": \"{value}\"}}");
            let written = format!("<tool_call>\n{{\"name\": \"f\", \"arguments\": {arguments}}}\n</tool_call>");
            at_every_split(&FORMAT, &written, &[call("f", &arguments)]);
            at_every_split(&FORMAT, written.trim_end_matches("\n</tool_call>"), &[call("f", &arguments)]);
        }
    }

    #[test]
    fn tags_may_be_missing_or_hold_several_calls() {
        let both = [call("a", "{\"x\": 1}"), call("b", "{}")];
        let (a, b) = ("{\"name\": \"a\", \"arguments\": {\"x\": 1}}", "{\"name\": \"b\", \"parameters\": {}}");
        for written in [
            format!("<tool_call>{a}<tool_call>{b}"),
            format!("<tool_call>{a}\n<tool_call>\n{b}</tool_call>"),
            format!("<tool_call>\n{a}\n{b}\n</tool_call>"),
            format!("<tool_call>[{a}, {b}]</tool_call>"),
            format!("<tool_call>[{a}, {b}"),
            format!("<tool_call>{a}}}</tool_call>\n<tool_call>{b}</tool_call>"),
            format!("<tool_call><tool_call>{a}</tool_call><tool_call>Then: {b} .</tool_call>"),
            format!("<tool_call>```json\n{a}\n```</tool_call><tool_call>{b}</tool_call>"),
        ] {
            at_every_split(&FORMAT, &written, &both);
        }
        let said = format!("Now. <tool_call>{a}\nand then {{more}}.");
        at_every_split(&FORMAT, &said, &[text("Now. "), both[0].clone(), text("and then {more}.")]);
    }

    #[test]
    fn a_string_without_an_end_does_not_take_the_next_call_with_it() {
        let written = "<tool_call>{\"name\": \"a\", \"arguments\": {\"x\": \"1}}</tool_call> So. <tool_call>{\"name\": \'b\'}</tool_call>";
        let pieces = run(&[written]);
        assert!(
            matches!(&pieces[..], [Piece::Malformed { .. }, Piece::Text(said), Piece::Malformed { .. }] if said == "So. "),
            "{pieces:?}"
        );
        at_every_split(&FORMAT, written, &pieces);
    }

    #[test]
    fn a_call_without_its_last_brace_is_told_to_the_model() {
        let written = "<tool_call>{\"name\": \"a\", \"arguments\": {\"x\": 1}</tool_call> So.";
        let pieces = run(&[written]);
        assert!(matches!(&pieces[..], [Piece::Malformed { .. }, Piece::Text(said)] if said == "So."), "{pieces:?}");
        at_every_split(&FORMAT, written, &pieces);
    }

    #[test]
    fn an_endless_call_is_given_up() {
        let mut parser = (FORMAT.parser)();
        assert!(parser.push("<tool_call>").is_empty());
        let pieces = parser.push(&"x".repeat(TOOL_ARGUMENTS_BYTES_MAX + 1));
        assert!(matches!(pieces.as_slice(), [Piece::Malformed { .. }]));
    }
}
