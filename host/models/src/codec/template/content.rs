//! Detects whether a template expects the content of a message as text or as a list of parts.

use firebox_contract::Role;
use serde_json::{Value, json};

/// The form of content that a template writes for messages of one role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum ContentForm {
    /// It writes text, and cannot write parts.
    #[default]
    Text,
    /// It writes the texts of parts, and cannot write a text.
    Parts,
    /// It writes both: content stays as the client sent it.
    Either,
}

/// The form for each role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct ContentForms {
    pub(super) system: ContentForm,
    pub(super) user: ContentForm,
    pub(super) assistant: ContentForm,
    pub(super) tool: ContentForm,
}

impl ContentForms {
    pub(super) fn of(self, role: Role) -> ContentForm {
        match role {
            Role::System => self.system,
            Role::User => self.user,
            Role::Assistant => self.assistant,
            Role::Tool => self.tool,
        }
    }

    pub(super) fn of_mut(&mut self, role: Role) -> &mut ContentForm {
        match role {
            Role::System => &mut self.system,
            Role::User => &mut self.user,
            Role::Assistant => &mut self.assistant,
            Role::Tool => &mut self.tool,
        }
    }
}

impl ContentForm {
    /// The content of a message with the text `text`, which the client sent as `sent`.
    pub(super) fn content(self, text: &str, sent: Option<&Value>) -> Value {
        let parts = sent.filter(|sent| text_of(sent).as_deref() == Some(text));
        match (self, parts) {
            (Self::Parts | Self::Either, Some(parts)) => parts.clone(),
            (Self::Parts, None) => json!([{ "type": "text", "text": text }]),
            (Self::Text, _) | (Self::Either, None) => Value::from(text),
        }
    }

    /// The form, derived from a template's output for a message with the text `text`, once as text and once as one
    /// part.
    pub(super) fn detect(text: &str, of_text: Option<&str>, of_parts: Option<&str>) -> Self {
        let writes_text = of_text.is_some_and(|written| written.contains(text));
        // A template without support for parts writes the list itself.
        let writes_parts = of_parts.is_some_and(|written| {
            written.contains(text) && !["'text':", "\"text\":"].iter().any(|key| written.contains(key))
        });
        match (writes_text, writes_parts) {
            (true, true) => Self::Either,
            (false, true) => Self::Parts,
            _ => Self::Text,
        }
    }
}

/// The text of a list of parts.
fn text_of(parts: &Value) -> Option<String> {
    let text = |part: &Value| {
        let text = part.get("text").or_else(|| part.get("refusal"))?.as_str()?;
        Some(text.to_owned())
    };
    parts.as_array()?.iter().map(text).collect()
}
