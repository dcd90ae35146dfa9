//! The continuation of the last matching n-gram.

use firebox_contract::TokenId;
use firebox_contract::limits::{DRAFT_LOOKBACK_TOKENS, DRAFT_MATCH_TOKENS_MAX, DRAFT_MATCH_TOKENS_MIN};

use super::Draft;

/// The `count` tokens after the last place where the end of `tokens` occurs before. The longest match counts, up to
/// `DRAFT_MATCH_TOKENS_MAX` tokens, and the last one of equal length. `None` if there is no match of at least
/// `DRAFT_MATCH_TOKENS_MIN` tokens in the last `DRAFT_LOOKBACK_TOKENS`.
pub(super) fn continuation(tokens: &[TokenId], count: usize) -> Option<Draft> {
    let tokens = &tokens[tokens.len().saturating_sub(DRAFT_LOOKBACK_TOKENS)..];
    let (matched, next) = last_match(tokens)?;
    // A match that reaches the end repeats itself: the draft continues with its own first tokens.
    let period = tokens.len() - next;
    let draft = (0..count).map(|at| tokens[next + at % period]).collect();
    Some(Draft { tokens: draft, matched })
}

/// The length of the best match and the position after it.
fn last_match(tokens: &[TokenId]) -> Option<(usize, usize)> {
    let last = *tokens.last()?;
    let mut best = None;
    let mut longest = DRAFT_MATCH_TOKENS_MIN - 1;
    // Most positions differ in the last token already.
    for next in (1..tokens.len()).rev().filter(|next| tokens[next - 1] == last) {
        let pairs = tokens[..next].iter().rev().zip(tokens.iter().rev()).take(DRAFT_MATCH_TOKENS_MAX);
        let matched = pairs.take_while(|(one, other)| one == other).count();
        if matched > longest {
            (best, longest) = (Some((matched, next)), matched);
        }
        if matched == DRAFT_MATCH_TOKENS_MAX {
            break;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(tokens: &[TokenId], count: usize) -> Option<(Vec<TokenId>, usize)> {
        continuation(tokens, count).map(|draft| (draft.tokens, draft.matched))
    }

    #[test]
    fn the_longest_and_then_the_last_match_counts() {
        assert_eq!(draft(&[7, 1, 2, 9, 5, 7, 1, 2], 2), Some((vec![9, 5], 3)));
        assert_eq!(draft(&[1, 2, 8, 1, 2, 9, 1, 2], 1), Some((vec![9], 2)), "the last of equal length");
        assert_eq!(draft(&[3, 1, 2, 8, 1, 2, 9, 3, 1, 2], 1), Some((vec![8], 3)), "the longer one");
        assert_eq!(draft(&[9, 9, 1, 2, 3, 4, 5, 6, 1, 2, 3, 4], 1), Some((vec![5], DRAFT_MATCH_TOKENS_MAX)));
    }

    #[test]
    fn a_text_without_repetition_has_no_draft() {
        for tokens in [&[][..], &[1], &[1, 1], &[1, 2, 3], &[2, 1, 5, 1]] {
            assert_eq!(draft(tokens, 4), None, "{tokens:?}");
        }
    }

    #[test]
    fn a_match_at_the_end_goes_on_periodically() {
        assert_eq!(draft(&[5, 1, 2, 1, 2], 5), Some((vec![1, 2, 1, 2, 1], 2)));
        assert_eq!(draft(&[4, 4, 4], 3), Some((vec![4, 4, 4], 2)));
    }

    #[test]
    fn the_search_looks_back_a_bounded_number_of_tokens() {
        let mut tokens: Vec<TokenId> = vec![1, 2, 3];
        tokens.extend(10..10 + DRAFT_LOOKBACK_TOKENS as TokenId);
        tokens.extend([1, 2]);
        assert_eq!(draft(&tokens, 1), None);
        tokens.drain(3..8);
        assert_eq!(draft(&tokens, 1), Some((vec![3], 2)));
    }
}
