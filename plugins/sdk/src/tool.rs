//! Constructors for tool definitions and answers.

use crate::{Content, Definition, Effects, Outcome};

impl Outcome {
    /// A plain text answer.
    pub fn text(text: impl Into<String>) -> Self {
        Self { content: vec![Content::Text(text.into())], is_error: false }
    }

    /// An error that the model sees, as `error: <message>`.
    pub fn error(message: impl AsRef<str>) -> Self {
        Self { content: vec![Content::Text(format!("error: {}", message.as_ref()))], is_error: true }
    }

    /// A structured answer: the text of one JSON value.
    pub fn json(json: impl Into<String>) -> Self {
        Self { content: vec![Content::Json(json.into())], is_error: false }
    }

    /// The answer to a name that [`Tool::definitions`](crate::Tool::definitions) does not list.
    pub fn unknown_tool(name: &str) -> Self {
        Self::error(format!("no tool \"{name}\""))
    }

    /// The text parts, one per line.
    pub fn to_text(&self) -> String {
        let parts: Vec<&str> = self
            .content
            .iter()
            .filter_map(|part| match part {
                Content::Text(text) | Content::Json(text) => Some(text.as_str()),
                Content::Media(_) => None,
            })
            .collect();
        parts.join("\n")
    }
}

impl<E: AsRef<str>> From<Result<String, E>> for Outcome {
    fn from(result: Result<String, E>) -> Self {
        match result {
            Ok(text) => Self::text(text),
            Err(message) => Self::error(message),
        }
    }
}

impl Definition {
    /// A tool that only computes. It reads only its arguments and changes nothing, so the host may run it in parallel and without
    /// approval.
    pub fn pure(name: &str, description: &str, input_schema_json: &str) -> Self {
        Self {
            name: name.to_owned(),
            title: None,
            description: description.to_owned(),
            input_schema_json: input_schema_json.to_owned(),
            output_schema_json: None,
            effects: Effects::READ_ONLY | Effects::IDEMPOTENT,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_outcome_is_marked_and_prefixed() {
        let outcome = Outcome::from(Err::<String, _>("division by zero"));
        assert!(outcome.is_error);
        assert_eq!(outcome.to_text(), "error: division by zero");
    }

    #[test]
    fn pure_tool_declares_no_destruction() {
        let effects = Definition::pure("x", "y", "{}").effects;
        assert!(effects.contains(Effects::READ_ONLY) && !effects.contains(Effects::DESTRUCTIVE));
    }
}
