//! Models as the engine sees them: token ids in, logits out. A codec converts between text and token ids.

pub mod encoder;
pub mod token_texts;

use std::fmt;
use std::sync::Arc;

use self::token_texts::TokenTexts;
use crate::chat::Chat;
use crate::error::Error;
use crate::generation::sampling::SamplingOverrides;

/// A token of a model's vocabulary.
pub type TokenId = u32;

/// The id of a sequence, which has a KV cache of its own in the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SequenceId(pub u64);

/// The memory of the KV caches of all sequences of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CacheUse {
    /// Bytes in use.
    pub used_bytes: u64,
    /// Maximum number of bytes; 0 if there is no budget.
    pub budget_bytes: u64,
    /// Bytes per token of a sequence.
    pub token_bytes: u64,
    /// Tokens per block: a cache grows by whole blocks.
    pub block_tokens: usize,
}

/// One row of unnormalised scores, `[vocabulary]`.
pub type Logits = Vec<f32>;

/// The properties of a loaded model.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelInfo {
    /// The name in requests.
    pub name: String,
    /// The architecture, as the checkpoint's config names it.
    pub architecture: String,
    /// Number of weights.
    pub parameters: u64,
    /// Maximum number of tokens of a sequence, prompt and answer together.
    pub context_tokens: usize,
    /// Number of token ids.
    pub vocabulary: usize,
    /// The device it runs on, for people.
    pub device: String,
    /// The type of its computations: `f32` or `f16`.
    pub dtype: &'static str,
    /// Bytes of weights on the device.
    pub weights_bytes: u64,
}

/// Tokens to append to one sequence in one step (forward pass).
#[derive(Debug, Clone, Copy)]
pub struct Span<'a> {
    /// The sequence; a new id starts an empty one.
    pub sequence: SequenceId,
    /// At least one token. They are appended to the sequence.
    pub tokens: &'a [TokenId],
    /// Whether the logits after the last token are wanted. Only the last chunk of a prefill needs them.
    pub wants_logits: bool,
}

/// A loaded decoder. It is used from one thread.
pub trait LanguageModel: Send {
    /// Its properties.
    fn info(&self) -> &ModelInfo;

    /// Runs one step: appends each span to its sequence. Returns one result per span, in order: the logits `[vocabulary]`
    /// after its last token, if they are wanted, or the error of that sequence.
    ///
    /// `Error::TooLarge` if a sequence would exceed the context, `Error::Limited` if the cache budget has no room,
    /// `Error::Model` if the device failed. A sequence whose span failed must be released.
    fn forward(&mut self, batch: &[Span<'_>]) -> Vec<Result<Option<Logits>, Error>>;

    /// As [`LanguageModel::forward`], but calls `may_continue` from time to time. When it returns false, a model that can
    /// aborts the step: it returns `None`, and every sequence is as before. A model that cannot completes the step.
    fn forward_while(
        &mut self,
        batch: &[Span<'_>],
        _may_continue: &mut dyn FnMut() -> bool,
    ) -> Option<Vec<Result<Option<Logits>, Error>>> {
        Some(self.forward(batch))
    }

    /// Whether [`LanguageModel::forward_drafts`] computes the logits of drafted tokens, and [`LanguageModel::truncate`]
    /// removes the ones that were refused. Without it the engine drafts no tokens.
    fn verifies_drafts(&self) -> bool {
        false
    }

    /// As [`LanguageModel::forward_while`], for spans whose last tokens may be drafts (speculative decoding, Leviathan et
    /// al. 2023). `drafted` has the number of drafted tokens of each span. A span that wants logits gets a row after each
    /// of its last `drafted + 1` tokens, in order; any other span gets no row.
    fn forward_drafts(
        &mut self,
        batch: &[Span<'_>],
        _drafted: &[usize],
        may_continue: &mut dyn FnMut() -> bool,
    ) -> Option<Vec<Result<Vec<Logits>, Error>>> {
        let results = self.forward_while(batch, may_continue)?;
        Some(results.into_iter().map(|result| Ok(result?.into_iter().collect())).collect())
    }

    /// Frees the KV cache of a sequence. Unknown ids are ignored.
    fn release(&mut self, sequence: SequenceId);

    /// Removes all but the first `tokens` tokens of a sequence. Returns false, and changes nothing, if the model cannot do
    /// that or the sequence has fewer tokens.
    fn truncate(&mut self, _sequence: SequenceId, _tokens: usize) -> bool {
        false
    }

    /// Makes the new sequence `to` with a copy of the first `tokens` tokens of `from`. Returns false, and makes no
    /// sequence, if the model cannot do that, `from` has fewer tokens, or there is no room.
    fn fork(&mut self, _from: SequenceId, _to: SequenceId, _tokens: usize) -> bool {
        false
    }

    /// Prompt lengths that use kernels of their own, which the device compiles at their first use. The warm-up runs one
    /// prefill of each length and two decode steps after it.
    fn kernel_sizes(&self) -> &'static [usize] {
        &[]
    }

    /// The memory of all KV caches.
    fn cache_use(&self) -> CacheUse {
        CacheUse::default()
    }
}

/// The tokens of a text, or a lower bound if the text is far too long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Encoded {
    /// All tokens.
    Whole(Vec<TokenId>),
    /// The text has at least this many tokens, which is above the maximum that was asked for. It was not tokenized to its
    /// end.
    AtLeast(usize),
}

impl Encoded {
    /// The number of tokens.
    #[must_use]
    pub fn count(&self) -> TokenCount {
        match self {
            Self::Whole(tokens) => TokenCount { tokens: tokens.len(), exact: true },
            Self::AtLeast(tokens) => TokenCount { tokens: *tokens, exact: false },
        }
    }
}

/// The number of tokens of a text, exact or as a lower bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenCount {
    /// The number, or a lower bound.
    pub tokens: usize,
    /// Whether the number is exact.
    pub exact: bool,
}

impl fmt::Display for TokenCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let least = if self.exact { "" } else { "at least " };
        write!(f, "{least}{} tokens", self.tokens)
    }
}

/// Converts between text and tokens with the checkpoint's tokenizer, chat template and generation config.
pub trait TextCodec: Send + Sync {
    /// Renders a conversation with the checkpoint's chat template and tokenizes the result.
    ///
    /// # Errors
    /// `Error::Model` if the checkpoint has no template, or the template fails or exceeds its fuel.
    fn encode_chat(&self, chat: Chat<'_>) -> Result<Vec<TokenId>, Error>;

    /// Tokenizes a text, with the special tokens that the tokenizer adds.
    ///
    /// # Errors
    /// `Error::Model` if the tokenizer fails.
    fn encode_text(&self, text: &str) -> Result<Vec<TokenId>, Error>;

    /// Tokenizes a piece of a template's text, such as a mark: special tokens in it are recognised, and none are added.
    ///
    /// # Errors
    /// `Error::Model` if the tokenizer fails.
    fn encode_markup(&self, text: &str) -> Result<Vec<TokenId>, Error> {
        self.encode_text(text)
    }

    /// As [`TextCodec::encode_chat`], but stops early if the conversation has far more than `max` tokens.
    ///
    /// # Errors
    /// As [`TextCodec::encode_chat`].
    fn encode_chat_within(&self, chat: Chat<'_>, _max: usize) -> Result<Encoded, Error> {
        self.encode_chat(chat).map(Encoded::Whole)
    }

    /// As [`TextCodec::encode_text`], but stops early if the text has far more than `max` tokens.
    ///
    /// # Errors
    /// As [`TextCodec::encode_text`].
    fn encode_text_within(&self, text: &str, _max: usize) -> Result<Encoded, Error> {
        self.encode_text(text).map(Encoded::Whole)
    }

    /// A lower bound of the tokens of a text with `bytes` bytes; 0 if none is known.
    fn min_tokens(&self, _bytes: usize) -> usize {
        0
    }

    /// Whether the chat template renders the whole text of user messages, except white space around it.
    fn renders_all_user_text(&self) -> bool {
        false
    }

    /// An incremental decoder for the tokens after `prompt`. Its texts together are the text of prompt and answer without
    /// the text of the prompt.
    fn decoder(&self, prompt: &[TokenId]) -> Box<dyn TextDecoder>;

    /// As [`TextCodec::decoder`], but decodes special tokens as text too, if the codec can.
    fn decoder_with_specials(&self, prompt: &[TokenId]) -> Box<dyn TextDecoder> {
        self.decoder(prompt)
    }

    /// Whether this token ends an answer, according to tokenizer and generation config.
    fn is_end(&self, token: TokenId) -> bool;

    /// The checkpoint's sampling defaults (`generation_config.json`).
    fn defaults(&self) -> &SamplingOverrides;

    /// The source of the chat template, which determines the tool-call format.
    fn chat_template(&self) -> Option<&str>;

    /// The control tokens that mark tool calls, which [`TextCodec::decoder`] decodes as text, each with its text.
    fn marker_tokens(&self) -> Vec<(String, TokenId)> {
        Vec::new()
    }

    /// The text of one token as bytes. A token may be a part of a character.
    fn token_bytes(&self, token: TokenId) -> Vec<u8> {
        let mut decoder = self.decoder_with_specials(&[]);
        let text = decoder.push(token).unwrap_or_default() + &decoder.finish().unwrap_or_default();
        text.into_bytes()
    }

    /// The texts of the tokens, for token healing and grammars. `None` if they are not known; then forced openings are not
    /// healed, and answers are not kept to a grammar.
    fn token_texts(&self) -> Option<Arc<TokenTexts>> {
        None
    }
}

/// Decodes tokens one by one. It never returns a part of a character.
pub trait TextDecoder: Send {
    /// The text that this token completes; may be empty.
    ///
    /// # Errors
    /// `Error::Model` if the tokenizer fails.
    fn push(&mut self, token: TokenId) -> Result<String, Error>;

    /// The text that was held back, without an incomplete character.
    ///
    /// # Errors
    /// `Error::Model` if the tokenizer fails.
    fn finish(&mut self) -> Result<String, Error>;
}
