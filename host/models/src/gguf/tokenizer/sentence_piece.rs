//! SentencePiece BPE: a vocabulary with scores and no merges. The merges are found as transformers' converter finds them:
//! every pair of tokens whose concatenation is a token, the best score first.

use std::collections::HashMap;

use firebox_contract::limits;
use serde_json::{Map, Value, json};

use super::{Parts, Vocabulary, key};
use crate::error::ModelError;

/// The parts of `tokenizer.json`.
///
/// # Errors
/// `Config` where scores are missing or do not fit the vocabulary.
pub(super) fn parts(vocabulary: &Vocabulary<'_>) -> Result<Parts, ModelError> {
    let metadata = vocabulary.metadata;
    let scores = vocabulary.scores()?;
    let name = key("tokens");
    if let Some(long) = vocabulary.tokens.iter().find(|token| token.len() > limits::GGUF_TOKEN_BYTES_MAX) {
        let limit = limits::GGUF_TOKEN_BYTES_MAX;
        return Err(metadata.wrong(&name, format!("has a token of {} bytes, at most {limit} are allowed", long.len())));
    }
    let work: u64 = vocabulary.tokens.iter().map(|token| (token.len() as u64).pow(2)).sum();
    if work > limits::GGUF_MERGE_STEPS_MAX {
        return Err(metadata.wrong(&name, "has tokens that are too long together; their merges would take minutes"));
    }
    let prefix = metadata.flag(&key("add_space_prefix"))?.unwrap_or(true);
    let scheme = if prefix { "always" } else { "never" };
    let mut decoders = vec![
        json!({ "type": "Replace", "pattern": { "String": "▁" }, "content": " " }),
        json!({ "type": "ByteFallback" }),
        json!({ "type": "Fuse" }),
    ];
    if prefix {
        decoders.push(json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 }));
    }
    let ids: Map<String, Value> =
        vocabulary.tokens.iter().enumerate().map(|(id, token)| ((*token).to_owned(), json!(id))).collect();
    let merges = merges(&vocabulary.tokens, &scores);
    if merges.len() > limits::MODEL_VOCABULARY_TOKENS_MAX {
        let limit = limits::MODEL_VOCABULARY_TOKENS_MAX;
        return Err(
            metadata.wrong(&name, format!("has tokens with {} merges, at most {limit} are allowed", merges.len()))
        );
    }
    let unknown = vocabulary.special("unknown_token_id")?;
    Ok(Parts {
        normalizer: Value::Null,
        splitter: json!({ "type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": false }),
        decoder: json!({ "type": "Sequence", "decoders": decoders }),
        model: json!({
            "type": "BPE", "dropout": null, "unk_token": unknown, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
            "vocab": ids, "merges": merges,
        }),
        adds_bos: true,
        post_processor: None,
    })
}

/// All merges, best first: by score, then by the length of the left and of the right part, then by their numbers.
fn merges(tokens: &[&str], scores: &[f64]) -> Vec<[String; 2]> {
    let ids: HashMap<&str, usize> = tokens.iter().enumerate().map(|(id, token)| (*token, id)).collect();
    let mut found = Vec::new();
    for (token, score) in tokens.iter().zip(scores) {
        let cuts = token.char_indices().skip(1).map(|(at, _)| token.split_at(at));
        let pairs = cuts.filter_map(|(left, right)| Some((left, *ids.get(left)?, right, *ids.get(right)?)));
        let mut pairs: Vec<_> = pairs.collect();
        pairs.sort_by_key(|(_, left, _, right)| (*left, *right));
        found.extend(pairs.into_iter().map(|(left, _, right, _)| (*score, left, right)));
    }
    let length = |text: &str| text.chars().count();
    found.sort_by(|a, b| {
        let by_length = || (length(b.1), length(b.2)).cmp(&(length(a.1), length(a.2)));
        b.0.total_cmp(&a.0).then_with(by_length)
    });
    found.into_iter().map(|(_, left, right)| [left.to_owned(), right.to_owned()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merges_are_those_of_all_tokens_that_two_others_make() {
        let tokens = ["a", "b", "ab", "aba", "abab", "c"];
        let scores = [0.0, 0.0, -1.0, -3.0, -2.0, 0.0];
        let merges = merges(&tokens, &scores);
        let merges: Vec<(&str, &str)> = merges.iter().map(|[a, b]| (a.as_str(), b.as_str())).collect();
        assert_eq!(merges, [("a", "b"), ("aba", "b"), ("ab", "ab"), ("ab", "a")]);
    }
}
