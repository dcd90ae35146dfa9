//! Every key of every file is honoured, known to change nothing, or named in a warning.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::*;

fn map(value: Value) -> Map<String, Value> {
    value.as_object().expect("an object").clone()
}

#[test]
fn a_key_has_one_row_and_every_row_says_why() {
    for table in TABLES.iter().copied().chain([&rope::ROPE]) {
        let mut seen = BTreeSet::new();
        for row in table.rows {
            assert!(seen.insert(row.key), "\"{}\" has two rows in {}", row.key, table.name);
            assert!(!row.about.is_empty(), "\"{}\" of {} says nothing", row.key, table.name);
        }
    }
}

#[test]
fn a_key_without_a_row_is_named() {
    let file = map(json!({
        "hidden_size": 8, "use_cache": true, "surprise": 1, "absent": null, "is_encoder_decoder": true,
        "add_cross_attention": false, "rope_scaling": { "type": "linear", "twist": 2 },
    }));
    let unknown = CONFIG.unknown(&file, Some("LlamaForCausalLM"));
    assert_eq!(unknown, ["surprise", "is_encoder_decoder", "rope_scaling.twist"]);
}

#[test]
fn a_key_of_another_class_is_named_unless_it_is_off() {
    let window = map(json!({ "sliding_window": 16, "use_sliding_window": false, "mlp_bias": true }));
    assert_eq!(CONFIG.unknown(&window, Some("LlamaForCausalLM")), ["sliding_window"]);
    assert_eq!(CONFIG.unknown(&window, Some("MistralForCausalLM")), ["mlp_bias"]);
    assert!(CONFIG.unknown(&window, None).is_empty());
}

#[test]
fn a_warning_says_so_much_and_no_more() {
    let warnings = Warnings::default();
    warnings.add_names("none", &[]);
    warnings.add("once".to_owned());
    warnings.add("once".to_owned());
    let long = "x".repeat(10_000);
    let names: Vec<String> = (0..100).map(|index| format!("\u{1b}[31m{index}\n{long}")).collect();
    warnings.add_names("many", &names);
    let list = warnings.list();
    assert_eq!(list[0], "once");
    assert!(list[1].starts_with(r#"many: "\u{1b}[31m0\nxxx"#), "{}", list[1]);
    assert!(list[1].ends_with("and 92 more") && list[1].len() < 1_000, "{}", list[1]);
    (0..100).for_each(|index| warnings.add(index.to_string()));
    assert_eq!(warnings.list().len(), firebox_contract::limits::CHECKPOINT_WARNINGS_MAX);
}
