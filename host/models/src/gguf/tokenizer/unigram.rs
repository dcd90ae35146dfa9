//! SentencePiece Unigram (Kudo 2018): tokens with scores, and the text is cut so that the sum of scores is greatest.

use serde_json::{Value, json};

use super::{Parts, Vocabulary, key};
use crate::error::ModelError;

/// The parts of `tokenizer.json`.
///
/// # Errors
/// `Config` where scores are missing or do not fit the vocabulary, or for a value of the wrong type.
pub(super) fn parts(vocabulary: &Vocabulary<'_>) -> Result<Parts, ModelError> {
    let metadata = vocabulary.metadata;
    let scores = vocabulary.scores()?;
    let unknown = metadata.number(&key("unknown_token_id"))?;
    if let Some(id) = unknown.filter(|id| *id >= vocabulary.tokens.len() as u64) {
        let count = vocabulary.tokens.len();
        return Err(metadata.wrong(&key("unknown_token_id"), format!("is {id}, of {count} tokens")));
    }
    let flag = |name: &str| Ok::<_, ModelError>(metadata.flag(&key(name))?.unwrap_or(true));
    let scheme = if flag("add_space_prefix")? { "always" } else { "never" };
    let trims = flag("remove_extra_whitespaces")?;
    let spaces = json!({ "type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": true });
    let splitter = match trims {
        true => json!({ "type": "Sequence", "pretokenizers": [{ "type": "WhitespaceSplit" }, spaces.clone()] }),
        false => spaces.clone(),
    };
    let normalizer = match metadata.bytes(&key("precompiled_charsmap"))? {
        Some(map) if !map.is_empty() => json!({ "type": "Precompiled", "precompiled_charsmap": base64(map) }),
        _ => Value::Null,
    };
    let pieces: Vec<Value> =
        vocabulary.tokens.iter().zip(&scores).map(|(token, score)| json!([token, score])).collect();
    Ok(Parts {
        normalizer,
        splitter,
        decoder: spaces,
        model: json!({ "type": "Unigram", "unk_id": unknown, "vocab": pieces, "byte_fallback": false }),
        adds_bos: true,
        post_processor: Some(vocabulary.encoder_processor(true, true, true)?),
    })
}

/// Base64 (RFC 4648) with padding.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for at in 0..4 {
            let letter = LETTERS.get((bits >> (18 - 6 * at)) as usize & 63).copied().unwrap_or(b'=');
            text.push(if at <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn base64_is_that_of_rfc_4648() {
        let rows = ["", "f", "fo", "foo", "foob", "fooba", "foobar"].map(|text| base64(text.as_bytes()));
        assert_eq!(rows, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"]);
    }
}
