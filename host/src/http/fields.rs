//! Reads JSON by hand, so that a wrong type names its field, an unknown field is passed over, and `null` is absence.

pub(super) use firebox_mcp::json_kind as kind;
use serde_json::{Map, Value};

use super::failure::Failure;

/// One JSON object and where it stands in the request.
#[derive(Debug, Clone)]
pub(super) struct Fields<'a> {
    path: String,
    map: &'a Map<String, Value>,
}

/// A failure that says what stands at `param` and what should.
pub(super) fn wrong(param: &str, expected: &str, found: &Value) -> Failure {
    Failure::field(param, format!("\"{param}\" must be {expected}, not {}", kind(found)))
}

/// A number such as 5.0, or one that is too large for a machine word, which is as good as the largest of these.
fn whole(value: &Value) -> Option<usize> {
    let number = value.as_f64().filter(|number| number.fract() == 0.0 && *number >= 0.0)?;
    // A float that is too large saturates.
    Some(number as usize)
}

impl<'a> Fields<'a> {
    /// `value`, which must be an object; `path` is empty for the request itself.
    pub(super) fn of(value: &'a Value, path: &str) -> Result<Self, Failure> {
        match value {
            Value::Object(map) => Ok(Self { path: path.to_owned(), map }),
            other if path.is_empty() => {
                Err(Failure::usage(format!("the request's body must be a JSON object, not {}", kind(other))))
            }
            other => Err(wrong(path, "an object", other)),
        }
    }

    /// The full name of one of its fields.
    pub(super) fn name(&self, field: &str) -> String {
        if self.path.is_empty() { field.to_owned() } else { format!("{}.{field}", self.path) }
    }

    pub(super) fn get(&self, field: &str) -> Option<&'a Value> {
        self.map.get(field).filter(|value| !value.is_null())
    }

    /// Whether the field is there and says nothing.
    pub(super) fn is_null(&self, field: &str) -> bool {
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

    pub(super) fn text(&self, field: &str) -> Result<Option<&'a str>, Failure> {
        self.typed(field, "a string", Value::as_str)
    }

    pub(super) fn flag(&self, field: &str) -> Result<Option<bool>, Failure> {
        self.typed(field, "true or false", Value::as_bool)
    }

    pub(super) fn number(&self, field: &str) -> Result<Option<f32>, Failure> {
        self.typed(field, "a number", |value| value.as_f64().map(|number| number as f32))
    }

    pub(super) fn count(&self, field: &str) -> Result<Option<usize>, Failure> {
        let read = |value: &Value| value.as_u64().map_or_else(|| whole(value), |number| usize::try_from(number).ok());
        self.typed(field, "a whole number that is not negative", read)
    }

    /// A whole number of either sign, as the 64 bits it is made of; of a larger one, those of its nearest float.
    pub(super) fn bits(&self, field: &str) -> Result<Option<u64>, Failure> {
        let large = |value: &Value| value.as_f64().filter(|number| number.fract() == 0.0).map(f64::to_bits);
        let read =
            |value: &Value| value.as_u64().or_else(|| value.as_i64().map(i64::cast_unsigned)).or_else(|| large(value));
        self.typed(field, "a whole number", read)
    }

    pub(super) fn list(&self, field: &str) -> Result<Option<&'a [Value]>, Failure> {
        self.typed(field, "a list", |value| value.as_array().map(Vec::as_slice))
    }

    pub(super) fn object(&self, field: &str) -> Result<Option<Self>, Failure> {
        self.get(field).map(|value| Self::of(value, &self.name(field))).transpose()
    }

    /// The fields by name, in the order of the text.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&'a String, &'a Value)> {
        self.map.iter()
    }

    /// A list of strings.
    pub(super) fn texts(&self, field: &str) -> Result<Option<Vec<String>>, Failure> {
        let Some(list) = self.list(field)? else { return Ok(None) };
        let texts = list.iter().enumerate().map(|(at, value)| {
            let name = || format!("{}[{at}]", self.name(field));
            value.as_str().map(str::to_owned).ok_or_else(|| wrong(&name(), "a string", value))
        });
        texts.collect::<Result<_, _>>().map(Some)
    }

    /// A field that must be there.
    pub(super) fn need<T>(&self, field: &str, found: Option<T>) -> Result<T, Failure> {
        let name = self.name(field);
        found.ok_or_else(|| Failure::field(&name, format!("\"{name}\" is missing; it is required")))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn whole_numbers_may_be_written_as_floats_and_be_huge() {
        let value = json!({"a": 5.0, "b": 1e30, "c": 1e300, "d": -7, "e": u64::MAX});
        let fields = Fields::of(&value, "").expect("an object");
        let counts = ["a", "b", "c", "e"].map(|field| fields.count(field).expect("a number"));
        assert_eq!(counts, [Some(5), Some(usize::MAX), Some(usize::MAX), Some(usize::MAX)]);
        assert!(["a", "b", "c", "d", "e"].iter().all(|field| fields.bits(field).is_ok_and(|bits| bits.is_some())));
        assert_eq!(fields.bits("d").expect("a number"), Some((-7_i64).cast_unsigned()));
    }

    #[test]
    fn a_wrong_type_names_its_field_and_null_is_absence() {
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
