//! Finds tool calls in the streamed text of a turn. Each family of formats has a parser; the checkpoint's chat template
//! decides which one is used.

pub mod call_grammar;
mod call_object;
mod hermes;
mod json_scan;
mod llama3;
mod markers;
mod mistral;

use self::call_grammar::CallGrammar;
pub(crate) use markers::MarkerFilter;

/// A format in which models write tool calls.
pub struct ToolCallFormat {
    /// Its name in messages.
    pub name: &'static str,
    /// Whether a chat template writes calls in this format.
    pub recognise: fn(template: &str) -> bool,
    /// Makes the parser of one assistant turn.
    pub parser: fn() -> Box<dyn ToolCallParser>,
    /// The opening of an assistant turn that must call a tool: any tool, or the named one.
    pub force: fn(tool: Option<&str>) -> String,
    /// The id of the n-th call of a conversation, in the form that templates of this family accept.
    pub id: fn(number: usize) -> String,
    /// The grammar of turns with calls, if answers of this format can be kept to one.
    pub grammar: Option<CallGrammar>,
    /// Special tokens that mark calls. The codec decodes them, and the parser removes them from the text.
    pub markers: &'static [&'static str],
}

/// All formats, in the order in which they are tried.
pub const TOOL_CALL_FORMATS: &[ToolCallFormat] = &[hermes::FORMAT, mistral::NAMED, mistral::LIST, llama3::FORMAT];

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
    /// A call.
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

fn plain_id(number: usize) -> String {
    format!("call_{number}")
}

/// Helpers for the tests of all formats.
#[cfg(test)]
mod testing {
    use super::{Piece, ToolCallFormat};

    /// Parses `pieces` and joins neighbouring text.
    pub(super) fn run(format: &ToolCallFormat, pieces: &[&str]) -> Vec<Piece> {
        let mut parser = (format.parser)();
        let mut out: Vec<Piece> = pieces.iter().flat_map(|piece| parser.push(piece)).collect();
        out.extend(parser.finish());
        out.into_iter().fold(Vec::new(), |mut merged, piece| {
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
            ("<tool_call><function=f>", None),
            ("{% for message in messages %}", None),
        ];
        for (template, expected) in cases {
            assert_eq!(format_of(template).map(|format| format.name), expected, "{template}");
        }
        assert_eq!(supported(), "hermes, mistral v11, mistral, llama 3");
    }

    #[test]
    fn every_format_parses_its_own_forced_openings() {
        for format in TOOL_CALL_FORMATS {
            let named = (format.force)(Some("a\"b"));
            let close = match format.name {
                "mistral" => " {}}]",
                "mistral v11" => " {}",
                _ => " {}}",
            };
            let pieces = testing::run(format, &[&named, close]);
            assert_eq!(pieces, [testing::call("a\"b", "{}")], "{}", format.name);
            let mut parser = (format.parser)();
            assert!(parser.push(&(format.force)(None)).is_empty(), "{}: the opening alone gives no piece", format.name);
        }
    }

    #[test]
    fn ids_have_the_form_that_templates_accept() {
        let id = |name: &str| {
            let format = TOOL_CALL_FORMATS.iter().find(|format| format.name == name).expect("it is there");
            (format.id)(7)
        };
        assert_eq!(id("hermes"), "call_7");
        assert_eq!(id("mistral"), "call00007", "nine letters and digits");
    }
}
