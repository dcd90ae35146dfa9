//! Keys of the tokenizer, its special tokens and the chat template.

use std::collections::HashMap;

use serde_json::Value;
use tokenizers::Tokenizer;

use crate::checkpoint::Checkpoint;
use crate::codec::{ends, template, tokenizer};
use crate::error::ModelError;
use crate::gguf::quantize::writer::WrittenTables;
use crate::gguf::tokenizer::splitters;

/// Types of tokens, as files number them.
const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;
const BYTE: i32 = 6;

/// Names of special tokens, and the keys of their numbers.
const SPECIAL: &[(&str, &str)] = &[
    ("bos_token", "bos_token_id"),
    ("eos_token", "eos_token_id"),
    ("unk_token", "unknown_token_id"),
    ("sep_token", "seperator_token_id"),
    ("pad_token", "padding_token_id"),
    ("cls_token", "cls_token_id"),
    ("mask_token", "mask_token_id"),
];

/// Texts whose tokens are compared: words, numbers, code, other scripts, spaces, bytes without a token of their own.
const SAMPLES: &[&str] = &[
    "Hello, world! It's 1234567 o'clock, isn't it?",
    "  two  spaces\n\n\tand a tab\r\nthen 3.14159 and 0x7F",
    "def f(x):\n    return {\"key\": [x, 'y']}  # note",
    "Grüße aus Köln, 日本語のテキスト, Привет мир, مرحبا",
    "e\u{301}clair 👩‍👩‍👧 ½ ﬁ \u{a0}x\u{200b}y",
    "",
    "a",
    " ",
];

/// Writes the keys.
///
/// # Errors
/// `Unsupported` for a tokenizer of a kind that is not written.
pub(super) fn keys(tables: &mut WrittenTables, checkpoint: &Checkpoint, rows: usize) -> Result<(), ModelError> {
    let loaded = tokenizer::load(checkpoint)?;
    let json = as_json(checkpoint, &loaded.tokenizer)?;
    let kind = TokenizerKind::of(checkpoint, &json)?;
    tables.text("tokenizer.ggml.model", kind.model());
    tables.text("tokenizer.ggml.pre", kind.pre());
    let tokens = tokens(&loaded.tokenizer, rows);
    tables.texts("tokenizer.ggml.tokens", tokens.iter().map(|token| token.0.as_str()));
    let unknown = json["model"]["unk_token"].as_str();
    let types: Vec<i32> = tokens.iter().map(|token| kind.type_of(token, unknown)).collect();
    tables.numbers("tokenizer.ggml.token_type", &types);
    let merges = merges(checkpoint, &json)?;
    match kind {
        TokenizerKind::ByteLevel { .. } => {
            let merges: Vec<String> = merges.iter().map(|[left, right]| format!("{left} {right}")).collect();
            tables.texts("tokenizer.ggml.merges", merges.iter().map(String::as_str));
        }
        TokenizerKind::SentencePiece { prefix } => {
            tables.floats("tokenizer.ggml.scores", &scores(&tokens, &merges));
            tables.flag("tokenizer.ggml.add_space_prefix", prefix);
        }
    }
    special(tables, checkpoint, &loaded)?;
    templates(tables, &template::sources(checkpoint)?);
    Ok(())
}

/// The default template, and the others under their names.
fn templates(tables: &mut WrittenTables, sources: &[(String, String)]) {
    let mut names = Vec::new();
    for (name, text) in sources {
        match name.as_str() {
            "default" => tables.text("tokenizer.chat_template", text),
            name => {
                names.push(name);
                tables.text(&format!("tokenizer.chat_template.{name}"), text);
            }
        }
    }
    if !names.is_empty() {
        tables.texts("tokenizer.chat_templates", names.into_iter());
    }
}

fn as_json(checkpoint: &Checkpoint, tokenizer: &Tokenizer) -> Result<Value, ModelError> {
    serde_json::to_value(tokenizer).map_err(|error| ModelError::Tokenizer {
        file: checkpoint.source.path_of("tokenizer.json"),
        reason: error.to_string(),
    })
}

/// A kind of tokenizer that GGUF has a name for.
enum TokenizerKind {
    /// Byte-level BPE, with the name of its pattern of words.
    ByteLevel { pre: &'static str },
    /// SentencePiece BPE; `prefix` is a space before the text.
    SentencePiece { prefix: bool },
}

impl TokenizerKind {
    fn of(checkpoint: &Checkpoint, json: &Value) -> Result<Self, ModelError> {
        let refused = |key: &'static str, found: &Value| ModelError::Unsupported {
            file: checkpoint.source.path_of("tokenizer.json"),
            key,
            found: found.to_string().chars().take(200).collect(),
            supported: "BPE of bytes with the pattern of words of a known model, and BPE of SentencePiece, in GGUF files",
        };
        let model = &json["model"];
        if model["type"] != "BPE" {
            return Err(refused("model.type", &model["type"]));
        }
        let (normalizer, splitter) = (&json["normalizer"], &json["pre_tokenizer"]);
        if model["byte_fallback"] == true {
            return match space_prefix(normalizer, splitter) {
                Some(prefix) => Ok(Self::SentencePiece { prefix }),
                None => Err(refused(
                    "normalizer and pre_tokenizer",
                    &Value::from(vec![normalizer.clone(), splitter.clone()]),
                )),
            };
        }
        let composes = normalizer["type"] == "NFC";
        if !normalizer.is_null() && !composes {
            return Err(refused("normalizer", normalizer));
        }
        // Without merges each byte is a token, wherever words are.
        let is_bytes = splitter["type"] == "ByteLevel" && splitter["add_prefix_space"] == false;
        if is_bytes && model["merges"].as_array().is_some_and(Vec::is_empty) {
            return Ok(Self::ByteLevel { pre: "gpt-2" });
        }
        let words = model["ignore_merges"] == true;
        let pre = splitters::name_of(splitter, composes, words).ok_or_else(|| refused("pre_tokenizer", splitter))?;
        Ok(Self::ByteLevel { pre })
    }

    fn model(&self) -> &'static str {
        match self {
            Self::ByteLevel { .. } => "gpt2",
            Self::SentencePiece { .. } => "llama",
        }
    }

    fn pre(&self) -> &'static str {
        match self {
            Self::ByteLevel { pre } => pre,
            Self::SentencePiece { .. } => "default",
        }
    }

    fn type_of(&self, token: &(String, Origin), unknown: Option<&str>) -> i32 {
        match token.1 {
            Origin::Nowhere => UNUSED,
            Origin::Special if unknown == Some(&token.0) => UNKNOWN,
            Origin::Special => CONTROL,
            Origin::Added => USER_DEFINED,
            Origin::Model if unknown == Some(&token.0) => UNKNOWN,
            Origin::Model if matches!(self, Self::SentencePiece { .. }) && is_byte(&token.0) => BYTE,
            Origin::Model => NORMAL,
        }
    }
}

/// Whether a text is SentencePiece's name of a byte, `<0x0A>`.
fn is_byte(token: &str) -> bool {
    let digits = token.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
    digits.is_some_and(|digits| digits.len() == 2 && u8::from_str_radix(digits, 16).is_ok())
}

/// Whether a space is put before a text, from the two ways in which SentencePiece is written. `None` for other parts.
fn space_prefix(normalizer: &Value, splitter: &Value) -> Option<bool> {
    let replaces =
        |part: &Value| part["type"] == "Replace" && part["pattern"]["String"] == " " && part["content"] == "▁";
    let prepends = |part: &Value| part["type"] == "Prepend" && part["prepend"] == "▁";
    if splitter["type"] == "Metaspace" && normalizer.is_null() && splitter["replacement"] == "▁" {
        return Some(splitter["prepend_scheme"] != "never");
    }
    let parts = match normalizer["type"].as_str()? {
        "Sequence" => normalizer["normalizers"].as_array()?.as_slice(),
        _ => std::slice::from_ref(normalizer),
    };
    match parts {
        [only] if splitter.is_null() && replaces(only) => Some(false),
        [first, second] if splitter.is_null() && prepends(first) && replaces(second) => Some(true),
        _ => None,
    }
}

/// Where a token comes from.
#[derive(Clone, Copy)]
enum Origin {
    Model,
    Added,
    Special,
    /// A row of the embedding without a token.
    Nowhere,
}

/// A token for each row of the embedding.
fn tokens(tokenizer: &Tokenizer, rows: usize) -> Vec<(String, Origin)> {
    let mut tokens: Vec<(String, Origin)> = (0..rows).map(|row| (format!("[PAD{row}]"), Origin::Nowhere)).collect();
    for (text, id) in tokenizer.get_vocab(false) {
        if let Some(token) = tokens.get_mut(id as usize) {
            *token = (text, Origin::Model);
        }
    }
    for (id, added) in tokenizer.get_added_tokens_decoder() {
        if let Some(token) = tokens.get_mut(id as usize) {
            *token = (added.content.clone(), if added.special { Origin::Special } else { Origin::Added });
        }
    }
    tokens
}

/// The merges, the first one first.
fn merges(checkpoint: &Checkpoint, json: &Value) -> Result<Vec<[String; 2]>, ModelError> {
    let broken = || ModelError::Tokenizer {
        file: checkpoint.source.path_of("tokenizer.json"),
        reason: "a merge is not two texts without spaces".to_owned(),
    };
    let pair = |merge: &Value| -> Option<[String; 2]> {
        let [left, right] = match merge {
            Value::String(text) => text.split_once(' ').map(|(left, right)| [left, right])?,
            other => [other.get(0)?.as_str()?, other.get(1)?.as_str()?],
        };
        (!left.contains(' ') && !right.contains(' ')).then(|| [left.to_owned(), right.to_owned()])
    };
    let list = json["model"]["merges"].as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().map(|merge| pair(merge).ok_or_else(broken)).collect()
}

/// A score for each token: SentencePiece merges the best first, so a token has the negative place of its first merge.
fn scores(tokens: &[(String, Origin)], merges: &[[String; 2]]) -> Vec<f32> {
    let mut places: HashMap<String, usize> = HashMap::with_capacity(merges.len());
    for (place, [left, right]) in merges.iter().enumerate() {
        places.entry(format!("{left}{right}")).or_insert(place);
    }
    let score = |token: &str| places.get(token).map_or(0.0, |place| -(*place as f32));
    tokens.iter().map(|token| score(&token.0)).collect()
}

/// Numbers of special tokens, what is put around a text, and where answers end.
fn special(tables: &mut WrittenTables, checkpoint: &Checkpoint, loaded: &tokenizer::Loaded) -> Result<(), ModelError> {
    let tokenizer = &loaded.tokenizer;
    let id = |name: &str| {
        let text = loaded.named.iter().find(|named| named.0 == name).map(|named| named.1.as_str());
        text.and_then(|text| tokenizer.token_to_id(text))
    };
    for (name, key) in SPECIAL {
        if let Some(id) = id(name) {
            tables.number(&format!("tokenizer.ggml.{key}"), id);
        }
    }
    let around =
        |with: bool| tokenizer.encode_fast("a", with).map(|tokens| tokens.get_ids().to_vec()).unwrap_or_default();
    let (bare, whole) = (around(false), around(true));
    let first = whole.first().copied().filter(|first| bare.first() != Some(first));
    let last = whole.last().copied().filter(|last| bare.last() != Some(last));
    if let Some(first) = first {
        tables.number("tokenizer.ggml.bos_token_id", first);
    }
    tables.flag("tokenizer.ggml.add_bos_token", first.is_some());
    tables.flag("tokenizer.ggml.add_eos_token", last.is_some() && last == id("eos_token"));
    let eos = loaded.named.iter().find(|named| named.0 == "eos_token").map(|named| named.1.as_str());
    let mut others: Vec<u32> = ends::read(checkpoint, eos, tokenizer)?.into_iter().collect();
    others.sort_unstable();
    let main = id("eos_token").or(others.first().copied());
    others.retain(|other| Some(*other) != main);
    if let Some(main) = main {
        tables.number("tokenizer.ggml.eos_token_id", main);
    }
    // A file has two more places for tokens that end an answer; programs know others by their texts.
    for (key, id) in ["eot_token_id", "eom_token_id"].iter().zip(others) {
        tables.number(&format!("tokenizer.ggml.{key}"), id);
    }
    Ok(())
}

/// Compares the tokens of some texts with those that a reader of the file would find.
///
/// # Errors
/// `Usage`, with the first text whose tokens differ.
pub(super) fn compare(checkpoint: &Checkpoint, written: &Value) -> Result<(), ModelError> {
    let own = tokenizer::load(checkpoint)?.tokenizer;
    let failed = |reason: String| ModelError::Tokenizer { file: checkpoint.source.path_of("tokenizer.json"), reason };
    let written: Tokenizer = serde_json::from_value(written.clone()).map_err(|error| failed(error.to_string()))?;
    let ids = |tokenizer: &Tokenizer, text: &str| {
        tokenizer
            .encode_fast(text, true)
            .map(|tokens| tokens.get_ids().to_vec())
            .map_err(|error| failed(error.to_string()))
    };
    for text in SAMPLES {
        if ids(&own, text)? != ids(&written, text)? {
            let label = checkpoint.source.label();
            return Err(ModelError::Usage(format!(
                "the tokenizer of \"{label}\" has rules that a GGUF file cannot hold: {text:?} would have other tokens"
            )));
        }
    }
    Ok(())
}
