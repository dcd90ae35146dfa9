//! Checks whether a text fits before all of it is tokenized.
//!
//! If a tokenizer keeps all of a text, its longest token bounds the bytes of a text that fits. If it does not, or if
//! the text is short enough for that bound, the tokens of its pieces are counted until there are far more than fit. A
//! text that is refused here never fits. A text that may fit is tokenized as a whole.

use firebox_contract::{Encoded, TokenId, limits};
use serde_json::Value;
use tokenizers::models::ModelWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{Encoding, Tokenizer};

/// Bounds of a tokenizer.
pub(crate) struct Bounds {
    /// Maximum bytes of text in one token; `None` if a token may have any number of bytes.
    token_bytes: Option<usize>,
}

impl Bounds {
    /// Reads the bounds from the tokenizer's own description.
    pub(crate) fn of(tokenizer: &Tokenizer) -> Self {
        Self { token_bytes: longest_token(tokenizer) }
    }

    /// Maximum bytes of a text of `tokens` tokens; `None` if there is no maximum.
    pub(crate) fn bytes(&self, tokens: usize) -> Option<usize> {
        self.token_bytes.map(|bytes| bytes.saturating_mul(tokens))
    }

    /// Minimum tokens of a text of this many bytes.
    pub(crate) fn tokens(&self, bytes: usize) -> usize {
        self.token_bytes.map_or(0, |longest| bytes.div_ceil(longest))
    }
}

/// The tokens of `text` if it may have at most `max` of them, else a lower bound of their number.
///
/// # Errors
/// The tokenizer's error.
pub(crate) fn encode(
    tokenizer: &Tokenizer,
    bounds: &Bounds,
    text: &str,
    special: bool,
    max: usize,
) -> tokenizers::Result<Encoded> {
    if let Some(least) = least(tokenizer, bounds, text, max)? {
        return Ok(Encoded::AtLeast(least));
    }
    let tokens: Vec<TokenId> = encode_all(tokenizer, text, special)?.get_ids().to_vec();
    Ok(Encoded::Whole(tokens))
}

/// A lower bound of the tokens of `text`, if it certainly has more than `max`.
///
/// # Errors
/// The tokenizer's error.
pub(crate) fn least(
    tokenizer: &Tokenizer,
    bounds: &Bounds,
    text: &str,
    max: usize,
) -> tokenizers::Result<Option<usize>> {
    let least = bounds.tokens(text.len());
    if least > max { Ok(Some(least)) } else { far_more(tokenizer, text, max) }
}

/// All tokens of a text that may fit. A text that is long all the same, of spaces for example, is tokenized piece by
/// piece, since the library needs about forty times the memory of its input.
///
/// # Errors
/// The tokenizer's error.
pub(crate) fn encode_all(tokenizer: &Tokenizer, text: &str, special: bool) -> tokenizers::Result<Encoding> {
    if text.len() <= limits::TOKENIZE_WHOLE_BYTES_MAX {
        return tokenizer.encode_fast(text, special);
    }
    let parts = pieces(text, limits::TOKENIZE_CHUNK_BYTES).map(|piece| tokenizer.encode_fast(piece, false));
    let parts = parts.collect::<tokenizers::Result<Vec<Encoding>>>()?;
    tokenizer.post_process(Encoding::merge(parts, false), None, special)
}

/// A lower bound of the tokens of `text`, if its pieces have far more than `max`; `None` if it may fit.
///
/// # Errors
/// The tokenizer's error.
pub(crate) fn far_more(tokenizer: &Tokenizer, text: &str, max: usize) -> tokenizers::Result<Option<usize>> {
    if text.len() <= whole_bytes(max) {
        return Ok(None);
    }
    let enough = enough_tokens(max);
    let mut counted = 0;
    for piece in pieces(text, piece_bytes(max)) {
        counted += tokenizer.encode_fast(piece, false)?.len();
        if counted > enough {
            // Half of the count: cutting a text never doubles its tokens.
            return Ok(Some(counted / 2));
        }
    }
    Ok(None)
}

/// The beginning of `text` that certainly has far more than `max` tokens; all of a short text.
///
/// # Errors
/// The tokenizer's error.
pub(crate) fn beginning<'a>(tokenizer: &Tokenizer, text: &'a str, max: usize) -> tokenizers::Result<&'a str> {
    if text.len() <= whole_bytes(max) {
        return Ok(text);
    }
    let enough = enough_tokens(max);
    let (mut counted, mut bytes) = (0, 0);
    for piece in pieces(text, piece_bytes(max)) {
        counted += tokenizer.encode_fast(piece, false)?.len();
        bytes += piece.len();
        if counted > enough {
            break;
        }
    }
    Ok(text.get(..bytes).unwrap_or(text))
}

/// Bytes up to which a text is tokenized as a whole for `max` tokens.
pub(crate) fn whole_bytes(max: usize) -> usize {
    max.saturating_mul(limits::TOKENIZE_WHOLE_BYTES_PER_TOKEN).saturating_add(piece_bytes(max))
}

/// Bytes of the pieces in which a text is counted: few for a small `max`.
fn piece_bytes(max: usize) -> usize {
    max.saturating_mul(limits::TOKENIZE_WHOLE_BYTES_PER_TOKEN)
        .clamp(limits::TOKENIZE_CHUNK_BYTES_MIN, limits::TOKENIZE_CHUNK_BYTES)
}

/// Tokens of pieces above which their text certainly has more than `max`: cutting a text never doubles its tokens.
fn enough_tokens(max: usize) -> usize {
    max.saturating_mul(2).saturating_add(max.min(limits::TOKENIZE_SLACK_TOKENS))
}

fn pieces(text: &str, bytes: usize) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (piece, after) = rest.split_at(rest.floor_char_boundary(bytes));
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

/// Bytes of text in the longest token, normalization included. `None` if the tokenizer leaves out parts of a text or
/// puts any number of characters into one token.
fn longest_token(tokenizer: &Tokenizer) -> Option<usize> {
    let ModelWrapper::BPE(model) = tokenizer.get_model() else { return None };
    let shrinks = tokenizer.get_normalizer().map_or(Some(1), |normalizer| shrinks(&described(normalizer)?))?;
    let splits = tokenizer.get_pre_tokenizer().map_or(Some(false), |splitter| splits(&described(splitter)?))?;
    let byte_level =
        splits || tokenizer.get_normalizer().and_then(described).is_some_and(|value| is_byte_level(&value));
    let vocabulary = tokenizer.get_vocab(false);
    let has = |word: String| vocabulary.contains_key(&word);
    let whole = match byte_level {
        true => ByteLevel::alphabet().iter().all(|letter| has(letter.to_string())),
        false => model.byte_fallback && (0..=u8::MAX).all(|byte| has(format!("<0x{byte:02X}>"))),
    };
    let added = tokenizer.get_added_tokens_decoder();
    // Such a token includes any number of adjacent spaces.
    if !whole || added.values().any(|token| token.lstrip || token.rstrip) {
        return None;
    }
    // Each letter of a byte-level token is a byte.
    let length = |word: &String| if byte_level { word.chars().count() } else { word.len() };
    let longest = vocabulary.keys().map(length).chain(added.values().map(|token| token.content.len())).max()?;
    longest.max(1).checked_mul(shrinks)
}

fn described(part: &impl serde::Serialize) -> Option<Value> {
    serde_json::to_value(part).ok()
}

fn is_byte_level(value: &Value) -> bool {
    let among = |steps: &Value| steps.as_array().is_some_and(|steps| steps.iter().any(is_byte_level));
    value["type"] == "ByteLevel" || among(&value["normalizers"]) || among(&value["pretokenizers"])
}

/// The maximum factor by which a normalizer shortens a text in bytes; `None` if it may leave out all of it.
fn shrinks(normalizer: &Value) -> Option<usize> {
    match normalizer["type"].as_str()? {
        "Prepend" | "ByteLevel" => Some(1),
        // At most three bytes become one, as for KELVIN SIGN, or four if compatibility characters are replaced.
        "NFC" | "NFD" | "Lowercase" => Some(3),
        "NFKC" | "NFKD" => Some(4),
        "Replace" => {
            let (from, to) = (normalizer["pattern"]["String"].as_str()?, normalizer["content"].as_str()?);
            (!to.is_empty()).then(|| from.len().div_ceil(to.len()).max(1))
        }
        "Sequence" => normalizer["normalizers"]
            .as_array()?
            .iter()
            .try_fold(1, |times: usize, step| times.checked_mul(shrinks(step)?)),
        _ => None,
    }
}

/// Whether a pre-tokenizer is byte-level; `None` if it may leave out parts of a text.
fn splits(splitter: &Value) -> Option<bool> {
    match splitter["type"].as_str()? {
        "ByteLevel" => Some(true),
        "Metaspace" | "Digits" | "UnicodeScripts" | "FixedLength" => Some(false),
        "Split" | "Punctuation" => (splitter["behavior"].as_str()? != "Removed").then_some(false),
        "Sequence" => {
            splitter["pretokenizers"].as_array()?.iter().try_fold(false, |any, step| Some(splits(step)? || any))
        }
        _ => None,
    }
}

#[cfg(test)]
#[path = "bounded/tests.rs"]
mod tests;
