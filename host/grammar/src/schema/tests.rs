//! What is enforced, what is refused, and how long hostile schemas take.

use std::time::{Duration, Instant};

use firebox_contract::{Error, Grammar, TokenConstraint, limits};
use serde_json::{Map, Value, json};

use crate::tests::compile;

fn compiled(schema: &Value) -> Result<Box<dyn TokenConstraint>, Error> {
    compile(&Grammar::JsonSchema(schema.to_string()))
}

/// The pointer at which a schema is refused.
fn refused_at(schema: &Value) -> String {
    match compiled(schema) {
        Err(Error::Schema { pointer, message, .. }) => {
            assert!(message.contains(&pointer), "{message}");
            pointer
        }
        other => panic!("{schema} became {:?}", other.map(drop)),
    }
}

fn accepts(schema: &Value, text: &str) -> bool {
    let mut state = compiled(schema).unwrap_or_else(|error| panic!("{schema}: {error}"));
    state.accept_text(text).expect("a step") && state.may_end().expect("a step")
}

#[test]
fn a_keyword_that_is_not_supported_is_refused_with_its_pointer() {
    for (keyword, value) in [
        ("not", json!({ "type": "null" })),
        ("if", json!({ "type": "string" })),
        ("contains", json!({ "type": "string" })),
        ("uniqueItems", json!(true)),
        ("propertyNames", json!({ "maxLength": 3 })),
        ("dependentRequired", json!({ "a": ["b"] })),
        ("dependentSchemas", json!({ "a": { "required": ["b"] } })),
        ("dependencies", json!({ "a": ["b"] })),
        ("unevaluatedProperties", json!(false)),
        ("unevaluatedItems", json!(false)),
        ("additionalItems", json!(false)),
        ("$dynamicRef", json!("#a")),
        ("$recursiveRef", json!("#")),
        ("nullable", json!(true)),
        ("minContains", json!(1)),
        ("items", json!([{ "type": "string" }])),
    ] {
        let inner = json!({ "type": ["object", "array"], keyword: value });
        assert_eq!(refused_at(&inner), format!("/{keyword}"), "{keyword}");
        let deep = json!({ "properties": { "a/b": { "anyOf": [{ "type": "string" }, inner] } } });
        assert_eq!(refused_at(&deep), format!("/properties/a~1b/anyOf/1/{keyword}"), "{keyword}");
        let referred = json!({ "$defs": { "d": inner }, "items": { "$ref": "#/$defs/d" } });
        assert_eq!(refused_at(&referred), format!("/$defs/d/{keyword}"), "{keyword}");
    }
    for (schema, pointer) in [
        (json!({ "$ref": "https://example.com/a.json" }), "/$ref"),
        (json!({ "$ref": "#anchor" }), "/$ref"),
        (json!({ "$ref": "#/$defs/none" }), "/$ref"),
        (json!({ "type": "string", "pattern": "(?=a)b" }), "/pattern"),
        (json!({ "type": "string", "pattern": "a\\b" }), "/pattern"),
        (json!({ "type": "string", "pattern": "(a)\\1" }), "/pattern"),
        (json!({ "items": { "pattern": "a^b" } }), "/items"),
        (json!({ "items": { "pattern": "(" } }), "/items"),
        (json!({ "type": "string", "format": "color" }), "/format"),
        (json!({ "$schema": "https://example.com/own" }), "/$schema"),
        (json!({ "type": "text" }), "/type"),
        (json!({ "enum": [] }), "/enum"),
        (json!({ "enum": [9_007_199_254_740_993_i64] }), "/enum"),
        (json!({ "const": 1e300 }), "/const"),
        (json!({ "const": "a\u{0}b" }), "/const"),
        (json!({ "pattern": "a\\u0000b" }), "/pattern"),
        (json!({ "pattern": "a\\v" }), "/pattern"),
        (json!({ "minimum": "1" }), "/minimum"),
        (json!({ "minLength": -1 }), "/minLength"),
        (json!({ "required": "a" }), "/required"),
        (json!({ "properties": [] }), "/properties"),
        (json!({ "anyOf": [] }), "/anyOf"),
        (json!({ "minProperties": 3 }), "/minProperties"),
        (json!({ "items": { "oneOf": [{ "minimum": 1 }, { "maximum": 5 }] } }), "/items"),
        (
            json!({ "properties": { "a": { "type": "string", "minLength": 3, "maxLength": 2 } }, "required": ["a"], "type": "object" }),
            "/properties/a",
        ),
        (json!(false), "#"),
    ] {
        let found = refused_at(&schema);
        assert!(found.starts_with(pointer), "{schema}: {found} and not {pointer}");
    }
}

#[test]
fn what_limits_nothing_is_accepted() {
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "https://example.com/a", "$comment": "c",
        "title": "t", "description": "d", "default": 1, "examples": [1], "deprecated": true, "readOnly": true,
        "uniqueItems": false, "propertyNames": true, "dependentRequired": {}, "nullable": false, "x-own": 7,
        "$defs": { "unused": { "not": {} } }, "type": "integer", "format": "int64",
    });
    assert!(accepts(&schema, "7"));
    assert!(accepts(&json!(true), "[null, {\"a\": 1}]") && accepts(&json!({}), "\"x\""));
}

#[test]
fn each_keyword_is_enforced() {
    for (schema, good, bad) in [
        (json!({ "type": "integer", "minimum": 3, "maximum": 12 }), "12", "13"),
        (json!({ "type": "integer", "format": "uint8" }), "255", "256"),
        (json!({ "type": "number", "exclusiveMinimum": 0.5 }), "0.51", "0.5"),
        (json!({ "type": "number", "multipleOf": 0.25 }), "1.75", "1.7"),
        (json!({ "type": "string", "minLength": 2, "maxLength": 3 }), "\"äöü\"", "\"äöüß\""),
        (json!({ "type": "string", "pattern": "^a+$" }), "\"aa\"", "\"ab\""),
        (json!({ "type": "string", "pattern": "b" }), "\"abc\"", "\"acc\""),
        (json!({ "type": "string", "pattern": "^.$" }), "\"é\"", "\"\\n\""),
        (json!({ "type": "string", "pattern": "^\\d\\w\\s$" }), "\"1a \"", "\"1a1\""),
        (json!({ "type": "string", "pattern": "^[^\\W_]+/[&~-]$" }), "\"ab/-\"", "\"_/-\""),
        (json!({ "type": "string", "format": "date" }), "\"2024-02-29\"", "\"2023-02-29\""),
        (
            json!({ "type": "string", "format": "uuid", "pattern": "^a" }),
            "\"a0000000-0000-0000-0000-00000000000F\"",
            "\"b0000000-0000-0000-0000-00000000000F\"",
        ),
        (json!({ "const": { "a": [1, "x", null] } }), "{\"a\": [1, \"x\", null]}", "{\"a\": [1, \"x\", 0]}"),
        (json!({ "enum": ["a", 7, false] }), "7", "8"),
        (
            json!({ "items": { "type": "boolean" }, "minItems": 1, "maxItems": 2, "type": "array" }),
            "[true, false]",
            "[true, false, true]",
        ),
        (json!({ "prefixItems": [{ "const": 1 }], "items": false, "type": "array" }), "[1]", "[1, 2]"),
        (json!({ "type": "object", "required": ["b"] }), "{\"b\": 1}", "{\"a\": 1}"),
        (
            json!({ "properties": { "a": { "type": "null" } }, "additionalProperties": false, "type": "object" }),
            "{}",
            "{\"b\": null}",
        ),
        (json!({ "type": "object", "maxProperties": 1 }), "{\"x\": 1}", "{\"x\": 1, \"y\": 2}"),
        (json!({ "type": "object", "minProperties": 1 }), "{\"x\": 1}", "{}"),
        (
            json!({ "type": "object", "patternProperties": { "^n": { "type": "number" } }, "additionalProperties": false }),
            "{\"n1\": 1}",
            "{\"n1\": \"x\"}",
        ),
        (json!({ "anyOf": [{ "type": "null" }, { "type": "boolean" }] }), "null", "1"),
        (json!({ "oneOf": [{ "type": "null" }, { "type": "boolean" }] }), "true", "1"),
        (json!({ "allOf": [{ "type": "integer" }, { "minimum": 5 }] }), "5", "4"),
        (
            json!({ "$defs": { "l": { "type": "array", "items": { "$ref": "#/$defs/l" } } }, "$ref": "#/$defs/l" }),
            "[[], [[]]]",
            "[1]",
        ),
        (json!({ "properties": { "a~b/c%": { "const": 1 } }, "$ref": "#/properties/a~0b~1c%25" }), "1", "2"),
        (
            json!({ "$schema": "http://json-schema.org/draft-04/schema#", "type": "integer", "minimum": 3, "exclusiveMinimum": true }),
            "4",
            "3",
        ),
        (
            json!({ "$schema": "http://json-schema.org/draft-07/schema#", "type": "array", "items": [{ "const": 1 }], "additionalItems": false }),
            "[1]",
            "[1, 2]",
        ),
    ] {
        assert!(accepts(&schema, good), "{schema} on {good}");
        assert!(!accepts(&schema, bad), "{schema} on {bad}");
    }
}

#[test]
fn the_name_of_a_property_cannot_be_written_so_that_its_schema_does_not_apply() {
    let schema = json!({ "type": "object", "properties": { "a": { "type": "string" } } });
    assert!(!accepts(&schema, "{\"\\u0061\": 1}") && !accepts(&schema, "{\"a\": 1}") && accepts(&schema, "{\"b\": 1}"));
}

#[test]
fn white_space_is_free_up_to_a_bound() {
    let schema = json!({ "type": "object", "properties": { "a": { "const": 1 } }, "required": ["a"] });
    assert!(accepts(&schema, "{\"a\":1}") && accepts(&schema, "{\n  \"a\" : 1\n}"));
    let line = |count| format!("{{\n{}\"a\": 1}}", " ".repeat(count));
    assert!(accepts(&schema, &line(limits::GRAMMAR_INDENT_CHARACTERS_MAX)));
    assert!(!accepts(&schema, &line(limits::GRAMMAR_INDENT_CHARACTERS_MAX + 1)));
    assert!(accepts(&schema, "{  \"a\": 1 }") && !accepts(&schema, "{   \"a\": 1}"));
}

fn many(count: usize, value: impl Fn(usize) -> Value) -> Map<String, Value> {
    (0..count).map(|n| (format!("p{n}"), value(n))).collect()
}

/// Definitions each of which leads to the next one, as many as a schema has room for.
fn chains() -> Vec<(&'static str, Value)> {
    let chain = |count: usize, of: &dyn Fn(Value) -> Value| {
        let next = |n: usize| of(json!({ "$ref": format!("#/$defs/{}", n + 1) }));
        let mut definitions: Map<String, Value> = (0..count).map(|n| (n.to_string(), next(n))).collect();
        definitions.insert(count.to_string(), json!({ "type": "null" }));
        json!({ "$defs": definitions, "$ref": "#/$defs/0" })
    };
    vec![
        ("chain of references", chain(2_100, &|next| next)),
        ("chain of objects", chain(1_000, &|next| json!({ "properties": { "a": next } }))),
        ("chain of tuples", chain(1_300, &|next| json!({ "prefixItems": [next] }))),
        ("chain of lists", chain(900, &|next| json!({ "items": { "items": { "items": next } } }))),
        ("chain of branches", chain(1_000, &|next| json!({ "anyOf": [next, {}] }))),
        ("chain of cases", chain(1_000, &|next| json!({ "oneOf": [next] }))),
        ("chain of joined parts", chain(1_000, &|next| json!({ "allOf": [next, {}] }))),
        ("chain of patterns", chain(1_000, &|next| json!({ "pattern": "a", "allOf": [next] }))),
    ]
}

/// Schemas that are made to take time or memory.
fn hostile() -> Vec<(&'static str, Value)> {
    let doubling: Map<String, Value> = (0..40)
        .map(|n| {
            let next = json!({ "$ref": format!("#/$defs/d{}", n + 1) });
            (format!("d{n}"), json!({ "allOf": [next, next] }))
        })
        .chain([("d40".to_owned(), json!({}))])
        .collect();
    let branches =
        |n: usize| json!({ "anyOf": (0..n).map(|k| json!({ "required": [format!("r{k}")] })).collect::<Vec<_>>() });
    let mut schemas = vec![
        (
            "brackets in a pattern",
            json!({ "type": "string", "pattern": format!("{}a{}", "(".repeat(500), ")".repeat(500)) }),
        ),
        ("depth", (0..60).fold(json!({}), |inner, _| json!({ "items": inner }))),
        ("endless reference", json!({ "$ref": "#" })),
        (
            "endless reference of two",
            json!({ "$defs": { "a": { "$ref": "#/$defs/b" }, "b": { "anyOf": [{ "$ref": "#/$defs/a" }, { "type": "null" }] } }, "$ref": "#/$defs/a" }),
        ),
        ("doubling", json!({ "$defs": doubling, "$ref": "#/$defs/d0" })),
        ("product of branches", json!({ "allOf": (0..12).map(|_| branches(8)).collect::<Vec<_>>() })),
        ("repeated pattern", json!({ "type": "string", "pattern": "^((a{1000}){1000}){1000}$" })),
        ("ambiguous pattern", json!({ "type": "string", "pattern": "^(a|aa|a.|.a)*(a|b)*.{500}(x|y.){200}$" })),
        (
            "intersected patterns",
            json!({ "allOf": (0..60).map(|n| json!({ "type": "string", "pattern": format!(".*a.{{{}}}b.*", n + 1) })).collect::<Vec<_>>() }),
        ),
        (
            "two intersected patterns",
            json!({ "type": "string", "pattern": ".*a.{60}b.*", "allOf": [{ "pattern": ".*c.{50}(d|e.*f).*" }] }),
        ),
        (
            "pattern properties",
            json!({ "patternProperties": (0..8).map(|n| (format!("a.{{{n}}}b"), json!({}))).collect::<Map<_, _>>() }),
        ),
        ("long strings", json!({ "type": "string", "minLength": 4_000_000_000_u64 })),
        ("long arrays", json!({ "type": "array", "minItems": 4_000_000_000_u64, "maxItems": 4_000_000_001_u64 })),
        ("many properties", json!({ "type": "object", "properties": many(3_000, |_| json!({ "type": "string" })) })),
        (
            "many branches",
            json!({ "anyOf": (0..3_000).map(|n| json!({ "const": format!("{n}") })).collect::<Vec<_>>() }),
        ),
        (
            "many objects",
            json!({ "anyOf": (0..800).map(|n| json!({ "type": "object", "required": [format!("k{n}")], "properties": { format!("k{n}"): {} } })).collect::<Vec<_>>() }),
        ),
        (
            "cases of objects",
            json!({ "oneOf": (0..150).map(|n| json!({ "type": "object", "required": ["k"], "properties": { "k": { "const": n.to_string() }, "v": { "type": "integer" } } })).collect::<Vec<_>>() }),
        ),
        (
            "own options",
            json!({ "type": "string", "maxLength": 2, "x-guidance": { "lenient": true, "whitespace_pattern": "(" } }),
        ),
    ];
    schemas.extend(chains());
    schemas
}

#[test]
fn hostile_schemas_are_compiled_or_refused_in_bounded_time() {
    let schemas = hostile();
    assert!(schemas.len() > 15);
    for (name, schema) in schemas {
        let began = Instant::now();
        let compiled = compiled(&schema);
        let took = began.elapsed();
        println!("{name}: {} bytes, {took:?}, {:?}", schema.to_string().len(), compiled.as_ref().err());
        assert!(took < Duration::from_secs(5), "{name} takes {took:?}");
        match compiled {
            // The first steps of an answer.
            Ok(mut state) => drop(state.mask().map(|_| state.may_end())),
            Err(error) => assert!(matches!(error, Error::Schema { .. } | Error::Usage(_)), "{name}: {error:?}"),
        }
    }
}
