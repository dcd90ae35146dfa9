//! The tokenizer of a checkpoint, made from all of its files as in transformers 5.24.

mod class;
mod diagnose;
mod file;
mod special;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};

use firebox_contract::{TokenId, limits};
use serde_json::json;
use tokenizers::{PreTokenizerWrapper, Tokenizer};

use crate::checkpoint::Checkpoint;
use crate::checkpoint::json::JsonFile;
use crate::codec::tokenizer::class::{Class, ClassSettings, MISTRAL_WORDS};
use crate::codec::tokenizer::file::TokenizerFile;
use crate::codec::tokenizer::special::SpecialTokens;
use crate::error::ModelError;

/// Vocabularies with more tokens than this may be Mistral's with the wrong pattern of words.
const MISTRAL_VOCABULARY: usize = 100_000;
/// The types of models with such a vocabulary.
const MISTRAL_TYPES: [&str; 5] = ["mistral", "mistral3", "voxtral", "ministral", "pixtral"];

/// A tokenizer and the special tokens that chat templates know by name.
pub(crate) struct Loaded {
    pub(crate) tokenizer: Tokenizer,
    /// Names such as `bos_token`, and the token's text.
    pub(crate) named: Vec<(String, String)>,
    /// Tokens without an embedding, and their texts.
    pub(crate) beyond: HashMap<TokenId, String>,
    /// Whether a text encoder gets the types of tokens, which tell the texts of a pair apart.
    pub(crate) gives_types: bool,
}

/// Reads `tokenizer.json` and the other files. Their padding and truncation are ignored, since each request decides
/// about them.
///
/// # Errors
/// Names the file, and the part of it, that is missing or that cannot be read.
pub(crate) fn load(checkpoint: &Checkpoint) -> Result<Loaded, ModelError> {
    let path = checkpoint.source.path_of("tokenizer.json");
    let failed = |reason: String| ModelError::Tokenizer { file: path.clone(), reason };
    let bytes = checkpoint.tokenizer_bytes()?;
    let mut tokenizer = parse(&bytes).map_err(|reason| failed(diagnose::explain(&bytes, reason)))?;
    tokenizer.with_padding(None);
    tokenizer.with_truncation(None).map_err(|error| failed(error.to_string()))?;
    let file = TokenizerFile::read(&bytes);
    let settings = checkpoint.json("tokenizer_config.json")?;
    let config = checkpoint.config()?;
    let class = choose(checkpoint, &tokenizer, &file, settings.as_ref(), &config)?;
    class.apply(&mut tokenizer, &ClassSettings::read(settings.as_ref())?).map_err(&failed)?;
    let mut special = SpecialTokens::read(checkpoint, settings.as_ref(), class.defaults())?;
    if let Some(pad) = &file.pad_token {
        special.set_default("pad_token", pad);
    }
    let failed = |error: tokenizers::Error| failed(error.to_string());
    special.add_to(&mut tokenizer).map_err(failed)?;
    if class == Class::Qwen2 {
        special.make_plain(&mut tokenizer).map_err(failed)?;
    }
    let id = |text: &str| tokenizer.token_to_id(text).unwrap_or_default();
    if let Some(processor) = class.post_processor(|name| special.named(name), id) {
        tokenizer.with_post_processor(Some(processor));
    }
    if let Some(settings) = &settings {
        tokenizer.set_encode_special_tokens(settings.flag("split_special_tokens", false)?);
        warn_of_clean_up(checkpoint, settings, &tokenizer)?;
    }
    fix_mistral_words(checkpoint, &mut tokenizer, settings.as_ref(), &config)?;
    let declared = special.numbers().chain(file.numbers());
    warn_of_numbers(checkpoint, &tokenizer, declared);
    let beyond = beyond_rows(&config, &tokenizer)?;
    let names: BTreeMap<&TokenId, &String> = beyond.iter().filter(|(_, text)| !class.brings(text)).collect();
    let names: Vec<String> = names.into_values().cloned().collect();
    checkpoint.warnings().add_names(&format!("\"{path}\": tokens without an embedding in the model"), &names);
    let gives_types = gives_types(class, settings.as_ref())?;
    Ok(Loaded { named: special.texts(), beyond, tokenizer, gives_types })
}

/// By `model_input_names`, else by the class, as in transformers.
fn gives_types(class: Class, settings: Option<&JsonFile>) -> Result<bool, ModelError> {
    let key = "model_input_names";
    let Some((file, names)) = settings.and_then(|file| Some((file, file.get(key)?))) else {
        return Ok(class == Class::Bert);
    };
    let list = names.as_array().ok_or_else(|| file.wrong(key, "is no list of names"))?;
    Ok(list.iter().any(|name| name == "token_type_ids"))
}

/// Tokens without a row in the model's embedding, and their texts.
fn beyond_rows(config: &JsonFile, tokenizer: &Tokenizer) -> Result<HashMap<TokenId, String>, ModelError> {
    let rows = config.optional_number("vocab_size", 1..=limits::MODEL_VOCABULARY_TOKENS_MAX)?;
    let Some(rows) = rows else { return Ok(HashMap::new()) };
    let beyond = tokenizer.get_vocab(true).into_iter().filter(|(_, token)| *token as usize >= rows);
    Ok(beyond.map(|(text, token)| (token, text)).collect())
}

fn parse(bytes: &[u8]) -> Result<Tokenizer, String> {
    let parse = || Tokenizer::from_bytes(bytes).map_err(|error| error.to_string());
    // The library panics on some invalid input. A panic is treated as an invalid tokenizer.
    std::panic::catch_unwind(parse).unwrap_or_else(|panic| Err(firebox_contract::panic_text(&*panic).to_owned()))
}

/// The class that reads the tokenizer. An unknown class is named in a warning.
fn choose(
    checkpoint: &Checkpoint,
    tokenizer: &Tokenizer,
    file: &TokenizerFile,
    settings: Option<&JsonFile>,
    config: &JsonFile,
) -> Result<Class, ModelError> {
    let named = settings.map(|settings| settings.optional_text("tokenizer_class")).transpose()?.flatten();
    let named = named.or(config.optional_text("tokenizer_class")?);
    let model_type = config.optional_text("model_type")?.unwrap_or_default();
    let (class, is_unknown) = Class::of(model_type, named, file.is_byte_level);
    if is_unknown {
        let path = checkpoint.source.path_of("tokenizer_config.json");
        let text = format!(
            "\"{path}\": the rules of this \"tokenizer_class\" are not known; tokenizer.json is used unchanged"
        );
        checkpoint.warnings().add_names(&text, &[named.unwrap_or_default().to_owned()]);
    }
    if class.fits(tokenizer, file.is_byte_level) {
        return Ok(class);
    }
    let path = checkpoint.source.path_of("tokenizer.json");
    let text = format!("\"{path}\": it does not fit the tokenizer class of this model, and is used unchanged");
    checkpoint.warnings().add_names(&text, &[format!("{class:?}")]);
    Ok(Class::File)
}

/// Warns that the spaces before punctuation stay. transformers removes them from a whole answer, which is not possible
/// in a stream.
fn warn_of_clean_up(checkpoint: &Checkpoint, settings: &JsonFile, tokenizer: &Tokenizer) -> Result<(), ModelError> {
    let for_bpe = settings.flag("clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output", false)?;
    let is_bpe = matches!(tokenizer.get_model(), tokenizers::models::ModelWrapper::BPE(_));
    if settings.flag("clean_up_tokenization_spaces", false)? && (!is_bpe || for_bpe) {
        let path = checkpoint.source.path_of("tokenizer_config.json");
        let what = "is not followed: answers keep the spaces before punctuation";
        checkpoint.warnings().add(format!("\"{path}\": \"clean_up_tokenization_spaces\" {what}"));
    }
    Ok(())
}

/// Corrects the pattern of words of a Mistral tokenizer if `fix_mistral_regex` asks for it. Warns if the pattern is
/// wrong and the key is absent.
fn fix_mistral_words(
    checkpoint: &Checkpoint,
    tokenizer: &mut Tokenizer,
    settings: Option<&JsonFile>,
    config: &JsonFile,
) -> Result<(), ModelError> {
    let asked = settings.map(|settings| settings.flag("fix_mistral_regex", false)).transpose()?.unwrap_or(false);
    let is_of_mistral = config.optional_text("model_type")?.is_none_or(|kind| MISTRAL_TYPES.contains(&kind));
    let version = config.optional_text("transformers_version")?.unwrap_or_default();
    let is_old = version.split('.').next().and_then(|major| major.parse::<u32>().ok()).is_none_or(|major| major < 5);
    let Some(splitter) = tokenizer.get_pre_tokenizer() else { return Ok(()) };
    if !is_of_mistral || !is_old || tokenizer.get_vocab_size(true) <= MISTRAL_VOCABULARY {
        return Ok(());
    }
    let splitter = serde_json::to_value(splitter).unwrap_or_default();
    let words =
        json!({ "type": "Split", "pattern": { "Regex": MISTRAL_WORDS }, "behavior": "Isolated", "invert": false });
    let fixed = match splitter["type"].as_str() {
        Some("Sequence") => {
            let rest = splitter["pretokenizers"].as_array().into_iter().flatten().skip(1).cloned();
            std::iter::once(words).chain(rest).collect()
        }
        Some("Metaspace") => vec![
            words,
            json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
                                                 "use_regex": false }),
        ],
        _ => vec![words, splitter.clone()],
    };
    let fixed = json!({ "type": "Sequence", "pretokenizers": fixed });
    if asked {
        let failed = |error: serde_json::Error| ModelError::Tokenizer {
            file: checkpoint.source.path_of("tokenizer.json"),
            reason: error.to_string(),
        };
        let fixed: PreTokenizerWrapper = serde_json::from_value(fixed).map_err(failed)?;
        tokenizer.with_pre_tokenizer(Some(fixed));
    } else if splitter["pretokenizers"][0]["pattern"]["Regex"].as_str().is_some_and(|own| own != MISTRAL_WORDS) {
        let path = checkpoint.source.path_of("tokenizer.json");
        let remedy = "if it is wrong, put \"fix_mistral_regex\": true into tokenizer_config.json";
        checkpoint.warnings().add(format!("\"{path}\": its pattern of words is not that of Mistral; {remedy}"));
    }
    Ok(())
}

/// Warns about tokens whose number differs from the one in their file. Tokens that a vocabulary lacks are numbered in
/// their order, as in transformers.
fn warn_of_numbers<'a>(checkpoint: &Checkpoint, tokenizer: &Tokenizer, declared: impl Iterator<Item = (u32, &'a str)>) {
    let moved = declared.filter_map(|(number, text)| {
        let own = tokenizer.token_to_id(text).filter(|own| *own != number)?;
        Some(format!("{text}: {own} and not {number}"))
    });
    let path = checkpoint.source.path_of("tokenizer.json");
    checkpoint.warnings().add_names(
        &format!("\"{path}\": added tokens have another number than in their file, as in transformers"),
        &moved.collect::<Vec<_>>(),
    );
}
