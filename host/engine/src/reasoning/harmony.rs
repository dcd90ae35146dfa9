//! The messages of a harmony turn: `<|channel|>NAME<|message|>TEXT<|end|>`, separated by `<|start|>assistant`.
//!
//! The channel `analysis` is reasoning, `final` is the answer, and a message with a recipient is a tool call, which stays as
//! it is for the parser of calls. A message of the channel `commentary` without a recipient is text for the reader.

use super::marks::add;
use super::{ReasoningSplitter, ReasoningState, TurnPart};
use crate::generation::stop_strings::overlap;

const CHANNEL: &str = "<|channel|>";
const MESSAGE: &str = "<|message|>";
const START: &str = "<|start|>";
const CALL: &str = "<|call|>";
/// The marks that end a message.
const ENDS: [&str; 4] = ["<|end|>", "<|return|>", CALL, START];
/// Bytes of a header. A longer one is no header, and its text is content.
const HEADER_BYTES_MAX: usize = 1_024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HarmonyState {
    /// In the header of a message, which ends with [`MESSAGE`].
    Header,
    Reasoning,
    Content,
    /// In a message with a recipient.
    Call,
}

/// The splitter of one turn.
pub(super) struct HarmonySplitter {
    state: HarmonyState,
    buffer: String,
    /// Whether any content has begun.
    answered: bool,
}

impl HarmonySplitter {
    pub(super) fn new(state: ReasoningState) -> Self {
        let (state, answered) = match state {
            ReasoningState::Undecided => (HarmonyState::Header, false),
            ReasoningState::Open => (HarmonyState::Reasoning, false),
            ReasoningState::Closed => (HarmonyState::Content, true),
        };
        Self { state, buffer: String::new(), answered }
    }

    fn advance(&mut self, parts: &mut Vec<TurnPart>) -> bool {
        if self.state == HarmonyState::Header { self.advance_header(parts) } else { self.advance_message(parts) }
    }

    /// Reads a header to its end. Text that cannot be a header is content.
    fn advance_header(&mut self, parts: &mut Vec<TurnPart>) -> bool {
        let begun = self.buffer.trim_start();
        let is_header = begun.is_empty()
            || [START, CHANNEL, "assistant", " to="]
                .iter()
                .any(|mark| begun.starts_with(mark) || mark.starts_with(begun));
        let Some(at) = self.buffer.find(MESSAGE).filter(|_| is_header) else {
            if is_header && self.buffer.len() <= HEADER_BYTES_MAX {
                return false;
            }
            (self.state, self.answered) = (HarmonyState::Content, true);
            return true;
        };
        let rest = self.buffer.split_off(at + MESSAGE.len());
        let header = std::mem::replace(&mut self.buffer, rest);
        let channel = header.find(CHANNEL).map_or("", |at| header[at + CHANNEL.len()..].trim_start());
        self.state = if let Some(recipient) = recipient(&header) {
            // The header of a call as the parser of calls expects it. Models write its parts in several orders.
            add(parts, TurnPart::Content(format!("{CHANNEL}commentary to={recipient}{MESSAGE}")));
            HarmonyState::Call
        } else if channel.starts_with("analysis") {
            HarmonyState::Reasoning
        } else {
            HarmonyState::Content
        };
        self.answered |= self.state != HarmonyState::Reasoning;
        true
    }

    /// Releases the text of a message, to its end.
    fn advance_message(&mut self, parts: &mut Vec<TurnPart>) -> bool {
        let end = ENDS.iter().filter_map(|mark| Some((self.buffer.find(mark)?, *mark))).min();
        let Some((at, mark)) = end else {
            let held = ENDS.iter().map(|mark| overlap(&self.buffer, mark)).max().unwrap_or(0);
            let rest = self.buffer.split_off(self.buffer.len() - held);
            let text = std::mem::replace(&mut self.buffer, rest);
            self.release(text, parts);
            return false;
        };
        let rest = self.buffer.split_off(at + mark.len());
        let mut text = std::mem::replace(&mut self.buffer, rest);
        text.truncate(at);
        self.release(text, parts);
        if self.state == HarmonyState::Call {
            add(parts, TurnPart::Content(CALL.to_owned()));
        }
        self.state = HarmonyState::Header;
        true
    }

    fn release(&self, text: String, parts: &mut Vec<TurnPart>) {
        add(
            parts,
            if self.state == HarmonyState::Reasoning { TurnPart::Reasoning(text) } else { TurnPart::Content(text) },
        );
    }
}

/// The recipient in a header.
fn recipient(header: &str) -> Option<&str> {
    let (_, rest) = header.split_once(" to=")?;
    rest.split(|c: char| c.is_whitespace() || c == '<').next()
}

impl ReasoningSplitter for HarmonySplitter {
    fn push(&mut self, text: &str) -> Vec<TurnPart> {
        self.buffer.push_str(text);
        let mut parts = Vec::new();
        while self.advance(&mut parts) {}
        parts
    }

    fn finish(&mut self) -> Vec<TurnPart> {
        let rest = std::mem::take(&mut self.buffer);
        let mut parts = Vec::new();
        // The header of a message that never came is no text.
        if self.state != HarmonyState::Header || !(self.answered || rest.contains(CHANNEL) || rest.contains(START)) {
            self.release(rest, &mut parts);
        }
        parts
    }

    fn state(&self) -> ReasoningState {
        match self.state {
            HarmonyState::Reasoning => ReasoningState::Open,
            // The header of the answer is no content either.
            HarmonyState::Header if !self.answered => ReasoningState::Open,
            HarmonyState::Header | HarmonyState::Content | HarmonyState::Call => ReasoningState::Closed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::at_every_split;
    use super::*;

    fn split(text: &str, expected: (&str, &str)) {
        at_every_split(&|| Box::new(HarmonySplitter::new(ReasoningState::Undecided)), text, expected);
    }

    #[test]
    fn channels_are_separated_at_every_split() {
        split(
            "<|channel|>analysis<|message|>So ä.<|end|><|start|>assistant<|channel|>final<|message|>4.<|return|>",
            ("So ä.", "4."),
        );
        split("<|channel|>final<|message|>4 < 5 <|", ("", "4 < 5 <|"));
        split("<|channel|>analysis<|message|>cut", ("cut", ""));
        split("no header", ("", "no header"));
        split("<|channel|>commentary<|message|>First.<|end|><|start|>assistant<|chan", ("", "First."));
    }

    #[test]
    fn a_message_with_a_recipient_is_left_to_the_parser_of_calls() {
        let call = "<|channel|>commentary to=functions.f<|message|>{\"a\": 1}<|call|>";
        for header in [
            "<|start|>assistant<|channel|>commentary to=functions.f <|constrain|>json<|message|>",
            "<|start|>assistant to=functions.f<|channel|>commentary json<|message|>",
        ] {
            split(
                &format!("<|channel|>analysis<|message|>Call f.<|end|>{header}{{\"a\": 1}}<|call|>"),
                ("Call f.", call),
            );
        }
    }

    /// The examples of the guide of the format (github.com/openai/harmony, docs/format.md) and of the tests of its parser.
    #[test]
    fn the_examples_of_the_guide_are_separated() {
        split(
            "<|channel|>analysis<|message|>User asks: \"What is 2 + 2?\" Simple arithmetic. Provide answer.<|end|>\n\
             <|start|>assistant<|channel|>final<|message|>2 + 2 = 4.<|return|>",
            ("User asks: \"What is 2 + 2?\" Simple arithmetic. Provide answer.", "2 + 2 = 4."),
        );
        let call = |name: &str, arguments: &str| {
            format!("<|channel|>commentary to=functions.{name}<|message|>{arguments}<|call|>")
        };
        split(
            "<|channel|>analysis<|message|>Need to use function get_weather.<|end|><|start|>assistant<|channel|>commentary \
             to=functions.get_weather <|constrain|>json<|message|>{\"location\":\"San Francisco\"}<|call|>",
            ("Need to use function get_weather.", &call("get_weather", "{\"location\":\"San Francisco\"}")),
        );
        // A preamble is for the reader.
        let plan = "**Action plan**:\n1. Generate an HTML file\n---\nWill start executing the plan step by step";
        split(
            &format!(
                "<|channel|>analysis<|message|>So.<|end|><|start|>assistant<|channel|>commentary<|message|>{plan}<|end|>\
                 <|start|>assistant<|channel|>commentary to=functions.generate_file<|constrain|>json<|message|>{{\"a\": 1}}<|call|>"
            ),
            ("So.", &format!("{plan}{}", call("generate_file", "{\"a\": 1}"))),
        );
        // The recipient in the section of the role, and the mark of the type next to it.
        split(
            "<|start|>assistant to=functions.get_weather<|channel|>commentary<|constrain|>json<|message|>{\"location\": \
             \"Tokyo\"}<|end|>",
            ("", &call("get_weather", "{\"location\": \"Tokyo\"}")),
        );
        // Calls of the model's own tools are made in the channel of reasoning.
        split(
            "<|channel|>analysis to=browser.search code<|message|>{\"query\": \"x\"}<|call|>",
            ("", "<|channel|>commentary to=browser.search<|message|>{\"query\": \"x\"}<|call|>"),
        );
    }

    #[test]
    fn a_header_without_end_is_bounded() {
        let mut splitter = HarmonySplitter::new(ReasoningState::Undecided);
        let parts = splitter.push(&format!("<|channel|>{}", "x".repeat(HEADER_BYTES_MAX)));
        assert!(matches!(&parts[..], [TurnPart::Content(_)]), "it is content");
    }
}
