//! A tool for the model: exact arithmetic. Whole numbers and fractions of any size up to [`number::DIGITS_MAX`] digits;
//! only square roots are ever approximated, and then the answer says so.

mod format;
mod functions;
mod lexer;
mod number;
mod parser;

use firebox_sdk::{Arguments, Definition, Outcome, Plugin, Tool};

const NAME: &str = "calculator";
const SCHEMA: &str = r#"{
  "type": "object",
  "properties": {
    "expression": {
      "type": "string",
      "description": "For example \"1234 * 87\", \"(1/3 + 0.2) * 10^6\", \"25!\" or \"sqrt(2)\"."
    }
  },
  "required": ["expression"],
  "additionalProperties": false
}"#;
const DESCRIPTION: &str = "Evaluates an arithmetic expression exactly, with numbers of any size. Operators: + - * / ^, \
    % (remainder, with the divisor's sign), postfix ! (factorial) and parentheses. Functions: sqrt, abs, floor, ceil, \
    round, gcd, lcm, min, max.";

struct Calculator;

impl Plugin for Calculator {
    const DESCRIPTION: &'static str = "A tool for the model: exact arithmetic.";

    fn init(config_json: &str) -> Result<Self, String> {
        Arguments::parse_config(config_json)?.only(&[])?;
        Ok(Self)
    }
}

impl Tool for Calculator {
    fn definitions(&self) -> Vec<Definition> {
        vec![Definition::pure(NAME, DESCRIPTION, SCHEMA)]
    }

    fn call(&mut self, name: &str, arguments_json: &str) -> Outcome {
        if name != NAME {
            return Outcome::unknown_tool(name);
        }
        let answer = Arguments::parse(arguments_json).and_then(|given| evaluate(&given.text("expression")?));
        Outcome::from(answer)
    }
}

/// The value of `expression` as the model reads it.
fn evaluate(expression: &str) -> Result<String, String> {
    format::answer(&parser::evaluate(expression)?)
}

firebox_sdk::plugin!(Calculator: tool);

#[cfg(test)]
mod tests;
