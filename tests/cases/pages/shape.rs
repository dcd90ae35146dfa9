use serde_json::Value;

/// The first difference in shape between the JSON of a page and that of a run: a key that is missing, or a value of another
/// type. Values, and keys that the page leaves out, may differ. Of a list, the first element counts.
pub(super) fn difference(shown: &Value, found: &Value, path: &str) -> Option<String> {
    match (shown, found) {
        (Value::Object(shown), Value::Object(found)) => shown.iter().find_map(|(key, value)| {
            let below = format!("{path}.{key}");
            match found.get(key) {
                Some(found) => difference(value, found, &below),
                None => Some(format!("{below} is not in the output")),
            }
        }),
        (Value::Array(shown), Value::Array(found)) => match (shown.first(), found.first()) {
            (Some(shown), Some(found)) => difference(shown, found, &format!("{path}[0]")),
            (Some(_), None) => Some(format!("{path} is empty in the output")),
            _ => None,
        },
        (Value::Null, _) | (_, Value::Null) => None,
        (shown, found) if std::mem::discriminant(shown) == std::mem::discriminant(found) => None,
        (shown, found) => Some(format!("{path} is {shown} on the page and {found} in the output")),
    }
}

#[test]
fn shapes_differ_where_a_key_is_missing_or_has_another_type() {
    let difference = |shown: &str, found: &str| {
        let json = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
        difference(&json(shown), &json(found), "")
    };
    for (shown, found) in [("{\"a\": 1}", "{\"a\": 2, \"b\": 3}"), ("[1]", "[2, 3]"), ("{\"a\": null}", "{\"a\": 1}")] {
        assert_eq!(difference(shown, found), None, "{shown} {found}");
    }
    for (shown, found) in [("{\"a\": 1}", "{}"), ("{\"a\": {\"b\": 1}}", "{\"a\": {\"b\": \"1\"}}"), ("[1]", "[]")] {
        assert!(difference(shown, found).is_some(), "{shown} {found}");
    }
}
