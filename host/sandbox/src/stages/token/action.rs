//! Checks what a plugin answers at the token stage, and combines the answers of a chain.

use firebox_contract::limits::STAGE_FORCED_TOKENS_MAX;
use firebox_contract::{TokenAction, TokenId, TokenMask, TokenRule};

use super::GuestTokenAction;

/// The action for a model with `vocabulary` tokens while `held` tokens can be taken back. `None` changes nothing.
///
/// # Errors
/// What is wrong with it, as a sentence about the plugin.
pub(super) fn check(action: GuestTokenAction, vocabulary: usize, held: usize) -> Result<Option<TokenAction>, String> {
    Ok(Some(match action {
        GuestTokenAction::Keep => return Ok(None),
        GuestTokenAction::AllowMask(words) => allowing(mask(words, vocabulary)?)?,
        GuestTokenAction::Allow(tokens) => {
            check_tokens(&tokens, vocabulary)?;
            let mut words = vec![0; vocabulary.div_ceil(32)];
            for token in tokens {
                words[(token / 32) as usize] |= 1 << (token % 32);
            }
            allowing(words)?
        }
        GuestTokenAction::Bias(tokens, values) => {
            check_tokens(&tokens, vocabulary)?;
            if tokens.len() != values.len() {
                return Err(format!("it returned {} tokens and {} biases", tokens.len(), values.len()));
            }
            if let Some(value) = values.iter().find(|value| value.is_nan() || **value == f32::INFINITY) {
                return Err(format!("it returned the bias {value}"));
            }
            let bias = tokens.into_iter().zip(values).collect();
            TokenAction::Choose(TokenRule { bias, ..TokenRule::default() })
        }
        GuestTokenAction::Force(tokens) => {
            check_tokens(&tokens, vocabulary)?;
            if tokens.is_empty() || tokens.len() > STAGE_FORCED_TOKENS_MAX {
                return Err(format!("it forced {} tokens; 1 to {STAGE_FORCED_TOKENS_MAX} are allowed", tokens.len()));
            }
            TokenAction::Force(tokens)
        }
        GuestTokenAction::Backtrack(count) if (1..=held).contains(&count) => TokenAction::Backtrack(count),
        GuestTokenAction::Backtrack(count) => {
            return Err(format!("it took back {count} tokens, and {held} are held back"));
        }
        GuestTokenAction::Stop => TokenAction::Stop,
    }))
}

fn check_tokens(tokens: &[TokenId], vocabulary: usize) -> Result<(), String> {
    match tokens.iter().find(|token| **token as usize >= vocabulary) {
        Some(token) => Err(format!("it named token {token}; the vocabulary has {vocabulary}")),
        None => Ok(()),
    }
}

/// The words of a mask, without the bits after the vocabulary.
fn mask(mut words: Vec<u32>, vocabulary: usize) -> Result<Vec<u32>, String> {
    let wanted = vocabulary.div_ceil(32);
    if words.len() != wanted {
        return Err(format!("its mask has {} words; a vocabulary of {vocabulary} tokens has {wanted}", words.len()));
    }
    if let (Some(last), rest @ 1..) = (words.last_mut(), vocabulary % 32) {
        *last &= (1 << rest) - 1;
    }
    Ok(words)
}

fn allowing(words: Vec<u32>) -> Result<TokenAction, String> {
    if words.iter().all(|word| *word == 0) {
        return Err("it allows no token; end the answer instead".to_owned());
    }
    Ok(TokenAction::Choose(TokenRule { allow: Some(TokenMask::new(words)), bias: Vec::new() }))
}

/// The rules of the plugins so far.
#[derive(Debug, Default)]
pub(super) struct Combined(TokenRule);

impl Combined {
    /// Adds the rule of the next plugin: only tokens that all allow are allowed, and biases are added.
    ///
    /// # Errors
    /// The rule allows no token that the others allow. Nothing is added.
    pub(super) fn add(&mut self, rule: TokenRule) -> Result<(), String> {
        let allow = match (&self.0.allow, rule.allow) {
            (None, new) => new,
            (old, None) => old.clone(),
            (Some(old), Some(new)) => {
                let words: Vec<u32> = old.words().iter().zip(new.words()).map(|(old, new)| old & new).collect();
                if words.iter().all(|word| *word == 0) {
                    return Err("it allows no token that the plugins before it allow".to_owned());
                }
                Some(TokenMask::new(words))
            }
        };
        self.0.allow = allow;
        self.0.bias.extend(rule.bias);
        Ok(())
    }
}

impl From<Combined> for TokenRule {
    fn from(combined: Combined) -> Self {
        combined.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(action: GuestTokenAction, vocabulary: usize) -> Vec<TokenId> {
        match check(action, vocabulary, 0) {
            Ok(Some(TokenAction::Choose(TokenRule { allow: Some(mask), .. }))) => mask.tokens().collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_mask_covers_the_vocabulary_and_a_list_is_the_same_as_its_mask() {
        assert_eq!(allowed(GuestTokenAction::AllowMask(vec![0b101, u32::MAX]), 35), [0, 2, 32, 33, 34]);
        assert_eq!(allowed(GuestTokenAction::Allow(vec![34, 2, 2, 0]), 35), [0, 2, 34]);
        assert_eq!(check(GuestTokenAction::Keep, 35, 0), Ok(None));
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let nan = GuestTokenAction::Bias(vec![1], vec![f32::NAN]);
        let infinite = GuestTokenAction::Bias(vec![1], vec![f32::INFINITY]);
        for (action, expected) in [
            (GuestTokenAction::AllowMask(vec![1]), "1 words; a vocabulary of 35 tokens has 2"),
            (GuestTokenAction::AllowMask(vec![1; 3]), "3 words"),
            (GuestTokenAction::AllowMask(vec![0, 0b1000]), "allows no token"),
            (GuestTokenAction::Allow(Vec::new()), "allows no token"),
            (GuestTokenAction::Allow(vec![35]), "token 35; the vocabulary has 35"),
            (GuestTokenAction::Bias(vec![1, 2], vec![1.0]), "2 tokens and 1 biases"),
            (nan, "bias NaN"),
            (infinite, "bias inf"),
            (GuestTokenAction::Bias(vec![u32::MAX], vec![1.0]), "token 4294967295"),
            (GuestTokenAction::Force(Vec::new()), "forced 0 tokens"),
            (GuestTokenAction::Force(vec![1; STAGE_FORCED_TOKENS_MAX + 1]), "forced 1025 tokens"),
            (GuestTokenAction::Force(vec![99]), "token 99"),
            (GuestTokenAction::Backtrack(0), "took back 0 tokens, and 3 are held back"),
            (GuestTokenAction::Backtrack(4), "took back 4 tokens"),
        ] {
            let reason = check(action, 35, 3).expect_err(expected);
            assert!(reason.contains(expected), "{reason} should contain {expected}");
        }
        let banned = GuestTokenAction::Bias(vec![1], vec![f32::NEG_INFINITY]);
        assert!(check(banned, 35, 0).is_ok());
        assert_eq!(check(GuestTokenAction::Backtrack(3), 35, 3), Ok(Some(TokenAction::Backtrack(3))));
    }

    #[test]
    fn only_what_all_plugins_allow_is_allowed() {
        let allow = |word| TokenRule { allow: Some(TokenMask::new(vec![word])), bias: Vec::new() };
        let bias = |value| TokenRule { allow: None, bias: vec![(1, value)] };
        let mut combined = Combined::default();
        for rule in [bias(1.0), allow(0b1110), bias(2.0), allow(0b0111)] {
            assert_eq!(combined.add(rule), Ok(()));
        }
        assert!(combined.add(allow(0b1000)).is_err());
        let rule = TokenRule::from(combined);
        assert_eq!(rule.allow.expect("a mask").tokens().collect::<Vec<_>>(), [1, 2]);
        assert_eq!(rule.bias, [(1, 1.0), (1, 2.0)]);
    }
}
