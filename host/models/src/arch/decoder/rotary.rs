//! Rotary position embedding (Su et al. 2021) in the rotate-half layout of Hugging Face checkpoints.

use std::ops::RangeInclusive;

use firebox_contract::limits;

use crate::checkpoint::json::{JsonFile, shorten};
use crate::error::ModelError;

/// The keys of `config.json` that [`Rotary::read`] reads, beyond the objects with settings.
pub(crate) const ROTARY_KEYS: &[&str] = &["rope_theta", "partial_rotary_factor", "original_max_position_embeddings"];

/// Default base of the frequencies.
const THETA_DEFAULT: f64 = 10_000.0;
const THETA_RANGE: RangeInclusive<f64> = 1.0..=1e12;

/// The angle by which each pair of elements is rotated per position.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rotary {
    /// Radians per position, `[head_dim / 2]`. Computed in f32 as Hugging Face does, so that late positions agree.
    frequencies: Vec<f32>,
    /// Cosines and sines are multiplied by this.
    scale: f32,
    /// The longest context, in tokens, that the frequencies are right for; `None` if they are right for any.
    positions_max: Option<usize>,
}

impl Rotary {
    /// Reads the settings as transformers gathers them: from the object `rope_scaling` if it is not empty, else from
    /// `rope_parameters`. A key that is missing there is looked up in the file itself. `positions` is
    /// `max_position_embeddings`; `original` is the class's default of `original_max_position_embeddings`.
    ///
    /// # Errors
    /// `Unsupported` for a kind of scaling that is not supported, `Config` for values that are not right.
    pub(crate) fn read(
        file: &JsonFile,
        head_dim: usize,
        positions: usize,
        original: Option<usize>,
    ) -> Result<Self, ModelError> {
        let settings = settings(file)?;
        check_partial(file)?;
        let mut theta = file.optional_float("rope_theta", THETA_RANGE)?;
        if let Some(settings) = &settings {
            check_partial(settings)?;
            if let Some(key) = settings.first_object() {
                let reason = format!(
                    "has settings for \"{key}\" alone, which is not supported; all layers have the same settings"
                );
                return Err(file.wrong("rope_parameters", reason));
            }
            let inside = settings.optional_float("rope_theta", THETA_RANGE)?;
            if theta.zip(inside).is_some_and(|(outside, inside)| outside != inside) {
                file.warn("rope_theta", "is not used: the value inside the settings of rotary embedding is used");
            }
            theta = inside.or(theta);
        }
        let mut rotary = Self::unscaled(theta.unwrap_or(THETA_DEFAULT), head_dim);
        if let Some(settings) = settings {
            // The key outside the settings has priority, as for Phi-3 in transformers.
            let key = "original_max_position_embeddings";
            let range = 1..=limits::CONTEXT_TOKENS_MAX;
            let outside = file.optional_number(key, range.clone())?.or(original);
            let original = outside.or(settings.optional_number(key, range)?).unwrap_or(positions);
            rotary.scale(file, &settings, original, positions)?;
        }
        Ok(rotary)
    }

    /// Frequencies `theta^(-2i/d)`.
    pub(crate) fn unscaled(theta: f64, head_dim: usize) -> Self {
        #[allow(clippy::cast_possible_truncation, reason = "Hugging Face computes these in f32 too")]
        let (theta, width) = (theta as f32, head_dim as f32);
        let frequency = |pair: usize| 1.0 / theta.powf((2 * pair) as f32 / width);
        Self { frequencies: (0..head_dim / 2).map(frequency).collect(), scale: 1.0, positions_max: None }
    }

    /// The longest context, in tokens, that the frequencies are right for.
    pub(crate) fn positions_max(&self) -> usize {
        self.positions_max.unwrap_or(usize::MAX)
    }

    fn scale(
        &mut self,
        file: &JsonFile,
        settings: &JsonFile,
        original: usize,
        positions: usize,
    ) -> Result<(), ModelError> {
        let kind = settings.optional_text("rope_type")?.or(settings.optional_text("type")?).unwrap_or("default");
        match kind {
            "default" => {
                if settings.optional_float("factor", 0.0..=1e6)?.is_some_and(|factor| factor != 1.0) {
                    settings.warn("factor", "is not used: \"rope_type\" is \"default\"");
                }
                Ok(())
            }
            // It scales positions beyond `max_position_embeddings`, and no context is that long.
            "dynamic" => Ok(()),
            "linear" => {
                let factor = factor_of(settings, "factor")?;
                self.frequencies.iter_mut().for_each(|frequency| *frequency /= factor);
                Ok(())
            }
            "llama3" => self.scale_llama3(settings, original as f32),
            // "su" is an older name.
            "longrope" | "su" => {
                self.scale_longrope(settings, original, positions)?;
                if positions > original {
                    let reason = format!("is {positions}, but only {original} tokens are supported with \"{kind}\"");
                    file.warn("max_position_embeddings", &reason);
                }
                Ok(())
            }
            other => Err(ModelError::Unsupported {
                file: settings.file.clone(),
                key: "rope_type",
                found: other.chars().take(40).collect(),
                supported: "default, linear, dynamic, llama3, longrope",
            }),
        }
    }

    /// Llama 3.1: long waves are stretched by `factor`, short ones stay, and those between are interpolated.
    fn scale_llama3(&mut self, settings: &JsonFile, original: f32) -> Result<(), ModelError> {
        let factor = factor_of(settings, "factor")?;
        let low = factor_of(settings, "low_freq_factor")?;
        let high = factor_of(settings, "high_freq_factor")?;
        if high <= low {
            return Err(settings.wrong("high_freq_factor", format!("is {high}, expected more than {low}")));
        }
        for frequency in &mut self.frequencies {
            let wavelength = 2.0 * std::f32::consts::PI / *frequency;
            if wavelength > original / low {
                *frequency /= factor;
            } else if wavelength >= original / high {
                let smooth = (original / wavelength - low) / (high - low);
                *frequency = (1.0 - smooth) * *frequency / factor + smooth * *frequency;
            }
        }
        Ok(())
    }

    /// LongRoPE (Ding et al. 2024): a factor for each frequency. Checkpoints have two sets of factors, and transformers
    /// takes the long one as soon as a sequence is longer than `original`, for the cached keys of its earlier tokens as
    /// well. Here keys stay as they were cached, so only the short set is used and the context ends at `original`.
    fn scale_longrope(&mut self, settings: &JsonFile, original: usize, positions: usize) -> Result<(), ModelError> {
        let factors = factors_of(settings, "short_factor", self.frequencies.len())?;
        factors_of(settings, "long_factor", self.frequencies.len())?;
        self.frequencies.iter_mut().zip(factors).for_each(|(frequency, factor)| *frequency /= factor);
        self.positions_max = Some(original);
        let given = settings.optional_float("attention_factor", 1e-3..=1e6)?;
        let stretch = settings.optional_float("factor", 1e-3..=1e6)?.unwrap_or(positions as f64 / original as f64);
        let by_paper = if stretch <= 1.0 { 1.0 } else { (1.0 + stretch.ln() / (original as f64).ln()).sqrt() };
        #[allow(clippy::cast_possible_truncation, reason = "the range is far inside f32")]
        let scale = given.unwrap_or(by_paper) as f32;
        self.scale = scale;
        Ok(())
    }

    /// Cosines and sines of these positions, each `[positions, head_dim / 2]`.
    pub(crate) fn angles(&self, positions: &[usize]) -> (Vec<f32>, Vec<f32>) {
        let angles = |position: usize| self.frequencies.iter().map(move |frequency| position as f32 * frequency);
        let scaled = |angle: f32| (angle.cos() * self.scale, angle.sin() * self.scale);
        positions.iter().copied().flat_map(angles).map(scaled).unzip()
    }

    /// The same in rows, `[positions, head_dim]`: cosines, then sines.
    pub(crate) fn joined_angles(&self, positions: &[usize]) -> Vec<f32> {
        let (cos, sin) = self.angles(positions);
        let half = self.frequencies.len().max(1);
        cos.chunks(half).zip(sin.chunks(half)).flat_map(|(cos, sin)| cos.iter().chain(sin)).copied().collect()
    }
}

/// The object with the settings.
fn settings(file: &JsonFile) -> Result<Option<JsonFile>, ModelError> {
    let parameters = file.optional_object("rope_parameters")?.filter(|settings| !settings.is_empty());
    let Some(scaling) = file.optional_object("rope_scaling")?.filter(|settings| !settings.is_empty()) else {
        return Ok(parameters);
    };
    if parameters.is_some_and(|parameters| !parameters.has_same(&scaling)) {
        file.warn("rope_parameters", "is not used: \"rope_scaling\" is used");
    }
    Ok(Some(scaling))
}

fn factor_of(settings: &JsonFile, key: &str) -> Result<f32, ModelError> {
    #[allow(clippy::cast_possible_truncation, reason = "the range is far inside f32")]
    settings.float(key, 1e-3..=1e6).map(|factor| factor as f32)
}

/// A list of `count` factors.
fn factors_of(settings: &JsonFile, key: &str, count: usize) -> Result<Vec<f32>, ModelError> {
    let factor = |value: &serde_json::Value| value.as_f64().filter(|factor| (1e-3..=1e6).contains(factor));
    #[allow(clippy::cast_possible_truncation, reason = "the range is far inside f32")]
    let narrow = |factor: f64| factor as f32;
    let list = settings.get(key).and_then(|value| value.as_array());
    let factors: Option<Vec<f32>> = list.and_then(|list| list.iter().map(|value| factor(value).map(narrow)).collect());
    factors.filter(|factors| factors.len() == count).ok_or_else(|| {
        let found = settings.get(key).map_or_else(|| "missing".to_owned(), shorten);
        settings.wrong(key, format!("is {found}, expected a list of {count} numbers from 0.001 to 1000000"))
    })
}

fn check_partial(file: &JsonFile) -> Result<(), ModelError> {
    match file.optional_float("partial_rotary_factor", 0.0..=1.0)? {
        Some(part) if part < 1.0 => Err(ModelError::Unsupported {
            file: file.file.clone(),
            key: "partial_rotary_factor",
            found: part.to_string(),
            supported: "1",
        }),
        _ => Ok(()),
    }
}
