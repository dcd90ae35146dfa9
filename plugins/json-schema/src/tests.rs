use firebox_constrain::Automaton;
use firebox_sdk::Plugin;

use super::{JsonSchema, schema};

fn accepts(schema: &str, text: &str) -> bool {
    let pattern = schema::pattern(schema).unwrap_or_else(|error| panic!("{schema}: {error}"));
    let mut automaton = Automaton::new(&pattern).unwrap_or_else(|error| panic!("{schema}: {error}"));
    let end = automaton.run(automaton.start(), text.as_bytes()).unwrap();
    end.is_some_and(|state| automaton.can_end(state))
}

#[test]
fn valid_texts_are_accepted_and_others_are_not() {
    for (schema, valid, invalid) in [
        (r#"{"type": "integer"}"#, vec!["0", "-12"], vec!["01", "1.0", "+1", " 1"]),
        (r#"{"type": "number"}"#, vec!["0.5", "-1e9"], vec![".5", "1.", "1e999", "NaN"]),
        (r#"{"type": ["null", "boolean"]}"#, vec!["null", "true"], vec!["0", ""]),
        (
            r#"{"type": "string", "minLength": 1, "maxLength": 3}"#,
            vec![r#""aé\n""#, r#""\u00e9""#, "\"😀\""],
            vec![r#""""#, r#""abcd""#, "\"a\nb\"", r#""\x""#, r#""\ud83d""#],
        ),
        (r#"{"enum": ["a", 1, {"b": null}]}"#, vec!["\"a\"", "1", "{\"b\": null}"], vec!["a", "2"]),
        (r#"{"const": true, "description": "x"}"#, vec!["true"], vec!["false"]),
        (r#"{"type": "string", "format": "date"}"#, vec!["\"2026-02-28\""], vec!["\"2026-02-30\"", "\"today\""]),
        (
            r#"{"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 3}"#,
            vec!["[1]", "[1, 2,3]"],
            vec!["[]", "[1,]", "[1,2,3,4]", "[\"a\"]"],
        ),
        (r#"{"type": "array", "maxItems": 0}"#, vec!["[]"], vec!["[1]"]),
        (
            r#"{"type": "object", "properties": {"a": {"type": "null"}, "b\"": {"type": "null"}, "c": {"type": "null"}},
                "required": ["b\""], "additionalProperties": false}"#,
            vec![r#"{"a": null, "b\"": null}"#, r#"{"b\"":null,"c":null}"#, r#"{"b\"": null}"#],
            vec!["{}", r#"{"a": null}"#, r#"{"b\"": null, "a": null}"#, r#"{"b\"": null, "d": null}"#],
        ),
        (
            r#"{"properties": {"a": {"type": "null"}, "b": {"type": "null"}}}"#,
            vec!["{}", r#"{"a": null}"#, r#"{"b": null}"#, r#"{"a":null,"b":null}"#],
            vec![r#"{,"b": null}"#, r#"{"a": null,}"#],
        ),
        (
            r#"{"type": "object", "additionalProperties": {"type": "integer"}}"#,
            vec!["{}", r#"{"x": 1, "y": 2}"#],
            vec![r#"{"x": "1"}"#],
        ),
        (
            r##"{"anyOf": [{"$ref": "#/$defs/a~1b"}, {"type": "null"}], "$defs": {"a/b": {"type": "integer"}}}"##,
            vec!["7", "null"],
            vec!["\"7\""],
        ),
        ("true", vec!["1", "[[1], {\"a\": [2]}]", "{\"a\": {\"b\": null}}"], vec!["", "[", "{a: 1}"]),
        ("{}", vec!["null"], vec!["nul"]),
    ] {
        valid.iter().for_each(|text| assert!(accepts(schema, text), "{schema} accepts {text}"));
        invalid.iter().for_each(|text| assert!(!accepts(schema, text), "{schema} does not accept {text}"));
    }
}

#[test]
fn what_cannot_be_kept_is_named_with_its_place() {
    for (schema, expected) in [
        (r#"{"properties": {"a/b": {"type": "integer", "minimum": 1}}}"#, "#/properties/a~1b: \"minimum\""),
        (r#"{"type": "string", "pattern": "x"}"#, "at #: \"pattern\" is not supported here"),
        (r#"{"oneOf": []}"#, "\"oneOf\""),
        (r#"{"anyOf": []}"#, "#/anyOf: it is empty"),
        (r#"{"type": "string", "minItems": 1}"#, "\"minItems\""),
        (r#"{"type": "text"}"#, "there is no type \"text\""),
        (r#"{"type": "array", "minItems": 5, "maxItems": 2}"#, "below the smallest"),
        (r#"{"type": "string", "maxLength": -1}"#, "\"maxLength\" must be a whole number"),
        (r#"{"type": "string", "maxLength": 5000}"#, "up to 1000"),
        (r#"{"type": "string", "format": "email"}"#, "format \"email\" is not one of date"),
        (r#"{"required": ["x"], "type": "object"}"#, "\"x\" is required and not in"),
        (r##"{"$ref": "#/$defs/x"}"##, "there is no \"#/$defs/x\""),
        (r##"{"$ref": "https://x/y"}"##, "only references to #"),
        (r##"{"properties": {"a": {"$ref": "#"}}}"##, "refers to itself"),
        ("false", "no value is valid"),
        ("[]", "at #"),
    ] {
        let error = schema::pattern(schema).expect_err(schema);
        assert!(error.contains(expected), "{schema}: {error}");
    }
}

#[test]
fn a_wrong_configuration_is_named() {
    assert!(JsonSchema::init(r#"{"schema": {"type": "integer"}}"#).is_ok());
    for (config, expected) in [
        ("{}", "missing configuration key \"schema\""),
        (r#"{"schema": {"type": 1}}"#, "\"type\" must be a string"),
        (r#"{"shema": {}}"#, "unknown configuration key \"shema\""),
    ] {
        let error = JsonSchema::init(config).err().unwrap();
        assert!(error.contains(expected), "{error}");
    }
}
