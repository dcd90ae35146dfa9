//! The form that an answer must have, and the traits through which the engine keeps a model to it, token by token.

use std::fmt::Debug;

use crate::caller::TenantId;
use crate::error::Error;
use crate::model::TokenId;

/// The form of an answer. The first four are what a request can ask for; the others compose them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Grammar {
    /// One JSON value that is valid against the JSON Schema with this text.
    JsonSchema(String),
    /// One JSON object.
    JsonObject,
    /// A text that this regular expression matches from its beginning to its end, in the syntax of Rust's `regex`.
    Regex(String),
    /// A text of the language of this grammar, in Lark's syntax.
    Lark(String),
    /// This text.
    Text(String),
    /// This text. Where it has the text of a control token, it is that token.
    Marker(String),
    /// Any text up to the first occurrence of `end`, which is included.
    Through {
        /// The end, in which the text of a control token is that token.
        end: String,
        /// Texts that do not come before the end.
        without: Vec<String>,
    },
    /// Any text, also an empty one, that does not contain one of these texts.
    Without(Vec<String>),
    /// The arguments of a call in a notation that is no JSON object.
    Arguments {
        /// The text of the JSON Schema of the arguments; any arguments without one.
        schema: Option<String>,
        /// The notation.
        style: ArgumentStyle,
    },
    /// The parts one after another.
    Sequence(Vec<Grammar>),
    /// One of the parts.
    Choice(Vec<Grammar>),
    /// The part from `min` times up to `max` times.
    Repeat {
        /// The part.
        part: Box<Grammar>,
        /// Fewest times.
        min: usize,
        /// Most times.
        max: usize,
    },
}

/// A notation of arguments: names with values, one after another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ArgumentStyle {
    /// Before a name.
    pub before_name: &'static str,
    /// Between a name and its value.
    pub after_name: &'static str,
    /// After a value.
    pub after_value: &'static str,
    /// Between two arguments.
    pub between: &'static str,
    /// How values are written.
    pub values: ArgumentValues,
}

/// A notation of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ArgumentValues {
    /// Texts as they are, up to what comes after the value, and other values in JSON.
    Plain {
        /// Whether line breaks at the ends of a text belong to it.
        keeps_breaks: bool,
    },
    /// In JSON.
    Json,
    /// Texts between two of these marks, objects with names that have no quotes, and the rest as in JSON.
    Marked(&'static str),
}

impl Grammar {
    /// The part or nothing.
    #[must_use]
    pub fn optional(part: Self) -> Self {
        Self::Repeat { part: Box::new(part), min: 0, max: 1 }
    }

    /// Any text up to the first occurrence of `end`, which is included.
    #[must_use]
    pub fn through(end: impl Into<String>) -> Self {
        Self::Through { end: end.into(), without: Vec::new() }
    }

    /// This text.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }
}

/// Compiles grammars for the vocabulary of one model.
pub trait GrammarCompiler: Send + Sync {
    /// Builds what all grammars of the model need. Takes seconds for a large vocabulary the first time, and nothing later.
    fn prepare(&self) {}

    /// Compiles a grammar, or takes it from the tenant's share of a cache. Takes milliseconds, so it belongs on a thread
    /// that may block. The result is at the beginning of an answer.
    ///
    /// # Errors
    /// `Error::Schema` names the part of a JSON Schema that is not supported. `Error::Usage` for a grammar that is not
    /// valid, cannot be fulfilled or exceeds a limit, and if the vocabulary's tokens have no text.
    fn compile(&self, tenant: &TenantId, grammar: &Grammar) -> Result<Box<dyn TokenConstraint>, Error>;
}

/// The state of a grammar within one answer. Tokens that end an answer are not part of it.
///
/// Each step is bounded. `Error::Usage` says that a step exceeds its bound, or that no token of the vocabulary continues the
/// answer. After an error the state is undefined.
pub trait TokenConstraint: Send + Debug {
    /// Whether `token` may come next. Nothing changes.
    ///
    /// # Errors
    /// See the trait.
    fn allows(&mut self, token: TokenId) -> Result<bool, Error>;

    /// Appends `token` if it may come next; otherwise nothing changes.
    ///
    /// # Errors
    /// See the trait.
    fn accept(&mut self, token: TokenId) -> Result<bool, Error>;

    /// Takes back the last `count` tokens that were appended with `accept`.
    ///
    /// # Errors
    /// See the trait.
    fn take_back(&mut self, count: usize) -> Result<(), Error>;

    /// Appends text that is already part of the answer, such as the opening of a forced tool call. Returns false if the
    /// grammar does not allow it; then the state is undefined.
    ///
    /// # Errors
    /// See the trait.
    fn accept_text(&mut self, text: &str) -> Result<bool, Error>;

    /// All tokens that may come next. Empty if the answer can only end.
    ///
    /// # Errors
    /// See the trait.
    fn mask(&mut self) -> Result<TokenMask, Error>;

    /// Whether the answer may end here.
    ///
    /// # Errors
    /// See the trait.
    fn may_end(&mut self) -> Result<bool, Error>;

    /// Whether the answer is complete and nothing can follow.
    fn has_ended(&self) -> bool;
}

/// A set of tokens, one bit for each.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TokenMask {
    words: Vec<u32>,
}

impl TokenMask {
    /// The set of the tokens whose bits are set. Token `t` is bit `t % 32` of word `t / 32`.
    #[must_use]
    pub fn new(words: Vec<u32>) -> Self {
        Self { words }
    }

    /// Whether `token` is in the set.
    #[must_use]
    pub fn contains(&self, token: TokenId) -> bool {
        self.words.get((token / 32) as usize).is_some_and(|word| (word >> (token % 32)) & 1 == 1)
    }

    /// The words, 32 tokens each.
    #[must_use]
    pub fn words(&self) -> &[u32] {
        &self.words
    }

    /// The tokens of the set, in order.
    pub fn tokens(&self) -> impl Iterator<Item = TokenId> + '_ {
        let numbered = (0..).step_by(32).zip(&self.words);
        numbered.flat_map(|(first, word): (TokenId, _)| {
            (0..32).filter(move |bit| (word >> bit) & 1 == 1).map(move |bit| first + bit)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_has_the_tokens_of_its_bits() {
        let mask = TokenMask::new(vec![0b101, 0, 1 << 31]);
        assert_eq!(mask.tokens().collect::<Vec<_>>(), [0, 2, 95]);
        assert_eq!(
            [0, 1, 2, 94, 95, 96, 4_000].map(|token| mask.contains(token)),
            [true, false, true, false, true, false, false]
        );
    }
}
