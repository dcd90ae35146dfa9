//! The named functions.

use dashu_int::IBig;
use dashu_ratio::RBig;

use crate::number::{Number, greatest_common_divisor, least_common_multiple};

/// Whether there is such a function.
pub(crate) fn exists(name: &str) -> bool {
    NAMES.contains(&name)
}

/// The functions' names, in the order the errors list them.
pub(crate) const NAMES: [&str; 9] = ["sqrt", "abs", "floor", "ceil", "round", "gcd", "lcm", "min", "max"];

/// Calls the function `name` of [`NAMES`].
pub(crate) fn call(name: &str, arguments: &[Number]) -> Result<Number, String> {
    match name {
        "sqrt" => single(name, arguments)?.square_root(),
        "abs" => Ok(single(name, arguments)?.clone().absolute()),
        "floor" => whole(name, arguments, RBig::floor),
        "ceil" => whole(name, arguments, RBig::ceil),
        "round" => whole(name, arguments, RBig::round),
        "gcd" => fold_integers(name, arguments, |a, b| Ok(greatest_common_divisor(a, b))),
        "lcm" => fold_integers(name, arguments, least_common_multiple),
        "min" => pick(name, arguments, |candidate, best| candidate < best),
        "max" => pick(name, arguments, |candidate, best| candidate > best),
        _ => Err(format!("no function \"{name}\"")),
    }
}

fn single<'a>(name: &str, arguments: &'a [Number]) -> Result<&'a Number, String> {
    match arguments {
        [one] => Ok(one),
        _ => Err(format!("{name} takes one argument, not {}", arguments.len())),
    }
}

fn whole(name: &str, arguments: &[Number], to_integer: fn(&RBig) -> IBig) -> Result<Number, String> {
    let (low, high) = single(name, arguments)?.bounds()?;
    let (low, high) = (to_integer(&low), to_integer(&high));
    if low != high {
        return Err(format!("{name} cannot tell on which side of {high} a rounded number lies"));
    }
    Ok(Number::exact(RBig::from(high)))
}

fn fold_integers(
    name: &str,
    arguments: &[Number],
    combine: impl Fn(&IBig, &IBig) -> Result<IBig, String>,
) -> Result<Number, String> {
    let noun = format!("each argument of {name}");
    let mut integers = arguments.iter().map(|number| number.integer(&noun));
    let mut result = integers.next().ok_or_else(|| format!("{name} takes at least one argument"))??;
    for next in integers {
        result = combine(&result, &next?)?;
    }
    Ok(Number::exact(RBig::from(result)))
}

fn pick(name: &str, arguments: &[Number], better: fn(&Number, &Number) -> bool) -> Result<Number, String> {
    let best = arguments.iter().reduce(|best, candidate| if better(candidate, best) { candidate } else { best });
    best.cloned().ok_or_else(|| format!("{name} takes at least one argument"))
}
