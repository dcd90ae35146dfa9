//! Mistral: `[TOOL_CALLS][{"name": …, "arguments": {…}}, …]`, and since its eleventh tokenizer
//! `[TOOL_CALLS]name[ARGS]{…}` for each call.

use firebox_contract::limits::TOOL_ARGUMENTS_BYTES_MAX;

use super::raw::Nesting;
use super::{Piece, ToolCallFormat, ToolCallParser, markers, object};

/// The newer way: a marker between name and arguments.
pub(super) const NAMED: ToolCallFormat = ToolCallFormat {
    name: "mistral v11",
    recognise: |template| template.contains(OPEN) && template.contains(ARGS),
    parser: || Box::new(MistralParser::default()),
    force: |tool| tool.map_or_else(|| OPEN.to_owned(), |name| format!("{OPEN}{name}{ARGS}")),
    id,
    markers: MARKERS,
};

/// The older way: a JSON list.
pub(super) const LIST: ToolCallFormat = ToolCallFormat {
    name: "mistral",
    recognise: |template| template.contains(OPEN),
    parser: || Box::new(MistralParser::default()),
    force: |tool| match tool {
        Some(name) => format!("{OPEN}[{{\"name\": {}, \"{ARGUMENTS}\":", object::quoted(name)),
        None => format!("{OPEN}[{{\"name\": \""),
    },
    id,
    markers: MARKERS,
};

const OPEN: &str = "[TOOL_CALLS]";
const ARGS: &str = "[ARGS]";
const CALL_ID: &str = "[CALL_ID]";
const MARKERS: &[&str] = &[OPEN, ARGS, CALL_ID];
const ARGUMENTS: &str = "arguments";
const NO_LIST: &str = "it is not a list of calls";

/// Its templates insist on nine letters and digits.
fn id(number: usize) -> String {
    format!("call{number:05}")
}

#[derive(Default)]
enum State {
    /// Outside of calls.
    #[default]
    Text,
    /// After the opening marker, before it is clear which way the call is written.
    Head,
    /// Before a call's object or after one; `listed` says that a list was opened, `found` that a call was there.
    Items { listed: bool, found: bool },
    /// In a call's object.
    Object { listed: bool, nesting: Nesting },
    /// In a list of something else.
    Junk,
    /// In a name.
    Name,
    /// After a name.
    Arguments(String, Nesting),
}

#[derive(Default)]
struct MistralParser {
    buffer: String,
    state: State,
    after_call: bool,
}

impl ToolCallParser for MistralParser {
    fn push(&mut self, text: &str) -> Vec<Piece> {
        self.buffer.push_str(text);
        let mut pieces = Vec::new();
        while self.step(&mut pieces) {}
        if !matches!(self.state, State::Text) && self.buffer.len() > TOOL_ARGUMENTS_BYTES_MAX {
            pieces.push(object::malformed(
                "",
                ARGUMENTS,
                &format!("it is longer than {TOOL_ARGUMENTS_BYTES_MAX} bytes"),
            ));
            self.buffer.clear();
            self.state = State::Text;
        }
        pieces
    }

    fn finish(&mut self) -> Vec<Piece> {
        let rest = std::mem::take(&mut self.buffer);
        let mut pieces = Vec::new();
        match std::mem::take(&mut self.state) {
            State::Text => self.text(&rest, &mut pieces),
            State::Head if rest.trim().is_empty() => pieces.push(object::malformed("", ARGUMENTS, "it is empty")),
            // A model that ends its turn after a call has only left out the end of the list.
            State::Items { found: true, .. } => {}
            State::Head | State::Items { .. } | State::Object { .. } => {
                pieces.push(object::malformed(rest.trim(), ARGUMENTS, "it is cut off"));
            }
            State::Junk => pieces.push(object::malformed(rest.trim(), ARGUMENTS, NO_LIST)),
            State::Name => {
                let reason = format!("the name is not followed by {ARGS} and the arguments");
                pieces.push(object::malformed(rest.trim(), ARGUMENTS, &reason));
            }
            State::Arguments(name, _) => {
                let written = format!("{name} {}", rest.trim());
                pieces.push(object::malformed(&written, ARGUMENTS, "its arguments are cut off"));
            }
        }
        pieces
    }
}

impl MistralParser {
    /// Takes one thing out of the buffer; false when more text is needed.
    fn step(&mut self, pieces: &mut Vec<Piece>) -> bool {
        match &mut self.state {
            State::Text => self.step_text(pieces),
            State::Head => self.step_head(),
            State::Items { listed, found } => {
                let (listed, found) = (*listed, *found);
                self.step_items(listed, found, pieces)
            }
            State::Object { listed, nesting } => {
                let (listed, Some(end)) = (*listed, nesting.end(&self.buffer)) else { return false };
                let written = self.take(end);
                pieces.push(object::call(&written, ARGUMENTS));
                self.state = State::Items { listed, found: true };
                true
            }
            State::Junk => match self.buffer.find(OPEN) {
                Some(at) => {
                    let written = self.take(at);
                    pieces.push(object::malformed(written.trim(), ARGUMENTS, NO_LIST));
                    self.close()
                }
                None => false,
            },
            State::Name => self.step_name(),
            State::Arguments(..) => self.step_arguments(pieces),
        }
    }

    fn step_text(&mut self, pieces: &mut Vec<Piece>) -> bool {
        let Some((at, marker)) = markers::first(&self.buffer, MARKERS) else {
            let ready = self.take(markers::split_held(&self.buffer, MARKERS));
            self.text(&ready, pieces);
            return false;
        };
        let mut before = self.take(at + marker.len());
        before.truncate(at);
        self.text(&before, pieces);
        if marker == OPEN {
            self.state = State::Head;
        }
        true
    }

    fn step_head(&mut self) -> bool {
        let blank = self.buffer.len() - self.buffer.trim_start().len();
        self.take(blank);
        let begun = self.buffer.as_str();
        self.state = match self.buffer.chars().next() {
            None => return false,
            // A name may be missing, and then a marker follows at once.
            Some('[') if MARKERS.iter().any(|marker| begun.starts_with(marker)) => State::Name,
            Some('[') if MARKERS.iter().any(|marker| marker.starts_with(begun)) => return false,
            Some('[') => {
                self.take(1);
                State::Items { listed: true, found: false }
            }
            Some('{') => State::Items { listed: false, found: false },
            Some(_) => State::Name,
        };
        true
    }

    /// To the next object of a list or of a row of objects, or to its end, which some models leave out.
    fn step_items(&mut self, listed: bool, found: bool, pieces: &mut Vec<Piece>) -> bool {
        let apart = |c: char| c.is_whitespace() || (listed && c == ',');
        let next = self.buffer.trim_start_matches(apart);
        let skipped = self.buffer.len() - next.len();
        match next.chars().next() {
            None => return false,
            Some('{') => {
                self.take(skipped);
                self.state = State::Object { listed, nesting: Nesting::default() };
            }
            Some(']') if listed => {
                self.take(skipped + 1);
                if !found {
                    pieces.push(object::malformed("[]", ARGUMENTS, "the list is empty"));
                }
                return self.close();
            }
            Some(_) if found => return self.close(),
            Some(_) => self.state = State::Junk,
        }
        true
    }

    /// A name ends at the marker, or where its arguments begin: some models leave the marker out.
    fn step_name(&mut self) -> bool {
        let ends = [(ARGS, ARGS.len()), ("{", 0)].map(|(end, length)| Some((self.buffer.find(end)?, length)));
        let Some((at, length)) = ends.into_iter().flatten().min() else { return false };
        let mut name = self.take(at + length);
        name.truncate(at);
        // Some versions put an id of their own between name and arguments.
        let name = name.split(CALL_ID).next().unwrap_or_default().trim().to_owned();
        self.state = State::Arguments(name, Nesting::default());
        true
    }

    fn step_arguments(&mut self, pieces: &mut Vec<Piece>) -> bool {
        let blank = self.buffer.len() - self.buffer.trim_start().len();
        self.take(blank);
        let State::Arguments(name, nesting) = &mut self.state else { return false };
        match self.buffer.chars().next() {
            None => return false,
            Some('{') => {}
            Some(_) => {
                let reason = format!("{ARGS} is not followed by a JSON object");
                pieces.push(object::malformed(name, ARGUMENTS, &reason));
                return self.close();
            }
        }
        let Some(end) = nesting.end(&self.buffer) else { return false };
        let name = std::mem::take(name);
        let arguments_json = self.take(end);
        pieces.push(match serde_json::from_str::<serde_json::Value>(&arguments_json) {
            _ if name.is_empty() => object::malformed(&arguments_json, ARGUMENTS, "it has no name"),
            Ok(_) => Piece::Call { name, arguments_json },
            Err(error) => {
                object::malformed(&format!("{name} {arguments_json}"), ARGUMENTS, &format!("it is not JSON ({error})"))
            }
        });
        self.close()
    }

    fn close(&mut self) -> bool {
        self.after_call = true;
        self.state = State::Text;
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
    use super::super::testing::{at_every_split, call, malformed, run, text};
    use super::*;

    #[test]
    fn f6_call_order_is_kept_in_a_list() {
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
    fn f6_call_order_is_kept_with_names_and_markers() {
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
    fn malformed_calls_say_what_is_wrong() {
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
    fn the_end_of_a_list_and_the_marker_of_arguments_may_be_missing() {
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
    fn a_list_of_something_else_is_told_to_the_model() {
        let pieces = run(&LIST, &["[TOOL_CALLS][1, {\"a\": 2}][TOOL_CALLS][{\"name\": \"a\"}]"]);
        assert!(matches!(&pieces[..], [Piece::Malformed { .. }, Piece::Call { .. }]), "{pieces:?}");
        assert!(malformed(&pieces[..1]).contains("not a list of calls"), "{pieces:?}");
    }

    #[test]
    fn an_endless_call_is_given_up() {
        let mut parser = (LIST.parser)();
        assert!(parser.push("[TOOL_CALLS][").is_empty());
        let pieces = parser.push(&"1,".repeat(TOOL_ARGUMENTS_BYTES_MAX));
        assert!(matches!(pieces.as_slice(), [Piece::Malformed { .. }]));
    }
}
