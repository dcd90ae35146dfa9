//! Granite 3: `<|tool_call|>` and a JSON list of calls, without a mark at the end. Granite 4 writes Hermes' tags.

use firebox_contract::Grammar;

use super::hermes::{HermesParser, TagPair};
use crate::toolcall::call_grammar::{self, CallGrammar, CallableTool};
use crate::toolcall::{ToolCallFormat, call_object, plain_id};

pub(super) const FORMAT: ToolCallFormat = ToolCallFormat {
    name: "granite",
    recognise: |template| template.contains(TAGS.open),
    parser: |_| Box::new(HermesParser::new(TAGS)),
    force: |tool| match tool {
        Some(name) => format!("{}[{{\"name\": {}, \"arguments\":", TAGS.open, call_object::quoted(name)),
        None => format!("{}[", TAGS.open),
    },
    id: plain_id,
    grammar: CallGrammar {
        only: |tools, most| Grammar::Sequence(vec![call_grammar::marker(TAGS.open), listed(tools, most)]),
        in_text: Some(|tools, most| call_grammar::calls_in_text(TAGS.open, listed(tools, most), 1)),
    },
    markers: &[TAGS.open],
};

/// Its models write no closing mark. A stray one belongs to the markup.
const TAGS: TagPair = TagPair { open: "<|tool_call|>", close: "<|/tool_call|>" };

/// A list of calls.
fn listed(tools: &[CallableTool], most: usize) -> Grammar {
    let comma = Grammar::Sequence(vec![Grammar::text(","), call_grammar::space()]);
    let calls = call_grammar::list(call_grammar::object(tools, "arguments"), comma, most);
    Grammar::Sequence(vec![call_grammar::space(), Grammar::text("["), calls, Grammar::text("]")])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toolcall::testing::{at_every_split, call, text};

    #[test]
    fn f6_calls_keep_their_order_at_every_split() {
        let written = "I look.\n<|tool_call|>[{\"name\": \"b\", \"arguments\": {\"x\": [\"]\"]}}, {\"arguments\": {}, \"name\": \"a\"}]";
        at_every_split(&FORMAT, written, &[text("I look."), call("b", "{\"x\": [\"]\"]}"), call("a", "{}")]);
        let prose = "[{\"name\": \"b\", \"arguments\": {}}]";
        at_every_split(&FORMAT, prose, &[text(prose)]);
    }
}
