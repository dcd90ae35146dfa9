//! gpt-oss: `<|channel|>commentary to=functions.name <|constrain|>json<|message|>{…}<|call|>`. The other messages of a
//! harmony turn are separated before (`crate::reasoning`).

use firebox_contract::Grammar;

use crate::toolcall::call_grammar::{self, CallGrammar};
use crate::toolcall::named_json::{NamedJson, NamedJsonParser};
use crate::toolcall::{ToolCallFormat, plain_id};

pub(super) const FORMAT: ToolCallFormat = ToolCallFormat {
    name: "harmony",
    // Its template puts the header of a call together from parts.
    recognise: |template| template.contains("<|channel|>commentary") && template.contains("functions."),
    parser: |_| Box::new(NamedJsonParser::new(&CALLS)),
    force: |tool| match tool {
        Some(name) => format!("{CHANNEL}commentary to=functions.{name} <|constrain|>json<|message|>"),
        None => format!("{CHANNEL}commentary to=functions."),
    },
    id: plain_id,
    grammar: CallGrammar {
        // The mark after a call ends the turn.
        only: |tools, _| {
            call_grammar::one_of(tools, |tool| {
                let name = &tool.name;
                let head = format!("{CHANNEL}commentary to=functions.{name} <|constrain|>json<|message|>");
                let end = Grammar::optional(call_grammar::marker(END));
                Grammar::Sequence(vec![call_grammar::marker(&head), tool.object(), end])
            })
        },
        // The header of a message, which says that it is a call, comes before the content that a grammar sees.
        in_text: None,
    },
    markers: MARKERS,
};

const CHANNEL: &str = "<|channel|>";
const END: &str = "<|call|>";
const MESSAGE: &str = "<|message|>";
const MARKERS: &[&str] = &[CHANNEL, END, MESSAGE, "<|constrain|>", "<|start|>", "<|end|>", "<|return|>"];

const CALLS: NamedJson = NamedJson {
    begin: CHANNEL,
    end: END,
    markers: MARKERS,
    body: MESSAGE,
    name,
    example: "<|channel|>commentary to=functions.name <|constrain|>json<|message|>{…}<|call|>",
};

/// The recipient, without the namespace of functions.
fn name(header: &str) -> Option<&str> {
    let (_, recipient) = header.split_once("to=")?;
    let end = recipient.find(|c: char| c.is_whitespace() || c == '<').unwrap_or(recipient.len());
    let name = &recipient[..end];
    Some(name.strip_prefix("functions.").unwrap_or(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toolcall::testing::{at_every_split, call, malformed, run, text};

    #[test]
    fn f6_calls_keep_their_order_at_every_split() {
        let written = "<|channel|>commentary to=functions.b <|constrain|>json<|message|>{\"x\": [1, {\"y\": \"<|call|>\"}]}<|call|>\
                       <|channel|>commentary to=functions.a<|message|>{}<|call|>";
        at_every_split(&FORMAT, written, &[call("b", "{\"x\": [1, {\"y\": \"<|call|>\"}]}"), call("a", "{}")]);
        at_every_split(&FORMAT, "to=functions.b {\"a\": 1}", &[text("to=functions.b {\"a\": 1}")]);
    }

    #[test]
    fn a_call_without_a_recipient_or_an_end_is_malformed() {
        for (written, expected) in [
            ("<|channel|>commentary to=python<|message|>print(1)<|call|>", "text before its JSON object"),
            ("<|channel|>commentary to=python<|message|>print {\"a\": 1}<|call|>", "text before its JSON object"),
            ("<|channel|>commentary<|message|>{\"a\": 1}<|call|>", "no name"),
            ("<|channel|>commentary to=functions.b<|message|>{\"a\": 1", "cut off"),
        ] {
            assert!(malformed(&run(&FORMAT, &[written])).contains(expected), "{written}");
        }
    }
}
