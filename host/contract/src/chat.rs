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
    /// The message as the client wrote it, where it has more than the fields above: the text of one JSON object. Only
    /// the chat template sees it, with the fields above in the place of its own.
    pub as_sent_json: Option<String>,
}

impl Message {
    /// A message that is only text.
    #[must_use]
    pub fn text(role: Role, content: impl Into<String>) -> Self {
        Self {
            role,
            content: content.into(),
            tool_calls: Vec::new(),
            tool_call_id: None,
            name: None,
            as_sent_json: None,
        }
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
            as_sent_json: None,
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
    /// The entry of the request's `tools` as the client wrote it: the text of one JSON object, which the chat template
    /// sees. `None` for tools of the host, which the template sees as the fields above say.
    pub as_sent_json: Option<String>,
    /// Declared effects.
    pub effects: ToolEffects,
}

/// How a prompt ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PromptEnd {
    /// With the opening of an assistant's turn (`add_generation_prompt`).
    #[default]
    GenerationPrompt,
    /// After the last message: the template adds nothing.
    Conversation,
    /// Inside the last message, which the model continues (`continue_final_message`).
    FinalMessage,
}

/// What a request says to the chat template beside messages and tools.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChatOptions {
    /// How the prompt ends.
    pub end: PromptEnd,
    /// Variables of the template by name (`chat_template_kwargs`): the text of one JSON object. They stand in the place
    /// of special tokens of the same name; the names of what a template always has are refused.
    pub variables_json: Option<String>,
    /// Documents to answer from: the text of a JSON list of objects.
    pub documents_json: Option<String>,
}

impl ChatOptions {
    /// What holds where a request says nothing.
    pub const DEFAULT: Self = Self { end: PromptEnd::GenerationPrompt, variables_json: None, documents_json: None };

    /// The JSON texts of variables and documents.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        [&self.variables_json, &self.documents_json].into_iter().filter_map(|text| text.as_deref())
    }

    /// Bytes of what the template may write of this.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.texts().map(str::len).sum()
    }
}

static DEFAULT_OPTIONS: ChatOptions = ChatOptions::DEFAULT;

/// What a chat template renders.
#[derive(Debug, Clone, Copy)]
pub struct Chat<'a> {
    /// The conversation so far.
    pub messages: &'a [Message],
    /// The tools offered; may be empty.
    pub tools: &'a [ToolDefinition],
    /// What the assistant's turn already begins with, such as the opening of a tool call that must come; usually empty.
    pub prefix: &'a str,
    /// What the request says to the template.
    pub options: &'a ChatOptions,
}

impl<'a> Chat<'a> {
    /// A conversation and its tools, rendered as a request without options has it.
    #[must_use]
    pub fn new(messages: &'a [Message], tools: &'a [ToolDefinition]) -> Self {
        Self { messages, tools, prefix: "", options: &DEFAULT_OPTIONS }
    }
}
