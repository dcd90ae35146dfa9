//! A recursive-descent evaluator; the precedence is that of written mathematics.
//!
//! ```text
//! sum     = product (("+" | "-") product)*
//! product = signed (("*" | "/" | "%") signed)*
//! signed  = ("+" | "-") signed | power               so -2^2 is -4
//! power   = factor ("^" signed)?                     so 2^3^2 is 2^9, and 2^-1 is allowed
//! factor  = primary "!"*
//! primary = number | "(" sum ")" | name "(" sum ("," sum)* ")"
//! ```

use crate::functions;
use crate::lexer::{Lexer, Token};
use crate::number::{BITS_MAX, Number};

/// Maximum bytes of an expression.
pub(crate) const EXPRESSION_BYTES_MAX: usize = 10_000;
/// Maximum nesting of brackets, signs and powers.
pub(crate) const DEPTH_MAX: usize = 100;

/// Maximum work of one expression: the sum of the squared bit lengths of its values. The most expensive step, a common divisor,
/// takes about one instruction for 25 units, so the maximum is about 1.4 billion instructions.
const WORK_MAX: u64 = 8 * (BITS_MAX as u64) * (BITS_MAX as u64);

/// The value of an expression.
pub(crate) fn evaluate(expression: &str) -> Result<Number, String> {
    if expression.len() > EXPRESSION_BYTES_MAX {
        return Err(format!("the expression is longer than {EXPRESSION_BYTES_MAX} bytes"));
    }
    let mut parser =
        Parser { lexer: Lexer::new(expression), token: Token::End, start: 0, depth: 0, work: 0, in_arguments: false };
    parser.advance()?;
    if parser.token == Token::End {
        return Err("the expression is empty".to_owned());
    }
    let value = parser.sum()?;
    if parser.token == Token::End { Ok(value) } else { Err(parser.unexpected()) }
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    token: Token<'a>,
    start: usize,
    depth: usize,
    work: u64,
    in_arguments: bool,
}

impl Parser<'_> {
    fn advance(&mut self) -> Result<(), String> {
        (self.token, self.start) = self.lexer.next(self.in_arguments)?;
        Ok(())
    }

    fn at(&self, sign: char) -> bool {
        self.token == Token::Sign(sign)
    }

    fn unexpected(&self) -> String {
        self.lexer.unexpected(self.start)
    }

    /// Counts the work for `value` before it is used further.
    fn worked(&mut self, value: Number) -> Result<Number, String> {
        let bits = value.bits() as u64;
        self.work += bits * bits;
        if self.work > WORK_MAX { Err("the expression has too many large parts".to_owned()) } else { Ok(value) }
    }

    /// Counts one level of nesting around `inner`.
    fn nested(&mut self, inner: impl FnOnce(&mut Self) -> Result<Number, String>) -> Result<Number, String> {
        if self.depth == DEPTH_MAX {
            return Err(format!("the expression is nested more than {DEPTH_MAX} deep"));
        }
        self.depth += 1;
        let value = inner(self);
        self.depth -= 1;
        value
    }

    fn sum(&mut self) -> Result<Number, String> {
        let mut value = self.product()?;
        loop {
            if self.at('+') {
                self.advance()?;
                let right = self.product()?;
                value = self.worked(value.add(&right)?)?;
            } else if self.at('-') {
                self.advance()?;
                let right = self.product()?;
                value = self.worked(value.subtract(&right)?)?;
            } else {
                return Ok(value);
            }
        }
    }

    fn product(&mut self) -> Result<Number, String> {
        let mut value = self.signed()?;
        loop {
            if self.at('*') {
                self.advance()?;
                let right = self.signed()?;
                value = self.worked(value.multiply(&right)?)?;
            } else if self.at('/') {
                self.advance()?;
                let right = self.signed()?;
                value = self.worked(value.divide(&right)?)?;
            } else if self.at('%') {
                self.advance()?;
                self.refuse_percentage()?;
                let right = self.signed()?;
                value = self.worked(value.remainder(&right)?)?;
            } else {
                return Ok(value);
            }
        }
    }

    /// `15%` and `10% + 3` mean a percentage to people; here `%` is the remainder, and a wrong number would be worse.
    fn refuse_percentage(&self) -> Result<(), String> {
        match self.token {
            Token::Number(_) | Token::Name(_) | Token::Sign('(') => Ok(()),
            _ => Err("\"%\" is the remainder of a division, write 15/100 for 15 percent".to_owned()),
        }
    }

    fn signed(&mut self) -> Result<Number, String> {
        if self.at('-') {
            self.advance()?;
            Ok(self.nested(Self::signed)?.negate())
        } else if self.at('+') {
            self.advance()?;
            self.nested(Self::signed)
        } else {
            self.power()
        }
    }

    fn power(&mut self) -> Result<Number, String> {
        let base = self.factor()?;
        if !self.at('^') {
            return Ok(base);
        }
        self.advance()?;
        let exponent = self.nested(Self::signed)?;
        self.worked(base.power(&exponent)?)
    }

    fn factor(&mut self) -> Result<Number, String> {
        let mut value = self.primary()?;
        while self.at('!') {
            self.advance()?;
            value = self.worked(value.factorial()?)?;
        }
        Ok(value)
    }

    fn primary(&mut self) -> Result<Number, String> {
        match std::mem::replace(&mut self.token, Token::End) {
            Token::Number(number) => {
                self.advance()?;
                self.worked(number)
            }
            Token::Sign('(') => self.nested(|parser| {
                let mut values = parser.list(false)?;
                values.pop().ok_or_else(|| parser.unexpected())
            }),
            Token::Name(name) => {
                let lower = name.to_ascii_lowercase();
                if !functions::exists(&lower) {
                    return Err(self.unexpected());
                }
                self.advance()?;
                if !self.at('(') {
                    return Err(format!("{lower} needs its arguments in parentheses"));
                }
                let value = self.nested(|parser| functions::call(&lower, &parser.list(true)?))?;
                self.worked(value)
            }
            Token::Sign(_) | Token::End => Err(self.unexpected()),
        }
    }

    /// Reads the text up to the closing bracket: one sum, or several for a function.
    fn list(&mut self, in_arguments: bool) -> Result<Vec<Number>, String> {
        let outside = std::mem::replace(&mut self.in_arguments, in_arguments);
        self.advance()?;
        let mut values = vec![self.sum()?];
        while in_arguments && self.at(',') {
            self.advance()?;
            values.push(self.sum()?);
        }
        if !self.at(')') {
            return Err(self.unexpected());
        }
        self.in_arguments = outside;
        self.advance()?;
        Ok(values)
    }
}
