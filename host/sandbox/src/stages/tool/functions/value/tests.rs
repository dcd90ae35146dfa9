use serde_json::{Value, json};
use wasmtime::Engine;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, Type};

use super::super::schema::{self, SchemaBudget};
use super::{to_json, to_val};

/// The parameter types of a function, from types in the text format. `$name`s of `types` can be used.
fn types(types: &str, params: &[&str]) -> Vec<Type> {
    let params: String = params.iter().enumerate().map(|(at, ty)| format!("(param \"p{at}\" {ty})")).collect();
    let text = format!("(component (import \"i\" (instance {types} (export \"f\" (func {params})))))");
    let engine = Engine::default();
    let component = Component::new(&engine, wat::parse_str(&text).unwrap_or_else(|error| panic!("{text}: {error}")));
    let component = component.unwrap_or_else(|error| panic!("{text}: {error:#}"));
    let ty = component.component_type();
    let import = ty.imports(&engine).next().expect("an import").1;
    let ComponentItem::ComponentInstance(instance) = import.ty else { panic!("an instance") };
    let items: Vec<ComponentItem> = instance.exports(&engine).map(|(_, item)| item.ty).collect();
    let function = items.into_iter().find_map(|item| match item {
        ComponentItem::ComponentFunc(function) => Some(function),
        _ => None,
    });
    function.expect("a function").params().map(|(_, ty)| ty).collect()
}

const NAMED: &str = r#"
    (type $point' (record (field "x" s64) (field "label" (option string))))
    (export "point" (type $point (eq $point')))
    (type $shape' (variant (case "dot") (case "circle" f64) (case "at" $point)))
    (export "shape" (type $shape (eq $shape')))
    (type $color' (enum "red" "dark-blue"))
    (export "color" (type $color (eq $color')))
    (type $rights' (flags "read" "write"))
    (export "rights" (type $rights (eq $rights')))
"#;

/// A validator of exactly the keywords that `schema.rs` writes.
fn fits(value: &Value, schema: &Value) -> bool {
    let any = |key: &str| schema[key].as_array().map(|cases| cases.iter().filter(|case| fits(value, case)).count());
    if let Some(count) = any("anyOf") {
        return count >= 1;
    }
    if let Some(count) = any("oneOf") {
        return count == 1;
    }
    if !schema["const"].is_null() {
        return *value == schema["const"];
    }
    let within = |number: f64| {
        schema["minimum"].as_f64().is_none_or(|low| number >= low)
            && schema["maximum"].as_f64().is_none_or(|high| number <= high)
    };
    match schema["type"].as_str() {
        Some("boolean") => value.is_boolean(),
        Some("null") => value.is_null(),
        Some("number") => value.is_number(),
        Some("integer") => (value.is_i64() || value.is_u64()) && value.as_f64().is_some_and(within),
        Some("string") => value.as_str().is_some_and(|text| {
            let one = schema["maxLength"] != 1 || text.chars().count() == 1;
            one && schema["enum"].as_array().is_none_or(|names| names.contains(value))
        }),
        Some("array") => value.as_array().is_some_and(|items| {
            let tuple = schema["prefixItems"].as_array();
            let length = schema["minItems"].as_u64().is_none_or(|count| items.len() as u64 == count);
            let of = |(at, item): (usize, &Value)| match tuple {
                Some(tuple) => tuple.get(at).is_some_and(|schema| fits(item, schema)),
                None => fits(item, &schema["items"]),
            };
            length && items.iter().enumerate().all(of)
        }),
        Some("object") => value.as_object().is_some_and(|members| {
            let known = &schema["properties"];
            let required = schema["required"].as_array().is_some_and(|names| {
                names.iter().all(|name| name.as_str().is_some_and(|name| members.contains_key(name)))
            });
            required && members.iter().all(|(name, member)| !known[name].is_null() && fits(member, &known[name]))
        }),
        _ => panic!("{schema}"),
    }
}

/// Each value fits its schema, becomes a value of the type, and comes back as the same JSON.
#[test]
fn every_type_keeps_its_values_on_the_way_there_and_back() {
    let rows: &[(&str, &[Value])] = &[
        ("bool", &[json!(true), json!(false)]),
        ("s8", &[json!(-128), json!(127)]),
        ("u8", &[json!(0), json!(255)]),
        ("s16", &[json!(-32768)]),
        ("u16", &[json!(65535)]),
        ("s32", &[json!(i32::MIN)]),
        ("u32", &[json!(u32::MAX)]),
        ("s64", &[json!(i64::MIN), json!(i64::MAX)]),
        ("u64", &[json!(0), json!(u64::MAX)]),
        ("f32", &[json!(0.1), json!(-2.5)]),
        ("f64", &[json!(1e300), json!(0.1)]),
        ("char", &[json!("é")]),
        ("string", &[json!(""), json!("🧀")]),
        ("(list u8)", &[json!([]), json!([1, 2])]),
        ("(tuple string (list bool))", &[json!(["a", [true]])]),
        ("$point", &[json!({"x": 1, "label": "l"}), json!({"x": -1, "label": null})]),
        (
            "$shape",
            &[
                json!({"tag": "dot"}),
                json!({"tag": "circle", "val": 1.5}),
                json!({"tag": "at", "val": {"x": 0, "label": null}}),
            ],
        ),
        ("$color", &[json!("dark-blue")]),
        ("$rights", &[json!([]), json!(["read", "write"])]),
        ("(option u8)", &[json!(null), json!(3)]),
        ("(option (option u8))", &[json!(null), json!({"some": null}), json!({"some": 3})]),
        ("(result u8 (error string))", &[json!({"ok": 1}), json!({"err": "no"})]),
        ("(result)", &[json!({"ok": null}), json!({"err": null})]),
    ];
    let params: Vec<&str> = rows.iter().map(|row| row.0).collect();
    for ((name, values), ty) in rows.iter().zip(types(NAMED, &params)) {
        let schema = SchemaBudget::default().schema(&ty, 0).expect("a schema");
        for value in *values {
            assert!(fits(value, &schema), "{name}: {value} and {schema}");
            let there = to_val(value.clone(), &ty).unwrap_or_else(|reason| panic!("{name}: {value} {reason}"));
            assert_eq!(to_json(there), *value, "{name}");
        }
    }
}

#[test]
fn a_value_that_does_not_fit_is_an_error_that_says_where() {
    let rows: &[(&str, Value, &str)] = &[
        ("u8", json!(256), "is not a u8"),
        ("u8", json!(-1), "is not a u8"),
        ("u64", json!(1.5), "is not a u64"),
        ("s64", json!(1e300), "is not a s64"),
        ("char", json!("ab"), "is not a char"),
        ("string", json!(1), "is not a string"),
        ("(list u8)", json!([1, "x"]), "is not a u8"),
        ("(tuple u8 u8)", json!([1]), "is not a tuple<u8, u8>"),
        ("$point", json!({"label": null}), "has a \"x\" that is not a s64"),
        ("$point", json!({"x": 1, "y": 2}), "has the unknown member \"y\""),
        ("$shape", json!({"tag": "square"}), "has the unknown tag \"square\""),
        ("$shape", json!({"val": 1}), "has no \"tag\""),
        ("$color", json!("blue"), "is not a enum"),
        ("$rights", json!(["execute"]), "is not a flags"),
        ("(option (option u8))", json!({}), "has no \"some\""),
        ("(result u8)", json!({}), "has neither"),
        ("(result u8)", json!({"ok": "x"}), "is not a u8"),
        ("bool", Value::Null, "is not a bool"),
    ];
    let params: Vec<&str> = rows.iter().map(|row| row.0).collect();
    for ((name, value, expected), ty) in rows.iter().zip(types(NAMED, &params)) {
        let error = to_val(value.clone(), &ty).expect_err(name);
        assert!(error.contains(expected), "{name} {value}: {error}");
        // What the conversion refuses, the schema refuses, so that a caller learns it before the call.
        let schema = SchemaBudget::default().schema(&ty, 0).expect("a schema");
        assert!(!fits(value, &schema), "{name} {value}: {schema}");
    }
}

#[test]
fn numbers_that_json_does_not_have_are_texts_and_whole_floats_are_integers() {
    use wasmtime::component::Val;
    assert_eq!(to_json(Val::Float64(f64::INFINITY)), json!("inf"));
    assert_eq!(to_json(Val::Float32(f32::NAN)), json!("NaN"));
    let ty = types("", &["u32"]).remove(0);
    assert!(matches!(to_val(json!(2.0), &ty), Ok(Val::U32(2))));
}

/// A type of a few bytes can stand for thousands of parts.
#[test]
fn types_that_are_too_large_or_too_deep_are_refused() {
    let mut wide = "(type $t0 (tuple u8 u8))".to_owned();
    for level in 1..=12 {
        wide += &format!("(type $t{level} (tuple $t{0} $t{0}))", level - 1);
    }
    let deep = "(option ".repeat(20) + "u8" + &")".repeat(20);
    for ty in types(&wide, &["$t12", &deep]) {
        let error = SchemaBudget::default().schema(&ty, 0).expect_err("too large");
        assert!(error.contains("levels or"), "{error}");
    }
    let shown = schema::text(&types(NAMED, &["(list (option $point))"]).remove(0));
    assert_eq!(shown, "list<option<record { x, label }>>");
}
