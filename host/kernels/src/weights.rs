//! Weights as files store them.
//!
//! ```text
//! blob    the bytes of a file    blocks    quantized block types
//! stored  tensors in a blob      repacked  blocks of eight rows together
//! ```

mod blob;
pub mod blocks;
pub mod repacked;
mod stored;

pub use blob::Blob;
pub use stored::{StoredTensor, StoredType, append_f32, has_odd_value};
