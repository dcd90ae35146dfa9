//! Rotary position embedding (Su et al. 2021) in the rotate-half layout of Hugging Face checkpoints.

use burn::tensor::{DType, Device, Tensor, TensorData};
use firebox_contract::limits;

use crate::checkpoint::json::JsonFile;
use crate::error::ModelError;
use crate::load::is_cpu;

/// Default base of the frequencies.
const THETA_DEFAULT: f64 = 10_000.0;

/// The angle each pair of elements turns per position.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rotary {
    /// Radians per position, `[head_dim / 2]`; computed in f32 as Hugging Face does, so that late positions agree.
    frequencies: Vec<f32>,
}

impl Rotary {
    /// Reads `rope_theta` and `rope_scaling`, or `rope_parameters`, which took their place in transformers 5.
    pub(crate) fn read(file: &JsonFile, head_dim: usize) -> Result<Self, ModelError> {
        let parameters = file.optional_object("rope_parameters")?;
        let scaling = match &parameters {
            Some(parameters) => Some(parameters.clone()),
            None => file.optional_object("rope_scaling")?,
        };
        let theta = parameters.as_ref().unwrap_or(file).optional_float("rope_theta", 1.0..=1e12)?;
        check_partial(file)?;
        if let Some(parameters) = &parameters {
            check_partial(parameters)?;
        }
        let mut rotary = Self::unscaled(theta.unwrap_or(THETA_DEFAULT), head_dim);
        if let Some(scaling) = scaling {
            rotary.scale(&scaling)?;
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

    fn scale(&mut self, scaling: &JsonFile) -> Result<(), ModelError> {
        let kind = scaling.optional_text("rope_type")?.or(scaling.optional_text("type")?).unwrap_or("default");
        match kind {
            "default" => Ok(()),
            "linear" => {
                let factor = factor_of(scaling, "factor")?;
                self.frequencies.iter_mut().for_each(|frequency| *frequency /= factor);
                Ok(())
            }
            "llama3" => self.scale_llama3(scaling),
            other => Err(ModelError::Unsupported {
                file: scaling.file.clone(),
                key: "rope_type",
                found: other.chars().take(40).collect(),
                supported: "default, linear, llama3",
            }),
        }
    }

    /// Llama 3.1: long waves are stretched by `factor`, short ones kept, those between interpolated.
    fn scale_llama3(&mut self, scaling: &JsonFile) -> Result<(), ModelError> {
        let factor = factor_of(scaling, "factor")?;
        let low = factor_of(scaling, "low_freq_factor")?;
        let high = factor_of(scaling, "high_freq_factor")?;
        let key = "original_max_position_embeddings";
        let original = scaling.number(key, 1..=limits::CONTEXT_TOKENS_MAX)? as f32;
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

    /// Cosines and sines of these positions.
    pub(crate) fn angles(&self, positions: &[usize], device: &Device) -> Angles {
        let rows = positions.len();
        let mut cos = Vec::with_capacity(rows * self.frequencies.len());
        let mut sin = Vec::with_capacity(rows * self.frequencies.len());
        for position in positions {
            for frequency in &self.frequencies {
                let (s, c) = (*position as f32 * frequency).sin_cos();
                cos.push(c);
                sin.push(s);
            }
        }
        if is_cpu(device) {
            return Angles::Host { cos, sin };
        }
        let shape = [rows, 1, self.frequencies.len()];
        let upload = |values| Tensor::from_data(TensorData::new(values, shape), (device, DType::F32));
        Angles::Device(Box::new(Turns { cos: upload(cos), sin: upload(sin) }))
    }
}

/// Angles of one forward pass, shared by its layers.
#[derive(Debug)]
pub(crate) enum Angles {
    /// Each `[positions, head_dim / 2]`, for the kernels of the CPU.
    Host {
        cos: Vec<f32>,
        sin: Vec<f32>,
    },
    Device(Box<Turns>),
}

/// Each `[positions, 1, head_dim / 2]`.
#[derive(Debug)]
pub(crate) struct Turns {
    cos: Tensor<3>,
    sin: Tensor<3>,
}

impl Turns {
    /// Turns each head of `x`, `[rows, heads, head_dim]`; element `i` pairs with `i + head_dim / 2`.
    pub(crate) fn rotate(&self, x: Tensor<3>) -> Tensor<3> {
        let half = x.dims()[2] / 2;
        let (first, second) = (x.clone().narrow(2, 0, half), x.narrow(2, half, half));
        let (cos, sin) = (&self.cos, &self.sin);
        let low = first.clone() * cos.clone() - second.clone() * sin.clone();
        let high = second * cos.clone() + first * sin.clone();
        Tensor::cat(vec![low, high], 2)
    }
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
