//! Decoding token by token.

use std::collections::HashSet;
use std::sync::Arc;

use firebox_contract::TextDecoder;
use serde_json::{Value, json};
use tokenizers::Tokenizer;

use crate::codec::stream::{Detokenizer, StreamDecoder};

/// A decoder without a prompt, for a tokenizer given as JSON.
fn stream(tokenizer: &Value, hidden: &[u32]) -> StreamDecoder {
    stream_after(tokenizer, hidden, &[])
}

fn stream_after(tokenizer: &Value, hidden: &[u32], prompt: &[u32]) -> StreamDecoder {
    let tokenizer = Tokenizer::from_bytes(tokenizer.to_string()).expect("the tokenizer loads");
    let hidden: HashSet<u32> = hidden.iter().copied().collect();
    StreamDecoder::after(Arc::new(Detokenizer::new(Arc::new(tokenizer), hidden, "test".to_owned())), prompt, false)
}

/// A tokenizer of the SentencePiece family: words with a mark for the space before them, bytes as a fallback.
fn fallback_tokenizer() -> Value {
    let bytes = (0..256).map(|byte| (format!("<0x{byte:02X}>"), json!(byte)));
    let words = [("▁Hello", 256), ("▁world", 257), ("!", 258), ("▁", 259)];
    let vocabulary: serde_json::Map<String, Value> =
        bytes.chain(words.map(|(word, id)| (word.to_owned(), json!(id)))).collect();
    json!({
        "version": "1.0",
        "added_tokens": [{ "id": 260, "content": "<end>", "special": true, "single_word": false, "lstrip": false,
                           "rstrip": false, "normalized": false }],
        "decoder": { "type": "Sequence", "decoders": [
            { "type": "Replace", "pattern": { "String": "▁" }, "content": " " },
            { "type": "ByteFallback" }, { "type": "Fuse" },
            { "type": "Strip", "content": " ", "start": 1, "stop": 0 } ] },
        "model": { "type": "BPE", "byte_fallback": true, "unk_token": null, "vocab": vocabulary, "merges": [] },
    })
}

/// The text of each token, then the text that was held back.
fn pieces(decoder: &mut StreamDecoder, tokens: &[u32]) -> Vec<String> {
    let mut pieces: Vec<String> = tokens.iter().map(|token| decoder.push(*token).expect("it decodes")).collect();
    pieces.push(decoder.finish().expect("it decodes"));
    pieces
}

#[test]
fn characters_are_whole_and_spaces_are_kept() {
    let mut decoder = stream(&fallback_tokenizer(), &[260]);
    // "Hello world!", then U+4F60 in three bytes, then a word.
    let pieces = pieces(&mut decoder, &[256, 257, 258, 0xE4, 0xBD, 0xA0, 260, 257]);
    assert_eq!(pieces, ["Hello", " world", "!", "", "", "你", "", " world", ""]);
}

#[test]
fn invalid_bytes_are_replacement_characters() {
    let mut decoder = stream(&fallback_tokenizer(), &[]);
    let broken = pieces(&mut decoder, &[256, 0xE4, 0xBD, 257]);
    assert_eq!(broken.concat(), "Hello\u{FFFD}\u{FFFD} world");
    let between = pieces(&mut decoder, &[256, 0xE4, 0xBD, 0xA0, 0x80, 0xE4, 0xBD, 0xA0, 257]);
    assert_eq!(between.concat(), "Hello你\u{FFFD}你 world", "what stands beside it is whole");
    let endless = vec![0x80; 1_000];
    let given: usize = pieces(&mut decoder, &endless).iter().map(|piece| piece.chars().count()).sum();
    assert_eq!(given, 1_000, "a run without a character is neither lost nor held back endlessly");
}

#[test]
fn the_beginning_of_a_character_is_held_back() {
    let cut = |tokenizer: &Value, tokens: &[u32]| pieces(&mut stream(tokenizer, &[]), tokens).concat();
    let fallback = fallback_tokenizer();
    assert_eq!(cut(&fallback, &[256, 0xE4, 0xBD]), "Hello");
    assert_eq!(cut(&fallback, &[256, 0xE4, 0xBD, 0xA0, 0xF0, 0x9F, 0x98]), "Hello你");
    assert_eq!(cut(&fallback, &[256, 0x80]), "Hello\u{FFFD}", "a byte that begins nothing was wrong, not cut off");
    assert_eq!(cut(&fallback, &[256, 0x80, 0xE4]), "Hello\u{FFFD}");
    assert_eq!(cut(&fallback, &[256, 0xEF, 0xBF, 0xBD]), "Hello\u{FFFD}", "the model may say it");
    let letters = ["a", "ä", "½", "ł", "Ń", "aä", "ï", "¿"];
    let vocabulary: serde_json::Map<String, Value> =
        (0..).zip(letters).map(|(id, letter)| (letter.to_owned(), json!(id))).collect();
    let bytes = json!({
        "version": "1.0", "decoder": { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true },
        "model": { "type": "BPE", "unk_token": null, "vocab": vocabulary, "merges": [] },
    });
    assert_eq!(cut(&bytes, &[0, 1, 2, 3]), "a你");
    assert_eq!(cut(&bytes, &[0, 1, 2]), "a");
    assert_eq!(cut(&bytes, &[0, 5, 2]), "aa", "the first letter of a token stays");
    assert_eq!(cut(&bytes, &[1, 2, 0]), "\u{FFFD}a", "as Python decodes bytes");
    assert_eq!(cut(&bytes, &[0, 2]), "a\u{FFFD}");
    assert_eq!(cut(&bytes, &[0, 6, 7, 2]), "a\u{FFFD}");
}

#[test]
fn an_answer_continues_its_prompt() {
    let answer = |prompt: &[u32], tokens: &[u32]| {
        pieces(&mut stream_after(&fallback_tokenizer(), &[260], prompt), tokens).concat()
    };
    assert_eq!(answer(&[], &[257, 258]), "world!", "the first of all has no space");
    assert_eq!(answer(&[260], &[257]), "world", "nor behind what is no text");
    assert_eq!(answer(&[256], &[257, 258]), " world!");
    assert_eq!(answer(&[256, 260, 260], &[257]), " world");
    assert_eq!(answer(&[256, 258], &[0xE4, 0xBD, 0xA0]), "你");
    // A prompt of many bytes is decoded from the beginning of a character on.
    for prompt in ["你你你🙂", "🙂🙂🙂", "你你你", "a你你é", "你你你é"] {
        let prompt: Vec<u32> = prompt.bytes().map(u32::from).collect();
        assert_eq!(answer(&prompt, &[0xE4, 0xBD, 0xA0, 257]), "你 world");
    }
}

#[test]
fn any_text_is_decoded_unchanged_for_every_split() {
    // Every character as its bytes: the hardest case for a stream.
    let text = "naïve 你好 🙂👩‍👩‍👧 e\u{301} \u{FFFD} ß\n\tend";
    let mut decoder = stream(&fallback_tokenizer(), &[]);
    let tokens: Vec<u32> = text.bytes().map(u32::from).collect();
    let pieces = pieces(&mut decoder, &tokens);
    assert_eq!(pieces.concat(), text);
    assert!(pieces.iter().all(|piece| piece.chars().count() <= 8), "{pieces:?}");
}
