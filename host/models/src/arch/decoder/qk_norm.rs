//! The RMS norms of queries and keys before they are rotated (Henry et al. 2020).

use burn::tensor::Tensor;
use firebox_kernels::attention::HeadNorms;

use crate::arch::decoder::config::{DecoderConfig, QkNorms};
use crate::checkpoint::weights::Weights;
use crate::error::ModelError;
use crate::kernel::host_row;
use crate::layers::RmsNorm;

#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "a layer has one")]
pub(super) enum QkNorm {
    /// Of each head by itself, which the kernels of attention compute.
    Heads {
        /// The weights for queries, then those for keys: `[2 * head_dim]`.
        weights: Tensor<1>,
        host: HeadNorms,
    },
    /// Of all heads together, with the numbers of columns.
    Whole { queries: (RmsNorm, usize), keys: (RmsNorm, usize) },
}

impl QkNorm {
    /// `names` are those of the weights for queries and for keys.
    pub(super) fn load(
        weights: &Weights<'_>,
        names: [String; 2],
        config: &DecoderConfig,
    ) -> Result<Option<Self>, ModelError> {
        let [queries, keys] = names;
        match config.qk_norms {
            QkNorms::None => Ok(None),
            QkNorms::Heads => {
                let load = |name: &str| config.norm_weight(weights, name, config.head_dim);
                let (queries, keys) = (load(&queries)?, load(&keys)?);
                let epsilon = config.norm_epsilon as f32;
                let host = HeadNorms { queries: host_row(&queries), keys: host_row(&keys), epsilon };
                Ok(Some(Self::Heads { weights: Tensor::cat(vec![queries, keys], 0), host }))
            }
            QkNorms::Whole => {
                let load = |name: &str, heads: usize| {
                    let width = heads * config.head_dim;
                    config.norm(weights, name, width).map(|norm| (norm, width))
                };
                Ok(Some(Self::Whole { queries: load(&queries, config.heads)?, keys: load(&keys, config.kv_heads)? }))
            }
        }
    }

    /// Norms the queries and keys of `qkv`, `[rows, (heads + 2 * kv_heads) * head_dim]`, where that is done for all
    /// heads together.
    pub(super) fn of_all_heads(&self, qkv: Tensor<2>) -> Tensor<2> {
        let Self::Whole { queries: (queries, q), keys: (keys, k) } = self else { return qkv };
        let columns = qkv.dims()[1];
        let part = |from: usize, count: usize| qkv.clone().narrow(1, from, count);
        let values = part(q + k, columns - q - k);
        Tensor::cat(vec![queries.forward(part(0, *q)), keys.forward(part(*q, *k)), values], 1)
    }

    /// The weights for the kernels of a GPU and of the CPU, where each head is normed by itself.
    pub(super) fn of_each_head(&self) -> Option<(&Tensor<1>, &HeadNorms)> {
        match self {
            Self::Heads { weights, host } => Some((weights, host)),
            Self::Whole { .. } => None,
        }
    }
}
