//! How byte-level tokenizers split text into words before they merge, by the name under `tokenizer.ggml.pre`.
//!
//! The patterns are those of the models' own `tokenizer.json`. A name that is not here is refused: with a pattern of another
//! model the tokens would be wrong without a sign of it.

use serde_json::{Value, json};

/// One way to split text.
pub(super) struct Splitter {
    names: &'static [&'static str],
    /// Patterns that cut out words, one after the other.
    patterns: &'static [&'static str],
    /// Whether digits are tokens of their own.
    single_digits: bool,
    /// Whether the pattern of GPT-2 follows.
    is_gpt2: bool,
    /// Whether text is composed first (Unicode NFC).
    pub(super) composes: bool,
    /// Whether a word that is a token as a whole is taken as it is, without merges.
    pub(super) whole_words_first: bool,
    /// Whether texts start with the first token where the file does not say.
    pub(super) adds_bos: bool,
}

const BASE: Splitter = Splitter {
    names: &[],
    patterns: &[],
    single_digits: false,
    is_gpt2: false,
    composes: false,
    whole_words_first: false,
    adds_bos: false,
};

const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN35: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// DeepSeek V3: digits in threes, then Chinese and Japanese, then words.
const DEEPSEEK3: &[&str] = &[
    r"\p{N}{1,3}",
    "[一-龥\u{3040}-ゟ゠-ヿ]+",
    r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##,
];

/// Every way to split text that is known.
const SPLITTERS: &[Splitter] = &[
    Splitter {
        names: &["llama-bpe", "llama3", "llama-v3", "falcon3", "pixtral"],
        patterns: &[LLAMA3],
        whole_words_first: true,
        adds_bos: true,
        ..BASE
    },
    Splitter { names: &["dbrx", "smaug-bpe"], patterns: &[LLAMA3], ..BASE },
    Splitter { names: &["glm4", "chatglm-bpe"], patterns: &[LLAMA3], whole_words_first: true, ..BASE },
    Splitter { names: &["qwen2", "megrez"], patterns: &[QWEN2], composes: true, ..BASE },
    Splitter { names: &["deepseek-r1-qwen", "stablelm2", "hunyuan"], patterns: &[QWEN2], ..BASE },
    Splitter { names: &["qwen35"], patterns: &[QWEN35], composes: true, ..BASE },
    Splitter { names: &["tekken"], patterns: &[TEKKEN], whole_words_first: true, adds_bos: true, ..BASE },
    Splitter { names: &["gpt-4o", "llama4"], patterns: &[GPT4O], ..BASE },
    Splitter { names: &["deepseek-v3"], patterns: DEEPSEEK3, ..BASE },
    Splitter {
        names: &["smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"],
        single_digits: true,
        is_gpt2: true,
        ..BASE
    },
    Splitter { names: &["modern-bert"], is_gpt2: true, composes: true, ..BASE },
    Splitter { names: &["gpt-2", "roberta-bpe", "phi-2", "mpt", "olmo", "exaone4", "trillion"], is_gpt2: true, ..BASE },
];

/// The names, for messages.
pub(super) const NAMES: &str = "llama-bpe, llama3, llama-v3, falcon3, pixtral, dbrx, smaug-bpe, glm4, chatglm-bpe, qwen2, \
                                megrez, deepseek-r1-qwen, stablelm2, hunyuan, qwen35, tekken, gpt-4o, llama4, deepseek-v3, \
                                smollm, starcoder, refact, command-r, codeshell, exaone, minerva-7b, modern-bert, gpt-2, roberta-bpe, phi-2, \
                                mpt, olmo, exaone4, trillion";

/// The way called `name`.
pub(super) fn find(name: &str) -> Option<&'static Splitter> {
    SPLITTERS.iter().find(|splitter| splitter.names.contains(&name))
}

/// The first name of the way that splits as this `pre_tokenizer` of `tokenizer.json` does.
pub(in crate::gguf) fn name_of(pre_tokenizer: &Value, composes: bool, whole_words_first: bool) -> Option<&'static str> {
    let (parts, is_gpt2, digits) = described(pre_tokenizer)?;
    let fits = |splitter: &&Splitter| {
        splitter.patterns == parts.as_slice() && splitter.is_gpt2 == is_gpt2 && splitter.single_digits == digits
    };
    let exact = |splitter: &&Splitter| {
        fits(splitter) && splitter.composes == composes && splitter.whole_words_first == whole_words_first
    };
    let found = SPLITTERS.iter().find(exact);
    found.and_then(|splitter| splitter.names.first()).copied()
}

/// The patterns of a `pre_tokenizer`, whether GPT-2's follows, and whether digits are single. `None` for other parts.
fn described(pre_tokenizer: &Value) -> Option<(Vec<&str>, bool, bool)> {
    let parts = match pre_tokenizer["type"].as_str()? {
        "Sequence" => pre_tokenizer["pretokenizers"].as_array()?.as_slice(),
        _ => std::slice::from_ref(pre_tokenizer),
    };
    let (mut patterns, mut digits) = (Vec::new(), false);
    for (index, part) in parts.iter().enumerate() {
        let is_last = index + 1 == parts.len();
        match part["type"].as_str()? {
            "Split" if part["behavior"] == "Isolated" && part["invert"] == false => {
                patterns.push(part["pattern"]["Regex"].as_str()?);
            }
            "Digits" if part["individual_digits"] == true => digits = true,
            "ByteLevel" if is_last && part["add_prefix_space"] == false => {
                return Some((patterns, part["use_regex"].as_bool().unwrap_or(true), digits));
            }
            _ => return None,
        }
    }
    None
}

impl Splitter {
    /// As `pre_tokenizer` of `tokenizer.json`.
    pub(super) fn json(&self) -> Value {
        let split = |pattern: &&str| json!({ "type": "Split", "pattern": { "Regex": pattern }, "behavior": "Isolated", "invert": false });
        let mut parts: Vec<Value> = self.patterns.iter().map(split).collect();
        if self.single_digits {
            parts.push(json!({ "type": "Digits", "individual_digits": true }));
        }
        parts.push(json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
                           "use_regex": self.is_gpt2 }));
        json!({ "type": "Sequence", "pretokenizers": parts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_stands_in_the_message_and_names_one_way() {
        let all: Vec<&str> = SPLITTERS.iter().flat_map(|splitter| splitter.names).copied().collect();
        assert_eq!(all.join(", "), NAMES);
        let distinct: std::collections::BTreeSet<&str> = all.iter().copied().collect();
        assert_eq!(distinct.len(), all.len());
    }

    #[test]
    fn a_way_to_split_has_the_first_of_its_names() {
        for splitter in SPLITTERS {
            let name = name_of(&splitter.json(), splitter.composes, splitter.whole_words_first);
            // Two ways may differ only in the first token, which a file can name by itself.
            let found = name.and_then(find).expect("it is found");
            assert_eq!(found.json(), splitter.json(), "{:?}", splitter.names);
        }
        let gpt2 = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true });
        assert_eq!(name_of(&gpt2, false, false), Some("gpt-2"));
        let other = json!({ "type": "Split", "pattern": { "Regex": "x" }, "behavior": "Isolated", "invert": false });
        assert_eq!(name_of(&json!({ "type": "Sequence", "pretokenizers": [other, gpt2] }), false, false), None);
        assert_eq!(name_of(&json!({ "type": "Whitespace" }), false, false), None);
    }

    #[test]
    fn each_pattern_is_one_that_the_library_reads() {
        for splitter in SPLITTERS {
            let parsed: Result<tokenizers::PreTokenizerWrapper, _> = serde_json::from_value(splitter.json());
            assert!(parsed.is_ok(), "{:?}: {parsed:?}", splitter.names);
        }
    }
}
