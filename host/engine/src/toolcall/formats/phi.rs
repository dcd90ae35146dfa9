//! Phi-4-mini: `<|tool_call|>{"name": …, "arguments": {…}}<|/tool_call|>`, or a list of such objects.

use super::hermes::{self, HermesParser, TagPair};
use crate::toolcall::call_grammar::{self, CallGrammar};
use crate::toolcall::{ToolCallFormat, call_object, plain_id};

pub(super) const FORMAT: ToolCallFormat = ToolCallFormat {
    name: "phi",
    recognise: |template| template.contains(TAGS.close),
    parser: |_| Box::new(HermesParser::new(TAGS)),
    force: |tool| match tool {
        Some(name) => format!("{}{{\"name\": {}, \"arguments\":", TAGS.open, call_object::quoted(name)),
        None => TAGS.open.to_owned(),
    },
    id: plain_id,
    grammar: CallGrammar {
        only: |tools, most| hermes::tagged_calls(TAGS, tools, most),
        in_text: Some(|tools, most| call_grammar::calls_in_text(TAGS.open, hermes::after_open(TAGS, tools), most)),
    },
    markers: &[TAGS.open, TAGS.close],
};

const TAGS: TagPair = TagPair { open: "<|tool_call|>", close: "<|/tool_call|>" };

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toolcall::testing::{at_every_split, call, text};

    #[test]
    fn f6_calls_keep_their_order_at_every_split() {
        let (a, b) =
            ("{\"name\": \"a\", \"arguments\": {\"x\": \"</tool_call>\"}}", "{\"name\": \"b\", \"arguments\": {}}");
        let both = [call("a", "{\"x\": \"</tool_call>\"}"), call("b", "{}")];
        at_every_split(&FORMAT, &format!("<|tool_call|>{a}<|/tool_call|><|tool_call|>{b}<|/tool_call|>"), &both);
        at_every_split(&FORMAT, &format!("<|tool_call|>[{a}, {b}]<|/tool_call|>"), &both);
        at_every_split(&FORMAT, b, &[text(b)]);
    }
}
