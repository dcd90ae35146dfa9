//! Kernels for the CPU.
//!
//! ```text
//! linear    matrix products straight from stored weights    elements  norms, activations, gated linear units
//! attention attention over a KV cache                       threads   the pool that a model's thread shares work with
//! ```

mod attention;
mod elements;
mod functions;
mod linear;
mod memory;
mod threads;

pub(crate) use attention::{
    Attention, AttentionMask, HeadCache, HeadCacheLayout, HeadNorms, RelativeBias, ScoreScale, SequenceRows,
};
pub(crate) use elements::{cpu_activation, finish_rows, gated, host_row, layer_norm, rms_norm, sum_layer_norm};
pub(crate) use functions::soft_cap;
pub(crate) use linear::StoredMatrix;
pub(crate) use threads::join_pool;

#[cfg(test)]
pub(super) mod test_cases {
    //! References for the tests of the GPU's kernels.
    pub(in crate::kernel) use super::attention::tests::{Case as AttentionCase, cases as attention_cases};
    pub(in crate::kernel) use super::functions::tests::in_f64;
    pub(in crate::kernel) use super::linear::tests::{dot, stored, values};
}
