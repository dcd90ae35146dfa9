//! Upper, lower and title case, and identifier cases such as snake_case.

/// `text` in the case `to`.
pub(crate) fn change(text: &str, to: &str) -> Result<String, String> {
    match to {
        "upper" => Ok(text.to_uppercase()),
        "lower" => Ok(text.to_lowercase()),
        "title" => Ok(titled(text)),
        "snake" => Ok(joined(text, "_", str::to_lowercase)),
        "kebab" => Ok(joined(text, "-", str::to_lowercase)),
        "camel" => Ok(uncapitalized(&joined(text, "", capitalized))),
        _ => Err(format!("unknown case \"{to}\", use one of: upper, lower, title, snake, kebab, camel")),
    }
}

/// The first letter of every word in upper case, and every other letter in lower case.
fn titled(text: &str) -> String {
    let mut title = String::with_capacity(text.len());
    let mut inside = false;
    for c in text.chars() {
        if inside {
            title.extend(c.to_lowercase())
        } else {
            title.extend(c.to_uppercase())
        }
        inside = c.is_alphanumeric() || inside && matches!(c, '\'' | '’');
    }
    title
}

fn capitalized(word: &str) -> String {
    let mut characters = word.chars();
    characters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(characters.flat_map(char::to_lowercase)).collect())
}

fn uncapitalized(word: &str) -> String {
    let mut characters = word.chars();
    characters.next().map_or_else(String::new, |first| first.to_lowercase().chain(characters).collect())
}

fn joined(text: &str, separator: &str, each: fn(&str) -> String) -> String {
    words(text).iter().map(|word| each(word)).collect::<Vec<_>>().join(separator)
}

/// Splits `text` into words: `HTTPServer2_isUp` is `HTTP`, `Server2`, `is`, `Up`. Apostrophes vanish.
fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let characters: Vec<char> = text.chars().filter(|c| !matches!(c, '\'' | '’')).collect();
    for (at, &c) in characters.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|at| characters.get(at)).copied().unwrap_or(' ');
        let after = characters.get(at + 1).copied().unwrap_or(' ');
        let hump = c.is_uppercase() && (before.is_lowercase() || before.is_numeric() || after.is_lowercase());
        if hump || !c.is_alphanumeric() {
            words.push(String::new());
        }
        if let (true, Some(word)) = (c.is_alphanumeric(), words.last_mut()) {
            word.push(c);
        }
    }
    words.retain(|word| !word.is_empty());
    words
}
