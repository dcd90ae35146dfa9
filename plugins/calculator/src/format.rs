//! A number as text: an integer or exact decimal if possible, else ten decimals and the exact fraction.

use dashu_base::UnsignedAbs;
use dashu_int::{IBig, UBig};
use dashu_ratio::RBig;

use crate::number::{Number, lost};

/// Decimals of a rounded answer.
const DECIMALS: usize = 10;
/// Maximum decimals of an exact answer. An answer with more is rounded.
const EXACT_DECIMALS_MAX: usize = 100;

/// The text for the model.
pub(crate) fn answer(number: &Number) -> Result<String, String> {
    let value = &number.value;
    match number.error {
        // Half a unit of the last decimal is 5 * 10^-11; the error must be below it.
        Some(error) if error > -(DECIMALS as i64) - 1 => Err(lost()),
        Some(_) => Ok(format!("{} (rounded)", trim_zeros(&decimal(value, DECIMALS)))),
        None if value.is_int() => Ok(value.numerator().to_string()),
        None => Ok(match terminating_decimals(value.denominator()) {
            Some(decimals) if decimals <= EXACT_DECIMALS_MAX => decimal(value, decimals),
            _ => format!("{} (exactly {value})", decimal(value, DECIMALS)),
        }),
    }
}

/// The number of decimals that represent a fraction with this denominator exactly. `None` if no number does.
fn terminating_decimals(denominator: &UBig) -> Option<usize> {
    let twos = denominator.trailing_zeros()?;
    let mut rest = denominator >> twos;
    let five = UBig::from(5u8);
    let mut fives = 0;
    while fives <= EXACT_DECIMALS_MAX && (&rest % &five).is_zero() {
        rest /= &five;
        fives += 1;
    }
    rest.is_one().then_some(twos.max(fives))
}

/// `value` with exactly `decimals` decimals, halves away from zero.
fn decimal(value: &RBig, decimals: usize) -> String {
    let scale = UBig::from(10u8).pow(decimals);
    let doubled = value.numerator().clone().unsigned_abs() * scale * 2u8 + value.denominator();
    let digits = (doubled / (value.denominator() * 2u8)).to_string();
    let digits = format!("{digits:0>width$}", width = decimals + 1);
    let (whole, fraction) = digits.split_at(digits.len() - decimals);
    let minus = if *value.numerator() < IBig::ZERO { "-" } else { "" };
    if fraction.is_empty() { format!("{minus}{whole}") } else { format!("{minus}{whole}.{fraction}") }
}

fn trim_zeros(text: &str) -> &str {
    let trimmed = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text };
    if trimmed == "-0" { "0" } else { trimmed }
}
