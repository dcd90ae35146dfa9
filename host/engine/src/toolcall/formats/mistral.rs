//! Mistral: `[TOOL_CALLS][{"name": …, "arguments": {…}}, …]`, and since tokenizer version 11
//! `[TOOL_CALLS]name[ARGS]{…}` for each call.

use firebox_contract::Grammar;

use crate::toolcall::argument_stream::{ArgumentStream, ObjectStream};
use crate::toolcall::bounded::{self, BoundedParser};
use crate::toolcall::call_grammar::{self, CallGrammar, CallableTool};
use crate::toolcall::json_scan::Nesting;
use crate::toolcall::{Piece, ToolCallFormat, ToolCallParser, call_object, markers};

/// The newer format: a marker between name and arguments.
pub(super) const NAMED: ToolCallFormat = ToolCallFormat {
    name: "mistral v11",
    recognise: |template| template.contains(OPEN) && template.contains(ARGS),
    parser: |_| Box::new(MistralParser::default()),
    force: |tool| tool.map_or_else(|| OPEN.to_owned(), |name| format!("{OPEN}{name}{ARGS}")),
    id,
    grammar: CallGrammar {
        only: |tools, most| named_calls(Grammar::Marker(OPEN.to_owned()), tools, 1, most),
        in_text: Some(|tools, most| in_text(named_calls(through(), tools, 0, most))),
    },
    markers: MARKERS,
};

/// The older format: a JSON list.
pub(super) const LIST: ToolCallFormat = ToolCallFormat {
    name: "mistral",
    recognise: |template| template.contains(OPEN),
    parser: |_| Box::new(MistralParser::default()),
    force: |tool| match tool {
        Some(name) => format!("{OPEN}[{{\"name\": {}, \"{ARGUMENTS}\":", call_object::quoted(name)),
        None => format!("{OPEN}[{{\"name\": \""),
    },
    id,
    grammar: CallGrammar {
        only: |tools, most| listed_calls(Grammar::Marker(OPEN.to_owned()), tools, most),
        in_text: Some(|tools, most| in_text(Grammar::optional(listed_calls(through(), tools, most)))),
    },
    markers: MARKERS,
};

const OPEN: &str = "[TOOL_CALLS]";
const ARGS: &str = "[ARGS]";
const CALL_ID: &str = "[CALL_ID]";
const MARKERS: &[&str] = &[OPEN, ARGS, CALL_ID];
const ARGUMENTS: &str = "arguments";
const NO_LIST: &str = "it is not a list of calls";

/// Text up to the marker of a call.
fn through() -> Grammar {
    Grammar::through(OPEN)
}

/// `calls` and text without a further marker.
fn in_text(calls: Grammar) -> Grammar {
    Grammar::Sequence(vec![calls, Grammar::Without(vec![OPEN.to_owned()])])
}

/// `least` to `most` calls, each after `open`.
fn named_calls(open: Grammar, tools: &[CallableTool], least: usize, most: usize) -> Grammar {
    let call = |tool: &CallableTool| {
        let marker = Grammar::Marker(ARGS.to_owned());
        Grammar::Sequence(vec![Grammar::text(&tool.name), marker, call_grammar::space(), tool.object()])
    };
    let call = Grammar::Sequence(vec![open, call_grammar::one_of(tools, call)]);
    Grammar::Repeat { part: Box::new(call), min: least, max: most }
}

/// A list of calls after `open`.
fn listed_calls(open: Grammar, tools: &[CallableTool], most: usize) -> Grammar {
    let comma = Grammar::Sequence(vec![Grammar::text(","), call_grammar::space()]);
    let calls = call_grammar::list(call_grammar::object(tools, ARGUMENTS), comma, most);
    Grammar::Sequence(vec![open, call_grammar::space(), Grammar::text("["), calls, Grammar::text("]")])
}

/// Mistral templates require ids of nine letters and digits.
fn id(number: usize, _: &str) -> String {
    format!("call{number:05}")
}

#[derive(Default)]
enum MistralState {
    /// Outside of calls.
    #[default]
    Text,
    /// After the opening marker, while the format is not known yet.
    Head,
    /// Before or after the object of a call. `listed` says that a list was opened, `found` that there was a call.
    Items { listed: bool, found: bool },
    /// In a call's object.
    Object { listed: bool, nesting: Nesting, stream: ObjectStream },
    /// In a list of other values than calls.
    Junk,
    /// In a name.
    Name,
    /// After a name.
    Arguments(String, Nesting, ArgumentStream),
}

#[derive(Default)]
struct MistralParser {
    buffer: String,
    state: MistralState,
    after_call: bool,
}

impl ToolCallParser for MistralParser {
    fn push(&mut self, text: &str) -> Vec<Piece> {
        bounded::push(self, text)
    }

    fn finish(&mut self) -> Vec<Piece> {
        let rest = std::mem::take(&mut self.buffer);
        let mut pieces = Vec::new();
        match std::mem::take(&mut self.state) {
            MistralState::Text => self.text(&rest, &mut pieces),
            MistralState::Head if rest.trim().is_empty() => {
                pieces.push(call_object::malformed("", ARGUMENTS, "it is empty"))
            }
            // The model left out the end of the list.
            MistralState::Items { found: true, .. } => {}
            MistralState::Head | MistralState::Items { .. } | MistralState::Object { .. } => {
                pieces.push(call_object::malformed(rest.trim(), ARGUMENTS, "it is cut off"));
            }
            MistralState::Junk => pieces.push(call_object::malformed(rest.trim(), ARGUMENTS, NO_LIST)),
            MistralState::Name => {
                let reason = format!("the name is not followed by {ARGS} and the arguments");
                pieces.push(call_object::malformed(rest.trim(), ARGUMENTS, &reason));
            }
            MistralState::Arguments(name, ..) => {
                let written = format!("{name} {}", rest.trim());
                pieces.push(call_object::malformed(&written, ARGUMENTS, "its arguments are cut off"));
            }
        }
        pieces
    }
}

impl BoundedParser for MistralParser {
    fn buffer(&mut self) -> &mut String {
        &mut self.buffer
    }

    fn held(&self) -> Option<usize> {
        (!matches!(self.state, MistralState::Text)).then_some(self.buffer.len())
    }

    fn give_up(&mut self, pieces: &mut Vec<Piece>) {
        pieces.push(call_object::malformed("", ARGUMENTS, &bounded::too_long()));
        self.buffer.clear();
        self.state = MistralState::Text;
    }

    fn advance(&mut self, pieces: &mut Vec<Piece>) -> bool {
        match &mut self.state {
            MistralState::Text => self.advance_text(pieces),
            MistralState::Head => self.advance_head(),
            MistralState::Items { listed, found } => {
                let (listed, found) = (*listed, *found);
                self.advance_items(listed, found, pieces)
            }
            MistralState::Object { listed, nesting, stream } => {
                let (listed, end) = (*listed, nesting.end(&self.buffer));
                pieces.extend(stream.advance(&self.buffer[..end.unwrap_or(self.buffer.len())]));
                let Some(end) = end else { return false };
                let written = self.take(end);
                pieces.push(call_object::call(&written, ARGUMENTS));
                self.state = MistralState::Items { listed, found: true };
                true
            }
            MistralState::Junk => match self.buffer.find(OPEN) {
                Some(at) => {
                    let written = self.take(at);
                    pieces.push(call_object::malformed(written.trim(), ARGUMENTS, NO_LIST));
                    self.close()
                }
                None => false,
            },
            MistralState::Name => self.advance_name(),
            MistralState::Arguments(..) => self.advance_arguments(pieces),
        }
    }
}

impl MistralParser {
    fn advance_text(&mut self, pieces: &mut Vec<Piece>) -> bool {
        let Some((at, marker)) = markers::first(&self.buffer, MARKERS) else {
            let ready = self.take(markers::split_point(&self.buffer, MARKERS));
            self.text(&ready, pieces);
            return false;
        };
        let mut before = self.take(at + marker.len());
        before.truncate(at);
        self.text(&before, pieces);
        if marker == OPEN {
            self.state = MistralState::Head;
        }
        true
    }

    fn advance_head(&mut self) -> bool {
        let blank = self.buffer.len() - self.buffer.trim_start().len();
        self.take(blank);
        let begun = self.buffer.as_str();
        self.state = match self.buffer.chars().next() {
            None => return false,
            // The name may be missing: then a marker follows at once.
            Some('[') if MARKERS.iter().any(|marker| begun.starts_with(marker)) => MistralState::Name,
            Some('[') if MARKERS.iter().any(|marker| marker.starts_with(begun)) => return false,
            Some('[') => {
                self.take(1);
                MistralState::Items { listed: true, found: false }
            }
            Some('{') => MistralState::Items { listed: false, found: false },
            Some(_) => MistralState::Name,
        };
        true
    }

    /// Goes to the next object of a list or sequence of objects, or to its end, which some models leave out.
    fn advance_items(&mut self, listed: bool, found: bool, pieces: &mut Vec<Piece>) -> bool {
        let is_separator = |c: char| c.is_whitespace() || (listed && c == ',');
        let next = self.buffer.trim_start_matches(is_separator);
        let skipped = self.buffer.len() - next.len();
        match next.chars().next() {
            None => return false,
            Some('{') => {
                self.take(skipped);
                self.state =
                    MistralState::Object { listed, nesting: Nesting::default(), stream: ObjectStream::default() };
            }
            Some(']') if listed => {
                self.take(skipped + 1);
                if !found {
                    pieces.push(call_object::malformed("[]", ARGUMENTS, "the list is empty"));
                }
                return self.close();
            }
            Some(_) if found => return self.close(),
            Some(_) => self.state = MistralState::Junk,
        }
        true
    }

    /// A name ends at the marker, or at the arguments if the model left out the marker.
    fn advance_name(&mut self) -> bool {
        let ends = [(ARGS, ARGS.len()), ("{", 0)].map(|(end, length)| Some((self.buffer.find(end)?, length)));
        let Some((at, length)) = ends.into_iter().flatten().min() else { return false };
        let mut name = self.take(at + length);
        name.truncate(at);
        // Some versions put an id between name and arguments.
        let name = name.split(CALL_ID).next().unwrap_or_default().trim().to_owned();
        self.state = MistralState::Arguments(name, Nesting::default(), ArgumentStream::default());
        true
    }

    fn advance_arguments(&mut self, pieces: &mut Vec<Piece>) -> bool {
        let blank = self.buffer.len() - self.buffer.trim_start().len();
        self.take(blank);
        let MistralState::Arguments(name, nesting, stream) = &mut self.state else { return false };
        match self.buffer.chars().next() {
            None => return false,
            Some('{') => {}
            Some(_) => {
                let reason = format!("{ARGS} is not followed by a JSON object");
                pieces.push(call_object::malformed(name, ARGUMENTS, &reason));
                return self.close();
            }
        }
        let end = nesting.end(&self.buffer);
        if !name.is_empty() {
            pieces.extend(stream.advance(name, &self.buffer[..end.unwrap_or(self.buffer.len())]));
        }
        let Some(end) = end else { return false };
        let name = std::mem::take(name);
        let arguments_json = self.take(end);
        pieces.push(match serde_json::from_str::<serde_json::Value>(&arguments_json) {
            _ if name.is_empty() => call_object::malformed(&arguments_json, ARGUMENTS, "it has no name"),
            Ok(_) => Piece::Call { name, arguments_json },
            Err(error) => call_object::malformed(
                &format!("{name} {arguments_json}"),
                ARGUMENTS,
                &format!("it is not JSON ({error})"),
            ),
        });
        self.close()
    }

    fn close(&mut self) -> bool {
        self.after_call = true;
        self.state = MistralState::Text;
        true
    }

    fn take(&mut self, bytes: usize) -> String {
        let rest = self.buffer.split_off(bytes);
        std::mem::replace(&mut self.buffer, rest)
    }

    fn text(&mut self, text: &str, pieces: &mut Vec<Piece>) {
        let text = if self.after_call { text.trim_start() } else { text };
        if !text.is_empty() {
            self.after_call = false;
            pieces.push(Piece::Text(text.to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toolcall::testing::{at_every_split, call, malformed, run, text};

    #[test]
    fn f6_calls_keep_their_order_in_a_list() {
        let written = "Let me see.[TOOL_CALLS] [{\"name\": \"b\", \"arguments\": {\"x\": {\"y\": [1.10, {}, \"]}\"]}}}, \
                       {\"name\": \"a\", \"arguments\": {\"ü\": \"🙂\\\"\"}, \"id\": \"abcdefghi\"}]";
        let expected =
            [text("Let me see."), call("b", "{\"x\": {\"y\": [1.10, {}, \"]}\"]}}"), call("a", "{\"ü\": \"🙂\\\"\"}")];
        at_every_split(&LIST, written, &expected);
        at_every_split(&LIST, "[TOOL_CALLS][{\"name\": \"a\"}]", &[call("a", "{}")]);
        at_every_split(
            &LIST,
            "[TOOL_CALLS]{\"name\": \"a\", \"arguments\": {}}\n done",
            &[call("a", "{}"), text("done")],
        );
    }

    #[test]
    fn f6_calls_keep_their_order_with_names_and_markers() {
        let written = "[TOOL_CALLS]b[ARGS]{\"x\": {\"y\": [1, {\"z\": \"}{\"}]}}[TOOL_CALLS]a[CALL_ID]abcdefghi[ARGS] {\"ü\": \"日本\"}";
        let expected = [call("b", "{\"x\": {\"y\": [1, {\"z\": \"}{\"}]}}"), call("a", "{\"ü\": \"日本\"}")];
        at_every_split(&NAMED, written, &expected);
    }

    #[test]
    fn f6_prose_is_not_a_call() {
        let prose = [
            "call b with {}",
            "[{\"name\": \"b\", \"arguments\": {}}]",
            "{\"name\": \"b\", \"arguments\": {}}",
            "TOOL_CALLS [TOOL_CALL] [TOOL_CALLS",
        ];
        for prose in prose {
            at_every_split(&LIST, prose, &[text(prose)]);
            at_every_split(&NAMED, prose, &[text(prose)]);
        }
        at_every_split(&NAMED, "a stray [ARGS] is no text", &[text("a stray  is no text")]);
    }

    #[test]
    fn malformed_calls_give_an_error_for_the_model() {
        let cases = [
            ("[TOOL_CALLS]", "empty"),
            ("[TOOL_CALLS][]", "list is empty"),
            ("[TOOL_CALLS][{\"name\": \"a\"", "cut off"),
            ("[TOOL_CALLS][{\"name\": }]", "not JSON"),
            ("[TOOL_CALLS][{\"arguments\": {}}]", "no \"name\""),
            ("[TOOL_CALLS][{\"name\": \"a\", \"arguments\": 3}]", "not an object"),
            ("[TOOL_CALLS]calculator", "not followed by [ARGS]"),
            ("[TOOL_CALLS]calculator[ARGS]{\"a\": ", "cut off"),
            ("[TOOL_CALLS]calculator[ARGS]{a}", "not JSON"),
            ("[TOOL_CALLS][ARGS]{}", "no name"),
        ];
        for (written, expected) in cases {
            for cut in 0..=written.len() {
                let pieces = run(&NAMED, &[&written[..cut], &written[cut..]]);
                let reason = malformed(&pieces);
                assert!(reason.contains(expected), "{written}: {reason}");
            }
        }
        let pieces = run(&NAMED, &["[TOOL_CALLS]a[ARGS]7"]);
        assert!(matches!(&pieces[0], Piece::Malformed { reason, .. } if reason.contains("JSON object")), "{pieces:?}");
    }

    #[test]
    fn the_end_of_a_list_and_the_arguments_marker_may_be_missing() {
        let (a, b) = ("{\"name\": \"a\", \"arguments\": {\"x\": \"]\"}}", "{\"name\": \"b\", \"parameters\": {}}");
        let both = [call("a", "{\"x\": \"]\"}"), call("b", "{}")];
        for format in [&LIST, &NAMED] {
            for written in [
                format!("[TOOL_CALLS][{a}, {b}"),
                format!("[TOOL_CALLS] [{a}, {b},"),
                format!("[TOOL_CALLS]{a}\n{b}"),
                format!("[TOOL_CALLS][{a}\n[TOOL_CALLS][{b}]"),
                "[TOOL_CALLS]a{\"x\": \"]\"}[TOOL_CALLS]b {}".to_owned(),
                "[TOOL_CALLS]a[ARGS]{\"x\": \"]\"}[TOOL_CALLS] b[CALL_ID]123456789{}".to_owned(),
            ] {
                at_every_split(format, &written, &both);
            }
            let said = format!("So:[TOOL_CALLS][{a}, {b}\nThat is all, [1].");
            let expected = [text("So:"), both[0].clone(), both[1].clone(), text("That is all, [1].")];
            at_every_split(format, &said, &expected);
        }
    }

    #[test]
    fn a_list_of_other_values_is_a_malformed_call() {
        let pieces = run(&LIST, &["[TOOL_CALLS][1, {\"a\": 2}][TOOL_CALLS][{\"name\": \"a\"}]"]);
        assert!(matches!(&pieces[..], [Piece::Malformed { .. }, Piece::Call { .. }]), "{pieces:?}");
        assert!(malformed(&pieces[..1]).contains("not a list of calls"), "{pieces:?}");
    }

    #[test]
    fn a_call_above_the_size_limit_is_malformed() {
        let mut parser = (LIST.parser)(&crate::toolcall::testing::tools());
        assert!(parser.push("[TOOL_CALLS][").is_empty());
        let pieces = parser.push(&"1,".repeat(firebox_contract::limits::TOOL_ARGUMENTS_BYTES_MAX));
        assert!(matches!(pieces.as_slice(), [Piece::Malformed { .. }, Piece::Text(_)]));
    }
}
