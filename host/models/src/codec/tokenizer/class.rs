//! The tokenizer class of transformers for a checkpoint, and its changes to `tokenizer.json`.
//!
//! For most checkpoints `tokenizer.json` alone counts. Some classes take vocabulary, merges and post-processor from it and
//! have a normalizer, pre-tokenizer and decoder of their own, with settings from `tokenizer_config.json`. The class is
//! chosen as `AutoTokenizer` of transformers 5.24 chooses it.

use serde_json::{Value, json};
use tokenizers::models::ModelWrapper;
use tokenizers::models::bpe::BPE;
use tokenizers::models::unigram::Unigram;
use tokenizers::{DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper, Tokenizer};

use crate::checkpoint::json::JsonFile;
use crate::error::ModelError;

/// Qwen2's pattern of words.
const QWEN2_WORDS: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// The pattern of words of Mistral's later tokenizers, which many of their files have wrong.
pub(super) const MISTRAL_WORDS: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Names of classes that use `tokenizer.json` unchanged.
const PLAIN: [&str; 4] = ["TokenizersBackend", "PreTrainedTokenizer", "PythonBackend", "BloomTokenizer"];

/// A class of tokenizers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Uses `tokenizer.json` unchanged.
    File,
    Llama,
    Qwen2,
    Gpt2,
    Bert,
    Roberta,
    XlmRoberta,
    Mpnet,
}

impl Class {
    /// The class for a model of type `model_type` whose files name the class `named`. `byte_level` is whether
    /// `tokenizer.json` has a byte-level part. The flag is whether `named` is an unknown class.
    pub(super) fn of(model_type: &str, named: Option<&str>, byte_level: bool) -> (Self, bool) {
        let named = named.map(|name| name.strip_suffix("Fast").unwrap_or(name));
        let registered = match model_type {
            "bert" | "distilbert" | "nomic_bert" => Some(Self::Bert),
            "mpnet" => Some(Self::Mpnet),
            "roberta" => Some(Self::Roberta),
            "xlm-roberta" => Some(Self::XlmRoberta),
            "qwen2" | "qwen3" => Some(Self::Qwen2),
            "mistral" | "phi3" => Some(Self::File),
            _ => None,
        };
        let Some(named) = named else { return (registered.unwrap_or(Self::File), false) };
        let own = match named {
            "LlamaTokenizer" if byte_level => Some(Self::File),
            "LlamaTokenizer" => Some(Self::Llama),
            "Qwen2Tokenizer" => Some(Self::Qwen2),
            "GPT2Tokenizer" => Some(Self::Gpt2),
            "BertTokenizer" | "DistilBertTokenizer" => Some(Self::Bert),
            "MPNetTokenizer" => Some(Self::Mpnet),
            "RobertaTokenizer" => Some(Self::Roberta),
            "XLMRobertaTokenizer" => Some(Self::XlmRoberta),
            name if PLAIN.contains(&name) => Some(Self::File),
            _ => None,
        };
        match (model_type, registered) {
            // Its checkpoints name many classes.
            ("qwen2", Some(class)) => (class, false),
            (_, Some(Self::File)) => (Self::File, false),
            _ => (own.unwrap_or(Self::File), own.is_none()),
        }
    }

    /// The class's default special tokens.
    pub(super) fn defaults(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::File => &[],
            Self::Llama => &[("unk_token", "<unk>"), ("bos_token", "<s>"), ("eos_token", "</s>")],
            Self::Qwen2 => {
                &[("unk_token", "<|endoftext|>"), ("eos_token", "<|endoftext|>"), ("pad_token", "<|endoftext|>")]
            }
            Self::Gpt2 => {
                &[("unk_token", "<|endoftext|>"), ("bos_token", "<|endoftext|>"), ("eos_token", "<|endoftext|>")]
            }
            Self::Bert => &[
                ("unk_token", "[UNK]"),
                ("sep_token", "[SEP]"),
                ("pad_token", "[PAD]"),
                ("cls_token", "[CLS]"),
                ("mask_token", "[MASK]"),
            ],
            Self::Mpnet => &[
                ("bos_token", "<s>"),
                ("eos_token", "</s>"),
                ("unk_token", "[UNK]"),
                ("sep_token", "</s>"),
                ("pad_token", "<pad>"),
                ("cls_token", "<s>"),
                ("mask_token", "<mask>"),
            ],
            Self::Roberta | Self::XlmRoberta => &[
                ("bos_token", "<s>"),
                ("eos_token", "</s>"),
                ("unk_token", "<unk>"),
                ("sep_token", "</s>"),
                ("pad_token", "<pad>"),
                ("cls_token", "<s>"),
                ("mask_token", "<mask>"),
            ],
        }
    }

    /// Whether `text` is one of the class's default tokens.
    pub(super) fn brings(self, text: &str) -> bool {
        self.defaults().iter().any(|(_, own)| *own == text)
    }

    /// Whether the class can be used with this tokenizer.
    pub(super) fn fits(self, tokenizer: &Tokenizer, byte_level: bool) -> bool {
        match self {
            Self::File => true,
            Self::Llama => matches!(tokenizer.get_model(), ModelWrapper::BPE(_)),
            Self::Qwen2 | Self::Gpt2 | Self::Roberta => {
                byte_level && matches!(tokenizer.get_model(), ModelWrapper::BPE(_))
            }
            Self::Bert | Self::Mpnet => matches!(tokenizer.get_model(), ModelWrapper::WordPiece(_)),
            Self::XlmRoberta => matches!(tokenizer.get_model(), ModelWrapper::Unigram(_)),
        }
    }

    /// Replaces the parts of `tokenizer` that the class defines itself.
    ///
    /// # Errors
    /// The library's message.
    pub(super) fn apply(self, tokenizer: &mut Tokenizer, settings: &ClassSettings) -> Result<(), String> {
        let prefix_space = settings.add_prefix_space;
        match self {
            Self::File => {}
            Self::Llama => {
                let prefix_space = prefix_space.unwrap_or(true);
                let scheme = match (prefix_space, settings.legacy.unwrap_or(false)) {
                    (false, _) => "never",
                    (true, true) => "always",
                    (true, false) => "first",
                };
                let splitter =
                    json!({ "type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": false });
                let mut decoders = vec![
                    json!({ "type": "Replace", "pattern": { "String": "▁" }, "content": " " }),
                    json!({ "type": "ByteFallback" }),
                    json!({ "type": "Fuse" }),
                ];
                if prefix_space {
                    decoders.push(json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 }));
                }
                let decoder = json!({ "type": "Sequence", "decoders": decoders });
                replace(tokenizer, None, splitter, decoder)?;
                set_bpe(tokenizer, true);
            }
            Self::Qwen2 => {
                let words = json!({ "type": "Split", "pattern": { "Regex": QWEN2_WORDS }, "behavior": "Isolated",
                                    "invert": false });
                let bytes = byte_level(prefix_space.unwrap_or(false), false);
                let splitter = json!({ "type": "Sequence", "pretokenizers": [words, bytes] });
                replace(tokenizer, Some(json!({ "type": "NFC" })), splitter, byte_level(true, true))?;
                set_bpe(tokenizer, false);
            }
            Self::Gpt2 | Self::Roberta => {
                let splitter = byte_level(prefix_space.unwrap_or(false), true);
                replace(tokenizer, None, splitter, byte_level(true, true))?;
                set_bpe(tokenizer, false);
            }
            Self::Bert | Self::Mpnet => {
                let normalizer = json!({
                    "type": "BertNormalizer", "clean_text": true,
                    "handle_chinese_chars": settings.tokenize_chinese_chars.unwrap_or(true),
                    "strip_accents": settings.strip_accents,
                    "lowercase": settings.do_lower_case.unwrap_or(true),
                });
                let decoder = json!({ "type": "WordPiece", "prefix": "##", "cleanup": true });
                replace(tokenizer, Some(normalizer), json!({ "type": "BertPreTokenizer" }), decoder)?;
            }
            Self::XlmRoberta => {
                let scheme = if prefix_space.unwrap_or(true) { "always" } else { "never" };
                let space = json!({ "type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": true });
                let splitter =
                    json!({ "type": "Sequence", "pretokenizers": [{ "type": "WhitespaceSplit" }, space.clone()] });
                let normalizer = precompiled(tokenizer.get_normalizer());
                replace(tokenizer, normalizer, splitter, space)?;
                set_unigram(tokenizer)?;
            }
        }
        Ok(())
    }

    /// The post-processor that puts the class's special tokens around a text; `None` for a class that takes the one of the
    /// file. `named` gives the text of a token by its name, `id` the number of a text.
    pub(super) fn post_processor<'a>(
        self,
        named: impl Fn(&str) -> Option<&'a str>,
        id: impl Fn(&str) -> u32,
    ) -> Option<PostProcessorWrapper> {
        let piece = |token: &str, kind: u32| json!({ "SpecialToken": { "id": token, "type_id": kind } });
        let text = |name: &str, kind: u32| json!({ "Sequence": { "id": name, "type_id": kind } });
        let token = |token: &str| json!({ "id": token, "ids": [id(token)], "tokens": [token] });
        let processor = match self {
            Self::Bert => {
                let (cls, sep) = (named("cls_token")?, named("sep_token")?);
                let single = [piece(cls, 0), text("A", 0), piece(sep, 0)];
                let pair = [single.to_vec(), vec![text("B", 1), piece(sep, 1)]].concat();
                json!({ "type": "TemplateProcessing", "single": single, "pair": pair,
                        "special_tokens": { cls: token(cls), sep: token(sep) } })
            }
            Self::Roberta | Self::Mpnet => {
                let (cls, sep) = (named("cls_token")?, named("sep_token")?);
                json!({ "type": "RobertaProcessing", "sep": [sep, id(sep)], "cls": [cls, id(cls)],
                        "trim_offsets": true, "add_prefix_space": false })
            }
            Self::XlmRoberta => {
                let (bos, eos) = (named("bos_token")?, named("eos_token")?);
                let single = [piece(bos, 0), text("A", 0), piece(eos, 0)];
                let pair = [single.to_vec(), vec![piece(eos, 0), text("B", 0), piece(eos, 0)]].concat();
                json!({ "type": "TemplateProcessing", "single": single, "pair": pair,
                        "special_tokens": { bos: token(bos), eos: token(eos) } })
            }
            Self::File | Self::Llama | Self::Qwen2 | Self::Gpt2 => return None,
        };
        serde_json::from_value(processor).ok()
    }
}

/// The keys of `tokenizer_config.json` that classes read; `None` if a key is absent.
#[derive(Default)]
pub(super) struct ClassSettings {
    add_prefix_space: Option<bool>,
    legacy: Option<bool>,
    do_lower_case: Option<bool>,
    strip_accents: Option<bool>,
    tokenize_chinese_chars: Option<bool>,
}

impl ClassSettings {
    /// Reads the keys.
    ///
    /// # Errors
    /// `Config` for a value of the wrong type.
    pub(super) fn read(file: Option<&JsonFile>) -> Result<Self, ModelError> {
        let Some(file) = file else { return Ok(Self::default()) };
        let flag = |key: &str| file.get(key).map(|_| file.flag(key, false)).transpose();
        Ok(Self {
            add_prefix_space: flag("add_prefix_space")?,
            legacy: flag("legacy")?,
            do_lower_case: flag("do_lower_case")?,
            strip_accents: flag("strip_accents")?,
            tokenize_chinese_chars: flag("tokenize_chinese_chars")?,
        })
    }
}

/// Replaces these parts of `tokenizer`.
fn replace(
    tokenizer: &mut Tokenizer,
    normalizer: Option<Value>,
    splitter: Value,
    decoder: Value,
) -> Result<(), String> {
    let failed = |error: serde_json::Error| error.to_string();
    let normalizer: Option<NormalizerWrapper> = normalizer.map(serde_json::from_value).transpose().map_err(failed)?;
    let splitter: PreTokenizerWrapper = serde_json::from_value(splitter).map_err(failed)?;
    let decoder: DecoderWrapper = serde_json::from_value(decoder).map_err(failed)?;
    tokenizer.with_normalizer(normalizer).map_err(|error| error.to_string())?;
    tokenizer.with_pre_tokenizer(Some(splitter));
    tokenizer.with_decoder(Some(decoder));
    Ok(())
}

fn byte_level(add_prefix_space: bool, use_regex: bool) -> Value {
    json!({ "type": "ByteLevel", "add_prefix_space": add_prefix_space, "trim_offsets": true, "use_regex": use_regex })
}

/// Sets the options of the BPE model as the classes have them, with or without byte fallback for unknown letters. A
/// model that has them already is not copied, which would take a tenth of a second.
fn set_bpe(tokenizer: &mut Tokenizer, with_bytes: bool) {
    let ModelWrapper::BPE(model) = tokenizer.get_model() else { return };
    let is_empty = |text: &Option<String>| text.as_deref().unwrap_or_default().is_empty();
    let is_so = |model: &BPE| {
        model.unk_token.is_none()
            && model.dropout.is_none()
            && !model.ignore_merges
            && model.fuse_unk == with_bytes
            && model.byte_fallback == with_bytes
            && is_empty(&model.continuing_subword_prefix)
            && is_empty(&model.end_of_word_suffix)
    };
    if is_so(model) {
        return;
    }
    let mut model = model.clone();
    (model.unk_token, model.dropout, model.ignore_merges) = (None, None, false);
    (model.fuse_unk, model.byte_fallback) = (with_bytes, with_bytes);
    (model.continuing_subword_prefix, model.end_of_word_suffix) = (None, None);
    tokenizer.with_model(model);
}

/// The part of a normalizer that has SentencePiece's precompiled table of characters.
fn precompiled(normalizer: Option<&NormalizerWrapper>) -> Option<Value> {
    let normalizer = serde_json::to_value(normalizer?).ok()?;
    let list = normalizer["normalizers"].as_array().map_or(std::slice::from_ref(&normalizer), Vec::as_slice);
    list.iter().find(|normalizer| normalizer["type"] == "Precompiled").cloned()
}

/// Sets the options of the Unigram model as XLM-RoBERTa's class has them: the unknown token is the fourth, whatever the
/// file names, and there is no byte fallback.
fn set_unigram(tokenizer: &mut Tokenizer) -> Result<(), String> {
    const UNKNOWN: usize = 3;
    let ModelWrapper::Unigram(model) = tokenizer.get_model() else { return Ok(()) };
    let vocabulary: Vec<(String, f64)> = model.iter().cloned().collect();
    let model = Unigram::from(vocabulary, Some(UNKNOWN), false).map_err(|error| error.to_string())?;
    tokenizer.with_model(model);
    Ok(())
}
