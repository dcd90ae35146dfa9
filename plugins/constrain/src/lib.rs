//! Keeps the tokens of an answer to a regular language. A plugin makes a [`Pattern`] from what its operator wrote, and a
//! [`Constraint`] of it starts the sessions of the token stage.
//!
//! A session asks for the most likely tokens and allows those that the language allows. Only where it allows none of them, it
//! searches the vocabulary, in the order of the tokens' bytes, and skips all tokens that begin with bytes that cannot come next.
//! What it finds is kept for the next time. So the whole vocabulary never enters the plugin.

mod automaton;
mod parse;
mod pattern;
mod session;
mod utf8;

pub use automaton::Automaton;
pub use parse::parse;
pub use pattern::Pattern;
pub use session::{Constraint, ConstraintSession, Vocabulary};

#[cfg(test)]
mod tests;
