//! The files of a safetensors folder that a model is made of: config, tokenizer, template and weights.

use super::{Selection, split_name};

/// Files that are read if they are there.
const TEXTS: &[&str] = &[
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    // sentence-transformers.
    "modules.json",
    "config_sentence_transformers.json",
    "sentence_bert_config.json",
    // They say that weights are quantized or changed, so that the model is refused or a warning printed.
    "adapter_config.json",
    "hf_quant_config.json",
    "quant_config.json",
    "quantize_config.json",
];
const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// The files among `paths`.
///
/// # Errors
/// What is missing.
pub(super) fn select(paths: &[&str]) -> Result<Selection, String> {
    if !paths.contains(&CONFIG) {
        return Err(format!("it has neither a GGUF file nor {CONFIG}"));
    }
    let mut files: Vec<String> = weights(paths)?;
    let texts = paths.iter().filter(|path| TEXTS.contains(path) || is_template(path) || is_module(path));
    files.extend(texts.map(|path| (*path).to_owned()));
    files.sort_unstable();
    Ok(Selection { files, gguf: None, label: None })
}

/// The weights: one file, or an index with all of its shards.
fn weights(paths: &[&str]) -> Result<Vec<String>, String> {
    if paths.contains(&WEIGHTS) {
        return Ok(vec![WEIGHTS.to_owned()]);
    }
    let mut shards: Vec<(usize, usize, &str)> = Vec::new();
    for path in paths.iter().filter(|path| path.ends_with(".safetensors")) {
        if let Some(("model", number, of)) = split_name(path) {
            shards.push((number, of, path));
        }
    }
    shards.sort_unstable();
    let count = shards.first().map_or(0, |shard| shard.1);
    let is_whole = count > 0
        && shards.len() == count
        && shards.iter().enumerate().all(|(at, shard)| shard.0 == at + 1 && shard.1 == count);
    if paths.contains(&INDEX) && is_whole {
        let names = shards.iter().map(|shard| shard.2).chain([INDEX]);
        return Ok(names.map(str::to_owned).collect());
    }
    let has = |ending: &str| paths.iter().any(|path| path.ends_with(ending));
    Err(match () {
        () if !shards.is_empty() => {
            format!("of the {count} files of its weights only {} are there, or {INDEX} is missing", shards.len())
        }
        () if has(".bin") || has(".pt") || has(".pth") => {
            format!("its weights are PyTorch files, which can run code and are not read; it needs {WEIGHTS}")
        }
        () if has(".safetensors") => format!("its safetensors files are not called {WEIGHTS}"),
        () => format!("it has neither a GGUF file nor {WEIGHTS}"),
    })
}

/// Named chat templates of transformers.
fn is_template(path: &str) -> bool {
    path.strip_prefix("additional_chat_templates/").is_some_and(|name| name.ends_with(".jinja") && !name.contains('/'))
}

/// The files of a module of sentence-transformers: `1_Pooling/config.json`, `2_Dense/model.safetensors`.
fn is_module(path: &str) -> bool {
    let Some((folder, name)) = path.split_once('/') else { return false };
    let is_folder = folder.split_once('_').is_some_and(|(number, name)| {
        !name.is_empty() && number.len() == 1 && number.bytes().all(|byte| byte.is_ascii_digit())
    });
    is_folder && (name == WEIGHTS || TEXTS.contains(&name))
}
