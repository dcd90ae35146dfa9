//! Rotary position embedding (Su et al. 2021) in the rotate-half layout of Hugging Face checkpoints.

use std::ops::RangeInclusive;

use firebox_contract::limits;

use crate::checkpoint::json::JsonFile;
use crate::error::ModelError;

/// Default base of the frequencies.
const THETA_DEFAULT: f64 = 10_000.0;
const THETA_RANGE: RangeInclusive<f64> = 1.0..=1e12;

/// The angle each pair of elements turns per position.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rotary {
    /// Radians per position, `[head_dim / 2]`; computed in f32 as Hugging Face does, so that late positions agree.
    frequencies: Vec<f32>,
}

impl Rotary {
    /// Reads the settings as transformers gathers them: an object `rope_scaling` that is not empty, else
    /// `rope_parameters`; what is not in it is looked for beside it. `positions` is `max_position_embeddings`.
    pub(crate) fn read(file: &JsonFile, head_dim: usize, positions: usize) -> Result<Self, ModelError> {
        let settings = settings(file)?;
        check_partial(file)?;
        let mut theta = file.optional_float("rope_theta", THETA_RANGE)?;
        if let Some(settings) = &settings {
            check_partial(settings)?;
            if let Some(key) = settings.first_object() {
                let reason =
                    format!("has settings for \"{key}\" alone, which is not supported; all layers turn alike here");
                return Err(file.wrong("rope_parameters", reason));
            }
            let inside = settings.optional_float("rope_theta", THETA_RANGE)?;
            if theta.zip(inside).is_some_and(|(beside, inside)| beside != inside) {
                file.warn("rope_theta", "is not used: the one inside of the settings of rotary embedding counts");
            }
            theta = inside.or(theta);
        }
        let mut rotary = Self::unscaled(theta.unwrap_or(THETA_DEFAULT), head_dim);
        if let Some(settings) = settings {
            // The one beside the settings comes first, as for Phi-3 in transformers.
            let key = "original_max_position_embeddings";
            let range = 1..=limits::CONTEXT_TOKENS_MAX;
            let beside = file.optional_number(key, range.clone())?;
            let original = beside.or(settings.optional_number(key, range)?).unwrap_or(positions);
            rotary.scale(&settings, original)?;
        }
        Ok(rotary)
    }

    /// Frequencies `theta^(-2i/d)`.
    pub(crate) fn unscaled(theta: f64, head_dim: usize) -> Self {
        #[allow(clippy::cast_possible_truncation, reason = "Hugging Face computes these in f32 too")]
        let (theta, width) = (theta as f32, head_dim as f32);
        let frequency = |pair: usize| 1.0 / theta.powf((2 * pair) as f32 / width);
        Self { frequencies: (0..head_dim / 2).map(frequency).collect() }
    }

    fn scale(&mut self, scaling: &JsonFile, original: usize) -> Result<(), ModelError> {
        let kind = scaling.optional_text("rope_type")?.or(scaling.optional_text("type")?).unwrap_or("default");
        match kind {
            "default" => {
                if scaling.optional_float("factor", 0.0..=1e6)?.is_some_and(|factor| factor != 1.0) {
                    scaling.warn("factor", "is not used: \"rope_type\" is \"default\"");
                }
                Ok(())
            }
            // It scales what lies behind `max_position_embeddings`, and no context is longer here.
            "dynamic" => Ok(()),
            "linear" => {
                let factor = factor_of(scaling, "factor")?;
                self.frequencies.iter_mut().for_each(|frequency| *frequency /= factor);
                Ok(())
            }
            "llama3" => self.scale_llama3(scaling, original as f32),
            other => Err(ModelError::Unsupported {
                file: scaling.file.clone(),
                key: "rope_type",
                found: other.chars().take(40).collect(),
                supported: "default, linear, dynamic, llama3",
            }),
        }
    }

    /// Llama 3.1: long waves are stretched by `factor`, short ones kept, those between interpolated.
    fn scale_llama3(&mut self, scaling: &JsonFile, original: f32) -> Result<(), ModelError> {
        let factor = factor_of(scaling, "factor")?;
        let low = factor_of(scaling, "low_freq_factor")?;
        let high = factor_of(scaling, "high_freq_factor")?;
        if high <= low {
            return Err(scaling.wrong("high_freq_factor", format!("is {high}, expected more than {low}")));
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

    /// Cosines and sines of these positions, each `[positions, head_dim / 2]`.
    pub(crate) fn angles(&self, positions: &[usize]) -> (Vec<f32>, Vec<f32>) {
        let turn = |position: usize| self.frequencies.iter().map(move |frequency| position as f32 * frequency);
        positions.iter().copied().flat_map(turn).map(|angle| (angle.cos(), angle.sin())).unzip()
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
        file.warn("rope_parameters", "is not used: \"rope_scaling\" counts");
    }
    Ok(Some(scaling))
}

fn factor_of(scaling: &JsonFile, key: &str) -> Result<f32, ModelError> {
    #[allow(clippy::cast_possible_truncation, reason = "the range is far inside f32")]
    scaling.float(key, 1e-3..=1e6).map(|factor| factor as f32)
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
