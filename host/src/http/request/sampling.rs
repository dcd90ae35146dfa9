//! The fields of sampling: how tokens are chosen, and where the answer ends.

use firebox_contract::{SamplingOverrides, limits};
use serde_json::Value;

use super::CompletionKind;
use super::fields::{Fields, wrong};
use crate::http::Failure;

/// The names of the maximum number of tokens of an answer. If several are given, the first in this list counts.
const MAX_TOKENS_NAMES: [&str; 4] = ["max_completion_tokens", "max_tokens", "n_predict", "max_new_tokens"];

/// Reads all fields of sampling.
///
/// # Errors
/// 400 for a value that is invalid or out of its range.
pub(super) fn read(fields: &Fields<'_>, kind: CompletionKind) -> Result<SamplingOverrides, Failure> {
    let (length, max_tokens) = max_tokens(fields)?;
    let sampling = SamplingOverrides {
        temperature: fields.number("temperature")?,
        top_k: top_k(fields)?,
        top_p: fields.number("top_p")?,
        min_p: fields.number("min_p")?,
        repetition_penalty: fields.number("repetition_penalty")?,
        presence_penalty: fields.number("presence_penalty")?,
        frequency_penalty: fields.number("frequency_penalty")?,
        logit_bias: logit_bias(fields)?,
        logprobs: if kind == CompletionKind::Chat { chat_logprobs(fields)? } else { text_logprobs(fields)? },
        seed: seed(fields)?,
        max_tokens,
        min_tokens: fields.count("min_tokens")?,
        stop: stop(fields)?,
        stop_tokens: stop_tokens(fields)?,
        ignore_end: fields.flag("ignore_eos")?.unwrap_or(false),
        keep_stop: fields.flag("include_stop_str_in_output")?.unwrap_or(false),
        show_special: !fields.flag("skip_special_tokens")?.unwrap_or(true),
    };
    check_ranges(&sampling, length, kind)?;
    check_window(fields, &sampling)?;
    Ok(sampling)
}

/// Refuses `repeat_last_n`, the window of llama.cpp's penalties, if a penalty is on: penalties here look at all tokens.
fn check_window(fields: &Fields<'_>, sampling: &SamplingOverrides) -> Result<(), Failure> {
    let Some(window) = fields.number("repeat_last_n")? else { return Ok(()) };
    let set = |value: Option<f32>, off: f32| value.is_some_and(|value| value != off);
    let is_off = !set(sampling.repetition_penalty, 1.0)
        && !set(sampling.presence_penalty, 0.0)
        && !set(sampling.frequency_penalty, 0.0);
    if window < 0.0 || is_off {
        return Ok(());
    }
    let message = "\"repeat_last_n\" is not supported: penalties look at all tokens; remove it";
    Err(Failure::unsupported("repeat_last_n", message))
}

/// The maximum number of tokens of the answer, and the name of its field. Every field in use must be a number.
fn max_tokens(fields: &Fields<'_>) -> Result<(&'static str, Option<usize>), Failure> {
    let mut found = ("max_tokens", None);
    for name in MAX_TOKENS_NAMES.into_iter().rev() {
        // llama.cpp's values for no limit.
        let unlimited = name == "n_predict" && fields.get(name).is_some_and(|value| *value == -1 || *value == -2);
        if let Some(count) = if unlimited { None } else { fields.count(name)? } {
            found = (name, Some(count));
        }
    }
    Ok(found)
}

/// -1 means a random seed, as in vLLM and llama.cpp.
fn seed(fields: &Fields<'_>) -> Result<Option<u64>, Failure> {
    let fresh = (-1_i64).cast_unsigned();
    Ok(fields.bits("seed")?.or(fields.bits("random_seed")?).filter(|seed| *seed != fresh))
}

/// -1 means no limit, as in vLLM. So does 0.
fn top_k(fields: &Fields<'_>) -> Result<Option<usize>, Failure> {
    match fields.get("top_k") {
        Some(value) if *value == -1 => Ok(Some(0)),
        _ => fields.count("top_k"),
    }
}

/// Checks the ranges as [`SamplingOverrides::resolve`] does, so that the error names the field.
fn check_ranges(sampling: &SamplingOverrides, length: &str, kind: CompletionKind) -> Result<(), Failure> {
    let top_logprobs = if kind == CompletionKind::Chat { "top_logprobs" } else { "logprobs" };
    let alone = |overrides: SamplingOverrides, field: &str| {
        let checked = overrides.resolve(&SamplingOverrides::default(), 0);
        checked.map(drop).map_err(|error| Failure::from(error).with_param(field))
    };
    let none = SamplingOverrides::default;
    alone(SamplingOverrides { temperature: sampling.temperature, ..none() }, "temperature")?;
    alone(SamplingOverrides { top_p: sampling.top_p, ..none() }, "top_p")?;
    alone(SamplingOverrides { min_p: sampling.min_p, ..none() }, "min_p")?;
    alone(SamplingOverrides { repetition_penalty: sampling.repetition_penalty, ..none() }, "repetition_penalty")?;
    alone(SamplingOverrides { presence_penalty: sampling.presence_penalty, ..none() }, "presence_penalty")?;
    alone(SamplingOverrides { frequency_penalty: sampling.frequency_penalty, ..none() }, "frequency_penalty")?;
    alone(SamplingOverrides { logit_bias: sampling.logit_bias.clone(), ..none() }, "logit_bias")?;
    alone(SamplingOverrides { logprobs: sampling.logprobs, ..none() }, top_logprobs)?;
    alone(SamplingOverrides { max_tokens: sampling.max_tokens, ..none() }, length)?;
    let (max_tokens, min_tokens) = (sampling.max_tokens, sampling.min_tokens);
    alone(SamplingOverrides { max_tokens, min_tokens, ..none() }, "min_tokens")?;
    alone(SamplingOverrides { stop_tokens: sampling.stop_tokens.clone(), ..none() }, "stop_token_ids")?;
    alone(SamplingOverrides { stop: sampling.stop.clone(), ..none() }, "stop")
}

/// `logprobs` and `top_logprobs` of a chat. Plain completions have one number for both.
fn chat_logprobs(fields: &Fields<'_>) -> Result<Option<usize>, Failure> {
    let top = fields.count("top_logprobs")?;
    match (fields.flag("logprobs")?, top) {
        (Some(true), top) => Ok(Some(top.unwrap_or(0))),
        (_, Some(top)) if top > 0 => {
            Err(Failure::field("top_logprobs", "\"top_logprobs\" is only allowed if \"logprobs\" is true"))
        }
        _ => Ok(None),
    }
}

/// `logprobs` of a plain completion: a number. Some clients send false for none.
fn text_logprobs(fields: &Fields<'_>) -> Result<Option<usize>, Failure> {
    let is_off = fields.get("logprobs").is_some_and(|value| *value == false);
    if is_off { Ok(None) } else { fields.count("logprobs") }
}

fn logit_bias(fields: &Fields<'_>) -> Result<Vec<(u32, f32)>, Failure> {
    // Clients that know it as a list of pairs send an empty list.
    if fields.get("logit_bias").is_some_and(|value| value.as_array().is_some_and(Vec::is_empty)) {
        return Ok(Vec::new());
    }
    let Some(biases) = fields.object("logit_bias")? else { return Ok(Vec::new()) };
    let pairs = biases.entries().map(|(token, bias)| {
        let name = biases.name(token);
        let id: u32 = token.parse().map_err(|_| {
            Failure::field(&name, format!("\"{token}\" is not a token id; \"logit_bias\" maps token ids to numbers"))
        })?;
        let bias = bias.as_f64().ok_or_else(|| wrong(&name, "a number", bias))?;
        Ok((id, bias as f32))
    });
    pairs.collect()
}

/// One stop string or several. Empty strings are ignored.
fn stop(fields: &Fields<'_>) -> Result<Vec<String>, Failure> {
    let mut stop = match fields.get("stop") {
        None => Vec::new(),
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(_)) => fields.texts("stop")?.unwrap_or_default(),
        Some(other) => return Err(wrong("stop", "a string or a list of strings", other)),
    };
    stop.retain(|text| !text.is_empty());
    Ok(stop)
}

fn stop_tokens(fields: &Fields<'_>) -> Result<Vec<u32>, Failure> {
    let list = fields.list("stop_token_ids")?.unwrap_or_default();
    if list.len() > limits::STOP_TOKENS_MAX {
        let (count, max) = (list.len(), limits::STOP_TOKENS_MAX);
        return Err(Failure::field("stop_token_ids", format!("{count} token ids given, at most {max} are allowed")));
    }
    let ids = list.iter().enumerate().map(|(at, value)| {
        let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
        id.ok_or_else(|| wrong(&format!("stop_token_ids[{at}]"), "a token id", value))
    });
    ids.collect()
}
