//! Keys of the architecture.

use crate::arch::{DecoderConfig, Rotary, RotaryDefaults};
use crate::checkpoint::json::JsonFile;
use crate::error::ModelError;
use crate::gguf::config::{self, Architecture};
use crate::gguf::quantize::writer::WrittenTables;

/// Classes that are written: their tensors are in a file as they are in a folder, but for the order of rows.
const WRITTEN: &[&str] = &["LlamaForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM"];
/// Classes whose weights are those of another architecture's, as long as nothing else differs.
const SAME: &[(&str, &str)] = &[("MistralForCausalLM", "LlamaForCausalLM")];

/// The architecture of GGUF for one of these classes.
///
/// # Errors
/// `Architecture`, with the classes that are written.
pub(super) fn architecture(names: &[&str]) -> Result<&'static Architecture, ModelError> {
    let same = |name: &str| SAME.iter().find(|pair| pair.0 == name).map_or(name.to_owned(), |pair| pair.1.to_owned());
    let is_written = |name: &&String| WRITTEN.contains(&name.as_str());
    let found =
        names.iter().map(|name| same(name)).find(|name| is_written(&name)).and_then(|name| config::of_class(&name));
    found.ok_or_else(|| ModelError::Architecture {
        found: names.first().copied().unwrap_or_default().to_owned(),
        supported: format!("{} when a GGUF file is written", WRITTEN.join(", ")),
    })
}

/// Writes the keys, and returns what each rotary frequency is divided by if that needs a tensor.
///
/// # Errors
/// `Config` for a base of the frequencies that is not a number.
pub(super) fn keys(
    tables: &mut WrittenTables,
    architecture: &Architecture,
    decoder: &DecoderConfig,
    file: &JsonFile,
) -> Result<Option<Vec<f32>>, ModelError> {
    let key = |name: &str| format!("{}.{name}", architecture.name);
    for (name, value) in [
        ("context_length", decoder.positions),
        ("embedding_length", decoder.hidden),
        ("block_count", decoder.layers.len()),
        ("feed_forward_length", decoder.feed_forward),
        ("attention.head_count", decoder.heads),
        ("attention.head_count_kv", decoder.kv_heads),
        ("attention.key_length", decoder.head_dim),
        ("attention.value_length", decoder.head_dim),
        ("rope.dimension_count", decoder.head_dim),
        ("vocab_size", decoder.vocabulary),
    ] {
        // Every one is bounded by a limit of models far below 2^32.
        tables.number(&key(name), u32::try_from(value).unwrap_or(u32::MAX));
    }
    #[allow(clippy::cast_possible_truncation, reason = "the format has 32 bits; reading it back compares")]
    let float = |value: f64| value as f32;
    tables.float(&key("attention.layer_norm_rms_epsilon"), float(decoder.norm_epsilon));
    let theta = Rotary::base(file)?.unwrap_or(RotaryDefaults::USUAL.theta);
    tables.float(&key("rope.freq_base"), float(theta));
    let factors = decoder.rotaries.first().map(|rotary| rotary.factors(theta)).unwrap_or_default();
    let first = factors.first().copied().unwrap_or(1.0);
    if factors.iter().all(|factor| (factor - first).abs() <= 1e-5 * first) {
        if (first - 1.0).abs() > 1e-5 {
            tables.text(&key("rope.scaling.type"), "linear");
            tables.float(&key("rope.scaling.factor"), first);
        }
        return Ok(None);
    }
    Ok(Some(factors))
}

/// Compares what was written with what it was made from.
///
/// # Errors
/// `Usage`, with the first setting that differs.
pub(super) fn compare(own: &DecoderConfig, written: &DecoderConfig, label: &str) -> Result<(), ModelError> {
    let refused = |what: &str| {
        ModelError::Usage(format!("\"{label}\" has settings that a GGUF file of this architecture cannot hold: {what}"))
    };
    let are_near = own.rotaries.iter().zip(&written.rotaries).all(|(own, written)| own.is_near(written));
    if !are_near || own.rotaries.len() != written.rotaries.len() {
        return Err(refused("rotary embedding with this scaling"));
    }
    let text =
        |config: &DecoderConfig| format!("{:#?}", DecoderConfig { rotaries: own.rotaries.clone(), ..config.clone() });
    let (own, written) = (text(own), text(written));
    match own.lines().zip(written.lines()).find(|(own, written)| own != written) {
        Some((own, _)) => Err(refused(own.trim().trim_end_matches(','))),
        None if own != written => Err(refused("settings of single layers")),
        None => Ok(()),
    }
}
