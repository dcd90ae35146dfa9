//! Fractions of 128-bit integers. A result that does not fit is `None` and never wrong.

use std::fmt::Write;

/// Significant digits of a number that is read.
pub(crate) const DIGITS_MAX: usize = 18;
/// Powers of ten of a number that is read.
const EXPONENT_MAX: i32 = 30;
/// Decimals of an answer.
const DECIMALS: usize = 6;
/// Significant digits of an answer too small for so few decimals.
const SIGNIFICANT: usize = 6;

/// `numerator / denominator` in lowest terms; the denominator is positive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rational {
    numerator: i128,
    denominator: i128,
}

impl Rational {
    /// `denominator` is not zero.
    pub(crate) fn new(numerator: i128, denominator: i128) -> Option<Self> {
        let divisor = gcd(numerator.unsigned_abs(), denominator.unsigned_abs());
        let divisor = i128::try_from(divisor).ok().filter(|divisor| *divisor != 0)?;
        let (numerator, denominator) = (numerator / divisor, denominator / divisor);
        match denominator.signum() {
            1 => Some(Self { numerator, denominator }),
            -1 => Some(Self { numerator: numerator.checked_neg()?, denominator: denominator.checked_neg()? }),
            _ => None,
        }
    }

    /// Reads `-12.5e3`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let unsigned = mantissa.strip_prefix(['+', '-']).unwrap_or(mantissa);
        let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
        let digits = format!("{whole}{fraction}");
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let significant = digits.trim_matches('0');
        let trailing = digits.len() - digits.trim_end_matches('0').len();
        let exponent = exponent.checked_sub(i32::try_from(fraction.len()).ok()?)?;
        let exponent = exponent.checked_add(i32::try_from(trailing).ok()?)?;
        if significant.is_empty() {
            return Self::new(0, 1);
        }
        if significant.len() > DIGITS_MAX || exponent.abs() > EXPONENT_MAX {
            return None;
        }
        let magnitude: i128 = significant.parse().ok()?;
        let signed = if mantissa.starts_with('-') { -magnitude } else { magnitude };
        let scale = 10i128.pow(exponent.unsigned_abs());
        if exponent < 0 { Self::new(signed, scale) } else { Self::new(signed.checked_mul(scale)?, 1) }
    }

    pub(crate) fn is_negative(self) -> bool {
        self.numerator < 0
    }

    pub(crate) fn reciprocal(self) -> Option<Self> {
        Self::new(self.denominator, self.numerator)
    }

    pub(crate) fn negate(self) -> Option<Self> {
        Some(Self { numerator: self.numerator.checked_neg()?, denominator: self.denominator })
    }

    pub(crate) fn multiply(self, other: Self) -> Option<Self> {
        // Reduced crosswise first, so that the products are already in lowest terms and as small as they can be.
        let left = Self::new(self.numerator, other.denominator)?;
        let right = Self::new(other.numerator, self.denominator)?;
        Some(Self {
            numerator: left.numerator.checked_mul(right.numerator)?,
            denominator: left.denominator.checked_mul(right.denominator)?,
        })
    }

    pub(crate) fn add(self, other: Self) -> Option<Self> {
        let mine = self.numerator.checked_mul(other.denominator)?;
        let others = other.numerator.checked_mul(self.denominator)?;
        Self::new(mine.checked_add(others)?, self.denominator.checked_mul(other.denominator)?)
    }

    /// Decimal text: six decimals, or six significant digits below a thousandth; halves away from zero; no zeros at
    /// the end.
    pub(crate) fn rounded(self) -> String {
        let denominator = self.denominator.unsigned_abs();
        let whole = self.numerator.unsigned_abs() / denominator;
        let mut rest = self.numerator.unsigned_abs() % denominator;
        let (mut decimals, mut leading, mut significant) = (Vec::new(), 0, whole != 0);
        while rest != 0 && (decimals.len() < DECIMALS || leading >= 3 && decimals.len() < leading + SIGNIFICANT) {
            let digit = next_digit(&mut rest, denominator);
            significant |= digit != 0;
            leading += usize::from(!significant);
            decimals.push(digit);
        }
        let up = rest != 0 && next_digit(&mut rest, denominator) >= 5;
        let whole = if up && carry(&mut decimals) { whole + 1 } else { whole };
        while decimals.last() == Some(&0) {
            decimals.pop();
        }
        let mut text = String::new();
        if self.is_negative() && (whole != 0 || !decimals.is_empty()) {
            text.push('-');
        }
        // Writing to a string cannot fail.
        let _ = write!(text, "{whole}");
        if !decimals.is_empty() {
            text.push('.');
            text.extend(decimals.into_iter().map(|digit| char::from(b'0' + digit)));
        }
        text
    }
}

/// One step of long division: the next decimal of `rest / denominator`, for `rest` below `denominator`.
fn next_digit(rest: &mut u128, denominator: u128) -> u8 {
    // Ten additions instead of a product, which could overflow.
    let (mut digit, mut sum) = (0, 0u128);
    for _ in 0..10 {
        if sum >= denominator - *rest {
            sum -= denominator - *rest;
            digit += 1;
        } else {
            sum += *rest;
        }
    }
    *rest = sum;
    digit
}

/// Adds one to the last decimal; true when it runs over into the whole part.
fn carry(decimals: &mut [u8]) -> bool {
    for digit in decimals.iter_mut().rev() {
        if *digit < 9 {
            *digit += 1;
            return false;
        }
        *digit = 0;
    }
    true
}

fn gcd(mut a: u128, mut b: u128) -> u128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}
