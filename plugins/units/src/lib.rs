//! A tool for the model: converts between units. The factors are exact by definition of the units, and the number is
//! read as decimal text. Only the answer is rounded.

mod lookup;
mod rational;
mod table;

use firebox_sdk::{Arguments, Definition, Outcome, Plugin, Tool};
use lookup::Resolved;
use rational::Rational;
use table::Dimension;

const NAME: &str = "convert_units";
const SCHEMA: &str = r#"{
  "type": "object",
  "properties": {
    "value": {"type": ["number", "string"], "description": "The number to convert."},
    "from": {"type": "string", "description": "Its unit, for example \"km\", \"pounds\", \"celsius\" or \"miles per hour\"."},
    "to": {"type": "string", "description": "The unit to convert it to."}
  },
  "required": ["value", "from", "to"],
  "additionalProperties": false
}"#;
const DESCRIPTION: &str = "Converts a number from one unit to another: length, area, volume (US cups and gallons), mass, \
    temperature, time (a year is 365 days), speed, data, data rate, energy, power, pressure, angle.";

struct Units;

impl Plugin for Units {
    const DESCRIPTION: &'static str = "A tool for the model: converts between units with exact factors.";

    fn init(config_json: &str) -> Result<Self, String> {
        Arguments::parse_config(config_json)?.only(&[])?;
        Ok(Self)
    }
}

impl Tool for Units {
    fn definitions(&self) -> Vec<Definition> {
        vec![Definition::pure(NAME, DESCRIPTION, SCHEMA)]
    }

    fn call(&mut self, name: &str, arguments_json: &str) -> Outcome {
        if name != NAME {
            return Outcome::unknown_tool(name);
        }
        Outcome::from(Arguments::parse(arguments_json).and_then(|given| {
            let value = given.number_text("value")?;
            convert(&value, given.text("from")?.trim(), given.text("to")?.trim())
        }))
    }
}

/// The answer, such as `12 km = 7.456454 miles`, with the units as they were given.
fn convert(value: &str, from: &str, to: &str) -> Result<String, String> {
    let number = Rational::parse(value).ok_or_else(|| {
        format!("\"{value}\" is not a number this tool can read: write at most {} digits", rational::DIGITS_MAX)
    })?;
    let (source, target) = pair(from, to)?;
    let out_of_range = || format!("{value} {from} is out of range for an exact conversion to {to}");
    let base = source.to_base(number).ok_or_else(out_of_range)?;
    if source.dimension == Dimension::Temperature && base.is_negative() {
        return Err(format!("{value} {from} is below absolute zero"));
    }
    let result = target.value_of(base).ok_or_else(out_of_range)?;
    Ok(format!("{value} {from} = {} {to}", result.rounded()))
}

/// Both units, of one dimension.
fn pair(from: &str, to: &str) -> Result<(Resolved, Resolved), String> {
    let (source, target) = match (lookup::resolve(from), lookup::resolve(to)) {
        (Some(source), Some(target)) => (source, target),
        (None, other) => return Err(unknown(from, other)),
        (Some(source), None) => return Err(unknown(to, Some(source))),
    };
    if source.dimension != target.dimension {
        let (a, b) = (source.dimension.noun(), target.dimension.noun());
        return Err(format!("cannot convert {a} (\"{from}\") to {b} (\"{to}\")"));
    }
    Ok((source, target))
}

fn unknown(word: &str, other: Option<Resolved>) -> String {
    match other {
        Some(other) => {
            let names: Vec<&str> = table::names(other.dimension).collect();
            format!("unknown unit \"{word}\"; known {} are {}", other.dimension.plural(), names.join(", "))
        }
        None => {
            let kinds: Vec<&str> = Dimension::ALL.iter().map(|dimension| dimension.plural()).collect();
            format!("unknown unit \"{word}\"; this tool knows {}", kinds.join(", "))
        }
    }
}

firebox_sdk::plugin!(Units: tool);

#[cfg(test)]
mod tests;
