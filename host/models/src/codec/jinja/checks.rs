//! Tests of values for which Jinja2 and minijinja differ.

use minijinja::Environment;
use minijinja::value::{Value, ValueKind};

use super::sanitize::is_namespace;

/// Adds the tests to `environment`.
pub(super) fn add(environment: &mut Environment<'_>) {
    environment.add_test("sequence", |value: Value| {
        matches!(value.kind(), ValueKind::String | ValueKind::Seq | ValueKind::Map | ValueKind::Undefined)
            && !is_namespace(&value)
    });
    environment.add_test("iterable", |value: Value| {
        matches!(
            value.kind(),
            ValueKind::String | ValueKind::Seq | ValueKind::Map | ValueKind::Iterable | ValueKind::Undefined
        ) && !is_namespace(&value)
    });
    environment.add_test("mapping", |value: Value| value.kind() == ValueKind::Map && !is_namespace(&value));
    environment.add_test("callable", |value: Value| {
        value.kind() == ValueKind::Plain
            || value.as_object().is_some_and(|object| object.type_name().ends_with("Macro"))
    });
}
