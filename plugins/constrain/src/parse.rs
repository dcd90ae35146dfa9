//! Regular expressions as text.

use crate::pattern::Pattern;

/// Levels of groups at most.
const DEPTH_MAX: usize = 64;
/// The largest number of a repetition.
const REPEAT_MAX: u32 = 1_000;

/// The pattern of a regular expression that matches whole answers. It has characters, `.`, classes such as `[a-z_]` and
/// `[^0-9]`, `\d`, `\w` and `\s` of ASCII, groups, `|`, `*`, `+`, `?` and `{2,5}`. A `^` at the beginning and a `$` at the end
/// change nothing.
///
/// # Errors
/// What cannot be used, with its place.
pub fn parse(text: &str) -> Result<Pattern, String> {
    let text = text.strip_prefix('^').unwrap_or(text);
    let ends = text.ends_with('$') && !text.trim_end_matches('$').ends_with('\\');
    let text = if ends { &text[..text.len() - 1] } else { text };
    let mut parser = Parser { rest: text.chars().collect::<Vec<_>>().into_iter(), taken: 0 };
    let pattern = parser.either(0)?;
    match parser.peek() {
        None => Ok(pattern),
        Some(c) => Err(parser.wrong(&format!("'{c}' has no beginning"))),
    }
}

struct Parser {
    rest: std::vec::IntoIter<char>,
    taken: usize,
}

impl Parser {
    fn peek(&self) -> Option<char> {
        self.rest.as_slice().first().copied()
    }

    fn take(&mut self) -> Option<char> {
        self.taken += 1;
        self.rest.next()
    }

    fn skip(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.take();
        }
        found
    }

    fn wrong(&self, what: &str) -> String {
        format!("the regular expression cannot be used at character {}: {what}", self.taken + 1)
    }

    fn either(&mut self, depth: usize) -> Result<Pattern, String> {
        if depth > DEPTH_MAX {
            return Err(self.wrong(&format!("groups are nested more than {DEPTH_MAX} deep")));
        }
        let mut branches = vec![self.sequence(depth)?];
        while self.skip('|') {
            branches.push(self.sequence(depth)?);
        }
        Ok(if branches.len() == 1 { branches.remove(0) } else { Pattern::Either(branches) })
    }

    fn sequence(&mut self, depth: usize) -> Result<Pattern, String> {
        let mut items = Vec::new();
        while let Some(c) = self.peek().filter(|c| !matches!(c, '|' | ')')) {
            let item = match c {
                '*' | '+' | '?' => {
                    return Err(self.wrong(&format!("'{c}' repeats nothing; write \\{c} for the character")));
                }
                '^' | '$' => return Err(self.wrong("the whole answer must match, so anchors stand only at both ends")),
                '(' => self.group(depth)?,
                '[' => self.class()?,
                _ => self.character()?,
            };
            items.push(self.repeated(item)?);
        }
        Ok(Pattern::Sequence(items))
    }

    fn group(&mut self, depth: usize) -> Result<Pattern, String> {
        self.take();
        if self.skip('?') && !self.skip(':') {
            return Err(self.wrong("only groups ( and (?: are supported"));
        }
        let inner = self.either(depth + 1)?;
        if self.skip(')') { Ok(inner) } else { Err(self.wrong("a group has no end")) }
    }

    fn repeated(&mut self, item: Pattern) -> Result<Pattern, String> {
        let (min, max) = match self.peek() {
            Some('*') => (0, None),
            Some('+') => (1, None),
            Some('?') => (0, Some(1)),
            Some('{') => return self.counted(item),
            _ => return Ok(item),
        };
        self.take();
        self.once(item.repeated(min, max))
    }

    fn counted(&mut self, item: Pattern) -> Result<Pattern, String> {
        self.take();
        let min =
            self.number()?.ok_or_else(|| self.wrong("a repetition needs a number; write \\{ for the character"))?;
        let max = if self.skip(',') { self.number()? } else { Some(min) };
        if !self.skip('}') || max.is_some_and(|max| max < min) {
            return Err(self.wrong("a repetition is {2}, {2,} or {2,5}"));
        }
        self.once(item.repeated(min, max))
    }

    /// A lazy repetition has the same answers as a greedy one. A possessive one or one of a repetition is a mistake.
    fn once(&mut self, item: Pattern) -> Result<Pattern, String> {
        self.skip('?');
        match self.peek() {
            Some(c @ ('*' | '+' | '?' | '{')) => Err(self.wrong(&format!("'{c}' repeats a repetition; use a group"))),
            _ => Ok(item),
        }
    }

    fn number(&mut self) -> Result<Option<u32>, String> {
        let mut number = None;
        while let Some(digit) = self.peek().and_then(|c| c.to_digit(10)) {
            self.take();
            number = Some(number.unwrap_or(0) * 10 + digit);
            if number > Some(REPEAT_MAX) {
                return Err(self.wrong(&format!("more than {REPEAT_MAX} repetitions")));
            }
        }
        Ok(number)
    }

    fn character(&mut self) -> Result<Pattern, String> {
        match self.take() {
            Some('.') => Pattern::none_of(vec![('\n', '\n')]),
            Some('\\') => {
                let (ranges, negated) = self.escape()?;
                if negated { Pattern::none_of(ranges) } else { Pattern::class(ranges) }
            }
            Some(c) => Ok(Pattern::Class(vec![(c, c)])),
            None => Err(self.wrong("it ends too early")),
        }
    }

    fn class(&mut self) -> Result<Pattern, String> {
        self.take();
        let negated = self.skip('^');
        let mut ranges = Vec::new();
        loop {
            let low = match self.take() {
                None => return Err(self.wrong("a class has no end")),
                Some(']') if !ranges.is_empty() => break,
                Some('[') if self.peek() == Some(':') => {
                    return Err(self.wrong("named classes such as [:digit:] are not supported"));
                }
                Some('\\') => match self.escape()? {
                    (of_escape, false) if matches!(of_escape.as_slice(), [(low, high)] if low == high) => {
                        of_escape[0].0
                    }
                    (of_escape, false) => {
                        ranges.extend(of_escape);
                        continue;
                    }
                    (_, true) => return Err(self.wrong("negated classes cannot be part of a class")),
                },
                Some(c) => c,
            };
            let high = if self.peek() == Some('-') && self.rest.as_slice().get(1).is_some_and(|c| *c != ']') {
                self.take();
                match self.take() {
                    Some('\\') => self.escape()?.0.first().map_or(low, |range| range.0),
                    Some(c) => c,
                    None => return Err(self.wrong("a class has no end")),
                }
            } else {
                low
            };
            if high < low {
                return Err(self.wrong(&format!("the range {low}-{high} is empty")));
            }
            ranges.push((low, high));
        }
        let class = if negated { Pattern::none_of(ranges) } else { Pattern::class(ranges) };
        class.map_err(|reason| self.wrong(&reason))
    }

    /// What follows a backslash: ranges, and whether they are excluded.
    fn escape(&mut self) -> Result<(Vec<(char, char)>, bool), String> {
        const WORD: [(char, char); 4] = [('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')];
        const SPACE: [(char, char); 2] = [('\t', '\r'), (' ', ' ')];
        let one = |c| Ok((vec![(c, c)], false));
        match self.take() {
            Some(c @ ('d' | 'D')) => Ok((vec![('0', '9')], c == 'D')),
            Some(c @ ('w' | 'W')) => Ok((WORD.to_vec(), c == 'W')),
            Some(c @ ('s' | 'S')) => Ok((SPACE.to_vec(), c == 'S')),
            Some('n') => one('\n'),
            Some('r') => one('\r'),
            Some('t') => one('\t'),
            Some('x') => self.code(2),
            Some('u') if self.skip('{') => {
                let end = self.rest.as_slice().iter().position(|c| *c == '}').unwrap_or(0);
                let code = self.code(end)?;
                self.take();
                Ok(code)
            }
            Some('u') => self.code(4),
            Some(c) if !c.is_alphanumeric() => one(c),
            Some(c) => Err(self.wrong(&format!("\\{c} is not supported"))),
            None => Err(self.wrong("it ends too early")),
        }
    }

    /// A character by `digits` hexadecimal digits.
    fn code(&mut self, digits: usize) -> Result<(Vec<(char, char)>, bool), String> {
        let text: String = self.rest.as_slice().iter().take(digits).collect();
        let hexadecimal =
            (1..=6).contains(&digits) && text.len() == digits && text.chars().all(|c| c.is_ascii_hexdigit());
        let code = u32::from_str_radix(&text, 16).ok().filter(|_| hexadecimal).and_then(char::from_u32);
        let c = code.ok_or_else(|| self.wrong("the code of a character is not valid"))?;
        for _ in 0..digits {
            self.take();
        }
        Ok((vec![(c, c)], false))
    }
}
