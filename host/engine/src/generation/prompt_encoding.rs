//! From a prompt to tokens. Prompts that cannot fit are refused by their bytes, and long ones are tokenized on blocking
//! threads.

use std::sync::Arc;

use firebox_contract::{
    Chat, ChatOptions, Encoded, Error, Message, Prompt, Role, TenantId, TextCodec, TokenCount, ToolDefinition,
    json_values, limits,
};

use crate::admission::tenant_permits::TenantPermits;

/// A prompt with everything that its tokens depend on.
pub(crate) struct PromptInput {
    pub(crate) codec: Arc<dyn TextCodec>,
    pub(crate) prompt: Arc<Prompt>,
    pub(crate) options: Arc<ChatOptions>,
    pub(crate) tools: Arc<Vec<ToolDefinition>>,
    pub(crate) prefix: String,
}

impl PromptInput {
    /// Its tokens, or a lower bound if there are far more than `max`. Prompts of more than `TOKENIZE_INLINE_BYTES` are
    /// tokenized on a blocking thread.
    ///
    /// # Errors
    /// `Error::Usage` for an empty prompt, `Error::Model` if the template or the tokenizer fails.
    pub(crate) async fn encode(self, permits: &TenantPermits, tenant: &TenantId, max: usize) -> Result<Encoded, Error> {
        let encoded = match self.bytes() <= limits::TOKENIZE_INLINE_BYTES {
            true => self.encode_now(max)?,
            false => permits.run(tenant, move || self.encode_now(max)).await??,
        };
        match encoded {
            Encoded::Whole(tokens) if tokens.is_empty() => {
                Err(Error::Usage("the prompt is empty; send a text for the model to continue".to_owned()))
            }
            encoded => Ok(encoded),
        }
    }

    fn encode_now(&self, max: usize) -> Result<Encoded, Error> {
        let (tools, prefix, options) = (self.tools.as_slice(), self.prefix.as_str(), &*self.options);
        match &*self.prompt {
            Prompt::Chat(messages) => self.codec.encode_chat_within(Chat { messages, tools, prefix, options }, max),
            Prompt::Text(text) => self.codec.encode_text_within(text, max),
        }
    }

    fn bytes(&self) -> usize {
        let sent = |tool: &ToolDefinition| tool.as_sent_json.as_ref().map_or(0, String::len);
        let tools = self.tools.iter().map(|tool| sent(tool).max(tool.description.len() + tool.input_schema_json.len()));
        prompt_bytes(&self.prompt) + self.options.bytes() + tools.sum::<usize>()
    }
}

/// The error of a prompt that does not fit. `tools` is a clause about providers whose tools take much of the context, or
/// empty.
pub(crate) fn too_long(count: TokenCount, context: usize, tools: &str) -> Error {
    Error::TooLarge(format!(
        "the prompt has {count} and the context holds {context}, of which one must be left for the answer{tools}; shorten the prompt"
    ))
}

/// Refuses a prompt that exceeds a limit of bytes, messages or values, or that cannot fit into the context by its bytes.
///
/// # Errors
/// `Error::TooLarge` for such a prompt, `Error::Usage` for an empty one.
pub(crate) fn check_size(
    prompt: &Prompt,
    options: &ChatOptions,
    codec: &dyn TextCodec,
    context: usize,
) -> Result<(), Error> {
    let messages = match prompt {
        Prompt::Chat(messages) => messages.as_slice(),
        Prompt::Text(_) => &[],
    };
    let prompt_bytes = prompt_bytes(prompt);
    let bytes = prompt_bytes + options.bytes();
    if bytes > limits::PROMPT_BYTES_MAX {
        let max = limits::PROMPT_BYTES_MAX;
        return Err(Error::TooLarge(format!("the prompt has {bytes} bytes, at most {max} are allowed")));
    }
    if prompt_bytes == 0 {
        return Err(Error::Usage("the prompt is empty; write a question".to_owned()));
    }
    if messages.len() > limits::MESSAGES_MAX {
        let (count, max) = (messages.len(), limits::MESSAGES_MAX);
        return Err(Error::TooLarge(format!("the conversation has {count} messages, at most {max} are allowed")));
    }
    check_values(messages, options)?;
    let tokens = min_tokens(codec, prompt);
    if tokens >= context { Err(too_long(TokenCount { tokens, exact: false }, context, "")) } else { Ok(()) }
}

/// Refuses a conversation with more than `JSON_VALUES_MAX` JSON values. The template gets the arguments of calls,
/// messages as sent, variables and documents as parsed values, which take many times the memory of their text.
fn check_values(messages: &[Message], options: &ChatOptions) -> Result<(), Error> {
    let calls = messages.iter().flat_map(|message| &message.tool_calls).map(|call| call.arguments_json.as_str());
    let sent = messages.iter().filter_map(|message| message.as_sent_json.as_deref());
    let mut left = limits::JSON_VALUES_MAX;
    for text in calls.chain(sent).chain(options.texts()) {
        let values = json_values(text.as_bytes(), left);
        left = left.checked_sub(values).ok_or_else(|| {
            let max = limits::JSON_VALUES_MAX;
            Error::TooLarge(format!(
                "tool calls, variables and documents of the conversation have more than {max} values; leave some out"
            ))
        })?;
    }
    Ok(())
}

/// A lower bound of a prompt's tokens, from its bytes; 0 if the bytes give none. Only user text counts: a template may
/// leave out other text.
fn min_tokens(codec: &dyn TextCodec, prompt: &Prompt) -> usize {
    match prompt {
        Prompt::Text(text) => codec.min_tokens(text.len()),
        Prompt::Chat(messages) if codec.renders_all_user_text() => codec.min_tokens(user_text_bytes(messages)),
        Prompt::Chat(_) => 0,
    }
}

/// Bytes of the user messages, without leading and trailing white space.
pub fn user_text_bytes<'a>(messages: impl IntoIterator<Item = &'a Message>) -> usize {
    let users = messages.into_iter().filter(|message| message.role == Role::User);
    users.map(|message| message.content.trim().len()).sum()
}

/// Bytes of a prompt that a template may write.
#[must_use]
pub fn prompt_bytes(prompt: &Prompt) -> usize {
    match prompt {
        Prompt::Chat(messages) => messages.iter().map(message_bytes).sum(),
        Prompt::Text(text) => text.len(),
    }
}

/// Bytes of a message that a template may write.
#[must_use]
pub fn message_bytes(message: &Message) -> usize {
    let calls = message.tool_calls.iter().map(|call| call.name.len() + call.arguments_json.len());
    let sent = message.as_sent_json.as_ref().map_or(0, String::len);
    message.content.len().max(sent) + calls.sum::<usize>()
}

/// Bytes of a tool's definition that a template may write.
#[must_use]
pub fn tool_bytes(tool: &ToolDefinition) -> usize {
    let sent = tool.as_sent_json.as_ref().map_or(0, String::len);
    tool.name.len() + tool.description.len() + tool.input_schema_json.len().max(sent)
}
