//! Finds a unit from its written form: symbols, words, plurals, squares, cubes and "per".

use crate::rational::Rational;
use crate::table::{Dimension, UNITS, Unit};

/// Maximum bytes of a unit's name. Longer names are unknown.
const NAME_BYTES_MAX: usize = 64;

/// A unit, which may be composed of others: `base = (value + offset) * factor`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Resolved {
    pub(crate) dimension: Dimension,
    factor: Rational,
    offset: Rational,
}

impl Resolved {
    fn of(unit: &Unit) -> Option<Self> {
        let (factor, offset) = (unit.factor, unit.offset);
        Some(Self {
            dimension: unit.dimension,
            factor: Rational::new(factor.0.into(), factor.1.into())?,
            offset: Rational::new(offset.0.into(), offset.1.into())?,
        })
    }

    /// Converts `value` to the dimension's base unit. `None` if it does not fit.
    pub(crate) fn to_base(self, value: Rational) -> Option<Rational> {
        value.add(self.offset)?.multiply(self.factor)
    }

    /// The inverse of [`Self::to_base`].
    pub(crate) fn value_of(self, base: Rational) -> Option<Rational> {
        base.multiply(self.factor.reciprocal()?)?.add(self.offset.negate()?)
    }

    fn scaled(self, dimension: Dimension, factor: Option<Rational>) -> Option<Self> {
        Some(Self { dimension, factor: factor?, offset: self.offset })
    }

    /// A square of this length, in square metres.
    fn squared(self) -> Option<Self> {
        let length = Some(self).filter(|unit| unit.dimension == Dimension::Length)?;
        self.scaled(Dimension::Area, length.factor.multiply(length.factor))
    }

    /// A cube of this length, in litres.
    fn cubed(self) -> Option<Self> {
        let area = self.squared()?.factor.multiply(self.factor)?;
        self.scaled(Dimension::Volume, area.multiply(Rational::new(1_000, 1)?))
    }

    /// This unit per `time`.
    fn per(self, time: Self) -> Option<Self> {
        let dimension = match (self.dimension, time.dimension) {
            (Dimension::Length, Dimension::Time) => Dimension::Speed,
            (Dimension::Data, Dimension::Time) => Dimension::DataRate,
            _ => return None,
        };
        self.scaled(dimension, self.factor.multiply(time.factor.reciprocal()?))
    }
}

/// The unit that `written` names, if there is one.
pub(crate) fn resolve(written: &str) -> Option<Resolved> {
    if written.len() > NAME_BYTES_MAX {
        return None;
    }
    let words: Vec<&str> = written.split_whitespace().collect();
    let name = words.join(" ").replace('²', "2").replace('³', "3").replace('^', "");
    let name = name.trim_end_matches('.');
    simple(name).or_else(|| composed(name))
}

fn composed(name: &str) -> Option<Resolved> {
    let lower = name.to_ascii_lowercase();
    let tail = |prefix: &str| lower.starts_with(prefix).then(|| name.get(prefix.len()..)).flatten();
    if let Some(side) = tail("square ").or_else(|| tail("sq ")).or_else(|| tail("sq. ")) {
        return simple(side)?.squared();
    }
    if let Some(side) = tail("cubic ").or_else(|| tail("cu ")) {
        return simple(side)?.cubed();
    }
    if let Some(side) = name.strip_suffix('2') {
        return simple(side)?.squared();
    }
    if let Some(side) = name.strip_suffix('3') {
        return simple(side)?.cubed();
    }
    let (amount, time) = name.split_once(" per ").or_else(|| name.split_once('/'))?;
    simple(amount.trim())?.per(simple(time.trim())?)
}

/// A unit of the table: by its exact name, or else ignoring case, plural and a word for degrees.
fn simple(name: &str) -> Option<Resolved> {
    let exact = |name: &str| UNITS.iter().find(|unit| unit.names.contains(&name));
    let loose = |name: &str| UNITS.iter().find(|unit| unit.names.iter().any(|known| known.eq_ignore_ascii_case(name)));
    let lower = name.to_ascii_lowercase();
    let bare =
        lower.strip_prefix('°').or_else(|| lower.strip_prefix("degrees ")).or_else(|| lower.strip_prefix("degree "));
    let bare = bare.or_else(|| lower.strip_prefix("deg ")).or_else(|| lower.strip_prefix("deg"));
    let temperature = |name: &str| loose(name).filter(|unit| unit.dimension == Dimension::Temperature);
    let found = exact(name)
        .or_else(|| loose(&lower))
        .or_else(|| loose(plural_stem(&lower)?))
        .or_else(|| temperature(bare?.trim()));
    Resolved::of(found?)
}

/// A name without the `s` of its plural. Short symbols have no plural, with a few exceptions.
fn plural_stem(lower: &str) -> Option<&str> {
    const SHORT: [&str; 13] = ["km", "kg", "lb", "yd", "hr", "yr", "wk", "sec", "min", "gal", "cup", "qt", "pt"];
    let stem = lower.strip_suffix('s')?;
    (stem.len() > 3 || SHORT.contains(&stem) || matches!(stem, "bit" | "day" | "oz" | "bar")).then_some(stem)
}
