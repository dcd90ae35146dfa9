//! Grammars that a model's output keeps to, token by token: JSON Schema, regular expressions, Lark grammars and tool calls.
//!
//! [`Compiler`] implements the contract's `GrammarCompiler` on llguidance (an Earley parser over a lexer of derivatives of
//! regular expressions, which walks a trie of the vocabulary). It reads the texts of a model's tokens once
//! (`vocabulary`), writes the requested grammar in llguidance's Lark dialect (`lark`), and keeps compiled grammars in a
//! cache with a share for each tenant (`cache`).
//!
//! A JSON Schema is first checked and rewritten (`schema`). Each keyword is enforced, known to limit nothing, or refused
//! with its JSON Pointer. It is never passed over silently.

mod cache;
mod compiler;
mod constraint;
mod error;
mod lark;
mod schema;
#[cfg(test)]
mod tests;
mod vocabulary;

pub use compiler::Compiler;
pub use error::GrammarError;
