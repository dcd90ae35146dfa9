//! Scalings of rotary frequencies, for contexts that are longer than those of training.

use std::f64::consts::PI;

use super::{Positions, Rotary, wavelengths};
use crate::checkpoint::json::{JsonFile, shorten};
use crate::error::ModelError;

/// Rotations over the original context beyond which YaRN leaves a frequency, and below which it stretches it wholly.
const YARN_ROTATIONS: [f64; 2] = [32.0, 1.0];

impl Rotary {
    /// Llama 3.1: long waves are stretched by `factor`, short ones stay, and those between are interpolated.
    pub(super) fn scale_llama3(&mut self, settings: &JsonFile, original: f32) -> Result<(), ModelError> {
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

    /// YaRN (Peng et al. 2023): as Llama 3.1, with a ramp over the pairs, and longer queries and keys.
    pub(super) fn scale_yarn(
        &mut self,
        settings: &JsonFile,
        theta: f64,
        positions: Positions,
    ) -> Result<(), ModelError> {
        let number = |key: &str| settings.optional_float(key, 0.0..=1e6);
        let positive = |key: &str| Ok::<_, ModelError>(number(key)?.filter(|value| *value > 0.0));
        let original = positions.original as f64;
        let factor = positive("factor")?.unwrap_or(positions.now as f64 / original);
        let [fast, slow] = [positive("beta_fast")?, positive("beta_slow")?];
        let width = 2 * self.frequencies.len();
        let pair_of = |rotations: f64| width as f64 * (original / (rotations * 2.0 * PI)).ln() / (2.0 * theta.ln());
        let (low, high) = (pair_of(fast.unwrap_or(YARN_ROTATIONS[0])), pair_of(slow.unwrap_or(YARN_ROTATIONS[1])));
        let (low, high) = if settings.flag("truncate", true)? { (low.floor(), high.ceil()) } else { (low, high) };
        let (low, high) = (low.max(0.0), high.min(width as f64 - 1.0));
        let span = if low == high { 0.001 } else { high - low };
        #[allow(clippy::cast_possible_truncation, reason = "Hugging Face computes these in f32 too")]
        let (low, span, divisor) = (low as f32, span as f32, factor as f32);
        for (pair, (frequency, length)) in self.frequencies.iter_mut().zip(wavelengths(theta, width)).enumerate() {
            let kept = 1.0 - ((pair as f32 - low) / span).clamp(0.0, 1.0);
            *frequency = 1.0 / (divisor * length) * (1.0 - kept) + 1.0 / length * kept;
        }
        let growth = |weight: f64| if factor <= 1.0 { 1.0 } else { 0.1 * weight * factor.ln() + 1.0 };
        let by_paper = match (positive("mscale")?, positive("mscale_all_dim")?) {
            (Some(one), Some(all)) => growth(one) / growth(all),
            _ => growth(1.0),
        };
        #[allow(clippy::cast_possible_truncation, reason = "the range is far inside f32")]
        let scale = settings.optional_float("attention_factor", 1e-3..=1e6)?.unwrap_or(by_paper) as f32;
        self.scale = scale;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast saturates")]
        let stretched = (original * factor) as usize;
        self.stretched = stretched;
        Ok(())
    }

    /// LongRoPE (Ding et al. 2024): a factor for each frequency. Checkpoints have two sets of factors, and transformers
    /// takes the long one as soon as a sequence is longer than `original`, for the cached keys of its earlier tokens as
    /// well. Here keys stay as they were cached, so the context that a model is loaded for decides.
    pub(super) fn scale_longrope(&mut self, settings: &JsonFile, positions: Positions) -> Result<(), ModelError> {
        let Positions { now, original } = positions;
        let short = factors_of(settings, "short_factor", self.frequencies.len())?;
        let long = factors_of(settings, "long_factor", self.frequencies.len())?;
        let divided = |factors: Vec<f32>| self.frequencies.iter().zip(factors).map(|(f, factor)| f / factor).collect();
        let (short, long) = (divided(short), divided(long));
        (self.frequencies, self.long) = (short, Some((original, long)));
        let given = settings.optional_float("attention_factor", 1e-3..=1e6)?;
        let stretch = settings.optional_float("factor", 1e-3..=1e6)?.unwrap_or(now as f64 / original as f64);
        let by_paper = if stretch <= 1.0 { 1.0 } else { (1.0 + stretch.ln() / (original as f64).ln()).sqrt() };
        #[allow(clippy::cast_possible_truncation, reason = "the range is far inside f32")]
        let scale = given.unwrap_or(by_paper) as f32;
        self.scale = scale;
        Ok(())
    }
}

pub(super) fn factor_of(settings: &JsonFile, key: &str) -> Result<f32, ModelError> {
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
