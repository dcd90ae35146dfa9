//! Tokens to text, one at a time, never half a character.
//!
//! It uses the window of Hugging Face's text-generation-inference and vLLM (`detokenize_incrementally`): the tokens
//! since the last complete text are decoded together with the tokens before them, because the text of a token depends
//! on its neighbours (byte fallback, leading spaces). Only the new text is returned. The window begins with the end of
//! the prompt, so that an answer is the text of prompt and answer without the text of the prompt.

use std::collections::HashSet;
use std::sync::Arc;

use firebox_contract::{Error, TextDecoder, TokenId};
use tokenizers::Tokenizer;

use crate::codec::texts::TokenEncoding;
use crate::error::ModelError;

/// The character that decoders write for bytes that are not (yet) a character.
const REPLACEMENT: char = '\u{FFFD}';
/// Bytes of the longest character.
const CHARACTER_BYTES_MAX: usize = 4;
/// Maximum tokens that are held back if their bytes are not known: a longer run is not an incomplete character.
const HELD_TOKENS_MAX: usize = 16;
/// Tokens of the prompt at the beginning of the window: enough that no decoder takes the answer's first token for the
/// first token of a text.
const PROMPT_TOKENS: usize = 8;

/// The properties that all answers of a tokenizer share.
pub(super) struct Detokenizer {
    tokenizer: Arc<Tokenizer>,
    /// Special tokens that are not text.
    hidden: HashSet<TokenId>,
    encoding: Option<TokenEncoding>,
    /// Path of the tokenizer, for messages.
    file: String,
}

impl Detokenizer {
    pub(super) fn new(tokenizer: Arc<Tokenizer>, hidden: HashSet<TokenId>, file: String) -> Self {
        Self { encoding: TokenEncoding::of_tokenizer(&tokenizer), tokenizer, hidden, file }
    }

    /// The text of one token as bytes, control tokens included. Empty for an unknown token.
    pub(super) fn bytes(&self, token: TokenId) -> Vec<u8> {
        let Some(written) = self.tokenizer.id_to_token(token) else { return Vec::new() };
        let is_added = self.tokenizer.get_added_vocabulary().simple_id_to_token(token).is_some();
        match &self.encoding {
            Some(encoding) if !is_added => encoding.bytes(&written),
            Some(_) => written.into_bytes(),
            None => self.decode(&[token]).unwrap_or_default().into_bytes(),
        }
    }

    fn decode(&self, tokens: &[TokenId]) -> Result<String, ModelError> {
        let failed =
            |error: tokenizers::Error| ModelError::Tokenizer { file: self.file.clone(), reason: error.to_string() };
        self.tokenizer.decode(tokens, false).map_err(failed)
    }

    /// The last text tokens of `prompt`, starting at the beginning of a character.
    fn end_of(&self, prompt: &[TokenId], shows_specials: bool) -> Vec<TokenId> {
        let text = prompt.iter().rev().filter(|token| shows_specials || !self.hidden.contains(token));
        let mut end: Vec<TokenId> = text.take(PROMPT_TOKENS).copied().collect();
        end.reverse();
        let is_whole = |from: &usize| {
            end.get(*from..).is_some_and(|tokens| self.decode(tokens).is_ok_and(|text| !text.starts_with(REPLACEMENT)))
        };
        let from = (0..CHARACTER_BYTES_MAX).find(is_whole).unwrap_or_default();
        end.split_off(from)
    }

    /// The number of characters at the end of `text`, the text of `tokens`, that stand for an incomplete character.
    fn unfinished(&self, tokens: &[TokenId], text: &str) -> usize {
        let replaced = text.chars().rev().take_while(|letter| *letter == REPLACEMENT).count();
        match &self.encoding {
            _ if replaced == 0 => 0,
            None => replaced,
            Some(encoding) => encoding.replacements(unfinished_bytes(&self.last_bytes(encoding, tokens))).min(replaced),
        }
    }

    /// The last bytes of `tokens`: at least as many as the longest character has.
    fn last_bytes(&self, encoding: &TokenEncoding, tokens: &[TokenId]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for token in tokens.iter().rev() {
            if bytes.len() >= CHARACTER_BYTES_MAX {
                break;
            }
            let own = self.tokenizer.id_to_token(*token).map(|written| encoding.bytes(&written)).unwrap_or_default();
            bytes.splice(..0, own);
        }
        bytes
    }

    /// Whether `token` is a byte and follows bytes at the end of `context` that are not a character.
    fn spoils(&self, context: &[TokenId], token: TokenId) -> bool {
        let Some(encoding) = &self.encoding else { return false };
        let is_byte = self.tokenizer.id_to_token(token).is_some_and(|written| encoding.is_fallback_byte(&written));
        is_byte && !self.last_bytes(encoding, context).ends_with(REPLACEMENT.encode_utf8(&mut [0; 4]).as_bytes())
    }
}

/// The number of bytes at the end of `bytes` that are the beginning of a character in UTF-8.
fn unfinished_bytes(bytes: &[u8]) -> usize {
    let is_beginning = |count: &usize| {
        let end = bytes.len().checked_sub(*count).and_then(|from| bytes.get(from..)).map(std::str::from_utf8);
        matches!(end, Some(Err(error)) if error.valid_up_to() == 0 && error.error_len().is_none())
    };
    (1..CHARACTER_BYTES_MAX).find(is_beginning).unwrap_or_default()
}

/// The state of one answer's decoding.
pub(super) struct StreamDecoder {
    about: Arc<Detokenizer>,
    /// Whether special tokens are text too.
    shows_specials: bool,
    /// The window: context tokens whose text was returned or belongs to the prompt, then tokens whose text was not
    /// returned.
    tokens: Vec<TokenId>,
    given: usize,
}

impl StreamDecoder {
    /// A decoder for an answer to `prompt`, with or without special tokens as text.
    pub(super) fn after(about: Arc<Detokenizer>, prompt: &[TokenId], shows_specials: bool) -> Self {
        let tokens = about.end_of(prompt, shows_specials);
        Self { given: tokens.len(), about, shows_specials, tokens }
    }

    /// The text of the tokens that were not returned yet. Empty if it ends in an incomplete character and the answer
    /// continues.
    fn take(&mut self, is_over: bool) -> Result<String, ModelError> {
        let (context, fresh) = self.tokens.split_at(self.given);
        let Some(first) = fresh.first() else { return Ok(String::new()) };
        let before = self.about.decode(context)?;
        let all = self.about.decode(&self.tokens)?;
        let unfinished = self.about.unfinished(&self.tokens, &all);
        let waits = self.about.encoding.is_some() || fresh.len() < HELD_TOKENS_MAX;
        if unfinished > 0 && !is_over && waits {
            return Ok(String::new());
        }
        // A decoder joins adjacent bytes: an invalid byte invalidates those before and after it. In that case the new
        // tokens are decoded alone.
        let spoiled = before.ends_with(REPLACEMENT) && self.about.spoils(context, *first);
        let mut text = match all.strip_prefix(&before) {
            Some(text) if !spoiled => text.to_owned(),
            _ => self.about.decode(fresh)?,
        };
        if is_over {
            let end = text.char_indices().rev().nth(unfinished.saturating_sub(1)).map_or(0, |(end, _)| end);
            text.truncate(if unfinished > 0 { end } else { text.len() });
        } else if text.is_empty() {
            return Ok(text);
        }
        self.tokens.drain(..self.given);
        self.given = self.tokens.len();
        Ok(text)
    }
}

impl TextDecoder for StreamDecoder {
    fn push(&mut self, token: TokenId) -> Result<String, Error> {
        if !self.shows_specials && self.about.hidden.contains(&token) {
            return Ok(String::new());
        }
        self.tokens.push(token);
        Ok(self.take(false)?)
    }

    fn finish(&mut self) -> Result<String, Error> {
        let text = self.take(true)?;
        self.tokens.clear();
        self.given = 0;
        Ok(text)
    }
}
