//! From one vector per token to one per text, as the modules of a sentence-transformers folder say.

use burn::tensor::Tensor;
use serde_json::Value;

use crate::checkpoint::Checkpoint;
use crate::checkpoint::json::{JsonFile, shorten};
use crate::error::ModelError;

/// How token vectors become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pooling {
    /// Their mean, padding left out.
    Mean,
    /// The first one.
    First,
}

/// What a sentence-transformers folder does after the transformer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) pooling: Pooling,
    /// The model itself ends in a normalization.
    pub(crate) normalize: bool,
}

impl Pooling {
    /// `x` is `[texts, tokens, hidden]`, `real` is 1 for tokens and 0 for padding, `[texts, tokens, 1]`.
    pub(crate) fn pool(self, x: Tensor<3>, real: Tensor<3>) -> Tensor<2> {
        match self {
            Self::First => x.narrow(1, 0, 1).squeeze_dim(1),
            Self::Mean => {
                let sum = (x * real.clone()).sum_dim(1);
                (sum / real.sum_dim(1).clamp_min(1e-9)).squeeze_dim(1)
            }
        }
    }

    /// The same for texts without padding, whose rows stand one after the other: `[rows, hidden]` to `[texts, hidden]`.
    pub(crate) fn pool_rows(self, x: &[f32], hidden: usize, lengths: &[usize]) -> Vec<f32> {
        let (mut out, mut rest) = (vec![0.0; lengths.len() * hidden], x);
        for (out, length) in out.chunks_exact_mut(hidden.max(1)).zip(lengths) {
            let (own, later) = rest.split_at(length * hidden);
            rest = later;
            let (rows, scale) = match self {
                Self::First => (1, 1.0),
                Self::Mean => (*length, 1.0 / (*length).max(1) as f32),
            };
            for row in own.chunks_exact(hidden).take(rows) {
                out.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
            }
            out.iter_mut().for_each(|sum| *sum *= scale);
        }
        out
    }
}

impl Head {
    /// Reads `modules.json` and the pooling's own config; without them, the mean, as sentence-transformers does.
    ///
    /// # Errors
    /// `Unsupported` for a module or pooling mode that is not known here.
    pub(crate) fn read(checkpoint: &Checkpoint) -> Result<Self, ModelError> {
        let mut head = Self { pooling: Pooling::Mean, normalize: false };
        let Some(modules) = JsonFile::read_value(&checkpoint.source, "modules.json")? else { return Ok(head) };
        for module in modules.as_array().into_iter().flatten() {
            let kind = module.get("type").and_then(Value::as_str).unwrap_or_default();
            match kind.rsplit('.').next().unwrap_or_default() {
                "Transformer" => {}
                "Normalize" => head.normalize = true,
                "Pooling" => head.pooling = read_pooling(checkpoint, module)?,
                _ => {
                    return Err(ModelError::Unsupported {
                        file: checkpoint.source.path_of("modules.json"),
                        key: "type",
                        found: shorten(&Value::from(kind)).trim_matches('"').to_owned(),
                        supported: "Transformer, Pooling, Normalize",
                    });
                }
            }
        }
        Ok(head)
    }
}

fn read_pooling(checkpoint: &Checkpoint, module: &Value) -> Result<Pooling, ModelError> {
    let folder = module.get("path").and_then(Value::as_str).unwrap_or("1_Pooling");
    if folder.contains(['/', '\\', ':']) || folder == ".." {
        return Err(ModelError::Config {
            file: checkpoint.source.path_of("modules.json"),
            key: "path".to_owned(),
            reason: format!("is \"{folder}\", expected a plain folder name"),
        });
    }
    let name = format!("{folder}/config.json");
    let Some(config) = checkpoint.json(&name)? else {
        let remedy = "modules.json names it; download the checkpoint again";
        return Err(ModelError::MissingFile { file: checkpoint.source.path_of(&name), remedy });
    };
    let mode = |key: &str| config.flag(key, false);
    match (mode("pooling_mode_cls_token")?, mode("pooling_mode_mean_tokens")?) {
        (true, false) => Ok(Pooling::First),
        (false, true) => Ok(Pooling::Mean),
        _ => Err(ModelError::Unsupported {
            file: config.file.clone(),
            key: "pooling_mode",
            found: "another or more than one".to_owned(),
            supported: "pooling_mode_mean_tokens, pooling_mode_cls_token",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_without_padding_pool_to_one_a_text() {
        let rows = [1.0, 2.0, 3.0, 6.0, 5.0, 4.0];
        assert_eq!(Pooling::Mean.pool_rows(&rows, 2, &[2, 0, 1]), [2.0, 4.0, 0.0, 0.0, 5.0, 4.0]);
        assert_eq!(Pooling::First.pool_rows(&rows, 2, &[2, 0, 1]), [1.0, 2.0, 0.0, 0.0, 5.0, 4.0]);
    }
}
