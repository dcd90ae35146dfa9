//! Gemma 3 (Kamath et al. 2025): Gemma 2 with norms of queries and keys in place of the soft cap of scores, full attention
//! in every sixth layer, and a rotary embedding for each kind of layer.

use crate::arch::decoder::{ConfigDefaults, DecoderConfig, QkNorms, Rotary, RotaryDefaults, read_window, read_windows};
use crate::arch::decoders::gemma2;
use crate::checkpoint::json::JsonFile;
use crate::error::ModelError;

/// Those of `Gemma3TextConfig`.
const DEFAULTS: ConfigDefaults = ConfigDefaults { vocabulary: 262_208, positions: 131_072, ..gemma2::DEFAULTS };
const WINDOW_DEFAULT: usize = 4_096;
const PATTERN_DEFAULT: usize = 6;
/// Of layers with full attention.
const GLOBAL: RotaryDefaults = RotaryDefaults { theta: 1_000_000.0, ..RotaryDefaults::USUAL };
/// Of layers with a sliding window.
const LOCAL: RotaryDefaults = RotaryDefaults::USUAL;

/// The keys that it reads beyond those of Gemma 2.
pub(super) const KEYS: &[&str] = &["rope_local_base_freq", "sliding_window_pattern"];

/// The part for text of a model that also takes images, which are not supported.
pub(super) fn text_part(file: &JsonFile) -> Result<DecoderConfig, ModelError> {
    config(&file.with_keys_of("text_config")?)
}

pub(super) fn config(file: &JsonFile) -> Result<DecoderConfig, ModelError> {
    let mut config = DecoderConfig::read_without_rotary(file, DEFAULTS)?;
    gemma2::complete(file, &mut config, [None, None])?;
    let sizes = (config.head_dim, config.positions);
    config.rotaries = vec![
        Rotary::read_kind(file, ("full_attention", "rope_theta"), sizes, GLOBAL)?,
        Rotary::read_kind(file, ("sliding_attention", "rope_local_base_freq"), sizes, LOCAL)?,
    ];
    config.positions = config.rotaries.iter().fold(config.positions, |positions, rotary| rotary.positions(positions));
    config.qk_norms = QkNorms::Heads;
    let window = read_window(file, Some(WINDOW_DEFAULT))?;
    let pattern = file.number_or("sliding_window_pattern", PATTERN_DEFAULT, 1..=usize::MAX)?;
    let slides = |layer: usize| !(layer + 1).is_multiple_of(pattern);
    config.set_windows(read_windows(file, window, config.layers.len(), slides)?);
    config.layers.iter_mut().for_each(|layer| layer.rotary = usize::from(layer.window.is_some()));
    Ok(config)
}
