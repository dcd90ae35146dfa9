//! A reader of JSON objects whose errors name the field. Unknown fields are ignored, and `null` means absent.

use firebox_mcp::json_kind as kind;
use serde_json::{Map, Value};

use crate::http::Failure;

/// A JSON object and its path in the request.
#[derive(Debug, Clone)]
pub(in crate::http) struct Fields<'a> {
    path: String,
    map: &'a Map<String, Value>,
}

/// The failure of a value of the wrong type at `param`.
pub(in crate::http) fn wrong(param: &str, expected: &str, found: &Value) -> Failure {
    Failure::field(param, format!("\"{param}\" must be {expected}, not {}", kind(found)))
}

/// A whole number written as a float, such as 5.0. A number too large for `usize` becomes its maximum.
fn whole(value: &Value) -> Option<usize> {
    let number = value.as_f64().filter(|number| number.fract() == 0.0 && *number >= 0.0)?;
    // The cast saturates.
    Some(number as usize)
}

impl<'a> Fields<'a> {
    /// The fields of `value`, which must be an object. `path` is empty for the request itself.
    pub(in crate::http) fn of(value: &'a Value, path: &str) -> Result<Self, Failure> {
        match value {
            Value::Object(map) => Ok(Self { path: path.to_owned(), map }),
            other if path.is_empty() => {
                Err(Failure::usage(format!("the request's body must be a JSON object, not {}", kind(other))))
            }
            other => Err(wrong(path, "an object", other)),
        }
    }

    /// The path of the field `field`.
    pub(in crate::http) fn name(&self, field: &str) -> String {
        if self.path.is_empty() { field.to_owned() } else { format!("{}.{field}", self.path) }
    }

    pub(in crate::http) fn get(&self, field: &str) -> Option<&'a Value> {
        self.map.get(field).filter(|value| !value.is_null())
    }

    /// Whether the field is `null`.
    pub(in crate::http) fn is_null(&self, field: &str) -> bool {
        self.map.get(field).is_some_and(Value::is_null)
    }

    fn typed<T>(
        &self,
        field: &str,
        expected: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, Failure> {
        let Some(value) = self.get(field) else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| wrong(&self.name(field), expected, value))
    }

    pub(in crate::http) fn text(&self, field: &str) -> Result<Option<&'a str>, Failure> {
        self.typed(field, "a string", Value::as_str)
    }

    pub(in crate::http) fn flag(&self, field: &str) -> Result<Option<bool>, Failure> {
        self.typed(field, "true or false", Value::as_bool)
    }

    pub(in crate::http) fn number(&self, field: &str) -> Result<Option<f32>, Failure> {
        self.typed(field, "a number", |value| value.as_f64().map(|number| number as f32))
    }

    pub(in crate::http) fn count(&self, field: &str) -> Result<Option<usize>, Failure> {
        let read = |value: &Value| value.as_u64().map_or_else(|| whole(value), |number| usize::try_from(number).ok());
        self.typed(field, "a whole number that is not negative", read)
    }

    /// A whole number of either sign as its 64 bits. For a larger number, the bits of the nearest float.
    pub(in crate::http) fn bits(&self, field: &str) -> Result<Option<u64>, Failure> {
        let large = |value: &Value| value.as_f64().filter(|number| number.fract() == 0.0).map(f64::to_bits);
        let read =
            |value: &Value| value.as_u64().or_else(|| value.as_i64().map(i64::cast_unsigned)).or_else(|| large(value));
        self.typed(field, "a whole number", read)
    }

    pub(in crate::http) fn list(&self, field: &str) -> Result<Option<&'a [Value]>, Failure> {
        self.typed(field, "a list", |value| value.as_array().map(Vec::as_slice))
    }

    pub(in crate::http) fn object(&self, field: &str) -> Result<Option<Self>, Failure> {
        self.get(field).map(|value| Self::of(value, &self.name(field))).transpose()
    }

    /// Names and values, in the order of the text.
    pub(in crate::http) fn entries(&self) -> impl Iterator<Item = (&'a String, &'a Value)> {
        self.map.iter()
    }

    /// A list of strings.
    pub(in crate::http) fn texts(&self, field: &str) -> Result<Option<Vec<String>>, Failure> {
        let Some(list) = self.list(field)? else { return Ok(None) };
        let texts = list.iter().enumerate().map(|(at, value)| {
            let name = || format!("{}[{at}]", self.name(field));
            value.as_str().map(str::to_owned).ok_or_else(|| wrong(&name(), "a string", value))
        });
        texts.collect::<Result<_, _>>().map(Some)
    }

    /// The value of a required field.
    pub(in crate::http) fn need<T>(&self, field: &str, found: Option<T>) -> Result<T, Failure> {
        let name = self.name(field);
        found.ok_or_else(|| Failure::field(&name, format!("\"{name}\" is missing; it is required")))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn whole_numbers_may_be_written_as_floats_and_exceed_64_bits() {
        let value = json!({"a": 5.0, "b": 1e30, "c": 1e300, "d": -7, "e": u64::MAX});
        let fields = Fields::of(&value, "").expect("an object");
        let counts = ["a", "b", "c", "e"].map(|field| fields.count(field).expect("a number"));
        assert_eq!(counts, [Some(5), Some(usize::MAX), Some(usize::MAX), Some(usize::MAX)]);
        assert!(["a", "b", "c", "d", "e"].iter().all(|field| fields.bits(field).is_ok_and(|bits| bits.is_some())));
        assert_eq!(fields.bits("d").expect("a number"), Some((-7_i64).cast_unsigned()));
    }

    #[test]
    fn an_error_names_its_field_and_null_means_absent() {
        let value = json!({"a": {"b": "text", "c": null, "d": [1], "e": -1, "f": 1.5}});
        let fields = Fields::of(&value, "").and_then(|all| all.object("a")).expect("an object").expect("is there");
        assert_eq!(fields.text("b").expect("a string"), Some("text"));
        assert_eq!(fields.number("c").expect("absent"), None);
        for failure in [
            fields.number("b").expect_err("a string"),
            fields.texts("d").expect_err("a number inside"),
            fields.count("e").expect_err("negative"),
            fields.count("f").expect_err("no whole number"),
            fields.bits("f").expect_err("no whole number"),
        ] {
            let body = serde_json::to_value(failure.body_for("r")).expect("JSON");
            assert!(body["error"]["param"].as_str().expect("named").starts_with("a."), "{body}");
            assert_eq!(failure.status(), 400);
        }
    }
}
