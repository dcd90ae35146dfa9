//! Text to tokens and back, by the checkpoint's own tokenizer, chat template and generation config.

pub(crate) mod bounded;
mod control;
mod defaults;
pub(crate) mod ends;
mod jinja;
mod stream;
pub(crate) mod template;
mod texts;
pub(crate) mod tokenizer;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use firebox_contract::{Chat, Encoded, Error, SamplingOverrides, TextCodec, TextDecoder, TokenId, TokenTexts, limits};
use tokenizers::Tokenizer;

use crate::checkpoint::Checkpoint;
use crate::codec::bounded::Bounds;
use crate::codec::control::{ANSWER_MARKERS, ControlTokens, MESSAGE_MARKERS};
use crate::codec::stream::{Detokenizer, StreamDecoder};
use crate::codec::template::ChatTemplate;
use crate::codec::tokenizer::Loaded;
use crate::error::ModelError;

/// The codec of one checkpoint.
pub(crate) struct Codec {
    tokenizer: Arc<Tokenizer>,
    /// Path of the tokenizer, for messages.
    file: String,
    template: Option<ChatTemplate>,
    ends: HashSet<TokenId>,
    detokenizer: Arc<Detokenizer>,
    defaults: SamplingOverrides,
    /// The control tokens that text of a conversation must not become. `None` if it may become them.
    control: Option<ControlTokens>,
    /// The control tokens that answers contain as text.
    markers: Vec<(String, TokenId)>,
    /// Read on first use.
    texts: OnceLock<Option<Arc<TokenTexts>>>,
    bounds: Bounds,
    /// Tokens that the model has no row for, and their texts.
    beyond: HashMap<TokenId, String>,
}

/// Disables the library's word cache. Each thread that tokenizes has a cache of 10,000 entries with texts of any
/// tenant, for as long as the thread lives. With a large vocabulary this takes a tenth of a second.
fn forget_texts(tokenizer: &mut Tokenizer) {
    let mut model = tokenizer.get_model().clone();
    model.resize_cache(0);
    tokenizer.with_model(model);
}

/// Options of a codec.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CodecOptions {
    /// Keeps no part of a text in memory after it is tokenized. Loading is slower.
    pub private: bool,
    /// Turns the text of a control token in a message into that token, as transformers does. By default it stays plain
    /// text.
    pub text_control_tokens: bool,
}

impl Codec {
    /// Reads tokenizer, template and generation config.
    ///
    /// # Errors
    /// Names the file that is missing or broken.
    pub(crate) fn load(checkpoint: &Checkpoint, options: CodecOptions) -> Result<Self, ModelError> {
        let mut loaded = tokenizer::load(checkpoint)?;
        if options.private {
            forget_texts(&mut loaded.tokenizer);
        }
        Self::around(loaded, checkpoint, options)
    }

    fn around(loaded: Loaded, checkpoint: &Checkpoint, options: CodecOptions) -> Result<Self, ModelError> {
        let settings = checkpoint.json("tokenizer_config.json")?;
        let Loaded { tokenizer, named, beyond, .. } = loaded;
        let eos = named.iter().find(|(name, _)| name == "eos_token").map(|(_, text)| text.as_str());
        let ends = ends::read(checkpoint, eos, &tokenizer)?;
        let template = ChatTemplate::load(checkpoint, settings.as_ref(), named)?;
        let added = tokenizer.get_added_tokens_decoder();
        // A parser needs the marks of a call or of a thought as text. All other special tokens are structure and not
        // text.
        let is_added = |text: &str| added.values().any(|token| token.content == text);
        let messages = MESSAGE_MARKERS.iter().filter(|marks| marks.iter().take(2).all(|mark| is_added(mark)));
        let messages: HashSet<&str> = messages.flat_map(|marks| marks.iter().copied()).collect();
        let kept = |text: &str| ANSWER_MARKERS.iter().any(|marker| text.contains(marker)) || messages.contains(text);
        let hidden = added.iter().filter(|(_, token)| token.special && !kept(&token.content)).map(|(id, _)| *id);
        let hidden = hidden.collect();
        let marks = added.iter().filter(|(_, token)| token.special && kept(&token.content));
        let markers = marks.map(|(id, token)| (token.content.clone(), *id)).collect();
        let file = checkpoint.source.path_of("tokenizer.json");
        let tokenizer = Arc::new(tokenizer);
        Ok(Self {
            template,
            ends,
            detokenizer: Arc::new(Detokenizer::new(Arc::clone(&tokenizer), hidden, file.clone())),
            defaults: defaults::read(checkpoint)?,
            control: ControlTokens::of(&tokenizer).filter(|_| !options.text_control_tokens),
            markers,
            texts: OnceLock::new(),
            bounds: Bounds::of(&tokenizer),
            beyond,
            tokenizer,
            file,
        })
    }

    fn encode(&self, text: &str, add_special_tokens: bool, max: usize) -> Result<Encoded, ModelError> {
        let encoded = bounded::encode(&self.tokenizer, &self.bounds, text, add_special_tokens, max);
        encoded.map_err(|error| self.failed(&*error))
    }

    /// The tokens, if the model has an embedding for each.
    fn checked(&self, encoded: Encoded) -> Result<Encoded, ModelError> {
        let Encoded::Whole(tokens) = &encoded else { return Ok(encoded) };
        match tokens.iter().find_map(|token| self.beyond.get_key_value(token)) {
            None => Ok(encoded),
            Some((token, text)) => {
                let remedy = "its tokenizer has tokens that were added without the model; leave the text out";
                Err(ModelError::Usage(format!(
                    "the text has the token \"{text}\" ({token}), which the model does not have: {remedy}"
                )))
            }
        }
    }

    fn failed(&self, error: &(dyn std::error::Error + Send + Sync)) -> ModelError {
        ModelError::Tokenizer { file: self.file.clone(), reason: error.to_string() }
    }

    /// A lower bound of a long conversation's tokens, if it certainly has more than `max`. Control tokens in its texts
    /// are not searched for, since that is only needed for a conversation that may fit.
    fn far_more(&self, template: &ChatTemplate, chat: Chat<'_>, max: usize) -> Result<Option<usize>, ModelError> {
        let said = said(chat);
        if said <= bounded::whole_bytes(max) {
            return Ok(None);
        }
        // A short conversation has more bytes only if its template is at fault.
        let bytes = self.bounds.bytes(max).filter(|bytes| said > bytes / 2).unwrap_or(usize::MAX);
        let Some(rendered) = template.render(chat, None, bytes)? else { return Ok(Some(max.saturating_add(1))) };
        let least = bounded::least(&self.tokenizer, &self.bounds, &rendered.text, max);
        least.map_err(|error| self.failed(&*error))
    }
}

impl TextCodec for Codec {
    fn encode_chat(&self, chat: Chat<'_>) -> Result<Vec<TokenId>, Error> {
        whole(self.encode_chat_within(chat, usize::MAX)?)
    }

    fn encode_text(&self, text: &str) -> Result<Vec<TokenId>, Error> {
        whole(self.encode_text_within(text, usize::MAX)?)
    }

    fn encode_markup(&self, text: &str) -> Result<Vec<TokenId>, Error> {
        whole(self.checked(self.encode(text, false, usize::MAX)?)?)
    }

    fn encode_chat_within(&self, chat: Chat<'_>, max: usize) -> Result<Encoded, Error> {
        let Some(template) = &self.template else {
            let reason = "the model has no chat template; ask for a plain completion instead of a chat, or add \
                          chat_template.jinja to the model's folder";
            return Err(ModelError::Conversation(reason.to_owned()).into());
        };
        if let Some(least) = self.far_more(template, chat, max)? {
            return Ok(Encoded::AtLeast(least));
        }
        let control = self.control.as_ref();
        let Some(rendered) = template.render(chat, control, usize::MAX)? else {
            return Ok(Encoded::AtLeast(max.saturating_add(1)));
        };
        if let (Some(control), Some(separator)) = (control, &rendered.separator) {
            let tokens = control.encode(&self.tokenizer, &rendered.text, separator);
            let failed = |reason| ModelError::Tokenizer { file: self.file.clone(), reason };
            return Ok(self.checked(Encoded::Whole(tokens.map_err(failed)?))?);
        }
        // The template writes the special tokens itself.
        Ok(self.checked(self.encode(&rendered.text, false, max)?)?)
    }

    fn encode_text_within(&self, text: &str, max: usize) -> Result<Encoded, Error> {
        if text.len() > limits::CHAT_TEMPLATE_OUTPUT_BYTES_MAX {
            let limit = limits::CHAT_TEMPLATE_OUTPUT_BYTES_MAX;
            return Err(Error::TooLarge(format!("a text of {} bytes is longer than {limit} bytes", text.len())));
        }
        Ok(self.checked(self.encode(text, true, max)?)?)
    }

    fn min_tokens(&self, bytes: usize) -> usize {
        self.bounds.tokens(bytes)
    }

    fn renders_all_user_text(&self) -> bool {
        self.template.as_ref().is_some_and(ChatTemplate::renders_all_user_text)
    }

    fn decoder(&self, prompt: &[TokenId]) -> Box<dyn TextDecoder> {
        Box::new(StreamDecoder::after(Arc::clone(&self.detokenizer), prompt, false))
    }

    fn decoder_with_specials(&self, prompt: &[TokenId]) -> Box<dyn TextDecoder> {
        Box::new(StreamDecoder::after(Arc::clone(&self.detokenizer), prompt, true))
    }

    fn is_end(&self, token: TokenId) -> bool {
        self.ends.contains(&token)
    }

    fn defaults(&self) -> &SamplingOverrides {
        &self.defaults
    }

    fn chat_template(&self) -> Option<&str> {
        self.template.as_ref().map(ChatTemplate::source)
    }

    fn marker_tokens(&self) -> Vec<(String, TokenId)> {
        self.markers.clone()
    }

    fn token_bytes(&self, token: TokenId) -> Vec<u8> {
        self.detokenizer.bytes(token)
    }

    fn token_texts(&self) -> Option<Arc<TokenTexts>> {
        self.texts.get_or_init(|| texts::read(&self.tokenizer, &self.ends).map(Arc::new)).clone()
    }
}

/// Maximum bytes of the text that a template makes of a conversation.
fn said(chat: Chat<'_>) -> usize {
    let calls = chat.messages.iter().flat_map(|message| &message.tool_calls);
    let calls = calls.map(|call| call.id.len() + call.name.len() + call.arguments_json.len());
    let tools = chat.tools.iter();
    let sent = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let tools = tools.map(|tool| {
        let defined = tool.name.len() + tool.description.len() + tool.input_schema_json.len();
        defined.max(sent(&tool.as_sent_json))
    });
    let messages = chat.messages.iter().map(|message| message.content.len().max(sent(&message.as_sent_json)));
    messages.chain(calls).chain(tools).sum::<usize>() + chat.prefix.len() + chat.options.bytes()
}

/// All tokens, for a call without a limit.
fn whole(encoded: Encoded) -> Result<Vec<TokenId>, Error> {
    match encoded {
        Encoded::Whole(tokens) => Ok(tokens),
        Encoded::AtLeast(tokens) => Err(Error::TooLarge(format!("a text of at least {tokens} tokens is too long"))),
    }
}
