//! Tool calls in a stream of text: one parser a family of formats, chosen by the checkpoint's own chat template.

mod hermes;
mod raw;

/// A way models write tool calls.
pub struct ToolCallFormat {
    /// Its name in messages.
    pub name: &'static str,
    /// Whether a chat template writes calls this way.
    pub recognise: fn(template: &str) -> bool,
    /// A fresh parser for one assistant turn.
    pub parser: fn() -> Box<dyn ToolCallParser>,
}

/// Every format, in the order they are tried.
pub const TOOL_CALL_FORMATS: &[ToolCallFormat] = &[hermes::FORMAT];

/// The format a template writes, if it is known.
#[must_use]
pub fn format_of(template: &str) -> Option<&'static ToolCallFormat> {
    TOOL_CALL_FORMATS.iter().find(|format| (format.recognise)(template))
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
