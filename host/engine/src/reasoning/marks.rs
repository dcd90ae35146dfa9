//! Reasoning between two marks at the beginning of a turn.

use super::{ReasoningFormat, ReasoningSplitter, ReasoningState, TurnPart};
use crate::generation::stop_strings::overlap;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MarkState {
    /// Before any text: reasoning may begin.
    Start,
    /// After the opening mark. A model may repeat the mark that the template wrote.
    Opened,
    Inside,
    /// After the closing mark, before the content.
    Closed,
    Content,
}

/// The splitter of one turn. Only the beginning of a turn is reasoning: a mark in the content is text. White space next to
/// the marks belongs to them.
pub(super) struct MarkSplitter {
    format: &'static ReasoningFormat,
    state: MarkState,
    buffer: String,
}

impl MarkSplitter {
    pub(super) fn new(format: &'static ReasoningFormat, state: ReasoningState) -> Self {
        let state = match state {
            ReasoningState::Undecided => MarkState::Start,
            ReasoningState::Open => MarkState::Opened,
            ReasoningState::Closed => MarkState::Content,
        };
        Self { format, state, buffer: String::new() }
    }

    /// Goes on by one state. Returns false if more text is needed.
    fn advance(&mut self, parts: &mut Vec<TurnPart>) -> bool {
        match self.state {
            MarkState::Start => self.pass_mark(self.format.open, MarkState::Opened, MarkState::Content),
            MarkState::Opened => self.pass_mark(self.format.open, MarkState::Opened, MarkState::Inside),
            MarkState::Inside => self.advance_inside(parts),
            MarkState::Closed => {
                self.trim_start();
                match self.format.content {
                    Some((open, _)) => self.pass_mark(open, MarkState::Closed, MarkState::Content),
                    None if self.buffer.is_empty() => false,
                    None => {
                        self.state = MarkState::Content;
                        true
                    }
                }
            }
            MarkState::Content => {
                self.release_content(parts);
                false
            }
        }
    }

    /// Removes `mark` from the beginning of the text and goes to `found`, or to `other` if there is other text.
    fn pass_mark(&mut self, mark: &str, found: MarkState, other: MarkState) -> bool {
        let begun = self.buffer.trim_start();
        if begun.is_empty() || (begun.len() < mark.len() && mark.starts_with(begun)) {
            return false;
        }
        match begun.strip_prefix(mark) {
            Some(rest) => {
                self.buffer = rest.to_owned();
                self.state = found;
            }
            None => {
                if other == MarkState::Inside {
                    self.trim_start();
                }
                self.state = other;
            }
        }
        true
    }

    fn advance_inside(&mut self, parts: &mut Vec<TurnPart>) -> bool {
        let close = self.format.close;
        if let Some(at) = self.buffer.find(close) {
            let rest = self.buffer.split_off(at + close.len());
            self.buffer.truncate(at);
            add(parts, TurnPart::Reasoning(self.buffer.trim_end().to_owned()));
            self.buffer = rest;
            self.state = MarkState::Closed;
            return true;
        }
        // White space before a mark belongs to the mark.
        let end = self.buffer.len() - overlap(&self.buffer, close);
        let end = self.buffer[..end].trim_end().len();
        let rest = self.buffer.split_off(end);
        add(parts, TurnPart::Reasoning(std::mem::replace(&mut self.buffer, rest)));
        false
    }

    fn release_content(&mut self, parts: &mut Vec<TurnPart>) {
        let Some((_, close)) = self.format.content else {
            return add(parts, TurnPart::Content(std::mem::take(&mut self.buffer)));
        };
        while let Some(at) = self.buffer.find(close) {
            let rest = self.buffer.split_off(at + close.len());
            self.buffer.truncate(at);
            add(parts, TurnPart::Content(std::mem::replace(&mut self.buffer, rest)));
        }
        let rest = self.buffer.split_off(self.buffer.len() - overlap(&self.buffer, close));
        add(parts, TurnPart::Content(std::mem::replace(&mut self.buffer, rest)));
    }

    fn trim_start(&mut self) {
        let blank = self.buffer.len() - self.buffer.trim_start().len();
        self.buffer.drain(..blank);
    }
}

/// Adds a part, unless it is empty.
pub(super) fn add(parts: &mut Vec<TurnPart>, part: TurnPart) {
    let (TurnPart::Reasoning(text) | TurnPart::Content(text)) = &part;
    if !text.is_empty() {
        parts.push(part);
    }
}

impl ReasoningSplitter for MarkSplitter {
    fn push(&mut self, text: &str) -> Vec<TurnPart> {
        self.buffer.push_str(text);
        let mut parts = Vec::new();
        while self.advance(&mut parts) {}
        parts
    }

    fn finish(&mut self) -> Vec<TurnPart> {
        let rest = std::mem::take(&mut self.buffer);
        let mut parts = Vec::new();
        match self.state {
            MarkState::Start | MarkState::Content => add(&mut parts, TurnPart::Content(rest)),
            MarkState::Closed => add(&mut parts, TurnPart::Content(rest.trim_start().to_owned())),
            MarkState::Opened | MarkState::Inside => {
                add(&mut parts, TurnPart::Reasoning(rest.trim_end().to_owned()));
            }
        }
        parts
    }

    fn state(&self) -> ReasoningState {
        match self.state {
            MarkState::Start => ReasoningState::Undecided,
            MarkState::Opened | MarkState::Inside => ReasoningState::Open,
            MarkState::Closed | MarkState::Content => ReasoningState::Closed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::formats::FORMATS;
    use super::super::testing::at_every_split;
    use super::*;

    fn split(name: &str, state: ReasoningState, text: &str, expected: (&str, &str)) {
        let format = FORMATS.iter().find(|format| format.name == name).expect("a row");
        at_every_split(&|| Box::new(MarkSplitter::new(format, state)), text, expected);
    }

    #[test]
    fn reasoning_and_content_are_separated_at_every_split() {
        for (text, expected) in [
            ("<think>\nSo, ä.\n\nThen.\n</think>\n\nIt is 4.\n", ("So, ä.\n\nThen.", "It is 4.\n")),
            ("\n<think></think>4", ("", "4")),
            ("<think>\n\n</think>\n\n 4", ("", "4")),
            ("<think>never closed </thin", ("never closed </thin", "")),
            ("  no marks <think>x</think>", ("", "  no marks <think>x</think>")),
            ("<thinking> is a word", ("", "<thinking> is a word")),
            ("<think>a</think>b</think><think>c", ("a", "b</think><think>c")),
            ("", ("", "")),
            ("<thi", ("", "<thi")),
        ] {
            split("think", ReasoningState::Undecided, text, expected);
        }
    }

    #[test]
    fn the_template_may_have_opened_or_closed_the_reasoning() {
        split("think", ReasoningState::Open, "So.\n</think>\n\n4", ("So.", "4"));
        split("think", ReasoningState::Open, "\n<think>\nSo.</think>4", ("So.", "4"));
        split("think", ReasoningState::Open, "cut off", ("cut off", ""));
        split("think", ReasoningState::Closed, " 4 </think>", ("", " 4 </think>"));
    }

    #[test]
    fn other_families_have_other_marks() {
        split("mistral", ReasoningState::Undecided, "[THINK]a [b][/THINK]c [/THINK", ("a [b]", "c [/THINK"));
        split("seed", ReasoningState::Open, "<seed:think>a</seed:think>\nb", ("a", "b"));
        split(
            "granite 3.2",
            ReasoningState::Undecided,
            "Here is my thought process: a. Here is my response: b",
            ("a.", "b"),
        );
        split(
            "granite 3.3",
            ReasoningState::Undecided,
            "<think>a</think>\n<response>b <i>c</response>",
            ("a", "b <i>c"),
        );
        split("granite 3.3", ReasoningState::Undecided, "<think>a</think>b", ("a", "b"));
        split("gemma 4", ReasoningState::Undecided, "<|channel>thought\na\n<channel|>b", ("a", "b"));
    }
}
