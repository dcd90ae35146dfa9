//! The tests of this crate in one binary: every binary with burn is large and slow to link.

mod common;
mod folder;

/// A module per topic.
mod cases {
    mod bad_input;
    mod config;
    mod encoder;
    mod families;
    mod gguf;
    mod gguf_encoders;
    mod last_token;
    mod parity;
    mod rerankers;
    mod sentence_transformers;
    mod warnings;
}
