//! Finds tool calls in the streamed text of a turn. Each family of formats has a parser; the checkpoint's chat template
//! decides which one is used.

mod argument_stream;
mod bounded;
pub mod call_grammar;
mod call_object;
mod formats;
mod json_scan;
mod markers;
mod named_json;
mod text_arguments;
mod typed_values;

use std::sync::Arc;

use firebox_contract::ToolDefinition;

use self::call_grammar::CallGrammar;
pub use formats::TOOL_CALL_FORMATS;
pub(crate) use markers::MarkerFilter;

/// A format in which models write tool calls.
pub struct ToolCallFormat {
    /// Its name in messages.
    pub name: &'static str,
    /// Whether a chat template writes calls in this format.
    pub recognise: fn(template: &str) -> bool,
    /// Makes the parser of one assistant turn, to which these tools are offered.
    pub parser: fn(tools: &Arc<Vec<ToolDefinition>>) -> Box<dyn ToolCallParser>,
    /// The opening of an assistant turn that must call a tool: any tool, or the named one.
    pub force: fn(tool: Option<&str>) -> String,
    /// The id of the n-th call of a conversation, of the named tool, in the form that templates of this family accept.
    pub id: fn(number: usize, tool: &str) -> String,
    /// The grammar of turns with calls.
    pub grammar: CallGrammar,
    /// Special tokens that mark calls. The codec decodes them, and the parser removes them from the text.
    pub markers: &'static [&'static str],
}

/// The format of a chat template, if it is known.
#[must_use]
pub fn format_of(template: &str) -> Option<&'static ToolCallFormat> {
    TOOL_CALL_FORMATS.iter().find(|format| (format.recognise)(template))
}

/// The names of all formats, for messages.
#[must_use]
pub fn supported() -> String {
    TOOL_CALL_FORMATS.iter().map(|format| format.name).collect::<Vec<_>>().join(", ")
}

/// A piece of an assistant turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Text for the reader.
    Text(String),
    /// The next part of the arguments of a call that is not complete yet. All parts of a call together are its arguments.
    /// A call may have no parts.
    Delta {
        /// The tool's name, in the first part.
        name: Option<String>,
        /// The text of the part.
        arguments: String,
    },
    /// A call. It comes after its parts.
    Call {
        /// The tool's name.
        name: String,
        /// The text of one JSON object.
        arguments_json: String,
    },
    /// Text that was marked as a call but cannot be parsed.
    Malformed {
        /// The text that the model wrote.
        written: String,
        /// The error, for the model.
        reason: String,
    },
}

/// Splits one assistant turn into text and calls. Prose is never parsed as a call.
pub trait ToolCallParser: Send {
    /// Parses the next piece of text, which has whole characters.
    fn push(&mut self, text: &str) -> Vec<Piece>;
    /// Ends the turn and returns what was held back.
    fn finish(&mut self) -> Vec<Piece>;
}

fn plain_id(number: usize, _: &str) -> String {
    format!("call_{number}")
}

/// Helpers for the tests of all formats.
#[cfg(test)]
mod testing {
    use std::sync::Arc;

    use firebox_contract::{ToolDefinition, ToolEffects};

    use super::{Piece, ToolCallFormat};

    /// The tools `a` and `b`, which take any arguments.
    pub(super) fn tools() -> Arc<Vec<ToolDefinition>> {
        let tool = |name: &str| ToolDefinition {
            name: name.to_owned(),
            title: None,
            output_schema_json: None,
            description: String::new(),
            input_schema_json: "{}".to_owned(),
            as_sent_json: None,
            effects: ToolEffects::default(),
        };
        Arc::new(["a", "b", "a_b"].map(tool).to_vec())
    }

    /// Removes the parts of calls. The parts of each complete call must be its name and its arguments.
    fn without_deltas(pieces: Vec<Piece>) -> Vec<Piece> {
        let (mut names, mut parts, mut out) = (Vec::new(), String::new(), Vec::new());
        for piece in pieces {
            match piece {
                Piece::Delta { name, arguments } => {
                    names.extend(name);
                    parts.push_str(&arguments);
                    continue;
                }
                Piece::Call { ref name, ref arguments_json } if !names.is_empty() => {
                    assert_eq!((&names, &parts), (&vec![name.clone()], arguments_json), "the parts are the call");
                }
                _ => {}
            }
            assert!(names.len() <= 1 && !matches!(piece, Piece::Text(_) if !names.is_empty()), "parts before a text");
            names.clear();
            parts.clear();
            out.push(piece);
        }
        out
    }

    /// Parses `pieces` and joins neighbouring text.
    pub(super) fn run(format: &ToolCallFormat, pieces: &[&str]) -> Vec<Piece> {
        let mut parser = (format.parser)(&tools());
        let mut out: Vec<Piece> = pieces.iter().flat_map(|piece| parser.push(piece)).collect();
        out.extend(parser.finish());
        without_deltas(out).into_iter().fold(Vec::new(), |mut merged, piece| {
            match (merged.last_mut(), piece) {
                (Some(Piece::Text(last)), Piece::Text(text)) => last.push_str(&text),
                (_, piece) => merged.push(piece),
            }
            merged
        })
    }

    /// Parses `text` cut at each position, and character by character; all must give `expected`.
    pub(super) fn at_every_split(format: &ToolCallFormat, text: &str, expected: &[Piece]) {
        for cut in (0..=text.len()).filter(|cut| text.is_char_boundary(*cut)) {
            assert_eq!(run(format, &[&text[..cut], &text[cut..]]), expected, "cut at {cut} of {text}");
        }
        let singles: Vec<&str> = text.split_inclusive(|_| true).collect();
        assert_eq!(run(format, &singles), expected, "character by character: {text}");
    }

    pub(super) fn call(name: &str, arguments: &str) -> Piece {
        Piece::Call { name: name.to_owned(), arguments_json: arguments.to_owned() }
    }

    pub(super) fn text(text: &str) -> Piece {
        Piece::Text(text.to_owned())
    }

    /// The reason of the one malformed call that `pieces` are.
    pub(super) fn malformed(pieces: &[Piece]) -> &str {
        match pieces {
            [Piece::Malformed { reason, .. }] => reason,
            other => panic!("not one malformed call: {other:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_decides_the_format() {
        let cases = [
            ("<tool_call>\\n{\"name\": ", Some("hermes")),
            ("'[TOOL_CALLS] [' … '\"arguments\": '", Some("mistral")),
            ("'[TOOL_CALLS]' + name + '[ARGS]'", Some("mistral v11")),
            ("Respond in the format {\"name\": function name, \"parameters\": dictionary", Some("llama 3")),
            ("{{- \"<|python_tag|>\" + tool_call.name }}", Some("llama 3")),
            ("<tool_call><function=f>", Some("qwen coder")),
            ("<tool_call>{name}\n<arg_key>", Some("glm")),
            ("<seed:tool_call>\n<function=f>", Some("seed")),
            ("'<|tool_call_begin|>' + id", Some("kimi")),
            ("'<|tool_call>call:' + name + '{'", Some("gemma 4")),
            ("'<start_function_call>call:' + name", Some("function gemma")),
            ("assistant to=functions.' + name + '<|channel|>commentary json<|message|>'", Some("harmony")),
            (
                "\"<|start|>assistant to=\" }}{{- \"functions.\" + tool_call.name + \"<|channel|>commentary \" }}",
                Some("harmony"),
            ),
            ("respond in this format: <|tool_call|>{\"name\": \"foo\"}<|/tool_call|>", Some("phi")),
            ("respond with <|tool_call|> followed by a JSON list of tools used", Some("granite")),
            ("in the format of [func_name1(params_name1=params_value1)]", Some("pythonic")),
            ("{% for message in messages %}", None),
        ];
        for (template, expected) in cases {
            assert_eq!(format_of(template).map(|format| format.name), expected, "{template}");
        }
        assert!(supported().contains("hermes, mistral v11, mistral, "), "{}", supported());
    }

    #[test]
    fn every_format_parses_its_own_forced_openings() {
        for format in TOOL_CALL_FORMATS {
            let named = (format.force)(Some("a_b"));
            let close = match format.name {
                "mistral" | "granite" => " {}}]",
                "mistral v11" | "kimi" | "deepseek v3" | "deepseek v3.1" | "harmony" => " {}",
                "qwen coder" => "</function></tool_call>",
                "seed" => "</function></seed:tool_call>",
                "glm" => "</tool_call>",
                "gemma 4" => "}<tool_call|>",
                "function gemma" => "}<end_function_call>",
                "pythonic" => ")]",
                _ => " {}}",
            };
            let pieces = testing::run(format, &[&named, close]);
            assert_eq!(pieces, [testing::call("a_b", "{}")], "{}", format.name);
            let mut parser = (format.parser)(&testing::tools());
            assert!(parser.push(&(format.force)(None)).is_empty(), "{}: the opening alone gives no piece", format.name);
        }
    }

    #[test]
    fn a_name_in_json_is_escaped() {
        for name in ["hermes", "mistral", "llama 3", "phi", "granite"] {
            let format = TOOL_CALL_FORMATS.iter().find(|format| format.name == name).expect("it is there");
            let close = if ["mistral", "granite"].contains(&name) { " {}}]" } else { " {}}" };
            let pieces = testing::run(format, &[&(format.force)(Some("a\"b")), close]);
            assert_eq!(pieces, [testing::call("a\"b", "{}")], "{name}");
        }
    }

    #[test]
    fn ids_have_the_form_that_templates_accept() {
        let id = |name: &str| {
            let format = TOOL_CALL_FORMATS.iter().find(|format| format.name == name).expect("it is there");
            (format.id)(7, "f")
        };
        assert_eq!(id("hermes"), "call_7");
        assert_eq!(id("mistral"), "call00007", "nine letters and digits");
        assert_eq!(id("kimi"), "functions.f:7");
    }
}
