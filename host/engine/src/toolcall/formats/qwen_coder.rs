//! Qwen3-Coder: `<tool_call><function=name><parameter=key>value</parameter></function></tool_call>`, each tag on a line of
//! its own. Seed-OSS has a mark of its own around the same.

use firebox_contract::{ArgumentStyle, ArgumentValues, Grammar};

use crate::toolcall::call_grammar::{self, CallGrammar, CallableTool};
use crate::toolcall::text_arguments::{TextParser, TextTags};
use crate::toolcall::typed_values::ArgumentTypes;
use crate::toolcall::{ToolCallFormat, plain_id};

pub(super) const FORMAT: ToolCallFormat = ToolCallFormat {
    name: "qwen coder",
    recognise: |template| template.contains("<tool_call>") && template.contains("<function="),
    parser: |tools| Box::new(TextParser::new(&TAGS, ArgumentTypes::of(tools))),
    force: |tool| match tool {
        Some(name) => format!("<tool_call>\n<function={name}>\n"),
        None => "<tool_call>\n<function=".to_owned(),
    },
    id: plain_id,
    grammar: CallGrammar {
        only: |tools, most| calls(&TAGS, tools, most),
        in_text: Some(|tools, most| call_grammar::calls_in_text(TAGS.call.0, after_open(&TAGS, tools), most)),
    },
    // Its tags are ordinary tokens. They stay text if no tools are offered.
    markers: &[],
};

/// ByteDance Seed-OSS.
pub(super) const SEED: ToolCallFormat = ToolCallFormat {
    name: "seed",
    recognise: |template| template.contains("<seed:tool_call>"),
    parser: |tools| Box::new(TextParser::new(&SEED_TAGS, ArgumentTypes::of(tools))),
    force: |tool| match tool {
        Some(name) => format!("<seed:tool_call>\n<function={name}>\n"),
        None => "<seed:tool_call>\n<function=".to_owned(),
    },
    id: plain_id,
    grammar: CallGrammar {
        only: |tools, most| calls(&SEED_TAGS, tools, most),
        in_text: Some(|tools, most| call_grammar::calls_in_text(SEED_TAGS.call.0, after_open(&SEED_TAGS, tools), most)),
    },
    markers: &["<seed:tool_call>", "</seed:tool_call>"],
};

const TAGS: TextTags = TextTags {
    call: ("<tool_call>", "</tool_call>"),
    name: ("<function=", ">"),
    key: ("<parameter=", ">"),
    value: ("", "</parameter>"),
    last: "</function>",
    example: "<tool_call>\n<function=name>\n<parameter=key>\nvalue\n</parameter>\n</function>\n</tool_call>",
};

const SEED_TAGS: TextTags = TextTags { call: ("<seed:tool_call>", "</seed:tool_call>"), ..TAGS };

const STYLE: ArgumentStyle = ArgumentStyle {
    before_name: "<parameter=",
    after_name: ">\n",
    after_value: "\n</parameter>\n",
    between: "",
    values: ArgumentValues::Plain { keeps_breaks: true },
};

/// The rest of a call after its opening tag.
fn after_open(tags: &TextTags, tools: &[CallableTool]) -> Grammar {
    call_grammar::one_of(tools, |tool| {
        let head = Grammar::text(format!("\n<function={}>\n", tool.name));
        let end = call_grammar::marker(&format!("</function>\n{}", tags.call.1));
        Grammar::Sequence(vec![head, tool.arguments(STYLE), end])
    })
}

/// One to `most` calls, each on lines of its own.
fn calls(tags: &TextTags, tools: &[CallableTool], most: usize) -> Grammar {
    let call = Grammar::Sequence(vec![call_grammar::marker(tags.call.0), after_open(tags, tools)]);
    call_grammar::list(call, Grammar::text("\n"), most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toolcall::testing::{at_every_split, call, malformed, run, text};

    #[test]
    fn f6_calls_keep_their_order_at_every_split() {
        let written = "I look.\n\n<tool_call>\n<function=b>\n<parameter=x>\n1.5\n</parameter>\n<parameter=ü>\nline 1\n</parameter> <b>\n\
                       </parameter>\n</function>\n</tool_call>\n<tool_call>\n<function=a>\n</function>\n</tool_call>\nDone.";
        let expected = [
            text("I look."),
            call("b", "{\"x\": 1.5, \"ü\": \"line 1\\n</parameter> <b>\"}"),
            call("a", "{}"),
            text("Done."),
        ];
        at_every_split(&FORMAT, written, &expected);
        let seed = "<seed:tool_call>\n<function=b>\n<parameter=x>[1, {}]</parameter>\n</function>\n</seed:tool_call>";
        at_every_split(&SEED, seed, &[call("b", "{\"x\": [1,{}]}")]);
    }

    #[test]
    fn f6_prose_is_not_a_call() {
        for prose in ["<function=b>", "a < b <tool", "x\n\n", "use <parameter=x> there"] {
            at_every_split(&FORMAT, prose, &[text(prose)]);
        }
    }

    #[test]
    fn malformed_calls_give_an_error_for_the_model() {
        for (written, expected) in [
            ("<tool_call>\n{\"name\": \"b\"}\n</tool_call>", "no name"),
            ("<tool_call>\n<function=>\n</function>\n</tool_call>", "no name"),
            ("<tool_call>\n<function=b>\n<parameter=x>\n1", "cut off"),
            ("<tool_call>\n<function=b", "cut off"),
            ("<tool_call>\n<function=b>\nwords\n</function>\n</tool_call>", "outside of its arguments"),
        ] {
            let pieces = run(&FORMAT, &[written]);
            assert!(malformed(&pieces).contains(expected), "{written}: {pieces:?}");
            at_every_split(&FORMAT, written, &pieces);
        }
        let long = format!("<tool_call>\n<function={}", "x".repeat(4_096));
        assert!(malformed(&run(&FORMAT, &[&long])).contains("does not end"));
    }

    #[test]
    fn tags_inside_of_an_object_belong_to_it() {
        let mut tools = crate::toolcall::testing::tools().to_vec();
        tools[1].input_schema_json = "{\"properties\": {\"x\": {\"type\": \"object\"}}}".to_owned();
        let tools = std::sync::Arc::new(tools);
        let parse = |parts: &[&str]| {
            let mut parser = (FORMAT.parser)(&tools);
            let mut pieces: Vec<_> = parts.iter().flat_map(|part| parser.push(part)).collect();
            pieces.extend(parser.finish());
            pieces.retain(|piece| matches!(piece, crate::toolcall::Piece::Call { .. }));
            pieces
        };
        let value = "{\"a\": \"</parameter>\\n</function>\"}";
        let whole =
            format!("<tool_call>\n<function=b>\n<parameter=x>\n{value}\n</parameter>\n</function>\n</tool_call>");
        let open = "<tool_call>\n<function=b>\n<parameter=x>\n{\"a\": 1\n</parameter>\n</function>\n</tool_call>";
        let then = format!("{open}<tool_call><function=a></function></tool_call>");
        let expected = call("b", "{\"x\": {\"a\":\"</parameter>\\n</function>\"}}");
        for cut in (0..whole.len()).filter(|cut| whole.is_char_boundary(*cut)) {
            assert_eq!(parse(&[&whole[..cut], &whole[cut..]]), std::slice::from_ref(&expected), "cut at {cut}");
        }
        let both = [call("b", "{\"x\": \"{\\\"a\\\": 1\"}"), call("a", "{}")];
        for cut in 0..then.len() {
            assert_eq!(parse(&[&then[..cut], &then[cut..]]), both, "cut at {cut}");
        }
    }

    #[test]
    fn the_end_of_a_call_may_be_missing() {
        at_every_split(
            &FORMAT,
            "<tool_call><function=b><parameter=x>1</parameter></function>",
            &[call("b", "{\"x\": 1}")],
        );
    }
}
