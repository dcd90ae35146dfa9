//! `config_sentence_transformers.json`: prompts, length and comparison of vectors.

use std::collections::BTreeMap;

use firebox_contract::{EncoderProfile, EncoderTask, limits};
use serde_json::Value;

use crate::checkpoint::Checkpoint;
use crate::checkpoint::json::{JsonFile, shorten};
use crate::error::ModelError;
use crate::sentence::Modules;

/// Prompts that every model has. They are empty by default.
const ALWAYS: [&str; 2] = ["query", "document"];

/// Similarity functions that depend on the length of vectors.
const BY_LENGTH: [&str; 4] = ["dot", "dot_score", "euclidean", "manhattan"];

/// The settings of the file. It is read only if there is a `modules.json`.
#[derive(Debug)]
pub(crate) struct EncoderSettings {
    prompts: BTreeMap<String, String>,
    default_prompt: Option<String>,
    truncate_dim: Option<usize>,
    uses_cosine: bool,
}

impl EncoderSettings {
    /// Reads the file.
    ///
    /// # Errors
    /// `Unsupported` for another kind of model, `Config` for values that are not right.
    pub(crate) fn read(
        checkpoint: &Checkpoint,
        modules: Option<&Modules>,
        task: EncoderTask,
    ) -> Result<Self, ModelError> {
        let mut settings = Self {
            prompts: ALWAYS.iter().map(|name| ((*name).to_owned(), String::new())).collect(),
            default_prompt: None,
            truncate_dim: None,
            uses_cosine: true,
        };
        if modules.is_none() {
            return Ok(settings);
        }
        let Some(file) = checkpoint.json("config_sentence_transformers.json")? else { return Ok(settings) };
        file.only("model_type", if task == EncoderTask::Rank { "CrossEncoder" } else { "SentenceTransformer" })?;
        settings.prompts.extend(read_prompts(&file)?);
        settings.default_prompt = file.optional_text("default_prompt_name")?.map(str::to_owned);
        if let Some(name) = settings.default_prompt.as_ref().filter(|name| !settings.prompts.contains_key(*name)) {
            return Err(file.wrong("default_prompt_name", format!("is {name:?}, which is none of \"prompts\"")));
        }
        settings.truncate_dim = file.optional_number("truncate_dim", 1..=usize::MAX)?;
        settings.uses_cosine = !file.optional_text("similarity_fn_name")?.is_some_and(|name| BY_LENGTH.contains(&name));
        Ok(settings)
    }

    /// The name of the prompt that is put before each text that names none. `None` if there is none or it is empty.
    pub(crate) fn default_prompt(&self) -> Option<&str> {
        let name = self.default_prompt.as_deref()?;
        self.prompts.get(name).is_some_and(|prompt| !prompt.is_empty()).then_some(name)
    }

    /// The profile of an encoder whose vectors have `width` numbers before they are shortened.
    pub(crate) fn profile(self, task: EncoderTask, width: usize, truncates_left: bool) -> EncoderProfile {
        EncoderProfile {
            task,
            width,
            dimensions: self.truncate_dim.unwrap_or(width).min(width),
            prompts: self.prompts,
            default_prompt: self.default_prompt,
            uses_cosine: self.uses_cosine,
            truncates_left,
        }
    }
}

fn read_prompts(file: &JsonFile) -> Result<BTreeMap<String, String>, ModelError> {
    let entries = match file.get("prompts") {
        None => return Ok(BTreeMap::new()),
        Some(Value::Object(entries)) => entries,
        Some(other) => return Err(file.wrong("prompts", format!("is {}, expected an object", shorten(other)))),
    };
    if entries.len() > limits::EMBED_PROMPTS_MAX {
        let max = limits::EMBED_PROMPTS_MAX;
        return Err(file.wrong("prompts", format!("has {} prompts, at most {max} are allowed", entries.len())));
    }
    let text = |(name, prompt): (&String, &Value)| match prompt {
        Value::Null => Ok((name.clone(), String::new())),
        Value::String(prompt) => Ok((name.clone(), prompt.clone())),
        other => Err(file.wrong("prompts", format!("has {} for {name:?}, expected text", shorten(other)))),
    };
    entries.iter().map(text).collect()
}
