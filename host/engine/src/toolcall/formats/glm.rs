//! GLM 4.5 and later: `<tool_call>name` and, for each argument, `<arg_key>key</arg_key><arg_value>value</arg_value>`, up to
//! `</tool_call>`.

use firebox_contract::{ArgumentStyle, ArgumentValues, Grammar};

use crate::toolcall::call_grammar::{self, CallGrammar, CallableTool};
use crate::toolcall::text_arguments::{TextParser, TextTags};
use crate::toolcall::typed_values::ArgumentTypes;
use crate::toolcall::{ToolCallFormat, plain_id};

pub(super) const FORMAT: ToolCallFormat = ToolCallFormat {
    name: "glm",
    recognise: |template| template.contains("<tool_call>") && template.contains("<arg_key>"),
    parser: |tools| Box::new(TextParser::new(&TAGS, ArgumentTypes::of(tools))),
    force: |tool| match tool {
        Some(name) => format!("<tool_call>{name}\n"),
        None => "<tool_call>".to_owned(),
    },
    id: plain_id,
    grammar: CallGrammar {
        only: |tools, most| {
            let call = Grammar::Sequence(vec![call_grammar::marker(TAGS.call.0), after_open(tools)]);
            call_grammar::list(call, Grammar::text("\n"), most)
        },
        in_text: Some(|tools, most| call_grammar::calls_in_text(TAGS.call.0, after_open(tools), most)),
    },
    markers: &["<tool_call>", "</tool_call>", "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"],
};

const TAGS: TextTags = TextTags {
    call: ("<tool_call>", "</tool_call>"),
    name: ("", ""),
    key: ("<arg_key>", "</arg_key>"),
    value: ("<arg_value>", "</arg_value>"),
    last: "",
    example: "<tool_call>name\n<arg_key>key</arg_key>\n<arg_value>value</arg_value>\n</tool_call>",
};

const STYLE: ArgumentStyle = ArgumentStyle {
    before_name: "<arg_key>",
    after_name: "</arg_key>\n<arg_value>",
    after_value: "</arg_value>\n",
    between: "",
    // The parser takes a line break next to a tag for markup.
    values: ArgumentValues::Plain { keeps_breaks: false },
};

/// The rest of a call after its opening tag.
fn after_open(tools: &[CallableTool]) -> Grammar {
    call_grammar::one_of(tools, |tool| {
        let name = Grammar::text(format!("{}\n", tool.name));
        Grammar::Sequence(vec![name, tool.arguments(STYLE), call_grammar::marker(TAGS.call.1)])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toolcall::testing::{at_every_split, call, malformed, run, text};

    #[test]
    fn f6_calls_keep_their_order_at_every_split() {
        let written = "I look.\n<tool_call>b\n<arg_key>x</arg_key>\n<arg_value>{\"y\": [1]}</arg_value>\n<arg_key>ü</arg_key>\n\
                       <arg_value>a </arg_value> b</arg_value>\n</tool_call>\n<tool_call>a</tool_call>Done.";
        let expected = [
            text("I look."),
            call("b", "{\"x\": {\"y\":[1]}, \"ü\": \"a </arg_value> b\"}"),
            call("a", "{}"),
            text("Done."),
        ];
        at_every_split(&FORMAT, written, &expected);
        at_every_split(
            &FORMAT,
            "<tool_call>b<arg_key>x</arg_key><arg_value></arg_value></tool_call>",
            &[call("b", "{\"x\": \"\"}")],
        );
        at_every_split(&FORMAT, "b <arg_key>x</arg_key>", &[text("b <arg_key>x</arg_key>")]);
    }

    #[test]
    fn malformed_calls_give_an_error_for_the_model() {
        for (written, expected) in [
            ("<tool_call></tool_call>", "no name"),
            ("<tool_call>b<arg_key>x</arg_key></tool_call>", "no value"),
            ("<tool_call>b<arg_key>x</arg_key><arg_value>1", "cut off"),
            ("<tool_call>b", "cut off"),
        ] {
            let pieces = run(&FORMAT, &[written]);
            assert!(malformed(&pieces).contains(expected), "{written}: {pieces:?}");
            at_every_split(&FORMAT, written, &pieces);
        }
    }
}
