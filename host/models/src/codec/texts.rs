//! The texts of a vocabulary's tokens, derived from the tokenizer's notation of tokens.

use std::collections::HashSet;

use firebox_contract::{TokenId, TokenText, TokenTexts};
use serde_json::Value;
use tokenizers::Tokenizer;

/// The notation of tokens in `tokenizer.json`.
pub(super) enum TokenEncoding {
    /// Each character stands for one byte (byte-level BPE). The index of the byte is its value.
    ByteLevel(Vec<Option<u8>>),
    /// Characters stand for themselves, except marks for a space and, with `bytes`, tokens such as `<0x0A>`
    /// (SentencePiece).
    Pieces { marks: Vec<(String, String)>, bytes: bool },
}

/// The texts of all text tokens, without special tokens and end tokens. `None` for a tokenizer whose tokens do not each
/// have a text, such as WordPiece, or whose notation is not known.
pub(super) fn read(tokenizer: &Tokenizer, ends: &HashSet<TokenId>) -> Option<TokenTexts> {
    let encoding = TokenEncoding::of_tokenizer(tokenizer)?;
    let added = tokenizer.get_added_tokens_decoder();
    let learnt = tokenizer.get_vocab(false).into_iter().filter(|(_, token)| !added.contains_key(token));
    let learnt = learnt.map(|(written, token)| (token, written, false));
    // An added token is searched for first, so it is never the middle of another token.
    let found =
        added.iter().filter(|(_, about)| !about.special).map(|(token, about)| (*token, about.content.clone(), true));
    let texts = learnt.chain(found).filter(|(token, ..)| !ends.contains(token));
    TokenTexts::new(
        texts
            .map(|(token, written, whole)| TokenText { token, bytes: encoding.bytes(&written), indivisible: whole })
            .collect(),
    )
}

impl TokenEncoding {
    /// The notation of `tokenizer`; `None` if it is not known.
    pub(super) fn of_tokenizer(tokenizer: &Tokenizer) -> Option<Self> {
        Self::of(&serde_json::to_value(tokenizer.get_decoder()?).ok()?)
    }

    /// Reads the notation from the decoder's own description.
    fn of(decoder: &Value) -> Option<Self> {
        let steps = match decoder["type"].as_str()? {
            "Sequence" => decoder["decoders"].as_array()?.as_slice(),
            _ => std::slice::from_ref(decoder),
        };
        let (mut marks, mut bytes, mut byte_level, mut fused) = (Vec::new(), false, false, false);
        for step in steps {
            let text = |value: &Value| value.as_str().map(str::to_owned);
            match step["type"].as_str()? {
                "ByteLevel" => byte_level = true,
                "Replace" => marks.push((text(&step["pattern"]["String"])?, text(&step["content"])?)),
                "Metaspace" => marks.push((text(&step["replacement"])?, " ".to_owned())),
                "ByteFallback" => bytes = true,
                "Fuse" => fused = true,
                // After the tokens are joined to one text, only its two ends are changed.
                "Strip" if fused => {}
                _ => return None,
            }
        }
        match (byte_level, marks.is_empty() && !bytes) {
            (true, true) => Some(Self::ByteLevel(byte_level_alphabet())),
            (true, false) => None,
            (false, _) => Some(Self::Pieces { marks, bytes }),
        }
    }

    /// The text of a token in this notation.
    pub(super) fn bytes(&self, written: &str) -> Vec<u8> {
        match self {
            // As in the decoder, a token with a character outside of the alphabet stands for itself.
            Self::ByteLevel(alphabet) => {
                let byte = |letter: char| alphabet.get(letter as usize).copied().flatten();
                let bytes: Option<Vec<u8>> = written.chars().map(byte).collect();
                bytes.unwrap_or_else(|| written.as_bytes().to_vec())
            }
            Self::Pieces { bytes: true, .. } if fallback_byte(written).is_some() => {
                fallback_byte(written).into_iter().collect()
            }
            Self::Pieces { marks, .. } => {
                let replace = |text: String, (mark, content): &(String, String)| text.replace(mark, content);
                marks.iter().fold(written.to_owned(), replace).into_bytes()
            }
        }
    }
}

impl TokenEncoding {
    /// The number of characters that stand for `bytes` bytes of an incomplete character.
    pub(super) fn replacements(&self, bytes: usize) -> usize {
        match self {
            Self::ByteLevel(_) => bytes.min(1),
            Self::Pieces { .. } => bytes,
        }
    }

    /// Whether the token is a single byte.
    pub(super) fn is_fallback_byte(&self, written: &str) -> bool {
        matches!(self, Self::Pieces { bytes: true, .. }) && fallback_byte(written).is_some()
    }
}

/// The byte that a token such as `<0x0A>` stands for.
fn fallback_byte(written: &str) -> Option<u8> {
    let digits = written.strip_prefix("<0x")?.strip_suffix('>')?;
    (digits.len() == 2).then(|| u8::from_str_radix(digits, 16).ok())?
}

/// GPT-2's `bytes_to_unicode` (Radford et al. 2019): a byte that is a printable character of Latin-1 is that character.
/// The other bytes are, in their order, the characters from U+0100 on.
fn byte_level_alphabet() -> Vec<Option<u8>> {
    let prints = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let own = (0..=u8::MAX).map(|byte| Some(byte).filter(prints));
    let others = (0..=u8::MAX).filter(|byte| !prints(byte)).map(Some);
    own.chain(others).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokenizers::pre_tokenizers::byte_level::ByteLevel;

    use super::*;

    fn added(token: TokenId, content: &str, special: bool) -> Value {
        json!({ "id": token, "content": content, "special": special, "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false })
    }

    fn byte_level() -> Value {
        json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true })
    }

    /// The texts of a tokenizer with these tokens, numbered in their order, and these added tokens.
    fn texts(words: &[&str], added: &[Value], decoder: &Value) -> Option<TokenTexts> {
        let numbered = words.iter().enumerate().map(|(token, word)| ((*word).to_owned(), json!(token)));
        let vocabulary: serde_json::Map<String, Value> = numbered.collect();
        let model =
            json!({ "type": "BPE", "unk_token": null, "byte_fallback": true, "vocab": vocabulary, "merges": [] });
        let tokenizer = json!({ "version": "1.0", "added_tokens": added, "decoder": decoder, "model": model });
        let tokenizer = Tokenizer::from_bytes(tokenizer.to_string()).expect("the tokenizer loads");
        read(&tokenizer, &HashSet::from([1]))
    }

    fn beyond(texts: &TokenTexts, text: &str) -> Vec<TokenId> {
        texts.extending(text.as_bytes()).collect()
    }

    #[test]
    fn the_alphabet_is_the_one_of_the_library() {
        let alphabet = byte_level_alphabet();
        let letters = ('\0'..).zip(&alphabet).filter(|(_, byte)| byte.is_some()).map(|(letter, _)| letter);
        assert_eq!(letters.collect::<HashSet<char>>(), ByteLevel::alphabet().into_iter().collect());
        let bytes = ['Ġ', 'Ċ', 'a', 'ÿ', 'Ń'].map(|letter| alphabet[letter as usize]);
        assert_eq!(bytes, [b' ', b'\n', b'a', 0xFF, 0xAD].map(Some));
    }

    #[test]
    fn byte_level_tokens_are_bytes() {
        let words = ["Ġ\"", "</s>", "Ċ{\"", "Ã", "Ã¤"];
        let added = [added(5, "\n{\"name\"", false), added(6, "\n{<turn>", true)];
        let texts = texts(&words, &added, &byte_level()).expect("they have texts");
        assert_eq!(texts.divisible_text(0), Some(&b" \""[..]));
        assert_eq!(texts.divisible_text(3), Some(&[0xC3][..]), "half a character");
        assert_eq!(texts.divisible_text(4), Some("ä".as_bytes()));
        assert_eq!(beyond(&texts, "\n{"), [2, 5], "an added token is text, a special one is not");
        assert_eq!(texts.divisible_text(5), None, "and nothing reaches into it");
        assert!(beyond(&texts, "<").is_empty(), "nor is the end of an answer text");
    }

    #[test]
    fn pieces_have_spaces_and_bytes() {
        let decoder = json!({ "type": "Sequence", "decoders": [
            { "type": "Replace", "pattern": { "String": "▁" }, "content": " " },
            { "type": "ByteFallback" }, { "type": "Fuse" },
            { "type": "Strip", "content": " ", "start": 1, "stop": 0 } ] });
        let words = ["▁\"", "</s>", "<0x0A>", "<0xC3>", "▁▁a", "<0x0Aq", "<0xZZ>"];
        let all = texts(&words, &[added(9, "<s>", true)], &decoder).expect("they have texts");
        let text = |token| all.divisible_text(token).map(|bytes| bytes.escape_ascii().to_string());
        let expected = [" \\\"", "\\n", "\\xc3", "  a", "<0x0Aq", "<0xZZ>"];
        assert_eq!([0, 2, 3, 4, 5, 6].map(text), expected.map(|text| Some(text.to_owned())));
        assert!(beyond(&all, "<s").is_empty());
        let metaspace = json!({ "type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true });
        assert_eq!(texts(&words, &[], &metaspace).expect("they have texts").divisible_text(2), Some(&b"<0x0A>"[..]));
    }

    #[test]
    fn the_texts_equal_the_output_of_the_decoder() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../ember/model/tokenizer.json");
        let tokenizer = Tokenizer::from_file(file).expect("the tokenizer loads");
        let texts = read(&tokenizer, &HashSet::new()).expect("they have texts");
        let mut counted = 0;
        for token in texts.extending(b"") {
            let text = tokenizer.decode(&[token], false).expect("it decodes");
            // An incomplete character is written as a replacement character.
            if !text.contains('\u{FFFD}') {
                let found = texts.prefixes_of(text.as_bytes()).find(|(found, _)| *found == token);
                assert_eq!(found, Some((token, text.len())), "{text}");
                counted += 1;
            }
        }
        assert_eq!(counted, 128 + 45, "ASCII, and the scaffolding of calls and answers");
        let opening = b"\n{\"name\": \"convert_units\", \"arguments\":";
        assert_eq!(texts.extending(opening).collect::<Vec<_>>(), [280], "what a forced call goes on with");
    }

    #[test]
    fn other_notations_of_tokens_have_no_texts() {
        let strip = json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 });
        let others = [
            json!({ "type": "WordPiece", "prefix": "##", "cleanup": true }),
            json!({ "type": "BPEDecoder", "suffix": "</w>" }),
            strip.clone(),
            json!({ "type": "Sequence", "decoders": [byte_level(), { "type": "ByteFallback" }] }),
            json!({ "type": "Replace", "pattern": { "Regex": "a|b" }, "content": " " }),
            Value::Null,
        ];
        for decoder in others {
            assert!(texts(&["a"], &[], &decoder).is_none(), "{decoder}");
        }
        let fused = json!({ "type": "Sequence", "decoders": [{ "type": "Fuse" }, strip] });
        assert!(texts(&["a"], &[], &fused).is_some());
    }
}
