//! A conversation: messages, the tools offered, the calls made.

/// Who said a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Instructions from whoever runs the conversation.
    System,
    /// The person or program that asks.
    User,
    /// The model.
    Assistant,
    /// The result of a tool call.
    Tool,
}

impl Role {
    /// The name chat templates use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }
}

/// A call the model made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolCall {
    /// Unique within the conversation.
    pub id: String,
    /// The tool's name as the model wrote it.
    pub name: String,
    /// The arguments: the text of one JSON object.
    pub arguments_json: String,
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Who said it.
    pub role: Role,
    /// What was said; empty for a message that only calls tools.
    pub content: String,
    /// Calls made by an assistant message, in the order they were made.
    pub tool_calls: Vec<ToolCall>,
    /// For a tool message: the call this answers.
    pub tool_call_id: Option<String>,
    /// For a tool message: the tool's name.
    pub name: Option<String>,
}

impl Message {
    /// A message that is only text.
    #[must_use]
    pub fn text(role: Role, content: impl Into<String>) -> Self {
        Self { role, content: content.into(), tool_calls: Vec::new(), tool_call_id: None, name: None }
    }

    /// The result of `call`.
    #[must_use]
    pub fn tool_result(call: &ToolCall, content: impl Into<String>) -> Self {
        Self {
            role: Role::Tool,
            content: content.into(),
            tool_calls: Vec::new(),
            tool_call_id: Some(call.id.clone()),
            name: Some(call.name.clone()),
        }
    }
}

/// What a tool declares about its effects; the declaration decides what may run in parallel, never the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ToolEffects {
    /// Changes nothing.
    pub read_only: bool,
    /// May destroy something.
    pub destructive: bool,
    /// A second call with the same arguments changes nothing more.
    pub idempotent: bool,
    /// Reaches the world outside the host.
    pub open_world: bool,
}

/// A tool as it is offered to a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolDefinition {
    /// Unique among the tools offered together.
    pub name: String,
    /// What it does, for the model.
    pub description: String,
    /// A name for people; `name` serves where it is absent.
    pub title: Option<String>,
    /// JSON Schema of the arguments: the text of one JSON object.
    pub input_schema_json: String,
    /// JSON Schema of the structured result, where there is one.
    pub output_schema_json: Option<String>,
    /// Declared effects.
    pub effects: ToolEffects,
}

/// What a chat template renders.
#[derive(Debug, Clone, Copy)]
pub struct Chat<'a> {
    /// The conversation so far.
    pub messages: &'a [Message],
    /// The tools offered; may be empty.
    pub tools: &'a [ToolDefinition],
    /// What the assistant's turn already begins with, such as the opening of a tool call that must come; usually empty.
    pub prefix: &'a str,
}
