//! The probabilities of an answer's tokens.

use crate::model::TokenId;

/// The logarithm of the probability of an impossible token, as in OpenAI's API: minus infinity is no number of JSON.
pub const LOGPROB_LEAST: f32 = -9_999.0;

/// A token and its probability.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoredToken {
    /// The token.
    pub token: TokenId,
    /// Its text as bytes. A token may be a part of a character.
    pub bytes: Vec<u8>,
    /// The natural logarithm of its probability, at least [`LOGPROB_LEAST`]. It is the model's own
    /// distribution: before logit biases, penalties, temperature and every other sampling parameter.
    pub logprob: f32,
}

/// One token of an answer, with the most likely tokens at its place.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenLogprobs {
    /// The token that was sampled.
    pub chosen: ScoredToken,
    /// The most likely tokens, the most likely one first.
    pub top: Vec<ScoredToken>,
}
