//! Keeps answers to a JSON Schema.
//!
//! Configuration: `{"schema": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 20}}, "required": ["name"]}}`.
//! The members of an object come in the order of `properties`. A keyword that cannot be kept is refused with its place.

mod keywords;
mod schema;
mod values;

use firebox_constrain::{Constraint, ConstraintSession};
use firebox_sdk::{Arguments, Plugin, Token, TokenSequence};

struct JsonSchema(Constraint);

impl Plugin for JsonSchema {
    const DESCRIPTION: &'static str = "Keeps answers to a JSON Schema.";

    fn init(config_json: &str) -> Result<Self, String> {
        let config = Arguments::parse_config(config_json)?;
        config.only(&["schema"])?;
        let schema = config.get("schema").ok_or("missing configuration key \"schema\"")?;
        Constraint::new(&schema::pattern(schema)?).map(Self)
    }
}

impl Token for JsonSchema {
    type Session = ConstraintSession;

    fn start(&mut self, sequence: TokenSequence) -> Result<ConstraintSession, String> {
        self.0.start(sequence)
    }
}

firebox_sdk::plugin!(JsonSchema: token);

#[cfg(test)]
mod tests;
