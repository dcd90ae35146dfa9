//! Rewrites the strings inside a JSON text without changing its structure.

/// Calls `rewrite` on each part of a string between quotes and escapes. `rewrite` must not add quotes or backslashes.
pub(crate) fn map_strings(json: &str, mut rewrite: impl FnMut(&str) -> String) -> String {
    let mut output = String::with_capacity(json.len());
    let mut rest = json;
    let mut inside = false;
    while let Some(at) = rest.find(['"', '\\']) {
        let (before, special) = rest.split_at(at);
        push(&mut output, before, inside, &mut rewrite);
        // An escape includes the character after the backslash.
        let escape = special.starts_with('\\');
        let length: usize = special.chars().take(if escape { 2 } else { 1 }).map(char::len_utf8).sum();
        let (special, tail) = special.split_at(length);
        output.push_str(special);
        inside ^= !escape;
        rest = tail;
    }
    push(&mut output, rest, inside, &mut rewrite);
    output
}

fn push(output: &mut String, text: &str, inside: bool, rewrite: &mut impl FnMut(&str) -> String) {
    if inside { output.push_str(&rewrite(text)) } else { output.push_str(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_string_text_is_rewritten() {
        let upper = |text: &str| text.to_uppercase();
        assert_eq!(
            map_strings(r#"{"a": [true, "b\nc\"d"], "é\\": 1e5}"#, upper),
            r#"{"A": [true, "B\nC\"D"], "É\\": 1e5}"#
        );
    }

    #[test]
    fn malformed_json_is_returned_unchanged() {
        for json in ["\"", "\\", "\"\\", "\"a\\é", "{"] {
            assert_eq!(map_strings(json, str::to_owned), json);
        }
    }
}
