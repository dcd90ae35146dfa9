//! A small Rust lexer that separates code from comments and strings and finds functions and calls.

use std::collections::HashSet;

/// One source file.
pub(crate) struct Source {
    /// Relative to the repository.
    pub(crate) name: String,
    /// The content of the file.
    pub(crate) text: String,
    /// `text` with comments and the contents of literals replaced by spaces.
    code: Vec<char>,
}

/// A function with a body.
pub(crate) struct Function {
    pub(crate) name: String,
    /// Its first line, counted from 1.
    pub(crate) line: usize,
    /// From `fn` to its closing brace.
    pub(crate) lines: usize,
    /// The code between its braces, with comments and the contents of literals replaced by spaces.
    pub(crate) body: String,
}

/// A call of a function.
pub(crate) struct Call {
    /// The path of the function, as it is written.
    pub(crate) path: String,
    pub(crate) line: usize,
    /// The arguments, with the contents of literals replaced by spaces.
    pub(crate) arguments: String,
}

impl Source {
    pub(crate) fn new(name: &str, text: &str) -> Self {
        let chars: Vec<char> = text.chars().collect();
        Self { name: name.to_owned(), text: text.to_owned(), code: blank(&chars, true) }
    }

    /// Whether the whole file is test code. [`Source::product`] removes test modules inside a file.
    pub(crate) fn is_test(&self) -> bool {
        self.name.starts_with("tests/") || self.name.ends_with("/tests.rs") || self.name.contains("/tests/")
    }

    pub(crate) fn without_comments(&self) -> String {
        let chars: Vec<char> = self.text.chars().collect();
        let text: String = blank(&chars, false).into_iter().collect();
        before_tests(&text).to_owned()
    }

    /// The code without the test module at the end of the file.
    pub(crate) fn product(&self) -> String {
        let code: String = self.code.iter().collect();
        before_tests(&code).to_owned()
    }

    /// The lines, with comments and the contents of literals replaced by spaces.
    pub(crate) fn code_lines(&self) -> Vec<String> {
        let code: String = self.code.iter().collect();
        code.lines().map(str::to_owned).collect()
    }

    /// The identifiers and keywords of product code.
    pub(crate) fn words(&self) -> HashSet<String> {
        self.product().split(|c| !is_word(c)).map(str::to_owned).collect()
    }

    /// The fields that product code reads: `value.name` without a call.
    pub(crate) fn fields_read(&self) -> HashSet<String> {
        let product = self.product();
        let after_dots = product.split('.').skip(1).map(str::trim_start);
        let names = after_dots.filter_map(|rest| {
            let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            let is_call = rest[end..].trim_start().starts_with('(');
            (end > 0 && !is_call).then(|| rest[..end].to_owned())
        });
        names.collect()
    }

    /// `name:line: word` for each line of product code that contains the whole word `word`.
    pub(crate) fn lines_with_word(&self, word: &str) -> Vec<String> {
        let product = self.product();
        let lines = product.lines().enumerate().filter(|(_, line)| has_word(line, word));
        lines.map(|(number, _)| format!("{}:{}: {word}", self.name, number + 1)).collect()
    }

    /// The lines that contain the token, counted from 1.
    pub(crate) fn lines_of_token(&self, token: &str) -> Vec<usize> {
        let code: String = self.code.iter().collect();
        code.lines().enumerate().filter(|(_, line)| has_word(line, token)).map(|(number, _)| number + 1).collect()
    }

    /// Whether the comment on a line or directly above it contains `word`.
    pub(crate) fn comment_before(&self, line: usize, word: &str) -> bool {
        let lines: Vec<&str> = self.text.lines().collect();
        let own = lines[line - 1].contains(word);
        let above = lines[..line - 1].iter().rev().take(8).take_while(|line| {
            let line = line.trim_start();
            line.starts_with("//") || line.starts_with("#[") || !line.ends_with([';', '}'])
        });
        own || above.into_iter().any(|line| line.contains(word))
    }

    /// Whether the code uses the crate as the root of a path.
    pub(crate) fn names_crate(&self, name: &str) -> bool {
        let code: String = self.code.iter().collect();
        has_word(&code, &format!("{name}::")) || has_word(&code, &format!("extern crate {name}"))
    }

    pub(crate) fn functions(&self) -> Vec<Function> {
        let mut found = Vec::new();
        let mut at = 0;
        while let Some(start) = self.find_word("fn", at) {
            at = start + 2;
            let name: String = self.code[at..].iter().skip(1).take_while(|c| is_word(**c)).collect();
            let Some(open) = self.body(at) else { continue };
            if name.is_empty() {
                continue;
            }
            let end = self.matching(open);
            let line = self.line_of(start);
            let body = self.code[open + 1..end].iter().collect();
            found.push(Function { name, line, lines: self.line_of(end) - line + 1, body });
        }
        found
    }

    /// The calls of functions whose path ends with one of `names`.
    pub(crate) fn calls_with(&self, names: &[&str]) -> Vec<Call> {
        let product = if self.is_test() { self.code.clone() } else { self.product().chars().collect() };
        let mut found = Vec::new();
        for name in names {
            let mut at = 0;
            while let Some(start) = self.find_word(name, at).filter(|start| *start < product.len()) {
                at = start + name.chars().count();
                let Some(open) = self.after_generics(at).filter(|open| self.code.get(*open) == Some(&'(')) else {
                    continue;
                };
                let before: Vec<char> =
                    self.code[..start].iter().rev().take_while(|c| is_word(**c) || **c == ':').copied().collect();
                let path = before.into_iter().rev().chain(name.chars()).collect();
                let arguments: String = self.code[open + 1..self.matching(open)].iter().collect();
                found.push(Call { path, line: self.line_of(start), arguments: arguments.trim().to_owned() });
            }
        }
        found
    }

    fn find_word(&self, word: &str, from: usize) -> Option<usize> {
        let word: Vec<char> = word.chars().collect();
        (from..self.code.len().saturating_sub(word.len())).find(|&at| {
            self.code[at..].starts_with(&word)
                && (at == 0 || !is_word(self.code[at - 1]))
                && !self.code.get(at + word.len()).is_some_and(|c| is_word(*c))
        })
    }

    /// The opening brace of the function whose name starts at `at`, or `None` for a declaration or a type.
    fn body(&self, at: usize) -> Option<usize> {
        let mut depth = 0_i32;
        for (place, c) in self.code.iter().enumerate().skip(at) {
            match c {
                '(' | '[' => depth += 1,
                ')' | ']' if depth == 0 => return None,
                ')' | ']' => depth -= 1,
                '{' if depth == 0 => return Some(place),
                ';' | ',' | '=' if depth == 0 && self.code.get(place + 1) != Some(&'=') && *c != ',' => return None,
                _ => {}
            }
        }
        None
    }

    fn after_generics(&self, at: usize) -> Option<usize> {
        if !self.code[at..].starts_with(&[':', ':', '<']) {
            return Some(at);
        }
        let mut depth = 0_i32;
        for (place, c) in self.code.iter().enumerate().skip(at + 2) {
            depth += match c {
                '<' => 1,
                '>' => -1,
                _ => 0,
            };
            if depth == 0 {
                return Some(place + 1);
            }
        }
        None
    }

    /// The bracket that closes the bracket at `open`, or the end of the file.
    fn matching(&self, open: usize) -> usize {
        let mut depth = 0_i32;
        for (place, c) in self.code.iter().enumerate().skip(open) {
            depth += match c {
                '(' | '[' | '{' => 1,
                ')' | ']' | '}' => -1,
                _ => 0,
            };
            if depth == 0 {
                return place;
            }
        }
        self.code.len() - 1
    }

    fn line_of(&self, at: usize) -> usize {
        self.code[..at].iter().filter(|c| **c == '\n').count() + 1
    }
}

fn before_tests(code: &str) -> &str {
    let at = code.find("#[cfg(test)]\nmod tests {").or_else(|| code.find("#[cfg(test)]\npub(crate) mod tests {"));
    &code[..at.unwrap_or(code.len())]
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn has_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        let path = before == Some(':') && word.ends_with("::");
        let ends = !word.ends_with(is_word) || !after.is_some_and(is_word);
        !before.is_some_and(is_word) && !path && ends
    })
}

/// Replaces comments, and literals if `literals` is set, by spaces. Line breaks stay.
fn blank(text: &[char], literals: bool) -> Vec<char> {
    let mut code = text.to_vec();
    let mut at = 0;
    while at < text.len() {
        let (end, blanked) = match token(text, at) {
            Token::Other => (at + 1, false),
            Token::Comment(end) => (end, true),
            Token::Literal(end) => (end, literals),
        };
        if blanked {
            code[at..end].iter_mut().filter(|c| **c != '\n').for_each(|c| *c = ' ');
        }
        at = end;
    }
    code
}

enum Token {
    Comment(usize),
    Literal(usize),
    Other,
}

fn token(text: &[char], at: usize) -> Token {
    let next = |offset: usize| text.get(at + offset).copied().unwrap_or('\0');
    let word_before = at > 0 && is_word(text[at - 1]);
    match text[at] {
        '/' if next(1) == '/' => Token::Comment(find(text, at, '\n')),
        '/' if next(1) == '*' => Token::Comment(block_comment(text, at)),
        '"' => Token::Literal(quoted(text, at + 1, '"')),
        '\'' if next(1) == '\\' || (next(2) == '\'' && next(1) != '\'') => Token::Literal(quoted(text, at + 1, '\'')),
        'r' if !word_before && matches!(next(1), '"' | '#') => raw(text, at + 1),
        'b' if !word_before && next(1) == 'r' && matches!(next(2), '"' | '#') => raw(text, at + 2),
        _ => Token::Other,
    }
}

fn find(text: &[char], from: usize, wanted: char) -> usize {
    (from..text.len()).find(|&at| text[at] == wanted).unwrap_or(text.len())
}

fn block_comment(text: &[char], from: usize) -> usize {
    let mut depth = 0;
    let mut at = from;
    while at < text.len() {
        if text[at..].starts_with(&['/', '*']) {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with(&['*', '/']) {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    at
}

fn quoted(text: &[char], from: usize, quote: char) -> usize {
    let mut at = from;
    while at < text.len() && text[at] != quote {
        at += if text[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(text.len())
}

/// A raw string whose hashes start at `from`. A raw identifier is no string.
fn raw(text: &[char], from: usize) -> Token {
    let hashes = text[from..].iter().take_while(|c| **c == '#').count();
    if text.get(from + hashes) != Some(&'"') {
        return Token::Other;
    }
    let mut close = vec!['"'];
    close.resize(hashes + 1, '#');
    let start = from + hashes + 1;
    let end = (start..text.len()).find(|&at| text[at..].starts_with(&close)).unwrap_or(text.len());
    Token::Literal((end + close.len()).min(text.len()))
}

#[test]
fn code_is_separated_from_comments_and_strings() {
    let text = "fn a<'x>(s: &'x str) -> char {\n // fn b() {\n let q = \"fn c() {\"; '{'\n}\nfn d();\nlet f: fn(u8) = g;\n\
                fn e() { tokio::mpsc::channel::<Vec<u8>>(16); r#\"}\"#; }\n";
    let source = Source::new("a.rs", text);
    let functions: Vec<_> = source.functions().into_iter().map(|f| (f.name, f.line, f.lines)).collect();
    assert_eq!(functions, [("a".to_owned(), 1, 4), ("e".to_owned(), 7, 1)]);
    let calls = source.calls_with(&["channel"]);
    assert_eq!((calls[0].path.as_str(), calls[0].arguments.as_str()), ("tokio::mpsc::channel", "16"));
    assert!(source.lines_with_word("b").is_empty());
    assert!(source.names_crate("tokio") && !source.names_crate("mpsc"));
}
