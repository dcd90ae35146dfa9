//! Splits an expression into numbers, names and operators with their positions.

use dashu_int::{IBig, UBig};
use dashu_ratio::RBig;

use crate::number::{DIGITS_MAX, Number, too_large};

/// A token of an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Token<'a> {
    Number(Number),
    Name(&'a str),
    /// An operator, bracket or comma, in its plain spelling.
    Sign(char),
    End,
}

/// Reads tokens from the left.
pub(crate) struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// The next token and the byte at which it starts. Between function arguments a comma never belongs to a number.
    pub(crate) fn next(&mut self, in_arguments: bool) -> Result<(Token<'a>, usize), String> {
        let blank = self.rest().len() - self.rest().trim_start().len();
        self.at += blank;
        let start = self.at;
        let rest = self.rest();
        let Some(first) = rest.chars().next() else { return Ok((Token::End, start)) };
        if first.is_ascii_digit() || first == '.' && rest[1..].starts_with(|c: char| c.is_ascii_digit()) {
            return Ok((Token::Number(self.number(in_arguments)?), start));
        }
        if first.is_alphabetic() {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            self.at += end;
            return Ok((Token::Name(&rest[..end]), start));
        }
        if rest.starts_with("**") {
            self.at += 2;
            return Ok((Token::Sign('^'), start));
        }
        let sign = plain_sign(first).ok_or_else(|| self.unexpected(start))?;
        self.at += first.len_utf8();
        Ok((Token::Sign(sign), start))
    }

    /// The text at byte `at`, for a message: a whole word, or one character.
    pub(crate) fn unexpected(&self, at: usize) -> String {
        let rest = self.text.get(at..).unwrap_or_default();
        let Some(first) = rest.chars().next() else { return "unexpected end of the expression".to_owned() };
        let alike = |c: char| c == first || c.is_alphanumeric() && first.is_alphanumeric();
        let end =
            if first.is_alphanumeric() { rest.find(|c| !alike(c)).unwrap_or(rest.len()) } else { first.len_utf8() };
        let shown: String = rest[..end].chars().take(20).collect();
        format!("unexpected \"{shown}\" at position {}", self.position(at))
    }

    /// The position of byte `at` in characters, counted from 1.
    pub(crate) fn position(&self, at: usize) -> usize {
        self.text.get(..at).unwrap_or(self.text).chars().count() + 1
    }

    /// `12`, `1_000`, `1,234.5`, `.5`, `1.5e-3`.
    fn number(&mut self, in_arguments: bool) -> Result<Number, String> {
        let mut digits = self.digits();
        if !in_arguments {
            self.thousands(&mut digits);
        }
        let mut decimals = 0;
        if self.rest().strip_prefix('.').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit())) {
            self.at += 1;
            let fraction = self.digits();
            decimals = fraction.len();
            digits.push_str(&fraction);
        }
        let exponent = self.exponent()? - decimals as i64;
        if digits.len() + exponent.unsigned_abs() as usize > DIGITS_MAX {
            return Err(too_large());
        }
        let mantissa: IBig = digits.parse().map_err(|_| self.unexpected(self.at))?;
        let scale = UBig::from(10u8).pow(exponent.unsigned_abs() as usize);
        let value = if exponent < 0 { RBig::from_parts(mantissa, scale) } else { RBig::from(mantissa * scale) };
        Ok(Number::exact(value))
    }

    /// A sequence of digits, with `_` allowed between two of them.
    fn digits(&mut self) -> String {
        let rest = self.rest();
        let mut digits = String::new();
        let mut used = 0;
        for (at, c) in rest.char_indices() {
            let between = used > 0 && rest.as_bytes().get(at + 1).is_some_and(u8::is_ascii_digit);
            match c {
                '0'..='9' => {
                    digits.push(c);
                    used = at + 1;
                }
                '_' if used == at && between => {}
                _ => break,
            }
        }
        self.at += used;
        digits
    }

    /// Appends groups of `,ddd`, if the text that follows can only be thousands.
    fn thousands(&mut self, digits: &mut String) {
        if digits.len() > 3 || digits.starts_with('0') {
            return;
        }
        while let Some(group) = self.rest().strip_prefix(',') {
            let length = group.bytes().take_while(u8::is_ascii_digit).count();
            if length != 3 {
                return;
            }
            digits.push_str(&group[..3]);
            self.at += 4;
        }
    }

    /// `e3`, `E-3`: a power of ten. A name that only starts with e is not consumed.
    fn exponent(&mut self) -> Result<i64, String> {
        let rest = self.rest();
        let Some(tail) = rest.strip_prefix(['e', 'E']) else { return Ok(0) };
        let unsigned = tail.strip_prefix(['+', '-']).unwrap_or(tail);
        let length = unsigned.bytes().take_while(u8::is_ascii_digit).count();
        if length == 0 {
            return Ok(0);
        }
        let value: i64 = unsigned[..length].parse().map_err(|_| too_large())?;
        if value > DIGITS_MAX as i64 {
            return Err(too_large());
        }
        self.at += rest.len() - unsigned.len() + length;
        Ok(if tail.starts_with('-') { -value } else { value })
    }
}

/// The one spelling of an operator that the parser knows.
fn plain_sign(c: char) -> Option<char> {
    Some(match c {
        '×' | '·' | '∙' | '⋅' => '*',
        '÷' | '∕' => '/',
        '−' | '–' => '-',
        '+' | '-' | '*' | '/' | '%' | '^' | '!' | '(' | ')' | ',' => c,
        _ => return None,
    })
}
