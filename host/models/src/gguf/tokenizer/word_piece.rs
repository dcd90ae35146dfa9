//! WordPiece: words are cut into the longest tokens from their beginning. GGUF marks the beginnings of words with U+2581,
//! where `tokenizer.json` marks the other tokens with `##`.

use serde_json::{Map, Value, json};

use super::{CONTROL, Parts, UNKNOWN, Vocabulary, key};
use crate::error::ModelError;

/// The mark of a token that begins a word.
const WORD: char = '▁';

/// The parts of `tokenizer.json`.
///
/// # Errors
/// `Config` for a value of the wrong type, or a special token that is missing.
pub(super) fn parts(vocabulary: &Vocabulary<'_>) -> Result<Parts, ModelError> {
    let metadata = vocabulary.metadata;
    // Texts are in lower case and without accents, unless the file says otherwise.
    let lowercase = metadata.flag(&key("normalizer.lowercase"))?.unwrap_or(true);
    let unknown = vocabulary.special("unknown_token_id")?.unwrap_or("[UNK]");
    let named = |names: [&str; 2], text: &'static str| -> Result<&str, ModelError> {
        for name in names {
            if let Some(token) = vocabulary.special(name)? {
                return Ok(token);
            }
        }
        let known = vocabulary.tokens.contains(&text).then_some(text);
        known.ok_or_else(|| metadata.wrong(&key(names[0]), format!("is missing, and there is no token \"{text}\"")))
    };
    let first = named(["cls_token_id", "bos_token_id"], "[CLS]")?;
    let last = named(["seperator_token_id", "eos_token_id"], "[SEP]")?;
    let ids: Map<String, Value> =
        vocabulary.tokens.iter().enumerate().map(|(id, token)| (word(token, vocabulary.kind(id)), json!(id))).collect();
    let piece = |token: &str, kind: u32| json!({ "SpecialToken": { "id": token, "type_id": kind } });
    let text = |name: &str, kind: u32| json!({ "Sequence": { "id": name, "type_id": kind } });
    let single = vec![piece(first, 0), text("A", 0), piece(last, 0)];
    let pair = [single.clone(), vec![text("B", 1), piece(last, 1)]].concat();
    Ok(Parts {
        normalizer: json!({ "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                            "strip_accents": null, "lowercase": lowercase }),
        splitter: json!({ "type": "BertPreTokenizer" }),
        decoder: json!({ "type": "WordPiece", "prefix": "##", "cleanup": true }),
        model: json!({ "type": "WordPiece", "unk_token": unknown, "continuing_subword_prefix": "##",
                       "max_input_chars_per_word": 100, "vocab": ids }),
        adds_bos: true,
        post_processor: Some(vocabulary.template(&single, &pair, &[first, last])),
    })
}

/// The token as `tokenizer.json` writes it.
fn word(token: &str, kind: u64) -> String {
    match token.strip_prefix(WORD) {
        Some(word) => word.to_owned(),
        None if matches!(kind, CONTROL | UNKNOWN) => token.to_owned(),
        None => format!("##{token}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_of_words_becomes_the_mark_of_their_other_parts() {
        assert_eq!((word("▁cat", 1), word("s", 1)), ("cat".to_owned(), "##s".to_owned()));
        assert_eq!((word("[CLS]", CONTROL), word("[UNK]", UNKNOWN)), ("[CLS]".to_owned(), "[UNK]".to_owned()));
    }
}
