//! Calls whose arguments are plain text between tags: `<tool_call>name <key>…</key><value>…</value></tool_call>`.
//!
//! A value may contain any text, its own closing tag included: it ends at a closing tag that is followed by another tag of
//! the call.

use serde_json::Value;

use super::bounded::{self, BoundedParser};
use super::json_scan::Nesting;
use super::typed_values::{ArgumentTypes, ToolTypes};
use super::{Piece, ToolCallParser};
use crate::generation::stop_strings::overlap;

/// Bytes of a name or a key. A longer one is malformed.
const NAME_BYTES_MAX: usize = 1_024;

/// The tags of a family.
pub(super) struct TextTags {
    /// Around a call.
    pub(super) call: (&'static str, &'static str),
    /// Around the name. An empty end means that the name ends before the next tag.
    pub(super) name: (&'static str, &'static str),
    /// Around a key.
    pub(super) key: (&'static str, &'static str),
    /// Around a value.
    pub(super) value: (&'static str, &'static str),
    /// After the last value, before the end of the call; may be empty.
    pub(super) last: &'static str,
    /// The call as the family writes it, for the model that wrote it wrongly.
    pub(super) example: &'static str,
}

/// The arguments of one call, as the text of a JSON object that grows.
struct ArgumentWriter {
    name: String,
    types: ToolTypes,
    json: String,
}

impl ArgumentWriter {
    /// Adds an argument. Returns the text that it adds.
    fn add(&mut self, key: &str, text: &str) -> Piece {
        let before = self.json.len();
        self.json.push_str(if before == 0 { "{" } else { ", " });
        self.json.push_str(&format!("{}: {}", Value::from(key), self.types.value(key, text)));
        Piece::Delta { name: None, arguments: self.json[before..].to_owned() }
    }

    fn end(mut self) -> [Piece; 2] {
        let rest = if self.json.is_empty() { "{}" } else { "}" };
        self.json.push_str(rest);
        let delta = Piece::Delta { name: None, arguments: rest.to_owned() };
        [delta, Piece::Call { name: self.name, arguments_json: self.json }]
    }
}

enum TextState {
    /// Outside of calls.
    Text,
    /// Before or in the name.
    Name,
    /// Between arguments.
    Between(ArgumentWriter),
    /// In the value of a key. A value that the schema says is an object or a list does not end inside of it.
    Value(ArgumentWriter, String, Option<Nesting>),
    /// In a call that cannot be read, up to its end.
    Junk(&'static str),
}

/// Where a name or key ends.
enum NameEnd {
    /// The position of the mark after it.
    At(usize),
    /// Not yet.
    Open,
    /// Not within the limit.
    Missing,
}

/// The end of the name that `text` begins with. The limit counts from the start of the name, and a mark that begins within it
/// is waited for, so that the result does not depend on how the text arrives.
fn end_of_name(text: &str, mark: &str) -> NameEnd {
    match text.find(mark) {
        Some(at) if at <= NAME_BYTES_MAX => NameEnd::At(at),
        None if text.len() < NAME_BYTES_MAX + mark.len() => NameEnd::Open,
        _ => NameEnd::Missing,
    }
}

/// The parser of one assistant turn.
pub(super) struct TextParser {
    tags: &'static TextTags,
    types: ArgumentTypes,
    state: TextState,
    buffer: String,
    /// The text of the call that is read, for errors.
    written: String,
    /// Bytes of the buffer in which no end of a value is.
    searched: usize,
    after_call: bool,
}

impl TextParser {
    pub(super) fn new(tags: &'static TextTags, types: ArgumentTypes) -> Self {
        Self {
            tags,
            types,
            state: TextState::Text,
            buffer: String::new(),
            written: String::new(),
            searched: 0,
            after_call: false,
        }
    }

    fn advance_text(&mut self, pieces: &mut Vec<Piece>) -> bool {
        let (open, _) = self.tags.call;
        let Some(at) = self.buffer.find(open) else {
            // The line breaks before a call belong to the markup.
            let end = self.buffer.len() - overlap(&self.buffer, open);
            let ready = self.buffer[..end].trim_end_matches('\n').len();
            let ready = self.take(ready);
            self.text(&ready, pieces);
            return false;
        };
        let mut before = self.take(at + open.len());
        before.truncate(at);
        self.text(before.trim_end_matches('\n'), pieces);
        self.written.clear();
        self.state = TextState::Name;
        true
    }

    fn advance_name(&mut self, pieces: &mut Vec<Piece>) -> bool {
        self.skip_blank();
        let (open, end) = self.tags.name;
        if self.buffer.len() < open.len() && open.starts_with(&self.buffer) {
            self.state = TextState::Name;
            return false;
        }
        let Some(rest) = self.buffer.strip_prefix(open) else { return self.junk("it has no name") };
        let mark = if end.is_empty() { "<" } else { end };
        let at = match end_of_name(rest, mark) {
            NameEnd::At(at) => at,
            NameEnd::Missing => return self.junk("its name does not end"),
            NameEnd::Open => {
                self.state = TextState::Name;
                return false;
            }
        };
        let name = rest[..at].trim().to_owned();
        self.pass(open.len() + at + end.len());
        if name.is_empty() {
            return self.junk("it has no name");
        }
        pieces.push(Piece::Delta { name: Some(name.clone()), arguments: String::new() });
        let types = self.types.of_tool(&name);
        self.state = TextState::Between(ArgumentWriter { name, types, json: String::new() });
        true
    }

    fn advance_between(&mut self, writer: ArgumentWriter, pieces: &mut Vec<Piece>) -> bool {
        self.skip_blank();
        let TextTags { call: (_, close), key: (open, key_end), value: (value_open, _), last, .. } = *self.tags;
        if self.buffer.starts_with(close) {
            self.pass(close.len());
            pieces.extend(writer.end());
            (self.state, self.after_call) = (TextState::Text, true);
            return true;
        }
        if !last.is_empty() && self.buffer.starts_with(last) {
            self.pass(last.len());
            self.state = TextState::Between(writer);
            return true;
        }
        if let Some(rest) = self.buffer.strip_prefix(open) {
            let at = match end_of_name(rest, key_end) {
                NameEnd::At(at) => at,
                NameEnd::Missing => return self.junk("the name of an argument does not end"),
                NameEnd::Open => {
                    self.state = TextState::Between(writer);
                    return false;
                }
            };
            let after = rest[at + key_end.len()..].trim_start();
            if after.len() < value_open.len() && value_open.starts_with(after) {
                self.state = TextState::Between(writer);
                return false;
            }
            let Some(value) = after.strip_prefix(value_open) else { return self.junk("an argument has no value") };
            let (key, used) = (rest[..at].trim().to_owned(), self.buffer.len() - value.len());
            // Without a tag before the value, its own white space begins right after the key.
            let used = if value_open.is_empty() { open.len() + at + key_end.len() } else { used };
            self.pass(used);
            let json = writer.types.is_composed(&key).then(Nesting::default);
            self.state = TextState::Value(writer, key, json);
            return true;
        }
        let may_become = |tag: &str| tag.len() > self.buffer.len() && tag.starts_with(&self.buffer);
        if self.buffer.is_empty() || [close, open, last].into_iter().any(may_become) {
            self.state = TextState::Between(writer);
            return false;
        }
        self.junk("it has text outside of its arguments")
    }

    fn advance_value(
        &mut self,
        mut writer: ArgumentWriter,
        key: String,
        mut json: Option<Nesting>,
        pieces: &mut Vec<Piece>,
    ) -> bool {
        let TextTags { call: (_, close), key: (open, _), value: (_, end), last, .. } = *self.tags;
        let mut from = self.searched;
        if let Some(nesting) = json.as_mut().filter(|_| self.buffer.trim_start().starts_with(['{', '['])) {
            let Some(inside) = nesting.end(&self.buffer) else {
                self.state = TextState::Value(writer, key, json);
                return false;
            };
            from = from.max(inside);
        }
        while let Some(at) = self.buffer[from..].find(end).map(|at| from + at) {
            let next = self.buffer[at + end.len()..].trim_start();
            let is_tag = |tag: &&str| !tag.is_empty();
            let follows = [close, open, last];
            if follows.iter().filter(|tag| is_tag(tag)).any(|tag| next.starts_with(tag)) {
                let value = self.buffer[..at].to_owned();
                self.pass(at + end.len());
                let value = value.strip_prefix('\n').unwrap_or(&value);
                pieces.push(writer.add(&key, value.strip_suffix('\n').unwrap_or(value)));
                self.state = TextState::Between(writer);
                return true;
            }
            if follows.iter().filter(|tag| is_tag(tag)).any(|tag| tag.starts_with(next)) {
                (self.searched, self.state) = (at, TextState::Value(writer, key, json));
                return false;
            }
            from = at + end.len();
        }
        let rest = self.buffer.len().saturating_sub(end.len() - 1);
        self.searched = self.buffer.floor_char_boundary(rest).max(from);
        self.state = TextState::Value(writer, key, json);
        false
    }

    /// Skips a call that cannot be read.
    fn advance_junk(&mut self, reason: &'static str, pieces: &mut Vec<Piece>) -> bool {
        let (_, close) = self.tags.call;
        let Some(at) = self.buffer.find(close) else {
            self.pass(self.buffer.len() - overlap(&self.buffer, close));
            self.state = TextState::Junk(reason);
            return false;
        };
        self.pass(at + close.len());
        let written = std::mem::take(&mut self.written);
        pieces.push(self.malformed(written.trim_end_matches(close), reason));
        (self.state, self.after_call) = (TextState::Text, true);
        true
    }

    fn junk(&mut self, reason: &'static str) -> bool {
        self.state = TextState::Junk(reason);
        true
    }

    fn malformed(&self, written: &str, reason: &str) -> Piece {
        let reason = format!("the tool call is malformed: {reason}; write {}", self.tags.example);
        Piece::Malformed { written: written.trim().to_owned(), reason }
    }

    fn skip_blank(&mut self) {
        let blank = self.buffer.len() - self.buffer.trim_start().len();
        self.pass(blank);
    }

    /// Goes on by `bytes` of a call.
    fn pass(&mut self, bytes: usize) {
        let passed = self.take(bytes);
        self.written.push_str(&passed);
    }

    fn take(&mut self, bytes: usize) -> String {
        self.searched = 0;
        super::markers::take_front(&mut self.buffer, bytes)
    }

    fn text(&mut self, text: &str, pieces: &mut Vec<Piece>) {
        super::markers::push_text(&mut self.after_call, text, pieces);
    }
}

impl BoundedParser for TextParser {
    fn buffer(&mut self) -> &mut String {
        &mut self.buffer
    }

    /// The call from its name on: what was read of it, and what was not.
    fn held(&self) -> Option<usize> {
        (!matches!(self.state, TextState::Text)).then_some(self.written.len() + self.buffer.len())
    }

    fn advance(&mut self, pieces: &mut Vec<Piece>) -> bool {
        match std::mem::replace(&mut self.state, TextState::Text) {
            TextState::Text => self.advance_text(pieces),
            TextState::Name => self.advance_name(pieces),
            TextState::Between(writer) => self.advance_between(writer, pieces),
            TextState::Value(writer, key, json) => self.advance_value(writer, key, json, pieces),
            TextState::Junk(reason) => self.advance_junk(reason, pieces),
        }
    }

    fn give_up(&mut self, pieces: &mut Vec<Piece>) {
        pieces.push(self.malformed("", &bounded::too_long()));
        self.buffer.clear();
        self.written.clear();
        (self.searched, self.state) = (0, TextState::Text);
    }
}

impl ToolCallParser for TextParser {
    fn push(&mut self, text: &str) -> Vec<Piece> {
        bounded::push(self, text)
    }

    fn finish(&mut self) -> Vec<Piece> {
        let mut pieces = Vec::new();
        // A value whose brackets do not close has swallowed the text after it, which is parsed again.
        while let TextState::Value(.., json @ Some(_)) = &mut self.state {
            *json = None;
            self.searched = 0;
            while self.advance(&mut pieces) {}
        }
        let rest = std::mem::take(&mut self.buffer);
        match std::mem::replace(&mut self.state, TextState::Text) {
            TextState::Text => self.text(&rest, &mut pieces),
            // The model left out the end of the call.
            TextState::Between(writer) if rest.trim().is_empty() => pieces.extend(writer.end()),
            TextState::Junk(reason) => pieces.push(self.malformed(&format!("{}{rest}", self.written), reason)),
            TextState::Name | TextState::Between(_) | TextState::Value(..) => {
                pieces.push(self.malformed(&format!("{}{rest}", self.written), "it is cut off"));
            }
        }
        pieces
    }
}
