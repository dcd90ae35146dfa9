//! Llama 3.1 to 3.3: `{"name": …, "parameters": {…}}` as the whole turn, with or without `<|python_tag|>` before it;
//! several are separated by `;` or white space. What does not begin that way is prose, whatever it holds.

use firebox_contract::limits::TOOL_ARGUMENTS_BYTES_MAX;
use serde_json::{Map, Value};

use super::markers::{self, MarkerFilter};
use super::raw::Nesting;
use super::{Piece, ToolCallFormat, ToolCallParser, object, plain_id};

pub(super) const FORMAT: ToolCallFormat = ToolCallFormat {
    name: "llama 3",
    recognise: |template| {
        template.contains(TAG)
            || template.contains("{\"name\": function name, \"parameters\": dictionary of argument name")
            || template.contains("{\"name\": function name, \"parameters\": dictionary")
    },
    parser: || Box::new(LlamaParser::new()),
    force: |tool| match tool {
        Some(name) => format!("{{\"name\": {}, \"{PARAMETERS}\":", object::quoted(name)),
        None => "{\"name\": \"".to_owned(),
    },
    id: plain_id,
    markers: MARKERS,
};

const TAG: &str = "<|python_tag|>";
const MARKERS: &[&str] = &[TAG];
const PARAMETERS: &str = "parameters";
/// What the first member of a call that has no tag may be.
const FIRST_MEMBERS: [&str; 5] = ["\"name\"", "\"type\"", "\"function\"", "\"parameters\"", "\"arguments\""];

enum State {
    /// So far nothing but white space or a part of the tag.
    Start,
    /// Between calls; the flag says that the tag was there.
    Between { tagged: bool },
    /// In an object.
    Object { tagged: bool, nesting: Nesting },
    /// After the tag came no object: no text, and no call.
    Junk,
    /// Prose to the end.
    Prose,
}

struct LlamaParser {
    state: State,
    buffer: String,
    calls: usize,
    filter: MarkerFilter,
}

impl LlamaParser {
    fn new() -> Self {
        Self { state: State::Start, buffer: String::new(), calls: 0, filter: MarkerFilter::new(MARKERS) }
    }
}

impl ToolCallParser for LlamaParser {
    fn push(&mut self, text: &str) -> Vec<Piece> {
        self.buffer.push_str(text);
        let mut pieces = Vec::new();
        while self.step(&mut pieces) {}
        pieces
    }

    fn finish(&mut self) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let rest = std::mem::take(&mut self.buffer);
        match std::mem::replace(&mut self.state, State::Prose) {
            State::Start | State::Prose => {
                let mut text = self.filter.text(&rest);
                text.push_str(&self.filter.rest());
                pieces.extend(markers::piece(text));
            }
            State::Between { tagged } if tagged && self.calls == 0 => {
                pieces.push(object::malformed("", PARAMETERS, "it is empty"));
            }
            State::Between { .. } => {}
            State::Object { tagged: false, .. } if self.calls == 0 && !has_both(&rest) => {
                pieces.extend(markers::piece(rest));
            }
            State::Object { .. } => pieces.push(object::malformed(&rest, PARAMETERS, "it is cut off")),
            State::Junk => pieces.push(object::malformed(rest.trim(), PARAMETERS, "it is not a JSON object")),
        }
        pieces
    }
}

impl LlamaParser {
    /// Takes one thing out of the buffer; false when more text is needed.
    fn step(&mut self, pieces: &mut Vec<Piece>) -> bool {
        match &mut self.state {
            State::Start => self.step_start(),
            State::Between { tagged } => {
                let tagged = *tagged;
                self.step_between(tagged)
            }
            State::Object { tagged, nesting } => {
                let (tagged, end) = (*tagged, nesting.end(&self.buffer));
                self.step_object(tagged, end, pieces)
            }
            State::Junk => {
                let end = (0..=TOOL_ARGUMENTS_BYTES_MAX.min(self.buffer.len())).rev();
                let end = end.into_iter().find(|at| self.buffer.is_char_boundary(*at)).unwrap_or(0);
                self.buffer.truncate(end);
                false
            }
            State::Prose => {
                let text = std::mem::take(&mut self.buffer);
                pieces.extend(markers::piece(self.filter.text(&text)));
                false
            }
        }
    }

    fn step_start(&mut self) -> bool {
        let begun = self.buffer.trim_start();
        if begun.is_empty() || (begun.len() < TAG.len() && TAG.starts_with(begun)) {
            // White space alone is held; a turn of nothing else is not worth more than its bound.
            if self.buffer.len() > TOOL_ARGUMENTS_BYTES_MAX {
                self.state = State::Prose;
                return true;
            }
            return false;
        }
        if let Some(rest) = begun.strip_prefix(TAG) {
            self.buffer = rest.to_owned();
            self.state = State::Between { tagged: true };
        } else if begun.starts_with('{') {
            // The white space stays in the buffer, in case this turns out to be prose.
            let nesting = Nesting::starting_at(self.buffer.len() - begun.len());
            self.state = State::Object { tagged: false, nesting };
        } else {
            self.state = State::Prose;
        }
        true
    }

    fn step_between(&mut self, tagged: bool) -> bool {
        // After the tag, calls may stand in a list.
        let between = |c: char| c.is_whitespace() || c == ';' || (tagged && matches!(c, '[' | ',' | ']'));
        let mut rest = self.buffer.trim_start_matches(between);
        // However many stand there, and however they were cut.
        while let Some(after) = rest.strip_prefix(TAG) {
            rest = after.trim_start_matches(between);
        }
        self.buffer = rest.to_owned();
        let may_be_tag = !self.buffer.is_empty() && TAG.starts_with(self.buffer.as_str());
        self.state = match self.buffer.chars().next() {
            None => return false,
            Some('{') => State::Object { tagged, nesting: Nesting::default() },
            Some(_) if may_be_tag => return false,
            Some(_) if tagged && self.calls == 0 => State::Junk,
            Some(_) => State::Prose,
        };
        true
    }

    fn step_object(&mut self, tagged: bool, end: Option<usize>, pieces: &mut Vec<Piece>) -> bool {
        let bare = !tagged && self.calls == 0;
        if bare && !may_be_call(&self.buffer) {
            self.state = State::Prose;
            return true;
        }
        let Some(end) = end else {
            if self.buffer.len() <= TOOL_ARGUMENTS_BYTES_MAX {
                return false;
            }
            if bare {
                self.state = State::Prose;
                return true;
            }
            let reason = format!("it is longer than {TOOL_ARGUMENTS_BYTES_MAX} bytes");
            pieces.push(object::malformed("", PARAMETERS, &reason));
            self.buffer.clear();
            self.state = State::Prose;
            return false;
        };
        if bare && !is_call(&self.buffer[..end]) {
            self.state = State::Prose;
            return true;
        }
        let rest = self.buffer.split_off(end);
        let written = std::mem::replace(&mut self.buffer, rest);
        pieces.push(object::call(&written, PARAMETERS));
        self.calls += 1;
        self.state = State::Between { tagged };
        true
    }
}

/// Whether what begins this way can still become a call.
fn may_be_call(text: &str) -> bool {
    let Some(inside) = text.trim_start().strip_prefix('{') else { return false };
    let inside = inside.trim_start();
    FIRST_MEMBERS.iter().any(|member| inside.starts_with(member) || member.starts_with(inside))
}

/// Whether an object without the tag is a call and nothing else.
fn is_call(text: &str) -> bool {
    match serde_json::from_str::<Map<String, Value>>(text.trim()) {
        Ok(object) => object::is_call(&object),
        // Not JSON, and yet with both members: the model is told rather than the reader.
        Err(_) => has_both(text),
    }
}

/// Whether `text` has the two members of a call.
fn has_both(text: &str) -> bool {
    text.contains("\"name\"") && ["\"parameters\"", "\"arguments\""].iter().any(|key| text.contains(key))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{at_every_split, call, malformed, run, text};
    use super::*;

    #[test]
    fn f6_call_order_is_kept_with_and_without_the_tag() {
        let calls = "{\"name\": \"b\", \"parameters\": {\"x\": {\"y\": [1.10, {}, \"}\"]}}}; \
                     {\"type\": \"function\", \"name\": \"a\", \"parameters\": {\"ü\": \"🙂\\\"\"}}";
        let expected = [call("b", "{\"x\": {\"y\": [1.10, {}, \"}\"]}}"), call("a", "{\"ü\": \"🙂\\\"\"}")];
        at_every_split(&FORMAT, calls, &expected);
        at_every_split(&FORMAT, &format!("<|python_tag|>{calls}"), &expected);
        at_every_split(&FORMAT, &format!(" \n{calls}\n"), &expected);
        at_every_split(&FORMAT, "<|python_tag|>{\"name\": \"a\"}", &[call("a", "{}")]);
    }

    #[test]
    fn calls_are_taken_in_the_words_of_other_families() {
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
    fn malformed_calls_say_what_is_wrong() {
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
        let mut parser = (FORMAT.parser)();
        assert!(parser.push("{").is_empty());
        assert_eq!(parser.push("\"answer\": 42"), [text("{\"answer\": 42")]);
    }

    #[test]
    fn an_endless_call_is_given_up() {
        let mut parser = (FORMAT.parser)();
        assert!(parser.push("<|python_tag|>{").is_empty());
        let pieces = parser.push(&"x".repeat(TOOL_ARGUMENTS_BYTES_MAX + 1));
        assert!(matches!(pieces.as_slice(), [Piece::Malformed { .. }]));
    }
}
