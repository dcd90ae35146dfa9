//! Calls in the syntax of Python, as some templates of Llama 4 and Gemma 3 have them: the turn is a list such as
//! `[f(a=1, b="x"), g()]`. A turn that does not begin with a list of calls of offered tools is prose.

use std::sync::Arc;

use firebox_contract::limits::{TOOL_ARGUMENTS_DEPTH_MAX, TOOL_NAME_BYTES_MAX};
use firebox_contract::{ArgumentStyle, ArgumentValues, Grammar, ToolDefinition};
use serde_json::{Map, Number, Value};

use crate::toolcall::bounded::{self, BoundedParser};
use crate::toolcall::call_grammar::{self, CallGrammar, CallableTool};
use crate::toolcall::{Piece, ToolCallFormat, ToolCallParser, plain_id};

pub(super) const FORMAT: ToolCallFormat = ToolCallFormat {
    name: "pythonic",
    recognise: |template| template.contains("[func_name1("),
    parser: |tools| {
        Box::new(PythonParser { tools: Arc::clone(tools), buffer: String::new(), state: PythonState::Start })
    },
    force: |tool| tool.map_or_else(|| "[".to_owned(), |name| format!("[{name}(")),
    id: plain_id,
    grammar: CallGrammar {
        only: calls_of,
        // A turn that does not begin with a bracket is text.
        in_text: Some(|tools, most| {
            let text = Grammar::optional(Grammar::Regex("(?s:[ \\t\\r\\n]{0,8}[^\\[ \\t\\r\\n].*)".to_owned()));
            Grammar::Choice(vec![calls_of(tools, most), text])
        }),
    },
    markers: &[],
};

const STYLE: ArgumentStyle =
    ArgumentStyle { before_name: "", after_name: "=", after_value: "", between: ", ", values: ArgumentValues::Json };

/// A list of calls.
fn calls_of(tools: &[CallableTool], most: usize) -> Grammar {
    let call = call_grammar::one_of(tools, |tool| {
        let head = Grammar::text(format!("{}(", tool.name));
        Grammar::Sequence(vec![head, tool.arguments(STYLE), Grammar::text(")")])
    });
    let calls = call_grammar::list(call, Grammar::text(", "), most);
    Grammar::Sequence(vec![Grammar::text("["), calls, Grammar::text("]")])
}

/// Bytes of a turn before the arguments of its first call. A turn with more is prose.
const HEAD_BYTES_MAX: usize = 2 * TOOL_NAME_BYTES_MAX;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PythonState {
    /// Only the beginning of a list, or nothing, so far.
    Start,
    /// In the list: the position up to which it was scanned, the open brackets, and the quote of an open string.
    List { at: usize, depth: usize, quote: Option<u8>, escaped: bool },
    /// Text to the end. `after_call` says that white space belongs to the markup.
    Prose { after_call: bool },
}

struct PythonParser {
    tools: Arc<Vec<ToolDefinition>>,
    buffer: String,
    state: PythonState,
}

impl PythonParser {
    fn is_tool(&self, name: &str) -> bool {
        self.tools.iter().any(|tool| tool.name == name)
    }

    /// The turn must begin with a bracket and the name of an offered tool.
    fn advance_start(&mut self) -> bool {
        let begun = self.buffer.trim_start();
        let start = self.buffer.len() - begun.len();
        let Some(inside) = begun.strip_prefix('[') else {
            return if begun.is_empty() && start <= HEAD_BYTES_MAX { false } else { self.prose() };
        };
        let name = inside.trim_start();
        let (name, after) = name.split_at(name.find(|letter| !is_name_letter(letter)).unwrap_or(name.len()));
        let after = after.trim_start();
        match after.chars().next() {
            Some('(') if self.buffer.len() - after.len() <= HEAD_BYTES_MAX && self.is_tool(name) => {
                self.state = PythonState::List { at: start, depth: 0, quote: None, escaped: false };
                true
            }
            None if self.buffer.len() <= HEAD_BYTES_MAX => false,
            _ => self.prose(),
        }
    }

    fn prose(&mut self) -> bool {
        self.state = PythonState::Prose { after_call: false };
        true
    }

    /// Searches the end of the list outside of its strings.
    fn advance_list(&mut self, pieces: &mut Vec<Piece>) -> bool {
        let PythonState::List { mut at, mut depth, mut quote, mut escaped } = self.state else { return false };
        while let Some(byte) = self.buffer.as_bytes().get(at) {
            match (quote, byte) {
                (Some(_), _) if escaped => escaped = false,
                (Some(_), b'\\') => escaped = true,
                (Some(open), byte) => quote = quote.filter(|_| open != *byte),
                (None, b'"' | b'\'') => quote = Some(*byte),
                (None, b'[' | b'(' | b'{') => depth += 1,
                (None, b']' | b')' | b'}') => depth = depth.saturating_sub(1),
                (None, _) => {}
            }
            at += 1;
            if depth == 0 && quote.is_none() && *byte == b']' {
                let rest = self.buffer.split_off(at);
                let list = std::mem::replace(&mut self.buffer, rest);
                pieces.extend(calls(&list));
                self.state = PythonState::Prose { after_call: true };
                return true;
            }
        }
        self.state = PythonState::List { at, depth, quote, escaped };
        false
    }
}

impl BoundedParser for PythonParser {
    fn buffer(&mut self) -> &mut String {
        &mut self.buffer
    }

    fn held(&self) -> Option<usize> {
        (!matches!(self.state, PythonState::Prose { .. })).then_some(self.buffer.len())
    }

    fn advance(&mut self, pieces: &mut Vec<Piece>) -> bool {
        match self.state {
            PythonState::Start => self.advance_start(),
            PythonState::List { .. } => self.advance_list(pieces),
            PythonState::Prose { after_call } => {
                let text = std::mem::take(&mut self.buffer);
                let text = if after_call { text.trim_start() } else { &text };
                if !text.is_empty() {
                    self.state = PythonState::Prose { after_call: false };
                    pieces.push(Piece::Text(text.to_owned()));
                }
                false
            }
        }
    }

    /// Only a list can become this long: see [`HEAD_BYTES_MAX`].
    fn give_up(&mut self, pieces: &mut Vec<Piece>) {
        pieces.push(malformed("", &bounded::too_long()));
        self.buffer.clear();
        self.state = PythonState::Prose { after_call: true };
    }
}

impl ToolCallParser for PythonParser {
    fn push(&mut self, text: &str) -> Vec<Piece> {
        bounded::push(self, text)
    }

    fn finish(&mut self) -> Vec<Piece> {
        let rest = std::mem::take(&mut self.buffer);
        match self.state {
            PythonState::List { .. } => vec![malformed(&rest, "it is cut off")],
            PythonState::Start | PythonState::Prose { .. } if rest.is_empty() => Vec::new(),
            PythonState::Start | PythonState::Prose { .. } => vec![Piece::Text(rest)],
        }
    }
}

fn malformed(written: &str, reason: &str) -> Piece {
    let reason = format!("the tool call is malformed: {reason}; write [name(argument=value)]");
    Piece::Malformed { written: written.trim().to_owned(), reason }
}

fn is_name_letter(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '_' | '.' | '-')
}

/// The calls of a list. A mistake makes the rest of the list malformed.
fn calls(list: &str) -> Vec<Piece> {
    let mut reader = PythonReader { rest: list.trim() };
    let mut pieces = Vec::new();
    if !reader.eat('[') {
        return vec![malformed(list, "it is not a list")];
    }
    while !reader.eat(']') {
        if !pieces.is_empty() && !reader.eat(',') {
            pieces.push(malformed(reader.rest, "a comma is missing"));
            return pieces;
        }
        let before = reader.rest;
        match reader.call() {
            Ok(call) => pieces.push(call),
            Err(reason) => {
                pieces.push(malformed(before, &reason));
                return pieces;
            }
        }
    }
    pieces
}

/// Reads Python's notation of calls and values.
struct PythonReader<'a> {
    rest: &'a str,
}

impl<'a> PythonReader<'a> {
    fn call(&mut self) -> Result<Piece, String> {
        let name = self.name().to_owned();
        if name.is_empty() || !self.eat('(') {
            return Err("it is no call of a function".to_owned());
        }
        let mut arguments = Map::new();
        while !self.eat(')') {
            if !arguments.is_empty() && !self.eat(',') {
                return Err("a comma is missing between arguments".to_owned());
            }
            if self.eat(')') {
                break;
            }
            let key = self.name().to_owned();
            if key.is_empty() || !self.eat('=') {
                return Err("every argument needs its name".to_owned());
            }
            let value = self.value(0)?;
            arguments.insert(key, value);
        }
        Ok(Piece::Call { name, arguments_json: Value::Object(arguments).to_string() })
    }

    fn name(&mut self) -> &'a str {
        self.rest = self.rest.trim_start();
        let at = self.rest.find(|letter| !is_name_letter(letter)).unwrap_or(self.rest.len());
        let name = &self.rest[..at];
        self.rest = &self.rest[at..];
        name
    }

    fn value(&mut self, depth: usize) -> Result<Value, String> {
        if depth > TOOL_ARGUMENTS_DEPTH_MAX {
            return Err(format!("its arguments have more than {TOOL_ARGUMENTS_DEPTH_MAX} levels"));
        }
        self.rest = self.rest.trim_start();
        match self.rest.chars().next() {
            Some(quote @ ('"' | '\'')) => self.text(quote).map(Value::from),
            Some('[' | '(') => self.list(depth),
            Some('{') => self.object(depth),
            _ => self.word(),
        }
    }

    fn list(&mut self, depth: usize) -> Result<Value, String> {
        let close = if self.eat('[') { ']' } else { ')' };
        // A tuple begins with the other bracket.
        let _opened = close == ')' && self.eat('(');
        let mut list = Vec::new();
        while !self.eat(close) {
            if !list.is_empty() && !self.eat(',') {
                return Err("a comma is missing in a list".to_owned());
            }
            if !list.is_empty() && self.eat(close) {
                break;
            }
            list.push(self.value(depth + 1)?);
        }
        Ok(Value::Array(list))
    }

    fn object(&mut self, depth: usize) -> Result<Value, String> {
        let _opened = self.eat('{');
        let mut object = Map::new();
        while !self.eat('}') {
            if !object.is_empty() && !self.eat(',') {
                return Err("a comma is missing in a dictionary".to_owned());
            }
            if !object.is_empty() && self.eat('}') {
                break;
            }
            let Value::String(key) = self.value(depth + 1)? else {
                return Err("a key of a dictionary is no string".to_owned());
            };
            if !self.eat(':') {
                return Err("a colon is missing in a dictionary".to_owned());
            }
            let value = self.value(depth + 1)?;
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }

    /// A number, or one of the names of Python and JSON.
    fn word(&mut self) -> Result<Value, String> {
        let at = self.rest.find([',', ')', ']', '}', ':']).unwrap_or(self.rest.len());
        let word = self.rest[..at].trim();
        self.rest = &self.rest[at..];
        match word {
            "True" | "true" => Ok(true.into()),
            "False" | "false" => Ok(false.into()),
            "None" | "null" => Ok(Value::Null),
            // JSON's numbers; Python also writes underscores and a plus.
            _ => {
                let digits = word.trim_start_matches('+').replace('_', "");
                let number: Result<Number, _> = serde_json::from_str(&digits);
                number.map(Value::Number).map_err(|_| format!("{word:?} is no value; put texts into quotes"))
            }
        }
    }

    /// A string without its quotes, with Python's escapes.
    fn text(&mut self, quote: char) -> Result<String, String> {
        let mut letters = self.rest.char_indices().skip(1);
        let mut text = String::new();
        while let Some((at, letter)) = letters.next() {
            match letter {
                '\\' => match letters.next().map(|(_, escaped)| escaped) {
                    Some('n') => text.push('\n'),
                    Some('t') => text.push('\t'),
                    Some('r') => text.push('\r'),
                    Some('b') => text.push('\u{8}'),
                    Some('f') => text.push('\u{C}'),
                    Some(escaped @ ('u' | 'x')) => {
                        let length = if escaped == 'u' { 4 } else { 2 };
                        let digits: String = letters.by_ref().take(length).map(|(_, digit)| digit).collect();
                        let code = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32);
                        text.push(code.unwrap_or(char::REPLACEMENT_CHARACTER));
                    }
                    Some(escaped @ ('\\' | '"' | '\'')) => text.push(escaped),
                    Some(other) => text.extend(['\\', other]),
                    None => break,
                },
                letter if letter == quote => {
                    self.rest = &self.rest[at + 1..];
                    return Ok(text);
                }
                letter => text.push(letter),
            }
        }
        Err("a string does not end".to_owned())
    }

    fn eat(&mut self, letter: char) -> bool {
        let after = self.rest.trim_start().strip_prefix(letter);
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
        let written = "[b(x={'y': [1, -2.5e3, (True, None)]}, ü_2=\"a ] \\\"q\\\" \\n\", z='ä\\u00e9'), a()]\n Done.";
        let written = written.replace("ü_2", "u_2");
        let expected = [
            call("b", "{\"x\":{\"y\":[1,-2500.0,[true,null]]},\"u_2\":\"a ] \\\"q\\\" \\n\",\"z\":\"äé\"}"),
            call("a", "{}"),
            text("Done."),
        ];
        at_every_split(&FORMAT, &written, &expected);
        at_every_split(&FORMAT, " [ a ( x = 1, ) ]", &[call("a", "{\"x\":1}")]);
    }

    #[test]
    fn f6_prose_is_not_a_call() {
        for prose in [
            "call a(x=1)",
            "[1] and [a] are sources",
            "[link](url)",
            "[unknown(x=1)]",
            "  text",
            "[a",
            "[",
            "a [b(x=1)]",
        ] {
            at_every_split(&FORMAT, prose, &[text(prose)]);
        }
    }

    #[test]
    fn malformed_calls_give_an_error_for_the_model() {
        for (written, expected) in [
            ("[a(1)]", "needs its name"),
            ("[a(x=one)]", "no value"),
            ("[a(x=1 y=2)]", "no value"),
            ("[a(x=\"1", "cut off"),
            ("[a(x={1: 2})]", "no string"),
        ] {
            let pieces = run(&FORMAT, &[written]);
            assert!(malformed(&pieces).contains(expected), "{written}: {pieces:?}");
            at_every_split(&FORMAT, written, &pieces);
        }
        let deep = format!("[a(x={}{})]", "[".repeat(500), "]".repeat(500));
        assert!(malformed(&run(&FORMAT, &[&deep])).contains("levels"));
        let half = run(&FORMAT, &["[a(), b(1)]"]);
        assert!(matches!(&half[..], [Piece::Call { .. }, Piece::Malformed { .. }]), "{half:?}");
    }
}
