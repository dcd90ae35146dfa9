//! The tokens that end an answer.

use std::collections::HashSet;

use firebox_contract::TokenId;
use serde_json::Value;
use tokenizers::Tokenizer;

use crate::arch;
use crate::checkpoint::Checkpoint;
use crate::checkpoint::json::{JsonFile, shorten};
use crate::error::ModelError;

/// The token ids that end an answer: those of the generation config, of the config, and `eos` of the tokenizer. If
/// neither config has the key, the default of the config class, as in transformers.
///
/// # Errors
/// `Config` for an `eos_token_id` that is not a number.
pub(crate) fn read(
    checkpoint: &Checkpoint,
    eos: Option<&str>,
    tokenizer: &Tokenizer,
) -> Result<HashSet<TokenId>, ModelError> {
    let (generation, config) = (checkpoint.json("generation_config.json")?, checkpoint.config()?);
    let mut ends = HashSet::new();
    if let Some(generation) = &generation {
        ends.extend(token_ids(generation)?);
    }
    ends.extend(token_ids(&config)?);
    if generation.is_none() && config.given("eos_token_id").is_none() {
        ends.extend(arch::name_of(&config).ok().and_then(arch::end_of));
    }
    ends.extend(eos.and_then(|text| tokenizer.token_to_id(text)));
    Ok(ends)
}

/// `eos_token_id`: one number or a list. Numbers that no token can have are named in a warning.
fn token_ids(file: &JsonFile) -> Result<Vec<TokenId>, ModelError> {
    let key = "eos_token_id";
    let list = match file.get(key) {
        None => return Ok(Vec::new()),
        Some(Value::Array(list)) => list.as_slice(),
        Some(value) => std::slice::from_ref(value),
    };
    let mut ids = Vec::new();
    for value in list {
        let number =
            value.as_f64().ok_or_else(|| file.wrong(key, format!("is {}, expected token ids", shorten(value))))?;
        match number {
            _ if number.fract() == 0.0 && (0.0..=f64::from(TokenId::MAX)).contains(&number) => {
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole and in range")]
                ids.push(number as TokenId);
            }
            _ => file.warn(key, &format!("is \"{number}\", which no token has; it is not used")),
        }
    }
    Ok(ids)
}
