//! Warnings of a load, and refusals of checkpoints that transformers accepts.

use serde_json::{Value, json};

use crate::folder::Folder;

/// A row of a table: the change to a valid checkpoint, and a part of the only warning.
type Case = (&'static str, fn(&Folder), &'static [&'static str]);

#[test]
fn a_good_folder_has_no_warnings() {
    assert_eq!(Folder::good().warnings(), Vec::<String>::new());
}

#[test]
fn ignored_keys_and_tensors_are_named() {
    let generation: fn(&Folder, &str) = |folder, text| folder.write("generation_config.json", text.as_bytes());
    let cases: &[Case] = &[
        ("unknown key", |f| f.set_config("no_rope_layers", json!([1])), &["config.json", "\"no_rope_layers\""]),
        ("a key of another class", |f| f.set_config("mlp_bias", json!(true)), &["config.json", "\"mlp_bias\""]),
        (
            "an unknown key of an object",
            |f| f.set_config("rope_scaling", json!({"rope_type": "default", "twist": 1})),
            &["\"rope_scaling.twist\""],
        ),
        (
            "a factor of nothing",
            |f| f.set_config("rope_scaling", json!({"rope_type": "default", "factor": 2.0})),
            &["\"factor\"", "\"rope_type\" is \"default\""],
        ),
        (
            "two settings",
            |f| f.set_config("rope_parameters", json!({"rope_type": "default", "rope_theta": 77.0})),
            &["\"rope_theta\"", "inside"],
        ),
        (
            "fewer layers",
            |f| {
                f.set_config("num_hidden_layers", json!(1));
                f.remove_config("layer_types");
            },
            &["12 tensors are not used", "\"model.layers.1.input_layernorm.weight\"", "and 4 more"],
        ),
        ("an adapter", |f| f.write("adapter_config.json", b"{}"), &["adapter_config.json", "LoRA"]),
        ("an end that is none", |f| f.set_config("eos_token_id", json!([-1])), &["\"eos_token_id\"", "\"-1\""]),
    ];
    for (name, change, expected) in cases {
        let folder = Folder::good();
        change(&folder);
        let warnings = folder.warnings();
        assert_eq!(warnings.len(), 1, "{name}: {warnings:?}");
        for part in *expected {
            assert!(warnings[0].contains(part), "{name}: {warnings:?} should contain {part}");
        }
    }
    let odd = [
        ("temperature", "-1"),
        ("temperature", "10"),
        ("temperature", "Infinity"),
        ("top_p", "-0.5"),
        ("min_p", "7"),
        ("top_k", "2.5"),
        ("top_k", "\"many\""),
        ("repetition_penalty", "0"),
        ("max_new_tokens", "-1"),
        ("stop_strings", "[\"\", 7]"),
        ("penalty_alpha", "0.6"),
        ("num_beams", "4"),
    ];
    for (key, value) in odd {
        let folder = Folder::good();
        generation(&folder, &format!("{{\"do_sample\": true, \"{key}\": {value}}}"));
        let warnings = folder.warnings();
        let named = warnings.len() == 1 && warnings[0].contains(&format!("\"{key}\""));
        assert!(named && warnings[0].contains("generation_config.json"), "{key} {value}: {warnings:?}");
    }
}

#[test]
fn harmless_files_have_no_warnings() {
    type Row = (&'static str, fn(&Folder));
    let silent: &[Row] = &[
        ("numbers of Python", |f| {
            let text = String::from_utf8(f.read("config.json")).expect("it is text");
            f.write("config.json", text.replacen('{', "{\"initializer_range\": NaN, ", 1).as_bytes());
        }),
        ("whole numbers as floats", |f| {
            f.write(
                "generation_config.json",
                br#"{"do_sample": true, "top_k": 50.0, "max_new_tokens": 100.0, "top_p": 0}"#,
            );
        }),
        ("off", |f| f.write("generation_config.json", br#"{"do_sample": true, "top_k": -1, "num_beams": 1}"#)),
        ("a tied head that is the same", |f| {
            f.rename_tensors("model.embed_tokens", "lm_head");
        }),
        ("null", |f| f.set_config("quantization_config", Value::Null)),
    ];
    for (name, change) in silent {
        let folder = Folder::good();
        change(&folder);
        assert_eq!(folder.warnings(), Vec::<String>::new(), "{name}");
    }
}

#[test]
fn settings_that_would_change_the_results_are_refused() {
    let cases: &[Case] = &[
        (
            "quantization",
            |f| f.set_config("quantization_config", json!({"quant_method": "gptq", "bits": 4})),
            &["config.json", "quantized", "gptq"],
        ),
        (
            "compressed tensors",
            |f| f.set_config("compression_config", json!({"format": "float-quantized"})),
            &["compression_config"],
        ),
        ("mlx", |f| f.set_config("quantization", json!({"bits": 4})), &["quantized", "quantization"]),
        ("modelopt", |f| f.write("hf_quant_config.json", b"{}"), &["hf_quant_config.json", "ModelOpt"]),
        ("another type", |f| f.set_config("model_type", json!("llama")), &["model_type", "llama", "qwen2"]),
        (
            "not a number",
            |f| f.overwrite_tensor("model.norm.weight", &f32::NAN.to_le_bytes()),
            &["model.norm.weight", "NaN"],
        ),
        (
            "infinite",
            |f| f.overwrite_tensor("model.layers.1.mlp.down_proj.weight", &f32::NEG_INFINITY.to_le_bytes()),
            &["model.layers.1.mlp.down_proj.weight", "-inf"],
        ),
        (
            "settings of layer types",
            |f| f.set_config("rope_parameters", json!({"full_attention": {"rope_theta": 5.0}})),
            &["rope_parameters", "full_attention"],
        ),
        ("an infinite epsilon", |f| f.write("config.json", &with_infinity(f)), &["rms_norm_eps", "Infinity"]),
        (
            "a window without a size",
            |f| f.set_config("layer_types", json!(["full_attention", "sliding_attention"])),
            &["layer_types", "sliding_attention"],
        ),
    ];
    for (name, change, expected) in cases {
        let folder = Folder::good();
        change(&folder);
        let error = folder.load().expect_err(name).to_string();
        for part in *expected {
            assert!(error.contains(part), "{name}: \"{error}\" should contain \"{part}\"");
        }
    }
}

fn with_infinity(folder: &Folder) -> Vec<u8> {
    let text = String::from_utf8(folder.read("config.json")).expect("it is text");
    text.replace("1e-06", "Infinity").into_bytes()
}

#[test]
fn a_git_lfs_pointer_is_named_as_one() {
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0a\nsize 12\n";
    let files =
        ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "generation_config.json"];
    for name in files.into_iter().chain(["chat_template.jinja"]) {
        let folder = Folder::good();
        folder.write(name, pointer);
        let error = folder.load().expect_err(name).to_string();
        assert!(error.contains(name) && error.contains("git-lfs pointer"), "{error}");
    }
    let folder = Folder::good();
    folder.index(json!({"model.norm.weight": "model-1.safetensors"}));
    folder.write("model-1.safetensors", pointer);
    let error = folder.load().expect_err("a shard").to_string();
    assert!(error.contains("model-1.safetensors") && error.contains("git-lfs"), "{error}");
}

#[test]
fn the_index_decides_between_two_copies_of_a_tensor() {
    let weights = Folder::good().read("model.safetensors");
    let names: Vec<String> = {
        let length = u64::from_le_bytes(weights[..8].try_into().expect("eight bytes")) as usize;
        let header: Value = serde_json::from_slice(&weights[8..8 + length]).expect("the header is JSON");
        let keys = header.as_object().expect("an object").keys();
        keys.filter(|key| *key != "__metadata__").cloned().collect()
    };
    let broken = Folder::good();
    broken.overwrite_tensor("model.norm.weight", &f32::NAN.to_le_bytes());
    let broken = broken.read("model.safetensors");
    // The valid copy is in the first shard, then in the second: the order of shards does not matter.
    for (good, bad) in [("a.safetensors", "b.safetensors"), ("b.safetensors", "a.safetensors")] {
        let folder = Folder::good();
        let of = |name: &str| if name == "model.layers.0.mlp.up_proj.weight" { bad } else { good };
        let map: serde_json::Map<String, Value> = names.iter().map(|name| (name.clone(), json!(of(name)))).collect();
        folder.index(Value::Object(map));
        folder.write(good, &weights);
        folder.write(bad, &broken);
        let warnings = folder.warnings();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains("weight_map") && warnings[0].ends_with(": \"model.norm.weight\""), "{warnings:?}");
    }
}
