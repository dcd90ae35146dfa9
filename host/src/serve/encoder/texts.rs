//! How long a text may be, told by its bytes: what cannot fit is never tokenized.

use firebox_contract::{Error, limits};

/// Bytes that a text may have for a model with so many tokens.
pub(super) fn bytes_max(context_tokens: usize) -> usize {
    context_tokens.saturating_mul(limits::EMBED_TOKEN_BYTES_MAX)
}

/// Refuses a request with a text that cannot fit.
///
/// # Errors
/// `Error::TooLarge`, naming the first such text.
pub(super) fn check(texts: &[String], context_tokens: usize) -> Result<(), Error> {
    let max = bytes_max(context_tokens);
    let Some((place, text)) = texts.iter().enumerate().find(|(_, text)| text.len() > max) else { return Ok(()) };
    let bytes = text.len();
    Err(Error::TooLarge(format!(
        "input[{place}] has {bytes} bytes and the model's {context_tokens} tokens hold {max} at most; shorten it, or set firebox.truncate to true"
    )))
}

/// Cuts what cannot fit: the end of each text, or its beginning where the model keeps the end.
pub(super) fn cut(texts: &mut [String], context_tokens: usize, beginning: bool) {
    let max = bytes_max(context_tokens);
    for text in texts.iter_mut().filter(|text| text.len() > max) {
        if beginning {
            text.drain(..text.ceil_char_boundary(text.len() - max));
        } else {
            text.truncate(text.floor_char_boundary(max));
        }
        text.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters_and_one_that_fits_stays() {
        let max = bytes_max(2);
        let mut texts = vec!["é".repeat(max), "short".to_owned(), format!("a{}", "é".repeat(max))];
        let error = check(&texts, 2).expect_err("too long").to_string();
        assert!(error.contains("input[0] has 256 bytes") && error.contains("128 at most"), "{error}");
        cut(&mut texts, 2, false);
        assert_eq!(texts.iter().map(String::len).collect::<Vec<_>>(), [max, 5, max - 1]);
        assert!(check(&texts, 2).is_ok());
        let mut texts = vec![format!("a{}b", "é".repeat(max))];
        cut(&mut texts, 2, true);
        assert!(texts[0].len() == max - 1 && texts[0].ends_with("éb"), "{}", texts[0]);
    }
}
