//! A conversation: its messages, the offered tools and the calls.

pub mod json;

/// The author of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Instructions for the model.
    System,
    /// The user.
    User,
    /// The model.
    Assistant,
    /// The result of a tool call.
    Tool,
}

impl Role {
    /// The name that chat templates use.
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

/// A tool call of the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolCall {
    /// Unique within the conversation.
    pub id: String,
    /// The tool's name, as the model wrote it.
    pub name: String,
    /// The arguments, as the text of a JSON object.
    pub arguments_json: String,
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its author.
    pub role: Role,
    /// Its text; empty if the message only calls tools.
    pub content: String,
    /// The calls of an assistant message, in order.
    pub tool_calls: Vec<ToolCall>,
    /// For a tool message: the id of the call that it answers.
    pub tool_call_id: Option<String>,
    /// For a tool message: the tool's name.
    pub name: Option<String>,
    /// The message as the client sent it, as the text of a JSON object, if it has more members than the fields above. Only
    /// the chat template uses it; the fields above override its members.
    pub as_sent_json: Option<String>,
}

impl Message {
    /// A message with text only.
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

/// The effects that a tool declares. They decide which calls run in parallel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ToolEffects {
    /// It changes nothing.
    pub read_only: bool,
    /// It may delete or overwrite data.
    pub destructive: bool,
    /// A second call with the same arguments changes nothing more.
    pub idempotent: bool,
    /// It reaches systems outside of the host.
    pub open_world: bool,
}

/// A tool that is offered to a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolDefinition {
    /// Unique among the tools of a request.
    pub name: String,
    /// Its description, for the model.
    pub description: String,
    /// A title for people; the default is `name`.
    pub title: Option<String>,
    /// JSON Schema of the arguments, as the text of a JSON object.
    pub input_schema_json: String,
    /// JSON Schema of the structured result, if it has one.
    pub output_schema_json: Option<String>,
    /// The entry of the request's `tools` as the client sent it, as the text of a JSON object, for the chat template.
    /// `None` for tools of the host, which the template gets from the fields above.
    pub as_sent_json: Option<String>,
    /// The declared effects.
    pub effects: ToolEffects,
}

/// The end of a rendered prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PromptEnd {
    /// The opening of an assistant turn (`add_generation_prompt`).
    #[default]
    GenerationPrompt,
    /// The last message, complete.
    Conversation,
    /// The last message, open: the model continues it (`continue_final_message`).
    FinalMessage,
}

/// Options of a request for the chat template.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChatOptions {
    /// The end of the prompt.
    pub end: PromptEnd,
    /// Variables of the template by name (`chat_template_kwargs`), as the text of a JSON object. They override special
    /// tokens of the same name. The names of built-in variables are refused.
    pub variables_json: Option<String>,
    /// Documents to answer from, as the text of a JSON list of objects.
    pub documents_json: Option<String>,
}

impl ChatOptions {
    /// The options of a request that sets none.
    pub const DEFAULT: Self = Self { end: PromptEnd::GenerationPrompt, variables_json: None, documents_json: None };

    /// The JSON texts of variables and documents.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        [&self.variables_json, &self.documents_json].into_iter().filter_map(|text| text.as_deref())
    }

    /// Bytes of these options that the template may write.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.texts().map(str::len).sum()
    }
}

static DEFAULT_OPTIONS: ChatOptions = ChatOptions::DEFAULT;

/// The input of a chat template.
#[derive(Debug, Clone, Copy)]
pub struct Chat<'a> {
    /// The conversation so far.
    pub messages: &'a [Message],
    /// The offered tools; may be empty.
    pub tools: &'a [ToolDefinition],
    /// The text that the assistant turn begins with, such as the opening of a forced tool call; usually empty.
    pub prefix: &'a str,
    /// The request's options.
    pub options: &'a ChatOptions,
}

impl<'a> Chat<'a> {
    /// A conversation and its tools, with default options.
    #[must_use]
    pub fn new(messages: &'a [Message], tools: &'a [ToolDefinition]) -> Self {
        Self { messages, tools, prefix: "", options: &DEFAULT_OPTIONS }
    }
}
