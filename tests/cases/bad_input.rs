//! Bad input gives an error with a remedy and the right exit code, and no panic. Each row is a case.

use std::path::Path;

use crate::harness::{Firebox, firebox, model_copy, scratch};

/// Breaks one thing in a copy of a valid checkpoint.
type Break = fn(&Path);

/// `(name, what is broken, exit code, words that the error must contain)`.
const CHECKPOINTS: &[(&str, Break, i32, &[&str])] = &[
    ("no_config", |dir| remove(dir, "config.json"), 3, &["config.json", "missing"]),
    ("no_weights", |dir| remove(dir, "model.safetensors"), 3, &["no_weights\" has no weights", "model.safetensors"]),
    ("no_tokenizer", |dir| remove(dir, "tokenizer.json"), 3, &["tokenizer.json"]),
    ("config_is_not_json", |dir| write(dir, "config.json", "{nope"), 3, &["config.json"]),
    ("config_is_binary", |dir| write_bytes(dir, "config.json", &[0xff, 0xfe, 0]), 3, &["config.json"]),
    (
        "unknown_architecture",
        |dir| replace(dir, "Qwen3ForCausalLM", "MambaForCausalLM"),
        3,
        &["MambaForCausalLM", "Qwen3ForCausalLM"],
    ),
    ("wrong_shape", |dir| set(dir, "intermediate_size", 96), 3, &["tensor", "shape", "96"]),
    ("missing_tensor", one_layer_more, 3, &["tensor", "missing", "model.layers."]),
    ("layer_types_too_few", |dir| add(dir, "num_hidden_layers", 1), 3, &["layer_types", "7 names"]),
    ("absurd_size", |dir| set(dir, "hidden_size", 1 << 60), 3, &["hidden_size"]),
    ("no_heads", |dir| set(dir, "num_attention_heads", 0), 3, &["num_attention_heads"]),
    ("truncated_weights", |dir| truncate(dir, "model.safetensors", 2), 3, &["model.safetensors"]),
    ("truncated_header", |dir| truncate(dir, "model.safetensors", 4_000_000), 3, &["model.safetensors"]),
    ("empty_weights", |dir| write(dir, "model.safetensors", ""), 3, &["model.safetensors"]),
    ("oversized_header", |dir| write_bytes(dir, "model.safetensors", &[0xff; 64]), 3, &["model.safetensors"]),
    ("broken_tokenizer", |dir| write(dir, "tokenizer.json", "{\"model\": 3}"), 3, &["tokenizer.json"]),
    (
        "endless_template",
        |dir| template(dir, "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}"),
        4,
        &["template"],
    ),
    (
        "flooding_template",
        |dir| template(dir, "{% for a in range(99999) %}{{ 'x' * 100000 }}{% endfor %}"),
        4,
        &["template"],
    ),
    (
        "recursive_template",
        |dir| template(dir, "{% macro m(n) %}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}"),
        2,
        &["template"],
    ),
    ("broken_template", |dir| template(dir, "{% if %}"), 3, &["template"]),
    (
        "raising_template",
        |dir| template(dir, "{{ raise_exception('roles must alternate') }}"),
        2,
        &["roles must alternate"],
    ),
];

#[test]
fn the_error_for_a_broken_checkpoint_names_the_problem() {
    for (name, spoil, code, words) in CHECKPOINTS {
        let dir = model_copy(&format!("broken/{name}"));
        spoil(&dir);
        let path = dir.display().to_string();
        let run = firebox(&["run", "--model", &path, "hi"]).expect_code(*code);
        for word in *words {
            assert!(run.stderr.contains(word), "{name}: \"{word}\" is not in: {}", run.stderr);
        }
        assert!(run.elapsed.as_secs() < 30, "{name} took {:?}", run.elapsed);
    }
}

#[test]
fn the_unbroken_copy_is_valid() {
    let path = model_copy("broken/good").display().to_string();
    firebox(&["run", "--model", &path, "--max-tokens", "4", "hi"]).expect_code(0);
}

/// `(arguments, exit code, words)`.
const COMMANDS: &[(&[&str], i32, &[&str])] = &[
    (&["run", "--model", "/no/such/folder", "hi"], 3, &["/no/such/folder"]),
    (&["run", ""], 2, &["empty"]),
    (&["run", "  \n "], 2, &["empty"]),
    (&["run", "--temperature", "-1", "hi"], 2, &["temperature", "-1"]),
    (&["run", "--temperature", "hot", "hi"], 2, &["'hot' for '--temperature", "it is not a number"]),
    (&["bench", "-p", "x"], 2, &["'x' for '--n-prompt", "it is not a whole number"]),
    (&["plugins", "test", "redact"], 2, &["redact/cases.toml", "--cases"]),
    (&["run", "--top-p", "2", "hi"], 2, &["top-p", "\"2\""]),
    (&["run", "--max-tokens", "0", "hi"], 2, &["max tokens", "\"0\""]),
    (&["run", "--max-tokens", "-3", "hi"], 2, &["'-3' for '--max-tokens", "whole number"]),
    (&["run", "--seed", "-1", "hi"], 2, &["'-1' for '--seed"]),
    (&["run", "--context", "0", "hi"], 2, &["'0' for '--context", "from 1 on"]),
    (&["run", "--regex", "(", "hi"], 2, &["regular expression", "unclosed group"]),
    (&["run", "--device", "cpu:7", "hi"], 3, &["no device \"cpu:7\" on this machine; found: "]),
    (&["mcp", "serve", "--listen", "here"], 2, &["here", "127.0.0.1:8081"]),
    (&["audit", "verify", "Cargo.toml"], 2, &["hash chain", "audit log"]),
    (&["run", "--device", "abacus", "hi"], 2, &["abacus", "cpu"]),
    (&["run", "--plugin", "nope", "hi"], 2, &["nope", "redact"]),
    (&["run", "--plugin-config", "redact", "hi"], 2, &["NAME=JSON"]),
    (&["run", "--plugin-config", "redact={}", "hi"], 2, &["redact", "calculator"]),
    (&["run", "--plugin", "redact", "--plugin-config", "redact=[1]", "hi"], 2, &["redact", "object"]),
    (&["run", "--plugin", "redact", "--plugin-config", "redact={\"typo\": 1}", "hi"], 5, &["redact", "typo"]),
    (&["run", "--plugin", "redact", "--plugin", "redact", "hi"], 2, &["redact", "two plugins"]),
    (&["run", "--plugin-memory", "1TB", "hi"], 2, &["TB"]),
    (&["run", "--plugin-timeout", "0", "hi"], 2, &["1ms"]),
    (&["run", "--fuel", "10", "What is 2 + 2?"], 5, &["fuel", "10"]),
    (&["run", "--no-such-option"], 2, &["--no-such-option"]),
    (&["embed", "--model", "/no/such/folder", "--input", "-", "--output", "/tmp/x.parquet"], 3, &["/no/such/folder"]),
];

#[test]
fn the_error_for_a_wrong_command_names_the_problem() {
    for (args, code, words) in COMMANDS {
        let run = firebox(args).expect_code(*code);
        for word in *words {
            assert!(run.stderr.contains(word), "{args:?}: \"{word}\" is not in: {}", run.stderr);
        }
    }
}

#[test]
fn input_that_is_not_utf8_is_refused_with_its_position() {
    let run = Firebox::new(["run", "-"]).input(b"ab\xff".to_vec()).run().expect_code(2);
    assert!(run.stderr.contains("UTF-8") && run.stderr.contains("byte 2"), "{}", run.stderr);
}

#[test]
fn a_prompt_too_long_for_the_context_is_refused_with_both_numbers() {
    let run = Firebox::new(["run", "--device", "cpu", "-"]).input("word ".repeat(20_000)).run().expect_code(4);
    assert!(run.stderr.contains("tokens and the context holds"), "{}", run.stderr);
}

#[test]
fn a_cache_that_cannot_be_written_only_costs_time() {
    let run = Firebox::new(["run", "--device", "cpu", "What is 1234 * 87?"]).env("FIREBOX_CACHE", "/dev/null/cache");
    assert!(run.run().expect_code(0).stdout.contains("107358"));
}

#[test]
fn a_file_that_is_no_component_is_refused_by_name() {
    let dir = scratch("components");
    let rows: [(&str, &[u8], i32, &str); 4] = [
        ("empty.wasm", b"", 5, "empty"),
        ("text.wasm", b"hello, world", 5, "text"),
        ("core.wasm", b"\0asm\x01\0\0\0", 5, "component"),
        ("torn.wasm", b"\0asm\x0d\0\x01\0\xff\xff", 5, "torn"),
    ];
    for (name, bytes, code, word) in rows {
        let path = dir.join(name);
        std::fs::write(&path, bytes).expect("writable");
        let run = firebox(&["run", "--plugin", &path.display().to_string(), "hi"]).expect_code(code);
        assert!(run.stderr.contains(word), "{name}: {}", run.stderr);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error_and_not_a_panic() {
    use std::process::{Command, Stdio};
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("linux has it");
    let mut command = Command::new(env!("CARGO_BIN_EXE_firebox"));
    command.args(["run", "--device", "cpu", "What is 1234 * 87?"]).stdin(Stdio::null()).stdout(full);
    let output = command.output().expect("the binary starts");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("cannot write the output") && !stderr.contains("panicked"), "{stderr}");
}

fn remove(dir: &Path, file: &str) {
    std::fs::remove_file(dir.join(file)).expect("was there");
}

fn write(dir: &Path, file: &str, text: &str) {
    write_bytes(dir, file, text.as_bytes());
}

fn write_bytes(dir: &Path, file: &str, bytes: &[u8]) {
    std::fs::write(dir.join(file), bytes).expect("writable");
}

fn template(dir: &Path, text: &str) {
    write(dir, "chat_template.jinja", text);
}

fn truncate(dir: &Path, file: &str, divisor: u64) {
    let path = dir.join(file);
    let length = std::fs::metadata(&path).expect("there").len();
    let handle = std::fs::OpenOptions::new().write(true).open(path).expect("writable");
    handle.set_len(length / divisor).expect("truncated");
}

fn replace(dir: &Path, from: &str, to: &str) {
    let path = dir.join("config.json");
    let text = std::fs::read_to_string(&path).expect("readable");
    assert!(text.contains(from));
    std::fs::write(&path, text.replace(from, to)).expect("writable");
}

fn change(dir: &Path, key: &str, change: impl Fn(u64) -> u64) {
    let path = dir.join("config.json");
    let text = std::fs::read_to_string(&path).expect("readable");
    let mut config: serde_json::Value = serde_json::from_str(&text).expect("json");
    let old = config[key].as_u64().expect("a number");
    config[key] = change(old).into();
    std::fs::write(&path, config.to_string()).expect("writable");
}

fn one_layer_more(dir: &Path) {
    add(dir, "num_hidden_layers", 1);
    replace(dir, "\"layer_types\"", "\"layer_kinds\"");
}

fn set(dir: &Path, key: &str, value: u64) {
    change(dir, key, |_| value);
}

fn add(dir: &Path, key: &str, more: u64) {
    change(dir, key, |old| old + more);
}

/// The folder of a model that the tests of `host/models` use.
fn parity(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parity").join(name).display().to_string()
}

#[test]
fn a_model_of_the_other_kind_is_refused_with_the_command_for_it() {
    let decoder = parity("qwen2");
    let output = scratch("other-kind").join("out.parquet").display().to_string();
    for args in [
        &["embed", "--model", &decoder, "--input", "Cargo.toml", "--output", &output][..],
        &["rerank", "--model", &decoder, "query", "document"],
    ] {
        let run = firebox(args).expect_code(3);
        assert!(run.stderr.contains("is no encoder; use it with firebox run"), "{args:?}: {}", run.stderr);
    }
    let dir = model_copy("other-kind");
    let config = std::fs::read_to_string(dir.join("config.json")).expect("readable");
    let config = config.replace("Qwen3ForCausalLM", "BertModel").replace("\"qwen3\"", "\"bert\"");
    write(&dir, "config.json", &config);
    let run = firebox(&["run", "--model", &dir.display().to_string(), "hi"]).expect_code(3);
    assert!(run.stderr.contains("writes no text; use it with firebox embed"), "{}", run.stderr);
}
