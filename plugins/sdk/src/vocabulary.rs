//! The bytes of tokens, for plugins of the token stage: `firebox:plugin/vocabulary`. It needs no grant. The tokens are those of
//! the model of the session that started last. Outside WebAssembly, in tests, there are none.

/// A token and its bytes, which may be a part of a character.
pub type SpelledToken = (u32, Vec<u8>);

/// The bytes of `tokens`. A token without text, such as one that ends an answer, has no bytes.
#[must_use]
pub fn spell(tokens: &[u32]) -> Vec<SpelledToken> {
    let mut all = Vec::with_capacity(tokens.len());
    while let Some(rest) = tokens.get(all.len()..).filter(|rest| !rest.is_empty()) {
        let batch = imported::spell(rest);
        if batch.is_empty() {
            break;
        }
        all.extend(batch);
    }
    all
}

/// Tokens with text, sorted by their bytes: the first `count` whose bytes are `start` or come after it. The host gives at most
/// 1,024 at once.
#[must_use]
pub fn sorted(start: &[u8], count: u32) -> Vec<SpelledToken> {
    imported::sorted(start, count)
}

#[cfg(target_arch = "wasm32")]
mod imported {
    use super::SpelledToken;
    use crate::bindings::vocabulary::firebox::plugin::vocabulary::{self, Spelled};

    pub(super) fn spell(tokens: &[u32]) -> Vec<SpelledToken> {
        pairs(vocabulary::spell(tokens))
    }

    pub(super) fn sorted(start: &[u8], count: u32) -> Vec<SpelledToken> {
        pairs(vocabulary::sorted(start, count))
    }

    fn pairs(spelled: Spelled) -> Vec<SpelledToken> {
        let mut begin = 0;
        let pair = |(token, end): (u32, u32)| {
            let end = end as usize;
            let bytes = spelled.bytes.get(begin..end).unwrap_or_default().to_vec();
            begin = end;
            (token, bytes)
        };
        spelled.tokens.iter().copied().zip(spelled.ends.iter().copied()).map(pair).collect()
    }
}

#[cfg(not(target_arch = "wasm32"))]
mod imported {
    use super::SpelledToken;

    pub(super) fn spell(_tokens: &[u32]) -> Vec<SpelledToken> {
        Vec::new()
    }

    pub(super) fn sorted(_start: &[u8], _count: u32) -> Vec<SpelledToken> {
        Vec::new()
    }
}
