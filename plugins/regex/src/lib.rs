//! Keeps answers to a regular expression. Whole answers match it.
//!
//! Configuration: `{"pattern": "(yes|no), [a-z ]{1,40}\\."}`. The pattern has characters, `.`, classes, `\d`, `\w` and `\s` of
//! ASCII, groups, `|`, `*`, `+`, `?` and `{2,5}`.

use firebox_constrain::{Constraint, ConstraintSession, parse};
use firebox_sdk::{Arguments, Plugin, Token, TokenSequence};

struct Regex(Constraint);

impl Plugin for Regex {
    const DESCRIPTION: &'static str = "Keeps answers to a regular expression.";

    fn init(config_json: &str) -> Result<Self, String> {
        let config = Arguments::parse_config(config_json)?;
        config.only(&["pattern"])?;
        let pattern = parse(&config.text("pattern")?)?;
        Constraint::new(&pattern).map(Self)
    }
}

impl Token for Regex {
    type Session = ConstraintSession;

    fn start(&mut self, sequence: TokenSequence) -> Result<ConstraintSession, String> {
        self.0.start(sequence)
    }
}

firebox_sdk::plugin!(Regex: token);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_configuration_is_named() {
        assert!(Regex::init(r#"{"pattern": "[a-z]+"}"#).is_ok());
        for (config, expected) in [
            ("{}", "missing configuration key \"pattern\""),
            (r#"{"pattern": 1}"#, "\"pattern\" must be a string"),
            (r#"{"pattern": "("}"#, "character 2: a group has no end"),
            (r#"{"patern": "a"}"#, "unknown configuration key \"patern\""),
        ] {
            let error = Regex::init(config).err().unwrap();
            assert!(error.contains(expected), "{error}");
        }
    }
}
