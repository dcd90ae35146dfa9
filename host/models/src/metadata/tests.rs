//! Every key of every file is honoured, known to change nothing, or named in a warning.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::*;
use crate::checkpoint::Checkpoint;
use crate::checkpoint::json::JsonFile;

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
fn warnings_are_bounded_in_number_and_length() {
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

/// A file of a real checkpoint: its keys with values, and the keys that a warning names.
#[derive(serde::Deserialize)]
struct Shape {
    name: String,
    /// The class of the model, of a `config.json`.
    #[serde(default)]
    class: Option<String>,
    warned: Vec<String>,
    keys: Map<String, Value>,
}

/// The keys of real checkpoints and of the config classes of transformers 5.24. Each key is honoured, known to have no
/// effect, or named in a warning.
fn check_shapes(table: &Table, least: usize) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/metadata").join(table.name);
    let text = std::fs::read(path).expect("the shapes are there");
    let shapes: Vec<Shape> = serde_json::from_slice(&text).expect("the shapes are JSON");
    assert!(shapes.len() >= least, "{} of {}", shapes.len(), table.name);
    let mut wrong = Vec::new();
    for shape in &shapes {
        let named: BTreeSet<String> = table.unknown(&shape.keys, shape.class.as_deref()).into_iter().collect();
        if named != shape.warned.iter().cloned().collect() {
            wrong.push(format!("{}: {named:?}", shape.name));
        }
    }
    assert!(wrong.is_empty(), "{}: other keys are named than those expected:\n{}", table.name, wrong.join("\n"));
}

#[test]
fn the_keys_of_real_configs_are_honoured_harmless_or_named() {
    check_shapes(&CONFIG, 40);
}

#[test]
fn the_keys_of_real_generation_configs_are_honoured_harmless_or_named() {
    check_shapes(&GENERATION, 10);
}

#[test]
fn the_keys_of_real_tokenizer_configs_are_honoured_harmless_or_named() {
    check_shapes(&tokenizer_config::TOKENIZER_CONFIG, 20);
}

/// The folder of the built-in model with a generation config that samples.
fn ember() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../ember/model");
    for entry in std::fs::read_dir(source).expect("the model is there") {
        let path = entry.expect("the folder can be read").path();
        std::fs::copy(&path, folder.path().join(path.file_name().expect("a name"))).expect("it can be copied");
    }
    std::fs::write(folder.path().join("generation_config.json"), r#"{"do_sample": true}"#).expect("writable");
    folder
}

/// Reads the config of every encoder architecture. There are no weights for it.
fn load_encoders_without_weights() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let empty = [&2_u64.to_le_bytes()[..], b"{}"].concat();
    std::fs::write(folder.path().join("model.safetensors"), empty).expect("written");
    let load = |config: Value| {
        std::fs::write(folder.path().join("config.json"), config.to_string()).expect("written");
        let checkpoint = Checkpoint::open(folder.path()).expect("it opens");
        crate::load_encoder(&checkpoint, &burn::tensor::Device::flex(), crate::LoadOptions::default())
    };
    let classes = crate::arch::ENCODERS.iter().flat_map(|row| row.names.iter().map(move |name| (row, name)));
    for (architecture, name) in classes {
        let loaded = load(json!({"architectures": [name], "model_type": architecture.family, "num_labels": 1}));
        assert!(matches!(loaded, Err(crate::ModelError::MissingTensor { .. })), "{name}");
    }
    // A cross-encoder as sentence-transformers saves it.
    let modules = json!([{"type": "sentence_transformers.models.Transformer", "path": ""}]);
    for (name, content) in [("modules.json", modules), ("config_sentence_transformers.json", json!({}))] {
        std::fs::write(folder.path().join(name), content.to_string()).expect("written");
    }
    let class = "BertForSequenceClassification";
    let loaded = load(json!({"architectures": [class], "model_type": "bert", "num_labels": 1}));
    assert!(matches!(loaded, Err(crate::ModelError::MissingTensor { .. })), "{class}");
}

/// Loads the tiny encoder of the goldens with every file that sentence-transformers writes.
fn load_encoder() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let shared =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/parity/sentence-transformers/shared");
    for inner in ["1_Pooling", "2_Dense", "3_Normalize"] {
        std::fs::create_dir(folder.path().join(inner)).expect("made");
    }
    for (from, to) in [
        ("config.json", "config.json"),
        ("model.safetensors", "model.safetensors"),
        ("tokenizer.json", "tokenizer.json"),
        ("dense.safetensors", "2_Dense/model.safetensors"),
    ] {
        std::fs::copy(shared.join(from), folder.path().join(to)).expect("copied");
    }
    let module =
        |kind: &str, folder: &str| json!({"type": format!("sentence_transformers.models.{kind}"), "path": folder});
    let modules = json!([
        module("Transformer", ""),
        module("Pooling", "1_Pooling"),
        module("Dense", "2_Dense"),
        module("Normalize", "3_Normalize")
    ]);
    for (name, content) in [
        ("modules.json", modules),
        ("1_Pooling/config.json", json!({})),
        ("2_Dense/config.json", json!({"in_features": 16, "out_features": 8})),
        ("3_Normalize/config.json", json!({})),
        ("config_sentence_transformers.json", json!({})),
        ("sentence_bert_config.json", json!({"processor_kwargs": {"truncation_side": "right"}})),
        ("tokenizer_config.json", json!({})),
    ] {
        std::fs::write(folder.path().join(name), content.to_string()).expect("written");
    }
    let load = || {
        let checkpoint = Checkpoint::open(folder.path()).expect("it opens");
        let device = burn::tensor::Device::flex();
        crate::load_encoder(&checkpoint, &device, crate::LoadOptions::default()).expect("it loads");
    };
    load();
    // The first file with the key is the one that is read.
    std::fs::write(folder.path().join("sentence_bert_config.json"), "{}").expect("written");
    std::fs::write(folder.path().join("tokenizer_config.json"), r#"{"truncation_side": "left"}"#).expect("written");
    load();
}

#[test]
fn every_key_that_a_table_calls_honoured_is_read() {
    load_encoder();
    load_encoders_without_weights();
    for architecture in crate::arch::DECODERS {
        for settings in [json!({"rope_type": "llama3"}), json!({"type": "linear", "factor": 2.0}), json!({})] {
            let keys =
                json!({"architectures": architecture.names, "use_sliding_window": true, "rope_scaling": settings});
            let file = JsonFile::of("config.json", keys);
            crate::arch::name_of(&file).expect("it is known");
            // Without its factors llama3 is refused.
            let _refused = (architecture.config)(&file);
        }
        let keys = json!({"rope_parameters": {"rope_type": "default"}});
        (architecture.config)(&JsonFile::of("config.json", keys)).expect("it is read");
    }
    let llama3 = json!({"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "rope_type": "llama3"});
    let factors: Vec<f64> = vec![1.5; 64];
    let longrope = json!({"short_factor": factors, "long_factor": factors, "rope_type": "longrope"});
    let yarn = json!({"factor": 2.0, "rope_type": "yarn"});
    for settings in [llama3, longrope, yarn] {
        (crate::arch::DECODERS[0].config)(&JsonFile::of("config.json", json!({"rope_scaling": settings})))
            .expect("it is read");
    }
    let folder = ember();
    let checkpoint = Checkpoint::open(folder.path()).expect("it opens");
    crate::load_codec(&checkpoint).expect("it loads");
    // Without this file, the template is looked up in the other one.
    std::fs::remove_file(folder.path().join("chat_template.jinja")).expect("it can be removed");
    crate::load_codec(&checkpoint).expect("it loads");
    let read = READ.lock().expect("no thread panics with it").clone();
    for table in [
        &CONFIG,
        &rope::ROPE,
        &GENERATION,
        &tokenizer_config::TOKENIZER_CONFIG,
        &sentence_transformers::CONFIG_SENTENCE_TRANSFORMERS,
        &SENTENCE_BERT_CONFIG,
        &sentence_transformers::ARGUMENTS,
        &POOLING,
        &DENSE,
        &NORMALIZE,
    ] {
        let rows = table.rows.iter().map(|row| row.key).filter(|key| table.honours(key));
        let own = (table.name == CONFIG.name).then(crate::arch::architecture_keys);
        let unread: Vec<&str> = rows
            .chain(own.into_iter().flatten())
            .filter(|key| !read.contains(&(table.name, (*key).to_owned())))
            .collect();
        assert!(unread.is_empty(), "{} calls these honoured, and no code reads them: {unread:?}", table.name);
    }
}
