//! `tokenizer.json` and `tokenizer_config.json` out of a GGUF file's metadata.

mod sentence_piece;
pub(super) mod splitters;
mod unigram;
mod word_piece;

use serde_json::{Map, Value, json};

use crate::error::ModelError;
use crate::gguf::metadata::Metadata;

/// Types of tokens, as the file numbers them.
const UNKNOWN: u64 = 2;
const CONTROL: u64 = 3;
const USER_DEFINED: u64 = 4;

/// Names of special tokens in `tokenizer_config.json`, and the key that gives each one's number.
const SPECIAL: &[(&str, &str)] = &[
    ("bos_token", "bos_token_id"),
    ("eos_token", "eos_token_id"),
    ("unk_token", "unknown_token_id"),
    ("pad_token", "padding_token_id"),
    ("sep_token", "seperator_token_id"),
    ("cls_token", "cls_token_id"),
    ("mask_token", "mask_token_id"),
];

/// The vocabulary and the parts of the tokenizer that depend on its kind.
pub(super) struct Vocabulary<'a> {
    metadata: &'a Metadata,
    pub(super) tokens: Vec<&'a str>,
    kinds: Vec<u64>,
}

fn key(name: &str) -> String {
    format!("tokenizer.ggml.{name}")
}

impl<'a> Vocabulary<'a> {
    /// Reads tokens and their types.
    ///
    /// # Errors
    /// `Config` where the file has no vocabulary, or one of the wrong type.
    pub(super) fn read(metadata: &'a Metadata) -> Result<Self, ModelError> {
        let name = key("tokens");
        let tokens = metadata.texts(&name)?.ok_or_else(|| metadata.wrong(&name, "is missing"))?;
        let name = key("token_type");
        let kinds: Vec<u64> =
            metadata.floats(&name)?.unwrap_or_default().into_iter().map(|kind| kind.max(0.0) as u64).collect();
        if !kinds.is_empty() && kinds.len() != tokens.len() {
            return Err(metadata.wrong(&name, format!("has {} entries for {} tokens", kinds.len(), tokens.len())));
        }
        Ok(Self { metadata, tokens, kinds })
    }

    /// Whether the embedding has a row for each token.
    ///
    /// # Errors
    /// `Config` where there are more tokens.
    pub(super) fn check_rows(&self, rows: usize) -> Result<(), ModelError> {
        let count = self.tokens.len();
        if count > rows {
            return Err(self
                .metadata
                .wrong(&key("tokens"), format!("has {count} tokens, but the embedding has {rows} rows")));
        }
        Ok(())
    }

    /// `tokenizer.json`.
    ///
    /// # Errors
    /// `Unsupported` for a kind of tokenizer or a way to split text that is not known; `Config` for broken lists.
    pub(super) fn tokenizer(&self) -> Result<Value, ModelError> {
        let name = key("model");
        let kind = self.metadata.text(&name)?.ok_or_else(|| self.metadata.wrong(&name, "is missing"))?;
        let parts = match kind {
            "gpt2" => self.byte_level()?,
            "llama" => sentence_piece::parts(self)?,
            "bert" => word_piece::parts(self)?,
            "t5" => unigram::parts(self)?,
            other => {
                return Err(ModelError::Unsupported {
                    file: self.metadata.file().to_owned(),
                    key: "tokenizer.ggml.model",
                    found: other.chars().take(40).collect(),
                    supported: "gpt2 (byte-level BPE), llama (SentencePiece BPE), bert (WordPiece), t5 (Unigram)",
                });
            }
        };
        let post_processor = match parts.post_processor {
            Some(processor) => processor,
            None => self.post_processor(parts.adds_bos)?,
        };
        let mut file = Map::new();
        file.insert("version".to_owned(), json!("1.0"));
        file.insert("added_tokens".to_owned(), self.added());
        for (name, part) in [
            ("normalizer", parts.normalizer),
            ("pre_tokenizer", parts.splitter),
            ("post_processor", post_processor),
            ("decoder", parts.decoder),
            ("model", parts.model),
        ] {
            file.insert(name.to_owned(), part);
        }
        Ok(Value::Object(file))
    }

    /// Byte-level BPE with merges, split as `tokenizer.ggml.pre` says.
    fn byte_level(&self) -> Result<Parts, ModelError> {
        let name = key("merges");
        let merges = self.metadata.texts(&name)?.ok_or_else(|| self.metadata.wrong(&name, "is missing"))?;
        let name = key("pre");
        let pre = self.metadata.text(&name)?.unwrap_or("default");
        let splitter = splitters::find(pre).ok_or_else(|| ModelError::Unsupported {
            file: self.metadata.file().to_owned(),
            key: "tokenizer.ggml.pre",
            found: pre.chars().take(40).collect(),
            supported: splitters::NAMES,
        })?;
        let vocabulary: Map<String, Value> =
            self.tokens.iter().enumerate().map(|(id, token)| ((*token).to_owned(), json!(id))).collect();
        let decoder = json!({ "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true });
        Ok(Parts {
            normalizer: if splitter.composes { json!({ "type": "NFC" }) } else { Value::Null },
            splitter: splitter.json(),
            decoder,
            model: json!({
                "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "",
                "end_of_word_suffix": "", "fuse_unk": false, "byte_fallback": false,
                "ignore_merges": splitter.whole_words_first, "vocab": vocabulary, "merges": merges,
            }),
            adds_bos: splitter.adds_bos,
            // An encoder, which reads pairs too.
            post_processor: match pre {
                "roberta-bpe" => Some(self.encoder_processor(true, true, true)?),
                "modern-bert" => Some(self.encoder_processor(true, true, false)?),
                _ => None,
            },
        })
    }

    /// Control tokens, which are special, and those that a user defined, which are not split.
    fn added(&self) -> Value {
        let kinds = self.kinds.iter().enumerate().filter(|(_, kind)| matches!(**kind, CONTROL | USER_DEFINED));
        let added = kinds.map(|(id, kind)| {
            json!({ "id": id, "content": self.tokens[id], "single_word": false, "lstrip": false, "rstrip": false,
                    "normalized": false, "special": *kind == CONTROL })
        });
        Value::Array(added.collect())
    }

    /// The text of the token whose number stands under `name`.
    fn special(&self, name: &str) -> Result<Option<&'a str>, ModelError> {
        let name = key(name);
        let Some(id) = self.metadata.number(&name)? else { return Ok(None) };
        let token = usize::try_from(id).ok().and_then(|id| self.tokens.get(id));
        let count = self.tokens.len();
        token.copied().map(Some).ok_or_else(|| self.metadata.wrong(&name, format!("is {id}, of {count} tokens")))
    }

    /// Puts the first and the last token around a text where the file or the kind of tokenizer asks for it.
    fn post_processor(&self, adds_bos: bool) -> Result<Value, ModelError> {
        let adds = |name: &str, default: bool| {
            Ok::<_, ModelError>(self.metadata.flag(&key(&format!("add_{name}_token")))?.unwrap_or(default))
        };
        let first = if adds("bos", adds_bos)? { self.special("bos_token_id")? } else { None };
        let last = if adds("eos", false)? { self.special("eos_token_id")? } else { None };
        let piece = |token: &str| json!({ "SpecialToken": { "id": token, "type_id": 0 } });
        let single: Vec<Value> = first
            .map(piece)
            .into_iter()
            .chain([json!({ "Sequence": { "id": "A", "type_id": 0 } })])
            .chain(last.map(piece))
            .collect();
        let mut pair = single.clone();
        pair.push(json!({ "Sequence": { "id": "B", "type_id": 0 } }));
        let special: Vec<&str> = [first, last].into_iter().flatten().collect();
        Ok(self.template(&single, &pair, &special))
    }

    /// A post-processor with these pieces and special tokens.
    fn template(&self, single: &[Value], pair: &[Value], special: &[&str]) -> Value {
        let id = |token: &str| self.tokens.iter().position(|own| *own == token);
        let tokens: Map<String, Value> = special
            .iter()
            .map(|token| ((*token).to_owned(), json!({ "id": token, "ids": [id(token)], "tokens": [token] })))
            .collect();
        json!({ "type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": tokens })
    }

    /// The post-processor of encoders: a text or a pair between the first and the last token, with the last one between the
    /// texts of a pair, or twice as in RoBERTa and XLM-RoBERTa. The first two flags are what holds where the file does not say.
    ///
    /// # Errors
    /// `Config` for a token that is missing.
    fn encoder_processor(&self, adds_bos: bool, adds_eos: bool, is_doubled: bool) -> Result<Value, ModelError> {
        let adds = |name: &str, default: bool| {
            Ok::<_, ModelError>(self.metadata.flag(&key(&format!("add_{name}_token")))?.unwrap_or(default))
        };
        let first = if adds("bos", adds_bos)? { self.special("bos_token_id")? } else { None };
        let last = if adds("eos", adds_eos)? { self.special("eos_token_id")? } else { None };
        let piece = |token: &str| json!({ "SpecialToken": { "id": token, "type_id": 0 } });
        let text = |name: &str| json!({ "Sequence": { "id": name, "type_id": 0 } });
        let end = || last.map(piece).into_iter();
        let single: Vec<Value> = first.map(piece).into_iter().chain([text("A")]).chain(end()).collect();
        let between = end().filter(|_| is_doubled);
        let pair: Vec<Value> = single.iter().cloned().chain(between).chain([text("B")]).chain(end()).collect();
        let special: Vec<&str> = [first, last].into_iter().flatten().collect();
        Ok(self.template(&single, &pair, &special))
    }

    /// The type of a token.
    fn kind(&self, id: usize) -> u64 {
        self.kinds.get(id).copied().unwrap_or(1)
    }

    /// The scores of all tokens.
    ///
    /// # Errors
    /// `Config` where they are missing or of another number.
    fn scores(&self) -> Result<Vec<f64>, ModelError> {
        let name = key("scores");
        let scores = self.metadata.floats(&name)?.ok_or_else(|| self.metadata.wrong(&name, "is missing"))?;
        if scores.len() != self.tokens.len() {
            let counts = format!("has {} entries for {} tokens", scores.len(), self.tokens.len());
            return Err(self.metadata.wrong(&name, counts));
        }
        Ok(scores)
    }

    /// `tokenizer_config.json`: special tokens by name, and chat templates.
    ///
    /// # Errors
    /// `Config` for a token that the vocabulary does not have.
    pub(super) fn settings(&self) -> Result<Value, ModelError> {
        let mut settings = Map::new();
        settings.insert("tokenizer_class".to_owned(), json!("PreTrainedTokenizer"));
        for (name, id) in SPECIAL {
            if let Some(token) = self.special(id)? {
                settings.insert((*name).to_owned(), json!(token));
            }
        }
        for id in ["eot_token_id", "eom_token_id"] {
            self.special(id)?;
        }
        if let Some(template) = self.metadata.text("tokenizer.chat_template")? {
            let names = self.metadata.texts("tokenizer.chat_templates")?.unwrap_or_default();
            let mut templates = vec![json!({ "name": "default", "template": template })];
            for name in names {
                if let Some(template) = self.metadata.text(&format!("tokenizer.chat_template.{name}"))? {
                    templates.push(json!({ "name": name, "template": template }));
                }
            }
            let only = templates.len() == 1;
            settings.insert("chat_template".to_owned(), if only { json!(template) } else { Value::Array(templates) });
        }
        Ok(Value::Object(settings))
    }
}

/// The parts of `tokenizer.json` that depend on the kind of tokenizer.
struct Parts {
    normalizer: Value,
    splitter: Value,
    decoder: Value,
    model: Value,
    /// Whether a text starts with the first token where the file does not say.
    adds_bos: bool,
    /// What puts special tokens around a text, where it is not that of language models.
    post_processor: Option<Value>,
}
