//! Tool calls in a stream of text: one parser a family of formats, chosen by the checkpoint's own chat template.

mod hermes;
mod llama3;
mod markers;
mod mistral;
mod object;
mod raw;

pub(crate) use markers::MarkerFilter;

/// A way models write tool calls.
pub struct ToolCallFormat {
    /// Its name in messages.
    pub name: &'static str,
    /// Whether a chat template writes calls this way.
    pub recognise: fn(template: &str) -> bool,
    /// A fresh parser for one assistant turn.
    pub parser: fn() -> Box<dyn ToolCallParser>,
    /// What an assistant turn begins with that must call a tool: any, or the one named.
    pub force: fn(tool: Option<&str>) -> String,
    /// The id of a conversation's n-th call, as templates of this family accept it.
    pub id: fn(number: usize) -> String,
    /// Special tokens that the codec shows because they mark calls, and that no reader should see.
    pub markers: &'static [&'static str],
}

/// Every format, in the order they are tried.
pub const TOOL_CALL_FORMATS: &[ToolCallFormat] = &[hermes::FORMAT, mistral::NAMED, mistral::LIST, llama3::FORMAT];

/// The format a template writes, if it is known.
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
    /// Something that was marked as a call and is none.
    Malformed {
        /// What the model wrote.
        written: String,
        /// What is wrong with it, for the model.
        reason: String,
    },
}

/// Splits one assistant turn into text and calls. Prose is never taken for a call.
pub trait ToolCallParser: Send {
    /// The next piece of text; whole characters.
    fn push(&mut self, text: &str) -> Vec<Piece>;
    /// The turn is over.
    fn finish(&mut self) -> Vec<Piece>;
}

fn plain_id(number: usize) -> String {
    format!("call_{number}")
}

/// What the tests of all formats share.
#[cfg(test)]
mod testing {
    use super::{Piece, ToolCallFormat};

    /// Parses `pieces`; neighbouring text is one text, however it was cut.
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

    /// Parses `text` whole, cut at each place, and character by character; all must give `expected`.
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
    fn the_template_alone_decides_the_format() {
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
    fn every_format_reads_what_it_forces() {
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
            assert!(parser.push(&(format.force)(None)).is_empty(), "{}: the opening itself is not text", format.name);
        }
    }

    #[test]
    fn ids_suit_the_templates() {
        let id = |name: &str| {
            let format = TOOL_CALL_FORMATS.iter().find(|format| format.name == name).expect("it is there");
            (format.id)(7)
        };
        assert_eq!(id("hermes"), "call_7");
        assert_eq!(id("mistral"), "call00007", "nine letters and digits");
    }
}
