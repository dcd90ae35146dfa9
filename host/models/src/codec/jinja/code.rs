//! The code in a template's tags, rewritten for features of Jinja2 that minijinja lacks.

use super::sanitize::{ITEMS, PERCENT};

/// Maximum nesting of texts that are formatted by `%`.
const DEPTH_MAX: usize = 32;

/// A piece of code: spaces, a text, a name or number, or a sign.
#[derive(Clone, Copy)]
struct Token<'a> {
    text: &'a str,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Space,
    Text,
    Word,
    Sign,
}

/// `code` with every `'text' % value` as a filter of the text.
pub(super) fn rewritten(code: &str) -> String {
    // Most code has no text or no `%`.
    if !code.contains('%') {
        return code.to_owned();
    }
    let mut out = String::with_capacity(code.len() + 32);
    rewrite(&tokens(code), &mut out, 0);
    out
}

/// A `for` statement whose items are passed through a function; `None` for other statements.
pub(super) fn wrapped_loop(body: &str) -> Option<String> {
    let all = tokens(body);
    let mut words = all.iter().filter(|token| token.kind != Kind::Space);
    if words.next()?.text != "for" {
        return None;
    }
    let at_top = tops(&all);
    let find = |from: usize, wanted: &[&str]| {
        (from..all.len()).find(|at| at_top[*at] && all[*at].kind == Kind::Word && wanted.contains(&all[*at].text))
    };
    let start = find(0, &["in"])? + 1;
    let end = find(start, &["if", "recursive"]).unwrap_or(all.len());
    let text = |range: &[Token<'_>]| range.iter().map(|token| token.text).collect::<String>();
    let (target, items, rest) = (text(&all[..start]), text(&all[start..end]), text(&all[end..]));
    Some(format!("{} {ITEMS}(({})) {}", target.trim_start(), rewritten(&items), rewritten(&rest)))
}

/// For every token, whether it is outside of brackets.
fn tops(tokens: &[Token<'_>]) -> Vec<bool> {
    let mut depth = 0_usize;
    let mut tops = Vec::with_capacity(tokens.len());
    for token in tokens {
        if matches!(token.text, ")" | "]" | "}") && token.kind == Kind::Sign {
            depth = depth.saturating_sub(1);
        }
        tops.push(depth == 0);
        depth += usize::from(matches!(token.text, "(" | "[" | "{") && token.kind == Kind::Sign);
    }
    tops
}

fn rewrite(tokens: &[Token<'_>], out: &mut String, depth: usize) {
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        out.push_str(token.text);
        at += 1;
        let sign = skip_spaces(tokens, at);
        let fills_in = token.kind == Kind::Text && tokens.get(sign).is_some_and(|token| token.text == "%");
        if !fills_in || depth >= DEPTH_MAX {
            continue;
        }
        let end = operand_end(tokens, sign + 1);
        out.push_str(&format!(" | {PERCENT}(("));
        rewrite(&tokens[sign + 1..end], out, depth + 1);
        out.push_str("))");
        at = end;
    }
}

/// The end of the operand that begins at `at`: a value with its calls, lookups and filters.
fn operand_end(tokens: &[Token<'_>], at: usize) -> usize {
    let mut at = skip_spaces(tokens, at);
    while tokens.get(at).is_some_and(|token| matches!(token.text, "-" | "+")) {
        at = skip_spaces(tokens, at + 1);
    }
    at = group_end(tokens, at);
    loop {
        let next = skip_spaces(tokens, at);
        at = match tokens.get(next).map(|token| token.text) {
            Some(".") => next + 2,
            Some("(" | "[") => group_end(tokens, next),
            Some("|") => skip_spaces(tokens, next + 1) + 1,
            Some("**") => group_end(tokens, skip_spaces(tokens, next + 1)),
            _ => return at.min(tokens.len()),
        };
    }
}

/// The end of the bracket that opens at `at`, or of the single token there.
fn group_end(tokens: &[Token<'_>], at: usize) -> usize {
    let mut depth = 0_usize;
    for (offset, token) in tokens.iter().enumerate().skip(at) {
        match token.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return offset + 1;
        }
    }
    tokens.len()
}

fn skip_spaces(tokens: &[Token<'_>], at: usize) -> usize {
    let spaces = tokens.iter().skip(at).take_while(|token| token.kind == Kind::Space);
    at + spaces.count()
}

fn tokens(code: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = code;
    while let Some(first) = rest.chars().next() {
        let run = |test: fn(char) -> bool| rest.find(|letter| !test(letter)).unwrap_or(rest.len());
        let (kind, length) = match first {
            '"' | '\'' => (Kind::Text, text_length(rest, first)),
            first if first.is_whitespace() => (Kind::Space, run(char::is_whitespace)),
            first if first.is_ascii_digit() => (Kind::Word, number_length(rest)),
            first if first.is_alphanumeric() || first == '_' => {
                (Kind::Word, run(|letter| letter.is_alphanumeric() || letter == '_'))
            }
            _ if rest.starts_with("**") => (Kind::Sign, 2),
            first => (Kind::Sign, first.len_utf8()),
        };
        let (text, after) = rest.split_at(length);
        tokens.push(Token { text, kind });
        rest = after;
    }
    tokens
}

fn text_length(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, letter) in text.char_indices().skip(1) {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            letter if letter == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn number_length(text: &str) -> usize {
    let mut before = '0';
    let inside = |letter: char| {
        let sign = matches!(letter, '+' | '-') && matches!(before, 'e' | 'E');
        before = letter;
        sign || letter.is_ascii_alphanumeric() || matches!(letter, '_' | '.')
    };
    text.len() - text.trim_start_matches(inside).len()
}
