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

/// Records of `width` fields, each in a component of its own, of the type that the instance before exports.
fn chain(levels: usize, width: usize, next: &str) -> String {
    let mut text = "(component
        (import \"types\" (instance $i0
            (type (enum \"a0\" \"a1\" \"a2\" \"a3\" \"a4\" \"a5\" \"a6\" \"a7\" \"a8\" \"a9\"))
            (export \"large\" (type (eq 0)))
            (export \"t\" (type (sub resource)))))"
        .to_owned();
    for level in 0..levels {
        let fields: String = (0..width).map(|field| format!("(field \"f{field}\" {next})")).collect();
        text += &format!(
            "(alias export $i{level} \"t\" (type $a{level}))
             (component $c{level} (alias outer 1 $a{level} (type $x)) (type $r (record {fields}))
                 (export \"large\" (type $r)) (export \"t\" (type $x)))
             (instance $j{level} (instantiate $c{level}))
             (instance $i{n} (export \"t\" (type $a{level})) (export \"u\" (instance $j{level})))",
            n = level + 1
        );
    }
    text + ")"
}

#[test]
fn a_type_of_an_instance_has_the_size_that_it_was_defined_with() {
    assert!(shape(&chain(12, 8, "$x"), Bounds::GUARDED).is_ok(), "a handle in 12 records is no large type");
    let largest = |text: &str| {
        let (_, tallies) = Shape::counted(&wat::parse_str(text).expect("valid"), Bounds::GUARDED).expect("small");
        tallies.type_size.found
    };
    assert!(largest(&chain(12, 8, "$x")) < 50);
}

#[test]
fn a_type_that_doubles_through_exports_is_found() {
    let doubled = |levels: usize| {
        let mut text =
            "(component (component $c0 (type $r (record (field \"a\" u32))) (export \"t\" (type $r)))".to_owned();
        for level in 0..levels {
            text += &format!(
                "(instance $i{level} (instantiate $c{level})) (alias export $i{level} \"t\" (type $a{level}))
                 (component $c{n} (alias outer 1 $a{level} (type $x))
                     (type $r (record (field \"a\" $x) (field \"b\" $x))) (export \"t\" (type $r)))",
                n = level + 1
            );
        }
        text + ")"
    };
    assert!(shape(&doubled(8), Bounds::GUARDED).is_ok());
    let error = shape(&doubled(20), Bounds::GUARDED).expect_err("2^20 parts");
    assert!(matches!(&error, ShapeError::Limit(LimitExceeded { what, .. }) if what.contains("type")), "{error:?}");
}

#[test]
fn instances_in_one_another_are_dropped_without_a_stack_frame_for_each() {
    let mut text = "(component (import \"i\" (instance $i0 (type u32) (export \"t\" (type (eq 0)))))".to_owned();
    for level in 1..10_000 {
        text += &format!("(instance $i{level} (export \"i\" (instance $i{})))", level - 1);
    }
    let bytes = wat::parse_str(text + ")").expect("valid");
    let counted = std::thread::Builder::new().stack_size(256 << 10).spawn(move || Shape::of(&bytes, Bounds::GUARDED));
    assert!(counted.expect("a thread").join().expect("no overflow").is_ok());
}
