//! Exact rationals, and square roots known to within a stated error.

use std::cmp::Ordering;

use dashu_base::{Abs, BitTest, DivRem, Gcd, SquareRoot, UnsignedAbs};
use dashu_int::{IBig, UBig};
use dashu_ratio::RBig;

/// Maximum decimal digits of a numerator or a denominator.
pub(crate) const DIGITS_MAX: usize = 20_000;
/// The same in bits: log2(10) is less than 3.322.
pub(crate) const BITS_MAX: usize = DIGITS_MAX * 3_322 / 1_000;
/// The largest n whose factorial is computed; it has 19,336 digits.
pub(crate) const FACTORIAL_MAX: u32 = 5_900;
/// Decimals of a square root that is not rational, before anything is done with it.
const ROOT_DECIMALS: usize = 100;

/// A number: `value` itself, or something within 10^`error` of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Number {
    pub(crate) value: RBig,
    pub(crate) error: Option<i64>,
}

type Outcome = Result<Number, String>;

impl Number {
    pub(crate) fn exact(value: RBig) -> Self {
        Self { value, error: None }
    }

    /// The bit length of the numerator or of the denominator, whichever is larger.
    pub(crate) fn bits(&self) -> usize {
        self.value.numerator().bit_len().max(self.value.denominator().bit_len())
    }

    pub(crate) fn add(&self, other: &Self) -> Outcome {
        let error = worse(self.error, other.error).map(|e| e + 1);
        bounded(&self.value + &other.value, error)
    }

    pub(crate) fn negate(self) -> Self {
        Self { value: -self.value, error: self.error }
    }

    pub(crate) fn subtract(&self, other: &Self) -> Outcome {
        self.add(&other.clone().negate())
    }

    pub(crate) fn multiply(&self, other: &Self) -> Outcome {
        let mine = self.error.map(|e| e + magnitude_above(&other.value));
        let others = other.error.map(|e| e + magnitude_above(&self.value));
        let both = self.error.zip(other.error).map(|(a, b)| a + b);
        bounded(&self.value * &other.value, worse(worse(mine, others), both).map(|e| e + 1))
    }

    pub(crate) fn divide(&self, other: &Self) -> Outcome {
        self.multiply(&other.reciprocal()?)
    }

    /// |1/x - 1/y| <= 10^e / (|y| (|y| - 10^e)) where |x - y| <= 10^e.
    fn reciprocal(&self) -> Outcome {
        if self.value.is_zero() {
            return Err(if self.error.is_some() { lost() } else { "division by zero".to_owned() });
        }
        let below = magnitude_below(&self.value);
        let error = match self.error {
            Some(e) if e + 1 > below => return Err(lost()),
            Some(e) => Some(e - 2 * below + 1),
            None => None,
        };
        let (numerator, denominator) = self.value.clone().into_parts();
        bounded(RBig::from_parts_signed(denominator.into(), numerator), error)
    }

    /// The remainder with the divisor's sign: `a - b * floor(a / b)`.
    pub(crate) fn remainder(&self, other: &Self) -> Outcome {
        if self.error.is_some() || other.error.is_some() {
            return Err("a remainder needs exact numbers".to_owned());
        }
        if other.value.is_zero() {
            return Err("division by zero".to_owned());
        }
        let quotient = Self::exact(RBig::from(self.divide(other)?.value.floor()));
        self.subtract(&quotient.multiply(other)?)
    }

    pub(crate) fn power(&self, exponent: &Self) -> Outcome {
        let exponent = exponent.integer("the exponent")?;
        let base = if exponent < IBig::ZERO { self.reciprocal()? } else { self.clone() };
        let exponent = exponent.unsigned_abs();
        if exponent.is_zero() {
            return Ok(Self::exact(RBig::ONE));
        }
        if base.error.is_none() && (base.value.is_zero() || base.value.clone().abs().is_one()) {
            let odd = exponent.bit(0);
            return Ok(Self::exact(if odd { base.value } else { base.value.abs() }));
        }
        let exponent = usize::try_from(&exponent).map_err(|_| too_large())?;
        let bits = base.bits();
        // A number of b bits is at least 2^(b-1).
        if (bits.max(2) - 1).checked_mul(exponent).is_none_or(|bits| bits > BITS_MAX) {
            return Err(too_large());
        }
        match base.error {
            None => bounded(base.value.pow(exponent.cast_signed()), None),
            Some(_) => base.power_by_squaring(exponent),
        }
    }

    fn power_by_squaring(&self, exponent: usize) -> Outcome {
        let mut result = Self::exact(RBig::ONE);
        for bit in (0..usize::BITS).rev().skip_while(|bit| exponent >> bit == 0) {
            result = result.multiply(&result)?;
            if exponent >> bit & 1 == 1 {
                result = result.multiply(self)?;
            }
        }
        Ok(result)
    }

    pub(crate) fn factorial(&self) -> Outcome {
        let n = self.integer("the operand of \"!\"")?;
        if n < IBig::ZERO {
            return Err("the factorial of a negative number is not defined".to_owned());
        }
        match u32::try_from(&n) {
            Ok(n) if n <= FACTORIAL_MAX => Ok(Self::exact(RBig::from(product(1, n.max(1))))),
            _ => Err(format!("the factorial is too large, the largest is {FACTORIAL_MAX}!")),
        }
    }

    /// Exact where numerator and denominator are squares.
    pub(crate) fn square_root(&self) -> Outcome {
        if self.value < RBig::ZERO {
            return Err("the square root of a negative number is not real".to_owned());
        }
        let numerator = self.value.numerator().clone().unsigned_abs();
        let denominator = self.value.denominator();
        let (p, q) = (numerator.sqrt(), denominator.sqrt());
        if self.error.is_none() && &p * &p == numerator && &(&q * &q) == denominator {
            return Ok(Self::exact(RBig::from_parts(p.into(), q)));
        }
        let scale = UBig::from(10u8).pow(ROOT_DECIMALS);
        let root = RBig::from_parts((numerator * &scale * &scale / denominator).sqrt().into(), scale);
        let rounding = -(ROOT_DECIMALS as i64);
        // |sqrt(x) - sqrt(y)| is at most sqrt(|x - y|), and at most |x - y| / sqrt(y).
        let inherited = self.error.map(|e| {
            let coarse = (e + 1).div_euclid(2);
            if root.is_zero() { coarse } else { coarse.min(e - magnitude_below(&root)) }
        });
        bounded(root, worse(Some(rounding), inherited).map(|e| e + 1))
    }

    /// The two ends of the interval that the number lies in.
    pub(crate) fn bounds(&self) -> Result<(RBig, RBig), String> {
        let slack = match self.error {
            None => RBig::ZERO,
            Some(e) => {
                let decimals = usize::try_from(-e).map_err(|_| lost())?;
                RBig::from_parts(IBig::ONE, UBig::from(10u8).pow(decimals))
            }
        };
        let high = &self.value + &slack;
        Ok((&self.value + &-slack, high))
    }

    pub(crate) fn absolute(self) -> Self {
        Self { value: self.value.abs(), error: self.error }
    }

    /// This number as an integer; `noun` names it in the error.
    pub(crate) fn integer(&self, noun: &str) -> Result<IBig, String> {
        if self.error.is_none() && self.value.is_int() {
            Ok(self.value.numerator().clone())
        } else {
            Err(format!("{noun} must be a whole number"))
        }
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.value.partial_cmp(&other.value)
    }
}

pub(crate) fn greatest_common_divisor(a: &IBig, b: &IBig) -> IBig {
    match (a.is_zero(), b.is_zero()) {
        (true, _) => b.clone().abs(),
        (_, true) => a.clone().abs(),
        _ => a.gcd(b).into(),
    }
}

pub(crate) fn least_common_multiple(a: &IBig, b: &IBig) -> Result<IBig, String> {
    if a.is_zero() || b.is_zero() {
        return Ok(IBig::ZERO);
    }
    let (quotient, _) = a.clone().abs().div_rem(greatest_common_divisor(a, b));
    let product = quotient * b.clone().abs();
    if product.bit_len() > BITS_MAX { Err(too_large()) } else { Ok(product) }
}

/// The product of `low..=high`, split in halves so that both factors are of like size.
fn product(low: u32, high: u32) -> UBig {
    if high - low < 8 {
        return (low..=high).map(UBig::from).product();
    }
    let middle = low + (high - low) / 2;
    product(low, middle) * product(middle + 1, high)
}

/// The larger of two error exponents. `None` is no error.
fn worse(a: Option<i64>, b: Option<i64>) -> Option<i64> {
    a.max(b)
}

/// Some k with |x| <= 10^k and k >= 0, from the sizes in bits.
fn magnitude_above(x: &RBig) -> i64 {
    let bits = x.numerator().bit_len() as i64 - x.denominator().bit_len() as i64 + 1;
    bits.max(0) / 3 + 1
}

/// Some k with 10^k <= |x|, for x other than zero.
fn magnitude_below(x: &RBig) -> i64 {
    let bits = x.numerator().bit_len() as i64 - x.denominator().bit_len() as i64 - 1;
    if bits >= 0 { bits / 4 } else { bits.div_euclid(3) }
}

fn bounded(value: RBig, error: Option<i64>) -> Outcome {
    let number = Number { value, error };
    if number.bits() > BITS_MAX { Err(too_large()) } else { Ok(number) }
}

pub(crate) fn too_large() -> String {
    format!("the result is too large: more than {DIGITS_MAX} digits")
}

pub(crate) fn lost() -> String {
    "too much precision is lost: an irrational square root is known to 100 decimals only".to_owned()
}
