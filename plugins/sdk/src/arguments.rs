//! Reads the JSON object of a tool call or a configuration, with errors that a model or an operator can act on.

use crate::json;

/// A JSON object's members, each value kept as its JSON text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arguments {
    members: Vec<(String, String)>,
    noun: &'static str,
}

impl Arguments {
    /// Reads a tool call's arguments.
    ///
    /// # Errors
    /// The text is not one JSON object.
    pub fn parse(json: &str) -> Result<Self, String> {
        Self::of(json, "argument")
    }

    /// Reads a plugin's configuration.
    ///
    /// # Errors
    /// The text is not one JSON object.
    pub fn parse_config(json: &str) -> Result<Self, String> {
        Self::of(json, "configuration key")
    }

    fn of(json: &str, noun: &'static str) -> Result<Self, String> {
        let members = json::members(json)?.into_iter().map(|(name, value)| (name, value.to_owned())).collect();
        Ok(Self { members, noun })
    }

    /// Checks that there are no members other than `known`.
    ///
    /// # Errors
    /// The name of the first unknown member, and the known ones.
    pub fn only(&self, known: &[&str]) -> Result<(), String> {
        match self.members.iter().find(|(key, _)| !known.contains(&key.as_str())) {
            Some((key, _)) => Err(format!("unknown {} \"{key}\", use one of: {}", self.noun, known.join(", "))),
            None => Ok(()),
        }
    }

    /// The member's JSON text. `None` if it is missing or `null`. If several members have the name, the last one counts.
    pub fn get(&self, key: &str) -> Option<&str> {
        let (_, value) = self.members.iter().rfind(|(name, _)| name == key)?;
        (value != "null").then_some(value)
    }

    /// A required string.
    ///
    /// # Errors
    /// It is absent or something else.
    pub fn text(&self, key: &str) -> Result<String, String> {
        let value = self.get(key).ok_or_else(|| self.missing(key))?;
        json::string(value).map_err(|_| self.wrong(key, "a string"))
    }

    /// A required number as the text that was written, so `0.1` is exactly one tenth. If the member is a string, its text is
    /// returned.
    ///
    /// # Errors
    /// It is absent or something else.
    pub fn number_text(&self, key: &str) -> Result<String, String> {
        let value = self.get(key).ok_or_else(|| self.missing(key))?;
        match value.as_bytes().first() {
            Some(b'-' | b'0'..=b'9') => Ok(value.to_owned()),
            Some(b'"') => self.text(key).map(|text| text.trim().to_owned()),
            _ => Err(self.wrong(key, "a number")),
        }
    }

    /// A boolean, or `default` if it is missing.
    ///
    /// # Errors
    /// It is something else.
    pub fn flag(&self, key: &str, default: bool) -> Result<bool, String> {
        match self.get(key) {
            None => Ok(default),
            Some("true") => Ok(true),
            Some("false") => Ok(false),
            Some(_) => Err(self.wrong(key, "true or false")),
        }
    }

    /// A list of strings. `None` if it is missing.
    ///
    /// # Errors
    /// It is something else.
    pub fn texts(&self, key: &str) -> Result<Option<Vec<String>>, String> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let texts = json::elements(value).and_then(|items| items.into_iter().map(json::string).collect());
        texts.map(Some).map_err(|_| self.wrong(key, "a list of strings"))
    }

    /// Every string in the values, nested ones and the names of nested members too.
    pub fn strings(&self) -> Vec<String> {
        self.members.iter().flat_map(|(_, value)| json::strings(value)).collect()
    }

    /// The names of the members and the JSON text of each value, in order.
    pub fn members(&self) -> impl Iterator<Item = (&str, &str)> {
        self.members.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// A list, each element as its JSON text. `None` if it is missing.
    ///
    /// # Errors
    /// It is something else.
    pub fn list(&self, key: &str) -> Result<Option<Vec<&str>>, String> {
        let Some(value) = self.get(key) else { return Ok(None) };
        json::elements(value).map(Some).map_err(|_| self.wrong(key, "a list"))
    }

    /// Sets a member to the JSON text `value`.
    pub fn set(&mut self, key: &str, value: &str) {
        self.members.retain(|(name, _)| name != key);
        self.members.push((key.to_owned(), value.to_owned()));
    }

    /// The object as JSON text.
    pub fn to_json(&self) -> String {
        let members = self.members.iter().map(|(name, value)| format!("{}:{value}", json::quoted(name)));
        format!("{{{}}}", members.collect::<Vec<_>>().join(","))
    }

    fn missing(&self, key: &str) -> String {
        format!("missing {} \"{key}\"", self.noun)
    }

    fn wrong(&self, key: &str, want: &str) -> String {
        format!("{} \"{key}\" must be {want}", self.noun)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(json: &str) -> Arguments {
        Arguments::parse(json).unwrap()
    }

    #[test]
    fn a_number_keeps_the_digits_that_were_written() {
        let given =
            arguments(r#"{"a": 0.1000000000000000055511151231257827, "b": "1/3", "c": 12345678901234567890123}"#);
        assert_eq!(given.number_text("a").unwrap(), "0.1000000000000000055511151231257827");
        assert_eq!(given.number_text("b").unwrap(), "1/3");
        assert_eq!(given.number_text("c").unwrap(), "12345678901234567890123");
    }

    #[test]
    fn strings_are_found_at_any_depth_and_a_changed_object_is_json_again() {
        let mut given = arguments(r#"{"a": "x\u0041", "b": [1, {"c": "\"/etc"}], "d": true}"#);
        assert_eq!(given.strings(), ["xA", "c", "\"/etc"]);
        given.set("d", "[2]");
        given.set("e\"", "null");
        assert_eq!(given.to_json(), r#"{"a":"x\u0041","b":[1, {"c": "\"/etc"}],"d":[2],"e\"":null}"#);
        assert!(Arguments::parse(&given.to_json()).is_ok());
    }

    #[test]
    fn members_and_elements_keep_their_order_and_their_text() {
        let given = arguments(r#"{"b": [1, {"c": "\u0041"}], "a": 1.50}"#);
        assert_eq!(given.members().collect::<Vec<_>>(), [("b", r#"[1, {"c": "\u0041"}]"#), ("a", "1.50")]);
        assert_eq!(given.list("b").unwrap().unwrap(), ["1", r#"{"c": "\u0041"}"#]);
        assert_eq!((given.list("x"), given.list("a").is_err()), (Ok(None), true));
    }

    #[test]
    fn missing_and_wrong_members_are_named() {
        let given = arguments(r#"{"a": 1, "b": null}"#);
        assert_eq!(given.text("a").unwrap_err(), "argument \"a\" must be a string");
        assert_eq!(given.text("b").unwrap_err(), "missing argument \"b\"");
        assert_eq!(given.texts("a").unwrap_err(), "argument \"a\" must be a list of strings");
    }

    #[test]
    fn unknown_configuration_key_is_named_with_the_known_ones() {
        let given = Arguments::parse_config(r#"{"kind": 1}"#).unwrap();
        assert_eq!(given.only(&["kinds"]).unwrap_err(), "unknown configuration key \"kind\", use one of: kinds");
    }

    #[test]
    fn anything_but_an_object_is_refused() {
        for json in ["", "[]", "1", "{\"a\":1} x"] {
            assert!(Arguments::parse(json).is_err(), "{json}");
        }
    }
}
