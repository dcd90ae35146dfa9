//! The probabilities of tokens, in the two shapes of OpenAI's API.

use firebox_contract::{ScoredToken, TokenLogprobs};
use serde_json::{Map, Value, json};

/// `logprobs` of a chat answer or chunk. `null` for an answer without them.
pub(super) fn chat(tokens: &[TokenLogprobs]) -> Value {
    let entry = |scored: &TokenLogprobs| {
        let mut entry = token(&scored.chosen);
        entry.insert("top_logprobs".to_owned(), scored.top.iter().map(|top| Value::Object(token(top))).collect());
        Value::Object(entry)
    };
    json!({ "content": tokens.iter().map(entry).collect::<Vec<_>>(), "refusal": null })
}

fn token(scored: &ScoredToken) -> Map<String, Value> {
    let mut out = Map::new();
    out.insert("token".to_owned(), json!(String::from_utf8_lossy(&scored.bytes)));
    out.insert("logprob".to_owned(), json!(scored.logprob));
    out.insert("bytes".to_owned(), json!(scored.bytes));
    out
}

/// `logprobs` of a plain completion or chunk. `offset` is the number of characters of the text before the first token; it
/// grows by those of the tokens.
pub(super) fn text(tokens: &[TokenLogprobs], offset: &mut usize) -> Value {
    let (mut texts, mut offsets) = (Vec::new(), Vec::new());
    for scored in tokens {
        let text = String::from_utf8_lossy(&scored.chosen.bytes).into_owned();
        offsets.push(*offset);
        *offset += text.chars().count();
        texts.push(text);
    }
    let chosen: Vec<f32> = tokens.iter().map(|scored| scored.chosen.logprob).collect();
    let top = |scored: &TokenLogprobs| {
        let pairs = scored.top.iter().map(|top| (String::from_utf8_lossy(&top.bytes).into_owned(), json!(top.logprob)));
        Value::Object(pairs.collect())
    };
    json!({
        "tokens": texts, "token_logprobs": chosen,
        "top_logprobs": tokens.iter().map(top).collect::<Vec<_>>(), "text_offset": offsets,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scored(bytes: &[u8], logprob: f32) -> ScoredToken {
        ScoredToken { token: 1, bytes: bytes.to_vec(), logprob }
    }

    #[test]
    fn a_token_may_be_a_part_of_a_character() {
        let tokens = [
            TokenLogprobs { chosen: scored(b"a", -0.5), top: vec![scored(b"a", -0.5), scored(b"b", -1.5)] },
            TokenLogprobs { chosen: scored(&[0xc3], -0.25), top: vec![] },
        ];
        let chat = chat(&tokens);
        assert_eq!(chat["content"][0]["top_logprobs"][1], json!({"token": "b", "logprob": -1.5, "bytes": [98]}));
        assert_eq!(
            chat["content"][1],
            json!({"token": "\u{fffd}", "logprob": -0.25, "bytes": [195], "top_logprobs": []})
        );
        let mut offset = 3;
        let text = text(&tokens, &mut offset);
        assert_eq!(text["tokens"], json!(["a", "\u{fffd}"]));
        assert_eq!((text["text_offset"].clone(), offset), (json!([3, 4]), 5));
        assert_eq!(text["top_logprobs"], json!([{"a": -0.5, "b": -1.5}, {}]));
    }
}
