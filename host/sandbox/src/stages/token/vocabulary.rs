//! The host functions of the interface `vocabulary`, through which a plugin of the token stage reads the bytes of tokens.

use firebox_contract::TokenId;
use firebox_contract::limits::{STAGE_SPELLED_BYTES_MAX, STAGE_SPELLED_TOKENS_MAX};
use wasmtime::component::{HasSelf, Linker};

use self::bindings::firebox::plugin::vocabulary::{Host, Spelled, add_to_linker};
use crate::instance::guest::GuestData;

#[allow(unreachable_pub, missing_docs, reason = "generated code")]
mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit",
        inline: "package firebox:host-vocabulary; world imports { import firebox:plugin/vocabulary@0.1.0; }",
    });
}

impl Host for GuestData {
    fn spell(&mut self, tokens: Vec<TokenId>) -> Spelled {
        let texts = self.vocabulary.as_deref();
        let text = |token| texts.and_then(|texts| texts.text_of(token)).unwrap_or_default();
        spelled(tokens.into_iter().map(|token| (token, text(token))), STAGE_SPELLED_TOKENS_MAX)
    }

    fn sorted(&mut self, start: Vec<u8>, count: u32) -> Spelled {
        let count = usize::try_from(count).unwrap_or(usize::MAX).min(STAGE_SPELLED_TOKENS_MAX);
        match self.vocabulary.as_deref() {
            Some(texts) => spelled(texts.from(&start), count),
            None => spelled(std::iter::empty(), 0),
        }
    }
}

/// The first `count` tokens, or fewer if they have too many bytes. There is at least one.
fn spelled<'a>(tokens: impl Iterator<Item = (TokenId, &'a [u8])>, count: usize) -> Spelled {
    let mut all = Spelled { tokens: Vec::new(), bytes: Vec::new(), ends: Vec::new() };
    for (token, text) in tokens.take(count) {
        if !all.tokens.is_empty() && all.bytes.len() + text.len() > STAGE_SPELLED_BYTES_MAX {
            break;
        }
        all.tokens.push(token);
        all.bytes.extend_from_slice(text);
        // The bytes of one token have a limit too, far below 4 GiB.
        all.ends.push(all.bytes.len() as u32);
    }
    all
}

/// Adds the functions to the imports of guests.
///
/// # Errors
/// Wasmtime's error, if the name is defined twice.
pub(crate) fn link(linker: &mut Linker<GuestData>) -> wasmtime::Result<()> {
    add_to_linker::<GuestData, HasSelf<GuestData>>(linker, |data| data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_bounded_in_tokens_and_bytes() {
        let text = vec![b'x'; STAGE_SPELLED_BYTES_MAX / 2 - 1];
        let many = || (0..9).map(|token| (token, text.as_slice()));
        assert_eq!(spelled(many(), 9).tokens, [0, 1]);
        assert_eq!(spelled(many(), 1).ends, [text.len() as u32]);
        let one = vec![b'x'; STAGE_SPELLED_BYTES_MAX + 1];
        assert_eq!(spelled([(7, one.as_slice()), (8, b"")].into_iter(), 9).tokens, [7], "one is always there");
    }
}
