//! Llama 3.1 to 3.3: `{"name": …, "parameters": {…}}` as the whole turn, with or without `<|python_tag|>` before it.
//! Several calls are separated by `;` or white space. A turn that does not begin with a call is prose.

use firebox_contract::Grammar;
use firebox_contract::limits::TOOL_ARGUMENTS_BYTES_MAX;
use serde_json::{Map, Value};

use crate::toolcall::argument_stream::ObjectStream;
use crate::toolcall::bounded::{self, BoundedParser};
use crate::toolcall::call_grammar::{self, CallGrammar, CallableTool};
use crate::toolcall::json_scan::Nesting;
use crate::toolcall::markers::{self, MarkerFilter};
use crate::toolcall::{Piece, ToolCallFormat, ToolCallParser, call_object, plain_id};

pub(super) const FORMAT: ToolCallFormat = ToolCallFormat {
    name: "llama 3",
    recognise: |template| {
        template.contains(TAG)
            || template.contains("{\"name\": function name, \"parameters\": dictionary of argument name")
            || template.contains("{\"name\": function name, \"parameters\": dictionary")
    },
    parser: |_| Box::new(LlamaParser::new()),
    force: |tool| match tool {
        Some(name) => format!("{{\"name\": {}, \"{PARAMETERS}\":", call_object::quoted(name)),
        None => "{\"name\": \"".to_owned(),
    },
    id: plain_id,
    grammar: CallGrammar {
        only: |tools, most| calls(tools, most),
        // A turn that does not begin with a brace is text.
        in_text: Some(|tools, most| {
            let tag = Grammar::optional(Grammar::Marker(TAG.to_owned()));
            let text = Grammar::optional(Grammar::Regex("(?s:[ \\t\\r\\n]{0,8}[^{ \\t\\r\\n].*)".to_owned()));
            Grammar::Choice(vec![Grammar::Sequence(vec![tag, calls(tools, most)]), text])
        }),
    },
    markers: MARKERS,
};

const TAG: &str = "<|python_tag|>";
const MARKERS: &[&str] = &[TAG];
const PARAMETERS: &str = "parameters";
/// The keys that a call without the tag may begin with.
const FIRST_MEMBERS: [&str; 5] = ["\"name\"", "\"type\"", "\"function\"", "\"parameters\"", "\"arguments\""];

fn calls(tools: &[CallableTool], most: usize) -> Grammar {
    let between = Grammar::Regex("(;[ \\n]?|[ \\n])".to_owned());
    call_grammar::list(call_grammar::object(tools, PARAMETERS), between, most)
}

enum LlamaState {
    /// Only white space or a part of the tag so far.
    Start,
    /// Between calls. `tagged` says that the tag was there.
    Between { tagged: bool },
    /// In an object.
    Object { tagged: bool, nesting: Nesting, stream: ObjectStream },
    /// After the tag came no object. It is neither text nor a call.
    Junk,
    /// Prose to the end.
    Prose,
}

struct LlamaParser {
    state: LlamaState,
    buffer: String,
    calls: usize,
    filter: MarkerFilter,
}

impl LlamaParser {
    fn new() -> Self {
        Self { state: LlamaState::Start, buffer: String::new(), calls: 0, filter: MarkerFilter::new(MARKERS) }
    }
}

impl ToolCallParser for LlamaParser {
    fn push(&mut self, text: &str) -> Vec<Piece> {
        bounded::push(self, text)
    }

    fn finish(&mut self) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let rest = std::mem::take(&mut self.buffer);
        match std::mem::replace(&mut self.state, LlamaState::Prose) {
            LlamaState::Start | LlamaState::Prose => {
                let mut text = self.filter.text(&rest);
                text.push_str(&self.filter.rest());
                pieces.extend(markers::piece(text));
            }
            LlamaState::Between { tagged } if tagged && self.calls == 0 => {
                pieces.push(call_object::malformed("", PARAMETERS, "it is empty"));
            }
            LlamaState::Between { .. } => {}
            LlamaState::Object { tagged: false, .. } if self.calls == 0 && !has_both(&rest) => {
                pieces.extend(markers::piece(rest));
            }
            LlamaState::Object { .. } => pieces.push(call_object::malformed(&rest, PARAMETERS, "it is cut off")),
            LlamaState::Junk => pieces.push(call_object::malformed(rest.trim(), PARAMETERS, "it is not a JSON object")),
        }
        pieces
    }
}

impl BoundedParser for LlamaParser {
    fn buffer(&mut self) -> &mut String {
        &mut self.buffer
    }

    /// White space at the start is held back too, because a call may follow.
    fn held(&self) -> Option<usize> {
        (!matches!(self.state, LlamaState::Junk | LlamaState::Prose)).then_some(self.buffer.len())
    }

    fn give_up(&mut self, pieces: &mut Vec<Piece>) {
        let is_text = match self.state {
            LlamaState::Start => true,
            LlamaState::Object { tagged, .. } => !tagged && self.calls == 0,
            _ => false,
        };
        if !is_text {
            pieces.push(call_object::malformed("", PARAMETERS, &bounded::too_long()));
            self.buffer.clear();
        }
        self.state = LlamaState::Prose;
    }

    fn advance(&mut self, pieces: &mut Vec<Piece>) -> bool {
        match &mut self.state {
            LlamaState::Start => self.advance_start(),
            LlamaState::Between { tagged } => {
                let tagged = *tagged;
                self.advance_between(tagged)
            }
            LlamaState::Object { tagged, nesting, stream } => {
                let (tagged, end) = (*tagged, nesting.end(&self.buffer));
                // Without the tag, the object may still be prose.
                if tagged {
                    pieces.extend(stream.advance(&self.buffer[..end.unwrap_or(self.buffer.len())]));
                }
                self.advance_object(tagged, end, pieces)
            }
            LlamaState::Junk => {
                self.buffer.truncate(self.buffer.floor_char_boundary(TOOL_ARGUMENTS_BYTES_MAX));
                false
            }
            LlamaState::Prose => {
                let text = std::mem::take(&mut self.buffer);
                pieces.extend(markers::piece(self.filter.text(&text)));
                false
            }
        }
    }
}

impl LlamaParser {
    fn advance_start(&mut self) -> bool {
        let begun = self.buffer.trim_start();
        if begun.is_empty() || (begun.len() < TAG.len() && TAG.starts_with(begun)) {
            return false;
        }
        if let Some(rest) = begun.strip_prefix(TAG) {
            self.buffer = rest.to_owned();
            self.state = LlamaState::Between { tagged: true };
        } else if begun.starts_with('{') {
            // The white space stays in the buffer, because the text may still be prose.
            let nesting = Nesting::starting_at(self.buffer.len() - begun.len());
            self.state = LlamaState::Object { tagged: false, nesting, stream: ObjectStream::default() };
        } else {
            self.state = LlamaState::Prose;
        }
        true
    }

    fn advance_between(&mut self, tagged: bool) -> bool {
        // After the tag, the calls may be a list.
        let is_separator = |c: char| c.is_whitespace() || c == ';' || (tagged && matches!(c, '[' | ',' | ']'));
        let mut rest = self.buffer.trim_start_matches(is_separator);
        // There may be several tags.
        while let Some(after) = rest.strip_prefix(TAG) {
            rest = after.trim_start_matches(is_separator);
        }
        self.buffer = rest.to_owned();
        let may_be_tag = !self.buffer.is_empty() && TAG.starts_with(self.buffer.as_str());
        self.state = match self.buffer.chars().next() {
            None => return false,
            Some('{') => LlamaState::Object { tagged, nesting: Nesting::default(), stream: ObjectStream::default() },
            Some(_) if may_be_tag => return false,
            Some(_) if tagged && self.calls == 0 => LlamaState::Junk,
            Some(_) => LlamaState::Prose,
        };
        true
    }

    fn advance_object(&mut self, tagged: bool, end: Option<usize>, pieces: &mut Vec<Piece>) -> bool {
        let bare = !tagged && self.calls == 0;
        if bare && !may_be_call(&self.buffer) {
            self.state = LlamaState::Prose;
            return true;
        }
        let Some(end) = end else { return false };
        if bare && !is_call(&self.buffer[..end]) {
            self.state = LlamaState::Prose;
            return true;
        }
        let rest = self.buffer.split_off(end);
        let written = std::mem::replace(&mut self.buffer, rest);
        pieces.push(call_object::call(&written, PARAMETERS));
        self.calls += 1;
        self.state = LlamaState::Between { tagged };
        true
    }
}

/// Whether text with this beginning can become a call.
fn may_be_call(text: &str) -> bool {
    let Some(inside) = text.trim_start().strip_prefix('{') else { return false };
    let inside = inside.trim_start();
    FIRST_MEMBERS.iter().any(|member| inside.starts_with(member) || member.starts_with(inside))
}

/// Whether an object without the tag is a call.
fn is_call(text: &str) -> bool {
    match serde_json::from_str::<Map<String, Value>>(text.trim()) {
        Ok(object) => call_object::is_call(&object),
        // Invalid JSON with both members is a malformed call, reported to the model, and no text for the reader.
        Err(_) => has_both(text),
    }
}

/// Whether `text` contains both keys of a call.
fn has_both(text: &str) -> bool {
    text.contains("\"name\"") && ["\"parameters\"", "\"arguments\""].iter().any(|key| text.contains(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toolcall::testing::{at_every_split, call, malformed, run, text};

    #[test]
    fn f6_calls_keep_their_order_with_and_without_the_tag() {
        let calls = "{\"name\": \"b\", \"parameters\": {\"x\": {\"y\": [1.10, {}, \"}\"]}}}; \
                     {\"type\": \"function\", \"name\": \"a\", \"parameters\": {\"ü\": \"🙂\\\"\"}}";
        let expected = [call("b", "{\"x\": {\"y\": [1.10, {}, \"}\"]}}"), call("a", "{\"ü\": \"🙂\\\"\"}")];
        at_every_split(&FORMAT, calls, &expected);
        at_every_split(&FORMAT, &format!("<|python_tag|>{calls}"), &expected);
        at_every_split(&FORMAT, &format!(" \n{calls}\n"), &expected);
        at_every_split(&FORMAT, "<|python_tag|>{\"name\": \"a\"}", &[call("a", "{}")]);
    }

    #[test]
    fn calls_with_the_keys_of_other_families_are_calls() {
        for written in [
            "{\"name\": \"a\", \"arguments\": {\"x\": 1}}",
            "{\"arguments\": {\"x\": 1}, \"name\": \"a\"}",
            "{\"parameters\": {\"x\": 1}, \"name\": \"a\", \"type\": \"function\"}",
            "{\"type\": \"function\", \"function\": {\"name\": \"a\", \"parameters\": {\"x\": 1}}}",
            "{\"function\": {\"name\": \"a\", \"arguments\": \"{\\\"x\\\": 1}\"}}",
        ] {
            let expected = [call("a", "{\"x\": 1}")];
            at_every_split(&FORMAT, written, &expected);
            at_every_split(&FORMAT, &format!("<|python_tag|>{written}"), &expected);
        }
        let both = [call("a", "{}"), call("b", "{}")];
        let listed = "<|python_tag|>[{\"name\": \"a\", \"parameters\": {}}, {\"name\": \"b\", \"parameters\": \"\"}]";
        at_every_split(&FORMAT, listed, &both);
        at_every_split(&FORMAT, "{\"type\": \"function\", \"name\": \"a\"}", &[call("a", "{}")]);
    }

    #[test]
    fn f6_prose_is_not_a_call() {
        let prose = [
            "call b with {\"x\": 1}",
            "Sure: {\"name\": \"b\", \"parameters\": {}}",
            "{\"answer\": {\"name\": \"b\", \"parameters\": {}}}",
            "{\"name\": \"Bob\", \"age\": 7}",
            "{\"name\": \"Bob\", \"parameters\": {}, \"age\": 7}",
            "{\"name\": \"Bob\"",
            "{\"na",
            "{\"type\": \"report\", \"function\": \"sum\", \"text\": \"x\"}",
            "{\"arguments\": [1, 2]}",
            "{ not JSON }",
            " {}",
            "<|python",
            "  ",
        ];
        for prose in prose {
            at_every_split(&FORMAT, prose, &[text(prose)]);
        }
        let stray = "The tag <|python_tag|>{\"name\": \"b\", \"parameters\": {}} is no text";
        at_every_split(&FORMAT, stray, &[text(&stray.replace(TAG, ""))]);
        assert!(run(&FORMAT, &[""]).is_empty());
    }

    #[test]
    fn text_after_a_call_is_text() {
        let written = "{\"name\": \"a\", \"parameters\": {}}\nThat was it.";
        at_every_split(&FORMAT, written, &[call("a", "{}"), text("That was it.")]);
    }

    #[test]
    fn malformed_calls_give_an_error_for_the_model() {
        let cases = [
            ("<|python_tag|>", "empty"),
            ("<|python_tag|>brave.call(query=\"x\")", "not a JSON object"),
            ("<|python_tag|>{\"name\": \"a\"", "cut off"),
            ("<|python_tag|>{\"parameters\": {}}", "no \"name\""),
            ("{\"name\": \"a\", \"parameters\": 3}", "not an object"),
            ("{\"name\": \"a\", \"parameters\": {\"x\": 1", "cut off"),
            ("{\"name\": \"a\", \"parameters\": {\"x\": 1,}}", "not JSON"),
        ];
        for (written, expected) in cases {
            for cut in 0..=written.len() {
                let pieces = run(&FORMAT, &[&written[..cut], &written[cut..]]);
                let reason = malformed(&pieces);
                assert!(reason.contains(expected), "{written}: {reason}");
            }
        }
    }

    #[test]
    fn an_answer_in_json_is_not_held_back() {
        let mut parser = (FORMAT.parser)(&crate::toolcall::testing::tools());
        assert!(parser.push("{").is_empty());
        assert_eq!(parser.push("\"answer\": 42"), [text("{\"answer\": 42")]);
    }

    #[test]
    fn a_call_above_the_size_limit_is_malformed() {
        let mut parser = (FORMAT.parser)(&crate::toolcall::testing::tools());
        assert!(parser.push("<|python_tag|>{").is_empty());
        let pieces = parser.push(&"x".repeat(TOOL_ARGUMENTS_BYTES_MAX + 1));
        assert!(matches!(pieces.as_slice(), [Piece::Malformed { .. }, Piece::Text(rest)] if rest == "xx"));
    }
}
