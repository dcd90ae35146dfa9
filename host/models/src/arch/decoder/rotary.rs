//! Rotary position embedding (Su et al. 2021) in the rotate-half layout of Hugging Face checkpoints.

mod scaling;

use std::ops::{Range, RangeInclusive};

use firebox_contract::limits;

use crate::checkpoint::json::JsonFile;
use crate::error::ModelError;

/// The keys of `config.json` that [`Rotary::read`] reads, beyond the objects with settings.
pub(crate) const ROTARY_KEYS: &[&str] = &["rope_theta", "partial_rotary_factor", "original_max_position_embeddings"];

const THETA_RANGE: RangeInclusive<f64> = 1.0..=1e12;

/// What an architecture has where its config says nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct RotaryDefaults {
    /// The base of the frequencies.
    pub(crate) theta: f64,
    /// `original_max_position_embeddings`; `None` is `max_position_embeddings`.
    pub(crate) original: Option<usize>,
    /// Whether only a part of each head may be rotated (`partial_rotary_factor`).
    pub(crate) may_be_partial: bool,
}

impl RotaryDefaults {
    /// Those of most architectures.
    pub(crate) const USUAL: Self = Self { theta: 10_000.0, original: None, may_be_partial: false };
}

/// The angle by which each pair of elements is rotated per position.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rotary {
    /// Radians per position of each pair; elements behind the pairs are not rotated. Computed in f32 as Hugging Face
    /// does, so that late positions agree.
    frequencies: Vec<f32>,
    /// Cosines and sines are multiplied by this.
    scale: f32,
    /// The frequencies of contexts that are longer than so many tokens.
    long: Option<(usize, Vec<f32>)>,
    /// The context that the frequencies were stretched to, in tokens.
    stretched: usize,
}

/// What the settings of a scaling refer to.
#[derive(Debug, Clone, Copy)]
struct Positions {
    /// `max_position_embeddings`.
    now: usize,
    /// The context of training before it was stretched.
    original: usize,
}

impl Rotary {
    /// Reads the settings as transformers gathers them: from the object `rope_scaling` if it is not empty, else from
    /// `rope_parameters`. A key that is missing there is looked up in the file itself. `positions` is
    /// `max_position_embeddings`.
    ///
    /// # Errors
    /// `Unsupported` for a kind of scaling that is not supported, `Config` for values that are not right.
    pub(crate) fn read(
        file: &JsonFile,
        head_dim: usize,
        positions: usize,
        defaults: RotaryDefaults,
    ) -> Result<Self, ModelError> {
        let settings = settings(file)?;
        if let Some(key) = settings.as_ref().and_then(JsonFile::first_object) {
            let reason =
                format!("has settings for \"{key}\" alone, which is not supported; all layers have the same settings");
            return Err(file.wrong("rope_parameters", reason));
        }
        Self::of_settings(file, settings, "rope_theta", (head_dim, positions), defaults)
    }

    /// As [`Rotary::read`] for a model whose layers of two kinds have settings of their own. `kind` is the key of theirs in
    /// `rope_parameters`, and `theta_key` the key of their base in the file. `rope_scaling` is that of full attention.
    ///
    /// # Errors
    /// As [`Rotary::read`].
    pub(crate) fn read_kind(
        file: &JsonFile,
        (kind, theta_key): (&str, &str),
        sizes: (usize, usize),
        defaults: RotaryDefaults,
    ) -> Result<Self, ModelError> {
        let scaling = match kind {
            "full_attention" => file.optional_object("rope_scaling")?.filter(|settings| !settings.is_empty()),
            _ => None,
        };
        let own = match file.optional_object("rope_parameters")? {
            Some(parameters) => parameters.optional_object(kind)?,
            None => None,
        };
        Self::of_settings(file, scaling.or(own), theta_key, sizes, defaults)
    }

    fn of_settings(
        file: &JsonFile,
        settings: Option<JsonFile>,
        theta_key: &str,
        (head_dim, positions): (usize, usize),
        defaults: RotaryDefaults,
    ) -> Result<Self, ModelError> {
        let mut part = partial(file, defaults)?;
        let mut theta = file.optional_float(theta_key, THETA_RANGE)?;
        if let Some(settings) = &settings {
            part = partial(settings, defaults)?.or(part);
            let inside = settings.optional_float("rope_theta", THETA_RANGE)?;
            if theta.zip(inside).is_some_and(|(outside, inside)| outside != inside) {
                file.warn(theta_key, "is not used: the value inside the settings of rotary embedding is used");
            }
            theta = inside.or(theta);
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a part of a head's width")]
        let width = (head_dim as f64 * part.unwrap_or(1.0)) as usize;
        if width < 2 || !width.is_multiple_of(2) {
            let reason = format!("leaves {width} of {head_dim} elements, expected an even number");
            return Err(file.wrong("partial_rotary_factor", reason));
        }
        let theta = theta.unwrap_or(defaults.theta);
        let mut rotary = Self::unscaled(theta, width);
        if let Some(settings) = settings {
            let original = Self::original_positions(file, &settings, defaults)?.unwrap_or(positions);
            rotary.scale(&settings, theta, Positions { now: positions, original })?;
        }
        Ok(rotary)
    }

    /// The context of training before it was stretched, in tokens. The key outside the settings has priority, as for
    /// Phi-3 in transformers.
    pub(crate) fn original_positions(
        file: &JsonFile,
        settings: &JsonFile,
        defaults: RotaryDefaults,
    ) -> Result<Option<usize>, ModelError> {
        let (key, range) = ("original_max_position_embeddings", 1..=limits::CONTEXT_TOKENS_MAX);
        let outside = file.optional_number(key, range.clone())?.or(defaults.original);
        Ok(outside.or(settings.optional_number(key, range)?))
    }

    /// Frequencies `theta^(-2i/d)` of the first `width` elements of a head.
    pub(crate) fn unscaled(theta: f64, width: usize) -> Self {
        let wavelengths = wavelengths(theta, width);
        Self { frequencies: wavelengths.map(|length| 1.0 / length).collect(), scale: 1.0, long: None, stretched: 0 }
    }

    /// The base of the frequencies that `file` names, if it names one.
    ///
    /// # Errors
    /// `Config` for a base that is not in its range.
    pub(crate) fn base(file: &JsonFile) -> Result<Option<f64>, ModelError> {
        let inside = match settings(file)? {
            Some(settings) => settings.optional_float("rope_theta", THETA_RANGE)?,
            None => None,
        };
        Ok(inside.or(file.optional_float("rope_theta", THETA_RANGE)?))
    }

    /// What each frequency of base `theta` is divided by, `[width / 2]`.
    pub(crate) fn factors(&self, theta: f64) -> Vec<f32> {
        let plain = Self::unscaled(theta, 2 * self.frequencies.len()).frequencies;
        plain.iter().zip(&self.frequencies).map(|(plain, own)| plain / own).collect()
    }

    /// Whether both rotate alike, but for rounding of the frequencies in a file.
    pub(crate) fn is_near(&self, other: &Self) -> bool {
        let near = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-5 * a.abs();
        self.long.is_none()
            && self.frequencies.len() == other.frequencies.len()
            && self.frequencies.iter().zip(&other.frequencies).all(near)
            && (self.scale - other.scale).abs() <= 1e-6
    }

    /// No rotation: layers without positions (NoPE, Kazemnejad et al. 2023).
    pub(crate) fn none(head_dim: usize) -> Self {
        Self { frequencies: vec![0.0; head_dim / 2], scale: 1.0, long: None, stretched: 0 }
    }

    /// The longest context, in tokens, of a model that has been trained with `positions`.
    pub(crate) fn positions(&self, positions: usize) -> usize {
        positions.max(self.stretched).min(limits::CONTEXT_TOKENS_MAX)
    }

    /// The context, in tokens, up to which other frequencies are used than beyond it.
    pub(crate) fn positions_short(&self) -> Option<usize> {
        self.long.as_ref().map(|(tokens, _)| *tokens)
    }

    /// Chooses the frequencies for contexts of up to so many tokens.
    pub(crate) fn fit_context(&mut self, tokens: usize) {
        if let Some((_, frequencies)) = self.long.take_if(|(short, _)| tokens > *short) {
            self.frequencies = frequencies;
        }
    }

    fn scale(&mut self, settings: &JsonFile, theta: f64, positions: Positions) -> Result<(), ModelError> {
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
                let factor = scaling::factor_of(settings, "factor")?;
                self.frequencies.iter_mut().for_each(|frequency| *frequency /= factor);
                Ok(())
            }
            "llama3" => self.scale_llama3(settings, positions.original as f32),
            "yarn" => self.scale_yarn(settings, theta, positions),
            // "su" is an older name.
            "longrope" | "su" => self.scale_longrope(settings, positions),
            other => Err(ModelError::Unsupported {
                file: settings.file.clone(),
                key: "rope_type",
                found: other.chars().take(40).collect(),
                supported: "default, linear, dynamic, llama3, yarn, longrope",
            }),
        }
    }

    /// Cosines and sines of these positions, each `[positions, pairs]`.
    pub(crate) fn angles(&self, positions: &[usize]) -> (Vec<f32>, Vec<f32>) {
        self.of_frequencies(&self.frequencies, positions.iter().copied()).unzip()
    }

    /// The same for some positions of several sequences, each with the frequencies of a context that ends with them.
    pub(crate) fn angles_of_sequences(&self, sequences: impl Iterator<Item = Range<usize>>) -> (Vec<f32>, Vec<f32>) {
        let of_sequence = |positions: Range<usize>| {
            let long = self.long.as_ref().filter(|(short, _)| positions.end > *short);
            self.of_frequencies(long.map_or(&self.frequencies, |(_, frequencies)| frequencies), positions)
        };
        sequences.flat_map(of_sequence).unzip()
    }

    fn of_frequencies(
        &self,
        frequencies: &[f32],
        positions: impl Iterator<Item = usize>,
    ) -> impl Iterator<Item = (f32, f32)> {
        let angles = move |position: usize| frequencies.iter().map(move |frequency| position as f32 * frequency);
        positions.flat_map(angles).map(|angle| (angle.cos() * self.scale, angle.sin() * self.scale))
    }

    /// The same in rows, `[positions, 2 * pairs]`: cosines, then sines.
    pub(crate) fn joined_angles(&self, positions: &[usize]) -> Vec<f32> {
        let (cos, sin) = self.angles(positions);
        let half = self.frequencies.len().max(1);
        cos.chunks(half).zip(sin.chunks(half)).flat_map(|(cos, sin)| cos.iter().chain(sin)).copied().collect()
    }
}

/// Positions per radian of each pair of elements, in f32 as Hugging Face computes them.
fn wavelengths(theta: f64, width: usize) -> impl Iterator<Item = f32> {
    #[allow(clippy::cast_possible_truncation, reason = "Hugging Face computes these in f32 too")]
    let (theta, all) = (theta as f32, width as f32);
    (0..width / 2).map(move |pair| theta.powf((2 * pair) as f32 / all))
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

/// `partial_rotary_factor`.
fn partial(file: &JsonFile, defaults: RotaryDefaults) -> Result<Option<f64>, ModelError> {
    match file.optional_float("partial_rotary_factor", 0.0..=1.0)? {
        Some(part) if part < 1.0 && !defaults.may_be_partial => Err(ModelError::Unsupported {
            file: file.file.clone(),
            key: "partial_rotary_factor",
            found: part.to_string(),
            supported: "1 in this architecture",
        }),
        part => Ok(part),
    }
}
