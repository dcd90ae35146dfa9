//! The errors of compiling and following grammars.

use firebox_contract::Error;

/// Why a grammar cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrammarError {
    /// A part of a JSON Schema that is not supported or not valid.
    #[error("the schema cannot be followed at \"{pointer}\": {reason}")]
    Schema {
        /// JSON Pointer of the part in the schema; `#` stands for the root.
        pointer: String,
        /// Why, with the remedy.
        reason: String,
    },
    /// The schema is no JSON.
    #[error("the schema is not valid JSON: {0}; write one JSON object")]
    NotJson(String),
    /// A regular expression or Lark grammar that is not valid.
    #[error("the {kind} is not valid: {reason}")]
    Invalid {
        /// `regular expression` or `grammar`.
        kind: &'static str,
        /// Why.
        reason: String,
    },
    /// A limit is exceeded.
    #[error("the grammar is too large: {0}; make it smaller")]
    TooLarge(String),
    /// A step of the grammar exceeds its bound.
    #[error("the grammar is too complex for this answer: {0}; simplify it")]
    TooComplex(String),
    /// No token of the vocabulary continues the answer.
    #[error("no token of this model continues the answer as the grammar demands; change the grammar or the model")]
    DeadEnd,
    /// The vocabulary has no texts, or too many.
    #[error("answers of this model cannot be kept to a grammar: {0}; use another model, or leave the grammar out")]
    Vocabulary(&'static str),
    /// A defect in the library.
    #[error("following the grammar failed: {0}")]
    Failed(String),
}

impl From<GrammarError> for Error {
    fn from(error: GrammarError) -> Self {
        let message = error.to_string();
        match error {
            GrammarError::Schema { pointer, .. } => Self::Schema { tool: None, pointer, message },
            GrammarError::Failed(_) => Self::Internal(message),
            GrammarError::NotJson(_)
            | GrammarError::TooLarge(_)
            | GrammarError::TooComplex(_)
            | GrammarError::Invalid { .. }
            | GrammarError::DeadEnd
            | GrammarError::Vocabulary(_) => Self::Usage(message),
        }
    }
}

/// The first line of a message of the library, at most 300 bytes, without control characters.
pub(crate) fn first_line(message: &str) -> String {
    const BYTES_MAX: usize = 300;
    let line = message.lines().find(|line| !line.trim().is_empty()).unwrap_or("no reason is given").trim();
    let cut = &line[..line.floor_char_boundary(BYTES_MAX)];
    let plain: String = cut.chars().filter(|c| !c.is_control()).collect();
    if cut.len() < line.len() { format!("{plain}…") } else { plain }
}
