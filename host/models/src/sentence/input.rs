//! The settings of an encoder's input: the maximum length, the side that is cut, and lower case.
//!
//! `sentence_bert_config.json` is read only if there is a `modules.json`. Its arguments for the tokenizer have priority
//! over its `max_seq_length`, and that over `tokenizer_config.json`.

use firebox_contract::{EncoderTask, limits};
use serde_json::Value;
use tokenizers::Tokenizer;

use crate::checkpoint::Checkpoint;
use crate::checkpoint::json::{JsonFile, shorten};
use crate::error::ModelError;
use crate::metadata::SENTENCE_BERT_CONFIG;
use crate::sentence::{Modules, tokenizer};

/// The names of the file in all versions.
const FILES: [&str; 7] = [
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
];

/// Arguments for other libraries that have no effect on the vectors.
const WITHOUT_EFFECT: [&str; 11] = [
    "attn_implementation",
    "cache_dir",
    "dtype",
    "local_files_only",
    "output_attentions",
    "output_hidden_states",
    "revision",
    "torch_dtype",
    "trust_remote_code",
    "use_cache",
    "use_fast",
];

/// The settings of the input.
#[derive(Debug)]
pub(crate) struct InputSettings {
    /// Maximum tokens of a text, special tokens included.
    pub(crate) max_tokens: usize,
    /// Whether a text that is too long is cut at its beginning.
    pub(crate) truncates_left: bool,
    lower_case: bool,
}

impl InputSettings {
    /// Reads the files. `positions` is the number of tokens that the model accepts.
    ///
    /// # Errors
    /// `Config` for values that are not right, `Unsupported` for features that are not supported.
    pub(crate) fn read(
        checkpoint: &Checkpoint,
        modules: Option<&Modules>,
        positions: usize,
        task: EncoderTask,
    ) -> Result<Self, ModelError> {
        let module = modules.map(|_| read_module(checkpoint)).transpose()?.flatten();
        let module = module.as_ref();
        module.map(|module| check_module(module, task)).transpose()?;
        let own = module.map(tokenizer_arguments).transpose()?.flatten();
        let asked = [
            module.map(processing_limit).transpose()?.flatten(),
            own.as_ref().map(|file| tokens(file, "model_max_length")).transpose()?.flatten(),
            module.map(|file| tokens(file, "max_seq_length")).transpose()?.flatten(),
        ];
        let tokenizer = checkpoint.json("tokenizer_config.json")?;
        let of_tokenizer = tokenizer.as_ref().map(|file| {
            let older = || tokens(file, "max_len");
            tokens(file, "model_max_length").and_then(|limit| limit.map_or_else(older, |limit| Ok(Some(limit))))
        });
        let asked = asked.into_iter().flatten().next().or(of_tokenizer.transpose()?.flatten());
        let side = own.iter().chain(&tokenizer).find(|file| file.has("truncation_side"));
        Ok(Self {
            max_tokens: asked.unwrap_or(positions).min(positions),
            truncates_left: side.map_or(Ok(false), read_side)?,
            lower_case: module.map_or(Ok(false), |file| file.flag("do_lower_case", false))?,
        })
    }

    /// The tokenizer of the folder, and whether it gives the model the types of tokens.
    ///
    /// # Errors
    /// Names the file that is not right.
    pub(crate) fn tokenizer(&self, checkpoint: &Checkpoint) -> Result<(Tokenizer, bool), ModelError> {
        tokenizer::load(checkpoint, self.lower_case)
    }
}

/// The first of the files that has keys.
fn read_module(checkpoint: &Checkpoint) -> Result<Option<JsonFile>, ModelError> {
    for name in FILES {
        if let Some(file) =
            checkpoint.json_as(name, Some(&SENTENCE_BERT_CONFIG))?.filter(|file| file.keys().next().is_some())
        {
            return Ok(Some(file));
        }
    }
    Ok(None)
}

/// Refuses settings by which the vectors would not be those of the last layer, or the scores not those of a classifier.
fn check_module(file: &JsonFile, task: EncoderTask) -> Result<(), ModelError> {
    let [transformer_task, output, method_output] = match task {
        EncoderTask::Embed => ["feature-extraction", "token_embeddings", "last_hidden_state"],
        EncoderTask::Rank => ["sequence-classification", "scores", "logits"],
    };
    file.only("transformer_task", transformer_task)?;
    file.only("module_output_name", output)?;
    for key in ["tokenizer_name_or_path"] {
        if let Some(other) = file.get(key) {
            return Err(file.wrong(key, format!("is {}; only the folder's own tokenizer is read", shorten(other))));
        }
    }
    for key in ["model_args", "model_kwargs", "config_args", "config_kwargs"] {
        let Some(arguments) = file.optional_object(key)? else { continue };
        if let Some(other) = arguments.keys().find(|name| !WITHOUT_EFFECT.contains(name)) {
            return Err(file.wrong(key, format!("has {other:?}, which is not supported")));
        }
    }
    check_modality(file, method_output)
}

fn check_modality(file: &JsonFile, method_output: &'static str) -> Result<(), ModelError> {
    let key = "modality_config";
    let Some(modalities) = file.optional_object(key)? else { return Ok(()) };
    if let Some(other) = modalities.keys().find(|name| *name != "text") {
        return Err(file.wrong(key, format!("has {other:?}; only \"text\" is supported")));
    }
    let Some(text) = modalities.optional_object("text")? else { return Ok(()) };
    text.only("method", "forward")?;
    text.only("method_output_name", method_output)
}

fn tokenizer_arguments(file: &JsonFile) -> Result<Option<JsonFile>, ModelError> {
    // The older name replaces the newer one.
    for key in ["tokenizer_args", "processor_kwargs"] {
        let Some(arguments) = file.optional_object(key)? else { continue };
        let known = |name: &str| {
            ["model_max_length", "truncation_side", "padding_side"].contains(&name) || WITHOUT_EFFECT.contains(&name)
        };
        if let Some(other) = arguments.keys().find(|name| !known(name)) {
            return Err(file
                .wrong(key, format!("has {other:?}, which is not supported here; write it to tokenizer_config.json")));
        }
        return Ok(Some(arguments));
    }
    Ok(None)
}

/// The maximum length in `processing_kwargs`. Other arguments of the tokenizer are refused.
fn processing_limit(file: &JsonFile) -> Result<Option<usize>, ModelError> {
    let key = "processing_kwargs";
    let Some(all) = file.optional_object(key)? else { return Ok(None) };
    let mut limit = None;
    for part in ["common", "text"] {
        let Some(arguments) = all.optional_object(part)? else { continue };
        for name in arguments.keys() {
            match name {
                "max_length" => limit = tokens(&arguments, "max_length")?.or(limit),
                "padding" | "pad_to_multiple_of" | "return_tensors" | "return_attention_mask" => {}
                "truncation" if arguments.get("truncation") != Some(&Value::Bool(false)) => {}
                other => return Err(file.wrong(key, format!("has {other:?}, which is not supported"))),
            }
        }
    }
    Ok(limit)
}

/// A number of tokens. `None` if it is absent, or larger than any model's, as in tokenizers without a limit.
fn tokens(file: &JsonFile, key: &str) -> Result<Option<usize>, ModelError> {
    let huge = |value: &Value| value.as_f64().is_some_and(|number| number > limits::CONTEXT_TOKENS_MAX as f64);
    if file.get(key).is_some_and(huge) {
        return Ok(None);
    }
    file.optional_number(key, 1..=limits::CONTEXT_TOKENS_MAX)
}

fn read_side(file: &JsonFile) -> Result<bool, ModelError> {
    match file.optional_text("truncation_side")? {
        Some("left") => Ok(true),
        None | Some("right") => Ok(false),
        Some(other) => Err(file.wrong("truncation_side", format!("is {other:?}, expected \"right\" or \"left\""))),
    }
}
