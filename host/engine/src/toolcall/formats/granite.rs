//! Granite 3: `<|tool_call|>` and a JSON list of calls, without a mark at the end. Granite 4 writes Hermes' tags.

use super::hermes::{HermesParser, TagPair};
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
    grammar: None,
    markers: &[TAGS.open],
};

/// Its models write no closing mark. A stray one belongs to the markup.
const TAGS: TagPair = TagPair { open: "<|tool_call|>", close: "<|/tool_call|>" };

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
