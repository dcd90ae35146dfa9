//! Prompts to tokens: what cannot fit is refused by its bytes, and what is long is tokenized off the threads that serve.

use std::sync::Arc;

use firebox_contract::{
    Chat, ChatOptions, Encoded, Error, Message, Prompt, Role, TenantId, TextCodec, TokenCount, ToolDefinition,
    json_values, limits,
};

use crate::permits::TenantPermits;

/// What is to be tokenized.
pub(crate) struct Text {
    pub(crate) codec: Arc<dyn TextCodec>,
    pub(crate) prompt: Arc<Prompt>,
    pub(crate) options: Arc<ChatOptions>,
    pub(crate) tools: Arc<Vec<ToolDefinition>>,
    pub(crate) prefix: String,
}

impl Text {
    /// Its tokens, where it may have `max` of them or fewer.
    ///
    /// # Errors
    /// `Error::Usage` for an empty prompt, `Error::Model` for a template or tokenizer that fails.
    pub(crate) async fn encode(self, permits: &TenantPermits, tenant: &TenantId, max: usize) -> Result<Encoded, Error> {
        let encoded = match self.bytes() <= limits::TOKENIZE_INLINE_BYTES {
            true => self.encode_here(max)?,
            false => permits.run(tenant, move || self.encode_here(max)).await??,
        };
        match encoded {
            Encoded::Whole(tokens) if tokens.is_empty() => {
                Err(Error::Usage("the prompt is empty; give the model something to go on with".to_owned()))
            }
            encoded => Ok(encoded),
        }
    }

    fn encode_here(&self, max: usize) -> Result<Encoded, Error> {
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

/// The prompt does not fit; `tools` says whose tools take much of the context, where they do.
pub(crate) fn too_long(count: TokenCount, context: usize, tools: &str) -> Error {
    Error::TooLarge(format!(
        "the prompt has {count} and the context holds {context}, of which one must be left for the answer{tools}; shorten the prompt"
    ))
}

/// Refuses what is too large whatever the model, and what by its bytes alone does not fit into the context.
///
/// # Errors
/// `Error::TooLarge` for that, `Error::Usage` for a prompt without anything.
pub(crate) fn check_size(
    prompt: &Prompt,
    options: &ChatOptions,
    codec: &dyn TextCodec,
    context: usize,
) -> Result<(), Error> {
    let (bytes, messages) = (
        prompt_bytes(prompt),
        match prompt {
            Prompt::Chat(messages) => messages.as_slice(),
            Prompt::Text(_) => &[],
        },
    );
    if bytes + options.bytes() > limits::PROMPT_BYTES_MAX {
        let bytes = bytes + options.bytes();
        return Err(Error::TooLarge(format!(
            "the prompt has {bytes} bytes, at most {} are allowed",
            limits::PROMPT_BYTES_MAX
        )));
    }
    if bytes == 0 {
        return Err(Error::Usage("the prompt is empty; write a question".to_owned()));
    }
    if messages.len() > limits::MESSAGES_MAX {
        let (count, max) = (messages.len(), limits::MESSAGES_MAX);
        return Err(Error::TooLarge(format!("the conversation has {count} messages, at most {max} are allowed")));
    }
    check_values(messages, options)?;
    let tokens = least_tokens(codec, prompt);
    if tokens >= context { Err(too_long(TokenCount { tokens, exact: false }, context, "")) } else { Ok(()) }
}

/// The template gets arguments of calls, messages as clients wrote them, variables and documents as values, each of which
/// takes many times its text.
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

/// Tokens that a prompt has at least, told from its bytes; 0 where they tell nothing. Of what others than users say a template
/// may leave something out.
fn least_tokens(codec: &dyn TextCodec, prompt: &Prompt) -> usize {
    match prompt {
        Prompt::Text(text) => codec.least_tokens(text.len()),
        Prompt::Chat(messages) if codec.keeps_questions() => codec.least_tokens(question_bytes(messages)),
        Prompt::Chat(_) => 0,
    }
}

/// Bytes of what users say in these messages, without the spaces around it.
pub fn question_bytes<'a>(messages: impl IntoIterator<Item = &'a Message>) -> usize {
    let questions = messages.into_iter().filter(|message| message.role == Role::User);
    questions.map(|message| message.content.trim().len()).sum()
}

/// Bytes of what a template may write of a prompt.
#[must_use]
pub fn prompt_bytes(prompt: &Prompt) -> usize {
    match prompt {
        Prompt::Chat(messages) => messages.iter().map(message_bytes).sum(),
        Prompt::Text(text) => text.len(),
    }
}

fn message_bytes(message: &Message) -> usize {
    let calls = message.tool_calls.iter().map(|call| call.name.len() + call.arguments_json.len());
    let sent = message.as_sent_json.as_ref().map_or(0, String::len);
    message.content.len().max(sent) + calls.sum::<usize>()
}
