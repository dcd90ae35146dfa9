//! What a model is to the engine: token ids in, logits out. Text exists only on the other side of a codec.

use std::fmt;
use std::sync::Arc;

use crate::chat::Chat;
use crate::error::Error;
use crate::sampling::SamplingOverrides;
use crate::texts::TokenTexts;

/// A token of a model's vocabulary.
pub type TokenId = u32;

/// Names one sequence (one request's cache) inside a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SequenceId(pub u64);

/// Keys and values of all sequences of a model together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CacheUse {
    /// Bytes held now.
    pub used_bytes: u64,
    /// Bytes that may be held.
    pub budget_bytes: u64,
    /// Bytes of one token of one sequence.
    pub token_bytes: u64,
    /// Tokens a cache grows by.
    pub block_tokens: usize,
}

/// One row of unnormalised scores, `[vocabulary]`.
pub type Logits = Vec<f32>;

/// What a loaded model is.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelInfo {
    /// The name it is asked for by.
    pub name: String,
    /// The architecture as the checkpoint's config names it.
    pub architecture: String,
    /// Number of weights.
    pub parameters: u64,
    /// Tokens a sequence may have in all, prompt and answer.
    pub context_tokens: usize,
    /// Number of token ids.
    pub vocabulary: usize,
    /// The device it runs on, for people.
    pub device: String,
    /// The type it computes in: `f32` or `f16`.
    pub dtype: &'static str,
    /// Bytes of weights on the device.
    pub weights_bytes: u64,
}

/// Tokens to append to one sequence in one forward pass.
#[derive(Debug, Clone, Copy)]
pub struct Span<'a> {
    /// The sequence; a new id starts an empty one.
    pub sequence: SequenceId,
    /// At least one token; they follow what the sequence already holds.
    pub tokens: &'a [TokenId],
    /// Whether the logits after the last token are wanted; a prefill chunk that is not the last has no use for them.
    pub wants_logits: bool,
}

/// A loaded decoder. Object-safe; burn ends here. Lives on one thread.
pub trait LanguageModel: Send {
    /// What it is.
    fn info(&self) -> &ModelInfo;

    /// Appends each span to its sequence and returns, in order, the logits `[vocabulary]` after its last token
    /// where they were wanted: one result a span, so that one sequence's failure is its own.
    ///
    /// `Error::Refused` when a sequence would pass the context or the cache budget; `Error::Model` when the device
    /// failed. A sequence whose span failed must be released.
    fn forward(&mut self, batch: &[Span<'_>]) -> Vec<Result<Option<Logits>, Error>>;

    /// As `forward`, asking `goes_on` now and then on the way. When that says no, a model that can gives the pass up:
    /// `None`, and every sequence is as it was before. One that cannot goes on to the end.
    fn forward_while(
        &mut self,
        batch: &[Span<'_>],
        _goes_on: &mut dyn FnMut() -> bool,
    ) -> Option<Vec<Result<Option<Logits>, Error>>> {
        Some(self.forward(batch))
    }

    /// Frees a sequence's cache. Unknown ids are ignored.
    fn release(&mut self, sequence: SequenceId);

    /// Forgets all but the first `tokens` positions of a sequence, which can then go on from there. False where the
    /// model cannot, or the sequence has fewer; nothing has changed then.
    fn truncate(&mut self, _sequence: SequenceId, _tokens: usize) -> bool {
        false
    }

    /// Starts the new sequence `to` with a copy of the first `tokens` positions of `from`. False where the model
    /// cannot, `from` has fewer, or there is no room; there is no sequence `to` then.
    fn fork(&mut self, _from: SequenceId, _to: SequenceId, _tokens: usize) -> bool {
        false
    }

    /// Tokens of passes that use kernels of their own, or after which steps do, which a device compiles at their first use: a
    /// server runs one of each, and two steps after it, before anybody asks.
    fn kernel_sizes(&self) -> &'static [usize] {
        &[]
    }

    /// What the caches of all sequences use now.
    fn cache_use(&self) -> CacheUse {
        CacheUse::default()
    }
}

/// The tokens of a text, unless there are far more than was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Encoded {
    /// All of them.
    Whole(Vec<TokenId>),
    /// The text has at least so many tokens, which is more than was asked for; its end was not looked at.
    AtLeast(usize),
}

impl Encoded {
    /// How many there are.
    #[must_use]
    pub fn count(&self) -> TokenCount {
        match self {
            Self::Whole(tokens) => TokenCount { tokens: tokens.len(), exact: true },
            Self::AtLeast(tokens) => TokenCount { tokens: *tokens, exact: false },
        }
    }
}

/// How many tokens a text has, for decisions and for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenCount {
    /// Tokens it has, or has at least.
    pub tokens: usize,
    /// Whether all of it was counted.
    pub exact: bool,
}

impl fmt::Display for TokenCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let least = if self.exact { "" } else { "at least " };
        write!(f, "{least}{} tokens", self.tokens)
    }
}

/// Text to tokens and back, by the checkpoint's own tokenizer, template and generation config.
pub trait TextCodec: Send + Sync {
    /// Renders the checkpoint's chat template with the generation prompt and tokenizes the result.
    ///
    /// # Errors
    /// `Error::Model` when the checkpoint has no template or the template fails or runs out of its fuel.
    fn encode_chat(&self, chat: Chat<'_>) -> Result<Vec<TokenId>, Error>;

    /// Tokenizes bare text, with the special tokens the tokenizer itself adds.
    ///
    /// # Errors
    /// `Error::Model` when the tokenizer fails.
    fn encode_text(&self, text: &str) -> Result<Vec<TokenId>, Error>;

    /// As [`TextCodec::encode_chat`], ending early where the conversation has far more than `max` tokens.
    ///
    /// # Errors
    /// As there.
    fn encode_chat_within(&self, chat: Chat<'_>, _max: usize) -> Result<Encoded, Error> {
        self.encode_chat(chat).map(Encoded::Whole)
    }

    /// As [`TextCodec::encode_text`], ending early where the text has far more than `max` tokens.
    ///
    /// # Errors
    /// As there.
    fn encode_text_within(&self, text: &str, _max: usize) -> Result<Encoded, Error> {
        self.encode_text(text).map(Encoded::Whole)
    }

    /// Tokens that a text of so many bytes has at least; 0 where the bytes tell nothing.
    fn least_tokens(&self, _bytes: usize) -> usize {
        0
    }

    /// Whether the chat template writes all that users say, but for spaces around it.
    fn keeps_questions(&self) -> bool {
        false
    }

    /// A fresh incremental decoder for what comes after `prompt`: all its texts together are the text of prompt and answer
    /// without that of the prompt.
    fn decoder(&self, prompt: &[TokenId]) -> Box<dyn TextDecoder>;

    /// As [`TextCodec::decoder`], with the special tokens as text too, where the codec can do that.
    fn decoder_with_specials(&self, prompt: &[TokenId]) -> Box<dyn TextDecoder> {
        self.decoder(prompt)
    }

    /// Whether this token ends an answer, by tokenizer and generation config.
    fn is_end(&self, token: TokenId) -> bool;

    /// The checkpoint's own sampling defaults (`generation_config.json`).
    fn defaults(&self) -> &SamplingOverrides;

    /// The source of the chat template, from which the tool-call format is told.
    fn chat_template(&self) -> Option<&str>;

    /// What the tokens are as text; the same for the life of the codec. `None` where that is not known, and then the
    /// end of a forced opening stays as it was tokenized.
    fn token_texts(&self) -> Option<Arc<TokenTexts>> {
        None
    }
}

/// Turns tokens into text as they come. Never yields half a character.
pub trait TextDecoder: Send {
    /// The text this token completes; may be empty.
    ///
    /// # Errors
    /// `Error::Model` when the tokenizer fails.
    fn push(&mut self, token: TokenId) -> Result<String, Error>;

    /// What was held back, but for the beginning of a character that nothing completed.
    ///
    /// # Errors
    /// `Error::Model` when the tokenizer fails.
    fn finish(&mut self) -> Result<String, Error>;
}
