//! Kernels for the CPU: AVX-512, AVX2, NEON or portable code, chosen at run time.
//!
//! ```text
//! linear    matrix products straight from stored weights    elements  norms, activations, gated linear units
//! attention attention over a KV cache                       threads   the pool that a model's thread shares work with
//! weights   weights as files store them
//! ```
//!
//! Nothing here knows a model, a tensor library or a GPU: arguments are slices of numbers.

pub mod attention;
pub mod elements;
pub mod linear;
#[cfg(any(test, feature = "test-cases"))]
pub mod test_cases;
pub mod threads;
pub mod weights;
