use super::*;

fn shape(text: &str, bounds: Bounds) -> Result<Shape, ShapeError> {
    Shape::of(&wat::parse_str(text).expect("valid"), bounds)
}

#[test]
fn imports_exports_and_code_size_are_known_before_a_component_is_compiled() {
    let text = "(component
        (import \"a:b/c@0.1.0\" (instance $c (export \"run\" (func))))
        (component (import \"inner\" (func)))
        (core module $m (func (param i32) (local i64) nop))
        (core instance (instantiate $m))
        (export \"d:e/f@1.0.0\" (instance $c)))";
    let shape = shape(text, Bounds::GUARDED).expect("small");
    assert_eq!((shape.imports, shape.exports), (vec!["a:b/c@0.1.0".to_owned()], vec!["d:e/f@1.0.0".to_owned()]));
    assert!(shape.code_bytes > 0 && shape.code_bytes < 20, "{}", shape.code_bytes);
}

#[test]
fn an_instance_counts_once_per_instantiation() {
    let pair = |inner: &str| format!("(component $c {inner} (instance (instantiate 0)) (instance (instantiate 0)))");
    let core = "(component (core module $m) (core instance (instantiate $m)))";
    let four = format!("(component {})", pair(&pair(core)));
    assert!(shape(&four, Bounds::GUARDED).is_ok());
    let deep = (0..5).fold(core.to_owned(), |inner, _| pair(&inner));
    let many = format!(
        "(component {deep} (instance (instantiate 0)) (instance (instantiate 0)) \
        (instance (instantiate 0)) (instance (instantiate 0)) (instance (instantiate 0)))"
    );
    let error = shape(&many, Bounds::GUARDED).expect_err("5 times 32 core instances");
    assert!(matches!(error, ShapeError::Limit(LimitExceeded { .. })), "{error:?}");
}

#[test]
fn a_compiler_without_limits_of_its_own_gets_smaller_components() {
    let functions = "(func)".repeat(4_000);
    let text = format!("(component (core module {functions}))");
    assert!(shape(&text.replace("(func)", "(func nop nop nop nop nop nop nop nop nop)"), Bounds::UNGUARDED).is_err());
    let few = text.replacen("(func)", "", 3_000);
    assert!(shape(&few, Bounds::GUARDED).is_ok() && shape(&few, Bounds::UNGUARDED).is_ok());
}
