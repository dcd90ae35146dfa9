use serde_json::json;

use super::*;

/// A tokenizer of bytes, or of pieces with bytes to fall back to, of these further words.
fn tokenizer(byte_level: bool, words: &[&str], change: impl Fn(&mut Value)) -> Tokenizer {
    let mut letters: Vec<String> = match byte_level {
        true => ByteLevel::alphabet().iter().map(char::to_string).collect(),
        false => (0..=u8::MAX).map(|byte| format!("<0x{byte:02X}>")).collect(),
    };
    letters.sort_unstable();
    let mut merges = Vec::new();
    // Each word grows letter by letter.
    for word in words {
        let ends: Vec<usize> = word.char_indices().map(|(at, _)| at).skip(1).chain([word.len()]).collect();
        for pair in ends.windows(2) {
            let (begin, next, all) = (&word[..pair[0]], &word[pair[0]..pair[1]], &word[..pair[1]]);
            merges.push(json!([begin, next]));
            letters.extend([begin, next, all].map(str::to_owned));
        }
    }
    let mut known = std::collections::HashSet::new();
    letters.retain(|letter| known.insert(letter.clone()));
    let vocabulary: serde_json::Map<String, Value> =
        letters.into_iter().enumerate().map(|(token, word)| (word, json!(token))).collect();
    let splitter = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false });
    let mut description = json!({
        "version": "1.0", "added_tokens": [], "normalizer": null,
        "pre_tokenizer": if byte_level { splitter } else { Value::Null },
        "model": { "type": "BPE", "unk_token": null, "byte_fallback": !byte_level, "vocab": vocabulary, "merges": merges },
    });
    change(&mut description);
    Tokenizer::from_bytes(description.to_string()).expect("the tokenizer loads")
}

fn longest(byte_level: bool, words: &[&str], change: impl Fn(&mut Value)) -> Option<usize> {
    longest_token(&tokenizer(byte_level, words, change))
}

#[test]
fn the_longest_token_is_known_if_no_text_is_left_out() {
    assert_eq!(longest(true, &["abcdefgh"], |_| ()), Some(8));
    assert_eq!(longest(false, &["abcdefgh"], |_| ()), Some(8));
    let normalizer = |value: Value| move |all: &mut Value| all["normalizer"] = value.clone();
    let replace = json!({ "type": "Replace", "pattern": { "String": " " }, "content": "▁" });
    assert_eq!(longest(false, &["abcdefgh"], normalizer(replace.clone())), Some(8));
    assert_eq!(longest(true, &["abcdefgh"], normalizer(json!({ "type": "NFC" }))), Some(24));
    let both = json!({ "type": "Sequence", "normalizers": [replace, { "type": "NFKC" }] });
    assert_eq!(longest(true, &["abcdefgh"], normalizer(both)), Some(32));
    let added = json!([{ "id": 900, "content": "<|a marker of 22 bytes", "special": true, "single_word": false,
        "lstrip": false, "rstrip": false, "normalized": false }]);
    assert_eq!(longest(true, &["abcdefgh"], |all| all["added_tokens"] = added.clone()), Some(22));
}

#[test]
fn a_tokenizer_that_leaves_out_text_has_no_longest_token() {
    let normalizers = [
        json!({ "type": "Strip", "strip_left": true, "strip_right": true }),
        json!({ "type": "Replace", "pattern": { "String": "x" }, "content": "" }),
        json!({ "type": "Replace", "pattern": { "Regex": "x+" }, "content": "x" }),
        json!({ "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null,
            "lowercase": true }),
    ];
    for normalizer in normalizers {
        assert_eq!(longest(true, &["ab"], |all| all["normalizer"] = normalizer.clone()), None, "{normalizer}");
    }
    for splitter in [json!({ "type": "Whitespace" }), json!({ "type": "BertPreTokenizer" })] {
        assert_eq!(longest(false, &["ab"], |all| all["pre_tokenizer"] = splitter.clone()), None, "{splitter}");
    }
    assert_eq!(longest(false, &["ab"], |all| all["model"]["byte_fallback"] = json!(false)), None);
    let lost = |all: &mut Value| drop(all["model"]["vocab"].as_object_mut().expect("words").remove("<0x41>"));
    assert_eq!(longest(false, &["ab"], lost), None, "what is in no word would be left out");
    let added = json!([{ "id": 900, "content": "<eats>", "special": true, "single_word": false, "lstrip": false,
        "rstrip": true, "normalized": false }]);
    assert_eq!(longest(true, &["ab"], |all| all["added_tokens"] = added.clone()), None, "it takes spaces along");
}

/// A refused text has more tokens than `max`, and at least the reported number. A text that fits is never refused.
#[test]
fn a_text_is_refused_only_if_it_does_not_fit() {
    let whitespace = |all: &mut Value| all["pre_tokenizer"] = json!({ "type": "WhitespaceSplit" });
    let tokenizers = [
        tokenizer(true, &["aaaaaaaa", "the", "ab"], |_| ()),
        tokenizer(false, &["aaaaaaaa", "the", "ab"], |_| ()),
        tokenizer(false, &["aaaaaaaa", "the", "ab"], whitespace),
    ];
    let texts = ["a", "the ", "ab", "äöü", " ", "aaaaaaaaab", "\u{1F600}"];
    let (mut refused, mut taken) = (0, 0);
    for tokenizer in &tokenizers {
        let bounds = Bounds::of(tokenizer);
        for unit in texts {
            for length in [10, 1_000, 40_000, 300_000] {
                let text = unit.repeat(length / unit.len());
                let all = tokenizer.encode_fast(text.as_str(), false).expect("it encodes").len();
                for max in [1, 100, 5_000, all.saturating_sub(1), all] {
                    match encode(tokenizer, &bounds, &text, false, max).expect("it encodes") {
                        Encoded::Whole(tokens) => assert_eq!(tokens.len(), all),
                        Encoded::AtLeast(least) => {
                            assert!(
                                all > max && (max + 1..=all).contains(&least),
                                "{unit} {length} {max} {least} {all}"
                            );
                            refused += 1;
                            continue;
                        }
                    }
                    taken += 1;
                }
            }
        }
    }
    assert!(refused > 40 && taken > 100, "{refused} {taken}");
}

#[test]
fn a_text_that_is_far_too_long_is_not_read_to_its_end() {
    let tokenizer = tokenizer(true, &["ab"], |_| ());
    let text = "x".repeat(64 << 20);
    let started = std::time::Instant::now();
    let counted = far_more(&tokenizer, &text, 1_000).expect("it encodes").expect("too long");
    assert!((1_001..100_000).contains(&counted), "{counted}");
    assert!(started.elapsed() < std::time::Duration::from_secs(5), "{:?}", started.elapsed());
}
