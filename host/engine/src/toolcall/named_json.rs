//! Calls with a mark, a header with the tool's name, and the arguments as a JSON object: `MARK header {…} MARK`.

use super::argument_stream::ArgumentStream;
use super::bounded::{self, BoundedParser};
use super::json_scan::Nesting;
use super::{Piece, ToolCallParser, markers};

/// Bytes of a header. A longer one is malformed.
const HEADER_BYTES_MAX: usize = 1_024;

/// The reason of a call that names no tool, or whose arguments begin with other text.
const UNNAMED: &str = "it has no name, or text before its JSON object";

/// The marks of a family.
pub(super) struct NamedJson {
    /// The mark before a call.
    pub(super) begin: &'static str,
    /// The mark after a call. Some models leave it out.
    pub(super) end: &'static str,
    /// All marks, which are never text.
    pub(super) markers: &'static [&'static str],
    /// The mark between a name and its arguments, which nothing but JSON may follow. Empty for a family without one.
    pub(super) body: &'static str,
    /// The tool's name in a header, which is the text between `begin` and the arguments.
    pub(super) name: fn(header: &str) -> Option<&str>,
    /// The call as the family writes it, for the model that wrote it wrongly.
    pub(super) example: &'static str,
}

enum NamedState {
    /// Outside of calls.
    Text,
    /// In the header of a call.
    Header,
    /// In the arguments of the named call.
    Arguments { name: String, nesting: Nesting, stream: ArgumentStream },
    /// After the arguments, before the end of the call.
    Ending,
}

/// The parser of one assistant turn.
pub(super) struct NamedJsonParser {
    format: &'static NamedJson,
    state: NamedState,
    buffer: String,
    after_call: bool,
}

impl NamedJsonParser {
    pub(super) fn new(format: &'static NamedJson) -> Self {
        Self { format, state: NamedState::Text, buffer: String::new(), after_call: false }
    }

    fn advance_text(&mut self, pieces: &mut Vec<Piece>) -> bool {
        let Some((at, marker)) = markers::first(&self.buffer, self.format.markers) else {
            let ready = self.take(markers::split_point(&self.buffer, self.format.markers));
            self.text(&ready, pieces);
            return false;
        };
        let mut before = self.take(at + marker.len());
        before.truncate(at);
        self.text(&before, pieces);
        self.after_call = true;
        if marker == self.format.begin {
            self.state = NamedState::Header;
        }
        true
    }

    /// A header ends where the arguments begin. Without arguments it ends with the call. The limit of its length counts from
    /// its start, so that the result does not depend on how the text arrives.
    fn advance_header(&mut self, pieces: &mut Vec<Piece>) -> bool {
        let ends = [(self.format.end, true), (self.format.begin, false)];
        let end = ends.iter().filter_map(|(mark, own)| Some((self.buffer.find(mark)?, mark.len(), *own))).min();
        let arguments = self.buffer.find('{').filter(|at| end.is_none_or(|(end, ..)| *at < end));
        match (arguments, end) {
            (Some(at), _) if at <= HEADER_BYTES_MAX => {
                let header = self.take(at);
                // A call without a name is malformed when its arguments are read.
                let name = self.name_of(&header).unwrap_or_default();
                let (nesting, stream) = (Nesting::default(), ArgumentStream::default());
                self.state = NamedState::Arguments { name, nesting, stream };
                true
            }
            (None, Some((at, length, own))) if at <= HEADER_BYTES_MAX => {
                let mut header = self.take(if own { at + length } else { at });
                header.truncate(at);
                pieces.push(match self.name_of(&header) {
                    Some(name) => Piece::Call { name, arguments_json: "{}".to_owned() },
                    None => self.malformed(&header, UNNAMED),
                });
                self.state = NamedState::Text;
                true
            }
            // A mark that begins within the limit may not have arrived in full.
            _ if self.buffer.len() > HEADER_BYTES_MAX + self.format.end.len().max(self.format.begin.len()) => {
                let written = self.take(self.buffer.floor_char_boundary(HEADER_BYTES_MAX));
                pieces.push(self.malformed(&written, "its name is not followed by a JSON object"));
                self.state = NamedState::Ending;
                true
            }
            _ => false,
        }
    }

    fn advance_arguments(&mut self, pieces: &mut Vec<Piece>) -> bool {
        let NamedState::Arguments { name, nesting, stream } = &mut self.state else { return false };
        let end = nesting.end(&self.buffer);
        if !name.is_empty() {
            pieces.extend(stream.advance(name, &self.buffer[..end.unwrap_or(self.buffer.len())]));
        }
        let Some(end) = end else { return false };
        let name = std::mem::take(name);
        let arguments_json = self.take(end);
        pieces.push(match serde_json::from_str::<serde_json::Value>(&arguments_json) {
            _ if name.is_empty() => self.malformed(&arguments_json, UNNAMED),
            Ok(_) => Piece::Call { name, arguments_json },
            Err(error) => self.malformed(&format!("{name} {arguments_json}"), &format!("it is not JSON ({error})")),
        });
        self.state = NamedState::Ending;
        true
    }

    /// Skips to the end of a call: only marks of code blocks and white space may come before it.
    fn advance_ending(&mut self) -> bool {
        let rest = self.buffer.trim_start_matches(|c: char| c.is_whitespace() || c == '`');
        let rest = rest.to_owned();
        self.buffer = rest;
        if self.buffer.is_empty()
            || (self.buffer.len() < self.format.end.len() && self.format.end.starts_with(&self.buffer))
        {
            return false;
        }
        if let Some(rest) = self.buffer.strip_prefix(self.format.end) {
            self.buffer = rest.to_owned();
        }
        (self.state, self.after_call) = (NamedState::Text, true);
        true
    }

    /// The name in a header. `None` where it is missing, or where arguments are no JSON object.
    fn name_of(&self, header: &str) -> Option<String> {
        let body =
            header.split_once(self.format.body).filter(|_| !self.format.body.is_empty()).map_or("", |(_, body)| body);
        let is_blank = body.trim_start_matches("```json").chars().all(|c| c.is_whitespace() || c == '`');
        let name = (self.format.name)(header).map(str::trim).filter(|name| is_blank && !name.is_empty());
        name.map(str::to_owned)
    }

    fn malformed(&self, written: &str, reason: &str) -> Piece {
        let reason = format!("the tool call is malformed: {reason}; write {}", self.format.example);
        Piece::Malformed { written: written.trim().to_owned(), reason }
    }

    fn take(&mut self, bytes: usize) -> String {
        markers::take_front(&mut self.buffer, bytes)
    }

    fn text(&mut self, text: &str, pieces: &mut Vec<Piece>) {
        markers::push_text(&mut self.after_call, text, pieces);
    }
}

impl BoundedParser for NamedJsonParser {
    fn buffer(&mut self) -> &mut String {
        &mut self.buffer
    }

    fn held(&self) -> Option<usize> {
        (!matches!(self.state, NamedState::Text)).then_some(self.buffer.len())
    }

    fn advance(&mut self, pieces: &mut Vec<Piece>) -> bool {
        match &self.state {
            NamedState::Text => self.advance_text(pieces),
            NamedState::Header => self.advance_header(pieces),
            NamedState::Arguments { .. } => self.advance_arguments(pieces),
            NamedState::Ending => self.advance_ending(),
        }
    }

    fn give_up(&mut self, pieces: &mut Vec<Piece>) {
        pieces.push(self.malformed("", &bounded::too_long()));
        self.buffer.clear();
        self.state = NamedState::Text;
    }
}

impl ToolCallParser for NamedJsonParser {
    fn push(&mut self, text: &str) -> Vec<Piece> {
        bounded::push(self, text)
    }

    fn finish(&mut self) -> Vec<Piece> {
        let rest = std::mem::take(&mut self.buffer);
        let mut pieces = Vec::new();
        match std::mem::replace(&mut self.state, NamedState::Text) {
            NamedState::Text => self.text(&rest, &mut pieces),
            NamedState::Header => pieces.push(self.malformed(&rest, "it is cut off")),
            NamedState::Arguments { name, .. } => {
                pieces.push(self.malformed(&format!("{name} {}", rest.trim()), "its arguments are cut off"));
            }
            // A part of the mark after the call.
            NamedState::Ending => {}
        }
        pieces
    }
}
