//! Hermes and Qwen: `<tool_call>{"name": …, "arguments": {…}}</tool_call>`.

use firebox_contract::Grammar;

use crate::generation::stop_strings::overlap;
use crate::toolcall::argument_stream::ObjectStream;
use crate::toolcall::bounded::{self, BoundedParser};
use crate::toolcall::call_grammar::{self, CallGrammar, CallableTool};
use crate::toolcall::json_scan::{Nesting, ValueEnd};
use crate::toolcall::{Piece, ToolCallFormat, ToolCallParser, call_object, plain_id};

pub(super) const FORMAT: ToolCallFormat = ToolCallFormat {
    name: "hermes",
    recognise: |template| template.contains(OPEN) && template.contains("\"name\""),
    parser: |_| Box::new(HermesParser::new(TAGS)),
    force: |tool| match tool {
        Some(name) => format!("{OPEN}\n{{\"name\": {}, \"{ARGUMENTS}\":", call_object::quoted(name)),
        // Only the tag, which is one token. The model writes the rest in its own tokens.
        None => OPEN.to_owned(),
    },
    id: plain_id,
    grammar: CallGrammar {
        only: |tools, most| tagged_calls(TAGS, tools, most),
        in_text: Some(|tools, most| call_grammar::calls_in_text(OPEN, after_open(TAGS, tools), most)),
    },
    // Its tags are ordinary tokens. They stay text if no tools are offered.
    markers: &[],
};

const OPEN: &str = "<tool_call>";
const TAGS: TagPair = TagPair { open: OPEN, close: "</tool_call>" };
const ARGUMENTS: &str = "arguments";

/// The rest of a call after its opening tag, with its closing tag.
pub(super) fn after_open(tags: TagPair, tools: &[CallableTool]) -> Grammar {
    let space = call_grammar::space;
    let call = call_grammar::object(tools, ARGUMENTS);
    Grammar::Sequence(vec![space(), call, space(), call_grammar::marker(tags.close)])
}

/// One to `most` calls between tags.
pub(super) fn tagged_calls(tags: TagPair, tools: &[CallableTool], most: usize) -> Grammar {
    let call = Grammar::Sequence(vec![call_grammar::marker(tags.open), after_open(tags, tools)]);
    call_grammar::list(call, call_grammar::space(), most)
}

#[derive(Default)]
enum HermesState {
    /// Outside of the tags.
    #[default]
    Text,
    /// Inside of the tags and outside of a call. `found` says that there was a call before.
    Tag { found: bool },
    /// In the JSON object of a call.
    Object(Nesting, ObjectStream),
}

/// The marks around calls.
#[derive(Debug, Clone, Copy)]
pub(super) struct TagPair {
    pub(super) open: &'static str,
    pub(super) close: &'static str,
}

/// The parser of calls that are JSON objects between two tags.
pub(super) struct HermesParser {
    tags: TagPair,
    buffer: String,
    state: HermesState,
    /// Whether a call came just before: white space after it belongs to the markup.
    after_call: bool,
}

impl ToolCallParser for HermesParser {
    fn push(&mut self, text: &str) -> Vec<Piece> {
        bounded::push(self, text)
    }

    fn finish(&mut self) -> Vec<Piece> {
        let mut pieces = self.end(true);
        if !self.buffer.is_empty() {
            // An unterminated string has swallowed the text after it, which is parsed again.
            while self.advance(&mut pieces) {}
            pieces.extend(self.end(false));
        }
        pieces
    }
}

impl BoundedParser for HermesParser {
    fn buffer(&mut self) -> &mut String {
        &mut self.buffer
    }

    fn held(&self) -> Option<usize> {
        (!matches!(self.state, HermesState::Text)).then_some(self.buffer.len())
    }

    fn give_up(&mut self, pieces: &mut Vec<Piece>) {
        pieces.push(call_object::malformed("", ARGUMENTS, &bounded::too_long()));
        self.buffer.clear();
        self.state = HermesState::Text;
    }

    fn advance(&mut self, pieces: &mut Vec<Piece>) -> bool {
        match &mut self.state {
            HermesState::Text => self.advance_text(pieces),
            HermesState::Tag { found } => {
                let found = *found;
                self.advance_tag(found, pieces)
            }
            HermesState::Object(nesting, stream) => {
                let end = nesting.end_or_mark(&self.buffer, &[self.tags.close, self.tags.open]);
                let scanned = match end {
                    Some(ValueEnd::Whole(at) | ValueEnd::Mark(at)) => at,
                    None => {
                        self.buffer.len()
                            - overlap(&self.buffer, self.tags.close).max(overlap(&self.buffer, self.tags.open))
                    }
                };
                pieces.extend(stream.advance(&self.buffer[..scanned]));
                let Some(ValueEnd::Whole(at) | ValueEnd::Mark(at)) = end else { return false };
                let written = self.take(at);
                pieces.push(call_object::call(&written, ARGUMENTS));
                self.state = HermesState::Tag { found: true };
                true
            }
        }
    }
}

impl HermesParser {
    pub(super) fn new(tags: TagPair) -> Self {
        Self { tags, buffer: String::new(), state: HermesState::Text, after_call: false }
    }

    fn advance_text(&mut self, pieces: &mut Vec<Piece>) -> bool {
        let Some(at) = self.buffer.find(self.tags.open) else {
            self.release(pieces);
            return false;
        };
        let mut before = self.take(at + self.tags.open.len());
        before.truncate(at);
        // The line break before a call belongs to the markup.
        self.text(before.trim_end_matches('\n'), pieces);
        self.state = HermesState::Tag { found: false };
        true
    }

    /// Goes to the next call inside of the tags, or to the closing tag. Some models leave out the closing tag, put several
    /// calls or a list of calls inside of the tags, or write a word before a call.
    fn advance_tag(&mut self, found: bool, pieces: &mut Vec<Piece>) -> bool {
        let ends = [self.tags.close, self.tags.open].map(|tag| self.buffer.find(tag).map(|at| (at, tag)));
        let end = ends.into_iter().flatten().min();
        // After a call only separators and further calls may come. A brace in other text begins no call.
        let begin = self.buffer.find('{').filter(|at| !found || self.buffer[..*at].chars().all(is_separator));
        match (begin, end) {
            (Some(begin), end) if end.is_none_or(|(end, _)| begin < end) => {
                self.take(begin);
                self.state = HermesState::Object(Nesting::default(), ObjectStream::default());
            }
            (_, Some((at, tag))) => {
                let mut inside = self.take(at + tag.len());
                inside.truncate(at);
                let blank = inside.trim().is_empty();
                let only_opens = blank && tag == self.tags.open;
                if !found && !only_opens {
                    pieces.push(call_object::call(&inside, ARGUMENTS));
                }
                self.after_call = true;
                self.state = if tag == self.tags.open { HermesState::Tag { found: false } } else { HermesState::Text };
            }
            (_, None) => return false,
        }
        true
    }

    /// Ends the turn in the current state. If `reparse` is set and a string is unterminated, the text after the next
    /// closing tag stays in the buffer, to be parsed again.
    fn end(&mut self, reparse: bool) -> Vec<Piece> {
        let mut pieces = Vec::new();
        match std::mem::take(&mut self.state) {
            HermesState::Text => {
                let rest = std::mem::take(&mut self.buffer);
                self.text(&rest, &mut pieces);
            }
            // The model left out the closing tag.
            HermesState::Tag { found: true } => {
                let rest = std::mem::take(&mut self.buffer);
                let rest = rest.trim_start_matches(is_separator);
                self.after_call = true;
                // A part of the closing tag is no text.
                self.text(if self.tags.close.starts_with(rest) { "" } else { rest }, &mut pieces);
            }
            HermesState::Tag { found: false } => {
                pieces.push(call_object::call(&std::mem::take(&mut self.buffer), ARGUMENTS));
            }
            HermesState::Object(nesting, _) => {
                let end = self.buffer.find(self.tags.close).filter(|_| reparse && nesting.is_quoted());
                let written = self.take(end.unwrap_or(self.buffer.len()));
                pieces.push(call_object::call(&written, ARGUMENTS));
                if end.is_some() {
                    self.state = HermesState::Tag { found: true };
                }
            }
        }
        pieces
    }

    fn take(&mut self, bytes: usize) -> String {
        let rest = self.buffer.split_off(bytes);
        std::mem::replace(&mut self.buffer, rest)
    }

    /// Releases the text that cannot be part of a tag.
    fn release(&mut self, pieces: &mut Vec<Piece>) {
        let line_breaks = self.buffer.len() - self.buffer.trim_end_matches('\n').len();
        let keep = match overlap(&self.buffer, self.tags.open) {
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

/// Whether a character separates the calls inside of a pair of tags.
fn is_separator(c: char) -> bool {
    c.is_whitespace() || matches!(c, ',' | ';' | '[' | ']')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toolcall::testing::{at_every_split, call, text};

    fn run(pieces: &[&str]) -> Vec<Piece> {
        crate::toolcall::testing::run(&FORMAT, pieces)
    }

    #[test]
    fn f6_calls_keep_their_order_at_every_split() {
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
    fn malformed_calls_give_an_error_for_the_model() {
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
    fn a_call_without_its_closing_tag_is_a_call() {
        assert_eq!(run(&["<tool_call>{\"name\": \"a\"}"]), [call("a", "{}")]);
    }

    #[test]
    fn tags_in_strings_belong_to_the_arguments() {
        for value in ["</tool_call>", "}</tool_call> {", "<tool_call>", "a \\\"</tool_call>\\\" b", "</tool_call"] {
            let arguments = format!("{{\"a\": \"{value}\"}}");
            let written = format!("<tool_call>\n{{\"name\": \"f\", \"arguments\": {arguments}}}\n</tool_call>");
            at_every_split(&FORMAT, &written, &[call("f", &arguments)]);
            at_every_split(&FORMAT, written.trim_end_matches("\n</tool_call>"), &[call("f", &arguments)]);
        }
    }

    #[test]
    fn closing_tags_may_be_missing_and_tags_may_contain_several_calls() {
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
    fn an_unterminated_string_does_not_swallow_the_next_call() {
        let written = "<tool_call>{\"name\": \"a\", \"arguments\": {\"x\": \"1}}</tool_call> So. <tool_call>{\"name\": \'b\'}</tool_call>";
        let pieces = run(&[written]);
        assert!(
            matches!(&pieces[..], [Piece::Malformed { .. }, Piece::Text(said), Piece::Malformed { .. }] if said == "So. "),
            "{pieces:?}"
        );
        at_every_split(&FORMAT, written, &pieces);
    }

    #[test]
    fn a_call_without_its_last_brace_is_malformed() {
        let written = "<tool_call>{\"name\": \"a\", \"arguments\": {\"x\": 1}</tool_call> So.";
        let pieces = run(&[written]);
        assert!(matches!(&pieces[..], [Piece::Malformed { .. }, Piece::Text(said)] if said == "So."), "{pieces:?}");
        at_every_split(&FORMAT, written, &pieces);
    }

    #[test]
    fn a_call_above_the_size_limit_is_malformed() {
        let mut parser = (FORMAT.parser)(&crate::toolcall::testing::tools());
        assert!(parser.push("<tool_call>").is_empty());
        let pieces = parser.push(&"x".repeat(firebox_contract::limits::TOOL_ARGUMENTS_BYTES_MAX + 1));
        assert!(matches!(pieces.as_slice(), [Piece::Malformed { .. }, Piece::Text(rest)] if rest == "x"));
    }
}
