//! Damaged, hostile or unsupported checkpoints give an error that names the fault, and never a panic.

use crate::folder::{Folder, header, tensors_of};
use serde_json::{Value, json};

/// A row of a table: the change to a valid checkpoint, and parts of the error.
type Case = (&'static str, fn(&Folder), &'static [&'static str]);

fn check(cases: &[Case]) {
    for (name, damage, expected) in cases {
        let folder = Folder::good();
        damage(&folder);
        let error = folder.load().expect_err(name).to_string();
        for part in *expected {
            assert!(error.contains(part), "{name}: \"{error}\" should contain \"{part}\"");
        }
    }
}

#[test]
fn a_good_folder_loads() {
    Folder::good().load().expect("the folder every other test damages is good");
}

#[test]
fn damaged_weights_are_named() {
    check(&[
        ("no weights", |f| f.remove("model.safetensors"), &["model.safetensors", "has no weights"]),
        ("empty file", |f| f.write("model.safetensors", b""), &["model.safetensors", "0 bytes"]),
        ("half a header length", |f| f.write("model.safetensors", &[1, 2, 3]), &["model.safetensors", "3 bytes"]),
        ("header beyond the file", |f| f.write("model.safetensors", &header(5_000, b"{}")), &["5000 bytes", "only 10"]),
        ("absurd header", |f| f.write("model.safetensors", &header(u64::MAX, b"{}")), &["at most 100000000"]),
        ("header not JSON", |f| f.write("model.safetensors", &header(4, b"abcd")), &["model.safetensors", "damaged"]),
        ("cut off", |f| f.cut("model.safetensors", 1_000), &["model.safetensors", "damaged"]),
        ("bytes too many", |f| f.append("model.safetensors", &[0; 9]), &["model.safetensors", "damaged"]),
        (
            "overlap",
            |f| {
                f.write("model.safetensors", &tensors_of(r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#, 12))
            },
            &["model.safetensors", "damaged"],
        ),
        (
            "offsets past the end",
            |f| {
                f.write(
                    "model.safetensors",
                    &tensors_of(r#"{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,36]}}"#, 12),
                )
            },
            &["model.safetensors", "damaged"],
        ),
        (
            "backwards",
            |f| {
                f.write(
                    "model.safetensors",
                    &tensors_of(r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}"#, 8),
                )
            },
            &["model.safetensors", "damaged"],
        ),
        (
            "sizes that overflow",
            |f| {
                f.write(
                    "model.safetensors",
                    &tensors_of(r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296,4],"data_offsets":[0,8]}}"#, 8),
                )
            },
            &["model.safetensors", "damaged"],
        ),
    ]);
}

#[test]
fn tensors_that_do_not_fit_are_named_with_both_shapes() {
    let missing: &[&str] = &["\"model.norm.weight\"", "[64]", "missing"];
    check(&[
        ("missing", |f| f.rename_tensor("model.norm.weight", "model.other.weight"), missing),
        (
            "wrong shape",
            |f| f.set_config("intermediate_size", json!(63)),
            &["gate_proj.weight", "[64, 64]", "[63, 64]", "model.safetensors"],
        ),
        (
            "wrong vocabulary",
            |f| f.set_config("vocab_size", json!(300)),
            &["embed_tokens.weight", "[256, 64]", "[300, 64]"],
        ),
        (
            "more layers than weights",
            |f| {
                f.set_config("num_hidden_layers", json!(3));
                f.remove_config("layer_types");
            },
            &["model.layers.2.", "missing"],
        ),
        ("type", |f| f.retype_tensor("model.norm.weight", "I32"), &["model.norm.weight", "I32", "F32, F16, BF16"]),
    ]);
}

#[test]
fn configs_are_checked_before_anything_is_allocated() {
    check(&[
        ("no config", |f| f.remove("config.json"), &["config.json", "missing"]),
        ("not JSON", |f| f.write("config.json", b"{"), &["config.json", "not JSON"]),
        ("not an object", |f| f.write("config.json", b"[]"), &["config.json", "expected a JSON object"]),
        (
            "no architecture",
            |f| {
                f.remove_config("architectures");
                f.remove_config("model_type");
            },
            &["\"architectures\"", "missing"],
        ),
        ("empty architectures", |f| f.set_config("architectures", json!([])), &["\"architectures\"", "missing"]),
        (
            "unknown architecture",
            |f| f.set_config("architectures", json!(["MambaForCausalLM"])),
            &["MambaForCausalLM", "LlamaForCausalLM", "Qwen3ForCausalLM", "BertModel"],
        ),
        (
            "absurd width",
            |f| f.set_config("hidden_size", json!(1_u64 << 60)),
            &["hidden_size", "1152921504606846976", "from 1 to"],
        ),
        ("negative", |f| f.set_config("num_hidden_layers", json!(-1)), &["num_hidden_layers", "-1"]),
        ("zero heads", |f| f.set_config("num_attention_heads", json!(0)), &["num_attention_heads", "\"0\""]),
        ("text for a number", |f| f.set_config("vocab_size", json!("many")), &["vocab_size", "many"]),
        ("null for a number", |f| f.set_config("hidden_size", Value::Null), &["hidden_size", "is null"]),
        (
            "heads that do not group",
            |f| f.set_config("num_key_value_heads", json!(3)),
            &["num_key_value_heads", "3", "8 heads"],
        ),
        ("odd heads", |f| f.set_config("head_dim", json!(7)), &["head_dim", "7", "even"]),
        ("other activation", |f| f.set_config("hidden_act", json!("relu2")), &["hidden_act", "relu2", "silu"]),
        (
            "a rotary embedding of another kind",
            |f| f.set_config("rope_scaling", json!({"rope_type": "proportional", "factor": 4.0})),
            &["rope_type", "proportional", "llama3", "yarn"],
        ),
        ("no factor", |f| f.set_config("rope_scaling", json!({"type": "linear"})), &["factor", "missing"]),
        ("partial rotary", |f| f.set_config("partial_rotary_factor", json!(0.5)), &["partial_rotary_factor", "0.5"]),
    ]);
}

#[test]
fn an_index_cannot_name_files_outside_or_missing_files() {
    check(&[
        ("missing shard", |f| f.index(json!({"a": "model-1.safetensors"})), &["model-1.safetensors", "missing"]),
        ("up", |f| f.index(json!({"a": "../model.safetensors"})), &["../model.safetensors", "plain file name"]),
        ("absolute", |f| f.index(json!({"a": "/etc/passwd"})), &["/etc/passwd", "plain file name"]),
        ("parent", |f| f.index(json!({"a": ".."})), &["\"..\"", "plain file name"]),
        ("not text", |f| f.index(json!({"a": 7})), &["\"7\"", "plain file name"]),
        ("no map", |f| f.index(Value::Null), &["weight_map", "missing"]),
        (
            "tensor nobody holds",
            |f| {
                f.index(json!({"ghost": "shard.safetensors"}));
                f.move_weights("shard.safetensors");
            },
            &["ghost", "no shard holds"],
        ),
    ]);
}

#[test]
fn tokenizers_and_templates_that_do_not_work_are_named() {
    check(&[
        ("no tokenizer", |f| f.remove("tokenizer.json"), &["tokenizer.json", "missing"]),
        ("not a tokenizer", |f| f.write("tokenizer.json", b"{}"), &["tokenizer.json", "failed"]),
        ("garbage", |f| f.write("tokenizer.json", &[0xFF; 64]), &["tokenizer.json", "failed"]),
        (
            "unknown model",
            |f| f.write("tokenizer.json", br#"{"version":"1.0","model":{"type":"Sphinx"}}"#),
            &["tokenizer.json", "failed"],
        ),
        ("template syntax", |f| f.write("chat_template.jinja", b"line\n{% for %}"), &["chat template", "line 2"]),
        (
            "template type",
            |f| {
                f.remove("chat_template.jinja");
                f.write("tokenizer_config.json", br#"{"chat_template": 5}"#);
            },
            &["chat_template", "tokenizer_config.json"],
        ),
        ("bad end token", |f| f.set_config("eos_token_id", json!("x")), &["eos_token_id", "token ids"]),
        (
            "bad generation config",
            |f| f.write("generation_config.json", br#"{"do_sample":true,"top_p":}"#),
            &["generation_config.json", "not JSON"],
        ),
    ]);
}

#[test]
fn hostile_templates_end_quickly_in_an_error() {
    let cases: &[(&str, &str, &str)] = &[
        ("endless loop", "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "steps"),
        ("huge output", "{% for i in range(90000) %}{{ 'x' * 90000 }}{% endfor %}", "bytes"),
        ("huge string", "{% set s = 'x' * 99999999999 %}", ""),
        (
            "doubling",
            "{% set ns = namespace(s='xxxxxxxx') %}{% for i in range(64) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
            "steps",
        ),
        ("recursion", "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", ""),
        ("its own exception", "{{ raise_exception('roles must alternate') }}", "roles must alternate"),
        ("unknown function", "{{ open('/etc/passwd') }}", "open"),
        ("include", "{% include '/etc/passwd' %}", "passwd"),
        (
            "nested lists",
            concat!("{% set ns = namespace(v=[]) %}{% for i in range(99999) %}", "{% set ns.v = [ns.v] %}{% endfor %}"),
            "nested",
        ),
        (
            "nested json",
            "{% set ns = namespace(v=[]) %}{% for i in range(90) %}{% set ns.v = [ns.v] %}{% endfor %}{{ ns.v | tojson }}",
            "",
        ),
        (
            "doubled lists",
            "{% set ns = namespace(v=[1]) %}{% for i in range(64) %}{% set ns.v = ns.v + ns.v %}{% endfor %}",
            "steps",
        ),
        ("a namespace in itself", "{% set ns = namespace() %}{%- set ns.me=ns -%}{{ ns ~ '' }}", "namespace"),
        ("a namespace in a list", "{% set ns = namespace() %}{% set a = [ns] %}{% set ns.me = a %}", "namespace"),
        ("deep source", &format!("{{{{ {} }}}}", "(".repeat(5_000)), "recursion"),
    ];
    for (name, template, expected) in cases {
        let folder = Folder::good();
        folder.write("chat_template.jinja", template.as_bytes());
        let started = std::time::Instant::now();
        let error = folder.chat_error();
        assert!(error.contains("chat template") && error.contains(expected), "{name}: {error}");
        assert!(started.elapsed().as_secs() < 20, "{name} took {:?}", started.elapsed());
    }
}
