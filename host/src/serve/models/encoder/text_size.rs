//! The maximum length of a text in bytes. A longer text cannot fit the model and is never tokenized.

use firebox_contract::{Error, limits};

/// The maximum bytes of a text for a model of this context size.
pub(super) fn bytes_max(context_tokens: usize) -> usize {
    context_tokens.saturating_mul(limits::EMBED_TOKEN_BYTES_MAX)
}

/// Checks the lengths of all texts. `name` is the name of a text in messages.
///
/// # Errors
/// `Error::TooLarge` with the name of the first text that cannot fit.
pub(super) fn check(texts: &[String], context_tokens: usize, name: impl Fn(usize) -> String) -> Result<(), Error> {
    let max = bytes_max(context_tokens);
    let Some((index, text)) = texts.iter().enumerate().find(|(_, text)| text.len() > max) else { return Ok(()) };
    let (bytes, name) = (text.len(), name(index));
    Err(Error::TooLarge(format!(
        "{name} has {bytes} bytes, and a text for {context_tokens} tokens has at most {max}; shorten it, or set \"firebox.truncate\" to true"
    )))
}

/// Truncates texts that cannot fit at their end, or at their beginning if `beginning`.
pub(super) fn truncate(texts: &mut [String], context_tokens: usize, beginning: bool) {
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
    fn a_text_is_truncated_between_characters_and_one_that_fits_is_unchanged() {
        let max = bytes_max(2);
        let name = |index| format!("input[{index}]");
        let mut texts = vec!["é".repeat(max), "short".to_owned(), format!("a{}", "é".repeat(max))];
        let error = check(&texts, 2, name).expect_err("too long").to_string();
        assert!(error.contains("input[0] has 256 bytes") && error.contains("at most 128"), "{error}");
        truncate(&mut texts, 2, false);
        assert_eq!(texts.iter().map(String::len).collect::<Vec<_>>(), [max, 5, max - 1]);
        assert!(check(&texts, 2, name).is_ok());
        let mut texts = vec![format!("a{}b", "é".repeat(max))];
        truncate(&mut texts, 2, true);
        assert!(texts[0].len() == max - 1 && texts[0].ends_with("éb"), "{}", texts[0]);
    }
}
