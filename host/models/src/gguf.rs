//! GGUF files: one file (or several numbered ones) with metadata, tokenizer and weights, often quantized.
//!
//! [`reader`] checks the file's tables, [`blocks`] knows the layouts of weights, and the other parts translate names and
//! metadata into the files of a Hugging Face folder, so that everything after them reads one kind of checkpoint.

mod config;
mod encoders;
mod metadata;
mod names;
pub(crate) mod quantize;
mod reader;
#[cfg(test)]
mod tests;
mod tokenizer;
mod view;

pub(crate) use view::GgufFiles;
