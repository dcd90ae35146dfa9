//! Pooling: from one vector per token to one per text.

use burn::tensor::{DType, Tensor, TensorData};
use serde_json::Value;

use crate::checkpoint::json::{JsonFile, shorten};
use crate::error::ModelError;

/// Added to numbers that are not part of a maximum.
const LEFT_OUT: f32 = -1e30;

/// A way to make one vector of token vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// The first token's vector.
    First,
    /// The maximum of each number.
    Max,
    Mean,
    /// The sum of the vectors, divided by the square root of their number.
    MeanSqrtLen,
    /// The mean of the vectors, weighted by their positions, counted from 1.
    WeightedMean,
    /// The last token's vector.
    Last,
}

/// The modes with their names and older names, in the order in which older names are concatenated.
const MODES: [(Mode, &str, &str); 6] = [
    (Mode::First, "cls", "pooling_mode_cls_token"),
    (Mode::Max, "max", "pooling_mode_max_tokens"),
    (Mode::Mean, "mean", "pooling_mode_mean_tokens"),
    (Mode::MeanSqrtLen, "mean_sqrt_len_tokens", "pooling_mode_mean_sqrt_len_tokens"),
    (Mode::WeightedMean, "weightedmean", "pooling_mode_weightedmean_tokens"),
    (Mode::Last, "lasttoken", "pooling_mode_lasttoken"),
];

/// The pooling of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pooling {
    /// The vectors of all modes are concatenated.
    modes: Vec<Mode>,
    /// Whether the tokens of a prompt are pooled like those of the text.
    pub(crate) include_prompt: bool,
}

/// The tokens of one text in a forward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rows {
    pub(crate) tokens: usize,
    /// Tokens at the beginning that are not pooled.
    pub(crate) left_out: usize,
}

impl Default for Pooling {
    fn default() -> Self {
        Self { modes: vec![Mode::Mean], include_prompt: true }
    }
}

impl Pooling {
    /// The first token's vector.
    pub(crate) fn first() -> Self {
        Self { modes: vec![Mode::First], include_prompt: true }
    }
}

impl Mode {
    /// The weight of each token. All vectors except the maximum are sums with these weights; the maximum is that of the
    /// tokens with a weight. If no token has a weight, the sum is zero, or the first token for `First`.
    fn weights(self, rows: Rows) -> Vec<f32> {
        let first = rows.left_out.min(rows.tokens);
        let count = rows.tokens - first;
        let mut weights = vec![0.0; rows.tokens];
        let counted = weights.iter_mut().enumerate().skip(first);
        match self {
            Self::Max => counted.for_each(|(_, weight)| *weight = 1.0),
            Self::Mean => counted.for_each(|(_, weight)| *weight = 1.0 / count as f32),
            Self::MeanSqrtLen => counted.for_each(|(_, weight)| *weight = 1.0 / (count as f32).sqrt()),
            Self::WeightedMean => {
                let sum: f32 = (first..rows.tokens).map(|at| (at + 1) as f32).sum();
                counted.for_each(|(at, weight)| *weight = (at + 1) as f32 / sum);
            }
            Self::First | Self::Last => {
                let at = if self == Self::Last { rows.tokens.wrapping_sub(1) } else { first % rows.tokens.max(1) };
                let none = self == Self::Last && count == 0;
                weights.get_mut(at).filter(|_| !none).into_iter().for_each(|weight| *weight = 1.0);
            }
        }
        weights
    }
}

impl Pooling {
    /// The length of a text's vector if a token's vector has `hidden` numbers.
    pub(crate) fn width(&self, hidden: usize) -> usize {
        self.modes.len() * hidden
    }

    /// Pools `x`, `[texts, tokens, hidden]`, padded on the right, to `[texts, width]`.
    pub(crate) fn pool(&self, x: &Tensor<3>, texts: &[Rows]) -> Tensor<2> {
        let [_, tokens, _] = x.dims();
        let modes = self.modes.iter().map(|mode| {
            let mut weights = Vec::with_capacity(texts.len() * tokens);
            for rows in texts {
                let end = weights.len() + tokens;
                weights.extend(mode.weights(*rows));
                weights.resize(end, 0.0);
            }
            let data = TensorData::new(weights, [texts.len(), tokens, 1]);
            let weights: Tensor<3> = Tensor::from_data(data, (&x.device(), DType::F32));
            match mode {
                Mode::Max => (x.clone() * weights.clone() + (weights * -LEFT_OUT + LEFT_OUT)).max_dim(1).squeeze_dim(1),
                _ => (x.clone() * weights).sum_dim(1).squeeze_dim(1),
            }
        });
        Tensor::cat(modes.collect(), 1)
    }

    /// Pools texts without padding, whose rows are concatenated: `[rows, hidden]` to `[texts, width]`.
    pub(crate) fn pool_rows(&self, x: &[f32], hidden: usize, texts: &[Rows]) -> Vec<f32> {
        let mut out = Vec::with_capacity(texts.len() * self.width(hidden));
        let mut rest = x;
        for rows in texts {
            let (own, later) = rest.split_at((rows.tokens * hidden).min(rest.len()));
            rest = later;
            for mode in &self.modes {
                out.extend(mode.of_rows(own, hidden, *rows));
            }
        }
        out
    }

    /// Reads the config of a Pooling module.
    ///
    /// # Errors
    /// `Unsupported` for an unknown mode, `Config` for values of other types.
    pub(crate) fn read(config: &JsonFile) -> Result<Self, ModelError> {
        let modes = match config.get("pooling_mode") {
            None => by_older_names(config)?,
            Some(Value::Array(names)) => names.iter().map(|name| named(config, name)).collect::<Result<_, _>>()?,
            Some(name) => vec![named(config, name)?],
        };
        if modes.is_empty() {
            return Err(config.wrong("pooling_mode", "is an empty list, expected at least one mode"));
        }
        Ok(Self { modes, include_prompt: config.flag("include_prompt", true)? })
    }
}

impl Mode {
    fn of_rows(self, x: &[f32], hidden: usize, rows: Rows) -> Vec<f32> {
        let weights = self.weights(rows);
        let mut counted = x.chunks_exact(hidden.max(1)).zip(weights).filter(|(_, weight)| *weight != 0.0);
        if self == Self::Max {
            let first = counted.next().map_or_else(|| vec![0.0; hidden], |(row, _)| row.to_vec());
            return counted.fold(first, |mut most, (row, _)| {
                most.iter_mut().zip(row).for_each(|(most, value)| *most = most.max(*value));
                most
            });
        }
        let mut sum = vec![0.0; hidden];
        for (row, weight) in counted {
            sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += value * weight);
        }
        sum
    }
}

fn by_older_names(config: &JsonFile) -> Result<Vec<Mode>, ModelError> {
    let mut modes = Vec::new();
    for (mode, _, older) in MODES {
        if config.flag(older, false)? {
            modes.push(mode);
        }
    }
    // The default of sentence-transformers.
    if modes.is_empty() {
        modes.push(Mode::Mean);
    }
    Ok(modes)
}

fn named(config: &JsonFile, name: &Value) -> Result<Mode, ModelError> {
    let known = MODES.iter().find(|(_, known, _)| name.as_str() == Some(known));
    known.map(|(mode, ..)| *mode).ok_or_else(|| ModelError::Unsupported {
        file: config.file.clone(),
        key: "pooling_mode",
        found: shorten(name).trim_matches('"').to_owned(),
        supported: "cls, max, mean, mean_sqrt_len_tokens, weightedmean, lasttoken, or a list of them",
    })
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    const TEXTS: [Rows; 3] =
        [Rows { tokens: 3, left_out: 0 }, Rows { tokens: 3, left_out: 1 }, Rows { tokens: 1, left_out: 0 }];

    fn all() -> Pooling {
        Pooling { modes: MODES.iter().map(|mode| mode.0).collect(), include_prompt: false }
    }

    #[test]
    fn each_pooling_mode_weights_its_tokens() {
        let weights = |mode: Mode, left_out| mode.weights(Rows { tokens: 4, left_out });
        assert_eq!(weights(Mode::First, 0), [1.0, 0.0, 0.0, 0.0]);
        assert_eq!(weights(Mode::First, 2), [0.0, 0.0, 1.0, 0.0]);
        assert_eq!(weights(Mode::Last, 2), [0.0, 0.0, 0.0, 1.0]);
        assert_eq!(weights(Mode::Mean, 2), [0.0, 0.0, 0.5, 0.5]);
        assert_eq!(weights(Mode::Max, 2), [0.0, 0.0, 1.0, 1.0]);
        assert_eq!(weights(Mode::MeanSqrtLen, 0), [0.5; 4]);
        assert_eq!(weights(Mode::WeightedMean, 3), [0.0, 0.0, 0.0, 1.0]);
        assert_eq!(weights(Mode::WeightedMean, 0), [0.1, 0.2, 0.3, 0.4]);
        // All tokens are left out.
        assert_eq!(weights(Mode::First, 4), [1.0, 0.0, 0.0, 0.0]);
        assert!([Mode::Last, Mode::Mean, Mode::Max].iter().all(|mode| weights(*mode, 9) == [0.0; 4]));
        assert!(MODES.iter().all(|mode| mode.0.weights(Rows { tokens: 0, left_out: 2 }).is_empty()));
    }

    #[test]
    fn padded_texts_and_rows_without_padding_are_pooled_alike() {
        let device = Device::flex();
        let rows: Vec<f32> = (0..14).map(|at| ((at * 5) % 7) as f32 - 5.0).collect();
        let padded: Vec<f32> = rows.iter().copied().chain([9.0; 4]).collect();
        let x = Tensor::from_data(TensorData::new(padded, [3, 3, 2]), (&device, DType::F32));
        let pooled = all().pool(&x, &TEXTS).try_into_vec_as::<f32>().expect("numbers");
        let expected = all().pool_rows(&rows, 2, &TEXTS);
        assert_eq!((pooled.len(), all().width(2)), (36, 12));
        assert!(pooled.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-5), "{pooled:?} {expected:?}");
    }
}
