//! Gemma 4: `<|tool_call>call:name{key:<|"|>text<|"|>,other:1}<tool_call|>`. FunctionGemma writes the same with other marks.

use firebox_contract::limits::TOOL_ARGUMENTS_DEPTH_MAX;
use firebox_contract::{ArgumentStyle, ArgumentValues, Grammar};
use serde_json::{Map, Value};

use crate::toolcall::bounded::{self, BoundedParser};
use crate::toolcall::call_grammar::{self, CallGrammar, CallableTool};
use crate::toolcall::markers;
use crate::toolcall::{Piece, ToolCallFormat, ToolCallParser, plain_id};

/// Gemma 4.
pub(super) const GEMMA4: ToolCallFormat = ToolCallFormat {
    name: "gemma 4",
    recognise: |template| template.contains("<|tool_call>call:"),
    parser: |_| Box::new(GemmaParser::new(&GEMMA4_MARKS)),
    force: |tool| match tool {
        Some(name) => format!("<|tool_call>call:{name}{{"),
        None => "<|tool_call>call:".to_owned(),
    },
    id: plain_id,
    grammar: CallGrammar {
        only: |tools, most| calls(&GEMMA4_MARKS, tools, most),
        in_text: Some(|tools, most| {
            call_grammar::calls_in_text(GEMMA4_MARKS.open, after_open(&GEMMA4_MARKS, tools), most)
        }),
    },
    markers: &["<|tool_call>", "<tool_call|>", "<|\"|>"],
};

/// FunctionGemma, which is a Gemma 3.
pub(super) const FUNCTION_GEMMA: ToolCallFormat = ToolCallFormat {
    name: "function gemma",
    recognise: |template| template.contains("<start_function_call>call:"),
    parser: |_| Box::new(GemmaParser::new(&FUNCTION_GEMMA_MARKS)),
    force: |tool| match tool {
        Some(name) => format!("<start_function_call>call:{name}{{"),
        None => "<start_function_call>call:".to_owned(),
    },
    id: plain_id,
    grammar: CallGrammar {
        only: |tools, most| calls(&FUNCTION_GEMMA_MARKS, tools, most),
        in_text: Some(|tools, most| {
            call_grammar::calls_in_text(FUNCTION_GEMMA_MARKS.open, after_open(&FUNCTION_GEMMA_MARKS, tools), most)
        }),
    },
    markers: &["<start_function_call>", "<end_function_call>", "<escape>"],
};

const GEMMA4_MARKS: Marks = Marks { open: "<|tool_call>", close: "<tool_call|>", quote: "<|\"|>" };
const FUNCTION_GEMMA_MARKS: Marks =
    Marks { open: "<start_function_call>", close: "<end_function_call>", quote: "<escape>" };

struct Marks {
    open: &'static str,
    close: &'static str,
    /// Before and after a text.
    quote: &'static str,
}

/// The rest of a call after its opening mark.
fn after_open(marks: &Marks, tools: &[CallableTool]) -> Grammar {
    let style = ArgumentStyle {
        before_name: "",
        after_name: ":",
        after_value: "",
        between: ",",
        values: ArgumentValues::Marked(marks.quote),
    };
    call_grammar::one_of(tools, |tool| {
        let end = call_grammar::marker(&format!("}}{}", marks.close));
        Grammar::Sequence(vec![Grammar::text(format!("call:{}{{", tool.name)), tool.arguments(style), end])
    })
}

/// One to `most` calls, one after another.
fn calls(marks: &Marks, tools: &[CallableTool], most: usize) -> Grammar {
    let call = Grammar::Sequence(vec![call_grammar::marker(marks.open), after_open(marks, tools)]);
    Grammar::Repeat { part: Box::new(call), min: 1, max: most }
}

/// The parser of one assistant turn.
struct GemmaParser {
    marks: &'static Marks,
    buffer: String,
    /// In a call: the position up to which its end was searched, and whether that is inside of a text.
    inside: Option<(usize, bool)>,
    after_call: bool,
}

impl GemmaParser {
    fn new(marks: &'static Marks) -> Self {
        Self { marks, buffer: String::new(), inside: None, after_call: false }
    }

    fn advance_text(&mut self, pieces: &mut Vec<Piece>) -> bool {
        let marks = [self.marks.open, self.marks.close, self.marks.quote];
        let Some((at, mark)) = markers::first(&self.buffer, &marks) else {
            let ready = self.take(markers::split_point(&self.buffer, &marks));
            self.text(&ready, pieces);
            return false;
        };
        let mut before = self.take(at + mark.len());
        before.truncate(at);
        self.text(&before, pieces);
        if mark == self.marks.open {
            self.inside = Some((0, false));
        }
        true
    }

    /// Searches the end of a call outside of its texts.
    fn advance_call(&mut self, from: usize, quoted: bool, pieces: &mut Vec<Piece>) -> bool {
        let searched: &[&str] = if quoted { &[self.marks.quote] } else { &[self.marks.quote, self.marks.close] };
        let rest = &self.buffer[from..];
        let Some((at, mark)) = markers::first(rest, searched) else {
            self.inside = Some((from + markers::split_point(rest, searched), quoted));
            return false;
        };
        let end = from + at + mark.len();
        if mark == self.marks.quote {
            self.inside = Some((end, !quoted));
            return true;
        }
        let mut written = self.take(end);
        written.truncate(from + at);
        pieces.push(self.call(&written));
        (self.inside, self.after_call) = (None, true);
        true
    }

    fn call(&self, written: &str) -> Piece {
        match self.read(written) {
            Ok((name, arguments)) => Piece::Call { name, arguments_json: Value::Object(arguments).to_string() },
            Err(reason) => {
                let Marks { open, close, quote } = self.marks;
                let reason = format!(
                    "the tool call is malformed: {reason}; write {open}call:name{{key:{quote}text{quote},other:1}}{close}"
                );
                Piece::Malformed { written: written.trim().to_owned(), reason }
            }
        }
    }

    fn read(&self, written: &str) -> Result<(String, Map<String, Value>), String> {
        let call = written.trim().strip_prefix("call:").ok_or("it does not begin with \"call:\"")?;
        let at = call.find('{').ok_or("it has no arguments in braces")?;
        let name = call[..at].trim();
        if name.is_empty() {
            return Err("it has no name".to_owned());
        }
        let mut reader = ValueReader { rest: &call[at..], quote: self.marks.quote };
        let Value::Object(arguments) = reader.value(0)? else { return Err("it has no arguments".to_owned()) };
        match reader.rest.trim() {
            "" => Ok((name.to_owned(), arguments)),
            _ => Err("it has text after its arguments".to_owned()),
        }
    }

    fn take(&mut self, bytes: usize) -> String {
        markers::take_front(&mut self.buffer, bytes)
    }

    fn text(&mut self, text: &str, pieces: &mut Vec<Piece>) {
        markers::push_text(&mut self.after_call, text, pieces);
    }
}

impl BoundedParser for GemmaParser {
    fn buffer(&mut self) -> &mut String {
        &mut self.buffer
    }

    fn held(&self) -> Option<usize> {
        self.inside.map(|_| self.buffer.len())
    }

    fn advance(&mut self, pieces: &mut Vec<Piece>) -> bool {
        match self.inside {
            None => self.advance_text(pieces),
            Some((at, quoted)) => self.advance_call(at, quoted, pieces),
        }
    }

    fn give_up(&mut self, pieces: &mut Vec<Piece>) {
        let reason = format!("the tool call is malformed: {}", bounded::too_long());
        pieces.push(Piece::Malformed { written: String::new(), reason });
        self.buffer.clear();
        self.inside = None;
    }
}

impl ToolCallParser for GemmaParser {
    fn push(&mut self, text: &str) -> Vec<Piece> {
        bounded::push(self, text)
    }

    fn finish(&mut self) -> Vec<Piece> {
        let rest = std::mem::take(&mut self.buffer);
        let mut pieces = Vec::new();
        match self.inside.take() {
            // The model may leave out the end of the call.
            Some(_) => pieces.push(self.call(&rest)),
            None => self.text(&rest, &mut pieces),
        }
        pieces
    }
}

/// Reads values in Gemma's notation.
struct ValueReader<'a> {
    rest: &'a str,
    quote: &'static str,
}

impl<'a> ValueReader<'a> {
    fn value(&mut self, depth: usize) -> Result<Value, String> {
        if depth > TOOL_ARGUMENTS_DEPTH_MAX {
            return Err(format!("its arguments have more than {TOOL_ARGUMENTS_DEPTH_MAX} levels"));
        }
        self.rest = self.rest.trim_start();
        if let Some(inside) = self.rest.strip_prefix(self.quote) {
            return self.text(inside).map(Value::from);
        }
        if self.eat("{") {
            return self.object(depth).map(Value::Object);
        }
        if self.eat("[") {
            return self.list(depth).map(Value::Array);
        }
        let word = self.word(&[',', '}', ']']);
        match word.trim() {
            "" => Err("a value is missing".to_owned()),
            word => Ok(serde_json::from_str(word).unwrap_or_else(|_| word.into())),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Map<String, Value>, String> {
        let mut object = Map::new();
        while !self.eat("}") {
            if !object.is_empty() && !self.eat(",") {
                return Err("a comma or a brace is missing".to_owned());
            }
            if self.eat("}") {
                break;
            }
            self.rest = self.rest.trim_start();
            let key = match self.rest.strip_prefix(self.quote) {
                Some(inside) => self.text(inside)?,
                None => self.word(&[':', ',', '}']).trim(),
            };
            if !self.eat(":") || key.is_empty() {
                return Err("an argument has no name".to_owned());
            }
            let value = self.value(depth + 1)?;
            object.insert(key.to_owned(), value);
        }
        Ok(object)
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Value>, String> {
        let mut list = Vec::new();
        while !self.eat("]") {
            if !list.is_empty() && !self.eat(",") {
                return Err("a comma or a bracket is missing".to_owned());
            }
            list.push(self.value(depth + 1)?);
        }
        Ok(list)
    }

    /// The text up to the closing quote.
    fn text(&mut self, inside: &'a str) -> Result<&'a str, String> {
        let at = inside.find(self.quote).ok_or("a text does not end")?;
        self.rest = &inside[at + self.quote.len()..];
        Ok(&inside[..at])
    }

    fn word(&mut self, ends: &[char]) -> &'a str {
        let at = self.rest.find(ends).unwrap_or(self.rest.len());
        let word = &self.rest[..at];
        self.rest = &self.rest[at..];
        word
    }

    fn eat(&mut self, mark: &str) -> bool {
        let after = self.rest.trim_start().strip_prefix(mark);
        self.rest = after.unwrap_or(self.rest);
        after.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toolcall::testing::{at_every_split, call, malformed, run, text};

    #[test]
    fn f6_calls_keep_their_order_at_every_split() {
        let written = "I look.<|tool_call>call:b{x:{y:[1,true,<|\"|>},<tool_call|><|\"|>]},ü:<|\"|>🙂<|\"|>}<tool_call|>\
                       <|tool_call>call:a{}<tool_call|>\nDone.";
        let expected = [
            text("I look."),
            call("b", "{\"x\":{\"y\":[1,true,\"},<tool_call|>\"]},\"ü\":\"🙂\"}"),
            call("a", "{}"),
            text("Done."),
        ];
        at_every_split(&GEMMA4, written, &expected);
        let escaped = "<start_function_call>call:b{x:<escape>a, b<escape>,n:-1.5}<end_function_call>";
        at_every_split(&FUNCTION_GEMMA, escaped, &[call("b", "{\"x\":\"a, b\",\"n\":-1.5}")]);
        at_every_split(&GEMMA4, "call:b{x:1}", &[text("call:b{x:1}")]);
    }

    #[test]
    fn malformed_calls_give_an_error_for_the_model() {
        for (written, expected) in [
            ("<|tool_call>b{}<tool_call|>", "call:"),
            ("<|tool_call>call:{}<tool_call|>", "no name"),
            ("<|tool_call>call:b<tool_call|>", "no arguments"),
            ("<|tool_call>call:b{x}<tool_call|>", "no name"),
            ("<|tool_call>call:b{x:<|\"|>a", "does not end"),
            ("<|tool_call>call:b{x:1", "missing"),
            ("<|tool_call>call:b{x:}<tool_call|>", "missing"),
            ("<|tool_call>call:b{x:1} y<tool_call|>", "after its arguments"),
        ] {
            let pieces = run(&GEMMA4, &[written]);
            assert!(malformed(&pieces).contains(expected), "{written}: {pieces:?}");
            at_every_split(&GEMMA4, written, &pieces);
        }
        let deep = format!("<|tool_call>call:b{{x:{}<tool_call|>", "[".repeat(9_000));
        assert!(malformed(&run(&GEMMA4, &[&deep])).contains("levels"));
    }

    #[test]
    fn a_call_above_the_size_limit_is_malformed() {
        let mut parser = (GEMMA4.parser)(&crate::toolcall::testing::tools());
        assert!(parser.push("<|tool_call>call:b{x:").is_empty());
        let pieces = parser.push(&"1".repeat(firebox_contract::limits::TOOL_ARGUMENTS_BYTES_MAX + 1));
        assert!(matches!(pieces.as_slice(), [Piece::Malformed { .. }, Piece::Text(_)]));
    }
}
