//! Kimi K2: `<|tool_call_begin|>functions.name:0<|tool_call_argument_begin|>{…}<|tool_call_end|>` between
//! `<|tool_calls_section_begin|>` and `<|tool_calls_section_end|>`.

use firebox_contract::Grammar;

use crate::toolcall::ToolCallFormat;
use crate::toolcall::call_grammar::{self, CallGrammar, CallableTool};
use crate::toolcall::named_json::{NamedJson, NamedJsonParser};

pub(super) const FORMAT: ToolCallFormat = ToolCallFormat {
    name: "kimi",
    recognise: |template| template.contains(BEGIN),
    parser: |_| Box::new(NamedJsonParser::new(&CALLS)),
    force: |tool| match tool {
        Some(name) => format!("{SECTION}{BEGIN}functions.{name}:0{ARGUMENTS}"),
        None => format!("{SECTION}{BEGIN}functions."),
    },
    // The template writes the id as the header of the call.
    id: |number, name| format!("functions.{name}:{number}"),
    grammar: CallGrammar {
        only: |tools, most| {
            let end = Grammar::optional(call_grammar::marker(SECTION_END));
            Grammar::Sequence(vec![call_grammar::marker(SECTION), calls(tools, most), end])
        },
        // Text may follow, so the section needs its end.
        in_text: Some(|tools, most| {
            let section = vec![calls(tools, most), call_grammar::marker(SECTION_END)];
            call_grammar::section_in_text(SECTION, BEGIN, Grammar::Sequence(section))
        }),
    },
    markers: MARKERS,
};

const SECTION: &str = "<|tool_calls_section_begin|>";
const BEGIN: &str = "<|tool_call_begin|>";
const ARGUMENTS: &str = "<|tool_call_argument_begin|>";
const END: &str = "<|tool_call_end|>";
const SECTION_END: &str = "<|tool_calls_section_end|>";
const MARKERS: &[&str] = &[SECTION, BEGIN, ARGUMENTS, END, SECTION_END];

const CALLS: NamedJson = NamedJson {
    begin: BEGIN,
    end: END,
    markers: MARKERS,
    body: ARGUMENTS,
    name,
    example: "<|tool_call_begin|>functions.name:0<|tool_call_argument_begin|>{…}<|tool_call_end|>",
};

fn calls(tools: &[CallableTool], most: usize) -> Grammar {
    let call = call_grammar::one_of(tools, |tool| {
        let head = call_grammar::marker(&format!("{BEGIN}functions.{}:", tool.name));
        let (number, arguments) = (Grammar::Regex("[0-9]{1,6}".to_owned()), call_grammar::marker(ARGUMENTS));
        Grammar::Sequence(vec![head, number, arguments, tool.object(), call_grammar::marker(END)])
    });
    Grammar::Repeat { part: Box::new(call), min: 1, max: most }
}

fn name(header: &str) -> Option<&str> {
    let header = header.split(ARGUMENTS).next().unwrap_or_default().trim();
    let name = header.strip_prefix("functions.").unwrap_or(header);
    Some(match name.rsplit_once(':') {
        Some((name, number)) if number.chars().all(|digit| digit.is_ascii_digit()) => name,
        _ => name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toolcall::testing::{at_every_split, call, malformed, run, text};

    #[test]
    fn f6_calls_keep_their_order_at_every_split() {
        let written = "I look.<|tool_calls_section_begin|><|tool_call_begin|>functions.b:0<|tool_call_argument_begin|>\
                       {\"x\": \"<|tool_call_end|>\"}<|tool_call_end|><|tool_call_begin|>a<|tool_call_argument_begin|> {}\n\
                       <|tool_call_end|><|tool_calls_section_end|>";
        let expected = [text("I look."), call("b", "{\"x\": \"<|tool_call_end|>\"}"), call("a", "{}")];
        at_every_split(&FORMAT, written, &expected);
        at_every_split(&FORMAT, "functions.b:0 {\"a\": 1}", &[text("functions.b:0 {\"a\": 1}")]);
    }

    #[test]
    fn the_end_of_a_call_may_be_missing_and_the_arguments_too() {
        let written = "<|tool_call_begin|>functions.a.b:12<|tool_call_argument_begin|>{\"x\": 1}<|tool_call_begin|>functions.c:1<|tool_call_end|>";
        at_every_split(&FORMAT, written, &[call("a.b", "{\"x\": 1}"), call("c", "{}")]);
        let cut = run(&FORMAT, &["<|tool_call_begin|>functions.a:0<|tool_call_argument_begin|>{\"x\": "]);
        assert!(malformed(&cut).contains("cut off"));
    }
}
