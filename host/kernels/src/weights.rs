//! Weights as files store them.
//!
//! ```text
//! blob    the bytes of a file    blocks  quantized block types    stored  tensors in a blob
//! ```

mod blob;
pub mod blocks;
mod stored;

pub use blob::Blob;
pub use stored::{StoredTensor, StoredType, append_f32, has_odd_value};
