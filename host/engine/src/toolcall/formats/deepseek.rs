//! DeepSeek: `<｜tool▁call▁begin｜>name<｜tool▁sep｜>{…}<｜tool▁call▁end｜>`, between `<｜tool▁calls▁begin｜>` and
//! `<｜tool▁calls▁end｜>`. V3 and R1 write `function<｜tool▁sep｜>name` and put the arguments into a block of code.

use firebox_contract::Grammar;

use crate::toolcall::call_grammar::{self, CallGrammar, CallableTool};
use crate::toolcall::named_json::{NamedJson, NamedJsonParser};
use crate::toolcall::{ToolCallFormat, plain_id};

/// V3 and R1.
pub(super) const V3: ToolCallFormat = ToolCallFormat {
    name: "deepseek v3",
    recognise: |template| template.contains(BEGIN) && template.contains("```json"),
    parser: |_| Box::new(NamedJsonParser::new(&CALLS)),
    force: |tool| match tool {
        Some(name) => format!("{SECTION}{BEGIN}function{SEPARATOR}{name}\n```json\n"),
        None => format!("{SECTION}{BEGIN}function{SEPARATOR}"),
    },
    id: plain_id,
    grammar: CallGrammar {
        only: |tools, most| section(v3_call(tools), "\n", most),
        in_text: Some(|tools, most| in_text(v3_call(tools), "\n", most)),
    },
    markers: MARKERS,
};

/// V3.1.
pub(super) const V31: ToolCallFormat = ToolCallFormat {
    name: "deepseek v3.1",
    recognise: |template| template.contains(BEGIN),
    force: |tool| match tool {
        Some(name) => format!("{SECTION}{BEGIN}{name}{SEPARATOR}"),
        None => format!("{SECTION}{BEGIN}"),
    },
    grammar: CallGrammar {
        only: |tools, most| section(v31_call(tools), "", most),
        in_text: Some(|tools, most| in_text(v31_call(tools), "", most)),
    },
    ..V3
};

const SECTION: &str = "<｜tool▁calls▁begin｜>";
const BEGIN: &str = "<｜tool▁call▁begin｜>";
const SEPARATOR: &str = "<｜tool▁sep｜>";
const END: &str = "<｜tool▁call▁end｜>";
const SECTION_END: &str = "<｜tool▁calls▁end｜>";
const MARKERS: &[&str] = &[SECTION, BEGIN, SEPARATOR, END, SECTION_END];

const CALLS: NamedJson = NamedJson {
    begin: BEGIN,
    end: END,
    markers: MARKERS,
    body: "",
    name,
    example: "<｜tool▁call▁begin｜>name<｜tool▁sep｜>{…}<｜tool▁call▁end｜>",
};

/// A turn of calls.
fn section(call: Grammar, between: &str, most: usize) -> Grammar {
    let end = Grammar::optional(call_grammar::marker(SECTION_END));
    Grammar::Sequence(vec![call_grammar::marker(SECTION), calls(call, between, most), end])
}

/// A text with a section of calls.
fn in_text(call: Grammar, between: &str, most: usize) -> Grammar {
    // Text may follow, so the section needs its end.
    let section = vec![calls(call, between, most), call_grammar::marker(SECTION_END)];
    call_grammar::section_in_text(SECTION, BEGIN, Grammar::Sequence(section))
}

fn calls(call: Grammar, between: &str, most: usize) -> Grammar {
    call_grammar::list(call, Grammar::text(between), most)
}

fn v3_call(tools: &[CallableTool]) -> Grammar {
    call_grammar::one_of(tools, |tool| {
        let head = call_grammar::marker(&format!("{BEGIN}function{SEPARATOR}{}\n```json\n", tool.name));
        Grammar::Sequence(vec![head, tool.object(), Grammar::text("\n```"), call_grammar::marker(END)])
    })
}

fn v31_call(tools: &[CallableTool]) -> Grammar {
    call_grammar::one_of(tools, |tool| {
        let head = call_grammar::marker(&format!("{BEGIN}{}{SEPARATOR}", tool.name));
        Grammar::Sequence(vec![head, tool.object(), call_grammar::marker(END)])
    })
}

/// The name is after the separator in V3, where a word for the type comes first, and before it in V3.1.
fn name(header: &str) -> Option<&str> {
    let (first, second) = header.split_once(SEPARATOR)?;
    let second = second.trim().trim_end_matches("```json").trim_end_matches('`').trim();
    Some(if second.is_empty() { first } else { second })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toolcall::testing::{at_every_split, call, malformed, run, text};

    #[test]
    fn f6_calls_keep_their_order_in_both_forms() {
        let expected = [text("I look."), call("b", "{\"x\": {\"y\": [1, \"}\"]}}"), call("a", "{}"), text("Done.")];
        let plain = "I look.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>b<｜tool▁sep｜>{\"x\": {\"y\": [1, \"}\"]}}<｜tool▁call▁end｜>\
                     <｜tool▁call▁begin｜>a<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>\nDone.";
        let fenced = "I look.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>b\n```json\n{\"x\": {\"y\": [1, \"}\"]}}\n```\
                      <｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>a\n```json\n{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>Done.";
        for format in [&V3, &V31] {
            at_every_split(format, plain, &expected);
            at_every_split(format, fenced, &expected);
        }
    }

    #[test]
    fn f6_prose_is_not_a_call() {
        for prose in ["call b with {}", "b<｜tool {\"a\": 1}", "function b {}"] {
            at_every_split(&V31, prose, &[text(prose)]);
        }
    }

    #[test]
    fn malformed_calls_give_an_error_for_the_model() {
        for (written, expected) in [
            ("<｜tool▁call▁begin｜>b<｜tool▁sep｜>{\"a\": ", "cut off"),
            ("<｜tool▁call▁begin｜>b<｜tool▁sep｜>{a}<｜tool▁call▁end｜>", "not JSON"),
            ("<｜tool▁call▁begin｜><｜tool▁sep｜>{}<｜tool▁call▁end｜>", "no name"),
            ("<｜tool▁call▁begin｜>{}<｜tool▁call▁end｜>", "no name"),
            ("<｜tool▁call▁begin｜>b", "cut off"),
        ] {
            let pieces = run(&V31, &[written]);
            assert!(malformed(&pieces).contains(expected), "{written}: {pieces:?}");
            at_every_split(&V31, written, &pieces);
        }
    }

    #[test]
    fn the_template_decides_the_form() {
        let form = |template: &str| crate::toolcall::format_of(template).map(|format| format.name);
        assert_eq!(
            form("<｜tool▁call▁begin｜>' + tool['type'] + '<｜tool▁sep｜>' + name + '\\n' + '```json'"),
            Some("deepseek v3")
        );
        assert_eq!(form("'<｜tool▁call▁begin｜>'+ name + '<｜tool▁sep｜>' + arguments"), Some("deepseek v3.1"));
    }
}
